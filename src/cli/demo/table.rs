//! The live table of `bramble demo`, as text: what a teacher sees of the room.
//!
//! Pure: it is told what happened and how large the terminal is.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::sim::pi::{Board, News, Stage};
use crate::types::{ByteSize, UserName};

/// One Pi.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub board: Board,
    pub address: Option<Ipv4Addr>,
    pub stage: Stage,
    pub bytes: u64,
    /// From power-on until it was up or had failed; until then, until the last news.
    pub time: Duration,
    pub failed: Option<String>,
    /// Who is logged in, and how long after power-on.
    pub user: Option<(UserName, Duration)>,
}

impl Row {
    pub fn new(name: String, board: Board) -> Self {
        let (stage, time) = (Stage::Address, Duration::ZERO);
        Self { name, board, address: None, stage, bytes: 0, time, failed: None, user: None }
    }

    fn is_over(&self) -> bool {
        self.failed.is_some() || self.stage == Stage::Up
    }

    fn state(&self) -> String {
        match (&self.failed, &self.user) {
            (Some(_), _) if self.stage == Stage::Up => "FAILED: log-in".to_owned(),
            (Some(_), _) => format!("FAILED: {}", self.stage.as_str()),
            (None, Some((user, _))) => format!("up, {user} logged in"),
            (None, None) => self.stage.as_str().to_owned(),
        }
    }

    /// 80 columns at most.
    fn line(&self) -> String {
        let address = self.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let line = format!(
            "{:<10.10} {:<7} {:<15} {:<27.27} {:>10} {:>5.1}",
            self.name,
            self.board.rom.model(),
            address,
            self.state(),
            ByteSize(self.bytes).to_string(),
            self.time.as_secs_f64(),
        );
        line.trim_end().to_owned()
    }
}

/// All Pis, and how many lines the last painting took.
#[derive(Clone, Debug)]
pub struct Table {
    pub rows: Vec<Row>,
    painted: usize,
}

const HEAD: &str = "NAME       MODEL   ADDRESS         STATE                           LOADED     s";

impl Table {
    pub fn new(rows: Vec<Row>) -> Self {
        Self { rows, painted: 0 }
    }

    /// Takes news of the Pi number `id` in; a line to print if it is news to a reader of a log.
    pub fn hear(&mut self, id: usize, news: &News, now: Duration) -> Option<String> {
        let row = self.rows.get_mut(id)?;
        // The time of a boot is not that of the log-in after it.
        if row.stage != Stage::Up {
            row.time = now;
        }
        match news {
            News::Address(address) => row.address = Some(*address),
            News::Name(name) => row.name.clone_from(name),
            News::Tftp(bytes) | News::Nfs(bytes) => row.bytes += bytes,
            News::LoggedIn(user) => {
                row.user = Some((user.clone(), now));
                return Some(row.line());
            }
            News::Stage(stage) => {
                row.stage = *stage;
                return Some(row.line());
            }
            News::Failed(reason) => {
                row.failed = Some(reason.clone());
                return Some(format!("{}\n    {reason}", row.line()));
            }
        }
        None
    }

    /// The table for a terminal, over the one painted before.
    pub fn paint(&mut self, now: Duration, columns: u16, lines: u16) -> String {
        for row in self.rows.iter_mut().filter(|row| !row.is_over()) {
            row.time = now;
        }
        let fits = self.rows.len() + 3 < usize::from(lines);
        let up = self.rows.iter().filter(|row| row.stage == Stage::Up).count();
        let mut text = Vec::new();
        text.push(HEAD.to_owned());
        if fits {
            text.extend(self.rows.iter().map(Row::line));
        } else {
            // A large room: those that are up are only counted; failures first.
            let is_open = |row: &&Row| row.stage != Stage::Up || row.failed.is_some();
            let mut open: Vec<&Row> = self.rows.iter().filter(is_open).collect();
            open.sort_by_key(|row| row.failed.is_none());
            let room = usize::from(lines).saturating_sub(5).max(1);
            text.extend(open.iter().take(room).map(|row| row.line()));
            if open.len() > room {
                text.push(format!("... and {} more", open.len() - room));
            }
        }
        let users = self.rows.iter().filter(|row| row.user.is_some()).count();
        let logged_in = if users > 0 { format!(", {users} logged in") } else { String::new() };
        text.push(format!("{up} of {} up{logged_in} after {:.1} s", self.rows.len(), now.as_secs_f64()));
        let mut out = String::new();
        if self.painted > 0 {
            write!(out, "\x1b[{}A", self.painted).expect("writing to a String cannot fail");
        }
        for line in &text {
            let line: String = line.chars().take(usize::from(columns)).collect();
            writeln!(out, "{line}\x1b[K").expect("writing to a String cannot fail");
        }
        out.push_str("\x1b[J");
        self.painted = text.len();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: u16) -> Table {
        Table::new((0..rows).map(|n| Row::new(format!("seat-{n:02}"), Board::nth(n))).collect())
    }

    /// What a terminal shows of `text`: the control sequences are not.
    fn seen(text: &str) -> Vec<String> {
        text.replace("\x1b[K", "").replace("\x1b[J", "").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_fits_eighty_columns() {
        let mut row = Row::new("a-very-long-name-of-a-client".to_owned(), Board::nth(3));
        row.address = Some(Ipv4Addr::BROADCAST);
        row.bytes = 1023 << 40;
        row.time = Duration::from_secs(999);
        for stage in Stage::ALL {
            row.stage = stage;
            for failed in [None, Some("why".to_owned())] {
                row.failed = failed;
                assert!(row.line().chars().count() <= 80, "{}", row.line());
            }
        }
        assert_eq!(
            {
                row.stage = Stage::Up;
                row.failed = None;
                row.bytes = 6 << 20;
                row.line()
            },
            "a-very-lon Pi 3B+  255.255.255.255 up                             6.0 MiB 999.0"
        );
    }

    #[test]
    fn a_painting_covers_the_one_before() {
        let mut table = table(3);
        let first = table.paint(Duration::ZERO, 80, 24);
        assert!(!first.contains("\x1b[5A"));
        assert_eq!(first.lines().count() - 1, 5, "head, three rows, the sum, and the rest erased");
        assert!(table.paint(Duration::from_secs(1), 80, 24).starts_with("\x1b[5A"));
    }

    #[test]
    fn a_large_room_shows_those_that_are_not_up() {
        let mut table = table(40);
        for id in 0..30 {
            table.hear(id, &News::Stage(Stage::Up), Duration::from_secs(1));
        }
        table.hear(35, &News::Failed("no answer".to_owned()), Duration::from_secs(1));
        let shown = seen(&table.paint(Duration::from_secs(2), 80, 12));
        assert!(shown[1].starts_with("seat-35"), "failures first: {shown:?}");
        assert!(shown.contains(&"... and 3 more".to_owned()), "{shown:?}");
        assert!(shown.contains(&"30 of 40 up after 2.0 s".to_owned()), "{shown:?}");
        assert!(shown.len() <= 12);
    }

    #[test]
    fn who_is_logged_in_is_shown_and_who_could_not() {
        let mut table = table(2);
        for id in 0..2 {
            table.hear(id, &News::Stage(Stage::Up), Duration::from_secs(3));
        }
        let user = "pupil01".parse().expect("a name");
        let line = table.hear(0, &News::LoggedIn(user), Duration::from_secs(5)).expect("news");
        assert_eq!(line, "seat-00    Pi 3B   -               up, pupil01 logged in              0 B   3.0");
        let line = table.hear(1, &News::Failed("no".to_owned()), Duration::from_secs(5)).expect("news");
        assert_eq!(
            line,
            "seat-01    Pi 4B   -               FAILED: log-in                     0 B   3.0\n    no"
        );
        let shown = seen(&table.paint(Duration::from_secs(6), 80, 4));
        assert!(shown[1].starts_with("seat-01"), "a failed log-in is shown in a large room too: {shown:?}");
        assert_eq!(shown[2], "2 of 2 up, 1 logged in after 6.0 s");
    }

    #[test]
    fn a_log_has_a_line_a_change() {
        let mut table = table(1);
        let second = Duration::from_secs(1);
        assert_eq!(table.hear(0, &News::Tftp(5), second), None);
        assert_eq!(table.hear(0, &News::Address(Ipv4Addr::new(192, 168, 77, 20)), second), None);
        let line = table.hear(0, &News::Stage(Stage::Firmware), second).expect("news");
        assert_eq!(line, "seat-00    Pi 3B   192.168.77.20   loads its firmware                 5 B   1.0");
        let line = table.hear(0, &News::Failed("`start.elf` is missing".to_owned()), second).expect("news");
        assert!(line.ends_with("1.0\n    `start.elf` is missing"), "{line}");
    }
}

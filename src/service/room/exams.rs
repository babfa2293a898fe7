//! Exams that are held: when the administrator's program is to take the internet away, and to give it back.
//!
//! The program is told the state as it is, and again whenever that changes: at the beginning, when a client of the exam has
//! another address, at the end. After a start of the daemon, which may be one of the router, it is told again, and must bear that.
//! What it was told in an earlier run is known again for one thing: an exam that ended meanwhile is told to be over, to the program
//! that had been told that it began.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::service::clients::Known;
use crate::types::{RoomName, SeatUse};

/// One run of the program of a room: `HOOK on ROOM ADDRESS…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub hook: PathBuf,
    pub room: RoomName,
    /// Whether an exam is held.
    pub on: bool,
    /// Of the clients it is held at; at its end of those it was.
    pub addresses: Vec<Ipv4Addr>,
}

/// What each room's program was told.
#[derive(Debug, Default)]
pub struct Exams {
    told: BTreeMap<RoomName, Call>,
    /// Exams that an earlier run of the daemon told of, until this one has told their rooms something.
    earlier: BTreeMap<RoomName, Call>,
}

impl Exams {
    /// As [`Self::text`] of an earlier run of the daemon has it.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let calls: Vec<Call> = serde_json::from_str(text)?;
        let earlier = calls.into_iter().map(|call| (call.room.clone(), call)).collect();
        Ok(Self { earlier, ..Self::default() })
    }

    /// The exams that are held as far as the programs know.
    pub fn text(&self) -> String {
        let held: Vec<&Call> = self.known().filter(|call| call.on).collect();
        serde_json::to_string(&held).expect("strings and lists of them are always JSON")
    }

    fn known(&self) -> impl Iterator<Item = &Call> {
        self.told.values().chain(self.earlier.values())
    }

    /// What is to be told now, in the order of the rooms. Comes again until it is [`Self::told`].
    pub fn due(&self, config: &Config, clients: &[Known]) -> Vec<Call> {
        let mut due = Vec::new();
        for told in self.known() {
            let hook = config.room(&told.room).and_then(|room| room.modes.exam.hook.as_ref());
            if told.on && hook != Some(&told.hook) {
                // Its program is another one, or it has none any more: the exam of the old one is over.
                due.push(Call { on: false, ..told.clone() });
            }
        }
        for room in &config.rooms {
            let Some(hook) = &room.modes.exam.hook else { continue };
            let members = clients.iter().filter(|known| known.room.as_ref() == Some(&room.name));
            let (held, rest): (Vec<&Known>, Vec<&Known>) =
                members.partition(|known| config.use_of(known.mac) == SeatUse::Exam);
            let on = !held.is_empty();
            let before = self.told.get(&room.name).filter(|told| told.hook == *hook);
            let earlier = self.earlier.get(&room.name).filter(|told| told.hook == *hook);
            let addresses = match before.or(earlier) {
                Some(told) if !on && told.on => told.addresses.clone(),
                Some(_) if !on => continue,
                _ => sorted(if on { &held } else { &rest }),
            };
            let call = Call { hook: hook.clone(), room: room.name.clone(), on, addresses };
            if before != Some(&call) {
                due.push(call);
            }
        }
        due
    }

    /// The program has been told, and has not failed.
    pub fn told(&mut self, call: Call) {
        self.earlier.remove(&call.room);
        self.told.insert(call.room.clone(), call);
    }
}

fn sorted(clients: &[&Known]) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<Ipv4Addr> = clients.iter().filter_map(|known| known.ip).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Client, Exam, Modes, Room, Sudo};
    use crate::types::{MacAddr, Mode};

    fn mac(n: u8) -> MacAddr {
        MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, n])
    }

    fn config(mode: Mode, own: [Option<Mode>; 2], hook: Option<&str>) -> Config {
        let exam = Exam {
            accounts: vec!["anna".parse().expect("a name")],
            hook: hook.map(PathBuf::from),
            ..Exam::default()
        };
        let client = |(n, mode): (u8, Option<Mode>)| Client {
            mac: mac(n),
            name: format!("lab-{n:02}").parse().expect("a name"),
            room: Some("lab".parse().expect("a room")),
            image: None,
            ip: None,
            config_txt: vec![],
            cmdline: vec![],
            mode,
            kiosk_page: None,
        };
        Config {
            rooms: vec![Room {
                name: "lab".parse().expect("a room"),
                image: None,
                config_txt: vec![],
                cmdline: vec![],
                timezone: None,
                mask: vec![],
                classes: vec![],
                sudo: Sudo::Nobody,
                groups: vec![],
                modes: Modes { mode, exam, ..Modes::default() },
            }],
            clients: (1..).zip(own).map(client).collect(),
            ..Config::default()
        }
    }

    fn clients(last: [u8; 2]) -> Vec<Known> {
        let known = |(n, last): (u8, u8)| Known {
            mac: mac(n),
            name: format!("lab-{n:02}").parse().expect("a name"),
            adopted: true,
            room: Some("lab".parse().expect("a room")),
            image: None,
            trial: None,
            booted: None,
            ip: Some(Ipv4Addr::new(10, 0, 0, last)),
            network: None,
            serial: None,
            revision: None,
            first_seen: None,
            last_seen: None,
        };
        (1..).zip(last).map(known).collect()
    }

    /// What the program is told, as it is told.
    fn run(exams: &mut Exams, config: &Config, clients: &[Known]) -> Vec<String> {
        let due = exams.due(config, clients);
        due.into_iter()
            .map(|call| {
                let addresses: Vec<String> = call.addresses.iter().map(ToString::to_string).collect();
                let on = if call.on { "on" } else { "off" };
                let said = format!("{} {on} {} {}", call.hook.display(), call.room, addresses.join(" "));
                exams.told(call);
                said
            })
            .collect()
    }

    #[test]
    fn the_program_is_told_once_and_again_when_something_changes() {
        let mut exams = Exams::default();
        let off = config(Mode::Login, [None, None], Some("/h"));
        let on = config(Mode::Exam, [None, None], Some("/h"));
        let nothing = Vec::<String>::new();
        assert_eq!(run(&mut exams, &off, &clients([5, 6])), ["/h off lab 10.0.0.5 10.0.0.6"], "at the start");
        assert_eq!(run(&mut exams, &off, &clients([5, 7])), nothing);
        assert_eq!(run(&mut exams, &on, &clients([6, 5])), ["/h on lab 10.0.0.5 10.0.0.6"]);
        assert_eq!(run(&mut exams, &on, &clients([5, 6])), nothing);
        assert_eq!(run(&mut exams, &on, &clients([5, 9])), ["/h on lab 10.0.0.5 10.0.0.9"]);
        let one = config(Mode::Login, [None, Some(Mode::Exam)], Some("/h"));
        assert_eq!(run(&mut exams, &one, &clients([5, 9])), ["/h on lab 10.0.0.9"]);
        assert_eq!(exams.due(&off, &clients([5, 8])), exams.due(&off, &clients([5, 8])), "until it is told");
        assert_eq!(run(&mut exams, &off, &clients([5, 8])), ["/h off lab 10.0.0.9"], "whom it was on for");
        assert_eq!(run(&mut exams, &off, &clients([5, 8])), nothing);

        run(&mut exams, &on, &clients([5, 6]));
        let other = config(Mode::Exam, [None, None], Some("/other"));
        assert_eq!(
            run(&mut exams, &other, &clients([5, 6])),
            ["/h off lab 10.0.0.5 10.0.0.6", "/other on lab 10.0.0.5 10.0.0.6"]
        );
        let none = config(Mode::Exam, [None, None], None);
        assert_eq!(run(&mut exams, &none, &clients([5, 6])), ["/other off lab 10.0.0.5 10.0.0.6"]);
        assert_eq!(run(&mut exams, &Config::default(), &[]), nothing);
    }

    #[test]
    fn an_exam_that_ended_while_the_daemon_was_down_is_told_to_be_over() {
        let nothing = Vec::<String>::new();
        let on = config(Mode::Exam, [None, None], Some("/h"));
        let off = config(Mode::Login, [None, None], Some("/h"));
        let none = config(Mode::Exam, [None, None], None);
        let other = config(Mode::Exam, [None, None], Some("/other"));
        let nobody = Config::default();
        // What the configuration is when the daemon starts again, and what is told then.
        let rows: [(&Config, &[&str]); 5] = [
            (&on, &["/h on lab 10.0.0.5 10.0.0.8"]),
            (&off, &["/h off lab 10.0.0.5 10.0.0.6"]),
            (&none, &["/h off lab 10.0.0.5 10.0.0.6"]),
            (&other, &["/h off lab 10.0.0.5 10.0.0.6", "/other on lab 10.0.0.5 10.0.0.8"]),
            (&nobody, &["/h off lab 10.0.0.5 10.0.0.6"]),
        ];
        for (config, told) in rows {
            let mut before = Exams::default();
            run(&mut before, &on, &clients([5, 6]));
            let mut after = Exams::read(&before.text()).expect("its own words");
            assert_eq!(after.text(), before.text(), "known until it is told");
            assert_eq!(run(&mut after, config, &clients([5, 8])), told);
            assert_eq!(run(&mut after, config, &clients([5, 8])), nothing);
            let over = Exams::read(&after.text()).expect("its own words");
            assert_eq!(
                over.due(&nobody, &[]).len(),
                usize::from(told.iter().any(|told| told.contains(" on ")))
            );
        }
    }
}

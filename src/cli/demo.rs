//! `bramble demo`: the whole daemon and a classroom of simulated Pis on this machine, without root, router or Pi.
//!
//! Enters namespaces of its own before anything else, so it must run while the process has one thread. What it shows
//! is in `table`; what happens is in [`crate::sim::classroom`].
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that the rest need not")]

mod table;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use serde::Serialize;

use self::table::{Row, Table};
use super::INTERRUPTED;
use crate::service::accounts::password;
use crate::sim::classroom::{Classroom, ClassroomError, Outcome};
use crate::sim::net;
use crate::sim::pi::seat::Seated;
use crate::sim::pi::{News, Options, Up};
use crate::sim::sample::Release;
use crate::sim::school::{School, SchoolError};
use crate::sim::server::Usage;
use crate::sys::terminal;
use crate::types::{ByteSize, Secret, UserName};

/// Boot a classroom of simulated Pis through the real daemon, on this machine
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Pis to switch on
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=200))]
    clients: u16,
    /// Print the result as one JSON object
    #[arg(long, conflicts_with = "stay")]
    json: bool,
    /// Set up a small school, with people at work, and keep it running until Ctrl-C
    #[arg(long)]
    stay: bool,
    /// Folder for throw-away files, on a disk
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Serve with this build of the program, such as a script that runs one under an emulator
    #[arg(long, value_name = "PROGRAM", hide = true)]
    server: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    clients: usize,
    up: usize,
    /// From power-on to the last that came up.
    seconds: f64,
    slowest_seconds: f64,
    median_seconds: f64,
    tftp_bytes: u64,
    nfs_bytes: u64,
    megabytes_per_second: f64,
    log_ins: LogIns,
    daemon: Daemon,
    pis: Vec<Pi>,
}

/// Somebody at each Pi that came up.
#[derive(Debug, Default, Serialize)]
struct LogIns {
    worked: usize,
    /// From the first word of anybody to the last who was logged in and had written.
    seconds: f64,
    per_second: f64,
    /// Into homes.
    written_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Daemon {
    cpu_seconds: f64,
    idle_memory_bytes: u64,
    peak_memory_bytes: u64,
    /// With everybody logged in.
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Pi {
    name: String,
    model: &'static str,
    mac: String,
    address: Option<String>,
    stage: &'static str,
    seconds: f64,
    user: Option<String>,
    error: Option<String>,
}

impl Demo {
    /// Runs the demonstration. Exit code 0 only if every Pi came up and everybody could log in.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        net::isolate()?;
        let interrupts = Interrupts::catch().context("signals cannot be watched")?;
        let folder = Folder::make(&self.dir)?;
        let program = match &self.server {
            Some(server) => std::path::absolute(server).context("the server's path is not usable")?,
            None => std::env::current_exe().context("the program does not know its own path")?,
        };
        if self.stay {
            return self.keep(&program, &folder.0, &interrupts);
        }
        let say = |text: String| if self.json { Ok(()) } else { writeln!(io::stdout(), "{text}") };

        let mut room = Classroom::open(&program, &folder.0, self.clients)?;
        say(format!("The daemon runs as process {}, in a network of its own.", room.server.pid()))?;
        room.import_sample(Release::Trixie)?;
        let password = self.accounts(&room, &folder.0)?;
        say("A small image in the shape of Raspberry Pi OS 13 is imported, and a list of pupils.".to_owned())?;
        let idle = room.server.usage()?;
        // The import has had its own peak.
        drop(room.server.forget_peak());

        say(format!("{} Pis are switched on, all at once.\n", self.clients))?;
        let rows = room.boards.iter().zip(1..).map(|(board, n)| Row::new(format!("seat-{n:02}"), *board));
        let live = !self.json && io::stdout().is_terminal();
        let mut show = Show {
            table: Table::new(rows.collect()),
            interrupts,
            quiet: self.json,
            live,
            began: Instant::now(),
        };
        let outcomes = match room.boot(Options::default(), |news| show.hear(news)) {
            Err(ClassroomError::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
            other => other?,
        };
        let took = show.began.elapsed();
        let ups: Vec<(usize, &Up)> = outcomes
            .iter()
            .enumerate()
            .filter_map(|(n, outcome)| Some((n, &**outcome.as_ref().ok()?)))
            .collect();
        let seated = match room.log_in_watched(&ups, |n| (pupil(n), password.clone()), |news| show.hear(news))
        {
            Err(ClassroomError::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
            other => other?,
        };
        let log_ins = LogIns::of(&seated, show.began.elapsed().saturating_sub(took));
        let after = room.server.usage()?;
        let summary = summarize(&show.table, &outcomes, took, log_ins, idle, after);
        show.end(&summary)?;
        let all = summary.up == summary.clients && summary.log_ins.worked == summary.clients;
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Leaves a school running to be looked at from another terminal.
    fn keep(&self, program: &Path, folder: &Path, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout();
        writeln!(out, "{} Pis are switched on; some people sit down at them.", self.clients)?;
        let school = School::open(program, folder, self.clients, |_| {
            if interrupts.any() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let room = match school.and_then(School::live) {
            Err(SchoolError::Classroom(ClassroomError::Interrupted)) => {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            other => other?,
        };
        let site = room.server.site();
        writeln!(
            out,
            "The room runs until Ctrl-C. Look at it from another terminal:\n  \
             bramble --socket {socket} client list\n  bramble --socket {socket} session list",
            socket = site.socket().display()
        )?;
        out.flush()?;
        while !interrupts.any() {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Imports a pupil for each Pi, the way an administrator does; answers with the password of all of them.
    fn accounts(&self, room: &Classroom, folder: &Path) -> anyhow::Result<Secret> {
        let password: Secret = "bramble-demo".parse().context("no password can be had")?;
        let hash = password::hash(&password).context("no password can be had")?;
        let mut list = "name;full name;class;hash\n".to_owned();
        for n in 0..usize::from(self.clients) {
            writeln!(list, "{};Pupil {};demo;{}", pupil(n), n + 1, hash.expose())?;
        }
        let file = folder.join("pupils.csv");
        fs::write(&file, list).with_context(|| format!("`{}` cannot be written", file.display()))?;
        room.server.tell(&["account", "import", &file.to_string_lossy(), "--apply"])?;
        Ok(password)
    }
}

/// Who sits at board number `n`.
fn pupil(n: usize) -> UserName {
    format!("pupil{:02}", n + 1).parse().expect("letters and digits are a name")
}

impl LogIns {
    fn of(seated: &[Result<Seated, String>], took: Duration) -> Self {
        let worked: Vec<&Seated> = seated.iter().filter_map(|one| one.as_ref().ok()).collect();
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let per_second = worked.len() as f64 / seconds.max(0.001);
        let written_bytes = worked.iter().map(|one| one.written).sum();
        Self { worked: worked.len(), seconds, per_second, written_bytes }
    }
}

/// What happens, for whoever looks.
struct Show {
    table: Table,
    interrupts: Interrupts,
    quiet: bool,
    live: bool,
    began: Instant,
}

impl Show {
    fn hear(&mut self, news: Option<(usize, News)>) -> ControlFlow<()> {
        if self.interrupts.any() {
            return ControlFlow::Break(());
        }
        let (mut out, now) = (io::stdout(), self.began.elapsed());
        let shown = match news {
            Some((id, news)) => match self.table.hear(id, &news, now) {
                Some(line) if !self.quiet && !self.live => writeln!(out, "{line}"),
                _ => Ok(()),
            },
            None if self.live => self.paint(),
            None => Ok(()),
        };
        // Nobody reads any more: stop as if interrupted.
        if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn paint(&mut self) -> io::Result<()> {
        let (mut out, now) = (io::stdout(), self.began.elapsed());
        let (columns, lines) = terminal::size(out.as_fd()).unwrap_or((80, 24));
        out.write_all(self.table.paint(now, columns, lines).as_bytes())?;
        out.flush()
    }

    fn end(&mut self, summary: &Summary) -> anyhow::Result<()> {
        let mut out = io::stdout();
        if self.quiet {
            writeln!(out, "{}", serde_json::to_string(summary)?)?;
            return Ok(());
        }
        if self.live {
            self.paint()?;
        }
        out.write_all(summary.text().as_bytes())?;
        Ok(())
    }
}

fn summarize(
    table: &Table,
    outcomes: &[Outcome],
    took: Duration,
    log_ins: LogIns,
    idle: Usage,
    after: Usage,
) -> Summary {
    let mut seconds: Vec<f64> = Vec::new();
    let (mut tftp_bytes, mut nfs_bytes) = (0, 0);
    let mut pis = Vec::new();
    for (row, outcome) in table.rows.iter().zip(outcomes) {
        if let Ok(up) = outcome {
            seconds.push(row.time.as_secs_f64());
            tftp_bytes += up.tftp_bytes;
            nfs_bytes += up.root.bytes;
        }
        pis.push(Pi {
            name: row.name.clone(),
            model: row.board.rom.model(),
            mac: row.board.mac.to_string(),
            address: row.address.map(|address| address.to_string()),
            stage: row.stage.as_str(),
            seconds: row.time.as_secs_f64(),
            user: row.user.as_ref().map(|(user, _)| user.to_string()),
            error: row.failed.clone(),
        });
    }
    seconds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let megabytes = (tftp_bytes + nfs_bytes) as f64 / 1e6;
    Summary {
        clients: outcomes.len(),
        up: seconds.len(),
        seconds: took.as_secs_f64(),
        slowest_seconds: seconds.last().copied().unwrap_or(0.0),
        median_seconds: seconds.get(seconds.len() / 2).copied().unwrap_or(0.0),
        tftp_bytes,
        nfs_bytes,
        megabytes_per_second: megabytes / took.as_secs_f64().max(0.001),
        log_ins,
        daemon: Daemon {
            cpu_seconds: after.cpu.saturating_sub(idle.cpu).as_secs_f64(),
            idle_memory_bytes: idle.memory.0,
            peak_memory_bytes: after.peak.0,
            memory_bytes: after.memory.0,
        },
        pis,
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut text = format!(
            "\n{} of {} Pis came up in {:.1} s; half of them within {:.1} s.\n\
             {} by TFTP and {} by NFS, {:.0} MB/s in all.\n\
             {} of {} people logged in within {:.1} s ({:.0} a second) and wrote {} into their homes.\n\
             The daemon used {:.2} s of CPU and at most {} of memory ({} before the Pis, {} in the end).\n",
            self.up,
            self.clients,
            self.slowest_seconds,
            self.median_seconds,
            ByteSize(self.tftp_bytes),
            ByteSize(self.nfs_bytes),
            self.megabytes_per_second,
            self.log_ins.worked,
            self.clients,
            self.log_ins.seconds,
            self.log_ins.per_second,
            ByteSize(self.log_ins.written_bytes),
            self.daemon.cpu_seconds,
            ByteSize(self.daemon.peak_memory_bytes),
            ByteSize(self.daemon.idle_memory_bytes),
            ByteSize(self.daemon.memory_bytes),
        );
        for pi in &self.pis {
            if let Some(error) = &pi.error {
                writeln!(text, "{} ({}, {}) {}: {error}", pi.name, pi.model, pi.mac, pi.stage)
                    .expect("writing to a String cannot fail");
            }
        }
        text
    }
}

/// SIGINT and SIGTERM, kept from ending the process so that it can clean up.
struct Interrupts(SignalFd);

impl Interrupts {
    fn catch() -> nix::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    fn any(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

/// A folder that goes with the demonstration.
struct Folder(PathBuf);

const FOLDER: &str = "bramble-demo-";

impl Folder {
    fn make(parent: &Path) -> anyhow::Result<Self> {
        sweep(parent);
        let path = parent.join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| {
            format!("`{}` cannot be made; choose another place with `--dir DIR`", path.display())
        })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Removes what demonstrations that were killed have left.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse().ok());
        if process.is_some_and(|process| kill(Pid::from_raw(process), None) == Err(Errno::ESRCH)) {
            // Another user's stays: it cannot be removed.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

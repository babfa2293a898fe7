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
use crate::sim::classroom::{Classroom, ClassroomError, Outcome};
use crate::sim::net;
use crate::sim::pi::Options;
use crate::sim::sample::Release;
use crate::sim::school::{School, SchoolError};
use crate::sim::server::Usage;
use crate::sys::terminal;
use crate::types::ByteSize;

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
    daemon: Daemon,
    pis: Vec<Pi>,
}

#[derive(Debug, Serialize)]
struct Daemon {
    cpu_seconds: f64,
    idle_memory_bytes: u64,
    peak_memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Pi {
    name: String,
    model: &'static str,
    mac: String,
    address: Option<String>,
    stage: &'static str,
    seconds: f64,
    error: Option<String>,
}

impl Demo {
    /// Runs the demonstration. Exit code 0 only if every Pi came up.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        net::isolate()?;
        let interrupts = Interrupts::catch().context("signals cannot be watched")?;
        let folder = Folder::make(&self.dir)?;
        let program = match &self.server {
            Some(server) => std::path::absolute(server).context("the server's path is not usable")?,
            None => std::env::current_exe().context("the program does not know its own path")?,
        };
        let mut out = io::stdout();
        if self.stay {
            return self.keep(&program, &folder.0, &interrupts);
        }
        let say = |text: String| if self.json { Ok(()) } else { writeln!(io::stdout(), "{text}") };

        let mut room = Classroom::open(&program, &folder.0, self.clients)?;
        say(format!("The daemon runs as process {}, in a network of its own.", room.server.pid()))?;
        room.import_sample(Release::Trixie)?;
        say(
            "A small image in the shape of Raspberry Pi OS 13 is imported; it is called `sample`.".to_owned()
        )?;
        let idle = room.server.usage()?;
        // The import has had its own peak.
        drop(room.server.forget_peak());

        say(format!("{} Pis are switched on, all at once.\n", self.clients))?;
        let rows = room.boards.iter().zip(1..).map(|(board, n)| Row::new(format!("seat-{n:02}"), *board));
        let mut table = Table::new(rows.collect());
        let live = !self.json && out.is_terminal();
        let began = Instant::now();
        let outcomes = room.boot(Options::default(), |news| {
            if interrupts.any() {
                return ControlFlow::Break(());
            }
            let now = began.elapsed();
            let shown = match news {
                Some((id, news)) => {
                    let line = table.hear(id, &news, now);
                    if self.json || live {
                        Ok(())
                    } else {
                        line.map_or(Ok(()), |line| writeln!(out, "{line}"))
                    }
                }
                None if live => {
                    let (columns, lines) = terminal::size(out.as_fd()).unwrap_or((80, 24));
                    out.write_all(table.paint(now, columns, lines).as_bytes()).and_then(|()| out.flush())
                }
                None => Ok(()),
            };
            // Nobody reads any more: stop as if interrupted.
            if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let took = began.elapsed();
        let outcomes = match outcomes {
            Err(ClassroomError::Interrupted) => {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            other => other?,
        };
        let after = room.server.usage()?;
        let summary = summarize(&table, &outcomes, took, idle, after);
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&summary)?)?;
        } else {
            if live {
                let (columns, lines) = terminal::size(out.as_fd()).unwrap_or((80, 24));
                out.write_all(table.paint(took, columns, lines).as_bytes())?;
            }
            out.write_all(summary.text().as_bytes())?;
        }
        Ok(if summary.up == summary.clients { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Demo {
    /// Leaves a school running to be looked at from another terminal.
    fn keep(&self, program: &Path, folder: &Path, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout();
        writeln!(out, "{} Pis are switched on; some people sit down at them.", self.clients)?;
        let school = School::open(program, folder, self.clients, |_| {
            if interrupts.any() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let school = match school {
            Err(SchoolError::Classroom(ClassroomError::Interrupted)) => {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            other => other?,
        };
        let site = school.room.server.site();
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
}

fn summarize(table: &Table, outcomes: &[Outcome], took: Duration, idle: Usage, after: Usage) -> Summary {
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
        daemon: Daemon {
            cpu_seconds: after.cpu.saturating_sub(idle.cpu).as_secs_f64(),
            idle_memory_bytes: idle.memory.0,
            peak_memory_bytes: after.peak.0,
        },
        pis,
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut text = format!(
            "\n{} of {} Pis came up in {:.1} s; half of them within {:.1} s.\n\
             {} by TFTP and {} by NFS, {:.0} MB/s in all.\n\
             The daemon used {:.2} s of CPU and at most {} of memory ({} before the Pis).\n",
            self.up,
            self.clients,
            self.slowest_seconds,
            self.median_seconds,
            ByteSize(self.tftp_bytes),
            ByteSize(self.nfs_bytes),
            self.megabytes_per_second,
            self.daemon.cpu_seconds,
            ByteSize(self.daemon.peak_memory_bytes),
            ByteSize(self.daemon.idle_memory_bytes),
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

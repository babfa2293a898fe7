//! `bramble backup` and `bramble restore`. The daemon reads and writes files itself; an archive on standard input or
//! output goes through a FIFO that is there for a moment.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::link::{Link, read};
use super::{Cli, CliError, complain, start};
use crate::api::answer::{JobStatus, Started};
use crate::service::jobs::JobState;
use crate::types::UserName;

/// What to back up.
#[derive(Debug, Args)]
pub struct Backup {
    /// The archive to make, on another disk; `-` for standard output
    to: PathBuf,
    /// Only the home of this account
    #[arg(long, value_name = "NAME")]
    home: Option<UserName>,
    /// Only what was changed on this day (UTC) or later, such as 2026-11-27
    #[arg(long, value_name = "DAY")]
    since: Option<String>,
}

/// What to restore.
#[derive(Debug, Args)]
pub struct Restore {
    /// An archive that `bramble backup` made; `-` for standard input
    from: PathBuf,
    /// Only the home of this account
    #[arg(long, value_name = "NAME")]
    home: Option<UserName>,
}

/// How often the daemon is asked while an archive goes through.
const PACE: Duration = Duration::from_millis(200);

impl Backup {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let params = |to: &Path| json!({ "to": to, "home": self.home, "since": self.since });
        if self.to != Path::new("-") {
            return start(cli, "home_backup", &params(&absolute(&self.to)));
        }
        through(cli, "home_backup", params, to_output)
    }
}

impl Restore {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let params = |from: &Path| json!({ "from": from, "home": self.home });
        if self.from != Path::new("-") {
            return start(cli, "home_restore", &params(&absolute(&self.from)));
        }
        through(cli, "home_restore", params, |fifo| {
            let mut to = File::options().write(true).open(fifo)?;
            io::copy(&mut io::stdin().lock(), &mut to).map(drop)
        })
    }
}

/// Carries what comes out of a FIFO to standard output.
pub(super) fn to_output(fifo: &Path) -> io::Result<()> {
    let mut from = File::open(fifo)?;
    let mut out = io::stdout().lock();
    io::copy(&mut from, &mut out)?;
    out.flush()
}

/// The daemon has another working folder than the person.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Starts a job whose archive goes through a FIFO that `carry` holds the other end of. Says how it ended on standard
/// error.
pub(super) fn through(
    cli: &Cli,
    method: &str,
    params: impl FnOnce(&Path) -> Value,
    carry: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> Result<ExitCode, CliError> {
    let pipe = Pipe::make()?;
    let mut link = Link::open(&cli.socket)?;
    let started: Started = read(&link.ask(method, &params(&pipe.path()))?)?;
    let carrier = thread::spawn({
        let path = pipe.path();
        move || carry(&path)
    });
    loop {
        let status: JobStatus = read(&link.ask("job_status", &json!({ "job": started.job }))?)?;
        match status.state {
            JobState::Queued | JobState::Running => {}
            JobState::Done => {
                // What is on its way arrives; when restoring, what is behind the archive's end is not read.
                if method != "home_restore" {
                    let _ = carrier.join();
                }
                complain(&status.message);
                return Ok(ExitCode::SUCCESS);
            }
            // The carrier may wait for a daemon that has given up; it ends with this process.
            _ => return Err(CliError::Job(status.message)),
        }
        thread::sleep(PACE);
    }
}

/// A FIFO in a folder of its own, both gone when this is.
struct Pipe(PathBuf);

impl Pipe {
    fn make() -> Result<Self, CliError> {
        let template = std::env::temp_dir().join("bramble-XXXXXX");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |errno: nix::errno::Errno| CliError::Pipe { path, source: errno.into() }
        };
        let pipe = Self(nix::unistd::mkdtemp(&template).map_err(failed(&template))?);
        nix::unistd::mkfifo(&pipe.path(), Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed(&pipe.path()))?;
        Ok(pipe)
    }

    fn path(&self) -> PathBuf {
        self.0.join("archive")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Left behind they are empty and in the folder for such things.
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(&self.0);
    }
}

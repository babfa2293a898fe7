//! A command in the draft of an image, as a job: on this router, or on the client that maintains the draft.
//!
//! On the router the job's thread starts this very program once more (`bramble image inside`), which has one thread and can
//! change its root ([`workshop`](super::workshop)). What the command prints is the job's ([`Printed`](crate::service::printed)).

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::drafts::DraftError;
use super::library::{Library, LibraryError};
use super::processor::{CannotRun, Processor};
use crate::proto::agent::run::{End, Line};
use crate::service::jobs::{Outcome, Stopped, Task};
use crate::service::room::agents::{Agents, RunEnd};
use crate::types::{HostName, ImageName, MacAddr};

/// How often a job looks whether it should go on.
const PACE: Duration = Duration::from_millis(200);

/// How many of the last lines say why a command failed.
const LINES: usize = 5;

/// Exit code of the helper if nothing ran; it has printed why.
pub const NOTHING_RAN: u8 = 125;

/// Why nothing can be run in a draft.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Processor(#[from] CannotRun),
    #[error("programs are run in a draft only where Bramble runs as root")]
    NotRoot,
}

impl Library {
    /// The draft of an image, if its programs run here.
    pub fn draft_that_runs(&self, name: &ImageName) -> Result<PathBuf, RunError> {
        if self.draft(name).map_err(DraftError::from)?.is_none() {
            return Err(self.none_of(name).into());
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(RunError::NotRoot);
        }
        let draft = self.draft_path(name);
        Processor::here().runs(name, &draft)?;
        Ok(draft)
    }

    /// Starts a command in the draft on this router; answers with the job.
    pub fn run_here(&self, name: &ImageName, line: Line) -> Result<u64, RunError> {
        let draft = self.draft_that_runs(name)?;
        let (name, subject) = (name.clone(), format!("{name}: {}", line.short()));
        let work = move |task: &Task| here(&name, &draft, &line, task);
        Ok(self
            .jobs
            .start("run", subject, work)
            .map_err(|error| DraftError::from(LibraryError::from(error)))?)
    }

    /// Starts a command on the client `mac`, which maintains the draft; answers with the job.
    pub fn run_there(
        &self,
        name: &ImageName,
        (mac, client): (MacAddr, HostName),
        line: Line,
        agents: std::sync::Arc<Agents>,
    ) -> Result<u64, RunError> {
        let subject = format!("{name}: {}", line.short());
        let started = self
            .jobs
            .start_beside("run", subject, |_| move |task: &Task| there(mac, &client, &line, &agents, task));
        Ok(started.map_err(|error| DraftError::from(LibraryError::from(error)))?)
    }
}

fn here(name: &ImageName, draft: &Path, line: &Line, task: &Task) -> Outcome {
    let failed = |error: io::Error| Stopped::Failed(format!("`{}` could not be run: {error}", line.short()));
    task.phase("running", 0).map_err(|_| Stopped::Cancelled)?;
    let (mut read, write) = io::pipe().map_err(failed)?;
    let mut helper = Command::new("/proc/self/exe");
    helper
        .args(["image", "inside", "--parent", &std::process::id().to_string(), name.as_str()])
        .arg(draft)
        .args(["--", "/bin/sh", "-c", line.as_str()])
        .stdin(Stdio::null())
        .stdout(write.try_clone().map_err(failed)?)
        .stderr(write);
    let mut child = helper.spawn().map_err(failed)?;
    drop(helper);
    let mut stopped = false;
    let mut bytes = [0; 4096];
    loop {
        if task.go_on().is_err() && !stopped {
            stopped = true;
            end(&child);
        }
        let mut fds = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(PACE).unwrap_or(PollTimeout::ZERO);
        if matches!(poll(&mut fds, timeout), Ok(0) | Err(_)) {
            continue;
        }
        match read.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => {
                task.printed().push(bytes.get(..length).unwrap_or_default());
                task.advance(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let status = child.wait().map_err(failed)?;
    let code = u8::try_from(status.code().unwrap_or(i32::from(NOTHING_RAN))).unwrap_or(u8::MAX);
    if code == NOTHING_RAN && !stopped {
        return Err(Stopped::Failed(task.printed().last_lines(LINES)));
    }
    told(line, &format!("in the draft of `{name}`"), code, stopped, task)
}

/// The helper passes it on, and makes an end after a while.
fn end(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

fn there(mac: MacAddr, client: &HostName, line: &Line, agents: &Agents, task: &Task) -> Outcome {
    task.phase("running", 0).map_err(|_| Stopped::Cancelled)?;
    let ticket = agents
        .run(mac, line.clone(), task)
        .map_err(|error| Stopped::Failed(format!("{client} cannot run `{}`: {error}", line.short())))?;
    let mut stopped = false;
    let end = loop {
        if let Some(end) = agents.end(ticket) {
            break end;
        }
        if task.go_on().is_err() {
            stopped = true;
            agents.stop(ticket);
        }
        std::thread::sleep(PACE);
    };
    agents.forget(ticket);
    match end {
        RunEnd::Told(End::Exited(code)) => told(line, &format!("on {client}"), code, stopped, task),
        RunEnd::Told(End::Not(why)) => {
            Err(Stopped::Failed(format!("{client} did not run `{}`: {why}", line.short())))
        }
        RunEnd::Lost => Err(Stopped::Failed(format!(
            "the connection to {client} ended while it ran `{}`; look there whether it goes on",
            line.short()
        ))),
    }
}

/// What the job says at its end.
fn told(line: &Line, place: &str, code: u8, stopped: bool, task: &Task) -> Outcome {
    let mut printed = task.printed();
    printed.ended(code);
    let line = line.short();
    if stopped {
        return Err(Stopped::Short(format!(
            "`{line}` was ended {place}; what it did until then is in the draft (`dpkg --configure -a` ends an installation that was broken off)"
        )));
    }
    if code == 0 {
        return Ok(format!("`{line}` was run {place}"));
    }
    let last = printed.last_lines(LINES);
    let last = if last.is_empty() { String::new() } else { format!(":\n{last}") };
    Err(Stopped::Failed(format!("`{line}` ended with exit code {code} {place}{last}")))
}

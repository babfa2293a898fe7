//! Waiting for a job: progress on a terminal, plain lines elsewhere, Ctrl-C cancels it.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::link::{Link, read};
use super::{Cli, CliError, print, show, text};
use crate::api::answer::JobStatus;
use crate::service::jobs::JobState;

/// How often the daemon is asked.
const PACE: Duration = Duration::from_millis(300);

/// Watches `job` to its end; the error is why it was not done.
pub fn end_of(cli: &Cli, link: &mut Link, job: u64) -> Result<(), CliError> {
    let (status, interrupted) = watched(cli, link, job)?;
    match status.state {
        JobState::Done => Ok(()),
        JobState::Cancelled if interrupted => Err(CliError::Interrupted(status.message)),
        _ => Err(CliError::Job(status.message)),
    }
}

fn watched(cli: &Cli, link: &mut Link, job: u64) -> Result<(JobStatus, bool), CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Signals)?;
    runtime.block_on(follow(cli, link, job))
}

/// Watches `job` to its end. Success only if it was done.
pub fn watch(cli: &Cli, link: &mut Link, job: u64) -> Result<ExitCode, CliError> {
    let (status, interrupted) = watched(cli, link, job)?;
    if cli.json {
        print(&format!("{}\n", json!(status)));
    }
    match status.state {
        JobState::Done if cli.json => Ok(ExitCode::SUCCESS),
        JobState::Done => {
            print(&format!("{}\n", status.message));
            Ok(ExitCode::SUCCESS)
        }
        JobState::Cancelled if interrupted && cli.json => Ok(ExitCode::from(super::INTERRUPTED)),
        JobState::Cancelled if interrupted => Err(CliError::Interrupted(status.message)),
        _ if cli.json => Ok(ExitCode::FAILURE),
        _ => Err(CliError::Job(status.message)),
    }
}

/// How `job` ended, and whether it was told to from here.
async fn follow(cli: &Cli, link: &mut Link, job: u64) -> Result<(JobStatus, bool), CliError> {
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(CliError::Signals)?;
    let mut interrupted = false;
    let mut progress =
        Progress { quiet: cli.json, live: io::stdout().is_terminal(), last: String::new(), long: 0 };
    loop {
        let status: JobStatus = read(&link.ask("job_status", &json!({ "job": job }))?)?;
        match status.state {
            JobState::Queued | JobState::Running if interrupted => {}
            JobState::Queued | JobState::Running => progress.show(&status),
            _ => {
                progress.end();
                return Ok((status, interrupted));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            // Who asks twice does not want to wait until the job looks whether it should go on.
            Some(()) = interrupts.recv() => {
                progress.keep();
                if interrupted {
                    return Err(goes_on(job));
                }
                interrupted = true;
                // If it ended in this moment there is nothing to cancel, and the next question tells how it ended.
                let _ = link.ask("job_cancel", &json!({ "job": job }));
            }
        }
    }
}

/// What has been printed.
struct Progress {
    quiet: bool,
    live: bool,
    last: String,
    /// Characters of the line on the terminal.
    long: usize,
}

impl Progress {
    fn show(&mut self, status: &JobStatus) {
        if self.quiet {
            return;
        }
        if self.live {
            // A line that is wrapped could not be written over.
            let line = text::cut(&show::progress(status), super::width().saturating_sub(1));
            let blanks = " ".repeat(self.long.saturating_sub(line.chars().count()));
            print(&format!("\r{line}{blanks}"));
            self.long = line.chars().count();
            return;
        }
        // A log gets a line per phase, not one per question.
        let phase = show::phase(status);
        if phase != self.last {
            print(&format!("{phase}\n"));
            self.last = phase;
        }
    }

    /// Leaves the line as it is, with the `^C` that the terminal put behind it.
    fn keep(&mut self) {
        if self.live && self.long > 0 {
            print("\n");
            self.long = 0;
        }
    }

    fn end(&self) {
        if self.live && self.long > 0 {
            print(&format!("\r{}\r", " ".repeat(self.long)));
        }
    }
}

/// Somebody has asked twice for the end of a job, and waits no longer.
pub(super) fn goes_on(job: u64) -> CliError {
    CliError::Interrupted(format!(
        "job {job} was told to stop and has not yet; `bramble job show {job}` tells when it has"
    ))
}

//! Imports wait for each other, and outlive a stop of Bramble.
//!
//! What somebody asked for is in the store until its job is over. What a stop ended, or kept from beginning, is begun again by
//! the next start as a new job, from its beginning: nothing of a half import is kept, and a folder that it left goes. An
//! import that was at work when Bramble was stopped [`limits::IMPORT_BEGINS`] times is not begun again: it may be the reason.

use std::time::Duration;

use super::{ImportError, Request, available_memory, stopped};
use crate::service::images::library::Library;
use crate::service::images::source::{self, Opened, Sums};
use crate::service::jobs::{Outcome, Stopped, Task};
use crate::store::StoreError;
use crate::store::imports::Kept;
use crate::types::{chain, limits};

/// How long an import that is begun again waits for its disk: after a start, disks appear one after the other.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often it looks.
const PACE: Duration = Duration::from_millis(500);

impl Library {
    /// Starts an import and answers with its job. What cannot work is refused here where it can be known at once.
    pub fn import(&self, request: Request) -> Result<u64, ImportError> {
        let opened = self.open_source(&request)?;
        self.begin_import(request, Some(opened), 0)
    }

    /// Starts an import again that has been begun `begun` times. It may be from a disk that is not there yet: that is waited
    /// for in the job.
    fn import_again(&self, request: Request, begun: u32) -> Result<u64, ImportError> {
        let opened = match self.open_source(&request) {
            Err(error) if error.is_absent() => None,
            other => Some(other?),
        };
        self.begin_import(request, opened, begun)
    }

    fn begin_import(&self, request: Request, opened: Option<Opened>, begun: u32) -> Result<u64, ImportError> {
        let library = self.clone();
        let subject = request.name.to_string();
        let mut kept = Ok(());
        let id = self.jobs.start_with_id("import", subject, |job| {
            let text = serde_json::to_string(&request).unwrap_or_default();
            kept = self.store.import_keep(job, &text, begun);
            move |task: &Task| library.work(&request, opened, job, begun, task)
        })?;
        if let Err(error) = kept {
            // It runs nevertheless; only a stop in the middle would lose it.
            tracing::warn!(job = id, error = chain(&error), "an import could not be kept");
        }
        Ok(id)
    }

    /// Finds what is to be imported, and refuses what cannot be.
    fn open_source(&self, request: &Request) -> Result<Opened, ImportError> {
        let path = self.uploads.path_of(&request.source);
        let opened = source::open(path.as_deref().unwrap_or(&request.source))?;
        match &opened {
            Opened::Folder(_) | Opened::Device(_) if request.expect != Sums::default() => {
                return Err(ImportError::SumOfFolder);
            }
            Opened::Folder(_) => {}
            Opened::Device(path) => self.devices.check(path)?,
            Opened::Web(_) => {
                let content = request.origin.as_ref().and_then(|origin| origin.content_bytes);
                self.check_space(request, content.unwrap_or(0), false)?;
            }
            Opened::File(file) => {
                file.check_memory(available_memory())?;
                self.check_space(request, file.unpacked.unwrap_or(file.bytes), false)?;
            }
        }
        Ok(opened)
    }

    /// As [`Self::open_source`], and waits a while for what is not there.
    fn wait_for_source(&self, request: &Request, task: &Task) -> Result<Opened, ImportError> {
        task.phase("waiting for the disk", 0)?;
        let mut waited = Duration::ZERO;
        loop {
            match self.open_source(request) {
                Err(error) if error.is_absent() && waited < PATIENCE => {
                    task.go_on()?;
                    std::thread::sleep(PACE);
                    waited += PACE;
                }
                other => return other,
            }
        }
    }

    /// The job. What was asked for is forgotten when it is over, unless Bramble is being stopped.
    fn work(&self, request: &Request, opened: Option<Opened>, job: u64, begun: u32, task: &Task) -> Outcome {
        let note = |done: Result<(), StoreError>| {
            if let Err(error) = done {
                tracing::warn!(job, error = chain(&error), "an import could not be noted");
            }
        };
        note(self.store.import_begun(job, begun + 1));
        let opened = opened.map_or_else(|| self.wait_for_source(request, task), Ok);
        let outcome = opened.and_then(|opened| self.run(request, opened, job, task)).map_err(|error| {
            // Whatever it failed of while it was being cancelled, it was cancelled.
            if task.go_on().is_err() { Stopped::Cancelled } else { stopped(error) }
        });
        if !task.stopping() {
            note(self.store.import_forget(job));
        }
        if outcome.is_ok() {
            self.uploads.used(&request.source);
        }
        outcome
    }

    /// Begins again what a stop of Bramble ended or kept from beginning. Called once, at the start.
    pub fn resume_imports(&self) {
        let kept = match self.store.imports_kept() {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(error = chain(&error), "imports that were interrupted cannot be found");
                return;
            }
        };
        for Kept { job, request, begun } in kept {
            let again = serde_json::from_str(&request).ok().filter(|_| begun < limits::IMPORT_BEGINS);
            let says = match again.map(|request: Request| self.import_again(request, begun)) {
                Some(Ok(next)) => format!("Bramble was stopped before this was done; job {next} does it again"),
                Some(Err(error)) => {
                    format!("Bramble was stopped before this was done, and it cannot be begun again: {}", chain(&error))
                }
                None => "Bramble was stopped several times while this ran; nothing of it was kept, start it again when \
                         the reason is known"
                    .to_owned(),
            };
            let told = self.store.job_says(job, &says).and_then(|()| self.store.import_forget(job));
            if let Err(error) = told {
                tracing::error!(job, error = chain(&error), "an interrupted import cannot be noted");
            }
        }
    }
}

//! Long work: started, watched, cancelled, and found again when Bramble was stopped in the middle.
//!
//! Everything that may take longer than LuCI waits for a call (20 seconds) is a job. Jobs are heavy (they fill a disk or
//! read one), so one runs at a time on a thread of its own and the others wait in a queue anybody can see; the thread
//! ends with the last of them. What is light ([`Jobs::start_beside`]) does not wait for them. Progress is
//! a few atomics that the work adds to and anybody reads ([`Task`]). Cancelling sets a flag that the work looks at between two
//! pieces.
#![expect(
    clippy::disallowed_methods,
    reason = "a job notes itself when it began and ended, on its own thread"
)]

mod task;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::task::{Cancelled, Outcome, Stopped, Task, Unit};
use self::task::{STOPPING, lock, pace};
use super::printed::{Piece, Printed};
pub use crate::store::jobs::JobState;
use crate::store::{Store, StoreError};
use crate::types::{Moment, chain, limits};

/// What people are told about a job that a stop of Bramble ended.
const INTERRUPTED: &str = "Bramble was stopped while this ran; nothing of it was kept, start it again";

/// All jobs of this run, and the thread they run on.
#[derive(Clone, Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    state: Mutex<State>,
    /// Told whenever a job begins or ends.
    changed: Condvar,
    /// As `changed`, for those who do not hold a thread; also when a job is queued.
    stirred: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    /// Jobs queued and running, and the last ended ones of this run.
    known: BTreeMap<u64, Arc<Entry>>,
    worker: bool,
    /// Light jobs, each on a thread of its own.
    beside: usize,
    closed: bool,
}

struct Waiting {
    entry: Arc<Entry>,
    work: Box<dyn FnOnce(&Task) -> Outcome + Send>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    kind: &'static str,
    subject: String,
    queued_at: Moment,
    task: Task,
    end: Mutex<Option<End>>,
}

#[derive(Clone, Debug)]
struct End {
    state: JobState,
    message: String,
    at: Moment,
}

/// Why a job was not started or not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(
        "{} jobs are waiting already; wait for one to end, or cancel one (`bramble job list`)",
        limits::JOBS_QUEUED
    )]
    TooMany,
    #[error("Bramble is being stopped; start the job again when it is back")]
    Closed,
    #[error("there is no job {0}; `bramble job list` shows those there are")]
    NoSuchJob(u64),
    #[error("job {id} is over ({}), there is nothing to cancel", state.as_str())]
    Over { id: u64, state: JobState },
    #[error("the job could not be started")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One job as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    pub id: u64,
    /// `import`, `remove`, …
    pub kind: String,
    /// What it is about, such as `trixie@2`.
    pub subject: String,
    pub state: JobState,
    /// What is being done now, such as `unpacking`; empty unless it runs.
    pub phase: String,
    /// Of this phase, in [`Self::unit`].
    pub done: u64,
    /// Zero if it cannot be known.
    pub of: u64,
    /// What is counted.
    #[serde(default)]
    pub unit: Unit,
    /// Of that per second, over this phase.
    pub rate: u64,
    /// Seconds, if they can be told.
    pub time_left: Option<u64>,
    /// How it ended.
    pub message: String,
    pub started_at: Moment,
    pub ended_at: Option<Moment>,
}

impl Jobs {
    /// Opens the list. Jobs that the last run left unfinished become `interrupted` and are answered, so that their
    /// owners can clean up.
    pub fn open(store: Store) -> Result<(Self, Vec<JobStatus>), StoreError> {
        let found = store.jobs_interrupt(INTERRUPTED, Moment::from(SystemTime::now()))?;
        for job in &found {
            tracing::warn!(job = job.id, kind = job.kind, subject = job.subject, "job was interrupted");
        }
        let shared = Shared {
            store,
            state: Mutex::default(),
            changed: Condvar::new(),
            stirred: watch::Sender::new(()),
        };
        Ok((Self { shared: Arc::new(shared) }, found.into_iter().map(JobStatus::from_row).collect()))
    }

    /// Queues `work` and answers with the job's number at once.
    ///
    /// `kind` is one word for programs and people, `subject` what the job is about.
    pub fn start(
        &self,
        kind: &'static str,
        subject: String,
        work: impl FnOnce(&Task) -> Outcome + Send + 'static,
    ) -> Result<u64, JobError> {
        self.start_with_id(kind, subject, |_| work)
    }

    /// As [`Jobs::start`], for work that must know the number of its job.
    pub fn start_with_id<W: FnOnce(&Task) -> Outcome + Send + 'static>(
        &self,
        kind: &'static str,
        subject: String,
        work: impl FnOnce(u64) -> W,
    ) -> Result<u64, JobError> {
        let (mut state, entry) =
            self.admit(|state| state.queue.len() >= limits::JOBS_QUEUED, kind, subject)?;
        state.queue.push_back(Waiting { entry: Arc::clone(&entry), work: Box::new(work(entry.id)) });
        if !state.worker {
            let shared = Arc::clone(&self.shared);
            if let Err(error) = thread::Builder::new().name("jobs".to_owned()).spawn(move || shared.run()) {
                state.queue.pop_back();
                return Err(self.no_thread(state, &entry, error));
            }
            state.worker = true;
        }
        self.shared.stirred.send_replace(());
        Ok(entry.id)
    }

    /// Begins work that is light on the disk at once, beside the job of the queue, which may take an hour.
    pub fn start_beside<W: FnOnce(&Task) -> Outcome + Send + 'static>(
        &self,
        kind: &'static str,
        subject: String,
        work: impl FnOnce(u64) -> W,
    ) -> Result<u64, JobError> {
        let (mut state, entry) = self.admit(|state| state.beside >= limits::JOBS_BESIDE, kind, subject)?;
        let (shared, work, begun) = (Arc::clone(&self.shared), work(entry.id), Arc::clone(&entry));
        let thread = thread::Builder::new().name("job".to_owned()).spawn(move || {
            shared.carry_out(&begun, work);
            lock(&shared.state).beside -= 1;
            shared.changed.notify_all();
        });
        if let Err(error) = thread {
            return Err(self.no_thread(state, &entry, error));
        }
        state.beside += 1;
        drop(state);
        self.shared.stirred.send_replace(());
        Ok(entry.id)
    }

    /// Gives a job its number and its row, unless there are as many as there may be.
    fn admit(
        &self,
        is_full: fn(&State) -> bool,
        kind: &'static str,
        subject: String,
    ) -> Result<(MutexGuard<'_, State>, Arc<Entry>), JobError> {
        let mut state = self.state();
        if state.closed {
            return Err(JobError::Closed);
        }
        if is_full(&state) {
            return Err(JobError::TooMany);
        }
        let queued_at = Moment::from(SystemTime::now());
        let id = self.shared.store.job_add(kind, &subject, queued_at)?;
        let entry =
            Arc::new(Entry { id, kind, subject, queued_at, task: Task::unwatched(), end: Mutex::new(None) });
        state.known.insert(id, Arc::clone(&entry));
        while state.known.len() > limits::JOBS_REMEMBERED {
            let Some(id) = state.known.iter().find(|(_, entry)| entry.is_over()).map(|(id, _)| *id) else {
                break;
            };
            state.known.remove(&id);
        }
        Ok((state, entry))
    }

    fn no_thread(&self, mut state: MutexGuard<'_, State>, entry: &Entry, error: std::io::Error) -> JobError {
        state.known.remove(&entry.id);
        drop(state);
        let message = format!("no thread could be started: {error}");
        match self.shared.store.job_ended(entry.id, JobState::Failed, &message, entry.queued_at) {
            Ok(()) => JobError::Thread(error),
            Err(error) => error.into(),
        }
    }

    /// Changes when a job is queued, begins or ends; its progress is looked at by whoever wants it.
    pub fn stirred(&self) -> watch::Receiver<()> {
        self.shared.stirred.subscribe()
    }

    /// Every job on record, newest first.
    pub fn list(&self) -> Result<Vec<JobStatus>, StoreError> {
        let rows = self.shared.store.jobs()?;
        let state = self.state();
        let live = |row: crate::store::jobs::JobRow| match state.known.get(&row.id) {
            Some(entry) => entry.status(),
            None => JobStatus::from_row(row),
        };
        Ok(rows.into_iter().map(live).collect())
    }

    pub fn status(&self, id: u64) -> Result<JobStatus, JobError> {
        if let Some(entry) = self.state().known.get(&id) {
            return Ok(entry.status());
        }
        self.list()?.into_iter().find(|job| job.id == id).ok_or(JobError::NoSuchJob(id))
    }

    /// What the program of a job of this run has printed, from position `from` on, and whether the job is over.
    pub fn printed(&self, id: u64, from: u64) -> Result<(Piece, bool), JobError> {
        let known = self.state().known.get(&id).cloned();
        let Some(entry) = known else {
            // One of an earlier run: what it printed is forgotten.
            self.status(id)?;
            return Ok((Printed::default().piece(0, 0), true));
        };
        // In this order: what is printed before the end is not missed.
        let over = entry.is_over();
        let piece = entry.task.printed().piece(from, limits::JOB_PIECE);
        Ok((piece, over))
    }

    /// Asks a job to stop. One that waits is over at once; one that runs notices within a moment.
    pub fn cancel(&self, id: u64) -> Result<(), JobError> {
        let mut state = self.state();
        let Some(entry) = state.known.get(&id).cloned() else {
            drop(state);
            let job = self.status(id)?;
            return Err(JobError::Over { id, state: job.state });
        };
        if let Some(end) = lock(&entry.end).as_ref() {
            return Err(JobError::Over { id, state: end.state });
        }
        entry.task.cancel();
        if let Some(at) = state.queue.iter().position(|waiting| waiting.entry.id == id) {
            state.queue.remove(at);
            drop(state);
            self.shared.ended(&entry, Err(Stopped::Cancelled));
        }
        Ok(())
    }

    /// Waits until the job is over. Blocks the thread.
    pub fn wait(&self, id: u64) -> Result<JobStatus, JobError> {
        let mut state = self.state();
        loop {
            match state.known.get(&id) {
                Some(entry) if !entry.is_over() => {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(entry) => return Ok(entry.status()),
                None => {
                    drop(state);
                    return self.status(id);
                }
            }
        }
    }

    /// Stops everything for a stop of Bramble and waits until the work has cleaned up behind itself.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let waiting: Vec<_> = state.queue.drain(..).collect();
        for entry in state.known.values() {
            entry.task.wish(STOPPING);
        }
        drop(state);
        for waiting in waiting {
            self.shared.ended(&waiting.entry, Err(Stopped::Cancelled));
        }
        let mut state = self.state();
        while state.worker || state.beside > 0 {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("known", &lock(&self.state).known.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The thread: one job after the other until none waits.
    fn run(&self) {
        loop {
            let mut state = lock(&self.state);
            let Some(Waiting { entry, work }) = state.queue.pop_front() else {
                state.worker = false;
                drop(state);
                self.changed.notify_all();
                return;
            };
            drop(state);
            self.carry_out(&entry, work);
        }
    }

    fn carry_out(&self, entry: &Entry, work: impl FnOnce(&Task) -> Outcome) {
        tracing::info!(job = entry.id, kind = entry.kind, subject = entry.subject, "job started");
        if let Err(error) = self.store.job_runs(entry.id) {
            tracing::error!(job = entry.id, error = chain(&error), "job could not be noted");
        }
        *lock(&entry.task.0.phase) = ("starting", Unit::Bytes, Instant::now());
        self.stirred.send_replace(());
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&entry.task))).unwrap_or_else(|_| {
            Err(Stopped::Failed(
                "a fault in Bramble ended this job; please report it with the log".to_owned(),
            ))
        });
        self.ended(entry, outcome);
    }

    fn ended(&self, entry: &Entry, outcome: Outcome) {
        let (state, message) = match outcome {
            Ok(message) => (JobState::Done, message),
            Err(Stopped::Cancelled) if entry.task.stopping() => {
                (JobState::Interrupted, INTERRUPTED.to_owned())
            }
            Err(Stopped::Short(message)) if entry.task.stopping() => (JobState::Interrupted, message),
            Err(stopped @ (Stopped::Cancelled | Stopped::Short(_))) => {
                (JobState::Cancelled, stopped.to_string())
            }
            Err(Stopped::Failed(message)) => (JobState::Failed, message),
        };
        let at = Moment::from(SystemTime::now());
        let ms = u64::try_from(at.since(entry.queued_at).as_millis()).unwrap_or(u64::MAX);
        if state == JobState::Failed {
            tracing::error!(job = entry.id, kind = entry.kind, ms, error = message, "job failed");
        } else {
            tracing::info!(job = entry.id, kind = entry.kind, ms, state = state.as_str(), "job ended");
        }
        if let Err(error) = self.store.job_ended(entry.id, state, &message, at) {
            tracing::error!(job = entry.id, error = chain(&error), "end of a job could not be noted");
        }
        *lock(&entry.end) = Some(End { state, message, at });
        // Taken so that nobody who has just found the job running sleeps through this.
        drop(lock(&self.state));
        self.changed.notify_all();
        self.stirred.send_replace(());
    }
}

impl Entry {
    fn is_over(&self) -> bool {
        lock(&self.end).is_some()
    }

    fn status(&self) -> JobStatus {
        let progress = &self.task.0;
        let (phase, unit, since) = *lock(&progress.phase);
        let done = progress.done.load(Ordering::Relaxed);
        let of = progress.of.load(Ordering::Relaxed);
        let (rate, time_left) = pace(done, of, since.elapsed());
        let mut status = JobStatus {
            id: self.id,
            kind: self.kind.to_owned(),
            subject: self.subject.clone(),
            state: if phase.is_empty() { JobState::Queued } else { JobState::Running },
            phase: phase.to_owned(),
            done,
            of,
            unit,
            rate,
            time_left,
            message: String::new(),
            started_at: self.queued_at,
            ended_at: None,
        };
        if let Some(end) = lock(&self.end).clone() {
            status.state = end.state;
            status.message = end.message;
            status.ended_at = Some(end.at);
            status.phase.clear();
            status.time_left = None;
        }
        status
    }
}

impl JobStatus {
    fn from_row(row: crate::store::jobs::JobRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            subject: row.subject,
            state: row.state,
            phase: String::new(),
            done: 0,
            of: 0,
            unit: Unit::Bytes,
            rate: 0,
            time_left: None,
            message: row.message,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn jobs(folder: &tempfile::TempDir) -> (Jobs, Vec<JobStatus>) {
        Jobs::open(Store::open(&folder.path().join("bramble.db")).expect("a store")).expect("a list of jobs")
    }

    /// Work that says when it runs and ends when it is told to, or when it is cancelled.
    fn held() -> (impl FnOnce(&Task) -> Outcome + Send + 'static, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (runs, running) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let work = move |task: &Task| {
            task.phase("holding", 1000).map_err(|Cancelled| Stopped::Cancelled)?;
            task.advance(250);
            runs.send(()).expect("the test listens");
            while task.go_on().is_ok() {
                match released.recv_timeout(Duration::from_millis(5)) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return Ok("held and let go".to_owned()),
                }
            }
            Err(Stopped::Cancelled)
        };
        (work, running, release)
    }

    #[test]
    fn one_runs_and_the_others_wait_where_everybody_sees_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let (jobs, _) = jobs(&folder);
        let (work, running, release) = held();
        let first = jobs.start("import", "one".to_owned(), work).expect("started");
        running.recv().expect("it runs");
        let second = jobs.start("import", "two".to_owned(), |_| Ok("fine".to_owned())).expect("queued");
        let seen = jobs.status(first).expect("known");
        assert_eq!(
            (seen.state, seen.phase.as_str(), seen.done, seen.of),
            (JobState::Running, "holding", 250, 1000)
        );
        assert_eq!(jobs.status(second).expect("known").state, JobState::Queued);
        let order: Vec<_> = jobs.list().expect("a list").into_iter().map(|job| job.subject).collect();
        assert_eq!(order, ["two", "one"]);
        release.send(()).expect("it listens");
        let (first, second) = (jobs.wait(first).expect("known"), jobs.wait(second).expect("known"));
        assert_eq!((first.state, first.message.as_str()), (JobState::Done, "held and let go"));
        assert_eq!((second.state, second.message.as_str()), (JobState::Done, "fine"));
        assert!(second.ended_at >= first.ended_at);
    }

    #[test]
    fn cancelling_ends_a_running_job_and_a_waiting_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (jobs, _) = jobs(&folder);
        let (work, running, _release) = held();
        let first = jobs.start("import", "one".to_owned(), work).expect("started");
        running.recv().expect("it runs");
        let second = jobs.start("import", "two".to_owned(), |_| Ok("never".to_owned())).expect("queued");
        jobs.cancel(second).expect("it waits");
        assert_eq!(jobs.wait(second).expect("known").state, JobState::Cancelled);
        jobs.cancel(first).expect("it runs");
        let first_end = jobs.wait(first).expect("known");
        assert_eq!(
            (first_end.state, first_end.message.as_str()),
            (JobState::Cancelled, "cancelled; nothing was kept")
        );
        let refusal = jobs.cancel(first).expect_err("over").to_string();
        assert_eq!(refusal, format!("job {first} is over (cancelled), there is nothing to cancel"));
        let unknown = jobs.cancel(99).expect_err("unknown").to_string();
        assert_eq!(unknown, "there is no job 99; `bramble job list` shows those there are");
    }

    #[test]
    fn a_stop_is_told_from_a_cancel_and_found_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stopped, _) = jobs(&folder);
        let (work, running, _release) = held();
        let first = stopped.start("import", "one".to_owned(), work).expect("started");
        running.recv().expect("it runs");
        stopped.close();
        assert_eq!(stopped.status(first).expect("known").state, JobState::Interrupted);
        assert!(matches!(
            stopped.start("import", "two".to_owned(), |_| Ok(String::new())),
            Err(JobError::Closed)
        ));

        // Killed: the row still says that it runs.
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let killed = store.job_add("import", "three", Moment::from_secs(1)).expect("noted");
        store.job_runs(killed).expect("noted");
        let (again, found) = Jobs::open(store).expect("a list of jobs");
        assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), [killed]);
        let seen = again.status(killed).expect("on record");
        assert_eq!((seen.state, seen.message.as_str()), (JobState::Interrupted, INTERRUPTED));
    }

    #[test]
    fn a_failure_and_a_fault_end_the_job_and_not_the_queue() {
        let folder = tempfile::tempdir().expect("a folder");
        let (jobs, _) = jobs(&folder);
        let failed =
            jobs.start("import", "one".to_owned(), |_| Err(Stopped::Failed("the disk is full".to_owned())));
        let fault = jobs.start("import", "two".to_owned(), |_| panic!("on purpose"));
        let fine = jobs.start("import", "three".to_owned(), |_| Ok("fine".to_owned()));
        let end = |id: Result<u64, JobError>| jobs.wait(id.expect("started")).expect("known");
        assert_eq!(end(failed).message, "the disk is full");
        assert_eq!(end(fault).state, JobState::Failed);
        assert_eq!(end(fine).state, JobState::Done);
    }

    #[test]
    fn the_queue_has_an_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (jobs, _) = jobs(&folder);
        let (work, running, _release) = held();
        jobs.start("import", "one".to_owned(), work).expect("started");
        running.recv().expect("it runs");
        for _ in 0..limits::JOBS_QUEUED {
            jobs.start("import", "more".to_owned(), |_| Ok(String::new())).expect("queued");
        }
        let refusal = jobs.start("import", "too many".to_owned(), |_| Ok(String::new())).expect_err("full");
        assert_eq!(
            refusal.to_string(),
            "8 jobs are waiting already; wait for one to end, or cancel one (`bramble job list`)"
        );
        jobs.close();
    }
}

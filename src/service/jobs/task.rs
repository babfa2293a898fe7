//! The side of a job that its work holds: how far it is, whether to go on, and how it ends.
#![expect(
    clippy::disallowed_methods,
    reason = "progress per second needs the clock, on the job's own thread"
)]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portable_atomic::AtomicU64;
use serde::{Deserialize, Serialize};

use crate::service::printed::Printed;
use crate::types::chain;

/// What work hands back: a sentence about what was done, or why it was not.
pub type Outcome = Result<String, Stopped>;

/// Why a job ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("cancelled; nothing was kept")]
    Cancelled,
    /// Cancelled, and something was kept; a sentence says what.
    #[error("{0}")]
    Short(String),
    #[error("{0}")]
    Failed(String),
}

impl Stopped {
    /// A failure told with all its causes.
    pub fn because(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed(chain(error))
    }
}

/// Somebody asked the work to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled; nothing was kept")]
pub struct Cancelled;

/// What the progress of a job is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    #[default]
    Bytes,
    People,
}

/// The side of a job that the work holds: says how far it is, and hears whether to go on. Clones share it.
#[derive(Clone, Debug)]
pub struct Task(pub(super) Arc<Progress>);

#[derive(Debug)]
pub(super) struct Progress {
    /// See [`RUNNING`].
    wish: AtomicU8,
    pub(super) done: AtomicU64,
    pub(super) of: AtomicU64,
    pub(super) phase: Mutex<(&'static str, Unit, Instant)>,
    printed: Mutex<Printed>,
}

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
pub(super) const STOPPING: u8 = 2;

impl Task {
    /// A task nobody watches: for work that is done while the caller waits.
    pub fn unwatched() -> Self {
        Self(Arc::new(Progress {
            wish: AtomicU8::new(RUNNING),
            done: AtomicU64::new(0),
            of: AtomicU64::new(0),
            phase: Mutex::new(("", Unit::Bytes, Instant::now())),
            printed: Mutex::default(),
        }))
    }

    /// What the program of this job prints.
    pub fn printed(&self) -> MutexGuard<'_, Printed> {
        lock(&self.0.printed)
    }

    /// Begins a phase of `of` bytes; zero if that is not known.
    pub fn phase(&self, name: &'static str, of: u64) -> Result<(), Cancelled> {
        self.phase_in(Unit::Bytes, name, of)
    }

    /// Begins a phase that is counted in `unit`.
    pub fn phase_in(&self, unit: Unit, name: &'static str, of: u64) -> Result<(), Cancelled> {
        *lock(&self.0.phase) = (name, unit, Instant::now());
        self.0.done.store(0, Ordering::Relaxed);
        self.0.of.store(of, Ordering::Relaxed);
        self.go_on()
    }

    /// `more` of this phase is done.
    pub fn advance(&self, more: u64) {
        self.0.done.fetch_add(more, Ordering::Relaxed);
    }

    /// Called between two pieces of work of a fraction of a second.
    pub fn go_on(&self) -> Result<(), Cancelled> {
        if self.0.wish.load(Ordering::Relaxed) == RUNNING { Ok(()) } else { Err(Cancelled) }
    }

    pub fn cancel(&self) {
        self.wish(CANCELLED);
    }

    pub(super) fn wish(&self, wish: u8) {
        // The first wish stays: a job that a person cancelled is not "interrupted" by the stop that follows.
        let _ = self.0.wish.compare_exchange(RUNNING, wish, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it is asked to stop because Bramble is being stopped.
    pub fn stopping(&self) -> bool {
        self.0.wish.load(Ordering::Relaxed) == STOPPING
    }
}

/// How many per second, and seconds left of a phase that has run for `elapsed`.
pub(super) fn pace(done: u64, of: u64, elapsed: Duration) -> (u64, Option<u64>) {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = u64::try_from(u128::from(done) * 1000 / u128::from(ms)).unwrap_or(u64::MAX);
    let left = of.saturating_sub(done);
    let told = rate > 0 && of > 0 && ms >= 1000;
    (rate, told.then(|| left.div_ceil(rate.max(1))))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_and_time_left() {
        #[rustfmt::skip]
        let rows = [
            // done, of, elapsed ms, rate, left
            (0, 100, 5000, 0, None),
            (500, 2000, 5000, 100, Some(15)),
            (500, 0, 5000, 100, None),
            (500, 2000, 100, 5000, None),
            (2000, 1000, 1000, 2000, Some(0)),
        ];
        for (done, of, ms, rate, left) in rows {
            assert_eq!(pace(done, of, Duration::from_millis(ms)), (rate, left), "{done} of {of}");
        }
    }
}

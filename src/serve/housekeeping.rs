//! What is done once a day: homes are held against the accounts, what of them has been in the attic for long enough is
//! deleted, and every home is measured; old versions of images that nobody boots go.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that services need not")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::supervisor::{Stop, stopped};
use crate::service::homes::{HomeError, Homes};
use crate::service::jobs::Task;
use crate::service::shares::Shares;
use crate::types::{Moment, chain};

/// The first time is this long after the start, when clients have booted and the clock has been set.
const AFTER_START: Duration = Duration::from_mins(20);

const EVERY: Duration = Duration::from_hours(24);

/// The work was not even begun.
#[derive(Debug, thiserror::Error)]
#[error("the daily work broke off")]
pub struct BrokeOff(#[source] tokio::task::JoinError);

/// Keeps house until told to stop.
pub async fn run(homes: Homes, shares: Shares, mut stop: Stop) -> Result<(), BrokeOff> {
    let mut wait = AFTER_START;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
        wait = EVERY;
        let (homes, shares, task) = (homes.clone(), shares.clone(), Task::unwatched());
        let told = task.clone();
        let mut work = tokio::task::spawn_blocking(move || once(&homes, &shares, &told));
        tokio::select! {
            () = stopped(&mut stop) => {
                task.cancel();
                work.await.map_err(BrokeOff)?;
                return Ok(());
            }
            done = &mut work => done.map_err(BrokeOff)?,
        }
    }
}

/// Work of a moment, once a day, until told to stop. What it starts besides is a job.
pub async fn daily(work: Arc<dyn Fn(Moment) + Send + Sync>, mut stop: Stop) -> Result<(), BrokeOff> {
    let mut wait = AFTER_START;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
        wait = EVERY;
        let work = Arc::clone(&work);
        tokio::task::spawn_blocking(move || work(Moment::from(SystemTime::now()))).await.map_err(BrokeOff)?;
    }
}

fn once(homes: &Homes, shares: &Shares, task: &Task) {
    let now = Moment::from(SystemTime::now());
    homes.settle(shares, now);
    let done = homes.sweep(now).and_then(|_| homes.measure(now, task));
    if let Err::<_, HomeError>(error) = done {
        tracing::error!(error = chain(&error), "homes could not be looked after; the next try is tomorrow");
    }
    if let Err(error) = shares.measure(now, task) {
        tracing::error!(error = chain(&error), "shares could not be measured; the next try is tomorrow");
    }
}

//! What is looked at now and then for the sake of images: whether one of theirs has a newer release, and uploads that nobody
//! goes on with.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that services need not")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::supervisor::{Stop, stopped};
use crate::config::{Config, FOREVER};
use crate::service::images::catalogue::Catalogues;
use crate::service::images::uploads::Uploads;
use crate::service::jobs::Task;
use crate::types::{Moment, chain};

/// How often it is considered; most times nothing is due.
const LOOK_EVERY: Duration = Duration::from_mins(15);

/// After a look that brought nothing, such as one without the internet, the next is this much later.
const AGAIN: Duration = Duration::from_hours(1);

/// The work was not even begun.
#[derive(Debug, thiserror::Error)]
#[error("looking for newer releases broke off")]
pub struct BrokeOff(#[source] tokio::task::JoinError);

/// Looks until told to stop. The web is asked only where an image came from a catalogue.
pub async fn run(
    catalogues: Catalogues,
    uploads: Uploads,
    config: watch::Receiver<Arc<Config>>,
    mut stop: Stop,
) -> Result<(), BrokeOff> {
    let mut tried: Option<Moment> = None;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let every = config.borrow().catalogue.refresh;
        let now = Moment::from(SystemTime::now());
        let due = is_due(now, catalogues.read_at(), tried, every);
        if due {
            tried = Some(now);
        }
        let (catalogues, uploads, task) = (catalogues.clone(), uploads.clone(), Task::unwatched());
        let told = task.clone();
        let mut work = tokio::task::spawn_blocking(move || once(&catalogues, &uploads, due, now, &told));
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

/// Whether the lists are to be read again at `now`.
fn is_due(now: Moment, read_at: Option<Moment>, tried: Option<Moment>, every: Duration) -> bool {
    // A router that does not know the day cannot tell, and certificates would not be valid.
    now >= Moment::CLOCK_SET
        && every < FOREVER
        // What is to come was noted by a clock that was wrong.
        && read_at.is_none_or(|at| at > now || now.since(at) >= every)
        && tried.is_none_or(|at| at > now || now.since(at) >= AGAIN)
}

fn once(catalogues: &Catalogues, uploads: &Uploads, due: bool, now: Moment, task: &Task) {
    if let Err(error) = uploads.sweep(now) {
        tracing::error!(error = chain(&error), "uploads could not be looked after");
    }
    if due {
        match catalogues.is_of_use() {
            Ok(true) => {
                // What cannot be read is in the log, and shown with the list.
                let _ = catalogues.read_all(task);
            }
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "newer releases could not be looked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_when_it_is_time() {
        let day = Duration::from_hours(24);
        let now = Moment::CLOCK_SET.plus(day * 100);
        let ago = |hours: u64| Some(now.minus(Duration::from_hours(hours)));
        #[rustfmt::skip]
        let rows = [
            ("never read",                      now, None,     None,    day,     true),
            ("read yesterday",                  now, ago(25),  None,    day,     true),
            ("read today",                      now, ago(23),  None,    day,     false),
            ("tried a moment ago",              now, ago(25),  ago(0),  day,     false),
            ("tried an hour ago",               now, ago(25),  ago(1),  day,     true),
            ("read in a time to come",          now, Some(now.plus(day)), None, day,  true),
            ("tried in a time to come",         now, ago(25),  Some(now.plus(day)), day, true),
            ("never to be read",                now, None,     None,    FOREVER, false),
            ("the clock has not been set",      Moment::from_secs(5), None, None, day, false),
        ];
        for (shows, now, read_at, tried, every, expected) in rows {
            assert_eq!(is_due(now, read_at, tried, every), expected, "{shows}");
        }
    }
}

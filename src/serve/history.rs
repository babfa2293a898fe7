//! Forgets who was logged in where, when the time that the administrator set is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::dhcp::Clock;
use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::service::events::Events;
use crate::store::Store;
use crate::types::{Moment, chain};

/// How often it is looked for what is too old; more often where nothing is to be kept.
const EVERY: Duration = Duration::from_hours(1);
const EVERY_IF_NONE: Duration = Duration::from_mins(1);

/// Runs until told to stop.
pub async fn run(
    store: Store,
    events: Arc<Events>,
    mut config: watch::Receiver<Arc<Config>>,
    clock: Clock,
    mut stop: Stop,
) -> Result<(), Infallible> {
    loop {
        let days = config.borrow_and_update().accounts.history_days;
        let (store, events, now) = (store.clone(), Arc::clone(&events), clock.now().civil);
        let forgotten = tokio::task::spawn_blocking(move || forget(&store, &events, days, now)).await;
        if let Err(panic) = forgotten {
            tracing::error!(error = chain(&panic), "old sessions could not be forgotten");
        }
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(if days == 0 { EVERY_IF_NONE } else { EVERY }) => {}
            Ok(()) = config.changed() => {}
        }
    }
}

fn forget(store: &Store, events: &Events, days: u32, now: Moment) {
    // Before the clock has been set everything would look as if it were of the future.
    if now < Moment::CLOCK_SET {
        return;
    }
    let before = now.minus(Duration::from_hours(24) * days);
    // First what would still be written, then what has been.
    events.forget_people(before);
    match store.sessions_forget(before) {
        Ok(0) => {}
        Ok(rows) => tracing::debug!(rows, "old sessions are forgotten"),
        Err(error) => tracing::error!(error = chain(&error), "old sessions could not be forgotten"),
    }
}

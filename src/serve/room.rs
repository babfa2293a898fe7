//! Moves actions on clients on, often while one is under way; and begins what the timetable says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::dhcp::Clock;
use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::service::clients::Clients;
use crate::service::room::actions::Actions;

/// How often an action is looked at: somebody watches its list.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// An action could not be moved on.
#[derive(Debug, thiserror::Error)]
#[error("actions on clients broke off")]
pub struct BrokeOff(#[source] tokio::task::JoinError);

/// How often the timetable is looked at: its rows are of whole minutes.
const TIMETABLE_EVERY: Duration = Duration::from_secs(10);

/// Runs until told to stop.
pub async fn run(
    actions: Arc<Actions>,
    clients: Arc<Clients>,
    mut config: watch::Receiver<Arc<Config>>,
    clock: Clock,
    mut stop: Stop,
) -> Result<(), BrokeOff> {
    let mut turns = tokio::time::interval(TIMETABLE_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let moved = Arc::clone(&actions);
        let busy = tokio::task::spawn_blocking(move || moved.tick(clock.now())).await.map_err(BrokeOff)?;
        let look = tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = actions.begun() => false,
            () = tokio::time::sleep(LOOK_EVERY), if busy => false,
            _ = turns.tick() => true,
            // Whoever changes a row in the middle of its countdown does not want to wait.
            Ok(()) = config.changed() => true,
        };
        if look {
            let config = Arc::clone(&config.borrow_and_update());
            let (actions, clients) = (Arc::clone(&actions), Arc::clone(&clients));
            let look = move || actions.keep_time(&config, || clients.all(), clock.now());
            tokio::task::spawn_blocking(look).await.map_err(BrokeOff)?;
        }
    }
}

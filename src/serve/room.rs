//! Moves actions on clients on: often while one is under way, not at all while none is.

use std::sync::Arc;
use std::time::Duration;

use super::dhcp::Clock;
use super::supervisor::{Stop, stopped};
use crate::service::room::actions::Actions;

/// How often an action is looked at: somebody watches its list.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// An action could not be moved on.
#[derive(Debug, thiserror::Error)]
#[error("actions on clients broke off")]
pub struct BrokeOff(#[source] tokio::task::JoinError);

/// Runs until told to stop.
pub async fn run(actions: Arc<Actions>, clock: Clock, mut stop: Stop) -> Result<(), BrokeOff> {
    loop {
        let moved = Arc::clone(&actions);
        let busy = tokio::task::spawn_blocking(move || moved.tick(clock.now())).await.map_err(BrokeOff)?;
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = actions.begun() => {}
            () = tokio::time::sleep(LOOK_EVERY), if busy => {}
        }
    }
}

//! Hands what the directory of clients and the timelines collected to the store, a second's worth at a time.
//!
//! What is lost when the daemon is killed in that second is a sign of life or a line of a timeline; leases and images
//! have their own, stricter ways.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::supervisor::{Stop, stopped};
use crate::service::clients::Clients;
use crate::service::eeprom::Eeproms;
use crate::service::events::Events;
use crate::service::health::Health;
use crate::store::{Store, StoreError};
use crate::types::{Moment, chain};

/// How long changes are collected before they are written.
const COLLECT: Duration = Duration::from_secs(1);

/// How long to leave a store alone that could not be written.
const RECOVER: Duration = Duration::from_secs(30);

/// What is collected, and where it goes.
#[derive(Clone, Debug)]
pub struct Records {
    pub clients: Arc<Clients>,
    pub events: Arc<Events>,
    pub eeproms: Arc<Eeproms>,
    pub store: Store,
    pub health: Arc<Health>,
}

impl Records {
    /// Runs until told to stop; what is left then is written before it ends.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        let mut failing = false;
        loop {
            let stopping = tokio::select! {
                () = stopped(&mut stop) => true,
                () = self.clients.changed() => false,
                () = self.events.changed() => false,
                () = self.eeproms.changed() => false,
            };
            if !stopping {
                tokio::select! {
                    () = stopped(&mut stop) => {}
                    () = sleep(if failing { RECOVER } else { COLLECT }) => {}
                }
            }
            let records = self.clone();
            let saved = tokio::task::spawn_blocking(move || records.save()).await;
            let error = match saved {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(panic) => Some(chain(&panic)),
            };
            if let Some(error) = error.as_ref().filter(|_| !failing) {
                tracing::error!(
                    error,
                    "what clients did cannot be stored; it is kept in memory and tried again"
                );
            }
            failing = error.is_some();
            self.health
                .trouble("store", error.map(|error| format!("what clients did cannot be stored: {error}")));
            if stopping || *stop.borrow() {
                return Ok(());
            }
        }
    }

    fn save(&self) -> Result<(), StoreError> {
        self.clients.save(&self.store, Moment::from(SystemTime::now()))?;
        self.eeproms.save(&self.store)?;
        self.events.save(&self.store)
    }
}

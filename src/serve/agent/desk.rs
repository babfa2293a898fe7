//! What one client may ask, over all of its connections: how fast, and how many passwords are checked for it at once.
//!
//! A right password costs as much time of the router as a wrong one, and is not slowed down: whoever has one and asks all
//! day gets a turn now and then, as everybody does, and not all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::types::{MacAddr, limits};

/// A desk for each client that asks.
#[derive(Debug, Default)]
pub(super) struct Desks {
    of: Mutex<HashMap<MacAddr, Arc<Desk>>>,
}

/// What one client may do.
#[derive(Debug)]
pub(super) struct Desk {
    allowance: Mutex<Allowance>,
    /// Passwords that are checked for it, or wait for their turn among those of all clients.
    pub checks: Semaphore,
}

impl Desks {
    /// The same for all connections of a client, and for those that come right after them.
    pub fn of(&self, client: MacAddr) -> Arc<Desk> {
        let mut desks = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if desks.len() >= 2 * limits::CHANNEL_CONNECTIONS {
            desks.retain(|_, desk| Arc::strong_count(desk) > 1);
        }
        Arc::clone(desks.entry(client).or_insert_with(|| Arc::new(Desk::new(Instant::now()))))
    }
}

impl Desk {
    fn new(now: Instant) -> Self {
        let allowance = Mutex::new(Allowance::new(now));
        Self { allowance, checks: Semaphore::new(limits::CHANNEL_CLIENT_CHECKS) }
    }

    /// Whether its next ask is to be answered.
    pub fn may_ask(&self, now: Instant) -> bool {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

/// What an agent may ask in a row, and how fast it may go on.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: limits::CHANNEL_ASKS_IN_A_ROW, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let new = now.duration_since(self.since).as_millis() / limits::CHANNEL_ASK_EVERY.as_millis();
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        if new > 0 {
            self.left = self.left.saturating_add(new).min(limits::CHANNEL_ASKS_IN_A_ROW);
            self.since = now;
        }
        self.left.checked_sub(1).inspect(|left| self.left = *left).is_some()
    }
}

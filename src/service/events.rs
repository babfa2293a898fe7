//! The boot timeline of every client: what it asked for, what it got, and when.
//!
//! The last events of each client are kept in memory in a ring of fixed size; milestones also go to the store.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::types::Stage;
use crate::types::{ImageVersion, MacAddr, Moment, limits};

/// One thing that happened on a client's way from power-on to log-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// DHCPDISCOVER or BOOTP request; `stage` says which of the up to four DHCP clients of one boot this is.
    Discover {
        stage: Stage,
    },
    Offer {
        ip: Ipv4Addr,
    },
    /// DHCPACK.
    Lease {
        ip: Ipv4Addr,
        stage: Stage,
    },
    /// DHCPNAK or silence, with the reason.
    Refused {
        reason: String,
    },
    /// A file over TFTP, ended. `probe`: the client only tested whether it exists.
    File {
        name: String,
        bytes: u64,
        took: Duration,
        outcome: FileOutcome,
    },
    /// The root file system was asked for (MOUNT).
    Mount {
        image: ImageVersion,
    },
    /// The agent reported.
    Agent {
        phase: String,
        message: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOutcome {
    Complete,
    Missing,
    Probe,
    Silent,
    Refused,
}

/// A [`Happening`] with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: Moment,
    #[serde(flatten)]
    pub what: Happening,
}

/// The timelines of all clients.
#[derive(Debug, Default)]
pub struct Events {
    rings: Mutex<HashMap<MacAddr, heapless::Deque<Event, { limits::TIMELINE }>>>,
}

impl Events {
    pub fn record(&self, client: MacAddr, at: Moment, what: Happening) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if !rings.contains_key(&client) && rings.len() >= limits::CLIENTS_SEEN {
            return;
        }
        let ring = rings.entry(client).or_default();
        if ring.is_full() {
            ring.pop_front();
        }
        let _ = ring.push_back(Event { at, what });
    }

    /// Oldest first.
    pub fn timeline(&self, client: MacAddr) -> Vec<Event> {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.get(&client).map(|ring| ring.iter().cloned().collect()).unwrap_or_default()
    }
}

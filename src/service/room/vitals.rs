//! How the clients are, as their agents last said, and how that went over the last hours. In memory only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::agent::health::Health;
use crate::types::{MacAddr, Moment, limits};

/// How far apart the measurements of the history are; the newest is always there.
const APART: Duration = Duration::from_mins(5);

/// The newest word of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vital {
    /// By our clock.
    pub at: Moment,
    pub health: Health,
}

/// One measurement of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub at: Moment,
    pub temperature_mc: Option<i32>,
    pub available_kb: u64,
    pub load_centi: u32,
    pub root_us: Option<u32>,
}

#[derive(Debug, Default)]
pub struct Vitals {
    of: Mutex<HashMap<MacAddr, Kept>>,
}

#[derive(Debug)]
struct Kept {
    newest: Vital,
    /// Oldest first.
    history: VecDeque<Sample>,
}

impl Vitals {
    /// Takes what an agent measured, without what cannot be.
    pub fn record(&self, mac: MacAddr, health: Health, at: Moment) {
        let health = health.checked();
        let sample = Sample {
            at,
            temperature_mc: health.temperature_mc,
            available_kb: health.available_kb,
            load_centi: health.load_centi,
            root_us: health.root_us,
        };
        let newest = Vital { at, health };
        let mut of = self.lock();
        if of.len() >= limits::CHANNEL_CONNECTIONS && !of.contains_key(&mac) {
            let oldest = of.iter().min_by_key(|(mac, kept)| (kept.newest.at, **mac)).map(|(mac, _)| *mac);
            let _ = oldest.and_then(|mac| of.remove(&mac));
        }
        let kept = of.entry(mac).or_insert_with(|| Kept { newest: newest.clone(), history: VecDeque::new() });
        kept.newest = newest;
        if kept.history.back().is_none_or(|last| at < last.at || at.since(last.at) >= APART) {
            if kept.history.len() >= limits::HEALTH_KEPT {
                kept.history.pop_front();
            }
            kept.history.push_back(sample);
        }
    }

    pub fn newest(&self, mac: MacAddr) -> Option<Vital> {
        self.lock().get(&mac).map(|kept| kept.newest.clone())
    }

    /// Oldest first.
    pub fn history(&self, mac: MacAddr) -> Vec<Sample> {
        self.lock().get(&mac).map(|kept| kept.history.iter().copied().collect()).unwrap_or_default()
    }

    pub fn forget(&self, mac: MacAddr) {
        self.lock().remove(&mac);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MacAddr, Kept>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u32) -> MacAddr {
        let [_, a, b, c] = n.to_be_bytes();
        MacAddr::new([0xdc, 0xa6, 0x32, a, b, c])
    }

    #[test]
    fn the_newest_and_a_short_history_are_kept() {
        let vitals = Vitals::default();
        let start = 1_795_435_200;
        for minute in 0..1000 {
            let health = Health { load_centi: minute, memory_kb: 1, available_kb: 9, ..Health::default() };
            vitals.record(mac(1), health, Moment::from_secs(start + i64::from(minute) * 60));
        }
        let newest = vitals.newest(mac(1)).expect("recorded");
        assert_eq!((newest.health.load_centi, newest.health.available_kb), (999, 1), "checked on the way in");
        let history = vitals.history(mac(1));
        assert_eq!(history.len(), limits::HEALTH_KEPT);
        assert!(history.windows(2).all(|pair| pair[1].at.since(pair[0].at) == APART));
        vitals.forget(mac(1));
        assert_eq!((vitals.newest(mac(1)), vitals.history(mac(1))), (None, vec![]));
    }

    #[test]
    fn clients_that_come_and_go_do_not_grow_it() {
        let vitals = Vitals::default();
        let many = u32::try_from(limits::CHANNEL_CONNECTIONS).expect("small") + 10;
        for n in 0..many {
            vitals.record(mac(n), Health::default(), Moment::from_secs(n.into()));
        }
        assert_eq!(vitals.lock().len(), limits::CHANNEL_CONNECTIONS);
        assert!(vitals.newest(mac(0)).is_none() && vitals.newest(mac(many - 1)).is_some());
    }
}

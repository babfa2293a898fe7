//! Between the two clocks: what the store says in civil time, and how a lease stands by the time since the start.
//!
//! A router without a battery starts in 1970, or where it was switched off, and is set by NTP a minute later. A date in
//! the store is therefore believed only if it can be true; and when the clock is set, whatever runs is dated anew, so that
//! a restart finds dates of the right clock.

use std::time::Duration;

use super::{Inner, Now};
use crate::proto::dhcp::Uptime;
use crate::proto::dhcp::decide::DECLINED_REST;
use crate::proto::dhcp::table::{Binding, ClientKey, Entry, State};
use crate::store::leases::{LeaseRow, LeaseState, LeaseWrite};
use crate::types::Moment;

/// A clock that differs by less was only adjusted.
const TOLERANCE: Duration = Duration::from_mins(2);

impl Now {
    /// When `until` will be by the civil clock.
    pub(super) fn civil_at(self, until: Uptime) -> Moment {
        self.civil.plus(until.since(self.up))
    }

    /// When `past` was by the civil clock as it is now.
    fn civil_of(self, past: Uptime) -> Moment {
        self.civil.minus(self.up.since(past))
    }
}

/// The civil time at which the time since the start was zero: it moves only when the civil clock is set.
#[derive(Clone, Copy, Debug)]
pub struct Origin(Moment);

impl Origin {
    pub fn of(now: Now) -> Self {
        Self(now.civil_of(Uptime(Duration::ZERO)))
    }

    pub fn has_moved(self, now: Now) -> bool {
        let Self(then) = Self::of(now);
        then.since(self.0).max(self.0.since(then)) > TOLERANCE
    }
}

impl Inner {
    /// Notes for the store what all leases that run say by the civil clock of `now`.
    pub(super) fn date_anew(&mut self, now: Now) {
        self.origin = Origin::of(now);
        let writes = self.table.iter().filter_map(|(ip, entry)| {
            let write = match entry.state {
                State::Bound { until } => LeaseWrite::Bind(LeaseRow {
                    ip,
                    mac: entry.mac,
                    client_id: entry.key.to_bytes(),
                    network: entry.network.to_string(),
                    state: LeaseState::Bound,
                    host_name: entry.host_name.clone(),
                    granted_at: now.civil_of(entry.last),
                    expires_at: until.map(|until| now.civil_at(until)),
                }),
                State::Declined { until } => LeaseWrite::Decline(ip, now.civil_at(until)),
                State::Offered { .. } | State::Free => return None,
            };
            Some((ip, write))
        });
        self.unsaved.writes.extend(writes);
    }
}

pub fn row(binding: &Binding, entry: Option<&Entry>, now: Now) -> LeaseRow {
    LeaseRow {
        ip: binding.ip,
        mac: binding.mac,
        client_id: binding.key.to_bytes(),
        network: binding.network.to_string(),
        state: LeaseState::Bound,
        host_name: entry.and_then(|entry| entry.host_name.clone()),
        granted_at: now.civil,
        expires_at: binding.until.map(|until| now.civil_at(until)),
    }
}

/// Whether the dates of `row` and the clock can both be right: it was granted after clocks were set, and not after now.
pub fn is_believable(row: &LeaseRow, now: Now) -> bool {
    Moment::CLOCK_SET <= row.granted_at && row.granted_at <= now.civil
}

/// A stored lease as it stands now. `order`: its place among those that were used longer ago.
///
/// Where the dates cannot be believed, its client may have had it for no time at all: it gets its whole term, and never
/// more.
pub fn restored(row: LeaseRow, order: usize, now: Now) -> Option<Entry> {
    let key = ClientKey::from_bytes(&row.client_id)?;
    let believable = is_believable(&row, now);
    let left = |end: Moment| {
        let term = end.since(row.granted_at);
        if believable { end.since(now.civil).min(term) } else { term }
    };
    let left = row.expires_at.map(left).filter(|left| !left.is_zero());
    let state = match (row.state, row.expires_at, left) {
        (LeaseState::Bound, None, _) => State::Bound { until: None },
        (LeaseState::Bound, _, Some(left)) => State::Bound { until: Some(now.up.plus(left)) },
        // The term counts from the grant before; no rest is longer than this.
        (LeaseState::Declined, _, Some(left)) => {
            State::Declined { until: now.up.plus(left.min(DECLINED_REST)) }
        }
        _ => State::Free,
    };
    let last = Uptime(Duration::from_nanos(u64::try_from(order).unwrap_or(u64::MAX)));
    let network = row.network.as_str().into();
    Some(Entry { key, mac: row.mac, network, state, host_name: row.host_name, last })
}

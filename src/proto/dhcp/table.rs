//! Which address is whose, now: the value that decisions read and whose [`Change`]s they return.
//!
//! Holds every address that is or was somebody's, by address, so that none can be two clients'. Knows no network's
//! rules (see [`super::decide`]) and no disk: the service applies each change here at once, so that the next decision
//! sees it, and to the store before the answer leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Uptime;
use super::wire::Hardware;
use crate::types::{HostName, MacAddr};

/// What a lease is keyed by.
///
/// The bytes of option 61 are opaque (RFC 2131 §4.2): they are compared, never interpreted. One Pi shows up to four of
/// these in one boot, so Pis and reservations are keyed by hardware whatever they show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKey {
    /// The value of option 61, type byte included.
    Id(Box<[u8]>),
    /// `htype` and `chaddr`.
    Hardware(Hardware),
}

impl ClientKey {
    /// The form in the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Id(id) => [b"i".as_slice(), id].concat(),
            Self::Hardware(hardware) => [b"h".as_slice(), &[hardware.kind], hardware.as_bytes()].concat(),
        }
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'i', id @ ..] => Some(Self::Id(id.into())),
            [b'h', kind, address @ ..] => {
                let mut field = [0; 16];
                field.get_mut(..address.len())?.copy_from_slice(address);
                Some(Self::Hardware(Hardware::new(*kind, u8::try_from(address.len()).ok()?, field)?))
            }
            _ => None,
        }
    }
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: ClientKey,
    pub mac: Option<MacAddr>,
    /// Logical name of the network.
    pub network: Arc<str>,
    pub state: State,
    /// What the client calls itself.
    pub host_name: Option<HostName>,
    /// When the client was last heard about this address.
    pub last: Uptime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Offered to a client that will ask for it. In memory only. `probed`: nobody on the wire answers for it.
    Offered { until: Uptime, probed: bool },
    /// Acknowledged, or offered to a ROM that boots from the offer. `None` never runs out.
    Bound { until: Option<Uptime> },
    /// Released or run out: nobody's, but the last holder gets it back if nobody else needed it.
    Free,
    /// Somebody else on the wire uses it.
    Declined { until: Uptime },
}

/// What a decision does to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Offer {
        ip: Ipv4Addr,
        key: ClientKey,
        mac: Option<MacAddr>,
        network: Arc<str>,
        until: Uptime,
        probed: bool,
    },
    Bind(Binding),
    /// The address is nobody's any more.
    Free {
        ip: Ipv4Addr,
    },
    /// The address rests.
    Decline {
        ip: Ipv4Addr,
        until: Uptime,
    },
}

/// An address that becomes or stays a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub ip: Ipv4Addr,
    pub key: ClientKey,
    pub mac: Option<MacAddr>,
    pub network: Arc<str>,
    pub until: Option<Uptime>,
    pub host_name: Option<HostName>,
}

/// All entries.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: BTreeMap<Ipv4Addr, Entry>,
    /// The address each client has, had last or is offered, in each network. Holds an entry's address if and only if
    /// it is the newest of its key.
    by_key: BTreeMap<(ClientKey, Arc<str>), Ipv4Addr>,
    /// When an entry's state ends by itself.
    ends: BTreeSet<(Uptime, Ipv4Addr)>,
    /// Free entries, least recently used first.
    free: BTreeSet<(Uptime, Ipv4Addr)>,
    offers: usize,
}

impl Table {
    pub fn get(&self, ip: Ipv4Addr) -> Option<&Entry> {
        self.entries.get(&ip)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, &Entry)> {
        self.entries.iter().map(|(ip, entry)| (*ip, entry))
    }

    /// Offers that wait for their REQUEST.
    pub fn offers(&self) -> usize {
        self.offers
    }

    /// The address of `key` in `network`: held, offered, or held last.
    pub fn of(&self, key: &ClientKey, network: &Arc<str>) -> Option<(Ipv4Addr, &Entry)> {
        let ip = *self.by_key.get(&(key.clone(), Arc::clone(network)))?;
        Some((ip, self.entries.get(&ip)?))
    }

    /// Addresses that `key` holds in other networks than `network`.
    pub fn elsewhere(&self, key: &ClientKey, network: &Arc<str>) -> Vec<Ipv4Addr> {
        let first = (key.clone(), Arc::from(""));
        let of_key = self.by_key.range(first..).take_while(|((other, _), _)| other == key);
        of_key.filter(|((_, other), ip)| other != network && self.is_bound(**ip)).map(|(_, ip)| *ip).collect()
    }

    fn is_bound(&self, ip: Ipv4Addr) -> bool {
        self.entries.get(&ip).is_some_and(|entry| matches!(entry.state, State::Bound { .. }))
    }

    /// Free entries, least recently used first.
    pub fn free(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.free.iter().map(|(_, ip)| *ip)
    }

    /// Ends what has run out by `now`; returns the addresses that were bound.
    pub fn expire(&mut self, now: Uptime) -> Vec<Ipv4Addr> {
        let mut ended = Vec::new();
        while let Some((until, ip)) = self.ends.first().copied().filter(|(until, _)| *until <= now) {
            self.ends.remove(&(until, ip));
            if self.is_bound(ip) {
                ended.push(ip);
            }
            self.set_state(ip, State::Free);
        }
        ended
    }

    /// When [`Self::expire`] next has something to do.
    pub fn next_end(&self) -> Option<Uptime> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Makes `change` true. Returns the address that its client held before and holds no more.
    pub fn apply(&mut self, change: &Change, now: Uptime) -> Option<Ipv4Addr> {
        match change {
            Change::Offer { ip, key, mac, network, until, probed } => {
                let state = State::Offered { until: *until, probed: *probed };
                self.put(*ip, key, *mac, network, state, None, now)
            }
            Change::Bind(bind) => {
                let state = State::Bound { until: bind.until };
                self.put(bind.ip, &bind.key, bind.mac, &bind.network, state, bind.host_name.clone(), now)
            }
            Change::Free { ip } => {
                let held = self.is_bound(*ip);
                self.set_state(*ip, State::Free);
                held.then_some(*ip)
            }
            Change::Decline { ip, until } => {
                let held = self.is_bound(*ip);
                self.set_state(*ip, State::Declined { until: *until });
                // Whoever had it must not get it back while it rests.
                if let Some(entry) = self.entries.get(ip) {
                    let owner = (entry.key.clone(), Arc::clone(&entry.network));
                    if self.by_key.get(&owner) == Some(ip) {
                        self.by_key.remove(&owner);
                    }
                }
                held.then_some(*ip)
            }
        }
    }

    /// Puts back what the store held.
    pub fn restore(&mut self, ip: Ipv4Addr, entry: Entry) {
        self.forget(ip);
        let rests = matches!(entry.state, State::Declined { .. });
        let owner = (entry.key.clone(), Arc::clone(&entry.network));
        // A bound address of a client goes before one it had earlier.
        let newest = self.by_key.get(&owner).is_none_or(|other| !self.is_bound(*other));
        if newest && !rests {
            self.by_key.insert(owner, ip);
        }
        self.entries.insert(ip, entry);
        self.index(ip);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of an entry")]
    fn put(
        &mut self,
        ip: Ipv4Addr,
        key: &ClientKey,
        mac: Option<MacAddr>,
        network: &Arc<str>,
        state: State,
        host_name: Option<HostName>,
        now: Uptime,
    ) -> Option<Ipv4Addr> {
        let owner = (key.clone(), Arc::clone(network));
        let before = self.by_key.get(&owner).copied().filter(|other| *other != ip);
        let left = before.filter(|other| self.is_bound(*other));
        if let Some(other) = before {
            self.set_state(other, State::Free);
        }
        let kept_name = self.entries.get(&ip).filter(|e| e.key == *key).and_then(|e| e.host_name.clone());
        self.forget(ip);
        let entry = Entry {
            key: key.clone(),
            mac,
            network: Arc::clone(network),
            state,
            host_name: host_name.or(kept_name),
            last: now,
        };
        self.by_key.insert(owner, ip);
        self.entries.insert(ip, entry);
        self.index(ip);
        left
    }

    fn set_state(&mut self, ip: Ipv4Addr, state: State) {
        self.unindex(ip);
        if let Some(entry) = self.entries.get_mut(&ip) {
            entry.state = state;
            self.index(ip);
        }
    }

    /// Removes the entry of `ip` altogether.
    pub fn forget(&mut self, ip: Ipv4Addr) {
        self.unindex(ip);
        if let Some(entry) = self.entries.remove(&ip) {
            let owner = (entry.key, entry.network);
            if self.by_key.get(&owner) == Some(&ip) {
                self.by_key.remove(&owner);
            }
        }
    }

    fn index(&mut self, ip: Ipv4Addr) {
        let Some(entry) = self.entries.get(&ip) else { return };
        self.offers += usize::from(matches!(entry.state, State::Offered { .. }));
        match entry.state {
            State::Free => drop(self.free.insert((entry.last, ip))),
            State::Bound { until: None } => {}
            State::Offered { until, .. }
            | State::Bound { until: Some(until) }
            | State::Declined { until } => {
                self.ends.insert((until, ip));
            }
        }
    }

    fn unindex(&mut self, ip: Ipv4Addr) {
        let Some(entry) = self.entries.get(&ip) else { return };
        self.offers -= usize::from(matches!(entry.state, State::Offered { .. }));
        match entry.state {
            State::Free => drop(self.free.remove(&(entry.last, ip))),
            State::Bound { until: None } => {}
            State::Offered { until, .. }
            | State::Bound { until: Some(until) }
            | State::Declined { until } => {
                self.ends.remove(&(until, ip));
            }
        }
    }
}

//! Addresses: who gets which, for how long, and that it is on the disk before it is said.
//!
//! [`Leases::answer`] reads the facts, calls [`crate::proto::dhcp::decide`], notes the changes in the
//! table, and hands back the answer; the caller sends it after [`Leases::save`] if it says so. Many answers may share one
//! save. A save that fails keeps what it could not write for the next one, and its answers are never sent: the clients
//! ask again.
//!
//! Leases run by the time since the start, not by the civil clock (see [`Uptime`]); the store has civil times, because it
//! is read after a restart. When the civil clock is set, they are written anew (`dating`).

mod dating;
mod options;
mod scopes;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::{Config, DhcpMode, UnknownPi};
use crate::proto::dhcp::decide::{
    Action, Client, DECLINED_REST, Decision, Destination, Facts, NEW_PI_LEASE, Reply, Silence, Standing,
    decide,
};
use crate::proto::dhcp::pi::Rom;
use crate::proto::dhcp::table::{Binding, Change, Entry, State, Table};
use crate::proto::dhcp::wire::Op;
use crate::proto::dhcp::{CLIENT_PORT, Message, MessageType, Packet, SERVER_PORT, Uptime};
use crate::service::clients::Clients;
use crate::service::events::{Events, Happening};
use crate::store::leases::LeaseWrite;
use crate::store::{Durability, Store, StoreError};
use crate::types::{HostName, MacAddr, Moment, Stage, Subnet};
use dating::Origin;
use scopes::{Scopes, Served};

/// Both clocks, read at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub up: Uptime,
    pub civil: Moment,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// Kernel name of the interface.
    pub device: &'a str,
    /// Port of the sender.
    pub port: u16,
    /// It came to port 4011, not 67.
    pub pxe: bool,
}

/// What to do about a packet.
#[derive(Clone, Debug)]
pub enum Outcome {
    Silent(Silence),
    /// Ask the wire of the packet's interface whether anybody but `client` has `ip`, tell [`Leases::probed`], and hand
    /// the packet in again.
    Probe {
        ip: Ipv4Addr,
        client: Option<MacAddr>,
    },
    Send(Outgoing),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub bytes: Vec<u8>,
    pub to: Destination,
    pub port: u16,
    /// From port 4011, where the question came to.
    pub pxe: bool,
    /// Our own address in the answer.
    pub from: Ipv4Addr,
    /// How long to hold it back, for clients that miss an instant reply.
    pub delay: Duration,
    /// Only after the next [`Leases::save`].
    pub after_save: bool,
    /// A ROM that stops answering ARP while it loads its files: the kernel must be told where it is.
    pub neighbour: Option<Neighbour>,
}

/// What the neighbour table should say about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    Pin(Ipv4Addr, MacAddr),
    Unpin(Ipv4Addr),
}

/// One address as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub ip: Ipv4Addr,
    pub mac: Option<MacAddr>,
    pub host_name: Option<HostName>,
    pub network: String,
    /// `None` never runs out.
    pub expires_at: Option<Moment>,
}

/// All leases of all networks.
#[derive(Debug)]
pub struct Leases {
    inner: Mutex<Inner>,
    store: Store,
    clients: Arc<Clients>,
    events: Arc<Events>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    scopes: Arc<Scopes>,
    unsaved: Unsaved,
    /// What the dates in the store were made with.
    origin: Origin,
    /// The relay agent last heard of each relayed subnet: a client renews without it and must not lose its router.
    relays: HashMap<Subnet, Ipv4Addr>,
}

/// What differs from the store, by address: a later change of an address replaces an earlier one.
#[derive(Debug, Default)]
struct Unsaved {
    writes: BTreeMap<Ipv4Addr, LeaseWrite>,
    /// An address became somebody's.
    power: bool,
}

impl Leases {
    /// Reads the leases of the last run.
    pub fn open(
        store: Store,
        clients: Arc<Clients>,
        events: Arc<Events>,
        config: Arc<Config>,
        now: Now,
    ) -> Result<Self, StoreError> {
        let mut table = Table::default();
        let mut misdated = false;
        for (order, row) in store.leases()?.into_iter().enumerate() {
            let (ip, network, mac) = (row.ip, row.network.clone(), row.mac);
            misdated |= !dating::is_believable(&row, now);
            let Some(entry) = dating::restored(row, order, now) else {
                tracing::warn!(%ip, "a stored lease has a key this version does not know and is left out");
                continue;
            };
            match (&entry.state, mac) {
                (State::Bound { .. }, Some(mac)) => clients.bound(ip, mac, &network),
                _ => clients.unbound(ip),
            }
            table.restore(ip, entry);
        }
        let scopes = Arc::new(Scopes::new(Arc::clone(&config)));
        let mut inner = Inner {
            table,
            scopes,
            unsaved: Unsaved::default(),
            origin: Origin::of(now),
            relays: HashMap::new(),
        };
        if misdated {
            inner.date_anew(now);
        }
        let leases = Self { inner: Mutex::new(inner), store, clients, events };
        leases.set_config(config, now);
        Ok(leases)
    }

    /// From now on `config` holds. Leases stay; one that never ran out because its client was adopted gets an end when it
    /// is not any more.
    pub fn set_config(&self, config: Arc<Config>, now: Now) {
        let mut inner = self.lock();
        let scopes = Scopes::new(config);
        let until = now.up.plus(NEW_PI_LEASE);
        let endless: Vec<Binding> = inner
            .table
            .iter()
            .filter(|(ip, entry)| {
                let adopted = entry.mac.is_some_and(|mac| scopes.adopted(mac).is_some());
                entry.state == State::Bound { until: None } && !adopted && !scopes.lasts_for_ever(*ip)
            })
            .map(|(ip, entry)| Binding {
                ip,
                key: entry.key.clone(),
                mac: entry.mac,
                network: Arc::clone(&entry.network),
                until: Some(until),
                host_name: entry.host_name.clone(),
            })
            .collect();
        inner.scopes = Arc::new(scopes);
        for binding in endless {
            self.apply(&mut inner, &[Change::Bind(binding)], now);
        }
    }

    /// Decides about one packet.
    pub fn answer(&self, packet: &Packet, from: From<'_>, now: Now) -> Outcome {
        let mut inner = self.lock();
        self.expire(&mut inner, now);
        let scopes = Arc::clone(&inner.scopes);
        match self.answer_in(&mut inner, &scopes, packet, from, now) {
            Ok(outcome) => outcome,
            Err(silence) => Outcome::Silent(silence),
        }
    }

    fn answer_in(
        &self,
        inner: &mut Inner,
        scopes: &Scopes,
        packet: &Packet,
        from: From<'_>,
        now: Now,
    ) -> Result<Outcome, Silence> {
        if packet.op != Op::Request {
            return Err(Silence::NotARequest);
        }
        let served = scopes.select(packet, from.device)?;
        let before = packet.hardware.mac().is_some_and(|mac| self.clients.is_seen(mac));
        let client = scopes.client(served, packet, before)?;
        let (network, subnet) = (&served.scope.network, served.scope.subnet);
        if served.scope.relayed && subnet.contains(packet.giaddr) {
            inner.relays.insert(subnet, packet.giaddr);
        }
        let seat = client.mac.filter(|_| client.standing.is_pi());
        if let Some(mac) = seat {
            let rom = client.rom;
            self.clients.seen(
                mac,
                rom.and_then(Rom::serial),
                rom.and_then(Rom::revision),
                network,
                now.civil,
            );
            if matches!(packet.kind, Some(MessageType::Discover) | None) {
                self.events.record(mac, now.civil, Happening::Discover { stage: client.stage });
            }
        }
        if client.standing == Standing::NewPi && scopes.config.dhcp.unknown_pi == UnknownPi::Ignore {
            return Err(self.refused(seat, Silence::UnknownPi, now));
        }
        if scopes.config.dhcp.mode != DhcpMode::Authoritative || from.pxe {
            return self.proxy(scopes, served, packet, &client, from);
        }
        let facts = Facts { scope: &served.scope, client: &client, table: &inner.table, now: now.up };
        let Decision { action, changes } = decide(packet, facts);
        let after_save = self.apply(inner, &changes, now);
        match action {
            Action::Silent(silence) => Err(self.refused(seat, silence, now)),
            Action::Probe(ip) => Ok(Outcome::Probe { ip, client: client.mac }),
            Action::Reply(reply) => {
                self.record(seat, &client, &reply, now);
                let relay = inner.relays.get(&subnet).copied();
                let message = options::compose(scopes, served, packet, &client, &reply, relay);
                Ok(Outcome::Send(outgoing(packet, served, &client, &reply, &message, after_save)))
            }
        }
    }

    /// The wire has answered about an address that was to be offered.
    pub fn probed(&self, ip: Ipv4Addr, in_use: bool, now: Now) {
        let mut inner = self.lock();
        let Some(entry) = inner.table.get(ip) else { return };
        let State::Offered { until, probed: false } = entry.state else { return };
        let change = if in_use {
            Change::Decline { ip, until: now.up.plus(DECLINED_REST) }
        } else {
            let (key, network) = (entry.key.clone(), Arc::clone(&entry.network));
            Change::Offer { ip, key, mac: entry.mac, network, until, probed: true }
        };
        self.apply(&mut inner, &[change], now);
    }

    /// Writes what has changed, in one transaction. Blocks; nothing that waits for it may be sent if it fails.
    pub fn save(&self) -> Result<(), StoreError> {
        let unsaved = std::mem::take(&mut self.lock().unsaved);
        if unsaved.writes.is_empty() {
            return Ok(());
        }
        let durability = if unsaved.power { Durability::Power } else { Durability::Process };
        let written = self.store.write_leases(unsaved.writes.values(), durability);
        if written.is_err() {
            let mut inner = self.lock();
            // What has changed again since is newer than what could not be written.
            for (ip, write) in unsaved.writes {
                inner.unsaved.writes.entry(ip).or_insert(write);
            }
            inner.unsaved.power |= unsaved.power;
        }
        written
    }

    pub fn has_unsaved(&self) -> bool {
        !self.lock().unsaved.writes.is_empty()
    }

    /// Ends what has run out; returns when there is more to end.
    pub fn tick(&self, now: Now) -> Option<Uptime> {
        let mut inner = self.lock();
        self.expire(&mut inner, now);
        inner.table.next_end()
    }

    /// Every address that is somebody's, by address.
    pub fn list(&self, now: Now) -> Vec<Lease> {
        let inner = self.lock();
        let bound = inner.table.iter().filter_map(|(ip, entry)| match entry.state {
            State::Bound { until } => Some((ip, entry, until)),
            _ => None,
        });
        bound
            .map(|(ip, entry, until)| Lease {
                ip,
                mac: entry.mac,
                host_name: entry.host_name.clone(),
                network: entry.network.to_string(),
                expires_at: until.map(|until| now.civil_at(until)),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expire(&self, inner: &mut Inner, now: Now) {
        if inner.origin.has_moved(now) {
            inner.date_anew(now);
        }
        // An end that has passed is also what the store says; nothing is written.
        for ip in inner.table.expire(now.up) {
            self.clients.unbound(ip);
        }
    }

    /// Applies `changes`; says whether an answer must wait for the store.
    fn apply(&self, inner: &mut Inner, changes: &[Change], now: Now) -> bool {
        let mut must_save = false;
        for change in changes {
            let before = match change {
                Change::Bind(binding) => inner.table.get(binding.ip).cloned(),
                _ => None,
            };
            if let Some(left) = inner.table.apply(change, now.up) {
                self.clients.unbound(left);
            }
            let (ip, write) = match change {
                Change::Offer { .. } => continue,
                Change::Free { ip } => (*ip, LeaseWrite::Free(*ip)),
                Change::Decline { ip, until } => (*ip, LeaseWrite::Decline(*ip, now.civil_at(*until))),
                Change::Bind(binding) => {
                    if let Some(mac) = binding.mac {
                        self.clients.bound(binding.ip, mac, &binding.network);
                    }
                    let pending = inner.unsaved.writes.contains_key(&binding.ip);
                    let news = News::of(binding, before.as_ref());
                    if news == News::None && !pending {
                        continue;
                    }
                    must_save = true;
                    inner.unsaved.power |= news == News::Holder;
                    (binding.ip, LeaseWrite::Bind(dating::row(binding, inner.table.get(binding.ip), now)))
                }
            };
            inner.unsaved.writes.insert(ip, write);
        }
        must_save
    }

    /// Another server gives addresses here: Bramble adds where to boot from, and listens who got which address.
    fn proxy(
        &self,
        scopes: &Scopes,
        served: &Served,
        packet: &Packet,
        client: &Client,
        from: From<'_>,
    ) -> Result<Outcome, Silence> {
        let chosen = packet.requested.filter(|_| packet.kind == Some(MessageType::Request) && !from.pxe);
        if let (Some(ip), Some(mac)) = (chosen, client.mac)
            && client.standing.is_pi()
            && served.scope.is_usable(ip)
        {
            self.clients.bound(ip, mac, &served.scope.network);
        }
        let (kind, to) = match packet.kind {
            Some(MessageType::Discover) if !from.pxe => {
                let relay = Some(packet.giaddr).filter(|ip| !ip.is_unspecified());
                (MessageType::Offer, relay.map_or(Destination::Broadcast, Destination::Relay))
            }
            Some(MessageType::Request | MessageType::Inform)
                if from.pxe && !packet.ciaddr.is_unspecified() =>
            {
                (MessageType::Ack, Destination::Client(packet.ciaddr))
            }
            _ => return Err(Silence::ProxyOnly),
        };
        if scopes.config.dhcp.mode == DhcpMode::Off {
            return Err(Silence::ProxyOnly);
        }
        let message = options::compose_proxy(scopes, served, packet, kind).ok_or(Silence::ProxyOnly)?;
        let delay = match (client.rom, client.mac) {
            (Some(rom), Some(mac)) => rom.reply_delay(mac),
            _ => Duration::ZERO,
        };
        let port = match to {
            Destination::Client(_) => from.port,
            Destination::Relay(_) => SERVER_PORT,
            Destination::Broadcast | Destination::Hardware(..) => CLIENT_PORT,
        };
        Ok(Outcome::Send(Outgoing {
            bytes: message.encode(packet.max_size).bytes,
            to,
            port,
            pxe: from.pxe,
            from: served.scope.server,
            delay,
            after_save: false,
            neighbour: None,
        }))
    }

    fn refused(&self, seat: Option<MacAddr>, silence: Silence, now: Now) -> Silence {
        if let Some(mac) = seat
            && !matches!(silence, Silence::Probing | Silence::PiKeepsAddress | Silence::NotForServers)
        {
            self.events.record(mac, now.civil, Happening::Refused { reason: silence.to_string() });
        }
        silence
    }

    fn record(&self, seat: Option<MacAddr>, client: &Client, reply: &Reply, now: Now) {
        let (ip, stage) = (reply.yiaddr, client.stage);
        let happening = match (reply.kind, reply.why) {
            (_, Some(why)) => Happening::Refused { reason: why.to_string() },
            (Some(MessageType::Offer), _) => Happening::Offer { ip },
            _ if ip.is_unspecified() => return,
            _ => Happening::Lease { ip, stage },
        };
        let mac = client.mac.map(tracing::field::display);
        match (&happening, seat) {
            (Happening::Refused { reason }, _) => tracing::debug!(client = mac, reason, "address refused"),
            (Happening::Lease { .. }, Some(_)) => {
                tracing::info!(client = mac, %ip, stage = stage.as_str(), "address given");
            }
            (_, _) => tracing::debug!(client = mac, %ip, stage = stage.as_str(), "address offered or given"),
        }
        if let Some(mac) = seat {
            self.events.record(mac, now.civil, happening);
        }
    }
}

/// What a binding says that the store does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    /// A later end.
    End,
    /// A holder: this must survive a power cut.
    Holder,
}

impl News {
    fn of(binding: &Binding, before: Option<&Entry>) -> Self {
        let Some(before) = before.filter(|before| before.key == binding.key && before.mac == binding.mac)
        else {
            return Self::Holder;
        };
        let State::Bound { until } = before.state else { return Self::Holder };
        let renamed = binding.host_name.is_some() && binding.host_name != before.host_name;
        match (until, binding.until) {
            (Some(_), None) => Self::Holder,
            (old, new) if old == new && !renamed => Self::None,
            _ => Self::End,
        }
    }
}

fn outgoing(
    packet: &Packet,
    served: &Served,
    client: &Client,
    reply: &Reply,
    message: &Message,
    after_save: bool,
) -> Outgoing {
    let encoded = message.encode(packet.max_size);
    if !encoded.dropped.is_empty() {
        tracing::debug!(options = ?encoded.dropped, "options left out: the client takes no longer packet");
    }
    let neighbour = match (client.mac, client.stage) {
        (Some(mac), Stage::Rom) => Some(Neighbour::Pin(reply.yiaddr, mac)),
        (Some(_), _) if client.standing.is_pi() => Some(Neighbour::Unpin(reply.yiaddr)),
        _ => None,
    };
    Outgoing {
        bytes: encoded.bytes,
        to: reply.to,
        port: if matches!(reply.to, Destination::Relay(_)) { SERVER_PORT } else { CLIENT_PORT },
        pxe: false,
        from: served.scope.server,
        delay: reply.delay,
        after_save,
        neighbour: neighbour.filter(|_| !reply.yiaddr.is_unspecified() && !served.scope.relayed),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! What to answer, what to store, or why nothing: a pure function of the packet and the facts.
//!
//! The client's state is never remembered; it follows from which fields are filled in (RFC 2131 §4.3.2):
//!
//! | state | option 54 | option 50 | `ciaddr` |
//! | --- | --- | --- | --- |
//! | SELECTING | me or another | offered address | zero |
//! | INIT-REBOOT | absent | remembered address | zero |
//! | RENEWING, REBINDING | absent | absent | leased address |
//!
//! Bramble is the authority of its networks. So where RFC 2131 lets a server stay silent because another may know more,
//! it says NAK to an address that is wrong here, and takes over an address that is right here and nobody else's: after a
//! lost database the room comes back with the addresses it had.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use dhcproto::v4::MessageType;

use super::allocate::{self, Choice};
use super::pi::Rom;
use super::table::{Binding, Change, ClientKey, State, Table};
use super::{LeaseTime, Packet, Uptime};
use crate::types::{MacAddr, Stage, Subnet};

/// How long an offer holds its address for a client that asks properly.
pub const OFFER_HOLD: Duration = Duration::from_mins(1);

/// How long an offer to a Pi's ROM holds its address: the ROM never sends a REQUEST and loads its files with the address
/// of the offer; the kernel asks again. A slow room takes minutes.
pub const ROM_HOLD: Duration = Duration::from_mins(10);

/// Lease of a Pi that booted from here and has not been adopted. Nothing on it renews while its root is on the network.
pub const NEW_PI_LEASE: Duration = Duration::from_hours(30 * 24);

/// How long an address rests that somebody else on the wire uses (dnsmasq's and Windows' ten minutes).
pub const DECLINED_REST: Duration = Duration::from_mins(10);

/// The shortest lease a client may ask for.
const SHORTEST: Duration = Duration::from_mins(2);

/// What a network, or a subnet behind a relay, gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Logical name of the network it is served from.
    pub network: Arc<str>,
    /// Our address: the server identifier.
    pub server: Ipv4Addr,
    pub subnet: Subnet,
    pub pool: Option<RangeInclusive<Ipv4Addr>>,
    pub lease_time: LeaseTime,
    /// Behind a relay agent: its wire cannot be probed.
    pub relayed: bool,
    /// Addresses of reservations, sorted: never given to anybody else.
    pub reserved: Arc<[Ipv4Addr]>,
}

impl Scope {
    /// Whether `ip` can be a client's here at all.
    pub fn is_usable(&self, ip: Ipv4Addr) -> bool {
        self.subnet.is_host(ip) && ip != self.server
    }

    pub fn is_reserved(&self, ip: Ipv4Addr) -> bool {
        self.reserved.binary_search(&ip).is_ok()
    }

    /// Whether `ip` may be given to somebody without a reservation for it.
    pub fn is_dynamic(&self, ip: Ipv4Addr) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.contains(&ip))
            && self.is_usable(ip)
            && !self.is_reserved(ip)
    }
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub key: ClientKey,
    pub mac: Option<MacAddr>,
    pub stage: Stage,
    /// The ROM that sent this packet.
    pub rom: Option<Rom>,
    pub standing: Standing,
    /// The address set aside for it in this scope.
    pub fixed: Option<Ipv4Addr>,
    /// From its reservation; else the scope's.
    pub lease_time: Option<LeaseTime>,
}

/// How well we know a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A client of the configuration: its address never runs out and is never anybody else's.
    Adopted,
    /// A Pi that showed itself by its ROM, now or earlier.
    NewPi,
    /// Any other device.
    Stranger,
    /// The configuration says to ignore it.
    Ignored,
}

impl Standing {
    pub const fn is_pi(self) -> bool {
        matches!(self, Self::Adopted | Self::NewPi)
    }
}

/// Everything a decision may depend on beside the packet.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub scope: &'a Scope,
    pub client: &'a Client,
    pub table: &'a Table,
    pub now: Uptime,
}

/// What to do. Changes are applied, and those that must be are stored, before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Silent(Silence),
    /// Ask the wire whether somebody uses this address, note the answer in the table, and decide again.
    Probe(Ipv4Addr),
    Reply(Reply),
}

/// The part of an answer that is decided here; the service adds the network's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `None` answers BOOTP.
    pub kind: Option<MessageType>,
    pub yiaddr: Ipv4Addr,
    pub ciaddr: Ipv4Addr,
    pub lease: Option<LeaseTime>,
    /// Option 56.
    pub why: Option<Refusal>,
    pub to: Destination,
    pub delay: Duration,
}

/// Why a client was told NAK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("address is not on this network")]
    WrongNetwork,
    #[error("another address was set aside for this client")]
    Reserved,
    #[error("this client has another address")]
    HasAnother,
    #[error("address is another client's")]
    NotYours,
    #[error("address is not for clients")]
    NotForClients,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    #[error("not a request")]
    NotARequest,
    #[error("the client has neither a hardware address nor an identifier")]
    Nameless,
    #[error("the configuration says to ignore this client")]
    Ignored,
    #[error("the Pi has not been adopted and `unknown_pi` is `ignore`")]
    UnknownPi,
    #[error("no network is served behind this relay")]
    UnknownRelay,
    #[error("client chose another server")]
    ChoseAnother,
    #[error("no address in the request")]
    NoAddress,
    #[error("every address of the pool is in use")]
    PoolExhausted,
    #[error("too many offers are waiting for an answer")]
    TooManyOffers,
    #[error("the address is being probed")]
    Probing,
    #[error("the address is not this client's")]
    NotItsAddress,
    #[error("the client gave its address back")]
    Released,
    #[error("a Pi keeps its address: its root may still be on the network")]
    PiKeepsAddress,
    #[error("the client found its address in use; it rests")]
    Declined,
    #[error("BOOTP is answered only for clients and reservations of the configuration")]
    BootpStranger,
    #[error("a kind of message that servers do not answer")]
    NotForServers,
    #[error("another server gives addresses here")]
    ProxyOnly,
}

/// Where an answer goes (RFC 2131 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Port 67 of the relay agent.
    Relay(Ipv4Addr),
    /// 255.255.255.255, port 68.
    Broadcast,
    /// A client that has an address and answers ARP, port 68 (or the port it asked from, for PXE).
    Client(Ipv4Addr),
    /// A client that does not have the address yet: a frame to its hardware address.
    Hardware(MacAddr, Ipv4Addr),
}

/// Answers any packet of a client.
pub fn decide(packet: &Packet, facts: Facts<'_>) -> Decision {
    match facts.client.standing {
        Standing::Ignored => return silent(Silence::Ignored),
        Standing::Adopted | Standing::NewPi | Standing::Stranger => {}
    }
    match packet.kind {
        Some(MessageType::Discover) => discover(packet, facts),
        Some(MessageType::Request) => request(packet, facts),
        Some(MessageType::Decline) => decline(packet, facts),
        Some(MessageType::Release) => release(packet, facts),
        Some(MessageType::Inform) => inform(packet),
        Some(_) => silent(Silence::NotForServers),
        None => bootp(packet, facts),
    }
}

fn discover(packet: &Packet, facts: Facts<'_>) -> Decision {
    let choice = match allocate::choose(packet, facts) {
        Ok(choice) => choice,
        Err(silence) => return silent(silence),
    };
    let Choice { ip, probe } = choice;
    if probe {
        return Decision { action: Action::Probe(ip), changes: vec![hold(ip, facts, false)] };
    }
    let lease = lease_time(packet, facts);
    let changes = if facts.client.stage == Stage::Rom {
        let until = match facts.client.standing {
            Standing::Adopted => None,
            _ => Some(facts.now.plus(ROM_HOLD)),
        };
        bind(ip, packet, facts, longer(until, ip, facts))
    } else if held(ip, facts) || facts.client.fixed == Some(ip) {
        // Nobody else can get it. What the client holds besides stays its own until it asks for this one.
        Vec::new()
    } else {
        vec![hold(ip, facts, true)]
    };
    let delay = match (facts.client.rom, facts.client.mac) {
        (Some(rom), Some(mac)) => rom.reply_delay(mac),
        _ => Duration::ZERO,
    };
    reply(packet, MessageType::Offer, ip, Some(lease), delay, changes)
}

fn request(packet: &Packet, facts: Facts<'_>) -> Decision {
    let selecting = packet.server_id.is_some();
    let own = allocate::own(facts);
    if packet.server_id.is_some_and(|chosen| chosen != facts.scope.server) {
        let offered = own.filter(|(_, entry)| matches!(entry.state, State::Offered { .. }));
        let changes = offered.map(|(ip, _)| Change::Free { ip }).into_iter().collect();
        return Decision { action: Action::Silent(Silence::ChoseAnother), changes };
    }
    let Some(ip) = packet.requested.or(Some(packet.ciaddr)).filter(|ip| !ip.is_unspecified()) else {
        return silent(Silence::NoAddress);
    };
    if let Err(refusal) = may_have(ip, selecting, facts) {
        return nak(packet, refusal);
    }
    let lease = lease_time(packet, facts);
    let until = match lease {
        LeaseTime::For(time) => Some(facts.now.plus(time)),
        LeaseTime::Infinite => None,
    };
    let changes = bind(ip, packet, facts, until);
    reply(packet, MessageType::Ack, ip, Some(lease), Duration::ZERO, changes)
}

/// Whether the client may have `ip`, which it asks for by REQUEST.
fn may_have(ip: Ipv4Addr, selecting: bool, facts: Facts<'_>) -> Result<(), Refusal> {
    let Facts { scope, client, table, .. } = facts;
    if !scope.subnet.is_host(ip) {
        return Err(Refusal::WrongNetwork);
    }
    if ip == scope.server {
        return Err(Refusal::NotForClients);
    }
    match allocate::fixed(facts) {
        Some(fixed) if fixed == ip => return Ok(()),
        Some(_) => return Err(Refusal::Reserved),
        None => {}
    }
    if let Some((own, entry)) = allocate::own(facts)
        && own != ip
        && scope.is_usable(own)
    {
        match entry.state {
            State::Bound { .. } => return Err(Refusal::HasAnother),
            State::Offered { .. } if selecting => return Err(Refusal::HasAnother),
            State::Offered { .. } | State::Free | State::Declined { .. } => {}
        }
    }
    match table.get(ip) {
        Some(entry) if matches!(entry.state, State::Declined { .. }) => Err(Refusal::NotYours),
        Some(entry) if allocate::is_own(entry, client) => Ok(()),
        Some(entry) if entry.state != State::Free => Err(Refusal::NotYours),
        _ if scope.is_dynamic(ip) && allocate::has_room(ip, table) => Ok(()),
        _ if scope.is_reserved(ip) => Err(Refusal::NotYours),
        _ => Err(Refusal::NotForClients),
    }
}

fn decline(packet: &Packet, facts: Facts<'_>) -> Decision {
    if packet.server_id != Some(facts.scope.server) {
        return silent(Silence::ChoseAnother);
    }
    let Some(ip) = packet.requested else { return silent(Silence::NoAddress) };
    match facts.table.get(ip) {
        Some(entry) if allocate::is_own(entry, facts.client) && entry.state != State::Free => Decision {
            action: Action::Silent(Silence::Declined),
            changes: vec![Change::Decline { ip, until: facts.now.plus(DECLINED_REST) }],
        },
        _ => silent(Silence::NotItsAddress),
    }
}

fn release(packet: &Packet, facts: Facts<'_>) -> Decision {
    // Option 54 is a MUST (RFC 2131 table 5), but clients that leave it out mean it.
    if packet.server_id.is_some_and(|chosen| chosen != facts.scope.server) {
        return silent(Silence::ChoseAnother);
    }
    let ip = packet.ciaddr;
    match facts.table.get(ip) {
        Some(entry) if allocate::is_own(entry, facts.client) => {
            if facts.client.standing.is_pi() {
                return silent(Silence::PiKeepsAddress);
            }
            Decision { action: Action::Silent(Silence::Released), changes: vec![Change::Free { ip }] }
        }
        _ => silent(Silence::NotItsAddress),
    }
}

/// RFC 2131 §4.3.5: options without an address or a lease; existing leases are neither checked nor changed.
fn inform(packet: &Packet) -> Decision {
    if packet.ciaddr.is_unspecified() {
        return silent(Silence::NoAddress);
    }
    let mut decision =
        reply(packet, MessageType::Ack, Ipv4Addr::UNSPECIFIED, None, Duration::ZERO, Vec::new());
    if let Action::Reply(reply) = &mut decision.action
        && packet.giaddr.is_unspecified()
    {
        reply.to = Destination::Client(packet.ciaddr);
    }
    decision
}

/// RFC 1534 §2: a BOOTP client keeps its address for ever, so only who is in the configuration gets one.
fn bootp(packet: &Packet, facts: Facts<'_>) -> Decision {
    if facts.client.fixed.is_none() && facts.client.standing != Standing::Adopted {
        return silent(Silence::BootpStranger);
    }
    match allocate::choose(packet, facts) {
        Ok(Choice { ip, .. }) => {
            let changes = bind(ip, packet, facts, None);
            let mut decision = reply(packet, MessageType::Ack, ip, None, Duration::ZERO, changes);
            if let Action::Reply(reply) = &mut decision.action {
                reply.kind = None;
            }
            decision
        }
        Err(silence) => silent(silence),
    }
}

fn lease_time(packet: &Packet, facts: Facts<'_>) -> LeaseTime {
    match facts.client.standing {
        Standing::Adopted => LeaseTime::Infinite,
        Standing::NewPi => LeaseTime::For(NEW_PI_LEASE),
        Standing::Stranger | Standing::Ignored => {
            let ours = facts.client.lease_time.unwrap_or(facts.scope.lease_time);
            match packet.lease_time() {
                Some(wish @ LeaseTime::For(_)) => ours.min(wish.max(LeaseTime::For(SHORTEST))),
                Some(LeaseTime::Infinite) | None => ours,
            }
        }
    }
}

/// A binding that is there already is not made shorter.
fn longer(until: Option<Uptime>, ip: Ipv4Addr, facts: Facts<'_>) -> Option<Uptime> {
    match facts.table.get(ip) {
        Some(entry) if allocate::is_own(entry, facts.client) => match entry.state {
            State::Bound { until: None } => None,
            State::Bound { until: Some(bound) } => until.map(|until| until.max(bound)),
            _ => until,
        },
        _ => until,
    }
}

/// Whether `ip` is bound to this client already.
fn held(ip: Ipv4Addr, facts: Facts<'_>) -> bool {
    facts.table.get(ip).is_some_and(|entry| {
        matches!(entry.state, State::Bound { .. }) && allocate::is_own(entry, facts.client)
    })
}

fn hold(ip: Ipv4Addr, facts: Facts<'_>, probed: bool) -> Change {
    Change::Offer {
        ip,
        key: facts.client.key.clone(),
        mac: facts.client.mac,
        network: Arc::clone(&facts.scope.network),
        until: facts.now.plus(OFFER_HOLD),
        probed,
    }
}

/// The address becomes the client's; a Pi is in one place only, so what it had on other networks ends.
fn bind(ip: Ipv4Addr, packet: &Packet, facts: Facts<'_>, until: Option<Uptime>) -> Vec<Change> {
    let Facts { scope, client, table, .. } = facts;
    let mut changes = Vec::new();
    if client.standing.is_pi() {
        changes
            .extend(table.elsewhere(&client.key, &scope.network).into_iter().map(|ip| Change::Free { ip }));
    }
    changes.push(Change::Bind(Binding {
        ip,
        key: client.key.clone(),
        mac: client.mac,
        network: Arc::clone(&scope.network),
        until,
        host_name: packet.host_name.clone(),
    }));
    changes
}

fn reply(
    packet: &Packet,
    kind: MessageType,
    yiaddr: Ipv4Addr,
    lease: Option<LeaseTime>,
    delay: Duration,
    changes: Vec<Change>,
) -> Decision {
    // RFC 2131 table 3: ACK repeats `ciaddr`, OFFER has zero.
    let ciaddr = if kind == MessageType::Ack { packet.ciaddr } else { Ipv4Addr::UNSPECIFIED };
    let to = destination(packet, yiaddr);
    Decision {
        action: Action::Reply(Reply { kind: Some(kind), yiaddr, ciaddr, lease, why: None, to, delay }),
        changes,
    }
}

fn nak(packet: &Packet, why: Refusal) -> Decision {
    let to = if packet.giaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::Relay(packet.giaddr)
    };
    let zero = Ipv4Addr::UNSPECIFIED;
    let reply = Reply {
        kind: Some(MessageType::Nak),
        yiaddr: zero,
        ciaddr: zero,
        lease: None,
        why: Some(why),
        to,
        delay: Duration::ZERO,
    };
    Decision { action: Action::Reply(reply), changes: Vec::new() }
}

/// RFC 2131 §4.1, fifth paragraph.
pub fn destination(packet: &Packet, yiaddr: Ipv4Addr) -> Destination {
    if !packet.giaddr.is_unspecified() {
        return Destination::Relay(packet.giaddr);
    }
    if !packet.ciaddr.is_unspecified() {
        return Destination::Client(packet.ciaddr);
    }
    match packet.hardware.mac() {
        Some(mac) if !packet.broadcast && !yiaddr.is_unspecified() => Destination::Hardware(mac, yiaddr),
        _ => Destination::Broadcast,
    }
}

fn silent(why: Silence) -> Decision {
    Decision { action: Action::Silent(why), changes: Vec::new() }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

//! Which address a client is offered.
//!
//! In this order: the one set aside for it; the one it has or had; the one it asks for, if that is free; one that nobody
//! ever had, searched from a place that depends on the client, so that a client without a record tends to get the same one
//! again; the one whose last holder has been gone longest.
//!
//! Only an address that is new to a stranger is probed on the wire first. A known Pi never waits.

use std::net::Ipv4Addr;

use super::Packet;
use super::decide::{Client, Facts, Silence, Standing};
use super::table::{ClientKey, Entry, State, Table};
use super::wire::Hardware;
use crate::types::limits;

/// An address for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub ip: Ipv4Addr,
    /// Nobody may answer for it on the wire.
    pub probe: bool,
}

/// The address for the client that sent `packet`.
pub fn choose(packet: &Packet, facts: Facts<'_>) -> Result<Choice, Silence> {
    let Facts { scope, client, table, .. } = facts;
    if let Some(ip) = fixed(facts) {
        return Ok(Choice { ip, probe: false });
    }
    // Only somebody else's address, or none, is left: so what the client had must be usable here and not set aside.
    if let Some((ip, entry)) = own(facts)
        && scope.is_usable(ip)
        && !scope.is_reserved(ip)
    {
        return match entry.state {
            State::Offered { probed: false, .. } => Err(Silence::Probing),
            _ => Ok(Choice { ip, probe: false }),
        };
    }
    let stranger = client.standing != Standing::Adopted;
    if stranger && table.offers() >= limits::DHCP_OFFERS {
        return Err(Silence::TooManyOffers);
    }
    let wished = packet.requested.filter(|ip| scope.is_dynamic(*ip) && is_free(*ip, table));
    let ip = wished.or_else(|| never_used(facts)).or_else(|| longest_unused(facts));
    let ip = ip.ok_or(Silence::PoolExhausted)?;
    Ok(Choice { ip, probe: stranger && !scope.relayed })
}

/// The address set aside for the client, unless it rests or another client still holds it.
pub(super) fn fixed(facts: Facts<'_>) -> Option<Ipv4Addr> {
    let ip = facts.client.fixed.filter(|ip| facts.scope.is_usable(*ip))?;
    match facts.table.get(ip) {
        Some(entry) if matches!(entry.state, State::Declined { .. }) => None,
        Some(entry) if entry.state != State::Free && !is_own(entry, facts.client) => None,
        _ => Some(ip),
    }
}

/// Whether `entry` is this client's: by its key, or by its hardware address where the key may have changed (it was given
/// the address before it was adopted, before it was reserved, or before it began to show an identifier).
pub(super) fn is_own(entry: &Entry, client: &Client) -> bool {
    if entry.key == client.key {
        return true;
    }
    let same_hardware = client.mac.is_some() && entry.mac == client.mac;
    let by_hardware = |key: &ClientKey| matches!(key, ClientKey::Hardware(_));
    same_hardware && (by_hardware(&entry.key) || by_hardware(&client.key))
}

/// The address the client has, is offered, or had last on this network.
///
/// A client that begins to show an identifier is still the one that had none (as dnsmasq has it): a PC's firmware and its
/// operating system get one address.
pub(super) fn own(facts: Facts<'_>) -> Option<(Ipv4Addr, &Entry)> {
    let Facts { scope, client, table, .. } = facts;
    table.of(&client.key, &scope.network).or_else(|| {
        let bare = client.mac.filter(|_| matches!(client.key, ClientKey::Id(_)))?;
        table.of(&ClientKey::Hardware(Hardware::ethernet(bare)), &scope.network)
    })
}

fn is_free(ip: Ipv4Addr, table: &Table) -> bool {
    table.get(ip).is_none_or(|entry| entry.state == State::Free) && has_room(ip, table)
}

/// Whether the table may hold `ip`: it does already, or it is not full.
pub(super) fn has_room(ip: Ipv4Addr, table: &Table) -> bool {
    table.get(ip).is_some() || table.len() < limits::LEASES
}

/// Searches the pool from a place that depends on the client.
fn never_used(facts: Facts<'_>) -> Option<Ipv4Addr> {
    let Facts { scope, client, table, .. } = facts;
    if table.len() >= limits::LEASES {
        return None;
    }
    let pool = scope.pool.as_ref()?;
    let (first, last) = (u32::from(*pool.start()), u32::from(*pool.end()));
    let size = u64::from(last.checked_sub(first)?) + 1;
    let start = hash(&client.key.to_bytes()) % size;
    // A pool is at most a /8; what is taken in it is at most LEASES and the reservations, so this ends soon.
    let candidates = (0..size).map(|step| u64::from(first) + (start + step) % size);
    candidates
        .filter_map(|ip| u32::try_from(ip).ok())
        .map(Ipv4Addr::from)
        .find(|ip| table.get(*ip).is_none() && scope.is_dynamic(*ip))
}

fn longest_unused(facts: Facts<'_>) -> Option<Ipv4Addr> {
    facts.table.free().find(|ip| facts.scope.is_dynamic(*ip))
}

/// FNV-1a, finished with a multiplication so that neighbouring hardware addresses are spread: it decides only where a
/// search begins.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    (fnv ^ (fnv >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

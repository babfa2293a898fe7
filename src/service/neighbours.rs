//! Who is at an address that another server gave.
//!
//! In proxy mode Bramble hears which address a client asks the other server for. A ROM that boots from an OFFER asks for
//! none, and with DHCP switched off nothing is heard at all. But whoever sends a packet from a served network is a
//! neighbour of this machine, and the kernel knows its hardware address. That is believed as DHCP is: a machine can lie in
//! both. Behind a relay the kernel knows only the relay, so clients there have to send a REQUEST.
//!
//! Where Bramble gives the addresses, the same table tells of a machine that has taken another's.

use std::net::Ipv4Addr;

use crate::config::{Config, DhcpMode, Network};
use crate::sys::arp;
use crate::types::{MacAddr, chain};

/// The served network that `ip` is in, if others give the addresses there.
fn network(config: &Config, ip: Ipv4Addr) -> Option<&Network> {
    let networks = config.networks.iter().filter(|_| config.dhcp.mode != DhcpMode::Authoritative);
    networks.filter(|network| network.address != ip).find(|network| network.subnet.contains(ip))
}

/// Who is at `ip`, and in which network.
pub fn find(config: &Config, ip: Ipv4Addr) -> Option<(MacAddr, &str)> {
    let network = network(config, ip)?;
    match arp::find(&network.device, ip) {
        Ok(found) => found.filter(|mac| mac.is_unicast()).map(|mac| (mac, network.name.as_str())),
        Err(error) => {
            tracing::debug!(%ip, iface = network.device, error = chain(&error), "neighbour cannot be looked up");
            None
        }
    }
}

/// The machine that uses `ip`, which was given to `mac`, if the kernel knows another one there. Not of use against a machine
/// that takes the hardware address too, and none behind a relay.
pub fn impostor(config: &Config, ip: Ipv4Addr, mac: MacAddr) -> Option<MacAddr> {
    let network = config.networks.iter().find(|network| network.subnet.contains(ip))?;
    arp::find(&network.device, ip).ok().flatten().filter(|found| *found != mac)
}

/// Makes the kernel find out who is at `ip`; whether that may help. A client asks again, and is known then.
pub fn ask(config: &Config, ip: Ipv4Addr) -> bool {
    let network = network(config, ip).filter(|network| matches!(arp::find(&network.device, ip), Ok(None)));
    network.is_some_and(|network| arp::ask(network.address, ip).is_ok())
}

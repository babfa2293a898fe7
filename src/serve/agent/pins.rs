//! Ties the address of every client with an open session to its hardware address in the kernel's neighbour table, so that no
//! machine draws what is read from a home to itself by ARP. What takes the hardware address as well is not hindered.
//!
//! Entries are made when sessions open, made again from time to time (DHCP makes and removes some of its own), and removed
//! with the last session of a client, or when the service stops.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::service::sessions::Place;
use crate::sys::arp;
use crate::types::chain;

/// The entries there are, with their devices.
#[derive(Debug, Default)]
pub(super) struct Pins {
    of: Mutex<BTreeMap<Ipv4Addr, String>>,
}

impl Pins {
    /// Has entries for `places`, as they are when it is their turn, and for no others. Clients behind a relay are no neighbours
    /// and have none.
    pub fn follow(&self, places: impl FnOnce() -> Vec<Place>, config: &Config) {
        let mut pins = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let places = places();
        pins.retain(|ip, device| {
            let stays = places.iter().any(|place| place.ip == *ip);
            if !stays {
                unpin(device, *ip);
            }
            stays
        });
        for Place { mac, ip } in places {
            let Some(network) = config.networks.iter().find(|network| network.subnet.contains(ip)) else {
                continue;
            };
            match arp::pin(&network.device, ip, mac) {
                Ok(()) => drop(pins.insert(ip, network.device.clone())),
                Err(error) => {
                    tracing::debug!(client = %mac, %ip, error = chain(&error), "a client's address is not tied to it");
                }
            }
        }
    }
}

fn unpin(device: &str, ip: Ipv4Addr) {
    if let Err(error) = arp::unpin(device, ip) {
        tracing::warn!(%ip, error = chain(&error), "an address stays tied to a client that has no session any more");
    }
}

//! How many connections there may be, and how much each address was sent.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use portable_atomic::AtomicU64;

use crate::types::limits;

/// What an address was sent since it first connected.
#[derive(Debug, Default)]
pub struct Traffic {
    pub sent: AtomicU64,
}

/// Lets connections in, up to the limits.
#[derive(Debug, Default)]
pub struct Doorman {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    inside: usize,
    strangers: usize,
    addresses: HashMap<Ipv4Addr, Address>,
}

#[derive(Debug, Default)]
struct Address {
    inside: usize,
    traffic: Arc<Traffic>,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct Pass {
    doorman: Arc<Doorman>,
    ip: Ipv4Addr,
    stranger: bool,
    traffic: Arc<Traffic>,
}

impl Doorman {
    /// A pass for one connection of `ip`; `None` if there are too many.
    pub fn enter(self: &Arc<Self>, ip: Ipv4Addr, stranger: bool) -> Option<Pass> {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = inner.addresses.get(&ip).map_or(0, |address| address.inside);
        if inner.inside >= limits::NFS_CONNECTIONS
            || of_address >= limits::NFS_CLIENT_CONNECTIONS
            || (stranger && inner.strangers >= limits::NFS_STRANGERS)
        {
            return None;
        }
        inner.inside += 1;
        inner.strangers += usize::from(stranger);
        if inner.addresses.len() >= limits::NFS_CONNECTIONS {
            inner.addresses.retain(|_, address| address.inside > 0);
        }
        let address = inner.addresses.entry(ip).or_default();
        address.inside += 1;
        let traffic = Arc::clone(&address.traffic);
        Some(Pass { doorman: Arc::clone(self), ip, stranger, traffic })
    }

    /// Bytes sent to `ip`.
    pub fn sent_to(&self, ip: Ipv4Addr) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.addresses.get(&ip).map_or(0, |address| address.traffic.sent.load(Ordering::Relaxed))
    }
}

impl Pass {
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let inner = &mut *self.doorman.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.inside -= 1;
        inner.strangers -= usize::from(self.stranger);
        if let Some(address) = inner.addresses.get_mut(&self.ip) {
            address.inside -= 1;
            if self.stranger && address.inside == 0 {
                inner.addresses.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_single_clients_cannot_fill_the_house() {
        let doorman = Arc::new(Doorman::default());
        let ip = |n: usize| Ipv4Addr::from(u32::try_from(n).expect("small"));
        let of_one: Vec<_> = (0..100).filter_map(|_| doorman.enter(ip(1), false)).collect();
        assert_eq!(of_one.len(), limits::NFS_CLIENT_CONNECTIONS);
        let strangers: Vec<_> = (0..100).filter_map(|n| doorman.enter(ip(1000 + n), true)).collect();
        assert_eq!(strangers.len(), limits::NFS_STRANGERS);
        let all: Vec<_> = (0..1000).filter_map(|n| doorman.enter(ip(5000 + n), false)).collect();
        assert_eq!(all.len() + of_one.len() + strangers.len(), limits::NFS_CONNECTIONS);
        drop(strangers);
        assert!(doorman.enter(ip(9000), true).is_some(), "places are given back");
        drop((of_one, all));
        let again: Vec<_> = (0..2000).filter_map(|n| doorman.enter(ip(20_000 + n), false)).collect();
        assert_eq!(again.len(), limits::NFS_CONNECTIONS);
        assert!(doorman.inner.lock().unwrap().addresses.len() <= limits::NFS_CONNECTIONS + 1);
    }

    #[test]
    fn traffic_is_counted_per_address() {
        let doorman = Arc::new(Doorman::default());
        let ip = Ipv4Addr::LOCALHOST;
        for bytes in [5, 7] {
            let pass = doorman.enter(ip, false).expect("a place");
            pass.traffic().sent.fetch_add(bytes, Ordering::Relaxed);
        }
        assert_eq!(doorman.sent_to(ip), 12, "the sum stays when a connection ends");
    }
}

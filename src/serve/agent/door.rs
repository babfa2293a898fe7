//! How many connections there may be: in all, of one client, and of one client in a minute.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::types::limits;

/// Lets connections in, up to the limits.
#[derive(Debug, Default)]
pub(super) struct Door {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    inside: usize,
    /// Only clients get here, so there are no more of them than leases.
    clients: HashMap<Ipv4Addr, Client>,
    minute: Option<Instant>,
}

#[derive(Debug, Default)]
struct Client {
    inside: usize,
    this_minute: usize,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    door: Arc<Door>,
    ip: Ipv4Addr,
}

impl Door {
    /// A pass for one connection of `ip`; `None` if there are too many.
    pub fn enter(self: &Arc<Self>, ip: Ipv4Addr, now: Instant) -> Option<Pass> {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.minute.is_none_or(|since| now.duration_since(since) >= Duration::from_mins(1)) {
            inner.minute = Some(now);
            inner.clients.retain(|_, client| client.inside > 0);
            inner.clients.values_mut().for_each(|client| client.this_minute = 0);
        }
        let client = inner.clients.entry(ip).or_default();
        if inner.inside >= limits::CHANNEL_CONNECTIONS
            || client.inside >= limits::CHANNEL_CLIENT_CONNECTIONS
            || client.this_minute >= limits::CHANNEL_CONNECTIONS_PER_MINUTE
        {
            return None;
        }
        inner.inside += 1;
        client.inside += 1;
        client.this_minute += 1;
        Some(Pass { door: Arc::clone(self), ip })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let inner = &mut *self.door.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.inside -= 1;
        if let Some(client) = inner.clients.get_mut(&self.ip) {
            client.inside -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_fill_the_house() {
        let door = Arc::new(Door::default());
        let ip = |n: usize| Ipv4Addr::from(u32::try_from(n).expect("small"));
        let start = Instant::now();
        let of_one: Vec<_> = (0..100).filter_map(|_| door.enter(ip(1), start)).collect();
        assert_eq!(of_one.len(), limits::CHANNEL_CLIENT_CONNECTIONS);
        let all: Vec<_> = (2..5000).filter_map(|n| door.enter(ip(n), start)).collect();
        assert_eq!(of_one.len() + all.len(), limits::CHANNEL_CONNECTIONS);
        drop((of_one, all));
        assert!(door.enter(ip(6000), start).is_some(), "places are given back");
    }

    #[test]
    fn whoever_connects_all_the_time_has_to_wait() {
        let door = Arc::new(Door::default());
        let start = Instant::now();
        let tries = |at| {
            (0..2 * limits::CHANNEL_CONNECTIONS_PER_MINUTE)
                .filter(|_| door.enter(Ipv4Addr::LOCALHOST, at).is_some())
                .count()
        };
        assert_eq!(tries(start), limits::CHANNEL_CONNECTIONS_PER_MINUTE);
        assert_eq!(tries(start + Duration::from_secs(59)), 0);
        assert_eq!(tries(start + Duration::from_mins(1)), limits::CHANNEL_CONNECTIONS_PER_MINUTE);
    }
}

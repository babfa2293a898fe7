//! The served networks as the kernel has them: which are there, and which came anew.
//!
//! Sockets that were bound to an interface hear nothing more once it was deleted, though one of the same name came after
//! it (`/etc/init.d/network restart`), and get no error. So it is looked at: at each reload, and every ten seconds.

use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;

use crate::config::{Config, Network};

/// How often networks are looked at, besides at each reload.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// One served network now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    name: String,
    device: String,
    /// The number of the interface: another one, and it is another interface. `None` where there is none.
    index: Option<u32>,
    /// Whether the router has its address.
    address: bool,
}

/// Whether this machine has the address of `network`.
pub fn has_address(network: &Network) -> bool {
    UdpSocket::bind(SocketAddrV4::new(network.address, 0)).is_ok()
}

/// All served networks.
pub fn look(config: &Config) -> Vec<Seen> {
    let seen = |network: &Network| Seen {
        name: network.name.clone(),
        device: network.device.clone(),
        index: if_nametoindex(network.device.as_str()).ok(),
        address: has_address(network),
    };
    config.networks.iter().map(seen).collect()
}

/// What a person should know of them.
pub fn trouble(seen: &[Seen]) -> Option<String> {
    let missing = |seen: &Seen| {
        let lacks = match (seen.index, seen.address) {
            (None, _) => format!("there is no interface `{}`", seen.device),
            (Some(_), false) => "this router does not have its address".to_owned(),
            (Some(_), true) => return None,
        };
        Some(format!(
            "network `{}` is not served, because {lacks}; it is as soon as that is there: look whether it is up \
             (`ifstatus {}`)",
            seen.name, seen.name
        ))
    };
    let all: Vec<String> = seen.iter().filter_map(missing).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Which sockets must be bound anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Anew {
    /// Those bound to interfaces.
    pub devices: bool,
    /// Those bound to addresses.
    pub addresses: bool,
}

/// Compares what sockets were bound for with what there is, and notes what they will be bound for. An address that went
/// is no reason: whoever listens on it hears again when it comes back.
pub fn compare(bound: &mut Vec<Seen>, now: &[Seen]) -> Anew {
    let before =
        |seen: &Seen| bound.iter().find(|other| other.name == seen.name && other.device == seen.device);
    let anew = Anew {
        devices: now.iter().any(|n| n.index.is_some() && before(n).is_none_or(|b| b.index != n.index)),
        addresses: now.iter().any(|n| n.address && before(n).is_none_or(|b| !b.address)),
    };
    let noted = |seen: &Seen| {
        let before = before(seen);
        Seen {
            index: if anew.devices { seen.index } else { before.and_then(|b| b.index) },
            address: if anew.addresses { seen.address } else { before.is_some_and(|b| b.address) },
            ..seen.clone()
        }
    };
    *bound = now.iter().map(noted).collect();
    anew
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, index: Option<u32>, address: bool) -> Seen {
        Seen { name: name.to_owned(), device: format!("br-{name}"), index, address }
    }

    #[test]
    fn sockets_are_bound_anew_when_a_network_comes_or_is_another() {
        let (devices, addresses) = (true, true);
        #[rustfmt::skip]
        let rows = [
            ("nothing has changed",  Some(4), true,  Some(4), true,  Anew::default()),
            ("made anew",            Some(4), true,  Some(9), true,  Anew { devices, ..Anew::default() }),
            ("it went",              Some(4), true,  None,    false, Anew::default()),
            ("the address went",     Some(4), true,  Some(4), false, Anew::default()),
            ("the address came",     Some(4), false, Some(4), true,  Anew { addresses, ..Anew::default() }),
            ("it came",              None,    false, Some(9), false, Anew { devices, ..Anew::default() }),
            ("it came at once",      None,    false, Some(9), true,  Anew { devices, addresses }),
        ];
        for (shows, index, address, index_now, address_now, expected) in rows {
            let other = seen("guest", Some(7), true);
            let mut bound = vec![other.clone(), seen("lan", index, address)];
            let now = [other, seen("lan", index_now, address_now)];
            assert_eq!(compare(&mut bound, &now), expected, "{shows}");
            assert_eq!(compare(&mut bound, &now), Anew::default(), "{shows}: once");
        }
    }

    #[test]
    fn what_went_and_came_back_is_heard_by_the_old_sockets_or_by_new_ones() {
        let mut bound = vec![seen("lan", Some(4), true)];
        assert_eq!(compare(&mut bound, &[seen("lan", None, false)]), Anew::default());
        assert_eq!(compare(&mut bound, &[seen("lan", Some(4), true)]), Anew::default());
        assert_eq!(compare(&mut bound, &[seen("lan", None, false)]), Anew::default());
        let anew = compare(&mut bound, &[seen("lan", Some(5), true)]);
        assert_eq!(anew, Anew { devices: true, addresses: false });
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(trouble(&[seen("lan", Some(4), true)]), None);
        assert_eq!(
            trouble(&[seen("lan", None, false), seen("lab", Some(4), false)]).as_deref(),
            Some(
                "network `lan` is not served, because there is no interface `br-lan`; it is as soon as that is there: \
                 look whether it is up (`ifstatus lan`); network `lab` is not served, because this router does not \
                 have its address; it is as soon as that is there: look whether it is up (`ifstatus lab`)"
            )
        );
    }
}

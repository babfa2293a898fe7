//! IPv4 networks.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network: its first address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    first: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network that `address` is in. `None` if `prefix` is above 32.
    pub fn of(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let mask = mask_bits(prefix)?;
        Some(Self { first: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }

    /// The network of `address` under a netmask such as `255.255.255.0`. `None` if the mask has holes.
    pub fn with_netmask(address: Ipv4Addr, netmask: Ipv4Addr) -> Option<Self> {
        let bits = u32::from(netmask);
        let prefix = u8::try_from(bits.leading_ones()).ok()?;
        if mask_bits(prefix)? != bits {
            return None;
        }
        Self::of(address, prefix)
    }

    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask_bits(self.prefix).unwrap_or(u32::MAX))
    }

    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) | !u32::from(self.netmask()))
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.netmask()) == u32::from(self.first)
    }

    /// Whether `address` can be a station here: inside, and neither the network's own nor its broadcast address.
    pub fn is_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && (self.prefix > 30 || (address != self.first && address != self.broadcast()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn mask_bits(prefix: u8) -> Option<u32> {
    match prefix {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - prefix)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_knows_its_bounds() {
        let net = Subnet::of(Ipv4Addr::new(192, 168, 77, 130), 25).expect("25 is a prefix");
        assert_eq!(net.to_string(), "192.168.77.128/25");
        assert_eq!(net.netmask(), Ipv4Addr::new(255, 255, 255, 128));
        assert_eq!(net.broadcast(), Ipv4Addr::new(192, 168, 77, 255));
        assert!(net.is_host(Ipv4Addr::new(192, 168, 77, 254)));
        assert!(!net.is_host(Ipv4Addr::new(192, 168, 77, 128)));
        assert!(!net.is_host(Ipv4Addr::new(192, 168, 77, 127)));
        assert_eq!(Subnet::of(Ipv4Addr::LOCALHOST, 33), None);
        assert_eq!(
            Subnet::with_netmask(Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(255, 255, 0, 0)),
            Subnet::of(Ipv4Addr::new(10, 1, 0, 0), 16)
        );
        assert_eq!(Subnet::with_netmask(Ipv4Addr::LOCALHOST, Ipv4Addr::new(255, 0, 255, 0)), None);
    }
}

//! DHCP for IPv4: packets ⇄ values, and every decision of the server as a pure function.
//!
//! | file | holds |
//! | --- | --- |
//! | [`wire`] | bytes → [`Packet`], with every length checked; nothing a stranger sends gets past it unparsed |
//! | [`encode`] | [`Message`] → bytes: sizes, long options, overload, padding |
//! | [`frame`] | what goes below UDP: datagrams to addresses not yet taken, ARP probes |
//! | [`pi`] | how a Raspberry Pi shows itself, and what its ROM wants to hear |
//! | [`table`] | which address is whose, and what changes it |
//! | [`allocate`] | which address a client is offered |
//! | [`decide`] | what to answer, what to store, or why nothing |
//!
//! RFC 2131 (protocol), 2132 (options), 3046 (relay agents), 3396 (long options), 4578 (PXE). Nothing here opens a
//! socket or looks at a clock: the time is an argument ([`Uptime`]).

pub mod allocate;
pub mod decide;
pub mod encode;
pub mod frame;
pub mod pi;
pub mod table;
pub mod wire;

use std::fmt;
use std::time::Duration;

pub use dhcproto::v4::MessageType;
pub use encode::Message;
pub use wire::{Hardware, Packet};

/// UDP port of servers and relay agents.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// UDP port of PXE boot servers (PXE specification 2.1, §2.2.2).
pub const PXE_PORT: u16 = 4011;

/// Option codes that the server reads or writes by name (RFC 2132 unless noted).
pub mod code {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const ROOT_PATH: u8 = 17;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const REQUESTED_IP: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    /// RFC 3004.
    pub const USER_CLASS: u8 = 77;
    /// RFC 4702.
    pub const CLIENT_FQDN: u8 = 81;
    /// RFC 3046.
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 4578.
    pub const ARCHITECTURE: u8 = 93;
    /// RFC 4578.
    pub const MACHINE_ID: u8 = 97;
    pub const END: u8 = 255;
}

/// Time since the server started: what leases run by.
///
/// Routers without a battery start in 1970 and jump when NTP answers; a lease that ran by the civil clock would end at
/// that jump, under the client that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uptime(pub Duration);

impl Uptime {
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long an address is somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseTime {
    For(Duration),
    /// `0xffffffff` on the wire (RFC 2131 §3.3).
    Infinite,
}

impl LeaseTime {
    /// Whole seconds as option 51 carries them. A finite time never reads as infinity.
    pub fn seconds(self) -> u32 {
        match self {
            Self::For(time) => u32::try_from(time.as_secs()).unwrap_or(u32::MAX).min(u32::MAX - 1),
            Self::Infinite => u32::MAX,
        }
    }
}

impl fmt::Display for LeaseTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => write!(f, "{} s", time.as_secs()),
            Self::Infinite => f.write_str("for ever"),
        }
    }
}

#[cfg(test)]
mod vector_tests;

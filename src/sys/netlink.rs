//! Makes and configures network interfaces of the namespace the calling thread is in, over rtnetlink.
//!
//! Only what a laboratory of bridges and veth pairs needs, so that `bramble demo` works where the `ip` program is not
//! installed. The crate `rtnetlink` does the same, and more, in async code; it makes the program 1.0 MB larger.
//!
//! Source: `rtnetlink(7)`, `netlink(7)`; attribute numbers from `linux/if_link.h`, `linux/veth.h`.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use crate::types::MacAddr;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const IFF_UP: u32 = 1;

/// A socket to the kernel's routing code, bound to the namespace it was opened in.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// A bridge: the switch of a laboratory. It is down until [`Self::up`].
    pub fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut message = Message::link(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0);
        message.text(IFLA_IFNAME, name);
        message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
        self.ask(message)
    }

    /// A cable: `name` here, and `peer` with the hardware address `mac` in the namespace `home`.
    pub fn add_veth(&mut self, name: &str, peer: &str, mac: MacAddr, home: BorrowedFd<'_>) -> io::Result<()> {
        let mut message = Message::link(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0);
        message.text(IFLA_IFNAME, name);
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |other| {
                    other.0.extend([0; 16]); // struct ifinfomsg: nothing set
                    other.text(IFLA_IFNAME, peer);
                    other.attribute(IFLA_ADDRESS, &mac.octets());
                    other.attribute(IFLA_NET_NS_FD, &home.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.ask(message)
    }

    /// Plugs the interface `name` into the bridge `bridge`.
    pub fn join(&mut self, name: &str, bridge: &str) -> io::Result<()> {
        let mut message = Message::link(RTM_NEWLINK, 0, index(name)?, 0);
        message.attribute(IFLA_MASTER, &index(bridge)?.to_ne_bytes());
        self.ask(message)
    }

    pub fn up(&mut self, name: &str) -> io::Result<()> {
        self.ask(Message::link(RTM_NEWLINK, 0, index(name)?, IFF_UP))
    }

    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> io::Result<()> {
        let mut message = Message::link(RTM_NEWLINK, 0, index(name)?, 0);
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        self.ask(message)
    }

    pub fn remove_link(&mut self, name: &str) -> io::Result<()> {
        self.ask(Message::link(RTM_DELLINK, 0, index(name)?, 0))
    }

    /// Gives `name` the address `ip`; an address it already has is not an error.
    pub fn add_address(&mut self, name: &str, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message =
            Message::address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index(name)?, ip, prefix);
        let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        message.attribute(IFA_BROADCAST, &(u32::from(ip) | host_bits).to_be_bytes());
        self.ask(message)
    }

    pub fn remove_address(&mut self, name: &str, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(Message::address(RTM_DELADDR, 0, index(name)?, ip, prefix))
    }

    /// The default route.
    pub fn add_default_route(&mut self, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
        // struct rtmsg: family, destination and source prefix, tos; table main, protocol boot, universe, unicast.
        message.0.extend([address_family(), 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        message.attribute(RTA_GATEWAY, &gateway.octets());
        self.ask(message)
    }

    /// Sends one request and waits for the kernel's verdict.
    fn ask(&mut self, message: Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message.finish(self.sequence);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut answer = [0u8; 4096];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            let answer = answer.get(..length).unwrap_or_default();
            if half(answer, 4) != Some(NLMSG_ERROR) || word(answer, 8) != Some(self.sequence) {
                continue;
            }
            let code = word(answer, 16).map_or(0, u32::cast_signed);
            return if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code).into()) };
        }
    }
}

/// Number of the interface `name` in the namespace of the calling thread.
fn index(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}

fn address_family() -> u8 {
    u8::try_from(libc::AF_INET).expect("AF_INET is 2")
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// A request being put together: `struct nlmsghdr` with length and sequence still open, a fixed part, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 16];
        put(&mut bytes, 4, &kind.to_ne_bytes());
        put(&mut bytes, 6, &(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        Self(bytes)
    }

    /// With `struct ifinfomsg` for the interface `index`; `flags` are switched on, no other flag is touched.
    fn link(kind: u16, request: u16, index: u32, flags: u32) -> Self {
        let mut message = Self::new(kind, request);
        message.0.extend([0; 4]);
        for field in [index, flags, flags] {
            message.0.extend(field.to_ne_bytes());
        }
        message
    }

    /// With `struct ifaddrmsg` for the interface `index`.
    fn address(kind: u16, request: u16, index: u32, ip: Ipv4Addr, prefix: u8) -> Self {
        let mut message = Self::new(kind, request);
        message.0.extend([address_family(), prefix, 0, 0]);
        message.0.extend(index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &ip.octets());
        message.attribute(IFA_ADDRESS, &ip.octets());
        message
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |message| message.0.extend(value));
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.nest(kind, |message| message.0.extend(value.bytes().chain([0])));
    }

    /// An attribute whose value `fill` writes; every attribute ends on a multiple of four bytes.
    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).expect("our requests are far below 64 KiB");
        put(&mut self.0, start, &length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("our requests are far below 4 GiB");
        put(&mut self.0, 0, &length.to_ne_bytes());
        put(&mut self.0, 8, &sequence.to_ne_bytes());
        self.0
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.get_mut(at..at + value.len()).expect("inside a header written before").copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "veth"));
        let bytes = message.finish(7);
        assert_eq!(word(&bytes, 0), Some(32), "header 16, outer 4, inner 4 and `veth\\0` padded to 8");
        assert_eq!((half(&bytes, 4), half(&bytes, 6), word(&bytes, 8)), (Some(16), Some(5), Some(7)));
        assert_eq!(
            (half(&bytes, 16), half(&bytes, 18)),
            (Some(16), Some(18)),
            "padding of the last inner one"
        );
        assert_eq!((half(&bytes, 20), half(&bytes, 22)), (Some(9), Some(1)), "length without its padding");
        assert_eq!(&bytes[24..32], b"veth\0\0\0\0");
    }

    #[test]
    fn the_kernels_refusal_is_the_error() {
        let mut netlink = Netlink::open().expect("anyone may open a netlink socket");
        let refusal = netlink.up("no-such-device").expect_err("no such device");
        assert_eq!(refusal.raw_os_error(), Some(libc::ENODEV), "{refusal}");
    }
}

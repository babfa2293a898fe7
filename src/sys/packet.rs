//! A packet socket on one interface: sends to a hardware address that the kernel would first ask ARP for, and hears what
//! is not for an address of ours.
//!
//! The kernel writes the Ethernet header; the payload is the caller's. Source: `packet(7)`.
#![expect(
    unsafe_code,
    reason = "no crate makes addresses of packet sockets; tokio wants to be promised that a descriptor stays"
)]

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::types::MacAddr;

/// A non-blocking packet socket.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    index: libc::c_int,
    mac: Option<MacAddr>,
}

impl PacketSocket {
    /// Opens a socket on `device`. It hears packets of EtherType `hears`; none, if that is zero.
    pub fn open(device: &str, hears: u16) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(device)?;
        let index = libc::c_int::try_from(index).map_err(io::Error::other)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Opened for no protocol, so that nothing of other interfaces is heard before it is bound to one.
        // SAFETY: takes three numbers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let mut address = link_address(index, hears, MacAddr::new([0; 6]));
        let mut length = length_of(&address);
        // SAFETY: pointer and length are those of one `sockaddr_ll`, which outlives the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; the kernel writes at most `length` bytes of a plain structure.
        let named =
            unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        if named != 0 {
            return Err(io::Error::last_os_error());
        }
        let [a, b, c, d, e, f, ..] = address.sll_addr;
        let mac = (address.sll_halen == 6).then_some(MacAddr::new([a, b, c, d, e, f]));
        Ok(Self { socket, index, mac })
    }

    /// The same socket, to be waited for in the runtime of the caller.
    pub fn into_async(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: `as_raw_fd` gives the descriptor that `self` owns, never replaces, and closes when it is dropped.
        unsafe { Ok(AsyncFd::register_with_interest(self, Interest::READABLE)?) }
    }

    /// Also hears what is sent to `group`, where the card would drop it.
    pub fn join(&self, group: MacAddr) -> io::Result<()> {
        let [a, b, c, d, e, f] = group.octets();
        let request = libc::packet_mreq {
            mr_ifindex: self.index,
            mr_type: libc::PACKET_MR_MULTICAST.try_into().unwrap_or_default(),
            mr_alen: 6,
            mr_address: [a, b, c, d, e, f, 0, 0],
        };
        let length = libc::socklen_t::try_from(size_of_val(&request)).unwrap_or_default();
        // SAFETY: pointer and length are those of one `packet_mreq`, which outlives the call.
        let joined = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                length,
            )
        };
        if joined != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The interface's own hardware address, if it is an Ethernet one.
    pub fn mac(&self) -> Option<MacAddr> {
        self.mac
    }

    /// Sends `payload` as EtherType `kind` to `to`.
    pub fn send(&self, to: MacAddr, kind: u16, payload: &[u8]) -> io::Result<()> {
        let address = link_address(self.index, kind, to);
        // SAFETY: both pointers are valid for the lengths given with them, and the call keeps neither.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                payload.as_ptr().cast(),
                payload.len(),
                0,
                (&raw const address).cast(),
                length_of(&address),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The length of the next payload, put into `buffer`; an error of kind `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::sys::socket::recv(self.socket.as_raw_fd(), buffer, nix::sys::socket::MsgFlags::empty())?)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn link_address(index: libc::c_int, protocol: u16, mac: MacAddr) -> libc::sockaddr_ll {
    let [a, b, c, d, e, f] = mac.octets();
    libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    }
}

fn length_of(address: &libc::sockaddr_ll) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(address)).unwrap_or_default()
}

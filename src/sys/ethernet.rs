//! Whole Ethernet frames with IPv4 inside, sent and received on one interface without the kernel's own IP: what a
//! machine without an address uses.
//!
//! Source: `packet(7)`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

/// A packet socket bound to one interface of the namespace it was opened in.
#[derive(Debug)]
pub struct Ethernet {
    socket: OwnedFd,
}

impl Ethernet {
    #[expect(unsafe_code, reason = "nix cannot make the address of a packet socket")]
    pub fn open(device: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(device)?;
        let protocol = u16::try_from(libc::ETH_P_IP).expect("an EtherType has 16 bits").to_be();
        // SAFETY: takes three numbers.
        let socket = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol))
        };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).expect("AF_PACKET is 17"),
            sll_protocol: protocol,
            sll_ifindex: i32::try_from(index).expect("the kernel numbers interfaces from 1 in an int"),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = libc::socklen_t::try_from(size_of_val(&address)).expect("20 bytes");
        // SAFETY: the pointer and length are those of one `sockaddr_ll`, which outlives the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        if bound == 0 { Ok(Self { socket }) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a frame that begins with its destination address.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop)?)
    }

    /// The length of the next frame, put into `buffer`; `None` if none comes within `patience`.
    pub fn receive(&self, buffer: &mut [u8], patience: Duration) -> io::Result<Option<usize>> {
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let millis = u16::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(millis))? == 0 {
            return Ok(None);
        }
        Ok(Some(recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty())?))
    }
}

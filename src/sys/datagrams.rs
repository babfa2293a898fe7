//! Many UDP packets by one system call: recvmmsg(2), sendmmsg(2).
//!
//! A room of Pis in lock-step answers in one breath; a server that takes and sends its packets one by one spends most of
//! its time entering and leaving the kernel. The calls are made directly, because musl builds `sendmmsg` from single
//! sends.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};

/// Most packets in one call.
pub const BATCH: usize = 64;

/// Longest packet that is received whole, in bytes; the rest of a longer one is lost. A TFTP request has at most 512
/// (RFC 2347).
pub const LONGEST: usize = 516;

/// Packets that arrived together.
#[derive(Debug)]
pub struct Inbox {
    buffers: Box<[[u8; LONGEST]]>,
    /// Sender and length of each packet received last.
    filled: heapless::Vec<(SocketAddrV4, usize), BATCH>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { buffers: vec![[0; LONGEST]; BATCH].into_boxed_slice(), filled: heapless::Vec::new() }
    }
}

impl Inbox {
    /// Receives what is there, up to `at_most` packets, without waiting; how many there were. What was received before is
    /// forgotten.
    #[expect(unsafe_code, reason = "nix offers recvmmsg only with an allocation for each call")]
    pub fn receive(&mut self, socket: impl AsFd, at_most: usize) -> io::Result<usize> {
        self.filled.clear();
        let mut addresses = [EMPTY; BATCH];
        let mut parts: heapless::Vec<libc::iovec, BATCH> = self
            .buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: LONGEST })
            .take(at_most.clamp(1, BATCH))
            .collect();
        let mut headers: heapless::Vec<libc::mmsghdr, BATCH> =
            parts.iter_mut().zip(&mut addresses).map(|(part, address)| header(address, part, 1)).collect();
        // SAFETY: each header leads to one address and one part of the arrays above, which are not moved until after the
        // call, and each part to a buffer of `self`, which is borrowed for as long.
        let count = unsafe {
            libc::syscall(
                libc::SYS_recvmmsg,
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len(),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut::<libc::timespec>(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let lengths = headers.iter().map(|header| header.msg_len as usize);
        self.filled.extend(addresses.iter().map(from_raw).zip(lengths).take(count));
        Ok(count)
    }

    /// The packets of the last [`Self::receive`] with their senders.
    pub fn packets(&self) -> impl Iterator<Item = (SocketAddrV4, &[u8])> {
        self.filled
            .iter()
            .zip(&self.buffers)
            .filter_map(|((from, len), buffer)| Some((*from, buffer.get(..*len)?)))
    }
}

/// One packet to be sent: a header of its own and data that others may share.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub to: SocketAddrV4,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// Sends up to [`BATCH`] packets without waiting; how many the kernel took. An error is about the first one.
#[expect(unsafe_code, reason = "nix offers sendmmsg only with an allocation for each call")]
pub fn send(socket: impl AsFd, datagrams: &[Datagram<'_>]) -> io::Result<usize> {
    let mut addresses: heapless::Vec<libc::sockaddr_in, BATCH> =
        datagrams.iter().take(BATCH).map(|datagram| to_raw(datagram.to)).collect();
    let part = |data: &[u8]| libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let mut parts: heapless::Vec<[libc::iovec; 2], BATCH> =
        datagrams.iter().take(BATCH).map(|datagram| [part(datagram.head), part(datagram.body)]).collect();
    let mut headers: heapless::Vec<libc::mmsghdr, BATCH> = parts
        .iter_mut()
        .zip(&mut addresses)
        .map(|(parts, address)| header(address, parts.as_mut_ptr(), 2))
        .collect();
    // SAFETY: each header leads to one address and two parts of the arrays above, which are not moved until after the
    // call, and each part to data of `datagrams`, which is borrowed for as long and only read.
    let count = unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

const EMPTY: libc::sockaddr_in =
    libc::sockaddr_in { sin_family: 0, sin_port: 0, sin_addr: libc::in_addr { s_addr: 0 }, sin_zero: [0; 8] };

#[expect(unsafe_code, reason = "the C library's header has padding that only zeroing can fill")]
fn header(address: &mut libc::sockaddr_in, parts: *mut libc::iovec, count: u8) -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is integers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
    header.msg_hdr.msg_namelen = 16;
    header.msg_hdr.msg_iov = parts;
    header.msg_hdr.msg_iovlen = count.into();
    header
}

fn to_raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET.try_into().expect("AF_INET is 2"),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        ..EMPTY
    }
}

fn from_raw(address: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)), u16::from_be(address.sin_port))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;

    fn socket() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let Ok(SocketAddr::V4(address)) = socket.local_addr() else { panic!("an IPv4 address") };
        (socket, address)
    }

    #[test]
    fn what_is_sent_together_arrives_together() {
        let ((from, from_address), (to, to_address)) = (socket(), socket());
        let bodies: Vec<Vec<u8>> = (0..70).map(|n: u8| vec![n; usize::from(n)]).collect();
        let datagrams: Vec<_> =
            bodies.iter().map(|body| Datagram { to: to_address, head: b"head", body }).collect();
        assert_eq!(send(&from, &datagrams).expect("sent"), BATCH);
        let mut inbox = Inbox::default();
        assert_eq!(inbox.receive(&to, 3).expect("received"), 3);
        assert_eq!(inbox.receive(&to, 1000).expect("received"), BATCH - 3);
        let got: Vec<_> = inbox.packets().collect();
        assert_eq!(got.len(), BATCH - 3);
        assert_eq!(got.first(), Some(&(from_address, &b"head\x03\x03\x03"[..])));
        let nothing = inbox.receive(&to, BATCH).expect_err("nothing is left");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(inbox.packets().count(), 0);
    }

    #[test]
    fn a_packet_that_is_too_long_is_cut() {
        let ((from, _), (to, to_address)) = (socket(), socket());
        from.send_to(&[7; 2000], to_address).expect("sent");
        let mut inbox = Inbox::default();
        assert_eq!(inbox.receive(&to, BATCH).expect("received"), 1);
        assert_eq!(inbox.packets().map(|(_, packet)| packet.len()).collect::<Vec<_>>(), [LONGEST]);
    }
}

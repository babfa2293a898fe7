//! Bytes that nobody sane sends, at every port of the daemon: it lives, stays small, and its log stays short.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::sim::pi::{Board, Options, frame};
use bramble::sys::ethernet::Ethernet;
use bramble::types::MacAddr;

use crate::classroom::{boot, classroom};
use crate::harness::isolated;

const STRANGER: MacAddr = MacAddr::new([0x02, 0xba, 0xd0, 0, 0, 1]);

/// The same numbers each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64)).expect("below a usize")
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// `good` with some bytes changed, and sometimes cut.
    fn damaged(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            bytes[at] = self.next().to_le_bytes()[0];
        }
        if self.next().is_multiple_of(4) {
            bytes.truncate(self.below(bytes.len()) + 1);
        }
        bytes
    }
}

/// A portmap GETPORT call, and an NFS GETATTR with a handle nobody gave out.
fn rpc_calls() -> [Vec<u8>; 2] {
    let call = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
    [
        call(&[7, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_005, 3, 6, 0]),
        call(&[8, 0, 2, 100_003, 3, 1, 1, 20, 0, 0, 0, 0, 0, 0, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8]),
    ]
}

fn udp(stranger: &Machine, numbers: &mut Numbers) {
    let rrq = b"\0\x01kernel8.img\0octet\0tsize\x000\0blksize\x001024\0".to_vec();
    let report = br#"{"version":1,"phase":"started","message":"hello"}"#.to_vec();
    let [portmap, nfs] = rpc_calls();
    let good = [(67, portmap.clone()), (69, rrq), (111, portmap), (2049, nfs), (8467, report)];
    let socket = stranger.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    for round in 0..2000 {
        for (port, good) in &good {
            let bytes = if round % 2 == 0 { numbers.bytes(1400) } else { numbers.damaged(good) };
            // A full queue or a refusal by ICMP is the network's answer, not a fault of the test.
            let _ = socket.send_to(&bytes, (SERVER, *port));
        }
    }
}

/// DHCP by broadcast, from a board that exists, with everything but its address damaged.
fn dhcp(stranger: &Machine, numbers: &mut Numbers) {
    let wire = stranger.run(|| Ethernet::open("eth0")).expect("a packet socket");
    let board = Board { mac: STRANGER, ..Board::nth(1) };
    for nth in 0..3000 {
        let mut bytes = numbers.damaged(&board.discover(nth, false).encode());
        if let Some(chaddr) = bytes.get_mut(28..34) {
            chaddr.copy_from_slice(&STRANGER.octets());
        }
        wire.send(&frame::broadcast(STRANGER, 68, 67, &bytes)).expect("sent");
    }
}

fn tcp(stranger: &Machine, numbers: &mut Numbers) {
    let calls = rpc_calls();
    for (round, port) in (0..200).zip([111, 2049].into_iter().cycle()) {
        let Ok(mut stream) = stranger.run(|| TcpStream::connect((SERVER, port))) else { continue };
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        for _ in 0..20 {
            let bytes = numbers.damaged(&calls[usize::from(port == 2049)]);
            let length = u32::try_from(bytes.len()).expect("short") | 0x8000_0000;
            let marked = [&length.to_be_bytes()[..], &bytes].concat();
            let sent = if round % 2 == 0 { numbers.bytes(3000) } else { marked };
            if stream.write_all(&sent).is_err() {
                break; // The server has hung up: its right.
            }
        }
    }
}

#[test]
fn nonsense_at_every_port_changes_nothing() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        boot(&mut room, Options { skip_walk: true });
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let stranger = lab.client(&lan, STRANGER).expect("a machine");
        stranger.address("eth0", Ipv4Addr::new(192, 168, 77, 9), PREFIX).expect("an address");
        let log = room.server.site().log();
        let log_length = || std::fs::metadata(&log).expect("a log").len();
        let (memory_before, log_before) = (room.server.usage().expect("usage").memory.0, log_length());

        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        udp(&stranger, &mut numbers);
        dhcp(&stranger, &mut numbers);
        tcp(&stranger, &mut numbers);

        room.server.tell(&["status"]).expect("it answers");
        assert!(room.server.is_alive(), "{}", room.server.last_words());
        let grown = room.server.usage().expect("usage").memory.0.saturating_sub(memory_before);
        assert!(grown < 8 << 20, "memory grew by {grown} bytes");
        let written = log_length() - log_before;
        assert!(
            written < 64 << 10,
            "13,000 packets wrote {written} bytes of log:\n{}",
            room.server.last_words()
        );
        boot(&mut room, Options { skip_walk: true });
    });
}

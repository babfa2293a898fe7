//! Ethernet, IPv4 and UDP around a DHCP message, for a machine that has no address yet.

use std::net::Ipv4Addr;

use crate::types::MacAddr;

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;

/// A UDP datagram as it came off the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub to_mac: MacAddr,
    pub from: (Ipv4Addr, u16),
    pub to: (Ipv4Addr, u16),
    pub payload: &'a [u8],
}

/// A broadcast from a machine without an address: `0.0.0.0:from` to `255.255.255.255:to`.
pub fn broadcast(mac: MacAddr, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + IP + UDP + payload.len());
    frame.extend([0xff; 6]);
    frame.extend(mac.octets());
    frame.extend([0x08, 0x00]);
    let length = |bytes: usize| u16::try_from(bytes).expect("a DHCP message fits a frame").to_be_bytes();
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    let [high, low] = length(IP + UDP + payload.len());
    (ip[2], ip[3]) = (high, low);
    let [high, low] = (!sum(0, &ip)).to_be_bytes();
    (ip[10], ip[11]) = (high, low);
    frame.extend(ip);
    frame.extend(from.to_be_bytes());
    frame.extend(to.to_be_bytes());
    frame.extend(length(UDP + payload.len()));
    // No checksum: allowed over IPv4 (RFC 768), and what boot ROMs do.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// Takes a frame apart; `None` if it is not an unfragmented UDP datagram with the right lengths and checksums.
pub fn parse(frame: &[u8]) -> Option<Datagram<'_>> {
    let to_mac = MacAddr::new(frame.get(..6)?.try_into().ok()?);
    if frame.get(12..14)? != [0x08, 0x00] {
        return None;
    }
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(*ip.first()? & 0x0f) * 4;
    let total = usize::from(half(ip, 2)?);
    let ip = ip.get(..total)?;
    let (head, udp) = ip.split_at_checked(header)?;
    let fragment = half(head, 6)? & 0x3fff;
    if head.first()? >> 4 != 4 || fragment != 0 || *head.get(9)? != 17 || sum(0, head) != 0xffff {
        return None;
    }
    let address = |at: usize| head.get(at..at + 4)?.try_into().ok().map(Ipv4Addr::from_octets);
    let (from, to) = (address(12)?, address(16)?);
    let length = usize::from(half(udp, 4)?);
    let udp = udp.get(..length)?;
    let payload = udp.get(UDP..)?;
    // The pseudo-header of RFC 768. A kernel that leaves the checksum to the network card, as over a veth, has put
    // only the sum of the pseudo-header into the field.
    let pseudo = sum(sum(17, head.get(12..20)?), &u16::try_from(length).ok()?.to_be_bytes());
    let checksum = half(udp, 6)?;
    if checksum != 0 && checksum != pseudo && sum(pseudo, udp) != 0xffff {
        return None;
    }
    Some(Datagram { to_mac, from: (from, half(udp, 0)?), to: (to, half(udp, 2)?), payload })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// The Internet checksum's sum (RFC 1071) of `bytes`, added to `start`; not inverted.
fn sum(start: u16, bytes: &[u8]) -> u16 {
    let mut total = u32::from(start);
    for pair in bytes.chunks(2) {
        let word =
            u16::from_be_bytes([pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)]);
        total += u32::from(word);
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).expect("folded into 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: MacAddr = MacAddr::new([0xb8, 0x27, 0xeb, 1, 2, 3]);

    #[test]
    fn a_frame_survives_the_wire() {
        let frame = broadcast(PI, 68, 67, b"discover");
        let datagram = parse(&frame).expect("our own");
        assert_eq!(datagram.to_mac, MacAddr::BROADCAST);
        assert_eq!(datagram.from, (Ipv4Addr::UNSPECIFIED, 68));
        assert_eq!(datagram.to, (Ipv4Addr::BROADCAST, 67));
        assert_eq!(datagram.payload, b"discover");
        for at in (14..34).filter(|at| *at != 14) {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x40;
            assert_eq!(parse(&damaged), None, "byte {at} of the IP header");
        }
        assert_eq!(parse(&frame[..frame.len() - 1]), None, "cut short");
    }

    #[test]
    fn a_wrong_udp_checksum_is_seen() {
        let mut frame = broadcast(PI, 68, 67, b"ok");
        let pseudo = sum(sum(17, &frame[26..34]), &10u16.to_be_bytes());
        let right = !sum(pseudo, &frame[34..]);
        for (checksum, accepted) in [(right, true), (pseudo, true), (right ^ 1, false)] {
            frame[40..42].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(parse(&frame).is_some(), accepted, "{checksum:04x}");
        }
    }
}

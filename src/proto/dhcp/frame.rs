//! The packets below UDP that a DHCP server must write itself: a datagram to somebody who does not have the address yet,
//! and the question whether anybody has it.
//!
//! RFC 791 (IP), 768 (UDP), 826 and 5227 §2.1.1 (ARP probe).

use std::net::Ipv4Addr;

use crate::types::MacAddr;

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// One end of a datagram.
pub type End = (Ipv4Addr, u16);

/// An IP packet with one UDP datagram. `payload` is at most what [`super::Message::encode`] makes.
pub fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(UDP_HEADER + payload.len()).unwrap_or(u16::MAX);
    let total = u16::try_from(IP_HEADER + UDP_HEADER + payload.len()).unwrap_or(u16::MAX);
    let mut header = Vec::with_capacity(usize::from(total));
    header.extend([0x45, 0x10]); // low delay, as other servers mark it
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]); // never fragmented, 64 hops, sum follows
    header.extend(from.0.octets());
    header.extend(to.0.octets());
    let sum = checksum(&[&header]);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }

    let mut datagram = Vec::with_capacity(usize::from(udp_len));
    datagram.extend(from.1.to_be_bytes());
    datagram.extend(to.1.to_be_bytes());
    datagram.extend(udp_len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let [len_high, len_low] = udp_len.to_be_bytes();
    let pseudo = [from.0.octets(), to.0.octets(), [0, UDP, len_high, len_low]];
    // RFC 768: zero means "no sum"; a sum of zero is sent as its complement.
    let sum = match checksum(&[pseudo.as_flattened(), &datagram]) {
        0 => u16::MAX,
        sum => sum,
    };
    if let Some(field) = datagram.get_mut(6..8) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    header.extend(datagram);
    header
}

/// "Who has `ip`?", asked without claiming an address (RFC 5227 §2.1.1).
pub fn arp_probe(from: MacAddr, ip: Ipv4Addr) -> [u8; 28] {
    let mut probe = [0; 28];
    let fields = [[0, 1, 8, 0, 6, 4, 0, 1].as_slice(), &from.octets(), &[0; 10], &ip.octets()];
    for (to, byte) in probe.iter_mut().zip(fields.concat()) {
        *to = byte;
    }
    probe
}

/// Who claims which address in an ARP packet: any packet that names its sender does.
pub fn arp_claim(packet: &[u8]) -> Option<(MacAddr, Ipv4Addr)> {
    let (head, rest) = packet.split_first_chunk::<8>()?;
    let [0, 1, 8, 0, 6, 4, 0, 1 | 2] = head else { return None };
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
    (!ip.is_unspecified()).then_some((MacAddr::new(*mac), ip))
}

/// RFC 1071. Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        let (pairs, odd) = part.as_chunks::<2>();
        sum += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        sum += odd.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
    }
    while let Some(carry) = Some(sum >> 16).filter(|carry| *carry != 0) {
        sum = (sum & 0xffff) + carry;
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: End = (Ipv4Addr::new(192, 168, 77, 1), 67);
    const CLIENT: End = (Ipv4Addr::new(192, 168, 77, 100), 68);

    #[test]
    fn sums_come_out_as_receivers_check_them() {
        for payload in [b"".as_slice(), b"odd", b"even", &[0xff; 301]] {
            let packet = udp(SERVER, CLIENT, payload);
            assert_eq!(packet.len(), 28 + payload.len());
            assert_eq!(checksum(&[&packet[..20]]), 0, "header");
            let len = u16::try_from(packet.len() - 20).expect("short").to_be_bytes();
            let pseudo = [&packet[12..20], &[0, 17], &len].concat();
            assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0, "datagram of {} bytes", payload.len());
        }
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn a_probe_claims_nothing_and_an_answer_does() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let probe = arp_probe(mac, CLIENT.0);
        assert_eq!(probe[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(probe[24..], CLIENT.0.octets());
        assert_eq!(arp_claim(&probe), None);
        let answer =
            [[0, 1, 8, 0, 6, 4, 0, 2].as_slice(), &mac.octets(), &CLIENT.0.octets(), &[0; 10]].concat();
        assert_eq!(arp_claim(&answer), Some((mac, CLIENT.0)));
        assert_eq!(arp_claim(&answer[..17]), None);
        assert_eq!(arp_claim(&[]), None);
    }
}

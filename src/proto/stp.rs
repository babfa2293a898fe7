//! Spanning-tree messages (BPDUs) as a switch sends them: who it is, and how long it keeps a port closed.
//!
//! IEEE 802.1D-2004 §9.3: configuration (version 0), rapid (2) and multiple (3) spanning tree; behind the LLC header
//! `42 42 03`, to the group [`GROUP`]. What a switch port does with a new machine follows from the forward delay.

use std::time::Duration;

use crate::types::MacAddr;

/// Where BPDUs are sent.
pub const GROUP: MacAddr = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0]);

/// EtherType by which the kernel sorts frames with an LLC header.
pub const LLC: u16 = 0x0004;

/// Longest BPDU that is looked at, in bytes: the fields that matter are in the first 38, MSTP adds a list.
pub const LONGEST: usize = 256;

/// What one message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bpdu {
    pub kind: Kind,
    /// The switch that all others follow, and the one that sent this.
    pub root: MacAddr,
    pub bridge: MacAddr,
    /// How long a port listens, and then again learns, before it lets packets through.
    pub forward_delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Classic,
    /// Rapid or multiple: a port between switches opens at once, one to a machine only if it is an edge port.
    Rapid,
}

/// Reads what follows the Ethernet header, LLC first; `None` for anything but a BPDU with times in it.
pub fn parse(bytes: &[u8]) -> Option<Bpdu> {
    let rest = bytes.strip_prefix(&[0x42, 0x42, 0x03])?;
    let (head, rest) = rest.split_first_chunk::<5>()?;
    let kind = match head {
        [0, 0, 0, 0x00, _] => Kind::Classic,
        [0, 0, version, 0x02, _] if *version >= 2 => Kind::Rapid,
        // A change of topology has no times.
        _ => return None,
    };
    let (root, rest) = identifier(rest)?;
    let (_cost, rest) = rest.split_first_chunk::<4>()?;
    let (bridge, rest) = identifier(rest)?;
    let (times, _) = rest.split_first_chunk::<10>()?;
    let [_, _, _, _, _, _, _, _, seconds, parts] = times;
    // In 256ths of a second.
    let forward_delay = Duration::from_millis(u64::from(u16::from_be_bytes([*seconds, *parts])) * 1000 / 256);
    Some(Bpdu { kind, root, bridge, forward_delay })
}

/// A priority and the address of a switch.
fn identifier(bytes: &[u8]) -> Option<(MacAddr, &[u8])> {
    let (_priority, rest) = bytes.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    Some((MacAddr::new(*mac), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a Cisco Catalyst 2960 with its defaults sends it (from the field layout of 802.1D, Figure 9-1).
    pub const CLASSIC: [u8; 38] = [
        0x42, 0x42, 0x03, 0, 0, 0, 0, 0, 0x80, 0x01, 0x00, 0x1b, 0x54, 0xaa, 0xbb, 0xcc, 0, 0, 0, 4, 0x80,
        0x01, 0x00, 0x1b, 0x54, 0x11, 0x22, 0x33, 0x80, 0x05, 0x01, 0x00, 0x14, 0x00, 0x02, 0x00, 0x0f, 0x00,
    ];

    #[test]
    fn a_switch_tells_who_it_is_and_how_long_it_waits() {
        let expected = Bpdu {
            kind: Kind::Classic,
            root: MacAddr::new([0x00, 0x1b, 0x54, 0xaa, 0xbb, 0xcc]),
            bridge: MacAddr::new([0x00, 0x1b, 0x54, 0x11, 0x22, 0x33]),
            forward_delay: Duration::from_secs(15),
        };
        assert_eq!(parse(&CLASSIC), Some(expected));
        let mut rapid = CLASSIC.to_vec();
        rapid[5] = 2;
        rapid[6] = 2;
        rapid.push(0);
        assert_eq!(parse(&rapid), Some(Bpdu { kind: Kind::Rapid, ..expected }));
        let mut half = CLASSIC;
        half[36..].copy_from_slice(&[0x04, 0x80]);
        assert_eq!(parse(&half).map(|bpdu| bpdu.forward_delay), Some(Duration::from_millis(4500)));
    }

    #[test]
    fn anything_else_is_none() {
        assert_eq!(parse(&[0x42, 0x42, 0x03, 0, 0, 0, 0x80]), None, "a change of topology");
        assert_eq!(parse(&[0xaa, 0xaa, 0x03, 0, 0, 0]), None, "another protocol behind LLC");
        for length in 0..CLASSIC.len() {
            assert_eq!(parse(&CLASSIC[..length]), None, "cut at {length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_frame_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
            let framed = [vec![0x42, 0x42, 0x03, 0, 0, 0, 0, 0], bytes].concat();
            if let Some(bpdu) = parse(&framed) {
                prop_assert!(bpdu.forward_delay <= Duration::from_secs(256));
            }
        }
    }
}

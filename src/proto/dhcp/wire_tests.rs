use proptest::prelude::*;

use super::*;
use crate::proto::dhcp::Message;

/// A BOOTREQUEST up to and with the cookie.
fn head() -> Vec<u8> {
    let mut bytes = vec![0; OPTIONS_AT];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&[0xdc, 0xa6, 0x32, 1, 2, 3]);
    bytes[COOKIE_AT..].copy_from_slice(&COOKIE);
    bytes
}

fn with(options: &[u8]) -> Packet {
    Packet::parse(&[head(), options.to_vec()].concat()).expect("a packet")
}

#[test]
fn fixed_fields_are_read_where_rfc_2131_puts_them() {
    let mut bytes = head();
    bytes[4..8].copy_from_slice(&[0x26, 0xf3, 0x03, 0x39]);
    bytes[8..10].copy_from_slice(&[1, 2]);
    bytes[10] = 0x80;
    for (last, at) in [(1, 12), (2, 16), (3, 20), (4, 24)] {
        bytes[at..at + 4].copy_from_slice(&[10, 0, 0, last]);
    }
    bytes[108..113].copy_from_slice(b"a/b\0c");
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!(
        (packet.op, packet.xid, packet.secs, packet.broadcast),
        (Op::Request, 0x26f3_0339, 0x102, true)
    );
    let addresses = [packet.ciaddr, packet.yiaddr, packet.siaddr, packet.giaddr];
    assert_eq!(addresses, [1, 2, 3, 4].map(|n| Ipv4Addr::new(10, 0, 0, n)));
    assert_eq!(packet.hardware.mac(), Some(MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3])));
    assert_eq!(packet.file.as_slice(), b"a/b");
    assert_eq!(packet.kind, None, "no option 53 is BOOTP");
}

#[test]
fn what_is_no_packet_is_refused_with_the_reason() {
    assert_eq!(Packet::parse(&[]), Err(WireError::Short(0)));
    assert_eq!(Packet::parse(&head()[..235]), Err(WireError::Short(235)));
    assert_eq!(Packet::parse(&vec![1; 1473]), Err(WireError::Long(1473)));
    let mut bytes = head();
    bytes[2] = 17;
    assert_eq!(Packet::parse(&bytes), Err(WireError::HardwareLength(17)), "dhcproto panics here");
    bytes[0] = 3;
    assert_eq!(Packet::parse(&bytes), Err(WireError::Op(3)));
    assert!(Packet::parse(&head()[..236]).is_ok(), "BOOTP of RFC 951 without a vendor area");
}

#[test]
fn a_wrong_cookie_means_no_options() {
    let mut bytes = [head(), vec![53, 1, 1, 255]].concat();
    bytes[COOKIE_AT] = 98;
    assert_eq!(Packet::parse(&bytes).expect("BOOTP").kind, None);
}

#[test]
fn a_bad_option_hides_nothing_behind_it() {
    // A host name that is not UTF-8 and a requested address of three bytes, then what matters.
    let packet = with(&[12, 2, 0xff, 0xfe, 50, 3, 1, 2, 3, 54, 4, 10, 0, 0, 1, 53, 1, 3, 255]);
    assert_eq!(packet.kind, Some(MessageType::Request));
    assert_eq!(packet.server_id, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!((packet.host_name, packet.requested), (None, None));
    assert_eq!(packet.ignored.as_slice(), [50, 12], "both are named");
}

#[test]
fn an_option_that_runs_over_the_end_is_not_there() {
    let packet = with(&[53, 1, 1, 61, 200, 1, 2, 3]);
    assert_eq!((packet.kind, packet.client_id()), (Some(MessageType::Discover), None));
    assert_eq!(packet.ignored.as_slice(), [61]);
    assert_eq!(with(&[53, 1, 1, 61]).ignored.as_slice(), [61]);
}

#[test]
fn pads_and_repetitions() {
    let packet = with(&[0, 0, 60, 2, b'P', b'X', 0, 53, 1, 1, 60, 1, b'E', 255, 54, 4, 1, 2, 3, 4]);
    assert_eq!(packet.vendor_class(), b"PXE", "RFC 3396: parts are joined, adjacent or not");
    assert_eq!(packet.server_id, None, "nothing counts after the end mark");
}

#[test]
fn overload_reads_file_then_sname() {
    let mut bytes = [head(), vec![52, 1, 3, 61, 1, 9, 53, 1, 1, 255]].concat();
    bytes[108..114].copy_from_slice(&[61, 1, 8, 255, 54, 4]);
    bytes[44..48].copy_from_slice(&[61, 1, 7, 255]);
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!(packet.client_id(), Some([9, 8, 7].as_slice()), "options, file, sname (RFC 3396 §5)");
    assert!(packet.file.is_empty());
    bytes[OPTIONS_AT + 2] = 2;
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!(packet.client_id(), Some([9, 7].as_slice()));
    bytes[OPTIONS_AT + 2] = 4;
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!(
        (packet.client_id(), packet.ignored.as_slice()),
        (None, [52].as_slice()),
        "one byte is no identifier"
    );
}

#[test]
fn names_of_hosts() {
    let name = |options: &[u8]| with(options).host_name.map(String::from);
    assert_eq!(name(b"\x0c\x06Lab-01\xff").as_deref(), Some("lab-01"));
    assert_eq!(name(b"\x0c\x07Lab-01\0\xff").as_deref(), Some("lab-01"), "Windows 98 ends it with NUL");
    assert_eq!(name(b"\x0c\x0alab-01.lan\xff").as_deref(), Some("lab-01"));
    assert_eq!(name(b"\x51\x0a\0\0\0lab.lan\xff").as_deref(), Some("lab"), "option 81 as text");
    assert_eq!(name(b"\x51\x0c\x04\0\0\x03lab\x03lan\0\xff").as_deref(), Some("lab"), "option 81 as labels");
    assert_eq!(name(b"\x0c\x05-evil\xff"), None);
    assert_eq!(name(b"\x0c\x08a\nb\x1b[31m\xff"), None);
    assert_eq!(name(b"\x51\x04\x04\0\0\x09\xff"), None);
}

#[test]
fn relay_information_counts_only_from_a_relay() {
    let mut bytes = [head(), vec![82, 3, 1, 1, 5, 255]].concat();
    assert_eq!(Packet::parse(&bytes).expect("a packet").relay_agent(), None);
    bytes[24] = 10;
    assert_eq!(Packet::parse(&bytes).expect("a packet").relay_agent(), Some([1, 1, 5].as_slice()));
}

#[test]
fn hardware_addresses_are_compared_without_what_lies_behind_them() {
    let mut noisy = [0; 16];
    noisy[..8].copy_from_slice(&[0xdc, 0xa6, 0x32, 1, 2, 3, 9, 9]);
    assert_eq!(
        Hardware::new(1, 6, noisy),
        Some(Hardware::ethernet(MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3])))
    );
    assert_eq!(Hardware::new(32, 6, noisy).and_then(|h| h.mac()), None, "InfiniBand");
    assert_eq!(Hardware::new(1, 6, [0xff; 16]).and_then(|h| h.mac()), None, "a group is no client");
    assert_eq!(Hardware::new(1, 0, noisy).map(|h| h.is_empty()), Some(true));
}

proptest! {
    /// Whatever arrives, reading it ends with a packet or a reason, and the options are no more than arrived.
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.options.iter().map(|(_, value)| value.len()).sum::<usize>() <= bytes.len());
        }
    }

    /// The same with a good head, so that the options are what varies.
    #[test]
    fn any_options_are_read_without_harm(
        overload in 0u8..5, area in prop::collection::vec(any::<u8>(), 0..400),
        file in prop::collection::vec(any::<u8>(), 128), sname in prop::collection::vec(any::<u8>(), 64),
    ) {
        let mut bytes = [head(), vec![52, 1, overload], area].concat();
        bytes[44..108].copy_from_slice(&sname);
        bytes[108..236].copy_from_slice(&file);
        let packet = Packet::parse(&bytes).expect("the head is right");
        prop_assert!(packet.options.iter().map(|(_, value)| value.len()).sum::<usize>() <= bytes.len());
    }

    /// What we write, we read: whatever the options, in whatever room.
    #[test]
    fn encoded_packets_are_read_back(
        values in prop::collection::btree_map(100u8..120, prop::collection::vec(any::<u8>(), 0..600), 0..6),
        max_size in prop::option::of(any::<u16>()), named in any::<bool>(),
    ) {
        let mut message = Message::request(7, Hardware::ethernet(MacAddr::new([2, 0, 0, 0, 0, 1])));
        if named {
            message.file = "bootfile".to_owned();
        }
        message.push_kind(MessageType::Discover);
        for (code, value) in &values {
            message.push_raw(*code, value.clone());
        }
        let encoded = message.encode(max_size);
        let packet = Packet::parse(&encoded.bytes).expect("our own packet");
        prop_assert_eq!(packet.kind, Some(MessageType::Discover));
        prop_assert!(!named || packet.file.as_slice() == b"bootfile");
        prop_assert!(encoded.bytes.len() >= 300);
        prop_assert!(encoded.bytes.len() + 28 <= usize::from(max_size.unwrap_or(0).max(576)));
        for (code, value) in values {
            if !encoded.dropped.contains(&code) {
                prop_assert_eq!(packet.options.get(code), Some(value.as_slice()), "option {}", code);
            }
        }
    }
}

use super::*;
use crate::types::MacAddr;

fn message() -> Message {
    let mut message = Message::request(1, Hardware::ethernet(MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3])));
    message.op = Op::Reply;
    message.giaddr = Ipv4Addr::new(10, 0, 0, 1);
    message.push_kind(MessageType::Offer);
    message
}

fn read(encoded: &Encoded) -> Packet {
    Packet::parse(&encoded.bytes).expect("our own packet")
}

#[test]
fn short_packets_are_padded_to_300_bytes_and_begin_with_their_type() {
    let mut message = message();
    message.push_raw(code::SUBNET_MASK, [255, 255, 255, 0]);
    let bytes = message.encode(None).bytes;
    assert_eq!(bytes.len(), 300);
    assert_eq!(bytes[OPTIONS_AT..OPTIONS_AT + 10], [53, 1, 2, 1, 4, 255, 255, 255, 0, 255]);
    assert_eq!(bytes[..4], [2, 1, 6, 0]);
}

#[test]
fn long_options_are_split_in_order() {
    let value: Vec<u8> = (0..600_u16).map(|n| (n % 251) as u8).collect();
    let mut message = message();
    message.push_raw(code::VENDOR, value.clone());
    let encoded = message.encode(Some(1500));
    assert!(encoded.dropped.is_empty());
    assert_eq!(read(&encoded).options.get(code::VENDOR), Some(value.as_slice()));
    let spread = message.encode(None);
    assert_eq!(spread.dropped, [code::VENDOR], "600 bytes fit nowhere in 548");
}

#[test]
fn what_does_not_fit_goes_into_file_then_sname() {
    let mut message = message();
    for code in [100, 101, 102, 103] {
        message.push_raw(code, vec![code; 90]);
    }
    let encoded = message.encode(None);
    assert!(encoded.dropped.is_empty());
    assert!(encoded.bytes.len() <= 548, "576 less the headers of IP and UDP");
    let packet = read(&encoded);
    assert_eq!(packet.options.get(code::OVERLOAD), Some([1].as_slice()));
    assert_eq!(packet.options.get(103), Some([103; 90].as_slice()));

    message.push_raw(104, vec![104; 50]);
    let packet = read(&message.encode(None));
    assert_eq!(packet.options.get(code::OVERLOAD), Some([3].as_slice()));
    assert_eq!(packet.options.get(104), Some([104; 50].as_slice()));
}

#[test]
fn fields_in_use_are_not_overloaded() {
    let mut message = message();
    message.file = "pxelinux.0".to_owned();
    message.sname = "boot".to_owned();
    for code in [100, 101, 102, 103] {
        message.push_raw(code, vec![code; 100]);
    }
    let encoded = message.encode(None);
    assert_eq!(encoded.dropped, [102, 103]);
    let packet = read(&encoded);
    assert_eq!(
        (packet.file.as_slice(), packet.options.get(code::OVERLOAD)),
        (b"pxelinux.0".as_slice(), None)
    );
}

#[test]
fn relay_information_is_last_and_never_left_out() {
    let mut message = message();
    message.push_raw(code::RELAY_AGENT, vec![1, 4, 9, 9, 9, 9]);
    for code in [100, 101, 102, 103, 104, 105] {
        message.push_raw(code, vec![code; 100]);
    }
    let encoded = message.encode(None);
    let packet = read(&encoded);
    assert_eq!(packet.relay_agent(), Some([1, 4, 9, 9, 9, 9].as_slice()));
    assert_eq!(encoded.bytes[encoded.bytes.len() - 9..], [82, 6, 1, 4, 9, 9, 9, 9, 255]);
    assert_eq!(encoded.dropped, [103, 104, 105]);
}

#[test]
fn a_client_that_takes_little_still_gets_576_bytes() {
    let mut message = message();
    message.push_raw(100, vec![1; 200]);
    assert!(message.encode(Some(64)).dropped.is_empty(), "RFC 2132 §9.10: the least legal value is 576");
    message.push_raw(101, vec![1; 200]);
    message.push_raw(102, vec![1; 200]);
    message.push_raw(103, vec![1; 200]);
    assert!(message.encode(Some(u16::MAX)).bytes.len() <= limits::DHCP_PACKET, "one Ethernet frame");
}

#[test]
fn options_without_a_value_are_sent() {
    let mut message = message();
    message.push_raw(code::ROOT_PATH, []);
    assert_eq!(read(&message.encode(None)).options.get(code::ROOT_PATH), Some([].as_slice()));
}

#[test]
fn long_names_end_with_nul() {
    let mut message = message();
    message.file = "x".repeat(200);
    message.sname = "y".repeat(200);
    let bytes = message.encode(None).bytes;
    assert_eq!((bytes[107], bytes[235], bytes[106], bytes[234]), (0, 0, b'y', b'x'));
}

//! DHCP packets: what is read once is read the same after it was written, and no packet makes the reader or the
//! recognition of Pis panic.
#![no_main]

use bramble::proto::dhcp::pi::{Rom, stage};
use bramble::proto::dhcp::wire::Op;
use bramble::proto::dhcp::{Message, Packet, code, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::arp_claim(bytes);
    let Ok(packet) = Packet::parse(bytes) else { return };
    let total: usize = packet.options.iter().map(|(_, value)| value.len()).sum();
    assert!(total <= bytes.len(), "options are no longer than what arrived");
    let _ = (Rom::of(&packet), stage(&packet), packet.client_id(), packet.relay_agent(), packet.lease_time());

    let mut message = Message::request(packet.xid, packet.hardware);
    message.op = Op::Reply;
    message.giaddr = packet.giaddr;
    for (code, value) in packet.options.iter().filter(|(code, _)| *code != code::OVERLOAD) {
        message.push_raw(code, value);
    }
    let encoded = message.encode(packet.max_size);
    assert!((300..=1472).contains(&encoded.bytes.len()), "within what may be sent");
    let again = Packet::parse(&encoded.bytes).expect("what we write, we read");
    for (code, value) in packet.options.iter().filter(|(code, _)| *code != code::OVERLOAD) {
        assert!(encoded.dropped.contains(&code) || again.options.get(code) == Some(value), "option {code}");
    }
});

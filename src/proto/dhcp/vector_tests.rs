//! The packets in `tests/vectors/dhcp`: commented hex, one a file.

use std::path::Path;

use super::pi::{Rom, stage};
use super::{MessageType, Packet};
use crate::types::{Revision, Serial, Stage};

fn read(name: &str) -> Packet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dhcp").join(name);
    let text = std::fs::read_to_string(&path).expect("a vector");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let bytes: Vec<u8> = lines
        .flat_map(str::split_whitespace)
        .map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits"))
        .collect();
    Packet::parse(&bytes).expect("a packet")
}

#[test]
fn every_vector_is_read_as_what_it_is() {
    let (discover, request) = (MessageType::Discover, MessageType::Request);
    let pi4 = Rom::Eeprom { revision: Revision::new(0x00c0_3111), serial: Serial(0x9ffe_fdef) };
    #[rustfmt::skip]
    let rows = [
        ("pi3b-rom-discover.hex",              discover, 0x26f3_0339, Stage::Rom,    Some(Rom::Pi3)),
        ("pi3bplus-rom-discover.hex",          discover, 0x26f3_0339, Stage::Rom,    Some(Rom::Serial(Serial(0xb66c_4c16)))),
        ("pi4-eeprom-discover.hex",            discover, 0xd383_a6ac, Stage::Rom,    Some(pi4)),
        ("pi4-eeprom-discover-big-endian.hex", discover, 0xd383_a6ad, Stage::Rom,    Some(pi4)),
        ("pi4-early-request.hex",              request,  0xd383_a6ac, Stage::Rom,    Some(pi4)),
        ("linux-kernel-discover.hex",          discover, 0x1122_3344, Stage::Kernel, None),
    ];
    for (name, kind, xid, program, rom) in rows {
        let packet = read(name);
        assert_eq!((packet.kind, packet.xid), (Some(kind), xid), "{name}");
        assert_eq!((stage(&packet), Rom::of(&packet)), (program, rom), "{name}");
        assert!(packet.ignored.is_empty(), "{name}: {:?}", packet.ignored);
    }
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dhcp"));
    assert_eq!(files.expect("the folder").count(), rows.len(), "each vector has a row here");
}

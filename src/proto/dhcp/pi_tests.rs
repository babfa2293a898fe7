use super::*;
use crate::proto::dhcp::{Hardware, Message, MessageType};
use crate::types::revision::Model;

const PI4: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0x01, 0x02, 0x03]);
const PI3: MacAddr = MacAddr::new([0xb8, 0x27, 0xeb, 0x6c, 0x4c, 0x16]);

fn id(words: [[u8; 4]; 4]) -> [u8; 17] {
    let mut id = [0; 17];
    id[1..].copy_from_slice(words.as_flattened());
    id
}

fn eeprom(code: u32, serial: u32) -> Rom {
    Rom::Eeprom { revision: Revision::new(code), serial: Serial(serial) }
}

#[test]
fn option_97_in_every_form_that_was_seen() {
    let (rev, mac, ser) = (0x00c0_3111_u32, 0x3201_0203_u32, 0x9ffe_fdef_u32);
    let le = [rev.to_le_bytes(), mac.to_le_bytes(), ser.to_le_bytes()];
    let be = [rev.to_be_bytes(), mac.to_be_bytes(), ser.to_be_bytes()];
    let same = 0xb66c_4c16_u32.to_le_bytes();
    let word = 0x0badu32.to_le_bytes();
    #[rustfmt::skip]
    let rows = [
        ("2B v1.2 and 3B: a constant",            id([[0x44; 4]; 4]),                     PI3, Some(Rom::Pi3)),
        ("3B+: the serial four times",            id([same; 4]),                          PI3, Some(Rom::Serial(Serial(0xb66c_4c16)))),
        ("Pi 4, little endian",                   id([*b"RPi4", le[0], le[1], le[2]]),    PI4, Some(eeprom(rev, ser))),
        ("Pi 4, big endian",                      id([*b"4iPR", be[0], be[1], be[2]]),    PI4, Some(eeprom(rev, ser))),
        ("Pi 5 prefix",                           id([*b"RPi5", le[0], le[1], le[2]]),    PI4, Some(eeprom(rev, ser))),
        ("text in order, numbers not",            id([*b"RPi5", be[0], be[1], be[2]]),    PI4, Some(eeprom(rev, ser))),
        ("the address copied as it is",           id([*b"RPi4", le[0], be[1], le[2]]),    PI4, Some(eeprom(rev, ser))),
        ("the same, big endian",                  id([*b"5iPR", be[0], le[1], be[2]]),    PI4, Some(eeprom(rev, ser))),
        ("before 2020-03-16: address is zero",    id([*b"RPi4", le[0], [0; 4], le[2]]),   PI4, Some(eeprom(rev, ser))),
        ("the same, big endian",                  id([*b"4iPR", be[0], [0; 4], be[2]]),   PI4, Some(eeprom(rev, ser))),
        ("DHCP_OPTION97 set by somebody",         id([word, le[0], le[1], le[2]]),        PI4, Some(eeprom(rev, ser))),
        ("an unknown prefix and no revision",     id([word, word, le[1], le[2]]),         PI4, None),
        ("the address is another's",              id([*b"RPi4", le[0], word, le[2]]),     PI4, None),
        ("a virtual machine without a UUID",      id([[0; 4]; 4]),                        PI4, None),
        ("all ones",                              id([[0xff; 4]; 4]),                     PI4, None),
        ("a PC's UUID",                           id([*b"\x4c\x4c\x45\x44", *b"\0\x32\x10\x4d", *b"\x80\x43\xb7\xc0", *b"\x4f\x4c\x4a\x33"]), PI4, None),
    ];
    for (shows, id, mac, expected) in rows {
        assert_eq!(Rom::read(&id, mac), expected, "{shows}");
    }
    let mut other_type = id([[0x44; 4]; 4]);
    other_type[0] = 1;
    assert_eq!(Rom::read(&other_type, PI3), None, "only type 0 is defined");
}

#[test]
fn the_first_packet_tells_model_and_memory() {
    let packet = discover(PI4, |message| {
        message.push_raw(code::VENDOR_CLASS, ROM_CLASS);
        let le = [0x00d0_4170_u32, 0x3201_0203, 0x1234_5678].map(u32::to_le_bytes);
        message.push_raw(code::MACHINE_ID, id([*b"RPi5", le[0], le[1], le[2]]));
    });
    let rom = Rom::of(&packet).expect("a ROM");
    assert_eq!(
        rom.revision().map(|r| (r.model(), r.memory().map(|m| m.0 >> 30))),
        Some((Model::Pi5, Some(8)))
    );
    assert_eq!(rom.serial(), Some(Serial(0x1234_5678)));
    assert_eq!(rom.reply_delay(PI4), Duration::ZERO);
}

#[test]
fn only_the_pi_3_is_made_to_wait() {
    let serial = Rom::Serial(Serial(0xb66c_4c16));
    assert_eq!(Rom::Pi3.reply_delay(PI3), PI3_REPLY_DELAY);
    assert_eq!(serial.reply_delay(PI3), PI3_REPLY_DELAY);
    assert_eq!(serial.reply_delay(PI4), Duration::ZERO, "a Pi 4 with DHCP_OPTION97=0");
}

fn discover(mac: MacAddr, with: impl FnOnce(&mut Message)) -> Packet {
    let mut message = Message::request(1, Hardware::ethernet(mac));
    message.push_kind(MessageType::Discover);
    with(&mut message);
    Packet::parse(&message.encode(None).bytes).expect("what we encode, we parse")
}

type Build = Box<dyn Fn(&mut Message)>;

#[test]
fn the_four_dhcp_clients_of_one_boot_are_told_apart() {
    let le = [0x00c0_3111_u32, 0x3201_0203, 7].map(u32::to_le_bytes);
    let pi_id = id([*b"RPi4", le[0], le[1], le[2]]);
    let kernel = [1, 3, 6, 12, 15, 17, 26, 40, 42];
    let rows: [(&str, Stage, Build); 9] = [
        (
            "EEPROM",
            Stage::Rom,
            Box::new(move |m| {
                m.push_raw(code::VENDOR_CLASS, ROM_CLASS);
                m.push_raw(code::MACHINE_ID, pi_id);
            }),
        ),
        ("early EEPROM's REQUEST", Stage::Rom, Box::new(move |m| m.push_raw(code::MACHINE_ID, pi_id))),
        (
            "PC BIOS",
            Stage::Firmware,
            Box::new(|m| {
                m.push_raw(code::VENDOR_CLASS, ROM_CLASS);
                m.push_raw(code::MACHINE_ID, id([*b"abcd", *b"efgh", *b"ijkl", *b"mnop"]));
            }),
        ),
        (
            "UEFI",
            Stage::Firmware,
            Box::new(|m| m.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00011:UNDI:003000")),
        ),
        ("U-Boot", Stage::Firmware, Box::new(|m| m.push_raw(code::VENDOR_CLASS, *b"U-Boot.armv8"))),
        ("kernel", Stage::Kernel, Box::new(move |m| m.push_raw(code::WANTED, kernel))),
        ("klibc", Stage::Kernel, Box::new(|m| m.push_raw(code::VENDOR_CLASS, *b"Linux ipconfig"))),
        (
            "an operating system that asks the same",
            Stage::System,
            Box::new(move |m| {
                m.push_raw(code::WANTED, kernel);
                m.push_raw(code::CLIENT_ID, [1, 2, 3]);
            }),
        ),
        (
            "an operating system",
            Stage::System,
            Box::new(|m| m.push_raw(code::VENDOR_CLASS, *b"dhcpcd-9.4.1")),
        ),
    ];
    for (shows, expected, build) in rows {
        assert_eq!(stage(&discover(PI4, build)), expected, "{shows}");
    }
}

#[test]
fn small_blocks_do_not_swallow_their_neighbours() {
    #[rustfmt::skip]
    let rows = [
        ("b8:27:eb:00:00:01", true), ("98:fe:54:ff:ff:ff", true), ("b8:27:ec:00:00:01", false),
        ("f0:40:af:90:00:00", true), ("f0:40:af:9f:ff:ff", true), ("f0:40:af:a0:00:00", false), ("f0:40:af:8f:ff:ff", false),
        ("8c:1f:64:34:a0:00", true), ("8c:1f:64:34:af:ff", true), ("8c:1f:64:34:b0:00", false), ("8c:1f:64:34:9f:ff", false),
        ("8c:1f:64:00:00:00", false),
    ];
    for (mac, expected) in rows {
        assert_eq!(looks_like_a_pi(mac.parse().expect("mac")), expected, "{mac}");
    }
}

#[test]
fn option_43_has_the_lengths_it_announces() {
    assert_eq!(ROM_VENDOR_OPTIONS.len(), 35);
    let mut rest = ROM_VENDOR_OPTIONS;
    let mut codes = Vec::new();
    while let [code, len, tail @ ..] = rest {
        codes.push(*code);
        rest = &tail[usize::from(*len)..];
    }
    assert_eq!((codes.as_slice(), rest), ([6, 10, 9].as_slice(), [0xff].as_slice()));
}

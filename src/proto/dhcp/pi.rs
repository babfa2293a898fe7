//! How a Raspberry Pi shows itself in DHCP, and what its ROM wants to hear.
//!
//! The proof is option 60 together with option 97, in which the ROM tells the serial number and, from the Pi 4 on, the
//! revision code: model and memory in the very first packet. A block of hardware addresses is only a hint: Pico W boards
//! have them too, and two of the blocks are small parts of ones that belong to others.
//!
//! Sources: `boot-net.adoc` of the Raspberry Pi documentation, the release notes of rpi-eeprom, raspberrypi/firmware
//! issues 764, 801, 871, 1605, and the provisioning server's dnsmasq.conf (which met both byte orders of option 97).

use std::time::Duration;

use super::{Packet, code};
use crate::types::revision::Model;
use crate::types::{MacAddr, Revision, Serial, Stage};

/// What the ROM and EEPROM of every Pi send as option 60, and PC BIOSes too.
const ROM_CLASS: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";

/// What we send as option 60 to whoever sent `PXEClient…`.
pub const PXE_CLASS: &[u8] = b"PXEClient";

/// Option 43 as every ROM understands it: discovery control 3, an empty menu prompt, one menu entry of type 0.
///
/// The three spaces after the text work around the length arithmetic of the Pi 2B v1.2 and 3B ROM; later ROMs ignore
/// them. Early Pi 4 EEPROMs refuse pads and further entries, so there are none.
pub const ROM_VENDOR_OPTIONS: &[u8] =
    b"\x06\x01\x03\x0a\x04\x00PXE\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff";

/// How long a reply to a Pi 3 ROM is held back: it misses one that comes at once (raspberrypi/firmware#764; Raspberry
/// Pi OS shipped dnsmasq with two seconds). The ROM asks again after five.
pub const PI3_REPLY_DELAY: Duration = Duration::from_millis(1500);

/// Which of the boot ROMs is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rom {
    /// Mask ROM of the Pi 2B v1.2 and 3B: option 97 is sixteen times 0x44.
    Pi3,
    /// Pi 3B+, newer `bootcode.bin`, or a later board with `DHCP_OPTION97=0`: the serial number four times.
    Serial(Serial),
    /// EEPROM of the Pi 4 and later: prefix, revision code, hardware address, serial number.
    Eeprom { revision: Option<Revision>, serial: Serial },
}

impl Rom {
    /// The ROM that sent `packet`, if a ROM of a Pi did.
    ///
    /// Option 60 is not required when option 97 carries a Pi's own prefix: early Pi 4 EEPROMs left it out of the REQUEST.
    pub fn of(packet: &Packet) -> Option<Self> {
        let id = packet.machine_id?;
        let mac = packet.hardware.mac()?;
        let rom = Self::read(&id, mac)?;
        let class = packet.options.get(code::VENDOR_CLASS);
        let announced = class.is_some_and(|class| class.trim_ascii_end() == ROM_CLASS);
        let prefixed = class.is_none() && has_prefix(&id);
        (announced || prefixed).then_some(rom)
    }

    /// Reads option 97. `None` for a UUID that no Pi would send.
    pub fn read(id: &[u8; 17], mac: MacAddr) -> Option<Self> {
        let [0, body @ ..] = id else { return None };
        if body == &[0x44; 16] {
            return Some(Self::Pi3);
        }
        let (words, []) = body.as_chunks::<4>() else { return None };
        let [prefix, revision, tail, serial] = words else { return None };
        if [revision, tail, serial].iter().all(|word| *word == prefix) {
            // A virtual machine without a UUID shows zeroes or ones.
            let serial = Serial(u32::from_le_bytes(*prefix));
            return (serial.0 != 0 && serial.0 != u32::MAX).then_some(Self::Serial(serial));
        }
        // No capture tells in which order the octets of the address come, so both are taken. Before March 2020 they were zero,
        // and the prefix must do.
        let known = has_prefix(id);
        if !(is_tail(*tail, mac) || known && tail == &[0; 4]) {
            return None;
        }
        // The order of the prefix is that of the numbers, unless they only make sense in the other one.
        let orders: [fn([u8; 4]) -> u32; 2] = [u32::from_le_bytes, u32::from_be_bytes];
        let [usual, other] = if is_reversed(*prefix) { [orders[1], orders[0]] } else { orders };
        let names_a_board = |word: fn([u8; 4]) -> u32| {
            Revision::new(word(*revision)).is_some_and(|revision| revision.model() != Model::Unknown)
        };
        let word = if !names_a_board(usual) && names_a_board(other) { other } else { usual };
        let revision = Revision::new(word(*revision));
        // `DHCP_OPTION97` replaces the prefix with any other; then the rest must be convincing.
        (known || revision.is_some()).then_some(Self::Eeprom { revision, serial: Serial(word(*serial)) })
    }

    pub fn serial(self) -> Option<Serial> {
        match self {
            Self::Pi3 => None,
            Self::Serial(serial) | Self::Eeprom { serial, .. } => Some(serial),
        }
    }

    pub fn revision(self) -> Option<Revision> {
        match self {
            Self::Pi3 | Self::Serial(_) => None,
            Self::Eeprom { revision, .. } => revision,
        }
    }

    /// How long to wait before answering.
    pub fn reply_delay(self, mac: MacAddr) -> Duration {
        match self {
            Self::Pi3 => PI3_REPLY_DELAY,
            // A serial that ends like the address is a Pi 3's; from the Pi 4 on there is no relation.
            Self::Serial(serial) if is_pi3_pair(serial, mac) => PI3_REPLY_DELAY,
            Self::Serial(_) | Self::Eeprom { .. } => Duration::ZERO,
        }
    }
}

/// `RPi4` or `RPi5`, in either byte order.
fn has_prefix(id: &[u8; 17]) -> bool {
    let [_, prefix @ .., _, _, _, _, _, _, _, _, _, _, _, _] = id;
    matches!(prefix, b"RPi4" | b"RPi5") || is_reversed(*prefix)
}

fn is_reversed(prefix: [u8; 4]) -> bool {
    matches!(&prefix, b"4iPR" | b"5iPR")
}

/// Whether `word` is the last four octets of `mac`, from either end.
fn is_tail(word: [u8; 4], mac: MacAddr) -> bool {
    let [_, _, a, b, c, d] = mac.octets();
    word == [a, b, c, d] || word == [d, c, b, a]
}

/// Up to the Pi 3B+ the address is b8:27:eb and the last three octets of the serial number.
fn is_pi3_pair(serial: Serial, mac: MacAddr) -> bool {
    let [a, b, c, tail @ ..] = mac.octets();
    let [_, low @ ..] = serial.0.to_be_bytes();
    [a, b, c] == [0xb8, 0x27, 0xeb] && tail == low
}

/// Which program on the client sent `packet`.
pub fn stage(packet: &Packet) -> Stage {
    if Rom::of(packet).is_some() {
        return Stage::Rom;
    }
    let class = packet.vendor_class();
    let firmware = [b"PXEClient".as_slice(), b"HTTPClient", b"U-Boot", b"U-boot"];
    if firmware.iter().any(|start| class.starts_with(start)) || packet.architecture.is_some() {
        return Stage::Firmware;
    }
    if class.starts_with(b"Linux ipconfig") {
        return Stage::Kernel;
    }
    // The kernel's `ip=dhcp` names no class and no client, and asks for root path (17) and MTU (26).
    let bare = class.is_empty() && packet.options.get(code::CLIENT_ID).is_none() && packet.max_size.is_none();
    if bare && packet.wants(code::ROOT_PATH) && packet.wants(code::MTU) {
        return Stage::Kernel;
    }
    Stage::System
}

/// Blocks registered to Raspberry Pi: first octets and length of the prefix in bits (ieee-data of June 2026).
const BLOCKS: &[([u8; 5], u8)] = &[
    ([0xb8, 0x27, 0xeb, 0, 0], 24),
    ([0xdc, 0xa6, 0x32, 0, 0], 24),
    ([0xe4, 0x5f, 0x01, 0, 0], 24),
    ([0x28, 0xcd, 0xc1, 0, 0], 24),
    ([0xd8, 0x3a, 0xdd, 0, 0], 24),
    ([0x2c, 0xcf, 0x67, 0, 0], 24),
    ([0x88, 0xa2, 0x9e, 0, 0], 24),
    ([0x98, 0xfe, 0x54, 0, 0], 24),
    ([0xf0, 0x40, 0xaf, 0x90, 0], 28),
    ([0x8c, 0x1f, 0x64, 0x34, 0xa0], 36),
];

/// Whether `mac` is from a block of Raspberry Pi. Only a hint: see the module.
pub fn looks_like_a_pi(mac: MacAddr) -> bool {
    let [a, b, c, d, e, _] = mac.octets();
    let number = |[a, b, c, d, e]: [u8; 5]| u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    let ours = number([a, b, c, d, e]);
    BLOCKS.iter().any(|(block, bits)| (ours ^ number(*block)) >> (40 - bits) == 0)
}

#[cfg(test)]
#[path = "pi_tests.rs"]
mod tests;

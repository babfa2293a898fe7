//! What the boot ROMs of the Pi 3, 4 and 5 say in DHCP, and which answers they accept.
//!
//! Pure: [`super::address`] sends and waits. Everything here is from captures and issue threads about real boards
//! (`tests/vectors` has some): where those disagree, a simulated Pi is as strict as the strictest board.

use super::dhcp::{Answer, Ask, DISCOVER, REQUEST};
use crate::types::{MacAddr, Serial};

/// Which boot ROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rom {
    /// Mask ROM of the BCM2837: deaf just after it has asked, boots from the OFFER, reads option 43 with a bug.
    Pi3B,
    /// Mask ROM of the BCM2837B0, and `bootcode.bin` of all Pi 3: most bugs fixed, still boots from the OFFER.
    Pi3BPlus,
    /// EEPROM of the BCM2711.
    Pi4,
    /// EEPROM of the BCM2712; writes the numbers of option 97 in the other byte order.
    Pi5,
}

/// One simulated board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    pub rom: Rom,
    pub mac: MacAddr,
    pub serial: Serial,
}

/// What every Pi names its boot program in option 43.
const MENU: &[u8] = b"Raspberry Pi Boot";
/// All boards of the Pi 3 family use this transaction number, always.
const XID_PI3: u32 = 0x26f3_0339;

impl Rom {
    /// As people call it.
    pub const fn model(self) -> &'static str {
        match self {
            Self::Pi3B => "Pi 3B",
            Self::Pi3BPlus => "Pi 3B+",
            Self::Pi4 => "Pi 4B",
            Self::Pi5 => "Pi 5",
        }
    }

    /// Whether the ROM sends REQUEST and waits for the ACK.
    pub const fn confirms(self) -> bool {
        matches!(self, Self::Pi4 | Self::Pi5)
    }

    /// DISCOVERs before it gives up, and milliseconds between them. 9 × 5 s is the EEPROM's 45 s in all.
    pub const fn tries(self) -> (u32, u64) {
        match self {
            Self::Pi3B | Self::Pi3BPlus => (5, 5000),
            Self::Pi4 | Self::Pi5 => (11, 4000),
        }
    }

    /// Milliseconds after a DISCOVER in which an answer is missed: somewhat less than the one second that is known
    /// to help.
    pub const fn deaf(self) -> u64 {
        match self {
            Self::Pi3B => 800,
            _ => 0,
        }
    }

    const fn revision(self) -> u32 {
        match self {
            Self::Pi3B => 0x00a0_2082,
            Self::Pi3BPlus => 0x00a0_20d3,
            Self::Pi4 => 0x00c0_3111,
            Self::Pi5 => 0x00d0_4170,
        }
    }
}

impl Board {
    /// Board number `n` of a classroom: every third a Pi 3, the others Pi 4 and Pi 5, no two alike.
    pub fn nth(n: u16) -> Self {
        let [high, low] = n.to_be_bytes();
        let rom = match n % 6 {
            0 => Rom::Pi3B,
            3 => Rom::Pi3BPlus,
            1 | 4 => Rom::Pi4,
            _ => Rom::Pi5,
        };
        // Up to the Pi 3 the address is made of the serial number; from the Pi 4 on they have nothing in common.
        let (prefix, serial) = match rom {
            Rom::Pi3B | Rom::Pi3BPlus => ([0xb8, 0x27, 0xeb], u32::from_be_bytes([0x4e, 0x10, high, low])),
            Rom::Pi4 => ([0xdc, 0xa6, 0x32], u32::from_be_bytes([0x9f, low, 0xfd, high ^ 0xef])),
            Rom::Pi5 => ([0x2c, 0xcf, 0x67], u32::from_be_bytes([0x37, low, 0x5a, high ^ 0x11])),
        };
        let [a, b, c] = prefix;
        Self { rom, mac: MacAddr::new([a, b, c, 0x10, high, low]), serial: Serial(serial) }
    }

    /// Transaction number of the DISCOVER numbered `nth`.
    pub fn xid(&self, nth: u32) -> u32 {
        let [_, _, _, a, b, c] = self.mac.octets();
        match self.rom {
            Rom::Pi3B | Rom::Pi3BPlus => XID_PI3,
            Rom::Pi4 | Rom::Pi5 => (u32::from_be_bytes([0xd3, a, b, c]) ^ self.serial.0)
                .wrapping_add(nth)
                .wrapping_mul(0x9e37_79b1),
        }
    }

    /// The DISCOVER of the ROM; of `bootcode.bin`, the second stage of a Pi 3, if `bootcode`.
    pub fn discover(&self, nth: u32, bootcode: bool) -> Ask {
        let rom = if bootcode { Rom::Pi3BPlus } else { self.rom };
        let wishes: &[u8] = match rom {
            Rom::Pi3B => &[43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66],
            Rom::Pi3BPlus => &[1, 3, 43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66],
            Rom::Pi4 | Rom::Pi5 => &[1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135],
        };
        let options = vec![
            (53, vec![DISCOVER]),
            (55, wishes.to_vec()),
            (97, self.machine_id(rom)),
            (93, vec![0, 0]),
            (94, vec![1, 2, 1]),
            (60, b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
        ];
        Ask { mac: self.mac, xid: self.xid(nth), secs: 0, options }
    }

    /// The REQUEST of a Pi 4 or 5. Early Pi 4 left option 60 out of it; this one does too.
    pub fn request(&self, offer: &Answer) -> Ask {
        let mut ask = self.discover(0, false);
        ask.xid = offer.xid;
        ask.options.retain(|(code, _)| *code != 53 && !(*code == 60 && self.rom == Rom::Pi4));
        let chosen = [
            (53, vec![REQUEST]),
            (50, offer.address.octets().to_vec()),
            (54, offer.options.get(&54).cloned().unwrap_or_default()),
        ];
        ask.options.splice(0..0, chosen);
        ask
    }

    /// Option 97.
    fn machine_id(&self, rom: Rom) -> Vec<u8> {
        let mut id = vec![0];
        let [_, _, mac @ ..] = self.mac.octets();
        let words = [rom.revision(), u32::from_le_bytes(mac), self.serial.0];
        match rom {
            Rom::Pi3B => id.extend([0x44; 16]),
            Rom::Pi3BPlus => (0..4).for_each(|_| id.extend(self.serial.0.to_le_bytes())),
            Rom::Pi4 => {
                id.extend(b"RPi4");
                id.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            }
            Rom::Pi5 => {
                id.extend(b"RPi5".iter().rev());
                id.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            }
        }
        id
    }

    /// Whether the ROM would boot from this OFFER; why not.
    pub fn accepts(&self, offer: &Answer, bootcode: bool) -> Result<(), &'static str> {
        let rom = if bootcode { Rom::Pi3BPlus } else { self.rom };
        if offer.address.is_unspecified() {
            return Err("the OFFER has no address for the client");
        }
        if offer.ip(54).is_none() {
            return Err("the OFFER does not name its server (option 54)");
        }
        if rom.confirms() && offer.next_server.is_unspecified() {
            return Err("the OFFER names no TFTP server (siaddr)");
        }
        if rom == Rom::Pi3B && offer.hops != 0 {
            return Err("the OFFER came through a relay (hops is not 0), which this ROM drops");
        }
        if !offer.options.get(&60).is_some_and(|class| class.starts_with(b"PXEClient")) {
            return Err("the OFFER is not for PXE (option 60)");
        }
        if offer.options.get(&97) != Some(&self.machine_id(rom)) {
            return Err("the OFFER does not repeat option 97");
        }
        let vendor = offer.options.get(&43).ok_or("the OFFER lacks option 43")?;
        let menu = menu_entry(vendor).ok_or("option 43 holds no boot menu this ROM can read")?;
        let name = menu.get(3..).unwrap_or_default();
        if menu.get(..2) != Some(&[0, 0]) || !name.starts_with(MENU) {
            return Err("the first entry of the boot menu is not `Raspberry Pi Boot`");
        }
        // Its length arithmetic is off: the last three characters are lost.
        if rom == Rom::Pi3B && name.len() < MENU.len() + 3 {
            return Err("the boot menu's entry is not padded for this ROM's bug");
        }
        Ok(())
    }
}

/// The first boot menu (sub-option 9) in option 43. As the EEPROM before 2020 did: no padding, and an end.
fn menu_entry(mut vendor: &[u8]) -> Option<&[u8]> {
    let mut menu = None;
    loop {
        match vendor {
            [255, ..] => return menu,
            [0, ..] | [] | [_] => return None,
            [code, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if *code == 9 && menu.is_none() {
                    if usize::from(*value.get(2)?) != value.len() - 3 {
                        return None;
                    }
                    menu = Some(value);
                }
                vendor = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// From Raspberry Pi's documentation (boot-net.adoc) and the padded form that LTSP sends.
    const PLAIN: &[u8] = b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
    const PADDED: &[u8] = b"\x06\x01\x03\x0a\x04\x00PXE\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff";

    fn offer(board: &Board, vendor: &[u8]) -> Answer {
        let id = board.machine_id(board.rom);
        Answer {
            xid: board.xid(0),
            hops: 0,
            chaddr: board.mac,
            address: Ipv4Addr::new(192, 168, 77, 50),
            next_server: Ipv4Addr::new(192, 168, 77, 1),
            options: [(53, vec![2]), (54, vec![192, 168, 77, 1]), (60, b"PXEClient".to_vec()), (97, id)]
                .into_iter()
                .chain([(43, vendor.to_vec())])
                .collect(),
        }
    }

    #[test]
    fn option_97_is_as_captured() {
        let hex = |board: Board, bootcode: bool| {
            let ask = board.discover(0, bootcode);
            let id = &ask.options.iter().find(|(code, _)| *code == 97).expect("there").1;
            id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        };
        let mac = |text: &str| text.parse().expect("an address");
        let old = Board { rom: Rom::Pi3B, mac: mac("b8:27:eb:6c:4c:16"), serial: Serial(0xb66c_4c16) };
        assert_eq!(hex(old, false), "0044444444444444444444444444444444");
        assert_eq!(hex(old, true), "00164c6cb6164c6cb6164c6cb6164c6cb6", "FW#1605");
        let four = Board { rom: Rom::Pi4, mac: mac("dc:a6:32:01:36:c2"), serial: Serial(0x9ffe_fdef) };
        assert_eq!(hex(four, false), "0052506934".to_owned() + "1131c000" + "320136c2" + "effdfe9f");
        let five = Board { rom: Rom::Pi5, mac: mac("2c:cf:67:01:36:c2"), serial: Serial(0x9ffe_fdef) };
        assert_eq!(hex(five, false), "0035695052".to_owned() + "00d04170" + "c2360167" + "9ffefdef");
    }

    type Damage = fn(&mut Answer);

    #[test]
    fn each_rom_is_as_strict_as_its_board() {
        let board = |rom| Board { rom, mac: Board::nth(0).mac, serial: Serial(7) };
        #[rustfmt::skip]
        let rows = [
            ("plain menu, Pi 4",       Rom::Pi4,      PLAIN,  Ok(())),
            ("padded menu, Pi 5",      Rom::Pi5,      PADDED, Ok(())),
            ("padded menu, Pi 3B",     Rom::Pi3B,     PADDED, Ok(())),
            ("plain menu, Pi 3B+",     Rom::Pi3BPlus, PLAIN,  Ok(())),
            ("plain menu, Pi 3B",      Rom::Pi3B,     PLAIN,  Err("the boot menu's entry is not padded for this ROM's bug")),
            ("pad inside the option",  Rom::Pi4,      b"\x00\x09\x14\x00\x00\x11Raspberry Pi Boot\xff", Err("option 43 holds no boot menu this ROM can read")),
            ("another's menu first",   Rom::Pi4,      b"\x09\x05\x00\x00\x02ab\x09\x14\x00\x00\x11Raspberry Pi Boot\xff", Err("the first entry of the boot menu is not `Raspberry Pi Boot`")),
            ("no end",                 Rom::Pi4,      &PLAIN[..PLAIN.len() - 1], Err("option 43 holds no boot menu this ROM can read")),
        ];
        for (shows, rom, vendor, expected) in rows {
            assert_eq!(board(rom).accepts(&offer(&board(rom), vendor), false), expected, "{shows}");
        }
        let four = board(Rom::Pi4);
        let good = offer(&four, PADDED);
        let broken: [(&str, Damage); 5] = [
            ("the OFFER has no address for the client", |o| o.address = Ipv4Addr::UNSPECIFIED),
            ("the OFFER names no TFTP server (siaddr)", |o| o.next_server = Ipv4Addr::UNSPECIFIED),
            ("the OFFER does not name its server (option 54)", |o| drop(o.options.remove(&54))),
            ("the OFFER is not for PXE (option 60)", |o| drop(o.options.remove(&60))),
            ("the OFFER does not repeat option 97", |o| drop(o.options.insert(97, vec![0; 17]))),
        ];
        for (reason, damage) in broken {
            let mut bad = good.clone();
            damage(&mut bad);
            assert_eq!(four.accepts(&bad, false), Err(reason));
        }
    }

    #[test]
    fn a_classroom_has_no_twins() {
        let boards: Vec<Board> = (0..300).map(Board::nth).collect();
        let macs: std::collections::BTreeSet<_> = boards.iter().map(|board| board.mac).collect();
        let serials: std::collections::BTreeSet<_> = boards.iter().map(|board| board.serial).collect();
        assert_eq!((macs.len(), serials.len()), (300, 300));
    }
}

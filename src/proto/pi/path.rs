//! What a client's file name means: bytes of a request → a prefix that names the board, and a path below the boot folder.
//!
//! A Pi 4 or 5 asks for `<serial>/start4.elf` or `<mac>/start4.elf`, an older one only for its serial, and U-Boot for
//! neither. The client is known by its address, so the prefix is understood and taken off, never needed.

use std::str::FromStr;

use crate::types::{MacAddr, Serial, limits};

/// A file name as a client asked for it, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub prefix: Option<Prefix>,
    /// Without prefix, leading slash, empty and `.` parts; never empty, never with `..`.
    pub path: String,
}

/// How the board named itself in front of the path (`TFTP_PREFIX` of the EEPROM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Serial(Serial),
    Mac(MacAddr),
}

/// Why a name cannot be that of a file of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("the name is empty")]
    Empty,
    #[error("the name is longer than {} bytes", limits::BOOT_PATH)]
    Long,
    #[error("the name is not UTF-8 text")]
    NotText,
    #[error("the name has a control character in it")]
    Control,
    #[error("the name leads upwards with `..`")]
    Upwards,
}

impl Asked {
    /// Reads the name in a request. A backslash, as loaders of another family write it, is a slash.
    pub fn parse(name: &[u8]) -> Result<Self, BadName> {
        if name.len() > limits::BOOT_PATH {
            return Err(BadName::Long);
        }
        let text = std::str::from_utf8(name).map_err(|_| BadName::NotText)?;
        if text.chars().any(char::is_control) {
            return Err(BadName::Control);
        }
        let mut parts: Vec<&str> =
            text.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(BadName::Upwards);
        }
        let prefix = parts.first().and_then(|part| part.parse().ok()).filter(|_| parts.len() > 1);
        if prefix.is_some() {
            parts.remove(0);
        }
        let path = parts.join("/");
        if path.is_empty() { Err(BadName::Empty) } else { Ok(Self { prefix, path }) }
    }
}

/// Eight hex digits, or a hardware address with dashes.
impl FromStr for Prefix {
    type Err = ();

    fn from_str(part: &str) -> Result<Self, ()> {
        if part.len() == 17 && part.bytes().filter(|b| *b == b'-').count() == 5 {
            return part.parse().map(Self::Mac).map_err(|_| ());
        }
        part.parse().map(Self::Serial).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_as_boards_send_them() {
        type Row<'a> = (&'a [u8], Result<(Option<Prefix>, &'a str), BadName>);
        let mac = Some(Prefix::Mac(MacAddr::new([0xdc, 0xa6, 0x32, 1, 0x36, 0xc2])));
        let serial = Some(Prefix::Serial(Serial(0x9ffe_fdef)));
        #[rustfmt::skip]
        let rows: [Row<'_>; 16] = [
            (b"bootcode.bin", Ok((None, "bootcode.bin"))),
            (b"9ffefdef/start4.elf", Ok((serial, "start4.elf"))),
            (b"dc-a6-32-01-36-c2/overlays/overlay_map.dtb", Ok((mac, "overlays/overlay_map.dtb"))),
            (b"/9FFEFDEF//./config.txt", Ok((serial, "config.txt"))),
            (b"\\boot\\vmlinuz", Ok((None, "boot/vmlinuz"))),
            (b"9ffefdef", Ok((None, "9ffefdef"))),
            (b"9ffefdef/", Ok((None, "9ffefdef"))),
            (b"pxelinux.cfg/01-dc-a6-32-01-36-c2", Ok((None, "pxelinux.cfg/01-dc-a6-32-01-36-c2"))),
            (b"overlays/../../../etc/shadow", Err(BadName::Upwards)),
            (b"9ffefdef/..", Err(BadName::Upwards)),
            (b"..\\x", Err(BadName::Upwards)),
            (b"overlays/..hidden", Ok((None, "overlays/..hidden"))),
            (b"/", Err(BadName::Empty)),
            (b"\xff\xfe", Err(BadName::NotText)),
            (b"a\nb", Err(BadName::Control)),
            (&[b'a'; 256], Err(BadName::Long)),
        ];
        for (name, expected) in rows {
            let expected = expected.map(|(prefix, path)| Asked { prefix, path: path.to_owned() });
            assert_eq!(Asked::parse(name), expected, "{:?}", String::from_utf8_lossy(name));
        }
    }

    proptest! {
        /// No name leads anywhere but down.
        #[test]
        fn only_downwards(name in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), Just(b'\\'), Just(b'a'), any::<u8>()], 0..40)) {
            if let Ok(asked) = Asked::parse(&name) {
                prop_assert!(asked.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}

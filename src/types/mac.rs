//! Ethernet hardware addresses: what a client is known by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ethernet hardware address of a client: six octets.
///
/// Reads `dc:a6:32:01:02:03`, `DC-A6-32-01-02-03` and `dca632010203`; prints only the first form, so one
/// address has one spelling in the store, the log and the UI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

/// The text was not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address; write six pairs of hex digits, such as `dc:a6:32:01:02:03`")]
pub struct BadMac(pub String);

impl MacAddr {
    /// The address that reaches every station of a network.
    pub const BROADCAST: Self = Self([0xff; 6]);

    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// `dc-a6-32-01-02-03`: the spelling of TFTP prefixes and of `pxelinux.cfg/01-…`.
    pub fn dashed(self) -> String {
        self.to_string().replace(':', "-")
    }

    /// Whether a single station can have this address: neither a group address nor all zeroes.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

impl FromStr for MacAddr {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let separator = match text.len() {
            17 => text.chars().nth(2).filter(|c| matches!(c, ':' | '-')),
            12 => None,
            _ => return Err(bad()),
        };
        let digits: String = match separator {
            Some(separator) => {
                let pairs: Vec<&str> = text.split(separator).collect();
                if pairs.len() != 6 || pairs.iter().any(|pair| pair.len() != 2) {
                    return Err(bad());
                }
                pairs.concat()
            }
            None => text.to_owned(),
        };
        if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let number = u64::from_str_radix(&digits, 16).map_err(|_| bad())?;
        let [_, _, octets @ ..] = number.to_be_bytes();
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spellings_are_read_and_one_is_printed() {
        for text in ["dc:a6:32:01:02:03", "DC-A6-32-01-02-03", "dca632010203"] {
            assert_eq!(text.parse::<MacAddr>().expect(text).to_string(), "dc:a6:32:01:02:03");
        }
        assert_eq!(MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]).dashed(), "dc-a6-32-01-02-03");
    }

    #[test]
    fn everything_else_is_refused_with_an_example() {
        for text in [
            "",
            "dc:a6:32:01:02",
            "dc:a6:32:01:02:0g",
            "dc:a6-32:01:02:03",
            "dca63201020",
            "ä:a6:32:01:02:03",
            "+ca632010203",
            "dc:a6:32:01:02:03:04",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(BadMac(text.to_owned())));
        }
        assert_eq!(
            BadMac("x".to_owned()).to_string(),
            "`x` is not a hardware address; write six pairs of hex digits, such as `dc:a6:32:01:02:03`"
        );
    }

    #[test]
    fn group_addresses_are_no_station() {
        assert!(!MacAddr::BROADCAST.is_unicast());
        assert!(!MacAddr::new([1, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(!MacAddr::new([0; 6]).is_unicast());
        assert!(MacAddr::new([0xb8, 0x27, 0xeb, 0, 0, 1]).is_unicast());
    }
}

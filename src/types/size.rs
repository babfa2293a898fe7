//! Sizes of files and memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Reads `512`, `64k`, `20M`, `2G`, `1T` (powers of 1024, as `dd` and UCI write them); prints
/// with one decimal and the unit, such as `2.0 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// The text was not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a number and k, M, G or T, such as `2G`")]
pub struct BadSize(pub String);

impl FromStr for ByteSize {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        let (digits, shift) = match text.char_indices().last().ok_or_else(bad)? {
            (at, 'k' | 'K') => (text.get(..at), 10),
            (at, 'm' | 'M') => (text.get(..at), 20),
            (at, 'g' | 'G') => (text.get(..at), 30),
            (at, 't' | 'T') => (text.get(..at), 40),
            _ => (Some(text), 0),
        };
        let digits =
            digits.filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit())).ok_or_else(bad)?;
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, unit) = match self.0 {
            0..1024 => return write!(f, "{} B", self.0),
            1024..1_048_576 => (10, "KiB"),
            1_048_576..1_073_741_824 => (20, "MiB"),
            1_073_741_824..1_099_511_627_776 => (30, "GiB"),
            _ => (40, "TiB"),
        };
        let whole = self.0 >> shift;
        let tenth = ((self.0 - (whole << shift)) * 10) >> shift;
        write!(f, "{whole}.{tenth} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        #[rustfmt::skip]
        let rows = [("512", 512, "512 B"), ("64k", 65_536, "64.0 KiB"), ("20M", 20_971_520, "20.0 MiB"),
            ("2G", 2_147_483_648, "2.0 GiB"), ("1T", 1_099_511_627_776, "1.0 TiB"), ("1600k", 1_638_400, "1.5 MiB")];
        for (text, bytes, shown) in rows {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).to_string(), shown);
        }
        for text in ["", "G", "-1G", "2GB", "99999999T"] {
            assert_eq!(text.parse::<ByteSize>(), Err(BadSize(text.to_owned())));
        }
    }
}

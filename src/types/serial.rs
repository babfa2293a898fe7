//! Serial numbers of boards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Low 32 bits of a board's serial number: eight hex digits, as in the Pi's TFTP prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(pub u32);

/// The text was not a serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a serial number; write its last eight hex digits, such as `9ffefdef`")]
pub struct BadSerial(pub String);

impl FromStr for Serial {
    type Err = BadSerial;

    fn from_str(text: &str) -> Result<Self, BadSerial> {
        let bad = || BadSerial(text.to_owned());
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u32::from_str_radix(text, 16).map(Self).map_err(|_| bad())
    }
}

impl TryFrom<String> for Serial {
    type Error = BadSerial;

    fn try_from(text: String) -> Result<Self, BadSerial> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_hex_digits() {
        assert_eq!("9FFEFDEF".parse::<Serial>().expect("serial").to_string(), "9ffefdef");
        for text in ["", "9ffefde", "9ffefdefa", "9ffefdeg", "+ffefdef"] {
            assert_eq!(text.parse::<Serial>(), Err(BadSerial(text.to_owned())));
        }
    }
}

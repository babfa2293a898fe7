//! The key to a person's tunnel.
//!
//! It is made by the server, given to the agent of the client that somebody logs in at, and shown by that at the beginning of each
//! connection of the tunnel ([`super::channel::ToServer::Tunnel`]); both times inside TLS.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The word in [`super::channel::Hello::can`] of an agent that mounts through a tunnel.
pub const CAN: &str = "tunnel";

/// 128 bits, written as 32 hex digits. Shown as dots.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(pub u128);

/// The text was no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 32 hex digits")]
pub struct BadKey;

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| digits).map(Self).ok_or(BadKey)
    }
}

impl TryFrom<String> for Key {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(Key(key): Key) -> Self {
        format!("{key:032x}")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hex_and_never_shown() {
        let key = Key(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let text = serde_json::to_string(&key).expect("a string");
        assert_eq!(text, "\"0123456789abcdef0011223344556677\"");
        assert_eq!(serde_json::from_str::<Key>(&text).expect("its own"), key);
        assert_eq!(format!("{key:?}"), "•••");
        let signed = "+123456789abcdef0011223344556677a";
        for bad in
            ["", "0123", "0123456789abcdef00112233445566778", "g123456789abcdef0011223344556677", signed]
        {
            assert_eq!(bad.parse::<Key>(), Err(BadKey), "{bad}");
        }
    }
}

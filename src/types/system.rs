//! Words of the operating system that clients run: time zones, systemd units, machine ids.
//!
//! They end up as file names and as lines of configuration on the client, so nothing that could leave a folder or
//! start a new line gets into these types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits;

/// The text was not usable as a word of the client's system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSystemWord {
    #[error("`{0}` is not a time zone; write its name in the time zone database, such as `Europe/Berlin`")]
    TimeZone(String),
    #[error("`{0}` is not a systemd unit; write its full name, such as `bluetooth.service`")]
    Unit(String),
    #[error("`{0}` is not a machine id; write 32 small hex digits")]
    MachineId(String),
    #[error(
        "`{0}` is not a domain name; write labels of letters, digits and `-`, such as `lan` or `school.example`"
    )]
    Domain(String),
}

/// Declares a text of which `valid` holds, read by `FromStr` and serde alike.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $bad:ident, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadSystemWord;

            fn from_str(text: &str) -> Result<Self, BadSystemWord> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(BadSystemWord::$bad(text.chars().take(limits::NAME_SHOWN).collect()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadSystemWord;

            fn try_from(text: String) -> Result<Self, BadSystemWord> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

word!(
    /// A name in the time zone database: a file below `/usr/share/zoneinfo`.
    TimeZone, TimeZone,
    |text| text.len() <= limits::TIME_ZONE && text.split('/').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    })
);

word!(
    /// The full name of a systemd unit (systemd.unit(5)): at most 255 characters, ending in the unit's type.
    UnitName, Unit,
    |text| text.len() <= limits::UNIT_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@'))
        && text.rsplit_once('.').is_some_and(|(name, kind)| {
            let kinds = ["service", "socket", "target", "timer", "path", "mount", "automount", "swap", "device", "slice"];
            !name.is_empty() && kinds.contains(&kind)
        })
);

word!(
    /// What `/etc/machine-id` holds (machine-id(5)): 32 hex digits, not all of them zero.
    MachineId, MachineId,
    |text| text.len() == 32
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|b| b != b'0')
);

word!(
    /// A domain that host names are completed with (RFC 1123 §2.1): up to 253 characters.
    Domain, Domain,
    |text| text.len() <= limits::DOMAIN && text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= limits::HOST_NAME
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_people_use_are_taken() {
        for text in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert_eq!(text.parse::<TimeZone>().expect(text).as_str(), text);
        }
        for text in
            ["bluetooth.service", "getty@tty1.service", r"dev-disk-by\x2dlabel-x.swap", "apt-daily.timer"]
        {
            assert_eq!(text.parse::<UnitName>().expect(text).as_str(), text);
        }
        for text in ["lan", "school.example", "a-b.c_d"] {
            assert_eq!(text.parse::<Domain>().expect(text).as_str(), text);
        }
        assert!("0123456789abcdef0123456789abcdef".parse::<MachineId>().is_ok());
    }

    #[test]
    fn nothing_leaves_its_folder_or_its_line() {
        for text in ["", "/etc/passwd", "../passwd", "Europe/../../x", "Europe//x", "a\nb", ".hidden", "a b"]
        {
            assert!(text.parse::<TimeZone>().is_err(), "{text}");
        }
        for text in ["", "ssh", ".service", "a/b.service", "a b.service", "a.conf", "a\n.service"] {
            assert!(text.parse::<UnitName>().is_err(), "{text}");
        }
        for text in ["", ".", "a..b", "-a", "a b", "lan\nnameserver 6.6.6.6"] {
            assert!(text.parse::<Domain>().is_err(), "{text}");
        }
        for text in
            ["", "uninitialized", "00000000000000000000000000000000", "0123456789ABCDEF0123456789ABCDEF"]
        {
            assert!(text.parse::<MachineId>().is_err(), "{text}");
        }
    }
}

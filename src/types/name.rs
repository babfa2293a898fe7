//! Names of hosts, images, rooms, people, classes and shares: short, bounded, safe as a file name and in a URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits;

/// The text was not a usable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error(
        "`{0}` is not a host name; use 1 to 63 letters, digits and `-`, not `-` at either end, such as `lab-01`"
    )]
    Host(String),
    #[error(
        "`{0}` is not an image name; use 1 to 32 small letters, digits, `.`, `_` and `-`, starting with a letter or digit, such as `trixie`"
    )]
    Image(String),
    #[error(
        "`{0}` is not a room name; use 1 to 32 letters, digits and `_`, as UCI names sections, such as `lab`"
    )]
    Room(String),
    #[error(
        "`{0}` cannot be a name to log in with; as Debian's adduser has it, use 1 to 32 small letters, digits, `_` and `-`, starting with a letter, such as `anna`"
    )]
    User(String),
    #[error(
        "`{0}` cannot be the name of a class; as Debian's adduser has it, use 1 to 32 small letters, digits, `_` and `-`, starting with a letter, such as `class-7b`"
    )]
    Class(String),
    #[error(
        "`{0}` is not the name of a share; use 1 to 32 letters, digits and `_`, as UCI names sections, such as `materials`"
    )]
    Share(String),
}

/// Declares one kind of name: a bounded string that holds only what `valid` lets through.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $bad:ident, $valid:expr, $fold:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(heapless::String<{ $max }>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let bad = || BadName::$bad(text.chars().take(limits::NAME_SHOWN).collect());
                let valid: fn(&str) -> bool = $valid;
                let fold: fn(&str) -> String = $fold;
                if !valid(text) {
                    return Err(bad());
                }
                heapless::String::try_from(fold(text).as_str()).map(Self).map_err(|_| bad())
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.0.as_str(), f)
            }
        }
    };
}

name!(
    /// A host name: one DNS label (RFC 1123 §2.1), kept in lower case.
    HostName, limits::HOST_NAME, Host,
    |text| !text.is_empty()
        && text.len() <= limits::HOST_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-'),
    str::to_ascii_lowercase
);

name!(
    /// The name of an image: a folder below `<data>/images` and part of an NFS path.
    ImageName, limits::IMAGE_NAME, Image,
    |text| !text.is_empty()
        && text.len() <= limits::IMAGE_NAME
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric()),
    str::to_owned
);

name!(
    /// The name of a room: a UCI section name.
    RoomName, limits::ROOM_NAME, Room,
    |text| !text.is_empty()
        && text.len() <= limits::ROOM_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
    str::to_owned
);

name!(
    /// The name somebody logs in with.
    UserName, limits::USER_NAME, User, is_login_name, str::to_owned
);

name!(
    /// The name of a class: a group of users on every client.
    ClassName, limits::USER_NAME, Class, is_login_name, str::to_owned
);

name!(
    /// The name of a shared folder: a UCI section name, and a folder people see.
    ShareName, limits::SHARE_NAME, Share,
    |text| !text.is_empty()
        && text.len() <= limits::SHARE_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
    str::to_owned
);

/// The rule of Debian's adduser.
fn is_login_name(text: &str) -> bool {
    text.len() <= limits::USER_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_kept_and_host_names_are_folded() {
        assert_eq!("Lab-01".parse::<HostName>().expect("host").as_str(), "lab-01");
        assert_eq!("trixie-64.1".parse::<ImageName>().expect("image").as_str(), "trixie-64.1");
        assert_eq!("Room_12".parse::<RoomName>().expect("room").as_str(), "Room_12");
        assert_eq!("anna_2-b".parse::<UserName>().expect("user").as_str(), "anna_2-b");
        assert_eq!("c7b".parse::<ClassName>().expect("class").as_str(), "c7b");
        assert_eq!("Hand_in".parse::<ShareName>().expect("share").as_str(), "Hand_in");
    }

    #[test]
    fn what_could_leave_a_folder_or_break_a_line_is_refused() {
        for text in ["", "-a", "a-", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
        for text in ["", "..", ".incoming-1", "a/b", "A", "a\n", &"x".repeat(33)] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
        for text in ["", "a-b", "a.b", "'"] {
            assert!(text.parse::<RoomName>().is_err(), "{text}");
        }
        for text in ["", "7b", "-a", "_a", "Anna", "a.b", "a b", "ä", "a:b", "a\n", "a$", &"x".repeat(33)] {
            assert!(text.parse::<UserName>().is_err(), "{text}");
            assert!(text.parse::<ClassName>().is_err(), "{text}");
        }
        for text in ["", "a-b", "..", "a/b", &"x".repeat(33)] {
            assert!(text.parse::<ShareName>().is_err(), "{text}");
        }
        assert_eq!(
            "Anna M".parse::<UserName>().expect_err("two words").to_string(),
            "`Anna M` cannot be a name to log in with; as Debian's adduser has it, use 1 to 32 small letters, digits, \
             `_` and `-`, starting with a letter, such as `anna`"
        );
        let shown = "x".repeat(500).parse::<HostName>().expect_err("too long").to_string();
        assert!(shown.len() < 250, "a message never repeats a flood: {shown}");
    }
}

//! People as every part of the system knows them: numbers, role, full name, password.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ClassName, UserName, limits};

/// First number of an account made here. Those below are Debian's own and those of users an image brings.
pub const FIRST_ACCOUNT: u32 = 10_000;

/// Last number of an account made here.
pub const LAST_ACCOUNT: u32 = 99_999;

/// First number of a class. An account's own group has the number of the account, so classes begin behind all accounts.
pub const FIRST_CLASS: u32 = 100_000;

/// Last number of a class; those from 200000 on are made of identities of an external directory.
pub const LAST_CLASS: u32 = 199_999;

/// What is added to the last number of an identifier of Active Directory (its RID, which the domain never uses again) to
/// make a uid or a gid: behind all accounts and classes made here.
pub const FIRST_DERIVED: u32 = 200_000;

/// Last number made that way; below what some programs take for negative.
pub const LAST_DERIVED: u32 = 2_147_483_646;

/// Number of a user, as the kernel and NFS know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub u32);

/// Number of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gid(pub u32);

impl Uid {
    /// Every account has a group of its own with the same number.
    pub const fn own_group(self) -> Gid {
        Gid(self.0)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What somebody may do in shared folders, and with `sudo` where the room lets teachers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[default]
    Pupil,
    Teacher,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pupil => "pupil",
            Self::Teacher => "teacher",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text was not a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; write `pupil` or `teacher`")]
pub struct BadRole(String);

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        match text {
            "pupil" => Ok(Self::Pupil),
            "teacher" => Ok(Self::Teacher),
            _ => Err(BadRole(text.chars().take(limits::NAME_SHOWN).collect())),
        }
    }
}

/// What a person is called: one line that fits a field of `/etc/passwd`; it may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FullName(String);

/// The text was not a full name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a full name; write one line of at most {max} bytes without `:`, such as `Anna Maier`",
    max = limits::FULL_NAME
)]
pub struct BadFullName(String);

impl FullName {
    /// The nearest full name to `text`, for names that others keep: what may not stand in one becomes a space.
    pub fn nearest(text: &str) -> Self {
        let plain = |c: char| if fits_full_name(c) { c } else { ' ' };
        let mut name: String = text.trim().chars().map(plain).collect();
        name.truncate(name.floor_char_boundary(limits::FULL_NAME));
        Self(name.trim().to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A colon ends a field of `/etc/passwd`; line and paragraph separators end a line where Unicode is understood.
fn fits_full_name(c: char) -> bool {
    c != ':' && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
}

impl FromStr for FullName {
    type Err = BadFullName;

    fn from_str(text: &str) -> Result<Self, BadFullName> {
        let text = text.trim();
        if text.len() > limits::FULL_NAME || !text.chars().all(fits_full_name) {
            return Err(BadFullName(text.chars().take(limits::NAME_SHOWN).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for FullName {
    type Error = BadFullName;

    fn try_from(text: String) -> Result<Self, BadFullName> {
        text.parse()
    }
}

impl From<FullName> for String {
    fn from(name: FullName) -> Self {
        name.0
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A password in the clear: shown as dots, wiped from memory when it is no longer needed.
///
/// It is serialised for two ways only: the agent's TLS channel and the control socket, which is root's.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Zeroizing<String>);

/// The text could not be anybody's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has at most {max} bytes and no line breaks", max = limits::PASSWORD)]
pub struct BadSecret;

impl Secret {
    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Secret {
    type Error = BadSecret;

    fn try_from(text: String) -> Result<Self, BadSecret> {
        let text = Zeroizing::new(text);
        // PAM hands passwords on as lines that end with NUL.
        if text.len() > limits::PASSWORD || text.contains(['\0', '\n', '\r']) {
            return Err(BadSecret);
        }
        Ok(Self(text))
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// A password's hash as crypt(3) writes it. It is as good as the password to whoever has a week, so it shows dots too.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The hash itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// Somebody who may log in, as the parts need to know them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub name: UserName,
    pub uid: Uid,
    pub gid: Gid,
    pub full_name: FullName,
    pub role: Role,
    /// Sorted by name.
    pub classes: Vec<(ClassName, Gid)>,
    /// A new password has to be chosen before anything else.
    pub must_change: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_only_dots() {
        let secret: Secret = "hunter2".parse().expect("a password");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "••• Some(•••)");
        assert_eq!(format!("{:?}", PasswordHash::new("$6$x$y".to_owned())), "•••");
        assert_eq!(serde_json::to_string(&secret).expect("JSON"), "\"hunter2\"");
        let back: Secret = serde_json::from_str("\"hunter2\"").expect("a password");
        assert_eq!(back.expose(), "hunter2");
    }

    #[test]
    fn no_message_repeats_a_bad_secret() {
        for text in ["a\nb", "a\0b", &"x".repeat(limits::PASSWORD + 1)] {
            let error = text.parse::<Secret>().expect_err("refused").to_string();
            assert_eq!(error, "a password has at most 256 bytes and no line breaks");
        }
    }

    #[test]
    fn a_full_name_is_one_field_of_passwd() {
        assert_eq!(" Zoë Ångström ".parse::<FullName>().expect("a name").as_str(), "Zoë Ångström");
        for text in ["a:b", "a\nb", "a\u{2028}b", &"x".repeat(limits::FULL_NAME + 1)] {
            let error = text.parse::<FullName>().expect_err("refused").to_string();
            assert!(error.contains("cannot be a full name") && error.len() < 250, "{error}");
        }
        assert_eq!(FullName::nearest(" a:b\nc ").as_str(), "a b c");
        let long = "é".repeat(limits::FULL_NAME);
        assert!(FullName::nearest(&long).as_str().parse::<FullName>().is_ok());
    }

    #[test]
    fn roles_are_two_words() {
        assert_eq!("teacher".parse(), Ok(Role::Teacher));
        assert_eq!(
            "boss".parse::<Role>().expect_err("no role").to_string(),
            "`boss` is not a role; write `pupil` or `teacher`"
        );
    }
}

//! Which operating system a client boots.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ImageName;
use super::name::BadName;

/// Number of a published version, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub NonZeroU32);

impl Version {
    pub const FIRST: Self = Self(NonZeroU32::MIN);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a person writes: `trixie` follows the image's current version, `trixie@3` stays with version 3.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    pub name: ImageName,
    pub version: Option<Version>,
}

/// One published version of an image: a tree that never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageVersion {
    pub name: ImageName,
    pub version: Version,
}

/// The text does not name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadImageRef {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(
        "`{0}` is not a version of an image; write the name, or the name, `@` and a number from 1, such as `trixie@3`"
    )]
    Version(String),
}

impl FromStr for ImageRef {
    type Err = BadImageRef;

    fn from_str(text: &str) -> Result<Self, BadImageRef> {
        let Some((name, version)) = text.split_once('@') else {
            return Ok(Self { name: text.parse()?, version: None });
        };
        let bad = || BadImageRef::Version(text.to_owned());
        let digits = Some(version).filter(|v| v.bytes().all(|b| b.is_ascii_digit())).ok_or_else(bad)?;
        Ok(Self { name: name.parse()?, version: Some(Version(digits.parse().map_err(|_| bad())?)) })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = BadImageRef;

    fn try_from(text: String) -> Result<Self, BadImageRef> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => fmt::Display::fmt(&self.name, f),
        }
    }
}

impl fmt::Display for ImageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_be_pinned() {
        for text in ["trixie", "trixie@3"] {
            assert_eq!(text.parse::<ImageRef>().expect(text).to_string(), text);
        }
        for text in ["trixie@", "trixie@0", "trixie@-1", "trixie@3@4", "trixie@99999999999"] {
            assert_eq!(text.parse::<ImageRef>(), Err(BadImageRef::Version(text.to_owned())));
        }
        assert!("@3".parse::<ImageRef>().is_err());
    }
}

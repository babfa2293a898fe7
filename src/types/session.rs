//! A session: one person logged in at one client.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number of a session; none is given twice, so an old one never means somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How somebody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// At a text console.
    Console,
    Desktop,
    Ssh,
    /// `su`, `cron` and what else opens a session for somebody.
    Other,
}

impl SessionKind {
    pub const ALL: [Self; 4] = [Self::Console, Self::Desktop, Self::Ssh, Self::Other];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Desktop => "desktop",
            Self::Ssh => "ssh",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for SessionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text was no kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of session; there are `console`, `desktop`, `ssh` and `other`")]
pub struct BadSessionKind;

impl FromStr for SessionKind {
    type Err = BadSessionKind;

    fn from_str(text: &str) -> Result<Self, BadSessionKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(BadSessionKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_one_word_everywhere() {
        for kind in SessionKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).expect("JSON"), format!("\"{kind}\""));
        }
        assert_eq!("Ssh".parse::<SessionKind>(), Err(BadSessionKind));
    }
}

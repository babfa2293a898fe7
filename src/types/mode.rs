//! How a client is used: by people with a name, by guests, as a kiosk, in an exam, or as its image has it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{PageUrl, limits};

/// The word for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// People log in with name and password.
    #[default]
    Login,
    /// Whoever sits down is logged in without a name, into a home that is gone afterwards.
    Guest,
    /// One page fills the screen.
    Kiosk,
    /// As [`Self::Login`], for a named set of people.
    Exam,
    /// As [`Self::Login`], but whom the image logs in by itself it goes on to log in.
    Image,
}

impl Mode {
    pub const ALL: [Self; 5] = [Self::Login, Self::Guest, Self::Kiosk, Self::Exam, Self::Image];
    pub const WORDS: [&str; 5] = ["login", "guest", "kiosk", "exam", "image"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Guest => "guest",
            Self::Kiosk => "kiosk",
            Self::Exam => "exam",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text was no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a way to use a client; there are `login`, `guest`, `kiosk`, `exam` and `image`")]
pub struct BadMode(String);

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        let bad = || BadMode(text.chars().take(limits::NAME_SHOWN).collect());
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(bad)
    }
}

/// How one client is used, with what its agent needs for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeatUse {
    #[default]
    Login,
    Guest {
        /// How long a guest may stay; 0 for as long as they like.
        minutes: u32,
    },
    Kiosk {
        page: PageUrl,
        /// After how long without a key or the mouse everything begins anew; 0 for never.
        idle_minutes: u32,
    },
    Exam,
    Image,
}

impl SeatUse {
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Login => Mode::Login,
            Self::Guest { .. } => Mode::Guest,
            Self::Kiosk { .. } => Mode::Kiosk,
            Self::Exam => Mode::Exam,
            Self::Image => Mode::Image,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_one_word_everywhere() {
        for (mode, word) in Mode::ALL.into_iter().zip(Mode::WORDS) {
            assert_eq!((mode.as_str(), word.parse()), (word, Ok(mode)));
            assert_eq!(serde_json::to_string(&mode).expect("JSON"), format!("\"{word}\""));
        }
        assert_eq!(
            "Kiosk".parse::<Mode>().expect_err("not a word").to_string(),
            "`Kiosk` is not a way to use a client; there are `login`, `guest`, `kiosk`, `exam` and `image`"
        );
        let kiosk = SeatUse::Kiosk { page: PageUrl::EXAMPLE.parse().expect("a page"), idle_minutes: 10 };
        let text = r#"{"kiosk":{"page":"https://library.example/","idle_minutes":10}}"#;
        assert_eq!(serde_json::to_string(&kiosk).expect("JSON"), text);
        assert_eq!(kiosk.mode(), Mode::Kiosk);
    }
}

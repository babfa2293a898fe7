//! What an administrator can have the agent do with its client, besides ending sessions.
//!
//! Each is an order of the [channel](super::channel): the agent answers with `Done`, for a client that switches off
//! before it does so. An agent says in its greeting that it knows these ([`CAN`]), because one of an earlier package
//! would take an unknown order for nonsense and hang up.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::channel::Label;
use crate::types::{HostName, limits};

/// The word in [`super::channel::Hello::can`] of an agent that carries these out.
pub const CAN: &str = "act";

/// The same of an agent that also carries out what came later: [`Act::Blank`], [`Act::EndGuest`] and [`Act::Screen`].
pub const CAN_SCREEN: &str = "screen";

/// One thing to do, at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Everybody in front of it is shown `message`, then the client is switched off in good order.
    Shutdown { message: Words },
    /// As [`Self::Shutdown`], and the client starts again.
    Reboot { message: Words },
    /// Whoever is logged in has to give the password again.
    Lock,
    /// Shown on the text consoles in use and on the desktop.
    Message { text: Words },
    /// The client shows which one it is: the light on the board blinks and the screen shows the name.
    Identify { name: HostName, seconds: u8 },
    /// Screens are dark for so long, whatever people do; with 0 they show what they should again.
    Blank { seconds: u16 },
    /// Whoever is logged in without a name is logged out, and what they left is wiped.
    EndGuest { message: Words },
    /// The screen of the desktop is brought to the server, over a connection of its own that begins with `ticket`.
    Screen {
        ticket: Label,
        /// Whether keys and mouse come back.
        control: bool,
    },
}

impl Act {
    /// What an agent must say that it can.
    pub const fn needs(&self) -> &'static str {
        match self {
            Self::Shutdown { .. }
            | Self::Reboot { .. }
            | Self::Lock
            | Self::Message { .. }
            | Self::Identify { .. } => CAN,
            Self::Blank { .. } | Self::EndGuest { .. } | Self::Screen { .. } => CAN_SCREEN,
        }
    }
}

/// A few words for the people at a client: one printable line, whatever was sent, because it goes to their terminals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Words(String);

impl Words {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        let mut line = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if line.len() + c.len_utf8() > limits::WORDS {
                break;
            }
            line.push(c);
        }
        Self(line.trim().to_owned())
    }
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.0
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an administrator types, what reaches a terminal is one line without control characters.
        #[test]
        fn words_are_one_line(text in any::<String>()) {
            let words = Words::from(text);
            prop_assert!(words.as_str().len() <= limits::WORDS);
            prop_assert!(!words.as_str().chars().any(char::is_control));
            prop_assert_eq!(Words::from(words.as_str()), words);
        }
    }

    #[test]
    fn acts_look_like_this() {
        let rows = [
            (Act::Lock, r#""lock""#),
            (Act::Blank { seconds: 600 }, r#"{"blank":{"seconds":600}}"#),
            (
                Act::Screen { ticket: "0123".into(), control: false },
                r#"{"screen":{"ticket":"0123","control":false}}"#,
            ),
            (Act::Message { text: "Five\nminutes".into() }, r#"{"message":{"text":"Five minutes"}}"#),
            (
                Act::Identify { name: "lab-01".parse().expect("a name"), seconds: 30 },
                r#"{"identify":{"name":"lab-01","seconds":30}}"#,
            ),
        ];
        for (act, text) in rows {
            assert_eq!(serde_json::to_string(&act).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Act>(text).expect("an act"), act);
        }
        let evil = r#"{"message":{"text":"\u001b[2Jhello"}}"#;
        assert_eq!(
            serde_json::from_str::<Act>(evil).expect("an act"),
            Act::Message { text: "[2Jhello".into() }
        );
    }
}

//! A command that the server has a client run which maintains the draft of an image, and what it prints.
//!
//! An agent says in its greeting that it does this ([`CAN`]), and says so only while its root is a draft: on any other
//! client there is nobody who would take such an order.

use serde::{Deserialize, Serialize};

use super::channel::Label;
use crate::types::limits;

/// The word in [`super::channel::Hello::can`] of an agent whose root is a draft.
pub const CAN: &str = "run";

/// A line for `sh -c`: what somebody typed, as they typed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Line(String);

/// The text is no line to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a command is a line for `sh` of at most {} bytes, such as `apt-get -y full-upgrade`",
    limits::COMMAND
)]
pub struct BadLine;

impl Line {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As much as a table shows.
    pub fn short(&self) -> String {
        const SHOWN: usize = 60;
        let one_line = self.0.replace('\n', " ");
        if one_line.chars().count() <= SHOWN {
            return one_line;
        }
        one_line.chars().take(SHOWN - 1).chain(['…']).collect()
    }
}

impl TryFrom<String> for Line {
    type Error = BadLine;

    fn try_from(text: String) -> Result<Self, BadLine> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= limits::COMMAND;
        let plain = !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        (fits && plain).then(|| Self(text.to_owned())).ok_or(BadLine)
    }
}

impl std::str::FromStr for Line {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        text.to_owned().try_into()
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its exit code, or as shells count 128 and the number of the signal.
    Exited(u8),
    /// It did not run.
    Not(Label),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_line() {
        let long = "x".repeat(limits::COMMAND);
        for text in ["apt-get -y full-upgrade", "cd /tmp &&\n\techo 'two lines'", "gr\u{fc}\u{df}e", &long] {
            assert_eq!(text.parse::<Line>().expect("a line").as_str(), text);
        }
        for text in ["", "  \n", "bell\x07", "nul\0", "\x1b[2J", &format!("{long}x")] {
            assert_eq!(text.parse::<Line>(), Err(BadLine), "{text:?}");
            let json = serde_json::to_string(text).expect("JSON");
            assert!(serde_json::from_str::<Line>(&json).is_err(), "{text:?}");
        }
        assert_eq!(
            BadLine.to_string(),
            "a command is a line for `sh` of at most 8192 bytes, such as `apt-get -y full-upgrade`"
        );
        assert_eq!(long.parse::<Line>().expect("a line").short().chars().count(), 60);
    }

    #[test]
    fn ends_look_like_this() {
        for (end, text) in
            [(End::Exited(100), r#"{"exited":100}"#), (End::Not("no shell".into()), r#"{"not":"no shell"}"#)]
        {
            assert_eq!(serde_json::to_string(&end).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<End>(text).expect("an end"), end);
        }
    }
}

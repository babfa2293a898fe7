//! What a client's bootloader says of itself, as its agent found it: asked once after the greeting.
//!
//! The server asks ([`super::channel::Order::Eeprom`]), the agent answers with one message, also if it found nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{Moment, limits};

/// The word in [`super::channel::Hello::can`] of an agent that answers.
pub const CAN: &str = "eeprom";

/// What is in the EEPROM. What a client cannot tell is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// When the bootloader was built.
    pub built: Option<Moment>,
    /// Time of the update that the EEPROM was last written with; what is not later is not taken.
    pub updated: Option<Moment>,
    /// The settings it was started with.
    pub config: Option<Config>,
    /// The board's revision code.
    pub revision: Option<u32>,
    /// Not zero if the board starts signed systems only.
    pub signed: u32,
    /// Oldest bootloader that the board may have, as written into it at the factory.
    pub board_version: u32,
}

/// The text of the settings: no longer than there is room in an EEPROM, and no control characters but ends of lines,
/// whatever was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Config(String);

impl Config {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Config {
    fn from(text: &str) -> Self {
        let mut text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        text.truncate(text.floor_char_boundary(limits::EEPROM_CONFIG));
        Self(text)
    }
}

impl From<String> for Config {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Config> for String {
    fn from(config: Config) -> Self {
        config.0
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an agent sends, it is a bounded report or none.
        #[test]
        fn any_report_is_bounded(text in "\\PC{0,9000}", built in any::<i64>(), signed in any::<u64>()) {
            let made = serde_json::json!({ "built": built, "signed": signed, "config": format!("{text}\u{7}\n"), "more": [] });
            if let Ok(report) = serde_json::from_value::<Report>(made) {
                let config = report.config.unwrap_or_default();
                prop_assert!(config.as_str().len() <= limits::EEPROM_CONFIG);
                prop_assert!(!config.as_str().chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            }
        }
    }
}

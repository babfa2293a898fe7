//! One update of one client's EEPROM: what is written, and how far it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Said;
use crate::proto::agent::eeprom::Config;
use crate::proto::eeprom::Chip;
use crate::proto::eeprom::image::signature;
use crate::proto::eeprom::settings::Settings;
use crate::types::{ImageVersion, Moment};

/// After so long a client that took the file has written it and started again, or will not say any more what became of it.
const LOST: Duration = Duration::from_hours(1);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It will be offered at the client's next start.
    Asked,
    /// The client has the file, and is writing it or has written it; its agent has not said so yet.
    Fetched,
    /// The client says that it has it.
    Applied,
    Failed,
}

impl State {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Fetched => "fetched",
            Self::Applied => "applied",
            Self::Failed => "failed",
        }
    }
}

/// One update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// What was asked for; nothing: back to what it had.
    pub settings: Option<Settings>,
    /// Whose bootloader it is, and which of its files.
    pub image: ImageVersion,
    pub file: String,
    pub chip: Chip,
    pub built: Option<Moment>,
    /// Time of the update, by which the EEPROM and the agent know it.
    pub at: Moment,
    pub asked_at: Moment,
    /// The start of the client in which it was asked for: in a later one it should be there.
    pub boot_id: crate::proto::agent::channel::Label,
    /// Of the whole file.
    pub sha256: String,
    /// All settings before, and after.
    pub before: Config,
    pub after: Config,
    pub state: State,
    pub since: Moment,
    /// Why it failed.
    pub why: String,
}

impl Rollout {
    /// The text of `pieeprom.sig`.
    pub fn signature(&self) -> String {
        let mut sum = [0; 32];
        for (byte, digits) in sum.iter_mut().zip(self.sha256.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .unwrap_or(0);
        }
        signature(&sum, self.at, self.chip)
    }

    /// Whether it is still going on.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Asked | State::Fetched)
    }

    /// Whether the client took the file long ago and has not been heard of since: it is gone, or it does not start any more.
    pub fn is_lost(&self, now: Moment) -> bool {
        self.state == State::Fetched && now.since(self.since) >= LOST
    }

    pub(super) fn enter(&mut self, state: State, why: &str, now: Moment) {
        self.state = state;
        self.since = now;
        why.clone_into(&mut self.why);
    }

    /// The client's agent says what its EEPROM is now.
    pub(super) fn heard(&mut self, said: &Said) {
        if !self.is_open() {
            return;
        }
        let report = &said.report;
        // Firmware of before 2020-10 does not tell the time; what is in the EEPROM does.
        let same = report.config.as_ref().is_some_and(|config| lines(config) == lines(&self.after))
            && report.built == self.built;
        let is_ours = report.updated.map_or(same, |updated| updated == self.at);
        if is_ours && (same || report.config.is_none()) {
            return self.enter(State::Applied, "", said.at);
        }
        if said.boot_id == self.boot_id {
            // The same start as when it was asked for: its agent only connected again.
            return;
        }
        let why = match self.state {
            State::Fetched if is_ours => {
                "it was written, and other settings are in force: a condition in them, or somebody's hand"
            }
            State::Fetched => {
                "it took the file and did not write it: its EEPROM is write-protected, or the file did not arrive whole; look at its \
                 screen at the next start"
            }
            _ if report.updated.is_some_and(|updated| updated > self.at) => {
                "its EEPROM was written by somebody else meanwhile; ask again"
            }
            _ => {
                "it started again and did not ask for the file: it did not boot from the network, or its bootloader does not update \
                 itself"
            }
        };
        self.enter(State::Failed, why, said.at);
    }
}

/// Settings without comments, empty lines and ends of lines, which say nothing.
fn lines(config: &Config) -> Vec<&str> {
    config.as_str().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

//! Why a client does not boot, or does worse than it could: a table of rules, and what each says.
//!
//! Pure: the timeline, a few facts and the time in, [`Verdict`]s out, the gravest first. Each rule looks at one boot as a
//! whole (a [`Case`]) and says what it sees in a sentence; its likely causes, the likeliest first, and what to do are data.
//! A rule that needs silence waits for [`PATIENCE`], because every step of a boot is silent for some seconds.

mod rules;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::rules::RULES;
use super::events::{Event, FileOutcome, Happening, Link};
use crate::proto::agent::health::Health;
use crate::types::revision::Model;
use crate::types::{ImageRef, MacAddr, Moment, Stage};

/// Silence in a step of a boot that is worth a person's look, as in [`super::state`].
const PATIENCE: Duration = Duration::from_mins(1);

/// What is older than this is another story: the machine was switched off since.
const STALE: Duration = Duration::from_mins(15);

/// A word of an agent that is older says nothing of now: it is asked every minute.
const HEALTH_FRESH: Duration = Duration::from_mins(5);

/// How often the same missing file must have been asked for: a ROM looks for some files several times in one good boot,
/// `config.txt` up to seven times.
const ASKED_AGAIN: u32 = 8;

/// A file of so many bytes tells how fast the way is; a shorter one mostly waits.
const TELLS: u64 = 256 << 10;

/// A Pi gives a file 30 seconds; a kernel of 12 MB needs at least so many bytes a second.
const TOO_SLOW: u64 = 400_000;

/// A file that is no longer was sent in one packet, shorter than the full ones of a larger file.
const SMALL: u64 = 1400;

/// A clock that is off by more breaks log-ins to web sites, and the times of files.
const CLOCK_OFF: Duration = Duration::from_mins(2);

/// What a person is told about a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Stable word for programs.
    pub code: String,
    /// Whether it keeps the client from working; else it is advice.
    pub stops: bool,
    /// What is the case, with a full stop.
    pub sentence: String,
    /// The likeliest first.
    pub causes: Vec<String>,
    /// What to do first.
    pub remedy: String,
}

/// What besides the timeline the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub adopted: bool,
    pub model: Option<Model>,
    /// What it is to boot.
    pub image: Option<ImageRef>,
    pub image_exists: bool,
    /// Models that the image boots; empty if that is not known.
    pub image_models: Vec<String>,
    pub link: Link,
    /// Another machine that uses the client's address.
    pub rival: Option<(Ipv4Addr, MacAddr)>,
    pub health: Option<(Moment, Health)>,
    /// Whether its agent is connected now.
    pub agent: bool,
    /// BOOT_ORDER of its EEPROM, as its agent told.
    pub boot_order: Option<String>,
    /// Why the last update of its EEPROM did not work.
    pub eeprom_failed: Option<String>,
}

/// One boot, added up.
#[derive(Debug, Default)]
struct Case<'a> {
    facts: Facts,
    now: Moment,
    /// Since the last event.
    silent: Duration,
    rom_asked: u32,
    offered: bool,
    refused: Option<&'a str>,
    /// It asked for a file, whether it got one or not.
    file_asked: bool,
    /// Why a file of its image could not be read.
    unreadable: Option<&'a str>,
    /// A system of its own asked for an address, and nothing else did.
    system_only: bool,
    last_loaded: Option<&'a str>,
    missing: BTreeMap<&'a str, u32>,
    last_file: Option<(&'a str, FileOutcome, u64)>,
    /// Bytes of the largest file that arrived whole.
    largest: u64,
    /// Of the files that are long enough to tell: the lowest rate, in bytes a second, and its file.
    slowest: Option<(u64, &'a str)>,
    kernel: bool,
    mounted: bool,
    handed_over: bool,
    off: bool,
    /// The agent's own words on why it stopped, and on what did not work.
    failed: Option<&'a str>,
    trouble: Option<&'a str>,
}

/// Reads a timeline, oldest event first.
pub fn judge(facts: Facts, events: &[Event], now: Moment) -> Vec<Verdict> {
    let case = Case::of(facts, events, now);
    let mut stopped = false;
    let told = RULES.iter().filter_map(|rule| {
        if rule.stops && (stopped || !case.is_current()) {
            return None;
        }
        let sentence = (rule.fits)(&case)?;
        stopped |= rule.stops;
        Some(Verdict {
            code: rule.code.to_owned(),
            stops: rule.stops,
            sentence,
            causes: rule.causes.iter().map(|cause| (*cause).to_owned()).collect(),
            remedy: rule.remedy.to_owned(),
        })
    });
    told.collect()
}

impl<'a> Case<'a> {
    fn of(facts: Facts, events: &'a [Event], now: Moment) -> Self {
        let mut case = Self { facts, now, ..Self::default() };
        for event in events {
            case.follow(event);
        }
        if let Some(last) = events.last() {
            case.silent = now.since(last.last_at);
        }
        case
    }

    fn follow(&mut self, event: &'a Event) {
        match &event.what {
            Happening::Discover { stage: Stage::Rom | Stage::Firmware } => {
                // After a kernel, a ROM begins a new story; before it, it begins the same one again.
                if self.kernel || self.mounted || self.system_only {
                    self.begin_anew();
                }
                self.rom_asked = self.rom_asked.saturating_add(event.times);
            }
            Happening::Discover { stage: Stage::Kernel } | Happening::Lease { stage: Stage::Kernel, .. } => {
                self.kernel = true;
                self.refused = None;
            }
            Happening::Lease { stage: Stage::System, .. } => {
                let own = !self.kernel && !self.mounted && !self.file_asked;
                self.system_only = own;
                self.refused = None;
            }
            Happening::Discover { stage: Stage::System } => {}
            Happening::Offer { .. } | Happening::Lease { .. } => {
                self.offered = true;
                self.refused = None;
            }
            Happening::Refused { reason } => self.refused = Some(reason),
            // The configuration tells what it is to boot now.
            Happening::NothingToBoot { .. } => self.file_asked = true,
            Happening::Unreadable { reason } => {
                self.file_asked = true;
                self.unreadable = Some(reason);
            }
            Happening::File { name, bytes, outcome, took } => {
                self.file_asked = true;
                self.unreadable = self.unreadable.filter(|_| *outcome != FileOutcome::Complete);
                self.last_file = Some((name, *outcome, *bytes));
                match outcome {
                    FileOutcome::Complete => {
                        self.last_loaded = Some(name);
                        self.largest = self.largest.max(*bytes);
                        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
                        let rate = bytes.saturating_mul(1_000_000) / micros;
                        if *bytes >= TELLS && self.slowest.is_none_or(|(slowest, _)| rate < slowest) {
                            self.slowest = Some((rate, name));
                        }
                    }
                    FileOutcome::Missing => {
                        let times = self.missing.entry(name).or_default();
                        *times = times.saturating_add(event.times);
                    }
                    FileOutcome::Probe | FileOutcome::Silent | FileOutcome::Refused => {}
                }
            }
            Happening::Mount { .. } => {
                self.mounted = true;
                self.kernel = true;
                self.handed_over = false;
                self.off = false;
                self.failed = None;
                self.trouble = None;
            }
            Happening::Agent { phase, message } => match phase.as_str() {
                "failed" => self.failed = Some(message),
                "trouble" => self.trouble = Some(message),
                "handover" => {
                    self.handed_over = true;
                    self.failed = None;
                }
                "off" => self.off = true,
                _ => {}
            },
            Happening::LoggedIn { .. }
            | Happening::LoggedOut { .. }
            | Happening::LoginRefused { .. }
            | Happening::HomeFull { .. }
            | Happening::ScreenSeen { .. }
            | Happening::ScreenLeft { .. } => {
                self.handed_over = true;
            }
        }
    }

    fn begin_anew(&mut self) {
        let (facts, now) = (std::mem::take(&mut self.facts), self.now);
        *self = Self { facts, now, ..Self::default() };
    }

    fn came_from_rom(&self) -> bool {
        self.rom_asked > 0 || self.file_asked
    }

    fn is_silent(&self) -> bool {
        self.silent >= PATIENCE
    }

    /// Whether the story is about now, and not about a machine that was switched off since.
    fn is_current(&self) -> bool {
        !self.off && (self.silent < STALE || self.facts.link.open > 0 || self.system_only)
    }

    /// What its agent said, if that is about now.
    fn health(&self) -> Option<&Health> {
        let (at, health) = self.facts.health.as_ref()?;
        (!self.off && self.now.since(*at) <= HEALTH_FRESH).then_some(health)
    }
}

#[cfg(test)]
mod tests;

//! Why a client does not boot, or does worse than it could: a table of rules, and what each says.
//!
//! Pure: the timeline, a few facts and the time in, [`Verdict`]s out, the gravest first. Each rule looks at one boot as a
//! whole (a [`Case`]) and says what it sees in a sentence; its likely causes, the likeliest first, and what to do are data.
//! A rule that needs silence waits for [`PATIENCE`], because every step of a boot is silent for some seconds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// A system of its own asked for an address, and nothing else did.
    system_only: bool,
    last_loaded: Option<&'a str>,
    missing: BTreeMap<&'a str, u32>,
    last_file: Option<(&'a str, FileOutcome, u64)>,
    kernel: bool,
    mounted: bool,
    handed_over: bool,
    off: bool,
    /// The agent's own words on why it stopped, and on what did not work.
    failed: Option<&'a str>,
    trouble: Option<&'a str>,
}

/// One rule.
struct Rule {
    code: &'static str,
    stops: bool,
    /// The sentence, if it is the case.
    fits: fn(&Case<'_>) -> Option<String>,
    causes: &'static [&'static str],
    remedy: &'static str,
}

/// The gravest first; of those that keep a client from working only the first is told.
const RULES: &[Rule] = &[
    Rule {
        code: "two_with_one_address",
        stops: true,
        fits: |case| {
            let (ip, rival) = case.facts.rival.filter(|_| case.kernel || case.last_file.is_some())?;
            Some(format!("Another machine, {rival}, uses this client's address {ip}."))
        },
        causes: &[
            "the other machine has the address set by hand",
            "another DHCP server on this network gave it the address",
        ],
        remedy: "Find the machine by its hardware address and let it take its address from this router, or give this \
                 client another fixed address with `option ip`.",
    },
    Rule {
        code: "no_address",
        stops: true,
        fits: |case| {
            let reason = case.refused.filter(|_| !case.offered && !case.kernel)?;
            Some(format!("It asks for an address and gets none: {reason}."))
        },
        causes: &["every address of the pool is taken", "it is set to be ignored in /etc/config/dhcp"],
        remedy: "Make the pool larger (`option limit` in /etc/config/dhcp) or take the rule away that ignores it.",
    },
    Rule {
        code: "no_image",
        stops: true,
        fits: |case| {
            let boots = case.facts.adopted && case.came_from_rom() && !case.mounted;
            (boots && case.facts.image.is_none()).then(|| "It has no image to boot.".to_owned())
        },
        causes: &["neither the client nor its room has an image"],
        remedy: "Give one to its room: `uci set bramble.ROOM.image=NAME; uci commit bramble; /etc/init.d/bramble reload`.",
    },
    Rule {
        code: "image_missing",
        stops: true,
        fits: |case| {
            let image = case.facts.image.as_ref()?;
            let boots = case.facts.adopted && case.came_from_rom() && !case.mounted;
            (boots && !case.facts.image_exists).then(|| format!("Its image `{image}` does not exist."))
        },
        causes: &[
            "the image, or this version of it, was removed",
            "its name is misspelled in the configuration",
        ],
        remedy: "Choose one of `bramble image list`, or import it with `bramble image import`.",
    },
    Rule {
        code: "image_not_for_model",
        stops: true,
        fits: |case| {
            let (model, image) = (case.facts.model?, case.facts.image.as_ref()?);
            let models = &case.facts.image_models;
            let unfit = !models.is_empty()
                && model != Model::Unknown
                && !models.iter().any(|name| name == model.as_str());
            (unfit && !case.mounted && case.came_from_rom()).then(|| {
                format!("Its image `{image}` does not boot a {model}; it boots {}.", models.join(", "))
            })
        },
        causes: &[
            "the image is older than this model",
            "the image is a 64-bit one and the model boots 32-bit kernels only",
        ],
        remedy: "Give this client an image of a newer release: `bramble client adopt … --image NAME`.",
    },
    Rule {
        code: "not_adopted",
        stops: true,
        fits: |case| {
            (!case.facts.adopted && case.came_from_rom())
                .then(|| "Nobody has adopted it, and it boots nothing before that.".to_owned())
        },
        causes: &["it is new here"],
        remedy: "Adopt it: `bramble client adopt MAC --name NAME --room ROOM`.",
    },
    Rule {
        code: "agent_failed",
        stops: true,
        fits: |case| Some(format!("Its agent gave up: {}.", case.failed?.trim_end_matches('.'))),
        causes: &["the agent's own words say it"],
        remedy: "Do what its screen says; `bramble client show NAME` has the steps before it.",
    },
    Rule {
        code: "agent_silent",
        stops: true,
        fits: |case| {
            let stopped = case.mounted && !case.handed_over && !case.off && case.is_silent();
            stopped.then(|| {
                let trouble =
                    case.trouble.map(|words| format!(" It had said: {}.", words.trim_end_matches('.')));
                format!("It mounted its root, and then its agent fell silent.{}", trouble.unwrap_or_default())
            })
        },
        causes: &[
            "the kernel was not given `init=/.bramble/agent` (a `cmdline` option overrides it)",
            "the kernel cannot lay an overlay over the root",
            "its memory is too small for the image's initramfs",
        ],
        remedy: "Look at its screen, which shows the last step; import the image again if it says that a module is missing.",
    },
    Rule {
        code: "kernel_never_mounted",
        stops: true,
        fits: |case| {
            (case.kernel && !case.mounted && case.is_silent())
                .then(|| "Its kernel runs and has an address, and never mounted its root.".to_owned())
        },
        causes: &[
            "a firewall rule on the router closes TCP port 2049 to this network",
            "the kernel has no NFS root built in, and its initramfs does not mount one",
            "another NFS server is named in `config nfs`, and does not let it in",
        ],
        remedy: "Look at its screen for `VFS: Unable to mount root`; check that `bramble image show IMAGE` has no warning \
                 about NFS.",
    },
    Rule {
        code: "file_broken_off",
        stops: true,
        fits: |case| {
            let (name, outcome, bytes) = case.last_file?;
            let broken = outcome == FileOutcome::Silent && !case.kernel && case.is_silent();
            broken.then(|| format!("It stopped in the middle of `{name}`, after {bytes} bytes."))
        },
        causes: &[
            "a bad cable, plug or switch port",
            "a power supply that is too weak for the moment the processor starts",
            "packets of 1500 bytes do not pass on the way (a VLAN or a tunnel with a smaller MTU)",
            "a link that is too slow for the room: a Pi gives a file 30 seconds",
        ],
        remedy: "Change the cable and the port first; then the power supply; then start it alone and see whether it gets \
                 through.",
    },
    Rule {
        code: "files_missing",
        stops: true,
        fits: |case| {
            let (name, times) = case.missing.iter().max_by_key(|(_, times)| **times)?;
            let in_vain = case.last_loaded.is_none() && !case.kernel && *times >= ASKED_AGAIN;
            in_vain.then(|| {
                format!(
                    "It asks again and again for files that its image does not have, `{name}` {times} times."
                )
            })
        },
        causes: &[
            "the image is not made for this model",
            "its bootloader is old and asks for a name that images no longer have",
            "it has no image, or its image has no boot partition",
        ],
        remedy: "Compare `bramble image show IMAGE` with the model; update its bootloader with Raspberry Pi Imager (Misc \
                 utility images, Bootloader).",
    },
    Rule {
        code: "kernel_never_started",
        stops: true,
        fits: |case| {
            let name = case.last_loaded?;
            let (_, outcome, _) = case.last_file?;
            let fell_silent = outcome != FileOutcome::Silent && !case.kernel && case.is_silent();
            fell_silent
                .then(|| format!("It loaded `{name}` as its last file, and no kernel asked for an address."))
        },
        causes: &[
            "the kernel of the image does not fit the model",
            "a line in `config_txt` keeps it from starting",
            "the kernel has no driver for its network built in",
        ],
        remedy: "Take lines of `option config_txt` away, of the client and of its room; look at its screen: four colours \
                 mean that the kernel did not start.",
    },
    Rule {
        code: "no_file_asked",
        stops: true,
        fits: |case| {
            let waits = case.offered && case.rom_asked > 0 && case.last_file.is_none() && !case.kernel;
            (waits && case.is_silent())
                .then(|| "It asked for an address, was offered one, and never asked for a file.".to_owned())
        },
        causes: &[
            "the offer does not reach it in time: spanning tree on its switch port (set the port to edge or portfast)",
            "another DHCP server answered it first",
            "a firewall on the router closes UDP port 69",
            "its bootloader is older than April 2020 and does not take the offer",
        ],
        remedy: "Look at `bramble status` for a switch with spanning tree and for another DHCP server; then switch the client \
                 off and on: the ROM of a Pi 3 tries for 25 seconds only.",
    },
    Rule {
        code: "never_offered",
        stops: true,
        fits: |case| {
            let waits = case.rom_asked > 0 && !case.offered && case.last_file.is_none() && !case.kernel;
            (waits && case.is_silent())
                .then(|| "It asked for an address, was offered none, and fell silent.".to_owned())
        },
        causes: &["Bramble does not give addresses here (`option mode` of `config dhcp`)", "its ROM gave up"],
        remedy: "Switch it off and on; if that does not help, see `bramble status` for what serves addresses.",
    },
    Rule {
        code: "boots_elsewhere",
        stops: true,
        fits: |case| {
            (case.system_only && case.facts.adopted).then(|| {
                "It runs a system of its own: its boot order prefers the SD card or a USB disk to the network.".to_owned()
            })
        },
        causes: &[
            "there is an SD card or a USB disk with a system in it",
            "its EEPROM tries the network last or never",
        ],
        remedy: "Take the card out; or set the order in its EEPROM: `sudo rpi-eeprom-config --edit` on that system, \
                 BOOT_ORDER=0xf12 (network first).",
    },
    Rule {
        code: "agent_not_connected",
        stops: false,
        fits: |case| {
            let up = case.handed_over && !case.off && case.facts.link.open > 0;
            (up && !case.facts.agent && case.silent >= PATIENCE * 2).then(|| {
                "It runs, and its agent is not connected: nobody of the server can log in there.".to_owned()
            })
        },
        causes: &[
            "the image has no systemd, or `bramble-agent.service` failed there",
            "the server has another key since the client was started",
        ],
        remedy: "Start the client again; on its console `systemctl status bramble-agent` says why.",
    },
    Rule {
        code: "agent_trouble",
        stops: false,
        fits: |case| {
            Some(format!(
                "It runs, but: {}.",
                case.trouble.filter(|_| case.handed_over)?.trim_end_matches('.')
            ))
        },
        causes: &["the agent's own words say it"],
        remedy: "`bramble client show NAME` has the steps before it.",
    },
    Rule {
        code: "undervoltage",
        stops: false,
        fits: |case| {
            let throttled = case.health()?.throttling();
            let when = if throttled.undervoltage_now() { "now" } else { "since it was started" };
            throttled
                .undervoltage_since_start()
                .then(|| format!("Its power supply is too weak: undervoltage {when}."))
        },
        causes: &[
            "a power supply of less than 3 A (5 A for a Pi 5)",
            "a thin or long USB cable",
            "too many USB devices",
        ],
        remedy: "Use the supply that is made for the model, with its own cable.",
    },
    Rule {
        code: "throttled",
        stops: false,
        fits: |case| {
            let health = case.health()?;
            health.throttling().slowed_now().then(|| {
                let degrees =
                    health.temperature_mc.map(|mc| format!(" ({} °C)", mc / 1000)).unwrap_or_default();
                format!("It has slowed itself down{degrees}.")
            })
        },
        causes: &["it is too hot: no fan, a closed case, the sun", "its power supply is too weak"],
        remedy: "Give it air or a fan; a Pi slows down from 80 °C on.",
    },
    Rule {
        code: "slow_link",
        stops: false,
        fits: |case| {
            let mbit = case.health()?.link_mbit?;
            let able =
                !matches!(case.facts.model, Some(Model::Pi2B | Model::Pi3B | Model::Cm3 | Model::Cm3Plus));
            (able && mbit < 1000).then(|| format!("Its link runs at {mbit} Mbit/s and could run at 1000."))
        },
        causes: &["a cable with four wires, or a damaged one", "a switch port of 100 Mbit/s"],
        remedy: "Change the cable (Cat 5e or better), then try another port of the switch.",
    },
    Rule {
        code: "clock_wrong",
        stops: false,
        fits: |case| {
            let (at, health) = case.facts.health.as_ref()?;
            case.health()?;
            let off = at.since(health.clock).max(health.clock.since(*at));
            let set = *at >= Moment::CLOCK_SET;
            (set && off >= CLOCK_OFF).then(|| format!("Its clock is {} wrong.", span(off)))
        },
        causes: &[
            "it cannot reach a time server",
            "the router's own clock was set after the client was started",
        ],
        remedy: "See that `option ntp` (DHCP option 42) names a server that answers; the router is one with \
                 `uci set system.ntp.enable_server=1`.",
    },
    Rule {
        code: "old_eeprom",
        stops: false,
        fits: |case| {
            let needed = match case.facts.model? {
                Model::Pi5 | Model::Pi500 | Model::Cm5 | Model::Cm5Lite => Moment::from_secs(1_698_624_000),
                Model::Pi4B | Model::Pi400 | Model::Cm4 => Moment::from_secs(1_650_585_600),
                _ => return None,
            };
            let built = case.health()?.eeprom.filter(|built| *built < needed)?;
            Some(format!(
                "Its bootloader is of {}; from {} on it boots from the network as it should.",
                built.date(),
                needed.date()
            ))
        },
        causes: &["the EEPROM was never updated"],
        remedy: "Update it with Raspberry Pi Imager (Misc utility images, Bootloader), or with `sudo rpi-eeprom-update -a` \
                 on a system on a card.",
    },
];

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
                let own = !self.kernel && !self.mounted && self.last_file.is_none();
                self.system_only = own;
                self.refused = None;
            }
            Happening::Discover { stage: Stage::System } => {}
            Happening::Offer { .. } | Happening::Lease { .. } => {
                self.offered = true;
                self.refused = None;
            }
            Happening::Refused { reason } => self.refused = Some(reason),
            Happening::File { name, bytes, outcome, .. } => {
                self.last_file = Some((name, *outcome, *bytes));
                match outcome {
                    FileOutcome::Complete => self.last_loaded = Some(name),
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
            | Happening::HomeFull { .. } => {
                self.handed_over = true;
            }
        }
    }

    fn begin_anew(&mut self) {
        let (facts, now) = (std::mem::take(&mut self.facts), self.now);
        *self = Self { facts, now, ..Self::default() };
    }

    fn came_from_rom(&self) -> bool {
        self.rom_asked > 0 || self.last_file.is_some()
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

/// `3 minutes`, `7 hours`, `2 days`.
fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
#[path = "verdicts_tests.rs"]
mod tests;

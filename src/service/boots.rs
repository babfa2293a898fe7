//! One boot of a client, condensed: which steps it reached, when, how long each took, and what it loaded.
//!
//! Follows the events of a client one by one ([`Boots::follow`]) and keeps the last [`limits::BOOTS_KEPT`] boots, so a
//! boot is known as a whole also when its single events have left the ring of the timeline.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::events::{Event, FileOutcome, Happening};
use crate::types::{Moment, Stage, limits};

/// Silence that no boot has: what comes after it is another one.
const PAUSE: Duration = Duration::from_mins(3);

/// How far a boot came, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// The ROM asked for an address.
    Asked,
    /// The ROM was given one.
    Address,
    /// The first file was asked for.
    Files,
    /// The kernel asked for its address, so all files are there.
    Kernel,
    /// The root file system was mounted.
    Root,
    /// The agent was started.
    Agent,
    /// The image's own init was started.
    System,
    /// People can log in.
    Ready,
    /// Somebody logged in for the first time.
    LogIn,
    /// The system ended in good order.
    Off,
}

impl Milestone {
    /// What happened, as a heading.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Asked => "asked for an address",
            Self::Address => "was given an address",
            Self::Files => "asked for the first file",
            Self::Kernel => "kernel running",
            Self::Root => "root mounted",
            Self::Agent => "agent started",
            Self::System => "system starting",
            Self::Ready => "log-in ready",
            Self::LogIn => "first log-in",
            Self::Off => "switched off",
        }
    }
}

/// A milestone and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub step: Milestone,
    pub at: Moment,
    /// Milliseconds since the step before.
    pub took_ms: u64,
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub began_at: Moment,
    pub last_at: Moment,
    /// In the order in which they were reached, each once.
    pub steps: Vec<Step>,
    /// Files loaded over TFTP, and their bytes.
    pub files: u32,
    pub bytes: u64,
    /// Milliseconds spent on them.
    pub files_ms: u64,
    /// Files that were asked for and do not exist; most of them are only looked for.
    pub missing: u32,
    /// Transfers that ended in the middle.
    pub broken: u32,
    /// Why it had nothing to boot, or what the agent could not do.
    pub trouble: Option<String>,
    /// Bytes read from the root file system until then; `None` where it was not counted.
    #[serde(default)]
    pub root_bytes: Option<u64>,
    /// Milliseconds from the first packet to the log-in screen, or to the system where nobody told about the screen.
    pub total_ms: Option<u64>,
}

/// The last boots of one client.
#[derive(Clone, Debug, Default)]
pub struct Boots {
    /// Oldest first; the last one may be under way.
    all: VecDeque<Boot>,
}

impl Boots {
    /// Oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Boot> {
        self.all.iter()
    }

    /// Adds a boot of an earlier run of the daemon behind those that are known.
    pub fn add(&mut self, boot: Boot) {
        if self.all.len() >= limits::BOOTS_KEPT {
            self.all.pop_front();
        }
        self.all.push_back(boot);
    }

    /// The last boot has read so many bytes of its root until now. What it reads after people could log in does not count.
    pub fn read(&mut self, bytes: u64) {
        if let Some(boot) = self.all.back_mut()
            && boot.steps.last().is_some_and(|last| matches!(last.step, Milestone::System | Milestone::Ready))
        {
            boot.root_bytes = Some(bytes);
        }
    }

    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// Takes one event, or its repetition: `event.last_at` is when it happened. Whether a boot reached a step by it.
    pub fn follow(&mut self, event: &Event) -> bool {
        if self.all.back().is_none_or(|boot| boot.is_over_before(event)) {
            // What is said after the end belongs to it; what a running system says by itself begins nothing.
            if !begins(&event.what) {
                return false;
            }
            self.add(Boot::new(event.last_at));
        }
        let Some(boot) = self.all.back_mut() else { return false };
        let steps = boot.steps.len();
        boot.take(event);
        boot.steps.len() > steps
    }
}

/// Whether this can be the first thing heard of a boot.
const fn begins(what: &Happening) -> bool {
    match what {
        Happening::Discover { stage } | Happening::Lease { stage, .. } => !matches!(stage, Stage::System),
        Happening::File { .. }
        | Happening::NothingToBoot { .. }
        | Happening::Unreadable { .. }
        | Happening::Mount { .. } => true,
        _ => false,
    }
}

impl Boot {
    fn new(at: Moment) -> Self {
        Self {
            began_at: at,
            last_at: at,
            steps: Vec::new(),
            files: 0,
            bytes: 0,
            files_ms: 0,
            missing: 0,
            broken: 0,
            trouble: None,
            root_bytes: None,
            total_ms: None,
        }
    }

    pub fn at(&self, step: Milestone) -> Option<Moment> {
        self.steps.iter().find(|reached| reached.step == step).map(|reached| reached.at)
    }

    /// Whether `event` belongs to a later boot. The ROM of a Pi 3 asks for an address twice, and a ROM that finds no file
    /// begins anew again and again: both are one boot.
    fn is_over_before(&self, event: &Event) -> bool {
        let rom = matches!(&event.what, Happening::Discover { stage: Stage::Rom | Stage::Firmware });
        let came_far = self.steps.last().is_some_and(|last| last.step >= Milestone::Kernel);
        let paused = event.last_at.since(self.last_at) >= PAUSE;
        rom && (came_far || paused) || paused && !came_far && begins(&event.what)
    }

    fn take(&mut self, event: &Event) {
        self.last_at = self.last_at.max(event.last_at);
        match &event.what {
            Happening::Discover { stage: Stage::Rom | Stage::Firmware } => {
                self.reach(Milestone::Asked, event);
            }
            Happening::Offer { .. } | Happening::Lease { stage: Stage::Rom | Stage::Firmware, .. }
                if self.at(Milestone::Kernel).is_none() =>
            {
                self.reach(Milestone::Address, event);
            }
            Happening::Discover { stage: Stage::Kernel } | Happening::Lease { stage: Stage::Kernel, .. } => {
                self.reach(Milestone::Kernel, event);
            }
            Happening::File { bytes, took, outcome, .. } => self.file(event, *bytes, *took, *outcome),
            what @ (Happening::NothingToBoot { .. } | Happening::Unreadable { .. }) => {
                self.trouble.get_or_insert_with(|| what.to_string());
            }
            Happening::Mount { .. } => self.reach(Milestone::Root, event),
            Happening::Agent { phase, message } => self.agent(event, phase, message),
            Happening::LoggedIn { .. } => self.reach(Milestone::LogIn, event),
            _ => {}
        }
    }

    fn file(&mut self, event: &Event, bytes: u64, took: Duration, outcome: FileOutcome) {
        self.reach(Milestone::Files, event);
        match outcome {
            FileOutcome::Complete => {
                self.files = self.files.saturating_add(1);
                self.bytes = self.bytes.saturating_add(bytes);
                self.files_ms =
                    self.files_ms.saturating_add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            }
            FileOutcome::Missing => self.missing = self.missing.saturating_add(1),
            FileOutcome::Silent | FileOutcome::Refused => self.broken = self.broken.saturating_add(1),
            FileOutcome::Probe => {}
        }
    }

    fn agent(&mut self, event: &Event, phase: &str, message: &str) {
        match phase {
            "started" => self.reach(Milestone::Agent, event),
            "handover" => {
                self.reach(Milestone::System, event);
                self.total_ms = Some(millis(event.last_at.since(self.began_at)));
            }
            "ready" if self.at(Milestone::Ready).is_none() => {
                self.reach(Milestone::Ready, event);
                self.total_ms = Some(millis(event.last_at.since(self.began_at)));
            }
            "off" => self.reach(Milestone::Off, event),
            "trouble" | "failed" => {
                self.trouble.get_or_insert_with(|| message.to_owned());
            }
            _ => {}
        }
    }

    fn reach(&mut self, step: Milestone, event: &Event) {
        if self.at(step).is_some() {
            return;
        }
        let before = self.steps.last().map_or(self.began_at, |last| last.at);
        self.steps.push(Step { step, at: event.last_at, took_ms: millis(event.last_at.since(before)) });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A room's last boots in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomBoots {
    /// Clients whose last boot got all the way.
    pub booted: usize,
    /// From the first packet of the first to the log-in screen of the last, if they began within ten minutes.
    pub together_ms: Option<u64>,
    pub median_ms: Option<u64>,
    pub slowest_ms: Option<u64>,
    /// Bytes loaded over TFTP, over all of them.
    pub bytes: u64,
}

/// Boots that began further apart were not switched on together.
const TOGETHER: Duration = Duration::from_mins(10);

/// Adds up the last boots of the clients of a room; gives the index of the slowest too.
pub fn of_room<'a>(last: impl Iterator<Item = &'a Boot>) -> (RoomBoots, Option<usize>) {
    let done: Vec<(usize, &Boot, u64)> =
        last.enumerate().filter_map(|(index, boot)| Some((index, boot, boot.total_ms?))).collect();
    let mut times: Vec<u64> = done.iter().map(|(_, _, total)| *total).collect();
    times.sort_unstable();
    let began = |pick: fn(std::vec::IntoIter<Moment>) -> Option<Moment>| {
        pick(done.iter().map(|(_, boot, _)| boot.began_at).collect::<Vec<_>>().into_iter())
    };
    let together_ms = match (began(Iterator::min), began(Iterator::max)) {
        (Some(first), Some(last)) if last.since(first) <= TOGETHER => {
            let end =
                done.iter().map(|(_, boot, total)| boot.began_at.plus(Duration::from_millis(*total))).max();
            end.map(|end| millis(end.since(first)))
        }
        _ => None,
    };
    let room = RoomBoots {
        booted: done.len(),
        together_ms,
        median_ms: times.get(times.len() / 2).copied(),
        slowest_ms: times.last().copied(),
        bytes: done.iter().map(|(_, boot, _)| boot.bytes).fold(0, u64::saturating_add),
    };
    let slowest = done.iter().max_by_key(|(_, _, total)| *total).map(|(index, _, _)| *index);
    (room, slowest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ImageVersion, SessionId, SessionKind, Version};
    use std::net::Ipv4Addr;

    const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);

    fn event(millis: i64, what: Happening) -> Event {
        let at = Moment::from_millis(millis);
        Event { at, last_at: at, times: 1, what }
    }

    fn file(outcome: FileOutcome) -> Happening {
        Happening::File {
            name: "kernel8.img".to_owned(),
            bytes: 1000,
            took: Duration::from_millis(50),
            outcome,
        }
    }

    fn agent(phase: &str) -> Happening {
        Happening::Agent { phase: phase.to_owned(), message: "words".to_owned() }
    }

    /// A Pi 3, whose second loader asks for an address too.
    fn boot(begin: i64) -> Vec<Event> {
        let image = ImageVersion { name: "trixie".parse().expect("a name"), version: Version::FIRST };
        let session = SessionId(1);
        let user = "anna".parse().expect("a name");
        vec![
            event(begin, Happening::Discover { stage: Stage::Rom }),
            event(begin + 1000, Happening::Offer { ip: IP }),
            event(begin + 1500, file(FileOutcome::Complete)),
            event(begin + 1600, file(FileOutcome::Missing)),
            event(begin + 2000, Happening::Discover { stage: Stage::Rom }),
            event(begin + 2100, Happening::Lease { ip: IP, stage: Stage::Rom }),
            event(begin + 4000, file(FileOutcome::Complete)),
            event(begin + 9000, Happening::Discover { stage: Stage::Kernel }),
            event(begin + 9100, Happening::Lease { ip: IP, stage: Stage::Kernel }),
            event(begin + 9500, Happening::Mount { image }),
            event(begin + 10_000, agent("started")),
            event(begin + 12_000, agent("handover")),
            event(begin + 30_000, agent("ready")),
            event(begin + 60_000, Happening::LoggedIn { user, session, on: SessionKind::Console }),
            event(begin + 600_000, agent("off")),
        ]
    }

    #[test]
    fn a_boot_is_condensed_to_its_steps() {
        let mut boots = Boots::default();
        for event in boot(0) {
            boots.follow(&event);
        }
        let all: Vec<&Boot> = boots.all().collect();
        assert_eq!(all.len(), 1, "the second loader of a Pi 3 begins no other boot");
        let steps: Vec<(Milestone, u64)> =
            all[0].steps.iter().map(|step| (step.step, step.took_ms)).collect();
        assert_eq!(
            steps,
            [
                (Milestone::Asked, 0),
                (Milestone::Address, 1000),
                (Milestone::Files, 500),
                (Milestone::Kernel, 7500),
                (Milestone::Root, 500),
                (Milestone::Agent, 500),
                (Milestone::System, 2000),
                (Milestone::Ready, 18_000),
                (Milestone::LogIn, 30_000),
                (Milestone::Off, 540_000),
            ]
        );
        assert_eq!((all[0].files, all[0].bytes, all[0].missing, all[0].total_ms), (2, 2000, 1, Some(30_000)));
    }

    #[test]
    fn the_last_boots_are_kept_and_no_more() {
        let mut boots = Boots::default();
        let days = i64::try_from(limits::BOOTS_KEPT).expect("small") + 3;
        for day in 0..days {
            for event in boot(day * 86_400_000) {
                boots.follow(&event);
            }
        }
        assert_eq!(boots.all().count(), limits::BOOTS_KEPT);
        assert_eq!(
            boots.all().last().map(|boot| boot.began_at),
            Some(Moment::from_millis((days - 1) * 86_400_000))
        );
    }

    #[test]
    fn a_rom_that_begins_anew_is_one_boot_until_it_pauses() {
        let mut boots = Boots::default();
        for n in 0..20 {
            boots.follow(&event(n * 10_000, Happening::Discover { stage: Stage::Rom }));
            boots.follow(&event(n * 10_000 + 100, file(FileOutcome::Missing)));
        }
        assert_eq!(boots.all().count(), 1);
        assert_eq!(boots.all().next().expect("one").missing, 20);
        boots.follow(&event(600_000, Happening::Discover { stage: Stage::Rom }));
        assert_eq!(boots.all().count(), 2);
        let nothing = Happening::NothingToBoot { reason: "no image is assigned to it".to_owned() };
        boots.follow(&event(601_000, nothing));
        let troubles: Vec<_> = boots.all().map(|boot| boot.trouble.as_deref()).collect();
        assert_eq!(troubles, [None, Some("nothing to boot: no image is assigned to it")]);
        let mut idle = Boots::default();
        idle.follow(&event(0, Happening::Lease { ip: IP, stage: Stage::System }));
        idle.follow(&event(0, agent("trouble")));
        assert_eq!(idle.all().count(), 0, "a running system boots nothing");
    }

    #[test]
    fn a_room_is_as_slow_as_its_slowest() {
        let of = |begin: i64, total: i64| Boot {
            total_ms: u64::try_from(total).ok(),
            bytes: 10,
            ..Boot::new(Moment::from_millis(begin))
        };
        let boots = [of(0, 30_000), of(1000, 50_000), of(2000, -1), of(500, 20_000)];
        let (room, slowest) = of_room(boots.iter());
        assert_eq!(
            (room.booted, room.median_ms, room.slowest_ms, room.together_ms, room.bytes, slowest),
            (3, Some(30_000), Some(50_000), Some(51_000), 30, Some(1))
        );
        let apart = [of(0, 30_000), of(3_600_000, 30_000)];
        assert_eq!(of_room(apart.iter()).0.together_ms, None);
        assert_eq!(of_room([].iter()), (RoomBoots::default(), None));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever a client does in whatever order, what is kept is bounded and steps are reached once.
        #[test]
        fn any_timeline_is_condensed(kinds in proptest::collection::vec((0usize..15, 0i64..400_000), 0..200)) {
            let whats: Vec<Happening> = boot(0).into_iter().map(|event| event.what).collect();
            let mut boots = Boots::default();
            let mut now = 0;
            for (kind, pause) in kinds {
                now += pause;
                boots.follow(&event(now, whats[kind].clone()));
            }
            proptest::prop_assert!(boots.all().count() <= limits::BOOTS_KEPT);
            for boot in boots.all() {
                let mut seen: Vec<Milestone> = boot.steps.iter().map(|step| step.step).collect();
                seen.sort_unstable();
                seen.dedup();
                proptest::prop_assert_eq!(seen.len(), boot.steps.len());
                proptest::prop_assert!(boot.began_at <= boot.last_at);
            }
        }
    }
}

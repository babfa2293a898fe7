//! What a client's timeline means: one word, since when, and why, in plain words.
//!
//! Pure: the timeline, a few facts and the time in, a [`State`] out. The boot is followed event by event; then silence
//! is judged: a step that takes much longer than it ever should is "stuck", with the most likely reason and what to do,
//! and a machine that has said nothing for a long time before it was up is "off".
//!
//! Reports and what a ROM says come in datagrams, which can be sent in another's name; an agent's channel cannot be spoken into.
//! So what the agent belies is not [believed].
//!
//! Nothing here is stored: the timeline is the fact, this is its reading.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::events::{Event, FileOutcome, Happening, Link};
use super::room::agents::Presence;
use crate::types::{ImageRef, Moment, SessionId, Stage, UserName};

/// Silence in one step of a boot that is worth a person's look. A Pi asks again for an address every few seconds, a
/// kernel needs some ten seconds from its last file to its first packet, and no step pauses for a minute.
const PATIENCE: Duration = Duration::from_mins(1);

/// Silence after which a machine that was not up has been switched off, or taken its system from elsewhere.
const OFF_AFTER: Duration = Duration::from_mins(15);

/// A client that is up and idle closes its connection after five minutes and opens it again when it next needs a file,
/// which on an idle desktop is some minutes later.
const IDLE: Duration = Duration::from_mins(15);

/// How long the agent of a client that has closed its root may be gone: it comes back within seconds if it can. What was
/// cut off from its power is noticed by its connections within two minutes.
const GONE: Duration = Duration::from_secs(90);

/// Where a client is on its way from power-on to a running system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Has shown itself, and nobody has adopted it.
    New,
    Off,
    /// Asks for an address.
    Address,
    /// Loads its firmware and kernel over TFTP.
    Firmware,
    /// The kernel runs and looks for its root file system.
    Kernel,
    /// Has its root; the agent prepares it.
    Starting,
    Up,
    /// Runs a system that it did not get from here.
    Elsewhere,
    Stuck,
}

impl Word {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Off => "off",
            Self::Address => "address",
            Self::Firmware => "firmware",
            Self::Kernel => "kernel",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Elsewhere => "elsewhere",
            Self::Stuck => "stuck",
        }
    }
}

/// What a client is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub word: Word,
    /// `None` for a client that was never heard from.
    pub since: Option<Moment>,
    /// A plain sentence without a full stop.
    pub says: String,
}

/// What besides the timeline a reading depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub adopted: bool,
    /// What it is to boot.
    pub image: Option<ImageRef>,
    /// Whether there is such an image.
    pub image_exists: bool,
    pub link: Link,
    pub agent: Presence,
}

/// How far the events lead, before silence is judged.
#[derive(Clone, Debug)]
struct Progress {
    word: Word,
    since: Option<Moment>,
    last: Option<Moment>,
    says: String,
    /// The last file of this boot, and whether any was asked for.
    file: Option<(String, FileOutcome)>,
    /// There was nothing for it when it last asked for a file.
    found_nothing: bool,
    /// What the agent could not do in this boot.
    trouble: Option<String>,
    /// Who is logged in.
    people: Vec<(SessionId, UserName)>,
}

/// Of a timeline what is not belied by the client's agent: that the system ended or begins, while the agent was connected
/// and was heard of afterwards.
pub fn believed(mut events: Vec<Event>, agent: Presence) -> Vec<Event> {
    if let Presence::Here { since, heard } = agent {
        let meanwhile = |event: &Event| since < event.last_at && event.last_at < heard;
        events.retain(|event| !(meanwhile(event) && is_of_a_start(&event.what)));
    }
    events
}

/// Whether no system says this that has been started.
fn is_of_a_start(what: &Happening) -> bool {
    match what {
        Happening::Discover { stage } | Happening::Lease { stage, .. } => *stage != Stage::System,
        Happening::Refused { .. } | Happening::NothingToBoot { .. } | Happening::Unreadable { .. } => true,
        Happening::Agent { phase, .. } => !matches!(phase.as_str(), "ready" | "trouble"),
        _ => false,
    }
}

/// Reads a timeline, oldest event first.
pub fn read(facts: &Facts, events: &[Event], now: Moment) -> State {
    let mut progress = Progress {
        word: Word::Off,
        since: None,
        last: None,
        says: "never heard from".to_owned(),
        file: None,
        found_nothing: false,
        trouble: None,
        people: Vec::new(),
    };
    for event in events {
        progress.follow(event);
    }
    let Progress { word, since, last, says, .. } = progress.clone();
    let silent = last.map_or(Duration::ZERO, |last| now.since(last));
    let state = |word, since, says| State { word, since, says };
    match word {
        Word::Up => up(facts, since, says, now),
        Word::Elsewhere | Word::Off => state(word, since, says),
        _ if silent >= OFF_AFTER && facts.link.open == 0 => {
            state(Word::Off, last, format!("silent; last heard of: {says}"))
        }
        _ if !facts.adopted => state(
            Word::New,
            since,
            format!("{says}; nobody has adopted it, and it boots nothing before that"),
        ),
        Word::Firmware if facts.image.is_none() => state(
            Word::Stuck,
            since,
            "it has no image to boot; give one to it or to its room with `option image`".to_owned(),
        ),
        Word::Firmware if !facts.image_exists => {
            let image = facts.image.as_ref().map(ToString::to_string).unwrap_or_default();
            state(
                Word::Stuck,
                since,
                format!(
                    "its image `{image}` does not exist; import it, or choose one of `bramble image list`"
                ),
            )
        }
        Word::Firmware if progress.found_nothing => state(
            Word::Off,
            since,
            "found nothing to boot when it was switched on; switch it off and on, it has an image now"
                .to_owned(),
        ),
        Word::Stuck => state(word, since, says),
        _ if silent >= PATIENCE => state(Word::Stuck, last, progress.stuck()),
        _ => state(word, since, says),
    }
}

fn up(facts: &Facts, since: Option<Moment>, says: String, now: Moment) -> State {
    let off = |since, says: &str| State { word: Word::Off, since: Some(since), says: says.to_owned() };
    let Facts { link, agent, .. } = facts;
    match (*agent, link.since) {
        // An idle client closes its root, and its agent stays.
        _ if link.open > 0 || matches!(agent, Presence::Here { .. }) => State { word: Word::Up, since, says },
        (Presence::Gone { since: gone }, closed)
            if now.since(gone) >= GONE && since.is_none_or(|since| gone >= since) =>
        {
            let since = closed.map_or(gone, |closed| gone.max(closed));
            off(since, "went without a word; it lost its power or its network")
        }
        (_, Some(closed)) if now.since(closed) >= IDLE => {
            off(closed, "closed its root file system and did not come back; it is switched off, or asleep")
        }
        _ => State { word: Word::Up, since, says },
    }
}

impl Progress {
    fn follow(&mut self, event: &Event) {
        self.last = Some(event.last_at);
        let booted = matches!(self.word, Word::Starting | Word::Up);
        match &event.what {
            Happening::Discover { stage: Stage::Rom | Stage::Firmware } => {
                self.file = None;
                self.people.clear();
                self.enter(Word::Address, event, "asks for an address");
            }
            Happening::Discover { stage: Stage::Kernel } => {
                self.enter(Word::Kernel, event, "the kernel runs and asks for its address");
            }
            Happening::Discover { stage: Stage::System } if booted => {}
            Happening::Discover { stage: Stage::System } => {
                self.enter(Word::Address, event, "a running system asks for an address");
            }
            Happening::Offer { ip } if !booted => self.stay(event, format!("was offered {ip}")),
            Happening::Offer { .. }
            | Happening::LoginRefused { .. }
            | Happening::HomeFull { .. }
            | Happening::ScreenSeen { .. }
            | Happening::ScreenLeft { .. } => {}
            Happening::Lease { ip, stage: Stage::Rom | Stage::Firmware } => {
                self.file = None;
                self.enter(
                    Word::Firmware,
                    event,
                    &format!("has address {ip} and is about to load its files"),
                );
            }
            Happening::Lease { ip, stage: Stage::Kernel } => {
                self.enter(
                    Word::Kernel,
                    event,
                    &format!("the kernel has address {ip} and is about to mount its root"),
                );
            }
            Happening::Lease { .. } if booted => {}
            Happening::Lease { ip, stage: Stage::System } => {
                self.enter(Word::Elsewhere, event, &format!("runs a system of its own at {ip}"));
            }
            Happening::Refused { reason } => {
                self.enter(Word::Stuck, event, &format!("got no address: {reason}"));
            }
            Happening::NothingToBoot { .. } => {
                self.enter(Word::Firmware, event, "found nothing to boot");
                self.found_nothing = true;
            }
            Happening::Unreadable { reason } => self.enter(Word::Stuck, event, reason),
            Happening::File { name, outcome, .. } => {
                self.file = Some((name.clone(), *outcome));
                // An offer is enough for the ROM of a Pi 3: its first file may be the first thing after it.
                if !booted {
                    self.enter(Word::Firmware, event, &format!("loads its files, the last one `{name}`"));
                }
            }
            Happening::Mount { image } => {
                self.trouble = None;
                self.people.clear();
                self.enter(Word::Starting, event, &format!("mounted {image} and starts"));
            }
            Happening::Agent { phase, message } => self.agent(event, phase, message),
            Happening::LoggedIn { user, session, .. } => {
                self.people.push((*session, user.clone()));
                self.occupied(event);
            }
            Happening::LoggedOut { session, .. } => {
                self.people.retain(|(open, _)| open != session);
                self.occupied(event);
            }
        }
    }

    /// A client that somebody logs in at is up, and what is worth saying of it is who.
    fn occupied(&mut self, event: &Event) {
        let mut names: Vec<&str> = self.people.iter().map(|(_, user)| user.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        match names.as_slice() {
            [] if self.word == Word::Up => self.enter(Word::Up, event, "runs"),
            [] => {}
            names => {
                let says = format!("{} logged in", names.join(", "));
                self.enter(Word::Up, event, &says);
            }
        }
    }

    fn agent(&mut self, event: &Event, phase: &str, message: &str) {
        match phase {
            "handover" => {
                let says =
                    self.trouble.take().map_or("runs".to_owned(), |trouble| format!("runs, but: {trouble}"));
                self.enter(Word::Up, event, &says);
            }
            // It may have said before that something does not work.
            "ready" if self.word == Word::Up => {}
            "ready" => self.enter(Word::Up, event, "runs"),
            "off" => self.enter(Word::Off, event, message),
            "failed" => self.enter(Word::Stuck, event, &format!("the agent gave up: {message}")),
            // A client that is up, or off, does not start again because something did not work.
            "trouble" if self.word == Word::Up => {
                self.enter(Word::Up, event, &format!("runs, but: {message}"));
            }
            "trouble" if self.word == Word::Off && self.since.is_some() => {
                self.enter(Word::Off, event, &format!("off, but: {message}"));
            }
            "trouble" => {
                self.enter(Word::Starting, event, &format!("goes on, but: {message}"));
                self.trouble = Some(message.to_owned());
            }
            _ => self.enter(Word::Starting, event, "has its root and prepares it"),
        }
    }

    /// Goes to `word`; a step that was already reached keeps its time.
    fn enter(&mut self, word: Word, event: &Event, says: &str) {
        self.found_nothing = false;
        if self.word != word || self.since.is_none() {
            self.since = Some(event.at);
        }
        self.word = word;
        says.clone_into(&mut self.says);
    }

    /// The same step, with more to say about it.
    fn stay(&mut self, event: &Event, says: String) {
        self.since = self.since.or(Some(event.at));
        if self.word == Word::Off {
            self.word = Word::Address;
        }
        self.says = says;
    }

    /// Why a step that went silent probably did, and what to do.
    fn stuck(&self) -> String {
        match (self.word, &self.file) {
            (Word::Address, _) => {
                "asked for an address and then fell silent; look at the cable, the switch and other DHCP servers"
                    .to_owned()
            }
            (Word::Firmware, None) => {
                "has an address and asks for no file; look for a firewall on UDP port 69, or a Pi that is not set to \
                 boot from the network"
                    .to_owned()
            }
            (Word::Firmware, Some((name, FileOutcome::Silent))) => {
                format!("stopped answering while loading `{name}`; look at the cable and the power supply")
            }
            (Word::Firmware, Some((name, FileOutcome::Missing))) => {
                format!("its last request was `{name}`, which its image does not have; is the image made for this model?")
            }
            (Word::Firmware, Some((name, _))) => {
                format!("loaded `{name}` and then fell silent; its screen shows how far it came")
            }
            (Word::Kernel, _) => {
                "the kernel runs and did not mount its root; its screen shows the reason, often a kernel without NFS"
                    .to_owned()
            }
            (Word::Starting, _) => {
                "mounted its root and its agent fell silent; its screen shows the reason".to_owned()
            }
            _ => self.says.clone(),
        }
    }
}

#[cfg(test)]
mod tests;

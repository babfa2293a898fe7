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
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::types::{ImageVersion, Version};

    const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);

    fn facts() -> Facts {
        Facts {
            adopted: true,
            image: Some("trixie".parse().expect("image")),
            image_exists: true,
            link: Link::default(),
            agent: Presence::Unknown,
        }
    }

    /// Events a second apart, the first at second 100.
    fn timeline(happenings: &[Happening]) -> Vec<Event> {
        (100..)
            .zip(happenings)
            .map(|(secs, what)| {
                let at = Moment::from_secs(secs);
                Event { at, last_at: at, times: 1, what: what.clone() }
            })
            .collect()
    }

    /// The reading `later` seconds after the last event.
    fn at(facts: &Facts, happenings: &[Happening], later: u64) -> State {
        let events = timeline(happenings);
        let last = events.last().map_or(Moment::from_secs(100), |event| event.at);
        read(facts, &events, last.plus(Duration::from_secs(later)))
    }

    fn discover(stage: Stage) -> Happening {
        Happening::Discover { stage }
    }

    fn lease(stage: Stage) -> Happening {
        Happening::Lease { ip: IP, stage }
    }

    fn file(name: &str, outcome: FileOutcome) -> Happening {
        Happening::File { name: name.to_owned(), bytes: 1, took: Duration::ZERO, outcome }
    }

    fn mount() -> Happening {
        let version = Version(3.try_into().expect("not zero"));
        Happening::Mount { image: ImageVersion { name: "trixie".parse().expect("image"), version } }
    }

    fn agent(phase: &str, message: &str) -> Happening {
        Happening::Agent { phase: phase.to_owned(), message: message.to_owned() }
    }

    /// A whole boot of a Pi, event by event, and what the table shows after each.
    fn boot() -> Vec<(Happening, Word)> {
        vec![
            (discover(Stage::Rom), Word::Address),
            (Happening::Offer { ip: IP }, Word::Address),
            (lease(Stage::Rom), Word::Firmware),
            (file("start4.elf", FileOutcome::Complete), Word::Firmware),
            (file("recovery.elf", FileOutcome::Missing), Word::Firmware),
            (file("kernel8.img", FileOutcome::Complete), Word::Firmware),
            (discover(Stage::Kernel), Word::Kernel),
            (lease(Stage::Kernel), Word::Kernel),
            (mount(), Word::Starting),
            (agent("started", "the agent runs"), Word::Starting),
            (agent("root", "the root is writable"), Word::Starting),
            (agent("handover", "hands over to /sbin/init"), Word::Up),
            (discover(Stage::System), Word::Up),
            (lease(Stage::System), Word::Up),
        ]
    }

    #[test]
    fn every_step_of_a_boot_has_its_word() {
        let mut so_far = Vec::new();
        for (what, word) in boot() {
            so_far.push(what.clone());
            assert_eq!(at(&facts(), &so_far, 0).word, word, "{what:?}");
        }
        so_far.push(discover(Stage::Rom));
        assert_eq!(at(&facts(), &so_far, 0).word, Word::Address, "it was switched off and on");
    }

    #[test]
    fn a_step_began_when_it_was_entered() {
        let happenings: Vec<Happening> = boot().into_iter().map(|(what, _)| what).take(6).collect();
        let state = at(&facts(), &happenings, 0);
        assert_eq!((state.word, state.since), (Word::Firmware, Some(Moment::from_secs(102))));
        assert_eq!(state.says, "loads its files, the last one `kernel8.img`");
    }

    #[test]
    #[rustfmt::skip]
    fn silence_is_judged_by_the_step_it_fell_in() {
        let rows: &[(&[Happening], u64, Word, &str)] = &[
            (&[], 9999, Word::Off, "never heard from"),
            (&[discover(Stage::Rom)], 59, Word::Address, "asks for an address"),
            (&[discover(Stage::Rom)], 60, Word::Stuck, "asked for an address and then fell silent; look at the cable, the switch and other DHCP servers"),
            (&[discover(Stage::Rom)], 900, Word::Off, "silent; last heard of: asks for an address"),
            (&[lease(Stage::Rom)], 60, Word::Stuck, "has an address and asks for no file; look for a firewall on UDP port 69, or a Pi that is not set to boot from the network"),
            (&[file("start.elf", FileOutcome::Silent)], 60, Word::Stuck, "stopped answering while loading `start.elf`; look at the cable and the power supply"),
            (&[file("kernel8.img", FileOutcome::Missing)], 60, Word::Stuck, "its last request was `kernel8.img`, which its image does not have; is the image made for this model?"),
            (&[file("kernel8.img", FileOutcome::Complete)], 60, Word::Stuck, "loaded `kernel8.img` and then fell silent; its screen shows how far it came"),
            (&[lease(Stage::Kernel)], 60, Word::Stuck, "the kernel runs and did not mount its root; its screen shows the reason, often a kernel without NFS"),
            (&[mount()], 60, Word::Stuck, "mounted its root and its agent fell silent; its screen shows the reason"),
            (&[mount(), agent("failed", "there is no /sbin/init")], 0, Word::Stuck, "the agent gave up: there is no /sbin/init"),
            (&[agent("trouble", "no time zone `Mars`")], 0, Word::Starting, "goes on, but: no time zone `Mars`"),
            (&[agent("trouble", "no time zone `Mars`"), agent("handover", "")], 0, Word::Up, "runs, but: no time zone `Mars`"),
            (&[Happening::Refused { reason: "the pool is full".to_owned() }], 0, Word::Stuck, "got no address: the pool is full"),
            (&[lease(Stage::System)], 9999, Word::Elsewhere, "runs a system of its own at 192.168.77.100"),
            (&[agent("handover", "")], 99_999, Word::Up, "runs"),
            (&[agent("handover", ""), agent("off", "the system has ended; switching off")], 99_999, Word::Off, "the system has ended; switching off"),
            (&[agent("handover", ""), agent("trouble", "the root is busy")], 0, Word::Up, "runs, but: the root is busy"),
            (&[agent("handover", ""), agent("trouble", "the root is busy"), agent("off", "the system has ended")], 0, Word::Off, "the system has ended"),
            // Datagrams may change places on their way.
            (&[agent("handover", ""), agent("off", "the system has ended"), agent("trouble", "the root is busy")], 0, Word::Off, "off, but: the root is busy"),
        ];
        for (happenings, later, word, says) in rows {
            let state = at(&facts(), happenings, *later);
            assert_eq!((state.word, state.says.as_str()), (*word, *says), "{happenings:?} {later} s later");
        }
    }

    #[test]
    fn what_is_missing_for_a_boot_is_said_before_it_is_waited_for() {
        let events = [lease(Stage::Rom)];
        let state = at(&Facts { adopted: false, image: None, ..facts() }, &events, 0);
        assert_eq!(state.word, Word::New);
        assert_eq!(
            state.says,
            "has address 192.168.77.100 and is about to load its files; nobody has adopted it, and it boots nothing before that"
        );
        let state = at(&Facts { image: None, ..facts() }, &events, 0);
        assert_eq!(
            (state.word, state.says.as_str()),
            (Word::Stuck, "it has no image to boot; give one to it or to its room with `option image`")
        );
        let state = at(&Facts { image_exists: false, ..facts() }, &events, 0);
        assert_eq!(
            (state.word, state.says.as_str()),
            (
                Word::Stuck,
                "its image `trixie` does not exist; import it, or choose one of `bramble image list`"
            )
        );
    }

    #[test]
    fn who_was_adopted_just_now_is_not_in_trouble_for_what_was_missing_before() {
        let events =
            [lease(Stage::Rom), Happening::NothingToBoot { reason: "no image is assigned to it".to_owned() }];
        let stranger = at(&Facts { adopted: false, image: None, image_exists: false, ..facts() }, &events, 0);
        assert_eq!(stranger.word, Word::New);
        let without = at(&Facts { image: None, image_exists: false, ..facts() }, &events, 0);
        assert_eq!(
            (without.word, without.says.as_str()),
            (Word::Stuck, "it has no image to boot; give one to it or to its room with `option image`")
        );
        let adopted = at(&facts(), &events, 0);
        assert_eq!(
            (adopted.word, adopted.says.as_str()),
            (
                Word::Off,
                "found nothing to boot when it was switched on; switch it off and on, it has an image now"
            )
        );
    }

    #[test]
    fn a_client_that_went_without_a_word_is_off_soon() {
        let (closed, gone) = (Some(Moment::from_secs(200)), Presence::Gone { since: Moment::from_secs(150) });
        let state = |link, agent, later| at(&Facts { link, agent, ..facts() }, &[agent_up()], later);
        let open = Link { open: 1, since: closed };
        let link = Link { open: 0, since: closed };
        assert_eq!(state(open, gone, 9999).word, Word::Up, "it reads its files");
        assert_eq!(state(link, gone, 139).word, Word::Up, "an agent may come back");
        let off = state(link, gone, 140);
        assert_eq!((off.word, off.since), (Word::Off, closed));
        assert_eq!(off.says, "went without a word; it lost its power or its network");
        let here = Presence::Here { since: Moment::from_secs(90), heard: Moment::from_secs(95) };
        assert_eq!(state(link, here, 99_999).word, Word::Up, "idle, and its agent says so");
        let before = Presence::Gone { since: Moment::from_secs(99) };
        assert_eq!(state(link, before, 300).word, Word::Up, "that was the start before");
    }

    fn agent_up() -> Happening {
        agent("handover", "")
    }

    #[test]
    fn nobody_speaks_for_a_client_whose_agent_is_there() {
        let false_words = [
            agent("off", "switching off"),
            agent("failed", "no disk"),
            discover(Stage::Rom),
            lease(Stage::Kernel),
            Happening::Refused { reason: "the pool is full".to_owned() },
        ];
        // Second 100: up. 101: its agent connects. 102 on: what somebody else says.
        let all = timeline(&[[agent_up(), agent("ready", "")].as_slice(), &false_words].concat());
        let heard = |secs| Presence::Here { since: Moment::from_secs(101), heard: Moment::from_secs(secs) };
        let word = |agent| {
            let facts = Facts { agent, ..facts() };
            read(&facts, &believed(all.clone(), agent), Moment::from_secs(110)).word
        };
        assert_eq!(word(heard(120)), Word::Up);
        assert_eq!(word(heard(101)), Word::Stuck, "the agent has said nothing since: it may be true");
        assert_eq!(word(Presence::Gone { since: Moment::from_secs(103) }), Word::Stuck);
        let trouble = timeline(&[agent_up(), agent("ready", ""), agent("trouble", "no sound")]);
        assert_eq!(believed(trouble.clone(), heard(120)), trouble);
        let boot: Vec<Happening> = boot().into_iter().map(|(what, _)| what).collect();
        let late = Presence::Here { since: Moment::from_secs(400), heard: Moment::from_secs(500) };
        assert_eq!(believed(timeline(&boot), late), timeline(&boot), "what was before it came");
    }

    /// The last report of all may be lost: what came before it must not make a client start for ever.
    #[test]
    fn trouble_at_power_off_does_not_hide_the_end() {
        let facts = Facts { link: Link { open: 0, since: Some(Moment::from_secs(100)) }, ..facts() };
        let events = [agent("handover", ""), agent("trouble", "the root is busy")];
        assert_eq!(at(&facts, &events, 10).word, Word::Up);
        assert_eq!(at(&facts, &events, 900).word, Word::Off);
    }

    #[test]
    fn a_client_that_is_up_is_off_when_its_root_stays_closed() {
        let since = Some(Moment::from_secs(100));
        let mut facts = facts();
        let word = |facts: &Facts, later| at(facts, &[agent("handover", "")], later).word;
        facts.link = Link { open: 1, since };
        assert_eq!(word(&facts, 99_999), Word::Up);
        facts.link = Link { open: 0, since };
        assert_eq!(word(&facts, 899), Word::Up, "an idle client closes its connection too");
        assert_eq!(word(&facts, 900), Word::Off);
    }
}

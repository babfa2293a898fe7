//! The boot timeline of every client: what it asked for, what it got, and when.
//!
//! The last events of each client are kept in memory in a ring of fixed size; what repeats itself is counted, not
//! listed. Milestones of adopted clients also go to the store, in batches, so that a restart of the daemon does not
//! forget who is up. Strangers get a few rings and no rows: an invented hardware address costs nothing that lasts.
//!
//! What a timeline *means* is decided by [`super::state`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::boots::{Boot, Boots};
use crate::store::events::EventRow;
use crate::store::{Store, StoreError};
pub use crate::types::Stage;
use crate::types::{ByteSize, ImageVersion, MacAddr, Moment, SessionId, SessionKind, UserName, limits};

/// One thing that happened on a client's way from power-on to log-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// DHCPDISCOVER or BOOTP request; `stage` says which of the up to four DHCP clients of one boot this is.
    Discover {
        stage: Stage,
    },
    Offer {
        ip: Ipv4Addr,
    },
    /// DHCPACK.
    Lease {
        ip: Ipv4Addr,
        stage: Stage,
    },
    /// DHCPNAK or silence, with the reason.
    Refused {
        reason: String,
    },
    /// A file over TFTP, ended. `probe`: the client only tested whether it exists.
    File {
        name: String,
        bytes: u64,
        #[serde(rename = "ms", with = "millis")]
        took: Duration,
        outcome: FileOutcome,
    },
    /// The root file system was asked for (MOUNT).
    Mount {
        image: ImageVersion,
    },
    /// The agent reported.
    Agent {
        phase: String,
        message: String,
    },
    /// Somebody logged in.
    LoggedIn {
        user: UserName,
        session: SessionId,
        on: SessionKind,
    },
    LoggedOut {
        user: UserName,
        session: SessionId,
        why: String,
    },
    /// Somebody was not let in, and was told why.
    LoginRefused {
        user: UserName,
        why: String,
    },
    /// Somebody who is logged in could not save something: there is no room left.
    HomeFull {
        user: UserName,
    },
    /// A teacher looks at the screen.
    ScreenSeen {
        from: Ipv4Addr,
    },
    ScreenLeft {
        from: Ipv4Addr,
        why: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOutcome {
    Complete,
    Missing,
    Probe,
    Silent,
    Refused,
}

/// A [`Happening`] with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: Moment,
    /// When it happened last, if it repeated itself with nothing in between; else `at`.
    pub last_at: Moment,
    pub times: u32,
    #[serde(flatten)]
    pub what: Happening,
}

/// Whether a client has its root file system open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Connections to the NFS server.
    pub open: u32,
    /// When the number of connections last changed to or from zero.
    pub since: Option<Moment>,
}

/// The timelines of all clients.
#[derive(Debug, Default)]
pub struct Events {
    inner: Mutex<Inner>,
    /// A milestone waits to be stored.
    changed: Notify,
    /// Told of everything that happens.
    stirred: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    rings: HashMap<MacAddr, Ring>,
    adopted: HashSet<MacAddr>,
    /// Milestones not stored yet, oldest first.
    pending: VecDeque<(MacAddr, Event)>,
}

#[derive(Debug, Default)]
struct Ring {
    events: Box<heapless::Deque<Event, { limits::TIMELINE }>>,
    boots: Boots,
    link: Link,
}

impl Events {
    /// Timelines as the last run of the daemon stored them.
    pub fn load(store: &Store) -> Result<Self, StoreError> {
        let events = Self::default();
        let mut inner = events.lock();
        for row in store.events()? {
            // A row of a later or earlier version that says something else is no reason not to start.
            if let Ok(event) = serde_json::from_str(&row.detail) {
                let ring = inner.ring(row.client);
                ring.boots.follow(&event);
                ring.push(event);
            }
        }
        drop(inner);
        Ok(events)
    }

    /// Whose milestones are stored, and whose timelines no stranger can displace.
    pub fn set_adopted(&self, adopted: HashSet<MacAddr>) {
        self.lock().adopted = adopted;
    }

    /// Changes when anything happens to any client.
    pub fn stirred(&self) -> watch::Receiver<()> {
        self.stirred.subscribe()
    }

    pub fn record(&self, client: MacAddr, at: Moment, mut what: Happening) {
        what.shorten();
        self.stirred.send_replace(());
        let mut inner = self.lock();
        inner.make_room(client);
        let adopted = inner.adopted.contains(&client);
        let ring = inner.ring(client);
        let event = Event { at, last_at: at, times: 1, what };
        ring.boots.follow(&event);
        if let Some(last) = ring.events.back_mut()
            && last.what == event.what
        {
            last.last_at = at;
            last.times = last.times.saturating_add(1);
            return;
        }
        ring.push(event.clone());
        if adopted && event.what.is_milestone() {
            if inner.pending.len() >= limits::EVENTS_PENDING {
                inner.pending.pop_front();
            }
            inner.pending.push_back((client, event));
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// `client` opened a connection to its root file system.
    pub fn connected(&self, client: MacAddr, at: Moment) {
        self.stirred.send_replace(());
        let mut inner = self.lock();
        inner.make_room(client);
        let link = &mut inner.ring(client).link;
        link.open = link.open.saturating_add(1);
        if link.open == 1 {
            link.since = Some(at);
        }
    }

    /// A connection of `client` to its root file system ended.
    pub fn disconnected(&self, client: MacAddr, at: Moment) {
        self.stirred.send_replace(());
        let mut inner = self.lock();
        let link = &mut inner.ring(client).link;
        link.open = link.open.saturating_sub(1);
        if link.open == 0 {
            link.since = Some(at);
        }
    }

    /// Oldest first.
    pub fn timeline(&self, client: MacAddr) -> Vec<Event> {
        self.lock().rings.get(&client).map(|ring| ring.events.iter().cloned().collect()).unwrap_or_default()
    }

    /// The last boots of `client`, oldest first; the last one may be under way.
    pub fn boots(&self, client: MacAddr) -> Vec<Boot> {
        self.lock().rings.get(&client).map(|ring| ring.boots.all().cloned().collect()).unwrap_or_default()
    }

    pub fn link(&self, client: MacAddr) -> Link {
        self.lock().rings.get(&client).map(|ring| ring.link).unwrap_or_default()
    }

    /// The newest `count` events over all clients, oldest first.
    pub fn latest(&self, count: usize) -> Vec<(MacAddr, Event)> {
        let inner = self.lock();
        let mut all: Vec<(MacAddr, &Event)> = inner
            .rings
            .iter()
            .flat_map(|(mac, ring)| ring.events.iter().map(|event| (*mac, event)))
            .collect();
        all.sort_by_key(|(mac, event)| (event.at, *mac));
        let skip = all.len().saturating_sub(count);
        all.into_iter().skip(skip).map(|(mac, event)| (mac, event.clone())).collect()
    }

    /// Drops the timeline of `client`, here and in the store.
    pub fn forget(&self, client: MacAddr, store: &Store) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(ring) = inner.rings.get_mut(&client) {
            ring.events.clear();
            ring.boots.clear();
        }
        inner.pending.retain(|(mac, _)| *mac != client);
        drop(inner);
        store.forget_events(client)
    }

    /// Returns when something waits to be stored.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Stores the milestones since the last call. After an error they are stored by the next one.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut self.lock().pending);
        if pending.is_empty() {
            return Ok(());
        }
        let rows: Vec<EventRow> = pending
            .iter()
            .map(|(client, event)| EventRow {
                at: event.at,
                client: *client,
                kind: event.what.kind().to_owned(),
                detail: serde_json::to_string(event).expect("numbers and strings are always JSON"),
            })
            .collect();
        store.add_events(&rows).inspect_err(|_| {
            let mut inner = self.lock();
            let newer = std::mem::replace(&mut inner.pending, pending);
            inner.pending.extend(newer);
            let excess = inner.pending.len().saturating_sub(limits::EVENTS_PENDING);
            inner.pending.drain(..excess);
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn ring(&mut self, client: MacAddr) -> &mut Ring {
        self.rings.entry(client).or_default()
    }

    /// Before `client` gets a ring: drops that of the stranger heard from least recently, if there are too many.
    fn make_room(&mut self, client: MacAddr) {
        if self.rings.contains_key(&client) || self.adopted.contains(&client) {
            return;
        }
        let strangers = self.rings.iter().filter(|(mac, _)| !self.adopted.contains(mac));
        if strangers.clone().count() < limits::TIMELINES_OF_STRANGERS {
            return;
        }
        let oldest =
            strangers.min_by_key(|(mac, ring)| (ring.events.back().map(|event| event.last_at), **mac));
        if let Some(mac) = oldest.map(|(mac, _)| *mac) {
            self.rings.remove(&mac);
        }
    }
}

impl Ring {
    fn push(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        self.events.push_back(event).expect("a full ring has just lost its oldest");
    }
}

impl Happening {
    /// The word for programs; the tag of the JSON form.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Discover { .. } => "discover",
            Self::Offer { .. } => "offer",
            Self::Lease { .. } => "lease",
            Self::Refused { .. } => "refused",
            Self::File { .. } => "file",
            Self::Mount { .. } => "mount",
            Self::Agent { .. } => "agent",
            Self::LoggedIn { .. } => "logged_in",
            Self::LoggedOut { .. } => "logged_out",
            Self::LoginRefused { .. } => "login_refused",
            Self::HomeFull { .. } => "home_full",
            Self::ScreenSeen { .. } => "screen_seen",
            Self::ScreenLeft { .. } => "screen_left",
        }
    }

    /// Whether it is worth a row: it says how far a boot came, and a boot has few of them.
    fn is_milestone(&self) -> bool {
        match self {
            Self::Lease { stage, .. } => *stage != Stage::System,
            Self::Refused { .. }
            | Self::Mount { .. }
            | Self::Agent { .. }
            | Self::LoggedIn { .. }
            | Self::LoggedOut { .. }
            | Self::ScreenSeen { .. }
            | Self::ScreenLeft { .. } => true,
            Self::File { outcome, .. } => matches!(outcome, FileOutcome::Silent | FileOutcome::Refused),
            Self::Discover { .. }
            | Self::Offer { .. }
            | Self::LoginRefused { .. }
            | Self::HomeFull { .. } => false,
        }
    }

    /// Cuts texts that came from the network to [`limits::EVENT_TEXT`].
    fn shorten(&mut self) {
        let text = match self {
            Self::Refused { reason } => reason,
            Self::File { name, .. } => name,
            Self::Agent { message, .. } => message,
            Self::LoggedOut { why, .. } | Self::LoginRefused { why, .. } | Self::ScreenLeft { why, .. } => {
                why
            }
            Self::Discover { .. }
            | Self::Offer { .. }
            | Self::Lease { .. }
            | Self::Mount { .. }
            | Self::HomeFull { .. }
            | Self::ScreenSeen { .. }
            | Self::LoggedIn { .. } => return,
        };
        text.truncate(text.floor_char_boundary(limits::EVENT_TEXT));
    }
}

/// In plain words, without a full stop.
impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover { stage } => write!(f, "{} asks for an address", speaker(*stage)),
            Self::Offer { ip } => write!(f, "{ip} offered"),
            Self::Lease { ip, stage } => write!(f, "{ip} given to {}", speaker(*stage)),
            Self::Refused { reason } => write!(f, "no address: {reason}"),
            Self::File { name, bytes, took, outcome } => {
                let size = ByteSize(*bytes);
                match outcome {
                    FileOutcome::Complete => {
                        write!(f, "`{name}` loaded, {size} in {:.1} s", took.as_secs_f64())
                    }
                    FileOutcome::Missing => write!(f, "`{name}` looked for, not there"),
                    FileOutcome::Probe => write!(f, "`{name}` looked for, there"),
                    FileOutcome::Silent => write!(f, "stopped answering in `{name}` after {size}"),
                    FileOutcome::Refused => write!(f, "broke off `{name}` after {size}"),
                }
            }
            Self::Mount { image } => write!(f, "{image} mounted"),
            Self::Agent { phase, message } => write!(f, "agent {phase}: {message}"),
            Self::LoggedIn { user, on, .. } => write!(f, "{user} logged in ({on})"),
            Self::LoggedOut { user, why, .. } => write!(f, "{user} logged out: {why}"),
            Self::LoginRefused { user, why } => write!(f, "{user} was not let in: {why}"),
            Self::HomeFull { user } => write!(f, "{user} could not save: the home is full"),
            Self::ScreenSeen { from } => write!(f, "its screen is looked at from {from}"),
            Self::ScreenLeft { from, why } => {
                write!(f, "its screen is not looked at from {from} any more: {why}")
            }
        }
    }
}

/// Which program on the client speaks, as the subject of a sentence.
const fn speaker(stage: Stage) -> &'static str {
    match stage {
        Stage::Rom => "the boot ROM",
        Stage::Firmware => "the firmware",
        Stage::Kernel => "the kernel",
        Stage::System => "the running system",
    }
}

/// A duration as a number of whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
    const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(&dir.path().join("bramble.db")).expect("a new database")
    }

    fn at(secs: i64) -> Moment {
        Moment::from_secs(secs)
    }

    fn file(name: &str, outcome: FileOutcome) -> Happening {
        Happening::File { name: name.to_owned(), bytes: 7, took: Duration::from_millis(1500), outcome }
    }

    fn agent(message: &str) -> Happening {
        Happening::Agent { phase: "trouble".to_owned(), message: message.to_owned() }
    }

    #[test]
    fn what_repeats_itself_is_counted() {
        let events = Events::default();
        for secs in 0..5 {
            events.record(PI, at(secs), Happening::Discover { stage: Stage::Rom });
        }
        events.record(PI, at(9), Happening::Offer { ip: IP });
        let timeline = events.timeline(PI);
        let [first, second] = timeline.as_slice() else { panic!("{timeline:?}") };
        assert_eq!((first.at, first.last_at, first.times), (at(0), at(4), 5));
        assert_eq!((second.at, second.times), (at(9), 1));
        assert_eq!(events.latest(1), [(PI, second.clone())]);
    }

    #[test]
    fn the_oldest_events_go_first_and_long_texts_are_cut() {
        let events = Events::default();
        for secs in 0..200 {
            events.record(PI, at(secs), agent(&format!("{secs} {}", "é".repeat(5000))));
        }
        let timeline = events.timeline(PI);
        assert_eq!(timeline.len(), limits::TIMELINE);
        assert_eq!(timeline.last().map(|event| event.at), Some(at(199)));
        assert!(
            matches!(&timeline[0].what, Happening::Agent { message, .. } if message.len() <= limits::EVENT_TEXT)
        );
    }

    #[test]
    fn milestones_of_adopted_clients_survive_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = store(&dir);
        let before = Events::default();
        before.set_adopted(HashSet::from([PI]));
        let stranger = MacAddr::new([2, 0, 0, 0, 0, 1]);
        for client in [PI, stranger] {
            before.record(client, at(1), Happening::Discover { stage: Stage::Rom });
            before.record(client, at(2), Happening::Lease { ip: IP, stage: Stage::Rom });
            before.record(client, at(3), file("start4.elf", FileOutcome::Complete));
            before.record(client, at(4), file("kernel8.img", FileOutcome::Silent));
            before.record(client, at(5), agent("no overlay"));
        }
        before.save(&store).expect("saved");
        before.save(&store).expect("nothing to save");

        let after = Events::load(&store).expect("loaded");
        let kinds: Vec<&str> = after.timeline(PI).iter().map(|event| event.what.kind()).collect();
        assert_eq!(kinds, ["lease", "file", "agent"]);
        assert_eq!(after.timeline(PI)[1], before.timeline(PI)[3]);
        assert_eq!(after.timeline(stranger), []);

        after.forget(PI, &store).expect("forgotten");
        assert_eq!(Events::load(&store).expect("loaded").timeline(PI), []);
    }

    #[test]
    fn rows_and_waiting_milestones_are_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = store(&dir);
        let events = Events::default();
        events.set_adopted(HashSet::from([PI]));
        let batch = i64::try_from(limits::EVENTS_PENDING).expect("small");
        for round in 0..i64::from(limits::EVENTS_KEPT) / batch + 2 {
            for number in 0..batch + 5 {
                events.record(PI, at(round * 1000 + number), agent(&format!("{round} {number}")));
            }
            events.save(&store).expect("saved");
        }
        assert_eq!(store.events().expect("read").len(), limits::EVENTS_KEPT as usize);
    }

    #[test]
    fn strangers_displace_strangers_only() {
        let events = Events::default();
        events.set_adopted(HashSet::from([PI]));
        events.record(PI, at(0), Happening::Discover { stage: Stage::Rom });
        let stranger = |number: u8| MacAddr::new([2, 0, 0, 0, 0, number]);
        for number in 0..200 {
            events.record(stranger(number), at(i64::from(number)), Happening::Discover { stage: Stage::Rom });
        }
        assert_eq!(events.timeline(PI).len(), 1);
        assert_eq!(events.timeline(stranger(0)).len(), 0);
        assert_eq!(events.timeline(stranger(199)).len(), 1);
        assert_eq!(events.lock().rings.len(), limits::TIMELINES_OF_STRANGERS + 1);
    }

    #[test]
    fn every_happening_reads_as_a_sentence() {
        let ip = IP;
        let rows = [
            (Happening::Discover { stage: Stage::Rom }, "the boot ROM asks for an address"),
            (Happening::Offer { ip }, "192.168.77.100 offered"),
            (Happening::Lease { ip, stage: Stage::Kernel }, "192.168.77.100 given to the kernel"),
            (Happening::Refused { reason: "the pool is full".to_owned() }, "no address: the pool is full"),
            (file("start4.elf", FileOutcome::Complete), "`start4.elf` loaded, 7 B in 1.5 s"),
            (file("recovery.elf", FileOutcome::Missing), "`recovery.elf` looked for, not there"),
            (file("start4.elf", FileOutcome::Probe), "`start4.elf` looked for, there"),
            (file("start4.elf", FileOutcome::Silent), "stopped answering in `start4.elf` after 7 B"),
            (file("start4.elf", FileOutcome::Refused), "broke off `start4.elf` after 7 B"),
            (agent("no overlay"), "agent trouble: no overlay"),
        ];
        for (what, says) in rows {
            assert_eq!(what.to_string(), says);
        }
    }

    #[test]
    fn a_link_is_open_until_its_last_connection_ends() {
        let events = Events::default();
        assert_eq!(events.link(PI), Link::default());
        events.connected(PI, at(1));
        events.connected(PI, at(2));
        events.disconnected(PI, at(3));
        assert_eq!(events.link(PI), Link { open: 1, since: Some(at(1)) });
        events.disconnected(PI, at(4));
        assert_eq!(events.link(PI), Link { open: 0, since: Some(at(4)) });
    }
}

//! The boot timeline of every client: what it asked for, what it got, and when.
//!
//! The last events of each client are kept in memory in a ring of fixed size; what repeats itself is counted, not
//! listed. Milestones of adopted clients also go to the store, in batches, and so do their boots, so that a restart of the
//! daemon does not forget who is up. Each client has its own bounds, in memory and in the store: one that floods loses lines
//! of its own. Strangers get a few rings and no rows: an invented hardware address costs nothing that lasts.
//!
//! What a timeline *means* is decided by [`super::state`].

mod happening;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portable_atomic::AtomicU64;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

pub use self::happening::{FileOutcome, Happening, Weight};
use super::boots::{Boot, Boots};
use crate::store::events::{BootRow, EventRow};
use crate::store::{Store, StoreError};
pub use crate::types::Stage;
use crate::types::{MacAddr, Moment, SessionId, limits};

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

/// A start of a client, as far as its root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub mounted_at: Moment,
    /// Whether its agent has shown that it is this start's.
    pub introduced: bool,
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
    /// Milestones not stored yet: of each client the newest, oldest first.
    pending: BTreeMap<MacAddr, VecDeque<Event>>,
    /// Clients whose last boots are further than the store has them.
    boots_unsaved: BTreeSet<MacAddr>,
}

#[derive(Debug, Default)]
struct Ring {
    events: Box<heapless::Deque<Event, { limits::TIMELINE }>>,
    boots: Boots,
    link: Link,
    /// Bytes that connections to its root file system have brought it, ever.
    sent: Arc<AtomicU64>,
    /// What `sent` was when the root was mounted.
    sent_before: Option<u64>,
    start: Option<Start>,
}

impl Events {
    /// Timelines of `adopted` clients as the last run of the daemon stored them; those of others are deleted.
    pub fn load(store: &Store, adopted: HashSet<MacAddr>) -> Result<Self, StoreError> {
        let events = Self::default();
        let mut inner = events.lock();
        let mut strangers = HashSet::new();
        // A row of a later or earlier version that says something else is no reason not to start.
        for row in store.boots()? {
            if let Ok(boot) = serde_json::from_str(&row.detail) {
                inner.ring(row.client).boots.add(boot);
            }
        }
        let known: HashMap<MacAddr, Moment> = (inner.rings.iter())
            .filter_map(|(mac, ring)| Some((*mac, ring.boots.all().last()?.last_at)))
            .collect();
        for row in store.events()? {
            if !adopted.contains(&row.client) {
                strangers.insert(row.client);
            } else if let Ok(event) = serde_json::from_str::<Event>(&row.detail) {
                let ring = inner.ring(row.client);
                // What stored boots have in them already is not counted again.
                if known.get(&row.client).is_none_or(|last| event.last_at > *last) {
                    ring.boots.follow(&event);
                }
                ring.mounted(&event);
                // An agent that came so far had read its personality.
                if let Happening::Agent { phase, .. } = &event.what
                    && !matches!(phase.as_str(), "started" | "trouble" | "failed")
                {
                    ring.introduced();
                }
                ring.push(event);
            }
        }
        strangers.extend(inner.rings.keys().filter(|mac| !adopted.contains(mac)));
        for client in strangers {
            inner.rings.remove(&client);
            store.forget_events(client)?;
        }
        inner.adopted = adopted;
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
        let reached = ring.follow(&event);
        let repeats = ring.repeats(&event);
        if adopted {
            inner.boots_unsaved.insert(client);
            if !repeats && event.what.is_milestone() {
                let pending = inner.pending.entry(client).or_default();
                if pending.len() >= limits::EVENTS_PENDING {
                    pending.pop_front();
                }
                pending.push_back(event);
            } else if !reached {
                // It is stored with the next milestone.
                return;
            }
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// `client` opened a connection to its root file system. What it is sent over it is to be added to what this returns.
    pub fn connected(&self, client: MacAddr, at: Moment) -> Arc<AtomicU64> {
        self.stirred.send_replace(());
        let mut inner = self.lock();
        inner.make_room(client);
        let ring = inner.ring(client);
        ring.link.open = ring.link.open.saturating_add(1);
        if ring.link.open == 1 {
            ring.link.since = Some(at);
        }
        Arc::clone(&ring.sent)
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

    /// The present start of `client`, or its last; `None` if none is known that came to its root.
    pub fn start(&self, client: MacAddr) -> Option<Start> {
        self.lock().rings.get(&client)?.start
    }

    /// The agent of `client` has shown that it is the present start's.
    pub fn introduced(&self, client: MacAddr) {
        if let Some(ring) = self.lock().rings.get_mut(&client) {
            ring.introduced();
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

    /// Of the events over all clients that are `wanted` the newest `count`, oldest first, and whether there are older ones. What
    /// happened at the same moment as the oldest of them is with it, so that a caller may go on before that moment.
    pub fn latest(
        &self,
        count: usize,
        wanted: impl Fn(MacAddr, &Event) -> bool,
    ) -> (Vec<(MacAddr, Event)>, bool) {
        let inner = self.lock();
        let mut all: Vec<(MacAddr, &Event)> = inner
            .rings
            .iter()
            .flat_map(|(mac, ring)| ring.events.iter().map(|event| (*mac, event)))
            .filter(|(mac, event)| wanted(*mac, event))
            .collect();
        all.sort_by_key(|(mac, event)| (event.at, *mac));
        let skip = all.len().saturating_sub(count);
        let oldest = all.get(skip).map(|(_, event)| event.at);
        let skip = all.iter().take(skip).take_while(|(_, event)| Some(event.at) != oldest).count();
        (all.into_iter().skip(skip).map(|(mac, event)| (mac, event.clone())).collect(), skip > 0)
    }

    /// Drops the timeline of `client`, here and in the store.
    pub fn forget(&self, client: MacAddr, store: &Store) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(ring) = inner.rings.get_mut(&client) {
            ring.events.clear();
            ring.boots.clear();
        }
        inner.pending.remove(&client);
        inner.boots_unsaved.remove(&client);
        drop(inner);
        store.forget_events(client)
    }

    /// Forgets who logged in where before then, and who tried to; except who is still there. In memory: what is stored is
    /// [`Store::sessions_forget`]'s.
    pub fn forget_people(&self, before: Moment) {
        let mut inner = self.lock();
        for ring in inner.rings.values_mut() {
            let open = ring.open();
            let is_kept = |event: &Event| match &event.what {
                Happening::LoggedIn { session, .. } if open.contains(session) => true,
                what => !what.names_somebody() || event.last_at >= before,
            };
            if !ring.events.iter().all(is_kept) {
                let all = std::mem::take(&mut ring.events);
                for event in all.iter().filter(|event| is_kept(event)) {
                    ring.push(event.clone());
                }
            }
        }
        for pending in inner.pending.values_mut() {
            pending.retain(|event| !event.what.names_somebody() || event.last_at >= before);
        }
    }

    /// Returns when something waits to be stored.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Stores the milestones since the last call. After an error they are stored by the next one.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        let (pending, unsaved, boots) = {
            let mut inner = self.lock();
            let unsaved = std::mem::take(&mut inner.boots_unsaved);
            let boots: Vec<BootRow> = unsaved.iter().flat_map(|client| inner.boot_rows(*client)).collect();
            (std::mem::take(&mut inner.pending), unsaved, boots)
        };
        if pending.is_empty() && boots.is_empty() {
            return Ok(());
        }
        let row = |client: &MacAddr, event: &Event| EventRow {
            at: event.at,
            client: *client,
            kind: event.what.kind().to_owned(),
            detail: json(event),
        };
        let rows: Vec<EventRow> = pending
            .iter()
            .flat_map(|(client, events)| events.iter().map(move |event| row(client, event)))
            .collect();
        store.add_events(&rows, &boots).inspect_err(|_| {
            let mut inner = self.lock();
            inner.boots_unsaved.extend(unsaved);
            for (client, mut events) in pending {
                let newer = inner.pending.entry(client).or_default();
                events.append(newer);
                events.drain(..events.len().saturating_sub(limits::EVENTS_PENDING));
                *newer = events;
            }
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

    /// The boots of `client` that may not be stored as they are: the last one, and the one before it, whose end may have been
    /// noticed by the beginning of the last.
    fn boot_rows(&self, client: MacAddr) -> Vec<BootRow> {
        let Some(ring) = self.rings.get(&client) else { return Vec::new() };
        let all: Vec<&Boot> = ring.boots.all().collect();
        let row = |boot: &&Boot| BootRow { client, began_at: boot.began_at, detail: json(*boot) };
        all.iter().rev().take(2).map(row).collect()
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
    /// Takes an event into the boots; whether one reached a step by it.
    fn follow(&mut self, event: &Event) -> bool {
        if matches!(event.what, Happening::Mount { .. }) {
            self.sent_before = Some(self.sent.load(Ordering::Relaxed));
        }
        let reached = self.boots.follow(event);
        if reached && let Some(before) = self.sent_before {
            self.boots.read(self.sent.load(Ordering::Relaxed).saturating_sub(before));
        }
        reached
    }

    /// Whether the last event was the same; then it is counted once more.
    fn repeats(&mut self, event: &Event) -> bool {
        if let Some(last) = self.events.back_mut()
            && event.what.repeats(&last.what)
        {
            last.what = event.what.clone();
            last.last_at = event.at;
            last.times = last.times.saturating_add(1);
            return true;
        }
        self.mounted(event);
        self.push(event.clone());
        false
    }

    /// A mount begins another start.
    fn mounted(&mut self, event: &Event) {
        if matches!(event.what, Happening::Mount { .. }) {
            self.start = Some(Start { mounted_at: event.at, introduced: false });
        }
    }

    fn introduced(&mut self) {
        if let Some(start) = &mut self.start {
            start.introduced = true;
        }
    }

    /// Sessions that have not ended.
    fn open(&self) -> HashSet<SessionId> {
        let mut open = HashSet::new();
        for event in &*self.events {
            match &event.what {
                Happening::LoggedIn { session, .. } => {
                    open.insert(*session);
                }
                Happening::LoggedOut { session, .. } => {
                    open.remove(session);
                }
                _ => {}
            }
        }
        open
    }

    fn push(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        self.events.push_back(event).expect("a full ring has just lost its oldest");
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are always JSON")
}

#[cfg(test)]
mod tests;

//! Sessions: who is logged in at which client, and when that ends.
//!
//! A session may be opened only for an account whose password was verified from the same client a short while ago, so that
//! root on a client does not open anybody's home; with the last session of a person at a client that password is used up.
//! A session lasts until the agent closes it, the client is gone or was started
//! again, another machine has its address, the account may no longer log in, or an administrator ends it.
//!
//! Sessions are in the store, so they outlive a restart of the daemon; [`Sessions::open`] gives back to each what it had.
//! Who is verified, and which agents are connected, is in memory: agents come back and say what still runs.
//!
//! What a session lets a person reach is not decided here: [`Doors`] does. Calls may wait for the disk, so async code
//! makes them on a blocking thread.

mod follow;
mod line;
pub mod register;
mod tickets;
pub mod trees;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use self::follow::Verdict;
use self::line::Lines;
use self::tickets::Tickets;
use super::clients::Clients;
use super::events::{Events, Happening};
use super::leases::Now;
use crate::config::{Config, Twice};
use crate::proto::agent::channel::{Code, Hello, Label, Mount, Order};
use crate::proto::dhcp::Uptime;
use crate::store::sessions::{NewSession, SessionRow};
use crate::store::{Store, StoreError};
use crate::types::{MacAddr, Moment, Person, SessionId, SessionKind, Stage, Uid, UserName, chain, limits};

/// How long after its password was verified a session may be opened: log-in managers do both within seconds, and a person
/// who has to choose a new password in between takes minutes.
pub const VERIFIED_FOR: Duration = Duration::from_mins(10);

/// How long a client may be without its channel and without a file of ours open before its sessions end: the agent comes
/// back within seconds, also after a restart of the daemon.
const GONE_AFTER: Duration = Duration::from_secs(90);

/// How long a person who is logged out by us has until their home is taken away: programs save what they have open.
const FAREWELL: Duration = Duration::from_secs(20);

/// How long a home must have had room before it is full a second time. Programs try to save all the time, and on a home that
/// is nearly full the small files of some go in while the large ones of others do not: all that is one filling.
const FULL_AGAIN: Duration = Duration::from_mins(10);

/// A client at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub mac: MacAddr,
    pub ip: Ipv4Addr,
}

/// Opens to a session what its person may reach, and closes it again. The daemon's doors are NFS grants; those of tests
/// remember what was asked of them.
pub trait Doors: fmt::Debug + Send + Sync {
    /// What the client is to mount. Opening anew what is open replaces it.
    fn open(&self, id: SessionId, session: &NewSession, now: Moment) -> Result<Vec<Mount>, DoorsShut>;

    /// Opens to a session that is open already what its person may reach now. Nothing is made anew: a home that is gone,
    /// or has another name by now, stays shut.
    fn reopen(&self, id: SessionId, session: &NewSession, now: Moment) -> Result<(), DoorsShut>;

    fn close(&self, session: SessionId);

    /// Sessions whose person could not save something for want of room since this was last asked.
    fn full(&self) -> Vec<SessionId>;
}

/// Why a person's trees cannot be opened; for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DoorsShut(pub String);

/// An ask that is answered with no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// A sentence for the person at the client.
    pub message: String,
}

/// What an agent says of a session that it wants opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub name: UserName,
    pub kind: SessionKind,
    pub service: Label,
    pub terminal: Label,
    /// Whether the agent can mount through a tunnel.
    pub tunnel: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub id: SessionId,
    pub uid: Uid,
    /// What the client is to mount.
    pub mounts: Vec<Mount>,
    /// Whether that is reached through the person's tunnel alone.
    pub encrypted: bool,
}

/// One open session, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub session: NewSession,
    /// Why it is about to end, if it is.
    pub ending: Option<String>,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    doors: Box<dyn Doors>,
    clients: Arc<Clients>,
    events: Arc<Events>,
    config: watch::Receiver<Arc<Config>>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<SessionId, Open>,
    tickets: Tickets,
    lines: Lines,
}

#[derive(Debug)]
struct Open {
    session: NewSession,
    /// When it is over even if the agent says nothing, and why.
    ending: Option<(Uptime, String)>,
    /// That the home is full, if it is.
    full: Option<Full>,
}

/// A home that is full.
#[derive(Clone, Copy, Debug)]
struct Full {
    /// When something could not be saved, the last time.
    last: Uptime,
    /// Whether its person knows.
    told: bool,
}

impl Sessions {
    /// The sessions of the last run, each with what it had. To be called before NFS answers, so that no client finds its
    /// home gone.
    pub fn open(
        store: Store,
        doors: Box<dyn Doors>,
        clients: Arc<Clients>,
        events: Arc<Events>,
        config: watch::Receiver<Arc<Config>>,
        now: Now,
    ) -> Result<Self, StoreError> {
        let mut inner = Inner::default();
        for SessionRow { id, session, .. } in store.sessions_open()? {
            let place = Place { mac: session.client, ip: session.ip };
            if let Err(error) = doors.reopen(id, &session, now.civil) {
                tracing::error!(
                    client = %place.mac, user = %session.person.name, error = chain(&error),
                    "an open session does not get its files back"
                );
            }
            // As if its agent had been there until now: it has the usual time to come back.
            inner.lines.lost(place.mac, now.up);
            inner.open.insert(id, Open { session, ending: None, full: None });
        }
        if !inner.open.is_empty() {
            tracing::info!(sessions = inner.open.len(), "sessions of the last run are open again");
        }
        Ok(Self { store, doors, clients, events, config, inner: Mutex::new(inner) })
    }

    /// The password of `person` was verified from the client `mac`.
    pub fn verified(&self, mac: MacAddr, person: Person, now: Now) {
        self.lock().tickets.put(mac, person, now.up);
    }

    /// Opens a session at `place`, in the client's start `boot_id`.
    pub fn log_in(
        &self,
        place: Place,
        boot_id: &Label,
        opening: Opening,
        now: Now,
    ) -> Result<Opened, Refusal> {
        let mut inner = self.lock();
        let here = |open: &&Open| open.session.client == place.mac;
        if inner.open.values().filter(here).count() >= limits::CLIENT_SESSIONS {
            return Err(trouble("too many sessions are open on this computer; start it again"));
        }
        let known = inner.open.values().filter(here).map(|open| &open.session.person);
        // Whoever is logged in here already reaches their files from here: `su`, `cron` and a second console open nothing new.
        let person = match inner.tickets.get(place.mac, &opening.name, now.up) {
            Some(person) => person.clone(),
            None => {
                known.into_iter().find(|person| person.name == opening.name).cloned().ok_or_else(|| {
                    let message = "log in with your password first".to_owned();
                    Refusal { code: Code::NotVerified, message }
                })?
            }
        };
        if person.must_change {
            let message = "choose a new password first".to_owned();
            return Err(Refusal { code: Code::NotVerified, message });
        }
        self.elsewhere(&mut inner, place, &person, now)?;
        // What is mounted for a person serves all their sessions there.
        let mut theirs = inner.open.values().filter(here).map(|open| &open.session);
        let encrypted = theirs.find(|session| session.person.uid == person.uid).map_or_else(
            || opening.tunnel && self.config.borrow().homes.encrypt,
            |session| session.encrypted,
        );
        let session = NewSession {
            client: place.mac,
            ip: place.ip,
            boot_id: boot_id.as_str().to_owned(),
            person,
            kind: opening.kind,
            service: opening.service.into(),
            terminal: opening.terminal.into(),
            opened_at: now.civil,
            encrypted,
        };
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(
                client = %place.mac, user = %opening.name, error = chain(error), "a session could not be opened"
            );
            trouble("your files cannot be reached at the moment; tell your teacher")
        };
        let id = self.store.session_open(&session).map_err(|error| failed(&error))?;
        let mounts = match self.doors.open(id, &session, now.civil) {
            Ok(mounts) => mounts,
            Err(error) => {
                self.note_end(id, now.civil, "its files could not be opened");
                return Err(failed(&error));
            }
        };
        inner.tickets.used(place.mac, session.person.uid);
        let (user, kind) = (session.person.name.clone(), session.kind);
        tracing::info!(client = %place.mac, user = %user, session = %id, %kind, "logged in");
        self.events.record(place.mac, now.civil, Happening::LoggedIn { user, session: id, on: kind });
        let opened = Opened { id, mounts, encrypted: session.encrypted, uid: session.person.uid };
        inner.open.insert(id, Open { session, ending: None, full: None });
        Ok(opened)
    }

    /// The agent of `mac` says that a session of its client is over; one that is not its own, or has ended, is let be.
    pub fn log_out(&self, mac: MacAddr, id: SessionId, now: Now) {
        let mut inner = self.lock();
        if let Some(open) = inner.open.get(&id)
            && open.session.client == mac
        {
            let why = open.ending.as_ref().map_or("logged out".to_owned(), |(_, why)| why.clone());
            self.finish(&mut inner, id, &why, now);
        }
    }

    /// An agent has connected. Sessions it does not name have ended while nobody listened; orders go to `orders`, with those
    /// to end what it names and is over here. The number is for [`Self::disconnected`].
    pub fn connected(&self, place: Place, hello: &Hello, orders: mpsc::Sender<Order>, now: Now) -> u32 {
        let mut inner = self.lock();
        let theirs: Vec<(SessionId, bool, bool)> = inner
            .open
            .iter()
            .filter(|(_, open)| open.session.client == place.mac)
            .map(|(id, open)| {
                (*id, open.session.boot_id == hello.boot_id.as_str(), open.session.ip == place.ip)
            })
            .collect();
        for (id, same_boot, same_place) in theirs {
            if !same_boot {
                self.finish(&mut inner, id, "the client was started again", now);
            } else if !hello.sessions.contains(&id) {
                self.finish(&mut inner, id, "logged out while the server was away", now);
            } else if !same_place {
                self.moves(&mut inner, id, place, now);
            }
        }
        for &session in hello.sessions.iter().take(limits::CLIENT_SESSIONS) {
            let over = inner.open.get(&session).is_none_or(|open| open.session.client != place.mac);
            let ending = inner.open.get(&session).and_then(|open| open.ending.as_ref());
            let message = match (over, ending) {
                (true, _) => self.why_over(place.mac, session),
                (false, Some((_, why))) => why.clone(),
                (false, None) => continue,
            };
            // A full queue means an agent that does not listen; it hears of it at its next greeting.
            let _ = orders.try_send(Order::EndSession { session, message });
        }
        inner.lines.connected(place.mac, orders)
    }

    /// The connection with this number is no more.
    pub fn disconnected(&self, mac: MacAddr, number: u32, now: Now) {
        self.lock().lines.disconnected(mac, number, now.up);
    }

    /// Ends a session: the agent is told, and what it had open is closed when it has logged the person out, or a little
    /// later at the latest. `message` is for the person; whether there is such a session.
    pub fn end(&self, id: SessionId, message: &str, now: Now) -> bool {
        let mut inner = self.lock();
        let exists = inner.open.contains_key(&id);
        self.dismiss(&mut inner, id, message, now);
        exists
    }

    /// Ends what has ended without a word. To be called every few seconds.
    pub fn tick(&self, now: Now) {
        let mut inner = self.lock();
        inner.tickets.drop_old(now.up);
        let over: Vec<(SessionId, String)> = inner
            .open
            .iter()
            .filter_map(|(id, open)| Some((*id, self.over(&inner.lines, open, now)?)))
            .collect();
        for (id, why) in over {
            self.finish(&mut inner, id, &why, now);
        }
        let Inner { open, lines, .. } = &mut *inner;
        lines.forget_gone(|mac| open.values().any(|open| open.session.client == mac));
    }

    /// Has everybody told whose home became full: `tell` shows the words at a client and says whether it could, else it is asked
    /// again when the person next cannot save. Once for each time that a home fills. To be called every few seconds.
    pub fn full(&self, now: Now, mut tell: impl FnMut(MacAddr, &str) -> bool) {
        let mut inner = self.lock();
        for id in self.doors.full() {
            let Some(open) = inner.open.get_mut(&id) else { continue };
            let (client, user) = (open.session.client, &open.session.person.name);
            let known = open.full.filter(|full| now.up.since(full.last) < FULL_AGAIN);
            if known.is_none() {
                tracing::info!(%client, %user, "home full: somebody cannot save");
                self.events.record(client, now.civil, Happening::HomeFull { user: user.clone() });
            }
            let words = || format!("{user}, your home is full; delete something before you save your work");
            let told = known.is_some_and(|full| full.told) || tell(client, &words());
            open.full = Some(Full { last: now.up, told });
        }
    }

    /// Every open session, oldest first.
    pub fn list(&self) -> Vec<Session> {
        let inner = self.lock();
        let session = |(id, open): (&SessionId, &Open)| Session {
            id: *id,
            session: open.session.clone(),
            ending: open.ending.as_ref().map(|(_, why)| why.clone()),
        };
        inner.open.iter().map(session).collect()
    }

    /// In which starts of the client `mac` `uid` has sessions whose files are encrypted: of one, but for a moment.
    pub fn encrypted(&self, mac: MacAddr, uid: Uid) -> Vec<String> {
        let inner = self.lock();
        let sessions = inner.open.values().map(|open| &open.session);
        let theirs = sessions.filter(|one| one.encrypted && one.client == mac && one.person.uid == uid);
        theirs.map(|session| session.boot_id.clone()).collect()
    }

    /// The newest `count` sessions, also ended ones, newest first.
    pub fn history(&self, count: u32) -> Result<Vec<SessionRow>, StoreError> {
        self.store.sessions(count.min(limits::SESSIONS_KEPT))
    }

    /// Why an open session is over, if it is.
    fn over(&self, lines: &Lines, open: &Open, now: Now) -> Option<String> {
        let NewSession { client, ip, .. } = open.session;
        if let Some((at, why)) = &open.ending
            && *at <= now.up
        {
            return Some(why.clone());
        }
        if self.clients.at(ip).is_some_and(|seat| seat.mac != client) {
            return Some("another machine has the client's address".to_owned());
        }
        let gone = now.up.since(lines.lost_at(client)?);
        // A live channel is proof that the client runs; without one, a ROM that asks for an address is proof that it does
        // not, and so is its last word once its root is closed. (With one it would be somebody who borrows its address.)
        let lost =
            Moment::from_millis(now.civil.millis() - i64::try_from(gone.as_millis()).unwrap_or(i64::MAX));
        let rom = |stage: &Stage| matches!(stage, Stage::Rom | Stage::Firmware);
        let closed = self.events.link(client).open == 0;
        let since = self.events.timeline(client).into_iter().filter(|event| event.last_at > lost);
        for event in since {
            match event.what {
                Happening::Discover { stage } if rom(&stage) => {
                    return Some("the client was started again".to_owned());
                }
                Happening::Agent { phase, .. } if closed && phase == "off" => {
                    return Some("the client was switched off".to_owned());
                }
                _ => {}
            }
        }
        (gone >= GONE_AFTER && closed).then(|| "the client is gone".to_owned())
    }

    /// Whether the person may log in here while they are logged in elsewhere; or they are logged out there.
    fn elsewhere(&self, inner: &mut Inner, place: Place, person: &Person, now: Now) -> Result<(), Refusal> {
        let others: Vec<(SessionId, MacAddr)> = inner
            .open
            .iter()
            .filter(|(_, open)| {
                open.session.person.uid == person.uid
                    && open.session.client != place.mac
                    && open.ending.is_none()
            })
            .map(|(id, open)| (*id, open.session.client))
            .collect();
        let policy = self.config.borrow().accounts.twice;
        match (policy, others.first()) {
            (Twice::Allow, _) | (_, None) => {}
            (Twice::Refuse, Some((_, there))) => {
                let message = format!("you are logged in at {}; log out there first", self.name(*there));
                return Err(Refusal { code: Code::LoggedInElsewhere, message });
            }
            (Twice::Takeover, Some(_)) => {
                let message =
                    format!("you have logged in at {} and are logged out here", self.name(place.mac));
                for (id, _) in others {
                    self.dismiss(inner, id, &message, now);
                }
            }
        }
        Ok(())
    }

    fn name(&self, mac: MacAddr) -> String {
        self.clients.get(mac).map_or_else(|| "another computer".to_owned(), |known| known.name.to_string())
    }

    /// Has the agent log a person out; without an agent the session ends at once.
    fn dismiss(&self, inner: &mut Inner, id: SessionId, message: &str, now: Now) {
        let Some(open) = inner.open.get_mut(&id) else { return };
        let order = Order::EndSession { session: id, message: message.to_owned() };
        if inner.lines.send(open.session.client, order) {
            open.ending.get_or_insert_with(|| (now.up.plus(FAREWELL), message.to_owned()));
        } else {
            self.finish(inner, id, message, now);
        }
    }

    /// The client has another address and the same person in front of it.
    fn moves(&self, inner: &mut Inner, id: SessionId, place: Place, now: Now) {
        let Some(open) = inner.open.get_mut(&id) else { return };
        open.session.ip = place.ip;
        let stored = self.store.session_moved(id, place.ip).map_err(|error| chain(&error));
        let opened = self.doors.reopen(id, &open.session, now.civil);
        if let Err(error) = stored.and(opened.map_err(|error| chain(&error))) {
            tracing::error!(client = %place.mac, session = %id, error, "a session could not follow its client");
        }
    }

    fn finish(&self, inner: &mut Inner, id: SessionId, why: &str, now: Now) {
        self.doors.close(id);
        let Some(Open { session, .. }) = inner.open.remove(&id) else { return };
        self.note_end(id, now.civil, why);
        let (client, Person { name: user, uid, .. }) = (session.client, session.person);
        if !inner.open.values().any(|open| open.session.client == client && open.session.person.uid == uid) {
            inner.tickets.left(client, uid);
        }
        tracing::info!(client = %client, user = %user, session = %id, why, "logged out");
        let what = Happening::LoggedOut { user, session: id, why: why.to_owned() };
        self.events.record(client, now.civil, what);
    }

    /// Why a session of this client is no more, for who still sits there.
    fn why_over(&self, client: MacAddr, id: SessionId) -> String {
        let why = self.store.session_why(id, client).unwrap_or_else(|error| {
            tracing::warn!(session = %id, error = chain(&error), "why a session ended cannot be read");
            None
        });
        why.unwrap_or_else(|| "the server has ended this session".to_owned())
    }

    /// A row that cannot be written costs a wrong history, and a session that is found gone after the next start.
    fn note_end(&self, id: SessionId, at: Moment, why: &str) {
        if let Err(error) = self.store.session_ended(id, at, why) {
            tracing::error!(session = %id, error = chain(&error), "the end of a session could not be stored");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trouble(message: &str) -> Refusal {
    Refusal { code: Code::Trouble, message: message.to_owned() }
}

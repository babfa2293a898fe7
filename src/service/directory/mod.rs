//! Accounts of a directory elsewhere: LDAP with the attributes of RFC 2307, or Active Directory.
//!
//! What is asked and what the answers mean is decided here; [`Server`] carries it over the network (`serve/directory.rs`)
//! and is a table in tests. A password is checked by logging in to the directory with it, each time. What is kept for times
//! without the directory is what the administrator allowed: nothing, who there is, or also a hash of each last password
//! that was right.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | an entry, and the person in it |
//! | `groups` | who is in which group |
//! | `listing` | everybody, and who is left out and why |
//! | `trial` | a log-in step by step, for `bramble account test` |

mod entry;
mod groups;
mod listing;
mod trial;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use self::entry::Entry;
use self::entry::Found;
pub use self::groups::Groups;
pub use self::listing::Listing;
use super::accounts::password::{self, Slots};
use super::accounts::steps::Step;
use super::accounts::{self, LookupError, Refused};
use crate::config::directory::{Directory as Settings, Offline};
use crate::config::{Config, Source};
use crate::proto::dhcp::Uptime;
use crate::store::directory::Verifier;
use crate::store::{Store, StoreError};
use crate::types::{Moment, Person, Secret, Uid, UserName, chain, limits};

/// How long groups that were asked for a log-in are good for another.
const GROUPS_FRESH: Duration = Duration::from_mins(1);

/// How long nobody is asked again after no server answered: a room that waits would hold every thread.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// How far one gets with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connect,
    Tls,
    Bind,
    Search,
}

impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Bind => "bind",
            Self::Search => "search",
        }
    }
}

/// Why a directory did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Trouble {
    pub stage: Stage,
    pub what: String,
    pub remedy: String,
}

/// A search below `base`.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub base: &'a str,
    pub filter: &'a str,
    pub attributes: &'a [&'a str],
    /// More than this is an error.
    pub most: usize,
}

/// What a directory says to a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    Right,
    /// Right, and to be replaced by another before anything else.
    MustChange,
    Wrong,
    /// Right or not: the account may not be used.
    Disabled,
    Expired,
}

/// A password that is to be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub dn: &'a str,
    pub old: &'a Secret,
    pub new: &'a Secret,
    /// Days since 1970, if the entry says in `shadowLastChange` when its password was changed last: servers leave that to
    /// whoever changes it.
    pub today: Option<i64>,
}

/// What a directory says to a new password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// With its words for why.
    Refused(String),
}

/// The servers of a directory. Every call may block, and asks each server in turn until one answers.
pub trait Server: fmt::Debug + Send + Sync {
    fn search(&self, settings: &Settings, query: Query<'_>) -> Result<Vec<Entry>, Trouble>;

    /// Whether `password`, which is not empty, is that of the entry `dn`.
    fn check(&self, settings: &Settings, dn: &str, password: &Secret) -> Result<Checked, Trouble>;

    fn change(&self, settings: &Settings, change: Change<'_>) -> Result<Changed, Trouble>;

    /// How far one gets with each server, until one answers.
    fn try_out(&self, settings: &Settings) -> Vec<Step>;
}

/// The accounts of a directory. Clones share what is known of it.
#[derive(Clone, Debug)]
pub struct External(Arc<Inner>);

struct Inner {
    server: Box<dyn Server>,
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    clock: accounts::Clock,
    slots: Slots,
    known: Mutex<Known>,
    /// Held by whoever asks for everybody.
    asking: Mutex<()>,
    /// Told when no server answers.
    away: Notify,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What was learned last, under which settings and when.
#[derive(Debug, Default)]
struct Known {
    settings: Settings,
    listing: Option<(Uptime, Arc<Listing>)>,
    groups: Option<(Uptime, Arc<Groups>)>,
    down: Option<(Uptime, Trouble)>,
}

/// Why somebody is not let in, or that nobody can tell.
#[derive(Debug)]
enum Failed {
    Refused(Refused),
    Trouble(Trouble),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Trouble> for LookupError {
    fn from(trouble: Trouble) -> Self {
        Self::Unreachable { why: trouble.to_string() }
    }
}

/// The filter for people that are called `login` in the directory.
pub(crate) fn named(settings: &Settings, login: &str) -> String {
    let filter = if settings.filter.is_empty() { "(objectClass=*)" } else { &settings.filter };
    format!("(&{filter}({}={}))", settings.name_attribute, ldap3::ldap_escape(login))
}

impl External {
    pub fn new(
        server: Box<dyn Server>,
        store: Store,
        config: watch::Receiver<Arc<Config>>,
        clock: accounts::Clock,
    ) -> Self {
        let (slots, known, asking) = (Slots::default(), Mutex::default(), Mutex::default());
        let away = Notify::new();
        Self(Arc::new(Inner { server, store, config, clock, slots, known, asking, away }))
    }

    /// How long what is known of everybody is good for; `None` while nobody is to be asked.
    pub fn refresh_every(&self) -> Option<Duration> {
        let config = self.0.config.borrow();
        (config.accounts.source == Source::Ldap).then_some(config.directory.refresh)
    }

    /// Waits until no server answers somebody.
    pub async fn is_away(&self) {
        self.0.away.notified().await;
    }

    /// Asks who there is, and forgets what may not be kept. Whether anything is different from before.
    pub fn refresh(&self) -> Result<bool, LookupError> {
        let config = Arc::clone(&self.0.config.borrow());
        let settings = &config.directory;
        if config.accounts.source != Source::Ldap {
            *self.known() = Known::default();
            self.0.store.directory_forget()?;
            return Ok(false);
        }
        match settings.offline {
            Offline::No => self.0.store.directory_forget()?,
            Offline::Names => self.0.store.directory_forget_verifier(None)?,
            Offline::Passwords => {}
        }
        let before = self.known_listing(settings);
        let now = self.listing(settings, Duration::ZERO)?;
        Ok(before.is_none_or(|before| before != now))
    }

    fn now(&self) -> Uptime {
        (self.0.clock)().up
    }

    fn today(&self) -> Moment {
        (self.0.clock)().civil
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known under these settings; anything learned under others is forgotten.
    fn known_under(&self, settings: &Settings) -> MutexGuard<'_, Known> {
        let mut known = self.known();
        if known.settings != *settings {
            *known = Known { settings: settings.clone(), ..Known::default() };
        }
        known
    }

    fn known_listing(&self, settings: &Settings) -> Option<Arc<Listing>> {
        self.known_under(settings).listing.as_ref().map(|(_, listing)| Arc::clone(listing))
    }

    /// Asks the servers, unless none of them answered a moment ago.
    fn ask<T>(
        &self,
        settings: &Settings,
        question: impl FnOnce(&dyn Server) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let now = self.now();
        if let Some((at, trouble)) = &self.known_under(settings).down
            && now.since(*at) < LEFT_ALONE
        {
            return Err(trouble.clone());
        }
        let answer = question(self.0.server.as_ref());
        let down = answer.as_ref().err().filter(|trouble| trouble.stage != Stage::Search);
        if down.is_some() {
            self.0.away.notify_one();
        }
        self.known_under(settings).down = down.map(|trouble| (self.now(), trouble.clone()));
        answer
    }

    /// Everybody, as they were at most `age` ago.
    fn listing(&self, settings: &Settings, age: Duration) -> Result<Arc<Listing>, LookupError> {
        let fresh = |since: Uptime| {
            let known = self.known_under(settings);
            known.listing.as_ref().filter(|(at, _)| since.since(*at) < age).map(|(_, all)| Arc::clone(all))
        };
        let begin = self.now();
        if let Some(listing) = fresh(begin) {
            return Ok(listing);
        }
        // A crowd that wants to know asks once.
        let _asking = self.0.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = fresh(begin) {
            return Ok(listing);
        }
        let groups = self.groups(settings, Duration::ZERO)?;
        let mut attributes = entry::ATTRIBUTES.to_vec();
        attributes.push(&settings.name_attribute);
        let query = Query {
            base: &settings.base,
            filter: &settings.filter,
            attributes: &attributes,
            most: limits::DIRECTORY_PEOPLE,
        };
        let entries = self.ask(settings, |server| server.search(settings, query))?;
        let own = self.0.store.accounts()?.into_iter().map(|row| (row.uid.0, row.name)).collect::<Vec<_>>();
        let listing = Arc::new(Listing::read(settings, &groups, &entries, &own));
        let before = self.known_under(settings).listing.replace((self.now(), Arc::clone(&listing)));
        if before.is_none_or(|(_, before)| before != listing) {
            self.learned(settings, &listing)?;
        }
        Ok(listing)
    }

    /// Writes down what is new.
    fn learned(&self, settings: &Settings, listing: &Listing) -> Result<(), StoreError> {
        let people = listing.people();
        tracing::info!(people = people.len(), left_out = listing.left_out.len(), "the directory was read");
        for (dn, why) in &listing.left_out {
            tracing::debug!(dn, why, "left out");
        }
        if settings.offline != Offline::No {
            self.0.store.directory_keep(&people)?;
        }
        Ok(())
    }

    fn groups(&self, settings: &Settings, age: Duration) -> Result<Arc<Groups>, Trouble> {
        let now = self.now();
        if let Some((at, groups)) = &self.known_under(settings).groups
            && now.since(*at) < age
        {
            return Ok(Arc::clone(groups));
        }
        let query = Query {
            base: &settings.group_base,
            filter: &settings.group_filter,
            attributes: groups::attributes(settings),
            most: limits::DIRECTORY_GROUPS,
        };
        let entries = self.ask(settings, |server| server.search(settings, query))?;
        let groups = Arc::new(Groups::read(settings, &entries));
        self.known_under(settings).groups = Some((self.now(), Arc::clone(&groups)));
        Ok(groups)
    }

    /// The entries of people that are called `login`.
    fn entries(&self, settings: &Settings, login: &str) -> Result<Vec<Entry>, Trouble> {
        let mut attributes = entry::ATTRIBUTES.to_vec();
        attributes.push(&settings.name_attribute);
        let filter = named(settings, login);
        let query = Query { base: &settings.base, filter: &filter, attributes: &attributes, most: 10 };
        self.ask(settings, |server| server.search(settings, query))
    }

    /// The entry of `name`, if there is one that can be taken over.
    fn find(&self, settings: &Settings, name: &UserName) -> Result<Option<(Found, Arc<Listing>)>, Failed> {
        let listing = self.listing(settings, Duration::MAX).map_err(|error| match error {
            LookupError::Store(error) => Failed::Refused(error.into()),
            LookupError::Unreachable { why } => self.trouble(settings, why),
        })?;
        let login = listing.login(name).unwrap_or(name.as_str());
        let entries = self.entries(settings, login)?;
        let found = match entries.as_slice() {
            [] => return Ok(None),
            [entry] => entry::read(settings, entry),
            more => Err(format!("{} entries have this name; narrow `filter` or `base`", more.len())),
        };
        match found {
            Ok(found) if found.name == *name => Ok(Some((found, listing))),
            Ok(_) => Ok(None),
            Err(why) => {
                tracing::info!(account = %name, why, "somebody of the directory cannot log in");
                Ok(None)
            }
        }
    }

    /// The trouble behind an error of the listing, which has only its words.
    fn trouble(&self, settings: &Settings, why: String) -> Failed {
        let known = self.known_under(settings).down.as_ref().map(|(_, trouble)| trouble.clone());
        known.map_or_else(|| Failed::Refused(Refused::Unreachable { why }), Failed::Trouble)
    }

    /// [`accounts::Directory::verify`] where the directory answers.
    fn online(&self, settings: &Settings, name: &UserName, password: &Secret) -> Result<Person, Failed> {
        let refused = |refused| Err(Failed::Refused(refused));
        let Some((found, listing)) = self.find(settings, name)? else {
            return refused(Refused::NoSuchAccount);
        };
        let checked = self.ask(settings, |server| server.check(settings, &found.dn, password))?;
        let now = self.today();
        match checked {
            Checked::Right | Checked::MustChange => {}
            Checked::Wrong => return refused(Refused::WrongPassword),
            Checked::Disabled => return refused(Refused::Disabled),
            Checked::Expired => return refused(Refused::Expired { at: found.expires_at.unwrap_or(now) }),
        }
        // Only whoever knows the password is told more than "not right".
        if found.disabled {
            return refused(Refused::Disabled);
        }
        if let Some(at) = found.expires_at.filter(|at| *at <= now) {
            return refused(Refused::Expired { at });
        }
        if let Some(why) = listing.conflict(&found) {
            tracing::warn!(account = %name, why, "somebody of the directory cannot log in");
            return refused(Refused::NotHere);
        }
        let groups = self.groups(settings, GROUPS_FRESH)?;
        let memberships = groups.of(&found);
        if !listing::allowed(settings, &memberships) {
            return refused(Refused::NotHere);
        }
        let person = listing.person(settings, &found, &memberships);
        let must_change = person.must_change || checked == Checked::MustChange;
        Ok(Person { must_change, ..person })
    }

    /// Keeps a hash of a password that was right, if that is wanted.
    fn keep(&self, settings: &Settings, person: &Person, password: &Secret) {
        if settings.offline != Offline::Passwords || person.must_change {
            return;
        }
        let Some(_slot) = self.0.slots.take() else { return };
        let kept = password::hash(password).map_err(|error| error.to_string()).and_then(|hash| {
            let verifier = Verifier { hash, at: self.today() };
            self.0.store.directory_verified(person, &verifier).map_err(|error| chain(&error))
        });
        if let Err(error) = kept {
            tracing::warn!(account = %person.name, error, "a password is not kept for times without the directory");
        }
    }

    /// The directory has refused somebody: what it would no longer accept is not accepted without it either.
    fn forget(&self, settings: &Settings, name: &UserName, password: &Secret, refused: &Refused) {
        if settings.offline != Offline::Passwords {
            return;
        }
        let gone = match refused {
            Refused::WrongPassword => {
                let kept = self.0.store.directory_person(name).ok().flatten().and_then(|(_, kept)| kept);
                let Some(kept) = kept else { return };
                self.0.slots.take().is_none_or(|_slot| password::fits(password, Some(&kept.hash)))
            }
            Refused::NoSuchAccount
            | Refused::Disabled
            | Refused::Expired { .. }
            | Refused::NotHere
            | Refused::Exam => true,
            _ => false,
        };
        if gone && let Err(error) = self.0.store.directory_forget_verifier(Some(name)) {
            tracing::warn!(account = %name, error = chain(&error), "a kept password is not forgotten");
        }
    }

    /// Whether `password` was right not too long ago. `None` if nothing is kept that could tell.
    fn offline(
        &self,
        settings: &Settings,
        name: &UserName,
        password: &Secret,
    ) -> Option<Result<Person, Refused>> {
        if settings.offline != Offline::Passwords {
            return None;
        }
        let (person, verifier) = self.0.store.directory_person(name).ok().flatten()?;
        let verifier = verifier.filter(|kept| self.today().since(kept.at) <= settings.offline_time)?;
        let Some(_slot) = self.0.slots.take() else { return Some(Err(Refused::Busy)) };
        if !password::fits(password, Some(&verifier.hash)) {
            return Some(Err(Refused::WrongPassword));
        }
        tracing::info!(account = %name, "logged in without the directory, which does not answer");
        Some(Ok(person))
    }

    /// Something about everybody: as they are, or without the directory as they were kept.
    fn everybody<T>(
        &self,
        are: impl FnOnce(&Listing) -> T,
        were: impl FnOnce(Vec<Person>) -> T,
    ) -> Result<T, LookupError> {
        let config = Arc::clone(&self.0.config.borrow());
        let settings = &config.directory;
        // The task that asks from time to time has twice the time before others ask for it.
        match self.listing(settings, settings.refresh.saturating_mul(2)) {
            Ok(listing) => Ok(are(&listing)),
            Err(LookupError::Unreachable { why }) => {
                self.kept(settings)?.map(were).ok_or(LookupError::Unreachable { why })
            }
            Err(error @ LookupError::Store(_)) => Err(error),
        }
    }

    /// Who is kept for times without the directory, if that is wanted.
    fn kept(&self, settings: &Settings) -> Result<Option<Vec<Person>>, StoreError> {
        if settings.offline == Offline::No {
            return Ok(None);
        }
        self.0.store.directory_people().map(Some)
    }
}

impl accounts::Directory for External {
    fn person(&self, name: &str) -> Result<Option<Person>, LookupError> {
        let Ok(name) = name.parse::<UserName>() else { return Ok(None) };
        self.everybody(
            |listing| listing.get(&name).cloned(),
            |kept| kept.into_iter().find(|person| person.name == name),
        )
    }

    fn people(&self) -> Result<Vec<Person>, LookupError> {
        self.everybody(Listing::people, |kept| kept)
    }

    fn has(&self, uid: Uid) -> Result<bool, LookupError> {
        let config = Arc::clone(&self.0.config.borrow());
        let settings = &config.directory;
        // What is kept for times without the directory is not everybody.
        Ok(self.listing(settings, settings.refresh.saturating_mul(2))?.has(uid))
    }

    fn verify(&self, name: &str, password: &Secret) -> Result<Person, Refused> {
        let name: UserName = name.parse().map_err(|_| Refused::NoSuchAccount)?;
        // A directory takes a name without a password for nobody in particular, and lets that in (RFC 4513 §5.1.2).
        if password.expose().is_empty() {
            return Err(Refused::WrongPassword);
        }
        let config = Arc::clone(&self.0.config.borrow());
        let settings = &config.directory;
        match self.online(settings, &name, password) {
            Ok(person) => {
                self.keep(settings, &person, password);
                Ok(person)
            }
            Err(Failed::Refused(refused)) => {
                self.forget(settings, &name, password, &refused);
                Err(refused)
            }
            Err(Failed::Trouble(trouble)) => self
                .offline(settings, &name, password)
                .unwrap_or_else(|| Err(Refused::Unreachable { why: trouble.to_string() })),
        }
    }

    fn change_password(&self, who: &Person, old: &Secret, new: &Secret) -> Result<(), Refused> {
        let unreachable = |why: &dyn std::error::Error| Refused::Unreachable { why: chain(why) };
        let config = Arc::clone(&self.0.config.borrow());
        let settings = &config.directory;
        let found = self.find(settings, &who.name).map_err(|failed| match failed {
            Failed::Refused(refused) => refused,
            Failed::Trouble(trouble) => unreachable(&trouble),
        })?;
        let (found, _) = found.ok_or(Refused::NoSuchAccount)?;
        let today = found.shadowed.then(|| self.today().millis() / 86_400_000);
        let change = Change { dn: &found.dn, old, new, today };
        let changed = self.ask(settings, |server| server.change(settings, change));
        match changed.map_err(|trouble| unreachable(&trouble))? {
            Changed::Done => {
                tracing::info!(account = %who.name, "password changed in the directory");
                self.keep(settings, &Person { must_change: false, ..who.clone() }, new);
                Ok(())
            }
            Changed::Refused(why) => Err(Refused::Weak { why }),
        }
    }

    fn test(&self, name: &str, password: Option<&Secret>) -> Vec<Step> {
        let config = Arc::clone(&self.0.config.borrow());
        trial::run(self, &config.directory, name, password)
    }
}

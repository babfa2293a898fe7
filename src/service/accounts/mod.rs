//! People: who there is, who may log in where, and whether a password is theirs.
//!
//! Accounts are Bramble's own, in the store, or those of a directory that is there already: [`Directory`] is what both
//! can do, and `option source` says which one answers. Slowing down wrong passwords and what a room allows are the same
//! for both.
//!
//! A password is checked on the router and nowhere else. That takes a noticeable part of a second on purpose, so it waits
//! for its turn ([`password::Slots`]); async code calls [`Accounts::log_in`], which holds few threads while it waits.

pub mod elsewhere;
mod generate;
pub mod import;
mod local;
pub mod manage;
pub mod password;
pub mod sheet;
pub mod slips;
pub mod steps;
mod throttle;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use self::local::Local;
use self::steps::Step;
pub use self::throttle::Origin;
use self::throttle::Throttle;
use crate::config::{Config, Source};
use crate::proto::dhcp::Uptime;
use crate::service::leases::Now;
use crate::store::{Store, StoreError};
use crate::types::{Moment, Person, Role, RoomName, Secret, Uid, UserName, chain, limits};

/// Reads both clocks.
pub type Clock = Box<dyn Fn() -> Now + Send + Sync>;

/// Why somebody is not let in, in words for whoever sits there.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("that name or password is not right; try again")]
    NoSuchAccount,
    #[error("that name or password is not right; try again")]
    WrongPassword,
    #[error("this account is switched off; ask your teacher")]
    Disabled,
    #[error("this account ended on {}; ask your teacher", .at.date())]
    Expired { at: Moment },
    #[error("this account may not be used in this room; ask your teacher")]
    NotHere,
    #[error("an exam is held at this computer, and this account does not take part; ask your teacher")]
    Exam,
    #[error("too many wrong passwords; wait {} and try again", seconds(*.wait))]
    TooManyTries { wait: Duration },
    /// The reason is for the log.
    #[error("the list of accounts cannot be reached; try again in a minute, then tell your teacher")]
    Unreachable { why: String },
    /// A new password that will not do.
    #[error("{why}")]
    Weak { why: String },
    #[error("too many people log in at this moment; try again in a few seconds")]
    Busy,
}

impl Refused {
    /// A word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchAccount | Self::WrongPassword => "wrong_password",
            Self::Disabled => "disabled",
            Self::Expired { .. } => "expired",
            Self::NotHere => "not_here",
            Self::Exam => "exam",
            Self::TooManyTries { .. } => "too_many_tries",
            Self::Unreachable { .. } => "unreachable",
            Self::Weak { .. } => "weak",
            Self::Busy => "busy",
        }
    }

    /// Whether the password was looked at and was wrong.
    const fn is_wrong_guess(&self) -> bool {
        matches!(self, Self::NoSuchAccount | Self::WrongPassword)
    }
}

impl From<LookupError> for Refused {
    fn from(error: LookupError) -> Self {
        Self::Unreachable { why: chain(&error) }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Unreachable { why: chain(&error) }
    }
}

/// `1 second`, `15 seconds`; rounded up.
fn seconds(wait: Duration) -> String {
    match wait.as_secs() + u64::from(wait.subsec_nanos() > 0) {
        1 => "1 second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

/// Why nobody can say who there is.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the directory cannot be asked: {why}")]
    Unreachable { why: String },
}

/// Who keeps accounts: Bramble's store, or a directory elsewhere. Every call may block.
pub trait Directory: fmt::Debug + Send + Sync {
    fn person(&self, name: &str) -> Result<Option<Person>, LookupError>;

    /// Everybody who may log in now, by name.
    fn people(&self) -> Result<Vec<Person>, LookupError>;

    /// Whether this is the account's password, and whether the account may be used now.
    fn verify(&self, name: &str, password: &Secret) -> Result<Person, Refused>;

    /// Whether `uid` is somebody's, who may or may not log in.
    fn has(&self, uid: Uid) -> Result<bool, LookupError>;

    /// Sets a new password; the old one has been verified. After that none is due.
    fn change_password(&self, who: &Person, old: &Secret, new: &Secret) -> Result<(), Refused>;

    /// A log-in step by step, up to the one that fails. Without a password that step is left out.
    fn test(&self, name: &str, password: Option<&Secret>) -> Vec<Step>;
}

/// The accounts. Clones share them.
#[derive(Clone, Debug)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    clock: Arc<Clock>,
    local: Local,
    external: OnceLock<Arc<dyn Directory>>,
    throttle: Mutex<Throttle>,
    /// Log-ins that hold a thread, and those that wait for one.
    threads: Semaphore,
    waiting: Semaphore,
    generation: watch::Sender<u32>,
    /// The generation that the last change of a password made, for each that was changed in this run.
    passwords: Mutex<HashMap<Uid, u32>>,
    /// Held by whoever changes accounts.
    editing: Mutex<()>,
    /// When it was last looked for accounts that expire.
    looked_at: Mutex<Moment>,
    /// What came of the last imports: their jobs, and when that was.
    imports: Mutex<Vec<(u64, Uptime, import::Imported)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("local", &self.local)
            .field("external", &self.external)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    pub fn new(store: Store, config: watch::Receiver<Arc<Config>>, clock: Clock) -> Self {
        let clock = Arc::new(clock);
        let looked_at = Mutex::new(clock().civil);
        Self(Arc::new(Inner {
            local: Local::new(store.clone(), Arc::clone(&clock)),
            store,
            config,
            clock,
            external: OnceLock::new(),
            throttle: Mutex::default(),
            threads: Semaphore::new(limits::LOGINS_AT_ONCE),
            waiting: Semaphore::new(limits::HASHES_WAITING),
            generation: watch::Sender::new(0),
            passwords: Mutex::default(),
            editing: Mutex::default(),
            looked_at,
            imports: Mutex::default(),
        }))
    }

    /// Who is asked while `option source` is `ldap`.
    pub fn attach(&self, directory: Arc<dyn Directory>) {
        // A second one would be a mistake in `daemon/`, and the first goes on answering.
        let _ = self.0.external.set(directory);
    }

    /// One person, whether or not they may log in at this moment.
    pub fn person(&self, name: &str) -> Result<Option<Person>, LookupError> {
        self.directory()?.person(name)
    }

    /// Whether nobody has the number `uid` any more; while nobody can tell, somebody has.
    pub fn is_nobodys(&self, uid: Uid) -> bool {
        let has = self.directory().and_then(|directory| directory.has(uid));
        has.is_ok_and(|has| !has)
    }

    /// Everybody who may log in at a client of `room` now, by name; a client of no room is everybody's.
    pub fn people_for(&self, room: Option<&RoomName>) -> Result<Vec<Person>, LookupError> {
        let mut people = self.directory()?.people()?;
        let config = Arc::clone(&self.0.config.borrow());
        people.retain(|person| welcome(&config, room, person));
        Ok(people)
    }

    /// Whether `password` is that of `who` and they may log in there. Blocks for as long as a hash takes, and longer while
    /// others are before it.
    pub fn verify(&self, who: &str, password: &Secret, from: Origin) -> Result<Person, Refused> {
        let person = self.tried(who, from, |directory| directory.verify(who, password))?;
        self.may_be_at(from, &person)?;
        Ok(person)
    }

    /// Whether `person`, whose password was right, may log in there.
    fn may_be_at(&self, from: Origin, person: &Person) -> Result<(), Refused> {
        let Origin::Seat(mac) = from else { return Ok(()) };
        let config = Arc::clone(&self.0.config.borrow());
        let client = config.clients.iter().find(|client| client.mac == mac);
        if !welcome(&config, client.and_then(|client| client.room.as_ref()), person) {
            return Err(Refused::NotHere);
        }
        if config.exam_at(mac).is_some_and(|exam| !exam.admits(person)) {
            return Err(Refused::Exam);
        }
        Ok(())
    }

    /// [`Self::verify`] for async code: a crowd waits without holding threads.
    pub async fn log_in(&self, who: String, password: Secret, from: Origin) -> Result<Person, Refused> {
        self.on_a_thread(move |accounts| accounts.verify(&who, &password, from)).await
    }

    /// Gives `who` another password, if the old one is right and they may log in there; the person as they are then. Blocks
    /// as [`Self::verify`] does.
    pub fn change_password(
        &self,
        who: &str,
        old: &Secret,
        new: &Secret,
        from: Origin,
    ) -> Result<Person, Refused> {
        let length = self.0.config.borrow().accounts.password_length;
        check_new(who, Some(old), new, length).map_err(|why| Refused::Weak { why })?;
        let person = self.tried(who, from, |directory| directory.verify(who, old))?;
        self.may_be_at(from, &person)?;
        self.directory()?.change_password(&person, old, new)?;
        self.passwords_changed([person.uid]);
        Ok(Person { must_change: false, ..person })
    }

    /// [`Self::change_password`] for async code.
    pub async fn set_own_password(
        &self,
        who: String,
        old: Secret,
        new: Secret,
        from: Origin,
    ) -> Result<Person, Refused> {
        self.on_a_thread(move |accounts| accounts.change_password(&who, &old, &new, from)).await
    }

    /// Counts changes; equal numbers mean equal people.
    pub fn generation(&self) -> u32 {
        *self.0.generation.borrow()
    }

    /// Whether the password of `uid` was changed after [`Self::generation`] was `generation`. A directory may change one without a
    /// word.
    pub fn password_changed_since(&self, uid: Uid, generation: u32) -> bool {
        let changed = self.passwords().get(&uid).copied();
        changed.is_some_and(|changed| changed.wrapping_sub(generation).cast_signed() > 0)
    }

    fn passwords_changed(&self, whose: impl IntoIterator<Item = Uid>) {
        self.0.generation.send_modify(|generation| {
            *generation = generation.wrapping_add(1);
            self.passwords().extend(whose.into_iter().map(|uid| (uid, *generation)));
        });
    }

    fn passwords(&self) -> MutexGuard<'_, HashMap<Uid, u32>> {
        self.0.passwords.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log-in tried for an administrator: it counts nowhere and slows nobody down.
    pub fn test(&self, name: &str, password: Option<&Secret>) -> Result<Vec<Step>, LookupError> {
        Ok(self.directory()?.test(name, password))
    }

    /// Somebody came, changed or went in a directory elsewhere.
    pub fn directory_changed(&self) {
        self.touch();
    }

    /// Another configuration is in force, and with it perhaps other people in a room.
    pub fn reconfigured(&self) {
        self.touch();
    }

    /// A backup was restored: whoever there is now may have another password.
    pub fn restored(&self) -> Result<(), StoreError> {
        self.passwords_changed(self.0.store.accounts()?.into_iter().map(|account| account.uid));
        Ok(())
    }

    /// For whoever has the account `uid` and may no longer log in where they are, why.
    pub fn farewell(&self, uid: Uid) -> String {
        let source = self.0.config.borrow().accounts.source;
        let refused = match source {
            Source::Local => match self.0.local.standing(uid) {
                Ok(None) => return "your account was removed".to_owned(),
                Ok(Some(Err(refused))) => refused,
                Ok(Some(Ok(()))) | Err(_) => Refused::NotHere,
            },
            Source::Ldap => Refused::NotHere,
        };
        match refused {
            Refused::Disabled => "your account was switched off; ask your teacher".to_owned(),
            Refused::Expired { at } => format!("your account ended on {}; ask your teacher", at.date()),
            _ => "your account may no longer be used on this computer".to_owned(),
        }
    }

    /// Tells of accounts whose last day has passed since this was last called, and forgets what only time makes old.
    pub fn time_passes(&self) {
        self.forget_imports();
        let now = (self.0.clock)().civil;
        let since =
            std::mem::replace(&mut *self.0.looked_at.lock().unwrap_or_else(PoisonError::into_inner), now);
        match self.0.store.accounts_expired(since, now) {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(accounts = count, "accounts have expired");
                self.touch();
            }
            Err(error) => tracing::warn!(error = chain(&error), "expired accounts cannot be looked for"),
        }
    }

    /// Tells of each change.
    pub fn changed(&self) -> watch::Receiver<u32> {
        self.0.generation.subscribe()
    }

    fn touch(&self) {
        self.0.generation.send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    fn directory(&self) -> Result<&dyn Directory, LookupError> {
        let source = self.0.config.borrow().accounts.source;
        match source {
            Source::Local => Ok(&self.0.local),
            Source::Ldap => match self.0.external.get() {
                Some(directory) => Ok(directory.as_ref()),
                None => Err(LookupError::Unreachable { why: "none is set up".to_owned() }),
            },
        }
    }

    /// One try at a password: counted before, forgiven if it was no wrong guess.
    fn tried(
        &self,
        who: &str,
        from: Origin,
        verify: impl FnOnce(&dyn Directory) -> Result<Person, Refused>,
    ) -> Result<Person, Refused> {
        let directory = self.directory()?;
        let now = (self.0.clock)().up;
        let one = self.throttle().take(who, from, now).map_err(|wait| Refused::TooManyTries { wait })?;
        let result = verify(directory);
        match &result {
            Ok(_) => {
                let mut throttle = self.throttle();
                throttle.give_back(one);
                throttle.forget(who, from);
            }
            Err(refused) if !refused.is_wrong_guess() => self.throttle().give_back(one),
            Err(_) => {}
        }
        result
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.0.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let _waiting = self.0.waiting.try_acquire().map_err(|_| Refused::Busy)?;
        let _thread = self.0.threads.acquire().await.map_err(|_| Refused::Busy)?;
        let accounts = self.clone();
        tokio::task::spawn_blocking(move || work(&accounts))
            .await
            .unwrap_or_else(|error| Err(Refused::Unreachable { why: error.to_string() }))
    }
}

/// Whether `person` may use a client of `room`.
fn welcome(config: &Config, room: Option<&RoomName>, person: &Person) -> bool {
    let room = room.and_then(|name| config.rooms.iter().find(|room| room.name == *name));
    room.is_none_or(|room| {
        room.classes.is_empty()
            || person.role == Role::Teacher
            || person.classes.iter().any(|(class, _)| room.classes.contains(class))
    })
}

/// What is wrong with a new password, if something is.
fn check_new(who: &str, old: Option<&Secret>, new: &Secret, length: u32) -> Result<(), String> {
    let characters = new.expose().chars().count();
    if characters < usize::try_from(length).unwrap_or(usize::MAX) {
        return Err(format!(
            "the new password is too short: it has {characters} characters and needs {length}"
        ));
    }
    if new.expose().eq_ignore_ascii_case(who) {
        return Err("the new password is the name of the account; choose another".to_owned());
    }
    if old.is_some_and(|old| old.expose() == new.expose()) {
        return Err("the new password is the old one; choose another".to_owned());
    }
    Ok(())
}

/// Whether an account or a class of this name would be mixed up with what a system has of its own.
pub fn is_taken_by_systems(name: &str) -> bool {
    SYSTEM_NAMES.binary_search(&name).is_ok() || name.starts_with("systemd-")
}

/// Users and groups of Debian and Raspberry Pi OS, sorted. A class called `sudo` would be one of administrators.
const SYSTEM_NAMES: &[&str] = &[
    "adm",
    "audio",
    "avahi",
    "backup",
    "bin",
    "bluetooth",
    "bramble",
    "cdrom",
    "colord",
    "crontab",
    "daemon",
    "dialout",
    "dip",
    "disk",
    "dnsmasq",
    "docker",
    "fax",
    "floppy",
    "games",
    "gdm",
    "geoclue",
    "gnats",
    "gpio",
    "i2c",
    "input",
    "irc",
    "kmem",
    "kvm",
    "libvirt",
    "lightdm",
    "list",
    "lp",
    "lpadmin",
    "lxd",
    "mail",
    "man",
    "messagebus",
    "netdev",
    "news",
    "nfsnobody",
    "nobody",
    "nogroup",
    "nslcd",
    "openldap",
    "operator",
    "pi",
    "plugdev",
    "polkitd",
    "proxy",
    "pulse",
    "pulse-access",
    "render",
    "root",
    "rpi-first-boot-wizard",
    "rtkit",
    "saned",
    "sasl",
    "scanner",
    "sgx",
    "shadow",
    "spi",
    "src",
    "ssh",
    "sshd",
    "ssl-cert",
    "staff",
    "statd",
    "sudo",
    "sync",
    "sys",
    "syslog",
    "tape",
    "tcpdump",
    "tss",
    "tty",
    "usbmux",
    "users",
    "utmp",
    "uucp",
    "uuidd",
    "video",
    "vnc",
    "voice",
    "wheel",
    "www-data",
    "xrdp",
];

/// A name that may be an account here, or nothing.
fn plain(name: &str) -> Option<UserName> {
    name.parse().ok()
}

#[cfg(test)]
mod tests;

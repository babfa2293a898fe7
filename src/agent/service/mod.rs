//! The agent as a service: the server's people on this client, their log-ins, homes and sessions.
//!
//! Started by systemd from a unit that the recipes write. One thread keeps the connection to the server
//! ([`link`]), one listens for helpers on a socket; each request of a helper has a thread of its own, because asking the
//! server and mounting take their time. What must survive a restart of the service (who is logged in, what is mounted)
//! is in files below `/run/bramble`.
//!
//! A helper that is not root may only speak for the person it runs as: that is what screen lockers need. Sessions are
//! opened and closed by root.

#![expect(clippy::disallowed_methods, reason = "this is the edge: it waits for people and for the network")]

mod accounts;
mod acts;
mod blank;
mod carry;
mod desktop;
mod door;
mod eeprom;
mod fullness;
mod guests;
mod health;
mod homes;
mod idle;
mod install;
mod letters;
mod link;
mod processes;
mod runs;
mod screen;
mod sessions;
mod tunnel;
mod warm;

pub use homes::furnish;
pub use install::install;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::door::Caller;
use self::guests::Guests;
use self::health::Meter;
use self::homes::{HomeError, while_doing};
use self::link::{Event, Link, NoAnswer, Server};
use self::runs::Runs;
use self::sessions::{Session, Sessions};
use self::tunnel::Tunnels;
use super::console::Console;
use super::modes::GUEST;
use super::socket::{Answer, Request, Wish};
use crate::proto::agent::channel::{Ask, Code, Hello, Order, PARAMETER, People, Pin, Reply, VERSION};
use crate::proto::agent::tunnel::{self as tunnel_word, Key};
use crate::proto::agent::{Phase, act, eeprom as eeprom_word, health as health_word, run as run_word};
use crate::types::{Person, SeatUse, Secret, SessionId, SessionKind, UserName, chain};

/// How long the log-in prompts wait for the people at boot.
const AT_BOOT: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody's session ended without being closed.
const ROUNDS: Duration = Duration::from_secs(5);

/// How often the server is told that a session is over until it has heard it, and the pause between.
const CLOSED_MOST: u32 = 20;
const CLOSED_AGAIN: Duration = Duration::from_secs(3);

/// How often it is looked whether a home is almost full.
const FULLNESS: Duration = Duration::from_secs(15);

const NO_SERVER: &str = "The server cannot be reached, so nobody can log in. Please wait a minute and try again, or tell your teacher.";
const NOT_HIMSELF: &str =
    "Here you can become somebody else only by logging out and logging in with that name.";
const TROUBLE: &str = "Your files cannot be reached, so you cannot log in here. Please tell your teacher.";

/// What all threads share.
struct Service {
    link: Link,
    server: Server,
    console: Mutex<Console>,
    people: Mutex<Option<People>>,
    /// What of the people could not be written, so that it is said once.
    left_out: Mutex<Vec<String>>,
    sessions: Mutex<Sessions>,
    /// Who knows already that their home is almost full.
    warned: Mutex<BTreeSet<UserName>>,
    /// What homes are mounted through. Held while they are mounted or unmounted, so that a log-in and a log-out do not meet.
    homes: Mutex<Tunnels>,
    meter: Mutex<Meter>,
    /// How this client is used until its next start.
    used: SeatUse,
    /// Who is here without a name, if its mode has that.
    guests: Option<Guests>,
    /// Until when the screens are to be dark.
    dark: Mutex<Option<Instant>>,
    /// Until when the light blinks; nothing while it does not.
    blinks: Mutex<Option<Instant>>,
    /// Whether the screen is shown to somebody.
    shown: AtomicBool,
    /// Whether the root is the draft of an image: then nothing of the server's people is written into it.
    maintenance: bool,
    runs: Mutex<Runs>,
}

/// Runs until it is stopped.
pub fn run() -> ExitCode {
    let mut console = Console::default();
    console.open();
    if let Err(error) = crate::sys::flusher::become_flusher() {
        console.note(&format!("a client that is short of memory may be slow to write files: {error}"));
    }
    let started = server().and_then(|server| {
        console.report_to(server.ip);
        console.show(super::shutdown::shown(Path::new(install::PROOF)));
        let door = door::open().map_err(|error| format!("the socket for log-ins cannot be made: {error}"))?;
        let (link, woken) = Link::new().map_err(|error| error.to_string())?;
        Ok((server, door, link, woken))
    });
    let (server, door, link, woken) = match started {
        Ok(parts) => parts,
        Err(why) => {
            console.trouble(&format!("nobody of the server can log in: {why}"));
            return ExitCode::FAILURE;
        }
    };
    let used = install::used();
    let service = Arc::new(Service {
        link,
        server,
        console: Mutex::new(console),
        people: Mutex::new(None),
        left_out: Mutex::new(Vec::new()),
        sessions: Mutex::new(Sessions::kept()),
        warned: Mutex::new(BTreeSet::new()),
        homes: Mutex::default(),
        meter: Mutex::default(),
        guests: Guests::new(&used),
        used,
        dark: Mutex::new(None),
        blinks: Mutex::new(None),
        shown: AtomicBool::new(false),
        maintenance: Path::new(install::MAINTENANCE).exists(),
        runs: Mutex::default(),
    });
    let own = Arc::clone(&service);
    own.dig_again();
    std::thread::spawn(move || own.rounds());
    let own = Arc::clone(&service);
    std::thread::spawn(move || own.watch_homes());
    let own = Arc::clone(&service);
    std::thread::spawn(move || {
        let tell = Arc::clone(&own);
        own.link.keep(&own.server, &woken, || own.hello(), move |event| tell.heard(event))
    });
    std::thread::spawn(|| {
        std::thread::sleep(AT_BOOT);
        ready();
    });
    door::serve(&door, move |caller, request| service.answer(caller, request))
}

/// What the kernel was told of the server, and where the root came from.
fn server() -> Result<Server, String> {
    let address = fs::read_to_string(install::SERVER)
        .map_err(|error| format!("the server's address is not known ({}): {error}", install::SERVER))?;
    let ip = address.trim().parse().map_err(|_| format!("`{}` is no address of a server", address.trim()))?;
    let parameters = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let pin = parameters
        .split_whitespace()
        .find_map(|word| word.strip_prefix(PARAMETER)?.strip_prefix('='))
        .ok_or_else(|| format!("the kernel was started without `{PARAMETER}=`"))?;
    let pin: Pin = pin.parse().map_err(|error| format!("`{pin}`: {error}"))?;
    Ok(Server::new(ip, pin))
}

/// Tells systemd that log-ins may begin; telling it twice does nothing.
fn ready() {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET")
        && let Ok(socket) = UnixDatagram::unbound()
    {
        let _ = socket.send_to(b"READY=1", path);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    fn trouble(&self, message: &str) {
        locked(&self.console).trouble(message);
    }

    fn hello(&self) -> Hello {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut can = [act::CAN, act::CAN_SCREEN, health_word::CAN, eeprom_word::CAN, tunnel_word::CAN]
            .map(Into::into)
            .to_vec();
        if self.maintenance {
            can.push(run_word::CAN.into());
        }
        Hello {
            version: VERSION,
            agent: env!("CARGO_PKG_VERSION").into(),
            boot_id: boot_id.as_str().into(),
            sessions: locked(&self.sessions).ids(),
            can,
            mode: Some(self.used.mode()),
        }
    }

    /// Takes what the server says by itself.
    fn heard(self: &Arc<Self>, event: Event) {
        match event {
            Event::People(_) if self.maintenance => {
                ready();
                locked(&self.console).milestone(Phase::Ready, "root is logged in, to change the draft");
            }
            Event::People(mut people) => {
                let mut known = locked(&self.people);
                if let Some(before) = &*known {
                    super::people::still_due(before, &mut people);
                }
                self.write_people(&people);
                let first = known.replace(people).is_none();
                drop(known);
                ready();
                if first {
                    locked(&self.console).milestone(Phase::Ready, "people can log in");
                    std::thread::spawn(warm::up);
                }
            }
            Event::Order { id, order: Order::EndSession { session, message } } => {
                let service = Arc::clone(self);
                std::thread::spawn(move || service.end(id, session, &message));
            }
            Event::Order { order: Order::Health, .. } => {
                let service = Arc::clone(self);
                // Reading a page of the root may wait for the server.
                std::thread::spawn(move || {
                    // One at a time: a server that asks faster than this client can tell is told once.
                    if let Ok(mut meter) = service.meter.try_lock() {
                        service.link.health(meter.measure(Path::new("/")));
                    }
                });
            }
            Event::Order { order: Order::Eeprom, .. } => self.link.eeprom(eeprom::report(Path::new("/"))),
            Event::Order { id, order: Order::Act(act) } => {
                let service = Arc::clone(self);
                std::thread::spawn(move || acts::carry_out(&service, id, act));
            }
            Event::Order { id, order: Order::Run(line) } => {
                let service = Arc::clone(self);
                std::thread::spawn(move || runs::run(&service, id, &line));
            }
            Event::Order { order: Order::Stop { run }, .. } => runs::stop(self, run),
            Event::Late(session) => self.over(session),
            Event::Changed(what) => locked(&self.console).note(&what),
        }
    }

    fn write_people(&self, people: &People) {
        let troubles = accounts::apply(people);
        let mut before = locked(&self.left_out);
        for trouble in troubles.iter().filter(|trouble| !before.contains(trouble)) {
            self.trouble(trouble);
        }
        *before = troubles;
    }

    /// Writes down whether a person has to choose a new password, if that is not what is written already.
    fn note_must_change(&self, name: &UserName, must_change: bool) {
        let mut people = locked(&self.people);
        let Some(people) = &mut *people else { return };
        let person = people.persons.iter_mut().find(|person| person.name == *name);
        if let Some(person) = person.filter(|person| person.must_change != must_change) {
            person.must_change = must_change;
            self.write_people(people);
        }
    }

    fn person(&self, name: &UserName) -> Option<Person> {
        let people = locked(&self.people);
        people.as_ref()?.persons.iter().find(|person| person.name == *name).cloned()
    }

    fn answer(self: &Arc<Self>, caller: Caller, request: Request) -> Answer {
        let Request { service, terminal, name, wish } = request;
        if let Some(guests) = &self.guests
            && name.as_str() == GUEST
        {
            return self.answer_guest(guests, caller, &service, terminal, &wish);
        }
        let person = self.person(&name);
        let himself = person.as_ref().is_some_and(|person| person.uid.0 == caller.uid);
        let root_only = matches!(wish, Wish::Open { .. } | Wish::Close { .. });
        if locked(&self.people).is_none() && !root_only {
            // Nobody is known before the server has been reached for the first time.
            return Answer::no(NO_SERVER);
        }
        if caller.uid != 0 && root_only {
            return Answer::no("");
        }
        if caller.uid != 0 && !himself {
            return Answer::no(NOT_HIMSELF);
        }
        match wish {
            Wish::Authenticate(password) => self.authenticate(&name, password, &service, &terminal),
            Wish::Account if person.is_some() => Answer::yes(""),
            Wish::Account => Answer::no("This account cannot be used on this computer."),
            Wish::ChangePassword { old, new } => self.change_password(&name, old, new),
            Wish::Open { opener } => match person {
                Some(person) => self.open(&person, &service, terminal, opener),
                None => Answer::no(NO_SERVER),
            },
            Wish::Close { opener } => {
                self.closed(&name, opener);
                Answer::yes("")
            }
        }
    }

    /// A guest has no password and is logged in by root alone.
    fn answer_guest(
        &self,
        guests: &Guests,
        caller: Caller,
        service: &str,
        terminal: String,
        wish: &Wish,
    ) -> Answer {
        match *wish {
            Wish::Open { opener } if caller.uid == 0 => {
                let desktop = sessions::kind(service) == SessionKind::Desktop;
                match guests.open(opener, terminal, desktop) {
                    Ok(welcome) => Answer::yes(welcome),
                    Err(error) => {
                        self.trouble(&format!("a guest cannot be logged in: {error}"));
                        Answer::no(TROUBLE)
                    }
                }
            }
            Wish::Close { opener } if caller.uid == 0 => {
                guests.close(opener);
                Answer::yes("")
            }
            Wish::Account => Answer::yes(""),
            _ => Answer::no(""),
        }
    }

    fn authenticate(&self, name: &UserName, password: Secret, service: &str, terminal: &str) -> Answer {
        let ask = Ask::Authenticate {
            name: name.clone(),
            password,
            service: service.into(),
            terminal: terminal.into(),
        };
        match self.link.ask(ask) {
            Ok(Reply::Verified { person }) => {
                self.note_must_change(name, person.must_change);
                Answer::yes("")
            }
            // Whoever asked for the password says by itself that it was wrong.
            Ok(Reply::Refused { code: Code::WrongPassword, .. }) => Answer::no(""),
            other => refusal(other),
        }
    }

    fn change_password(&self, name: &UserName, old: Secret, new: Secret) -> Answer {
        match self.link.ask(Ask::ChangePassword { name: name.clone(), old, new }) {
            Ok(Reply::Changed) => {
                self.note_must_change(name, false);
                Answer::yes("")
            }
            other => refusal(other),
        }
    }

    fn open(self: &Arc<Self>, person: &Person, service: &str, terminal: String, opener: u32) -> Answer {
        let ask = Ask::OpenSession {
            name: person.name.clone(),
            service: service.into(),
            terminal: terminal.as_str().into(),
            kind: sessions::kind(service),
        };
        let (id, mounts, key) = match self.link.ask(ask) {
            Ok(Reply::Opened { session, mounts, tunnel }) => (session, mounts, tunnel),
            other => return refusal(other),
        };
        let session = Session {
            id,
            name: person.name.clone(),
            uid: person.uid.0,
            terminal,
            opener,
            opener_started: processes::started(opener),
            closing: false,
        };
        // Known before it is mounted: a log-out of the same person that is still going on must leave the home there, and a greeting
        // has to name it.
        self.change_sessions(|sessions| sessions.open.push(session.clone()));
        let mut tunnels = locked(&self.homes);
        // Whoever opened it may have ended while this waited for others; then it has been struck off again.
        if !locked(&self.sessions).open.iter().any(|open| open.id == id && !open.closing) {
            return Answer::no(TROUBLE);
        }
        let caches = locked(&self.people).as_ref().is_some_and(|people| people.local_caches);
        let mut mounted = Vec::new();
        let brought = self
            .way(&mut tunnels, person, key)
            .and_then(|server| homes::bring(server, person, &mounts, caches, &mut mounted));
        let error = match brought {
            Ok(troubles) => {
                for trouble in troubles {
                    self.trouble(&format!("{} does without: {}", person.name, chain(&trouble)));
                }
                self.change_sessions(|sessions| {
                    sessions.mounted.entry(person.name.clone()).or_default().append(&mut mounted);
                });
                locked(&self.warned).remove(&person.name);
                return Answer::yes(self.fullness(&person.name).unwrap_or_default());
            }
            Err(error) => error,
        };
        self.trouble(&format!("{} cannot log in: {}", person.name, chain(&error)));
        for held in homes::take_away(&mounted) {
            self.trouble(&held);
        }
        self.over(id);
        Answer::no(TROUBLE)
    }

    /// How what a session brings is to be mounted: through the person's tunnel, if it came with a key to that.
    fn way(
        &self,
        tunnels: &mut Tunnels,
        person: &Person,
        key: Option<Key>,
    ) -> Result<homes::Server, HomeError> {
        let Some(key) = key else { return Ok(homes::Server::directly(self.server.ip)) };
        let port = tunnels.open(&self.server, &person.name, person.uid, key);
        let port = port.map_err(while_doing("taking a port for what is encrypted"))?;
        self.change_sessions(|sessions| sessions.tunnels = tunnels.kept());
        Ok(homes::Server::through(port))
    }

    /// Opens the tunnels of an earlier service, at whose ports the kernel looks for the server.
    fn dig_again(&self) {
        let kept = locked(&self.sessions).tunnels.clone();
        for trouble in locked(&self.homes).again(&self.server, kept) {
            self.trouble(&trouble);
        }
    }

    /// What somebody whose home is almost full has not been told yet; may wait for the server.
    fn fullness(&self, name: &UserName) -> Option<String> {
        let home = locked(&self.sessions).mounted.get(name)?.first()?.clone();
        let warning = fullness::warning(&home);
        let mut warned = locked(&self.warned);
        if warning.is_some() {
            return warning.filter(|_| warned.insert(name.clone()));
        }
        warned.remove(name);
        None
    }

    /// Looks after homes that become full. On a thread of its own, because it waits for the server.
    fn watch_homes(&self) {
        loop {
            std::thread::sleep(FULLNESS);
            let here: BTreeSet<UserName> =
                locked(&self.sessions).open.iter().map(|session| session.name.clone()).collect();
            locked(&self.warned).retain(|name| here.contains(name));
            for name in here {
                let Some(warning) = self.fullness(&name) else { continue };
                let open = locked(&self.sessions).open.clone();
                let theirs: Vec<&Session> = open.iter().filter(|session| session.name == name).collect();
                for session in &theirs {
                    door::show(&session.terminal, &warning);
                }
                if let Some(session) = theirs.first() {
                    // Whoever has no desktop has read it already.
                    let _ = desktop::show(Some(session.uid), "Home almost full", &warning);
                }
            }
        }
    }

    /// A session's opener has closed it, or ended. What it leaves behind is taken away behind its back: it need not wait.
    fn closed(self: &Arc<Self>, name: &UserName, opener: u32) {
        let mut closed = None;
        self.change_sessions(|sessions| {
            closed = sessions.opened_by(name, opener).map(|session| {
                session.closing = true;
                session.clone()
            });
        });
        if let Some(session) = closed {
            let service = Arc::clone(self);
            std::thread::spawn(move || service.clean_up(&session));
        }
    }

    /// After the last session of a person: their programs end and their home goes, then the server is told.
    fn clean_up(self: &Arc<Self>, session: &Session) {
        let Session { id, name, uid, .. } = session;
        if !locked(&self.sessions).is_here(name) {
            processes::end(*uid, true, || !locked(&self.sessions).is_here(name));
            let mut tunnels = locked(&self.homes);
            if !locked(&self.sessions).is_here(name) {
                let mut mounted = None;
                self.change_sessions(|sessions| mounted = sessions.mounted.remove(name));
                let held = homes::take_away(&mounted.unwrap_or_default());
                if held.is_empty() {
                    tunnels.close(name);
                    self.change_sessions(|sessions| sessions.tunnels = tunnels.kept());
                }
                // What is held goes on to ask the server, and is told that the session is over.
                for held in held {
                    self.trouble(&held);
                }
            }
        }
        self.over(*id);
    }

    /// Strikes a session off and tells the server behind its back: now, or when it is there again. A greeting that is under way
    /// may still have named the session, so the next one alone would not do.
    fn over(self: &Arc<Self>, id: SessionId) {
        self.change_sessions(|sessions| sessions.close(id));
        let service = Arc::clone(self);
        std::thread::spawn(move || {
            for _ in 0..CLOSED_MOST {
                if matches!(service.link.ask(Ask::CloseSession { session: id }), Ok(Reply::Closed)) {
                    return;
                }
                std::thread::sleep(CLOSED_AGAIN);
            }
        });
    }

    /// The server wants somebody logged out.
    fn end(&self, order: u32, id: SessionId, message: &str) {
        let (session, newest) = {
            let sessions = locked(&self.sessions);
            let session = sessions.open.iter().find(|session| session.id == id).cloned();
            let newest = session.as_ref().and_then(|session| sessions.newest_of(&session.name));
            (session, newest)
        };
        if let (Some(session), Some(newest)) = (session, newest) {
            acts::last_words(&session, message);
            processes::end(session.uid, false, || locked(&self.sessions).is_as_old(&session.name, newest));
        }
        self.link.done(order, None);
    }

    fn change_sessions(&self, change: impl FnOnce(&mut Sessions)) {
        let mut sessions = locked(&self.sessions);
        change(&mut sessions);
        let kept = sessions.keep();
        drop(sessions);
        if let Err(error) = kept {
            self.trouble(&format!("who is logged in cannot be written down: {error}"));
        }
    }

    /// Looks after sessions whose opener ended without closing them, and those that an earlier service was closing.
    fn rounds(self: &Arc<Self>) {
        let begun: Vec<Session> =
            locked(&self.sessions).open.iter().filter(|session| session.closing).cloned().collect();
        for session in begun {
            self.clean_up(&session);
        }
        loop {
            std::thread::sleep(ROUNDS);
            let forsaken = locked(&self.sessions).forsaken();
            for session in forsaken {
                self.closed(&session.name, session.opener);
            }
            if let Some(guests) = &self.guests {
                guests.look();
            }
        }
    }
}

/// What a person reads when the server did not say yes.
fn refusal(reply: Result<Reply, NoAnswer>) -> Answer {
    match reply {
        Ok(Reply::Refused { message, .. }) => Answer::no(message),
        Ok(_) => Answer::no(TROUBLE),
        Err(_) => Answer::no(NO_SERVER),
    }
}

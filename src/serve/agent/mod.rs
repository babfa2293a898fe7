//! The agents' channel: TLS connections of clients that run (TCP 8467).
//!
//! Let in is who comes from a privileged port of an address that an adopted client holds: on a client only root can do
//! that, and the agent is root's. What the agent then asks is answered by [`Sessions`] and a [`Register`]; what changes
//! meanwhile is told to it. Passwords are checked on a few threads at a time, because each check takes memory and a core.
//!
//! | file | holds |
//! |---|---|
//! | `tls` | TLS 1.3 with the certificate that clients know |
//! | `door` | how many connections there may be |
//! | `desk` | what one client may ask |
//! | `pins` | whose address is tied to its machine |
//! | `talk` | one connection, from greeting to end |
//! | `asks` | what an agent asks |
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

mod asks;
mod desk;
mod door;
mod pins;
mod talk;
pub mod tls;
pub mod tunnel;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::desk::Desks;
use self::door::Door;
use self::pins::Pins;
use super::dhcp::Clock;
use super::nfs;
use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::proto::agent::act::Act;
use crate::proto::agent::channel::PORT;
use crate::service::clients::{Clients, Seat};
use crate::service::eeprom::Eeproms;
use crate::service::events::Events;
use crate::service::room::agents::Agents;
use crate::service::room::screens::Screens;
use crate::service::room::vitals::Vitals;
use crate::service::sessions::register::Register;
use crate::service::sessions::{Place, Session, Sessions, Verdict};
use crate::service::tunnels::Tunnels;
use crate::types::{MacAddr, Person, RoomName, Uid, chain, limits};

/// How long a client may take over TLS's greeting, and then over its own: both take milliseconds.
const GREET_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether sessions have ended without a word.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a person reads at whose client an exam begins that they do not take part in.
const NOT_IN_THE_EXAM: &str = "an exam begins at this computer, and your account does not take part";

/// Everything that connections share; it outlives restarts of the service.
#[derive(Debug)]
pub struct Shared {
    pub clients: Arc<Clients>,
    pub events: Arc<Events>,
    pub sessions: Arc<Sessions>,
    pub register: Arc<dyn Register>,
    /// Moves on when people, their classes or passwords have changed.
    pub changes: watch::Receiver<u32>,
    pub config: watch::Receiver<Arc<Config>>,
    pub clock: Clock,
    /// Who is connected.
    pub agents: Arc<Agents>,
    /// How their clients are.
    pub vitals: Arc<Vitals>,
    /// What their bootloaders are.
    pub eeproms: Arc<Eeproms>,
    /// Whose screens are waited for.
    pub screens: Arc<Screens>,
    /// Who answers what comes through tunnels, and the keys to them.
    pub nfs: Arc<nfs::Shared>,
    pub tunnels: Tunnels,
    /// Passwords that are checked at this moment.
    checks: Semaphore,
    /// Passwords that are checked or wait for it.
    waiting: Semaphore,
    /// Lists of people that are made and sent at this moment: each may take [`limits::CHANNEL_TO_AGENT`].
    lists: Semaphore,
    door: Arc<Door>,
    desks: Desks,
    pins: Pins,
}

/// The services that stand behind the channel.
#[derive(Debug)]
pub struct Behind {
    pub clients: Arc<Clients>,
    pub events: Arc<Events>,
    pub sessions: Arc<Sessions>,
    pub nfs: Arc<nfs::Shared>,
}

impl Shared {
    pub fn new(
        Behind { clients, events, sessions, nfs }: Behind,
        register: Arc<dyn Register>,
        changes: watch::Receiver<u32>,
        config: watch::Receiver<Arc<Config>>,
        tunnels: Tunnels,
        clock: Clock,
    ) -> Self {
        let [checks, waiting, lists] =
            [limits::CHANNEL_CHECKS, limits::CHANNEL_WAITING, limits::CHANNEL_LISTS].map(Semaphore::new);
        let (door, agents, vitals) = (Arc::default(), Arc::default(), Arc::default());
        let screens = Arc::default();
        Self {
            clients,
            events,
            sessions,
            register,
            changes,
            config,
            clock,
            agents,
            vitals,
            eeproms: Arc::default(),
            screens,
            nfs,
            tunnels,
            checks,
            waiting,
            lists,
            door,
            desks: Desks::default(),
            pins: Pins::default(),
        }
    }

    /// Ties the addresses of clients with sessions to their machines.
    fn tie(&self) {
        let place = |open: Session| Place { mac: open.session.client, ip: open.session.ip };
        let places = || self.sessions.list().into_iter().map(place).collect();
        // Not borrowed while locks are waited for: a new configuration would wait for them too, and everybody for it.
        let config = Arc::clone(&self.config.borrow());
        self.pins.follow(places, &config);
    }

    /// Has words shown at a client, whatever the agent makes of it; whether they are on their way.
    fn show(&self, client: MacAddr, words: &str) -> bool {
        match self.agents.send(client, Act::Message { text: words.into() }) {
            Ok(ticket) => {
                self.agents.forget(ticket);
                true
            }
            Err(error) => {
                tracing::debug!(%client, error = chain(&error), "a message could not be shown");
                false
            }
        }
    }
}

/// Why agents cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot listen for agents on TCP {address}")]
    Bind {
        address: SocketAddrV4,
        #[source]
        source: io::Error,
    },
    #[error("a part of the service broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// One bound socket per served network; survives restarts of the service.
#[derive(Clone, Debug)]
pub struct Sockets(Vec<Arc<TcpListener>>);

impl Sockets {
    pub async fn bind(config: &Config) -> Result<Self, AgentError> {
        let mut sockets = Vec::new();
        for network in &config.networks {
            let address = SocketAddrV4::new(network.address, PORT);
            let socket =
                TcpListener::bind(address).await.map_err(|source| AgentError::Bind { address, source })?;
            sockets.push(Arc::new(socket));
        }
        Ok(Self(sockets))
    }
}

/// Runs until told to stop.
pub async fn run(
    shared: Arc<Shared>,
    tls: Arc<ServerConfig>,
    sockets: Sockets,
    mut stop: Stop,
) -> Result<(), AgentError> {
    let tls = TlsAcceptor::from(tls);
    // Sessions of the last run: what it tied is not forgotten, however they end.
    let tying = Arc::clone(&shared);
    tokio::task::spawn_blocking(move || tying.tie()).await.map_err(AgentError::Broken)?;
    let mut parts = JoinSet::new();
    for socket in sockets.0 {
        parts.spawn(accept(Arc::clone(&shared), tls.clone(), socket, stop.clone()));
    }
    parts.spawn(look(Arc::clone(&shared), stop.clone()));
    let ended = tokio::select! {
        () = stopped(&mut stop) => {
            // Each says goodbye to its clients and ends.
            while parts.join_next().await.is_some() {}
            Ok(())
        }
        Some(Err(broken)) = parts.join_next() => Err(AgentError::Broken(broken)),
    };
    let letting_go = tokio::task::spawn_blocking(move || {
        let config = Arc::clone(&shared.config.borrow());
        shared.pins.follow(Vec::new, &config);
    });
    letting_go.await.map_err(AgentError::Broken).and(ended)
}

async fn accept(shared: Arc<Shared>, tls: TlsAcceptor, socket: Arc<TcpListener>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, from)) => {
                    match admit(&shared, from) {
                        Ok((seat, pass)) => {
                            let (shared, tls, stop) = (Arc::clone(&shared), tls.clone(), stop.clone());
                            connections.spawn(async move {
                                serve(shared, tls, stream, seat, stop).await;
                                drop(pass);
                            });
                        }
                        Err(why) => tracing::debug!(ip = %from.ip(), why, "connection of an agent refused"),
                    }
                }
                Err(error) => {
                    // Out of descriptors, or a connection that was gone before it was looked at.
                    tracing::debug!(error = chain(&error), "no connection of an agent could be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(error = chain(&panic), "a connection of an agent broke off");
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Whose connection this is, or why it is refused.
fn admit(shared: &Shared, from: SocketAddr) -> Result<(Seat, door::Pass), String> {
    let IpAddr::V4(ip) = from.ip() else { return Err("not from an IPv4 address".to_owned()) };
    if from.port() >= 1024 {
        return Err(format!("from port {}, which needs no root", from.port()));
    }
    let seat = shared.clients.at(ip).ok_or("no client holds this address")?;
    if !seat.adopted {
        return Err("the machine at this address is no client of ours".to_owned());
    }
    if shared.clients.impostor(ip, seat.mac).is_some() {
        return Err("another machine uses the client's address".to_owned());
    }
    let pass = shared.door.enter(ip, Instant::now()).ok_or("too many connections")?;
    Ok((seat, pass))
}

async fn serve(shared: Arc<Shared>, tls: TlsAcceptor, stream: TcpStream, seat: Seat, stop: Stop) {
    let client = seat.mac;
    // Answers are short and somebody waits for them.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(GREET_WITHIN, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::debug!(%client, error, "an agent did not come through TLS; an old pin needs a new start of the client");
            return;
        }
        Err(_) => return tracing::debug!(%client, "a connection fell silent in TLS's greeting"),
    };
    match talk::talk(&shared, stream, seat, stop).await {
        Ok(why) => tracing::debug!(%client, why, "agent disconnected"),
        Err(error) => tracing::debug!(%client, error = chain(&error), "agent disconnected"),
    }
}

/// Looks after sessions whose agents say nothing, and at once after those of people who have changed.
async fn look(shared: Arc<Shared>, mut stop: Stop) {
    let mut changes = shared.changes.clone();
    let mut config = shared.config.clone();
    // After a start agents come back first: it is they who tell people why they are logged out.
    let (mut changed, mut configured) = (true, false);
    tokio::select! {
        () = stopped(&mut stop) => return,
        () = tokio::time::sleep(LOOK_EVERY) => {}
    }
    loop {
        let looking = Arc::clone(&shared);
        let looked = tokio::task::spawn_blocking(move || {
            looking.register.time_passes();
            let now = looking.clock.now();
            looking.sessions.tick(now);
            looking.sessions.full(now, |client, words| looking.show(client, words));
            if changed {
                recheck(&looking, configured);
            }
            looking.tie();
        });
        if let Err(panic) = looked.await {
            tracing::error!(error = chain(&panic), "sessions could not be looked after");
        }
        (changed, configured) = tokio::select! {
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => (false, false),
            Ok(()) = changes.changed() => (true, false),
            Ok(()) = config.changed() => (true, true),
        };
    }
}

/// Ends the sessions of those who may no longer be where they are, and lets the others reach what they may now; with
/// `all`, also if nothing is known to have changed of them.
fn recheck(shared: &Shared, all: bool) {
    let mut rooms: HashMap<Option<RoomName>, Option<HashMap<Uid, Person>>> = HashMap::new();
    for client in shared.sessions.clients() {
        let room = room_of(shared, client);
        rooms.entry(room).or_insert_with_key(|room| {
            let people = shared.register.people(room.as_ref()).ok()?;
            Some(people.into_iter().map(|person| (person.uid, person)).collect())
        });
    }
    let config = Arc::clone(&shared.config.borrow());
    let verdict = |client: MacAddr, known: &Person| {
        // Opened a moment ago, or nobody can tell: then they stay.
        let Some(Some(people)) = rooms.get(&room_of(shared, client)) else { return Verdict::Stays };
        match people.get(&known.uid) {
            None => Verdict::Ends(shared.register.farewell(known)),
            Some(person) if person.name != known.name => {
                Verdict::Ends(format!("your name is `{}` from now on; log in with that", person.name))
            }
            Some(person) if config.exam_at(client).is_some_and(|exam| !exam.admits(person)) => {
                Verdict::Ends(NOT_IN_THE_EXAM.to_owned())
            }
            Some(person) => {
                let now = Person { must_change: known.must_change, ..person.clone() };
                if all || now != *known { Verdict::Changes(now) } else { Verdict::Stays }
            }
        }
    };
    shared.sessions.recheck(verdict, shared.clock.now());
}

fn room_of(shared: &Shared, client: MacAddr) -> Option<RoomName> {
    shared.clients.get(client).and_then(|known| known.room)
}

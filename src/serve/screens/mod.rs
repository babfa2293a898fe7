//! Carries the screens of clients to teachers who look at them: a port of the router for each view, open as long as it lasts.
//!
//! A view is asked for ([`Screens::wanted`]), its client's agent is told, and brings its side over the agents' channel.
//! Then one program may come from outside, with the password of this view; both sides are greeted ([`handshake`]), and
//! from there on bytes pass. A view ends when either side goes, when its time is over, when an administrator ends it, or
//! when the room does not allow it any more.

mod handshake;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::handshake::Broken;
use super::dhcp::Clock;
use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::proto::agent::act::Act;
use crate::proto::rfb;
use crate::service::events::{Events, Happening};
use crate::service::room::agents::{Agents, Answer};
use crate::service::room::screens::{Begun, Brought, Line, NotShown, Opened, Screens, Stage, Wanted};
use crate::sys::random::random;
use crate::types::{MacAddr, chain, hex, limits};

/// How long an agent may take to bring its side: it starts a program and connects.
const BROUGHT_WITHIN: Duration = Duration::from_secs(12);

/// How long a teacher may take to come: a password is copied by hand.
const CONNECT_WITHIN: Duration = Duration::from_mins(2);

/// How long either side may take over its greeting. A viewer asks its person for the password meanwhile.
const GREET_WITHIN: Duration = Duration::from_mins(1);

/// How often it is looked whether an agent has answered.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Letters and digits that are not taken for each other.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What a view needs besides itself.
#[derive(Clone, Debug)]
pub struct Shared {
    pub screens: Arc<Screens>,
    pub agents: Arc<Agents>,
    pub events: Arc<Events>,
    pub config: watch::Receiver<Arc<Config>>,
    pub clock: Clock,
}

/// Random bytes could not be had.
#[derive(Debug, thiserror::Error)]
#[error("no random number for a password can be drawn")]
pub struct NoRandom(#[source] std::io::Error);

/// Runs until told to stop.
pub async fn run(shared: Shared, mut stop: Stop) -> Result<(), NoRandom> {
    let _unanswered = Unanswered(Arc::clone(&shared.screens));
    let mut views = JoinSet::new();
    let mut config = shared.config.clone();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            wanted = shared.screens.wanted() => {
                // Whoever asked while nobody carried it out has stopped waiting.
                if wanted.answer.is_closed() {
                    continue;
                }
                let ticket = hex(&random::<16>().map_err(NoRandom)?);
                let password = password(random().map_err(NoRandom)?);
                views.spawn(view(shared.clone(), wanted, ticket, password));
            }
            Ok(()) = config.changed() => {
                let now = Arc::clone(&config.borrow_and_update());
                let allowed = |mac: MacAddr| now.room_of(mac).is_some_and(|room| room.modes.screens);
                shared.screens.close_where("the room does not allow it any more", |view| !allowed(view.mac));
            }
            Some(ended) = views.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(error = chain(&panic), "a view of a screen broke off");
                }
            }
        }
    }
}

/// Nobody carries out what is asked for any more, however that came; who asked is told.
struct Unanswered(Arc<Screens>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.refuse_all();
    }
}

/// One view, from wish to end.
async fn view(shared: Shared, wanted: Wanted, ticket: String, password: String) {
    let (mac, name, time, viewer) = (wanted.mac, wanted.name.clone(), wanted.time, wanted.viewer);
    let (listener, at) = match listen(wanted.address).await {
        Ok(bound) => bound,
        Err(why) => return drop(wanted.answer.send(Err(why))),
    };
    let begun = match shared.screens.begin(&wanted, at, ticket, shared.clock.now().civil) {
        Ok(begun) => begun,
        Err(why) => return drop(wanted.answer.send(Err(why))),
    };
    let number = begun.view;
    let over = Over { screens: Arc::clone(&shared.screens), view: number };
    let Begun { ticket, line, end, .. } = begun;
    let act = Act::Screen { ticket: ticket.as_str().into(), control: wanted.control };
    let brought = match bring(&shared, mac, act, line).await {
        Ok(brought) => brought,
        Err(Some(why)) => return drop(wanted.answer.send(Err(NotShown::Client(name, why)))),
        Err(None) => return drop(wanted.answer.send(Err(NotShown::Late(name)))),
    };
    shared.screens.stage(number, Stage::Open, None);
    let opened = Opened { view: number, at, password: password.clone(), connect_within: CONNECT_WITHIN };
    if wanted.answer.send(Ok(opened)).is_err() {
        return;
    }
    let shown = Shown { listener, viewer, password, time, end };
    let (from, why) = show(&shared, number, brought, shown).await;
    drop(over);
    let seen = from.is_some();
    tracing::info!(client = %mac, view = number, seen, why, "looking at a screen ended");
    if let Some(ip) = from {
        let what = Happening::ScreenLeft { from: ip, why };
        shared.events.record(mac, shared.clock.now().civil, what);
    }
}

/// Strikes a view off, however it ends.
struct Over {
    screens: Arc<Screens>,
    view: u64,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.screens.over(self.view);
    }
}

/// A port for one view.
async fn listen(address: Ipv4Addr) -> Result<(TcpListener, SocketAddrV4), NotShown> {
    for port in limits::SCREEN_PORTS {
        let at = SocketAddrV4::new(address, port);
        if let Ok(listener) = TcpListener::bind(at).await {
            return Ok((listener, at));
        }
    }
    Err(NotShown::NoPort(address))
}

/// The agent's side; or why it does not come, in its own words if it has some.
async fn bring(
    shared: &Shared,
    mac: MacAddr,
    act: Act,
    mut line: tokio::sync::oneshot::Receiver<Brought>,
) -> Result<Brought, Option<String>> {
    let ticket = shared.agents.send(mac, act).map_err(|error| Some(error.to_string()))?;
    let begin = Instant::now();
    let brought = loop {
        match timeout(LOOK_EVERY, &mut line).await {
            Ok(Ok(brought)) => break Ok(brought),
            Ok(Err(_)) => break Err(None),
            Err(_) => match shared.agents.answer(ticket) {
                Some(Answer::Trouble(why)) => break Err(Some(why)),
                Some(Answer::Lost) => break Err(None),
                _ if begin.elapsed() >= BROUGHT_WITHIN => break Err(None),
                _ => {}
            },
        }
    };
    shared.agents.forget(ticket);
    brought
}

/// What decides who is shown a screen, and for how long.
struct Shown {
    listener: TcpListener,
    viewer: Option<Ipv4Addr>,
    password: String,
    time: Duration,
    end: watch::Receiver<Option<&'static str>>,
}

/// Until it is over: who looked, and why it ended.
async fn show(shared: &Shared, view: u64, brought: Brought, shown: Shown) -> (Option<Ipv4Addr>, String) {
    let Shown { listener, viewer, password, time, mut end } = shown;
    let Brought { mut line, held: _held } = brought;
    match timeout(GREET_WITHIN, handshake::as_viewer(&mut line)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return (None, format!("the client's program: {}", chain(&error))),
        Err(_) => return (None, "the client's program says nothing".to_owned()),
    }
    let mut ended = async move |fallback: &'static str, until: Instant| {
        tokio::select! {
            () = sleep_until(until) => fallback,
            Ok(why) = end.wait_for(Option::is_some) => why.unwrap_or(fallback),
        }
    };
    let entered = tokio::select! {
        entered = enter(&listener, viewer, &password) => entered,
        why = ended("nobody came to look", Instant::now() + CONNECT_WITHIN) => Err(why),
        // The desktop ended before anybody came.
        () = gone(&mut line) => Err("the client's program ended"),
    };
    drop(listener);
    let (mut teacher, from) = match entered {
        Ok(entered) => entered,
        Err(why) => return (None, why.to_owned()),
    };
    shared.screens.stage(view, Stage::Seen, Some(from));
    let mac = shared.screens.list().into_iter().find(|one| one.view == view).map(|one| one.mac);
    if let Some(mac) = mac {
        tracing::info!(client = %mac, view, ip = %from, "somebody looks at a screen");
        shared.events.record(mac, shared.clock.now().civil, Happening::ScreenSeen { from });
    }
    let pass = tokio::io::copy_bidirectional_with_sizes(
        &mut teacher,
        &mut line,
        limits::SCREEN_BYTES,
        limits::SCREEN_BYTES,
    );
    let why = tokio::select! {
        _ = pass => "one side hung up",
        why = ended("its time was over", Instant::now() + time) => why,
    };
    (Some(from), why.to_owned())
}

/// What is remembered of an address while somebody is waited for.
#[derive(Debug, Default)]
struct Caller {
    /// Connections that are being greeted.
    here: usize,
    wrong: usize,
}

/// Lets the first one in who knows the password. All who connect are greeted at the same time, a few of each address, so
/// that nobody keeps another out by saying nothing, or by guessing.
async fn enter(
    listener: &TcpListener,
    viewer: Option<Ipv4Addr>,
    password: &str,
) -> Result<(TcpStream, Ipv4Addr), &'static str> {
    const TOO_OFTEN: &str = "the password was wrong too often";
    let mut greeted = JoinSet::new();
    let mut callers: HashMap<Ipv4Addr, Caller> = HashMap::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, SocketAddr::V4(from))) = accepted else {
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                };
                let ip = *from.ip();
                if viewer.is_some_and(|viewer| viewer != ip) {
                    tracing::debug!(%ip, "not the one who wanted to look at a screen");
                    continue;
                }
                let caller = callers.entry(ip).or_default();
                let full = greeted.len() >= limits::SCREEN_CALLERS || caller.here >= limits::SCREEN_CALLERS_EACH;
                if full || caller.wrong >= limits::SCREEN_TRIES {
                    tracing::debug!(%ip, "a connection for a screen is not greeted");
                    continue;
                }
                caller.here += 1;
                let challenge = random().map_err(|_| "no random number could be drawn")?;
                greeted.spawn(greet(stream, ip, challenge, password.to_owned()));
            }
            Some(Ok((ip, outcome))) = greeted.join_next() => {
                let caller = callers.entry(ip).or_default();
                caller.here = caller.here.saturating_sub(1);
                match outcome {
                    Ok(stream) => return Ok((stream, ip)),
                    Err(Broken::WrongPassword) => {
                        caller.wrong += 1;
                        tracing::info!(%ip, "wrong password for a screen");
                        let of_viewer = viewer.is_some() && caller.wrong >= limits::SCREEN_TRIES;
                        let of_all: usize = callers.values().map(|caller| caller.wrong).sum();
                        if of_viewer || of_all >= limits::SCREEN_TRIES_OF_ALL {
                            return Err(TOO_OFTEN);
                        }
                    }
                    Err(error) => tracing::debug!(%ip, error = chain(&error), "nobody who looks at a screen"),
                }
                callers.retain(|_, caller| caller.here > 0 || caller.wrong > 0);
            }
        }
    }
}

/// Greets one who connects: the stream, if they know the password.
async fn greet(
    mut stream: TcpStream,
    ip: Ipv4Addr,
    challenge: [u8; 16],
    password: String,
) -> (Ipv4Addr, Result<TcpStream, Broken>) {
    let _ = stream.set_nodelay(true);
    let greeted = timeout(GREET_WITHIN, handshake::as_server(&mut stream, &challenge, &password)).await;
    (ip, greeted.unwrap_or(Err(Broken::Silent)).map(|()| stream))
}

/// Returns when the client's side has ended. It says nothing by itself before a viewer has greeted it.
async fn gone(line: &mut Box<dyn Line>) {
    use tokio::io::AsyncReadExt as _;
    let _ = line.read(&mut [0; 1]).await;
}

fn password(bytes: [u8; rfb::PASSWORD_LENGTH]) -> String {
    bytes
        .iter()
        .filter_map(|byte| LETTERS.get(usize::from(byte % 32)))
        .map(|letter| char::from(*letter))
        .collect()
}

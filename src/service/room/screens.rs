//! Teachers who look at a client's screen: who was offered a view, with which password, and how it ends.
//!
//! A view goes through the router only. The client's agent brings its side over a connection of its own, which is known by
//! a ticket that was drawn for this view; the teacher's program comes to a port of the router that is open for this view,
//! and is let in once, with a password that is made up for it. `serve::screens` carries the bytes; what is asked of it
//! waits here.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot, watch};

use crate::types::{HostName, MacAddr, Moment, RoomName, limits};

/// Either side of a view.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// What an agent brings: its side, and the right to go on, which it keeps as long as this is not dropped.
pub struct Brought {
    pub line: Box<dyn Line>,
    pub held: oneshot::Sender<()>,
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Brought")
    }
}

/// What somebody asks for.
#[derive(Debug)]
pub struct Wanted {
    pub mac: MacAddr,
    pub name: HostName,
    /// Address of the router on the teacher's network.
    pub address: Ipv4Addr,
    /// The only address that is let in, if that is known.
    pub viewer: Option<Ipv4Addr>,
    /// Whether keys and mouse of the teacher reach the client.
    pub control: bool,
    /// How long it may last.
    pub time: Duration,
    pub answer: oneshot::Sender<Result<Opened, NotShown>>,
}

/// What a teacher needs to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub view: u64,
    pub at: SocketAddrV4,
    pub password: String,
    pub connect_within: Duration,
}

/// Why nobody can look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    #[error("`{0}` is in no room; screens are shown only where the room allows it")]
    NoRoom(HostName),
    #[error("screens of the room `{0}` are not shown; allow it with `bramble room screen {0} on`")]
    NotAllowed(RoomName),
    #[error("somebody looks at the screen of `{0}` already; end that with `bramble client screen {0} --end`")]
    Taken(HostName),
    #[error("nobody looks at the screen of `{0}`")]
    NobodyLooks(HostName),
    #[error("{} screens are looked at already; end one of them", limits::SCREENS)]
    TooMany,
    #[error("`{0}` cannot show its screen: {1}")]
    Client(HostName, String),
    #[error("`{0}` does not bring its screen; look at `bramble client show {0}`")]
    Late(HostName),
    #[error("no port from {first} to {last} is free on {0}", first = limits::SCREEN_PORTS.start(), last = limits::SCREEN_PORTS.end())]
    NoPort(Ipv4Addr),
}

impl NotShown {
    /// Stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRoom(_) | Self::NotAllowed(_) => "screens_off",
            Self::Taken(_) => "screen_taken",
            Self::NobodyLooks(_) => "no_such_screen",
            Self::TooMany | Self::NoPort(_) => "too_many",
            Self::Client(..) | Self::Late(_) => "no_screen",
        }
    }
}

/// How far a view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The agent was asked for its side.
    Asked,
    /// The teacher may come.
    Open,
    /// Somebody looks.
    Seen,
}

/// One view, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub view: u64,
    pub mac: MacAddr,
    pub name: HostName,
    pub stage: Stage,
    pub host: Ipv4Addr,
    pub port: u16,
    /// Who looks.
    pub viewer: Option<Ipv4Addr>,
    pub control: bool,
    pub since: Moment,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Screens {
    inner: Mutex<Inner>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    wanted: VecDeque<Wanted>,
    views: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    view: View,
    ticket: String,
    /// Where the agent's side is waited for.
    line: Option<oneshot::Sender<Brought>>,
    /// Why it is to end, once it is.
    end: watch::Sender<Option<&'static str>>,
}

/// A view that has begun: what is waited for.
#[derive(Debug)]
pub struct Begun {
    pub view: u64,
    /// For the agent.
    pub ticket: String,
    pub line: oneshot::Receiver<Brought>,
    pub end: watch::Receiver<Option<&'static str>>,
}

impl Screens {
    /// Somebody wants to look.
    pub fn want(&self, wanted: Wanted) {
        let mut inner = self.lock();
        if inner.wanted.len() >= limits::SCREENS {
            drop(inner);
            let _ = wanted.answer.send(Err(NotShown::TooMany));
            return;
        }
        inner.wanted.push_back(wanted);
        drop(inner);
        self.wanted.notify_one();
    }

    /// The next who wants to look, as soon as there is one.
    pub async fn wanted(&self) -> Wanted {
        loop {
            if let Some(wanted) = self.lock().wanted.pop_front() {
                return wanted;
            }
            self.wanted.notified().await;
        }
    }

    /// Nobody carries out what was asked for: whoever waits is let go.
    pub fn refuse_all(&self) {
        self.lock().wanted.clear();
    }

    /// Notes a view with a `ticket` that nobody can guess.
    pub fn begin(
        &self,
        wanted: &Wanted,
        at: SocketAddrV4,
        ticket: String,
        now: Moment,
    ) -> Result<Begun, NotShown> {
        let mut inner = self.lock();
        if inner.views.iter().any(|held| held.view.mac == wanted.mac) {
            return Err(NotShown::Taken(wanted.name.clone()));
        }
        if inner.views.len() >= limits::SCREENS {
            return Err(NotShown::TooMany);
        }
        inner.last += 1;
        let (line, brought) = oneshot::channel();
        let (end, ends) = watch::channel(None);
        let view = View {
            view: inner.last,
            mac: wanted.mac,
            name: wanted.name.clone(),
            stage: Stage::Asked,
            host: *at.ip(),
            port: at.port(),
            viewer: None,
            control: wanted.control,
            since: now,
        };
        let begun = Begun { view: inner.last, ticket: ticket.clone(), line: brought, end: ends };
        inner.views.push(Held { view, ticket, line: Some(line), end });
        Ok(begun)
    }

    /// The agent of `mac` brings its side under this ticket; `None` if nobody waits for it.
    pub fn taker(&self, mac: MacAddr, ticket: &str) -> Option<oneshot::Sender<Brought>> {
        let mut inner = self.lock();
        let held = inner.views.iter_mut().find(|held| held.view.mac == mac && held.ticket == ticket)?;
        held.line.take()
    }

    /// A view is further on.
    pub fn stage(&self, view: u64, stage: Stage, viewer: Option<Ipv4Addr>) {
        if let Some(held) = self.lock().views.iter_mut().find(|held| held.view.view == view) {
            held.view.stage = stage;
            held.view.viewer = viewer;
        }
    }

    /// A view is over.
    pub fn over(&self, view: u64) {
        self.lock().views.retain(|held| held.view.view != view);
    }

    /// Ends the view of a client; whether there was one.
    pub fn close(&self, mac: MacAddr, why: &'static str) -> bool {
        self.close_where(why, |view| view.mac == mac) > 0
    }

    /// Ends every view that `which` picks; how many.
    pub fn close_where(&self, why: &'static str, which: impl Fn(&View) -> bool) -> usize {
        let inner = self.lock();
        let picked = inner.views.iter().filter(|held| which(&held.view));
        picked.filter(|held| held.end.send_replace(Some(why)).is_none()).count()
    }

    pub fn list(&self) -> Vec<View> {
        self.lock().views.iter().map(|held| held.view.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);
    const AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), 5901);

    fn wanted(n: u8) -> Wanted {
        let (answer, _) = oneshot::channel();
        Wanted {
            mac: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, n]),
            name: format!("lab-{n:02}").parse().expect("a name"),
            address: *AT.ip(),
            viewer: None,
            control: false,
            time: Duration::from_mins(1),
            answer,
        }
    }

    #[test]
    fn one_looks_at_a_client_and_only_its_agent_brings_the_screen() {
        let screens = Screens::default();
        let noon = Moment::from_secs(1_795_435_200);
        let begin = |n: u8| screens.begin(&wanted(n), AT, format!("ticket-{n}"), noon);
        let mut first = begin(1).expect("begun");
        assert_eq!(begin(1).expect_err("taken"), NotShown::Taken("lab-01".parse().expect("a name")));
        assert!(screens.taker(PI, "ticket-2").is_none(), "another ticket");
        assert!(screens.taker(MacAddr::new([2; 6]), "ticket-1").is_none(), "another client");
        let taker = screens.taker(PI, "ticket-1").expect("it is waited for");
        assert!(screens.taker(PI, "ticket-1").is_none(), "once");
        let (line, _) = tokio::io::duplex(1);
        let (held, _) = oneshot::channel();
        taker.send(Brought { line: Box::new(line), held }).expect("taken");
        assert!(first.line.try_recv().is_ok());
        screens.stage(first.view, Stage::Seen, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(screens.list()[0].stage, Stage::Seen);
        assert!(!screens.close(MacAddr::new([2; 6]), "x"));
        assert!(screens.close(PI, "enough"));
        assert_eq!(*first.end.borrow(), Some("enough"));
        screens.over(first.view);
        assert_eq!(screens.list(), []);

        let most = u8::try_from(limits::SCREENS).expect("few");
        let held: Vec<_> = (0..most).map(|n| begin(n).expect("begun")).collect();
        assert_eq!(begin(most).expect_err("too many"), NotShown::TooMany);
        drop(held);
    }

    #[test]
    fn no_more_wait_than_can_look() {
        let screens = Screens::default();
        let ask = |n: usize| {
            let (answer, answered) = oneshot::channel();
            screens.want(Wanted { answer, ..wanted(u8::try_from(n).expect("few")) });
            answered
        };
        let mut waiting: Vec<_> = (0..limits::SCREENS).map(ask).collect();
        assert!(waiting.iter_mut().all(|answered| answered.try_recv().is_err()), "nobody is answered yet");
        let refused = ask(limits::SCREENS).try_recv().expect("answered at once");
        assert_eq!(refused.expect_err("too many"), NotShown::TooMany);
    }
}

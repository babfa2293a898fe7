//! Actions on clients in words: what somebody wants done, why it is refused, how far it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::agent::act::Words;
use crate::service::clients::Known;
use crate::types::{HostName, MacAddr, Moment, RoomName, limits};

/// How long an agent may take over what needs no time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// How long a client may take to end its system: systemd gives what does not end by itself 90 seconds.
const OFF_WITHIN: Duration = Duration::from_mins(2);

/// How long people get to save what they have open when they are logged out, and a little.
const OUT_WITHIN: Duration = Duration::from_secs(30);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Shutdown,
    Reboot,
    Logout,
    Lock,
    Message,
    Identify,
    Blank,
    Unblank,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Shutdown,
        Self::Reboot,
        Self::Logout,
        Self::Lock,
        Self::Message,
        Self::Identify,
        Self::Blank,
        Self::Unblank,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::Logout => "logout",
            Self::Lock => "lock",
            Self::Message => "message",
            Self::Identify => "identify",
            Self::Blank => "blank",
            Self::Unblank => "unblank",
        }
    }

    /// Whether people lose what they have open.
    pub(super) const fn ends_work(self) -> bool {
        matches!(self, Self::Shutdown | Self::Reboot)
    }

    /// What happens to a client, as people at it read it.
    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Shutdown => "is switched off",
            Self::Reboot => "starts again",
            Self::Logout => "logs you out",
            Self::Lock => "is locked",
            Self::Blank => "goes dark",
            Self::Unblank | Self::Message | Self::Identify => "shows something",
        }
    }

    pub(super) const fn within(self) -> Duration {
        match self {
            Self::Shutdown | Self::Reboot => OFF_WITHIN,
            Self::Logout => OUT_WITHIN,
            Self::Lock | Self::Message | Self::Identify | Self::Blank | Self::Unblank => ANSWERED_WITHIN,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text was no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no action; there are `shutdown`, `reboot`, `logout`, `lock`, `message`, `identify`, `blank` and `unblank`"
)]
pub struct BadKind(String);

impl FromStr for Kind {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        let bad = || BadKind(text.chars().take(limits::NAME_SHOWN).collect());
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(bad)
    }
}

/// What somebody wants done.
#[derive(Clone, Debug)]
pub struct Request {
    pub kind: Kind,
    /// In the order in which they are told.
    pub targets: Vec<Known>,
    /// For the people at the clients; may be empty, except for [`Kind::Message`].
    pub message: Words,
    /// Also where somebody is logged in.
    pub force: bool,
    /// Time between one client and the next.
    pub pace: Duration,
    /// How long before it begins people are told.
    pub grace: Duration,
    /// The router is switched off behind the last client.
    pub router: bool,
    /// Who wants it, such as `an administrator`.
    pub by: String,
}

/// Why nothing was begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("nobody was meant; there is no adopted client that fits")]
    Nobody,
    #[error("there is no message to show; give one")]
    NoMessage,
    #[error("the router is switched off only behind all clients, with `shutdown`")]
    NotTheRouter,
    #[error(
        "nothing was done, because people are logged in: {}; wait, log them out, or do it all the same (`--force`)",
        people.join(", ")
    )]
    LoggedIn { people: Vec<String> },
    #[error("{} actions are under way already; wait for one to end or stop it", limits::ACTIONS_RUNNING)]
    TooMany,
}

impl Refused {
    /// Stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nobody => "no_clients",
            Self::NoMessage => "missing",
            Self::NotTheRouter => "bad_value",
            Self::LoggedIn { .. } => "people_logged_in",
            Self::TooMany => "too_many",
        }
    }

    /// The argument at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Nobody => Some("client"),
            Self::NoMessage => Some("message"),
            Self::NotTheRouter => Some("router"),
            Self::LoggedIn { .. } => Some("force"),
            Self::TooMany => None,
        }
    }
}

/// How far an action is at one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    Waiting,
    /// Told, and not yet seen to be done.
    Sent,
    Done,
    Failed,
    /// There is no agent that could be told.
    Unreachable,
    /// It was told, and nothing was seen of it in time.
    TimedOut,
    /// Somebody stopped the action before this client was told.
    Stopped,
}

impl Progress {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Stopped => "stopped",
        }
    }

    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Sent)
    }
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// People see how much time is left; it can still be stopped for all.
    Countdown,
    Running,
    Ended,
}

/// One action, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionStatus {
    pub action: u64,
    pub kind: Kind,
    pub phase: Phase,
    pub by: String,
    pub message: String,
    pub started_at: Moment,
    /// When the first client is, or was, told.
    pub begins_at: Moment,
    pub ended_at: Option<Moment>,
    /// How many clients are done, of all.
    pub done: usize,
    pub of: usize,
    pub targets: Vec<TargetStatus>,
    /// What becomes of the router, if it was to be switched off too: a sentence.
    pub router: Option<String>,
}

/// One client of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    pub mac: MacAddr,
    pub name: HostName,
    pub room: Option<RoomName>,
    pub state: Progress,
    /// Why, or what it does; may be empty.
    pub says: String,
}

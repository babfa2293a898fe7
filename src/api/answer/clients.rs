//! What methods answer about one client, or each: what it is, what it does, what happened.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::SessionLine;
use crate::proto::agent::health::Health as AgentHealth;
use crate::service::boots::Boot;
use crate::service::events::{Event, Weight};
use crate::service::room::console::ConsoleLine;
use crate::service::room::vitals::Sample;
use crate::service::state::Word;
use crate::service::verdicts::Verdict;
use crate::types::{
    ByteSize, HostName, ImageName, ImageRef, ImageVersion, MacAddr, Mode, Moment, PageUrl, RoomName, Serial,
};

/// Answer of `events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<ClientEvent>,
    /// There are older ones of this kind.
    pub more: bool,
}

/// One line of a timeline and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientEvent {
    pub client: MacAddr,
    pub name: HostName,
    pub weight: Weight,
    #[serde(flatten)]
    pub line: Line,
}

/// One line of a timeline: the event for programs, `says` for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub says: String,
    #[serde(flatten)]
    pub event: Event,
}

impl From<Event> for Line {
    fn from(event: Event) -> Self {
        Self { says: event.what.to_string(), event }
    }
}

/// Answer of `client_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    pub now: Moment,
    pub clients: Vec<Client>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub mac: MacAddr,
    pub name: HostName,
    pub adopted: bool,
    pub room: Option<RoomName>,
    /// What it boots next.
    pub image: Option<ImageRef>,
    /// The version it tries out, whatever the configuration says (`image_test`).
    pub trial: Option<ImageVersion>,
    /// The image whose draft it boots instead, to change it (`image_maintain`).
    pub maintains: Option<ImageName>,
    /// What it was last told to boot.
    pub booted: Option<ImageVersion>,
    pub ip: Option<Ipv4Addr>,
    pub network: Option<String>,
    /// Such as `Pi 4B`; `None` until it has said so.
    pub model: Option<String>,
    pub memory: Option<ByteSize>,
    pub serial: Option<Serial>,
    pub first_seen: Option<Moment>,
    pub last_seen: Option<Moment>,
    pub state: Word,
    /// Since when it is in this state.
    pub since: Option<Moment>,
    /// The state in plain words.
    pub says: String,
    /// What is wrong with it and what to do, the gravest first.
    pub verdicts: Vec<Verdict>,
    /// What its agent measured last.
    pub health: Option<HealthNow>,
    /// How it is used from its next start on.
    pub mode: Mode,
    /// How it has been used since its last start, as long as its agent is connected.
    pub mode_now: Option<Mode>,
    /// Whether a teacher may look at its screen (`screen_open`).
    pub screen: bool,
    /// What the configuration says of this client alone; `None` until it is adopted.
    pub own: Option<Own>,
}

/// What a client has of its own, where it would else have what its room has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    pub image: Option<ImageRef>,
    pub ip: Option<Ipv4Addr>,
    pub mode: Option<Mode>,
    pub page: Option<PageUrl>,
}

/// How a client is, and when its agent said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthNow {
    pub at: Moment,
    #[serde(flatten)]
    pub health: AgentHealth,
}

/// A verdict of a client that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientVerdict {
    pub mac: MacAddr,
    pub name: HostName,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Answer of `client_get`, and of `client_adopt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientDetail {
    pub now: Moment,
    #[serde(flatten)]
    pub client: Client,
    /// Oldest first.
    pub timeline: Vec<Line>,
    /// The last boots, condensed, oldest first; the last one may be under way.
    pub boots: Vec<Boot>,
    /// What its agent measured over the last hours, oldest first.
    pub history: Vec<Sample>,
    /// What its bootloader and kernel said over the network, oldest first.
    pub console: Vec<ConsoleLine>,
    /// Of its agent, while that is connected.
    pub agent: Option<String>,
    /// Who was logged in last, or is, as far as that is remembered.
    pub last_session: Option<SessionLine>,
}

/// Answer of `client_forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    pub mac: MacAddr,
    pub name: HostName,
}

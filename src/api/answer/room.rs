//! What methods answer about rooms: their seats, who sits there, how the room is used, and what is done to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::service::boots::RoomBoots;
use crate::service::jobs::JobStatus;
use crate::service::room::action::ActionStatus;
use crate::service::state::Word;
use crate::service::verdicts::Verdict;
use crate::types::{
    ByteSize, ClassName, FullName, HostName, ImageRef, MacAddr, Mode, Moment, PageUrl, RoomName, SessionId,
    SessionKind, ShareName, UserName,
};

/// Answer of `overview`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    pub now: Moment,
    /// Another one whenever anything below is another.
    pub mark: String,
    /// Left out if it is still what the mark that was given stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

/// Everything that one look at the room shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    pub version: String,
    pub since: Moment,
    pub data: PathBuf,
    /// Free space where `data` is, rounded down, and all there is.
    pub free: Option<ByteSize>,
    pub size: Option<ByteSize>,
    /// Whether each service runs.
    pub services: BTreeMap<String, bool>,
    /// One sentence each; empty if all is well.
    pub problems: Vec<String>,
    /// What is new and no problem, one sentence each: a newer release of an image.
    #[serde(default)]
    pub news: Vec<String>,
    /// How many images there are.
    pub images: usize,
    pub rooms: Vec<RoomSummary>,
    pub seats: Vec<Seat>,
    /// Those queued and running, and the last that ended.
    pub jobs: Vec<JobStatus>,
}

/// A room of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    pub name: RoomName,
    pub image: Option<ImageRef>,
}

/// One client, as much as a seat map shows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub mac: MacAddr,
    pub name: HostName,
    pub adopted: bool,
    pub room: Option<RoomName>,
    pub image: Option<ImageRef>,
    pub ip: Option<Ipv4Addr>,
    pub model: Option<String>,
    pub state: Word,
    pub since: Option<Moment>,
    pub says: String,
    /// What is wrong with it and what to do, the gravest first.
    pub verdicts: Vec<Verdict>,
    pub people: Vec<Sitting>,
}

/// Somebody who is logged in at a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sitting {
    pub session: SessionId,
    pub user: UserName,
    pub full_name: FullName,
    pub since: Moment,
}

/// Answer of `room_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rooms {
    pub now: Moment,
    /// By name; those of no room are last, without one.
    pub rooms: Vec<RoomState>,
}

/// One room, and how its clients are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomState {
    pub room: Option<RoomName>,
    pub image: Option<ImageRef>,
    pub clients: usize,
    pub up: usize,
    /// Clients with a verdict that keeps them from working.
    pub stopped: usize,
    /// People who are logged in there.
    pub people: usize,
    #[serde(flatten)]
    pub boots: RoomBoots,
    /// Which client took longest.
    pub slowest: Option<HostName>,
    /// How its clients are used, unless they say otherwise; `None` for those of no room.
    pub mode: Option<Mode>,
    /// What belongs to each mode, as `mode_set` takes it; `None` for those of no room.
    pub modes: Option<ModeDetails>,
    /// Whether a teacher may look at the screens of its clients.
    pub screens: bool,
}

/// What is set for each way to use a room, whichever of them is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeDetails {
    /// 0 for as long as they like.
    pub guest_minutes: u32,
    pub kiosk_page: Option<PageUrl>,
    /// 0 for never.
    pub kiosk_minutes: u32,
    pub exam_classes: Vec<ClassName>,
    pub exam_accounts: Vec<UserName>,
    pub exam_shares: Vec<ShareName>,
}

/// Answer of `mode_set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeSet {
    pub mode: Mode,
    /// When it counts, in a sentence.
    pub says: String,
    /// Clients that run in another mode until they are started again.
    pub restart: Vec<HostName>,
}

/// Answer of `screen_allow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenAllowed {
    pub room: RoomName,
    pub allowed: bool,
}

/// Answer of `screen_open`: what a VNC program needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenOpened {
    pub view: u64,
    pub name: HostName,
    pub host: String,
    pub port: u16,
    /// Good for one connection.
    pub password: String,
    pub connect_within_seconds: u64,
}

/// Without the password.
impl std::fmt::Debug for ScreenOpened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "view {} of {} at {}:{}", self.view, self.name, self.host, self.port)
    }
}

/// Answer of `screen_list`, and of `screen_close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screens {
    pub now: Moment,
    pub screens: Vec<crate::service::room::screens::View>,
}

/// Answer of `action_list`; `client_action`, `action_get` and `action_stop` answer with one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionsList {
    pub now: Moment,
    /// Newest first.
    pub actions: Vec<ActionStatus>,
}

/// Answer of `session_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    pub now: Moment,
    pub sessions: Vec<SessionLine>,
}

/// Somebody who is, or was, logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLine {
    pub session: SessionId,
    pub user: UserName,
    pub full_name: FullName,
    pub client: MacAddr,
    /// Name of the client.
    pub name: HostName,
    pub kind: SessionKind,
    /// Of PAM, such as `lightdm`.
    pub service: String,
    pub terminal: String,
    pub since: Moment,
    /// When it ended; `None` while it is open.
    pub ended: Option<Moment>,
    /// Why it ended, or why it is being ended.
    pub why: Option<String>,
}

/// Answer of `session_end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnded {
    pub session: SessionId,
}

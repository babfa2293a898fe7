//! What methods answer. The command line reads the same types back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use super::eeprom::{Eeprom, EepromFate, EepromPlan, Eeproms, Medium};
pub use crate::config::problem::Problem;
use crate::proto::agent::health::Health as AgentHealth;
pub use crate::service::accounts::import::{Fate, LineFate};
pub use crate::service::accounts::steps::{Outcome, Step};
pub use crate::service::boots::{Boot, RoomBoots};
use crate::service::events::{Event, Weight};
use crate::service::health::ServiceHealth;
pub use crate::service::homes::{Attic, HomeUsage};
pub use crate::service::images::catalogue::{News, Offer, Source as CatalogueSource};
pub use crate::service::images::devices::{Device, DevicePartition};
pub use crate::service::images::drafts::DraftSummary;
pub use crate::service::images::exported::Export;
pub use crate::service::images::library::VersionSummary;
pub use crate::service::images::uploads::Upload;
pub use crate::service::jobs::JobStatus;
pub use crate::service::room::action::{ActionStatus, TargetStatus};
pub use crate::service::room::console::ConsoleLine;
pub use crate::service::room::vitals::Sample;
pub use crate::service::shares::ShareSummary;
use crate::service::state::Word;
pub use crate::service::verdicts::Verdict;
use crate::types::{
    Arch, ByteSize, ClassName, FullName, Gid, HostName, ImageName, ImageRef, ImageVersion, MacAddr, Mode,
    Moment, PageUrl, Role, RoomName, Secret, Serial, SessionId, SessionKind, ShareName, Uid, UserName,
    Version,
};

/// Answer of `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub since: Moment,
    pub now: Moment,
    pub config: PathBuf,
    pub data: PathBuf,
    /// Resident memory of the daemon, in bytes.
    pub memory: ByteSize,
    /// Free space where `data` is, in bytes.
    pub free: Option<ByteSize>,
    pub networks: Vec<NetworkStatus>,
    pub services: BTreeMap<String, ServiceHealth>,
    /// How many clients are in which state; states without a client are left out.
    pub clients: BTreeMap<String, usize>,
    pub images: usize,
    /// Jobs queued and running.
    pub jobs: usize,
    /// One sentence each; empty if all is well.
    pub problems: Vec<String>,
    /// What is new and no problem, one sentence each: a newer release of an image.
    #[serde(default)]
    pub news: Vec<String>,
    /// Clients that do not work, and why.
    pub verdicts: Vec<ClientVerdict>,
}

/// One served network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    pub name: String,
    pub device: String,
    pub address: Ipv4Addr,
    /// First and last address for those without a reservation.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// Answer of `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub healthy: bool,
    pub problems: Vec<String>,
}

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

/// Answer of `image_shell`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    pub image: ImageName,
    /// The draft that the shell works in.
    pub draft: PathBuf,
    /// What to type in a terminal on the router.
    pub command: String,
    /// Page of LuCI with such a terminal, if `luci-app-ttyd` is installed; below `/cgi-bin/luci/`.
    pub page: Option<String>,
    pub says: String,
}

/// Answer of `job_output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOutput {
    pub job: u64,
    /// Position of the first character; larger than was asked for if what was before is forgotten.
    pub from: u64,
    pub text: String,
    /// What to ask for next.
    pub next: u64,
    /// The exit code, once the program has ended and all of its output was given.
    pub code: Option<u8>,
    /// Whether the job is over.
    pub over: bool,
}

/// Answer of `takeover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// What differs between `/etc/config/dhcp` and what the configuration wants of it.
    pub changes: Vec<TakeoverChange>,
    /// Networks whose section there has a value of ours.
    pub networks: Vec<String>,
    /// One sentence each: what Bramble does not follow, what is in its way.
    pub notices: Vec<String>,
}

/// One option of `/etc/config/dhcp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeoverChange {
    /// As `uci` names it.
    pub path: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub why: String,
}

/// Answer of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub ok: bool,
    pub problems: Vec<ProblemAt>,
}

/// One problem of a configuration; see [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemAt {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub path: String,
    pub message: String,
    /// All of it in one line, as the command line prints it.
    pub text: String,
}

impl From<&Problem> for ProblemAt {
    fn from(problem: &Problem) -> Self {
        let Problem { file, line, column, path, message } = problem.clone();
        Self { file, line, column, path, message, text: problem.to_string() }
    }
}

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

/// Answer of `action_list`; `client_action`, `action_get` and `action_stop` answer with one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionsList {
    pub now: Moment,
    /// Newest first.
    pub actions: Vec<ActionStatus>,
}

/// Answer of `client_forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    pub mac: MacAddr,
    pub name: HostName,
}

/// Answer of `image_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    pub images: Vec<Image>,
}

/// One image, as its current version describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: ImageName,
    pub current: Option<Version>,
    /// All versions, oldest first.
    pub versions: Vec<Version>,
    pub release: String,
    pub arch: Option<Arch>,
    /// Of all versions, on the disk.
    pub bytes: u64,
    /// Of their packed files, beside that.
    #[serde(default)]
    pub packed: u64,
    /// Clients that boot it next.
    pub clients: Vec<HostName>,
    /// The version that a roll-back makes current.
    pub before: Option<Version>,
    pub draft: Option<DraftSummary>,
}

/// Answer of `image_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDetail {
    pub name: ImageName,
    pub current: Option<Version>,
    pub clients: Vec<HostName>,
    /// Oldest first.
    pub versions: Vec<VersionSummary>,
    pub draft: Option<DraftSummary>,
}

/// Answer of `image_rename`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    pub image: ImageName,
    /// Sections of the configuration that name it and were changed.
    pub sections: Vec<String>,
    pub says: String,
}

/// Answer of `image_test`, `image_promote` and `image_rollback`: what clients boot from their next start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The version it is about; none if a room is left without an image.
    pub image: Option<ImageVersion>,
    /// Only this room, if it is about one.
    pub room: Option<RoomName>,
    /// Clients that boot it when they next start.
    pub clients: Vec<HostName>,
    /// Those of them that run something else until then.
    pub still: Vec<ClientOn>,
    /// Clients of the image that stay with another version, because one is pinned for them or tried out.
    pub keep: Vec<ClientOn>,
    /// The action that has those in `still` start again, or asks the people there to.
    #[serde(default)]
    pub action: Option<u64>,
    /// All of this in plain words.
    pub says: String,
}

/// Answer of `image_maintain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    pub image: ImageName,
    /// The client that boots its draft.
    pub client: Option<HostName>,
    /// What happens now, in plain words.
    pub says: String,
}

/// A client and what it boots or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientOn {
    pub client: HostName,
    pub image: ImageVersion,
}

/// Answer of methods that start a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub job: u64,
}

/// Answer of `image_remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// What is no longer on record.
    pub versions: Vec<ImageVersion>,
    /// What clients of the image boot from now on, if it still has a version.
    pub current: Option<Version>,
    /// Deletes the files.
    pub job: u64,
}

/// Answer of `home_usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Homes {
    pub now: Moment,
    pub homes: Vec<HomeUsage>,
    /// Homes of accounts that are gone, oldest first.
    pub attic: Vec<Attic>,
}

/// Answer of `share_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    pub now: Moment,
    pub shares: Vec<ShareSummary>,
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

/// Answer of `job_list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    pub now: Moment,
    pub jobs: Vec<JobStatus>,
}

/// Answer of `account_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    pub now: Moment,
    /// How many there are in all.
    pub total: usize,
    pub offset: usize,
    /// They are kept in a directory, which alone knows and changes the rest of them.
    #[serde(default)]
    pub elsewhere: bool,
    pub accounts: Vec<Account>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: UserName,
    pub uid: Uid,
    pub full_name: FullName,
    pub note: String,
    pub role: Role,
    pub classes: Vec<ClassName>,
    pub enabled: bool,
    pub has_password: bool,
    pub must_change: bool,
    pub expires_at: Option<Moment>,
    /// Of the account itself; its classes or the setting count if there is none.
    pub quota: Option<ByteSize>,
    /// `None` for somebody who is kept in a directory.
    pub created_at: Option<Moment>,
    pub password_at: Option<Moment>,
    pub last_login_at: Option<Moment>,
    pub last_login_on: Option<MacAddr>,
}

/// Answer of `account_add` and `account_password`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewPasswords {
    pub accounts: Vec<Slip>,
    /// The page to print, if one was asked for.
    pub page: Option<String>,
}

/// An account and its new password, which nobody can look up later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slip {
    pub name: UserName,
    pub full_name: FullName,
    pub classes: Vec<ClassName>,
    pub password: Secret,
}

/// Answer of `account_remove` and `class_remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    pub accounts: Vec<UserName>,
    /// How many of them had a home, which is in the attic now.
    pub homes: usize,
    /// How many sessions of theirs are being ended.
    #[serde(default)]
    pub sessions: usize,
}

/// Answer of `account_import` without `apply`, and of `account_imported`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// Whether it was done, or would be.
    pub applied: bool,
    pub add: usize,
    pub change: usize,
    pub same: usize,
    pub refused: usize,
    pub new_classes: Vec<ClassName>,
    /// Headings that mean nothing here.
    pub ignored_columns: Vec<String>,
    pub lines: Vec<LineFate>,
    /// Those that were made up.
    pub passwords: NewPasswords,
}

/// Answer of `account_test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// The name that was tried.
    pub account: String,
    /// Whether every step went well.
    pub works: bool,
    pub steps: Vec<Step>,
}

/// Answer of `account_export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    pub csv: String,
}

/// Answer of `class_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    pub classes: Vec<Class>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    pub name: ClassName,
    pub gid: Gid,
    pub note: String,
    /// Of the home of each member.
    pub quota: Option<ByteSize>,
    pub members: u32,
}

/// Answer of `class_move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassMoved {
    pub from: ClassName,
    pub to: ClassName,
    pub accounts: usize,
}

/// Answer of `image_catalogue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The configured lists, and how reading them went last.
    pub lists: Vec<CatalogueSource>,
    /// How many there are, with those that are left out here.
    pub total: usize,
    pub offers: Vec<Offer>,
    /// Newer releases of images that came from a list.
    pub news: Vec<News>,
}

/// Answer of `device_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    pub devices: Vec<Device>,
}

/// Answer of `image_desktop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desktop {
    pub people: Vec<DesktopOf>,
}

/// A person of an image, and what of their desktop would become everybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesktopOf {
    pub name: String,
    pub settings: Vec<SettingOf>,
}

/// One file: where it is below the home, and where it would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingOf {
    pub from: String,
    pub to: String,
}

/// Answer of `image_exports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exports {
    /// Newest first.
    pub exports: Vec<Export>,
}

/// Answer of `upload_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploads {
    pub uploads: Vec<Upload>,
}

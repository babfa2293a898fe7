//! UCI text → a [`Config`] that is right, or every problem with its place.
//!
//! Four files are read: `bramble` (ours), and beside it `network` (addresses of the chosen networks), `dhcp` (pool,
//! reservations and options to inherit) and `system` (time zone). Loading never stops at the first problem, and a
//! configuration with a problem is never used, not even in part.
//!
//! Owns no state: [`load`](load::load) is a function of the texts. What differs between two configurations is
//! [`diff::Change`]; what an option means is described once, in [`schema`].

pub mod catalogue;
pub mod check;
pub mod dhcp_option;
pub mod diff;
pub mod directory;
mod dnsmasq;
pub mod edit;
mod fields;
pub mod inherit;
pub mod kind;
pub mod load;
mod modes;
mod people;
pub mod problem;
pub mod schedule;
pub mod schema;
pub mod uci;

pub use catalogue::Catalogue;
pub use directory::Directory;
pub use modes::{Exam, Modes};
pub use people::{Accounts, Ldap, Source, Sudo, Twice, usual_groups};
pub use schedule::{Schedule, ScheduledAction};

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::portmap::NFS_PORT;
use crate::types::{
    ByteSize, ClassName, HostName, ImageRef, MacAddr, Mode, NfsUrl, PageUrl, RoomName, ShareName, Subnet,
};

/// Everything a person decided, checked. Cheap to clone behind an `Arc`; compared field by field on reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub enabled: bool,
    /// Folder on attached storage.
    pub data: PathBuf,
    pub log_level: LogLevel,
    /// Time zone of the router (IANA name, from `/etc/config/system`); `None` where it has not been set.
    pub timezone: Option<String>,
    /// The same as a POSIX rule, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    pub clock_rule: Option<String>,
    pub networks: Vec<Network>,
    /// Names that the router's owner gave to something that is no client and no reservation of ours, in small letters.
    pub names: Vec<String>,
    pub dhcp: Dhcp,
    pub tftp: Tftp,
    pub nfs: Nfs,
    pub catalogue: Catalogue,
    pub accounts: Accounts,
    pub directory: Directory,
    pub images: Images,
    pub homes: Homes,
    pub shares: Vec<Share>,
    pub ldap: Ldap,
    pub rooms: Vec<Room>,
    pub clients: Vec<Client>,
    pub schedules: Vec<Schedule>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// One network that Bramble serves, with everything inherited from `/etc/config/network` and `/etc/config/dhcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Logical name, such as `lan`.
    pub name: String,
    /// Kernel name of the interface, such as `br-lan`.
    pub device: String,
    /// The router's own address there: DHCP server identifier, TFTP and NFS server.
    pub address: Ipv4Addr,
    pub subnet: Subnet,
    /// Addresses for those without a reservation; `None` where only reservations are served.
    pub pool: Option<RangeInclusive<Ipv4Addr>>,
    /// [`FOREVER`] for a lease that never runs out.
    pub lease_time: Duration,
    /// Tags that every client of this network has: its logical name, and `option networkid` of its `config dhcp`.
    pub tags: Vec<String>,
    /// Subnets behind DHCP relays, served from this network: by `giaddr`.
    pub relayed: Vec<RelayedSubnet>,
    pub options: NetworkOptions,
    pub reservations: Vec<Reservation>,
    /// `dhcp_boot` and tags of `/etc/config/dhcp`, for machines that are not Pis.
    pub boot: Vec<BootRule>,
}

/// A lease time that stands for a lease that never runs out (RFC 2131 §3.3: 0xffffffff seconds).
pub const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// A subnet reached through a relay agent (RFC 2131 §4.3.1: chosen by `giaddr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedSubnet {
    pub subnet: Subnet,
    pub pool: Option<RangeInclusive<Ipv4Addr>>,
    pub router: Option<Ipv4Addr>,
    pub lease_time: Duration,
}

/// What every client of a network is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Option 3; the router itself unless configured.
    pub routers: Vec<Ipv4Addr>,
    /// Option 6; the router itself unless configured.
    pub dns: Vec<Ipv4Addr>,
    /// Option 42; the router itself if it serves time, unless configured.
    pub ntp: Vec<Ipv4Addr>,
    /// Option 15.
    pub domain: Option<String>,
    /// Any other option, already encoded. They go before the fields above: an option 3 here replaces `routers`. Of those
    /// with the same code (and the same `within`) whose tags fit, the first counts.
    pub raw: Vec<RawOption>,
}

/// `list dhcp_option '[tag:NAME,…][encap:CODE,]CODE,VALUE'`, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOption {
    pub code: u8,
    /// Empty for a `CODE` without a value: dnsmasq then does not send the option, not even its own default.
    pub bytes: Vec<u8>,
    /// Sent only to hosts with all of these tags; a tag with a leading `!` must be absent.
    pub tags: Vec<String>,
    /// `dhcp_option_force`: sent even if not asked for.
    pub force: bool,
    /// Where `code` counts, if not among the ordinary options.
    pub within: Option<Within>,
}

/// Options inside another option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// `encap:CODE,…`: all of these together are the value of option `CODE`.
    Encap(u8),
    /// `vendor:TEXT,…`: inside option 43, for clients whose option 60 contains this.
    Vendor(Vec<u8>),
}

/// `config host` of `/etc/config/dhcp`, or a client of ours with an `ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub macs: Vec<MacAddr>,
    /// Hardware addresses with `*` for some octets; an address in `macs` of any reservation goes before.
    pub patterns: Vec<[Option<u8>; 6]>,
    /// `config host` without `mac`: matched by the host name that the client sends (option 12).
    pub by_name: bool,
    pub ip: Option<Ipv4Addr>,
    pub name: Option<HostName>,
    pub lease_time: Option<Duration>,
    pub tags: Vec<String>,
    /// `option ip 'ignore'`: never answered.
    pub ignore: bool,
}

/// `dhcp_boot` with its conditions: what dnsmasq would have told an x86 PXE machine. Of a network's rules, the first
/// whose tags fit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRule {
    /// All of these tags must be set; a tag with a leading `!` must not.
    pub tags: Vec<String>,
    pub file: String,
    pub server_name: Option<String>,
    /// `None`: the router itself.
    pub server: Option<Ipv4Addr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dhcp {
    pub mode: DhcpMode,
    pub inherit: bool,
    pub unknown_pi: UnknownPi,
    /// Tags set by what a client shows: `config match` / `vendorclass` / `userclass` / `mac` of `/etc/config/dhcp`.
    pub matches: Vec<TagMatch>,
}

/// Sets `tag` for a client that shows something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMatch {
    pub tag: String,
    pub on: MatchOn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchOn {
    /// Option 60 contains this.
    VendorClass(Vec<u8>),
    /// Option 77 contains this.
    UserClass(Vec<u8>),
    /// Option `code` is present and, if given, contains this value: `anywhere` for text, else at a multiple of the
    /// value's length (a list of numbers).
    Option { code: u8, value: Option<Vec<u8>>, anywhere: bool },
    /// Sub-option `code` of the relay agent's option 82 has this value: 1 circuit, 2 remote, 6 subscriber.
    Relay { code: u8, value: Vec<u8> },
    /// Hardware address with `*` for any octet.
    Mac([Option<u8>; 6]),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhcpMode {
    /// The only DHCP server of the network.
    #[default]
    Authoritative,
    /// Another server gives addresses; Bramble adds what a Pi needs.
    Proxy,
    Off,
}

/// What a Pi that nobody has adopted gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPi {
    /// An address, and it appears as new.
    #[default]
    Offer,
    Ignore,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tftp {
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nfs {
    pub backend: NfsBackend,
    /// Of our own server, for NFS and MOUNT.
    pub port: u16,
}

impl Default for Nfs {
    fn default() -> Self {
        Self { backend: NfsBackend::Embedded, port: NFS_PORT }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NfsBackend {
    #[default]
    Embedded,
    /// Other software serves images. The agent comes from us, and so do homes and shares.
    External(NfsUrl),
}

/// Old versions of operating systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// So many of each image that nobody boots; `None` for all.
    pub keep: Option<u32>,
    /// So long; `None` for ever.
    pub keep_for: Option<Duration>,
}

/// The folders of people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes {
    /// For who has no other quota; `None` for no bound.
    pub quota: Option<ByteSize>,
    /// Whether caches of programs live in the client's memory.
    pub local_caches: bool,
    /// Whether homes and shares go over the network encrypted.
    pub encrypt: bool,
}

/// A folder that several people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub name: ShareName,
    pub access: ShareAccess,
    /// Who sees it; empty for everybody.
    pub classes: Vec<ClassName>,
    /// A folder of the administrator's; else one below `data`.
    pub path: Option<PathBuf>,
    /// How much it may hold, or where pupils hand in what each of them may; `None` for no bound.
    pub quota: Option<ByteSize>,
}

/// What pupils may do in a share. Teachers may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareAccess {
    Read,
    Write,
    /// Put files in, and see nobody else's.
    HandIn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub name: RoomName,
    pub image: Option<ImageRef>,
    /// Lines added to `config.txt`.
    pub config_txt: Vec<String>,
    /// Parameters added to `cmdline.txt`.
    pub cmdline: Vec<String>,
    /// Time zone (IANA name); the router's own if unset.
    pub timezone: Option<String>,
    /// systemd units that clients of this room do not start.
    pub mask: Vec<String>,
    /// Whose members may log in here, besides teachers; empty for everybody.
    pub classes: Vec<ClassName>,
    pub sudo: Sudo,
    /// Groups of devices that everybody who logs in here is in.
    pub groups: Vec<String>,
    pub modes: Modes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub mac: MacAddr,
    pub name: HostName,
    pub room: Option<RoomName>,
    pub image: Option<ImageRef>,
    /// A fixed address; else one from the pool that stays this client's.
    pub ip: Option<Ipv4Addr>,
    pub config_txt: Vec<String>,
    pub cmdline: Vec<String>,
    /// How it is used, if not as its room is.
    pub mode: Option<Mode>,
    /// What it shows as a kiosk, if not what its room does.
    pub kiosk_page: Option<PageUrl>,
}

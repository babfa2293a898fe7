//! What may stand in `/etc/config/bramble`: the one description of each section and option.
//!
//! The checks of [`super::load`], the default file `openwrt/files/bramble.config`, the reference that
//! [`reference()`] prints and what a reload restarts ([`super::diff`]) all come from this table or are tested against it.
//! To add an option: a row here, a field in [`super::Config`], the line in [`super::load`] that fills it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::directory;
use super::schedule;
use crate::proto::catalogue::is_web;
use crate::proto::ldap::Dn;
use crate::types::time::parse_duration;
use crate::types::{
    ByteSize, ClassName, HostName, ImageRef, MacAddr, Mode, NfsUrl, PageUrl, RoomName, ShareName, Subnet,
    UserName,
};

/// One type of section.
#[derive(Debug)]
pub struct SectionSpec {
    /// The word after `config`.
    pub kind: &'static str,
    pub naming: Naming,
    pub help: &'static str,
    pub options: &'static [OptionSpec],
}

/// How sections of a type are named, and so how many there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// There is one, and this is its name. Left out, every option has its default.
    Fixed(&'static str),
    /// Any number; the name of the section is a name people use.
    Named,
    /// Any number; a name is not needed.
    Free,
}

/// One option of a section.
#[derive(Debug)]
pub struct OptionSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// Written with `list`, once a value.
    pub list: bool,
    pub default: Absent,
    /// One sentence for the web page and the reference.
    pub help: &'static str,
    /// What has to notice a change.
    pub touches: Touches,
}

/// What counts where an option is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It must be written.
    Required,
    /// Nothing: the option has no value then.
    Unset,
    /// As if this had been written.
    Value(&'static str),
}

/// What a change of an option restarts. Nothing here ever takes the root of a running client away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touches {
    /// Only what the log shows.
    Log,
    /// Names, rooms and images of clients: seen at their next question.
    Clients,
    /// Who may log in where, with which rights, homes and shares: told to clients that run, and seen at the next log-in.
    People,
    /// Pools, reservations and options: the DHCP service takes the new facts, its sockets stay open.
    Leases,
    /// Which addresses and interfaces are listened on.
    Sockets,
    /// Everything: the daemon has to be started anew, which clients survive.
    Daemon,
}

/// What the text of a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Duration,
    Number {
        min: u32,
        max: u32,
    },
    Ip,
    /// An IPv4 network with its prefix, such as `10.1.20.0/24`.
    Subnet,
    Mac,
    HostName,
    RoomName,
    ClassName,
    UserName,
    ShareName,
    /// The address of a page that a browser shows.
    Page,
    /// A distinguished name, such as `dc=school,dc=lan`.
    LdapBase,
    /// A server of a directory elsewhere, with or without a port.
    LdapServer,
    /// The name of an entry in a directory elsewhere, as that directory spells it.
    LdapEntry,
    /// A search filter (RFC 4515).
    LdapFilter,
    /// The name of an attribute.
    LdapAttribute,
    /// One line of text.
    Line,
    Image,
    /// An absolute path.
    Path,
    /// An absolute path outside of `data`.
    Folder,
    /// Where another NFS server has the images.
    NfsUrl,
    /// A list of operating systems: an address of the web, or an absolute path.
    Catalogue,
    /// A server that asks the web for us.
    Proxy,
    /// Logical name of an interface in `/etc/config/network`.
    Network,
    OneOf(&'static [&'static str]),
    /// A line for `config.txt`.
    ConfigTxt,
    /// One or more kernel parameters.
    Cmdline,
    /// IANA name of a time zone.
    TimeZone,
    /// Name of a systemd unit.
    Unit,
    /// A number of bytes with k, M, G or T, or `none`.
    Size,
    /// A time of day, such as `16:30`.
    Time,
}

/// A value that passed its [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    Bool(bool),
    Duration(Duration),
    Number(u32),
    Ip(Ipv4Addr),
    Subnet(Subnet),
    Mac(MacAddr),
    HostName(HostName),
    RoomName(RoomName),
    ClassName(ClassName),
    UserName(UserName),
    ShareName(ShareName),
    Page(PageUrl),
    Dn(Dn),
    Image(ImageRef),
    Path(PathBuf),
    NfsUrl(NfsUrl),
    /// `None` for no bound.
    Size(Option<ByteSize>),
    /// Minutes since midnight.
    Time(u16),
    Text(String),
}

const YES: [&str; 5] = ["1", "yes", "on", "true", "enabled"];
const NO: [&str; 5] = ["0", "no", "off", "false", "disabled"];

/// Reads a switch as OpenWrt's `config_get_bool` does.
pub fn parse_bool(text: &str) -> Option<bool> {
    if YES.contains(&text) {
        return Some(true);
    }
    NO.contains(&text).then_some(false)
}

impl Kind {
    /// The value of `text`, or what is wrong with it and what would be right.
    pub fn parse(self, text: &str) -> Result<Parsed, String> {
        let shown: String = text.chars().take(crate::types::limits::NAME_SHOWN).collect();
        let control = |c: char| c.is_control();
        match self {
            Self::Bool => parse_bool(text)
                .map(Parsed::Bool)
                .ok_or_else(|| format!("`{shown}` is neither on nor off; write `1` or `0`")),
            Self::Duration => duration(text).map(Parsed::Duration),
            Self::Number { min, max } => text
                .parse()
                .ok()
                .filter(|number| (min..=max).contains(number) && text.bytes().all(|b| b.is_ascii_digit()))
                .map(Parsed::Number)
                .ok_or_else(|| format!("`{shown}` is not a number from {min} to {max}; write one, such as `{min}`")),
            Self::Ip => text.parse().map(Parsed::Ip).map_err(|_| {
                format!("`{shown}` is not an IPv4 address; write four numbers from 0 to 255, such as `192.168.1.20`")
            }),
            Self::Subnet => subnet(text).map(Parsed::Subnet),
            Self::Mac => match text.parse::<MacAddr>() {
                Ok(mac) if mac.is_unicast() => Ok(Parsed::Mac(mac)),
                Ok(_) => Err(format!(
                    "`{shown}` is a group address, which no single machine has; write the address printed on the Pi or \
                     shown by `bramble client list`"
                )),
                Err(bad) => Err(bad.to_string()),
            },
            Self::HostName => text.parse().map(Parsed::HostName).map_err(|bad| format!("{bad}")),
            Self::RoomName => text.parse().map(Parsed::RoomName).map_err(|bad| format!("{bad}")),
            Self::ClassName => text.parse().map(Parsed::ClassName).map_err(|bad| format!("{bad}")),
            Self::UserName => text.parse().map(Parsed::UserName).map_err(|bad| format!("{bad}")),
            Self::ShareName => text.parse().map(Parsed::ShareName).map_err(|bad| format!("{bad}")),
            Self::Page => text.parse().map(Parsed::Page).map_err(|bad| format!("{bad}")),
            Self::LdapBase => match text.parse::<Dn>() {
                Ok(dn) if !dn.is_empty() => Ok(Parsed::Dn(dn)),
                Ok(_) => Err("an empty name is the root of all directories; write one such as `dc=school,dc=lan`".to_owned()),
                Err(bad) => Err(bad.to_string()),
            },
            Self::LdapServer => directory::server(text).map(|_| Parsed::Text(text.to_owned())).ok_or_else(|| {
                format!("`{shown}` is not a server; write a host name or an IPv4 address, such as `dc1.school.lan` or `192.168.1.5:636`")
            }),
            Self::LdapEntry => directory::is_entry(text).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                format!("`{shown}` is not the name of an entry; write pairs with commas between them, such as `ou=people,dc=school,dc=lan`")
            }),
            Self::LdapFilter => directory::is_filter(text).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                format!("`{shown}` is not a search filter; write it with its brackets, such as `(objectClass=posixAccount)`")
            }),
            Self::LdapAttribute => directory::is_attribute(text).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                format!("`{shown}` is not the name of an attribute; write letters, digits and `-`, such as `uid`")
            }),
            Self::Line => directory::is_line(text).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                format!("`{shown}` is not a line of 1 to {} bytes; write one, such as `{}`", crate::types::limits::LDAP_DN, self.example())
            }),
            Self::Image => text.parse().map(Parsed::Image).map_err(|bad| format!("{bad}")),
            Self::Path | Self::Folder => {
                let fits = text.starts_with('/') && !text.contains(control) && !text.split('/').any(|part| part == "..");
                fits.then(|| Parsed::Path(PathBuf::from(text))).ok_or_else(|| {
                    format!("`{shown}` is not an absolute path; write it from `/` on, such as `{}`", self.example())
                })
            }
            Self::NfsUrl => text.parse().map(Parsed::NfsUrl).map_err(|bad| format!("{bad}")),
            Self::Catalogue => {
                let is_path = text.starts_with('/') && !text.contains(control) && !text.split('/').any(|part| part == "..");
                (is_path || is_web(text)).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                    format!("`{shown}` is not where a list can be; write an address of the web or a file, such as `{}` or `/mnt/stick/os_list.json`", self.example())
                })
            }
            Self::Proxy => is_proxy(text).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                format!("`{}` is not a proxy; write its scheme, name and port, such as `{}`, with a name and a password as `http://NAME:PASSWORD@…`", without_password(&shown), self.example())
            }),
            Self::Network => {
                let fits = super::uci::is_name(text);
                fits.then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                    format!(
                        "`{shown}` is not the name of a network; write a section name of /etc/config/network, such as \
                         `lan`, and one `list network` line for each"
                    )
                })
            }
            Self::OneOf(words) => words.contains(&text).then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                let listed: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("`{shown}` is not one of the choices; write {}", listed.join(" or "))
            }),
            Self::ConfigTxt => {
                let fits = !text.is_empty() && text.len() <= CONFIG_TXT_LINE && !text.contains(control);
                fits.then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                    format!("`{shown}` is not a line of config.txt; write one line of 1 to {CONFIG_TXT_LINE} characters, such as `hdmi_force_hotplug=1`")
                })
            }
            Self::Cmdline => {
                let fits = !text.trim().is_empty() && text.len() <= CMDLINE_PARAMETERS && !text.contains(control);
                fits.then(|| Parsed::Text(text.trim().to_owned())).ok_or_else(|| {
                    format!("`{shown}` is not a kernel parameter; write one line of 1 to {CMDLINE_PARAMETERS} characters, such as `video=HDMI-A-1:1280x720`")
                })
            }
            Self::TimeZone => {
                let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
                let fits = text.len() <= 64 && text.split('/').all(part);
                fits.then(|| Parsed::Text(text.to_owned())).ok_or_else(|| {
                    format!("`{shown}` is not a time zone; write its name as in /usr/share/zoneinfo, such as `Europe/Berlin`")
                })
            }
            Self::Unit => unit(text).map(Parsed::Text).ok_or_else(|| {
                format!("`{shown}` is not a systemd unit; write its name with its ending, such as `bluetooth.service`")
            }),
            Self::Time => schedule::parse_time(text).map(Parsed::Time).ok_or_else(|| {
                format!("`{shown}` is not a time of day; write hours and minutes, such as `16:30`")
            }),
            Self::Size if text == "none" => Ok(Parsed::Size(None)),
            Self::Size => match text.parse() {
                Ok(ByteSize(0)) | Err(_) => Err(format!(
                    "`{shown}` is not a size; write a number and k, M, G or T, such as `2G`, or `none` for no bound"
                )),
                Ok(size) => Ok(Parsed::Size(Some(size))),
            },
        }
    }

    /// A value that could be written, for the default file.
    pub fn example(self) -> &'static str {
        match self {
            Self::Bool => "1",
            Self::Duration => "12h",
            Self::Number { max, .. } if max < 100 => "10",
            Self::Number { .. } => "100",
            Self::Ip => "192.168.1.20",
            Self::Subnet => "10.1.20.0/24",
            Self::Mac => "dc:a6:32:01:02:03",
            Self::HostName => "lab-01",
            Self::RoomName => "lab",
            Self::ClassName => "class-7b",
            Self::UserName => "anna",
            Self::ShareName => "materials",
            Self::Page => PageUrl::EXAMPLE,
            Self::LdapBase => "dc=school,dc=lan",
            Self::LdapServer => "dc1.school.lan",
            Self::LdapEntry => "ou=people,dc=school,dc=lan",
            Self::LdapFilter => "(objectClass=posixAccount)",
            Self::LdapAttribute => "uid",
            Self::Line => "pupils",
            Self::Image => "trixie",
            Self::Path => "/mnt/sda1/bramble",
            Self::Folder => "/mnt/sda1/files",
            Self::NfsUrl => NfsUrl::EXAMPLE,
            Self::Catalogue => OFFICIAL_CATALOGUE,
            Self::Proxy => "http://proxy.school.lan:3128",
            Self::Network => "lan",
            Self::OneOf(words) => words.first().copied().unwrap_or_default(),
            Self::ConfigTxt => "hdmi_force_hotplug=1",
            Self::Cmdline => "video=HDMI-A-1:1280x720",
            Self::TimeZone => "Europe/Berlin",
            Self::Unit => "bluetooth.service",
            Self::Size => "2G",
            Self::Time => "16:30",
        }
    }

    /// What this kind is called in the reference.
    pub fn describe(self) -> String {
        match self {
            Self::Bool => "0 or 1".to_owned(),
            Self::Duration => "time: 15m, 12h, 2d, 1w or infinite".to_owned(),
            Self::Number { min, max } => format!("number from {min} to {max}"),
            Self::Ip => "IPv4 address".to_owned(),
            Self::Subnet => "IPv4 network, such as 10.1.20.0/24".to_owned(),
            Self::Mac => "hardware address".to_owned(),
            Self::HostName => "host name".to_owned(),
            Self::RoomName => "name of a room".to_owned(),
            Self::ClassName => "name of a class".to_owned(),
            Self::UserName => "name of an account".to_owned(),
            Self::ShareName => "name of a share".to_owned(),
            Self::Page => "address of a page".to_owned(),
            Self::LdapBase | Self::LdapEntry => "distinguished name".to_owned(),
            Self::LdapServer => "host name or IPv4 address, with or without :port".to_owned(),
            Self::LdapFilter => "LDAP filter".to_owned(),
            Self::LdapAttribute => "name of an attribute".to_owned(),
            Self::Line => "text".to_owned(),
            Self::Image => "image, or image@version".to_owned(),
            Self::Path | Self::Folder => "absolute path".to_owned(),
            Self::NfsUrl => "nfs://ADDRESS/PATH with {image} and {version}".to_owned(),
            Self::Catalogue => "https://… or absolute path".to_owned(),
            Self::Proxy => "http://HOST:PORT".to_owned(),
            Self::Network => "name in /etc/config/network".to_owned(),
            Self::OneOf(words) => words.join(" | "),
            Self::ConfigTxt => "line of config.txt".to_owned(),
            Self::Cmdline => "kernel parameters".to_owned(),
            Self::TimeZone => "time zone, such as Europe/Berlin".to_owned(),
            Self::Unit => "systemd unit".to_owned(),
            Self::Size => "size: 500M, 2G, or none".to_owned(),
            Self::Time => "time of day, such as 16:30".to_owned(),
        }
    }
}

/// Longest line for `config.txt` that we pass on, in bytes: the firmware ignores what is behind 98 characters
/// of a line, and older firmware behind 80.
const CONFIG_TXT_LINE: usize = 98;

/// Longest kernel parameters of one list value, in bytes: a quarter of the 2048 that arm kernels read, so that ours
/// still fit.
const CMDLINE_PARAMETERS: usize = 512;

/// The list that Raspberry Pi Imager shows.
pub const OFFICIAL_CATALOGUE: &str = "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json";

/// `http://[NAME:PASSWORD@]HOST[:PORT]`, or the same with https.
fn is_proxy(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    matches!(scheme, "http" | "https")
        && text.len() <= crate::types::limits::URL
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What may be shown of an address that has a password in it.
fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}•••{}", text.get(..scheme + 3).unwrap_or_default(), text.get(at..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "infinite" {
        return Ok(super::FOREVER);
    }
    let time = parse_duration(text).map_err(|bad| bad.to_string())?;
    if time < LEASE_SHORTEST {
        return Err(format!("`{text}` is too short; write at least `2m`"));
    }
    Ok(time.min(super::FOREVER))
}

/// Shortest lease time: what dnsmasq raises shorter ones to.
const LEASE_SHORTEST: Duration = Duration::from_mins(2);

fn subnet(text: &str) -> Result<Subnet, String> {
    let bad = || {
        format!("`{text}` is not a network; write its first address and its prefix, such as `10.1.20.0/24`")
    };
    let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
    let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| (8..=30).contains(prefix)).ok_or_else(bad)?;
    let subnet = Subnet::of(address, prefix).ok_or_else(bad)?;
    if subnet.first() != address {
        return Err(format!("`{text}` is an address inside a network, not a network; write `{subnet}`"));
    }
    Ok(subnet)
}

fn unit(text: &str) -> Option<String> {
    const ENDINGS: [&str; 6] = [".service", ".socket", ".timer", ".mount", ".target", ".path"];
    let fits = text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.@\\".contains(&b))
        && ENDINGS.iter().any(|ending| text.len() > ending.len() && text.ends_with(ending));
    fits.then(|| text.to_owned())
}

/// The section of a type, if there is such a type.
pub fn section(kind: &str) -> Option<&'static SectionSpec> {
    SECTIONS.iter().find(|spec| spec.kind == kind)
}

impl SectionSpec {
    pub fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.options.iter().find(|spec| spec.name == name)
    }
}

/// A row of a table below: easier to read without the field names.
const fn option(
    name: &'static str,
    kind: Kind,
    default: Absent,
    touches: Touches,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, list: false, default, help, touches }
}

const fn list(
    name: &'static str,
    kind: Kind,
    default: Absent,
    touches: Touches,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, list: true, default, help, touches }
}

const START: Kind = Kind::Number { min: 1, max: 65_534 };
const LIMIT: Kind = Kind::Number { min: 1, max: 65_534 };
const MINUTES: Kind = Kind::Number { min: 0, max: 1440 };

/// Groups of Raspberry Pi OS that open devices and nothing else: none of them is a way to root.
pub const DEVICE_GROUPS: &[&str] =
    &["audio", "video", "render", "input", "plugdev", "netdev", "dialout", "gpio", "i2c", "spi", "none"];

/// A group that only who was told so is in: it reads every key that anybody types at the client, passwords too.
pub const READS_KEYS: &str = "input";

/// Every section, in the order in which the default file has them.
#[rustfmt::skip]
pub const SECTIONS: &[SectionSpec] = {
    use Absent::{Required, Unset, Value};
    &[
    SectionSpec { kind: "bramble", naming: Naming::Fixed("main"), help: "The service as a whole.", options: &[
        option("enabled", Kind::Bool, Value("0"), Touches::Daemon,
            "Whether Bramble serves; the init script starts it only then."),
        option("data", Kind::Path, Required, Touches::Daemon,
            "Folder for images and the database, on attached storage: never on the router's flash or in its memory."),
        list("network", Kind::Network, Value("lan"), Touches::Sockets,
            "Networks that are served, by their names in /etc/config/network; each needs a static address."),
        option("log_level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), Value("info"), Touches::Log,
            "How much the log says."),
    ] },
    SectionSpec { kind: "dhcp", naming: Naming::Fixed("dhcp"), help: "Addresses.", options: &[
        option("mode", Kind::OneOf(&["authoritative", "proxy", "off"]), Value("authoritative"), Touches::Sockets,
            "Give addresses (authoritative), add to what another server gives (proxy), or do neither (off)."),
        option("inherit", Kind::Bool, Value("1"), Touches::Leases,
            "Take pool, lease time, reservations and options from /etc/config/dhcp, as dnsmasq would have."),
        option("start", START, Value("100"), Touches::Leases,
            "First address of the pool, counted from the network's own; used where nothing is inherited."),
        option("limit", LIMIT, Value("150"), Touches::Leases,
            "How many addresses the pool has; used where nothing is inherited."),
        option("lease_time", Kind::Duration, Value("12h"), Touches::Leases,
            "How long an address is given for; used where nothing is inherited."),
        option("unknown_pi", Kind::OneOf(&["offer", "ignore"]), Value("offer"), Touches::Leases,
            "What a Pi that nobody has adopted gets: an address, or no answer."),
    ] },
    SectionSpec { kind: "subnet", naming: Naming::Free, help: "A network behind a DHCP relay.", options: &[
        option("network", Kind::Network, Required, Touches::Leases,
            "The served network through which the relay's questions come in."),
        option("subnet", Kind::Subnet, Required, Touches::Leases,
            "The relayed network; the relay's own address (giaddr) lies in it."),
        option("router", Kind::Ip, Unset, Touches::Leases,
            "Its default router; the relay itself if left out."),
        option("start", START, Unset, Touches::Leases,
            "First address of its pool, counted from the network's own; without it only reservations are served."),
        option("limit", LIMIT, Value("150"), Touches::Leases,
            "How many addresses its pool has."),
        option("lease_time", Kind::Duration, Unset, Touches::Leases,
            "How long an address is given for; as on the served network if left out."),
    ] },
    SectionSpec { kind: "tftp", naming: Naming::Fixed("tftp"), help: "Boot files.", options: &[
        option("enabled", Kind::Bool, Value("1"), Touches::Sockets,
            "Whether boot files are served."),
    ] },
    SectionSpec { kind: "nfs", naming: Naming::Fixed("nfs"), help: "Root file systems.", options: &[
        option("backend", Kind::OneOf(&["embedded", "external"]), Value("embedded"), Touches::Clients,
            "Who serves images: Bramble (embedded), or another NFS server (external); homes and shares are always Bramble's."),
        option("url", Kind::NfsUrl, Unset, Touches::Clients,
            "Where the other server has each version of each image, if `backend` is `external`."),
        option("port", Kind::Number { min: 1, max: 65535 }, Value("2049"), Touches::Sockets,
            "Port of Bramble's own NFS server: another than 2049 where the router's kernel has that; running clients must start again."),
    ] },
    SectionSpec { kind: "catalogue", naming: Naming::Fixed("catalogue"), help: "Where operating systems come from.", options: &[
        list("source", Kind::Catalogue, Value(OFFICIAL_CATALOGUE), Touches::Clients,
            "Lists of operating systems: Raspberry Pi's own, a school's, one on a USB stick; of Raspberry Pi Imager or of PiServer."),
        option("refresh", Kind::Duration, Value("1d"), Touches::Clients,
            "How often they are looked at for a newer release of an image that came from one; never with `infinite`."),
        option("proxy", Kind::Proxy, Unset, Touches::Clients,
            "The proxy through which this router reaches the web; straight if left out."),
        option("ca_file", Kind::Path, Value("/etc/ssl/certs/ca-certificates.crt"), Touches::Clients,
            "Certificates (PEM) of the authorities that may vouch for servers of the web; the default is that of the package `ca-bundle`."),
    ] },
    SectionSpec { kind: "accounts", naming: Naming::Fixed("accounts"), help: "People who log in.", options: &[
        option("source", Kind::OneOf(&["local", "ldap"]), Value("local"), Touches::People,
            "Who keeps the accounts: Bramble itself (local), or a directory that is there already (ldap)."),
        option("twice", Kind::OneOf(&["allow", "refuse", "takeover"]), Value("allow"), Touches::People,
            "What happens when somebody logs in at a second client: both stay, the second is refused, or the first is ended."),
        option("password_length", Kind::Number { min: 4, max: 128 }, Value("8"), Touches::People,
            "How many characters a new password has at least."),
        option("history_days", Kind::Number { min: 0, max: 3650 }, Value("30"), Touches::People,
            "For how many days it is remembered who was logged in where; with 0 nothing is kept of a session that is over."),
        option("attic_time", Kind::Duration, Value("90d"), Touches::People,
            "How long the home of a removed account is kept."),
    ] },
    SectionSpec { kind: "directory", naming: Naming::Fixed("directory"), help: "The directory that is asked where `source` is `ldap`.", options: &[
        list("server", Kind::LdapServer, Unset, Touches::People,
            "Its servers; they are tried in this order."),
        option("kind", Kind::OneOf(&["posix", "ad"]), Value("posix"), Touches::People,
            "LDAP with the attributes of RFC 2307 (posix), or Active Directory (ad)."),
        option("tls", Kind::OneOf(&["ldaps", "starttls", "off"]), Value("ldaps"), Touches::People,
            "TLS from the start (ldaps, port 636), after a word in the clear (starttls, port 389), or passwords that anybody on the way can read (off)."),
        option("ca_file", Kind::Path, Value("/etc/ssl/certs/ca-certificates.crt"), Touches::People,
            "Certificates (PEM) of the authorities that may vouch for its servers; the default is that of the package `ca-bundle`."),
        option("base", Kind::LdapEntry, Unset, Touches::People,
            "Name below which people are found."),
        option("group_base", Kind::LdapEntry, Unset, Touches::People,
            "Name below which groups are found; as `base` if left out."),
        option("bind_dn", Kind::Line, Unset, Touches::People,
            "Who asks: the name of an entry, or `bramble@school.lan` for Active Directory; nobody in particular if left out."),
        option("secret_file", Kind::Path, Value("/etc/bramble/directory.secret"), Touches::People,
            "File with the password of `bind_dn` in its first line; nobody but its owner may read it."),
        option("filter", Kind::LdapFilter, Unset, Touches::People,
            "Which entries are people; `(objectClass=posixAccount)`, or users of Active Directory, if left out."),
        option("group_filter", Kind::LdapFilter, Unset, Touches::People,
            "Which entries are groups; `(objectClass=posixGroup)`, or groups of Active Directory, if left out."),
        option("name_attribute", Kind::LdapAttribute, Unset, Touches::People,
            "What somebody logs in with; `uid`, or `sAMAccountName` for Active Directory, if left out."),
        option("numbers", Kind::OneOf(&["posix", "sid"]), Unset, Touches::People,
            "Where uids come from: `uidNumber` (posix), or 200000 and the last number of `objectSid` (sid); as `kind` has it if left out."),
        list("group", Kind::Line, Unset, Touches::People,
            "Groups whose members may log in, by name; everybody if left out."),
        list("teacher_group", Kind::Line, Unset, Touches::People,
            "Groups whose members are teachers, by name; nobody is one if left out."),
        option("timeout", Kind::Number { min: 1, max: 15 }, Value("5"), Touches::People,
            "Seconds that a server may take over an answer."),
        option("refresh", Kind::Duration, Value("10m"), Touches::People,
            "How often it is asked who there is; new people can log in after this time."),
        option("offline", Kind::OneOf(&["no", "names", "passwords"]), Value("no"), Touches::People,
            "What is kept for times without the directory: nothing, who there is (names), or also hashes of passwords that were right (passwords)."),
        option("offline_time", Kind::Duration, Value("7d"), Touches::People,
            "How long after their last log-in with the directory somebody may log in without it."),
    ] },
    SectionSpec { kind: "images", naming: Naming::Fixed("images"), help: "Old versions of operating systems.", options: &[
        option("keep", Kind::Number { min: 0, max: 1000 }, Value("0"), Touches::Clients,
            "How many versions of each image are kept that nobody boots, besides the one that a roll-back gives back; all of them with `0`."),
        option("keep_for", Kind::Duration, Value("infinite"), Touches::Clients,
            "How old a version may get that nobody boots; what is older is removed, once a day."),
    ] },
    SectionSpec { kind: "homes", naming: Naming::Fixed("homes"), help: "The folders of people.", options: &[
        option("quota", Kind::Size, Value("2G"), Touches::People,
            "How much each person may keep, unless the account or a class of theirs says otherwise."),
        option("local_caches", Kind::Bool, Value("1"), Touches::People,
            "Whether caches of programs (~/.cache) live in the client's memory instead of the home."),
        option("encrypt", Kind::Bool, Value("1"), Touches::People,
            "Whether homes and shares are encrypted on the network, from the next log-in on; costs a slow router speed."),
    ] },
    SectionSpec { kind: "share", naming: Naming::Named, help: "A folder that several people see below ~/Shared.", options: &[
        option("access", Kind::OneOf(&["read", "write", "handin"]), Value("read"), Touches::People,
            "What pupils may do: read it, change everything in it, or only put files into it; teachers may do everything."),
        list("class", Kind::ClassName, Unset, Touches::People,
            "Classes that see it; without one everybody does."),
        option("path", Kind::Folder, Unset, Touches::People,
            "A folder that exists already, if it is not to be below `data`."),
        option("quota", Kind::Size, Value("none"), Touches::People,
            "How much may be in it; where pupils hand in, how much of each."),
    ] },
    SectionSpec { kind: "ldap", naming: Naming::Fixed("ldap"), help: "Accounts for other programs, over LDAP.", options: &[
        option("enabled", Kind::Bool, Value("0"), Touches::Sockets,
            "Whether programs such as a library catalogue can ask for accounts over LDAP, on ports 389 and 636."),
        option("base", Kind::LdapBase, Value("dc=raspberrypi,dc=local"), Touches::Sockets,
            "Name below which everything is found; images made by PiServer expect the one given here."),
        option("anonymous", Kind::Bool, Value("0"), Touches::Sockets,
            "Whether those who have not logged in may list people and classes."),
        option("clear", Kind::Bool, Value("0"), Touches::Sockets,
            "Whether passwords are taken without TLS, where anybody on the network can read them."),
    ] },
    SectionSpec { kind: "room", naming: Naming::Named, help: "Clients that share settings.", options: &[
        option("image", Kind::Image, Unset, Touches::Clients,
            "What its clients boot: `trixie` for the current version, `trixie@3` to stay with one."),
        list("config_txt", Kind::ConfigTxt, Unset, Touches::Clients,
            "Lines added to config.txt of its clients."),
        list("cmdline", Kind::Cmdline, Unset, Touches::Clients,
            "Kernel parameters added for its clients."),
        option("timezone", Kind::TimeZone, Unset, Touches::Clients,
            "Time zone of its clients; the router's own if left out."),
        list("mask", Kind::Unit, Unset, Touches::Clients,
            "systemd units that its clients do not start."),
        list("class", Kind::ClassName, Unset, Touches::People,
            "Classes whose members may log in here, besides teachers; everybody if left out."),
        option("sudo", Kind::OneOf(&["nobody", "teachers", "everybody"]), Value("nobody"), Touches::People,
            "Who becomes root with their own password."),
        list("groups", Kind::OneOf(DEVICE_GROUPS), Unset, Touches::People,
            "Devices that people may use, by their groups; all of them but `input` if left out, none with `none`. Whoever is in `input` reads all keys typed at the client, also the passwords of others; a desktop does not need it."),
        option("mode", Kind::OneOf(&Mode::WORDS), Value("login"), Touches::People,
            "How its clients are used: people log in (login), anybody without a name (guest), one page fills the screen (kiosk), only some log in (exam), as the image has it, also where it logs somebody in by itself (image); clients take it over at their next start, who may log in changes at once."),
        option("guest_time", MINUTES, Value("0"), Touches::Clients,
            "Minutes after which a guest is logged out and everything of theirs is gone; 0 for no limit."),
        option("kiosk_url", Kind::Page, Unset, Touches::Clients,
            "The page that a kiosk shows."),
        option("kiosk_idle", MINUTES, Value("10"), Touches::Clients,
            "Minutes without a key or the mouse after which a kiosk forgets everything and begins anew; 0 for never."),
        list("exam_class", Kind::ClassName, Unset, Touches::People,
            "Classes that take part in an exam; teachers may always log in."),
        list("exam_account", Kind::UserName, Unset, Touches::People,
            "Accounts that take part in an exam, beside those of the classes."),
        list("exam_share", Kind::ShareName, Unset, Touches::People,
            "The only shares that those see who take part in an exam; none if left out."),
        option("exam_hook", Kind::Path, Unset, Touches::Clients,
            "Program of root's that is run as `PROGRAM on ROOM ADDRESS…` when an exam begins and with `off` when it ends, to take the internet away."),
        option("screens", Kind::Bool, Value("0"), Touches::Clients,
            "Whether a teacher may look at the screens of its clients; whoever sits there is shown that."),
    ] },
    SectionSpec { kind: "client", naming: Naming::Free, help: "One Raspberry Pi.", options: &[
        option("mac", Kind::Mac, Required, Touches::Clients,
            "Its hardware address."),
        option("name", Kind::HostName, Required, Touches::Clients,
            "Its host name."),
        option("room", Kind::RoomName, Unset, Touches::Clients,
            "The room it is in."),
        option("image", Kind::Image, Unset, Touches::Clients,
            "What it boots, if not what its room boots."),
        option("ip", Kind::Ip, Unset, Touches::Leases,
            "A fixed address; one from the pool if left out."),
        list("config_txt", Kind::ConfigTxt, Unset, Touches::Clients,
            "Lines added to its config.txt, behind those of its room."),
        list("cmdline", Kind::Cmdline, Unset, Touches::Clients,
            "Kernel parameters added behind those of its room."),
        option("mode", Kind::OneOf(&Mode::WORDS), Unset, Touches::Clients,
            "How it is used, if not as its room is."),
        option("kiosk_url", Kind::Page, Unset, Touches::Clients,
            "The page that it shows as a kiosk, if not that of its room."),
    ] },
    SectionSpec { kind: "schedule", naming: Naming::Free, help: "The end of the day: clients that are switched off by themselves.", options: &[
        option("enabled", Kind::Bool, Value("1"), Touches::Clients,
            "Whether it happens."),
        list("day", Kind::OneOf(&schedule::DAYS), Unset, Touches::Clients,
            "Days of the week on which it happens; every day if left out."),
        option("time", Kind::Time, Required, Touches::Clients,
            "When, in the router's time."),
        option("grace", Kind::Number { min: 0, max: 120 }, Value("10"), Touches::Clients,
            "Minutes before it in which people see how much time is left, and `bramble action stop` calls it off."),
        option("action", Kind::OneOf(&["shutdown", "reboot", "logout"]), Value("shutdown"), Touches::Clients,
            "What happens to the clients."),
        option("room", Kind::RoomName, Unset, Touches::Clients,
            "Only to those of this room; to all if left out."),
        option("router", Kind::Bool, Value("0"), Touches::Clients,
            "Whether the router is switched off behind the last client, if it is for all."),
    ] },
    ]
};

/// The default `/etc/config/bramble`: every section and option with its help, those with a default at their default.
pub fn default_file() -> String {
    let mut out = String::from(
        "# Bramble: the boot server for a room of Raspberry Pis. Lines that begin with `#` show what can be added.\n\
         # `bramble check` says what is wrong with this file; `/etc/init.d/bramble reload` takes it over.\n",
    );
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    for section in SECTIONS {
        let fixed = matches!(section.naming, Naming::Fixed(_));
        let hash = if fixed { "" } else { "#" };
        let head = match section.naming {
            Naming::Fixed(name) => format!("config {} '{name}'", section.kind),
            // Names of sections are used once in a file.
            Naming::Named if section.kind == "share" => "config share 'materials'".to_owned(),
            Naming::Named => format!("config {} 'lab'", section.kind),
            Naming::Free => format!("config {}", section.kind),
        };
        line("");
        line(&format!("# {}", section.help));
        line(&format!("{hash}{head}"));
        for option in section.options {
            let word = if option.list { "list" } else { "option" };
            let (hash, value) = match option.default {
                Absent::Value(value) => (hash, value),
                // Here the folder: a person puts the name of the disk in its place.
                Absent::Required if fixed => (hash, option.kind.example()),
                Absent::Required | Absent::Unset => ("#", option.kind.example()),
            };
            line(&format!("\t# {} ({})", option.help, option.kind.describe()));
            line(&format!("{hash}\t{word} {} '{value}'", option.name));
        }
    }
    out
}

/// The table of options for the documentation, in Markdown.
pub fn reference() -> String {
    let part = |section: &SectionSpec| {
        let head = match section.naming {
            Naming::Fixed(name) => format!("config {} '{name}'", section.kind),
            Naming::Named => format!("config {} 'NAME'", section.kind),
            Naming::Free => format!("config {}", section.kind),
        };
        let rows = section.options.iter().map(|option| {
            let default = match option.default {
                Absent::Required => "must be set".to_owned(),
                Absent::Unset => "–".to_owned(),
                Absent::Value(value) => format!("`{value}`"),
            };
            let name =
                if option.list { format!("list `{}`", option.name) } else { format!("`{}`", option.name) };
            let kind = option.kind.describe().replace('|', "or");
            format!("| {name} | {kind} | {default} | {} |\n", option.help)
        });
        let table: String = rows.collect();
        format!(
            "### `{head}`\n\n{}\n\n| option | value | default | meaning |\n| --- | --- | --- | --- |\n{table}\n",
            section.help
        )
    };
    SECTIONS.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_example_is_right() {
        for section in SECTIONS {
            for option in section.options {
                let name = format!("{}.{}", section.kind, option.name);
                option.kind.parse(option.kind.example()).unwrap_or_else(|bad| panic!("{name}: {bad}"));
                if let Absent::Value(text) = option.default {
                    option.kind.parse(text).unwrap_or_else(|bad| panic!("{name}: {bad}"));
                }
                assert!(
                    option.help.ends_with('.') && !option.help.contains('\n'),
                    "{name}: help is a sentence"
                );
            }
        }
    }

    #[test]
    fn names_are_used_once() {
        let mut kinds: Vec<&str> = SECTIONS.iter().map(|section| section.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), SECTIONS.len());
        for section in SECTIONS {
            let mut names: Vec<&str> = section.options.iter().map(|option| option.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), section.options.len(), "{}", section.kind);
        }
    }

    #[test]
    fn values_are_read_or_refused_with_a_remedy() {
        #[rustfmt::skip]
        let rows = [
            (Kind::Bool, "yes", Ok(())),
            (Kind::Bool, "2", Err("`2` is neither on nor off; write `1` or `0`")),
            (Kind::Duration, "infinite", Ok(())),
            (Kind::Duration, "30s", Err("`30s` is too short; write at least `2m`")),
            (Kind::Number { min: 1, max: 9 }, "+5", Err("`+5` is not a number from 1 to 9; write one, such as `1`")),
            (Kind::Number { min: 1, max: 9 }, "10", Err("`10` is not a number from 1 to 9; write one, such as `1`")),
            (Kind::Ip, "192.168.1.256", Err("`192.168.1.256` is not an IPv4 address; write four numbers from 0 to 255, such as `192.168.1.20`")),
            (Kind::Subnet, "10.1.20.7/24", Err("`10.1.20.7/24` is an address inside a network, not a network; write `10.1.20.0/24`")),
            (Kind::Subnet, "10.1.20.0", Err("`10.1.20.0` is not a network; write its first address and its prefix, such as `10.1.20.0/24`")),
            (Kind::Mac, "ff:ff:ff:ff:ff:ff", Err("`ff:ff:ff:ff:ff:ff` is a group address, which no single machine has; write the address printed on the Pi or shown by `bramble client list`")),
            (Kind::Path, "mnt/x", Err("`mnt/x` is not an absolute path; write it from `/` on, such as `/mnt/sda1/bramble`")),
            (Kind::Path, "/mnt/../x", Err("`/mnt/../x` is not an absolute path; write it from `/` on, such as `/mnt/sda1/bramble`")),
            (Kind::Network, "lan guest", Err("`lan guest` is not the name of a network; write a section name of /etc/config/network, such as `lan`, and one `list network` line for each")),
            (Kind::ConfigTxt, "a\nb", Err("`a\nb` is not a line of config.txt; write one line of 1 to 98 characters, such as `hdmi_force_hotplug=1`")),
            (Kind::Cmdline, " ", Err("` ` is not a kernel parameter; write one line of 1 to 512 characters, such as `video=HDMI-A-1:1280x720`")),
            (Kind::TimeZone, "Europe/Berlin", Ok(())),
            (Kind::TimeZone, "../etc/passwd", Err("`../etc/passwd` is not a time zone; write its name as in /usr/share/zoneinfo, such as `Europe/Berlin`")),
            (Kind::Unit, "cups", Err("`cups` is not a systemd unit; write its name with its ending, such as `bluetooth.service`")),
            (Kind::Unit, "getty@tty1.service", Ok(())),
            (Kind::Catalogue, "https://h.example/os.json", Ok(())),
            (Kind::Catalogue, "/mnt/stick/os.json", Ok(())),
            (Kind::Catalogue, "os.json", Err("`os.json` is not where a list can be; write an address of the web or a file, such as `https://downloads.raspberrypi.com/os_list_imagingutility_v4.json` or `/mnt/stick/os_list.json`")),
            (Kind::Proxy, "http://me:secret@proxy.school.lan:3128/", Ok(())),
            (Kind::Proxy, "http://me:secret@proxy.school.lan:x", Err("`http://•••@proxy.school.lan:x` is not a proxy; write its scheme, name and port, such as `http://proxy.school.lan:3128`, with a name and a password as `http://NAME:PASSWORD@…`")),
            (Kind::Proxy, "proxy:3128", Err("`proxy:3128` is not a proxy; write its scheme, name and port, such as `http://proxy.school.lan:3128`, with a name and a password as `http://NAME:PASSWORD@…`")),
            (Kind::Size, "none", Ok(())),
            (Kind::Size, "0", Err("`0` is not a size; write a number and k, M, G or T, such as `2G`, or `none` for no bound")),
            (Kind::Size, "2GB", Err("`2GB` is not a size; write a number and k, M, G or T, such as `2G`, or `none` for no bound")),
        ];
        for (kind, text, expected) in rows {
            assert_eq!(kind.parse(text).map(|_| ()), expected.map_err(str::to_owned), "{kind:?} {text}");
        }
    }

    proptest::proptest! {
        /// Any text is a value or a message of bounded length.
        #[test]
        fn any_text_is_survived(text in ".{0,300}") {
            for option in SECTIONS.iter().flat_map(|section| section.options) {
                if let Err(message) = option.kind.parse(&text) {
                    proptest::prop_assert!(message.chars().count() < 700, "{message}");
                }
            }
        }
    }
}

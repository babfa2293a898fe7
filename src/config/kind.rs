//! What the value of an option can be: what its text must look like, what it is read as, and how it is called.
//!
//! A text that is no such value is answered with what would be one, and an example.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::{FOREVER, directory, schedule, uci};
use crate::proto::catalogue::is_web;
use crate::proto::ldap::Dn;
use crate::types::time::parse_duration;
use crate::types::{
    ByteSize, ClassName, HostName, ImageRef, MacAddr, NfsUrl, PageUrl, RoomName, ShareName, Subnet, UserName,
    limits,
};

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
        let shown: String = text.chars().take(limits::NAME_SHOWN).collect();
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
                format!("`{shown}` is not a line of 1 to {} bytes; write one, such as `{}`", limits::LDAP_DN, self.example())
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
                let fits = uci::is_name(text);
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
        && text.len() <= limits::URL
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
        return Ok(FOREVER);
    }
    let time = parse_duration(text).map_err(|bad| bad.to_string())?;
    if time < LEASE_SHORTEST {
        return Err(format!("`{text}` is too short; write at least `2m`"));
    }
    Ok(time.min(FOREVER))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! Texts → a [`Config`], or every problem in them.
//!
//! First each section is held against the [schema](super::schema), option by option; then the parts are put together and held
//! against each other: names used twice, rooms that do not exist, addresses outside their network. A value with
//! a problem is replaced by its default so that checking can go on, and the result is thrown away at the end.

mod clients;
mod networks;
mod sections;

use std::path::{Path, PathBuf};

use super::catalogue;
use super::directory;
use super::fields::Fields;
use super::inherit::{self, Inherited};
use super::modes;
use super::people;
use super::problem::Problems;
use super::schedule::{self, Schedule};
use super::uci::Document;
use super::{
    Config, Dhcp, DhcpMode, Homes, Images, LogLevel, Nfs, NfsBackend, Room, Share, ShareAccess, Tftp,
    UnknownPi,
};
use crate::proto::portmap::NFS_PORT;
use crate::types::{NfsUrl, RoomName, ShareName, Spanned};

/// A file that a configuration is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// How problems name it.
    pub name: String,
    /// `None` if there is no such file.
    pub text: Option<Vec<u8>>,
}

/// Everything that [`load`] reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub bramble: Source,
    pub network: Source,
    pub dhcp: Source,
    pub system: Source,
}

impl Sources {
    /// Reads the configuration at `path` and its siblings `network`, `dhcp` and `system`.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut source = |path: PathBuf| {
            let name = path.display().to_string();
            let text = match fs_err::read(&path) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => {
                    problems.note_file(&name, format!("cannot be read ({error}); check its owner and mode"));
                    None
                }
            };
            Source { name, text }
        };
        let sources = Self {
            bramble: source(path.to_owned()),
            network: source(path.with_file_name("network")),
            dhcp: source(path.with_file_name("dhcp")),
            system: source(path.with_file_name("system")),
        };
        if problems.is_empty() { Ok(sources) } else { Err(problems) }
    }
}

/// Reads and checks the configuration at `path`. The error is never empty.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let config = from_sources(&Sources::read(path)?)?;
    directory::look_at_secret(&config, &path.display().to_string())?;
    Ok(config)
}

/// The pure part of [`load`].
pub fn from_sources(sources: &Sources) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let Some(text) = &sources.bramble.text else {
        problems.note_file(
            &sources.bramble.name,
            "there is no such file; install the package's own, or write one with `config bramble 'main'`",
        );
        return Err(problems);
    };
    let bramble = Document::read(text);
    let read = |source: &Source| Document::read(source.text.as_deref().unwrap_or_default());
    let (network, dhcp, system) = (read(&sources.network), read(&sources.dhcp), read(&sources.system));
    let files = [
        (&sources.bramble, &bramble),
        (&sources.network, &network),
        (&sources.dhcp, &dhcp),
        (&sources.system, &system),
    ];
    for (source, document) in files {
        for fault in &document.faults {
            let place = Spanned { value: (), line: fault.line, column: fault.column };
            problems.note(&source.name, &place, "", fault.message);
        }
    }
    let mut builder = Builder { file: &sources.bramble.name, problems };
    let config =
        builder.config(&bramble, &Siblings { sources, network: &network, dhcp: &dhcp, system: &system });
    let mut problems = builder.problems;
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort(&files.map(|(source, _)| source.name.as_str()));
    Err(problems)
}

/// The other files, read.
pub(super) struct Siblings<'a> {
    pub sources: &'a Sources,
    pub network: &'a Document,
    pub dhcp: &'a Document,
    pub system: &'a Document,
}

struct Builder<'a> {
    file: &'a str,
    problems: Problems,
}

impl Builder<'_> {
    fn config(&mut self, document: &Document, siblings: &Siblings<'_>) -> Config {
        let sections = self.sections(document);
        let of = |kind| sections.iter().filter(move |fields| fields.spec.kind == kind);
        let one = |kind: &'static str| -> Fields<'_> {
            of(kind).next().map_or_else(|| Fields::absent(kind), Fields::again)
        };
        let (main, dhcp, tftp, nfs) = (one("bramble"), one("dhcp"), one("tftp"), one("nfs"));
        let accounts = one("accounts");
        let directory = one("directory");
        let (images, homes) = (one("images"), one("homes"));
        let ldap = one("ldap");
        if main.section.is_none() {
            self.problems.note_file(
                self.file,
                "there is no `config bramble 'main'` section; add it, with `option data` for the folder on the \
                 attached storage",
            );
        }

        let inherited = Inherited {
            file: &siblings.sources.dhcp.name,
            document: dhcp.bool("inherit").then_some(siblings.dhcp),
            start: dhcp.number("start"),
            limit: dhcp.number("limit"),
            lease_time: dhcp.duration("lease_time"),
            serves_time: inherit::serves_time(siblings.system),
        };
        let mut networks = self.networks(&main, siblings, &inherited);
        for relayed in of("subnet") {
            self.relayed(relayed, &mut networks);
        }
        let rooms = self.rooms(of("room"));
        let clients = self.clients(of("client"), &rooms, &mut networks, &inherited);

        Config {
            enabled: main.bool("enabled"),
            data: main.path("data").unwrap_or_default(),
            log_level: log_level(&main.text("log_level").unwrap_or_default()),
            timezone: inherit::timezone(siblings.system),
            clock_rule: inherit::clock_rule(siblings.system),
            networks,
            names: inherit::names(siblings.dhcp, siblings.system),
            dhcp: Dhcp {
                mode: match dhcp.text("mode").as_deref() {
                    Some("proxy") => DhcpMode::Proxy,
                    Some("off") => DhcpMode::Off,
                    _ => DhcpMode::Authoritative,
                },
                inherit: inherited.document.is_some(),
                unknown_pi: match dhcp.text("unknown_pi").as_deref() {
                    Some("ignore") => UnknownPi::Ignore,
                    _ => UnknownPi::Offer,
                },
                matches: inherited.said().matches(&mut self.problems),
            },
            tftp: Tftp { enabled: tftp.bool("enabled") },
            nfs: Nfs { backend: self.nfs_backend(&nfs), port: nfs_port(&nfs) },
            directory: self.directory(&directory, &accounts),
            accounts: people::accounts(&accounts),
            catalogue: catalogue::read(&one("catalogue"), self.file, &mut self.problems),
            images: Images {
                keep: Some(images.number("keep")).filter(|count| *count > 0),
                keep_for: Some(images.duration("keep_for")).filter(|time| *time < super::FOREVER),
            },
            homes: Homes {
                quota: homes.size("quota"),
                local_caches: homes.bool("local_caches"),
                encrypt: homes.bool("encrypt"),
            },
            shares: self.shares(of("share"), &main.path("data").unwrap_or_default()),
            ldap: people::ldap(&ldap),
            schedules: self.schedules(of("schedule"), &rooms),
            rooms,
            clients,
        }
    }

    fn directory(&mut self, fields: &Fields<'_>, accounts: &Fields<'_>) -> directory::Directory {
        let source = accounts.texts("source").into_iter().next().filter(|source| source.value == "ldap");
        for (option, missing) in
            source.iter().flat_map(|source| ["server", "base"].map(|option| (option, source)))
        {
            if fields.value(option).is_none() {
                let message = format!(
                    "`ldap` needs a directory to ask; add `{option}` to `config directory 'directory'`"
                );
                self.problems.note(self.file, missing, accounts.at("source"), message);
            }
        }
        directory::directory(fields)
    }

    fn rooms<'d>(&mut self, sections: impl Iterator<Item = &'d Fields<'d>>) -> Vec<Room> {
        let mut rooms = Vec::new();
        for fields in sections {
            let Some(name) = fields.section.and_then(|section| section.name.as_ref()) else { continue };
            match name.value.parse::<RoomName>() {
                Ok(room) => rooms.push(Room {
                    name: room,
                    image: fields.image("image"),
                    config_txt: fields.all_text("config_txt"),
                    cmdline: fields.all_text("cmdline"),
                    timezone: fields.text("timezone"),
                    mask: fields.all_text("mask"),
                    classes: fields.class_names("class"),
                    sudo: people::sudo(fields),
                    groups: people::groups(fields),
                    modes: modes::of_room(fields, &mut |at, path, message| {
                        self.problems.note(self.file, at, path, message);
                    }),
                }),
                Err(bad) => self.problems.note(self.file, name, name.value.clone(), bad.to_string()),
            }
        }
        rooms
    }

    fn schedules<'d>(
        &mut self,
        sections: impl Iterator<Item = &'d Fields<'d>>,
        rooms: &[Room],
    ) -> Vec<Schedule> {
        let mut schedules = Vec::new();
        for fields in sections {
            let schedule = schedule::schedule(fields);
            let named = schedule.as_ref().and_then(|schedule| schedule.room.as_ref());
            if let (Some(name), Some(at)) = (named, fields.value("room"))
                && !rooms.iter().any(|room| room.name == *name)
            {
                let message = format!(
                    "there is no room `{name}`; name one that is there, or leave it out for all rooms"
                );
                self.problems.note(self.file, at, fields.at("room"), message);
            }
            schedules.extend(schedule);
        }
        schedules
    }

    fn shares<'d>(&mut self, sections: impl Iterator<Item = &'d Fields<'d>>, data: &Path) -> Vec<Share> {
        let mut shares = Vec::new();
        for fields in sections {
            let Some(name) = fields.section.and_then(|section| section.name.as_ref()) else { continue };
            let share = match name.value.parse::<ShareName>() {
                Ok(share) => share,
                Err(bad) => {
                    self.problems.note(self.file, name, name.value.clone(), bad.to_string());
                    continue;
                }
            };
            let path = fields.path("path");
            if let (Some(path), Some(at)) = (&path, fields.value("path"))
                && (data.starts_with(path) || path.starts_with(data))
            {
                let message = format!(
                    "`{}` holds or is part of Bramble's own `{}`, which nobody may see; leave `path` out, or name \
                     another folder",
                    path.display(),
                    data.display()
                );
                self.problems.note(self.file, at, fields.at("path"), message);
            }
            shares.push(Share {
                name: share,
                access: match fields.text("access").as_deref() {
                    Some("write") => ShareAccess::Write,
                    Some("handin") => ShareAccess::HandIn,
                    _ => ShareAccess::Read,
                },
                classes: fields.class_names("class"),
                path,
                quota: fields.size("quota"),
            });
        }
        shares
    }

    fn nfs_backend(&mut self, nfs: &Fields<'_>) -> NfsBackend {
        if nfs.text("backend").as_deref() != Some("external") {
            return NfsBackend::Embedded;
        }
        if let (None, Some(backend)) = (nfs.value("url"), nfs.value("backend")) {
            let message =
                format!("`external` needs the option `url` too; write `option url '{}'`", NfsUrl::EXAMPLE);
            self.problems.note(self.file, backend, nfs.at("backend"), message);
        }
        nfs.nfs_url("url").map_or(NfsBackend::Embedded, NfsBackend::External)
    }
}

fn nfs_port(nfs: &Fields<'_>) -> u16 {
    u16::try_from(nfs.number("port")).unwrap_or(NFS_PORT)
}

fn log_level(text: &str) -> LogLevel {
    match text {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::types::HostName;

    const NETWORK: &str = "
config interface 'loopback'
	option device 'lo'
	option proto 'static'
	option ipaddr '127.0.0.1'
	option netmask '255.0.0.0'

config interface 'lan'
	option device 'br-lan'
	option proto 'static'
	option ipaddr '192.168.1.1'
	option netmask '255.255.255.0'

config interface 'lab'
	option device 'br-lan.10'
	option proto 'static'
	list ipaddr '10.1.10.1/24'

config interface 'wan'
	option device 'eth1'
	option proto 'dhcp'
";

    fn sources(bramble: &str, dhcp: &str) -> Sources {
        let source = |name: &str, text: &str| Source {
            name: format!("/etc/config/{name}"),
            text: Some(text.as_bytes().to_vec()),
        };
        Sources {
            bramble: source("bramble", bramble),
            network: source("network", NETWORK),
            dhcp: source("dhcp", dhcp),
            system: source("system", "config system\n\toption zonename 'America/New York'\n"),
        }
    }

    fn problems(bramble: &str, dhcp: &str) -> String {
        from_sources(&sources(bramble, dhcp)).expect_err("has problems").to_string()
    }

    #[test]
    fn a_whole_configuration_is_put_together() {
        let config = from_sources(&sources(
            "
config bramble 'main'
	option enabled '1'
	option data '/mnt/sda1/bramble'
	list network 'lan'
	list network 'lab'
	option log_level 'debug'

config subnet
	option network 'lab'
	option subnet '10.1.20.0/24'
	option start '10'
	option limit '20'

config room 'lab'
	option image 'trixie'
	list config_txt 'hdmi_force_hotplug=1'
	option timezone 'Europe/Berlin'
	list mask 'bluetooth.service'

config client
	option mac 'DC-A6-32-01-02-03'
	option name 'Lab-01'
	option room 'lab'
	option image 'trixie@3'
	option ip '10.1.20.15'

config client
	option mac 'dc:a6:32:01:02:04'
	option name 'lab-02'
	option room 'lab'
",
            "
config dhcp 'lan'
	option interface 'lan'
	option ignore '1'
	option start '50'
	option limit '10'
	option leasetime '2h'

config host
	option name 'printer'
	option mac '00:11:22:33:44:55'
	option ip '192.168.1.5'

config host
	option name 'seat-two'
	option mac 'dc:a6:32:01:02:04'
	option ip '10.1.10.7'
",
        ))
        .expect("no problems");
        assert!(config.enabled);
        assert_eq!(config.data, Path::new("/mnt/sda1/bramble"));
        assert_eq!(config.log_level, LogLevel::Debug);
        assert_eq!(config.timezone.as_deref(), Some("America/New_York"));
        let [lan, lab] = config.networks.as_slice() else { panic!("two networks") };
        assert_eq!((lan.device.as_str(), lan.address), ("br-lan", Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(lan.pool, Some(Ipv4Addr::new(192, 168, 1, 50)..=Ipv4Addr::new(192, 168, 1, 59)));
        assert_eq!(lan.lease_time, Duration::from_hours(2));
        assert_eq!((lab.device.as_str(), lab.subnet.to_string().as_str()), ("br-lan.10", "10.1.10.0/24"));
        assert_eq!(lab.pool, Some(Ipv4Addr::new(10, 1, 10, 100)..=Ipv4Addr::new(10, 1, 10, 249)));
        assert_eq!(lab.lease_time, Duration::from_hours(12));
        let relayed = &lab.relayed[0];
        assert_eq!(relayed.pool, Some(Ipv4Addr::new(10, 1, 20, 10)..=Ipv4Addr::new(10, 1, 20, 29)));
        assert_eq!(relayed.lease_time, Duration::from_hours(12));
        let printer = &lan.reservations[0];
        assert_eq!(printer.name.as_ref().map(HostName::as_str), Some("printer"));
        let seats: Vec<_> =
            lab.reservations.iter().map(|r| (r.name.as_ref().map(HostName::as_str), r.ip)).collect();
        assert_eq!(
            seats,
            [
                (Some("lab-02"), Some(Ipv4Addr::new(10, 1, 10, 7))),
                (Some("lab-01"), Some(Ipv4Addr::new(10, 1, 20, 15)))
            ]
        );
        assert_eq!(config.rooms[0].mask, ["bluetooth.service"]);
        assert_eq!(config.clients[0].image.as_ref().map(ToString::to_string).as_deref(), Some("trixie@3"));
        assert_eq!(config.clients[0].name.as_str(), "lab-01");
    }

    #[test]
    fn every_problem_is_shown_in_one_pass_with_place_reason_and_remedy() {
        let found = problems(
            "config bramble 'main'
	option enabled 'maybe'
	list network 'lan'
	list network 'wan'
	list network 'lam'
	list netwrok 'lab'

config dhcp 'dhcp'
	option lease_time '12x'
	option mode 'on'
	option start '0'

config romm 'x'

config room 'lab'
	option image 'Trixie'

config client
	option mac 'dc:a6:32:01:02'
	option name 'lab 01'
	option room 'lba'
	option ip '192.168.2.5'

config client
	option name 'lab-02'
",
            "",
        );
        let expected = [
            "1:8: main.data: is missing and has no default; write `option data '…'` (absolute path)",
            "2:17: main.enabled: `maybe` is neither on nor off; write `1` or `0`",
            "4:15: main.network: `wan` has no static address (`option proto 'dhcp'` in /etc/config/network); the server of a network needs one: choose another network, or set `option proto 'static'` and `option ipaddr` there",
            "5:15: main.network: there is no interface `lam` in /etc/config/network; did you mean `lan`?",
            "6:7: main.netwrok: a `bramble` section has no option of this name; did you mean `network`?",
            "9:20: dhcp.lease_time: `12x` is not a time; write a number and s, m, h, d or w, such as `12h`",
            "10:14: dhcp.mode: `on` is not one of the choices; write `authoritative` or `proxy` or `off`",
            "11:15: dhcp.start: `0` is not a number from 1 to 65534; write one, such as `1`",
            "13:8: x: `romm` is not a type of section; did you mean `room`?",
            "16:15: lab.image: `Trixie` is not an image name; use 1 to 32 small letters, digits, `.`, `_` and `-`, starting with a letter or digit, such as `trixie`",
            "19:13: @client[0].mac: `dc:a6:32:01:02` is not a hardware address; write six pairs of hex digits, such as `dc:a6:32:01:02:03`",
            "20:14: @client[0].name: `lab 01` is not a host name; use 1 to 63 letters, digits and `-`, not `-` at either end, such as `lab-01`",
            "21:14: @client[0].room: there is no room `lba`; did you mean `lab`?",
            "22:12: @client[0].ip: `192.168.2.5` is in none of the served networks; write an address of 192.168.1.0/24 (lan)",
            "24:8: @client[1].mac: is missing and has no default; write `option mac '…'` (hardware address)",
        ];
        let found: Vec<&str> =
            found.lines().map(|line| line.trim_start_matches("/etc/config/bramble:")).collect();
        assert_eq!(found, expected);
    }
}

//! Texts → a [`Config`], or every problem in them.
//!
//! First each section is held against [`super::schema`], option by option; then the parts are put together and held
//! against each other: names used twice, rooms that do not exist, addresses outside their network. A value with
//! a problem is replaced by its default so that checking can go on, and the result is thrown away at the end.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::catalogue;
use super::directory;
use super::fields::{Fields, path};
use super::inherit::{self, Inherited};
use super::modes;
use super::people;
use super::problem::{Problems, nearest};
use super::schedule::{self, Schedule};
use super::schema::{self, Absent, Naming, OptionSpec, Parsed, SECTIONS, SectionSpec};
use super::uci::{Document, Entry, Section};
use super::{
    Client, Config, Dhcp, DhcpMode, Homes, Images, LogLevel, Network, Nfs, NfsBackend, RelayedSubnet,
    Reservation, Room, Share, ShareAccess, Tftp, UnknownPi,
};
use crate::proto::portmap::NFS_PORT;
use crate::types::{HostName, MacAddr, NfsUrl, RoomName, ShareName, Spanned, Subnet};

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

    /// Holds every section against the schema.
    fn sections<'d>(&mut self, document: &'d Document) -> Vec<Fields<'d>> {
        let mut all = Vec::new();
        for section in &document.sections {
            let Some(spec) = schema::section(&section.kind.value) else {
                let kinds = SECTIONS.iter().map(|spec| spec.kind);
                let remedy = match nearest(&section.kind.value, kinds.clone()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("remove it; there are {}", kinds.collect::<Vec<_>>().join(", ")),
                };
                let message = format!("`{}` is not a type of section; {remedy}", section.kind.value);
                self.problems.note(self.file, &section.kind, section.path(), message);
                continue;
            };
            self.naming(section, spec);
            all.push(self.fields(section, spec));
        }
        all
    }

    fn naming(&mut self, section: &Section, spec: &SectionSpec) {
        let (kind, name) = (spec.kind, section.name.as_ref());
        match (spec.naming, name) {
            (Naming::Fixed(right), _) if name.is_none_or(|name| name.value != right) => {
                let message = format!(
                    "there is one section of this type and it has a fixed name; write `config {kind} '{right}'`"
                );
                self.problems.note(self.file, name.unwrap_or(&section.kind), section.path(), message);
            }
            (Naming::Named, None) => {
                let message = format!("a {kind} needs a name; write `config {kind} 'lab'`");
                self.problems.note(self.file, &section.kind, section.path(), message);
            }
            (Naming::Fixed(_) | Naming::Named | Naming::Free, _) => {}
        }
    }

    fn fields<'d>(&mut self, section: &'d Section, spec: &'static SectionSpec) -> Fields<'d> {
        let mut values = HashMap::new();
        for entry in &section.options {
            let Some(option) = spec.option(&entry.name.value) else {
                let meant = nearest(&entry.name.value, spec.options.iter().map(|option| option.name));
                let remedy = if let Some(meant) = meant {
                    format!("did you mean `{meant}`?")
                } else {
                    let names: Vec<&str> = spec.options.iter().map(|option| option.name).collect();
                    format!("remove it; there are {}", names.join(", "))
                };
                let message = format!("a `{}` section has no option of this name; {remedy}", spec.kind);
                self.problems.note(self.file, &entry.name, path(section, &entry.name.value), message);
                continue;
            };
            values.insert(option.name, self.values(section, option, entry));
        }
        for option in spec.options.iter().filter(|option| option.default == Absent::Required) {
            if section.entry(option.name).is_none() {
                let message = format!(
                    "is missing and has no default; write `option {} '…'` ({})",
                    option.name,
                    option.kind.describe()
                );
                self.problems.note(self.file, &section.kind, path(section, option.name), message);
            }
        }
        Fields { spec, section: Some(section), values }
    }

    fn values(&mut self, section: &Section, option: &OptionSpec, entry: &Entry) -> Vec<Spanned<Parsed>> {
        let all = entry.value.all();
        if let (false, Some(second)) = (option.list, all.get(1)) {
            let message =
                format!("has one value, and this is one more; keep one line, `option {} '…'`", option.name);
            self.problems.note(self.file, second, path(section, option.name), message);
        }
        let mut parsed: Vec<Spanned<Parsed>> = Vec::new();
        for value in all {
            match option.kind.parse(&value.value) {
                Ok(good) => parsed.push(value.clone().map(|_| good)),
                Err(message) => self.problems.note(self.file, value, path(section, option.name), message),
            }
        }
        parsed
    }

    fn networks(
        &mut self,
        main: &Fields<'_>,
        siblings: &Siblings<'_>,
        inherited: &Inherited<'_>,
    ) -> Vec<Network> {
        let mut networks: Vec<Network> = Vec::new();
        for name in main.texts("network") {
            let wrong = if networks.iter().any(|known| known.name == name.value) {
                Err(inherit::Wrong::Here(format!(
                    "`{}` is listed twice; remove one of the lines",
                    name.value
                )))
            } else {
                inherit::interface(&name.value, siblings.network, &siblings.sources.network)
            };
            let interface = match wrong {
                Ok(interface) => interface,
                Err(inherit::Wrong::Here(message)) => {
                    self.problems.note(self.file, &name, main.at("network"), message);
                    continue;
                }
                Err(inherit::Wrong::There(problem)) => {
                    self.problems.0.push(problem);
                    continue;
                }
            };
            let network = inherited.network(&name.value, interface, &mut self.problems);
            if let Some(other) = networks.iter().find(|other| overlap(other.subnet, network.subnet)) {
                let message = format!(
                    "`{}` ({}) and `{}` ({}) share addresses; serve one of them, or change one in {}",
                    network.name, network.subnet, other.name, other.subnet, siblings.sources.network.name
                );
                self.problems.note(self.file, &name, main.at("network"), message);
            }
            networks.push(network);
        }
        networks
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

    fn relayed(&mut self, fields: &Fields<'_>, networks: &mut [Network]) {
        let (Some(via), Some(subnet)) = (fields.texts("network").pop(), fields.subnet("subnet")) else {
            return;
        };
        let lease_time = fields.optional_duration("lease_time");
        let taken = networks
            .iter()
            .flat_map(|network| {
                std::iter::once(network.subnet).chain(network.relayed.iter().map(|relayed| relayed.subnet))
            })
            .find(|other| overlap(*other, subnet.value));
        if let Some(other) = taken {
            let message = format!(
                "`{}` shares addresses with {other}, which is served already; a relayed network has addresses of its own",
                subnet.value
            );
            self.problems.note(self.file, &subnet, fields.at("subnet"), message);
        }
        if let Some(router) = fields.ip("router").filter(|router| !subnet.value.is_host(router.value)) {
            let message = format!(
                "`{}` is not an address of {}; write the router's address in that network",
                router.value, subnet.value
            );
            self.problems.note(self.file, &router, fields.at("router"), message);
        }
        let pool = fields.value("start").and_then(|start| {
            let (Parsed::Number(from), limit) = (&start.value, fields.number("limit")) else { return None };
            match inherit::pool(subnet.value, None, *from, limit) {
                Ok(pool) => Some(pool),
                Err(message) => {
                    self.problems.note(self.file, start, fields.at("start"), message);
                    None
                }
            }
        });
        let Some(network) = networks.iter_mut().find(|network| network.name == via.value) else {
            let message = format!(
                "`{}` is not served; add `list network '{}'` to `config bramble 'main'`, or name a network that is",
                via.value, via.value
            );
            self.problems.note(self.file, &via, fields.at("network"), message);
            return;
        };
        network.relayed.push(RelayedSubnet {
            subnet: subnet.value,
            pool,
            router: fields.ip("router").map(|router| router.value),
            lease_time: lease_time.unwrap_or(network.lease_time),
        });
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

    fn clients<'d>(
        &mut self,
        sections: impl Iterator<Item = &'d Fields<'d>>,
        rooms: &[Room],
        networks: &mut [Network],
        inherited: &Inherited<'_>,
    ) -> Vec<Client> {
        let mut clients: Vec<Client> = Vec::new();
        let mut macs: HashMap<MacAddr, usize> = HashMap::new();
        let mut names: HashMap<HostName, usize> = HashMap::new();
        let mut ips: HashMap<Ipv4Addr, usize> = HashMap::new();
        for fields in sections {
            let (mac, name, ip) = (fields.mac("mac"), fields.host_name("name"), fields.ip("ip"));
            if let Some(mac) = &mac
                && let Some(line) = first_use(&mut macs, mac)
            {
                let message = format!(
                    "`{}` is also the client at line {line}; one Pi is one section, remove one of them",
                    mac.value
                );
                self.problems.note(self.file, mac, fields.at("mac"), message);
            }
            if let Some(name) = &name
                && let Some(line) = first_use(&mut names, name)
            {
                let message = format!(
                    "`{}` is also the name of the client at line {line}; give one of them another name",
                    name.value
                );
                self.problems.note(self.file, name, fields.at("name"), message);
            }
            if let Some(ip) = &ip {
                if let Some(line) = first_use(&mut ips, ip) {
                    let message = format!(
                        "`{}` is also the address of the client at line {line}; give one of them another address",
                        ip.value
                    );
                    self.problems.note(self.file, ip, fields.at("ip"), message);
                }
                self.address(fields, ip, mac.as_ref().map(|mac| mac.value), networks, inherited);
            }
            let room = fields.value("room").and_then(|room| match &room.value {
                Parsed::RoomName(name) => Some(room.clone().map(|_| name.clone())),
                _ => None,
            });
            if let Some(room) = &room
                && !rooms.iter().any(|known| known.name == room.value)
            {
                let known = rooms.iter().map(|known| known.name.as_str());
                let remedy = nearest(room.value.as_str(), known).map_or_else(
                    || format!("add `config room '{}'`, or leave `room` out", room.value),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let message = format!("there is no room `{}`; {remedy}", room.value);
                self.problems.note(self.file, room, fields.at("room"), message);
            }
            if let (Some(mac), Some(name)) = (mac, name) {
                let client = Client {
                    mac: mac.value,
                    name: name.value.clone(),
                    room: room.map(|room| room.value),
                    image: fields.image("image"),
                    ip: ip.map(|ip| ip.value),
                    config_txt: fields.all_text("config_txt"),
                    cmdline: fields.all_text("cmdline"),
                    mode: modes::mode(fields),
                    kiosk_page: modes::page(fields),
                };
                if let Some(message) = modes::wrong(&client, rooms) {
                    self.problems.note(self.file, &name, fields.at("name"), message);
                }
                clients.push(client);
            }
        }
        reserve(&clients, networks);
        clients
    }

    /// A client's own address: inside a served network, nobody else's.
    fn address(
        &mut self,
        fields: &Fields<'_>,
        ip: &Spanned<Ipv4Addr>,
        mac: Option<MacAddr>,
        networks: &[Network],
        inherited: &Inherited<'_>,
    ) {
        let address = ip.value;
        let home = networks.iter().find(|network| {
            network.subnet.is_host(address)
                || network.relayed.iter().any(|relayed| relayed.subnet.is_host(address))
        });
        let message = match home {
            None if networks.is_empty() => return,
            None => {
                let served: Vec<String> =
                    networks.iter().map(|network| format!("{} ({})", network.subnet, network.name)).collect();
                format!(
                    "`{address}` is in none of the served networks; write an address of {}",
                    served.join(" or ")
                )
            }
            Some(network) if network.address == address => {
                format!("`{address}` is the router's own address on `{}`; choose another", network.name)
            }
            Some(network) => {
                let clash = network.reservations.iter().find(|reservation| {
                    let same = mac.is_some_and(|mac| reservation.macs.contains(&mac));
                    let has = reservation.ip == Some(address);
                    (has && !same) || (same && !has && reservation.ip.is_some())
                });
                match clash {
                    Some(Reservation { ip: Some(other), .. }) if *other == address => format!(
                        "`{address}` is reserved for another machine in {}; choose another address, or remove that `config host`",
                        inherited.file
                    ),
                    Some(Reservation { ip: Some(other), .. }) => format!(
                        "this Pi has `{other}` in {}, and `{address}` here; remove one of the two",
                        inherited.file
                    ),
                    _ => return,
                }
            }
        };
        self.problems.note(self.file, ip, fields.at("ip"), message);
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

/// Gives each client with an address its reservation, and each client that has one in `dhcp` its name.
fn reserve(clients: &[Client], networks: &mut [Network]) {
    for client in clients {
        for network in networks.iter_mut() {
            for reservation in network.reservations.iter_mut().filter(|r| r.macs == [client.mac]) {
                reservation.name = Some(client.name.clone());
            }
            let Some(ip) = client.ip else { continue };
            let here = network.subnet.is_host(ip)
                || network.relayed.iter().any(|relayed| relayed.subnet.is_host(ip));
            let known = network.reservations.iter().any(|r| r.macs.contains(&client.mac) && r.ip == Some(ip));
            if here && !known {
                network.reservations.push(Reservation {
                    macs: vec![client.mac],
                    patterns: Vec::new(),
                    by_name: false,
                    ip: Some(ip),
                    name: Some(client.name.clone()),
                    lease_time: None,
                    tags: Vec::new(),
                    ignore: false,
                });
            }
        }
    }
}

/// The line where this value stood before, if it did.
fn first_use<T: Clone + Eq + std::hash::Hash>(
    seen: &mut HashMap<T, usize>,
    value: &Spanned<T>,
) -> Option<usize> {
    if let Some(line) = seen.get(&value.value) {
        return Some(*line);
    }
    seen.insert(value.value.clone(), value.line);
    None
}

fn overlap(a: Subnet, b: Subnet) -> bool {
    a.contains(b.first()) || b.contains(a.first())
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
    use std::time::Duration;

    use super::*;

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

//! What differs between two configurations, and what has to notice.
//!
//! A reload takes the new configuration whole; this says which parts of the daemon to tell. Nothing here takes the root
//! of a running client away: sockets of networks that stay are kept by their owners.

use std::collections::BTreeSet;

use super::schema::Touches;
use super::{Config, Network, Room};

/// What a reload has to do, and what to write in the log about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub touches: BTreeSet<Touches>,
    /// One short phrase for each part that changed, such as `client lab-01 is new`.
    pub parts: Vec<String>,
}

impl Change {
    /// What changes from `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut change = Self::default();
        change.whole(old, new);
        change.networks(old, new);
        change.clients(old, new);
        change
    }

    pub fn is_empty(&self) -> bool {
        self.touches.is_empty()
    }

    fn note(&mut self, changed: bool, touches: Touches, part: impl Into<String>) {
        if changed {
            self.touches.insert(touches);
            let part = part.into();
            if !self.parts.contains(&part) {
                self.parts.push(part);
            }
        }
    }

    fn whole(&mut self, old: &Config, new: &Config) {
        // Naming every field makes the compiler ask about a new one.
        let Config {
            enabled,
            data,
            log_level,
            timezone,
            clock_rule,
            networks: _,
            names,
            dhcp,
            tftp,
            nfs,
            accounts,
            directory,
            images,
            homes,
            catalogue,
            shares,
            ldap,
            rooms: _,
            clients: _,
            schedules,
        } = old;
        self.note(*enabled != new.enabled, Touches::Daemon, "the service is switched on or off");
        self.note(*data != new.data, Touches::Daemon, format!("data is now in {}", new.data.display()));
        self.note(*log_level != new.log_level, Touches::Log, "the log level changed");
        self.note(*names != new.names, Touches::Leases, "names that no lease may have changed");
        self.note(*timezone != new.timezone, Touches::Clients, "the router's time zone changed");
        let timetable = *schedules != new.schedules || *clock_rule != new.clock_rule;
        self.note(timetable, Touches::Clients, "the timetable changed");
        let super::Dhcp { mode, inherit, unknown_pi, matches } = dhcp;
        self.note(*mode != new.dhcp.mode, Touches::Sockets, "the DHCP mode changed");
        let leases = *inherit != new.dhcp.inherit
            || *unknown_pi != new.dhcp.unknown_pi
            || *matches != new.dhcp.matches;
        self.note(leases, Touches::Leases, "DHCP settings changed");
        self.note(*tftp != new.tftp, Touches::Sockets, "TFTP is switched on or off");
        let super::Nfs { backend, port } = nfs;
        self.note(*port != new.nfs.port, Touches::Sockets, format!("NFS is now on port {}", new.nfs.port));
        self.note(*backend != new.nfs.backend, Touches::Clients, "the NFS server of images changed");
        self.note(*accounts != new.accounts, Touches::People, "settings of accounts changed");
        self.note(*directory != new.directory, Touches::People, "settings of the directory changed");
        self.note(*images != new.images, Touches::Clients, "what is kept of old versions changed");
        self.note(*homes != new.homes, Touches::People, "settings of homes changed");
        self.note(*catalogue != new.catalogue, Touches::Clients, "where operating systems come from changed");
        self.note(*shares != new.shares, Touches::People, "shares changed");
        self.note(*ldap != new.ldap, Touches::Sockets, "settings of the LDAP interface changed");
    }

    fn networks(&mut self, old: &Config, new: &Config) {
        for network in &new.networks {
            match old.networks.iter().find(|before| before.name == network.name) {
                Some(before) => self.network(before, network),
                None => self.note(true, Touches::Sockets, format!("network {} is new", network.name)),
            }
        }
        for network in &old.networks {
            let gone = !new.networks.iter().any(|after| after.name == network.name);
            self.note(gone, Touches::Sockets, format!("network {} is gone", network.name));
        }
    }

    fn network(&mut self, old: &Network, new: &Network) {
        let Network { name, device, address, subnet, .. } = old;
        let moved = *device != new.device || *address != new.address || *subnet != new.subnet;
        self.note(moved, Touches::Sockets, format!("network {name} has another device or address"));
        self.note(
            !moved && old != new,
            Touches::Leases,
            format!("network {name} has other pools, options or hosts"),
        );
    }

    fn clients(&mut self, old: &Config, new: &Config) {
        for room in &new.rooms {
            let before = old.rooms.iter().find(|before| before.name == room.name);
            let people = |room: &Room| {
                (
                    room.classes.clone(),
                    room.sudo,
                    room.groups.clone(),
                    room.modes.mode,
                    room.modes.exam.clone(),
                )
            };
            let same_people = before.is_some_and(|before| people(before) == people(room));
            self.note(
                before != Some(room),
                Touches::Clients,
                format!("room {} is new or changed", room.name),
            );
            self.note(!same_people, Touches::People, format!("room {} is new or changed", room.name));
        }
        for room in &old.rooms {
            let gone = !new.rooms.iter().any(|after| after.name == room.name);
            self.note(gone, Touches::Clients, format!("room {} is gone", room.name));
        }
        for client in &new.clients {
            match old.clients.iter().find(|before| before.mac == client.mac) {
                Some(before) => {
                    self.note(before != client, Touches::Clients, format!("client {} changed", client.name));
                    let people = before.mode != client.mode;
                    self.note(people, Touches::People, format!("client {} changed", client.name));
                }
                None => self.note(true, Touches::Clients, format!("client {} is new", client.name)),
            }
        }
        for client in &old.clients {
            let gone = !new.clients.iter().any(|after| after.mac == client.mac);
            self.note(gone, Touches::Clients, format!("client {} is gone", client.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Source, Sources, from_sources};
    use super::super::schema::{OptionSpec, SECTIONS};
    use super::*;

    const BASE: &str = "
config bramble 'main'
	option data '/mnt/sda1/bramble'
config subnet 's'
	option network 'lan'
	option subnet '10.1.20.0/24'
	option start '10'
config nfs 'nfs'
	option backend 'external'
	option url 'nfs://192.168.1.7/srv/{image}/{version}'
config directory 'directory'
	list server 'ldap.school.lan'
	option base 'dc=school,dc=lan'
config share 'files'
config room 'lab'
config room 'hall'
config schedule 'evening'
	option time '16:30'
config client 'c'
	option mac 'dc:a6:32:01:02:03'
	option name 'lab-01'
";

    const NETWORK: &str = "
config interface 'lan'
	option device 'br-lan'
	option proto 'static'
	option ipaddr '192.168.1.1/24'
config interface 'lab'
	option device 'br-lab'
	option proto 'static'
	option ipaddr '192.168.2.1/24'
";

    fn config(bramble: &str, dhcp: &str) -> Config {
        let source =
            |name: &str, text: &str| Source { name: name.to_owned(), text: Some(text.as_bytes().to_vec()) };
        let sources = Sources {
            bramble: source("bramble", bramble),
            network: source("network", NETWORK),
            dhcp: source("dhcp", dhcp),
            system: source("system", ""),
        };
        from_sources(&sources).unwrap_or_else(|problems| panic!("{problems}\n{bramble}"))
    }

    /// Another value for an option than it has in `BASE`.
    fn another(section: &str, option: &OptionSpec) -> &'static str {
        match (section, option.name) {
            ("ldap", "base") => "dc=school,dc=lan",
            ("bramble", "enabled") | ("schedule", "router") | ("room", "screens") | ("ldap", _) => "1",
            ("bramble", "data") => "/mnt/sdb1/bramble",
            ("bramble" | "subnet", "network") => "lab",
            ("bramble", "log_level") => "debug",
            ("dhcp", "mode") => "proxy",
            ("dhcp", "inherit")
            | ("tftp" | "schedule", "enabled")
            | ("homes", "local_caches" | "encrypt") => "0",
            ("dhcp" | "subnet", "start") => "50",
            ("dhcp" | "subnet", "limit") => "20",
            ("dhcp" | "subnet", "lease_time") | ("directory", "refresh" | "offline_time") => "1h",
            ("dhcp", "unknown_pi") => "ignore",
            ("subnet", "subnet") => "10.1.21.0/24",
            ("subnet", "router") => "10.1.20.1",
            ("nfs", "backend") => "embedded",
            ("homes", "quota") => "none",
            ("catalogue", "source") => "/mnt/stick/os_list.json",
            ("catalogue", "proxy") => "http://proxy:8080",
            ("share", "access") => "handin",
            ("share", "class") => "class-7b",
            ("share", "path") => "/mnt/sdb1/files",
            ("share", "quota") => "5G",
            ("nfs", "url") => "nfs://192.168.1.8/srv/{image}/{version}",
            ("nfs", "port") => "20490",
            ("room" | "client", "image") => "trixie@2",
            ("room" | "client", "config_txt") => "dtparam=audio=off",
            ("room" | "client", "cmdline") => "quiet",
            ("room" | "client", "mode") => "guest",
            ("room" | "client", "kiosk_url") => "https://b.example/",
            ("room", "guest_time" | "kiosk_idle") => "45",
            ("room", "exam_account") => "anna",
            ("room", "exam_share") => "files",
            ("room", "exam_hook") => "/etc/bramble/exam",
            ("room", "timezone") => "Europe/Rome",
            ("room", "mask") => "cups.service",
            ("room", "class" | "exam_class") => "class-8a",
            ("room", "sudo") => "teachers",
            ("room", "groups") => "gpio",
            ("directory", "server") => "dc1.school.lan",
            ("directory", "kind") => "ad",
            ("directory", "tls") => "starttls",
            ("directory", "ca_file" | "secret_file") | ("catalogue", "ca_file") => "/etc/other",
            ("directory", "base" | "group_base" | "bind_dn") => "dc=school",
            ("directory", "filter" | "group_filter") => "(objectClass=person)",
            ("directory", "name_attribute") => "mail",
            ("directory", "numbers") => "sid",
            ("directory", "group" | "teacher_group") => "staff room",
            ("directory", "timeout") | ("accounts", "history_days") | ("images", "keep") => "7",
            ("images", "keep_for") => "60d",
            ("directory", "offline") => "names",
            ("accounts", "source") => "ldap",
            ("accounts", "twice") => "refuse",
            ("accounts", "password_length") => "10",
            ("accounts", "attic_time") | ("catalogue", "refresh") => "1w",
            ("schedule", "day") => "sun",
            ("schedule", "time") => "17:00",
            ("schedule", "grace") => "5",
            ("schedule", "action") => "logout",
            ("client", "mac") => "dc:a6:32:01:02:99",
            ("client", "name") => "lab-99",
            ("client" | "schedule", "room") => "hall",
            ("client", "ip") => "192.168.1.77",
            (section, name) => panic!("this test has no other value for {section}.{name}: add one above"),
        }
    }

    /// Whoever adds an option to the schema must also make it count, here and in `load`.
    #[test]
    fn every_option_of_the_schema_touches_what_the_schema_says() {
        let both = BASE.replace(
            "'/mnt/sda1/bramble'\n",
            "'/mnt/sda1/bramble'\n\tlist network 'lan'\n\tlist network 'lab'\n",
        );
        for section in SECTIONS {
            for option in section.options {
                let base = if section.kind == "subnet" { &both } else { BASE };
                let name = match section.kind {
                    "bramble" => "main",
                    "subnet" => "s",
                    "share" => "files",
                    "room" => "lab",
                    "client" => "c",
                    "schedule" => "evening",
                    fixed => fixed,
                };
                let keyword = if option.list { "list" } else { "option" };
                let value = another(section.kind, option);
                // A later section of the same name is merged, and its options win.
                let mut text = format!(
                    "{base}config {} '{name}'\n\t{keyword} {} '{value}'\n",
                    section.kind, option.name
                );
                if (section.kind, option.name) == ("bramble", "network") {
                    text = text.replace("option network 'lan'", "option network 'lab'");
                }
                let change = Change::between(&config(base, ""), &config(&text, ""));
                assert!(
                    change.touches.contains(&option.touches),
                    "{}.{} touches {:?}, but a change of it gave {change:?}",
                    section.kind,
                    option.name,
                    option.touches
                );
                assert!(!change.parts.is_empty());
            }
        }
    }

    #[test]
    fn what_stays_the_same_touches_nothing() {
        let again = format!("# a comment\n{BASE}\n\n");
        assert_eq!(Change::between(&config(BASE, ""), &config(&again, "")), Change::default());
    }

    #[test]
    fn each_part_is_named_once() {
        let text = "
config bramble 'main'
	option data '/mnt/sda1/bramble'
	list network 'lan'
	list network 'lab'
config nfs 'nfs'
	option backend 'external'
	option url 'nfs://192.168.1.7/srv/{image}/{version}'
config room 'lab'
	option image 'trixie'
config client
	option mac 'dc:a6:32:01:02:04'
	option name 'lab-02'
";
        let dhcp = "config dhcp lan\n\toption interface lan\n\toption leasetime 1h\n";
        let change = Change::between(&config(BASE, ""), &config(text, dhcp));
        assert_eq!(
            change.parts,
            [
                "the timetable changed",
                "settings of the directory changed",
                "shares changed",
                "network lan has other pools, options or hosts",
                "network lab is new",
                "room lab is new or changed",
                "room hall is gone",
                "client lab-02 is new",
                "client lab-01 is gone",
            ]
        );
        assert_eq!(
            change.touches,
            BTreeSet::from([Touches::Clients, Touches::People, Touches::Leases, Touches::Sockets])
        );
    }
}

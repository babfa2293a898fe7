//! Leases as the rest of the router sees them: a lease file for LuCI's status page, a hosts file for dnsmasq, and the
//! events that scripts in `/etc/hotplug.d/dhcp` wait for. Pure: leases and configuration in, texts out.
//!
//! A name that a client gives itself is published only if nobody else has it: a laptop that calls itself `lab-01` does
//! not take that name from the Pi, nor that of the router or of a server in one of its hosts files; and names on which other
//! machines rely for more than an address (`wpad`) are never published. dnsmasq would protect these from its own leases,
//! but answers with both addresses where hosts files contradict each other.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::config::Config;
use crate::service::leases::Lease;
use crate::types::{HostName, MacAddr, Moment};

/// Names that no lease is published under: programs ask for them without having been told to.
const NEVER: [&str; 4] = ["localhost", "wpad", "isatap", "openwrt"];

/// dnsmasq's format: when it ends (0 for never), hardware address, address, name, client identifier.
pub fn lease_file(leases: &[Lease]) -> String {
    let mut text = String::new();
    for lease in leases {
        let Some(mac) = lease.mac else { continue };
        let ends = lease.expires_at.map_or(0, Moment::secs);
        let name = lease.host_name.as_ref().map_or("*", HostName::as_str);
        let _ = writeln!(text, "{ends} {mac} {} {name} *", lease.ip);
    }
    text
}

/// Names of hosts files that are not ours, in small letters, and their IPv4 addresses. Those of IPv6 are no contradiction:
/// the same machine may have one.
#[derive(Debug, Default)]
pub struct Given(HashMap<String, Vec<Ipv4Addr>>);

impl Given {
    /// Adds what a hosts file says.
    pub fn read(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(Ok(ip)) = words.next().map(str::parse) else { continue };
            for name in words {
                self.0.entry(name.to_ascii_lowercase()).or_default().push(ip);
            }
        }
    }

    /// Whether `name` is another's than that of `ip`.
    fn to_another(&self, name: &str, ip: Ipv4Addr) -> bool {
        self.0.get(name).is_some_and(|given| !given.contains(&ip))
    }
}

/// A line for each address with a name: the name alone, and with the domain of its network.
pub fn hosts_file(leases: &[Lease], config: &Config, given: &Given) -> String {
    let owners = owners(config);
    let taken = |name: &str, ip| given.to_another(name, ip) || config.names.iter().any(|other| other == name);
    let mut first: HashMap<&str, Ipv4Addr> = HashMap::new();
    let mut text = String::new();
    for lease in leases {
        let Some(name) = lease.host_name.as_ref().map(HostName::as_str) else { continue };
        let owned = owners.get(name).is_none_or(|owners| lease.mac.is_some_and(|mac| owners.contains(&mac)));
        if NEVER.contains(&name) || !owned {
            continue;
        }
        let network = config.networks.iter().find(|network| network.name == lease.network);
        let domain = network.and_then(|network| network.options.domain.as_deref());
        let long = domain.map(|domain| format!("{name}.{}", domain.to_ascii_lowercase()));
        let all = [Some(name), long.as_deref()];
        if all.iter().flatten().any(|name| taken(name, lease.ip))
            || *first.entry(name).or_insert(lease.ip) != lease.ip
        {
            continue;
        }
        let _ = match domain {
            Some(domain) => writeln!(text, "{} {name} {name}.{domain}", lease.ip),
            None => writeln!(text, "{} {name}", lease.ip),
        };
    }
    text
}

/// Whom the configuration gives each name.
fn owners(config: &Config) -> HashMap<&str, Vec<MacAddr>> {
    let mut owners: HashMap<&str, Vec<MacAddr>> = HashMap::new();
    for client in &config.clients {
        owners.entry(client.name.as_str()).or_default().push(client.mac);
    }
    for reservation in config.networks.iter().flat_map(|network| &network.reservations) {
        if let Some(name) = &reservation.name
            && !reservation.macs.is_empty()
        {
            owners.entry(name.as_str()).or_default().extend(&reservation.macs);
        }
    }
    owners
}

/// What happened to an address, in the words of dnsmasq's script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub action: &'static str,
    pub mac: MacAddr,
    pub ip: Ipv4Addr,
    pub name: Option<HostName>,
}

/// Who has which address, for [`events`].
pub type Holders = BTreeMap<Ipv4Addr, (MacAddr, Option<HostName>)>;

pub fn holders(leases: &[Lease]) -> Holders {
    let holder = |lease: &Lease| Some((lease.ip, (lease.mac?, lease.host_name.clone())));
    leases.iter().filter_map(holder).collect()
}

/// What changed between two looks.
pub fn events(before: &Holders, after: &Holders) -> Vec<Event> {
    let event = |action, ip: &Ipv4Addr, holder: &(MacAddr, Option<HostName>)| Event {
        action,
        mac: holder.0,
        ip: *ip,
        name: holder.1.clone(),
    };
    let mut events = Vec::new();
    for (ip, holder) in before {
        if after.get(ip).is_none_or(|now| now.0 != holder.0) {
            events.push(event("remove", ip, holder));
        }
    }
    for (ip, holder) in after {
        match before.get(ip) {
            Some(old) if old == holder => {}
            Some(old) if old.0 == holder.0 => events.push(event("update", ip, holder)),
            _ => events.push(event("add", ip, holder)),
        }
    }
    events
}

impl Event {
    /// The environment of the scripts.
    pub fn env(&self) -> Vec<String> {
        let mut env = vec![
            format!("ACTION={}", self.action),
            format!("MACADDR={}", self.mac),
            format!("IPADDR={}", self.ip),
        ];
        env.extend(self.name.as_ref().map(|name| format!("HOSTNAME={name}")));
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Source, Sources, from_sources};

    fn lease(last: u8, name: Option<&str>, ends: Option<i64>) -> Lease {
        Lease {
            ip: Ipv4Addr::new(192, 168, 1, last),
            mac: Some(MacAddr::new([2, 0, 0, 0, 0, last])),
            host_name: name.map(|name| name.parse().expect("a name")),
            network: "lan".to_owned(),
            expires_at: ends.map(Moment::from_secs),
        }
    }

    fn config() -> Config {
        let source = |text: &str| Source { name: "x".to_owned(), text: Some(text.as_bytes().to_vec()) };
        from_sources(&Sources {
            bramble: source(
                "config bramble 'main'\n\toption data '/mnt/x'\n\tlist network 'lan'\nconfig client\n\
                 \toption mac '02:00:00:00:00:07'\n\toption name 'lab-01'\n",
            ),
            network: source(
                "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\
                 \toption ipaddr '192.168.1.1/24'\n",
            ),
            dhcp: source(
                "config dnsmasq\n\toption domain 'school'\nconfig host\n\toption name 'printer'\n\
                 \toption mac '02:00:00:00:00:09'\n\toption ip '192.168.1.9'\nconfig hostrecord\n\tlist name 'cloud'\n\
                 \tlist name 'files.school'\nconfig cname\n\toption cname 'www'\n\toption target 'cloud'\n",
            ),
            system: source("config system\n\toption hostname 'Bramble-Router'\n"),
        })
        .expect("a configuration")
    }

    #[test]
    fn luci_reads_the_lease_file() {
        let mut nobody = lease(5, Some("x"), None);
        nobody.mac = None;
        let leases = [lease(2, Some("pc"), Some(1_700_000_000)), lease(3, None, None), nobody];
        assert_eq!(
            lease_file(&leases),
            "1700000000 02:00:00:00:00:02 192.168.1.2 pc *\n0 02:00:00:00:00:03 192.168.1.3 * *\n"
        );
    }

    #[test]
    fn a_name_is_published_for_whom_it_belongs_to() {
        let leases = [
            lease(2, Some("lab-01"), None),  // a laptop with the name of a Pi
            lease(3, Some("printer"), None), // and of a printer
            lease(4, Some("pc"), None),
            lease(5, Some("pc"), None), // a name twice: the first keeps it
            lease(6, Some("wpad"), None),
            lease(7, Some("lab-01"), None),
            lease(9, Some("printer"), None),
        ];
        assert_eq!(
            hosts_file(&leases, &config(), &Given::default()),
            "192.168.1.4 pc pc.school\n192.168.1.7 lab-01 lab-01.school\n192.168.1.9 printer printer.school\n"
        );
    }

    #[test]
    fn a_name_that_the_router_gave_to_something_else_is_not_published() {
        let mut given = Given::default();
        given.read("127.0.0.1 localhost\n# 192.168.1.2 tea\n192.168.1.80\tnas NAS.school # the archive\n");
        given.read(
            "192.168.1.81 mail.school\n192.168.1.6 six six.school\nfd00::7 seven\nrubbish\n192.168.1.82\n",
        );
        let names = ["nas", "mail", "bramble-router", "cloud", "files", "www", "six", "seven", "tea", "nase"];
        let leases: Vec<Lease> = (2..).zip(names).map(|(last, name)| lease(last, Some(name), None)).collect();
        let text = hosts_file(&leases, &config(), &given);
        let published: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(published, ["seven", "tea", "nase"]);
        // The machine that it was given to may have it.
        assert_eq!(
            hosts_file(&[lease(6, Some("six"), None)], &config(), &given),
            "192.168.1.6 six six.school\n"
        );
        assert_eq!(
            hosts_file(&[lease(80, Some("nas"), None)], &config(), &given),
            "192.168.1.80 nas nas.school\n"
        );
    }

    #[test]
    fn scripts_hear_what_changed() {
        let before = holders(&[lease(2, Some("a"), None), lease(3, None, None), lease(4, None, None)]);
        let mut other = lease(4, None, None);
        other.mac = Some(MacAddr::new([2, 0, 0, 0, 0, 44]));
        let after =
            holders(&[lease(2, Some("b"), None), lease(3, None, Some(5)), other, lease(8, None, None)]);
        let told: Vec<String> = events(&before, &after).iter().map(|event| event.env().join(" ")).collect();
        assert_eq!(
            told,
            [
                "ACTION=remove MACADDR=02:00:00:00:00:04 IPADDR=192.168.1.4",
                "ACTION=update MACADDR=02:00:00:00:00:02 IPADDR=192.168.1.2 HOSTNAME=b",
                "ACTION=add MACADDR=02:00:00:00:00:2c IPADDR=192.168.1.4",
                "ACTION=add MACADDR=02:00:00:00:00:08 IPADDR=192.168.1.8",
            ]
        );
        assert_eq!(events(&after, &after), []);
    }
}

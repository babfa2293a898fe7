//! Configuration → the facts a DHCP decision needs: which network a packet belongs to, who sent it, which tags it has.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, FOREVER, MatchOn, Network, Reservation};
use crate::proto::dhcp::decide::{Client, Scope, Silence, Standing};
use crate::proto::dhcp::table::ClientKey;
use crate::proto::dhcp::{LeaseTime, Packet, code, pi};
use crate::types::MacAddr;

/// Sub-option of option 82: the subnet to serve, where it is not the relay's own (RFC 3527).
const LINK_SELECTION: u8 = 5;

/// One subnet that is served, and the network it is served from.
#[derive(Clone, Debug)]
pub struct Served {
    pub scope: Scope,
    /// Index in [`Config::networks`].
    network: usize,
    device: String,
    /// The router behind the relay.
    pub router: Option<Ipv4Addr>,
}

/// Everything derived from one configuration.
#[derive(Clone, Debug)]
pub struct Scopes {
    pub config: Arc<Config>,
    served: Vec<Served>,
}

impl Scopes {
    pub fn new(config: Arc<Config>) -> Self {
        let mut served = Vec::new();
        for (index, network) in config.networks.iter().enumerate() {
            let name: Arc<str> = network.name.as_str().into();
            let reserved = reserved(&config, network);
            let scope = |subnet, pool, time, relayed| Scope {
                network: Arc::clone(&name),
                server: network.address,
                subnet,
                pool,
                lease_time: lease_time(time),
                relayed,
                reserved: Arc::clone(&reserved),
            };
            served.push(Served {
                scope: scope(network.subnet, network.pool.clone(), network.lease_time, false),
                network: index,
                device: network.device.clone(),
                router: None,
            });
            served.extend(network.relayed.iter().map(|relayed| Served {
                scope: scope(relayed.subnet, relayed.pool.clone(), relayed.lease_time, true),
                network: index,
                device: network.device.clone(),
                router: relayed.router,
            }));
        }
        Self { config, served }
    }

    pub fn network(&self, served: &Served) -> Option<&Network> {
        self.config.networks.get(served.network)
    }

    /// The subnet that `packet`, which came in on `device`, is about (RFC 2131 §4.3.1, RFC 3527).
    pub fn select(&self, packet: &Packet, device: &str) -> Result<&Served, Silence> {
        let here = || self.served.iter().filter(|served| served.device == device);
        let holds = |ip: Ipv4Addr| move |served: &&Served| served.scope.subnet.contains(ip);
        if !packet.giaddr.is_unspecified() {
            let link = link_selection(packet).unwrap_or(packet.giaddr);
            let relayed = self.served.iter().filter(|served| served.scope.relayed);
            return relayed.chain(here()).find(holds(link)).ok_or(Silence::UnknownRelay);
        }
        let main = || here().filter(|served| !served.scope.relayed);
        // A client behind a relay renews without it, straight to us.
        let known = Some(packet.ciaddr).filter(|ip| !ip.is_unspecified());
        let renewing = known.and_then(|ip| self.served.iter().filter(|s| s.scope.relayed).find(holds(ip)));
        let chosen = packet.server_id.and_then(|id| main().find(|served| served.scope.server == id));
        let wished = known.or(packet.requested).and_then(|ip| main().find(holds(ip)));
        wished.or(renewing).or(chosen).or_else(|| main().next()).ok_or(Silence::UnknownRelay)
    }

    /// Whether leases around `ip` never run out by configuration.
    pub fn lasts_for_ever(&self, ip: Ipv4Addr) -> bool {
        let of = self.served.iter().find(|served| served.scope.subnet.contains(ip));
        of.is_some_and(|served| {
            served.scope.lease_time == LeaseTime::Infinite || served.scope.is_reserved(ip)
        })
    }

    pub fn adopted(&self, mac: MacAddr) -> Option<&config::Client> {
        self.config.clients.iter().find(|client| client.mac == mac)
    }

    /// The reservation that `packet` matches: by hardware address, by pattern, by the name it shows.
    pub fn reservation(&self, served: &Served, packet: &Packet) -> Option<&Reservation> {
        let reservations = || self.network(served).into_iter().flat_map(|network| &network.reservations);
        let mac = packet.hardware.mac();
        let by_mac = mac.and_then(|mac| reservations().find(|r| r.macs.contains(&mac)));
        let by_pattern = || {
            let mac = mac?;
            reservations().find(|r| r.patterns.iter().any(|pattern| fits(pattern, mac)))
        };
        let by_name = || {
            let name = packet.host_name.as_ref()?;
            reservations().find(|r| r.by_name && r.name.as_ref() == Some(name))
        };
        by_mac.or_else(by_pattern).or_else(by_name)
    }

    /// Who sent `packet`. `shown_before`: a ROM of a Pi with this hardware address was heard earlier.
    pub fn client(&self, served: &Served, packet: &Packet, shown_before: bool) -> Result<Client, Silence> {
        let mac = packet.hardware.mac();
        let rom = pi::Rom::of(packet);
        let adopted = mac.and_then(|mac| self.adopted(mac));
        let reservation = self.reservation(served, packet);
        let standing = match (adopted, reservation) {
            (Some(_), _) => Standing::Adopted,
            (None, Some(reservation)) if reservation.ignore => Standing::Ignored,
            (None, _) if rom.is_some() || (shown_before && mac.is_some()) => Standing::NewPi,
            (None, _) => Standing::Stranger,
        };
        let by_hardware = standing.is_pi() || reservation.is_some_and(|r| !r.by_name);
        let hardware = ClientKey::Hardware(packet.hardware);
        let key = match packet.client_id() {
            Some(id) if !by_hardware => ClientKey::Id(id.into()),
            _ if packet.hardware.is_empty() => return Err(Silence::Nameless),
            _ => hardware,
        };
        let own = adopted.and_then(|client| client.ip);
        let fixed = own.or_else(|| reservation.and_then(|r| r.ip));
        Ok(Client {
            key,
            mac,
            stage: pi::stage(packet),
            rom,
            standing,
            fixed: fixed.filter(|ip| served.scope.subnet.contains(*ip)),
            lease_time: reservation.and_then(|r| r.lease_time).map(lease_time),
        })
    }

    /// The tags of dnsmasq's options and boot rules that `packet` has.
    pub fn tags<'a>(&'a self, served: &Served, packet: &Packet) -> Vec<&'a str> {
        let mut tags: Vec<&str> = Vec::new();
        if let Some(network) = self.network(served) {
            tags.extend(network.tags.iter().map(String::as_str));
            tags.extend([network.name.as_str(), network.device.as_str()]);
        }
        let reservation = self.reservation(served, packet);
        tags.extend(reservation.into_iter().flat_map(|r| &r.tags).map(String::as_str));
        if reservation.is_some() || packet.hardware.mac().is_some_and(|mac| self.adopted(mac).is_some()) {
            tags.push("known");
        }
        if packet.kind.is_none() {
            tags.push("bootp");
        }
        let matches = self.config.dhcp.matches.iter().filter(|one| shows(&one.on, packet));
        tags.extend(matches.map(|one| one.tag.as_str()));
        tags
    }
}

/// Whether a list of conditions holds: every tag is set, and none that has a `!`.
pub fn tags_hold(conditions: &[String], tags: &[&str]) -> bool {
    conditions.iter().all(|condition| match condition.strip_prefix('!') {
        Some(absent) => !tags.contains(&absent),
        None => tags.contains(&condition.as_str()),
    })
}

fn shows(on: &MatchOn, packet: &Packet) -> bool {
    match on {
        MatchOn::VendorClass(part) => contains(packet.vendor_class(), part),
        MatchOn::UserClass(part) => contains(packet.options.get(code::USER_CLASS).unwrap_or_default(), part),
        MatchOn::Option { code, value, anywhere } => match (packet.options.get(*code), value) {
            (Some(shown), Some(value)) if *anywhere => contains(shown, value),
            (Some(shown), Some(value)) if !value.is_empty() => {
                shown.chunks(value.len()).any(|one| one == value)
            }
            (Some(_), _) => true,
            (None, _) => false,
        },
        MatchOn::Relay { code, value } => {
            packet.relay_agent().and_then(|information| sub_option(information, *code)) == Some(value)
        }
        MatchOn::Mac(pattern) => packet.hardware.mac().is_some_and(|mac| fits(pattern, mac)),
    }
}

/// Whether `part` is somewhere in `whole`. Nothing contains the empty text.
pub fn contains(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

fn fits(pattern: &[Option<u8>; 6], mac: MacAddr) -> bool {
    pattern.iter().zip(mac.octets()).all(|(wanted, octet)| wanted.is_none_or(|wanted| wanted == octet))
}

fn lease_time(time: Duration) -> LeaseTime {
    if time >= FOREVER { LeaseTime::Infinite } else { LeaseTime::For(time) }
}

fn reserved(config: &Config, network: &Network) -> Arc<[Ipv4Addr]> {
    let of_hosts = network.reservations.iter().filter_map(|reservation| reservation.ip);
    let of_clients = config.clients.iter().filter_map(|client| client.ip);
    let mut all: Vec<Ipv4Addr> = of_hosts.chain(of_clients).collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

fn link_selection(packet: &Packet) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = sub_option(packet.relay_agent()?, LINK_SELECTION)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// The value of a sub-option of option 82 (RFC 3046 §2.0).
fn sub_option(mut information: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [code, len, tail @ ..] = information {
        let (value, later) = tail.split_at_checked(usize::from(*len))?;
        if *code == wanted {
            return Some(value);
        }
        information = later;
    }
    None
}

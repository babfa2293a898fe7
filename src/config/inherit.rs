//! What is taken from the router's own files: interfaces of `network`, pools of `dhcp`, time zone and time service of
//! `system`. What else `dhcp` says is read by [`super::dnsmasq`].
//!
//! `option ignore` and `option dhcpv4` of a `config dhcp` are not looked at: Bramble sets them itself, to keep dnsmasq
//! from answering beside it.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Network;
use super::dnsmasq::Dnsmasq;
use super::kind::{Kind, Parsed, parse_bool};
use super::load::Source;
use super::problem::{Problem, Problems};
use super::uci::{Document, Section};
use crate::types::{Spanned, Subnet};

/// Where a fault in a named network lies.
pub(super) enum Wrong {
    /// At the name: Bramble cannot serve this network.
    Here(String),
    /// In the other file.
    There(Problem),
}

/// An interface of `/etc/config/network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub device: String,
    pub address: Ipv4Addr,
    pub subnet: Subnet,
}

/// The interface called `name`, if it has a static IPv4 address.
pub(super) fn interface(name: &str, network: &Document, source: &Source) -> Result<Interface, Wrong> {
    let file = &source.name;
    if source.text.is_none() {
        return Err(Wrong::Here(format!("`{name}` cannot be looked up: there is no file {file}; write one")));
    }
    let all = || network.of_kind("interface");
    let Some(section) = all().find(|section| section.name.as_ref().is_some_and(|n| n.value == name)) else {
        let known: Vec<&str> = all()
            .filter_map(|section| section.name.as_ref().map(|name| name.value.as_str()))
            .filter(|name| *name != "loopback")
            .collect();
        let remedy = super::problem::nearest(name, known.iter().copied()).map_or_else(
            || {
                if known.is_empty() {
                    "add it there".to_owned()
                } else {
                    format!("there are {}", known.join(", "))
                }
            },
            |meant| format!("did you mean `{meant}`?"),
        );
        return Err(Wrong::Here(format!("there is no interface `{name}` in {file}; {remedy}")));
    };
    let proto = section.value("proto").map_or("none", |proto| proto.value.as_str());
    if proto != "static" {
        return Err(Wrong::Here(format!(
            "`{name}` has no static address (`option proto '{proto}'` in {file}); the server of a network needs one: \
             choose another network, or set `option proto 'static'` and `option ipaddr` there"
        )));
    }
    let there = |place: &Spanned<String>, option: &str, message: String| {
        Wrong::There(Problem {
            file: file.clone(),
            line: place.line,
            column: place.column,
            path: format!("{name}.{option}"),
            message,
        })
    };
    // `option ipaddr '10.0.0.1/24 10.0.1.1/24'` is a list too, as netifd reads it.
    let address = section.values("ipaddr").iter().find_map(|value| {
        value.value.split_whitespace().next().map(|first| value.clone().map(|_| first.to_owned()))
    });
    let Some(address) = address else {
        return Err(there(
            &section.kind,
            "ipaddr",
            "is missing, so Bramble cannot serve this network; write `option ipaddr '192.168.1.1/24'`"
                .to_owned(),
        ));
    };
    let (ip, prefix) = match address.value.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (address.value.as_str(), None),
    };
    let ip: Ipv4Addr = ip.parse().map_err(|_| {
        there(&address, "ipaddr", format!("`{ip}` is not an IPv4 address; write one, such as `192.168.1.1`"))
    })?;
    let netmask = section.value("netmask");
    let subnet = match (prefix, netmask) {
        (Some(prefix), _) => {
            prefix.parse().ok().and_then(|bits: u8| Subnet::of(ip, bits)).ok_or_else(|| {
                there(
                    &address,
                    "ipaddr",
                    format!("`/{prefix}` is not a prefix; write a number from 8 to 30, such as `/24`"),
                )
            })?
        }
        (None, Some(mask)) => {
            mask.value.parse().ok().and_then(|bits: Ipv4Addr| Subnet::with_netmask(ip, bits)).ok_or_else(
                || {
                    let message =
                        format!("`{}` is not a netmask; write one, such as `255.255.255.0`", mask.value);
                    there(mask, "netmask", message)
                },
            )?
        }
        (None, None) => {
            let message =
                format!("`{ip}` has no netmask; write `option ipaddr '{ip}/24'`, or add `option netmask`");
            return Err(there(&address, "ipaddr", message));
        }
    };
    if !(8..=30).contains(&subnet.prefix()) || !subnet.is_host(ip) {
        let message =
            format!("`{ip}` in {subnet} leaves no addresses for clients; write a prefix from 8 to 30");
        return Err(there(&address, "ipaddr", message));
    }
    let device = device(name, section, network, 0).ok_or_else(|| {
        there(
            &section.kind,
            "device",
            "is missing, so Bramble does not know where to listen; write `option device 'br-lan'`".to_owned(),
        )
    })?;
    Ok(Interface { device, address: ip, subnet })
}

/// Kernel name of the device of an interface. `@lan` stands for the device of `lan`.
fn device(name: &str, section: &Section, network: &Document, depth: u8) -> Option<String> {
    if section.value("type").is_some_and(|kind| kind.value == "bridge") {
        // The form before OpenWrt 21.02: the interface is the bridge.
        return Some(format!("br-{name}"));
    }
    let device = section.value("device").or_else(|| section.value("ifname"))?;
    let first = device.value.split_whitespace().next()?;
    let Some(other) = first.strip_prefix('@') else {
        return Some(first.to_owned());
    };
    let target = network.section(other).filter(|target| target.kind.value == "interface" && depth < 4)?;
    self::device(other, target, network, depth + 1)
}

/// Addresses from `start` on, `limit` of them, as `ipcalc.sh` counts: from the network's first address, cut off at its
/// end. `own` is left out if it stands at either end.
pub(super) fn pool(
    subnet: Subnet,
    own: Option<Ipv4Addr>,
    start: u32,
    limit: u32,
) -> Result<RangeInclusive<Ipv4Addr>, String> {
    let (first, broadcast) = (u32::from(subnet.first()), u32::from(subnet.broadcast()));
    let mut from = first.saturating_add(start).max(first + 1);
    let mut to = from.saturating_add(limit.saturating_sub(1)).min(broadcast - 1);
    let own = own.map(u32::from);
    from += u32::from(own == Some(from));
    to -= u32::from(own == Some(to) && to > first);
    if from > to {
        let size = broadcast - first - 1;
        return Err(format!(
            "`{start}` lies behind the end of {subnet}, which has {size} addresses; write a smaller number, such as `2`"
        ));
    }
    Ok(Ipv4Addr::from(from)..=Ipv4Addr::from(to))
}

/// Time zone of the router, by its IANA name.
pub(super) fn timezone(system: &Document) -> Option<String> {
    let zone = system.of_kind("system").find_map(|section| section.value("zonename"))?;
    // LuCI writes `America/New York`; the folder of zones has `America/New_York`.
    let zone = zone.value.trim().replace(' ', "_");
    Kind::TimeZone.parse(&zone).ok().map(|_| zone)
}

/// Time zone of the router, by its rule.
pub(super) fn clock_rule(system: &Document) -> Option<String> {
    let rule = system.of_kind("system").find_map(|section| section.value("timezone"))?;
    Some(rule.value.trim().to_owned()).filter(|rule| !rule.is_empty() && rule.len() <= 100)
}

/// Names that dnsmasq answers for by itself and that no hosts file has: the router's own, and those of `config hostrecord`
/// and `config cname`. In small letters.
pub(super) fn names(dhcp: &Document, system: &Document) -> Vec<String> {
    let of = |document: &Document, kind: &'static str, option: &'static str| -> Vec<String> {
        let values = document.of_kind(kind).flat_map(|section| section.values(option));
        values.flat_map(|v| v.value.split_whitespace()).map(str::to_ascii_lowercase).collect()
    };
    let mut names = of(system, "system", "hostname");
    names.extend(of(dhcp, "hostrecord", "name"));
    names.extend(of(dhcp, "cname", "cname"));
    names
}

/// `/etc/config/dhcp`, and what counts where it says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inherited<'a> {
    /// How problems name the file.
    pub file: &'a str,
    /// `None` if nothing is to be inherited.
    pub document: Option<&'a Document>,
    pub start: u32,
    pub limit: u32,
    pub lease_time: Duration,
    /// The router serves time (`option enable_server '1'` in `system`).
    pub serves_time: bool,
}

impl<'a> Inherited<'a> {
    /// What `dhcp` says beside pools.
    pub fn said(&self) -> Dnsmasq<'a> {
        Dnsmasq { file: self.file, document: self.document, serves_time: self.serves_time }
    }

    /// The network `name` with everything that `dhcp` says about it.
    pub fn network(&self, name: &str, interface: Interface, problems: &mut Problems) -> Network {
        let Interface { device, address, subnet } = interface;
        let section = self.document.and_then(|document| {
            document.of_kind("dhcp").find(|s| s.value("interface").is_some_and(|i| i.value == name))
        });
        let mut tags = vec![name.to_owned()];
        tags.extend(section.and_then(|s| s.value("networkid")).map(|tag| tag.value.clone()));
        let (pool, lease_time) = self.range(section, subnet, address, problems);
        let said = self.said();
        let options = said.options(name, section, &tags, address, problems);
        let boot = said.boot(&tags, problems);
        Network {
            name: name.to_owned(),
            device,
            address,
            subnet,
            pool,
            lease_time,
            tags,
            relayed: Vec::new(),
            options,
            reservations: said.reservations(subnet, problems),
            boot,
        }
    }

    fn range(
        &self,
        section: Option<&Section>,
        subnet: Subnet,
        own: Ipv4Addr,
        problems: &mut Problems,
    ) -> (Option<RangeInclusive<Ipv4Addr>>, Duration) {
        let Some(section) = section else {
            return (pool(subnet, Some(own), self.start, self.limit).ok(), self.lease_time);
        };
        let mut number = |option: &str, default: u32| {
            let Some(value) = section.value(option) else { return default };
            // `start` may be written as an address too: `0.0.1.0` is 256.
            let dotted = || value.value.parse().ok().map(|address: Ipv4Addr| u32::from(address));
            value.value.parse().ok().or_else(dotted).unwrap_or_else(|| {
                let message = format!("`{}` is not a number; write one, such as `{default}`", value.value);
                problems.note(self.file, value, format!("{}.{option}", section.path()), message);
                default
            })
        };
        let (start, limit) = (number("start", 100), number("limit", 150));
        let lease_time = section.value("leasetime").map_or(Duration::from_hours(12), |value| {
            lease_time(self.file, value, section, problems).unwrap_or(self.lease_time)
        });
        let dynamic = section.value("dynamicdhcp").and_then(|v| parse_bool(&v.value)).unwrap_or(true);
        if !dynamic {
            return (None, lease_time);
        }
        match pool(subnet, Some(own), start, limit) {
            Ok(pool) => (Some(pool), lease_time),
            Err(message) => {
                let place = section.value("start").unwrap_or(&section.kind);
                problems.note(self.file, place, format!("{}.start", section.path()), message);
                (None, lease_time)
            }
        }
    }
}

/// `option leasetime` of a `config dhcp` or `config host`.
pub(super) fn lease_time(
    file: &str,
    value: &Spanned<String>,
    section: &Section,
    problems: &mut Problems,
) -> Option<Duration> {
    match Kind::Duration.parse(&value.value) {
        Ok(Parsed::Duration(time)) => Some(time),
        Ok(_) => None,
        Err(message) => {
            problems.note(file, value, format!("{}.leasetime", section.path()), message);
            None
        }
    }
}

/// Whether the router serves time to its networks.
pub(super) fn serves_time(system: &Document) -> bool {
    let on = |section: &Section, option: &str| section.value(option).and_then(|v| parse_bool(&v.value));
    system.of_kind("timeserver").any(|section| {
        on(section, "enable_server").unwrap_or(false) && on(section, "enabled").unwrap_or(true)
    })
}

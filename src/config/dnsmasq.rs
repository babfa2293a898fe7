//! Everything but pools that `/etc/config/dhcp` says: hosts, options, boot rules, and what sets tags.
//!
//! Read as OpenWrt's `dnsmasq.init` and dnsmasq itself read it, so that phones, printers and x86 machines are served as
//! before. Sections of every dnsmasq instance count; `/etc/ethers`, `dhcphostsfile` and `/etc/dnsmasq.conf` do not.

use std::net::Ipv4Addr;

use super::dhcp_option;
use super::inherit::lease_time;
use super::kind::parse_bool;
use super::problem::Problems;
use super::uci::{Document, Section, Value};
use super::{BootRule, MatchOn, NetworkOptions, RawOption, Reservation, TagMatch};
use crate::types::{HostName, MacAddr, Spanned, Subnet};

/// The parts of `/etc/config/dhcp` that are dnsmasq's.
pub(super) struct Dnsmasq<'a> {
    /// How problems name the file.
    pub file: &'a str,
    /// `None` if nothing is to be inherited.
    pub document: Option<&'a Document>,
    pub serves_time: bool,
}

/// Sections that set their `networkid` as a tag, and may have options for it.
const TAGGING: [&str; 9] =
    ["host", "boot", "mac", "vendorclass", "userclass", "circuitid", "remoteid", "subscrid", "match"];

impl<'a> Dnsmasq<'a> {
    fn of_kind(&self, kind: &'static str) -> impl DoubleEndedIterator<Item = &'a Section> + use<'a> {
        let all = self.document.into_iter().flat_map(|document| &document.sections);
        all.filter(move |section| section.kind.value == kind).collect::<Vec<_>>().into_iter()
    }

    /// Instances of dnsmasq that run. Bramble adds one that does not, to show its leases.
    fn instances(&self) -> impl DoubleEndedIterator<Item = &'a Section> + use<'a> {
        self.of_kind("dnsmasq").filter(|section| !on(section, "disabled", false))
    }

    /// The options of a network: its own `dhcp_option`, those of all networks, and those for tags.
    pub fn options(
        &self,
        name: &str,
        dhcp: Option<&Section>,
        tags: &[String],
        own: Ipv4Addr,
        problems: &mut Problems,
    ) -> NetworkOptions {
        let domain = self.instances().find_map(|section| section.value("domain"));
        let mut options = NetworkOptions {
            routers: vec![own],
            dns: vec![own],
            ntp: if self.serves_time { vec![own] } else { Vec::new() },
            domain: domain.map(|domain| domain.value.clone()),
            raw: Vec::new(),
        };
        // dnsmasq's order: those for tags before those of the network before those of all; of equals the last line.
        let mut tagged = Vec::new();
        let mut shared = Vec::new();
        for section in self.instances() {
            self.collect(section, None, own, &mut shared, problems);
        }
        for kind in TAGGING {
            for section in self.of_kind(kind) {
                let tag = section.value("networkid").map(|tag| tag.value.as_str());
                if tag.is_some() || kind == "boot" {
                    self.collect(section, tag, own, &mut tagged, problems);
                }
            }
        }
        for section in self.of_kind("tag") {
            if let Some(tag) = &section.name {
                self.collect(section, Some(&tag.value), own, &mut tagged, problems);
            }
        }
        let mut of_network = Vec::new();
        if let Some(section) = dhcp {
            self.collect(section, Some(name), own, &mut of_network, problems);
        }
        let mut all: Vec<(u8, RawOption)> = Vec::new();
        for mut option in shared.into_iter().chain(of_network).chain(tagged) {
            let conditional = !option.tags.is_empty();
            // A tag of this network is no condition here, but such an option goes before those of all networks.
            option.tags.retain(|tag| !tags.contains(tag));
            let rank = u8::from(conditional) + u8::from(!option.tags.is_empty());
            all.push((rank, option));
        }
        all.reverse();
        all.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        options.raw = all.into_iter().map(|(_, option)| option).collect();
        options
    }

    /// Adds the `dhcp_option` and `dhcp_option_force` of a section, in the order of the file.
    fn collect(
        &self,
        section: &Section,
        tag: Option<&str>,
        own: Ipv4Addr,
        into: &mut Vec<RawOption>,
        problems: &mut Problems,
    ) {
        let all_forced =
            !matches!(section.kind.value.as_str(), "dhcp" | "dnsmasq") && on(section, "force", false);
        for (name, force) in [("dhcp_option", all_forced), ("dhcp_option_force", true)] {
            for value in words(section, name) {
                match dhcp_option::parse(&value.value, own) {
                    None => {}
                    Some(Ok(option)) => into.push(RawOption {
                        code: option.code,
                        bytes: option.bytes,
                        tags: tag.into_iter().map(str::to_owned).chain(option.tags).collect(),
                        force,
                        within: option.within,
                    }),
                    Some(Err(message)) => self.note(section, name, &value, message, problems),
                }
            }
        }
    }

    /// Every `config host` that can concern a network: with an address in it, or with none.
    pub fn reservations(&self, subnet: Subnet, problems: &mut Problems) -> Vec<Reservation> {
        self.of_kind("host")
            .filter_map(|section| self.reservation(section, problems))
            .filter(|reservation| reservation.ip.is_none_or(|ip| subnet.is_host(ip)))
            .collect()
    }

    fn reservation(&self, section: &Section, problems: &mut Problems) -> Option<Reservation> {
        if !on(section, "enable", true) {
            return None;
        }
        let (mut macs, mut patterns) = (Vec::new(), Vec::new());
        for value in section.values("mac") {
            for word in value.value.split_whitespace() {
                let Some(pattern) = mac_pattern(word) else {
                    let message = format!(
                        "`{word}` is not a hardware address; write six pairs of hex digits, such as `dc:a6:32:01:02:03`"
                    );
                    self.note(section, "mac", value, message, problems);
                    continue;
                };
                match whole(pattern) {
                    Some(mac) => macs.push(mac),
                    None => patterns.push(pattern),
                }
            }
        }
        let written = section.value("ip");
        let ignore = written.is_some_and(|ip| ip.value == "ignore");
        let ip = written.filter(|_| !ignore).and_then(|ip| {
            let parsed = ip.value.parse().ok();
            if parsed.is_none() {
                let message = format!("`{}` is not an IPv4 address; write one, or `ignore`", ip.value);
                self.note(section, "ip", ip, message, problems);
            }
            parsed
        });
        // Only the first label: the domain is the network's.
        let name: Option<HostName> =
            section.value("name").and_then(|name| name.value.split('.').next()?.parse().ok());
        let lease_time = section.value("leasetime").and_then(|v| lease_time(self.file, v, section, problems));
        let tags = words(section, "tag").into_iter().chain(section.value("networkid").cloned());
        let nobody = macs.is_empty() && patterns.is_empty();
        if (nobody && name.is_none()) || (ip.is_none() && name.is_none() && !ignore) {
            return None;
        }
        let tags = tags.map(|tag| tag.value).collect();
        Some(Reservation { macs, patterns, by_name: nobody, ip, name, lease_time, tags, ignore })
    }

    /// `config boot` and `option dhcp_boot`, those for tags first.
    pub fn boot(&self, of_network: &[String], problems: &mut Problems) -> Vec<BootRule> {
        let mut rules = Vec::new();
        for section in self.instances() {
            for value in section.values("dhcp_boot") {
                let (tags, rest): (Vec<&str>, Vec<&str>) = value
                    .value
                    .split(',')
                    .map(str::trim)
                    .partition(|word| word.starts_with("tag:") || word.starts_with("net:"));
                let tags = tags.into_iter().filter_map(|tag| tag.get(4..)).map(str::to_owned).collect();
                let part = |at: usize| {
                    let text = rest.get(at).filter(|text| !text.is_empty())?;
                    Some(value.clone().map(|_| (*text).to_owned()))
                };
                rules.extend(self.boot_rule(section, tags, [part(0), part(1), part(2)], problems));
            }
        }
        for section in self.of_kind("boot") {
            let tags = section.value("networkid").map(|tag| tag.value.clone()).into_iter().collect();
            let part = |name: &str| section.value(name).cloned();
            let parts = [part("filename"), part("servername"), part("serveraddress")];
            rules.extend(self.boot_rule(section, tags, parts, problems));
        }
        for rule in &mut rules {
            rule.tags.retain(|tag| !of_network.contains(tag));
        }
        // The last line counts, and one for a tag before one for all.
        rules.reverse();
        rules.sort_by_key(|rule| rule.tags.is_empty());
        rules
    }

    fn boot_rule(
        &self,
        section: &Section,
        tags: Vec<String>,
        [file, server_name, server]: [Option<Spanned<String>>; 3],
        problems: &mut Problems,
    ) -> Option<BootRule> {
        let server = server.and_then(|server| {
            let parsed: Option<Ipv4Addr> = server.value.parse().ok();
            if parsed.is_none() {
                let message = format!(
                    "`{}` is not an IPv4 address; write the address of the boot server",
                    server.value
                );
                self.note(section, "serveraddress", &server, message, problems);
            }
            parsed.filter(|address| !address.is_unspecified())
        });
        Some(BootRule { tags, file: file?.value, server_name: server_name.map(|name| name.value), server })
    }

    /// What sets tags.
    pub fn matches(&self, problems: &mut Problems) -> Vec<TagMatch> {
        let mut all = Vec::new();
        for kind in ["mac", "vendorclass", "userclass", "circuitid", "remoteid", "subscrid", "match"] {
            for section in self.of_kind(kind) {
                // The value has the name of its section's type, but for the subscriber.
                let option = if kind == "subscrid" { "subscriberid" } else { kind };
                let (Some(tag), Some(value)) = (section.value("networkid"), section.value(option)) else {
                    continue;
                };
                let text = value.value.as_str();
                let bytes = || hex_or_text(text);
                let on = match kind {
                    "vendorclass" => MatchOn::VendorClass(text.as_bytes().to_vec()),
                    "userclass" => MatchOn::UserClass(text.as_bytes().to_vec()),
                    "circuitid" => MatchOn::Relay { code: 1, value: bytes() },
                    "remoteid" => MatchOn::Relay { code: 2, value: bytes() },
                    "subscrid" => MatchOn::Relay { code: 6, value: bytes() },
                    "mac" => {
                        let Some(pattern) = mac_pattern(text) else {
                            let message = format!(
                                "`{text}` is not a hardware address; write six pairs of hex digits or `*`, such as `dc:a6:32:*:*:*`"
                            );
                            self.note(section, option, value, message, problems);
                            continue;
                        };
                        MatchOn::Mac(pattern)
                    }
                    _ => match dhcp_option::parse_match(text) {
                        None => continue,
                        Some(Ok(on)) => on,
                        Some(Err(message)) => {
                            self.note(section, option, value, message, problems);
                            continue;
                        }
                    },
                };
                all.push(TagMatch { tag: tag.value.clone(), on });
            }
        }
        all
    }

    fn note(
        &self,
        section: &Section,
        option: &str,
        at: &Spanned<String>,
        message: String,
        problems: &mut Problems,
    ) {
        problems.note(self.file, at, format!("{}.{option}", section.path()), message);
    }
}

fn on(section: &Section, option: &str, default: bool) -> bool {
    section.value(option).and_then(|value| parse_bool(&value.value)).unwrap_or(default)
}

/// The values of a list; the words of an option, which the init script splits at blanks.
fn words(section: &Section, name: &str) -> Vec<Spanned<String>> {
    match section.entry(name).map(|entry| &entry.value) {
        None => Vec::new(),
        Some(Value::Many(values)) => values.clone(),
        Some(Value::One(value)) => {
            value.value.split_whitespace().map(|word| value.clone().map(|_| word.to_owned())).collect()
        }
    }
}

/// `dc:a6:32:*:*:*`, perhaps with the hardware type `01-` in front.
fn mac_pattern(text: &str) -> Option<[Option<u8>; 6]> {
    if let Ok(mac) = text.parse::<MacAddr>() {
        return Some(mac.octets().map(Some));
    }
    let text = text.strip_prefix("01-").or_else(|| text.strip_prefix("1-")).unwrap_or(text);
    let octets: Vec<Option<u8>> = text
        .split(':')
        .map(|group| match group {
            "*" => Some(None),
            _ if (1..=2).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit()) => {
                u8::from_str_radix(group, 16).ok().map(Some)
            }
            _ => None,
        })
        .collect::<Option<_>>()?;
    octets.try_into().ok()
}

/// The address, if the pattern has no `*`.
fn whole(pattern: [Option<u8>; 6]) -> Option<MacAddr> {
    let octets: Vec<u8> = pattern.into_iter().collect::<Option<_>>()?;
    <[u8; 6]>::try_from(octets).ok().map(MacAddr::new)
}

/// `00:04:01` as three bytes, anything else as text.
fn hex_or_text(text: &str) -> Vec<u8> {
    let groups: Vec<&str> = text.split(':').collect();
    let byte = |group: &&str| {
        let digits = (1..=2).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(group, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = groups.iter().map(byte).collect();
    bytes.filter(|bytes| bytes.len() > 1).unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    const DHCP: &str = "
config dnsmasq
	option domain 'lan'
	list dhcp_option '42,10.0.0.1'
	option enable_tftp '1'
	option dhcp_boot 'pxelinux.0,boot,192.168.1.9'

config dnsmasq 'bramble'
	option disabled '1'
	option domain 'wrong'

config dhcp 'lan'
	option interface 'lan'
	list dhcp_option '6,192.168.1.1,9.9.9.9'
	list dhcp_option '42,0.0.0.0'
	list dhcp_option_force '43,01:04:00:00:00:00'

config tag 'kiosk'
	list dhcp_option '6,192.168.1.53'
	option force '1'

config match 'efi'
	option networkid 'efi64'
	option match 'option:client-arch,7'

config vendorclass
	option networkid 'ms'
	option vendorclass 'MSFT'
	option dhcp_option '44,192.168.1.8 46,8'

config mac
	option networkid 'pis'
	option mac 'dc:a6:32:*:*:*'

config circuitid
	option networkid 'floor1'
	option circuitid '00:04:00:0a'

config boot
	option filename 'other.efi'
	option networkid 'efi64'

config boot
	option filename 'ipxe.efi'
	option networkid 'efi64'
	option servername 'boot'
	option serveraddress '192.168.1.10'

config host
	option name 'printer.lan'
	option mac '00:11:22:33:44:55 0:11:22:33:44:56'
	option ip '192.168.1.5'
	option leasetime 'infinite'
	option tag 'kiosk quiet'

config host
	option mac '00:11:22:*:*:*'
	option ip 'ignore'

config host
	option name 'laptop'
	option ip '192.168.1.6'

config host
	option name 'elsewhere'
	option mac '00:11:22:33:44:57'
	option ip '10.9.9.9'

config host
	option name 'off'
	option mac '00:11:22:33:44:58'
	option ip '192.168.1.7'
	option enable '0'
";

    fn read(text: &str) -> (Document, Problems) {
        (Document::read(text.as_bytes()), Problems::default())
    }

    fn said(document: &Document) -> Dnsmasq<'_> {
        Dnsmasq { file: "dhcp", document: Some(document), serves_time: false }
    }

    #[test]
    fn options_stand_in_the_order_in_which_they_count() {
        let (document, mut problems) = read(DHCP);
        let lan = document.section("lan");
        let options = said(&document).options("lan", lan, &["lan".to_owned()], OWN, &mut problems);
        assert_eq!(problems, Problems::default());
        assert_eq!(options.domain.as_deref(), Some("lan"), "an instance that does not run says nothing");
        assert_eq!((options.routers, options.dns), (vec![OWN], vec![OWN]));
        let shown: Vec<(u8, &[u8], &[String], bool)> =
            options.raw.iter().map(|o| (o.code, o.bytes.as_slice(), o.tags.as_slice(), o.force)).collect();
        let (kiosk, ms) = (["kiosk".to_owned()], ["ms".to_owned()]);
        #[rustfmt::skip]
        let expected: [(u8, &[u8], &[String], bool); 7] = [
            (6,  &[192, 168, 1, 53],             &kiosk, true),
            (46, &[8],                           &ms,    false),
            (44, &[192, 168, 1, 8],              &ms,    false),
            (43, &[1, 4, 0, 0, 0, 0],            &[],    true),
            (42, &[192, 168, 1, 1],              &[],    false),
            (6,  &[192, 168, 1, 1, 9, 9, 9, 9],  &[],    false),
            (42, &[10, 0, 0, 1],                 &[],    false),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn boot_rules_stand_in_the_order_in_which_they_count() {
        let (document, mut problems) = read(DHCP);
        let rules = said(&document).boot(&[], &mut problems);
        assert_eq!(problems, Problems::default());
        let shown: Vec<(&[String], &str, Option<Ipv4Addr>)> =
            rules.iter().map(|rule| (rule.tags.as_slice(), rule.file.as_str(), rule.server)).collect();
        let efi = ["efi64".to_owned()];
        assert_eq!(
            shown,
            [
                (&efi[..], "ipxe.efi", Some(Ipv4Addr::new(192, 168, 1, 10))),
                (&efi[..], "other.efi", None),
                (&[][..], "pxelinux.0", Some(Ipv4Addr::new(192, 168, 1, 9))),
            ]
        );
    }

    #[test]
    fn hosts_become_reservations() {
        let (document, mut problems) = read(DHCP);
        let subnet = Subnet::of(OWN, 24).expect("a network");
        let hosts = said(&document).reservations(subnet, &mut problems);
        assert_eq!(problems, Problems::default());
        let [printer, ignored, laptop] = hosts.as_slice() else { panic!("three hosts: {hosts:?}") };
        assert_eq!(
            printer.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["00:11:22:33:44:55", "00:11:22:33:44:56"]
        );
        assert_eq!(printer.name.as_ref().map(HostName::as_str), Some("printer"));
        assert_eq!(printer.lease_time, Some(super::super::FOREVER));
        assert_eq!(printer.tags, ["kiosk", "quiet"]);
        assert!(ignored.ignore && ignored.ip.is_none());
        assert_eq!(ignored.patterns, [[Some(0), Some(0x11), Some(0x22), None, None, None]]);
        assert!(laptop.by_name);
        assert_eq!(laptop.ip, Some(Ipv4Addr::new(192, 168, 1, 6)));
    }

    #[test]
    fn tags_are_set_by_what_a_client_shows() {
        let (document, mut problems) = read(DHCP);
        let shown: Vec<(String, MatchOn)> =
            said(&document).matches(&mut problems).into_iter().map(|m| (m.tag, m.on)).collect();
        assert_eq!(problems, Problems::default());
        assert_eq!(
            shown,
            [
                ("pis".to_owned(), MatchOn::Mac([Some(0xdc), Some(0xa6), Some(0x32), None, None, None])),
                ("ms".to_owned(), MatchOn::VendorClass(b"MSFT".to_vec())),
                ("floor1".to_owned(), MatchOn::Relay { code: 1, value: vec![0, 4, 0, 10] }),
                ("efi64".to_owned(), MatchOn::Option { code: 93, value: Some(vec![0, 7]), anywhere: false }),
            ]
        );
    }

    #[test]
    fn problems_carry_the_place_in_the_inherited_file() {
        let (document, mut problems) = read(
            "config host
	option name 'a'
	option mac 'zz'
	option ip '1.2.3'
config boot
	option filename 'x'
	option servername 'boot'
	option serveraddress 'boot.lan'
config dhcp 'lan'
	option interface 'lan'
	list dhcp_option '6,dns'
",
        );
        let said = said(&document);
        said.reservations(Subnet::of(OWN, 24).expect("a network"), &mut problems);
        said.boot(&[], &mut problems);
        said.options("lan", document.section("lan"), &[], OWN, &mut problems);
        assert_eq!(
            problems.to_string(),
            "dhcp:3:13: @host[0].mac: `zz` is not a hardware address; write six pairs of hex digits, such as `dc:a6:32:01:02:03`\n\
             dhcp:4:12: @host[0].ip: `1.2.3` is not an IPv4 address; write one, or `ignore`\n\
             dhcp:8:23: @boot[0].serveraddress: `boot.lan` is not an IPv4 address; write the address of the boot server\n\
             dhcp:11:19: lan.dhcp_option: option 6 is one or more addresses, which `dns` is not; write `6,192.168.1.1`"
        );
    }

    #[test]
    fn nothing_is_said_where_nothing_is_inherited() {
        let said = Dnsmasq { file: "dhcp", document: None, serves_time: true };
        let mut problems = Problems::default();
        let options = said.options("lan", None, &[], OWN, &mut problems);
        assert_eq!((options.ntp, options.domain, options.raw), (vec![OWN], None, Vec::new()));
        assert!(said.matches(&mut problems).is_empty() && said.boot(&[], &mut problems).is_empty());
    }
}

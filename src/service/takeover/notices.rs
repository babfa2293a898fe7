//! What `/etc/config/dhcp` says that Bramble does not follow: named at take-over, one by one.
//!
//! The tables list what Bramble carries out itself and what concerns only DNS, TFTP's own server or IPv6, which stay with
//! dnsmasq and odhcpd. Anything else, known to today's OpenWrt or not, is named with its value.

use super::{SHOWN_AS, Wanted};
use crate::config::kind::parse_bool;
use crate::config::uci::{Document, Section};

/// Carried out by Bramble, or about what is not taken over.
struct Known {
    kind: &'static str,
    /// Taken over by `inherit`, or settled by the take-over itself.
    followed: &'static [&'static str],
    /// DNS, IPv6 and such: the others go on doing it.
    elsewhere: &'static [&'static str],
}

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    Known {
        kind: "dnsmasq",
        followed: &["domain", "dhcp_option", "dhcp_option_force", "dhcp_boot", "leasefile", "authoritative", "disabled",
            // The file of hosts is looked at by itself.
            "readethers"],
        elsewhere: &["add_local_domain", "add_local_fqdn", "add_local_hostname", "add_wan_fqdn", "addmac", "addnhosts",
            "addnmount", "address", "allservers", "boguspriv", "bogusnxdomain", "cachelocal", "cachesize", "conntrack",
            "dbus", "dns_redirect", "dnsforwardmax", "dnssec", "dnsseccheckunsigned", "dnssectimestamp", "domainneeded",
            "ednspacket_max", "expandhosts", "fast_dns_retry", "filter_a", "filter_aaaa", "filter_rr", "filterwin2k",
            "ignore_hosts_dir", "interface", "ipset", "listen_address", "local", "local_ttl", "localise_queries",
            "localservice", "localuse", "logfacility", "logqueries", "max_cache_ttl", "max_port", "max_ttl",
            "min_cache_ttl", "min_port", "negttl", "nftset", "nodaemon", "nohosts", "nonegcache", "nonwildcard",
            "noresolv", "notinterface", "port", "proxydnssec", "queryport", "rebind_domain", "rebind_localhost",
            "rebind_protection", "resolvfile", "rev_server", "server", "serversfile", "strictorder", "stripmac",
            "stripsubnet", "tftp_no_fail", "tftp_root", "tftp_unique_root", "ubus", "umbrella",
            // Has a notice of its own.
            "enable_tftp"],
    },
    Known {
        kind: "dhcp",
        followed: &["interface", "start", "limit", "leasetime", "dynamicdhcp", "networkid", "dhcp_option",
            "dhcp_option_force", "ignore", "dhcpv4", "force"],
        elsewhere: &["dhcpv6", "dhcpv6_assignall", "dhcpv6_hostidlength", "dhcpv6_na", "dhcpv6_pd",
            "dhcpv6_pd_min_len", "dhcpv6_pd_preferred", "dns_service", "master", "max_preferred_lifetime",
            "max_valid_lifetime", "ndp", "ndp_from_link_local", "ndproxy_routing", "ndproxy_slave", "ntp",
            "preferred_lifetime", "prefix_filter", "ra", "ra_default", "ra_dns", "ra_flags", "ra_hoplimit", "ra_lifetime",
            "ra_management", "ra_maxinterval", "ra_mininterval", "ra_mtu", "ra_offlink", "ra_pref64", "ra_preference",
            "ra_reachabletime", "ra_retranstime", "ra_slaac", "ra_useleasetime", "ra_advrouter", "dns", "domain",
            "dnr", "upstream"],
    },
    Known {
        kind: "host",
        followed: &["name", "mac", "ip", "leasetime", "tag", "networkid", "enable", "dhcp_option", "dhcp_option_force",
            "force"],
        elsewhere: &["dns", "duid", "hostid"],
    },
    Known { kind: "boot", followed: &["filename", "servername", "serveraddress", "networkid", "dhcp_option",
        "dhcp_option_force", "force"], elsewhere: &[] },
    Known { kind: "tag", followed: &["dhcp_option", "dhcp_option_force", "force"], elsewhere: &[] },
    Known { kind: "mac", followed: &["mac", "networkid", "dhcp_option", "dhcp_option_force", "force"], elsewhere: &[] },
    Known { kind: "vendorclass", followed: &["vendorclass", "networkid", "dhcp_option", "dhcp_option_force", "force"],
        elsewhere: &[] },
    Known { kind: "userclass", followed: &["userclass", "networkid", "dhcp_option", "dhcp_option_force", "force"],
        elsewhere: &[] },
    Known { kind: "circuitid", followed: &["circuitid", "networkid", "dhcp_option", "dhcp_option_force", "force"],
        elsewhere: &[] },
    Known { kind: "remoteid", followed: &["remoteid", "networkid", "dhcp_option", "dhcp_option_force", "force"],
        elsewhere: &[] },
    Known { kind: "subscrid", followed: &["subscriberid", "networkid", "dhcp_option", "dhcp_option_force", "force"],
        elsewhere: &[] },
    Known { kind: "match", followed: &["match", "networkid", "dhcp_option", "dhcp_option_force", "force"],
        elsewhere: &[] },
];

/// Types of section that only DNS or IPv6 knows.
const ELSEWHERE: [&str; 9] =
    ["odhcpd", "domain", "hostrecord", "srvhost", "mxhost", "cname", "dnsrr", "ipset", "nftset"];

/// Options of a `config dhcp` that speak of IPv6 only as long as odhcpd does not give IPv4 addresses.
const BOTH: [&str; 4] = ["dns", "domain", "ntp", "max_valid_lifetime"];

/// Everything a person should know before Bramble gives the addresses of `wanted`.
pub(super) fn all(dhcp: &Document, wanted: &Wanted, odhcpd_is_main: bool) -> Vec<String> {
    let mut notices = Vec::new();
    for section in dhcp.sections.iter().filter(|section| concerns(section, wanted)) {
        let kind = section.kind.value.as_str();
        if ELSEWHERE.contains(&kind) {
            continue;
        }
        let Some(known) = KNOWN.iter().find(|known| known.kind == kind) else {
            notices.push(format!(
                "`dhcp.{}` is a section of a type that Bramble does not follow (`{kind}`)",
                section.path()
            ));
            continue;
        };
        for entry in &section.options {
            let name = entry.name.value.as_str();
            let both = kind == "dhcp" && odhcpd_is_main && BOTH.contains(&name);
            if both || !(known.followed.contains(&name) || known.elsewhere.contains(&name)) {
                let values: Vec<&str> = entry.value.all().iter().map(|value| value.value.as_str()).collect();
                notices.push(format!(
                    "`dhcp.{}.{name}` (`{}`) is not followed by Bramble",
                    section.path(),
                    values.join(" ")
                ));
            }
        }
    }
    notices.extend(tftp(dhcp, wanted));
    notices
}

/// Sections of networks that are not taken over are dnsmasq's business as before.
fn concerns(section: &Section, wanted: &Wanted) -> bool {
    let switch = |option: &str, default| {
        section.value(option).and_then(|value| parse_bool(&value.value)).unwrap_or(default)
    };
    match section.kind.value.as_str() {
        "dhcp" => section.value("interface").is_some_and(|name| wanted.networks.contains(&name.value)),
        "dnsmasq" => {
            !switch("disabled", false) && section.name.as_ref().is_none_or(|name| name.value != SHOWN_AS)
        }
        "host" => switch("enable", true),
        _ => true,
    }
}

/// dnsmasq's own TFTP server has the port that ours needs.
fn tftp(dhcp: &Document, wanted: &Wanted) -> Option<String> {
    let on = |section: &&Section| {
        concerns(section, wanted)
            && section.value("enable_tftp").and_then(|value| parse_bool(&value.value)) == Some(true)
    };
    let section = dhcp.of_kind("dnsmasq").find(on).filter(|_| wanted.tftp)?;
    let path = format!("dhcp.{}.enable_tftp", section.path());
    Some(format!(
        "dnsmasq's own TFTP server is on (`{path}`) and has port 69, which Bramble needs; switch it off with `uci set \
         {path}=0; uci commit dhcp; /etc/init.d/dnsmasq restart`"
    ))
}

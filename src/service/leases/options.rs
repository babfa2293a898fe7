//! The options of an answer: what is always sent, what the network gives to those who ask, what a boot needs.
//!
//! Other devices of the network are told what dnsmasq told them: only options of their parameter request list (all, if
//! they sent none), unless forced; of several lines for one code the first that applies; `dhcp_boot` in the packet's
//! fields, or in options 66 and 67 where the client asks for those.

use std::net::Ipv4Addr;

use dhcproto::v4::DhcpOption;

use super::scopes::{Scopes, Served, contains, tags_hold};
use crate::config::{BootRule, RawOption, Within};
use crate::proto::dhcp::decide::{Client, Reply};
use crate::proto::dhcp::encode::raw;
use crate::proto::dhcp::{LeaseTime, Message, MessageType, Packet, code, pi};
use crate::types::{HostName, Stage};

/// The whole answer.
///
/// `relay`: the relay agent of the subnet, which is its router unless the configuration names another.
pub fn compose(
    scopes: &Scopes,
    served: &Served,
    packet: &Packet,
    client: &Client,
    reply: &Reply,
    relay: Option<Ipv4Addr>,
) -> Message {
    let mut message = Message::answering(packet);
    message.yiaddr = reply.yiaddr;
    message.ciaddr = reply.ciaddr;
    if let Some(kind) = reply.kind {
        message.push_kind(kind);
        message.options.push(DhcpOption::ServerIdentifier(served.scope.server));
    }
    if let Some(why) = reply.why {
        // Behind a relay the client cannot be reached but by broadcast (RFC 2131 §4.3.2).
        message.broadcast = true;
        message.push_raw(code::MESSAGE, why.to_string());
        echo(&mut message, packet);
        return message;
    }
    if let Some(lease) = reply.lease {
        message.push_lease_time(lease);
        if let LeaseTime::For(time) = lease {
            let seconds = |part: u32| u32::try_from(time.as_secs()).unwrap_or(u32::MAX) / 8 * part;
            message.options.push(DhcpOption::Renewal(seconds(4)));
            message.options.push(DhcpOption::Rebinding(seconds(7)));
        }
    }
    message.siaddr = served.scope.server;
    message.options.push(DhcpOption::SubnetMask(served.scope.subnet.netmask()));
    let composer = Composer { scopes, served, packet, tags: scopes.tags(served, packet), relay };
    composer.boot(client.stage, &mut message);
    composer.network(&mut message);
    echo(&mut message, packet);
    message
}

/// An answer that adds to what another server says: no address, only where to boot from. `None`: nothing to add.
pub fn compose_proxy(
    scopes: &Scopes,
    served: &Served,
    packet: &Packet,
    kind: MessageType,
) -> Option<Message> {
    let mut message = Message::answering(packet);
    message.broadcast = kind == MessageType::Offer;
    message.ciaddr = packet.ciaddr;
    message.siaddr = served.scope.server;
    message.push_kind(kind);
    message.options.push(DhcpOption::ServerIdentifier(served.scope.server));
    let stage = pi::stage(packet);
    let composer = Composer { scopes, served, packet, tags: scopes.tags(served, packet), relay: None };
    if stage != Stage::Rom {
        composer.rule().filter(|_| packet.vendor_class().starts_with(pi::PXE_CLASS))?;
        message.push_raw(code::VENDOR_CLASS, pi::PXE_CLASS);
        // PXE_DISCOVERY_CONTROL 8: boot from the file named here, look for no other server.
        message.push_raw(code::VENDOR, *b"\x06\x01\x08\xff");
    }
    composer.boot(stage, &mut message);
    echo(&mut message, packet);
    Some(message)
}

struct Composer<'a> {
    scopes: &'a Scopes,
    served: &'a Served,
    packet: &'a Packet,
    tags: Vec<&'a str>,
    /// The relay agent of this subnet, as far as one was heard.
    relay: Option<Ipv4Addr>,
}

impl Composer<'_> {
    /// dnsmasq's `in_list`: a client without a list gets everything.
    fn asked(&self, code: u8) -> bool {
        self.packet.options.get(code::WANTED).is_none() || self.packet.wants(code)
    }

    fn rule(&self) -> Option<&BootRule> {
        let rules = self.scopes.network(self.served).into_iter().flat_map(|network| &network.boot);
        rules.into_iter().find(|rule| tags_hold(&rule.tags, &self.tags))
    }

    fn boot(&self, stage: Stage, message: &mut Message) {
        if stage == Stage::Rom {
            message.push_raw(code::VENDOR_CLASS, pi::PXE_CLASS);
            message.push_raw(code::VENDOR, pi::ROM_VENDOR_OPTIONS);
            return;
        }
        let Some(rule) = self.rule() else { return };
        if let Some(server) = rule.server {
            message.siaddr = server;
        }
        // A client that names 66 or 67 in its list reads it there; the others read the fields.
        if let Some(name) = &rule.server_name {
            if self.packet.wants(code::TFTP_SERVER) {
                message.push_raw(code::TFTP_SERVER, name.as_bytes());
            } else {
                name.clone_into(&mut message.sname);
            }
        }
        if self.packet.wants(code::BOOT_FILE) {
            message.push_raw(code::BOOT_FILE, rule.file.as_bytes());
        } else {
            rule.file.clone_into(&mut message.file);
        }
    }

    /// What the network gives to everybody.
    fn network(&self, message: &mut Message) {
        let Some(network) = self.scopes.network(self.served) else { return };
        self.raw_options(&network.options.raw, message);
        let relayed = self.served.scope.relayed;
        let routers = match self.served.router {
            Some(router) => vec![router],
            None if relayed => self.relay.into_iter().collect(),
            None => network.options.routers.clone(),
        };
        let broadcast = self.served.scope.subnet.broadcast();
        let domain = network.options.domain.as_ref();
        let suppressed = |code: u8| {
            let of_code = |option: &&RawOption| option.code == code && option.within.is_none();
            network.options.raw.iter().filter(of_code).any(|option| self.applies(option))
        };
        let mut give = |code: u8, option: Option<DhcpOption>| {
            if let Some(option) = option
                && self.asked(code)
                && !suppressed(code)
            {
                message.options.push(option);
            }
        };
        give(code::ROUTER, some(routers).map(DhcpOption::Router));
        give(code::DNS, some(network.options.dns.clone()).map(DhcpOption::DomainNameServer));
        give(code::DOMAIN, domain.map(|name| DhcpOption::DomainName(name.clone())));
        give(code::HOST_NAME, self.host_name().map(|name| DhcpOption::Hostname(name.as_str().to_owned())));
        give(code::BROADCAST, Some(DhcpOption::BroadcastAddr(broadcast)));
        give(code::NTP, some(network.options.ntp.clone()).map(DhcpOption::NtpServers));
    }

    /// The configured name, else the client's own.
    fn host_name(&self) -> Option<&HostName> {
        let mac = self.packet.hardware.mac();
        let adopted = mac.and_then(|mac| self.scopes.adopted(mac)).map(|client| &client.name);
        let reserved = || self.scopes.reservation(self.served, self.packet)?.name.as_ref();
        adopted.or_else(reserved).or(self.packet.host_name.as_ref())
    }

    fn applies(&self, option: &RawOption) -> bool {
        tags_hold(&option.tags, &self.tags)
    }

    fn raw_options(&self, options: &[RawOption], message: &mut Message) {
        let mut seen: Vec<(Option<&Within>, u8)> = Vec::new();
        let mut containers: Vec<(u8, Vec<u8>)> = Vec::new();
        for option in options.iter().filter(|option| self.applies(option)) {
            let place = (option.within.as_ref(), option.code);
            if seen.contains(&place) {
                continue;
            }
            seen.push(place);
            let container = match &option.within {
                None => option.code,
                Some(Within::Encap(code)) => *code,
                Some(Within::Vendor(class)) if contains(self.packet.vendor_class(), class) => code::VENDOR,
                Some(Within::Vendor(_)) => continue,
            };
            if option.bytes.is_empty() || !(option.force || self.asked(container)) || message.has(container) {
                continue;
            }
            if option.within.is_none() {
                message.options.push(raw(option.code, option.bytes.clone()));
                continue;
            }
            let Ok(len) = u8::try_from(option.bytes.len()) else { continue };
            let value = [[option.code, len].as_slice(), &option.bytes].concat();
            match containers.iter_mut().find(|(code, _)| *code == container) {
                Some((_, bytes)) => bytes.extend(value),
                None => containers.push((container, value)),
            }
        }
        for (code, bytes) in containers {
            if !message.has(code) {
                message.options.push(raw(code, bytes));
            }
        }
    }
}

/// What an answer repeats: the client's identifier (RFC 6842 §3), a PXE client's machine identifier (RFC 4578 §2.3), the
/// relay agent's information (RFC 3046 §2.2).
fn echo(message: &mut Message, packet: &Packet) {
    if let Some(id) = packet.client_id() {
        message.push_raw(code::CLIENT_ID, id);
    }
    if let Some(id) = packet.machine_id {
        message.push_raw(code::MACHINE_ID, id);
    }
    if let Some(relay) = packet.relay_agent() {
        message.push_raw(code::RELAY_AGENT, relay);
    }
}

fn some(addresses: Vec<Ipv4Addr>) -> Option<Vec<Ipv4Addr>> {
    (!addresses.is_empty()).then_some(addresses)
}

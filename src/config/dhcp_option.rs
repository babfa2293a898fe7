//! `list dhcp_option '6,192.168.1.1'` → code and bytes, as dnsmasq encodes it.
//!
//! The text is dnsmasq's `--dhcp-option` (see its manual): tags, then a number or a name, then a value whose type
//! follows from the option where that is known, else from its looks: addresses, hex digits with colons, a number,
//! text. The rules, and the table of names and types, are taken from the behaviour of dnsmasq 2.90.

use std::net::Ipv4Addr;

use super::kind::Parsed;
use super::{FOREVER, MatchOn, Within};

/// One `dhcp_option`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpOption {
    pub code: u8,
    pub bytes: Vec<u8>,
    pub tags: Vec<String>,
    pub within: Option<Within>,
    /// The value was written as text: a match looks for it anywhere.
    pub text: bool,
}

/// How the value of an option is written, where the option decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Addresses,
    Text,
    /// Domain names in the encoding of RFC 1035 (RFC 3397).
    Domains,
    /// A number of so many bytes.
    Number(u8),
    /// A time in seconds, with a unit if wanted.
    Time,
    /// Any of these, by its looks.
    Any,
    /// Set by the server itself.
    Internal,
}

/// Options that have a name in dnsmasq, or whose type it knows.
#[rustfmt::skip]
const KNOWN: &[(u8, &str, Type)] = &[
    (1, "netmask", Type::Addresses), (2, "time-offset", Type::Number(4)), (3, "router", Type::Addresses),
    (6, "dns-server", Type::Addresses), (7, "log-server", Type::Addresses), (9, "lpr-server", Type::Addresses),
    (12, "hostname", Type::Text), (13, "boot-file-size", Type::Number(2)), (15, "domain-name", Type::Text),
    (16, "swap-server", Type::Addresses), (17, "root-path", Type::Text), (18, "extension-path", Type::Text),
    (19, "ip-forward-enable", Type::Number(1)), (20, "non-local-source-routing", Type::Number(1)),
    (21, "policy-filter", Type::Addresses), (22, "max-datagram-reassembly", Type::Number(2)),
    (23, "default-ttl", Type::Number(1)), (26, "mtu", Type::Number(2)), (27, "all-subnets-local", Type::Number(1)),
    (28, "broadcast", Type::Addresses), (31, "router-discovery", Type::Number(1)),
    (32, "router-solicitation", Type::Addresses), (33, "static-route", Type::Addresses),
    (34, "trailer-encapsulation", Type::Number(1)), (35, "arp-timeout", Type::Number(4)),
    (36, "ethernet-encap", Type::Number(1)), (37, "tcp-ttl", Type::Number(1)), (38, "tcp-keepalive", Type::Number(4)),
    (40, "nis-domain", Type::Text), (41, "nis-server", Type::Addresses), (42, "ntp-server", Type::Addresses),
    (43, "vendor-encap", Type::Any), (44, "netbios-ns", Type::Addresses), (45, "netbios-dd", Type::Addresses),
    (46, "netbios-nodetype", Type::Number(1)), (47, "netbios-scope", Type::Any), (48, "x-windows-fs", Type::Addresses),
    (49, "x-windows-dm", Type::Addresses), (50, "requested-address", Type::Internal), (51, "lease-time", Type::Internal),
    (52, "option-overload", Type::Internal), (53, "message-type", Type::Internal),
    (54, "server-identifier", Type::Internal), (55, "parameter-request", Type::Internal),
    (56, "message", Type::Internal), (57, "max-message-size", Type::Internal), (58, "T1", Type::Time),
    (59, "T2", Type::Time), (60, "vendor-class", Type::Any), (61, "client-id", Type::Internal),
    (64, "nis+-domain", Type::Text), (65, "nis+-server", Type::Addresses), (66, "tftp-server", Type::Text),
    (67, "bootfile-name", Type::Text), (68, "mobile-ip-home", Type::Addresses), (69, "smtp-server", Type::Addresses),
    (70, "pop3-server", Type::Addresses), (71, "nntp-server", Type::Addresses), (74, "irc-server", Type::Addresses),
    (77, "user-class", Type::Any), (80, "rapid-commit", Type::Any), (81, "FQDN", Type::Internal),
    (82, "agent-info", Type::Internal), (93, "client-arch", Type::Number(2)), (94, "client-interface-id", Type::Any),
    (97, "client-machine-id", Type::Any), (100, "posix-timezone", Type::Text), (101, "tzdb-timezone", Type::Text),
    (119, "domain-search", Type::Domains), (120, "sip-server", Type::Any),
    (121, "classless-static-route", Type::Any), (125, "vendor-id-encap", Type::Any),
    (150, "tftp-server-address", Type::Addresses),
];

/// Longest value of one option that we send, in bytes: what fits the options of a 1500-byte packet beside the rest.
const VALUE: usize = 1000;

/// Reads one `dhcp_option`. `own` takes the place of `0.0.0.0`. `None` for DHCPv6, which is not ours to serve.
pub fn parse(text: &str, own: Ipv4Addr) -> Option<Result<DhcpOption, String>> {
    match Head::read(text) {
        Ok(Some(head)) => Some(head.option(own, false)),
        Ok(None) => None,
        Err(message) => Some(Err(message)),
    }
}

/// Reads the value of `config match`: an option, with a value if it must have one.
pub fn parse_match(text: &str) -> Option<Result<MatchOn, String>> {
    let option = match Head::read(text) {
        Ok(Some(head)) => head.option(Ipv4Addr::UNSPECIFIED, true),
        Ok(None) => return None,
        Err(message) => Err(message),
    };
    Some(option.map(|option| MatchOn::Option {
        code: option.code,
        value: (!option.bytes.is_empty()).then_some(option.bytes),
        anywhere: option.text,
    }))
}

/// Everything before the value.
struct Head<'a> {
    tags: Vec<String>,
    within: Option<Within>,
    code: u8,
    kind: Type,
    value: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// `Ok(None)` for an option of DHCPv6.
    fn read(text: &'a str) -> Result<Option<Self>, String> {
        let bad = || {
            format!(
                "`{text}` is not a DHCP option; write its number, or `option:` and its name, a comma and a value, such as `6,192.168.1.1`"
            )
        };
        let (mut tags, mut within) = (Vec::new(), None);
        let mut rest = Some(text);
        while let Some(part) = rest {
            let (word, value) = match part.split_once(',') {
                Some((word, value)) => (word.trim(), Some(value)),
                None => (part.trim(), None),
            };
            rest = value;
            if word.starts_with("option6:") {
                return Ok(None);
            } else if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
                let code: u8 = word.parse().ok().filter(|code| (1..=254).contains(code)).ok_or_else(|| {
                    format!("`{word}` is not the number of a DHCP option; write one from 1 to 254, such as `6`")
                })?;
                let kind = match within {
                    None => KNOWN.iter().find(|known| known.0 == code).map_or(Type::Any, |known| known.2),
                    Some(_) => Type::Any,
                };
                return Ok(Some(Self { tags, within, code, kind, value }));
            } else if let Some(name) = word.strip_prefix("option:") {
                let known =
                    KNOWN.iter().find(|known| known.1.eq_ignore_ascii_case(name)).ok_or_else(|| {
                        let names = KNOWN.iter().map(|known| known.1);
                        super::problem::nearest(name, names).map_or_else(
                            || format!("no DHCP option is called `{name}`; write its number"),
                            |meant| format!("no DHCP option is called `{name}`; did you mean `{meant}`?"),
                        )
                    })?;
                return Ok(Some(Self { tags, within, code: known.0, kind: known.2, value }));
            } else if let Some(outer) = word.strip_prefix("encap:") {
                let code = outer.parse().ok().filter(|code| (1..=254).contains(code)).ok_or_else(bad)?;
                within = Some(Within::Encap(code));
            } else if let Some(class) = word.strip_prefix("vendor:") {
                within = Some(Within::Vendor(class.as_bytes().to_vec()));
            } else if word.starts_with("vi-encap:") {
                return Err(format!(
                    "Bramble does not send options inside option 125 (`{word}`); remove this line, or leave that machine to dnsmasq"
                ));
            } else {
                // dnsmasq takes a bare word for a tag, so a forgotten number would go unnoticed.
                let tag = word.strip_prefix("tag:").or_else(|| word.strip_prefix("net:")).unwrap_or(word);
                let name = tag.strip_prefix('!').unwrap_or(tag);
                if name.is_empty() || name.contains([':', '=', ' ']) {
                    return Err(bad());
                }
                tags.push(tag.to_owned());
            }
        }
        Err(bad())
    }

    fn option(self, own: Ipv4Addr, matching: bool) -> Result<DhcpOption, String> {
        let Self { tags, within, code, kind, value } = self;
        if kind == Type::Internal && !matching {
            return Err(match code {
                51 => "option 51 is the lease time, which has an option of its own; write `option leasetime '12h'`".to_owned(),
                _ => format!("option {code} is set by the server itself; remove this line"),
            });
        }
        let value = value.unwrap_or_default();
        let (bytes, text) = encode(kind, code, value, own)?;
        if bytes.len() > VALUE {
            return Err(format!(
                "option {code} is {} bytes long; shorten it to at most {VALUE}",
                bytes.len()
            ));
        }
        Ok(DhcpOption { code, bytes, tags, within, text })
    }
}

/// The bytes, and whether the value was text.
fn encode(kind: Type, code: u8, value: &str, own: Ipv4Addr) -> Result<(Vec<u8>, bool), String> {
    if value.is_empty() {
        return Ok((Vec::new(), false));
    }
    let wrong = |what: &str, example: &str| {
        Err(format!("option {code} is {what}, which `{value}` is not; write `{code},{example}`"))
    };
    match kind {
        Type::Addresses => addresses(value, own)
            .map_or_else(|| wrong("one or more addresses", "192.168.1.1"), |bytes| Ok((bytes, false))),
        Type::Text => Ok((value.as_bytes().to_vec(), true)),
        Type::Domains => {
            domains(value).map_or_else(|| wrong("one or more domains", "lan,example.org"), |b| Ok((b, false)))
        }
        Type::Number(size) => number(value, Some(size))
            .or_else(|| hex(value))
            .map_or_else(|| wrong("a number", "1"), |bytes| Ok((bytes, false))),
        Type::Time => match super::kind::Kind::Duration.parse(value) {
            Ok(Parsed::Duration(time)) => {
                let seconds = u32::try_from(time.min(FOREVER).as_secs()).unwrap_or(u32::MAX);
                Ok((seconds.to_be_bytes().to_vec(), false))
            }
            _ => wrong("a time", "6h"),
        },
        Type::Any | Type::Internal => {
            let looks = hex(value).or_else(|| number(value, None)).or_else(|| addresses(value, own));
            Ok(looks.map_or_else(|| (value.as_bytes().to_vec(), true), |bytes| (bytes, false)))
        }
    }
}

/// `192.168.1.1,10.0.0.0/8`: four bytes each; with a prefix as RFC 3442 writes the destination of a route.
fn addresses(value: &str, own: Ipv4Addr) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in value.split(',') {
        let part = part.trim();
        if let Some((address, prefix)) = part.split_once('/') {
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            bytes.push(prefix);
            bytes.extend(address.octets().iter().take(usize::from(prefix.div_ceil(8))));
        } else {
            let address: Ipv4Addr = part.parse().ok()?;
            let address = if address.is_unspecified() { own } else { address };
            bytes.extend(address.octets());
        }
    }
    Some(bytes)
}

/// `aa:bb:0c`: at least two groups of one or two hex digits.
fn hex(value: &str) -> Option<Vec<u8>> {
    let groups: Vec<&str> = value.split(':').collect();
    if groups.len() < 2 {
        return None;
    }
    let group = |group: &&str| {
        let digits = (1..=2).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(group, 16).ok()).flatten()
    };
    groups.iter().map(group).collect()
}

/// `26`, `-5`, `300s`: as many bytes as the option has, or `b`, `s` or `i` ask for, or the number needs.
fn number(value: &str, size: Option<u8>) -> Option<Vec<u8>> {
    let (digits, asked) = match value.char_indices().last()? {
        (at, 'b') => (value.get(..at)?, Some(1)),
        (at, 's') => (value.get(..at)?, Some(2)),
        (at, 'i') => (value.get(..at)?, Some(4)),
        _ => (value, None),
    };
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 =
        digits.parse().ok().filter(|n| (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(n))?;
    let needed = match number {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    let bytes = number.to_be_bytes();
    let size = usize::from(asked.or(size).unwrap_or(needed)).clamp(1, 4);
    bytes.get(bytes.len() - size..).map(<[u8]>::to_vec)
}

/// Domain names as in RFC 1035 §3.1, one after another.
fn domains(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for domain in value.split(',') {
        for label in domain.trim().trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            bytes.push(length);
            bytes.extend(label.bytes());
        }
        bytes.push(0);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn bytes(text: &str) -> (u8, Vec<u8>) {
        let option = parse(text, OWN).expect("an option of DHCPv4").expect(text);
        (option.code, option.bytes)
    }

    #[test]
    fn values_are_encoded_by_the_option_or_by_their_looks() {
        #[rustfmt::skip]
        let rows: &[(&str, u8, &[u8])] = &[
            ("6,192.168.1.1,8.8.8.8",               6,   &[192, 168, 1, 1, 8, 8, 8, 8]),
            ("option:dns-server,0.0.0.0",           6,   &[192, 168, 1, 1]),
            ("option:ntp-server,10.0.0.1",          42,  &[10, 0, 0, 1]),
            ("3",                                   3,   &[]),
            ("15,example.org",                      15,  b"example.org"),
            ("12,123",                              12,  b"123"),
            ("26,1492",                             26,  &[5, 212]),
            ("23,64",                               23,  &[64]),
            ("2,-3600",                             2,   &[0xff, 0xff, 0xf1, 0xf0]),
            ("58,6h",                               58,  &[0, 0, 0x54, 0x60]),
            ("43,01:04:0a:0b:0c:0d",                43,  &[1, 4, 10, 11, 12, 13]),
            ("60,PXEClient",                        60,  b"PXEClient"),
            ("66,192.168.1.9",                      66,  b"192.168.1.9"),
            ("150,192.168.1.9",                     150, &[192, 168, 1, 9]),
            ("119,lan,example.org",                 119, b"\x03lan\0\x07example\x03org\0"),
            ("121,10.0.0.0/8,192.168.1.1",          121, &[8, 10, 192, 168, 1, 1]),
            ("121,0.0.0.0/0,192.168.1.1",           121, &[0, 192, 168, 1, 1]),
            ("249,10.1.2.0/23,192.168.1.1",         249, &[23, 10, 1, 2, 192, 168, 1, 1]),
            ("200,5",                               200, &[5]),
            ("200,500",                             200, &[1, 244]),
            ("200,70000",                           200, &[0, 1, 0x11, 0x70]),
            ("200,5s",                              200, &[0, 5]),
            ("200,5i",                              200, &[0, 0, 0, 5]),
            ("200,text, with a comma",              200, b"text, with a comma"),
            ("252,\"\\n\"",                         252, b"\"\\n\""),
            ("encap:175,190,user",                  190, b"user"),
            ("vendor:PXEClient,6,8b",               6,   &[8]),
        ];
        for (text, code, value) in rows {
            assert_eq!(bytes(text), (*code, value.to_vec()), "{text}");
        }
    }

    #[test]
    fn tags_and_nesting_are_kept() {
        let option = parse("tag:a,tag:!b,lan,encap:175,1,x", OWN).expect("v4").expect("good");
        assert_eq!(option.tags, ["a", "!b", "lan"]);
        assert_eq!(option.within, Some(Within::Encap(175)));
        assert_eq!(parse("option6:dns-server,[::]", OWN), None);
        assert_eq!(parse("tag:lan,option6:23,[::]", OWN), None);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_a_remedy() {
        #[rustfmt::skip]
        let rows = [
            ("", "`` is not a DHCP option; write its number, or `option:` and its name, a comma and a value, such as `6,192.168.1.1`"),
            ("tag:a", "`tag:a` is not a DHCP option; write its number, or `option:` and its name, a comma and a value, such as `6,192.168.1.1`"),
            ("300,1", "`300` is not the number of a DHCP option; write one from 1 to 254, such as `6`"),
            ("6,192.168.1", "option 6 is one or more addresses, which `192.168.1` is not; write `6,192.168.1.1`"),
            ("26,big", "option 26 is a number, which `big` is not; write `26,1`"),
            ("option:dns-sever,1.1.1.1", "no DHCP option is called `dns-sever`; did you mean `dns-server`?"),
            ("51,600", "option 51 is the lease time, which has an option of its own; write `option leasetime '12h'`"),
            ("54,1.2.3.4", "option 54 is set by the server itself; remove this line"),
        ];
        for (text, message) in rows {
            assert_eq!(parse(text, OWN).expect("v4"), Err(message.to_owned()), "{text}");
        }
        let long = format!("200,{}", "x".repeat(1001));
        assert_eq!(
            parse(&long, OWN).expect("v4"),
            Err("option 200 is 1001 bytes long; shorten it to at most 1000".to_owned())
        );
    }

    #[test]
    fn matches_look_for_an_option_or_its_value() {
        let on = |text: &str| parse_match(text).expect("v4").expect(text);
        assert_eq!(on("175"), MatchOn::Option { code: 175, value: None, anywhere: false });
        assert_eq!(
            on("option:client-arch,7"),
            MatchOn::Option { code: 93, value: Some(vec![0, 7]), anywhere: false }
        );
        assert_eq!(
            on("60,PXEClient:Arch:00007"),
            MatchOn::Option { code: 60, value: Some(b"PXEClient:Arch:00007".to_vec()), anywhere: true }
        );
    }

    proptest::proptest! {
        /// Any text is read or refused, and what is read fits a packet.
        #[test]
        fn any_text_is_survived(text in "(tag:a,|encap:1,|option:|net:)?[0-9]{0,3}[,:./a-f0-9x\u{e4} -]{0,40}") {
            if let Some(Ok(option)) = parse(&text, OWN) {
                proptest::prop_assert!(option.bytes.len() <= VALUE && option.code != 0);
            }
        }
    }
}

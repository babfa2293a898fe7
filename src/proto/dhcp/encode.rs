//! [`Message`] → bytes, within what the client can take.
//!
//! Option values are encoded by dhcproto; the packet around them is ours, because dhcproto sorts options by code (a
//! friendly packet begins with the message type), never fills `sname` and `file`, does not pad, and draws a random
//! transaction number even for an answer.
//!
//! | rule | from |
//! | --- | --- |
//! | at least 300 bytes | RFC 951 §3, RFC 1542 §2.1 |
//! | at most what option 57 allows, 576 bytes of IP datagram without it | RFC 2131 §2, RFC 2132 §9.10 |
//! | an option longer than 255 bytes is split, its parts stay in order | RFC 3396 §4 |
//! | what does not fit goes into `file`, then `sname`, if they are free | RFC 2131 §4.1, RFC 2132 §9.3 |
//! | option 82 is last and never left out | RFC 3046 §2.2 |

use std::net::Ipv4Addr;

use dhcproto::encoder::{Encodable, Encoder};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};

use super::wire::{Hardware, MAGIC_COOKIE, OPTIONS_AT, Op};
use super::{LeaseTime, Packet, code};
use crate::types::limits;

/// RFC 951's packet: shorter ones are dropped by some relays and ROMs.
const MINIMUM: usize = 300;
/// Headers of IP and UDP, which option 57 counts and [`Message::encode`] does not write.
const HEADERS: usize = 28;
/// The IP datagram every client takes (RFC 2131 §2).
const DATAGRAM: u16 = 576;

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub op: Op,
    pub xid: u32,
    pub secs: u16,
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub hardware: Hardware,
    /// Name of the boot server; cut at 63 bytes, so that a NUL ends it.
    pub sname: String,
    /// Name of the boot file; cut at 127 bytes.
    pub file: String,
    /// In the order they are to be sent; [`code::RELAY_AGENT`] is moved to the end.
    pub options: Vec<DhcpOption>,
}

/// An encoded packet, and what found no room in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// Codes of the options that were left out.
    pub dropped: Vec<u8>,
}

impl Message {
    /// The beginning of an answer to `request`: its fields that an answer repeats (RFC 2131 §4.3.1, table 3).
    pub fn answering(request: &Packet) -> Self {
        Self {
            op: Op::Reply,
            xid: request.xid,
            secs: 0,
            broadcast: request.broadcast,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: request.giaddr,
            hardware: request.hardware,
            sname: String::new(),
            file: String::new(),
            options: Vec::new(),
        }
    }

    /// A client's packet with no option yet.
    pub fn request(xid: u32, hardware: Hardware) -> Self {
        Self {
            op: Op::Request,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            hardware,
            sname: String::new(),
            file: String::new(),
            options: Vec::new(),
        }
    }

    /// Adds option `code` with `bytes` as its value, whatever they mean.
    pub fn push_raw(&mut self, code: u8, bytes: impl Into<Vec<u8>>) {
        self.options.push(raw(code, bytes.into()));
    }

    pub fn push_kind(&mut self, kind: MessageType) {
        self.options.push(DhcpOption::MessageType(kind));
    }

    pub fn push_lease_time(&mut self, time: LeaseTime) {
        self.options.push(DhcpOption::AddressLeaseTime(time.seconds()));
    }

    /// Whether option `code` is already there.
    pub fn has(&self, code: u8) -> bool {
        self.options.iter().any(|option| u8::from(OptionCode::from(option)) == code)
    }

    /// Writes the packet. `max_size` is the client's option 57.
    pub fn encode(&self, max_size: Option<u16>) -> Encoded {
        let datagram = usize::from(max_size.unwrap_or(DATAGRAM).max(DATAGRAM));
        let room = (datagram - HEADERS).min(limits::DHCP_PACKET) - OPTIONS_AT;
        let areas = Areas::fill(&self.options, room, self.file.is_empty(), self.sname.is_empty());

        let mut bytes = Vec::with_capacity(OPTIONS_AT + room);
        bytes.extend([
            if self.op == Op::Request { 1 } else { 2 },
            self.hardware.kind,
            self.hardware.len(),
            0,
        ]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(if self.broadcast { [0x80, 0] } else { [0, 0] });
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.hardware.field());
        fixed(&mut bytes, 64, areas.sname.as_deref().unwrap_or_else(|| cut(&self.sname, 63)));
        fixed(&mut bytes, 128, areas.file.as_deref().unwrap_or_else(|| cut(&self.file, 127)));
        bytes.extend(MAGIC_COOKIE);
        bytes.extend(&areas.main);
        if bytes.len() < MINIMUM {
            bytes.resize(MINIMUM, 0);
        }
        Encoded { bytes, dropped: areas.dropped }
    }
}

/// Option `code` with `bytes` as its value, whatever they mean.
pub fn raw(code: u8, bytes: Vec<u8>) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), bytes))
}

/// The three places where options may stand, filled.
#[derive(Debug, Default)]
struct Areas {
    /// With its end mark.
    main: Vec<u8>,
    file: Option<Vec<u8>>,
    sname: Option<Vec<u8>>,
    dropped: Vec<u8>,
}

impl Areas {
    fn fill(options: &[DhcpOption], room: usize, file_free: bool, sname_free: bool) -> Self {
        let relay: Vec<u8> = encoded(options.iter().filter(|option| is_relay(option))).concat();
        let parts = encoded(options.iter().filter(|option| !is_relay(option)));
        // One byte of each area is its end mark.
        let rest = room.saturating_sub(relay.len() + 1);
        let all: usize = parts.iter().map(Vec::len).sum();
        let mut areas = Self::default();
        if all <= rest {
            areas.main = parts.concat();
        } else {
            let overload = if file_free || sname_free { 3 } else { 0 };
            let mut spaces = [
                (Vec::new(), rest.saturating_sub(overload)),
                (Vec::new(), if file_free { 127 } else { 0 }),
                (Vec::new(), if sname_free { 63 } else { 0 }),
            ];
            areas.dropped = place(&parts, &mut spaces);
            let [(main, _), (file, _), (sname, _)] = spaces;
            areas.main = main;
            let which = u8::from(!file.is_empty()) | (u8::from(!sname.is_empty()) << 1);
            if which != 0 {
                areas.main.extend([code::OVERLOAD, 1, which]);
            }
            areas.file = (!file.is_empty()).then(|| ended(file));
            areas.sname = (!sname.is_empty()).then(|| ended(sname));
        }
        areas.main.extend(relay);
        areas.main = ended(areas.main);
        areas
    }
}

/// Puts each part in the first space with room for it; says which codes found none.
///
/// Parts of one option keep their order over the spaces, because a reader joins them in that order; an option of which
/// a part finds no room is taken out whole, because half an option is a wrong one.
fn place(parts: &[Vec<u8>], spaces: &mut [(Vec<u8>, usize); 3]) -> Vec<u8> {
    let mut dropped = Vec::new();
    let mut rest = parts;
    while let Some(code) = rest.first().and_then(|part| part.first()) {
        let count = rest.iter().take_while(|part| part.first() == Some(code)).count();
        let (option, later) = rest.split_at(count);
        rest = later;
        let before = [0, 1, 2].map(|at: usize| spaces.get(at).map_or(0, |(bytes, _)| bytes.len()));
        let mut first_space = 0;
        let fits = option.iter().all(|part| {
            let found = spaces
                .iter_mut()
                .enumerate()
                .skip(first_space)
                .find(|(_, (bytes, room))| bytes.len() + part.len() <= *room);
            found.is_some_and(|(at, (bytes, _))| {
                bytes.extend(part);
                first_space = at;
                true
            })
        });
        if !fits {
            dropped.push(*code);
            for ((bytes, _), len) in spaces.iter_mut().zip(before) {
                bytes.truncate(len);
            }
        }
    }
    dropped
}

/// Each option as the parts that RFC 3396 allows: one, or several of at most 255 bytes of value.
fn encoded<'a>(options: impl Iterator<Item = &'a DhcpOption>) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    for option in options {
        let mut bytes = Vec::new();
        // The encoder writes into a growing vector; only lengths beyond usize could fail.
        if option.encode(&mut Encoder::new(&mut bytes)).is_err() {
            continue;
        }
        if bytes.is_empty() {
            // An option without a value (such as 80) is written by its own arm; a raw one is not.
            bytes = vec![OptionCode::from(option).into(), 0];
        }
        let mut rest = bytes.as_slice();
        while let [_, len, ..] = rest {
            let (part, later) = rest.split_at(rest.len().min(2 + usize::from(*len)));
            parts.push(part.to_vec());
            rest = later;
        }
    }
    parts
}

fn is_relay(option: &DhcpOption) -> bool {
    u8::from(OptionCode::from(option)) == code::RELAY_AGENT
}

fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(code::END);
    bytes
}

fn fixed(bytes: &mut Vec<u8>, width: usize, value: &[u8]) {
    let end = bytes.len() + width;
    bytes.extend(value.iter().take(width));
    bytes.resize(end, 0);
}

fn cut(text: &str, at_most: usize) -> &[u8] {
    text.as_bytes().get(..at_most).unwrap_or(text.as_bytes())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;

//! Bytes → [`Packet`]: the checked front of the DHCP server.
//!
//! dhcproto's decoder is not used here: it panics when `hlen` is above 16, stops at the first option it dislikes and
//! so loses all that follow, and does not look into `sname` and `file` (option 52). This walk reads lengths itself,
//! joins split options (RFC 3396), follows the overload (RFC 2132 §9.3), and skips what it cannot use.
//!
//! After [`Packet::parse`] nothing is left to doubt: every field has the type of what it means, and an option that
//! was malformed is as absent as one that was not sent, named in [`Packet::ignored`] for the log.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;

use super::{LeaseTime, code};
use crate::types::{HostName, MacAddr, limits};

/// Offset of the magic cookie: where RFC 951's fixed fields end.
const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Why bytes are not a DHCP or BOOTP packet at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0} bytes are too few for a BOOTP packet, which has at least 236")]
    Short(usize),
    #[error("{0} bytes are more than a DHCP packet may have")]
    Long(usize),
    #[error("operation {0} is neither a request (1) nor a reply (2)")]
    Op(u8),
    #[error("a hardware address of {0} bytes does not fit its field of 16")]
    HardwareLength(u8),
}

/// Direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Request,
    Reply,
}

/// `htype`, `hlen` and `chaddr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hardware {
    pub kind: u8,
    /// At most 16.
    len: u8,
    bytes: [u8; 16],
}

impl Hardware {
    /// `None` if `len` is above 16. Bytes beyond `len` are dropped, so that equal addresses compare equal.
    pub fn new(kind: u8, len: u8, mut bytes: [u8; 16]) -> Option<Self> {
        bytes.get_mut(usize::from(len)..)?.fill(0);
        Some(Self { kind, len, bytes })
    }

    pub fn ethernet(mac: MacAddr) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(mac.octets()) {
            *to = from;
        }
        Self { kind: 1, len: 6, bytes }
    }

    pub fn len(&self) -> u8 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The field as it is on the wire, zero-filled.
    pub fn field(&self) -> [u8; 16] {
        self.bytes
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    /// The Ethernet (or Wi-Fi) address of one station; `None` for other hardware and group addresses.
    pub fn mac(&self) -> Option<MacAddr> {
        let octets: [u8; 6] = self.as_bytes().try_into().ok()?;
        let mac = MacAddr::new(octets);
        (self.kind == 1 && mac.is_unicast()).then_some(mac)
    }
}

/// The options of one packet, each joined from its parts, looked up by code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    bytes: Vec<u8>,
    /// Code, start and end in `bytes`; sorted by code, one entry a code.
    index: Vec<(u8, usize, usize)>,
}

impl Options {
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        let at = self.index.binary_search_by_key(&code, |(code, ..)| *code).ok()?;
        let (_, start, end) = self.index.get(at)?;
        self.bytes.get(*start..*end)
    }

    /// Every option, by ascending code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.index.iter().filter_map(|(code, start, end)| Some((*code, self.bytes.get(*start..*end)?)))
    }

    /// RFC 3396 §5: the parts of a split option are joined in the order of the areas.
    fn join(mut parts: Vec<(u8, &[u8])>) -> Self {
        parts.sort_by_key(|(code, _)| *code);
        let mut joined = Self::default();
        for (code, part) in parts {
            let start = joined.bytes.len();
            joined.bytes.extend_from_slice(part);
            let end = joined.bytes.len();
            match joined.index.last_mut() {
                Some((last, _, last_end)) if *last == code => *last_end = end,
                _ => joined.index.push((code, start, end)),
            }
        }
        joined
    }
}

/// A DHCP or BOOTP packet whose every field is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub op: Op,
    pub hops: u8,
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client cannot receive unicast before it has an address (RFC 2131 §4.1).
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub hardware: Hardware,
    /// Boot file name of the fixed field, unless option 52 put options there.
    pub file: heapless::Vec<u8, 128>,
    /// Option 53; `None` is a BOOTP packet.
    pub kind: Option<MessageType>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 12 (or the first label of option 81), if it is a host name.
    pub host_name: Option<HostName>,
    /// Option 57: the largest IP datagram the client takes, in bytes.
    pub max_size: Option<u16>,
    /// Option 93: the first architecture.
    pub architecture: Option<u16>,
    /// Option 97.
    pub machine_id: Option<[u8; 17]>,
    /// Everything, these included, as bytes.
    pub options: Options,
    /// Codes of options that were there and could not be used; the first few.
    pub ignored: heapless::Vec<u8, { limits::DHCP_IGNORED }>,
}

impl Packet {
    /// Reads one UDP payload. Never panics; never allocates more than a few times the length of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::DHCP_PACKET {
            return Err(WireError::Long(bytes.len()));
        }
        let mut reader = Reader(bytes);
        Self::read(&mut reader).ok_or(WireError::Short(bytes.len()))?
    }

    /// `None` when the bytes end inside the fixed fields.
    fn read(reader: &mut Reader<'_>) -> Option<Result<Self, WireError>> {
        let [op, htype, hlen, hops] = reader.array()?;
        let xid = u32::from_be_bytes(reader.array()?);
        let secs = u16::from_be_bytes(reader.array()?);
        let flags = u16::from_be_bytes(reader.array()?);
        let mut address = || reader.array::<4>().map(Ipv4Addr::from);
        let (ciaddr, yiaddr, siaddr, giaddr) = (address()?, address()?, address()?, address()?);
        let chaddr = reader.array::<16>()?;
        let sname = reader.array::<64>()?;
        let file = reader.array::<128>()?;
        let op = match op {
            1 => Op::Request,
            2 => Op::Reply,
            other => return Some(Err(WireError::Op(other))),
        };
        let Some(hardware) = Hardware::new(htype, hlen, chaddr) else {
            return Some(Err(WireError::HardwareLength(hlen)));
        };
        // Without the cookie the area is vendor information of RFC 951 that nobody has used since 1988.
        let area = match reader.array::<4>() {
            Some(COOKIE) => reader.0,
            _ => &[],
        };
        let mut ignored = heapless::Vec::new();
        let (options, file_is_options) = walk_areas(area, &file, &sname, &mut ignored);
        let mut take = Typed { options: &options, ignored: &mut ignored };
        let mut packet = Self {
            op,
            hops,
            xid,
            secs,
            broadcast: flags & 0x8000 != 0,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            hardware,
            file: if file_is_options { heapless::Vec::new() } else { text_field(&file) },
            kind: take.option(code::MESSAGE_TYPE, |bytes| match bytes {
                [0] => None,
                [kind] => Some(MessageType::from(*kind)),
                _ => None,
            }),
            requested: take.option(code::REQUESTED_IP, address_of),
            server_id: take.option(code::SERVER_ID, address_of),
            host_name: take.option(code::HOST_NAME, first_label),
            max_size: take.option(code::MAX_SIZE, |bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?))),
            architecture: take.option(code::ARCHITECTURE, |bytes| {
                Some(u16::from_be_bytes(*bytes.first_chunk()?)).filter(|_| bytes.len() % 2 == 0)
            }),
            machine_id: take.option(code::MACHINE_ID, |bytes| bytes.try_into().ok()),
            options: Options::default(),
            ignored: heapless::Vec::new(),
        };
        if packet.host_name.is_none() {
            packet.host_name = take.option(code::CLIENT_FQDN, fqdn_label);
        }
        packet.ignored = ignored;
        packet.options = options;
        Some(Ok(packet))
    }

    /// Option 55, in the order of the client's preference.
    pub fn wanted(&self) -> &[u8] {
        self.options.get(code::WANTED).unwrap_or_default()
    }

    pub fn wants(&self, code: u8) -> bool {
        self.wanted().contains(&code)
    }

    /// Option 60.
    pub fn vendor_class(&self) -> &[u8] {
        self.options.get(code::VENDOR_CLASS).unwrap_or_default()
    }

    /// Option 61, opaque: compared, never interpreted (RFC 2131 §4.2). RFC 2132 §9.14: at least a type and one byte.
    pub fn client_id(&self) -> Option<&[u8]> {
        self.options.get(code::CLIENT_ID).filter(|id| (2..=limits::DHCP_CLIENT_ID).contains(&id.len()))
    }

    /// Option 51: how long the client would like to have its address.
    pub fn lease_time(&self) -> Option<LeaseTime> {
        let seconds = u32::from_be_bytes(self.options.get(code::LEASE_TIME)?.try_into().ok()?);
        Some(match seconds {
            u32::MAX => LeaseTime::Infinite,
            seconds => LeaseTime::For(Duration::from_secs(seconds.into())),
        })
    }

    /// Option 82, which only a relay agent may add: without `giaddr` it is a client's own invention.
    pub fn relay_agent(&self) -> Option<&[u8]> {
        self.options.get(code::RELAY_AGENT).filter(|_| !self.giaddr.is_unspecified())
    }
}

/// Reads options out of the packet and notes those that do not say what they should.
struct Typed<'a, const N: usize> {
    options: &'a Options,
    ignored: &'a mut heapless::Vec<u8, N>,
}

impl<const N: usize> Typed<'_, N> {
    fn option<T>(&mut self, code: u8, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let value = read(self.options.get(code)?);
        if value.is_none() {
            let _ = self.ignored.push(code); // full: the log has seen enough of this packet
        }
        value
    }
}

/// The bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }
}

/// The options of all areas, and whether `file` was one of them.
fn walk_areas<const N: usize>(
    area: &[u8],
    file: &[u8],
    sname: &[u8],
    ignored: &mut heapless::Vec<u8, N>,
) -> (Options, bool) {
    let mut parts = Vec::new();
    walk(area, &mut parts, ignored);
    let overload = match parts.iter().find(|(code, _)| *code == code::OVERLOAD) {
        Some((_, [which @ 1..=3])) => *which,
        Some(_) => {
            let _ = ignored.push(code::OVERLOAD);
            0
        }
        None => 0,
    };
    if overload & 1 != 0 {
        walk(file, &mut parts, ignored);
    }
    if overload & 2 != 0 {
        walk(sname, &mut parts, ignored);
    }
    (Options::join(parts), overload & 1 != 0)
}

/// Collects the options of one area. One that runs over the end ends the walk; nothing after it could be found.
fn walk<'a, const N: usize>(
    mut area: &'a [u8],
    parts: &mut Vec<(u8, &'a [u8])>,
    ignored: &mut heapless::Vec<u8, N>,
) {
    while let [code, rest @ ..] = area {
        match *code {
            0 => area = rest,
            code::END => return,
            code => {
                let part = rest.split_first().and_then(|(len, rest)| rest.split_at_checked((*len).into()));
                let Some((value, rest)) = part else {
                    let _ = ignored.push(code);
                    return;
                };
                parts.push((code, value));
                area = rest;
            }
        }
    }
}

fn address_of(bytes: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// `lab-01`, `lab-01.school.example` and `lab-01\0` all name `lab-01`.
fn first_label(bytes: &[u8]) -> Option<HostName> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.trim_end_matches('\0').split('.').next()?.parse().ok()
}

/// Option 81 (RFC 4702 §2): flags, two result codes, then the name as labels (E bit) or as text.
fn fqdn_label(bytes: &[u8]) -> Option<HostName> {
    let [flags, _, _, name @ ..] = bytes else { return None };
    if flags & 4 == 0 {
        return first_label(name);
    }
    let (len, rest) = name.split_first()?;
    first_label(rest.get(..usize::from(*len))?)
}

/// A fixed text field up to its first NUL.
fn text_field<const N: usize>(field: &[u8; N]) -> heapless::Vec<u8, N> {
    field.iter().copied().take_while(|byte| *byte != 0).collect()
}

/// Offset of the first option; what tests and the encoder build on.
pub(super) const OPTIONS_AT: usize = COOKIE_AT + COOKIE.len();
pub(super) const MAGIC_COOKIE: [u8; 4] = COOKIE;

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

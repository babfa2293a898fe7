//! TFTP packets: bytes ⇄ values (RFC 1350 §5, RFC 2347).
//!
//! Lenient where boot ROMs are careless (a trailing NUL, a last string without its NUL, odd options), because a request
//! that is dropped costs a Pi its time-out. Names stay bytes: what they mean is not decided here.

/// Length of the header of a DATA packet: opcode and block number, in bytes.
pub const DATA_HEADER: usize = 4;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// One packet, borrowed from the datagram it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: the client wants to read a file.
    Read(Request<'a>),
    /// WRQ: the client wants to write one.
    Write(Request<'a>),
    Data {
        block: u16,
        bytes: &'a [u8],
    },
    Ack(u16),
    Error {
        code: ErrorCode,
        message: &'a [u8],
    },
    /// OACK: the options that the server agreed to.
    OptionAck(Options<'a>),
}

/// What RRQ and WRQ carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// As sent; may be any bytes but NUL.
    pub name: &'a [u8],
    pub mode: Mode,
    pub options: Options<'a>,
}

/// Transfer mode (RFC 1350 §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Octet,
    /// Asked for by a few old loaders for binary files; they are sent as they are, as every boot server does.
    Netascii,
    /// `mail`, obsolete, or nonsense.
    Other,
}

/// The name and value pairs behind a request or in an OACK, read when walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Name and value of each option, as sent. A name without a value ends the walk.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let name = string(&mut rest).filter(|name| !name.is_empty())?;
            Some((name, string(&mut rest)?))
        })
    }

    /// Value of the first option called `name` (in any case, RFC 2347) if it is a decimal number.
    pub fn number(self, name: &str) -> Option<u64> {
        let (_, value) = self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

/// Error codes (RFC 1350 §5, RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// See the message; what the Pi's ROM sends with `Early terminate`.
    pub const UNDEFINED: Self = Self(0);
    pub const NOT_FOUND: Self = Self(1);
    pub const ACCESS: Self = Self(2);
    pub const ILLEGAL: Self = Self(4);
}

/// Why a datagram is not a TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("shorter than its own header")]
    Short,
    #[error("opcode {0} does not exist")]
    Opcode(u16),
    #[error("a request without a file name")]
    NoName,
}

/// Reads one datagram. A request without a mode is taken as octet.
pub fn parse(datagram: &[u8]) -> Result<Packet<'_>, WireError> {
    let (opcode, body) = word(datagram)?;
    match opcode {
        RRQ => request(body).map(Packet::Read),
        WRQ => request(body).map(Packet::Write),
        DATA => word(body).map(|(block, bytes)| Packet::Data { block, bytes }),
        ACK => word(body).map(|(block, _)| Packet::Ack(block)),
        ERROR => {
            let (code, mut text) = word(body)?;
            Ok(Packet::Error { code: ErrorCode(code), message: string(&mut text).unwrap_or_default() })
        }
        OACK => Ok(Packet::OptionAck(Options(body))),
        other => Err(WireError::Opcode(other)),
    }
}

/// Header of DATA block `number` (already taken modulo 65 536: the number after 65 535 is 0).
pub fn data_header(number: u16) -> [u8; DATA_HEADER] {
    let [op, code] = DATA.to_be_bytes();
    let [high, low] = number.to_be_bytes();
    [op, code, high, low]
}

pub fn ack(number: u16) -> [u8; 4] {
    let [op, code] = ACK.to_be_bytes();
    let [high, low] = number.to_be_bytes();
    [op, code, high, low]
}

/// `message` must not contain NUL; what follows one is not read by the other side.
pub fn error(code: ErrorCode, message: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(5 + message.len());
    packet.extend(ERROR.to_be_bytes());
    packet.extend(code.0.to_be_bytes());
    packet.extend(message.as_bytes());
    packet.push(0);
    packet
}

/// RRQ in octet mode, as a client sends it.
pub fn read_request(name: &[u8], options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(name.len() + 16 + 16 * options.len());
    packet.extend(RRQ.to_be_bytes());
    packet.extend(name);
    packet.extend(b"\0octet\0");
    pairs(&mut packet, options);
    packet
}

pub fn option_ack(options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(2 + 16 * options.len());
    packet.extend(OACK.to_be_bytes());
    pairs(&mut packet, options);
    packet
}

fn pairs(packet: &mut Vec<u8>, options: &[(&str, u64)]) {
    for (name, value) in options {
        packet.extend(name.as_bytes());
        packet.push(0);
        packet.extend(value.to_string().as_bytes());
        packet.push(0);
    }
}

fn request(mut body: &[u8]) -> Result<Request<'_>, WireError> {
    let name = string(&mut body).filter(|name| !name.is_empty()).ok_or(WireError::NoName)?;
    let mode = match string(&mut body) {
        None => Mode::Octet,
        Some(text) if text.eq_ignore_ascii_case(b"octet") => Mode::Octet,
        Some(text) if text.eq_ignore_ascii_case(b"netascii") => Mode::Netascii,
        Some(_) => Mode::Other,
    };
    Ok(Request { name, mode, options: Options(body) })
}

/// Takes the bytes up to the next NUL, or all that is left; `None` at the end.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let (text, tail) = rest.split_at(end);
    *rest = tail.get(1..).unwrap_or_default();
    Some(text)
}

fn word(bytes: &[u8]) -> Result<(u16, &[u8]), WireError> {
    let (word, rest) = bytes.split_first_chunk().ok_or(WireError::Short)?;
    Ok((u16::from_be_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(packet: &[u8]) -> Vec<(String, String)> {
        let Ok(Packet::Read(request)) = parse(packet) else { panic!("{packet:?} is a read request") };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        request.options.iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    /// What boot ROMs and loaders were seen to send (facts/pi-netboot.md 2.3, facts/lab.md 3).
    #[test]
    fn requests_as_roms_send_them() {
        type Row<'a> = (&'a str, &'a [u8], Vec<(String, String)>);
        let own = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        #[rustfmt::skip]
        let rows: [Row<'_>; 6] = [
            ("Pi 3 ROM, no options", b"\0\x01bootcode.bin\0octet\0", vec![]),
            ("Pi 4", b"\0\x019ffefdef/start4.elf\0octet\0tsize\x000\0blksize\x001468\0", vec![own("tsize", "0"), own("blksize", "1468")]),
            ("one more NUL", b"\0\x01a\0octet\0blksize\x001024\0\0", vec![own("blksize", "1024")]),
            ("no last NUL", b"\0\x01a\0octet\0blksize\x001024", vec![own("blksize", "1024")]),
            ("a name without a value", b"\0\x01a\0octet\0tsize\0", vec![]),
            ("no mode", b"\0\x01a", vec![]),
        ];
        for (shows, packet, expected) in rows {
            assert_eq!(options(packet), expected, "{shows}");
        }
    }

    #[test]
    fn each_kind_of_packet() {
        #[rustfmt::skip]
        let rows: [(&[u8], Result<Packet<'_>, WireError>); 9] = [
            (b"", Err(WireError::Short)),
            (b"\0", Err(WireError::Short)),
            (b"\0\x04\x01", Err(WireError::Short)),
            (b"\0\x07", Err(WireError::Opcode(7))),
            (b"\0\x01\0octet\0", Err(WireError::NoName)),
            (b"\0\x04\xff\xff", Ok(Packet::Ack(65535))),
            (b"\0\x03\0\x02xyz", Ok(Packet::Data { block: 2, bytes: b"xyz" })),
            (b"\0\x05\0\0Early terminate\0", Ok(Packet::Error { code: ErrorCode::UNDEFINED, message: b"Early terminate" })),
            (b"\0\x05\0\x01", Ok(Packet::Error { code: ErrorCode::NOT_FOUND, message: b"" })),
        ];
        for (packet, expected) in rows {
            assert_eq!(parse(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn modes_and_options_in_any_case() {
        let Ok(Packet::Write(request)) = parse(b"\0\x02\xff\xfe\0NetASCII\0BLKsize\x00512\0") else {
            panic!("a write request")
        };
        assert_eq!((request.name, request.mode), (&b"\xff\xfe"[..], Mode::Netascii));
        assert_eq!(request.options.number("blksize"), Some(512));
        assert_eq!(request.options.number("tsize"), None);
    }

    #[test]
    fn what_is_built_is_what_the_rfc_shows() {
        assert_eq!(data_header(258), *b"\0\x03\x01\x02");
        assert_eq!(ack(7), *b"\0\x04\0\x07");
        assert_eq!(error(ErrorCode::NOT_FOUND, "no such file"), b"\0\x05\0\x01no such file\0");
        assert_eq!(option_ack(&[("tsize", 12), ("blksize", 1468)]), b"\0\x06tsize\x0012\0blksize\x001468\0");
    }

    proptest! {
        /// Whatever arrives, reading it and walking its options ends without a panic.
        #[test]
        fn any_datagram_is_read_or_refused(datagram in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(Packet::Read(r) | Packet::Write(r)) = parse(&datagram) {
                prop_assert!(r.options.iter().count() <= datagram.len());
            }
        }

        /// A request that a client builds is read back as it was meant.
        #[test]
        fn requests_survive_the_wire(name in "[^\0]{1,80}", blksize in any::<u64>(), tsize in any::<u64>()) {
            let packet = read_request(name.as_bytes(), &[("blksize", blksize), ("tsize", tsize)]);
            let Ok(Packet::Read(request)) = parse(&packet) else { panic!("a read request") };
            prop_assert_eq!(request.name, name.as_bytes());
            prop_assert_eq!(request.mode, Mode::Octet);
            prop_assert_eq!(request.options.number("blksize"), Some(blksize));
            prop_assert_eq!(request.options.number("tsize"), Some(tsize));
        }
    }
}

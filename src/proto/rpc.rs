//! ONC RPC version 2 (RFC 5531): record marking, call and reply headers, AUTH_NONE and AUTH_SYS credentials.
//!
//! [`Framing`] joins the fragments of a stream to records; [`Call`] is one record, taken apart without copying; the
//! functions of [`reply`] write the other direction. Nothing here knows a program: what a call means is in
//! [`super::mount`], [`super::portmap`] and [`super::nfs3`].

use std::ops::{Deref, Range};

use super::xdr::{Reader, Writer, XdrError};
use crate::types::limits;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const AUTH_NONE: u32 = 0;
/// Flavour number of AUTH_SYS, as MOUNT lists it.
pub const AUTH_SYS: u32 = 1;
const LAST_FRAGMENT: u32 = 0x8000_0000;

/// Who a call says it is from. Believed only as far as the network address behind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    None,
    Sys { uid: u32, gid: u32, gids: heapless::Vec<u32, { limits::RPC_GROUPS }> },
}

/// One call. `args` stands at the first argument of the procedure.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub xid: u32,
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub credential: Credential,
    pub args: Reader<'a>,
}

/// Why a record is not a call that can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACall {
    /// Nothing to answer to: there is no call number, or it is a reply.
    #[error("the record is not an RPC call")]
    Noise,
    #[error("the call speaks RPC version {version}, we speak 2")]
    RpcVersion { xid: u32, version: u32 },
    #[error("the credential is refused ({why:?})")]
    Auth { xid: u32, why: AuthStat },
}

/// `auth_stat` of RFC 5531 §9: why a credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AuthStat {
    /// The bytes are no credential of the flavour they name.
    BadCredential = 1,
    /// A flavour other than AUTH_NONE and AUTH_SYS.
    Rejected = 2,
    /// Right, and not enough: AUTH_NONE for NFS, or a port that any user of the client may use.
    TooWeak = 5,
}

impl<'a> Call<'a> {
    /// Takes one record (or one datagram) apart.
    pub fn parse(record: &'a [u8]) -> Result<Self, NotACall> {
        let mut args = Reader::new(record);
        let (xid, direction) = xid_and_direction(&mut args).map_err(|_| NotACall::Noise)?;
        if direction != CALL {
            return Err(NotACall::Noise);
        }
        let version = args.u32().map_err(|_| NotACall::Noise)?;
        if version != RPC_VERSION {
            return Err(NotACall::RpcVersion { xid, version });
        }
        let (program, version, procedure) = three(&mut args).map_err(|_| NotACall::Noise)?;
        let bad = |_| NotACall::Auth { xid, why: AuthStat::BadCredential };
        let flavour = args.u32().map_err(bad)?;
        let body = args.opaque(limits::RPC_AUTH).map_err(bad)?;
        let _verifier = (args.u32().map_err(bad)?, args.opaque(limits::RPC_AUTH).map_err(bad)?);
        let credential = match flavour {
            AUTH_NONE => Credential::None,
            AUTH_SYS => auth_sys(body).map_err(bad)?,
            _ => return Err(NotACall::Auth { xid, why: AuthStat::Rejected }),
        };
        Ok(Self { xid, program, version, procedure, credential, args })
    }

    /// Writes the header of a call; the arguments follow. For simulated clients and tests.
    pub fn encode_header(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        for value in [self.xid, CALL, RPC_VERSION, self.program, self.version, self.procedure] {
            w.u32(value);
        }
        match &self.credential {
            Credential::None => {
                w.u32(AUTH_NONE);
                w.opaque(&[]);
            }
            Credential::Sys { uid, gid, gids } => {
                let mut body = Vec::new();
                let mut b = Writer(&mut body);
                b.u32(0);
                b.opaque(b"");
                b.u32(*uid);
                b.u32(*gid);
                b.u32(u32::try_from(gids.len()).expect("at most 16 groups"));
                gids.iter().for_each(|gid| b.u32(*gid));
                w.u32(AUTH_SYS);
                w.opaque(&body);
            }
        }
        w.u32(AUTH_NONE);
        w.opaque(&[]);
    }
}

fn xid_and_direction(reader: &mut Reader<'_>) -> Result<(u32, u32), XdrError> {
    Ok((reader.u32()?, reader.u32()?))
}

fn three(reader: &mut Reader<'_>) -> Result<(u32, u32, u32), XdrError> {
    Ok((reader.u32()?, reader.u32()?, reader.u32()?))
}

/// `authsys_parms` (RFC 5531 appendix A).
fn auth_sys(body: &[u8]) -> Result<Credential, XdrError> {
    let mut r = Reader::new(body);
    let _stamp = r.u32()?;
    let _machine = r.opaque(255)?;
    let (uid, gid) = (r.u32()?, r.u32()?);
    let mut gids = heapless::Vec::new();
    for _ in 0..r.length(limits::RPC_GROUPS)? {
        gids.push(r.u32()?).expect("the length was checked against the capacity");
    }
    Ok(Credential::Sys { uid, gid, gids })
}

/// Replies: the header, and the bodies that RPC itself defines.
pub mod reply {
    use super::{AUTH_NONE, AuthStat, LAST_FRAGMENT, NotACall, REPLY, RPC_VERSION, Reader, Writer, XdrError};

    /// Starts a record; what is appended until [`finish`] belongs to it. Returns where it began.
    pub fn begin(out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        start
    }

    /// Writes the record mark of the record begun at `start`, which `payload` more bytes will follow that are sent
    /// by other means.
    pub fn finish(out: &mut [u8], start: usize, payload: usize) {
        let length = out.len().saturating_sub(start + 4) + payload;
        let mark = LAST_FRAGMENT | u32::try_from(length).expect("replies are far below 2 GiB");
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&mark.to_be_bytes());
        }
    }

    fn accepted(out: &mut Vec<u8>, xid: u32, stat: u32) -> Writer<'_> {
        let mut w = Writer(out);
        for value in [xid, REPLY, 0, AUTH_NONE, 0, stat] {
            w.u32(value);
        }
        w
    }

    /// The procedure was carried out; its results follow.
    pub fn success(out: &mut Vec<u8>, xid: u32) {
        accepted(out, xid, 0);
    }

    /// The program is not here.
    pub fn no_program(out: &mut Vec<u8>, xid: u32) {
        accepted(out, xid, 1);
    }

    /// The program is here in `version` only.
    pub fn other_version(out: &mut Vec<u8>, xid: u32, version: u32) {
        let mut w = accepted(out, xid, 2);
        w.u32(version);
        w.u32(version);
    }

    pub fn no_procedure(out: &mut Vec<u8>, xid: u32) {
        accepted(out, xid, 3);
    }

    /// The arguments cannot be read.
    pub fn garbage(out: &mut Vec<u8>, xid: u32) {
        accepted(out, xid, 4);
    }

    /// The call was refused because of who it is from.
    pub fn auth_error(out: &mut Vec<u8>, xid: u32, why: AuthStat) {
        let mut w = Writer(out);
        for value in [xid, REPLY, 1, 1, why as u32] {
            w.u32(value);
        }
    }

    /// The answer to a record that is no call; `false` if there is none.
    pub fn not_a_call(out: &mut Vec<u8>, problem: NotACall) -> bool {
        match problem {
            NotACall::Noise => return false,
            NotACall::RpcVersion { xid, .. } => {
                let mut w = Writer(out);
                for value in [xid, REPLY, 1, 0, RPC_VERSION, RPC_VERSION] {
                    w.u32(value);
                }
            }
            NotACall::Auth { xid, why } => auth_error(out, xid, why),
        }
        true
    }

    /// What a reply says before its results, as a client reads it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Header {
        Success,
        /// `accept_stat` other than success.
        Failed(u32),
        /// `MSG_DENIED`.
        Denied,
    }

    /// Reads the header of a reply: its call number and how it went. For simulated clients and tests.
    pub fn parse(record: &[u8]) -> Result<(u32, Header, Reader<'_>), XdrError> {
        let mut r = Reader::new(record);
        let xid = r.u32()?;
        match (r.u32()?, r.u32()?) {
            (REPLY, 0) => {
                let _flavour = r.u32()?;
                let _verifier = r.opaque(super::limits::RPC_AUTH)?;
                match r.u32()? {
                    0 => Ok((xid, Header::Success, r)),
                    stat => Ok((xid, Header::Failed(stat), r)),
                }
            }
            (REPLY, 1) => Ok((xid, Header::Denied, r)),
            (other, _) => Err(XdrError::Unknown(other)),
        }
    }
}

/// The stream is not one of RPC records that we take; the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("a record of more than {} bytes", limits::RPC_RECORD)]
    TooLong,
    #[error("a record of more than {} fragments", limits::RPC_FRAGMENTS)]
    TooManyFragments,
}

/// Records of at most this many bytes are copied to be kept: their buffer goes on being read into.
const NOT_COPIED: usize = 2048;

/// Bytes of a stream, cut into records (RFC 5531 §11).
///
/// Holds at most what the caller has put in; a record that announces more than [`limits::RPC_RECORD`] is refused when
/// its mark arrives, before there is anything to hold.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: Vec<u8>,
    /// Where the next record begins.
    start: usize,
    /// Bytes that are missing of it, as far as its mark has arrived.
    missing: usize,
    /// Where the last one is.
    last: Range<usize>,
}

/// A record of one's own.
#[derive(Debug)]
pub struct Record {
    buffer: Vec<u8>,
    at: Range<usize>,
}

impl Deref for Record {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.at.clone()).unwrap_or_default()
    }
}

impl Framing {
    /// Where the caller appends what it has received.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            (self.start, self.last) = (0, 0..0);
        }
        &mut self.buffer
    }

    /// Whether part of a record is waiting for its rest.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Bytes to make room for: what is known to be missing of the next record.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Gives memory back when nothing is waiting.
    pub fn release(&mut self, keep: usize) {
        if self.is_empty() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > keep {
                self.buffer = Vec::new();
            }
        }
    }

    /// The next whole record, if it has arrived; its fragments are joined in place.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let begin = self.start;
        let (mut read, mut end) = (begin, begin);
        let mut fragments = [(0, 0); limits::RPC_FRAGMENTS];
        self.missing = 0;
        for count in 0.. {
            let Some(mark) = self.buffer.get(read..).and_then(|b| b.first_chunk::<4>()) else {
                return Ok(None);
            };
            let mark = u32::from_be_bytes(*mark);
            let length = usize::try_from(mark & !LAST_FRAGMENT).unwrap_or(usize::MAX);
            let body = read + 4;
            if length > limits::RPC_RECORD || body - begin + length > limits::RPC_RECORD {
                return Err(FramingError::TooLong);
            }
            *fragments.get_mut(count).ok_or(FramingError::TooManyFragments)? = (body, length);
            read = body + length;
            if mark & LAST_FRAGMENT == 0 {
                continue;
            }
            if read > self.buffer.len() {
                self.missing = read - self.buffer.len();
                return Ok(None);
            }
            let joined = begin + 4;
            end = joined;
            for &(from, length) in fragments.iter().take(count + 1) {
                if from != end {
                    self.buffer.copy_within(from..from + length, end);
                }
                end += length;
            }
            break;
        }
        self.start = read;
        self.last = begin + 4..end;
        Ok(self.buffer.get(begin + 4..end))
    }

    /// The record that [`Self::next_record`] gave last, to be kept. A large one that nothing waits behind, as the data of a
    /// file usually does, is not copied.
    pub fn detach(&mut self) -> Record {
        let at = std::mem::take(&mut self.last);
        if at.len() > NOT_COPIED && self.is_empty() {
            self.start = 0;
            return Record { buffer: std::mem::take(&mut self.buffer), at };
        }
        let buffer = self.buffer.get(at).unwrap_or_default().to_vec();
        Record { at: 0..buffer.len(), buffer }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(flavour: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer(&mut out);
        for value in [7, 0, 2, 100_003, 3, 1, flavour] {
            w.u32(value);
        }
        w.opaque(body);
        w.u32(0);
        w.opaque(b"");
        w.u32(99);
        out
    }

    #[test]
    fn credentials_and_their_refusals() {
        let call = header(0, b"");
        let call = Call::parse(&call).expect("AUTH_NONE");
        assert_eq!((call.xid, call.program, call.version, call.procedure), (7, 100_003, 3, 1));
        assert_eq!((call.credential, call.args.rest()), (Credential::None, &[0, 0, 0, 99][..]));

        let refused = |why| NotACall::Auth { xid: 7, why };
        let mut seventeen = vec![0; 16];
        seventeen.extend([0, 0, 0, 17].iter().chain([0; 17 * 4].iter()));
        #[rustfmt::skip]
        let rows = [
            ("Kerberos",              header(6, b""),            refused(AuthStat::Rejected)),
            ("an empty AUTH_SYS",     header(1, b""),            refused(AuthStat::BadCredential)),
            ("seventeen groups",      header(1, &seventeen),     refused(AuthStat::BadCredential)),
            ("a long credential",     header(0, &[0; 401]),      refused(AuthStat::BadCredential)),
            ("a reply",               vec![0, 0, 0, 7, 0, 0, 0, 1], NotACall::Noise),
            ("two bytes",             vec![0, 0],                NotACall::Noise),
        ];
        for (shows, record, expected) in rows {
            assert_eq!(Call::parse(&record).expect_err(shows), expected, "{shows}");
        }
        let mut old = header(0, b"");
        old[11] = 1;
        assert_eq!(Call::parse(&old).expect_err("version 1"), NotACall::RpcVersion { xid: 7, version: 1 });
    }

    #[test]
    fn a_long_record_is_refused_at_its_mark() {
        for mark in [0xa000_0000_u32, 0x2000_0000, 0xffff_ffff, 0x8001_0401] {
            let mut framing = Framing::default();
            framing.buffer().extend(mark.to_be_bytes());
            assert_eq!(framing.next_record(), Err(FramingError::TooLong), "{mark:#x}");
        }
        let mut framing = Framing::default();
        framing.buffer().extend([0; 4 * (limits::RPC_FRAGMENTS + 1)]);
        assert_eq!(framing.next_record(), Err(FramingError::TooManyFragments));
        let mut framing = Framing::default();
        for _ in 0..3 {
            framing.buffer().extend(30_000_u32.to_be_bytes());
            let full = framing.buffer().len() + 30_000;
            framing.buffer().resize(full, 1);
        }
        assert_eq!(framing.next_record(), Err(FramingError::TooLong), "small fragments add up");
    }

    proptest! {
        /// However a sender cuts records into fragments, and however the network cuts those, the records arrive.
        #[test]
        fn records_survive_any_cutting(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
            cuts in proptest::collection::vec(1usize..120, 1..40),
            reads in proptest::collection::vec(1usize..200, 1..40),
        ) {
            let (mut cuts, mut reads) = (cuts.into_iter().cycle(), reads.into_iter().cycle());
            let mut wire = Vec::new();
            for record in &records {
                let mut rest = &record[..];
                for left in (0..40).rev() {
                    let cut = if left == 0 { rest.len() } else { cuts.next().unwrap().min(rest.len()) };
                    let (now, later) = rest.split_at(cut);
                    let last = later.is_empty();
                    wire.extend((u32::try_from(cut).unwrap() | if last { LAST_FRAGMENT } else { 0 }).to_be_bytes());
                    wire.extend(now);
                    rest = later;
                    if last { break; }
                }
            }
            let (mut framing, mut got) = (Framing::default(), Vec::new());
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(reads.next().unwrap().min(rest.len()));
                framing.buffer().extend(now);
                while let Some(record) = framing.next_record().unwrap() {
                    got.push(record.to_vec());
                }
                prop_assert!(framing.missing() <= later.len(), "no more than there is to come");
                rest = later;
            }
            prop_assert_eq!(got, records);
            prop_assert!(framing.is_empty());
            prop_assert_eq!(framing.missing(), 0);
        }

        #[test]
        fn a_call_survives_the_wire(xid: u32, uid: u32, gid: u32, gids in proptest::collection::vec(any::<u32>(), 0..16)) {
            let credential = Credential::Sys { uid, gid, gids: gids.into_iter().collect() };
            let call = Call { xid, program: 1, version: 2, procedure: 3, credential, args: Reader::new(&[]) };
            let mut wire = Vec::new();
            call.encode_header(&mut wire);
            let read = Call::parse(&wire).unwrap();
            prop_assert_eq!((read.xid, read.program, read.version, read.procedure), (xid, 1, 2, 3));
            prop_assert_eq!(read.credential, call.credential);
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Call::parse(&bytes);
            let mut framing = Framing::default();
            framing.buffer().extend(&bytes);
            while let Ok(Some(_)) = framing.next_record() {}
        }
    }
}

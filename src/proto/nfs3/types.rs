//! What several NFS procedures share: handles, attributes, times, statuses.

use super::super::xdr::{Reader, Writer, XdrError};
use crate::types::limits;

/// A file handle as it travels: opaque to the client, and here.
pub type Handle = heapless::Vec<u8, { limits::NFS_HANDLE }>;

/// `nfsstat3` (RFC 1813 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Ok = 0,
    Perm = 1,
    NoEntry = 2,
    Io = 5,
    NoDevice = 6,
    Access = 13,
    Exists = 17,
    CrossDevice = 18,
    NotDirectory = 20,
    IsDirectory = 21,
    Invalid = 22,
    TooBig = 27,
    NoSpace = 28,
    ReadOnly = 30,
    TooManyLinks = 31,
    NameTooLong = 63,
    NotEmpty = 66,
    Quota = 69,
    Stale = 70,
    BadHandle = 10001,
    /// SETATTR's guard: the file has changed in between.
    NotSync = 10002,
    BadCookie = 10003,
    NotSupported = 10004,
    TooSmall = 10005,
    Fault = 10006,
    /// MKNOD of something that MKNOD does not make.
    BadType = 10007,
    /// The client should ask again in a while.
    Later = 10008,
}

/// `ftype3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileType {
    Regular = 1,
    Directory = 2,
    Block = 3,
    Character = 4,
    SymLink = 5,
    Socket = 6,
    Fifo = 7,
}

impl FileType {
    /// From the type bits of a `st_mode`.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        match mode & 0o170_000 {
            0o100_000 => Some(Self::Regular),
            0o040_000 => Some(Self::Directory),
            0o060_000 => Some(Self::Block),
            0o020_000 => Some(Self::Character),
            0o120_000 => Some(Self::SymLink),
            0o140_000 => Some(Self::Socket),
            0o010_000 => Some(Self::Fifo),
            _ => None,
        }
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(match r.u32()? {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::Block,
            4 => Self::Character,
            5 => Self::SymLink,
            6 => Self::Socket,
            7 => Self::Fifo,
            other => return Err(XdrError::Unknown(other)),
        })
    }
}

/// `nfstime3`: seconds since 1970 and nanoseconds. Unsigned on the wire; Linux clients take the seconds as signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    pub secs: u32,
    pub nanos: u32,
}

impl Time {
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(Self { secs: r.u32()?, nanos: r.u32()? })
    }

    pub(super) fn encode(self, w: &mut Writer<'_>) {
        w.u32(self.secs);
        w.u32(self.nanos);
    }
}

/// `fattr3` (RFC 1813 §2.6): everything a client learns about a file at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub kind: FileType,
    /// Permission bits with setuid, setgid and sticky; without the type.
    pub mode: u32,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Bytes on the disk.
    pub used: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Same for all files of one tree.
    pub filesystem: u64,
    /// Inode number.
    pub id: u64,
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
}

impl Attributes {
    /// Length on the wire, in bytes.
    pub const WIRE: usize = 84;

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        for value in [self.kind as u32, self.mode, self.links, self.uid, self.gid] {
            w.u32(value);
        }
        w.u64(self.size);
        w.u64(self.used);
        w.u32(self.device.0);
        w.u32(self.device.1);
        w.u64(self.filesystem);
        w.u64(self.id);
        self.accessed.encode(w);
        self.modified.encode(w);
        self.changed.encode(w);
    }

    pub fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(Self {
            kind: FileType::parse(r)?,
            mode: r.u32()?,
            links: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
            size: r.u64()?,
            used: r.u64()?,
            device: (r.u32()?, r.u32()?),
            filesystem: r.u64()?,
            id: r.u64()?,
            accessed: Time::parse(r)?,
            modified: Time::parse(r)?,
            changed: Time::parse(r)?,
        })
    }
}

/// What a client wants an attribute to become (`sattr3`). `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub accessed: SetTime,
    pub modified: SetTime,
}

/// `time_how`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    #[default]
    Keep,
    /// To the server's clock.
    Now,
    To(Time),
}

impl SetAttributes {
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(Self {
            mode: r.option(Reader::u32)?,
            uid: r.option(Reader::u32)?,
            gid: r.option(Reader::u32)?,
            size: r.option(Reader::u64)?,
            accessed: SetTime::parse(r)?,
            modified: SetTime::parse(r)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.option(self.mode, Writer::u32);
        w.option(self.uid, Writer::u32);
        w.option(self.gid, Writer::u32);
        w.option(self.size, Writer::u64);
        self.accessed.encode(w);
        self.modified.encode(w);
    }
}

impl SetTime {
    fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(match r.u32()? {
            0 => Self::Keep,
            1 => Self::Now,
            2 => Self::To(Time::parse(r)?),
            other => return Err(XdrError::Unknown(other)),
        })
    }

    fn encode(self, w: &mut Writer<'_>) {
        match self {
            Self::Keep => w.u32(0),
            Self::Now => w.u32(1),
            Self::To(time) => {
                w.u32(2);
                time.encode(w);
            }
        }
    }
}

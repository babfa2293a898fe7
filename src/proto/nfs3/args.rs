//! What a client asks: the arguments of the 22 procedures (RFC 1813 §3.3).
//!
//! Everything borrows from the record. The procedures that write are read in full too, although published trees refuse
//! them: a call with broken arguments is garbage, not a refusal.

use super::super::xdr::{Reader, Writer, XdrError};
use super::Procedure;
use super::types::{FileType, SetAttributes, Time};
use crate::types::limits;

/// A handle as it came; at most 64 bytes.
pub type RawHandle<'a> = &'a [u8];

/// `diropargs3`: a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub directory: RawHandle<'a>,
    pub name: &'a [u8],
}

/// `createhow3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    Unchecked(SetAttributes),
    Guarded(SetAttributes),
    /// The verifier makes a repeated call harmless.
    Exclusive([u8; 8]),
}

/// `mknoddata3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Block(SetAttributes, (u32, u32)),
    Character(SetAttributes, (u32, u32)),
    Socket(SetAttributes),
    Fifo(SetAttributes),
    /// A type MKNOD does not make.
    Other(FileType),
}

/// `stable_how`: how safe written data must be before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stable {
    Unstable = 0,
    Data = 1,
    File = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Args<'a> {
    Null,
    GetAttr(RawHandle<'a>),
    SetAttr { object: RawHandle<'a>, to: SetAttributes, guard: Option<Time> },
    Lookup(Entry<'a>),
    Access { object: RawHandle<'a>, wanted: u32 },
    ReadLink(RawHandle<'a>),
    Read { file: RawHandle<'a>, offset: u64, count: u32 },
    Write { file: RawHandle<'a>, offset: u64, stable: Stable, data: &'a [u8] },
    Create { at: Entry<'a>, how: Create },
    MkDir { at: Entry<'a>, with: SetAttributes },
    SymLink { at: Entry<'a>, with: SetAttributes, target: &'a [u8] },
    MkNod { at: Entry<'a>, node: Node },
    Remove(Entry<'a>),
    RmDir(Entry<'a>),
    Rename { from: Entry<'a>, to: Entry<'a> },
    Link { file: RawHandle<'a>, to: Entry<'a> },
    ReadDir { directory: RawHandle<'a>, cookie: u64, verifier: [u8; 8], count: u32 },
    ReadDirPlus { directory: RawHandle<'a>, cookie: u64, verifier: [u8; 8], names: u32, count: u32 },
    FsStat(RawHandle<'a>),
    FsInfo(RawHandle<'a>),
    PathConf(RawHandle<'a>),
    Commit { file: RawHandle<'a>, offset: u64, count: u32 },
}

impl<'a> Args<'a> {
    pub fn parse(procedure: Procedure, r: &mut Reader<'a>) -> Result<Self, XdrError> {
        Ok(match procedure {
            Procedure::Null => Self::Null,
            Procedure::GetAttr => Self::GetAttr(handle(r)?),
            Procedure::SetAttr => Self::SetAttr {
                object: handle(r)?,
                to: SetAttributes::parse(r)?,
                guard: r.option(Time::parse)?,
            },
            Procedure::Lookup => Self::Lookup(Entry::parse(r)?),
            Procedure::Access => Self::Access { object: handle(r)?, wanted: r.u32()? },
            Procedure::ReadLink => Self::ReadLink(handle(r)?),
            Procedure::Read => Self::Read { file: handle(r)?, offset: r.u64()?, count: r.u32()? },
            Procedure::Write => Self::write(r)?,
            Procedure::Create => Self::Create { at: Entry::parse(r)?, how: Create::parse(r)? },
            Procedure::MkDir => Self::MkDir { at: Entry::parse(r)?, with: SetAttributes::parse(r)? },
            Procedure::SymLink => Self::SymLink {
                at: Entry::parse(r)?,
                with: SetAttributes::parse(r)?,
                target: r.opaque(limits::NFS_PATH)?,
            },
            Procedure::MkNod => Self::MkNod { at: Entry::parse(r)?, node: Node::parse(r)? },
            Procedure::Remove => Self::Remove(Entry::parse(r)?),
            Procedure::RmDir => Self::RmDir(Entry::parse(r)?),
            Procedure::Rename => Self::Rename { from: Entry::parse(r)?, to: Entry::parse(r)? },
            Procedure::Link => Self::Link { file: handle(r)?, to: Entry::parse(r)? },
            Procedure::ReadDir => Self::ReadDir {
                directory: handle(r)?,
                cookie: r.u64()?,
                verifier: r.fixed()?,
                count: r.u32()?,
            },
            Procedure::ReadDirPlus => Self::ReadDirPlus {
                directory: handle(r)?,
                cookie: r.u64()?,
                verifier: r.fixed()?,
                names: r.u32()?,
                count: r.u32()?,
            },
            Procedure::FsStat => Self::FsStat(handle(r)?),
            Procedure::FsInfo => Self::FsInfo(handle(r)?),
            Procedure::PathConf => Self::PathConf(handle(r)?),
            Procedure::Commit => Self::Commit { file: handle(r)?, offset: r.u64()?, count: r.u32()? },
        })
    }

    /// A WRITE's `count` must be the length of its data: one of the two would be a lie.
    fn write(r: &mut Reader<'a>) -> Result<Self, XdrError> {
        let (file, offset, count) = (handle(r)?, r.u64()?, r.u32()?);
        let stable = match r.u32()? {
            0 => Stable::Unstable,
            1 => Stable::Data,
            2 => Stable::File,
            other => return Err(XdrError::Unknown(other)),
        };
        let data = r.opaque(usize::try_from(limits::NFS_WRITE).unwrap_or(usize::MAX))?;
        if usize::try_from(count) != Ok(data.len()) {
            return Err(XdrError::Unknown(count));
        }
        Ok(Self::Write { file, offset, stable, data })
    }

    pub const fn procedure(&self) -> Procedure {
        match self {
            Self::Null => Procedure::Null,
            Self::GetAttr(_) => Procedure::GetAttr,
            Self::SetAttr { .. } => Procedure::SetAttr,
            Self::Lookup(_) => Procedure::Lookup,
            Self::Access { .. } => Procedure::Access,
            Self::ReadLink(_) => Procedure::ReadLink,
            Self::Read { .. } => Procedure::Read,
            Self::Write { .. } => Procedure::Write,
            Self::Create { .. } => Procedure::Create,
            Self::MkDir { .. } => Procedure::MkDir,
            Self::SymLink { .. } => Procedure::SymLink,
            Self::MkNod { .. } => Procedure::MkNod,
            Self::Remove(_) => Procedure::Remove,
            Self::RmDir(_) => Procedure::RmDir,
            Self::Rename { .. } => Procedure::Rename,
            Self::Link { .. } => Procedure::Link,
            Self::ReadDir { .. } => Procedure::ReadDir,
            Self::ReadDirPlus { .. } => Procedure::ReadDirPlus,
            Self::FsStat(_) => Procedure::FsStat,
            Self::FsInfo(_) => Procedure::FsInfo,
            Self::PathConf(_) => Procedure::PathConf,
            Self::Commit { .. } => Procedure::Commit,
        }
    }

    /// Appends the arguments. For simulated clients and tests.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let w = &mut Writer(out);
        match *self {
            Self::Null => {}
            Self::GetAttr(handle)
            | Self::ReadLink(handle)
            | Self::FsStat(handle)
            | Self::FsInfo(handle)
            | Self::PathConf(handle) => w.opaque(handle),
            Self::SetAttr { object, to, guard } => {
                w.opaque(object);
                to.encode(w);
                w.option(guard, |w, time| time.encode(w));
            }
            Self::Lookup(at) | Self::Remove(at) | Self::RmDir(at) => at.encode(w),
            Self::Access { object, wanted } => {
                w.opaque(object);
                w.u32(wanted);
            }
            Self::Read { file, offset, count } | Self::Commit { file, offset, count } => {
                w.opaque(file);
                w.u64(offset);
                w.u32(count);
            }
            Self::Write { file, offset, stable, data } => {
                w.opaque(file);
                w.u64(offset);
                w.u32(u32::try_from(data.len()).expect("at most NFS_WRITE"));
                w.u32(stable as u32);
                w.opaque(data);
            }
            Self::Create { at, how } => {
                at.encode(w);
                how.encode(w);
            }
            Self::MkDir { at, with } => {
                at.encode(w);
                with.encode(w);
            }
            Self::SymLink { at, with, target } => {
                at.encode(w);
                with.encode(w);
                w.opaque(target);
            }
            Self::MkNod { at, node } => {
                at.encode(w);
                node.encode(w);
            }
            Self::Rename { from, to } => {
                from.encode(w);
                to.encode(w);
            }
            Self::Link { file, to } => {
                w.opaque(file);
                to.encode(w);
            }
            Self::ReadDir { directory, cookie, verifier, count } => {
                w.opaque(directory);
                w.u64(cookie);
                w.fixed(&verifier);
                w.u32(count);
            }
            Self::ReadDirPlus { directory, cookie, verifier, names, count } => {
                w.opaque(directory);
                w.u64(cookie);
                w.fixed(&verifier);
                w.u32(names);
                w.u32(count);
            }
        }
    }
}

fn handle<'a>(r: &mut Reader<'a>) -> Result<RawHandle<'a>, XdrError> {
    r.opaque(limits::NFS_HANDLE)
}

impl<'a> Entry<'a> {
    fn parse(r: &mut Reader<'a>) -> Result<Self, XdrError> {
        Ok(Self { directory: handle(r)?, name: r.opaque(limits::NFS_PATH)? })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.opaque(self.directory);
        w.opaque(self.name);
    }
}

impl Create {
    fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(match r.u32()? {
            0 => Self::Unchecked(SetAttributes::parse(r)?),
            1 => Self::Guarded(SetAttributes::parse(r)?),
            2 => Self::Exclusive(r.fixed()?),
            other => return Err(XdrError::Unknown(other)),
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Unchecked(with) => {
                w.u32(0);
                with.encode(w);
            }
            Self::Guarded(with) => {
                w.u32(1);
                with.encode(w);
            }
            Self::Exclusive(verifier) => {
                w.u32(2);
                w.fixed(verifier);
            }
        }
    }
}

impl Node {
    fn parse(r: &mut Reader<'_>) -> Result<Self, XdrError> {
        Ok(match FileType::parse(r)? {
            FileType::Block => Self::Block(SetAttributes::parse(r)?, (r.u32()?, r.u32()?)),
            FileType::Character => Self::Character(SetAttributes::parse(r)?, (r.u32()?, r.u32()?)),
            FileType::Socket => Self::Socket(SetAttributes::parse(r)?),
            FileType::Fifo => Self::Fifo(SetAttributes::parse(r)?),
            other => Self::Other(other),
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let kind = match self {
            Self::Block(..) => FileType::Block,
            Self::Character(..) => FileType::Character,
            Self::Socket(_) => FileType::Socket,
            Self::Fifo(_) => FileType::Fifo,
            Self::Other(kind) => *kind,
        };
        w.u32(kind as u32);
        match self {
            Self::Block(with, (major, minor)) | Self::Character(with, (major, minor)) => {
                with.encode(w);
                w.u32(*major);
                w.u32(*minor);
            }
            Self::Socket(with) | Self::Fifo(with) => with.encode(w),
            Self::Other(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::types::SetTime;
    use super::*;

    fn times() -> impl Strategy<Value = SetTime> {
        prop_oneof![
            Just(SetTime::Keep),
            Just(SetTime::Now),
            any::<(u32, u32)>().prop_map(|(secs, nanos)| SetTime::To(Time { secs, nanos })),
        ]
    }

    prop_compose! {
        fn attributes()(
            mode: Option<u32>, uid: Option<u32>, gid: Option<u32>, size: Option<u64>, accessed in times(), modified in times(),
        ) -> SetAttributes {
            SetAttributes { mode, uid, gid, size, accessed, modified }
        }
    }

    proptest! {
        /// Every procedure's arguments come out as they went in, to the last byte.
        #[test]
        fn arguments_survive_the_wire(
            number in 0u32..22, with in attributes(), which in 0usize..6, a: u64, b: u32, c: u32, verifier: [u8; 8],
            handle in proptest::collection::vec(any::<u8>(), 0..=64),
            name in proptest::collection::vec(any::<u8>(), 0..300),
            other in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let at = Entry { directory: &handle, name: &name };
            let to = Entry { directory: &handle, name: &other };
            let how = [Create::Unchecked(with), Create::Guarded(with), Create::Exclusive(verifier)][which % 3];
            let node = [
                Node::Block(with, (b, c)), Node::Character(with, (b, c)), Node::Socket(with), Node::Fifo(with),
                Node::Other(FileType::Regular), Node::Other(FileType::SymLink),
            ][which];
            let stable = [Stable::Unstable, Stable::Data, Stable::File][which % 3];
            let guard = (which > 2).then_some(Time { secs: b, nanos: c });
            let handle = &handle[..];
            let args = match Procedure::from_number(number).unwrap() {
                Procedure::Null => Args::Null,
                Procedure::GetAttr => Args::GetAttr(handle),
                Procedure::SetAttr => Args::SetAttr { object: handle, to: with, guard },
                Procedure::Lookup => Args::Lookup(at),
                Procedure::Access => Args::Access { object: handle, wanted: b },
                Procedure::ReadLink => Args::ReadLink(handle),
                Procedure::Read => Args::Read { file: handle, offset: a, count: b },
                Procedure::Write => Args::Write { file: handle, offset: a, stable, data: &other },
                Procedure::Create => Args::Create { at, how },
                Procedure::MkDir => Args::MkDir { at, with },
                Procedure::SymLink => Args::SymLink { at, with, target: &other },
                Procedure::MkNod => Args::MkNod { at, node },
                Procedure::Remove => Args::Remove(at),
                Procedure::RmDir => Args::RmDir(at),
                Procedure::Rename => Args::Rename { from: at, to },
                Procedure::Link => Args::Link { file: handle, to },
                Procedure::ReadDir => Args::ReadDir { directory: handle, cookie: a, verifier, count: b },
                Procedure::ReadDirPlus => Args::ReadDirPlus { directory: handle, cookie: a, verifier, names: b, count: c },
                Procedure::FsStat => Args::FsStat(handle),
                Procedure::FsInfo => Args::FsInfo(handle),
                Procedure::PathConf => Args::PathConf(handle),
                Procedure::Commit => Args::Commit { file: handle, offset: a, count: b },
            };
            let mut wire = Vec::new();
            args.encode(&mut wire);
            let mut r = Reader::new(&wire);
            prop_assert_eq!(Args::parse(args.procedure(), &mut r), Ok(args));
            prop_assert!(r.rest().is_empty());
            // Cut anywhere, it is refused and not misread.
            let cut = usize::try_from(a).unwrap_or(0) % wire.len().max(1);
            if number != 0 {
                prop_assert!(Args::parse(args.procedure(), &mut Reader::new(&wire[..cut])).is_err());
            }
        }

        #[test]
        fn noise_never_panics(number in 0u32..22, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Args::parse(Procedure::from_number(number).unwrap(), &mut Reader::new(&bytes));
        }
    }

    #[test]
    fn a_write_that_lies_about_its_length_is_garbage() {
        let mut wire = Vec::new();
        let honest = Args::Write { file: &[1; 8], offset: 0, stable: Stable::File, data: b"data" };
        honest.encode(&mut wire);
        wire[4 + 8 + 8 + 3] = 5;
        assert_eq!(Args::parse(Procedure::Write, &mut Reader::new(&wire)), Err(XdrError::Unknown(5)));
    }
}

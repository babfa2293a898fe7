//! What a client is told: results of each procedure, in success and in failure (RFC 1813 §3.3).
//!
//! A failure has a shape of its own per procedure: some carry the attributes of the file or folder, those that write carry
//! "weak cache consistency" data. The lists of READDIR and READDIRPLUS are in [`super::directory`].

use super::super::xdr::{Reader, Writer, XdrError};
use super::Procedure;
use super::args::Stable;
use super::types::{Attributes, Handle, Status, Time};
use crate::types::limits;

/// One procedure's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Null,
    GetAttr(Attributes),
    Lookup {
        object: &'a Handle,
        attributes: Attributes,
        directory: Option<Attributes>,
    },
    Access {
        attributes: Attributes,
        granted: u32,
    },
    ReadLink {
        attributes: Attributes,
        target: &'a [u8],
    },
    /// The data follows, by whatever means, with its padding.
    Read {
        attributes: Attributes,
        count: u32,
        end: bool,
    },
    FsStat {
        attributes: Attributes,
        space: Space,
    },
    FsInfo {
        attributes: Attributes,
    },
    PathConf {
        attributes: Attributes,
    },
    SetAttr(Wcc),
    Write {
        wcc: Wcc,
        count: u32,
        stable: Stable,
        verifier: [u8; 8],
    },
    /// CREATE, MKDIR, SYMLINK and MKNOD.
    Made {
        object: &'a Handle,
        attributes: Attributes,
        directory: Wcc,
    },
    /// REMOVE and RMDIR.
    Removed(Wcc),
    Renamed {
        from: Wcc,
        to: Wcc,
    },
    Linked {
        attributes: Attributes,
        directory: Wcc,
    },
    Committed {
        wcc: Wcc,
        verifier: [u8; 8],
    },
    /// `attributes` of the file or folder the procedure is about, where it has a place for them.
    Failed {
        procedure: Procedure,
        status: Status,
        attributes: Option<Attributes>,
    },
}

/// Room on the file system: bytes and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub bytes: u64,
    pub bytes_free: u64,
    pub bytes_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub files_available: u64,
}

/// `wcc_data`: a file right before and right after it was changed. From the first a client sees whether what it had
/// cached was the present state until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wcc {
    pub before: Option<Attributes>,
    pub after: Option<Attributes>,
}

/// `FSF_LINK | FSF_SYMLINK | FSF_HOMOGENEOUS | FSF_CANSETTIME`.
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;

/// Largest file, in bytes: what a signed 64-bit offset reaches.
const LARGEST_FILE: u64 = i64::MAX as u64;

/// Links to one file that ext4 allows.
const LINKS: u32 = 65_000;

impl Reply<'_> {
    /// Appends the results, behind a successful RPC header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let w = &mut Writer(out);
        match self {
            Self::Null => {}
            Self::GetAttr(attributes) => {
                w.u32(0);
                attributes.encode(w);
            }
            Self::Lookup { object, attributes, directory } => {
                w.u32(0);
                w.opaque(object);
                post_op(w, Some(*attributes));
                post_op(w, *directory);
            }
            Self::Access { attributes, granted } => {
                ok(w, *attributes);
                w.u32(*granted);
            }
            Self::ReadLink { attributes, target } => {
                ok(w, *attributes);
                w.opaque(target);
            }
            Self::Read { attributes, count, end } => {
                ok(w, *attributes);
                w.u32(*count);
                w.bool(*end);
                w.u32(*count);
            }
            Self::FsStat { attributes, space } => {
                ok(w, *attributes);
                w.u64(space.bytes);
                w.u64(space.bytes_free);
                w.u64(space.bytes_available);
                w.u64(space.files);
                w.u64(space.files_free);
                w.u64(space.files_available);
                w.u32(0); // The numbers may change at any moment.
            }
            Self::FsInfo { attributes } => {
                ok(w, *attributes);
                // Largest, preferred and unit of READ, then of WRITE, then the preferred READDIR.
                for value in [limits::NFS_READ, limits::NFS_READ, 4096] {
                    w.u32(value);
                }
                for value in [limits::NFS_WRITE, limits::NFS_WRITE, 4096] {
                    w.u32(value);
                }
                w.u32(limits::NFS_DIRECTORY);
                w.u64(LARGEST_FILE);
                Time { secs: 0, nanos: 1 }.encode(w);
                w.u32(PROPERTIES);
            }
            Self::PathConf { attributes } => {
                ok(w, *attributes);
                w.u32(LINKS);
                w.u32(u32::try_from(limits::NFS_NAME).unwrap_or(u32::MAX));
                // Long names are refused, not cut; only root gives files away; case matters and is kept.
                for yes in [true, true, false, true] {
                    w.bool(yes);
                }
            }
            Self::SetAttr(changed) | Self::Removed(changed) => {
                w.u32(0);
                changed.encode(w);
            }
            Self::Write { wcc, count, stable, verifier } => {
                w.u32(0);
                wcc.encode(w);
                w.u32(*count);
                w.u32(*stable as u32);
                w.fixed(verifier);
            }
            Self::Made { object, attributes, directory } => {
                w.u32(0);
                w.bool(true);
                w.opaque(object);
                post_op(w, Some(*attributes));
                directory.encode(w);
            }
            Self::Renamed { from, to } => {
                w.u32(0);
                from.encode(w);
                to.encode(w);
            }
            Self::Linked { attributes, directory } => {
                ok(w, *attributes);
                directory.encode(w);
            }
            Self::Committed { wcc, verifier } => {
                w.u32(0);
                wcc.encode(w);
                w.fixed(verifier);
            }
            Self::Failed { procedure, status, attributes } => failed(w, *procedure, *status, *attributes),
        }
    }
}

fn ok(w: &mut Writer<'_>, attributes: Attributes) {
    w.u32(0);
    post_op(w, Some(attributes));
}

/// `post_op_attr`.
pub(super) fn post_op(w: &mut Writer<'_>, attributes: Option<Attributes>) {
    w.option(attributes, |w, attributes| attributes.encode(w));
}

impl Wcc {
    fn encode(&self, w: &mut Writer<'_>) {
        w.option(self.before, |w, before| {
            w.u64(before.size);
            before.modified.encode(w);
            before.changed.encode(w);
        });
        post_op(w, self.after);
    }
}

/// Of a failure: nothing from before, and what is known after.
fn wcc(w: &mut Writer<'_>, after: Option<Attributes>) {
    Wcc { before: None, after }.encode(w);
}

fn failed(w: &mut Writer<'_>, procedure: Procedure, status: Status, attributes: Option<Attributes>) {
    w.u32(status as u32);
    match procedure {
        Procedure::Null | Procedure::GetAttr => {}
        Procedure::Lookup
        | Procedure::Access
        | Procedure::ReadLink
        | Procedure::Read
        | Procedure::ReadDir
        | Procedure::ReadDirPlus
        | Procedure::FsStat
        | Procedure::FsInfo
        | Procedure::PathConf => post_op(w, attributes),
        Procedure::SetAttr
        | Procedure::Write
        | Procedure::Create
        | Procedure::MkDir
        | Procedure::SymLink
        | Procedure::MkNod
        | Procedure::Remove
        | Procedure::RmDir
        | Procedure::Commit => wcc(w, attributes),
        Procedure::Rename => {
            wcc(w, attributes);
            wcc(w, None);
        }
        Procedure::Link => {
            post_op(w, attributes);
            wcc(w, None);
        }
    }
}

/// The other direction, for simulated clients and tests: results as a client reads them. Each function begins at the
/// status; `Ok(Err(status))` is a refusal of the server's.
pub mod client {
    use super::{Attributes, Handle, Reader, Space, Time, XdrError, limits};

    /// `Err` holds the number of the status.
    pub type Outcome<T> = Result<T, u32>;

    fn with_status<'a, T>(
        r: &mut Reader<'a>,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, XdrError>,
    ) -> Result<Outcome<T>, XdrError> {
        match r.u32()? {
            0 => read(r).map(Ok),
            status => Ok(Err(status)),
        }
    }

    fn handle(r: &mut Reader<'_>) -> Result<Handle, XdrError> {
        let bytes = r.opaque(limits::NFS_HANDLE)?;
        Ok(Handle::from_slice(bytes).expect("the length was checked against the capacity"))
    }

    pub fn getattr(r: &mut Reader<'_>) -> Result<Outcome<Attributes>, XdrError> {
        with_status(r, Attributes::parse)
    }

    pub fn lookup(r: &mut Reader<'_>) -> Result<Outcome<(Handle, Option<Attributes>)>, XdrError> {
        with_status(r, |r| Ok((handle(r)?, r.option(Attributes::parse)?)))
    }

    /// The bits granted.
    pub fn access(r: &mut Reader<'_>) -> Result<Outcome<u32>, XdrError> {
        with_status(r, |r| {
            r.option(Attributes::parse)?;
            r.u32()
        })
    }

    pub fn readlink<'a>(r: &mut Reader<'a>) -> Result<Outcome<&'a [u8]>, XdrError> {
        with_status(r, |r| {
            r.option(Attributes::parse)?;
            r.opaque(limits::NFS_PATH)
        })
    }

    /// The data, and whether it reaches the end of the file.
    pub fn read<'a>(r: &mut Reader<'a>) -> Result<Outcome<(&'a [u8], bool)>, XdrError> {
        with_status(r, |r| {
            r.option(Attributes::parse)?;
            let (_count, end) = (r.u32()?, r.bool()?);
            Ok((r.opaque(usize::try_from(limits::NFS_READ).unwrap_or(usize::MAX))?, end))
        })
    }

    /// What a client learns of a change: size, mtime and ctime before, attributes after.
    pub type Change = (Option<(u64, Time, Time)>, Option<Attributes>);

    fn change(r: &mut Reader<'_>) -> Result<Change, XdrError> {
        let before = r.option(|r| Ok((r.u64()?, Time::parse(r)?, Time::parse(r)?)))?;
        Ok((before, r.option(Attributes::parse)?))
    }

    /// SETATTR, REMOVE and RMDIR.
    pub fn changed(r: &mut Reader<'_>) -> Result<Outcome<Change>, XdrError> {
        with_status(r, change)
    }

    /// CREATE, MKDIR, SYMLINK and MKNOD: the new file, and what became of its folder.
    pub fn made(r: &mut Reader<'_>) -> Result<Outcome<(Handle, Attributes, Change)>, XdrError> {
        with_status(r, |r| {
            let object = r.option(handle)?.ok_or(XdrError::Unknown(0))?;
            let attributes = r.option(Attributes::parse)?.ok_or(XdrError::Unknown(0))?;
            Ok((object, attributes, change(r)?))
        })
    }

    /// Bytes written, how safe they are (`stable_how`), and the server's verifier.
    pub type Written = (Change, u32, u32, [u8; 8]);

    pub fn write(r: &mut Reader<'_>) -> Result<Outcome<Written>, XdrError> {
        with_status(r, |r| Ok((change(r)?, r.u32()?, r.u32()?, r.fixed()?)))
    }

    pub fn commit(r: &mut Reader<'_>) -> Result<Outcome<(Change, [u8; 8])>, XdrError> {
        with_status(r, |r| Ok((change(r)?, r.fixed()?)))
    }

    pub fn rename(r: &mut Reader<'_>) -> Result<Outcome<(Change, Change)>, XdrError> {
        with_status(r, |r| Ok((change(r)?, change(r)?)))
    }

    pub fn link(r: &mut Reader<'_>) -> Result<Outcome<(Option<Attributes>, Change)>, XdrError> {
        with_status(r, |r| Ok((r.option(Attributes::parse)?, change(r)?)))
    }

    pub fn fsstat(r: &mut Reader<'_>) -> Result<Outcome<Space>, XdrError> {
        with_status(r, |r| {
            r.option(Attributes::parse)?;
            let space = Space {
                bytes: r.u64()?,
                bytes_free: r.u64()?,
                bytes_available: r.u64()?,
                files: r.u64()?,
                files_free: r.u64()?,
                files_available: r.u64()?,
            };
            r.u32()?;
            Ok(space)
        })
    }

    /// One entry of READDIR or READDIRPLUS.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Entry<'a> {
        pub id: u64,
        pub name: &'a [u8],
        pub cookie: u64,
        pub attributes: Option<Attributes>,
        pub handle: Option<Handle>,
    }

    /// A part of a folder.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Listing<'a> {
        pub verifier: [u8; 8],
        pub entries: Vec<Entry<'a>>,
        pub end: bool,
    }

    pub fn readdir<'a>(r: &mut Reader<'a>, plus: bool) -> Result<Outcome<Listing<'a>>, XdrError> {
        with_status(r, |r| {
            r.option(Attributes::parse)?;
            let verifier = r.fixed()?;
            let mut entries = Vec::new();
            while r.bool()? {
                let (id, name, cookie) = (r.u64()?, r.opaque(limits::NFS_PATH)?, r.u64()?);
                let attributes = if plus { r.option(Attributes::parse)? } else { None };
                let handle = if plus { r.option(handle)? } else { None };
                entries.push(Entry { id, name, cookie, attributes, handle });
            }
            Ok(Listing { verifier, entries, end: r.bool()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::nfs3::FileType;

    const FILE: Attributes = Attributes {
        kind: FileType::Regular,
        mode: 0o644,
        links: 2,
        uid: 3,
        gid: 4,
        size: 5,
        used: 6,
        device: (7, 8),
        filesystem: 9,
        id: 10,
        accessed: Time { secs: 11, nanos: 12 },
        modified: Time { secs: 13, nanos: 14 },
        changed: Time { secs: 15, nanos: 16 },
    };

    fn encoded(reply: &Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        reply.encode(&mut out);
        out
    }

    /// RFC 1813: the `resfail` arm of each procedure, in words of four bytes. A = attributes, 21 words and their flag.
    #[test]
    fn failures_have_the_shape_of_their_procedure() {
        const A: usize = 22;
        let post_op = 1 + A;
        let wcc = 1 + 1 + A;
        for procedure in Procedure::ALL {
            let words = match procedure {
                Procedure::Null | Procedure::GetAttr => 1,
                Procedure::Lookup
                | Procedure::Access
                | Procedure::ReadLink
                | Procedure::Read
                | Procedure::ReadDir
                | Procedure::ReadDirPlus
                | Procedure::FsStat
                | Procedure::FsInfo
                | Procedure::PathConf => post_op,
                Procedure::Rename => wcc + 2,
                Procedure::Link => post_op + 2,
                _ => wcc,
            };
            let failed = Reply::Failed { procedure, status: Status::ReadOnly, attributes: Some(FILE) };
            let bytes = encoded(&failed);
            assert_eq!(bytes.len(), words * 4, "{procedure:?}");
            assert_eq!(bytes[..4], [0, 0, 0, 30], "{procedure:?}");
        }
    }

    #[test]
    fn results_read_back() {
        let handle = Handle::from_slice(b"a handle").expect("short");
        let bytes = encoded(&Reply::Lookup { object: &handle, attributes: FILE, directory: None });
        assert_eq!(client::lookup(&mut Reader::new(&bytes)), Ok(Ok((handle, Some(FILE)))));
        let bytes = encoded(&Reply::GetAttr(FILE));
        assert_eq!(bytes.len(), 4 + Attributes::WIRE);
        assert_eq!(client::getattr(&mut Reader::new(&bytes)), Ok(Ok(FILE)));
        let mut bytes = encoded(&Reply::Read { attributes: FILE, count: 3, end: true });
        bytes.extend(b"abc\0");
        assert_eq!(client::read(&mut Reader::new(&bytes)), Ok(Ok((&b"abc"[..], true))));
        let bytes = encoded(&Reply::ReadLink { attributes: FILE, target: b"/etc/passwd" });
        assert_eq!(client::readlink(&mut Reader::new(&bytes)), Ok(Ok(&b"/etc/passwd"[..])));
        let bytes = encoded(&Reply::Access { attributes: FILE, granted: 0x21 });
        assert_eq!(client::access(&mut Reader::new(&bytes)), Ok(Ok(0x21)));
    }

    #[test]
    fn what_a_client_learns_of_the_file_system() {
        let bytes = encoded(&Reply::FsInfo { attributes: FILE });
        let mut r = Reader::new(&bytes[4 + 4 + Attributes::WIRE..]);
        let words: Vec<u32> = (0..7).map(|_| r.u32().expect("a word")).collect();
        assert_eq!(words, [131_072, 131_072, 4096, 65_536, 65_536, 4096, 65_536]);
        let bytes = encoded(&Reply::PathConf { attributes: FILE });
        assert_eq!(bytes.len(), 4 + 4 + Attributes::WIRE + 6 * 4);
        let bytes = encoded(&Reply::FsStat { attributes: FILE, space: Space::default() });
        assert_eq!(bytes.len(), 4 + 4 + Attributes::WIRE + 6 * 8 + 4);
    }
}

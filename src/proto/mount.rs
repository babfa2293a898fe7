//! MOUNT version 3 (RFC 1813 appendix I): from a path to the handle of a tree's root.
//!
//! No list of mounts is kept: the protocol calls it advisory, it would be wrong after the first Pi is unplugged, and the
//! boot timeline says better who booted what. So DUMP answers with an empty list.

use super::rpc::AUTH_SYS;
use super::xdr::{Reader, Writer, XdrError};
use crate::types::limits;

pub const PROGRAM: u32 = 100_005;
pub const VERSION: u32 = 3;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Args<'a> {
    Null,
    Mount {
        path: &'a [u8],
    },
    Dump,
    Unmount,
    UnmountAll,
    /// The trees this client may mount.
    Export,
}

impl<'a> Args<'a> {
    /// `None` if there is no such procedure.
    pub fn parse(procedure: u32, mut args: Reader<'a>) -> Result<Option<Self>, XdrError> {
        Ok(Some(match procedure {
            0 => Self::Null,
            1 => Self::Mount { path: args.opaque(limits::MOUNT_PATH)? },
            2 => Self::Dump,
            3 => {
                args.opaque(limits::MOUNT_PATH)?;
                Self::Unmount
            }
            4 => Self::UnmountAll,
            5 => Self::Export,
            _ => return Ok(None),
        }))
    }
}

/// `mountstat3` other than OK: why there is no handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refused {
    NoSuchTree = 2,
    Io = 5,
    /// The tree is there, and not for this client.
    NotYours = 13,
    Fault = 10006,
}

/// Results of MNT.
pub fn mounted(out: &mut Vec<u8>, root: Result<&[u8], Refused>) {
    let mut w = Writer(out);
    match root {
        Ok(handle) => {
            w.u32(0);
            w.opaque(handle);
            w.u32(1);
            w.u32(AUTH_SYS);
        }
        Err(refused) => w.u32(refused as u32),
    }
}

/// Results of EXPORT: paths, each open to the asking client.
pub fn exported(out: &mut Vec<u8>, paths: &[String]) {
    let mut w = Writer(out);
    for path in paths {
        w.bool(true);
        w.opaque(path.as_bytes());
        w.bool(false); // No list of groups: the list holds only what the asking client may mount.
    }
    w.bool(false);
}

/// Results of DUMP.
pub fn dumped(out: &mut Vec<u8>) {
    Writer(out).bool(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_and_bounded() {
        let mut path = Vec::new();
        Writer(&mut path).opaque(b"/image/trixie/1");
        let read = |procedure| Args::parse(procedure, Reader::new(&path));
        assert_eq!(read(1), Ok(Some(Args::Mount { path: b"/image/trixie/1" })));
        assert_eq!(read(3), Ok(Some(Args::Unmount)));
        assert_eq!(read(6), Ok(None));
        let mut long = Vec::new();
        Writer(&mut long).opaque(&[b'a'; 1025]);
        let read = Args::parse(1, Reader::new(&long));
        assert_eq!(read, Err(XdrError::TooLong { length: 1025, most: 1024 }));
    }

    #[test]
    fn answers_as_rfc_1813_draws_them() {
        let mut out = Vec::new();
        mounted(&mut out, Ok(&[1, 2, 3, 4]));
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 1]);
        out.clear();
        mounted(&mut out, Err(Refused::NotYours));
        assert_eq!(out, [0, 0, 0, 13]);
        out.clear();
        exported(&mut out, &["/a".to_owned()]);
        assert_eq!(out, [0, 0, 0, 1, 0, 0, 0, 2, b'/', b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

//! NFSACL version 3, the side protocol of NFSv3 for access control lists: program 100227 on NFS's own port.
//!
//! There is no RFC; the shapes are those of Solaris, read off Linux' `fs/nfs/nfs3xdr.c` and `fs/nfs_common/nfsacl.c`.
//!
//! An image needs no lists. But a Linux client that lays an overlay over the root asks for one before anybody but root
//! may start a program, and takes "no such program" for "not permitted" (`Operation not supported` from every exec). So
//! GETACL answers that there is none, and the mode alone decides. SETACL answers that there are none here: systemd, which
//! takes a list away before it gives a folder of state to a service, goes on after that and after nothing else.

use super::nfs3::Status;
use super::xdr::{Reader, Writer, XdrError};
use crate::types::limits;

pub const PROGRAM: u32 = 100_227;
pub const VERSION: u32 = 3;

/// Which lists and counts a client may ask for (`NFS_ACL`, `NFS_ACLCNT`, `NFS_DFACL`, `NFS_DFACLCNT`).
const KNOWN: u32 = 0xf;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Args<'a> {
    Null,
    GetAcl {
        object: &'a [u8],
        wanted: u32,
    },
    /// The rest of the call is not looked at: nobody's list is changed here.
    SetAcl,
}

impl<'a> Args<'a> {
    /// `None` if there is no such procedure.
    pub fn parse(procedure: u32, mut args: Reader<'a>) -> Result<Option<Self>, XdrError> {
        Ok(Some(match procedure {
            0 => Self::Null,
            1 => Self::GetAcl { object: args.opaque(limits::NFS_HANDLE)?, wanted: args.u32()? },
            2 => Self::SetAcl,
            _ => return Ok(None),
        }))
    }
}

/// Results of GETACL, from the results of GETATTR on the same object: its failure, or its attributes and two empty
/// lists.
pub fn no_lists(out: &mut Vec<u8>, getattr: &[u8], wanted: u32) {
    let mut w = Writer(out);
    let (status, attributes) = getattr.split_at_checked(4).unwrap_or((&[], &[]));
    if status != [0; 4] {
        w.fixed(if status.is_empty() { &[0, 0, 0, 5] } else { status });
        w.bool(false);
        return;
    }
    w.u32(0);
    w.bool(true);
    w.fixed(attributes);
    // What was asked for, and for each of the two kinds a count and a list of no entries.
    w.u32(wanted & KNOWN);
    for _ in 0..4 {
        w.u32(0);
    }
}

/// Results of SETACL: not known here, without attributes.
pub fn refused(out: &mut Vec<u8>) {
    let mut w = Writer(out);
    w.u32(Status::NotSupported as u32);
    w.bool(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_what_was_asked_for_and_empty() {
        let mut getattr = vec![0; 4];
        getattr.extend([7; 84]);
        let mut out = Vec::new();
        no_lists(&mut out, &getattr, 0xffff_fff3);
        let mut r = Reader::new(&out);
        assert_eq!((r.u32(), r.u32()), (Ok(0), Ok(1)), "success, with attributes");
        assert_eq!(r.fixed::<84>(), Ok([7; 84]));
        assert_eq!(r.u32(), Ok(3), "the kinds asked for, as far as there are such");
        assert_eq!([r.u32(), r.u32(), r.u32(), r.u32()], [Ok(0); 4]);
        assert!(r.u32().is_err(), "and no more");
    }

    #[test]
    fn a_stale_handle_stays_stale() {
        let mut out = Vec::new();
        no_lists(&mut out, &70_u32.to_be_bytes(), 3);
        assert_eq!(out, [0, 0, 0, 70, 0, 0, 0, 0]);
    }

    #[test]
    fn to_set_a_list_is_not_supported_rather_than_forbidden() {
        let mut out = Vec::new();
        refused(&mut out);
        assert_eq!(out, [0, 0, 0x27, 0x14, 0, 0, 0, 0], "Linux makes `Operation not supported` of it");
    }

    #[test]
    fn calls_are_read_or_refused() {
        let handle = [0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 3];
        let read = |procedure, bytes| Args::parse(procedure, Reader::new(bytes));
        assert_eq!(read(1, &handle), Ok(Some(Args::GetAcl { object: &[1, 2, 3, 4], wanted: 3 })));
        assert_eq!(read(0, &[]), Ok(Some(Args::Null)));
        assert_eq!(read(9, &[]), Ok(None));
        assert!(read(1, &handle[..8]).is_err());
    }
}

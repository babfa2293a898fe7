//! Portmapper version 2 (RFC 1833 §3): which port a program listens on.
//!
//! Our ports are the registered ones and never change, so the table is a constant. klibc's `nfsmount` asks it even when the
//! ports are given on the command line, first over TCP, then over UDP, and does not go on without an answer.

use super::xdr::{Reader, Writer, XdrError};
use super::{mount, nfs3};

pub const PROGRAM: u32 = 100_000;
pub const VERSION: u32 = 2;
/// The portmapper's own port, TCP and UDP.
pub const PORT: u16 = 111;
/// NFS and MOUNT.
pub const NFS_PORT: u16 = 2049;

const TCP: u32 = 6;
const UDP: u32 = 17;

/// Program, version, protocol, port.
const TABLE: [(u32, u32, u32, u16); 5] = [
    (PROGRAM, VERSION, TCP, PORT),
    (PROGRAM, VERSION, UDP, PORT),
    (nfs3::PROGRAM, nfs3::VERSION, TCP, NFS_PORT),
    (mount::PROGRAM, mount::VERSION, TCP, NFS_PORT),
    (mount::PROGRAM, mount::VERSION, UDP, NFS_PORT),
];

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Args {
    Null,
    /// The port of a program over a protocol (an IP protocol number). The version asked for is not looked at, as
    /// rpcbind does: the program itself then says which version it has.
    GetPort {
        program: u32,
        protocol: u32,
    },
    Dump,
}

impl Args {
    /// `None` if there is no such procedure: registering with us is not possible.
    pub fn parse(procedure: u32, mut args: Reader<'_>) -> Result<Option<Self>, XdrError> {
        Ok(Some(match procedure {
            0 => Self::Null,
            3 => {
                let (program, _version, protocol) = (args.u32()?, args.u32()?, args.u32()?);
                Self::GetPort { program, protocol }
            }
            4 => Self::Dump,
            _ => return Ok(None),
        }))
    }

    /// Appends the results.
    pub fn answer(self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        match self {
            Self::Null => {}
            Self::GetPort { program, protocol } => {
                let row = TABLE.iter().find(|row| row.0 == program && row.2 == protocol);
                w.u32(row.map_or(0, |row| row.3.into()));
            }
            Self::Dump => {
                for (program, version, protocol, port) in TABLE {
                    w.bool(true);
                    for value in [program, version, protocol, port.into()] {
                        w.u32(value);
                    }
                }
                w.bool(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(procedure: u32, args: &[u32]) -> Vec<u8> {
        let args: Vec<u8> = args.iter().flat_map(|arg| arg.to_be_bytes()).collect();
        let mut out = Vec::new();
        let asked = Args::parse(procedure, Reader::new(&args)).expect("arguments").expect("a procedure");
        asked.answer(&mut out);
        out
    }

    #[test]
    fn ports_of_what_we_serve() {
        #[rustfmt::skip]
        let rows = [
            ("NFS over TCP",       [100_003, 3, TCP, 0], 2049_u32),
            ("NFS over UDP",       [100_003, 3, UDP, 0], 0),
            ("MOUNT over TCP",     [100_005, 3, TCP, 0], 2049),
            ("MOUNT over UDP",     [100_005, 3, UDP, 0], 2049),
            ("an older MOUNT",     [100_005, 1, TCP, 0], 2049),
            ("the lock manager",   [100_021, 4, TCP, 0], 0),
            ("the portmapper",     [100_000, 2, UDP, 0], 111),
        ];
        for (shows, args, port) in rows {
            assert_eq!(ask(3, &args), port.to_be_bytes(), "{shows}");
        }
        assert_eq!(ask(4, &[]).len(), 5 * 20 + 4);
        assert_eq!(Args::parse(1, Reader::new(&[])), Ok(None), "nobody registers with us");
        assert_eq!(Args::parse(3, Reader::new(&[0; 8])), Err(XdrError::Short { missing: 4 }));
    }
}

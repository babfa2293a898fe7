//! What in a tree is neither a folder, a link nor bytes on a disk; and which of it may be anywhere.

use nix::sys::stat::{FileStat, SFlag, major, minor};

/// A file that is neither a folder, a link nor bytes on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Fifo,
    Socket,
    /// Major and minor number.
    Char(u32, u32),
    Block(u32, u32),
}

impl Node {
    /// The device, FIFO or socket that `stat` speaks of, if it is one.
    pub fn of(stat: &FileStat) -> Option<Self> {
        let number = |value: u64| u32::try_from(value).unwrap_or(0);
        let (major, minor) = (number(major(stat.st_rdev)), number(minor(stat.st_rdev)));
        Some(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFIFO => Self::Fifo,
            SFlag::S_IFSOCK => Self::Socket,
            SFlag::S_IFCHR => Self::Char(major, minor),
            SFlag::S_IFBLK => Self::Block(major, minor),
            _ => return None,
        })
    }

    /// Whether it may be anywhere: packages put `null` and its like, and terminals, where they lock a service in, and overlays
    /// mark with 0:0 what is deleted.
    pub fn is_harmless(self) -> bool {
        match self {
            Self::Fifo
            | Self::Socket
            | Self::Char(0, 0)
            | Self::Char(1, 3 | 5 | 7..=9)
            | Self::Char(5, 0 | 2) => true,
            Self::Char(..) | Self::Block(..) => false,
        }
    }
}

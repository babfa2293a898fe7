//! NFS version 3 (RFC 1813): the arguments and results of its 22 procedures, and who may do what to a file.
//!
//! | file | holds |
//! |---|---|
//! | `types` | handles, attributes, times, statuses: what several procedures share |
//! | `args` | what a client asks, taken apart without copying |
//! | `reply` | what it is told, success and failure of each procedure in the shape the RFC draws |
//! | `directory` | the bounded list of entries of READDIR and READDIRPLUS |
//! | `access` | permission bits against the uid and groups of a call |
//!
//! What a handle means and where a file is, is for [`crate::service::exports`].

pub mod access;
pub mod args;
pub mod directory;
pub mod reply;
pub mod types;

pub use args::Args;
pub use reply::Reply;
pub use types::{Attributes, FileType, Handle, Status, Time};

pub const PROGRAM: u32 = 100_003;
pub const VERSION: u32 = 3;

/// The procedures, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Procedure {
    Null = 0,
    GetAttr = 1,
    SetAttr = 2,
    Lookup = 3,
    Access = 4,
    ReadLink = 5,
    Read = 6,
    Write = 7,
    Create = 8,
    MkDir = 9,
    SymLink = 10,
    MkNod = 11,
    Remove = 12,
    RmDir = 13,
    Rename = 14,
    Link = 15,
    ReadDir = 16,
    ReadDirPlus = 17,
    FsStat = 18,
    FsInfo = 19,
    PathConf = 20,
    Commit = 21,
}

impl Procedure {
    pub const ALL: [Self; 22] = [
        Self::Null,
        Self::GetAttr,
        Self::SetAttr,
        Self::Lookup,
        Self::Access,
        Self::ReadLink,
        Self::Read,
        Self::Write,
        Self::Create,
        Self::MkDir,
        Self::SymLink,
        Self::MkNod,
        Self::Remove,
        Self::RmDir,
        Self::Rename,
        Self::Link,
        Self::ReadDir,
        Self::ReadDirPlus,
        Self::FsStat,
        Self::FsInfo,
        Self::PathConf,
        Self::Commit,
    ];

    /// Whether it changes files: such a call must not be carried out twice.
    pub const fn changes(self) -> bool {
        matches!(
            self,
            Self::SetAttr
                | Self::Write
                | Self::Create
                | Self::MkDir
                | Self::SymLink
                | Self::MkNod
                | Self::Remove
                | Self::RmDir
                | Self::Rename
                | Self::Link
        )
    }

    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for (number, procedure) in (0..).zip(Procedure::ALL) {
            assert_eq!(procedure as u32, number);
        }
        assert_eq!(Procedure::from_number(22), None);
    }
}

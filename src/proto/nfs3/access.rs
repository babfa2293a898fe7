//! Permission bits against the uid and groups of a call.
//!
//! A Linux client asks ACCESS and believes the answer, so these few lines are what keeps a pupil from `/etc/shadow`. POSIX
//! access control lists are not looked at: no release of Raspberry Pi OS ships a file that needs one to be *less* readable
//! than its bits say. Uid 0 is not squashed: the client's own system must read its own files.

use super::super::rpc::Credential;
use super::types::{Attributes, FileType};

/// Bits of the ACCESS procedure (RFC 1813 §3.3.4).
pub const READ: u32 = 0x01;
pub const LOOKUP: u32 = 0x02;
pub const MODIFY: u32 = 0x04;
pub const EXTEND: u32 = 0x08;
pub const DELETE: u32 = 0x10;
pub const EXECUTE: u32 = 0x20;

/// User and groups that a call acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    pub uid: u32,
    pub gid: u32,
    pub gids: &'a [u32],
}

/// `nobody` and `nogroup` of Debian: who a call without a credential is from.
const NOBODY: u32 = 65_534;

impl<'a> Identity<'a> {
    pub fn of(credential: &'a Credential) -> Self {
        match credential {
            Credential::None => Self { uid: NOBODY, gid: NOBODY, gids: &[] },
            Credential::Sys { uid, gid, gids } => Self { uid: *uid, gid: *gid, gids },
        }
    }

    /// The three permission bits (4 read, 2 write, 1 execute or search) that apply.
    fn bits(&self, file: &Attributes) -> u32 {
        if self.uid == 0 {
            let runs = file.kind == FileType::Directory || file.mode & 0o111 != 0;
            return if runs { 7 } else { 6 };
        }
        let in_group = self.gid == file.gid || self.gids.contains(&file.gid);
        let shift = match (self.uid == file.uid, in_group) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        file.mode >> shift & 7
    }

    /// Whether names in this folder may be looked up.
    pub fn may_search(&self, directory: &Attributes) -> bool {
        self.bits(directory) & 1 != 0
    }

    /// Whether this folder may be listed.
    pub fn may_list(&self, directory: &Attributes) -> bool {
        self.bits(directory) & 4 != 0
    }

    /// Whether data may be read. A client that runs a program reads it, so the execute bit is enough; and an owner who
    /// opened his file before taking the bit away goes on reading (RFC 1813 §4.4).
    pub fn may_read(&self, file: &Attributes) -> bool {
        self.uid == file.uid || self.bits(file) & 5 != 0
    }

    /// Whether data may be written. As with reading, an owner who opened his file before taking the bit away goes on.
    pub fn may_write(&self, file: &Attributes) -> bool {
        self.uid == file.uid || self.bits(file) & 2 != 0
    }

    /// The part of `wanted` that is granted on a tree that may be written.
    pub fn granted_to_write(&self, file: &Attributes, wanted: u32) -> u32 {
        let mut granted = self.granted(file, wanted);
        if self.bits(file) & 2 != 0 {
            granted |= MODIFY | EXTEND;
            granted |= if file.kind == FileType::Directory { DELETE } else { 0 };
        }
        granted & wanted
    }

    /// The part of `wanted` that is granted on a tree nobody may write.
    pub fn granted(&self, file: &Attributes, wanted: u32) -> u32 {
        let bits = self.bits(file);
        let mut granted = 0;
        if bits & 4 != 0 {
            granted |= READ;
        }
        if bits & 1 != 0 {
            granted |= if file.kind == FileType::Directory { LOOKUP } else { EXECUTE };
        }
        granted & wanted
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::Time;
    use super::*;

    fn file(kind: FileType, mode: u32, uid: u32, gid: u32) -> Attributes {
        let now = Time::default();
        Attributes {
            kind,
            mode,
            links: 1,
            uid,
            gid,
            size: 0,
            used: 0,
            device: (0, 0),
            filesystem: 0,
            id: 1,
            accessed: now,
            modified: now,
            changed: now,
        }
    }

    #[test]
    fn who_may_do_what() {
        use FileType::{Directory, Regular};
        let (root, anna) = ((0, 0, &[][..]), (1000, 1000, &[24, 42][..]));
        let (bert, nobody) = ((1001, 1001, &[][..]), (65_534, 65_534, &[][..]));
        #[rustfmt::skip]
        let rows = [
            // shows                               who     file                              ACCESS grants    READ
            ("a pupil and /etc/shadow",            bert,   file(Regular, 0o640, 0, 42),      0,               false),
            ("a stranger and /etc/shadow",         nobody, file(Regular, 0o640, 0, 42),      0,               false),
            ("a member of group shadow",           anna,   file(Regular, 0o640, 0, 42),      READ,            true),
            ("root and /etc/shadow",               root,   file(Regular, 0o640, 0, 42),      READ,            true),
            ("root and a file nobody may run",     root,   file(Regular, 0o000, 9, 9),       READ,            true),
            ("root and a program",                 root,   file(Regular, 0o100, 9, 9),       READ | EXECUTE,  true),
            ("a program that may only be run",     bert,   file(Regular, 0o711, 0, 0),       EXECUTE,         true),
            ("an owner without the bit",           anna,   file(Regular, 0o044, 1000, 0),    0,               true),
            ("the owner's bits, not the others'",  anna,   file(Regular, 0o077, 1000, 0),    0,               true),
            ("the group's bits, not the others'",  anna,   file(Regular, 0o707, 0, 24),      0,               false),
            ("a folder to pass through",           bert,   file(Directory, 0o711, 0, 0),     LOOKUP,          true),
            ("a folder of root's",                 bert,   file(Directory, 0o700, 0, 0),     0,               false),
            ("a folder to list",                   bert,   file(Directory, 0o755, 0, 0),     READ | LOOKUP,   true),
            ("nobody writes a published tree",     root,   file(Directory, 0o777, 0, 0),     READ | LOOKUP,   true),
        ];
        for (shows, (uid, gid, gids), file, access, read) in rows {
            let who = Identity { uid, gid, gids };
            assert_eq!(who.granted(&file, 0x3f), access, "{shows}");
            assert_eq!(who.granted(&file, READ), access & READ, "{shows}");
            assert_eq!(who.may_read(&file), read, "{shows}");
            assert_eq!(who.may_search(&file), access & (LOOKUP | EXECUTE) != 0, "{shows}");
            assert_eq!(who.may_list(&file), access & READ != 0, "{shows}");
        }
    }

    #[test]
    fn who_may_write() {
        use FileType::{Directory, Regular};
        let (anna, bert) = ((1000, 1000, &[24][..]), (1001, 1001, &[][..]));
        #[rustfmt::skip]
        let rows = [
            // shows                          who   file                            ACCESS grants                          WRITE
            ("an owner",                      anna, file(Regular, 0o600, 1000, 0),  READ | MODIFY | EXTEND,                true),
            ("an owner without the bit",      anna, file(Regular, 0o400, 1000, 0),  READ,                                  true),
            ("a member of the group",         anna, file(Regular, 0o020, 0, 24),    MODIFY | EXTEND,                       true),
            ("somebody else",                 bert, file(Regular, 0o664, 1000, 24), READ,                                  false),
            ("an owner's folder",             anna, file(Directory, 0o700, 1000, 0), READ | LOOKUP | MODIFY | EXTEND | DELETE, true),
        ];
        for (shows, (uid, gid, gids), file, access, write) in rows {
            let who = Identity { uid, gid, gids };
            assert_eq!(who.granted_to_write(&file, 0x3f), access, "{shows}");
            assert_eq!(who.may_write(&file), write, "{shows}");
        }
    }
}

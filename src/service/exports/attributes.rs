//! From `stat` to the attributes a client sees.

use nix::sys::stat::{FileStat, major, minor};

use crate::proto::nfs3::{Attributes, FileType, Time};

/// What a client is told of a file. `filesystem` is one number per tree; `id` replaces the inode number where the
/// tree is numbered by an index of ours.
pub fn of(stat: &FileStat, filesystem: u64, id: Option<u64>) -> Attributes {
    let mode: u32 = stat.st_mode;
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    // The widths of these fields differ between architectures.
    #[expect(clippy::useless_conversion, reason = "widths differ")]
    let (links, inode, device) =
        (u32::try_from(stat.st_nlink).unwrap_or(u32::MAX), u64::from(stat.st_ino), u64::from(stat.st_rdev));
    Attributes {
        kind: FileType::from_mode(mode).unwrap_or(FileType::Regular),
        mode: mode & 0o7777,
        links,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: number(stat.st_size),
        used: number(stat.st_blocks).saturating_mul(512),
        device: (half(major(device)), half(minor(device))),
        filesystem,
        id: id.unwrap_or(inode),
        accessed: time(stat.st_atime, stat.st_atime_nsec),
        modified: time(stat.st_mtime, stat.st_mtime_nsec),
        changed: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn half(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Seconds wrap as the wire does: a Linux client takes them as signed, so 1969 arrives as 1969.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nfstime3 has 32 bits")]
fn time(secs: impl Into<i64>, nanos: impl Into<i64>) -> Time {
    Time { secs: secs.into() as u32, nanos: u32::try_from(nanos.into()).unwrap_or(0) }
}

//! Project quotas: a number on files and folders by which the file system counts and bounds what they take (ext4 mounted
//! with `prjquota`, XFS, F2FS).
//!
//! Sources: quotactl(2), quotactl_fd(2), `linux/quota.h`, `linux/dqblk_xfs.h`, `linux/fs.h`. Kernels before 5.14 have no
//! quotactl for an open folder; there it is as if the file system had no such quotas.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

/// `PRJQUOTA`.
const PROJECT: libc::c_ulong = 2;
const GET: libc::c_ulong = 0x80_0007;
const SET: libc::c_ulong = 0x80_0008;
/// `Q_XGETQSTATV`, which every file system with quotas answers.
const STATE: libc::c_ulong = 0x5808;

/// `FS_QUOTA_PDQ_ACCT` and `FS_QUOTA_PDQ_ENFD`: counted, and bounded.
const COUNTED_AND_BOUNDED: u16 = 0x30;

/// `QIF_BLIMITS`: only the bounds of space are set.
const SPACE: u32 = 1;

/// `FS_XFLAG_PROJINHERIT`: what is made in a folder gets its number.
const INHERIT: u32 = 0x200;

/// `struct if_dqblk`.
#[repr(C)]
#[derive(Debug, Default)]
struct Quota {
    /// In KiB.
    space_hard: u64,
    space_soft: u64,
    /// In bytes.
    space: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes: u64,
    space_time: u64,
    inodes_time: u64,
    valid: u32,
}

/// `struct fs_quota_statv`, of which only the beginning is of interest.
#[repr(C)]
struct State {
    version: i8,
    _pad: u8,
    flags: u16,
    rest: [u64; 31],
}

/// `struct fsxattr`.
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

mod calls {
    use super::Attributes;

    nix::ioctl_read!(get_attributes, b'X', 31, Attributes);
    nix::ioctl_write_ptr!(set_attributes, b'X', 32, Attributes);
}

/// What a project takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub bytes: u64,
    pub files: u64,
}

/// Whether the file system of the open `folder` bounds projects.
pub fn are_bounded(folder: impl AsFd) -> bool {
    let mut state = State { version: 1, _pad: 0, flags: 0, rest: [0; 31] };
    let asked = quotactl(folder.as_fd(), STATE, 0, (&raw mut state).cast());
    asked.is_ok() && state.flags & COUNTED_AND_BOUNDED == COUNTED_AND_BOUNDED
}

/// Bounds what `project` takes on the file system of `folder`; `None` for no bound.
pub fn bound(folder: impl AsFd, project: u32, bytes: Option<u64>) -> io::Result<()> {
    // Zero means that there is no bound.
    let space_hard = bytes.map_or(0, |bytes| bytes.div_ceil(1024).max(1));
    let mut quota = Quota { space_hard, valid: SPACE, ..Quota::default() };
    quotactl(folder.as_fd(), SET, project, (&raw mut quota).cast())
}

/// What `project` takes now.
pub fn taken(folder: impl AsFd, project: u32) -> io::Result<Taken> {
    let mut quota = Quota::default();
    quotactl(folder.as_fd(), GET, project, (&raw mut quota).cast())?;
    Ok(Taken { bytes: quota.space, files: quota.inodes })
}

/// The project of an open file or folder; 0 for none.
pub fn of(file: impl AsFd) -> io::Result<u32> {
    Ok(attributes(file.as_fd())?.project)
}

/// Puts an open file or folder into `project`; what is made in a folder from then on is in it too.
pub fn put(file: impl AsFd, project: u32, is_folder: bool) -> io::Result<()> {
    let mut attributes = attributes(file.as_fd())?;
    attributes.project = project;
    if is_folder {
        attributes.flags |= INHERIT;
    }
    #[expect(unsafe_code, reason = "the call takes a pointer")]
    // SAFETY: the file is open and `attributes` is a `struct fsxattr`, which the kernel only reads.
    unsafe { calls::set_attributes(file.as_fd().as_raw_fd(), &raw const attributes) }?;
    Ok(())
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    #[expect(unsafe_code, reason = "the call takes a pointer")]
    // SAFETY: the file is open and `attributes` is a `struct fsxattr`, as large as the kernel writes it.
    unsafe { calls::get_attributes(file.as_raw_fd(), &raw mut attributes) }?;
    Ok(attributes)
}

/// Of Linux 5.14. libc has none for musl on RISC-V, where the number is that of arm64.
#[cfg(target_arch = "riscv64")]
const QUOTACTL_FD: libc::c_long = 443;
#[cfg(not(target_arch = "riscv64"))]
const QUOTACTL_FD: libc::c_long = libc::SYS_quotactl_fd;

fn quotactl(
    folder: BorrowedFd<'_>,
    what: libc::c_ulong,
    project: u32,
    with: *mut libc::c_void,
) -> io::Result<()> {
    let command = (what << 8) | PROJECT;
    #[expect(unsafe_code, reason = "no crate offers this call")]
    // SAFETY: the folder is open, and each caller passes the structure that `what` reads or writes.
    let result = unsafe {
        libc::syscall(QUOTACTL_FD, folder.as_raw_fd(), command, libc::c_ulong::from(project), with)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_them_says_so() {
        // /proc counts nothing, and has no projects.
        let proc = std::fs::File::open("/proc").expect("Linux");
        assert!(!are_bounded(&proc));
        assert!(bound(&proc, 10_000, Some(1 << 20)).is_err());
        assert!(taken(&proc, 10_000).is_err());
        assert!(of(&proc).is_err() && put(&proc, 10_000, true).is_err());
    }

    #[test]
    fn structures_are_as_large_as_the_kernel_has_them() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert!(size_of::<State>() >= 160);
        assert!((68..=72).contains(&size_of::<Quota>()));
    }
}

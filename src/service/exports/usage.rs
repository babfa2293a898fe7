//! How much a home or share takes of its quota: measured once when it is opened, and counted on with each change.
//!
//! The sum is what the files take on the disk, so a sparse file counts what is in it, and each file counts at least a block
//! of 512 bytes, so that nobody fills a disk with empty ones. What changes while the measuring goes on may be
//! counted twice or not at all; the next session measures anew.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::index::open_folder;
use crate::proto::nfs3::reply::Space;
use crate::sys::dirents;
use crate::types::{ByteSize, limits};

/// The least a file counts, in bytes.
const LEAST: u64 = 512;

/// Bytes taken in one tree.
#[derive(Debug, Default)]
pub struct Usage {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    measured: bool,
    bytes: u64,
}

impl Usage {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn bytes(&self) -> u64 {
        self.inner().bytes
    }

    pub fn is_measured(&self) -> bool {
        self.inner().measured
    }

    /// A file took `before` and takes `after` now; 0 for one that is not there.
    pub fn change(&self, before: u64, after: u64) {
        let inner = &mut *self.inner();
        inner.bytes = inner.bytes.saturating_add(after).saturating_sub(before);
    }

    /// Sums up the tree below the open root.
    pub fn measure(&self, root: &OwnedFd) -> io::Result<()> {
        let bytes = sum(root)?;
        let inner = &mut *self.inner();
        // What was counted until now is in the sum.
        (inner.measured, inner.bytes) = (true, bytes);
        Ok(())
    }
}

/// What a file that takes `used` bytes of the disk counts.
pub fn charge(used: u64) -> u64 {
    used.max(LEAST)
}

/// The file system as somebody with a quota sees it: as large as the quota, with the room that is left of it.
pub fn within(space: Space, quota: ByteSize, used: u64) -> Space {
    let free = quota.0.saturating_sub(used);
    Space { bytes: quota.0, bytes_free: free, bytes_available: free.min(space.bytes_available), ..space }
}

fn sum(root: &OwnedFd) -> io::Result<u64> {
    let mut total: u64 = 0;
    let mut several_names = HashSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(path) = folders.pop() {
        // What was removed in the meantime takes nothing.
        let Ok(folder) = open_folder(root, &path) else { continue };
        let mut names = Vec::new();
        dirents::read(&folder, 0, |entry| {
            if entry.name != b".." {
                names.push(entry.name.to_vec());
            }
            true
        })?;
        for name in names {
            let Ok(stat) = fstatat(&folder, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            let is_folder = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            if is_folder && name != b"." {
                use std::os::unix::ffi::OsStrExt;
                folders.push(path.join(std::ffi::OsStr::from_bytes(&name)));
                continue;
            }
            let counted = !is_folder
                && stat.st_nlink > 1
                && several_names.len() < limits::INDEX_FILES
                && !several_names.insert(stat.st_ino);
            if !counted {
                let used = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
                total = total.saturating_add(charge(used));
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_counts_what_it_takes_each_file_once() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("sub")).expect("made");
        let root = OwnedFd::from(std::fs::File::open(dir.path()).expect("opened"));
        let usage = Usage::default();
        assert!(!usage.is_measured());
        usage.measure(&root).expect("measured");
        let empty = usage.bytes();
        std::fs::write(dir.path().join("sub/file"), vec![1; 100_000]).expect("written");
        std::fs::hard_link(dir.path().join("sub/file"), dir.path().join("again")).expect("linked");
        std::fs::write(dir.path().join("nothing"), "").expect("written");
        std::fs::File::create(dir.path().join("hole")).expect("made").set_len(1 << 40).expect("long");
        nix::unistd::sync();
        usage.measure(&root).expect("measured");
        let more = usage.bytes() - empty;
        assert!((100_000 + 2 * LEAST..120_000).contains(&more), "{more}");
        usage.change(0, 5000);
        usage.change(1000, 0);
        assert_eq!(usage.bytes(), empty + more + 4000);
        let left = within(Space { bytes_available: 10, ..Space::default() }, ByteSize(1 << 20), 1 << 30);
        assert_eq!((left.bytes, left.bytes_free, left.bytes_available), (1 << 20, 0, 0), "never below zero");
    }
}

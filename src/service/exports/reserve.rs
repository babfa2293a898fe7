//! What homes and shares leave free of their disk: the store is there too, and a router that cannot write down a lease or a
//! session serves nobody. File systems keep nothing back from the user that shares are served as, or nothing at all.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statvfs::fstatvfs;

use crate::sys::birth;

/// The least that is left free of a disk, in bytes: some days of what the daemon writes down.
const LEAST: u64 = 256 << 20;

/// How much of a disk of this many bytes is left free: a hundredth, and on a small one no more than an eighth.
pub fn reserve(all: u64) -> u64 {
    (all / 100).max(LEAST).min(all / 8)
}

/// The room on the disk of one tree, looked at once a second: a network of 1 Gbit/s brings half of [`LEAST`] in that time.
#[derive(Debug, Default)]
pub struct Disk {
    /// When it was looked at, in seconds; bytes that are free, and all of them.
    seen: Mutex<Option<(i64, u64, u64)>>,
}

impl Disk {
    /// Bytes that may still be written below the open root, so that `reserve` of the disk's bytes stay free.
    pub fn room(&self, root: &OwnedFd, reserve: fn(u64) -> u64) -> io::Result<u64> {
        let now = birth::now_secs();
        let seen = &mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, all) = match *seen {
            Some((at, free, all)) if at == now => (free, all),
            _ => {
                let (free, all) = space(root)?;
                *seen = Some((now, free, all));
                (free, all)
            }
        };
        Ok(free.saturating_sub(reserve(all)))
    }
}

/// Bytes that are free on the disk, and all of them. A home with a quota of the file system's shows that instead of the disk,
/// so the folder around it is asked, unless the root is a disk by itself.
fn space(root: &OwnedFd) -> io::Result<(u64, u64)> {
    let around = openat(root, "..", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let same_disk = fstat(&around)?.st_dev == fstat(root)?.st_dev;
    let stat = fstatvfs(if same_disk { around.as_fd() } else { root.as_fd() })?;
    #[expect(clippy::useless_conversion, reason = "the widths of these fields differ")]
    let bytes = |blocks| u64::from(blocks).saturating_mul(stat.fragment_size().into());
    Ok((bytes(stat.blocks_available()), bytes(stat.blocks())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_a_hundredth_and_a_small_one_less_than_it_has() {
        const GIB: u64 = 1 << 30;
        for (all, kept) in [(1000 * GIB, 10 * GIB), (16 * GIB, GIB / 4), (GIB, GIB / 8), (0, 0)] {
            assert_eq!(reserve(all), kept, "{all}");
        }
    }
}

//! Brings in a disk image: the root from its ext4, the boot files from its FAT.
//!
//! The kernel reads the ext4, through a loop device and a mount that only this work's own thread can see: it has a
//! mount namespace of its own, so whatever ends it, the mount and the device end with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;

use super::copy::{self, CopyError, Taking};
use super::fat::{self, FatError};
use super::inside::Inside;
use super::plant::{Meta, PlantError, Planter};
use crate::proto::mbr::{self, BadTable, Layout, Partition};
use crate::service::jobs::{Cancelled, Task};
use crate::sys::loopdev::{self, LoopError};
use crate::types::limits;

/// Why a disk image was not brought in.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("the image cannot be read")]
    Read(#[source] io::Error),
    #[error("the image cannot be used")]
    Table(#[from] BadTable),
    #[error(
        "its root partition is not ext4; mount it on another machine and import its root folder (`bramble image import FOLDER`)"
    )]
    NotExt4,
    #[error(
        "the kernel of this system cannot read ext4; install the package `kmod-fs-ext4` (`opkg install kmod-fs-ext4` or `apk add kmod-fs-ext4`)"
    )]
    NoExt4Module,
    #[error("`{}` was taken from its Pi without a shutdown, and what it had begun to write is not on it; put it back, start the Pi, shut it down, and try again", .0.display())]
    NotClean(PathBuf),
    #[error("its root partition cannot be mounted; it is damaged, or newer than this system's kernel")]
    Mount(#[source] io::Error),
    #[error("a mount of its own is not allowed here; importing disk images needs root outside of containers")]
    NotAllowed(#[source] io::Error),
    #[error(transparent)]
    Loop(#[from] LoopError),
    #[error("the copy could not be started")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Fat(#[from] FatError),
    #[error(transparent)]
    Plant(#[from] PlantError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Whether `first`, the first bytes of a file, are those of a disk with a partition table.
pub fn is_disk(first: &[u8]) -> bool {
    first.get(510..512) == Some(&[0x55, 0xaa])
}

/// Reads the partition table, and makes sure that the root is ext4.
pub fn layout(disk: &File) -> Result<Layout, DiskError> {
    let mut sector = [0; mbr::SECTOR];
    disk.read_exact_at(&mut sector, 0).map_err(DiskError::Read)?;
    // A block device has no length but this one.
    let len = super::devices::len(disk).map_err(DiskError::Read)?;
    let layout = mbr::layout(&sector, len)?;
    let mut magic = [0; 2];
    // Offset and magic number of the superblock: fs/ext4/ext4.h.
    disk.read_exact_at(&mut magic, layout.root.start + 1024 + 56).map_err(DiskError::Read)?;
    if magic == [0x53, 0xef] { Ok(layout) } else { Err(DiskError::NotExt4) }
}

/// Refuses the root of a disk that a Pi was using when it lost its power: what it had begun to write is only in its journal.
/// `name` is the disk's, for the message.
pub fn check_clean(disk: &File, root: Partition, name: &Path) -> Result<(), DiskError> {
    let mut features = [0; 4];
    // `s_feature_incompat` of the superblock, and its flag RECOVER: fs/ext4/ext4.h.
    disk.read_exact_at(&mut features, root.start + 1024 + 96).map_err(DiskError::Read)?;
    if u32::from_le_bytes(features) & 4 == 0 { Ok(()) } else { Err(DiskError::NotClean(name.to_owned())) }
}

/// Has `look` look at the root of `disk`, mounted at the empty folder `at` for that long, for reading only.
pub fn with_root<T: Send, E: From<DiskError> + Send>(
    disk: &File,
    root: Partition,
    at: &Path,
    look: impl FnOnce(&Path) -> Result<T, E> + Send,
) -> Result<T, E> {
    std::thread::scope(|scope| {
        let thread = || {
            let mounted = Mounted::new(disk, root, at)?;
            look(mounted.at)
        };
        let looking = std::thread::Builder::new().name("mount".to_owned()).spawn_scoped(scope, thread);
        let looking = looking.map_err(DiskError::Thread)?;
        looking.join().unwrap_or_else(|_| Err(DiskError::Thread(io::Error::other("it failed")).into()))
    })
}

/// Copies what is on `disk` with `planter`. `at` is an empty folder for the mount; `check` hears how many bytes the root
/// takes before anything is written, and may refuse.
pub fn copy<E: From<DiskError> + Send>(
    disk: &File,
    layout: Layout,
    at: &Path,
    taking: Taking<'_>,
    planter: &mut Planter,
    task: &Task,
    check: impl FnOnce(u64) -> Result<(), E> + Send,
) -> Result<(), E> {
    with_root(disk, layout.root, at, |at| {
        let used = used(at)? + layout.boot.map_or(0, |boot| boot.len);
        check(used)?;
        let told = task.phase("copying", used);
        told.map_err(DiskError::Cancelled)?;
        copy::copy_taking(at, taking, planter, task).map_err(DiskError::from)?;
        if let Some(boot) = layout.boot {
            let to = boot_folder(at).map_err(DiskError::Read)?;
            planter.folder(&to, Meta { mode: 0o755, ..Meta::default() }).map_err(DiskError::from)?;
            fat::copy(disk, boot, &to, planter, task).map_err(DiskError::from)?;
        }
        Ok(())
    })
}

/// Where the system expects its boot partition: `boot/firmware` since Bookworm, `boot` before.
fn boot_folder(root: &Path) -> io::Result<PathBuf> {
    let tree = Inside::new(root)?;
    let fstab = tree.text("etc/fstab", limits::FSTAB).unwrap_or_default();
    let mut places =
        fstab.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().nth(1));
    let new = places.clone().any(|place| place == "/boot/firmware")
        || (!places.any(|place| place == "/boot") && tree.has("boot/firmware"));
    Ok(PathBuf::from(if new { "boot/firmware" } else { "boot" }))
}

/// A partition, mounted where only this thread sees it.
struct Mounted<'a> {
    at: &'a Path,
}

impl<'a> Mounted<'a> {
    fn new(disk: &File, partition: Partition, at: &'a Path) -> Result<Self, DiskError> {
        let alone = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
            // What is mounted here stays here.
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        });
        alone.map_err(|error| DiskError::NotAllowed(error.into()))?;
        let device = loopdev::attach(disk, partition.start, partition.len)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        // `noload`: a journal that was not played back stays as it is; the image is never written.
        match mount(Some(device.path()), at, Some("ext4"), flags, Some("noload")) {
            Ok(()) => Ok(Self { at }),
            Err(Errno::ENODEV) => Err(DiskError::NoExt4Module),
            Err(error @ (Errno::EPERM | Errno::EACCES)) => Err(DiskError::NotAllowed(error.into())),
            Err(error) => Err(DiskError::Mount(error.into())),
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // If it fails, the end of the thread does the same.
        let _ = umount2(self.at, MntFlags::MNT_DETACH);
    }
}

/// Bytes in use on the file system at `at`.
fn used(at: &Path) -> Result<u64, DiskError> {
    let stat = statvfs(at).map_err(|error| DiskError::Read(error.into()))?;
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
    let (all, free, unit) =
        (u64::from(stat.blocks()), u64::from(stat.blocks_free()), u64::from(stat.fragment_size()));
    Ok(all.saturating_sub(free).saturating_mul(unit))
}

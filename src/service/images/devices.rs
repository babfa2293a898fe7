//! Disks in the router: memory cards and USB disks that an operating system can be taken from.
//!
//! They are found in sysfs, by the names of drivers whose disks people plug in. What holds Bramble's own data or the router's
//! system, and what somebody may be writing to, is listed with the reason and not read.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk;
use crate::proto::catalogue::clean;
use crate::store::place::{self, Mount};
use crate::types::{chain, limits};

/// Where disks are looked for.
#[derive(Clone, Debug)]
pub struct Devices {
    places: Arc<Places>,
}

/// Folders of a system; others in tests.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/sys/block`
    pub blocks: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
    /// `/proc/self/mountinfo`
    pub mounts: PathBuf,
    /// Where Bramble's own data is.
    pub data: PathBuf,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `/dev/sdb`: what an import names.
    pub path: PathBuf,
    /// What the disk calls itself, such as `Generic STORAGE DEVICE`; empty if it does not say.
    pub model: String,
    pub bytes: u64,
    /// How it is connected: `usb`, `mmc`, `nvme`, or empty.
    pub bus: String,
    pub partitions: Vec<DevicePartition>,
    /// Why nothing can be imported from it, if nothing can.
    pub refusal: Option<String>,
}

/// One partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePartition {
    pub path: PathBuf,
    pub bytes: u64,
    /// `ext4`, `fat`, … as its first bytes say; empty if they say nothing.
    pub kind: String,
    pub label: String,
    /// Where it is mounted, if it is.
    pub mounted: Option<PathBuf>,
}

/// Why nothing is imported from a disk.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("there is no disk `{}` with anything in it; `bramble image devices` shows those there are", .0.display())]
    NoSuchDevice(PathBuf),
    #[error("`{}` is a partition; name its disk, `{}`", partition.display(), disk.display())]
    Partition { partition: PathBuf, disk: PathBuf },
    #[error("`{}` holds Bramble's own data (`{}`); it is left alone", disk.display(), data.display())]
    OwnData { disk: PathBuf, data: PathBuf },
    #[error("`{}` holds the system of this router; it is left alone", .0.display())]
    System(PathBuf),
    #[error("`{}` is in use: `{}` is mounted at `{}` and may be written; unmount it first (LuCI: System, Mount Points, or `umount {}`)", disk.display(), partition.display(), at.display(), at.display())]
    Mounted { disk: PathBuf, partition: PathBuf, at: PathBuf },
    #[error("`{}` is in use: it is part of `{holder}`", disk.display())]
    Held { disk: PathBuf, holder: String },
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A disk as sysfs has it.
struct Found {
    name: String,
    folder: PathBuf,
}

impl Devices {
    /// The disks of this machine; `data` is where Bramble's own data is.
    pub fn of_this_machine(data: &Path) -> Self {
        Self::new(Places {
            blocks: "/sys/block".into(),
            dev: "/dev".into(),
            mounts: "/proc/self/mountinfo".into(),
            data: data.to_owned(),
        })
    }

    pub fn new(places: Places) -> Self {
        Self { places: Arc::new(places) }
    }

    /// Every disk with something in it.
    pub fn list(&self) -> Result<Vec<Device>, DeviceError> {
        let mounts = self.mounts()?;
        let disks = self.found()?.into_iter().filter_map(|found| self.device(&found, &mounts));
        Ok(disks.take(limits::DISKS).collect())
    }

    /// Refuses a disk that nothing may be imported from.
    pub fn check(&self, path: &Path) -> Result<(), DeviceError> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let all = self.found()?;
        for found in &all {
            if Self::partitions(found).iter().any(|partition| self.places.dev.join(partition) == path) {
                let disk = self.places.dev.join(&found.name);
                return Err(DeviceError::Partition { partition: path, disk });
            }
        }
        let found = all.iter().find(|found| self.places.dev.join(&found.name) == path);
        let Some(found) = found.filter(|found| bytes(&found.folder) > 0) else {
            return Err(DeviceError::NoSuchDevice(path));
        };
        self.usable(found, &self.mounts()?)
    }

    pub fn open(&self, path: &Path) -> Result<File, DeviceError> {
        File::open(path).map_err(|source| DeviceError::Read { path: path.to_owned(), source })
    }

    fn mounts(&self) -> Result<Vec<Mount>, DeviceError> {
        let path = &self.places.mounts;
        let table = std::fs::read_to_string(path)
            .map_err(|source| DeviceError::Read { path: path.clone(), source })?;
        Ok(place::mounts(&table))
    }

    fn found(&self) -> Result<Vec<Found>, DeviceError> {
        let path = &self.places.blocks;
        let failed = |source| DeviceError::Read { path: path.clone(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().into_string()
                && is_disk(&name)
            {
                found.push(Found { name, folder: entry.path() });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn partitions(disk: &Found) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&disk.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(&disk.name) && disk.folder.join(name).join("partition").exists())
            .collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names.truncate(limits::DISK_PARTITIONS);
        names
    }

    /// `None` for a card reader without a card.
    fn device(&self, found: &Found, mounts: &[Mount]) -> Option<Device> {
        let bytes_all = bytes(&found.folder);
        if bytes_all == 0 {
            return None;
        }
        let path = self.places.dev.join(&found.name);
        let partitions = Self::partitions(found).into_iter().map(|name| {
            let folder = found.folder.join(&name);
            let path = self.places.dev.join(&name);
            let (kind, label) = File::open(&path).map(|file| look(&file)).unwrap_or_default();
            let mounted =
                mounts.iter().find(|mount| is_of(mount, &folder, &path)).map(|mount| mount.at.clone());
            DevicePartition { bytes: bytes(&folder), path, kind, label, mounted }
        });
        let partitions = partitions.collect();
        let refusal = self.usable(found, mounts).map_err(|error| chain(&error)).and_then(|()| {
            let file = self.open(&path).map_err(|error| chain(&error))?;
            let layout = disk::layout(&file).map_err(|error| chain(&error))?;
            disk::check_clean(&file, layout.root, &path).map_err(|error| chain(&error))
        });
        Some(Device {
            model: model(&found.folder),
            bytes: bytes_all,
            bus: bus(found),
            partitions,
            refusal: refusal.err(),
            path,
        })
    }

    /// Whether nobody else has the disk.
    fn usable(&self, found: &Found, mounts: &[Mount]) -> Result<(), DeviceError> {
        let disk = self.places.dev.join(&found.name);
        let mut parts: Vec<(PathBuf, PathBuf)> = vec![(found.folder.clone(), disk.clone())];
        let names = Self::partitions(found);
        parts.extend(names.iter().map(|name| (found.folder.join(name), self.places.dev.join(name))));
        let real = std::fs::canonicalize(&self.places.data).unwrap_or_else(|_| self.places.data.clone());
        let home = mounts
            .iter()
            .filter(|mount| real.starts_with(&mount.at))
            .max_by_key(|mount| mount.at.components().count());
        for (folder, path) in &parts {
            let here = || mounts.iter().filter(|mount| is_of(mount, folder, path));
            if home.is_some_and(|home| is_of(home, folder, path)) {
                return Err(DeviceError::OwnData { disk, data: self.places.data.clone() });
            }
            let system = ["/", "/rom", "/overlay", "/boot"].map(Path::new);
            if here().any(|mount| system.contains(&mount.at.as_path())) {
                return Err(DeviceError::System(disk));
            }
            if let Some(mount) = here().find(|mount| !mount.read_only) {
                return Err(DeviceError::Mounted { disk, partition: path.clone(), at: mount.at.clone() });
            }
            let holder = std::fs::read_dir(folder.join("holders")).into_iter().flatten().find_map(Result::ok);
            if let Some(holder) = holder {
                return Err(DeviceError::Held {
                    disk,
                    holder: holder.file_name().to_string_lossy().into_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Whether what is mounted is the block device `path`, which sysfs shows in `folder`.
fn is_of(mount: &Mount, folder: &Path, path: &Path) -> bool {
    let number = text(&folder.join("dev"));
    // btrfs has numbers of its own for what it mounts, but names the device.
    (!number.is_empty() && mount.id == number) || Path::new(&mount.source) == path
}

/// Whether the kernel calls disks so that people plug in; not loop devices, flash, memory, or what is made of others.
fn is_disk(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let letters = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    ["sd", "vd", "xvd"].iter().any(|kind| name.strip_prefix(kind).is_some_and(letters))
        || name.strip_prefix("mmcblk").is_some_and(digits)
        || name
            .strip_prefix("nvme")
            .and_then(|rest| rest.split_once('n'))
            .is_some_and(|(a, b)| digits(a) && digits(b))
}

/// The first line of a small file of sysfs.
fn text(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    clean(text.lines().next().unwrap_or_default(), limits::NAME_SHOWN)
}

/// sysfs counts in sectors of 512 bytes, whatever the disk's own are.
fn bytes(folder: &Path) -> u64 {
    text(&folder.join("size")).parse::<u64>().unwrap_or(0).saturating_mul(512)
}

fn model(folder: &Path) -> String {
    let of = |name: &str| text(&folder.join("device").join(name));
    // A memory card has a name, a disk a vendor and a model.
    let both = format!("{} {}", of("vendor"), of("model"));
    [both.trim().to_owned(), of("name")].into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

fn bus(found: &Found) -> String {
    if found.name.starts_with("mmcblk") {
        return "mmc".to_owned();
    }
    if found.name.starts_with("nvme") {
        return "nvme".to_owned();
    }
    let real = std::fs::canonicalize(&found.folder).unwrap_or_default();
    let is_usb = real.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
    if is_usb { "usb".to_owned() } else { String::new() }
}

/// What file system a partition has, and what it is called.
fn look(file: &File) -> (String, String) {
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at).map(|()| bytes).unwrap_or_default()
    };
    let label = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        clean(&String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()), limits::NAME_SHOWN)
    };
    let first = read(0, 512);
    let part = |at: usize, len: usize| first.get(at..at + len).unwrap_or_default();
    let kind = |kind: &str, label: String| (kind.to_owned(), label);
    // fs/ext4/ext4.h: magic at 56 and name at 120 of the superblock.
    if read(1024 + 56, 2) == [0x53, 0xef] {
        return kind("ext4", label(&read(1024 + 120, 16)));
    }
    if part(82, 5) == b"FAT32" {
        return kind("fat", label(part(71, 11)));
    }
    if part(54, 3) == b"FAT" {
        return kind("fat", label(part(43, 11)));
    }
    match part(3, 8) {
        b"EXFAT   " => return kind("exfat", String::new()),
        b"NTFS    " => return kind("ntfs", String::new()),
        _ => {}
    }
    if part(0, 4) == b"XFSB" {
        return kind("xfs", label(part(108, 12)));
    }
    if part(0, 4) == b"hsqs" {
        return kind("squashfs", String::new());
    }
    if read(0x1_0040, 8) == b"_BHRfS_M" {
        return kind("btrfs", label(&read(0x1_0000 + 299, 64)));
    }
    kind("", String::new())
}

/// How long an open disk or file is.
pub(super) fn len(file: &File) -> io::Result<u64> {
    (&*file).seek(SeekFrom::End(0))
}

#[cfg(test)]
mod tests;

//! Whether a card may be written to a file or a device: never to a disk that is in use, never over something that was not
//! meant to go.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::write::DISK;
use crate::types::ByteSize;

/// How much of the beginning says whether something is on a device: the table of partitions, and what begins there.
const BEGINNING: usize = 1 << 20;

/// Whatever else is on a router (flash, memory, volumes of several disks) is no card.
const CARDS: [&str; 3] = ["sd", "mmcblk", "loop"];

/// Why nothing can be written there.
#[derive(Debug, thiserror::Error)]
pub enum NoTarget {
    #[error("`{}` is not the whole path of a file or a device; begin with a slash", .0.display())]
    Relative(PathBuf),
    #[error("`{}` cannot be looked at", path.display())]
    Look {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is neither a file nor a disk", .0.display())]
    Odd(PathBuf),
    #[error("`{}` is there already; say that it may be replaced (`--erase`), or take another name", .0.display())]
    There(PathBuf),
    #[error("`{}` lies in Bramble's own folder `{}`; write it elsewhere", path.display(), data.display())]
    Own { path: PathBuf, data: PathBuf },
    #[error("`{}` is a partition; name the whole card, such as `/dev/sdb`", .0.display())]
    Partition(PathBuf),
    #[error("`{}` is no card or stick of this router", .0.display())]
    NoCard(PathBuf),
    #[error("`{}` is in use: {why}; it is not written to", path.display())]
    InUse { path: PathBuf, why: String },
    #[error("`{}` has {size}, and a card needs {}", path.display(), ByteSize(DISK))]
    Small { path: PathBuf, size: ByteSize },
    #[error(
        "there is something on `{}` ({what}, {size}), and all of it would be lost; say that this is meant (`--erase`)",
        path.display()
    )]
    NotEmpty { path: PathBuf, what: String, size: ByteSize },
}

/// A place that may be written to.
#[derive(Clone, Debug)]
pub struct Target {
    path: PathBuf,
    /// Of a device: length in bytes.
    device: Option<u64>,
}

impl Target {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of a device: its length in bytes.
    pub const fn device_bytes(&self) -> Option<u64> {
        self.device
    }

    /// Looks whether `path` may be written to. `erase` says that what is there may go.
    pub fn look(path: PathBuf, data: &Path, erase: bool) -> Result<Self, NoTarget> {
        if !path.is_absolute() {
            return Err(NoTarget::Relative(path));
        }
        let failed = |source| NoTarget::Look { path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match metadata {
            Some(metadata) if metadata.file_type().is_block_device() => {
                Self::card(path, metadata.rdev(), erase)
            }
            Some(metadata) if !metadata.is_file() => Err(NoTarget::Odd(path)),
            Some(_) if !erase => Err(NoTarget::There(path)),
            _ => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                let folder = fs::canonicalize(folder).map_err(failed)?;
                let own = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
                if folder.starts_with(&own) {
                    return Err(NoTarget::Own { path, data: own });
                }
                Ok(Self { path, device: None })
            }
        }
    }

    fn card(path: PathBuf, device: u64, erase: bool) -> Result<Self, NoTarget> {
        let failed = |source| NoTarget::Look { path: path.clone(), source };
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let place = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).map_err(failed)?;
        if place.join("partition").exists() {
            return Err(NoTarget::Partition(path));
        }
        let name = place.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        // The boot areas of an eMMC have names of their own: mmcblk0boot0.
        if !CARDS.iter().any(|kind| name.starts_with(kind)) || name.contains("boot") || name.contains("rpmb")
        {
            return Err(NoTarget::NoCard(path));
        }
        if let Some(why) = used(&place, &name) {
            return Err(NoTarget::InUse { path, why });
        }
        // The kernel knows best: this fails while anything of it is mounted.
        let mut disk = exclusive(&path, false).map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => {
                NoTarget::InUse { path: path.clone(), why: "something holds it open".to_owned() }
            }
            _ => failed(error),
        })?;
        let bytes = disk.seek(SeekFrom::End(0)).map_err(failed)?;
        let size = ByteSize(bytes);
        if bytes < DISK {
            return Err(NoTarget::Small { path, size });
        }
        disk.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut beginning = vec![0; BEGINNING];
        disk.read_exact(&mut beginning).map_err(failed)?;
        let blank = [0, 0xff].into_iter().any(|byte| beginning.iter().all(|b| *b == byte));
        if !blank && !erase {
            let read = |file: &str| {
                fs::read_to_string(place.join("device").join(file)).unwrap_or_default().trim().to_owned()
            };
            let words: Vec<String> =
                ["vendor", "model", "name"].map(read).into_iter().filter(|word| !word.is_empty()).collect();
            let what = if words.is_empty() { name } else { words.join(" ") };
            return Err(NoTarget::NotEmpty { path, what, size });
        }
        Ok(Self { path, device: Some(bytes) })
    }

    /// Opens it for writing; a device so that nothing can mount it meanwhile.
    pub(super) fn open(&self, erase: bool) -> io::Result<File> {
        if self.device.is_some() {
            return exclusive(&self.path, true);
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create_new(!erase)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NOFOLLOW);
        options.open(&self.path)
    }
}

fn exclusive(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(write).custom_flags(libc::O_EXCL | libc::O_CLOEXEC).open(path)
}

/// What uses a disk or one of its partitions, by what the kernel lists: mounts, swap, and devices made of it.
fn used(place: &Path, name: &str) -> Option<String> {
    let parts: Vec<String> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|part| part.starts_with(name))
        .collect();
    let all: Vec<(String, PathBuf)> = std::iter::once((name.to_owned(), place.to_owned()))
        .chain(parts.into_iter().map(|part| (part.clone(), place.join(part))))
        .collect();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let (mounts, swaps) = (read(Path::new("/proc/self/mountinfo")), read(Path::new("/proc/swaps")));
    for (part, folder) in all {
        let number = read(&folder.join("dev"));
        if let Some(at) = mounted(&mounts, number.trim()) {
            return Some(format!("`{part}` is mounted at `{at}`"));
        }
        if swaps.lines().any(|line| line.split_whitespace().next() == Some(&format!("/dev/{part}"))) {
            return Some(format!("`{part}` is swap space"));
        }
        if fs::read_dir(folder.join("holders")).is_ok_and(|mut holders| holders.next().is_some()) {
            return Some(format!("`{part}` is part of a volume"));
        }
    }
    None
}

/// Where the device with this number (`8:1`) is mounted, by the text of `mountinfo`.
fn mounted<'a>(mountinfo: &'a str, number: &str) -> Option<&'a str> {
    mountinfo.lines().find_map(|line| {
        let mut words = line.split(' ').skip(2);
        (words.next()? == number).then(|| words.nth(1)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_the_number_of_the_device() {
        let text = "22 27 0:20 / /sys rw,nosuid - sysfs sysfs rw\n29 1 8:17 / /mnt/sdb1 rw,relatime shared:1 - ext4 /dev/sdb1 rw\n";
        assert_eq!(mounted(text, "8:17"), Some("/mnt/sdb1"));
        assert_eq!(mounted(text, "8:1"), None);
    }

    #[test]
    fn what_is_no_place_for_a_card_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let says = |path: &Path, erase| {
            Target::look(path.to_owned(), &folder.path().join("data"), erase)
                .expect_err("refused")
                .to_string()
        };
        let here = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(here("data/images")).expect("made");
        std::fs::write(here("there.img"), b"x").expect("written");
        assert_eq!(
            says(Path::new("card.img"), false),
            "`card.img` is not the whole path of a file or a device; begin with a slash"
        );
        let there = format!(
            "`{}` is there already; say that it may be replaced (`--erase`), or take another name",
            here("there.img").display()
        );
        assert_eq!(says(&here("there.img"), false), there);
        let own = format!(
            "`{}` lies in Bramble's own folder `{}`; write it elsewhere",
            here("data/images/a.img").display(),
            here("data").canonicalize().expect("there").display()
        );
        assert_eq!(says(&here("data/images/a.img"), true), own);
        assert_eq!(says(Path::new("/dev/null"), true), "`/dev/null` is neither a file nor a disk");
        assert!(says(&here("no/such/folder.img"), false).contains("cannot be looked at"));
        assert!(Target::look(here("there.img"), &here("data"), true).is_ok());
        assert!(Target::look(here("new.img"), &here("data"), false).is_ok());
    }
}

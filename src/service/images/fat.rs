//! Copies the boot partition of a disk image: FAT with clusters of any size, read by `fatfs`.
//!
//! `fatfs` believes what a file system says of itself and stops the thread where that does not add up. So the boot
//! sector is checked first ([`mbr::fat`]), what is copied is bounded by the partition's size, and a damaged folder or
//! chain of clusters ends the import with a message.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::plant::{Meta, PlantError, Planter, entry_path, write_error};
use crate::proto::mbr::{self, BadFat, Partition};
use crate::service::jobs::{Cancelled, Task};
use crate::types::limits;

/// Why a boot partition was not copied.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    #[error("the boot partition cannot be read")]
    Read(#[source] io::Error),
    #[error("the boot partition cannot be used")]
    Bad(#[from] BadFat),
    #[error("the boot partition is damaged; download the image again")]
    Damaged,
    #[error(transparent)]
    Plant(#[from] PlantError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Copies all files of the FAT in `partition` of `disk` into the folder `to` of the tree. Everything belongs to root,
/// as when Linux mounts it.
pub fn copy(
    disk: &File,
    partition: Partition,
    to: &Path,
    planter: &mut Planter,
    task: &Task,
) -> Result<(), FatError> {
    let mut sector = [0; mbr::SECTOR];
    disk.read_exact_at(&mut sector, partition.start).map_err(FatError::Read)?;
    mbr::fat(&sector, partition.len)?;
    let mut copy = Copy { planter, task, left: partition.len, entries: limits::FAT_ENTRIES };
    let slice = Slice { disk, start: partition.start, len: partition.len, at: 0 };
    catch_unwind(AssertUnwindSafe(|| {
        let fat = fatfs::FileSystem::new(slice, fatfs::FsOptions::new()).map_err(FatError::Read)?;
        copy.folder(&fat.root_dir(), to, 0)
    }))
    .unwrap_or(Err(FatError::Damaged))
}

struct Copy<'a> {
    planter: &'a mut Planter,
    task: &'a Task,
    /// Bytes of files that can still come: chains that share clusters must not fill the disk.
    left: u64,
    entries: usize,
}

impl Copy<'_> {
    fn folder(
        &mut self,
        folder: &fatfs::Dir<'_, Slice<'_>>,
        to: &Path,
        depth: usize,
    ) -> Result<(), FatError> {
        if depth > limits::FAT_DEPTH {
            return Err(FatError::Damaged);
        }
        for entry in folder.iter() {
            let entry = entry.map_err(FatError::Read)?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            self.entries = self.entries.checked_sub(1).ok_or(FatError::Damaged)?;
            let path = to.join(only_a_name(&name).ok_or(FatError::Damaged)?);
            let meta = Meta { mode: 0o755, mtime: (modified(entry.modified()), 0), ..Meta::default() };
            if entry.is_dir() {
                self.planter.folder(&path, meta)?;
                self.folder(&entry.to_dir(), &path, depth + 1)?;
            } else {
                self.left = self.left.checked_sub(entry.len()).ok_or(FatError::Damaged)?;
                self.file(&mut entry.to_file(), entry.len(), &path, &meta)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &mut dyn Read, len: u64, path: &Path, meta: &Meta) -> Result<(), FatError> {
        let mut sink = self.planter.file(path)?;
        let mut piece = vec![0; 128 * 1024];
        let mut at = 0;
        loop {
            self.task.go_on()?;
            let got = super::archive::fill(from, &mut piece).map_err(FatError::Read)?;
            sink.put(at, piece.get(..got).unwrap_or_default())
                .map_err(|source| write_error(path, "write its content", source))?;
            self.task.advance(got as u64);
            at += got as u64;
            if got < piece.len() {
                break;
            }
        }
        if at != len {
            return Err(FatError::Damaged);
        }
        self.planter.end_file(path, sink, len, meta)?;
        Ok(())
    }
}

/// FAT allows names that would be paths here.
fn only_a_name(name: &str) -> Option<PathBuf> {
    let path = entry_path(name.as_bytes()).ok()?;
    (path.as_os_str().len() == name.len() && !name.contains('/') && !name.is_empty()).then_some(path)
}

/// Seconds since 1970. FAT keeps local time without saying where; it is taken as UTC.
fn modified(time: fatfs::DateTime) -> i64 {
    let (year, month, day) =
        (i64::from(time.date.year), i64::from(time.date.month), i64::from(time.date.day));
    // Days from civil, counted in years that begin in March (the leap day is then the last).
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    days * 86_400
        + i64::from(time.time.hour) * 3600
        + i64::from(time.time.min) * 60
        + i64::from(time.time.sec)
}

/// One partition of an image, for reading only.
struct Slice<'a> {
    disk: &'a File,
    start: u64,
    len: u64,
    at: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = into.len().min(left);
        let got = self.disk.read_at(into.get_mut(..want).unwrap_or_default(), self.start + self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Seek for Slice<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at =
            at.filter(|at| *at <= self.len).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Write for Slice<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["a/b", "/a", "..", "", "a\0b"] {
            assert_eq!(only_a_name(name), None, "{name:?}");
        }
        assert_eq!(only_a_name("kernel8.img"), Some(PathBuf::from("kernel8.img")));
    }

    #[test]
    fn dates_of_fat() {
        let at = |year, month, day, hour| fatfs::DateTime {
            date: fatfs::Date { year, month, day },
            time: fatfs::Time { hour, min: 0, sec: 0, millis: 0 },
        };
        #[rustfmt::skip]
        let rows = [(at(1980, 1, 1, 0), 315_532_800), (at(2000, 2, 29, 12), 951_825_600), (at(2026, 11, 24, 0), 1_795_478_400)];
        for (time, secs) in rows {
            assert_eq!(modified(time), secs);
        }
    }
}

//! Writes a card: a table with one partition, FAT32 in it, the files, and reads them back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

use super::Card;
use super::device::Target;
use crate::proto::mbr::{Partition, SECTOR, table};
use crate::service::jobs::{Cancelled, Task};

/// Length of the whole, in bytes.
pub const DISK: u64 = 64 << 20;

/// FAT32 with clusters of one sector, as Raspberry Pi makes its own: every ROM reads it.
pub const PARTITION: Partition = Partition { number: 1, kind: 0x0c, start: 1 << 20, len: DISK - (1 << 20) };

const LABEL: [u8; 11] = *b"BRAMBLE    ";

const PIECE: usize = 128 << 10;

/// Why a card was not written.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    #[error("it cannot be opened for writing; is it in use, or write-protected?")]
    Open(#[source] io::Error),
    #[error("it cannot be written; the card may be worn out, or was pulled")]
    Write(#[source] io::Error),
    #[error("it cannot be read back; the card is worn out, take another one")]
    Read(#[source] io::Error),
    #[error("`{0}` was written and read back differently; the card is worn out, take another one")]
    Differs(&'static str),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

pub(super) fn write(card: &Card, target: &Target, erase: bool, task: &Task) -> Result<(), MediumError> {
    let disk = target.open(erase).map_err(MediumError::Open)?;
    let written = fill(card, target, &disk, task);
    if written.is_err() && target.device_bytes().is_none() {
        // Half a card is no card.
        let _ = fs_err::remove_file(target.path());
    }
    written
}

fn fill(card: &Card, target: &Target, disk: &File, task: &Task) -> Result<(), MediumError> {
    task.phase("preparing", PARTITION.start)?;
    if target.device_bytes().is_none() {
        disk.set_len(DISK).map_err(MediumError::Write)?;
    }
    wipe(disk, target.device_bytes()).map_err(MediumError::Write)?;
    disk.write_all_at(&table(&[PARTITION]), 0).map_err(MediumError::Write)?;
    task.advance(PARTITION.start);
    format(disk).map_err(MediumError::Write)?;
    task.phase("writing", card.bytes())?;
    {
        let fat = open(disk).map_err(MediumError::Write)?;
        let root = fat.root_dir();
        for (name, content) in &card.files {
            let mut file = root.create_file(name).map_err(MediumError::Write)?;
            for piece in content.chunks(PIECE) {
                task.go_on()?;
                file.write_all(piece).map_err(MediumError::Write)?;
                task.advance(piece.len() as u64);
            }
            file.flush().map_err(MediumError::Write)?;
        }
        drop(root);
        fat.unmount().map_err(MediumError::Write)?;
    }
    task.phase("waiting for the card", 0)?;
    disk.sync_all().map_err(MediumError::Write)?;
    // What is read back must come from the card and not from memory.
    let _ = nix::fcntl::posix_fadvise(disk, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    task.phase("reading back", card.bytes())?;
    let fat = open(disk).map_err(MediumError::Read)?;
    for (name, content) in &card.files {
        let mut file = fat.root_dir().open_file(name).map_err(MediumError::Read)?;
        let mut piece = vec![0; PIECE];
        for expected in content.chunks(PIECE) {
            task.go_on()?;
            let piece = piece.get_mut(..expected.len()).unwrap_or_default();
            file.read_exact(piece).map_err(MediumError::Read)?;
            if piece != expected {
                return Err(MediumError::Differs(name));
            }
            task.advance(piece.len() as u64);
        }
        if file.read(&mut piece).map_err(MediumError::Read)? != 0 {
            return Err(MediumError::Differs(name));
        }
    }
    Ok(())
}

/// No earlier table may be found: neither in front of the partition nor, of another kind, at the end.
fn wipe(disk: &File, device: Option<u64>) -> io::Result<()> {
    let begin = vec![0; 1 << 20];
    disk.write_all_at(&begin, 0)?;
    let behind = 64 * SECTOR as u64;
    if let Some(at) = device.and_then(|bytes| bytes.checked_sub(behind)).filter(|at| *at >= DISK) {
        disk.write_all_at(begin.get(..64 * SECTOR).unwrap_or_default(), at)?;
    }
    Ok(())
}

fn format(disk: &File) -> io::Result<()> {
    let sectors = u32::try_from(PARTITION.len / SECTOR as u64).expect("64 MiB are few sectors");
    let options = fatfs::FormatVolumeOptions::new()
        .fat_type(fatfs::FatType::Fat32)
        .bytes_per_cluster(512)
        .total_sectors(sectors)
        .volume_label(LABEL);
    fatfs::format_volume(Window { disk, at: 0 }, options)
}

fn open(disk: &File) -> io::Result<fatfs::FileSystem<Window<'_>>> {
    fatfs::FileSystem::new(Window { disk, at: 0 }, fatfs::FsOptions::new())
}

/// The partition, and nothing but it.
struct Window<'a> {
    disk: &'a File,
    at: u64,
}

impl Window<'_> {
    fn room(&self, wanted: usize) -> usize {
        usize::try_from(PARTITION.len.saturating_sub(self.at)).map_or(wanted, |left| left.min(wanted))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = self.room(into.len());
        let got = self.disk.read_at(into.get_mut(..room).unwrap_or_default(), PARTITION.start + self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(bytes.len());
        let put = self.disk.write_at(bytes.get(..room).unwrap_or_default(), PARTITION.start + self.at)?;
        self.at += put as u64;
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => PARTITION.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at
            .filter(|at| *at <= PARTITION.len)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

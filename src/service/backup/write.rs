//! Writes an archive: headers as POSIX pax has them, so that any tar reads it, and sparse files as GNU tar writes them.
//!
//! People go on working while their homes are read: a file that shrinks is filled up with zeros, one that grows is cut,
//! one that vanishes is left out.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Whence, lseek64};
use serde::Serialize;
use tar::{EntryType, Header};
use xattr::FileExt as _;

use super::{
    ACCOUNTS, BackupError, BackupRequest, Backups, END, End, FORMAT, HEAD, Head, SETTINGS, count, file,
};
use crate::service::jobs::Task;
use crate::service::walk::{self, Met};
use crate::types::{ByteSize, Moment, limits};

impl Backups {
    /// Writes the archive that `request` asks for. Answers with what to tell people.
    pub(super) fn write(
        &self,
        output: &mut dyn Write,
        request: &BackupRequest,
        now: Moment,
        task: &Task,
    ) -> Result<String, BackupError> {
        let BackupRequest { to, home, since } = request;
        let homes = self.homes.list()?;
        let homes = homes.iter().filter(|found| home.as_ref().is_none_or(|name| *name == found.name));
        let mut trees: Vec<(PathBuf, PathBuf)> =
            homes.map(|found| (Path::new("homes").join(found.name.as_str()), found.path.clone())).collect();
        if home.is_none() {
            let shares = self.shares.list().into_iter().filter(|share| share.path.is_dir());
            trees.extend(shares.map(|share| (Path::new("shares").join(share.name.as_str()), share.path)));
        }
        task.phase("measuring", 0)?;
        let mut bytes = 0_u64;
        for (_, root) in &trees {
            bytes = bytes.saturating_add(walk::measure(root, task)?.bytes);
        }
        // With `since` most of it is passed over, and how much is not known before.
        task.phase("backing up", if since.is_some() { 0 } else { bytes })?;
        let mut archive = Archive { output, to, task, since: *since, now, end: End::default(), written: 0 };
        let bramble = env!("CARGO_PKG_VERSION").to_owned();
        archive
            .note(HEAD, &Head { format: FORMAT, bramble, made_at: now, since: *since, home: home.clone() })?;
        if home.is_none() {
            if let Ok(settings) = std::fs::read(&self.settings) {
                archive.text(SETTINGS, &settings)?;
            }
            archive.note(ACCOUNTS, &self.store.people_dump()?)?;
        }
        for (name, root) in &trees {
            archive.tree(name, root)?;
        }
        let end = archive.end.clone();
        archive.note(END, &end)?;
        // Two empty blocks end an archive.
        archive.put(&[0; 1024])?;
        let mut says = format!("{}, {}", count(end.files, "file"), ByteSize(archive.written));
        if let Some(since) = since {
            let _ = write!(says, ", changed since {since} UTC");
        }
        if end.left_out > 0 {
            let _ = write!(says, "; {} files or folders could not be read and are not in it", end.left_out);
        }
        Ok(says)
    }
}

struct Archive<'a> {
    output: &'a mut dyn Write,
    to: &'a Path,
    task: &'a Task,
    since: Option<Moment>,
    now: Moment,
    end: End,
    written: u64,
}

/// Where data lies in a file: offset and length.
type Pieces = Vec<(u64, u64)>;

impl Archive<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.task.go_on()?;
        self.written += bytes.len() as u64;
        self.output.write_all(bytes).map_err(file(self.to, "written"))
    }

    /// Fills the last block of `len` bytes.
    fn pad(&mut self, len: u64) -> Result<(), BackupError> {
        let rest = len.next_multiple_of(512) - len;
        self.put([0; 512].get(..usize::try_from(rest).unwrap_or(0)).unwrap_or_default())
    }

    /// A small file of ours.
    fn note(&mut self, name: &'static str, value: &impl Serialize) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(value).map_err(|error| BackupError::Entry(name, error))?;
        self.text(name, &text)
    }

    fn text(&mut self, name: &str, text: &[u8]) -> Result<(), BackupError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(text.len() as u64);
        header.set_mtime(u64::try_from(self.now.secs()).unwrap_or(0));
        header.set_path(name).map_err(file(self.to, "written"))?;
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(text)?;
        self.pad(text.len() as u64)
    }

    fn tree(&mut self, name: &Path, root: &Path) -> Result<(), BackupError> {
        let task = self.task;
        let mut seen: HashMap<u64, PathBuf> = HashMap::new();
        let left_out = walk::walk(root, task, &mut |met: Met<'_>| self.entry(name, &met, &mut seen))?;
        self.end.left_out += left_out;
        Ok(())
    }

    fn entry(
        &mut self,
        tree: &Path,
        met: &Met<'_>,
        seen: &mut HashMap<u64, PathBuf>,
    ) -> Result<(), BackupError> {
        let path = if met.path.as_os_str().is_empty() { tree.to_owned() } else { tree.join(met.path) };
        let kind = met.kind();
        if kind == SFlag::S_IFDIR {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let xattrs = openat(met.folder, met.name, flags, Mode::empty())
                .map(|folder| attributes(&File::from(folder)))
                .unwrap_or_default();
            return self.head(&path, EntryType::Directory, &met.stat, 0, None, xattrs);
        }
        if !self.is_new(&met.stat) {
            return Ok(());
        }
        if met.stat.st_nlink > 1 {
            #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
            if let Some(first) = seen.get(&u64::from(met.stat.st_ino)) {
                self.end.files += 1;
                let first = first.clone();
                return self.head(&path, EntryType::Link, &met.stat, 0, Some(&first), Vec::new());
            }
        }
        let written = match kind {
            SFlag::S_IFREG => self.file(&path, met)?,
            SFlag::S_IFLNK => match readlinkat(met.folder, met.name) {
                Ok(target) => {
                    let target = PathBuf::from(target);
                    self.head(&path, EntryType::Symlink, &met.stat, 0, Some(&target), Vec::new())?;
                    true
                }
                Err(_) => false,
            },
            SFlag::S_IFIFO => {
                self.head(&path, EntryType::Fifo, &met.stat, 0, None, Vec::new())?;
                true
            }
            // Sockets are made anew by whoever needs them, and nobody has devices in a home.
            _ => return Ok(()),
        };
        if !written {
            self.end.left_out += 1;
            return Ok(());
        }
        self.end.files += 1;
        if met.stat.st_nlink > 1 && kind != SFlag::S_IFLNK {
            #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
            seen.insert(u64::from(met.stat.st_ino), path);
        }
        Ok(())
    }

    fn is_new(&self, stat: &FileStat) -> bool {
        #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
        let changed = i64::from(stat.st_mtime.max(stat.st_ctime));
        self.since.is_none_or(|since| changed >= since.secs())
    }

    /// Whether the file could be read.
    fn file(&mut self, path: &Path, met: &Met<'_>) -> Result<bool, BackupError> {
        // Not blocking: a FIFO may have taken the place of the file.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(opened) = openat(met.folder, met.name, flags, Mode::empty()) else { return Ok(false) };
        let opened = File::from(opened);
        let Ok(stat) = fstat(&opened) else { return Ok(false) };
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
            return Ok(false);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let Some(pieces) = pieces(&opened, size) else { return Ok(false) };
        let whole = pieces == [(0, size)] || size == 0;
        let stored: u64 = pieces.iter().map(|(_, len)| len).sum();
        let map = if whole { String::new() } else { map(&pieces, size) };
        let mut records = attributes(&opened);
        if !whole {
            for (key, value) in [("major", "1"), ("minor", "0"), ("realsize", &size.to_string())] {
                records.push((format!("GNU.sparse.{key}").into_bytes(), value.as_bytes().to_vec()));
            }
            records.push((b"GNU.sparse.name".to_vec(), path.as_os_str().as_bytes().to_vec()));
        }
        self.head(path, EntryType::Regular, &stat, stored + map.len() as u64, None, records)?;
        self.put(map.as_bytes())?;
        for (offset, len) in pieces {
            self.piece(&opened, offset, len)?;
        }
        self.pad(stored + map.len() as u64)?;
        Ok(true)
    }

    fn piece(&mut self, mut opened: &File, offset: u64, len: u64) -> Result<(), BackupError> {
        let mut buffer = vec![0; 128 * 1024];
        let mut done = 0;
        let mut ended = opened.seek(SeekFrom::Start(offset)).is_err();
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            // What was cut off, or cannot be read, is zeros: the header has promised the length.
            let got = if ended { 0 } else { opened.read(part).unwrap_or(0) };
            ended = got == 0;
            let got = if ended {
                part.fill(0);
                want
            } else {
                got
            };
            self.put(buffer.get(..got).unwrap_or_default())?;
            self.task.advance(got as u64);
            done += got as u64;
        }
        Ok(())
    }

    /// A header, with an extended one before it for what does not fit.
    fn head(
        &mut self,
        path: &Path,
        kind: EntryType,
        stat: &FileStat,
        size: u64,
        link: Option<&Path>,
        mut records: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), BackupError> {
        let mut record = |key: &str, value: &[u8]| records.push((key.as_bytes().to_vec(), value.to_vec()));
        let name = path.as_os_str().as_bytes();
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_size(size);
        if name.len() > 99 {
            record("path", name);
        }
        let short =
            |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes.get(..99).unwrap_or(bytes)));
        if header.set_path(short(name)).is_err() {
            header.set_path("long").map_err(file(self.to, "written"))?;
            record("path", name);
        }
        if let Some(link) = link {
            let target = link.as_os_str().as_bytes();
            if target.len() > 99 {
                record("linkpath", target);
            }
            header
                .set_link_name_literal(target.get(..99).unwrap_or(target))
                .map_err(file(self.to, "written"))?;
        }
        for (key, id) in [("uid", stat.st_uid), ("gid", stat.st_gid)] {
            // Seven octal digits.
            if id > 0o7_777_777 {
                record(key, id.to_string().as_bytes());
            }
        }
        header.set_uid(u64::from(stat.st_uid.min(0o7_777_777)));
        header.set_gid(u64::from(stat.st_gid.min(0o7_777_777)));
        if size > 0o77_777_777_777 {
            record("size", size.to_string().as_bytes());
            header.set_size(0);
        }
        #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
        let (secs, nanos) = (i64::from(stat.st_mtime), i64::from(stat.st_mtime_nsec));
        if secs < 0 || nanos != 0 {
            record("mtime", pax_time(secs, nanos).as_bytes());
        }
        header.set_mtime(u64::try_from(secs).unwrap_or(0).min(0o77_777_777_777));
        header.set_cksum();
        if !records.is_empty() {
            let text: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            let mut extension = Header::new_ustar();
            extension.set_entry_type(EntryType::XHeader);
            extension.set_path("PaxHeader").map_err(file(self.to, "written"))?;
            extension.set_mode(0o600);
            extension.set_uid(0);
            extension.set_gid(0);
            extension.set_mtime(0);
            extension.set_size(text.len() as u64);
            extension.set_cksum();
            self.put(extension.as_bytes())?;
            self.put(&text)?;
            self.pad(text.len() as u64)?;
        }
        self.put(header.as_bytes())
    }
}

/// `length key=value\n`, where the length counts itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    let mut record = format!("{len} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// Seconds with a fraction. Nanoseconds count forwards, also before 1970.
fn pax_time(secs: i64, nanos: i64) -> String {
    if secs < 0 && nanos > 0 {
        format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - nanos)
    } else {
        format!("{secs}.{nanos:09}")
    }
}

/// Attributes of the user's own; those of the system are not a person's to bring back.
fn attributes(file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(names) = file.list_xattr() else { return Vec::new() };
    names
        .filter(|name| name.as_bytes().starts_with(b"user."))
        .filter_map(|name| {
            let value = file.get_xattr(&name).ok()??;
            Some(([b"SCHILY.xattr.", name.as_bytes()].concat(), value))
        })
        .collect()
}

/// Where data lies in the file; `None` where it is in more pieces than an archive takes.
fn pieces(file: &File, size: u64) -> Option<Pieces> {
    let seek = |offset: u64, whence| -> Result<u64, Errno> {
        let found = lseek64(file.as_fd(), i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?, whence)?;
        u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    };
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match seek(at, Whence::SeekData) {
            Ok(data) => data,
            Err(Errno::ENXIO) => break,
            // A file system that does not tell has no holes.
            Err(_) => return Some(vec![(0, size)]),
        };
        let end = seek(data, Whence::SeekHole).unwrap_or(size).min(size);
        if end <= data {
            break;
        }
        pieces.push((data, end - data));
        if pieces.len() >= limits::TAR_SPARSE {
            return None;
        }
        at = end;
    }
    Some(pieces)
}

/// GNU's sparse format 1.0: how many pieces, then offset and length of each, filled up to a block. Ends with an empty
/// piece at the end of the file, as GNU tar writes it.
fn map(pieces: &Pieces, size: u64) -> String {
    let mut text = format!("{}\n", pieces.len() + 1);
    for (offset, len) in pieces.iter().chain(&[(size, 0)]) {
        let _ = write!(text, "{offset}\n{len}\n");
    }
    let full = text.len().next_multiple_of(512);
    text.extend(std::iter::repeat_n('\0', full - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for len in 1..300 {
            let record = pax_record(b"path", &vec![b'x'; len]);
            let said: usize = record
                .split(|b| *b == b' ')
                .next()
                .and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
                .expect("a length");
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(pax_time(5, 7), "5.000000007");
        assert_eq!(pax_time(-2, 500_000_000), "-1.500000000");
        assert_eq!(pax_time(-2, 0), "-2.000000000");
    }
}

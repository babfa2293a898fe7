//! Writes an archive; its headers are [`pax`]'s.
//!
//! People go on working while their homes are read: a file that shrinks is filled up with zeros, one that grows is cut,
//! one that vanishes is left out.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use serde::Serialize;
use tar::{EntryType, Header};
use xattr::FileExt as _;

use super::{
    ACCOUNTS, BackupError, BackupRequest, Backups, END, End, FORMAT, HEAD, Head as Beginning, SETTINGS,
    count, file,
};
use crate::service::jobs::Task;
use crate::service::pax::{self, About, Head, Records};
use crate::service::walk::{self, Met, WalkError};
use crate::types::{ByteSize, Moment};

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
            let shares = self.shares.list()?.into_iter().filter(|share| share.path.is_dir());
            trees.extend(shares.map(|share| (Path::new("shares").join(share.name.as_str()), share.path)));
        }
        task.phase("measuring", 0)?;
        let mut bytes = 0_u64;
        for (_, root) in &trees {
            let measured = walk::measure(root, task);
            bytes = bytes.saturating_add(unless_gone(root, measured)?.map_or(0, |size| size.bytes));
        }
        // With `since` most of it is passed over, and how much is not known before.
        task.phase("backing up", if since.is_some() { 0 } else { bytes })?;
        let mut archive = Archive { output, to, task, since: *since, now, end: End::default(), written: 0 };
        let bramble = env!("CARGO_PKG_VERSION").to_owned();
        archive.note(
            HEAD,
            &Beginning { format: FORMAT, bramble, made_at: now, since: *since, home: home.clone() },
        )?;
        if home.is_none() {
            if let Ok(settings) = std::fs::read(&self.settings) {
                archive.text(SETTINGS, &settings)?;
            }
            archive.note(ACCOUNTS, &self.store.people_dump()?)?;
        }
        let mut gone = Vec::new();
        for (name, root) in &trees {
            if !archive.tree(name, root)? {
                if home.is_some() {
                    let source = std::io::ErrorKind::NotFound.into();
                    return Err(WalkError::Read { path: root.clone(), source }.into());
                }
                gone.push(name.display().to_string());
            }
        }
        let end = archive.end.clone();
        archive.note(END, &end)?;
        archive.put(&pax::END)?;
        let mut says = format!("{}, {}", count(end.files, "file"), ByteSize(archive.written));
        if let Some(since) = since {
            let _ = write!(says, ", changed since {since} UTC");
        }
        if end.left_out > 0 {
            let _ = write!(says, "; {} files or folders could not be read and are not in it", end.left_out);
        }
        if !gone.is_empty() {
            let more = gone.len().saturating_sub(GONE_SHOWN);
            gone.truncate(GONE_SHOWN);
            let _ = write!(
                says,
                "; not in it, because they were renamed or removed since it was begun: {}{}; back them up again",
                gone.join(", "),
                if more > 0 { format!(" and {more} more") } else { String::new() }
            );
        }
        Ok(says)
    }
}

/// How many trees are named that could not be backed up.
const GONE_SHOWN: usize = 10;

/// What was found in a tree; `None` if that is not at `root` any more, but its folder is: its person or share was renamed or removed.
fn unless_gone<T>(root: &Path, found: Result<T, WalkError>) -> Result<Option<T>, WalkError> {
    match found {
        Err(WalkError::Read { path, source })
            if path == root
                && source.kind() == std::io::ErrorKind::NotFound
                && root.parent().is_some_and(Path::is_dir) =>
        {
            Ok(None)
        }
        found => found.map(Some),
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

impl Archive<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.task.go_on()?;
        self.written += bytes.len() as u64;
        self.output.write_all(bytes).map_err(file(self.to, "written"))
    }

    /// Fills the last block of `len` bytes.
    fn pad(&mut self, len: u64) -> Result<(), BackupError> {
        self.put(pax::padding(len))
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

    /// Writes a tree; whether it was still there.
    fn tree(&mut self, name: &Path, root: &Path) -> Result<bool, BackupError> {
        let task = self.task;
        let mut seen: HashMap<u64, PathBuf> = HashMap::new();
        match walk::walk(root, task, &mut |met: Met<'_>| self.entry(name, &met, &mut seen)) {
            Err(BackupError::Walk(error)) => Ok(unless_gone::<()>(root, Err(error))?.is_some()),
            walked => {
                self.end.left_out += walked?;
                Ok(true)
            }
        }
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
        let Some(pieces) = pax::pieces(&opened, size) else { return Ok(false) };
        let stored = pax::stored(&pieces);
        let (mut records, map) = pax::sparse(path, &pieces, size);
        records.extend(attributes(&opened));
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

    fn head(
        &mut self,
        path: &Path,
        kind: EntryType,
        stat: &FileStat,
        size: u64,
        link: Option<&Path>,
        records: Records,
    ) -> Result<(), BackupError> {
        let head = Head { path, kind, about: About::from(stat), size, link, device: None, records };
        let head = head.encode().map_err(file(self.to, "written"))?;
        self.put(&head)
    }
}

/// Attributes of the user's own; those of the system are not a person's to bring back.
fn attributes(file: &File) -> Records {
    let Ok(names) = file.list_xattr() else { return Vec::new() };
    names
        .filter(|name| name.as_bytes().starts_with(b"user."))
        .filter_map(|name| {
            let value = file.get_xattr(&name).ok()??;
            Some((pax::attribute_key(&name), value))
        })
        .collect()
}

//! Copies a tree from a mounted file system or a folder: hard links, holes, devices, attributes and all.
//!
//! Stays on the file system it begins on: what is mounted inside a debootstrap folder (`proc`, `dev`) is not part of
//! the operating system. Never follows a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Whence, lseek64};
use xattr::FileExt as _;

use super::clean::{self, Fate};
use super::links::{Folder, Links};
use super::plant::{Meta, Node, PlantError, Planter, write_error};
use crate::service::jobs::{Cancelled, Task};
use crate::sys::extents;
use crate::types::limits;

/// Why a tree was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is more than {} folders deep; the file system is damaged", path.display(), limits::TREE_DEPTH)]
    TooDeep { path: PathBuf },
    #[error(transparent)]
    Plant(#[from] PlantError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What is done besides copying.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taking<'a> {
    /// What makes a machine the one that it is stays behind ([`clean`]).
    pub clean: bool,
    /// The file that holds the disk that is copied, whose file system begins at this offset: it gives room back as its files
    /// are copied, and is of no use afterwards.
    pub spend: Option<(&'a File, u64)>,
}

/// Copies everything below `from` with `planter`; tells `task` the bytes read.
pub fn copy(from: &Path, planter: &mut Planter, task: &Task) -> Result<(), CopyError> {
    copy_taking(from, Taking::default(), planter, task)
}

/// As [`copy`], with what `taking` asks for.
pub fn copy_taking(
    from: &Path,
    taking: Taking<'_>,
    planter: &mut Planter,
    task: &Task,
) -> Result<(), CopyError> {
    let mut walk = Walk { buffer: vec![0; 256 * 1024], ..Walk::new(task) };
    walk.all(from, &mut |met| planter_step(planter, met, taking))
}

/// Shorter files give no room back: a hole costs more than it brings.
const WORTH_A_HOLE: u64 = 32 << 10;

impl Taking<'_> {
    /// `file`, of `size` bytes, is not read again.
    fn spent(self, file: &File, size: u64) {
        let Some((disk, start)) = self.spend.filter(|_| size >= WORTH_A_HOLE) else { return };
        // Where it fails, the room comes back when the whole disk goes.
        for piece in extents::extents(file).unwrap_or_default() {
            let _ = extents::punch(disk, start.saturating_add(piece.start), piece.len);
        }
    }
}

/// Bytes the tree below `from` takes on its disk.
pub fn measure(from: &Path, task: &Task) -> Result<u64, CopyError> {
    let mut bytes = 0_u64;
    Walk::new(task).all(from, &mut |met| {
        if !matches!(met.what, What::HardLink(_)) {
            bytes += on_disk(&met.stat);
        }
        Ok(true)
    })?;
    Ok(bytes)
}

/// The walk over one tree.
pub(super) struct Walk<'a> {
    device: u64,
    /// What was met of files with several names; `None` if nobody asks.
    links: Option<Links>,
    task: &'a Task,
    buffer: Vec<u8>,
}

/// One thing met on the walk.
pub(super) struct Met<'a> {
    pub path: &'a Path,
    /// The folder it is in.
    pub folder: &'a File,
    pub stat: FileStat,
    pub what: What<'a>,
    task: &'a Task,
    buffer: &'a mut [u8],
}

pub(super) enum What<'a> {
    Folder(&'a File),
    /// Opened only when its content is wanted.
    File,
    /// The name it was first met by.
    HardLink(PathBuf),
    Symlink(OsString),
    Node(Node),
}

impl<'a> Walk<'a> {
    pub fn new(task: &'a Task) -> Self {
        Walk { device: 0, links: Some(Links::default()), task, buffer: Vec::new() }
    }

    /// A walk that takes each name for a file of its own, and remembers none.
    pub fn of_names(task: &'a Task) -> Self {
        Walk { links: None, ..Walk::new(task) }
    }

    /// Has `each` look at the root and everything below it, folders before what is in them. It answers whether to go into
    /// a folder.
    pub fn all(
        &mut self,
        from: &Path,
        each: &mut dyn FnMut(Met<'_>) -> Result<bool, CopyError>,
    ) -> Result<(), CopyError> {
        let root = self.begin(from)?;
        let stat = fstat(&root).map_err(read(Path::new("")))?;
        let (task, buffer) = (self.task, &mut self.buffer[..]);
        let (path, what) = (Path::new(""), What::Folder(&root));
        each(Met { path, folder: &root, stat, what, task, buffer })?;
        self.folder(&root, path, None, 0, each)
    }

    fn begin(&mut self, from: &Path) -> Result<File, CopyError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(AT_FDCWD, from, flags, Mode::empty()).map_err(read(from))?;
        self.device = fstat(&root).map_err(read(from))?.st_dev;
        Ok(root.into())
    }

    fn folder(
        &mut self,
        folder: &File,
        path: &Path,
        here: Folder,
        depth: usize,
        each: &mut dyn FnMut(Met<'_>) -> Result<bool, CopyError>,
    ) -> Result<(), CopyError> {
        if depth > limits::TREE_DEPTH {
            return Err(CopyError::TooDeep { path: path.to_owned() });
        }
        for name in names(folder, path)?.split(|byte| *byte == 0).map(OsStr::from_bytes) {
            if ["", ".", ".."].iter().any(|no| name == *no) || (depth == 0 && name == "lost+found") {
                continue;
            }
            self.task.go_on()?;
            let path = path.join(name);
            let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(read(&path))?;
            let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
            if kind == SFlag::S_IFDIR {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let child = openat(folder, name, flags, Mode::empty()).map_err(read(&path))?;
                let child = File::from(child);
                let (task, buffer) = (self.task, &mut self.buffer[..]);
                let inside =
                    each(Met { path: &path, folder, stat, what: What::Folder(&child), task, buffer })?;
                if inside && stat.st_dev == self.device {
                    let inside = self.links.as_mut().and_then(|links| links.folder(here, name));
                    self.folder(&child, &path, inside, depth + 1, each)?;
                }
                continue;
            }
            let what = if kind == SFlag::S_IFLNK {
                What::Symlink(readlinkat(folder, name).map_err(read(&path))?)
            } else {
                let links = self.links.as_mut().filter(|_| stat.st_nlink > 1);
                let first = links.and_then(|links| links.met(stat.st_ino, here, name));
                let itself = || Node::of(&stat).map_or(What::File, What::Node);
                first.map_or_else(itself, What::HardLink)
            };
            each(Met { path: &path, folder, stat, what, task: self.task, buffer: &mut self.buffer })?;
        }
        Ok(())
    }
}

/// Names of what is in `folder`, each closed by a zero: a folder may have a million.
fn names(folder: &File, path: &Path) -> Result<Vec<u8>, CopyError> {
    let again = folder.try_clone().map_err(|source| CopyError::Read { path: path.to_owned(), source })?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(again.into()).map_err(read(path))?.iter() {
        names.extend_from_slice(entry.map_err(read(path))?.file_name().to_bytes_with_nul());
    }
    Ok(names)
}

fn planter_step(planter: &mut Planter, met: Met<'_>, taking: Taking<'_>) -> Result<bool, CopyError> {
    let Met { path, folder, stat, what, task, buffer } = met;
    let fate = |path: &Path, is_link| {
        let rule = if taking.clean { clean::fate(path, is_link, &[]) } else { None };
        rule.map_or(Fate::Keep, |(_, fate)| fate)
    };
    let fate_here = fate(path, matches!(what, What::Symlink(_)));
    if fate_here == Fate::LeaveOut {
        return Ok(false);
    }
    match what {
        What::Folder(folder) => planter.folder(path, meta(&stat, attributes(folder)))?,
        What::Symlink(target) => planter.symlink(path, &target, &meta(&stat, Vec::new()))?,
        What::HardLink(first) if fate(&first, false) == Fate::Keep => planter.hard_link(path, &first)?,
        What::Node(node) => planter.node(path, node, &meta(&stat, Vec::new()))?,
        What::HardLink(_) | What::File if fate_here == Fate::Empty => {
            let sink = planter.file(path)?;
            planter.end_file(path, sink, 0, &meta(&stat, Vec::new()))?;
        }
        What::HardLink(_) | What::File => {
            let name = path.file_name().unwrap_or_default();
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = File::from(openat(folder, name, flags, Mode::empty()).map_err(read(path))?);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            content(&file, path, size, planter, &meta(&stat, attributes(&file)), task, buffer)?;
            taking.spent(&file, size);
        }
    }
    Ok(true)
}

/// Copies what is between the holes of `file`.
pub(super) fn content(
    mut file: &File,
    path: &Path,
    size: u64,
    planter: &mut Planter,
    meta: &Meta,
    task: &Task,
    buffer: &mut [u8],
) -> Result<(), CopyError> {
    let failed = |source| CopyError::Read { path: path.to_owned(), source };
    let mut sink = planter.file(path)?;
    let shared = sink.share(file, size);
    let mut at = if shared { size } else { 0 };
    if shared {
        task.advance(size);
    }
    while at < size {
        let (data, end) = next_data(file, at, size).map_err(failed)?;
        file.seek(SeekFrom::Start(data)).map_err(failed)?;
        at = data;
        while at < end {
            task.go_on()?;
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = file.read(buffer.get_mut(..want).unwrap_or_default()).map_err(failed)?;
            if got == 0 {
                // The file was cut while it was read: what is missing reads as zeros.
                at = size;
                break;
            }
            sink.put(at, buffer.get(..got).unwrap_or_default())
                .map_err(|source| write_error(path, "write its content", source))?;
            task.advance(got as u64);
            at += got as u64;
        }
    }
    planter.end_file(path, sink, size, meta)?;
    Ok(())
}

/// Where data begins and ends, from `at` on. A file system that does not tell has no holes.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<(u64, u64)> {
    let seek = |offset: u64, whence| -> Result<u64, Errno> {
        let found = lseek64(file.as_fd(), i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?, whence)?;
        u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    };
    let data = match seek(at, Whence::SeekData) {
        Ok(data) => data,
        Err(Errno::ENXIO) => return Ok((size, size)),
        Err(Errno::EINVAL) => return Ok((at, size)),
        Err(error) => return Err(error.into()),
    };
    let end = seek(data, Whence::SeekHole)?;
    Ok((data.min(size), end.min(size)))
}

/// In what the kernel counts how much a file takes, in bytes (stat(2), `st_blocks`).
pub(super) const BLOCK: u64 = 512;

/// Bytes a file takes.
pub(super) fn on_disk(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK
}

pub(super) fn meta(stat: &FileStat, xattrs: Vec<(OsString, Vec<u8>)>) -> Meta {
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        xattrs,
    }
}

/// Extended attributes; none where the file system has none.
pub(super) fn attributes(file: &File) -> Vec<(OsString, Vec<u8>)> {
    let Ok(names) = file.list_xattr() else { return Vec::new() };
    names
        .filter_map(|name| {
            let value = file.get_xattr(&name).ok()??;
            Some((name, value))
        })
        .collect()
}

pub(super) fn read(path: &Path) -> impl FnOnce(Errno) -> CopyError {
    let path = path.to_owned();
    move |error| CopyError::Read { path, source: error.into() }
}

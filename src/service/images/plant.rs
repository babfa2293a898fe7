//! Writes a tree below one folder, and nowhere else.
//!
//! Archives name files by path, and the links they bring may lead anywhere. Every folder is therefore looked up by
//! `openat2(RESOLVE_IN_ROOT)`: a link to `/run` means the new tree's own `run`, as it will for the client that boots
//! the tree, and no path can leave it. Names with `..`, and names from the root, are refused and not bent into shape.
//!
//! Owners are set before modes (changing an owner clears setuid), capabilities after both, folders' times last.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, ResolveFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use xattr::FileExt as _;

pub use super::node::Node;
use crate::sys::{inside, reflink};
use crate::types::{ByteSize, limits};

/// What a file system remembers of a file besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permissions with setuid, setgid and sticky: `0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    #[error(
        "`{}` would be written outside the image; this archive is damaged or made to do harm, do not use it",
        entry.display()
    )]
    Outside { entry: PathBuf },
    #[error(
        "`{}` is a hard link to `{}`, which is outside the image; this archive is damaged or made to do harm, do not use it",
        entry.display(), target.display()
    )]
    LinkOutside { entry: PathBuf, target: PathBuf },
    #[error(
        "`{}` cannot be written: its folder `{}` is a link to something that is not in the image; this archive is damaged or made to do harm, do not use it",
        entry.display(), folder.display()
    )]
    LinkToNowhere { entry: PathBuf, folder: PathBuf },
    #[error("`{}` cannot be given to user {uid}, group {gid}; importing needs root", entry.display())]
    Owner { entry: PathBuf, uid: u32, gid: u32 },
    #[error("`{}` cannot be made a device; importing needs root outside of containers", entry.display())]
    Device { entry: PathBuf },
    #[error(
        "`{}` would be {length} long; no operating system has such a file, this image is damaged or made to do harm, do not use it",
        entry.display()
    )]
    Huge { entry: PathBuf, length: ByteSize },
    #[error(
        "`{}` is more than {} folders deep; no operating system has such a file, this image is damaged or made to do harm, do not use it",
        entry.display(), limits::TREE_DEPTH
    )]
    Deep { entry: PathBuf },
    #[error(
        "`{}` is one folder too many; no operating system has so many, this image is damaged or made to do harm, do not use it",
        entry.display()
    )]
    Folders { entry: PathBuf },
    #[error(
        "`{}` is a device, and outside of the folder `dev`; who may open it there could read and write memory or disks of every client. Take it away where the image comes from, or do not use that image",
        entry.display()
    )]
    Stray { entry: PathBuf },
    #[error("`{}` cannot be written ({doing})", entry.display())]
    Write {
        entry: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

impl PlantError {
    /// Whether the disk, or a quota on it, is the reason.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Entries of any kind but folders.
    pub files: u64,
    /// Content of files, without holes.
    pub bytes: u64,
    /// Extended attributes that the disk's file system does not keep.
    pub attributes_lost: u64,
}

/// The writer of one tree.
#[derive(Debug)]
pub struct Planter {
    root: OwnedFd,
    /// Whether what is written is an operating system, and has nothing that none has.
    of_a_system: bool,
    /// The folder used last: entries come folder by folder.
    near: Option<(PathBuf, OwnedFd)>,
    /// Folders get their owner, mode and times when nothing is written into them any more.
    folders: Vec<(PathBuf, Meta)>,
    /// Bytes that `folders` takes.
    folders_bytes: usize,
    planted: Planted,
}

const IN_ROOT: ResolveFlag = ResolveFlag::RESOLVE_IN_ROOT.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

impl Planter {
    /// Writes into `root`, an existing empty folder.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = openat(AT_FDCWD, root, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self {
            root,
            of_a_system: false,
            near: None,
            folders: Vec::new(),
            folders_bytes: 0,
            planted: Planted::default(),
        })
    }

    /// What is written is an operating system: no file in it is longer than [`limits::IMAGE_FILE`] or deeper than
    /// [`limits::TREE_DEPTH`], its folders fit into [`limits::IMAGE_FOLDERS`], and its devices are where devices belong.
    #[must_use]
    pub fn of_a_system(self) -> Self {
        Self { of_a_system: true, ..self }
    }

    pub fn folder(&mut self, entry: &Path, meta: Meta) -> Result<(), PlantError> {
        self.folders_bytes += bytes_of(entry, &meta);
        if self.of_a_system && self.folders_bytes > limits::IMAGE_FOLDERS {
            return Err(PlantError::Folders { entry: entry.to_owned() });
        }
        if self.of_a_system && entry.components().count() > limits::TREE_DEPTH {
            return Err(PlantError::Deep { entry: entry.to_owned() });
        }
        if !entry.as_os_str().is_empty() {
            let made = self.at(entry, |folder, name| mkdirat(folder, name, Mode::S_IRWXU))?;
            match made {
                Ok(()) => {}
                Err(Errno::EEXIST) if self.open_folder(entry).is_ok() => {
                    // A link to a folder of the tree stands for it, as in trees with `lib -> usr/lib`.
                    if self.kind(entry)? != SFlag::S_IFDIR {
                        return Ok(());
                    }
                }
                Err(Errno::EEXIST) => {
                    self.clear(entry)?;
                    let made = self.at(entry, |folder, name| mkdirat(folder, name, Mode::S_IRWXU))?;
                    made.map_err(failed(entry, "make the folder"))?;
                }
                Err(error) => return Err(failed(entry, "make the folder")(error)),
            }
        }
        self.folders.push((entry.to_owned(), meta));
        Ok(())
    }

    /// Begins a file; its content goes to the [`Sink`], which [`Planter::end_file`] takes back.
    pub fn file(&mut self, entry: &Path) -> Result<Sink, PlantError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = self.make(entry, "create", |folder, name| {
            openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        })?;
        Ok(Sink { file: file.into(), written: 0 })
    }

    pub fn end_file(&mut self, entry: &Path, sink: Sink, size: u64, meta: &Meta) -> Result<(), PlantError> {
        let Sink { file, written } = sink;
        if self.of_a_system && size > limits::IMAGE_FILE {
            return Err(PlantError::Huge { entry: entry.to_owned(), length: ByteSize(size) });
        }
        // Whatever ends in a hole was not written.
        file.set_len(size).map_err(|source| write_error(entry, "set its length", source))?;
        own(entry, meta, |uid, gid| fchown(&file, Some(uid), Some(gid)))?;
        fchmod(&file, mode(meta)).map_err(failed(entry, "set its mode"))?;
        self.attributes(entry, &file, meta)?;
        futimens(&file, &time(meta), &time(meta)).map_err(failed(entry, "set its time"))?;
        self.planted.files += 1;
        self.planted.bytes += written;
        Ok(())
    }

    pub fn symlink(&mut self, entry: &Path, target: &OsStr, meta: &Meta) -> Result<(), PlantError> {
        self.make(entry, "make the link", |folder, name| symlinkat(target, folder, name))?;
        self.finish_by_name(entry, meta, false)
    }

    pub fn hard_link(&mut self, entry: &Path, target: &Path) -> Result<(), PlantError> {
        if entry == target {
            return Ok(());
        }
        let (from, name) = self.parent(target)?;
        let from = from.try_clone_to_owned().map_err(|source| write_error(entry, "open a folder", source))?;
        let name = name.to_owned();
        self.not_stray(entry, &from, &name)?;
        self.make(entry, "make the hard link", |folder, new| {
            linkat(&from, name.as_os_str(), folder, new, AtFlags::empty())
        })?;
        self.planted.files += 1;
        Ok(())
    }

    /// Makes `entry` one more name of the file `name` in `folder`, whose `bytes` it shares from now on. Only where neither is
    /// ever written again.
    pub fn share(
        &mut self,
        entry: &Path,
        folder: impl AsFd,
        name: &OsStr,
        bytes: u64,
    ) -> Result<(), PlantError> {
        let folder = folder.as_fd();
        self.not_stray(entry, folder, name)?;
        self.make(entry, "share the file", |to, new| linkat(folder, name, to, new, AtFlags::empty()))?;
        self.planted.files += 1;
        self.planted.bytes += bytes;
        Ok(())
    }

    pub fn node(&mut self, entry: &Path, node: Node, meta: &Meta) -> Result<(), PlantError> {
        if self.of_a_system && !node.is_harmless() && !self.is_in_dev(entry)? {
            return Err(PlantError::Stray { entry: entry.to_owned() });
        }
        let (kind, number) = match node {
            Node::Fifo => (SFlag::S_IFIFO, 0),
            Node::Socket => (SFlag::S_IFSOCK, 0),
            Node::Char(major, minor) => (SFlag::S_IFCHR, nix::sys::stat::makedev(major.into(), minor.into())),
            Node::Block(major, minor) => {
                (SFlag::S_IFBLK, nix::sys::stat::makedev(major.into(), minor.into()))
            }
        };
        let made = self.make(entry, "make the device", |folder, name| {
            mknodat(folder, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, number)
        });
        match made {
            Err(PlantError::Write { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(PlantError::Device { entry: entry.to_owned() })
            }
            other => other,
        }?;
        self.finish_by_name(entry, meta, true)
    }

    /// Refuses to make `entry` one more name of a device where no device belongs.
    fn not_stray(&mut self, entry: &Path, folder: impl AsFd, name: &OsStr) -> Result<(), PlantError> {
        if !self.of_a_system {
            return Ok(());
        }
        let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let node = Node::of(&stat.map_err(failed(entry, "look at what it is a link to"))?);
        if node.is_none_or(Node::is_harmless) || self.is_in_dev(entry)? {
            return Ok(());
        }
        Err(PlantError::Stray { entry: entry.to_owned() })
    }

    /// Whether `entry` is below the folder `dev`, which clients cover with their kernel's; not by way of a link.
    fn is_in_dev(&mut self, entry: &Path) -> Result<bool, PlantError> {
        const NO_LINKS: ResolveFlag = IN_ROOT.union(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let Some(parent) = entry.parent().filter(|parent| parent.starts_with("dev")) else {
            return Ok(false);
        };
        self.parent(entry)?;
        Ok(inside::open(&self.root, parent, OFlag::O_PATH | OFlag::O_DIRECTORY, NO_LINKS).is_ok())
    }

    /// Gives the folders their owners, modes and times, and everything to the disk.
    pub fn finish(mut self) -> Result<Planted, PlantError> {
        self.near = None;
        for (entry, meta) in std::mem::take(&mut self.folders) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let name = if entry.as_os_str().is_empty() { Path::new(".") } else { &entry };
            let folder = match inside::open(&self.root, name, flags, IN_ROOT) {
                Ok(folder) => std::fs::File::from(folder),
                // A later entry of the archive put something else in its place.
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => continue,
                Err(error) => return Err(failed(&entry, "open the folder")(error)),
            };
            own(&entry, &meta, |uid, gid| fchown(&folder, Some(uid), Some(gid)))?;
            fchmod(&folder, mode(&meta)).map_err(failed(&entry, "set its mode"))?;
            self.attributes(&entry, &folder, &meta)?;
            futimens(&folder, &time(&meta), &time(&meta)).map_err(failed(&entry, "set its time"))?;
        }
        nix::unistd::syncfs(&self.root).map_err(failed(Path::new("."), "write all to the disk"))?;
        Ok(self.planted)
    }

    fn finish_by_name(&mut self, entry: &Path, meta: &Meta, has_mode: bool) -> Result<(), PlantError> {
        let (folder, name) = self.parent(entry)?;
        let folder =
            folder.try_clone_to_owned().map_err(|source| write_error(entry, "open its folder", source))?;
        let name = name.to_owned();
        own(entry, meta, |uid, gid| {
            fchownat(&folder, name.as_os_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        })?;
        if has_mode {
            fchmodat(&folder, name.as_os_str(), mode(meta), FchmodatFlags::FollowSymlink)
                .map_err(failed(entry, "set its mode"))?;
        }
        utimensat(&folder, name.as_os_str(), &time(meta), &time(meta), UtimensatFlags::NoFollowSymlink)
            .map_err(failed(entry, "set its time"))?;
        self.planted.files += 1;
        Ok(())
    }

    fn attributes(&mut self, entry: &Path, file: &std::fs::File, meta: &Meta) -> Result<(), PlantError> {
        for (name, value) in &meta.xattrs {
            match file.set_xattr(name, value) {
                Ok(()) => {}
                // What the file system, or this user, cannot keep is counted and told, not fatal: NFS clients do not
                // see these attributes anyway.
                Err(error)
                    if matches!(
                        error.raw_os_error().map(Errno::from_raw),
                        Some(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EINVAL)
                    ) =>
                {
                    self.planted.attributes_lost += 1;
                }
                Err(source) => return Err(write_error(entry, "set an extended attribute", source)),
            }
        }
        Ok(())
    }

    /// Runs `make` for the entry's folder and name; what stood there before gives way.
    fn make<T>(
        &mut self,
        entry: &Path,
        doing: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> nix::Result<T>,
    ) -> Result<T, PlantError> {
        match self.at(entry, &make)? {
            Err(Errno::EEXIST) => {
                self.clear(entry)?;
                self.at(entry, &make)?.map_err(failed(entry, doing))
            }
            other => other.map_err(failed(entry, doing)),
        }
    }

    fn at<T>(
        &mut self,
        entry: &Path,
        work: impl FnOnce(BorrowedFd<'_>, &OsStr) -> T,
    ) -> Result<T, PlantError> {
        let (folder, name) = self.parent(entry)?;
        Ok(work(folder, name))
    }

    /// Removes what stands at `entry`: a file, a link, or an empty folder.
    fn clear(&mut self, entry: &Path) -> Result<(), PlantError> {
        let flag = if self.kind(entry)? == SFlag::S_IFDIR {
            UnlinkatFlags::RemoveDir
        } else {
            UnlinkatFlags::NoRemoveDir
        };
        let removed = self.at(entry, |folder, name| unlinkat(folder, name, flag))?;
        // It may have been, or led to, the folder that is remembered.
        self.near = None;
        removed.map_err(failed(entry, "replace what is there"))
    }

    fn kind(&mut self, entry: &Path) -> Result<SFlag, PlantError> {
        let stat = self.at(entry, |folder, name| fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW))?;
        let stat = stat.map_err(failed(entry, "look at what is there"))?;
        Ok(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
    }

    /// The folder of `entry`, made if it is missing, and the entry's name in it.
    fn parent<'a>(&mut self, entry: &'a Path) -> Result<(BorrowedFd<'_>, &'a OsStr), PlantError> {
        let outside = || PlantError::Outside { entry: entry.to_owned() };
        let name = entry.file_name().ok_or_else(outside)?;
        let parent = entry.parent().unwrap_or(Path::new(""));
        if self.of_a_system && parent.components().count() > limits::TREE_DEPTH {
            return Err(PlantError::Deep { entry: entry.to_owned() });
        }
        if parent.as_os_str().is_empty() {
            return Ok((self.root.as_fd(), name));
        }
        if self.near.as_ref().is_none_or(|(path, _)| path != parent) {
            let folder = match self.open_folder(parent) {
                Ok(folder) => folder,
                Err(Errno::ENOENT) => self.make_folders(entry, parent)?,
                Err(Errno::ELOOP) => return Err(nowhere(entry, parent)),
                Err(error) => return Err(failed(entry, "open its folder")(error)),
            };
            self.near = Some((parent.to_owned(), folder));
        }
        let (_, folder) = self.near.as_ref().ok_or_else(outside)?;
        Ok((folder.as_fd(), name))
    }

    fn open_folder(&self, path: &Path) -> nix::Result<OwnedFd> {
        inside::open(&self.root, path, OFlag::O_PATH | OFlag::O_DIRECTORY, IN_ROOT)
    }

    /// Makes the folders of `path` that an archive did not name before it wrote into them.
    fn make_folders(&self, entry: &Path, path: &Path) -> Result<OwnedFd, PlantError> {
        let mut folder =
            self.root.try_clone().map_err(|source| write_error(entry, "open a folder", source))?;
        let mut so_far = PathBuf::new();
        for name in path {
            so_far.push(name);
            folder = match self.open_folder(&so_far) {
                Ok(next) => next,
                Err(Errno::ENOENT) => {
                    match mkdirat(&folder, name, Mode::S_IRWXU | Mode::from_bits_truncate(0o055)) {
                        Ok(()) => {}
                        Err(Errno::EEXIST) => return Err(nowhere(entry, &so_far)),
                        Err(error) => return Err(failed(entry, "make its folder")(error)),
                    }
                    self.open_folder(&so_far).map_err(failed(entry, "open its folder"))?
                }
                Err(Errno::ELOOP) => return Err(nowhere(entry, &so_far)),
                Err(error) => return Err(failed(entry, "open its folder")(error)),
            };
        }
        Ok(folder)
    }
}

/// Takes the content of one file; runs of zeros become holes.
#[derive(Debug)]
pub struct Sink {
    file: std::fs::File,
    written: u64,
}

/// Holes are cut at this size, which is the block of nearly every file system.
const BLOCK: usize = 4096;

impl Sink {
    /// Writes into `file`, which is empty.
    pub fn new(file: std::fs::File) -> Self {
        Self { file, written: 0 }
    }

    /// Takes over the content of `from`, `size` bytes, without copying it, where the file system can do that: whoever
    /// writes either file first gets a copy of what is written. Whether it did.
    pub fn share(&mut self, from: &std::fs::File, size: u64) -> bool {
        let shared = size > 0 && reflink::share(from, &self.file).is_ok();
        if shared {
            self.written += size;
        }
        shared
    }

    /// Puts `bytes` at `offset`.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut run: Option<(u64, usize)> = None; // where the bytes to write begin, in the file and in `bytes`
        let mut at = 0;
        for block in bytes.chunks(BLOCK) {
            let zero = block.len() == BLOCK && block.iter().all(|byte| *byte == 0);
            match (zero, run) {
                (false, None) => run = Some((offset + at as u64, at)),
                (true, Some((place, from))) => {
                    self.write(place, bytes.get(from..at).unwrap_or_default())?;
                    run = None;
                }
                _ => {}
            }
            at += block.len();
        }
        match run {
            Some((place, from)) => self.write(place, bytes.get(from..).unwrap_or_default()),
            None => Ok(()),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The file, `size` bytes long.
    pub fn into_file(self, size: u64) -> io::Result<std::fs::File> {
        self.file.set_len(size)?;
        Ok(self.file)
    }
}

/// Bytes that a folder takes until it is finished.
fn bytes_of(entry: &Path, meta: &Meta) -> usize {
    let attributes = meta
        .xattrs
        .iter()
        .map(|(name, value)| size_of::<(OsString, Vec<u8>)>() + name.as_encoded_bytes().len() + value.len());
    size_of::<(PathBuf, Meta)>() + entry.as_os_str().len() + attributes.sum::<usize>()
}

/// The path of an entry, relative to the root of the tree; empty for the root itself.
///
/// `./` in front, `//` and a final `/` mean nothing. `..` and a `/` in front are refused wherever they stand.
pub fn entry_path(bytes: &[u8]) -> Result<PathBuf, PlantError> {
    let outside = || PlantError::Outside { entry: PathBuf::from(OsString::from_vec(bytes.to_vec())) };
    if bytes.first() == Some(&b'/') || bytes.contains(&0) {
        return Err(outside());
    }
    let mut path = PathBuf::new();
    for name in bytes.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(outside()),
            name => path.push(OsStr::from_bytes(name)),
        }
    }
    Ok(path)
}

/// Gives an entry to its owner by `chown`.
fn own(entry: &Path, meta: &Meta, chown: impl FnOnce(Uid, Gid) -> nix::Result<()>) -> Result<(), PlantError> {
    match chown(Uid::from_raw(meta.uid), Gid::from_raw(meta.gid)) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM | Errno::EINVAL) => {
            Err(PlantError::Owner { entry: entry.to_owned(), uid: meta.uid, gid: meta.gid })
        }
        Err(error) => Err(failed(entry, "set its owner")(error)),
    }
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_bits_truncate(meta.mode & 0o7777)
}

fn time(meta: &Meta) -> TimeSpec {
    let (secs, nanos) = meta.mtime;
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
    TimeSpec::new(secs.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0))
}

fn nowhere(entry: &Path, folder: &Path) -> PlantError {
    PlantError::LinkToNowhere { entry: entry.to_owned(), folder: folder.to_owned() }
}

fn failed(entry: &Path, doing: &'static str) -> impl FnOnce(Errno) -> PlantError {
    let entry = entry.to_owned();
    move |error| PlantError::Write { entry, doing, source: error.into() }
}

/// An error of the standard library while writing `entry`.
pub fn write_error(entry: &Path, doing: &'static str, source: io::Error) -> PlantError {
    PlantError::Write { entry: entry.to_owned(), doing, source }
}

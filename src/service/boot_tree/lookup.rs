//! Finding a file below the root of a tree without ever leaving it.
//!
//! The kernel resolves each name with the tree as its root (`openat2`, `RESOLVE_IN_ROOT`, Linux 5.6): absolute links and
//! `..` in links of the image lead where they would on the client, and none leads out. Names are exact as the firmware
//! asks for them; where there is none, one that differs only in case is taken, as on the FAT partition they came from.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use crate::sys;

/// The root folder of a tree, open.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    /// The ordinary file at `path` and its length; `None` if there is none (a folder, a device and a FIFO are not
    /// opened).
    pub fn file(&self, path: &Path) -> io::Result<Option<(std::fs::File, u64)>> {
        let Some((path, stat)) = self.find(path)? else { return Ok(None) };
        if file_type(&stat) != SFlag::S_IFREG {
            return Ok(None);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = std::fs::File::from(self.open_below(&path, flags)?);
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some((file, len)))
    }

    pub fn is_dir(&self, path: &Path) -> io::Result<bool> {
        Ok(self.find(path)?.is_some_and(|(_, stat)| file_type(&stat) == SFlag::S_IFDIR))
    }

    /// Names in the folder `path`, in no order; none if there is no such folder.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let folder = match self.open_below(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(folder) => folder,
            Err(errno) if is_absence(errno) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        };
        let mut names = Vec::new();
        for entry in Dir::from_fd(folder)?.iter() {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    fn find(&self, path: &Path) -> io::Result<Option<(PathBuf, FileStat)>> {
        if let Some(stat) = self.stat(path)? {
            return Ok(Some((path.to_owned(), stat)));
        }
        let Some(path) = self.in_any_case(path)? else { return Ok(None) };
        Ok(self.stat(&path)?.map(|stat| (path, stat)))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<FileStat>> {
        match self.open_below(path, OFlag::O_PATH) {
            Ok(found) => Ok(Some(fstat(found)?)),
            Err(errno) if is_absence(errno) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// `path` with each name as it is spelled in its folder.
    fn in_any_case(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let mut spelled = PathBuf::new();
        for part in path.components() {
            let Component::Normal(part) = part else { return Ok(None) };
            if self.stat(&spelled.join(part))?.is_none() {
                let folder = if spelled.as_os_str().is_empty() { Path::new(".") } else { &spelled };
                let names = self.names(folder)?;
                let Some(name) = names.into_iter().filter(|name| part.eq_ignore_ascii_case(name)).min()
                else {
                    return Ok(None);
                };
                spelled.push(name);
            } else {
                spelled.push(part);
            }
        }
        Ok(Some(spelled))
    }

    fn open_below(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        sys::inside::open(&self.0, path, flags, inside)
    }
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether the error only says that there is no such file.
fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG)
}

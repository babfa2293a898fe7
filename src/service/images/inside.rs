//! Reads files of a tree as a client that has the tree as its root sees them.
//!
//! `etc/os-release` and `sbin/init` are links, often from the root: looked up from outside they would lead to the
//! router's own files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag, ResolveFlag, openat};
use nix::sys::stat::Mode;

use crate::sys;

/// A tree, seen from its own root.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
}

impl Inside {
    pub fn new(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: openat(AT_FDCWD, root, flags, Mode::empty())? })
    }

    /// Opens a file. Devices and FIFOs do not block; they are not files.
    pub fn open(&self, path: &str) -> io::Result<File> {
        let file = File::from(self.look_up(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "not a file"))
        }
    }

    /// The first `limit` bytes of a file; `None` if there is no such file.
    pub fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// As [`Inside::read`], for text; what is not UTF-8 is replaced.
    pub fn text(&self, path: &str, limit: u64) -> Option<String> {
        Some(String::from_utf8_lossy(&self.read(path, limit)?).into_owned())
    }

    /// Length of a file; `None` if there is no such file.
    pub fn size(&self, path: &str) -> Option<u64> {
        Some(self.open(path).ok()?.metadata().ok()?.len())
    }

    /// Whether there is anything at `path`, once links are followed.
    pub fn has(&self, path: &str) -> bool {
        self.look_up(path, OFlag::O_PATH).is_ok()
    }

    /// Names in a folder, sorted; none if there is no such folder.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(mut folder) = self
            .look_up(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .and_then(|fd| Dir::from_fd(fd).map_err(io::Error::from))
        else {
            return Vec::new();
        };
        let mut names: Vec<String> = folder
            .iter()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_str().ok()?.to_owned()))
            .filter(|name| name != "." && name != "..")
            .collect();
        names.sort();
        names
    }

    fn look_up(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        Ok(sys::inside::open(&self.root, path, flags, inside)?)
    }
}

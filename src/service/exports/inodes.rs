//! Where the files of a tree that changes are, where the kernel does not find them by a handle: without privileges (a
//! demonstration in a namespace of its own), or on a file system without handles.
//!
//! A handle is an inode's number with the moment it was made, because numbers are used again. The map from inodes to
//! names grows with what is looked up and follows what is renamed; what it does not know, after a restart or because
//! somebody else moved it, is searched for in the tree, at most once for each change. With the data on a disk and the
//! rights of root, none of this is used.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::Patience;
use super::handle::Way;
use super::index::open_folder;
use super::tree::open_below;
use crate::sys::birth::{self, Birth};
use crate::sys::dirents;
use crate::types::limits;

/// Folders below folders; `PATH_MAX` allows no more.
const DEEPEST: usize = 2048;

/// Names by inode.
#[derive(Debug)]
pub struct Inodes {
    root: Birth,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    places: HashMap<u64, Place>,
    /// Whether anything was made, renamed or looked up since the tree was last searched.
    changed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    parent: u64,
    name: Box<[u8]>,
}

impl Inodes {
    /// Of the tree whose root is open.
    pub fn new(root: impl AsFd) -> io::Result<Self> {
        let inner = Inner { places: HashMap::new(), changed: true };
        Ok(Self { root: birth::of(root)?, inner: Mutex::new(inner) })
    }

    pub fn root(&self) -> Way {
        Way::Inode { inode: self.root.inode, born: self.root.born }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers where the open file was found, and says which way leads to it.
    pub fn note(&self, file: impl AsFd, at: Option<(BorrowedFd<'_>, &[u8])>) -> io::Result<Way> {
        let found = birth::of(file)?;
        if let Some((folder, name)) = at.filter(|(_, name)| *name != b"." && found != self.root) {
            let parent = birth::of(folder)?.inode;
            let inner = &mut *self.inner();
            if inner.places.len() >= limits::INDEX_FILES {
                return Err(io::Error::other("more files than an index holds"));
            }
            let place = Place { parent, name: name.into() };
            inner.changed |= inner.places.insert(found.inode, place.clone()) != Some(place);
        }
        Ok(Way::Inode { inode: found.inode, born: found.born })
    }

    /// A name has gone, or leads elsewhere: its file has to be searched for if it is asked for by handle.
    pub fn moved(&self, inode: u64, to: Option<(u64, &[u8])>) {
        let inner = &mut *self.inner();
        inner.changed = true;
        match to {
            Some((parent, name)) => inner.places.insert(inode, Place { parent, name: name.into() }),
            None => inner.places.remove(&inode),
        };
    }

    /// Opens the file as a path. In the worst case searches the whole tree.
    pub fn find(&self, root: &OwnedFd, inode: u64, born: u64) -> io::Result<OwnedFd> {
        let wanted = Birth { inode, born };
        if wanted == self.root {
            return open_below(root, OsStr::new("."), Patience::Blocking);
        }
        if let Some(found) = self.open_known(root, wanted) {
            return Ok(found);
        }
        if !self.inner().changed {
            return Err(Errno::ESTALE.into());
        }
        self.search(root)?;
        self.open_known(root, wanted).ok_or_else(|| Errno::ESTALE.into())
    }

    fn open_known(&self, root: &OwnedFd, wanted: Birth) -> Option<OwnedFd> {
        let path = self.path(wanted.inode)?;
        let found = open_below(root, path.as_os_str(), Patience::Blocking).ok()?;
        (birth::of(&found).ok()? == wanted).then_some(found)
    }

    fn path(&self, inode: u64) -> Option<PathBuf> {
        let inner = self.inner();
        let mut names = Vec::new();
        let mut at = inode;
        while at != self.root.inode {
            let place = inner.places.get(&at)?;
            names.push(OsStr::from_bytes(&place.name));
            at = place.parent;
            if names.len() > DEEPEST {
                return None;
            }
        }
        Some(names.iter().rev().collect())
    }

    /// Learns every name anew. Folders are told from files by trying to open them.
    fn search(&self, root: &OwnedFd) -> io::Result<()> {
        let mut places = HashMap::new();
        let mut folders = vec![(PathBuf::new(), self.root.inode)];
        while let Some((path, inode)) = folders.pop() {
            let Ok(folder) = open_folder(root, &path) else { continue };
            let mut names: Vec<OsString> = Vec::new();
            dirents::read(&folder, 0, |entry| {
                if entry.name != b"." && entry.name != b".." {
                    names.push(OsString::from_vec(entry.name.to_vec()));
                }
                true
            })?;
            for name in names {
                let Ok(file) = open_below(&folder, &name, Patience::Blocking) else { continue };
                let (found, is_folder) = (birth::of(&file)?, birth::is_folder(&file)?);
                places.insert(found.inode, Place { parent: inode, name: name.as_bytes().into() });
                if places.len() > limits::INDEX_FILES {
                    return Err(io::Error::other("more files than an index holds"));
                }
                if is_folder {
                    folders.push((path.join(&name), found.inode));
                }
            }
        }
        *self.inner() = Inner { places, changed: false };
        Ok(())
    }
}

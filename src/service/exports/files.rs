//! Open files: what a handle was found to be, kept for the next call about it.
//!
//! A file is held by a path descriptor (`O_PATH`): enough for its attributes and for looking up names in it, and harmless for
//! devices and FIFOs. Only when data is read from a regular file is it opened in earnest.
//!
//! The cache is bounded by [`limits::NFS_OPEN_FILES`] and forgets what was not used for the longest time, roughly: each slot
//! has a mark that use sets and the clock's hand takes away.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};

use super::attributes;
use super::handle::Way;
use super::tree::{Export, Key};
use crate::proto::nfs3::{Attributes, Handle};
use crate::sys::links::reopen;
use crate::types::limits;

/// One file of a tree.
#[derive(Debug)]
pub struct Node {
    pub export: Arc<Export>,
    pub handle: Handle,
    /// Number in the index, in trees that have one.
    pub number: Option<u32>,
    pub is_root: bool,
    path: Arc<OwnedFd>,
    data: OnceLock<Arc<OwnedFd>>,
}

impl Node {
    pub fn new(export: Arc<Export>, way: Way, path: OwnedFd) -> Self {
        let number = match way {
            Way::Indexed(number) => Some(number),
            Way::Kernel(_) | Way::Inode { .. } | Way::Virtual(_) => None,
        };
        let is_root = way == *export.root_way();
        let handle = export.seal(way);
        Self { export, handle, number, is_root, path: Arc::new(path), data: OnceLock::new() }
    }

    /// A regular file that is open in earnest already, for reading and writing.
    pub fn opened(export: Arc<Export>, way: Way, file: OwnedFd) -> Self {
        let node = Self::new(export, way, file);
        let _ = node.data.set(Arc::clone(&node.path));
        node
    }

    pub fn path(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        (*self.path).as_fd()
    }

    /// A file without a name has been removed; that we still hold it must not keep it alive for clients.
    fn stat(&self) -> io::Result<FileStat> {
        let stat = fstat(&*self.path)?;
        if stat.st_nlink == 0 { Err(Errno::ESTALE.into()) } else { Ok(stat) }
    }

    pub fn attributes(&self) -> io::Result<Attributes> {
        Ok(attributes::of(&self.stat()?, self.export.filesystem(), self.number.map(Export::id_of)))
    }

    /// Opens a folder once more, for a reader with a position of its own.
    pub fn open_folder(&self) -> io::Result<OwnedFd> {
        reopen(&*self.path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// The open file; only for regular files. Open for writing too, in trees that are written and where the file lets us.
    pub fn data(&self) -> io::Result<Arc<OwnedFd>> {
        if let Some(data) = self.data.get() {
            return Ok(Arc::clone(data));
        }
        let mut ways = [OFlag::O_RDWR, OFlag::O_RDONLY | OFlag::O_NOATIME, OFlag::O_RDONLY].into_iter();
        if self.export.is_published() {
            ways.next();
        }
        let mut opened = Err(Errno::EACCES.into());
        for flags in ways {
            opened = reopen(&*self.path, flags);
            if opened.is_ok() {
                break;
            }
        }
        let data = Arc::new(opened?);
        Ok(Arc::clone(self.data.get_or_init(|| data)))
    }
}

/// Files found lately, by handle.
#[derive(Debug, Default)]
pub struct Files {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_handle: HashMap<Handle, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    node: Arc<Node>,
    used: bool,
}

impl Files {
    pub fn get(&self, handle: &[u8]) -> Option<Arc<Node>> {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = inner.slots.get_mut(*inner.by_handle.get(handle)?)?;
        slot.used = true;
        Some(Arc::clone(&slot.node))
    }

    /// Keeps `node`, or finds that it is kept already.
    pub fn keep(&self, node: Node) -> Arc<Node> {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = inner.by_handle.get(&node.handle).and_then(|at| inner.slots.get_mut(*at)) {
            slot.used = true;
            return Arc::clone(&slot.node);
        }
        let node = Arc::new(node);
        let slot = Slot { node: Arc::clone(&node), used: false };
        let at = inner.victim();
        if let Some(old) = inner.slots.get_mut(at) {
            inner.by_handle.remove(&old.node.handle);
            *old = slot;
        } else {
            inner.slots.push(slot);
        }
        inner.by_handle.insert(node.handle.clone(), at);
        node
    }

    /// Lets go of all files of a tree.
    pub fn forget(&self, tree: Key) {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.slots.retain(|slot| slot.node.export.key() != tree);
        let places = inner.slots.iter().enumerate().map(|(at, slot)| (slot.node.handle.clone(), at));
        inner.by_handle = places.collect();
        inner.hand = 0;
    }

    /// Lets go of one file that has been removed, so that the disk gets its room back.
    pub fn remove(&self, handle: &Handle) {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = inner.by_handle.remove(handle) else { return };
        inner.slots.swap_remove(at);
        if let Some(moved) = inner.slots.get(at) {
            inner.by_handle.insert(moved.node.handle.clone(), at);
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.inner.lock().expect("no panic in a test's thread").slots.len()
    }
}

impl Inner {
    /// A free slot, or the next one that was not used since the hand last passed.
    fn victim(&mut self) -> usize {
        if self.slots.len() < limits::NFS_OPEN_FILES {
            return self.slots.len();
        }
        loop {
            let at = self.hand;
            self.hand = (at + 1) % limits::NFS_OPEN_FILES;
            match self.slots.get_mut(at) {
                Some(slot) if slot.used => slot.used = false,
                _ => return at,
            }
        }
    }
}

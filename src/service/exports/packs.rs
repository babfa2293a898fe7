//! Packed files of versions, open for the clients that mount them.
//!
//! A handle names the tree and the stamp of the file, so it means the same file after a restart, and nothing when that file is
//! gone: never another one of the same version.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock};

use nix::sys::stat::fstat;

use super::attributes;
use crate::proto::nfs3::Time;
use crate::service::images::Packed;

/// One packed file.
#[derive(Debug)]
pub struct Pack {
    pub file: Arc<OwnedFd>,
    pub size: u64,
    pub modified: Time,
    stamp: u64,
}

/// Those that are open.
#[derive(Debug, Default)]
pub struct Packs(RwLock<Vec<Arc<Pack>>>);

impl Packs {
    pub fn opened(&self, stamp: u64) -> Option<Arc<Pack>> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.iter().find(|pack| pack.stamp == stamp).cloned()
    }

    /// Opens a packed file. May read the disk.
    pub fn open(&self, packed: &Packed) -> io::Result<Arc<Pack>> {
        let file = OwnedFd::from(File::open(&packed.path)?);
        let found = attributes::of(&fstat(&file)?, 0, None);
        let (size, modified) = (found.size, found.modified);
        let pack = Arc::new(Pack { file: Arc::new(file), size, modified, stamp: packed.stamp });
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.stamp != pack.stamp);
        open.push(Arc::clone(&pack));
        Ok(pack)
    }

    /// Lets go of those that `is_needed` does not want, so that the disk gets its room back.
    pub fn prune(&self, is_needed: impl Fn(u64) -> bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|pack| is_needed(pack.stamp));
    }
}

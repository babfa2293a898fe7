//! What each version takes of the disk by itself: what its removal gives back. The rest it shares with other versions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::copy::{CopyError, Walk, What, on_disk};
use super::library::Library;
use crate::service::jobs::Task;
use crate::types::chain;

/// Whose a file is, that has several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    One(u32),
    Several,
}

impl Library {
    /// Measures all versions, and notes what was found. Reads every folder; what goes wrong is only told in the log.
    pub(super) fn measure(&self, task: &Task) {
        match self.own_bytes(task) {
            Ok(measured) => {
                if let Err(error) = self.store.image_own(&measured) {
                    tracing::warn!(error = chain(&error), "sizes of images could not be noted");
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "images could not be measured"),
        }
    }

    fn own_bytes(&self, task: &Task) -> Result<Vec<(u32, u64)>, CopyError> {
        let mut own: HashMap<u32, u64> = HashMap::new();
        let mut linked: HashMap<u64, (Owner, u64)> = HashMap::new();
        for tree in self.images.all() {
            let bytes = own.entry(tree.id).or_default();
            *bytes += self.images.packed(tree.id).map_or(0, |packed| packed.bytes);
            Walk::new(task).all(&tree.root, &mut |met| {
                let size = on_disk(&met.stat);
                if matches!(met.what, What::Folder(_)) || met.stat.st_nlink < 2 {
                    *bytes += size;
                    return Ok(true);
                }
                match linked.entry(met.stat.st_ino) {
                    Entry::Vacant(free) => {
                        free.insert((Owner::One(tree.id), size));
                    }
                    Entry::Occupied(mut known) if known.get().0 != Owner::One(tree.id) => {
                        known.get_mut().0 = Owner::Several;
                    }
                    Entry::Occupied(_) => {}
                }
                Ok(true)
            })?;
        }
        for (owner, size) in linked.into_values() {
            if let Owner::One(id) = owner {
                *own.entry(id).or_default() += size;
            }
        }
        Ok(own.into_iter().collect())
    }
}

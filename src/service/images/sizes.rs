//! What each version takes of the disk by itself: what its removal gives back. The rest it shares with other versions.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::copy::{BLOCK, CopyError, Walk, What, on_disk};
use super::library::Library;
use crate::service::jobs::Task;
use crate::types::chain;

/// A file that has several names. There are hundreds of thousands, so it is small.
#[derive(Clone, Copy, Debug)]
struct Linked {
    /// The tree that has it; `None` if several have.
    owner: Option<NonZeroU32>,
    /// What it takes, in blocks of 512 bytes.
    blocks: u32,
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
        let mut linked: HashMap<u64, Linked> = HashMap::new();
        for tree in self.images.all() {
            let bytes = own.entry(tree.id).or_default();
            *bytes += self.images.packed(tree.id).map_or(0, |packed| packed.bytes);
            Walk::of_names(task).all(&tree.root, &mut |met| {
                let size = on_disk(&met.stat);
                if matches!(met.what, What::Folder(_)) || met.stat.st_nlink < 2 {
                    *bytes += size;
                    return Ok(true);
                }
                let owner = NonZeroU32::new(tree.id);
                let blocks = u32::try_from(size / BLOCK).unwrap_or(u32::MAX);
                let file = linked.entry(met.stat.st_ino).or_insert(Linked { owner, blocks });
                file.owner = file.owner.filter(|_| file.owner == owner);
                Ok(true)
            })?;
        }
        for Linked { owner, blocks } in linked.into_values() {
            if let Some(id) = owner {
                *own.entry(id.get()).or_default() += u64::from(blocks) * BLOCK;
            }
        }
        Ok(own.into_iter().collect())
    }
}

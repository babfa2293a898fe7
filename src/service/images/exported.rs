//! Exports that were made here: listed and deleted, and what a killed one left taken away.
//!
//! Exports lie wherever somebody wanted them, so each is on record: before it is begun, because a stop of Bramble leaves a
//! half archive (`.part`) at a place that only the record knows, and when it is done. Nothing is deleted that is not on
//! record and does not say of itself that it is that export.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::library::{Library, LibraryError};
use super::shelf;
use crate::service::jobs::{Stopped, Task};
use crate::store::StoreError;
use crate::store::exports::ExportRow;
use crate::types::{ImageVersion, Moment, chain};

/// An exported image, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub path: PathBuf,
    pub image: ImageVersion,
    /// Length of the archive.
    pub bytes: u64,
    pub made_at: Moment,
}

/// Why an export was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ExportedError {
    #[error("`{}` is no export that Bramble made; `bramble image exports` shows those there are", .0.display())]
    Unknown(PathBuf),
    #[error(
        "`{}` is not the export of `{image}` any more that Bramble made; nothing is deleted, delete it yourself if it is to go",
        path.display()
    )]
    Another { path: PathBuf, image: ImageVersion },
    #[error("`{}` cannot be deleted", path.display())]
    Delete {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an export is written until all of it is on the disk.
pub(super) fn part(to: &Path) -> PathBuf {
    to.with_added_extension("part")
}

/// When the export of `image` at `path` was begun, as it says itself; `None` if it is something else.
fn made_at(path: &Path, image: &ImageVersion) -> Option<Moment> {
    let head = shelf::head(path).ok()?;
    ((&head.name, head.version) == (&image.name, image.version)).then_some(head.made_at)
}

impl Library {
    /// Exports that are whole and there, newest first. Those on a disk that is not plugged in are not told.
    pub fn exports(&self) -> Result<Vec<Export>, StoreError> {
        let there = |row: ExportRow| {
            let about = fs::symlink_metadata(&row.path).ok().filter(std::fs::Metadata::is_file)?;
            let ExportRow { path, image, made_at } = row;
            Some(Export { path, image, bytes: about.len(), made_at: made_at? })
        };
        Ok(self.store.exports()?.into_iter().filter_map(there).collect())
    }

    /// Deletes an export; answers with what it was.
    pub fn delete_export(&self, path: &Path) -> Result<Export, ExportedError> {
        let export = self.exports()?.into_iter().find(|export| export.path == path);
        let export = export.ok_or_else(|| ExportedError::Unknown(path.to_owned()))?;
        if made_at(path, &export.image).is_none() {
            return Err(ExportedError::Another { path: export.path, image: export.image });
        }
        fs::remove_file(path).map_err(|source| ExportedError::Delete { path: path.to_owned(), source })?;
        self.store.export_forget(path)?;
        tracing::info!(path = %path.display(), image = %export.image, "an export is deleted");
        Ok(export)
    }

    /// Takes away what exports left that Bramble was stopped in, in a job. What lies on a disk that is not there yet, a later
    /// start takes away.
    pub(super) fn sweep_exports(&self) -> Result<(), LibraryError> {
        let mut left = Vec::new();
        for ExportRow { path, image, made_at: known } in self.store.exports()? {
            if known.is_some() {
                continue;
            }
            if fs::symlink_metadata(part(&path)).is_ok_and(|about| about.is_file()) {
                left.push(path);
            } else if let Some(at) = made_at(&path, &image) {
                // It has its name, so it is whole: the power went before that was noted.
                self.store.export_done(&path, at)?;
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let library = self.clone();
        let subject = left.iter().map(|to| part(to).display().to_string()).collect::<Vec<_>>().join(", ");
        self.jobs.start("delete", subject, move |_: &Task| library.sweep_parts(&left))?;
        Ok(())
    }

    fn sweep_parts(&self, left: &[PathBuf]) -> Result<String, Stopped> {
        for to in left {
            let part = part(to);
            fs::remove_file(&part).map_err(|error| Stopped::because(&error))?;
            tracing::warn!(path = %part.display(), "an export was interrupted; what was written of it is deleted");
            self.store.export_forget(to).map_err(|error| Stopped::Failed(chain(&error)))?;
        }
        Ok("what interrupted exports left is deleted".to_owned())
    }
}

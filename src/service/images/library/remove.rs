//! Versions are removed: the record goes at once, the files in a job.

use std::io;
use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::left::{delete, left_behind};
use super::{Library, LibraryError};
use crate::service::images::{numbers_beside, packed_beside};
use crate::service::jobs::{Stopped, Task};
use crate::store::images::VersionRow;
use crate::types::{ImageName, ImageRef, ImageVersion, Version, chain};

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    #[error(
        "`{image}` is in use by {}; give {} another image first, and restart what still runs from it",
        named(.users), if .users.len() == 1 { "it" } else { "them" }
    )]
    InUse { image: ImageVersion, users: Vec<String> },
    #[error(
        "`{0}` has a draft; publish it (`bramble image publish {0}`) or discard it (`bramble image discard {0}`) first"
    )]
    HasDraft(ImageName),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// `lab-01, lab-02 and 3 more`.
fn named(users: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = users.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match users.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// What was struck off the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub versions: Vec<ImageVersion>,
    /// What clients of the image boot from now on, if it still has a version.
    pub current: Option<Version>,
    /// The job that deletes the files.
    pub job: u64,
}

impl Library {
    /// Removes one version, or with a bare name all of them. Refused while `users` names clients of one of them: those
    /// that are configured to boot it, and those that may still be reading it.
    ///
    /// The record goes at once, the files in a job.
    pub fn remove(
        &self,
        image: &ImageRef,
        users: &dyn Fn(&ImageVersion) -> Vec<String>,
    ) -> Result<Removal, RemoveError> {
        let all = self.store.image_versions().map_err(LibraryError::from)?;
        let meant = |row: &&VersionRow| {
            row.image.name == image.name && image.version.is_none_or(|version| version == row.image.version)
        };
        let rows: Vec<VersionRow> = all.iter().filter(meant).cloned().collect();
        if rows.is_empty() {
            return Err(RemoveError::NoSuchImage(image.clone()));
        }
        if let Some(draft) = self.draft(&image.name)?
            && rows.len() == all.iter().filter(|row| row.image.name == image.name).count()
        {
            return Err(RemoveError::HasDraft(draft.base.name));
        }
        for row in &rows {
            let users = users(&row.image);
            if !users.is_empty() {
                return Err(RemoveError::InUse { image: row.image.clone(), users });
            }
        }
        let versions: Vec<Version> = rows.iter().map(|row| row.image.version).collect();
        for row in &rows {
            match fs::rename(self.path(&row.image), self.removing(row)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.bring_all_back(&rows);
                    return Err(LibraryError::Folder(error).into());
                }
                _ => {}
            }
        }
        let struck = self
            .sync(&self.folder.join(image.name.as_str()))
            .and_then(|()| Ok(self.store.image_remove(&image.name, &versions)?));
        let current = struck.inspect_err(|_| self.bring_all_back(&rows))?;
        for row in &rows {
            self.images.withdraw(&row.image, current);
            let from = self.path(&row.image);
            for beside in [numbers_beside(&from), packed_beside(&from)] {
                delete(&beside).map_err(LibraryError::Folder)?;
            }
        }
        self.images.removed.notify_one();
        if current.is_none() {
            // Fails, and may, when something that is not ours is in it.
            let _ = fs::remove_dir(self.folder.join(image.name.as_str()));
        }
        let job = self.sweep(".removing-", image.to_string())?;
        Ok(Removal { versions: rows.into_iter().map(|row| row.image).collect(), current, job })
    }

    fn removing(&self, row: &VersionRow) -> PathBuf {
        self.folder.join(format!(".removing-{}", row.tree))
    }

    /// Gives a tree its name back whose removal was not put on record.
    pub(super) fn bring_back(&self, row: &VersionRow) -> Result<(), LibraryError> {
        let (from, to) = (self.removing(row), self.path(&row.image));
        if from.is_dir() && !to.exists() {
            tracing::warn!(image = %row.image, "removal of a version was interrupted; it is still there");
            fs::rename(from, &to).map_err(LibraryError::Folder)?;
        }
        Ok(())
    }

    fn bring_all_back(&self, rows: &[VersionRow]) {
        for row in rows {
            if let Err(error) = self.bring_back(row) {
                tracing::error!(image = %row.image, error = chain(&error), "a version that was not removed has no place; the next start tries again");
            }
        }
    }

    /// Starts a job that deletes the folders whose names begin with `prefix` now. Folders of jobs that come later are
    /// not touched.
    pub(in crate::service::images) fn sweep(
        &self,
        prefix: &'static str,
        subject: String,
    ) -> Result<u64, LibraryError> {
        let found = left_behind(&self.folder, prefix).map_err(LibraryError::Folder)?;
        let library = self.clone();
        let work = move |task: &Task| {
            for folder in &found {
                task.go_on().map_err(|_| Stopped::Cancelled)?;
                match std::fs::remove_dir_all(folder) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(Stopped::Failed(format!(
                            "`{}` cannot be deleted: {error}",
                            folder.display()
                        )));
                    }
                    _ => {}
                }
            }
            library.measure(&Task::unwatched());
            Ok(format!(
                "{} deleted",
                if found.len() == 1 { "1 folder".to_owned() } else { format!("{} folders", found.len()) }
            ))
        };
        Ok(self.jobs.start("delete", subject, work)?)
    }
}

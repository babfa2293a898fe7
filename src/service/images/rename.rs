//! Another name for an image: of its folder, in the database, and for those who ask from now on.
//!
//! The name stands in three places (folder, database, configuration), which no file system changes at once. So what is meant
//! is written down first; whoever finds that note at a start goes on to the end. Running clients notice nothing: their handles
//! have numbers, not names, and one that was told the old name a moment ago still finds the image by it in this run.

use std::io::{self, Write as _};
use std::path::PathBuf;

use fs_err as fs;

use super::library::{Library, LibraryError, delete};
use crate::service::jobs::JobState;
use crate::types::{ImageName, ImageRef};

/// Why an image keeps its name.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    #[error("there is an image `{0}` already; choose another name")]
    NameTaken(ImageName),
    #[error("`{0}` has that name already")]
    Same(ImageName),
    #[error(
        "job {job} ({kind}) is about `{name}` and not over yet; wait for it, or cancel it (`bramble job cancel {job}`)"
    )]
    AtWork { job: u64, kind: String, name: ImageName },
    #[error(
        "an earlier change of a name (`{0}` to `{1}`) is not complete; restart Bramble, which completes it"
    )]
    Unfinished(ImageName, ImageName),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl Library {
    /// Gives an image another name, but in the configuration: whoever calls this changes that next, and then calls
    /// [`Library::renamed`], or this with the names the other way round if that failed.
    pub fn rename(&self, old: &ImageName, new: &ImageName) -> Result<(), RenameError> {
        if old == new {
            return Err(RenameError::Same(new.clone()));
        }
        if !self.images.has(old) {
            return Err(RenameError::NoSuchImage(ImageRef { name: old.clone(), version: None }));
        }
        if self.images.has(new) || self.folder.join(new.as_str()).exists() {
            return Err(RenameError::NameTaken(new.clone()));
        }
        self.nothing_at_work([old, new])?;
        match self.unfinished_rename().map_err(LibraryError::Folder)? {
            // Taken back.
            Some((before, after)) if (&after, &before) == (old, new) => {}
            Some((before, after)) => return Err(RenameError::Unfinished(before, after)),
            None => {}
        }
        self.note_rename(old, new).map_err(LibraryError::Folder)?;
        self.carry_out_rename(old, new)?;
        self.images.rename(old, new, &self.folder.join(new.as_str()));
        tracing::info!(%old, %new, "image renamed");
        Ok(())
    }

    /// The configuration has the new name too.
    pub fn renamed(&self) -> Result<(), LibraryError> {
        delete(&self.rename_note()).map_err(LibraryError::Folder)
    }

    /// The names of a change that was begun and is not complete in the configuration yet.
    pub fn unfinished_rename(&self) -> io::Result<Option<(ImageName, ImageName)>> {
        let text = match fs::read_to_string(self.rename_note()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut names = text.split_whitespace().map(str::parse);
        Ok(match (names.next(), names.next()) {
            (Some(Ok(old)), Some(Ok(new))) => Some((old, new)),
            // The power went while it was written: nothing else had been done.
            _ => None,
        })
    }

    /// At start, before anything is read: folder and database get the name that was meant.
    pub(super) fn settle_rename(&self) -> Result<(), LibraryError> {
        let Some((old, new)) = self.unfinished_rename().map_err(LibraryError::Folder)? else {
            return delete(&self.rename_note()).map_err(LibraryError::Folder);
        };
        tracing::warn!(%old, %new, "a change of an image's name was interrupted and is completed");
        self.carry_out_rename(&old, &new)
    }

    /// Each step may have been done already.
    fn carry_out_rename(&self, old: &ImageName, new: &ImageName) -> Result<(), LibraryError> {
        let [from, to] = [old, new].map(|name| self.folder.join(name.as_str()));
        if from.exists() && !to.exists() {
            fs::rename(&from, &to).map_err(LibraryError::Folder)?;
            fs::File::open(&*self.folder)
                .and_then(|folder| folder.sync_all())
                .map_err(LibraryError::Folder)?;
        }
        self.store.image_rename(old, new)?;
        Ok(())
    }

    fn rename_note(&self) -> PathBuf {
        self.folder.join(".renaming")
    }

    fn note_rename(&self, old: &ImageName, new: &ImageName) -> io::Result<()> {
        let mut note = fs::File::create(self.rename_note())?;
        writeln!(note, "{old} {new}")?;
        note.sync_all()?;
        fs::File::open(&*self.folder)?.sync_all()
    }

    /// Work on an image holds paths with its name.
    fn nothing_at_work(&self, names: [&ImageName; 2]) -> Result<(), RenameError> {
        let jobs = self.jobs.list().map_err(|error| RenameError::Library(error.into()))?;
        let at_work =
            jobs.into_iter().filter(|job| matches!(job.state, JobState::Queued | JobState::Running));
        for job in at_work {
            // Behind a colon is the command that runs in a draft.
            let subject = job.subject.split(':').next().unwrap_or_default();
            let about = |name: &&&ImageName| subject.split([' ', '@']).any(|word| word == name.as_str());
            if let Some(name) = names.iter().find(about) {
                return Err(RenameError::AtWork { job: job.id, kind: job.kind, name: (*name).clone() });
            }
        }
        Ok(())
    }
}

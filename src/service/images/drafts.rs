//! Drafts: the writable copy of a version, at most one an image.
//!
//! A draft is a copy, not a set of links: where the file system can share data until it is written (reflinks) the copy
//! costs nothing, and elsewhere it costs its size until it is published. Links would be cheaper there, and wrong: whoever
//! has the draft as their root, a Pi or a shell, writes into files as they are, and the version that a class is running must
//! not change with them. When the draft becomes a version, what was not touched is shared by links again, for good: a
//! published tree is never written ([`publish`](super::publish)).
#![expect(clippy::disallowed_methods, reason = "a draft notes when it was made, on its job's thread")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::copy;
use super::import::{ImportError, Staging, finish, stopped};
use super::inspect::inspect;
use super::library::{Library, LibraryError, delete};
use super::origins::Origins;
use super::workshop::{For, Hold, WorkError};
use super::{Facts, Tree};
use crate::service::jobs::Task;
use crate::store::drafts::DraftRow;
use crate::sys::random::random;
use crate::types::{ByteSize, ImageName, ImageRef, ImageVersion, MacAddr, Moment};

/// Name of the file beside a draft that says which of its files are untouched.
pub(super) const ORIGINS: &str = ".draft.origins";

/// Why a draft was not made, published or discarded.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    #[error(
        "`{name}` has a draft already, made from version {} on {made_at} UTC; publish it (`bramble image publish {name}`) or discard it (`bramble image discard {name}`) first",
        .base.version
    )]
    Exists { name: ImageName, base: ImageVersion, made_at: Moment },
    #[error("`{0}` has no draft; `bramble image draft {0}` makes one")]
    None(ImageName),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// A draft as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftSummary {
    /// The version it was copied from.
    pub base: ImageVersion,
    pub made_at: Moment,
    /// The client that boots it, to change it.
    pub client: Option<MacAddr>,
    /// Whether somebody is at work in it on the router, with a shell or a command.
    #[serde(default)]
    pub busy: bool,
    pub path: PathBuf,
}

impl DraftSummary {
    pub(super) fn of(row: &DraftRow, path: &Path) -> Self {
        Self {
            base: row.base.clone(),
            made_at: row.made_at,
            client: row.client,
            busy: Hold::is_taken(path),
            path: path.to_owned(),
        }
    }
}

impl Library {
    /// The draft of an image, if it has one.
    pub fn draft(&self, name: &ImageName) -> Result<Option<DraftRow>, LibraryError> {
        Ok(self.store.drafts()?.into_iter().find(|row| row.base.name == *name))
    }

    /// Where the draft of an image is.
    pub fn draft_path(&self, name: &ImageName) -> PathBuf {
        self.folder.join(name.as_str()).join("draft")
    }

    pub(super) fn origins_path(&self, name: &ImageName) -> PathBuf {
        self.folder.join(name.as_str()).join(ORIGINS)
    }

    /// Starts making a draft of `image` and answers with the job.
    pub fn make_draft(&self, image: &ImageRef) -> Result<u64, DraftError> {
        let tree = self.images.resolve(image).ok_or_else(|| DraftError::NoSuchImage(image.clone()))?;
        self.no_draft_yet(&image.name)?;
        let (library, base) = (self.clone(), tree.image.clone());
        let id = self.jobs.start_with_id("draft", base.to_string(), |job| {
            move |task: &Task| library.copy_to_draft(&base, job, task).map_err(stopped)
        });
        Ok(id.map_err(LibraryError::from)?)
    }

    /// Strikes the draft, and starts deleting its files; answers with that job.
    pub fn discard_draft(&self, name: &ImageName) -> Result<u64, DraftError> {
        let Some(row) = self.draft(name)? else { return Err(self.none_of(name)) };
        let _hold = self.hold_draft(name, For::End)?;
        self.images.withdraw_draft(name);
        self.store.draft_remove(name).map_err(LibraryError::from)?;
        self.set_aside(name, row.tree)?;
        tracing::info!(image = %name, "draft discarded");
        Ok(self.sweep(".removing-", format!("{name} (draft)"))?)
    }

    /// Takes the draft of an image, for work in it or to end it. `None` if its files are gone.
    pub(super) fn hold_draft(&self, name: &ImageName, what: For) -> Result<Option<Hold>, WorkError> {
        let draft = self.draft_path(name);
        if draft.is_dir() { Hold::take(name, &draft, what).map(Some) } else { Ok(None) }
    }

    /// Has `client` boot the draft of an image from its next start on, or no client.
    pub fn maintain(&self, name: &ImageName, client: Option<MacAddr>) -> Result<(), DraftError> {
        // For the time that it takes to note it nobody begins to work in it.
        let _hold = if client.is_some() { self.hold_draft(name, For::Work)? } else { None };
        if self.store.draft_client(name, client).map_err(LibraryError::from)? {
            self.images.set_maintainer(name, client);
            tracing::info!(image = %name, ?client, "maintenance of a draft");
            Ok(())
        } else {
            Err(self.none_of(name))
        }
    }

    /// Lets the client that maintains a draft have it.
    pub(super) fn show_draft(&self, row: &DraftRow) {
        let name = &row.base.name;
        let root = self.draft_path(name);
        // Of the version it was copied from; of the draft itself if that is gone.
        let known = self.images.version(&row.base).map(|tree| tree.facts.clone());
        let facts = known.or_else(|| inspect(&root).ok()).unwrap_or_else(Facts::unknown);
        let image = row.base.clone();
        let tree = Tree { image, id: row.tree, nonce: row.nonce, root, facts, draft: true };
        self.images.put_draft(tree, row.client);
    }

    pub(super) fn none_of(&self, name: &ImageName) -> DraftError {
        if self.images.has(name) {
            DraftError::None(name.clone())
        } else {
            DraftError::NoSuchImage(ImageRef { name: name.clone(), version: None })
        }
    }

    fn no_draft_yet(&self, name: &ImageName) -> Result<(), DraftError> {
        match self.draft(name)? {
            Some(DraftRow { base, made_at, .. }) => {
                Err(DraftError::Exists { name: name.clone(), base, made_at })
            }
            None => Ok(()),
        }
    }

    fn copy_to_draft(&self, base: &ImageVersion, job: u64, task: &Task) -> Result<String, ImportError> {
        // Another job may have been before this one.
        self.no_draft_yet(&base.name)?;
        let from = self.path(base);
        task.phase("measuring", 0)?;
        let bytes = copy::measure(&from, task)?;
        let staging = Staging::new(self.folder.join(format!(".incoming-{job}")))?;
        let tree = staging.folder("tree", 0o755)?;
        if !shares(&from, &staging) {
            self.room_for("making a draft of", &base.to_string(), bytes, false)?;
        }
        task.phase("copying", bytes)?;
        let mut planter = self.planter(&tree)?;
        let copied = copy::copy(&from, &mut planter, task);
        copied.map_err(|error| self.full_or_else(&base.to_string(), error.into()))?;
        let planted = finish(planter, task).map_err(|error| self.full_or_else(&base.to_string(), error))?;
        task.phase("noting what is untouched", 0)?;
        let origins = Origins::take(&tree, &from, task)?;
        task.go_on()?;

        let nonce = random().map(u64::from_ne_bytes).map_err(LibraryError::Random)?;
        let name = &base.name;
        origins.save(&self.origins_path(name), nonce).map_err(LibraryError::Folder)?;
        fs::rename(&tree, self.draft_path(name)).map_err(LibraryError::Folder)?;
        self.sync(&self.folder.join(name.as_str()))?;
        let at = Moment::from(SystemTime::now());
        let row = self.store.draft_add(base, nonce, at).map_err(LibraryError::from)?;
        let Some(row) = row else {
            // The image went while its files were copied.
            fs::rename(self.draft_path(name), &tree).map_err(LibraryError::Folder)?;
            delete(&self.origins_path(name)).map_err(LibraryError::Folder)?;
            let image = ImageRef { name: name.clone(), version: Some(base.version) };
            return Err(DraftError::NoSuchImage(image).into());
        };
        self.show_draft(&row);
        tracing::info!(image = %base, bytes = planted.bytes, "draft made");
        Ok(format!(
            "the draft of `{name}` is ready: a copy of version {}, {} in {} files\nNobody boots it until it is published: bramble image publish {name}",
            base.version,
            ByteSize(planted.bytes),
            planted.files
        ))
    }

    /// Takes the files of a draft that is struck off the record out of the way.
    pub(super) fn set_aside(&self, name: &ImageName, tree: u32) -> Result<(), LibraryError> {
        match fs::rename(self.draft_path(name), self.folder.join(format!(".removing-draft-{tree}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(LibraryError::Folder(error)),
            _ => {}
        }
        delete(&self.origins_path(name)).map_err(LibraryError::Folder)
    }

    /// At start: a draft whose publication was interrupted is either what it was, or a version; never both, for they share
    /// files. A draft without a row, or a row without a draft, is none.
    pub(super) fn settle_drafts(&self) -> Result<(), LibraryError> {
        let rows = self.store.drafts()?;
        for row in &rows {
            let name = &row.base.name;
            let became = row
                .becomes
                .is_some_and(|version| self.path(&ImageVersion { name: name.clone(), version }).is_dir());
            if became || !self.draft_path(name).is_dir() {
                tracing::warn!(image = %name, became, "draft is no more: it became a version, or its files are gone");
                self.store.draft_remove(name)?;
                self.set_aside(name, row.tree)?;
                continue;
            }
            if row.becomes.is_some() {
                tracing::warn!(image = %name, "publication of a draft was interrupted; it is still a draft");
                self.store.draft_becomes(name, None)?;
            }
            self.show_draft(row);
        }
        for entry in fs::read_dir(&*self.folder).map_err(LibraryError::Folder)? {
            let entry = entry.map_err(LibraryError::Folder)?;
            let name = entry.file_name().to_str().and_then(|name| name.parse::<ImageName>().ok());
            let Some(name) = name else { continue };
            if rows.iter().any(|row| row.base.name == name) {
                continue;
            }
            if self.draft_path(&name).is_dir() {
                tracing::warn!(image = %name, "draft without a record is deleted; its making was interrupted");
                let number = random().map(u64::from_ne_bytes).map_err(LibraryError::Random)?;
                let aside = self.folder.join(format!(".removing-lone-{number:016x}"));
                fs::rename(self.draft_path(&name), aside).map_err(LibraryError::Folder)?;
            }
            delete(&self.origins_path(&name)).map_err(LibraryError::Folder)?;
        }
        Ok(())
    }

    /// An error of writing about `what`, said as what it is when the disk is full.
    pub(super) fn full_or_else(&self, what: &str, error: ImportError) -> ImportError {
        if error.is_full() {
            return ImportError::Full { source_name: what.to_owned(), folder: self.folder.to_path_buf() };
        }
        error
    }
}

/// Whether the file system of `staging` can share the data of a file in `from` with a new one.
fn shares(from: &Path, staging: &Staging) -> bool {
    let sample = ["etc/os-release", "usr/lib/os-release", "sbin/init", "bin/sh"];
    let found = super::inside::Inside::new(from)
        .ok()
        .and_then(|tree| sample.iter().find_map(|path| tree.open(path).ok()));
    let Some(found) = found else { return false };
    staging.probe("shares").is_ok_and(|to| crate::sys::reflink::share(&found, &to).is_ok())
}

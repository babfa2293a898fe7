//! The images of this router: loaded at start, imported, listed, removed.
//!
//! On the disk (below `<data>/images`):
//!
//! | path | is |
//! |---|---|
//! | `<name>/<version>/` | a published tree, never changed |
//! | `<name>/.<version>.handles` | numbers of its files, where the file system has no handles; goes with the tree |
//! | `<name>/.<version>.squashfs` | the same tree in one file, if it is packed ([`pack`](super::pack)); goes with the tree |
//! | `<name>/.<version>.record` | what its row will say, from before it gets its name until the row is there |
//! | `<name>/draft/` | the writable copy, if there is one |
//! | `<name>/.draft.origins` | which of its files are untouched, see [`origins`](super::origins) |
//! | `.renaming` | which name becomes which, while it does ([`rename`](super::rename)) |
//! | `.incoming-<job>/` | an import, a copy or a publication at work; found at start, it was interrupted and goes |
//! | `.removing-<tree>/` | a removed tree that is being deleted; found at start, deleting goes on, or it comes back |
//!
//! A tree or a draft gets its final name only when all of it is on the disk, and its row only after that. So a folder without a
//! row is complete (the power went between the two steps, or the database was lost): it is put on record, with what was to be
//! in its row if that is beside it. A removal goes the other way: the tree loses its name, then its row goes; a tree without
//! its name that still has a row gets it back. A draft without a row goes: what it was copied from is still there.

mod left;
mod remove;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use serde::{Deserialize, Serialize};

pub(super) use self::left::delete;
use self::left::{Record, numbers, record_beside};
pub use self::remove::{Removal, RemoveError};
use super::devices::Devices;
use super::drafts::DraftSummary;
use super::inspect::{InspectError, inspect};
use super::uploads::{UploadError, Uploads};
use super::web::Web;
use super::{Facts, Images, Tree};
use crate::service::jobs::{JobError, Jobs};
use crate::store::images::{NewVersion, VersionRow};
use crate::store::{Store, StoreError};
use crate::sys::random::random;
use crate::types::{ImageName, ImageRef, ImageVersion, Moment, Version};

/// Everything about images that is more than reading them. Clones share it.
#[derive(Clone, Debug)]
pub struct Library {
    pub(super) images: Arc<Images>,
    pub(super) store: Store,
    pub(super) jobs: Jobs,
    /// `<data>/images`.
    pub(super) folder: Arc<Path>,
    /// How the web is reached.
    pub(super) web: Web,
    pub(super) uploads: Uploads,
    pub(super) devices: Devices,
}

/// Why the library could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("the folder for images cannot be used")]
    Folder(#[source] io::Error),
    #[error("`{0}` was removed meanwhile")]
    Gone(ImageRef),
    #[error("a random number could not be drawn")]
    Random(#[source] io::Error),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Job(#[from] JobError),
}

/// One image as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSummary {
    pub name: ImageName,
    /// What clients boot that pin no version.
    pub current: Option<Version>,
    /// Oldest first.
    pub versions: Vec<VersionSummary>,
    pub draft: Option<DraftSummary>,
}

/// One version as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSummary {
    pub version: Version,
    pub source: String,
    /// What a person says about it.
    pub note: String,
    /// Whether a roll-back makes it the current one.
    pub before: bool,
    /// Bytes that its removal gives back, as last measured; the rest it shares with other versions.
    pub own: Option<u64>,
    /// Of the file it came from, if it was asked for.
    pub sha256: Option<String>,
    pub bytes: u64,
    pub files: u64,
    /// Bytes of its packed file, which it takes beside the tree; none if it is not packed.
    #[serde(default)]
    pub packed: Option<u64>,
    pub imported_at: Moment,
    pub path: PathBuf,
    /// Whether its tree is not where it should be: nobody can boot it.
    pub missing: bool,
    pub facts: Facts,
}

/// What comes back of a tree that has been written and inspected.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    pub tree: &'a Path,
    pub name: &'a ImageName,
    pub source: &'a str,
    /// What a person says about it.
    pub note: &'a str,
    /// Whether clients that pin no version boot it from now on.
    pub current: bool,
    pub sha256: Option<&'a str>,
    pub bytes: u64,
    pub files: u64,
    pub facts: Facts,
    pub at: Moment,
    /// The job that made it.
    pub job: Option<u64>,
    /// The entry of a catalogue that it came from, in JSON.
    pub origin: Option<&'a str>,
}

impl Library {
    /// Opens `<data>/images`: puts what is on record on the shelf of `images`, and starts jobs for what an interruption
    /// left behind.
    pub fn open(
        data: &Path,
        store: Store,
        jobs: Jobs,
        images: Arc<Images>,
        now: Moment,
    ) -> Result<Self, LibraryError> {
        let folder = data.join("images");
        // Trees hold programs with setuid and the hashes of passwords: nobody but root looks in.
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(LibraryError::Folder)?;
        let uploads = Uploads::open(data, store.clone())?;
        let devices = Devices::of_this_machine(data);
        let library =
            Self { images, store, jobs, folder: folder.into(), web: Web::default(), uploads, devices };
        library.settle_rename()?;
        let rows = library.store.image_versions()?;
        for row in &rows {
            library.bring_back(row)?;
            library.load(row);
        }
        library.settle_drafts()?;
        library.clean_up(&rows)?;
        library.adopt(&rows, now)?;
        library.sweep_exports()?;
        Ok(library)
    }

    pub fn images(&self) -> &Arc<Images> {
        &self.images
    }

    /// How the web is reached.
    pub fn web(&self) -> &Web {
        &self.web
    }

    /// Files that come from a browser.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Looks for disks elsewhere than this machine has them: for tests.
    pub fn look_for_disks_in(&mut self, devices: Devices) {
        self.devices = devices;
    }

    /// Disks that an image can be taken from.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Every image with its versions, by name.
    pub fn list(&self) -> Result<Vec<ImageSummary>, LibraryError> {
        let mut list: BTreeMap<ImageName, ImageSummary> = BTreeMap::new();
        for row in self.store.image_versions()? {
            let name = row.image.name.clone();
            let summary = list.entry(name.clone()).or_insert(ImageSummary {
                name,
                current: None,
                versions: vec![],
                draft: None,
            });
            if row.current {
                summary.current = Some(row.image.version);
            }
            summary.versions.push(self.summary(row));
        }
        for row in self.store.drafts()? {
            if let Some(summary) = list.get_mut(&row.base.name) {
                summary.draft = Some(DraftSummary::of(&row, &self.draft_path(&row.base.name)));
            }
        }
        Ok(list.into_values().collect())
    }

    /// One image with its versions; `None` if there is none of that name.
    pub fn show(&self, name: &ImageName) -> Result<Option<ImageSummary>, LibraryError> {
        Ok(self.list()?.into_iter().find(|image| image.name == *name))
    }

    /// `<data>/images/<name>/<version>`.
    pub(super) fn path(&self, image: &ImageVersion) -> PathBuf {
        self.folder.join(image.name.as_str()).join(image.version.to_string())
    }

    /// Gives a written tree its final name, its row and its place on the shelf. All its bytes are on the disk already.
    pub(super) fn publish(&self, ready: &Ready<'_>) -> Result<ImageVersion, LibraryError> {
        let image = self.next_version(ready.name)?;
        self.put_in_place(ready, &image)?;
        self.record(&image, ready, Store::image_publish)?;
        Ok(image)
    }

    /// The version that the next publication of `name` will be.
    pub(super) fn next_version(&self, name: &ImageName) -> Result<ImageVersion, LibraryError> {
        let on_disk = numbers(&self.folder.join(name.as_str())).max().map_or(0, NonZeroU32::get);
        let last = self.store.image_last_version(name)?.max(on_disk);
        Ok(ImageVersion { name: name.clone(), version: Version(NonZeroU32::MIN.saturating_add(last)) })
    }

    /// Gives a written tree the name it has from now on, with what its row will say beside it.
    pub(super) fn put_in_place(&self, ready: &Ready<'_>, image: &ImageVersion) -> Result<(), LibraryError> {
        let home = self.folder.join(image.name.as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(&home).map_err(LibraryError::Folder)?;
        Record::of(ready).write(&record_beside(&self.path(image))).map_err(LibraryError::Folder)?;
        self.sync(&home)?;
        fs::rename(ready.tree, self.path(image)).map_err(LibraryError::Folder)?;
        self.sync(&home)
    }

    /// Has the names in `home`, the folder of one image, on the disk.
    pub(super) fn sync(&self, home: &Path) -> Result<(), LibraryError> {
        for folder in [home, &*self.folder] {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(LibraryError::Folder)?;
        }
        Ok(())
    }

    /// Puts a tree that is in place on record, by `store`, and on the shelf.
    pub(super) fn record(
        &self,
        image: &ImageVersion,
        ready: &Ready<'_>,
        store: impl FnOnce(&Store, &NewVersion<'_>) -> Result<u32, StoreError>,
    ) -> Result<(), LibraryError> {
        let nonce = random().map(u64::from_ne_bytes).map_err(LibraryError::Random)?;
        let facts = serde_json::to_string(&ready.facts).unwrap_or_default();
        let new = NewVersion {
            image,
            nonce,
            source: ready.source,
            note: ready.note,
            current: ready.current,
            sha256: ready.sha256,
            bytes: ready.bytes,
            files: ready.files,
            facts: &facts,
            at: ready.at,
            job: ready.job,
            origin: ready.origin,
        };
        let tree = store(&self.store, &new)?;
        let root = self.path(image);
        // If it stays, the next start takes it away.
        let _ = delete(&record_beside(&root));
        tracing::info!(image = %image, tree, bytes = ready.bytes, "image published");
        let current = ready.current || !self.images.has(&image.name);
        let facts = ready.facts.clone();
        let was_packed = self.is_packed(&image.name);
        self.images.put(Tree { image: image.clone(), id: tree, nonce, root, facts, draft: false }, current);
        self.pack_as_before(image, was_packed);
        Ok(())
    }

    /// Puts one recorded version on the shelf, if its tree is there.
    fn load(&self, row: &VersionRow) {
        let root = self.path(&row.image);
        if !root.is_dir() {
            tracing::warn!(image = %row.image, path = %root.display(), "tree of an image is missing; nobody can boot it");
            return;
        }
        let tree = Tree {
            image: row.image.clone(),
            id: row.tree,
            nonce: row.nonce,
            root,
            facts: self.facts(row),
            draft: false,
        };
        let image = tree.image.clone();
        self.images.put(tree, row.current);
        if let Some(tree) = self.images.version(&image) {
            self.load_packed(&tree);
        }
    }

    /// What is on record; looked at again if another version of Bramble wrote it in its own words.
    fn facts(&self, row: &VersionRow) -> Facts {
        serde_json::from_str(&row.facts).ok().or_else(|| inspect(&self.path(&row.image)).ok()).unwrap_or_else(
            || {
                let warning = "What it is could not be found out; import it again.".to_owned();
                Facts { warnings: vec![warning], ..Facts::unknown() }
            },
        )
    }

    fn summary(&self, row: VersionRow) -> VersionSummary {
        let path = self.path(&row.image);
        let facts = self.facts(&row);
        VersionSummary {
            version: row.image.version,
            source: row.source,
            note: row.note,
            before: row.before,
            own: row.own,
            sha256: row.sha256,
            bytes: row.bytes,
            files: row.files,
            packed: self.images.packed(row.tree).map(|packed| packed.bytes),
            imported_at: row.imported_at,
            missing: !path.is_dir(),
            path,
            facts,
        }
    }
}

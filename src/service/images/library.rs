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

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::copy;
use super::devices::Devices;
use super::drafts::DraftSummary;
use super::inspect::{InspectError, inspect};
use super::uploads::{UploadError, Uploads};
use super::web::Web;
use super::{Facts, Images, NUMBERS, PACKED, Tree, numbers_beside, packed_beside};
use crate::service::jobs::{JobError, Jobs, Stopped, Task};
use crate::store::images::{NewVersion, VersionRow};
use crate::store::{Store, StoreError};
use crate::sys::random::random;
use crate::types::{ImageName, ImageRef, ImageVersion, Moment, Version, chain};

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

/// What was struck off the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub versions: Vec<ImageVersion>,
    /// What clients of the image boot from now on, if it still has a version.
    pub current: Option<Version>,
    /// The job that deletes the files.
    pub job: u64,
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
    fn bring_back(&self, row: &VersionRow) -> Result<(), LibraryError> {
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

    /// Deletes what interrupted imports and removals left, in a job: it may be gigabytes.
    fn clean_up(&self, rows: &[VersionRow]) -> Result<(), LibraryError> {
        for prefix in [".incoming-", ".removing-"] {
            let found = left_behind(&self.folder, prefix).map_err(LibraryError::Folder)?;
            if !found.is_empty() {
                tracing::warn!(folders = found.len(), prefix, "deleting what an interruption left behind");
                self.sweep(prefix, format!("{prefix}*"))?;
            }
        }
        for entry in fs::read_dir(&*self.folder).map_err(LibraryError::Folder)? {
            let image = entry.map_err(LibraryError::Folder)?.path();
            if image.is_dir() {
                delete_lone(&image, rows).map_err(LibraryError::Folder)?;
            }
        }
        Ok(())
    }

    /// Starts a job that deletes the folders whose names begin with `prefix` now. Folders of jobs that come later are
    /// not touched.
    pub(super) fn sweep(&self, prefix: &'static str, subject: String) -> Result<u64, LibraryError> {
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

    /// Puts trees without a row on record again.
    fn adopt(&self, rows: &[VersionRow], now: Moment) -> Result<(), LibraryError> {
        for entry in fs::read_dir(&*self.folder).map_err(LibraryError::Folder)? {
            let entry = entry.map_err(LibraryError::Folder)?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<ImageName>().ok())
            else {
                continue;
            };
            for number in numbers(&entry.path()) {
                let image = ImageVersion { name: name.clone(), version: Version(number) };
                if rows.iter().any(|row| row.image == image) {
                    continue;
                }
                tracing::warn!(image = %image, "tree without a record; it is put on record again");
                // From here on it is not imported once more: it is here.
                let made_by = Record::read(&record_beside(&self.path(&image))).and_then(|record| record.job);
                made_by.map(|job| self.store.import_forget(job)).transpose()?;
                let library = self.clone();
                self.jobs
                    .start("adopt", image.to_string(), move |task| library.adopt_one(&image, now, task))?;
            }
        }
        Ok(())
    }

    fn adopt_one(&self, image: &ImageVersion, now: Moment, task: &Task) -> Result<String, Stopped> {
        let root = self.path(image);
        let facts = inspect(&root).map_err(|error| Stopped::because(&error))?;
        let bytes = copy::measure(&root, task).map_err(|error| Stopped::because(&error))?;
        let name = image.name.clone();
        let known = Record::read(&record_beside(&root));
        let done = match &known {
            Some(_) => format!("`{image}` was on the disk and not yet on record; now it is"),
            None => format!(
                "`{image}` was on the disk without a record; it can be booted again (`bramble image promote {image}` has its clients boot it)"
            ),
        };
        let record = known.unwrap_or_else(|| Record {
            source: "found on the disk".to_owned(),
            note: String::new(),
            // Whether it was to be everybody's is not known: a person decides.
            current: false,
            sha256: None,
            bytes,
            files: 0,
            at: now,
            job: None,
            origin: None,
        });
        let ready = Ready {
            tree: &root,
            name: &name,
            source: &record.source,
            note: &record.note,
            current: record.current,
            sha256: record.sha256.as_deref(),
            bytes: record.bytes,
            files: record.files,
            facts,
            at: record.at,
            job: record.job,
            origin: record.origin.as_deref(),
        };
        self.record(image, &ready, Store::image_publish).map_err(|error| Stopped::because(&error))?;
        if let Some(tree) = self.images.version(image) {
            self.load_packed(&tree);
        }
        Ok(done)
    }
}

/// Folders below `folder` whose names are version numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = NonZeroU32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        // `01` is not a name that Bramble gives.
        name.parse::<NonZeroU32>().ok().filter(|number| number.to_string() == name)
    })
}

/// Deletes what belongs to trees that are no more in the folder of an image, and what is to be put on record of trees that are
/// no more or that are on record; and the folder if nothing is left in it.
fn delete_lone(image: &Path, rows: &[VersionRow]) -> io::Result<()> {
    let is_known = |version: &str| {
        let name = image.file_name().and_then(|name| name.to_str());
        rows.iter()
            .any(|row| Some(row.image.name.as_str()) == name && row.image.version.to_string() == version)
    };
    for file in left_behind(image, ".")? {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let hidden = name.strip_prefix('.').unwrap_or_default();
        let gone = |version: &str| !image.join(version).exists();
        if [NUMBERS, PACKED].iter().any(|ending| hidden.strip_suffix(ending).is_some_and(gone))
            || hidden.strip_suffix(RECORD).is_some_and(|version| gone(version) || is_known(version))
        {
            delete(&file)?;
            // Fails, and may, when there are other versions.
            let _ = std::fs::remove_dir(image);
        }
    }
    Ok(())
}

/// How the names of files end that have what a row will say.
const RECORD: &str = ".record";

fn record_beside(root: &Path) -> PathBuf {
    let name = root.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    root.with_file_name(format!(".{name}{RECORD}"))
}

/// What the row of a version will say, besides what its tree tells by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    source: String,
    note: String,
    current: bool,
    sha256: Option<String>,
    bytes: u64,
    files: u64,
    at: Moment,
    job: Option<u64>,
    origin: Option<String>,
}

impl Record {
    fn of(ready: &Ready<'_>) -> Self {
        Self {
            source: ready.source.to_owned(),
            note: ready.note.to_owned(),
            current: ready.current,
            sha256: ready.sha256.map(str::to_owned),
            bytes: ready.bytes,
            files: ready.files,
            at: ready.at,
            job: ready.job,
            origin: ready.origin.map(str::to_owned),
        }
    }

    /// Writes it, and has it on the disk.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        serde_json::to_writer(&mut file, self)?;
        file.sync_all()
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// Deletes a file that need not be there.
pub(super) fn delete(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn left_behind(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

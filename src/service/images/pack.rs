//! Packed versions: one squashfs file beside a tree, which clients mount instead of walking the tree file by file.
//!
//! The tree stays: kernels and boot files come from it, drafts are copied from it, and clients whose kernel has no squashfs use
//! it. Whether a version is packed is whether the file is there, whole: it gets its name only when all of it is on the disk.
//! An image whose current version is packed stays so: versions that are published later are packed too.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;

use super::copy;
use super::import::{ImportError, Staging, stopped};
use super::library::{Library, LibraryError, delete};
use super::squash::{self, SquashError, Squashed};
use super::{Images, Packed, Tree, packed_beside};
use crate::service::jobs::{JobError, Stopped, Task};
use crate::types::{ByteSize, ImageRef, ImageVersion};

/// Why a version was not packed, or not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    #[error("`{0}` is packed already")]
    Already(ImageVersion),
    #[error("no version of `{0}` is packed")]
    NotPacked(ImageRef),
    #[error(
        "`{image}` is what {} from, packed; shut {} down first, and unpack it then",
        running(.users), if .users.len() == 1 { "it" } else { "them" }
    )]
    InUse { image: ImageVersion, users: Vec<String> },
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// `lab-01 runs`, `lab-01 and 3 more run`.
fn running(users: &[String]) -> String {
    match users {
        [] => "nobody runs".to_owned(),
        [one] => format!("{one} runs"),
        [first, rest @ ..] => format!("{first} and {} more run", rest.len()),
    }
}

impl Library {
    /// Starts packing a version; answers with the job.
    pub fn pack(&self, image: &ImageRef) -> Result<u64, PackError> {
        let tree = self.images.resolve(image).ok_or_else(|| PackError::NoSuchImage(image.clone()))?;
        if self.images.packed(tree.id).is_some() {
            return Err(PackError::Already(tree.image.clone()));
        }
        Ok(self.start_packing(&tree).map_err(LibraryError::from)?)
    }

    fn start_packing(&self, tree: &Arc<Tree>) -> Result<u64, JobError> {
        let (library, tree) = (self.clone(), Arc::clone(tree));
        self.jobs.start_with_id("pack", tree.image.to_string(), |job| {
            move |task: &Task| library.run_packing(&tree, job, task).map_err(stopped)
        })
    }

    /// Packs a version that has just been published, if its image is a packed one.
    pub(super) fn pack_as_before(&self, image: &ImageVersion, was_packed: bool) {
        let Some(tree) = self.images.version(image).filter(|_| was_packed) else { return };
        if let Err(error) = self.start_packing(&tree) {
            tracing::warn!(%image, %error, "a version is not packed, though the one before is; `bramble image pack` does it");
        }
    }

    /// Whether the current version of the image is packed.
    pub(super) fn is_packed(&self, name: &crate::types::ImageName) -> bool {
        let tree = self.images.resolve(&ImageRef { name: name.clone(), version: None });
        let packed = tree.and_then(|tree| self.images.packed(tree.id));
        packed.is_some_and(|packed| packed.offered)
    }

    fn run_packing(&self, tree: &Tree, job: u64, task: &Task) -> Result<String, ImportError> {
        let image = &tree.image;
        // Another job may have been before this one, and clients run what it made.
        if self.images.packed(tree.id).is_some() {
            return Ok(PackError::Already(image.clone()).to_string());
        }
        task.phase("measuring", 0)?;
        let bytes = copy::measure(&tree.root, task)?;
        // Two thirds is what a tree of programs that are packed already would take.
        self.room_for("packing", &image.to_string(), bytes / 3 * 2, false)?;
        let staging = Staging::new(self.folder.join(format!(".incoming-{job}")))?;
        let part = staging.path("packed");
        let failed = |source| ImportError::Staging { folder: self.folder.to_path_buf(), source };
        // It holds what only root may read.
        let made = File::options().read(true).write(true).create_new(true).mode(0o600).open(&part);
        let out = made.map_err(failed)?;
        task.phase("packing", bytes)?;
        let rows = self.store.image_versions().map_err(LibraryError::from)?;
        let at = rows.iter().find(|row| row.image == *image).map_or(0, |row| row.imported_at.secs());
        let packed = squash::write(&tree.root, &out, u32::try_from(at).unwrap_or(0), task);
        let Squashed { bytes: size, attributes_lost } = packed
            .map_err(ImportError::from)
            .map_err(|error| self.full_or_else(&image.to_string(), error))?;
        task.phase("writing to the disk", 0)?;
        out.sync_all().map_err(failed)?;
        task.go_on()?;
        let to = packed_beside(&tree.root);
        fs::rename(&part, &to).map_err(failed)?;
        self.sync(&self.folder.join(image.name.as_str()))?;
        let found = packed_of(&to).map_err(failed)?;
        if !self.images.set_packed(tree.id, Some(found)) {
            // The version was removed while it was packed.
            delete(&to).map_err(failed)?;
            let image = ImageRef { name: image.name.clone(), version: Some(image.version) };
            return Err(LibraryError::Gone(image).into());
        }
        self.measure(&Task::unwatched());
        tracing::info!(%image, bytes = size, "version packed");
        let mut told = format!(
            "`{image}` is packed: {} instead of {}; clients use it from their next start on",
            ByteSize(size),
            ByteSize(bytes)
        );
        if attributes_lost > 0 {
            let _ = write!(
                told,
                "\nNote: {attributes_lost} extended attributes (lists of access rights) are not in it."
            );
        }
        Ok(told)
    }

    /// Starts deleting the packed file of one version, or with a bare name those of all; answers with the job. Refused while
    /// `users` names clients that run such a version.
    pub fn unpack(
        &self,
        image: &ImageRef,
        users: &dyn Fn(&ImageVersion) -> Vec<String>,
    ) -> Result<u64, PackError> {
        let meant = |tree: &Arc<Tree>| {
            tree.image.name == image.name && image.version.is_none_or(|version| version == tree.image.version)
        };
        let trees: Vec<_> = self.images.all().into_iter().filter(meant).collect();
        if trees.is_empty() {
            return Err(PackError::NoSuchImage(image.clone()));
        }
        // First nobody who starts gets it any more; then it is asked who has got it.
        let mut leaving = Leaving::new(Arc::clone(&self.images), trees);
        if leaving.trees.is_empty() {
            return Err(PackError::NotPacked(image.clone()));
        }
        for tree in &leaving.trees {
            let users = users(&tree.image);
            if !users.is_empty() {
                return Err(PackError::InUse { image: tree.image.clone(), users });
            }
        }
        let (library, count) = (self.clone(), leaving.trees.len());
        let job = self.jobs.start("unpack", image.to_string(), move |_| {
            while let Some(tree) = leaving.trees.last() {
                delete(&packed_beside(&tree.root)).map_err(|error| Stopped::because(&error))?;
                library.images.set_packed(tree.id, None);
                leaving.trees.pop();
            }
            library.images.tell_removed();
            library.measure(&Task::unwatched());
            Ok(format!(
                "{count} packed {} deleted; clients use the tree",
                if count == 1 { "file" } else { "files" }
            ))
        });
        Ok(job.map_err(LibraryError::from)?)
    }

    /// Puts the packed file of a version on the shelf, if it has one.
    pub(super) fn load_packed(&self, tree: &Tree) {
        match packed_of(&packed_beside(&tree.root)) {
            Ok(packed) => {
                self.images.set_packed(tree.id, Some(packed));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(image = %tree.image, %error, "a packed file cannot be used"),
        }
    }
}

/// Versions whose packed files are about to be deleted: they are offered to nobody, and are again if that comes to nothing.
struct Leaving {
    images: Arc<Images>,
    trees: Vec<Arc<Tree>>,
}

impl Leaving {
    /// Those of `trees` that are packed, and not about to be unpacked already.
    fn new(images: Arc<Images>, mut trees: Vec<Arc<Tree>>) -> Self {
        trees.retain(|tree| images.offer_packed(tree.id, false));
        Self { images, trees }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        for tree in &self.trees {
            self.images.offer_packed(tree.id, true);
        }
    }
}

impl From<SquashError> for ImportError {
    fn from(error: SquashError) -> Self {
        match error {
            SquashError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Squash(other),
        }
    }
}

/// A packed file as it is on the disk. It is told from one that was there before by its inode and its time.
fn packed_of(path: &Path) -> io::Result<Packed> {
    let about = std::fs::symlink_metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut hasher = siphasher::sip::SipHasher13::new();
    for number in
        [about.ino(), about.len(), about.mtime().cast_unsigned(), about.mtime_nsec().cast_unsigned()]
    {
        std::hash::Hasher::write_u64(&mut hasher, number);
    }
    Ok(Packed {
        bytes: about.len(),
        stamp: std::hash::Hasher::finish(&hasher),
        path: PathBuf::from(path),
        offered: true,
    })
}

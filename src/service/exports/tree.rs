//! One tree as it is exported: its root, and how its files are found again from a handle.
//!
//! Where the file system has handles and we may open them, the kernel finds the file. Elsewhere (overlayfs, a namespace without
//! privileges) we do: by an [`Index`] built once and kept beside the tree where the tree is published and never changes, by
//! [`Inodes`] where it is written. Handles of all kinds are understood whatever the present way is, as far as that is possible.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open};
use nix::sys::stat::Mode;

use super::Patience;
use super::grants::WritableTree;
use super::handle::{Sealer, Space, Token, Way};
use super::index::Index;
use super::inodes::Inodes;
use super::reserve::Disk;
use super::usage::Usage;
use crate::proto::nfs3::Handle;
use crate::service::images::{Tree, numbers_beside};
use crate::sys;
use crate::types::{ImageVersion, chain};

/// Number of the root in every index.
const ROOT: u32 = 0;

/// What tells one tree from all others, those of earlier times included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub space: Space,
    pub id: u32,
    pub nonce: u64,
}

/// What is exported.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A published version of an image.
    Image(Arc<Tree>),
    /// A home or a share.
    Writable(Arc<WritableTree>),
    /// The draft of an image.
    Draft(Arc<Tree>),
}

impl Subject {
    pub fn key(&self) -> Key {
        match self {
            Self::Image(tree) => Key { space: Space::Image, id: tree.id, nonce: tree.nonce },
            Self::Writable(tree) => tree.key(),
            Self::Draft(tree) => Key { space: Space::Draft, id: tree.id, nonce: tree.nonce },
        }
    }

    /// The version it is, or was copied from.
    pub fn image(&self) -> Option<&ImageVersion> {
        match self {
            Self::Image(tree) | Self::Draft(tree) => Some(&tree.image),
            Self::Writable(_) => None,
        }
    }

    pub fn root(&self) -> &Path {
        match self {
            Self::Image(tree) | Self::Draft(tree) => &tree.root,
            Self::Writable(tree) => &tree.root,
        }
    }
}

/// An open tree.
#[derive(Debug)]
pub struct Export {
    subject: Subject,
    sealer: Arc<Sealer>,
    root: OwnedFd,
    root_way: Way,
    index: OnceLock<Index>,
    inodes: OnceLock<Inodes>,
    usage: Usage,
    disk: Disk,
}

/// Why a tree cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the tree `{root}` cannot be opened; is the disk still attached?")]
    Root {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the tree `{root}` cannot be listed to number its files")]
    Index {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Which way handles are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handles {
    /// The kernel's where they work, else our own.
    Best,
    /// Our own, whatever the file system can do.
    Indexed,
}

impl Export {
    /// Opens the tree; in the worst case walks all of it.
    pub fn open(subject: Subject, sealer: Arc<Sealer>, handles: Handles) -> Result<Self, ExportError> {
        let failed =
            |source: Errno| ExportError::Root { root: subject.root().to_owned(), source: source.into() };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let root = open(subject.root(), flags, Mode::empty()).map_err(failed)?;
        let (index, inodes) = (OnceLock::new(), OnceLock::new());
        let kernel = (handles == Handles::Best).then(|| kernel_way(&root)).flatten();
        let root_way = match (kernel, &subject) {
            (Some(way), _) => way,
            (None, Subject::Image(tree)) => {
                let number = Self::read_index(tree, &root)?;
                tracing::info!(
                    image = %tree.image, files = number.count(),
                    "files are numbered by an index of ours: the file system has no handles we may use"
                );
                let _ = index.set(number);
                Way::Indexed(ROOT)
            }
            (None, Subject::Writable(_) | Subject::Draft(_)) => {
                tracing::info!(
                    tree = %subject.root().display(),
                    "files are found by their inodes: the file system has no handles we may use"
                );
                let map = Inodes::new(&root)
                    .map_err(|source| ExportError::Root { root: subject.root().to_owned(), source })?;
                let way = map.root();
                let _ = inodes.set(map);
                way
            }
        };
        Ok(Self {
            subject,
            sealer,
            root,
            root_way,
            index,
            inodes,
            usage: Usage::default(),
            disk: Disk::default(),
        })
    }

    pub fn key(&self) -> Key {
        self.subject.key()
    }

    /// What the tree takes of its quota.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Bytes that may still be written to its disk, of which `reserve` stays free; all there could be if that cannot be told.
    pub fn room(&self, reserve: fn(u64) -> u64) -> u64 {
        self.disk.room(&self.root, reserve).unwrap_or(u64::MAX)
    }

    /// Sums up what the tree takes, unless that has been done. Reads all of its folders.
    pub fn measure(&self) {
        if self.usage.is_measured() {
            return;
        }
        if let Err(error) = self.usage.measure(&self.root) {
            let tree = self.subject.root().display();
            tracing::warn!(%tree, error = chain(&error), "what a tree takes of its quota cannot be measured");
        }
    }

    /// The image whose tree this is, a version or the draft.
    pub fn image(&self) -> Option<&Arc<Tree>> {
        match &self.subject {
            Subject::Image(tree) | Subject::Draft(tree) => Some(tree),
            Subject::Writable(_) => None,
        }
    }

    /// Whether it never changes.
    pub fn is_published(&self) -> bool {
        matches!(self.subject, Subject::Image(_))
    }

    pub fn root_way(&self) -> &Way {
        &self.root_way
    }

    /// The root's number, in trees whose files are numbered.
    pub fn root_number(&self) -> Option<u32> {
        self.numbered().map(|_| ROOT)
    }

    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// What all files of this tree show as the number of their file system.
    pub fn filesystem(&self) -> u64 {
        self.key().nonce
    }

    /// Inode number that a file with this number in the index shows.
    pub fn id_of(number: u32) -> u64 {
        u64::from(number) + 1
    }

    /// The handle of the file that `way` leads to.
    pub fn seal(&self, way: Way) -> Handle {
        let Key { space, id: tree, nonce } = self.key();
        self.sealer.seal(&Token { space, tree, nonce, way })
    }

    /// The index, if this tree's handles need one.
    pub fn numbered(&self) -> Option<&Index> {
        self.index.get().filter(|_| matches!(self.root_way, Way::Indexed(_)))
    }

    /// Opens the file behind `way` as a path. May read the disk.
    pub fn find(&self, way: &Way) -> io::Result<OwnedFd> {
        match way {
            Way::Kernel(handle) => sys::handle::open(&self.root, handle),
            Way::Indexed(number) => {
                if self.index.get().is_none() {
                    // A handle from a time when this tree was numbered: the numbers are still the same.
                    let tree = self.image().filter(|_| self.is_published()).ok_or(Errno::ESTALE)?;
                    let index = Self::read_index(tree, &self.root).map_err(io::Error::other)?;
                    let _ = self.index.set(index);
                }
                self.find_numbered(*number, Patience::Blocking)
            }
            Way::Inode { inode, born } => {
                if self.inodes.get().is_none() {
                    // From a time when the kernel's handles could not be used.
                    let _ = self.inodes.set(Inodes::new(&self.root)?);
                }
                self.inodes.get().ok_or(Errno::ESTALE)?.find(&self.root, *inode, *born)
            }
            Way::Virtual(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn find_numbered(&self, number: u32, patience: Patience) -> io::Result<OwnedFd> {
        let path = self.index.get().and_then(|index| index.path(number)).ok_or(Errno::ESTALE)?;
        let path = if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() };
        open_below(&self.root, path, patience)
    }

    /// Opens `name` in the folder `directory` as a path, and says which way leads there again. With
    /// [`Patience::Inline`], an error of the kind `WouldBlock` means that the disk would have to be asked.
    pub fn find_name(
        &self,
        directory: impl AsFd,
        number: Option<u32>,
        name: &[u8],
        patience: Patience,
    ) -> io::Result<(Way, OwnedFd)> {
        if let (Some(index), Some(number)) = (self.numbered(), number) {
            let found = if name == b".." { index.parent(number) } else { index.child(number, name) };
            let found = found.ok_or(Errno::ENOENT)?;
            return Ok((Way::Indexed(found), self.find_numbered(found, patience)?));
        }
        // The caller has dealt with the root, above which there is nothing; the parent of any other folder is inside.
        let beneath = if name == b".." { ResolveFlag::empty() } else { ResolveFlag::RESOLVE_BENEATH };
        let path = open_path(&directory, name, beneath, patience)?;
        Ok((self.way_to(&path, (name != b"..").then_some((directory.as_fd(), name)))?, path))
    }

    /// Which way leads to the open file again; `at`: the folder and name it was found by.
    pub fn way_to(&self, file: impl AsFd, at: Option<(BorrowedFd<'_>, &[u8])>) -> io::Result<Way> {
        match self.changing() {
            Some(inodes) => inodes.note(file, at),
            None => Ok(Way::Kernel(sys::handle::handle_of(file)?)),
        }
    }

    /// The map of inodes, if this tree's handles need one.
    pub fn changing(&self) -> Option<&Inodes> {
        self.inodes.get().filter(|_| matches!(self.root_way, Way::Inode { .. }))
    }

    fn read_index(tree: &Tree, root: &OwnedFd) -> Result<Index, ExportError> {
        let beside = numbers_beside(&tree.root);
        if let Some(index) = Index::load(&beside, tree.nonce) {
            return Ok(index);
        }
        let failed = |source| ExportError::Index { root: tree.root.clone(), source };
        let index = Index::walk(root).map_err(failed)?;
        if let Err(error) = index.save(&beside, tree.nonce) {
            // Not needed for right answers: walking an unchanged tree again gives the same numbers.
            tracing::warn!(
                file = %beside.display(), error = %error,
                "the index of a tree could not be kept; it will be made again at the next start"
            );
        }
        Ok(index)
    }
}

/// The root's handle, if the kernel gives one, and lets us open it, and it fits.
fn kernel_way(root: &OwnedFd) -> Option<Way> {
    let handle = sys::handle::handle_of(root).ok()?;
    sys::handle::open(root, &handle).ok()?;
    Some(Way::Kernel(handle))
}

/// Opens what is at `path` below the open folder, as a path.
pub(super) fn open_below(folder: &OwnedFd, path: &OsStr, patience: Patience) -> io::Result<OwnedFd> {
    open_path(folder, path, ResolveFlag::RESOLVE_BENEATH, patience)
}

fn open_path<P: ?Sized + nix::NixPath>(
    directory: impl AsFd,
    path: &P,
    resolve: ResolveFlag,
    patience: Patience,
) -> io::Result<OwnedFd> {
    let cached = match patience {
        Patience::Inline => sys::inside::CACHED,
        Patience::Blocking => ResolveFlag::empty(),
    };
    let inside = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    match sys::inside::open(directory, path, flags, resolve | inside | cached) {
        Ok(fd) => Ok(fd),
        // A kernel before 5.12 does not know RESOLVE_CACHED.
        Err(Errno::EAGAIN | Errno::EINVAL) if patience == Patience::Inline => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

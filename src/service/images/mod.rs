//! Operating systems that clients boot: import, inspection, list, removal.

pub mod archive;
pub mod bootloader;
pub mod catalogue;
pub mod clean;
pub mod copy;
pub mod desktop;
pub mod devices;
pub mod digest;
pub mod disk;
pub mod drafts;
pub mod export;
pub mod exported;
pub mod fat;
pub mod files;
pub mod fit;
pub mod import;
pub mod inside;
pub mod inspect;
pub mod keep;
pub mod kernel;
pub mod library;
pub mod life;
mod links;
mod node;
pub mod origins;
pub mod pack;
pub mod plant;
pub mod processor;
pub mod publish;
pub mod rename;
pub mod run;
pub mod shelf;
mod sizes;
pub mod source;
pub mod squash;
mod unpack;
pub mod uploads;
pub mod web;
pub mod workshop;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::types::{Arch, ImageName, ImageRef, ImageVersion, MacAddr, Version};

/// A published tree on the disk, as the boot services need it.
#[derive(Clone, Debug)]
pub struct Tree {
    pub image: ImageVersion,
    /// Number in NFS file handles; never used for another tree.
    pub id: u32,
    /// Ties handles to this tree and not only to its number.
    pub nonce: u64,
    /// `<data>/images/<name>/<version>`.
    pub root: PathBuf,
    pub facts: Facts,
    /// Whether it is a draft, which is written; `image` is then the version it was copied from, and `id` counts drafts.
    pub draft: bool,
}

/// Where the numbers of the files of the tree at `root` are kept, if NFS had to number them: beside it, hidden, so that they
/// are not taken for a version. They go with the tree.
pub fn numbers_beside(root: &Path) -> PathBuf {
    beside(root, NUMBERS)
}

fn beside(root: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(root.file_name().unwrap_or_default());
    name.push(ending);
    root.with_file_name(name)
}

/// How the names of such files end.
const NUMBERS: &str = ".handles";

/// The packed file of the version at `root`: beside it, hidden. It goes with the tree.
pub fn packed_beside(root: &Path) -> PathBuf {
    beside(root, PACKED)
}

/// How the names of such files end.
const PACKED: &str = ".squashfs";

/// A version in one file, for clients to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub path: PathBuf,
    /// What it takes of the disk.
    pub bytes: u64,
    /// Another one for each file that there ever was, and the same after a restart.
    pub stamp: u64,
    /// Whether clients that start get it. If not, only those have it that got it before.
    pub offered: bool,
}

/// What inspection found in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `Debian GNU/Linux 13 (trixie)`, from os-release.
    pub pretty_name: String,
    /// `bullseye`, `bookworm`, `trixie`, …; empty if os-release does not say.
    pub codename: String,
    pub arch: Arch,
    /// Folder of the firmware's files, relative to the root: `boot/firmware` or `boot`; `None` if the tree has none
    /// (a plain Debian tree).
    pub boot_dir: Option<PathBuf>,
    /// Kernels in the boot folder.
    pub kernels: Vec<Kernel>,
    /// Pis that this image has a kernel and a device tree for, such as `Pi 4B`.
    pub models: Vec<String>,
    /// Bytes one boot fetches over TFTP, the largest over the models.
    pub tftp_bytes: u64,
    /// What will not work, in plain words.
    pub warnings: Vec<String>,
}

impl Facts {
    /// Of a tree that cannot be looked at.
    fn unknown() -> Self {
        Self {
            pretty_name: "unknown system".to_owned(),
            codename: String::new(),
            arch: Arch::Arm64,
            boot_dir: None,
            kernels: Vec::new(),
            models: Vec::new(),
            tftp_bytes: 0,
            warnings: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// File in the boot folder, such as `kernel8.img`.
    pub file: String,
    /// `6.12.47+rpt-rpi-v8`, from the kernel's own banner or the modules folder; empty if unknown.
    pub version: String,
    /// File of its initramfs in the boot folder, if there is one, such as `initramfs8`.
    pub initramfs: Option<String>,
    /// Whether it can mount an NFS root without an initramfs. `None`: could not be told.
    pub mounts_nfs: Option<bool>,
}

/// All published trees. Readers never wait for an import.
#[derive(Debug, Default)]
pub struct Images {
    shelf: RwLock<Arc<Shelf>>,
    /// A tree has been taken away, from the shelf and from its place.
    removed: Notify,
}

#[derive(Debug, Default, Clone)]
pub struct Shelf {
    trees: BTreeMap<ImageVersion, Arc<Tree>>,
    current: BTreeMap<ImageName, Version>,
    drafts: BTreeMap<ImageName, Draft>,
    /// By the numbers of trees.
    packed: BTreeMap<u32, Packed>,
    /// Old names of this run and what they are now: a client that is just starting was told the old one.
    renamed: BTreeMap<ImageName, ImageName>,
}

/// A draft, and the client that maintains it.
#[derive(Clone, Debug)]
struct Draft {
    tree: Arc<Tree>,
    client: Option<MacAddr>,
}

impl Shelf {
    /// What an image is called now, that was called `name` when a client was told of it.
    fn present_name<'a>(&'a self, name: &'a ImageName) -> &'a ImageName {
        self.renamed.get(name).filter(|_| !self.current.contains_key(name)).unwrap_or(name)
    }
}

impl Images {
    /// The tree `image` stands for now; `None` if there is no such image or version.
    pub fn resolve(&self, image: &ImageRef) -> Option<Arc<Tree>> {
        let shelf = self.shelf();
        let name = shelf.present_name(&image.name);
        let version = image.version.or_else(|| shelf.current.get(name).copied())?;
        shelf.trees.get(&ImageVersion { name: name.clone(), version }).cloned()
    }

    pub fn version(&self, image: &ImageVersion) -> Option<Arc<Tree>> {
        let shelf = self.shelf();
        let name = shelf.present_name(&image.name).clone();
        shelf.trees.get(&ImageVersion { name, version: image.version }).cloned()
    }

    /// The tree a file handle names.
    pub fn by_id(&self, id: u32) -> Option<Arc<Tree>> {
        self.shelf().trees.values().find(|tree| tree.id == id).cloned()
    }

    /// The packed file of a tree, if it has one.
    pub fn packed(&self, id: u32) -> Option<Packed> {
        self.shelf().packed.get(&id).cloned()
    }

    /// Notes the packed file of a tree, or that it has none; whether there is that tree.
    pub fn set_packed(&self, id: u32, packed: Option<Packed>) -> bool {
        let mut known = false;
        self.change(|shelf| {
            known = shelf.trees.values().any(|tree| tree.id == id);
            match packed.filter(|_| known) {
                Some(packed) => shelf.packed.insert(id, packed),
                None => shelf.packed.remove(&id),
            };
        });
        known
    }

    /// Has clients that start get the packed file of a tree, or not; whether that is a change.
    pub fn offer_packed(&self, id: u32, offered: bool) -> bool {
        let mut changed = false;
        self.change(|shelf| {
            if let Some(packed) = shelf.packed.get_mut(&id) {
                changed = packed.offered != offered;
                packed.offered = offered;
            }
        });
        changed
    }

    /// Whether there is any version of `name`.
    pub fn has(&self, name: &ImageName) -> bool {
        self.shelf().current.contains_key(name)
    }

    /// What clients that pin no version of `name` boot.
    pub fn current(&self, name: &ImageName) -> Option<Version> {
        self.shelf().current.get(name).copied()
    }

    /// The draft that a client maintains: it boots that instead of what is chosen for it. None while it is being published.
    pub fn draft_of(&self, client: MacAddr) -> Option<Arc<Tree>> {
        let shelf = self.shelf();
        let draft = shelf.drafts.values().find(|draft| draft.client == Some(client));
        draft.map(|draft| Arc::clone(&draft.tree))
    }

    /// The client that maintains the draft of an image.
    pub fn maintainer(&self, name: &ImageName) -> Option<MacAddr> {
        self.shelf().drafts.get(name).and_then(|draft| draft.client)
    }

    pub fn drafts(&self) -> Vec<Arc<Tree>> {
        self.shelf().drafts.values().map(|draft| Arc::clone(&draft.tree)).collect()
    }

    /// Puts a draft on the shelf, for the client that maintains it.
    pub fn put_draft(&self, tree: Tree, client: Option<MacAddr>) {
        self.change(|shelf| {
            shelf.drafts.insert(tree.image.name.clone(), Draft { tree: Arc::new(tree), client });
        });
    }

    /// Has `client` maintain the draft of `name` and no other.
    fn set_maintainer(&self, name: &ImageName, client: Option<MacAddr>) {
        self.change(|shelf| {
            for (of, draft) in &mut shelf.drafts {
                if of == name {
                    draft.client = client;
                } else if draft.client == client {
                    draft.client = None;
                }
            }
        });
    }

    /// Nobody reads or writes the draft of this image any more, from now on.
    pub fn withdraw_draft(&self, name: &ImageName) {
        self.change(|shelf| {
            shelf.drafts.remove(name);
        });
        self.removed.notify_one();
    }

    pub fn all(&self) -> Vec<Arc<Tree>> {
        self.shelf().trees.values().cloned().collect()
    }

    /// Puts a tree on the shelf and makes it the current version of its image.
    pub fn publish(&self, tree: Tree) {
        self.put(tree, true);
    }

    /// Puts a tree on the shelf.
    fn put(&self, tree: Tree, current: bool) {
        self.change(|shelf| {
            if current {
                shelf.current.insert(tree.image.name.clone(), tree.image.version);
            }
            // The name is somebody else's from now on.
            shelf.renamed.remove(&tree.image.name);
            shelf.trees.insert(tree.image.clone(), Arc::new(tree));
        });
    }

    /// Clients that pin no version boot this one from now on.
    fn promote(&self, image: &ImageVersion) {
        self.change(|shelf| {
            shelf.current.insert(image.name.clone(), image.version);
        });
    }

    /// Takes a tree off the shelf; `current` is what its image stands for from now on.
    fn withdraw(&self, image: &ImageVersion, current: Option<Version>) {
        self.change(|shelf| {
            if let Some(tree) = shelf.trees.remove(image) {
                shelf.packed.remove(&tree.id);
            }
            match current {
                Some(version) => shelf.current.insert(image.name.clone(), version),
                None => shelf.current.remove(&image.name),
            };
        });
    }

    /// Has whoever holds files of what is no more let go of them.
    pub fn tell_removed(&self) {
        self.removed.notify_one();
    }

    /// Returns when trees have been removed: whoever has files of them open should let go, for the disk gets its room back
    /// only then.
    pub async fn removed(&self) {
        self.removed.notified().await;
    }

    /// Gives an image another name; its trees and its draft are below `folder` from now on. Numbers and nonces stay, and so
    /// do the handles that clients have.
    fn rename(&self, old: &ImageName, new: &ImageName, folder: &Path) {
        let moved = |tree: &Tree| {
            let root = folder.join(tree.root.file_name().unwrap_or_default());
            let image = ImageVersion { name: new.clone(), version: tree.image.version };
            Arc::new(Tree { image, root, ..tree.clone() })
        };
        self.change(|shelf| {
            let of_image: Vec<_> = shelf.trees.keys().filter(|image| image.name == *old).cloned().collect();
            for image in of_image {
                let Some(tree) = shelf.trees.remove(&image) else { continue };
                let tree = moved(&tree);
                if let Some(packed) = shelf.packed.get_mut(&tree.id) {
                    packed.path = packed_beside(&tree.root);
                }
                shelf.trees.insert(tree.image.clone(), tree);
            }
            if let Some(current) = shelf.current.remove(old) {
                shelf.current.insert(new.clone(), current);
            }
            if let Some(Draft { tree, client }) = shelf.drafts.remove(old) {
                shelf.drafts.insert(new.clone(), Draft { tree: moved(&tree), client });
            }
            shelf.renamed.remove(new);
            for name in shelf.renamed.values_mut().filter(|name| *name == old) {
                *name = new.clone();
            }
            shelf.renamed.insert(old.clone(), new.clone());
        });
    }

    /// Readers see the shelf as it was before `change`, or as it is after.
    fn change(&self, change: impl FnOnce(&mut Shelf)) {
        let mut slot = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let mut shelf = Shelf::clone(&slot);
        change(&mut shelf);
        *slot = Arc::new(shelf);
    }

    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }
}

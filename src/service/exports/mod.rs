//! Trees for NFS clients: who may see which, what a handle means, and the answer to each procedure.
//!
//! Everything here can be asked in two ways ([`Patience`]): inline, by a thread that serves many clients and must not wait for
//! a disk; and blocking, by a thread of a pool, which may. Inline, whatever would have to wait says [`WouldBlock`] before it
//! has any effect, and the caller asks again from the pool. It is the same code both times.
//!
//! | file | holds |
//! |---|---|
//! | `handle` | the signed bytes a client holds for a file |
//! | `tree` | an open tree, and the ways from a handle to a file |
//! | `index` | numbers for files where the kernel has no handles |
//! | `files` | the files found lately |
//! | `virtuals` | `/.bramble` |
//! | `agents` | the builds of the agent that clients were given |
//! | `operations`, `listing` | the procedures |
//!
//! Trees that can be written (drafts, homes) will be further [`handle::Space`]s with their own rules in `operations`; the
//! arguments of the writing procedures are parsed already and refused there, in one place.

pub mod agents;
pub mod attributes;
pub mod files;
pub mod handle;
pub mod index;
mod listing;
mod operations;
pub mod tree;
pub mod virtuals;

#[cfg(test)]
pub mod house;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use self::files::{Files, Node};
use self::handle::{Sealer, VirtualFile, Way};
use self::tree::{Export, Handles};
use self::virtuals::{Sources, Virtuals};
use super::clients::{Clients, Seat};
use super::images::{Images, Tree};
use crate::proto::mount::Refused;
use crate::proto::nfs3::{Attributes, FileType, Handle, Status};
use crate::types::{ImageVersion, Version, chain};

/// Whether the caller may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// No: many clients wait for this thread.
    Inline,
    /// Yes: a thread of a pool.
    Blocking,
}

/// The answer needs a disk: ask again with [`Patience::Blocking`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldBlock;

/// A client as one connection knows it: who sits at its address, and what that seat may read. Compared with
/// [`Clients::generation`] before each use, and made anew when that has moved on.
#[derive(Debug)]
pub struct Visitor {
    generation: u32,
    pub ip: Ipv4Addr,
    pub seat: Option<Seat>,
    trees: Vec<Arc<Tree>>,
}

/// Part of a file that is in memory and to be sent behind the answer.
#[derive(Debug)]
pub struct Payload {
    pub file: Arc<OwnedFd>,
    pub offset: u64,
    pub length: u32,
}

/// All exported trees.
#[derive(Debug)]
pub struct Exports {
    clients: Arc<Clients>,
    images: Arc<Images>,
    sealer: Arc<Sealer>,
    handles: Handles,
    virtuals: Virtuals,
    open: RwLock<HashMap<u32, Arc<Export>>>,
    files: Files,
}

/// Why a procedure was not carried out.
#[derive(Debug)]
enum Stop {
    WouldBlock,
    /// With the attributes the failure may carry.
    Refused(Status, Option<Attributes>),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Refused(status, None)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let status = match (error.kind(), error.raw_os_error()) {
            (ErrorKind::WouldBlock, _) => return Self::WouldBlock,
            (ErrorKind::NotFound, _) => Status::NoEntry,
            (_, Some(libc::ESTALE)) => Status::Stale,
            (_, Some(libc::ENOTDIR)) => Status::NotDirectory,
            (_, Some(libc::ENAMETOOLONG)) => Status::NameTooLong,
            (_, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => Status::Later,
            // A mount inside the tree, or a way out of it: there is nothing of the tree's behind it.
            (_, Some(libc::EXDEV | libc::ELOOP)) => Status::Access,
            _ => Status::Io,
        };
        Self::Refused(status, None)
    }
}

/// What a handle was found to be.
#[derive(Debug)]
enum Target {
    File(Arc<Node>),
    Virtual(Arc<Export>, VirtualFile),
}

impl Exports {
    /// `key` signs the handles: it must be the same after a restart.
    pub fn new(
        clients: Arc<Clients>,
        images: Arc<Images>,
        key: &[u8; 16],
        sources: Sources,
        handles: Handles,
    ) -> Self {
        Self {
            clients,
            images,
            sealer: Arc::new(Sealer::new(key)),
            handles,
            virtuals: Virtuals::new(sources),
            open: RwLock::default(),
            files: Files::default(),
        }
    }

    /// Who is at `ip`, and what they may read: the tree their seat is to boot, and the one it was last told to boot.
    ///
    /// A lease that ends, or a directory that is not filled yet after a restart, takes nothing from a client that was let in
    /// on this very connection (`before`): nobody else can be at its other end. A different client at the address does.
    pub fn visitor(&self, ip: Ipv4Addr, before: Option<&Visitor>) -> Visitor {
        let generation = self.generation();
        let seat = self.clients.at(ip);
        let mut trees = Vec::new();
        match &seat {
            Some(seat) => {
                let assigned = seat.image.as_ref().and_then(|image| self.images.resolve(image));
                let booted = self.clients.booted(seat.mac).and_then(|image| self.images.version(&image));
                for tree in assigned.into_iter().chain(booted) {
                    if !trees.iter().any(|known: &Arc<Tree>| known.id == tree.id) {
                        trees.push(tree);
                    }
                }
            }
            None => {
                if let Some(before) = before {
                    trees.extend(before.trees.iter().filter_map(|tree| self.images.by_id(tree.id)));
                    return Visitor { generation, ip, seat: before.seat.clone(), trees };
                }
            }
        }
        Visitor { generation, ip, seat, trees }
    }

    /// Whether what `visitor` knows still holds.
    pub fn is_current(&self, visitor: &Visitor) -> bool {
        visitor.generation == self.generation()
    }

    fn generation(&self) -> u32 {
        self.clients.generation()
    }

    /// Lets go of trees as they are removed; for as long as it is polled.
    pub async fn let_go(&self) {
        loop {
            self.images.removed().await;
            self.prune();
        }
    }

    /// MNT: the root of `/image/<name>/<version>` or a folder below it, and which image that is.
    pub fn mount(&self, visitor: &Visitor, path: &[u8]) -> Result<(Handle, ImageVersion), Refused> {
        let (image, below) = image_at(path).ok_or(Refused::NoSuchTree)?;
        let tree = self.images.version(&image).ok_or(Refused::NoSuchTree)?;
        if !visitor.trees.iter().any(|allowed| allowed.id == tree.id) {
            return Err(Refused::NotYours);
        }
        let export = self.export(&tree, Patience::Blocking).map_err(|_| Refused::Io)?;
        Ok((folder_below(&export, below)?, image))
    }

    /// Paths `visitor` may mount.
    pub fn paths(&self, visitor: &Visitor) -> Vec<String> {
        visitor.trees.iter().map(|tree| path_of(&tree.image)).collect()
    }

    /// Opens every tree that is not open yet, so that no client waits for it. May read the disk.
    pub fn prepare(&self) {
        for tree in self.images.all() {
            let _ = self.export(&tree, Patience::Blocking);
        }
    }

    /// Lets go of trees that have been removed, so that the disk gets its room back.
    fn prune(&self) {
        let trees = self.images.all();
        let gone: Vec<u32> = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let is_here = |export: &Export| {
                trees.iter().any(|t| t.id == export.tree().id && t.nonce == export.tree().nonce)
            };
            open.extract_if(|_, export| !is_here(export)).map(|(id, _)| id).collect()
        };
        for id in gone {
            self.files.forget(id);
        }
    }

    fn export(&self, tree: &Arc<Tree>, patience: Patience) -> Result<Arc<Export>, Stop> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(export) = open.get(&tree.id).filter(|export| export.tree().nonce == tree.nonce) {
            return Ok(Arc::clone(export));
        }
        drop(open);
        if patience == Patience::Inline {
            return Err(Stop::WouldBlock);
        }
        match Export::open(Arc::clone(tree), Arc::clone(&self.sealer), self.handles) {
            Ok(export) => {
                let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
                let export = open.entry(tree.id).or_insert_with(|| Arc::new(export));
                Ok(Arc::clone(export))
            }
            Err(error) => {
                tracing::debug!(image = %tree.image, error = chain(&error), "a tree cannot be served");
                Err(Status::Io.into())
            }
        }
    }

    /// What `handle` is, for this visitor.
    fn target(&self, visitor: &Visitor, handle: &[u8], patience: Patience) -> Result<Target, Stop> {
        let token = self.sealer.open(handle).map_err(|_| Status::BadHandle)?;
        let Some(tree) = visitor.trees.iter().find(|tree| tree.id == token.tree) else {
            let exists = self.images.by_id(token.tree).is_some_and(|tree| tree.nonce == token.nonce);
            return Err(if exists { Status::Access } else { Status::Stale }.into());
        };
        if tree.nonce != token.nonce {
            return Err(Status::Stale.into());
        }
        let export = self.export(tree, patience)?;
        if let Way::Virtual(file) = token.way {
            return Ok(Target::Virtual(export, file));
        }
        if let Some(node) = self.files.get(handle) {
            return Ok(Target::File(node));
        }
        if patience == Patience::Inline {
            return Err(Stop::WouldBlock);
        }
        // A file that is gone, or a kernel that no longer lets us ask: either way the handle leads nowhere.
        let path = export.find(&token.way).map_err(|error| match Stop::from(error) {
            Stop::Refused(Status::Later, _) => Stop::from(Status::Later),
            _ => Stop::from(Status::Stale),
        })?;
        Ok(Target::File(self.files.keep(Node::new(export, token.way, path))))
    }
}

/// Export path of a published version.
pub fn path_of(image: &ImageVersion) -> String {
    format!("/image/{}/{}", image.name, image.version)
}

/// Which image an export path names, and what follows.
fn image_at(path: &[u8]) -> Option<(ImageVersion, &str)> {
    let path = str::from_utf8(path).ok()?.strip_prefix("/image/")?;
    let (name, rest) = path.split_once('/')?;
    let (version, below) = rest.split_once('/').unwrap_or((rest, ""));
    Some((ImageVersion { name: name.parse().ok()?, version: Version(version.parse().ok()?) }, below))
}

/// The handle of the folder `below` the root. Links are not followed.
fn folder_below(export: &Arc<Export>, below: &str) -> Result<Handle, Refused> {
    let mut at: Option<Node> = None;
    for name in below.split('/').filter(|name| !name.is_empty()) {
        if matches!(name, "." | "..") {
            return Err(Refused::NoSuchTree);
        }
        let (folder, number) = match &at {
            Some(node) => (node.path(), node.number),
            None => (export.root().as_fd(), export.root_number()),
        };
        let found = export.find_name(folder, number, name.as_bytes(), Patience::Blocking);
        let (way, path) = found.map_err(|_| Refused::NoSuchTree)?;
        at = Some(Node::new(Arc::clone(export), way, path));
    }
    let Some(node) = at else { return Ok(export.seal(export.root_way().clone())) };
    match node.attributes() {
        Ok(attributes) if attributes.kind == FileType::Directory => Ok(node.handle),
        _ => Err(Refused::NoSuchTree),
    }
}

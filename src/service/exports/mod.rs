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
//! | `index`, `inodes` | finding files where the kernel has no handles: in trees that never change, and in those that do |
//! | `files` | the files found lately |
//! | `turns` | what a room asks for at once is made once |
//! | `virtuals` | `/.bramble` |
//! | `agents` | the builds of the agent that clients were given |
//! | `packs` | packed files of versions |
//! | `operations`, `listing` | the procedures that read |
//! | `writing` | the procedures that write |
//! | `grants` | homes and shares: what is open to whom, from where |
//! | `usage` | what a home or share takes of its quota |
//! | `reserve` | what they leave free of the disk |

pub mod agents;
pub mod attributes;
pub mod files;
pub mod grants;
pub mod handle;
pub mod index;
pub mod inodes;
mod listing;
mod operations;
pub mod packs;
mod reserve;
pub mod tree;
mod turns;
pub mod usage;
pub mod virtuals;
mod writing;

#[cfg(test)]
mod draft_tests;
#[cfg(test)]
pub mod house;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod writing_tests;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use self::files::{Files, Node};
use self::grants::{Grants, Standing};
use self::handle::{Sealer, Space, VirtualFile, Way};
use self::tree::{Export, Handles, Key, Subject};
use self::turns::Turns;
use self::virtuals::{Sources, Virtuals};
use self::writing::Writing;
use super::clients::{Clients, Seat};
use super::images::{Images, Tree};
use crate::proto::mount::Refused;
use crate::proto::nfs3::access::Identity;
use crate::proto::nfs3::{Attributes, FileType, Handle, Status};
use crate::types::{ImageName, ImageVersion, Uid, Version, chain};

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
    generation: [u32; 2],
    pub ip: Ipv4Addr,
    pub seat: Option<Seat>,
    /// Whose tunnel its calls come through.
    tunnel: Option<Uid>,
    trees: Vec<Arc<Tree>>,
    /// The draft that its seat maintains.
    draft: Option<Arc<Tree>>,
    standing: Vec<Arc<Standing>>,
}

/// What a client has mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    Image(ImageVersion),
    /// A home or a share, by its export path.
    Granted(String),
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
    grants: Grants,
    writing: Writing,
    /// Trees whose usage is to be measured.
    unmeasured: Mutex<Vec<Arc<Export>>>,
    measure: Notify,
    open: RwLock<HashMap<Key, Arc<Export>>>,
    /// Opening may walk all of a tree.
    opening: Turns<Key>,
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
        if error.kind() == std::io::ErrorKind::WouldBlock {
            return Self::WouldBlock;
        }
        let status = match error.raw_os_error() {
            Some(libc::ESTALE) => Status::Stale,
            Some(libc::ENOTDIR) => Status::NotDirectory,
            Some(libc::EISDIR) => Status::IsDirectory,
            Some(libc::ENAMETOOLONG) => Status::NameTooLong,
            Some(libc::EPERM) => Status::Perm,
            Some(libc::EEXIST) => Status::Exists,
            Some(libc::ENOTEMPTY) => Status::NotEmpty,
            Some(libc::EINVAL) => Status::Invalid,
            Some(libc::ENOSPC) => Status::NoSpace,
            Some(libc::EDQUOT) => Status::Quota,
            Some(libc::EFBIG) => Status::TooBig,
            Some(libc::EROFS) => Status::ReadOnly,
            Some(libc::EOPNOTSUPP) => Status::NotSupported,
            Some(libc::EMLINK) => Status::TooManyLinks,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Status::Later,
            // Of the last two: a mount inside the tree, or a way out of it. There is nothing of the tree's behind it.
            Some(libc::EACCES | libc::EXDEV | libc::ELOOP) => Status::Access,
            _ if error.kind() == std::io::ErrorKind::NotFound => Status::NoEntry,
            _ if error.kind() == std::io::ErrorKind::PermissionDenied => Status::Access,
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
            grants: Grants::default(),
            writing: Writing::new(crate::sys::acting::can_act()),
            unmeasured: Mutex::default(),
            measure: Notify::new(),
            open: RwLock::default(),
            opening: Turns::default(),
            files: Files::default(),
        }
    }

    /// Who is at `ip`, and what they may reach: the tree their seat is to boot, the one it was last told to boot, and what
    /// is granted to a session there.
    ///
    /// A lease that ends, or a directory that is not filled yet after a restart, takes nothing from a client that was let in
    /// on this very connection (`before`): nobody else can be at its other end. A different client at the address does.
    pub fn visitor(&self, ip: Ipv4Addr, before: Option<&Visitor>) -> Visitor {
        self.visit(ip, before.and_then(|before| before.tunnel), before)
    }

    /// The same of somebody whose calls come through the tunnel of `uid`; of nobody's, if they did not show its key.
    pub fn visitor_through(&self, ip: Ipv4Addr, uid: Option<Uid>) -> Visitor {
        self.visit(ip, uid, None)
    }

    fn visit(&self, ip: Ipv4Addr, tunnel: Option<Uid>, before: Option<&Visitor>) -> Visitor {
        let generation = self.generation();
        let known = self.clients.at(ip);
        let mut trees = Vec::new();
        match (&known, before) {
            (Some(seat), _) => {
                let assigned = seat.image.as_ref().and_then(|image| self.images.resolve(image));
                let booted = self.clients.booted(seat.mac).and_then(|image| self.images.version(&image));
                for tree in assigned.into_iter().chain(booted) {
                    if !trees.iter().any(|known: &Arc<Tree>| known.id == tree.id) {
                        trees.push(tree);
                    }
                }
            }
            (None, Some(before)) => {
                trees.extend(before.trees.iter().filter_map(|tree| self.images.by_id(tree.id)));
            }
            (None, None) => {}
        }
        let seat = known.or_else(|| before.and_then(|before| before.seat.clone()));
        let mut standing = seat.as_ref().map(|seat| self.grants.at(ip, seat.mac, tunnel)).unwrap_or_default();
        // A daemon that cannot act as others cannot keep the owners of a system's files apart.
        let draft =
            seat.as_ref().and_then(|seat| self.images.draft_of(seat.mac)).filter(|_| self.writing.acts);
        if let (Some(tree), Some(seat)) = (&draft, &seat) {
            standing.push(Arc::new(Standing::of_draft(tree, ip, seat.mac)));
        }
        if seat
            .as_ref()
            .is_some_and(|seat| !standing.is_empty() && self.clients.impostor(ip, seat.mac).is_some())
        {
            // Who has the key is who was given it.
            standing.retain(|one| one.encrypted);
        }
        Visitor { generation, ip, seat, tunnel, trees, draft, standing }
    }

    /// Whether what `visitor` knows still holds.
    pub fn is_current(&self, visitor: &Visitor) -> bool {
        visitor.generation == self.generation()
    }

    fn generation(&self) -> [u32; 2] {
        [self.clients.generation(), self.grants.generation()]
    }

    /// Lets go of trees as they are removed; for as long as it is polled.
    pub async fn let_go(&self) {
        loop {
            self.images.removed().await;
            self.prune();
        }
    }

    /// A tree whose usage is to be measured ([`Export::measure`], which takes the disk's time), when there is one.
    pub async fn to_measure(&self) -> Arc<Export> {
        loop {
            if let Some(export) = self.unmeasured.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                return export;
            }
            self.measure.notified().await;
        }
    }

    /// MNT: the root of `/image/<name>/<version>`, of a home or of a share, or a folder below it.
    pub fn mount(&self, visitor: &Visitor, path: &[u8]) -> Result<(Handle, Mounted), Refused> {
        let path = str::from_utf8(path).map_err(|_| Refused::NoSuchTree)?;
        if let Some((standing, below)) = visitor.granted_at(path) {
            if standing.tree.space == Space::Draft {
                let tree = self.maintained(visitor, standing.tree.key()).map_err(|_| Refused::NoSuchTree)?;
                let image = tree.image.clone();
                let export =
                    self.export(&Subject::Draft(tree), Patience::Blocking).map_err(|_| Refused::Io)?;
                return Ok((folder_below(&export, below)?, Mounted::Image(image)));
            }
            let tree = Subject::Writable(Arc::clone(&standing.tree));
            let export = self.export(&tree, Patience::Blocking).map_err(|_| Refused::Io)?;
            if standing.quota.is_some() && !export.usage().is_measured() {
                self.unmeasured.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&export));
                self.measure.notify_one();
            }
            return Ok((folder_below(&export, below)?, Mounted::Granted(standing.tree.path.clone())));
        }
        let (image, below) = image_at(path).ok_or(Refused::NoSuchTree)?;
        let tree = self.images.version(&image).ok_or(Refused::NoSuchTree)?;
        if !visitor.trees.iter().any(|allowed| allowed.id == tree.id) {
            return Err(Refused::NotYours);
        }
        let export = self.export(&Subject::Image(tree), Patience::Blocking).map_err(|_| Refused::Io)?;
        Ok((folder_below(&export, below)?, Mounted::Image(image)))
    }

    /// Paths `visitor` may mount.
    pub fn paths(&self, visitor: &Visitor) -> Vec<String> {
        let images = visitor.trees.iter().map(|tree| path_of(&tree.image));
        images.chain(visitor.standing.iter().map(|one| one.tree.path.clone())).collect()
    }

    /// Opens every tree that is not open yet, so that no client waits for it. May read the disk.
    pub fn prepare(&self) {
        for tree in self.images.all() {
            let _ = self.export(&Subject::Image(tree), Patience::Blocking);
        }
    }

    /// Lets go of trees that have been removed or that nobody is granted any more, so that the disk gets its room back.
    fn prune(&self) {
        let trees = self.images.all();
        let gone: Vec<Key> = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let is_needed = |key: &Key| match key.space {
                Space::Image => trees.iter().any(|tree| tree.id == key.id && tree.nonce == key.nonce),
                Space::Home | Space::Share => self.grants.is_open(*key),
                Space::Draft => {
                    self.images.drafts().iter().any(|tree| tree.id == key.id && tree.nonce == key.nonce)
                }
            };
            open.extract_if(|key, _| !is_needed(key)).map(|(key, _)| key).collect()
        };
        for key in gone {
            self.files.forget(key);
        }
        let stamps: Vec<u64> =
            trees.iter().filter_map(|tree| Some(self.images.packed(tree.id)?.stamp)).collect();
        self.virtuals.packs.prune(|stamp| stamps.contains(&stamp));
    }

    fn export(&self, subject: &Subject, patience: Patience) -> Result<Arc<Export>, Stop> {
        if let Some(export) = self.opened(subject) {
            return Ok(export);
        }
        if patience == Patience::Inline {
            return Err(Stop::WouldBlock);
        }
        self.opening.take(subject.key(), || {
            if let Some(export) = self.opened(subject) {
                return Ok(export);
            }
            match Export::open(subject.clone(), Arc::clone(&self.sealer), self.handles) {
                Ok(export) => {
                    let export = Arc::new(export);
                    let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
                    open.insert(subject.key(), Arc::clone(&export));
                    Ok(export)
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "a tree cannot be served");
                    Err(Status::Io.into())
                }
            }
        })
    }

    fn opened(&self, subject: &Subject) -> Option<Arc<Export>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        // An image that has another name by now is opened anew; its handles stay the same.
        let is_so = |export: &&Arc<Export>| export.image().map(|tree| &tree.image) == subject.image();
        open.get(&subject.key()).filter(is_so).cloned()
    }

    /// What `handle` is, for this visitor; with the grant, if it is in a tree that takes one.
    fn target(
        &self,
        visitor: &Visitor,
        who: &Identity<'_>,
        handle: &[u8],
        patience: Patience,
    ) -> Result<Target, Stop> {
        let token = self.sealer.open(handle).map_err(|_| Status::BadHandle)?;
        let key = Key { space: token.space, id: token.tree, nonce: token.nonce };
        let subject = match key.space {
            Space::Image => Subject::Image(self.readable(visitor, key)?),
            Space::Draft => Subject::Draft(self.maintained(visitor, key)?),
            Space::Home | Space::Share => {
                let standing = visitor.standing(key).ok_or(Status::Access)?;
                if !standing.is_of(who.uid) {
                    return Err(Status::Access.into());
                }
                Subject::Writable(Arc::clone(&standing.tree))
            }
        };
        let export = self.export(&subject, patience)?;
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

    /// The draft that this visitor maintains, as long as it is one: asked at each call, for a draft that is published or
    /// discarded must not be written any more.
    fn maintained(&self, visitor: &Visitor, key: Key) -> Result<Arc<Tree>, Status> {
        let tree = visitor.draft.as_ref().filter(|tree| (tree.id, tree.nonce) == (key.id, key.nonce));
        let tree = tree.filter(|_| visitor.standing(key).is_some()).ok_or(Status::Stale)?;
        let mac = visitor.seat.as_ref().map(|seat| seat.mac).ok_or(Status::Stale)?;
        self.images.draft_of(mac).filter(|now| now.nonce == tree.nonce).ok_or(Status::Stale)
    }

    fn readable(&self, visitor: &Visitor, key: Key) -> Result<Arc<Tree>, Status> {
        let Some(tree) = visitor.trees.iter().find(|tree| tree.id == key.id) else {
            let exists = self.images.by_id(key.id).is_some_and(|tree| tree.nonce == key.nonce);
            return Err(if exists { Status::Access } else { Status::Stale });
        };
        if tree.nonce == key.nonce { Ok(Arc::clone(tree)) } else { Err(Status::Stale) }
    }
}

impl Visitor {
    /// Whether anything is granted to it.
    pub fn may_write(&self) -> bool {
        !self.standing.is_empty()
    }

    /// The grant for this tree, if its session lasts.
    fn standing(&self, key: Key) -> Option<&Standing> {
        let mut all = self.standing.iter();
        all.find(|one| one.tree.key() == key && one.holds()).map(|one| &**one)
    }

    /// The grant whose path this is or begins, and what follows.
    fn granted_at<'a>(&self, path: &'a str) -> Option<(&Standing, &'a str)> {
        self.standing.iter().filter(|one| one.holds()).find_map(|one| {
            let below = path.strip_prefix(&one.tree.path)?;
            (below.is_empty() || below.starts_with('/')).then_some((&**one, below))
        })
    }
}

/// Export path of a published version.
pub fn path_of(image: &ImageVersion) -> String {
    format!("/image/{}/{}", image.name, image.version)
}

/// Export path of the draft of an image.
pub fn draft_path(name: &ImageName) -> String {
    format!("/draft/{name}")
}

/// Which image an export path names, and what follows.
fn image_at(path: &str) -> Option<(ImageVersion, &str)> {
    let path = path.strip_prefix("/image/")?;
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

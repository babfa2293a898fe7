//! Writable trees, and who may reach them: a home or a share is open to one address for one session.
//!
//! Nothing is exported by default. When a person has logged in, the sessions service calls [`Exports::grant`]; from then on the
//! trees named can be mounted from that address by that machine, every operation acts as the person, and
//! [`Exports::revoke`] ends it at once: calls that wait for the disk at that moment are refused too. Grants are not stored
//! here; whoever stores sessions grants them again after a start, *before* NFS answers, and the handles that clients hold
//! are right again.
//!
//! What is granted is a folder on a disk file system. How its files are found again from a handle is in
//! [`tree`](super::tree) and [`inodes`](super::inodes).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::handle::Space;
use super::tree::Key;
use super::{Exports, draft_path};
use crate::proto::nfs3::access::Identity as Asker;
use crate::service::images::Tree;
use crate::types::{ByteSize, MacAddr, Uid};

/// What one session may reach, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Number of the session. A second grant with the same number replaces the first.
    pub id: u64,
    pub ip: Ipv4Addr,
    /// The machine at that address; another one there gets nothing.
    pub mac: MacAddr,
    /// Whether the trees are reached through the tunnel of their person alone.
    pub encrypted: bool,
    pub trees: Vec<Granted>,
}

/// One tree, and what may be done in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub tree: WritableTree,
    /// Who every operation acts as, whoever of those that may has asked for it.
    pub identity: Identity,
    /// Calls must come from this uid or from root, who counts as the same.
    pub callers: u32,
    pub rights: Rights,
    /// Bytes the tree may take; `None`: what the disk has.
    pub quota: Option<ByteSize>,
}

/// A folder that can be written through NFS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableTree {
    /// [`Space::Home`] or [`Space::Share`]; the draft of an image, which is not granted, is [`Space::Draft`].
    pub space: Space,
    /// Uid of the account, or number of the share; with `space`, never that of another tree.
    pub id: u32,
    /// Drawn at random when the folder is made, so that handles of an earlier folder of that number are stale.
    pub nonce: u64,
    pub root: PathBuf,
    /// What a client mounts, such as `/home/anna` or `/share/materials`.
    pub path: String,
}

/// A user and groups on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub gids: Vec<u32>,
}

/// What may be done in a tree, besides what the permissions of its files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    ReadWrite,
    /// Like [`Rights::ReadWrite`] in a folder where many act as one and the same owner: whatever a program asks for, nothing
    /// becomes closed to that owner.
    Common,
    ReadOnly,
    /// The whole tree is the client's own root: each call acts as whoever makes it, root with root's rights. They reach no
    /// further than the tree, in which every file is found from a folder of it by one name, and no link is followed.
    System,
    /// A box to hand work in. A person sees, reads and changes only what they made themselves, and changes it only until it
    /// has been left alone for `open`; times are the server's. No folders, links or special files.
    DropBox {
        open: Duration,
    },
}

impl WritableTree {
    pub fn key(&self) -> Key {
        Key { space: self.space, id: self.id, nonce: self.nonce }
    }
}

impl Identity {
    /// As the checks of permission bits want it.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker { uid: self.uid, gid: self.gid, gids: &self.gids }
    }
}

/// A granted tree while its session lasts.
#[derive(Debug)]
pub(super) struct Standing {
    session: u64,
    ip: Ipv4Addr,
    mac: MacAddr,
    pub encrypted: bool,
    pub tree: Arc<WritableTree>,
    pub identity: Identity,
    callers: u32,
    pub rights: Rights,
    pub quota: Option<ByteSize>,
    /// Shared with what it was before its rights changed.
    revoked: Arc<AtomicBool>,
    /// Something could not be written because there was no room, and nobody has been told yet.
    full: AtomicBool,
}

impl Standing {
    /// What the client that maintains the draft of an image may do with it.
    pub fn of_draft(tree: &Tree, ip: Ipv4Addr, mac: MacAddr) -> Self {
        let path = draft_path(&tree.image.name);
        let root = tree.root.clone();
        let writable = WritableTree { space: Space::Draft, id: tree.id, nonce: tree.nonce, root, path };
        Self {
            session: 0,
            ip,
            mac,
            encrypted: false,
            tree: Arc::new(writable),
            identity: Identity { uid: 0, gid: 0, gids: Vec::new() },
            callers: 0,
            rights: Rights::System,
            quota: None,
            revoked: Arc::default(),
            full: AtomicBool::new(false),
        }
    }

    /// Whether the session still lasts. Asked at each call, also by those that waited.
    pub fn holds(&self) -> bool {
        !self.revoked.load(Ordering::Acquire)
    }

    /// Notes that there was no room for a change.
    pub fn was_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Whether a call with this credential is one of the session's.
    pub fn is_of(&self, uid: u32) -> bool {
        uid == 0 || uid == self.callers
    }
}

/// All grants.
#[derive(Debug, Default)]
pub(super) struct Grants {
    standing: RwLock<Vec<Arc<Standing>>>,
    generation: AtomicU32,
}

impl Grants {
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// What the machine `mac` at `ip` may reach, if it calls through the tunnel of the person `tunnel`.
    pub fn at(&self, ip: Ipv4Addr, mac: MacAddr, tunnel: Option<Uid>) -> Vec<Arc<Standing>> {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        let is_open = |one: &Standing| !one.encrypted || tunnel.is_some_and(|uid| uid.0 == one.callers);
        standing.iter().filter(|one| one.ip == ip && one.mac == mac && is_open(one)).cloned().collect()
    }

    /// Whether anybody may reach this tree.
    pub fn is_open(&self, tree: Key) -> bool {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        standing.iter().any(|one| one.tree.key() == tree)
    }

    /// Ends what session `id` has, and lets it have `trees` instead. What it keeps at the same machine goes on under its new
    /// rights, and calls that are under way in it are carried out as they began: a change of rights must not lose what
    /// somebody saves.
    fn replace(&self, grant: Grant) {
        let Grant { id, ip, mac, encrypted, trees } = grant;
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<Arc<Standing>> = standing.extract_if(.., |one| one.session == id).collect();
        let new = trees.into_iter().map(|granted| {
            let Granted { tree, identity, callers, rights, quota } = granted;
            let is_same =
                |old: &&Arc<Standing>| old.tree.key() == tree.key() && (old.ip, old.mac) == (ip, mac);
            let revoked = before.iter().find(is_same).map(|old| Arc::clone(&old.revoked)).unwrap_or_default();
            let tree = Arc::new(tree);
            let full = AtomicBool::new(false);
            Arc::new(Standing {
                session: id,
                ip,
                mac,
                encrypted,
                tree,
                identity,
                callers,
                rights,
                quota,
                revoked,
                full,
            })
        });
        let new: Vec<Arc<Standing>> = new.collect();
        for old in before {
            if !new.iter().any(|new| Arc::ptr_eq(&new.revoked, &old.revoked)) {
                old.revoked.store(true, Ordering::Release);
            }
        }
        standing.extend(new);
        drop(standing);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

impl Exports {
    /// Opens trees to a session. Quick: nothing is read from the disk.
    pub fn grant(&self, grant: Grant) {
        self.grants.replace(grant);
    }

    /// Closes to a session what it was granted, at once.
    pub fn revoke(&self, id: u64) {
        let (ip, mac) = (Ipv4Addr::UNSPECIFIED, MacAddr::new([0; 6]));
        self.grants.replace(Grant { id, ip, mac, encrypted: false, trees: Vec::new() });
        self.prune();
    }

    /// Sessions in whose home there was no room for a change since this was last asked.
    pub fn full(&self) -> Vec<u64> {
        let standing = self.grants.standing.read().unwrap_or_else(PoisonError::into_inner);
        let homes = standing.iter().filter(|one| one.tree.space == Space::Home);
        homes.filter(|one| one.full.swap(false, Ordering::Relaxed)).map(|one| one.session).collect()
    }

    /// Every tree that is open now, with the session it is open to.
    pub fn granted(&self) -> Vec<(u64, Granted)> {
        let standing = self.grants.standing.read().unwrap_or_else(PoisonError::into_inner);
        let granted = |one: &Standing| Granted {
            tree: (*one.tree).clone(),
            identity: one.identity.clone(),
            callers: one.callers,
            rights: one.rights,
            quota: one.quota,
        };
        standing.iter().map(|one| (one.session, granted(one))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::house::{House, MAC, PI};
    use super::super::tree::Handles;
    use super::*;

    pub fn home(house: &House, id: u32) -> Granted {
        let root = house.dir.path().join("homes/anna");
        std::fs::create_dir_all(root.join("Documents")).expect("made");
        let tree = WritableTree { space: Space::Home, id, nonce: 77, root, path: "/home/anna".to_owned() };
        let identity = Identity { uid: id, gid: id, gids: vec![] };
        Granted { tree, identity, callers: id, rights: Rights::ReadWrite, quota: None }
    }

    #[test]
    fn an_encrypted_tree_is_reached_through_its_persons_tunnel_alone() {
        let house = House::new(Handles::Best);
        let granted = home(&house, 10_001);
        house.exports.grant(Grant { id: 5, ip: PI, mac: MAC, encrypted: true, trees: vec![granted.clone()] });
        let through = |uid| house.exports.visitor_through(PI, uid);
        let hers = through(Some(Uid(10_001)));
        assert!(house.exports.mount(&hers, b"/home/anna").is_ok());
        assert!(hers.standing(granted.tree.key()).is_some());
        for (who, visitor) in [
            ("the machine itself", house.visitor()),
            ("a tunnel without a key", through(None)),
            ("another's tunnel", through(Some(Uid(10_002)))),
        ] {
            assert!(house.exports.mount(&visitor, b"/home/anna").is_err(), "{who}");
            assert!(visitor.standing(granted.tree.key()).is_none(), "{who}, with a handle it has heard");
            assert_eq!(house.exports.paths(&visitor), ["/image/trixie/1"], "{who}");
        }
        // What it may reach changes; the tunnel stays.
        house.exports.grant(Grant { id: 6, ip: PI, mac: MAC, encrypted: true, trees: vec![granted.clone()] });
        let later = house.exports.visitor(PI, Some(&hers));
        house.exports.revoke(5);
        assert!(house.exports.visitor(PI, Some(&later)).standing(granted.tree.key()).is_some());
        house.exports.revoke(6);
        assert!(house.exports.visitor(PI, Some(&later)).standing(granted.tree.key()).is_none());
    }

    #[test]
    fn a_tree_is_open_to_one_machine_for_one_session() {
        let house = House::new(Handles::Best);
        let granted = home(&house, 10_001);
        house.exports.grant(Grant {
            id: 5,
            ip: PI,
            mac: MAC,
            encrypted: false,
            trees: vec![granted.clone()],
        });
        assert_eq!(house.exports.granted(), [(5, granted.clone())]);
        let visitor = house.visitor();
        assert_eq!(house.exports.paths(&visitor), ["/image/trixie/1", "/home/anna"]);
        for path in ["/home/anna", "/home/anna/Documents"] {
            assert!(house.exports.mount(&visitor, path.as_bytes()).is_ok(), "{path}");
        }
        for path in ["/home", "/home/annabel", "/home/anna/../bert", "/home/bert"] {
            assert!(house.exports.mount(&visitor, path.as_bytes()).is_err(), "{path}");
        }
        let other = house.exports.visitor(Ipv4Addr::new(10, 1, 1, 66), None);
        assert!(house.exports.mount(&other, b"/home/anna").is_err(), "another address");
        house.clients.bound(PI, MacAddr::new([0xdc, 0xa6, 0x32, 9, 9, 9]), "lan");
        assert!(
            house.exports.mount(&house.visitor(), b"/home/anna").is_err(),
            "another machine at the address"
        );
        house.clients.bound(PI, MAC, "lan");
        let visitor = house.visitor();
        house.exports.revoke(4);
        assert!(house.exports.mount(&visitor, b"/home/anna").is_ok(), "another session's end");
        let under_way = house.visitor();
        let mut changed = granted.clone();
        changed.rights = Rights::ReadOnly;
        house.exports.grant(Grant {
            id: 5,
            ip: PI,
            mac: MAC,
            encrypted: false,
            trees: vec![changed.clone()],
        });
        assert!(!house.exports.is_current(&under_way), "the next call sees the new rights");
        assert!(under_way.standing(granted.tree.key()).is_some(), "what is under way is not lost");
        assert_eq!(house.exports.granted(), [(5, changed)]);
        house.exports.revoke(5);
        assert!(!house.exports.is_current(&visitor));
        assert!(house.exports.mount(&visitor, b"/home/anna").is_err(), "even for one who was let in before");
        assert!(house.exports.granted().is_empty());
    }
}

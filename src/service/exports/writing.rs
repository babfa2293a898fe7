//! The procedures that write, in homes and shares; published trees refuse them all. Those about names are in `names`.
//!
//! They are carried out by threads that may wait for the disk, which act as the person the tree was granted to while they
//! change something: the kernel checks, exactly as if the person had been at a local disk. Where the daemon may not act as
//! others, all files are its own and are shown as the person's; permission bits are then checked here.
//!
//! What a client needs to trust its cache is a file right before and right after its change, so changes of one file or
//! folder wait for each other. Data is safe against a power cut when the answer says so (COMMIT, or WRITE that asks for
//! it); names made, moved and removed are so with the file system's next own commit, as on a local disk.

mod names;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, makedev, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, fdatasync, fsync, symlinkat};

use super::files::Node;
use super::grants::{Rights, Standing};
use super::operations::Context;
use super::reserve::reserve;
use super::usage::charge;
use super::{Patience, Stop, Target};
use crate::proto::nfs3::access::Identity;
use crate::proto::nfs3::args::{self, Entry, Stable};
use crate::proto::nfs3::reply::Wcc;
use crate::proto::nfs3::types::{SetAttributes, SetTime};
use crate::proto::nfs3::{Args, Attributes, FileType, Reply, Status, Time};
use crate::sys::acting::{Acting, act_as};
use crate::sys::links::{self, To};
use crate::sys::{birth, pages};
use crate::types::chain;

/// Changes of files whose handles end alike wait for each other.
const LOCKS: usize = 64;

/// What all that write share.
#[derive(Debug)]
pub struct Writing {
    locks: [Mutex<()>; LOCKS],
    /// Whether threads may act as other users.
    pub acts: bool,
    umask: u32,
    /// Drawn at the start: data that is only in memory may be lost when it changes.
    start: [u8; 4],
    /// Failures to write back, each of which changes the verifier too.
    failures: AtomicU32,
    /// How much of a disk is left free.
    pub reserve: fn(u64) -> u64,
}

impl Writing {
    pub fn new(acts: bool) -> Self {
        use std::hash::{BuildHasher, RandomState};
        let drawn = RandomState::new().hash_one(std::process::id()).to_be_bytes();
        let [a, b, c, d, ..] = drawn;
        let locks = std::array::from_fn(|_| Mutex::new(()));
        let failures = AtomicU32::new(0);
        Self { locks, acts, umask: umask(), start: [a, b, c, d], failures, reserve }
    }

    fn lock(&self, node: &Node) -> MutexGuard<'_, ()> {
        let lock = self.locks.get(lock_of(node)).expect("below LOCKS");
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Always in the same order, so that nobody waits in a circle.
    fn lock_both(&self, one: &Node, other: &Node) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        match lock_of(one).cmp(&lock_of(other)) {
            std::cmp::Ordering::Equal => (self.lock(one), None),
            std::cmp::Ordering::Less => {
                let first = self.lock(one);
                (first, Some(self.lock(other)))
            }
            std::cmp::Ordering::Greater => {
                let first = self.lock(other);
                (first, Some(self.lock(one)))
            }
        }
    }

    pub fn verifier(&self) -> [u8; 8] {
        let [a, b, c, d] = self.start;
        let [e, f, g, h] = self.failures.load(Ordering::Acquire).to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// Which lock is the file's. The last byte of a handle is one of its seal, as good as drawn by lot.
fn lock_of(node: &Node) -> usize {
    usize::from(node.handle.last().copied().unwrap_or(0)) % LOCKS
}

/// The bits that the kernel takes from every file we make; all of them if it does not tell.
fn umask() -> u32 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}

/// A file or folder that may be written, and by whom.
struct Place<'a> {
    node: Arc<Node>,
    standing: &'a Standing,
}

impl<'a> Context<'a> {
    /// Carries out one of the procedures that write.
    pub(super) fn change(&self, args: &Args<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        match *args {
            Args::SetAttr { object, to, guard } => self.set_attributes(object, to, guard, out),
            Args::Write { file, offset, stable, data } => self.write(file, offset, stable, data, out),
            Args::Create { at, how } => self.create(&at, how, out),
            Args::MkDir { at, with } => {
                let make = |folder: BorrowedFd<'_>, mode| mkdirat(folder, at.name, mode);
                self.make(&at, &with, 0o755, make, out)
            }
            Args::SymLink { at, with, target } => {
                if target.is_empty() || target.contains(&0) {
                    return Err(Status::Invalid.into());
                }
                let bare = SetAttributes { mode: None, ..with };
                self.make(&at, &bare, 0o777, |folder, _| symlinkat(target, folder, at.name), out)
            }
            Args::MkNod { at, node } => {
                let (kind, with, device) = match node {
                    args::Node::Fifo(with) => (SFlag::S_IFIFO, with, 0),
                    args::Node::Socket(with) => (SFlag::S_IFSOCK, with, 0),
                    args::Node::Block(with, number) => (SFlag::S_IFBLK, with, self.device(&at, number)?),
                    args::Node::Character(with, number) => (SFlag::S_IFCHR, with, self.device(&at, number)?),
                    args::Node::Other(_) => return Err(Status::BadType.into()),
                };
                self.make(&at, &with, 0o644, |folder, mode| mknodat(folder, at.name, kind, mode, device), out)
            }
            Args::Remove(at) => self.remove(&at, UnlinkatFlags::NoRemoveDir, out),
            Args::RmDir(at) => self.remove(&at, UnlinkatFlags::RemoveDir, out),
            Args::Rename { from, to } => self.rename(&from, &to, out),
            Args::Link { file, to } => self.link(file, &to, out),
            Args::Commit { file, .. } => self.commit(file, out),
            _ => Err(Status::Fault.into()),
        }
    }

    /// The number of a device that may be made. What a device leads to is the client's own business, so nobody makes a door to
    /// it here, but root in a system of its own.
    fn device(&self, at: &Entry<'_>, (major, minor): (u32, u32)) -> Result<libc::dev_t, Stop> {
        let place = self.place(at.directory)?;
        if place.standing.rights == Rights::System && self.who.uid == 0 {
            Ok(makedev(major.into(), minor.into()))
        } else {
            Err(Status::Perm.into())
        }
    }

    fn set_size(&self, place: &Place<'_>, file: &Attributes, size: u64) -> Result<(), Stop> {
        regular(file)?;
        if !self.who_for(place.standing).may_write(file) {
            return Err(Status::Access.into());
        }
        Ok(pages::set_length(&*place.node.data()?, size)?)
    }

    /// What is behind the handle, if it may be written; without waiting, if it may not.
    fn place(&self, handle: &[u8]) -> Result<Place<'a>, Stop> {
        let target = self.target(handle)?;
        let standing = self.visitor.standing(target.export().key());
        match (target, standing) {
            (Target::File(node), Some(standing)) if standing.rights != Rights::ReadOnly => {
                if self.patience == Patience::Inline {
                    return Err(Stop::WouldBlock);
                }
                Ok(Place { node, standing })
            }
            (target, _) => Err(Stop::Refused(Status::ReadOnly, Some(self.attributes(&target)?))),
        }
    }

    fn of(&self, node: &Arc<Node>) -> Result<Attributes, Stop> {
        self.attributes(&Target::File(Arc::clone(node)))
    }

    fn act(&self, standing: &Standing) -> Result<Option<Acting>, Stop> {
        if !self.exports.writing.acts {
            return Ok(None);
        }
        let Identity { uid, gid, gids } = self.who_for(standing);
        act_as(uid, gid, gids).map(Some).map_err(|error| {
            tracing::error!(uid, error = chain(&error), "cannot act as an account");
            Status::Access.into()
        })
    }

    /// Changes `node` by `work`; the file before and after it. A refusal carries the attributes of after.
    fn changing<T>(
        &self,
        place: &Place<'_>,
        work: impl FnOnce(&Attributes) -> Result<T, Stop>,
    ) -> Result<(T, Wcc), Stop> {
        let _alone = self.exports.writing.lock(&place.node);
        let before = self.of(&place.node)?;
        let done = {
            let _acting = self.act(place.standing)?;
            work(&before)
        };
        let after = self.of(&place.node).ok();
        count(&place.node, Some(&before), after.as_ref());
        match done {
            Ok(done) => Ok((done, Wcc { before: Some(before), after })),
            Err(Stop::Refused(status, _)) => {
                if matches!(status, Status::Quota | Status::NoSpace) {
                    place.standing.was_full();
                }
                Err(Stop::Refused(status, after))
            }
            Err(stop @ Stop::WouldBlock) => Err(stop),
        }
    }

    /// Where nobody acts as anybody, the permissions of the folder are looked at here.
    fn may_fill(&self, place: &Place<'_>, folder: &Attributes) -> Result<(), Stop> {
        if folder.kind != FileType::Directory {
            return Err(Status::NotDirectory.into());
        }
        let who = self.who_for(place.standing);
        let wanted = crate::proto::nfs3::access::MODIFY;
        if self.exports.writing.acts
            || (who.granted_to_write(folder, wanted) == wanted && who.may_search(folder))
        {
            return Ok(());
        }
        Err(Status::Access.into())
    }

    fn set_attributes(
        &self,
        object: &[u8],
        to: SetAttributes,
        guard: Option<Time>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let place = self.place(object)?;
        if to.size.is_some() {
            self.open(&place)?;
        }
        let ((), changed) = self.changing(&place, |before| {
            if guard.is_some_and(|guard| guard != before.changed) {
                return Err(Status::NotSync.into());
            }
            if !place.node.is_root || to != SetAttributes::default() {
                may_touch(&place, before)?;
            }
            if let Some(size) = to.size {
                self.set_size(&place, before, size)?;
            }
            self.apply(&place, &place.node, &to)
        })?;
        Reply::SetAttr(changed).encode(out);
        Ok(())
    }

    /// Opens a regular file before anybody acts as its owner: he may go on writing after he took the right from himself.
    fn open(&self, place: &Place<'_>) -> Result<(), Stop> {
        regular(&self.of(&place.node)?)?;
        place.node.data()?;
        Ok(())
    }

    /// Sets all but the size.
    fn apply(&self, place: &Place<'_>, node: &Arc<Node>, to: &SetAttributes) -> Result<(), Stop> {
        let standing = place.standing;
        let new = |wanted: Option<u32>, own: u32| wanted.filter(|id| self.exports.writing.acts || *id != own);
        let (uid, gid) = (new(to.uid, standing.identity.uid), new(to.gid, standing.identity.gid));
        if uid.is_some() || gid.is_some() {
            if !self.exports.writing.acts {
                return Err(Status::Perm.into());
            }
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            fchownat(node.path(), "", uid, gid, AtFlags::AT_EMPTY_PATH).map_err(std::io::Error::from)?;
        }
        if let Some(mode) = to.mode
            && let Some(mode) = self.shaped(standing, node, mode)?
        {
            links::set_mode(node.path(), mode)?;
        }
        let time = |time: SetTime| match time {
            SetTime::Keep => To::Keep,
            // When something was handed in is not for the client to say.
            SetTime::To(_) if matches!(standing.rights, Rights::DropBox { .. }) => To::Now,
            SetTime::Now => To::Now,
            SetTime::To(time) => To::At { secs: time.secs.into(), nanos: time.nanos },
        };
        let (accessed, modified) = (time(to.accessed), time(to.modified));
        if (accessed, modified) != (To::Keep, To::Keep) {
            links::set_times(node.path(), accessed, modified)?;
        }
        Ok(())
    }

    /// The mode a file gets that is to have `mode`; `None` if it keeps what it has, as the root of a share does.
    fn shaped(&self, standing: &Standing, node: &Arc<Node>, mode: u32) -> Result<Option<u32>, Stop> {
        let rights = standing.rights;
        match rights {
            Rights::ReadWrite | Rights::ReadOnly | Rights::System => Ok(Some(mode & 0o7777)),
            Rights::Common | Rights::DropBox { .. } if node.is_root => Ok(None),
            Rights::Common | Rights::DropBox { .. } => {
                let least = if self.of(node)?.kind == FileType::Directory { 0o700 } else { 0o600 };
                Ok(Some(kept_open(rights, mode, least)))
            }
        }
    }

    fn write(
        &self,
        file: &[u8],
        offset: u64,
        stable: Stable,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let place = self.place(file)?;
        self.open(&place)?;
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let end = offset.saturating_add(length);
        let (written, wcc) = self.changing(&place, |before| {
            regular(before)?;
            may_touch(&place, before)?;
            if !self.who_for(place.standing).may_write(before) {
                return Err(Status::Access.into());
            }
            let grows = end.saturating_sub(before.size);
            let holes = before.size.saturating_sub(before.used);
            if grows > 0 || holes > 0 {
                self.room_for(&place, if holes > 0 { length } else { grows })?;
            }
            Ok(pages::write_all(&*place.node.data()?, data, offset)?)
        })?;
        self.make_safe(&place, stable)?;
        let count = u32::try_from(written).map_err(|_| Status::Fault)?;
        Reply::Write { wcc, count, stable, verifier: self.exports.writing.verifier() }.encode(out);
        Ok(())
    }

    /// Refuses what would take more than the quota, or of what a disk keeps free.
    fn room_for(&self, place: &Place<'_>, more: u64) -> Result<(), Stop> {
        let (export, standing) = (&place.node.export, place.standing);
        if standing.quota.is_some_and(|quota| export.usage().bytes().saturating_add(more) > quota.0) {
            return Err(Status::Quota.into());
        }
        // Whoever changes an image is the administrator.
        if standing.rights != Rights::System && export.room(self.exports.writing.reserve) < more {
            return Err(Status::NoSpace.into());
        }
        Ok(())
    }

    fn make_safe(&self, place: &Place<'_>, stable: Stable) -> Result<(), Stop> {
        let safe = match stable {
            Stable::Unstable => return Ok(()),
            Stable::Data => fdatasync(&*place.node.data()?),
            Stable::File => fsync(&*place.node.data()?),
        };
        safe.map_err(|errno| {
            // What was only in memory may be gone: whoever wrote it must write it again.
            self.exports.writing.failures.fetch_add(1, Ordering::AcqRel);
            std::io::Error::from(errno).into()
        })
    }

    fn commit(&self, file: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        let place = self.place(file)?;
        let before = self.of(&place.node)?;
        regular(&before)?;
        self.make_safe(&place, Stable::Data)?;
        let wcc = Wcc { before: Some(before), after: self.of(&place.node).ok() };
        Reply::Committed { wcc, verifier: self.exports.writing.verifier() }.encode(out);
        Ok(())
    }
}

fn count(node: &Node, before: Option<&Attributes>, after: Option<&Attributes>) {
    let charge = |attributes: Option<&Attributes>| attributes.map_or(0, |a| charge(a.used));
    node.export.usage().change(charge(before), charge(after));
}

/// In a hand-in box only what is one's own and was not left alone for long may be changed.
fn may_touch(place: &Place<'_>, file: &Attributes) -> Result<(), Stop> {
    let Rights::DropBox { open } = place.standing.rights else { return Ok(()) };
    let own = file.uid == place.standing.identity.uid;
    let alone = birth::now_secs().saturating_sub(i64::from(file.changed.secs));
    let closed = u64::try_from(alone).unwrap_or(0) > open.as_secs();
    if own && !closed { Ok(()) } else { Err(Status::Access.into()) }
}

fn regular(file: &Attributes) -> Result<(), Stop> {
    match file.kind {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Stop::Refused(Status::IsDirectory, Some(*file))),
        _ => Err(Stop::Refused(Status::Invalid, Some(*file))),
    }
}

/// What its owner always may in a share, where everybody acts as the same owner: whoever took that from a file would take it
/// from the whole class. There it is `least`.
fn kept_open(rights: Rights, mode: u32, least: u32) -> u32 {
    let mode = mode & 0o7777;
    match rights {
        Rights::ReadWrite | Rights::ReadOnly | Rights::System => mode,
        Rights::Common => mode | least,
        // What was handed in is nobody else's.
        Rights::DropBox { .. } => {
            let mode = mode & 0o700 | least;
            mode | mode >> 3
        }
    }
}

//! The procedures that write, in homes and shares; published trees refuse them all.
//!
//! They are carried out by threads that may wait for the disk, which act as the person the tree was granted to while they
//! change something: the kernel checks, exactly as if the person had been at a local disk. Where the daemon may not act as
//! others, all files are its own and are shown as the person's; permission bits are then checked here.
//!
//! What a client needs to trust its cache is a file right before and right after its change, so changes of one file or
//! folder wait for each other. Data is safe against a power cut when the answer says so (COMMIT, or WRITE that asks for
//! it); names made, moved and removed are so with the file system's next own commit, as on a local disk.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, fdatasync, fsync, symlinkat, unlinkat};

use super::files::Node;
use super::grants::{Rights, Standing};
use super::operations::Context;
use super::usage::charge;
use super::{Patience, Stop, Target};
use crate::proto::nfs3::args::{self, Create, Entry, Stable};
use crate::proto::nfs3::reply::Wcc;
use crate::proto::nfs3::types::{SetAttributes, SetTime};
use crate::proto::nfs3::{Args, Attributes, FileType, Reply, Status, Time};
use crate::sys::acting::{Acting, act_as};
use crate::sys::links::{self, To};
use crate::sys::{birth, pages};
use crate::types::{chain, limits};

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
}

impl Writing {
    pub fn new(acts: bool) -> Self {
        use std::hash::{BuildHasher, RandomState};
        let drawn = RandomState::new().hash_one(std::process::id()).to_be_bytes();
        let [a, b, c, d, ..] = drawn;
        let locks = std::array::from_fn(|_| Mutex::new(()));
        Self { locks, acts, umask: umask(), start: [a, b, c, d], failures: AtomicU32::new(0) }
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
                let (kind, with) = match node {
                    args::Node::Fifo(with) => (SFlag::S_IFIFO, with),
                    args::Node::Socket(with) => (SFlag::S_IFSOCK, with),
                    // What a device leads to is the client's own business; nobody makes a door to it here.
                    args::Node::Block(..) | args::Node::Character(..) => return Err(Status::Perm.into()),
                    args::Node::Other(_) => return Err(Status::BadType.into()),
                };
                self.make(&at, &with, 0o644, |folder, mode| mknodat(folder, at.name, kind, mode, 0), out)
            }
            Args::Remove(at) => self.remove(&at, UnlinkatFlags::NoRemoveDir, out),
            Args::RmDir(at) => self.remove(&at, UnlinkatFlags::RemoveDir, out),
            Args::Rename { from, to } => self.rename(&from, &to, out),
            Args::Link { file, to } => self.link(file, &to, out),
            Args::Commit { file, .. } => self.commit(file, out),
            _ => Err(Status::Fault.into()),
        }
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
        let identity = &standing.identity;
        act_as(identity.uid, identity.gid, &identity.gids).map(Some).map_err(|error| {
            tracing::error!(uid = identity.uid, error = chain(&error), "cannot act as an account");
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
            Err(Stop::Refused(status, _)) => Err(Stop::Refused(status, after)),
            Err(stop @ Stop::WouldBlock) => Err(stop),
        }
    }

    /// Where nobody acts as anybody, the permissions of the folder are looked at here.
    fn may_fill(&self, place: &Place<'_>, folder: &Attributes) -> Result<(), Stop> {
        if folder.kind != FileType::Directory {
            return Err(Status::NotDirectory.into());
        }
        let who = place.standing.identity.asker();
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
                set_size(&place, before, size)?;
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
        if let Some(mode) = to.mode {
            links::set_mode(node.path(), shaped(standing.rights, mode))?;
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
            if !place.standing.identity.asker().may_write(before) {
                return Err(Status::Access.into());
            }
            let grows = end.saturating_sub(before.size);
            let holes = before.size.saturating_sub(before.used);
            if grows > 0 || holes > 0 {
                room_for(&place, if holes > 0 { length } else { grows })?;
            }
            Ok(pages::write_all(&*place.node.data()?, data, offset)?)
        })?;
        self.make_safe(&place, stable)?;
        let count = u32::try_from(written).map_err(|_| Status::Fault)?;
        Reply::Write { wcc, count, stable, verifier: self.exports.writing.verifier() }.encode(out);
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

    fn create(&self, at: &Entry<'_>, how: Create, out: &mut Vec<u8>) -> Result<(), Stop> {
        let place = self.place(at.directory)?;
        usable(at.name, Status::Exists)?;
        let with = match how {
            Create::Unchecked(with) | Create::Guarded(with) => with,
            Create::Exclusive(verifier) => mark(verifier),
        };
        let (made, directory) = self.changing(&place, |folder| {
            self.may_fill(&place, folder)?;
            room_for(&place, charge(0))?;
            let mode = shaped(place.standing.rights, with.mode.unwrap_or(0o600));
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let bits = Mode::from_bits_truncate(mode);
            match openat(place.node.path(), at.name, flags, bits) {
                Ok(file) => {
                    let export = &place.node.export;
                    let way = export.way_to(&file, Some((place.node.path(), at.name)))?;
                    let node = self.exports.files.keep(Node::opened(Arc::clone(export), way, file));
                    let masked = mode & self.exports.writing.umask != 0;
                    self.finish(&place, &node, &with, masked.then_some(mode))?;
                    Ok(Some(node))
                }
                Err(nix::errno::Errno::EEXIST) => Ok(None),
                Err(errno) => Err(std::io::Error::from(errno).into()),
            }
        })?;
        let node = match made {
            Some(node) => node,
            None => self.existing(&place, at, how).map_err(|stop| match stop {
                Stop::Refused(status, _) => Stop::Refused(status, directory.after),
                Stop::WouldBlock => stop,
            })?,
        };
        let attributes = self.of(&node)?;
        Reply::Made { object: &node.handle, attributes, directory }.encode(out);
        Ok(())
    }

    /// The rest of the attributes of a new file, as far as they differ from what it has.
    fn finish(
        &self,
        place: &Place<'_>,
        node: &Arc<Node>,
        with: &SetAttributes,
        mode: Option<u32>,
    ) -> Result<(), Stop> {
        if let Some(size) = with.size.filter(|size| *size != 0) {
            pages::set_length(&*node.data()?, size)?;
        }
        // Whose it is follows from who made it.
        self.apply(place, node, &SetAttributes { mode, uid: None, size: None, ..*with })?;
        count(node, None, self.of(node).ok().as_ref());
        Ok(())
    }

    /// CREATE of a name that is there.
    fn existing(&self, place: &Place<'_>, at: &Entry<'_>, how: Create) -> Result<Arc<Node>, Stop> {
        let node = self.peek(place, at.name)?;
        let found = self.of(&node)?;
        match how {
            Create::Unchecked(with) if found.kind == FileType::Regular => {
                if let Some(size) = with.size {
                    node.data()?;
                    let file = Place { node: Arc::clone(&node), standing: place.standing };
                    self.changing(&file, |found| {
                        may_touch(&file, found)?;
                        set_size(&file, found, size)
                    })?;
                }
                Ok(node)
            }
            // The same call once more: the verifier was kept in the times of the file it made.
            Create::Exclusive(verifier) => {
                let SetAttributes { accessed, modified, .. } = mark(verifier);
                let times = (SetTime::To(found.accessed), SetTime::To(found.modified));
                if found.kind == FileType::Regular && found.size == 0 && times == (accessed, modified) {
                    Ok(node)
                } else {
                    Err(Status::Exists.into())
                }
            }
            Create::Unchecked(_) | Create::Guarded(_) => Err(Status::Exists.into()),
        }
    }

    /// What `name` in the folder is now.
    fn peek(&self, place: &Place<'_>, name: &[u8]) -> Result<Arc<Node>, Stop> {
        let export = &place.node.export;
        let (way, path) = export.find_name(place.node.path(), None, name, Patience::Blocking)?;
        Ok(self.exports.files.keep(Node::new(Arc::clone(export), way, path)))
    }

    /// MKDIR, SYMLINK and MKNOD.
    fn make(
        &self,
        at: &Entry<'_>,
        with: &SetAttributes,
        usual: u32,
        make: impl FnOnce(BorrowedFd<'_>, Mode) -> nix::Result<()>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let place = self.place(at.directory)?;
        usable(at.name, Status::Exists)?;
        if matches!(place.standing.rights, Rights::DropBox { .. }) {
            return Err(Status::Access.into());
        }
        let (node, directory) = self.changing(&place, |folder| {
            self.may_fill(&place, folder)?;
            room_for(&place, charge(0))?;
            let mode = shaped(place.standing.rights, with.mode.unwrap_or(usual));
            make(place.node.path(), Mode::from_bits_truncate(mode)).map_err(std::io::Error::from)?;
            let node = self.peek(&place, at.name)?;
            let made = self.of(&node)?;
            // A folder inherits the group of its parent together with the bit that says so.
            let wanted = mode | (made.mode & 0o2000);
            let other = made.kind != FileType::SymLink && made.mode != wanted;
            self.finish(&place, &node, with, other.then_some(wanted))?;
            Ok(node)
        })?;
        let attributes = self.of(&node)?;
        Reply::Made { object: &node.handle, attributes, directory }.encode(out);
        Ok(())
    }

    fn remove(&self, at: &Entry<'_>, how: UnlinkatFlags, out: &mut Vec<u8>) -> Result<(), Stop> {
        let place = self.place(at.directory)?;
        usable(at.name, Status::Invalid)?;
        let (gone, directory) = self.changing(&place, |folder| {
            self.may_fill(&place, folder)?;
            let node = self.peek(&place, at.name)?;
            let found = self.of(&node)?;
            may_touch(&place, &found)?;
            unlinkat(place.node.path(), at.name, how).map_err(std::io::Error::from)?;
            Ok((node, found))
        })?;
        self.gone(&gone.0, &gone.1);
        Reply::Removed(directory).encode(out);
        Ok(())
    }

    /// A name of this file is gone; with the last one goes the file.
    fn gone(&self, node: &Arc<Node>, before: &Attributes) {
        if before.links < 2 || before.kind == FileType::Directory {
            self.exports.files.remove(&node.handle);
            count(node, Some(before), None);
        }
        if let Some(inodes) = node.export.changing() {
            inodes.moved(before.id, None);
        }
    }

    fn rename(&self, from: &Entry<'_>, to: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let (source, target) = (self.place(from.directory)?, self.place(to.directory)?);
        usable(from.name, Status::Invalid)?;
        usable(to.name, Status::Invalid)?;
        if source.node.export.key() != target.node.export.key() {
            return Err(Status::CrossDevice.into());
        }
        let _alone = self.exports.writing.lock_both(&source.node, &target.node);
        let before = (self.of(&source.node)?, self.of(&target.node)?);
        let done = self.act(source.standing).and_then(|_acting| {
            self.may_fill(&source, &before.0)?;
            self.may_fill(&target, &before.1)?;
            let moved = self.peek(&source, from.name)?;
            may_touch(&source, &self.of(&moved)?)?;
            let replaced = match self.peek(&target, to.name) {
                Ok(node) => {
                    let found = self.of(&node)?;
                    may_touch(&target, &found)?;
                    (node.handle != moved.handle).then_some((node, found))
                }
                Err(_) => None,
            };
            renameat(source.node.path(), from.name, target.node.path(), to.name)
                .map_err(std::io::Error::from)?;
            Ok((moved, replaced))
        });
        let after = (self.of(&source.node).ok(), self.of(&target.node).ok());
        let (moved, replaced) = done.map_err(|stop| match stop {
            Stop::Refused(status, _) => Stop::Refused(status, after.0),
            Stop::WouldBlock => stop,
        })?;
        if let Some((node, found)) = replaced {
            self.gone(&node, &found);
        }
        if let Some(inodes) = moved.export.changing() {
            inodes.moved(self.of(&moved)?.id, Some((before.1.id, to.name)));
        }
        count(&source.node, Some(&before.0), after.0.as_ref());
        if source.node.handle != target.node.handle {
            count(&target.node, Some(&before.1), after.1.as_ref());
        }
        Reply::Renamed {
            from: Wcc { before: Some(before.0), after: after.0 },
            to: Wcc { before: Some(before.1), after: after.1 },
        }
        .encode(out);
        Ok(())
    }

    fn link(&self, file: &[u8], to: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let (file, place) = (self.place(file)?, self.place(to.directory)?);
        usable(to.name, Status::Exists)?;
        if file.node.export.key() != place.node.export.key() {
            return Err(Status::CrossDevice.into());
        }
        if matches!(place.standing.rights, Rights::DropBox { .. }) {
            return Err(Status::Access.into());
        }
        let ((), directory) = self.changing(&place, |folder| {
            self.may_fill(&place, folder)?;
            Ok(links::add_name(file.node.path(), place.node.path(), to.name)?)
        })?;
        Reply::Linked { attributes: self.of(&file.node)?, directory }.encode(out);
        Ok(())
    }
}

fn count(node: &Node, before: Option<&Attributes>, after: Option<&Attributes>) {
    let charge = |attributes: Option<&Attributes>| attributes.map_or(0, |a| charge(a.used));
    node.export.usage().change(charge(before), charge(after));
}

/// Refuses what would take more than the quota.
fn room_for(place: &Place<'_>, more: u64) -> Result<(), Stop> {
    match place.standing.quota {
        Some(quota) if place.node.export.usage().bytes().saturating_add(more) > quota.0 => {
            Err(Status::Quota.into())
        }
        _ => Ok(()),
    }
}

/// In a hand-in box only what is one's own and was not left alone for long may be changed.
fn may_touch(place: &Place<'_>, file: &Attributes) -> Result<(), Stop> {
    let Rights::DropBox { open } = place.standing.rights else { return Ok(()) };
    let own = file.uid == place.standing.identity.uid;
    let alone = birth::now_secs().saturating_sub(i64::from(file.changed.secs));
    let closed = u64::try_from(alone).unwrap_or(0) > open.as_secs();
    if own && !closed { Ok(()) } else { Err(Status::Access.into()) }
}

fn set_size(place: &Place<'_>, file: &Attributes, size: u64) -> Result<(), Stop> {
    regular(file)?;
    if !place.standing.identity.asker().may_write(file) {
        return Err(Status::Access.into());
    }
    Ok(pages::set_length(&*place.node.data()?, size)?)
}

fn regular(file: &Attributes) -> Result<(), Stop> {
    match file.kind {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Stop::Refused(Status::IsDirectory, Some(*file))),
        _ => Err(Stop::Refused(Status::Invalid, Some(*file))),
    }
}

/// Names that can be made, moved and removed; `dots` is said of `.` and `..`.
fn usable(name: &[u8], dots: Status) -> Result<(), Stop> {
    if name.len() > limits::NFS_NAME {
        return Err(Status::NameTooLong.into());
    }
    if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Status::Invalid.into());
    }
    if matches!(name, b"." | b"..") { Err(dots.into()) } else { Ok(()) }
}

/// The mode a file gets: in a common folder the group may do what the owner may; what was handed in is nobody else's.
fn shaped(rights: Rights, mode: u32) -> u32 {
    let mode = mode & 0o7777;
    match rights {
        Rights::ReadWrite | Rights::ReadOnly => mode,
        Rights::Common => mode | (mode & 0o700) >> 3,
        Rights::DropBox { .. } => mode & 0o700 | (mode & 0o700) >> 3,
    }
}

/// Where an exclusive CREATE keeps its verifier until the client sets the times: seconds of both, without the sign.
fn mark(verifier: [u8; 8]) -> SetAttributes {
    let [a, b, c, d, e, f, g, h] = verifier;
    let at = |bytes| SetTime::To(Time { secs: u32::from_be_bytes(bytes) & 0x7fff_ffff, nanos: 0 });
    let (accessed, modified) = (at([a, b, c, d]), at([e, f, g, h]));
    SetAttributes { mode: None, accessed, modified, ..SetAttributes::default() }
}

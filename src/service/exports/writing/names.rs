//! The procedures that make, move and remove names: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Place, count, kept_open, may_touch};
use crate::proto::nfs3::args::{Create, Entry};
use crate::proto::nfs3::reply::Wcc;
use crate::proto::nfs3::types::{SetAttributes, SetTime};
use crate::proto::nfs3::{Attributes, FileType, Reply, Status, Time};
use crate::service::exports::files::Node;
use crate::service::exports::grants::Rights;
use crate::service::exports::operations::Context;
use crate::service::exports::usage::charge;
use crate::service::exports::{Patience, Stop};
use crate::sys::{links, pages};
use crate::types::limits;

impl Context<'_> {
    pub(super) fn create(&self, at: &Entry<'_>, how: Create, out: &mut Vec<u8>) -> Result<(), Stop> {
        let place = self.place(at.directory)?;
        usable(at.name, Status::Exists)?;
        let with = match how {
            Create::Unchecked(with) | Create::Guarded(with) => with,
            Create::Exclusive(verifier) => mark(verifier),
        };
        let (made, directory) = self.changing(&place, |folder| {
            self.may_fill(&place, folder)?;
            self.room_for(&place, charge(0))?;
            let mode = kept_open(place.standing.rights, with.mode.unwrap_or(0o600), 0o600);
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
                        self.set_size(&file, found, size)
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
    pub(super) fn make(
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
            self.room_for(&place, charge(0))?;
            let mode = kept_open(place.standing.rights, with.mode.unwrap_or(usual), usual & 0o700);
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

    pub(super) fn remove(&self, at: &Entry<'_>, how: UnlinkatFlags, out: &mut Vec<u8>) -> Result<(), Stop> {
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

    pub(super) fn rename(&self, from: &Entry<'_>, to: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
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

    pub(super) fn link(&self, file: &[u8], to: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
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

/// Where an exclusive CREATE keeps its verifier until the client sets the times: seconds of both, without the sign.
fn mark(verifier: [u8; 8]) -> SetAttributes {
    let [a, b, c, d, e, f, g, h] = verifier;
    let at = |bytes| SetTime::To(Time { secs: u32::from_be_bytes(bytes) & 0x7fff_ffff, nanos: 0 });
    let (accessed, modified) = (at([a, b, c, d]), at([e, f, g, h]));
    SetAttributes { mode: None, accessed, modified, ..SetAttributes::default() }
}

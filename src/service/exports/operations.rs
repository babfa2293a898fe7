//! The procedures of NFSv3: each takes typed arguments and appends its results.
//!
//! Those that write are in [`writing`](super::writing).

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use nix::fcntl::readlinkat;
use nix::sys::statvfs::fstatvfs;

use super::agents::Agent;
use super::files::Node;
use super::grants::{Rights, Standing};
use super::handle::{VirtualFile, Way};
use super::packs::Pack;
use super::tree::Export;
use super::usage;
use super::virtuals::{self, AGENT, FOLDER, PACKED, PERSONALITY};
use super::{Exports, Patience, Payload, Stop, Target, Visitor, WouldBlock};
use crate::proto::nfs3::access::{self, Identity};
use crate::proto::nfs3::args::Entry;
use crate::proto::nfs3::reply::Space;
use crate::proto::nfs3::{Args, Attributes, FileType, Reply, Status};
use crate::proto::xdr::Writer;
use crate::sys::pages;
use crate::types::limits;

/// A READ of at most this many bytes is copied into the answer: cheaper than two more system calls.
const COPIED: u32 = 16 * 1024;

/// One call in its surroundings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub exports: &'a Exports,
    pub visitor: &'a Visitor,
    pub who: &'a Identity<'a>,
    pub patience: Patience,
}

impl Exports {
    /// Carries out one procedure and appends its results to `out`. A [`Payload`] is the data of a READ, to be sent behind
    /// them (only inline; in the pool the data is in `out`). On [`WouldBlock`], `out` is as it was.
    pub fn nfs(
        &self,
        visitor: &Visitor,
        who: &Identity<'_>,
        args: &Args<'_>,
        patience: Patience,
        out: &mut Vec<u8>,
    ) -> Result<Option<Payload>, WouldBlock> {
        let before = out.len();
        let cx = Context { exports: self, visitor, who, patience };
        match cx.carry_out(args, out) {
            Ok(payload) => Ok(payload),
            Err(Stop::WouldBlock) if patience == Patience::Inline => {
                out.truncate(before);
                Err(WouldBlock)
            }
            Err(stop) => {
                out.truncate(before);
                let (status, attributes) = match stop {
                    Stop::Refused(status, attributes) => (status, attributes),
                    Stop::WouldBlock => (Status::Later, None),
                };
                Reply::Failed { procedure: args.procedure(), status, attributes }.encode(out);
                Ok(None)
            }
        }
    }
}

impl Context<'_> {
    fn carry_out(&self, args: &Args<'_>, out: &mut Vec<u8>) -> Result<Option<Payload>, Stop> {
        match *args {
            Args::Null => Reply::Null.encode(out),
            Args::GetAttr(object) => Reply::GetAttr(self.attributes(&self.target(object)?)?).encode(out),
            Args::Lookup(entry) => self.lookup(&entry, out)?,
            Args::Access { object, wanted } => {
                let target = self.target(object)?;
                let attributes = self.attributes(&target)?;
                let granted = self.granted(&target, &attributes, wanted);
                Reply::Access { attributes, granted }.encode(out);
            }
            Args::ReadLink(object) => self.readlink(object, out)?,
            Args::Read { file, offset, count } => return self.read(file, offset, count, out),
            Args::ReadDir { directory, cookie, verifier, count } => {
                self.list(directory, cookie, verifier, count, None, out)?;
            }
            Args::ReadDirPlus { directory, cookie, verifier, names, count } => {
                self.list(directory, cookie, verifier, count, Some(names), out)?;
            }
            Args::FsStat(object) => {
                let target = self.target(object)?;
                let mut space = space(target.export())?;
                if let Some(standing) = self.visitor.standing(target.export().key()) {
                    if standing.rights != Rights::System {
                        let room = target.export().room(self.exports.writing.reserve);
                        space.bytes_available = space.bytes_available.min(room);
                    }
                    if let Some(quota) = standing.quota {
                        space = usage::within(space, quota, target.export().usage().bytes());
                    }
                }
                Reply::FsStat { attributes: self.attributes(&target)?, space }.encode(out);
            }
            Args::FsInfo(object) => {
                Reply::FsInfo { attributes: self.attributes(&self.target(object)?)? }.encode(out);
            }
            Args::PathConf(object) => {
                Reply::PathConf { attributes: self.attributes(&self.target(object)?)? }.encode(out);
            }
            Args::SetAttr { .. }
            | Args::Write { .. }
            | Args::Create { .. }
            | Args::MkDir { .. }
            | Args::SymLink { .. }
            | Args::MkNod { .. }
            | Args::Remove(_)
            | Args::RmDir(_)
            | Args::Rename { .. }
            | Args::Link { .. }
            | Args::Commit { .. } => self.change(args, out)?,
        }
        Ok(None)
    }

    pub fn target(&self, handle: &[u8]) -> Result<Target, Stop> {
        let target = self.exports.target(self.visitor, self.who, handle, self.patience)?;
        if self.is_hidden(&target)? { Err(Status::Access.into()) } else { Ok(target) }
    }

    /// Whether it was handed in by somebody else.
    pub fn is_hidden(&self, target: &Target) -> Result<bool, Stop> {
        let Target::File(node) = target else { return Ok(false) };
        Ok(match self.visitor.standing(node.export.key()) {
            Some(one) if matches!(one.rights, Rights::DropBox { .. }) && !node.is_root => {
                self.attributes(target)?.uid != one.identity.uid
            }
            _ => false,
        })
    }

    fn granted(&self, target: &Target, attributes: &Attributes, wanted: u32) -> u32 {
        let who = self.who_in(target.export());
        match self.visitor.standing(target.export().key()).map(|one| one.rights) {
            None | Some(Rights::ReadOnly) => who.granted(attributes, wanted),
            Some(Rights::ReadWrite | Rights::Common | Rights::System) => {
                who.granted_to_write(attributes, wanted)
            }
            // Whoever may put something in may also see what is in there of his own.
            Some(Rights::DropBox { .. }) => match attributes.kind {
                FileType::Directory => (access::READ | who.granted_to_write(attributes, 0x3f)) & wanted,
                _ => who.granted_to_write(attributes, wanted),
            },
        }
    }

    /// Who a call about a file of this tree acts as: in a home or a share, the person it was granted to.
    pub fn who_in(&self, export: &Export) -> Identity<'_> {
        match self.visitor.standing(export.key()) {
            Some(standing) => self.who_for(standing),
            None => self.who.clone(),
        }
    }

    /// Who a call acts as where this is granted.
    pub fn who_for<'b>(&'b self, standing: &'b Standing) -> Identity<'b> {
        match standing.rights {
            Rights::System => self.who.clone(),
            _ => standing.identity.asker(),
        }
    }

    pub fn attributes(&self, target: &Target) -> Result<Attributes, Stop> {
        match target {
            Target::File(node) => {
                let mut attributes = node.attributes()?;
                match self.visitor.standing(node.export.key()) {
                    // All files are the daemon's own, and shown as the person's.
                    Some(one) if !self.exports.writing.acts => {
                        (attributes.uid, attributes.gid) = (one.identity.uid, one.identity.gid);
                    }
                    _ => {}
                }
                Ok(attributes)
            }
            Target::Virtual(export, file) => self.virtual_attributes(export, *file),
        }
    }

    pub fn virtual_attributes(&self, export: &Export, file: VirtualFile) -> Result<Attributes, Stop> {
        let tree = export.image().ok_or(Status::Stale)?;
        match file {
            VirtualFile::Folder => Ok(virtuals::folder_attributes(tree)),
            VirtualFile::Agent { .. } => Ok(self.agent(export, Some(file))?.attributes(tree)),
            VirtualFile::Personality => {
                Ok(virtuals::personality_attributes(tree, &self.personality(export)?))
            }
            VirtualFile::Packed { stamp } => Ok(self.pack(export, stamp)?.attributes(tree)),
        }
    }

    /// The agent for this tree: the build that a handle was made for, or the one that is installed.
    pub fn agent(&self, export: &Export, given: Option<VirtualFile>) -> Result<Arc<Agent>, Stop> {
        let (arch, agents) = (export.image().ok_or(Status::Stale)?.facts.arch, &self.exports.virtuals.agents);
        let stamp = match given {
            Some(VirtualFile::Agent { stamp }) => Some(stamp),
            _ => None,
        };
        if let Some(agent) = stamp.and_then(|stamp| agents.opened(stamp)) {
            return Ok(agent);
        }
        match (stamp, self.patience) {
            (_, Patience::Inline) => Err(Stop::WouldBlock),
            (Some(stamp), Patience::Blocking) => Ok(agents.kept(arch, stamp).map_err(|_| Status::Stale)?),
            (None, Patience::Blocking) => Ok(agents.newest(arch)?),
        }
    }

    /// The packed file of this tree, if it has one now.
    pub fn packed(&self, export: &Export) -> Option<VirtualFile> {
        let tree = export.image().filter(|_| export.is_published())?;
        let stamp = self.exports.images.packed(tree.id).filter(|packed| packed.offered)?.stamp;
        Some(VirtualFile::Packed { stamp })
    }

    /// The packed file that a handle was made for.
    fn pack(&self, export: &Export, stamp: u64) -> Result<Arc<Pack>, Stop> {
        let packs = &self.exports.virtuals.packs;
        if let Some(pack) = packs.opened(stamp) {
            return Ok(pack);
        }
        if self.patience == Patience::Inline {
            return Err(Stop::WouldBlock);
        }
        let tree = export.image().ok_or(Status::Stale)?;
        let packed = self.exports.images.packed(tree.id).filter(|packed| packed.stamp == stamp);
        Ok(packs.open(&packed.ok_or(Status::Stale)?).map_err(|_| Status::Stale)?)
    }

    fn personality(&self, export: &Export) -> Result<Vec<u8>, Stop> {
        let seat = self.visitor.seat.as_ref().ok_or(Status::Access)?;
        Ok(self.exports.virtuals.personality(seat, export.image().ok_or(Status::Stale)?))
    }

    fn lookup(&self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let directory = self.target(entry.directory)?;
        let around = self.attributes(&directory)?;
        let refuse = |status| Stop::Refused(status, Some(around));
        if around.kind != FileType::Directory {
            return Err(refuse(Status::NotDirectory));
        }
        if !self.who_in(directory.export()).may_search(&around) {
            return Err(refuse(Status::Access));
        }
        if entry.name.len() > limits::NFS_NAME {
            return Err(refuse(Status::NameTooLong));
        }
        if entry.name.is_empty() || entry.name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err(refuse(Status::NoEntry));
        }
        let found = match &directory {
            Target::Virtual(export, VirtualFile::Folder) => self.find_virtual(export, entry.name),
            Target::Virtual(..) => Err(Status::NotDirectory.into()),
            Target::File(node) => self.find(node, entry.name),
        };
        let (found, attributes) = found
            .and_then(|found| if self.is_hidden(&found)? { Err(Status::NoEntry.into()) } else { Ok(found) })
            .and_then(|found| self.attributes(&found).map(|a| (found, a)))
            .map_err(|stop| match stop {
                Stop::Refused(status, _) => refuse(status),
                Stop::WouldBlock => stop,
            })?;
        let handle = match found {
            Target::File(node) => node.handle.clone(),
            Target::Virtual(export, file) => export.seal(Way::Virtual(file)),
        };
        Reply::Lookup { object: &handle, attributes, directory: Some(around) }.encode(out);
        Ok(())
    }

    fn find(&self, directory: &Arc<Node>, name: &[u8]) -> Result<Target, Stop> {
        if name == b"." || (name == b".." && directory.is_root) {
            return Ok(Target::File(Arc::clone(directory)));
        }
        let export = &directory.export;
        if directory.is_root && name == FOLDER && export.image().is_some() {
            return Ok(Target::Virtual(Arc::clone(export), VirtualFile::Folder));
        }
        let (way, path) = export.find_name(directory.path(), directory.number, name, self.patience)?;
        Ok(Target::File(self.exports.files.keep(Node::new(Arc::clone(export), way, path))))
    }

    fn find_virtual(&self, export: &Arc<Export>, name: &[u8]) -> Result<Target, Stop> {
        let file = match name {
            b"." => VirtualFile::Folder,
            AGENT => self.agent(export, None)?.virtual_file(),
            PERSONALITY => VirtualFile::Personality,
            PACKED => self.packed(export).ok_or(Status::NoEntry)?,
            b".." => return self.target(&export.seal(export.root_way().clone())),
            _ => return Err(Status::NoEntry.into()),
        };
        Ok(Target::Virtual(Arc::clone(export), file))
    }

    fn readlink(&self, object: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        let target = self.target(object)?;
        let attributes = self.attributes(&target)?;
        match target {
            Target::File(node) if attributes.kind == FileType::SymLink => {
                // A short target is in the inode; a long one is in a block of its own, on the disk.
                if self.patience == Patience::Inline && attributes.size > 59 {
                    return Err(Stop::WouldBlock);
                }
                let to = readlinkat(node.path(), "").map_err(std::io::Error::from)?;
                Reply::ReadLink { attributes, target: to.as_bytes() }.encode(out);
                Ok(())
            }
            _ => Err(Stop::Refused(Status::Invalid, Some(attributes))),
        }
    }

    fn read(&self, file: &[u8], offset: u64, count: u32, out: &mut Vec<u8>) -> Result<Option<Payload>, Stop> {
        let target = self.target(file)?;
        if let Target::Virtual(export, VirtualFile::Personality) = &target {
            self.read_personality(export, offset, count, out)?;
            return Ok(None);
        }
        let attributes = self.attributes(&target)?;
        let refuse = |status| Stop::Refused(status, Some(attributes));
        match attributes.kind {
            FileType::Regular => {}
            FileType::Directory => return Err(refuse(Status::IsDirectory)),
            _ => return Err(refuse(Status::Invalid)),
        }
        if !self.who_in(target.export()).may_read(&attributes) {
            return Err(refuse(Status::Access));
        }
        let left = attributes.size.saturating_sub(offset);
        let count = count.min(limits::NFS_READ).min(u32::try_from(left).unwrap_or(u32::MAX));
        let reply = Reply::Read { attributes, count, end: u64::from(count) == left };
        if count == 0 {
            reply.encode(out);
            return Ok(None);
        }
        let file = match &target {
            Target::File(node) => node.data()?,
            Target::Virtual(export, VirtualFile::Packed { stamp }) => {
                Arc::clone(&self.pack(export, *stamp)?.file)
            }
            Target::Virtual(export, file) => Arc::clone(&self.agent(export, Some(*file))?.file),
        };
        let length = usize::try_from(count).map_err(|_| Status::Fault)?;
        match self.patience {
            Patience::Blocking => {
                read_blocking(&file, offset, attributes, length, out)?;
                Ok(None)
            }
            Patience::Inline if count <= COPIED => {
                reply.encode(out);
                let start = out.len();
                out.resize(start + length, 0);
                let room = out.get_mut(start..).unwrap_or_default();
                match pages::read_now(&*file, room, offset) {
                    Ok(read) if read == length => {}
                    _ => return Err(Stop::WouldBlock),
                }
                Writer(out).pad(length);
                Ok(None)
            }
            Patience::Inline if pages::are_cached(&*file, offset, count.into()) => {
                reply.encode(out);
                Ok(Some(Payload { file, offset, length: count }))
            }
            Patience::Inline => Err(Stop::WouldBlock),
        }
    }

    fn read_personality(
        &self,
        export: &Export,
        offset: u64,
        count: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let content = self.personality(export)?;
        let tree = export.image().ok_or(Status::Stale)?;
        let attributes = virtuals::personality_attributes(tree, &content);
        if !self.who.may_read(&attributes) {
            return Err(Stop::Refused(Status::Access, Some(attributes)));
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let rest = content.get(from..).unwrap_or_default();
        let most = usize::try_from(count.min(limits::NFS_READ)).unwrap_or(0);
        let part = rest.get(..most).unwrap_or(rest);
        let count = u32::try_from(part.len()).map_err(|_| Status::Fault)?;
        Reply::Read { attributes, count, end: part.len() == rest.len() }.encode(out);
        out.extend_from_slice(part);
        Writer(out).pad(part.len());
        Ok(())
    }
}

impl Target {
    pub fn export(&self) -> &Arc<Export> {
        match self {
            Self::File(node) => &node.export,
            Self::Virtual(export, _) => export,
        }
    }
}

/// Reads from the disk into the answer. A file that turns out shorter gives a shorter answer.
fn read_blocking(
    file: &std::os::fd::OwnedFd,
    offset: u64,
    attributes: Attributes,
    length: usize,
    out: &mut Vec<u8>,
) -> Result<(), Stop> {
    let before = out.len();
    let encode = |out: &mut Vec<u8>, length: usize| {
        out.truncate(before);
        let count = u32::try_from(length).unwrap_or(u32::MAX);
        let end = offset.saturating_add(count.into()) >= attributes.size;
        Reply::Read { attributes, count, end }.encode(out);
        out.len()
    };
    let start = encode(out, length);
    out.resize(start + length, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let read = pages::read_all(file, room, offset)?;
    if read < length {
        let data = out.get(start..start + read).map(<[u8]>::to_vec).unwrap_or_default();
        encode(out, read);
        out.extend_from_slice(&data);
    }
    Writer(out).pad(read);
    Ok(())
}

fn space(export: &Export) -> Result<Space, Stop> {
    let stat = fstatvfs(export.root()).map_err(std::io::Error::from)?;
    #[expect(clippy::useless_conversion, reason = "the widths of these fields differ")]
    let bytes = |blocks| u64::from(blocks).saturating_mul(stat.fragment_size().into());
    #[expect(clippy::useless_conversion, reason = "the widths of these fields differ")]
    Ok(Space {
        bytes: bytes(stat.blocks()),
        bytes_free: bytes(stat.blocks_free()),
        bytes_available: bytes(stat.blocks_available()),
        files: stat.files().into(),
        files_free: stat.files_free().into(),
        files_available: stat.files_available().into(),
    })
}

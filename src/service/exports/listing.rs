//! READDIR and READDIRPLUS.
//!
//! A cookie is the position the file system gives behind an entry, or the place in our index: both stay right over a restart.
//! The verifier is the tree's nonce, because a published tree never changes.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::files::Node;
use super::grants::Rights;
use super::handle::{VirtualFile, Way};
use super::operations::Context;
use super::tree::Export;
use super::virtuals::{AGENT, PACKED, PERSONALITY};
use super::{Patience, Stop, Target};
use crate::proto::nfs3::directory::{Entry, Listing};
use crate::proto::nfs3::{Attributes, FileType, Handle, Status};
use crate::sys::dirents;

/// What READDIRPLUS adds to an entry.
type Plus = Option<(Attributes, Handle)>;

impl Context<'_> {
    pub(super) fn list(
        &self,
        directory: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
        names: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let target = self.target(directory)?;
        let around = self.attributes(&target)?;
        let refuse = |status| Stop::Refused(status, Some(around));
        if around.kind != FileType::Directory {
            return Err(refuse(Status::NotDirectory));
        }
        let rights = self.visitor.standing(target.export().key()).map(|one| one.rights);
        let is_box = matches!(rights, Some(Rights::DropBox { .. }));
        if !is_box && !self.who_in(target.export()).may_list(&around) {
            return Err(refuse(Status::Access));
        }
        let ours = target.export().filesystem().to_be_bytes();
        if cookie != 0 && verifier != ours {
            return Err(refuse(Status::BadCookie));
        }
        let mut listing =
            Listing::begin(out, around, ours, count, names).ok_or_else(|| refuse(Status::TooSmall))?;
        let plus = names.is_some();
        let end = match &target {
            Target::Virtual(export, _) => self.list_virtual(export, cookie, plus, &mut listing)?,
            // Folders are read from the disk more often than not: not worth a try.
            Target::File(_) if self.patience == Patience::Inline => return Err(Stop::WouldBlock),
            Target::File(node) => match (node.export.numbered(), node.number) {
                (Some(_), Some(number)) => list_numbered(node, number, cookie, plus, &mut listing)?,
                _ => self.list_folder(node, cookie, (plus, is_box), &mut listing)?,
            },
        };
        if listing.is_empty() && !end {
            return Err(refuse(Status::TooSmall));
        }
        listing.finish(end);
        Ok(())
    }

    /// Reads the folder itself. Whether it has been read to the end is the result. In a hand-in box (`is_box`) others' files
    /// are left out.
    fn list_folder(
        &self,
        node: &Arc<Node>,
        cookie: u64,
        (plus, is_box): (bool, bool),
        listing: &mut Listing<'_>,
    ) -> Result<bool, Stop> {
        let folder = node.open_folder()?;
        let root = if node.is_root { Some(node.attributes()?) } else { None };
        let read = dirents::read(&folder, cookie, |entry| {
            // Above the root there is nothing.
            let name = if root.is_some() && entry.name == b".." { b"." } else { entry.name };
            let found = if plus || is_box { found(node, &folder, name) } else { None };
            if is_box && found.as_ref().is_none_or(|found| self.is_hidden(found).unwrap_or(true)) {
                return true;
            }
            let more = found.filter(|_| plus).and_then(|found| self.plus_of(&found));
            let id = match (&root, entry.name) {
                (Some(root), b".." | b".") => root.id,
                _ => more.as_ref().map_or(entry.inode, |(attributes, _)| attributes.id),
            };
            let plus = more.as_ref().map(|(attributes, handle)| (*attributes, handle));
            listing.push(Entry { id, name: entry.name, cookie: entry.next, plus })
        });
        read.map_err(|error| match error.raw_os_error() {
            // The cookie is no position in this folder.
            Some(libc::EINVAL) => Status::BadCookie.into(),
            _ => error.into(),
        })
    }

    fn plus_of(&self, found: &Target) -> Plus {
        let Target::File(node) = found else { return None };
        Some((self.attributes(found).ok()?, node.handle.clone()))
    }

    fn list_virtual(
        &self,
        export: &Arc<Export>,
        cookie: u64,
        plus: bool,
        listing: &mut Listing<'_>,
    ) -> Result<bool, Stop> {
        let agent = self.agent(export, None)?.virtual_file();
        let mut files =
            vec![(&b"."[..], VirtualFile::Folder), (AGENT, agent), (PERSONALITY, VirtualFile::Personality)];
        files.extend(self.packed(export).map(|packed| (PACKED, packed)));
        let from = usize::try_from(cookie).map_err(|_| Status::BadCookie)?;
        for (next, (name, file)) in behind(cookie).zip(files.into_iter().skip(from)) {
            let attributes = self.virtual_attributes(export, file)?;
            let handle = export.seal(Way::Virtual(file));
            let plus = plus.then_some((attributes, &handle));
            if !listing.push(Entry { id: attributes.id, name, cookie: next, plus }) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The file called `name` in the open folder of `node`.
fn found(node: &Arc<Node>, folder: impl AsFd, name: &[u8]) -> Option<Target> {
    if name == b"." {
        return Some(Target::File(Arc::clone(node)));
    }
    let (way, path) = node.export.find_name(folder, None, name, Patience::Blocking).ok()?;
    Some(Target::File(Arc::new(Node::new(Arc::clone(&node.export), way, path))))
}

/// Lists from our index: position 0 is `.`, 1 is `..`, then the names.
fn list_numbered(
    node: &Arc<Node>,
    number: u32,
    cookie: u64,
    plus: bool,
    listing: &mut Listing<'_>,
) -> Result<bool, Stop> {
    let Some(index) = node.export.numbered() else { return Err(Status::Fault.into()) };
    let from = usize::try_from(cookie).map_err(|_| Status::BadCookie)?;
    let parent = index.parent(number).ok_or(Status::Stale)?;
    let dots = [(&b"."[..], number), (&b".."[..], parent)];
    let names = index.list(number, from.saturating_sub(dots.len()));
    for (next, (name, file)) in behind(cookie).zip(dots.into_iter().skip(from).chain(names)) {
        let name_to_find = if node.is_root && name == b".." { b"." } else { name };
        let more = if plus { entry_of(node, node.path(), Some(number), name_to_find) } else { None };
        let plus = more.as_ref().map(|(attributes, handle)| (*attributes, handle));
        if !listing.push(Entry { id: Export::id_of(file), name, cookie: next, plus }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Attributes and handle of one entry; `None` where they cannot be had, and then the client asks by LOOKUP.
fn entry_of(node: &Arc<Node>, folder: impl AsFd, number: Option<u32>, name: &[u8]) -> Plus {
    if name == b"." {
        return Some((node.attributes().ok()?, node.handle.clone()));
    }
    let export = &node.export;
    let (way, path) = export.find_name(folder, number, name, Patience::Blocking).ok()?;
    let found = Node::new(Arc::clone(export), way, path);
    Some((found.attributes().ok()?, found.handle))
}

/// The cookies behind the entries from position `cookie` on. A client may name a position near the end of all numbers.
fn behind(cookie: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |n| cookie.saturating_add(1).saturating_add(n))
}

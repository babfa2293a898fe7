//! Writes a tree into one squashfs file, packed with Zstandard.
//!
//! Two walks over the same folders, in the order of their names: the first packs what is in the files, on all processors, and
//! notes where it went; the second writes the tables, each folder behind what is in it, because a name's entry says where
//! its inode is. What is kept in memory for the second is some sixty bytes a file.
//!
//! Own code, because mksquashfs as OpenWrt builds it drops extended attributes, file capabilities among them, which are half
//! of the point; and because a job tells how far it is and can be cancelled. The layout is
//! [`proto::squashfs`](crate::proto::squashfs)'s.
//!
//! What squashfs does not keep: fractions of seconds, times before 1970, and lists of access rights (`system.posix_acl_*`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, major, minor};

use super::copy::{CopyError, attributes, read};
use crate::proto::squashfs::{self as layout, About, BLOCK, Child, Content, Kind, Place, Tables};
use crate::service::jobs::{Cancelled, Task};
use crate::types::limits;

/// Why a tree was not packed.
#[derive(Debug, thiserror::Error)]
pub enum SquashError {
    #[error(transparent)]
    Read(CopyError),
    #[error("the packed file cannot be written")]
    Write(#[source] io::Error),
    #[error("the tree has files of more than 65,535 users and groups, which a packed file cannot name")]
    TooManyOwners,
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<CopyError> for SquashError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Read(other),
        }
    }
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Squashed {
    /// Length of the file.
    pub bytes: u64,
    /// Attributes that could not be kept.
    pub attributes_lost: u64,
}

/// As quick as the disk of a router; higher levels win little and take many times as long.
const LEVEL: i32 = 3;

/// Blocks that each thread packs before all write what they have.
const BATCH: usize = 4;

/// The file is filled up to this: a loop device has whole sectors, of whatever size.
const SECTOR: u64 = 4096;

/// Writes the tree at `root` into `out`, which is empty. `made_at`: seconds since 1970. `task` hears of the bytes read.
pub fn write(root: &Path, out: &File, made_at: u32, task: &Task) -> Result<Squashed, SquashError> {
    let mut walk = Walk { task, device: 0 };
    let (top, stat) = walk.begin(root)?;

    let mut data = Data::new(out, task);
    walk.folder(&top, Path::new(""), 0, &mut data)?;
    data.end()?;
    let Data { contents, linked, tables, at, .. } = data;

    let mut second = Second {
        tables,
        contents: contents.into_iter(),
        links: linked.into_iter().map(|(inode, names)| (inode, Links { names, met: None })).collect(),
        packer: packer()?,
        next: 1,
        lost: 0,
    };
    let root = second.tree(&mut walk, &top, &stat)?;
    let mut pack = plain_pack(&mut second.packer);
    let (first, rest) = second.tables.finish(root, at, made_at, &mut pack);
    let write = |bytes: &[u8], at| out.write_all_at(bytes, at).map_err(SquashError::Write);
    write(&rest, at)?;
    write(&first, 0)?;
    let bytes = (at + rest.len() as u64).next_multiple_of(SECTOR);
    out.set_len(bytes).map_err(SquashError::Write)?;
    Ok(Squashed { bytes, attributes_lost: second.lost })
}

fn packer() -> Result<zstd::bulk::Compressor<'static>, SquashError> {
    zstd::bulk::Compressor::new(LEVEL).map_err(SquashError::Write)
}

/// What cannot be packed, for want of memory, is stored as it is.
fn plain_pack<'a>(packer: &'a mut zstd::bulk::Compressor<'static>) -> impl FnMut(&[u8]) -> Vec<u8> + 'a {
    |bytes| packer.compress(bytes).unwrap_or_else(|_| bytes.to_vec())
}

/// One walk over a tree, in the order of the names.
struct Walk<'a> {
    task: &'a Task,
    device: u64,
}

/// One name in a folder, and what it is the name of.
struct Met<'a> {
    path: &'a Path,
    folder: &'a File,
    name: &'a OsStr,
    stat: FileStat,
}

impl Met<'_> {
    fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.stat.st_mode & SFlag::S_IFMT.bits())
    }

    fn open(&self, flags: OFlag) -> Result<File, SquashError> {
        let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(self.folder, self.name, flags, Mode::empty());
        Ok(File::from(opened.map_err(read(self.path))?))
    }
}

impl Walk<'_> {
    fn begin(&mut self, root: &Path) -> Result<(File, FileStat), SquashError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let top = File::from(openat(AT_FDCWD, root, flags, Mode::empty()).map_err(read(root))?);
        let stat = fstat(&top).map_err(read(root))?;
        self.device = stat.st_dev;
        Ok((top, stat))
    }

    /// Has `each` look at everything in `folder`, by name.
    fn list(
        &self,
        folder: &File,
        path: &Path,
        depth: usize,
        each: &mut dyn FnMut(&Met<'_>) -> Result<(), SquashError>,
    ) -> Result<(), SquashError> {
        if depth > limits::TREE_DEPTH {
            return Err(CopyError::TooDeep { path: path.to_owned() }.into());
        }
        let again = folder.try_clone().map_err(|source| CopyError::Read { path: path.to_owned(), source })?;
        let mut names: Vec<OsString> = Vec::new();
        for entry in Dir::from_fd(again.into()).map_err(read(path))?.iter() {
            let entry = entry.map_err(read(path))?;
            names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        }
        names.retain(|name| name != "." && name != ".." && !(depth == 0 && name == "lost+found"));
        names.sort();
        for name in &names {
            self.task.go_on()?;
            let path = path.join(name);
            let stat =
                fstatat(folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(read(&path))?;
            each(&Met { path: &path, folder, name, stat })?;
        }
        Ok(())
    }

    /// The first walk: what is in the files.
    fn folder(
        &self,
        folder: &File,
        path: &Path,
        depth: usize,
        data: &mut Data<'_>,
    ) -> Result<(), SquashError> {
        self.list(folder, path, depth, &mut |met| {
            if met.kind() == SFlag::S_IFDIR {
                if met.stat.st_dev != self.device {
                    return Ok(());
                }
                return self.folder(&met.open(OFlag::O_DIRECTORY)?, met.path, depth + 1, data);
            }
            if met.stat.st_nlink > 1 {
                let names = data.linked.entry(inode(&met.stat)).or_default();
                *names += 1;
                if *names > 1 {
                    return Ok(());
                }
            }
            if met.kind() == SFlag::S_IFREG { data.file(met) } else { Ok(()) }
        })
    }
}

fn inode(stat: &FileStat) -> u64 {
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
    u64::from(stat.st_ino)
}

/// Where the bytes of a block belong.
#[derive(Clone, Copy)]
enum For {
    /// The file of this number, and the number of the block in it.
    File(usize, usize),
    /// Small files.
    Fragment,
}

/// The content of all files, as it is packed and written.
struct Data<'a> {
    out: &'a File,
    task: &'a Task,
    at: u64,
    threads: usize,
    batch: Vec<(For, Vec<u8>)>,
    fragment: Vec<u8>,
    /// Blocks of small files so far, those in the batch included.
    fragments: u32,
    /// In the order of the walk.
    contents: Vec<Content>,
    /// Names within the tree of each inode that may have several.
    linked: HashMap<u64, u32>,
    tables: Tables,
}

impl<'a> Data<'a> {
    fn new(out: &'a File, task: &'a Task) -> Self {
        Self {
            out,
            task,
            at: layout::SUPERBLOCK as u64,
            threads: thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4),
            batch: Vec::new(),
            fragment: Vec::new(),
            fragments: 0,
            contents: Vec::new(),
            linked: HashMap::new(),
            tables: Tables::default(),
        }
    }

    fn file(&mut self, met: &Met<'_>) -> Result<(), SquashError> {
        let mut size = u64::try_from(met.stat.st_size).unwrap_or(0);
        let number = self.contents.len();
        self.contents.push(Content::default());
        if size == 0 {
            return Ok(());
        }
        let mut opened = met.open(OFlag::empty())?;
        let failed = |source| CopyError::Read { path: met.path.to_owned(), source };
        let mut block = vec![0; BLOCK];
        if let Some(small) = usize::try_from(size).ok().filter(|size| *size < BLOCK) {
            let bytes = block.get_mut(..small).unwrap_or_default();
            opened.read_exact(bytes).map_err(failed)?;
            self.task.advance(size);
            if self.fragment.len() + bytes.len() > BLOCK {
                self.flush_fragment()?;
            }
            let offset = u32::try_from(self.fragment.len()).unwrap_or(0);
            self.fragment.extend_from_slice(bytes);
            if let Some(content) = self.contents.get_mut(number) {
                (content.size, content.fragment) = (size, Some((self.fragments, offset)));
            }
            return Ok(());
        }
        let count = usize::try_from(size.div_ceil(BLOCK as u64)).unwrap_or(0);
        if let Some(content) = self.contents.get_mut(number) {
            (content.size, content.blocks) = (size, vec![0; count].into());
        }
        for nth in 0..count {
            self.task.go_on()?;
            let len = usize::try_from(size).unwrap_or(usize::MAX).min(BLOCK);
            let mut bytes = vec![0; len];
            opened.read_exact(&mut bytes).map_err(failed)?;
            self.task.advance(len as u64);
            size -= len as u64;
            // A block of zeros is not stored.
            if bytes.iter().any(|byte| *byte != 0) {
                self.add(For::File(number, nth), bytes)?;
            }
        }
        Ok(())
    }

    fn flush_fragment(&mut self) -> Result<(), SquashError> {
        let bytes = std::mem::take(&mut self.fragment);
        if bytes.is_empty() {
            return Ok(());
        }
        self.fragments += 1;
        self.add(For::Fragment, bytes)
    }

    fn add(&mut self, belongs: For, bytes: Vec<u8>) -> Result<(), SquashError> {
        self.batch.push((belongs, bytes));
        if self.batch.len() >= self.threads * BATCH { self.write_batch() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), SquashError> {
        self.flush_fragment()?;
        self.write_batch()
    }

    /// Packs the blocks of the batch, each thread some of them, and writes them in their order.
    fn write_batch(&mut self) -> Result<(), SquashError> {
        let batch = std::mem::take(&mut self.batch);
        let pack_some = |some: &[(For, Vec<u8>)]| -> Result<Vec<(Vec<u8>, u32)>, SquashError> {
            let mut packer = packer()?;
            let mut pack = plain_pack(&mut packer);
            Ok(some.iter().map(|(_, bytes)| layout::data_block(bytes, &mut pack)).collect())
        };
        let share = batch.len().div_ceil(self.threads).max(1);
        let packed: Result<Vec<_>, SquashError> = thread::scope(|scope| {
            let threads: Vec<_> =
                batch.chunks(share).map(|some| scope.spawn(move || pack_some(some))).collect();
            let failed = || SquashError::Write(io::Error::other("a thread that packs has ended"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(failed()))).collect()
        });
        for ((belongs, _), (bytes, len)) in batch.iter().zip(packed?.into_iter().flatten()) {
            self.out.write_all_at(&bytes, self.at).map_err(SquashError::Write)?;
            match *belongs {
                For::Fragment => self.tables.fragment(self.at, len),
                For::File(number, nth) => {
                    let Some(content) = self.contents.get_mut(number) else { continue };
                    if content.start == 0 {
                        content.start = self.at;
                    }
                    if let Some(block) = content.blocks.get_mut(nth) {
                        *block = len;
                    }
                }
            }
            self.at += bytes.len() as u64;
        }
        Ok(())
    }
}

/// What is known of an inode with several names.
struct Links {
    names: u32,
    /// Where it is, once it has been met.
    met: Option<(Place, u32)>,
}

/// The second walk: inodes and folders.
struct Second {
    tables: Tables,
    /// Of files, in the order of the walk.
    contents: std::vec::IntoIter<Content>,
    links: HashMap<u64, Links>,
    packer: zstd::bulk::Compressor<'static>,
    /// The number of the next inode.
    next: u32,
    lost: u64,
}

impl Second {
    fn tree(&mut self, walk: &mut Walk<'_>, top: &File, stat: &FileStat) -> Result<Place, SquashError> {
        walk.task.phase("writing its folders", 0)?;
        let number = self.number();
        self.folder(walk, top, Path::new(""), 0, stat, number, 0)
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    #[expect(clippy::too_many_arguments, reason = "a folder, where it is and who it is")]
    fn folder(
        &mut self,
        walk: &Walk<'_>,
        folder: &File,
        path: &Path,
        depth: usize,
        stat: &FileStat,
        number: u32,
        parent: u32,
    ) -> Result<Place, SquashError> {
        let mut children = Vec::new();
        let mut links = 2;
        walk.list(folder, path, depth, &mut |met| {
            let child =
                |place, number, kind| Child { name: met.name.as_bytes().to_vec(), place, number, kind };
            if met.kind() == SFlag::S_IFDIR {
                let inner = met.open(OFlag::O_DIRECTORY)?;
                let own = self.number();
                links += 1;
                let place = if met.stat.st_dev == walk.device {
                    self.folder(walk, &inner, met.path, depth + 1, &met.stat, own, number)?
                } else {
                    self.end_folder(&inner, &[], 2, &met.stat, own, number)?
                };
                children.push(child(place, own, Kind::Folder));
                return Ok(());
            }
            let kind = kind(met.kind());
            let known = self.links.get(&inode(&met.stat)).filter(|_| met.stat.st_nlink > 1);
            if let Some((place, number)) = known.and_then(|links| links.met) {
                children.push(child(place, number, kind));
                return Ok(());
            }
            let names = known.map_or(1, |links| links.names);
            let own = self.number();
            let place = self.other(met, kind, own, names)?;
            if let Some(links) = self.links.get_mut(&inode(&met.stat)).filter(|_| met.stat.st_nlink > 1) {
                links.met = Some((place, own));
            }
            children.push(child(place, own, kind));
            Ok(())
        })?;
        // Above the root is, by custom, the inode behind the last.
        let parent = if depth == 0 { self.next } else { parent };
        self.end_folder(folder, &children, links, stat, number, parent)
    }

    fn end_folder(
        &mut self,
        folder: &File,
        children: &[Child],
        links: u32,
        stat: &FileStat,
        number: u32,
        parent: u32,
    ) -> Result<Place, SquashError> {
        let xattr = self.attributes(folder);
        let about = about(stat, number, links, xattr);
        let mut pack = plain_pack(&mut self.packer);
        let listing = self.tables.listing(children, &mut pack);
        self.tables.folder(&about, &listing, parent, &mut pack).ok_or(SquashError::TooManyOwners)
    }

    /// Writes the inode of something that is no folder.
    fn other(&mut self, met: &Met<'_>, kind: Kind, number: u32, names: u32) -> Result<Place, SquashError> {
        let place = match kind {
            Kind::File => {
                let content = self.contents.next().unwrap_or_default();
                let xattr = self.attributes(&met.open(OFlag::empty())?);
                let about = about(&met.stat, number, names, xattr);
                self.tables.file(&about, &content, &mut plain_pack(&mut self.packer))
            }
            Kind::Symlink => {
                let target = readlinkat(met.folder, met.name).map_err(read(met.path))?;
                let about = about(&met.stat, number, names, None);
                self.tables.symlink(&about, target.as_bytes(), &mut plain_pack(&mut self.packer))
            }
            _ => {
                let device = matches!(kind, Kind::Block | Kind::Char).then(|| {
                    let part = |part: u64| u32::try_from(part).unwrap_or(0);
                    (part(major(met.stat.st_rdev)), part(minor(met.stat.st_rdev)))
                });
                let about = about(&met.stat, number, names, None);
                self.tables.node(&about, kind, device, &mut plain_pack(&mut self.packer))
            }
        };
        place.ok_or(SquashError::TooManyOwners)
    }

    fn attributes(&mut self, file: &File) -> Option<u32> {
        let found = attributes(file);
        if found.is_empty() {
            return None;
        }
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
        let (set, lost) = self.tables.attributes.set(&found, &mut plain_pack(&mut self.packer));
        self.lost += lost;
        set
    }
}

fn kind(kind: SFlag) -> Kind {
    match kind {
        SFlag::S_IFLNK => Kind::Symlink,
        SFlag::S_IFBLK => Kind::Block,
        SFlag::S_IFCHR => Kind::Char,
        SFlag::S_IFIFO => Kind::Fifo,
        SFlag::S_IFSOCK => Kind::Socket,
        _ => Kind::File,
    }
}

fn about(stat: &FileStat, number: u32, links: u32, xattr: Option<u32>) -> About {
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
    let mtime = i64::from(stat.st_mtime).clamp(0, i64::from(u32::MAX));
    About {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: u32::try_from(mtime).unwrap_or(0),
        number,
        links,
        xattr,
    }
}

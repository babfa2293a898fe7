//! The layout of squashfs 4.0: a file system that is written once, packed, and only read.
//!
//! ```text
//! superblock │ data and fragment blocks │ inodes │ directories │ fragments │ ids │ attributes
//! ```
//!
//! Everything behind the data is *metadata*: written in blocks of 8 KiB, each packed by itself. A place in it is where its
//! block begins, and how far it is into the unpacked block. Nothing here reads a tree or packs bytes:
//! `service/images/squash` does, and hands a packer in.
//!
//! Sources: linux/Documentation/filesystems/squashfs.rst and the structures of fs/squashfs/squashfs_fs.h.

use std::collections::HashMap;

/// Bytes of a file that are packed together.
pub const BLOCK: usize = 128 * 1024;
const BLOCK_LOG: u16 = 17;

/// Bytes of metadata that are packed together.
const METADATA: usize = 8192;

/// Stands for "there is none" in numbers of 32 bits and in positions of tables.
const NONE: u32 = u32::MAX;
const NO_TABLE: u64 = u64::MAX;

/// Set in the length of a block of data that is not packed, and of one of metadata.
const RAW_DATA: u32 = 1 << 24;
const RAW_METADATA: u16 = 1 << 15;

const MAGIC: u32 = 0x7371_7368;
const ZSTD: u16 = 6;
const NO_XATTRS: u16 = 0x200;

/// Packs bytes with Zstandard; what does not become smaller is stored as it is.
pub type Pack<'a> = dyn FnMut(&[u8]) -> Vec<u8> + 'a;

/// What packing made of one block of data: the bytes to store, and how their length is written.
pub fn data_block(plain: &[u8], pack: &mut Pack<'_>) -> (Vec<u8>, u32) {
    let packed = pack(plain);
    let (bytes, raw) = if packed.len() < plain.len() { (packed, 0) } else { (plain.to_vec(), RAW_DATA) };
    let len = u32::try_from(bytes.len()).unwrap_or(0) | raw;
    (bytes, len)
}

/// Bytes on the disk that a length of [`data_block`] stands for.
pub fn stored(len: u32) -> u64 {
    u64::from(len & !RAW_DATA)
}

/// A place in a table of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its block begins, from the beginning of the table.
    pub block: u32,
    pub offset: u16,
}

impl Place {
    fn reference(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// A table of metadata as it grows.
#[derive(Debug, Default)]
pub struct Metadata {
    done: Vec<u8>,
    /// Where each finished block begins.
    starts: Vec<u64>,
    /// Less than a block.
    rest: Vec<u8>,
}

impl Metadata {
    /// Where the next byte goes.
    pub fn place(&self) -> Place {
        let block = u32::try_from(self.done.len()).unwrap_or(NONE);
        Place { block, offset: u16::try_from(self.rest.len()).unwrap_or(0) }
    }

    pub fn put(&mut self, mut bytes: &[u8], pack: &mut Pack<'_>) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA - self.rest.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() == METADATA {
                self.flush(pack);
            }
        }
    }

    fn flush(&mut self, pack: &mut Pack<'_>) {
        if self.rest.is_empty() {
            return;
        }
        let packed = pack(&self.rest);
        let (bytes, raw) =
            if packed.len() < self.rest.len() { (&packed, 0) } else { (&self.rest, RAW_METADATA) };
        self.starts.push(self.done.len() as u64);
        self.done.extend_from_slice(&(u16::try_from(bytes.len()).unwrap_or(0) | raw).to_le_bytes());
        self.done.extend_from_slice(bytes);
        self.rest.clear();
    }

    /// All blocks, and where each begins.
    fn finish(mut self, pack: &mut Pack<'_>) -> (Vec<u8>, Vec<u64>) {
        self.flush(pack);
        (self.done, self.starts)
    }
}

/// What every inode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// `0o7777`.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970: all that this file system can keep.
    pub mtime: u32,
    /// From 1.
    pub number: u32,
    /// Names that it has.
    pub links: u32,
    /// Index of its set of attributes, see [`Attributes`].
    pub xattr: Option<u32>,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    Folder = 1,
    File = 2,
    Symlink = 3,
    Block = 4,
    Char = 5,
    Fifo = 6,
    Socket = 7,
}

/// Types of inodes with all fields follow those without.
const EXTENDED: u16 = 7;

/// Where the content of a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub size: u64,
    /// Where its first block begins in the file system.
    pub start: u64,
    /// As [`data_block`] writes them; zero is a block of zeros that is not stored.
    pub blocks: Box<[u32]>,
    /// Number of the block that it shares with other small files, and where in it.
    pub fragment: Option<(u32, u32)>,
}

/// A folder's listing, written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    place: Place,
    len: u32,
    /// Where a reader can begin: offset in the listing, beginning of the block, first name.
    index: Vec<(u32, u32, Vec<u8>)>,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub name: Vec<u8>,
    /// Where its inode is.
    pub place: Place,
    pub number: u32,
    pub kind: Kind,
}

/// All tables behind the data.
#[derive(Debug, Default)]
pub struct Tables {
    inodes: Metadata,
    folders: Metadata,
    fragments: Vec<(u64, u32)>,
    ids: Vec<u32>,
    id_numbers: HashMap<u32, u16>,
    pub attributes: Attributes,
    count: u32,
}

impl Tables {
    /// A block of small files, `len` as [`data_block`] wrote it.
    pub fn fragment(&mut self, start: u64, len: u32) {
        self.fragments.push((start, len));
    }

    /// Begins an inode. More than 65535 owners do not fit; a tree with so many is no operating system's.
    fn begin(&mut self, kind: u16, about: &About) -> Option<Vec<u8>> {
        self.count += 1;
        let mut bytes = Vec::with_capacity(64);
        put16(&mut bytes, kind);
        put16(&mut bytes, about.mode);
        for id in [about.uid, about.gid] {
            let next = u16::try_from(self.ids.len()).ok();
            let number = if let Some(known) = self.id_numbers.get(&id) {
                *known
            } else {
                let number = next.filter(|next| *next < u16::MAX)?;
                self.ids.push(id);
                self.id_numbers.insert(id, number);
                number
            };
            put16(&mut bytes, number);
        }
        put32(&mut bytes, about.mtime);
        put32(&mut bytes, about.number);
        Some(bytes)
    }

    fn end(&mut self, bytes: &[u8], pack: &mut Pack<'_>) -> Place {
        let place = self.inodes.place();
        self.inodes.put(bytes, pack);
        place
    }

    /// `None`: too many owners.
    pub fn file(&mut self, about: &About, content: &Content, pack: &mut Pack<'_>) -> Option<Place> {
        let holes = content.blocks.contains(&0);
        let small = (u32::try_from(content.size).ok(), u32::try_from(content.start).ok());
        let (fragment, offset) = content.fragment.unwrap_or((NONE, 0));
        let bytes = match small {
            (Some(size), Some(start)) if about.links == 1 && about.xattr.is_none() && !holes => {
                let mut bytes = self.begin(Kind::File as u16, about)?;
                for number in [start, fragment, offset, size] {
                    put32(&mut bytes, number);
                }
                bytes
            }
            _ => {
                let mut bytes = self.begin(Kind::File as u16 + EXTENDED, about)?;
                let zeros = content.blocks.iter().filter(|len| **len == 0).count() as u64;
                let sparse = (zeros * BLOCK as u64).min(content.size.saturating_sub(1));
                for number in [content.start, content.size, sparse] {
                    put64(&mut bytes, number);
                }
                for number in [about.links, fragment, offset, about.xattr.unwrap_or(NONE)] {
                    put32(&mut bytes, number);
                }
                bytes
            }
        };
        let blocks = content.blocks.iter().flat_map(|len| len.to_le_bytes());
        let bytes: Vec<u8> = bytes.into_iter().chain(blocks).collect();
        Some(self.end(&bytes, pack))
    }

    pub fn symlink(&mut self, about: &About, target: &[u8], pack: &mut Pack<'_>) -> Option<Place> {
        let mut bytes = self.begin(Kind::Symlink as u16, about)?;
        put32(&mut bytes, about.links);
        put32(&mut bytes, u32::try_from(target.len()).ok()?);
        bytes.extend_from_slice(target);
        Some(self.end(&bytes, pack))
    }

    /// A device, FIFO or socket.
    pub fn node(
        &mut self,
        about: &About,
        kind: Kind,
        device: Option<(u32, u32)>,
        pack: &mut Pack<'_>,
    ) -> Option<Place> {
        let extended = if about.xattr.is_some() { EXTENDED } else { 0 };
        let mut bytes = self.begin(kind as u16 + extended, about)?;
        put32(&mut bytes, about.links);
        if let Some((major, minor)) = device {
            // As the kernel writes device numbers into 32 bits.
            put32(&mut bytes, (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12));
        }
        if let Some(xattr) = about.xattr {
            put32(&mut bytes, xattr);
        }
        Some(self.end(&bytes, pack))
    }

    /// Writes the names in a folder, which are in order. An entry tells the block of its inode only once for many, and the
    /// inode's number as a difference of 16 bits: where that does not reach, a new run begins. So does one in each block of
    /// the table, that a reader need not go through all of a large folder.
    pub fn listing(&mut self, children: &[Child], pack: &mut Pack<'_>) -> Listing {
        const RUN: usize = 256;
        let place = self.folders.place();
        let mut listing = Listing { place, len: 0, index: Vec::new() };
        let mut rest = children;
        let mut indexed = 0;
        while let Some(first) = rest.first() {
            let at = self.folders.place();
            let block = (usize::from(place.offset) + listing.len as usize) / METADATA;
            if block > indexed {
                indexed = block;
                listing.index.push((listing.len, at.block, first.name.clone()));
            }
            let mut room = METADATA - usize::from(at.offset);
            let fits = |child: &&Child| {
                let delta = i64::from(child.number) - i64::from(first.number);
                child.place.block == first.place.block && i16::try_from(delta).is_ok()
            };
            let mut run = 0;
            for child in rest.iter().take(RUN).take_while(fits) {
                // Entries may run over the end of a block by one.
                if run > 0 && room == 0 {
                    break;
                }
                room = room.saturating_sub(8 + child.name.len());
                run += 1;
            }
            let (now, later) = rest.split_at(run);
            rest = later;
            let mut bytes = Vec::new();
            put32(&mut bytes, u32::try_from(run - 1).unwrap_or(0));
            put32(&mut bytes, first.place.block);
            put32(&mut bytes, first.number);
            for child in now {
                put16(&mut bytes, child.place.offset);
                let delta = i64::from(child.number) - i64::from(first.number);
                put16(&mut bytes, i16::try_from(delta).unwrap_or(0).cast_unsigned());
                put16(&mut bytes, child.kind as u16);
                put16(&mut bytes, u16::try_from(child.name.len() - 1).unwrap_or(0));
                bytes.extend_from_slice(&child.name);
            }
            self.folders.put(&bytes, pack);
            listing.len += u32::try_from(bytes.len()).unwrap_or(0);
        }
        listing
    }

    /// A folder; its number of links is that of its subfolders and two. `parent` is the number of the folder it is in.
    pub fn folder(
        &mut self,
        about: &About,
        listing: &Listing,
        parent: u32,
        pack: &mut Pack<'_>,
    ) -> Option<Place> {
        let Listing { place, len, index } = listing;
        // `.` and `..`, which are not listed, count.
        let size = len + 3;
        let bytes = match u16::try_from(size) {
            Ok(size) if about.xattr.is_none() && index.is_empty() => {
                let mut bytes = self.begin(Kind::Folder as u16, about)?;
                put32(&mut bytes, place.block);
                put32(&mut bytes, about.links);
                put16(&mut bytes, size);
                put16(&mut bytes, place.offset);
                put32(&mut bytes, parent);
                bytes
            }
            _ => {
                let mut bytes = self.begin(Kind::Folder as u16 + EXTENDED, about)?;
                for number in [about.links, size, place.block, parent] {
                    put32(&mut bytes, number);
                }
                put16(&mut bytes, u16::try_from(index.len()).ok()?);
                put16(&mut bytes, place.offset);
                put32(&mut bytes, about.xattr.unwrap_or(NONE));
                for (offset, block, name) in index {
                    put32(&mut bytes, *offset);
                    put32(&mut bytes, *block);
                    put32(&mut bytes, u32::try_from(name.len() - 1).unwrap_or(0));
                    bytes.extend_from_slice(name);
                }
                bytes
            }
        };
        Some(self.end(&bytes, pack))
    }

    /// The superblock, and all that follows the data, which ends at `at`. `made_at`: seconds since 1970.
    pub fn finish(self, root: Place, at: u64, made_at: u32, pack: &mut Pack<'_>) -> (Vec<u8>, Vec<u8>) {
        let Self { inodes, folders, fragments, ids, attributes, count, .. } = self;
        let mut out = Vec::new();
        let here = |out: &Vec<u8>| at + out.len() as u64;
        let inode_table = here(&out);
        out.extend(inodes.finish(pack).0);
        let folder_table = here(&out);
        out.extend(folders.finish(pack).0);
        let mut entries = Vec::with_capacity(fragments.len() * 16);
        for (start, len) in &fragments {
            put64(&mut entries, *start);
            put32(&mut entries, *len);
            put32(&mut entries, 0);
        }
        let fragment_table = table(&mut out, at, &entries, &[], pack);
        let entries: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let id_table = table(&mut out, at, &entries, &[], pack);
        let is_plain = attributes.sets.is_empty();
        let xattr_table = if is_plain { NO_TABLE } else { attributes.finish(&mut out, at, pack) };

        let mut first = Vec::with_capacity(96);
        put32(&mut first, MAGIC);
        put32(&mut first, count);
        put32(&mut first, made_at);
        put32(&mut first, u32::try_from(BLOCK).unwrap_or(0));
        put32(&mut first, u32::try_from(fragments.len()).unwrap_or(0));
        let flags = if is_plain { NO_XATTRS } else { 0 };
        for number in [ZSTD, BLOCK_LOG, flags, u16::try_from(ids.len()).unwrap_or(0), 4, 0] {
            put16(&mut first, number);
        }
        put64(&mut first, root.reference());
        put64(&mut first, here(&out));
        for table in [id_table, xattr_table, inode_table, folder_table, fragment_table, NO_TABLE] {
            put64(&mut first, table);
        }
        (first, out)
    }
}

/// Length of the superblock, in bytes.
pub const SUPERBLOCK: usize = 96;

/// Writes a table with an index of its blocks, `head` in front of that; where the index is.
fn table(out: &mut Vec<u8>, at: u64, entries: &[u8], head: &[u8], pack: &mut Pack<'_>) -> u64 {
    let begin = at + out.len() as u64;
    let mut metadata = Metadata::default();
    metadata.put(entries, pack);
    let (blocks, starts) = metadata.finish(pack);
    out.extend(blocks);
    let index = at + out.len() as u64;
    out.extend_from_slice(head);
    for start in starts {
        put64(out, begin + start);
    }
    index
}

/// Sets of extended attributes; files with the same ones share a set.
#[derive(Debug, Default)]
pub struct Attributes {
    values: Metadata,
    sets: Vec<(u64, u32, u32)>,
    known: HashMap<Vec<u8>, u32>,
}

/// Beginnings of names that this file system can keep, by their numbers.
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

impl Attributes {
    /// The number of the set with these attributes, and how many of them cannot be kept (lists of access rights).
    pub fn set(&mut self, attributes: &[(&[u8], &[u8])], pack: &mut Pack<'_>) -> (Option<u32>, u64) {
        let mut bytes = Vec::new();
        let mut kept = 0;
        for (name, value) in attributes {
            let found = PREFIXES.iter().zip(0_u16..).find_map(|(prefix, kind)| {
                let rest = name.strip_prefix(*prefix)?;
                Some((kind, rest, u16::try_from(rest.len()).ok()?, u32::try_from(value.len()).ok()?))
            });
            let Some((kind, rest, name_len, value_len)) = found else { continue };
            kept += 1;
            put16(&mut bytes, kind);
            put16(&mut bytes, name_len);
            bytes.extend_from_slice(rest);
            put32(&mut bytes, value_len);
            bytes.extend_from_slice(value);
        }
        let lost = attributes.len() as u64 - u64::from(kept);
        if kept == 0 {
            return (None, lost);
        }
        if let Some(known) = self.known.get(&bytes) {
            return (Some(*known), lost);
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(NONE);
        let len = u32::try_from(bytes.len()).unwrap_or(NONE);
        self.sets.push((self.values.place().reference(), kept, len));
        self.values.put(&bytes, pack);
        self.known.insert(bytes, number);
        (Some(number), lost)
    }

    /// Where the table of sets is.
    fn finish(self, out: &mut Vec<u8>, at: u64, pack: &mut Pack<'_>) -> u64 {
        let begin = at + out.len() as u64;
        out.extend(self.values.finish(pack).0);
        let mut entries = Vec::with_capacity(self.sets.len() * 16);
        for (reference, count, len) in &self.sets {
            put64(&mut entries, *reference);
            put32(&mut entries, *count);
            put32(&mut entries, *len);
        }
        let mut head = Vec::with_capacity(16);
        put64(&mut head, begin);
        put32(&mut head, u32::try_from(self.sets.len()).unwrap_or(0));
        put32(&mut head, 0);
        table(out, at, &entries, &head, pack)
    }
}

fn put16(bytes: &mut Vec<u8>, number: u16) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

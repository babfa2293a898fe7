//! Reads a tar archive, entry by entry, as GNU tar, bsdtar, Python and Go write them.
//!
//! The headers' layouts are the `tar` crate's; the walk over them is ours, because that crate's reader turns devices
//! and FIFOs into empty files, stops at a capability whose value has a newline in it, reads names and extended headers
//! of any length into memory, and does not know PAX sparse files.
//!
//! Sources: POSIX.1-2017 pax (*ustar* and *pax interchange* formats), GNU tar manual, *Extensions to tar* and
//! *Storing Sparse Files*.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::digest::TreeDigest;
use super::plant::{Meta, Node, PlantError, Planter, entry_path, write_error};
use crate::proto::manifest::{BadManifest, HEAD, Head, TAIL, Tail};
use crate::service::jobs::{Cancelled, Task};
use crate::types::{ByteSize, limits};

const BLOCK: usize = 512;

/// How the keys of extended attributes begin.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the archive ends in the middle{}; it was not downloaded completely, download it again", after(.0.as_ref()))]
    Truncated(Option<PathBuf>),
    #[error("the archive is damaged{} ({what}); download it again", after(.entry.as_ref()))]
    Damaged { entry: Option<PathBuf>, what: &'static str },
    #[error("`{}` is of a type (`{kind}`) that no operating system's archive holds", entry.display())]
    Unknown { entry: PathBuf, kind: char },
    #[error("the archive cannot be read{}", after(.entry.as_ref()))]
    Read {
        entry: Option<PathBuf>,
        #[source]
        source: io::Error,
    },
    #[error(
        "the image ends in the middle{}: the note that a whole export ends with (`{TAIL}`) is missing; copy or export it again",
        after(.0.as_ref())
    )]
    NoTail(Option<PathBuf>),
    #[error(
        "the image is not what was exported: {} in {} entries with the SHA-256 {} were, and {} in {} entries with {} arrived; it was damaged or changed on its way, export it again",
        ByteSize(.meant.bytes), .meant.entries, .meant.sha256, ByteSize(.found.bytes), .found.entries, .found.sha256
    )]
    Changed { meant: Tail, found: Tail },
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    #[error(transparent)]
    Plant(#[from] PlantError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn after(entry: Option<&PathBuf>) -> String {
    entry.map(|entry| format!(" after `{}`", entry.display())).unwrap_or_default()
}

/// Unpacks everything `input` holds with `planter`. If that is an image that a Bramble exported, answers with what it says
/// of itself, and only if it arrived as it was sent.
///
/// Reads `input` to the end of the archive, not further. `task` counts nothing here: the reader under `input` knows
/// the compressed bytes, which are what progress is told in.
pub fn unpack(
    input: &mut dyn Read,
    planter: &mut Planter,
    task: &Task,
) -> Result<Option<Head>, ArchiveError> {
    let mut archive = Archive::new(input);
    let mut next = archive.next_entry()?;
    let head = match &next {
        Some(first) if first.path == Path::new(HEAD) => {
            let head = Head::decode(&archive.small(first, limits::IMAGE_MANIFEST)?)?;
            archive.digest = Some(TreeDigest::default());
            next = archive.next_entry()?;
            Some(head)
        }
        _ => None,
    };
    while let Some(entry) = next {
        task.go_on()?;
        if head.is_some() && entry.path == Path::new(TAIL) {
            let meant = Tail::decode(&archive.small(&entry, limits::IMAGE_MANIFEST)?)?;
            let found = archive.digest.take().unwrap_or_default().tail();
            let whole = archive.next_entry()?.is_none() && meant == found;
            return if whole { Ok(head) } else { Err(ArchiveError::Changed { meant, found }) };
        }
        archive.plant(&entry, planter, task)?;
        next = archive.next_entry()?;
    }
    if head.is_some() { Err(ArchiveError::NoTail(archive.last)) } else { Ok(None) }
}

/// An archive that is read entry by entry.
pub struct Archive<'a> {
    input: &'a mut dyn Read,
    /// Bytes of the entry's content not read yet, and of what fills its last block.
    left: u64,
    padding: u64,
    /// The entry before, for messages.
    last: Option<PathBuf>,
    buffer: Vec<u8>,
    /// Of what is planted, where somebody asks.
    digest: Option<TreeDigest>,
}

/// What the archive has next; its content, if it has one, is read by [`Archive::plant`] or [`Archive::small`].
#[derive(Debug)]
pub struct Entry {
    /// Without `..` and without a leading `/`.
    pub path: PathBuf,
    pub kind: Kind,
    pub meta: Meta,
}

/// Length of a file, and where its stored content belongs in it: offsets and lengths.
type Sparse = (u64, Vec<(u64, u64)>);

/// What an entry becomes.
#[derive(Debug)]
pub enum Kind {
    Folder,
    /// Length, and where the stored content belongs in it: offsets and lengths.
    File {
        size: u64,
        pieces: Vec<(u64, u64)>,
    },
    Symlink(OsString),
    HardLink(PathBuf),
    Node(Node),
}

/// What stood in front of an entry's header and is about it.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.offset` and `numbytes` of format 0.0, which repeat.
    old_map: Vec<u64>,
    /// Length of all of it in the archive.
    bytes: u64,
}

impl Extensions {
    fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.records.get(key.as_bytes())?).ok()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }
}

impl std::fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("last", &self.last).finish_non_exhaustive()
    }
}

impl<'a> Archive<'a> {
    pub fn new(input: &'a mut dyn Read) -> Self {
        Self { input, left: 0, padding: 0, last: None, buffer: vec![0; 256 * 1024], digest: None }
    }

    /// The content of a small file, whole.
    pub fn small(&mut self, entry: &Entry, most: u64) -> Result<Vec<u8>, ArchiveError> {
        let damaged = |what| ArchiveError::Damaged { entry: Some(entry.path.clone()), what };
        let Kind::File { size, pieces } = &entry.kind else { return Err(damaged("it is no file")) };
        if *size > most || *pieces != [(0, *size)] {
            return Err(damaged("it is longer than any real one"));
        }
        let mut bytes = vec![0; usize::try_from(*size).unwrap_or(0)];
        let got = fill(self.input, &mut bytes)
            .map_err(|source| ArchiveError::Read { entry: Some(entry.path.clone()), source })?;
        self.left = self.left.saturating_sub(got as u64);
        if got < bytes.len() {
            return Err(ArchiveError::Truncated(Some(entry.path.clone())));
        }
        Ok(bytes)
    }

    /// The next entry; `None` at the end of the archive. What was not read of the last one is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            self.pass_over()?;
            let mut header = Header::new_old();
            if !self.read_block(header.as_mut_bytes())? {
                return Err(ArchiveError::Truncated(self.last.clone()));
            }
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            if !checksum_fits(&header) {
                return Err(self.damaged("a header has a wrong checksum"));
            }
            let stored = header.entry_size().map_err(|_| self.damaged("a length is no number"))?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    extensions.long_name = Some(self.extension_text(stored, &mut extensions.bytes)?);
                }
                EntryType::GNULongLink => {
                    extensions.long_link = Some(self.extension_text(stored, &mut extensions.bytes)?);
                }
                EntryType::XHeader => {
                    let bytes = self.extension(stored, &mut extensions.bytes)?;
                    pax_records(&bytes, &mut extensions)
                        .ok_or_else(|| self.damaged("an extended header is malformed"))?;
                }
                // Comments, and labels of tapes.
                EntryType::XGlobalHeader => self.content(stored)?,
                kind if kind.as_byte() == b'V' => self.content(stored)?,
                kind => {
                    let stored = extensions.number("size").unwrap_or(stored);
                    self.content(stored)?;
                    let entry = self.entry(&header, kind, stored, &extensions)?;
                    self.last = Some(entry.path.clone());
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        stored: u64,
        extensions: &Extensions,
    ) -> Result<Entry, ArchiveError> {
        let record = |key: &str| extensions.records.get(key.as_bytes()).cloned();
        let name = record("GNU.sparse.name")
            .or_else(|| record("path"))
            .or_else(|| extensions.long_name.clone())
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = record("linkpath")
            .or_else(|| extensions.long_link.clone())
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let path = entry_path(&name)?;
        let number = |key: &str, field: io::Result<u64>| {
            let value = extensions.number(key).or_else(|| field.ok())?;
            u32::try_from(value).ok()
        };
        let damaged = |what| ArchiveError::Damaged { entry: Some(path.clone()), what };
        let meta = Meta {
            mode: header.mode().map_err(|_| damaged("its mode is no number"))? & 0o7777,
            uid: number("uid", header.uid()).ok_or_else(|| damaged("its owner is no number"))?,
            gid: number("gid", header.gid()).ok_or_else(|| damaged("its group is no number"))?,
            mtime: extensions.text("mtime").and_then(seconds).unwrap_or_else(|| {
                (header.mtime().ok().and_then(|secs| secs.try_into().ok()).unwrap_or(0), 0)
            }),
            xattrs: attributes(extensions),
        };
        let device =
            || -> Option<(u32, u32)> { Some((header.device_major().ok()??, header.device_minor().ok()??)) };
        let no_device = || damaged("its device numbers are missing");
        let kind = match kind {
            EntryType::Directory => Kind::Folder,
            // Before 1988 a folder was a file whose name ends in a slash.
            EntryType::Regular if name.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => {
                let (size, pieces) = self
                    .pax_sparse(extensions, stored, &path)?
                    .unwrap_or_else(|| (stored, vec![(0, stored)]));
                Kind::File { size, pieces }
            }
            EntryType::GNUSparse => {
                let (size, pieces) = self.gnu_sparse(header, stored, &path)?;
                Kind::File { size, pieces }
            }
            EntryType::Symlink => Kind::Symlink(OsString::from_vec(link)),
            EntryType::Link => match entry_path(&link) {
                Ok(target) => Kind::HardLink(target),
                Err(_) => {
                    return Err(PlantError::LinkOutside {
                        entry: path,
                        target: OsString::from_vec(link).into(),
                    }
                    .into());
                }
            },
            EntryType::Fifo => Kind::Node(Node::Fifo),
            EntryType::Char => {
                device().map(|(major, minor)| Kind::Node(Node::Char(major, minor))).ok_or_else(no_device)?
            }
            EntryType::Block => {
                device().map(|(major, minor)| Kind::Node(Node::Block(major, minor))).ok_or_else(no_device)?
            }
            other => return Err(ArchiveError::Unknown { entry: path, kind: char::from(other.as_byte()) }),
        };
        Ok(Entry { path, kind, meta })
    }

    /// Writes the entry, content and all.
    pub fn plant(&mut self, entry: &Entry, planter: &mut Planter, task: &Task) -> Result<(), ArchiveError> {
        let Entry { path, kind, meta } = entry;
        if let Some(digest) = &mut self.digest {
            digest.entry(path, kind, meta);
        }
        match kind {
            Kind::Folder => planter.folder(path, meta.clone())?,
            Kind::Symlink(target) => planter.symlink(path, target, meta)?,
            Kind::HardLink(target) => planter.hard_link(path, target)?,
            Kind::Node(node) => planter.node(path, *node, meta)?,
            Kind::File { size, pieces } => {
                let mut sink = planter.file(path)?;
                for (offset, len) in pieces {
                    let mut done = 0;
                    while done < *len {
                        task.go_on()?;
                        let want = usize::try_from(len - done).unwrap_or(usize::MAX).min(self.buffer.len());
                        let got = fill(self.input, self.buffer.get_mut(..want).unwrap_or_default())
                            .map_err(|source| ArchiveError::Read { entry: Some(path.clone()), source })?;
                        self.left = self.left.saturating_sub(got as u64);
                        if got < want {
                            return Err(ArchiveError::Truncated(Some(path.clone())));
                        }
                        let bytes = self.buffer.get(..got).unwrap_or_default();
                        if let Some(digest) = &mut self.digest {
                            digest.content(bytes);
                        }
                        sink.put(offset + done, bytes)
                            .map_err(|source| write_error(path, "write its content", source))?;
                        done += got as u64;
                    }
                }
                planter.end_file(path, sink, *size, meta)?;
            }
        }
        Ok(())
    }

    /// The map of a sparse file that an extended header announces (formats 0.0, 0.1 and 1.0).
    fn pax_sparse(
        &mut self,
        extensions: &Extensions,
        stored: u64,
        path: &Path,
    ) -> Result<Option<Sparse>, ArchiveError> {
        let damaged = |what| ArchiveError::Damaged { entry: Some(path.to_owned()), what };
        let bad = || damaged("its map of holes makes no sense");
        let Some(size) =
            extensions.number("GNU.sparse.realsize").or_else(|| extensions.number("GNU.sparse.size"))
        else {
            return Ok(None);
        };
        let (numbers, stored) = if extensions.text("GNU.sparse.major") == Some("1") {
            let before = self.left;
            let numbers = self.sparse_map_in_content()?.ok_or_else(bad)?;
            (numbers, stored.saturating_sub(before - self.left))
        } else if let Some(map) = extensions.text("GNU.sparse.map") {
            (map.split(',').map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>().ok_or_else(bad)?, stored)
        } else {
            (extensions.old_map.clone(), stored)
        };
        let pieces: Vec<(u64, u64)> = numbers
            .chunks(2)
            .map(|pair| Some((*pair.first()?, *pair.get(1)?)))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        check_pieces(&pieces, size, stored).ok_or_else(bad)?;
        Ok(Some((size, pieces)))
    }

    /// Format 1.0: decimal numbers with newlines, in the first blocks of the content.
    fn sparse_map_in_content(&mut self) -> Result<Option<Vec<u64>>, ArchiveError> {
        let mut numbers = Vec::new();
        let mut wanted: Option<usize> = None;
        let mut digits = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            if self.left < BLOCK as u64 || !self.read_block(&mut block)? {
                return Ok(None);
            }
            self.left -= BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Ok(None);
                    }
                    continue;
                }
                let Some(number) =
                    std::str::from_utf8(&digits).ok().and_then(|text| text.parse::<u64>().ok())
                else {
                    return Ok(None);
                };
                digits.clear();
                match wanted {
                    None if number > limits::TAR_SPARSE as u64 => return Ok(None),
                    None => wanted = usize::try_from(number).ok().map(|pairs| pairs * 2),
                    Some(_) => numbers.push(number),
                }
                if wanted == Some(numbers.len()) {
                    return Ok(Some(numbers));
                }
            }
        }
    }

    /// The map of GNU's own sparse format: four pieces in the header, more in blocks behind it.
    fn gnu_sparse(&mut self, header: &Header, stored: u64, path: &Path) -> Result<Sparse, ArchiveError> {
        let bad = || ArchiveError::Damaged {
            entry: Some(path.to_owned()),
            what: "its map of holes makes no sense",
        };
        let gnu = header.as_gnu().ok_or_else(bad)?;
        let size = gnu.real_size().map_err(|_| bad())?;
        let mut pieces = Vec::new();
        let mut add = |list: &[GnuSparseHeader]| -> Option<()> {
            for piece in list.iter().filter(|piece| !piece.is_empty()) {
                pieces.push((piece.offset().ok()?, piece.length().ok()?));
            }
            (pieces.len() <= limits::TAR_SPARSE).then_some(())
        };
        add(&gnu.sparse).ok_or_else(bad)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            if !self.read_block(block.as_mut_bytes())? {
                return Err(ArchiveError::Truncated(Some(path.to_owned())));
            }
            add(block.sparse()).ok_or_else(bad)?;
            more = block.is_extended();
        }
        check_pieces(&pieces, size, stored).ok_or_else(bad)?;
        Ok((size, pieces))
    }

    fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged { entry: self.last.clone(), what }
    }

    /// Content of `stored` bytes follows.
    fn content(&mut self, stored: u64) -> Result<(), ArchiveError> {
        let blocks = stored.checked_next_multiple_of(BLOCK as u64);
        let blocks = blocks.ok_or_else(|| self.damaged("a length is too large"))?;
        self.left = stored;
        self.padding = blocks - stored;
        Ok(())
    }

    fn pass_over(&mut self) -> Result<(), ArchiveError> {
        let mut rest = self.left + self.padding;
        while rest > 0 {
            let want = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
            let got = fill(self.input, self.buffer.get_mut(..want).unwrap_or_default())
                .map_err(|source| ArchiveError::Read { entry: self.last.clone(), source })?;
            if got < want {
                return Err(ArchiveError::Truncated(self.last.clone()));
            }
            rest -= got as u64;
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// The content of an extension header, whole; `before` counts what all of them in front of one entry hold.
    fn extension(&mut self, stored: u64, before: &mut u64) -> Result<Vec<u8>, ArchiveError> {
        *before = before.saturating_add(stored);
        if *before > limits::TAR_EXTENSION {
            return Err(self.damaged("a name or an extended header is longer than any real one"));
        }
        self.content(stored)?;
        let mut bytes = vec![0; usize::try_from(stored).unwrap_or(0)];
        let got = fill(self.input, &mut bytes)
            .map_err(|source| ArchiveError::Read { entry: self.last.clone(), source })?;
        if got < bytes.len() {
            return Err(ArchiveError::Truncated(self.last.clone()));
        }
        self.left = 0;
        Ok(bytes)
    }

    fn extension_text(&mut self, stored: u64, before: &mut u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = self.extension(stored, before)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    /// One block; `false` if the input ends before it.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ArchiveError> {
        let got = fill(self.input, block)
            .map_err(|source| ArchiveError::Read { entry: self.last.clone(), source })?;
        match got {
            BLOCK => Ok(true),
            0 => Ok(false),
            _ => Err(ArchiveError::Truncated(self.last.clone())),
        }
    }
}

/// Whether `block` is the header of a tar archive: its checksum fits.
pub fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.get(..BLOCK) else { return false };
    let header = Header::from_byte_slice(block);
    !block.iter().all(|byte| *byte == 0) && checksum_fits(header)
}

/// POSIX: the sum of all bytes with the checksum's own counted as spaces; old systems added signed bytes.
fn checksum_fits(header: &Header) -> bool {
    let Ok(said) = header.cksum() else { return false };
    let bytes = header.as_bytes();
    let counted =
        bytes.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: u32 = counted.clone().map(u32::from).sum();
    let signed: i32 = counted.map(|byte| i32::from(byte.cast_signed())).sum();
    said == unsigned || i64::from(said) == i64::from(signed)
}

/// Adds the records of a PAX extended header: `length key=value\n`, the length counting all of it. Values may hold any
/// byte. `None` if they do not follow that form.
fn pax_records(mut bytes: &[u8], extensions: &mut Extensions) -> Option<()> {
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let len: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            extensions.old_map.push(std::str::from_utf8(value).ok()?.parse().ok()?);
        } else if value.is_empty() && !key.starts_with(ATTRIBUTE) {
            // It takes back what stands in the header of all that follow; an attribute may be empty.
            extensions.records.remove(key);
        } else {
            extensions.records.insert(key.to_vec(), value.to_vec());
        }
        bytes = bytes.get(len..)?;
    }
    Some(())
}

fn attributes(extensions: &Extensions) -> Vec<(OsString, Vec<u8>)> {
    let of = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let name = key.strip_prefix(ATTRIBUTE)?;
        (!name.is_empty() && !name.contains(&0)).then(|| (OsStr::from_bytes(name).to_owned(), value.clone()))
    };
    extensions.records.iter().filter_map(of).collect()
}

/// `1700000000.123456789` or `-1.5` as seconds and nanoseconds.
fn seconds(text: &str) -> Option<(i64, i64)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    let digits: String = part.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().ok()?;
    // Nanoseconds count forwards, also before 1970.
    if text.starts_with('-') && nanos > 0 {
        Some((secs.checked_sub(1)?, 1_000_000_000 - nanos))
    } else {
        Some((secs, nanos))
    }
}

/// The pieces of a sparse file must ascend, fit its size, and be as long together as what is stored.
fn check_pieces(pieces: &[(u64, u64)], size: u64, stored: u64) -> Option<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, len) in pieces {
        if *offset < end {
            return None;
        }
        end = offset.checked_add(*len)?;
        sum = sum.checked_add(*len)?;
    }
    (end <= size && sum == stored && pieces.len() <= limits::TAR_SPARSE && i64::try_from(size).is_ok())
        .then_some(())
}

/// Reads until `buffer` is full or the input ends; how much was read.
pub fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(got) => at += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

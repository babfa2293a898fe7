//! Opens what is to be imported: says how it is packed, how large it is and what unpacking takes.
//!
//! A file of the web is read as a stream, once, from its beginning; only its end is looked at before, where the server gives
//! parts. [`super::unpack`] unpacks both.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::fill;
use super::unpack::usable;
use super::web::{Download, FetchError};
use crate::proto::catalogue::is_web;
use crate::proto::packed::{self, Packing, XZ_EDGE};
use crate::types::{ByteSize, limits};

/// Why something cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(
        "`{0}` is not an address that Bramble fetches from; use https or http, or fetch the file yourself and import it by its name on this machine"
    )]
    Url(String),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("`{}` cannot be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is neither a file nor a folder", .0.display())]
    Odd(PathBuf),
    #[error("`{}` is empty; it was not downloaded completely", .0.display())]
    Empty(PathBuf),
    #[error(
        "`{}` is packed as {packing}, which Bramble does not unpack; unpack it first, or use .xz, .gz, .zst or .zip",
        path.display()
    )]
    Packing { path: PathBuf, packing: &'static str },
    #[error("`{}` holds no .img file", .0.display())]
    NoImageInZip(PathBuf),
    #[error("`{}` cannot be read as a zip archive; it is damaged, download it again", path.display())]
    Zip {
        path: PathBuf,
        #[source]
        source: zip::result::ZipError,
    },
    #[error(
        "unpacking `{}` takes {needed} of memory, and {available} are free here; \
         unpack it on another machine and import the result",
        path.display()
    )]
    Memory { path: PathBuf, needed: ByteSize, available: ByteSize },
}

/// What was found at the place somebody named.
#[derive(Debug)]
pub enum Opened {
    Folder(PathBuf),
    File(Source),
    /// An address, not yet asked.
    Web(String),
    /// A disk of this machine, such as `/dev/sdb`.
    Device(PathBuf),
}

/// An archive or a disk image, packed or not.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub packing: Packing,
    /// Length of the file; zero if a server does not say.
    pub bytes: u64,
    /// Length of its content, if the file says so. For gzip the number is exact only below 4 GiB.
    pub unpacked: Option<u64>,
    /// What the decoder needs.
    pub(super) memory: u64,
    pub(super) input: Input,
}

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Input {
    File(File),
    /// The first bytes, which have been read, and the rest.
    Web(Vec<u8>, Box<Download>),
}

/// A SHA-256.
pub type Sum = [u8; 32];

/// The checksums that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Of the file as it was downloaded.
    pub file: Option<Sum>,
    /// Of what is in it.
    pub content: Option<Sum>,
}

/// Bytes from which the form of a file is known.
const FIRST: usize = 1024;

/// Opens `text`: a path on this machine, or an address of the web.
pub fn open(text: &str) -> Result<Opened, SourceError> {
    if is_web(text) {
        return Ok(Opened::Web(text.to_owned()));
    }
    if text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/')) {
        return Err(SourceError::Url(text.chars().take(2 * limits::NAME_SHOWN).collect()));
    }
    let path = PathBuf::from(text);
    let failed = |source| SourceError::Open { path: path.clone(), source };
    let meta = std::fs::metadata(&path).map_err(failed)?;
    if meta.is_dir() {
        return Ok(Opened::Folder(path));
    }
    if meta.file_type().is_block_device() {
        return Ok(Opened::Device(path));
    }
    if !meta.is_file() {
        return Err(SourceError::Odd(path));
    }
    let file = File::open(&path).map_err(failed)?;
    let mut first = [0; FIRST];
    let got = file.read_at(&mut first, 0).map_err(failed)?;
    Source::of_file(path.clone(), file, first.get(..got).unwrap_or_default(), meta.len()).map(Opened::File)
}

impl Source {
    fn of_file(path: PathBuf, file: File, first: &[u8], bytes: u64) -> Result<Self, SourceError> {
        let packing = packing(&path, first)?;
        let end = End { bytes, read: &|into, at| file.read_exact_at(into, at).ok() };
        let (mut unpacked, memory) = needs(packing, first, &end);
        if packing == Packing::Zip {
            let failed = |source| SourceError::Zip { path: path.clone(), source };
            let mut zip = zip::ZipArchive::new(BufReader::new(&file)).map_err(failed)?;
            let entry = image_in(&mut zip).ok_or_else(|| SourceError::NoImageInZip(path.clone()))?;
            unpacked = Some(zip.by_index(entry).map_err(failed)?.size());
        }
        Ok(Self { path, packing, bytes, unpacked, memory, input: Input::File(file) })
    }

    /// A file of the web that has begun to come.
    pub fn of_web(url: &str, mut download: Download) -> Result<Self, SourceError> {
        let path = PathBuf::from(url);
        let mut first = vec![0; FIRST];
        let got = fill(&mut download, &mut first).map_err(|error| match super::web::reason(error) {
            Ok(known) => SourceError::Fetch(known),
            Err(source) => SourceError::Open { path: path.clone(), source },
        })?;
        first.truncate(got);
        let packing = packing(&path, &first)?;
        let bytes = download.length().unwrap_or(0);
        let part = |into: &mut [u8], at| {
            into.copy_from_slice(&download.part(at, into.len())?);
            Some(())
        };
        let (unpacked, memory) = needs(packing, &first, &End { bytes, read: &part });
        let input = Input::Web(first, Box::new(download));
        Ok(Self { path, packing, bytes, unpacked, memory, input })
    }

    /// Whether it comes from the web and has to be on the disk before it can be unpacked: the index of a zip archive stands
    /// at its end.
    pub fn must_be_kept(&self) -> bool {
        self.packing == Packing::Zip && matches!(self.input, Input::Web(..))
    }

    /// All of it, as a stream; nothing is unpacked.
    pub fn into_reader(self) -> io::Result<Box<dyn Read>> {
        Ok(match self.input {
            Input::File(file) => Box::new(file),
            Input::Web(first, rest) => Box::new(io::Cursor::new(first).chain(rest)),
        })
    }

    /// Refuses a file whose decoder would take more than three quarters of `available` bytes: the rest is what the
    /// router lives on.
    pub fn check_memory(&self, available: u64) -> Result<(), SourceError> {
        if self.memory > usable(available) {
            return Err(SourceError::Memory {
                path: self.path.clone(),
                needed: ByteSize(self.memory),
                available: ByteSize(usable(available)),
            });
        }
        Ok(())
    }

    /// What is done while it is read, for people.
    pub fn doing(&self) -> &'static str {
        match self.input {
            Input::File(_) => "unpacking",
            Input::Web(..) => "downloading",
        }
    }

    /// The file itself, if it is one on this machine whose content need not be unpacked.
    pub fn in_place(&self) -> Option<&File> {
        match &self.input {
            Input::File(file) if self.packing == Packing::None => Some(file),
            _ => None,
        }
    }
}

/// Refuses what is packed in another way.
fn packing(path: &Path, first: &[u8]) -> Result<Packing, SourceError> {
    let path = || path.to_owned();
    if first.is_empty() {
        return Err(SourceError::Empty(path()));
    }
    for (magic, packing) in
        [(&b"BZh"[..], "bzip2"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"\x04\x22\x4d\x18", "LZ4")]
    {
        if first.starts_with(magic) {
            return Err(SourceError::Packing { path: path(), packing });
        }
    }
    Ok(Packing::of(first))
}

/// Reads from the end of a file.
struct End<'a> {
    bytes: u64,
    /// Fills the buffer from an offset on; `None` if that cannot be done.
    read: &'a dyn Fn(&mut [u8], u64) -> Option<()>,
}

/// How long the content is, if that can be known, and how much memory unpacking takes.
fn needs(packing: Packing, first: &[u8], end: &End<'_>) -> (Option<u64>, u64) {
    match packing {
        Packing::None => ((end.bytes > 0).then_some(end.bytes), 0),
        Packing::Xz => (xz_unpacked(end), packed::xz_memory(first).unwrap_or(0)),
        Packing::Gzip => (gzip_unpacked(end), 1 << 16),
        Packing::Zstd => match packed::zstd_frame(first) {
            Some(frame) => (frame.unpacked, frame.window + (1 << 20)),
            None => (None, 0),
        },
        Packing::Zip => (None, 1 << 16),
    }
}

/// The entry of a zip archive to import: the first whose name ends in `.img`.
pub(super) fn image_in<R: Read + Seek>(zip: &mut zip::ZipArchive<R>) -> Option<usize> {
    let name = zip
        .file_names()
        .find(|name| Path::new(name).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("img")))?
        .to_owned();
    zip.index_for_name(&name)
}

/// Adds up the indexes of all streams of an .xz file, from its end.
fn xz_unpacked(file: &End<'_>) -> Option<u64> {
    let (mut end, mut sum) = (file.bytes, 0_u64);
    for _ in 0..limits::XZ_ENDS {
        if end == 0 {
            return Some(sum);
        }
        let mut footer = [0; XZ_EDGE];
        (file.read)(&mut footer, end.checked_sub(XZ_EDGE as u64)?)?;
        // Padding between streams comes in fours.
        if footer.ends_with(&[0; 4]) {
            end -= 4;
            continue;
        }
        let len = packed::xz_index_len(&footer).filter(|len| *len <= limits::XZ_INDEX)?;
        let start = end.checked_sub(XZ_EDGE as u64 + len)?;
        let mut index = vec![0; usize::try_from(len).ok()?];
        (file.read)(&mut index, start)?;
        let index = packed::xz_index(&index)?;
        sum = sum.checked_add(index.unpacked)?;
        end = start.checked_sub(index.packed)?.checked_sub(XZ_EDGE as u64)?;
    }
    None
}

fn gzip_unpacked(file: &End<'_>) -> Option<u64> {
    let (mut last, bytes) = ([0; 4], file.bytes);
    (file.read)(&mut last, bytes.checked_sub(4)?)?;
    // Content does not shrink below a thousandth, nor is it smaller than what it is packed into.
    let said = packed::gzip_unpacked(last);
    Some(if said < bytes / 2 { said + (1 << 32) } else { said })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write as _;

    use super::*;

    fn xz(content: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(content).expect("memory takes it");
        encoder.finish().expect("packed")
    }

    /// What the end of a file says of its size, and how many times it was read.
    fn said(file: &[u8]) -> (Option<u64>, usize) {
        let reads = Cell::new(0);
        let read = |into: &mut [u8], at: u64| {
            reads.set(reads.get() + 1);
            let at = usize::try_from(at).ok()?;
            into.copy_from_slice(file.get(at..at + into.len())?);
            Some(())
        };
        let unpacked = xz_unpacked(&End { bytes: file.len() as u64, read: &read });
        (unpacked, reads.get())
    }

    #[test]
    fn the_size_of_an_xz_file_is_that_of_all_its_streams() {
        let streams = [xz(&[7; 1000]), vec![0; 8], xz(b""), xz(&[1; 24])].concat();
        assert_eq!(said(&streams).0, Some(1024));
        assert_eq!(said(&[&b"PK"[..], &streams].concat()).0, None, "something else stands in front");
    }

    #[test]
    fn a_file_of_padding_is_not_read_to_its_beginning() {
        let padded = [xz(b"a"), vec![0; 1 << 20]].concat();
        assert_eq!(said(&padded), (None, limits::XZ_ENDS));
        let many = xz(b"").repeat(limits::XZ_ENDS);
        assert_eq!(said(&many).0, None);
    }
}

//! Opens what is to be imported: says how it is packed, how large it is and what unpacking takes, then unpacks it.
//!
//! Unpacking runs on a thread of its own, ahead of whoever reads, so that a slow disk and a slow decoder do not wait
//! for each other. Both checksums a publisher may give (of the file, of what is in it) are taken on the way.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use liblzma::stream::MtStreamBuilder;
use sha2::{Digest as _, Sha256};

use crate::proto::packed::{self, Packing, XZ_EDGE};
use crate::service::jobs::Task;
use crate::types::{ByteSize, limits};

/// Why something cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(
        "Bramble cannot download yet; fetch the file first (`wget {0}`), then import it by its name on this machine"
    )]
    Url(String),
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
}

/// An archive or a disk image, packed or not.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub packing: Packing,
    /// Length of the file.
    pub bytes: u64,
    /// Length of its content, if the file says so. For gzip the number is exact only below 4 GiB.
    pub unpacked: Option<u64>,
    /// What the decoder needs.
    memory: u64,
    file: File,
}

/// A SHA-256.
pub type Sum = [u8; 32];

/// The checksums that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of the file as it was downloaded.
    pub file: Option<Sum>,
    /// Of what is in it.
    pub content: Option<Sum>,
}

/// Opens `text`, a path on this machine.
pub fn open(text: &str) -> Result<Opened, SourceError> {
    if ["http://", "https://", "ftp://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(SourceError::Url(text.to_owned()));
    }
    let path = PathBuf::from(text);
    let failed = |source| SourceError::Open { path: path.clone(), source };
    let meta = std::fs::metadata(&path).map_err(failed)?;
    if meta.is_dir() {
        return Ok(Opened::Folder(path));
    }
    if !meta.is_file() {
        return Err(SourceError::Odd(path));
    }
    let file = File::open(&path).map_err(failed)?;
    let mut first = [0; 1024];
    let got = file.read_at(&mut first, 0).map_err(failed)?;
    let first = first.get(..got).unwrap_or_default();
    if first.is_empty() {
        return Err(SourceError::Empty(path));
    }
    for (magic, packing) in
        [(&b"BZh"[..], "bzip2"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"\x04\x22\x4d\x18", "LZ4")]
    {
        if first.starts_with(magic) {
            return Err(SourceError::Packing { path, packing });
        }
    }
    let packing = Packing::of(first);
    let bytes = meta.len();
    let (unpacked, memory) = match packing {
        Packing::None => (Some(bytes), 0),
        Packing::Xz => (xz_unpacked(&file, bytes), packed::xz_memory(first).unwrap_or(0)),
        Packing::Gzip => (gzip_unpacked(&file, bytes), 1 << 16),
        Packing::Zstd => match packed::zstd_frame(first) {
            Some(frame) => (frame.unpacked, frame.window + (1 << 20)),
            None => (None, 0),
        },
        Packing::Zip => {
            let failed = |source| SourceError::Zip { path: path.clone(), source };
            let mut zip = zip::ZipArchive::new(BufReader::new(&file)).map_err(failed)?;
            let entry = image_in(&mut zip).ok_or_else(|| SourceError::NoImageInZip(path.clone()))?;
            (Some(zip.by_index(entry).map_err(failed)?.size()), 1 << 16)
        }
    };
    Ok(Opened::File(Source { path, packing, bytes, unpacked, memory, file }))
}

impl Source {
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

    /// The file itself, for content that need not be unpacked.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The first `len` bytes of the file, or all if it is shorter.
    pub fn first(&self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let got = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Begins to unpack. `task` hears how many bytes of the file have been read. Only the sums in `wanted` are taken.
    pub fn unpack(self, wanted: Sums, available: u64, task: &Task) -> io::Result<Unpacked> {
        let (sender, receiver) = sync_channel(4);
        let task = task.clone();
        let thread = std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || decode(self, wanted, available, &task, &sender))?;
        Ok(Unpacked {
            receiver: Some(receiver),
            piece: Vec::new(),
            at: 0,
            thread: Some(thread),
            sums: Sums::default(),
        })
    }
}

fn usable(available: u64) -> u64 {
    available / 4 * 3
}

/// The content, as it comes out of the decoder.
#[derive(Debug)]
pub struct Unpacked {
    receiver: Option<Receiver<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    /// `None` once it has been waited for.
    thread: Option<JoinHandle<io::Result<Sums>>>,
    sums: Sums,
}

impl Unpacked {
    /// Reads what is left and answers with the checksums.
    pub fn finish(mut self, task: &Task) -> io::Result<Sums> {
        if let Some(receiver) = &self.receiver {
            while receiver.recv().is_ok() {
                task.go_on().map_err(io::Error::other)?;
            }
        }
        self.join()
    }

    fn join(&mut self) -> io::Result<Sums> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the decoder failed"))),
            None => Ok(self.sums),
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Some(receiver) = &self.receiver else { return Ok(0) };
            if let Ok(piece) = receiver.recv() {
                (self.piece, self.at) = (piece, 0);
            } else {
                self.receiver = None;
                self.sums = self.join()?;
            }
        }
        let piece = self.piece.get(self.at..).unwrap_or_default();
        let len = piece.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..len), piece.get(..len)) {
            to.copy_from_slice(from);
        }
        self.at += len;
        Ok(len)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // The thread ends at the first piece that nobody takes.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Counts and sums the bytes of the file as the decoder reads them.
#[derive(Clone)]
struct Metered {
    file: Arc<File>,
    at: u64,
    task: Task,
    sum: Option<Arc<Mutex<Sha256>>>,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(into, self.at)?;
        self.at += got as u64;
        self.task.advance(got as u64);
        if let Some(sum) = &self.sum {
            sum.lock().unwrap_or_else(PoisonError::into_inner).update(into.get(..got).unwrap_or_default());
        }
        Ok(got)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.file.metadata()?.len();
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// The thread: unpacks the whole file into pieces.
fn decode(
    source: Source,
    wanted: Sums,
    available: u64,
    task: &Task,
    to: &SyncSender<Vec<u8>>,
) -> io::Result<Sums> {
    let Source { packing, memory, file, .. } = source;
    // A zip archive is read from its end: its file's sum takes a pass of its own.
    let in_passing = wanted.file.is_some() && packing != Packing::Zip;
    let sum = in_passing.then(|| Arc::new(Mutex::new(Sha256::new())));
    let metered = Metered { file: Arc::new(file), at: 0, task: task.clone(), sum };
    let mut content = wanted.content.is_some().then(Sha256::new);
    let input = BufReader::with_capacity(128 * 1024, metered.clone());
    let mut rest: Box<dyn Read + '_> = match packing {
        Packing::None => {
            let mut input = input;
            pass_on(&mut input, content.as_mut(), to)?;
            Box::new(input)
        }
        Packing::Xz => {
            let mut input = input;
            loop {
                let stream = xz_decoder(memory, available)?;
                let mut decoder = liblzma::bufread::XzDecoder::new_stream(input, stream);
                pass_on(&mut decoder, content.as_mut(), to)?;
                input = decoder.into_inner();
                // Programs that pack in parallel write one stream behind the other, with zeros between them.
                while input.fill_buf()?.first() == Some(&0) {
                    input.consume(1);
                }
                if Packing::of(input.fill_buf()?) != Packing::Xz {
                    break;
                }
            }
            Box::new(input)
        }
        Packing::Gzip => {
            let mut decoder = flate2::bufread::MultiGzDecoder::new(input);
            pass_on(&mut decoder, content.as_mut(), to)?;
            Box::new(decoder.into_inner())
        }
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(usable(available).checked_ilog2().unwrap_or(27).clamp(10, 31))?;
            pass_on(&mut decoder, content.as_mut(), to)?;
            Box::new(decoder.finish())
        }
        Packing::Zip => {
            if wanted.file.is_some() {
                let mut whole = Metered { sum: None, ..metered.clone() };
                let mut sum = Sha256::new();
                io::copy(&mut whole, &mut HashTo(&mut sum))?;
                let mut zip = zip::ZipArchive::new(input).map_err(io::Error::other)?;
                unzip(&mut zip, content.as_mut(), to)?;
                return Ok(Sums {
                    file: Some(sum.finalize().into()),
                    content: content.map(|sum| sum.finalize().into()),
                });
            }
            let mut zip = zip::ZipArchive::new(input).map_err(io::Error::other)?;
            unzip(&mut zip, content.as_mut(), to)?;
            Box::new(io::empty())
        }
    };
    // What follows the packed content still belongs to the file's sum.
    io::copy(&mut rest, &mut io::sink())?;
    drop(rest);
    let file =
        metered.sum.map(|sum| sum.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize().into());
    Ok(Sums { file, content: content.map(|sum| sum.finalize().into()) })
}

struct HashTo<'a>(&'a mut Sha256);

impl io::Write for HashTo<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unzip<R: Read + Seek>(
    zip: &mut zip::ZipArchive<R>,
    content: Option<&mut Sha256>,
    to: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    let entry = image_in(zip).ok_or_else(|| io::Error::other("no .img file"))?;
    pass_on(&mut zip.by_index(entry).map_err(io::Error::other)?, content, to)
}

/// Several threads where the machine has the processors and the memory for them.
fn xz_decoder(memory: u64, available: u64) -> io::Result<liblzma::stream::Stream> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = MtStreamBuilder::new();
    builder
        .threads(u32::try_from(processors.min(4)).unwrap_or(1))
        .memlimit_threading(available / 4)
        .memlimit_stop(usable(available).max(memory));
    builder.decoder().map_err(io::Error::from)
}

/// Sends everything `from` holds. Ends early, and quietly, when nobody takes the pieces any more.
fn pass_on(from: &mut dyn Read, mut sum: Option<&mut Sha256>, to: &SyncSender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; limits::UNPACKED_PIECE];
        let got = super::archive::fill(from, &mut piece)?;
        piece.truncate(got);
        if let Some(sum) = &mut sum {
            sum.update(&piece);
        }
        if got == 0 {
            return Ok(());
        }
        if to.send(piece).is_err() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
    }
}

/// The entry of a zip archive to import: the first whose name ends in `.img`.
fn image_in<R: Read + Seek>(zip: &mut zip::ZipArchive<R>) -> Option<usize> {
    let name = zip
        .file_names()
        .find(|name| Path::new(name).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("img")))?
        .to_owned();
    zip.index_for_name(&name)
}

/// Adds up the indexes of all streams of an .xz file, from its end.
fn xz_unpacked(file: &File, bytes: u64) -> Option<u64> {
    let (mut end, mut sum) = (bytes, 0_u64);
    while end > 0 {
        let mut footer = [0; XZ_EDGE];
        file.read_exact_at(&mut footer, end.checked_sub(XZ_EDGE as u64)?).ok()?;
        // Padding between streams comes in fours.
        if footer.ends_with(&[0; 4]) {
            end -= 4;
            continue;
        }
        let len = packed::xz_index_len(&footer).filter(|len| *len <= limits::XZ_INDEX)?;
        let start = end.checked_sub(XZ_EDGE as u64 + len)?;
        let mut index = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut index, start).ok()?;
        let index = packed::xz_index(&index)?;
        sum = sum.checked_add(index.unpacked)?;
        end = start.checked_sub(index.packed)?.checked_sub(XZ_EDGE as u64)?;
    }
    Some(sum)
}

fn gzip_unpacked(file: &File, bytes: u64) -> Option<u64> {
    let mut last = [0; 4];
    file.read_exact_at(&mut last, bytes.checked_sub(4)?).ok()?;
    // Content does not shrink below a thousandth, nor is it smaller than what it is packed into.
    let said = packed::gzip_unpacked(last);
    Some(if said < bytes / 2 { said + (1 << 32) } else { said })
}

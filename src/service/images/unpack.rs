//! Unpacks what is imported, on a thread of its own, ahead of whoever reads, so that a slow disk, a slow decoder and a slow
//! line do not wait for each other.
//!
//! Both checksums a publisher may give (of the file, of what is in it) are taken on the way. Nothing is kept of what has been
//! handed on.

use std::io::{self, BufRead as _, BufReader, Read, Seek, SeekFrom};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use liblzma::stream::MtStreamBuilder;
use sha2::{Digest as _, Sha256};

use super::archive::fill;
use super::source::{Input, Source, Sums, image_in};
use super::web::{FetchError, Stop};
use crate::proto::packed::Packing;
use crate::service::jobs::Task;
use crate::types::limits;

/// How often a reader looks whether it is to go on, while nothing comes.
const HEARS_EVERY: Duration = Duration::from_millis(200);

impl Source {
    /// Begins to unpack. `task` hears how many bytes of the file have been read. Only the sums in `wanted` are taken.
    pub fn unpack(self, wanted: Sums, available: u64, task: &Task) -> io::Result<Unpacked> {
        let (sender, receiver) = sync_channel(4);
        let stop = match &self.input {
            Input::Web(_, download) => Some(download.stop()),
            Input::File(_) => None,
        };
        let told = task.clone();
        let thread = std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || decode(self, wanted, available, &told, &sender))?;
        Ok(Unpacked {
            receiver: Some(receiver),
            piece: Vec::new(),
            at: 0,
            thread: Some(thread),
            sums: Sums::default(),
            task: task.clone(),
            stop,
        })
    }
}

/// What a decoder may take of `available` bytes of memory: the rest is what the router lives on.
pub(super) fn usable(available: u64) -> u64 {
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
    task: Task,
    /// Ends the download that the thread may be waiting for.
    stop: Option<Stop>,
}

impl Unpacked {
    /// Reads what is left and answers with the checksums.
    pub fn finish(mut self) -> io::Result<Sums> {
        while self.next()?.is_some() {}
        self.join()
    }

    /// The next piece; `None` at the end. Returns as soon as the task is cancelled, whatever the server does.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(receiver) = &self.receiver else { return Ok(None) };
            match receiver.recv_timeout(HEARS_EVERY) {
                Ok(piece) => return Ok(Some(piece)),
                Err(RecvTimeoutError::Disconnected) => {
                    self.receiver = None;
                    self.sums = self.join()?;
                    return Ok(None);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.task.go_on().map_err(|_| FetchError::Cancelled).map_err(io::Error::other)?;
                }
            }
        }
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
            let Some(piece) = self.next()? else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
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
            if let Some(stop) = self.stop.take() {
                stop.now();
            }
            let _ = thread.join();
        }
    }
}

/// Counts and sums the bytes of the file as the decoder reads them.
struct Metered<R> {
    input: R,
    task: Task,
    sum: Option<Arc<Mutex<Sha256>>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(into)?;
        self.task.advance(got as u64);
        if let Some(sum) = &self.sum {
            sum.lock().unwrap_or_else(PoisonError::into_inner).update(into.get(..got).unwrap_or_default());
        }
        Ok(got)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
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
    let Source { packing, memory, input, .. } = source;
    let sum = wanted.file.is_some().then(|| Arc::new(Mutex::new(Sha256::new())));
    let metered = |input: Box<dyn Read>| Metered { input, task: task.clone(), sum: sum.clone() };
    let mut content = wanted.content.is_some().then(Sha256::new);
    if let Input::File(file) = &input {
        // Whoever looked at it before may have left it anywhere.
        (&*file).rewind()?;
    }
    let input: Box<dyn Read> = match input {
        Input::File(file) if packing == Packing::Zip => {
            // A zip archive is read from its end: its file's sum takes a pass of its own.
            if sum.is_some() {
                io::copy(&mut metered(Box::new(file.try_clone()?)), &mut io::sink())?;
            }
            (&file).rewind()?;
            let file = Metered { input: file, task: task.clone(), sum: None };
            let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(io::Error::other)?;
            unzip(&mut zip, content.as_mut(), to)?;
            return Ok(sums(sum, content));
        }
        Input::File(file) => Box::new(file),
        Input::Web(first, rest) => Box::new(io::Cursor::new(first).chain(rest)),
    };
    let mut input = BufReader::with_capacity(128 * 1024, metered(input));
    let mut rest: Box<dyn Read + '_> = match packing {
        Packing::None => {
            pass_on(&mut input, content.as_mut(), to)?;
            Box::new(input)
        }
        Packing::Xz => {
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
        // Nobody asks for this: see `Source::must_be_kept`.
        Packing::Zip => return Err(io::Error::other("a zip archive is not unpacked as a stream")),
    };
    // What follows the packed content still belongs to the file's sum.
    io::copy(&mut rest, &mut io::sink())?;
    drop(rest);
    Ok(sums(sum, content))
}

fn sums(file: Option<Arc<Mutex<Sha256>>>, content: Option<Sha256>) -> Sums {
    let file = file.map(|sum| sum.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize().into());
    Sums { file, content: content.map(|sum| sum.finalize().into()) }
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
    let threading = (available / 4).min(limits::XZ_THREADS_MEMORY);
    builder
        .threads(u32::try_from(processors.min(4)).unwrap_or(1))
        .memlimit_threading(threading)
        .memlimit_stop(usable(available).max(memory));
    builder.decoder().map_err(io::Error::from)
}

/// Sends everything `from` holds. Ends early, and quietly, when nobody takes the pieces any more.
fn pass_on(from: &mut dyn Read, mut sum: Option<&mut Sha256>, to: &SyncSender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; limits::UNPACKED_PIECE];
        let got = fill(from, &mut piece)?;
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

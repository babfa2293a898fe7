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

#[cfg(test)]
mod tests {
    use liblzma::stream::Check;
    use proptest::prelude::*;

    use super::super::source::{Opened, open};
    use super::*;

    /// One stream of .xz, in blocks of `block` bytes.
    fn xz(content: &[u8], block: u64) -> Vec<u8> {
        let mut builder = MtStreamBuilder::new();
        let stream =
            builder.threads(1).block_size(block).preset(0).check(Check::Crc64).encoder().expect("right");
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new_stream(content, stream).read_to_end(&mut packed).expect("packed");
        packed
    }

    /// What comes out before the end, and how it ends, with `available` bytes of memory.
    fn unpacked(packed: &[u8], available: u64) -> (Vec<u8>, Result<Sums, String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("packed.xz");
        std::fs::write(&path, packed).expect("written");
        let Opened::File(source) = open(path.to_str().expect("UTF-8")).expect("opened") else {
            unreachable!("it is a file")
        };
        let both = Sums { file: Some([0; 32]), content: Some([0; 32]) };
        let mut content = source.unpack(both, available, &Task::unwatched()).expect("begun");
        let mut out = Vec::new();
        let end = content.read_to_end(&mut out).map_err(|error| error.to_string());
        (out, end.and_then(|_| content.finish().map_err(|error| error.to_string())))
    }

    fn sum(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// Bytes that pack to a half or so, with long runs that pack to nothing.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u32>(), 1_usize..60_000, any::<bool>());
        proptest::collection::vec(run, 1..24).prop_map(|runs| {
            let bytes = runs.into_iter().flat_map(|(seed, len, same)| {
                let mut state = seed | 1;
                (0..len).map(move |_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if same { 7 } else { state.to_be_bytes()[0] >> 4 }
                })
            });
            bytes.collect()
        })
    }

    /// From memory for all blocks at once down to memory for none of them.
    fn memory() -> impl Strategy<Value = u64> {
        prop_oneof![Just(512_u64 << 20), Just(8 << 20), Just(3 << 20), Just(2 << 20), Just(1 << 20)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

        /// Blocks of any size, streams one behind the other: the content is the same, whatever memory there is.
        #[test]
        fn blocks_of_any_size_are_what_was_packed(
            streams in proptest::collection::vec((content(), 4096_u64..900_000), 1..3),
            padding in 0_usize..4,
            available in memory(),
        ) {
            let (mut packed, mut plain) = (Vec::new(), Vec::new());
            for (content, block) in &streams {
                packed.extend(xz(content, *block));
                packed.resize(packed.len() + padding * 4, 0);
                plain.extend(content);
            }
            let (out, end) = unpacked(&packed, available);
            prop_assert!(out == plain, "{} bytes of {}", out.len(), plain.len());
            prop_assert_eq!(end, Ok(Sums { file: Some(sum(&packed)), content: Some(sum(&plain)) }));
        }

        /// Damage is an error in words of the decoder, and the stream before it is right. Of the stream it is in, bytes may
        /// have come that were never packed: what tells is the sum at the end of a block.
        #[test]
        fn damage_is_found_whatever_memory_there_is(
            before in content(),
            content in content(),
            block in 4096_u64..300_000,
            percent in 5_usize..95,
            available in memory(),
        ) {
            let mut damaged = xz(&content, block);
            // Of the first block's header the memory it takes is known before; that is refused elsewhere.
            let at = (damaged.len() * percent / 100).max(40).min(damaged.len() - 13);
            damaged[at] ^= 0x20;
            let packed = [xz(&before, block), damaged].concat();
            let (out, end) = unpacked(&packed, available);
            prop_assert!(out.starts_with(&before), "{} bytes, {} before the damage", out.len(), before.len());
            match end {
                Err(message) => {
                    let words = ["lzma data error", "format not recognized", "corrupt xz stream", "premature eof"];
                    prop_assert!(words.contains(&message.as_str()), "{message}");
                }
                // A chunk may end in a bit or two that stand for nothing.
                Ok(sums) => prop_assert_eq!(sums.content, Some(sum(&[before, content].concat()))),
            }
        }
    }

    #[test]
    fn whoever_goes_away_ends_the_decoder() {
        let content = vec![5; 40 << 20];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("packed.xz");
        std::fs::write(&path, xz(&content, 1 << 20)).expect("written");
        let Opened::File(source) = open(path.to_str().expect("UTF-8")).expect("opened") else {
            unreachable!("it is a file")
        };
        let mut unpacked = source.unpack(Sums::default(), 512 << 20, &Task::unwatched()).expect("begun");
        unpacked.read_exact(&mut [0; 1000]).expect("it has begun");
        drop(unpacked);
        // Its file is closed, so the thread and its buffers are gone.
        let open = std::fs::read_dir("/proc/self/fd")
            .expect("Linux")
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        assert!(!open.collect::<Vec<_>>().contains(&path));
    }
}

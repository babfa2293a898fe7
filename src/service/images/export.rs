//! Exports a version: one archive that any tar reads, and that another Bramble imports bit for bit.
//!
//! | entry | is |
//! |---|---|
//! | `bramble-image.json` | what this is ([`manifest::Head`]); always first |
//! | everything of the tree | with owners, times, hard links, holes, devices and extended attributes (file capabilities) |
//! | `bramble-image-end.json` | the checksum of all of it ([`manifest::Tail`]); always last |
//!
//! It is written in one go and goes to a file on another disk or to a FIFO that somebody reads. Packed no harder than a
//! router can bear: a quarter of an hour for a desktop system, not two.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use liblzma::stream::{Check, MtStreamBuilder};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use tar::EntryType;

use super::Tree;
use super::archive::Kind;
use super::copy::{self, CopyError, Met, Walk, What, attributes, meta};
use super::digest::TreeDigest;
use super::exported::part;
use super::import::available_memory;
use super::library::{Library, LibraryError};
use super::plant::{Meta, Node};
use crate::proto::manifest::{self, FORMAT, HEAD, TAIL};
use crate::service::backup::is_fifo;
use crate::service::backup::pipe::Pipe;
use crate::service::jobs::{Cancelled, Stopped, Task};
use crate::service::pax::{self, About};
use crate::sys;
use crate::types::{ByteSize, ImageRef, ImageVersion, Moment};

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    pub image: ImageRef,
    /// A file that is not there yet, or a FIFO that somebody reads. Whether it is a good place has been asked
    /// ([`Backups::check_target`](crate::service::backup::Backups::check_target)).
    pub to: PathBuf,
    pub form: Form,
}

/// How the archive is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Zstandard.
    #[default]
    Zst,
    /// A tenth smaller, and takes some twenty times as long (measured on an image of Raspberry Pi OS).
    Xz,
}

/// The text names no form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no form of an archive; write `zst`, or `xz` for one that is smaller and takes longer")]
pub struct BadForm(String);

impl std::str::FromStr for Form {
    type Err = BadForm;

    fn from_str(text: &str) -> Result<Self, BadForm> {
        match text {
            "zst" => Ok(Self::Zst),
            "xz" => Ok(Self::Xz),
            other => Err(BadForm(other.chars().take(crate::types::limits::NAME_SHOWN).collect())),
        }
    }
}

/// Why a version was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    #[error("`{0}` is there already; choose another name, or remove it first")]
    Exists(PathBuf),
    #[error("`{path}` cannot be {doing}")]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the disk is full: there is no room left for `{0}`, and what was written of it is deleted; choose another disk, or `xz`, which is smaller"
    )]
    Full(PathBuf),
    #[error("`{0}` has more holes than an archive can describe")]
    Holes(PathBuf),
    #[error(transparent)]
    Read(CopyError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl From<CopyError> for ExportError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Read(other),
        }
    }
}

impl ExportError {
    fn stopped(self) -> Stopped {
        match self {
            Self::Cancelled(_) => Stopped::Cancelled,
            other => Stopped::because(&other),
        }
    }
}

/// A quick level: on a router's processor the disk and the network are not much slower.
const ZSTD_LEVEL: i32 = 3;

/// The second-lowest of ten, with a dictionary of 1 MiB: an importer needs no more memory than that.
const XZ_PRESET: u32 = 1;
/// Each thread works on a block of its own, in bytes.
const XZ_BLOCK: u64 = 4 << 20;

impl Library {
    /// Starts exporting a version and answers with the job.
    pub fn export(&self, request: ExportRequest, now: Moment) -> Result<u64, ExportError> {
        let tree = self
            .images
            .resolve(&request.image)
            .ok_or_else(|| ExportError::NoSuchImage(request.image.clone()))?;
        let (library, subject) = (self.clone(), tree.image.to_string());
        let id = self.jobs.start("export", subject, move |task| {
            library.run_export(&tree, &request, now, task).map_err(ExportError::stopped)
        });
        Ok(id.map_err(LibraryError::from)?)
    }

    fn run_export(
        &self,
        tree: &Arc<Tree>,
        request: &ExportRequest,
        now: Moment,
        task: &Task,
    ) -> Result<String, ExportError> {
        let to = &request.to;
        let head = self.head(tree, now)?;
        task.phase("measuring", 0)?;
        let bytes = copy::measure(&tree.root, task)?;
        task.phase("exporting", bytes)?;
        if is_fifo(to) {
            let output = Pipe::writer(to, task).map_err(file(to, "written"))?;
            let (_, done) = write(output, tree, &head, request, task)?;
            return Ok(done.told(&tree.image));
        }
        // Another job may have been before this one.
        if fs::symlink_metadata(to).is_ok() {
            return Err(ExportError::Exists(to.clone()));
        }
        let part = part(to);
        self.store.export_begins(to, &tree.image).map_err(LibraryError::from)?;
        let made = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let output = made.map_err(file(&part, "made"))?;
        let written = write(output, tree, &head, request, task).and_then(|(output, done)| {
            task.phase("writing to the disk", 0)?;
            output.sync_all().map_err(file(&part, "written to the disk"))?;
            fs::rename(&part, to).map_err(file(to, "given its name"))?;
            sys::whole::settle_name(to);
            self.store.export_done(to, now).map_err(LibraryError::from)?;
            let packed = output.metadata().map_or(0, |about| about.len());
            Ok(format!("{}; `{}` has {}", done.told(&tree.image), to.display(), ByteSize(packed)))
        });
        if written.is_err() {
            // If it cannot be removed, the next start tries again; the error has been told.
            let gone = fs::remove_file(&part);
            if gone.is_ok() || !part.exists() {
                self.store.export_forget(to).map_err(LibraryError::from)?;
            }
        }
        written
    }

    fn head(&self, tree: &Tree, now: Moment) -> Result<manifest::Head, LibraryError> {
        let rows = self.store.image_versions()?;
        let note = rows.into_iter().find(|row| row.image == tree.image).map(|row| row.note);
        Ok(manifest::Head {
            format: FORMAT,
            name: tree.image.name.clone(),
            version: tree.image.version,
            release: tree.facts.pretty_name.clone(),
            arch: tree.facts.arch,
            note: note.unwrap_or_default(),
            bramble: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now,
        })
    }
}

/// What was written.
#[derive(Debug, Default)]
struct Done {
    entries: u64,
    bytes: u64,
    /// Sockets, and attributes that no archive can name.
    left_out: u64,
}

impl Done {
    fn told(&self, image: &ImageVersion) -> String {
        let Self { entries, bytes, left_out } = self;
        let mut text = format!("`{image}` is exported: {} in {entries} files and folders", ByteSize(*bytes));
        if *left_out > 0 {
            let _ = write!(text, ", without {left_out} sockets or attributes that an archive cannot hold");
        }
        text
    }
}

/// Writes the archive to `output`, packed as `request` says, and gives `output` back.
fn write<W: Write>(
    output: W,
    tree: &Tree,
    head: &manifest::Head,
    request: &ExportRequest,
    task: &Task,
) -> Result<(W, Done), ExportError> {
    let to = request.to.as_path();
    let failed = |source: io::Error| written(to)(source);
    match request.form {
        Form::Zst => {
            let mut packer = zstd::stream::write::Encoder::new(output, ZSTD_LEVEL).map_err(failed)?;
            packer.include_checksum(true).map_err(failed)?;
            let mut archive = Archive::new(packer, to, task);
            archive.all(tree, head)?;
            Ok((archive.output.finish().map_err(failed)?, archive.done))
        }
        Form::Xz => {
            let stream = xz_encoder(available_memory()).map_err(failed)?;
            let mut archive = Archive::new(liblzma::write::XzEncoder::new_stream(output, stream), to, task);
            archive.all(tree, head)?;
            Ok((archive.output.finish().map_err(failed)?, archive.done))
        }
    }
}

/// As many threads as the machine has processors, four at most, and as fit into a quarter of the memory that is free.
fn xz_encoder(available: u64) -> io::Result<liblzma::stream::Stream> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = MtStreamBuilder::new();
    builder.preset(XZ_PRESET).check(Check::Crc64).block_size(XZ_BLOCK);
    let mut threads = u32::try_from(processors.min(4)).unwrap_or(1);
    while threads > 1 && builder.threads(threads).memusage() > available / 4 {
        threads -= 1;
    }
    builder.threads(threads).encoder().map_err(io::Error::from)
}

struct Archive<'a, W> {
    output: W,
    to: &'a Path,
    task: &'a Task,
    digest: TreeDigest,
    done: Done,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Archive<'a, W> {
    fn new(output: W, to: &'a Path, task: &'a Task) -> Self {
        let buffer = vec![0; 256 * 1024];
        Self { output, to, task, digest: TreeDigest::default(), done: Done::default(), buffer }
    }

    fn all(&mut self, tree: &Tree, head: &manifest::Head) -> Result<(), ExportError> {
        self.note(HEAD, &head.encode(), head.made_at)?;
        let mut failure = None;
        let walked = Walk::new(self.task).all(&tree.root, &mut |met| match self.entry(met) {
            Ok(inside) => Ok(inside),
            Err(error) => {
                failure = Some(error);
                // Ends the walk; what is told is the error itself.
                Err(Cancelled.into())
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        walked?;
        let tail = std::mem::take(&mut self.digest).tail();
        (self.done.entries, self.done.bytes) = (tail.entries, tail.bytes);
        self.note(TAIL, &tail.encode(), head.made_at)?;
        self.put(&pax::END)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.task.go_on()?;
        self.output.write_all(bytes).map_err(written(self.to))
    }

    /// A small file of ours.
    fn note(&mut self, name: &str, text: &[u8], at: Moment) -> Result<(), ExportError> {
        let about = About { mode: 0o644, uid: 0, gid: 0, mtime: (at.secs(), 0) };
        let size = text.len() as u64;
        self.head(Path::new(name), EntryType::Regular, about, size, None, None, Vec::new())?;
        self.put(text)?;
        self.put(pax::padding(size))
    }

    /// One thing met in the tree; whether to go into it.
    fn entry(&mut self, met: Met<'_>) -> Result<bool, ExportError> {
        let Met { path, folder, stat, what, .. } = met;
        if [HEAD, TAIL].iter().any(|ours| path == Path::new(ours)) {
            // Of an export that somebody unpacked by hand and imported as a folder.
            return Ok(false);
        }
        match what {
            What::Folder(inside) => {
                let meta = self.kept(meta(&stat, attributes(inside)));
                let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
                self.digest.entry(met.path, &Kind::Folder, &meta);
                self.plain(path, EntryType::Directory, &meta, None, None)?;
            }
            What::Symlink(target) => {
                let meta = meta(&stat, Vec::new());
                let link = PathBuf::from(&target);
                self.digest.entry(path, &Kind::Symlink(target), &meta);
                self.plain(path, EntryType::Symlink, &meta, Some(&link), None)?;
            }
            What::HardLink(first) => {
                let meta = meta(&stat, Vec::new());
                self.digest.entry(path, &Kind::HardLink(first.clone()), &meta);
                self.plain(path, EntryType::Link, &meta, Some(&first), None)?;
            }
            What::Node(Node::Socket) => self.done.left_out += 1,
            What::Node(node) => {
                let (kind, device) = match node {
                    Node::Char(major, minor) => (EntryType::Char, Some((major, minor))),
                    Node::Block(major, minor) => (EntryType::Block, Some((major, minor))),
                    Node::Fifo | Node::Socket => (EntryType::Fifo, None),
                };
                let meta = meta(&stat, Vec::new());
                self.digest.entry(path, &Kind::Node(node), &meta);
                self.plain(path, kind, &meta, None, device)?;
            }
            What::File => {
                let failed = copy::read(path);
                let name = path.file_name().unwrap_or_default();
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let opened = File::from(openat(folder, name, flags, Mode::empty()).map_err(failed)?);
                let meta = self.kept(meta(&stat, attributes(&opened)));
                self.file(path, &opened, u64::try_from(stat.st_size).unwrap_or(0), &meta)?;
            }
        }
        Ok(true)
    }

    /// Without attributes whose names an archive cannot hold.
    fn kept(&mut self, mut meta: Meta) -> Meta {
        let before = meta.xattrs.len();
        meta.xattrs.retain(|(name, _)| !name.as_encoded_bytes().contains(&b'='));
        self.done.left_out += (before - meta.xattrs.len()) as u64;
        meta
    }

    fn file(&mut self, path: &Path, opened: &File, size: u64, meta: &Meta) -> Result<(), ExportError> {
        let pieces = pax::pieces(opened, size).ok_or_else(|| ExportError::Holes(path.to_owned()))?;
        let stored = pax::stored(&pieces);
        let (mut records, map) = pax::sparse(path, &pieces, size);
        records.extend(meta.xattrs.iter().map(|(name, value)| (pax::attribute_key(name), value.clone())));
        let about = about(meta);
        let length = stored + map.len() as u64;
        self.digest.entry(path, &Kind::File { size, pieces: pieces.clone() }, meta);
        self.head(path, EntryType::Regular, about, length, None, None, records)?;
        self.put(map.as_bytes())?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let copied = pieces.iter().try_for_each(|piece| self.piece(path, opened, *piece, &mut buffer));
        self.buffer = buffer;
        copied?;
        self.put(pax::padding(length))
    }

    fn piece(
        &mut self,
        path: &Path,
        mut opened: &File,
        (offset, len): (u64, u64),
        buffer: &mut [u8],
    ) -> Result<(), ExportError> {
        let failed = |source| CopyError::Read { path: path.to_owned(), source };
        opened.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            // A published tree never changes: a file that is shorter than it was is a damaged disk.
            opened.read_exact(part).map_err(failed)?;
            self.digest.content(part);
            self.put(part)?;
            self.task.advance(want as u64);
            done += want as u64;
        }
        Ok(())
    }

    /// An entry without content.
    fn plain(
        &mut self,
        path: &Path,
        kind: EntryType,
        meta: &Meta,
        link: Option<&Path>,
        device: Option<(u32, u32)>,
    ) -> Result<(), ExportError> {
        let records = meta.xattrs.iter().map(|(name, value)| (pax::attribute_key(name), value.clone()));
        self.head(path, kind, about(meta), 0, link, device, records.collect())
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of a header")]
    fn head(
        &mut self,
        path: &Path,
        kind: EntryType,
        about: About,
        size: u64,
        link: Option<&Path>,
        device: Option<(u32, u32)>,
        records: pax::Records,
    ) -> Result<(), ExportError> {
        let head = pax::Head { path, kind, about, size, link, device, records };
        let head = head.encode().map_err(written(self.to))?;
        self.put(&head)
    }
}

fn about(meta: &Meta) -> About {
    About { mode: meta.mode, uid: meta.uid, gid: meta.gid, mtime: meta.mtime }
}

/// What went wrong with writing `to`; a FIFO carries the wish to stop through errors of files.
fn written(to: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let to = to.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExportError::Full(to),
        _ if source.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Cancelled>) => {
            Cancelled.into()
        }
        _ => ExportError::File { path: to, doing: "written", source },
    }
}

fn file(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::File { path, doing, source }
}

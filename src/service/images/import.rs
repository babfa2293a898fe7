//! Brings an operating system in: from an archive, a disk image or a folder to a published version.
//!
//! The source is only read. Everything is written into a folder of the job's own beside the images; whatever ends the
//! job before its tree is complete takes that folder with it, and a power cut leaves it to the next start.
//! What can be known before work begins (the place, free memory, free space) is refused before it begins.
#![expect(clippy::disallowed_methods, reason = "an import notes when it was done, on its own thread")]

mod afar;
mod error;
mod queue;

use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

pub use self::error::ImportError;
use super::Facts;
use super::archive::{self, ArchiveError};
use super::copy::{self, Taking};
use super::desktop;
use super::disk;
use super::inspect::inspect;
use super::library::{Library, LibraryError, Ready};
use super::plant::{Planted, Planter, Sink};
use super::source::{Opened, Source, Sum, Sums};
use super::web::{self, FetchError};
use crate::proto::manifest::Head;
use crate::service::jobs::{Cancelled, Stopped, Task};
use crate::sys::extents;
use crate::types::{ByteSize, ImageName, Moment, Version, hex, limits};

/// What somebody asked for. Kept until it is done, so that a stop of Bramble does not lose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// A path on this machine (archive, disk image, folder or disk), an address of the web, or `upload:7`.
    pub source: String,
    pub name: ImageName,
    /// What the checksums must be, where the publisher gives them. A catalogue of Raspberry Pi's names that of the
    /// image inside the .xz file (`extract_sha256`); a file beside a download is usually that of the download.
    pub expect: Sums,
    /// The entry of a catalogue that it is.
    pub origin: Option<Origin>,
    /// Whose desktop becomes everybody's: the name of a person in the image.
    pub desktop: Option<String>,
}

impl Request {
    pub fn new(source: impl Into<String>, name: ImageName) -> Self {
        Self { source: source.into(), name, expect: Sums::default(), origin: None, desktop: None }
    }
}

/// The entry of a catalogue that an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The list, as the configuration names it.
    pub list: String,
    pub headings: Vec<String>,
    pub name: String,
    /// `2026-06-18`; empty if the list did not say.
    pub released: String,
    /// Length of the file and of its content, as the list had them.
    pub file_bytes: Option<u64>,
    pub content_bytes: Option<u64>,
}

/// What an import works with.
#[derive(Clone, Copy)]
struct Work<'a> {
    request: &'a Request,
    staging: &'a Staging,
    /// The folder that the tree is made in.
    tree: &'a Path,
    task: &'a Task,
}

/// What has been written, and what is known of where it came from.
struct Taken {
    planted: Planted,
    sums: Sums,
    /// What the archive says of itself, if a Bramble made it.
    exported: Option<Head>,
}

impl Taken {
    fn of(planted: Planted, sums: Sums) -> Self {
        Self { planted, sums, exported: None }
    }
}

/// Room that must be left over, in bytes: the database, logs, and what clients write.
const SPARE: u64 = 32 << 20;

impl Library {
    pub(super) fn run(
        &self,
        request: &Request,
        opened: Opened,
        job: u64,
        task: &Task,
    ) -> Result<String, ImportError> {
        let staging = Staging::new(self.folder.join(format!(".incoming-{job}")))?;
        let tree = staging.folder("tree", 0o755)?;
        let work = Work { request, staging: &staging, tree: &tree, task };
        let written = match opened {
            Opened::Folder(from) => self.take_folder(work, &from),
            Opened::File(file) => self.take_file(work, file),
            Opened::Web(url) => self.take_web(work, &url),
            Opened::Device(path) => self.take_device(work, &path),
        };
        let Taken { planted, sums, exported } =
            written.map_err(|error| self.full_or_else(&request.source, error))?;
        let made_default =
            request.desktop.as_ref().map(|user| desktop::make_default(&tree, user, task)).transpose()?;
        task.phase("inspecting", 0)?;
        let mut facts = inspect(&tree)?;
        if planted.attributes_lost > 0 {
            facts.warnings.push(format!(
                "{} extended attributes (such as file capabilities) could not be kept on this disk's file system.",
                planted.attributes_lost
            ));
        }
        let before = self.store.image_versions().map_err(LibraryError::from)?;
        let before = before
            .iter()
            .find(|row| row.current && row.image.name == request.name)
            .map(|row| row.image.version);
        let origin = request.origin.as_ref().and_then(|origin| serde_json::to_string(origin).ok());
        let image = self.publish(&Ready {
            tree: &tree,
            name: &request.name,
            source: &request.source,
            note: exported.as_ref().map_or("", |exported| exported.note.as_str()),
            current: true,
            sha256: sums.file.map(|sum| hex(&sum)).as_deref(),
            bytes: planted.bytes,
            files: planted.files,
            facts: facts.clone(),
            at: Moment::from(SystemTime::now()),
            job: Some(job),
            origin: origin.as_deref(),
        })?;
        self.measure(&Task::unwatched());
        let mut text = told(&image.to_string(), &facts, planted, before);
        if let Some(Head { name, version, bramble, made_at, .. }) = exported {
            let _ = write!(
                text,
                "\nNote: it is {name}@{version} as Bramble {bramble} exported it on {made_at} UTC, whole and unchanged."
            );
        }
        if let (Some(files), Some(user)) = (made_default, &request.desktop) {
            let _ = write!(text, "\nThe desktop of `{user}` is everybody's: {}", files.join(", "));
        }
        Ok(text)
    }

    fn take_folder(&self, work: Work<'_>, from: &Path) -> Result<Taken, ImportError> {
        let Work { request, tree, task, .. } = work;
        task.phase("measuring", 0)?;
        let bytes = copy::measure(from, task)?;
        self.check_space(request, bytes, false)?;
        task.phase("copying", bytes)?;
        let mut planter = self.planter(tree)?;
        copy::copy(from, &mut planter, task)?;
        Ok(Taken::of(finish(planter, task)?, Sums::default()))
    }

    /// What a file is, its first bytes say, once they are unpacked: an archive or the image of a disk.
    fn take_file(&self, work: Work<'_>, file: Source) -> Result<Taken, ImportError> {
        let Work { request, staging, tree, task } = work;
        let damaged = |source| broke(Path::new(&request.source), source);
        if let Some(disk) = file.in_place() {
            let disk = disk.try_clone().map_err(damaged)?;
            let mut first = [0; 2048];
            let got = disk.read_at(&mut first, 0).map_err(damaged)?;
            if disk::is_disk(first.get(..got).unwrap_or_default()) {
                let sums = checked(request, file, task)?;
                return self.take_disk(work, &disk, false, sums);
            }
        }
        task.phase(file.doing(), file.bytes)?;
        let unpacked = file.unpacked;
        let mut content = file.unpack(request.expect, available_memory(), task).map_err(damaged)?;
        let mut first = vec![0; 2048];
        let got = archive::fill(&mut content, &mut first).map_err(damaged)?;
        first.truncate(got);
        if archive::is_header(&first) {
            let mut planter = self.planter(tree)?;
            let mut whole = first.as_slice().chain(&mut content);
            let exported = archive::unpack(&mut whole, &mut planter, task).map_err(|error| match error {
                // What the decoder says, not what it made of the archive.
                ArchiveError::Read { source, .. } => damaged(source),
                other => other.into(),
            })?;
            let sums = content.finish().map_err(damaged)?;
            check_sums(request, sums)?;
            return Ok(Taken { planted: finish(planter, task)?, sums, exported });
        }
        if !disk::is_disk(&first) {
            return Err(ImportError::Unknown { source_name: request.source.clone(), hint: hint(&first) });
        }
        let spends = staging.can_punch();
        self.check_space(request, both(unpacked.unwrap_or(0), spends), true)?;
        let disk = self.unpack_disk(&mut first.as_slice().chain(&mut content), staging, task, damaged)?;
        let sums = content.finish().map_err(damaged)?;
        check_sums(request, sums)?;
        self.take_disk(work, &disk, spends, sums)
    }

    /// Writes what comes out of the decoder to a file, holes left out.
    fn unpack_disk(
        &self,
        content: &mut dyn Read,
        staging: &Staging,
        task: &Task,
        damaged: impl Fn(io::Error) -> ImportError,
    ) -> Result<File, ImportError> {
        let failed = |source| ImportError::Staging { folder: self.folder.to_path_buf(), source };
        let path = staging.0.join("disk.img");
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        let mut sink = Sink::new(file);
        let mut piece = vec![0; limits::UNPACKED_PIECE];
        let mut at = 0;
        loop {
            task.go_on()?;
            let got = archive::fill(content, &mut piece).map_err(&damaged)?;
            sink.put(at, piece.get(..got).unwrap_or_default()).map_err(failed)?;
            at += got as u64;
            if got < piece.len() {
                break;
            }
        }
        sink.into_file(at).map_err(failed)
    }

    /// From the image of a disk; with `spends` it is ours, and gives its room back while its files are copied.
    fn take_disk(&self, work: Work<'_>, disk: &File, spends: bool, sums: Sums) -> Result<Taken, ImportError> {
        let Work { request, staging, tree, task } = work;
        let layout = disk::layout(disk)?;
        let mount = staging.folder("mount", 0o700)?;
        let mut planter = self.planter(tree)?;
        let check = |used: u64| self.check_space(request, if spends { overhead(used) } else { used }, false);
        let taking = Taking { clean: false, spend: spends.then_some((disk, layout.root.start)) };
        disk::copy(disk, layout, &mount, taking, &mut planter, task, check)?;
        Ok(Taken::of(finish(planter, task)?, sums))
    }

    pub(super) fn planter(&self, tree: &Path) -> Result<Planter, ImportError> {
        Planter::new(tree)
            .map(Planter::of_a_system)
            .map_err(|source| ImportError::Staging { folder: self.folder.to_path_buf(), source })
    }

    /// Refuses what will not fit.
    fn check_space(&self, request: &Request, needed: u64, unpacked_too: bool) -> Result<(), ImportError> {
        self.room_for("importing", &request.source, needed, unpacked_too)
    }

    /// Refuses what will not fit: `doing` something about `what` takes `needed` bytes.
    pub(super) fn room_for(
        &self,
        doing: &'static str,
        what: &str,
        needed: u64,
        unpacked_too: bool,
    ) -> Result<(), ImportError> {
        let free = statvfs(&*self.folder).map_err(|error| ImportError::Staging {
            folder: self.folder.to_path_buf(),
            source: error.into(),
        })?;
        #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
        let free = u64::from(free.blocks_available()) * u64::from(free.fragment_size());
        if free < needed.saturating_add(SPARE) {
            return Err(ImportError::Space {
                doing,
                source_name: what.to_owned(),
                needed: ByteSize(needed),
                unpacked_too,
                free: ByteSize(free),
                folder: self.folder.to_path_buf(),
            });
        }
        Ok(())
    }
}

pub(super) fn stopped(error: ImportError) -> Stopped {
    match error {
        ImportError::Cancelled(_) => Stopped::Cancelled,
        other => Stopped::because(&other),
    }
}

pub(super) fn finish(planter: Planter, task: &Task) -> Result<Planted, ImportError> {
    task.phase("writing to the disk", 0)?;
    planter.finish().map_err(ImportError::Plant)
}

/// The file of an image that is used in place, its sum verified if one was given.
fn checked(request: &Request, file: Source, task: &Task) -> Result<Sums, ImportError> {
    let failed = |source| broke(Path::new(&request.source), source);
    if request.expect == Sums::default() {
        return Ok(Sums::default());
    }
    task.phase("checking", file.bytes)?;
    let content = file.unpack(request.expect, available_memory(), task).map_err(failed)?;
    let sums = content.finish().map_err(failed)?;
    check_sums(request, sums)?;
    Ok(sums)
}

/// What an error of reading `source` was about: the way to it, or what is in it.
fn broke(source: &Path, error: io::Error) -> ImportError {
    match web::reason(error) {
        Ok(FetchError::Cancelled) => ImportError::Cancelled(Cancelled),
        Ok(known) => ImportError::Fetch(known),
        Err(error) => ImportError::Unpack { source_name: source.display().to_string(), source: error },
    }
}

/// Room that an unpacked image of `bytes` and its files take together. The files take nearly as much as the image; where the
/// image can be spent while they are written, what is added is [`overhead`].
fn both(bytes: u64, spends: bool) -> u64 {
    bytes.saturating_add(if spends { overhead(bytes) } else { bytes })
}

/// Room that the files of an image take before the image gives theirs back: small files are not worth a hole, and a disk
/// frees room with a delay.
fn overhead(bytes: u64) -> u64 {
    bytes / 4
}

fn check_sums(request: &Request, found: Sums) -> Result<(), ImportError> {
    let rows = [(request.expect.file, found.file, false), (request.expect.content, found.content, true)];
    for (wanted, found, of_content) in rows {
        if let (Some(wanted), Some(found)) = (wanted, found)
            && wanted != found
        {
            let source_name = request.source.clone();
            return Err(ImportError::Sum {
                source_name,
                found: hex(&found),
                wanted: hex(&wanted),
                of_content,
            });
        }
    }
    Ok(())
}

/// What the job says at its end.
fn told(image: &str, facts: &Facts, planted: Planted, before: Option<Version>) -> String {
    let mut text = format!(
        "`{image}` is ready: {}, {}, {} in {} files",
        facts.pretty_name,
        facts.arch,
        ByteSize(planted.bytes),
        planted.files
    );
    if let Some(before) = before {
        let _ = write!(text, "; clients that pin no version boot it from now on (before: version {before})");
    }
    if !facts.models.is_empty() {
        let _ = write!(
            text,
            "\nBoots: {}; {} over TFTP each time",
            facts.models.join(", "),
            ByteSize(facts.tftp_bytes)
        );
    }
    for warning in &facts.warnings {
        text.push_str("\nNote: ");
        text.push_str(warning);
    }
    text
}

/// What a file that is neither archive nor image may be.
fn hint(first: &[u8]) -> &'static str {
    if first.starts_with(b"hsqs") {
        "; it is a squashfs: unpack it (`unsquashfs`) and import the folder"
    } else if first.get(1080..1082) == Some(&[0x53, 0xef]) {
        "; it is an ext4 file system without a partition table: mount it and import the folder"
    } else if first.starts_with(b"!<arch>\n") {
        "; it is a Debian package"
    } else if first.starts_with(b"<") {
        "; it is a web page: the download went wrong"
    } else {
        ""
    }
}

/// Reads a SHA-256 as `sha256sum` prints it.
pub fn parse_sum(text: &str) -> Result<Sum, BadSum> {
    let bad = || BadSum(text.chars().take(80).collect());
    let digits = text.trim().as_bytes();
    if digits.len() != 64 {
        return Err(bad());
    }
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(digits.chunks(2)) {
        let pair =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        *byte = u8::from_str_radix(pair.ok_or_else(bad)?, 16).map_err(|_| bad())?;
    }
    Ok(sum)
}

/// The text was no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256; it has 64 hex digits, as `sha256sum` prints them")]
pub struct BadSum(pub String);

/// Memory that can be had without pushing others out, in bytes (proc(5), `MemAvailable`).
pub(super) fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(64 * 1024_u64) * 1024
}

/// The folder of one job, gone when the job is.
pub(super) struct Staging(PathBuf);

impl Staging {
    pub(super) fn new(path: PathBuf) -> Result<Self, ImportError> {
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| ImportError::Staging { folder: path.clone(), source })?;
        Ok(Self(path))
    }

    pub(super) fn folder(&self, name: &str, mode: u32) -> Result<PathBuf, ImportError> {
        let path = self.0.join(name);
        let made = DirBuilder::new().mode(mode).create(&path);
        made.map_err(|source| ImportError::Staging { folder: path.clone(), source })?;
        Ok(path)
    }
}

impl Staging {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether holes can be made in files here.
    fn can_punch(&self) -> bool {
        let path = self.0.join("hole");
        let punched = File::create_new(&path).and_then(|file| {
            file.set_len(1 << 16)?;
            extents::punch(&file, 0, 1 << 16)
        });
        let _ = std::fs::remove_file(&path);
        punched.is_ok()
    }

    /// An empty file, to find out what the file system can do.
    pub(super) fn probe(&self, name: &str) -> io::Result<File> {
        File::options().write(true).create_new(true).open(self.0.join(name))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::error!(path = %self.0.display(), %error, "folder of an import cannot be deleted; the next start tries again");
        }
    }
}

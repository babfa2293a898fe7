//! Brings an operating system in: from an archive, a disk image or a folder to a published version.
//!
//! The source is only read. Everything is written into a folder of the job's own beside the images; whatever ends the
//! job before its tree is complete takes that folder with it, and a power cut leaves it to the next start.
//! What can be known before work begins (the place, free memory, free space) is refused before it begins.
#![expect(clippy::disallowed_methods, reason = "an import notes when it was done, on its own thread")]

use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;

use super::Facts;
use super::archive::{self, ArchiveError};
use super::copy::{self, CopyError};
use super::disk::{self, DiskError};
use super::drafts::DraftError;
use super::fat::FatError;
use super::inspect::{InspectError, inspect};
use super::library::{Library, LibraryError, Ready};
use super::plant::{PlantError, Planted, Planter, Sink};
use super::publish::PublishError;
use super::source::{self, Opened, Source, SourceError, Sum, Sums};
use super::squash::SquashError;
use crate::proto::manifest::Head;
use crate::proto::packed::Packing;
use crate::service::jobs::{Cancelled, JobError, Stopped, Task};
use crate::types::{ByteSize, ImageName, Moment, Version, limits};

/// What somebody asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// A path on this machine: archive, disk image or folder.
    pub source: String,
    pub name: ImageName,
    /// What the checksums must be, where the publisher gives them. A catalogue of Raspberry Pi's names that of the
    /// image inside the .xz file (`extract_sha256`); a file beside a download is usually that of the download.
    pub expect: Sums,
}

/// Why an image was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "there is not enough room: {doing} `{source_name}` takes about {needed}{}, and `{}` has {free} free; remove images that nobody boots (`bramble image list`), or use a larger disk",
        if *.unpacked_too { " (the unpacked image for the time of the import, and its files)" } else { "" }, folder.display()
    )]
    Space {
        doing: &'static str,
        source_name: String,
        needed: ByteSize,
        unpacked_too: bool,
        free: ByteSize,
        folder: PathBuf,
    },
    #[error("the disk is full: `{}` has no room left for `{source_name}`; nothing was kept. Remove images that nobody boots (`bramble image list`), or use a larger disk", folder.display())]
    Full { source_name: String, folder: PathBuf },
    #[error(
        "`{source_name}` has the SHA-256 {found}, and {wanted} was expected{}; the download is damaged or is another file, download it again",
        if *.of_content { " (of its unpacked content)" } else { "" }
    )]
    Sum { source_name: String, found: String, wanted: String, of_content: bool },
    #[error("a folder has no SHA-256; import it without one")]
    SumOfFolder,
    #[error("`{source_name}` is neither an archive (.tar) nor a disk image (.img){hint}")]
    Unknown { source_name: String, hint: &'static str },
    #[error(
        "`{source_name}` cannot be unpacked; it is damaged or was not downloaded completely, download it again"
    )]
    Unpack {
        source_name: String,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be used for the import", folder.display())]
    Staging {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Archive(ArchiveError),
    #[error(transparent)]
    Copy(CopyError),
    #[error(transparent)]
    Disk(DiskError),
    #[error(transparent)]
    Plant(PlantError),
    #[error(transparent)]
    Squash(SquashError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<ArchiveError> for ImportError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            ArchiveError::Plant(error) => Self::Plant(error),
            other => Self::Archive(other),
        }
    }
}

impl From<DiskError> for ImportError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Cancelled(cancelled) | DiskError::Fat(FatError::Cancelled(cancelled)) => {
                Self::Cancelled(cancelled)
            }
            DiskError::Plant(error) | DiskError::Fat(FatError::Plant(error)) => Self::Plant(error),
            DiskError::Copy(error) => error.into(),
            other => Self::Disk(other),
        }
    }
}

impl From<CopyError> for ImportError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            CopyError::Plant(error) => Self::Plant(error),
            other => Self::Copy(other),
        }
    }
}

impl ImportError {
    /// Whether the disk, or a quota on it, is the reason.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Plant(error) => error.is_full(),
            Self::Staging { source, .. } | Self::Squash(SquashError::Write(source)) => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// Room that must be left over, in bytes: the database, logs, and what clients write.
const SPARE: u64 = 32 << 20;

impl Library {
    /// Starts an import and answers with its job. What cannot work is refused here where it can be known at once.
    pub fn import(&self, request: Request) -> Result<u64, ImportError> {
        let opened = source::open(&request.source)?;
        match &opened {
            Opened::Folder(_) if request.expect != Sums::default() => return Err(ImportError::SumOfFolder),
            Opened::Folder(_) => {}
            Opened::File(file) => {
                file.check_memory(available_memory())?;
                self.check_space(&request, file.unpacked.unwrap_or(file.bytes), false)?;
            }
        }
        let library = self.clone();
        let subject = request.name.to_string();
        let id = self.jobs.start_with_id("import", subject, |job| {
            move |task: &Task| library.run(&request, opened, job, task).map_err(stopped)
        })?;
        Ok(id)
    }

    fn run(&self, request: &Request, opened: Opened, job: u64, task: &Task) -> Result<String, ImportError> {
        let staging = Staging::new(self.folder.join(format!(".incoming-{job}")))?;
        let tree = staging.folder("tree", 0o755)?;
        let mut exported = None;
        let written = match opened {
            Opened::Folder(from) => self.take_folder(request, &from, &tree, task),
            Opened::File(file) => self.take_file(request, file, &staging, &tree, &mut exported, task),
        };
        let (planted, sums) = written.map_err(|error| self.full_or_else(&request.source, error))?;
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
        let image = self.publish(&Ready {
            tree: &tree,
            name: &request.name,
            source: &request.source,
            note: exported.as_ref().map_or("", |exported| exported.note.as_str()),
            current: true,
            sha256: sums.file.map(hex).as_deref(),
            bytes: planted.bytes,
            files: planted.files,
            facts: facts.clone(),
            at: Moment::from(SystemTime::now()),
        })?;
        self.measure(&Task::unwatched());
        let mut told = told(&image.to_string(), &facts, planted, before);
        if let Some(Head { name, version, bramble, made_at, .. }) = exported {
            let _ = write!(
                told,
                "\nNote: it is {name}@{version} as Bramble {bramble} exported it on {made_at} UTC, whole and unchanged."
            );
        }
        Ok(told)
    }

    fn take_folder(
        &self,
        request: &Request,
        from: &Path,
        tree: &Path,
        task: &Task,
    ) -> Result<(Planted, Sums), ImportError> {
        task.phase("measuring", 0)?;
        let bytes = copy::measure(from, task)?;
        self.check_space(request, bytes, false)?;
        task.phase("copying", bytes)?;
        let mut planter = self.planter(tree)?;
        copy::copy(from, &mut planter, task)?;
        Ok((finish(planter, task)?, Sums::default()))
    }

    fn take_file(
        &self,
        request: &Request,
        file: Source,
        staging: &Staging,
        tree: &Path,
        exported: &mut Option<Head>,
        task: &Task,
    ) -> Result<(Planted, Sums), ImportError> {
        let damaged = |source| ImportError::Unpack { source_name: request.source.clone(), source };
        let in_place = file.packing == Packing::None && disk::is_disk(&file.first(2048).map_err(damaged)?);
        if in_place {
            let (disk, sums) = checked(request, file, task)?;
            return self.take_disk(request, &disk, staging, tree, sums, task);
        }
        task.phase("unpacking", file.bytes)?;
        let unpacked = file.unpacked;
        let mut content = file.unpack(request.expect, available_memory(), task).map_err(damaged)?;
        let mut first = vec![0; 2048];
        let got = archive::fill(&mut content, &mut first).map_err(damaged)?;
        first.truncate(got);
        if archive::is_header(&first) {
            let mut planter = self.planter(tree)?;
            let mut whole = first.as_slice().chain(&mut content);
            *exported = archive::unpack(&mut whole, &mut planter, task).map_err(|error| match error {
                // What the decoder says, not what it made of the archive.
                ArchiveError::Read { source, .. } => damaged(source),
                other => other.into(),
            })?;
            let sums = content.finish(task).map_err(damaged)?;
            check_sums(request, sums)?;
            return Ok((finish(planter, task)?, sums));
        }
        if !disk::is_disk(&first) {
            return Err(ImportError::Unknown { source_name: request.source.clone(), hint: hint(&first) });
        }
        // Room for the unpacked image and for its files, which take nearly as much.
        self.check_space(request, unpacked.unwrap_or(0).saturating_mul(2), true)?;
        let disk = self.unpack_disk(&mut first.as_slice().chain(&mut content), staging, task, damaged)?;
        let sums = content.finish(task).map_err(damaged)?;
        check_sums(request, sums)?;
        self.take_disk(request, &disk, staging, tree, sums, task)
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

    fn take_disk(
        &self,
        request: &Request,
        disk: &File,
        staging: &Staging,
        tree: &Path,
        sums: Sums,
        task: &Task,
    ) -> Result<(Planted, Sums), ImportError> {
        let layout = disk::layout(disk)?;
        let mount = staging.folder("mount", 0o700)?;
        let mut planter = self.planter(tree)?;
        let check = |used| self.check_space(request, used, false);
        disk::copy(disk, layout, &mount, &mut planter, task, check)?;
        Ok((finish(planter, task)?, sums))
    }

    pub(super) fn planter(&self, tree: &Path) -> Result<Planter, ImportError> {
        Planter::new(tree)
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
fn checked(request: &Request, file: Source, task: &Task) -> Result<(File, Sums), ImportError> {
    let failed = |source| ImportError::Unpack { source_name: request.source.clone(), source };
    let disk = file.file().map_err(failed)?;
    if request.expect != Sums::default() {
        task.phase("checking", file.bytes)?;
        let content = file.unpack(request.expect, available_memory(), task).map_err(failed)?;
        let sums = content.finish(task).map_err(failed)?;
        check_sums(request, sums)?;
        return Ok((disk, sums));
    }
    Ok((disk, Sums::default()))
}

fn check_sums(request: &Request, found: Sums) -> Result<(), ImportError> {
    let rows = [(request.expect.file, found.file, false), (request.expect.content, found.content, true)];
    for (wanted, found, of_content) in rows {
        if let (Some(wanted), Some(found)) = (wanted, found)
            && wanted != found
        {
            let source_name = request.source.clone();
            return Err(ImportError::Sum { source_name, found: hex(found), wanted: hex(wanted), of_content });
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

fn hex(sum: Sum) -> String {
    sum.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

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

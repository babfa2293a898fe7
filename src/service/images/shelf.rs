//! Exported images in a folder, made a catalogue that another Bramble reads ([`proto::catalogue`](crate::proto::catalogue)).
//!
//! The list stands beside the files and names them without a path; so the folder can be carried away on a disk, or be put where
//! a web server has it. Of several exports of one image the newest is listed: whoever imported an older one is told of it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::archive::{Archive, ArchiveError};
use super::import::available_memory;
use super::source::{self, Opened, SourceError, Sum, Sums};
use crate::proto::catalogue::{Entry, Link, can_name, tags, write};
use crate::proto::manifest::{HEAD, Head};
use crate::service::jobs::Task;
use crate::sys;
use crate::types::{ImageVersion, Moment, chain, limits};

/// Name of the list in its folder.
pub const LIST: &str = "catalogue.json";

/// How names of exports end that a catalogue offers.
const ENDINGS: [&str; 2] = [".tar.zst", ".tar.xz"];

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    pub list: PathBuf,
    pub images: Vec<Offered>,
    /// Files that are not in the list, and why.
    pub left_out: Vec<LeftOut>,
}

/// One image in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offered {
    pub image: ImageVersion,
    pub file: String,
    pub bytes: u64,
}

/// A file that is not in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub file: String,
    pub why: String,
}

/// Why no list was written.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("`{}` cannot be used", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "there is no exported image in `{at}` that could be listed; `bramble image export IMAGE {at}/IMAGE.tar.zst` makes one",
        at = folder.display()
    )]
    Empty { folder: PathBuf },
}

/// Why a file is not in the list.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is no image that a Bramble exported")]
    NoExport,
    #[error("no list can name it; use only letters, digits, `.`, `-` and `_`")]
    Name,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// Lists the exports in `folder`, which are read from end to end, in a file beside them.
pub fn write_list(folder: &Path, task: &Task) -> Result<Written, ShelfError> {
    let failed = |source| ShelfError::Folder { folder: folder.to_owned(), source };
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for name in exports(folder).map_err(failed)? {
        match head(&folder.join(&name)) {
            Ok(head) if can_name(&name) => found.push((name, head)),
            Ok(_) => left_out.push(LeftOut { file: name, why: Unfit::Name.to_string() }),
            Err(error) => left_out.push(LeftOut { file: name, why: chain(&error) }),
        }
    }
    found.sort_by(|(_, one), (_, other)| {
        one.name.cmp(&other.name).then((other.made_at, other.version).cmp(&(one.made_at, one.version)))
    });
    let (mut entries, mut images): (Vec<Entry>, Vec<Offered>) = (Vec::new(), Vec::new());
    for (file, head) in found {
        let newer = images.last().filter(|newer| newer.image.name == head.name);
        if let Some(newer) = newer {
            let why = format!("`{}` is a newer export of `{}`", newer.file, head.name);
            left_out.push(LeftOut { file, why });
            continue;
        }
        match entry(folder, &file, &head, task) {
            Ok(entry) => {
                let image = ImageVersion { name: head.name, version: head.version };
                images.push(Offered { image, file, bytes: entry.file_bytes.unwrap_or(0) });
                entries.push(entry);
            }
            Err(error) => left_out.push(LeftOut { file, why: chain(&Unfit::Read(error)) }),
        }
    }
    if entries.is_empty() {
        return Err(ShelfError::Empty { folder: folder.to_owned() });
    }
    let list = folder.join(LIST);
    sys::whole::put(&list, 0o644, |file| file.write_all(&write(&entries))).map_err(failed)?;
    Ok(Written { list, images, left_out })
}

/// Names of files that may be exports, in order.
fn exports(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for found in fs::read_dir(folder)? {
        let found = found?;
        let Ok(name) = found.file_name().into_string() else { continue };
        if found.file_type()?.is_file() && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What an export says of itself.
pub(super) fn head(path: &Path) -> Result<Head, Unfit> {
    let Opened::File(file) = source::open(&path.to_string_lossy())? else { return Err(Unfit::NoExport) };
    let memory = available_memory();
    file.check_memory(memory)?;
    let mut content = file.unpack(Sums::default(), memory, &Task::unwatched()).map_err(Unfit::Read)?;
    let mut archive = Archive::new(&mut content);
    match archive.next_entry()? {
        Some(first) if first.path == Path::new(HEAD) => {
            let note = archive.small(&first, limits::IMAGE_MANIFEST)?;
            Ok(Head::decode(&note).map_err(ArchiveError::from)?)
        }
        _ => Err(Unfit::NoExport),
    }
}

fn entry(folder: &Path, file: &str, head: &Head, task: &Task) -> io::Result<Entry> {
    let path = folder.join(file);
    let (bytes, sum) = summed(&path, task)?;
    let mut description = format!("{}, {}", head.release, head.arch);
    if !head.note.is_empty() {
        description = format!("{description}: {}", head.note);
    }
    Ok(Entry {
        name: head.name.to_string(),
        description,
        headings: Vec::new(),
        place: Link::File(path),
        // A router that did not know the day says nothing of it.
        released: if head.made_at < Moment::CLOCK_SET { String::new() } else { head.made_at.date() },
        file_bytes: Some(bytes),
        content_bytes: None,
        file_sum: Some(sum),
        content_sum: None,
        devices: tags(head.arch),
    })
}

/// Length and checksum of a file.
fn summed(path: &Path, task: &Task) -> io::Result<(u64, Sum)> {
    let (mut file, mut sum, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut piece = vec![0; limits::UNPACKED_PIECE];
    loop {
        task.go_on().map_err(io::Error::other)?;
        let got = file.read(&mut piece)?;
        if got == 0 {
            return Ok((bytes, sum.finalize().into()));
        }
        sum.update(piece.get(..got).unwrap_or_default());
        bytes += got as u64;
    }
}

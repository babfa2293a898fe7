//! What an interruption left behind: taken away, or put on record.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{Library, LibraryError, Ready};
use crate::service::images::inspect::inspect;
use crate::service::images::{NUMBERS, PACKED, copy};
use crate::service::jobs::{Stopped, Task};
use crate::store::Store;
use crate::store::images::VersionRow;
use crate::types::{ImageName, ImageVersion, Moment, Version};

impl Library {
    /// Deletes what interrupted imports and removals left, in a job: it may be gigabytes.
    pub(super) fn clean_up(&self, rows: &[VersionRow]) -> Result<(), LibraryError> {
        for prefix in [".incoming-", ".removing-"] {
            let found = left_behind(&self.folder, prefix).map_err(LibraryError::Folder)?;
            if !found.is_empty() {
                tracing::warn!(folders = found.len(), prefix, "deleting what an interruption left behind");
                self.sweep(prefix, format!("{prefix}*"))?;
            }
        }
        for entry in fs::read_dir(&*self.folder).map_err(LibraryError::Folder)? {
            let image = entry.map_err(LibraryError::Folder)?.path();
            if image.is_dir() {
                delete_lone(&image, rows).map_err(LibraryError::Folder)?;
            }
        }
        Ok(())
    }

    /// Puts trees without a row on record again.
    pub(super) fn adopt(&self, rows: &[VersionRow], now: Moment) -> Result<(), LibraryError> {
        for entry in fs::read_dir(&*self.folder).map_err(LibraryError::Folder)? {
            let entry = entry.map_err(LibraryError::Folder)?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<ImageName>().ok())
            else {
                continue;
            };
            for number in numbers(&entry.path()) {
                let image = ImageVersion { name: name.clone(), version: Version(number) };
                if rows.iter().any(|row| row.image == image) {
                    continue;
                }
                tracing::warn!(image = %image, "tree without a record; it is put on record again");
                // From here on it is not imported once more: it is here.
                let made_by = Record::read(&record_beside(&self.path(&image))).and_then(|record| record.job);
                made_by.map(|job| self.store.import_forget(job)).transpose()?;
                let library = self.clone();
                self.jobs
                    .start("adopt", image.to_string(), move |task| library.adopt_one(&image, now, task))?;
            }
        }
        Ok(())
    }

    fn adopt_one(&self, image: &ImageVersion, now: Moment, task: &Task) -> Result<String, Stopped> {
        let root = self.path(image);
        let facts = inspect(&root).map_err(|error| Stopped::because(&error))?;
        let bytes = copy::measure(&root, task).map_err(|error| Stopped::because(&error))?;
        let name = image.name.clone();
        let known = Record::read(&record_beside(&root));
        let done = match &known {
            Some(_) => format!("`{image}` was on the disk and not yet on record; now it is"),
            None => format!(
                "`{image}` was on the disk without a record; it can be booted again (`bramble image promote {image}` has its clients boot it)"
            ),
        };
        let record = known.unwrap_or_else(|| Record {
            source: "found on the disk".to_owned(),
            note: String::new(),
            // Whether it was to be everybody's is not known: a person decides.
            current: false,
            sha256: None,
            bytes,
            files: 0,
            at: now,
            job: None,
            origin: None,
        });
        let ready = Ready {
            tree: &root,
            name: &name,
            source: &record.source,
            note: &record.note,
            current: record.current,
            sha256: record.sha256.as_deref(),
            bytes: record.bytes,
            files: record.files,
            facts,
            at: record.at,
            job: record.job,
            origin: record.origin.as_deref(),
        };
        self.record(image, &ready, Store::image_publish).map_err(|error| Stopped::because(&error))?;
        if let Some(tree) = self.images.version(image) {
            self.load_packed(&tree);
        }
        Ok(done)
    }
}

/// Folders below `folder` whose names are version numbers.
pub(super) fn numbers(folder: &Path) -> impl Iterator<Item = NonZeroU32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        // `01` is not a name that Bramble gives.
        name.parse::<NonZeroU32>().ok().filter(|number| number.to_string() == name)
    })
}

/// Deletes what belongs to trees that are no more in the folder of an image, and what is to be put on record of trees that are
/// no more or that are on record; and the folder if nothing is left in it.
fn delete_lone(image: &Path, rows: &[VersionRow]) -> io::Result<()> {
    let is_known = |version: &str| {
        let name = image.file_name().and_then(|name| name.to_str());
        rows.iter()
            .any(|row| Some(row.image.name.as_str()) == name && row.image.version.to_string() == version)
    };
    for file in left_behind(image, ".")? {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let hidden = name.strip_prefix('.').unwrap_or_default();
        let gone = |version: &str| !image.join(version).exists();
        if [NUMBERS, PACKED].iter().any(|ending| hidden.strip_suffix(ending).is_some_and(gone))
            || hidden.strip_suffix(RECORD).is_some_and(|version| gone(version) || is_known(version))
        {
            delete(&file)?;
            // Fails, and may, when there are other versions.
            let _ = std::fs::remove_dir(image);
        }
    }
    Ok(())
}

/// How the names of files end that have what a row will say.
const RECORD: &str = ".record";

pub(super) fn record_beside(root: &Path) -> PathBuf {
    let name = root.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    root.with_file_name(format!(".{name}{RECORD}"))
}

/// What the row of a version will say, besides what its tree tells by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    source: String,
    note: String,
    current: bool,
    sha256: Option<String>,
    bytes: u64,
    files: u64,
    at: Moment,
    job: Option<u64>,
    origin: Option<String>,
}

impl Record {
    pub(super) fn of(ready: &Ready<'_>) -> Self {
        Self {
            source: ready.source.to_owned(),
            note: ready.note.to_owned(),
            current: ready.current,
            sha256: ready.sha256.map(str::to_owned),
            bytes: ready.bytes,
            files: ready.files,
            at: ready.at,
            job: ready.job,
            origin: ready.origin.map(str::to_owned),
        }
    }

    /// Writes it, and has it on the disk.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        serde_json::to_writer(&mut file, self)?;
        file.sync_all()
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// Deletes a file that need not be there.
pub(in crate::service::images) fn delete(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn left_behind(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

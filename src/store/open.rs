//! Opening the file: made whole or not at all, checked before it is used, set aside when it is damaged.
//!
//! The folder then holds `bramble.db`, its `-wal` and `-shm`, `bramble.db.schema-<n>` from before an upgrade, and
//! `bramble.db.corrupt-<n>` with theirs.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;
use super::migrate::{Migration, migrate};
use crate::sys;

/// `PRAGMA application_id` of our files: "Bram".
const APPLICATION: i32 = 0x4272_616d;

/// What every SQLite file begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Smallest page of SQLite: a shorter file has lost its end.
const SMALLEST: u64 = 512;

/// Set aside more often than this, files of the same name are somebody's experiment.
const ASIDE: u32 = 1000;

/// Opens the database at `path`; see [`super::Store::open`].
pub(super) fn open(path: &Path, steps: &[Migration]) -> Result<Connection, StoreError> {
    if !path.exists() {
        if let Some(aside) = last_aside(path) {
            return Err(StoreError::SetAside { path: path.to_owned(), aside });
        }
        create(path, steps)?;
    }
    let mut db = match checked(path) {
        Ok(db) => db,
        Err(Fault::Other(error)) => return Err(error),
        Err(Fault::Damage(reason)) => {
            let aside = set_aside(path)?;
            return Err(StoreError::Damaged { path: path.to_owned(), aside, reason });
        }
    };
    migrate(&mut db, path, steps)?;
    Ok(db)
}

/// What a person can do about a damaged database.
pub(super) fn ways_out(path: &Path, aside: &Path) -> String {
    format!(
        "either put a copy of yours in its place (`cp COPY {}`), or go on with an empty one, in which leases, images and \
         the past are forgotten (`mv {} {}.kept`); then start Bramble again",
        path.display(),
        aside.display(),
        aside.display()
    )
}

enum Fault {
    Damage(String),
    Other(StoreError),
}

/// Makes a new database under another name first: `bramble.db` is never half a file.
fn create(path: &Path, steps: &[Migration]) -> Result<(), StoreError> {
    let new = path.with_added_extension("new");
    let open = |source| StoreError::Open { path: new.clone(), source };
    // A `-wal` without its database would be read into the new one.
    for leftover in [&new, &beside(&new, "-journal"), &beside(path, "-wal"), &beside(path, "-shm")] {
        let _ = fs_err::remove_file(leftover);
    }
    let mut db = Connection::open(&new).map_err(open)?;
    db.pragma_update(None, "application_id", APPLICATION).map_err(open)?;
    migrate(&mut db, &new, steps)?;
    db.close().map_err(|(_, error)| open(error))?;
    file(path, "made", fs_err::rename(&new, path))?;
    file(path, "synced", sys::whole::sync_folder_of(path))
}

/// The open database, after a look at every page.
fn checked(path: &Path) -> Result<Connection, Fault> {
    header(path)?;
    let doubt = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Damage(source.to_string()),
        _ => Fault::Other(StoreError::Open { path: path.to_owned(), source }),
    };
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(doubt)?;
    // A few hundred KiB of cache and no mapped file: the daemon has 12 MB to live in.
    db.execute_batch(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 200; PRAGMA journal_size_limit = 262144; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -512; PRAGMA foreign_keys = ON;",
    )
    .map_err(doubt)?;
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(doubt)?;
    if verdict != "ok" {
        return Err(Fault::Damage(verdict));
    }
    let owner: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(doubt)?;
    if owner != APPLICATION {
        return Err(Fault::Other(StoreError::Foreign { path: path.to_owned() }));
    }
    Ok(db)
}

/// What SQLite would overlook: it takes an empty file for a new database.
fn header(path: &Path) -> Result<(), Fault> {
    let read = || -> std::io::Result<(u64, Vec<u8>)> {
        let mut file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        let mut begin = Vec::new();
        file.by_ref().take(HEADER.len() as u64).read_to_end(&mut begin)?;
        Ok((length, begin))
    };
    let (length, begin) = read()
        .map_err(|source| Fault::Other(StoreError::File { path: path.to_owned(), doing: "read", source }))?;
    if length < SMALLEST {
        return Err(Fault::Damage(format!("it is only {length} bytes long")));
    }
    if begin != HEADER {
        return Err(Fault::Damage("it does not begin as a database does".to_owned()));
    }
    Ok(())
}

/// Renames the database and what belongs to it, so that nothing writes to it any more.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let free = (1..=ASIDE).map(|number| aside(path, number)).find(|aside| !aside.exists());
    let aside = free.unwrap_or_else(|| aside(path, ASIDE));
    // First these: a `-wal` left behind would be read into whatever is put in the place of its database.
    for ending in ["-wal", "-shm"] {
        let part = beside(path, ending);
        if part.exists() {
            file(&part, "set aside", fs_err::rename(&part, beside(&aside, ending)))?;
        }
    }
    file(path, "set aside", fs_err::rename(path, &aside))?;
    file(path, "synced", sys::whole::sync_folder_of(path))?;
    Ok(aside)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    path.with_added_extension(format!("corrupt-{number}"))
}

/// The newest database that was set aside and that nobody has decided about.
fn last_aside(path: &Path) -> Option<PathBuf> {
    (1..=ASIDE).rev().map(|number| aside(path, number)).find(|aside| aside.exists())
}

/// `bramble.db` and `-wal` make `bramble.db-wal`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(ending);
    name.into()
}

fn file(path: &Path, doing: &'static str, result: std::io::Result<()>) -> Result<(), StoreError> {
    result.map_err(|source| StoreError::File { path: path.to_owned(), doing, source })
}

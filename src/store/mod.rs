//! The one SQLite file, and the only SQL of the crate.
//!
//! Facts that Bramble keeps track of itself: leases, Pis seen, images, boots, jobs, events. What a person decides is in
//! `/etc/config/bramble` and never here.
//!
//! One connection, behind a mutex: there is one writer, so nothing is ever retried. A call takes as long as the disk
//! does: async code makes it on a blocking thread.
//!
//! A database that cannot be used is never replaced by an empty one: [`open`](Store::open) says what is wrong and what
//! the ways out are.

pub mod accounts;
pub mod backup;
pub mod clients;
pub mod directory;
pub mod drafts;
pub mod eeproms;
pub mod events;
pub mod exports;
pub mod homes;
pub mod image_life;
pub mod images;
pub mod imports;
pub mod jobs;
pub mod kept;
pub mod leases;
pub mod migrate;
mod open;
pub mod place;
pub mod secrets;
pub mod session_history;
pub mod sessions;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction};

/// The open database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    db: Arc<Mutex<Connection>>,
    path: Arc<Path>,
}

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the database `{path}` cannot be opened; check that the disk is mounted and has space, and who owns the file"
    )]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("`{path}` cannot be {doing}; check that the disk is mounted, writable and has space")]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the database `{path}` is damaged ({reason}) and has been set aside as `{aside}`; {}",
        open::ways_out(path, aside)
    )]
    Damaged { path: PathBuf, aside: PathBuf, reason: String },
    #[error(
        "there is no database `{path}`, but a damaged one that was set aside as `{aside}`; {}",
        open::ways_out(path, aside)
    )]
    SetAside { path: PathBuf, aside: PathBuf },
    #[error(
        "`{path}` is a database of another program; choose another folder with `option data`, or move the file away"
    )]
    Foreign { path: PathBuf },
    #[error(transparent)]
    Migrate(#[from] migrate::MigrateError),
    #[error("the database refused to {doing}")]
    Query {
        doing: &'static str,
        #[source]
        source: rusqlite::Error,
    },
}

/// How much must be on the disk before a transaction counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a killed process; the last moments before a power cut may be lost. For what the network can tell us
    /// again: renewals, events, progress.
    Process,
    /// Survives a power cut. For what must not be given twice or lost: bindings, accounts, images.
    Power,
}

impl Store {
    /// Opens `<data>/bramble.db`, or makes it if there never was one, and brings its schema up to date.
    ///
    /// A damaged file is set aside, and then this fails until a person has decided how to go on.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = open::open(path, migrate::MIGRATIONS)?;
        Ok(Self { db: Arc::new(Mutex::new(db)), path: path.into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in one transaction: all of it, or nothing.
    pub fn write<T>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let query = |source| StoreError::Query { doing, source };
        let level = match durability {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        db.pragma_update(None, "synchronous", level).map_err(query)?;
        let tx = db.transaction().map_err(query)?;
        let value = work(&tx).map_err(query)?;
        tx.commit().map_err(query)?;
        Ok(value)
    }

    /// Runs `work`, which only reads.
    pub fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        work(&db).map_err(|source| StoreError::Query { doing, source })
    }
}

//! The one SQLite file, and the only SQL of the crate.
//!
//! Facts that Bramble keeps track of itself: leases, Pis seen, images, boots, jobs, events. What a person decides is in
//! `/etc/config/bramble` and never here.
//!
//! One connection, behind a mutex: there is one writer, so nothing is ever retried. Callers in async code go through
//! [`Store::run`], which moves the work to a blocking thread.

pub mod clients;
pub mod events;
pub mod images;
pub mod jobs;
pub mod leases;
pub mod migrate;
pub mod place;

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
    #[error("the database `{path}` cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
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
    /// Opens `<data>/bramble.db`, brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let mut db = Connection::open(path).map_err(open)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 200;
             PRAGMA journal_size_limit = 262144; PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -512; PRAGMA foreign_keys = ON;",
        )
        .map_err(open)?;
        migrate::migrate(&mut db, migrate::MIGRATIONS)?;
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

//! SQL of what is on its way in: imports that are not over, uploads, and the entries of catalogues that images came from.

use rusqlite::{OptionalExtension as _, Row, params};

use super::jobs::JobState;
use super::{Durability, Store, StoreError};
use crate::types::Moment;

/// An import that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub job: u64,
    /// JSON of what was asked for.
    pub request: String,
    /// How often it has been begun.
    pub begun: u32,
}

/// A file that comes in slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    pub id: u64,
    pub name: String,
    pub bytes: u64,
    pub mark: String,
    pub started_at: Moment,
}

impl UploadRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            bytes: row.get(2)?,
            mark: row.get(3)?,
            started_at: Moment::from_millis(row.get(4)?),
        })
    }
}

const UPLOADS: &str = "SELECT id, name, bytes, mark, started_at FROM upload";

impl Store {
    /// Keeps what was asked for until the job is over.
    pub fn import_keep(&self, job: u64, request: &str, begun: u32) -> Result<(), StoreError> {
        self.write("keep an import", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO import (job, request, begun) VALUES (?1, ?2, ?3)",
                params![job, request, begun],
            )
            .map(drop)
        })
    }

    /// Notes that it has been begun `begun` times.
    pub fn import_begun(&self, job: u64, begun: u32) -> Result<(), StoreError> {
        self.write("note that an import begins", Durability::Power, |tx| {
            tx.execute("UPDATE import SET begun = ?2 WHERE job = ?1", params![job, begun]).map(drop)
        })
    }

    pub fn import_forget(&self, job: u64) -> Result<(), StoreError> {
        self.write("forget an import", Durability::Power, |tx| {
            tx.execute("DELETE FROM import WHERE job = ?1", params![job]).map(drop)
        })
    }

    /// Imports whose jobs were interrupted, in the order in which they were asked for. Those that were cancelled while they
    /// waited are forgotten.
    pub fn imports_kept(&self) -> Result<Vec<Kept>, StoreError> {
        self.write("list the imports", Durability::Process, |db| {
            let interrupted = JobState::Interrupted.as_str();
            db.execute(
                "DELETE FROM import WHERE job NOT IN (SELECT id FROM job WHERE state = ?1)",
                [interrupted],
            )?;
            db.prepare("SELECT job, request, begun FROM import ORDER BY job")?
                .query_map([], |row| Ok(Kept { job: row.get(0)?, request: row.get(1)?, begun: row.get(2)? }))?
                .collect()
        })
    }

    /// Other words for a job that was interrupted.
    pub fn job_says(&self, job: u64, message: &str) -> Result<(), StoreError> {
        self.write("note what became of a job", Durability::Process, |tx| {
            tx.execute(
                "UPDATE job SET message = ?2 WHERE id = ?1 AND state = ?3",
                params![job, message, JobState::Interrupted.as_str()],
            )
            .map(drop)
        })
    }

    /// Images that came from a catalogue, and the JSON of the entry.
    pub fn image_origins(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read("list where images came from", |db| {
            db.prepare("SELECT name, origin FROM image WHERE origin IS NOT NULL ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    pub fn upload_add(&self, name: &str, bytes: u64, mark: &str, at: Moment) -> Result<u64, StoreError> {
        self.write("note an upload", Durability::Process, |tx| {
            tx.execute(
                "INSERT INTO upload (name, bytes, mark, started_at) VALUES (?1, ?2, ?3, ?4)",
                params![name, bytes, mark, at.millis()],
            )?;
            Ok(u64::try_from(tx.last_insert_rowid()).unwrap_or(0))
        })
    }

    /// All uploads, oldest first.
    pub fn uploads(&self) -> Result<Vec<UploadRow>, StoreError> {
        self.read("list the uploads", |db| {
            db.prepare(&format!("{UPLOADS} ORDER BY id"))?.query_map([], UploadRow::read)?.collect()
        })
    }

    pub fn upload(&self, id: u64) -> Result<Option<UploadRow>, StoreError> {
        self.read("look for an upload", |db| {
            db.query_row(&format!("{UPLOADS} WHERE id = ?1"), [id], UploadRow::read).optional()
        })
    }

    pub fn upload_remove(&self, id: u64) -> Result<(), StoreError> {
        self.write("forget an upload", Durability::Process, |tx| {
            tx.execute("DELETE FROM upload WHERE id = ?1", [id]).map(drop)
        })
    }
}

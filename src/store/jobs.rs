//! SQL of long work: what was started and how it ended.

use rusqlite::{Row, params};

use super::{Durability, Store, StoreError};
use crate::types::{Moment, limits};

/// How a job stands, in the words of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for the job before it.
    Queued,
    Running,
    Done,
    Failed,
    /// A person stopped it.
    Cancelled,
    /// Bramble stopped while it ran.
    Interrupted,
}

impl JobState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    fn from_word(word: &str) -> Self {
        [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
            .unwrap_or(Self::Interrupted)
    }

    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    pub id: u64,
    pub kind: String,
    pub subject: String,
    pub state: JobState,
    /// How it ended, in words; empty while it runs.
    pub message: String,
    pub started_at: Moment,
    pub ended_at: Option<Moment>,
}

impl JobRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            subject: row.get(2)?,
            state: JobState::from_word(row.get_ref(3)?.as_str()?),
            message: row.get(4)?,
            started_at: Moment::from_millis(row.get(5)?),
            ended_at: row.get::<_, Option<i64>>(6)?.map(Moment::from_millis),
        })
    }
}

const COLUMNS: &str = "SELECT id, kind, subject, state, message, started_at, ended_at FROM job";

impl Store {
    /// Notes a new job as queued and answers with its number. Old rows beyond [`limits::JOBS_KEPT`] go.
    pub fn job_add(&self, kind: &str, subject: &str, at: Moment) -> Result<u64, StoreError> {
        self.write("note a new job", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO job (kind, subject, state, message, started_at) VALUES (?1, ?2, 'queued', '', ?3)",
                params![kind, subject, at.millis()],
            )?;
            let id = tx.last_insert_rowid();
            tx.execute(
                "DELETE FROM job WHERE id <= ?1 - ?2 AND state NOT IN ('queued', 'running')",
                params![id, limits::JOBS_KEPT],
            )?;
            Ok(u64::try_from(id).unwrap_or(0))
        })
    }

    pub fn job_runs(&self, id: u64) -> Result<(), StoreError> {
        self.write("note that a job runs", Durability::Process, |tx| {
            tx.execute("UPDATE job SET state = 'running' WHERE id = ?1", params![id]).map(drop)
        })
    }

    pub fn job_ended(&self, id: u64, state: JobState, message: &str, at: Moment) -> Result<(), StoreError> {
        self.write("note how a job ended", Durability::Process, |tx| {
            tx.execute(
                "UPDATE job SET state = ?2, message = ?3, ended_at = ?4 WHERE id = ?1",
                params![id, state.as_str(), message, at.millis()],
            )
            .map(drop)
        })
    }

    /// Jobs that the last run of Bramble left unfinished; from now on they count as interrupted. One that has done what it was for
    /// already says so; the others get `message`.
    pub fn jobs_interrupt(&self, message: &str, at: Moment) -> Result<Vec<JobRow>, StoreError> {
        self.write("find interrupted jobs", Durability::Process, |tx| {
            let found = tx
                .prepare(&format!("{COLUMNS} WHERE state IN ('queued', 'running') ORDER BY id"))?
                .query_map([], JobRow::read)?
                .collect::<Result<Vec<_>, _>>()?;
            tx.execute(
                "UPDATE job SET state = 'interrupted', message = iif(message = '', ?1, message), ended_at = ?2
                 WHERE state IN ('queued', 'running')",
                params![message, at.millis()],
            )?;
            Ok(found)
        })
    }

    /// All jobs on record, newest first.
    pub fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        self.read("list jobs", |db| {
            db.prepare(&format!("{COLUMNS} ORDER BY id DESC LIMIT ?1"))?
                .query_map([limits::JOBS_KEPT], JobRow::read)?
                .collect()
        })
    }
}

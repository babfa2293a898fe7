//! Rows of `event`: the milestones of each client's timeline, oldest first, pruned to a fixed number.

use rusqlite::params;

use super::{Durability, Store, StoreError};
use crate::types::{MacAddr, Moment, limits};

/// A milestone as it is stored: what happened is JSON that only [`crate::service::events`] understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub at: Moment,
    pub client: MacAddr,
    pub kind: String,
    pub detail: String,
}

impl Store {
    /// Every stored milestone, oldest first.
    pub fn events(&self) -> Result<Vec<EventRow>, StoreError> {
        self.read("read the events", |db| {
            let mut query = db
                .prepare("SELECT at, client, kind, detail FROM event WHERE client IS NOT NULL ORDER BY id")?;
            let rows = query.query_map([], |row| {
                let client: String = row.get(1)?;
                let (at, kind, detail) = (Moment::from_millis(row.get(0)?), row.get(2)?, row.get(3)?);
                Ok(client.parse().ok().map(|client| EventRow { at, client, kind, detail }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Adds `rows` and deletes the oldest beyond [`limits::EVENTS_KEPT`].
    pub fn add_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        self.write("write the events", Durability::Process, |tx| {
            let mut add =
                tx.prepare("INSERT INTO event (at, client, kind, detail) VALUES (?1, ?2, ?3, ?4)")?;
            for row in rows {
                add.execute(params![row.at.millis(), row.client.to_string(), row.kind, row.detail])?;
            }
            // Numbers only grow, so the newest rows are the highest; a gap only makes fewer be kept.
            tx.execute(
                "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1",
                [limits::EVENTS_KEPT],
            )?;
            Ok(())
        })
    }

    pub fn forget_events(&self, client: MacAddr) -> Result<(), StoreError> {
        self.write("delete the events of a client", Durability::Process, |tx| {
            tx.execute("DELETE FROM event WHERE client = ?1", [client.to_string()])?;
            Ok(())
        })
    }
}

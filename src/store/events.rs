//! Rows of `event` and `boot_seen`: the milestones and the boots of each client, oldest first, pruned to a fixed number of each.

use std::collections::BTreeSet;

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

/// A boot as it is stored: JSON that only [`crate::service::boots`] understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRow {
    pub client: MacAddr,
    pub began_at: Moment,
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

    /// Every stored boot, oldest first.
    pub fn boots(&self) -> Result<Vec<BootRow>, StoreError> {
        self.read("read the boots", |db| {
            let mut query =
                db.prepare("SELECT client, began_at, detail FROM boot_seen ORDER BY client, began_at")?;
            let rows = query.query_map([], |row| {
                let client: String = row.get(0)?;
                let (began_at, detail) = (Moment::from_millis(row.get(1)?), row.get(2)?);
                Ok(client.parse().ok().map(|client| BootRow { client, began_at, detail }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Adds `rows`, and `boots` in place of what was known of them; of the same clients the oldest go beyond
    /// [`limits::EVENTS_KEPT`] and [`limits::BOOTS_KEPT`].
    pub fn add_events(&self, rows: &[EventRow], boots: &[BootRow]) -> Result<(), StoreError> {
        self.write("write the events", Durability::Process, |tx| {
            let mut add =
                tx.prepare("INSERT INTO event (at, client, kind, detail) VALUES (?1, ?2, ?3, ?4)")?;
            for row in rows {
                add.execute(params![row.at.millis(), row.client.to_string(), row.kind, row.detail])?;
            }
            let mut prune = tx.prepare(
                "DELETE FROM event WHERE client = ?1 AND id <= \
                 (SELECT id FROM event WHERE client = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?;
            for client in rows.iter().map(|row| row.client).collect::<BTreeSet<_>>() {
                prune.execute(params![client.to_string(), limits::EVENTS_KEPT])?;
            }
            let mut add = tx
                .prepare("INSERT OR REPLACE INTO boot_seen (client, began_at, detail) VALUES (?1, ?2, ?3)")?;
            for BootRow { client, began_at, detail } in boots {
                add.execute(params![client.to_string(), began_at.millis(), detail])?;
            }
            let mut prune = tx.prepare(
                "DELETE FROM boot_seen WHERE client = ?1 AND began_at <= \
                 (SELECT began_at FROM boot_seen WHERE client = ?1 ORDER BY began_at DESC LIMIT 1 OFFSET ?2)",
            )?;
            for client in boots.iter().map(|row| row.client).collect::<BTreeSet<_>>() {
                prune.execute(params![client.to_string(), limits::BOOTS_KEPT])?;
            }
            Ok(())
        })
    }

    pub fn forget_events(&self, client: MacAddr) -> Result<(), StoreError> {
        self.write("delete the events of a client", Durability::Process, |tx| {
            tx.execute("DELETE FROM event WHERE client = ?1", [client.to_string()])?;
            tx.execute("DELETE FROM boot_seen WHERE client = ?1", [client.to_string()])?;
            Ok(())
        })
    }
}

//! SQL of exports: archives of images, wherever somebody wanted them.

use std::path::{Path, PathBuf};

use rusqlite::{Row, params};

use super::{Durability, Store, StoreError};
use crate::types::{ImageVersion, Moment, Version, limits};

/// An export that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRow {
    pub path: PathBuf,
    pub image: ImageVersion,
    /// When all of it was on the disk; `None` until then.
    pub made_at: Option<Moment>,
}

impl ExportRow {
    /// `None` if it cannot be read.
    fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let (path, name, version): (String, String, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let made_at = row.get::<_, Option<i64>>(3)?.map(Moment::from_millis);
        let image =
            || Some(ImageVersion { name: name.parse().ok()?, version: Version(version.try_into().ok()?) });
        Ok(image().map(|image| Self { path: path.into(), image, made_at }))
    }
}

impl Store {
    /// Notes that `image` is about to be written to `path`.
    pub fn export_begins(&self, path: &Path, image: &ImageVersion) -> Result<(), StoreError> {
        self.write("note an export", Durability::Power, |tx| {
            tx.execute(
                "INSERT OR REPLACE INTO export (path, image, version) VALUES (?1, ?2, ?3)",
                params![path.to_string_lossy(), image.name.as_str(), image.version.0.get()],
            )?;
            tx.execute(
                "DELETE FROM export WHERE id NOT IN (SELECT id FROM export ORDER BY id DESC LIMIT ?1)",
                [limits::EXPORTS_KNOWN],
            )
            .map(drop)
        })
    }

    /// Notes that the export at `path` is whole.
    pub fn export_done(&self, path: &Path, at: Moment) -> Result<(), StoreError> {
        self.write("note that an export is done", Durability::Power, |tx| {
            tx.execute(
                "UPDATE export SET made_at = ?2 WHERE path = ?1",
                params![path.to_string_lossy(), at.millis()],
            )
            .map(drop)
        })
    }

    pub fn export_forget(&self, path: &Path) -> Result<(), StoreError> {
        self.write("forget an export", Durability::Power, |tx| {
            tx.execute("DELETE FROM export WHERE path = ?1", [path.to_string_lossy()]).map(drop)
        })
    }

    /// All exports, the last one first.
    pub fn exports(&self) -> Result<Vec<ExportRow>, StoreError> {
        self.read("list the exports", |db| {
            let mut found =
                db.prepare("SELECT path, image, version, made_at FROM export ORDER BY id DESC")?;
            let rows = found.query_map([], ExportRow::read)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
    }
}

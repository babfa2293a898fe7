//! SQL of images: names, their published versions, and which version is current.

use std::num::NonZeroU32;

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Durability, Store, StoreError};
use crate::types::{ImageName, ImageVersion, Moment, Version};

/// One published version, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// Number in NFS file handles.
    pub tree: u32,
    pub image: ImageVersion,
    /// Whether clients that pin no version get this one.
    pub current: bool,
    pub nonce: u64,
    /// What it was imported from, as the person wrote it.
    pub source: String,
    /// What a person says about it.
    pub note: String,
    /// Bytes that its removal gives back, as last measured.
    pub own: Option<u64>,
    /// Whether a roll-back makes it the current one.
    pub before: bool,
    /// Of the file it was imported from, in hex, if it was taken.
    pub sha256: Option<String>,
    pub bytes: u64,
    pub files: u64,
    /// JSON of what inspection found.
    pub facts: String,
    pub imported_at: Moment,
}

/// A version that is about to get its row.
#[derive(Clone, Debug)]
pub struct NewVersion<'a> {
    pub image: &'a ImageVersion,
    pub nonce: u64,
    pub source: &'a str,
    pub note: &'a str,
    /// Whether clients that pin no version get it from now on. The first version of an image always is.
    pub current: bool,
    pub sha256: Option<&'a str>,
    pub bytes: u64,
    pub files: u64,
    pub facts: &'a str,
    pub at: Moment,
    /// The job that made it. Whatever ends that job from here on, it has done what it was for.
    pub job: Option<u64>,
    /// The entry of a catalogue that it came from, in JSON.
    pub origin: Option<&'a str>,
}

impl VersionRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bad = |column, error: Box<dyn std::error::Error + Send + Sync>| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
        };
        let name: ImageName = row.get_ref(1)?.as_str()?.parse().map_err(|error| bad(1, Box::new(error)))?;
        let version: NonZeroU32 =
            row.get::<_, u32>(2)?.try_into().map_err(|error| bad(2, Box::new(error)))?;
        Ok(Self {
            tree: row.get(0)?,
            image: ImageVersion { name, version: Version(version) },
            current: row.get(3)?,
            nonce: row.get::<_, i64>(4)?.cast_unsigned(),
            source: row.get(5)?,
            sha256: row.get(6)?,
            bytes: row.get(7)?,
            files: row.get(8)?,
            facts: row.get(9)?,
            imported_at: Moment::from_millis(row.get(10)?),
            note: row.get(11)?,
            own: row.get(12)?,
            before: row.get(13)?,
        })
    }
}

impl Store {
    /// Every published version, by name and number.
    pub fn image_versions(&self) -> Result<Vec<VersionRow>, StoreError> {
        self.read("list the images", |db| {
            db.prepare(
                "SELECT tree, name, version, version IS current, nonce, source, sha256, bytes, files, facts, imported_at,
                        note, own, version IS before
                 FROM version JOIN image ON image.id = version.image ORDER BY name, version",
            )?
            .query_map([], VersionRow::read)?
            .collect()
        })
    }

    /// Highest version that `name` ever had; zero for a new name.
    pub fn image_last_version(&self, name: &ImageName) -> Result<u32, StoreError> {
        self.read("look for an image", |db| {
            db.query_row("SELECT last FROM image WHERE name = ?1", [name.as_str()], |row| row.get(0))
                .optional()
                .map(Option::unwrap_or_default)
        })
    }

    /// Puts a version on record, and takes its import off the list of those that are begun again. Answers with the number of
    /// its tree.
    pub fn image_publish(&self, new: &NewVersion<'_>) -> Result<u32, StoreError> {
        self.write("publish an image", Durability::Power, |tx| publish(tx, new))
    }

    /// Strikes versions of one image. If the current one goes, the one before it becomes current, else the highest below it, else
    /// the lowest; the name goes with its last version. Answers with the current version, if there is one.
    pub fn image_remove(
        &self,
        name: &ImageName,
        versions: &[Version],
    ) -> Result<Option<Version>, StoreError> {
        self.write("remove an image", Durability::Power, |tx| {
            for version in versions {
                tx.execute(
                    "DELETE FROM version WHERE version = ?2 AND image = (SELECT id FROM image WHERE name = ?1)",
                    params![name.as_str(), version.0.get()],
                )?;
            }
            tx.execute(
                "UPDATE image SET current = coalesce(
                     (SELECT version FROM version WHERE image = image.id AND version = image.before),
                     (SELECT max(version) FROM version WHERE image = image.id AND version < image.current),
                     (SELECT min(version) FROM version WHERE image = image.id))
                 WHERE name = ?1 AND current NOT IN (SELECT version FROM version WHERE image = image.id)",
                [name.as_str()],
            )?;
            tx.execute(
                "UPDATE image SET before = NULL WHERE name = ?1
                 AND (before = current OR before NOT IN (SELECT version FROM version WHERE image = image.id))",
                [name.as_str()],
            )?;
            tx.execute(
                "DELETE FROM image WHERE name = ?1 AND id NOT IN (SELECT image FROM version)",
                [name.as_str()],
            )?;
            let current: Option<Option<u32>> = tx
                .query_row("SELECT current FROM image WHERE name = ?1", [name.as_str()], |row| row.get(0))
                .optional()?;
            Ok(current.flatten().and_then(NonZeroU32::new).map(Version))
        })
    }
}

/// Puts a version on record, within a transaction.
pub(super) fn publish(tx: &Transaction<'_>, new: &NewVersion<'_>) -> rusqlite::Result<u32> {
    let (name, version) = (new.image.name.as_str(), new.image.version.0.get());
    tx.execute(
        "INSERT INTO image (name, created_at, current, last) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT (name) DO UPDATE SET last = max(last, ?3),
             before = iif(?4 AND current IS NOT ?3, current, before),
             current = iif(?4 OR current IS NULL, ?3, current)",
        params![name, new.at.millis(), version, new.current],
    )?;
    tx.execute(
        "INSERT INTO version (image, version, nonce, source, note, sha256, bytes, files, facts, imported_at)
         VALUES ((SELECT id FROM image WHERE name = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            name,
            version,
            new.nonce.cast_signed(),
            new.source,
            new.note,
            new.sha256,
            new.bytes,
            new.files,
            new.facts,
            new.at.millis()
        ],
    )?;
    let tree = tx.last_insert_rowid();
    if let Some(origin) = new.origin {
        tx.execute("UPDATE image SET origin = ?2 WHERE name = ?1", params![name, origin])?;
    }
    if let Some(job) = new.job {
        tx.execute("DELETE FROM import WHERE job = ?1", [job])?;
        let done = format!("`{}` is complete and on record; Bramble was stopped after that", new.image);
        tx.execute("UPDATE job SET message = ?2 WHERE id = ?1", params![job, done])?;
    }
    u32::try_from(tree).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ImageVersion {
        let image: crate::types::ImageRef = text.parse().expect("an image");
        ImageVersion { name: image.name, version: image.version.expect("a version") }
    }

    fn publish(store: &Store, text: &str) -> u32 {
        let image = version(text);
        let new = NewVersion {
            image: &image,
            nonce: u64::MAX,
            source: "x.tar",
            note: "",
            current: true,
            sha256: None,
            bytes: 7,
            files: 3,
            facts: "{}",
            at: Moment::from_secs(5),
            job: None,
            origin: None,
        };
        store.image_publish(&new).expect("published")
    }

    fn shown(store: &Store) -> Vec<String> {
        let rows = store.image_versions().expect("a list");
        rows.iter().map(|row| format!("{}{}", row.image, if row.current { " current" } else { "" })).collect()
    }

    #[test]
    fn versions_come_become_current_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let trees = [publish(&store, "trixie@1"), publish(&store, "trixie@2"), publish(&store, "bookworm@1")];
        assert_eq!(trees, [1, 2, 3]);
        assert_eq!(shown(&store), ["bookworm@1 current", "trixie@1", "trixie@2 current"]);
        assert_eq!(store.image_versions().expect("a list")[0].nonce, u64::MAX);
        let trixie = version("trixie@2");
        let left = store.image_remove(&trixie.name, &[trixie.version]).expect("removed");
        assert_eq!(left, Some(version("trixie@1").version));
        assert_eq!(shown(&store), ["bookworm@1 current", "trixie@1 current"]);
        assert_eq!(store.image_last_version(&trixie.name).expect("known"), 2, "numbers are not used again");
        assert_eq!(publish(&store, "trixie@3"), 4);
        let all = [version("trixie@1").version, version("trixie@3").version];
        assert_eq!(store.image_remove(&trixie.name, &all).expect("removed"), None);
        assert_eq!(shown(&store), ["bookworm@1 current"]);
        assert_eq!(store.image_last_version(&trixie.name).expect("known"), 0);
        assert_eq!(publish(&store, "trixie@1"), 5, "numbers of trees never return");
    }
}

//! SQL of drafts: the writable copy of an image, at most one each.

use std::num::NonZeroU32;

use rusqlite::{OptionalExtension as _, Row, params};

use super::images::{NewVersion, publish};
use super::{Durability, Store, StoreError};
use crate::types::{ImageName, ImageVersion, MacAddr, Moment, Version};

/// One draft, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftRow {
    /// Number in NFS file handles; another space than those of published versions.
    pub tree: u32,
    pub nonce: u64,
    /// The version it was copied from, which may be gone by now.
    pub base: ImageVersion,
    pub made_at: Moment,
    /// The version it is being published as: its tree may be in place already.
    pub becomes: Option<Version>,
    /// The client that boots it, to change it.
    pub client: Option<MacAddr>,
}

impl DraftRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bad = |column, error: Box<dyn std::error::Error + Send + Sync>| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
        };
        let name: ImageName = row.get_ref(2)?.as_str()?.parse().map_err(|error| bad(2, Box::new(error)))?;
        let base: NonZeroU32 = row.get::<_, u32>(3)?.try_into().map_err(|error| bad(3, Box::new(error)))?;
        Ok(Self {
            tree: row.get(0)?,
            nonce: row.get::<_, i64>(1)?.cast_unsigned(),
            base: ImageVersion { name, version: Version(base) },
            made_at: Moment::from_millis(row.get(4)?),
            becomes: row.get::<_, Option<u32>>(5)?.and_then(NonZeroU32::new).map(Version),
            client: row.get::<_, Option<String>>(6)?.and_then(|mac| mac.parse().ok()),
        })
    }
}

impl Store {
    /// Every draft, by the name of its image.
    pub fn drafts(&self) -> Result<Vec<DraftRow>, StoreError> {
        self.read("list the drafts", |db| {
            db.prepare(
                "SELECT tree, nonce, name, base, made_at, becomes, client FROM draft JOIN image ON image.id = draft.image
                 ORDER BY name",
            )?
            .query_map([], DraftRow::read)?
            .collect()
        })
    }

    /// Puts the draft of an image on record; `None` if the image is gone. Its folder is complete by then.
    pub fn draft_add(
        &self,
        base: &ImageVersion,
        nonce: u64,
        at: Moment,
    ) -> Result<Option<DraftRow>, StoreError> {
        self.write("note a draft", Durability::Power, |tx| {
            let image: Option<i64> = tx
                .query_row("SELECT id FROM image WHERE name = ?1", [base.name.as_str()], |row| row.get(0))
                .optional()?;
            let Some(image) = image else { return Ok(None) };
            tx.execute(
                "INSERT INTO draft (image, base, nonce, made_at) VALUES (?1, ?2, ?3, ?4)",
                params![image, base.version.0.get(), nonce.cast_signed(), at.millis()],
            )?;
            let tree = u32::try_from(tx.last_insert_rowid())
                .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
            Ok(Some(DraftRow { tree, nonce, base: base.clone(), made_at: at, becomes: None, client: None }))
        })
    }

    /// Strikes the draft of an image, before its files are deleted. Whether there was one.
    pub fn draft_remove(&self, name: &ImageName) -> Result<bool, StoreError> {
        self.write("strike a draft", Durability::Power, |tx| {
            let struck = tx.execute(
                "DELETE FROM draft WHERE image = (SELECT id FROM image WHERE name = ?1)",
                [name.as_str()],
            )?;
            Ok(struck > 0)
        })
    }

    /// Notes which version the draft is about to become: before that version's tree gets its name, so that a start after a
    /// power cut can tell that the two share files.
    pub fn draft_becomes(&self, name: &ImageName, version: Option<Version>) -> Result<(), StoreError> {
        self.write("note what a draft becomes", Durability::Power, |tx| {
            tx.execute(
                "UPDATE draft SET becomes = ?2 WHERE image = (SELECT id FROM image WHERE name = ?1)",
                params![name.as_str(), version.map(|version| version.0.get())],
            )?;
            Ok(())
        })
    }

    /// Has a client maintain the draft of an image, or none. Whether there is a draft. A client maintains one at a time.
    pub fn draft_client(&self, name: &ImageName, client: Option<MacAddr>) -> Result<bool, StoreError> {
        self.write("note who maintains a draft", Durability::Power, |tx| {
            let client = client.map(|mac| mac.to_string());
            tx.execute("UPDATE draft SET client = NULL WHERE client = ?1", [&client])?;
            let changed = tx.execute(
                "UPDATE draft SET client = ?2 WHERE image = (SELECT id FROM image WHERE name = ?1)",
                params![name.as_str(), client],
            )?;
            Ok(changed > 0)
        })
    }

    /// Puts the version that a draft became on record, and strikes the draft, in one step. Answers with the number of its
    /// tree.
    pub fn draft_publish(&self, new: &NewVersion<'_>) -> Result<u32, StoreError> {
        self.write("publish a draft", Durability::Power, |tx| {
            tx.execute(
                "DELETE FROM draft WHERE image = (SELECT id FROM image WHERE name = ?1)",
                [new.image.name.as_str()],
            )?;
            publish(tx, new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_made_becomes_a_version_and_its_number_never_returns() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let image = |text: &str| {
            let image: crate::types::ImageRef = text.parse().expect("an image");
            ImageVersion { name: image.name, version: image.version.expect("a version") }
        };
        let (one, two) = (image("trixie@1"), image("trixie@2"));
        let at = Moment::from_secs(5);
        let new = |image, current| NewVersion {
            image,
            nonce: 7,
            source: "draft",
            note: "with Scratch",
            current,
            sha256: None,
            bytes: 7,
            files: 3,
            facts: "{}",
            at,
            job: None,
            origin: None,
        };
        assert_eq!(store.draft_add(&one, 9, at).expect("asked"), None, "of no image");
        store.image_publish(&new(&one, true)).expect("published");
        let draft = store.draft_add(&one, u64::MAX, at).expect("asked").expect("made");
        assert_eq!(store.drafts().expect("a list"), std::slice::from_ref(&draft));
        assert!(store.draft_add(&one, 9, at).is_err(), "one an image");
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        assert!(store.draft_client(&one.name, Some(mac)).expect("noted"));
        assert!(!store.draft_client(&"other".parse().expect("a name"), None).expect("asked"));
        assert_eq!(store.drafts().expect("a list")[0].client, Some(mac));
        store.draft_becomes(&one.name, Some(two.version)).expect("noted");
        assert_eq!(store.drafts().expect("a list")[0].becomes, Some(two.version));
        store.draft_publish(&new(&two, false)).expect("published");
        assert_eq!(store.drafts().expect("a list"), []);
        let rows = store.image_versions().expect("a list");
        let shown: Vec<_> = rows.iter().map(|row| (row.image.to_string(), row.current, &*row.note)).collect();
        assert_eq!(
            shown,
            [("trixie@1".to_owned(), true, "with Scratch"), ("trixie@2".to_owned(), false, "with Scratch")]
        );
        let next = store.draft_add(&two, 9, at).expect("asked").expect("made");
        assert!(next.tree > draft.tree, "{} after {}", next.tree, draft.tree);
        assert!(
            store.draft_remove(&one.name).expect("struck") && !store.draft_remove(&one.name).expect("struck")
        );
    }
}

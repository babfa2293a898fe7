//! SQL of what clients boot: which version is current, which was before, and who tries one out.

use std::num::NonZeroU32;

use rusqlite::{OptionalExtension as _, params};

use super::{Durability, Store, StoreError};
use crate::types::{ImageName, ImageRef, ImageVersion, MacAddr, Moment, RoomName, Version};

impl Store {
    /// Makes a version the current one of its image, and remembers the one it follows. Whether there is that version.
    pub fn image_promote(&self, image: &ImageVersion) -> Result<bool, StoreError> {
        self.write("promote a version", Durability::Power, |tx| {
            let changed = tx.execute(
                "UPDATE image SET before = iif(current IS ?2, before, current), current = ?2 WHERE name = ?1
                 AND id IN (SELECT image FROM version WHERE version = ?2)",
                params![image.name.as_str(), image.version.0.get()],
            )?;
            Ok(changed > 0)
        })
    }

    /// What a roll-back of the image would make current: the version before, or else the highest below the current one.
    pub fn image_before(&self, name: &ImageName) -> Result<Option<Version>, StoreError> {
        self.read("look for the version before", |db| {
            let found: Option<Option<u32>> = db
                .query_row(
                    "SELECT coalesce(before, (SELECT max(version) FROM version WHERE image = id AND version < current))
                     FROM image WHERE name = ?1",
                    [name.as_str()],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(found.flatten().and_then(NonZeroU32::new).map(Version))
        })
    }

    /// Has a client try a version out; `None` ends that.
    pub fn trial_set(
        &self,
        mac: MacAddr,
        image: Option<&ImageVersion>,
        at: Moment,
    ) -> Result<(), StoreError> {
        self.write("note a trial", Durability::Power, |tx| {
            tx.execute("DELETE FROM trial WHERE mac = ?1", [mac.to_string()])?;
            if let Some(image) = image {
                tx.execute(
                    "INSERT INTO trial (mac, tree, at) SELECT ?1, tree, ?4 FROM version
                     WHERE version = ?3 AND image = (SELECT id FROM image WHERE name = ?2)",
                    params![mac.to_string(), image.name.as_str(), image.version.0.get(), at.millis()],
                )?;
            }
            Ok(())
        })
    }

    /// Every client that tries a version out.
    pub fn trials(&self) -> Result<Vec<(MacAddr, ImageVersion)>, StoreError> {
        self.read("list the trials", |db| {
            let mut query = db.prepare(
                "SELECT mac, name, version FROM trial JOIN version ON version.tree = trial.tree
                 JOIN image ON image.id = version.image ORDER BY mac",
            )?;
            let rows = query.query_map([], |row| {
                let (mac, name): (String, String) = (row.get(0)?, row.get(1)?);
                let version: u32 = row.get(2)?;
                let image = || {
                    let version = Version(NonZeroU32::new(version)?);
                    Some((mac.parse().ok()?, ImageVersion { name: name.parse().ok()?, version }))
                };
                Ok(image())
            })?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
    }

    /// Remembers what a room booted before a version was promoted to it; `Some(None)`: it had no image.
    pub fn room_before_set(&self, room: &RoomName, before: Option<&ImageRef>) -> Result<(), StoreError> {
        self.write("note what a room booted", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO room_before (room, before) VALUES (?1, ?2)
                 ON CONFLICT (room) DO UPDATE SET before = ?2",
                params![room.as_str(), before.map(ToString::to_string).unwrap_or_default()],
            )?;
            Ok(())
        })
    }

    /// What [`Self::room_before_set`] last noted. `None`: nothing; `Some(None)`: that the room had no image.
    pub fn room_before(&self, room: &RoomName) -> Result<Option<Option<ImageRef>>, StoreError> {
        self.read("look for what a room booted", |db| {
            let found: Option<String> = db
                .query_row("SELECT before FROM room_before WHERE room = ?1", [room.as_str()], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(found.map(|text| text.parse().ok()))
        })
    }

    /// Gives an image another name wherever its name stands. Whether there was an image of the old name, and none of the new.
    pub fn image_rename(&self, old: &ImageName, new: &ImageName) -> Result<bool, StoreError> {
        self.write("rename an image", Durability::Power, |tx| {
            let names = params![old.as_str(), new.as_str()];
            let renamed = tx.execute(
                "UPDATE image SET name = ?2 WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM image WHERE name = ?2)",
                names,
            )?;
            if renamed > 0 {
                tx.execute("UPDATE boot SET image = ?2 WHERE image = ?1", names)?;
                tx.execute(
                    "UPDATE room_before SET before = ?2 || substr(before, length(?1) + 1)
                     WHERE before = ?1 OR substr(before, 1, length(?1) + 1) = ?1 || '@'",
                    names,
                )?;
            }
            Ok(renamed > 0)
        })
    }

    /// Notes what the removal of each version would give back.
    pub fn image_own(&self, measured: &[(u32, u64)]) -> Result<(), StoreError> {
        self.write("note the size of images", Durability::Process, |tx| {
            for (tree, own) in measured {
                tx.execute("UPDATE version SET own = ?2 WHERE tree = ?1", params![tree, own])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::images::NewVersion;

    fn version(text: &str) -> ImageVersion {
        let image: ImageRef = text.parse().expect("an image");
        ImageVersion { name: image.name, version: image.version.expect("a version") }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        for number in 1..=3 {
            let new = NewVersion {
                image: &version(&format!("trixie@{number}")),
                nonce: 7,
                source: "x.tar",
                note: "",
                current: false,
                sha256: None,
                bytes: 7,
                files: 3,
                facts: "{}",
                at: Moment::from_secs(5),
                job: None,
                origin: None,
            };
            store.image_publish(&new).expect("published");
        }
        (folder, store)
    }

    fn current(store: &Store) -> Option<u32> {
        let rows = store.image_versions().expect("a list");
        rows.iter().find(|row| row.current).map(|row| row.image.version.0.get())
    }

    fn before(store: &Store) -> Option<u32> {
        let name = "trixie".parse().expect("a name");
        store.image_before(&name).expect("asked").map(|version| version.0.get())
    }

    #[test]
    fn promotion_remembers_what_it_followed_and_removal_forgets_it() {
        let (_folder, store) = store();
        assert_eq!((current(&store), before(&store)), (Some(1), None), "the first one is current");
        assert!(store.image_promote(&version("trixie@3")).expect("promoted"));
        assert_eq!((current(&store), before(&store)), (Some(3), Some(1)));
        assert!(store.image_promote(&version("trixie@3")).expect("again"));
        assert_eq!((current(&store), before(&store)), (Some(3), Some(1)), "twice is once");
        assert!(!store.image_promote(&version("trixie@9")).expect("asked"), "there is none");
        let one = version("trixie@1");
        store.image_remove(&one.name, &[one.version]).expect("removed");
        assert_eq!((current(&store), before(&store)), (Some(3), Some(2)), "the highest below");
        assert!(store.image_promote(&version("trixie@2")).expect("rolled back"));
        assert_eq!((current(&store), before(&store)), (Some(2), Some(3)), "and forward again");
    }

    /// What it shows, what is promoted before, what is removed, and what is current then.
    type Row<'a> = (&'a str, &'a [&'a str], &'a [u32], Option<u32>);

    #[test]
    fn clients_get_no_version_that_nobody_chose_when_theirs_is_removed() {
        #[rustfmt::skip]
        let rows: [Row<'_>; 5] = [
            ("the version before it",       &["trixie@2"],             &[2],    Some(1)),
            ("the version before is higher", &["trixie@3", "trixie@2"], &[2],    Some(3)),
            ("the highest below it",        &["trixie@3"],             &[1, 3], Some(2)),
            ("there is only a higher one",  &[],                       &[1],    Some(2)),
            ("none is left",                &[],                       &[1, 2, 3], None),
        ];
        for (shows, promoted, removed, expected) in rows {
            let (_folder, store) = store();
            for image in promoted {
                assert!(store.image_promote(&version(image)).expect("promoted"));
            }
            let removed: Vec<Version> =
                removed.iter().map(|number| version(&format!("trixie@{number}")).version).collect();
            let left = store.image_remove(&version("trixie@1").name, &removed).expect("removed");
            assert_eq!(left.map(|version| version.0.get()), expected, "{shows}");
            assert_eq!(current(&store), expected, "{shows}");
        }
    }

    #[test]
    fn trials_end_with_their_version() {
        let (_folder, store) = store();
        let [one, other] = [1, 2].map(|last| MacAddr::new([2, 0, 0, 0, 0, last]));
        let at = Moment::from_secs(5);
        store.trial_set(one, Some(&version("trixie@2")), at).expect("set");
        store.trial_set(other, Some(&version("trixie@2")), at).expect("set");
        store.trial_set(other, Some(&version("trixie@3")), at).expect("set");
        assert_eq!(
            store.trials().expect("a list"),
            [(one, version("trixie@2")), (other, version("trixie@3"))]
        );
        store
            .image_remove(&"trixie".parse().expect("a name"), &[version("trixie@3").version])
            .expect("removed");
        assert_eq!(store.trials().expect("a list"), [(one, version("trixie@2"))]);
        store.trial_set(one, None, at).expect("ended");
        assert_eq!(store.trials().expect("a list"), []);
    }

    #[test]
    fn a_name_is_changed_wherever_it_stands() {
        let (_folder, store) = store();
        let [old, new, other] = ["trixie", "desk-top", "trix"].map(|name| name.parse().expect("a name"));
        let client = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let at = Moment::from_secs(5);
        store.trial_set(client, Some(&version("trixie@2")), at).expect("set");
        let rooms = ["lab", "hall", "attic"].map(|room| room.parse().expect("a room"));
        for (room, before) in rooms.iter().zip(["trixie", "trixie@2", "trixie2@1"]) {
            store.room_before_set(room, Some(&before.parse().expect("an image"))).expect("noted");
        }
        assert!(!store.image_rename(&other, &new).expect("asked"), "there is none of that name");
        assert!(store.image_rename(&old, &new).expect("renamed"));
        assert_eq!(store.trials().expect("a list"), [(client, version("desk-top@2"))]);
        let before = rooms.map(|room| store.room_before(&room).expect("asked").flatten().expect("one"));
        assert_eq!(before.map(|image| image.to_string()), ["desk-top", "desk-top@2", "trixie2@1"]);
        assert_eq!(store.image_last_version(&new).expect("known"), 3);
        assert!(!store.image_rename(&old, &new).expect("asked"), "twice is once");
    }

    #[test]
    fn a_room_s_image_before_may_have_been_none() {
        let (_folder, store) = store();
        let room = "lab".parse().expect("a room");
        assert_eq!(store.room_before(&room).expect("asked"), None);
        store.room_before_set(&room, None).expect("noted");
        assert_eq!(store.room_before(&room).expect("asked"), Some(None));
        let image = "trixie@2".parse().expect("an image");
        store.room_before_set(&room, Some(&image)).expect("noted");
        assert_eq!(store.room_before(&room).expect("asked"), Some(Some(image)));
    }
}

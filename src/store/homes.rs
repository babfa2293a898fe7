//! SQL of homes and shares: the numbers and nonces in their NFS handles, what was measured, and quotas of accounts and
//! classes.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Durability, Store, StoreError};
use crate::types::{ByteSize, Moment, ShareName, Uid};

/// What was measured of one home or share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// On the disk.
    pub bytes: ByteSize,
    pub files: u64,
    pub at: Moment,
}

/// The number and the nonce of a share's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareTree {
    pub id: u32,
    pub nonce: u64,
}

fn measured(row: &Row<'_>) -> rusqlite::Result<Measured> {
    let (bytes, files) = (ByteSize(row.get(0)?), row.get(1)?);
    Ok(Measured { bytes, files, at: Moment::from_millis(row.get(2)?) })
}

const FIND_SHARE: &str = "SELECT id, nonce FROM share WHERE name = ?1 AND owner = ?2";

impl Store {
    /// The nonce of the home of `uid`; `fresh` becomes it if there is none yet.
    ///
    /// One that is there is only read: a log-in does not wait for the disk.
    pub fn home_nonce(&self, uid: Uid, fresh: u64) -> Result<u64, StoreError> {
        let known = self.read("look for a home", |db| {
            let mut query = db.prepare_cached("SELECT nonce FROM home WHERE uid = ?1")?;
            query.query_row([uid.0], |row| row.get::<_, i64>(0)).optional()
        })?;
        if let Some(nonce) = known {
            return Ok(nonce.cast_unsigned());
        }
        self.write("note a home", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO home (uid, nonce) VALUES (?1, ?2) ON CONFLICT (uid) DO NOTHING",
                params![uid.0, fresh.cast_signed()],
            )?;
            tx.query_row("SELECT nonce FROM home WHERE uid = ?1", [uid.0], |row| row.get::<_, i64>(0))
                .map(i64::cast_unsigned)
        })
    }

    /// Forgets the home of `uid`: handles into it never become valid again.
    pub fn home_forget(&self, uid: Uid) -> Result<(), StoreError> {
        self.write("forget a home", Durability::Power, |tx| {
            tx.execute("DELETE FROM home WHERE uid = ?1", [uid.0]).map(drop)
        })
    }

    pub fn home_measured(&self, uid: Uid, found: Measured) -> Result<(), StoreError> {
        self.write("note the size of a home", Durability::Process, |tx| {
            tx.execute(
                "UPDATE home SET bytes = ?2, files = ?3, measured_at = ?4 WHERE uid = ?1",
                params![uid.0, found.bytes.0, found.files, found.at.millis()],
            )
            .map(drop)
        })
    }

    /// What was last measured of the home of `uid`.
    pub fn home_size(&self, uid: Uid) -> Result<Option<Measured>, StoreError> {
        self.read("read the size of a home", |db| {
            db.query_row(
                "SELECT bytes, files, measured_at FROM home WHERE uid = ?1 AND measured_at IS NOT NULL",
                [uid.0],
                measured,
            )
            .optional()
        })
    }

    pub fn share_measured(&self, share: &ShareName, found: Measured) -> Result<(), StoreError> {
        self.write("note the size of a share", Durability::Process, |tx| {
            tx.execute(
                "INSERT OR REPLACE INTO share_size (name, bytes, files, measured_at) VALUES (?1, ?2, ?3, ?4)",
                params![share.as_str(), found.bytes.0, found.files, found.at.millis()],
            )
            .map(drop)
        })
    }

    /// What was last measured of `share`.
    pub fn share_size(&self, share: &ShareName) -> Result<Option<Measured>, StoreError> {
        self.read("read the size of a share", |db| {
            db.query_row(
                "SELECT bytes, files, measured_at FROM share_size WHERE name = ?1",
                [share.as_str()],
                measured,
            )
            .optional()
        })
    }

    /// How much `uid` may keep, if the account says so, or else the most that one of its classes allows.
    pub fn home_quota(&self, uid: Uid) -> Result<Option<ByteSize>, StoreError> {
        self.read("read a quota", |db| {
            db.query_row(
                "SELECT coalesce(
                    (SELECT quota FROM account WHERE uid = ?1),
                    (SELECT max(quota) FROM class JOIN member USING (gid) WHERE uid = ?1))",
                [uid.0],
                |row| Ok(row.get::<_, Option<u64>>(0)?.map(ByteSize)),
            )
        })
    }

    /// The tree of `share`, or of what `owner` sees of a share whose folder is divided; `fresh` is the nonce of a new one.
    pub fn share_tree(
        &self,
        share: &ShareName,
        owner: Option<Uid>,
        fresh: u64,
    ) -> Result<ShareTree, StoreError> {
        // Zero is nobody's: no account has it.
        let owner = owner.map_or(0, |uid| uid.0);
        let tree =
            |row: &Row<'_>| Ok(ShareTree { id: row.get(0)?, nonce: row.get::<_, i64>(1)?.cast_unsigned() });
        let known = self.read("look for a share", |db| {
            db.prepare_cached(FIND_SHARE)?.query_row(params![share.as_str(), owner], tree).optional()
        })?;
        if let Some(known) = known {
            return Ok(known);
        }
        self.write("note a share", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO share (name, owner, nonce) VALUES (?1, ?2, ?3) ON CONFLICT (name, owner) DO NOTHING",
                params![share.as_str(), owner, fresh.cast_signed()],
            )?;
            tx.query_row(FIND_SHARE, params![share.as_str(), owner], tree)
        })
    }

    /// The folder in which `owner` hands in to `share`, as it was noted.
    pub fn hand_in_box(&self, share: &ShareName, owner: Uid) -> Result<Option<String>, StoreError> {
        self.read("look for a hand-in box", |db| {
            let mut query = db.prepare_cached("SELECT box FROM share WHERE name = ?1 AND owner = ?2")?;
            Ok(query.query_row(params![share.as_str(), owner.0], |row| row.get(0)).optional()?.flatten())
        })
    }

    /// Whose the folder `called` of `share` is, if that was noted.
    pub fn hand_in_box_owner(&self, share: &ShareName, called: &str) -> Result<Option<Uid>, StoreError> {
        self.read("look for the owner of a hand-in box", |db| {
            let mut query = db.prepare_cached("SELECT owner FROM share WHERE name = ?1 AND box = ?2")?;
            query.query_row(params![share.as_str(), called], |row| row.get(0).map(Uid)).optional()
        })
    }

    /// Notes that `owner`, who has a tree in `share`, hands in to the folder `called`.
    pub fn note_hand_in_box(
        &self,
        share: &ShareName,
        owner: Uid,
        called: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write("note a hand-in box", Durability::Power, |tx| {
            tx.execute(
                "UPDATE share SET box = ?3 WHERE name = ?1 AND owner = ?2",
                params![share.as_str(), owner.0, called],
            )
            .map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        (folder, store)
    }

    #[test]
    fn a_home_keeps_its_nonce_until_it_is_forgotten() {
        let (_folder, store) = store();
        let uid = Uid(10_000);
        assert_eq!(store.home_nonce(uid, u64::MAX).expect("noted"), u64::MAX);
        assert_eq!(store.home_nonce(uid, 7).expect("kept"), u64::MAX);
        assert_eq!(store.home_size(uid).expect("read"), None);
        let size = Measured { bytes: ByteSize(5), files: 2, at: Moment::from_secs(9) };
        store.home_measured(uid, size).expect("noted");
        assert_eq!(store.home_size(uid).expect("read"), Some(size));
        store.home_forget(uid).expect("forgotten");
        assert_eq!(store.home_size(uid).expect("read"), None);
        assert_eq!(store.home_nonce(uid, 7).expect("noted"), 7);
    }

    #[test]
    fn each_share_and_each_part_of_one_has_a_tree_of_its_own() {
        let (_folder, store) = store();
        let (essays, films) = ("essays".parse().expect("a name"), "films".parse().expect("a name"));
        let tree = |name, owner, fresh| store.share_tree(name, owner, fresh).expect("noted");
        assert_eq!(tree(&essays, None, 5), ShareTree { id: 1, nonce: 5 });
        assert_eq!(tree(&films, None, 6), ShareTree { id: 2, nonce: 6 });
        assert_eq!(tree(&essays, Some(Uid(10_000)), 7), ShareTree { id: 3, nonce: 7 });
        assert_eq!(tree(&essays, None, 8), ShareTree { id: 1, nonce: 5 });
    }
}

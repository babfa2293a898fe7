//! Secrets that must outlive a restart, made when they are first needed.

use rusqlite::{OptionalExtension as _, params};

use super::{Durability, Store, StoreError};

impl Store {
    /// The secret `name`; `fresh` becomes it if there is none of this length yet. It is on the disk before it is used.
    pub fn secret<const N: usize>(&self, name: &str, fresh: [u8; N]) -> Result<[u8; N], StoreError> {
        self.write("read or make a secret", Durability::Power, |tx| {
            let kept: Option<Vec<u8>> = tx
                .query_row("SELECT value FROM secret WHERE name = ?1", [name], |row| row.get(0))
                .optional()?;
            if let Some(kept) = kept.and_then(|kept| kept.try_into().ok()) {
                return Ok(kept);
            }
            tx.execute(
                "INSERT INTO secret (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
                params![name, fresh],
            )?;
            Ok(fresh)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stays_what_it_was_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bramble.db");
        let first = Store::open(&path).expect("a new database");
        assert_eq!(first.secret("key", [1; 16]).expect("made"), [1; 16]);
        drop(first);
        let second = Store::open(&path).expect("the same database");
        assert_eq!(second.secret("key", [2; 16]).expect("kept"), [1; 16]);
        assert_eq!(second.secret("another", [3; 8]).expect("made"), [3; 8]);
    }
}

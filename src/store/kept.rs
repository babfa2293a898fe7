//! Small things that a part of the daemon has to know again after a restart: one text each, which only that part understands.

use rusqlite::{OptionalExtension as _, params};

use super::{Durability, Store, StoreError};

impl Store {
    /// What was kept under `name` last.
    pub fn kept(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read("read what was kept", |db| {
            db.query_row("SELECT value FROM kept WHERE name = ?1", [name], |row| row.get(0)).optional()
        })
    }

    /// Keeps `text` in place of what was kept under `name`. It is on the disk when this returns.
    pub fn keep(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.write("keep something", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
                params![name, text],
            )?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_text_of_each_name_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bramble.db");
        let first = Store::open(&path).expect("a new database");
        assert_eq!(first.kept("a").expect("read"), None);
        for text in ["one", "two"] {
            first.keep("a", text).expect("kept");
        }
        first.keep("b", "three").expect("kept");
        drop(first);
        let second = Store::open(&path).expect("the same database");
        assert_eq!(second.kept("a").expect("read").as_deref(), Some("two"));
        assert_eq!(second.kept("b").expect("read").as_deref(), Some("three"));
    }
}

//! SQL of what is kept of a directory elsewhere for times when it does not answer.

use rusqlite::{OptionalExtension as _, params};

use super::{Durability, Store, StoreError};
use crate::types::{Moment, PasswordHash, Person, UserName};

/// Somebody's last password that was right, and when that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    pub hash: PasswordHash,
    pub at: Moment,
}

impl Store {
    /// Everybody who is kept, by name.
    pub fn directory_people(&self) -> Result<Vec<Person>, StoreError> {
        self.read("list the people of the directory", |db| {
            let mut query = db.prepare("SELECT person FROM directory_person ORDER BY name")?;
            query.query_map([], |row| person(&row.get::<_, String>(0)?))?.collect()
        })
    }

    /// One person with their verifier, if they are kept.
    pub fn directory_person(
        &self,
        name: &UserName,
    ) -> Result<Option<(Person, Option<Verifier>)>, StoreError> {
        self.read("look for a person of the directory", |db| {
            db.query_row(
                "SELECT person, verifier, verified_at FROM directory_person WHERE name = ?1",
                [name.as_str()],
                |row| {
                    let (hash, at): (Option<String>, Option<i64>) = (row.get(1)?, row.get(2)?);
                    let verifier = hash.zip(at).map(|(hash, at)| Verifier {
                        hash: PasswordHash::new(hash),
                        at: Moment::from_millis(at),
                    });
                    Ok((person(&row.get::<_, String>(0)?)?, verifier))
                },
            )
            .optional()
        })
    }

    /// Keeps exactly `people`; verifiers of those who stay are kept too.
    pub fn directory_keep(&self, people: &[Person]) -> Result<(), StoreError> {
        self.write("keep the people of the directory", Durability::Process, |tx| {
            tx.execute_batch("CREATE TEMP TABLE kept (name TEXT PRIMARY KEY)")?;
            let mut name = tx.prepare("INSERT INTO kept (name) VALUES (?1)")?;
            let mut put = tx.prepare(
                "INSERT INTO directory_person (name, person) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET person = ?2",
            )?;
            for person in people {
                name.execute([person.name.as_str()])?;
                put.execute(params![person.name.as_str(), text(person)?])?;
            }
            drop((name, put));
            tx.execute("DELETE FROM directory_person WHERE name NOT IN (SELECT name FROM kept)", [])?;
            tx.execute_batch("DROP TABLE kept")
        })
    }

    /// Keeps the verifier of `person`, who is kept with it.
    pub fn directory_verified(&self, person: &Person, verifier: &Verifier) -> Result<(), StoreError> {
        self.write("keep a password of the directory", Durability::Process, |tx| {
            tx.execute(
                "INSERT INTO directory_person (name, person, verifier, verified_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET person = ?2, verifier = ?3, verified_at = ?4",
                params![person.name.as_str(), text(person)?, verifier.hash.expose(), verifier.at.millis()],
            )
            .map(drop)
        })
    }

    /// Forgets the verifier of `name`, or those of everybody.
    pub fn directory_forget_verifier(&self, name: Option<&UserName>) -> Result<(), StoreError> {
        self.write("forget a password of the directory", Durability::Power, |tx| {
            tx.execute(
                "UPDATE directory_person SET verifier = NULL, verified_at = NULL
                 WHERE verifier IS NOT NULL AND (?1 IS NULL OR name = ?1)",
                [name.map(UserName::as_str)],
            )
            .map(drop)
        })
    }

    /// Forgets everybody.
    pub fn directory_forget(&self) -> Result<(), StoreError> {
        self.write("forget the people of the directory", Durability::Power, |tx| {
            tx.execute("DELETE FROM directory_person", []).map(drop)
        })
    }
}

fn person(text: &str) -> rusqlite::Result<Person> {
    serde_json::from_str(text).map_err(|bad| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(bad))
    })
}

fn text(person: &Person) -> rusqlite::Result<String> {
    serde_json::to_string(person).map_err(|bad| rusqlite::Error::ToSqlConversionFailure(Box::new(bad)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FullName, Role, Uid};

    fn someone(name: &str, uid: u32) -> Person {
        Person {
            name: name.parse().expect("a name"),
            uid: Uid(uid),
            gid: Uid(uid).own_group(),
            full_name: FullName::default(),
            role: Role::Pupil,
            classes: Vec::new(),
            must_change: false,
        }
    }

    #[test]
    fn who_is_gone_is_forgotten_with_their_password() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let (anna, ben) = (someone("anna", 5001), someone("ben", 5002));
        let verifier = Verifier { hash: PasswordHash::new("$x$".to_owned()), at: Moment::from_secs(9) };
        store.directory_keep(&[anna.clone(), ben.clone()]).expect("kept");
        for person in [&anna, &ben] {
            store.directory_verified(person, &verifier).expect("kept");
        }
        let moved = someone("anna", 6001);
        store.directory_keep(std::slice::from_ref(&moved)).expect("kept");
        assert_eq!(store.directory_people().expect("read"), std::slice::from_ref(&moved));
        let read = |name: &str| store.directory_person(&name.parse().expect("a name")).expect("read");
        assert_eq!(read("anna"), Some((moved.clone(), Some(verifier.clone()))), "she stays as she was");
        assert_eq!(read("ben"), None);
        store.directory_keep(&[moved.clone(), ben.clone()]).expect("kept");
        assert_eq!(read("ben"), Some((ben, None)), "what was forgotten does not come back");
        store.directory_forget_verifier(Some(&moved.name)).expect("forgotten");
        assert_eq!(read("anna"), Some((moved, None)));
        store.directory_forget().expect("forgotten");
        assert!(store.directory_people().expect("read").is_empty());
    }
}

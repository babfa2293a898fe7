//! SQL of backups: accounts, classes and who is in which, out as rows and in again.
//!
//! Rows travel with the names of their columns, so that a backup of an older or a newer Bramble can be read as far as
//! both know a column.

use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{OptionalExtension as _, Transaction, params, params_from_iter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Durability, Store, StoreError};
use crate::types::{ClassName, FullName, Uid, UserName};

/// Rows of one table.
type Rows = Vec<Map<String, Value>>;

/// Accounts and classes, with the hashes of passwords.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeopleRows {
    #[serde(default)]
    account: Rows,
    #[serde(default)]
    class: Rows,
    #[serde(default)]
    member: Rows,
}

impl std::fmt::Debug for PeopleRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} accounts, {} classes", self.account.len(), self.class.len())
    }
}

/// What came of [`Store::people_load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// How many accounts and classes were written.
    Done { accounts: usize, classes: usize },
    /// Nothing was written: a sentence about each row that stands in the way.
    Refused(Vec<String>),
}

impl Store {
    pub fn people_dump(&self) -> Result<PeopleRows, StoreError> {
        self.read("read all accounts", |db| {
            let rows = |table: &str| -> rusqlite::Result<Rows> {
                let mut query = db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
                let columns: Vec<String> = query.column_names().map(str::to_owned).collect();
                let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Map<String, Value>> {
                    let mut values = Map::new();
                    for (at, column) in columns.iter().enumerate() {
                        let value = match row.get_ref(at)? {
                            ValueRef::Integer(number) => number.into(),
                            ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
                        };
                        values.insert(column.clone(), value);
                    }
                    Ok(values)
                };
                query.query_map([], row)?.collect()
            };
            Ok(PeopleRows { account: rows("account")?, class: rows("class")?, member: rows("member")? })
        })
    }

    /// Puts accounts and classes back: those that are missing are added, those that are there become what they were,
    /// and others stay. All of it or, if a name or a number is another's by now or `bearable` says no to the hash of a
    /// password, nothing.
    pub fn people_load(
        &self,
        people: &PeopleRows,
        bearable: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Loaded, StoreError> {
        self.write("put accounts back", Durability::Power, |tx| {
            let mut clashes = Vec::new();
            check::<UserName>(tx, "account", "uid", &people.account, &mut clashes)?;
            check::<ClassName>(tx, "class", "gid", &people.class, &mut clashes)?;
            let full_names = people.account.iter().filter_map(|row| text(row, "full_name"));
            clashes.extend(full_names.filter_map(|name| Some(name.parse::<FullName>().err()?.to_string())));
            for row in &people.account {
                if let Some(Err(why)) = text(row, "hash").map(&bearable) {
                    let name = text(row, "name").unwrap_or_default();
                    clashes.push(format!("the password of account `{name}` cannot be taken over: {why}"));
                }
            }
            if !clashes.is_empty() {
                return Ok(Loaded::Refused(clashes));
            }
            put(tx, "account", "uid", &people.account)?;
            put(tx, "class", "gid", &people.class)?;
            for row in &people.account {
                tx.execute("DELETE FROM member WHERE uid = ?1", params![number(row, "uid")])?;
            }
            put(tx, "member", "uid, gid", &people.member)?;
            Ok(Loaded::Done { accounts: people.account.len(), classes: people.class.len() })
        })
    }

    /// The number of the account `name` of ours.
    pub fn account_uid(&self, name: &UserName) -> Result<Option<Uid>, StoreError> {
        self.read("look for an account", |db| {
            let found =
                db.query_row("SELECT uid FROM account WHERE name = ?1", [name.as_str()], |row| row.get(0));
            Ok(found.optional()?.map(Uid))
        })
    }
}

/// Notes each row whose name is none, or whose name or number is another's.
fn check<N: std::str::FromStr<Err: std::fmt::Display>>(
    tx: &Transaction<'_>,
    table: &str,
    key: &str,
    rows: &Rows,
    clashes: &mut Vec<String>,
) -> rusqlite::Result<()> {
    for row in rows {
        let (Some(name), Some(number)) = (text(row, "name"), number(row, key)) else {
            clashes.push(format!("one {table} of the backup has no name or no number"));
            continue;
        };
        if let Err(bad) = name.parse::<N>() {
            clashes.push(bad.to_string());
            continue;
        }
        let there: Option<i64> = tx
            .query_row(&format!("SELECT {key} FROM {table} WHERE name = ?1"), [name], |row| row.get(0))
            .optional()?;
        let called: Option<String> = tx
            .query_row(&format!("SELECT name FROM {table} WHERE {key} = ?1"), [number], |row| row.get(0))
            .optional()?;
        if let Some(there) = there.filter(|there| *there != number) {
            clashes.push(format!("{table} `{name}` has number {number} in the backup and {there} here"));
        } else if let Some(called) = called.filter(|called| called != name) {
            clashes.push(format!("number {number} is {table} `{name}` in the backup and `{called}` here"));
        }
    }
    Ok(())
}

/// Writes `rows`; columns that this Bramble does not have are passed over.
fn put(tx: &Transaction<'_>, table: &str, key: &str, rows: &Rows) -> rusqlite::Result<()> {
    let mut query = tx.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let known: Vec<String> = query.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for row in rows {
        let columns: Vec<&String> = known.iter().filter(|column| row.contains_key(*column)).collect();
        let values = columns.iter().map(|column| match row.get(*column) {
            Some(Value::String(text)) => Sql::Text(text.clone()),
            Some(Value::Number(number)) => number.as_i64().map_or(Sql::Null, Sql::Integer),
            _ => Sql::Null,
        });
        let list = |what: &dyn Fn(&str) -> String| -> String {
            columns.iter().map(|column| what(column)).collect::<Vec<_>>().join(", ")
        };
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT ({key}) DO UPDATE SET {}",
            list(&str::to_owned),
            list(&|_| "?".to_owned()),
            list(&|column| format!("{column} = excluded.{column}"))
        );
        tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    }
    Ok(())
}

fn text<'a>(row: &'a Map<String, Value>, column: &str) -> Option<&'a str> {
    row.get(column)?.as_str()
}

fn number(row: &Map<String, Value>, column: &str) -> Option<i64> {
    row.get(column)?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(sql: &str) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        store.write("test", Durability::Process, |tx| tx.execute_batch(sql)).expect("SQL");
        (folder, store)
    }

    const PEOPLE: &str = "
        INSERT INTO account (uid, name, hash, created_at) VALUES (10000, 'anna', '$x$secret', 5), (10001, 'ben', NULL, 5);
        INSERT INTO class (gid, name, created_at) VALUES (100000, 'c7b', 5);
        INSERT INTO member VALUES (10000, 100000);";

    #[test]
    fn people_come_back_as_they_were_and_others_stay() {
        let (_one, store_) = store(PEOPLE);
        let people = store_.people_dump().expect("read");
        assert_eq!(format!("{people:?}"), "2 accounts, 1 classes", "no hash is shown");
        let (_two, other) = store(
            "INSERT INTO account (uid, name, created_at) VALUES (10000, 'anna', 9), (10007, 'eva', 9);
             INSERT INTO class (gid, name, created_at) VALUES (100009, 'old', 9);
             INSERT INTO member VALUES (10000, 100009);",
        );
        let text = serde_json::to_string(&people).expect("JSON");
        let read: PeopleRows = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            other.people_load(&read, |_| Ok(())).expect("written"),
            Loaded::Done { accounts: 2, classes: 1 }
        );
        let uid = |name: &str| other.account_uid(&name.parse().expect("a name")).expect("read");
        assert_eq!(
            [uid("anna"), uid("ben"), uid("eva")],
            [Some(Uid(10_000)), Some(Uid(10_001)), Some(Uid(10_007))]
        );
        let back = other.people_dump().expect("read");
        assert_eq!(back.account[..2], people.account[..]);
        assert_eq!(back.member, people.member, "memberships of restored accounts are those of the backup");
        let next = other.write("test", Durability::Process, |tx| {
            tx.execute("INSERT INTO account (name, created_at) VALUES ('new', 9)", [])?;
            Ok(tx.last_insert_rowid())
        });
        assert_eq!(next.expect("added"), 10_008, "no number is used again");
    }

    #[test]
    fn another_owner_of_a_name_or_a_number_refuses_everything() {
        let (_one, store_) = store(PEOPLE);
        let people = store_.people_dump().expect("read");
        let (_two, other) = store(
            "INSERT INTO account (uid, name, created_at) VALUES (10005, 'anna', 9), (10001, 'bob', 9);",
        );
        let before = other.people_dump().expect("read");
        assert_eq!(
            other.people_load(&people, |_| Ok(())).expect("asked"),
            Loaded::Refused(vec![
                "account `anna` has number 10000 in the backup and 10005 here".to_owned(),
                "number 10001 is account `ben` in the backup and `bob` here".to_owned(),
            ])
        );
        assert_eq!(other.people_dump().expect("read"), before);
    }

    #[test]
    fn rows_of_a_stranger_are_held_to_the_schema() {
        let (_folder, store) = store("");
        let load = |text: &str| store.people_load(&serde_json::from_str(text).expect("JSON"), |_| Ok(()));
        for (rows, says) in [
            (r#"{"account":[{"uid":10000,"name":"../x"}]}"#, "`../x` cannot be a name to log in with"),
            (r#"{"account":[{"name":"anna"}]}"#, "one account of the backup has no name or no number"),
            (r#"{"account":[{"uid":10000,"name":"anna","full_name":"a:b"}]}"#, "`a:b` cannot be a full name"),
        ] {
            let Loaded::Refused(why) = load(rows).expect("asked") else { panic!("{rows} was taken") };
            assert!(why[0].starts_with(says), "{why:?}");
        }
        let costly = r#"{"account":[{"uid":10000,"name":"anna","created_at":1,"hash":"$6$"},{"uid":10001,"name":"ben"}]}"#;
        let dear = |hash: &str| if hash == "$6$" { Err("it is dear".to_owned()) } else { Ok(()) };
        assert_eq!(
            store.people_load(&serde_json::from_str(costly).expect("JSON"), dear).expect("asked"),
            Loaded::Refused(vec![
                "the password of account `anna` cannot be taken over: it is dear".to_owned()
            ])
        );
        assert!(
            load(r#"{"account":[{"uid":0,"name":"root","created_at":1}]}"#).is_err(),
            "uid 0 is no account's"
        );
        let odd = r#"{"account":[{"uid":10000,"name":"anna","created_at":1,"x) --":"y"}]}"#;
        assert_eq!(load(odd).expect("asked"), Loaded::Done { accounts: 1, classes: 0 });
    }
}

//! SQL of sessions: who was logged in at which client, and who is.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Durability, Store, StoreError};
use crate::types::{MacAddr, Moment, Person, SessionId, SessionKind, Uid, limits};

/// A session that is about to get its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    pub client: MacAddr,
    pub ip: Ipv4Addr,
    /// Which start of the client it belongs to.
    pub boot_id: String,
    /// As whom they were logged in: who may reach what follows from it until the end, whatever changes meanwhile.
    pub person: Person,
    pub kind: SessionKind,
    pub service: String,
    pub terminal: String,
    pub opened_at: Moment,
    /// Whether its files are reached through the person's tunnel alone.
    pub encrypted: bool,
}

/// One session on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub id: SessionId,
    pub session: NewSession,
    /// When and why it ended; `None` while it is open.
    pub ended: Option<(Moment, String)>,
}

impl SessionRow {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let bad = |column: usize, error: Box<dyn std::error::Error + Send + Sync>| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
        };
        let ended_at: Option<i64> = row.get(9)?;
        Ok(Self {
            id: SessionId(row.get(0)?),
            session: NewSession {
                client: text(1)?.parse().map_err(|error| bad(1, Box::new(error)))?,
                ip: Ipv4Addr::from(row.get::<_, u32>(2)?),
                boot_id: row.get(3)?,
                person: serde_json::from_str(text(4)?).map_err(|error| bad(4, Box::new(error)))?,
                kind: text(5)?.parse().map_err(|error| bad(5, Box::new(error)))?,
                service: row.get(6)?,
                terminal: row.get(7)?,
                opened_at: Moment::from_millis(row.get(8)?),
                encrypted: row.get(11)?,
            },
            ended: ended_at
                .map(|at| Ok::<_, rusqlite::Error>((Moment::from_millis(at), row.get(10)?)))
                .transpose()?,
        })
    }
}

pub(super) const COLUMNS: &str = "SELECT id, client, ip, boot_id, person, kind, service, terminal, opened_at, ended_at, why, encrypted \
     FROM session";

impl Store {
    /// Notes a session as open and answers with its number. Ended ones beyond [`limits::SESSIONS_KEPT`] go.
    pub fn session_open(&self, new: &NewSession) -> Result<SessionId, StoreError> {
        let person = serde_json::to_string(&new.person).expect("names and numbers are always JSON");
        self.write("note a session", Durability::Power, |tx| {
            tx.execute(
                "INSERT INTO session (client, ip, boot_id, person, uid, kind, service, terminal, opened_at,
                                      encrypted)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    new.client.to_string(),
                    u32::from(new.ip),
                    new.boot_id,
                    person,
                    new.person.uid.0,
                    new.kind.as_str(),
                    new.service,
                    new.terminal,
                    new.opened_at.millis(),
                    new.encrypted
                ],
            )?;
            let id = tx.last_insert_rowid();
            // Not for somebody of a directory, who has no row.
            tx.execute(
                "UPDATE account SET last_login_at = ?2, last_login_on = ?3 WHERE uid = ?1",
                params![new.person.uid.0, new.opened_at.millis(), new.client.to_string()],
            )?;
            tx.execute(
                "DELETE FROM session WHERE id <= ?1 - ?2 AND ended_at IS NOT NULL",
                params![id, limits::SESSIONS_KEPT],
            )?;
            Ok(SessionId(u64::try_from(id).unwrap_or(0)))
        })
    }

    /// The client of an open session has another address now.
    pub fn session_moved(&self, id: SessionId, ip: Ipv4Addr) -> Result<(), StoreError> {
        self.write("note where a session is", Durability::Process, |tx| {
            tx.execute("UPDATE session SET ip = ?2 WHERE id = ?1", params![id.0, u32::from(ip)]).map(drop)
        })
    }

    /// The person of an open session is described otherwise now.
    pub fn session_person(&self, id: SessionId, person: &Person) -> Result<(), StoreError> {
        let person = serde_json::to_string(person).expect("names and numbers are always JSON");
        self.write("note whose a session is", Durability::Process, |tx| {
            tx.execute("UPDATE session SET person = ?2 WHERE id = ?1", params![id.0, person]).map(drop)
        })
    }

    /// Why a session of `client` ended; `None` if it did not, or was never one.
    pub fn session_why(&self, id: SessionId, client: MacAddr) -> Result<Option<String>, StoreError> {
        self.read("look for a session", |db| {
            db.query_row(
                "SELECT why FROM session WHERE id = ?1 AND client = ?2 AND ended_at IS NOT NULL",
                params![id.0, client.to_string()],
                |row| row.get(0),
            )
            .optional()
        })
    }

    /// Nothing happens to a session that has ended already.
    pub fn session_ended(&self, id: SessionId, at: Moment, why: &str) -> Result<(), StoreError> {
        self.write("note the end of a session", Durability::Process, |tx| {
            tx.execute(
                "UPDATE session SET ended_at = ?2, why = ?3 WHERE id = ?1 AND ended_at IS NULL",
                params![id.0, at.millis(), why],
            )
            .map(drop)
        })
    }

    /// Sessions without an end, oldest first.
    pub fn sessions_open(&self) -> Result<Vec<SessionRow>, StoreError> {
        self.read("list open sessions", |db| {
            db.prepare(&format!("{COLUMNS} WHERE ended_at IS NULL ORDER BY id"))?
                .query_map([], SessionRow::read)?
                .collect()
        })
    }

    /// When and where everybody last logged in, of those whose sessions are still on record.
    pub fn last_logins(&self) -> Result<HashMap<Uid, (Moment, MacAddr)>, StoreError> {
        self.read("look up last log-ins", |db| {
            db.prepare("SELECT uid, max(opened_at), client FROM session GROUP BY uid")?
                .query_map([], |row| {
                    let client: String = row.get(2)?;
                    let client = client.parse().map_err(|error| {
                        rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error))
                    })?;
                    Ok((Uid(row.get(0)?), (Moment::from_millis(row.get(1)?), client)))
                })?
                .collect()
        })
    }

    /// The newest `count` sessions, newest first.
    pub fn sessions(&self, count: u32) -> Result<Vec<SessionRow>, StoreError> {
        self.read("list sessions", |db| {
            db.prepare(&format!("{COLUMNS} ORDER BY id DESC LIMIT ?1"))?
                .query_map([count], SessionRow::read)?
                .collect()
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{FullName, Gid, Role, Uid};

    pub fn new(client: u8) -> NewSession {
        NewSession {
            client: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, client]),
            ip: Ipv4Addr::new(192, 168, 1, client),
            boot_id: "d8f2".to_owned(),
            person: Person {
                name: "anna".parse().expect("a name"),
                uid: Uid(10_000),
                gid: Gid(10_000),
                full_name: FullName::nearest("Anna"),
                role: Role::Pupil,
                classes: vec![("class-7b".parse().expect("a class"), Gid(100_000))],
                must_change: false,
            },
            kind: SessionKind::Desktop,
            service: "lightdm".to_owned(),
            terminal: ":0".to_owned(),
            opened_at: Moment::from_secs(1_795_435_200),
            encrypted: client == 2,
        }
    }

    #[test]
    fn a_session_is_open_until_it_has_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bramble.db");
        let store = Store::open(&path).expect("a new database");
        let [one, two] = [1, 2].map(|client| store.session_open(&new(client)).expect("noted"));
        assert_ne!(one, two);
        let end = Moment::from_secs(1_795_435_300);
        store.session_ended(one, end, "logged out").expect("noted");
        store.session_ended(one, Moment::from_secs(1), "again").expect("no harm");
        store.session_moved(two, Ipv4Addr::new(192, 168, 1, 77)).expect("noted");
        drop(store);
        let store = Store::open(&path).expect("the same database");
        let moved = NewSession { ip: Ipv4Addr::new(192, 168, 1, 77), ..new(2) };
        let open = SessionRow { id: two, session: moved, ended: None };
        assert_eq!(store.sessions_open().expect("listed"), std::slice::from_ref(&open));
        let ended = SessionRow { id: one, session: new(1), ended: Some((end, "logged out".to_owned())) };
        assert_eq!(store.sessions(10).expect("listed"), [open, ended]);
    }

    #[test]
    fn old_sessions_go_and_open_ones_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("bramble.db")).expect("a new database");
        let open = store.session_open(&new(1)).expect("noted");
        let ended = store.session_open(&new(2)).expect("noted");
        store.session_ended(ended, Moment::from_secs(1), "logged out").expect("noted");
        let jump = |tx: &rusqlite::Transaction<'_>| {
            tx.execute(
                "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'session'",
                [limits::SESSIONS_KEPT],
            )
        };
        store.write("pretend that years passed", Durability::Process, jump).expect("done");
        let last = store.session_open(&new(3)).expect("noted");
        let ids: Vec<_> = store.sessions(10).expect("listed").into_iter().map(|row| row.id).collect();
        assert_eq!(ids, [last, open]);
    }

    #[test]
    fn the_last_log_in_is_noted_with_the_account_and_for_others_with_the_session() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("bramble.db")).expect("a new database");
        let run = |tx: &rusqlite::Transaction<'_>| {
            tx.execute_batch(
                "INSERT INTO account (uid, name, created_at) VALUES (10000, 'anna', 0), (10001, 'ben', 0)",
            )
        };
        store.write("test", Durability::Process, run).expect("SQL");
        let later = Moment::from_secs(1_795_435_500);
        let mut elsewhere = new(3);
        (elsewhere.person.name, elsewhere.person.uid) = ("eva".parse().expect("a name"), Uid(200_005));
        for session in [new(1), NewSession { opened_at: later, ..new(2) }, elsewhere.clone()] {
            store.session_open(&session).expect("noted");
        }
        let last = |uid| {
            let account = store.account_of(Uid(uid)).expect("read").expect("there");
            (account.last_login_at, account.last_login_on)
        };
        assert_eq!(last(10_000), (Some(later), Some(new(2).client)));
        assert_eq!(last(10_001), (None, None), "nobody else's");
        let all = store.last_logins().expect("read");
        assert_eq!(all.get(&Uid(10_000)), Some(&(later, new(2).client)));
        assert_eq!(all.get(&Uid(200_005)), Some(&(elsewhere.opened_at, elsewhere.client)));
    }
}

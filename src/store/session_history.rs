//! SQL of what is remembered of sessions that have ended: for how long, and the last one of a client.

use rusqlite::params;

use super::sessions::SessionRow;
use super::{Durability, Store, StoreError};
use crate::types::{MacAddr, Moment};

impl Store {
    /// Forgets who was logged in where until `before`: sessions that had ended by then, and the lines about log-ins in the
    /// timelines of clients. How many rows went.
    pub fn sessions_forget(&self, before: Moment) -> Result<usize, StoreError> {
        self.write("forget sessions that are over", Durability::Process, |tx| {
            let sessions = tx.execute(
                "DELETE FROM session WHERE ended_at IS NOT NULL AND ended_at < ?1",
                params![before.millis()],
            )?;
            let lines = tx.execute(
                "DELETE FROM event WHERE kind IN ('logged_in', 'logged_out') AND at < ?1",
                params![before.millis()],
            )?;
            Ok(sessions + lines)
        })
    }

    /// The newest session of `client`, open or not.
    pub fn session_last(&self, client: MacAddr) -> Result<Option<SessionRow>, StoreError> {
        self.read("look up the last session of a client", |db| {
            let sql = format!("{} WHERE client = ?1 ORDER BY id DESC LIMIT 1", super::sessions::COLUMNS);
            let mut query = db.prepare(&sql)?;
            let mut rows = query.query_map([client.to_string()], SessionRow::read)?;
            rows.next().transpose()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::events::EventRow;
    use crate::store::sessions::{self, NewSession};

    fn new(client: u8, opened: i64) -> NewSession {
        NewSession { opened_at: Moment::from_secs(opened), ..sessions::tests::new(client) }
    }

    #[test]
    fn what_is_older_than_asked_is_forgotten_and_who_is_logged_in_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("bramble.db")).expect("a new database");
        let [old, recent, open] =
            [new(1, 100), new(1, 200), new(2, 50)].map(|one| store.session_open(&one).expect("noted"));
        store.session_ended(old, Moment::from_secs(150), "logged out").expect("noted");
        store.session_ended(recent, Moment::from_secs(250), "logged out").expect("noted");
        let line = |at: i64, kind: &str| EventRow {
            at: Moment::from_secs(at),
            client: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]),
            kind: kind.to_owned(),
            detail: "{}".to_owned(),
        };
        let lines =
            [line(100, "logged_in"), line(100, "mount"), line(150, "logged_out"), line(210, "logged_in")];
        store.add_events(&lines, &[]).expect("noted");

        assert_eq!(store.sessions_forget(Moment::from_secs(200)).expect("done"), 3);
        let left: Vec<_> = store.sessions(10).expect("listed").into_iter().map(|row| row.id).collect();
        assert_eq!(left, [open, recent]);
        let kinds: Vec<String> = store.events().expect("listed").into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["mount", "logged_in"]);

        let last = |n| store.session_last(MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, n])).expect("looked up");
        assert_eq!(last(1).map(|row| row.id), Some(recent));
        assert_eq!(last(2).map(|row| (row.id, row.ended)), Some((open, None)));
        assert_eq!(last(3), None);
    }
}

//! The schema, a step a transaction.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// One step of the schema.
#[derive(Debug)]
pub struct Migration {
    pub name: &'static str,
    pub sql: &'static str,
}

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "the database is from a newer Bramble (schema {found}, this one knows {known}); \
         install the newer package again, or restore the backup made before the upgrade"
    )]
    FromTheFuture { found: usize, known: usize },
    #[error(
        "the database cannot be copied to `{copy}` before its schema is changed, and so it was not changed; \
         make space on the disk"
    )]
    Backup {
        copy: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the version of the database cannot be read")]
    Version(#[source] rusqlite::Error),
    #[error("schema step {step} (`{name}`) failed; the database is as it was before the step")]
    Step {
        step: usize,
        name: &'static str,
        #[source]
        source: rusqlite::Error,
    },
}

/// Oldest step first. `PRAGMA user_version` counts the steps a file has had. Released steps are never edited: a test
/// holds their checksums.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "leases, Pis seen, images, boots, jobs and events", sql: FIRST },
    Migration { name: "accounts and classes", sql: ACCOUNTS },
    Migration { name: "homes and shares", sql: HOMES },
    Migration { name: "sessions", sql: SESSIONS },
    Migration { name: "people of a directory elsewhere", sql: DIRECTORY },
    Migration { name: "drafts, trials and roll-back of images", sql: IMAGE_LIFE },
    Migration {
        name: "the client that maintains a draft",
        sql: "ALTER TABLE draft ADD COLUMN client TEXT;   -- MacAddr; NULL: nobody does",
    },
    Migration { name: "EEPROMs of clients", sql: EEPROMS },
    Migration { name: "catalogues, imports that outlive a stop, and uploads", sql: CATALOGUE },
    Migration {
        name: "boots of clients",
        sql: "CREATE TABLE boot_seen (
                  client   TEXT NOT NULL,             -- MacAddr
                  began_at INTEGER NOT NULL,          -- Unix milliseconds, UTC
                  detail   TEXT NOT NULL,             -- JSON
                  PRIMARY KEY (client, began_at)
              ) STRICT, WITHOUT ROWID;",
    },
    Migration {
        name: "exports",
        sql: "CREATE TABLE export (
                  id       INTEGER PRIMARY KEY AUTOINCREMENT,
                  path     TEXT NOT NULL UNIQUE,
                  image    TEXT NOT NULL,
                  version  INTEGER NOT NULL,
                  made_at  INTEGER                    -- Unix milliseconds, UTC; NULL: it is not whole yet
              ) STRICT;",
    },
    Migration {
        name: "accounts that are removed, and their folders not yet; sizes of shares",
        sql: "CREATE TABLE leaving (
                  uid  INTEGER PRIMARY KEY,
                  name TEXT NOT NULL
              ) STRICT;
              CREATE TABLE share_size (
                  name        TEXT PRIMARY KEY,
                  bytes       INTEGER NOT NULL,     -- what was last measured
                  files       INTEGER NOT NULL,
                  measured_at INTEGER NOT NULL      -- Moment
              ) STRICT, WITHOUT ROWID;",
    },
    Migration {
        name: "what parts of the daemon know again after a restart",
        sql: "CREATE TABLE kept (
                  name  TEXT PRIMARY KEY,
                  value TEXT NOT NULL                 -- what only the part that keeps it understands
              ) STRICT, WITHOUT ROWID;",
    },
    Migration {
        name: "sessions whose files are encrypted on the network",
        sql: "ALTER TABLE session ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0;",
    },
];

const CATALOGUE: &str = "
        ALTER TABLE image ADD COLUMN origin TEXT;       -- JSON: the entry of a catalogue that it came from last

        -- Imports that are not over: begun again if Bramble is stopped.
        CREATE TABLE import (
            job        INTEGER PRIMARY KEY,
            request    TEXT NOT NULL,           -- JSON of what was asked for
            begun      INTEGER NOT NULL         -- how often it has been begun
        ) STRICT;

        -- Files that come in slices. What has come is how long the file is.
        CREATE TABLE upload (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            name       TEXT NOT NULL,
            bytes      INTEGER NOT NULL,        -- how long the whole is
            mark       TEXT NOT NULL,           -- tells it from another file of that name and length
            started_at INTEGER NOT NULL
        ) STRICT;
";

const FIRST: &str = "
        -- Every address that is somebody's. Keyed by address, so that no address can be two clients'.
        CREATE TABLE lease (
            ip         INTEGER PRIMARY KEY,     -- IPv4 as an unsigned number
            mac        TEXT,                    -- MacAddr; NULL for a client without an Ethernet address
            client_id  BLOB NOT NULL,           -- key of the lease, see types of service/leases: never interpreted
            network    TEXT NOT NULL,           -- logical name, such as lan
            state      TEXT NOT NULL CHECK (state IN ('bound', 'released', 'declined')),
            hostname   TEXT,                    -- what the client calls itself, checked
            vendor     TEXT,                    -- option 60, printable part
            granted_at INTEGER NOT NULL,        -- Moment: ms since 1970, UTC
            expires_at INTEGER                  -- Moment; NULL never runs out
        ) STRICT;
        CREATE UNIQUE INDEX lease_client ON lease (network, client_id) WHERE state = 'bound';

        -- Pis that have shown themselves, adopted or not.
        CREATE TABLE seen (
            mac        TEXT PRIMARY KEY,
            serial     TEXT,                    -- Serial, eight hex digits
            revision   INTEGER,                 -- Revision code
            first_at   INTEGER NOT NULL,
            last_at    INTEGER NOT NULL,
            network    TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- Which tree each client was last told to boot: what it may go on reading until it boots again.
        CREATE TABLE boot (
            mac        TEXT PRIMARY KEY,
            image      TEXT NOT NULL,
            version    INTEGER NOT NULL,
            at         INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE image (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            name       TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            current    INTEGER,                 -- version clients get that do not pin one
            last       INTEGER NOT NULL         -- highest version there ever was: numbers are not used again
        ) STRICT;

        -- One row a published version. `tree` is the number in NFS file handles: never used again.
        CREATE TABLE version (
            tree        INTEGER PRIMARY KEY AUTOINCREMENT,
            image       INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
            version     INTEGER NOT NULL,
            nonce       INTEGER NOT NULL,       -- ties handles to this tree, not to its number alone
            source      TEXT NOT NULL,
            sha256      TEXT,
            bytes       INTEGER NOT NULL,
            files       INTEGER NOT NULL,
            facts       TEXT NOT NULL,          -- JSON of what inspection found
            imported_at INTEGER NOT NULL,
            UNIQUE (image, version)
        ) STRICT;

        CREATE TABLE job (
            id          INTEGER PRIMARY KEY AUTOINCREMENT,
            kind        TEXT NOT NULL,
            subject     TEXT NOT NULL,
            state       TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')),
            message     TEXT NOT NULL,
            started_at  INTEGER NOT NULL,
            ended_at    INTEGER
        ) STRICT;

        CREATE TABLE event (
            id     INTEGER PRIMARY KEY AUTOINCREMENT,
            at     INTEGER NOT NULL,
            client TEXT,                        -- MacAddr
            kind   TEXT NOT NULL,
            detail TEXT NOT NULL                -- JSON
        ) STRICT;
        CREATE INDEX event_client ON event (client, id);

        -- Secrets that must outlive a restart, such as the key that signs NFS file handles.
        CREATE TABLE secret (
            name  TEXT PRIMARY KEY,
            value BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
    ";

const ACCOUNTS: &str = "
        -- Numbers are never used again: AUTOINCREMENT remembers the highest there ever was.
        CREATE TABLE account (
            uid            INTEGER PRIMARY KEY AUTOINCREMENT CHECK (uid BETWEEN 10000 AND 99999),
            name           TEXT NOT NULL UNIQUE,
            full_name      TEXT NOT NULL DEFAULT '',
            note           TEXT NOT NULL DEFAULT '',
            role           TEXT NOT NULL DEFAULT 'pupil' CHECK (role IN ('pupil', 'teacher')),
            hash           TEXT,                    -- as crypt(3) writes it; NULL lets nobody in
            must_change    INTEGER NOT NULL DEFAULT 0,
            enabled        INTEGER NOT NULL DEFAULT 1,
            expires_at     INTEGER,                 -- Moment; NULL never
            quota          INTEGER,                 -- bytes of the home; NULL as the classes or the setting say
            created_at     INTEGER NOT NULL,
            password_at    INTEGER,                 -- when the password was last set
            last_login_at  INTEGER,
            last_login_on  TEXT                     -- MacAddr of the client, if it was one
        ) STRICT;
        CREATE TABLE class (
            gid        INTEGER PRIMARY KEY AUTOINCREMENT CHECK (gid BETWEEN 100000 AND 199999),
            name       TEXT NOT NULL UNIQUE,
            note       TEXT NOT NULL DEFAULT '',
            quota      INTEGER,                     -- bytes of the home of each member
            created_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE member (
            uid INTEGER NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
            gid INTEGER NOT NULL REFERENCES class (gid) ON DELETE CASCADE,
            PRIMARY KEY (uid, gid)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX member_class ON member (gid);
        INSERT INTO sqlite_sequence (name, seq) VALUES ('account', 9999), ('class', 99999);
    ";

const HOMES: &str = "
        -- Homes that were made, by the uid of their owner.
        CREATE TABLE home (
            uid         INTEGER PRIMARY KEY,
            nonce       INTEGER NOT NULL,       -- ties NFS handles to this home, not to its number alone
            bytes       INTEGER,                -- what was last measured
            files       INTEGER,
            measured_at INTEGER                 -- Moment
        ) STRICT;

        -- Numbers of shares in NFS handles: never used again. A hand-in share has a tree for each pupil.
        CREATE TABLE share (
            id    INTEGER PRIMARY KEY AUTOINCREMENT,
            name  TEXT NOT NULL,
            owner INTEGER NOT NULL,             -- uid; 0 for the whole share
            nonce INTEGER NOT NULL,
            box   TEXT,                         -- the pupil's folder in the share's, as far as it is noted
            UNIQUE (name, owner)
        ) STRICT;
    ";

const SESSIONS: &str = "
        -- Who was logged in where. Open sessions are what a restart of the daemon takes up again.
        CREATE TABLE session (
            id        INTEGER PRIMARY KEY AUTOINCREMENT,
            client    TEXT NOT NULL,           -- MacAddr
            ip        INTEGER NOT NULL,        -- IPv4 as an unsigned number
            boot_id   TEXT NOT NULL,           -- which start of the client
            person    TEXT NOT NULL,           -- Person as it was then, as JSON
            uid       INTEGER NOT NULL,
            kind      TEXT NOT NULL,           -- SessionKind
            service   TEXT NOT NULL,           -- PAM's
            terminal  TEXT NOT NULL,
            opened_at INTEGER NOT NULL,        -- Moment
            ended_at  INTEGER,                 -- Moment; NULL while it is open
            why       TEXT                     -- why it ended
        ) STRICT;
        CREATE INDEX session_open ON session (id) WHERE ended_at IS NULL;
    ";

const DIRECTORY: &str = "
        -- What is kept of a directory elsewhere for times when it does not answer, if the administrator says so.
        CREATE TABLE directory_person (
            name        TEXT PRIMARY KEY,
            person      TEXT NOT NULL,          -- Person, as JSON
            verifier    TEXT,                   -- hash of the last password that was right, as crypt(3) writes it
            verified_at INTEGER                 -- Moment
        ) STRICT, WITHOUT ROWID;
    ";

const IMAGE_LIFE: &str = "
        ALTER TABLE image ADD COLUMN before INTEGER;            -- the version that was current before: what a roll-back gives back
        ALTER TABLE version ADD COLUMN note TEXT NOT NULL DEFAULT '';
        ALTER TABLE version ADD COLUMN own INTEGER;             -- bytes that its removal gives back, as last measured

        -- The writable copy of an image, at most one. Numbers of drafts in NFS handles are never used again.
        CREATE TABLE draft (
            tree    INTEGER PRIMARY KEY AUTOINCREMENT,
            image   INTEGER NOT NULL UNIQUE REFERENCES image (id) ON DELETE CASCADE,
            base    INTEGER NOT NULL,   -- the version it was copied from
            nonce   INTEGER NOT NULL,
            made_at INTEGER NOT NULL,
            becomes INTEGER             -- the version it is being published as
        ) STRICT;

        -- Clients that try a version out instead of what the configuration says, until that is ended.
        CREATE TABLE trial (
            mac  TEXT PRIMARY KEY,
            tree INTEGER NOT NULL REFERENCES version (tree) ON DELETE CASCADE,
            at   INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- What each room booted before a version was promoted to it; empty: the room had no image.
        CREATE TABLE room_before (
            room   TEXT PRIMARY KEY,
            before TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
    ";

const EEPROMS: &str = "
        -- What each client's bootloader is, and what is to be written into it.
        CREATE TABLE eeprom (
            mac     TEXT PRIMARY KEY,
            report  TEXT,               -- what its agent said last, as JSON
            rollout TEXT                -- the last update, as JSON
        ) STRICT, WITHOUT ROWID;
    ";

/// SHA-256 of the SQL of each released step, oldest first. A step without one may still be edited.
pub const RELEASED: &[&str] = &[];

/// Brings `db`, the file at `path`, to the newest step of `steps`. What it was before is kept in a copy beside it.
pub fn migrate(db: &mut Connection, path: &Path, steps: &[Migration]) -> Result<(), MigrateError> {
    let found: usize =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(MigrateError::Version)?;
    if found > steps.len() {
        return Err(MigrateError::FromTheFuture { found, known: steps.len() });
    }
    if found > 0 && found < steps.len() {
        back_up(db, path, found)?;
    }
    for (done, migration) in steps.iter().enumerate().skip(found) {
        let step = done + 1;
        run_step(db, step, migration).map_err(|source| MigrateError::Step {
            step,
            name: migration.name,
            source,
        })?;
    }
    Ok(())
}

/// Copies the database to `bramble.db.schema-<found>`: what a person needs who goes back to the older package.
fn back_up(db: &Connection, path: &Path, found: usize) -> Result<(), MigrateError> {
    let copy = path.with_added_extension(format!("schema-{found}"));
    // One that is there was left by an upgrade that failed; the database is still what it was then.
    let _ = fs_err::remove_file(&copy);
    let failed = |source| MigrateError::Backup { copy: copy.clone(), source };
    db.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(failed)?;
    let synced = fs_err::File::open(&copy).and_then(|file| file.sync_all());
    synced.map_err(|error| failed(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))
}

fn run_step(db: &mut Connection, step: usize, migration: &Migration) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    tx.execute_batch(migration.sql)?;
    tx.pragma_update(None, "user_version", step)?;
    tx.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration =
        Migration { name: "one", sql: "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);" };
    const TWO: Migration = Migration { name: "two", sql: "CREATE TABLE b (x INTEGER) STRICT;" };
    const BROKEN: Migration = Migration {
        name: "broken",
        sql: "CREATE TABLE c (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1);",
    };

    fn version(db: &Connection) -> usize {
        db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version")
    }

    fn tables(db: &Connection) -> Vec<String> {
        let mut query =
            db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").expect("SQL");
        let rows = query.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("names")
    }

    #[test]
    fn twice_is_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        let mut db = Connection::open(&path).expect("a database");
        migrate(&mut db, &path, &[ONE, TWO]).expect("first");
        migrate(&mut db, &path, &[ONE, TWO]).expect("again");
        assert_eq!((version(&db), tables(&db)), (2, vec!["a".to_owned(), "b".to_owned()]));
        let rows: u32 = db.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).expect("rows");
        assert_eq!(rows, 1);
    }

    #[test]
    fn the_future_is_refused_with_advice() {
        let mut db = Connection::open_in_memory().expect("a database");
        db.pragma_update(None, "user_version", 9).expect("set");
        let error = migrate(&mut db, Path::new("unused"), &[ONE, TWO]).expect_err("newer");
        assert_eq!(
            error.to_string(),
            "the database is from a newer Bramble (schema 9, this one knows 2); install the newer package again, or \
             restore the backup made before the upgrade"
        );
        assert_eq!((version(&db), tables(&db)), (9, Vec::<String>::new()), "and nothing is touched");
    }

    #[test]
    fn a_step_that_fails_half_way_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        let mut db = Connection::open(&path).expect("a database");
        let error = migrate(&mut db, &path, &[ONE, BROKEN, TWO]).expect_err("the second step is wrong");
        assert_eq!(
            error.to_string(),
            "schema step 2 (`broken`) failed; the database is as it was before the step"
        );
        assert_eq!((version(&db), tables(&db)), (1, vec!["a".to_owned()]));
        migrate(&mut db, &path, &[ONE, TWO]).expect("a repaired package goes on from there");
        assert_eq!(version(&db), 2);
    }

    #[test]
    fn the_file_before_an_upgrade_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        let mut db = Connection::open(&path).expect("a database");
        migrate(&mut db, &path, &[ONE]).expect("new");
        assert!(!folder.path().join("x.db.schema-0").exists(), "a new file has nothing to keep");
        migrate(&mut db, &path, &[ONE, TWO]).expect("upgraded");
        let copy = Connection::open(folder.path().join("x.db.schema-1")).expect("the copy");
        assert_eq!((version(&copy), tables(&copy)), (1, vec!["a".to_owned()]));
    }

    #[test]
    fn released_steps_are_never_edited() {
        use sha2::{Digest, Sha256};
        assert!(RELEASED.len() <= MIGRATIONS.len());
        for (step, (migration, sum)) in MIGRATIONS.iter().zip(RELEASED).enumerate() {
            let pairs: Vec<String> =
                Sha256::digest(migration.sql).iter().map(|byte| format!("{byte:02x}")).collect();
            let found = pairs.concat();
            assert_eq!(
                &found,
                sum,
                "step {} (`{}`) was released: undo the edit and add a step",
                step + 1,
                migration.name
            );
        }
    }
}

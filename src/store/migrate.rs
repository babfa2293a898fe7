//! The schema, a step a transaction.

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
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "leases, Pis seen, images, boots, jobs and events",
    sql: "
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
    ",
}];

/// Brings `db` to the newest step of `steps`.
pub fn migrate(db: &mut Connection, steps: &[Migration]) -> Result<(), MigrateError> {
    let found: usize =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(MigrateError::Version)?;
    if found > steps.len() {
        return Err(MigrateError::FromTheFuture { found, known: steps.len() });
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

fn run_step(db: &mut Connection, step: usize, migration: &Migration) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    tx.execute_batch(migration.sql)?;
    tx.pragma_update(None, "user_version", step)?;
    tx.commit()
}

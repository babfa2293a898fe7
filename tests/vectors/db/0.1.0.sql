-- bramble.db as Bramble 0.1.0 made it.
PRAGMA application_id = 1114792301;
PRAGMA user_version = 3;
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
CREATE TABLE seen (
            mac        TEXT PRIMARY KEY,
            serial     TEXT,                    -- Serial, eight hex digits
            revision   INTEGER,                 -- Revision code
            first_at   INTEGER NOT NULL,
            last_at    INTEGER NOT NULL,
            network    TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
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
CREATE TABLE secret (
            name  TEXT PRIMARY KEY,
            value BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
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
CREATE TABLE home (
            uid         INTEGER PRIMARY KEY,
            nonce       INTEGER NOT NULL,       -- ties NFS handles to this home, not to its number alone
            bytes       INTEGER,                -- what was last measured
            files       INTEGER,
            measured_at INTEGER                 -- Moment
        ) STRICT;
CREATE TABLE share (
            id    INTEGER PRIMARY KEY AUTOINCREMENT,
            name  TEXT NOT NULL,
            owner INTEGER NOT NULL,             -- uid; 0 for the whole share
            nonce INTEGER NOT NULL,
            box   TEXT,                         -- the pupil's folder in the share's, as far as it is noted
            UNIQUE (name, owner)
        ) STRICT;
INSERT INTO secret (name, value) VALUES ('handles', x'00112233');

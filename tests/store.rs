//! The database file under what happens to files: damage, a power cut, another program, an upgrade, a full copy.

use std::fs;
use std::path::{Path, PathBuf};

use bramble::store::{Durability, Store, StoreError};
use bramble::types::chain;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bramble.db");
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the folder can be listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn put(store: &Store, name: &str) {
    store
        .write("keep a secret", Durability::Power, |tx| {
            tx.execute("INSERT INTO secret (name, value) VALUES (?1, x'00')", [name]).map(|_| ())
        })
        .expect("a secret is kept");
}

fn secrets(store: &Store) -> Vec<String> {
    store
        .read("list secrets", |db| {
            let mut query = db.prepare("SELECT name FROM secret ORDER BY name")?;
            let rows = query.query_map([], |row| row.get(0))?;
            rows.collect()
        })
        .expect("secrets are listed")
}

#[test]
fn a_new_store_is_one_file_and_opens_again() {
    let (folder, path) = folder();
    put(&Store::open(&path).expect("new"), "a");
    assert_eq!(names(folder.path()), ["bramble.db"], "a store that is closed leaves no other file");
    assert_eq!(secrets(&Store::open(&path).expect("again")), ["a"]);
}

#[test]
fn it_writes_ahead_and_syncs_as_asked() {
    let (_folder, path) = folder();
    let store = Store::open(&path).expect("new");
    let mode: String = store
        .read("look", |db| db.pragma_query_value(None, "journal_mode", |row| row.get(0)))
        .expect("a mode");
    assert_eq!(mode, "wal");
    for (durability, level) in [(Durability::Power, 2), (Durability::Process, 1)] {
        let found: u8 = store
            .write("look", durability, |tx| tx.pragma_query_value(None, "synchronous", |row| row.get(0)))
            .expect("a level");
        assert_eq!(found, level, "{durability:?}");
    }
}

#[test]
fn a_write_that_fails_leaves_nothing_and_says_what_was_tried() {
    let (_folder, path) = folder();
    let store = Store::open(&path).expect("new");
    let error = store
        .write("keep two secrets", Durability::Power, |tx| {
            tx.execute("INSERT INTO secret (name, value) VALUES ('a', x'00')", [])?;
            tx.execute("INSERT INTO secret (name, value) VALUES ('a', x'00')", [])
        })
        .expect_err("twice the same name");
    assert!(
        chain(&error).starts_with("the database refused to keep two secrets: UNIQUE constraint failed"),
        "{error}"
    );
    assert_eq!(secrets(&store), Vec::<String>::new());
}

/// What is on the disk at the moment of a kill is the file and its `-wal`.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (folder, path) = folder();
    let store = Store::open(&path).expect("new");
    put(&store, "a");
    let other = tempfile::tempdir().expect("a folder");
    for name in names(folder.path()) {
        if !name.ends_with("-shm") {
            fs::copy(folder.path().join(&name), other.path().join(&name)).expect("copied");
        }
    }
    drop(store);
    assert_eq!(secrets(&Store::open(&other.path().join("bramble.db")).expect("after the kill")), ["a"]);
}

/// A power cut may tear the last write of the `-wal`: what was committed before it stays.
#[test]
fn a_torn_end_of_the_log_loses_only_what_was_torn() {
    let (folder, path) = folder();
    let store = Store::open(&path).expect("new");
    put(&store, "a");
    let wal = folder.path().join("bramble.db-wal");
    let whole = fs::metadata(&wal).expect("a log").len();
    put(&store, "b");
    let other = tempfile::tempdir().expect("a folder");
    let copy = other.path().join("bramble.db");
    fs::copy(&path, &copy).expect("copied");
    let mut log = fs::read(&wal).expect("a log");
    log.truncate(usize::try_from(whole).expect("small") + 100);
    fs::write(other.path().join("bramble.db-wal"), log).expect("torn");
    assert_eq!(secrets(&Store::open(&copy).expect("after the cut")), ["a"]);
}

fn damage(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the file");
    how(&mut bytes);
    fs::write(path, bytes).expect("damaged");
}

#[test]
fn a_damaged_file_is_set_aside_and_never_replaced_by_an_empty_one() {
    type How = fn(&mut Vec<u8>);
    let rows: [(&str, How, &str); 5] = [
        ("empty", |bytes| bytes.clear(), "it is only 0 bytes long"),
        ("cut off", |bytes| bytes.truncate(300), "it is only 300 bytes long"),
        ("half", |bytes| bytes.truncate(bytes.len() / 2), "database disk image is malformed"),
        ("overwritten", |bytes| bytes[..64].fill(0xff), "it does not begin as a database does"),
        ("a page of noise", |bytes| bytes[4096..6000].fill(0xa5), ""),
    ];
    for (shows, how, reason) in rows {
        let (folder, path) = folder();
        put(&Store::open(&path).expect("new"), "a");
        damage(&path, how);
        let damaged = fs::read(&path).expect("the file");
        let aside = folder.path().join("bramble.db.corrupt-1");

        let error = Store::open(&path).expect_err(shows);
        let StoreError::Damaged { reason: found, .. } = &error else { panic!("{shows}: {error:?}") };
        assert!(found.contains(reason), "{shows}: {found}");
        let ways = format!(
            "either put a copy of yours in its place (`cp COPY {}`), or go on with an empty one, in which leases, \
             images and the past are forgotten (`mv {aside} {aside}.kept`); then start Bramble again",
            path.display(),
            aside = aside.display()
        );
        assert_eq!(
            error.to_string(),
            format!(
                "the database `{}` is damaged ({found}) and has been set aside as `{}`; {ways}",
                path.display(),
                aside.display()
            )
        );
        assert_eq!(fs::read(&aside).expect("the file set aside"), damaged, "{shows}: kept as it was");

        let error = Store::open(&path).expect_err("nobody has decided yet");
        assert_eq!(
            error.to_string(),
            format!(
                "there is no database `{}`, but a damaged one that was set aside as `{}`; {ways}",
                path.display(),
                aside.display()
            )
        );
        assert!(!path.exists(), "{shows}: no empty database was made");

        fs::rename(&aside, folder.path().join("bramble.db.corrupt-1.kept")).expect("a person decides");
        assert_eq!(secrets(&Store::open(&path).expect("an empty one")), Vec::<String>::new());
    }
}

#[test]
fn the_log_goes_with_its_database_and_earlier_ones_are_kept() {
    let (folder, path) = folder();
    fs::write(folder.path().join("bramble.db.corrupt-1"), "earlier").expect("written");
    fs::write(&path, "not a database at all").expect("written");
    fs::write(folder.path().join("bramble.db-wal"), "its log").expect("written");
    Store::open(&path).expect_err("damaged");
    assert_eq!(
        names(folder.path()),
        ["bramble.db.corrupt-1", "bramble.db.corrupt-2", "bramble.db.corrupt-2-wal"]
    );
    assert_eq!(fs::read(folder.path().join("bramble.db.corrupt-1")).expect("kept"), b"earlier");
}

#[test]
fn a_log_without_its_database_is_not_read_into_a_new_one() {
    let (folder, path) = folder();
    let store = Store::open(&path).expect("new");
    put(&store, "a");
    let log = fs::read(folder.path().join("bramble.db-wal")).expect("a log");
    drop(store);
    fs::remove_file(&path).expect("a person removes the database");
    fs::write(folder.path().join("bramble.db-wal"), log).expect("and leaves the log");
    assert_eq!(secrets(&Store::open(&path).expect("new")), Vec::<String>::new());
}

#[test]
fn a_creation_that_was_interrupted_is_begun_again() {
    let (folder, path) = folder();
    fs::write(folder.path().join("bramble.db.new"), "half").expect("written");
    Store::open(&path).expect("new");
    assert_eq!(names(folder.path()), ["bramble.db"]);
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let (_folder, path) = folder();
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.execute_batch("CREATE TABLE theirs (x INTEGER);").expect("a table");
    drop(db);
    let error = Store::open(&path).expect_err("not ours");
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is a database of another program; choose another folder with `option data`, or move the file away",
            path.display()
        )
    );
    assert!(path.exists());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let (folder, _) = folder();
    let path = folder.path().join("gone").join("bramble.db");
    let error = Store::open(&path).expect_err("no folder");
    assert!(error.to_string().contains("check that the disk is mounted"), "{error}");
}

/// What a release made, and what this program makes of it: one text file a release, in `tests/vectors/db`.
///
/// The text is the file as SQL, so that it can be reviewed: its schema as that release made it, and a row or two of each
/// table. `BRAMBLE_BLESS=1 cargo test --test store` writes the one of this version while it is not released.
#[test]
fn a_file_of_every_release_opens_with_what_was_in_it() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/db");
    let current = vectors.join(concat!(env!("CARGO_PKG_VERSION"), ".sql"));
    if std::env::var_os("BRAMBLE_BLESS").is_some() {
        let (_folder, path) = folder();
        drop(Store::open(&path).expect("new"));
        fs::create_dir_all(&vectors).expect("the folder is made");
        fs::write(&current, dump(&path)).expect("the vector is written");
    }
    let (_fresh_folder, fresh) = folder();
    drop(Store::open(&fresh).expect("new"));
    let mut opened = 0;
    for name in names(&vectors) {
        let (_folder, path) = folder();
        let db = rusqlite::Connection::open(&path).expect("a database");
        db.execute_batch(&fs::read_to_string(vectors.join(&name)).expect("a vector"))
            .expect("the vector is SQL");
        drop(db);
        let store = Store::open(&path).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        assert_eq!(secrets(&store), ["handles"], "{name}: what was in it is still in it");
        drop(store);
        assert_eq!(
            schema(&path),
            schema(&fresh),
            "{name} becomes another schema than a new file has; before a release: BRAMBLE_BLESS=1 cargo test --test \
             store; after it: add a step to MIGRATIONS"
        );
        opened += 1;
    }
    assert!(current.exists() && opened >= 1, "run `BRAMBLE_BLESS=1 cargo test --test store`");
}

/// The definitions of a database, sorted, without comments and layout.
fn schema(path: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(path).expect("a database");
    let mut query = db.prepare("SELECT sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY sql").expect("SQL");
    let rows = query.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    let plain = |sql: String| {
        let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default().split_whitespace());
        lines.flatten().collect::<Vec<_>>().join(" ")
    };
    rows.map(|sql| plain(sql.expect("a definition"))).collect()
}

/// The database as SQL, with a secret in it.
fn dump(path: &Path) -> String {
    let db = rusqlite::Connection::open(path).expect("a database");
    let mut query = db
        .prepare(
            "SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
        )
        .expect("SQL");
    let rows = query.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    let definitions: Vec<String> = rows.map(|sql| sql.expect("a definition") + ";").collect();
    let number =
        |name: &str| -> i64 { db.pragma_query_value(None, name, |row| row.get(0)).expect("a number") };
    format!(
        "-- bramble.db as Bramble {} made it.\nPRAGMA application_id = {};\nPRAGMA user_version = {};\n{}\n\
         INSERT INTO secret (name, value) VALUES ('handles', x'00112233');\n",
        env!("CARGO_PKG_VERSION"),
        number("application_id"),
        number("user_version"),
        definitions.join("\n")
    )
}

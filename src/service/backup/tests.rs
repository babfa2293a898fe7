use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tar::{EntryType, Header};
use tokio::sync::watch;

use super::*;
use crate::config::Config;
use crate::config::load::{Source, Sources, from_sources};
use crate::service::accounts::Accounts;
use crate::service::jobs::JobState;
use crate::store::Durability;
use crate::types::{FullName, Person, Role, Uid};

const NOW: Moment = Moment::from_secs(1_795_762_800);

struct House {
    folder: tempfile::TempDir,
    store: Store,
    homes: Homes,
    jobs: Jobs,
    backups: Backups,
}

fn config() -> Arc<Config> {
    let text = "config bramble 'main'\n\toption data '/mnt/x'\nconfig share 'films'\n";
    let network = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '10.0.0.1/24'\n";
    let source = |text: &str| Source { name: "x".to_owned(), text: Some(text.as_bytes().to_vec()) };
    let sources =
        Sources { bramble: source(text), network: source(network), dhcp: source(""), system: source("") };
    Arc::new(from_sources(&sources).expect("right"))
}

/// A house with the accounts anna (10000) and ben (10001). `None` where folders cannot be given away.
fn house() -> Option<House> {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("made");
    chown(&data, Some(0), Some(10_000)).ok()?;
    fs::write(folder.path().join("settings"), "config bramble 'main'\n").expect("written");
    let store = Store::open(&data.join("bramble.db")).expect("a store");
    // Made by crypt(3).
    let hash =
        "$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1";
    let people = format!(
        "INSERT INTO account (uid, name, hash, created_at) VALUES (10000, 'anna', '{hash}', 5), (10001, 'ben', NULL, 5)"
    );
    store.write("test", Durability::Process, |tx| tx.execute_batch(&people)).expect("SQL");
    let config = watch::Sender::new(config());
    let homes = Homes::open(&data, store.clone(), config.subscribe()).expect("opened");
    let shares = Shares::open(&data, store.clone(), config.subscribe()).expect("opened");
    let (jobs, _) = Jobs::open(store.clone()).expect("opened");
    let clock = || crate::service::leases::Now { civil: NOW, up: crate::proto::dhcp::Uptime(Duration::ZERO) };
    let accounts = Accounts::new(store.clone(), config.subscribe(), Box::new(clock));
    let backups = Backups {
        accounts,
        data: data.as_path().into(),
        settings: folder.path().join("settings").into(),
        policy: Policy::Anything,
        store: store.clone(),
        homes: homes.clone(),
        shares,
        jobs: jobs.clone(),
    };
    Some(House { folder, store, homes, jobs, backups })
}

impl House {
    fn home(&self, name: &str, uid: u32) -> PathBuf {
        let person = Person {
            name: name.parse().expect("a name"),
            uid: Uid(uid),
            gid: Uid(uid).own_group(),
            full_name: FullName::default(),
            role: Role::Pupil,
            classes: vec![],
            must_change: false,
        };
        self.homes.prepare(&person, NOW).expect("made").root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn back_up(&self, to: &str, since: Option<Moment>) -> crate::service::jobs::JobStatus {
        let request = BackupRequest { to: self.path(to), home: None, since };
        let job = self.backups.back_up(request, NOW).expect("started");
        self.jobs.wait(job).expect("ended")
    }

    fn restore(&self, from: &Path) -> crate::service::jobs::JobStatus {
        self.restore_home(from, None)
    }

    fn restore_home(&self, from: &Path, home: Option<&str>) -> crate::service::jobs::JobStatus {
        let home = home.map(|name| name.parse().expect("a name"));
        let job = self.backups.restore(RestoreRequest { from: from.to_owned(), home }).expect("started");
        self.jobs.wait(job).expect("ended")
    }
}

/// Fills a home with one of everything.
fn furnish(home: &Path) {
    fs::create_dir(home.join("letters")).expect("made");
    fs::write(home.join("letters/a"), "dear").expect("written");
    fs::hard_link(home.join("letters/a"), home.join("same")).expect("linked");
    symlink("/etc/passwd", home.join("link")).expect("linked");
    let long = home.join("x".repeat(120)).join("y".repeat(120));
    fs::create_dir_all(&long).expect("made");
    fs::write(long.join("ünï"), vec![7; 5000]).expect("written");
    let sparse = File::create(home.join("sparse")).expect("made");
    sparse.set_len(3 << 40).expect("three TiB of nothing");
    sparse.write_all_at(b"in the middle", 1 << 40).expect("written");
    fs::set_permissions(home.join("letters/a"), fs::Permissions::from_mode(0o640)).expect("set");
    File::options()
        .write(true)
        .open(home.join("letters/a"))
        .and_then(|file| {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789))
        })
        .expect("dated");
    for entry in ["letters", "letters/a", "sparse"] {
        chown(home.join(entry), Some(10_000), Some(10_000)).expect("given");
    }
}

#[test]
fn what_was_backed_up_comes_back_on_another_machine() {
    let (Some(old), Some(new)) = (house(), house()) else { return };
    furnish(&old.home("anna", 10_000));
    let films = old.path("data/shares/films");
    fs::create_dir(&films).expect("made");
    fs::write(films.join("one"), "film").expect("written");
    let made = old.back_up("b.tar", None);
    assert_eq!(made.state, JobState::Done, "{}", made.message);
    let archive = old.path("b.tar");
    let meta = fs::metadata(&archive).expect("there");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600, "hashes are in it");
    assert!(meta.len() < 1 << 20, "holes take no room: {}", meta.len());

    new.store
        .write("test", Durability::Process, |tx| tx.execute_batch("DELETE FROM account WHERE name = 'ben'"))
        .expect("SQL");
    let done = new.restore(&archive);
    assert_eq!(done.state, JobState::Done, "{}", done.message);
    assert!(done.message.contains("2 accounts"), "{}", done.message);
    let home = new.path("data/homes/anna");
    let meta = |name: &str| fs::symlink_metadata(home.join(name)).expect(name);
    assert_eq!((meta("").uid(), meta("").mode() & 0o7777), (10_000, 0o700));
    assert_eq!(fs::read(home.join("letters/a")).expect("read"), b"dear");
    assert_eq!((meta("letters/a").uid(), meta("letters/a").mode() & 0o7777), (10_000, 0o640));
    assert_eq!((meta("letters/a").mtime(), meta("letters/a").mtime_nsec()), (1_000_000_000, 123_456_789));
    assert_eq!(meta("same").ino(), meta("letters/a").ino(), "one file with two names");
    assert_eq!(fs::read_link(home.join("link")).expect("a link"), Path::new("/etc/passwd"));
    let long = home.join("x".repeat(120)).join("y".repeat(120)).join("ünï");
    assert_eq!(fs::read(long).expect("read"), vec![7; 5000]);
    let sparse = File::open(home.join("sparse")).expect("opened");
    let mut bytes = [0; 13];
    sparse.read_exact_at(&mut bytes, 1 << 40).expect("read");
    assert_eq!((&bytes, meta("sparse").len()), (b"in the middle", 3 << 40));
    assert!(meta("sparse").blocks() < 1000);
    assert_eq!(fs::metadata(new.path("data/shares/films/one")).expect("there").uid(), 65_534);
    assert_eq!(
        fs::read(new.path("data/restored-config")).expect("there"),
        b"config bramble 'main'\n",
        "settings are put beside, not in force"
    );
    assert!(new.store.account_uid(&"ben".parse().expect("a name")).expect("read").is_some());

    // Any tar reads it.
    let out = old.path("out");
    fs::create_dir(&out).expect("made");
    let tar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&out).output();
    if let Ok(tar) = tar {
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let sparse = File::open(out.join("homes/anna/sparse")).expect("there");
        sparse.read_exact_at(&mut bytes, 1 << 40).expect("read");
        assert_eq!(&bytes, b"in the middle");
    }
}

#[test]
fn an_increment_has_what_changed_and_brings_it_back() {
    let Some(house) = house() else { return };
    let home = house.home("anna", 10_000);
    fs::write(home.join("old"), "old").expect("written");
    let made = fs::metadata(home.join("old")).expect("there");
    let later = Moment::from_secs(made.ctime()).plus(Duration::from_secs(5));
    assert_eq!(house.back_up("none.tar", Some(later)).state, JobState::Done);
    assert_eq!(house.back_up("all.tar", Some(Moment::from_secs(0))).state, JobState::Done);
    for (archive, found) in [("none.tar", false), ("all.tar", true)] {
        fs::remove_file(home.join("old")).or_else(|_| fs::metadata(&home).map(drop)).expect("gone");
        let done = house.restore(&house.path(archive));
        assert_eq!((done.state, home.join("old").exists()), (JobState::Done, found), "{archive}");
        assert!(done.message.contains("restore the one before it first"), "{}", done.message);
    }
}

#[test]
fn one_home_comes_back_by_name() {
    let Some(house) = house() else { return };
    for (name, uid) in [("anna", 10_000), ("ben", 10_001)] {
        fs::write(house.home(name, uid).join("file"), name).expect("written");
    }
    assert_eq!(house.back_up("b.tar", None).state, JobState::Done);
    for name in ["anna", "ben"] {
        fs::write(house.path("data/homes").join(name).join("file"), "changed").expect("written");
    }
    assert_eq!(house.restore_home(&house.path("b.tar"), Some("ben")).state, JobState::Done);
    assert_eq!(fs::read(house.path("data/homes/ben/file")).expect("read"), b"ben");
    assert_eq!(fs::read(house.path("data/homes/anna/file")).expect("read"), b"changed");
    let missing = house.restore_home(&house.path("b.tar"), Some("eva"));
    assert_eq!(
        (missing.state, missing.message.as_str()),
        (JobState::Failed, "the home `eva` is not in this backup")
    );
}

#[test]
fn an_archive_never_overwrites_and_never_lies_in_the_data() {
    let Some(house) = house() else { return };
    let refused = |to: PathBuf| {
        let request = BackupRequest { to, home: None, since: None };
        house.backups.back_up(request, NOW).expect_err("refused").to_string()
    };
    fs::write(house.path("there.tar"), "precious").expect("written");
    assert!(
        refused(house.path("there.tar"))
            .ends_with("is there already; choose another name, or remove it first")
    );
    assert!(refused(house.path("data/b.tar")).contains("would be lost with it"));
    assert!(refused("b.tar".into()).starts_with("`b.tar` is not a path from `/` on"));
    let request =
        BackupRequest { to: house.path("b.tar"), home: Some("eva".parse().expect("a name")), since: None };
    assert!(matches!(house.backups.back_up(request, NOW), Err(BackupError::NoSuchHome(_))));
}

#[test]
fn an_interrupted_backup_leaves_nothing_and_an_interrupted_restore_can_be_repeated() {
    let Some(house) = house() else { return };
    let home = house.home("anna", 10_000);
    fs::write(home.join("a"), vec![1; 200_000]).expect("written");
    fs::write(home.join("b"), vec![2; 200_000]).expect("written");

    let cancelled = Task::unwatched();
    cancelled.cancel();
    let request = BackupRequest { to: house.path("c.tar"), home: None, since: None };
    let error = house.backups.run_back_up(&request, NOW, &cancelled).expect_err("cancelled");
    assert!(matches!(error.stopped(), Stopped::Cancelled));
    assert!(!house.path("c.tar").exists() && !house.path("c.tar.part").exists());

    assert_eq!(house.back_up("b.tar", None).state, JobState::Done);
    let whole = fs::read(house.path("b.tar")).expect("read");
    // Cut at every kind of place: in a header, in content, before the last entry.
    for cut in (0..whole.len()).step_by(7_919) {
        fs::write(house.path("cut.tar"), &whole[..cut]).expect("written");
        let done = house.restore(&house.path("cut.tar"));
        assert_eq!(done.state, JobState::Failed, "{cut}: {}", done.message);
        let cut_off = done.message.starts_with("the backup ends in the middle");
        assert!(cut_off || cut < 1024, "{cut}: {}", done.message);
    }
    fs::write(home.join("a"), "half").expect("written");
    assert_eq!(house.restore(&house.path("b.tar")).state, JobState::Done);
    assert_eq!(fs::read(home.join("a")).expect("read"), vec![1; 200_000]);
}

/// Name, type and where a link leads.
type Forgery<'a> = (&'a str, EntryType, &'a str);

/// An archive of a stranger.
struct Forged(Vec<u8>);

impl Forged {
    fn new() -> Self {
        let mut forged = Self(Vec::new());
        let head = br#"{"format":1,"bramble":"0","made_at":0,"since":null,"home":null}"#;
        forged.entry(HEAD, EntryType::Regular, "", head, 0o600);
        forged
    }

    fn entry(&mut self, name: &str, kind: EntryType, link: &str, content: &[u8], mode: u32) -> &mut Self {
        let mut header = Header::new_ustar();
        // As bytes: the setters refuse what a stranger would write.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_device_major(1).expect("ustar");
        header.set_device_minor(3).expect("ustar");
        header.set_cksum();
        self.0.write_all(header.as_bytes()).expect("memory");
        self.0.write_all(content).expect("memory");
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn end(&mut self) -> &mut Self {
        self.entry(END, EntryType::Regular, "", br#"{"files":0,"left_out":0}"#, 0o600)
    }

    fn restore(&self, house: &House) -> crate::service::jobs::JobStatus {
        let path = house.path("forged.tar");
        fs::write(&path, [&self.0[..], &[0; 1024]].concat()).expect("written");
        house.restore(&path)
    }
}

#[test]
fn an_archive_without_its_last_entry_is_said_to_be_cut_off() {
    let Some(house) = house() else { return };
    let generation = house.backups.accounts.generation();
    let mut forged = Forged::new();
    forged.entry(ACCOUNTS, EntryType::Regular, "", br#"{"account":[]}"#, 0o600);
    forged.entry("homes/anna/letter", EntryType::Regular, "", b"dear", 0o600);
    // In good order for tar: only we know that something is missing.
    let done = forged.restore(&house);
    assert_eq!(done.state, JobState::Failed);
    assert_eq!(
        done.message,
        "the backup ends in the middle: everything up to there has been restored, and what comes behind is missing"
    );
    assert_eq!(fs::read(house.path("data/homes/anna/letter")).expect("restored"), b"dear");
    assert_ne!(house.backups.accounts.generation(), generation, "clients that run hear of it");
    assert_eq!(forged.end().restore(&house).state, JobState::Done);
}

#[test]
fn a_hostile_archive_reaches_nothing_but_the_home_it_names() {
    let Some(house) = house() else { return };
    let secret = house.path("secret");
    fs::write(&secret, "untouched").expect("written");
    let ben = house.home("ben", 10_001);
    fs::write(ben.join("diary"), "untouched").expect("written");
    let (file, folder, link, hard) =
        (EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link);
    let outside = secret.to_str().expect("text").to_owned();
    let to_ben = ben.to_str().expect("text").to_owned();
    #[rustfmt::skip]
    let rows: Vec<(&str, Vec<Forgery<'_>>)> = vec![
        ("`..` in a name",                 vec![("homes/anna/../ben/diary", file, "")]),
        ("`..` to leave everything",       vec![("homes/anna/../../../secret", file, "")]),
        ("a name from the root",           vec![("/tmp/x", file, "")]),
        ("a place that is none of ours",   vec![("keys/tls.pem", file, "")]),
        ("the database",                   vec![("bramble.db", file, "")]),
        ("a home by a name that is none",  vec![("homes/.ssh/x", file, "")]),
        ("a file in the place of a home",  vec![("homes/anna", file, "")]),
        ("a link in the place of a home",  vec![("homes/anna", link, &to_ben)]),
        ("through a link from the root",   vec![("homes/anna/l", link, &to_ben), ("homes/anna/l/diary", file, "")]),
        ("through a link upwards",         vec![("homes/anna/l", link, "../ben"), ("homes/anna/l/diary", file, "")]),
        ("a hard link to another's file",  vec![("homes/anna/h", hard, "homes/ben/diary"), ("homes/anna/h", file, "")]),
        ("a hard link outside",            vec![("homes/anna/h", hard, &outside)]),
        ("a hard link upwards",            vec![("homes/anna/h", hard, "homes/anna/../ben/diary")]),
        ("a hard link through a link",     vec![("homes/anna/l", link, "../ben"), ("homes/anna/h", hard, "homes/anna/l/diary")]),
    ];
    for (shows, entries) in rows {
        let mut forged = Forged::new();
        forged.entry("homes/anna", folder, "", b"", 0o755);
        for (name, kind, link) in entries {
            let content: &[u8] = if kind == file { b"changed" } else { b"" };
            forged.entry(name, kind, link, content, 0o644);
        }
        forged.end();
        let done = forged.restore(&house);
        let inside = house.path("data/homes/anna/ben/diary");
        assert!(done.state == JobState::Failed || inside.exists(), "{shows}: {}", done.message);
        assert_eq!(fs::read(&secret).expect("read"), b"untouched", "{shows}");
        assert_eq!(fs::read(ben.join("diary")).expect("read"), b"untouched", "{shows}");
        let mut names: Vec<_> = fs::read_dir(house.path("data/homes"))
            .expect("listed")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["anna", "ben"], "{shows}");
    }
}

#[test]
fn owners_setuid_and_devices_of_an_archive_count_for_nothing() {
    let Some(house) = house() else { return };
    let mut forged = Forged::new();
    forged
        .entry("homes/anna", EntryType::Directory, "", b"", 0o777)
        .entry("homes/anna/su", EntryType::Regular, "", b"x", 0o6755)
        .entry("homes/anna/null", EntryType::Char, "", b"", 0o666)
        .entry("homes/nobody/x", EntryType::Regular, "", b"x", 0o644)
        .entry("shares/unknown/x", EntryType::Regular, "", b"x", 0o644)
        .end();
    let done = forged.restore(&house);
    assert_eq!(
        (done.state, done.message.as_str()),
        (
            JobState::Done,
            "1 file in one home or share, as of 1970-01-01 00:00:00 UTC\n\
             Not restored: the home `nobody` (there is no such account).\n\
             Not restored: the share `unknown` (the configuration has no such section).\n\
             Left out, because a home has no devices: 1 device."
        )
    );
    let meta = |name: &str| fs::symlink_metadata(house.path("data/homes/anna").join(name)).expect(name);
    assert_eq!((meta("su").uid(), meta("su").gid(), meta("su").mode() & 0o7777), (10_000, 10_000, 0o755));
    assert_eq!(meta("").mode() & 0o7777, 0o700);
    assert!(fs::symlink_metadata(house.path("data/homes/anna/null")).is_err());
}

#[test]
fn what_is_no_backup_of_ours_is_said_to_be_none() {
    let Some(house) = house() else { return };
    let restored = |bytes: &[u8]| {
        fs::write(house.path("x.tar"), bytes).expect("written");
        house.restore(&house.path("x.tar")).message
    };
    let none = format!(
        "`{}` is no backup of Bramble: it does not begin with `{HEAD}`",
        house.path("x.tar").display()
    );
    assert_eq!(restored(b""), none);
    assert_eq!(restored(&[b'x'; 4096]), none);
    assert_eq!(restored(&[0; 4096]), none);
    let mut newer = Forged(Vec::new());
    let head = br#"{"format":2,"bramble":"9.1","made_at":0,"since":null,"home":null}"#;
    newer.entry(HEAD, EntryType::Regular, "", head, 0o600);
    assert_eq!(
        restored(&newer.0),
        "this backup was made by a newer Bramble (9.1); install that one, or a later one, to restore it"
    );
}

#[test]
fn a_backup_goes_through_a_pipe_and_back() {
    let Some(house) = house() else { return };
    let home = house.home("anna", 10_000);
    fs::write(home.join("file"), vec![3; 300_000]).expect("written");
    let fifo = house.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).expect("read")
    });
    let done = house.back_up("fifo", None);
    assert_eq!(done.state, JobState::Done, "{}", done.message);
    let archive = reader.join().expect("read");
    fs::remove_file(home.join("file")).expect("gone");
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::write(fifo, archive).expect("written")
    });
    let done = house.restore(&fifo);
    assert_eq!(done.state, JobState::Done, "{}", done.message);
    writer.join().expect("written");
    assert_eq!(fs::read(home.join("file")).expect("read"), vec![3; 300_000]);
}

/// A backup takes hours, and people are renamed meanwhile.
#[test]
fn a_home_that_is_renamed_while_others_are_backed_up_ends_nothing() {
    let Some(house) = house() else { return };
    fs::write(house.home("anna", 10_000).join("large"), vec![1; 2_000_000]).expect("written");
    fs::write(house.home("ben", 10_001).join("small"), "kept").expect("written");
    let fifo = house.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let reader = std::thread::spawn({
        let (fifo, homes) = (fifo.clone(), house.homes.clone());
        move || {
            let mut fifo = File::open(fifo).expect("opened");
            let mut archive = vec![0; 1000];
            // More than what follows fits into no pipe: anna's is being written.
            fifo.read_exact(&mut archive).expect("the beginning");
            let [ben, benno] = ["ben", "benno"].map(|name| name.parse().expect("a name"));
            homes.rename(&ben, &benno, Uid(10_001)).expect("renamed");
            fifo.read_to_end(&mut archive).expect("read");
            archive
        }
    });
    let done = house.back_up("fifo", None);
    let archive = reader.join().expect("read");
    assert_eq!(done.state, JobState::Done, "{}", done.message);
    let says =
        "; not in it, because they were renamed or removed since it was begun: homes/ben; back them up again";
    assert!(done.message.ends_with(says), "{}", done.message);
    fs::write(house.path("b.tar"), archive).expect("written");
    assert_eq!(house.restore(&house.path("b.tar")).state, JobState::Done, "it is whole");
}

#[test]
fn two_backups_of_one_name_leave_the_first() {
    let Some(house) = house() else { return };
    fs::write(house.home("anna", 10_000).join("a"), "one").expect("written");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let held = house.jobs.start("test", "holds up the others".to_owned(), move |_| {
        wait.recv().expect("told");
        Ok(String::new())
    });
    held.expect("started");
    let request = || BackupRequest { to: house.path("b.tar"), home: None, since: None };
    let [first, second] =
        [(); 2].map(|()| house.backups.back_up(request(), NOW).expect("nothing is there yet"));
    go.send(()).expect("it waits");
    assert_eq!(house.jobs.wait(first).expect("ended").state, JobState::Done);
    let whole = fs::read(house.path("b.tar")).expect("read");
    let second = house.jobs.wait(second).expect("ended");
    assert!(
        second.state == JobState::Failed && second.message.contains("is there already"),
        "{}",
        second.message
    );
    assert_eq!(fs::read(house.path("b.tar")).expect("read"), whole);
}

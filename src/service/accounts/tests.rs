//! Log-ins against a real store, with a clock of the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::config::{Client, Room, Sudo};
use crate::proto::dhcp::Uptime;
use crate::store::accounts::{AccountChange, AccountStep, NewAccount};
use crate::types::{MacAddr, PasswordHash, Uid};

const LAB: Origin = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 1]));
const HALL: Origin = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 2]));

/// Accounts over a new store: `anna` in class `c7a`, the teacher `weber`, both with the password `sesame`.
struct School {
    _dir: tempfile::TempDir,
    store: Store,
    accounts: Accounts,
    /// Seconds since the start.
    now: Arc<AtomicI64>,
}

/// The room `lab` is for class `c7a`, the room `hall` for class `c8b`.
fn config() -> Config {
    let room = |name: &str, class: &str| Room {
        name: name.parse().expect("room"),
        image: None,
        config_txt: vec![],
        cmdline: vec![],
        timezone: None,
        mask: vec![],
        classes: vec![class.parse().expect("class")],
        sudo: Sudo::Nobody,
        groups: vec![],
    };
    let client = |number: u8, room: &str| Client {
        mac: MacAddr::new([2, 0, 0, 0, 0, number]),
        name: format!("pi-{number}").parse().expect("name"),
        room: Some(room.parse().expect("room")),
        image: None,
        ip: None,
        config_txt: vec![],
        cmdline: vec![],
    };
    let accounts = crate::config::Accounts { password_length: 8, ..crate::config::Accounts::default() };
    Config {
        accounts,
        rooms: vec![room("lab", "c7a"), room("hall", "c8b")],
        clients: vec![client(1, "lab"), client(2, "hall")],
        ..Config::default()
    }
}

fn secret(text: &str) -> Secret {
    text.parse().expect("a password")
}

fn new(name: &str, role: Role, classes: &[&str]) -> AccountStep {
    // Made by crypt(3); an account imported from elsewhere.
    let hash =
        "$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1";
    AccountStep::Add(NewAccount {
        name: name.parse().expect("name"),
        full_name: format!("{name} of the test").parse().expect("full name"),
        note: String::new(),
        role,
        hash: Some(PasswordHash::new(hash.to_owned())),
        must_change: false,
        enabled: true,
        expires_at: None,
        quota: None,
        classes: classes.iter().map(|class| class.parse().expect("class")).collect(),
    })
}

impl School {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("bramble.db")).expect("a store");
        let now = Arc::new(AtomicI64::new(0));
        let shared = Arc::clone(&now);
        let clock = Box::new(move || {
            let secs = shared.load(Ordering::SeqCst);
            let up = Duration::from_secs(secs.try_into().expect("not before the start"));
            Now { up: Uptime(up), civil: Moment::from_secs(1_795_435_200 + secs) }
        });
        let config = watch::Sender::new(Arc::new(config()));
        let accounts = Accounts::new(store.clone(), config.subscribe(), clock);
        let class = |name: &str| AccountStep::AddClass {
            name: name.parse().expect("class"),
            note: String::new(),
            quota: None,
        };
        let school = Self { _dir: dir, store, accounts, now };
        school.apply(&[
            class("c7a"),
            class("c8b"),
            new("anna", Role::Pupil, &["c7a"]),
            new("weber", Role::Teacher, &[]),
        ]);
        school
    }

    fn apply(&self, steps: &[AccountStep]) {
        self.store.change_accounts(steps, Moment::from_secs(1)).expect("applied");
    }

    fn set(&self, uid: u32, change: AccountChange) {
        self.apply(&[AccountStep::Set { uid: Uid(uid), change }]);
    }

    /// What somebody reads who logs in, or their number.
    fn log_in(&self, name: &str, password: &str, from: Origin) -> String {
        match self.accounts.verify(name, &secret(password), from) {
            Ok(person) => person.uid.to_string(),
            Err(refused) => format!("{}: {refused}", refused.code()),
        }
    }
}

#[test]
fn numbers_begin_at_ten_thousand_and_classes_come_along() {
    let school = School::new();
    let anna = school.accounts.verify("anna", &secret("sesame"), LAB).expect("let in");
    assert_eq!((anna.uid.0, anna.gid.0, anna.full_name.as_str()), (10_000, 10_000, "anna of the test"));
    let classes: Vec<String> = anna.classes.iter().map(|(name, gid)| format!("{name} {gid}")).collect();
    assert_eq!(classes, ["c7a 100000"]);
    school.apply(&[AccountStep::Remove { uid: Uid(10_001) }, new("ben", Role::Pupil, &["c7a", "c8b"])]);
    let ben = school.accounts.person("ben").expect("asked").expect("found");
    assert_eq!((ben.uid.0, ben.classes.len()), (10_002, 2), "a number is never used again");
}

#[test]
fn whoever_is_refused_reads_why() {
    let school = School::new();
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000");
    let wrong = "wrong_password: that name or password is not right; try again";
    for (name, password) in [("anna", "Sesame"), ("anna", ""), ("nobody", "sesame"), ("Anna; x", "sesame")] {
        assert_eq!(school.log_in(name, password, LAB), wrong, "{name}");
    }
    let elsewhere = "not_here: this account may not be used in this room; ask your teacher";
    assert_eq!(school.log_in("anna", "sesame", HALL), elsewhere);
    assert_eq!(school.log_in("weber", "sesame", HALL), "10001", "a teacher may everywhere");
    assert_eq!(school.log_in("anna", "sesame", Origin::Cli), "10000");

    school.set(10_000, AccountChange { enabled: Some(false), ..AccountChange::default() });
    assert_eq!(
        school.log_in("anna", "sesame", LAB),
        "disabled: this account is switched off; ask your teacher"
    );
    assert_eq!(school.log_in("anna", "wrong", LAB), wrong, "a stranger does not learn that it is");
    let ended = Some(Some(Moment::from_secs(1_795_435_200)));
    let change = AccountChange { enabled: Some(true), expires_at: ended, ..AccountChange::default() };
    school.set(10_000, change);
    assert_eq!(
        school.log_in("anna", "sesame", LAB),
        "expired: this account ended on 2026-11-23; ask your teacher"
    );
}

#[test]
fn the_people_of_a_room_are_those_who_may_log_in_there() {
    let school = School::new();
    school.apply(&[new("ben", Role::Pupil, &["c8b"]), new("off", Role::Pupil, &["c7a"])]);
    school.set(10_003, AccountChange { enabled: Some(false), ..AccountChange::default() });
    let names = |room: Option<&str>| -> Vec<String> {
        let room = room.map(|room| room.parse().expect("room"));
        let people = school.accounts.people_for(room.as_ref()).expect("people");
        people.iter().map(|person| person.name.to_string()).collect()
    };
    assert_eq!(names(Some("lab")), ["anna", "weber"]);
    assert_eq!(names(Some("hall")), ["ben", "weber"]);
    assert_eq!(names(None), ["anna", "ben", "weber"]);
}

#[test]
fn wrong_passwords_are_slowed_down_and_the_right_one_ends_it() {
    let school = School::new();
    for _ in 0..8 {
        school.log_in("anna", "guess", LAB);
    }
    let slow = "too_many_tries: too many wrong passwords; wait 15 seconds and try again";
    assert_eq!(school.log_in("anna", "sesame", HALL), slow, "elsewhere too");
    assert_eq!(school.log_in("weber", "sesame", HALL), "10001", "others are not concerned");
    school.now.store(15, Ordering::SeqCst);
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000");
    assert_eq!(school.log_in("anna", "guess", LAB).split(':').next(), Some("wrong_password"));
}

#[test]
fn an_imported_hash_becomes_ours_at_the_first_log_in() {
    let school = School::new();
    let hash = || {
        let anna = school.store.account(&"anna".parse().expect("name")).expect("asked").expect("found");
        (anna.hash.expect("a hash").expose().to_owned(), anna.last_login_at, anna.last_login_on)
    };
    school.log_in("anna", "wrong", LAB);
    assert!(hash().0.starts_with("$6$") && hash().1.is_none());
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000");
    let (ours, at, on) = hash();
    assert!(ours.starts_with("$argon2id$"), "{ours}");
    assert_eq!(at, Some(Moment::from_secs(1_795_435_200)));
    assert_eq!(on, Some(MacAddr::new([2, 0, 0, 0, 0, 1])));
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000", "and fits");
    assert_eq!(hash().0, ours, "and stays");
}

#[test]
fn a_new_password_must_be_long_and_another_one() {
    let school = School::new();
    school.set(10_000, AccountChange { must_change: Some(true), ..AccountChange::default() });
    let before = school.accounts.generation();
    let change = |old: &str, new: &str| {
        school.accounts.change_password("anna", &secret(old), &secret(new), LAB).map_err(|no| no.to_string())
    };
    let rows = [
        ("sesame", "seven77", "the new password is too short: it has 7 characters and needs 8"),
        ("wrong", "long enough", "that name or password is not right; try again"),
        ("sesame", "sesame", "the new password is too short: it has 6 characters and needs 8"),
    ];
    for (old, new, why) in rows {
        assert_eq!(change(old, new), Err(why.to_owned()));
    }
    assert_eq!(school.accounts.generation(), before);
    assert_eq!(change("sesame", "ö lang genug"), Ok(()));
    assert_ne!(school.accounts.generation(), before);
    let anna = school.accounts.verify("anna", &secret("ö lang genug"), LAB).expect("let in");
    assert!(!anna.must_change, "it was changed");
    assert_eq!(
        change("ö lang genug", "ö lang genug"),
        Err("the new password is the old one; choose another".to_owned())
    );
    assert!(school.accounts.verify("anna", &secret("sesame"), LAB).is_err());
}

#[tokio::test]
async fn a_room_that_logs_in_at_once_gets_in() {
    let school = School::new();
    school.log_in("anna", "sesame", LAB);
    let tries = (0..40).map(|_| school.accounts.log_in("weber".to_owned(), secret("sesame"), Origin::Cli));
    let tasks: Vec<_> = tries.map(Box::pin).collect();
    for task in tasks {
        task.await.expect("let in");
    }
}

#[test]
fn names_of_systems_are_sorted_and_found() {
    assert!(SYSTEM_NAMES.is_sorted());
    for name in ["sudo", "root", "www-data", "systemd-network"] {
        assert!(is_taken_by_systems(name), "{name}");
    }
    assert!(!is_taken_by_systems("anna"));
}

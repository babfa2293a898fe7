//! Log-ins against a real store, with a clock of the test's.

mod lists;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::config::{Client, Modes, Room, Sudo};
use crate::proto::dhcp::Uptime;
use crate::store::accounts::{AccountChange, AccountStep, NewAccount};
use crate::types::{MacAddr, Mode, PasswordHash, Uid};

const LAB: Origin = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 1]));
const HALL: Origin = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 2]));

/// Accounts over a new store: `anna` in class `c7a`, the teacher `weber`, both with the password `sesame`.
struct School {
    _dir: tempfile::TempDir,
    store: Store,
    accounts: Accounts,
    config: watch::Sender<Arc<Config>>,
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
        modes: Modes::default(),
    };
    let client = |number: u8, room: &str| Client {
        mac: MacAddr::new([2, 0, 0, 0, 0, number]),
        name: format!("pi-{number}").parse().expect("name"),
        room: Some(room.parse().expect("room")),
        image: None,
        ip: None,
        config_txt: vec![],
        cmdline: vec![],
        mode: None,
        kiosk_page: None,
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
        full_name: format!("{name} of the test").parse().expect("full name"),
        role,
        hash: Some(PasswordHash::new(hash.to_owned())),
        classes: classes.iter().map(|class| class.parse().expect("class")).collect(),
        ..NewAccount::pupil(name.parse().expect("name"))
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
        let school = Self { _dir: dir, store, accounts, config, now };
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
    for uid in [10_003, 10_004, 10_006] {
        school.store.home_nonce(Uid(uid), 7).expect("noted");
    }
    school.apply(&["carl", "dora", "eva"].map(|name| new(name, Role::Pupil, &[])));
    let numbers: Vec<u32> = ["carl", "dora", "eva"]
        .iter()
        .map(|name| school.accounts.person(name).expect("asked").expect("found").uid.0)
        .collect();
    assert_eq!(numbers, [10_005, 10_007, 10_008], "whose homes are there already are others'");
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
fn whoever_is_logged_out_reads_why() {
    let school = School::new();
    let says = |uid: u32| school.accounts.farewell(Uid(uid));
    assert_eq!(says(10_000), "your account may no longer be used on this computer", "of another room");
    school.set(10_000, AccountChange { enabled: Some(false), ..AccountChange::default() });
    assert_eq!(says(10_000), "your account was switched off; ask your teacher");
    let ended = Some(Some(Moment::from_secs(1_795_435_200 + 60)));
    let change = AccountChange { enabled: Some(true), expires_at: ended, ..AccountChange::default() };
    school.set(10_000, change);
    let before = school.accounts.generation();
    school.accounts.time_passes();
    assert_eq!(school.accounts.generation(), before, "it has not ended yet");
    school.now.store(60, Ordering::SeqCst);
    school.accounts.time_passes();
    assert_ne!(school.accounts.generation(), before, "told when its time comes");
    let after = school.accounts.generation();
    school.accounts.time_passes();
    assert_eq!(school.accounts.generation(), after, "and once");
    assert_eq!(says(10_000), "your account ended on 2026-11-23; ask your teacher");
    school.apply(&[AccountStep::Remove { uid: Uid(10_000) }]);
    assert_eq!(says(10_000), "your account was removed");
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
    for _ in 0..10 {
        school.log_in("anna", "guess", HALL);
    }
    let slow = "too_many_tries: too many wrong passwords; wait 15 seconds and try again";
    assert_eq!(school.log_in("anna", "sesame", HALL), slow);
    assert_eq!(school.log_in("weber", "sesame", HALL), "10001", "others are not concerned");
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000", "nor is she elsewhere");
    school.now.store(15, Ordering::SeqCst);
    assert_eq!(school.log_in("anna", "guess", HALL).split(':').next(), Some("wrong_password"));
    assert_eq!(school.log_in("anna", "guess", LAB).split(':').next(), Some("wrong_password"));
}

#[test]
fn an_imported_hash_becomes_ours_at_the_first_log_in() {
    let school = School::new();
    let hash = || {
        let anna = school.store.account(&"anna".parse().expect("name")).expect("asked").expect("found");
        assert_eq!(anna.last_login_at, None, "a right password is no log-in yet");
        anna.hash.expect("a hash").expose().to_owned()
    };
    school.log_in("anna", "wrong", LAB);
    assert!(hash().starts_with("$6$"));
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000");
    let ours = hash();
    assert!(ours.starts_with("$argon2id$"), "{ours}");
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000", "and fits");
    assert_eq!(hash(), ours, "and stays");
}

#[test]
fn a_new_password_must_be_long_and_another_one() {
    let school = School::new();
    school.set(10_000, AccountChange { must_change: Some(true), ..AccountChange::default() });
    let before = school.accounts.generation();
    let change = |old: &str, new: &str| {
        let changed = school.accounts.change_password("anna", &secret(old), &secret(new), LAB);
        changed.map(|person| assert!(!person.must_change, "none is due")).map_err(|no| no.to_string())
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

#[test]
fn a_password_is_changed_only_where_its_owner_may_be() {
    let school = School::new();
    let change = |from: Origin| {
        let changed =
            school.accounts.change_password("anna", &secret("sesame"), &secret("long enough"), from);
        changed.map(|person| person.uid.0).map_err(|refused| refused.code())
    };
    assert_eq!(change(HALL), Err("not_here"), "the room is another class's");
    assert_eq!(school.log_in("anna", "sesame", LAB), "10000", "and nothing was changed");
    let mut exam = config();
    exam.clients[0].mode = Some(Mode::Exam);
    exam.rooms[0].modes.exam.classes = vec![class("c8b")];
    school.config.send_replace(Arc::new(exam));
    assert_eq!(change(LAB), Err("exam"));
    school.config.send_replace(Arc::new(config()));
    assert_eq!(change(LAB), Ok(10_000));
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

fn name(text: &str) -> UserName {
    text.parse().expect("a name")
}

fn class(text: &str) -> crate::types::ClassName {
    text.parse().expect("a class")
}

#[test]
fn names_are_had_once_by_accounts_and_classes_together() {
    let school = School::new();
    let refused = |result: Result<manage::Slip, manage::EditError>| result.expect_err("refused").to_string();
    let add = |name_: &str, classes: &[&str], password: Option<&str>| {
        let AccountStep::Add(mut new) = new(name_, Role::Pupil, classes) else { unreachable!("it adds") };
        new.hash = None;
        school.accounts.add(new, password.map(secret).as_ref())
    };
    #[rustfmt::skip]
    let rows = [
        ("anna", vec![],      None,          "`anna` is the name of an account or a class already; choose another"),
        ("c7a",  vec![],      None,          "`c7a` is the name of an account or a class already; choose another"),
        ("root", vec![],      None,          "`root` is a name that systems have for themselves; choose another"),
        ("ben",  vec!["c9x"], None,          "there is no class `c9x`; `bramble class list` shows those there are, `bramble class add c9x` makes it"),
        ("ben",  vec![],      Some("short"), "the new password is too short: it has 5 characters and needs 8"),
        ("benjamin", vec![],  Some("Benjamin"), "the new password is the name of the account; choose another"),
    ];
    for (name_, classes, password, why) in rows {
        assert_eq!(refused(add(name_, &classes, password)), why);
    }
    let ben = add("ben", &["c7a"], None).expect("added");
    assert!(ben.account.must_change && ben.account.classes.len() == 1);
    let other = AccountChange { name: Some(name("anna")), ..AccountChange::default() };
    assert_eq!(
        school.accounts.set(&name("ben"), other).expect_err("taken").to_string(),
        "`anna` is the name of an account or a class already; choose another"
    );
    let other = AccountChange { name: Some(name("benno")), ..AccountChange::default() };
    assert_eq!(school.accounts.set(&name("ben"), other).expect("renamed").uid, ben.account.uid);
    assert!(school.accounts.account(&name("ben")).is_err());
}

#[test]
fn a_year_rolls_over() {
    let school = School::new();
    school.apply(&[new("ben", Role::Pupil, &["c7a", "c8b"])]);
    assert_eq!(school.accounts.move_class(&class("c7a"), &class("c9c")).expect("moved"), 2);
    let of = |name_: &str| -> Vec<String> {
        let account = school.accounts.account(&name(name_)).expect("found");
        account.classes.iter().map(|(class, _)| class.to_string()).collect()
    };
    assert_eq!((of("anna"), of("ben")), (vec!["c9c".to_owned()], vec!["c8b".to_owned(), "c9c".to_owned()]));
    let gone = school.accounts.remove_class(&class("c9c"), true).expect("removed");
    let gone: Vec<&str> = gone.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(gone, ["anna"], "ben is in another class too");
    assert_eq!(of("ben"), ["c8b"]);
}

#[test]
fn lists_are_searched_and_cut_into_pages() {
    let school = School::new();
    school.set(10_001, AccountChange { note: Some("Card 77-X".to_owned()), ..AccountChange::default() });
    let found = |search: manage::Search| -> (usize, Vec<String>) {
        let page = school.accounts.list(&search).expect("a page");
        (page.total, page.accounts.iter().map(|account| account.name.to_string()).collect())
    };
    let any = || manage::Search { limit: 10, ..manage::Search::default() };
    assert_eq!(found(any()), (2, vec!["anna".to_owned(), "weber".to_owned()]));
    assert_eq!(
        found(manage::Search { text: Some("77-x".to_owned()), ..any() }),
        (1, vec!["weber".to_owned()])
    );
    assert_eq!(found(manage::Search { class: Some(class("c7a")), ..any() }), (1, vec!["anna".to_owned()]));
    assert_eq!(found(manage::Search { offset: 1, limit: 1, ..any() }), (2, vec!["weber".to_owned()]));
    assert_eq!(found(manage::Search { role: Some(Role::Teacher), ..any() }).0, 1);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// At the end of a school year everybody of a class is in the next one, in what else they were, and nobody else moves.
    #[test]
    fn a_class_that_moves_takes_its_people_and_nobody_else(
        members in proptest::collection::vec(0_usize..8, 1..12),
        to_is_new in proptest::bool::ANY,
    ) {
        let school = School::new();
        let names = ["c7a", "c8b", "chess"];
        let (chess, quota) = (class("chess"), Some(crate::types::ByteSize(1 << 30)));
        school.apply(&[AccountStep::AddClass { name: chess, note: String::new(), quota: None }]);
        let change = crate::store::accounts::ClassChange { quota: Some(quota), ..Default::default() };
        school.accounts.set_class(&class("c7a"), change).expect("changed");
        for (nth, classes) in members.iter().enumerate() {
            let classes: Vec<&str> =
                names.iter().enumerate().filter(|(at, _)| classes & (1 << at) != 0).map(|(_, name)| *name).collect();
            school.apply(&[new(&format!("pupil{nth}"), Role::Pupil, &classes)]);
        }
        let to = if to_is_new { "c9b" } else { "c8b" };
        let of = |school: &School| -> Vec<Vec<String>> {
            let accounts = school.store.accounts().expect("accounts");
            accounts.iter().map(|a| a.classes.iter().map(|(name, _)| name.to_string()).collect()).collect()
        };
        let before = of(&school);
        let moved = school.accounts.move_class(&class("c7a"), &class(to)).expect("moved");
        let after = of(&school);
        proptest::prop_assert_eq!(moved, before.iter().filter(|classes| classes.contains(&"c7a".to_owned())).count());
        for (before, after) in before.iter().zip(&after) {
            let mut expected = before.clone();
            if let Some(at) = expected.iter().position(|name| name == "c7a") {
                expected.remove(at);
                expected.push(to.to_owned());
                expected.sort();
                expected.dedup();
            }
            proptest::prop_assert_eq!(after, &expected);
        }
        let room = if to_is_new { quota } else { None };
        proptest::prop_assert_eq!(school.accounts.class(&class(to)).expect("there").quota, room);
        proptest::prop_assert!(school.accounts.move_class(&class(to), &class(to)).is_err(), "nowhere to go");
        let gone = school.accounts.remove_class(&class(to), true).expect("removed");
        proptest::prop_assert!(gone.iter().all(|account| account.classes.len() == 1));
        let left = of(&school);
        proptest::prop_assert_eq!(left.len(), after.iter().filter(|classes| **classes != [to]).count());
    }
}

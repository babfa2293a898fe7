use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::time::Duration;

use super::*;
use crate::config::load::{Source, Sources, from_sources};
use crate::service::jobs::Task;
use crate::types::{FullName, Role};

pub(super) const NOW: Moment = Moment::from_secs(1_795_762_800); // 2026-11-27 07:00:00

pub(super) fn config(homes: &str) -> Arc<Config> {
    let network = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '10.0.0.1/24'\n";
    let text = format!("config bramble 'main'\n\toption data '/mnt/x'\nconfig homes 'homes'\n{homes}\n");
    let source = |text: &str| Source { name: "x".to_owned(), text: Some(text.as_bytes().to_vec()) };
    let sources =
        Sources { bramble: source(&text), network: source(network), dhcp: source(""), system: source("") };
    Arc::new(from_sources(&sources).expect("right"))
}

pub(super) struct House {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub homes: Homes,
    pub config: watch::Sender<Arc<Config>>,
}

/// `None` where folders cannot be given away.
pub(super) fn house() -> Option<House> {
    let folder = tempfile::tempdir().expect("a folder");
    if chown(folder.path(), Some(10_000), None).is_err() {
        return None;
    }
    let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
    let config = watch::Sender::new(config(""));
    let homes = Homes::open(folder.path(), store.clone(), config.subscribe()).expect("opened");
    Some(House { folder, store, homes, config })
}

pub(super) fn person(name: &str, uid: u32) -> Person {
    Person {
        name: name.parse().expect("a name"),
        uid: Uid(uid),
        gid: Uid(uid).own_group(),
        full_name: FullName::default(),
        role: Role::Pupil,
        classes: vec![],
        must_change: false,
    }
}

#[test]
fn a_home_is_made_once_and_is_its_owners_alone() {
    let Some(House { folder, homes, .. }) = house() else { return };
    let anna = person("anna", 10_000);
    let first = homes.prepare(&anna, NOW).expect("made");
    assert_eq!((first.path.as_str(), first.quota), ("/home/anna", Some(ByteSize(2 << 30))));
    let meta = fs::metadata(folder.path().join("homes/anna")).expect("there");
    assert_eq!((meta.uid(), meta.gid(), meta.permissions().mode() & 0o7777), (10_000, 10_000, 0o700));
    fs::write(first.root.join("letter"), "dear").expect("written");
    assert_eq!(homes.prepare(&anna, NOW).expect("found"), first, "nonce and all");
    assert!(first.root.join("letter").exists());
    let ben = homes.prepare(&person("ben", 10_001), NOW).expect("made");
    assert_ne!(ben.nonce, first.nonce);
}

#[test]
fn a_daemon_that_is_not_root_keeps_homes_as_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
    let config = watch::Sender::new(config("")).subscribe();
    let homes = Homes { gives: false, ..Homes::open(folder.path(), store, config).expect("opened") };
    let anna = person("anna", 10_000);
    let home = homes.prepare(&anna, NOW).expect("made");
    let own = nix::unistd::geteuid().as_raw();
    assert_eq!(fs::metadata(&home.root).expect("there").uid(), own);
    assert_eq!(homes.prepare(&anna, NOW).expect("found"), home);
    assert_eq!(homes.again(&anna).expect("found"), home);
    assert!(homes.retire(&anna.name, anna.uid, NOW).expect("asked").is_some());
}

#[test]
fn nobody_inherits_a_home_by_its_name() {
    let Some(House { folder: _folder, homes, .. }) = house() else { return };
    let old = homes.prepare(&person("anna", 10_000), NOW).expect("made");
    fs::write(old.root.join("diary"), "secret").expect("written");
    let new = homes.prepare(&person("anna", 10_007), NOW).expect("made anew");
    assert_ne!(new.nonce, old.nonce);
    assert!(!new.root.join("diary").exists());
    let attic = homes.attic().expect("listed");
    assert_eq!(attic.len(), 1);
    assert_eq!(
        (attic[0].name.as_str(), attic[0].uid, attic[0].day.as_str()),
        ("anna", Uid(10_000), "2026-11-27")
    );
    assert!(attic[0].path.join("diary").exists());

    // Numbers from a directory may have changed there: a person has to decide.
    let root = new.root.display();
    let refused = homes.prepare(&person("anna", 200_005), NOW).expect_err("somebody else's").to_string();
    assert_eq!(
        refused,
        format!(
            "`{root}` belongs to user 10007 and not to `anna` (user 200005), so it was not opened; if it is theirs, \
             give it to them with `chown -R 200005:200005 {root}`, else move it away"
        )
    );
}

#[test]
fn whoever_has_another_name_finds_their_home_again() {
    let Some(House { folder: _folder, homes, config: setting, .. }) = house() else { return };
    let anna = homes.prepare(&person("anna-maier", 10_000), NOW).expect("made");
    fs::write(anna.root.join("diary"), "dear").expect("written");
    let renamed = homes.prepare(&person("anna-schmidt", 10_000), NOW).expect("found");
    assert!(renamed.root.join("diary").exists() && renamed.nonce == anna.nonce, "handles stay right");
    assert!(!anna.root.exists(), "and the old name is free");
    assert_ne!(homes.prepare(&person("anna-maier", 10_001), NOW).expect("made").root, renamed.root);

    let numbers = |numbers| {
        let mut config = Config::clone(&setting.borrow());
        config.accounts.source = crate::config::Source::Ldap;
        config.directory.numbers = numbers;
        setting.send_replace(Arc::new(config));
    };
    let found = |old: &str, new: &str, uid| {
        let home = homes.prepare(&person(old, uid), NOW).expect("made");
        fs::write(home.root.join("diary"), "dear").expect("written");
        homes.prepare(&person(new, uid), NOW).expect("found").root.join("diary").exists()
    };
    numbers(Numbers::Sid);
    assert!(found("ben", "bert", 200_005), "Active Directory gives no number twice");
    numbers(Numbers::Posix);
    assert!(!found("carl", "cleo", 5001), "whoever gives them out by hand may");
    assert!(!found("dora", "doris", 10_005), "also such as accounts of ours have");
}

#[test]
fn a_home_of_nobody_makes_way_and_one_of_somebody_does_not() {
    let Some(House { folder: _folder, store, homes, .. }) = house() else { return };
    let old = homes.prepare(&person("anna", 5001), NOW).expect("made");
    fs::write(old.root.join("diary"), "secret").expect("written");
    let come = |is_nobodys: bool| {
        homes.prepare_among(
            &person("anna", 5002),
            |owner| {
                assert_eq!(owner, Uid(5001));
                is_nobodys
            },
            NOW,
        )
    };
    assert!(matches!(come(false), Err(HomeError::NotTheirs { owner: 5001, .. })));
    assert!(old.root.join("diary").exists());
    assert!(!come(true).expect("made").root.join("diary").exists());
    assert!(homes.in_attic("anna").expect("kept").path.join("diary").exists());
    let local = homes.prepare(&person("ben", 10_001), NOW).expect("made");
    let run = |tx: &rusqlite::Transaction<'_>| {
        tx.execute_batch("INSERT INTO account (uid, name, created_at) VALUES (10001, 'ben', 0)")
    };
    store.write("test", crate::store::Durability::Process, run).expect("SQL");
    let theirs = homes.prepare_among(&person("ben", 5003), |_| true, NOW);
    assert!(matches!(theirs, Err(HomeError::NotTheirs { .. })), "accounts of ours may come back");
    assert!(local.root.exists());
}

#[test]
fn a_link_in_the_place_of_a_home_is_not_followed() {
    let Some(House { folder, homes, .. }) = house() else { return };
    fs::create_dir(folder.path().join("elsewhere")).expect("made");
    symlink(folder.path().join("elsewhere"), folder.path().join("homes/anna")).expect("linked");
    assert!(matches!(homes.prepare(&person("anna", 10_000), NOW), Err(HomeError::NoFolder { .. })));
}

#[test]
fn what_an_interruption_left_is_no_obstacle() {
    let Some(House { folder, homes, .. }) = house() else { return };
    fs::create_dir(folder.path().join("homes/.making-10000")).expect("made");
    homes.prepare(&person("anna", 10_000), NOW).expect("made");
    assert_eq!(homes.list().expect("listed").len(), 1);
}

#[test]
fn the_attic_keeps_a_home_for_as_long_as_it_is_told() {
    let Some(House { folder: _folder, homes, config: setting, .. }) = house() else { return };
    let anna = person("anna", 10_000);
    assert_eq!(homes.retire(&anna.name, anna.uid, NOW).expect("asked"), None, "she never logged in");
    for _ in 0..2 {
        let home = homes.prepare(&anna, NOW).expect("made");
        fs::write(home.root.join("x"), "x").expect("written");
        homes.retire(&anna.name, anna.uid, NOW).expect("asked").expect("put away");
    }
    let names: Vec<_> = homes
        .attic()
        .expect("listed")
        .iter()
        .map(|old| old.path.file_name().expect("named").to_owned())
        .collect();
    assert_eq!(names, ["2026-11-27.anna.10000", "2026-11-27.anna.10000.2"]);
    let days = |days| NOW.plus(Duration::from_hours(24_u64 * days));
    assert_eq!(homes.sweep(days(90)).expect("swept"), 0);
    setting.send_replace(config("config accounts 'accounts'\n\toption attic_time 'infinite'"));
    assert_eq!(homes.sweep(days(40_000)).expect("swept"), 0);
    setting.send_replace(config("config accounts 'accounts'\n\toption attic_time '90d'"));
    let bringing_back = homes.leaving.lock().expect("no panic");
    assert_eq!(homes.sweep(days(91)).expect("not now"), 0, "one of them is brought back at this moment");
    drop(bringing_back);
    assert_eq!(homes.sweep(days(91)).expect("swept"), 2);
    assert_eq!(homes.attic().expect("listed"), []);
}

#[test]
fn a_home_comes_back_from_the_attic() {
    let Some(House { folder, homes, .. }) = house() else { return };
    let task = Task::unwatched();
    let anna = person("anna", 10_000);
    let old = homes.prepare(&anna, NOW).expect("made");
    fs::create_dir(old.root.join("Documents")).expect("made");
    fs::write(old.root.join("Documents/letter"), "dear").expect("written");
    symlink("/etc/passwd", old.root.join("link")).expect("linked");
    fs::write(old.root.join("not hers"), "x").expect("written");
    for path in ["Documents", "Documents/letter", "link"] {
        std::os::unix::fs::lchown(old.root.join(path), Some(10_000), Some(10_000)).expect("given");
    }
    homes.retire(&anna.name, anna.uid, NOW).expect("asked").expect("put away");
    assert_eq!(
        homes.in_attic("ben").expect_err("not there").to_string(),
        "there is no home `ben` in the attic; `bramble home attic` shows those there are"
    );
    let found = homes.in_attic("anna").expect("found");
    let new = person("annabel", 10_007);
    let place = homes.bring_back(&found, &new, false, &task).expect("asked").expect("not cancelled");
    assert_eq!(place, folder.path().join("homes/annabel"));
    let owner = |path: &str| fs::symlink_metadata(place.join(path)).expect("there").uid();
    assert_eq!(["", "Documents", "Documents/letter", "link"].map(owner), [10_007; 4]);
    assert_eq!(owner("not hers"), 0, "what was not the old owner's is not given away");
    assert_eq!(fs::metadata("/etc/passwd").expect("there").uid(), 0, "links are not followed");
    assert!(homes.attic().expect("listed").is_empty());
    homes.prepare(&new, NOW).expect("it is her home");

    // Several of one name; and somebody who has a home.
    for uid in [10_008, 10_009] {
        homes.prepare(&person("ben", uid), NOW).expect("made");
        homes.retire(&"ben".parse().expect("a name"), Uid(uid), NOW).expect("asked");
    }
    assert_eq!(
        homes.in_attic("ben").expect_err("which").to_string(),
        "there are several homes `ben` in the attic; name one of them by its folder: `2026-11-27.ben.10008`, \
         `2026-11-27.ben.10009`"
    );
    let found = homes.in_attic("2026-11-27.ben.10008").expect("found");
    assert!(matches!(homes.bring_back(&found, &new, false, &task), Err(HomeError::HasHome { .. })));
    assert!(matches!(
        homes.bring_back(&found, &person("annabel", 10_010), true, &task),
        Err(HomeError::NotTheirs { .. })
    ));
    symlink("/", folder.path().join("homes/annabel/returned-2026-11-27")).expect("a trap");
    let place = homes.bring_back(&found, &new, true, &task).expect("asked").expect("not cancelled");
    assert_eq!(place, folder.path().join("homes/annabel/returned-2026-11-27-2"));
    assert_eq!(fs::metadata(&place).expect("there").uid(), 10_007);
    let cancelled = Task::unwatched();
    cancelled.cancel();
    let found = homes.in_attic("ben").expect("found");
    assert!(homes.bring_back(&found, &new, true, &cancelled).expect("asked").is_err());
    assert_eq!(homes.attic().expect("listed").len(), 1, "nothing was moved");
}

#[test]
fn a_session_that_goes_on_makes_no_home_anew() {
    let Some(House { folder, homes, .. }) = house() else { return };
    let anna = person("anna", 10_000);
    assert!(matches!(homes.again(&anna), Err(HomeError::Gone { .. })));
    let home = homes.prepare(&anna, NOW).expect("made");
    assert_eq!(homes.again(&anna).expect("there"), home);
    homes.retire(&anna.name, anna.uid, NOW).expect("asked").expect("put away");
    assert!(matches!(homes.again(&anna), Err(HomeError::Gone { .. })));
    assert!(!folder.path().join("homes/anna").exists());
}

#[test]
fn only_the_owners_home_goes_with_an_account() {
    let Some(House { folder: _folder, homes, .. }) = house() else { return };
    homes.prepare(&person("anna", 10_007), NOW).expect("made");
    let gone = "anna".parse().expect("a name");
    assert_eq!(homes.retire(&gone, Uid(10_000), NOW).expect("asked"), None);
    assert_eq!(homes.list().expect("listed").len(), 1);
}

#[test]
fn a_renamed_account_takes_its_home_along() {
    let Some(House { folder: _folder, homes, .. }) = house() else { return };
    let [anna, ben, eva] = ["anna", "ben", "eva"].map(|name| name.parse::<UserName>().expect("a name"));
    let before = homes.prepare(&person("anna", 10_000), NOW).expect("made");
    homes.prepare(&person("ben", 10_001), NOW).expect("made");
    assert!(matches!(homes.rename(&anna, &ben, Uid(10_000)), Err(HomeError::Taken { .. })));
    homes.rename(&anna, &eva, Uid(10_000)).expect("renamed");
    homes.rename(&anna, &eva, Uid(10_000)).expect("nothing to do");
    let after = homes.prepare(&person("eva", 10_000), NOW).expect("found");
    assert_eq!((after.nonce, after.path.as_str()), (before.nonce, "/home/eva"), "its handles stay good");
}

#[test]
fn homes_are_measured_and_quotas_found() {
    let Some(House { folder: _folder, store, homes, config: setting, .. }) = house() else { return };
    let home = homes.prepare(&person("anna", 10_000), NOW).expect("made");
    fs::write(home.root.join("film"), vec![7; 300_000]).expect("written");
    assert_eq!(homes.list().expect("listed")[0].bytes, None);
    assert_eq!(homes.measure(NOW, &Task::unwatched()).expect("measured"), Ok(1));
    let usage = homes.list().expect("listed").remove(0);
    assert!(usage.bytes.is_some_and(|bytes| (300_000..400_000).contains(&bytes.0)), "{usage:?}");
    assert_eq!((usage.files, usage.measured_at), (Some(2), Some(NOW)));

    let quota = || homes.quota(Uid(10_000)).expect("known");
    assert_eq!(quota(), Some(ByteSize(2 << 30)));
    let sql = |text: &str| {
        let run = |tx: &rusqlite::Transaction<'_>| tx.execute_batch(text);
        store.write("test", crate::store::Durability::Process, run).expect("SQL");
    };
    sql("INSERT INTO account (uid, name, created_at) VALUES (10000, 'anna', 0);
        INSERT INTO class (gid, name, quota, created_at) VALUES (100000, 'a', 500, 0), (100001, 'b', 700, 0), (100002, 'c', 900, 0);
        INSERT INTO member VALUES (10000, 100000), (10000, 100001);");
    assert_eq!(quota(), Some(ByteSize(700)), "the most that a class of hers allows");
    sql("UPDATE account SET quota = 600");
    assert_eq!(quota(), Some(ByteSize(600)), "an account's own goes first");
    sql("UPDATE account SET quota = NULL; DELETE FROM member");
    setting.send_replace(config("\toption quota 'none'"));
    assert_eq!(quota(), None);
}

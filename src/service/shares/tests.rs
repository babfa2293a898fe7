//! Shares on a real disk, and who sees what of them.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::config::load::{Source, Sources, from_sources};
use crate::types::FullName;

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);

fn config(shares: &str) -> Arc<Config> {
    let network = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '10.0.0.1/24'\n";
    let text = format!("config bramble 'main'\n\toption data '/mnt/x'\n{shares}\n");
    let source = |text: &str| Source { name: "x".to_owned(), text: Some(text.as_bytes().to_vec()) };
    let sources =
        Sources { bramble: source(&text), network: source(network), dhcp: source(""), system: source("") };
    Arc::new(from_sources(&sources).expect("right"))
}

fn person(name: &str, role: Role, class: &str) -> Person {
    Person {
        name: name.parse().expect("a name"),
        uid: Uid(10_000 + u32::from(name.as_bytes()[0])),
        gid: Gid(10_000),
        full_name: FullName::default(),
        role,
        classes: vec![(class.parse().expect("a class"), Gid(100_000))],
        must_change: false,
    }
}

/// `None` where folders cannot be given away.
fn shares(text: &str) -> Option<(tempfile::TempDir, Shares)> {
    let folder = tempfile::tempdir().expect("a folder");
    chown(folder.path(), Some(0), Some(65_534)).ok()?;
    let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
    let shares =
        Shares::open(folder.path(), store, watch::Sender::new(config(text)).subscribe()).expect("opened");
    Some((folder, shares))
}

#[test]
fn who_sees_a_share_and_what_they_may_do() {
    use ShareAccess::{HandIn, Read, Write};
    let share = |access, classes: &[&str]| Share {
        name: "x".parse().expect("a name"),
        access,
        classes: classes.iter().map(|class| class.parse().expect("a class")).collect(),
        path: None,
        quota: None,
    };
    #[rustfmt::skip]
    let rows = [
        // access, classes,         role,          right
        (Read,     &[][..],         Role::Pupil,   Some(ShareRight::Read)),
        (Write,    &[],             Role::Pupil,   Some(ShareRight::Write)),
        (HandIn,   &[],             Role::Pupil,   Some(ShareRight::HandIn)),
        (Read,     &["c7a", "c7b"], Role::Pupil,   Some(ShareRight::Read)),
        (Write,    &["c8a"],        Role::Pupil,   None),
        (Read,     &["c8a"],        Role::Teacher, Some(ShareRight::Write)),
        (HandIn,   &[],             Role::Teacher, Some(ShareRight::Write)),
    ];
    for (access, classes, role, expected) in rows {
        let found = right(&share(access, classes), &person("anna", role, "c7b"));
        assert_eq!(found, expected, "{access:?} {classes:?} {role:?}");
    }
}

#[test]
fn what_was_handed_in_follows_a_name_and_is_never_inherited() {
    let text =
        "config share 'essays'\n\toption access 'handin'\nconfig share 'films'\n\toption access 'write'\n";
    let Some((folder, shares)) = shares(text) else { return };
    let (anna, ben) = (person("anna", Role::Pupil, "c7b"), person("ben", Role::Pupil, "c7b"));
    for person in [&anna, &ben] {
        shares.for_person(person, PI).expect("granted");
    }
    fs::create_dir(folder.path().join("shares/films/anna")).expect("a folder that a class made");
    let essays = folder.path().join("shares/essays");
    fs::write(essays.join("anna/essay"), "x").expect("handed in");
    let eva: UserName = "eva".parse().expect("a name");
    shares.rename(&anna.name, &ben.name, anna.uid);
    assert!(essays.join("anna/essay").exists(), "nothing is put over another's");
    shares.rename(&anna.name, &eva, anna.uid);
    assert!(essays.join("eva/essay").exists() && !essays.join("anna").exists());
    shares.retire(&eva, Uid(10_009));
    assert!(essays.join("eva/essay").exists(), "it is not theirs");
    shares.retire(&eva, anna.uid);
    shares.retire(&eva, anna.uid);
    assert!(essays.join("eva.10097/essay").exists() && !essays.join("eva").exists());
    assert!(folder.path().join("shares/films/anna").exists());
}

#[test]
fn a_later_pupil_of_the_same_name_gets_another_box() {
    let Some((folder, shares)) = shares("config share 'essays'\n\toption access 'handin'\n") else {
        return;
    };
    let pupil = |name: &str, uid: u32| Person { uid: Uid(uid), ..person(name, Role::Pupil, "c7b") };
    let essays = folder.path().join("shares/essays");
    let box_of = |person: &Person| shares.for_person(person, PI).expect("granted").remove(0).root;
    let holds = |path: &str| fs::read_to_string(essays.join(path)).ok();
    // Nobody says that people of a directory have gone or have another name.
    let first = pupil("anna", 5001);
    fs::write(box_of(&first).join("essay"), "of the first").expect("handed in");
    assert_eq!(box_of(&first), essays.join("anna"));
    assert!(holds("anna/essay").is_some(), "it stays where it is");
    let second = pupil("anna", 5002);
    fs::write(box_of(&second).join("essay"), "of the second").expect("handed in");
    assert_eq!(box_of(&second), essays.join("anna"));
    assert_eq!(holds("anna.5001/essay").as_deref(), Some("of the first"), "for teachers");
    assert_eq!(holds("anna/essay").as_deref(), Some("of the second"));

    // Whoever has another name finds what they handed in, where nobody else can have their number.
    let local = box_of(&pupil("ben", 10_002));
    fs::write(local.join("essay"), "ben's").expect("handed in");
    box_of(&pupil("bert", 10_002));
    assert_eq!(holds("bert/essay").as_deref(), Some("ben's"));
    assert!(fs::read_dir(box_of(&pupil("ben", 10_003))).expect("a box").next().is_none());
    fs::write(box_of(&pupil("carl", 5003)).join("essay"), "carl's").expect("handed in");
    assert!(fs::read_dir(box_of(&pupil("cleo", 5003))).expect("a box").next().is_none());
    assert_eq!(holds("carl.5003/essay").as_deref(), Some("carl's"));

    // What accounts of ours tell of is noted too.
    shares.retire(&"bert".parse().expect("a name"), Uid(10_002));
    let later = box_of(&pupil("bert", 10_004));
    fs::write(later.join("essay"), "of the later bert").expect("handed in");
    assert_eq!(box_of(&pupil("bert", 10_004)), later);
    assert_eq!(holds("bert.10002/essay").as_deref(), Some("ben's"));
    assert_eq!(holds("bert/essay").as_deref(), Some("of the later bert"));
}

#[test]
fn a_share_is_bounded_as_a_whole_and_a_box_for_each() {
    let text = "config share 'essays'\n\toption access 'handin'\n\toption quota '10M'\n\
                config share 'films'\n\toption access 'write'\n\toption quota '5G'\nconfig share 'notes'\n";
    let Some((folder, shares)) = shares(text) else { return };
    let bounds = |role| -> Vec<Option<u64>> {
        let grants = shares.for_person(&person("anna", role, "c7b"), PI).expect("granted");
        grants.into_iter().map(|grant| grant.quota.map(|quota| quota.0)).collect()
    };
    assert_eq!(bounds(Role::Pupil), [Some(10 << 20), Some(5 << 30), None]);
    assert_eq!(bounds(Role::Teacher), [None, Some(5 << 30), None], "all boxes together have no bound");

    let now = Moment::from_secs(1_795_762_800);
    fs::write(folder.path().join("shares/films/film"), vec![7; 300_000]).expect("written");
    assert_eq!(shares.list().expect("listed")[1].bytes, None);
    assert_eq!(shares.measure(now, &Task::unwatched()).expect("measured"), Ok(3));
    let films = shares.list().expect("listed").remove(1);
    assert!(films.bytes.is_some_and(|bytes| (300_000..400_000).contains(&bytes.0)), "{films:?}");
    assert_eq!((films.files, films.measured_at, films.quota), (Some(2), Some(now), Some(ByteSize(5 << 30))));
    let cancelled = Task::unwatched();
    cancelled.cancel();
    assert!(shares.measure(now, &cancelled).expect("asked").is_err());
}

#[test]
fn each_pupil_hands_in_to_a_tree_of_their_own() {
    let text = "config share 'essays'\n\toption access 'handin'\nconfig share 'films'\n";
    let Some((folder, shares)) = shares(text) else { return };
    let for_person = |person: &Person| shares.for_person(person, PI).expect("granted");
    let anna = for_person(&person("anna", Role::Pupil, "c7b"));
    let ben = for_person(&person("ben", Role::Pupil, "c7b"));
    let teacher = for_person(&person("maier", Role::Teacher, "staff"));
    let essays = folder.path().join("shares/essays");
    assert_eq!(
        [&anna[0].root, &ben[0].root, &teacher[0].root],
        [&essays.join("anna"), &essays.join("ben"), &essays]
    );
    assert_eq!((anna[0].path.as_str(), anna[0].right), ("/share/essays", ShareRight::HandIn));
    assert!(anna[0].id != ben[0].id && anna[0].id != teacher[0].id && anna[0].nonce != ben[0].nonce);
    assert_eq!(anna[1], ben[1].clone(), "a share that is not divided is one tree");
    assert_eq!(for_person(&person("anna", Role::Pupil, "c7b")), anna, "the same after a restart");
    let meta = fs::metadata(essays.join("anna")).expect("there");
    assert_eq!((meta.uid(), meta.gid(), meta.permissions().mode() & 0o777), (65_534, 65_534, 0o755));
    let above = fs::metadata(folder.path().join("shares")).expect("there");
    assert_eq!(above.permissions().mode() & 0o777, 0o700, "nobody but root passes through");
}

#[test]
fn a_link_made_inside_a_hand_in_share_leads_nowhere() {
    let text = "config share 'essays'\n\toption access 'handin'\nconfig share 'films'\n";
    let Some((folder, shares)) = shares(text) else { return };
    let anna = person("anna", Role::Pupil, "c7b");
    fs::create_dir_all(folder.path().join("shares/essays")).expect("made");
    symlink("/etc", folder.path().join("shares/essays/anna")).expect("linked");
    let grants = shares.for_person(&anna, PI).expect("the rest is granted");
    assert_eq!(grants.iter().map(|grant| grant.name.as_str()).collect::<Vec<_>>(), ["films"]);
    assert_eq!(fs::metadata("/etc").expect("there").uid(), 0, "and /etc was not given away");
}

#[test]
fn a_folder_of_the_administrators_is_looked_at_and_left_alone() {
    let own = tempfile::tempdir().expect("a folder");
    let path = own.path().join("films");
    let text = format!("config share 'films'\n\toption path '{}'\n", path.display());
    let Some((_folder, shares)) = shares(&text) else { return };
    let problem = || shares.list().expect("listed").remove(0).problem;
    let shown = path.display();
    assert_eq!(
        problem(),
        Some(format!(
            "`{shown}` cannot be used (No such file or directory (os error 2)); make it, or mount its disk"
        ))
    );
    assert_eq!(shares.for_person(&person("anna", Role::Pupil, "c7b"), PI).expect("granted"), []);
    DirBuilder::new().mode(0o700).create(&path).expect("made");
    assert!(problem().is_some_and(|says| says.contains("cannot be read by user 65534")));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("opened");
    assert!(problem().is_some_and(|says| says.contains("cannot be written by user 65534")));
    chown(&path, Some(65_534), None).expect("given away");
    assert_eq!(problem(), None);
    assert_eq!(shares.for_person(&person("anna", Role::Pupil, "c7b"), PI).expect("granted")[0].root, path);
}

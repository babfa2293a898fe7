//! The directory with a table for a server: who is let in, what is kept, what happens without it.

use std::sync::atomic::{AtomicUsize, Ordering};

use portable_atomic::{AtomicI64, AtomicU64};

use super::entry::tests::entry;
use super::*;
use crate::config::directory::Directory as Settings;
use crate::service::accounts::Directory as _;
use crate::service::accounts::steps::Outcome;
use crate::service::leases::Now;
use crate::store::accounts::{AccountStep, NewAccount};
use crate::types::{Gid, Role, Uid};

/// What the table says; shared with the test, which changes it.
#[derive(Debug, Default)]
struct Table {
    people: Vec<Entry>,
    groups: Vec<Entry>,
    passwords: Vec<(&'static str, &'static str)>,
    down: bool,
    says: Option<Checked>,
    /// The day that came with the last new password.
    dated: Option<i64>,
}

#[derive(Debug, Default)]
struct Fake {
    table: Mutex<Table>,
    asked: AtomicUsize,
}

fn away() -> Trouble {
    let (what, remedy) = ("`dc1` does not answer".to_owned(), "look at the cable".to_owned());
    Trouble { stage: Stage::Connect, what, remedy }
}

impl Server for Arc<Fake> {
    fn search(&self, settings: &Settings, query: Query<'_>) -> Result<Vec<Entry>, Trouble> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let table = self.table.lock().expect("a table");
        if table.down {
            return Err(away());
        }
        if query.base == settings.group_base {
            return Ok(table.groups.clone());
        }
        let wanted =
            query.filter.strip_prefix(&format!("(&{}({}=", settings.filter, settings.name_attribute));
        let wanted = wanted.map(|rest| rest.trim_end_matches("))").to_lowercase());
        let fits = |entry: &&Entry| {
            wanted
                .as_ref()
                .is_none_or(|wanted| entry.text("uid").is_some_and(|uid| uid.to_lowercase() == *wanted))
        };
        Ok(table.people.iter().filter(fits).cloned().collect())
    }

    fn check(&self, _: &Settings, dn: &str, password: &Secret) -> Result<Checked, Trouble> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let table = self.table.lock().expect("a table");
        if table.down {
            return Err(away());
        }
        let right = table.passwords.contains(&(dn, password.expose()));
        Ok(if right { table.says.unwrap_or(Checked::Right) } else { Checked::Wrong })
    }

    fn change(&self, _: &Settings, change: Change<'_>) -> Result<Changed, Trouble> {
        let refused = change.new.expose() == "password";
        self.table.lock().expect("a table").dated = change.today;
        Ok(if refused { Changed::Refused("too common".to_owned()) } else { Changed::Done })
    }

    fn try_out(&self, _: &Settings) -> Vec<Step> {
        if self.table.lock().expect("a table").down {
            return vec![Step::failed("connect", away().what, away().remedy)];
        }
        vec![Step::ok("connect", "dc1"), Step::ok("bind", "as `cn=bramble`")]
    }
}

struct School {
    _folder: tempfile::TempDir,
    fake: Arc<Fake>,
    store: Store,
    config: watch::Sender<Arc<Config>>,
    time: Arc<(AtomicU64, AtomicI64)>,
    external: External,
}

const ANNA: &str = "uid=anna,ou=people,dc=x";

fn someone(uid: &str, number: &str) -> Entry {
    entry(&format!("uid={uid},ou=people,dc=x"), &[("uid", &[uid]), ("uidNumber", &[number]), ("cn", &[uid])])
}

fn group(name: &str, gid: &str, members: &[&str]) -> Entry {
    entry(
        &format!("cn={name},ou=groups,dc=x"),
        &[("cn", &[name]), ("gidNumber", &[gid]), ("memberUid", members)],
    )
}

impl School {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let fake = Arc::new(Fake::default());
        let mut config = Config::default();
        config.accounts.source = Source::Ldap;
        config.directory = Settings {
            base: "ou=people".to_owned(),
            group_base: "ou=groups".to_owned(),
            filter: "(objectClass=posixAccount)".to_owned(),
            name_attribute: "uid".to_owned(),
            refresh: Duration::from_mins(10),
            offline_time: Duration::from_hours(24),
            ..Settings::default()
        };
        let config = watch::Sender::new(Arc::new(config));
        let time = Arc::new((AtomicU64::new(1000), AtomicI64::new(1_790_000_000)));
        let reads = Arc::clone(&time);
        let clock: accounts::Clock = Box::new(move || Now {
            up: Uptime(Duration::from_secs(reads.0.load(Ordering::SeqCst))),
            civil: Moment::from_secs(reads.1.load(Ordering::SeqCst)),
        });
        let server = Box::new(Arc::clone(&fake));
        let external = External::new(server, store.clone(), config.subscribe(), clock);
        let school = Self { _folder: folder, fake, store, config, time, external };
        {
            let mut table = school.table();
            table.people = vec![someone("anna", "5001"), someone("Ben.Olmez", "5002")];
            table.groups =
                vec![group("pupils", "6001", &["anna", "ben.olmez"]), group("7b", "6002", &["anna"])];
            table.passwords = vec![(ANNA, "opensesame"), ("uid=Ben.Olmez,ou=people,dc=x", "letmein-2")];
        }
        school
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.fake.table.lock().expect("a table")
    }

    fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut config = Config::clone(&self.config.borrow());
        change(&mut config.directory);
        self.config.send_replace(Arc::new(config));
    }

    fn later(&self, seconds: u64) {
        self.time.0.fetch_add(seconds, Ordering::SeqCst);
        self.time.1.fetch_add(i64::try_from(seconds).expect("small"), Ordering::SeqCst);
    }

    fn log_in(&self, name: &str, password: &str) -> Result<Person, Refused> {
        self.external.verify(name, &password.parse().expect("a password"))
    }

    fn refused(&self, name: &str, password: &str) -> String {
        self.log_in(name, password).expect_err("refused").code().to_owned()
    }

    fn names(&self) -> Vec<String> {
        self.external.people().expect("listed").iter().map(|person| person.name.to_string()).collect()
    }
}

#[test]
fn people_come_with_their_numbers_classes_and_roles() {
    let school = School::new();
    school.set(|settings| settings.teachers = vec!["7B".to_owned()]);
    let anna = school.log_in("anna", "opensesame").expect("let in");
    assert_eq!((anna.uid, anna.gid, anna.role), (Uid(5001), Gid(5001), Role::Teacher));
    let classes: Vec<String> = anna.classes.iter().map(|(class, gid)| format!("{class}={gid}")).collect();
    assert_eq!(classes, ["class-7b=6002", "pupils=6001"]);
    assert_eq!(school.names(), ["anna", "ben-olmez"]);
    assert_eq!(school.external.person("anna").expect("found"), Some(anna));
    assert_eq!(school.log_in("ben-olmez", "letmein-2").expect("let in").name.as_str(), "ben-olmez");
    for (name, password) in
        [("anna", "wrong"), ("anna", ""), ("Anna", "opensesame"), ("nobody-x", "x"), ("*)(uid=*", "x")]
    {
        assert_eq!(school.refused(name, password), "wrong_password", "{name}");
    }
    assert_eq!(school.external.person("*)(uid=*").expect("asked"), None);
    let has = |uid| school.external.has(Uid(uid));
    assert!(has(5001).expect("asked") && !has(5003).expect("asked"));
    school.table().down = true;
    school.later(3600);
    assert!(has(5003).is_err(), "then nobody can tell");
}

#[test]
fn only_members_of_the_groups_that_may() {
    let school = School::new();
    school.set(|settings| settings.groups = vec!["7b".to_owned()]);
    assert!(school.log_in("anna", "opensesame").is_ok());
    assert_eq!(school.refused("ben-olmez", "wrong"), "wrong_password", "not told without the password");
    assert_eq!(school.refused("ben-olmez", "letmein-2"), "not_here");
    assert_eq!(school.names(), ["anna"]);
    school.table().groups[1] = group("7b", "6002", &["BEN.olmez"]);
    school.later(61);
    assert!(school.log_in("ben-olmez", "letmein-2").is_ok(), "a minute later");
    assert_eq!(school.refused("anna", "opensesame"), "not_here");
}

#[test]
fn an_account_that_is_switched_off_or_over_is_told_to_its_owner_only() {
    let school = School::new();
    for (says, code) in [(Checked::Disabled, "disabled"), (Checked::Expired, "expired")] {
        school.table().says = Some(says);
        assert_eq!(school.refused("anna", "opensesame"), code);
        assert_eq!(school.refused("anna", "wrong"), "wrong_password");
    }
    school.table().says = Some(Checked::MustChange);
    assert!(school.log_in("anna", "opensesame").expect("let in").must_change);
    school.table().says = None;
    school.table().people[0].attributes.insert("shadowexpire".to_owned(), vec![b"20000".to_vec()]);
    assert_eq!(school.refused("anna", "opensesame"), "expired");
}

#[test]
fn nobody_gets_a_number_that_is_anothers() {
    let school = School::new();
    let account = NewAccount::pupil("carl".parse().expect("a name"));
    school.store.change_accounts(&[AccountStep::Add(account)], Moment::from_secs(1)).expect("stored");
    {
        let mut table = school.table();
        table.people.extend([someone("dora", "10000"), someone("emil", "5009"), someone("fritz", "5009")]);
        table.people.extend([someone("g.x", "5010"), someone("g-x", "5011"), someone("pupils", "5012")]);
        table.groups.push(group("same", "5001", &["anna"]));
        table.passwords.push(("uid=dora,ou=people,dc=x", "letmein-3"));
    }
    assert_eq!(school.names(), ["anna", "ben-olmez", "pupils"]);
    assert_eq!(school.refused("dora", "letmein-3"), "not_here", "carl's number");
    let listing = school.external.known_listing(&school.config.borrow().directory).expect("known");
    let reasons: Vec<&str> = listing.left_out.iter().map(|(_, why)| why.as_str()).collect();
    assert!(
        reasons.contains(&"its number 10000 is that of `carl` already; numbers tell whose a file is"),
        "{reasons:?}"
    );
    assert!(reasons.contains(&"2 entries have the number 5009; give each its own"), "{reasons:?}");
    assert!(reasons.contains(&"2 entries would be called `g-x` here; give one another name"), "{reasons:?}");
    let anna = school.external.person("anna").expect("found").expect("there");
    let classes: Vec<&str> = anna.classes.iter().map(|(class, _)| class.as_str()).collect();
    assert_eq!(classes, ["class-7b"], "neither a name nor a number of a person is a class");
}

#[test]
fn without_the_directory_nobody_logs_in_unless_that_is_wanted() {
    let school = School::new();
    assert!(school.log_in("anna", "opensesame").is_ok());
    school.table().down = true;
    assert_eq!(school.refused("anna", "opensesame"), "unreachable");
    assert!(school.external.refresh().is_err());
    school.later(3600);
    assert!(school.external.people().is_err());
    assert!(school.store.directory_people().expect("read").is_empty(), "nothing is kept");
    let asked = school.fake.asked.load(Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(school.refused("anna", "opensesame"), "unreachable");
    }
    assert_eq!(school.fake.asked.load(Ordering::SeqCst), asked, "a room does not wait for it one by one");
    school.later(6);
    school.table().down = false;
    assert!(school.log_in("anna", "opensesame").is_ok());
}

#[test]
fn who_there_is_can_be_kept_and_passwords_too() {
    let school = School::new();
    school.set(|settings| settings.offline = Offline::Names);
    assert!(school.log_in("anna", "opensesame").is_ok());
    school.table().down = true;
    school.later(3600);
    assert_eq!(school.names(), ["anna", "ben-olmez"]);
    assert_eq!(school.refused("anna", "opensesame"), "unreachable", "names are kept, passwords are not");
    school.table().down = false;
    school.later(6);
    school.set(|settings| settings.offline = Offline::Passwords);
    assert!(school.log_in("anna", "opensesame").is_ok());
    school.table().down = true;
    school.later(3600);
    let anna = school.log_in("anna", "opensesame").expect("let in without the directory");
    assert_eq!(anna.classes.len(), 2);
    assert_eq!(school.refused("anna", "wrong"), "wrong_password");
    assert_eq!(school.refused("ben-olmez", "letmein-2"), "unreachable", "he has not logged in since");
    school.later(24 * 3600);
    assert_eq!(school.refused("anna", "opensesame"), "unreachable", "too long ago");
}

#[test]
fn what_the_directory_no_longer_accepts_is_forgotten() {
    let school = School::new();
    school.set(|settings| settings.offline = Offline::Passwords);
    let kept = || {
        let anna = school.store.directory_person(&"anna".parse().expect("a name")).expect("read");
        anna.and_then(|(_, kept)| kept).is_some()
    };
    assert!(school.log_in("anna", "opensesame").is_ok() && kept());
    assert_eq!(school.refused("anna", "wrong"), "wrong_password");
    assert!(kept(), "a slip of a finger changes nothing");
    school.table().passwords[0].1 = "another";
    assert_eq!(school.refused("anna", "opensesame"), "wrong_password");
    assert!(!kept(), "the old password is no longer good without the directory");
    assert!(school.log_in("anna", "another").is_ok() && kept());
    school.table().says = Some(Checked::Disabled);
    assert_eq!(school.refused("anna", "another"), "disabled");
    assert!(!kept());
    school.table().says = None;
    assert!(school.log_in("anna", "another").is_ok() && kept());
    school.set(|settings| settings.offline = Offline::Names);
    school.external.refresh().expect("asked");
    assert!(!kept(), "the setting was changed");
    school.set(|settings| settings.offline = Offline::No);
    school.external.refresh().expect("asked");
    assert!(school.store.directory_people().expect("read").is_empty());
}

#[test]
fn it_is_noticed_that_somebody_came_and_went() {
    let school = School::new();
    assert!(school.external.refresh().expect("asked"), "the first time");
    assert!(!school.external.refresh().expect("asked"));
    school.table().people.push(someone("carla", "5003"));
    assert!(school.external.refresh().expect("asked"));
    assert_eq!(school.names().len(), 3);
    school.table().people.remove(0);
    assert!(school.external.refresh().expect("asked"));
    assert_eq!(school.external.person("anna").expect("asked"), None);
}

#[test]
fn a_new_password_is_the_directorys_to_take() {
    let school = School::new();
    let anna = school.log_in("anna", "opensesame").expect("let in");
    let change = |new: &str| {
        school.external.change_password(
            &anna,
            &"opensesame".parse().expect("a password"),
            &new.parse().expect("one"),
        )
    };
    assert!(change("closesesame").is_ok());
    assert_eq!(school.table().dated, None, "her entry says nothing of when");
    school.table().people[0].attributes.insert("shadowlastchange".to_owned(), vec![b"0".to_vec()]);
    assert!(change("closesesame").is_ok());
    assert_eq!(school.table().dated, Some(1_790_000_000 / 86_400));
    let refused = change("password").expect_err("refused");
    assert_eq!((refused.code(), refused.to_string()), ("weak", "too common".to_owned()));
}

#[test]
fn each_step_is_shown_up_to_the_one_that_fails() {
    let school = School::new();
    let steps = |name: &str, password: Option<&str>| -> Vec<String> {
        let password = password.map(|text| text.parse().expect("a password"));
        let line = |step: Step| {
            let mark = match step.outcome {
                Outcome::Ok => "",
                Outcome::Note => "note ",
                Outcome::Failed => "FAILED ",
            };
            let remedy = step.remedy.map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
            format!("{mark}{}: {}{remedy}", step.step, step.what)
        };
        school.external.test(name, password.as_ref()).into_iter().map(line).collect()
    };
    let all = steps("Ben.Olmez", Some("letmein-2"));
    assert_eq!(
        all,
        [
            "connect: dc1",
            "bind: as `cn=bramble`",
            "search: below `ou=people`",
            "entry: uid=Ben.Olmez,ou=people,dc=x",
            "name: logs in as `ben-olmez`",
            "numbers: uid and group 5002, as the directory has it",
            "password: right",
            "groups: pupils",
            "result: `ben-olmez` may log in, as a pupil; a room may ask for a class",
        ]
    );
    let last = |name: &str, password| steps(name, password).pop().expect("a step");
    assert_eq!(
        last("nobody", None),
        "FAILED search: nobody below `ou=people` has `uid` `nobody` -> look at the name, at `base` and at `filter`, which is \
         (objectClass=posixAccount)"
    );
    assert!(last("anna", Some("wrong")).starts_with("FAILED password: not right"));
    school.table().people[0].attributes.insert("shadowlastchange".to_owned(), vec![b"0".to_vec()]);
    let due = "note password: a new one has to be chosen at the log-in, and at each one where the directory does not let \
               people write their own `shadowLastChange`";
    assert!(steps("anna", None).iter().any(|step| step == due), "{:?}", steps("anna", None));
    school.table().people.push(someone("two words", "5003"));
    assert!(last("two words", None).starts_with("FAILED entry: left out: `two words` cannot be a name"));
    school.set(|settings| settings.groups = vec!["7b".to_owned(), "staff".to_owned()]);
    let ben = steps("ben-olmez", None);
    assert!(
        ben.contains(&"note groups: there is no group `staff` below `ou=groups`; nobody is in it".to_owned()),
        "{ben:?}"
    );
    assert_eq!(
        ben.last().map(String::as_str),
        Some(
            "FAILED groups: in `pupils`, and only members of `7b`, `staff` may log in -> put them into one, or change `list group`"
        )
    );
    school.table().down = true;
    assert_eq!(steps("anna", None), ["FAILED connect: `dc1` does not answer -> look at the cable"]);
}

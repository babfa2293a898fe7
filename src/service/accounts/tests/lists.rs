//! Lists of people: what becomes of each line, and of all of them together.

use super::*;
use crate::service::jobs::Task;

/// The fates of a list, one line each: `2 add zoe-mueller [class-7b]`, and what is said.
fn fates(school: &School, list: &str) -> Vec<String> {
    let plan = school.accounts.plan(&sheet::read(list).expect("a list"), &import::Defaults::default());
    let line = |line: &import::LineFate| {
        let classes: Vec<&str> = line.classes.iter().map(crate::types::ClassName::as_str).collect();
        let says = if line.says.is_empty() { String::new() } else { format!(": {}", line.says) };
        format!("{} {} {} [{}]{says}", line.line, line.fate.as_str(), line.name, classes.join(" "))
    };
    plan.expect("a plan").lines.iter().map(line).collect()
}

fn import(school: &School, list: &str) -> Result<import::Imported, import::ImportError> {
    let list = sheet::read(list).expect("a list");
    school.accounts.import(&list, &import::Defaults::default(), false, &Task::unwatched())
}

#[test]
fn every_line_of_a_list_has_a_fate_and_refusals_say_why() {
    let school = School::new();
    let list = "Benutzername;Vorname;Nachname;Klasse;Rolle;Passwort;Ablauf\n\
        ;Zoë;Müller;7b;;;\n\
        ;Zoë;Müller;7b;;;\n\
        anna;;;c7a;;;\n\
        anna;;;c8b;;;\n\
        weber;Eva;Weber;;Lehrerin;;31.7.2027\n\
        root;;;;;;\n\
        Max M;;;;;;\n\
        ben;;;;boss;;\n\
        cleo;;;;;short;\n\
        dora;;;sudo;;;\n\
        emil;;;;;;soon\n\
        ;李;;;;;\n\
        finn;Finn;Ost;c7a, 10a;;long enough;\n\
        gina;;;Klasse 7b | Chess Club;;;31/07/2027\n\
        hugo;;;classe 10a,Class Trip,math_1;;;07/08/2027\n\
        ines;;;classe 10a,Class Trip,math_1;;;\n";
    assert_eq!(
        fates(&school, list),
        [
            "2 add zoe-mueller [class-7b]",
            "3 add zoe-mueller2 [class-7b]",
            "4 same anna [c7a]",
            "5 refused anna []: line 4 has the same name `anna`",
            "6 change weber []: full name, expiry",
            "7 refused root []: `root` is the name of a class or of a part of the system; choose another",
            "8 refused Max M []: `Max M` cannot be a name to log in with; as Debian's adduser has it, use 1 to 32 small \
             letters, digits, `_` and `-`, starting with a letter, such as `anna`",
            "9 refused ben []: `boss` is not a role; write `pupil` or `teacher`",
            "10 refused cleo []: the new password is too short: it has 5 characters and needs 8",
            "11 refused dora []: `sudo` is the name of an account or of a part of the system, and no class",
            "12 refused emil []: `soon` is not a day; write year, month and day, such as `2027-07-31`",
            "13 refused  []: no name to log in with can be made of `李`; add a column `name`",
            "14 add finn [c7a class-10a]",
            "15 add gina [chess-club class-7b]",
            "16 refused hugo []: `07/08/2027` is not a day; write year, month and day, such as `2027-07-31`",
            "17 add ines [class-10a class-trip math_1]",
        ]
    );
    let before = school.store.accounts().expect("accounts");
    let refused = import(&school, list);
    assert_eq!(
        refused.expect_err("nine lines are refused").to_string(),
        "nothing was imported: of the lines, 9 cannot be taken over; look at the preview and mend them, or leave them out"
    );
    assert_eq!(school.store.accounts().expect("accounts"), before, "nothing is written");
}

#[test]
fn a_list_is_taken_over_whole_and_again_changes_nothing() {
    let school = School::new();
    let list = "first name,last name,class,hash\nZoë,Müller,7b,\nBen,Ost,7b,$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1\n";
    let import::Imported { plan, slips } = import(&school, list).expect("imported");
    assert_eq!((plan.count(import::Fate::Add), slips.len()), (2, 1), "a hash needs no slip");
    let slip = &slips[0];
    let zoe = school.accounts.verify("zoe-mueller", &slip.password, Origin::Cli).expect("let in");
    assert!(zoe.must_change);
    assert_eq!(school.log_in("ben-ost", "sesame", Origin::Cli), zoe.uid.0.saturating_add(1).to_string());
    let hash = |name_: &str| {
        school.store.account(&name(name_)).expect("asked").expect("found").hash.expect("a hash")
    };
    assert!(!password::is_foreign(&hash("zoe-mueller")), "the quick hash is made anew at the first log-in");

    let exported = school.accounts.export(Some(&class("class-7b"))).expect("exported");
    assert_eq!(
        exported,
        "name;full name;class;role;note;expires\nben-ost;Ben Ost;class-7b;pupil;;\nzoe-mueller;Zoë Müller;class-7b;pupil;;\n"
    );
    assert!(fates(&school, &exported).iter().all(|fate| fate.contains(" same ")), "{exported}");

    let html = slips::html(&slips);
    assert!(html.contains("Zoë Müller") && html.contains(slip.password.expose()));
}

#[test]
fn passwords_of_an_import_can_be_asked_for_until_they_are_old() {
    let school = School::new();
    let names: Vec<String> = (0..20).map(|n| format!("pupil{n:02};\n")).collect();
    let list = format!("name;password\nz;\n{}", names.concat());
    let done = import(&school, &list).expect("imported");
    let names: Vec<&str> = done.slips.iter().map(|slip| slip.account.name.as_str()).collect();
    assert!(
        names.len() == 21 && names[0] == "z" && names[1..].is_sorted(),
        "in the order of the list: {names:?}"
    );
    school.accounts.keep_import(7, done);
    let kept = |job| school.accounts.imported(job, |done| done.slips.len());
    assert_eq!((kept(7), kept(8)), (Some(21), None));
    school.now.store(3599, Ordering::SeqCst);
    school.accounts.time_passes();
    assert_eq!(kept(7), Some(21));
    school.now.store(3600, Ordering::SeqCst);
    school.accounts.time_passes();
    assert_eq!(kept(7), None);
}

#[test]
fn an_import_that_is_stopped_or_overtaken_writes_nothing() {
    let school = School::new();
    let before = school.store.accounts().expect("accounts");
    let list = sheet::read("name;class\nben;7b\n").expect("a list");
    let task = Task::unwatched();
    task.cancel();
    let stopped = school.accounts.import(&list, &import::Defaults::default(), false, &task);
    assert!(matches!(stopped, Err(import::ImportError::Cancelled(_))));
    assert_eq!(school.store.accounts().expect("accounts"), before);

    // Somebody else makes `ben` while the hash of this one is made: as long as another hash runs, it waits.
    let secret = secret("long enough");
    let list = sheet::read("name;password\nben;long enough\n").expect("a list");
    let slots = school.accounts.0.local.slots();
    let running: Vec<_> = (0..slots.most()).map(|_| slots.take().expect("free")).collect();
    let overtaken = std::thread::scope(|scope| {
        let importing = scope
            .spawn(|| school.accounts.import(&list, &import::Defaults::default(), false, &Task::unwatched()));
        while slots.waiting() == 0 {
            std::thread::yield_now();
        }
        school.apply(&[new("ben", Role::Pupil, &[])]);
        drop(running);
        importing.join().expect("no panic")
    });
    assert!(
        overtaken
            .expect_err("overtaken")
            .to_string()
            .starts_with("nothing was imported: accounts were changed")
    );
    assert!(school.accounts.verify("ben", &secret, Origin::Cli).is_err(), "ben is the other's");
}

#[test]
fn two_of_the_same_name_are_never_mixed_up_by_a_later_list() {
    let school = School::new();
    import(&school, "full name;class\nBen Ost;7b\nBen Ost;8a\n").expect("imported");
    assert_eq!(
        fates(&school, "full name;class\nBen Ost;8b\n"),
        ["2 refused  []: several accounts are called `Ben Ost`; add a column `name` that says which"]
    );
    assert_eq!(fates(&school, "name;class\nben-ost2;9a\n"), ["2 change ben-ost2 [class-9a]: classes"]);
}

#[test]
fn slips_cannot_bring_markup_along() {
    let school = School::new();
    let full_name = "<script>alert('x')</script> & \"co\"".parse().expect("a full name");
    school.set(10_000, AccountChange { full_name: Some(full_name), ..AccountChange::default() });
    let slip = school.accounts.reset_password(&name("anna"), None).expect("reset");
    let html = slips::html(std::slice::from_ref(&slip));
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;co&quot;"), "{html}");
    assert!(!html.contains("<script"), "{html}");
    assert!(!format!("{slip:?}").contains(slip.password.expose()), "no password in a Debug");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// What was exported is what is there: taken over again, nothing changes, and a new school has the same people.
    #[test]
    fn an_exported_list_means_what_is_there(
        people in proptest::collection::vec(
            ("[a-z][a-z0-9-]{0,8}", "[=+@'-]{0,2}\\PC{0,20}", "[=+@'-]{0,2}[ -~äöü;,\"]{0,30}", 0_usize..8, proptest::bool::ANY, 0_i64..2),
            1..8,
        ),
    ) {
        let school = School::new();
        for (nth, (login, full_name, note, classes, teacher, expires)) in people.iter().enumerate() {
            let known = [class("c7a"), class("c8b")];
            let account = NewAccount {
                full_name: crate::types::FullName::nearest(full_name),
                note: note.trim().to_owned(),
                role: if *teacher { Role::Teacher } else { Role::Pupil },
                expires_at: (*expires > 0).then(|| crate::types::time::parse_date("2027-07-31").expect("a day")),
                classes: known.into_iter().enumerate().filter(|(at, _)| classes & (1 << at) != 0).map(|(_, c)| c).collect(),
                ..NewAccount::pupil(name(&format!("{login}{nth}")))
            };
            school.apply(&[AccountStep::Add(account)]);
        }
        let list = school.accounts.export(None).expect("exported");
        let mut cells = csv::ReaderBuilder::new().delimiter(b';').from_reader(list.as_bytes());
        for record in cells.records() {
            let record = record.expect("a record");
            proptest::prop_assert!(record.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{list}");
        }
        let fates = fates(&school, &list);
        proptest::prop_assert!(fates.iter().all(|fate| fate.contains(" same ")), "{list}\n{fates:?}");
        let other = School::new();
        proptest::prop_assert!(import(&other, &list).is_ok(), "{list}");
        proptest::prop_assert_eq!(other.accounts.export(None).expect("exported"), list);
    }
}

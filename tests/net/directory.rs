//! Accounts of a directory elsewhere: pupils of a real slapd log in at a seat.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use bramble::cli::link::Link;
use bramble::proto::agent::channel::{Ask, Code, Reply};
use bramble::sim::classroom::Classroom;
use bramble::sim::net::SERVER;
use bramble::sim::pi::channel::Channel;
use bramble::sim::pi::{Options, Up};
use bramble::types::{Person, Role, Secret, UserName};
use serde_json::{Value, json};

use crate::classroom::{boot, classroom};
use crate::harness::isolated;
use crate::ldap::pause;
use crate::slapd::{ADDRESS, OWN_SECRET, Slapd};

/// A room of one seat, whose people are in the directory `D`.
pub struct School<D> {
    _folder: tempfile::TempDir,
    room: Classroom,
    pub directory: D,
    up: Up,
}

impl School<Slapd> {
    fn open() -> Option<Self> {
        let (folder, mut room) = classroom(1);
        let slapd = Slapd::start(&mut room, folder.path())?;
        let up = boot(&mut room, Options { skip_walk: true }).pop().expect("a seat");
        Some(Self::of(folder, room, up, slapd))
    }

    /// Takes the directory as the source of accounts, with `more` options, and waits until it is.
    fn configure(&mut self, more: &str) {
        let posix = "\toption base 'dc=school,dc=lan'\n\toption bind_dn 'cn=bramble,dc=school,dc=lan'\n";
        let tree = if more.contains("option base") { "" } else { posix };
        let server =
            if more.contains("list server") { String::new() } else { format!("\tlist server '{ADDRESS}'\n") };
        let ca = if more.contains("ca_file") {
            String::new()
        } else {
            format!("\toption ca_file '{}'\n", self.directory.ca().display())
        };
        let text = format!(
            "\nconfig accounts 'accounts'\n\toption source 'ldap'\n\nconfig directory 'directory'\n{server}{ca}{tree}\
             \toption timeout '5'\n\toption secret_file '{}'\n{more}",
            self.directory.secret().display()
        );
        self.take(text);
    }
}

impl<D> School<D> {
    pub fn of(folder: tempfile::TempDir, room: Classroom, up: Up, directory: D) -> Self {
        Self { _folder: folder, room, directory, up }
    }

    /// Has the daemon take over `text` besides what it knows.
    pub fn take(&mut self, text: String) {
        self.room.server.site_mut().more_bramble = text;
        let applied = |school: &Self| school.log().matches("configuration applied").count();
        let before = applied(self);
        self.room.server.reload().expect("reloaded");
        assert!((0..200).any(|_| applied(self) > before || pause()), "{}", self.log());
    }

    pub fn channel(&self) -> Channel {
        let (ip, pin) = (self.up.given.address, self.up.pin);
        let machine = self.room.machine(0).expect("a machine");
        let opened =
            machine.run(|| Channel::open(ip, SERVER, pin, "boot-1", &[]).map_err(std::io::Error::other));
        opened.expect("welcome")
    }

    /// Somebody types a password at the seat.
    pub fn try_password(&self, name: &str, password: &str) -> Result<Person, (Code, String)> {
        let ask = Ask::Authenticate {
            name: name.parse().expect("a name"),
            password: password.parse().expect("a password"),
            service: "login".into(),
            terminal: "tty1".into(),
        };
        // Without a list of people nobody is welcomed; log-ins are asked for all the same.
        let (ip, pin) = (self.up.given.address, self.up.pin);
        let machine = self.room.machine(0).expect("a machine");
        let answer = machine.run(|| {
            let mut channel = Channel::open(ip, SERVER, pin, "boot-1", &[]).map_err(std::io::Error::other)?;
            channel.ask(ask).map_err(std::io::Error::other)
        });
        match answer.expect("an answer") {
            Reply::Verified { person } => Ok(person),
            Reply::Refused { code, message } => Err((code, message)),
            other => panic!("{other:?}"),
        }
    }

    /// `bramble account test`, with a password where one is given.
    fn test(&self, name: &str, password: Option<&str>) -> (bool, String) {
        let socket = self.room.server.site().folder.join("socket");
        let answer = Link::open(&socket)
            .expect("the daemon answers")
            .ask("account_test", &json!({ "account": name, "password": password }))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        let line = |step: &Value| {
            let text = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}: {} | {}", text("outcome"), text("step"), text("what"), text("remedy"))
        };
        let steps: Vec<String> = answer["steps"].as_array().expect("steps").iter().map(line).collect();
        (answer["works"] == json!(true), steps.join("\n"))
    }

    /// Whether `bramble status` comes to say, or no longer to say, that the directory is away.
    fn is_told(&self, away: bool) -> bool {
        let says =
            || self.room.server.tell(&["status"]).expect("an answer").contains("does not answer on port 636");
        (0..300).any(|_| says() == away || pause())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.room.server.site().log()).expect("a log")
    }
}

#[test]
fn pupils_of_a_directory_log_in_and_have_a_home() {
    isolated(|| {
        let Some(mut school) = School::open() else { return };
        for (mode, port) in [("", 636), ("\toption tls 'starttls'\n", 389)] {
            school.configure(&format!("\tlist teacher_group 'staff'\n{mode}"));
            let anna = school.try_password("anna", "opensesame").expect("let in");
            assert_eq!((anna.uid.0, anna.gid.0, anna.full_name.as_str()), (5001, 5001, "Anna Maier"));
            let classes: Vec<String> =
                anna.classes.iter().map(|(class, gid)| format!("{class}={gid}")).collect();
            assert_eq!(classes, ["class-7b=6001", "pupils=6000"], "and not sudo");
            let (works, steps) = school.test("anna", Some("opensesame"));
            assert!(
                works && steps.contains(&format!("connect: {ADDRESS} ({ADDRESS}), port {port}")),
                "{steps}"
            );
        }
        let ben = school.try_password("ben-olmez", "letmein-2").expect("let in");
        assert_eq!((ben.uid.0, ben.role), (5002, Role::Teacher));
        for (name, password) in
            [("anna", "wrong"), ("nobody-of-us", "opensesame"), ("mallory", "letmein-0"), ("anna", "")]
        {
            let (code, _) = school.try_password(name, password).expect_err("refused");
            assert_eq!(code, Code::WrongPassword, "{name}");
        }
        // The list that the seat gets: everybody, in pages, and nobody of the system.
        let people = school.channel().people.expect("a list").persons;
        assert_eq!(people.len(), 123, "more than the server gives in one answer");
        assert!(people.iter().all(|person| person.uid.0 >= 1000 && person.name.as_str() != "mallory"));

        // An administrator sees them too.
        let tell = |words: &[&str]| school.room.server.tell(words).expect("an answer");
        let list = tell(&["account", "list", "maier"]);
        let lines: Vec<&str> = list.lines().collect();
        assert!(
            lines.len() == 3 && lines[1].starts_with("anna  Anna Maier  class-7b, pupils  pupil  ok"),
            "{list}"
        );
        assert_eq!(lines[2], "They are kept in the directory; change them there.");
        assert!(tell(&["account", "list"]).contains("1 to 100 of 123 accounts; more: --offset 100"));
        let classes = tell(&["class", "list"]);
        assert!(classes.lines().any(|line| line.starts_with("class-7b  1        -      6001 ")), "{classes}");

        // A session opens, and with it a home that is theirs.
        let name: UserName = "anna".parse().expect("a name");
        let secret: Secret = "opensesame".parse().expect("a password");
        let (_, session, mounts) = school.channel().log_in(&name, &secret).expect("logged in");
        assert_eq!(mounts[0].path, "/home/anna");
        assert!(school.room.server.site().data().join("homes/anna").is_dir());
        assert!(school.room.server.tell(&["session", "list"]).expect("an answer").contains("anna"));
        let shown = tell(&["account", "show", "anna"]);
        assert!(
            shown.contains("  Last log-in  2") && shown.contains("  Kept         in the directory"),
            "{shown}"
        );
        school.room.server.tell(&["session", "end", &session.to_string()]).expect("ended");

        // She comes, changes her password and goes.
        let ask = Ask::ChangePassword { name, old: secret, new: "closesesame".parse().expect("a password") };
        assert_eq!(school.channel().ask(ask).expect("an answer"), Reply::Changed);
        assert!(school.try_password("anna", "opensesame").is_err());
        assert!(school.try_password("anna", "closesesame").is_ok());
        school.directory.modify("dn: uid=anna,ou=people,dc=school,dc=lan\nchangetype: delete\n");
        let (code, _) = school.try_password("anna", "closesesame").expect_err("she is gone");
        assert_eq!(code, Code::WrongPassword);

        let log = school.log();
        for secret in [OWN_SECRET, "sesame", "letmein"] {
            assert!(!log.contains(secret), "`{secret}` is in the log");
        }
    });
}

/// `anna` may write when she changed her password last, `carl` may not.
#[test]
fn a_password_that_is_due_is_changed_and_opens_the_home() {
    isolated(|| {
        let Some(mut school) = School::open() else { return };
        for uid in ["anna", "carl"] {
            school.directory.modify(&format!(
                "dn: uid={uid},ou=people,dc=school,dc=lan\nchangetype: modify\nadd: objectClass\nobjectClass: shadowAccount\n-\n\
                 add: shadowLastChange\nshadowLastChange: 0\n"
            ));
        }
        school.configure("");
        for (name, first, due_again) in [("anna", "opensesame", false), ("carl", "letmein-3", true)] {
            let secret = |text: &str| -> Secret { text.parse().expect("a password") };
            let name: UserName = name.parse().expect("a name");
            let (_, steps) = school.test(name.as_str(), Some(first));
            assert!(steps.contains("note password: a new one has to be chosen at the log-in"), "{steps}");
            let mut seat = school.channel();
            let open = || Ask::OpenSession {
                name: name.clone(),
                service: "login".into(),
                terminal: "tty1".into(),
                kind: bramble::types::SessionKind::Console,
            };
            assert!(school.try_password(name.as_str(), first).expect("let in").must_change);
            let Reply::Refused { message, .. } = seat.ask(open()).expect("an answer") else {
                panic!("opened")
            };
            assert_eq!(message, "choose a new password first");
            let ask =
                Ask::ChangePassword { name: name.clone(), old: secret(first), new: secret("closesesame") };
            assert_eq!(seat.ask(ask).expect("an answer"), Reply::Changed);
            let opened = seat.ask(open()).expect("an answer");
            assert!(matches!(opened, Reply::Opened { .. }), "{name}: {opened:?}");
            let again = school.try_password(name.as_str(), "closesesame").expect("let in");
            assert_eq!(again.must_change, due_again, "{name}");
        }
        let says = "let people write their own `shadowLastChange`";
        assert_eq!(school.log().matches(says).count(), 1, "{}", school.log());
    });
}

#[test]
fn what_prevents_a_log_in_is_said_with_what_to_do() {
    isolated(|| {
        let Some(mut school) = School::open() else { return };
        let other_ca = school.directory.other_ca();
        school.configure("\tlist group '7B'\n");
        assert!(school.try_password("anna", "opensesame").is_ok());
        let (code, message) = school.try_password("carl", "letmein-3").expect_err("not in the group");
        assert_eq!(
            (code, message.as_str()),
            (Code::NotHere, "this account may not be used in this room; ask your teacher")
        );
        let names: Vec<String> = school
            .channel()
            .people
            .expect("a list")
            .persons
            .iter()
            .map(|person| person.name.to_string())
            .collect();
        assert_eq!(names, ["anna"]);
        let tested = |school: &School<Slapd>, name: &str, password| {
            let (works, steps) = school.test(name, password);
            assert!(!works, "{steps}");
            assert!(!steps.contains(OWN_SECRET), "{steps}");
            steps.lines().last().expect("a step").to_owned()
        };
        assert_eq!(
            tested(&school, "carl", Some("letmein-3")),
            "failed groups: in `pupils`, and only members of `7B` may log in | put them into one, or change `list group`"
        );
        assert!(tested(&school, "anna", Some("wrong")).starts_with("failed password: not right"));
        // A name that would be part of a filter is a name that nobody has.
        let everybody = tested(&school, "*)(uid=*", Some("opensesame"));
        assert_eq!(
            everybody,
            "failed search: nobody below `dc=school,dc=lan` has `uid` `*)(uid=*` | look at the name, at `base` and at \
             `filter`, which is (objectClass=posixAccount)"
        );
        assert!(
            tested(&school, "mallory", None)
                .starts_with("failed entry: left out: its number 0 belongs to the system")
        );

        #[rustfmt::skip]
        let rows = [
            (format!("\toption ca_file '{}'\n", other_ca.display()),
             format!("failed TLS: the certificate of `{ADDRESS}` is signed by nobody in `{}` | set `ca_file` to the certificate of whoever signed it", other_ca.display())),
            ("\toption tls 'off'\n".to_owned(),
             format!("failed bind: `{ADDRESS}` takes no password without TLS | set `tls` to `ldaps` or `starttls`")),
            (format!("\tlist server '{ADDRESS}:389'\n"),
             format!("failed TLS: `{ADDRESS}` does not speak TLS there")),
            (format!("\tlist server '{ADDRESS}:9'\n"),
             format!("failed connect: `{ADDRESS}` does not answer on port 9 (Connection refused (os error 111)) | look at the name, the port, a firewall in between, and whether the server runs")),
            ("\toption base 'dc=nowhere'\n\toption bind_dn 'cn=bramble,dc=school,dc=lan'\n".to_owned(),
             format!("failed search: `{ADDRESS}` has no entry `dc=nowhere`")),
            ("\toption base 'dc=school,dc=lan'\n\toption bind_dn 'cn=other,dc=school,dc=lan'\n".to_owned(),
             format!("failed bind: `{ADDRESS}` does not let `cn=other,dc=school,dc=lan` in | look at `bind_dn` and at the password in `{}`", school.directory.secret().display())),
        ];
        for (options, expected) in rows {
            school.configure(&options);
            let last = tested(&school, "anna", Some("opensesame"));
            assert!(last.starts_with(&expected), "{options}: {last}\nexpected {expected}");
        }
        // A secret that others could read is not used, and not even taken over.
        fs::set_permissions(school.directory.secret(), Permissions::from_mode(0o644)).expect("set");
        let check = school.room.server.cli(&[
            "check",
            "--config",
            &school.room.server.site().config().display().to_string(),
        ]);
        let check = String::from_utf8(check.expect("runs").stdout).expect("text");
        assert!(check.contains("can be read by others than its owner"), "{check}");
        assert!(!school.log().contains(OWN_SECRET));
    });
}

#[test]
fn without_the_directory_only_what_was_kept() {
    isolated(|| {
        let Some(mut school) = School::open() else { return };
        school.configure(&format!("\tlist server '192.168.77.250'\n\tlist server '{ADDRESS}'\n"));
        assert!(
            school.try_password("anna", "opensesame").is_ok(),
            "the first server is away, the second answers"
        );
        school.directory.stop();
        let (code, message) = school.try_password("anna", "opensesame").expect_err("nobody can tell");
        let sentence =
            "the list of accounts cannot be reached; try again in a minute, then tell your teacher";
        assert_eq!((code, message.as_str()), (Code::Unreachable, sentence));
        assert!(school.log().contains("does not answer on port 636"), "{}", school.log());
        assert!(school.is_told(true), "and an administrator sees it");

        school.directory.again();
        assert!(school.is_told(false), "it is asked again by itself");
        school.configure("\toption offline 'passwords'\n");
        assert!(school.try_password("anna", "opensesame").is_ok());
        school.directory.stop();
        let anna = school.try_password("anna", "opensesame").expect("what was right is right for a while");
        assert_eq!((anna.uid.0, anna.classes.len()), (5001, 2));
        assert_eq!(school.try_password("anna", "wrong").expect_err("refused").0, Code::WrongPassword);
        assert_eq!(school.try_password("carl", "letmein-3").expect_err("never seen").0, Code::Unreachable);
        assert_eq!(school.channel().people.expect("a list").persons.len(), 123);

        // Also after a start without the directory.
        school.room.server.kill().expect("killed");
        school.room.server.again().expect("started again");
        assert!(school.try_password("anna", "opensesame").is_ok());
        assert!(school.is_told(true));
        school.directory.again();
        assert!(school.is_told(false));
        assert!(school.try_password("carl", "letmein-3").is_ok());
    });
}

#[test]
fn people_of_active_directory_get_numbers_that_stay() {
    isolated(|| {
        let Some(mut school) = School::open() else { return };
        school.configure(
            "\toption kind 'ad'\n\toption base 'dc=ad,dc=lan'\n\toption bind_dn 'cn=bramble,dc=ad,dc=lan'\n\
             \tlist group 'Chess Club'\n",
        );
        let anna = school.try_password("anna-maier", "opensesame").expect("in the club by way of her class");
        assert_eq!((anna.name.as_str(), anna.uid.0, anna.gid.0), ("anna-maier", 201_104, 201_104));
        let classes: Vec<String> = anna.classes.iter().map(|(class, gid)| format!("{class}={gid}")).collect();
        assert_eq!(classes, ["chess-club=201202", "class-7b=201201", "domain-users=200513"]);
        let people = school.channel().people.expect("a list").persons;
        assert_eq!(people, [anna], "neither a computer nor who is switched off");
        let (works, steps) = school.test("Anna.Maier", Some("opensesame"));
        assert!(works && steps.contains("ok numbers: uid and group 201104, made of `objectSid`"), "{steps}");
        let (works, steps) = school.test("off", Some("opensesame"));
        assert!(
            !works
                && steps
                    .ends_with("failed state: the account is switched off | switch it on in the directory"),
            "{steps}"
        );
        assert_eq!(school.try_password("off", "opensesame").expect_err("off").0, Code::Disabled);
        let text = school.room.server.tell(&["account", "test", "Anna.Maier"]).expect("works");
        assert!(text.starts_with("Log-in of Anna.Maier\n  ok      connect   "), "{text}");
        assert!(text.contains("  note    password  not tried; `--ask` asks for it\n"), "{text}");
    });
}

//! The LDAP interface asked by programs that others wrote: OpenLDAP's `ldapsearch`, `ldapwhoami` and `ldappasswd`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bramble::service::accounts::password;
use bramble::sim::classroom::Classroom;
use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::store::Store;
use bramble::store::accounts::{AccountStep, NewAccount};
use bramble::types::{MacAddr, Moment, chain};

use crate::classroom::BRAMBLE;
use crate::harness::{isolated, program};

const BASE: &str = "dc=raspberrypi,dc=local";
const ANNA: &str = "uid=anna,ou=people,dc=raspberrypi,dc=local";

fn account(name: &str, full_name: &str, secret: &str) -> AccountStep {
    AccountStep::Add(NewAccount {
        full_name: full_name.parse().expect("a full name"),
        hash: Some(password::hash(&secret.parse().expect("a password")).expect("hashed")),
        classes: vec!["class-7b".parse().expect("a class")],
        ..NewAccount::pupil(name.parse().expect("a name"))
    })
}

/// A room with three people and the interface on, and another machine on its network.
fn library() -> (tempfile::TempDir, Classroom, Machine) {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let mut room =
        Classroom::open(Path::new(BRAMBLE), folder.path(), 1).unwrap_or_else(|e| panic!("{}", chain(&e)));
    let store = Store::open(&room.server.site().data().join("bramble.db")).expect("the store");
    let class = AccountStep::AddClass {
        name: "class-7b".parse().expect("a class"),
        note: String::new(),
        quota: None,
    };
    let people = [
        class,
        account("anna", "Anna Maier", "opensesame"),
        account("ben", "Ben Olmez", "letmein-2"),
        account("carl", "", "letmein-3"),
    ];
    store.change_accounts(&people, Moment::from_secs(1_790_000_000)).expect("stored");
    room.server.site_mut().more_bramble.push_str("\nconfig ldap 'ldap'\n\toption enabled '1'\n");
    room.server.reload().expect("reloaded");
    let server = room.server.machine().clone();
    let (lab, lan) = room.lab();
    let catalogue = lab.client(lan, MacAddr::new([2, 0, 0, 0, 0, 9])).expect("a machine");
    catalogue.address("eth0", [192, 168, 77, 9].into(), PREFIX).expect("an address");
    let listens = || server.run(|| TcpStream::connect((SERVER, 389))).is_ok();
    assert!(
        (0..200).any(|_| listens() || pause()),
        "the interface is switched on: {}",
        room.server.last_words()
    );
    (folder, room, catalogue)
}

/// Lets some time pass; always false.
pub fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(100));
    false
}

/// Runs one of OpenLDAP's programs, which trusts the server's certificate and nothing else.
fn run(machine: &Machine, program: &Path, certificate: &Path, args: &[&str]) -> Output {
    let mut command = machine.command(program);
    command.env("LDAPTLS_CACERT", certificate).env("LDAPTLS_REQCERT", "demand").args(args);
    command.output().expect("the program starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn programs_of_others_search_log_in_and_change_a_password() {
    isolated(|| {
        let found = (
            program("ldapsearch", "ldap-utils"),
            program("ldapwhoami", "ldap-utils"),
            program("ldappasswd", "ldap-utils"),
        );
        let (Some(search), Some(whoami), Some(passwd)) = found else { return };
        let (folder, room, catalogue) = library();
        let certificate = room.server.site().data().join("keys/ldap.crt");
        let (plain, secure) = (format!("ldap://{SERVER}"), format!("ldaps://{SERVER}"));
        let ask = |program: &Path, args: &[&str]| run(&catalogue, program, &certificate, args);

        let root = ask(&search, &["-x", "-LLL", "-H", &plain, "-s", "base", "-b", "", "namingContexts"]);
        assert!(text(&root).contains(&format!("namingContexts: {BASE}")), "{}", text(&root));
        let nobody = ask(&search, &["-x", "-LLL", "-H", &plain, "-b", BASE, "(uid=*)"]);
        assert_eq!(nobody.status.code(), Some(50), "who has not logged in finds nothing: {}", text(&nobody));
        let clear = ask(&whoami, &["-x", "-H", &plain, "-D", ANNA, "-w", "opensesame"]);
        assert_eq!(clear.status.code(), Some(13), "passwords are not taken in the clear: {}", text(&clear));
        for (name, extra) in [(&plain, "-ZZ"), (&secure, "-v")] {
            let me = ask(&whoami, &["-x", extra, "-H", name, "-D", ANNA, "-w", "opensesame"]);
            assert!(
                me.status.success() && text(&me).contains(&format!("dn:{ANNA}")),
                "{name}: {}",
                text(&me)
            );
        }
        let wrong = ask(&whoami, &["-x", "-H", &secure, "-D", ANNA, "-w", "opensesam"]);
        assert_eq!(wrong.status.code(), Some(49), "{}", text(&wrong));

        let anna = ["-x", "-LLL", "-H", &secure, "-D", ANNA, "-w", "opensesame", "-b", BASE];
        let with = |more: &[&'static str]| ask(&search, &[anna.as_slice(), more].concat());
        let people = with(&["-E", "pr=2/noprompt", "(objectClass=posixAccount)", "uid", "uidNumber"]);
        for row in ["uid: anna", "uid: ben", "uid: carl", "uidNumber: 10001"] {
            assert!(text(&people).contains(row), "{row} is not in {}", text(&people));
        }
        let class = text(&with(&["(&(objectClass=posixGroup)(memberUid=anna))", "cn", "memberUid"]));
        assert!(class.contains("cn: class-7b") && class.contains("memberUid: carl"), "{class}");
        let hashes = text(&with(&["(uid=*)", "*", "+"]));
        assert!(!hashes.contains("argon2") && !hashes.to_lowercase().contains("password"), "{hashes}");

        let change = ["-x", "-H", &secure, "-D", ANNA, "-w", "opensesame", "-a", "opensesame", "-s"];
        let short = ask(&passwd, &[change.as_slice(), &["abc"]].concat());
        assert!(text(&short).contains("the new password is too short"), "{}", text(&short));
        assert!(!short.status.success());
        let changed = ask(&passwd, &[change.as_slice(), &["closesesame"]].concat());
        assert!(changed.status.success(), "{}", text(&changed));
        let old = ask(&whoami, &["-x", "-H", &secure, "-D", ANNA, "-w", "opensesame"]);
        assert_eq!(old.status.code(), Some(49));
        let new = ask(&whoami, &["-x", "-H", &secure, "-D", ANNA, "-w", "closesesame"]);
        assert!(new.status.success(), "{}", text(&new));
        let log = std::fs::read_to_string(room.server.site().log()).expect("a log");
        assert!(!log.contains("sesame"), "no password is in the log");
        drop((room, folder));
    });
}

#[test]
fn nonsense_ends_a_connection_and_nothing_else() {
    isolated(|| {
        let (_folder, _room, catalogue) = library();
        let connect = || {
            let stream = catalogue.run(|| TcpStream::connect((SERVER, 389))).expect("connects");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            stream
        };
        let huge: &[u8] = b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01";
        for nonsense in [&b"GET / HTTP/1.0\r\n\r\n"[..], huge, &[0x30, 0x80, 0, 0], &[0xff; 4000]] {
            let mut stream = connect();
            // A connection that is cut while we still write is as good.
            let _ = stream.write_all(nonsense);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        // Sixteen connections are one address's share.
        let crowd: Vec<TcpStream> = (0..16).map(|_| connect()).collect();
        let mut one_more = connect();
        assert_eq!(one_more.read(&mut [0; 1]).expect("closed at once"), 0);
        drop(crowd);
        let bind = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";
        let answered = (0..50).any(|_| {
            let mut stream = connect();
            let mut answer = [0; 2];
            let sent = stream.write_all(bind).and_then(|()| stream.read_exact(&mut answer));
            (sent.is_ok() && answer[0] == 0x30) || pause()
        });
        assert!(answered, "the next one is served as ever");
    });
}

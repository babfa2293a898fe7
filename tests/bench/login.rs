//! A log-in over LDAP: how many a second, and what does one cost the server, against OpenLDAP's slapd?
//!
//! `cargo bench --bench login [ROUNDS]`. Needs Debian's slapd. Eight programs keep a connection inside TLS each and log
//! somebody in again and again. slapd is asked twice: with the very hashes that Bramble has (argon2id, 9 MiB, four passes,
//! by its module argon2), which is the fair comparison, and with salted SHA-1, which is what most directories still
//! have and what a graphics card tries ten thousand million times a second. The third row is Bramble in front of that
//! slapd: what a log-in at a seat costs where a school has a directory.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench reads the clock and ends when its load fails"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bramble::service::accounts::password;
use bramble::sim::net::{Lab, Machine, PREFIX, SERVER, isolate};
use bramble::sim::server::{Server as Daemon, Site};
use bramble::store::Store;
use bramble::store::accounts::{AccountStep, NewAccount};
use bramble::types::{MacAddr, Moment};
use ldap3::{LdapConnAsync, LdapConnSettings};
use nix::time::ClockId;
use nix::unistd::Pid;
use support::{Figures, Server, listens, program};

const SLAPD: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 5);
const LOAD: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 9);
const PROGRAMS: usize = 8;
const FOR: Duration = Duration::from_secs(5);
const PASSWORD: &str = "correct-horse";

fn main() {
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3);
    isolate().expect("namespaces of our own");
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-login");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).expect("a folder");
    let (mut lab, lan, server) = Lab::with_server("br-lan").expect("a laboratory");
    let mut machine = |number: u8, ip| {
        let machine = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, number])).expect("a machine");
        machine.address("eth0", ip, PREFIX).expect("an address");
        machine
    };
    let (school, client) = (machine(5, SLAPD), machine(9, LOAD));
    let hash = password::hash(&PASSWORD.parse().expect("a password")).expect("a hash");
    let argon2 = format!("{{ARGON2}}{}", hash.expose());
    let mut figures = Figures::default();
    for _ in 0..rounds {
        {
            let daemon = bramble(&work.join("local"), &server, "", &hash);
            over_ldap(
                "bramble",
                &client,
                SERVER,
                "ou=people,dc=raspberrypi,dc=local",
                daemon.pid(),
                &mut figures,
            );
        }
        {
            let slapd = slapd(&work.join("argon2"), &school, &argon2);
            over_ldap("slapd argon2", &client, SLAPD, "ou=people,dc=school", slapd.pid(), &mut figures);
        }
        let slapd = slapd(&work.join("ssha"), &school, &ssha());
        over_ldap("slapd SSHA", &client, SLAPD, "ou=people,dc=school", slapd.pid(), &mut figures);
        let ca = work.join("ssha/server.pem");
        let asks = format!(
            "\nconfig accounts 'accounts'\n\toption source 'ldap'\nconfig directory 'directory'\n\tlist server '{SLAPD}'\n\
             \toption base 'dc=school'\n\toption ca_file '{}'\n",
            ca.display()
        );
        let daemon = bramble(&work.join("directory"), &server, &asks, &hash);
        let base = "ou=people,dc=raspberrypi,dc=local";
        over_ldap("via slapd", &client, SERVER, base, daemon.pid(), &mut figures);
    }
    figures.print();
    let _ = fs::remove_dir_all(&work);
}

fn name(n: usize) -> String {
    format!("pupil{n:02}")
}

/// The daemon with its LDAP interface, and accounts of its own where no directory is asked.
fn bramble(folder: &Path, machine: &Machine, more: &str, hash: &bramble::types::PasswordHash) -> Daemon {
    let _ = fs::remove_dir_all(folder);
    let mut site = Site::new(folder, Vec::new());
    site.more_bramble = format!("\nconfig ldap 'ldap'\n\toption enabled '1'\n{more}");
    let daemon =
        Daemon::start(Path::new(env!("CARGO_BIN_EXE_bramble")), machine, site).expect("the daemon starts");
    let account = |n| {
        AccountStep::Add(NewAccount {
            hash: Some(hash.clone()),
            ..NewAccount::pupil(name(n).parse().expect("a name"))
        })
    };
    if more.is_empty() {
        let store = Store::open(&daemon.site().data().join("bramble.db")).expect("the database");
        let steps: Vec<AccountStep> = (0..PROGRAMS).map(account).collect();
        store.change_accounts(&steps, Moment::from_secs(1_795_435_200)).expect("stored");
    }
    daemon
}

/// A salted SHA-1, by OpenLDAP's own program.
fn ssha() -> String {
    let made = Command::new(program("slappasswd", "slapd")).args(["-h", "{SSHA}", "-s", PASSWORD]).output();
    String::from_utf8(made.expect("slappasswd runs").stdout).expect("text").trim().to_owned()
}

fn slapd(folder: &Path, machine: &Machine, hash: &str) -> Server {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("db")).expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![SLAPD.to_string()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("signed").pem();
    for (name, text) in [("server.pem", certificate), ("server.key", key.serialize_pem())] {
        let mut file = fs::File::options();
        let mut file = file.write(true).create_new(true).mode(0o600).open(folder.join(name)).expect("made");
        file.write_all(text.as_bytes()).expect("written");
    }
    let shown = folder.display();
    let schemas =
        ["core", "cosine", "nis"].map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
    let conf = format!(
        "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload argon2\npidfile {shown}/pid\n\
         TLSCertificateFile {shown}/server.pem\nTLSCertificateKeyFile {shown}/server.key\n\
         database mdb\nsuffix dc=school\nrootdn cn=admin,dc=school\ndirectory {shown}/db\nindex uid eq\n"
    );
    let mut ldif = "dn: dc=school\nobjectClass: domain\ndc: school\n\n\
                    dn: ou=people,dc=school\nobjectClass: organizationalUnit\nou: people\n\n"
        .to_owned();
    for n in 0..PROGRAMS {
        let (name, number) = (name(n), 5000 + n);
        write!(
            ldif,
            "dn: uid={name},ou=people,dc=school\nobjectClass: account\nobjectClass: posixAccount\nuid: {name}\ncn: {name}\n\
             uidNumber: {number}\ngidNumber: 5000\nhomeDirectory: /home/{name}\nuserPassword: {hash}\n\n"
        )
        .expect("a String");
    }
    let (file, entries): (PathBuf, PathBuf) = (folder.join("slapd.conf"), folder.join("people.ldif"));
    fs::write(&file, conf).expect("written");
    fs::write(&entries, ldif).expect("written");
    let mut add = Command::new(program("slapadd", "slapd"));
    let added = add.arg("-f").arg(&file).arg("-l").arg(&entries).output().expect("slapadd runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let mut command = machine.command(program("slapd", "slapd"));
    command.args(["-d", "0", "-h", &format!("ldaps://{SLAPD}"), "-f"]).arg(&file);
    Server::start("slapd", command, || listens(machine, SLAPD, 636))
}

fn cpu(pid: Pid) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(pid).expect("a running process has a clock");
    Duration::from(clock.now().expect("the clock can be read"))
}

fn over_ldap(
    server: &'static str,
    from: &Machine,
    to: Ipv4Addr,
    base: &str,
    pid: Pid,
    figures: &mut Figures,
) {
    while !listens(from, to, 636) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (begin, used) = (Instant::now(), cpu(pid));
    let done = from.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async {
            let mut programs = tokio::task::JoinSet::new();
            for n in 0..PROGRAMS {
                let (url, dn) = (format!("ldaps://{to}"), format!("uid={},{base}", name(n)));
                programs.spawn(async move {
                    // Whose certificate it is makes no difference to the work.
                    let settings = LdapConnSettings::new().set_no_tls_verify(true);
                    let (connection, mut ldap) =
                        LdapConnAsync::with_settings(settings, &url).await.expect("connects");
                    tokio::spawn(connection.drive());
                    let mut done = 0_u32;
                    while begin.elapsed() < FOR {
                        let result = ldap.simple_bind(&dn, PASSWORD).await.expect("an answer");
                        assert_eq!(result.rc, 0, "{dn}: {}", result.text);
                        done += 1;
                    }
                    done
                });
            }
            programs.join_all().await.into_iter().sum::<u32>()
        }))
    });
    let done = f64::from(done.expect("the load runs"));
    figures.add("log in", server, "a second", done / begin.elapsed().as_secs_f64());
    figures.add("log in", server, "ms CPU each", cpu(pid).saturating_sub(used).as_secs_f64() * 1000.0 / done);
}

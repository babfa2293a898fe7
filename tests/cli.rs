//! The command line and the daemon behind it, as a person uses them: two processes, a control socket, no root.
//!
//! The daemon under test serves a network on the loopback device with everything switched off that needs root, so each
//! test has an address of 127.0.0.0/8 for itself. The same services on their real ports are in `tests/net`.
#![expect(clippy::disallowed_methods, reason = "a test that waits for another process needs an end")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod cli {
    pub mod accounts;
    pub mod clients;
    pub mod completion;
    pub mod daemon;
    pub mod images;
    pub mod imports;
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_bramble");

/// A folder with configuration and data; with [`Site::serve`] a daemon.
struct Site {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Site {
    /// `last` is the last octet of its address: one per test, which may run beside any other.
    fn new(last: u8) -> Self {
        static TAKEN: Mutex<BTreeSet<u8>> = Mutex::new(BTreeSet::new());
        let is_new = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(last);
        assert!(is_new, "another test has 127.77.0.{last}");
        let site = Self { folder: tempfile::tempdir().expect("a folder"), daemon: None };
        site.write(
            "network",
            &format!(
                "config interface 'lan'\n\toption device 'lo'\n\toption proto 'static'\n\
                 \toption ipaddr '127.77.0.{last}'\n\toption netmask '255.255.255.0'\n"
            ),
        );
        site.write("dhcp", "");
        site.configure("");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Writes the configuration, with `more` at its end.
    fn configure(&self, more: &str) {
        let data = self.path("data");
        let text = format!(
            "config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n\tlist network 'lan'\n\n\
             config dhcp 'dhcp'\n\toption mode 'off'\n\nconfig tftp 'tftp'\n\toption enabled '0'\n\n\
             config nfs 'nfs'\n\toption port '20490'\n\n\
             config room 'lab'\n\toption image 'trixie'\n\n\
             config client\n\toption mac 'dc:a6:32:01:02:03'\n\toption name 'lab-01'\n\toption room 'lab'\n{more}",
            data.display()
        );
        self.write("bramble", &text);
    }

    fn serve(&mut self) {
        let log = fs::File::create(self.path("log")).expect("a log");
        let daemon = Command::new(PROGRAM)
            .args(["serve", "--any-storage", "--config"])
            .arg(self.path("bramble"))
            .arg("--socket")
            .arg(self.path("socket"))
            .arg("--ubus")
            .arg(self.path("ubus"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("started");
        self.daemon = Some(daemon);
        self.until("it answers", |site| site.ask(&["status"]).status.success());
    }

    /// Waits for something that must come; gives up after a time no test needs.
    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_mins(1), "{what}: never; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn ask(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM).arg("--socket").arg(self.path("socket")).args(args).output().expect("ran")
    }

    /// Standard output of a command that must succeed.
    fn told(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Standard error of a command that must be refused.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn signal(&self, signal: Signal) {
        let daemon = self.daemon.as_ref().expect("it runs");
        kill(Pid::from_raw(daemon.id().try_into().expect("a process number")), signal).expect("sent");
    }

    fn ended(&mut self) -> ExitStatus {
        self.daemon.take().expect("it ran").wait().expect("it ends")
    }
}

/// One line for exports(5) with every served network; of a configuration with problems only these.
#[test]
fn what_another_nfs_server_exports_is_printed() {
    let site = Site::new(25);
    let config = site.path("bramble").display().to_string();
    let told = site.told(&["exports", "--config", &config, "--folder", "/tank/pi images"]);
    let lines: Vec<&str> = told.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, [r"/tank/pi\040images 127.77.0.0/24(ro,no_root_squash,no_subtree_check)"]);
    assert!(told.contains("bramble.nfs.url='nfs://ADDRESS/tank/pi images/{image}/{version}'"), "{told}");
    let own = site.told(&["exports", "--config", &config]);
    assert!(own.contains(&format!("\n{}/images 127.77.0.0/24(", site.path("data").display())), "{own}");

    site.configure("\nconfig subnet\n\toption network 'lan'\n\toption subnet '10.1.20.0/24'\n");
    let told = site.told(&["exports", "--config", &config]);
    assert!(told.contains(" 10.1.20.0/24(ro,"), "{told}");
    let external =
        "option backend 'external'\n\toption url 'nfs://10.0.0.9/srv/{image}/{version}'\n\toption port";
    let text = fs::read_to_string(site.path("bramble")).expect("read");
    site.write("bramble", &text.replace("option port", external));
    assert!(!site.told(&["exports", "--config", &config]).contains("bramble.nfs.url="), "it is set already");
    site.write("bramble", &text.replace("option port", "option backend 'external'\n\toption port"));
    let refused = site.refused(&["exports", "--config", &config]);
    assert!(refused.contains("nfs.backend: `external` needs the option `url` too"), "{refused}");
}

/// Services that are switched off are no failures.
#[test]
fn a_daemon_that_serves_nothing_is_well() {
    let mut site = Site::new(19);
    site.serve();
    std::thread::sleep(Duration::from_millis(500));
    let status = site.told(&["status"]);
    assert!(!status.contains("Needs attention"), "{status}");
    assert!(!site.log().contains("ERROR"), "{}", site.log());
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program wraps, in one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `bramble serve` of a site that cannot start: exit code and what it said.
fn fails_to_serve(site: &Site) -> (Option<i32>, String) {
    let mut daemon = Command::new(PROGRAM)
        .args(["serve", "--any-storage", "--config"])
        .arg(site.path("bramble"))
        .arg("--socket")
        .arg(site.path("socket"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = String::new();
    daemon.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    (daemon.wait().expect("ended").code(), said)
}

#[test]
fn without_a_daemon_one_is_told_how_to_start_it() {
    let socket = Path::new("/nonexistent/bramble.sock");
    let ask =
        |args: &[&str]| Command::new(PROGRAM).arg("--socket").arg(socket).args(args).output().expect("ran");
    let output = ask(&["client", "list"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stderr),
        "bramble: Bramble is not running: nobody answers at `/nonexistent/bramble.sock`; start it with \
         `/etc/init.d/bramble start`, or by hand with `bramble serve`; if it runs with another socket, name that with \
         `--socket PATH`\n"
    );
    let output = ask(&["--json", "status"]);
    assert_eq!(output.status.code(), Some(3));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["error"]["code"], "not_running");
    assert_eq!(ask(&["client", "sell"]).status.code(), Some(2), "usage");
}

#[test]
fn check_needs_no_daemon() {
    let site = Site::new(2);
    let file = site.path("bramble");
    let check = || Command::new(PROGRAM).args(["check", "--config"]).arg(&file).output().expect("ran");
    assert_eq!(check().status.code(), Some(0), "{}", text(&check().stdout));
    site.configure("\toption imag 'x'\n\nconfig room 'lab-2'\n");
    let output = check();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        format!(
            "{0}:22:9: @client[0].imag: a `client` section has no option of this name; did you mean `image`?\n\
             {0}:24:13: a name has only letters, digits and `_`\n2 problems\n",
            file.display()
        )
    );
}

#[test]
fn clients_are_adopted_and_forgotten() {
    let mut site = Site::new(3);
    site.serve();
    assert_eq!(
        site.told(&["client", "list"]),
        "NAME    ROOM  MAC                IP  STATE  SINCE  IMAGE\n\
         lab-01  lab   dc:a6:32:01:02:03  -   off    -      trixie\n"
    );
    let before = fs::read_to_string(site.path("bramble")).expect("there");
    assert_eq!(
        site.told(&["client", "adopt", "B8-27-EB-01-02-03", "--name", "lab-02", "--room", "lab"]),
        "lab-02 (b8:27:eb:01:02:03) is adopted; it boots trixie when it is next switched on.\n"
    );
    let after = fs::read_to_string(site.path("bramble")).expect("there");
    assert!(after.starts_with(&before), "what was there stays as it was");
    assert_eq!(
        site.told(&["client", "show", "lab-02"]),
        "lab-02 is off: never heard from\n  MAC      b8:27:eb:01:02:03\n  IP       -\n  Room     lab\n  \
         Image    trixie\n  Model    -\n  Mode     login\n  Agent    not connected\n"
    );
    assert_eq!(
        site.refused(&["client", "adopt", "b8:27:eb:01:02:04", "--name", "lab-02"]),
        "bramble: the name `lab-02` belongs to b8:27:eb:01:02:03 already; choose another one\n"
    );
    assert_eq!(
        site.refused(&["client", "adopt", "b8:27:eb:01:02:04", "--name", "lab-03", "--room", "attic"]),
        "bramble: there is no room `attic`; there are lab\n"
    );
    assert_eq!(
        site.refused(&["client", "adopt", "b8:27:eb:01:02:04", "--name", "lab-03", "--image", "bullseye"]),
        "bramble: there is no image `bullseye`; none has been imported yet: `bramble image import FILE --name NAME`\n"
    );
    assert!(
        site.refused(&["client", "adopt", "b8:27:eb:01:02:04", "--name", "lab-03", "--ip", "10.0.0.1"])
            .starts_with("bramble: nothing was changed, because the configuration would not be right:\n")
    );
    assert_eq!(fs::read_to_string(site.path("bramble")).expect("there"), after, "refusals change nothing");
    site.told(&["client", "adopt", "lab-02", "--name", "desk"]);
    assert!(site.told(&["client", "show", "desk"]).contains("  Room     lab\n"), "what is left out stays");
    assert_eq!(
        site.told(&["client", "adopt", "desk", "--name", "lab-02", "--room", "none", "--image", "none"]),
        "lab-02 (b8:27:eb:01:02:03) is adopted; it has no image yet: adopt it again with `--image NAME`, or with the \
         `--room NAME` of a room that has one.\n"
    );
    let listed: Value = serde_json::from_str(&site.told(&["client", "list", "--json"])).expect("JSON");
    let own = serde_json::json!({ "image": null, "ip": null, "mode": null, "page": null });
    assert_eq!(listed["clients"][1]["own"], own, "{listed}");
    assert_eq!(
        site.told(&["client", "forget", "lab-02"]),
        "lab-02 (b8:27:eb:01:02:03) is forgotten. It will be new when it is next seen.\n"
    );
    assert_eq!(
        site.refused(&["client", "show", "lab-02"]),
        "bramble: no client `lab-02` is known; name it by its hardware address, its name or its IP address as `bramble \
         client list` shows them, or switch it on once so that it is seen\n"
    );
    let refusal = site.ask(&["--json", "client", "show", "lab-02"]);
    let refusal: Value = serde_json::from_slice(&refusal.stdout).expect("JSON");
    assert_eq!(
        (&refusal["error"]["code"], &refusal["error"]["field"]),
        (&"no_such_client".into(), &"client".into())
    );
}

//! The command line and the daemon behind it, as a person uses them: two processes, a control socket, no root.
//!
//! The daemon under test serves a network on the loopback device with everything switched off that needs root, so each
//! test has an address of 127.0.0.0/8 for itself. The same services on their real ports are in `tests/net`.
#![expect(clippy::disallowed_methods, reason = "a test that waits for another process needs an end")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::UdpSocket;
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
    pub mod images;
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

#[test]
fn an_import_is_watched_to_its_end() {
    let mut site = Site::new(4);
    site.serve();
    assert_eq!(
        site.told(&["image", "list"]),
        "There is no image yet. `bramble image catalogue` shows those that can be imported.\n"
    );
    assert!(
        site.refused(&["image", "import", "/nonexistent.img", "--name", "x"]).contains("/nonexistent.img")
    );
    assert_eq!(
        site.refused(&["image", "show", "x"]),
        "bramble: there is no image `x`; none has been imported yet: `bramble image import FILE --name NAME`\n"
    );
    assert_eq!(
        site.refused(&["job", "show", "7"]),
        "bramble: there is no job 7; `bramble job list` shows those there are\n"
    );
    assert_eq!(site.told(&["job", "list"]), "There was no job yet.\n");

    let tree = site.path("tree");
    for folder in ["etc", "sbin", "usr/lib"] {
        fs::create_dir_all(tree.join(folder)).expect("made");
    }
    fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"Test OS 1\"\nVERSION_CODENAME=test\n")
        .expect("written");
    fs::copy(PROGRAM, tree.join("sbin/init")).expect("copied");
    let import = ["image", "import", tree.to_str().expect("UTF-8"), "--name", "tiny"];
    let output = site.ask(&import);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("tiny@1"), "the job's own words: {said}");
    let list = site.told(&["image", "list"]);
    assert!(list.starts_with("IMAGE  CURRENT  VERSIONS  DRAFT  ARCH"), "{list}");
    assert!(list.contains("Test OS 1"), "{list}");
    assert!(site.told(&["image", "show", "tiny"]).contains("\ntiny@1\n  Release  Test OS 1\n"));
    assert!(site.told(&["job", "list"]).contains("import"), "it is remembered");
    let adopted = site.told(&["client", "adopt", "lab-01", "--name", "lab-01", "--image", "tiny"]);
    assert_eq!(
        adopted,
        "lab-01 (dc:a6:32:01:02:03) is adopted; it boots tiny when it is next switched on.\n"
    );
    assert_eq!(
        site.refused(&["image", "remove", "tiny"]),
        "bramble: `tiny@1` is in use by lab-01; give it another image first, and restart what still runs from it\n"
    );
    site.told(&["client", "forget", "lab-01"]);
    assert!(site.told(&["image", "remove", "tiny"]).starts_with("tiny@1 removed. Job "));
}

/// A command that was started on a terminal of its own, with a person in front of it.
struct Terminal {
    person: fs::File,
    command: Child,
    shown: String,
}

impl Terminal {
    /// Starts `bramble ARGS` on a terminal of 60 columns.
    fn start(site: &Site, args: &[&str]) -> Self {
        let size = nix::pty::Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = nix::pty::openpty(&size, None).expect("a terminal");
        let end = || Stdio::from(ends.slave.try_clone().expect("another descriptor"));
        // Ctrl-C goes to those whose controlling terminal it is typed on.
        let command = Command::new("setsid")
            .arg("--ctty")
            .arg(PROGRAM)
            .arg("--socket")
            .arg(site.path("socket"))
            .args(args)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid of util-linux starts it");
        Self { person: ends.master.into(), command, shown: String::new() }
    }

    /// Waits until the screen has shown what `holds` looks for.
    fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd as _;
        while !holds(&self.shown) {
            let mut ready = [PollFd::new(self.person.as_fd(), PollFlags::POLLIN)];
            let more = poll(&mut ready, PollTimeout::from(60_000_u16)).expect("polled");
            let mut buffer = [0; 1000];
            // Reading fails once nobody holds the other end.
            let length = if more == 0 { 0 } else { self.person.read(&mut buffer).unwrap_or(0) };
            assert!(length > 0, "{what}: never; the terminal shows {:?}", self.shown);
            self.shown += &text(buffer.get(..length).expect("what was read"));
        }
    }

    fn types(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.person, bytes).expect("typed");
    }

    /// Reads to the end; the exit code and everything shown.
    fn ended(mut self) -> (Option<i32>, String) {
        let status = self.command.wait().expect("it ends");
        let mut rest = Vec::new();
        let _no_other_end = self.person.read_to_end(&mut rest);
        (status.code(), self.shown + &text(&rest))
    }
}

/// A tar archive of one file of `bytes`, all zero, that takes no room itself.
fn hollow_archive(path: &Path, bytes: u64) {
    let mut header = tar::Header::new_gnu();
    header.set_path("hollow").expect("a short name");
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    fs::write(path, header.as_bytes()).expect("written");
    let file = fs::OpenOptions::new().write(true).open(path).expect("opened");
    file.set_len(512 + bytes.next_multiple_of(512) + 1024).expect("made longer");
}

/// Names in the folder of images of `site`.
fn in_images(site: &Site) -> Vec<String> {
    let read = fs::read_dir(site.path("data/images")).expect("the folder of images");
    read.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn on_a_terminal_an_import_shows_progress_and_ctrl_c_takes_it_back() {
    let mut site = Site::new(21);
    site.serve();
    let archive = site.path("large.tar");
    hollow_archive(&archive, 3 << 30);
    let import = ["image", "import", archive.to_str().expect("UTF-8"), "--name", "large"];

    let mut terminal = Terminal::start(&site, &import);
    terminal.until("phase, bytes, rate and time left", |shown| {
        let line = shown.rsplit('\r').find(|line| line.contains(" left")).unwrap_or_default();
        line.starts_with("unpacking  ") && line.contains(" of 3.0 GiB  ") && line.contains("/s  ")
    });
    terminal.types(b"\x03");
    let (code, shown) = terminal.ended();
    assert_eq!(code, Some(130), "{shown:?}");
    assert!(shown.ends_with(" left^C\r\nbramble: cancelled; nothing was kept\r\n"), "{shown:?}");
    assert_eq!(shown.matches('\n').count(), 2, "one line, written over, and the last word: {shown:?}");
    let lines = shown.split(['\r', '\n']);
    assert!(lines.clone().all(|line| line.chars().count() < 60), "none is wrapped: {shown:?}");

    assert_eq!(in_images(&site), Vec::<String>::new());
    let jobs: Value = serde_json::from_str(&site.told(&["job", "list", "--json"])).expect("JSON");
    assert_eq!(jobs["jobs"][0]["state"], "cancelled");
    assert!(site.told(&["image", "list"]).starts_with("There is no image yet."));
}

/// In a log, a line for each phase; interrupted, the same end.
#[test]
fn elsewhere_an_import_tells_its_phases_line_by_line() {
    let mut site = Site::new(22);
    site.serve();
    let archive = site.path("large.tar");
    hollow_archive(&archive, 3 << 30);
    let output = fs::File::create(site.path("said")).expect("a file");
    let mut command = Command::new(PROGRAM)
        .arg("--socket")
        .arg(site.path("socket"))
        .args(["image", "import", archive.to_str().expect("UTF-8"), "--name", "large"])
        .stdout(output.try_clone().expect("another descriptor"))
        .stderr(output)
        .spawn()
        .expect("started");
    let said = |site: &Site| fs::read_to_string(site.path("said")).expect("read");
    site.until("it unpacks", |site| said(site).contains("unpacking\n"));
    kill(Pid::from_raw(command.id().try_into().expect("a process number")), Signal::SIGINT).expect("sent");
    assert_eq!(command.wait().expect("it ends").code(), Some(130));
    let said = said(&site);
    assert!(said.ends_with("\nbramble: cancelled; nothing was kept\n"), "{said:?}");
    assert!(!said.contains('\r') && !said.contains("/s"), "{said:?}");
    assert_eq!(in_images(&site), Vec::<String>::new());
}

/// Draft, publication, trial, promotion and roll-back of an image that a room boots.
#[test]
fn an_image_is_changed_tried_and_given_to_a_room() {
    let mut site = Site::new(41);
    let tree = site.path("tree");
    for folder in ["etc", "sbin"] {
        fs::create_dir_all(tree.join(folder)).expect("made");
    }
    fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"Test OS 1\"\n").expect("written");
    fs::copy(PROGRAM, tree.join("sbin/init")).expect("copied");
    site.serve();
    site.told(&["image", "import", tree.to_str().expect("UTF-8"), "--name", "trixie"]);
    let boots = |site: &Site| {
        let client: Value =
            serde_json::from_str(&site.told(&["--json", "client", "show", "lab-01"])).expect("JSON");
        client["image"].as_str().expect("it has one").to_owned()
    };
    assert!(site.refused(&["image", "publish", "trixie"]).contains("`trixie` has no draft"));
    assert!(
        site.told(&["image", "draft", "trixie"])
            .contains("the draft of `trixie` is ready: a copy of version 1")
    );
    fs::write(site.path("data/images/trixie/draft/etc/new"), "").expect("written");
    assert!(
        site.told(&["image", "show", "trixie"])
            .contains("\ntrixie (draft)\n  Source   copy of trixie@1, made ")
    );
    assert!(site.refused(&["image", "draft", "trixie"]).contains("`trixie` has a draft already"));
    let (file, place) = (site.path("network").display().to_string(), "trixie:/etc/copied");
    if nix::unistd::geteuid().is_root() {
        site.told(&["image", "maintain", "trixie", "lab-01"]);
        let refused = site.refused(&["image", "copy", &file, place]);
        assert!(
            refused.contains("lab-01 maintains the draft of `trixie`; copy the file there, or shut it down"),
            "{refused}"
        );
        site.told(&["image", "maintain", "trixie", "--end"]);
        assert!(!site.path("data/images/trixie/draft/etc/copied").exists());
    }
    site.told(&["image", "copy", &file, place]);
    assert!(site.path("data/images/trixie/draft/etc/copied").exists());
    assert!(
        site.refused(&["image", "publish", "trixie", "--skip", "x"]).contains("`x` is neither a check nor")
    );
    let published = site.told(&["image", "publish", "trixie", "--note", "with a new file"]);
    assert!(published.contains("`trixie@2` is published: "), "{published}");
    assert!(site.told(&["image", "show", "trixie"]).contains("\ntrixie@2\n  News     with a new file\n"));
    assert_eq!(boots(&site), "trixie");

    assert_eq!(
        site.told(&["image", "test", "trixie@2", "lab-01"]),
        "lab-01 boots `trixie@2` when it next starts. When the trial is over: `bramble image promote trixie@2`, or \
         `bramble image test lab-01 --end`.\n"
    );
    assert_eq!(boots(&site), "trixie@2");
    assert!(site.refused(&["image", "remove", "trixie@2"]).contains("in use by lab-01"));
    assert_eq!(site.ask(&["image", "test", "lab-01"]).status.code(), Some(2));
    assert_eq!(
        site.told(&["image", "test", "lab-01", "--end"]),
        "lab-01 boots `trixie@1` when it next starts.\n"
    );
    assert_eq!(boots(&site), "trixie");
    site.told(&["image", "test", "trixie@2", "lab-01"]);

    // To one room, and back.
    assert!(site.refused(&["image", "promote", "trixie@2", "--room", "attic"]).contains("no room `attic`"));
    assert!(
        site.refused(&["image", "rollback", "trixie", "--room", "lab"]).contains("no version of `trixie`")
    );
    let told = site.told(&["image", "promote", "trixie@2", "--room", "lab"]);
    assert_eq!(told, "lab-01 boots `trixie@2` when it next starts.\n");
    assert!(fs::read_to_string(site.path("bramble")).expect("there").contains("option image 'trixie@2'"));
    let told = site.told(&["image", "rollback", "trixie", "--room", "lab"]);
    assert_eq!(told, "lab-01 boots `trixie@1` when it next starts.\n", "the trial ended with the promotion");
    assert!(fs::read_to_string(site.path("bramble")).expect("there").contains("option image 'trixie'\n"));

    // To all: a room that stayed with a version is taken along.
    site.told(&["image", "promote", "trixie@1", "--room", "lab"]);
    assert_eq!(
        site.told(&["image", "promote", "trixie@2"]),
        "lab-01 boots `trixie@2` when it next starts.\n"
    );
    assert!(fs::read_to_string(site.path("bramble")).expect("there").contains("option image 'trixie'\n"));
    assert_eq!(site.told(&["image", "rollback", "trixie"]), "lab-01 boots `trixie@1` when it next starts.\n");
    assert!(site.told(&["image", "clone", "trixie@2", "library"]).contains("`library@1` is ready"));
    assert!(site.refused(&["image", "clone", "trixie@2", "library"]).contains("an image `library` already"));
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_is_applied() {
    let mut site = Site::new(5);
    site.serve();
    site.configure("\nconfig client\n\toption mac 'no mac'\n\toption name 'lab-02'\n");
    site.signal(Signal::SIGHUP);
    site.until("the refusal is in the log", |site| site.log().contains("the old one stays in force"));
    assert!(site.log().contains("`no mac` is not a hardware address"), "{}", site.log());
    assert!(!site.told(&["client", "list"]).contains("lab-02"));
    let status = site.told(&["status"]);
    assert!(
        status.contains("Needs attention:\n- the configuration on the disk is not in force: "),
        "{status}"
    );
    assert!(site.told(&["client", "list"]).contains("lab-01"), "the old configuration still holds");

    site.configure("\nconfig client\n\toption mac 'b8:27:eb:01:02:03'\n\toption name 'lab-02'\n");
    site.signal(Signal::SIGHUP);
    site.until("the new client is known", |site| site.told(&["client", "list"]).contains("lab-02"));
    assert!(site.log().contains("configuration: client lab-02 is new"), "{}", site.log());
    assert!(site.told(&["status"]).ends_with("All is well.\n"));

    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
    assert!(!site.path("socket").exists(), "the control socket goes with the daemon");
}

/// One port that is held is no reason not to serve the rest.
#[test]
fn a_port_that_is_held_is_named_with_its_holder() {
    let mut site = Site::new(6);
    let held = UdpSocket::bind("127.77.0.6:8467").expect("free");
    site.serve();
    let me = std::process::id();
    let says = "UDP port 8467 of 127.77.0.6 is held by `";
    site.until("it is told", |site| words(&site.told(&["status"])).contains(says));
    let status = words(&site.told(&["status"]));
    assert!(status.contains("service report is down and is started again: reports of agents: "), "{status}");
    assert!(
        status.contains(&format!("(process {me}); stop that program, or keep it from this port")),
        "{status}"
    );
    assert!(site.told(&["client", "list"]).contains("lab-01"), "all else is there");

    drop(held);
    site.until("it is served then", |site| site.told(&["status"]).ends_with("All is well.\n"));
}

/// What a program wraps, in one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A router that comes up with a bad file says so where people look, and starts when it is mended, without being told.
#[test]
fn a_bad_file_at_the_start_is_waited_for() {
    let mut site = Site::new(51);
    site.configure("\nconfig client\n\toption mac 'no mac'\n\toption name 'lab-02'\n");
    site.serve();
    let status = words(&site.told(&["status"]));
    for says in [
        "Needs attention:",
        "nothing is served, because the configuration is not right; Bramble starts by itself when it is",
        "`no mac` is not a hardware address",
    ] {
        assert!(status.contains(says), "`{says}`: {status}");
    }
    let refused = site.refused(&["client", "list"]);
    assert!(words(&refused).contains("`no mac` is not a hardware address"), "{refused}");
    // Looked at every two seconds, and told once.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(site.log().matches("`no mac`").count(), 1, "{}", site.log());
    site.signal(Signal::SIGHUP);
    site.until("whoever asks is told again", |site| site.log().matches("`no mac`").count() == 2);

    site.configure("\nconfig client\n\toption mac 'b8:27:eb:01:02:03'\n\toption name 'lab-02'\n");
    site.until("it starts", |site| site.ask(&["client", "list"]).status.success());
    assert!(site.told(&["client", "list"]).contains("lab-02"));
    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
}

/// A database that cannot be opened: as above, and it is tried again.
#[test]
fn what_keeps_it_from_starting_is_told() {
    let mut site = Site::new(52);
    fs::create_dir_all(site.path("data/bramble.db")).expect("a folder in the place of the database");
    site.serve();
    let status = words(&site.told(&["status"]));
    let says = "nothing is served, because Bramble cannot start; it is tried again: ";
    assert!(status.contains(says), "{status}");
    fs::remove_dir(site.path("data/bramble.db")).expect("removed");
    site.signal(Signal::SIGHUP);
    site.until("it starts", |site| site.ask(&["client", "list"]).status.success());
}

/// A network whose interface is not up yet keeps none of the others from being served.
#[test]
fn a_network_that_is_not_there_is_told_and_the_others_are_served() {
    let mut site = Site::new(53);
    let network = fs::read_to_string(site.path("network")).expect("there");
    let away = "config interface 'lab'\n\toption device 'bramble-none'\n\toption proto 'static'\n\
                \toption ipaddr '192.0.2.1'\n\toption netmask '255.255.255.0'\n";
    site.write("network", &format!("{network}\n{away}"));
    let text = fs::read_to_string(site.path("bramble")).expect("there");
    site.write("bramble", &text.replace("list network 'lan'", "list network 'lan'\n\tlist network 'lab'"));
    site.serve();
    let status = words(&site.told(&["status"]));
    let says = "network `lab` is not served, because there is no interface `bramble-none`";
    assert!(status.contains(says), "{status}");
    assert!(!status.contains("is down"), "{status}");
    std::net::TcpStream::connect("127.77.0.53:20490").expect("NFS of the other network");
}

/// Whoever switches Bramble off tells it to stop, and hands back at once; it may take a while to end.
#[test]
fn a_hand_back_waits_for_the_end() {
    let mut site = Site::new(54);
    site.serve();
    let mut handing = Command::new(PROGRAM)
        .arg("--socket")
        .arg(site.path("socket"))
        .args(["takeover", "--hand-back", "--config"])
        .arg(site.path("bramble"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(handing.try_wait().expect("known"), None, "it waits while somebody answers");
    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
    assert!(handing.wait().expect("it ended").success());
}

/// A new start, because the data are to be elsewhere, does not forget that it was told to stop.
#[test]
fn to_stop_counts_while_it_starts_anew() {
    for round in 0..4 {
        let mut site = Site::new(60 + round);
        site.serve();
        let text = fs::read_to_string(site.path("bramble")).expect("there");
        site.write("bramble", &text.replace("/data'", &format!("/data-{round}'")));
        site.signal(Signal::SIGHUP);
        site.signal(Signal::SIGTERM);
        assert!(site.ended().success());
    }
}

#[test]
fn two_daemons_do_not_share_a_socket() {
    let mut site = Site::new(7);
    site.serve();
    let (code, said) = fails_to_serve(&site);
    assert_eq!(code, Some(1));
    assert!(said.contains("another Bramble answers at"), "{said}");
    assert!(site.ask(&["status"]).status.success(), "the first one is not disturbed");
}

#[test]
fn switched_off_is_no_failure() {
    let site = Site::new(8);
    site.write("bramble", "config bramble 'main'\n\toption enabled '0'\n\toption data '/mnt/x'\n");
    let (code, said) = fails_to_serve(&site);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("switched off in"), "{said}");
}

#[test]
fn a_low_limit_of_descriptors_is_raised_or_told() {
    let mut site = Site::new(9);
    let daemon = Command::new("sh")
        .args(["-c", "ulimit -n 300 && exec \"$@\"", "sh", PROGRAM, "serve", "--any-storage", "--config"])
        .arg(site.path("bramble"))
        .arg("--socket")
        .arg(site.path("socket"))
        .stderr(fs::File::create(site.path("log")).expect("a log"))
        .spawn()
        .expect("started");
    let limits = format!("/proc/{}/limits", daemon.id());
    site.daemon = Some(daemon);
    site.until("it answers", |site| site.ask(&["status"]).status.success());
    let limits = fs::read_to_string(limits).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft: usize = line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number");
    if soft == 300 {
        assert!(
            site.log().contains("fewer files and sockets may be open than a full room needs"),
            "{}",
            site.log()
        );
    } else {
        assert!(soft >= bramble::types::limits::DESCRIPTORS, "{line}");
    }
}

#[test]
fn dhcp_is_taken_over_by_the_daemon_and_handed_back() {
    let dhcp = "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '50'\n";
    let mut site = Site::new(70);
    site.write("dhcp", dhcp);
    let config = site.path("bramble").display().to_string();
    let takeover = |site: &Site, what: &str| site.ask(&["takeover", what, "--config", &config]);
    let file = |site: &Site| fs::read_to_string(site.path("dhcp")).expect("the file");

    // Mode `off`: nothing to take over. In authoritative mode the dry run says what would be.
    assert!(text(&takeover(&site, "--dry-run").stdout).starts_with("Nothing would change in "));
    let off = fs::read_to_string(site.path("bramble")).expect("the file");
    site.write("bramble", &off.replace("'off'", "'authoritative'").replace("enabled '1'", "enabled '0'"));
    let told = text(&takeover(&site, "--dry-run").stdout);
    assert!(told.contains("dhcp.lan.ignore: not set -> `1`"), "{told}");
    assert_eq!(file(&site), dhcp, "a dry run changes nothing");

    // As if a daemon had taken it over and was killed: a daemon with `mode off` puts it back.
    let taken = format!("{dhcp}\toption ignore '1'\n");
    site.write("dhcp", &taken);
    let record = "config changed\n\toption network 'lan'\n\toption nth '0'\n\toption option 'ignore'\n\toption ours '1'\n";
    site.write("bramble_takeover", record);
    site.write("bramble", &off);
    site.serve();
    assert_eq!(file(&site), dhcp);
    assert!(!site.path("bramble_takeover").exists());
    assert!(site.log().contains("changed dhcp.lan.ignore"), "{}", site.log());
    let refusal = takeover(&site, "--hand-back");
    assert_eq!(refusal.status.code(), Some(1));
    assert!(text(&refusal.stderr).contains("Bramble is running"), "{}", text(&refusal.stderr));
    let known: Value =
        serde_json::from_str(&site.told(&["--json", "takeover", "--dry-run", "--config", &config]))
            .expect("an answer");
    assert_eq!(known["changes"], serde_json::json!([]));

    // Switched off: the daemon ends, and what was ours is put back on the way.
    site.write("dhcp", &taken);
    site.write("bramble_takeover", record);
    site.write("bramble", &off.replace("enabled '1'", "enabled '0'"));
    site.signal(Signal::SIGHUP);
    assert!(site.ended().success());
    assert_eq!(file(&site), dhcp);

    // And without a daemon, by the command alone.
    site.write("dhcp", &taken);
    site.write("bramble_takeover", record);
    let told = text(&takeover(&site, "--hand-back").stdout);
    assert!(told.contains("dhcp.lan.ignore: `1` -> not set"), "{told}");
    assert_eq!(file(&site), dhcp);
    assert!(text(&takeover(&site, "--hand-back").stdout).starts_with("Nothing to hand back"));
}

/// What bash offers after `line`, by the script that the program prints.
fn completed(line: &str) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let script = format!(
        "eval \"$(\"$0\" completion bash)\"; COMP_WORDS=({}); COMP_CWORD={}; _bramble; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["-c", &script, PROGRAM]).output().expect("bash");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(completed("bramble im"), ["image"]);
    assert_eq!(completed("bramble --json cli"), ["client"]);
    assert_eq!(completed("bramble client a"), ["adopt"]);
    assert_eq!(completed("bramble client adopt lab-01 --na"), ["--name"]);
    assert_eq!(completed("bramble image import x.img --sh"), ["--sha256"]);
    assert_eq!(completed("bramble completion b"), ["bash"]);
    assert!(completed("bramble job ").contains(&"cancel".to_owned()));
    assert_eq!(completed("bramble nonsense"), [""; 0]);
    assert_eq!(completed("bramble --json client adopt --js"), ["--json"]);
    let ash = Command::new(PROGRAM).args(["completion", "ash"]).output().expect("ran");
    assert_eq!(ash.status.code(), Some(2));
}

/// What zsh or fish offers after `line`; `None` where the shell is not installed, which is a failure in CI.
fn offered(shell: &str, line: &str) -> Option<String> {
    let script = match shell {
        // Its completion needs a terminal: the words are given by hand, and what it would offer is printed.
        "zsh" => format!(
            "compdef() {{ :; }}; _files() {{ :; }}; compadd() {{ print -rl -- $offered; }}; eval \"$($0 completion zsh)\"; \
             words=({line}); CURRENT=$#words; _bramble"
        ),
        _ => format!("$argv[1] completion fish | source; complete -C '{}'", line.replace("''", "")),
    };
    let output = Command::new(shell).args(["-c", &script, PROGRAM]).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_none(), "{shell} is not installed");
        return None;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {}", text(&output.stderr));
    Some(text(&output.stdout))
}

#[test]
fn zsh_and_fish_complete_commands_and_options() {
    for (shell, line, wanted, not) in [
        ("zsh", "bramble ''", "client", "adopt"),
        ("zsh", "bramble client ''", "adopt", "image"),
        ("zsh", "bramble --json image import x.img ''", "--sha256", "--room"),
        ("fish", "bramble ''", "client\tClients: the Pis of this network", "adopt"),
        ("fish", "bramble client ''", "adopt", "image"),
        ("fish", "bramble --json image import x.img --''", "--sha256", "--room"),
    ] {
        let Some(offered) = offered(shell, line) else { continue };
        assert!(offered.lines().any(|one| one.starts_with(wanted)), "{shell}, {line}: {offered}");
        assert!(!offered.lines().any(|one| one.starts_with(not)), "{shell}, {line}: {offered}");
    }
}

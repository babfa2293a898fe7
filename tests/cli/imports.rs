//! Imports at the command line: shown on a terminal and in a log, and taken back when they are interrupted.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{PROGRAM, Site, text};

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
    // Whoever runs the tests in the background may have had Ctrl-C ignored.
    let mut command = Command::new("env")
        .args(["--default-signal=INT", PROGRAM, "--socket"])
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

//! `bramble demo` as a visitor runs it.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bramble::sim::school::School;
use bramble::types::chain;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

use crate::classroom::BRAMBLE;
use crate::dhcp_room::eventually;

/// Not root: if the tests are, the demonstration is not.
fn bramble_demo(dir: &Path, clients: u16) -> Command {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("our own folder");
    let mut command = Command::new(BRAMBLE);
    if geteuid().is_root() {
        // The build folder may be closed to others.
        let copy = dir.join("bramble");
        std::fs::copy(BRAMBLE, &copy).expect("copied");
        command = Command::new(copy);
        command.uid(65534).gid(65534);
    }
    command.args(["demo", "--clients", &clients.to_string(), "--dir"]).arg(dir).stdin(Stdio::null());
    command
}

/// What the demonstration has left in its folder.
fn left(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != "bramble").collect()
}

#[test]
fn without_root_every_pi_comes_up() {
    // For the message where namespaces are forbidden.
    crate::harness::isolated(|| {});
    let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let output = bramble_demo(dir.path(), 4).arg("--json").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&result["clients"], &result["up"]), (&4.into(), &4.into()));
    let pis = result["pis"].as_array().expect("a list");
    let shown: Vec<_> = pis.iter().map(|pi| (pi["model"].as_str(), pi["stage"].as_str())).collect();
    let up = |model| (Some(model), Some("up"));
    assert_eq!(shown, [up("Pi 3B"), up("Pi 4B"), up("Pi 5"), up("Pi 3B+")]);
    let users: Vec<_> = pis.iter().map(|pi| pi["user"].as_str()).collect();
    assert_eq!(users, [Some("pupil01"), Some("pupil02"), Some("pupil03"), Some("pupil04")]);
    assert_eq!(result["log_ins"]["worked"], 4, "{result}");
    assert!(result["log_ins"]["written_bytes"].as_u64() > Some(4 * 65_536), "{result}");
    assert!(result["nfs_bytes"].as_u64() > Some(40_000_000), "four times the sample: {result}");
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    crate::harness::isolated(|| {});
    let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let mut demo = bramble_demo(dir.path(), 12).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let booting = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("loads its firmware")));
    assert!(booting.is_some(), "it ended before a Pi booted");
    kill(Pid::from_raw(demo.id().try_into().expect("a process")), Signal::SIGINT).expect("interrupted");
    for _ in lines {}
    assert_eq!(demo.wait().expect("it ends").code(), Some(130));
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

/// What `--stay` leaves running is alive: agents answer, people are logged out, what is to start again does.
#[test]
fn a_school_that_is_left_to_itself_does_what_it_is_told() {
    crate::harness::isolated(|| {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let school = School::open(Path::new(BRAMBLE), folder.path(), 8, |_| ControlFlow::Continue(()));
        let room = school.and_then(School::live).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let told = |args: &[&str]| -> Value {
            let output = room.server.cli(&[&["--json"], args].concat()).expect("run");
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {output:?}"))
        };
        let states = |status: &Value| -> Vec<String> {
            let targets = status["targets"].as_array().unwrap_or_else(|| panic!("{status}"));
            targets.iter().map(|one| format!("{} {}", one["name"], one["state"]).replace('"', "")).collect()
        };
        let seats = ["lab-01 done", "lab-02 done", "lab-03 done", "lab-04 done"];
        eventually("every agent is connected", || {
            states(&told(&["room", "message", "classroom", "--text", "Good morning."])) == seats
        });
        let people = || told(&["session", "list"])["sessions"].as_array().map_or(0, Vec::len);
        assert_eq!(people(), 5);

        let again = told(&["client", "reboot", "lab-01", "--force"]);
        assert_eq!(states(&again), ["lab-01 done"]);
        assert_eq!(people(), 4, "whoever sat there is logged out");
        eventually("it is there again", || {
            states(&told(&["client", "identify", "lab-01"])) == ["lab-01 done"]
        });
        assert_eq!(states(&told(&["room", "shutdown", "classroom", "--force"])), seats);
        assert_eq!(told(&["client", "show", "lab-02"])["state"], "off");
    });
}

//! What every test here stands on: a process of its own in namespaces of its own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bramble::sim::net::{Isolation, forbidden};
use bramble::types::chain;

/// Names the test that a process was started for.
const INSIDE: &str = "BRAMBLE_NET_INSIDE";

/// Runs `test`, the body of the test that calls this, in a process of its own inside namespaces of its own, where
/// it is root over the network and nothing else.
pub fn isolated(test: impl FnOnce()) {
    let name = std::thread::current().name().expect("the test harness names its threads").to_owned();
    if std::env::var_os(INSIDE).as_deref() == Some(OsStr::new(&name)) {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().expect("a test program has a path"));
    // Also one that only a script runs.
    command
        .args([&name, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, &name)
        .stdin(Stdio::null());
    Isolation::prepare().wrap(&mut command);
    match command.output() {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            // What went wrong first; a log may be long.
            assert!(
                output.status.success(),
                "the test failed inside its namespaces ({}):\n{words}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
            );
            show(&words);
        }
        Err(error) => cannot_run(&name, &chain(&forbidden(error))),
    }
}

/// What a test has measured is seen with `--nocapture`.
#[expect(clippy::print_stderr, reason = "a test says what it measured")]
fn show(words: &str) {
    eprint!("{words}");
}

/// A test needs something this machine does not have.
#[expect(clippy::print_stderr, reason = "a test that is left out must be seen in the output")]
pub fn cannot_run(name: &str, why: &str) {
    assert!(std::env::var_os("BRAMBLE_REQUIRE_NET").is_none_or(|v| v != "1"), "{name} cannot run: {why}");
    eprintln!("\n*** NOT RUN: {name}: {why}\n*** (BRAMBLE_REQUIRE_NET=1 makes this a failure)\n");
}

/// The path of `program`, looked for where Debian puts programs of users and of root. `None`, said loudly, if it is
/// not installed (a failure with `BRAMBLE_REQUIRE_NET=1`); `package` is what brings it.
pub fn program(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        cannot_run(&name, &format!("`{program}` is not installed; `apt install {package}` brings it"));
    }
    found
}

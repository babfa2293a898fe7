//! What runs on the Pi: the first program after the kernel, and the last before power-off.
//!
//! One static program that needs nothing of the image but its init. The kernel (or an initramfs) starts it as process 1
//! with the image as read-only root; it makes the root writable, tells the client who it is, and becomes the image's
//! init ([`init`]). At power-off systemd starts a copy of it to take the root apart ([`shutdown`]). In between it runs
//! as a service ([`service`]) that knows the server's people, and as the helper that asks it at each log-in ([`pam`]).
//!
//! Uses `types` and `proto` only: no async code, no database, no other layer of the daemon.

pub mod console;
pub mod edits;
pub mod init;
pub mod maintenance;
pub mod modes;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod packed;
pub mod pam;
pub mod people;
pub mod plan;
pub mod recipes;
pub mod root;
pub mod service;
pub mod shutdown;
pub mod socket;
pub mod stacks;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `bramble-agent` says to a person who starts it.
const USAGE: &str = "\
bramble-agent is started by the kernel of a Raspberry Pi, as its first program, with
init=/.bramble/agent on the kernel's command line. Started by hand it does nothing.
";

/// Chooses the use by how the program was started.
pub fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = if arguments.is_empty() { OsString::new() } else { arguments.remove(0) };
    if std::process::id() != 1 {
        match arguments.first().and_then(|word| word.to_str()) {
            Some("service") => return service::run(),
            Some("pam") => return pam::run(),
            Some("furnish") => return furnish(arguments.get(1..).unwrap_or_default()),
            _ => {}
        }
        let _ =
            std::io::stdout().write_all(format!("{USAGE}version {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
        return ExitCode::from(2);
    }
    if Path::new(&name).file_name() == Some(OsStr::new("shutdown")) {
        shutdown::run(arguments.first().map_or(OsStr::new(""), |verb| verb))
    }
    init::run(&arguments)
}

/// Makes a home ready, as the person whose home it is: the home, then the folders for shares.
fn furnish(arguments: &[OsString]) -> ExitCode {
    let paths: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
    let Some((home, shares)) = paths.split_first() else { return ExitCode::from(2) };
    match service::furnish(home, shares) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}: {error}", home.display());
            ExitCode::FAILURE
        }
    }
}

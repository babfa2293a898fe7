//! What runs on the Pi: the first program after the kernel, and the last before power-off.
//!
//! One static program that needs nothing of the image but its init. The kernel (or an initramfs) starts it as process 1
//! with the image as read-only root; it makes the root writable, tells the client who it is, and becomes the image's
//! init ([`init`]). At power-off systemd starts a copy of it to take the root apart ([`shutdown`]).
//!
//! Uses `types` and `proto` only: no async code, no database, no other layer of the daemon.

pub mod console;
pub mod edits;
pub mod init;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod plan;
pub mod recipes;
pub mod root;
pub mod shutdown;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
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
        let _ =
            std::io::stdout().write_all(format!("{USAGE}version {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
        return ExitCode::from(2);
    }
    if Path::new(&name).file_name() == Some(OsStr::new("shutdown")) {
        shutdown::run(arguments.first().map_or(OsStr::new(""), |verb| verb))
    }
    init::run(&arguments)
}

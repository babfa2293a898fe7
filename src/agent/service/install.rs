//! Puts what the service and its helpers are where the recipes expect it, before the image's init starts.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::agent::shutdown;
use crate::agent::stacks::{HELPER, MODULE};
use crate::proto::agent::Personality;
use crate::types::SeatUse;

const FOLDER: &str = "/run/bramble";

/// File with the address of the server.
pub const SERVER: &str = "/run/bramble/server";

/// A file that is there while the root is the draft of an image.
pub const MAINTENANCE: &str = "/run/bramble/maintenance";

/// The PAM module for new passwords, built with this program.
const MODULE_BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pam_bramble.so"));

/// File with how this client is used, as JSON: what the server says later counts from the next start on.
const USED: &str = "/run/bramble/use.json";

/// File with what shows the server who speaks, for root only.
pub const PROOF: &str = "/run/bramble/proof";

/// In memory, so that log-ins answer also while the server is busy. `program` is a copy of the agent that is in memory
/// already, if there is one.
pub fn install(
    server: Ipv4Addr,
    program: &Path,
    personality: &Personality,
    maintenance: bool,
) -> io::Result<()> {
    fs::create_dir_all(FOLDER)?;
    // `/run` may not run programs.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("bramble"), FOLDER, Some("tmpfs"), flags, Some("mode=0755,size=8m"))?;
    if program.exists() {
        symlink(program, HELPER)?;
    } else {
        io::copy(&mut File::open("/proc/self/exe")?, &mut File::create(HELPER)?)?;
        fs::set_permissions(HELPER, Permissions::from_mode(0o755))?;
    }
    if maintenance {
        fs::write(MAINTENANCE, "")?;
    }
    fs::write(MODULE, MODULE_BYTES)?;
    fs::set_permissions(MODULE, Permissions::from_mode(0o644))?;
    fs::write(USED, serde_json::to_vec(&personality.used).map_err(io::Error::other)?)?;
    if let Some(proof) = personality.proof {
        shutdown::private(Path::new(PROOF), proof)?;
    }
    fs::write(SERVER, format!("{server}\n"))
}

/// How this client is used.
pub fn used() -> SeatUse {
    fs::read(USED).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

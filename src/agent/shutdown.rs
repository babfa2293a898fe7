//! The last program of a client: takes the root file system apart, so that the server sees it end.
//!
//! systemd cannot unmount the root it runs from. If there is `/run/initramfs/shutdown` it makes that folder the root
//! and starts the file as the last program (bootup(7)): with the old root at `/oldroot` and what to do as the first
//! argument. A copy of the agent stands there. Unmounting the overlay ends the NFS mount below it, and with it the
//! connection; then the client switches off or starts again.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};

use super::console::Console;
use crate::proto::agent::Proof;

/// Where systemd looks.
const FOLDER: &str = "/run/initramfs";

/// The copy in it.
pub const PROGRAM: &str = "/run/initramfs/shutdown";

/// File in it with the address of the server.
const SERVER: &str = "server";

/// File in it with what shows the server who speaks, for root only.
const PROOF: &str = "proof";

/// How often an unmount is tried again while the last processes let go.
const TRIES: usize = 20;

/// Why the copy could not be put there.
#[derive(Debug, thiserror::Error)]
#[error("the agent cannot be copied to {FOLDER}")]
pub struct InstallError(#[from] io::Error);

/// Puts a copy of the running agent where systemd looks for the last program.
///
/// It will tell `server`, whose address it could not find out by then, and show it `proof`.
pub fn install(server: Option<Ipv4Addr>, proof: Option<Proof>) -> Result<(), InstallError> {
    let mut own = File::open("/proc/self/exe")?;
    let bytes = own.metadata()?.len();
    match fs::create_dir(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    // `/run` may not run programs, and this one must not be written to: a mount of its own, as large as is needed.
    let size = format!("mode=0755,size={}k", bytes.div_ceil(1024) + 128);
    mount(
        Some("bramble"),
        FOLDER,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(size.as_str()),
    )
    .map_err(io::Error::from)?;
    let mut copy = File::create(PROGRAM)?;
    io::copy(&mut own, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(0o755))?;
    if let Some(server) = server {
        fs::write(format!("{FOLDER}/{SERVER}"), server.to_string())?;
    }
    if let Some(proof) = proof {
        private(Path::new(&format!("{FOLDER}/{PROOF}")), proof)?;
    }
    Ok(())
}

/// Writes `proof` into a file that only root reads.
pub fn private(file: &Path, proof: Proof) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(String::from(proof).as_bytes())
}

/// Reads it again; `None` where there is none.
pub fn shown(file: &Path) -> Option<Proof> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Does not come back. `verb` is systemd's word for what is to happen.
pub fn run(verb: &OsStr) -> ! {
    let mut left = unmount_below("/oldroot");
    for _ in 0..TRIES {
        if !left {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        left = unmount_below("/oldroot");
    }
    let mut console = Console::default();
    console.open();
    // The folder is the root by now.
    let server = fs::read_to_string(format!("/{SERVER}")).ok().and_then(|text| text.parse().ok());
    if let Some(server) = server {
        console.report_to(server);
        console.show(shown(Path::new(&format!("/{PROOF}"))));
    }
    if left {
        console.trouble("the root file system could not be unmounted");
    }
    let (mode, message) = match verb.to_str() {
        Some("poweroff") => (RebootMode::RB_POWER_OFF, "the system has ended; switching off"),
        Some("halt") => (RebootMode::RB_HALT_SYSTEM, "the system has ended"),
        _ => (RebootMode::RB_AUTOBOOT, "the system has ended; starting again"),
    };
    console.last_word(message);
    loop {
        let _ = reboot(mode);
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// Unmounts what is mounted at and below `place`, the last mounted first; tells whether anything is left.
fn unmount_below(place: &str) -> bool {
    for point in
        points_below(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), place).iter().rev()
    {
        let _ = umount2(point.as_str(), MntFlags::empty());
    }
    !points_below(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), place).is_empty()
}

/// The mount points at and below `place` in a table of mounts, in the order of mounting.
fn points_below(mounts: &str, place: &str) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let below =
        |point: &&str| point.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // Spaces and such are written as octal numbers (proc_pid_mounts(5)); a space is the only one that occurs.
    points.filter(below).map(|point| point.replace("\\040", " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mounted_last_goes_first() {
        let mounts = "proc /proc proc rw 0 0\nbramble /oldroot overlay rw 0 0\nx /oldroot/media/my\\040disk vfat rw 0 0\ny /oldroots ext4 rw 0 0\n";
        assert_eq!(points_below(mounts, "/oldroot"), ["/oldroot", "/oldroot/media/my disk"]);
    }
}

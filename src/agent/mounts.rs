//! The mounts of a boot: what the kernel shows of itself, the overlay, and the move into it.
//!
//! ```text
//! before                          after
//! /          NFS, read-only       /       overlay: lower = the NFS root, or the image from another server; upper = tmpfs
//!                                 /proc /sys /dev /run   moved over
//! ```
//!
//! The NFS root is let go of behind the overlay, which holds it on its own. So systemd never sees it among its mounts
//! and cannot take it away too early, and it ends, with its connection, exactly when the overlay does.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, pivot_root};

use super::init::INITS;
use crate::proto::agent::Elsewhere;

/// How long another server may take to give the image; the kernel alone would wait for minutes.
const MOUNTED_WITHIN: Duration = Duration::from_secs(30);

/// A step that failed, in words for the screen.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed")]
pub struct MountError {
    doing: String,
    #[source]
    source: io::Error,
}

/// Turns an error into a [`MountError`] that says what was being done.
fn while_doing<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> MountError {
    let doing = doing.into();
    move |error| MountError { doing, source: error.into() }
}

/// Folders of the image of which the first that exists is where the overlay is put together. Not `/run`, `/dev` or
/// `/tmp`: those move into it or may have been mounted.
const WORKSHOPS: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];

/// What must move into the new root, and is there if the kernel or an initramfs mounted it.
const KERNEL_MOUNTS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Mounts `/proc`, `/sys`, `/dev` and `/run` where that has not been done. Folders for them are in every tree that has
/// an init.
pub fn kernel_views() -> Vec<MountError> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    #[rustfmt::skip]
    let views = [
        ("/proc", "proc",     plain | MsFlags::MS_NOEXEC, ""),
        ("/sys",  "sysfs",    plain | MsFlags::MS_NOEXEC, ""),
        ("/dev",  "devtmpfs", MsFlags::MS_NOSUID,         "mode=0755"),
        ("/run",  "tmpfs",    plain,                      "mode=0755,size=20%"),
    ];
    let mut failed = Vec::new();
    for (place, kind, flags, options) in views {
        if is_mounted(place) {
            continue;
        }
        if let Err(error) = mount(Some(kind), place, Some(kind), flags, Some(options)) {
            failed.push(while_doing(format!("mounting {kind} on {place}"))(error));
        }
    }
    failed
}

/// Whether something is mounted on `place`: it is on another device than its parent. That needs no `/proc`.
fn is_mounted(place: &str) -> bool {
    let device = |path: &str| fs::metadata(path).map(|about| about.dev()).ok();
    device(place).is_some_and(|own| Some(own) != device("/"))
}

/// Makes room in memory for what the client writes; tells where.
pub fn workshop() -> Result<&'static str, MountError> {
    let place = WORKSHOPS.iter().find(|place| Path::new(place).is_dir()).copied().unwrap_or("/tmp");
    // Half of the memory is what the kernel gives a tmpfs by itself; said here because the figure matters.
    mount(Some("bramble"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=50%"))
        .map_err(while_doing("making room in memory for what the client writes"))?;
    Ok(place)
}

/// Mounts the image from another server than the agent's, read-only; tells where it stands.
pub fn elsewhere(workshop: &str, image: &Elsewhere) -> Result<String, MountError> {
    let Elsewhere { server, path } = image;
    let doing = || format!("mounting {server}:{path}");
    let at = format!("{workshop}/image");
    fs::create_dir(&at).map_err(while_doing(format!("making the folder {at}")))?;
    // The ports are asked of the other server's portmapper.
    let options = format!(
        "vers=3,proto=tcp,nolock,hard,timeo=600,retrans=2,mountvers=3,mountproto=tcp,mountaddr={server},addr={server}"
    );
    let (source, target) = (format!("{server}:{path}"), at.clone());
    let (done, result) = channel();
    // The call cannot be broken off. One that comes back too late lies below the workshop, where nobody looks.
    std::thread::spawn(move || {
        let mounted = mount(
            Some(source.as_str()),
            target.as_str(),
            Some("nfs"),
            MsFlags::MS_RDONLY | MsFlags::MS_NODEV,
            Some(options.as_str()),
        );
        // Whoever waited has given up.
        let _ = done.send(mounted);
    });
    match result.recv_timeout(MOUNTED_WITHIN) {
        Ok(mounted) => mounted.map_err(while_doing(doing()))?,
        Err(_) => return Err(while_doing(doing())(Errno::ETIMEDOUT)),
    }
    if INITS.iter().any(|init| fs::symlink_metadata(format!("{at}{init}")).is_ok()) {
        return Ok(at);
    }
    Err(while_doing(format!("finding a system in {server}:{path}"))(io::Error::from(io::ErrorKind::NotFound)))
}

/// Puts a writable, volatile layer over the image at `lower`; tells where the new root stands.
pub fn overlay(place: &str, lower: &str) -> Result<PathBuf, MountError> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| format!("{place}/{name}"));
    for folder in [&upper, &work, &root] {
        fs::create_dir(folder).map_err(while_doing(format!("making the folder {folder}")))?;
    }
    // With `redirect_dir` a folder of the image can be renamed, which package managers do; a kernel that cannot mark
    // files in memory so does without.
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let with = |options: &str| {
        mount(Some("bramble"), root.as_str(), Some("overlay"), MsFlags::empty(), Some(options))
    };
    with(&format!("{layers},redirect_dir=on"))
        .or_else(|_| with(&layers))
        .map_err(while_doing("laying the writable layer over the image"))?;
    Ok(PathBuf::from(root))
}

/// Makes `new_root` the root of everything, with what the kernel shows of itself, and lets the old one go.
pub fn enter(new_root: &Path) -> Result<(), MountError> {
    chdir(new_root).map_err(while_doing("entering the new root"))?;
    for place in KERNEL_MOUNTS {
        if is_mounted(place) {
            let inside = format!(".{place}");
            mount(Some(place), inside.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
                .map_err(while_doing(format!("taking {place} along")))?;
        }
    }
    // With both arguments the same the old root ends up on top of the new one (pivot_root(2)), from where it is taken
    // off. The workshop goes with it; the overlay holds its layers by itself.
    if pivot_root(".", ".").is_ok() {
        umount2(".", MntFlags::MNT_DETACH).map_err(while_doing("letting the old root go"))?;
    } else {
        // The kernel's own first root cannot be exchanged, only covered.
        mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(while_doing("moving the new root into place"))?;
        chroot(".").map_err(while_doing("entering the new root"))?;
    }
    chdir("/").map_err(while_doing("entering the new root"))
}

/// Whether `path` is a program in the present root.
pub fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

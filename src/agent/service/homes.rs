//! Home and shares of a session in the client's tree: mounted, made ready, taken away again.
//!
//! The kernel mounts by itself, given the options that `mount.nfs` would give it; nothing of the image is needed. What
//! has to be written into a home is written by a child that runs as the person ([`furnish`]), never by root, and root
//! mounts nothing behind a symbolic link: below a home every path is the person's.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::agent::network;
use crate::agent::stacks::HELPER;
use crate::proto::agent::channel::{Mount, MountKind};
use crate::types::Person;

/// How long the server may take for one mount; the kernel alone would wait for minutes.
const MOUNTED_WITHIN: Duration = Duration::from_secs(15);

/// Share of the client's memory that a person's caches may take.
const CACHE_SIZE: &str = "20%";

/// Where the image keeps what a new home begins with.
const SKELETON: &str = "/etc/skel";

/// Is in a home as long as the skeleton is not whole.
const UNFINISHED: &str = ".bramble-unfinished";

/// Where NFS and MOUNT are to be had.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub ip: Ipv4Addr,
    pub port: u16,
}

impl Server {
    /// In the clear.
    pub fn directly(ip: Ipv4Addr) -> Self {
        Self { ip, port: network::nfs_port() }
    }

    /// Through the tunnel whose near end has this port.
    pub const fn through(port: u16) -> Self {
        Self { ip: Ipv4Addr::LOCALHOST, port }
    }
}

/// What went wrong, in words for the log.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed")]
pub struct HomeError {
    doing: String,
    #[source]
    source: io::Error,
}

pub fn while_doing<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> HomeError {
    let doing = doing.into();
    move |error| HomeError { doing, source: error.into() }
}

/// Mounts what is not mounted yet, the home first, and makes the home ready. Everything that stands afterwards is in
/// `mounted`, also after a failure. What somebody can work without does not keep them from it; it comes back as a list.
pub fn bring(
    server: Server,
    person: &Person,
    mounts: &[Mount],
    local_caches: bool,
    mounted: &mut Vec<String>,
) -> Result<Vec<HomeError>, HomeError> {
    let mut troubles = Vec::new();
    let missing = |kind| mounts.iter().filter(move |mount| mount.kind == kind && !is_mount_point(&mount.at));
    for home in missing(MountKind::Home) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&home.at)
            .map_err(while_doing(format!("making {}", home.at)))?;
        attach(server, home)?;
        mounted.push(home.at.clone());
        let shares = mounts.iter().filter(|mount| mount.kind == MountKind::Share);
        furnish_as(person.uid.0, person.gid.0, &home.at, shares.map(|share| share.at.as_str()))?;
        if local_caches {
            let cache = format!("{}/.cache", home.at);
            match in_memory(&cache, person.uid.0, person.gid.0, CACHE_SIZE) {
                Ok(()) => mounted.push(cache),
                Err(error) => troubles.push(error),
            }
        }
    }
    for share in missing(MountKind::Share) {
        match attach(server, share) {
            Ok(()) => mounted.push(share.at.clone()),
            Err(error) => troubles.push(error),
        }
    }
    Ok(troubles)
}

/// Takes mounts away, the last first. What somebody still holds goes when they let go; that is told.
pub fn take_away(mounted: &[String]) -> Vec<String> {
    let mut held = Vec::new();
    for at in mounted.iter().rev() {
        let gone = match umount2(at.as_str(), MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => continue,
            Err(_) => umount2(at.as_str(), MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH),
        };
        held.push(match gone {
            Ok(()) => format!("{at} was still in use and is let go"),
            Err(error) => format!("{at} cannot be unmounted: {error}"),
        });
    }
    held
}

/// Whether something is mounted at `path`.
pub fn is_mount_point(path: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(1) == Some(path))
}

fn attach(Server { ip: server, port }: Server, wanted: &Mount) -> Result<(), HomeError> {
    let doing = || format!("mounting {} of the server at {}", wanted.path, wanted.at);
    let place = place(&wanted.at).map_err(while_doing(doing()))?;
    let options = format!(
        "vers=3,proto=tcp,nolock,hard,timeo=600,retrans=2,port={port},mountvers=3,mountproto=tcp,\
         mountport={port},mountaddr={server},addr={server}"
    );
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, !wanted.writable);
    let source = format!("{server}:{}", wanted.path);
    let (done, result) = channel();
    // The call cannot be broken off. One that comes back too late finds nobody who listens, and undoes itself.
    std::thread::spawn(move || {
        let target = format!("/proc/self/fd/{}", place.as_raw_fd());
        let mounted =
            mount(Some(source.as_str()), target.as_str(), Some("nfs"), flags, Some(options.as_str()));
        if done.send(mounted).is_err() && mounted.is_ok() {
            // The descriptor is what lies below the mount; its path leads to what lies on top.
            let below = fs::read_link(&target).unwrap_or_default();
            let _ = umount2(&below, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
    });
    match result.recv_timeout(MOUNTED_WITHIN) {
        Ok(mounted) => mounted.map_err(while_doing(doing())),
        Err(_) => Err(while_doing(doing())(Errno::ETIMEDOUT)),
    }
}

/// A file system in memory for a person, at a folder that is there.
pub fn in_memory(at: &str, uid: u32, gid: u32, size: &str) -> Result<(), HomeError> {
    let doing = || format!("making room in memory at {at}");
    let place = place(at).map_err(while_doing(doing()))?;
    let options = format!("mode=0700,uid={uid},gid={gid},size={size}");
    let target = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("bramble"), target.as_str(), Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(while_doing(doing()))
}

/// The folder at `path`, if no symbolic link is on the way.
fn place(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how)
}

/// Has a child that is the person make the home ready.
pub fn furnish_as<'a>(
    uid: u32,
    gid: u32,
    home: &str,
    shares: impl Iterator<Item = &'a str>,
) -> Result<(), HomeError> {
    let doing = || format!("making {home} ready");
    let status = Command::new(HELPER)
        .args(["furnish", home])
        .args(shares)
        .uid(uid)
        .gid(gid)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .status()
        .map_err(while_doing(doing()))?;
    if status.success() { Ok(()) } else { Err(while_doing(doing())(io::Error::other(status.to_string()))) }
}

/// Run by the child: what a home needs before somebody works in it. A full home is no reason not to log in.
pub fn furnish(home: &Path, shares: &[PathBuf]) -> io::Result<()> {
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    // Reading is what shows whether the home can be used at all.
    let is_new = fs::read_dir(home)?.next().is_none();
    begin(home, Path::new(SKELETON), is_new)?;
    let full =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let make = |path: &Path, mode| match DirBuilder::new().recursive(true).mode(mode).create(path) {
        Err(error) if full(&error) => Ok(()),
        made => made,
    };
    make(&home.join(".cache"), 0o700)?;
    for share in shares {
        make(share, 0o755)?;
    }
    if !shares.is_empty() {
        // The file managers of a Raspberry Pi show what is listed there.
        let _ = bookmark(home);
    }
    Ok(())
}

/// Puts the skeleton into a new home, and into one where that was broken off.
fn begin(home: &Path, skeleton: &Path, is_new: bool) -> io::Result<()> {
    let mark = home.join(UNFINISHED);
    if !is_new && fs::symlink_metadata(&mark).is_err() {
        return Ok(());
    }
    fs::write(&mark, "")?;
    copy(skeleton, home)?;
    fs::remove_file(mark)
}

/// What is in `from`, put below `to`: folders, files and links, with their modes. What is there already of an earlier time is
/// put anew.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let (source, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        let about = fs::symlink_metadata(&source)?;
        if about.is_dir() {
            match DirBuilder::new().mode(about.mode() & 0o777).create(&target) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => copy(&source, &target)?,
            }
        } else if about.is_symlink() {
            let _ = fs::remove_file(&target);
            symlink(fs::read_link(&source)?, &target)?;
        } else if about.is_file() {
            fs::copy(&source, &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(about.mode() & 0o777))?;
        }
    }
    Ok(())
}

/// `~/Shared` in the side bar of file managers, once.
fn bookmark(home: &Path) -> io::Result<()> {
    let folder = home.join(".config/gtk-3.0");
    let list = folder.join("bookmarks");
    let line = format!("file://{}/Shared Shared", home.display());
    let there = fs::read_to_string(&list).unwrap_or_default();
    if there.lines().any(|known| known == line) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut file = fs::OpenOptions::new().append(true).create(true).open(list)?;
    if !there.is_empty() && !there.ends_with('\n') {
        writeln!(file)?;
    }
    writeln!(file, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_made_ready_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (home, skeleton) = (folder.path().join("home"), folder.path().join("skel"));
        fs::create_dir_all(skeleton.join(".config")).expect("a folder");
        fs::create_dir(&home).expect("a folder");
        fs::write(skeleton.join(".profile"), "umask 022\n").expect("a file");
        fs::set_permissions(skeleton.join(".profile"), fs::Permissions::from_mode(0o640)).expect("a mode");
        symlink("/usr/share/wallpapers", skeleton.join(".config/pictures")).expect("a link");
        copy(&skeleton, &home).expect("copied");
        assert_eq!(fs::read_to_string(home.join(".profile")).expect("a file"), "umask 022\n");
        assert_eq!(fs::metadata(home.join(".profile")).expect("a file").mode() & 0o777, 0o640);
        assert!(
            fs::read_link(home.join(".config/pictures"))
                .is_ok_and(|to| to == Path::new("/usr/share/wallpapers"))
        );

        fs::create_dir_all(home.join(".config/gtk-3.0")).expect("a folder");
        fs::write(home.join(".config/gtk-3.0/bookmarks"), "file:///tmp").expect("a file");
        let share = home.join("Shared/materials");
        for _ in 0..2 {
            furnish(&home, std::slice::from_ref(&share)).expect("ready");
        }
        assert!(share.is_dir() && home.join(".cache").is_dir());
        let bookmarks = fs::read_to_string(home.join(".config/gtk-3.0/bookmarks")).expect("a file");
        assert_eq!(bookmarks, format!("file:///tmp\nfile://{}/Shared Shared\n", home.display()));
        assert!(furnish(&folder.path().join("none"), &[]).is_err(), "a home that cannot be read is said");
    }

    #[test]
    fn a_skeleton_that_was_broken_off_is_completed_and_a_home_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (home, skeleton) = (folder.path().join("home"), folder.path().join("skel"));
        fs::create_dir_all(skeleton.join(".config")).expect("a folder");
        fs::write(skeleton.join(".config/menu"), "whole").expect("a file");
        symlink("menu", skeleton.join(".config/link")).expect("a link");
        fs::create_dir_all(home.join(".config")).expect("a folder");
        let menu = || fs::read_to_string(home.join(".config/menu")).expect("a file");
        symlink("menu", home.join(".config/link")).expect("a link");
        fs::write(home.join(".config/menu"), "ha").expect("a file");
        begin(&home, &skeleton, false).expect("nothing to do");
        assert_eq!(menu(), "ha", "the person's own");
        fs::write(home.join(UNFINISHED), "").expect("a mark");
        begin(&home, &skeleton, false).expect("completed");
        assert_eq!(menu(), "whole");
        assert!(!home.join(UNFINISHED).exists());
        fs::write(home.join(".config/menu"), "mine").expect("a file");
        begin(&home, &skeleton, false).expect("nothing to do");
        assert_eq!(menu(), "mine");
        // Broken off by an error: the mark is what is left.
        let (other, gone) = (folder.path().join("other"), folder.path().join("file"));
        fs::create_dir(&other).expect("a folder");
        fs::write(&gone, "").expect("a file");
        assert!(begin(&other, &gone, true).is_err());
        assert!(other.join(UNFINISHED).exists());
    }

    #[test]
    fn nothing_is_mounted_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("real")).expect("a folder");
        symlink("real", folder.path().join("link")).expect("a link");
        let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
        assert!(place(&path("real")).is_ok());
        assert_eq!(place(&path("link")).expect_err("a link"), Errno::ELOOP);
    }
}

//! What the inside of a chamber is made of. Runs in a namespace of mounts of its own, before the root is changed.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, ResolveFlag, openat, readlinkat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{chdir, chroot, fchdir, pivot_root, symlinkat};

use super::attend::Word;
use crate::sys::inside;

/// Devices that every program may have: nothing of this machine is behind them.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of `/proc` that concern the whole machine: to be read only, and not even that.
const ONLY_READ: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const HIDDEN: [&str; 6] = ["kcore", "keys", "latency_stats", "timer_list", "sched_debug", "kmsg"];

const NO_DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const NOTHING: MsFlags = NO_DEVICES.union(MsFlags::MS_NOEXEC);

/// Both ends of a terminal: the one that programs outside hold, and the one for those inside.
type Terminal = (OwnedFd, OwnedFd);

/// Makes `root` the root of this process, with `/proc`, `/sys`, `/dev` and `/run` of its own.
pub fn prepare(root: &Path, covered: &[(&str, String)], terminal: bool) -> Result<Option<Terminal>, Word> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(because("making mounts private"))?;
    bind(root, root)?;
    // Whatever nodes are in the tree, or are made in it, they are no devices.
    remount(root, MsFlags::MS_NODEV)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = openat(AT_FDCWD, root, flags, Mode::empty()).map_err(because("opening the root"))?;

    file_system("tmpfs", &folder(&top, "run")?, NO_DEVICES, "mode=755,size=32m")?;
    let run = folder(&top, "run")?;
    mkdirat(&run, "lock", Mode::from_bits_truncate(0o1777)).map_err(because("making `/run/lock`"))?;
    devices(&top)?;
    let ends = if terminal { Some(open_terminal(&top)?) } else { None };
    file_system("proc", &folder(&top, "proc")?, NOTHING, "")?;
    // A container may not have it; few programs look.
    let _ = mount(
        Some("sysfs"),
        &path_of(&folder(&top, "sys")?),
        Some("sysfs"),
        NOTHING | MsFlags::MS_RDONLY,
        None::<&str>,
    );
    for (number, (path, text)) in covered.iter().enumerate() {
        cover(&top, &run, number, path, text)?;
    }
    hide(&top)?;
    enter(&top)?;
    Ok(ends)
}

fn because(doing: &'static str) -> impl FnOnce(Errno) -> Word {
    Word::because(doing)
}

/// The folder `name` of the tree, which must be one: a link there would lead a mount elsewhere.
fn folder(top: &OwnedFd, name: &str) -> Result<OwnedFd, Word> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    inside::open(top, name, flags, resolve).map_err(|error| {
        Word::Failed(format!("the system has no folder `/{name}` that can be used: {error}"))
    })
}

/// A path by which mount(2) finds what is open, whatever the names on the way are by now.
fn path_of(open: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_fd().as_raw_fd()))
}

fn file_system(kind: &str, at: &OwnedFd, flags: MsFlags, options: &str) -> Result<(), Word> {
    mount(Some(kind), &path_of(at), Some(kind), flags, Some(options))
        .map_err(|error| Word::Failed(format!("mounting a `{kind}` failed: {error}")))
}

fn bind(from: &Path, to: &Path) -> Result<(), Word> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| Word::Failed(format!("mounting `{}` failed: {error}", from.display())))
}

fn remount(at: &Path, flags: MsFlags) -> Result<(), Word> {
    mount(None::<&str>, at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, None::<&str>)
        .map_err(because("restricting a mount"))
}

fn devices(top: &OwnedFd) -> Result<(), Word> {
    file_system("tmpfs", &folder(top, "dev")?, NOTHING, "mode=755,size=1m")?;
    let dev = folder(top, "dev")?;
    for name in DEVICES {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let node =
            openat(&dev, name, flags, Mode::from_bits_truncate(0o666)).map_err(because("making a device"))?;
        bind(&Path::new("/dev").join(name), &path_of(&node))?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o755)] {
        mkdirat(&dev, name, Mode::from_bits_truncate(mode)).map_err(because("making a folder of `/dev`"))?;
    }
    file_system("tmpfs", &folder(top, "dev/shm")?, NO_DEVICES, "mode=1777,size=64m")?;
    let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    file_system("devpts", &folder(top, "dev/pts")?, quiet, options)?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlinkat(target, &dev, name).map_err(because("making a link of `/dev`"))?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "unlocking a terminal and asking for its number are ioctls only")]
fn open_terminal(top: &OwnedFd) -> Result<Terminal, Word> {
    let pts = folder(top, "dev/pts")?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = openat(&pts, "ptmx", flags, Mode::empty()).map_err(because("opening a terminal"))?;
    let (mut number, unlocked): (libc::c_uint, libc::c_int) = (0, 0);
    // SAFETY: the kernel reads one number from the first pointer and writes one to the second; both outlive the calls.
    let done = unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlocked) == 0
            && libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN as _, &raw mut number) == 0
    };
    if !done {
        return Err(because("opening a terminal")(Errno::last()));
    }
    let slave = openat(&pts, number.to_string().as_str(), flags, Mode::empty());
    Ok((master, slave.map_err(because("opening a terminal"))?))
}

/// Shows `text` at `path`.
fn cover(top: &OwnedFd, run: &OwnedFd, number: usize, path: &str, text: &str) -> Result<(), Word> {
    let name = format!(".bramble-{number}");
    let write = |folder: &OwnedFd, name: &str| -> Result<OwnedFd, Word> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(folder, name, flags, Mode::from_bits_truncate(0o644))
            .map_err(because("writing to `/run`"))?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes())
            .map_err(|error| Word::Failed(format!("writing to `/run` failed: {error}")))?;
        Ok(file.into())
    };
    let in_root = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    match inside::open(top, path, OFlag::O_PATH, in_root) {
        Ok(there) => {
            let stand_in = write(run, &name)?;
            bind(&path_of(&stand_in), &path_of(&there))?;
            let again =
                inside::open(top, path, OFlag::O_PATH, in_root).map_err(because("covering a file"))?;
            remount(&path_of(&again), MsFlags::MS_RDONLY | NOTHING)
        }
        // A link to what a service would make in `/run`.
        Err(Errno::ENOENT) => {
            let Some(inner) =
                readlinkat(top, path).ok().and_then(|target| below_run(path, Path::new(&target)))
            else {
                return Ok(());
            };
            let mut folder = inside::open(run, ".", OFlag::O_PATH | OFlag::O_DIRECTORY, in_root)
                .map_err(because("opening `/run`"))?;
            for part in inner.parent().into_iter().flat_map(Path::components) {
                match mkdirat(&folder, part.as_os_str(), Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(because("making a folder in `/run`")(error)),
                }
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                folder = openat(&folder, part.as_os_str(), flags, Mode::empty())
                    .map_err(because("opening `/run`"))?;
            }
            let name = inner.file_name().unwrap_or_default().to_string_lossy();
            write(&folder, &name).map(drop)
        }
        Err(error) => Err(because("covering a file")(error)),
    }
}

/// Where in `/run` a link at `path` leads.
fn below_run(path: &str, target: &Path) -> Option<PathBuf> {
    let mut folded = PathBuf::from("/").join(path);
    folded.pop();
    for part in target.components() {
        match part {
            Component::RootDir => folded = PathBuf::from("/"),
            Component::ParentDir => drop(folded.pop()),
            Component::Normal(name) => folded.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let inner = folded.strip_prefix("/run").ok()?;
    inner.file_name().is_some_and(|name| !name.as_bytes().is_empty()).then(|| inner.to_owned())
}

fn hide(top: &OwnedFd) -> Result<(), Word> {
    let proc = folder(top, "proc")?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    for name in ONLY_READ {
        let Ok(part) = inside::open(&proc, name, OFlag::O_PATH, resolve) else { continue };
        bind(&path_of(&part), &path_of(&part))?;
        let part = inside::open(&proc, name, OFlag::O_PATH, resolve)
            .map_err(because("covering a part of `/proc`"))?;
        remount(&path_of(&part), MsFlags::MS_RDONLY | NOTHING)?;
    }
    for name in HIDDEN {
        if let Ok(part) = inside::open(&proc, name, OFlag::O_PATH, resolve) {
            bind(Path::new("/dev/null"), &path_of(&part))?;
        }
    }
    Ok(())
}

/// Makes `top` the root, and lets go of all else.
fn enter(top: &OwnedFd) -> Result<(), Word> {
    fchdir(top).map_err(because("entering the root"))?;
    match pivot_root(".", ".") {
        // The old root lies over the new one now.
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).map_err(because("letting go of the old root"))?,
        // The root of a system that runs from memory cannot be exchanged (it can only be covered).
        Err(Errno::EINVAL) => {
            mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
                .map_err(because("covering the old root"))?;
            chroot(".").map_err(because("changing the root"))?;
        }
        Err(error) => return Err(because("changing the root")(error)),
    }
    chdir("/").map_err(because("entering the root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_run_are_found() {
        for (path, target, leads) in [
            (
                "etc/resolv.conf",
                "../run/systemd/resolve/stub-resolv.conf",
                Some("systemd/resolve/stub-resolv.conf"),
            ),
            ("etc/resolv.conf", "/run/NetworkManager/resolv.conf", Some("NetworkManager/resolv.conf")),
            ("etc/resolv.conf", "../../../run/./x", Some("x")),
            ("etc/resolv.conf", "/run", None),
            ("etc/resolv.conf", "/run/../etc/shadow", None),
            ("etc/resolv.conf", "resolv.conf.own", None),
        ] {
            assert_eq!(below_run(path, Path::new(target)), leads.map(PathBuf::from), "{target}");
        }
    }
}

//! Opening a path that must not leave a folder: openat2(2), and the same by hand where the kernel has no such call.
//!
//! Linux has openat2 since 5.6, and every OpenWrt that Bramble supports is newer; but emulators (qemu-user) and filters of
//! system calls (containers, procd's seccomp) answer `ENOSYS`. Then the path is walked one name at a time: each name is
//! opened without following links, in the folder opened before it, and a link is read and its names are walked in its
//! place. So nothing is ever opened that was not reached from the folder, whatever somebody renames meanwhile.
//!
//! Source: openat2(2), path_resolution(7).

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

/// `RESOLVE_CACHED` (Linux 5.12): fail with `EAGAIN` instead of reading the disk.
pub const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(0x20);

/// How many links may be on the way, as in the kernel.
const LINKS: usize = 40;

/// How a descriptor is opened that only leads further.
const STEP: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens what is at `path` below `folder`, as openat2 does. Makes no files (`O_CREAT` is not for this).
///
/// Asks again while the kernel cannot be sure that nothing moved meanwhile; with [`CACHED`] that is the caller's business.
pub fn open<P: ?Sized + NixPath>(
    folder: impl AsFd,
    path: &P,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    loop {
        match openat2(folder.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) if !resolve.contains(CACHED) => {}
            Err(Errno::ENOSYS) => return by_hand(folder, path, flags, resolve),
            other => return other,
        }
    }
}

fn by_hand<P: ?Sized + NixPath>(
    folder: impl AsFd,
    path: &P,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    if resolve.contains(CACHED) {
        return Err(Errno::EAGAIN);
    }
    let path = path.with_nix_path(|path| path.to_bytes().to_vec())?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let root = openat(folder, ".", STEP | OFlag::O_DIRECTORY, Mode::empty())?;
    let device = stat(&root)?.st_dev;
    let mut way = Walk { above: vec![root], ahead: Vec::new(), links: 0, device, resolve };
    way.enter(&path)?;
    way.walk(flags | OFlag::O_CLOEXEC)
}

struct Walk {
    /// The folders walked through, the root first.
    above: Vec<OwnedFd>,
    /// Names to come, the next one last.
    ahead: Vec<OsString>,
    links: usize,
    device: libc::dev_t,
    resolve: ResolveFlag,
}

impl Walk {
    /// Puts the names of a path or of a link before those that are still to come.
    fn enter(&mut self, path: &[u8]) -> Result<(), Errno> {
        if path.first() == Some(&b'/') {
            if !self.resolve.contains(ResolveFlag::RESOLVE_IN_ROOT) {
                return Err(Errno::EXDEV);
            }
            self.above.truncate(1);
        }
        // A slash at the end asks for a folder, as the name `.` behind it does.
        let folder = path.last() == Some(&b'/');
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let names = names.map(|name| OsString::from_vec(name.to_vec()));
        let names: Vec<OsString> = names.chain(folder.then(|| OsString::from("."))).collect();
        self.ahead.extend(names.into_iter().rev());
        Ok(())
    }

    fn here(&self) -> Result<&OwnedFd, Errno> {
        self.above.last().ok_or(Errno::EXDEV)
    }

    fn walk(mut self, flags: OFlag) -> Result<OwnedFd, Errno> {
        while let Some(name) = self.ahead.pop() {
            let last = self.ahead.is_empty();
            match name.as_encoded_bytes() {
                b"." => {}
                b".." => self.up()?,
                _ => {
                    let step = openat(self.here()?, name.as_os_str(), STEP, Mode::empty())?;
                    let about = stat(&step)?;
                    if self.resolve.contains(ResolveFlag::RESOLVE_NO_XDEV) && about.st_dev != self.device {
                        return Err(Errno::EXDEV);
                    }
                    match kind(&about) {
                        SFlag::S_IFLNK if last && flags.contains(OFlag::O_NOFOLLOW) => {
                            return the_link(step, flags);
                        }
                        SFlag::S_IFLNK => self.follow(&step)?,
                        SFlag::S_IFDIR => self.above.push(step),
                        _ if !last || flags.contains(OFlag::O_DIRECTORY) => return Err(Errno::ENOTDIR),
                        _ if flags.contains(OFlag::O_PATH) => return Ok(step),
                        // A link that took its place meanwhile is not followed.
                        _ => {
                            return openat(
                                self.here()?,
                                name.as_os_str(),
                                flags | OFlag::O_NOFOLLOW,
                                Mode::empty(),
                            );
                        }
                    }
                }
            }
        }
        openat(self.here()?, ".", flags, Mode::empty())
    }

    fn up(&mut self) -> Result<(), Errno> {
        if self.above.len() > 1 {
            self.above.pop();
            return Ok(());
        }
        // `..` of the root is the root.
        if self.resolve.contains(ResolveFlag::RESOLVE_IN_ROOT) { Ok(()) } else { Err(Errno::EXDEV) }
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS || self.resolve.contains(ResolveFlag::RESOLVE_NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        let target = readlinkat(link, "")?;
        self.enter(target.as_encoded_bytes())
    }
}

/// A link at the end of the path, where links are not followed.
fn the_link(link: OwnedFd, flags: OFlag) -> Result<OwnedFd, Errno> {
    if flags.contains(OFlag::O_DIRECTORY) {
        return Err(Errno::ENOTDIR);
    }
    if flags.contains(OFlag::O_PATH) { Ok(link) } else { Err(Errno::ELOOP) }
}

fn stat(fd: &OwnedFd) -> Result<FileStat, Errno> {
    fstatat(fd, "", AtFlags::AT_EMPTY_PATH)
}

fn kind(about: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(about.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::*;

    const LINKS: [(&str, &str); 14] = [
        ("up", ".."),
        ("far-up", "../../../.."),
        ("absolute", "/a/b"),
        ("top", "/"),
        ("out", "/etc/passwd"),
        ("nowhere", "not/there"),
        ("self", "self"),
        ("a/down", "b/file"),
        ("a/b/back", "../../a"),
        ("a/b/sibling", "../down"),
        ("chain", "chain-2"),
        ("chain-2", "a/b/back/"),
        ("a/slash", "b/file/"),
        ("a/long", "./.././a//b/./back"),
    ];

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("a/b")).expect("folders");
        fs::write(root.path().join("a/b/file"), "text").expect("a file");
        for (link, target) in LINKS {
            symlink(target, root.path().join(link)).expect("a link");
        }
        root
    }

    /// Which file was opened, and how (a file that was reached need not be a link any more); or why not.
    fn outcome(opened: Result<OwnedFd, Errno>) -> Result<(u64, u64, i32), Errno> {
        let about = stat(opened.as_ref().map_err(|errno| *errno)?)?;
        let flags = nix::fcntl::fcntl(&opened?, nix::fcntl::FcntlArg::F_GETFL)?;
        Ok((about.st_dev, about.st_ino, flags & !OFlag::O_NOFOLLOW.bits()))
    }

    /// Both ways, for every path of up to four names, come to the same end.
    #[test]
    fn by_hand_is_what_the_kernel_does() {
        let root = tree();
        let folder = fs::File::open(root.path()).expect("open");
        let names = ["a", "b", "file", "..", ".", "back", "down", "slash", "long", "sibling", "none"];
        let first = names.iter().copied().chain(LINKS.iter().map(|(name, _)| *name)).chain(["", "/", "//"]);
        let mut paths: Vec<PathBuf> = first.map(PathBuf::from).collect();
        let mut from = 0;
        for _ in 0..3 {
            let until = paths.len();
            for at in from..until {
                paths.extend(names.iter().map(|name| paths[at].join(name)).collect::<Vec<_>>());
            }
            from = until;
        }
        paths.push(PathBuf::from("a/"));
        paths.push(PathBuf::from("a/b/file/"));
        let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let beneath =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let ways = [
            (OFlag::O_PATH, inside),
            (OFlag::O_PATH | OFlag::O_DIRECTORY, inside),
            (OFlag::O_RDONLY | OFlag::O_NONBLOCK, inside),
            (OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, inside),
            (OFlag::O_PATH | OFlag::O_NOFOLLOW, beneath),
            (OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH),
        ];
        let (mut opened, mut refused) = (0, 0);
        for (flags, resolve) in ways {
            for path in &paths {
                let kernel = outcome(open(&folder, path, flags, resolve));
                let ours = outcome(by_hand(&folder, path, flags, resolve));
                assert_eq!(ours, kernel, "{} {flags:?} {resolve:?}", path.display());
                if kernel.is_ok() { opened += 1 } else { refused += 1 }
            }
        }
        assert!(opened > 1000 && refused > 1000, "{opened} {refused}");
    }

    #[test]
    fn another_file_system_is_not_entered_and_the_disk_not_waited_for() {
        let folder = fs::File::open("/").expect("open");
        let same = ResolveFlag::RESOLVE_NO_XDEV;
        for path in ["proc", "proc/self"] {
            let ours = by_hand(&folder, Path::new(path), OFlag::O_PATH, same).map(drop);
            assert_eq!((ours, Err(Errno::EXDEV)), (open(&folder, path, OFlag::O_PATH, same).map(drop), ours));
        }
        assert_eq!(by_hand(&folder, "etc", OFlag::O_PATH, CACHED).map(drop), Err(Errno::EAGAIN));
    }
}

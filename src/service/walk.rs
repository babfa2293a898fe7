//! Walks a tree that people are working in: what vanishes meanwhile is passed over, and no link is followed.
//!
//! For counting and for backups. An image, which nobody changes, is copied by `images/copy.rs`, which takes every
//! surprise for damage; here one is nothing special. The walk stays on the file system it begins on.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::service::jobs::{Cancelled, Task};
use crate::types::limits;

/// Why a tree was not walked to its end.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// One thing met on the way.
#[derive(Debug)]
pub struct Met<'a> {
    /// From the root of the tree; empty for the root itself.
    pub path: &'a Path,
    pub stat: FileStat,
    /// The folder it is in, and its name there; for the root itself, that folder and `.`.
    pub folder: &'a File,
    pub name: &'a OsStr,
}

impl Met<'_> {
    pub fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.stat.st_mode & SFlag::S_IFMT.bits())
    }
}

/// Calls `each` for `root` and for everything below it, a folder before what is in it, in order of names.
///
/// What is below [`limits::TREE_DEPTH`] folders is left out; answers with how many folders were not looked into for that
/// or for an error of the disk.
pub fn walk<E: From<WalkError>>(
    root: &Path,
    task: &Task,
    each: &mut dyn FnMut(Met<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let failed = |errno: Errno| WalkError::Read { path: root.to_owned(), source: errno.into() };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = File::from(openat(AT_FDCWD, root, flags, Mode::empty()).map_err(failed)?);
    let stat = fstat(&folder).map_err(failed)?;
    let mut walk = Walk { device: stat.st_dev, task, each, left_out: 0 };
    (walk.each)(Met { path: Path::new(""), stat, folder: &folder, name: OsStr::new(".") })?;
    walk.folder(&folder, Path::new(""), 1)?;
    Ok(walk.left_out)
}

struct Walk<'a, E> {
    device: libc::dev_t,
    task: &'a Task,
    each: &'a mut dyn FnMut(Met<'_>) -> Result<(), E>,
    left_out: u64,
}

impl<E: From<WalkError>> Walk<'_, E> {
    fn folder(&mut self, folder: &File, path: &Path, depth: usize) -> Result<(), E> {
        let Ok(names) = names(folder) else {
            self.left_out += 1;
            return Ok(());
        };
        for name in names {
            self.task.go_on().map_err(WalkError::from)?;
            let Ok(stat) = fstatat(folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            let path = path.join(&name);
            let met = Met { path: &path, stat, folder, name: &name };
            let is_folder = met.kind() == SFlag::S_IFDIR;
            if is_folder && stat.st_dev != self.device {
                continue;
            }
            (self.each)(met)?;
            if !is_folder {
                continue;
            }
            if depth >= limits::TREE_DEPTH {
                self.left_out += 1;
                continue;
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if let Ok(child) = openat(folder, name.as_os_str(), flags, Mode::empty()) {
                self.folder(&File::from(child), &path, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// What is in `folder`, sorted.
fn names(folder: &File) -> Result<Vec<OsString>, Errno> {
    let again = folder.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(again)?.iter() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What a tree takes on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
    /// Entries of any kind, folders included.
    pub files: u64,
}

/// Counts what is below `root`, each file with several names once for each of them.
pub fn measure(root: &Path, task: &Task) -> Result<Size, WalkError> {
    let mut size = Size::default();
    walk(root, task, &mut |met: Met<'_>| {
        let blocks = u64::try_from(met.stat.st_blocks).unwrap_or(0);
        #[expect(clippy::useless_conversion, reason = "on 32-bit targets the number of links is narrower")]
        let names = if met.kind() == SFlag::S_IFDIR { 1 } else { u64::from(met.stat.st_nlink).max(1) };
        size.bytes = size.bytes.saturating_add(blocks.saturating_mul(512) / names);
        size.files += 1;
        Ok::<(), WalkError>(())
    })?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_is_walked_in_order_and_links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("home");
        fs::create_dir_all(root.join("b/c")).expect("folders");
        fs::write(root.join("b/c/file"), "x").expect("a file");
        fs::write(root.join("a"), vec![7; 100_000]).expect("a file");
        fs::hard_link(root.join("a"), root.join("z")).expect("a link");
        symlink("..", root.join("up")).expect("a link");
        let mut seen = Vec::new();
        let left_out = walk(&root, &Task::unwatched(), &mut |met: Met<'_>| {
            seen.push(met.path.display().to_string());
            Ok::<(), WalkError>(())
        });
        assert_eq!(left_out.expect("walked"), 0);
        assert_eq!(seen, ["", "a", "b", "b/c", "b/c/file", "up", "z"]);
        let size = measure(&root, &Task::unwatched()).expect("measured");
        assert_eq!(size.files, 7);
        assert!((100_000..200_000).contains(&size.bytes), "a file with two names counts once: {size:?}");
    }

    #[test]
    fn what_vanishes_or_is_too_deep_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("home");
        fs::create_dir_all(root.join("a")).expect("a folder");
        fs::create_dir_all(root.join(["d"; limits::TREE_DEPTH + 5].join("/"))).expect("folders");
        let mut seen = 0;
        let left_out = walk(&root, &Task::unwatched(), &mut |met: Met<'_>| {
            if met.path == Path::new("a") {
                fs::remove_dir(root.join("a")).expect("removed while it is walked");
            }
            seen += 1;
            Ok::<(), WalkError>(())
        });
        assert_eq!((left_out.expect("walked"), seen), (1, limits::TREE_DEPTH + 2));
        assert!(walk(&root.join("nothing"), &Task::unwatched(), &mut |_| Ok::<(), WalkError>(())).is_err());
        let cancelled = Task::unwatched();
        cancelled.cancel();
        assert!(matches!(measure(&root, &cancelled), Err(WalkError::Cancelled(_))));
    }
}

//! A folder that is, or will be, a root file system: read and changed without ever leaving it.
//!
//! Every path is relative to the root, and symbolic links inside it, absolute ones too, lead where they would lead on
//! the running client (openat2(2), `RESOLVE_IN_ROOT`). Writing replaces a file by rename, so a link that stands in a
//! file's place (`/etc/resolv.conf` of systemd-resolved) is replaced and not followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

/// Largest file of the image that is read to be edited, in bytes; real ones have a few thousand.
const EDITABLE: u64 = 1024 * 1024;

/// A handle on a root.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Whether something is at `path`, links followed. A link to nowhere is nothing.
    pub fn exists(&self, path: &str) -> bool {
        self.resolve(path, OFlag::O_PATH).is_ok()
    }

    /// The text at `path`, with its permission bits; `None` if there is no such file.
    pub fn text(&self, path: &str) -> io::Result<Option<(String, u32)>> {
        let file = match self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about = file.metadata()?;
        if !about.is_file() || about.len() > EDITABLE {
            return Err(io::Error::other("not a text file of reasonable size"));
        }
        let mut text = String::new();
        file.take(EDITABLE).read_to_string(&mut text)?;
        Ok(Some((text, about.mode() & 0o7777)))
    }

    /// Names in the folder `path`, sorted; none if there is no such folder.
    pub fn names(&self, path: &str) -> Vec<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = self.resolve(path, flags).and_then(nix::dir::Dir::from_fd);
        let mut names = Vec::new();
        for entry in folder.into_iter().flat_map(|folder| folder.into_iter().flatten()) {
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names
    }

    /// Puts a file with `text` at `path`, in place of whatever was there but a folder; makes folders on the way.
    pub fn write(&self, path: &str, text: &str, mode: u32) -> io::Result<()> {
        let (folder, name) = self.folder_of(path)?;
        let fresh = format!(".{}.bramble", name.to_string_lossy());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        discard(&folder, OsStr::new(&fresh))?;
        let mut file = File::from(openat(&folder, fresh.as_str(), flags, Mode::from_bits_truncate(0o600))?);
        file.write_all(text.as_bytes())?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        Ok(renameat(&folder, fresh.as_str(), &folder, name)?)
    }

    /// Puts `text` into the file at `path`, which keeps its owner and its mode: all of it or nothing, whoever reads.
    pub fn replace(&self, path: &str, text: &str) -> io::Result<()> {
        let (folder, name) = self.folder_of(path)?;
        let about = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let fresh = format!(".{}.bramble", name.to_string_lossy());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        discard(&folder, OsStr::new(&fresh))?;
        let mut file = File::from(openat(&folder, fresh.as_str(), flags, Mode::from_bits_truncate(0o600))?);
        file.write_all(text.as_bytes())?;
        std::os::unix::fs::fchown(&file, Some(about.st_uid), Some(about.st_gid))?;
        file.set_permissions(PermissionsExt::from_mode(about.st_mode & 0o7777))?;
        Ok(renameat(&folder, fresh.as_str(), &folder, name)?)
    }

    /// Puts a symbolic link to `target` at `path`, in place of whatever was there but a folder.
    pub fn link(&self, path: &str, target: &str) -> io::Result<()> {
        let (folder, name) = self.folder_of(path)?;
        discard(&folder, name)?;
        Ok(symlinkat(target, &folder, name)?)
    }

    /// Removes the file or link at `path`, if there is one.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.folder_of(path)?;
        discard(&folder, name)
    }

    fn resolve(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        openat2(&self.0, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(inside))
    }

    /// The folder that holds `path`, made if it is not there, and the last part of `path`.
    fn folder_of<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p OsStr)> {
        let path = Path::new(path);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut folder = self.resolve(".", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let mut so_far = String::from(".");
        for part in parent.components() {
            let Component::Normal(part) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            so_far.push('/');
            so_far.push_str(&String::from_utf8_lossy(part.as_bytes()));
            folder = match self.resolve(&so_far, OFlag::O_PATH | OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT) => {
                    mkdirat(&folder, part, Mode::from_bits_truncate(0o755))?;
                    self.resolve(&so_far, OFlag::O_PATH | OFlag::O_DIRECTORY)?
                }
                other => other?,
            };
        }
        Ok((folder, name))
    }
}

/// Removes what `name` is in `folder`, without following it; a folder is an error.
fn discard(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        // A read-only file system says so even of a name that is not there.
        Err(Errno::EROFS) if fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_where_they_lead_on_the_client() {
        let (outside, inside) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let root = Root::open(inside.path()).expect("a root");
        fs::write(outside.path().join("victim"), "untouched").expect("written");
        for (link, target) in [
            ("escape", outside.path().to_str().expect("text")),
            ("up", "../../../../../../../.."),
            ("stub.conf", outside.path().join("victim").to_str().expect("text")),
        ] {
            symlink(target, inside.path().join(link)).expect("a link");
        }
        fs::create_dir_all(inside.path().join("usr/lib")).expect("a folder");
        symlink("/usr/lib", inside.path().join("lib")).expect("an absolute link");

        root.write("escape/victim", "x", 0o644).expect_err("`escape` leads to nothing inside");
        root.write("lib/file", "through a link", 0o600).expect("written");
        root.write("up/top", "at the top", 0o644).expect("written");
        root.write("stub.conf", "a real file now", 0o644).expect("written");
        root.link("new/folder/on/the/way", "/dev/null").expect("linked");
        root.remove("up").expect("removed");
        root.remove("not/there").expect("nothing to do");

        assert_eq!(fs::read_to_string(outside.path().join("victim")).expect("read"), "untouched");
        assert_eq!(root.text("usr/lib/file").expect("read"), Some(("through a link".to_owned(), 0o600)));
        assert_eq!(fs::read_to_string(inside.path().join("top")).expect("read"), "at the top");
        assert_eq!(fs::read_to_string(inside.path().join("stub.conf")).expect("read"), "a real file now");
        assert!(!root.exists("escape/victim") && root.exists("new/folder/on/the"));
        assert_eq!(root.names("lib"), ["file"]);
        assert_eq!(root.text("escape").expect("read"), None);
        root.write("../outside", "x", 0o644).expect_err("no way up");
    }
}

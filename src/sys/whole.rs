//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// Puts a file with what `write` gives it at `path`, with the permissions `mode`, in place of one that may be there. It is made
/// beside it, as `.NAME.new`, and is on the disk before it has its name: whoever reads, and a power cut, finds the old one or the
/// new one. Of several that write at once, in this process or in others, each waits for the one before.
pub fn put(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut fs_err::File) -> io::Result<()>,
) -> io::Result<()> {
    let beside = beside(path);
    let held = claim(&beside)?;
    let written = || {
        let mut file = fs_err::File::from_parts(held.try_clone()?, &beside);
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        write(&mut file)?;
        file.sync_all()?;
        fs_err::rename(&beside, path)
    };
    if let Err(error) = written() {
        let _ = fs_err::remove_file(&beside);
        return Err(error);
    }
    sync_folder_of(path)
}

/// Has the name of the file at `path` on the disk: whether it is there, and which one it is.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs_err::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The same for a file that is whole and has its name, whatever comes of this: some network disks cannot.
pub fn settle_name(path: &Path) {
    if let Err(error) = sync_folder_of(path) {
        tracing::warn!(%error, "the name of a file may be lost in a power cut within the next minute");
    }
}

/// Where the file at `path` is made. A hidden name: uci and dnsmasq read the others in their folders.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// The file at `beside`, empty, and nobody else's as long as it is held.
fn claim(beside: &Path) -> io::Result<Flock<std::fs::File>> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    loop {
        let mut file = options.open(beside)?.into_file();
        let held = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Err((again, Errno::EINTR)) => file = again,
                held => break held.map_err(|(_, error)| error)?,
            }
        };
        let own = held.metadata()?;
        // Whoever held it before has given it its name.
        let is_there = |found: std::fs::Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
        if fs_err::symlink_metadata(beside).is_ok_and(is_there) {
            held.set_len(0)?;
            return Ok(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text(file: &mut fs_err::File, text: &str) -> io::Result<()> {
        file.write_all(text.as_bytes())
    }

    fn names(folder: &Path) -> Vec<OsString> {
        std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        std::fs::write(beside(&path), "half of what was cut off by a power cut").expect("written");
        put(&path, 0o640, |file| text(file, "first")).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o640);
        put(&path, 0o600, |file| text(file, "new")).expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"new");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["list"]);
    }

    #[test]
    fn what_fails_half_way_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        put(&path, 0o644, |file| text(file, "old")).expect("written");
        let full = |file: &mut fs_err::File| {
            text(file, "ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert_eq!(put(&path, 0o644, full).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).expect("read"), b"old");
        assert_eq!(names(folder.path()), ["list"]);
        let missing = put(&folder.path().join("none/list"), 0o644, |_| Ok(())).expect_err("no folder");
        assert!(missing.to_string().contains(".list.new"), "{missing}");
    }

    #[test]
    fn a_link_beside_it_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("list"), folder.path().join("other"));
        std::fs::write(&other, "somebody's").expect("written");
        std::os::unix::fs::symlink(&other, beside(&path)).expect("linked");
        put(&path, 0o644, |file| text(file, "new")).expect_err("a link");
        assert_eq!(std::fs::read(&other).expect("read"), b"somebody's");
    }

    #[test]
    fn who_reads_while_several_write_finds_a_whole_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        let whole = |letter: char| letter.to_string().repeat(100_000);
        put(&path, 0o644, |file| text(file, &whole('a'))).expect("written");
        std::thread::scope(|scope| {
            let writers: Vec<_> = ('a'..'e')
                .map(|letter| {
                    let (path, whole) = (&path, whole(letter));
                    scope.spawn(move || {
                        for _ in 0..25 {
                            // In pieces, so that others come between.
                            put(path, 0o644, |file| {
                                whole.as_bytes().chunks(1000).try_for_each(|part| file.write_all(part))
                            })
                            .expect("written");
                        }
                    })
                })
                .collect();
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                let found = std::fs::read_to_string(&path).expect("there at all times");
                let letter = found.chars().next().expect("not empty");
                assert!(found == whole(letter), "{} bytes, not all of them {letter}", found.len());
            }
        });
        assert_eq!(names(folder.path()), ["list"]);
    }
}

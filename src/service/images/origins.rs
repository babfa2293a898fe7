//! Which files of a draft are still what they were copied from.
//!
//! A draft may be written by anybody who has it as their root, and programs can set every time of a file but one: when its
//! inode last changed. So that time, the inode's number and the number of the file it was copied from are noted for each
//! file when the draft is made. A file that still has both is untouched, and when the draft is published the file of the
//! version before serves for it; nothing has to be read to find out.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, ResolveFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::copy::{CopyError, Walk, What};
use crate::service::jobs::Task;
use crate::sys::inside;

/// What is noted of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    inode: u64,
    /// When the inode last changed: seconds and nanoseconds.
    changed: (i64, i64),
    /// Inode of the file it was copied from.
    base: u64,
}

/// What is noted of all files of a draft, by inode.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

const MAGIC: &[u8; 16] = b"bramble origins1";

/// Bytes of one note in the file.
const NOTE: usize = 32;

impl Origins {
    /// Looks at `draft`, which has just been copied from `base` and not been written since.
    pub fn take(draft: &Path, base: &Path, task: &Task) -> Result<Self, CopyError> {
        let mut beside = Beside::new(base)?;
        let mut notes = Vec::new();
        Walk::new(task).all(draft, &mut |met| {
            if matches!(met.what, What::File)
                && let Some(twin) = beside.stat(met.path)
            {
                let (inode, changed) = (met.stat.st_ino, changed(&met.stat));
                notes.push(Origin { inode, changed, base: twin.st_ino });
            }
            Ok(true)
        })?;
        notes.sort_unstable();
        Ok(Self(notes))
    }

    /// The inode of the file that this one was copied from, if it is still the same.
    pub fn of(&self, stat: &FileStat) -> Option<u64> {
        let at = self.0.binary_search_by_key(&stat.st_ino, |origin| origin.inode).ok()?;
        self.0.get(at).filter(|origin| origin.changed == changed(stat)).map(|origin| origin.base)
    }

    /// Writes the notes of the draft with this nonce, and has them on the disk.
    pub fn save(&self, path: &Path, nonce: u64) -> io::Result<()> {
        let mut file = io::BufWriter::new(fs_err::File::create(path)?);
        file.write_all(MAGIC)?;
        file.write_all(&nonce.to_le_bytes())?;
        file.write_all(&u64::try_from(self.0.len()).unwrap_or(0).to_le_bytes())?;
        for Origin { inode, changed: (seconds, nanos), base } in &self.0 {
            for bytes in [inode.to_le_bytes(), seconds.to_le_bytes(), nanos.to_le_bytes(), base.to_le_bytes()]
            {
                file.write_all(&bytes)?;
            }
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// Reads them back. `None` if they are not there, not whole, or another draft's: then no file counts as untouched,
    /// which costs room on the disk and nothing else.
    pub fn load(path: &Path, nonce: u64) -> Option<Self> {
        let mut file = io::BufReader::new(File::open(path).ok()?);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).ok()?;
        if &magic != MAGIC || number(&mut file)? != nonce {
            return None;
        }
        let count = number(&mut file)?;
        let len = file.get_ref().metadata().ok()?.len();
        if len != (MAGIC.len() as u64 + 16).checked_add(count.checked_mul(NOTE as u64)?)? {
            return None;
        }
        let mut notes = Vec::new();
        for _ in 0..count {
            let (inode, seconds, nanos) = (number(&mut file)?, number(&mut file)?, number(&mut file)?);
            let changed = (seconds.cast_signed(), nanos.cast_signed());
            notes.push(Origin { inode, changed, base: number(&mut file)? });
        }
        notes.is_sorted().then_some(Self(notes))
    }
}

fn number(file: &mut impl io::Read) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
fn changed(stat: &FileStat) -> (i64, i64) {
    (stat.st_ctime.into(), stat.st_ctime_nsec.into())
}

/// Files of a second tree, looked up by the paths of the first. Links are not followed.
#[derive(Debug)]
pub(super) struct Beside {
    root: OwnedFd,
    /// The folder used last; `None` if the second tree has no such folder.
    near: Option<(PathBuf, Option<OwnedFd>)>,
}

impl Beside {
    pub fn new(root: &Path) -> Result<Self, CopyError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = openat(AT_FDCWD, root, flags, Mode::empty());
        Ok(Self { root: opened.map_err(super::copy::read(root))?, near: None })
    }

    /// The folder that `path` is in.
    pub fn folder(&mut self, path: &Path) -> Option<&OwnedFd> {
        let parent = path.parent()?;
        if parent.as_os_str().is_empty() {
            return Some(&self.root);
        }
        if self.near.as_ref().is_none_or(|(near, _)| near != parent) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
            self.near = Some((parent.to_owned(), inside::open(&self.root, parent, flags, resolve).ok()));
        }
        self.near.as_ref().and_then(|(_, folder)| folder.as_ref())
    }

    /// The regular file at `path`.
    pub fn stat(&mut self, path: &Path) -> Option<FileStat> {
        let name = path.file_name()?;
        let stat = fstatat(self.folder(path)?, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        (kind == SFlag::S_IFREG).then_some(stat)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_touched_file_is_told_from_an_untouched_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let (base, draft) = (dir.path().join("1"), dir.path().join("draft"));
        for root in [&base, &draft] {
            std::fs::create_dir_all(root.join("etc")).expect("made");
            for name in ["etc/kept", "etc/written", "etc/allowed", "etc/given back", "top"] {
                std::fs::write(root.join(name), "as it was").expect("written");
            }
        }
        let origins = Origins::take(&draft, &base, &Task::unwatched()).expect("taken");
        let path = dir.path().join(".draft.origins");
        origins.save(&path, 7).expect("saved");
        assert_eq!(Origins::load(&path, 7).as_ref(), Some(&origins));
        assert_eq!(Origins::load(&path, 8), None, "another draft's");
        let bytes = std::fs::read(&path).expect("read");
        for cut in [0, 10, 24, 39, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).expect("written");
            assert_eq!(Origins::load(&path, 7), None, "cut at {cut}");
        }

        // Past the granularity of the clock that the kernel stamps files with.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(draft.join("etc/written"), "otherwise").expect("written");
        std::fs::set_permissions(
            draft.join("etc/allowed"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("set");
        // A program that hides what it did: content of the same length, and the old time.
        let file = File::options().write(true).open(draft.join("etc/given back")).expect("opened");
        let then = file.metadata().expect("there").modified().expect("known");
        std::os::unix::fs::FileExt::write_at(&file, b"AS IT WAS", 0).expect("written");
        file.set_modified(then).expect("set");
        std::fs::rename(draft.join("etc"), draft.join("moved")).expect("moved");
        let of = |name: &str| {
            let stat = nix::sys::stat::stat(&draft.join(name)).expect("there");
            origins.of(&stat)
        };
        let inode = |name: &str| std::fs::metadata(base.join(name)).expect("there").ino();
        assert_eq!(of("moved/kept"), Some(inode("etc/kept")));
        assert_eq!(of("top"), Some(inode("top")));
        for name in ["moved/written", "moved/allowed", "moved/given back"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}

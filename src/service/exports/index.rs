//! A number for every file of a published tree, where the file system has no handles of its own.
//!
//! The numbers follow from the tree alone: folders in the order they are met, names in each sorted by their bytes, the links of
//! one file sharing the number of the first. A published tree never changes, so a walk at any time gives the same numbers; the
//! file kept beside the tree only saves the walk. It is checked in full when read, and made anew if anything is wrong.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use crate::sys::{self, dirents};
use crate::types::limits;

/// Folders below folders; `PATH_MAX` allows no more.
const DEEPEST: usize = 2048;

const MAGIC: &[u8; 8] = b"bramble1";

/// One name in the tree. Numbers are places in [`Index::entries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    parent: u32,
    /// Where the name begins in [`Index::names`].
    name: u32,
    name_length: u32,
    /// The children of a folder stand together.
    children: u32,
    children_count: u32,
    /// The first link of the same file; its own number for all others.
    file: u32,
}

const WORDS: usize = 6;

/// All names of one tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Index {
    /// How many names there are, the root counted.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(number).ok()?)
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let (from, length) = (entry.name as usize, entry.name_length as usize);
        self.names.get(from..).and_then(|names| names.get(..length)).unwrap_or_default()
    }

    /// The folder a file is in; the root's is itself.
    pub fn parent(&self, number: u32) -> Option<u32> {
        self.entry(number).map(|entry| entry.parent)
    }

    fn children(&self, number: u32) -> &[Entry] {
        let range = self.entry(number).map(|entry| {
            let from = entry.children as usize;
            from..from.saturating_add(entry.children_count as usize)
        });
        range.and_then(|range| self.entries.get(range)).unwrap_or_default()
    }

    /// The number of the file called `name` in the folder `number`.
    pub fn child(&self, number: u32, name: &[u8]) -> Option<u32> {
        let children = self.children(number);
        let at = children.binary_search_by(|child| self.name(child).cmp(name)).ok()?;
        children.get(at).map(|child| child.file)
    }

    /// Names and numbers in the folder `number`, from the one at `position` on.
    pub fn list(&self, number: u32, position: usize) -> impl Iterator<Item = (&[u8], u32)> {
        self.children(number).iter().skip(position).map(|child| (self.name(child), child.file))
    }

    /// Path below the root; empty for the root.
    pub fn path(&self, number: u32) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut at = number;
        while at != 0 {
            let entry = self.entry(at)?;
            names.push(OsStr::from_bytes(self.name(entry)));
            at = entry.parent;
            if names.len() > DEEPEST {
                return None;
            }
        }
        Some(names.iter().rev().collect())
    }

    /// Numbers the tree below the open folder `root`.
    pub fn walk(root: impl AsFd) -> io::Result<Self> {
        let top = Entry { parent: 0, name: 0, name_length: 0, children: 0, children_count: 0, file: 0 };
        let mut index = Self { entries: vec![top], names: Vec::new() };
        let mut folders = vec![true];
        let mut links = HashMap::new();
        let mut at = 0;
        while let Some(&is_folder) = folders.get(at as usize) {
            if is_folder {
                let path = index.path(at).ok_or(io::ErrorKind::InvalidData)?;
                let folder = open_folder(root.as_fd(), &path)?;
                index.add_children(at, &folder, &mut folders, &mut links)?;
            }
            at += 1;
        }
        index.entries.shrink_to_fit();
        index.names.shrink_to_fit();
        Ok(index)
    }

    fn add_children(
        &mut self,
        number: u32,
        folder: &OwnedFd,
        folders: &mut Vec<bool>,
        links: &mut HashMap<(u64, u64), u32>,
    ) -> io::Result<()> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        dirents::read(folder, 0, |entry| {
            if entry.name != b"." && entry.name != b".." {
                names.push(entry.name.into());
            }
            true
        })?;
        names.sort_unstable();
        let too_many = |_| io::Error::other("more files than an index holds");
        let first = u32::try_from(self.entries.len()).map_err(too_many)?;
        let count = u32::try_from(names.len()).map_err(too_many)?;
        if self.entries.len() + names.len() > limits::INDEX_FILES {
            return Err(io::Error::other("more files than an index holds"));
        }
        if let Some(entry) = self.entries.get_mut(number as usize) {
            (entry.children, entry.children_count) = (first, count);
        }
        for (own, name) in (first..).zip(names) {
            let stat = fstatat(folder, OsStr::from_bytes(&name), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_folder = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            #[expect(clippy::useless_conversion, reason = "the widths of these fields differ")]
            let identity = (u64::from(stat.st_dev), u64::from(stat.st_ino));
            let file =
                if is_folder || stat.st_nlink < 2 { own } else { *links.entry(identity).or_insert(own) };
            self.entries.push(Entry {
                parent: number,
                name: u32::try_from(self.names.len()).map_err(too_many)?,
                name_length: u32::try_from(name.len()).map_err(too_many)?,
                children: 0,
                children_count: 0,
                file,
            });
            self.names.extend_from_slice(&name);
            folders.push(is_folder);
        }
        Ok(())
    }

    /// Reads the index kept at `path`; `None` if it is not there, is another tree's, or is damaged.
    pub fn load(path: &Path, nonce: u64) -> Option<Self> {
        let bytes = fs_err::read(path).ok()?;
        let (magic, rest) = bytes.split_first_chunk()?;
        let (of, rest) = rest.split_first_chunk()?;
        let (sum, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let body = bytes.get(24..)?;
        if magic != MAGIC || u64::from_be_bytes(*of) != nonce || u64::from_be_bytes(*sum) != checksum(body) {
            return None;
        }
        let count = usize::try_from(u32::from_be_bytes(*count)).ok().filter(|n| *n <= limits::INDEX_FILES)?;
        let (entries, names) = rest.split_at_checked(count.checked_mul(WORDS * 4)?)?;
        let word = |chunk: &[u8], at: usize| {
            chunk.get(at * 4..).and_then(|c| c.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
        };
        let entry = |chunk: &[u8]| Entry {
            parent: word(chunk, 0),
            name: word(chunk, 1),
            name_length: word(chunk, 2),
            children: word(chunk, 3),
            children_count: word(chunk, 4),
            file: word(chunk, 5),
        };
        Some(Self { entries: entries.chunks_exact(WORDS * 4).map(entry).collect(), names: names.to_vec() })
    }

    /// Keeps the index at `path`; whole or not at all.
    pub fn save(&self, path: &Path, nonce: u64) -> io::Result<()> {
        let mut body = Vec::with_capacity(4 + self.entries.len() * WORDS * 4 + self.names.len());
        body.extend(u32::try_from(self.entries.len()).map_err(io::Error::other)?.to_be_bytes());
        for entry in &self.entries {
            let Entry { parent, name, name_length, children, children_count, file } = *entry;
            for word in [parent, name, name_length, children, children_count, file] {
                body.extend(word.to_be_bytes());
            }
        }
        body.extend_from_slice(&self.names);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(nonce.to_be_bytes());
        bytes.extend(checksum(&body).to_be_bytes());
        bytes.extend(body);
        sys::whole::put(path, 0o600, |file| file.write_all(&bytes))
    }
}

pub(super) fn open_folder(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(root, path, flags, Mode::empty())?)
}

/// Against damage, not against forgers: whoever can write beside the tree can write in it.
fn checksum(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::images::numbers_beside;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("3");
        for folder in ["etc/init.d", "usr/bin", "empty"] {
            std::fs::create_dir_all(root.join(folder)).expect("made");
        }
        for file in ["etc/passwd", "usr/bin/b", "usr/bin/a", "etc/init.d/ssh"] {
            std::fs::write(root.join(file), file).expect("written");
        }
        std::fs::hard_link(root.join("usr/bin/b"), root.join("etc/linked")).expect("linked");
        std::os::unix::fs::symlink("/", root.join("loop")).expect("linked");
        dir
    }

    fn walk(dir: &tempfile::TempDir) -> Index {
        Index::walk(std::fs::File::open(dir.path().join("3")).expect("opened")).expect("walked")
    }

    #[test]
    fn every_file_has_one_number_and_a_path() {
        let index = walk(&tree());
        assert_eq!(index.count(), 12);
        let find = |path: &str| path.split('/').try_fold(0, |at, name| index.child(at, name.as_bytes()));
        for path in ["etc", "etc/init.d/ssh", "usr/bin/a", "loop", "empty"] {
            let number = find(path).expect(path);
            assert_eq!(index.path(number), Some(PathBuf::from(path)));
        }
        assert_eq!(find("usr/bin/b"), find("etc/linked"), "two names of one file");
        assert_eq!(find("etc/nothing"), None);
        assert_eq!(find("loop/etc"), None, "links are not followed");
        assert_eq!(index.path(99), None);
        let etc = find("etc").expect("etc");
        let names: Vec<_> = index.list(etc, 1).map(|(name, _)| name.to_vec()).collect();
        assert_eq!(names, [b"linked".to_vec(), b"passwd".to_vec()]);
        assert_eq!((index.parent(etc), index.parent(0)), (Some(0), Some(0)));
    }

    #[test]
    fn kept_indexes_come_back_and_damaged_ones_do_not() {
        let dir = tree();
        let index = walk(&dir);
        let path = numbers_beside(&dir.path().join("3"));
        assert_eq!(path, dir.path().join(".3.handles"));
        index.save(&path, 42).expect("kept");
        assert_eq!(Index::load(&path, 42), Some(walk(&dir)), "a second walk gives the same numbers");
        assert_eq!(Index::load(&path, 43), None, "another tree's");
        let mut bytes = std::fs::read(&path).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(Index::load(&path, 42), None, "damaged");
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("written");
            assert_eq!(Index::load(&path, 42), None, "cut at {length}");
        }
    }
}

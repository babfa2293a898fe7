//! Which files of a tree were met before, and by which name.
//!
//! Of a version that shares its files with another one nearly every file has several names, so all of them are remembered
//! until the walk is over. A path for each would be more memory than a small router has; here a file takes some twenty
//! bytes and its name, and a folder its name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Where each file with several names was met first.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By inode.
    first: HashMap<u64, Name>,
    folders: Vec<Name>,
    /// All names, each closed by a zero.
    text: Vec<u8>,
}

/// A folder of the walk, as [`Links::folder`] counted it; [`None`] is the root.
pub(super) type Folder = Option<u32>;

#[derive(Clone, Copy, Debug)]
struct Name {
    folder: Folder,
    /// Where it begins in the text.
    at: u32,
}

impl Links {
    /// The folder `name` in `folder`.
    pub fn folder(&mut self, folder: Folder, name: &OsStr) -> Folder {
        let number = u32::try_from(self.folders.len()).ok();
        let name = self.name(folder, name);
        self.folders.extend(name);
        number
    }

    /// The path of the first name of `inode`; the first time, that is remembered to be `name` in `folder`.
    pub fn met(&mut self, inode: u64, folder: Folder, name: &OsStr) -> Option<PathBuf> {
        if let Some(first) = self.first.get(&inode) {
            return Some(self.path(*first));
        }
        let name = self.name(folder, name);
        self.first.extend(name.map(|name| (inode, name)));
        None
    }

    /// `None` when there are 4 GiB of names: no machine has the memory.
    fn name(&mut self, folder: Folder, name: &OsStr) -> Option<Name> {
        let at = u32::try_from(self.text.len()).ok()?;
        self.text.extend_from_slice(name.as_bytes());
        self.text.push(0);
        Some(Name { folder, at })
    }

    fn path(&self, name: Name) -> PathBuf {
        let mut names = Vec::new();
        let mut next = Some(name);
        while let Some(Name { folder, at }) = next {
            names.push(self.text(at));
            next = folder.and_then(|number| self.folders.get(number as usize).copied());
        }
        names.into_iter().rev().collect()
    }

    fn text(&self, at: u32) -> &OsStr {
        let rest = self.text.get(at as usize..).unwrap_or_default();
        OsStr::from_bytes(rest.split(|byte| *byte == 0).next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_told() {
        let mut links = Links::default();
        let name = OsStr::new;
        assert_eq!(links.met(7, None, name("top")), None);
        let usr = links.folder(None, name("usr"));
        let lib = links.folder(usr, name("lib"));
        let odd = OsStr::from_bytes(b"caf\xe9");
        assert_eq!(links.met(8, lib, odd), None);
        assert_eq!(links.met(9, usr, name("x")), None);
        assert_eq!(links.met(7, lib, name("again")), Some(PathBuf::from("top")));
        assert_eq!(links.met(8, None, name("again")), Some(PathBuf::from("usr/lib").join(odd)));
        assert_eq!(links.met(8, None, name("again")), Some(PathBuf::from("usr/lib").join(odd)));
        assert_eq!(links.met(9, None, name("again")), Some(PathBuf::from("usr/x")));
    }
}

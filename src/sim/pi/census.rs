//! What is in a tree, in few numbers: to compare what a client reads with what was imported.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Counts of a tree, and a digest over all names and contents that does not depend on the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub files: u64,
    pub folders: u64,
    pub links: u64,
    /// Devices, FIFOs, sockets.
    pub others: u64,
    pub bytes: u64,
    pub digest: u64,
}

/// The digest of one entry in the making. Not cryptographic: nobody forges a test.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Digest {
    /// `path` is relative to the tree's root, without a leading slash.
    pub fn new(kind: u8, path: &[u8]) -> Self {
        let mut digest = Self(0xcbf2_9ce4_8422_2325 ^ u64::from(kind));
        digest.add(path);
        digest
    }

    /// More content; any piece but the last must have a multiple of eight bytes.
    pub fn add(&mut self, content: &[u8]) {
        for chunk in content.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = mixed ^ (mixed >> 29);
        }
        self.0 = self.0.rotate_left(7) ^ content.len() as u64;
    }
}

impl Census {
    pub fn file(&mut self, digest: Digest, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        self.digest ^= digest.0;
    }

    pub fn folder(&mut self, path: &[u8]) {
        self.folders += 1;
        self.digest ^= Digest::new(b'd', path).0;
    }

    pub fn link(&mut self, path: &[u8], target: &[u8]) {
        self.links += 1;
        let mut digest = Digest::new(b'l', path);
        digest.add(target);
        self.digest ^= digest.0;
    }

    pub fn other(&mut self, path: &[u8]) {
        self.others += 1;
        self.digest ^= Digest::new(b'o', path).0;
    }

    /// Of a tree on this machine. Reads every file in pieces of `piece` bytes, as the client that is compared did.
    pub fn of(root: &Path, piece: usize) -> io::Result<Self> {
        let mut census = Self::default();
        census.descend(root, root, piece)?;
        Ok(census)
    }

    fn descend(&mut self, root: &Path, folder: &Path, piece: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).map_err(io::Error::other)?.as_os_str().as_bytes();
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                self.folder(name);
                self.descend(root, &path, piece)?;
            } else if kind.is_symlink() {
                self.link(name, fs::read_link(&path)?.as_os_str().as_bytes());
            } else if kind.is_file() {
                let content = fs::read(&path)?;
                let mut digest = Digest::new(b'f', name);
                content.chunks(piece.max(1)).for_each(|chunk| digest.add(chunk));
                self.file(digest, content.len() as u64);
            } else {
                self.other(name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), b"12345678abc").expect("written");
        fs::create_dir(at("sub")).expect("made");
        std::os::unix::fs::symlink("one", at("link")).expect("linked");
        let count = || Census::of(folder.path(), 8).expect("read");
        let whole = count();
        assert_eq!((whole.files, whole.folders, whole.links, whole.bytes), (1, 1, 1, 11));
        fs::write(at("one"), b"12345678abd").expect("written");
        assert_ne!(count(), whole, "a byte");
        fs::write(at("one"), b"12345678abc").expect("written");
        assert_eq!(count(), whole);
        fs::rename(at("one"), at("two")).expect("renamed");
        assert_ne!(count().digest, whole.digest, "a name");
    }
}

//! The checksum of an exported tree: what its entries mean, in the order in which they stand in the archive.
//!
//! Whoever writes the archive and whoever reads it feed it the same values, each from its own side: so it shows damage, and
//! also that the reader understood every header as it was meant.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::archive::Kind;
use super::plant::{Meta, Node};
use crate::proto::manifest::Tail;
use crate::types::hex;

/// The sum so far, and what it is of.
#[derive(Clone, Debug, Default)]
pub struct TreeDigest {
    sum: Sha256,
    entries: u64,
    bytes: u64,
}

impl TreeDigest {
    /// One entry. The content of a file follows by [`TreeDigest::content`]: as much as its pieces say.
    pub fn entry(&mut self, path: &Path, kind: &Kind, meta: &Meta) {
        self.entries += 1;
        self.text(path.as_os_str().as_bytes());
        for number in [meta.mode, meta.uid, meta.gid] {
            self.sum.update(number.to_le_bytes());
        }
        for number in [meta.mtime.0, meta.mtime.1] {
            self.sum.update(number.to_le_bytes());
        }
        let mut xattrs: Vec<_> = meta.xattrs.iter().collect();
        xattrs.sort();
        self.number(xattrs.len() as u64);
        for (name, value) in xattrs {
            self.text(name.as_bytes());
            self.text(value);
        }
        match kind {
            Kind::Folder => self.sum.update(b"d"),
            Kind::File { size, pieces } => {
                self.sum.update(b"f");
                self.number(*size);
                // An empty piece says nothing; formats differ in whether they write it.
                let full = || pieces.iter().filter(|(_, len)| *len > 0);
                self.number(full().count() as u64);
                for (offset, len) in full() {
                    self.number(*offset);
                    self.number(*len);
                }
            }
            Kind::Symlink(target) => {
                self.sum.update(b"l");
                self.text(target.as_bytes());
            }
            Kind::HardLink(target) => {
                self.sum.update(b"h");
                self.text(target.as_os_str().as_bytes());
            }
            Kind::Node(node) => {
                let (kind, major, minor) = match *node {
                    Node::Fifo => (b"p", 0, 0),
                    Node::Socket => (b"s", 0, 0),
                    Node::Char(major, minor) => (b"c", major, minor),
                    Node::Block(major, minor) => (b"b", major, minor),
                };
                self.sum.update(kind);
                self.number(u64::from(major));
                self.number(u64::from(minor));
            }
        }
    }

    /// Part of the content of the last entry.
    pub fn content(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sum.update(bytes);
    }

    /// What the last entry of the archive says.
    pub fn tail(self) -> Tail {
        let Self { sum, entries, bytes } = self;
        Tail { entries, bytes, sha256: hex(&sum.finalize()) }
    }

    fn number(&mut self, number: u64) {
        self.sum.update(number.to_le_bytes());
    }

    /// With its length, so that no two lists of texts look alike.
    fn text(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.sum.update(bytes);
    }
}

//! File handles: which file of which tree, signed, so that a client can only give back what it was given.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version of this layout |
//! | 1 | [`Space`]: what kind of tree |
//! | 2 | [`Way`]: how the rest leads to the file |
//! | 3 | type number of a kernel handle |
//! | 4–7 | number of the tree, never used twice |
//! | 8–15 | nonce of the tree: its number alone could be guessed, and could come again with a lost database |
//! | 16– | at most 32 bytes that lead to the file |
//! | last 8 | SipHash-2-4 of all before, with a key that stays in the store |
//!
//! Nothing in it depends on this run of the daemon: a handle outlives restarts and upgrades. A forger has to ask us about each
//! guess of 64 bits.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::proto::nfs3::Handle;
use crate::sys::handle::{FileHandle, LONGEST};

const LAYOUT: u8 = 1;
const HEAD: usize = 16;
const SEAL: usize = 8;

/// What kind of tree a handle belongs to; numbers of trees are counted in each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Space {
    /// A published version of an image.
    Image = 1,
    /// An account's home.
    Home = 2,
    /// A shared folder.
    Share = 3,
    /// The draft of an image.
    Draft = 4,
}

impl Space {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Image, Self::Home, Self::Share, Self::Draft].into_iter().find(|space| *space as u8 == number)
    }
}

/// How a handle leads to its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel's own handle (`name_to_handle_at`).
    Kernel(FileHandle),
    /// Number in our own index of the tree.
    Indexed(u32),
    /// Inode of a tree that changes, and when it was made, in nanoseconds: inode numbers are used again.
    Inode { inode: u64, born: u64 },
    /// A file of ours below `/.bramble`.
    Virtual(VirtualFile),
}

/// Files that every tree seems to hold and none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualFile {
    /// `/.bramble` itself.
    Folder,
    /// The agent program. The stamp tells one build from another, so that a client never gets pages of two.
    Agent { stamp: u64 },
    /// What the agent is told about its client.
    Personality,
    /// The tree in one file; the stamp tells one packing from another.
    Packed { stamp: u64 },
}

/// A handle's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub space: Space,
    pub tree: u32,
    pub nonce: u64,
    pub way: Way,
}

/// The bytes are no handle of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

/// Signs handles and knows its own signature again.
#[derive(Debug)]
pub struct Sealer {
    keyed: SipHasher24,
}

impl Sealer {
    pub fn new(key: &[u8; 16]) -> Self {
        Self { keyed: SipHasher24::new_with_key(key) }
    }

    fn sign(&self, bytes: &[u8]) -> [u8; SEAL] {
        let mut hasher = self.keyed;
        hasher.write(bytes);
        hasher.finish().to_be_bytes()
    }

    /// The handle as it travels.
    pub fn seal(&self, token: &Token) -> Handle {
        let mut handle = Handle::new();
        let (way, kind) = match &token.way {
            Way::Kernel(file) => (1, file.kind),
            Way::Indexed(_) => (2, 0),
            Way::Virtual(_) => (3, 0),
            Way::Inode { .. } => (4, 0),
        };
        put(&mut handle, &[LAYOUT, token.space as u8, way, kind]);
        put(&mut handle, &token.tree.to_be_bytes());
        put(&mut handle, &token.nonce.to_be_bytes());
        match &token.way {
            Way::Kernel(file) => put(&mut handle, &file.bytes),
            Way::Indexed(number) => put(&mut handle, &number.to_be_bytes()),
            Way::Inode { inode, born } => {
                put(&mut handle, &inode.to_be_bytes());
                put(&mut handle, &born.to_be_bytes());
            }
            Way::Virtual(VirtualFile::Folder) => put(&mut handle, &[0]),
            Way::Virtual(VirtualFile::Personality) => put(&mut handle, &[1]),
            Way::Virtual(VirtualFile::Agent { stamp }) => {
                put(&mut handle, &[2]);
                put(&mut handle, &stamp.to_be_bytes());
            }
            Way::Virtual(VirtualFile::Packed { stamp }) => {
                put(&mut handle, &[3]);
                put(&mut handle, &stamp.to_be_bytes());
            }
        }
        let seal = self.sign(&handle);
        put(&mut handle, &seal);
        handle
    }

    /// What `handle` means, if it is one of ours.
    pub fn open(&self, handle: &[u8]) -> Result<Token, Forged> {
        let (signed, seal) = handle.split_last_chunk::<SEAL>().ok_or(Forged)?;
        if self.sign(signed) != *seal {
            return Err(Forged);
        }
        let (head, rest) = signed.split_first_chunk::<HEAD>().ok_or(Forged)?;
        let [LAYOUT, space, way, kind, a, b, c, d, nonce @ ..] = *head else { return Err(Forged) };
        let space = Space::from_number(space).ok_or(Forged)?;
        let way = match (way, rest) {
            (1, bytes) => {
                let bytes = heapless::Vec::from_slice(bytes).map_err(|_| Forged)?;
                Way::Kernel(FileHandle { kind, bytes })
            }
            (2, bytes) => Way::Indexed(u32::from_be_bytes(bytes.try_into().map_err(|_| Forged)?)),
            (3, [0]) => Way::Virtual(VirtualFile::Folder),
            (3, [1]) => Way::Virtual(VirtualFile::Personality),
            (3, [2, stamp @ ..]) => {
                let stamp = u64::from_be_bytes(stamp.try_into().map_err(|_| Forged)?);
                Way::Virtual(VirtualFile::Agent { stamp })
            }
            (3, [3, stamp @ ..]) => {
                let stamp = u64::from_be_bytes(stamp.try_into().map_err(|_| Forged)?);
                Way::Virtual(VirtualFile::Packed { stamp })
            }
            (4, [inode @ .., a, b, c, d, e, f, g, h]) => {
                let inode = u64::from_be_bytes(inode.try_into().map_err(|_| Forged)?);
                Way::Inode { inode, born: u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) }
            }
            _ => return Err(Forged),
        };
        let (tree, nonce) = (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(nonce));
        Ok(Token { space, tree, nonce, way })
    }
}

fn put(handle: &mut Handle, bytes: &[u8]) {
    const { assert!(HEAD + LONGEST + SEAL <= crate::types::limits::NFS_HANDLE) };
    handle.extend_from_slice(bytes).expect("head, the longest way and the seal fit 64 bytes");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ways() -> impl Strategy<Value = Way> {
        prop_oneof![
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..=LONGEST)).prop_map(|(kind, bytes)| {
                Way::Kernel(FileHandle { kind, bytes: heapless::Vec::from_slice(&bytes).unwrap() })
            }),
            any::<u32>().prop_map(Way::Indexed),
            any::<(u64, u64)>().prop_map(|(inode, born)| Way::Inode { inode, born }),
            Just(Way::Virtual(VirtualFile::Folder)),
            Just(Way::Virtual(VirtualFile::Personality)),
            any::<u64>().prop_map(|stamp| Way::Virtual(VirtualFile::Agent { stamp })),
            any::<u64>().prop_map(|stamp| Way::Virtual(VirtualFile::Packed { stamp })),
        ]
    }

    proptest! {
        /// A handle comes back as it was given; with any bit changed, or under another key, it is nobody's.
        #[test]
        fn handles_are_read_back_and_not_forged(
            space in 1u8..=3, tree: u32, nonce: u64, way in ways(), key: [u8; 16], flip in 0usize..512,
        ) {
            let space = Space::from_number(space).expect("one of three");
            let token = Token { space, tree, nonce, way };
            let sealer = Sealer::new(&key);
            let handle = sealer.seal(&token);
            prop_assert_eq!(sealer.open(&handle), Ok(token));
            let mut forged = handle.clone();
            let flip = flip % (forged.len() * 8);
            forged[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(sealer.open(&forged), Err(Forged));
            prop_assert_eq!(sealer.open(&handle[..handle.len() - 1]), Err(Forged));
            let mut other = key;
            other[0] ^= 1;
            prop_assert_eq!(Sealer::new(&other).open(&handle), Err(Forged));
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Sealer::new(&[0; 16]).open(&bytes);
        }
    }

    /// The layout is a promise to Pis that run while the daemon is upgraded.
    #[test]
    fn the_layout_does_not_change() {
        let bytes = heapless::Vec::from_slice(&[0x11, 0, 0, 0, 0x22, 0, 0, 0]).expect("eight bytes");
        let way = Way::Kernel(FileHandle { kind: 1, bytes });
        let token = Token { space: Space::Image, tree: 7, nonce: 0x0102_0304_0506_0708, way };
        let handle = Sealer::new(b"sixteen byte key").seal(&token);
        assert_eq!(
            handle[..24],
            *b"\x01\x01\x01\x01\0\0\0\x07\x01\x02\x03\x04\x05\x06\x07\x08\x11\0\0\0\x22\0\0\0"
        );
        assert_eq!(handle[24..], 0xd8d3_8c7a_3ad2_f532_u64.to_be_bytes());
    }
}

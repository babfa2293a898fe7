//! Files below `/.bramble` that every tree seems to hold: the agent program, what it is told about its client, and the tree
//! itself in one file if it is packed.
//!
//! `.bramble` is found by LOOKUP in the root and listed nowhere, so that a walk of the tree sees exactly the original.

use std::fmt;
use std::hash::Hasher;
use std::path::PathBuf;

use siphasher::sip::SipHasher13;

use super::agents::{Agent, Agents};
use super::packs::{Pack, Packs};
use crate::proto::nfs3::{Attributes, FileType, Time};
use crate::service::clients::Seat;
use crate::service::images::Tree;

/// The folder's name in the root.
pub const FOLDER: &[u8] = b".bramble";
pub const AGENT: &[u8] = b"agent";
pub const PERSONALITY: &[u8] = b"personality.json";
pub const PACKED: &[u8] = b"image.squashfs";

/// Makes `/.bramble/personality.json` for a client that boots a tree.
pub type Personality = Box<dyn Fn(&Seat, &Tree) -> Vec<u8> + Send + Sync>;

/// Where the virtual files come from.
pub struct Sources {
    /// Folder with `agent-armhf`, `agent-arm64` and `agent-amd64`, or these with `.xz`.
    pub agents: PathBuf,
    /// Folder where builds that clients were given are kept.
    pub kept: PathBuf,
    pub personality: Personality,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// The virtual files, opened when first asked for.
pub struct Virtuals {
    pub agents: Agents,
    pub packs: Packs,
    personality: Personality,
}

impl fmt::Debug for Virtuals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Virtuals").field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// Inode numbers where no file system hands out its first ones, and small enough for programs of 32 bits.
const FIRST_ID: u64 = 0xffff_fff0;

impl Virtuals {
    pub fn new(sources: Sources) -> Self {
        let Sources { agents, kept, personality } = sources;
        Self { agents: Agents::new(agents, kept), packs: Packs::default(), personality }
    }

    pub fn personality(&self, seat: &Seat, tree: &Tree) -> Vec<u8> {
        (self.personality)(seat, tree)
    }
}

impl Agent {
    pub fn attributes(&self, tree: &Tree) -> Attributes {
        Attributes {
            kind: FileType::Regular,
            mode: 0o755,
            size: self.size,
            used: self.size,
            id: FIRST_ID + 1,
            modified: self.modified,
            changed: self.modified,
            ..folder_attributes(tree)
        }
    }
}

impl Pack {
    /// For nobody but root, who reads it for everybody: what is in it has owners and modes of its own.
    pub fn attributes(&self, tree: &Tree) -> Attributes {
        Attributes {
            kind: FileType::Regular,
            mode: 0o400,
            links: 1,
            size: self.size,
            used: self.size,
            id: FIRST_ID + 3,
            modified: self.modified,
            changed: self.modified,
            ..folder_attributes(tree)
        }
    }
}

pub fn folder_attributes(tree: &Tree) -> Attributes {
    Attributes {
        kind: FileType::Directory,
        mode: 0o755,
        links: 2,
        uid: 0,
        gid: 0,
        size: 4096,
        used: 4096,
        device: (0, 0),
        filesystem: tree.nonce,
        id: FIRST_ID,
        accessed: Time::default(),
        modified: Time::default(),
        changed: Time::default(),
    }
}

/// The times are made of the content, so that a client notices a change without our keeping a clock.
pub fn personality_attributes(tree: &Tree, content: &[u8]) -> Attributes {
    let mut hasher = SipHasher13::new();
    hasher.write(content);
    let hash = hasher.finish();
    let secs = u32::try_from(hash >> 33).unwrap_or(0);
    let changed = Time { secs, nanos: u32::try_from(hash % 1_000_000_000).unwrap_or(0) };
    let size = u64::try_from(content.len()).unwrap_or(0);
    Attributes {
        kind: FileType::Regular,
        mode: 0o400,
        links: 1,
        size,
        used: size,
        id: FIRST_ID + 2,
        modified: changed,
        changed,
        ..folder_attributes(tree)
    }
}

//! Every number a stranger on the network could otherwise make grow, and why it has its value.
//!
//! Nothing else in the crate may allocate from a length it read off the wire without naming one of these.

/// Longest host name, in bytes: one DNS label (RFC 1035 §2.3.4).
pub const HOST_NAME: usize = 63;

/// Longest name of an image, in bytes: the kernel copies `nfsroot=` into 256 bytes, and the path must fit beside
/// its options.
pub const IMAGE_NAME: usize = 32;

/// Longest name of a room, in bytes: a UCI section name that still fits a table of 80 columns.
pub const ROOM_NAME: usize = 32;

/// How much of a bad name a message repeats, in characters: enough to recognise it, too little to flood a log.
pub const NAME_SHOWN: usize = 80;

/// Clients remembered without having been adopted: four rooms of a hundred Pis; the oldest go first.
pub const CLIENTS_SEEN: usize = 400;

/// Events kept per client in memory: one boot (about 60 TFTP requests, folded) and the one before it.
pub const TIMELINE: usize = 96;

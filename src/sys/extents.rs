//! Where a file lies on its disk, and holes in files (fiemap, fallocate(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use nix::fcntl::{FallocateFlags, fallocate};

/// A piece of a file in one place of its disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// From the beginning of the file system.
    pub start: u64,
    pub len: u64,
}

const FIEMAP: libc::c_ulong = 0xc020_660b;
const LAST: u32 = 1;
/// Flags of a piece that is not simply where it says: unknown, not yet given a place, encoded, not aligned, inside an inode,
/// packed with others, or shared with another file.
const ODD: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000;

/// `struct fiemap_extent` of linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Found {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// Pieces asked for at once.
const AT_ONCE: usize = 32;

/// `struct fiemap` of linux/fiemap.h, with room for pieces.
#[repr(C)]
struct Map {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    found: [Found; AT_ONCE],
}

/// The pieces of `file` that are its own and lie where they say.
pub fn extents(file: &File) -> io::Result<Vec<Extent>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    loop {
        let mut map = Map {
            start: from,
            length: u64::MAX - from,
            flags: 0,
            mapped: 0,
            count: u32::try_from(AT_ONCE).unwrap_or(0),
            reserved: 0,
            found: [Found::default(); AT_ONCE],
        };
        ask(file, &mut map)?;
        let found = map.found.get(..usize::try_from(map.mapped).unwrap_or(0)).unwrap_or_default();
        let Some(last) = found.last() else { return Ok(pieces) };
        let own = found.iter().filter(|piece| piece.flags & ODD == 0);
        pieces.extend(own.map(|piece| Extent { start: piece.physical, len: piece.length }));
        from = last.logical.saturating_add(last.length);
        if last.flags & LAST != 0 {
            return Ok(pieces);
        }
    }
}

#[expect(unsafe_code, reason = "this question is an ioctl only")]
fn ask(file: &File, map: &mut Map) -> io::Result<()> {
    // SAFETY: the kernel reads and writes one `fiemap` with room for `count` pieces, which is what `map` is.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP as libc::Ioctl, std::ptr::from_mut(map)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives `len` bytes of `file` from `start` on back to its file system; they read as zeros from now on.
pub fn punch(file: &File, start: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let signed = |value: u64| libc::off_t::try_from(value).map_err(io::Error::other);
    Ok(fallocate(file, flags, signed(start)?, signed(len)?)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_hole_gives_room_back() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&vec![7; 1 << 20], 0).expect("written");
        file.sync_all().expect("on the disk");
        let before = file.metadata().expect("known").blocks();
        // A file system without holes or without this question says so.
        if punch(&file, 0, 1 << 19).is_ok() {
            assert!(file.metadata().expect("known").blocks() < before);
            let mut half = [1; 2];
            file.read_exact_at(&mut half, (1 << 19) - 1).expect("read");
            assert_eq!(half, [0, 7]);
        }
        if let Ok(pieces) = extents(&file) {
            assert!(pieces.iter().map(|piece| piece.len).sum::<u64>() <= 1 << 20);
        }
    }
}

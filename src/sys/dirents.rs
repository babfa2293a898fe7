//! Folders, entry by entry, with the position behind each: what a stateless reader needs to go on later.
//!
//! Source: getdents64(2), lseek(2) on folders. The standard library's iterator hides the positions.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// One entry as the kernel returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub inode: u64,
    /// Where reading goes on behind this entry; only the file system knows what it means.
    pub next: u64,
    pub name: &'a [u8],
}

/// Room for some hundred entries.
const BUFFER: usize = 16 * 1024;

/// Calls `each` for the entries of the open folder `fd` from `position` on (0: the first), until it returns `false`
/// or there are no more. Whether there are no more is the result.
pub fn read(fd: impl AsFd, position: u64, mut each: impl FnMut(Entry<'_>) -> bool) -> io::Result<bool> {
    let fd = fd.as_fd();
    seek(fd, position)?;
    let mut buffer = vec![0u8; BUFFER];
    loop {
        let filled = fill(fd, &mut buffer)?;
        let mut rest = buffer.get(..filled).unwrap_or_default();
        if rest.is_empty() {
            return Ok(true);
        }
        while let Some((entry, behind)) = split(rest) {
            if !each(entry) {
                return Ok(false);
            }
            rest = behind;
        }
    }
}

/// `struct linux_dirent64`: inode, position, length of the record, type, name with a NUL behind it.
fn split(records: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (inode, rest) = records.split_first_chunk()?;
    let (next, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (record, behind) = records.split_at_checked(u16::from_ne_bytes(*length).into())?;
    let name = rest.get(1..record.len().checked_sub(18)?)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some((Entry { inode: u64::from_ne_bytes(*inode), next: u64::from_ne_bytes(*next), name }, behind))
}

#[expect(unsafe_code, reason = "lseek with 64-bit positions on 32-bit systems")]
fn seek(fd: impl AsFd, position: u64) -> io::Result<()> {
    let position = libc::off64_t::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: only numbers are passed.
    let at = unsafe { libc::lseek64(fd.as_fd().as_raw_fd(), position, libc::SEEK_SET) };
    if at < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "nix hides the positions too")]
fn fill(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`, which is borrowed for the call.
    let filled = unsafe {
        libc::syscall(libc::SYS_getdents64, fd.as_fd().as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    };
    usize::try_from(filled).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;

    use super::*;

    #[test]
    fn reading_goes_on_behind_any_entry() {
        let dir = tempfile::tempdir().expect("a folder");
        let names: BTreeSet<Vec<u8>> = (0..1000).map(|n| format!("file-{n}").into_bytes()).collect();
        for name in &names {
            File::create(dir.path().join(str::from_utf8(name).expect("ASCII"))).expect("made");
        }
        let folder = File::open(dir.path()).expect("opened");
        let (mut got, mut position, mut end) = (Vec::new(), 0, false);
        while !end {
            let mut left = 7;
            end = read(&folder, position, |entry| {
                left -= 1;
                if left >= 0 {
                    got.push(entry.name.to_vec());
                    position = entry.next;
                }
                left > 0
            })
            .expect("read");
        }
        assert_eq!(got.len(), 1002, "with . and ..");
        let all: BTreeSet<Vec<u8>> = got.into_iter().filter(|name| name.len() > 2).collect();
        assert_eq!(all, names);
    }
}

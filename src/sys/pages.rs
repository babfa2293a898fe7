//! Sending a file from the page cache, and asking first whether it is there.
//!
//! Sources: sendfile(2), cachestat(2) (Linux 6.5), preadv2(2) with `RWF_NOWAIT`. A thread that serves many clients must not
//! touch a page that is still on the disk, so it asks first; the answer may be outdated a moment later, which costs one
//! wait and no more.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Page size the kernel counts in; where pages are larger, the questions below are asked more often than needed.
const PAGE: u64 = 4096;

/// Distance of the probes where cachestat(2) is missing, in bytes: the kernel reads ahead in larger pieces.
const PROBE: u64 = 16 * 1024;

/// New system calls have one number on all architectures; MIPS adds the base of its ABI.
const SYS_CACHESTAT: libc::c_long = if cfg!(target_arch = "mips") {
    4451
} else if cfg!(target_arch = "mips64") {
    5451
} else {
    451
};

/// Whether `length` bytes at `offset` (all inside the file) can be sent without waiting for the disk.
pub fn are_cached(file: impl AsFd, offset: u64, length: u64) -> bool {
    let file = file.as_fd();
    let Some(last) = length.checked_sub(1).map(|more| offset.saturating_add(more)) else { return true };
    // A page under way from the disk counts as cached for cachestat, but cannot be read yet. Reads are answered in
    // order, so when the last page is ready the others are.
    let ready = match read_now(file, &mut [0], last) {
        Ok(read) => read == 1,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => false,
        Err(_) => return false,
    };
    let first_page = offset / PAGE * PAGE;
    let pages = last / PAGE - offset / PAGE + 1;
    match cached_pages(file, first_page, pages * PAGE) {
        Some(cached) if cached >= pages => true,
        // The pages are another file's (overlayfs has its own inode without any), or the kernel is older.
        Some(0) | None if ready => {
            let mut at = offset;
            while at < last {
                if !matches!(read_now(file, &mut [0], at), Ok(1)) {
                    return false;
                }
                at = at.saturating_add(PROBE);
            }
            true
        }
        _ => false,
    }
}

/// Pages of the range that are in the cache; `None` where the kernel does not tell.
#[expect(unsafe_code, reason = "cachestat(2) is newer than the crates in use")]
fn cached_pages(file: impl AsFd, offset: u64, length: u64) -> Option<u64> {
    let range = [offset, length];
    // nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted
    let mut stat = [0u64; 5];
    // SAFETY: `range` and `stat` have the layout of `struct cachestat_range` and `struct cachestat` (two and five
    // unsigned 64-bit numbers), and outlive the call.
    let done = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_fd().as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0u32)
    };
    (done == 0).then(|| stat.first().copied().unwrap_or(0))
}

/// Reads what is in memory; an error of the kind `WouldBlock` if the disk would have to be asked.
#[expect(unsafe_code, reason = "nix does not offer preadv2")]
pub fn read_now(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // The position is passed in two halves. Where a register holds all of it, the second is shifted out.
    let low = libc::c_ulong::try_from(offset & u64::from(u32::MAX)).unwrap_or(0);
    let high = libc::c_ulong::try_from(offset >> 32).unwrap_or(0);
    let low = if size_of::<libc::c_ulong>() == 8 { low | high << 16 << 16 } else { low };
    // SAFETY: `part` describes `buffer`, which is borrowed for the length of the call.
    let read = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            file.as_fd().as_raw_fd(),
            &raw const part,
            1,
            low,
            high,
            libc::RWF_NOWAIT,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Fills `buffer` from `offset` on; less only at the end of the file. May wait for the disk.
pub fn read_all(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match read_at(file.as_fd(), rest, at) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[expect(unsafe_code, reason = "nix offers pread without 64-bit offsets on 32-bit systems")]
fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let offset = libc::off64_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`, which is borrowed for the call.
    let read =
        unsafe { libc::pread64(file.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), offset) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes `data` at `offset`; how much of it was written, unless that is nothing. May wait for the disk.
pub fn write_all(file: impl AsFd, data: &[u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match write_at(file.as_fd(), rest, at) {
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

#[expect(unsafe_code, reason = "nix offers pwrite without 64-bit offsets on 32-bit systems")]
fn write_at(file: impl AsFd, data: &[u8], offset: u64) -> io::Result<usize> {
    let offset = libc::off64_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: the kernel reads at most `data.len()` bytes from `data`, which is borrowed for the call.
    let written =
        unsafe { libc::pwrite64(file.as_fd().as_raw_fd(), data.as_ptr().cast(), data.len(), offset) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Makes the file `length` bytes long.
#[expect(unsafe_code, reason = "nix offers ftruncate without 64-bit lengths on 32-bit systems")]
pub fn set_length(file: impl AsFd, length: u64) -> io::Result<()> {
    let length = libc::off64_t::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: only numbers are passed.
    let done = unsafe { libc::ftruncate64(file.as_fd().as_raw_fd(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends up to `count` bytes at `offset` from `file` to `socket`; 0 at the end of the file.
#[expect(unsafe_code, reason = "nix offers sendfile without 64-bit offsets on 32-bit systems")]
pub fn send_file(socket: impl AsFd, file: impl AsFd, offset: u64, count: usize) -> io::Result<usize> {
    let mut offset = libc::off64_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: both descriptors are borrowed for the length of the call, and `offset` outlives it.
    let sent = unsafe {
        libc::sendfile64(socket.as_fd().as_raw_fd(), file.as_fd().as_raw_fd(), &raw mut offset, count)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends from memory without waiting. `more`: further data follows at once, so a packet that is not full may wait for it.
#[expect(unsafe_code, reason = "nix does not offer MSG_MORE")]
pub fn send(socket: impl AsFd, data: &[u8], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: `data` is borrowed for the length of the call.
    let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), data.as_ptr().cast(), data.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_file_just_written_is_cached_and_sent() {
        let mut file = tempfile::tempfile().expect("a file");
        let content: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        file.write_all(&content).expect("written");
        assert!(are_cached(&file, 0, 200_000));
        assert!(are_cached(&file, 199_999, 1));
        assert!(are_cached(&file, 77, 0));
        let mut ten = [0; 10];
        match read_now(&file, &mut ten, 256) {
            Ok(read) => assert_eq!((read, &ten), (10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
        }
        let (mut to, from) = UnixStream::pair().expect("a pair");
        assert_eq!(send(&from, b"head", true).expect("sent"), 4);
        assert_eq!(send_file(&from, &file, 250, 10).expect("sent"), 10);
        assert_eq!(send_file(&from, &file, 200_000, 10).expect("sent"), 0, "the end");
        let mut got = [0; 14];
        to.read_exact(&mut got).expect("received");
        assert_eq!(got, *b"head\xfa\xfb\xfc\xfd\xfe\xff\0\x01\x02\x03");
    }

    #[test]
    fn a_file_dropped_from_the_cache_is_not_cached() {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("a file on a disk");
        file.write_all(&vec![1; 200_000]).expect("written");
        file.sync_all().expect("on the disk");
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("advice taken");
        if are_cached(&file, 0, 1) {
            // A file system in memory has nowhere to drop it to.
            let magic = nix::sys::statfs::fstatfs(&file).expect("asked").filesystem_type();
            return assert_eq!(magic, nix::sys::statfs::TMPFS_MAGIC);
        }
        assert!(!are_cached(&file, 0, 200_000));
        let mut last = [0];
        file.read_exact_at(&mut last, 199_999).expect("read");
        assert!(are_cached(&file, 199_999, 1));
        assert!(!are_cached(&file, 0, 200_000), "the end alone is not all");
    }

    #[test]
    fn offsets_beyond_four_gigabytes() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"far away", 5 << 32).expect("written");
        let mut far = [0; 8];
        match read_now(&file, &mut far, 5 << 32) {
            Ok(read) => assert_eq!((read, &far), (8, b"far away")),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
        }
    }
}

//! When a file was made: what tells it from a later one with the same inode number.
//!
//! Source: statx(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::stat::fstat;

/// An inode's number, and the moment it was made in nanoseconds since 1970; 0 where the file system does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    pub inode: u64,
    pub born: u64,
}

/// Of the open file; a path descriptor is enough.
#[expect(unsafe_code, reason = "nix does not offer statx")]
pub fn of(file: impl AsFd) -> io::Result<Birth> {
    // SAFETY: `struct statx` is made of numbers, for all of which zero is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is an empty C string, and `found` outlives the call.
    let done = unsafe {
        libc::statx(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_INO | libc::STATX_BTIME,
            &raw mut found,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let secs = u64::try_from(found.stx_btime.tv_sec).unwrap_or(0);
    let born = secs.wrapping_mul(1_000_000_000).wrapping_add(found.stx_btime.tv_nsec.into());
    Ok(Birth { inode: found.stx_ino, born: if found.stx_mask & libc::STATX_BTIME == 0 { 0 } else { born } })
}

/// By the clock that file systems take their times from, in whole seconds since 1970.
pub fn now_secs() -> i64 {
    use nix::time::{ClockId, clock_gettime};
    #[expect(clippy::useless_conversion, reason = "the width of time_t differs")]
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(0, |now| i64::from(now.tv_sec()))
}

pub fn is_folder(file: impl AsFd) -> io::Result<bool> {
    Ok(fstat(file)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_birth_under_another_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        std::fs::write(&path, "text").expect("written");
        let open = |path| of(std::fs::File::open(path).expect("opened")).expect("known");
        let before = open(path.clone());
        std::fs::write(&path, "longer text").expect("written");
        std::fs::rename(&path, dir.path().join("other")).expect("renamed");
        assert_eq!(open(dir.path().join("other")), before);
        assert!(!is_folder(std::fs::File::open(dir.path().join("other")).expect("opened")).expect("known"));
        assert!(is_folder(std::fs::File::open(dir.path()).expect("opened")).expect("known"));
    }
}

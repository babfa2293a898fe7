//! Changing a file that is held by a path descriptor (`O_PATH`), which itself can be neither read nor changed.
//!
//! Source: proc(5), `/proc/self/fd`: the link of a descriptor leads to the file itself, whatever its name is now.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::linkat;

type Link = heapless::String<32>;

fn link(fd: impl AsFd) -> Link {
    let mut link = Link::new();
    write!(link, "/proc/self/fd/{}", fd.as_fd().as_raw_fd()).expect("a descriptor has at most ten digits");
    link
}

/// Opens the file in earnest. Never waits for the other end of a FIFO.
pub fn reopen(fd: impl AsFd, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(open(link(fd).as_str(), flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())?)
}

pub fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    let mode = Mode::from_bits_truncate(mode);
    Ok(fchmodat(AT_FDCWD, link(fd).as_str(), mode, FchmodatFlags::FollowSymlink)?)
}

/// Gives the file one more name.
pub fn add_name(fd: impl AsFd, folder: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(linkat(AT_FDCWD, link(fd).as_str(), folder, name, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// What a time of a file becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Keep,
    Now,
    At { secs: i64, nanos: u32 },
}

/// Sets when the file was read and written last.
#[expect(unsafe_code, reason = "nix has no way to say `now` or `keep`")]
pub fn set_times(fd: impl AsFd, accessed: To, modified: To) -> io::Result<()> {
    let path = std::ffi::CString::new(link(fd).as_str()).map_err(io::Error::other)?;
    let times = [spec(accessed)?, spec(modified)?];
    // SAFETY: `path` is a C string and `times` two times, and both outlive the call.
    let done = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "the structure has private padding on some architectures")]
#[expect(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "widths differ")]
fn spec(to: To) -> io::Result<libc::timespec> {
    // SAFETY: `struct timespec` is made of numbers, for all of which zero is a value.
    let mut spec: libc::timespec = unsafe { std::mem::zeroed() };
    match to {
        To::Keep => spec.tv_nsec = libc::UTIME_OMIT,
        To::Now => spec.tv_nsec = libc::UTIME_NOW,
        To::At { secs, nanos } => {
            // Where the kernel's seconds end in 2038, a later file is of that day.
            spec.tv_sec = secs.try_into().unwrap_or(libc::time_t::MAX);
            spec.tv_nsec = nanos.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        }
    }
    Ok(spec)
}

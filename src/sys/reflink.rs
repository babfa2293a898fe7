//! Two files that share their data until one of them is written: `FICLONE` (ioctl_ficlone(2)), on btrfs, XFS, bcachefs.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Makes the empty file `to` share all data of `from`. An error where the file system cannot, or the two are not on the
/// same one: nothing has changed then.
#[expect(unsafe_code, reason = "nix has no wrapper for this ioctl")]
pub fn share(from: &File, to: &File) -> io::Result<()> {
    let request = nix::request_code_write!(0x94, 9, size_of::<libc::c_int>());
    // SAFETY: the kernel takes two descriptors, which are open for the time of the call, and no pointer.
    let done = unsafe { libc::ioctl(to.as_raw_fd(), request as libc::Ioctl, from.as_raw_fd()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

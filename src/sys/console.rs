//! The text console's own switches that no crate offers: dark and light again, and whether it is text at all
//! (ioctl_console(2), `TIOCLINUX` and `KDGETMODE`).
#![expect(unsafe_code, reason = "ioctls whose argument the kernel reads or writes")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Subcodes of `TIOCLINUX`.
const UNBLANK: u8 = 4;
const BLANK: u8 = 14;

/// `KDGETMODE`, and its answer while programs draw pictures (linux/kd.h).
const GET_MODE: libc::Ioctl = 0x4b3b;
const GRAPHICS: libc::c_int = 1;

/// Makes the console that is seen dark, or shows it again. `console` is any virtual console, such as `/dev/tty0`.
pub fn blank(console: &File, dark: bool) -> io::Result<()> {
    let mut code = if dark { BLANK } else { UNBLANK };
    // SAFETY: for both subcodes the kernel reads one byte at the address, which is that of a live variable.
    let result = unsafe { libc::ioctl(console.as_raw_fd(), libc::TIOCLINUX, &raw mut code) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the console that is seen shows pictures: text written to it is not seen then, and making it dark does nothing.
pub fn is_graphics(console: &File) -> io::Result<bool> {
    let mut mode: libc::c_int = 0;
    // SAFETY: the kernel writes one `int` to the address, which is that of a live variable.
    let result = unsafe { libc::ioctl(console.as_raw_fd(), GET_MODE, &raw mut mode) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(mode == GRAPHICS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_console_cannot_be_dark() {
        let other = File::open("/dev/null").expect("there");
        assert_eq!(blank(&other, true).expect_err("refused").raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(is_graphics(&other).expect_err("refused").raw_os_error(), Some(libc::ENOTTY));
    }
}

//! The text console's own switches that no crate offers: dark and light again (ioctl_console(2), `TIOCLINUX`).
#![expect(unsafe_code, reason = "an ioctl whose argument is a byte that the kernel reads")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Subcodes of `TIOCLINUX`.
const UNBLANK: u8 = 4;
const BLANK: u8 = 14;

/// Makes the console that is seen dark, or shows it again. `console` is any virtual console, such as `/dev/tty0`.
pub fn blank(console: &File, dark: bool) -> io::Result<()> {
    let mut code = if dark { BLANK } else { UNBLANK };
    // SAFETY: for both subcodes the kernel reads one byte at the address, which is that of a live variable.
    let result = unsafe { libc::ioctl(console.as_raw_fd(), libc::TIOCLINUX, &raw mut code) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_console_cannot_be_dark() {
        let other = File::open("/dev/null").expect("there");
        assert_eq!(blank(&other, true).expect_err("refused").raw_os_error(), Some(libc::ENOTTY));
    }
}

//! The size of the terminal a program writes to.

use std::os::fd::{AsFd, AsRawFd};

/// Columns and rows; `None` if `output` is no terminal or does not know.
#[expect(unsafe_code, reason = "the size of a terminal is told by an ioctl only")]
pub fn size(output: impl AsFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `winsize` to the pointer, which outlives the call.
    let told = unsafe { libc::ioctl(output.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (told == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

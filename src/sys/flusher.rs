//! Threads that the kernel waits for when it writes files back.
//!
//! Source: `PR_SET_IO_FLUSHER(2const)`, Linux 5.6.
#![expect(unsafe_code, reason = "nix does not offer this prctl")]

use std::io;

/// Not in libc yet.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// From now on the kernel finds memory for this thread, and for what it starts, without writing files back: that could wait for
/// this very thread, which carries what is written.
pub fn become_flusher() -> io::Result<()> {
    // SAFETY: takes four numbers and no pointer.
    let done = unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1_u64, 0_u64, 0_u64, 0_u64) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

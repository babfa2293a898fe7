//! Whether a kernel of 64 bits runs programs of 32.
//!
//! Source: personality(2); on 64-bit ARM the kernel refuses that personality where the processor, or its configuration, has
//! no such programs.

/// `PER_LINUX32` of linux/personality.h.
const LINUX_32: libc::c_ulong = 8;

/// Asks the kernel, on a thread of its own: a thread that agreed stays what it became.
#[expect(unsafe_code, reason = "nix has this call only with a feature that nothing else needs")]
pub fn runs_32_bits() -> bool {
    // SAFETY: only a number is passed.
    std::thread::spawn(|| unsafe { libc::personality(LINUX_32) } != -1).join().unwrap_or(false)
}

//! Tap interfaces, into which virtual machines plug their network cards.
//!
//! Source: `Documentation/networking/tuntap.rst` of Linux.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes a tap interface `name` in the namespace of the calling thread; it stays until the namespace goes.
#[expect(unsafe_code, reason = "tap interfaces are made by two ioctls that no crate in use offers")]
pub fn create_persistent(name: &str) -> io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    // struct ifreq: 16 bytes of name, then the flags.
    let mut request = [0u8; 40];
    if name.len() >= 16 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let flags =
        u16::try_from(libc::IFF_TAP | libc::IFF_NO_PI).expect("both flags are below 2^16").to_ne_bytes();
    for (to, from) in request.iter_mut().skip(16).zip(flags) {
        *to = from;
    }
    // SAFETY: `request` is as large as `struct ifreq` (40 bytes on 64-bit, 32 on 32-bit systems) and outlives the
    // call; the kernel reads and writes only inside it.
    let made = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, request.as_mut_ptr()) };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TUNSETPERSIST takes a plain number.
    let kept = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST as _, 1) };
    if kept == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

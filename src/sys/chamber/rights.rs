//! What root inside may still do: what installing packages takes, and nothing that reaches outside.

use std::io;

use nix::errno::Errno;

/// Numbers of linux/capability.h: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
/// SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP. Not among them: DAC_READ_SEARCH, which opens files by handle whatever the root
/// is; NET_RAW and NET_ADMIN; SYS_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_BOOT, SYS_TIME and SYSLOG.
const KEPT: [u32; 13] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 27, 29, 31];

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

/// Takes every other right from this process, and from every program it starts, for good.
#[expect(unsafe_code, reason = "nix does not offer capabilities")]
pub fn give_up() -> io::Result<()> {
    for number in (0..64_u32).filter(|number| !KEPT.contains(number)) {
        // SAFETY: only numbers are passed.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if done != 0 {
            match Errno::last() {
                // The kernel has no more.
                Errno::EINVAL => break,
                error => return Err(error.into()),
            }
        }
    }
    let kept = KEPT.iter().fold(0_u32, |kept, number| kept | 1 << number);
    let (head, data) = ([VERSION, 0], [[kept, kept, 0], [0; 3]]);
    // SAFETY: `head` and `data` have the layout of the two structures of this version; the kernel only reads.
    let done = unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), data.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! Doing something on the disk as another user: the calling thread's file system uid, gid and groups, and nobody else's.
//!
//! Sources: setfsuid(2), credentials(7), capabilities(7). The C library's functions change all threads of a process, so
//! the system calls are made directly. With a uid other than 0 the kernel takes the capabilities away that overrule
//! permissions; the one that overrules quotas and the disk's reserve is taken away here. A thread that is begun while another
//! acts begins as that other: nothing may be begun in between.

use std::io;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// The thread acts as another user until this is dropped.
#[derive(Debug)]
#[must_use = "the thread is itself again when this is dropped"]
pub struct Acting {
    own: &'static Own,
    /// Only the thread that became another can become itself again.
    here: PhantomData<*const ()>,
}

/// What every thread of the daemon is when it acts as nobody else.
#[derive(Debug)]
struct Own {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: Capabilities,
}

/// Effective, permitted, inheritable, for each half of 64.
type Capabilities = [[u32; 3]; 2];

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

/// `CAP_SYS_RESOURCE`: may write where quota and reserve say no.
const SYS_RESOURCE: u32 = 24;

#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_setfsgid as SET_FS_GID, SYS_setfsuid as SET_FS_UID, SYS_setgroups as SET_GROUPS};
/// Where ids once had 16 bits, the calls of that time still have the plain names.
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{SYS_setfsgid32 as SET_FS_GID, SYS_setfsuid32 as SET_FS_UID, SYS_setgroups32 as SET_GROUPS};

/// Nobody's id: a request that changes nothing and tells the present one.
const TELL: u32 = u32::MAX;

/// Whether this process may act as any user. It may not without root's rights, or in a user namespace with few uids.
pub fn can_act() -> bool {
    // A uid and a gid that accounts have.
    act_as(10_000, 10_000, &[]).is_ok()
}

/// Makes the calling thread act as `uid` with these groups and no others.
pub fn act_as(uid: u32, gid: u32, groups: &[u32]) -> io::Result<Acting> {
    static OWN: OnceLock<Own> = OnceLock::new();
    if OWN.get().is_none() {
        // Nobody has acted as another yet: this thread still is what all are.
        let _ = OWN.set(Own::read()?);
    }
    let own = OWN.get().ok_or(io::ErrorKind::NotFound)?;
    // Refused without the right, and in a user namespace of somebody who is not root; then nothing has changed.
    set_groups(groups)?;
    // From here on, what was done is undone when this is dropped.
    let acting = Acting { own, here: PhantomData };
    set_capabilities(&without(own.capabilities, SYS_RESOURCE))?;
    if set_fs(SET_FS_GID, gid) && set_fs(SET_FS_UID, uid) {
        Ok(acting)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let Own { uid, gid, groups, capabilities } = self.own;
        let back = set_fs(SET_FS_UID, *uid) && set_fs(SET_FS_GID, *gid);
        if !back || set_groups(groups).is_err() || set_capabilities(capabilities).is_err() {
            // A thread that stays somebody else would do other people's work as him.
            std::process::abort();
        }
    }
}

impl Own {
    fn read() -> io::Result<Self> {
        let groups = nix::unistd::getgroups()?.into_iter().map(nix::unistd::Gid::as_raw).collect();
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Ok(Self { uid, gid, groups, capabilities: capabilities()? })
    }
}

fn without(mut capabilities: Capabilities, which: u32) -> Capabilities {
    if let Some([effective, ..]) = capabilities.first_mut() {
        *effective &= !(1 << which);
    }
    capabilities
}

/// Sets one id; whether it is set now.
#[expect(unsafe_code, reason = "the C library sets the ids of all threads")]
fn set_fs(call: libc::c_long, id: u32) -> bool {
    // SAFETY: only numbers are passed.
    unsafe {
        libc::syscall(call, id);
        u32::try_from(libc::syscall(call, TELL)) == Ok(id)
    }
}

#[expect(unsafe_code, reason = "the C library sets the groups of all threads")]
fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads as many numbers from `groups` as it has.
    let done = unsafe { libc::syscall(SET_GROUPS, groups.len(), groups.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "nix does not offer capabilities")]
fn capabilities() -> io::Result<Capabilities> {
    let (head, mut data) = ([VERSION, 0], Capabilities::default());
    // SAFETY: `head` and `data` have the layout of the two structures that this version has, and outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_capget, head.as_ptr(), data.as_mut_ptr()) };
    if done == 0 { Ok(data) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "nix does not offer capabilities")]
fn set_capabilities(to: &Capabilities) -> io::Result<()> {
    let head = [VERSION, 0];
    // SAFETY: as above; the kernel only reads.
    let done = unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), to.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_thread_acts_as_another_and_then_as_itself() {
        if !can_act() {
            return assert_ne!(nix::unistd::geteuid().as_raw(), 0, "only for want of privilege");
        }
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("allowed");
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "root's").expect("written");
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).expect("allowed");
        let made = dir.path().join("made");
        // Begun before: a thread begins as the one that begins it.
        let (ask, asked) = std::sync::mpsc::channel::<std::path::PathBuf>();
        let elsewhere = std::thread::spawn(move || std::fs::read(asked.recv().expect("asked")).is_ok());
        {
            let _acting = act_as(10_007, 10_008, &[10_009]).expect("allowed");
            assert!(std::fs::read(&secret).is_err(), "no right of root's is left");
            std::fs::write(&made, "").expect("written");
            assert!(capabilities().expect("known")[0][0] & 1 << SYS_RESOURCE == 0);
            ask.send(secret.clone()).expect("it waits");
            assert!(elsewhere.join().expect("no panic"), "other threads are as they were");
        }
        let owner = std::fs::metadata(&made).expect("there");
        assert_eq!((owner.uid(), owner.gid()), (10_007, 10_008));
        assert!(std::fs::read(&secret).is_ok());
        std::os::unix::fs::chown(&secret, None, Some(10_009)).expect("given");
        let _acting = act_as(10_007, 10_008, &[10_009]).expect("allowed");
        assert!(std::fs::read(&secret).is_ok(), "by group");
    }
}

//! File handles of the kernel: a name for a file that outlives renames, restarts and everything but the file itself.
//!
//! Source: name_to_handle_at(2). Opening one needs CAP_DAC_READ_SEARCH, and a file system that can find an inode again;
//! overlayfs, among others, cannot.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Longest kernel handle we keep, in bytes: what is left of an NFSv3 handle beside our own fields. ext4 needs 8,
/// XFS 12, btrfs 20.
pub const LONGEST: usize = 32;

/// A kernel's handle of a file, for the file system it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHandle {
    /// The file system's own type number. All of Linux's fit a byte.
    pub kind: u8,
    pub bytes: heapless::Vec<u8, LONGEST>,
}

/// `struct file_handle` with room behind it.
#[repr(C)]
struct Raw {
    length: u32,
    kind: i32,
    bytes: [u8; LONGEST],
}

/// The handle of the file behind `fd`. Reads nothing from the disk.
#[expect(unsafe_code, reason = "nix does not offer name_to_handle_at")]
pub fn handle_of(fd: impl AsFd) -> io::Result<FileHandle> {
    let mut raw = Raw { length: u32::try_from(LONGEST).unwrap_or(0), kind: 0, bytes: [0; LONGEST] };
    let mut mount: libc::c_int = 0;
    // SAFETY: the path is an empty C string; `raw` has the layout of `struct file_handle` followed by the number of
    // bytes its first field says, and both it and `mount` outlive the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut raw,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(raw.length).unwrap_or(usize::MAX);
    let bytes = raw.bytes.get(..length).ok_or(io::ErrorKind::InvalidData)?;
    let bytes = heapless::Vec::from_slice(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    let kind = u8::try_from(raw.kind).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(FileHandle { kind, bytes })
}

/// How often the kernel is asked for a file whose inode it says it has no memory for: at once, and then each millisecond, since
/// whoever is about to change that may have to wait for its turn.
const ASKED_AT_ONCE: usize = 1000;
const ASKED_MOST: usize = ASKED_AT_ONCE + 1000;

/// Opens the file behind `handle` as a path (`O_PATH`), on the file system that `mount` is on. May read the disk.
///
/// `ESTALE` if the file is gone. While its inode becomes another file, the kernel says `ENOMEM`: it is asked again.
pub fn open(mount: impl AsFd, handle: &FileHandle) -> io::Result<OwnedFd> {
    for asked in 1..ASKED_MOST {
        match open_once(&mount, handle) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                if asked < ASKED_AT_ONCE {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            other => return other,
        }
    }
    open_once(&mount, handle)
}

#[expect(unsafe_code, reason = "nix does not offer open_by_handle_at")]
fn open_once(mount: impl AsFd, handle: &FileHandle) -> io::Result<OwnedFd> {
    let mut raw = Raw {
        length: u32::try_from(handle.bytes.len()).unwrap_or(0),
        kind: handle.kind.into(),
        bytes: [0; LONGEST],
    };
    for (to, from) in raw.bytes.iter_mut().zip(&handle.bytes) {
        *to = *from;
    }
    // SAFETY: `raw` has the layout of `struct file_handle` followed by the bytes its first field counts, and outlives
    // the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_fd().as_raw_fd(),
            &raw const raw,
            libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC,
        )
    };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_again_by_its_handle() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        std::fs::write(&path, "text").expect("written");
        let handle = match handle_of(std::fs::File::open(&path).expect("opened")) {
            Ok(handle) => handle,
            // A file system without handles, such as the overlay of a container.
            Err(error) => return assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
        };
        let mount = std::fs::File::open(dir.path()).expect("opened");
        match open(&mount, &handle) {
            Ok(found) => {
                std::fs::rename(&path, dir.path().join("other")).expect("renamed");
                assert_eq!(handle_of(found).expect("a handle"), handle);
                std::fs::remove_file(dir.path().join("other")).expect("removed");
                assert_eq!(open(&mount, &handle).expect_err("gone").raw_os_error(), Some(libc::ESTALE));
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM), "only for want of privilege"),
        }
    }

    #[test]
    fn a_file_is_gone_while_its_inode_is_made_another() {
        let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let path = dir.path().join("file");
        std::fs::write(&path, "text").expect("written");
        let Ok(handle) = handle_of(std::fs::File::open(&path).expect("opened")) else { return };
        let mount = std::fs::File::open(dir.path()).expect("opened");
        if open(&mount, &handle).is_err() {
            return;
        }
        std::fs::remove_file(&path).expect("removed");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::fs::write(&path, "").expect("written");
                    std::fs::remove_file(&path).expect("removed");
                }
            });
            let said: std::collections::BTreeSet<_> = (0..20_000)
                .map(|_| open(&mount, &handle).map_err(|error| error.raw_os_error()).err())
                .collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(said, [Some(Some(libc::ESTALE))].into());
        });
    }
}

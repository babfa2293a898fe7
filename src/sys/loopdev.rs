//! Loop devices: part of a file, seen as a disk (loop(4)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// Why a file could not be seen as a disk.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    #[error(
        "this system has no loop devices; install the package `kmod-loop` (`opkg install kmod-loop` or `apk add kmod-loop`)"
    )]
    NoModule,
    #[error("loop devices may not be used here; importing disk images needs root outside of containers")]
    NotAllowed,
    #[error("no loop device could be had")]
    Device(#[source] io::Error),
}

/// A loop device that is freed when it is dropped and nothing of it is mounted any more.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    /// Keeps the device until somebody has mounted it.
    _open: File,
}

impl LoopDevice {
    /// `/dev/loop3`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h (Linux 5.8).
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// Makes `len` bytes of `file`, from `offset` on, readable as a disk.
pub fn attach(file: &File, offset: u64, len: u64) -> Result<LoopDevice, LoopError> {
    let control = match OpenOptions::new().read(true).write(true).open("/dev/loop-control") {
        Ok(control) => control,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => LoopError::NoModule,
                io::ErrorKind::PermissionDenied => LoopError::NotAllowed,
                _ if error.raw_os_error() == Some(libc::ENODEV) => LoopError::NoModule,
                _ => LoopError::Device(error),
            });
        }
    };
    // Another program may take the free device first; then the next one is asked for.
    for _ in 0..16 {
        let number = free_number(&control).map_err(LoopError::Device)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = match File::open(&path) {
            Ok(device) => device,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(LoopError::NotAllowed);
            }
            Err(error) => return Err(LoopError::Device(error)),
        };
        match configure(&device, file, offset, len) {
            Ok(()) => return Ok(LoopDevice { path, _open: device }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(LoopError::Device(error)),
        }
    }
    Err(LoopError::Device(io::Error::from_raw_os_error(libc::EBUSY)))
}

#[expect(unsafe_code, reason = "loop devices are managed by ioctls only")]
fn free_number(control: &File) -> io::Result<u32> {
    // SAFETY: this call takes no pointer.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as libc::Ioctl) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

#[expect(unsafe_code, reason = "loop devices are managed by ioctls only")]
fn configure(device: &File, file: &File, offset: u64, len: u64) -> io::Result<()> {
    let info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset,
        sizelimit: len,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: READ_ONLY | AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let config = Config { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the kernel reads one `loop_config` from the pointer, which outlives the call; both files are open.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as libc::Ioctl, &raw const config) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

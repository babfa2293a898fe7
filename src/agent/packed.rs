//! The image in one file: a squashfs that the server offers beside the tree, mounted through a loop device.
//!
//! Thousands of small files over the network become reads of one large file; names, owners and times are in the client's own
//! memory; and file capabilities, which NFS version 3 has no words for, are there. Whatever of it does not work, a kernel
//! without squashfs for one, leaves the client with the tree, which it has mounted anyway.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::modules::{self, ModuleError};
use crate::sys::loopdev::{self, LoopError};

/// Where the server puts it; below the root of each image that is packed.
const FILE: &str = "/.bramble/image.squashfs";

/// Desktops show a disk with a file system that is not mounted anywhere they can see; this one is nobody's to open.
const RULES: &str = "/run/udev/rules.d/90-bramble-image.rules";

/// Why the packed image is not used.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    #[error(transparent)]
    Module(#[from] ModuleError),
    #[error(transparent)]
    Loop(#[from] LoopError),
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    #[error(
        "it cannot be mounted; the kernel of the image may be older than October 2024, when that of Raspberry Pi OS learned to unpack Zstandard in squashfs"
    )]
    Unknown(#[source] io::Error),
    #[error("it cannot be mounted")]
    Mount(#[source] io::Error),
}

/// Mounts the packed image below `workshop` and tells where; `None` if the server offers none.
pub fn mounted(workshop: &str) -> Result<Option<String>, PackedError> {
    let file = match File::open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PackedError::Open(error)),
    };
    let size = file.metadata().map_err(PackedError::Open)?.len();
    modules::file_system("squashfs")?;
    modules::loop_devices()?;
    let device = loopdev::attach(&file, 0, size)?;
    let at = format!("{workshop}/image");
    fs::create_dir_all(&at).map_err(PackedError::Mount)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(Some(device.path()), at.as_str(), Some("squashfs"), flags, None::<&str>).map_err(|errno| {
        if errno == Errno::EINVAL {
            PackedError::Unknown(errno.into())
        } else {
            PackedError::Mount(errno.into())
        }
    })?;
    hide(device.path());
    Ok(Some(at))
}

/// Keeps the device out of file managers. That one shows it is no reason not to boot.
fn hide(device: &Path) {
    let Some(name) = device.file_name().and_then(|name| name.to_str()) else { return };
    if let Some(folder) = Path::new(RULES).parent() {
        let _ = fs::create_dir_all(folder);
    }
    let rule = format!("SUBSYSTEM==\"block\", KERNEL==\"{name}\", ENV{{UDISKS_IGNORE}}=\"1\"\n");
    let _ = fs::write(RULES, rule);
}

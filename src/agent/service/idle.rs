//! Whether somebody uses this client: keys and mice, as the kernel sees them.
//!
//! It does not matter what shows the picture, and nothing that is typed is looked at: only that something came.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Most bytes that are thrown away of one device at a time; what is left over counts the next time.
const PIECE: usize = 4096;

/// Every device somebody may touch.
#[derive(Debug)]
pub struct Inputs {
    folder: PathBuf,
    open: BTreeMap<PathBuf, File>,
}

impl Inputs {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), open: BTreeMap::new() }
    }

    /// Whether anything was touched since this was last asked. Devices that were plugged in meanwhile count from now on.
    pub fn touched(&mut self) -> bool {
        let mut touched = false;
        self.open.retain(|_, device| {
            let mut bytes = [0; PIECE];
            match device.read(&mut bytes) {
                Ok(0) => false,
                Ok(_) => {
                    touched = true;
                    true
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_event = entry.file_name().to_str().is_some_and(|name| name.starts_with("event"));
            if is_event
                && !self.open.contains_key(&path)
                && let Ok(device) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path)
            {
                self.open.insert(path, device);
            }
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_key_is_noticed_once_and_a_device_that_is_gone_is_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let event = folder.path().join("event0");
        nix::unistd::mkfifo(&event, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("made");
        fs::write(folder.path().join("mouse0"), "not one of these").expect("written");
        let mut inputs = Inputs::new(folder.path());
        assert!(!inputs.touched(), "nothing yet");
        let mut keys = OpenOptions::new().write(true).open(&event).expect("somebody reads");
        assert!(!inputs.touched(), "a keyboard that nobody touches");
        keys.write_all(&[0; 24]).expect("typed");
        assert!(inputs.touched());
        assert!(!inputs.touched(), "once");
        drop(keys);
        fs::remove_file(&event).expect("unplugged");
        assert!(!inputs.touched());
        assert!(inputs.open.is_empty());
    }
}

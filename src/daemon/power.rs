//! Switches this machine off.

use std::process::{Command, Stdio};

/// Has init end everything in good order: BusyBox's on a router, systemd elsewhere, both by this name.
pub fn off() -> Result<(), String> {
    let output = Command::new("poweroff")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`poweroff` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`poweroff` failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

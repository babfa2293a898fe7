//! Which program on a client is speaking.

use serde::{Deserialize, Serialize};

/// Which program on the client speaks DHCP: up to four do so in one boot of a Pi, and each shows itself differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The boot ROM or EEPROM of a Pi (option 60 `PXEClient`, option 97).
    Rom,
    /// U-Boot, PXE firmware of a PC.
    Firmware,
    /// The kernel's `ip=dhcp` or klibc's `ipconfig`.
    Kernel,
    /// Anything else: an operating system.
    System,
}

impl Stage {
    /// The word in logs and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rom => "rom",
            Self::Firmware => "firmware",
            Self::Kernel => "kernel",
            Self::System => "system",
        }
    }
}

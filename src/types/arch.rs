//! Processor architectures of images.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the programs of an image are compiled for, by Debian's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 32-bit ARM with hardware floating point (Raspberry Pi OS 32-bit calls it `armhf` too).
    Armhf,
    /// 64-bit ARM.
    Arm64,
    /// PCs; also the machine that runs our tests.
    Amd64,
}

impl Arch {
    pub const ALL: [Self; 3] = [Self::Armhf, Self::Arm64, Self::Amd64];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Armhf => "armhf",
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
        }
    }

    /// From the header of an ELF program (`e_machine`, word size); `None` for what no client of ours runs.
    pub fn from_elf(header: &[u8]) -> Option<Self> {
        let class = *header.get(4)?;
        let machine = u16::from_le_bytes([*header.get(18)?, *header.get(19)?]);
        match (header.get(..4)?, class, machine) {
            (b"\x7fELF", 1, 40) => Some(Self::Armhf),
            (b"\x7fELF", 2, 183) => Some(Self::Arm64),
            (b"\x7fELF", 2, 62) => Some(Self::Amd64),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_program_has_a_known_header() {
        let mut header = [0u8; 20];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = 183;
        assert_eq!(Arch::from_elf(&header), Some(Arch::Arm64));
        header[4] = 1;
        assert_eq!(Arch::from_elf(&header), None, "a 32-bit program of a 64-bit machine");
        assert_eq!(Arch::from_elf(b"#!/bin/sh"), None);
    }
}

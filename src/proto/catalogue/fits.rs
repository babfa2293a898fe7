//! Which entries of a catalogue are operating systems that the Pis of a house can boot and Bramble can import.

use serde::{Deserialize, Serialize};

use super::Entry;

/// Pis that boot the same systems, and can boot from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    Pi2,
    Pi3,
    Pi4,
    Pi5,
}

impl Family {
    pub const ALL: [Self; 4] = [Self::Pi2, Self::Pi3, Self::Pi4, Self::Pi5];

    /// Of a model as [`crate::types::revision::Model`] spells it.
    pub fn of(model: &str) -> Option<Self> {
        Some(match model {
            "Pi 2B" => Self::Pi2,
            "Pi 3B" | "Pi 3B+" | "CM3" | "CM3+" => Self::Pi3,
            "Pi 4B" | "Pi 400" | "CM4" => Self::Pi4,
            "Pi 5" | "CM5" | "Pi 500" | "CM5 Lite" => Self::Pi5,
            _ => return None,
        })
    }

    /// How tags of Imager's lists begin that stand for it: `pi4-64bit`, `pi4`.
    const fn tag(self) -> &'static str {
        match self {
            Self::Pi2 => "pi2",
            Self::Pi3 => "pi3",
            Self::Pi4 => "pi4",
            Self::Pi5 => "pi5",
        }
    }
}

/// Why an entry is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("it is not for any Raspberry Pi of this house")]
    Devices,
    #[error("it is a tool for memory cards, and no operating system")]
    Tool,
    #[error(
        "its file is neither an image of a disk (.img) nor an archive (.tar), packed as .xz, .gz, .zst or .zip"
    )]
    Form,
}

/// An operating system with less content than this cannot be one that a Pi boots from the network into a log-in; the lists
/// have small images that write a bootloader.
const SMALLEST: u64 = 128 << 20;

/// Whether Bramble can import the entry and one of `pis` boot it. Without any Pi known, whether any that boots from the
/// network can.
pub fn fits(entry: &Entry, pis: &[Family]) -> Result<(), Misfit> {
    let name = entry.place.file_name().to_ascii_lowercase();
    let packed = [".xz", ".gz", ".zst", ".zip"].iter().find_map(|ending| name.strip_suffix(ending));
    let plain = packed.unwrap_or(&name);
    // Of a .zip the inner name is not in its own.
    let is_known = [(plain, ".img"), (plain, ".tar"), (&name, ".tgz"), (&name, ".zip")]
        .iter()
        .any(|(name, ending)| name.strip_suffix(ending).is_some());
    if !is_known {
        return Err(Misfit::Form);
    }
    if entry.content_bytes.is_some_and(|bytes| bytes < SMALLEST) {
        return Err(Misfit::Tool);
    }
    let pis = if pis.is_empty() { &Family::ALL } else { pis };
    let is_for = |pi: &Family| entry.devices.iter().any(|tag| tag.starts_with(pi.tag()));
    if entry.devices.is_empty() || pis.iter().any(is_for) { Ok(()) } else { Err(Misfit::Devices) }
}

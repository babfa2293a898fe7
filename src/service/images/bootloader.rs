//! The files of bootloaders that an image brings: Raspberry Pi's package `rpi-eeprom`.

use std::path::Path;

use super::inside::Inside;
use crate::proto::eeprom::Chip;
use crate::proto::eeprom::image::{BadImage, Image};
use crate::types::limits;

/// Where the package puts them, the newer place first.
const PLACES: [&str; 2] = ["usr/lib/firmware/raspberrypi", "lib/firmware/raspberrypi"];

/// Which of the package's folders is taken, and what it was called before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// Proven over time.
    #[default]
    Default,
    Latest,
}

impl Release {
    const fn folders(self) -> [&'static str; 2] {
        match self {
            Self::Default => ["default", "critical"],
            Self::Latest => ["latest", "stable"],
        }
    }
}

impl std::str::FromStr for Release {
    type Err = BadRelease;

    fn from_str(text: &str) -> Result<Self, BadRelease> {
        match text {
            "default" => Ok(Self::Default),
            "latest" => Ok(Self::Latest),
            _ => Err(BadRelease(text.chars().take(limits::NAME_SHOWN).collect())),
        }
    }
}

/// The text was no release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no release of bootloaders; write `default` or `latest`")]
pub struct BadRelease(String);

/// Why an image has no bootloader to offer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoBootloader {
    #[error("the tree cannot be opened")]
    Tree(#[source] std::sync::Arc<std::io::Error>),
    #[error(
        "it has no bootloader for a {0}: Raspberry Pi's package `rpi-eeprom` is not in it, or has no such folder; install it in a \
         draft, or take another image"
    )]
    None(Chip),
    #[error("its bootloader `{file}` cannot be used")]
    Bad {
        file: String,
        #[source]
        source: BadImage,
    },
    #[error("it has no `{file}` beside its bootloader for a {chip}, which a card needs")]
    NoFile { file: &'static str, chip: Chip },
}

/// A bootloader of an image.
#[derive(Clone, Debug)]
pub struct Bootloader {
    /// Name of its file, such as `pieeprom-2026-08-04.bin`.
    pub file: String,
    pub image: Image,
    folder: String,
}

/// The newest one for `chip` in the tree at `root`.
pub fn find(root: &Path, chip: Chip, release: Release) -> Result<Bootloader, NoBootloader> {
    let tree = Inside::new(root).map_err(|error| NoBootloader::Tree(std::sync::Arc::new(error)))?;
    let bundles = [format!("bootloader-{}", chip.number()), "bootloader".to_owned()];
    let folders = PLACES.iter().flat_map(|place| {
        bundles
            .iter()
            .flat_map(move |bundle| release.folders().map(|folder| format!("{place}/{bundle}/{folder}")))
    });
    for folder in folders {
        let dated = |name: &String| {
            let date = name.strip_prefix("pieeprom-").and_then(|rest| rest.strip_suffix(".bin"));
            date.is_some_and(|date| date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
        };
        let right = |name: &String| tree.size(&format!("{folder}/{name}")) == Some(chip.image_bytes() as u64);
        // Sorted by name, so by date.
        let Some(file) = tree.names(&folder).into_iter().rfind(|name| dated(name) && right(name)) else {
            continue;
        };
        let Some(bytes) = tree.read(&format!("{folder}/{file}"), limits::EEPROM_FILE) else { continue };
        return match Image::parse(bytes) {
            Ok(image) => Ok(Bootloader { file, image, folder }),
            Err(source) => Err(NoBootloader::Bad { file, source }),
        };
    }
    Err(NoBootloader::None(chip))
}

impl Bootloader {
    /// The program that a ROM starts from a card, which writes the EEPROM.
    pub fn recovery(&self, root: &Path) -> Result<Vec<u8>, NoBootloader> {
        let chip = self.image.chip();
        let read =
            || Inside::new(root).ok()?.read(&format!("{}/recovery.bin", self.folder), limits::EEPROM_FILE);
        read().filter(|bytes| !bytes.is_empty()).ok_or(NoBootloader::NoFile { file: "recovery.bin", chip })
    }

    /// What the USB controller of the first Pi 4s has in an EEPROM of its own; later ones do not look at it.
    pub fn usb_controller(&self, root: &Path) -> Option<Vec<u8>> {
        let tree = Inside::new(root).ok()?;
        let is_it = |name: &String| {
            name.strip_prefix("vl805-").is_some_and(|rest| rest.strip_suffix(".bin").is_some())
        };
        let name = tree.names(&self.folder).into_iter().rfind(is_it)?;
        tree.read(&format!("{}/{name}", self.folder), limits::EEPROM_FILE)
    }
}

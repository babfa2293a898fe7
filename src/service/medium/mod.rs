//! A small card that makes Pis boot from the network which cannot yet: what is on it, and a job that writes it.
//!
//! One partition of FAT32 (what every ROM reads), 64 MiB in all. What a Pi does with it depends on the model:
//!
//! | Pi | files | what happens |
//! |---|---|---|
//! | 2B v1.2, 3B, CM3 | `bootcode.bin`, `start.elf`, `fixup.dat`, `config.txt` | the firmware sets a bit in the chip, for ever |
//! | 4, 400 | `recovery.bin`, `pieeprom.bin`, `.sig`, `vl805.bin`, `.sig` | the ROM starts the first, which writes the EEPROM |
//! | 5, 500, CM5 | `recovery.bin`, `pieeprom.bin`, `.sig` | the same |
//!
//! The image is called `pieeprom.bin` and not `.upd`, so that the card stays as it is and goes into one Pi after the other, and
//! the Pi stops and shows the result. `recovery.bin` of a Pi 4 and of a Pi 5 are two programs with one name: a card is for one
//! of them.
//!
//! | file | holds |
//! |---|---|
//! | `device` | whether something may be written to |
//! | `write` | partition table, file system, files, and reading them back |

mod device;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::device::{NoTarget, Target};
pub use self::write::{DISK, MediumError, PARTITION};
use super::eeprom::sum;
use super::images::bootloader::{self, Bootloader, NoBootloader, Release};
use super::images::inside::Inside;
use super::jobs::{Outcome, Stopped, Task};
use crate::proto::eeprom::settings::Settings;
use crate::proto::eeprom::{Chip, config, image};
use crate::types::{Moment, hex, limits};

/// What a Pi 4 or 5 is given unless something else is asked for: SD card, network, again; and no offer of Network Install.
pub const USUAL: &str = "BOOT_ORDER=0xf21,NET_INSTALL_AT_POWER_ON=0";

/// For which Pis a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    pub pi3: bool,
    pub eeprom: Option<Chip>,
}

/// The text named no Pis that one card can be for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadModels {
    #[error("`{0}` is no family of Pis; write `pi3`, `pi4`, `pi5`, or `pi3,pi4` or `pi3,pi5` for both")]
    Unknown(String),
    #[error(
        "a card is for a Pi 4 or for a Pi 5: both start a program of the same name from it, and each its own; write two cards"
    )]
    Both,
}

impl FromStr for Models {
    type Err = BadModels;

    fn from_str(text: &str) -> Result<Self, BadModels> {
        let mut models = Self { pi3: false, eeprom: None };
        for word in text.split(',').map(str::trim) {
            let chip = match word {
                "pi3" => {
                    models.pi3 = true;
                    continue;
                }
                "pi4" => Chip::Bcm2711,
                "pi5" => Chip::Bcm2712,
                _ => return Err(BadModels::Unknown(word.chars().take(limits::NAME_SHOWN).collect())),
            };
            if models.eeprom.is_some_and(|other| other != chip) {
                return Err(BadModels::Both);
            }
            models.eeprom = Some(chip);
        }
        Ok(models)
    }
}

impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let eeprom = self.eeprom.map(|chip| if chip == Chip::Bcm2711 { "pi4" } else { "pi5" });
        let words: Vec<&str> = self.pi3.then_some("pi3").into_iter().chain(eeprom).collect();
        f.write_str(&words.join(","))
    }
}

/// Why there is nothing to put on a card.
#[derive(Debug, thiserror::Error)]
pub enum NoFiles {
    #[error("its tree cannot be opened")]
    Tree(#[source] std::io::Error),
    #[error("it has no `{0}` in its boot folder, which a Pi 3 needs; take an image of Raspberry Pi OS")]
    Firmware(&'static str),
    #[error(transparent)]
    Bootloader(#[from] NoBootloader),
    #[error("the settings cannot be put into its bootloader")]
    Settings(#[from] image::BadImage),
    #[error("a {chip} has no {name}")]
    OtherFamily { chip: Chip, name: &'static str },
    #[error(
        "its bootloader does not know {0}; take an image with a newer `rpi-eeprom`, or `--release latest`"
    )]
    Unknown(&'static str),
    #[error(
        "NETCONSOLE needs the address of one client; roll it out with `bramble eeprom set` when it boots from the network"
    )]
    Console,
}

/// What is written, and what that does.
#[derive(Debug)]
pub struct Card {
    pub models: Models,
    /// Names and contents.
    files: Vec<(&'static str, Vec<u8>)>,
    /// One sentence each, for people: what happens to a Pi, and what cannot be undone.
    pub says: Vec<String>,
}

/// From where a card takes its files.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Root of the tree.
    pub root: &'a Path,
    /// Its folder with the firmware, relative to that.
    pub boot: Option<&'a Path>,
    pub release: Release,
}

impl Card {
    /// Collects the files; `now` is the time of the update.
    pub fn collect(
        source: Source<'_>,
        models: Models,
        settings: &Settings,
        now: Moment,
    ) -> Result<Self, NoFiles> {
        let mut card = Self { models, files: Vec::new(), says: Vec::new() };
        if models.pi3 {
            card.firmware(source)?;
        }
        if let Some(chip) = models.eeprom {
            card.bootloader(source, chip, settings, now)?;
        }
        let mut text =
            "This card was made by Bramble. It makes Raspberry Pis boot from the network.\r\n\r\n".to_owned();
        for says in &card.says {
            text.push_str("* ");
            text.push_str(says);
            text.push_str("\r\n");
        }
        card.files.push(("README.TXT", text.into_bytes()));
        Ok(card)
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, content)| content.len() as u64).sum()
    }

    fn firmware(&mut self, source: Source<'_>) -> Result<(), NoFiles> {
        let tree = Inside::new(source.root).map_err(NoFiles::Tree)?;
        let folder = source.boot.and_then(Path::to_str).unwrap_or("boot");
        for name in ["bootcode.bin", "start.elf", "fixup.dat"] {
            let content = tree.read(&format!("{folder}/{name}"), limits::FIRMWARE_FILE);
            let content = content.filter(|content| !content.is_empty()).ok_or(NoFiles::Firmware(name))?;
            self.files.push((name, content));
        }
        let config = "# Made by Bramble: lets these boot from the network and from USB disks, for ever.\n\
                      [pi2]\nprogram_usb_boot_mode=1\n[pi3]\nprogram_usb_boot_mode=1\n[all]\n";
        self.files.push(("config.txt", config.into()));
        self.says.push(
            "Pi 2B v1.2, 3B and CM3: a bit is set inside the chip that lets them boot from the network and from USB disks. This is \
             permanent: nothing can take it back. With a card in it that has a system on it, the Pi boots that as before. (A Pi 3B+ \
             boots from the network as it is sold.)"
                .to_owned(),
        );
        self.says.push(
            "Pi 3: put the card in, give it power, wait ten seconds: a rainbow on the screen and a green light that flashes mean \
             that the bit is set, for there is no system on this card. Take the power away, then the card, and give it power \
             again: within half a minute it asks for an address, and `bramble client list` has it."
                .to_owned(),
        );
        Ok(())
    }

    fn bootloader(
        &mut self,
        source: Source<'_>,
        chip: Chip,
        settings: &Settings,
        now: Moment,
    ) -> Result<(), NoFiles> {
        if settings.iter().any(|(name, value)| name == "NETCONSOLE" && value == Some("on")) {
            return Err(NoFiles::Console);
        }
        if let Some(name) = settings.unknown_to(chip) {
            return Err(NoFiles::OtherFamily { chip, name });
        }
        let found = bootloader::find(source.root, chip, source.release)?;
        let Bootloader { file, image, .. } = &found;
        if let Some((name, _)) = settings.iter().find(|(name, value)| value.is_some() && !image.knows(name)) {
            return Err(NoFiles::Unknown(name));
        }
        let text = config::apply(image.config(), settings);
        let bytes = image.with(&text, now)?;
        let signature = image::signature(&sum(&bytes), now, chip);
        self.files.push(("recovery.bin", found.recovery(source.root)?));
        self.files.push(("pieeprom.bin", bytes));
        self.files.push(("pieeprom.sig", signature.into_bytes()));
        if chip == Chip::Bcm2711
            && let Some(usb) = found.usb_controller(source.root)
        {
            let signature = format!("{}\n", hex(&sum(&usb)));
            self.files.push(("vl805.bin", usb));
            self.files.push(("vl805.sig", signature.into_bytes()));
        }
        let models = if chip == Chip::Bcm2711 { "Pi 4B and 400" } else { "Pi 5, 500 and CM5" };
        self.says.push(format!(
            "{models}: the EEPROM is written anew with `{file}` and these settings: {}. Settings that it had before are gone. Any \
             such card of Raspberry Pi's writes it anew again.",
            text.lines().filter(|line| line.contains('=')).collect::<Vec<_>>().join(", ")
        ));
        self.says.push(format!(
            "{chip}: put the card in and give it power. A green screen and a green light that flashes fast mean that it is done; a \
             red screen that it is not. Do not take the power away before. Then take the power away, then the card."
        ));
        Ok(())
    }

    /// Writes the card: the work of a job.
    pub fn write(&self, target: &Target, erase: bool, task: &Task) -> Outcome {
        let written = write::write(self, target, erase, task);
        match written {
            Ok(()) => Ok(format!(
                "{} is written and was read back; it is for {}",
                target.path().display(),
                self.models
            )),
            Err(MediumError::Cancelled(_)) => Err(Stopped::Cancelled),
            Err(error) => Err(Stopped::because(&error)),
        }
    }
}

/// Looks at what is to be written to, as [`Target::open`] will once more.
pub fn look(path: PathBuf, data: &Path, erase: bool) -> Result<Target, NoTarget> {
    Target::look(path, data, erase)
}

#[cfg(test)]
mod tests;

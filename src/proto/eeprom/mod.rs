//! The EEPROM of a Pi 4 or 5: the image that its bootloader is kept in, and the settings inside it.
//!
//! Pure: bytes of an image file in, bytes of a changed one out, checked before and after. What is done with them is
//! [`crate::service::eeprom`]'s; how a client says what it has is [`super::agent::eeprom`].
//!
//! | file | holds |
//! |---|---|
//! | `image` | sections of an image, the one with the settings replaced, and the `.sig` beside it |
//! | `sample` | an image for tests in which nothing runs |
//! | `config` | the text with the settings, changed line by line |
//! | `settings` | which settings Bramble changes, and what each may be |
//!
//! Sources: Raspberry Pi's documentation (*Raspberry Pi boot EEPROM*, *bootloader configuration*), the images and release
//! notes of rpi-eeprom, and what its tools accept.

pub mod config;
pub mod image;
pub mod sample;
pub mod settings;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::revision::Model;

/// Which processor an image is for. An image of the other one is useless to a Pi, and both reject it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Chip {
    /// Pi 4, 400, CM4.
    #[serde(rename = "2711")]
    Bcm2711,
    /// Pi 5, 500, CM5.
    #[serde(rename = "2712")]
    Bcm2712,
}

impl Chip {
    /// `None` for models without such an EEPROM.
    pub const fn of(model: Model) -> Option<Self> {
        match model {
            Model::Pi4B | Model::Pi400 | Model::Cm4 => Some(Self::Bcm2711),
            Model::Pi5 | Model::Pi500 | Model::Cm5 | Model::Cm5Lite => Some(Self::Bcm2712),
            Model::Pi2B | Model::Pi3B | Model::Pi3BPlus | Model::Cm3 | Model::Cm3Plus | Model::Unknown => {
                None
            }
        }
    }

    /// As folders and `.sig` files name it.
    pub const fn number(self) -> &'static str {
        match self {
            Self::Bcm2711 => "2711",
            Self::Bcm2712 => "2712",
        }
    }

    /// Length of the EEPROM, and so of each image, in bytes.
    pub const fn image_bytes(self) -> usize {
        match self {
            Self::Bcm2711 => 512 << 10,
            Self::Bcm2712 => 2 << 20,
        }
    }
}

/// `Pi 4` or `Pi 5`, for the whole family.
impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bcm2711 => "Pi 4",
            Self::Bcm2712 => "Pi 5",
        })
    }
}

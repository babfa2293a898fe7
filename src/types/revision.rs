//! Board revision codes: model and memory of a Raspberry Pi, as it announces them itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ByteSize;

/// A new-style revision code (bit 23 set), such as `c03111`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u32);

impl Revision {
    /// `None` unless bit 23 marks the new scheme; the old one was used only by boards that cannot boot from a network.
    pub const fn new(code: u32) -> Option<Self> {
        if code & (1 << 23) == 0 { None } else { Some(Self(code)) }
    }

    pub const fn code(self) -> u32 {
        self.0
    }

    pub const fn model(self) -> Model {
        match (self.0 >> 4) & 0xff {
            0x04 => Model::Pi2B,
            0x08 => Model::Pi3B,
            0x0d => Model::Pi3BPlus,
            0x10 => Model::Cm3Plus,
            0x0a => Model::Cm3,
            0x11 => Model::Pi4B,
            0x13 => Model::Pi400,
            0x14 => Model::Cm4,
            0x17 => Model::Pi5,
            0x18 => Model::Cm5,
            0x19 => Model::Pi500,
            0x1a => Model::Cm5Lite,
            _ => Model::Unknown,
        }
    }

    /// Memory of the board; `None` for codes this table does not know yet.
    pub const fn memory(self) -> Option<ByteSize> {
        match (self.0 >> 20) & 7 {
            step @ 0..=6 => Some(ByteSize((256 << 20) << step)),
            _ => None,
        }
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// Which Raspberry Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    Pi2B,
    Pi3B,
    Pi3BPlus,
    Cm3,
    Cm3Plus,
    Pi4B,
    Pi400,
    Cm4,
    Pi5,
    Cm5,
    Pi500,
    Cm5Lite,
    Unknown,
}

impl Model {
    pub const ALL: [Self; 13] = [
        Self::Pi2B,
        Self::Pi3B,
        Self::Pi3BPlus,
        Self::Cm3,
        Self::Cm3Plus,
        Self::Pi4B,
        Self::Pi400,
        Self::Cm4,
        Self::Pi5,
        Self::Cm5,
        Self::Pi500,
        Self::Cm5Lite,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pi2B => "Pi 2B",
            Self::Pi3B => "Pi 3B",
            Self::Pi3BPlus => "Pi 3B+",
            Self::Cm3 => "CM3",
            Self::Cm3Plus => "CM3+",
            Self::Pi4B => "Pi 4B",
            Self::Pi400 => "Pi 400",
            Self::Cm4 => "CM4",
            Self::Pi5 => "Pi 5",
            Self::Cm5 => "CM5",
            Self::Pi500 => "Pi 500",
            Self::Cm5Lite => "CM5 Lite",
            Self::Unknown => "Raspberry Pi",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_from_the_published_table() {
        #[rustfmt::skip]
        let rows = [
            (0x00c0_3111, Model::Pi4B, 4096), (0x00a0_2082, Model::Pi3B, 1024), (0x00a0_20d3, Model::Pi3BPlus, 1024),
            (0x00d0_4170, Model::Pi5, 8192), (0x00c0_3130, Model::Pi400, 4096), (0x00a2_2042, Model::Pi2B, 1024),
        ];
        for (code, model, mib) in rows {
            let revision = Revision::new(code).expect("new style");
            assert_eq!(
                (revision.model(), revision.memory()),
                (model, Some(ByteSize(mib << 20))),
                "{code:06x}"
            );
        }
        assert_eq!(Revision::new(0x0010), None);
    }
}

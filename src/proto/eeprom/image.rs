//! An image of the EEPROM: sections one behind the other, each with its kind and length, and some of them small files.
//!
//! | bytes | of a section |
//! |---|---|
//! | 4 | kind, big-endian: `55aaf00f` the loader, `55aaf11f` a file, `55aafeef` padding, others with `f..f` in the middle |
//! | 4 | length of what follows, big-endian |
//! | 12, 4 | only of a file: its name, padded with zeros, and four zeros |
//! | … | content; the next section begins at a multiple of eight |
//!
//! The list ends at `00000000` or `ffffffff`. A file that can be changed lies in one block of the flash, 4096 bytes that are
//! erased at once, and the last block belongs to the bootloader itself. An image of a Pi 5 has a second half for updates that
//! switch over: files are changed in the first one, as Raspberry Pi's own tool does.

use super::Chip;
use crate::types::{Moment, hex, limits};

const LOADER: u32 = 0x55aa_f00f;
const FILE: u32 = 0x55aa_f11f;
const PADDING: u32 = 0x55aa_feef;
/// What all kinds have in common.
const KIND_MASK: u32 = 0xffff_f00f;

/// Kind and length.
const HEADER: usize = 8;
/// Name of a file, and four zeros.
const NAME: usize = 12;
const FILE_HEADER: usize = NAME + 4;

/// What is erased at once, in bytes.
const BLOCK: usize = 4096;

/// Longest text of settings, in bytes.
pub const CONFIG_MOST: usize = BLOCK - HEADER - NAME;

/// The first half of an image that is in two: files of the part in front of it and of the second half are not touched.
const HALF: std::ops::Range<usize> = 64 << 10..(64 << 10) + (988 << 10);

const CONFIG: &str = "bootconf.txt";
const UPDATED: &str = "updatetime";

/// Files that are empty (zeros, or erased) unless somebody signed the image.
const SIGNATURES: [&str; 2] = ["bootconf.sig", "pubkey.bin"];

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    #[error("it has {0} bytes, and an image of an EEPROM has 524288 (Pi 4) or 2097152 (Pi 5)")]
    Length(usize),
    #[error("at byte {at} there is no section of an EEPROM; the file is damaged")]
    Damaged { at: usize },
    #[error("it has no `{0}` inside; the file is damaged, or of another kind")]
    Missing(&'static str),
    #[error("its settings are no text")]
    NotText,
    #[error(
        "it is signed for secure boot (`{0}`): changed settings would not be valid, and the Pi would not start; sign and write it \
         with Raspberry Pi's own tools"
    )]
    Signed(&'static str),
    #[error("the settings have {length} bytes, and there is room for {most}; take some away")]
    NoRoom { length: usize, most: usize },
}

/// An image that was looked through, not signed, with settings inside.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    sections: Vec<Section>,
    chip: Chip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    kind: u32,
    at: usize,
    /// Of the content behind kind and length; of a file with its name.
    length: usize,
    /// Empty unless it is a file.
    name: String,
}

impl Image {
    /// Looks an image through. What comes back can be changed and written.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BadImage> {
        let chip = [Chip::Bcm2711, Chip::Bcm2712].into_iter().find(|chip| chip.image_bytes() == bytes.len());
        let chip = chip.ok_or(BadImage::Length(bytes.len()))?;
        let sections = sections(&bytes)?;
        let image = Self { bytes, sections, chip };
        for name in SIGNATURES {
            let files = image.sections.iter().filter(|section| section.name == name);
            if files.map(|section| image.content(section)).any(|content| !is_blank(content)) {
                return Err(BadImage::Signed(name));
            }
        }
        let text = image.config_section().and_then(|section| image.text(section))?;
        if super::config::value(text, "SIGNED_BOOT").is_some_and(|value| value != "0") {
            return Err(BadImage::Signed("SIGNED_BOOT"));
        }
        Ok(image)
    }

    pub const fn chip(&self) -> Chip {
        self.chip
    }

    /// The settings inside.
    pub fn config(&self) -> &str {
        // Both were looked at by `parse`.
        self.config_section().and_then(|section| self.text(section)).unwrap_or_default()
    }

    /// When the bootloader was built.
    pub fn built(&self) -> Option<Moment> {
        let seconds = self.number_behind(b"BUILD_TIMESTAMP=")?;
        Some(Moment::from_secs(seconds.into()))
    }

    /// Which boards it is new enough for: what is written into a board at the factory must not be more.
    pub fn board_version(&self) -> u32 {
        self.number_behind(b"MFG_VER: ").unwrap_or(0)
    }

    /// Whether this bootloader has a setting called `name`: all their names stand in it.
    pub fn knows(&self, name: &str) -> bool {
        find(&self.bytes, &[name.as_bytes(), b"\0"].concat()).is_some()
    }

    /// The image with other settings, marked as an update of the time `at`.
    pub fn with(&self, config: &str, at: Moment) -> Result<Vec<u8>, BadImage> {
        let mut bytes = self.bytes.clone();
        self.put_config(&mut bytes, config.as_bytes())?;
        self.put_time(&mut bytes, u32::try_from(at.secs()).unwrap_or(u32::MAX))?;
        Ok(bytes)
    }

    fn put_config(&self, bytes: &mut [u8], config: &[u8]) -> Result<(), BadImage> {
        let section = self.config_section()?;
        let index = self.sections.iter().position(|other| other == section).unwrap_or(0);
        let is_last = index + 1 == self.sections.len();
        let end = (self.bytes.len() - BLOCK).min(HALF.end);
        let behind = self.sections.iter().skip(index + 1).find(|other| other.kind != PADDING);
        let end = behind.map_or(end, |other| other.at);
        let begin = section.at + HEADER + FILE_HEADER;
        let most = end.saturating_sub(begin).min(CONFIG_MOST);
        let no_room = BadImage::NoRoom { length: config.len(), most };
        if config.len() > most {
            return Err(no_room);
        }
        let length = u32::try_from(config.len() + FILE_HEADER).map_err(|_| no_room.clone())?;
        let area = bytes.get_mut(section.at + 4..end).ok_or(no_room)?;
        let (header, area) = area.split_at_mut(4);
        header.copy_from_slice(&length.to_be_bytes());
        let area = area.get_mut(FILE_HEADER..).unwrap_or_default();
        let (text, rest) = area.split_at_mut(config.len());
        text.copy_from_slice(config);
        rest.fill(0xff);
        // Sections begin at multiples of eight.
        let skip = (begin + config.len()).next_multiple_of(8) - (begin + config.len());
        let padding = rest.get_mut(skip..).filter(|padding| !is_last && padding.len() >= HEADER);
        if let Some(padding) = padding {
            let length = u32::try_from(padding.len() - HEADER).unwrap_or(0);
            let (header, _) = padding.split_at_mut(HEADER);
            header.copy_from_slice(&(u64::from(PADDING) << 32 | u64::from(length)).to_be_bytes());
        }
        Ok(())
    }

    /// The time twice, the first time with all bits turned round: so a half-written one is known.
    fn put_time(&self, bytes: &mut [u8], seconds: u32) -> Result<(), BadImage> {
        let mut pair = [0; 8];
        let (inverse, plain) = pair.split_at_mut(4);
        inverse.copy_from_slice(&(!seconds).to_le_bytes());
        plain.copy_from_slice(&seconds.to_le_bytes());
        // An image without such a file keeps it in the last eight bytes.
        let mut places: Vec<usize> = Vec::new();
        let files: Vec<&Section> = self.sections.iter().filter(|section| section.name == UPDATED).collect();
        if files.iter().any(|section| section.at < HALF.start) {
            let kept = files.iter().filter(|section| section.at < HALF.end);
            places.extend(kept.map(|section| section.at + HEADER + FILE_HEADER));
        } else {
            places.push(bytes.len() - pair.len());
        }
        for at in places {
            bytes.get_mut(at..at + pair.len()).ok_or(BadImage::Missing(UPDATED))?.copy_from_slice(&pair);
        }
        Ok(())
    }

    fn config_section(&self) -> Result<&Section, BadImage> {
        let fits = |section: &&Section| section.name == CONFIG && HALF.contains(&section.at);
        self.sections.iter().find(fits).ok_or(BadImage::Missing(CONFIG))
    }

    fn content(&self, section: &Section) -> &[u8] {
        let begin = section.at + HEADER;
        let skip = if section.kind == FILE { FILE_HEADER } else { 0 };
        self.bytes.get(begin + skip..begin + section.length).unwrap_or_default()
    }

    fn text(&self, section: &Section) -> Result<&str, BadImage> {
        std::str::from_utf8(self.content(section)).map_err(|_| BadImage::NotText)
    }

    fn number_behind(&self, word: &[u8]) -> Option<u32> {
        let at = find(&self.bytes, word)? + word.len();
        let digits = self.bytes.get(at..at + 10)?.split(|b| !b.is_ascii_digit()).next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// Text of the file `pieeprom.sig` that goes with an image: its SHA-256, when it was made, and for which processor.
///
/// A bootloader of October 2020 or later takes an image only if this time is later than that of the image it has.
pub fn signature(sha256: &[u8; 32], at: Moment, chip: Chip) -> String {
    format!("{}\nts: {}\ntarget-soc: {}\n", hex(sha256), at.secs(), chip.number())
}

fn sections(bytes: &[u8]) -> Result<Vec<Section>, BadImage> {
    let mut sections: Vec<Section> = Vec::new();
    let mut at: usize = 0;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let [a, b, c, d, e, f, g, h] = *header;
        let (kind, length) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if matches!(kind, 0 | u32::MAX) {
            break;
        }
        let damaged = BadImage::Damaged { at };
        let length = usize::try_from(length).map_err(|_| damaged.clone())?;
        let begin = at + HEADER;
        let content =
            begin.checked_add(length).and_then(|end| bytes.get(begin..end)).ok_or(damaged.clone())?;
        let is_kind = kind & KIND_MASK == LOADER & KIND_MASK;
        if !is_kind || (sections.is_empty() && kind != LOADER) || sections.len() >= limits::EEPROM_SECTIONS {
            return Err(damaged);
        }
        let mut name = String::new();
        if kind == FILE {
            let (raw, _) = content.split_at_checked(FILE_HEADER).ok_or(damaged.clone())?;
            let raw = raw.get(..NAME).unwrap_or_default();
            let end = raw.iter().position(|b| *b == 0).unwrap_or(NAME);
            let text = raw.get(..end).and_then(|raw| std::str::from_utf8(raw).ok()).ok_or(damaged)?;
            text.clone_into(&mut name);
        }
        sections.push(Section { kind, at, length, name });
        at = (begin + length).next_multiple_of(8);
    }
    if sections.is_empty() { Err(BadImage::Damaged { at: 0 }) } else { Ok(sections) }
}

fn is_blank(content: &[u8]) -> bool {
    content.iter().all(|b| *b == 0) || content.iter().all(|b| *b == 0xff)
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|b| *b == first)?;
        if bytes.get(at..)?.starts_with(word) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;

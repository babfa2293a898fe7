//! An image of an EEPROM in which nothing runs, laid out as those of August 2026: for tests and simulated Pis.

use super::Chip;

const LOADER: u32 = 0x55aa_f00f;
const MODULE: u32 = 0x55aa_f44f;
const FILE: u32 = 0x55aa_f11f;
const PADDING: u32 = 0x55aa_feef;

/// What a bootloader says of itself: names of its settings, when it was built, and which boards it is new enough for.
const WORDS: &[u8] =
    b"\0BOOT_ORDER\0NET_INSTALL_ENABLED\0NET_INSTALL_AT_POWER_ON\0HDMI_DELAY\0TFTP_PREFIX\0NETCONSOLE\0\
                       BUILD_TIMESTAMP=1785847093\0MFG_VER: 1\0";

/// A Pi 4 has the settings last; a Pi 5 has padding behind them, and an empty half behind that.
pub fn image(chip: Chip, config: &str) -> Vec<u8> {
    let mut image = Builder { bytes: Vec::new() };
    image.section(LOADER, &[WORDS, &[7; 3000]].concat());
    image.section(MODULE, &[9; 5001]);
    let no_time = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    if chip == Chip::Bcm2712 {
        image.file("updatetime", &no_time);
        image.pad_to(64 << 10);
        image.file("bootsys", &[5; 7001]);
    } else {
        image.pad_to(66_048);
    }
    image.file("updatetime", &no_time);
    image.file("pubkey.bin", &[0; 512]);
    image.file("bootconf.sig", &[0; 1024]);
    let block = image.bytes.len().next_multiple_of(4096);
    image.pad_to(block);
    image.file("bootconf.txt", config.as_bytes());
    if chip == Chip::Bcm2712 {
        image.pad_to((64 << 10) + (988 << 10));
        image.pad_to(chip.image_bytes() - 2 * 4096);
    }
    image.bytes.resize(chip.image_bytes(), 0xff);
    image.bytes
}

struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    fn section(&mut self, kind: u32, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap_or(0);
        self.bytes.extend(kind.to_be_bytes().into_iter().chain(length.to_be_bytes()));
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0xff);
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        let mut file = name.as_bytes().to_vec();
        file.resize(16, 0);
        file.extend(content);
        self.section(FILE, &file);
    }

    fn pad_to(&mut self, end: usize) {
        let length = end.saturating_sub(self.bytes.len() + 8);
        self.section(PADDING, &vec![0xff; length]);
    }
}

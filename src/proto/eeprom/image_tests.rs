use proptest::prelude::*;

use super::*;
use crate::proto::eeprom::sample::image;

const AT: Moment = Moment::from_secs(1_795_435_200);

/// Another way to read an image: no table, straight to the name of the file.
fn read(bytes: &[u8], name: &str) -> Vec<u8> {
    let mut header = vec![0; 12];
    header[..name.len()].copy_from_slice(name.as_bytes());
    let at = bytes.windows(12).rposition(|window| window == header).expect("the file is there");
    let length = u32::from_be_bytes(bytes[at - 4..at].try_into().expect("four"));
    bytes[at + 16..at - 4 + 4 + usize::try_from(length).expect("small")].to_vec()
}

const SHIPPED: &str = "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n";

#[test]
fn settings_are_replaced_and_nothing_else() {
    for chip in [Chip::Bcm2711, Chip::Bcm2712] {
        let bytes = image(chip, SHIPPED);
        let image = Image::parse(bytes.clone()).expect("an image");
        assert_eq!((image.chip(), image.config(), image.board_version()), (chip, SHIPPED, 1));
        assert_eq!(image.built(), Some(Moment::from_secs(1_785_847_093)));
        assert!(
            image.knows("BOOT_ORDER")
                && image.knows("NET_INSTALL_ENABLED")
                && !image.knows("BOOT_WATCHDOG_TIMEOUT")
        );
        for text in ["[all]\n", &"# longer than before\n".repeat(150)] {
            let changed = image.with(text, AT).expect("it fits");
            assert_eq!(changed.len(), bytes.len());
            assert_eq!(read(&changed, CONFIG), text.as_bytes(), "{chip}");
            let again = Image::parse(changed.clone()).expect("still an image");
            assert_eq!(again.config(), text);
            // Of the rest only the time is another.
            let time = [(!1_795_435_200_u32).to_le_bytes(), 1_795_435_200_u32.to_le_bytes()].concat();
            let place = image.config_section().expect("settings").at;
            let mut different: Vec<usize> = (0..place).filter(|at| bytes[*at] != changed[*at]).collect();
            different.retain(|at| *at >= BLOCK);
            if chip == Chip::Bcm2711 {
                assert_eq!(different, Vec::<usize>::new());
                assert_eq!(changed[changed.len() - 8..], time);
            } else {
                assert_eq!(different.len(), 16, "in front of the half, and in it");
                assert_eq!(read(&changed, UPDATED), time);
                assert_eq!(changed[changed.len() - 8..], [0xff; 8]);
            }
            let behind = HALF.end.min(bytes.len() - BLOCK)..bytes.len() - 8;
            assert_eq!(
                changed[behind.clone()],
                bytes[behind],
                "the bootloader's own block, and the other half"
            );
        }
    }
}

#[test]
fn padding_behind_the_settings_is_a_section_again() {
    let image = Image::parse(image(Chip::Bcm2712, SHIPPED)).expect("an image");
    let changed = image.with("[all]\nA=1\n", AT).expect("it fits");
    let at = image.config_section().expect("settings").at;
    assert_eq!(changed[at + 4..at + 8], 26_u32.to_be_bytes(), "name and text");
    // 24 bytes in front of the text, 10 of it, 6 up to a multiple of eight.
    assert_eq!(changed[at + 34..at + 40], [0xff; 6]);
    assert_eq!(changed[at + 40..at + 44], PADDING.to_be_bytes());
    let length = u32::from_be_bytes(changed[at + 44..at + 48].try_into().expect("four"));
    assert_eq!(usize::try_from(length).expect("small"), HALF.end - at - 48);
}

#[test]
fn room_for_settings_is_a_block() {
    for chip in [Chip::Bcm2711, Chip::Bcm2712] {
        let image = Image::parse(image(chip, SHIPPED)).expect("an image");
        let longest = "#".repeat(CONFIG_MOST);
        assert_eq!(CONFIG_MOST, 4076);
        let full = image.with(&longest, AT).expect("it fits");
        assert_eq!(Image::parse(full).expect("an image").config(), longest);
        let error = image.with(&format!("{longest}#"), AT).expect_err("one too many");
        assert_eq!(
            error.to_string(),
            "the settings have 4077 bytes, and there is room for 4076; take some away"
        );
    }
}

#[test]
fn a_signed_image_is_refused_with_the_reason() {
    let says = |name: &str| {
        format!(
            "it is signed for secure boot (`{name}`): changed settings would not be valid, and the Pi would not start; sign and \
             write it with Raspberry Pi's own tools"
        )
    };
    for (name, chip) in [("bootconf.sig", Chip::Bcm2711), ("pubkey.bin", Chip::Bcm2712)] {
        let mut bytes = image(chip, SHIPPED);
        let at = bytes
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .expect("the file is there");
        bytes[at + FILE_HEADER] = 0x30;
        assert_eq!(Image::parse(bytes).expect_err("signed").to_string(), says(name));
    }
    let bytes = image(Chip::Bcm2711, "[all]\nSIGNED_BOOT=1\n");
    assert_eq!(Image::parse(bytes).expect_err("signed").to_string(), says("SIGNED_BOOT"));
    assert!(Image::parse(image(Chip::Bcm2711, "[all]\nSIGNED_BOOT=0\n")).is_ok());
}

#[test]
fn what_is_no_image_says_so() {
    let says = |bytes: Vec<u8>| Image::parse(bytes).expect_err("no image").to_string();
    assert_eq!(
        says(vec![0; 1000]),
        "it has 1000 bytes, and an image of an EEPROM has 524288 (Pi 4) or 2097152 (Pi 5)"
    );
    assert_eq!(says(vec![0; 512 << 10]), "at byte 0 there is no section of an EEPROM; the file is damaged");
    let mut bytes = image(Chip::Bcm2711, SHIPPED);
    bytes[3] = 0x1f;
    assert_eq!(says(bytes), "at byte 0 there is no section of an EEPROM; the file is damaged");
    let mut bytes = image(Chip::Bcm2711, SHIPPED);
    bytes[4] = 1;
    assert_eq!(says(bytes), "at byte 0 there is no section of an EEPROM; the file is damaged");
    let mut bytes = image(Chip::Bcm2711, SHIPPED);
    let at = bytes.windows(CONFIG.len()).position(|window| window == CONFIG.as_bytes()).expect("there");
    bytes[at] = b'B';
    assert_eq!(says(bytes), "it has no `bootconf.txt` inside; the file is damaged, or of another kind");
}

#[test]
fn the_signature_has_three_lines() {
    let digits = "0123456789abcdef".repeat(4);
    let mut sum = [0; 32];
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
    }
    assert_eq!(signature(&sum, AT, Chip::Bcm2712), format!("{digits}\nts: 1795435200\ntarget-soc: 2712\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever is broken in an image, it is refused or can still be written so that its settings are read back.
    #[test]
    fn a_damaged_image_is_refused_or_works(flips in proptest::collection::vec((0usize..90_000, any::<u8>()), 0..6), config in "[ -~\n]{0,300}") {
        let mut bytes = image(Chip::Bcm2711, SHIPPED);
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        if let Ok(image) = Image::parse(bytes)
            && let Ok(changed) = image.with(&config, AT)
        {
            match Image::parse(changed) {
                Ok(again) => prop_assert_eq!(again.config(), config),
                Err(BadImage::Signed("SIGNED_BOOT")) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

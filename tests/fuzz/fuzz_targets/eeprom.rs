//! An image of an EEPROM with anything written over it, anything as its settings and as what is to be changed: refused, or
//! what comes back is an image with exactly these settings.
#![no_main]

use bramble::proto::eeprom::image::{BadImage, Image};
use bramble::proto::eeprom::settings::Settings;
use bramble::proto::eeprom::{Chip, config, sample};
use bramble::types::Moment;

/// Where the sections of the sample begin that matter, and a little before each.
const PLACES: [usize; 6] = [0, 3080, 8080, 66_040, 66_580, 69_600];

libfuzzer_sys::fuzz_target!(|input: (bool, Vec<(u8, u8, Vec<u8>)>, String, String)| {
    let (pi5, patches, text, change) = input;
    let chip = if pi5 { Chip::Bcm2712 } else { Chip::Bcm2711 };
    let mut bytes = sample::image(chip, "[all]\nBOOT_ORDER=0xf41\n");
    for (place, offset, patch) in patches {
        let at = PLACES[usize::from(place) % PLACES.len()] + usize::from(offset);
        for (to, from) in bytes[at..].iter_mut().zip(patch) {
            *to = from;
        }
    }
    let text = match change.parse::<Settings>() {
        Ok(settings) => {
            assert_eq!(settings.to_string().parse::<Settings>().as_ref(), Ok(&settings));
            let changed = config::apply(&text, &settings);
            for (name, value) in settings.iter() {
                assert_eq!(config::value(&changed, name), value, "{text:?}");
            }
            changed
        }
        Err(_) => text,
    };
    let Ok(image) = Image::parse(bytes) else { return };
    let at = Moment::from_secs(1_795_435_200);
    let Ok(changed) = image.with(&text, at) else { return };
    assert_eq!(changed.len(), chip.image_bytes());
    match Image::parse(changed) {
        Ok(again) => assert_eq!(again.config(), text),
        Err(error) => assert!(matches!(error, BadImage::Signed("SIGNED_BOOT")), "{error}"),
    }
});

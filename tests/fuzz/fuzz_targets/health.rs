//! Any JSON as what an agent measured, or as what it says of its bootloader: refused, or possible and bounded; and the
//! verdicts of it are sentences.
#![no_main]

use bramble::proto::agent::eeprom::Report;
use bramble::proto::agent::health::Health;
use bramble::service::eeprom::Eeproms;
use bramble::service::room::vitals::Vitals;
use bramble::service::verdicts::{Facts, judge};
use bramble::types::{MacAddr, Moment, limits};

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| {
    let (measured, told) = input;
    let (mac, now) = (MacAddr::new([2, 0, 0, 0, 0, 1]), Moment::from_secs(1_795_435_200));
    if let Ok(health) = serde_json::from_slice::<Health>(measured) {
        let checked = health.clone().checked();
        assert_eq!(checked.clone().checked(), checked);
        let vitals = Vitals::default();
        vitals.record(mac, health, now);
        let facts = Facts { health: vitals.newest(mac).map(|vital| (vital.at, vital.health)), ..Facts::default() };
        for verdict in judge(facts, &[], now) {
            assert!(verdict.sentence.ends_with('.') && verdict.sentence.len() < 500);
        }
    }
    if let Ok(report) = serde_json::from_slice::<Report>(told) {
        let config = report.config.clone().unwrap_or_default();
        assert!(config.as_str().len() <= limits::EEPROM_CONFIG);
        let eeproms = Eeproms::default();
        eeproms.reported(mac, &"boot-1".into(), report, now);
        assert!(eeproms.get(mac).said.is_some() && !eeproms.is_offered(mac));
    }
});

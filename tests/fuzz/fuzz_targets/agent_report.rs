//! Any datagram as an agent's report, any file as a personality: refused, or whole and printable.
#![no_main]

use bramble::proto::agent::{Personality, Report};
use bramble::types::limits;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Report::decode(bytes) {
        assert!(!report.message.contains(char::is_control));
        let again = report.encode();
        assert!(again.len() <= limits::REPORT);
        assert_eq!(Report::decode(&again).expect("our own"), report);
    }
    if let Ok(personality) = Personality::decode(bytes) {
        let again = Personality::decode(&personality.encode()).expect("our own");
        assert_eq!(again, personality);
        let zone = personality.timezone.as_ref().map_or("", |zone| zone.as_str());
        assert!(!zone.starts_with('/') && !zone.split('/').any(|part| part == ".."));
        assert!(personality.mask.iter().all(|unit| !unit.as_str().contains(['/', '\n'])));
    }
});

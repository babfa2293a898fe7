#![no_main]
//! A tar archive: whatever its headers say, no name leads out of the tree, lengths and holes make sense, and nothing is read
//! beyond what is there.

use std::path::Component;

use bramble::service::images::archive::{Archive, Kind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let mut archive = Archive::new(&mut input);
    let mut most = bytes.len() / 512 + 1;
    while let Ok(Some(entry)) = archive.next_entry() {
        // Each has a header of its own.
        most = most.checked_sub(1).expect("no more entries than headers");
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        assert!(entry.path.components().all(inside), "{}", entry.path.display());
        if let Kind::File { size, pieces } = &entry.kind {
            let mut at = 0;
            for (offset, len) in pieces {
                assert!(*offset >= at, "pieces follow each other");
                at = offset.checked_add(*len).expect("no length overflows");
            }
            assert!(at <= *size, "pieces are within the file");
        }
    }
});

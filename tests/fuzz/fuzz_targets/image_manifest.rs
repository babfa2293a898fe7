#![no_main]
//! The notes of an exported image: whatever stands there, what is read is bounded, one line each, and comes back the same.

use bramble::proto::manifest::{Head, Tail};
use bramble::types::limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(head) = Head::decode(bytes) {
        for text in [&head.note, &head.release, &head.bramble] {
            assert!(text.len() <= limits::IMAGE_NOTE && !text.chars().any(char::is_control));
        }
        if head.encode().len() as u64 <= limits::IMAGE_MANIFEST {
            assert_eq!(Head::decode(&head.encode()).expect("our own"), head);
        }
    }
    if let Ok(tail) = Tail::decode(bytes)
        && tail.encode().len() as u64 <= limits::IMAGE_MANIFEST
    {
        assert_eq!(Tail::decode(&tail.encode()).expect("our own"), tail);
    }
});

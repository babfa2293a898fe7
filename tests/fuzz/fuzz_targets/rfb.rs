//! What a viewer says first, and any password: one of three versions or none, answers of a fixed length, and no other password
//! that counts as the same.
#![no_main]

use bramble::proto::rfb::{PASSWORD, PASSWORD_LENGTH, Version, response};

libfuzzer_sys::fuzz_target!(|input: ([u8; 12], [u8; 16], String, String)| {
    let (said, challenge, password, why) = input;
    if let Ok(version) = Version::read(&said) {
        assert!(said.starts_with(b"RFB ") && said.ends_with(b"\n"));
        assert_eq!(version.offer().last(), Some(&PASSWORD));
        let refusal = version.refusal(&why);
        assert_eq!(refusal.get(..4), Some(&[0, 0, 0, 1][..]));
        let told = if version == Version::V8 { 4 + why.len() } else { 0 };
        assert_eq!(refusal.len(), 4 + told);
    }
    let answer = response(&challenge, &password);
    assert_eq!(answer, response(&challenge, &password));
    // Only the first bytes count, as the RFC has it; a byte that is not there counts as zero.
    let counts: Vec<u8> = password.bytes().chain([0; PASSWORD_LENGTH]).take(PASSWORD_LENGTH).collect();
    if let Ok(same) = String::from_utf8(counts) {
        assert_eq!(answer, response(&challenge, &same));
    }
});

#![no_main]
//! The ends of compressed files: no header, index or frame makes their readers stumble, and what they say is possible.

use bramble::proto::packed::{XZ_EDGE, xz_index, xz_index_len, xz_memory, zstd_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(index) = xz_index(bytes) {
        assert!(index.packed.is_multiple_of(4), "blocks are padded");
    }
    if let Some(footer) = bytes.first_chunk::<XZ_EDGE>()
        && let Some(len) = xz_index_len(footer)
    {
        assert!(len.is_multiple_of(4) && len > 0, "an index is padded");
    }
    let with = |magic: &[u8]| [magic, bytes].concat();
    if let Some(memory) = xz_memory(&with(b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46")) {
        assert!(memory <= (4 << 30) + (1 << 20), "no dictionary is larger than 4 GiB");
    }
    if let Some(frame) = zstd_frame(&with(b"\x28\xb5\x2f\xfd")) {
        assert!(frame.unpacked.is_some() || frame.window < 1 << 42, "eight bits say no larger window");
    }
});

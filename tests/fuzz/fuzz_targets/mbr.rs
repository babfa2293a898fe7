#![no_main]
//! The first sectors of a disk image, and the ends of a packed one: whatever they say, nothing overflows and every
//! answer lies within the image.

use bramble::proto::{mbr, packed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (len, bytes) = input;
    let mut sector = [0; mbr::SECTOR];
    for (to, from) in sector.iter_mut().zip(bytes) {
        *to = *from;
    }
    // Without the signature nothing else is looked at.
    if len % 8 != 0 {
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
    }
    if let Ok(table) = mbr::partitions(&sector, len) {
        for (at, one) in table.iter().enumerate() {
            assert!(one.start >= mbr::SECTOR as u64 && one.start + one.len <= len);
            for other in &table[..at] {
                assert!(one.start + one.len <= other.start || other.start + other.len <= one.start);
            }
        }
    }
    if let Ok(fat) = mbr::fat(&sector, len) {
        assert!(u64::from(fat.clusters) * u64::from(fat.cluster_bytes) <= len);
    }
    let _ = packed::Packing::of(bytes);
    let _ = packed::xz_index(bytes);
    let _ = packed::xz_memory(bytes);
    let _ = packed::zstd_frame(bytes);
    if let Some(footer) = bytes.first_chunk() {
        let _ = packed::xz_index_len(footer);
    }
});

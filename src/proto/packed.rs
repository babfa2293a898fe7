//! What the ends of a compressed file say before it is unpacked: how large the content is, and how much memory the
//! decoder will need.
//!
//! Sources: *The .xz File Format* 1.2.1 (§2.1.1, 2.1.2, 3.1, 4.3, 5.3.1), RFC 8878 §3.1.1 (Zstandard frames), RFC 1952
//! §2.3.1 (gzip trailer).

/// Length of an .xz stream header and of its footer, in bytes.
pub const XZ_EDGE: usize = 12;

const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";

/// How a file is packed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Xz,
    Gzip,
    Zstd,
    Zip,
}

impl Packing {
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one of the frames that decoders skip.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            _ => Self::None,
        }
    }
}

/// Length of the index in front of an .xz footer, in bytes; `None` if this is no footer.
pub fn xz_index_len(footer: &[u8; XZ_EDGE]) -> Option<u64> {
    let (_, rest) = footer.split_at(4);
    let size = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
    (footer.get(10..) == Some(b"YZ")).then(|| (u64::from(size) + 1) * 4)
}

/// What an .xz index adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XzIndex {
    /// All blocks as they are in the file, with padding, in bytes.
    pub packed: u64,
    pub unpacked: u64,
}

/// Reads an .xz index from its indicator byte on. `None` if it is not one.
pub fn xz_index(bytes: &[u8]) -> Option<XzIndex> {
    let (0, mut rest) = bytes.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    let records = vint(&mut rest)?;
    let mut sum = XzIndex { packed: 0, unpacked: 0 };
    for _ in 0..records {
        let packed = vint(&mut rest)?.checked_next_multiple_of(4)?;
        sum.packed = sum.packed.checked_add(packed)?;
        sum.unpacked = sum.unpacked.checked_add(vint(&mut rest)?)?;
    }
    Some(sum)
}

/// Bytes of memory that decoding an .xz file takes, from its first bytes (stream header and first block header).
pub fn xz_memory(first: &[u8]) -> Option<u64> {
    if !first.starts_with(XZ_MAGIC) {
        return None;
    }
    let block = first.get(XZ_EDGE..)?;
    let size = usize::from(*block.first()?);
    // Zero stands for the index: an empty file.
    if size == 0 {
        return Some(0);
    }
    let mut rest = block.get(2..(size + 1) * 4)?;
    let flags = *block.get(1)?;
    for present in [0x40, 0x80] {
        if flags & present != 0 {
            vint(&mut rest)?;
        }
    }
    let mut dictionary = 0;
    for _ in 0..=(flags & 3) {
        let id = vint(&mut rest)?;
        let len = usize::try_from(vint(&mut rest)?).ok()?;
        let properties = rest.get(..len)?;
        rest = rest.get(len..)?;
        if id == 0x21 {
            dictionary = lzma2_dictionary(*properties.first()?)?;
        }
    }
    // Tables and buffers of the decoder beside the dictionary: below 0.2 MiB in liblzma.
    Some(dictionary + (256 << 10))
}

fn lzma2_dictionary(code: u8) -> Option<u64> {
    match code {
        0..=39 => Some((2 | u64::from(code & 1)) << (code / 2 + 11)),
        40 => Some(u64::from(u32::MAX)),
        _ => None,
    }
}

/// A number in groups of seven bits, least first; at most nine bytes.
fn vint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (shift * 7);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// What a Zstandard frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZstdFrame {
    /// Bytes of memory for the window.
    pub window: u64,
    /// Length of the content, if the packer knew it.
    pub unpacked: Option<u64>,
}

/// Reads the header of the first frame. `None` if the file does not begin with a frame of content.
pub fn zstd_frame(first: &[u8]) -> Option<ZstdFrame> {
    let rest = first.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (descriptor, mut rest) = rest.split_first()?;
    let single = descriptor & 0x20 != 0;
    let mut window = 0;
    if !single {
        let (code, after) = rest.split_first()?;
        rest = after;
        let base = 1_u64 << (10 + (code >> 3));
        window = base + base / 8 * u64::from(code & 7);
    }
    rest = rest.get([0, 1, 2, 4].into_iter().nth(usize::from(descriptor & 3))?..)?;
    let number = |len: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..len)?.copy_from_slice(rest.get(..len)?);
        Some(u64::from_le_bytes(bytes))
    };
    let unpacked = match (descriptor >> 6, single) {
        (0, false) => None,
        (0, true) => Some(number(1)?),
        (1, _) => Some(number(2)? + 256),
        (2, _) => Some(number(4)?),
        _ => Some(number(8)?),
    };
    if single {
        window = unpacked?;
    }
    Some(ZstdFrame { window, unpacked })
}

/// Length of a gzip file's content modulo 4 GiB, from its last four bytes.
pub fn gzip_unpacked(last: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `printf %1000s | xz -9`, made with xz 5.4.
    const XZ: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x1c,
        0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc,
    ];

    #[test]
    fn files_are_known_by_their_first_bytes() {
        #[rustfmt::skip]
        let rows: [(&[u8], Packing); 6] = [
            (XZ, Packing::Xz), (b"\x1f\x8b\x08", Packing::Gzip), (b"\x28\xb5\x2f\xfd\x04", Packing::Zstd),
            (b"\x51\x2a\x4d\x18", Packing::Zstd), (b"PK\x03\x04", Packing::Zip), (b"", Packing::None),
        ];
        for (first, packing) in rows {
            assert_eq!(Packing::of(first), packing);
        }
    }

    #[test]
    fn xz_says_what_it_needs() {
        assert_eq!(xz_memory(XZ), Some((64 << 20) + (256 << 10)), "xz -9 has a dictionary of 64 MiB");
        assert_eq!(xz_memory(b"PK\x03\x04"), None);
        // An index of two blocks: 100 and 61 bytes packed, 300 and 5 unpacked.
        let index = [0, 2, 100, 0xac, 0x02, 61, 5];
        assert_eq!(xz_index(&index), Some(XzIndex { packed: 164, unpacked: 305 }));
        assert_eq!(xz_index(&index[..5]), None);
        assert_eq!(xz_index_len(b"\0\0\0\0\x01\0\0\0\0\x04YZ"), Some(8));
        assert_eq!(xz_index_len(b"\0\0\0\0\x01\0\0\0\0\x04YX"), None);
    }

    #[test]
    fn zstd_says_what_it_needs() {
        let frame = |bytes: &[u8]| zstd_frame(&[b"\x28\xb5\x2f\xfd", bytes].concat());
        assert_eq!(frame(&[0x20, 200]), Some(ZstdFrame { window: 200, unpacked: Some(200) }));
        assert_eq!(frame(&[0x60, 0, 1]), Some(ZstdFrame { window: 512, unpacked: Some(512) }));
        assert_eq!(frame(&[0x04, 0x58]), Some(ZstdFrame { window: 2 << 20, unpacked: None }));
        assert_eq!(frame(&[0x04]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let with = |magic: &[u8]| [magic, &bytes].concat();
            let _ = (xz_index(&bytes), xz_memory(&with(&XZ[..12])), zstd_frame(&with(b"\x28\xb5\x2f\xfd")));
        }
    }
}

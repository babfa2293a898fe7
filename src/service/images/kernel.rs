//! What a kernel file tells about itself: its version, and whether it can mount a root over NFS.
//!
//! Raspberry Pi's 64-bit kernels are gzip'd `Image`s, its 32-bit ones `zImage`s with gzip inside; Debian's for PCs have
//! their version in the header of the boot protocol (Documentation/arch/x86/boot.rst, `kernel_version`). A kernel that
//! can mount its root by itself has the messages of `fs/nfs/nfsroot.c` in it.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};

use flate2::read::GzDecoder;

/// What was found in a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `6.12.47+rpt-rpi-v8`; empty if there is no banner.
    pub version: String,
    /// Whether the messages of the NFS root code are there; `None` if the kernel could not be read through.
    pub nfs_root: Option<bool>,
}

const BANNER: &[u8] = b"Linux version ";
const NFS_ROOT: &[u8] = b"Root-NFS: ";

/// No kernel unpacks to more than this many bytes.
const LONGEST: u64 = 256 << 20;

/// Where the packed part of a `zImage` begins at the latest, in bytes.
const ZIMAGE_LOADER: usize = 64 * 1024;

/// Reads through a kernel.
pub fn look(file: &mut File) -> Found {
    let mut first = Vec::new();
    if file.by_ref().take(ZIMAGE_LOADER as u64).read_to_end(&mut first).is_err() {
        return Found::default();
    }
    let packed_at = if first.starts_with(&[0x1f, 0x8b]) {
        Some(0)
    } else if first.get(0x24..0x28) == Some(&[0x18, 0x28, 0x6f, 0x01]) {
        // The magic number of a zImage (arch/arm/boot/compressed/head.S), then gzip's somewhere behind it.
        first.windows(4).position(|bytes| bytes == [0x1f, 0x8b, 8, 0])
    } else if first.get(0x202..0x206) == Some(b"HdrS") {
        return Found { version: pc_version(&first).unwrap_or_default(), nfs_root: None };
    } else {
        None
    };
    if file.seek(SeekFrom::Start(packed_at.unwrap_or(0) as u64)).is_err() {
        return Found::default();
    }
    let input = BufReader::new(file);
    match packed_at {
        Some(_) => scan(&mut GzDecoder::new(input).take(LONGEST)),
        None => scan(&mut input.take(LONGEST)),
    }
}

fn pc_version(first: &[u8]) -> Option<String> {
    let at = usize::from(u16::from_le_bytes([*first.get(0x20e)?, *first.get(0x20f)?])) + 0x200;
    word(first.get(at..)?)
}

/// Searches for the banner and the messages, a window at a time.
fn scan(input: &mut dyn Read) -> Found {
    const OVERLAP: usize = 256;
    let mut found = Found::default();
    let mut nfs_root = false;
    let mut window = vec![0; 64 * 1024];
    let mut kept = 0;
    while let Some(rest) = window.get_mut(kept..) {
        // A kernel with something behind its packed part ends in an error of the decoder: what came out counts.
        let got = super::archive::fill(input, rest).unwrap_or(0);
        if got == 0 {
            break;
        }
        let filled = kept + got;
        let bytes = window.get(..filled).unwrap_or_default();
        if found.version.is_empty() {
            found.version = banners(bytes).next().unwrap_or_default();
        }
        nfs_root = nfs_root || position(bytes, NFS_ROOT).is_some();
        let from = filled.saturating_sub(OVERLAP);
        window.copy_within(from..filled, 0);
        kept = filled - from;
        if filled < window.len() {
            break;
        }
    }
    if !found.version.is_empty() {
        found.nfs_root = Some(nfs_root);
    }
    found
}

/// Versions after `Linux version `, which also stands in format strings.
fn banners(bytes: &[u8]) -> impl Iterator<Item = String> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let at = position(rest, BANNER)?;
            rest = rest.get(at + BANNER.len()..)?;
            if rest.first().is_some_and(u8::is_ascii_digit)
                && let Some(version) = word(rest)
            {
                return Some(version);
            }
        }
    })
}

fn word(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(100).position(|byte| *byte == b' ')?;
    let word = std::str::from_utf8(bytes.get(..end)?).ok()?;
    word.bytes().all(|byte| byte.is_ascii_graphic()).then(|| word.to_owned())
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn found(bytes: &[u8]) -> Found {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file.rewind().expect("rewound");
        look(&mut file)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).expect("packed");
        packed.finish().expect("packed")
    }

    #[test]
    fn kernels_of_each_form() {
        // The banner stands across the border of two windows.
        let mut image = vec![0x55; 64 * 1024 - 10];
        image.extend(b"Linux version %s\0Linux version 6.12.47+rpt-rpi-v8 (build@host) #1\0");
        let plain = image.clone();
        image.extend(b"Root-NFS: no NFS server address\0");
        let with = Found { version: "6.12.47+rpt-rpi-v8".to_owned(), nfs_root: Some(true) };
        let without = Found { nfs_root: Some(false), ..with.clone() };
        let mut zimage = vec![0; 0x24];
        zimage.extend([0x18, 0x28, 0x6f, 0x01]);
        zimage.extend([0; 900]);
        zimage.extend(gzip(&image));
        zimage.extend(b"and what the loader keeps behind it");
        let mut pc = vec![0; 0x240];
        pc[0x202..0x206].copy_from_slice(b"HdrS");
        pc[0x20e] = 0x30;
        pc[0x230..0x23e].copy_from_slice(b"6.1.0-50-amd64");
        pc.extend(b" (debian)");
        pc[0x23e] = b' ';
        #[rustfmt::skip]
        let rows = [
            ("raw", image.clone(), with.clone()), ("gzip'd", gzip(&image), with.clone()), ("zImage", zimage, with),
            ("without NFS root", gzip(&plain), without),
            ("for PCs", pc, Found { version: "6.1.0-50-amd64".to_owned(), nfs_root: None }),
            ("cut", gzip(&image)[..200].to_vec(), Found::default()), ("nothing", vec![], Found::default()),
        ];
        for (shows, bytes, expected) in rows {
            assert_eq!(found(&bytes), expected, "{shows}");
        }
    }
}

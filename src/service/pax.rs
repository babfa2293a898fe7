//! Headers of tar entries as POSIX pax has them, so that any tar reads them, and sparse files as GNU tar writes them.
//!
//! Nothing here reads a folder or writes an archive: backups and exports of images do, each with its own walk.
//!
//! Sources: POSIX.1-2017 pax (*ustar* and *pax interchange* formats), GNU tar manual, *Storing Sparse Files*.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::{Whence, lseek64};
use tar::{EntryType, Header};

use crate::types::limits;

/// Size of a tar block, in bytes.
const BLOCK: usize = 512;

/// What a header says of a file besides its name and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// `0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, i64),
}

impl From<&FileStat> for About {
    fn from(stat: &FileStat) -> Self {
        #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        }
    }
}

/// Keys and values of an extended header.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// What stands in front of a file's content.
#[derive(Debug)]
pub struct Head<'a> {
    pub path: &'a Path,
    pub kind: EntryType,
    pub about: About,
    /// Bytes that follow.
    pub size: u64,
    /// Where a link leads.
    pub link: Option<&'a Path>,
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
    /// Attributes and the like; what does not fit the plain header is added to them.
    pub records: Records,
}

impl Head<'_> {
    /// The header, with an extended one before it for what does not fit.
    pub fn encode(self) -> io::Result<Vec<u8>> {
        let Head { path, kind, about, size, link, device, mut records } = self;
        let mut record = |key: &str, value: &[u8]| records.push((key.as_bytes().to_vec(), value.to_vec()));
        let name = path.as_os_str().as_bytes();
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(about.mode);
        header.set_size(size);
        if name.len() > 99 {
            record("path", name);
        }
        let short = |bytes: &[u8]| OsStr::from_bytes(bytes.get(..99).unwrap_or(bytes)).to_owned();
        if header.set_path(Path::new(&short(name))).is_err() {
            header.set_path("long")?;
            record("path", name);
        }
        if let Some(link) = link {
            let target = link.as_os_str().as_bytes();
            if target.len() > 99 {
                record("linkpath", target);
            }
            header.set_link_name_literal(target.get(..99).unwrap_or(target))?;
        }
        for (key, id) in [("uid", about.uid), ("gid", about.gid)] {
            // Seven octal digits.
            if id > 0o7_777_777 {
                record(key, id.to_string().as_bytes());
            }
        }
        header.set_uid(u64::from(about.uid.min(0o7_777_777)));
        header.set_gid(u64::from(about.gid.min(0o7_777_777)));
        if size > 0o77_777_777_777 {
            record("size", size.to_string().as_bytes());
            header.set_size(0);
        }
        let (secs, nanos) = about.mtime;
        if !(0..=0o77_777_777_777).contains(&secs) || nanos != 0 {
            record("mtime", pax_time(secs, nanos).as_bytes());
        }
        header.set_mtime(u64::try_from(secs).unwrap_or(0).min(0o77_777_777_777));
        if let Some((major, minor)) = device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        header.set_cksum();
        let mut bytes = Vec::new();
        if !records.is_empty() {
            let text: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            let mut extension = Header::new_ustar();
            extension.set_entry_type(EntryType::XHeader);
            extension.set_path("PaxHeader")?;
            extension.set_mode(0o600);
            extension.set_uid(0);
            extension.set_gid(0);
            extension.set_mtime(0);
            extension.set_size(text.len() as u64);
            extension.set_cksum();
            bytes.extend_from_slice(extension.as_bytes());
            bytes.extend_from_slice(&text);
            bytes.extend_from_slice(padding(text.len() as u64));
        }
        bytes.extend_from_slice(header.as_bytes());
        Ok(bytes)
    }
}

/// What fills the last block of `len` bytes.
pub fn padding(len: u64) -> &'static [u8] {
    let rest = len.next_multiple_of(BLOCK as u64) - len;
    [0; BLOCK].get(..usize::try_from(rest).unwrap_or(0)).unwrap_or_default()
}

/// What ends an archive: two empty blocks.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// `length key=value\n`, where the length counts itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    let mut record = format!("{len} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// Seconds with a fraction. Nanoseconds count forwards, also before 1970.
fn pax_time(secs: i64, nanos: i64) -> String {
    if secs < 0 && nanos > 0 {
        format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - nanos)
    } else {
        format!("{secs}.{nanos:09}")
    }
}

/// The key of an extended attribute.
pub fn attribute_key(name: &OsStr) -> Vec<u8> {
    [b"SCHILY.xattr.", name.as_bytes()].concat()
}

/// Where data lies in a file: offset and length.
pub type Pieces = Vec<(u64, u64)>;

/// Where data lies in the file; `None` where it is in more pieces than an archive takes.
pub fn pieces(file: &File, size: u64) -> Option<Pieces> {
    let seek = |offset: u64, whence| -> Result<u64, Errno> {
        let found = lseek64(file.as_fd(), i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?, whence)?;
        u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    };
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match seek(at, Whence::SeekData) {
            Ok(data) => data,
            Err(Errno::ENXIO) => break,
            // A file system that does not tell has no holes.
            Err(_) => return Some(vec![(0, size)]),
        };
        let end = seek(data, Whence::SeekHole).unwrap_or(size).min(size);
        if end <= data {
            break;
        }
        pieces.push((data, end - data));
        if pieces.len() >= limits::TAR_SPARSE {
            return None;
        }
        at = end;
    }
    Some(pieces)
}

/// Bytes in all pieces.
pub fn stored(pieces: &Pieces) -> u64 {
    pieces.iter().map(|(_, len)| len).sum()
}

/// What announces a file with holes, and its map, which stands in front of the content. Nothing for a file without.
pub fn sparse(path: &Path, pieces: &Pieces, size: u64) -> (Records, String) {
    if size == 0 || *pieces == [(0, size)] {
        return (Vec::new(), String::new());
    }
    let mut records: Records = [("major", "1"), ("minor", "0"), ("realsize", &size.to_string())]
        .into_iter()
        .map(|(key, value)| (format!("GNU.sparse.{key}").into_bytes(), value.as_bytes().to_vec()))
        .collect();
    records.push((b"GNU.sparse.name".to_vec(), path.as_os_str().as_bytes().to_vec()));
    (records, map(pieces, size))
}

/// GNU's sparse format 1.0: how many pieces, then offset and length of each, filled up to a block. Ends with an empty
/// piece at the end of the file, as GNU tar writes it.
fn map(pieces: &Pieces, size: u64) -> String {
    let mut text = format!("{}\n", pieces.len() + 1);
    for (offset, len) in pieces.iter().chain(&[(size, 0)]) {
        let _ = write!(text, "{offset}\n{len}\n");
    }
    let full = text.len().next_multiple_of(BLOCK);
    text.extend(std::iter::repeat_n('\0', full - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for len in 1..300 {
            let record = pax_record(b"path", &vec![b'x'; len]);
            let said: usize = record
                .split(|b| *b == b' ')
                .next()
                .and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
                .expect("a length");
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(pax_time(5, 7), "5.000000007");
        assert_eq!(pax_time(-2, 500_000_000), "-1.500000000");
        assert_eq!(pax_time(-2, 0), "-2.000000000");
    }
}

//! What an exported image says of itself: a note at the beginning of the archive, and one at its end.
//!
//! | entry of the archive | says |
//! |---|---|
//! | [`HEAD`], always first | what this is: name, version, release, processor, which Bramble made it and when |
//! | [`TAIL`], always last | how much there was, and the SHA-256 of all of it |
//!
//! The checksum comes last because an archive is written in one go, while the tree is read: a router's disk is slow, and
//! nobody reads a system twice to say first what follows. It is a sum of what the entries mean (path, kind, owner, mode,
//! time, attributes, links, content and where its holes are), in their order; so it holds however the archive is packed,
//! and tells that what was read is what was meant. An archive without its tail was cut off.

use serde::{Deserialize, Serialize};

use crate::types::{Arch, ImageName, Moment, Version, limits};

/// Name of the first entry.
pub const HEAD: &str = "bramble-image.json";
/// Name of the last entry.
pub const TAIL: &str = "bramble-image-end.json";

/// The layout that this Bramble writes and reads.
pub const FORMAT: u32 = 1;

/// What [`HEAD`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    pub name: ImageName,
    pub version: Version,
    /// `Debian GNU/Linux 13 (trixie)`.
    pub release: String,
    pub arch: Arch,
    /// What a person says about the version.
    #[serde(default)]
    pub note: String,
    /// Version of the Bramble that made it.
    pub bramble: String,
    pub made_at: Moment,
}

/// What [`TAIL`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    pub entries: u64,
    /// Content of files, without holes.
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

/// The bytes are no note of an export that we can use.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    #[error(
        "`{entry}` has {len} bytes, more than the {max} that one can have; the archive is damaged or made to do harm",
        max = limits::IMAGE_MANIFEST
    )]
    TooLong { entry: &'static str, len: u64 },
    #[error(
        "the archive was exported by a newer Bramble (its format is {0}, this one reads {FORMAT}); install that version, or a later one, to import it"
    )]
    Newer(u32),
    #[error("`{entry}` in the archive cannot be understood; the archive is damaged, export it again")]
    Json {
        entry: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// Read before the rest, whose shape depends on it.
#[derive(Deserialize)]
struct Formatted {
    format: u32,
}

impl Head {
    pub fn decode(bytes: &[u8]) -> Result<Self, BadManifest> {
        let bad = |source| BadManifest::Json { entry: HEAD, source };
        let bytes = bounded(HEAD, bytes)?;
        let Formatted { format } = serde_json::from_slice(bytes).map_err(bad)?;
        if format > FORMAT {
            return Err(BadManifest::Newer(format));
        }
        let head: Self = serde_json::from_slice(bytes).map_err(bad)?;
        Ok(Self {
            release: one_line(&head.release),
            note: one_line(&head.note),
            bramble: one_line(&head.bramble),
            ..head
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl Tail {
    pub fn decode(bytes: &[u8]) -> Result<Self, BadManifest> {
        let bytes = bounded(TAIL, bytes)?;
        serde_json::from_slice(bytes).map_err(|source| BadManifest::Json { entry: TAIL, source })
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

fn bounded<'a>(entry: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], BadManifest> {
    let len = bytes.len() as u64;
    if len > limits::IMAGE_MANIFEST { Err(BadManifest::TooLong { entry, len }) } else { Ok(bytes) }
}

/// Ends with a line break: people read it with `tar -xOf … bramble-image.json`.
fn encode(note: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(note).expect("texts and numbers are always JSON");
    text.push(b'\n');
    text
}

/// As long as a remark about a version may be, and without what a terminal would obey.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > limits::IMAGE_NOTE {
            break;
        }
        line.push(c);
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> Head {
        Head {
            format: FORMAT,
            name: "trixie".parse().expect("a name"),
            version: Version::FIRST,
            release: "Debian GNU/Linux 13 (trixie)".to_owned(),
            arch: Arch::Arm64,
            note: "with Scratch".to_owned(),
            bramble: "0.1.0".to_owned(),
            made_at: Moment::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn what_is_no_note_is_refused_with_the_reason() {
        let text = |bytes: &[u8]| Head::decode(bytes).expect_err("refused").to_string();
        assert_eq!(
            text(br#"{"format":2,"shape":"unknown"}"#),
            "the archive was exported by a newer Bramble (its format is 2, this one reads 1); install that version, or a later one, to import it"
        );
        assert_eq!(
            text(b"<html>"),
            "`bramble-image.json` in the archive cannot be understood; the archive is damaged, export it again"
        );
        assert_eq!(
            text(&vec![b' '; 16 * 1024 + 1]),
            "`bramble-image.json` has 16385 bytes, more than the 16384 that one can have; the archive is damaged or made to do harm"
        );
        let outside = String::from_utf8(head().encode()).expect("text").replace("\"trixie\"", "\"../x\"");
        assert!(Head::decode(outside.as_bytes()).is_err(), "a name that is a path");
    }

    proptest! {
        /// A note comes back as it was written, but for what no line of text holds.
        #[test]
        fn notes_come_back(note in "[ -~äöü€]{0,60}", secs in 0i64..4_000_000_000, entries: u64, bytes: u64) {
            let head = Head { note: note.trim().to_owned(), made_at: Moment::from_secs(secs), ..head() };
            prop_assert_eq!(Head::decode(&head.encode()).expect("our own"), head);
            let tail = Tail { entries, bytes, sha256: "ab".repeat(32) };
            prop_assert_eq!(Tail::decode(&tail.encode()).expect("our own"), tail);
        }

        #[test]
        fn hostile_texts_become_one_short_line(note in any::<String>()) {
            let hostile = Head { note, release: "\u{1b}[2J\n".repeat(200), ..head() };
            if let Ok(read) = Head::decode(&hostile.encode()) {
                for text in [read.note, read.release] {
                    prop_assert!(text.len() <= limits::IMAGE_NOTE && !text.chars().any(char::is_control));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Head::decode(&bytes), Tail::decode(&bytes));
        }
    }
}

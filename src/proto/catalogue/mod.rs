//! Lists of operating systems: the one of Raspberry Pi Imager (`os_list_imagingutility_v4.json`) and the one of PiServer
//! (`piserver.json`), read into one form; and the first of them written, for another Bramble.
//!
//! Nothing here fetches anything: a list that stands elsewhere is answered as [`More`]. Whoever wrote a list is a stranger.
//! A list is weighed before it is read, every text in it is bounded and holds nothing that a terminal would obey
//! ([`text`]), and an entry that makes no sense is left out and counted; the others stay.
//!
//! Sources: rpi-imager `doc/json-schema/os-list-schema.json` and `src/oslistmodel.cpp`; piserver
//! `src/abstractadddistro.cpp`.

mod fits;
mod link;
mod text;
mod write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::fits::{Family, Misfit, fits};
pub use self::link::{Link, is_web};
pub use self::text::clean;
pub use self::write::{can_name, tags, write};
use crate::types::limits;

/// A SHA-256.
pub type Sum = [u8; 32];

/// Why a list cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    #[error("it has more than {} bytes", limits::CATALOGUE)]
    TooLong,
    #[error("it has more than {} values", limits::CATALOGUE_VALUES)]
    TooMuch,
    #[error(
        "it is a web page and not a list; the address leads to something else, such as the log-in page of a network"
    )]
    WebPage,
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("it has no `os_list`; it is neither a list of Raspberry Pi Imager nor one of PiServer")]
    NoList,
}

/// One list, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub entries: Vec<Entry>,
    /// Lists that are to be read too.
    pub more: Vec<More>,
    /// Entries that were left out: something that is needed is missing, or is not what it should be.
    pub left_out: usize,
}

/// A list that stands elsewhere, below a heading of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    pub headings: Vec<String>,
    pub place: Link,
}

/// One operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub description: String,
    /// What it stands below, outermost first.
    pub headings: Vec<String>,
    pub place: Link,
    /// `2026-06-18`; empty if the list does not say.
    pub released: String,
    /// Length of the file.
    pub file_bytes: Option<u64>,
    /// Length of what is in it; for PiServer's lists the room that it takes.
    pub content_bytes: Option<u64>,
    pub file_sum: Option<Sum>,
    pub content_sum: Option<Sum>,
    /// Tags of the devices it is for, such as `pi4-64bit`; empty if the list does not say.
    pub devices: Vec<String>,
}

/// Reads the list that stands at `base`, below `headings` of the list that led to it.
pub fn read(bytes: &[u8], base: &Link, headings: &[String]) -> Result<List, BadList> {
    weigh(bytes)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Err(BadList::WebPage);
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| BadList::NotJson { line: error.line(), column: error.column() })?;
    let Some(items) = value.get("os_list").and_then(Value::as_array) else { return Err(BadList::NoList) };
    let mut reader = Reader { base, list: List::default() };
    reader.items(items, headings);
    Ok(reader.list)
}

/// Counts what a list would take in memory, without reading it.
fn weigh(bytes: &[u8]) -> Result<(), BadList> {
    if bytes.len() > limits::CATALOGUE {
        return Err(BadList::TooLong);
    }
    let (mut values, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match (in_text, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b',' | b'{' | b'[') => values += 1,
            _ => {}
        }
    }
    if values > limits::CATALOGUE_VALUES { Err(BadList::TooMuch) } else { Ok(()) }
}

struct Reader<'a> {
    base: &'a Link,
    list: List,
}

impl Reader<'_> {
    fn items(&mut self, items: &[Value], headings: &[String]) {
        for item in items {
            let read = item.as_object().and_then(|item| self.item(item, headings));
            if read.is_none() {
                self.list.left_out += 1;
            }
        }
    }

    /// `None` if the item makes no sense, or is one too many.
    fn item(&mut self, item: &Map<String, Value>, headings: &[String]) -> Option<()> {
        let name = label(item, &["name", "os_name"])?;
        let within = || {
            let deeper = headings.len() < limits::CATALOGUE_DEPTH;
            deeper.then(|| headings.iter().cloned().chain([name.clone()]).collect::<Vec<_>>())
        };
        if let Some(items) = item.get("subitems").and_then(Value::as_array) {
            self.items(items, &within()?);
            return Some(());
        }
        if let Some(url) = item.get("subitems_url").and_then(Value::as_str) {
            if self.list.more.len() >= limits::CATALOGUE_LISTS {
                return None;
            }
            self.list.more.push(More { headings: within()?, place: self.base.follow(url)? });
            return Some(());
        }
        if self.list.entries.len() >= limits::CATALOGUE_ENTRIES {
            return None;
        }
        let place = self.base.follow(text_of(item, &["url", "tarball"])?)?;
        let (file_sum, content_sum) = (sum(item, "image_download_sha256"), sum(item, "extract_sha256"));
        // Whoever can change what comes in the clear can change a system that nothing vouches for.
        if self.base.is_safe() && !place.is_safe() && file_sum.is_none() && content_sum.is_none() {
            return None;
        }
        let mib = |key| number(item, key).and_then(|mib| mib.checked_mul(1 << 20));
        self.list.entries.push(Entry {
            description: label_of(item, "description", limits::CATALOGUE_TEXT).unwrap_or_default(),
            headings: headings.to_vec(),
            place,
            released: released(item),
            file_bytes: number(item, "image_download_size"),
            content_bytes: number(item, "extract_size").or_else(|| mib("nominal_size")),
            file_sum,
            content_sum,
            devices: devices(item),
            name,
        });
        Some(())
    }
}

fn text_of<'a>(item: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| item.get(*key)?.as_str())
}

fn label_of(item: &Map<String, Value>, key: &str, most: usize) -> Option<String> {
    let text = clean(text_of(item, &[key])?, most);
    (!text.is_empty()).then_some(text)
}

fn label(item: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| label_of(item, key, limits::CATALOGUE_NAME))
}

/// A whole number, also as a text; zero says nothing.
fn number(item: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = item.get(key)?;
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (number > 0).then_some(number)
}

fn sum(item: &Map<String, Value>, key: &str) -> Option<Sum> {
    let text = item.get(key)?.as_str()?.trim();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sum)
}

/// A day, or nothing: releases are compared by it.
fn released(item: &Map<String, Value>) -> String {
    let text = text_of(item, &["release_date"]).unwrap_or_default().trim();
    let is_day = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if is_day { text.to_owned() } else { String::new() }
}

fn devices(item: &Map<String, Value>) -> Vec<String> {
    let tags = item.get("devices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_tag = |tag: &&str| {
        !tag.is_empty()
            && tag.len() <= 40
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b))
    };
    let tags = tags.iter().filter_map(Value::as_str).filter(is_tag);
    tags.take(limits::CATALOGUE_DEVICES).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests;

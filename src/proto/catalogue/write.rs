//! Writes a list in the form of Raspberry Pi Imager's, of files that stand beside it.

use serde_json::json;

use super::{Entry, Link};
use crate::types::{Arch, hex};

/// The list of `entries`, each of which names a file of its folder. What an entry does not know is left out.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let items: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "description": entry.description,
                "url": entry.place.file_name(),
                "release_date": entry.released,
                "image_download_size": entry.file_bytes.unwrap_or(0),
                "image_download_sha256": entry.file_sum.map(|sum| hex(&sum)).unwrap_or_default(),
                "extract_size": entry.content_bytes.unwrap_or(0),
                "extract_sha256": entry.content_sum.map(|sum| hex(&sum)).unwrap_or_default(),
                "devices": entry.devices,
            })
        })
        .collect();
    let mut text = serde_json::to_vec_pretty(&json!({ "os_list": items })).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Whether a list can name a file beside it by `name` wherever the list is read: on the web and in a folder.
pub fn can_name(name: &str) -> bool {
    let of_the_web = Link::Web("https://h.example/list.json".to_owned()).follow(name);
    !name.contains(['/', '?', '#', '%']) && of_the_web.is_some_and(|link| link.file_name() == name)
}

/// Tags of the Pis that run systems of `arch`; none if those are no Pis.
pub fn tags(arch: Arch) -> Vec<String> {
    let tags: &[&str] = match arch {
        Arch::Armhf => &["pi2-32bit", "pi3-32bit", "pi4-32bit", "pi5-32bit"],
        Arch::Arm64 => &["pi3-64bit", "pi4-64bit", "pi5-64bit"],
        Arch::Amd64 => &[],
    };
    tags.iter().map(ToString::to_string).collect()
}

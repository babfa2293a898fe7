//! Any bytes as a list of operating systems, from the web and from a stick: read within bounds, or refused.
#![no_main]

use std::path::Path;

use bramble::proto::catalogue::{Family, Link, fits, is_web, read};
use bramble::types::limits;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let web = Link::Web("https://host.example/lists/os.json".to_owned());
    let stick = Link::File("/mnt/stick/lists/os.json".into());
    for base in [&web, &stick] {
        let Ok(list) = read(bytes, base, &["above".to_owned()]) else { continue };
        assert!(list.entries.len() <= limits::CATALOGUE_ENTRIES && list.more.len() <= limits::CATALOGUE_LISTS);
        for entry in &list.entries {
            let texts = entry.headings.iter().chain([&entry.name, &entry.description]);
            for text in texts {
                assert!(text.chars().count() <= limits::CATALOGUE_TEXT && !text.chars().any(char::is_control));
            }
            assert!(entry.headings.len() <= limits::CATALOGUE_DEPTH && entry.devices.len() <= limits::CATALOGUE_DEVICES);
            let _ = fits(entry, &[Family::Pi4]);
        }
        for place in list.entries.iter().map(|entry| &entry.place).chain(list.more.iter().map(|more| &more.place)) {
            match place {
                Link::Web(url) => assert!(is_web(url)),
                // A list from the web names no file; one on a stick none outside its folder.
                Link::File(path) => {
                    assert!(matches!(base, Link::File(_)) && path.starts_with(Path::new("/mnt/stick/lists")));
                    assert!(!path.components().any(|part| part.as_os_str() == ".."));
                }
            }
        }
    }
});

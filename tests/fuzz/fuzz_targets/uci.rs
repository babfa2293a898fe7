//! Any bytes as any of the four files of a configuration: read, checked, edited.
#![no_main]

use bramble::config::edit::{Edit, NewValue, edited};
use bramble::config::load::{Source, Sources, from_sources};
use bramble::config::uci::Document;

const BRAMBLE: &str = "config bramble 'main'\n\toption data '/mnt/x'\n";
const NETWORK: &str =
    "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '192.168.1.1/24'\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, text)) = bytes.split_first() else { return };
    let document = Document::read(text);
    let mut end = 0;
    for statement in &document.statements {
        assert!(statement.bytes.start >= end && statement.bytes.end <= text.len());
        end = statement.bytes.end;
    }
    let _ = document.show("t");

    let source = |name: &str, own: u8, default: &str| Source {
        name: name.to_owned(),
        text: Some(if which % 4 == own { text.to_vec() } else { default.as_bytes().to_vec() }),
    };
    let sources = Sources {
        bramble: source("bramble", 0, BRAMBLE),
        network: source("network", 1, NETWORK),
        dhcp: source("dhcp", 2, ""),
        system: source("system", 3, ""),
    };
    if let Err(problems) = from_sources(&sources) {
        assert!(!problems.is_empty());
    }

    // What an edit makes of a file can be read again without a new fault.
    let value = NewValue::One("1".to_owned());
    let section = document.sections.first().map_or_else(|| "main".to_owned(), |section| section.path());
    let edits = [
        Edit::Add { kind: "client".to_owned(), name: None, options: vec![("mac".to_owned(), value.clone())] },
        Edit::Set { section: section.clone(), option: "x".to_owned(), value },
        Edit::Unset { section: section.clone(), option: "x".to_owned() },
        Edit::Remove { section },
    ];
    for edit in edits {
        if let Ok(after) = edited(text, &[edit]) {
            assert!(Document::read(&after).faults.len() <= document.faults.len());
        }
    }
});

//! What the web pages are told of the program: the schema they make their forms from, and the table of methods that their
//! tests are held to. Both are written from the source; a difference is a failure.

use std::fmt::Write as _;
use std::path::Path;

use bramble::api::answer::{Catalogue, Devices, Exports, JobOutput, Medium, ScreenOpened, Shell};
use bramble::api::methods::{Access, METHODS};
use bramble::api::roles::{HELPER, TEACHER};
use bramble::config::kind::Kind;
use bramble::config::schema::{Absent, Naming, SECTIONS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Compares a file with what it should hold, or writes it.
fn hold(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BRAMBLE_WRITE").is_some() {
        std::fs::write(&path, wanted).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, wanted, "`BRAMBLE_WRITE=1 cargo test --test contract` writes {file} anew");
}

/// The schema of `/etc/config/bramble` for the pages that edit it, with its texts where LuCI's translators find them.
fn schema_for_pages() -> String {
    let text = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut out = "'use strict';\n'require baseclass';\n\n\
        /* What may stand in /etc/config/bramble. Written by `BRAMBLE_WRITE=1 cargo test --test contract` from\n\
        \u{20}  src/config/schema.rs; labels and order are in options.js. */\n\n\
        return baseclass.extend({\n\tsections: [\n"
        .to_owned();
    for (n, section) in SECTIONS.iter().enumerate() {
        let naming = match section.naming {
            Naming::Fixed(name) => format!("name: {}", text(name)),
            Naming::Named => "named: true".to_owned(),
            Naming::Free => "named: false".to_owned(),
        };
        let head = format!(
            "\t\t{{ kind: {}, {naming}, help: _({}), options: [\n",
            text(section.kind),
            text(section.help)
        );
        out.push_str(&head);
        for (n, option) in section.options.iter().enumerate() {
            let kind = match option.kind {
                Kind::OneOf(words) => {
                    let words: Vec<String> = words.iter().map(|word| text(word)).collect();
                    format!("kind: 'choice', choices: [ {} ]", words.join(", "))
                }
                Kind::Bool => "kind: 'bool'".to_owned(),
                Kind::Number { min, max } => format!("kind: 'number', min: {min}, max: {max}"),
                other => {
                    let name = format!("{other:?}");
                    let lower = name.char_indices().map(|(at, c)| match (at, c.is_uppercase()) {
                        (0, _) | (_, false) => c.to_ascii_lowercase().to_string(),
                        (_, true) => format!("_{}", c.to_ascii_lowercase()),
                    });
                    format!("kind: '{}', says: _({})", lower.collect::<String>(), text(&other.describe()))
                }
            };
            let default = match option.default {
                Absent::Required => ", required: true".to_owned(),
                Absent::Unset => String::new(),
                Absent::Value(value) => format!(", default: {}", text(value)),
            };
            // Nobody types these.
            let example = match option.kind {
                Kind::Bool | Kind::OneOf(_) => String::new(),
                kind => format!(", example: {}", text(kind.example())),
            };
            let list = if option.list { ", list: true" } else { "" };
            let comma = if n + 1 < section.options.len() { "," } else { "" };
            let (name, help) = (text(option.name), text(option.help));
            writeln!(out, "\t\t\t{{ name: {name}, {kind}{list}{default}{example}, help: _({help}) }}{comma}")
                .expect("writing to a String cannot fail");
        }
        out.push_str(if n + 1 < SECTIONS.len() { "\t\t] },\n" } else { "\t\t] }\n" });
    }
    out + "\t]\n});\n"
}

/// Every option of the schema is on a page: the pages make their fields from this file.
#[test]
fn the_pages_have_the_schema() {
    hold("luci-app/htdocs/luci-static/resources/bramble/schema.js", &schema_for_pages());
}

/// The tests of the pages read this: each method with its arguments, and who may call it.
#[test]
fn the_tests_of_the_pages_have_the_table() {
    let methods = METHODS.iter().map(|method| {
        let role = match method.name {
            name if HELPER.contains(&name) => "helper",
            name if TEACHER.contains(&name) => "teacher",
            _ => "administrator",
        };
        let params: Vec<&str> = method.params.iter().map(|param| param.name).collect();
        json!({ "name": method.name, "write": method.access == Access::Write, "role": role, "params": params })
    });
    let methods: Vec<Value> = methods.collect();
    let text = serde_json::to_string_pretty(&methods).expect("JSON") + "\n";
    hold("tests/luci/answers/methods.json", &text);
}

type Again = fn(&Value) -> Value;

/// A recorded answer, read into its type and written again.
fn again<T: DeserializeOwned + Serialize>(answer: &Value) -> Value {
    let read = serde_json::from_value::<T>(answer.clone());
    read.map_or_else(|error| json!(error.to_string()), |read| serde_json::to_value(&read).expect("JSON"))
}

/// What the pages are tested with and no school of simulated Pis answers: it needs the internet, a disk or a screen. These
/// are written by hand, and are what the daemon could answer, no key more and none less.
#[test]
fn answers_that_were_written_by_hand_are_answers() {
    let list: [(&str, Again); 7] = [
        ("image_catalogue", again::<Catalogue>),
        ("device_list", again::<Devices>),
        ("enrol_medium", again::<Medium>),
        ("job_output", again::<JobOutput>),
        ("screen_open", again::<ScreenOpened>),
        ("image_shell", again::<Shell>),
        ("image_exports", again::<Exports>),
    ];
    for (name, again) in list {
        let path = format!("{}/tests/luci/answers/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("an answer");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(again(&answer), answer, "{name}");
    }
}

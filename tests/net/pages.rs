//! What the daemon of a small school answers to the web pages, recorded: the tests of the pages (`tests/luci`) show these
//! answers and no others. Written anew by `BRAMBLE_WRITE=1 cargo test --test net pages`; otherwise the recorded ones must
//! have the shape of today's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use bramble::cli::link::{Link, LinkError};
use bramble::sim::school::School;
use bramble::types::chain;
use serde_json::{Value, json};

use crate::classroom::BRAMBLE;

const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/luci/answers");

/// Files, the method that fills each, and its arguments, in this order.
fn questions() -> Vec<(&'static str, &'static str, Value)> {
    let list =
        "first name;last name;class;colour\nÉmile;Durand;class-7a;red\nAmira;Haddad;class-7c;blue\n;;;\n";
    vec![
        ("status", "status", json!({})),
        ("health", "health", json!({})),
        ("check", "check", json!({})),
        ("overview", "overview", json!({})),
        ("takeover", "takeover", json!({})),
        ("events", "events", json!({ "count": 200 })),
        ("client_list", "client_list", json!({})),
        ("client_get", "client_get", json!({ "client": "lab-01" })),
        ("client_get_refused", "client_get", json!({ "client": "nowhere" })),
        ("room_list", "room_list", json!({})),
        ("plan", "plan", json!({ "room": "classroom" })),
        ("eeprom_list", "eeprom_list", json!({})),
        ("eeprom_set", "eeprom_set", json!({ "settings": "BOOT_ORDER=0xf21", "all": "1" })),
        ("image_list", "image_list", json!({})),
        ("image_show", "image_show", json!({ "image": "sample" })),
        ("session_list", "session_list", json!({})),
        ("session_list_all", "session_list", json!({ "count": 50 })),
        ("account_list", "account_list", json!({})),
        ("class_list", "class_list", json!({})),
        ("account_import", "account_import", json!({ "csv": list })),
        (
            "account_add",
            "account_add",
            json!({ "account": "zoe", "full_name": "Zoë Adams", "classes": "class-7a", "slips": "html" }),
        ),
        ("account_add_refused", "account_add", json!({ "account": "Zoe & Co" })),
        ("account_remove", "account_remove", json!({ "account": "zoe" })),
        ("account_test", "account_test", json!({ "account": "amira", "password": "not this" })),
        ("account_export", "account_export", json!({ "class": "class-7a" })),
        ("share_list", "share_list", json!({})),
        ("home_measure", "home_measure", json!({})),
        ("home_usage", "home_usage", json!({})),
        (
            "client_action",
            "client_action",
            json!({ "action": "message", "client": "lab-01", "message": "Good morning" }),
        ),
        ("action_list", "action_list", json!({})),
        ("account_import_begun", "account_import", json!({ "csv": list, "apply": "1", "skip": "1" })),
        ("account_imported", "account_imported", json!({ "job": "last", "slips": "html" })),
        ("job_status", "job_status", json!({ "job": "last" })),
        ("job_list", "job_list", json!({})),
        (
            "upload_begin",
            "upload_begin",
            json!({ "name": "raspios-trixie-arm64.img.xz", "bytes": 1_200_000, "mark": "1" }),
        ),
        ("upload_slice", "upload_slice", json!({ "upload": 1, "offset": 0, "data": "/TeYWgAABA==" })),
        ("upload_list", "upload_list", json!({})),
        ("upload_cancel", "upload_cancel", json!({ "upload": 1 })),
        ("image_desktop", "image_desktop", json!({ "image": "sample" })),
        ("image_test", "image_test", json!({ "client": "lab-01", "image": "sample@1" })),
        ("image_draft", "image_draft", json!({ "image": "sample" })),
        ("image_show_draft", "image_show", json!({ "image": "sample" })),
        ("image_maintain", "image_maintain", json!({ "image": "sample", "client": "lab-02" })),
        ("image_publish_refused", "image_publish", json!({ "image": "sample" })),
        ("mode_set", "mode_set", json!({ "room": "library", "mode": "guest", "minutes": 30 })),
        ("screen_allow", "screen_allow", json!({ "room": "library", "allow": "1" })),
        ("screen_list", "screen_list", json!({})),
    ]
}

/// What may differ from day to day in an answer of the same shape.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Null,
    Text,
    Number,
    Truth,
    List(Box<Shape>),
    Object(BTreeMap<String, Shape>),
}

fn shape(value: &Value) -> Shape {
    match value {
        Value::Null => Shape::Null,
        Value::String(_) => Shape::Text,
        Value::Number(_) => Shape::Number,
        Value::Bool(_) => Shape::Truth,
        Value::Array(list) => Shape::List(Box::new(list.iter().map(shape).fold(Shape::Null, merge))),
        Value::Object(map) => {
            Shape::Object(map.iter().map(|(key, value)| (key.clone(), shape(value))).collect())
        }
    }
}

/// The shape of both members of a list: what is null in one may be something in the other, and each may have keys of its own.
fn merge(one: Shape, other: Shape) -> Shape {
    match (one, other) {
        (Shape::Null, other) => other,
        (Shape::List(one), Shape::List(other)) => Shape::List(Box::new(merge(*one, *other))),
        (Shape::Object(mut one), Shape::Object(other)) => {
            for (key, value) in other {
                let merged = merge(one.remove(&key).unwrap_or(Shape::Null), value);
                one.insert(key, merged);
            }
            Shape::Object(one)
        }
        (one, _) => one,
    }
}

/// What recorded answers were given by hand, because this school has no bounds of shares and has not measured them.
const GIVEN: &[&str] = &[
    "share_list.shares[].bytes",
    "share_list.shares[].files",
    "share_list.shares[].measured_at",
    "share_list.shares[].quota",
];

/// What is in one shape and not in the other, by its path; what is null in one is null in the other.
fn differences(path: &str, one: &Shape, other: &Shape, found: &mut Vec<String>) {
    match (one, other) {
        (Shape::Null, _) | (_, Shape::Null) if GIVEN.contains(&path) => {}
        (Shape::List(one), Shape::List(other)) => differences(&format!("{path}[]"), one, other, found),
        (Shape::Object(one), Shape::Object(other)) => {
            for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                // Events and services have keys of their own kind, and not each kind happens each time.
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => differences(&format!("{path}.{key}"), one, other, found),
                    _ if path.ends_with("events[]") || path.ends_with("timeline[]") => {}
                    _ => found.push(format!("{path}.{key}")),
                }
            }
        }
        (one, other) if one == other => {}
        _ => found.push(path.to_owned()),
    }
}

/// Nobody learns a password from a file of the source.
fn without_secrets(answer: &Value) -> String {
    let mut text = serde_json::to_string_pretty(answer).expect("JSON");
    let lists = [&answer["accounts"], &answer["passwords"]["accounts"]];
    for account in lists.into_iter().filter_map(Value::as_array).flatten() {
        if let Some(password) = account["password"].as_str() {
            text = text.replace(password, "bako-tiru-nefo-47");
        }
    }
    text + "\n"
}

/// Compares an answer with the one that is recorded under `name`, or records it; what differs.
pub fn compare(name: &str, answer: &Value, folder: &Path) -> Vec<String> {
    let path = format!("{ANSWERS}/{name}.json");
    if std::env::var_os("BRAMBLE_WRITE").is_some() {
        let text = without_secrets(answer).replace(&*folder.to_string_lossy(), "/mnt/sda1");
        std::fs::write(&path, text).expect("written");
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let recorded: Value = serde_json::from_str(&recorded).unwrap_or_default();
    let mut found = Vec::new();
    if recorded.is_null() {
        found.push(format!("{name}.json is missing"));
    }
    differences(name, &shape(&recorded), &shape(answer), &mut found);
    found
}

/// Waits for the end of a task.
fn ended(link: &mut Link, job: u64) {
    crate::dhcp_room::eventually("the task ends", || {
        let status = link.ask("job_status", &json!({ "job": job })).expect("a task");
        !["queued", "running"].contains(&status["state"].as_str().expect("a state"))
    });
}

/// Waits for the end of what clients were told.
fn acted(link: &mut Link, action: u64) {
    crate::dhcp_room::eventually("the action ends", || {
        link.ask("action_get", &json!({ "action": action })).expect("an action")["phase"] == "ended"
    });
}

#[test]
fn the_pages_are_tested_with_what_the_daemon_answers() {
    crate::harness::isolated(|| {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let school = School::open(Path::new(BRAMBLE), folder.path(), 8, |_| ControlFlow::Continue(()));
        let school = school.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let mut link = Link::open(&school.room.server.site().socket()).expect("the daemon");
        let mut found = Vec::new();
        let mut last = 0;
        for (name, method, mut params) in questions() {
            if params["job"] == "last" {
                params["job"] = json!(last);
            }
            let answer = match link.ask(method, &params) {
                Ok(answer) => answer,
                Err(LinkError::Refused(refusal)) => json!({ "error": refusal }),
                Err(error) => panic!("{method}: {}", chain(&error)),
            };
            assert_eq!(name.ends_with("_refused"), answer.get("error").is_some(), "{name}: {answer}");
            found.extend(compare(name, &answer, folder.path()));
            if let Some(action) = answer["action"].as_u64() {
                acted(&mut link, action);
            }
            if let Some(job) = answer["job"].as_u64() {
                ended(&mut link, job);
                last = job;
            }
        }
        assert!(
            found.is_empty(),
            "answers differ from those recorded in {}: write them anew with `BRAMBLE_WRITE=1 cargo test --test net pages`",
            found.join(", ")
        );
    });
}

#[test]
fn a_difference_of_shape_is_found() {
    let one = json!({ "a": [{ "b": 1 }, { "b": null, "c": "x" }], "d": null });
    let same = json!({ "a": [{ "b": 7, "c": "y" }], "d": null });
    let other = json!({ "a": [{ "b": "1" }], "d": 3, "f": 1 });
    let mut found = Vec::new();
    differences("x", &shape(&one), &shape(&same), &mut found);
    assert_eq!(found, Vec::<String>::new());
    differences("x", &shape(&one), &shape(&other), &mut found);
    assert_eq!(found, ["x.a[].b", "x.a[].c", "x.d", "x.f"]);
    found.clear();
    let empty = json!({ "a": [], "d": null });
    differences("x", &shape(&one), &shape(&empty), &mut found);
    assert_eq!(found, ["x.a[]"], "an empty list says nothing about its members");
}

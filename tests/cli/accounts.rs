//! A thousand accounts: how much is asked and answered for a page of them, whatever the machine.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use bramble::cli::link::Link;
use bramble::types::limits;
use serde_json::{Value, json};

use crate::Site;

/// As many as the page “People” asks for at once.
const PAGE: usize = 50;
const PEOPLE: usize = 1000;

/// The longest message of ubus, in bytes.
const MESSAGE: usize = 1 << 20;

#[test]
fn a_password_that_is_to_be_changed_may_stay_after_all() {
    let mut site = Site::new(49);
    site.serve();
    site.told(&["account", "add", "anna", "--must-change"]);
    let mut link = Link::open(&site.path("socket")).expect("the daemon");
    let mut is_due = || {
        let answer = link.ask("account_list", &json!({})).expect("a page");
        answer["accounts"][0]["must_change"].clone()
    };
    assert_eq!(is_due(), json!(true));
    site.told(&["account", "set", "anna", "--note", "seat 7"]);
    assert_eq!(is_due(), json!(true), "what is not named stays");
    site.told(&["account", "set", "anna", "--must-change=no"]);
    assert_eq!(is_due(), json!(false));
    site.told(&["account", "set", "anna", "--must-change"]);
    assert_eq!(is_due(), json!(true));
}

#[test]
fn a_thousand_accounts_are_asked_for_page_by_page() {
    let mut site = Site::new(48);
    site.serve();
    let mut list = "name;full name;class;note\n".to_owned();
    for nth in 0..PEOPLE {
        // Every text is as long as it may be.
        let long = |begin: &str, width: usize| format!("{begin:x<0$}{nth:05}", width - 5);
        let [name, full_name, note] = [
            long("pupil-", limits::USER_NAME),
            long("Zoe ", limits::FULL_NAME),
            long("Student number ", limits::NOTE),
        ];
        writeln!(list, "{name};{full_name};\"class-7a, chess\";{note}").expect("a text takes every line");
    }
    let file = site.path("school.csv");
    fs::write(&file, list).expect("written");
    site.told(&["account", "import", file.to_str().expect("UTF-8"), "--apply"]);

    let mut link = Link::open(&site.path("socket")).expect("the daemon");
    let mut ask = |params: Value| {
        let answer = link.ask("account_list", &params).expect("a page");
        let names = answer["accounts"].as_array().expect("a list").iter();
        let names: Vec<String> =
            names.map(|account| account["name"].as_str().expect("a name").to_owned()).collect();
        (answer["total"].clone(), names, answer.to_string().len())
    };
    let (mut seen, mut calls) = (BTreeSet::new(), 0);
    while seen.len() < PEOPLE {
        let (total, names, bytes) = ask(json!({ "limit": PAGE, "offset": seen.len() }));
        assert_eq!((total, names.len()), (json!(PEOPLE), PAGE), "page {calls}");
        assert!(bytes < 50_000, "a page of {bytes} bytes");
        seen.extend(names);
        calls += 1;
    }
    assert_eq!(calls, PEOPLE / PAGE, "nobody is in two pages");

    // Whoever is looked for is found by one call, on whatever page they are.
    let (total, names, bytes) = ask(json!({ "search": "NUMBER xxxx", "class": "chess", "limit": PAGE }));
    assert_eq!((total, names.len()), (json!(PEOPLE), PAGE));
    assert!(bytes < 50_000, "{bytes} bytes");
    let (total, names, bytes) = ask(json!({ "search": "x00777", "limit": PAGE }));
    assert_eq!((total, names.len()), (json!(1), 1));
    assert!(bytes < 2000, "{bytes} bytes");

    // All that one call may have go through ubus.
    let (_, names, bytes) = ask(json!({ "limit": 1_000_000 }));
    assert_eq!(names.len(), PEOPLE);
    assert!(bytes < MESSAGE, "{bytes} bytes");
}

//! The table of methods is held to: names, help, a command for each, who may call it from LuCI, and refusals that programs
//! can tell apart.

#[path = "contract/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::path::Path;

use bramble::api::methods::{Access, METHODS};
use bramble::api::roles::{HELPER, TEACHER};
use bramble::api::{ApiError, methods};
use bramble::cli::Cli;
use bramble::service::room::action::Refused;
use clap::CommandFactory;
use serde::Serialize;
use serde_json::json;

/// Which command carries each method, or why none does.
const COMMANDS: &[(&str, Result<&[&str], &str>)] = &[
    ("status", Ok(&["status"])),
    ("health", Err("`status` shows the same problems; this is for programs that watch")),
    ("check", Err("`bramble check` does this without a daemon")),
    (
        "overview",
        Err("`status`, `client list` and `session list` show the same; this is for the page that asks often"),
    ),
    ("takeover", Ok(&["takeover"])),
    ("events", Ok(&["events"])),
    ("client_list", Ok(&["client", "list"])),
    ("client_get", Ok(&["client", "show"])),
    ("client_adopt", Ok(&["client", "adopt"])),
    ("client_forget", Ok(&["client", "forget"])),
    ("room_list", Ok(&["room", "list"])),
    ("plan", Ok(&["plan"])),
    ("client_action", Ok(&["room", "shutdown"])),
    ("action_list", Ok(&["action", "list"])),
    ("action_get", Ok(&["action", "show"])),
    ("action_stop", Ok(&["action", "stop"])),
    ("eeprom_list", Ok(&["eeprom", "list"])),
    ("eeprom_set", Ok(&["eeprom", "set"])),
    ("eeprom_undo", Ok(&["eeprom", "undo"])),
    ("enrol_medium", Ok(&["enrol-medium"])),
    ("mode_set", Ok(&["room", "mode"])),
    ("screen_allow", Ok(&["room", "screen"])),
    ("screen_open", Ok(&["client", "screen"])),
    ("screen_list", Ok(&["room", "screen"])),
    ("screen_close", Ok(&["client", "screen"])),
    ("image_list", Ok(&["image", "list"])),
    ("image_show", Ok(&["image", "show"])),
    ("image_import", Ok(&["image", "import"])),
    ("image_catalogue", Ok(&["image", "catalogue"])),
    (
        "image_catalogue_refresh",
        Err("`bramble image catalogue --refresh` does this before it shows the list"),
    ),
    ("device_list", Ok(&["image", "devices"])),
    ("image_desktop", Ok(&["image", "desktop"])),
    ("upload_begin", Err("a browser sends files so; the command line imports what is on the router")),
    ("upload_slice", Err("a browser sends files so; the command line imports what is on the router")),
    ("upload_list", Ok(&["image", "uploads"])),
    ("upload_cancel", Ok(&["image", "uploads"])),
    ("image_remove", Ok(&["image", "remove"])),
    ("image_draft", Ok(&["image", "draft"])),
    ("image_discard", Ok(&["image", "discard"])),
    ("image_publish", Ok(&["image", "publish"])),
    ("image_maintain", Ok(&["image", "maintain"])),
    ("image_shell", Ok(&["image", "shell"])),
    ("image_run", Ok(&["image", "run"])),
    ("image_test", Ok(&["image", "test"])),
    ("image_promote", Ok(&["image", "promote"])),
    ("image_rollback", Ok(&["image", "rollback"])),
    ("image_clone", Ok(&["image", "clone"])),
    ("image_export", Ok(&["image", "export"])),
    ("image_exports", Ok(&["image", "exports"])),
    ("image_export_remove", Ok(&["image", "exports"])),
    ("image_rename", Ok(&["image", "rename"])),
    ("image_pack", Ok(&["image", "pack"])),
    ("home_usage", Ok(&["home", "list"])),
    ("home_measure", Ok(&["home", "measure"])),
    ("home_return", Ok(&["home", "return"])),
    ("home_backup", Ok(&["backup"])),
    ("home_restore", Ok(&["restore"])),
    ("share_list", Ok(&["share", "list"])),
    ("session_list", Ok(&["session", "list"])),
    ("session_end", Ok(&["session", "end"])),
    ("account_list", Ok(&["account", "list"])),
    ("account_get", Ok(&["account", "show"])),
    ("account_test", Ok(&["account", "test"])),
    ("account_add", Ok(&["account", "add"])),
    ("account_set", Ok(&["account", "set"])),
    ("account_password", Ok(&["account", "password"])),
    ("account_remove", Ok(&["account", "remove"])),
    ("account_import", Ok(&["account", "import"])),
    ("account_imported", Err("`bramble account import` asks for it when its job is done")),
    ("account_export", Ok(&["account", "export"])),
    ("class_list", Ok(&["class", "list"])),
    ("class_add", Ok(&["class", "add"])),
    ("class_set", Ok(&["class", "set"])),
    ("class_remove", Ok(&["class", "remove"])),
    ("class_move", Ok(&["class", "move"])),
    ("job_list", Ok(&["job", "list"])),
    ("job_status", Ok(&["job", "show"])),
    ("job_output", Ok(&["image", "run"])),
    ("job_cancel", Ok(&["job", "cancel"])),
];

#[test]
fn names_are_unique_and_everything_is_explained() {
    let names: BTreeSet<&str> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(names.len(), METHODS.len(), "a name stands twice");
    for method in METHODS {
        assert!(method.help.len() > 10, "{}: what is it for?", method.name);
        assert!(method.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", method.name);
        let params: BTreeSet<&str> = method.params.iter().map(|param| param.name).collect();
        assert_eq!(params.len(), method.params.len(), "{}: an argument stands twice", method.name);
        for param in method.params {
            assert!(!param.help.is_empty(), "{}.{}", method.name, param.name);
        }
    }
    assert_eq!(methods::find("client_adopt").map(|method| method.access), Some(Access::Write));
    assert_eq!(methods::find("client_sell"), None);
}

#[test]
fn every_method_has_a_command_or_a_reason() {
    let listed: BTreeSet<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
    let methods: BTreeSet<&str> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(listed, methods);
    let cli = Cli::command();
    for (method, command) in COMMANDS {
        match command {
            Ok(path) => {
                let mut at = &cli;
                for word in *path {
                    at = at.find_subcommand(word).unwrap_or_else(|| panic!("{method}: no command {path:?}"));
                }
                assert!(at.get_about().is_some(), "{path:?} has no help");
            }
            Err(reason) => assert!(!reason.is_empty(), "{method}"),
        }
    }
}

/// rpcd's access list as the table and the roles want it.
fn access_list() -> String {
    let of = |access, wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
        METHODS.iter().filter(|m| m.access == access && wanted(m.name)).map(|m| m.name).collect()
    };
    let teacher = |name: &str| TEACHER.contains(&name);
    let helper = |name: &str| HELPER.contains(&name);
    let any = |_: &str| true;
    // Where set-up takes a disk.
    let mut files = serde_json::Map::new();
    let mut set = |name: String, right: &str| files.insert(name, json!([right]));
    set("/usr/bin/bramble takeover --dry-run --json".to_owned(), "exec");
    // An image as it is exported, to the browser. Behind `--` are no options, and the last word is where to.
    set("/usr/bin/bramble image export -- * -".to_owned(), "exec");
    for place in ["/mnt", "/media", "/srv", "/data"] {
        set(format!("{place}/*"), "list");
        set(format!("{place}/*bramble-*.tar"), "read");
        set(format!("{place}/*bramble-image-*.tar.*"), "read");
    }
    let list = json!({
        "luci-app-bramble": {
            "description": "Grant access to all of Bramble: rooms, images, people and settings (together with the rights of a teacher and to watch)",
            "read": {
                // Backups and exported images on mounted disks are found and fetched, by their names and no others.
                "cgi-io": ["download", "exec"],
                "file": files,
                "ubus": {
                    "bramble": of(Access::Read, &any),
                    "file": ["exec", "list"],
                    "luci": ["getMountPoints"],
                    "session": ["access"],
                },
                "uci": ["bramble", "network", "system"],
            },
            "write": {
                "ubus": { "bramble": of(Access::Write, &any), "rc": ["init"] },
                "uci": ["bramble", "system"],
            },
        },
        "luci-app-bramble-helper": {
            "description": "Grant access to watch the rooms of Bramble",
            // A page asks what this log-in may call; where that is refused LuCI takes the log-in for expired.
            "read": { "ubus": { "bramble": of(Access::Read, &helper), "session": ["access"] } },
        },
        "luci-app-bramble-teacher": {
            "description": "Grant access to the people, log-ins and seats of Bramble (together with the right to watch)",
            "read": { "ubus": { "bramble": of(Access::Read, &teacher), "session": ["access"] } },
            "write": { "ubus": { "bramble": of(Access::Write, &teacher) } },
        },
    });
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    list.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs)).expect("JSON");
    String::from_utf8(text).expect("UTF-8") + "\n"
}

#[test]
fn roles_name_methods_and_helpers_change_nothing() {
    for name in HELPER {
        assert_eq!(methods::find(name).map(|m| m.access), Some(Access::Read), "{name}: a helper only looks");
        assert!(!TEACHER.contains(name), "{name}: a teacher is a helper too");
    }
    for name in TEACHER {
        assert!(methods::find(name).is_some(), "{name}: no such method");
    }
    // What makes an account or a file of the router: never theirs.
    for name in ["home_restore", "home_backup", "image_import", "client_forget", "takeover", "check"] {
        assert!(!HELPER.contains(&name) && !TEACHER.contains(&name), "{name}");
    }
}

/// A person who may only look can call nothing that changes anything.
#[test]
fn luci_may_call_what_the_table_says() {
    let file = "luci-app/root/usr/share/rpcd/acl.d/luci-app-bramble.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BRAMBLE_WRITE").is_some() {
        std::fs::write(&path, access_list()).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, access_list(), "`BRAMBLE_WRITE=1 cargo test --test contract` writes {file} anew");
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn refusals_have_a_word_a_text_and_the_field_at_fault() {
    let mac = "dc:a6:32:01:02:03".parse().expect("MAC");
    #[rustfmt::skip]
    let rows = [
        (ApiError::NoSuchMethod { method: "x".into(), known: "status".into() }, "no_such_method", None),
        (ApiError::Missing { field: "name", help: "give a name" }, "missing", Some("name")),
        (ApiError::BadValue { field: "ip", message: "`x` is no address".into() }, "bad_value", Some("ip")),
        (ApiError::NoSuchClient { who: "x".into() }, "no_such_client", Some("client")),
        (ApiError::NameTaken { name: "a".parse().expect("name"), owner: mac }, "name_taken", Some("name")),
        (ApiError::NoSuchRoom { room: "a".parse().expect("room"), known: "there are b".into() }, "no_such_room", Some("room")),
        (ApiError::NoSuchImage { image: "a".parse().expect("image"), known: "there are b".into() }, "no_such_image", Some("image")),
        (ApiError::ImageState("`a` has no draft".into()), "image_state", Some("image")),
        (ApiError::ImageTaken("a".parse().expect("image")), "image_taken", Some("name")),
        (ApiError::NoSuchSession(bramble::types::SessionId(7)), "no_such_session", Some("session")),
        (ApiError::NoSuchJob(7), "no_such_job", Some("job")),
        (ApiError::NoSuchAction(7), "no_such_action", Some("action")),
        (ApiError::Action(Refused::LoggedIn { people: vec!["anna at lab-01".into()] }), "people_logged_in", Some("force")),
        (ApiError::Takeover("`dhcp` cannot be read".into()), "takeover", None),
        (ApiError::Eeprom("nothing is to be taken back there".into()), "eeprom", Some("client")),
        (ApiError::Medium("`/dev/sda` is in use".into()), "medium", Some("to")),
        (ApiError::NoDisk("waiting for the disk".into()), "no_disk", None),
        (ApiError::NotStarted("the configuration is not right".into()), "not_started", None),
        (ApiError::Stopping, "stopping", None),
        (ApiError::Internal { request: 7 }, "internal", None),
    ];
    for (error, code, field) in rows {
        let refusal = error.refusal();
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), (code, field));
        assert_eq!(refusal.message, error.to_string());
        assert!(refusal.message.len() > 10, "{code} says too little");
    }
}

/// A file of the project's top folder.
fn text_of(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a file of the project")
}

/// Crates in a section of Cargo.toml.
fn crates<'a>(manifest: &'a str, section: &str) -> BTreeSet<&'a str> {
    let (_, rest) = manifest.split_once(&format!("\n[{section}]\n")).expect("the section");
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once(" = ")?.0)).collect()
}

/// Each crate costs flash and trust, so none comes without its reason, and no reason outlives its crate.
#[test]
fn the_readme_has_a_reason_for_each_dependency() {
    let (manifest, readme) = (text_of("Cargo.toml"), text_of("README.md"));
    let (_, chapter) = readme.split_once("\n## Dependencies\n").expect("the chapter");
    let rows = chapter.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).skip(1);
    let mut told = BTreeSet::new();
    for (names, why) in rows.filter(|(names, _)| !names.starts_with("---")) {
        assert!(why.trim_end_matches(" |").len() > 5, "{names}: why?");
        for name in names.split(", ") {
            assert!(told.insert(name), "{name} stands twice");
        }
    }
    assert_eq!(told, crates(&manifest, "dependencies"), "the README's table and Cargo.toml");
    for section in ["dev-dependencies", "build-dependencies"] {
        for name in crates(&manifest, section).difference(&told) {
            let (_, words) = chapter.split_once("For tests and benches only").expect("the sentence");
            let is_there = |word: &str| word.trim_matches([',', '.', '`', '(', ')']) == *name;
            assert!(words.split_whitespace().any(is_there), "{name} of {section} is not in the README");
        }
    }
}

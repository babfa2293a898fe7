//! Images at the command line: clients that run an old version, exports as a catalogue.

use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::SystemTime;

use bramble::service::events::{Event, Happening};
use bramble::store::Store;
use bramble::store::clients::ClientChanges;
use bramble::store::events::EventRow;
use bramble::types::{ImageVersion, Moment, Version};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PROGRAM, Site, text};

/// As much of a system as an import asks for.
fn system(site: &Site) -> PathBuf {
    let tree = site.path("tree");
    for folder in ["etc", "sbin", "bin"] {
        fs::create_dir_all(tree.join(folder)).expect("made");
    }
    fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"Test OS 1\"\n").expect("written");
    fs::copy(PROGRAM, tree.join("sbin/init")).expect("copied");
    tree
}

/// Who runs the version before is told, and started again or asked to, if that is wished.
#[test]
fn clients_that_run_an_old_version_can_be_started_again() {
    let mut site = Site::new(42);
    let tree = system(&site);
    site.serve();
    for _ in 0..2 {
        site.told(&["image", "import", tree.to_str().expect("UTF-8"), "--name", "trixie"]);
    }
    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
    // As if it had booted the first one and were up.
    let store = Store::open(&site.path("data/bramble.db")).expect("a store");
    let (mac, now) = ("dc:a6:32:01:02:03".parse().expect("an address"), Moment::from(SystemTime::now()));
    let first = ImageVersion { name: "trixie".parse().expect("a name"), version: Version(NonZeroU32::MIN) };
    let booted = ClientChanges { booted: vec![(mac, first)], ..ClientChanges::default() };
    store.write_clients(&booted, now).expect("noted");
    let ready = Happening::Agent { phase: "ready".to_owned(), message: String::new() };
    let event = Event { at: now, last_at: now, times: 1, what: ready };
    let detail = serde_json::to_string(&event).expect("JSON");
    let row = EventRow { at: now, client: mac, kind: "agent".to_owned(), detail };
    store.add_events(&[row], &[]).expect("noted");
    drop(store);
    site.serve();

    let told = site.told(&["image", "promote", "trixie@2"]);
    assert_eq!(
        told,
        "lab-01 boots `trixie@2` when it next starts. Until then they run what they have: lab-01 (trixie@1). \
         `bramble image promote trixie@2 --reboot now` has them start again, but where somebody is logged in; \
         `--reboot ask` asks the people there to.\n"
    );
    let actions = |site: &Site| -> Value {
        serde_json::from_str(&site.told(&["--json", "action", "list"])).expect("JSON")
    };
    assert_eq!(actions(&site)["actions"].as_array().map(Vec::len), Some(0), "nobody wished it");
    let told = site.told(&["image", "promote", "trixie@2", "--reboot"]);
    assert!(
        told.ends_with(
            " It starts again now, unless somebody is logged in: `bramble action show 1` tells how that goes.\n"
        ),
        "{told}"
    );
    let told = site.told(&["image", "promote", "trixie@2", "--room", "lab", "--reboot", "ask"]);
    assert!(
        told.ends_with(
            " The people there are asked to start again: `bramble action show 2` tells how that goes.\n"
        ),
        "{told}"
    );
    let listed = actions(&site);
    let kinds: Vec<(u64, &str)> = listed["actions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["action"].as_u64().expect("a number"), one["kind"].as_str().expect("a word")))
        .collect();
    assert!(kinds.contains(&(1, "reboot")) && kinds.contains(&(2, "message")), "{kinds:?}");
    let refused = site.ask(&["image", "promote", "trixie@2", "--reboot", "later"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    // Who runs what is chosen is left alone.
    let told = site.told(&["image", "promote", "trixie@1", "--room", "lab", "--reboot"]);
    assert_eq!(told, "lab-01 boots `trixie@1` when it next starts.\n");
}

/// The exports of one are the catalogue of another.
#[test]
fn exports_are_a_catalogue() {
    let mut site = Site::new(43);
    let (tree, shelf) = (system(&site), site.path("shelf"));
    fs::create_dir(&shelf).expect("made");
    site.serve();
    site.told(&["image", "import", tree.to_str().expect("UTF-8"), "--name", "school"]);
    let folder = shelf.to_str().expect("UTF-8");
    assert!(
        site.refused(&["image", "catalogue", "--write", folder]).contains("there is no exported image in")
    );
    site.told(&["image", "export", "school", shelf.join("school.tar.zst").to_str().expect("UTF-8")]);
    let told = site.told(&["image", "catalogue", "--write", folder]);
    let list = shelf.join("catalogue.json").display().to_string();
    assert!(told.starts_with("school@1  school.tar.zst, "), "{told}");
    assert!(told.contains(&format!("Listed in `{list}`. Another Bramble reads it on a disk")), "{told}");

    site.configure(&format!("\nconfig catalogue 'catalogue'\n\tlist source '{list}'\n"));
    site.signal(Signal::SIGHUP);
    site.until("the list is read", |site| {
        site.told(&["image", "catalogue", "--refresh"]).contains(&format!("List   {list}, read "))
    });
    let imported = site.told(&["image", "import", "school", "--name", "copy"]);
    assert!(imported.contains("`copy@1` is ready"), "{imported}");
    assert!(imported.contains("Note: it is school@1 as Bramble "), "{imported}");
}

//! Images at the command line: one from its draft to the room, clients that run an old version, exports as a catalogue, programs of another processor.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bramble::service::events::{Event, Happening};
use bramble::store::Store;
use bramble::store::clients::ClientChanges;
use bramble::store::events::EventRow;
use bramble::types::{ImageVersion, Moment, Version};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PROGRAM, Site, text};

/// As much of a system as an import asks for.
pub fn system(site: &Site) -> PathBuf {
    let tree = site.path("tree");
    for folder in ["etc", "sbin", "bin"] {
        fs::create_dir_all(tree.join(folder)).expect("made");
    }
    fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"Test OS 1\"\n").expect("written");
    fs::copy(PROGRAM, tree.join("sbin/init")).expect("copied");
    tree
}

/// Draft, publication, trial, promotion and roll-back of an image that a room boots.
#[test]
fn an_image_is_changed_tried_and_given_to_a_room() {
    let mut site = Site::new(41);
    let tree = system(&site);
    site.serve();
    site.told(&["image", "import", tree.to_str().expect("UTF-8"), "--name", "trixie"]);
    let boots = |site: &Site| {
        let client: Value =
            serde_json::from_str(&site.told(&["--json", "client", "show", "lab-01"])).expect("JSON");
        client["image"].as_str().expect("it has one").to_owned()
    };
    assert!(site.refused(&["image", "publish", "trixie"]).contains("`trixie` has no draft"));
    assert!(
        site.told(&["image", "draft", "trixie"])
            .contains("the draft of `trixie` is ready: a copy of version 1")
    );
    fs::write(site.path("data/images/trixie/draft/etc/new"), "").expect("written");
    assert!(
        site.told(&["image", "show", "trixie"])
            .contains("\ntrixie (draft)\n  Source   copy of trixie@1, made ")
    );
    assert!(site.refused(&["image", "draft", "trixie"]).contains("`trixie` has a draft already"));
    let (file, place) = (site.path("network").display().to_string(), "trixie:/etc/copied");
    if nix::unistd::geteuid().is_root() {
        site.told(&["image", "maintain", "trixie", "lab-01"]);
        let refused = site.refused(&["image", "copy", &file, place]);
        assert!(
            refused.contains("lab-01 maintains the draft of `trixie`; copy the file there, or shut it down"),
            "{refused}"
        );
        site.told(&["image", "maintain", "trixie", "--end"]);
        assert!(!site.path("data/images/trixie/draft/etc/copied").exists());
    }
    site.told(&["image", "copy", &file, place]);
    assert!(site.path("data/images/trixie/draft/etc/copied").exists());
    assert!(
        site.refused(&["image", "publish", "trixie", "--skip", "x"]).contains("`x` is neither a check nor")
    );
    let published = site.told(&["image", "publish", "trixie", "--note", "with a new file"]);
    assert!(published.contains("`trixie@2` is published: "), "{published}");
    assert!(site.told(&["image", "show", "trixie"]).contains("\ntrixie@2\n  News     with a new file\n"));
    assert_eq!(boots(&site), "trixie");

    assert_eq!(
        site.told(&["image", "test", "trixie@2", "lab-01"]),
        "lab-01 boots `trixie@2` when it next starts. When the trial is over: `bramble image promote trixie@2`, or \
         `bramble image test lab-01 --end`.\n"
    );
    assert_eq!(boots(&site), "trixie@2");
    assert!(site.refused(&["image", "remove", "trixie@2"]).contains("in use by lab-01"));
    assert_eq!(site.ask(&["image", "test", "lab-01"]).status.code(), Some(2));
    assert_eq!(
        site.told(&["image", "test", "lab-01", "--end"]),
        "lab-01 boots `trixie@1` when it next starts.\n"
    );
    assert_eq!(boots(&site), "trixie");
    site.told(&["image", "test", "trixie@2", "lab-01"]);

    // To one room, and back.
    assert!(site.refused(&["image", "promote", "trixie@2", "--room", "attic"]).contains("no room `attic`"));
    assert!(
        site.refused(&["image", "rollback", "trixie", "--room", "lab"]).contains("no version of `trixie`")
    );
    let told = site.told(&["image", "promote", "trixie@2", "--room", "lab"]);
    assert_eq!(told, "lab-01 boots `trixie@2` when it next starts.\n");
    assert!(fs::read_to_string(site.path("bramble")).expect("there").contains("option image 'trixie@2'"));
    site.told(&["image", "promote", "trixie@2", "--room", "lab"]);
    // Twice is once.
    let told = site.told(&["image", "rollback", "trixie", "--room", "lab"]);
    assert_eq!(told, "lab-01 boots `trixie@1` when it next starts.\n", "the trial ended with the promotion");
    assert!(fs::read_to_string(site.path("bramble")).expect("there").contains("option image 'trixie'\n"));

    // To all: a room that stayed with a version is taken along.
    site.told(&["image", "promote", "trixie@1", "--room", "lab"]);
    assert_eq!(
        site.told(&["image", "promote", "trixie@2"]),
        "lab-01 boots `trixie@2` when it next starts.\n"
    );
    assert!(fs::read_to_string(site.path("bramble")).expect("there").contains("option image 'trixie'\n"));
    assert_eq!(site.told(&["image", "rollback", "trixie"]), "lab-01 boots `trixie@1` when it next starts.\n");
    assert!(site.told(&["image", "clone", "trixie@2", "library"]).contains("`library@1` is ready"));
    assert!(site.refused(&["image", "clone", "trixie@2", "library"]).contains("an image `library` already"));
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

    // As the web pages have it sent to a browser; more words than these are refused.
    let streamed = site.ask(&["image", "export", "--", "school@1", "-"]);
    assert!(streamed.status.success(), "{}", text(&streamed.stderr));
    let plain = zstd::stream::decode_all(streamed.stdout.as_slice()).expect("a whole archive");
    assert!(plain.starts_with(b"bramble-image.json\0"), "its note comes first");
    let refused = site.ask(&["image", "export", "--", "school@1", "/tmp/x", "-"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{}", text(&refused.stderr));

    let archive = shelf.join("school.tar.zst");
    let told = site.told(&["image", "exports"]);
    assert!(told.starts_with("IMAGE     SIZE"), "{told}");
    assert!(told.contains("school@1") && told.contains(&archive.display().to_string()), "{told}");
    let told = site.told(&["image", "exports", "--delete", archive.to_str().expect("UTF-8")]);
    assert!(told.contains("(school@1, ") && told.ends_with(") is deleted.\n"), "{told}");
    assert!(!archive.exists());
    let told = site.told(&["image", "exports"]);
    assert!(told.starts_with("There is no export, or it is on a disk that is not plugged in; "), "{told}");
}

/// What begins programs that no processor runs.
const MAGIC: &[u8; 16] = b"\x7fBRAMBLE-TEST\x01\x02\x03";

/// A handler of the kernel for [`MAGIC`], for the time of a test. Nothing else on this machine begins like that.
struct Handler(PathBuf);

impl Handler {
    /// Where the kernel's list is seen by this thread, and by what it starts, only.
    fn register(name: &str, interpreter: &Path) -> std::io::Result<Self> {
        const LIST: &str = "/proc/sys/fs/binfmt_misc";
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("none"), LIST, Some("binfmt_misc"), MsFlags::empty(), None::<&str>)?;
        let magic = MAGIC.escape_ascii();
        let entry = Self(Path::new(LIST).join(name));
        fs::write(
            Path::new(LIST).join("register"),
            format!(":{name}:M::{magic}::{}:F", interpreter.display()),
        )?;
        Ok(entry)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "-1");
    }
}

/// Programs of another processor run in a draft where a handler is registered for them, and a sentence says so where none is.
#[test]
fn a_registered_handler_runs_the_programs_of_a_draft() {
    let busybox = Path::new("/bin/busybox");
    // Of the type of a program without an interpreter (elf(5), `ET_EXEC`).
    let is_static = fs::read(busybox).is_ok_and(|bytes| bytes.get(16) == Some(&2));
    let mut site = Site::new(44);
    let tree = system(&site);
    for folder in ["dev", "proc", "sys", "tmp", "run", "root"] {
        fs::create_dir(tree.join(folder)).expect("made");
    }
    fs::write(tree.join("bin/sh"), MAGIC).expect("written");
    fs::set_permissions(tree.join("bin/sh"), fs::Permissions::from_mode(0o755)).expect("set");
    let able = nix::unistd::geteuid().is_root() && is_static;
    let handler = if able { Handler::register("bramble-test", busybox).ok() } else { None };
    let Some(handler) = handler else {
        let why = "needs root, binfmt_misc and a static busybox";
        assert!(std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_none(), "{why}");
        println!("NOT RUN: {why}");
        return;
    };
    site.serve();
    site.told(&["image", "import", tree.to_str().expect("UTF-8"), "--name", "foreign"]);
    site.told(&["image", "draft", "foreign"]);
    let run =
        ["image", "run", "foreign", "--", "echo run by $0 > /etc/proof; read said < /etc/proof; echo $said"];
    assert_eq!(site.told(&run), "run by /bin/sh\n");
    let proof = fs::read_to_string(site.path("data/images/foreign/draft/etc/proof")).expect("in the draft");
    assert_eq!(proof, "run by /bin/sh\n");
    drop(handler);
    let refused = site.refused(&run);
    assert!(refused.contains("the programs of `foreign` are for another processor (unknown)"), "{refused}");
}

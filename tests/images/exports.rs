//! Exported images: another Bramble gets the same tree, any tar can read the archive, and what was damaged on its way is
//! told from what was not.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use bramble::proto::catalogue::{self, Link};
use bramble::service::images::export::{ExportRequest, Form};
use bramble::service::images::library::ImageSummary;
use bramble::service::images::shelf;
use bramble::service::jobs::{JobState, JobStatus, Task};
use bramble::sim::sample::{Release, write_tree};
use bramble::store::Store;
use bramble::types::Moment;
use proptest::prelude::*;

use super::support::{Place, assert_same, can, has_program, make_difficult, sh};

const NOON: Moment = Moment::from_secs(1_800_000_000);

fn export(place: &Place, image: &str, to: &Path, form: Form) -> JobStatus {
    let request = ExportRequest { image: image.parse().expect("an image"), to: to.to_owned(), form };
    let job = place.library.export(request, NOON).expect("started");
    place.jobs.wait(job).expect("known")
}

fn exported(place: &Place, image: &str, to: &Path, form: Form) -> String {
    let job = export(place, image, to, form);
    assert_eq!(job.state, JobState::Done, "{}", job.message);
    job.message
}

fn shown(place: &Place, name: &str) -> ImageSummary {
    let name = name.parse().expect("a name");
    place.library.show(&name).expect("a list").expect("there")
}

/// A sample of an operating system with everything in it that is hard to copy.
fn source(place: &Place) -> PathBuf {
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    make_difficult(&source);
    source
}

fn folder_attributes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = xattr::list(folder).expect("attributes");
    let value = |name: &std::ffi::OsStr| xattr::get(folder, name).expect("a value").expect("a value");
    names.map(|name| (name.display().to_string(), value(&name))).collect()
}

#[test]
fn another_bramble_gets_the_same_tree() {
    let here = Place::new();
    let original = here.imported("trixie", &source(&here));
    for (form, name) in [(Form::Zst, "trixie.tar.zst"), (Form::Xz, "trixie.tar.xz")] {
        let archive = here.folder.path().join(name);
        let told = exported(&here, "trixie@1", &archive, form);
        assert!(told.starts_with("`trixie@1` is exported: "), "{told}");
        assert!(told.contains(&format!("; `{}` has ", archive.display())), "{told}");
        assert!(!archive.with_added_extension("part").exists());

        let there = Place::new();
        let job = there.import("lab", &archive).expect("started");
        assert_eq!(job.state, JobState::Done, "{}", job.message);
        let version = env!("CARGO_PKG_VERSION");
        assert!(
            job.message.contains(&format!(
                "\nNote: it is trixie@1 as Bramble {version} exported it on 2027-01-15 08:00:00 UTC, whole and unchanged."
            )),
            "{}",
            job.message
        );
        let copy =
            there.library.images().resolve(&"lab".parse().expect("a name")).expect("there").root.clone();
        assert_same(&original, &copy);
        assert_eq!(
            folder_attributes(&original.join("odd/empty")),
            folder_attributes(&copy.join("odd/empty"))
        );
        for hole in ["odd/hole", "odd/only-a-hole"] {
            let blocks = |root: &Path| root.join(hole).metadata().expect("there").blocks();
            assert!(blocks(&copy) <= blocks(&original), "{hole}: holes are holes");
        }
        assert_eq!(there.left(), ["lab"], "nothing of the import is left");
    }
}

#[test]
fn any_tar_reads_it_and_its_note_comes_first() {
    let place = Place::new();
    place.imported("trixie", &source(&place));
    let archive = place.folder.path().join("trixie.tar.xz");
    exported(&place, "trixie", &archive, Form::Xz);
    sh(
        place.folder.path(),
        "tar -tJf trixie.tar.xz > list; mkdir out; tar -xJf trixie.tar.xz -C out --numeric-owner",
    );
    let list = std::fs::read_to_string(place.folder.path().join("list")).expect("a list");
    let (first, last) = (list.lines().next(), list.lines().last());
    assert_eq!((first, last), (Some("bramble-image.json"), Some("bramble-image-end.json")));
    let out = place.folder.path().join("out");
    let note: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("bramble-image.json")).expect("a note"))
            .expect("JSON");
    assert_eq!(note["release"], "Debian GNU/Linux 13 (trixie)");
    for ours in ["bramble-image.json", "bramble-image-end.json"] {
        std::fs::remove_file(out.join(ours)).expect("there");
    }
    // What every tar knows; capabilities need options that not every tar has.
    let inode = |path: &str| out.join(path).metadata().expect("there").ino();
    assert_eq!(inode("odd/first"), inode("odd/deep/third"));
    assert_eq!(out.join("odd/mode").metadata().expect("there").permissions().mode() & 0o777, 0o751);
    assert_eq!(out.join("odd/hole").metadata().expect("there").len(), 3 << 20);
}

#[test]
fn a_remark_goes_along() {
    let here = Place::new();
    here.imported("trixie", &source(&here));
    let draft = here.library.make_draft(&"trixie".parse().expect("an image")).expect("started");
    here.jobs.wait(draft).expect("known");
    let publication = bramble::service::images::publish::Publication {
        name: "trixie".parse().expect("a name"),
        note: "with Scratch".parse().expect("a remark"),
        skip: bramble::service::images::publish::names()
            .collect::<Vec<_>>()
            .join(",")
            .parse()
            .expect("names"),
        desktop: None,
    };
    let job = here.library.publish_draft(publication).expect("started");
    let job = here.jobs.wait(job).expect("known");
    assert_eq!(job.state, JobState::Done, "{}", job.message);
    let archive = here.folder.path().join("two.tar.zst");
    exported(&here, "trixie@2", &archive, Form::Zst);
    let there = Place::new();
    there.imported("trixie", &archive);
    assert_eq!(shown(&there, "trixie").versions[0].note, "with Scratch");
}

/// A folder of exports is what another Bramble imports from.
#[test]
fn a_catalogue_of_exports_is_read_by_another_bramble() {
    let here = Place::new();
    let tree = here.folder.path().join("small");
    start_of_a_system(&tree);
    let shelf = here.folder.path().join("shelf");
    std::fs::create_dir(&shelf).expect("a folder");
    let empty = shelf::write_list(&shelf, &Task::unwatched()).expect_err("nothing there").to_string();
    assert!(empty.starts_with(&format!("there is no exported image in `{}`", shelf.display())), "{empty}");
    here.imported("small", &tree);
    std::fs::write(tree.join("etc/motd"), "two\n").expect("changed");
    let newest = here.imported("small", &tree);
    here.imported("other", &tree);
    for (image, file, days) in [
        ("small@1", "small.tar.zst", 0),
        ("small@2", "small-2.tar.xz", 1),
        ("other", "other.tar.zst", 0),
        ("other", "in umlauts \u{e4}.tar.zst", 3),
    ] {
        let form = if file.ends_with("xz") { Form::Xz } else { Form::Zst };
        let request = ExportRequest { image: image.parse().expect("an image"), to: shelf.join(file), form };
        let at = NOON.plus(std::time::Duration::from_hours(24 * days));
        let job = here.library.export(request, at).expect("started");
        assert_eq!(here.jobs.wait(job).expect("known").state, JobState::Done);
    }
    std::fs::write(shelf.join("torn.tar.zst"), b"\x28\xb5\x2f\xfd and nothing that follows")
        .expect("written");
    sh(&shelf, "tar -cf - -C .. small | zstd -q > plain.tar.zst; echo x > readme.txt");
    let written = shelf::write_list(&shelf, &Task::unwatched()).expect("written");
    let names: Vec<String> = written.images.iter().map(|one| format!("{} {}", one.image, one.file)).collect();
    assert_eq!(names, ["other@1 other.tar.zst", "small@2 small-2.tar.xz"]);
    let left: Vec<String> = written.left_out.iter().map(|one| format!("{}: {}", one.file, one.why)).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    for expected in [
        "in umlauts \u{e4}.tar.zst: no list can name it; use only letters, digits, `.`, `-` and `_`",
        "plain.tar.zst: it is no image that a Bramble exported",
        "small.tar.zst: `small-2.tar.xz` is a newer export of `small`",
    ] {
        assert!(left.iter().any(|line| line == expected), "{expected} in {left:?}");
    }
    assert_eq!(written.list, shelf.join("catalogue.json"));

    let there = Place::new();
    let base = Link::File(written.list.clone());
    let list = catalogue::read(&std::fs::read(&written.list).expect("read"), &base, &[]).expect("a list");
    assert_eq!(list.left_out, 0);
    let entry = list.entries.iter().find(|entry| entry.name == "small").expect("listed");
    assert_eq!(entry.released, NOON.plus(std::time::Duration::from_hours(24)).date());
    assert_eq!(entry.description, "Made up, arm64");
    assert_eq!(catalogue::fits(entry, &[catalogue::Family::Pi4]), Ok(()));
    assert!(catalogue::fits(entry, &[catalogue::Family::Pi2]).is_err());
    let mut request = Place::request("small", Path::new(&entry.place.to_string()));
    request.expect.file = entry.file_sum;
    let job = there.library.import(request).expect("started");
    let end = there.jobs.wait(job).expect("known");
    assert_eq!(end.state, JobState::Done, "{}", end.message);
    assert_same(&newest, &there.data().join("images/small/1"));
}

/// As much as an import asks for.
fn start_of_a_system(root: &Path) {
    for folder in ["etc", "sbin"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    std::fs::write(root.join("etc/os-release"), "PRETTY_NAME=\"Made up\"\n").expect("a file");
    // The header of a program for a Pi of 64 bits.
    let mut init = vec![0; 64];
    init[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (init[16], init[18]) = (2, 183);
    std::fs::write(root.join("sbin/init"), init).expect("a file");
}

/// The archive of a small tree, not packed, as bytes.
fn plain_archive(place: &Place) -> Vec<u8> {
    let source = place.folder.path().join("small");
    start_of_a_system(&source);
    std::fs::write(source.join("etc/motd"), "welcome\n".repeat(100)).expect("a file");
    place.imported("small", &source);
    let archive = place.folder.path().join("small.tar.zst");
    exported(place, "small", &archive, Form::Zst);
    let file = std::fs::File::open(archive).expect("made");
    let mut bytes = Vec::new();
    zstd::stream::read::Decoder::new(file).expect("zstd").read_to_end(&mut bytes).expect("whole");
    bytes
}

/// What importing these bytes ends with.
fn refused(bytes: &[u8]) -> String {
    let place = Place::new();
    let path = place.folder.path().join("changed.tar");
    std::fs::write(&path, bytes).expect("a file");
    place.refused(&path)
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("it is there")
}

#[test]
fn what_was_damaged_on_its_way_is_not_imported() {
    let place = Place::new();
    let whole = plain_archive(&place);

    let mut changed = whole.clone();
    let at = find(&changed, b"welcome");
    changed[at] = b'W';
    let said = refused(&changed);
    assert!(said.starts_with("the image is not what was exported: "), "{said}");
    assert!(said.ends_with("arrived; it was damaged or changed on its way, export it again"), "{said}");

    // Whole entries are missing at the end, and the end of the archive is right.
    let mut cut = whole[..find(&whole, b"bramble-image-end.json")].to_vec();
    cut.extend([0; 1024]);
    let said = refused(&cut);
    assert!(
        said.contains("the note that a whole export ends with (`bramble-image-end.json`) is missing"),
        "{said}"
    );

    // Something was added behind the end.
    let end = find(&whole, b"bramble-image-end.json");
    let mut added = whole[..whole.len() - 1024].to_vec();
    let motd = find(&whole, b"etc/motd");
    added.extend_from_slice(&whole[motd..motd + 512]);
    added.extend_from_slice(&whole[motd + 512..motd + 512 + 1024]);
    added.extend([0; 1024]);
    assert!(end < added.len());
    let said = refused(&added);
    assert!(said.starts_with("the image is not what was exported"), "{said}");
}

#[test]
fn hostile_notes_end_in_a_clear_error() {
    let entry = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).expect("short");
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let padding = content.len().next_multiple_of(512) - content.len();
        [header.as_bytes().as_slice(), content, &vec![0; padding]].concat()
    };
    let archive = |entries: &[Vec<u8>]| [entries.concat(), vec![0; 1024]].concat();
    let huge = archive(&[entry("bramble-image.json", &vec![b' '; 20_000])]);
    let said = refused(&huge);
    assert!(said.contains("it is longer than any real one"), "{said}");
    let newer = archive(&[entry("bramble-image.json", br#"{"format": 7}"#)]);
    assert_eq!(
        refused(&newer),
        "the archive was exported by a newer Bramble (its format is 7, this one reads 1); install that version, or a later one, to import it"
    );
    let deep = archive(&[entry("bramble-image.json", &b"[".repeat(16_000))]);
    let said = refused(&deep);
    assert!(said.starts_with("`bramble-image.json` in the archive cannot be understood"), "{said}");
    let nothing = archive(&[entry("bramble-image.json", b"")]);
    let said = refused(&nothing);
    assert!(said.starts_with("`bramble-image.json` in the archive cannot be understood"), "{said}");
}

#[test]
fn an_export_that_ends_early_leaves_nothing() {
    let place = Place::new();
    place.imported("trixie", &source(&place));
    let archive = place.folder.path().join("cancelled.tar.zst");
    let request =
        ExportRequest { image: "trixie".parse().expect("an image"), to: archive.clone(), form: Form::Zst };
    let job = place.library.export(request, NOON).expect("started");
    place.jobs.cancel(job).expect("cancelled");
    let job = place.jobs.wait(job).expect("known");
    assert_eq!((job.state, job.message.as_str()), (JobState::Cancelled, "cancelled; nothing was kept"));
    assert!(!archive.exists() && !archive.with_added_extension("part").exists());

    // The folder went while it was waiting.
    let job = export(&place, "trixie", &place.folder.path().join("gone/x.tar.zst"), Form::Zst);
    assert_eq!(job.state, JobState::Failed);
    assert!(job.message.contains("gone/x.tar.zst.part` cannot be made: "), "{}", job.message);

    // Whoever reads a FIFO goes away.
    let fifo = place.folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::File::open(fifo).expect("opened").read_exact(&mut [0; 100]).expect("some of it")
    });
    let job = export(&place, "trixie", &fifo, Form::Zst);
    reader.join().expect("it ends");
    assert_eq!(job.state, JobState::Failed);
    assert!(job.message.contains("fifo` cannot be written: "), "{}", job.message);
}

#[test]
fn a_full_disk_is_named() {
    if !can(Path::new("/dev/full").exists(), "a full disk", "needs /dev/full") {
        return;
    }
    let place = Place::new();
    place.imported("trixie", &source(&place));
    // The part is a link to a device that is always full.
    let archive = place.folder.path().join("full.tar.zst");
    std::os::unix::fs::symlink("/dev/full", archive.with_added_extension("part")).expect("a link");
    let job = export(&place, "trixie", &archive, Form::Zst);
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(
        job.message,
        format!(
            "the disk is full: there is no room left for `{}`, and what was written of it is deleted; choose another disk, or `xz`, which is smaller",
            archive.display()
        )
    );
    assert!(!archive.with_added_extension("part").is_symlink());
}

/// As PiServer's own images are made: bsdtar of a mounted SD card, packed by xz.
#[test]
fn what_bsdtar_makes_is_imported() {
    if !can(has_program("bsdtar"), "archives of bsdtar", "needs bsdtar (libarchive-tools)") {
        return;
    }
    let place = Place::new();
    let source = source(&place);
    sh(&source, "bsdtar --numeric-owner --format pax -cJf ../piserver.tar.xz .");
    let tree = place.imported("piserver", &place.folder.path().join("piserver.tar.xz"));
    assert_same(&source, &tree);
}

/// What may stand in a made-up tree.
#[derive(Clone, Debug)]
pub enum Thing {
    Folder(u16),
    File { content: Vec<(bool, u16)>, mode: u16, attribute: Option<Vec<u8>> },
    Symlink(String),
    LinkTo(usize),
}

pub fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        (0u16..0o1000).prop_map(|mode| Thing::Folder(mode | 0o700)),
        (
            proptest::collection::vec((any::<bool>(), 1u16..9000), 0..6),
            0u16..0o10000,
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        )
            .prop_map(|(content, mode, attribute)| Thing::File {
                content,
                mode: mode | 0o400,
                attribute
            }),
        "[a-z/.ä]{1,150}".prop_map(Thing::Symlink),
        (0usize..8).prop_map(Thing::LinkTo),
    ]
}

/// Makes the things in `root`; what cannot be made (a name twice, a link to nothing) is left out.
pub fn make(root: &Path, things: &BTreeMap<Vec<String>, Thing>) {
    start_of_a_system(root);
    let mut files = Vec::new();
    for (at, (path, thing)) in things.iter().enumerate() {
        let path = path.iter().fold(root.to_owned(), |path, name| path.join(name));
        let Some(parent) = path.parent() else { continue };
        if std::fs::create_dir_all(parent).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match thing {
            Thing::Folder(mode) => {
                std::fs::create_dir(&path).expect("a folder");
                std::fs::set_permissions(&path, PermissionsExt::from_mode(u32::from(*mode))).expect("a mode");
            }
            Thing::File { content, mode, attribute } => {
                let mut file = std::fs::File::create(&path).expect("a file");
                let mut len = 0;
                for (hole, kilo) in content {
                    let bytes = usize::from(*kilo);
                    len += bytes as u64;
                    if *hole {
                        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(len)).expect("a place");
                    } else {
                        file.write_all(&vec![b'a' + u8::try_from(at % 20).expect("small"); bytes])
                            .expect("written");
                    }
                }
                file.set_len(len).expect("a length");
                if let Some(value) = attribute {
                    // Not every file system has them.
                    let _ = xattr::set(&path, "user.made-up", value);
                }
                std::fs::set_permissions(&path, PermissionsExt::from_mode(u32::from(*mode))).expect("a mode");
                files.push(path);
            }
            Thing::Symlink(target) => std::os::unix::fs::symlink(target, &path).expect("a link"),
            Thing::LinkTo(nth) => {
                if let Some(first) = files.get(*nth) {
                    std::fs::hard_link(first, &path).expect("a hard link");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a tree, it comes out of an export as it went in.
    #[test]
    fn what_goes_in_comes_out(
        things in proptest::collection::btree_map(
            proptest::collection::vec("[a-c\u{1}é ]{1,60}", 1..5), thing(), 0..12,
        ),
    ) {
        let place = Place::new();
        let source = place.folder.path().join("made-up");
        make(&source, &things);
        let tree = place.imported("one", &source);
        let archive = place.folder.path().join("one.tar.zst");
        exported(&place, "one", &archive, Form::Zst);
        let copy = place.imported("two", &archive);
        assert_same(&source, &tree);
        assert_same(&tree, &copy);
    }
}

#[test]
fn exports_are_listed_and_deleted() {
    let place = Place::new();
    place.imported("trixie", &source(&place));
    let (one, two) = (place.folder.path().join("one.tar.zst"), place.folder.path().join("two.tar.xz"));
    exported(&place, "trixie", &one, Form::Zst);
    exported(&place, "trixie", &two, Form::Xz);
    let place = place.again();
    let listed = |place: &Place| -> Vec<PathBuf> {
        place.library.exports().expect("a list").into_iter().map(|export| export.path).collect()
    };
    let exports = place.library.exports().expect("a list");
    let told: Vec<_> = exports
        .iter()
        .map(|export| (export.path.as_path(), export.image.to_string(), export.made_at, export.bytes))
        .collect();
    let length = |path: &Path| path.metadata().expect("there").len();
    let row = |path| (path, "trixie@1".to_owned(), NOON, length(path));
    assert_eq!(told, [row(two.as_path()), row(one.as_path())], "the newest first");
    // The power went before it was noted that one is whole.
    let store = Store::open(&place.data().join("bramble.db")).expect("a store");
    store.export_begins(&two, &exports[0].image).expect("noted");
    drop(store);
    assert_eq!(listed(&place), std::slice::from_ref(&one));
    let place = place.again();
    assert_eq!(place.library.exports().expect("a list"), exports);

    // A disk that is not plugged in is not forgotten.
    let away = place.folder.path().join("away");
    std::fs::rename(&one, &away).expect("moved");
    assert_eq!(listed(&place), std::slice::from_ref(&two));
    std::fs::rename(&away, &one).expect("moved back");

    // Somebody put another file in its place.
    std::fs::write(&one, "holiday pictures").expect("written");
    let refused = place.library.delete_export(&one).expect_err("it is another file");
    assert_eq!(
        refused.to_string(),
        format!(
            "`{}` is not the export of `trixie@1` any more that Bramble made; nothing is deleted, delete it yourself if it is to go",
            one.display()
        )
    );
    assert_eq!(std::fs::read_to_string(&one).expect("there"), "holiday pictures");
    let gone = place.library.delete_export(&two).expect("deleted");
    assert_eq!(gone.path, two);
    assert!(!two.exists());
    assert_eq!(listed(&place), std::slice::from_ref(&one));
    // What is not on record stays, whatever it says of itself.
    exported(&place, "trixie", &two, Form::Zst);
    let copied = place.folder.path().join("copied.tar.zst");
    std::fs::copy(&two, &copied).expect("copied");
    let refused = place.library.delete_export(&copied).expect_err("it was not made here");
    assert_eq!(
        refused.to_string(),
        format!(
            "`{}` is no export that Bramble made; `bramble image exports` shows those there are",
            copied.display()
        )
    );
    assert!(copied.exists());
}

#[test]
fn two_exports_of_one_name_leave_the_first() {
    let place = Place::new();
    place.imported("trixie", &source(&place));
    let to = place.folder.path().join("one.tar.zst");
    let go = place.hold_up_jobs();
    let request =
        || ExportRequest { image: "trixie".parse().expect("an image"), to: to.clone(), form: Form::Zst };
    let [first, second] = [(); 2].map(|()| place.library.export(request(), NOON).expect("started"));
    go.send(()).expect("it waits");
    assert_eq!(place.jobs.wait(first).expect("known").state, JobState::Done);
    let whole = std::fs::read(&to).expect("read");
    let second = place.jobs.wait(second).expect("known");
    assert!(
        second.state == JobState::Failed && second.message.contains("is there already"),
        "{}",
        second.message
    );
    assert!(std::fs::read(&to).expect("read") == whole);
    assert_eq!(place.library.exports().expect("a list").len(), 1, "it is still known");
}

/// Names the folder to the process that is killed while it exports.
const CHILD: &str = "BRAMBLE_TEST_EXPORT_IN";

#[test]
fn what_a_killed_export_leaves_goes_at_the_next_start() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = PathBuf::from(folder);
        let (library, jobs, _) = super::support::open(&folder);
        let to = folder.join("large.tar.zst");
        let request = ExportRequest { image: "large".parse().expect("an image"), to, form: Form::Zst };
        let end = jobs.wait(library.export(request, NOON).expect("started"));
        unreachable!("it should have been killed: {end:?}");
    }
    let place = Place::new();
    let system = source(&place);
    sh(&system, "head -c 100M /dev/urandom > usr/large");
    place.imported("large", &system);
    let Place { folder, library, jobs, .. } = place;
    jobs.close();
    drop((library, jobs));
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["images::exports::what_a_killed_export_leaves_goes_at_the_next_start", "--exact"])
        .env(CHILD, folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let part = folder.path().join("large.tar.zst.part");
    while !part.metadata().is_ok_and(|about| about.len() > 0) {
        assert!(child.try_wait().expect("asked").is_none(), "it ended before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("waited for");
    assert!(part.exists(), "this is what it is about");
    let foreign = folder.path().join("film.tar.zst.part");
    std::fs::write(&foreign, "half of it").expect("written");

    let place = Place::open(folder);
    place.wait_for_all();
    assert!(!part.exists());
    assert!(foreign.exists(), "somebody else's");
    assert!(place.library.exports().expect("a list").is_empty());
    exported(&place, "large", &place.folder.path().join("large.tar.zst"), Form::Zst);
    let place = place.again();
    place.wait_for_all();
    assert_eq!(place.library.exports().expect("a list").len(), 1, "a whole one stays");
}

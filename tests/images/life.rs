//! A draft is made, changed, published; versions are promoted, rolled back and cloned; and what a stop in between leaves.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bramble::service::images::publish::{Publication, Skip};
use bramble::service::jobs::{JobState, JobStatus};
use bramble::sim::sample::{Release, write_tree};
use bramble::store::Store;
use bramble::types::{ImageName, ImageRef, ImageVersion};

use super::support::{Place, assert_same, is_root, listing, make_difficult, names, sh};

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

fn name(text: &str) -> ImageName {
    text.parse().expect("a name")
}

fn version(text: &str) -> ImageVersion {
    let ImageRef { name, version } = image(text);
    ImageVersion { name, version: version.expect("a version") }
}

fn inode(path: impl AsRef<Path>) -> u64 {
    path.as_ref().symlink_metadata().expect("there").ino()
}

/// A library with `trixie@1`.
fn place() -> Place {
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    make_difficult(&source);
    place.imported("trixie", &source);
    place
}

fn images(place: &Place) -> PathBuf {
    place.data().join("images")
}

fn done(place: &Place, job: u64) -> JobStatus {
    let job = place.jobs.wait(job).expect("known");
    assert_eq!(job.state, JobState::Done, "{}", job.message);
    job
}

fn draft(place: &Place, of: &str) -> PathBuf {
    let job = place.library.make_draft(&image(of)).expect("started");
    done(place, job);
    place.library.draft_path(&image(of).name)
}

fn publication(skip: &str) -> Publication {
    let skip: Skip = skip.parse().expect("names");
    Publication { name: name("trixie"), note: "with Scratch".parse().expect("a note"), skip, desktop: None }
}

fn publish(place: &Place, skip: &str) -> JobStatus {
    let job = place.library.publish_draft(publication(skip)).expect("started");
    place.jobs.wait(job).expect("known")
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

#[test]
fn a_draft_is_changed_and_becomes_a_version_that_shares_the_rest() {
    if !is_root("drafts") {
        return;
    }
    let place = place();
    let one = images(&place).join("trixie/1");
    let draft = draft(&place, "trixie");
    assert_same(&one, &draft);
    let before = listing(&one);
    // Whoever has the draft as their root writes files as they are.
    std::fs::OpenOptions::new()
        .append(true)
        .open(draft.join("etc/hostname"))
        .expect("opened")
        .set_len(3)
        .expect("cut");
    write(&draft, "usr/bin/scratch", "new");
    write(&draft, "var/cache/apt/archives/scratch_1_all.deb", "fetched again if need be");
    write(&draft, "var/log/dpkg.log", "installed scratch");
    write(&draft, "root/.bash_history", "apt install scratch");
    write(&draft, "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    std::fs::remove_file(draft.join("odd/second")).expect("removed");
    let expected: Vec<String> = listing(&draft);
    assert_eq!(listing(&one), before, "the version that a class runs has not changed");

    let job = publish(&place, "");
    assert_eq!(job.state, JobState::Done, "{}", job.message);
    assert!(job.message.starts_with("`trixie@2` is published: "), "{}", job.message);
    assert!(
        job.message.contains(
            "\nLeft out (apt): 4.0 KiB of packages and lists that apt can fetch again (1 file or folder)"
        ),
        "{}",
        job.message
    );
    assert!(job.message.ends_with("image promote trixie@2"), "{}", job.message);
    let two = images(&place).join("trixie/2");
    let gone = ["var/cache/apt/archives/scratch_1_all.deb ", "root/.bash_history "];
    let emptied = ["var/log/dpkg.log ", "etc/machine-id "];
    let is = |line: &String, of: &[&str]| of.iter().any(|name| line.starts_with(name));
    // Folders that lost a file keep the time they had.
    let rest: Vec<&String> = expected.iter().filter(|line| !is(line, &gone) && !is(line, &emptied)).collect();
    let found = listing(&two);
    let rest_found: Vec<&String> = found.iter().filter(|line| !is(line, &emptied)).collect();
    // Sharing gives a file names elsewhere: the listing says of each that is shared by which name it was met first.
    let bare = |lines: &[&String]| -> Vec<String> {
        lines.iter().map(|line| line.split(" = ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(bare(&rest_found), bare(&rest));
    for file in emptied {
        assert_eq!(std::fs::read_to_string(two.join(file.trim_end())).expect("there"), "", "{file}");
    }
    for file in ["etc/os-release", "odd/mode", "odd/hole", "odd/plain"] {
        let real = |root: &Path| inode(std::fs::canonicalize(root.join(file)).expect("there"));
        assert_eq!(real(&one), real(&two), "{file} is shared");
    }
    for file in ["etc/hostname", "odd/first"] {
        assert_ne!(inode(one.join(file)), inode(two.join(file)), "{file} was touched");
    }
    assert_eq!(inode(two.join("odd/first")), inode(two.join("odd/deep/third")), "still one file");
    assert_eq!(bare(&listing(&one).iter().collect::<Vec<_>>()), bare(&before.iter().collect::<Vec<_>>()));
    assert_eq!(names(&images(&place).join("trixie")), ["1", "2"], "the draft is gone");
    assert_eq!(place.left(), ["trixie"]);
    assert_eq!(
        place.library.images().resolve(&image("trixie")).expect("there").image,
        version("trixie@1"),
        "nobody boots it yet"
    );
    let shown = place.library.show(&name("trixie")).expect("asked").expect("there");
    assert_eq!(shown.versions[1].note, "with Scratch");
    assert_eq!(shown.versions[1].source, "draft of trixie@1");
    // Each has its folders, and what the other has not.
    let own: Vec<u64> = shown.versions.iter().map(|version| version.own.expect("measured")).collect();
    assert!(own.iter().zip(&shown.versions).all(|(own, version)| *own < version.bytes), "{own:?}");

    // The older one goes, the newer one has everything.
    place.library.promote(&version("trixie@2")).expect("promoted");
    let whole = listing(&two);
    let removal = place.library.remove(&image("trixie@1"), &|_| Vec::new()).expect("removed");
    done(&place, removal.job);
    assert_eq!(bare(&listing(&two).iter().collect::<Vec<_>>()), bare(&whole.iter().collect::<Vec<_>>()));
    let os_release = std::fs::canonicalize(two.join("etc/os-release")).expect("there");
    assert_eq!(std::fs::metadata(os_release).expect("there").nlink(), 1, "its room is given back");
    let shown = place.library.show(&name("trixie")).expect("asked").expect("there");
    assert!(shown.versions[0].own.expect("measured") > own[1], "what was shared is its own now");
}

/// Whoever switches the client on while a publication waits does not have its root taken away.
#[test]
fn a_publication_looks_again_when_its_turn_has_come() {
    if !is_root("drafts") {
        return;
    }
    let place = place();
    draft(&place, "trixie");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = place.jobs.start("test", "nothing".to_owned(), move |_| {
        let _ = wait.recv();
        Ok(String::new())
    });
    let on = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = std::sync::Arc::clone(&on);
    let in_change =
        move || asked.load(std::sync::atomic::Ordering::Relaxed).then(|| "lab-01 runs".to_owned());
    let job = place.library.publish_draft_unless(publication(""), in_change.clone()).expect("queued");
    on.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(go);
    place.jobs.wait(first.expect("started")).expect("known");
    let end = place.jobs.wait(job).expect("known");
    assert_eq!((end.state, end.message.as_str()), (JobState::Failed, "lab-01 runs"));
    assert_eq!(place.library.images().drafts().len(), 1, "the client keeps its root");
    on.store(false, std::sync::atomic::Ordering::Relaxed);
    let job = place.library.publish_draft_unless(publication(""), in_change).expect("queued");
    let end = done(&place, job);
    assert!(!end.message.contains("Changed last"), "{}", end.message);
}

#[test]
fn a_publication_tells_what_was_changed_last() {
    if !is_root("drafts") {
        return;
    }
    let place = place();
    let draft = draft(&place, "trixie");
    write(&draft, "etc/first", "1");
    std::thread::sleep(std::time::Duration::from_millis(50));
    write(&draft, "usr/bin/last", "2");
    // Whoever has something to hide sets this back.
    sh(&draft, "touch -d '2001-02-03' usr/bin/last");
    let end = publish(&place, "");
    let line = end.message.lines().find(|line| line.starts_with("Changed last, on 20")).expect("a line");
    assert!(line.ends_with(" UTC: `usr/bin/last`"), "{line}");
}

#[test]
fn one_draft_an_image_and_what_is_refused() {
    if !is_root("drafts") {
        return;
    }
    let place = place();
    let refused = |result: Result<u64, bramble::service::images::drafts::DraftError>| {
        let text = result.expect_err("refused").to_string();
        text.split(" on ").next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        refused(place.library.make_draft(&image("trixie@7"))),
        "there is no image `trixie@7`; `bramble image list` shows those there are"
    );
    assert_eq!(
        refused(place.library.publish_draft(publication(""))),
        "`trixie` has no draft; `bramble image draft trixie` makes one"
    );
    let draft = draft(&place, "trixie");
    assert_eq!(
        refused(place.library.make_draft(&image("trixie@1"))),
        "`trixie` has a draft already, made from version 1"
    );
    let refusal = place.library.remove(&image("trixie"), &|_| Vec::new()).expect_err("it has a draft");
    assert_eq!(
        refusal.to_string(),
        "`trixie` has a draft; publish it (`bramble image publish trixie`) or discard it (`bramble image discard trixie`) first"
    );
    write(&draft, "var/lib/dpkg/status", "Package: scratch\nStatus: install ok unpacked\n");
    let before = listing(&draft);
    let job = publish(&place, "");
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(
        job.message,
        "the draft of `trixie` is not fit to be published, and stays as it is:\npackages: not all packages are installed to the end: scratch; run `dpkg --configure -a` and `apt-get -f install` in the draft\nPut this right in the draft, or pass over what you know better with `--skip packages`"
    );
    assert_eq!(listing(&draft), before);
    assert_eq!(names(&images(&place).join("trixie")), [".draft.origins", "1", "draft"]);
    assert!(
        "apt,nonsense".parse::<Skip>().expect_err("unknown").to_string().starts_with("`nonsense` is neither")
    );
    write(&draft, "root/.bash_history", "kept");
    let job = publish(&place, "packages,histories");
    assert_eq!(job.state, JobState::Done, "{}", job.message);
    assert_eq!(
        std::fs::read_to_string(images(&place).join("trixie/2/root/.bash_history")).expect("kept"),
        "kept"
    );

    let draft = self::draft(&place, "trixie@2");
    assert!(draft.join("root/.bash_history").exists());
    let job = place.library.discard_draft(&name("trixie")).expect("started");
    done(&place, job);
    assert_eq!(names(&images(&place).join("trixie")), ["1", "2"]);
    assert_eq!(place.left(), ["trixie"]);
}

#[test]
fn a_stop_leaves_a_draft_or_a_version_and_never_both() {
    if !is_root("drafts") {
        return;
    }
    let place = place();
    draft(&place, "trixie");
    let folder = images(&place).join("trixie");
    let store = Store::open(&place.data().join("bramble.db")).expect("a store");

    // The power went after the publication had noted what it makes, before the version was in its place.
    store.draft_becomes(&name("trixie"), Some(version("trixie@2").version)).expect("noted");
    std::fs::create_dir_all(images(&place).join(".incoming-99/tree")).expect("made");
    let place = place.again();
    place.wait_for_all();
    assert_eq!(names(&folder), [".draft.origins", "1", "draft"], "still a draft");
    assert_eq!(place.library.draft(&name("trixie")).expect("asked").expect("there").becomes, None);
    assert_eq!(place.left(), ["trixie"]);

    // And after that, before its row: version and draft share files.
    store.draft_becomes(&name("trixie"), Some(version("trixie@2").version)).expect("noted");
    write_tree(&folder.join("2"), Release::Trixie).expect("a sample");
    let place = place.again();
    place.wait_for_all();
    assert_eq!(names(&folder), ["1", "2"], "a version, and no draft");
    assert_eq!(place.left(), ["trixie"]);
    assert_eq!(place.library.images().resolve(&image("trixie")).expect("there").image, version("trixie@1"));
    assert!(place.library.images().version(&version("trixie@2")).is_some());

    // After a draft was in its place, before its row.
    write_tree(&folder.join("draft"), Release::Trixie).expect("a sample");
    std::fs::write(folder.join(".draft.origins"), "").expect("written");
    let place = place.again();
    place.wait_for_all();
    assert_eq!(names(&folder), ["1", "2"]);
    assert_eq!(place.left(), ["trixie"]);

    // Somebody deleted the folder of a draft.
    draft(&place, "trixie");
    std::fs::remove_dir_all(folder.join("draft")).expect("deleted");
    let place = place.again();
    place.wait_for_all();
    assert_eq!(place.library.draft(&name("trixie")).expect("asked"), None);
    assert_eq!(names(&folder), ["1", "2"]);
}

#[test]
fn a_version_is_promoted_rolled_back_and_cloned() {
    if !is_root("drafts") {
        return;
    }
    let place = place();
    let name = name("trixie");
    let current =
        |place: &Place| place.library.images().resolve(&image("trixie")).expect("there").image.to_string();
    assert_eq!(
        place.library.roll_back(&name).expect_err("nothing").to_string(),
        "there is no version before `trixie@1` to go back to"
    );
    draft(&place, "trixie");
    assert_eq!(publish(&place, "").state, JobState::Done);
    let before = place.library.promote(&version("trixie@2")).expect("promoted");
    assert_eq!((before, current(&place)), (Some(version("trixie@1").version), "trixie@2".to_owned()));
    let place = place.again();
    assert_eq!(current(&place), "trixie@2");
    assert_eq!(place.library.roll_back(&name).expect("back"), version("trixie@1"));
    assert_eq!(place.library.roll_back(&name).expect("and forward"), version("trixie@2"));
    assert!(place.library.promote(&version("trixie@3")).is_err());

    let job =
        place.library.clone_image(&image("trixie@2"), "library".parse().expect("a name")).expect("started");
    let job = done(&place, job);
    assert_eq!(
        job.message,
        "`library@1` is ready: the same as `trixie@2`, whose files it shares until one of them is removed"
    );
    let (two, clone) = (images(&place).join("trixie/2"), images(&place).join("library/1"));
    assert_same(&two, &clone);
    assert_eq!(inode(two.join("odd/mode")), inode(clone.join("odd/mode")));
    let taken = place.library.clone_image(&image("trixie"), "library".parse().expect("a name"));
    assert_eq!(
        taken.expect_err("taken").to_string(),
        "there is an image `library` already; choose another name"
    );
    let removal = place.library.remove(&image("trixie"), &|_| Vec::new()).expect("removed");
    done(&place, removal.job);
    assert_eq!(std::fs::read_to_string(clone.join("odd/mode")).expect("there"), "sticky");
}

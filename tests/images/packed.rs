//! Packed versions: the kernel mounts what we wrote, and finds the tree that was packed; and the file's life beside the tree.

use std::path::{Path, PathBuf};

use bramble::service::images::pack::PackError;
use bramble::service::images::squash;
use bramble::service::jobs::{JobState, JobStatus, Task};
use bramble::sim::sample::{Release, write_tree};
use bramble::types::ImageRef;
use proptest::prelude::*;

use super::exports::{make, thing};
use super::support::{Place, assert_same, can, has_program, is_root, make_difficult, sh};

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

fn pack(place: &Place, text: &str) -> JobStatus {
    let job = place.library.pack(&image(text)).expect("started");
    place.jobs.wait(job).expect("known")
}

fn packed(place: &Place, text: &str) -> PathBuf {
    let job = pack(place, text);
    assert_eq!(job.state, JobState::Done, "{}", job.message);
    let tree = place.library.images().resolve(&image(text)).expect("there");
    place.library.images().packed(tree.id).expect("packed").path
}

/// Whole seconds after 1970, which is all that squashfs keeps.
fn whole_seconds(root: &Path) {
    sh(root, "find . -depth -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +");
}

/// Runs `look` with the packed file mounted, if this machine's kernel can; else unpacks it with unsquashfs.
fn seen(file: &Path, look: impl FnOnce(&Path)) {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path().join("root");
    let knows = std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("squashfs"));
    if knows && Path::new("/dev/loop-control").exists() {
        std::fs::create_dir(&at).expect("a folder");
        let (at_text, file) = (at.display(), file.display());
        sh(place.path(), &format!("mount -t squashfs -o ro,loop {file} {at_text}"));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&at)));
        sh(place.path(), &format!("umount {at_text}"));
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    } else {
        sh(place.path(), &format!("unsquashfs -quiet -no-progress -d root {}", file.display()));
        look(&at);
    }
}

fn can_look() -> bool {
    let knows = std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("squashfs"));
    is_root("packed images")
        && can(knows || has_program("unsquashfs"), "packed images", "needs squashfs or unsquashfs")
}

#[test]
fn the_kernel_finds_the_tree_that_was_packed() {
    if !can_look() {
        return;
    }
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    make_difficult(&source);
    sh(
        &source,
        r#"
        mkdir large; cd large
        # A folder whose list takes many blocks, files of just a block and around it, and what cannot be packed.
        for n in $(seq 1 3000); do : > "an-entry-with-a-name-of-some-length-$n"; done
        for size in 131071 131072 131073 262144 1000000; do head -c $size /dev/urandom > random-$size; done
        yes text | head -c 700000 > text || true
        truncate -s 5G holes; printf end >> holes
        cp random-1000000 part-hole; printf x | dd of=part-hole bs=1 seek=3000000 conv=notrunc status=none
        "#,
    );
    whole_seconds(&source);
    let tree = place.imported("trixie", &source);
    let file = packed(&place, "trixie");
    assert_eq!(file, tree.with_file_name(".1.squashfs"));
    seen(&file, |root| {
        assert_same_but_holes(&tree, root);
        let capability = xattr::get(root.join("odd/plain"), "security.capability").expect("attributes");
        assert_eq!(capability.map(|value| value.len()), Some(20), "file capabilities survive");
        let folder = xattr::get(root.join("odd/empty"), "user.folder").expect("attributes");
        assert_eq!(folder.as_deref(), Some(b"of a folder".as_slice()));
        // Looked up by name, not by listing.
        for n in [1, 17, 1500, 2999, 3000] {
            assert!(root.join(format!("large/an-entry-with-a-name-of-some-length-{n}")).is_file());
        }
        assert!(!root.join("large/an-entry-with-a-name-of-some-length-3001").exists());
    });
    let size = file.metadata().expect("there").len();
    assert!(size < 20_000_000, "5 GiB of holes and much text take {size} bytes");
}

/// Five gigabytes of zeros are not read by a test.
fn assert_same_but_holes(tree: &Path, root: &Path) {
    use std::os::unix::fs::FileExt as _;
    let holes = std::fs::File::open(root.join("large/holes")).expect("there");
    let mut end = [0; 4];
    holes.read_exact_at(&mut end, 5 << 30).expect_err("past the end");
    holes.read_exact_at(&mut end, (5 << 30) - 1).expect("the end");
    assert_eq!(&end, b"\0end");
    let copy = tempfile::tempdir().expect("a folder");
    let without = |from: &Path, name: &str| {
        sh(
            copy.path(),
            &format!(
                "mkdir {name}; cd {}; tar --exclude=./large/holes --xattrs --xattrs-include='*' -cf - . | tar -C {}/{name} --xattrs --xattrs-include='*' --numeric-owner -xpf -",
                from.display(),
                copy.path().display()
            ),
        );
        copy.path().join(name)
    };
    assert_same(&without(tree, "tree"), &without(root, "root"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a tree, the kernel finds it in the packed file.
    #[test]
    fn any_tree_can_be_packed(
        things in proptest::collection::btree_map(
            proptest::collection::vec("[a-c\u{1}é ]{1,60}", 1..5), thing(), 0..30,
        ),
    ) {
        if !can_look() {
            return Ok(());
        }
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        make(&tree, &things);
        whole_seconds(&tree);
        let path = folder.path().join("packed");
        let out = std::fs::File::create_new(&path).expect("a file");
        squash::write(&tree, &out, 7, &Task::unwatched()).expect("packed");
        seen(&path, |root| assert_same(&tree, root));
    }
}

/// A small system that can be imported anywhere.
fn small(place: &Place) -> PathBuf {
    let source = place.folder.path().join("small");
    make(&source, &std::collections::BTreeMap::new());
    source
}

#[test]
fn a_packed_file_lives_and_goes_with_its_version() {
    let place = Place::new();
    place.imported("small", &small(&place));
    assert!(matches!(place.library.pack(&image("other")), Err(PackError::NoSuchImage(_))));
    let nobody = |_: &bramble::types::ImageVersion| Vec::new();
    assert_eq!(
        place.library.unpack(&image("small"), &nobody).expect_err("refused").to_string(),
        "no version of `small` is packed"
    );
    let file = packed(&place, "small");
    let of = |place: &Place, text: &str| {
        let tree = place.library.images().resolve(&image(text)).expect("there");
        place.library.images().packed(tree.id)
    };
    let before = of(&place, "small").expect("packed");
    assert_eq!(
        place.library.pack(&image("small")).expect_err("refused").to_string(),
        "`small@1` is packed already"
    );
    let shown = place.library.show(&"small".parse().expect("a name")).expect("a list").expect("there");
    assert_eq!(shown.versions[0].packed, Some(file.metadata().expect("there").len()));
    assert!(shown.versions[0].own.expect("measured") >= shown.versions[0].packed.expect("packed"));

    // The same after a restart: clients go on reading by the handles they have.
    let place = place.again();
    assert_eq!(of(&place, "small"), Some(before));

    // An image that is packed stays so.
    place.imported("small", &small(&place));
    place.wait_for_all();
    assert!(of(&place, "small@2").is_some(), "the next version is packed too");

    let two = |version: &bramble::types::ImageVersion| -> Vec<String> {
        if version.version.0.get() == 2 { vec!["lab-01".into(), "lab-02".into()] } else { vec![] }
    };
    assert_eq!(
        place.library.unpack(&image("small"), &two).expect_err("refused").to_string(),
        "`small@2` is what lab-01 and 1 more run from, packed; shut them down first, and unpack it then"
    );
    assert!(of(&place, "small@1").is_some() && of(&place, "small@2").is_some(), "nothing was touched");
    let job = place.library.unpack(&image("small@2"), &nobody).expect("started");
    let job = place.jobs.wait(job).expect("known");
    assert_eq!(
        (job.state, job.message.as_str()),
        (JobState::Done, "1 packed file deleted; clients use the tree")
    );
    assert!(of(&place, "small@2").is_none() && !file.with_file_name(".2.squashfs").exists());
    place.imported("small", &small(&place));
    place.wait_for_all();
    assert!(of(&place, "small@3").is_none(), "an image that is not packed stays so");

    let removed = place.library.remove(&image("small@1"), &nobody).expect("removed");
    place.jobs.wait(removed.job).expect("known");
    assert!(!file.exists(), "it goes with its version");
}

/// Clients that start between two jobs would lose their root to the second.
#[test]
fn a_version_is_packed_once_however_often_it_is_asked_for() {
    let place = Place::new();
    place.imported("small", &small(&place));
    let go = place.hold_up_jobs();
    let first = place.library.pack(&image("small")).expect("started");
    let second = place.library.pack(&image("small")).expect("nothing is packed yet");
    go.send(()).expect("it waits");
    assert_eq!(place.jobs.wait(first).expect("known").state, JobState::Done);
    let tree = place.library.images().resolve(&image("small")).expect("there");
    let made = place.library.images().packed(tree.id);
    let second = place.jobs.wait(second).expect("known");
    assert_eq!((second.state, second.message.as_str()), (JobState::Done, "`small@1` is packed already"));
    assert!(made.is_some() && place.library.images().packed(tree.id) == made);
}

#[test]
fn a_packed_file_whose_deletion_is_cancelled_is_offered_again() {
    let place = Place::new();
    place.imported("small", &small(&place));
    let file = packed(&place, "small");
    let go = place.hold_up_jobs();
    let tree = place.library.images().resolve(&image("small")).expect("there");
    let is_offered = || place.library.images().packed(tree.id).expect("packed").offered;
    let job = place.library.unpack(&image("small"), &|_| Vec::new()).expect("started");
    assert!(!is_offered(), "nobody who starts gets it");
    let everybody = |_: &bramble::types::ImageVersion| vec!["lab-01".to_owned()];
    let again = place.library.unpack(&image("small"), &everybody).expect_err("it is under way");
    assert!(matches!(again, PackError::NotPacked(_)) && !is_offered(), "{again}");
    place.jobs.cancel(job).expect("cancelled");
    go.send(()).expect("it waits");
    place.jobs.wait(job).expect("known");
    place.wait_for_all();
    assert!(is_offered() && file.exists());
}

#[test]
fn packing_that_ends_early_leaves_nothing() {
    let place = Place::new();
    let tree = place.imported("small", &small(&place));
    let job = place.library.pack(&image("small")).expect("started");
    place.jobs.cancel(job).expect("cancelled");
    let job = place.jobs.wait(job).expect("known");
    assert_eq!((job.state, job.message.as_str()), (JobState::Cancelled, "cancelled; nothing was kept"));
    assert_eq!(place.left(), ["small"]);
    assert_eq!(super::support::names(tree.parent().expect("a folder")), ["1"]);

    // A packed file whose version is gone (the power went in between) goes at the next start.
    std::fs::write(tree.with_file_name(".9.squashfs"), "left").expect("written");
    let place = place.again();
    place.wait_for_all();
    assert_eq!(super::support::names(&place.data().join("images/small")), ["1"]);
}

//! Another name for an image, and what an interruption leaves of that.

use bramble::service::images::rename::RenameError;
use bramble::store::Store;
use bramble::types::{ImageName, ImageRef};

use super::exports::make;
use super::support::Place;

fn name(text: &str) -> ImageName {
    text.parse().expect("a name")
}

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

fn place() -> Place {
    let place = Place::new();
    let source = place.folder.path().join("small");
    make(&source, &std::collections::BTreeMap::new());
    for _ in 0..2 {
        place.imported("small", &source);
    }
    let job = place.library.pack(&image("small@1")).expect("started");
    place.jobs.wait(job).expect("known");
    let draft = place.library.make_draft(&image("small")).expect("started");
    place.jobs.wait(draft).expect("known");
    place
}

#[test]
fn everything_of_an_image_has_the_new_name() {
    let place = place();
    let before = place.library.images().resolve(&image("small@1")).expect("there");
    place.library.rename(&name("small"), &name("library")).expect("renamed");
    place.library.renamed().expect("noted");
    let images = place.library.images();
    let after = images.resolve(&image("library@1")).expect("there");
    assert_eq!((after.id, after.nonce), (before.id, before.nonce), "handles stay");
    assert_eq!(after.root, place.data().join("images/library/1"));
    assert!(after.root.is_dir() && images.packed(after.id).expect("packed").path.is_file());
    assert_eq!(images.drafts()[0].root, place.data().join("images/library/draft"));
    assert!(place.library.draft(&name("library")).expect("a list").is_some());
    assert!(images.has(&name("library")) && !images.has(&name("small")));
    // Who was told the old name a moment ago still boots.
    let meant = images.resolve(&image("small@1")).expect("still meant");
    assert_eq!(meant.image.to_string(), "library@1");
    assert_eq!(place.left(), ["library"]);

    let place = place.again();
    let images = place.library.images();
    assert_eq!(images.resolve(&image("library")).expect("there").image.to_string(), "library@2");
    assert!(images.packed(before.id).is_some());
    assert!(images.resolve(&image("small")).is_none(), "only in that run");
    assert_eq!(place.library.list().expect("a list").len(), 1);
}

#[test]
fn a_freed_name_can_be_given_again() {
    let place = place();
    place.library.rename(&name("small"), &name("library")).expect("renamed");
    place.library.renamed().expect("noted");
    place.imported("small", &place.folder.path().join("small"));
    let images = place.library.images();
    assert_eq!(images.resolve(&image("small")).expect("there").image.to_string(), "small@1");
    assert_eq!(images.resolve(&image("library")).expect("there").image.to_string(), "library@2");
    assert!(images.resolve(&image("small@2")).is_none(), "that is the other image's");
}

#[test]
fn what_cannot_be_renamed_says_why() {
    let place = place();
    place.imported("other", &place.folder.path().join("small"));
    let refused = |old: &str, new: &str| -> RenameError {
        place.library.rename(&name(old), &name(new)).expect_err("refused")
    };
    assert_eq!(
        refused("small", "other").to_string(),
        "there is an image `other` already; choose another name"
    );
    assert_eq!(refused("small", "small").to_string(), "`small` has that name already");
    assert_eq!(
        refused("none", "new").to_string(),
        "there is no image `none`; `bramble image list` shows those there are"
    );
    // A job that waits for ever, so that the one behind it is queued.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = place.jobs.start("test", "nothing".to_owned(), move |_| {
        let _ = wait.recv();
        Ok(String::new())
    });
    let job = place.library.pack(&image("small@2")).expect("queued");
    assert_eq!(
        refused("small", "new").to_string(),
        format!(
            "job {job} (pack) is about `small` and not over yet; wait for it, or cancel it (`bramble job cancel {job}`)"
        )
    );
    place.jobs.cancel(job).expect("it waits");
    // What a command says is not what it is about.
    let other =
        place.jobs.start("run", "other: echo small".to_owned(), |_| Ok(String::new())).expect("queued");
    let run =
        place.jobs.start("run", "small: apt-get update".to_owned(), |_| Ok(String::new())).expect("queued");
    assert_eq!(
        refused("small", "new").to_string(),
        format!(
            "job {run} (run) is about `small` and not over yet; wait for it, or cancel it (`bramble job cancel {run}`)"
        )
    );
    place.jobs.cancel(run).expect("it waits");
    drop(go);
    place.jobs.wait(other).expect("known");
    place.jobs.wait(first.expect("started")).expect("known");
    place.library.rename(&name("small"), &name("new")).expect("now it can be");
    // The configuration did not take it: all of it is taken back.
    place.library.rename(&name("new"), &name("small")).expect("taken back");
    place.library.renamed().expect("noted");
    assert_eq!(place.left(), ["other", "small"]);
}

/// The power goes behind each of the steps: the next start has the new name, whole, and still knows that the configuration
/// has to follow.
#[test]
fn an_interrupted_change_is_completed() {
    for steps in 0..=2 {
        let place = place();
        place.jobs.close();
        let images = place.data().join("images");
        std::fs::write(images.join(".renaming"), "small library\n").expect("a note");
        if steps > 0 {
            std::fs::rename(images.join("small"), images.join("library")).expect("renamed");
        }
        if steps > 1 {
            let store = Store::open(&place.data().join("bramble.db")).expect("a store");
            assert!(store.image_rename(&name("small"), &name("library")).expect("renamed"));
        }
        let place = place.again();
        place.wait_for_all();
        let list = place.library.list().expect("a list");
        let names: Vec<&str> = list.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["library"], "after {steps} steps");
        assert_eq!(list[0].versions.len(), 2);
        assert!(list[0].draft.is_some() && list[0].versions[0].packed.is_some());
        assert!(list[0].versions.iter().all(|version| !version.missing));
        let unfinished = place.library.unfinished_rename().expect("read");
        assert_eq!(unfinished, Some((name("small"), name("library"))));
        place.library.renamed().expect("noted");
        assert_eq!(place.left(), ["library"]);
    }
    // Half a note: nothing had been done.
    let place = place();
    place.jobs.close();
    std::fs::write(place.data().join("images/.renaming"), "sma").expect("a note");
    let place = place.again();
    place.wait_for_all();
    assert_eq!(place.left(), ["small"]);
}

//! Imports that do not get to their end: cancelled, stopped, killed, or out of room.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bramble::service::jobs::JobState;
use bramble::sim::sample::{Release, write_tree};

use super::support::{Place, can, is_root, names, sh};

/// Names the data folder for the process that is to be killed.
const CHILD: &str = "BRAMBLE_TEST_IMPORT_IN";

/// An archive whose last member is so large that an import of it is still at work when it is noticed.
fn large_archive(folder: &Path) -> PathBuf {
    write_tree(&folder.join("source"), Release::Trixie).expect("a sample");
    sh(
        folder,
        "mkdir -p extra && head -c 300M /dev/urandom > extra/large && tar -C source -cf large.tar . && tar -C extra -rf large.tar ./large && rm -rf extra",
    );
    folder.join("large.tar")
}

/// Waits until an import below `data` has written something.
fn at_work(data: &Path) {
    loop {
        let written = names(&data.join("images")).into_iter().any(|name| {
            name.starts_with(".incoming-") && data.join("images").join(name).join("tree/usr").exists()
        });
        if written {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_cancelled_import_leaves_nothing_and_a_stopped_one_neither() {
    let place = Place::new();
    let archive = large_archive(place.folder.path());
    let job = place.library.import(Place::request("large", &archive)).expect("started");
    at_work(&place.data());
    let seen = place.jobs.status(job).expect("known");
    assert_eq!((seen.state, seen.phase.as_str()), (JobState::Running, "unpacking"));
    assert_eq!(seen.of, archive.metadata().expect("its length").len());
    place.jobs.cancel(job).expect("it runs");
    let end = place.jobs.wait(job).expect("known");
    assert_eq!((end.state, end.message.as_str()), (JobState::Cancelled, "cancelled; nothing was kept"));
    assert_eq!(place.left(), Vec::<String>::new());

    let job = place.library.import(Place::request("large", &archive)).expect("started");
    at_work(&place.data());
    let place = place.again();
    assert_eq!(place.left(), Vec::<String>::new());
    let end = place.jobs.status(job).expect("on record");
    assert_eq!(
        (end.state, end.message.as_str()),
        (JobState::Interrupted, "Bramble was stopped while this ran; nothing of it was kept, start it again")
    );
}

/// The same test, run again in a process of its own, is what gets killed.
#[test]
fn a_killed_import_leaves_nothing_after_the_next_start() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let (folder, archive) = (PathBuf::from(&folder), PathBuf::from(folder).join("large.tar"));
        let (library, jobs, _) = super::support::open(&folder);
        let job = library.import(Place::request("large", &archive)).expect("started");
        let end = jobs.wait(job).expect("known");
        unreachable!("it should have been killed: {end:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    large_archive(folder.path());
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("images")).expect("a folder");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["images::stopped::a_killed_import_leaves_nothing_after_the_next_start", "--exact"])
        .env(CHILD, folder.path())
        .spawn()
        .expect("started");
    at_work(&data);
    child.kill().expect("killed");
    assert_eq!(child.wait().expect("ended").signal(), Some(9), "it was at work when it was killed");
    assert_eq!(names(&data.join("images")).len(), 1, "the kill left its folder");

    let place = Place::open(folder);
    place.wait_for_all();
    assert_eq!(place.left(), Vec::<String>::new());
    let subjects: Vec<_> =
        place.interrupted.iter().map(|job| (job.kind.as_str(), job.subject.as_str())).collect();
    assert_eq!(subjects, [("import", "large")]);
    assert!(place.library.list().expect("a list").is_empty());
    // And the name is as free as if nothing had been.
    assert!(place.imported("large", &place.folder.path().join("source")).ends_with("large/1"));
}

#[test]
fn no_room_is_noticed_before_and_during_an_import() {
    if !is_root("a small disk") {
        return;
    }
    let outside = tempfile::tempdir().expect("a folder");
    write_tree(&outside.path().join("source"), Release::Trixie).expect("a sample");
    sh(
        outside.path(),
        "head -c 120M /dev/urandom > source/large && tar -C source -cf large.tar . && gzip -1k large.tar",
    );
    let disk = outside.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    // Seen by this test's thread and what it starts, and gone with them.
    let mounted = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).and_then(|()| {
        use nix::mount::{MsFlags, mount};
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(None::<&str>, &disk, Some("tmpfs"), MsFlags::empty(), Some("size=115m"))
    });
    if !can(mounted.is_ok(), "a small disk", "needs a mount namespace") {
        return;
    }
    let place = Place::open(tempfile::tempdir_in(&disk).expect("a folder"));
    let images = place.data().join("images");
    let (plain, packed) = (outside.path().join("large.tar"), outside.path().join("large.tar.gz"));
    let message = place.refused(&plain);
    let (before, after) = message.split_once(" free;").expect("it says how much is free");
    assert!(
        before.starts_with(&format!(
            "there is not enough room: importing `{}` takes about 13",
            plain.display()
        )),
        "{message}"
    );
    assert!(before.contains(&format!("MiB, and `{}` has 11", images.display())), "{message}");
    assert_eq!(after, " remove images that nobody boots (`bramble image list`), or use a larger disk");

    // A length that lies: what is in the file is more than it says.
    let bytes = packed.metadata().expect("its length").len();
    let says = u32::try_from(bytes / 2 + 1).expect("short").to_le_bytes();
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new().write(true).open(&packed).expect("opened"),
        &says,
        bytes - 4,
    )
    .expect("written");
    assert_eq!(
        place.refused(&packed),
        format!(
            "the disk is full: `{}` has no room left for `{}`; nothing was kept. Remove images that nobody boots (`bramble image list`), or use a larger disk",
            images.display(),
            packed.display()
        )
    );
}

#[test]
fn a_decoder_that_needs_too_much_memory_is_refused_before_it_begins() {
    use bramble::service::images::source::{Opened, open};
    let folder = tempfile::tempdir().expect("a folder");
    sh(
        folder.path(),
        "head -c 100000 /dev/urandom > root.tar && xz -9 -k root.tar && xz -1 -kc root.tar > small.tar.xz && zstd -q --ultra --long=28 root.tar -o nothing.zst < /dev/null; cat root.tar | zstd -q --long=28 > root.tar.zst",
    );
    let refused = |name: &str, available: u64| {
        let path = folder.path().join(name);
        let Ok(Opened::File(source)) = open(path.to_str().expect("UTF-8")) else { unreachable!("a file") };
        source.check_memory(available << 20).err().map(|error| error.to_string())
    };
    let message = |name: &str, needed: &str, free: &str| {
        Some(format!(
            "unpacking `{}` takes {needed} of memory, and {free} are free here; unpack it on another machine and import the result",
            folder.path().join(name).display()
        ))
    };
    assert_eq!(refused("root.tar.xz", 64), message("root.tar.xz", "64.2 MiB", "48.0 MiB"));
    assert_eq!(refused("root.tar.xz", 88), None);
    assert_eq!(refused("small.tar.xz", 8), None);
    assert_eq!(refused("root.tar.zst", 256), message("root.tar.zst", "257.0 MiB", "192.0 MiB"));
    assert_eq!(refused("root.tar", 1), None);
}

//! Archives and folders that are as they should be.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bramble::service::images::import::parse_sum;
use bramble::service::images::source::Sums;
use bramble::service::jobs::JobState;
use bramble::sim::sample::{Release, write_tree};

use super::support::{Place, assert_same, can, has_program, is_root, listing, make_difficult, sh};

fn tree(folder: &Path) -> std::path::PathBuf {
    let root = folder.join("source");
    write_tree(&root, Release::Trixie).expect("a sample");
    make_difficult(&root);
    root
}

#[test]
fn a_folder_is_copied_as_it_is() {
    let place = Place::new();
    let source = tree(place.folder.path());
    let tree = place.imported("folder", &source);
    assert_same(&source, &tree);
    let hole = tree.join("odd/hole").metadata().expect("the file");
    assert!(hole.blocks() * 512 < 1 << 20, "3 MiB with one word in it take {} blocks", hole.blocks());
}

#[test]
fn every_form_of_tar_and_every_packing_brings_the_same_tree() {
    let place = Place::new();
    let source = tree(place.folder.path());
    let expected = listing(&source);
    #[rustfmt::skip]
    let forms = [
        ("posix.tar", "tar --format=posix --xattrs --xattrs-include='*' --numeric-owner -cf $OUT ."),
        ("sparse-1.0.tar.xz", "tar --format=posix --sparse --sparse-version=1.0 --xattrs --xattrs-include='*' -cf - . | xz -1 -T2 --block-size=1MiB > $OUT"),
        ("sparse-0.1.tar.gz", "tar --format=posix --sparse --sparse-version=0.1 --xattrs --xattrs-include='*' -cf - . | gzip -1 > $OUT"),
        ("sparse-0.0.tar.zst", "tar --format=posix --sparse --sparse-version=0.0 --xattrs --xattrs-include='*' -cf - . | zstd -q -1 > $OUT"),
        ("two-streams.tar.xz", "tar --format=posix --xattrs --xattrs-include='*' -cf all.tar . && head -c 3000000 all.tar | xz -0 > $OUT && tail -c +3000001 all.tar | xz -0 >> $OUT; rm all.tar"),
    ];
    for (at, (name, line)) in forms.iter().enumerate() {
        let packer = name.rsplit('.').next().expect("an ending");
        if !can(packer != "zst" || has_program("zstd"), name, "needs zstd") {
            continue;
        }
        let out = place.folder.path().join(name);
        sh(&source, &line.replace("$OUT", out.to_str().expect("UTF-8")).replace("all.tar", "../all.tar"));
        let tree = place.imported(&format!("form-{at}"), &out);
        let found = listing(&tree);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
    }
}

#[test]
fn gnus_own_format_with_holes_and_long_names() {
    let place = Place::new();
    let source = tree(place.folder.path());
    // This format has whole seconds only, and no attributes.
    sh(
        &source,
        "find . -exec touch -h -d '2020-01-01 00:00:00 UTC' {} +; setfattr -x security.capability odd/plain 2>/dev/null || :; setfattr -x user.note odd/plain 2>/dev/null || :",
    );
    sh(&source, "find . -depth -type d -exec touch -d '2020-01-01 00:00:00 UTC' {} +");
    let out = place.folder.path().join("gnu.tar");
    sh(&source, &format!("tar --format=gnu --sparse -cf {} .", out.display()));
    assert_same(&source, &place.imported("gnu", &out));
}

#[test]
fn both_checksums_are_verified() {
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Bookworm).expect("a sample");
    sh(
        place.folder.path(),
        "tar -C source -cf plain.tar . && gzip -1k plain.tar && echo trailing >/dev/null",
    );
    sh(place.folder.path(), "sha256sum plain.tar plain.tar.gz | cut -d' ' -f1 > sums");
    let sums = std::fs::read_to_string(place.folder.path().join("sums")).expect("sums");
    let [plain, packed] = sums.lines().map(|line| parse_sum(line).expect("a sum")).collect::<Vec<_>>()[..]
    else {
        unreachable!("two files, two sums");
    };
    let file = place.folder.path().join("plain.tar.gz");
    let import = |expect| {
        let job = place
            .library
            .import(bramble::service::images::import::Request { expect, ..Place::request("sums", &file) });
        place.jobs.wait(job.expect("started")).expect("known")
    };
    let right = import(Sums { file: Some(packed), content: Some(plain) });
    assert_eq!(right.state, JobState::Done, "{}", right.message);
    let shown = place.library.show(&"sums".parse().expect("a name")).expect("a list").expect("the image");
    assert_eq!(shown.versions[0].sha256.as_deref(), sums.lines().nth(1));
    for (expect, of) in [
        (Sums { file: Some(plain), content: None }, ""),
        (Sums { file: None, content: Some(packed) }, " (of its unpacked content)"),
    ] {
        let wrong = import(expect);
        assert_eq!(wrong.state, JobState::Failed);
        let (found, wanted) = if of.is_empty() { (1, 0) } else { (0, 1) };
        let line = |at| sums.lines().nth(at).expect("a sum");
        assert_eq!(
            wrong.message,
            format!(
                "`{}` has the SHA-256 {}, and {} was expected{of}; the download is damaged or is another file, download it again",
                file.display(),
                line(found),
                line(wanted)
            )
        );
    }
    assert_eq!(place.left(), ["sums"]);
}

/// PiServer's form: everything below `./`, firmware in `boot/`, and a link from the root on the way to a file.
#[test]
fn a_link_from_the_root_leads_to_the_trees_own_folder() {
    if !is_root("links from the root") {
        return;
    }
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Bullseye).expect("a sample");
    sh(
        place.folder.path(),
        r"
        tar -C source -cf all.tar .
        mkdir -p extra/var/run/service; echo 7 > extra/var/run/service/pid; tar -C extra -rf all.tar ./var/run/service
    ",
    );
    let tree = place.imported("piserver", &place.folder.path().join("all.tar"));
    assert_eq!(std::fs::read_to_string(tree.join("run/service/pid")).expect("inside the tree"), "7\n");
    assert!(!Path::new("/run/service/pid").exists());
}

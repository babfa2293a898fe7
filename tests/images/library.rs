//! Versions, removal, and what a restart finds.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble::config::load::{self, Source, from_sources};
use bramble::proto::nfs3::Args;
use bramble::proto::nfs3::access::Identity;
use bramble::proto::nfs3::args::Entry;
use bramble::service::clients::Clients;
use bramble::service::exports::tree::Handles;
use bramble::service::exports::virtuals::Sources;
use bramble::service::exports::{Exports, Patience};
use bramble::service::jobs::JobState;
use bramble::sim::sample::{Release, write_tree};
use bramble::types::{ImageRef, MacAddr};

use super::support::{Place, names};

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

#[test]
fn versions_count_up_and_the_newest_is_current() {
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    let first = place.import("trixie", &source).expect("started");
    assert_eq!(
        first.message.lines().next().map(|line| line
            .split(" in ")
            .next()
            .unwrap_or("")
            .rsplit_once(',')
            .expect("a size")
            .0),
        Some("`trixie@1` is ready: Debian GNU/Linux 13 (trixie), arm64")
    );
    std::fs::write(source.join("etc/hostname"), "second\n").expect("changed");
    let second = place.import("trixie", &source).expect("started");
    assert!(
        second.message.contains("; clients that pin no version boot it from now on (before: version 1)"),
        "{}",
        second.message
    );

    let place = place.again();
    let images = place.library.images();
    let (one, two) =
        (images.resolve(&image("trixie@1")).expect("1"), images.resolve(&image("trixie")).expect("2"));
    assert_eq!(std::fs::read_to_string(one.root.join("etc/hostname")).expect("1"), "raspberrypi\n");
    assert_eq!(std::fs::read_to_string(two.root.join("etc/hostname")).expect("2"), "second\n");
    assert_eq!(one.facts.pretty_name, "Debian GNU/Linux 13 (trixie)");
    assert_ne!((one.id, one.nonce), (two.id, two.nonce));
    assert_eq!(place.data().join("images").metadata().expect("the folder").mode() & 0o777, 0o700);

    let in_use = |version: &bramble::types::ImageVersion| {
        let lab = (1..=6).map(|number| format!("lab-0{number}")).collect::<Vec<_>>();
        if version.to_string() == "trixie@2" { lab } else { Vec::new() }
    };
    for text in ["trixie", "trixie@2"] {
        let refusal = place.library.remove(&image(text), &in_use).expect_err("in use").to_string();
        assert_eq!(
            refusal,
            "`trixie@2` is in use by lab-01, lab-02, lab-03, lab-04 and 2 more; give them another image first, and restart what still runs from it"
        );
    }
    let refusal = place.library.remove(&image("trixie@7"), &in_use).expect_err("none").to_string();
    assert_eq!(refusal, "there is no image `trixie@7`; `bramble image list` shows those there are");
    let removal = place.library.remove(&image("trixie@2"), &|_| Vec::new()).expect("removed");
    assert_eq!(removal.current.map(|version| version.to_string()).as_deref(), Some("1"));
    assert_eq!(images.resolve(&image("trixie")).expect("1").image.to_string(), "trixie@1");
    assert_eq!(place.jobs.wait(removal.job).expect("known").message, "1 folder deleted");
    assert_eq!(place.left(), ["trixie"]);
    assert!(place.import("trixie", &source).expect("started").message.starts_with("`trixie@3` is ready"));
    let removal = place.library.remove(&image("trixie"), &|_| Vec::new()).expect("removed");
    assert_eq!(place.jobs.wait(removal.job).expect("known").message, "2 folders deleted");
    assert_eq!(place.left(), Vec::<String>::new());
    assert!(images.resolve(&image("trixie")).is_none());
}

#[test]
fn a_restart_finds_what_was_left_and_says_so() {
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Bookworm).expect("a sample");
    place.imported("kept", &source);
    // As after a kill in the middle of an import and of a removal, and between the two last steps of another import.
    let images = place.data().join("images");
    write_tree(&images.join(".incoming-77/tree"), Release::Bullseye).expect("a tree");
    write_tree(&images.join(".removing-5"), Release::Bullseye).expect("a tree");
    write_tree(&images.join("orphan/3"), Release::Bullseye).expect("a tree");
    // And an image whose tree somebody deleted.
    place.imported("gone", &source);
    std::fs::remove_dir_all(images.join("gone/1")).expect("deleted");

    let store = bramble::store::Store::open(&place.data().join("bramble.db")).expect("a store");
    store.job_add("import", "killed", bramble::types::Moment::from_secs(1)).expect("noted");

    let place = place.again();
    place.wait_for_all();
    assert_eq!(place.interrupted.iter().map(|job| job.subject.as_str()).collect::<Vec<_>>(), ["killed"]);
    assert_eq!(place.left(), ["gone", "kept", "orphan"]);
    let jobs = place.jobs.list().expect("a list");
    let of = |kind: &str| jobs.iter().filter(|job| job.kind == kind && job.state == JobState::Done).count();
    assert_eq!((of("delete"), of("adopt")), (2, 1));
    let shelf = place.library.images();
    assert_eq!(shelf.resolve(&image("orphan")).expect("adopted").image.to_string(), "orphan@3");
    assert!(shelf.resolve(&image("gone")).is_none(), "nobody is told to boot what is not there");
    let list = place.library.list().expect("a list");
    let shown: Vec<_> = list.iter().map(|image| (image.name.as_str(), image.versions[0].missing)).collect();
    assert_eq!(shown, [("gone", true), ("kept", false), ("orphan", false)]);
}

/// The services that NFS asks, for a client at `ip` that boots what it was last told to.
fn exports(place: &Place, ip: Ipv4Addr, mac: MacAddr) -> (Arc<Clients>, Exports) {
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: Some(text.into()) };
    let network = "config interface 'lan'\n\toption device 'lo'\n\toption proto 'static'\n\
                   \toption ipaddr '127.0.0.1'\n\toption netmask '255.0.0.0'\n";
    let config = from_sources(&load::Sources {
        bramble: source("bramble", "config bramble 'main'\n\toption data '/mnt/x'\n\tlist network 'lan'\n"),
        network: source("network", network),
        dhcp: source("dhcp", ""),
        system: source("system", ""),
    });
    let config = config.expect("nothing wrong");
    let clients = Arc::new(Clients::new(Arc::new(config)));
    clients.bound(ip, mac, "lan");
    let folder = place.folder.path();
    let sources = Sources {
        agents: folder.to_owned(),
        kept: folder.join("agents"),
        personality: Box::new(|_, _| Vec::new()),
    };
    let images = Arc::clone(place.library.images());
    (Arc::clone(&clients), Exports::new(clients, images, &[7; 16], sources, Handles::Indexed))
}

/// Files below `folder` that this process has open, however they are called by now.
fn open_below(folder: &Path) -> Vec<PathBuf> {
    let open = std::fs::read_dir("/proc/self/fd").expect("Linux");
    let files = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    files.filter(|file| file.starts_with(folder)).collect()
}

#[tokio::test]
async fn a_removed_tree_takes_its_numbers_and_open_files_with_it() {
    let place = Place::new();
    let source = place.folder.path().join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    place.imported("kept", &source);
    place.imported("gone", &source);
    let (ip, mac) = (Ipv4Addr::new(10, 0, 0, 5), MacAddr::new([2, 0, 0, 0, 0, 5]));
    let (clients, exports) = exports(&place, ip, mac);
    let images = place.data().join("images");
    for image in ["kept", "gone"] {
        let tree = place.library.images().resolve(&self::image(image)).expect("on the shelf");
        clients.boots(mac, tree.image.clone());
        let visitor = exports.visitor(ip, None);
        let path = format!("/image/{image}/1");
        let (root, _) = exports.mount(&visitor, path.as_bytes()).expect("mounted");
        let who = Identity { uid: 0, gid: 0, gids: &[] };
        for name in [&b"etc"[..], b"usr", b"boot"] {
            let args = Args::Lookup(Entry { directory: &root, name });
            exports.nfs(&visitor, &who, &args, Patience::Blocking, &mut Vec::new()).expect("answered");
        }
        assert!(open_below(&images.join(image)).len() >= 4, "the root and three files");
        assert_eq!(names(&images.join(image)), [".1.handles", "1"]);
    }

    let removal = place.library.remove(&image("gone"), &|_| Vec::new()).expect("removed");
    place.jobs.wait(removal.job).expect("known");
    assert_eq!(place.left(), ["kept"]);
    let held = || open_below(&images).iter().filter(|file| !file.starts_with(images.join("kept"))).count();
    assert!(held() >= 4, "what is open is not gone by itself");
    let in_time = tokio::time::timeout(std::time::Duration::from_millis(50), exports.let_go()).await;
    assert!(in_time.is_err(), "it never ends by itself");
    assert_eq!(held(), 0);
    assert!(open_below(&images.join("kept")).len() >= 4);

    // The power went between the two steps of a removal: the next start deletes what lost its tree.
    std::fs::create_dir(images.join("half")).expect("made");
    std::fs::write(images.join("half/.3.handles"), "").expect("written");
    let place = place.again();
    assert_eq!(place.left(), ["kept"]);
    assert_eq!(names(&images.join("kept")), [".1.handles", "1"]);
}

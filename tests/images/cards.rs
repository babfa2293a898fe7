//! Memory cards: a disk of the router that an operating system is taken from, and a teacher's desktop that becomes
//! everybody's.

use std::path::{Path, PathBuf};
use std::process::Command;

use bramble::service::images::desktop;
use bramble::service::images::devices::{Devices, Places};
use bramble::service::images::import::Request;
use bramble::service::images::publish::Publication;
use bramble::service::jobs::{JobState, Task};
use bramble::sim::sample::{Release, write_tree};

use super::disks::{can_make_images, make_image};
use super::support::{Place, can, sh};

/// A disk that a file stands for, as `dev/sdb` of a folder of its own, with what sysfs says of it.
struct Card {
    folder: tempfile::TempDir,
    device: PathBuf,
}

impl Card {
    fn new(image: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = Command::new("losetup").args(["-f", "--show", "-r"]).arg(image).output().ok()?;
        let device = PathBuf::from(String::from_utf8(lines.stdout).ok()?.trim());
        let number =
            std::fs::read_to_string(Path::new("/sys/block").join(device.file_name()?).join("dev")).ok()?;
        let minor = number.trim().split(':').nth(1)?.to_owned();
        let sectors = std::fs::metadata(image).ok()?.len() / 512;
        sh(
            folder.path(),
            &format!(
                "mkdir -p dev block/sdb && echo {sectors} > block/sdb/size && echo 8:16 > block/sdb/dev && mknod dev/sdb b 7 {minor}"
            ),
        );
        Some(Self { folder, device })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("dev/sdb")
    }

    fn devices(&self, data: &Path) -> Devices {
        let folder = self.folder.path();
        Devices::new(Places {
            blocks: folder.join("block"),
            dev: folder.join("dev"),
            mounts: "/proc/self/mountinfo".into(),
            data: data.to_owned(),
        })
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.device).status();
    }
}

/// A tree as a teacher leaves it on a card.
fn used_card(folder: &Path) -> PathBuf {
    let source = folder.join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    sh(
        &source,
        r"
        grep -q ^teacher: etc/passwd || echo 'teacher:x:1000:1000:,,,:/home/teacher:/bin/bash' >> etc/passwd
        mkdir -p home/teacher/.config/pcmanfm/default home/teacher/.config/labwc home/teacher/.local/share/applications home/teacher/.ssh etc/ssh var/log
        printf '[*]\nwallpaper_mode=crop\n' > home/teacher/.config/pcmanfm/default/desktop-items-0.conf
        printf '[Desktop Entry]\nName=Scratch\n' > home/teacher/.local/share/applications/scratch.desktop
        echo secret > home/teacher/.ssh/id_ed25519; echo 'sudo apt install' > home/teacher/.bash_history
        echo key > etc/ssh/ssh_host_ed25519_key; echo 0123456789abcdef0123456789abcdef > etc/machine-id; echo line > var/log/syslog
        chown -R 1000:1000 home/teacher
        ",
    );
    source
}

#[test]
fn a_card_is_taken_over_without_what_made_it_one_machine() {
    if !can_make_images("memory cards") {
        return;
    }
    let mut place = Place::new();
    let folder = place.folder.path().to_owned();
    let source = used_card(&folder);
    let image = make_image(&folder, &source, "boot/firmware", 1);
    let Some(card) = Card::new(&image) else {
        can(false, "memory cards", "needs a loop device");
        return;
    };
    place.library.look_for_disks_in(card.devices(&place.data()));
    let listed = place.library.devices().list().expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].path.clone(), listed[0].refusal.clone()), (card.path(), None));

    let people = place.library.desktops_on(&card.path()).expect("people");
    let teacher = people.iter().find(|person| person.name == "teacher").expect("known");
    assert_eq!(teacher.settings.len(), 2);
    assert_eq!(place.left(), Vec::<String>::new(), "the look left nothing");

    let request = Request {
        desktop: Some("teacher".to_owned()),
        ..Request::new(card.path().to_str().expect("UTF-8"), "class".parse().expect("a name"))
    };
    let job = place.library.import(request).expect("started");
    let end = place.jobs.wait(job).expect("known");
    assert_eq!(end.state, JobState::Done, "{}", end.message);
    assert!(end.message.contains("The desktop of `teacher` is everybody's: "), "{}", end.message);
    let tree = place.library.images().resolve(&"class".parse().expect("a name")).expect("there").root.clone();
    let read = |path: &str| std::fs::read_to_string(tree.join(path)).ok();
    assert_eq!(read("etc/machine-id").as_deref(), Some(""));
    assert_eq!(read("var/log/syslog").as_deref(), Some(""));
    for gone in ["etc/ssh/ssh_host_ed25519_key", "home/teacher/.bash_history"] {
        assert_eq!(read(gone), None, "{gone}");
    }
    assert_eq!(
        read("etc/xdg/pcmanfm/default/desktop-items-0.conf").as_deref(),
        Some("[*]\nwallpaper_mode=crop\n")
    );
    assert_eq!(
        read("usr/share/applications/scratch.desktop").as_deref(),
        Some("[Desktop Entry]\nName=Scratch\n")
    );
    assert_eq!(read("home/teacher/.ssh/id_ed25519").as_deref(), Some("secret\n"), "the rest is as it was");
    // The card itself was only read.
    sh(&folder, "e2fsck -fn 'disk.img?offset=0' >/dev/null 2>&1 || true");

    // Somebody who is not there, and a disk that is none.
    let nobody = Request {
        desktop: Some("pi2".to_owned()),
        ..Request::new(card.path().to_str().expect("UTF-8"), "class".parse().expect("a name"))
    };
    let end = place.jobs.wait(place.library.import(nobody).expect("started")).expect("known");
    assert!(
        end.message.starts_with("there is no `pi2` with a home in this image; there are "),
        "{}",
        end.message
    );
    let other = place
        .library
        .import(Request::new(card.device.to_str().expect("UTF-8"), "class".parse().expect("a name")));
    let other = other.expect_err("no disk").to_string();
    assert!(other.starts_with("there is no disk `/dev/loop"), "{other}");
    assert!(!place.left().iter().any(|name| name.starts_with('.')), "{:?}", place.left());
}

#[test]
fn a_draft_is_published_with_the_desktop_of_a_teacher() {
    let place = Place::new();
    if !super::support::is_root("desktops") {
        return;
    }
    let source = used_card(place.folder.path());
    place.imported("class", &source);
    let draft = place.library.make_draft(&"class".parse().expect("an image")).expect("started");
    place.jobs.wait(draft).expect("known");
    let skip =
        bramble::service::images::publish::names().collect::<Vec<_>>().join(",").parse().expect("names");
    let publication = Publication {
        name: "class".parse().expect("a name"),
        note: "with a menu".parse().expect("a remark"),
        skip,
        desktop: Some("teacher".to_owned()),
    };
    let end = place.jobs.wait(place.library.publish_draft(publication).expect("started")).expect("known");
    assert_eq!(end.state, JobState::Done, "{}", end.message);
    assert!(end.message.contains("The desktop of `teacher` is everybody's: "), "{}", end.message);
    let root = |image: &str| {
        place.library.images().resolve(&image.parse().expect("an image")).expect("there").root.clone()
    };
    let menu = "usr/share/applications/scratch.desktop";
    assert!(root("class@2").join(menu).exists());
    assert!(!root("class@1").join(menu).exists(), "the version before has not changed");
    let shown = desktop::people(&root("class@1"), &Task::unwatched()).expect("people");
    assert!(shown.iter().any(|person| person.name == "teacher" && person.settings.len() == 2));
}

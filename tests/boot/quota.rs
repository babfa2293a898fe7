//! Quotas that the file system holds, on a real kernel that has them: this same test runs inside the guest.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bramble::config::Config;
use bramble::config::load::{Source, Sources, from_sources};
use bramble::service::homes::Homes;
use bramble::service::jobs::Task;
use bramble::store::Store;
use bramble::sys::acting::act_as;
use bramble::sys::project;
use bramble::types::{ByteSize, FullName, Moment, Person, Role, Uid};
use nix::sys::statvfs::statvfs;
use tokio::sync::watch;

use crate::guest::{Boot, Guest};
use crate::room::{made, needs, release};

/// Names the folder of the disk, inside the guest.
const INSIDE: &str = "BRAMBLE_QUOTA_INSIDE";

const NOW: Moment = Moment::from_secs(1_795_762_800);
const MIB: usize = 1 << 20;

#[test]
fn the_file_system_holds_quotas_where_it_can() {
    if let Some(data) = std::env::var_os(INSIDE) {
        return inside(Path::new(&data));
    }
    needs("quota::the_file_system_holds_quotas_where_it_can", || {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let ext4: &[&str] = &["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"];
        for (kind, make) in [("ext4", ext4), ("xfs", &["mkfs.xfs", "-q"])] {
            let disk = work.path().join(kind);
            // The smallest that XFS is made on; what nobody writes takes no room.
            fs::File::create(&disk).expect("made").set_len(320 << 20).expect("long enough");
            let done = Command::new(make[0]).args(&make[1..]).arg(&disk).status();
            assert!(done.expect("apt install e2fsprogs xfsprogs").success(), "{make:?}");
            let init = work.path().join(format!("init-{kind}"));
            fs::write(&init, script(kind)).expect("written");
            fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).expect("a program");
            let disks = [disk];
            let cmdline = format!("rootfstype=hostfs rootflags=/ ro quiet init={}", init.display());
            let folder = work.path().join(format!("{kind}.d"));
            fs::create_dir(&folder).expect("a folder");
            let boot = Boot {
                kernel: &made().join("uml/usr/bin/linux.uml"),
                initrd: None,
                disks: &disks,
                network: None,
                cmdline: &cmdline,
                work: &folder,
            };
            let mut guest = Guest::start(&format!("quota-{kind}"), &boot);
            let said = guest.expect("=end=");
            let code = guest.expect("=");
            assert_eq!(code, "0", "on {kind}:\n{said}");
            assert!(said.contains("1 passed"), "on {kind}:\n{said}");
            guest.ended();
        }
    });
}

/// What the guest does instead of starting a system.
fn script(kind: &str) -> String {
    let modules = made().join("uml/usr/lib/uml/modules").join(release()).join("kernel/fs/quota");
    let program = std::env::current_exe().expect("a test program has a path");
    format!(
        "#!/bin/sh\nmount -t proc proc /proc\nmount -t tmpfs mnt /mnt\nmount -t tmpfs tmp /tmp\nmkdir /mnt/disk\n\
         insmod {modules}/quota_tree.ko\ninsmod {modules}/quota_v2.ko\n\
         mount -t {kind} -o prjquota /dev/ubda /mnt/disk\nexport {INSIDE}=/mnt/disk\n\
         {program} quota::the_file_system_holds_quotas_where_it_can --exact --nocapture 2>&1\n\
         echo \"=end=$?=\"\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n",
        modules = modules.display(),
        program = program.display(),
    )
}

fn config(quota: &str) -> Arc<Config> {
    let source = |text: &str| Source { name: "x".to_owned(), text: Some(text.as_bytes().to_vec()) };
    let bramble = format!(
        "config bramble 'main'\n\toption data '/mnt/x'\n\tlist network 'lan'\nconfig homes 'homes'\n\toption quota '{quota}'\n"
    );
    let network = "config interface 'lan'\n\toption device 'eth0'\n\toption proto 'static'\n\toption ipaddr '10.0.0.1/24'\n";
    let sources =
        Sources { bramble: source(&bramble), network: source(network), dhcp: source(""), system: source("") };
    Arc::new(from_sources(&sources).unwrap_or_else(|problems| panic!("{problems:?}")))
}

fn person(name: &str, uid: u32) -> Person {
    Person {
        name: name.parse().expect("a name"),
        uid: Uid(uid),
        gid: Uid(uid).own_group(),
        full_name: FullName::default(),
        role: Role::Pupil,
        classes: vec![],
        must_change: false,
    }
}

/// Writes a file as its owner does over NFS, and to the disk.
fn fill(file: &Path, uid: u32, megabytes: usize) -> io::Result<()> {
    let _acting = act_as(uid, uid, &[])?;
    let mut file = fs::File::create(file)?;
    for _ in 0..megabytes {
        file.write_all(&vec![7; MIB])?;
    }
    file.sync_all()
}

fn is_full(done: io::Result<()>) -> bool {
    // XFS says of a project that the disk is full.
    done.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::EDQUOT | libc::ENOSPC)))
}

fn inside(data: &Path) {
    let setting = watch::Sender::new(config("8M"));
    let store = Store::open(&data.join("bramble.db")).expect("a store");
    let homes = Homes::open(data, store, setting.subscribe()).expect("opened");
    let (anna, ben, cleo) = (person("anna", 10_000), person("ben", 10_001), person("cleo", 10_002));
    let project_of = |path: &Path| project::of(fs::File::open(path).expect("opened")).expect("a project");

    let home = homes.prepare(&anna, NOW).expect("made");
    assert_eq!(home.quota, None, "nothing is left to count here");
    fill(&home.root.join("film"), 10_000, 6).expect("it fits");
    assert!(is_full(fill(&home.root.join("more"), 10_000, 6)), "more than eight");
    let space = statvfs(&home.root).expect("asked");
    assert_eq!(space.blocks() * space.fragment_size(), 8 << 20, "as its owner sees it");
    assert_eq!(project_of(&home.root.join("film")), 10_000);
    setting.send_replace(config("20M"));
    assert_eq!(homes.again(&anna).expect("there").quota, None);
    fill(&home.root.join("more"), 10_000, 6).expect("twenty now");
    setting.send_replace(config("none"));
    homes.again(&anna).expect("there");
    fill(&home.root.join("still more"), 10_000, 20).expect("no bound at all");
    setting.send_replace(config("8M"));

    // A home from before, or of a disk that was mounted without.
    let old = data.join("homes/ben");
    fs::create_dir(&old).expect("made");
    fs::create_dir(old.join("Documents")).expect("made");
    for path in [&old, &old.join("Documents")] {
        chown(path, Some(10_001), Some(10_001)).expect("given");
    }
    fill(&old.join("Documents/film"), 10_001, 6).expect("written");
    assert_eq!(
        homes.prepare(&ben, NOW).expect("found").quota,
        Some(ByteSize(8 << 20)),
        "counted by us as yet"
    );
    assert!(homes.measure(NOW, &Task::unwatched()).expect("measured").is_ok());
    assert_eq!(project_of(&old.join("Documents/film")), 10_001);
    assert_eq!(homes.again(&ben).expect("there").quota, None);
    assert!(is_full(fill(&old.join("Documents/more"), 10_001, 6)));
    homes.measure(NOW, &Task::unwatched()).expect("measured").expect("not cancelled");
    let usage = homes.list().expect("listed");
    let bytes =
        usage.iter().find(|home| home.name == ben.name).and_then(|home| home.bytes).expect("measured");
    assert!((6 << 20..9 << 20).contains(&bytes.0), "{bytes}");

    // To the attic and back, to somebody else: their number, and their bound.
    for gone in [&anna, &ben] {
        homes.retire(&gone.name, gone.uid, NOW).expect("asked").expect("put away");
    }
    let back = |which: &str, beside| {
        let old = homes.in_attic(which).expect("there");
        homes.bring_back(&old, &cleo, beside, &Task::unwatched()).expect("asked").expect("not cancelled")
    };
    let place = back("ben", false);
    assert_eq!(fs::metadata(place.join("Documents/film")).expect("there").uid(), 10_002);
    assert_eq!(project_of(&place.join("Documents/film")), 10_002);
    assert_eq!(homes.again(&cleo).expect("there").quota, None);
    let place = back("anna", true);
    assert_eq!(project_of(&place.join("film")), 10_002);
    assert!(is_full(fill(&place.join("one more"), 10_002, 1)), "both count");
}

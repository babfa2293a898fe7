//! Disk images, made with sfdisk, mke2fs and mtools.

use std::path::{Path, PathBuf};
use std::process::Command;

use bramble::service::jobs::JobState;
use bramble::sim::sample::{Release, boot_folder, write_tree};

use super::support::{Place, assert_same, can, has_program, is_root, listing, make_difficult, sh};

pub fn can_make_images(what: &str) -> bool {
    is_root(what)
        && ["sfdisk", "mke2fs", "mformat", "mcopy"]
            .into_iter()
            .all(|program| can(has_program(program), what, &format!("needs {program}")))
        && can(Path::new("/dev/loop-control").exists(), what, "needs loop devices")
        && can(
            std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("ext4")),
            what,
            "needs ext4 in the kernel",
        )
}

/// A disk image of `root`: its boot folder in a FAT32 of clusters of `cluster` sectors, the rest in an ext4.
pub fn make_image(folder: &Path, root: &Path, boot: &str, cluster: u32) -> PathBuf {
    // A FAT32 needs 65,525 clusters.
    let fat = 32 + 34 * cluster;
    let (root, folder_text, end) = (root.display(), folder.display(), fat + 4);
    sh(
        folder,
        &format!(
            r"
            truncate -s {all}M disk.img
            printf 'label: dos\nlabel-id: 0xb12ab1e5\n4MiB,{fat}MiB,0x0c,*\n{end}MiB,188MiB,0x83\n' | sfdisk -q disk.img
            mformat -i disk.img@@4M -F -c {cluster} -v bootfs -T {sectors} -h 64 -s 32 ::
            (cd '{root}/{boot}' && mcopy -i {folder_text}/disk.img@@4M -s -m -Q ./* ::)
            mkdir rest && cp -a '{root}/.' rest/ && rm -rf 'rest/{boot}' && mkdir -p 'rest/{boot}'
            mke2fs -q -t ext4 -L rootfs -d rest -E offset={offset} disk.img 188M
            rm -rf rest
            ",
            all = end + 188,
            sectors = fat * 2048,
            offset = end << 20,
        ),
    );
    folder.join("disk.img")
}

/// A line of [`listing`] with its time cut to seconds: mode, owner and time follow the name.
fn without_nanoseconds(line: &str) -> String {
    let is_time = |word: &str| {
        word.split_once('.').is_some_and(|(secs, nanos)| nanos.len() == 9 && secs.parse::<i64>().is_ok())
    };
    let words = line.split(' ').map(|word| if is_time(word) { &word[..word.len() - 10] } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn loops() -> String {
    let list = Command::new("losetup").arg("-a").output().expect("losetup");
    String::from_utf8_lossy(&list.stdout).into_owned()
}

/// FAT keeps times in steps of two seconds, and no owners: the boot folder is compared by content.
fn assert_boot_files(tree: &Path, source: &Path, boot: &str) {
    let status =
        Command::new("diff").args(["-r"]).arg(tree.join(boot)).arg(source.join(boot)).output().expect("diff");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    for root in [tree, source] {
        std::fs::remove_dir_all(root.join(boot)).expect("removed");
    }
}

#[test]
fn a_disk_image_brings_everything_of_both_partitions() {
    if !can_make_images("disk images") {
        return;
    }
    for (release, cluster) in [(Release::Trixie, 1), (Release::Bullseye, 1), (Release::Bookworm, 4)] {
        let place = Place::new();
        let folder = place.folder.path();
        let source = folder.join("source");
        write_tree(&source, release).expect("a sample");
        make_difficult(&source);
        let boot = release.boot_dir().expect("a boot folder");
        assert_eq!(boot_folder(&source, release), source.join(boot));
        let image = make_image(folder, &source, boot, cluster);
        let tree = place.imported("disk", &image);
        let facts =
            place.library.images().resolve(&"disk".parse().expect("a name")).expect("there").facts.clone();
        assert_eq!(facts.boot_dir.as_deref(), Some(Path::new(boot)), "{release:?}");
        assert_boot_files(&tree, &source, boot);
        // Folders that were changed for the image have new times.
        for root in [&tree, &source] {
            let changed = if boot == "boot" { "." } else { "boot ." };
            sh(root, &format!("touch -d '2020-01-01 00:00:00 UTC' {changed}; chmod 755 ."));
        }
        // mke2fs gives its files times of whole seconds.
        let whole =
            |root: &Path| listing(root).iter().map(|line| without_nanoseconds(line)).collect::<Vec<_>>();
        for (found, expected) in whole(&tree).iter().zip(&whole(&source)) {
            assert_eq!(found, expected, "{release:?}");
        }
        assert_eq!(listing(&tree).len(), listing(&source).len(), "{release:?}");
        assert!(!loops().contains(folder.to_str().expect("UTF-8")), "no loop device is left");
    }
}

#[test]
fn every_packing_of_a_disk_image() {
    if !can_make_images("packed disk images") {
        return;
    }
    let place = Place::new();
    let folder = place.folder.path();
    let source = folder.join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    make_image(folder, &source, "boot/firmware", 1);
    let plain = place.imported("plain", &folder.join("disk.img"));
    #[rustfmt::skip]
    let packers = [
        ("xz", "xz -0 -T2 --block-size=16MiB -kc disk.img > $OUT"), ("gz", "gzip -1 -kc disk.img > $OUT"),
        ("zst", "zstd -q -1 disk.img -o $OUT"), ("zip", "zip -q -1 $OUT disk.img && rm -f other && echo hello > other && zip -q $OUT other"),
    ];
    for (ending, line) in packers {
        if !can(ending != "zip" || has_program("zip"), "zip", "needs zip") {
            continue;
        }
        let out = folder.join(format!("disk.img.{ending}"));
        sh(folder, &line.replace("$OUT", out.to_str().expect("UTF-8")));
        assert_same(&place.imported(ending, &out), &plain);
    }
    assert!(!place.left().iter().any(|name| name.starts_with('.')), "{:?}", place.left());
}

#[test]
fn images_that_cannot_be_used_say_why() {
    if !can_make_images("unusable disk images") {
        return;
    }
    let place = Place::new();
    let folder = place.folder.path();
    let source = folder.join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    make_image(folder, &source, "boot/firmware", 1);
    let xz = |line: &str, name: &str| {
        sh(folder, &format!("cp --sparse=always disk.img {name}; {line}"));
        folder.join(name)
    };
    #[rustfmt::skip]
    let rows = [
        ("gpt.img", "printf 'label: gpt\\n4MiB,,L\\n' | sfdisk -q --wipe always gpt.img",
            "the image cannot be used: it has a GPT partition table, which no Raspberry Pi OS image has; mount it on another machine and import its root folder"),
        ("cut.img", "truncate -s 100M cut.img",
            "the image cannot be used: partition 2 reaches beyond the end of the image; it was not downloaded completely"),
        ("fat.img", "sfdisk -q --part-type fat.img 2 c >/dev/null",
            "the image cannot be used: it has no Linux partition, so no operating system to boot"),
        ("btrfs.img", "dd if=/dev/zero of=btrfs.img bs=1M seek=70 count=1 conv=notrunc status=none",
            "its root partition is not ext4; mount it on another machine and import its root folder (`bramble image import FOLDER`)"),
        ("badfat.img", "printf '\\377' | dd of=badfat.img bs=1 seek=$((4*1048576+16)) conv=notrunc status=none",
            "the boot partition cannot be used: it is not a FAT file system, or a damaged one (no file allocation table)"),
    ];
    for (name, line, expected) in rows {
        assert_eq!(place.refused(&xz(line, name)), expected, "{name}");
    }
    // A superblock that lies: the kernel decides.
    let broken = xz(
        "dd if=/dev/urandom of=broken.img bs=1 seek=$((70*1048576+1024)) count=56 conv=notrunc status=none",
        "broken.img",
    );
    let message = place.refused(&broken);
    assert!(
        message.starts_with(
            "its root partition cannot be mounted; it is damaged, or newer than this system's kernel: "
        ),
        "{message}"
    );
    assert!(!loops().contains(folder.to_str().expect("UTF-8")), "no loop device is left");
}

/// Whatever a boot partition holds, an import ends with a message and leaves nothing.
#[test]
fn damaged_boot_partitions_end_the_import_and_nothing_else() {
    if !can_make_images("damaged boot partitions") {
        return;
    }
    let place = Place::new();
    let folder = place.folder.path();
    let source = folder.join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    make_image(folder, &source, "boot/firmware", 1);
    let mut seed = 7_u64;
    for round in 0..12 {
        // Noise over a part of the tables, or of the root folder behind them.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (4 << 20) + 32 * 512 + (seed >> 33) % (1024 * 1024 + 40_000);
        sh(
            folder,
            &format!(
                "cp --sparse=always disk.img damaged.img; dd if=/dev/urandom of=damaged.img bs=1 seek={at} count=3000 conv=notrunc status=none"
            ),
        );
        let job = place.import("damaged", &folder.join("damaged.img")).expect("started");
        assert!(matches!(job.state, JobState::Done | JobState::Failed), "round {round}: {}", job.message);
        assert!(!job.message.contains("a fault in Bramble"), "round {round}: {}", job.message);
        assert!(!place.left().iter().any(|name| name.starts_with('.')), "{:?}", place.left());
    }
}

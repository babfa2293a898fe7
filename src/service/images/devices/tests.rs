use std::fs;

use super::*;

/// A router with a USB disk that Bramble's data is on, a card reader with a card and one without, and its own system on an eMMC.
fn router() -> (tempfile::TempDir, Devices) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let write = |path: String, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    let disk = |name: &str, number: &str, sectors: u64, model: &str| {
        write(format!("block/{name}/size"), &format!("{sectors}\n"));
        write(format!("block/{name}/dev"), &format!("{number}\n"));
        write(format!("block/{name}/device/vendor"), "Generic \n");
        write(format!("block/{name}/device/model"), &format!("{model}\n"));
        write(format!("dev/{name}"), "");
    };
    let part = |disk: &str, name: &str, number: &str| {
        write(format!("block/{disk}/{name}/partition"), "1\n");
        write(format!("block/{disk}/{name}/size"), "2048\n");
        write(format!("block/{disk}/{name}/dev"), &format!("{number}\n"));
        write(format!("dev/{name}"), "");
    };
    disk("sda", "8:0", 2_000_000, "DISK");
    part("sda", "sda1", "8:1");
    disk("sdb", "8:16", 62_000_000, "STORAGE\u{1b}[31m DEVICE");
    part("sdb", "sdb1", "8:17");
    part("sdb", "sdb2", "8:18");
    disk("sdc", "8:32", 0, "STORAGE DEVICE");
    disk("mmcblk0", "179:0", 15_000_000, "");
    part("mmcblk0", "mmcblk0p2", "179:2");
    disk("mmcblk0boot0", "179:8", 8192, "");
    disk("loop0", "7:0", 100, "");
    let mounts = format!(
        "18 1 179:2 / /overlay rw,noatime - ext4 /dev/mmcblk0p2 rw\n\
         19 1 0:15 / / rw - overlay overlayfs:/overlay rw\n\
         20 19 8:1 / {} rw - ext4 /dev/sda1 rw\n",
        root.join("data").display()
    );
    write("mounts".to_owned(), &mounts);
    write("data/bramble/x".to_owned(), "");
    let places = Places {
        blocks: root.join("block"),
        dev: root.join("dev"),
        mounts: root.join("mounts"),
        data: root.join("data/bramble"),
    };
    (folder, Devices::new(places))
}

#[test]
fn the_disks_of_a_router() {
    let (folder, devices) = router();
    // A card with a Raspberry Pi OS on it, as far as its first bytes go: a table, a FAT and an ext4 that was shut down.
    let card = folder.path().join("dev/sdb");
    let mut table = vec![0; 4 << 20];
    for (at, kind, start) in [(446, 0x0c, 2048_u32), (462, 0x83, 4096)] {
        table[at + 4] = kind;
        table[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        table[at + 12..at + 16].copy_from_slice(&1024_u32.to_le_bytes());
    }
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
    table[4096 * 512 + 1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
    fs::write(&card, &table).expect("written");
    let mut root = vec![0; 8192];
    root[1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
    root[1024 + 120..][..6].copy_from_slice(b"rootfs");
    fs::write(folder.path().join("dev/sdb2"), &root).expect("written");
    let mut boot = vec![0; 512];
    boot[82..87].copy_from_slice(b"FAT32");
    boot[71..82].copy_from_slice(b"bootfs     ");
    fs::write(folder.path().join("dev/sdb1"), &boot).expect("written");

    let list = devices.list().expect("a list");
    let names: Vec<_> =
        list.iter().map(|disk| disk.path.file_name().expect("a name").to_str().expect("UTF-8")).collect();
    assert_eq!(names, ["mmcblk0", "sda", "sdb"], "no flash, no loop device, no empty card reader");
    let dev = folder.path().join("dev");
    let refusals: Vec<_> = list.iter().map(|disk| disk.refusal.clone().unwrap_or_default()).collect();
    assert_eq!(
        refusals[0],
        format!("`{0}/mmcblk0` holds the system of this router; it is left alone", dev.display())
    );
    assert!(
        refusals[1].ends_with("it is left alone") && refusals[1].contains("Bramble's own data"),
        "{}",
        refusals[1]
    );
    assert_eq!(refusals[2], "");
    let card = &list[2];
    assert_eq!((card.model.as_str(), card.bytes), ("Generic STORAGE [31m DEVICE", 62_000_000 * 512));
    let parts: Vec<_> =
        card.partitions.iter().map(|part| (part.kind.as_str(), part.label.as_str())).collect();
    assert_eq!(parts, [("fat", "bootfs"), ("ext4", "rootfs")]);
    devices.check(&dev.join("sdb")).expect("usable");

    // Its Pi lost its power: the journal has not been played back.
    table[4096 * 512 + 1024 + 96] = 4;
    fs::write(dev.join("sdb"), &table).expect("written");
    let refusal = devices.list().expect("a list")[2].refusal.clone().expect("refused");
    assert!(refusal.contains("was taken from its Pi without a shutdown"), "{refusal}");
    // There is no system on it.
    fs::write(dev.join("sdb"), vec![0; 4096]).expect("written");
    let refusal = devices.list().expect("a list")[2].refusal.clone().expect("refused");
    assert_eq!(
        refusal,
        "the image cannot be used: it has no partition table; it is not an image of a whole disk"
    );
}

#[test]
fn a_disk_in_use_is_left_alone() {
    let (folder, devices) = router();
    let dev = folder.path().join("dev");
    let say = |name: &str| devices.check(&dev.join(name)).expect_err("refused").to_string();
    let shown = dev.display();
    assert_eq!(say("sdb2"), format!("`{shown}/sdb2` is a partition; name its disk, `{shown}/sdb`"));
    for missing in ["sdc", "sdz", "loop0", "mmcblk0boot0"] {
        assert!(
            say(missing).starts_with(&format!("there is no disk `{shown}/{missing}`")),
            "{}",
            say(missing)
        );
    }
    let mounts = folder.path().join("mounts");
    let table = fs::read_to_string(&mounts).expect("a table");
    fs::write(&mounts, format!("{table}21 19 8:18 / /mnt/sdb2 ro - ext4 /dev/sdb2 ro\n")).expect("written");
    devices.check(&dev.join("sdb")).expect("mounted for reading only");
    fs::write(&mounts, format!("{table}21 19 8:18 / /mnt/sdb2 rw - ext4 /dev/sdb2 rw\n")).expect("written");
    assert_eq!(
        say("sdb"),
        format!(
            "`{shown}/sdb` is in use: `{shown}/sdb2` is mounted at `/mnt/sdb2` and may be written; unmount it first (LuCI: System, Mount Points, or `umount /mnt/sdb2`)"
        )
    );
    fs::write(&mounts, table).expect("written");
    fs::create_dir_all(folder.path().join("block/sdb/sdb1/holders/md0")).expect("made");
    assert_eq!(say("sdb"), format!("`{shown}/sdb` is in use: it is part of `md0`"));
}

use super::*;
use crate::service::jobs::Task;
use crate::types::chain;

/// An image with what a card takes; `chip` and its bootloader are as small as they can be.
fn tree(folder: &Path) -> PathBuf {
    let root = folder.join("tree");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    for (name, length) in [("bootcode.bin", 52_476), ("start.elf", 2_981_056), ("fixup.dat", 7303)] {
        put(&format!("boot/firmware/{name}"), &vec![u8::try_from(name.len()).expect("short"); length]);
    }
    for chip in [Chip::Bcm2711, Chip::Bcm2712] {
        let folder = format!("lib/firmware/raspberrypi/bootloader-{}/default", chip.number());
        let image = crate::proto::eeprom::sample::image(chip, "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n");
        put(&format!("{folder}/pieeprom-2026-05-17.bin"), &image);
        put(&format!("{folder}/pieeprom-2025-01-01.bin"), b"old");
        put(&format!("{folder}/recovery.bin"), chip.number().as_bytes());
        if chip == Chip::Bcm2711 {
            put(&format!("{folder}/vl805-000138c0.bin"), &vec![8; 99_352]);
        }
    }
    root
}

fn collect(root: &Path, models: &str, settings: &str) -> Result<Card, NoFiles> {
    let source = Source { root, boot: Some(Path::new("boot/firmware")), release: Release::Default };
    let settings: Settings =
        USUAL.parse::<Settings>().expect("usual").with(settings.parse().expect("settings"));
    Card::collect(source, models.parse().expect("models"), &settings, Moment::from_secs(1_795_435_200))
}

#[test]
fn a_card_is_written_and_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = tree(folder.path());
    let card = collect(&root, "pi3,pi4", "NET_INSTALL_ENABLED=0").expect("collected");
    let said = card.says.join("\n");
    for words in [
        "This is permanent",
        "`pieeprom-2026-05-17.bin`",
        "BOOT_ORDER=0xf21, NET_INSTALL_AT_POWER_ON=0, NET_INSTALL_ENABLED=0",
        "A green screen",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let path = folder.path().join("card.img");
    let target = look(path.clone(), &folder.path().join("data"), false).expect("a place");
    let done = card.write(&target, false, &Task::unwatched()).expect("written");
    assert_eq!(done, format!("{} is written and was read back; it is for pi3,pi4", path.display()));
    let bytes = std::fs::read(&path).expect("read");
    assert_eq!(bytes.len() as u64, DISK);
    let sector: [u8; 512] = bytes[..512].try_into().expect("a sector");
    assert_eq!(crate::proto::mbr::partitions(&sector, DISK), Ok(vec![PARTITION]));
    let start = usize::try_from(PARTITION.start).expect("small");
    let boot: [u8; 512] = bytes[start..start + 512].try_into().expect("a sector");
    let fat = crate::proto::mbr::fat(&boot, PARTITION.len).expect("FAT32");
    assert_eq!(fat.cluster_bytes, 512);
    let copy = fatfs::FileSystem::new(std::io::Cursor::new(bytes[start..].to_vec()), fatfs::FsOptions::new())
        .expect("FAT");
    let names: Vec<String> =
        copy.root_dir().iter().map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(
        names,
        [
            "bootcode.bin",
            "start.elf",
            "fixup.dat",
            "config.txt",
            "recovery.bin",
            "pieeprom.bin",
            "pieeprom.sig",
            "vl805.bin",
            "vl805.sig",
            "README.TXT"
        ]
    );
    // A second time only if what is there may go, and when it is called off nothing is left.
    assert!(look(path.clone(), folder.path(), false).is_err());
    let task = Task::unwatched();
    task.cancel();
    let other = look(folder.path().join("other.img"), &folder.path().join("data"), false).expect("a place");
    assert!(matches!(card.write(&other, false, &task), Err(Stopped::Cancelled)));
    assert!(!other.path().exists());
}

#[test]
fn what_cannot_be_on_a_card_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = tree(folder.path());
    let says = |models: &str, settings: &str| chain(&collect(&root, models, settings).expect_err("refused"));
    assert!(says("pi5", "NETCONSOLE=on").starts_with("NETCONSOLE needs the address of one client"));
    assert_eq!(says("pi4", "PSU_MAX_CURRENT=5000"), "a Pi 4 has no PSU_MAX_CURRENT");
    assert!(
        says("pi4", "BOOT_WATCHDOG_TIMEOUT=60")
            .starts_with("its bootloader does not know BOOT_WATCHDOG_TIMEOUT")
    );
    std::fs::remove_file(root.join("boot/firmware/start.elf")).expect("removed");
    assert!(says("pi3", "HDMI_DELAY=0").starts_with("it has no `start.elf` in its boot folder"));
    std::fs::remove_dir_all(root.join("lib/firmware/raspberrypi/bootloader-2712")).expect("removed");
    assert!(says("pi5", "BOOT_ORDER=0xf2").starts_with("it has no bootloader for a Pi 5"));
    let both = "pi4,pi5".parse::<Models>().expect_err("two programs of one name").to_string();
    assert!(both.contains("write two cards"), "{both}");
    assert_eq!(
        "pi6".parse::<Models>().expect_err("none").to_string(),
        "`pi6` is no family of Pis; write `pi3`, `pi4`, `pi5`, or `pi3,pi4` or `pi3,pi5` for both"
    );
}

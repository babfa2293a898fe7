//! An EEPROM is written over TFTP when somebody asks for it, by a real daemon to a simulated bootloader; and a card for Pis
//! that do not boot from the network yet, read by other programs.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

use bramble::proto::agent::eeprom::Report;
use bramble::proto::eeprom::image::Image;
use bramble::proto::eeprom::{Chip, sample};
use bramble::sim::classroom::Classroom;
use bramble::sim::net::SERVER;
use bramble::sim::pi::channel::Channel;
use bramble::sim::pi::tftp::Tftp;
use bramble::sim::pi::{Options, Up};
use bramble::sim::sample::{Release, write_tree};
use bramble::types::{Moment, chain};
use serde_json::Value;

use crate::classroom::{BRAMBLE, boot};
use crate::dhcp_room::eventually;
use crate::harness::{isolated, program};

const SHIPPED: &str = "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf12\n";

/// A classroom whose image brings bootloaders, and an update that its own service has left lying about.
fn classroom(clients: u16) -> (tempfile::TempDir, Classroom) {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let room = Classroom::open(Path::new(BRAMBLE), folder.path(), clients);
    let room = room.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let tree = folder.path().join("sample");
    write_tree(&tree, Release::Trixie).expect("written");
    for chip in [Chip::Bcm2711, Chip::Bcm2712] {
        let place = tree.join(format!("usr/lib/firmware/raspberrypi/bootloader-{}/default", chip.number()));
        std::fs::create_dir_all(&place).expect("made");
        std::fs::write(place.join("pieeprom-2026-08-04.bin"), sample::image(chip, SHIPPED)).expect("written");
        std::fs::write(place.join("recovery.bin"), [chip.number().as_bytes(), &[1; 9000]].concat())
            .expect("written");
    }
    for name in ["pieeprom.sig", "pieeprom.upd", "recovery.bin"] {
        std::fs::write(tree.join("boot/firmware").join(name), b"left by a service of the image")
            .expect("written");
    }
    let source = tree.to_string_lossy().into_owned();
    room.server.tell(&["image", "import", &source, "--name", "sample"]).expect("imported");
    (folder, room)
}

/// The number of the first Pi with this model's name.
fn first(room: &Classroom, model: &str) -> usize {
    let list = json(room, &["client", "list"]);
    let clients = list["clients"].as_array().expect("a list");
    clients.iter().position(|client| client["model"] == model).unwrap_or_else(|| panic!("no {model}: {list}"))
}

fn json(room: &Classroom, args: &[&str]) -> Value {
    let output = room.server.cli(&[&["--json"], args].concat()).expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text}"))
}

/// Connects an agent that tells of an EEPROM, and keeps it until what comes back is dropped.
fn agent(
    room: &Classroom,
    n: usize,
    up: &Up,
    boot_id: &'static str,
    report: Report,
) -> std::sync::mpsc::Sender<()> {
    let (machine, ip, pin) = (room.machine(n).expect("a machine").clone(), up.given.address, up.pin);
    let (keep, kept) = channel::<()>();
    std::thread::spawn(move || {
        let open =
            || Channel::open(ip, SERVER, pin, boot_id, &[]).map_err(|error| io::Error::other(chain(&error)));
        let mut channel = machine.run(open).expect("welcome");
        channel.eeprom = report;
        while channel.listen().is_ok() && kept.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected)
        {
        }
    });
    keep
}

/// What a bootloader does at its start: looks whether it may, and whether there is a later update; takes and checks it.
fn start(room: &Classroom, n: usize, up: &Up, updated: i64) -> Option<(Vec<u8>, i64)> {
    let tftp = Tftp { from: up.given.address, server: SERVER, block: Some(1468) };
    let load = |name: &str| {
        let loaded = room.machine(n).expect("a machine").run(|| tftp.load(name).map_err(io::Error::other));
        loaded.expect("an answer")
    };
    let config = String::from_utf8(load("config.txt").expect("there")).expect("text");
    let may = config.lines().rfind(|line| line.starts_with("bootloader_update="));
    let Some(signature) = load("pieeprom.sig") else {
        assert_eq!(may, Some("bootloader_update=0"), "what the image's service left is not served");
        assert!(load("pieeprom.upd").is_none() && load("recovery.bin").is_none());
        return None;
    };
    assert_eq!(may, Some("bootloader_update=1"));
    let signature = String::from_utf8(signature).expect("text");
    let mut lines = signature.lines();
    let (sum, time) = (lines.next().expect("a sum"), lines.next().and_then(|line| line.strip_prefix("ts: ")));
    let time: i64 = time.expect("a time").parse().expect("a number");
    if time <= updated {
        return None;
    }
    let image = load("pieeprom.upd").expect("the image");
    assert_eq!(bramble::types::hex(&bramble::service::eeprom::sum(&image)), sum);
    Some((image, time))
}

fn report(config: &str, updated: i64) -> Report {
    Report {
        built: Some(Moment::from_secs(1_785_847_093)),
        updated: Some(Moment::from_secs(updated)),
        config: Some(config.into()),
        revision: None,
        signed: 0,
        board_version: 1,
    }
}

#[test]
fn an_eeprom_is_written_when_somebody_asks_one_client_first() {
    isolated(|| {
        let (folder, mut room) = classroom(6);
        let ups = boot(&mut room, Options { skip_walk: true });
        let pi4 = first(&room, "Pi 4B");
        let name = format!("seat-{:02}", pi4 + 1);
        let set = ["eeprom", "set", "BOOT_ORDER=0xf21", "NET_INSTALL_ENABLED=0"];
        let asked = |more: &[&str]| json(&room, &[&set[..], more].concat());
        let unknown = asked(&["--client", &name, "--yes"]);
        let why = unknown["clients"][0]["says"].as_str().expect("a sentence");
        assert!(why.starts_with("it has not said what is in its EEPROM"), "{why}");

        let _first = agent(&room, pi4, &ups[pi4], "boot-1", report(SHIPPED, 1000));
        let listed = || {
            let list = json(&room, &["eeprom", "list"]);
            let clients = list["clients"].as_array().expect("a list").clone();
            clients.into_iter().find(|one| one["name"] == name).expect("it has one")
        };
        eventually("its agent has told", || listed()["boot_order"] == "0xf12");
        assert_eq!(start(&room, pi4, &ups[pi4], 1000), None, "nothing is offered unasked");

        let looked = asked(&["--client", &name]);
        assert_eq!(
            (looked["done"].as_bool(), looked["clients"][0]["offered"].as_bool()),
            (Some(false), Some(true))
        );
        assert!(looked["danger"].as_str().expect("said").contains("enrol-medium"));
        assert_eq!(start(&room, pi4, &ups[pi4], 1000), None, "nor when it was only looked at");
        let many = asked(&["--all", "--yes"]);
        let fates = many["clients"].as_array().expect("a list");
        assert!(fates.iter().all(|fate| fate["offered"] == false), "{many}");
        assert!(many.to_string().contains("are tried with one Pi 4 first"), "{many}");

        assert_eq!(asked(&["--client", &name, "--yes"])["done"], true);
        assert_eq!(listed()["rollout"]["state"], "asked");
        let other = (0..6).find(|n| *n != pi4).expect("another");
        assert_eq!(start(&room, other, &ups[other], 0), None, "nobody else is offered anything");
        let (image, time) = start(&room, pi4, &ups[pi4], 1000).expect("an update");
        let after = Image::parse(image).expect("an image").config().to_owned();
        assert_eq!(after, "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf21\nNET_INSTALL_ENABLED=0\n");
        eventually("it has it", || listed()["rollout"]["state"] == "fetched");
        assert_eq!(
            start(&room, pi4, &ups[pi4], 1000),
            None,
            "once: a bootloader that cannot write does not try for ever"
        );
        let _second = agent(&room, pi4, &ups[pi4], "boot-2", report(&after, time));
        eventually("it has said so", || listed()["rollout"]["state"] == "applied");

        let undone = json(&room, &["eeprom", "undo", &name, "--yes"]);
        assert_eq!(undone["done"], true, "{undone}");
        let (image, time) = start(&room, pi4, &ups[pi4], time).expect("the way back");
        assert_eq!(Image::parse(image).expect("an image").config(), SHIPPED);
        let _third = agent(&room, pi4, &ups[pi4], "boot-3", report("[all]\nBOOT_ORDER=0xf41\n", time));
        eventually("it has told what it is", || listed()["rollout"]["state"] == "failed");
        let list = json(&room, &["eeprom", "list"]);
        let differs = crate::pages::compare("eeprom_rollout", &list, folder.path());
        assert!(differs.is_empty(), "`BRAMBLE_WRITE=1` writes it anew: {}", differs.join(", "));
        let shown = room.server.tell(&["client", "show", &name]).expect("an answer");
        assert!(
            shown.contains("The update of its EEPROM did not work: it was written, and other settings"),
            "{shown}"
        );
        let shown = room.server.tell(&["eeprom", "show", &name]).expect("an answer");
        assert!(shown.contains("BOOT_ORDER=0xf41") && shown.contains("as before"), "{shown}");
    });
}

#[test]
fn a_card_is_read_by_other_programs() {
    isolated(|| {
        let programs =
            [("sfdisk", "fdisk"), ("mdir", "mtools"), ("mtype", "mtools"), ("fsck.vfat", "dosfstools")];
        let Some(found) =
            programs.into_iter().map(|(name, package)| program(name, package)).collect::<Option<Vec<_>>>()
        else {
            return;
        };
        let (folder, room) = classroom(1);
        let path = folder.path().join("card.img");
        let to = path.to_string_lossy().into_owned();
        let order = ["enrol-medium", &to, "--for", "pi3,pi5", "--image", "sample", "--set", "HDMI_DELAY=0"];
        let looked = room.server.tell(&order).expect("an answer");
        assert!(
            looked.contains("permanent") && looked.contains("say it again with --yes") && !path.exists(),
            "{looked}"
        );
        let done = room.server.tell(&[&order[..], &["--yes"]].concat()).expect("written");
        assert!(done.contains("is written and was read back; it is for pi3,pi5"), "{done}");
        let again = room.server.cli(&[&order[..], &["--yes"]].concat()).expect("run");
        let again = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.contains("is there already"), "{again}");
        let own = room.server.site().data().join("images/card.img");
        let refused = room.server.cli(&[
            "enrol-medium",
            &own.to_string_lossy(),
            "--for",
            "pi4",
            "--image",
            "sample",
            "--yes",
        ]);
        let refused = String::from_utf8_lossy(&refused.expect("run").stderr).into_owned();
        assert!(refused.contains("lies in Bramble's own folder"), "{refused}");

        let run = |n: usize, args: &[&str]| {
            let output = Command::new(&found[n]).args(args).output().expect("run");
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{:?} {args:?}: {text}", found[n]);
            text
        };
        let table = run(0, &["--dump", &to]);
        assert!(table.contains("start=        2048, size=      129024, type=c"), "{table}");
        let files = run(1, &["-b", "-i", &format!("{to}@@1M"), "::"]);
        for name in [
            "bootcode.bin",
            "start.elf",
            "fixup.dat",
            "config.txt",
            "recovery.bin",
            "pieeprom.bin",
            "pieeprom.sig",
        ] {
            assert!(files.to_lowercase().contains(name), "{name}: {files}");
        }
        let config = run(2, &["-i", &format!("{to}@@1M"), "::config.txt"]);
        assert!(config.contains("program_usb_boot_mode=1"), "{config}");
        let bytes = std::fs::read(&path).expect("read");
        let alone = folder.path().join("partition.img");
        std::fs::write(&alone, &bytes[1 << 20..]).expect("written");
        let checked = run(3, &["-n", "-v", &alone.to_string_lossy()]);
        assert!(checked.contains("FAT32") || checked.contains("32 bit entries"), "{checked}");
        let part = format!("{}", alone.display());
        let image = run(2, &["-i", &part, "::pieeprom.sig"]);
        assert!(image.contains("target-soc: 2712"), "{image}");
    });
}

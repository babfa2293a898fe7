//! Simulated Pis that misbehave, each in its own way, and what a real daemon says of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bramble::proto::agent::health::Health;
use bramble::sim::classroom::Classroom;
use bramble::sim::net::{Machine, SERVER};
use bramble::sim::pi::rom::Rom;
use bramble::sim::pi::{Board, Fault, Options, power_on_with};
use bramble::sim::sample::{Release, write_tree};
use bramble::sim::server::{Seat, Site};
use bramble::types::{MacAddr, Moment, chain};
use serde_json::Value;

use crate::classroom::{BRAMBLE, boot, classroom};
use crate::dhcp_room::eventually;
use crate::harness::isolated;

/// A file that breaks off is known when the server has repeated itself long enough, and judged a minute later.
const LONG_SECS: u32 = 240;

/// The gravest verdict of each client that has one, by name.
fn grave(room: &Classroom) -> BTreeMap<String, Option<String>> {
    let list = room.server.tell(&["--json", "client", "list"]).expect("an answer");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let clients = list["clients"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |client: &Value| {
        let grave = client["verdicts"].as_array().expect("a list").iter().find(|one| one["stops"] == true);
        (text(&client["name"]).expect("a name"), grave.and_then(|one| text(&one["code"])))
    };
    clients.iter().map(one).collect()
}

/// Another machine has the address of the client `name`, set by hand, and says something.
fn take_address(room: &mut Classroom, name: &str) -> Machine {
    let list = room.server.tell(&["--json", "client", "show", name]).expect("an answer");
    let client: Value = serde_json::from_str(&list).expect("JSON");
    let ip: Ipv4Addr = client["ip"].as_str().and_then(|ip| ip.parse().ok()).expect("its address");
    let (lab, lan) = room.lab();
    let lan = lan.clone();
    let machine = lab.client(&lan, MacAddr::new([0x02, 0x16, 0x3e, 0, 0, 9])).expect("a machine");
    machine.address("eth0", ip, 24).expect("an address");
    let sent = machine.run(|| UdpSocket::bind((ip, 0))?.send_to(b"here I am", (SERVER, 9)));
    sent.expect("sent");
    machine
}

#[test]
fn each_pi_that_stops_has_its_verdict() {
    isolated(|| {
        let faults = [
            ("seat-01", Some(Fault::NoFile), Some("no_file_asked")),
            ("seat-02", Some(Fault::Vain), Some("files_missing")),
            ("seat-03", Some(Fault::MidFile), Some("file_broken_off")),
            ("seat-04", Some(Fault::NoMount), Some("kernel_never_mounted")),
            ("seat-05", Some(Fault::AgentFails), Some("agent_failed")),
            ("seat-06", Some(Fault::NoKernel), Some("kernel_never_started")),
            ("seat-07", Some(Fault::OtherKernel), Some("booted_by_another")),
            ("seat-08", Some(Fault::OwnSystem), Some("boots_elsewhere")),
            ("seat-09", Some(Fault::NoAgent), Some("agent_silent")),
            ("seat-10", None, None),
            ("seat-11", Some(Fault::SmallOnly), Some("large_packets_lost")),
            // A Pi 5, which the image is too old for.
            ("aged", Some(Fault::Vain), Some("image_not_for_model")),
            ("bare", Some(Fault::Vain), Some("no_image")),
            ("lost", Some(Fault::Vain), Some("image_missing")),
            ("seat-12", Some(Fault::Slow), Some("link_too_slow")),
            // As long as a ROM loads its files the router holds on to its address, whatever others say; so later.
            ("seat-13", Some(Fault::NoMount), Some("two_with_one_address")),
            ("", Some(Fault::Vain), Some("not_adopted")),
        ];
        let boards: Vec<Board> = (0..u16::try_from(faults.len()).expect("few")).map(Board::nth).collect();
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let (mut seats, mut more) = (Vec::new(), "\nconfig room 'empty'\n".to_owned());
        for (board, (name, ..)) in boards.iter().zip(&faults) {
            let client = |line: &str| {
                format!("\nconfig client\n\toption mac '{}'\n\toption name '{name}'\n\t{line}\n", board.mac)
            };
            match *name {
                "" => {}
                "aged" => more.push_str(&client("option image 'bullseye'")),
                "bare" => more.push_str(&client("option room 'empty'")),
                "lost" => more.push_str(&client("option image 'nowhere'")),
                name => seats.push(Seat { mac: board.mac, name: name.to_owned() }),
            }
        }
        let site = Site { more_bramble: more, ..Site::new(folder.path(), seats) };
        let room = Classroom::with_site(Path::new(BRAMBLE), site, boards.clone());
        let mut room = room.unwrap_or_else(|error| panic!("{}", chain(&error)));
        room.import_sample(Release::Trixie).unwrap_or_else(|error| panic!("{}", chain(&error)));

        let tree = folder.path().join("bullseye");
        write_tree(&tree, Release::Bullseye).expect("written");
        let import = ["image", "import", &tree.to_string_lossy(), "--name", "bullseye"];
        room.server.tell(&import).unwrap_or_else(|error| panic!("{}", chain(&error)));

        let (tell, news) = sync_channel(1024);
        let mut pis = Vec::new();
        for (id, (board, (_, fault, _))) in boards.iter().zip(faults).enumerate() {
            let (lab, lan) = room.lab();
            let lan = lan.clone();
            let machine = lab.client(&lan, board.mac).expect("a machine");
            let options = Options { skip_walk: true };
            pis.push(power_on_with(*board, machine, options, fault, id, tell.clone()).expect("switched on"));
        }
        drop(tell);
        std::thread::spawn(move || news.into_iter().for_each(drop));
        // The one that is up keeps its root for as long as its outcome lives.
        let outcomes: Vec<_> = pis.into_iter().map(|pi| pi.join().expect("no panic")).collect();
        for (outcome, (_, fault, _)) in outcomes.iter().zip(faults) {
            assert_eq!(outcome.is_ok(), fault.is_none(), "{outcome:?}");
        }

        let _other = take_address(&mut room, "seat-13");

        // Whom nobody adopted has a name made of its hardware address.
        let stranger =
            boards.last().map(|board| bramble::service::clients::default_name(board.mac).to_string());
        let expected: BTreeMap<String, Option<String>> = faults
            .iter()
            .map(|(name, _, code)| {
                let name = if name.is_empty() { stranger.clone().expect("one") } else { (*name).to_owned() };
                (name, code.map(str::to_owned))
            })
            .collect();
        for _ in 0..LONG_SECS {
            if grave(&room) == expected {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!(grave(&room), expected);
        let status = room.server.tell(&["status"]).expect("an answer");
        assert!(
            status.contains("seat-01: It asked for an address, was offered one, and never asked for a file."),
            "{status}"
        );
        let shown = room.server.tell(&["client", "show", "seat-04"]).expect("an answer");
        assert!(shown.contains("1. a firewall rule") && shown.contains("What to do: "), "{shown}");

        // An address it got; what it did not get was something to boot.
        let boot = room.server.tell(&["client", "show", "bare", "--boot"]).expect("an answer");
        assert!(boot.contains("nothing to boot: no image is assigned to `bare`"), "{boot}");
        assert!(!boot.contains("no address"), "{boot}");
        let shown = room.server.tell(&["client", "show", "bare"]).expect("an answer");
        assert!(shown.contains("it has no image to boot; give one to it"), "{shown}");
    });
}

#[test]
fn a_disk_that_cannot_be_read_is_told() {
    isolated(|| {
        let (_folder, mut room) = classroom(1);
        let site = room.server.site();
        let images = site.data().join("images");
        std::fs::rename(images.join(&site.image).join("1"), images.join("elsewhere")).expect("renamed");
        let outcomes =
            room.boot(Options { skip_walk: true }, |_| ControlFlow::Continue(())).expect("a classroom");
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        let is_told = || grave(&room).values().all(|code| code.as_deref() == Some("file_unreadable"));
        eventually("it is said that the image cannot be read", is_told);
        let shown = room.server.tell(&["client", "show", "seat-01"]).expect("an answer");
        assert!(shown.contains("cannot be read; is the disk in order?"), "{shown}");
        assert!(!shown.contains("no address"), "{shown}");
    });
}

#[test]
fn what_an_agent_tells_becomes_advice() {
    isolated(|| {
        let (_folder, mut room) = classroom(4);
        let ups = boot(&mut room, Options { skip_walk: true });
        let pi4 = ups.iter().position(|up| up.board.rom == Rom::Pi4).expect("a Pi 4");
        let mut channel = crate::agents::open(&room, &ups[pi4], pi4, &[]).expect("welcome");
        channel.health = Health {
            clock: Moment::from_secs(1_600_000_000),
            throttled: Some(0x5_000d),
            temperature_mc: Some(84_000),
            link_mbit: Some(100),
            eeprom: Some(Moment::from_secs(1_580_000_000)),
            ..Health::default()
        };
        channel.eeprom.config = Some("[all]\nBOOT_ORDER=0xf241\n".into());
        std::thread::spawn(move || while channel.listen().is_ok() {});
        let name = format!("seat-{:02}", pi4 + 1);
        let told = || -> Vec<String> {
            let seats = room.server.tell(&["--json", "client", "list"]).expect("an answer");
            let seats: Value = serde_json::from_str(&seats).expect("JSON");
            let clients = seats["clients"].as_array().expect("a list");
            let seat = clients.iter().find(|seat| seat["name"] == name).expect("a row");
            let verdicts = seat["verdicts"].as_array().expect("a list");
            verdicts.iter().map(|one| one["code"].as_str().expect("a word").to_owned()).collect()
        };
        let expected = ["undervoltage", "throttled", "slow_link", "clock_wrong", "old_eeprom", "usb_first"];
        eventually("its words have become advice", || told() == expected);
    });
}

use super::*;
use crate::config::{Client, Dhcp, DhcpMode, LogLevel, Modes, Nfs, Room, Sudo, Tftp, UnknownPi};

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const STRANGER: MacAddr = MacAddr::new([0xb8, 0x27, 0xeb, 9, 9, 9]);
const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);
const NOON: Moment = Moment::from_secs(1_795_435_200);

/// One room with an image, and in it `PI` as `lab-01`.
fn config() -> Config {
    let room: RoomName = "lab".parse().expect("room");
    Config {
        enabled: true,
        data: "/mnt/disk".into(),
        log_level: LogLevel::Info,
        timezone: None,
        networks: vec![],
        dhcp: Dhcp {
            mode: DhcpMode::Authoritative,
            inherit: false,
            unknown_pi: UnknownPi::Offer,
            matches: vec![],
        },
        tftp: Tftp { enabled: true },
        nfs: Nfs::default(),
        rooms: vec![Room {
            name: room.clone(),
            image: Some("trixie".parse().expect("image")),
            config_txt: vec!["of_room=1".to_owned()],
            cmdline: vec![],
            timezone: None,
            mask: vec![],
            classes: vec![],
            sudo: Sudo::Nobody,
            groups: vec![],
            modes: Modes::default(),
        }],
        clients: vec![Client {
            mac: PI,
            name: "lab-01".parse().expect("name"),
            room: Some(room),
            image: None,
            ip: None,
            config_txt: vec!["of_client=1".to_owned()],
            cmdline: vec![],
            mode: None,
            kiosk_page: None,
        }],
        ..Config::default()
    }
}

fn clients() -> Clients {
    Clients::new(Arc::new(config()))
}

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("bramble.db")).expect("a new database")
}

fn version(number: u32) -> ImageVersion {
    let version = crate::types::Version(number.try_into().expect("not zero"));
    ImageVersion { name: "trixie".parse().expect("image"), version }
}

#[test]
fn a_seat_has_its_own_settings_after_those_of_its_room() {
    let clients = clients();
    assert_eq!(clients.at(IP), None);
    clients.bound(IP, PI, "lan");
    let seat = clients.at(IP).expect("bound");
    assert_eq!((seat.name.as_str(), seat.adopted, seat.network.as_str()), ("lab-01", true, "lan"));
    assert_eq!(seat.image, Some("trixie".parse().expect("image")));
    assert_eq!(seat.config_txt, ["of_room=1", "of_client=1"]);
    clients.bound(IP, STRANGER, "lan");
    let seat = clients.at(IP).expect("bound");
    assert_eq!((seat.name.as_str(), seat.adopted, seat.image), ("pi-090909", false, None));
}

#[test]
fn only_what_changes_an_answer_changes_the_generation() {
    let clients = clients();
    let mut last = clients.generation();
    let mut changes = |what: &str, expected: bool, act: &dyn Fn()| {
        act();
        assert_eq!(clients.generation() != last, expected, "{what}");
        last = clients.generation();
    };
    changes("a new address", true, &|| clients.bound(IP, PI, "lan"));
    changes("a renewal", false, &|| clients.bound(IP, PI, "lan"));
    changes("another owner", true, &|| clients.bound(IP, STRANGER, "lan"));
    changes("the first boot", true, &|| clients.boots(PI, version(1)));
    changes("the same again", false, &|| clients.boots(PI, version(1)));
    changes("another version", true, &|| clients.boots(PI, version(2)));
    changes("a sign of life", false, &|| clients.seen(PI, None, None, "lan", NOON));
    changes("another configuration", true, &|| clients.set_config(Arc::new(config())));
    changes("an address given up", true, &|| clients.unbound(IP));
}

#[test]
fn a_person_may_name_a_client_in_three_ways() {
    let clients = clients();
    clients.seen(STRANGER, None, None, "lan", NOON);
    clients.bound(IP, PI, "lan");
    for who in ["lab-01", "LAB-01", "dc:a6:32:01:02:03", "DC-A6-32-01-02-03", "192.168.77.100"] {
        assert_eq!(clients.find(who).map(|known| known.mac), Some(PI), "{who}");
    }
    assert_eq!(clients.find("pi-090909").map(|known| known.mac), Some(STRANGER));
    for who in ["", "lab-02", "192.168.77.101", "00:00:00:00:00:01"] {
        assert_eq!(clients.find(who), None, "{who}");
    }
}

#[test]
fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let before = clients();
    let serial: Serial = "9ffefdef".parse().expect("serial");
    before.seen(PI, Some(serial), Revision::new(0x00c0_3111), "lan", NOON);
    before.seen(STRANGER, None, None, "lan", NOON);
    before.boots(PI, version(3));
    before.save(&store, NOON).expect("saved");
    before.forget(STRANGER);
    before.save(&store, NOON).expect("saved");

    let after = Clients::load(Arc::new(config()), &store).expect("loaded");
    assert_eq!(after.all(), before.all());
    let pi = after.get(PI).expect("known");
    assert_eq!((pi.serial, pi.booted, pi.first_seen), (Some(serial), Some(version(3)), Some(NOON)));
    assert_eq!(after.get(STRANGER), None);
}

#[test]
fn what_a_later_packet_does_not_tell_is_kept_from_an_earlier_one() {
    let clients = clients();
    let serial: Serial = "9ffefdef".parse().expect("serial");
    clients.seen(PI, Some(serial), None, "lan", NOON);
    clients.seen(PI, None, None, "lan", NOON.plus(Duration::from_hours(1)));
    let known = clients.get(PI).expect("known");
    assert_eq!(known.serial, Some(serial));
    assert_eq!(known.last_seen, Some(NOON.plus(Duration::from_hours(1))));
}

#[test]
fn a_flood_of_strangers_costs_a_bounded_place_and_no_adopted_client() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let clients = clients();
    clients.seen(PI, None, None, "lan", NOON);
    for number in 0..3 * limits::CLIENTS_SEEN {
        let [.., a, b] = number.to_be_bytes();
        let mac = MacAddr::new([2, 0, 0, 0, a, b]);
        clients.seen(mac, None, None, "lan", NOON.plus(Duration::from_secs(number as u64)));
        if number == limits::CLIENTS_SEEN {
            clients.save(&store, NOON).expect("saved");
        }
    }
    assert_eq!(clients.all().len(), limits::CLIENTS_SEEN + 1);
    assert!(clients.get(PI).is_some(), "the adopted client is the oldest, and stays");
    let unsaved = &clients.read().unsaved;
    assert!(unsaved.forgotten.len() <= limits::CLIENTS_SEEN && unsaved.seen.len() <= limits::CLIENTS_SEEN);
}

#[test]
fn the_store_holds_what_the_directory_holds_after_a_flood() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let clients = clients();
    for number in 0..2 * limits::CLIENTS_SEEN {
        let [.., a, b] = number.to_be_bytes();
        clients.seen(
            MacAddr::new([2, 0, 0, 0, a, b]),
            None,
            None,
            "lan",
            Moment::from_secs(i64::try_from(number).expect("small")),
        );
        if number % 100 == 0 {
            clients.save(&store, NOON).expect("saved");
        }
    }
    clients.save(&store, NOON).expect("saved");
    assert_eq!(Clients::load(Arc::new(config()), &store).expect("loaded").all(), clients.all());
}

use std::path::Path;

use super::*;
use crate::config;
use crate::proto::dhcp::{Hardware, code, pi};
use crate::types::{HostName, Serial};

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const NEW_PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 9, 9, 9]);
const PC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const ME: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const LAN: From<'_> = From { device: "br-lan", port: CLIENT_PORT, pxe: false };

const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\
    \toption ipaddr '192.168.77.1'\n\toption netmask '255.255.255.0'\n\
    config interface 'lab'\n\toption device 'br-lab'\n\toption proto 'static'\n\
    \toption ipaddr '10.5.0.1'\n\toption netmask '255.255.255.0'\n";
const DHCP: &str = "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '100'\n\toption limit '50'\n\
    \toption leasetime '1h'\nconfig dhcp 'lab'\n\toption interface 'lab'\n\toption start '10'\n\toption limit '20'\n";
const ADOPTED: &str = "\tlist network 'lan'\n\tlist network 'lab'\nconfig client\n\
    \toption mac 'dc:a6:32:01:02:03'\n\toption name 'lab-01'\n";

fn configuration(folder: &Path, bramble: &str, dhcp: &str) -> Arc<Config> {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    let main = format!("config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n", folder.display());
    write("bramble", &format!("{main}{bramble}"));
    write("network", NETWORK);
    write("dhcp", dhcp);
    Arc::new(config::load::load(&folder.join("bramble")).expect("a right configuration"))
}

fn at(secs: u64) -> Now {
    let civil = i64::try_from(secs).expect("small") + 1_795_435_200;
    Now { up: Uptime(Duration::from_secs(secs)), civil: Moment::from_secs(civil) }
}

struct Bench {
    folder: tempfile::TempDir,
    leases: Leases,
    clients: Arc<Clients>,
    events: Arc<Events>,
}

impl Bench {
    fn new(bramble: &str, dhcp: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = configuration(folder.path(), bramble, dhcp);
        let (leases, clients, events) = open(&folder.path().join("bramble.db"), &config, at(0));
        Self { folder, leases, clients, events }
    }

    /// What is on the disk now, opened as after a power cut, with the clocks at `now`.
    fn after_power_cut(&self, now: Now) -> (tempfile::TempDir, Leases) {
        let copy = tempfile::tempdir().expect("a folder");
        for name in ["bramble.db", "bramble.db-wal"] {
            let _ = std::fs::copy(self.folder.path().join(name), copy.path().join(name));
        }
        let config = config::load::load(&self.folder.path().join("bramble")).expect("the same configuration");
        let (leases, ..) = open(&copy.path().join("bramble.db"), &Arc::new(config), now);
        (copy, leases)
    }

    fn answer(&self, message: &Message, from: From<'_>, now: Now) -> Outcome {
        self.leases.answer(&parse(&message.encode(None).bytes), from, now)
    }

    /// The packet that is sent, whether probing comes first or not.
    fn reply(&self, message: &Message, from: From<'_>, now: Now) -> (Packet, Outgoing) {
        let mut outcome = self.answer(message, from, now);
        if let Outcome::Probe { ip, .. } = outcome {
            self.leases.probed(ip, false, now);
            outcome = self.answer(message, from, now);
        }
        let Outcome::Send(outgoing) = outcome else { panic!("an answer, not {outcome:?}") };
        (parse(&outgoing.bytes), outgoing)
    }

    /// A whole exchange; the address.
    fn lease(&self, mac: MacAddr, with: impl Fn(&mut Message), from: From<'_>, now: Now) -> Ipv4Addr {
        let (offer, _) = self.reply(&discover(mac, &with), from, now);
        let mut request = asking(mac, MessageType::Request);
        request.push_raw(code::SERVER_ID, offer.server_id.expect("an identifier").octets());
        request.push_raw(code::REQUESTED_IP, offer.yiaddr.octets());
        with(&mut request);
        let (ack, outgoing) = self.reply(&request, from, now);
        assert_eq!((ack.kind, ack.yiaddr), (Some(MessageType::Ack), offer.yiaddr));
        if outgoing.after_save {
            self.leases.save().expect("saved");
        }
        ack.yiaddr
    }
}

fn open(store: &Path, config: &Arc<Config>, now: Now) -> (Leases, Arc<Clients>, Arc<Events>) {
    let store = Store::open(store).expect("a store");
    let clients = Arc::new(Clients::load(Arc::clone(config), &store).expect("clients"));
    let events = Arc::new(Events::default());
    let (told, own) = (Arc::clone(&clients), Arc::clone(&events));
    (Leases::open(store, told, own, Arc::clone(config), now).expect("leases"), clients, events)
}

fn parse(bytes: &[u8]) -> Packet {
    Packet::parse(bytes).expect("our own packet")
}

fn asking(mac: MacAddr, kind: MessageType) -> Message {
    let mut message = Message::request(7, Hardware::ethernet(mac));
    message.push_kind(kind);
    message
}

fn discover(mac: MacAddr, with: impl FnOnce(&mut Message)) -> Message {
    let mut message = asking(mac, MessageType::Discover);
    with(&mut message);
    message
}

/// What the EEPROM of a Pi 4 says.
fn rom(mac: MacAddr) -> impl Fn(&mut Message) {
    move |message| {
        let [_, _, tail @ ..] = mac.octets();
        let id =
            [b"\0RPi4".as_slice(), &0x00c0_3111_u32.to_le_bytes(), &tail.map(|b| b), &[1, 2, 3, 4]].concat();
        let mut id: [u8; 17] = id.try_into().expect("17 bytes");
        id[9..13].reverse();
        message.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00000:UNDI:002001");
        message.push_raw(code::MACHINE_ID, id);
        message.push_raw(code::WANTED, [1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135]);
    }
}

/// pi-netboot 2.9: one Pi, four identities, one address, and it does not run out.
#[test]
fn one_pi_keeps_one_address_through_its_boot() {
    let bench = Bench::new(ADOPTED, DHCP);
    let (offer, outgoing) = bench.reply(&discover(PI, rom(PI)), LAN, at(1));
    assert!(outgoing.after_save, "a ROM may boot from the offer, so it is stored first");
    assert_eq!(outgoing.neighbour, Some(Neighbour::Pin(offer.yiaddr, PI)));
    assert_eq!(offer.siaddr, ME);
    assert_eq!(offer.options.get(code::VENDOR), Some(pi::ROM_VENDOR_OPTIONS));
    assert_eq!(offer.vendor_class(), b"PXEClient");
    assert_eq!(offer.options.get(code::LEASE_TIME), Some([0xff; 4].as_slice()));
    assert!(offer.machine_id.is_some(), "echoed");
    bench.leases.save().expect("saved");
    assert_eq!(bench.clients.at(offer.yiaddr).map(|seat| seat.name.to_string()).as_deref(), Some("lab-01"));

    let kernel = |message: &mut Message| message.push_raw(code::WANTED, [1, 3, 6, 12, 15, 17, 26, 40]);
    let klibc = |message: &mut Message| message.push_raw(code::VENDOR_CLASS, *b"Linux ipconfig");
    let manager = |message: &mut Message| message.push_raw(code::CLIENT_ID, [0xff, 1, 2, 3, 4, 5]);
    for secs in [10, 20, 30] {
        assert_eq!(bench.lease(PI, kernel, LAN, at(secs)), offer.yiaddr);
        assert_eq!(bench.lease(PI, klibc, LAN, at(secs)), offer.yiaddr);
        assert_eq!(bench.lease(PI, manager, LAN, at(secs)), offer.yiaddr);
    }
    let years = 3 * 365 * 86_400;
    assert_eq!(bench.leases.list(at(years)).len(), 1, "nothing on the Pi renews");
    let kinds: Vec<_> = bench.events.timeline(PI).into_iter().map(|event| event.what).take(3).collect();
    let ip = offer.yiaddr;
    let (rom, kernel) = (Stage::Rom, Stage::Kernel);
    assert_eq!(
        kinds,
        [Happening::Discover { stage: rom }, Happening::Offer { ip }, Happening::Discover { stage: kernel }]
    );
    let known = bench.clients.get(PI).expect("seen");
    assert_eq!(known.serial, Some(Serial(0x0403_0201)));
}

#[test]
fn a_new_pi_is_recognised_later_by_its_address_alone() {
    let bench = Bench::new(ADOPTED, DHCP);
    let ip = bench.reply(&discover(NEW_PI, rom(NEW_PI)), LAN, at(1)).0.yiaddr;
    let with_id = |message: &mut Message| message.push_raw(code::CLIENT_ID, [0xff, 9]);
    assert_eq!(bench.lease(NEW_PI, with_id, LAN, at(60)), ip, "its client identifier is not looked at");
    let refusing = Bench::new(&format!("{ADOPTED}config dhcp 'dhcp'\n\toption unknown_pi 'ignore'\n"), DHCP);
    let outcome = refusing.answer(&discover(NEW_PI, rom(NEW_PI)), LAN, at(1));
    assert!(matches!(outcome, Outcome::Silent(Silence::UnknownPi)), "{outcome:?}");
    let shown = refusing.events.timeline(NEW_PI).into_iter().map(|event| event.what).collect::<Vec<_>>();
    assert!(matches!(shown.as_slice(), [Happening::Discover { .. }, Happening::Refused { .. }]), "{shown:?}");
}

#[test]
fn only_the_mask_and_what_was_asked_for_is_sent() {
    let dhcp = format!(
        "{DHCP}config dhcp 'more'\n\toption interface 'none'\nconfig host\n\toption mac '02:00:00:00:00:01'\n\
         \toption ip '192.168.77.20'\n\toption name 'pc'\n\tlist tag 'slow'\n"
    )
    .replacen(
        "\toption leasetime '1h'\n",
        "\toption leasetime '1h'\n\tlist dhcp_option '6,192.168.77.53'\n\tlist dhcp_option '26,1400'\n\
         \tlist dhcp_option 'tag:slow,42,192.168.77.9'\n\tlist dhcp_option_force '252,http://wpad/'\n",
        1,
    );
    let bench = Bench::new(ADOPTED, &dhcp);
    let codes = |packet: &Packet| packet.options.iter().map(|(code, _)| code).collect::<Vec<_>>();
    let (offer, _) = bench.reply(&discover(PC, |m| m.push_raw(code::WANTED, [3, 6, 42])), LAN, at(1));
    assert_eq!(offer.yiaddr, Ipv4Addr::new(192, 168, 77, 20), "its reservation");
    assert_eq!(codes(&offer), [1, 3, 6, 42, 51, 53, 54, 58, 59, 252]);
    assert_eq!(offer.options.get(code::NTP), Some([192, 168, 77, 9].as_slice()), "by its tag");
    assert_eq!(offer.options.get(code::DNS), Some([192, 168, 77, 53].as_slice()));
    assert_eq!(offer.options.get(code::RENEWAL_TIME), Some(1800_u32.to_be_bytes().as_slice()));

    let (all, _) = bench.reply(&discover(PC, |_| ()), LAN, at(1));
    assert!([1, 3, 6, 12, 26, 28, 252].iter().all(|code| codes(&all).contains(code)), "{:?}", codes(&all));
    assert_eq!(all.host_name.map(String::from).as_deref(), Some("pc"));
    let other = MacAddr::new([2, 0, 0, 0, 0, 9]);
    let (offer, _) = bench.reply(&discover(other, |m| m.push_raw(code::WANTED, [42])), LAN, at(1));
    assert!(offer.options.get(code::NTP).is_none_or(|ntp| ntp != [192, 168, 77, 9]), "not without the tag");
}

#[test]
fn an_x86_machine_boots_as_dnsmasq_told_it() {
    let dhcp = format!(
        "{DHCP}config match\n\toption networkid 'efi'\n\tlist match '93,7'\nconfig boot\n\toption networkid 'efi'\n\
         \toption filename 'ipxe.efi'\n\toption serveraddress '192.168.77.9'\n\toption servername 'boot'\n"
    )
    .replace("\tlist match", "\toption match");
    let bench = Bench::new(ADOPTED, &dhcp);
    let efi = |message: &mut Message| {
        message.push_raw(code::ARCHITECTURE, [0, 7]);
        message.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00007:UNDI:003016");
    };
    let (offer, _) = bench.reply(&discover(PC, efi), LAN, at(1));
    assert_eq!(
        (offer.file.as_slice(), offer.siaddr),
        (b"ipxe.efi".as_slice(), Ipv4Addr::new(192, 168, 77, 9))
    );
    let asks = |message: &mut Message| {
        efi(message);
        message.push_raw(code::WANTED, [66, 67]);
    };
    let (offer, _) = bench.reply(&discover(PC, asks), LAN, at(1));
    assert_eq!(offer.options.get(code::BOOT_FILE), Some(b"ipxe.efi".as_slice()));
    assert_eq!(offer.options.get(code::TFTP_SERVER), Some(b"boot".as_slice()));
    let bios = |message: &mut Message| message.push_raw(code::ARCHITECTURE, [0, 0]);
    let (offer, _) = bench.reply(&discover(PC, bios), LAN, at(1));
    assert_eq!((offer.file.as_slice(), offer.siaddr), (b"".as_slice(), ME), "the rule is not for it");
}

#[test]
fn a_network_is_chosen_by_interface_and_relay() {
    let bench = Bench::new(ADOPTED, DHCP);
    let lab = From { device: "br-lab", ..LAN };
    let (offer, _) = bench.reply(&discover(PC, |_| ()), lab, at(1));
    assert_eq!((offer.server_id, offer.yiaddr.octets()[0]), (Some(Ipv4Addr::new(10, 5, 0, 1)), 10));
    let mut unknown = discover(PC, |_| ());
    unknown.giaddr = Ipv4Addr::new(172, 16, 0, 1);
    let outcome = bench.answer(&unknown, LAN, at(1));
    assert!(matches!(outcome, Outcome::Silent(Silence::UnknownRelay)), "{outcome:?}");
    let mut near = discover(PC, |_| ());
    near.giaddr = Ipv4Addr::new(192, 168, 77, 3);
    near.push_raw(code::RELAY_AGENT, [1, 2, 9, 9]);
    let (offer, outgoing) = bench.reply(&near, LAN, at(1));
    assert_eq!((outgoing.to, outgoing.port), (Destination::Relay(near.giaddr), SERVER_PORT));
    assert_eq!(offer.relay_agent(), Some([1, 2, 9, 9].as_slice()), "echoed");
}

#[test]
fn a_network_behind_a_relay_has_its_own_pool_and_router() {
    let subnet = "config subnet 'far'\n\toption network 'lan'\n\toption subnet '172.16.0.0/24'\n\
        \toption start '20'\n\toption limit '10'\n";
    let bench = Bench::new(&format!("{ADOPTED}{subnet}"), DHCP);
    let relay = Ipv4Addr::new(172, 16, 0, 1);
    let through = |message: &mut Message| message.giaddr = relay;
    // No probe: its wire is not ours.
    let Outcome::Send(outgoing) = bench.answer(&discover(PC, through), LAN, at(1)) else {
        panic!("an offer")
    };
    let offer = parse(&outgoing.bytes);
    assert_eq!(offer.yiaddr.octets()[..3], [172, 16, 0]);
    assert!((20..30).contains(&offer.yiaddr.octets()[3]));
    assert_eq!(offer.options.get(code::ROUTER), Some(relay.octets().as_slice()));
    assert_eq!((offer.server_id, outgoing.to), (Some(ME), Destination::Relay(relay)));
    let ip = bench.lease(PC, through, LAN, at(1));
    let mut renewal = asking(PC, MessageType::Request);
    renewal.ciaddr = ip;
    let (ack, outgoing) = bench.reply(&renewal, LAN, at(9));
    assert_eq!((ack.yiaddr, outgoing.to), (ip, Destination::Client(ip)), "renewing goes past the relay");
    assert_eq!(ack.options.get(code::ROUTER), Some(relay.octets().as_slice()));

    let mut selected = discover(PI, |_| ());
    selected.giaddr = Ipv4Addr::new(192, 0, 2, 1);
    selected.push_raw(code::RELAY_AGENT, [5, 4, 172, 16, 0, 0]);
    let (offer, _) = bench.reply(&selected, LAN, at(1));
    assert_eq!(offer.yiaddr.octets()[..3], [172, 16, 0], "RFC 3527: the relay says which subnet");
}

#[test]
fn a_laptop_that_moves_is_told_no() {
    let bench = Bench::new(ADOPTED, DHCP);
    let ip = bench.lease(PC, |_| (), LAN, at(1));
    let mut reboot = asking(PC, MessageType::Request);
    reboot.push_raw(code::REQUESTED_IP, ip.octets());
    reboot.push_raw(code::CLIENT_ID, [1, 2]);
    let (nak, outgoing) = bench.reply(&reboot, From { device: "br-lab", ..LAN }, at(2));
    assert_eq!(
        (nak.kind, nak.yiaddr, outgoing.to),
        (Some(MessageType::Nak), Ipv4Addr::UNSPECIFIED, Destination::Broadcast)
    );
    assert_eq!(nak.options.get(code::MESSAGE), Some(b"address is not on this network".as_slice()));
    assert_eq!(nak.client_id(), Some([1, 2].as_slice()), "RFC 6842");
    assert!(nak.broadcast && nak.options.get(code::LEASE_TIME).is_none());
}

#[test]
fn what_was_acknowledged_survives_a_restart_and_a_power_cut() {
    let bench = Bench::new(ADOPTED, DHCP);
    let (pi, pc) = (bench.lease(PI, |_| (), LAN, at(1)), bench.lease(PC, |_| (), LAN, at(1)));
    let (_copy, again) = bench.after_power_cut(at(600));
    let held: Vec<_> = again.list(at(600)).into_iter().map(|lease| (lease.ip, lease.mac)).collect();
    assert!(held.contains(&(pi, Some(PI))) && held.contains(&(pc, Some(PC))), "{held:?}");
    let ends =
        again.list(at(600)).into_iter().find(|lease| lease.ip == pc).and_then(|lease| lease.expires_at);
    assert_eq!(ends, Some(at(3601).civil), "as long as it was told");

    // Every other client of the pool gets another address.
    for last in 10..70 {
        let stranger = MacAddr::new([2, 0, 0, 0, 1, last]);
        let outcome = again.answer(&parse(&discover(stranger, |_| ()).encode(None).bytes), LAN, at(600));
        if let Outcome::Probe { ip, .. } = outcome {
            assert!(ip != pi && ip != pc, "{ip} is somebody's");
        }
    }
    let (_copy, later) = bench.after_power_cut(at(4000));
    let held: Vec<_> = later.list(at(4000)).into_iter().map(|lease| lease.ip).collect();
    assert_eq!(held, [pi], "the PC's hour is over, the Pi's address is its own");
}

/// A router without a battery starts in 1970: what was granted "in the future" is as good as new.
#[test]
fn leases_do_not_run_by_a_clock_that_was_never_set() {
    let bench = Bench::new(ADOPTED, DHCP);
    let ip = bench.lease(PC, |_| (), LAN, at(1));
    let early = Now { up: Uptime(Duration::from_secs(5)), civil: Moment::from_secs(100) };
    let (_copy, again) = bench.after_power_cut(early);
    assert_eq!(again.list(early).into_iter().map(|lease| lease.ip).collect::<Vec<_>>(), [ip]);
    let hour_later = Now { up: Uptime(Duration::from_secs(3700)), civil: Moment::from_secs(3800) };
    again.tick(hour_later);
    assert!(again.list(hour_later).is_empty(), "and ends by the time that passes");
}

#[test]
fn an_acknowledgement_waits_for_the_store_and_a_renewal_of_a_pi_does_not() {
    let bench = Bench::new(ADOPTED, DHCP);
    let mut request = asking(PC, MessageType::Request);
    request.push_raw(code::REQUESTED_IP, [192, 168, 77, 110]);
    let (ack, outgoing) = bench.reply(&request, LAN, at(1));
    assert!(ack.kind == Some(MessageType::Ack) && outgoing.after_save && bench.leases.has_unsaved());
    let survives_power_cut = || bench.leases.lock().unsaved.power;
    assert!(survives_power_cut(), "a new holder is on the disk itself");
    bench.leases.save().expect("saved");
    assert!(!bench.leases.has_unsaved());
    assert!(bench.reply(&request, LAN, at(9)).1.after_save, "its end has moved");
    assert!(!survives_power_cut(), "which the client will tell us again");
    bench.leases.save().expect("saved");

    let ip = bench.lease(PI, |_| (), LAN, at(1));
    let mut renewal = asking(PI, MessageType::Request);
    renewal.ciaddr = ip;
    let (_, outgoing) = bench.reply(&renewal, LAN, at(100));
    assert!(!outgoing.after_save && !bench.leases.has_unsaved(), "nothing is new");
    assert_eq!(outgoing.to, Destination::Client(ip));
}

#[test]
fn what_could_not_be_stored_is_stored_with_the_next() {
    let bench = Bench::new(ADOPTED, DHCP);
    // A second writer holds the database, as a full disk would: every commit fails.
    let path = bench.folder.path().join("bramble.db");
    let blocker = rusqlite::Connection::open(&path).expect("a connection");
    blocker.execute_batch("DROP TABLE lease").expect("the table is gone");
    let mut request = asking(PC, MessageType::Request);
    request.push_raw(code::REQUESTED_IP, [192, 168, 77, 110]);
    assert!(bench.reply(&request, LAN, at(1)).1.after_save);
    bench.leases.save().expect_err("cannot be stored");
    assert!(bench.leases.has_unsaved(), "nothing is forgotten");
    assert!(bench.reply(&request, LAN, at(2)).1.after_save, "and still must be stored before it is said");
}

#[test]
fn a_client_that_is_no_longer_adopted_gets_an_end() {
    let bench = Bench::new(ADOPTED, DHCP);
    bench.lease(PI, |_| (), LAN, at(1));
    let other = configuration(bench.folder.path(), "\tlist network 'lan'\n", DHCP);
    bench.leases.set_config(other, at(10));
    let ends: Vec<_> = bench.leases.list(at(10)).into_iter().map(|lease| lease.expires_at).collect();
    assert_eq!(ends, [Some(at(10).civil.plus(NEW_PI_LEASE))]);
}

#[test]
fn released_addresses_are_nobodys_and_come_back_to_who_had_them() {
    let bench = Bench::new(ADOPTED, DHCP);
    let ip = bench.lease(PC, |_| (), LAN, at(1));
    assert!(bench.clients.at(ip).is_some());
    let mut release = asking(PC, MessageType::Release);
    release.ciaddr = ip;
    release.push_raw(code::SERVER_ID, ME.octets());
    assert!(matches!(bench.answer(&release, LAN, at(2)), Outcome::Silent(Silence::Released)));
    bench.leases.save().expect("saved");
    assert!(bench.clients.at(ip).is_none() && bench.leases.list(at(2)).is_empty());
    let (_copy, again) = bench.after_power_cut(at(3));
    assert!(again.list(at(3)).is_empty());
    let outcome = again.answer(&parse(&discover(PC, |_| ()).encode(None).bytes), LAN, at(4));
    let Outcome::Send(outgoing) = outcome else { panic!("no probe for its own address: {outcome:?}") };
    assert_eq!(parse(&outgoing.bytes).yiaddr, ip);
}

#[test]
fn an_address_in_use_rests_and_another_is_offered() {
    let bench = Bench::new(ADOPTED, DHCP);
    let message = discover(PC, |_| ());
    let Outcome::Probe { ip, client } = bench.answer(&message, LAN, at(1)) else { panic!("a probe") };
    assert_eq!(client, Some(PC));
    assert!(matches!(bench.answer(&message, LAN, at(1)), Outcome::Silent(Silence::Probing)));
    bench.leases.probed(ip, true, at(1));
    let Outcome::Probe { ip: second, .. } = bench.answer(&message, LAN, at(1)) else {
        panic!("a second probe")
    };
    assert_ne!(second, ip);
    bench.leases.probed(second, false, at(1));
    assert_eq!(bench.reply(&message, LAN, at(1)).0.yiaddr, second);
}

#[test]
fn beside_another_server_only_pis_are_told_where_to_boot() {
    let bench = Bench::new(&format!("{ADOPTED}config dhcp 'dhcp'\n\toption mode 'proxy'\n"), DHCP);
    let (offer, outgoing) = bench.reply(&discover(NEW_PI, rom(NEW_PI)), LAN, at(1));
    assert_eq!((offer.yiaddr, offer.kind), (Ipv4Addr::UNSPECIFIED, Some(MessageType::Offer)));
    assert_eq!((offer.server_id, offer.siaddr), (Some(ME), ME));
    assert_eq!((outgoing.to, outgoing.port), (Destination::Broadcast, CLIENT_PORT));
    assert_eq!(offer.options.get(code::VENDOR), Some(pi::ROM_VENDOR_OPTIONS));
    assert!(offer.vendor_class() == b"PXEClient" && offer.machine_id.is_some() && offer.broadcast);
    assert!(offer.options.get(code::LEASE_TIME).is_none() && offer.options.get(code::SUBNET_MASK).is_none());
    let outcome = bench.answer(&discover(PC, |_| ()), LAN, at(1));
    assert!(matches!(outcome, Outcome::Silent(Silence::ProxyOnly)), "{outcome:?}");
    // Who gets which address is heard from the REQUEST to the other server.
    let ip = Ipv4Addr::new(192, 168, 77, 200);
    let mut request = asking(NEW_PI, MessageType::Request);
    request.push_raw(code::SERVER_ID, [192, 168, 77, 2]);
    request.push_raw(code::REQUESTED_IP, ip.octets());
    assert!(matches!(bench.answer(&request, LAN, at(2)), Outcome::Silent(Silence::ProxyOnly)));
    assert_eq!(bench.clients.at(ip).map(|seat| seat.mac), Some(NEW_PI));
}

#[test]
fn beside_another_server_a_pc_asks_port_4011() {
    let dhcp = format!("{DHCP}config boot\n\toption filename 'pxelinux.0'\n");
    let bench = Bench::new(&format!("{ADOPTED}config dhcp 'dhcp'\n\toption mode 'proxy'\n"), &dhcp);
    let class =
        |message: &mut Message| message.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00000:UNDI:002001");
    let (offer, _) = bench.reply(&discover(PC, class), LAN, at(1));
    assert_eq!((offer.file.as_slice(), offer.yiaddr), (b"pxelinux.0".as_slice(), Ipv4Addr::UNSPECIFIED));
    let mut request = asking(PC, MessageType::Request);
    request.ciaddr = Ipv4Addr::new(192, 168, 77, 200);
    class(&mut request);
    let (ack, outgoing) = bench.reply(&request, From { port: 4011, pxe: true, ..LAN }, at(2));
    assert_eq!((ack.kind, ack.file.as_slice()), (Some(MessageType::Ack), b"pxelinux.0".as_slice()));
    assert_eq!((outgoing.to, outgoing.port, outgoing.pxe), (Destination::Client(request.ciaddr), 4011, true));
}

#[test]
fn names_that_clients_show_are_kept_with_their_lease() {
    let bench = Bench::new(ADOPTED, DHCP);
    let ip = bench.lease(PC, |message| message.push_raw(code::HOST_NAME, *b"Laptop"), LAN, at(1));
    let name =
        bench.leases.list(at(1)).into_iter().find(|lease| lease.ip == ip).and_then(|lease| lease.host_name);
    assert_eq!(name.as_ref().map(HostName::as_str), Some("laptop"));
}

const NOBODY: [Ipv4Addr; 0] = [];

/// A clock that was not set, `secs` after the start of the router.
fn in_1970(secs: u64) -> Now {
    Now {
        up: Uptime(Duration::from_secs(secs)),
        civil: Moment::from_secs(i64::try_from(secs).expect("small")),
    }
}

fn held(leases: &Leases, now: Now) -> Vec<Ipv4Addr> {
    leases.tick(now);
    leases.list(now).into_iter().map(|lease| lease.ip).collect()
}

/// NTP answers while leases run: they end when they would have, and the store has the new dates.
#[test]
fn a_clock_that_is_set_ends_no_lease() {
    let bench = Bench::new(ADOPTED, DHCP);
    // The bench was opened with a clock that is right; it falls back to 1970, and is set again.
    let pc = bench.lease(PC, |_| (), LAN, in_1970(60));
    assert_eq!(held(&bench.leases, in_1970(61)), [pc]);
    bench.leases.save().expect("saved");
    let set = at(120);
    assert_eq!(held(&bench.leases, set), [pc]);
    assert!(bench.leases.has_unsaved(), "its dates are of another clock");
    bench.leases.save().expect("saved");
    assert_eq!(held(&bench.leases, at(3659)), [pc]);
    assert_eq!(
        held(&bench.leases, at(3660)),
        NOBODY,
        "an hour after it was granted, by the time that passes"
    );
    // Written anew, so a restart knows how much is left.
    let (_copy, again) = bench.after_power_cut(Now { up: Uptime::default(), ..at(3000) });
    assert_eq!(held(&again, Now { up: Uptime(Duration::from_secs(659)), ..at(3659) }), [pc]);
    assert_eq!(held(&again, Now { up: Uptime(Duration::from_mins(11)), ..at(3660) }), NOBODY);
    // An adjustment of a second is none.
    let adjusted = Now { civil: at(3001).civil, up: Uptime::default() };
    again.save().expect("saved");
    again.tick(adjusted);
    assert!(!again.has_unsaved());
}

/// The power goes before the clock was set, or before what was written by it could be dated anew.
#[test]
fn a_lease_dated_by_a_clock_that_was_not_set_keeps_its_term() {
    let bench = Bench::new(ADOPTED, DHCP);
    let pc = bench.lease(PC, |_| (), LAN, in_1970(60));
    // Whatever the clock shows at the next start, the client has it for an hour at the most.
    for civil in [in_1970(5).civil, in_1970(100_000).civil, at(0).civil] {
        let start = |secs| {
            let passed = Duration::from_secs(secs);
            Now { up: Uptime(passed), civil: civil.plus(passed) }
        };
        let (_copy, again) = bench.after_power_cut(start(0));
        assert_eq!(held(&again, start(3599)), [pc], "{civil}");
        assert_eq!(held(&again, start(3600)), NOBODY, "{civil}");
    }
    // Granted by a clock that was ahead: not for years.
    let bench = Bench::new(ADOPTED, DHCP);
    let ahead = Now { civil: at(500_000_000).civil, up: at(60).up };
    let pc = bench.lease(PC, |_| (), LAN, ahead);
    let (_copy, again) = bench.after_power_cut(at(100));
    assert_eq!(held(&again, at(3699)), [pc]);
    assert_eq!(held(&again, at(3700)), NOBODY);
    again.save().expect("saved");
}

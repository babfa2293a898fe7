//! Beside another DHCP server: dnsmasq gives the addresses and we say where to boot from, or the other way round.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bramble::proto::dhcp::{Hardware, Message, MessageType, Packet, code, pi};
use bramble::sim::classroom::Classroom;
use bramble::sim::net::{Machine, SERVER};
use bramble::sim::pi::Board;
use bramble::sim::pi::root::{Root, RootError};
use bramble::sim::pi::tftp::Tftp;
use bramble::sim::sample::Release;
use bramble::sim::server::{Seat, Site};
use bramble::types::MacAddr;

use crate::dhcp_room::{DHCP, Held, LAPTOP, PI, Raw, Room, eventually, pi3, start, told};
use crate::harness::{isolated, program};

/// What we and the other server offer a Pi 3.
fn both_offers(raw: &Raw) -> (Packet, Packet) {
    let (mut ours, mut theirs) = (None, None);
    eventually("both have answered", || {
        raw.send(&raw.discover(pi3));
        while let Some((offer, ..)) = raw.hear(Duration::from_secs(2)) {
            if offer.server_id == Some(SERVER) { ours = Some(offer) } else { theirs = Some(offer) }
        }
        ours.is_some() && theirs.is_some()
    });
    (ours.expect("waited for"), theirs.expect("waited for"))
}

/// dnsmasq on a machine of its own beside us.
fn dnsmasq(machine: &Machine, folder: &Path, range: &str) -> Option<Held> {
    let mut command = machine.command(program("dnsmasq", "dnsmasq-base")?);
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"]);
    command.args([
        "--pid-file=",
        "--interface=eth0",
        "--pxe-service=0,Raspberry Pi Boot",
        "--log-facility=-",
    ]);
    command.arg(format!("--dhcp-leasefile={}", folder.join("dnsmasq.leases").display()));
    command.arg(format!("--dhcp-range={range}")).stderr(Stdio::null());
    Some(start(command))
}

#[test]
fn beside_dnsmasq_a_pi_takes_its_address_there_and_its_boot_server_here() {
    isolated(|| {
        let mut room = Room::new();
        let other = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x41]));
        let address = Ipv4Addr::new(192, 168, 77, 2);
        other.address("eth0", address, 24).expect("an address");
        let Some(_dnsmasq) = dnsmasq(&other, room.folder.path(), "192.168.77.200,192.168.77.220,1h") else {
            return;
        };
        let proxy = "\tlist network 'lan'\nconfig dhcp 'dhcp'\n\toption mode 'proxy'\n";
        let running = room.serve(proxy, DHCP);
        let pi = room.client(PI);
        let raw = Raw::open(&pi, PI);
        let (ours, theirs) = both_offers(&raw);
        assert_eq!((ours.yiaddr, ours.siaddr), (Ipv4Addr::UNSPECIFIED, SERVER));
        assert_eq!(ours.options.get(code::VENDOR), Some(pi::ROM_VENDOR_OPTIONS));
        assert_eq!((theirs.server_id, theirs.yiaddr.octets()[3] >= 200), (Some(address), true));
        let mut request = Message::request(9, Hardware::ethernet(PI));
        request.push_kind(MessageType::Request);
        request.push_raw(code::SERVER_ID, address.octets());
        request.push_raw(code::REQUESTED_IP, theirs.yiaddr.octets());
        pi3(&mut request);
        raw.send(&request);
        let (ack, ..) = raw.hear(Duration::from_secs(5)).expect("an answer");
        assert_eq!(
            (ack.kind, ack.server_id),
            (Some(MessageType::Ack), Some(address)),
            "only one server gives addresses"
        );
        eventually("we know who has the address", || {
            running.clients.at(ack.yiaddr).is_some_and(|seat| seat.mac == PI)
        });
        let laptop = room.client(LAPTOP);
        let notes = room.udhcpc(&laptop, &[]);
        assert_eq!(told(&notes, "serverid"), Some("192.168.77.2"), "other devices hear nothing from us");
    });
}

#[test]
fn a_dnsmasq_in_proxy_mode_beside_us_does_no_harm() {
    isolated(|| {
        let mut room = Room::new();
        let other = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x41]));
        other.address("eth0", Ipv4Addr::new(192, 168, 77, 2), 24).expect("an address");
        let Some(_dnsmasq) = dnsmasq(&other, room.folder.path(), "192.168.77.0,proxy") else { return };
        let _running = room.serve("\tlist network 'lan'\n", DHCP);
        let pi = room.client(PI);
        let raw = Raw::open(&pi, PI);
        let mut theirs = false;
        let mut ours = None;
        eventually("both have answered", || {
            raw.send(&raw.discover(pi3));
            while let Some((offer, ..)) = raw.hear(Duration::from_secs(3)) {
                if offer.server_id == Some(SERVER) { ours = Some(offer) } else { theirs = true }
            }
            theirs && ours.is_some()
        });
        assert!((100..150).contains(&ours.expect("waited for").yiaddr.octets()[3]));
    });
}

/// Both servers behind a relay of another subnet: a Pi there is told as one in the same room, and its address is known.
#[test]
fn a_relay_brings_both_answers_to_a_pi() {
    isolated(|| {
        let Some(dhcrelay) = program("dhcrelay", "isc-dhcp-relay") else { return };
        let mut room = Room::new();
        let other = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x41]));
        let address = Ipv4Addr::new(192, 168, 77, 2);
        other.address("eth0", address, 24).expect("an address");
        let range = "172.16.5.50,172.16.5.60,255.255.255.0,1h";
        let Some(_dnsmasq) = dnsmasq(&other, room.folder.path(), range) else { return };
        let running = room.serve(
            "\tlist network 'lan'\nconfig dhcp 'dhcp'\n\toption mode 'proxy'\n\
             config subnet 'far'\n\toption network 'lan'\n\toption subnet '172.16.5.0/24'\n",
            DHCP,
        );
        let far = room.lab.segment().expect("a segment");
        let (outside, inside) = (Ipv4Addr::new(192, 168, 77, 3), Ipv4Addr::new(172, 16, 5, 1));
        let relay = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x31]));
        room.lab.plug(&relay, &far, "eth1", MacAddr::new([2, 0, 0, 0, 0, 0x32])).expect("plugged in");
        relay.address("eth0", outside, 24).expect("an address");
        relay.address("eth1", inside, 24).expect("an address");
        relay.set("ipv4/ip_forward", "1").expect("it is a router");
        for server in [&room.server, &other] {
            server.default_route(outside).expect("a route");
        }
        let mut command = relay.command(dhcrelay);
        command.args(["-4", "-d", "-a", "-iu", "eth0", "-id", "eth1", "192.168.77.1", "192.168.77.2"]);
        command.stderr(Stdio::null());
        let _relay = start(command);
        let pi = room.lab.client(&far, PI).expect("a client");
        let raw = Raw::open(&pi, PI);
        let (ours, theirs) = both_offers(&raw);
        assert_eq!((ours.yiaddr, ours.siaddr, ours.giaddr), (Ipv4Addr::UNSPECIFIED, SERVER, inside));
        assert_eq!(ours.options.get(code::VENDOR), Some(pi::ROM_VENDOR_OPTIONS));
        assert!(theirs.yiaddr.octets().starts_with(&[172, 16, 5]), "{}", theirs.yiaddr);
        assert_eq!(running.clients.at(theirs.yiaddr), None);
        let mut request = Message::request(9, Hardware::ethernet(PI));
        request.push_kind(MessageType::Request);
        request.push_raw(code::SERVER_ID, address.octets());
        request.push_raw(code::REQUESTED_IP, theirs.yiaddr.octets());
        pi3(&mut request);
        raw.send(&request);
        let (ack, ..) = raw.hear(Duration::from_secs(5)).expect("an answer");
        assert_eq!((ack.kind, ack.server_id), (Some(MessageType::Ack), Some(address)));
        eventually("we know who has the address", || {
            running.clients.at(ack.yiaddr).is_some_and(|seat| seat.mac == PI)
        });
    });
}

/// `config.txt` as the machine with `from` gets it, which names the client that it was composed for.
fn config_txt(machine: &Machine, from: Ipv4Addr) -> Option<String> {
    let tftp = Tftp { from, server: SERVER, block: Some(1024) };
    let got = machine.run(|| Ok(tftp.load("config.txt"))).expect("the namespace can be entered");
    Some(String::from_utf8_lossy(&got.expect("an answer")?).into_owned())
}

fn mounts(machine: &Machine, from: Ipv4Addr) -> Result<(), RootError> {
    let mount = || Ok(Root::mount(machine.ns(), from, SERVER, "/image/sample/1").map(drop));
    machine.run(mount).expect("the namespace can be entered")
}

/// A ROM may take an OFFER for all it needs: nobody hears it ask for the address, and its first word to us is a file.
#[test]
fn a_rom_that_boots_from_an_offer_of_another_server_is_known() {
    isolated(|| {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let board = Board::nth(0);
        let mut site = Site::new(folder.path(), vec![Seat { mac: board.mac, name: "seat-01".to_owned() }]);
        site.more_bramble = "\nconfig dhcp 'dhcp'\n\toption mode 'proxy'\n".to_owned();
        let bramble = Path::new(env!("CARGO_BIN_EXE_bramble"));
        let mut room = Classroom::with_site(bramble, site, vec![board]).expect("a classroom");
        room.import_sample(Release::Trixie).expect("imported");
        let (lab, lan) = room.lab();
        let other = lab.client(lan, MacAddr::new([2, 0, 0, 0, 0, 0x41])).expect("a machine");
        other.address("eth0", Ipv4Addr::new(192, 168, 77, 2), 24).expect("an address");
        let range = "192.168.77.200,192.168.77.220,1h";
        let Some(_dnsmasq) = dnsmasq(&other, folder.path(), range) else { return };
        let rom = lab.client(lan, board.mac).expect("a client");
        let laptop = lab.client(lan, LAPTOP).expect("a client");
        let raw = Raw::open(&rom, board.mac);
        let mut offer = None;
        eventually("dnsmasq has offered an address", || {
            raw.send(&raw.discover(pi3));
            while let Some((heard, ..)) = raw.hear(Duration::from_secs(2)) {
                offer = Some(heard.yiaddr).filter(|ip| !ip.is_unspecified()).or(offer);
            }
            offer.is_some()
        });
        let ip = offer.expect("waited for");
        rom.address("eth0", ip, 24).expect("an address");
        let text = config_txt(&rom, ip).expect("served");
        assert!(text.contains("seat-01"), "composed for this client: {text}");
        mounts(&rom, ip).expect("its root is its own");

        // Others are not served for being neighbours, and an address that has changed hands is not its last holder's.
        let elsewhere = Ipv4Addr::new(192, 168, 77, 230);
        laptop.address("eth0", elsewhere, 24).expect("an address");
        assert_eq!(config_txt(&laptop, elsewhere), None);
        rom.netlink(|link| link.remove_address("eth0", ip, 24)).expect("given up");
        laptop.address("eth0", ip, 24).expect("an address");
        eventually("the address has changed hands", || config_txt(&laptop, ip).is_none());
        assert!(matches!(mounts(&laptop, ip), Err(RootError::Mount { .. })));
    });
}

/// With DHCP switched off the first word of a Pi is a file that it asks for.
#[test]
fn with_dhcp_off_a_new_pi_is_seen_when_it_asks_for_a_file() {
    isolated(|| {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let mut site = Site::new(folder.path(), Vec::new());
        site.more_bramble = "\nconfig dhcp 'dhcp'\n\toption mode 'off'\n".to_owned();
        let bramble = Path::new(env!("CARGO_BIN_EXE_bramble"));
        let mut room = Classroom::with_site(bramble, site, Vec::new()).expect("a classroom");
        let (lab, lan) = room.lab();
        let (pi, laptop) = (lab.client(lan, PI).expect("a Pi"), lab.client(lan, LAPTOP).expect("a laptop"));
        let [pi_ip, laptop_ip] = [200, 201].map(|last| Ipv4Addr::new(192, 168, 77, last));
        pi.address("eth0", pi_ip, 24).expect("an address");
        laptop.address("eth0", laptop_ip, 24).expect("an address");
        assert_eq!(config_txt(&laptop, laptop_ip), None);
        let tftp = Tftp { from: pi_ip, server: SERVER, block: Some(1024) };
        let got = pi.run(|| Ok(tftp.load("9ffefdef/start4.elf"))).expect("the namespace can be entered");
        assert_eq!(got.expect("an answer"), None, "nobody has adopted it");
        let list = room.server.tell(&["--json", "client", "list"]).expect("a list");
        let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        let all = list["clients"].as_array().expect("clients");
        assert_eq!(all.len(), 1, "the laptop is none: {list}");
        assert_eq!(all[0]["mac"], PI.to_string());
        assert_eq!(
            (all[0]["serial"].as_str(), all[0]["ip"].as_str()),
            (Some("9ffefdef"), Some("192.168.77.200"))
        );
        assert_eq!(all[0]["adopted"], false);
        room.server.tell(&["client", "adopt", &PI.to_string(), "--name", "seat-01"]).expect("adopted");
    });
}

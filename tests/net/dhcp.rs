//! DHCP with the clients, relays and servers that are out there.
#![expect(
    clippy::disallowed_methods,
    reason = "real programs take real time, and a test gives up at some point"
)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::proto::dhcp::{Hardware, LeaseTime, Message, MessageType, code, pi};
use bramble::service::events::Happening;
use bramble::sim::net::SERVER;
use bramble::types::{MacAddr, Stage};

use crate::dhcp_room::{
    DHCP, Held, LAPTOP, NETWORK, PI, Raw, Room, configuration, eventually, pi3, start, told,
};
use crate::harness::{isolated, program};

#[test]
fn busybox_udhcpc_gets_an_address_with_what_the_network_gives() {
    isolated(|| {
        if program("busybox", "busybox").is_none() {
            return;
        }
        let mut room = Room::new();
        let running = room.serve("\tlist network 'lan'\n", DHCP);
        let laptop = room.client(LAPTOP);
        let notes = room.udhcpc(&laptop, &["-O", "ntpsrv", "-x", "hostname:laptop"]);
        let ip: Ipv4Addr =
            told(&notes, "ip").unwrap_or_else(|| panic!("no address:\n{notes}")).parse().expect("ip");
        assert!((100..150).contains(&ip.octets()[3]), "{ip} is in the pool");
        assert_eq!(told(&notes, "subnet"), Some("255.255.255.0"));
        assert_eq!(told(&notes, "router"), Some("192.168.77.1"));
        assert_eq!(told(&notes, "dns"), Some("192.168.77.53"));
        assert_eq!(told(&notes, "ntpsrv"), Some("192.168.77.1"));
        assert_eq!(told(&notes, "lease"), Some("3600"));
        assert_eq!(told(&notes, "serverid"), Some("192.168.77.1"));
        assert_eq!(running.addresses(), [(ip, Some(LAPTOP))]);

        let again = room.udhcpc(&laptop, &[]);
        assert_eq!(told(&again, "ip"), Some(ip.to_string().as_str()), "the same client has the same address");
        let other = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x12]));
        let notes = room.udhcpc(&other, &[]);
        assert_ne!(told(&notes, "ip").expect("an address"), ip.to_string());
    });
}

/// Whether a process is there and not only waiting to be reaped by whoever inherited it.
fn is_running(pid: nix::unistd::Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

#[test]
fn dhclient_renews_is_told_no_and_releases() {
    isolated(|| {
        if program("dhclient", "isc-dhcp-client").is_none() {
            return;
        }
        let mut room = Room::new();
        let running = room.serve("\tlist network 'lan'\n", DHCP);
        let laptop = room.client(LAPTOP);
        let folder = room.folder.path().to_owned();
        let dhclient = |more: &[&str]| {
            let (script, notes) = room.script();
            let mut command = laptop.command("dhclient");
            command.args(["-v", "-1", "-cf", "/dev/null", "-lf"]).arg(folder.join("leases"));
            command.arg("-pf").arg(folder.join("pid")).arg("-sf").arg(script).args(more).arg("eth0");
            let output = command.output().expect("dhclient runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("{said}\n{}", std::fs::read_to_string(notes).unwrap_or_default())
        };
        let stop = || {
            let mut pid = None;
            eventually("dhclient runs in the background", || {
                pid =
                    std::fs::read_to_string(folder.join("pid")).ok().and_then(|pid| pid.trim().parse().ok());
                pid.is_some()
            });
            let pid = nix::unistd::Pid::from_raw(pid.expect("waited for"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
            eventually("dhclient ends", || !is_running(pid));
            std::fs::remove_file(folder.join("pid")).expect("its own");
        };
        let first = dhclient(&[]);
        let ip = told(&first, "new_ip_address").unwrap_or_else(|| panic!("no address:\n{first}")).to_owned();
        assert!(first.contains("DHCPACK"), "{first}");
        stop();

        // INIT-REBOOT: it asks for what it had, and gets it.
        let again = dhclient(&[]);
        assert!(
            again.contains(&format!("DHCPREQUEST for {ip}")) && !again.contains("DHCPDISCOVER"),
            "{again}"
        );
        assert_eq!(told(&again, "new_ip_address"), Some(ip.as_str()), "{again}");
        stop();

        // Another network: what it had is wrong here, and it starts over.
        let leases = std::fs::read_to_string(folder.join("leases")).expect("its leases");
        std::fs::write(folder.join("leases"), leases.replace(&ip, "10.1.2.3")).expect("written");
        let moved = dhclient(&[]);
        assert!(moved.contains("DHCPNAK") && moved.contains("DHCPDISCOVER"), "{moved}");
        assert_eq!(told(&moved, "new_ip_address"), Some(ip.as_str()), "{moved}");

        let released = dhclient(&["-r"]);
        assert!(released.contains("DHCPRELEASE"), "{released}");
        eventually("the release arrives", || running.addresses().is_empty());
    });
}

#[test]
fn udhcpc_renews_and_releases() {
    isolated(|| {
        if program("busybox", "busybox").is_none() {
            return;
        }
        let mut room = Room::new();
        let running = room.serve("\tlist network 'lan'\n", DHCP);
        let laptop = room.client(LAPTOP);
        let (script, notes) = room.script();
        let mut command = laptop.command("busybox");
        command.args(["udhcpc", "-i", "eth0", "-f", "-R", "-s"]).arg(script).stderr(Stdio::null());
        let udhcpc = start(command);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(udhcpc.0.id()).expect("a process number"));
        let heard = |event: &str| std::fs::read_to_string(&notes).is_ok_and(|notes| notes.contains(event));
        eventually("udhcpc is bound", || heard("EVENT=bound"));
        assert_eq!(running.addresses().len(), 1);
        // RENEWING: straight to the server, from the address.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).expect("it runs");
        eventually("udhcpc has renewed", || heard("EVENT=renew"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR2).expect("it runs");
        eventually("udhcpc has released", || running.addresses().is_empty());
    });
}

#[test]
fn an_address_that_somebody_took_is_not_offered() {
    isolated(|| {
        if program("busybox", "busybox").is_none() {
            return;
        }
        let mut room = Room::new();
        // Two addresses; somebody has set one of them by hand.
        let dhcp = DHCP.replace("option limit '50'", "option limit '2'");
        let running = room.serve("\tlist network 'lan'\n", &dhcp);
        let squatter = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x66]));
        squatter.address("eth0", Ipv4Addr::new(192, 168, 77, 100), 24).expect("an address");
        for last in [0x21, 0x22] {
            let client = room.client(MacAddr::new([2, 0, 0, 0, 0, last]));
            let notes = room.udhcpc(&client, &[]);
            assert_ne!(told(&notes, "ip"), Some("192.168.77.100"), "{notes}");
        }
        let free = Ipv4Addr::new(192, 168, 77, 101);
        assert_eq!(running.addresses().into_iter().map(|(ip, _)| ip).collect::<Vec<_>>(), [free]);
    });
}

/// pi-netboot 2.3: the Pi 3 misses an instant reply, does not answer ARP while it loads, and all have one xid.
#[test]
fn pi_3_roms_are_answered_late_by_frame_and_pinned() {
    isolated(|| {
        let mut room = Room::new();
        let (first, second) =
            (MacAddr::new([0xb8, 0x27, 0xeb, 1, 1, 1]), MacAddr::new([0xb8, 0x27, 0xeb, 1, 1, 2]));
        let adopted = format!(
            "\tlist network 'lan'\nconfig client\n\toption mac '{first}'\n\toption name 'one'\nconfig client\n\
             \toption mac '{second}'\n\toption name 'two'\nconfig client\n\toption mac '{PI}'\n\toption name 'three'\n"
        );
        let running = room.serve(&adopted, DHCP);
        let [one, two, three] = [first, second, PI].map(|mac| Raw::open(&room.client(mac), mac));
        let begin = Instant::now();
        one.send(&one.discover(pi3));
        two.send(&two.discover(pi3));
        three.send(&three.discover(|message| message.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00011")));
        let (offer, to, ip) = three.hear(Duration::from_secs(10)).expect("nobody else waits for a Pi 3");
        assert_eq!((to, ip), (PI, offer.yiaddr), "unicast to an address that is not yet in ARP");
        let (late, to, ip) = one.hear(Duration::from_secs(10)).expect("an offer");
        assert!(begin.elapsed() >= pi::PI3_REPLY_DELAY, "after {:?}", begin.elapsed());
        assert_eq!(
            (to, ip, late.options.get(code::VENDOR)),
            (first, late.yiaddr, Some(pi::ROM_VENDOR_OPTIONS))
        );
        let (other, to, _) = two.hear(Duration::from_secs(10)).expect("an offer");
        assert_eq!((to, other.hardware.mac()), (second, Some(second)), "each hears its own");
        assert_ne!(late.yiaddr, other.yiaddr);
        assert!(one.hear(Duration::from_millis(200)).is_none(), "and nobody else's");

        let neighbours = || {
            room.server
                .run(|| std::fs::read_to_string("/proc/thread-self/net/arp"))
                .expect("the neighbour table")
        };
        let pinned = |ip: Ipv4Addr| {
            neighbours().lines().any(|line| line.starts_with(&format!("{ip} ")) && line.contains(" 0x6 "))
        };
        assert!(pinned(late.yiaddr), "static while it boots:\n{}", neighbours());
        assert_eq!(
            running.clients.at(late.yiaddr).map(|seat| seat.mac),
            Some(first),
            "the ROM never sends a REQUEST"
        );
        // The kernel asks again: from now on ARP works.
        let mut request = Message::request(9, Hardware::ethernet(first));
        request.push_kind(MessageType::Request);
        request.push_raw(code::SERVER_ID, SERVER.octets());
        request.push_raw(code::REQUESTED_IP, late.yiaddr.octets());
        one.send(&request);
        let (ack, ..) = one.hear(Duration::from_secs(5)).expect("an answer");
        assert_eq!((ack.kind, ack.yiaddr), (Some(MessageType::Ack), late.yiaddr));
        assert_eq!(
            ack.options.get(code::LEASE_TIME),
            Some(LeaseTime::Infinite.seconds().to_be_bytes().as_slice())
        );
        eventually("the entry is given back", || !pinned(late.yiaddr));
        let stages: Vec<_> = running.events.timeline(first).into_iter().map(|event| event.what).collect();
        assert!(stages.contains(&Happening::Lease { ip: late.yiaddr, stage: Stage::System }), "{stages:?}");
    });
}

#[test]
fn two_strangers_at_once_are_offered_two_addresses() {
    isolated(|| {
        let mut room = Room::new();
        let _running = room.serve("\tlist network 'lan'\n", DHCP);
        let machine = room.client(LAPTOP);
        let raw = Raw::open(&machine, LAPTOP);
        let count = 30;
        for last in 0..count {
            let stranger = MacAddr::new([2, 0, 0, 0, 9, last]);
            let mut message = Message::request(last.into(), Hardware::ethernet(stranger));
            message.push_kind(MessageType::Discover);
            message.broadcast = true;
            raw.send(&message);
        }
        let offers: Vec<_> =
            (0..count).map(|_| raw.hear(Duration::from_secs(10)).expect("an offer").0.yiaddr).collect();
        let different: std::collections::HashSet<_> = offers.iter().collect();
        assert_eq!(different.len(), offers.len(), "{offers:?}");
    });
}

#[test]
fn a_network_that_is_added_is_served_without_a_restart() {
    isolated(|| {
        let mut room = Room::new();
        let running = room.serve("\tlist network 'lan'\n", DHCP);
        let (far, ip) = (room.lab.segment().expect("a segment"), Ipv4Addr::new(10, 5, 0, 1));
        room.lab.plug(&room.server, &far, "br-lab", MacAddr::new([2, 0, 0, 0, 0, 0xfe])).expect("plugged in");
        room.server.address("br-lab", ip, 24).expect("an address");
        let pi = room.lab.client(&far, PI).expect("a client");
        let raw = Raw::open(&pi, PI);
        raw.send(&raw.discover(|_| ()));
        assert!(raw.hear(Duration::from_millis(800)).is_none(), "not served yet");

        let network = format!(
            "{NETWORK}config interface 'lab'\n\toption device 'br-lab'\n\toption proto 'static'\n\
             \toption ipaddr '{ip}'\n\toption netmask '255.255.255.0'\n"
        );
        let dhcp = format!("{DHCP}config dhcp 'lab'\n\toption interface 'lab'\n");
        let both = "\tlist network 'lan'\n\tlist network 'lab'\n";
        running.config.send_replace(Arc::new(configuration(room.folder.path(), both, &network, &dhcp)));
        let mut offer = None;
        eventually("the new network is served", || {
            raw.send(&raw.discover(|_| ()));
            offer = raw.hear(Duration::from_secs(1));
            offer.is_some()
        });
        let (offer, ..) = offer.expect("waited for");
        assert_eq!(
            (offer.server_id, offer.yiaddr.octets()[0]),
            (Some(ip), 10),
            "answers leave where they came in"
        );
    });
}

#[test]
fn a_relay_brings_clients_of_another_network() {
    isolated(|| {
        let Some(dhcrelay) = program("dhcrelay", "isc-dhcp-relay") else { return };
        let mut room = Room::new();
        let subnet = "config subnet 'far'\n\toption network 'lan'\n\toption subnet '172.16.5.0/24'\n\
            \toption start '20'\n\toption limit '10'\n";
        let running = room.serve(&format!("\tlist network 'lan'\n{subnet}"), DHCP);
        let far = room.lab.segment().expect("a segment");
        let (outside, inside) = (Ipv4Addr::new(192, 168, 77, 2), Ipv4Addr::new(172, 16, 5, 1));
        let relay = room.client(MacAddr::new([2, 0, 0, 0, 0, 0x31]));
        room.lab.plug(&relay, &far, "eth1", MacAddr::new([2, 0, 0, 0, 0, 0x32])).expect("plugged in");
        relay.address("eth0", outside, 24).expect("an address");
        relay.address("eth1", inside, 24).expect("an address");
        relay.set("ipv4/ip_forward", "1").expect("it is a router");
        room.server.default_route(outside).expect("a route");
        let mut command = relay.command(dhcrelay);
        command.args(["-4", "-d", "-a", "-iu", "eth0", "-id", "eth1", "192.168.77.1"]).stderr(Stdio::null());
        let _relay = start(command);
        let laptop = room.lab.client(&far, LAPTOP).expect("a client");
        let mut notes = String::new();
        eventually("the relay is up", || {
            notes = room.udhcpc(&laptop, &[]);
            told(&notes, "ip").is_some()
        });
        let ip: Ipv4Addr = told(&notes, "ip").expect("waited for").parse().expect("an address");
        assert!(ip.octets()[..3] == [172, 16, 5] && (20..30).contains(&ip.octets()[3]), "{ip}");
        assert_eq!(told(&notes, "router"), Some("172.16.5.1"), "{notes}");
        assert_eq!(told(&notes, "serverid"), Some("192.168.77.1"), "{notes}");
        assert_eq!(running.addresses(), [(ip, Some(LAPTOP))]);
    });
}

/// The daemon itself, as a process that can be killed.
fn daemon(room: &Room, folder: &Path) -> Held {
    let socket = folder.join("socket");
    let _ = std::fs::remove_file(&socket);
    let mut command = room.server.command(env!("CARGO_BIN_EXE_bramble"));
    command
        .arg("--socket")
        .arg(&socket)
        .args(["serve", "--any-storage", "--config"])
        .arg(folder.join("bramble"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    start(command)
}

fn nth(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr::new([0xdc, 0xa6, 0x32, 0xaa, high, low])
}

fn broadcast_request(n: u16, ip: Ipv4Addr) -> Message {
    let mut message = Message::request(n.into(), Hardware::ethernet(nth(n)));
    message.push_kind(MessageType::Request);
    message.push_raw(code::REQUESTED_IP, ip.octets());
    message.broadcast = true;
    message
}

/// A room asks for addresses all at once and the daemon is killed in the middle: everybody who was told an address still
/// has it, and nobody else gets it. The same from a copy of the files taken while it worked, which is all that a power cut
/// leaves.
#[test]
fn killed_in_the_middle_no_acknowledged_lease_is_lost() {
    isolated(|| {
        let mut room = Room::new();
        let dhcp = DHCP.replace("option limit '50'", "option limit '140'");
        configuration(room.folder.path(), "\tlist network 'lan'\n", NETWORK, &dhcp);
        let machine = room.client(LAPTOP);
        let raw = Raw::open(&machine, LAPTOP);
        let mut running = daemon(&room, room.folder.path());
        let answers = |n: u16, ip: Ipv4Addr| {
            eventually("the daemon serves", || {
                raw.send(&broadcast_request(n, ip));
                raw.hear(Duration::from_secs(1)).is_some()
            });
        };
        answers(0, Ipv4Addr::new(192, 168, 77, 100));
        let wish = |n: u16| Ipv4Addr::new(192, 168, 77, 100 + u8::try_from(n).expect("a small room"));
        for n in 0..120 {
            raw.send(&broadcast_request(n, wish(n)));
        }
        let mut told = Vec::new();
        while told.len() < 40 {
            let (ack, ..) = raw.hear(Duration::from_secs(10)).expect("an answer");
            told.push((ack.hardware.mac(), ack.yiaddr));
        }
        // Stopped where it stands, so that the two files belong together.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(running.0.id()).expect("a process number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("it runs");
        let copy = tempfile::tempdir().expect("a folder");
        while let Some((ack, ..)) = raw.hear(Duration::from_millis(200)) {
            told.push((ack.hardware.mac(), ack.yiaddr));
        }
        for name in ["bramble.db", "bramble.db-wal"] {
            let _ = std::fs::copy(room.store().with_file_name(name), copy.path().join(name));
        }
        running.0.kill().expect("it runs");
        running.0.wait().expect("killed");
        for folder in [copy.path(), room.folder.path()] {
            let write = |name: &str| {
                let text = std::fs::read_to_string(room.folder.path().join(name)).expect("a file");
                let (from, to) = (room.folder.path().display().to_string(), folder.display().to_string());
                std::fs::write(folder.join(name), text.replace(&from, &to)).expect("a file");
            };
            ["bramble", "network", "dhcp"].into_iter().for_each(write);
            let _running = daemon(&room, folder);
            answers(2000, Ipv4Addr::new(10, 0, 0, 1));
            // Others may still be answered for what they have asked before.
            let answer_to = |n: u16| loop {
                let (answer, ..) = raw.hear(Duration::from_secs(10)).expect("an answer");
                if answer.hardware.mac() == Some(nth(n)) {
                    break answer;
                }
            };
            for (mac, ip) in &told {
                let n = u16::from(ip.octets()[3]) - 100;
                assert_eq!(*mac, Some(nth(n)));
                raw.send(&broadcast_request(1000 + n, *ip));
                let nak = answer_to(1000 + n);
                assert_eq!(nak.kind, Some(MessageType::Nak), "{ip} is {mac:?}'s, and nobody else's");
                raw.send(&broadcast_request(n, *ip));
                let ack = answer_to(n);
                assert_eq!((ack.kind, ack.yiaddr), (Some(MessageType::Ack), *ip), "{mac:?} still has it");
            }
        }
    });
}

//! What keeps clients from booting is found on the wire: a switch with spanning tree (the kernel's own), another DHCP server
//! (dnsmasq), a bootloader that speaks over the network.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;

use bramble::proto::netconsole;
use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::sim::pi::Options;
use bramble::types::MacAddr;
use serde_json::Value;

use crate::classroom::{boot, classroom};
use crate::dhcp_room::{eventually, start};
use crate::harness::{isolated, program};

/// Runs `ip` on a machine.
fn ip(machine: &Machine, path: &std::path::Path, args: &str) {
    let output = machine.command(path).args(args.split(' ')).stdin(Stdio::null()).output().expect("run");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

fn problems(room: &bramble::sim::classroom::Classroom) -> String {
    let status = room.server.tell(&["--json", "status"]).expect("an answer");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["problems"].to_string()
}

#[test]
fn a_switch_with_spanning_tree_is_named() {
    isolated(|| {
        let Some(program) = program("ip", "iproute2") else { return };
        let (_folder, mut room) = classroom(1);
        assert!(!problems(&room).contains("spanning tree"), "{}", problems(&room));
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let switch = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 0x51])).expect("a switch");
        ip(&switch, &program, "link add br0 type bridge stp_state 1 forward_delay 1500");
        ip(&switch, &program, "link set eth0 master br0");
        ip(&switch, &program, "link set eth0 up");
        ip(&switch, &program, "link set br0 up");
        eventually("it is heard", || problems(&room).contains("spanning tree"));
        let told = problems(&room);
        for part in ["a switch on `lan` (02:00:00:00:00:51)", "forward delay of 15 s", "edge ports"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    });
}

#[test]
fn another_dhcp_server_is_named_with_what_it_offers() {
    isolated(|| {
        let Some(dnsmasq) = program("dnsmasq", "dnsmasq-base") else { return };
        let (folder, mut room) = classroom(1);
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let other = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 0x41])).expect("a machine");
        other.address("eth0", Ipv4Addr::new(192, 168, 77, 9), PREFIX).expect("an address");
        other.up("eth0").expect("up");
        let mut command = other.command(dnsmasq);
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--no-ping",
        ]);
        command.args(["--pid-file=", "--interface=eth0", "--log-facility=-", "--dhcp-authoritative"]);
        command.arg(format!("--dhcp-leasefile={}", folder.path().join("other.leases").display()));
        command.arg("--dhcp-range=192.168.77.200,192.168.77.220,1h").stderr(Stdio::null());
        command.args(["--enable-tftp", &format!("--tftp-root={}", folder.path().display())]);
        let _server = start(command);
        // Asked for again with a new configuration, a few seconds after it.
        room.server.site_mut().more_bramble.push_str("\nconfig room 'other'\n");
        room.server.reload().expect("reloaded");
        eventually("it is found", || problems(&room).contains("another DHCP server"));
        let told = problems(&room);
        for part in [
            "another DHCP server, 192.168.77.9",
            "answers on `lan` and offers 192.168.77.2",
            "with the router 192.168.77.9; it has boot files (TFTP) too",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    });
}

#[test]
fn a_server_that_only_says_how_to_boot_is_named() {
    isolated(|| {
        let Some(dnsmasq) = program("dnsmasq", "dnsmasq-base") else { return };
        let (_folder, mut room) = classroom(1);
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let other = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 0x42])).expect("a machine");
        other.address("eth0", Ipv4Addr::new(192, 168, 77, 9), PREFIX).expect("an address");
        other.up("eth0").expect("up");
        let mut command = other.command(dnsmasq);
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--pid-file=",
        ]);
        command.args(["--interface=eth0", "--log-facility=-", "--dhcp-range=192.168.77.0,proxy"]);
        command.arg("--pxe-service=0,Raspberry Pi Boot").stderr(Stdio::null());
        let _server = start(command);
        room.server.site_mut().more_bramble.push_str("\nconfig room 'other'\n");
        room.server.reload().expect("reloaded");
        eventually("it is found", || problems(&room).contains("another server for network boot"));
        let told = problems(&room);
        assert!(
            told.contains("192.168.77.9") && told.contains("(proxy DHCP)") && !told.contains("offers"),
            "{told}"
        );
    });
}

#[test]
fn what_a_bootloader_says_is_kept_with_its_client() {
    isolated(|| {
        let (_folder, mut room) = classroom(1);
        let ups = boot(&mut room, Options { skip_walk: true });
        let machine = room.machine(0).expect("a machine").clone();
        let from = ups[0].given.address;
        let lines = || -> String {
            let detail = room.server.tell(&["--json", "client", "show", "seat-01"]).expect("an answer");
            serde_json::from_str::<Value>(&detail).expect("JSON")["console"].to_string()
        };
        eventually("it is heard", || {
            let sent = machine.run(|| {
                let socket = UdpSocket::bind((from, 0))?;
                socket.send_to(b"TFTP_GET: 192.168.77.1 kernel8.img\r\n", (SERVER, netconsole::PORT))
            });
            sent.expect("sent");
            lines().contains("TFTP_GET: 192.168.77.1 kernel8.img")
        });
        // A bootloader that was told of no receiver broadcasts.
        let sent = machine.run(|| {
            let socket = UdpSocket::bind((from, 0))?;
            socket.set_broadcast(true)?;
            socket.send_to(b"Booting from the network\n", (Ipv4Addr::BROADCAST, netconsole::PORT))
        });
        sent.expect("sent");
        eventually("a broadcast is heard", || lines().contains("Booting from the network"));
        let shown = room.server.tell(&["client", "show", "seat-01", "--boot"]).expect("an answer");
        assert!(shown.contains("TFTP_GET") && shown.contains("root mounted"), "{shown}");
        let rooms = room.server.tell(&["room", "list"]).expect("an answer");
        assert!(rooms.contains("classroom") && rooms.contains("1 of 1"), "{rooms}");
        let plan = room.server.tell(&["plan", "--clients", "60"]).expect("an answer");
        assert!(plan.contains("60 clients: "), "{plan}");
    });
}

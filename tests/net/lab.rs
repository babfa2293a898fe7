//! The laboratory itself: switch, segments, tagged networks, taps, programs inside.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use bramble::sim::net::{Lab, Machine, PREFIX, SERVER, SERVER_MAC};
use bramble::types::MacAddr;

use crate::harness::{cannot_run, isolated};

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);

/// How long to wait for what must not come.
const NOTHING: Duration = Duration::from_millis(300);
/// How long to wait for what must come, however busy this computer is.
const SOMETHING: Duration = Duration::from_secs(20);

/// Sends a datagram from `from` to `to` on `machine` and says whether it arrives there within `patience`.
fn reaches(from: &Machine, to: Ipv4Addr, machine: &Machine, patience: Duration) -> bool {
    let receiver = machine.run(|| UdpSocket::bind((to, 69))).expect("root in the namespace may bind port 69");
    receiver.set_read_timeout(Some(patience)).expect("a timeout");
    let sender = from.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    sender.send_to(b"hello", (to, 69)).is_ok() && receiver.recv(&mut [0; 16]).is_ok_and(|n| n == 5)
}

#[test]
fn machines_on_one_segment_reach_each_other() {
    isolated(|| {
        let (mut lab, lan, server) = Lab::with_server("br-lan").expect("a laboratory");
        let pi = lab.client(&lan, PI).expect("a client");
        pi.address("eth0", Ipv4Addr::new(192, 168, 77, 50), PREFIX).expect("an address");
        assert!(reaches(&pi, SERVER, &server, SOMETHING));
        let listener = server.run(|| TcpListener::bind((SERVER, 2049))).expect("listens");
        let mut stream = pi.run(|| TcpStream::connect((SERVER, 2049))).expect("connects");
        stream.write_all(b"nfs").expect("sends");
        drop(stream);
        let mut got = String::new();
        listener.accept().expect("a connection").0.read_to_string(&mut got).expect("receives");
        assert_eq!(got, "nfs");
    });
}

#[test]
fn segments_are_separate() {
    isolated(|| {
        let mut lab = Lab::new().expect("a laboratory");
        let (lan, lab10) = (lab.segment().expect("a segment"), lab.segment().expect("another"));
        let server = lab.machine().expect("a machine");
        lab.plug(&server, &lan, "eth0", SERVER_MAC).expect("plugged in");
        lab.plug(&server, &lab10, "eth0.10", SERVER_MAC).expect("plugged in");
        let inside = Ipv4Addr::new(10, 10, 0, 1);
        server.address("eth0", SERVER, PREFIX).expect("an address");
        server.address("eth0.10", inside, PREFIX).expect("an address");
        let tagged = lab.client(&lab10, PI).expect("a client");
        tagged.address("eth0", Ipv4Addr::new(10, 10, 0, 50), PREFIX).expect("an address");
        assert!(reaches(&tagged, inside, &server, SOMETHING));
        assert!(!reaches(&tagged, SERVER, &server, NOTHING), "no route from one to the other");
        let stray = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 9])).expect("a client");
        stray.address("eth0", Ipv4Addr::new(10, 10, 0, 51), PREFIX).expect("an address");
        assert!(
            !reaches(&stray, Ipv4Addr::new(10, 10, 0, 50), &tagged, NOTHING),
            "the right address on the wrong segment"
        );
    });
}

#[test]
fn programs_run_inside_and_see_only_the_laboratory() {
    isolated(|| {
        let (mut lab, lan, _server) = Lab::with_server("br-lan").expect("a laboratory");
        let pi = lab.client(&lan, PI).expect("a client");
        let seen = pi.command("cat").arg("/proc/net/dev").output().expect("cat runs");
        let devices: Vec<String> = String::from_utf8_lossy(&seen.stdout)
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .filter(|device| device != "sit0" && device != "ip6tnl0" && device != "tunl0")
            .collect();
        assert_eq!(devices, ["lo", "eth0"]);
    });
}

#[test]
fn a_tap_is_a_port_of_the_switch() {
    isolated(|| {
        let (mut lab, lan, _server) = Lab::with_server("br-lan").expect("a laboratory");
        if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/net/tun") {
            return cannot_run(
                "a_tap_is_a_port_of_the_switch",
                &format!("/dev/net/tun cannot be opened: {error}"),
            );
        }
        lab.tap(&lan, "tap0").expect("a tap");
        let ports = lab.switch().command("cat").arg("/proc/net/dev").output().expect("cat runs");
        assert!(String::from_utf8_lossy(&ports.stdout).contains("tap0:"));
    });
}

//! DHCP exchanges: how many clients a second get an address that is on the disk before they hear of it, against Kea and
//! dnsmasq with persistent leases?
//!
//! `cargo bench --bench dhcp [ROUNDS]`, as root. Needs Debian's kea-dhcp4-server and dnsmasq-base. One round gives a
//! thousand clients their addresses, from nothing, with 1, 10 and 100 of them in flight, and lets them renew. A client is
//! a hardware address on one socket that asks for broadcast answers; it repeats itself after a second, and has failed
//! after five tries or at a NAK. For Bramble they are Pis of the configuration: strangers are probed for first, which
//! neither peer does as it is set up here (dnsmasq gets `--no-ping`).

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench reads the clock and ends when its load fails"
)]

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use bramble::sim::net::{Lab, Machine, isolate};
use bramble::types::MacAddr;
use nix::sys::socket::{setsockopt, sockopt};
use support::{Figures, Server, program};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENTS: u32 = 1000;
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

fn main() {
    let rounds: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3);
    isolate().expect("namespaces of our own");
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-dhcp");
    let mut lab = Lab::new().expect("a laboratory");
    let lan = lab.segment().expect("a segment");
    let server = lab.machine().expect("a machine");
    lab.plug(&server, &lan, "eth0", MacAddr::new([2, 0, 0, 0, 0, 1])).expect("a card");
    server.address("eth0", SERVER, 16).expect("an address");
    let client = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 2])).expect("a client");

    let mut figures = Figures::default();
    for _ in 0..rounds {
        for start in [start_bramble, start_kea, start_dnsmasq] {
            for window in [1, 10, 100] {
                let _ = std::fs::remove_dir_all(&work);
                std::fs::create_dir_all(&work).expect("a folder");
                let running = start(&work, &server);
                let mut room = Room::new(&client);
                warm_up(&mut room);
                measure(&mut room, &running, window, &mut figures);
            }
        }
    }
    figures.print();
    let _ = std::fs::remove_dir_all(&work);
}

fn measure(room: &mut Room, server: &Server, window: usize, figures: &mut Figures) {
    for (what, renew) in [("new", false), ("known again", true)] {
        let test = format!("{what}, {window} in flight");
        let (cpu, begin) = (server.cpu(), Instant::now());
        let Outcome { mut latencies, failed } = room.exchange(window, renew);
        let seconds = begin.elapsed().as_secs_f64();
        latencies.sort();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).map_or(f64::NAN, ms);
        let name = server.name;
        #[expect(clippy::cast_precision_loss, reason = "figures to print")]
        let (done, failed) = (latencies.len() as f64, failed as f64);
        figures.add(&test, name, "exchanges/s", done / seconds);
        figures.add(&test, name, "p50 ms", at(50));
        figures.add(&test, name, "p99 ms", at(99));
        figures.add(&test, name, "failed", failed);
        figures.add(&test, name, "CPU us/op", server.cpu().abs_diff(cpu).as_secs_f64() * 1e6 / done);
    }
}

fn ms(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mac(client: u32) -> MacAddr {
    let [_, _, high, low] = client.to_be_bytes();
    MacAddr::new([0xdc, 0xa6, 0x32, 0x40, high, low])
}

fn start_bramble(work: &Path, server: &Machine) -> Server {
    let write = |name: &str, text: &str| std::fs::write(work.join(name), text).expect("a file");
    std::fs::create_dir_all(work.join("data")).expect("a folder");
    write(
        "network",
        "config interface 'lan'\n\toption device 'eth0'\n\toption proto 'static'\n\
         \toption ipaddr '10.77.0.1'\n\toption netmask '255.255.0.0'\n",
    );
    write(
        "dhcp",
        "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '4096'\n\toption limit '4096'\n\
         \toption leasetime '1h'\n",
    );
    let mut text = format!(
        "config bramble 'main'\n\toption enabled '1'\n\toption log_level 'warn'\n\toption data '{}'\n\
         \tlist network 'lan'\n",
        work.join("data").display()
    );
    for nth in 0..CLIENTS {
        writeln!(text, "config client\n\toption mac '{}'\n\toption name 'pi-{nth}'", mac(nth)).expect("text");
    }
    write("bramble", &text);
    let mut command = server.command(env!("CARGO_BIN_EXE_bramble"));
    command.arg("--socket").arg(work.join("socket")).args(["serve", "--any-storage", "--config"]);
    command.arg(work.join("bramble"));
    Server::start("bramble", command, || work.join("socket").exists())
}

fn start_kea(work: &Path, server: &Machine) -> Server {
    let config = work.join("kea.json");
    let text = format!(
        r#"{{"Dhcp4": {{
            "interfaces-config": {{"interfaces": ["eth0"]}},
            "lease-database": {{"type": "memfile", "persist": true, "name": "{0}/kea.csv", "lfc-interval": 0}},
            "valid-lifetime": 3600, "multi-threading": {{"enable-multi-threading": true}},
            "subnet4": [{{"id": 1, "subnet": "10.77.0.0/16", "pools": [{{"pool": "10.77.16.0-10.77.31.255"}}]}}],
            "loggers": [{{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{{"output": "stderr"}}]}}]
        }}}}"#,
        work.display()
    );
    std::fs::write(&config, text).expect("a file");
    let mut command = server.command(program("kea-dhcp4", "kea-dhcp4-server"));
    command.arg("-c").arg(&config).env("KEA_PIDFILE_DIR", work).env("KEA_LOCKFILE_DIR", "none");
    Server::start("kea", command, || listens_udp(server))
}

fn start_dnsmasq(work: &Path, server: &Machine) -> Server {
    let mut command = server.command(program("dnsmasq", "dnsmasq-base"));
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--no-ping",
        "--interface=eth0",
    ]);
    command.args([
        "--dhcp-range=10.77.16.0,10.77.31.255,1h",
        "--dhcp-authoritative",
        "--dhcp-lease-max=4096",
    ]);
    command.args(["--quiet-dhcp", "--user=root"]);
    command.arg(format!("--dhcp-leasefile={}", work.join("dnsmasq.leases").display()));
    command.arg(format!("--pid-file={}", work.join("dnsmasq.pid").display()));
    Server::start("dnsmasq", command, || listens_udp(server))
}

/// Whether a socket has port 67 of `server`, which /proc tells.
fn listens_udp(server: &Machine) -> bool {
    let table = server.run(|| std::fs::read_to_string("/proc/thread-self/net/udp")).expect("/proc is there");
    table.contains(":0043 ")
}

/// A server may listen before it answers: one client more, until it has its address.
fn warm_up(room: &mut Room) {
    let begin = Instant::now();
    while room.one(CLIENTS + 1).is_none() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the server gives no address");
    }
}

struct Outcome {
    /// From DISCOVER to ACK, of those that were served.
    latencies: Vec<Duration>,
    failed: usize,
}

/// Where one client stands.
struct Exchange {
    began: Instant,
    sent: Instant,
    tries: u32,
    packet: Vec<u8>,
}

/// All clients behind one socket.
struct Room {
    socket: UdpSocket,
    xid: u32,
    leases: HashMap<MacAddr, Ipv4Addr>,
}

impl Room {
    fn new(client: &Machine) -> Self {
        let socket = client.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
            socket.set_broadcast(true)?;
            setsockopt(&socket, sockopt::BindToDevice, &"eth0".into())?;
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
            Ok(socket)
        });
        let socket = socket.expect("a socket on port 68");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket option");
        Self { socket, xid: 0x1000_0000, leases: HashMap::new() }
    }

    /// One exchange of a client of its own; its address.
    fn one(&mut self, client: u32) -> Option<Ipv4Addr> {
        let mut waiting = HashMap::from([(mac(client), self.begin(client, false))]);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(500) {
            if let Some((_, Some(_))) = self.receive(&mut waiting) {
                return self.leases.get(&mac(client)).copied();
            }
        }
        None
    }

    /// All clients once, `window` at a time; with `renew` those that have an address ask for it again.
    fn exchange(&mut self, window: usize, renew: bool) -> Outcome {
        let mut next = 0;
        let mut waiting = HashMap::new();
        let mut outcome = Outcome { latencies: Vec::new(), failed: 0 };
        while next < CLIENTS || !waiting.is_empty() {
            while waiting.len() < window && next < CLIENTS {
                let exchange = self.begin(next, renew);
                waiting.insert(mac(next), exchange);
                next += 1;
            }
            match self.receive(&mut waiting) {
                Some((_, Some(took))) => outcome.latencies.push(took),
                Some((_, None)) => outcome.failed += 1,
                None => {}
            }
            waiting.retain(|_, exchange| {
                if exchange.sent.elapsed() < AGAIN {
                    return true;
                }
                exchange.tries += 1;
                exchange.sent = Instant::now();
                send(&self.socket, &exchange.packet);
                let goes_on = exchange.tries < TRIES;
                outcome.failed += usize::from(!goes_on);
                goes_on
            });
        }
        outcome
    }

    fn begin(&mut self, client: u32, renew: bool) -> Exchange {
        self.xid += 1;
        let known = self.leases.get(&mac(client)).filter(|_| renew);
        let packet = match known {
            // INIT-REBOOT: a client that was off and remembers its address.
            Some(ip) => message(mac(client), self.xid, 3, Some(*ip), None),
            None => message(mac(client), self.xid, 1, None, None),
        };
        send(&self.socket, &packet);
        let now = Instant::now();
        Exchange { began: now, sent: now, tries: 0, packet }
    }

    /// Takes one answer, if there is one. Of an exchange that ended with it: who, and how long it took unless refused.
    fn receive(&mut self, waiting: &mut HashMap<MacAddr, Exchange>) -> Option<(MacAddr, Option<Duration>)> {
        let mut buffer = [0; 1500];
        let length = self.socket.recv(&mut buffer).ok()?;
        let answer = buffer.get(..length)?;
        let mac = MacAddr::new(*answer.get(28..34)?.first_chunk()?);
        let exchange = waiting.get_mut(&mac)?;
        if answer.get(4..8) != exchange.packet.get(4..8) {
            return None;
        }
        let ip = Ipv4Addr::from(*answer.get(16..20)?.first_chunk::<4>()?);
        match option(answer, 53)?.first()? {
            2 if exchange.packet.get(242) == Some(&1) => {
                let chosen = Ipv4Addr::from(*option(answer, 54)?.first_chunk::<4>()?);
                let xid = u32::from_be_bytes(*answer.get(4..8)?.first_chunk()?);
                exchange.packet = message(mac, xid, 3, Some(ip), Some(chosen));
                exchange.sent = Instant::now();
                send(&self.socket, &exchange.packet);
                None
            }
            5 => {
                self.leases.insert(mac, ip);
                Some((mac, waiting.remove(&mac).map(|exchange| exchange.began.elapsed())))
            }
            6 => {
                waiting.remove(&mac);
                Some((mac, None))
            }
            _ => None,
        }
    }
}

fn send(socket: &UdpSocket, packet: &[u8]) {
    socket.send_to(packet, (Ipv4Addr::BROADCAST, 67)).expect("the network is up");
}

/// A request with the broadcast flag; the message type stands at offset 242.
fn message(mac: MacAddr, xid: u32, kind: u8, wanted: Option<Ipv4Addr>, server: Option<Ipv4Addr>) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0];
    packet.extend(xid.to_be_bytes());
    packet.extend([0, 0, 0x80, 0]);
    packet.extend([0; 16]);
    packet.extend(mac.octets());
    packet.extend([0; 10 + 64 + 128]);
    packet.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, address) in [(50, wanted), (54, server)] {
        if let Some(address) = address {
            packet.extend([code, 4]);
            packet.extend(address.octets());
        }
    }
    packet.extend([55, 4, 1, 3, 6, 51, 255]);
    packet.resize(300, 0);
    packet
}

fn option(answer: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = answer.get(240..)?;
    loop {
        let (&code, after) = rest.split_first()?;
        if code == 0 {
            rest = after;
            continue;
        }
        let (&length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(usize::from(length))?;
        if code == wanted {
            return Some(value);
        }
        rest = after;
    }
}

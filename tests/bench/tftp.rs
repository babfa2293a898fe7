//! Boot files by TFTP: does a room of Pis get its kernels faster, and for less of the router's time, than from dnsmasq,
//! tftpd-hpa and async-tftp?
//!
//! `cargo bench --bench tftp [ROUNDS]`, as root. Needs Debian's dnsmasq-base and tftpd-hpa; `IN_TFTPD=PATH` names an
//! `in.tftpd` that was only unpacked. One round gives a file of 20 MB to 1, 10 and 100 clients at once. A client is what
//! a Pi's bootloader is: lock-step, `tsize` and blocks of 1468 bytes, an address of its own; it asks again after a second,
//! and has failed after five tries or at a byte that is not the file's.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a bench reads the clock, ends when its load fails, and has figures to print"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::proto::agent::channel::Pin;
use bramble::proto::tftp::wire::{self, Packet};
use bramble::service::boot_tree::BootTree;
use bramble::service::clients::Clients;
use bramble::service::events::Events;
use bramble::service::images::{Facts, Images, Tree};
use bramble::sim::net::{Lab, Machine, isolate};
use bramble::types::{Arch, ImageVersion, MacAddr, Version};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use support::{Figures, Server, program};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const FILE: usize = 20_000_000;
const NAME: &str = "kernel8.img";
const BLOCK: usize = 1468;
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("--serve-bramble") => return serve_bramble(&args.next().expect("a folder")),
        Some("--serve-async-tftp") => return serve_async_tftp(&args.next().expect("a folder")),
        _ => {}
    }
    let rounds: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3);
    isolate().expect("namespaces of our own");
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-tftp");
    fs::create_dir_all(work.join("boot")).expect("a folder");
    let file: Vec<u8> = (0..FILE).map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    fs::write(work.join("boot").join(NAME), &file).expect("a file");

    let mut lab = Lab::new().expect("a laboratory");
    let lan = lab.segment().expect("a segment");
    let server = lab.machine().expect("a machine");
    lab.plug(&server, &lan, "eth0", MacAddr::new([2, 0, 0, 0, 0, 1])).expect("a card");
    server.address("eth0", SERVER, 16).expect("an address");
    let room = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 2])).expect("a client");
    for nth in 0..100 {
        room.address("eth0", address(nth), 16).expect("an address");
    }

    let mut figures = Figures::default();
    let only = std::env::var("ONLY").ok();
    for round in 0..rounds {
        for (name, start) in PEERS {
            if only.as_deref().is_some_and(|only| !only.contains(name)) {
                continue;
            }
            for clients in [1, 10, 100] {
                let running = start(name, &work, &server);
                let _warm = download(&room, 1, &file, 2_000_000);
                measure(&room, clients, &file, &running, &mut figures);
                eprintln!("round {} of {rounds}: {name}, {clients} clients", round + 1);
            }
        }
    }
    figures.print();
    let _ = fs::remove_dir_all(&work);
}

type Start = fn(&'static str, &Path, &Machine) -> Server;
const PEERS: [(&str, Start); 4] =
    [("bramble", start_own), ("dnsmasq", start_dnsmasq), ("tftpd-hpa", start_hpa), ("async-tftp", start_own)];

fn measure(room: &Machine, clients: u32, file: &[u8], server: &Server, figures: &mut Figures) {
    let test = format!("{clients} clients");
    let name = server.name;
    // One client alone is done before the clock of the processor has moved much.
    let times = if clients == 1 { 5 } else { 1 };
    let account = Account::open(server);
    let (cpu, begin) = (account.seconds(), Instant::now());
    let mut failed = 0;
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let outcome = download(room, clients, file, FILE);
        failed += outcome.failed;
        slowest = slowest.max(outcome.slowest);
    }
    let bytes = f64::from(clients) * f64::from(times) * FILE as f64;
    figures.add(&test, name, "MB/s", bytes / 1e6 / begin.elapsed().as_secs_f64());
    figures.add(&test, name, "CPU s/GB", (account.seconds() - cpu) / (bytes / 1e9));
    figures.add(&test, name, "failed", failed.into());
    figures.add(&test, name, "slowest s", slowest.as_secs_f64());
    figures.add(&test, name, "peak MiB", server.peak_kib() as f64 / 1024.0);
}

/// A control group of its own for each server: tftpd-hpa gives every transfer a process and does not wait for it, so
/// their processor time is told nowhere else.
struct Account(PathBuf);

impl Account {
    /// Puts `server` into a new group, of version 1 or 2, whichever this machine has.
    fn open(server: &Server) -> Self {
        let mounts = [Path::new("/sys/fs/cgroup/cpuacct"), Path::new("/sys/fs/cgroup")];
        let mount = mounts.iter().find(|mount| mount.join("cgroup.procs").exists());
        let group = mount.expect("control groups in /sys/fs/cgroup").join("bramble-bench-tftp");
        let _left_over = fs::remove_dir(&group);
        fs::create_dir_all(&group).expect("root may make a control group");
        fs::write(group.join("cgroup.procs"), server.pid().to_string()).expect("the server is put into it");
        Self(group)
    }

    /// Seconds of processor time so far.
    fn seconds(&self) -> f64 {
        if let Ok(nanoseconds) = fs::read_to_string(self.0.join("cpuacct.usage")) {
            return nanoseconds.trim().parse::<f64>().expect("a number") / 1e9;
        }
        let stat = fs::read_to_string(self.0.join("cpu.stat")).expect("a group of version 2 has it");
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("usage");
        usage.parse::<f64>().expect("a number") / 1e6
    }
}

fn address(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(SERVER) + 256 + nth)
}

struct Outcome {
    failed: u32,
    slowest: Duration,
}

/// One lock-step client.
struct Client {
    socket: UdpSocket,
    /// Where the file comes from, once something has come.
    from: Option<SocketAddr>,
    got: usize,
    blocks: usize,
    tries: u32,
    until: Instant,
    done: Option<bool>,
}

impl Client {
    fn send(&mut self, now: Instant) {
        let sent = match self.from {
            None => {
                let request = wire::read_request(NAME.as_bytes(), &[("tsize", 0), ("blksize", BLOCK as u64)]);
                self.socket.send_to(&request, (SERVER, 69))
            }
            Some(from) => {
                let [.., high, low] = self.blocks.to_be_bytes();
                self.socket.send_to(&wire::ack(u16::from_be_bytes([high, low])), from)
            }
        };
        sent.expect("a packet is sent");
        self.until = now + AGAIN;
    }

    /// Takes one packet. `stop`: after so many bytes the client has enough and says so.
    fn receive(&mut self, packet: &[u8], from: SocketAddr, file: &[u8], stop: usize, now: Instant) {
        match wire::parse(packet) {
            Ok(Packet::OptionAck(options)) if self.blocks == 0 => {
                assert_eq!(options.number("blksize"), Some(BLOCK as u64));
                self.from = Some(from);
            }
            Ok(Packet::Data { block, bytes }) if usize::from(block) == (self.blocks + 1) & 0xffff => {
                if file.get(self.got..self.got + bytes.len()) != Some(bytes) {
                    self.done = Some(false);
                    return;
                }
                self.got += bytes.len();
                self.blocks += 1;
                if self.got >= stop && stop < file.len() {
                    let error = wire::error(wire::ErrorCode::UNDEFINED, "enough");
                    self.socket.send_to(&error, from).expect("a packet is sent");
                    self.done = Some(true);
                    return;
                }
                if bytes.len() < BLOCK {
                    self.done = Some(self.got == file.len());
                }
            }
            Ok(Packet::Error { .. }) => {
                self.done = Some(false);
                return;
            }
            _ => return,
        }
        self.tries = 0;
        self.send(now);
    }

    fn silence(&mut self, now: Instant) {
        if self.done.is_none() && self.until <= now {
            self.tries += 1;
            if self.tries >= TRIES {
                self.done = Some(false);
            } else {
                self.send(now);
            }
        }
    }
}

/// Lets `clients` fetch the file at once, or its first `stop` bytes.
fn download(room: &Machine, clients: u32, file: &[u8], stop: usize) -> Outcome {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
    let begin = Instant::now();
    let mut all: Vec<Client> = (0..clients)
        .map(|nth| {
            let socket = room.run(|| UdpSocket::bind((address(nth), 0))).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, nth.into())).expect("added");
            Client { socket, from: None, got: 0, blocks: 0, tries: 0, until: begin, done: None }
        })
        .collect();
    let mut slowest = Duration::ZERO;
    let mut look = begin + AGAIN;
    for client in &mut all {
        client.send(begin);
    }
    let mut events = [EpollEvent::empty(); 128];
    let mut packet = [0; 2048];
    let mut left = clients;
    while left > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::from(100u16)).expect("waited");
        let now = Instant::now();
        for event in events.iter().take(ready) {
            let nth = usize::try_from(event.data()).expect("small");
            let Some(client) = all.get_mut(nth) else { continue };
            let Ok((len, from)) = client.socket.recv_from(&mut packet) else { continue };
            if client.done.is_none() {
                client.receive(packet.get(..len).unwrap_or_default(), from, file, stop, now);
                if client.done.is_some() {
                    left -= 1;
                    slowest = now - begin;
                }
            }
        }
        if look <= now {
            look = now + AGAIN / 4;
            for client in all.iter_mut().filter(|client| client.done.is_none()) {
                client.silence(now);
                left -= u32::from(client.done.is_some());
            }
        }
    }
    let failed = all.iter().filter(|client| client.done != Some(true)).count();
    Outcome { failed: u32::try_from(failed).expect("a hundred at most"), slowest }
}

/// This program itself, as one of the servers.
fn start_own(name: &'static str, work: &Path, server: &Machine) -> Server {
    let mut command = server.command(std::env::current_exe().expect("a program has a path"));
    command.arg(format!("--serve-{name}")).arg(work);
    Server::start(name, command, || listens(server))
}

fn start_dnsmasq(name: &'static str, work: &Path, server: &Machine) -> Server {
    let mut command = server.command(program("dnsmasq", "dnsmasq-base"));
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--enable-tftp",
    ]);
    command.arg("--tftp-max=200").arg(format!("--tftp-root={}", work.join("boot").display()));
    Server::start(name, command, || listens(server))
}

fn start_hpa(name: &'static str, work: &Path, server: &Machine) -> Server {
    let path = std::env::var_os("IN_TFTPD").map_or_else(|| program("in.tftpd", "tftpd-hpa"), Into::into);
    let mut command: Command = server.command(path);
    command.args(["--foreground", "--user", "root", "--address", &format!("{SERVER}:69"), "--secure"]);
    command.arg(work.join("boot"));
    Server::start(name, command, || listens(server))
}

/// Whether a socket has port 69 of `server`, which /proc tells.
fn listens(server: &Machine) -> bool {
    let table = server.run(|| fs::read_to_string("/proc/thread-self/net/udp")).expect("/proc is there");
    table.contains(":0045 ")
}

/// The part of the daemon that this bench is about, with the daemon's runtime.
fn serve_bramble(work: &str) {
    let mut source = bramble::config::load::Sources::default();
    let mut text = format!(
        "config bramble 'main'\n\toption enabled '1'\n\toption data '{work}'\n\tlist network 'lan'\n\
         config room 'lab'\n\toption image 'bench'\n"
    );
    for nth in 0..100 {
        let mac = mac(nth);
        writeln!(text, "config client\n\toption mac '{mac}'\n\toption name 'pi-{nth}'\n\toption room 'lab'")
            .expect("text");
    }
    source.bramble.text = Some(text.into_bytes());
    source.network.text = Some(format!(
        "config interface 'lan'\n\toption device 'eth0'\n\toption proto 'static'\n\toption ipaddr '{SERVER}'\n\
         \toption netmask '255.255.0.0'\n"
    ).into_bytes());
    let config = bramble::config::load::from_sources(&source).unwrap_or_else(|problems| panic!("{problems}"));
    let config = Arc::new(config);
    let clients = Arc::new(Clients::new(Arc::clone(&config)));
    for nth in 0..100 {
        clients.bound(address(nth), mac(nth), "lan");
    }
    let images = Arc::new(Images::default());
    images.publish(Tree {
        image: ImageVersion {
            name: "bench".parse().expect("a name"),
            version: Version(std::num::NonZeroU32::MIN),
        },
        id: 1,
        nonce: 1,
        root: work.into(),
        draft: false,
        facts: Facts {
            pretty_name: "bench".to_owned(),
            codename: String::new(),
            arch: Arch::Arm64,
            boot_dir: Some("boot".into()),
            kernels: Vec::new(),
            models: Vec::new(),
            tftp_bytes: 0,
            warnings: Vec::new(),
        },
    });
    let tree = Arc::new(BootTree::new(clients, images, Pin([7; 32])));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (_config, config_reader) = tokio::sync::watch::channel(Arc::clone(&config));
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let ended = runtime.block_on(async {
        let sockets = bramble::serve::tftp::Sockets::bind(&config).await?;
        let events = Arc::new(Events::default());
        // On a worker, as the daemon has it.
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(bramble::serve::tftp::run(tree, events, config_reader, sockets, stop));
        tasks.join_next().await.expect("one task").expect("no panic")
    });
    panic!("the server ended: {ended:?}");
}

fn mac(nth: u32) -> MacAddr {
    let [.., low] = nth.to_be_bytes();
    MacAddr::new([0xdc, 0xa6, 0x32, 0x41, 0, low])
}

fn serve_async_tftp(work: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async {
        async_tftp::server::TftpServerBuilder::with_dir_ro(Path::new(work).join("boot"))?
            .bind((SERVER, 69).into())
            .build()
            .await?
            .serve()
            .await
    });
    panic!("the server ended: {ended:?}");
}

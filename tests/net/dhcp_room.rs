//! A laboratory with our DHCP server in it, and clients that are programs of others or say what a test wants.
#![expect(
    clippy::disallowed_methods,
    reason = "real programs take real time, and a test gives up at some point"
)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bramble::config::{self, Config};
use bramble::proto::dhcp::{Hardware, Message, MessageType, Packet, code};
use bramble::serve::dhcp::{Clock, Sockets, run};
use bramble::service::clients::Clients;
use bramble::service::events::Events;
use bramble::service::leases::Leases;
use bramble::sim::net::{Lab, Machine, Segment};
use bramble::store::Store;
use bramble::types::MacAddr;
use tokio::sync::watch;

pub const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
pub const LAPTOP: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0x11]);

pub const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\
    \toption ipaddr '192.168.77.1'\n\toption netmask '255.255.255.0'\n";
pub const DHCP: &str = "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '100'\n\toption limit '50'\n\
    \toption leasetime '1h'\n\tlist dhcp_option '6,192.168.77.53'\n\tlist dhcp_option '42,192.168.77.1'\n";

/// The server in a thread of its own, in the namespace of a machine.
pub struct Running {
    pub stop: watch::Sender<bool>,
    pub config: watch::Sender<Arc<Config>>,
    thread: Option<JoinHandle<()>>,
    pub leases: Arc<Leases>,
    pub clients: Arc<Clients>,
    pub events: Arc<Events>,
    pub clock: Clock,
}

impl Running {
    pub fn start(machine: &Machine, config: Config, store: &Path) -> Self {
        let config = Arc::new(config);
        let store = Store::open(store).expect("a store");
        let clients = Arc::new(Clients::load(Arc::clone(&config), &store).expect("clients"));
        let events = Arc::new(Events::default());
        let clock = Clock::start();
        let (told, own) = (Arc::clone(&clients), Arc::clone(&events));
        let leases =
            Arc::new(Leases::open(store, told, own, Arc::clone(&config), clock.now()).expect("leases"));
        let (stop, stopped) = watch::channel(false);
        let (config, changes) = watch::channel(config);
        let (ready, bound) = mpsc::channel();
        let (machine, served) = (machine.clone(), Arc::clone(&leases));
        let thread = std::thread::spawn(move || {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let sockets = Sockets::bind(&changes.borrow().clone()).expect("the ports are free");
                    ready.send(()).expect("the test waits");
                    run(served, clock, changes, sockets, stopped)
                        .await
                        .expect("it serves until it is told to stop");
                });
                Ok(())
            };
            machine.run(work).expect("the namespace can be entered");
        });
        bound.recv().expect("the server listens");
        Self { stop, config, thread: Some(thread), leases, clients, events, clock }
    }

    pub fn addresses(&self) -> Vec<(Ipv4Addr, Option<MacAddr>)> {
        self.leases.list(self.clock.now()).into_iter().map(|lease| (lease.ip, lease.mac)).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let end = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || end.is_some_and(|end| end.is_ok()), "the server ended well");
    }
}

/// Three configuration files, read as the daemon reads them.
pub fn configuration(folder: &Path, bramble: &str, network: &str, dhcp: &str) -> Config {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    let main = format!("config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n", folder.display());
    write("bramble", &format!("{main}{bramble}"));
    write("network", network);
    write("dhcp", dhcp);
    config::load::load(&folder.join("bramble")).expect("a right configuration")
}

pub struct Room {
    pub folder: tempfile::TempDir,
    pub lab: Lab,
    pub lan: Segment,
    pub server: Machine,
}

impl Room {
    pub fn new() -> Self {
        let (lab, lan, server) = Lab::with_server("br-lan").expect("a laboratory");
        Self { folder: tempfile::tempdir().expect("a folder"), lab, lan, server }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("bramble.db")
    }

    pub fn serve(&self, bramble: &str, dhcp: &str) -> Running {
        let config = configuration(self.folder.path(), bramble, NETWORK, dhcp);
        Running::start(&self.server, config, &self.store())
    }

    pub fn client(&mut self, mac: MacAddr) -> Machine {
        self.lab.client(&self.lan, mac).expect("a client")
    }

    /// A script that notes what `udhcpc` and `dhclient` tell theirs, and sets the address.
    pub fn script(&self) -> (PathBuf, PathBuf) {
        let (script, notes) = (self.folder.path().join("script"), self.folder.path().join("notes"));
        let text = format!(
            "#!/bin/sh\nset >> {0}\nip=${{ip:-$new_ip_address}}\ncase \"$1$reason\" in\n\
             bound|renew|BOUND|RENEW|REBIND|REBOOT) ip addr replace $ip/24 dev eth0;;\n\
             deconfig|PREINIT) ip addr flush dev eth0;;\nesac\necho \"EVENT=$1$reason\" >> {0}\n",
            notes.display()
        );
        std::fs::write(&script, text).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("an executable file");
        let _ = std::fs::remove_file(&notes);
        (script, notes)
    }

    /// One lease by `udhcpc`; what its script was told.
    pub fn udhcpc(&self, client: &Machine, more: &[&str]) -> String {
        let (script, notes) = self.script();
        let mut command = client.command("busybox");
        command.args(["udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "3", "-T", "2", "-s"]).arg(script);
        let output = command.args(more).output().expect("udhcpc runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{said}\n{}", std::fs::read_to_string(notes).unwrap_or_default())
    }
}

/// The value that a script was last told.
pub fn told<'a>(notes: &'a str, name: &str) -> Option<&'a str> {
    let line = notes.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches('\''))
}

/// Ends a program when the test ends.
pub struct Held(pub Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn start(mut command: Command) -> Held {
    Held(command.stdin(Stdio::null()).spawn().expect("the program starts"))
}

/// Waits for something that other programs bring about.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(90), "{what}: not within 90 seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that is none: sends what a test wants, and hears every DHCP packet that reaches its card.
pub struct Raw {
    pub socket: bramble::sys::ethernet::Ethernet,
    pub mac: MacAddr,
}

impl Raw {
    pub fn open(machine: &Machine, mac: MacAddr) -> Self {
        let socket = machine.run(|| bramble::sys::ethernet::Ethernet::open("eth0")).expect("a socket");
        Self { socket, mac }
    }

    pub fn send(&self, message: &Message) {
        let bytes = message.encode(None).bytes;
        let (from, to) = ((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67));
        let packet = bramble::proto::dhcp::frame::udp(from, to, &bytes);
        let frame = [[0xff; 6].as_slice(), &self.mac.octets(), &[8, 0], &packet].concat();
        self.socket.send(&frame).expect("sent");
    }

    /// The next answer with its destination, hardware and IP address.
    pub fn hear(&self, patience: Duration) -> Option<(Packet, MacAddr, Ipv4Addr)> {
        let begin = Instant::now();
        let mut frame = [0; 2048];
        while let Some(left) = patience.checked_sub(begin.elapsed()) {
            let len = self.socket.receive(&mut frame, left).expect("it is up")?;
            let (Some(mac), Some(ip)) = (frame[..6].first_chunk(), frame[30..34].first_chunk::<4>()) else {
                continue;
            };
            let to_client = frame[23] == 17 && frame[36..38] == [0, 68];
            if let (true, Ok(packet)) = (to_client, Packet::parse(frame.get(42..len).unwrap_or_default())) {
                return Some((packet, MacAddr::new(*mac), Ipv4Addr::from(*ip)));
            }
        }
        None
    }

    pub fn discover(&self, with: impl FnOnce(&mut Message)) -> Message {
        let mut message = Message::request(0x26f3_0339, Hardware::ethernet(self.mac));
        message.push_kind(MessageType::Discover);
        with(&mut message);
        message
    }
}

/// What the ROM of a Pi 3 says: the same number in option 97 and the same xid on every board.
pub fn pi3(message: &mut Message) {
    let id = [[0].as_slice(), &[0x44; 16]].concat();
    message.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00000:UNDI:002001");
    message.push_raw(code::ARCHITECTURE, [0, 0]);
    message.push_raw(94, [1, 2, 1]);
    message.push_raw(code::MACHINE_ID, id);
}

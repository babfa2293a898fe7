//! DHCP with the clients, relays and servers that are out there.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bramble::config::{self, Config};
use bramble::proto::dhcp::{Hardware, LeaseTime, Message, MessageType, Packet, code, pi};
use bramble::serve::dhcp::{Clock, Sockets, run};
use bramble::service::clients::Clients;
use bramble::service::events::{Events, Happening};
use bramble::service::leases::Leases;
use bramble::sim::net::{Lab, Machine, SERVER, Segment};
use bramble::store::Store;
use bramble::types::{MacAddr, Stage};
use tokio::sync::watch;

use crate::harness::{cannot_run, isolated};

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const LAPTOP: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0x11]);

const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\
    \toption ipaddr '192.168.77.1'\n\toption netmask '255.255.255.0'\n";
const DHCP: &str = "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '100'\n\toption limit '50'\n\
    \toption leasetime '1h'\n\tlist dhcp_option '6,192.168.77.53'\n\tlist dhcp_option '42,192.168.77.1'\n";

/// The server in a thread of its own, in the namespace of a machine.
struct Running {
    stop: watch::Sender<bool>,
    config: watch::Sender<Arc<Config>>,
    thread: Option<JoinHandle<()>>,
    leases: Arc<Leases>,
    clients: Arc<Clients>,
    events: Arc<Events>,
    clock: Clock,
}

impl Running {
    fn start(machine: &Machine, config: Config, store: &Path) -> Self {
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

    fn addresses(&self) -> Vec<(Ipv4Addr, Option<MacAddr>)> {
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
fn configuration(folder: &Path, bramble: &str, network: &str, dhcp: &str) -> Config {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    let main = format!("config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n", folder.display());
    write("bramble", &format!("{main}{bramble}"));
    write("network", network);
    write("dhcp", dhcp);
    config::load::load(&folder.join("bramble")).expect("a right configuration")
}

struct Room {
    folder: tempfile::TempDir,
    lab: Lab,
    lan: Segment,
    server: Machine,
}

impl Room {
    fn new() -> Self {
        let (lab, lan, server) = Lab::with_server("br-lan").expect("a laboratory");
        Self { folder: tempfile::tempdir().expect("a folder"), lab, lan, server }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("bramble.db")
    }

    fn serve(&self, bramble: &str, dhcp: &str) -> Running {
        let config = configuration(self.folder.path(), bramble, NETWORK, dhcp);
        Running::start(&self.server, config, &self.store())
    }

    fn client(&mut self, mac: MacAddr) -> Machine {
        self.lab.client(&self.lan, mac).expect("a client")
    }

    /// A script that notes what `udhcpc` and `dhclient` tell theirs, and sets the address.
    fn script(&self) -> (PathBuf, PathBuf) {
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
    fn udhcpc(&self, client: &Machine, more: &[&str]) -> String {
        let (script, notes) = self.script();
        let mut command = client.command("busybox");
        command.args(["udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "3", "-T", "2", "-s"]).arg(script);
        let output = command.args(more).output().expect("udhcpc runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{said}\n{}", std::fs::read_to_string(notes).unwrap_or_default())
    }
}

/// The value that a script was last told.
fn told<'a>(notes: &'a str, name: &str) -> Option<&'a str> {
    let line = notes.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches('\''))
}

fn has(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
}

/// Ends a program when the test ends.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command) -> Held {
    Held(command.stdin(Stdio::null()).spawn().expect("the program starts"))
}

/// Waits for something that other programs bring about.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: not within 30 seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn busybox_udhcpc_gets_an_address_with_what_the_network_gives() {
    isolated(|| {
        if !has("busybox") {
            return cannot_run("udhcpc", "busybox is not installed");
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

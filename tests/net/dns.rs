//! Beside the router's own dnsmasq, on the same machine and interfaces: it answers for names and serves another network,
//! we give addresses on this one, and the names of our leases are its names.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use bramble::serve::publish::{self, Places};
use bramble::sim::net::Machine;
use bramble::types::MacAddr;
use tokio::sync::watch;

use crate::dhcp_room::{DHCP, Held, LAPTOP, Room, Running, eventually, start, told};
use crate::harness::{isolated, program};

const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 9, 1);

/// dnsmasq as OpenWrt's init script starts it once `dhcp.lan.ignore` is set: names for everybody, addresses for guests.
fn dnsmasq(machine: &Machine, dnsmasq: &Path, folder: &Path) -> Held {
    let mut command = machine.command(dnsmasq);
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--no-resolv",
        "--pid-file=",
    ]);
    command.args(["--bind-dynamic", "--interface=br-lan", "--interface=br-guest", "--domain=lan"]);
    command.args(["--local=/lan/", "--expand-hosts", "--no-hosts", "--no-ping", "--log-facility=-"]);
    command.args(["--no-dhcp-interface=br-lan", "--dhcp-range=192.168.9.100,192.168.9.120,1h"]);
    command.arg(format!("--addn-hosts={}", folder.join("hosts").display()));
    command.arg(format!("--dhcp-leasefile={}", folder.join("dnsmasq.leases").display()));
    start({
        command.stderr(Stdio::null());
        command
    })
}

/// Publishes leases as on a router; a script stands in for `ubus`: it notes what it is asked in `told`, fails while there is
/// no `ubusd`, and sends dnsmasq its signal.
struct Publishing {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Publishing {
    fn start(running: &Running, folder: &Path, dnsmasq: &Held) -> Self {
        let ubus = folder.join("ubus");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{0}/told\n[ -e {0}/ubusd ] || exit 1\n[ \"$3\" != signal ] || kill -HUP {1}\n",
            folder.display(),
            dnsmasq.0.id()
        );
        std::fs::write(&ubus, script).expect("a file");
        std::fs::set_permissions(&ubus, std::fs::Permissions::from_mode(0o755)).expect("an executable file");
        let places = Places {
            leases: folder.join("bramble.leases"),
            hosts: folder.join("hosts/bramble"),
            own_hosts: folder.join("etc-hosts"),
            scripts: folder.join("scripts"),
            ubus,
        };
        let (stop, stopped) = watch::channel(false);
        let (leases, clock, config) =
            (Arc::clone(&running.leases), running.clock, running.config.subscribe());
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime
                .block_on(publish::run(places, leases, clock, config, stopped))
                .unwrap_or_else(|never| match never {});
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let end = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || end.is_some_and(|end| end.is_ok()), "publishing ended well");
    }
}

fn whole(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[test]
fn addresses_are_ours_and_names_are_the_routers_own() {
    isolated(|| {
        let (Some(program), Some(_)) = (program("dnsmasq", "dnsmasq-base"), program("busybox", "busybox"))
        else {
            return;
        };
        let mut room = Room::new();
        let guests = room.lab.segment().expect("a segment");
        let port = MacAddr::new([2, 0, 0, 0, 0, 0xfe]);
        room.lab.plug(&room.server, &guests, "br-guest", port).expect("plugged in");
        room.server.address("br-guest", GUEST, 24).expect("an address");
        let folder = room.folder.path().to_owned();
        for name in ["hosts", "scripts"] {
            std::fs::create_dir(folder.join(name)).expect("a folder");
        }
        std::fs::write(folder.join("scripts/10-watch"), "").expect("somebody who wants to hear of leases");
        // What dnsmasq's init script makes of `config domain`.
        std::fs::write(folder.join("hosts/dhcp.cfg01411c"), "192.168.77.80 nas.lan nas\n").expect("a file");
        std::fs::write(folder.join("etc-hosts"), "127.0.0.1 localhost\n").expect("a file");
        // As at a router's start: dnsmasq has port 67 for its guests before we come.
        let dnsmasq = dnsmasq(&room.server, &program, &folder);
        let guest = room.lab.client(&guests, MacAddr::new([2, 0, 0, 0, 0, 0x21])).expect("a guest");
        let mut notes = String::new();
        eventually("dnsmasq serves its guests", || {
            notes = room.udhcpc(&guest, &[]);
            told(&notes, "ip").is_some()
        });

        let dhcp = DHCP.replace("\tlist dhcp_option '6,192.168.77.53'\n", "");
        let dhcp = format!("config dnsmasq\n\toption domain 'lan'\n\toption expandhosts '1'\n\n{dhcp}");
        let running = room.serve("\tlist network 'lan'\n", &dhcp);
        let _publishing = Publishing::start(&running, &folder, &dnsmasq);
        let laptop = room.client(LAPTOP);
        let notes = room.udhcpc(&laptop, &["-x", "hostname:anna-laptop"]);
        assert_eq!(told(&notes, "serverid"), Some("192.168.77.1"), "{notes}");
        assert_eq!(told(&notes, "dns"), Some("192.168.77.1"), "the router's own: {notes}");
        assert_eq!(told(&notes, "domain"), Some("lan"), "{notes}");
        let ip: Ipv4Addr = told(&notes, "ip").expect("an address").parse().expect("an address");
        assert_eq!(running.addresses(), [(ip, Some(LAPTOP))]);
        let leased = std::fs::read_to_string(folder.join("dnsmasq.leases")).expect("dnsmasq's leases");
        assert!(!leased.contains(&LAPTOP.to_string()), "dnsmasq gave nothing here: {leased}");

        // Both directions, asked from another machine.
        let asked = |what: &str| {
            let output =
                laptop.command("busybox").args(["nslookup", what, "192.168.77.1"]).output().expect("it runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // The bus is not there yet: the file is, and dnsmasq is told once it is.
        eventually("the file is there", || whole(&folder, "hosts/bramble").contains("anna-laptop"));
        eventually("it was tried", || whole(&folder, "told").contains("call service signal"));
        assert!(!asked("anna-laptop.lan").contains(&ip.to_string()));
        std::fs::write(folder.join("ubusd"), "").expect("a file");
        eventually("dnsmasq knows the name", || asked("anna-laptop.lan").contains(&ip.to_string()));
        assert!(asked(&ip.to_string()).contains("anna-laptop"), "{}", asked(&ip.to_string()));

        assert!(
            whole(&folder, "told").contains("call service signal {\"name\":\"dnsmasq\",\"signal\":1}\n"),
            "{}",
            whole(&folder, "told")
        );
        // Scripts hear of it, as dnsmasq would have told them.
        let heard = |action: &str, name: &str| {
            let env =
                format!("[\"ACTION={action}\",\"MACADDR={LAPTOP}\",\"IPADDR={ip}\",\"HOSTNAME={name}\"]");
            whole(&folder, "told").contains(&format!("call hotplug.dhcp call {{\"env\":{env}}}\n"))
        };
        eventually("scripts hear of the lease", || heard("add", "anna-laptop"));

        // A name that the router gave to a server stays the server's.
        let notes = room.udhcpc(&laptop, &["-x", "hostname:nas"]);
        assert_eq!(told(&notes, "ip"), Some(ip.to_string().as_str()), "{notes}");
        eventually("the name is taken note of", || heard("update", "nas"));
        let nas = asked("nas.lan");
        assert!(nas.contains("192.168.77.80") && !nas.contains(&ip.to_string()), "{nas}");
        assert!(!whole(&folder, "hosts/bramble").contains("nas"), "{}", whole(&folder, "hosts/bramble"));

        // Guests are dnsmasq's as before, also when they come anew.
        let other = room.lab.client(&guests, MacAddr::new([2, 0, 0, 0, 0, 0x22])).expect("a guest");
        let notes = room.udhcpc(&other, &[]);
        assert_eq!(told(&notes, "serverid"), Some("192.168.9.1"), "{notes}");
        assert_eq!(running.addresses().len(), 1, "and none of ours");
        // And ours renew with us while dnsmasq has the port too.
        let again = room.udhcpc(&laptop, &[]);
        assert_eq!(told(&again, "ip"), Some(ip.to_string().as_str()));
    });
}

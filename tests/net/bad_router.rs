//! A router in a bad state: its flash is full, or read-only. What is wrong is said, what does not need the flash works,
//! and nothing is half written.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use bramble::service::takeover::Wanted;
use bramble::service::takeover::apply::Place;
use bramble::sim::net::{PREFIX, SERVER};
use bramble::types::{MacAddr, chain};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dhcp_room::{DHCP, Held, NETWORK, PI, Raw, Room, eventually, start};
use crate::harness::{cannot_run, isolated, program};

const OTHER: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 9]);

/// The folder that is `/etc/config` here, on a file system of 64 KiB.
struct Flash(PathBuf);

impl Flash {
    fn new(folder: &Path) -> Self {
        let at = folder.join("flash/config");
        let flash = Self(at);
        fs::create_dir_all(flash.mount_point()).expect("a folder");
        mount(Some("flash"), flash.mount_point(), Some("tmpfs"), MsFlags::empty(), Some("size=64k"))
            .expect("a file system of its own");
        fs::create_dir(&flash.0).expect("a folder");
        flash
    }

    fn mount_point(&self) -> &Path {
        self.0.parent().expect("it has one")
    }

    fn read_only(&self, yes: bool) {
        let flags = if yes { MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY } else { MsFlags::MS_REMOUNT };
        mount(None::<&str>, self.mount_point(), None::<&str>, flags, None::<&str>).expect("remounted");
    }

    fn full(&self, yes: bool) {
        let filler = self.mount_point().join("filler");
        if yes {
            let mut file = fs::File::create(&filler).expect("a file");
            while file.write_all(&[0; 4096]).is_ok() {}
        } else {
            fs::remove_file(&filler).expect("removed");
        }
    }

    /// Names and contents of everything in it.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(&self.0)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
            .map(|e| (e.file_name().into_string().expect("text"), fs::read(e.path()).expect("a file")))
            .collect();
        all.sort();
        all
    }
}

fn bramble(room: &Room, words: &[&str]) -> Output {
    let mut command = room.server.command(env!("CARGO_BIN_EXE_bramble"));
    command.arg("--socket").arg(room.folder.path().join("socket")).args(words);
    command.stdin(Stdio::null()).output().expect("it runs")
}

fn status(room: &Room) -> String {
    let said = String::from_utf8_lossy(&bramble(room, &["--json", "status"]).stdout).into_owned();
    said.replace('\n', " ")
}

fn serve(room: &Room, flash: &Flash) -> Held {
    let data = room.folder.path().join("data");
    let main = "config bramble 'main'\n\toption enabled '1'\n";
    let text = format!("{main}\toption data '{}'\n\tlist network 'lan'\n", data.display());
    for (name, text) in [("bramble", text.as_str()), ("network", NETWORK), ("dhcp", DHCP)] {
        if !flash.0.join(name).exists() {
            fs::write(flash.0.join(name), text).expect("a file");
        }
    }
    let mut command = room.server.command(env!("CARGO_BIN_EXE_bramble"));
    command.arg("--socket").arg(room.folder.path().join("socket"));
    command.args(["serve", "--any-storage", "--config"]).arg(flash.0.join("bramble"));
    start({
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    })
}

/// From the bad state to the good one.
fn goes_through(bad: impl Fn(&Flash, bool), reason: &str, remedy: &str) {
    let mut room = Room::new();
    fs::create_dir(room.folder.path().join("data")).expect("a folder");
    let flash = Flash::new(room.folder.path());
    // Once in a good state, so that the files are there; then everything is handed back.
    drop(serve(&room, &flash));
    let _ = fs::remove_file(room.folder.path().join("socket"));
    bad(&flash, true);
    let before = flash.all();
    let daemon = serve(&room, &flash);
    eventually("the daemon answers", || bramble(&room, &["status"]).status.success());

    // It says what is wrong, what to do, and what works.
    let said = status(&room);
    for words in
        ["DHCP was not taken over, so Bramble gives no addresses; all else is served", reason, remedy]
    {
        assert!(said.contains(words), "`{words}`:\n{said}");
    }
    let pi = room.client(PI);
    let raw = Raw::open(&pi, PI);
    raw.send(&raw.discover(|_| ()));
    assert!(raw.hear(Duration::from_secs(1)).is_none(), "two servers would contradict each other");
    pi.address("eth0", Ipv4Addr::new(192, 168, 77, 90), PREFIX).expect("an address");
    let answered = pi.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send_to(b"\0\x01start4.elf\0octet\0", SocketAddrV4::new(SERVER, 69))?;
        socket.recv(&mut [0; 600])
    });
    assert!(answered.is_ok(), "files are served: {answered:?}");
    // What needs the flash is refused with the same words, what does not is done.
    let refused = bramble(&room, &["client", "adopt", "dc:a6:32:01:02:03", "--name", "lab-01"]);
    let why = String::from_utf8_lossy(&refused.stderr).replace('\n', " ");
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        !refused.status.success() && why.contains("so nothing was changed") && why.contains(remedy),
        "{why}"
    );
    let added = bramble(&room, &["account", "add", "anna"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    assert_eq!(flash.all(), before, "nothing is half written");

    bad(&flash, false);
    kill(Pid::from_raw(i32::try_from(daemon.0.id()).expect("it fits")), Signal::SIGHUP).expect("it runs");
    eventually("addresses are given", || {
        raw.send(&raw.discover(|_| ()));
        raw.hear(Duration::from_secs(1)).is_some()
    });
    assert!(!status(&room).contains("DHCP was not taken over"), "{}", status(&room));
}

#[test]
fn with_full_flash_all_but_addresses_is_served() {
    isolated(|| {
        goes_through(
            Flash::full,
            "No space left on device",
            "`df -h /overlay` shows it; remove a package or files",
        );
    });
}

#[test]
fn with_read_only_flash_all_but_addresses_is_served() {
    isolated(|| {
        goes_through(Flash::read_only, "Read-only file system", "its file system is read-only");
    });
}

/// `/etc/init.d/network restart` takes interfaces away and makes them anew. Nobody tells sockets that hear the old ones.
#[test]
fn interfaces_that_come_anew_are_served() {
    isolated(|| {
        if program("ip", "iproute2").is_none() {
            return;
        }
        let mut room = Room::new();
        fs::create_dir(room.folder.path().join("data")).expect("a folder");
        let flash = Flash::new(room.folder.path());
        fs::create_dir_all(&flash.0).expect("a folder");
        let data = room.folder.path().join("data");
        let main =
            format!("config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n", data.display());
        let lab = "config interface 'lab'\n\toption device 'br-lab'\n\toption proto 'static'\n\
                   \toption ipaddr '192.168.78.1/24'\n";
        fs::write(flash.0.join("bramble"), main + "\tlist network 'lan'\n\tlist network 'lab'\n")
            .expect("a file");
        fs::write(flash.0.join("network"), format!("{NETWORK}\n{lab}")).expect("a file");
        let _daemon = serve(&room, &flash);
        let pi = room.client(PI);
        let raw = Raw::open(&pi, PI);
        let answered = |raw: &Raw| {
            raw.send(&raw.discover(|_| ()));
            raw.hear(Duration::from_secs(1)).is_some()
        };
        eventually("addresses are given", || answered(&raw));
        let missing = |name: &str, device: &str| {
            let says = format!("network `{name}` is not served, because there is no interface `{device}`");
            status(&room).contains(&says)
        };
        eventually("what is not there is told", || missing("lab", "br-lab"));
        assert!(!missing("lan", "br-lan") && !status(&room).contains("is down"), "{}", status(&room));

        let gone = room.server.command("ip").args(["link", "delete", "br-lan"]).status().expect("it runs");
        assert!(gone.success());
        eventually("that it went is told", || missing("lan", "br-lan"));
        let mac = MacAddr::new([2, 0, 0, 0, 0, 0xfd]);
        room.lab.plug(&room.server, &room.lan, "br-lan", mac).expect("plugged in");
        room.server.address("br-lan", SERVER, PREFIX).expect("an address");
        eventually("addresses are given there", || answered(&raw));

        // The other one comes: with everything that listens on its address.
        let segment = room.lab.segment().expect("a segment");
        room.lab
            .plug(&room.server, &segment, "br-lab", MacAddr::new([2, 0, 0, 0, 0, 0xfc]))
            .expect("plugged in");
        room.server.address("br-lab", Ipv4Addr::new(192, 168, 78, 1), 24).expect("an address");
        let other = room.lab.client(&segment, OTHER).expect("a client");
        let raw = Raw::open(&other, OTHER);
        eventually("addresses are given on the other", || answered(&raw));
        other.address("eth0", Ipv4Addr::new(192, 168, 78, 90), 24).expect("an address");
        eventually("and files are served there", || {
            let file = other.run(|| {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.set_read_timeout(Some(Duration::from_secs(1)))?;
                socket.send_to(b"\0\x01start4.elf\0octet\0", ("192.168.78.1", 69))?;
                socket.recv(&mut [0; 600])
            });
            file.is_ok()
        });
        eventually("and all is well", || !status(&room).contains("is not served"));
    });
}

/// OpenWrt's own `uci` takes a full disk for a good one and leaves half a file; so it is not run there.
#[test]
fn a_disk_that_uci_cannot_write_is_named() {
    isolated(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let flash = Flash::new(folder.path());
        fs::write(flash.0.join("dhcp"), DHCP).expect("a file");
        let uci = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/uci/uci");
        if !uci.exists() {
            return cannot_run("a_disk_that_uci_cannot_write_is_named", "tests/uci-program builds its `uci`");
        }
        let mut place = Place::beside(&flash.0.join("bramble"));
        place.uci = Some(uci);
        // The record, which comes first, has room.
        place.record = folder.path().join("bramble_takeover");
        let wanted = Wanted { networks: vec!["lan".to_owned()], tftp: true };
        for (bad, words) in [
            (Flash::full as fn(&Flash, bool), "the router's flash is full"),
            (Flash::read_only, "is read-only"),
        ] {
            bad(&flash, true);
            let before = flash.all();
            let error = chain(&place.make(&wanted).expect_err("it cannot be written"));
            assert!(
                error.contains("dhcp` cannot be written, so nothing was changed") && error.contains(words),
                "{error}"
            );
            bad(&flash, false);
            assert_eq!(flash.all(), before);
        }
        place.make(&wanted).expect("and then it can");
    });
}

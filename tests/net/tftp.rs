//! TFTP with real clients: curl, tftp-hpa, busybox and atftp; and, packet by packet, what a Pi's boot ROM does.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bramble::config::load;
use bramble::proto::agent::channel::Pin;
use bramble::proto::tftp::wire::{self, Packet};
use bramble::serve::tftp::{Sockets, run};
use bramble::service::boot_tree::BootTree;
use bramble::service::clients::Clients;
use bramble::service::events::{Events, FileOutcome, Happening};
use bramble::service::images::{Facts, Images, Kernel, Tree};
use bramble::sim::net::{Lab, Machine, PREFIX, SERVER};
use bramble::sim::sample::{Release, write_tree};
use bramble::types::{ImageVersion, MacAddr, Version};
use tokio::sync::watch;

use crate::harness::{cannot_run, isolated};

const MAC: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const PI: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 50);

/// A server with a Trixie image, and one Pi that boots it.
struct Room {
    _lab: Lab,
    server: Machine,
    pi: Machine,
    folder: tempfile::TempDir,
    events: Arc<Events>,
    stop: watch::Sender<bool>,
    serving: Option<std::thread::JoinHandle<()>>,
}

impl Room {
    fn new() -> Self {
        let (mut lab, lan, server) = Lab::with_server("br-lan").expect("a laboratory");
        let pi = lab.client(&lan, MAC).expect("a client");
        pi.address("eth0", PI, PREFIX).expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        write_tree(&folder.path().join("tree"), Release::Trixie).expect("a tree");
        let events = Arc::new(Events::default());
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (tree, recorded) = (folder.path().join("tree"), Arc::clone(&events));
        let ns = server.ns().clone();
        let serving = std::thread::spawn(move || {
            ns.run(|| {
                serve(&tree, recorded, stopped, &ready);
                Ok(())
            })
            .expect("the server's namespace can be entered");
        });
        is_ready.recv().expect("the server listens");
        Self { _lab: lab, server, pi, folder, events, stop, serving: Some(serving) }
    }

    fn own(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.folder.path().join("tree/boot/firmware").join(name)).expect("a file of the tree")
    }

    /// Where a client may put what it fetched.
    fn target(&self) -> PathBuf {
        self.folder.path().join("fetched")
    }

    /// What a program on the Pi put into [`Self::target`].
    fn fetched(&self) -> Vec<u8> {
        fs_err::read(self.target()).expect("the client wrote a file")
    }

    /// What the timeline says of `name`, in order.
    fn outcomes(&self, name: &str) -> Vec<FileOutcome> {
        let of_name = |what| match what {
            Happening::File { name: file, outcome, .. } if file == name => Some(outcome),
            _ => None,
        };
        self.events.timeline(MAC).into_iter().filter_map(|event| of_name(event.what)).collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(serving) = self.serving.take() {
            serving.join().expect("the server ends well");
        }
    }
}

fn serve(
    tree: &Path,
    events: Arc<Events>,
    stopped: watch::Receiver<bool>,
    ready: &std::sync::mpsc::Sender<()>,
) {
    let mut sources = load::Sources::default();
    let text = |text: String| Some(text.into_bytes());
    sources.bramble.text = text(format!(
        "config bramble 'main'\n\toption enabled '1'\n\toption data '/mnt/disk'\n\tlist network 'lan'\n\
         config client\n\toption mac '{MAC}'\n\toption name 'lab-01'\n\toption image 'sample'\n"
    ));
    sources.network.text = text(format!(
        "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '{SERVER}'\n\
         \toption netmask '255.255.255.0'\n"
    ));
    let config = Arc::new(load::from_sources(&sources).unwrap_or_else(|problems| panic!("{problems}")));
    let clients = Arc::new(Clients::new(Arc::clone(&config)));
    clients.bound(PI, MAC, "lan");
    let images = Arc::new(Images::default());
    images.publish(Tree {
        image: ImageVersion { name: "sample".parse().expect("a name"), version: Version(NonZeroU32::MIN) },
        id: 1,
        nonce: 1,
        root: tree.to_owned(),
        draft: false,
        facts: Facts {
            pretty_name: String::new(),
            codename: "trixie".to_owned(),
            arch: Release::Trixie.arch(),
            boot_dir: Some("boot/firmware".into()),
            kernels: vec![Kernel {
                file: "kernel8.img".to_owned(),
                version: String::new(),
                initramfs: None,
                mounts_nfs: Some(true),
            }],
            models: Vec::new(),
            tftp_bytes: 0,
            warnings: Vec::new(),
        },
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let served = runtime.block_on(async {
        let sockets = Sockets::bind(&config).await.expect("port 69 is free in a namespace of our own");
        ready.send(()).expect("the test waits");
        let (_config, config) = watch::channel(config);
        run(Arc::new(BootTree::new(clients, images, Pin([7; 32]))), events, config, sockets, stopped).await
    });
    served.expect("the server ends well");
}

/// A program of the test machine; `None` and a loud word if it is not there.
fn program(test: &str, name: &str, package: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    if found.is_none() {
        cannot_run(test, &format!("`{name}` is not installed (Debian's {package})"));
    }
    found
}

fn finish(command: &mut Command) -> Output {
    command.output().expect("a program can be started")
}

#[test]
fn curl_with_every_block_size() {
    isolated(|| {
        let Some(curl) = program("curl_with_every_block_size", "curl", "curl") else { return };
        let room = Room::new();
        let fetch = |name: &str, block: &str| {
            let _ = std::fs::remove_file(room.target());
            let mut command = room.pi.command(&curl);
            command.args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--tftp-blksize",
                block,
                "--output",
            ]);
            finish(command.arg(room.target()).arg(format!("tftp://{SERVER}/{name}")))
        };
        for block in ["8", "512", "1024", "1468", "65464"] {
            let name = if block == "8" { "fixup4.dat" } else { "9ffefdef/start4.elf" };
            let output = fetch(name, block);
            assert!(output.status.success(), "{block}: {output:?}");
            assert_eq!(room.fetched(), room.own(name.rsplit('/').next().expect("a name")), "{block}");
        }
        let output = fetch("cmdline.txt", "512");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            String::from_utf8(room.fetched()).expect("text"),
            "console=serial0,115200 console=tty1 root=/dev/nfs nfsroot=192.168.77.1:/image/sample/1,vers=3,tcp,nolock,\
             rsize=131072,nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400 ip=dhcp ro rootwait init=/.bramble/agent bramble.pin=\
             0707070707070707070707070707070707070707070707070707070707070707\n"
        );
        let output = fetch("recovery.elf", "512");
        assert_eq!(output.status.code(), Some(68), "curl's code for a file that is not there: {output:?}");
        assert_eq!(room.outcomes("start4.elf"), [FileOutcome::Complete; 4]);
        assert_eq!(room.outcomes("recovery.elf"), [FileOutcome::Missing]);
    });
}

/// Plain RFC 1350 with more blocks than 16 bits count, and a client that wants to write.
#[test]
fn tftp_hpa_past_the_last_block_number() {
    isolated(|| {
        let Some(tftp) = program("tftp_hpa_past_the_last_block_number", "tftp", "tftp-hpa") else { return };
        let room = Room::new();
        let big = room.folder.path().join("tree/boot/firmware/big.img");
        let mut file = fs_err::File::create(&big).expect("a file");
        for nth in 0..33_700_u32 {
            file.write_all(&[nth.to_be_bytes()[3]; 1000]).expect("written");
        }
        let mut command = room.pi.command(&tftp);
        command.args(["-m", "binary", &SERVER.to_string(), "-c", "get", "big.img"]).arg(room.target());
        let output = finish(&mut command);
        assert!(output.status.success(), "{output:?}");
        assert!(
            room.fetched() == fs_err::read(&big).expect("read"),
            "all 33,700,000 bytes, in 65,821 blocks"
        );

        let mut command = room.pi.command(&tftp);
        command.args(["-m", "binary", &SERVER.to_string(), "-c", "put"]).arg(room.target()).arg("new.img");
        let said = finish(&mut command).stdout;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("this server gives files and takes none"), "{said}");
        assert!(!big.with_file_name("new.img").exists());
    });
}

#[test]
fn busybox_and_atftp_with_options() {
    isolated(|| {
        let room = Room::new();
        if let Some(busybox) = program("busybox_and_atftp_with_options", "busybox", "busybox") {
            let mut command = room.pi.command(busybox);
            command
                .args(["tftp", "-g", "-b", "1468", "-r", "start.elf", "-l"])
                .arg(room.target())
                .arg(SERVER.to_string());
            let output = finish(&mut command);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(room.fetched(), room.own("start.elf"));
        }
        if let Some(atftp) = program("busybox_and_atftp_with_options", "atftp", "atftp") {
            for window in ["1", "4", "64"] {
                let _ = std::fs::remove_file(room.target());
                let mut command = room.pi.command(&atftp);
                command
                    .arg("--option")
                    .arg(format!("windowsize {window}"))
                    .args(["--option", "blksize 1468"]);
                command.args(["--option", "tsize", "--get", "--remote-file", "start.elf", "--local-file"]);
                let output = finish(command.arg(room.target()).arg(SERVER.to_string()));
                assert!(output.status.success(), "{window}: {output:?}");
                assert_eq!(room.fetched(), room.own("start.elf"), "windows of {window}");
            }
        }
    });
}

/// A client made by hand: one socket, as a boot ROM has it.
struct Rom {
    socket: UdpSocket,
}

impl Rom {
    fn new(room: &Room) -> Self {
        let socket = room.pi.run(|| UdpSocket::bind((PI, 2070))).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        Self { socket }
    }

    fn ask(&self, name: &str, options: &[(&str, u64)]) {
        self.to((SERVER, 69).into(), &wire::read_request(name.as_bytes(), options));
    }

    fn to(&self, to: SocketAddr, packet: &[u8]) {
        self.socket.send_to(packet, to).expect("sent");
    }

    fn hear(&self) -> (Vec<u8>, SocketAddr) {
        let mut packet = vec![0; 2048];
        let (len, from) = self.socket.recv_from(&mut packet).expect("the server answers");
        packet.truncate(len);
        (packet, from)
    }

    /// Fetches a file in lock-step; its bytes.
    fn fetch(&self, name: &str) -> Vec<u8> {
        self.ask(name, &[("tsize", 0), ("blksize", 1468)]);
        let (mut bytes, mut next) = (Vec::new(), 1u16);
        loop {
            let (packet, from) = self.hear();
            match wire::parse(&packet).expect("a packet") {
                Packet::OptionAck(_) => self.to(from, &wire::ack(0)),
                Packet::Data { block, bytes: data } if block == next => {
                    bytes.extend(data);
                    self.to(from, &wire::ack(next));
                    next += 1;
                    if data.len() < 1468 {
                        return bytes;
                    }
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// The ROM asks for a file only to see whether it is there, ends that with an ERROR, and at once asks for the next from
/// the same port. A server that misses the ERROR leaves it waiting there.
#[test]
fn early_terminate_and_the_next_file_from_the_same_port() {
    isolated(|| {
        let room = Room::new();
        let rom = Rom::new(&room);
        for _ in 0..20 {
            rom.ask("9ffefdef/start4.elf", &[("tsize", 0), ("blksize", 1468)]);
            let (packet, from) = rom.hear();
            assert_eq!(packet, b"\0\x06tsize\x002256800\0blksize\x001468\0");
            assert_eq!(from.ip(), SERVER, "the address that was asked");
            rom.to(from, &wire::error(wire::ErrorCode::UNDEFINED, "Early terminate"));
        }
        assert_eq!(rom.fetch("9ffefdef/fixup4.dat"), room.own("fixup4.dat"));
        assert_eq!(room.outcomes("start4.elf"), [FileOutcome::Probe; 20]);

        // An ERROR that was lost: the next request says as much.
        rom.ask("start4.elf", &[]);
        let (first, _) = rom.hear();
        assert_eq!(first.len(), 516);
        assert_eq!(rom.fetch("fixup.dat"), room.own("fixup.dat"));
        assert_eq!(room.outcomes("start4.elf"), [FileOutcome::Probe; 21]);
    });
}

#[test]
fn repeated_packets_are_answered_once() {
    isolated(|| {
        let room = Room::new();
        let rom = Rom::new(&room);
        for _ in 0..3 {
            rom.ask("fixup4.dat", &[]);
        }
        let (first, from) = rom.hear();
        assert_eq!(first.get(..4), Some(&wire::data_header(1)[..]));
        for _ in 0..3 {
            rom.to(from, &wire::ack(1));
        }
        let (second, _) = rom.hear();
        assert_eq!(second.get(..4), Some(&wire::data_header(2)[..]));
        rom.to(from, &wire::ack(2));
        let (third, _) = rom.hear();
        assert_eq!(third.get(..4), Some(&wire::data_header(3)[..]), "neither block was sent twice");
    });
}

#[test]
fn who_gets_nothing_is_told_at_once() {
    isolated(|| {
        let room = Room::new();
        let rom = Rom::new(&room);
        let refusals: [(&[u8], &[u8]); 4] = [
            (b"\0\x01overlays/../../../etc/shadow\0octet\0", b"\0\x05\0\x01`overlays/../../../etc/shadow` cannot be the name of a boot file: the name leads upwards with `..`\0"),
            (b"\0\x01\xff\xfe\0octet\0", "\0\x05\0\x01`\u{fffd}\u{fffd}` cannot be the name of a boot file: the name is not UTF-8 text\0".as_bytes()),
            (b"\0\x01recovery.elf\0octet\0\0", b"\0\x05\0\x01image `sample` version 1 has no boot file `recovery.elf`\0"),
            (b"\0\x01start.elf\0mail\0", b"\0\x05\0\x04only mode octet is spoken here\0"),
        ];
        for (request, refusal) in refusals {
            rom.to((SERVER, 69).into(), request);
            assert_eq!(String::from_utf8_lossy(&rom.hear().0), String::from_utf8_lossy(refusal));
        }
        // Nonsense is not answered, and does no harm.
        for packet in [&b""[..], b"\0", b"\0\x01", b"\0\x03\0\x01data", b"\0\x09", &[0xff; 600]] {
            rom.to((SERVER, 69).into(), packet);
        }
        assert_eq!(rom.fetch("fixup4.dat"), room.own("fixup4.dat"));

        room.pi.address("eth0", Ipv4Addr::new(192, 168, 77, 51), PREFIX).expect("an address");
        let stranger =
            room.pi.run(|| UdpSocket::bind((Ipv4Addr::new(192, 168, 77, 51), 0))).expect("a socket");
        let stranger = Rom { socket: stranger };
        stranger.socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stranger.ask("start4.elf", &[]);
        assert_eq!(stranger.hear().0, b"\0\x05\0\x01this address was given to no client\0");
    });
}

/// A block must fit a frame: behind PPPoE or a VLAN on a small link it is smaller than what the client asks for.
#[test]
fn blocks_fit_the_way_to_the_client() {
    isolated(|| {
        let room = Room::new();
        let rom = Rom::new(&room);
        for (mtu, block) in [("1500", 1468), ("1492", 1460), ("1000", 968)] {
            let mut command = room.server.command("ip");
            assert!(finish(command.args(["link", "set", "br-lan", "mtu", mtu])).status.success());
            rom.ask("start4.elf", &[("blksize", 8192)]);
            let (packet, from) = rom.hear();
            let Ok(Packet::OptionAck(options)) = wire::parse(&packet) else { panic!("{packet:?}") };
            assert_eq!(options.number("blksize"), Some(block), "MTU {mtu}");
            rom.to(from, &wire::ack(0));
            assert_eq!(rom.hear().0.len(), usize::try_from(block).expect("small") + 4);
            rom.to(from, &wire::error(wire::ErrorCode::UNDEFINED, "enough"));
        }
    });
}

/// A client that vanishes from many transfers does not shut itself out.
#[test]
fn what_a_cut_off_boot_left_makes_room() {
    isolated(|| {
        let room = Room::new();
        let left: Vec<Rom> = (0..20)
            .map(|_| {
                let socket = room.pi.run(|| UdpSocket::bind((PI, 0))).expect("a socket");
                socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
                let rom = Rom { socket };
                rom.ask("start4.elf", &[]);
                rom.hear();
                rom
            })
            .collect();
        assert_eq!(Rom::new(&room).fetch("fixup4.dat"), room.own("fixup4.dat"));
        // Eight at once, the oldest go; one file that breaks off again and again is one line.
        assert_eq!(room.outcomes("start4.elf"), [FileOutcome::Silent]);
        drop(left);
    });
}

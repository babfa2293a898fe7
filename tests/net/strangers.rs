//! A home from everywhere it must not be reached from: machines that are no clients, other clients, a machine that took the
//! client's address, and programs of other people on the client itself; with any uid, from any port, with handles that are
//! right, guessed, or from before.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use bramble::proto::agent::tunnel::Key;
use bramble::proto::mount;
use bramble::proto::nfs3::args::Entry;
use bramble::proto::nfs3::{self, Args, Procedure};
use bramble::proto::rpc::{Call, Credential, reply};
use bramble::proto::xdr::{Reader, Writer};
use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::sim::pi::Options;
use bramble::sim::pi::channel::Channel;
use bramble::sim::pi::root::Root;
use bramble::sim::pi::rpc::{Tunnel, tcp_from_privileged_port};
use bramble::sim::pi::seat::FILE;
use bramble::sys::ethernet::Ethernet;
use bramble::types::{MacAddr, Uid};

use crate::agents::{pupils, secret, user};
use crate::classroom::{boot, classroom, in_the_clear};
use crate::harness::isolated;

const NFS: u16 = 2049;

/// The first account's uid.
const PUPIL: u32 = 10_000;

/// Where calls come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    OfRoot,
    OfAnybody,
}

/// One call on a connection of its own: the first word of the result, which is a status; `None` without a result.
fn status(
    machine: &Machine,
    ip: Ipv4Addr,
    port: Port,
    uid: u32,
    call: (u32, u32, u32, &[u8]),
) -> Option<u32> {
    let (program, version, procedure, args) = call;
    let connect = || match port {
        Port::OfRoot => tcp_from_privileged_port(ip, SocketAddrV4::new(SERVER, NFS)),
        Port::OfAnybody => TcpStream::connect(SocketAddrV4::new(SERVER, NFS)),
    };
    let mut stream = machine.run(connect).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut out = Vec::new();
    let start = reply::begin(&mut out);
    let credential = Credential::Sys { uid, gid: uid, gids: heapless::Vec::new() };
    let header = Call { xid: 7, program, version, procedure, credential, args: Reader::new(&[]) };
    header.encode_header(&mut out);
    out.extend(args);
    reply::finish(&mut out, start, 0);
    stream.write_all(&out).ok()?;
    let mut mark = [0; 4];
    stream.read_exact(&mut mark).ok()?;
    let mut record = vec![0; usize::try_from(u32::from_be_bytes(mark) & 0x7fff_ffff).expect("fits")];
    stream.read_exact(&mut record).ok()?;
    match reply::parse(&record) {
        Ok((7, reply::Header::Success, mut result)) => result.u32().ok(),
        _ => None,
    }
}

/// Whether a connection to the server's NFS comes about at all.
pub fn reaches_nfs(machine: &Machine) -> bool {
    let server = SocketAddrV4::new(SERVER, NFS).into();
    machine.run(|| TcpStream::connect_timeout(&server, Duration::from_secs(3))).is_ok()
}

/// Everything that would be of use to a thief of the file and the folder with these handles; what was got.
fn loot(machine: &Machine, ip: Ipv4Addr, port: Port, uid: u32, [file, folder]: [&[u8]; 2]) -> Vec<String> {
    let mut got = Vec::new();
    for path in ["/home/pupil00", "/home", "/home/pupil00/..", "/share/materials", "/"] {
        let mut args = Vec::new();
        Writer(&mut args).opaque(path.as_bytes());
        if status(machine, ip, port, uid, (mount::PROGRAM, mount::VERSION, 1, &args)) == Some(0) {
            got.push(format!("a mount of {path}"));
        }
    }
    let entry = Entry { directory: folder, name: FILE.as_bytes() };
    for asked in [
        Args::GetAttr(file),
        Args::GetAttr(folder),
        Args::Access { object: file, wanted: 0x3f },
        Args::Read { file, offset: 0, count: 100 },
        Args::Lookup(entry),
        Args::ReadDirPlus { directory: folder, cookie: 0, verifier: [0; 8], names: 512, count: 4096 },
        Args::Remove(entry),
        Args::FsStat(folder),
        Args::FsInfo(folder),
    ] {
        let procedure: Procedure = asked.procedure();
        let mut args = Vec::new();
        asked.encode(&mut args);
        let call = (nfs3::PROGRAM, nfs3::VERSION, procedure as u32, args.as_slice());
        if status(machine, ip, port, uid, call) == Some(0) {
            got.push(format!("{procedure:?}"));
        }
    }
    got
}

#[test]
fn nobody_else_reaches_a_home() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        in_the_clear(&mut room);
        pupils(&room, 2);
        let mut ups = boot(&mut room, Options { skip_walk: true });
        let (owner_ip, other_ip) = (ups[0].given.address, ups[1].given.address);
        let shadow = ups[0].root.open("etc/shadow").expect("the image has one").handle().to_vec();
        let mut seated = room.log_in(&[(0, &ups[0])], |n| (user(n), secret()));
        let mut seated = seated.remove(0).unwrap_or_else(|error| panic!("{error}"));
        let file = seated.home.open(FILE).expect("written").handle().to_vec();
        let folder = seated.home.open("").expect("the top").handle().to_vec();
        let real = [file.as_slice(), folder.as_slice()];

        let (owner, other) = (room.machine(0).expect("one").clone(), room.machine(1).expect("two").clone());
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let laptop = lab.client(&lan, MacAddr::new([0x02, 0xba, 0xd0, 0, 0, 1])).expect("a laptop");
        let laptop_ip = Ipv4Addr::new(192, 168, 77, 9);
        laptop.address("eth0", laptop_ip, PREFIX).expect("an address");

        // The owner's kernel gets all of it, so the questions are right ones.
        let got = loot(&owner, owner_ip, Port::OfRoot, PUPIL, [&file, &shadow]);
        assert!(got.contains(&"a mount of /home/pupil00".to_owned()), "{got:?}");
        for wanted in ["GetAttr", "Access", "Read"] {
            assert!(got.iter().any(|one| one == wanted), "{wanted}: {got:?}");
        }

        for (machine, ip, what) in [(&laptop, laptop_ip, "a laptop"), (&other, other_ip, "another client")] {
            for port in [Port::OfRoot, Port::OfAnybody] {
                for uid in [0, PUPIL, PUPIL + 1, 65_534] {
                    assert_eq!(
                        loot(machine, ip, port, uid, real),
                        Vec::<String>::new(),
                        "{what} {port:?} {uid}"
                    );
                }
            }
        }
        // A laptop reads no image either, whoever it says it is.
        for uid in [0, 42] {
            assert_eq!(loot(&laptop, laptop_ip, Port::OfRoot, uid, [&shadow, &shadow]), Vec::<String>::new());
        }
        // On the client itself: other people's programs, which cannot have root's ports and may say anything; and root's
        // kernel on behalf of another person.
        for uid in [0, PUPIL, PUPIL + 1] {
            assert_eq!(loot(&owner, owner_ip, Port::OfAnybody, uid, real), Vec::<String>::new(), "{uid}");
        }
        let got = loot(&owner, owner_ip, Port::OfRoot, PUPIL + 1, real);
        assert_eq!(got, ["a mount of /home/pupil00"], "which alone shows nothing");

        // Handles that were guessed: the right one with any one bit turned.
        for bit in (0..file.len() * 8).step_by(5) {
            let mut guessed = file.clone();
            guessed[bit / 8] ^= 1 << (bit % 8);
            let mut args = Vec::new();
            Args::GetAttr(&guessed).encode(&mut args);
            let call = (nfs3::PROGRAM, nfs3::VERSION, Procedure::GetAttr as u32, args.as_slice());
            let answer = status(&owner, owner_ip, Port::OfRoot, PUPIL, call);
            assert!(answer.is_none_or(|status| status != 0), "bit {bit}");
        }
        assert_eq!(seated.home.file(FILE).expect("still there"), b"pupil00 was at seat-01\n");

        // The client is unplugged, and a laptop takes its address.
        let down = owner.command("ip").args(["link", "set", "eth0", "down"]).status().expect("ip runs");
        assert!(down.success());
        laptop.netlink(|netlink| netlink.remove_address("eth0", laptop_ip, PREFIX)).expect("removed");
        laptop.address("eth0", owner_ip, PREFIX).expect("an address");
        assert!(!reaches_nfs(&laptop), "what is for the client goes to the client's own machine");

        // Handles from before the log-out.
        let up = owner.command("ip").args(["link", "set", "eth0", "up"]).status().expect("ip runs");
        assert!(up.success());
        let removed = laptop.command("ip").args(["link", "set", "eth0", "down"]).status().expect("ip runs");
        assert!(removed.success());
        seated.channel.log_out(seated.session).expect("logged out");
        assert_eq!(loot(&owner, owner_ip, Port::OfRoot, PUPIL, real), Vec::<String>::new(), "replayed");
    });
}

/// All that a machine that hears the whole segment could keep of it.
fn heard(ear: &Ethernet) -> Vec<u8> {
    let (mut all, mut frame) = (Vec::new(), vec![0; 70_000]);
    while let Some(length) = ear.receive(&mut frame, Duration::from_millis(300)).expect("it is up") {
        all.extend_from_slice(&frame[..length]);
    }
    all
}

#[test]
fn who_has_a_clients_very_addresses_and_hears_all_of_it_gets_none_of_its_peoples_files() {
    isolated(|| {
        let (_folder, mut room) = classroom(1);
        pupils(&room, 2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let (up, ip) = (&ups[0], ups[0].given.address);
        let server = room.server.machine().clone();
        let ear = server.run(|| Ethernet::open("br-lan")).expect("a socket");
        let seated = room.log_in(&[(0, up)], |n| (user(n), secret())).remove(0);
        let mut seated = seated.unwrap_or_else(|error| panic!("{error}"));
        let file = seated.home.open(FILE).expect("written").handle().to_vec();
        let folder = seated.home.open("").expect("the top").handle().to_vec();
        let said = heard(&ear);
        let has = |wanted: &[u8]| said.windows(wanted.len()).any(|window| window == wanted);
        assert!(said.len() > 64 * 1024, "it has heard how a letter of that size was written");
        for secret in [b"pupil00 was at".as_slice(), FILE.as_bytes(), &file, b"/home/pupil00"] {
            assert!(!has(secret), "{}", String::from_utf8_lossy(secret));
        }

        // The client's own machine is the best copy of it that there can be: hardware address, IP address, root's ports. It has
        // even got the handles.
        let copy = room.machine(0).expect("one").clone();
        for uid in [0, PUPIL] {
            assert_eq!(loot(&copy, ip, Port::OfRoot, uid, [&file, &folder]), Vec::<String>::new(), "{uid}");
        }
        // A tunnel with a key that is another person's, or made up, is as good as none.
        let hers = seated.channel.tunnel.expect("a key");
        seated.channel.log_in(&user(1), &secret()).expect("logged in");
        let theirs = seated.channel.tunnel.expect("another key");
        for (uid, key) in [(PUPIL, theirs), (PUPIL, Key(hers.0 ^ 1)), (PUPIL + 1, hers)] {
            let tunnel = Some(Tunnel { pin: up.pin, uid: Uid(uid), key });
            let mounted = copy.run(|| {
                Root::mount_through(copy.ns(), ip, SERVER, "/home/pupil00", tunnel)
                    .map_err(std::io::Error::other)
            });
            assert!(mounted.is_err(), "{uid}");
        }

        // The key is of use for as long as the session, and the daemon's restarts do not count.
        room.server.kill().expect("killed");
        room.server.again().expect("started again");
        assert_eq!(seated.home.file(FILE).expect("still there"), b"pupil00 was at seat-01\n");
        let again = copy.run(|| {
            Channel::open(ip, SERVER, up.pin, "simulated", &[seated.session]).map_err(std::io::Error::other)
        });
        again.expect("welcome").log_out(seated.session).expect("logged out");
        assert!(seated.home.file(FILE).is_err(), "after the log-out");
    });
}

//! Whole conversations over loopback, with a client of a few lines.
//!
//! No test waits for time to pass: where the disk must be slow, the turns at it are taken away; where a peer must be silent for
//! long, the clock is tokio's paused one.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::*;
use crate::proto::nfs3::args::Entry;
use crate::proto::nfs3::reply::client as parse;
use crate::proto::nfs3::{self, Args, Attributes, Handle};
use crate::proto::rpc::{Call, Credential, reply};
use crate::proto::xdr::{Reader, Writer};
use crate::proto::{mount, portmap};
use crate::service::exports::house::{House, MAC, image};
use crate::service::exports::tree::Handles;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A server on loopback, ended with this value.
struct Running {
    shared: Arc<Shared>,
    events: Arc<Events>,
    clients: Arc<crate::service::clients::Clients>,
    dir: tempfile::TempDir,
    nfs: SocketAddr,
    portmap: SocketAddr,
    portmap_udp: SocketAddr,
    _stop: watch::Sender<bool>,
    _tasks: JoinSet<Result<(), NfsError>>,
}

/// `privileged`: whether calls must come from privileged ports, which the tests' own are not.
fn start(privileged: bool) -> Running {
    let House { dir, clients, images: _, exports } = House::new(Handles::Best);
    clients.bound(HERE, MAC, "lan");
    let events = Arc::new(Events::default());
    let mut shared = Shared::new(Arc::new(exports), Arc::clone(&events));
    let unprivileged = if privileged { UNPRIVILEGED } else { u16::MAX };
    Arc::get_mut(&mut shared).expect("not shared yet").unprivileged = unprivileged;
    let (nfs, portmap) = (Port::bind(HERE, 0).expect("a port"), Port::bind(HERE, 0).expect("a port"));
    let addresses = (nfs.address().expect("bound"), portmap.address().expect("bound"));
    let portmap_udp = portmap.udp.local_addr().expect("bound");
    let (stop, told) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(run(Arc::clone(&shared), vec![nfs], told.clone()));
    tasks.spawn(super::super::portmap::run(Arc::clone(&shared), vec![portmap], told));
    Running {
        shared,
        events,
        clients,
        dir,
        nfs: addresses.0,
        portmap: addresses.1,
        portmap_udp,
        _stop: stop,
        _tasks: tasks,
    }
}

fn call(out: &mut Vec<u8>, xid: u32, program: (u32, u32, u32), args: impl FnOnce(&mut Vec<u8>)) {
    let start = reply::begin(out);
    let credential = Credential::Sys { uid: 0, gid: 0, gids: heapless::Vec::new() };
    let (program, version, procedure) = program;
    Call { xid, program, version, procedure, credential, args: Reader::new(&[]) }.encode_header(out);
    args(out);
    reply::finish(out, start, 0);
}

fn nfs_call(out: &mut Vec<u8>, xid: u32, args: &Args<'_>) {
    call(out, xid, (nfs3::PROGRAM, 3, args.procedure() as u32), |out| args.encode(out));
}

struct Peer(TcpStream);

impl Peer {
    async fn connect(to: SocketAddr) -> Self {
        Self(TcpStream::connect(to).await.expect("connected"))
    }

    async fn reply(&mut self) -> (u32, Vec<u8>) {
        let mark = self.0.read_u32().await.expect("a reply");
        let mut record = vec![0; (mark & 0x7fff_ffff) as usize];
        self.0.read_exact(&mut record).await.expect("a whole reply");
        (u32::from_be_bytes(record[..4].try_into().expect("four bytes")), record)
    }

    async fn ask(&mut self, args: &Args<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        nfs_call(&mut out, 7, args);
        self.0.write_all(&out).await.expect("sent");
        self.reply().await.1
    }

    async fn mount(&mut self) -> Handle {
        self.mount_at(b"/image/trixie/1").await
    }

    async fn mount_at(&mut self, path: &[u8]) -> Handle {
        let mut out = Vec::new();
        call(&mut out, 7, (mount::PROGRAM, 3, 1), |out| Writer(out).opaque(path));
        self.0.write_all(&out).await.expect("sent");
        let (_, record) = self.reply().await;
        let mut r = results(&record);
        assert_eq!(r.u32(), Ok(0), "mounted");
        Handle::from_slice(r.opaque(64).expect("a handle")).expect("short")
    }

    async fn lookup(&mut self, directory: &Handle, name: &[u8]) -> Handle {
        let record = self.ask(&Args::Lookup(Entry { directory, name })).await;
        parse::lookup(&mut results(&record)).expect("a reply").expect("found").0
    }

    async fn getattr(&mut self, object: &Handle) -> Result<Attributes, u32> {
        let record = self.ask(&Args::GetAttr(object)).await;
        parse::getattr(&mut results(&record)).expect("a reply")
    }

    /// Whether the server has hung up.
    async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}

fn results(record: &[u8]) -> Reader<'_> {
    let (_, header, results) = reply::parse(record).expect("a reply");
    assert_eq!(header, reply::Header::Success);
    results
}

fn listing(directory: &Handle) -> Args<'_> {
    Args::ReadDir { directory, cookie: 0, verifier: [0; 8], count: 4096 }
}

#[tokio::test]
async fn a_client_mounts_and_reads() {
    let running = start(false);
    let content: Vec<u8> = (0..400_003_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    std::fs::write(running.dir.path().join("1/big"), &content).expect("written");
    let mut peer = Peer::connect(running.nfs).await;
    let root = peer.mount().await;
    let big = peer.lookup(&root, b"big").await;
    // Many calls in one piece, some of them answered from the page cache, some from memory, one from the pool.
    let mut out = Vec::new();
    let reads = [(0, 131_072), (131_072, 65_537), (200_000, 3), (262_144, 131_072), (393_216, 131_072)];
    for (xid, (offset, count)) in (1..).zip(reads) {
        nfs_call(&mut out, xid, &Args::Read { file: &big, offset, count });
        nfs_call(&mut out, xid + 100, &Args::GetAttr(&big));
    }
    nfs_call(&mut out, 50, &listing(&root));
    peer.0.write_all(&out).await.expect("sent");
    for _ in 0..=reads.len() * 2 {
        let (xid, record) = peer.reply().await;
        let mut r = results(&record);
        match xid {
            50 => assert!(parse::readdir(&mut r, false).expect("a reply").expect("listed").end),
            1..50 => {
                let (offset, count) = reads[xid as usize - 1];
                let (data, end) = parse::read(&mut r).expect("a reply").expect("read");
                let from = usize::try_from(offset).expect("small");
                let to = content.len().min(from + count as usize);
                assert_eq!(data, &content[from..to], "{count} at {offset}");
                assert_eq!(end, to == content.len());
            }
            _ => assert_eq!(parse::getattr(&mut r).expect("a reply").expect("there").size, 400_003),
        }
        assert!(r.rest().is_empty(), "the record ends where its results end");
    }
    assert!(running.shared.sent_to(HERE) > 334_471);
    let what = running.events.timeline(MAC).into_iter().map(|event| event.what).next_back();
    assert_eq!(what, Some(crate::service::events::Happening::Mount { image: image(1) }));
}

#[tokio::test]
async fn a_slow_disk_stalls_only_those_who_wait_for_it() {
    let running = start(false);
    let mut slow = Peer::connect(running.nfs).await;
    let root = slow.mount().await;
    let passwd = slow.lookup(&root, b"etc").await;
    // The disk is busy for as long as we hold all turns at it.
    let turns = u32::try_from(limits::NFS_DISK).expect("small");
    let busy = Arc::clone(&running.shared.disk).acquire_many_owned(turns).await.expect("open");
    let mut out = Vec::new();
    nfs_call(&mut out, 1, &listing(&root));
    nfs_call(&mut out, 2, &Args::GetAttr(&passwd));
    slow.0.write_all(&out).await.expect("sent");
    assert_eq!(slow.reply().await.0, 2, "a later call of the same client is not stalled");
    let mut other = Peer::connect(running.nfs).await;
    for _ in 0..100 {
        assert!(other.getattr(&passwd).await.is_ok(), "another client is not stalled");
    }
    // Even a client whose calls all wait for the disk stalls only itself.
    let mut greedy = Peer::connect(running.nfs).await;
    let mut out = Vec::new();
    for xid in 0..100 {
        nfs_call(&mut out, xid, &listing(&root));
    }
    greedy.0.write_all(&out).await.expect("sent");
    assert!(other.getattr(&passwd).await.is_ok());
    drop(busy);
    assert_eq!(slow.reply().await.0, 1, "and what waited is answered in the end");
    let mut answered: Vec<u32> = Vec::new();
    for _ in 0..100 {
        answered.push(greedy.reply().await.0);
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..100).collect::<Vec<_>>(), "each once");
}

#[tokio::test]
async fn a_cold_file_is_read_by_the_pool() {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let running = start(false);
    let path = running.dir.path().join("1/cold");
    std::fs::write(&path, vec![7; 1 << 20]).expect("written");
    let file = std::fs::File::open(&path).expect("opened");
    file.sync_all().expect("on the disk");
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("advice taken");
    if crate::sys::pages::are_cached(&file, 0, 1 << 20) {
        // A file system in memory: nothing on it is ever cold.
        let magic = nix::sys::statfs::fstatfs(&file).expect("asked").filesystem_type();
        return assert_eq!(magic, nix::sys::statfs::TMPFS_MAGIC);
    }
    let mut peer = Peer::connect(running.nfs).await;
    let root = peer.mount().await;
    let cold = peer.lookup(&root, b"cold").await;
    let turns = u32::try_from(limits::NFS_DISK).expect("small");
    let busy = Arc::clone(&running.shared.disk).acquire_many_owned(turns).await.expect("open");
    let mut out = Vec::new();
    nfs_call(&mut out, 1, &Args::Read { file: &cold, offset: 0, count: 131_072 });
    nfs_call(&mut out, 2, &Args::GetAttr(&root));
    peer.0.write_all(&out).await.expect("sent");
    assert_eq!(peer.reply().await.0, 2, "the read waits for the disk, the rest does not wait for the read");
    drop(busy);
    let (xid, record) = peer.reply().await;
    let (data, end) = parse::read(&mut results(&record)).expect("a reply").expect("read");
    assert_eq!((xid, data, end), (1, &vec![7; 131_072][..], false));
}

#[tokio::test]
async fn calls_from_unprivileged_ports_are_refused() {
    let running = start(true);
    let mut peer = Peer::connect(running.nfs).await;
    let mut out = Vec::new();
    call(&mut out, 1, (nfs3::PROGRAM, 3, 0), |_| ());
    call(&mut out, 2, (nfs3::PROGRAM, 3, 1), |out| Args::GetAttr(&[1; 40]).encode(out));
    call(&mut out, 3, (mount::PROGRAM, 3, 1), |out| Writer(out).opaque(b"/image/trixie/1"));
    peer.0.write_all(&out).await.expect("sent");
    let (_, record) = peer.reply().await;
    assert!(results(&record).rest().is_empty(), "whether we are there is no secret");
    for _ in 0..2 {
        let (_, record) = peer.reply().await;
        let mut r = Reader::new(&record[4..]);
        // REPLY, MSG_DENIED, AUTH_ERROR, AUTH_TOOWEAK
        assert_eq!([r.u32(), r.u32(), r.u32(), r.u32()], [Ok(1), Ok(1), Ok(1), Ok(5)]);
    }
    assert!(running.shared.warned_of_port.load(Ordering::Relaxed));
}

#[tokio::test]
async fn what_we_do_not_speak_is_said() {
    let running = start(false);
    let mut peer = Peer::connect(running.nfs).await;
    #[rustfmt::skip]
    let rows = [
        ("another program",          (100_021, 4, 0), vec![1]),
        ("the portmapper elsewhere", (100_000, 2, 0), vec![1]),
        ("NFS version 4",            (100_003, 4, 0), vec![2, 3, 3]),
        ("MOUNT version 1",          (100_005, 1, 0), vec![2, 3, 3]),
        ("a 23rd procedure",         (100_003, 3, 22), vec![3]),
        ("GETATTR of nothing",       (100_003, 3, 1), vec![4]),
    ];
    for (shows, program, expected) in rows {
        let mut out = Vec::new();
        call(&mut out, 9, program, |_| ());
        peer.0.write_all(&out).await.expect("sent");
        let (_, record) = peer.reply().await;
        let words: Vec<u32> =
            record[20..].chunks(4).map(|w| u32::from_be_bytes(w.try_into().unwrap())).collect();
        assert_eq!(words, expected, "{shows}");
    }
    // Not RPC at all.
    peer.0.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    assert!(peer.is_closed().await);
}

/// An overlay on the client asks before anybody but root may start a program; without an answer nobody may.
#[tokio::test]
async fn there_are_no_access_control_lists() {
    let running = start(false);
    let mut peer = Peer::connect(running.nfs).await;
    let root = peer.mount().await;
    let attributes = peer.getattr(&root).await.expect("attributes");
    let ask = |handle: &[u8]| {
        let mut out = Vec::new();
        call(&mut out, 9, (100_227, 3, 1), |out| {
            let mut w = Writer(out);
            w.opaque(handle);
            w.u32(3);
        });
        out
    };
    peer.0.write_all(&ask(&root)).await.expect("sent");
    let (_, record) = peer.reply().await;
    let mut r = results(&record);
    assert_eq!((r.u32(), r.bool()), (Ok(0), Ok(true)), "success, with attributes");
    assert_eq!(Attributes::parse(&mut r), Ok(attributes));
    assert_eq!([r.u32(), r.u32(), r.u32(), r.u32(), r.u32()], [3, 0, 0, 0, 0].map(Ok));

    peer.0.write_all(&ask(b"not a handle")).await.expect("sent");
    let (_, record) = peer.reply().await;
    assert_eq!(results(&record).rest().len(), 8, "a failure, without attributes");
}

#[tokio::test]
async fn the_portmapper_and_mount_answer_datagrams() {
    let running = start(false);
    let socket = UdpSocket::bind((HERE, 0)).await.expect("a socket");
    let mut out = Vec::new();
    let mut buffer = [0; 2048];
    let get_port = |out: &mut Vec<u8>| [100_005, 3, 17, 0].iter().for_each(|word| Writer(out).u32(*word));
    call(&mut out, 5, (portmap::PROGRAM, 2, 3), get_port);
    socket.send_to(&out[4..], running.portmap_udp).await.expect("sent");
    let (length, from) = socket.recv_from(&mut buffer).await.expect("a reply");
    assert_eq!((from, results(&buffer[..length]).u32()), (running.portmap_udp, Ok(2049)));
    // Noise gets no answer; the next call does.
    socket.send_to(b"noise", running.portmap_udp).await.expect("sent");
    out.clear();
    call(&mut out, 6, (portmap::PROGRAM, 2, 0), |_| ());
    socket.send_to(&out[4..], running.portmap_udp).await.expect("sent");
    let (length, _) = socket.recv_from(&mut buffer).await.expect("a reply");
    assert!(results(&buffer[..length]).rest().is_empty());

    let mut peer = Peer::connect(running.portmap).await;
    peer.0
        .write_all(&{
            let mut tcp = Vec::new();
            call(&mut tcp, 5, (portmap::PROGRAM, 2, 3), get_port);
            tcp
        })
        .await
        .expect("sent");
    assert_eq!(results(&peer.reply().await.1).u32(), Ok(2049));
}

#[tokio::test]
async fn a_reload_keeps_a_running_root() {
    let running = start(false);
    let mut peer = Peer::connect(running.nfs).await;
    let root = peer.mount().await;
    assert!(peer.getattr(&root).await.is_ok());
    let generation = running.clients.generation();
    running.clients.unbound(HERE);
    assert_ne!(running.clients.generation(), generation);
    assert!(peer.getattr(&root).await.is_ok(), "the lease is gone, the Pi is not");
    running.clients.bound(HERE, MAC, "lan");
    assert!(peer.getattr(&root).await.is_ok());
    let stranger = [0xdc, 0xa6, 0x32, 9, 9, 9];
    running.clients.bound(HERE, MacAddr::new(stranger), "lan");
    assert_eq!(peer.getattr(&root).await, Err(13), "another client's");
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let running = start(false);
    let mut peers = Vec::new();
    for _ in 0..limits::NFS_CLIENT_CONNECTIONS {
        let mut peer = Peer::connect(running.nfs).await;
        peer.mount().await;
        peers.push(peer);
    }
    assert!(Peer::connect(running.nfs).await.is_closed().await, "one too many");
    peers.pop();
    // Its place is free as soon as the server has noticed.
    loop {
        let mut peer = Peer::connect(running.nfs).await;
        let mut out = Vec::new();
        call(&mut out, 1, (nfs3::PROGRAM, 3, 0), |_| ());
        if peer.0.write_all(&out).await.is_ok() && peer.0.read_u32().await.is_ok() {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_in_the_middle_is_cut_off() {
    let running = start(false);
    let mut peer = Peer::connect(running.nfs).await;
    peer.0.write_all(&[0x80, 0, 0, 40, 1, 2, 3]).await.expect("sent");
    assert!(peer.is_closed().await);
    // A client that is idle between calls is not.
    let mut peer = Peer::connect(running.nfs).await;
    let root = peer.mount().await;
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert!(peer.getattr(&root).await.is_ok());
    // A stranger that says nothing is.
    running.clients.unbound(HERE);
    assert!(Peer::connect(running.nfs).await.is_closed().await);
}

/// Grants a home to the client of these tests; the handle of its root.
async fn home(running: &Running, peer: &mut Peer) -> Handle {
    use crate::service::exports::grants::{Grant, Granted, Identity, Rights, WritableTree};
    use crate::service::exports::handle::Space;
    let root = running.dir.path().join("anna");
    std::fs::create_dir(&root).expect("made");
    if crate::sys::acting::can_act() {
        std::os::unix::fs::chown(&root, Some(10_001), Some(10_001)).expect("given");
    }
    let tree = WritableTree { space: Space::Home, id: 10_001, nonce: 7, root, path: "/home/anna".to_owned() };
    let identity = Identity { uid: 10_001, gid: 10_001, gids: vec![] };
    let granted = Granted { tree, identity, callers: 10_001, rights: Rights::ReadWrite, quota: None };
    running.shared.exports.grant(Grant { id: 1, ip: HERE, mac: MAC, encrypted: false, trees: vec![granted] });
    peer.mount_at(b"/home/anna").await
}

/// What a client that lost its connection sends again is not done again, and answered as it was.
#[tokio::test]
async fn what_changes_something_happens_once() {
    use crate::proto::nfs3::args::Create;
    use crate::proto::nfs3::types::SetAttributes;
    let running = start(false);
    let mut peer = Peer::connect(running.nfs).await;
    let root = home(&running, &mut peer).await;
    let at = Entry { directory: &root, name: b"file" };
    let mut calls = Vec::new();
    nfs_call(&mut calls, 40, &Args::Create { at, how: Create::Guarded(SetAttributes::default()) });
    peer.0.write_all(&calls).await.expect("sent");
    let made = peer.reply().await;
    let mut remove = Vec::new();
    nfs_call(&mut remove, 41, &Args::Remove(at));
    peer.0.write_all(&remove).await.expect("sent");
    let removed = peer.reply().await;
    assert_eq!(parse::changed(&mut results(&removed.1)).expect("a reply").map(|_| ()), Ok(()));
    drop(peer);
    let mut peer = Peer::connect(running.nfs).await;
    peer.0.write_all(&[calls, remove].concat()).await.expect("sent");
    let mut again = [peer.reply().await, peer.reply().await];
    again.sort();
    assert_eq!(again, [made, removed], "word for word");
    assert!(!running.dir.path().join("anna/file").exists(), "and it was not made anew");

    // While the first is still waiting for the disk, the second waits for it.
    let turns = u32::try_from(limits::NFS_DISK).expect("small");
    let busy = Arc::clone(&running.shared.disk).acquire_many_owned(turns).await.expect("open");
    let (mut mkdir, at) = (Vec::new(), Entry { directory: &root, name: b"folder" });
    nfs_call(&mut mkdir, 42, &Args::MkDir { at, with: SetAttributes::default() });
    let mut other = Peer::connect(running.nfs).await;
    for (peer, alive) in [(&mut peer, 1), (&mut other, 2)] {
        peer.0.write_all(&mkdir).await.expect("sent");
        let mut getattr = Vec::new();
        nfs_call(&mut getattr, alive, &Args::GetAttr(&root));
        peer.0.write_all(&getattr).await.expect("sent");
        assert_eq!(peer.reply().await.0, alive, "it has read the call before this one");
    }
    drop(busy);
    let (first, second) = (peer.reply().await, other.reply().await);
    assert!(parse::made(&mut results(&first.1)).expect("a reply").is_ok());
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_large_file_is_written_and_read_back() {
    use crate::proto::nfs3::args::{Create, Stable};
    use crate::proto::nfs3::types::SetAttributes;
    let running = start(false);
    let mut peer = Peer::connect(running.nfs).await;
    let root = home(&running, &mut peer).await;
    let at = Entry { directory: &root, name: b"file" };
    let record = peer.ask(&Args::Create { at, how: Create::Guarded(SetAttributes::default()) }).await;
    let (file, ..) = parse::made(&mut results(&record)).expect("a reply").expect("made");
    let content: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let (mut read, mut write) = peer.0.split();
    let pieces: Vec<_> = (0..).zip(content.chunks(limits::NFS_WRITE as usize)).collect();
    let send = async {
        for (nth, data) in &pieces {
            let mut out = Vec::new();
            let offset = u64::from(*nth) * u64::from(limits::NFS_WRITE);
            nfs_call(&mut out, *nth, &Args::Write { file: &file, offset, stable: Stable::Unstable, data });
            write.write_all(&out).await.expect("sent");
        }
    };
    let receive = async {
        for _ in &pieces {
            let mark = read.read_u32().await.expect("a reply");
            let mut record = vec![0; (mark & 0x7fff_ffff) as usize];
            read.read_exact(&mut record).await.expect("a whole reply");
            let written = parse::write(&mut results(&record)).expect("a reply").expect("written");
            assert_eq!(written.2, Stable::Unstable as u32);
        }
    };
    tokio::join!(send, receive);
    let record = peer.ask(&Args::Commit { file: &file, offset: 0, count: 0 }).await;
    assert!(parse::commit(&mut results(&record)).expect("a reply").is_ok());
    assert!(std::fs::read(running.dir.path().join("anna/file")).expect("there") == content);
}

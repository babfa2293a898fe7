//! A home over NFS: what does writing cost the router, against nfs-ganesha and against OpenSSH's sftp mounted with sshfs?
//!
//! `cargo bench --bench homes [ROUNDS] [small]`, as root. Needs Debian's nfs-ganesha-vfs, rpcbind, openssh-server and sshfs.
//! All write to the same disk; the small files also into memory, where nothing waits for a disk. With `small` there is nothing
//! else. The two NFS servers get the same calls; sshfs is used as a program uses it, since its protocol and its client are one.
//! `encrypted` is what Bramble does by default, calls in TLS as an agent carries them; sshfs is encrypted too, and the rest is not.
//! How fast the disk syncs is measured in the same round, by a program that makes the same files on it without any network:
//! one program over NFS cannot be faster than that. Small files are on the disk when their close returns over NFS (the client asks for it), and in
//! the server's memory over sshfs, which has no way to ask. What the NFS clients' own kernel would cost is left out, what
//! sshfs and ssh cost is in its MB/s and not in its CPU seconds, which are the server's.
//!
//! `cargo bench --bench homes serve ROOT UID GUEST` only serves a folder, to the machine with the address GUEST.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench reads the clock and ends when its load fails"
)]

mod rpc;
mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::config::load::{Source, Sources, from_sources};
use bramble::proto::agent::channel::{Inbox, PORT, Pin, ToAgent, ToServer, encode};
use bramble::proto::agent::tunnel::Key;
use bramble::proto::nfs3::args::{Args, Create, Entry, Stable};
use bramble::proto::nfs3::reply::client as parse;
use bramble::proto::nfs3::types::{Handle, SetAttributes};
use bramble::proto::nfs3::{self, Procedure};
use bramble::proto::rpc::reply;
use bramble::serve::{agent, nfs};
use bramble::service::clients::Clients;
use bramble::service::events::Events;
use bramble::service::exports::grants::{Grant, Granted, Identity, Rights, WritableTree};
use bramble::service::exports::handle::Space;
use bramble::service::exports::tree::Handles;
use bramble::service::exports::{Exports, virtuals};
use bramble::service::images::Images;
use bramble::service::keys::KeyPair;
use bramble::sim::net::{Lab, Machine, SERVER, isolate};
use bramble::sim::pi::channel;
use bramble::types::{MacAddr, Uid};
use rpc::{Connection, mount_root};
use support::{Figures, Server, listens, program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);
const CLIENT_MAC: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const UID: u32 = 10_001;
const BIG: u64 = 256 << 20;
const WRITE: u32 = 64 << 10;
const READ: u32 = 128 << 10;
const FILES: u32 = 1000;

/// Nobody checks it here.
const KEY: u128 = 7;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [serve, root, uid, guest, more @ ..] = &args[..]
        && serve == "serve"
    {
        let (uid, guest) = (uid.parse().expect("a uid"), guest.parse().expect("an address"));
        return serve_folder(root.into(), uid, guest, more.first().map(Path::new));
    }
    let rounds: usize = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(3);
    let big = !args.iter().any(|arg| arg == "small");
    isolate().expect("namespaces of our own");
    hide_run();
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-homes");
    let _ = fs::remove_dir_all(&work);
    let home = work.join("home");
    let memory = work.join("memory");
    for folder in [&home, &memory] {
        fs::create_dir_all(folder).expect("a folder");
    }
    nix::mount::mount(Some("home"), &memory, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)
        .expect("memory");
    for folder in [&home, &memory] {
        chown(folder, Some(UID), Some(UID)).expect("given");
    }
    let (mut lab, lan, server) = Lab::with_server("eth0").expect("a laboratory");
    let client = lab.client(&lan, CLIENT_MAC).expect("a client");
    client.address("eth0", CLIENT, 24).expect("an address");
    let mut figures = Figures::default();
    for _ in 0..rounds {
        for (home, on) in [(&home, Disk::Real { big }), (&memory, Disk::Memory)] {
            {
                let running = start_ourselves(home, &server);
                let way = Way::Clear(&client);
                over_nfs(&running, &way, &mount_root(&client, "/home/bench", 2049), on, &mut figures);
            }
            empty(home);
            {
                let running = start_encrypted(home, &work, &server);
                let way = Way::Tunnel(&client, pin_of(&work));
                let root = Connection::over(way.wire()).mount("/home/bench");
                over_nfs(&running, &way, &root, on, &mut figures);
            }
            empty(home);
            {
                let (_rpcbind, running) = start_ganesha(&work, home, &server);
                let root = mount_root(&client, home.to_str().expect("a plain path"), 20048);
                over_nfs(&running, &Way::Clear(&client), &root, on, &mut figures);
            }
            empty(home);
            over_sshfs(&work, home, &server, &client, on, &mut figures);
            empty(home);
            here(home, on, &mut figures);
            empty(home);
        }
    }
    figures.print();
    let _ = nix::mount::umount(&memory);
    let _ = fs::remove_dir_all(&work);
}

/// Where a home lies. In memory nothing waits for a disk, so what is left is what the servers cost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Also with a big file.
    Real {
        big: bool,
    },
    Memory,
}

/// Names of the tests with small files, and how many programs make them side by side.
fn small(on: Disk) -> [(String, u32); 2] {
    let place = if on == Disk::Memory { "in memory" } else { "on disk" };
    [("1 program", 1), ("8 programs", 8)]
        .map(|(programs, many)| (format!("4 KiB files {place}, {programs}"), many))
}

fn empty(home: &Path) {
    for entry in fs::read_dir(home).expect("listed") {
        fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    nix::unistd::sync();
}

/// The same files made and synced here, by programs without a network.
fn here(home: &Path, on: Disk, figures: &mut Figures) {
    for (test, programs) in small(on) {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for nth in 0..programs {
                scope.spawn(move || {
                    for n in 0..FILES / programs {
                        let file = fs::File::create_new(home.join(format!("{programs}-{nth}-{n}")));
                        let mut file = file.expect("made");
                        file.write_all(&[b'x'; 4096]).and_then(|()| file.sync_all()).expect("on the disk");
                    }
                });
            }
        });
        figures.add(&test, "no network", "files/s", f64::from(FILES) / begin.elapsed().as_secs_f64());
    }
}

/// rpcbind and ganesha leave files below /run; here they get one of their own.
fn hide_run() {
    use nix::mount::{MsFlags, mount};
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("mounts of our own");
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a /run of our own");
    for folder in ["/run/ganesha", "/run/sshd"] {
        fs::create_dir_all(folder).expect("a folder");
    }
}

/// Bramble's NFS with one home granted to one machine, as the session of a person there would.
/// Encrypted, if there is a folder for the key.
fn serve_folder(root: PathBuf, uid: u32, guest: Ipv4Addr, keys: Option<&Path>) {
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: Some(text.into()) };
    let sources = Sources {
        bramble: source("bramble", "config bramble 'main'\n\toption data '/mnt/x'\n\tlist network 'lan'\n"),
        network: source(
            "network",
            "config interface 'lan'\n\toption device 'eth0'\n\toption proto 'static'\n\
             \toption ipaddr '192.168.77.1/24'\n",
        ),
        dhcp: source("dhcp", ""),
        system: source("system", ""),
    };
    let config = from_sources(&sources).unwrap_or_else(|problems| panic!("{problems:?}"));
    let clients = Arc::new(Clients::new(Arc::new(config)));
    clients.bound(guest, CLIENT_MAC, "lan");
    let sources = virtuals::Sources {
        agents: PathBuf::from("/nonexistent"),
        kept: PathBuf::from("/nonexistent"),
        personality: Box::new(|_, _| Vec::new()),
    };
    let exports = Exports::new(clients, Arc::new(Images::default()), &[7; 16], sources, Handles::Best);
    let tree = WritableTree { space: Space::Home, id: uid, nonce: 5, root, path: "/home/bench".to_owned() };
    let identity = Identity { uid, gid: uid, gids: vec![] };
    let granted = Granted { tree, identity, callers: uid, rights: Rights::ReadWrite, quota: None };
    exports.grant(Grant {
        id: 1,
        ip: guest,
        mac: CLIENT_MAC,
        encrypted: keys.is_some(),
        trees: vec![granted],
    });
    let shared = nfs::Shared::new(Arc::new(exports), Arc::new(Events::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if let Some(keys) = keys {
            tokio::spawn(tunnels(Arc::clone(&shared), pair(keys), guest, Uid(uid)));
        }
        let ports = nfs::bind(&[SERVER], 2049).expect("the ports");
        let (_stop, told) = tokio::sync::watch::channel(false);
        nfs::run(shared, ports, told).await.expect("served");
    });
}

/// What the daemon does with agents that have a right key, and nothing of what it does with others.
async fn tunnels(shared: Arc<nfs::Shared>, key: KeyPair, guest: Ipv4Addr, whose: Uid) {
    let tls = TlsAcceptor::from(agent::tls::config(&key).expect("TLS"));
    let listener = tokio::net::TcpListener::bind((SERVER, PORT)).await.expect("the port");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true).expect("a socket option");
            let mut stream = tls.accept(stream).await.expect("TLS");
            let mut inbox = Inbox::<ToServer>::default();
            let mut bytes = [0; 1024];
            loop {
                let length = stream.read(&mut bytes).await.expect("a greeting");
                if !inbox.take(bytes.get(..length).unwrap_or_default()).expect("a message").is_empty() {
                    break;
                }
            }
            stream.write_all(&encode(&ToAgent::Tunnel).expect("short")).await.expect("sent");
            stream.flush().await.expect("sent");
            let _ = agent::tunnel::answer(&shared, stream, guest, Some(whose)).await;
        });
    }
}

fn pair(keys: &Path) -> KeyPair {
    KeyPair::open(keys, "agent", vec!["bramble".to_owned()]).expect("a key")
}

fn pin_of(keys: &Path) -> Pin {
    pair(keys).pin()
}

fn start_encrypted(home: &Path, keys: &Path, server: &Machine) -> Server {
    let mut command = server.command(std::env::current_exe().expect("this program"));
    command.arg("serve").arg(home).arg(UID.to_string()).arg(CLIENT.to_string()).arg(keys);
    Server::start("encrypted", command, || listens(server, SERVER, PORT))
}

fn start_ourselves(home: &Path, server: &Machine) -> Server {
    let mut command = server.command(std::env::current_exe().expect("this program"));
    command.arg("serve").arg(home).arg(UID.to_string()).arg(CLIENT.to_string());
    Server::start("bramble", command, || listens(server, SERVER, 2049))
}

fn start_ganesha(work: &Path, home: &Path, server: &Machine) -> (Server, Server) {
    let mut command = server.command(program("rpcbind", "rpcbind"));
    command.args(["-f", "-w"]);
    let rpcbind = Server::start("rpcbind", command, || listens(server, Ipv4Addr::LOCALHOST, 111));
    let config = work.join("ganesha.conf");
    let text = format!(
        "NFS_CORE_PARAM {{ Protocols = 3; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; \
         mount_path_pseudo = false; }}\n\
         EXPORT {{ Export_Id = 1; Path = \"{0}\"; Pseudo = \"/bench\"; Access_Type = RW; Squash = All; \
         Anonymous_Uid = {UID}; Anonymous_Gid = {UID}; SecType = sys; Protocols = 3; Transports = TCP; \
         FSAL {{ Name = VFS; }} }}\nLOG {{ Default_Log_Level = WARN; }}\n",
        home.display()
    );
    fs::write(&config, text).expect("a file");
    let mut command = server.command(program("ganesha.nfsd", "nfs-ganesha-vfs"));
    command.args(["-F", "-p", "/run/ganesha.pid", "-L", "/run/ganesha.log", "-f"]).arg(&config);
    let ganesha = Server::start("ganesha", command, || listens(server, SERVER, 2049));
    (rpcbind, ganesha)
}

#[expect(clippy::cast_precision_loss, reason = "figures to print")]
fn note(figures: &mut Figures, test: &str, server: &'static str, bytes: u64, cpu: Duration, begin: Instant) {
    let gigabytes = bytes as f64 / 1e9;
    figures.add(test, server, "MB/s", gigabytes * 1e3 / begin.elapsed().as_secs_f64());
    figures.add(test, server, "CPU s/GB", cpu.as_secs_f64() / gigabytes);
}

/// How calls go to a server.
enum Way<'a> {
    Clear(&'a Machine),
    /// As an agent carries them: TLS with the server of this pin.
    Tunnel(&'a Machine, Pin),
}

trait Both: Read + Write + Send {}

impl<T: Read + Write + Send> Both for T {}

type Wire = Box<dyn Both>;

impl Way<'_> {
    fn wire(&self) -> Wire {
        match self {
            Self::Clear(client) => Box::new(Connection::open(client, 2049).stream),
            Self::Tunnel(client, pin) => {
                let dig = || {
                    channel::become_tunnel(CLIENT, SERVER, *pin, Uid(UID), Key(KEY)).map_err(io::Error::other)
                };
                Box::new(client.run(dig).expect("a tunnel"))
            }
        }
    }

    fn open(&self) -> Connection<Wire> {
        let mut connection = Connection::over(self.wire());
        connection.uid = UID;
        connection
    }
}

fn over_nfs(server: &Server, way: &Way<'_>, root: &Handle, on: Disk, figures: &mut Figures) {
    if on == (Disk::Real { big: true }) {
        big_file_over_nfs(server, way, root, figures);
    }
    for (test, connections) in small(on) {
        let (cpu, begin) = (server.cpu(), Instant::now());
        std::thread::scope(|scope| {
            for nth in 0..connections {
                let (root, mut connection) = (root.clone(), way.open());
                scope.spawn(move || {
                    small_files(&mut connection, &root, &format!("{connections}-{nth}"), FILES / connections);
                });
            }
        });
        figures.add(&test, server.name, "files/s", f64::from(FILES) / begin.elapsed().as_secs_f64());
        let spent = server.cpu().abs_diff(cpu).as_secs_f64();
        figures.add(&test, server.name, "CPU us/file", spent * 1e6 / f64::from(FILES));
    }
}

fn big_file_over_nfs(server: &Server, way: &Way<'_>, root: &Handle, figures: &mut Figures) {
    let mut one = way.open();
    let big = create(&mut one, root, "big");
    let data: Vec<u8> = (0..WRITE).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let (cpu, begin) = (server.cpu(), Instant::now());
    in_flight(&mut one, BIG / u64::from(WRITE), |connection, nth| {
        let offset = nth * u64::from(WRITE);
        let args = Args::Write { file: &big, offset, stable: Stable::Unstable, data: &data };
        connection.push(nfs3::PROGRAM, Procedure::Write as u32, |out| args.encode(out));
    });
    let args = Args::Commit { file: &big, offset: 0, count: 0 };
    let done = ask(&mut one, &args, |r| parse::commit(r).expect("a reply"));
    assert!(done.is_ok(), "COMMIT is refused");
    note(figures, "write 256 MiB and sync", server.name, BIG, server.cpu().abs_diff(cpu), begin);
    let (cpu, begin) = (server.cpu(), Instant::now());
    in_flight(&mut one, BIG / u64::from(READ), |connection, nth| {
        let args = Args::Read { file: &big, offset: nth * u64::from(READ), count: READ };
        connection.push(nfs3::PROGRAM, Procedure::Read as u32, |out| args.encode(out));
    });
    note(figures, "read 256 MiB", server.name, BIG, server.cpu().abs_diff(cpu), begin);
}

fn ask<T>(
    connection: &mut Connection<Wire>,
    args: &Args<'_>,
    read: impl FnOnce(&mut bramble::proto::xdr::Reader<'_>) -> T,
) -> T {
    connection.call(nfs3::PROGRAM, args.procedure() as u32, |out| args.encode(out), read)
}

fn create(connection: &mut Connection<Wire>, root: &Handle, name: &str) -> Handle {
    let with = SetAttributes { mode: Some(0o644), ..SetAttributes::default() };
    let at = Entry { directory: root, name: name.as_bytes() };
    let made = ask(connection, &Args::Create { at, how: Create::Unchecked(with) }, |r| {
        parse::made(r).expect("a CREATE reply")
    });
    made.unwrap_or_else(|status| panic!("CREATE {name}: status {status}")).0
}

/// What a Linux client sends when a program makes a file, writes 4 KiB and closes it.
fn small_files(connection: &mut Connection<Wire>, root: &Handle, prefix: &str, count: u32) {
    let data = [b'x'; 4096];
    for n in 0..count {
        let name = format!("{prefix}-{n}");
        let lookup = Args::Lookup(Entry { directory: root, name: name.as_bytes() });
        let missing = ask(connection, &lookup, |r| parse::lookup(r).expect("a reply"));
        assert!(missing.is_err(), "{name} is there already");
        let file = create(connection, root, &name);
        let args = Args::Write { file: &file, offset: 0, stable: Stable::File, data: &data };
        let written = ask(connection, &args, |r| parse::write(r).expect("a reply"));
        assert_eq!(written.expect("written").1, 4096);
    }
}

/// Sends `calls` calls, eight of them under way at any time, and checks that each is answered with success.
fn in_flight(
    connection: &mut Connection<Wire>,
    calls: u64,
    mut push: impl FnMut(&mut Connection<Wire>, u64),
) {
    let mut sent = 0;
    for _ in 0..calls.min(8) {
        push(connection, sent);
        sent += 1;
    }
    connection.flush();
    let mut record = Vec::new();
    for _ in 0..calls {
        let mut mark = [0; 4];
        connection.stream.read_exact(&mut mark).expect("an answer");
        record.resize((u32::from_be_bytes(mark) & 0x7fff_ffff) as usize, 0);
        connection.stream.read_exact(&mut record).expect("a whole answer");
        let (_, header, mut results) = reply::parse(&record).expect("a reply");
        assert_eq!((header, results.u32()), (reply::Header::Success, Ok(0)), "refused");
        if sent < calls {
            push(connection, sent);
            sent += 1;
            connection.flush();
        }
    }
}

/// A home as PiServer mounts it.
fn over_sshfs(work: &Path, home: &Path, server: &Machine, client: &Machine, on: Disk, figures: &mut Figures) {
    let keys = work.join("ssh");
    let _ = fs::remove_dir_all(&keys);
    fs::create_dir_all(&keys).expect("a folder");
    for key in ["host", "user"] {
        let made = std::process::Command::new(program("ssh-keygen", "openssh-client"))
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(keys.join(key))
            .status();
        assert!(made.expect("ssh-keygen runs").success());
    }
    fs::copy(keys.join("user.pub"), keys.join("authorized")).expect("copied");
    fs::set_permissions(&keys, PermissionsExt::from_mode(0o755)).expect("allowed");
    let mut command = server.command(program("sshd", "openssh-server"));
    command.arg("-D").arg("-e").arg("-f").arg("/dev/null").arg("-h").arg(keys.join("host"));
    for option in [
        format!("AuthorizedKeysFile={}", keys.join("authorized").display()),
        "StrictModes=no".to_owned(),
        "UsePAM=no".to_owned(),
        "PermitRootLogin=yes".to_owned(),
        "PidFile=none".to_owned(),
        "Subsystem=sftp /usr/lib/openssh/sftp-server".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    let running = Server::start("sshfs", command, || listens(server, SERVER, 22));
    let at = work.join("mounted");
    fs::create_dir_all(&at).expect("a folder");
    let mut mount = client.command(program("sshfs", "sshfs"));
    mount.arg(format!("root@{SERVER}:{}", home.display())).arg(&at).arg("-f");
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"] {
        mount.args(["-o", option]);
    }
    mount.args(["-o", &format!("IdentityFile={}", keys.join("user").display())]);
    let mut sshfs = mount.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("sshfs runs");
    let begin = Instant::now();
    while !is_mounted(&at) {
        assert!(begin.elapsed() < Duration::from_secs(20), "sshfs does not mount");
        std::thread::sleep(Duration::from_millis(50));
    }
    if on == (Disk::Real { big: true }) {
        big_file_over_sshfs(&running, &at, figures);
    }
    let sum = || cpu_of_children(&running);
    for (test, programs) in small(on) {
        let (cpu, begin) = (sum(), Instant::now());
        std::thread::scope(|scope| {
            for nth in 0..programs {
                let at = &at;
                scope.spawn(move || {
                    for n in 0..FILES / programs {
                        fs::write(at.join(format!("{programs}-{nth}-{n}")), [b'x'; 4096]).expect("written");
                    }
                });
            }
        });
        figures.add(&test, running.name, "files/s", f64::from(FILES) / begin.elapsed().as_secs_f64());
        figures.add(
            &test,
            running.name,
            "CPU us/file",
            sum().abs_diff(cpu).as_secs_f64() * 1e6 / f64::from(FILES),
        );
    }
    let _ = nix::mount::umount2(&at, nix::mount::MntFlags::MNT_DETACH);
    let _ = sshfs.kill();
    let _ = sshfs.wait();
}

fn big_file_over_sshfs(running: &Server, at: &Path, figures: &mut Figures) {
    let name = "sshfs";
    let sum = || cpu_of_children(running);
    let (cpu, begin) = (sum(), Instant::now());
    let block = vec![7; 1 << 20];
    let mut big = fs::File::create(at.join("big")).expect("made");
    for _ in 0..BIG >> 20 {
        big.write_all(&block).expect("written");
    }
    big.sync_all().expect("synced");
    drop(big);
    note(figures, "write 256 MiB and sync", name, BIG, sum().abs_diff(cpu), begin);
    // Opened anew, FUSE asks the server again for what it had in memory.
    let (cpu, begin) = (sum(), Instant::now());
    let read = io::copy(&mut fs::File::open(at.join("big")).expect("opened"), &mut io::sink());
    assert_eq!(read.expect("read"), BIG);
    note(figures, "read 256 MiB", name, BIG, sum().abs_diff(cpu), begin);
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("Linux lists mounts");
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

/// CPU time of sshd's descendants: each connection is a process of its own, with the sftp server below it.
fn cpu_of_children(server: &Server) -> Duration {
    let ticks: u64 = descendants(server.pid().as_raw()).iter().filter_map(|pid| ticks(*pid)).sum();
    Duration::from_millis(ticks * 10)
}

fn descendants(of: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let own: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    own.iter().copied().chain(own.iter().flat_map(|pid| descendants(*pid))).collect()
}

/// User and system time, in hundredths of a second.
fn ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

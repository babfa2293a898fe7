//! NFS reads and metadata: what does a classroom cost the router, against nfs-ganesha on the same files?
//!
//! `cargo bench --bench nfs [ROUNDS]`, as root (ganesha wants it). Needs Debian's nfs-ganesha-vfs, rpcbind and
//! busybox-static. Both servers export the same tree from the same disk with a warm page cache; the load throws payload
//! away in the kernel (`MSG_TRUNC`), so that the server is what is measured.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench reads the clock and ends when its load fails"
)]

mod rpc;
mod support;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use bramble::proto::nfs3::args::{Args, Entry};
use bramble::proto::nfs3::types::Handle;
use bramble::proto::nfs3::{self};
use bramble::sim::net::{Lab, Machine, SERVER, isolate};
use bramble::types::MacAddr;
use rpc::{Connection, mount_root};
use support::{Figures, Server, listens, program};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);
const CLIENT_MAC: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
/// One file, read again and again.
const BIG: u64 = 256 << 20;
const CHUNK: u32 = 128 << 10;

fn main() {
    let rounds: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3);
    isolate().expect("namespaces of our own");
    hide_run();
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-nfs");
    let _ = std::fs::remove_dir_all(&work);
    let tree = work.join("tree");
    write_tree(&tree).expect("the tree is written");
    let (mut lab, lan, server) = Lab::with_server("eth0").expect("a laboratory");
    let client = lab.client(&lan, CLIENT_MAC).expect("a client");
    client.address("eth0", CLIENT, 24).expect("an address");
    let bramble = import(&work, &tree, &server);

    let mut figures = Figures::default();
    for _ in 0..rounds {
        {
            let running = start_bramble(&work, &server, &client);
            measure(&running, &client, &bramble, 2049, &mut figures);
        }
        let (_rpcbind, running) = start_ganesha(&work, &tree, &server);
        let export = tree.to_str().expect("a plain path");
        measure(&running, &client, export, 20048, &mut figures);
    }
    figures.print();
    let _ = std::fs::remove_dir_all(&work);
}

/// rpcbind and ganesha leave files below /run; here they get one of their own.
fn hide_run() {
    use nix::mount::{MsFlags, mount};
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("mounts of our own");
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a /run of our own");
    std::fs::create_dir_all("/run/ganesha").expect("a folder");
}

fn write_tree(tree: &Path) -> io::Result<()> {
    bramble::sim::sample::write_tree(tree, bramble::sim::sample::Release::Trixie)?;
    let block: Vec<u8> = (0..1_048_576u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let mut big = std::fs::File::create(tree.join("big"))?;
    for _ in 0..BIG >> 20 {
        big.write_all(&block)?;
    }
    big.sync_all()
}

/// Makes the image in a data folder of its own; the path it is exported as.
fn import(work: &Path, tree: &Path, server: &Machine) -> String {
    let config = work.join("config");
    std::fs::create_dir_all(&config).expect("a folder");
    std::fs::create_dir_all(work.join("data")).expect("a folder");
    let write = |name: &str, text: String| std::fs::write(config.join(name), text).expect("a file");
    write("dhcp", String::new());
    write(
        "network",
        "config interface 'lan'\n\toption device 'eth0'\n\toption proto 'static'\n\
         \toption ipaddr '192.168.77.1'\n\toption netmask '255.255.255.0'\n"
            .to_owned(),
    );
    write(
        "bramble",
        format!(
            "config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n\tlist network 'lan'\n\
             config client\n\toption mac '{CLIENT_MAC}'\n\toption name 'bench'\n\toption image 'bench'\n\
             \toption ip '{CLIENT}'\n",
            work.join("data").display()
        ),
    );
    let _running = serve(work, server);
    let tree = tree.to_str().expect("a plain path");
    bramble(work, server, &["image", "import", tree, "--name", "bench"]);
    "/image/bench/1".to_owned()
}

fn bramble(work: &Path, server: &Machine, args: &[&str]) {
    let status = server
        .command(env!("CARGO_BIN_EXE_bramble"))
        .arg("--socket")
        .arg(work.join("socket"))
        .args(args)
        .status()
        .expect("bramble runs");
    assert!(status.success(), "bramble {args:?}: {status}");
}

fn serve(work: &Path, server: &Machine) -> Server {
    let mut command = server.command(env!("CARGO_BIN_EXE_bramble"));
    command.arg("--socket").arg(work.join("socket")).args(["serve", "--any-storage", "--config"]);
    command.arg(work.join("config/bramble"));
    Server::start("bramble", command, || listens(server, SERVER, 2049) && work.join("socket").exists())
}

fn start_bramble(work: &Path, server: &Machine, client: &Machine) -> Server {
    let running = serve(work, server);
    // The address is the client's only once it has asked for it.
    let udhcpc = client
        .command(program("busybox", "busybox-static"))
        .args(["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", "/bin/true"])
        .output()
        .expect("udhcpc runs");
    assert!(udhcpc.status.success(), "no lease: {}", String::from_utf8_lossy(&udhcpc.stderr));
    running
}

fn start_ganesha(work: &Path, tree: &Path, server: &Machine) -> (Server, Server) {
    let mut command = server.command(program("rpcbind", "rpcbind"));
    command.args(["-f", "-w"]);
    let rpcbind = Server::start("rpcbind", command, || listens(server, Ipv4Addr::LOCALHOST, 111));
    let config = work.join("ganesha.conf");
    let text = format!(
        "NFS_CORE_PARAM {{ Protocols = 3; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; \
         mount_path_pseudo = false; }}\n\
         EXPORT {{ Export_Id = 1; Path = \"{0}\"; Pseudo = \"/bench\"; Access_Type = RO; Squash = None; \
         SecType = sys; Protocols = 3; Transports = TCP; FSAL {{ Name = VFS; }} }}\n\
         LOG {{ Default_Log_Level = WARN; }}\n",
        tree.display()
    );
    std::fs::write(&config, text).expect("a file");
    let mut command = server.command(program("ganesha.nfsd", "nfs-ganesha-vfs"));
    command.args(["-F", "-p", "/run/ganesha.pid", "-L", "/run/ganesha.log", "-f"]).arg(&config);
    let ganesha = Server::start("ganesha", command, || listens(server, SERVER, 2049));
    (rpcbind, ganesha)
}

fn measure(server: &Server, client: &Machine, export: &str, mount_port: u16, figures: &mut Figures) {
    let root = mount_root(client, export, mount_port);
    let mut one = Connection::open(client, 2049);
    let big = one.lookup(&root, b"big");
    // A first pass fills the page cache and every cache of the server.
    read_through(client, &big, 1, 4, BIG);
    for (name, connections, depth, bytes) in
        [("READ 128 KiB, 1 connection", 1, 4, 4 * BIG), ("READ 128 KiB, 50 connections", 50, 2, 8 * BIG)]
    {
        let (cpu, begin) = (server.cpu(), Instant::now());
        let moved = read_through(client, &big, connections, depth, bytes);
        #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
        let gigabytes = moved as f64 / 1e9;
        figures.add(name, server.name, "CPU s/GB", server.cpu().abs_diff(cpu).as_secs_f64() / gigabytes);
        figures.add(name, server.name, "MB/s", gigabytes * 1e3 / begin.elapsed().as_secs_f64());
    }
    let usr = one.lookup(&root, b"usr");
    let getattr = |out: &mut Vec<u8>| Args::GetAttr(&big).encode(out);
    let lookup = |out: &mut Vec<u8>| Args::Lookup(Entry { directory: &usr, name: b"bin" }).encode(out);
    let mut operations = Operations { server, client, figures };
    operations.run("GETATTR, 1 connection", 1, 1, getattr);
    operations.run("GETATTR, 50 connections", 50, 1, getattr);
    operations.run("LOOKUP, 50 connections", 50, 3, lookup);
    #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
    figures.add("memory", server.name, "peak MiB", server.peak_kib() as f64 / 1024.0);
}

/// Small calls, one at a time on each connection.
struct Operations<'a> {
    server: &'a Server,
    client: &'a Machine,
    figures: &'a mut Figures,
}

impl Operations<'_> {
    fn run(&mut self, test: &str, connections: u32, procedure: u32, args: impl Fn(&mut Vec<u8>) + Sync) {
        let each = 100_000 / connections;
        let open: Vec<Connection> = (0..connections).map(|_| Connection::open(self.client, 2049)).collect();
        let (cpu, begin) = (self.server.cpu(), Instant::now());
        std::thread::scope(|scope| {
            for mut connection in open {
                let args = &args;
                scope.spawn(move || {
                    for _ in 0..each {
                        connection.call(nfs3::PROGRAM, procedure, args, |_| ());
                    }
                });
            }
        });
        let count = f64::from(each * connections);
        let name = self.server.name;
        self.figures.add(
            test,
            name,
            "CPU us/op",
            self.server.cpu().abs_diff(cpu).as_secs_f64() * 1e6 / count,
        );
        self.figures.add(test, name, "ops/s", count / begin.elapsed().as_secs_f64());
    }
}

/// Reads `bytes` of `file` in all, over `connections` with `depth` calls in flight on each. Returns what was read.
fn read_through(client: &Machine, file: &Handle, connections: u32, depth: u32, bytes: u64) -> u64 {
    let open: Vec<Connection> = (0..connections).map(|_| Connection::open(client, 2049)).collect();
    let calls = bytes / u64::from(CHUNK) / u64::from(connections);
    std::thread::scope(|scope| {
        for (connection, nth) in open.into_iter().zip(0..) {
            scope.spawn(move || connection.read_calls(file, calls, depth, nth * 7));
        }
    });
    calls * u64::from(connections) * u64::from(CHUNK)
}

impl Connection {
    fn read_calls(mut self, file: &Handle, calls: u64, depth: u32, first: u64) {
        let mut sent = 0;
        let mut ask = |connection: &mut Self| {
            if sent < calls {
                let offset = (first + sent) * u64::from(CHUNK) % BIG;
                connection
                    .push(nfs3::PROGRAM, 6, |out| Args::Read { file, offset, count: CHUNK }.encode(out));
                sent += 1;
            }
        };
        for _ in 0..depth {
            ask(&mut self);
        }
        self.flush();
        for _ in 0..calls {
            let mut head = [0; 32];
            self.stream.read_exact(&mut head).expect("an answer");
            let length = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]) & 0x7fff_ffff) as usize;
            let status = u32::from_be_bytes([head[28], head[29], head[30], head[31]]);
            assert_eq!(status, 0, "READ is refused");
            assert!(length > CHUNK as usize, "a short READ of {length} bytes");
            discard(&self.stream, length - 28);
            ask(&mut self);
            self.flush();
        }
    }
}

/// Takes `length` bytes off the socket without copying them.
fn discard(stream: &TcpStream, mut length: usize) {
    use nix::sys::socket::{MsgFlags, recv};
    let mut nowhere = vec![0; 1 << 20];
    while length > 0 {
        let most = length.min(nowhere.len());
        let buffer = nowhere.get_mut(..most).expect("within the buffer");
        let got = recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC).expect("the rest of an answer");
        assert!(got > 0, "the server hung up");
        length -= got;
    }
}

//! A client of NFS, a few lines long, for benches: calls go out from a privileged port, as a kernel's do.

#![allow(dead_code, clippy::panic, reason = "each bench uses its part, and ends when its load fails")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use bramble::proto::mount;
use bramble::proto::nfs3::args::{Args, Entry};
use bramble::proto::nfs3::reply::client as parse;
use bramble::proto::nfs3::types::Handle;
use bramble::proto::nfs3::{self};
use bramble::proto::rpc::{Call, Credential, reply};
use bramble::proto::xdr::{Reader, Writer};
use bramble::sim::net::{Machine, SERVER};

/// The handle of what is exported as `export`.
pub fn mount_root(client: &Machine, export: &str, port: u16) -> Handle {
    Connection::open(client, port).mount(export)
}

/// A connection from a privileged port, as the kernel's client makes it.
pub struct Connection<S = TcpStream> {
    pub stream: S,
    pub uid: u32,
    xid: u32,
    out: Vec<u8>,
    record: Vec<u8>,
}

impl Connection {
    pub fn open(client: &Machine, port: u16) -> Self {
        use std::sync::atomic::{AtomicU16, Ordering};
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let stream = client
            .run(|| {
                // Ports just left are still waiting for late packets; the next free one will do.
                for _ in 0..800 {
                    let local = 200 + NEXT.fetch_add(1, Ordering::Relaxed) % 800;
                    match connect_from(local, SocketAddr::from((SERVER, port))) {
                        Ok(stream) => return Ok(stream),
                        Err(e)
                            if matches!(e.raw_os_error(), Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL)) => {}
                        Err(e) => return Err(e),
                    }
                }
                Err(io::Error::other("no privileged port is free"))
            })
            .expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        Self::over(stream)
    }
}

impl<S: Read + Write> Connection<S> {
    /// Over something that is connected.
    pub fn over(stream: S) -> Self {
        Self { stream, uid: 0, xid: std::process::id() << 12, out: Vec::new(), record: Vec::new() }
    }

    /// The handle of what is exported as `export`.
    pub fn mount(&mut self, export: &str) -> Handle {
        self.call(
            mount::PROGRAM,
            1,
            |out| Writer(out).opaque(export.as_bytes()),
            |r| {
                assert_eq!(r.u32().expect("a status"), 0, "the mount of {export} is refused");
                Handle::from_slice(r.opaque(64).expect("a handle")).expect("at most 64 bytes")
            },
        )
    }

    pub fn push(&mut self, program: u32, procedure: u32, args: impl FnOnce(&mut Vec<u8>)) {
        self.xid = self.xid.wrapping_add(1);
        let start = reply::begin(&mut self.out);
        let credential = Credential::Sys { uid: self.uid, gid: self.uid, gids: heapless::Vec::new() };
        let call = Call { xid: self.xid, program, version: 3, procedure, credential, args: Reader::new(&[]) };
        call.encode_header(&mut self.out);
        args(&mut self.out);
        reply::finish(&mut self.out, start, 0);
    }

    pub fn flush(&mut self) {
        self.stream.write_all(&self.out).and_then(|()| self.stream.flush()).expect("the server reads");
        self.out.clear();
    }

    pub fn call<T>(
        &mut self,
        program: u32,
        procedure: u32,
        args: impl FnOnce(&mut Vec<u8>),
        results: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        self.push(program, procedure, args);
        self.flush();
        let mut mark = [0; 4];
        self.stream.read_exact(&mut mark).expect("an answer");
        self.record.resize((u32::from_be_bytes(mark) & 0x7fff_ffff) as usize, 0);
        self.stream.read_exact(&mut self.record).expect("a whole answer");
        let (_, header, mut r) = reply::parse(&self.record).expect("a reply");
        assert_eq!(header, reply::Header::Success);
        results(&mut r)
    }

    pub fn lookup(&mut self, directory: &Handle, name: &[u8]) -> Handle {
        let args = |out: &mut Vec<u8>| Args::Lookup(Entry { directory, name }).encode(out);
        let found = self.call(nfs3::PROGRAM, 3, args, |r| parse::lookup(r).expect("a LOOKUP reply"));
        found.unwrap_or_else(|status| panic!("{}: status {status}", name.escape_ascii())).0
    }
}

fn connect_from(port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
    };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
    let SocketAddr::V4(to) = to else { return Err(io::Error::other("IPv4 only")) };
    connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(fd.into())
}

//! ONC RPC as the kernel's NFS client speaks it: calls in flight side by side, from a privileged port, and when the
//! connection breaks the same calls again on a new one, as a hard mount does.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that the rest need not")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::channel::{self, Tls};
use crate::proto::agent::channel::Pin;
use crate::proto::agent::tunnel::Key;
use crate::proto::rpc::{Call, Credential, reply};
use crate::proto::xdr::Reader;
use crate::sys::netns::NetNs;
use crate::types::Uid;

/// How long a client goes on before its boot counts as failed; a real one would never stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// Without an answer for this long the connection counts as lost.
const ANSWER: Duration = Duration::from_secs(15);
/// Records longer than this are no answer to anything asked here.
const RECORD: usize = 1 << 20;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("{server} does not answer on TCP port {port}: tried for {} s", PATIENCE.as_secs())]
    Unreachable {
        server: Ipv4Addr,
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("no answer from {server} on UDP port {port}")]
    Silence { server: Ipv4Addr, port: u16 },
    #[error("the server refused the call itself ({0})")]
    Refused(&'static str),
    #[error("the server's answer cannot be read: {0}")]
    Garbage(&'static str),
    #[error("no privileged port is free")]
    NoPort(#[source] io::Error),
}

/// One call: program, version, procedure, encoded arguments.
#[derive(Clone, Debug)]
pub struct Request {
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub args: Vec<u8>,
}

impl Request {
    fn encode(&self, xid: u32, out: &mut Vec<u8>) {
        let sys = Credential::Sys { uid: 0, gid: 0, gids: heapless::Vec::new() };
        let Self { program, version, procedure, args } = self;
        let (program, version, procedure) = (*program, *version, *procedure);
        let call = Call { xid, program, version, procedure, credential: sys, args: Reader::new(&[]) };
        call.encode_header(out);
        out.extend(args);
    }
}

/// A connection that comes back.
#[derive(Debug)]
pub struct Rpc {
    /// Where connections are made, whichever thread calls.
    home: NetNs,
    from: Ipv4Addr,
    server: SocketAddrV4,
    tunnel: Option<Tunnel>,
    stream: Option<Wire>,
    xid: u32,
    /// How often the connection was lost and made again.
    pub reconnects: u32,
}

impl Rpc {
    /// Connects from the namespace `home`, at the first call.
    pub fn new(home: NetNs, from: Ipv4Addr, server: Ipv4Addr, port: u16) -> Self {
        let xid = u32::from(from).wrapping_mul(0x9e37_79b1);
        Self {
            home,
            from,
            server: SocketAddrV4::new(server, port),
            tunnel: None,
            stream: None,
            xid,
            reconnects: 0,
        }
    }

    /// Has calls go through a tunnel instead.
    pub fn through(self, tunnel: Option<Tunnel>) -> Self {
        Self { tunnel, ..self }
    }

    pub fn call(&mut self, request: &Request) -> Result<Vec<u8>, RpcError> {
        let mut results = self.calls(std::slice::from_ref(request))?;
        results.pop().ok_or(RpcError::Garbage("no result"))
    }

    /// Sends all of `requests` at once; the results come in the same order.
    pub fn calls(&mut self, requests: &[Request]) -> Result<Vec<Vec<u8>>, RpcError> {
        let first = self.xid;
        self.xid = self.xid.wrapping_add(u32::try_from(requests.len()).expect("a handful of calls"));
        let mut results: Vec<Option<Vec<u8>>> = requests.iter().map(|_| None).collect();
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.attempt(first, requests, &mut results) {
                Ok(()) => return Ok(results.into_iter().flatten().collect()),
                Err(Problem::Final(error)) => return Err(error),
                Err(Problem::Lost(source)) => {
                    self.stream = None;
                    self.reconnects += 1;
                    if Instant::now() > give_up {
                        let (server, port) = (*self.server.ip(), self.server.port());
                        return Err(RpcError::Unreachable { server, port, source });
                    }
                    // A refused connection is refused at once: do not hammer.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Sends what has no result yet and reads until everything has one.
    fn attempt(
        &mut self,
        first: u32,
        requests: &[Request],
        results: &mut [Option<Vec<u8>>],
    ) -> Result<(), Problem> {
        if self.stream.is_none() {
            let connect = || {
                Ok(match &self.tunnel {
                    None => connect_from_privileged_port(self.from, self.server).map(Wire::Tcp),
                    Some(tunnel) => tunnel.dig(self.from, *self.server.ip()).map_err(Problem::Lost),
                })
            };
            self.stream = Some(self.home.run(connect).map_err(Problem::Lost)??);
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut out = Vec::new();
        for ((xid, request), result) in (first..).zip(requests).zip(&*results) {
            if result.is_none() {
                let start = reply::begin(&mut out);
                request.encode(xid, &mut out);
                reply::finish(&mut out, start, 0);
            }
        }
        stream.write_all(&out).and_then(|()| stream.flush()).map_err(Problem::Lost)?;
        while results.iter().any(Option::is_none) {
            let record = read_record(stream)?;
            let (xid, body) = result(&record).map_err(Problem::Final)?;
            let place = usize::try_from(xid.wrapping_sub(first)).ok().and_then(|at| results.get_mut(at));
            // A number from before a reconnection is an answer nobody waits for any more.
            if let Some(place) = place {
                *place = Some(body);
            }
        }
        Ok(())
    }
}

/// How the calls of a person's files go encrypted.
#[derive(Clone, Debug)]
pub struct Tunnel {
    pub pin: Pin,
    pub uid: Uid,
    pub key: Key,
}

impl Tunnel {
    fn dig(&self, from: Ipv4Addr, server: Ipv4Addr) -> io::Result<Wire> {
        let Self { pin, uid, key } = *self;
        let tls = channel::become_tunnel(from, server, pin, uid, key).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(tls)))
    }
}

/// What calls go over.
#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Tls(Box<Tls>),
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One call over UDP, repeated each second, five times.
pub fn call_udp(from: Ipv4Addr, server: Ipv4Addr, port: u16, request: &Request) -> Result<Vec<u8>, RpcError> {
    let silence = || RpcError::Silence { server, port };
    let socket = UdpSocket::bind((from, 0)).map_err(RpcError::NoPort)?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(|_| silence())?;
    let xid = u32::from(from) ^ u32::from(port);
    let mut out = Vec::new();
    request.encode(xid, &mut out);
    let mut buffer = vec![0; 2048];
    for _ in 0..5 {
        socket.send_to(&out, (server, port)).map_err(|_| silence())?;
        if let Ok((length, sender)) = socket.recv_from(&mut buffer) {
            let (got, body) = result(buffer.get(..length).unwrap_or_default())?;
            if got == xid && sender.ip() == server {
                return Ok(body);
            }
        }
    }
    Err(silence())
}

/// The socket address of a fresh UDP socket on a privileged port of `from`.
pub fn udp_from_privileged_port(from: Ipv4Addr) -> io::Result<UdpSocket> {
    let mut last = io::ErrorKind::AddrInUse.into();
    for port in privileged_ports() {
        match UdpSocket::bind((from, port)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What the kernel uses (`xprt_min_resvport` to `xprt_max_resvport`), from the top down as it does.
fn privileged_ports() -> impl Iterator<Item = u16> {
    (665..=1023).rev()
}

enum Problem {
    /// The connection is of no use any more; another may be.
    Lost(io::Error),
    Final(RpcError),
}

/// A TCP connection from a privileged port of `from`.
pub fn tcp_from_privileged_port(from: Ipv4Addr, server: SocketAddrV4) -> io::Result<TcpStream> {
    connect_from_privileged_port(from, server).map_err(|problem| match problem {
        Problem::Lost(error) => error,
        Problem::Final(error) => io::Error::other(error),
    })
}

fn connect_from_privileged_port(from: Ipv4Addr, server: SocketAddrV4) -> Result<TcpStream, Problem> {
    let lost = |errno: Errno| Problem::Lost(errno.into());
    let address = |address: SocketAddrV4| SockaddrIn::from(address);
    let mut last = Errno::EADDRINUSE;
    for port in privileged_ports() {
        let socket =
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(lost)?;
        // Also bounds connect(2).
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(5, 0)).map_err(lost)?;
        setsockopt(&socket, sockopt::TcpNoDelay, &true).map_err(lost)?;
        match bind(socket.as_raw_fd(), &address(SocketAddrV4::new(from, port))) {
            Ok(()) => {}
            Err(errno) => {
                last = errno;
                continue;
            }
        }
        match connect(socket.as_raw_fd(), &address(server)) {
            Ok(()) => {
                let stream = TcpStream::from(socket);
                stream.set_read_timeout(Some(ANSWER)).map_err(Problem::Lost)?;
                return Ok(stream);
            }
            // The last connection from this port is not forgotten yet.
            Err(errno @ (Errno::EADDRNOTAVAIL | Errno::EADDRINUSE)) => last = errno,
            Err(errno) => return Err(lost(errno)),
        }
    }
    Err(Problem::Final(RpcError::NoPort(last.into())))
}

/// One record, its fragments joined.
fn read_record(stream: &mut impl Read) -> Result<Vec<u8>, Problem> {
    let mut record = Vec::new();
    loop {
        let mut mark = [0; 4];
        stream.read_exact(&mut mark).map_err(Problem::Lost)?;
        let mark = u32::from_be_bytes(mark);
        let length = usize::try_from(mark & 0x7fff_ffff).unwrap_or(usize::MAX);
        let start = record.len();
        if length > RECORD || start + length > RECORD {
            return Err(Problem::Final(RpcError::Garbage("a record longer than anything asked for")));
        }
        record.resize(start + length, 0);
        stream.read_exact(record.get_mut(start..).unwrap_or_default()).map_err(Problem::Lost)?;
        if mark & 0x8000_0000 != 0 {
            return Ok(record);
        }
    }
}

/// The number of a reply, and what follows its header.
fn result(record: &[u8]) -> Result<(u32, Vec<u8>), RpcError> {
    match reply::parse(record) {
        Ok((xid, reply::Header::Success, rest)) => Ok((xid, rest.rest().to_vec())),
        Ok((_, reply::Header::Failed(1), _)) => Err(RpcError::Refused("no such program here")),
        Ok((_, reply::Header::Failed(2), _)) => Err(RpcError::Refused("another version of the program")),
        Ok((_, reply::Header::Failed(3), _)) => Err(RpcError::Refused("no such procedure")),
        Ok((_, reply::Header::Failed(_), _)) => Err(RpcError::Refused("the arguments make no sense to it")),
        Ok((_, reply::Header::Denied, _)) => Err(RpcError::Refused("the credential")),
        Err(_) => Err(RpcError::Garbage("not an RPC reply")),
    }
}

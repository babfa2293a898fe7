//! NFS, MOUNT and the portmapper on their sockets.
//!
//! One listener per address of a served network, never on all addresses: answers have the right source, and networks that
//! are not served see nothing. Its port (2049) carries NFS and MOUNT over TCP, MOUNT over UDP; port 111 is in [`super::portmap`].
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

mod call;
mod connection;
mod doorman;
mod replies;
mod stream;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{setsockopt, sockopt};
use portable_atomic::AtomicU64;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::call::{Answer, Caller, answer};
use self::connection::{Connection, Ended};
use self::doorman::Doorman;
use self::replies::Replies;
use self::stream::Stream;
use super::supervisor::{Stop, stopped};
use crate::service::events::Events;
use crate::service::exports::{Exports, Patience};
use crate::types::{MacAddr, Moment, Uid, chain, limits};

pub use self::call::Door;

/// A dead client is noticed after about two minutes, even if nothing is on its way to it.
const KEEPALIVE_AFTER_SECS: u32 = 60;
const KEEPALIVE_EVERY_SECS: u32 = 20;
const KEEPALIVE_PROBES: u32 = 3;

/// A client that takes nothing of what was sent, or leaves it unacknowledged, is cut off after this long.
const UNACKNOWLEDGED_MS: u32 = 30_000;

/// After failing to accept (out of descriptors), before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Connections waiting to be accepted: a room that is switched on at once.
const BACKLOG: u32 = 256;

/// A port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("{protocol} port {} of {} cannot be taken", address.port(), address.ip())]
pub struct BindError {
    pub protocol: &'static str,
    pub address: SocketAddrV4,
    #[source]
    pub source: io::Error,
}

/// Why the service ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    #[error("receiving on {address} failed")]
    Socket {
        address: SocketAddrV4,
        #[source]
        source: io::Error,
    },
    #[error("a task of the NFS service broke")]
    Task(#[from] tokio::task::JoinError),
}

/// Everything connections share.
pub struct Shared {
    exports: Arc<Exports>,
    events: Arc<Events>,
    clock: fn() -> Moment,
    doorman: Arc<Doorman>,
    /// Threads that may wait for the disk.
    disk: Arc<Semaphore>,
    /// Answers from the disk that may be in memory.
    answers: Arc<Semaphore>,
    replies: Arc<Replies>,
    warned_of_port: AtomicBool,
    /// Calls must come from ports below this one.
    unprivileged: u16,
}

/// Ports below are for programs with privileges. A Linux kernel mounts from one; a pupil's program cannot.
const UNPRIVILEGED: u16 = 1024;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("exports", &self.exports).finish_non_exhaustive()
    }
}

impl Shared {
    pub fn new(exports: Arc<Exports>, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self {
            exports,
            events,
            clock: || Moment::from(SystemTime::now()),
            doorman: Arc::default(),
            disk: Arc::new(Semaphore::new(limits::NFS_DISK)),
            answers: Arc::new(Semaphore::new(limits::NFS_ANSWERS)),
            replies: Arc::default(),
            warned_of_port: AtomicBool::new(false),
            unprivileged: UNPRIVILEGED,
        })
    }

    /// Answers the calls that come from the client at `ip` through the tunnel of `whose`, whose near end is `stream`, until it is
    /// closed. `None` if the client has too many connections.
    pub fn answer_tunnel(
        self: &Arc<Self>,
        stream: UnixStream,
        ip: Ipv4Addr,
        whose: Option<Uid>,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let visitor = Arc::new(self.exports.visitor_through(ip, whose));
        let pass = self.doorman.enter(ip, visitor.seat.is_none())?;
        // Whoever let the tunnel in has looked at the port it came from.
        let caller = Caller { visitor, port: 0, door: Door::Nfs };
        let connection = Connection::new(Arc::clone(self), Stream::Inside(stream), caller, pass, None);
        Some(async move {
            if let Err(error) = connection.run().await {
                tracing::debug!(%ip, error = chain(&error), "calls of a tunnel are not answered any more");
            }
        })
    }

    /// Bytes of replies sent to `ip` since it first connected.
    pub fn sent_to(&self, ip: Ipv4Addr) -> u64 {
        self.doorman.sent_to(ip)
    }
}

/// The sockets of one port on one address. Clones share them.
#[derive(Clone, Debug)]
pub struct Port {
    address: SocketAddrV4,
    tcp: Arc<TcpListener>,
    udp: Arc<UdpSocket>,
}

impl Port {
    /// Takes TCP and UDP `port` of `ip`. Must be called inside the runtime.
    pub fn bind(ip: Ipv4Addr, port: u16) -> Result<Self, BindError> {
        let address = SocketAddrV4::new(ip, port);
        let failed = |protocol| move |source| BindError { protocol, address, source };
        let tcp = listen(address).map_err(failed("TCP"))?;
        let udp = receive(address).map_err(failed("UDP"))?;
        Ok(Self { address, tcp: Arc::new(tcp), udp: Arc::new(udp) })
    }

    /// Where it listens; the port is a real one even if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the daemon before this one may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address.into())?;
    socket.listen(BACKLOG)
}

fn receive(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Takes TCP and UDP `port` on each address.
pub fn bind(addresses: &[Ipv4Addr], port: u16) -> Result<Vec<Port>, BindError> {
    addresses.iter().map(|ip| Port::bind(*ip, port)).collect()
}

/// Serves NFS and MOUNT until told to stop.
pub async fn run(shared: Arc<Shared>, ports: Vec<Port>, stop: Stop) -> Result<(), NfsError> {
    let prepare = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || shared.exports.prepare())
    };
    let exports = Arc::clone(&shared.exports);
    let served = tokio::select! {
        served = serve(shared, ports, (Door::Nfs, Door::Mount), stop) => served,
        () = exports.let_go() => Ok(()),
        () = measure(&exports) => Ok(()),
    };
    prepare.abort();
    served
}

/// Sums up what homes and shares take of their quotas, one after the other; for as long as it is polled.
async fn measure(exports: &Exports) {
    loop {
        let export = exports.to_measure().await;
        // A panic was logged; the tree stays unmeasured.
        let _ = tokio::task::spawn_blocking(move || export.measure()).await;
    }
}

/// Serves the programs behind `doors` (TCP, UDP) until told to stop. Connections end with it; clients open new ones.
pub(super) async fn serve(
    shared: Arc<Shared>,
    ports: Vec<Port>,
    doors: (Door, Door),
    mut stop: Stop,
) -> Result<(), NfsError> {
    let mut tasks = JoinSet::new();
    for port in ports {
        tasks.spawn(accept(Arc::clone(&shared), port.clone(), doors.0));
        tasks.spawn(datagrams(Arc::clone(&shared), port, doors.1));
    }
    tokio::select! {
        () = stopped(&mut stop) => Ok(()),
        Some(ended) = tasks.join_next() => ended?,
    }
}

async fn accept(shared: Arc<Shared>, port: Port, door: Door) -> Result<(), NfsError> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = port.tcp.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some((connection, link)) = admit(&shared, stream, peer, door) {
                        connections.spawn(watch(connection, link, peer));
                    }
                }
                // A client that was gone before we came, or no descriptor left: neither ends the service.
                Err(error) => {
                    tracing::debug!(error = chain(&error), "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => ended?,
        }
    }
}

fn admit(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
) -> Option<(Connection, Option<Link>)> {
    let IpAddr::V4(ip) = peer.ip() else { return None };
    let visitor = Arc::new(shared.exports.visitor(ip, None));
    let Some(pass) = shared.doorman.enter(ip, visitor.seat.is_none()) else {
        tracing::debug!(%ip, "too many connections");
        return None;
    };
    if let Err(error) = tune(&stream) {
        tracing::debug!(%ip, error = chain(&error), "a connection was gone at once");
        return None;
    }
    let seat = visitor.seat.as_ref().filter(|_| door == Door::Nfs);
    let (link, read) = seat.map(|seat| Link::new(shared, seat.mac)).unzip();
    let caller = Caller { visitor, port: peer.port(), door };
    Some((Connection::new(Arc::clone(shared), Stream::Tcp(stream), caller, pass, read), link))
}

/// Tells the timeline that a client's connection is there, until it is dropped.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    client: MacAddr,
}

impl Link {
    /// Also gives where to add up what the client is sent.
    fn new(shared: &Arc<Shared>, client: MacAddr) -> (Self, Arc<AtomicU64>) {
        let sent = shared.events.connected(client, (shared.clock)());
        (Self { shared: Arc::clone(shared), client }, sent)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.events.disconnected(self.client, (self.shared.clock)());
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_AFTER_SECS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_EVERY_SECS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS)?;
    Ok(())
}

async fn watch(connection: Connection, _link: Option<Link>, peer: SocketAddr) {
    if let Err(error) = connection.run().await {
        let ip = peer.ip();
        if matches!(error, Ended::Shrunk) {
            tracing::warn!(%ip, error = chain(&error), "connection closed");
        } else {
            tracing::debug!(%ip, error = chain(&error), "connection closed");
        }
    }
}

async fn datagrams(shared: Arc<Shared>, port: Port, door: Door) -> Result<(), NfsError> {
    let mut buffer = vec![0; limits::RPC_DATAGRAM];
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            received = port.udp.recv_from(&mut buffer) => match received {
                Ok((length, peer)) if answers.len() < limits::RPC_DATAGRAMS => {
                    let call = buffer.get(..length).unwrap_or_default().into();
                    answers.spawn(datagram(Arc::clone(&shared), Arc::clone(&port.udp), peer, door, call));
                }
                Ok(_) => {}
                // What Linux says on a UDP socket when an earlier answer met a closed port.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(source) => return Err(NfsError::Socket { address: port.address, source }),
            },
            Some(ended) = answers.join_next() => ended?,
        }
    }
}

async fn datagram(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    door: Door,
    call: Box<[u8]>,
) {
    let IpAddr::V4(ip) = peer.ip() else { return };
    let work = move || {
        let visitor = Arc::new(shared.exports.visitor(ip, None));
        let caller = Caller { visitor, port: peer.port(), door };
        let mut out = Vec::new();
        match answer(&shared, &caller, &call, Patience::Blocking, &mut out) {
            Answer::Ready => Some(out),
            _ => None,
        }
    };
    if let Ok(Some(reply)) = tokio::task::spawn_blocking(work).await {
        // Without the record mark, which a datagram does not have.
        let _ = socket.send_to(reply.get(4..).unwrap_or_default(), peer).await;
    }
}

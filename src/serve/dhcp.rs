//! Carries DHCP between the interfaces and [`Leases`]: sockets, timers, and the order of deciding, storing and sending.
//!
//! One reader a socket puts packets into one queue. The loop takes what is ready, decides all of it, and hands what must
//! be stored to one commit on a blocking thread; while that runs it goes on deciding, and what comes meanwhile shares the
//! next commit. Answers leave by the interface their question came in on.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

#[path = "dhcp_probe.rs"]
mod probe;
#[path = "dhcp_sockets.rs"]
pub(super) mod sockets;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{sleep_until, timeout};

use super::supervisor::stopped;
use crate::config::{Config, DhcpMode};
use crate::proto::dhcp::decide::{Destination, ROM_HOLD};
use crate::proto::dhcp::{Packet, SERVER_PORT, Uptime, frame};
use crate::service::leases::{From, Leases, Neighbour, Now, Outcome, Outgoing};
use crate::store::StoreError;
use crate::sys::arp;
use crate::types::{MacAddr, Moment, chain, limits};
use sockets::Interface;
pub use sockets::{BindError, Sockets};

/// How often a store that keeps failing is complained about: clients ask every few seconds, and all say the same.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// How long it may take until a civil clock that was set is noticed, when no client asks for anything.
const LOOK_AT_CLOCK: Duration = Duration::from_mins(1);

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    #[error("interface `{device}` can no longer be read")]
    Receive {
        device: String,
        #[source]
        source: std::io::Error,
    },
    #[error("a task of the DHCP service broke off")]
    Task(#[source] JoinError),
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The two clocks at once, for [`Leases`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that starts now. One for all of the daemon's life: leases run by it.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub fn now(self) -> Now {
        Now { up: Uptime(self.started.elapsed()), civil: Moment::from(SystemTime::now()) }
    }
}

/// Serves until told to stop. `sockets` are those of the current configuration; a change of the networks opens others.
pub async fn run(
    leases: Arc<Leases>,
    clock: Clock,
    mut config: watch::Receiver<Arc<Config>>,
    mut sockets: Sockets,
    mut stop: watch::Receiver<bool>,
) -> Result<(), DhcpError> {
    loop {
        let served = Arc::clone(&config.borrow_and_update());
        leases.set_config(Arc::clone(&served), clock.now());
        let mut server = Server::new(Arc::clone(&leases), clock, sockets);
        let end = server.serve(&mut config, &mut stop, &served).await;
        server.finish().await;
        match end? {
            End::Stop => return Ok(()),
            End::NetworksChanged => sockets = Sockets::bind(&config.borrow().clone())?,
        }
    }
}

enum End {
    Stop,
    NetworksChanged,
}

/// A packet and where it came from.
#[derive(Debug)]
struct Arrived {
    interface: usize,
    from: SocketAddrV4,
    pxe: bool,
    bytes: Vec<u8>,
}

struct Server {
    leases: Arc<Leases>,
    clock: Clock,
    interfaces: Arc<[Interface]>,
    readers: JoinSet<DhcpError>,
    arrivals: mpsc::Receiver<Arrived>,
    /// Answers that the next commit lets go, with the index of their interface.
    waiting: Vec<(usize, Outgoing)>,
    /// The commit that runs, and the answers it lets go.
    commit: Option<Commit>,
    /// Answers held back, by when they are due and a number that keeps their order.
    delayed: BTreeMap<(Instant, u64), (usize, Outgoing)>,
    numbered: u64,
    probes: JoinSet<Probed>,
    /// Neighbour entries of ours: interface and when they go at the latest.
    pinned: HashMap<Ipv4Addr, (usize, Instant)>,
    /// When a failure of the store was last told.
    complained: Option<Instant>,
}

struct Probed {
    ip: Ipv4Addr,
    in_use: bool,
    arrived: Arrived,
}

impl Server {
    fn new(leases: Arc<Leases>, clock: Clock, sockets: Sockets) -> Self {
        let interfaces: Arc<[Interface]> = sockets.interfaces.into();
        let (sender, arrivals) = mpsc::channel(limits::DHCP_BATCH);
        let mut readers = JoinSet::new();
        for (index, interface) in interfaces.iter().enumerate() {
            for pxe in [false, true] {
                if interface.socket(pxe).is_some() {
                    readers.spawn(read(Arc::clone(&interfaces), index, pxe, sender.clone()));
                }
            }
        }
        // A daemon that was killed could not take back its entries.
        for lease in leases.list(clock.now()) {
            for interface in interfaces.iter().filter(|i| i.networks.contains(&lease.network)) {
                if let Err(error) = arp::unpin(&interface.device, lease.ip) {
                    tracing::debug!(ip = %lease.ip, error = chain(&error), "old neighbour entry stays");
                }
            }
        }
        Self {
            leases,
            clock,
            interfaces,
            readers,
            arrivals,
            waiting: Vec::new(),
            commit: None,
            delayed: BTreeMap::new(),
            numbered: 0,
            probes: JoinSet::new(),
            pinned: HashMap::new(),
            complained: None,
        }
    }

    async fn serve(
        &mut self,
        config: &mut watch::Receiver<Arc<Config>>,
        stop: &mut watch::Receiver<bool>,
        served: &Config,
    ) -> Result<End, DhcpError> {
        let mut batch = Vec::with_capacity(limits::DHCP_BATCH);
        loop {
            let due = self.next_due();
            tokio::select! {
                () = stopped(stop) => return Ok(End::Stop),
                Ok(()) = config.changed() => {
                    let new = Arc::clone(&config.borrow_and_update());
                    if sockets::wanted(&new) != sockets::wanted(served) {
                        return Ok(End::NetworksChanged);
                    }
                    self.leases.set_config(new, self.clock.now());
                    self.start_commit();
                }
                // Without an interface (mode `off`) nothing arrives, and that is no error.
                taken = self.arrivals.recv_many(&mut batch, limits::DHCP_BATCH), if !self.interfaces.is_empty() => {
                    if taken == 0 {
                        return Err(self.reader_ended().await);
                    }
                    for arrived in batch.drain(..) {
                        self.answer(arrived);
                    }
                    self.start_commit();
                }
                Some(ended) = self.readers.join_next() => return Err(ended.unwrap_or_else(DhcpError::Task)),
                Some(probed) = self.probes.join_next(), if !self.probes.is_empty() => {
                    let Probed { ip, in_use, arrived } = probed.map_err(DhcpError::Task)?;
                    self.leases.probed(ip, in_use, self.clock.now());
                    self.answer(arrived);
                    self.start_commit();
                }
                written = committed(&mut self.commit) => self.end_commit(written?),
                () = sleep_until(due.into()) => {
                    self.timers();
                    self.start_commit();
                }
            }
        }
    }

    async fn reader_ended(&mut self) -> DhcpError {
        match self.readers.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => DhcpError::Task(error),
            None => DhcpError::Bind(BindError::NoNetwork),
        }
    }

    /// Decides about one packet. What may go out now, goes.
    fn answer(&mut self, arrived: Arrived) {
        let Some(interface) = self.interfaces.get(arrived.interface) else { return };
        let packet = match Packet::parse(&arrived.bytes) {
            Ok(packet) => packet,
            Err(error) => {
                return tracing::debug!(iface = interface.device, from = %arrived.from, %error, "no DHCP packet");
            }
        };
        let from = From { device: &interface.device, port: arrived.from.port(), pxe: arrived.pxe };
        match self.leases.answer(&packet, from, self.clock.now()) {
            Outcome::Silent(why) => {
                let client = packet.hardware.mac().map(tracing::field::display);
                tracing::debug!(iface = interface.device, client, xid = packet.xid, %why, "no answer");
            }
            Outcome::Probe { ip, client } => self.probe(ip, client, arrived),
            Outcome::Send(outgoing) if outgoing.after_save => {
                self.waiting.push((arrived.interface, outgoing));
            }
            Outcome::Send(outgoing) => self.release(arrived.interface, outgoing),
        }
    }

    fn probe(&mut self, ip: Ipv4Addr, client: Option<MacAddr>, arrived: Arrived) {
        let device = self.interfaces.get(arrived.interface).map(|interface| interface.device.clone());
        let Some(device) = device.filter(|_| self.probes.len() < limits::DHCP_PROBES) else {
            return tracing::debug!(%ip, "no answer: too many probes at once");
        };
        self.probes.spawn(async move {
            let in_use = probe::in_use(&device, ip, client).await.unwrap_or_else(|error| {
                tracing::debug!(iface = device, %ip, error = chain(&error), "address could not be probed");
                false
            });
            if in_use {
                tracing::info!(iface = device, %ip, "address is in use by another device and rests");
            }
            Probed { ip, in_use, arrived }
        });
    }

    /// Starts a commit unless one runs already or there is nothing for it.
    fn start_commit(&mut self) {
        if self.commit.is_none() && (!self.waiting.is_empty() || self.leases.has_unsaved()) {
            let leases = Arc::clone(&self.leases);
            let writing = tokio::task::spawn_blocking(move || leases.save());
            self.commit = Some((writing, std::mem::take(&mut self.waiting)));
        }
    }

    fn end_commit(&mut self, (written, answers): (Result<(), StoreError>, Vec<(usize, Outgoing)>)) {
        match written {
            Ok(()) => {
                for (interface, outgoing) in answers {
                    self.release(interface, outgoing);
                }
                self.start_commit();
            }
            // Not tried again at once: the clients will ask again, and the disk may need a moment.
            Err(error) => {
                let now = Instant::now();
                if self.complained.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
                    self.complained = Some(now);
                    tracing::error!(
                        error = chain(&error),
                        answers = answers.len(),
                        "leases could not be stored, so nobody was told; check the data disk (`bramble status`)"
                    );
                }
            }
        }
    }

    /// Sends an answer now, or when its client is ready to hear it.
    fn release(&mut self, interface: usize, outgoing: Outgoing) {
        if outgoing.delay.is_zero() || self.delayed.len() >= limits::DHCP_DELAYED {
            return self.send(interface, &outgoing);
        }
        self.numbered += 1;
        self.delayed.insert((Instant::now() + outgoing.delay, self.numbered), (interface, outgoing));
    }

    fn send(&mut self, index: usize, outgoing: &Outgoing) {
        let Some(interface) = self.interfaces.get(index) else { return };
        let broadcast = (MacAddr::BROADCAST, Ipv4Addr::BROADCAST);
        let sent = match outgoing.to {
            Destination::Relay(to) | Destination::Client(to) => {
                interface.send(to, outgoing.port, outgoing.pxe, &outgoing.bytes)
            }
            to => {
                let (mac, ip) = if let Destination::Hardware(mac, ip) = to { (mac, ip) } else { broadcast };
                let (from, to) = ((outgoing.from, SERVER_PORT), (ip, outgoing.port));
                interface.packet.send(mac, frame::IPV4, &frame::udp(from, to, &outgoing.bytes))
            }
        };
        if let Err(error) = sent {
            tracing::debug!(iface = interface.device, to = ?outgoing.to, error = chain(&error), "answer was not sent");
        }
        if let Some(neighbour) = outgoing.neighbour {
            self.neighbour(index, neighbour);
        }
    }

    fn neighbour(&mut self, index: usize, neighbour: Neighbour) {
        let Some(interface) = self.interfaces.get(index) else { return };
        let (ip, done) = match neighbour {
            Neighbour::Pin(ip, mac) => {
                self.pinned.insert(ip, (index, Instant::now() + ROM_HOLD));
                (ip, arp::pin(&interface.device, ip, mac))
            }
            Neighbour::Unpin(ip) => match self.pinned.remove(&ip) {
                Some(_) => (ip, arp::unpin(&interface.device, ip)),
                None => return,
            },
        };
        if let Err(error) = done {
            tracing::debug!(iface = interface.device, %ip, error = chain(&error), "neighbour entry not changed");
        }
    }

    fn next_due(&self) -> Instant {
        let held = self.delayed.first_key_value().map(|((due, _), _)| *due);
        let pinned = self.pinned.values().map(|(_, until)| *until).min();
        let look = Instant::now() + LOOK_AT_CLOCK;
        let up = self.clock.now().up;
        let ends = self.leases.tick(self.clock.now()).map(|end| Instant::now() + end.since(up));
        [held, pinned, ends].into_iter().flatten().fold(look, Instant::min)
    }

    fn timers(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let (interface, outgoing) = entry.remove();
            self.send(interface, &outgoing);
        }
        let over: Vec<(Ipv4Addr, usize)> = self
            .pinned
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(ip, (i, _))| (*ip, *i))
            .collect();
        for (ip, interface) in over {
            self.neighbour(interface, Neighbour::Unpin(ip));
        }
    }

    /// Leaves nothing half done: what was decided is stored and sent.
    async fn finish(&mut self) {
        self.readers.shutdown().await;
        self.probes.shutdown().await;
        self.start_commit();
        while self.commit.is_some() {
            match timeout(Duration::from_secs(2), committed(&mut self.commit)).await {
                Ok(Ok(written)) => self.end_commit(written),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        for (ip, (interface, _)) in self.pinned.clone() {
            self.neighbour(interface, Neighbour::Unpin(ip));
        }
    }
}

/// The thread that writes, and the answers that it lets go, with the index of their interface.
type Commit = (JoinHandle<Result<(), StoreError>>, Vec<(usize, Outgoing)>);

/// The end of the commit that runs; for ever pending while none does.
async fn committed(
    commit: &mut Option<Commit>,
) -> Result<(Result<(), StoreError>, Vec<(usize, Outgoing)>), DhcpError> {
    let Some((writing, _)) = commit else { return std::future::pending().await };
    let written = writing.await.map_err(DhcpError::Task);
    let answers = commit.take().map(|(_, answers)| answers).unwrap_or_default();
    Ok((written?, answers))
}

/// Puts what arrives on one socket into the queue; a full queue leaves the rest in the kernel's buffer.
async fn read(
    interfaces: Arc<[Interface]>,
    index: usize,
    pxe: bool,
    queue: mpsc::Sender<Arrived>,
) -> DhcpError {
    let gone = |device: &str, source| DhcpError::Receive { device: device.to_owned(), source };
    let Some((interface, socket)) = interfaces.get(index).and_then(|i| Some((i, i.socket(pxe)?))) else {
        return DhcpError::Bind(BindError::NoNetwork);
    };
    let mut buffer = vec![0; limits::DHCP_PACKET + 1];
    loop {
        let arrived = match socket.recv_from(&mut buffer).await {
            Ok((len, std::net::SocketAddr::V4(from))) => {
                let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                Arrived { interface: index, from, pxe, bytes }
            }
            Ok(_) => continue,
            // What an ICMP error about an earlier answer looks like here.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return gone(&interface.device, error),
        };
        if queue.send(arrived).await.is_err() {
            return DhcpError::Bind(BindError::NoNetwork);
        }
    }
}

/// Whether the mode needs sockets at all.
pub fn is_wanted(config: &Config) -> bool {
    config.dhcp.mode != DhcpMode::Off
}

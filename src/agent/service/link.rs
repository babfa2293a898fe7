//! The agent's connection to the server: kept up by one thread, used by all.
//!
//! TLS 1.3 over TCP from a privileged port. The server is known by the fingerprint of its certificate, which stood on the
//! kernel command line; names and dates in the certificate are not looked at, because a Pi has no clock of its own. When
//! the connection breaks it is made again, sooner first and later on, for as long as the client runs; whoever asks
//! meanwhile is told after a few seconds.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, setsockopt, socket, sockopt,
};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error as TlsError, OtherError};
use zeroize::Zeroizing;

use crate::proto::agent::channel::{
    Ask, Hello, Inbox, Order, PORT, People, Pin, Reply, SILENCE, ToAgent, ToServer, VERSION, encode,
};
use crate::proto::agent::eeprom::Report;
use crate::proto::agent::health::Health;
use crate::proto::agent::pinned;
use crate::proto::agent::run::End;
use crate::types::{SessionId, chain};

/// Source ports that only root can use and the kernel's NFS client does not (it starts at 665).
const PRIVILEGED: Range<u16> = 512..665;

/// How long the server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long somebody who asks waits for a connection that is just being made.
const UNTIL_CONNECTED: Duration = Duration::from_secs(4);

/// How long an answer may take: a server under load checks a room's passwords one after the other.
const UNTIL_ANSWERED: Duration = Duration::from_secs(30);

/// How long the server's kernel may take to say that it has got what was sent; without that the connection is dead, and
/// whoever waits for an answer need not wait longer.
const UNTIL_ACKNOWLEDGED: Duration = Duration::from_secs(8);

/// Pauses between attempts: the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Messages that wait to be sent before a command that prints more has to wait.
const QUEUED: usize = 16;

/// Somebody else answered at the server's address, or the server has another key since this client was started.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not the one that the kernel command line names; start this client again")]
struct NotPinned;

/// What went wrong with TLS, in words.
fn explain(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::Other(OtherError(why))) => why.to_string(),
        other => other.to_string(),
    }
}

/// What the link tells the rest of the service.
#[derive(Debug)]
pub enum Event {
    People(People),
    Order {
        id: u32,
        order: Order,
    },
    /// Opened after who asked for it had given up, and had turned the person away.
    Late(SessionId),
    /// In a sentence, for the log: up, down and why.
    Changed(String),
}

/// There was no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("there is no connection to the server")]
    NotConnected,
    #[error("the server does not answer")]
    Late,
    #[error("the message is too long for the server")]
    TooLong,
}

/// Where the server is and how it is known.
#[derive(Clone, Debug)]
pub struct Server {
    pub ip: Ipv4Addr,
    pub port: u16,
    pub pin: Pin,
    /// Where connections come from.
    pub own_ports: Range<u16>,
}

impl Server {
    pub const fn new(ip: Ipv4Addr, pin: Pin) -> Self {
        Self { ip, port: PORT, pin, own_ports: PRIVILEGED }
    }
}

/// Shared by everybody who asks the server.
#[derive(Debug)]
pub struct Link {
    state: Mutex<State>,
    connected: Condvar,
    /// A byte into it makes the connection's thread look at the queue.
    wake: UnixStream,
}

#[derive(Debug, Default)]
struct State {
    /// The server has been greeted: from now on it may give orders.
    open: bool,
    /// It has welcomed this client: from now on it answers.
    connected: bool,
    queue: VecDeque<Zeroizing<Vec<u8>>>,
    waiting: BTreeMap<u32, Sender<Reply>>,
    last_id: u32,
}

impl Link {
    /// The link, and what the thread that runs [`Link::keep`] needs.
    pub fn new() -> io::Result<(Self, UnixStream)> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok((Self { state: Mutex::default(), connected: Condvar::new(), wake }, woken))
    }

    /// Asks, and waits for the answer.
    pub fn ask(&self, ask: Ask) -> Result<Reply, NoAnswer> {
        let (id, reply) = self.queue(ask)?;
        let answer = reply.recv_timeout(UNTIL_ANSWERED);
        self.state().waiting.remove(&id);
        // It may have come in this moment.
        answer.or_else(|_| reply.try_recv()).map_err(|_| NoAnswer::Late)
    }

    /// Tells the server that an order was carried out. Without a connection it is not told, and sees it by itself.
    pub fn done(&self, id: u32, trouble: Option<&str>) {
        let done = ToServer::Done { id, trouble: trouble.map(Into::into) };
        if let Ok(frame) = encode(&done) {
            self.send(&mut self.state(), frame);
        }
    }

    /// Tells the server what a command has printed; waits while the connection carries no more.
    pub fn printed(&self, id: u32, bytes: &[u8]) {
        if let Ok(frame) = encode(&ToServer::Printed { id, bytes: bytes.into() }) {
            let waited = self
                .connected
                .wait_while(self.state(), |state| state.open && state.queue.len() >= QUEUED)
                .unwrap_or_else(PoisonError::into_inner);
            let mut state = waited;
            self.send(&mut state, frame);
        }
    }

    /// Tells the server how a command ended.
    pub fn ran(&self, id: u32, end: End) {
        if let Ok(frame) = encode(&ToServer::Ran { id, end }) {
            self.send(&mut self.state(), frame);
        }
    }

    /// Tells the server how this client is.
    pub fn health(&self, health: Health) {
        if let Ok(frame) = encode(&ToServer::Health(health)) {
            self.send(&mut self.state(), frame);
        }
    }

    /// Tells the server what this client's bootloader is.
    pub fn eeprom(&self, report: Report) {
        if let Ok(frame) = encode(&ToServer::Eeprom(report)) {
            self.send(&mut self.state(), frame);
        }
    }

    fn queue(&self, ask: Ask) -> Result<(u32, Receiver<Reply>), NoAnswer> {
        let waited = self
            .connected
            .wait_timeout_while(self.state(), UNTIL_CONNECTED, |state| !state.connected)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut state, timeout) = waited;
        if timeout.timed_out() {
            return Err(NoAnswer::NotConnected);
        }
        state.last_id = state.last_id.wrapping_add(1);
        let id = state.last_id;
        let frame = encode(&ToServer::Ask { id, ask }).map_err(|_| NoAnswer::TooLong)?;
        let (answer, reply) = channel();
        state.waiting.insert(id, answer);
        self.send(&mut state, frame);
        Ok((id, reply))
    }

    fn send(&self, state: &mut State, frame: Zeroizing<Vec<u8>>) {
        if state.open {
            state.queue.push_back(frame);
            // A full pipe wakes as well.
            let _ = (&self.wake).write(&[1]);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, and connects again whenever the connection ends. `hello` is asked for each time.
    pub fn keep(
        &self,
        server: &Server,
        woken: &UnixStream,
        hello: impl Fn() -> Hello,
        mut tell: impl FnMut(Event),
    ) -> ! {
        let (first, longest) = PAUSES;
        let mut pause = first;
        let mut said = String::new();
        loop {
            let begin = Instant::now();
            let why = match Connection::open(server) {
                Ok(mut connection) => {
                    let ended = self.run(&mut connection, woken, hello(), &mut tell);
                    self.hang_up();
                    ended.unwrap_or_else(|error| error.to_string())
                }
                Err(error) => chain(&error),
            };
            // The same reason again and again fills a log and tells nothing.
            if said != why {
                tell(Event::Changed(format!("the connection to the server is down: {why}")));
                said = why;
            }
            if begin.elapsed() > longest {
                pause = first;
                said.clear();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }

    fn hang_up(&self) {
        let mut state = self.state();
        (state.open, state.connected) = (false, false);
        state.queue.clear();
        // Whoever waits for an answer hears at once that there will be none.
        state.waiting.clear();
        self.connected.notify_all();
    }

    /// Until the connection ends; the reason.
    fn run(
        &self,
        connection: &mut Connection,
        woken: &UnixStream,
        hello: Hello,
        tell: &mut impl FnMut(Event),
    ) -> io::Result<String> {
        connection.send(&ToServer::Hello(hello))?;
        self.state().open = true;
        let mut heard = Instant::now();
        loop {
            let left = SILENCE.saturating_sub(heard.elapsed());
            if left.is_zero() {
                return Ok(format!("the server has been silent for {} seconds", SILENCE.as_secs()));
            }
            // What was left in the queue has woken nobody since.
            let left =
                if connection.wants_write() || self.state().queue.is_empty() { left } else { Duration::ZERO };
            if connection.wait(Some(woken), left)? {
                let mut bytes = [0; 64];
                while matches!((&*woken).read(&mut bytes), Ok(1..)) {}
            }
            connection.flush()?;
            // What the socket has not taken yet comes first: whoever prints more than the line carries waits.
            let frames = if connection.wants_write() {
                VecDeque::new()
            } else {
                std::mem::take(&mut self.state().queue)
            };
            if !frames.is_empty() {
                // Who prints may go on.
                self.connected.notify_all();
            }
            for frame in frames {
                connection.write(&frame)?;
            }
            for message in connection.receive()? {
                heard = Instant::now();
                match message {
                    ToAgent::Welcome { version, people } if version == VERSION => {
                        tell(Event::People(people));
                        tell(Event::Changed("connected to the server".to_owned()));
                        self.state().connected = true;
                        self.connected.notify_all();
                    }
                    ToAgent::Welcome { version, .. } => {
                        return Ok(format!(
                            "the server speaks version {version} of the channel, this agent {VERSION}; \
                             restart this client, so that it fetches the server's agent"
                        ));
                    }
                    ToAgent::People(people) => tell(Event::People(people)),
                    ToAgent::Reply { id, reply } => {
                        let mut state = self.state();
                        let late = match state.waiting.remove(&id) {
                            Some(waiting) => waiting.send(reply).err().map(|unheard| unheard.0),
                            None => Some(reply),
                        };
                        drop(state);
                        if let Some(Reply::Opened { session, .. }) = late {
                            tell(Event::Late(session));
                        }
                    }
                    ToAgent::Order { id, order } => tell(Event::Order { id, order }),
                    // Meant for another connection.
                    ToAgent::Screen | ToAgent::Tunnel => {}
                    ToAgent::Ping => connection.send(&ToServer::Pong)?,
                    ToAgent::Farewell { message } => return Ok(message),
                }
            }
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NotConnected {
    #[error("the server {0} cannot be reached")]
    Tcp(Ipv4Addr, #[source] io::Error),
    #[error("no privileged port is free")]
    NoPort,
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// One TLS connection, not blocking.
pub struct Connection {
    tcp: TcpStream,
    tls: ClientConnection,
    inbox: Inbox<ToAgent>,
}

impl Connection {
    pub fn open(server: &Server) -> Result<Self, NotConnected> {
        let tcp = dial(server)?;
        let name = ServerName::IpAddress(std::net::IpAddr::V4(server.ip).into());
        let mut tls = ClientConnection::new(
            pinned::config(server.pin, || CertificateError::Other(OtherError(Arc::new(NotPinned))).into())?,
            name,
        )?;
        // Whoever writes waits until it has gone out before there is more.
        tls.set_buffer_limit(None);
        Ok(Self { tcp, tls, inbox: Inbox::default() })
    }

    /// Has it carry something else than messages: says `what`, and waits at most `within` for `taken`, the last message. `None` if
    /// that has not come.
    pub fn becomes(
        mut self,
        what: &ToServer,
        taken: impl Fn(&ToAgent) -> bool,
        within: Duration,
    ) -> io::Result<Option<Self>> {
        self.send(what)?;
        let begin = Instant::now();
        while let Some(left) = within.checked_sub(begin.elapsed()) {
            self.wait(None, left)?;
            if self.receive()?.iter().any(&taken) {
                return Ok(Some(self));
            }
        }
        Ok(None)
    }

    pub fn send(&mut self, message: &ToServer) -> io::Result<()> {
        let frame = encode(message).map_err(io::Error::other)?;
        self.write(&frame)
    }

    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(frame)?;
        self.flush()
    }

    /// Sends what TLS has ready, as far as the socket takes it; [`Self::wait`] sees to the rest.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something waits to be taken by the socket.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }

    /// On a connection that carries something else than messages: how many bytes have come, which may be none yet.
    pub fn receive_bytes(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(error),
            }
            self.tls.process_new_packets().map_err(|error| io::Error::other(explain(&error)))?;
        }
    }

    /// Until something can be read or written, or somebody wants to send; whether the latter.
    pub fn wait(&mut self, woken: Option<&UnixStream>, left: Duration) -> io::Result<bool> {
        // Whoever has left something to write is woken also if it is gone now.
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, self.tls.wants_write());
        self.flush()?;
        let mut fds = vec![PollFd::new(self.tcp.as_fd(), events)];
        fds.extend(woken.map(|woken| PollFd::new(woken.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(fds.get(1).and_then(PollFd::any).unwrap_or(false))
    }

    /// The messages that have come.
    pub fn receive(&mut self) -> io::Result<Vec<ToAgent>> {
        let mut messages = Vec::new();
        loop {
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has hung up")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            let state = self.tls.process_new_packets();
            if state.is_err() {
                // The server is to hear what was wrong with its certificate.
                let _ = self.flush();
            }
            let state = state.map_err(|error| io::Error::other(explain(&error)))?;
            let mut ready = state.plaintext_bytes_to_read();
            let mut buffer = [0; 4096];
            while ready > 0 {
                let got = self.tls.reader().read(&mut buffer)?;
                messages.extend(
                    self.inbox
                        .take(buffer.get(..got).unwrap_or_default())
                        .map_err(|error| io::Error::other(chain(&error)))?,
                );
                ready = ready.saturating_sub(got.max(1));
            }
        }
        self.flush()?;
        Ok(messages)
    }
}

/// The server is told that this was the end, and not a break.
impl Drop for Connection {
    fn drop(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
    }
}

/// A TCP connection from a privileged port.
fn dial(server: &Server) -> Result<TcpStream, NotConnected> {
    let unreachable = |error: Errno| NotConnected::Tcp(server.ip, error.into());
    let to = SockaddrIn::from(SocketAddrV4::new(server.ip, server.port));
    // From where the last connection went out its end may still be remembered; so not always the same one first.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let turn = usize::try_from(now.subsec_nanos()).unwrap_or(0) % server.own_ports.len().max(1);
    for port in server.own_ports.clone().cycle().skip(turn).take(server.own_ports.len()) {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )
        .map_err(unreachable)?;
        let own = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        match bind(fd.as_raw_fd(), &own) {
            Ok(()) => {}
            Err(Errno::EADDRINUSE | Errno::EACCES) => continue,
            Err(error) => return Err(unreachable(error)),
        }
        match connect(fd.as_raw_fd(), &to) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE) => continue,
            Err(error) => return Err(unreachable(error)),
        }
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(CONNECT).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) => return Err(unreachable(Errno::ETIMEDOUT)),
            Ok(_) => {}
            Err(error) => return Err(unreachable(error)),
        }
        match getsockopt(&fd, sockopt::SocketError).map_err(unreachable)? {
            0 => {}
            error => return Err(unreachable(Errno::from_raw(error))),
        }
        setsockopt(&fd, sockopt::TcpNoDelay, &true).map_err(unreachable)?;
        let millis = u32::try_from(UNTIL_ACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
        setsockopt(&fd, sockopt::TcpUserTimeout, &millis).map_err(unreachable)?;
        return Ok(TcpStream::from(fd));
    }
    Err(NotConnected::NoPort)
}

#[cfg(test)]
pub mod tests;

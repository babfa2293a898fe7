//! The agent's channel as a Pi has it: TLS to a server that it knows by its pin, asks and their replies.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::rpc::tcp_from_privileged_port;
use crate::proto::agent::act;
use crate::proto::agent::channel::{
    Ask, BadFrame, Code, Hello, Inbox, Mount, Order, PORT, People, Pin, Reply, ToAgent, ToServer, TooLong,
    VERSION, encode,
};
use crate::proto::agent::eeprom::{self, Report};
use crate::proto::agent::health::{self, Health};
use crate::proto::agent::pinned;
use crate::proto::agent::tunnel::{self, Key};
use crate::types::{Moment, Person, Secret, SessionId, SessionKind, Uid, UserName};

/// Longer than a crowd of log-ins takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why nothing came of an ask.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the channel broke")]
    Io(#[from] io::Error),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("what was to be sent is too long")]
    TooLong(#[from] TooLong),
    #[error("what came is no message")]
    Frame(#[from] BadFrame),
    #[error("the server hung up: {0}")]
    Farewell(String),
    #[error("the server said no ({code:?}): {message}")]
    Refused { code: Code, message: String },
    #[error("the server answered something else than was asked")]
    Nonsense,
}

/// An open channel.
#[derive(Debug)]
pub struct Channel {
    tls: Tls,
    inbox: Inbox<ToAgent>,
    heard: VecDeque<ToAgent>,
    asked: u32,
    /// As the server last told them.
    pub people: Option<People>,
    /// What the server wants done, oldest first.
    pub orders: VecDeque<(u32, Order)>,
    opened: Instant,
    /// What it answers when asked how it is.
    pub health: Health,
    /// What it answers when asked about its bootloader.
    pub eeprom: Report,
    /// How often it was asked.
    pub asked_health: u32,
    /// Of whoever logged in last, if their files are encrypted.
    pub tunnel: Option<Key>,
}

impl Channel {
    /// Connects and greets, and waits to be welcomed.
    pub fn open(
        from: Ipv4Addr,
        server: Ipv4Addr,
        pin: Pin,
        boot_id: &str,
        sessions: &[SessionId],
    ) -> Result<Self, ChannelError> {
        let tcp = tcp_from_privileged_port(from, SocketAddrV4::new(server, PORT))?;
        Self::over(tcp, pin, boot_id, sessions)
    }

    /// The same over a connection that is there.
    pub fn over(
        tcp: TcpStream,
        pin: Pin,
        boot_id: &str,
        sessions: &[SessionId],
    ) -> Result<Self, ChannelError> {
        let mut channel = Self {
            tls: tls(tcp, pin)?,
            inbox: Inbox::default(),
            heard: VecDeque::new(),
            asked: 0,
            people: None,
            orders: VecDeque::new(),
            opened: Instant::now(),
            health: Health::default(),
            eeprom: Report::default(),
            asked_health: 0,
            tunnel: None,
        };
        let sessions = sessions.to_vec();
        let hello = Hello {
            version: VERSION,
            agent: "simulated".into(),
            boot_id: boot_id.into(),
            sessions,
            can: [act::CAN, act::CAN_SCREEN, health::CAN, eeprom::CAN, tunnel::CAN].map(Into::into).to_vec(),
            mode: None,
        };
        channel.say(&ToServer::Hello(hello))?;
        while channel.people.is_none() {
            channel.listen()?;
        }
        Ok(channel)
    }

    /// Asks and waits for the reply; what else the server says meanwhile is kept.
    pub fn ask(&mut self, ask: Ask) -> Result<Reply, ChannelError> {
        self.asked += 1;
        let asked = self.asked;
        self.say(&ToServer::Ask { id: asked, ask })?;
        loop {
            match self.listen()? {
                Some((id, reply)) if id == asked => return Ok(reply),
                Some(_) => return Err(ChannelError::Nonsense),
                None => {}
            }
        }
    }

    /// What PAM does: the password, and then a session with what is to be mounted for it.
    pub fn log_in(
        &mut self,
        name: &UserName,
        password: &Secret,
    ) -> Result<(Person, SessionId, Vec<Mount>), ChannelError> {
        let (service, terminal) = ("login", "tty1");
        let password = password.clone();
        let ask = Ask::Authenticate {
            name: name.clone(),
            password,
            service: service.into(),
            terminal: terminal.into(),
        };
        let person = match self.ask(ask)? {
            Reply::Verified { person } => person,
            other => return Err(no(other)),
        };
        let (service, terminal, kind) = (service.into(), terminal.into(), SessionKind::Console);
        match self.ask(Ask::OpenSession { name: name.clone(), service, terminal, kind })? {
            Reply::Opened { session, mounts, tunnel } => {
                self.tunnel = tunnel;
                Ok((person, session, mounts))
            }
            other => Err(no(other)),
        }
    }

    pub fn log_out(&mut self, session: SessionId) -> Result<(), ChannelError> {
        match self.ask(Ask::CloseSession { session })? {
            Reply::Closed => Ok(()),
            other => Err(no(other)),
        }
    }

    /// Says how an order went.
    pub fn done(&mut self, id: u32, trouble: Option<&str>) -> Result<(), ChannelError> {
        self.say(&ToServer::Done { id, trouble: trouble.map(Into::into) })
    }

    /// Waits for something the server says; a reply is given back, the rest is kept or answered.
    pub fn listen(&mut self) -> Result<Option<(u32, Reply)>, ChannelError> {
        loop {
            match self.heard.pop_front() {
                Some(ToAgent::Welcome { people, .. } | ToAgent::People(people)) => {
                    self.people = Some(people);
                    return Ok(None);
                }
                Some(ToAgent::Reply { id, reply }) => return Ok(Some((id, reply))),
                Some(ToAgent::Order { order: Order::Health, .. }) => {
                    self.asked_health += 1;
                    // Its clocks are right unless a test has set them.
                    let mut health = self.health.clone();
                    if health.clock == Moment::default() {
                        health.clock = SystemTime::now().into();
                        health.uptime_s = self.opened.elapsed().as_secs();
                    }
                    self.say(&ToServer::Health(health))?;
                    return Ok(None);
                }
                Some(ToAgent::Order { order: Order::Eeprom, .. }) => {
                    self.say(&ToServer::Eeprom(self.eeprom.clone()))?;
                    return Ok(None);
                }
                Some(ToAgent::Order { id, order }) => {
                    self.orders.push_back((id, order));
                    return Ok(None);
                }
                Some(ToAgent::Screen | ToAgent::Tunnel) => return Err(ChannelError::Nonsense),
                Some(ToAgent::Ping) => self.say(&ToServer::Pong)?,
                Some(ToAgent::Farewell { message }) => return Err(ChannelError::Farewell(message)),
                None => {
                    let mut bytes = [0; 4096];
                    let length = self.tls.read(&mut bytes)?;
                    if length == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    self.heard.extend(self.inbox.take(bytes.get(..length).unwrap_or_default())?);
                }
            }
        }
    }

    /// Sends bytes as they are, for an agent that means no good.
    pub fn throw(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        self.tls.write_all(bytes)?;
        self.tls.flush()?;
        Ok(())
    }

    /// Sends one message, asked for or not.
    pub fn say(&mut self, message: &ToServer) -> Result<(), ChannelError> {
        self.tls.write_all(&encode(message)?)?;
        self.tls.flush()?;
        Ok(())
    }
}

/// TLS with the server of the pin.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

fn tls(tcp: TcpStream, pin: Pin) -> Result<Tls, ChannelError> {
    tcp.set_read_timeout(Some(PATIENCE))?;
    let stranger =
        || rustls::Error::General("this is not the server that the kernel command line names".to_owned());
    let name = ServerName::try_from("bramble").map_err(|_| ChannelError::Nonsense)?;
    Ok(StreamOwned::new(ClientConnection::new(pinned::config(pin, stranger)?, name)?, tcp))
}

/// A connection that has become the tunnel of `uid`: what is sent from now on are calls.
pub fn become_tunnel(
    from: Ipv4Addr,
    server: Ipv4Addr,
    pin: Pin,
    uid: Uid,
    key: Key,
) -> Result<Tls, ChannelError> {
    let mut tls = tls(tcp_from_privileged_port(from, SocketAddrV4::new(server, PORT))?, pin)?;
    tls.write_all(&encode(&ToServer::Tunnel { uid, key })?)?;
    tls.flush()?;
    let mut inbox = Inbox::<ToAgent>::default();
    // Byte by byte: what follows is not ours.
    let mut byte = [0];
    loop {
        tls.read_exact(&mut byte)?;
        match inbox.take(&byte)?.pop() {
            None => {}
            Some(ToAgent::Tunnel) => return Ok(tls),
            Some(_) => return Err(ChannelError::Nonsense),
        }
    }
}

fn no(reply: Reply) -> ChannelError {
    match reply {
        Reply::Refused { code, message } => ChannelError::Refused { code, message },
        _ => ChannelError::Nonsense,
    }
}

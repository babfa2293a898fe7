//! The agent's channel: what `bramble-agent` and the server tell each other while a client runs.
//!
//! The channel is TLS 1.3 over TCP to port [`PORT`] of the server. The agent knows the server by the fingerprint of its
//! certificate, which stands on the kernel command line ([`PARAMETER`]); the server knows the agent by its leased address
//! and a privileged source port. Inside, each message is JSON behind its length, a big-endian `u32`. The agent speaks
//! first ([`ToServer::Hello`]); after that, either side may send at any time.
//!
//! Nothing here opens a socket or knows TLS: [`encode`] makes bytes of a message, [`Inbox`] makes messages of bytes. What a
//! message may not be longer than stands with its type ([`Message::LIMIT`]).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::act::Act;
use super::eeprom::Report;
use super::health::Health;
use super::run::{End, Line};
use super::tunnel::Key;
use crate::types::{ClassName, Gid, Mode, Person, Secret, SessionId, SessionKind, Uid, UserName, limits};

/// TCP port of the server; reports have the same number over UDP.
pub const PORT: u16 = super::REPORT_PORT;

/// Version of the messages. Fields and variants may be added without a new one: what is not known is left out.
pub const VERSION: u32 = 1;

/// Name of the kernel parameter that holds the [`Pin`].
pub const PARAMETER: &str = "bramble.pin";

/// How often the server sends [`ToAgent::Ping`].
pub const PING_EVERY: Duration = Duration::from_secs(20);

/// Without a message for this long, the other side is gone: three pings.
pub const SILENCE: Duration = Duration::from_mins(1);

/// What an agent sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToServer {
    /// The first message of a connection, and no later one.
    Hello(Hello),
    /// Answered by one [`ToAgent::Reply`] with the same `id`; replies need not come in the order of the asks.
    Ask { id: u32, ask: Ask },
    /// An order was carried out; `trouble` is why not, in one line.
    Done { id: u32, trouble: Option<Label> },
    /// The answer to [`ToAgent::Ping`].
    Pong,
    /// The answer to [`Order::Health`].
    Health(Health),
    /// The answer to [`Order::Eeprom`].
    Eeprom(Report),
    /// In place of a greeting, on a connection of its own: this is the screen that was asked for with
    /// [`super::act::Act::Screen`]. Behind [`ToAgent::Screen`] the connection carries what wayvnc says, and nothing else.
    Screen { ticket: Label },
    /// In place of a greeting, on a connection of its own: a person's files. Behind [`ToAgent::Tunnel`] the connection carries
    /// NFS and MOUNT over TCP (RFC 5531, section 11) from the client, and nothing else.
    Tunnel { uid: Uid, key: Key },
    /// What the command of [`Order::Run`] with this `id` has printed.
    Printed { id: u32, bytes: Printed },
    /// The answer to [`Order::Run`].
    Ran { id: u32, end: End },
}

/// A piece of what a command prints. As text where it is text, which nearly all of it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Printed {
    Text(String),
    Bytes(Vec<u8>),
}

impl Printed {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Printed {
    fn from(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes)
            .map_or_else(|_| Self::Bytes(bytes.to_vec()), |text| Self::Text(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    /// Which agent this is, such as `0.1.0`.
    pub agent: Label,
    /// What the kernel has in `/proc/sys/kernel/random/boot_id`: another one means that the client was started again.
    pub boot_id: Label,
    /// What still runs here from before the connection broke. Anything else the server took to be open here is over.
    pub sessions: Vec<SessionId>,
    /// Words for what this agent knows beyond the first version of the channel, such as [`super::act::CAN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<Label>,
    /// How this client has been used since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Answered with [`Reply::Verified`].
    Authenticate { name: UserName, password: Secret, service: Label, terminal: Label },
    /// Answered with [`Reply::Changed`]. It counts as a verified password.
    ChangePassword { name: UserName, old: Secret, new: Secret },
    /// Answered with [`Reply::Opened`] if this account's password was verified from this client a short while ago.
    OpenSession { name: UserName, service: Label, terminal: Label, kind: SessionKind },
    /// Answered with [`Reply::Closed`], also for a session that is over already.
    CloseSession { session: SessionId },
}

/// What the server sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAgent {
    /// The answer to [`ToServer::Hello`].
    Welcome {
        version: u32,
        people: People,
    },
    /// Whenever they have changed; it replaces what was sent before.
    People(People),
    Reply {
        id: u32,
        reply: Reply,
    },
    /// Answered with [`ToServer::Done`].
    Order {
        id: u32,
        order: Order,
    },
    /// Answered with [`ToServer::Pong`].
    Ping,
    /// The answer to [`ToServer::Screen`]: somebody waits for it.
    Screen,
    /// The answer to [`ToServer::Tunnel`]: the next bytes are calls.
    Tunnel,
    /// Why the server is about to hang up, in a sentence for the client's log.
    Farewell {
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Verified {
        person: Person,
    },
    Changed,
    Opened {
        session: SessionId,
        /// In the order in which they are to be mounted.
        mounts: Vec<Mount>,
        /// Opens the person's tunnel from this client, until its next start; then they can be mounted through that alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tunnel: Option<Key>,
    },
    Closed,
    Refused {
        code: Code,
        /// A sentence for the person at the client.
        message: String,
    },
}

/// Why an ask was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The password is wrong, or there is no such account: the client cannot tell one from the other.
    WrongPassword,
    Disabled,
    Expired,
    /// The account may not use this client.
    NotHere,
    /// Too many wrong passwords; the message says how long to wait.
    TooManyTries,
    /// The directory that knows the passwords does not answer.
    Unreachable,
    /// The new password is too weak.
    Weak,
    /// More log-ins are waiting than the server can check.
    Busy,
    /// A session may only be opened after its password was verified from the same client.
    NotVerified,
    /// The person is logged in elsewhere, and the setting allows one seat at a time.
    LoggedInElsewhere,
    /// The server could not do it; its log says why.
    Trouble,
    /// A newer server's reason; the message says it.
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Log the person out; the server has taken, or is about to take, the home away.
    EndSession {
        session: SessionId,
        /// Shown to the person.
        message: String,
    },
    /// Only for an agent that [`super::act::CAN`].
    Act(Act),
    /// Answered with [`ToServer::Health`]; only for an agent that [`super::health::CAN`].
    Health,
    /// Answered with [`ToServer::Eeprom`]; only for an agent that [`super::eeprom::CAN`].
    Eeprom,
    /// Answered with [`ToServer::Ran`]; only for an agent that [`super::run::CAN`].
    Run(Line),
    /// Ends the command of the order `run`.
    Stop { run: u32 },
}

/// A tree of the server that belongs to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the server, such as `/home/anna`.
    pub path: String,
    /// On the client, such as `/home/anna/Shared/materials`.
    pub at: String,
    pub writable: bool,
    pub kind: MountKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    Home,
    Share,
}

/// Who may log in at a client, and what they may do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Sorted by name.
    pub persons: Vec<Person>,
    /// Those that `persons` are in, sorted by name.
    pub classes: Vec<Class>,
    /// Groups of the image that everybody who logs in is also in, such as `gpio`.
    pub groups: Vec<String>,
    pub sudo: Sudo,
    /// Whether caches are kept in the client's memory instead of the home.
    pub local_caches: bool,
}

/// A class as a group of the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    pub name: ClassName,
    pub gid: Gid,
    /// Sorted; only those who may log in at this client.
    pub members: Vec<UserName>,
}

/// Who may become root on a client with `sudo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sudo {
    #[default]
    Nobody,
    Teachers,
    Everybody,
}

impl FromStr for Sudo {
    type Err = BadSudo;

    fn from_str(text: &str) -> Result<Self, BadSudo> {
        match text {
            "nobody" => Ok(Self::Nobody),
            "teachers" => Ok(Self::Teachers),
            "everybody" => Ok(Self::Everybody),
            _ => Err(BadSudo),
        }
    }
}

/// The text was not one of the words for who may use `sudo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `nobody`, `teachers` or `everybody`")]
pub struct BadSudo;

/// A word that only people read: a PAM service, a terminal, a version. Always one short printable line, whatever was sent,
/// because it goes into logs, tables and the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Label(String);

impl Label {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        let mut line = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if line.len() + c.len_utf8() > limits::CHANNEL_LABEL {
                break;
            }
            line.push(c);
        }
        Self(line.trim().to_owned())
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Fingerprint of the server's certificate: SHA-256 over its DER, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

/// The text was no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fingerprint is 64 hex digits; the server writes it into the kernel command line as `{PARAMETER}=`"
)]
pub struct BadPin;

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let mut digits = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
        let mut digit = || digits.next().flatten().ok_or(BadPin);
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            *byte = digit()? << 4 | digit()?;
        }
        if text.len() == 64 { Ok(Self(bytes)) } else { Err(BadPin) }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What can stand in a frame.
pub trait Message: Serialize + DeserializeOwned {
    /// Longest JSON of one, in bytes.
    const LIMIT: usize;
}

impl Message for ToServer {
    const LIMIT: usize = limits::CHANNEL_TO_SERVER;
}

impl Message for ToAgent {
    const LIMIT: usize = limits::CHANNEL_TO_AGENT;
}

/// A message that would not be read at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is longer than the {limit} allowed")]
pub struct TooLong {
    pub length: usize,
    pub limit: usize,
}

/// Why what came is no message. The connection is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    #[error("a message is announced with {length} bytes; it may have 1 to {limit}")]
    Length { length: u32, limit: usize },
    /// Without the cause as serde tells it: that may repeat what was sent, and what was sent may be a password.
    #[error("a message cannot be read (at byte {column} of {length})")]
    Json { column: usize, length: usize },
}

/// `message` as it goes over the wire. Wiped when dropped, because it may hold a password.
pub fn encode<M: Message>(message: &M) -> Result<Zeroizing<Vec<u8>>, TooLong> {
    // Counted first, so that the buffer never grows and leaves no copy of a password behind.
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, message).expect("strings, numbers and lists of them are always JSON");
    let Counter(length) = counter;
    let too_long = TooLong { length, limit: M::LIMIT };
    if length > M::LIMIT {
        return Err(too_long);
    }
    let header = u32::try_from(length).map_err(|_| too_long)?.to_be_bytes();
    let mut frame = Zeroizing::new(Vec::with_capacity(header.len() + length));
    frame.extend_from_slice(&header);
    serde_json::to_writer(&mut *frame, message).expect("it could be written a moment ago");
    Ok(frame)
}

/// Counts what is written.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Makes messages of the bytes of one connection.
#[derive(Debug)]
pub struct Inbox<M> {
    header: heapless::Vec<u8, 4>,
    /// Of the message that is coming, as far as it has come.
    body: Hidden,
    messages: PhantomData<fn() -> M>,
}

/// Bytes that may hold a password.
struct Hidden(Zeroizing<Vec<u8>>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { header: heapless::Vec::new(), body: Hidden(Zeroizing::new(Vec::new())), messages: PhantomData }
    }
}

impl<M: Message> Inbox<M> {
    /// The messages that `bytes` complete, in order; there may be none. What is kept for the next call is never longer than
    /// one message may be.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<M>, BadFrame> {
        let mut messages = Vec::new();
        loop {
            let (header, rest) = bytes.split_at(bytes.len().min(4 - self.header.len()));
            bytes = rest;
            // Cannot overflow: no more was split off than is missing.
            let _: Result<(), _> = self.header.extend_from_slice(header);
            let Ok(header) = <[u8; 4]>::try_from(self.header.as_slice()) else { return Ok(messages) };
            let announced = u32::from_be_bytes(header);
            let length = usize::try_from(announced).unwrap_or(usize::MAX);
            if length == 0 || length > M::LIMIT {
                return Err(BadFrame::Length { length: announced, limit: M::LIMIT });
            }
            // All at once, so that the buffer never moves and leaves no copy behind.
            let body = &mut self.body.0;
            let missing = length - body.len();
            body.reserve_exact(missing);
            let (part, rest) = bytes.split_at(bytes.len().min(missing));
            bytes = rest;
            body.extend_from_slice(part);
            if body.len() < length {
                return Ok(messages);
            }
            let message = serde_json::from_slice(body)
                .map_err(|error| BadFrame::Json { column: error.column(), length });
            body.zeroize();
            // A connection is idle nearly always; there are hundreds.
            **body = Vec::new();
            self.header.clear();

            messages.push(message?);
        }
    }
}

#[cfg(test)]
mod tests;

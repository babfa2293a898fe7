//! The LDAP interface on its sockets: TCP 389 with StartTLS, TCP 636 inside TLS.
//!
//! What may be asked and what is answered is decided in [`crate::proto::ldap`]; passwords are checked by
//! [`crate::service::accounts`], which slows guessing down. A connection has one question at a time: while it is being
//! answered, nothing more is read. Off unless the administrator switches it on.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use ldap3_proto::LdapCodec;
use ldap3_proto::proto::LdapMsg;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::proto::ldap::{Connection, Denied, Directory, Policy, Query, Step};
use crate::service::accounts::{Accounts, Origin, Refused};
use crate::service::keys::KeyPair;
use crate::types::{Person, chain, limits};

const LDAP_PORT: u16 = 389;
const LDAPS_PORT: u16 = 636;

/// Connections waiting to be accepted.
const BACKLOG: u32 = 32;

/// After failing to accept, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What is read at once, in bytes; most questions are shorter.
const PIECE: usize = 2048;

/// Answers are sent when this many bytes of them have come together.
const SENT_AT_ONCE: usize = 32 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    #[error("LDAP port {} of {} cannot be taken", address.port(), address.ip())]
    Bind {
        address: SocketAddrV4,
        #[source]
        source: io::Error,
    },
    #[error("the certificate for LDAP cannot be used")]
    Certificate(#[source] rustls::Error),
    #[error("a task of the LDAP service broke")]
    Task(#[from] tokio::task::JoinError),
}

/// Both ports on each served address; none if the interface is off. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Vec<(Arc<TcpListener>, bool)>);

impl Sockets {
    pub fn bind(config: &Config) -> Result<Self, LdapError> {
        let mut sockets = Vec::new();
        for network in config.networks.iter().filter(|_| config.ldap.enabled) {
            for (port, secure) in [(LDAP_PORT, false), (LDAPS_PORT, true)] {
                let address = SocketAddrV4::new(network.address, port);
                let listener = listen(address).map_err(|source| LdapError::Bind { address, source })?;
                sockets.push((Arc::new(listener), secure));
            }
        }
        Ok(Self(sockets))
    }
}

fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.into())?;
    socket.listen(BACKLOG)
}

/// What connections share.
#[derive(Debug)]
pub struct Shared {
    accounts: Accounts,
    policy: Policy,
    tls: Arc<ServerConfig>,
    all: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    each: Mutex<HashMap<Ipv4Addr, Arc<Semaphore>>>,
    /// The directory, and the generation of the accounts it was made of.
    directory: Mutex<Option<(u32, Arc<Directory>)>>,
}

impl Shared {
    pub fn new(config: &Config, accounts: Accounts, pair: &KeyPair) -> Result<Arc<Self>, LdapError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(pair.key().to_vec()).into();
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let chain = vec![CertificateDer::from(pair.certificate().to_vec())];
                builder.with_no_client_auth().with_single_cert(chain, key)
            })
            .map_err(LdapError::Certificate)?;
        let policy = Policy {
            base: config.ldap.base.clone(),
            anonymous: config.ldap.anonymous,
            clear: config.ldap.clear,
        };
        Ok(Arc::new(Self {
            accounts,
            policy,
            tls: Arc::new(tls),
            all: Arc::new(Semaphore::new(limits::LDAP_CONNECTIONS)),
            searches: Arc::new(Semaphore::new(limits::LDAP_SEARCHES)),
            each: Mutex::default(),
            directory: Mutex::default(),
        }))
    }

    /// A place for one more connection of `ip`.
    fn admit(&self, ip: Ipv4Addr) -> Option<Pass> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= limits::LDAP_CONNECTIONS {
            each.retain(|_, free| free.available_permits() < limits::LDAP_CONNECTIONS_EACH);
        }
        let full = || Arc::new(Semaphore::new(limits::LDAP_CONNECTIONS_EACH));
        let own = Arc::clone(each.entry(ip).or_insert_with(full)).try_acquire_owned().ok()?;
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Pass { _own: own, _one: one })
    }

    async fn everybody(self: Arc<Self>) -> Result<Arc<Directory>, String> {
        self.in_turn(Self::directory).await.unwrap_or_else(|broke| Err(broke.to_string()))
    }

    async fn find(self: Arc<Self>, query: Query) -> io::Result<Vec<LdapMsg>> {
        self.in_turn(move |shared| query.answers(shared.directory().as_deref().map_err(Clone::clone))).await
    }

    /// Looks something up: a few at a time, on threads that carry no packets.
    async fn in_turn<T: Send + 'static>(
        self: Arc<Self>,
        look: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = Arc::clone(&self.searches).acquire_owned().await.map_err(io::Error::other)?;
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            look(&self)
        });
        looked.await.map_err(io::Error::other)
    }

    /// Everybody there is now. May ask the disk or another server.
    fn directory(&self) -> Result<Arc<Directory>, String> {
        let generation = self.accounts.generation();
        let mut kept = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, directory)) = kept.as_ref().filter(|(of, _)| *of == generation) {
            return Ok(Arc::clone(directory));
        }
        let people = self.accounts.people_for(None).map_err(|error| {
            tracing::warn!(error = chain(&error), "the accounts cannot be read for LDAP");
            "the accounts cannot be read at this moment".to_owned()
        })?;
        let directory = Arc::new(Directory::new(self.policy.base.clone(), people));
        *kept = Some((generation, Arc::clone(&directory)));
        Ok(directory)
    }
}

/// Held as long as a connection lives.
#[derive(Debug)]
struct Pass {
    _own: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
}

/// Serves until told to stop; without `shared` the interface is off.
pub async fn run(shared: Option<Arc<Shared>>, sockets: Sockets, mut stop: Stop) -> Result<(), LdapError> {
    let mut tasks = JoinSet::new();
    for (shared, (listener, secure)) in shared.iter().cycle().zip(sockets.0) {
        tasks.spawn(accept(Arc::clone(shared), listener, secure));
    }
    tokio::select! {
        () = stopped(&mut stop) => Ok(()),
        Some(ended) = tasks.join_next() => ended?,
    }
}

async fn accept(shared: Arc<Shared>, listener: Arc<TcpListener>, secure: bool) -> Result<(), LdapError> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
        accepted = listener.accept() => match accepted {
            Ok((stream, SocketAddr::V4(peer))) => {
                if let Some(pass) = shared.admit(*peer.ip()) {
                    connections.spawn(serve(Arc::clone(&shared), stream, *peer.ip(), secure, pass));
                } else {
                    tracing::debug!(ip = %peer.ip(), "too many LDAP connections");
                }
            }
            Ok(_) => {}
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

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

async fn serve(shared: Arc<Shared>, stream: TcpStream, ip: Ipv4Addr, secure: bool, _pass: Pass) {
    let plain: Pin<Box<dyn Stream>> = Box::pin(stream);
    let talk = async {
        let stream = if secure { encrypt(&shared, plain).await? } else { plain };
        let connection = Connection::new(shared.policy.clone(), secure);
        Talk { connection, proof: None, shared, stream, ip }.run().await
    };
    if let Err(error) = talk.await {
        tracing::debug!(%ip, error = chain(&error), "LDAP connection closed");
    }
}

async fn encrypt(shared: &Shared, stream: Pin<Box<dyn Stream>>) -> io::Result<Pin<Box<dyn Stream>>> {
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    let inside =
        timeout(limits::LDAP_PATIENCE, acceptor.accept(stream)).await.map_err(io::Error::other)??;
    Ok(Box::pin(inside))
}

/// One connection with everything it needs.
struct Talk {
    shared: Arc<Shared>,
    connection: Connection,
    /// Who proved to be there last, and the generation of the accounts by which that is known to be true.
    proof: Option<(Person, u32)>,
    stream: Pin<Box<dyn Stream>>,
    ip: Ipv4Addr,
}

impl Talk {
    async fn run(mut self) -> io::Result<()> {
        let mut codec = LdapCodec::new(Some(limits::LDAP_MESSAGE), Some(limits::LDAP_DEPTH));
        let mut read = BytesMut::with_capacity(PIECE);
        loop {
            while let Some(message) = codec.decode(&mut read)? {
                let id = message.msgid;
                self.hold_against_accounts().await;
                match self.connection.step(message) {
                    Step::Answer(answer) => self.send(vec![answer]).await?,
                    Step::Verify { id, name, password } => {
                        let origin = Origin::Ldap(IpAddr::V4(self.ip));
                        let generation = self.shared.accounts.generation();
                        let result = self.shared.accounts.log_in(name.clone(), password, origin).await;
                        let result = self.proved(result, generation);
                        let answer = self.connection.verified(id, name, result);
                        self.send(vec![answer]).await?;
                    }
                    Step::Change { id, name, old, new } => {
                        let origin = Origin::Ldap(IpAddr::V4(self.ip));
                        let result = self.shared.accounts.set_own_password(name, old, new, origin).await;
                        // Whoever has just chosen the new password need not show it.
                        let generation = self.shared.accounts.generation();
                        let result = self.proved(result, generation);
                        let answer = self.connection.changed(id, result);
                        self.send(vec![answer]).await?;
                    }
                    Step::Find(query) => {
                        let answers = Arc::clone(&self.shared).find(query).await?;
                        self.send(answers).await?;
                    }
                    Step::StartTls(answer) => {
                        self.send(vec![answer]).await?;
                        // What was sent along in the clear could be anybody's (RFC 4511 §4.14.1).
                        if !read.is_empty() {
                            return Err(io::Error::other("a client went on in the clear after StartTLS"));
                        }
                        let plain = std::mem::replace(&mut self.stream, Box::pin(tokio::io::empty()));
                        self.stream = encrypt(&self.shared, plain).await?;
                        self.connection.secured();
                    }
                    Step::Nothing => tracing::trace!(ip = %self.ip, id, "nothing to answer"),
                    Step::Close => return Ok(()),
                }
            }
            read.reserve(PIECE);
            let received = timeout(limits::LDAP_IDLE, self.stream.read_buf(&mut read)).await;
            if received.map_err(io::Error::other)?? == 0 {
                return Ok(());
            }
        }
    }

    /// A connection may live for long: whoever is not, or may not log in, any more as they did is nobody on it, and so is who has
    /// not shown the password that counts now. While nobody can tell, who asks is told that too.
    async fn hold_against_accounts(&mut self) {
        let Some((person, known)) = self.proof.as_ref().filter(|_| self.connection.bound().is_some()) else {
            return;
        };
        let now = self.shared.accounts.generation();
        if now == *known {
            return;
        }
        let changed = self.shared.accounts.password_changed_since(person.uid, *known);
        let stands = match Arc::clone(&self.shared).everybody().await {
            _ if changed => false,
            Ok(directory) => directory.has(&person.name, person.uid),
            Err(_) => return,
        };
        if stands {
            self.proof = Some((person.clone(), now));
        } else {
            tracing::info!(ip = %self.ip, account = %person.name, "LDAP log-in no longer counts");
            self.connection.forget();
        }
    }

    /// Notes who is there, by which generation of the accounts.
    fn proved(&mut self, result: Result<Person, Refused>, generation: u32) -> Result<(), (Denied, String)> {
        match result {
            Ok(person) => {
                self.proof = Some((person, generation));
                Ok(())
            }
            Err(refused) => Err(self.denied(&refused)),
        }
    }

    fn denied(&self, refused: &Refused) -> (Denied, String) {
        tracing::info!(ip = %self.ip, reason = refused.code(), "LDAP log-in refused");
        let denied = match refused {
            Refused::TooManyTries { .. } | Refused::Busy => Denied::Busy,
            Refused::Weak { .. } => Denied::Weak,
            Refused::Unreachable { .. } => Denied::Unavailable,
            _ => Denied::Credentials,
        };
        (denied, refused.to_string())
    }

    /// Sends in pieces, so that a long answer is not in memory twice.
    async fn send(&mut self, answers: Vec<LdapMsg>) -> io::Result<()> {
        let mut codec = LdapCodec::default();
        let mut out = BytesMut::new();
        for answer in answers {
            codec.encode(answer, &mut out)?;
            if out.len() >= SENT_AT_ONCE {
                self.write(&out).await?;
                out.clear();
            }
        }
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(limits::LDAP_PATIENCE, write).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests;

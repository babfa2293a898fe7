//! A person's tunnel: what their home and shares are mounted through.
//!
//! The kernel's NFS client connects to a port of this client, and what it says is carried in TLS to the server that the kernel
//! command line pins, with the key that came with the session. So nobody on the network reads what goes by, and nobody who has
//! borrowed this client's address reaches what is behind it.
//!
//! Only root can have the port, and only root, as the kernel is, may connect to it. When the server is away its end is dialled
//! again for as long as the kernel waits; when a connection breaks the kernel makes another and repeats what has no answer, as on
//! any hard mount.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::carry::carry;
use super::link::{Connection, Server};
use crate::proto::agent::channel::{ToAgent, ToServer};
use crate::proto::agent::tunnel::Key;
use crate::types::{Uid, UserName};

/// Ports below can be had by root alone.
const UNPRIVILEGED: u16 = 1024;

/// How long the server may take to let a connection in.
const LET_IN_WITHIN: Duration = Duration::from_secs(5);

/// Between attempts to reach the server: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));

/// What is written down of a tunnel for a service that is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub uid: Uid,
    pub key: Key,
    /// The kernel knows the server by it.
    pub port: u16,
}

/// The tunnels of this client, each as long as something may be mounted through it.
#[derive(Debug, Default)]
pub struct Tunnels(BTreeMap<UserName, Tunnel>);

#[derive(Debug)]
struct Tunnel {
    kept: Kept,
    closed: Arc<AtomicBool>,
}

impl Tunnels {
    /// Opens that of `name`, unless it is open already; its port.
    pub fn open(&mut self, server: &Server, name: &UserName, uid: Uid, key: Key) -> io::Result<u16> {
        if let Some(open) = self.0.get(name).filter(|open| open.kept.key == key) {
            return Ok(open.kept.port);
        }
        let listener = listen(server)?;
        let port = listener.local_addr()?.port();
        self.serve(server, name, Kept { uid, key, port }, listener);
        Ok(port)
    }

    /// Opens what an earlier service had open, at the same ports. What cannot be is told, a line each.
    pub fn again(&mut self, server: &Server, kept: BTreeMap<UserName, Kept>) -> Vec<String> {
        let mut troubles = Vec::new();
        for (name, kept) in kept {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, kept.port)) {
                Ok(listener) => self.serve(server, &name, kept, listener),
                Err(error) => troubles.push(format!(
                    "the files of {name} cannot be reached until they log in again: port {} cannot be taken: {error}",
                    kept.port
                )),
            }
        }
        troubles
    }

    /// Closes that of `name`: nothing is mounted through it any more.
    pub fn close(&mut self, name: &UserName) {
        if let Some(Tunnel { kept, closed }) = self.0.remove(name) {
            closed.store(true, Ordering::SeqCst);
            // Wakes who listens.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, kept.port));
        }
    }

    /// For [`Self::again`].
    pub fn kept(&self) -> BTreeMap<UserName, Kept> {
        self.0.iter().map(|(name, open)| (name.clone(), open.kept.clone())).collect()
    }

    fn serve(&mut self, server: &Server, name: &UserName, kept: Kept, listener: TcpListener) {
        let closed = Arc::<AtomicBool>::default();
        let open = Tunnel { kept: kept.clone(), closed: Arc::clone(&closed) };
        let server = server.clone();
        std::thread::spawn(move || accept(&listener, &server, &kept, &closed));
        self.0.insert(name.clone(), open);
    }
}

/// A port of root's that nobody has.
fn listen(server: &Server) -> io::Result<TcpListener> {
    let mut last = io::ErrorKind::AddrInUse.into();
    // The agent's own connections take theirs from the bottom.
    for port in server.own_ports.clone().rev() {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn accept(listener: &TcpListener, server: &Server, kept: &Kept, closed: &Arc<AtomicBool>) {
    for stream in listener.incoming() {
        if closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            std::thread::sleep(PAUSES.0);
            continue;
        };
        if !stream.peer_addr().is_ok_and(is_roots) {
            continue;
        }
        let (server, kept, closed) = (server.clone(), kept.clone(), Arc::clone(closed));
        std::thread::spawn(move || drop(through(stream, &server, &kept, &closed)));
    }
}

/// Whether somebody on this client has root's rights over ports, as the kernel has.
fn is_roots(peer: SocketAddr) -> bool {
    peer.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && peer.port() < UNPRIVILEGED
}

/// One connection of the kernel's, until either side ends.
fn through(mut here: TcpStream, server: &Server, kept: &Kept, closed: &AtomicBool) -> io::Result<()> {
    here.set_nonblocking(true)?;
    here.set_nodelay(true)?;
    let mut pause = PAUSES.0;
    let mut there = loop {
        match knock(server, kept) {
            Ok(there) => break there,
            Err(_) if closed.load(Ordering::SeqCst) || has_hung_up(&here) => return Ok(()),
            Err(_) => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    };
    carry(&mut there, &mut here, Duration::from_hours(1), || {}).map(drop)
}

fn has_hung_up(here: &TcpStream) -> bool {
    match here.peek(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A connection to the server that it has let in.
fn knock(server: &Server, kept: &Kept) -> io::Result<Connection> {
    let connection = Connection::open(server).map_err(io::Error::other)?;
    let taken = |message: &ToAgent| matches!(message, ToAgent::Tunnel);
    let shown = ToServer::Tunnel { uid: kept.uid, key: kept.key };
    connection.becomes(&shown, taken, LET_IN_WITHIN)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Instant;

    use super::super::link::tests::{Fake, Tls, hear, say};
    use super::*;

    const KEY: Key = Key(0x1234_5678);

    fn kept() -> Kept {
        Kept { uid: Uid(10_000), key: KEY, port: 0 }
    }

    /// The kernel's end, and this client's.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let kernel = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        kernel.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        (kernel, listener.accept().expect("a connection").0)
    }

    fn knocked(fake: &Fake) -> Tls {
        let mut tls = fake.accept();
        let ToServer::Tunnel { uid, key } = hear(&mut tls) else { unreachable!("it shows the key first") };
        assert_eq!((uid, key), (Uid(10_000), KEY));
        tls
    }

    #[test]
    fn what_the_kernel_says_goes_through_and_comes_back() {
        let fake = Fake::new();
        let (mut kernel, here) = pair();
        let server = fake.address(fake.pin);
        let carried = std::thread::spawn(move || through(here, &server, &kept(), &AtomicBool::new(false)));
        // The call is there before the way is; the first time the server hangs up instead of letting it in.
        let call: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        let sent = call.clone();
        let mut own = kernel.try_clone().expect("a clone");
        let sending = std::thread::spawn(move || own.write_all(&sent).expect("sent"));
        drop(knocked(&fake));
        let mut tls = knocked(&fake);
        say(&mut tls, &ToAgent::Tunnel);
        let mut got = vec![0; call.len()];
        tls.read_exact(&mut got).expect("the call");
        assert!(got == call);
        sending.join().expect("no panic");
        let answering = std::thread::spawn(move || {
            tls.write_all(&got).and_then(|()| tls.flush()).expect("sent");
            tls
        });
        let mut answer = vec![0; call.len()];
        kernel.read_exact(&mut answer).expect("the answer");
        assert!(answer == call);
        // It ends with either side.
        drop(answering.join().expect("no panic"));
        assert_eq!(kernel.read(&mut [0]).expect("the end"), 0);
        let _ = carried.join().expect("no panic");
    }

    #[test]
    fn whoever_has_no_privileged_port_is_not_let_in() {
        let fake = Fake::new();
        let (server, name) = (fake.address(fake.pin), "anna".parse().expect("a name"));
        let mut tunnels = Tunnels::default();
        let port = tunnels.open(&server, &name, Uid(10_000), KEY).expect("a port");
        assert_eq!(tunnels.open(&server, &name, Uid(10_000), KEY).expect("a port"), port, "it is open");
        let mut pupil = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
        pupil.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        assert_eq!(pupil.read(&mut [0]).expect("hung up"), 0);
        assert!(!is_roots("127.0.0.1:1024".parse().expect("an address")));
        assert!(!is_roots("192.168.1.7:700".parse().expect("an address")));
        assert!(is_roots("127.0.0.1:1023".parse().expect("an address")));

        // A service that is started again has it at the same port.
        let kept = tunnels.kept();
        assert_eq!(kept[&name], Kept { port, ..self::kept() });
        assert_eq!(tunnels.again(&server, kept.clone()).len(), 1, "that is taken");
        tunnels.close(&name);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) && !tunnels.again(&server, kept.clone()).is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(tunnels.kept(), kept);
        tunnels.close(&name);
        assert!(tunnels.kept().is_empty());
    }
}

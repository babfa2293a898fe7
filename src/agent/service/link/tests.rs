use std::net::TcpListener;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::proto::agent::channel::{Code, Label, Sudo};
use crate::types::SessionId;

const LONG: Duration = Duration::from_secs(20);

pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server with a certificate of its own, which does what a test tells it.
pub struct Fake {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    pub pin: Pin,
}

impl Fake {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["bramble".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let pin = Pin(Sha256::digest(certificate.der()).into());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("usable");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self { listener, config: Arc::new(config), pin }
    }

    pub fn address(&self, pin: Pin) -> Server {
        let port = self.listener.local_addr().expect("bound").port();
        // Any port will do here; who may come from where is the server's business.
        Server { ip: Ipv4Addr::LOCALHOST, port, pin, own_ports: 0..1 }
    }

    pub fn accept(&self) -> Tls {
        let (tcp, _) = self.listener.accept().expect("a connection");
        tcp.set_read_timeout(Some(LONG)).expect("set");
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).expect("TLS"), tcp)
    }
}

pub fn hear(tls: &mut Tls) -> ToServer {
    let mut length = [0; 4];
    tls.read_exact(&mut length).expect("a length");
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("fits")];
    tls.read_exact(&mut body).expect("a message");
    serde_json::from_slice(&body).expect("JSON")
}

pub fn say(tls: &mut Tls, message: &ToAgent) {
    tls.write_all(&encode(message).expect("short")).expect("sent");
    tls.flush().expect("sent");
}

fn people() -> People {
    People { persons: vec![], classes: vec![], groups: vec![], sudo: Sudo::Nobody, local_caches: false }
}

fn greet(tls: &mut Tls) -> Hello {
    let ToServer::Hello(hello) = hear(tls) else { unreachable!("the first message is a greeting") };
    say(tls, &ToAgent::Welcome { version: VERSION, people: people() });
    hello
}

fn kept(server: Server) -> (Arc<Link>, Receiver<Event>) {
    let (link, woken) = Link::new().expect("a link");
    let link = Arc::new(link);
    let (tell, events) = channel();
    let own = Arc::clone(&link);
    std::thread::spawn(move || {
        let hello = || Hello {
            version: VERSION,
            agent: Label::from("test"),
            boot_id: Label::from("boot"),
            sessions: vec![SessionId(7)],
            can: vec![],
            mode: None,
        };
        own.keep(&server, &woken, hello, move |event| drop(tell.send(event)))
    });
    (link, events)
}

fn authenticate() -> Ask {
    Ask::Authenticate {
        name: "anna".parse().expect("a name"),
        password: "secret".parse().expect("a password"),
        service: "login".into(),
        terminal: "tty1".into(),
    }
}

/// A server whose list of people takes long has been greeted, and sees this client as there.
#[test]
fn an_order_before_the_welcome_is_answered_too() {
    let fake = Fake::new();
    let (link, events) = kept(fake.address(fake.pin));
    let mut tls = fake.accept();
    assert!(matches!(hear(&mut tls), ToServer::Hello(_)));
    let order = Order::EndSession { session: SessionId(7), message: String::new() };
    say(&mut tls, &ToAgent::Order { id: 5, order });
    assert!(matches!(events.recv_timeout(LONG), Ok(Event::Order { id: 5, .. })));
    link.done(5, Some("nobody is there"));
    let ToServer::Done { id, trouble } = hear(&mut tls) else { unreachable!("an answer") };
    assert_eq!((id, trouble), (5, Some(Label::from("nobody is there"))));
}

#[test]
fn asks_are_answered_and_a_broken_connection_is_made_again() {
    let fake = Fake::new();
    let (link, events) = kept(fake.address(fake.pin));
    let mut tls = fake.accept();
    assert_eq!(greet(&mut tls).sessions, [SessionId(7)]);
    assert!(matches!(events.recv_timeout(LONG), Ok(Event::People(told)) if told == people()));

    let asking = Arc::clone(&link);
    let asked = std::thread::spawn(move || asking.ask(authenticate()));
    let ToServer::Ask { id, ask: Ask::Authenticate { password, .. } } = hear(&mut tls) else {
        unreachable!("an ask")
    };
    assert_eq!(password.expose(), "secret");
    say(&mut tls, &ToAgent::Ping);
    assert!(matches!(hear(&mut tls), ToServer::Pong), "pings are answered while somebody waits");
    let refused = Reply::Refused { code: Code::Disabled, message: "no".to_owned() };
    say(&mut tls, &ToAgent::Reply { id: id + 1, reply: Reply::Closed });
    say(&mut tls, &ToAgent::Reply { id, reply: refused.clone() });
    assert_eq!(asked.join().expect("asked"), Ok(refused));

    // The connection breaks while somebody waits: that is told at once, and the next connection is like the first.
    let asking = Arc::clone(&link);
    let begin = Instant::now();
    let asked = std::thread::spawn(move || asking.ask(authenticate()));
    assert!(matches!(hear(&mut tls), ToServer::Ask { .. }));
    drop(tls);
    assert_eq!(asked.join().expect("asked"), Err(NoAnswer::Late));
    assert!(begin.elapsed() < UNTIL_ANSWERED, "{:?}", begin.elapsed());
    let mut tls = fake.accept();
    greet(&mut tls);
    let order = Order::EndSession { session: SessionId(7), message: "bye".to_owned() };
    say(&mut tls, &ToAgent::Order { id: 3, order: order.clone() });
    let told = events.into_iter().find_map(|event| match event {
        Event::Order { id, order } => Some((id, order)),
        _ => None,
    });
    assert_eq!(told, Some((3, order)));
    link.done(3, None);
    assert!(matches!(hear(&mut tls), ToServer::Done { id: 3, trouble: None }));
}

/// From now on the kernel drops what comes to this socket before TCP sees it: as if the cable had been pulled out.
#[expect(unsafe_code, reason = "no crate offers this option")]
fn pull_out(socket: &impl std::os::fd::AsRawFd) {
    let mut nothing = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }]; // BPF_RET with length 0
    let program = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
    let length = u32::try_from(size_of_val(&program)).expect("small");
    // SAFETY: the program and its one instruction outlive the call, which copies them.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

#[test]
fn whoever_logs_in_without_the_server_hears_so_within_seconds() {
    let fake = Fake::new();
    let (link, _events) = kept(fake.address(fake.pin));
    let mut tls = fake.accept();
    greet(&mut tls);
    let answered = Instant::now();
    while !link.state().connected {
        assert!(answered.elapsed() < LONG, "welcomed");
        std::thread::sleep(Duration::from_millis(1));
    }
    pull_out(&tls.sock);
    pull_out(&fake.listener);
    // Nothing says that the connection is dead, until what is sent is not acknowledged.
    let pulled = Instant::now();
    assert_eq!(link.ask(authenticate()), Err(NoAnswer::Late));
    assert!(pulled.elapsed() < UNTIL_ANSWERED / 2, "{:?}", pulled.elapsed());
    let tried = Instant::now();
    assert_eq!(link.ask(authenticate()), Err(NoAnswer::NotConnected));
    assert!(tried.elapsed() < UNTIL_CONNECTED * 2, "{:?}", tried.elapsed());
}

#[test]
fn another_servers_certificate_is_refused_before_anything_is_said() {
    let fake = Fake::new();
    let mut bytes = fake.pin.0;
    bytes[31] ^= 1;
    let (link, events) = kept(fake.address(Pin(bytes)));
    let mut tls = fake.accept();
    assert!(tls.read(&mut [0; 1]).is_err(), "no byte for a stranger");
    let Ok(Event::Changed(why)) = events.recv_timeout(LONG) else { unreachable!("a reason") };
    assert!(why.contains("the certificate is not the one that the kernel command line names"), "{why}");
    assert_eq!(link.ask(authenticate()), Err(NoAnswer::NotConnected));
}

/// The server took longer than anybody waits.
#[test]
fn a_session_that_is_opened_too_late_is_told() {
    let fake = Fake::new();
    let (_link, events) = kept(fake.address(fake.pin));
    let mut tls = fake.accept();
    greet(&mut tls);
    let late = Reply::Opened { session: SessionId(9), mounts: vec![], tunnel: None };
    say(&mut tls, &ToAgent::Reply { id: 5, reply: late });
    let told =
        std::iter::from_fn(|| events.recv_timeout(LONG).ok()).find(|event| matches!(event, Event::Late(_)));
    assert!(matches!(told, Some(Event::Late(SessionId(9)))));
}

/// Else all that a command prints would be in the client's memory.
#[test]
fn whoever_prints_more_than_the_line_carries_waits_and_loses_nothing() {
    const PIECES: u32 = 12_000;
    let fake = Fake::new();
    let (link, _events) = kept(fake.address(fake.pin));
    let mut tls = fake.accept();
    greet(&mut tls);
    let printed = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&printed);
    let printing = std::thread::spawn(move || {
        for n in 0..PIECES {
            link.printed(1, format!("{n:2000}").as_bytes());
            count.store(n + 1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let so_far = || printed.load(std::sync::atomic::Ordering::Relaxed);
    let mut before = u32::MAX;
    while so_far() != before {
        before = so_far();
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(before > 0 && before < PIECES, "{before} pieces printed, and nobody has read one");
    for n in 0..PIECES {
        let ToServer::Printed { id: 1, bytes } = hear(&mut tls) else { unreachable!("a piece") };
        assert_eq!(String::from_utf8_lossy(bytes.as_bytes()).trim_start(), n.to_string());
    }
    printing.join().expect("no panic");
}

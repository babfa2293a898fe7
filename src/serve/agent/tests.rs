use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use super::talk::talk;
use super::*;
use crate::config::{Client, Twice};
use crate::proto::agent::act;
use crate::proto::agent::channel::{
    Ask, Code, Hello, Inbox, Mount, MountKind, Order, People, Reply, ToAgent, ToServer, VERSION, encode,
};
use crate::proto::agent::tunnel::{self, Key};
use crate::proto::rpc::{Call, Credential, reply};
use crate::proto::xdr::Reader;
use crate::service::exports::Exports;
use crate::service::exports::tree::Handles;
use crate::service::exports::virtuals::{Personality, Sources};
use crate::service::sessions::{Doors, DoorsShut, Refusal};
use crate::store::Store;
use crate::store::sessions::NewSession;
use crate::types::{
    FullName, Gid, MacAddr, Moment, Person, Role, Secret, SessionId, SessionKind, Uid, UserName,
};

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);
const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 101);

/// Knows anna, bert and so on by the password `right`; counts how many checks run at once.
#[derive(Debug, Default)]
struct Table {
    people: Mutex<Vec<Person>>,
    running: AtomicUsize,
    most: AtomicUsize,
    gone: std::sync::atomic::AtomicBool,
    /// Removes everybody, and tells so here, while a password is checked that was right.
    removes: Mutex<Option<watch::Sender<u32>>>,
}

fn person(name: &str, uid: u32) -> Person {
    Person {
        name: name.parse().expect("a name"),
        uid: Uid(uid),
        gid: Gid(uid),
        full_name: FullName::nearest(name),
        role: Role::Pupil,
        classes: vec![("class-7b".parse().expect("a class"), Gid(100_000))],
        must_change: false,
    }
}

impl Register for Table {
    fn verify(&self, who: &UserName, password: &Secret, _: MacAddr) -> Result<Person, Refusal> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        self.running.fetch_sub(1, Ordering::SeqCst);
        let mut people = self.people.lock().expect("no panic");
        let known = people.iter().find(|person| person.name == *who).filter(|_| password.expose() == "right");
        let known = known.cloned();
        if let Some(changes) = self.removes.lock().expect("no panic").take() {
            people.clear();
            changes.send_modify(|generation| *generation += 1);
        }
        known.ok_or_else(|| Refusal { code: Code::WrongPassword, message: "Not right.".to_owned() })
    }

    fn change_password(
        &self,
        who: &UserName,
        old: &Secret,
        _: &Secret,
        from: MacAddr,
    ) -> Result<Person, Refusal> {
        self.verify(who, old, from)
    }

    fn people(&self, _: Option<&RoomName>) -> Result<Vec<Person>, String> {
        if self.gone.load(Ordering::SeqCst) {
            return Err("the directory does not answer".to_owned());
        }
        Ok(self.people.lock().expect("no panic").clone())
    }

    fn farewell(&self, who: &Person) -> String {
        format!("goodbye, {}", who.name)
    }

    fn time_passes(&self) {}
}

/// Opens what it is told to, and nothing is there but a word that a home is full.
#[derive(Debug, Default)]
struct NoDoors(Arc<Mutex<Vec<SessionId>>>);

impl Doors for NoDoors {
    fn open(&self, _: SessionId, session: &NewSession, _: Moment) -> Result<Vec<Mount>, DoorsShut> {
        let path = format!("/home/{}", session.person.name);
        Ok(vec![Mount { path: path.clone(), at: path, writable: true, kind: MountKind::Home }])
    }

    fn reopen(&self, _: SessionId, _: &NewSession, _: Moment) -> Result<(), DoorsShut> {
        Ok(())
    }

    fn close(&self, _: SessionId) {}

    fn full(&self) -> Vec<SessionId> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

struct House {
    full: Arc<Mutex<Vec<SessionId>>>,
    _dir: tempfile::TempDir,
    table: Arc<Table>,
    changes: watch::Sender<u32>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let client = Client {
            mac: PI,
            name: "lab-01".parse().expect("a name"),
            room: None,
            image: None,
            ip: None,
            config_txt: vec![],
            cmdline: vec![],
            mode: None,
            kiosk_page: None,
        };
        let mut config = Config { clients: vec![client], ..Config::default() };
        config.accounts.twice = Twice::Allow;
        config.homes.encrypt = true;
        let config = Arc::new(config);
        let clients = Arc::new(Clients::new(Arc::clone(&config)));
        clients.bound(IP, PI, "lan");
        clients.bound(Ipv4Addr::new(192, 168, 1, 150), MacAddr::new([2, 0, 0, 0, 0, 9]), "lan");
        let config = watch::Sender::new(config).subscribe();
        let store = Store::open(&dir.path().join("bramble.db")).expect("a database");
        let (clock, events) = (Clock::start(), Arc::<Events>::default());
        let doors = NoDoors::default();
        let full = Arc::clone(&doors.0);
        let sessions = Sessions::open(
            store,
            Box::new(doors),
            Arc::clone(&clients),
            Arc::clone(&events),
            config.clone(),
            clock.now(),
        );
        let table = Arc::new(Table::default());
        *table.people.lock().expect("no panic") = vec![person("anna", 10_000)];
        let changes = watch::Sender::new(0);
        let personality: Personality = Box::new(|_, _| Vec::new());
        let sources = Sources { agents: dir.path().into(), kept: dir.path().into(), personality };
        let exports = Exports::new(Arc::clone(&clients), Arc::default(), &[7; 16], sources, Handles::Best);
        let nfs = nfs::Shared::new(Arc::new(exports), Arc::clone(&events));
        let behind = Behind { clients, events, sessions: Arc::new(sessions.expect("opened")), nfs };
        let shared = Shared::new(
            behind,
            Arc::<Table>::clone(&table),
            changes.subscribe(),
            config,
            Tunnels::new(&[7; 16]),
            clock,
        );
        Self { full, _dir: dir, table, changes, shared: Arc::new(shared), stop: watch::Sender::new(false) }
    }

    /// A connection, with its server's side running.
    fn connect(&self, tasks: &mut JoinSet<String>) -> Agent {
        self.connect_from(PI, tasks)
    }

    /// As [`Self::connect`], of a client with this address.
    fn connect_from(&self, mac: MacAddr, tasks: &mut JoinSet<String>) -> Agent {
        let (here, there) = tokio::io::duplex(8 * 1024);
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.subscribe());
        let seat = Seat { mac, ..self.shared.clients.at(IP).expect("a client") };
        tasks.spawn(async move {
            match talk(&shared, there, seat, stop).await {
                Ok(why) => why.to_owned(),
                Err(error) => chain(&error),
            }
        });
        let (reader, writer) = tokio::io::split(here);
        Agent { reader, writer, inbox: Inbox::default(), heard: std::collections::VecDeque::new() }
    }
}

struct Agent {
    reader: ReadHalf<DuplexStream>,
    writer: WriteHalf<DuplexStream>,
    inbox: Inbox<ToAgent>,
    heard: std::collections::VecDeque<ToAgent>,
}

impl Agent {
    async fn say(&mut self, message: ToServer) {
        self.writer.write_all(&encode(&message).expect("short")).await.expect("sent");
    }

    async fn greet(&mut self, sessions: &[SessionId]) -> People {
        self.greet_with(sessions, &[act::CAN]).await
    }

    async fn greet_with(&mut self, sessions: &[SessionId], can: &[&str]) -> People {
        let (sessions, can) = (sessions.to_vec(), can.iter().map(|word| (*word).into()).collect());
        let (agent, boot_id) = ("test".into(), "boot-1".into());
        let hello = Hello { version: VERSION, agent, boot_id, sessions, can, mode: None };
        self.say(ToServer::Hello(hello)).await;
        match self.next().await {
            ToAgent::Welcome { people, version: VERSION } => people,
            other => panic!("no welcome: {other:?}"),
        }
    }

    async fn next(&mut self) -> ToAgent {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            let mut bytes = [0; 512];
            let length = self.reader.read(&mut bytes).await.expect("read");
            assert!(length > 0, "the server hung up");
            self.heard.extend(self.inbox.take(&bytes[..length]).expect("the server's words"));
        }
    }

    async fn ask(&mut self, id: u32, ask: Ask) -> Reply {
        self.say(ToServer::Ask { id, ask }).await;
        loop {
            match self.next().await {
                ToAgent::Reply { id: answered, reply } if answered == id => return reply,
                ToAgent::Ping => self.say(ToServer::Pong).await,
                other => panic!("no reply: {other:?}"),
            }
        }
    }
}

fn authenticate(name: &str, password: &str) -> Ask {
    Ask::Authenticate {
        name: name.parse().expect("a name"),
        password: password.parse().expect("a password"),
        service: "login".into(),
        terminal: "tty1".into(),
    }
}

fn open(name: &str) -> Ask {
    let (service, terminal) = ("login".into(), "tty1".into());
    Ask::OpenSession { name: name.parse().expect("a name"), service, terminal, kind: SessionKind::Console }
}

fn code(reply: &Reply) -> Option<Code> {
    match reply {
        Reply::Refused { code, .. } => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn a_pupil_logs_in_and_out() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    let people = agent.greet(&[]).await;
    assert_eq!(people.persons, [person("anna", 10_000)]);
    assert_eq!(people.classes[0].members[0].as_str(), "anna");
    assert_eq!(code(&agent.ask(1, open("anna")).await), Some(Code::NotVerified));
    assert_eq!(code(&agent.ask(2, authenticate("anna", "wrong")).await), Some(Code::WrongPassword));
    let verified = agent.ask(3, authenticate("anna", "right")).await;
    assert_eq!(verified, Reply::Verified { person: person("anna", 10_000) });
    let Reply::Opened { session, mounts, tunnel: None } = agent.ask(4, open("anna")).await else {
        panic!("not opened")
    };
    assert_eq!(mounts[0].at, "/home/anna");
    assert_eq!(house.shared.sessions.list().len(), 1);
    assert_eq!(agent.ask(5, Ask::CloseSession { session }).await, Reply::Closed);
    assert!(house.shared.sessions.list().is_empty());
    let said: Vec<String> =
        house.shared.events.timeline(PI).iter().map(|event| event.what.to_string()).collect();
    let expected =
        ["anna was not let in: Not right.", "anna logged in (console)", "anna logged out: logged out"];
    assert_eq!(said, expected);
    drop(agent);
    assert_eq!(tasks.join_next().await.expect("a task").expect("no panic"), "it hung up");
}

#[tokio::test]
async fn calls_go_through_a_tunnel_of_its_own_connection() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet_with(&[], &[tunnel::CAN]).await;
    agent.ask(1, authenticate("anna", "right")).await;
    let reply = agent.ask(2, open("anna")).await;
    let Reply::Opened { session, tunnel: Some(key), .. } = reply else { panic!("no key: {reply:?}") };
    assert!(!format!("{reply:?}").contains(&String::from(key)), "it is in no log");
    let seat = house.shared.clients.at(IP).expect("a client");
    let is_right = |uid, key| super::tunnel::is_right(&house.shared, seat.mac, uid, key);
    assert!(is_right(Uid(10_000), key));
    assert!(!is_right(Uid(10_001), key) && !is_right(Uid(10_000), Key(key.0 ^ 1)));

    // Whoever shows it or shows another: what follows are calls. NULL of NFS (RFC 1813, section 3.3.0).
    for key in [key, Key(7)] {
        let mut tunnel = house.connect(&mut tasks);
        tunnel.say(ToServer::Tunnel { uid: Uid(10_000), key }).await;
        assert!(matches!(tunnel.next().await, ToAgent::Tunnel));
        let mut call = Vec::new();
        let start = reply::begin(&mut call);
        let args = Reader::new(&[]);
        let credential = Credential::None;
        Call { xid: 5, program: 100_003, version: 3, procedure: 0, credential, args }
            .encode_header(&mut call);
        reply::finish(&mut call, start, 0);
        tunnel.writer.write_all(&call).await.expect("sent");
        let mut answer = vec![0; 28];
        tunnel.reader.read_exact(&mut answer).await.expect("an answer");
        assert!(matches!(reply::parse(&answer[4..]), Ok((5, reply::Header::Success, _))));
        drop(tunnel);
        assert_eq!(tasks.join_next().await.expect("a task").expect("no panic"), "its tunnel was closed");
    }
    assert_eq!(agent.ask(3, Ask::CloseSession { session }).await, Reply::Closed);
    assert!(!is_right(Uid(10_000), key), "after the log-out");
}

#[tokio::test]
async fn what_is_no_greeting_ends_the_connection() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let long = [0, 0, 0x40, 1];
    let rows: [(&[u8], &str); 3] = [
        (b"\0\0\0\x06\"pong\"", "it did not greet"),
        (
            b"GET / HTTP/1.0\r\n\r\n",
            "the agent sent what is no message: a message is announced with 1195725856 bytes; it may have 1 to 16384",
        ),
        (
            &long,
            "the agent sent what is no message: a message is announced with 16385 bytes; it may have 1 to 16384",
        ),
    ];
    for (bytes, expected) in rows {
        let mut agent = house.connect(&mut tasks);
        agent.writer.write_all(bytes).await.expect("sent");
        assert_eq!(tasks.join_next().await.expect("a task").expect("no panic"), expected);
    }
    let mut agent = house.connect(&mut tasks);
    let hello = Hello {
        version: 99,
        agent: "test".into(),
        boot_id: "x".into(),
        sessions: vec![],
        can: vec![],
        mode: None,
    };
    agent.say(ToServer::Hello(hello)).await;
    let ToAgent::Farewell { message } = agent.next().await else { panic!("no farewell") };
    assert_eq!(
        message,
        "this server speaks version 1 and the agent 99; start the client again, so that it fetches the agent of this server"
    );
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    agent
        .say(ToServer::Hello(Hello {
            version: 1,
            agent: "x".into(),
            boot_id: "x".into(),
            sessions: vec![],
            can: vec![],
            mode: None,
        }))
        .await;
    let ends = tasks.join_all().await;
    assert!(ends.contains(&"it greeted twice".to_owned()), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_gone() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let agent = house.connect(&mut tasks);
    assert_eq!(tasks.join_next().await.expect("a task").expect("no panic"), "it did not greet in time");
    drop(agent);
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    for _ in 0..10 {
        assert!(matches!(agent.next().await, ToAgent::Ping));
        agent.say(ToServer::Pong).await;
    }
    let silent = tokio::time::Instant::now();
    assert_eq!(tasks.join_next().await.expect("a task").expect("no panic"), "it fell silent");
    assert!(silent.elapsed() >= Duration::from_mins(1), "it had its time");
}

#[tokio::test]
async fn people_are_told_when_they_change() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    house.table.gone.store(true, Ordering::SeqCst);
    let mut agent = house.connect(&mut tasks);
    let hello = Hello {
        version: VERSION,
        agent: "test".into(),
        boot_id: "boot-1".into(),
        sessions: vec![],
        can: vec![],
        mode: None,
    };
    agent.say(ToServer::Hello(hello)).await;
    let early = tokio::time::timeout(Duration::from_millis(300), agent.next()).await;
    assert!(early.is_err(), "without a list there is no welcome that would empty the agent's");
    house.table.gone.store(false, Ordering::SeqCst);
    house.changes.send_modify(|generation| *generation += 1);
    assert!(matches!(agent.next().await, ToAgent::Welcome { .. }));
    house.table.people.lock().expect("no panic").push(person("bert", 10_001));
    house.changes.send_modify(|generation| *generation += 1);
    let ToAgent::People(people) = agent.next().await else { panic!("no people") };
    assert_eq!(people.persons.len(), 2);
    for person in &mut *house.table.people.lock().expect("no panic") {
        person.must_change = true;
    }
    house.changes.send_modify(|generation| *generation += 1);
    let again = tokio::time::timeout(Duration::from_secs(1), agent.next()).await;
    assert!(again.is_err(), "the same list is not sent twice, nor for a password that is due: {again:?}");
    house.stop.send_replace(true);
    assert_eq!(tasks.join_next().await.expect("a task").expect("no panic"), "the server stops");
}

#[tokio::test]
async fn an_order_reaches_the_agent() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    agent.ask(1, authenticate("anna", "right")).await;
    let Reply::Opened { session, .. } = agent.ask(2, open("anna")).await else { panic!("not opened") };
    assert!(house.shared.sessions.end(session, "Goodbye.", house.shared.clock.now()));
    let ToAgent::Order { order, id } = agent.next().await else { panic!("no order") };
    assert_eq!(order, Order::EndSession { session, message: "Goodbye.".to_owned() });
    agent.say(ToServer::Done { id, trouble: None }).await;
    assert_eq!(agent.ask(3, Ask::CloseSession { session }).await, Reply::Closed);
}

#[tokio::test]
async fn who_loses_their_account_is_logged_out() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    agent.ask(1, authenticate("anna", "right")).await;
    agent.ask(2, open("anna")).await;
    house.table.gone.store(true, Ordering::SeqCst);
    recheck(&house.shared, false);
    assert_eq!(
        house.shared.sessions.list()[0].ending,
        None,
        "nobody is logged out because a directory is away"
    );
    house.table.gone.store(false, Ordering::SeqCst);
    house.table.people.lock().expect("no panic").clear();
    recheck(&house.shared, false);
    let ToAgent::Order { order: Order::EndSession { message, .. }, .. } = agent.next().await else {
        panic!("no order")
    };
    assert_eq!(message, "goodbye, anna");
}

#[tokio::test]
async fn who_loses_their_account_while_the_password_is_checked_does_not_get_in() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    *house.table.removes.lock().expect("no panic") = Some(house.changes.clone());
    agent.ask(1, authenticate("anna", "right")).await;
    assert_eq!(code(&agent.ask(2, open("anna")).await), Some(Code::NotVerified));
    assert!(house.shared.sessions.list().is_empty());
}

#[tokio::test]
async fn a_change_of_an_account_is_a_change_of_its_session_at_once() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    agent.ask(1, authenticate("anna", "right")).await;
    agent.ask(2, open("anna")).await;
    let set = |person: Person| *house.table.people.lock().expect("no panic") = vec![person];
    set(Person { role: Role::Teacher, ..person("anna", 10_000) });
    recheck(&house.shared, false);
    let open = house.shared.sessions.list();
    assert_eq!((open[0].session.person.role, open[0].ending.as_deref()), (Role::Teacher, None));

    let looking = tokio::spawn(look(Arc::clone(&house.shared), house.stop.subscribe()));
    // Time stands still for nobody else: the first look comes when agents had time to come back.
    tokio::time::sleep(LOOK_EVERY + Duration::from_millis(200)).await;
    set(person("annabel", 10_000));
    house.changes.send_modify(|generation| *generation += 1);
    let order = loop {
        if let ToAgent::Order { order, .. } = agent.next().await {
            break order;
        }
    };
    let Order::EndSession { message, .. } = order else { unreachable!("it ends a session") };
    assert_eq!(message, "your name is `annabel` from now on; log in with that");
    house.stop.send_replace(true);
    looking.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_save_is_shown_why_once() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    agent.ask(1, authenticate("anna", "right")).await;
    let Reply::Opened { session, .. } = agent.ask(2, open("anna")).await else { panic!("not opened") };
    let looking = tokio::spawn(look(Arc::clone(&house.shared), house.stop.subscribe()));
    house.full.lock().expect("no panic").push(session);
    let ToAgent::Order { order, id } = agent.next().await else { panic!("no order") };
    let text = "anna, your home is full; delete something before you save your work".into();
    assert_eq!(order, Order::Act(Act::Message { text }));
    agent.say(ToServer::Done { id, trouble: None }).await;
    house.full.lock().expect("no panic").push(session);
    let again = tokio::time::timeout(LOOK_EVERY * 2, agent.next()).await;
    assert!(again.is_err(), "programs go on trying: {again:?}");
    assert!(house.full.lock().expect("no panic").is_empty(), "it was looked");
    house.stop.send_replace(true);
    looking.await.expect("it ends");
}

#[tokio::test]
async fn a_hundred_log_ins_at_once_run_a_few_at_a_time() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agents = JoinSet::new();
    for n in 0..100 {
        let mut agent = house.connect_from(MacAddr::new([2, 0, 0, 0, 1, n]), &mut tasks);
        agents.spawn(async move {
            agent.greet(&[]).await;
            let verified = agent.ask(1, authenticate("anna", "right")).await;
            (code(&verified), agent)
        });
    }
    for (refused, _) in agents.join_all().await {
        assert_eq!(refused, None);
    }
    let most = house.table.most.load(Ordering::SeqCst);
    assert!((1..=limits::CHANNEL_CHECKS).contains(&most), "{most} at once");
}

#[tokio::test]
async fn the_passwords_of_one_client_wait_for_each_other() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agents = JoinSet::new();
    for _ in 0..4 {
        let mut agent = house.connect(&mut tasks);
        agents.spawn(async move {
            agent.greet(&[]).await;
            for id in 0..8 {
                agent.say(ToServer::Ask { id, ask: authenticate("anna", "right") }).await;
            }
            for _ in 0..8 {
                let ToAgent::Reply { reply, .. } = agent.next().await else { panic!("no reply") };
                assert_eq!(code(&reply), None, "each is answered in its turn");
            }
            agent
        });
    }
    agents.join_all().await;
    assert_eq!(house.table.most.load(Ordering::SeqCst), limits::CHANNEL_CLIENT_CHECKS);
}

#[tokio::test]
async fn an_agent_that_asks_without_end_is_told_to_wait() {
    let (house, mut tasks) = (House::new(), JoinSet::new());
    let mut agent = house.connect(&mut tasks);
    agent.greet(&[]).await;
    let mut busy = 0;
    for id in 0..200 {
        let reply = agent.ask(id, Ask::CloseSession { session: SessionId(1) }).await;
        busy += usize::from(code(&reply) == Some(Code::Busy));
    }
    assert!(busy >= 100, "{busy} of 200 refused");
    let mut again = house.connect(&mut tasks);
    again.greet(&[]).await;
    let mut answered = 0;
    for id in 0..40 {
        let reply = again.ask(id, Ask::CloseSession { session: SessionId(1) }).await;
        answered += usize::from(code(&reply) != Some(Code::Busy));
    }
    assert!(answered < 20, "another connection is no way round: {answered} of 40 answered");
    // All at once: more than are answered side by side.
    let mut agent = house.connect_from(MacAddr::new([2, 0, 0, 0, 1, 1]), &mut tasks);
    agent.greet(&[]).await;
    for id in 0..40 {
        agent.say(ToServer::Ask { id, ask: authenticate("anna", "right") }).await;
    }
    let mut refused = 0;
    for _ in 0..40 {
        let ToAgent::Reply { reply, .. } = agent.next().await else { panic!("no reply") };
        refused += usize::from(code(&reply) == Some(Code::Busy));
    }
    assert!(refused > 0 && refused < 40, "{refused} of 40 refused");
}

#[test]
fn only_root_on_a_client_of_ours_is_let_in() {
    let house = House::new();
    #[rustfmt::skip]
    let rows = [
        ("an agent",         "192.168.1.101:1000",  None),
        ("a pupil on it",    "192.168.1.101:40000", Some("from port 40000, which needs no root")),
        ("nobody's address", "192.168.1.7:1000",    Some("no client holds this address")),
        ("a laptop",         "192.168.1.150:1000",  Some("the machine at this address is no client of ours")),
        ("IPv6",             "[::1]:1000",          Some("not from an IPv4 address")),
    ];
    for (shows, from, expected) in rows {
        let got = admit(&house.shared, from.parse().expect("an address")).err();
        assert_eq!(got.as_deref(), expected, "{shows}");
    }
    let passes: Vec<_> = (0..limits::CHANNEL_CLIENT_CONNECTIONS + 5)
        .filter_map(|_| admit(&house.shared, "192.168.1.101:1000".parse().expect("an address")).ok())
        .collect();
    assert_eq!(passes.len(), limits::CHANNEL_CLIENT_CONNECTIONS);
}

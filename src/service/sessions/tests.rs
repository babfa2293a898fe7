use std::collections::BTreeMap;

use super::*;
use crate::config::{Accounts, Client, Config, Homes};
use crate::proto::agent::channel::MountKind;
use crate::types::{FullName, Gid, Role};

const NOON: i64 = 1_795_435_200;
const ONE: Place =
    Place { mac: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]), ip: Ipv4Addr::new(192, 168, 1, 101) };
const TWO: Place =
    Place { mac: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 2]), ip: Ipv4Addr::new(192, 168, 1, 102) };

/// Remembers which sessions are open, and where to.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub open: Arc<Mutex<BTreeMap<SessionId, (Place, UserName)>>>,
    pub broken: Arc<std::sync::atomic::AtomicBool>,
    pub full: Arc<Mutex<Vec<SessionId>>>,
}

impl Doors for Ledger {
    fn open(&self, id: SessionId, session: &NewSession, _: Moment) -> Result<Vec<Mount>, DoorsShut> {
        let NewSession { client, ip, ref person, .. } = *session;
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(DoorsShut("the disk is gone".to_owned()));
        }
        self.open.lock().expect("no panic").insert(id, (Place { mac: client, ip }, person.name.clone()));
        let home = format!("/home/{}", person.name);
        Ok(vec![Mount { path: home.clone(), at: home, writable: true, kind: MountKind::Home }])
    }

    fn reopen(&self, id: SessionId, session: &NewSession, now: Moment) -> Result<(), DoorsShut> {
        self.open(id, session, now).map(drop)
    }

    fn close(&self, session: SessionId) {
        self.open.lock().expect("no panic").remove(&session);
    }

    fn full(&self) -> Vec<SessionId> {
        std::mem::take(&mut *self.full.lock().expect("no panic"))
    }
}

impl Ledger {
    fn sessions(&self) -> Vec<SessionId> {
        self.open.lock().expect("no panic").keys().copied().collect()
    }
}

pub fn person(name: &str, uid: u32) -> Person {
    Person {
        name: name.parse().expect("a name"),
        uid: Uid(uid),
        gid: Gid(uid),
        full_name: FullName::nearest(name),
        role: Role::Pupil,
        classes: vec![],
        must_change: false,
    }
}

fn at(secs: u64) -> Now {
    let civil = Moment::from_secs(NOON).plus(Duration::from_secs(secs));
    Now { up: Uptime(Duration::from_secs(1000 + secs)), civil }
}

/// Two clients, `lab-01` and `lab-02`.
pub fn config(twice: Twice) -> Config {
    let client = |name: &str, place: Place| Client {
        mac: place.mac,
        name: name.parse().expect("a name"),
        room: None,
        image: None,
        ip: None,
        config_txt: vec![],
        cmdline: vec![],
        mode: None,
        kiosk_page: None,
    };
    Config {
        clients: vec![client("lab-01", ONE), client("lab-02", TWO)],
        homes: Homes { encrypt: true, ..Homes::default() },
        accounts: Accounts { twice, ..Accounts::default() },
        ..Config::default()
    }
}

struct Lab {
    dir: tempfile::TempDir,
    ledger: Ledger,
    events: Arc<Events>,
    clients: Arc<Clients>,
    config: watch::Receiver<Arc<Config>>,
    sessions: Sessions,
}

impl Lab {
    fn new(twice: Twice) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Arc::new(config(twice));
        let clients = Arc::new(Clients::new(Arc::clone(&config)));
        for place in [ONE, TWO] {
            clients.bound(place.ip, place.mac, "lan");
        }
        let (ledger, events) = (Ledger::default(), Arc::<Events>::default());
        let config = watch::Sender::new(config).subscribe();
        let store = Store::open(&dir.path().join("bramble.db")).expect("a database");
        let doors = Box::new(ledger.clone());
        let (at_door, happens) = (Arc::clone(&clients), Arc::clone(&events));
        let sessions = Sessions::open(store, doors, at_door, happens, config.clone(), at(0)).expect("opened");
        Self { dir, ledger, events, clients, config, sessions }
    }

    /// The daemon is killed and started again, `secs` after noon.
    fn again(mut self, secs: u64) -> Self {
        self.ledger.open.lock().expect("no panic").clear();
        let store = Store::open(&self.dir.path().join("bramble.db")).expect("the same database");
        let (clients, events) = (Arc::clone(&self.clients), Arc::clone(&self.events));
        let doors = Box::new(self.ledger.clone());
        self.sessions =
            Sessions::open(store, doors, clients, events, self.config.clone(), at(secs)).expect("opened");
        self
    }

    fn verified(&self, place: Place, name: &str, uid: u32, secs: u64) {
        self.sessions.verified(place.mac, person(name, uid), at(secs));
    }

    fn log_in(&self, place: Place, name: &str, secs: u64) -> Result<SessionId, Refusal> {
        self.log_in_with(false, place, name, secs).map(|opened| opened.id)
    }

    /// By an agent that can mount through a tunnel, or cannot.
    fn log_in_with(&self, tunnel: bool, place: Place, name: &str, secs: u64) -> Result<Opened, Refusal> {
        let opening = Opening {
            name: name.parse().expect("a name"),
            kind: SessionKind::Desktop,
            service: "lightdm".into(),
            terminal: ":0".into(),
            tunnel,
        };
        self.sessions.log_in(place, &"boot-1".into(), opening, at(secs))
    }

    fn connect(
        &self,
        place: Place,
        boot: &str,
        sessions: &[SessionId],
        secs: u64,
    ) -> (u32, mpsc::Receiver<Order>) {
        let (orders, here) = mpsc::channel(8);
        let hello = Hello {
            version: 1,
            agent: "test".into(),
            boot_id: boot.into(),
            sessions: sessions.to_vec(),
            can: vec![],
            mode: None,
        };
        (self.sessions.connected(place, &hello, orders, at(secs)), here)
    }

    /// Why the sessions that have ended did, newest first.
    fn ends(&self) -> Vec<String> {
        let rows = self.sessions.history(100).expect("listed");
        rows.into_iter().filter_map(|row| Some(row.ended?.1)).collect()
    }
}

#[test]
fn a_session_needs_a_password_verified_at_the_same_client() {
    let lab = Lab::new(Twice::Allow);
    let code = |refused: Result<SessionId, Refusal>| refused.expect_err("refused").code;
    assert_eq!(code(lab.log_in(ONE, "anna", 0)), Code::NotVerified);
    lab.verified(TWO, "anna", 10_000, 0);
    lab.verified(ONE, "bert", 10_001, 0);
    assert_eq!(
        code(lab.log_in(ONE, "anna", 1)),
        Code::NotVerified,
        "verified elsewhere, and for somebody else"
    );
    lab.verified(ONE, "anna", 10_000, 1);
    assert_eq!(code(lab.log_in(ONE, "anna", 601)), Code::NotVerified, "too long ago");
    lab.verified(ONE, "anna", 10_000, 601);
    let id = lab.log_in(ONE, "anna", 1200).expect("opened");
    assert_eq!(lab.ledger.open.lock().expect("no panic")[&id], (ONE, "anna".parse().expect("a name")));
    assert!(lab.log_in(ONE, "anna", 9000).is_ok(), "who is logged in opens nothing new with `su`");
    assert_eq!(code(lab.log_in(TWO, "anna", 9000)), Code::NotVerified, "but elsewhere");
}

#[test]
fn a_persons_sessions_at_a_client_are_all_encrypted_or_none() {
    let lab = Lab::new(Twice::Allow);
    let (anna, ben) = (Uid(10_000), Uid(10_001));
    for (place, name, uid) in [(ONE, "anna", 10_000), (TWO, "anna", 10_000), (ONE, "ben", 10_001)] {
        lab.verified(place, name, uid, 0);
    }
    let log_in = |tunnel, place, name| lab.log_in_with(tunnel, place, name, 1).expect("opened");
    let first = log_in(true, ONE, "anna");
    assert!(first.encrypted && first.uid == anna);
    assert!(log_in(false, ONE, "anna").encrypted, "what is mounted serves both");
    assert!(!log_in(false, TWO, "anna").encrypted, "an agent that cannot");
    assert!(!log_in(true, TWO, "anna").encrypted, "what is mounted serves both");
    assert!(log_in(true, ONE, "ben").encrypted);
    let starts = |place: Place, uid| lab.sessions.encrypted(place.mac, uid);
    assert_eq!(starts(ONE, anna), ["boot-1", "boot-1"]);
    assert_eq!((starts(TWO, anna), starts(ONE, ben).len()), (vec![], 1));
    let lab = lab.again(10);
    assert_eq!(lab.sessions.encrypted(ONE.mac, anna).len(), 2, "also for the next run of the daemon");
    assert!(lab.sessions.list().iter().filter(|one| one.session.encrypted).count() == 3);
}

#[test]
fn whoever_must_choose_a_password_does_that_first() {
    let lab = Lab::new(Twice::Allow);
    lab.sessions.verified(ONE.mac, Person { must_change: true, ..person("anna", 10_000) }, at(0));
    let refused = lab.log_in(ONE, "anna", 1).expect_err("refused");
    assert_eq!((refused.code, refused.message.as_str()), (Code::NotVerified, "choose a new password first"));
    lab.verified(ONE, "anna", 10_000, 2);
    assert!(lab.log_in(ONE, "anna", 3).is_ok());
}

#[test]
fn log_out_closes_the_doors_of_ones_own_session_only() {
    let lab = Lab::new(Twice::Allow);
    lab.verified(ONE, "anna", 10_000, 0);
    let id = lab.log_in(ONE, "anna", 1).expect("opened");
    lab.sessions.log_out(TWO.mac, id, at(2));
    assert_eq!(lab.ledger.sessions(), [id], "another client's agent says so");
    lab.sessions.log_out(ONE.mac, id, at(3));
    lab.sessions.log_out(ONE.mac, id, at(4));
    assert!(lab.ledger.sessions().is_empty() && lab.sessions.list().is_empty());
    assert_eq!(lab.ends(), ["logged out"]);
    let said: Vec<String> = lab.events.timeline(ONE.mac).iter().map(|event| event.what.to_string()).collect();
    assert_eq!(said, ["anna logged in (desktop)", "anna logged out: logged out"]);
}

#[test]
fn who_has_logged_out_gives_the_password_again() {
    let lab = Lab::new(Twice::Allow);
    let twice = |first| {
        lab.verified(ONE, "anna", 10_000, first);
        [1, 2].map(|later| lab.log_in(ONE, "anna", first + later).expect("opened"))
    };
    let refused = |secs| lab.log_in(ONE, "anna", secs).expect_err("refused").code;
    let [first, second] = twice(0);
    lab.sessions.log_out(ONE.mac, first, at(3));
    let third = lab.log_in(ONE, "anna", 4).expect("the other session is still open");
    lab.sessions.log_out(ONE.mac, third, at(5));
    lab.sessions.log_out(ONE.mac, second, at(6));
    assert_eq!(refused(7), Code::NotVerified, "root there may not open it again");

    let [first, second] = twice(1000);
    lab.verified(ONE, "anna", 10_000, 1100);
    lab.sessions.log_out(ONE.mac, first, at(1110));
    lab.sessions.log_out(ONE.mac, second, at(1160));
    assert_eq!(refused(1161), Code::NotVerified, "the screen was unlocked a minute before");

    let [first, second] = twice(2000);
    lab.verified(ONE, "anna", 10_000, 2100);
    lab.sessions.log_out(ONE.mac, first, at(2101));
    lab.sessions.log_out(ONE.mac, second, at(2101));
    assert_eq!(refused(2131), Code::NotVerified, "not for long");

    let [first, second] = twice(3000);
    lab.verified(ONE, "anna", 10_000, 3100);
    for id in [first, second] {
        lab.sessions.log_out(ONE.mac, id, at(3101));
    }
    let again = lab.log_in(ONE, "anna", 3102).expect("who logs in again at once need not wait for the agent");
    lab.sessions.log_out(ONE.mac, again, at(3103));
    assert_eq!(refused(3104), Code::NotVerified, "once");
}

#[test]
fn the_same_person_at_two_clients() {
    let two = |twice| {
        let lab = Lab::new(twice);
        let orders = [ONE, TWO].map(|place| lab.connect(place, "boot-1", &[], 0).1);
        for place in [ONE, TWO] {
            lab.verified(place, "anna", 10_000, 0);
        }
        let first = lab.log_in(ONE, "anna", 1).expect("opened");
        let second = lab.log_in(TWO, "anna", 2);
        (lab, first, second, orders)
    };
    let (lab, first, second, _) = two(Twice::Allow);
    assert_eq!(lab.ledger.sessions(), [first, second.expect("opened")]);

    let (lab, first, second, _) = two(Twice::Refuse);
    let refused = second.expect_err("refused");
    assert_eq!(refused.code, Code::LoggedInElsewhere);
    assert_eq!(refused.message, "you are logged in at lab-01; log out there first");
    assert!(lab.log_in(ONE, "anna", 3).is_ok(), "a second session at the same client is no second seat");
    lab.sessions.log_out(ONE.mac, first, at(4));
    assert!(lab.log_in(TWO, "anna", 5).is_err(), "one of the two is still open");

    let (lab, first, second, [mut orders, _orders]) = two(Twice::Takeover);
    let second = second.expect("opened");
    let message = "you have logged in at lab-02 and are logged out here".to_owned();
    assert_eq!(
        orders.try_recv().expect("an order"),
        Order::EndSession { session: first, message: message.clone() }
    );
    assert_eq!(lab.ledger.sessions(), [first, second], "programs save what they have open");
    lab.sessions.tick(at(10));
    assert_eq!(lab.ledger.sessions(), [first, second]);
    lab.sessions.tick(at(23));
    assert_eq!(lab.ledger.sessions(), [second], "an agent that does not log out keeps nothing open");
    assert_eq!(lab.ends(), [message]);
}

#[test]
fn sessions_outlive_the_daemon() {
    let lab = Lab::new(Twice::Allow);
    for (place, name, uid) in [(ONE, "anna", 10_000), (TWO, "bert", 10_001)] {
        lab.connect(place, "boot-1", &[], 0);
        lab.verified(place, name, uid, 0);
    }
    let one = lab.log_in(ONE, "anna", 1).expect("opened");
    let two = lab.log_in(TWO, "bert", 1).expect("opened");
    let lab = lab.again(10_000);
    assert_eq!(lab.ledger.sessions(), [one, two], "each has its files before anybody asks");
    lab.sessions.tick(at(10_080));
    assert_eq!(lab.ledger.sessions(), [one, two], "agents have time to come back");
    let (_, mut orders) = lab.connect(ONE, "boot-1", &[one, SessionId(77)], 10_081);
    let message = "the server has ended this session".to_owned();
    assert_eq!(orders.try_recv().expect("an order"), Order::EndSession { session: SessionId(77), message });
    assert!(orders.try_recv().is_err(), "only for what is over");
    lab.sessions.tick(at(10_091));
    assert_eq!(lab.ledger.sessions(), [one], "the other client did not");
    assert_eq!(lab.ends(), ["the client is gone"]);
}

#[test]
fn a_client_that_was_started_again_has_no_sessions() {
    let open = || {
        let lab = Lab::new(Twice::Allow);
        let (number, _) = lab.connect(ONE, "boot-1", &[], 0);
        lab.verified(ONE, "anna", 10_000, 0);
        let id = lab.log_in(ONE, "anna", 1).expect("opened");
        (lab, number, id)
    };
    let (lab, _, id) = open();
    lab.connect(ONE, "boot-2", &[id], 5);
    assert_eq!(
        (lab.ledger.sessions(), lab.ends()),
        (vec![], vec!["the client was started again".to_owned()])
    );

    let (lab, _, _) = open();
    lab.connect(ONE, "boot-1", &[], 5);
    assert_eq!(lab.ends(), ["logged out while the server was away"]);

    let rom = Happening::Discover { stage: Stage::Rom };
    let (lab, number, id) = open();
    lab.events.record(ONE.mac, at(5).civil, rom.clone());
    lab.sessions.tick(at(6));
    assert_eq!(lab.ledger.sessions(), [id], "somebody borrows the hardware address of a client that runs");
    lab.sessions.disconnected(ONE.mac, number, at(7));
    lab.sessions.tick(at(8));
    assert_eq!(lab.ledger.sessions(), [id], "and did so before the channel was lost");
    lab.events.record(ONE.mac, at(9).civil, rom);
    lab.sessions.tick(at(10));
    assert_eq!(lab.ends(), ["the client was started again"]);

    let off = Happening::Agent { phase: "off".to_owned(), message: "switching off".to_owned() };
    let (lab, number, id) = open();
    lab.events.connected(ONE.mac, at(2).civil);
    lab.events.record(ONE.mac, at(5).civil, off.clone());
    lab.sessions.tick(at(6));
    assert_eq!(lab.ledger.sessions(), [id], "somebody says so in its name");
    lab.sessions.disconnected(ONE.mac, number, at(7));
    lab.sessions.tick(at(8));
    assert_eq!(lab.ledger.sessions(), [id], "and did so before the channel was lost");
    lab.events.record(ONE.mac, at(9).civil, Happening::HomeFull { user: "anna".parse().expect("a name") });
    lab.events.record(ONE.mac, at(9).civil, off);
    lab.sessions.tick(at(10));
    assert_eq!(lab.ledger.sessions(), [id], "its root is still open");
    lab.events.disconnected(ONE.mac, at(11).civil);
    lab.sessions.tick(at(12));
    assert_eq!(lab.ends(), ["the client was switched off"]);
}

#[test]
fn a_client_that_disappears_loses_its_sessions_after_a_while() {
    let lab = Lab::new(Twice::Allow);
    let (old, _old_orders) = lab.connect(ONE, "boot-1", &[], 0);
    lab.verified(ONE, "anna", 10_000, 0);
    let id = lab.log_in(ONE, "anna", 1).expect("opened");
    let (new, _orders) = lab.connect(ONE, "boot-1", &[id], 10);
    lab.sessions.disconnected(ONE.mac, old, at(20));
    lab.sessions.tick(at(2000));
    assert_eq!(lab.ledger.sessions(), [id], "an older connection that ends says nothing");
    lab.sessions.disconnected(ONE.mac, new, at(2000));
    lab.events.connected(ONE.mac, at(2000).civil);
    lab.sessions.tick(at(3000));
    assert_eq!(lab.ledger.sessions(), [id], "it reads its files");
    lab.events.disconnected(ONE.mac, at(3000).civil);
    lab.sessions.tick(at(3001));
    assert_eq!(lab.ends(), ["the client is gone"]);
}

#[test]
fn an_address_that_another_machine_has_opens_nothing() {
    let lab = Lab::new(Twice::Allow);
    let (_, _orders) = lab.connect(ONE, "boot-1", &[], 0);
    lab.verified(ONE, "anna", 10_000, 0);
    let id = lab.log_in(ONE, "anna", 1).expect("opened");
    let moved = Place { ip: Ipv4Addr::new(192, 168, 1, 150), ..ONE };
    lab.clients.bound(moved.ip, ONE.mac, "lan");
    let (_, _orders) = lab.connect(moved, "boot-1", &[id], 2);
    assert_eq!(lab.ledger.open.lock().expect("no panic")[&id].0, moved, "files follow the client");
    lab.sessions.tick(at(3));
    assert_eq!(lab.ledger.sessions(), [id]);
    let lab = lab.again(4);
    assert_eq!(lab.ledger.open.lock().expect("no panic")[&id].0, moved, "also over a restart");
    lab.clients.bound(moved.ip, TWO.mac, "lan");
    lab.sessions.tick(at(5));
    assert_eq!(lab.ends(), ["another machine has the client's address"]);
}

#[test]
fn an_administrator_ends_a_session() {
    let lab = Lab::new(Twice::Allow);
    let (number, mut orders) = lab.connect(ONE, "boot-1", &[], 0);
    lab.verified(ONE, "anna", 10_000, 0);
    let id = lab.log_in(ONE, "anna", 1).expect("opened");
    assert!(lab.sessions.end(id, "The lesson is over.", at(2)));
    assert!(!lab.sessions.end(SessionId(99), "no", at(2)));
    assert_eq!(lab.sessions.list()[0].ending.as_deref(), Some("The lesson is over."));
    assert!(matches!(orders.try_recv(), Ok(Order::EndSession { session, .. }) if session == id));
    lab.sessions.log_out(ONE.mac, id, at(4));
    assert_eq!(lab.ends(), ["The lesson is over."], "the agent has logged out, and why is remembered");

    lab.verified(ONE, "anna", 10_000, 5);
    let id = lab.log_in(ONE, "anna", 5).expect("opened");
    lab.sessions.disconnected(ONE.mac, number, at(6));
    assert!(lab.sessions.end(id, "The lesson is over.", at(7)));
    assert!(lab.ledger.sessions().is_empty(), "without an agent it ends at once");
}

#[test]
fn what_becomes_of_people_becomes_of_their_sessions() {
    let lab = Lab::new(Twice::Allow);
    let (_, mut orders) = lab.connect(ONE, "boot-1", &[], 0);
    for (name, uid) in [("anna", 10_000), ("bert", 10_001), ("cleo", 10_002)] {
        lab.verified(ONE, name, uid, 0);
    }
    let anna = lab.log_in(ONE, "anna", 1).expect("opened");
    let bert = lab.log_in(ONE, "bert", 1).expect("opened");
    let moved = Person {
        classes: vec![("class-8b".parse().expect("a class"), Gid(100_001))],
        ..person("bert", 10_001)
    };
    let verdict = |_, known: &Person| match known.name.as_str() {
        "anna" => Verdict::Ends("your account was removed".to_owned()),
        "bert" => Verdict::Changes(moved.clone()),
        _ => Verdict::Ends("not here".to_owned()),
    };
    assert_eq!(lab.sessions.clients(), [ONE.mac].into());
    lab.sessions.recheck(verdict, at(2));
    let message = "your account was removed".to_owned();
    assert_eq!(orders.try_recv().expect("told"), Order::EndSession { session: anna, message });
    assert!(orders.try_recv().is_err(), "bert only reaches other things");
    assert_eq!(lab.sessions.list()[1].session.person, moved);
    assert_eq!(
        lab.log_in(ONE, "cleo", 3).expect_err("refused").code,
        Code::NotVerified,
        "not even a moment later"
    );
    assert_eq!(lab.sessions.count(|person| person.uid == Uid(10_001)), 1);
    lab.sessions.log_out(ONE.mac, anna, at(4));
    let lab = lab.again(5);
    assert_eq!(lab.ends(), ["your account was removed"]);
    assert_eq!(lab.sessions.list()[0].session.person, moved, "also after a restart");
    let (_, mut orders) = lab.connect(ONE, "boot-1", &[anna, bert], 6);
    let message = "your account was removed".to_owned();
    assert_eq!(orders.try_recv().expect("told again"), Order::EndSession { session: anna, message });
    let (_, mut orders) = lab.connect(TWO, "boot-9", &[anna], 6);
    let message = "the server has ended this session".to_owned();
    assert_eq!(
        orders.try_recv().expect("told"),
        Order::EndSession { session: anna, message },
        "it is another's"
    );
}

#[test]
fn who_cannot_save_is_told_now_and_then() {
    let lab = Lab::new(Twice::Allow);
    lab.verified(ONE, "anna", 10_000, 0);
    let id = lab.log_in(ONE, "anna", 1).expect("opened");
    let full = |sessions: &[u64], secs, reaches| {
        lab.ledger.full.lock().expect("no panic").extend(sessions.iter().map(|id| SessionId(*id)));
        let mut told = Vec::new();
        lab.sessions.full(at(secs), |client, words| {
            told.push((client, words.to_owned()));
            reaches
        });
        told
    };
    assert_eq!(full(&[], 2, true), []);
    let says = "anna, your home is full; delete something before you save your work".to_owned();
    assert_eq!(full(&[id.0, 99], 3, false), [(ONE.mac, says.clone())], "the agent is away for a moment");
    assert_eq!(full(&[id.0], 8, true), [(ONE.mac, says.clone())]);
    for secs in (10..3000).step_by(5) {
        assert_eq!(full(&[id.0], secs, true), [], "a program that tries all the time is one filling");
    }
    assert_eq!(full(&[id.0], 3594, true), [], "so is one that tries again before there was room for a while");
    assert_eq!(full(&[id.0], 3594 + 600, true), [(ONE.mac, says)]);
    let said: Vec<String> = lab.events.timeline(ONE.mac).iter().map(|event| event.what.to_string()).collect();
    assert_eq!(said[1], "anna could not save: the home is full");
}

#[test]
fn what_a_client_can_make_grow_is_bounded() {
    let lab = Lab::new(Twice::Allow);
    for n in 0..200 {
        lab.verified(ONE, &format!("user{n}"), 10_000 + n, 0);
    }
    assert_eq!(lab.log_in(ONE, "user0", 1).expect_err("forgotten").code, Code::NotVerified);
    let opened = (0..200).filter(|_| lab.log_in(ONE, "user199", 1).is_ok()).count();
    assert_eq!(opened, limits::CLIENT_SESSIONS);
    lab.verified(TWO, "bert", 9_999, 1);
    assert!(lab.log_in(TWO, "bert", 2).is_ok(), "one client takes nothing from another");
}

#[test]
fn a_home_that_cannot_be_opened_leaves_no_session() {
    let lab = Lab::new(Twice::Allow);
    lab.verified(ONE, "anna", 10_000, 0);
    lab.ledger.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = lab.log_in(ONE, "anna", 1).expect_err("refused");
    assert_eq!(refused.code, Code::Trouble);
    assert_eq!(refused.message, "your files cannot be reached at the moment; tell your teacher");
    assert!(lab.sessions.list().is_empty());
    assert_eq!(lab.ends(), ["its files could not be opened"]);
}

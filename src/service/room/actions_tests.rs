use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{mpsc, watch};

use super::*;
use crate::config::{Accounts, Client, Config, Room};
use crate::proto::agent::act;
use crate::proto::agent::channel::{Hello, Mount, Order};
use crate::service::clients::Clients;
use crate::service::room::agents::{Command, What};
use crate::service::sessions::{Doors, DoorsShut, Opening, Place};
use crate::store::Store;
use crate::store::sessions::NewSession;
use crate::types::{FullName, Gid, ImageVersion, Person, Role, SessionKind, Uid};

const NOON: i64 = 1_795_435_200;

/// Gives everybody everything.
#[derive(Debug)]
struct Open;

impl Doors for Open {
    fn open(&self, _: SessionId, _: &NewSession, _: Moment) -> Result<Vec<Mount>, DoorsShut> {
        Ok(Vec::new())
    }

    fn reopen(&self, _: SessionId, _: &NewSession, _: Moment) -> Result<(), DoorsShut> {
        Ok(())
    }

    fn close(&self, _: SessionId) {}

    fn full(&self) -> Vec<SessionId> {
        Vec::new()
    }
}

fn at(millis: u64) -> Now {
    let since = Duration::from_millis(millis);
    Now { up: Uptime(Duration::from_secs(1000) + since), civil: Moment::from_secs(NOON).plus(since) }
}

fn mac(n: u8) -> MacAddr {
    MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, n])
}

fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, 100 + n)
}

/// Three clients, `lab-01` to `lab-03`, and what is said to their agents.
struct Lab {
    _dir: tempfile::TempDir,
    clients: Arc<Clients>,
    events: Arc<Events>,
    agents: Arc<Agents>,
    sessions: Arc<Sessions>,
    store: Store,
    actions: Actions,
    switched_off: Arc<AtomicU32>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let client = |n: u8| Client {
            mac: mac(n),
            name: format!("lab-0{n}").parse().expect("a name"),
            room: Some("lab".parse().expect("a room")),
            image: None,
            ip: None,
            config_txt: vec![],
            cmdline: vec![],
            mode: None,
            kiosk_page: None,
        };
        let config = Arc::new(Config {
            clients: (1..=3).map(client).collect(),
            accounts: Accounts::default(),
            rooms: Vec::<Room>::new(),
            ..Config::default()
        });
        let clients = Arc::new(Clients::new(Arc::clone(&config)));
        for n in 1..=3 {
            clients.bound(ip(n), mac(n), "lan");
        }
        let (events, agents) = (Arc::<Events>::default(), Arc::<Agents>::default());
        let store = Store::open(&dir.path().join("bramble.db")).expect("a database");
        let config = watch::Sender::new(config).subscribe();
        let sessions = Sessions::open(
            store.clone(),
            Box::new(Open),
            Arc::clone(&clients),
            Arc::clone(&events),
            config,
            at(0),
        );
        let sessions = Arc::new(sessions.expect("opened"));
        let switched_off = Arc::<AtomicU32>::default();
        let told = Arc::clone(&switched_off);
        let router: Router = Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let (of, seen, open) = (Arc::clone(&agents), Arc::clone(&events), Arc::clone(&sessions));
        let actions = Actions::open(of, seen, open, store.clone(), router).expect("opened");
        Self { _dir: dir, clients, events, agents, sessions, store, actions, switched_off }
    }

    /// The daemon is started again: what it had under way is gone.
    fn restart(&mut self) {
        let (agents, events) = (Arc::clone(&self.agents), Arc::clone(&self.events));
        let (sessions, told) = (Arc::clone(&self.sessions), Arc::clone(&self.switched_off));
        let router = Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        self.actions = Actions::open(agents, events, sessions, self.store.clone(), router).expect("opened");
    }

    fn request(&self, kind: Kind) -> Request {
        Request {
            kind,
            targets: self.clients.all(),
            message: Words::default(),
            force: false,
            pace: Duration::ZERO,
            grace: Duration::ZERO,
            router: false,
            by: "an administrator".to_owned(),
        }
    }

    fn connect(&self, n: u8) -> (u32, mpsc::Receiver<Command>) {
        self.connect_as(n, Mode::Login)
    }

    fn connect_as(&self, n: u8, mode: Mode) -> (u32, mpsc::Receiver<Command>) {
        self.connect_in(n, "boot-1", mode)
    }

    /// In the start `boot_id` of the client.
    fn connect_in(&self, n: u8, boot_id: &str, mode: Mode) -> (u32, mpsc::Receiver<Command>) {
        let (commands, taken) = mpsc::channel(limits::AGENT_ACTS);
        let hello = Hello {
            version: 1,
            agent: "0.1.0".into(),
            boot_id: boot_id.into(),
            sessions: vec![],
            can: vec![act::CAN.into(), act::CAN_SCREEN.into()],
            mode: Some(mode),
        };
        (self.agents.connected(mac(n), &hello, commands, at(0).civil), taken)
    }

    fn log_in(&self, n: u8, name: &str) -> (SessionId, mpsc::Receiver<Order>) {
        let place = Place { mac: mac(n), ip: ip(n) };
        let (orders, taken) = mpsc::channel(8);
        let hello = Hello {
            version: 1,
            agent: "0.1.0".into(),
            boot_id: "boot-1".into(),
            sessions: vec![],
            can: vec![],
            mode: None,
        };
        self.sessions.connected(place, &hello, orders, at(0));
        let person = Person {
            name: name.parse().expect("a name"),
            uid: Uid(10_000),
            gid: Gid(10_000),
            full_name: FullName::nearest(name),
            role: Role::Pupil,
            classes: vec![],
            must_change: false,
        };
        self.sessions.verified(place.mac, person.clone(), at(0));
        let opening = Opening {
            name: person.name,
            kind: SessionKind::Desktop,
            service: "lightdm".into(),
            terminal: ":0".into(),
            tunnel: false,
        };
        let id = self.sessions.log_in(place, &"boot-1".into(), opening, at(0)).expect("logged in").id;
        (id, taken)
    }

    fn off(&self, n: u8, millis: u64) {
        let what = Happening::Agent { phase: "off".to_owned(), message: "switching off".to_owned() };
        self.events.record(mac(n), at(millis).civil, what);
    }

    /// The state of each client of the newest action.
    fn states(&self, millis: u64) -> Vec<&'static str> {
        self.actions.tick(at(millis));
        let newest = self.actions.list(at(millis)).swap_remove(0);
        newest.targets.iter().map(|target| target.state.as_str()).collect()
    }
}

fn words(taken: &mut mpsc::Receiver<Command>) -> Vec<String> {
    let mut said = Vec::new();
    while let Ok(Command { what: What::Act(act), .. }) = taken.try_recv() {
        said.push(match act {
            Act::Message { text } => text.to_string(),
            Act::Shutdown { .. } => "off".to_owned(),
            Act::Reboot { .. } => "again".to_owned(),
            Act::Lock => "lock".to_owned(),
            Act::Identify { name, .. } => name.to_string(),
            Act::Blank { seconds } => format!("dark {seconds}"),
            Act::EndGuest { message } => format!("guest: {message}"),
            Act::Screen { .. } => "screen".to_owned(),
        });
    }
    said
}

#[test]
fn all_off_in_order_and_the_router_last() {
    let lab = Lab::new();
    let (number, mut first) = lab.connect(1);
    let (_, mut second) = lab.connect(2);
    let begun =
        lab.actions.start(Request { router: true, ..lab.request(Kind::Shutdown) }, at(0)).expect("begun");
    assert_eq!((begun.phase, begun.of), (Phase::Running, 3));
    assert_eq!(lab.states(1), ["sent", "sent", "unreachable"]);
    assert_eq!((words(&mut first), words(&mut second)), (vec!["off".to_owned()], vec!["off".to_owned()]));
    // The word of the agent alone is not enough: it was only begun.
    let status = lab.actions.get(begun.action, at(2)).expect("remembered");
    assert_eq!(status.targets[2].says, "its agent is not connected");
    lab.agents.disconnected(mac(1), number, at(1000).civil);
    assert_eq!(lab.states(1000), ["sent", "sent", "unreachable"], "a connection that ended proves nothing");
    lab.off(1, 2000);
    assert_eq!(lab.states(2001), ["done", "sent", "unreachable"]);
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 0, "one client is not off yet");
    assert_eq!(lab.states(120_500), ["done", "timed out", "unreachable"]);
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 1);
    let status = lab.actions.get(begun.action, at(121_000)).expect("remembered");
    assert_eq!((status.phase, status.done), (Phase::Ended, 1));
    assert_eq!(status.router.as_deref(), Some("it is being switched off"));
    lab.actions.tick(at(122_000));
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 1, "once");
}

#[test]
fn an_older_end_of_a_system_is_no_proof() {
    let lab = Lab::new();
    let (number, _first) = lab.connect(1);
    lab.off(1, 500);
    let targets = vec![lab.clients.get(mac(1)).expect("known")];
    lab.actions.start(Request { targets, ..lab.request(Kind::Reboot) }, at(1000)).expect("begun");
    assert_eq!(lab.states(1001), ["sent"]);
    lab.agents.disconnected(mac(1), number, at(8000).civil);
    assert_eq!(lab.states(8001), ["sent"]);
    let rom = Happening::Discover { stage: Stage::Rom };
    lab.events.record(mac(1), at(9000).civil, rom);
    assert_eq!(lab.states(9001), ["done"]);
}

#[test]
fn nobody_is_off_whose_agent_is_there() {
    let lab = Lab::new();
    let (_, _first) = lab.connect(1);
    let targets = vec![lab.clients.get(mac(1)).expect("known")];
    let all = Request { targets, router: true, ..lab.request(Kind::Shutdown) };
    lab.actions.start(all, at(1000)).expect("begun");
    assert_eq!(lab.states(1001), ["sent"]);
    // From another seat, in its name: the agent's last word, and what a ROM says.
    lab.off(1, 2000);
    lab.events.record(mac(1), at(2100).civil, Happening::Discover { stage: Stage::Rom });
    assert_eq!(lab.states(3000), ["sent"]);
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 0, "the router stays for who is there");
    assert_eq!(lab.states(125_000), ["timed out"]);

    // One that starts so fast that the end of its connection was not noticed is there in another start.
    let lab = Lab::new();
    let (_, _first) = lab.connect(1);
    let targets = vec![lab.clients.get(mac(1)).expect("known")];
    lab.actions.start(Request { targets, ..lab.request(Kind::Reboot) }, at(1000)).expect("begun");
    assert_eq!(lab.states(1001), ["sent"]);
    let (_, _same) = lab.connect(1);
    assert_eq!(lab.states(5000), ["sent"], "it only connected again");
    let (_, _next) = lab.connect_in(1, "boot-2", Mode::Login);
    assert_eq!(lab.states(30_000), ["done"]);
}

#[test]
fn what_a_row_began_is_stopped_when_the_row_is_gone() {
    let lab = Lab::new();
    let (_, mut first) = lab.connect(1);
    let row = |minute| Schedule {
        enabled: true,
        days: vec![],
        minute,
        grace: 10,
        action: ScheduledAction::Shutdown,
        room: None,
        router: true,
    };
    let (evening, noon) = (row(990), row(720));
    let due = Due { schedule: evening.clone(), left: Duration::from_mins(10) };
    let begun = lab.actions.scheduled(due, lab.clients.all(), at(0)).expect("begun");
    lab.actions.start(lab.request(Kind::Lock), at(0)).expect("begun by hand");
    lab.actions.tick(at(1));
    // Another row comes and goes.
    lab.actions.keep_to(&[noon.clone(), evening.clone()], at(1000));
    lab.actions.keep_to(std::slice::from_ref(&evening), at(2000));
    assert_eq!(lab.actions.get(begun.action, at(2001)).expect("there").phase, Phase::Countdown);
    words(&mut first);
    lab.actions.keep_to(&[noon, Schedule { enabled: false, ..evening }], at(3000));
    assert_eq!(words(&mut first), ["It has been called off: this computer stays on."]);
    lab.actions.tick(at(3001));
    let status = lab.actions.get(begun.action, at(3001)).expect("there");
    assert_eq!(status.phase, Phase::Ended);
    assert!(status.targets.iter().all(|target| target.state == Progress::Stopped));
    lab.actions.tick(at(700_000));
    assert_eq!(words(&mut first), Vec::<String>::new());
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 0);
}

#[test]
fn a_countdown_of_the_timetable_outlives_a_restart_and_one_that_was_stopped_does_not_come_back() {
    let mut lab = Lab::new();
    let (_, mut first) = lab.connect(1);
    // 12:00 is NOON; one at 12:10 that goes on, one at 12:20 that somebody stops.
    let row = |minute, grace, action| Schedule {
        enabled: true,
        days: vec![],
        minute,
        grace,
        action,
        room: None,
        router: false,
    };
    let rows = vec![row(730, 10, ScheduledAction::Logout), row(740, 20, ScheduledAction::Shutdown)];
    let config = Config { schedules: rows, ..Config::default() };
    let turn = |lab: &Lab, millis| {
        lab.actions.keep_time(&config, || lab.clients.all(), at(millis));
        lab.actions.tick(at(millis));
    };
    let list = |lab: &Lab, millis| -> Vec<(Kind, Phase)> {
        lab.actions.list(at(millis)).iter().map(|action| (action.kind, action.phase)).collect()
    };
    turn(&lab, 1000);
    let both = list(&lab, 1000);
    assert_eq!(both, [(Kind::Shutdown, Phase::Countdown), (Kind::Logout, Phase::Countdown)]);
    let shutdown = lab.actions.list(at(1000))[0].action;
    lab.actions.stop(shutdown, at(2000)).expect("there");
    words(&mut first);

    lab.restart();
    turn(&lab, 185_000);
    assert_eq!(list(&lab, 185_000), [(Kind::Logout, Phase::Countdown)]);
    let told = words(&mut first);
    assert_eq!(told, ["This computer logs you out in 7 minutes. Save your work and log out."]);
    let status = lab.actions.list(at(185_000))[0].clone();
    assert_eq!(status.begins_at, Moment::from_secs(NOON + 600), "the time that was said");

    // Begun, and over before it starts again.
    turn(&lab, 601_000);
    lab.restart();
    turn(&lab, 605_000);
    assert_eq!(list(&lab, 605_000), []);
}

#[test]
fn a_power_off_of_the_timetable_goes_on_behind_a_restart_with_those_who_are_still_there() {
    let mut lab = Lab::new();
    let (gone, mut first) = lab.connect(1);
    let (_, mut second) = lab.connect(2);
    let row = Schedule {
        enabled: true,
        days: vec![],
        minute: 12 * 60,
        grace: 0,
        action: ScheduledAction::Shutdown,
        room: None,
        router: true,
    };
    let config = Config { schedules: vec![row], ..Config::default() };
    let turn = |lab: &Lab, millis| {
        lab.actions.keep_time(&config, || lab.clients.all(), at(millis));
        lab.actions.tick(at(millis));
    };
    turn(&lab, 1);
    assert_eq!((words(&mut first).len(), words(&mut second).len()), (1, 0), "one after the other");
    lab.agents.disconnected(mac(1), gone, at(200).civil);

    lab.restart();
    turn(&lab, 20_000);
    let told = words(&mut second);
    assert_eq!(told, ["This computer is switched off in 30 seconds. Save your work and log out."]);
    assert_eq!(lab.states(50_600), ["unreachable", "sent", "unreachable"]);
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 0, "clients first");
    turn(&lab, 600_000);
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 1);

    // Over: a restart behind it begins nothing again.
    lab.restart();
    turn(&lab, 610_000);
    assert_eq!(lab.actions.list(at(610_000)).len(), 0);
}

#[test]
fn a_client_that_let_go_of_its_root_is_off() {
    let lab = Lab::new();
    let (number, _first) = lab.connect(1);
    lab.events.connected(mac(1), at(0).civil);
    let mount = ImageVersion { name: "trixie".parse().expect("name"), version: crate::types::Version::FIRST };
    lab.events.record(mac(1), at(0).civil, Happening::Mount { image: mount });
    let targets = vec![lab.clients.get(mac(1)).expect("known")];
    lab.actions.start(Request { targets, ..lab.request(Kind::Shutdown) }, at(1000)).expect("begun");
    assert_eq!(lab.states(1001), ["sent"]);
    lab.agents.disconnected(mac(1), number, at(2000).civil);
    assert_eq!(lab.states(2000), ["sent"], "its root is still open");
    lab.events.disconnected(mac(1), at(3000).civil);
    assert_eq!(lab.states(3001), ["done"]);
}

#[test]
fn nobody_is_switched_off_under_their_hands_unless_it_is_forced() {
    let lab = Lab::new();
    let (_session, _orders) = lab.log_in(2, "anna");
    let refused = lab.actions.start(lab.request(Kind::Shutdown), at(1)).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "nothing was done, because people are logged in: anna at lab-02; wait, log them out, or do it all the same (`--force`)"
    );
    assert!(lab.actions.list(at(1)).is_empty());
    let others = lab.clients.all().into_iter().filter(|known| known.mac != mac(2)).collect();
    assert!(lab.actions.start(Request { targets: others, ..lab.request(Kind::Shutdown) }, at(1)).is_ok());
    assert!(lab.actions.start(Request { force: true, ..lab.request(Kind::Shutdown) }, at(1)).is_ok());
    assert!(lab.actions.start(lab.request(Kind::Lock), at(1)).is_ok(), "a lock ends nobody's work");
}

#[test]
fn whoever_logs_in_before_it_is_their_turn_stays_unless_it_is_forced() {
    let lab = Lab::new();
    let mut lines: Vec<_> = (1..=3).map(|n| lab.connect(n).1).collect();
    let pace = Duration::from_secs(2);
    let request = |force| Request { force, pace, router: true, ..lab.request(Kind::Shutdown) };
    let begun = lab.actions.start(request(false), at(0)).expect("begun");
    assert_eq!(lab.states(1), ["sent", "waiting", "waiting"]);
    let (_session, _orders) = lab.log_in(2, "anna");
    assert_eq!(lab.states(4000), ["sent", "failed", "sent"]);
    assert_eq!(words(&mut lines[1]), Vec::<String>::new());
    let status = lab.actions.get(begun.action, at(4001)).expect("remembered");
    assert_eq!(status.targets[1].says, "somebody has logged in there since it was begun");
    lab.off(1, 5000);
    lab.off(3, 5000);
    lab.actions.tick(at(200_000));
    let status = lab.actions.get(begun.action, at(200_001)).expect("remembered");
    assert_eq!(status.phase, Phase::Ended);
    assert_eq!(
        status.router.as_deref(),
        Some("it stays on, because somebody has logged in since it was begun")
    );
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 0);

    lab.actions.start(request(true), at(300_000)).expect("begun");
    assert_eq!(lab.states(304_000), ["sent", "sent", "sent"], "whoever forces it means everybody");
}

#[test]
fn a_countdown_is_seen_and_can_be_called_off() {
    let lab = Lab::new();
    let (_, mut first) = lab.connect(1);
    let request = Request { grace: Duration::from_mins(10), router: true, ..lab.request(Kind::Shutdown) };
    let begun = lab.actions.start(request, at(0)).expect("begun");
    assert_eq!(begun.phase, Phase::Countdown);
    for millis in [1, 1000, 299_000, 300_000, 301_000, 541_000, 590_500, 599_000] {
        lab.actions.tick(at(millis));
    }
    let said = words(&mut first);
    let expected: Vec<String> = ["10 minutes", "5 minutes", "1 minute", "10 seconds"]
        .iter()
        .map(|left| format!("This computer is switched off in {left}. Save your work and log out."))
        .collect();
    assert_eq!(said, expected);
    let stopped = lab.actions.stop(begun.action, at(599_500)).expect("there");
    assert!(stopped.targets.iter().all(|target| target.state == Progress::Stopped));
    assert_eq!(words(&mut first), ["It has been called off: this computer stays on."]);
    lab.actions.tick(at(601_000));
    assert_eq!(words(&mut first), Vec::<String>::new());
    let status = lab.actions.get(begun.action, at(601_000)).expect("remembered");
    assert_eq!(status.phase, Phase::Ended);
    assert_eq!(status.router.as_deref(), Some("it stays on, because the action was stopped"));
    assert_eq!(lab.switched_off.load(Ordering::Relaxed), 0);
}

#[test]
fn a_room_starts_one_after_the_other() {
    let lab = Lab::new();
    let mut lines: Vec<_> = (1..=3).map(|n| lab.connect(n).1).collect();
    let request = Request { pace: Duration::from_secs(2), ..lab.request(Kind::Reboot) };
    lab.actions.start(request, at(0)).expect("begun");
    assert_eq!(lab.states(1), ["sent", "waiting", "waiting"]);
    assert_eq!(lab.states(1999), ["sent", "waiting", "waiting"]);
    assert_eq!(lab.states(2000), ["sent", "sent", "waiting"]);
    assert_eq!(lab.states(4000), ["sent", "sent", "sent"]);
    let said: Vec<_> = lines.iter_mut().flat_map(words).collect();
    assert_eq!(said, ["again", "again", "again"]);
}

#[test]
fn answers_of_agents_are_told_as_they_are() {
    let lab = Lab::new();
    let (_, mut first) = lab.connect(1);
    let (number, mut second) = lab.connect(2);
    let (_, mut third) = lab.connect(3);
    let refused = lab.actions.start(lab.request(Kind::Message), at(0)).expect_err("refused");
    assert_eq!(refused, Refused::NoMessage);
    let message = Request { message: "Five\nminutes".into(), ..lab.request(Kind::Message) };
    let begun = lab.actions.start(message, at(0)).expect("begun");
    lab.actions.tick(at(1));
    let command = first.try_recv().expect("a command");
    assert_eq!(command.what, What::Act(Act::Message { text: "Five minutes".into() }));
    lab.agents.answered(mac(1), command.ticket, None);
    let other = second.try_recv().expect("a command").ticket;
    let third = third.try_recv().expect("a command").ticket;
    lab.agents.answered(mac(1), other, None);
    lab.agents.answered(mac(3), third, Some("no screen".into()));
    assert_eq!(lab.states(2), ["done", "sent", "failed"], "the first cannot answer for the second");
    lab.agents.disconnected(mac(2), number, at(3).civil);
    assert_eq!(lab.states(3), ["done", "failed", "failed"]);
    let status = lab.actions.get(begun.action, at(3)).expect("remembered");
    assert_eq!(status.targets[2].says, "no screen");
    assert_eq!(status.phase, Phase::Ended);
}

#[test]
fn logged_out_is_who_is_no_longer_there() {
    let lab = Lab::new();
    let (session, mut orders) = lab.log_in(1, "anna");
    let (_, _first) = lab.connect(1);
    let (_, _second) = lab.connect(2);
    lab.actions.start(lab.request(Kind::Logout), at(1000)).expect("begun");
    assert_eq!(lab.states(1001), ["sent", "done", "unreachable"]);
    let message = "You are being logged out.".to_owned();
    assert_eq!(orders.try_recv(), Ok(Order::EndSession { session, message }));
    lab.sessions.log_out(mac(1), session, at(2000));
    assert_eq!(lab.states(2001), ["done", "done", "unreachable"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let lab = Lab::new();
    for n in 0..100 {
        assert!(lab.actions.start(lab.request(Kind::Lock), at(n)).is_ok());
        lab.actions.tick(at(n));
    }
    assert_eq!(lab.actions.list(at(200)).len(), limits::ACTIONS);
    let (_, _first) = lab.connect(1);
    for _ in 0..limits::ACTIONS_RUNNING {
        lab.actions.start(lab.request(Kind::Shutdown), at(200)).expect("begun");
    }
    assert_eq!(lab.actions.start(lab.request(Kind::Shutdown), at(200)), Err(Refused::TooMany));
    assert_eq!(
        lab.actions.start(Request { router: true, ..lab.request(Kind::Reboot) }, at(200)),
        Err(Refused::NotTheRouter)
    );
    assert_eq!(
        lab.actions.start(Request { targets: vec![], ..lab.request(Kind::Lock) }, at(200)),
        Err(Refused::Nobody)
    );
}

#[test]
fn screens_go_dark_and_a_guest_is_logged_out_like_anybody() {
    let lab = Lab::new();
    let (_, mut first) = lab.connect(1);
    let (_, mut second) = lab.connect_as(2, Mode::Guest);
    for (kind, expected) in [(Kind::Blank, "dark 3600"), (Kind::Unblank, "dark 0")] {
        lab.actions.start(lab.request(kind), at(0)).expect("begun");
        assert_eq!(lab.states(1), ["sent", "sent", "unreachable"]);
        assert_eq!(
            (words(&mut first), words(&mut second)),
            (vec![expected.to_owned()], vec![expected.to_owned()])
        );
    }
    lab.actions.start(lab.request(Kind::Logout), at(2)).expect("begun");
    assert_eq!(lab.states(3), ["done", "sent", "unreachable"], "nobody is at the first");
    assert_eq!(words(&mut first), Vec::<String>::new());
    let Command { ticket, what } = second.try_recv().expect("told");
    assert_eq!(what, What::Act(Act::EndGuest { message: "You are being logged out.".into() }));
    lab.agents.answered(mac(2), ticket, None);
    assert_eq!(lab.states(4), ["done", "done", "unreachable"]);
}

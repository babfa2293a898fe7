//! The agents' channel of a real daemon: clients that may, machines that may not, a crash with people logged in, a crowd.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use bramble::proto::agent::channel::{Ask, Code, Order, PORT, Pin, Reply};
use bramble::service::accounts::password;
use bramble::sim::classroom::Classroom;
use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::sim::pi::channel::{Channel, ChannelError};
use bramble::sim::pi::root::Root;
use bramble::sim::pi::seat::{FILE, Seated};
use bramble::sim::pi::{Options, Up};
use bramble::store::Store;
use bramble::store::accounts::{AccountChange, AccountStep, NewAccount};
use bramble::types::{FullName, MacAddr, Moment, Secret, SessionId, UserName, chain};

use crate::classroom::{boot, classroom, in_the_clear};
use crate::harness::isolated;

pub fn secret() -> Secret {
    "correct horse".parse().expect("a password")
}

pub fn user(n: usize) -> UserName {
    format!("pupil{n:02}").parse().expect("a name")
}

/// Gives `count` pupils an account with the same password, as an import into the running daemon's store would.
pub fn pupils(room: &Classroom, count: usize) {
    let store = Store::open(&room.server.site().data().join("bramble.db")).expect("the daemon's database");
    let hash = password::hash(&secret()).expect("a hash");
    let account = |n| {
        AccountStep::Add(NewAccount {
            full_name: FullName::nearest("Pupil"),
            hash: Some(hash.clone()),
            ..NewAccount::pupil(user(n))
        })
    };
    let steps: Vec<AccountStep> = (0..count).map(account).collect();
    store.change_accounts(&steps, Moment::from_secs(1_795_435_200)).expect("stored");
}

/// Boots the room and logs a pupil in at each seat; every one must get in.
fn seat_all(room: &mut Classroom, count: usize) -> (Vec<Up>, Vec<Seated>) {
    pupils(room, count);
    let ups = boot(room, Options { skip_walk: true });
    let all: Vec<(usize, &Up)> = ups.iter().enumerate().collect();
    let seated = room.log_in(&all, |n| (user(n), secret()));
    (ups, seated.into_iter().map(|one| one.unwrap_or_else(|e| panic!("{e}"))).collect())
}

/// The channel of the client that `up` is.
pub fn open(room: &Classroom, up: &Up, n: usize, sessions: &[SessionId]) -> Result<Channel, ChannelError> {
    from(room.machine(n).expect("a machine"), up.given.address, up.pin, sessions)
}

fn from(machine: &Machine, ip: Ipv4Addr, pin: Pin, sessions: &[SessionId]) -> Result<Channel, ChannelError> {
    let mut refused = None;
    let opened = machine.run(|| match Channel::open(ip, SERVER, pin, "boot-1", sessions) {
        Ok(channel) => Ok(channel),
        Err(error) => {
            refused = Some(error);
            Err(io::ErrorKind::Other.into())
        }
    });
    opened.map_err(|error| refused.unwrap_or(ChannelError::Io(error)))
}

fn sessions(room: &Classroom) -> String {
    room.server.tell(&["session", "list"]).expect("an answer")
}

#[test]
fn pupils_log_in_and_a_crash_of_the_daemon_takes_nothing_from_them() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        pupils(&room, 2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let mut first = open(&room, &ups[0], 0, &[]).expect("welcome");
        assert_eq!(first.people.as_ref().expect("people").persons.len(), 2);
        let wrong = "wrong".parse().expect("a password");
        let refused = first.log_in(&user(0), &wrong).expect_err("refused");
        assert!(matches!(refused, ChannelError::Refused { code: Code::WrongPassword, .. }), "{refused}");
        let (person, session, mounts) = first.log_in(&user(0), &secret()).expect("logged in");
        assert_eq!((person.name, mounts[0].path.as_str()), (user(0), "/home/pupil00"));

        // What was verified at one client opens nothing at another.
        let mut second = open(&room, &ups[1], 1, &[]).expect("welcome");
        let ask = Ask::OpenSession {
            name: user(0),
            service: "login".into(),
            terminal: "tty1".into(),
            kind: bramble::types::SessionKind::Console,
        };
        let Reply::Refused { code, .. } = second.ask(ask).expect("answered") else { panic!("opened") };
        assert_eq!(code, Code::NotVerified);
        assert!(second.ask(Ask::CloseSession { session }).is_ok(), "it is told that it is closed");
        assert!(sessions(&room).contains("pupil00"), "and it is not: it is another client's");

        room.server.kill().expect("killed");
        room.server.again().expect("started again");
        assert!(first.ask(Ask::CloseSession { session: SessionId(99) }).is_err(), "the connection is gone");
        let table = sessions(&room);
        assert!(table.contains("pupil00") && table.contains("seat-01"), "{table}");
        let mut first = open(&room, &ups[0], 0, &[session]).expect("the same key, so the same pin");
        assert!(first.orders.is_empty());
        assert!(sessions(&room).contains("pupil00"));

        room.server.tell(&["session", "end", &session.to_string(), "--message", "Goodbye."]).expect("ended");
        while first.orders.is_empty() {
            first.listen().expect("an order");
        }
        let message = "Goodbye.".to_owned();
        assert_eq!(first.orders[0].1, Order::EndSession { session, message });
        first.log_out(session).expect("logged out");
        assert!(sessions(&room).contains("Nobody is logged in."));
        let history = room.server.tell(&["session", "list", "--last", "5"]).expect("an answer");
        assert!(history.contains("Goodbye."), "{history}");
        let timeline = room.server.tell(&["client", "show", "seat-01"]).expect("an answer");
        assert!(timeline.contains("pupil00 logged out: Goodbye."), "{timeline}");
    });
}

#[test]
fn a_home_is_written_at_one_seat_and_found_at_the_next() {
    isolated(|| {
        let (_folder, mut room) = classroom(3);
        in_the_clear(&mut room);
        let (ups, mut seated) = seat_all(&mut room, 3);
        for (n, one) in seated.iter().enumerate() {
            let file = room.server.site().data().join("homes").join(one.user.as_str()).join(FILE);
            assert_eq!(
                std::fs::read_to_string(&file).expect("there"),
                format!("pupil{n:02} was at seat-{:02}\n", n + 1)
            );
        }
        // Another's home is not there, whoever asks; nor is one's own after log-out.
        let machine = room.machine(0).expect("a machine");
        let mount = |path: &str| {
            machine.run(|| {
                Root::mount(machine.ns(), ups[0].given.address, SERVER, path).map_err(io::Error::other)
            })
        };
        assert!(mount("/home/pupil00").is_ok());
        for path in ["/home/pupil01", "/home", "/home/pupil00/../pupil01"] {
            assert!(mount(path).is_err(), "{path}");
        }
        let first = &mut seated[0];
        let open = first.home.open(FILE).expect("found");
        first.channel.log_out(first.session).expect("logged out");
        assert!(first.home.content(&open).is_err(), "a handle from before");
        assert!(mount("/home/pupil00").is_err());

        // The daemon is killed while another writes: what was open goes on.
        let second = &mut seated[1];
        let open = second.home.open(FILE).expect("found");
        room.server.kill().expect("killed");
        room.server.again().expect("started again");
        assert_eq!(second.home.content(&open).expect("read"), b"pupil01 was at seat-02\n");
        second.home.put("after.txt", b"the crash").expect("written");
        let homes = room.server.site().data().join("homes");
        assert_eq!(std::fs::read(homes.join("pupil01/after.txt")).expect("there"), b"the crash");
    });
}

#[test]
fn what_becomes_of_an_account_becomes_of_its_sessions_at_once() {
    fn told(seat: &mut Seated) -> String {
        while seat.channel.orders.is_empty() {
            seat.channel.listen().expect("an order");
        }
        let Order::EndSession { session, message } = seat.channel.orders.pop_front().expect("there").1 else {
            panic!("another order")
        };
        assert_eq!(session, seat.session);
        message
    }
    isolated(|| {
        let (_folder, mut room) = classroom(3);
        let (_ups, mut seated) = seat_all(&mut room, 3);
        let data = room.server.site().data();
        let tell = |args: &[&str]| room.server.tell(args).unwrap_or_else(|e| panic!("{}", chain(&e)));

        tell(&["account", "set", "pupil00", "--disable"]);
        assert_eq!(told(&mut seated[0]), "your account was switched off; ask your teacher");

        // Programs may save what they have open, in a home that has another name by now, or is in the attic.
        tell(&["account", "set", "pupil01", "--name", "anna"]);
        assert_eq!(told(&mut seated[1]), "your name is `anna` from now on; log in with that");
        seated[1].home.put("late.txt", b"late").expect("saved");
        assert_eq!(std::fs::read(data.join("homes/anna/late.txt")).expect("there"), b"late");
        assert!(!data.join("homes/pupil01").exists());

        let said = tell(&["account", "remove", "pupil02"]);
        assert!(said.contains("the home is in the attic; 1 session is being ended"), "{said}");
        assert_eq!(told(&mut seated[2]), "your account was removed");
        seated[2].home.put("late.txt", b"late").expect("saved");
        assert!(!data.join("homes/pupil02").exists());
        for seat in &mut seated {
            let session = seat.session;
            seat.channel.log_out(session).expect("logged out");
            assert!(seat.home.put("too-late.txt", b"late").is_err());
        }
        assert!(sessions(&room).contains("Nobody is logged in."));
        let history = tell(&["session", "list", "--last", "3"]);
        assert!(history.contains("your account was removed"), "{history}");

        // A later pupil of the same name has a home of their own, until they are given the old one.
        let attic = tell(&["home", "attic"]);
        assert!(attic.contains(".pupil02.10002"), "{attic}");
        let refused = room.server.tell(&["home", "return", "pupil02"]).expect_err("nobody's");
        assert!(
            chain(&refused).contains("there is no account `pupil02` to give the home to"),
            "{}",
            chain(&refused)
        );
        tell(&["account", "add", "pupil02"]);
        tell(&["home", "return", "pupil02"]);
        let back = std::fs::metadata(data.join("homes/pupil02/late.txt")).expect("back");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&back), 10_003);
    });
}

/// The rows are written and the folders not yet moved when the power goes.
#[test]
fn accounts_whose_homes_were_left_behind_have_them_at_the_next_start() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        let (ups, seated) = seat_all(&mut room, 2);
        drop(seated);
        let data = room.server.site().data();
        room.server.kill().expect("killed");
        let store = Store::open(&data.join("bramble.db")).expect("the database");
        let [first, second] = [0, 1].map(|n| store.account(&user(n)).expect("read").expect("there").uid);
        let anna: UserName = "anna".parse().expect("a name");
        let change = AccountChange { name: Some(anna.clone()), ..AccountChange::default() };
        let steps = [AccountStep::Set { uid: first, change }, AccountStep::Remove { uid: second }];
        store.change_accounts(&steps, Moment::from_secs(1_795_435_200)).expect("stored");
        drop(store);
        room.server.again().expect("started again");
        let attic = room.server.tell(&["home", "attic"]).expect("an answer");
        assert!(attic.contains(".pupil01.10001"), "{attic}");
        let homes = data.join("homes");
        let names = ["pupil00", "anna", "pupil01"].map(|name| homes.join(name).exists());
        assert_eq!(names, [false, true, false]);
        let mut seat = open(&room, &ups[0], 0, &[]).expect("welcome");
        seat.log_in(&anna, &secret()).expect("logged in");
        assert!(homes.join("anna").join(FILE).exists(), "with what was in it");
    });
}

#[test]
fn who_is_no_client_is_not_let_in() {
    isolated(|| {
        let (_folder, mut room) = classroom(1);
        let ups = boot(&mut room, Options { skip_walk: true });
        let (up, pin) = (&ups[0], ups[0].pin);

        // A pupil's own program on a client: any port above 1023.
        let machine = room.machine(0).expect("a machine").clone();
        let tcp = machine.run(|| TcpStream::connect(SocketAddrV4::new(SERVER, PORT))).expect("connected");
        let refused = Channel::over(tcp, pin, "boot-1", &[]).expect_err("refused");
        assert!(matches!(refused, ChannelError::Io(_)), "{}", chain(&refused));

        // Somebody in between: the certificate is another.
        let refused = from(&machine, up.given.address, Pin([7; 32]), &[]).expect_err("refused");
        assert!(chain(&refused).contains("not the server that the kernel command line names"), "{refused}");

        // A laptop with an address of its own choosing, and root.
        let mac = MacAddr::new([0x02, 0xba, 0xd0, 0, 0, 1]);
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let laptop = lab.client(&lan, mac).expect("a laptop");
        let ip = Ipv4Addr::new(192, 168, 77, 9);
        laptop.address("eth0", ip, PREFIX).expect("an address");
        laptop.up("eth0").expect("up");
        let refused = from(&laptop, ip, pin, &[]).expect_err("refused");
        assert!(matches!(refused, ChannelError::Io(_)), "{}", chain(&refused));

        // One client that connects all the time takes nothing from others, and gets in again later.
        let mut open_now = Vec::new();
        for _ in 0..bramble::types::limits::CHANNEL_CLIENT_CONNECTIONS + 6 {
            open_now.extend(open(&room, up, 0, &[]));
        }
        assert_eq!(open_now.len(), bramble::types::limits::CHANNEL_CLIENT_CONNECTIONS);
        drop(open_now);
        assert!(room.server.stop().expect("stops when asked to").success());
    });
}

#[test]
fn who_takes_a_clients_address_gets_none_of_its_peoples_files() {
    isolated(|| {
        let (_folder, mut room) = classroom(1);
        in_the_clear(&mut room);
        pupils(&room, 1);
        let ups = boot(&mut room, Options { skip_walk: true });
        let (up, ip) = (&ups[0], ups[0].given.address);
        let seat = room.machine(0).expect("a machine").clone();
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let laptop = lab.client(&lan, MacAddr::new([0x02, 0xba, 0xd0, 0, 0, 2])).expect("a laptop");
        laptop.up("eth0").expect("up");
        let mount = |machine: &Machine, path: &str| {
            machine.run(|| Root::mount(machine.ns(), ip, SERVER, path).map_err(io::Error::other))
        };
        // The seat's cable is pulled out and goes into a laptop that gives itself the same address; and back again.
        let moves = |from: &Machine, to: &Machine| {
            from.netlink(|netlink| netlink.remove_address("eth0", ip, PREFIX)).expect("gone");
            to.address("eth0", ip, PREFIX).expect("an address");
            // A cable that is plugged in anew makes a machine ask by ARP, and so tell where it is.
            let flushed = to.command("ip").args(["neigh", "flush", "dev", "eth0"]).status().expect("ip runs");
            assert!(flushed.success());
        };
        moves(&seat, &laptop);
        assert!(mount(&laptop, "/image/sample/1").is_ok(), "it reaches the server");
        assert!(mount(&laptop, "/home/pupil00").is_err());
        let refused = from(&laptop, ip, up.pin, &[]).expect_err("refused");
        assert!(matches!(refused, ChannelError::Io(_)), "{}", chain(&refused));
        let list = room.server.tell(&["client", "show", "seat-01"]).expect("an answer");
        assert!(list.contains("Another machine, 02:ba:d0:00:00:02, uses this client's address"), "{list}");

        // While somebody is logged in, what is for the seat goes to the seat, whatever others say by ARP.
        moves(&laptop, &seat);
        let mut channel = (0..50).find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            open(&room, up, 0, &[]).ok()
        });
        let channel = channel.as_mut().expect("the seat is known again");
        channel.log_in(&user(0), &secret()).expect("logged in");
        assert!(mount(&seat, "/home/pupil00").is_ok());
        moves(&seat, &laptop);
        assert!(!crate::strangers::reaches_nfs(&laptop));
    });
}

#[test]
fn wrong_passwords_are_slowed_down_at_the_seat_where_they_are_typed() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        pupils(&room, 2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let mut guesser = open(&room, &ups[0], 0, &[]).expect("welcome");
        let mut guess =
            |password: &str| match guesser.log_in(&user(0), &password.parse().expect("a password")) {
                Err(ChannelError::Refused { code, message }) => (code, message),
                other => panic!("{other:?}"),
            };
        let codes: Vec<Code> = (0..20).map(|_| guess("a guess").0).collect();
        assert!(codes.iter().filter(|code| **code == Code::WrongPassword).count() < 16, "{codes:?}");
        let (code, message) = guess("correct horse");
        assert_eq!(code, Code::TooManyTries, "the right one is not looked at either");
        assert!(message.starts_with("too many wrong passwords; wait "), "{message}");
        let mut owner = open(&room, &ups[1], 1, &[]).expect("welcome");
        owner.log_in(&user(0), &secret()).expect("its owner gets in at once elsewhere");
        guesser.log_in(&user(1), &secret()).expect("and so does whoever comes next to the guesser's seat");
        let log = std::fs::read_to_string(room.server.site().log()).expect("a log");
        assert!(!log.contains("a guess"), "what was guessed is in the log");
    });
}

/// A program for a router, if all of it is in memory: its budget in `cross/targets`. The one that is tested here is larger.
const PROGRAM: u64 = 7_000_000;

#[test]
fn a_hundred_log_ins_at_once_take_bounded_memory() {
    const CLIENTS: u16 = 25;
    const EACH: usize = 4;
    isolated(|| {
        let (_folder, mut room) = classroom(CLIENTS);
        pupils(&room, usize::from(CLIENTS) * EACH);
        let ups = boot(&mut room, Options { skip_walk: true });
        let mut channels = Vec::new();
        for (n, up) in ups.iter().enumerate() {
            for _ in 0..EACH {
                channels.push(open(&room, up, n, &[]).expect("welcome"));
            }
        }
        room.server.forget_peak().expect("forgotten");
        let threads: Vec<_> = channels
            .into_iter()
            .enumerate()
            .map(|(n, mut channel)| {
                std::thread::spawn(move || {
                    // A crowd may be asked to come again, and comes again.
                    for _ in 0..20 {
                        match channel.log_in(&user(n), &secret()) {
                            Err(ChannelError::Refused { code: Code::Busy, .. }) => {
                                std::thread::sleep(Duration::from_millis(200));
                            }
                            other => return other.map(|(_, session, _)| (session, channel)),
                        }
                    }
                    panic!("turned away twenty times")
                })
            })
            .collect();
        let mut open_sessions = Vec::new();
        for thread in threads {
            open_sessions.push(thread.join().expect("no panic").unwrap_or_else(|e| panic!("{}", chain(&e))));
        }
        assert_eq!(open_sessions.len(), 100);
        let used = room.server.usage().expect("measured");
        assert!(used.own.0 + PROGRAM < 40 << 20, "{} of its own with a hundred sessions open", used.own);
        // Two hashes at a time, and a hundred connections: the budget of a router with a hundred clients.
        assert!(used.peak.0 < 80 << 20, "{} at most, {} now", used.peak, used.memory);
    });
}

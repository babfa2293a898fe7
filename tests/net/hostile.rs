//! An agent that means no good: floods, lies, speaks for others and sends what is no message. It hurts its own row, and nobody
//! else's.
#![expect(
    clippy::disallowed_methods,
    reason = "real programs take real time, and a test gives up at some point"
)]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use bramble::proto::agent::channel::{Ask, ToServer, encode};
use bramble::proto::agent::eeprom::Report as Eeprom;
use bramble::proto::agent::health::Health;
use bramble::proto::agent::{Phase, REPORT_PORT, Report};
use bramble::proto::netconsole;
use bramble::sim::net::{Machine, SERVER};
use bramble::sim::pi::Options;
use bramble::sim::server::Server;
use bramble::types::{Moment, SessionId};
use serde_json::Value;

use crate::agents::{open, pupils, secret, user};
use crate::classroom::{boot, classroom};
use crate::dhcp_room::eventually;
use crate::harness::isolated;

/// Messages of each flood.
const FLOOD: u32 = 20_000;

/// Files that are asked for and not fetched: each ends another one before its time.
const ASKED: u16 = 12_000;

/// What the flood may cost the daemon at most, in bytes of memory: two passwords that are checked at once, 9 MiB each, and what
/// comes beside.
const MEMORY: u64 = 26 << 20;

#[test]
fn an_agent_that_means_no_good_hurts_only_its_own_row() {
    isolated(|| {
        let (_folder, mut room) = classroom(3);
        pupils(&room, 3);
        let ups = boot(&mut room, Options { skip_walk: true });
        let mut good = open(&room, &ups[1], 1, &[]).expect("welcome");
        good.health.temperature_mc = Some(48_000);
        let (_, session, _) = good.log_in(&user(1), &secret()).expect("logged in");
        let row = |name: &str| -> Value {
            let list = room.server.tell(&["--json", "client", "list"]).expect("an answer");
            let list: Value = serde_json::from_str(&list).expect("JSON");
            let clients = list["clients"].as_array().expect("a list").clone();
            clients.into_iter().find(|client| client["name"] == name).expect("a row")
        };
        // It goes on answering for itself.
        std::thread::spawn(move || while good.listen().is_ok() {});
        eventually("the good one has told how it is", || {
            row("seat-02")["health"]["temperature_mc"] == 48_000
        });
        let before = row("seat-02");
        room.server.forget_peak().expect("forgotten");
        let memory = room.server.usage().expect("measured").peak.0;

        // It says that it holds the other one's session, and then that this is over.
        let mut bad =
            open(&room, &ups[0], 0, &[session, SessionId(7), SessionId(u64::MAX >> 1)]).expect("welcome");
        assert!(bad.ask(Ask::CloseSession { session }).is_ok(), "it is told so, as of any that is not there");
        // Unasked, and impossible.
        let lie = Health {
            temperature_mc: Some(i32::MAX),
            throttled: Some(u32::MAX),
            link_mbit: Some(u32::MAX),
            ..Health::default()
        };
        let eeprom = Eeprom {
            config: Some("\u{7}".repeat(9000).as_str().into()),
            built: Some(Moment::from_secs(i64::MAX / 1000)),
            ..Eeprom::default()
        };
        for id in 0..FLOOD {
            let message = match id % 4 {
                0 => ToServer::Health(lie.clone()),
                1 => ToServer::Eeprom(eeprom.clone()),
                2 => ToServer::Done { id, trouble: Some("x".repeat(5000).into()) },
                _ => ToServer::Pong,
            };
            if bad.say(&message).is_err() {
                break;
            }
        }
        // Passwords as fast as it can; each is refused or answered with "busy".
        for n in 0..200 {
            let wrong = format!("wrong{n}").parse().expect("a password");
            let ask = Ask::Authenticate {
                name: user(1),
                password: wrong,
                service: "login".into(),
                terminal: "tty1".into(),
            };
            if bad.say(&ToServer::Ask { id: n, ask }).is_err() {
                break;
            }
        }
        // While that is worked off, somebody logs in elsewhere.
        let mut third = open(&room, &ups[2], 2, &[]).expect("welcome");
        let began = Instant::now();
        third.log_in(&user(2), &secret()).expect("logged in beside the flood");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        // No message at all, and one that announces more than there may be.
        let _ = bad.throw(&[0xff; 64]);
        for nonsense in [&b"\0\0\0\x05{\"x\":"[..], &[0, 0, 0, 0], &[0x7f, 0xff, 0xff, 0xff, b'{']] {
            if let Ok(mut again) = open(&room, &ups[0], 0, &[]) {
                let _ = again.throw(nonsense);
            }
        }
        let greeting = ToServer::Done { id: 1, trouble: None };
        if let Ok(mut again) = open(&room, &ups[0], 0, &[]) {
            let _ = again.throw(&encode(&greeting).expect("a message").repeat(1000));
        }
        // Datagrams too: what it has done, and what its bootloader says.
        let machine = room.machine(0).expect("a machine").clone();
        let from = ups[0].given.address;
        let sent = machine.run(|| {
            let reports = UdpSocket::bind((from, 701))?;
            let console = UdpSocket::bind((from, 0))?;
            for n in 0..3000_u32 {
                let message = format!("{n} {}", "\u{1b}[2J".repeat(60));
                let report = Report::new(Phase::Trouble, &message).with(ups[0].personality.proof);
                reports.send_to(&report.encode(), (SERVER, REPORT_PORT))?;
                console.send_to(message.as_bytes(), (SERVER, netconsole::PORT))?;
            }
            Ok(())
        });
        sent.expect("sent");

        // The others' rows are what they were, their people are where they were.
        let after = row("seat-02");
        assert_eq!(after["state"], before["state"]);
        assert_eq!(after["health"]["temperature_mc"], 48_000);
        assert_eq!(after["verdicts"], before["verdicts"]);
        let sessions = room.server.tell(&["session", "list"]).expect("an answer");
        assert!(sessions.contains("pupil01") && sessions.contains("pupil02"), "{sessions}");
        let shown = room.server.tell(&["--json", "client", "show", "seat-02"]).expect("an answer");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["agent"], "simulated", "the good one is still connected");
        let bad_row = row("seat-01");
        assert!(bad_row["health"]["temperature_mc"].is_null(), "what cannot be is not shown: {bad_row}");
        let shown = room.server.tell(&["client", "show", "seat-01"]).expect("an answer");
        assert!(!shown.contains('\u{1b}'), "nothing it sends reaches a terminal as it is");
        let peak = room.server.usage().expect("measured").peak.0;
        assert!(peak < memory + MEMORY, "{peak} bytes after {memory}");
        assert!(room.server.is_alive());

        asks_for_files(&mut room.server, &machine, from, &before);
    });
}

/// It fills what is kept of its boots, without root; and the daemon falls over.
fn asks_for_files(server: &mut Server, machine: &Machine, from: Ipv4Addr, before: &Value) {
    let ask = |files: u16| {
        let asked = machine.run(|| {
            let sockets: Vec<UdpSocket> =
                (0..64).map(|_| UdpSocket::bind((from, 0))).collect::<Result<_, _>>()?;
            for (n, socket) in (0..files).zip(sockets.iter().cycle()) {
                let name = if n % 2 == 0 { "kernel8.img" } else { "start4.elf" };
                socket.send_to(&[b"\0\x01", name.as_bytes(), b"\0octet\0"].concat(), (SERVER, 69))?;
                if n % 64 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Ok(())
        });
        asked.expect("sent");
    };
    ask(ASKED);
    let silent = |server: &Server, name: &str| {
        let shown = server.tell(&["--json", "client", "show", name]).expect("an answer");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let timeline = shown["timeline"].as_array().expect("a list").clone();
        (timeline.iter().filter(|line| line["outcome"] == "silent").count(), shown)
    };
    eventually("its timeline is full of it", || {
        // A busy machine drops datagrams.
        ask(256);
        silent(server, "seat-01").0 > 50
    });
    let (none, shown) = silent(server, "seat-02");
    let boots = shown["boots"].clone();
    assert_eq!((none, boots.as_array().map(Vec::len)), (0, Some(1)));
    // What is collected is written once a second.
    std::thread::sleep(Duration::from_secs(2));
    server.kill().expect("killed");
    server.again().expect("started again");
    let (_, shown) = silent(server, "seat-02");
    assert_eq!((&shown["state"], &shown["boots"]), (&before["state"], &boots));
    assert!(shown["timeline"].as_array().is_some_and(|lines| lines.len() > 3), "{shown}");
}

//! What clients are told to do, by a real daemon: message, log-out, restart and ordered power-off over the agents' channel,
//! with a client that has no agent, one that lies, and the seat of the teacher left alone.
#![expect(clippy::disallowed_methods, reason = "a timetable goes by the clock")]

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime};

use bramble::proto::agent::act::Act;
use bramble::proto::agent::channel::{Order, Pin};
use bramble::proto::agent::{Phase, REPORT_PORT, Report};
use bramble::sim::net::{Machine, SERVER};
use bramble::sim::pi::channel::Channel;
use bramble::sim::pi::{Options, Up};
use bramble::sim::server::Server;
use bramble::types::{Moment, chain};
use serde_json::Value;

use crate::agents::{pupils, secret, user};
use crate::classroom::{boot, classroom};
use crate::dhcp_room::eventually;
use crate::harness::isolated;

/// Port of the reports that the simulated agents send: any privileged one that the channel does not use.
const OWN_PORT: u16 = 700;

/// How an agent behaves that is told something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Does it, and is off when it says so.
    Obeys,
    /// Says that it has done it and stays.
    Lies,
    /// Answers with more than was asked.
    Floods,
}

/// Carries out orders at one client until its channel ends, and tells what they were.
fn agent(machine: &Machine, up: &Up, n: usize, manner: Manner, tell: Sender<(usize, String)>) {
    let (machine, ip, pin): (Machine, _, Pin) = (machine.clone(), up.given.address, up.pin);
    let proof = up.personality.proof;
    let opened = machine.run(|| {
        Channel::open(ip, SERVER, pin, "boot-1", &[]).map_err(|error| io::Error::other(chain(&error)))
    });
    let mut channel = opened.expect("welcome");
    channel.health.temperature_mc = Some(48_000);
    std::thread::spawn(move || {
        while channel.listen().is_ok() {
            while let Some((id, order)) = channel.orders.pop_front() {
                let off = matches!(&order, Order::Act(Act::Shutdown { .. } | Act::Reboot { .. }));
                let _ = tell.send((n, format!("{order:?}")));
                if let Order::EndSession { session, .. } = order {
                    channel.log_out(session).expect("closed");
                }
                let answers = if manner == Manner::Floods { 500 } else { 1 };
                for answer in 0..answers {
                    if channel.done(id.wrapping_add(answer), None).is_err() {
                        return;
                    }
                }
                if off && manner != Manner::Lies {
                    let report = Report::new(Phase::Off, "the system has ended; switching off");
                    let report = report.with(proof).encode();
                    let sent = machine.run(|| {
                        let socket = std::net::UdpSocket::bind((ip, OWN_PORT))?;
                        socket.send_to(&report, (SERVER, REPORT_PORT))
                    });
                    sent.expect("reported");
                    return;
                }
            }
        }
    });
}

fn states(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let targets = status["targets"].as_array().expect("a list");
    targets.iter().map(|target| (text(&target["name"]), text(&target["state"]))).collect()
}

#[test]
fn a_room_is_told_what_to_do_and_seen_to_do_it() {
    isolated(|| {
        let (_folder, mut room) = classroom(5);
        pupils(&room, 2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let (tell, told) = channel();
        // The fifth has no agent.
        let manners = [Manner::Obeys, Manner::Obeys, Manner::Floods, Manner::Obeys];
        for (n, manner) in manners.into_iter().enumerate() {
            agent(room.machine(n).expect("a machine"), &ups[n], n, manner, tell.clone());
        }
        let json = |args: &[&str]| -> Value {
            let output = room.server.cli(&[&["--json"], args].concat()).expect("run");
            let text = String::from_utf8(output.stdout).expect("text");
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text}"))
        };
        let seats = |states: [&str; 5]| -> Vec<(String, String)> {
            (1..).zip(states).map(|(n, state)| (format!("seat-{n:02}"), state.to_owned())).collect()
        };

        let status = json(&["room", "message", "classroom", "--text", "Five minutes\u{1b}[2J"]);
        assert_eq!(states(&status), seats(["done", "done", "done", "done", "unreachable"]));
        let heard = told.recv_timeout(Duration::from_secs(5)).expect("told").1;
        assert!(heard.contains("Five minutes [2J"), "{heard}");

        // Two people: refused with their names, then logged out.
        let seated = room.log_in(&[(0, &ups[0]), (1, &ups[1])], |n| (user(n), secret()));
        assert!(seated.iter().all(Result::is_ok));
        let refused = json(&["room", "shutdown", "--all"]);
        assert_eq!(refused["error"]["code"], "people_logged_in");
        let why = refused["error"]["message"].as_str().expect("a sentence");
        assert!(why.contains("pupil00 at seat-01, pupil01 at seat-02"), "{why}");
        drop(seated);
        for (n, up) in ups.iter().enumerate().take(2) {
            agent(room.machine(n).expect("a machine"), up, n, Manner::Obeys, tell.clone());
        }
        assert_eq!(
            json(&["session", "list"])["sessions"].as_array().map(Vec::len),
            Some(0),
            "gone with a greeting that names none"
        );

        let one = json(&["client", "identify", "seat-04"]);
        assert_eq!(states(&one), [("seat-04".to_owned(), "done".to_owned())]);
        let again = json(&["client", "reboot", "seat-03"]);
        assert_eq!(
            states(&again),
            [("seat-03".to_owned(), "done".to_owned())],
            "a flood of answers is one answer"
        );

        // Everything off but the teacher's seat, by its address.
        let teacher = ups[3].given.address.to_string();
        let status = json(&["room", "shutdown", "--all", "--except", &teacher]);
        assert_eq!(
            states(&status),
            [
                ("seat-01", "done"),
                ("seat-02", "done"),
                ("seat-03", "unreachable"),
                ("seat-05", "unreachable")
            ]
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
        );
        assert_eq!(json(&["client", "show", "seat-04"])["state"], "up");
        assert_eq!(json(&["client", "show", "seat-01"])["state"], "off");
        let actions = json(&["action", "list"]);
        assert_eq!(actions["actions"].as_array().map(Vec::len), Some(4));
        assert!(room.server.stop().expect("stops").success());
    });
}

#[test]
fn an_agent_that_lies_is_not_counted_as_done_and_a_countdown_is_called_off() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let (tell, told) = channel();
        agent(room.machine(0).expect("a machine"), &ups[0], 0, Manner::Lies, tell.clone());
        let begun =
            room.server.tell(&["--json", "client", "shutdown", "seat-01", "--detach"]).expect("begun");
        let begun: Value = serde_json::from_str(&begun).expect("JSON");
        assert_eq!(begun["action"], 1);
        assert!(told.recv_timeout(Duration::from_secs(5)).expect("told").1.contains("Shutdown"));
        let status = room.server.tell(&["action", "show", "1"]).expect("an answer");
        assert!(status.contains("seat-01  sent") && status.contains("0 of 1 done"), "{status}");

        let args = ["room", "reboot", "classroom", "--grace", "10m", "--detach"];
        let begun = room.server.tell(&args).expect("begun");
        assert!(begun.contains("bramble action stop 2"), "{begun}");
        let countdown = told.recv_timeout(Duration::from_secs(5)).expect("told").1;
        assert!(countdown.contains("This computer starts again in 10 minutes."), "{countdown}");
        let stopped = room.server.tell(&["action", "stop", "2"]).expect("stopped");
        assert!(stopped.contains("seat-02  stopped"), "{stopped}");
        let called_off = told.recv_timeout(Duration::from_secs(5)).expect("told").1;
        assert!(called_off.contains("It has been called off"), "{called_off}");
    });
}

#[test]
fn what_the_timetable_begins_is_seen_stopped_and_ends_with_its_row() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let (tell, told) = channel();
        agent(room.machine(0).expect("a machine"), &ups[0], 0, Manner::Obeys, tell);
        let before = room.server.site().more_bramble.clone();
        // The time of a row that is so many minutes away, by a router that has no time zone.
        let row = |minutes: u64| {
            let day = Moment::from(SystemTime::now()).secs() / 60 % (24 * 60)
                + i64::try_from(minutes).expect("few");
            let (hour, minute) = (day / 60 % 24, day % 60);
            format!(
                "\nconfig schedule\n\toption time '{hour}:{minute:02}'\n\toption grace '30'\n\toption action 'reboot'\n"
            )
        };
        let told = || told.recv_timeout(Duration::from_secs(20)).expect("told").1;
        let actions = |server: &Server| -> Vec<(String, String)> {
            let list = server.tell(&["--json", "action", "list"]).expect("an answer");
            let list: Value = serde_json::from_str(&list).expect("JSON");
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let actions = list["actions"].as_array().expect("a list");
            actions.iter().map(|one| (text(&one["phase"]), text(&one["by"]))).collect()
        };
        let (evening, other) = (row(20), row(25));
        let configure = |server: &mut Server, rows: &[&str]| {
            server.site_mut().more_bramble = format!("{before}{}", rows.concat());
            server.reload().expect("reloaded");
        };
        configure(&mut room.server, &[&evening]);
        let countdown = told();
        assert!(countdown.contains("This computer starts again in "), "{countdown}");
        let by = "the timetable".to_owned();
        assert_eq!(actions(&room.server), [("countdown".to_owned(), by.clone())]);
        // Somebody stops it, and then another row comes: it begins, and the first does not begin again.
        room.server.tell(&["action", "stop", "1"]).expect("stopped");
        assert!(told().contains("It has been called off"));
        configure(&mut room.server, &[&other, &evening]);
        assert!(told().contains("This computer starts again in "));
        assert_eq!(
            actions(&room.server),
            [("countdown".to_owned(), by.clone()), ("ended".to_owned(), by.clone())]
        );
        // Its row is taken away.
        configure(&mut room.server, &[&evening]);
        assert!(told().contains("It has been called off: this computer stays on."));
        let ended = ("ended".to_owned(), by);
        eventually("it is over", || actions(&room.server) == [ended.clone(), ended.clone()]);
        // The daemon falls over in the middle of a countdown: that goes on, and what somebody stopped stays stopped.
        configure(&mut room.server, &[&other, &evening]);
        assert!(told().contains("This computer starts again in "));
        room.server.kill().expect("killed");
        room.server.again().expect("started again");
        eventually("it goes on", || !actions(&room.server).is_empty());
        assert_eq!(actions(&room.server), [("countdown".to_owned(), "the timetable".to_owned())]);
    });
}

#[test]
fn a_hundred_agents_tell_how_they_are_and_all_start_again() {
    const CLIENTS: u16 = 100;
    isolated(|| {
        let (_folder, mut room) = classroom(CLIENTS);
        let ups = boot(&mut room, Options { skip_walk: true });
        room.server.forget_peak().expect("forgotten");
        let before = room.server.usage().expect("measured");
        let (tell, told) = channel();
        for (n, up) in ups.iter().enumerate() {
            // One of them sends more than it was asked for, to the end.
            let manner = if n == 0 { Manner::Floods } else { Manner::Obeys };
            agent(room.machine(n).expect("a machine"), up, n, manner, tell.clone());
        }
        let heard = || -> usize {
            let list = room.server.tell(&["--json", "client", "list"]).expect("an answer");
            let list: Value = serde_json::from_str(&list).expect("JSON");
            let clients = list["clients"].as_array().expect("a list");
            clients.iter().filter(|client| client["health"]["temperature_mc"] == 48_000).count()
        };
        eventually("every agent has said how it is", || heard() == usize::from(CLIENTS));
        let asked = room.server.usage().expect("measured");
        let status =
            room.server.tell(&["--json", "room", "reboot", "classroom", "--pace", "0"]).expect("all done");
        let status: Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!((status["done"].as_u64(), status["of"].as_u64()), (Some(100), Some(100)));
        let orders = told.try_iter().filter(|(_, order)| order.contains("Reboot")).count();
        assert_eq!(orders, usize::from(CLIENTS));
        let after = room.server.usage().expect("measured");
        let status = std::fs::read_to_string(format!("/proc/{}/status", room.server.pid())).expect("it runs");
        let program =
            status.lines().find_map(|line| line.strip_prefix("RssFile:")?.trim().strip_suffix(" kB"));
        let program: u64 = program.expect("a figure").parse().expect("a number");
        eprintln!(
            "100 agents: {} of memory at most, {program} KiB of it the program itself; CPU {:?} for connecting and one round of health, {:?} for starting all again",
            after.peak,
            asked.cpu.saturating_sub(before.cpu),
            after.cpu.saturating_sub(asked.cpu)
        );
        // The budget is 40 MB in all, 8 of them the program; one that is not optimised has four times the size.
        let rest = after.peak.0 - (program << 10);
        let counted = if cfg!(debug_assertions) { rest + (8 << 20) } else { after.peak.0 };
        assert!(counted <= 40 << 20, "{} at most, {program} KiB the program", after.peak);
    });
}

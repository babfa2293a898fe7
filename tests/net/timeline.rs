//! What is told of a client while it happens, by whom it is believed, and how it is asked for afterwards.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::Duration;

use bramble::proto::agent::{Phase, REPORT_PORT, Report};
use bramble::sim::classroom::Classroom;
use bramble::sim::net::SERVER;
use bramble::sim::pi::{Options, Up, power_on};
use bramble::types::chain;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::classroom::{BRAMBLE, boot, classroom};
use crate::dhcp_room::eventually;
use crate::harness::isolated;

/// A port that only root can send from.
const OWN_PORT: u16 = 702;

fn json(room: &Classroom, args: &[&str]) -> Value {
    let text =
        room.server.tell(&[&["--json"], args].concat()).unwrap_or_else(|error| panic!("{}", chain(&error)));
    serde_json::from_str(&text).expect("JSON")
}

fn events(room: &Classroom, filter: &[&str]) -> Vec<Value> {
    json(room, &[&["events"], filter].concat())["events"].as_array().expect("a list").clone()
}

/// `bramble client show NAME --follow`, and its lines as they come.
fn follow(room: &Classroom, name: &str) -> (Child, Receiver<String>) {
    // Whoever runs the tests in the background may have had Ctrl-C ignored.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", BRAMBLE, "--socket"])
        .arg(room.server.site().socket())
        .args(["--json", "client", "show", name, "--follow"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (tell, told) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    (child, told)
}

/// One Pi is switched off and on.
fn boot_again(room: &mut Classroom, n: usize, up: &Up) -> Up {
    let machine = room.machine(n).expect("a machine").clone();
    let (tell, news) = sync_channel(1024);
    let pi = power_on(up.board, machine, Options { skip_walk: true }, n, tell).expect("switched on");
    news.into_iter().for_each(drop);
    let up = pi.join().expect("no panic");
    *up.unwrap_or_else(|error| panic!("{error}\n{}", room.server.last_words()))
}

#[test]
fn who_follows_a_client_reads_each_step_once_until_interrupted() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let steps = |room: &Classroom| -> Vec<Value> {
            json(room, &["client", "show", "seat-01"])["timeline"].as_array().expect("a list").clone()
        };
        let before = steps(&room);
        let (mut child, told) = follow(&room, "seat-01");
        let line = |wait: u64| -> Option<Value> {
            let line = told.recv_timeout(Duration::from_secs(wait)).ok()?;
            Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}")))
        };
        assert_eq!(line(20).as_ref(), before.last(), "where it stands");
        let _again = boot_again(&mut room, 0, &ups[0]);
        let _other = boot_again(&mut room, 1, &ups[1]);
        // Its last step is on the timeline before it is told.
        let is_last = |line: &Value| line["kind"] == "agent" && line["phase"] == "handover";
        let mut read = Vec::new();
        while read.last().is_none_or(|line| !is_last(line)) {
            read.push(line(20).unwrap_or_else(|| panic!("no more after {read:?}")));
        }
        assert_eq!(line(2), None, "nothing more, and nothing of the other");
        // A step that repeats itself is read again with its number; as they ended, each is there once and in order.
        let mut last: Vec<Value> = Vec::new();
        for line in read {
            let same = |other: &Value| (&other["at"], &other["says"]) == (&line["at"], &line["says"]);
            match last.iter().position(same) {
                Some(index) => {
                    assert!(line["times"].as_u64() > last[index]["times"].as_u64(), "twice: {line}");
                    last[index] = line;
                }
                None => last.push(line),
            }
        }
        let after = steps(&room);
        let new = after.iter().position(|step| Some(step) == before.last()).expect("still there") + 1;
        assert_eq!(last, after[new..]);

        kill(Pid::from_raw(i32::try_from(child.id()).expect("a number")), Signal::SIGINT).expect("Ctrl-C");
        let status = child.wait().expect("ended");
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "130 in a shell: {status:?}");
    });
}

#[test]
fn events_are_found_by_client_account_weight_and_time() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        crate::agents::pupils(&room, 2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let seated = room.log_in(&[(1, &ups[1])], |_| (crate::agents::user(1), crate::agents::secret()));
        assert!(seated.iter().all(Result::is_ok));
        let all = events(&room, &["--count", "1000"]);
        let of = |name: &str| all.iter().filter(|event| event["name"] == name).cloned().collect::<Vec<_>>();
        assert_eq!(events(&room, &["--count", "1000", "--client", "SEAT-01"]), of("seat-01"));
        let mac = ups[0].board.mac.to_string();
        assert_eq!(
            events(&room, &["--count", "1000", "--client", &mac[9..]]),
            of("seat-01"),
            "by its number"
        );
        let about = events(&room, &["--account", "PUPIL"]);
        let kinds: Vec<&str> = about.iter().filter_map(|event| event["kind"].as_str()).collect();
        assert_eq!(kinds.first(), Some(&"logged_in"), "{about:?}");
        assert!(about.iter().all(|event| event["name"] == "seat-02" && event["user"] == "pupil01"));
        assert_eq!(events(&room, &["--account", "nobody"]), Vec::<Value>::new());
        let weighs = |least: &str| events(&room, &["--count", "1000", "--least", least]);
        assert_eq!(weighs("detail"), all);
        let matter = weighs("matter");
        assert!(
            matter.len() < all.len() && matter.iter().all(|event| event["weight"] != "detail"),
            "{matter:?}"
        );
        assert!(matter.iter().any(|event| event["kind"] == "lease"));
        // Page by page backwards.
        let (mut pages, mut before) = (Vec::new(), i64::MAX.to_string());
        loop {
            let page = json(&room, &["events", "--count", "7", "--before", &before]);
            let list = page["events"].as_array().expect("a list").clone();
            before = list[0]["at"].to_string();
            pages.push(list);
            if page["more"] == false {
                break;
            }
        }
        assert!(pages.len() > 2);
        assert_eq!(pages.into_iter().rev().flatten().collect::<Vec<_>>(), all);
        let words = room.server.tell(&["events", "--count", "1"]).expect("an answer");
        assert!(words.contains("There are older ones: `--before "), "{words}");
    });
}

#[test]
fn nobody_switches_a_client_off_in_its_name() {
    isolated(|| {
        let (_folder, mut room) = classroom(2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let victim = ups[0].given.address;
        let row = |room: &Classroom| {
            let mut seat = json(room, &["client", "show", "seat-01"]);
            let steps = seat["timeline"].take();
            (seat["state"].clone(), seat["verdicts"].clone(), steps)
        };
        // Root on another seat sends from this one's address. The daemon closes nothing and answers nothing.
        let forger = room.machine(1).expect("a machine").clone();
        forger.address("lo", victim, 32).expect("its address");
        let send = |proof| {
            let sent = forger.run(|| {
                let socket = UdpSocket::bind((victim, OWN_PORT))?;
                for phase in [Phase::Failed, Phase::Off, Phase::Started] {
                    let report = Report::new(phase, "forged").with(proof);
                    socket.send_to(&report.encode(), (SERVER, REPORT_PORT))?;
                }
                Ok(())
            });
            sent.expect("sent");
        };
        let before = row(&room);
        assert_eq!(before.0, "up", "{before:?}");
        for after_a_restart in [false, true] {
            if after_a_restart {
                // What was collected is written once a second.
                std::thread::sleep(Duration::from_secs(2));
                room.server.kill().expect("killed");
                room.server.again().expect("started again");
            }
            let before = row(&room);
            send(None);
            send(ups[1].personality.proof);
            // Its own are taken, and come after those.
            let own = room.machine(0).expect("a machine").run(|| {
                let socket = UdpSocket::bind((victim, OWN_PORT))?;
                let report = Report::new(Phase::Trouble, "its own words").with(ups[0].personality.proof);
                socket.send_to(&report.encode(), (SERVER, REPORT_PORT))
            });
            own.expect("sent");
            eventually("its own words are there", || row(&room).2.to_string().contains("its own words"));
            let (state, _, steps) = row(&room);
            assert!(!steps.to_string().contains("forged"), "{steps}");
            assert_eq!(state, before.0);
        }
        // With the proof they would have been believed.
        send(ups[0].personality.proof);
        eventually("who has the proof is believed", || row(&room).2.to_string().contains("forged"));
    });
}

//! Simulated Pis that misbehave, each in its own way, and what a real daemon says of them.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bramble::sim::pi::{Board, Fault, Options, power_on_with};
use serde_json::Value;

use crate::classroom::classroom;
use crate::harness::isolated;

/// A file that breaks off is known when the server has repeated itself long enough, and judged a minute later.
const LONG_SECS: u32 = 240;

#[test]
fn each_pi_that_stops_has_its_verdict() {
    isolated(|| {
        let (_folder, mut room) = classroom(6);
        let faults = [
            (Some(Fault::NoFile), Some("no_file_asked")),
            (Some(Fault::Vain), Some("files_missing")),
            (Some(Fault::MidFile), Some("file_broken_off")),
            (Some(Fault::NoMount), Some("kernel_never_mounted")),
            (Some(Fault::AgentFails), Some("agent_failed")),
            (None, None),
        ];
        let boards: Vec<Board> = room.boards.clone();
        let (tell, news) = sync_channel(1024);
        let mut pis = Vec::new();
        for (id, (board, (fault, _))) in boards.into_iter().zip(faults).enumerate() {
            let (lab, lan) = room.lab();
            let lan = lan.clone();
            let machine = lab.client(&lan, board.mac).expect("a machine");
            let options = Options { skip_walk: true };
            pis.push(power_on_with(board, machine, options, fault, id, tell.clone()).expect("switched on"));
        }
        drop(tell);
        std::thread::spawn(move || news.into_iter().for_each(drop));
        // The one that is up keeps its root for as long as its outcome lives.
        let outcomes: Vec<_> = pis.into_iter().map(|pi| pi.join().expect("no panic")).collect();
        for (outcome, (fault, _)) in outcomes.iter().zip(faults) {
            assert_eq!(outcome.is_ok(), fault.is_none(), "{outcome:?}");
        }

        let expected: BTreeMap<String, Option<String>> = (1..)
            .zip(faults)
            .map(|(n, (_, code))| (format!("seat-{n:02}"), code.map(str::to_owned)))
            .collect();
        let said = || -> BTreeMap<String, Option<String>> {
            let list = room.server.tell(&["--json", "client", "list"]).expect("an answer");
            let list: Value = serde_json::from_str(&list).expect("JSON");
            let clients = list["clients"].as_array().expect("a list");
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let one = |client: &Value| {
                let grave =
                    client["verdicts"].as_array().expect("a list").iter().find(|one| one["stops"] == true);
                (text(&client["name"]).expect("a name"), grave.and_then(|one| text(&one["code"])))
            };
            clients.iter().map(one).collect()
        };
        for _ in 0..LONG_SECS {
            if said() == expected {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!(said(), expected);
        let status = room.server.tell(&["status"]).expect("an answer");
        assert!(
            status.contains("seat-01: It asked for an address, was offered one, and never asked for a file."),
            "{status}"
        );
        let shown = room.server.tell(&["client", "show", "seat-04"]).expect("an answer");
        assert!(shown.contains("1. a firewall rule") && shown.contains("What to do: "), "{shown}");
    });
}

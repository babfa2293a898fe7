//! What a real client does when it is told to: message, log-out, restart, the end of the day, switching off in order.
//!
//! Two people are logged in at it, one at the console and one over ssh.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::guest::{Guest, eventually};
use crate::people::initrd;
use crate::room::{CLIENT, Room, needs};

const ANNA: &str = "annas own password";
const BERTA: &str = "bertas own password";

fn answer(room: &Room, args: &[&str]) -> Value {
    let said = room.try_bramble(&[&["--json"], args].concat());
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{args:?}: {said}"))
}

/// How an action went at the only client.
fn state(status: &Value) -> &str {
    status.pointer("/targets/0/state").and_then(Value::as_str).unwrap_or_else(|| panic!("{status}"))
}

/// Anna at the console, and Berta over ssh in front of it: both terminals end on the same screen.
fn two_log_ins(guest: &mut Guest) {
    guest.enter("anna", ANNA);
    guest.type_line("ssh -tt -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null berta@localhost");
    guest.answer(&[("assword: ", BERTA)]);
    guest.expect("$ ");
    guest.quiet_shell();
    assert_eq!(guest.output("id -un"), "berta");
}

#[test]
fn a_real_client_does_what_it_is_told() {
    needs("a_real_client_does_what_it_is_told", || {
        let room = Room::open(&["lab-01"]);
        let (anna, berta) = (room.add_account("anna", &[]), room.add_account("berta", &[]));
        let mut guest = room.boot("told", CLIENT, &initrd(), &room.parameters(CLIENT));
        guest.enter_first("anna", &anna, ANNA);
        guest.type_line("exit");
        guest.enter_first("berta", &berta, BERTA);
        guest.type_line("exit");
        two_log_ins(&mut guest);

        let refused = answer(&room, &["room", "shutdown", "--all"]);
        let why =
            refused.pointer("/error/message").and_then(Value::as_str).unwrap_or_else(|| panic!("{refused}"));
        assert!(why.contains("people are logged in: anna at lab-01, berta at lab-01;"), "{why}");
        let reboot = answer(&room, &["client", "reboot", "lab-01"]);
        assert_eq!(reboot.pointer("/error/code").and_then(Value::as_str), Some("people_logged_in"));
        let sessions = room.bramble(&["session", "list"]);
        assert!(sessions.contains("console") && sessions.contains("ssh"), "{sessions}");

        let told = answer(&room, &["room", "message", "lab", "--text", "Please come to the front."]);
        assert_eq!(state(&told), "done");
        guest.expect("Please come to the front.");
        guest.expect("Please come to the front.");
        // Without a light and with a console that is a serial line, the name is shown where people are logged in.
        assert_eq!(state(&answer(&room, &["client", "identify", "lab-01"])), "done");
        guest.expect("#####");
        let locked = answer(&room, &["client", "lock", "lab-01"]);
        assert_eq!(state(&locked), "failed", "a text console cannot be locked, and that is said: {locked}");

        countdown(&room, &mut guest);
        end_of_the_day(&room, &mut guest);

        // One session of two, then everybody.
        let list = answer(&room, &["session", "list"]);
        let of = |user: &str| -> String {
            let sessions = list.pointer("/sessions").and_then(Value::as_array).expect("a list");
            let one = sessions.iter().find(|one| one.get("user").and_then(Value::as_str) == Some(user));
            one.and_then(|one| one.get("session")).unwrap_or_else(|| panic!("{list}")).to_string()
        };
        room.bramble(&["session", "end", &of("berta"), "--message", "Your time is over."]);
        guest.expect("Your time is over.");
        guest.expect("closed");
        assert_eq!(
            state(&answer(&room, &["client", "logout", "lab-01", "--message", "The lesson ends."])),
            "done"
        );
        guest.expect("The lesson ends.");
        guest.expect("login: ");
        assert_eq!(
            answer(&room, &["session", "list"]).pointer("/sessions").and_then(Value::as_array).map(Vec::len),
            Some(0)
        );

        // Started again, and seen to have been.
        let reboot = answer(&room, &["client", "reboot", "lab-01"]);
        assert_eq!(state(&reboot), "done", "{reboot}");
        guest.expect("bramble-agent: the system has ended; starting again");
        guest.restarted();
        let mut guest = room.boot("told-again", CLIENT, &initrd(), &room.parameters(CLIENT));
        two_log_ins(&mut guest);

        // The end: refused while they are there, and done when it is meant.
        assert!(room.try_bramble(&["room", "shutdown", "--all"]).contains("people are logged in"));
        let off = answer(&room, &["room", "shutdown", "--all", "--force", "--message", "Good night."]);
        assert_eq!(state(&off), "done", "{off}");
        guest.expect("Good night.");
        let shown = guest.ended();
        assert!(shown.contains("bramble-agent: the system has ended; switching off"));
        assert_eq!(room.state(), "off");
        // Whose log-out its agent could not tell any more is logged out with the client.
        eventually("nobody is logged in at a client that is off", || {
            let list = answer(&room, &["session", "list"]);
            list.pointer("/sessions").and_then(Value::as_array).is_some_and(Vec::is_empty)
        });
        let gone = answer(&room, &["room", "message", "lab", "--text", "Anybody there?"]);
        assert_eq!(state(&gone), "unreachable", "nobody counts as done who could not be told");
    });
}

/// A countdown that people see and a teacher stops.
fn countdown(room: &Room, guest: &mut Guest) {
    let begun = answer(room, &["room", "shutdown", "lab", "--grace", "2m", "--force", "--detach"]);
    let action = begun.get("action").unwrap_or_else(|| panic!("{begun}")).to_string();
    guest.expect("This computer is switched off in 2 minutes. Save your work and log out.");
    room.bramble(&["action", "stop", &action]);
    guest.expect("It has been called off: this computer stays on.");
}

/// The timetable begins by itself, and is stopped like any other.
fn end_of_the_day(room: &Room, guest: &mut Guest) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (minute, second) = (now / 60 % 1440, now % 60);
    // Some minutes from now, and not in the last second of one.
    let at = (minute + 4 + u64::from(second > 50)) % 1440;
    let schedule = format!(
        "config schedule\n\toption time '{:02}:{:02}'\n\toption grace '10'\nconfig client\n",
        at / 60,
        at % 60
    );
    room.reconfigure("config client\n", &schedule);
    guest.expect("This computer is switched off in ");
    guest.expect(" minutes. Save your work and log out.");
    let mut newest = Value::Null;
    eventually("an action of the timetable", || {
        newest = answer(room, &["action", "list"]).pointer("/actions/0").cloned().unwrap_or_default();
        newest.get("by").and_then(Value::as_str) == Some("the timetable")
    });
    let action = newest.get("action").expect("it has a number").to_string();
    room.bramble(&["action", "stop", &action]);
    guest.expect("It has been called off: this computer stays on.");
    room.reconfigure(&schedule, "config client\n");
}

//! A graphical greeter of a real desktop system: lightdm asks, PAM answers, a person gets their desktop and home.
//!
//! Not in CI: the system is made by `tests/boot-desktop`, which runs this. What is typed goes through the X server as if from a
//! keyboard; how far the greeter is, is read from lightdm's own log; pictures of the screen are kept to be looked at.

use std::fs;
use std::time::{Duration, Instant};

use crate::guest::Guest;
use crate::room::{CLIENT, Room, made, needs};

const BERTA: &str = "bertas own password";

/// lightdm's log, which says each time that the greeter is asked for something.
const LOG: &str = "/var/log/lightdm/lightdm.log";

/// How long a step at the greeter may take on a machine without a graphics card.
const PATIENCE: Duration = Duration::from_mins(3);

/// How long the greeter may take to draw.
const DRAWN: Duration = Duration::from_secs(3);

#[test]
#[ignore = "it needs a desktop system, which tests/boot-desktop makes"]
fn people_log_in_at_a_greeter() {
    needs("people_log_in_at_a_greeter", || {
        let room = Room::open(&["lab-01"]);
        let first = room.add_account("berta", &["--quota", "32M", "--full-name", "Berta Beck"]);
        let initrd = made().join("tiny.gz");
        let parameters = format!("{} rdinit=/init quiet", room.parameters(CLIENT));
        let mut guest = room.boot("desktop", CLIENT, &initrd, &parameters);
        guest.log_in("root", "raspberry");

        // The greeter asks for a name, then for a password; a wrong one, and it asks again.
        wait(&mut guest, "grep -q 'Prompt greeter with' ", LOG);
        wait(&mut guest, "systemctl is-active --wait bramble-agent", "");
        picture(&mut guest, "1-greeter");
        answer(&mut guest, "berta");
        answer(&mut guest, "wrong");
        wait(&mut guest, "grep -q 'Authenticate result for user berta: Authentication failure' ", LOG);
        picture(&mut guest, "2-wrong");
        // The first password is right and has to be changed: the greeter shows the questions of PAM one by one.
        answer(&mut guest, &first);
        picture(&mut guest, "3-change");
        answer(&mut guest, &first);
        answer(&mut guest, BERTA);
        type_in(&mut guest, BERTA);
        wait(&mut guest, "pgrep -u berta openbox", "");
        picture(&mut guest, "4-desktop");
        let account = room.bramble(&["account", "show", "berta"]);
        assert!(!account.contains("to be changed"), "{account}");

        // Her desktop, her home, and who she is.
        assert_eq!(
            guest.output("findmnt -n -o FSTYPE,SOURCE /home/berta | tr -s ' '"),
            "nfs 127.0.0.1:/home/berta"
        );
        let session = room.bramble(&["session", "list"]);
        assert!(session.contains("berta") && session.contains("desktop"), "{session}");
        assert_eq!(guest.output("su - berta -c 'stat -c %U:%a ~'"), "berta:700");

        // The home becomes full: a notice on the desktop says so.
        let (said, code) = guest.run("su - berta -c 'head -c 64000000 /dev/zero > fill && sync fill'");
        assert!(code != 0, "{said}");
        let windows = format!("{} xwininfo -root -tree | grep -qi dunst", hers());
        wait(&mut guest, &windows, "");
        picture(&mut guest, "5-full");
        guest.output("su - berta -c 'rm fill'");

        // Log-out: nothing is left, and the next person is asked.
        let before = guest.output(&format!("grep -c 'Greeter connected' {LOG}"));
        guest.output(&format!("{} openbox --exit", hers()));
        wait(&mut guest, "! findmnt /home/berta", "");
        wait(&mut guest, &format!("test $(grep -c 'Greeter connected' {LOG}) -gt {before}"), "");
        // With her own password she gets in at once.
        std::thread::sleep(DRAWN);
        answer(&mut guest, "berta");
        type_in(&mut guest, BERTA);
        wait(&mut guest, "pgrep -u berta openbox", "");
        picture(&mut guest, "6-again");
        guest.type_line("systemctl poweroff");
        guest.ended();
    });
}

/// Waits until a command succeeds in the guest.
pub fn wait(guest: &mut Guest, command: &str, file: &str) {
    let begin = Instant::now();
    while guest.run(&format!("{command}{file} >/dev/null 2>&1")).1 != 0 {
        if begin.elapsed() > PATIENCE {
            picture(guest, "stuck");
            let (log, _) = guest.run(&format!("tail -n 40 {LOG}; journalctl -b -n 30 --no-pager"));
            panic!("`{command}` does not come true:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What runs a program as berta on her desktop.
fn hers() -> &'static str {
    "runuser -u berta -- env $(tr '\\0' '\\n' < /proc/$(pgrep -o -u berta openbox)/environ | \
     grep -E '^(DISPLAY|XAUTHORITY|DBUS_SESSION_BUS_ADDRESS|HOME)=')"
}

fn questions(guest: &mut Guest) -> u32 {
    let (count, _) = guest.run(&format!("grep -c 'Prompt greeter with' {LOG}"));
    count.trim().parse().unwrap_or(0)
}

/// Types a line at the greeter, when it had time to draw what it was asked to.
pub fn type_in(guest: &mut Guest, text: &str) {
    std::thread::sleep(DRAWN);
    let screen = "export DISPLAY=:0 XAUTHORITY=/var/run/lightdm/root/:0";
    guest.output(&format!("{screen}; xdotool type --delay 50 '{text}' && xdotool key Return"));
}

/// The same, and waits for the next question.
pub fn answer(guest: &mut Guest, text: &str) {
    let before = questions(guest);
    type_in(guest, text);
    let begin = Instant::now();
    while questions(guest) == before {
        if begin.elapsed() > PATIENCE {
            picture(guest, "stuck");
            panic!("the greeter asks nothing more: {}", guest.run(&format!("tail -n 40 {LOG}")).0);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Keeps what the screen shows (an X window dump, as `xwdtopnm` and GIMP read it).
fn picture(guest: &mut Guest, name: &str) {
    let (text, code) = guest.run("gzip -c /run/Xvfb_screen0 | base64 -w 76");
    if code == 0 {
        let folder = made().join("screens");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{name}.xwd.gz.base64")), text).expect("written");
    }
}

//! A desktop as Raspberry Pi OS has it, lightdm with labwc: guests, a kiosk, a lock, dark screens, and a teacher who looks.
//!
//! Not in CI: the system is made by `tests/boot-desktop`, which runs this. What is seen is what wayvnc of the system shows of
//! labwc to a VNC program at another seat, through the router.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use bramble::sim::net::{Machine, SERVER};
use serde_json::Value;

use crate::guest::{Guest, eventually};
use crate::openbox::{answer, type_in, wait};
use crate::room::{CLIENT, Room, made, needs};
use crate::viewer::{View, look};

const BERTA: &str = "bertas own password";

/// Where the teacher sits.
const TEACHER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 200);

/// What a desktop and a browser need; the other systems of these tests have none.
const MEMORY: &str = "mem=2G";

/// What swaylock is told to show, and how mako shows a notice.
const LOCKED: [u8; 3] = [0x20, 0x20, 0x20];
const NOTICE: [u8; 3] = [0x28, 0x55, 0x77];

/// How long a picture may take to become what it should.
const DRAWN_WITHIN: Duration = Duration::from_mins(3);

/// The number of the Return key.
const RETURN: u32 = 0xff0d;

#[test]
#[ignore = "it needs a desktop system, which tests/boot-desktop makes"]
fn a_guest_has_a_desktop_without_a_name_that_a_teacher_sees() {
    needs("a_guest_has_a_desktop_without_a_name_that_a_teacher_sees", || {
        let mut room = Room::open_with(&["lab-01"], "\toption mode 'guest'\n\toption screens '1'\n");
        let teacher = room.neighbour(TEACHER);
        let mut guest = boot(&room, "guest");
        wait(&mut guest, "pgrep -u guest -x labwc", "");
        assert_eq!(guest.run("pgrep -u rpi-first-boot-wizard").1, 1, "whom the image logs in is not");
        assert_eq!(guest.output("findmnt -n -o FSTYPE /home/guest"), "tmpfs");
        let session =
            "loginctl list-sessions --no-legend | awk '$3 == \"guest\" && $4 == \"seat0\" { print $1 }'";
        assert_eq!(guest.output(&format!("loginctl show-session $({session}) -p Type --value")), "wayland");
        wait(&mut guest, "pgrep -u guest -x mako", "");
        guest.output("runuser -u guest -- sh -c 'echo mine | tee ~/secret /tmp/secret >/dev/shm/secret'");
        guest.output("runuser -u guest -- setsid -f sleep 4000 >/dev/null 2>&1");

        // A message, and a screen that is looked at: both are said on the desktop, and seen in the picture.
        room.bramble(&["client", "message", "lab-01", "--text", "Five more minutes"]);
        assert_eq!(notices(&mut guest, "guest", 59_999), ["Message"]);
        let mut view = view(&room, &teacher, false);
        let told = notices(&mut guest, "guest", 59_999);
        assert!(told.iter().any(|title| title == "Bramble"), "{told:?}");
        shows(&mut guest, &mut view, "guest-1-seen", |points| {
            is_desktop(points) && share(points, NOTICE) > 0
        });
        assert!(guest.output("pgrep -a -x wayvnc").ends_with("-u -d /run/bramble/screen/socket"));
        assert_eq!(guest.output("ss -Hltn | grep -c 5900; true"), "0", "nothing listens on the network");
        drop(view);
        wait(&mut guest, "! pgrep -x wayvnc", "");
        assert_eq!(guest.run("test -e /run/bramble/screen").1, 1);

        // Dark, and lit again. A guest cannot be locked out.
        let power = format!("{} wlopm", as_one("guest", 59_999));
        room.bramble(&["client", "blank", "lab-01"]);
        assert_eq!(guest.output(&power), "HEADLESS-1 off");
        room.bramble(&["client", "unblank", "lab-01"]);
        assert_eq!(guest.output(&power), "HEADLESS-1 on");
        let refused = room.try_bramble(&["client", "lock", "lab-01"]);
        assert!(refused.contains("a guest has no password to come back with"), "{refused}");

        // Log-out: the next guest has a desktop at once, and nothing of the first.
        let before = guest.output("pgrep -u guest -x labwc");
        guest.output("pkill -u guest -x labwc");
        wait(&mut guest, &is_another("pgrep -u guest -x labwc", &before), "");
        assert_eq!(guest.run("ls /home/guest/secret /tmp/secret /dev/shm/secret 2>/dev/null").0.trim(), "");
        assert_ne!(guest.run("pgrep -u guest -x sleep").1, 0, "nothing of theirs runs");
        assert_eq!(guest.output("grep -c /home/guest /proc/mounts"), "1");
        room.bramble(&["room", "shutdown", "--all"]);
        guest.ended();
    });
}

/// Whether the browser shows the page is not asked: a user-mode kernel ends parts of Chromium and of Firefox.
#[test]
#[ignore = "it needs a desktop system, which tests/boot-desktop makes"]
fn a_kiosk_has_a_browser_and_nothing_else_and_again_when_it_is_closed() {
    needs("a_kiosk_has_a_browser_and_nothing_else_and_again_when_it_is_closed", || {
        let page = "https://library.example/today";
        let settings = format!("\toption mode 'kiosk'\n\toption kiosk_url '{page}'\n");
        let room = Room::open_with(&["lab-01"], &settings);
        let mut guest = boot(&room, "kiosk");
        wait(&mut guest, "pgrep -u guest -x chromium", "");
        let started = guest.output("tr '\\0' ' ' < /proc/$(pgrep -o -u guest -x chromium)/cmdline");
        // It starts itself once more, with its words in another order.
        let is_there = started.split(' ').any(|word| word == page);
        assert!(started.contains(" --kiosk --incognito ") && is_there, "{started}");
        let shell = guest.output("pgrep -a -u guest -x labwc");
        assert!(shell.ends_with("labwc -C /etc/bramble/labwc -s /etc/bramble/kiosk"), "{shell}");
        assert_ne!(guest.run("pgrep -u guest -x swaybg").1, 0, "nothing of the usual desktop");
        assert_eq!(guest.output("findmnt -n -o FSTYPE /home/guest"), "tmpfs");

        // Closed by whoever sits there.
        let before = guest.output("pgrep -o -u guest -x chromium");
        guest.output(&format!("kill {before}"));
        wait(&mut guest, &is_another("pgrep -o -u guest -x chromium", &before), "");
        assert_eq!(guest.output("pgrep -a -u guest -x labwc"), shell, "the session went on");
        room.bramble(&["room", "shutdown", "--all"]);
        guest.ended();
    });
}

#[test]
#[ignore = "it needs a desktop system, which tests/boot-desktop makes"]
fn a_person_logs_in_at_the_greeter_and_comes_back_to_a_locked_screen() {
    needs("a_person_logs_in_at_the_greeter_and_comes_back_to_a_locked_screen", || {
        let mut room = Room::open_with(&["lab-01"], "\toption screens '1'\n");
        let teacher = room.neighbour(TEACHER);
        let first = room.add_account("berta", &[]);
        let mut guest = boot(&room, "login");
        wait(&mut guest, "grep -q 'Prompt greeter with' ", "/var/log/lightdm/lightdm.log");
        wait(&mut guest, "systemctl is-active --wait bramble-agent", "");
        answer(&mut guest, "berta");
        answer(&mut guest, &first);
        answer(&mut guest, &first);
        answer(&mut guest, BERTA);
        type_in(&mut guest, BERTA);
        wait(&mut guest, "pgrep -u berta -x labwc", "");
        assert_eq!(
            guest.output("findmnt -n -o FSTYPE,SOURCE /home/berta | tr -s ' '"),
            "nfs 127.0.0.1:/home/berta"
        );
        let session = room.bramble(&["session", "list"]);
        assert!(session.contains("berta") && session.contains("desktop"), "{session}");
        wait(&mut guest, "pgrep -u berta -x mako", "");

        // With keyboard and mouse: the teacher locks the screen, sees that it is, and lets her in again.
        let mut view = view(&room, &teacher, true);
        let uid: u32 = guest.output("id -u berta").parse().expect("a number");
        assert!(notices(&mut guest, "berta", uid).iter().any(|title| title == "Bramble"));
        shows(&mut guest, &mut view, "login-1-seen", is_desktop);
        room.bramble(&["client", "lock", "lab-01"]);
        wait(&mut guest, "pgrep -u berta -x swaylock", "");
        shows(&mut guest, &mut view, "login-2-locked", |points| share(points, LOCKED) > 70);
        for letter in "wrong".chars() {
            view.key(u32::from(letter)).expect("a key");
        }
        view.key(RETURN).expect("a key");
        std::thread::sleep(Duration::from_secs(8));
        assert_eq!(guest.run("pgrep -u berta -x swaylock").1, 0, "still locked");
        for letter in BERTA.chars() {
            view.key(u32::from(letter)).expect("a key");
        }
        view.key(RETURN).expect("a key");
        wait(&mut guest, "! pgrep -u berta -x swaylock", "");
        shows(&mut guest, &mut view, "login-3-back", is_desktop);
        drop(view);

        guest.output("pkill -u berta -x labwc");
        wait(&mut guest, "! findmnt /home/berta", "");
        guest.type_line("systemctl poweroff");
        guest.ended();
    });
}

/// Whether what `search` finds is there, and is not `before`; asked once, since that one may just be going.
fn is_another(search: &str, before: &str) -> String {
    format!("found=$({search}) && test \"$found\" != {before}")
}

fn boot(room: &Room, name: &str) -> Guest {
    let parameters = format!("{} {MEMORY} rdinit=/init quiet", room.parameters(CLIENT));
    let mut guest = room.boot(name, CLIENT, &made().join("tiny.gz"), &parameters);
    guest.log_in("root", "raspberry");
    guest
}

/// What runs a program as somebody on their desktop.
fn as_one(name: &str, uid: u32) -> String {
    let run = format!("/run/user/{uid}");
    format!(
        "runuser -u {name} -- env XDG_RUNTIME_DIR={run} WAYLAND_DISPLAY=wayland-0 DBUS_SESSION_BUS_ADDRESS=unix:path={run}/bus"
    )
}

/// The titles of what is said on somebody's desktop, newest first; mako lists no more.
fn notices(guest: &mut Guest, name: &str, uid: u32) -> Vec<String> {
    let listed = guest.output(&format!("{} makoctl list", as_one(name, uid)));
    let titles = listed.lines().filter_map(|line| line.strip_prefix("Notification ")?.split_once(": "));
    titles.map(|(_, title)| title.to_owned()).collect()
}

/// The teacher asks for the screen, and looks at it with the password that was given.
fn view(room: &Room, teacher: &Machine, control: bool) -> View {
    let from = TEACHER.to_string();
    let mut words = vec!["--json", "client", "screen", "lab-01", "--from", &from];
    words.extend(control.then_some("--control"));
    let mut opened = Value::Null;
    eventually("the screen can be had", || {
        let said = room.command(&words).output().expect("bramble runs").stdout;
        opened = serde_json::from_slice(&said).unwrap_or_default();
        if opened["port"].is_null() {
            println!("{opened}");
        }
        opened["port"].is_u64()
    });
    let port = opened["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
    let password = opened["password"].as_str().expect("a password");
    let view = look(teacher, SocketAddrV4::new(SERVER, port), password).expect("let in");
    assert_eq!(view.name, "WayVNC");
    assert!(look(teacher, SocketAddrV4::new(SERVER, port), password).is_err(), "one viewer, once");
    view
}

/// How many of a hundred points have this colour.
fn share(points: &[[u8; 3]], colour: [u8; 3]) -> usize {
    points.iter().filter(|point| **point == colour).count() * 100 / points.len()
}

/// Whether most of it is the background that `tests/boot-desktop` gives the desktop, which swaybg makes darker to the edges.
fn is_desktop(points: &[[u8; 3]]) -> bool {
    let blue = points.iter().filter(|[red, _, blue]| u16::from(*blue) > u16::from(*red) + 20);
    blue.count() * 100 / points.len() > 70
}

/// Looks until the picture is as it should be, and keeps it. What wayvnc sends first is one grey.
fn shows(guest: &mut Guest, view: &mut View, name: &str, is: impl Fn(&[[u8; 3]]) -> bool) -> Vec<[u8; 3]> {
    let begin = Instant::now();
    loop {
        let points = view.picture().expect("a picture");
        let right = is(&points);
        if right || begin.elapsed() > DRAWN_WITHIN {
            let name = if right { name.to_owned() } else { format!("{name}-not") };
            let mut file = format!("P6 {} {} 255\n", view.width, view.height).into_bytes();
            file.extend(points.as_flattened());
            let folder = made().join("screens");
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(format!("{name}.ppm")), file).expect("written");
            assert!(
                right,
                "{name}: see the picture\n{}",
                guest.run("ps axo user,args | tail -n 40; journalctl -b -n 40 --no-pager").0
            );
            return points;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

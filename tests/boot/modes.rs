//! Ways to use a real client: a guest whose home is gone when they are, an exam that is not everybody's, a kiosk that its
//! image cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::guest::{Guest, eventually};
use crate::people::initrd;
use crate::room::{CLIENT, Room, SECOND, needs};

const ANNA: &str = "annas own password";
const BERTA: &str = "bertas own password";

fn asked(room: &Room, client: &str, field: &str) -> String {
    let told: serde_json::Value =
        serde_json::from_str(&room.bramble(&["--json", "client", "show", client])).expect("JSON");
    told.get(field).and_then(serde_json::Value::as_str).unwrap_or("(nothing)").to_owned()
}

/// At the guest's own prompt, which nobody typed a name for.
fn sit_down(guest: &mut Guest) {
    guest.expect("You are a guest here: everything you save on this computer is deleted when you log out.");
    guest.expect("$ ");
    guest.quiet_shell();
    assert_eq!(guest.output("id -un; pwd; stat -c %U:%a ."), "guest\n/home/guest\nguest:700");
}

/// What an earlier guest left is not there.
fn nothing_is_left(guest: &mut Guest) {
    assert_eq!(guest.run("ls secret /tmp/secret /dev/shm/secret 2>/dev/null").0.trim(), "");
    assert_ne!(guest.run("pgrep -u guest -x sleep").1, 0, "nothing of theirs runs");
    assert_eq!(guest.output("grep -c /home/guest /proc/mounts"), "1");
}

#[test]
fn a_guest_needs_no_name_and_leaves_nothing() {
    needs("a_guest_needs_no_name_and_leaves_nothing", || {
        let settings = "\toption mode 'guest'\n\toption guest_time '1'\nconfig share 'materials'\n";
        let room = Room::open_with(&["lab-01"], settings);
        let mut guest = room.boot("guest", CLIENT, &initrd(), &room.parameters(CLIENT));
        sit_down(&mut guest);
        assert_eq!(guest.output("findmnt -n -o FSTYPE /home/guest"), "tmpfs");
        assert_eq!(guest.output("cmp .profile /etc/skel/.profile && echo same"), "same");
        guest.output("echo mine | tee secret /tmp/secret > /dev/shm/secret");
        guest.output("(setsid nohup sleep 4000 >/dev/null 2>&1 &)");
        // No home of anybody's, no share, no way to become somebody.
        assert_ne!(guest.run("ls -1 Shared").1, 0);
        assert_eq!(guest.run("grep -E 'nfs.*(home|share)' /proc/mounts").0.trim(), "");
        assert_ne!(guest.run("sudo -n true").1, 0);
        assert_eq!(
            (asked(&room, "lab-01", "mode"), asked(&room, "lab-01", "mode_now")),
            ("guest".to_owned(), "guest".to_owned())
        );

        guest.expect("Your time at this computer is over.");
        sit_down(&mut guest);
        nothing_is_left(&mut guest);
        guest.output("echo mine > secret");
        guest.type_line("exit");
        sit_down(&mut guest);
        nothing_is_left(&mut guest);
        room.bramble(&["client", "logout", "lab-01", "--message", "We close now."]);
        guest.expect("We close now.");
        sit_down(&mut guest);

        // A guest is nobody that is waited for.
        room.bramble(&["room", "shutdown", "--all"]);
        guest.ended();
        assert_eq!(room.state(), "off");
        room.assert_untouched();
    });
}

#[test]
fn an_exam_is_for_those_who_take_part() {
    needs("an_exam_is_for_those_who_take_part", || {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let (hook, told) = (folder.path().join("hook"), folder.path().join("told"));
        fs::write(&hook, format!("#!/bin/sh\necho \"$@\" >>{}\n", told.display())).expect("written");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
        let settings = format!(
            "\toption exam_hook '{}'\nconfig share 'materials'\nconfig share 'tasks'\n\
             config client\n\toption mac '{SECOND}'\n\toption name 'lab-09'\n\toption room 'lab'\n\
             \toption mode 'kiosk'\n\toption kiosk_url 'https://library.example/'\n",
            hook.display()
        );
        let told = || fs::read_to_string(&told).unwrap_or_default();
        let room = Room::open_on(2, &["lab-01"], &settings);
        let (anna, berta) = (room.add_account("anna", &[]), room.add_account("berta", &[]));
        let mut kiosk = room.boot("kiosk", SECOND, &initrd(), &room.parameters(SECOND));
        let mut guest = room.boot("exam", CLIENT, &initrd(), &room.parameters(CLIENT));
        guest.enter_first("berta", &berta, BERTA);
        assert_eq!(guest.output("ls -1 Shared"), "materials\ntasks");
        eventually("the program was told how it is", || told().starts_with("off lab "));

        let set = ["--account", "anna", "--share", "tasks"];
        let said = room.bramble(&[&["room", "mode", "lab", "exam"][..], &set].concat());
        assert!(said.contains("Only those who take part can log in from now on"), "{said}");
        guest.expect("an exam begins at this computer, and your account does not take part");
        eventually("the internet is taken away", || told().contains("on lab 192.168.77.50\n"));
        guest.answer(&[("login: ", "berta"), ("assword: ", BERTA)]);
        guest.expect("incorrect");
        guest.enter_first("anna", &anna, ANNA);
        assert_eq!(guest.output("ls -1 Shared"), "tasks", "and nothing else");
        room.bramble(&["room", "mode", "lab", "login"]);
        eventually("and given back", || told().contains("off lab 192.168.77.50\n"));
        guest.type_line("exit");
        guest.enter("berta", BERTA);
        assert_eq!(guest.output("ls -1 Shared"), "materials\ntasks");
        guest.type_line("exit");

        // An image without a desktop says what is missing, where people look and in the client's timeline.
        kiosk.expect(
            "This computer should show https://library.example/, but its system has no desktop for that.",
        );
        kiosk.log_in("root", "raspberry");
        let shown = room.bramble(&["client", "show", "lab-09"]);
        assert!(shown.contains("its image has no desktop to show it; choose another image"), "{shown}");
        room.bramble(&["room", "shutdown", "--all", "--force"]);
        for guest in [guest, kiosk] {
            guest.ended();
        }
    });
}

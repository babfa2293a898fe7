//! People at two seats of a real system: log-in through getty and PAM, a password that must be changed, homes that follow
//! their people and nobody else, and a daemon that is killed while somebody writes.

use std::time::Duration;

use crate::guest::Guest;
use crate::room::{CLIENT, Room, SECOND, made, needs, release};

/// What everybody's password is at first.
pub const FIRST: &str = "first-password-1";
const CHOSEN: &str = "chosen-password-2";

/// How long it takes at most until nothing of a session is left.
const CLEANED_UP: Duration = Duration::from_secs(20);

/// A home, as somebody with root on a client would try to mount it: with the kernel's own client, asking no helper.
const STEAL: &str = "mkdir -p /mnt/x; mount -i -t nfs -o vers=3,proto=tcp,nolock,port=2049,mountport=2049,mountproto=tcp,\
                     mountaddr=192.168.77.1,addr=192.168.77.1 192.168.77.1:/home/anna /mnt/x && ls /mnt/x";

#[test]
fn people_log_in_and_their_homes_follow_them() {
    needs("people_log_in_and_their_homes_follow_them", || {
        let mut room = Room::open(&["lab-01", "lab-02"]);
        room.add_people(FIRST);
        let initrd = made().join("tree/boot").join(format!("initrd.img-{}", release()));
        let [mut one, mut two] = [("one", CLIENT), ("two", SECOND)]
            .map(|(name, mac)| room.boot(name, mac, &initrd, &room.parameters(mac)));

        // At a console: a wrong password, then one that is to be changed, first for one that is too short.
        one.answer(&[("login: ", "anna"), ("assword: ", "wrong")]);
        one.expect("Login incorrect");
        one.answer(&[("login: ", "anna"), ("assword: ", FIRST), ("urrent password: ", FIRST)]);
        one.answer(&[("ew password: ", "short"), ("etype new password: ", "short")]);
        one.expect("Authentication token manipulation error");
        one.answer(&[("login: ", "anna"), ("assword: ", FIRST), ("urrent password: ", FIRST)]);
        one.answer(&[("ew password: ", CHOSEN), ("etype new password: ", CHOSEN)]);
        one.expect("$ ");
        one.quiet_shell();
        assert_eq!(one.output("pwd; stat -c %U:%a ."), "/home/anna\nanna:700");
        assert_eq!(one.output("cmp .profile /etc/skel/.profile && findmnt -n -o FSTYPE /home/anna"), "nfs");
        assert_eq!(
            one.output("findmnt -n -o FSTYPE /home/anna/.cache"),
            "tmpfs",
            "caches stay on the client"
        );
        let groups = one.output("id -nG");
        for group in ["anna", "audio", "video", "plugdev"] {
            assert!(groups.split(' ').any(|name| name == group), "{group}: {groups}");
        }
        assert_ne!(one.run("cat /etc/shadow").1, 0);
        assert_ne!(one.run(&format!("echo {CHOSEN} | sudo -S -p '' true")).1, 0, "sudo is for teachers here");
        one.output("echo from-one > file && sync");

        // Root at another seat gets nothing, with what the kernel can do and with becoming anna.
        two.log_in("root", "raspberry");
        let (said, code) = two.run(STEAL);
        assert_ne!(code, 0, "{said}");
        let (said, code) = two.run("su - anna -c 'ls -a /home/anna'");
        assert_ne!(code, 0, "{said}");
        let shadow = two.output("grep ^anna: /etc/shadow");
        assert!(shadow.starts_with("anna:*:"), "no hash on a client: {shadow}");
        two.type_line("exit");

        // The same person there; each sees what the other wrote.
        two.answer(&[("login: ", "anna"), ("assword: ", CHOSEN)]);
        two.expect("$ ");
        two.quiet_shell();
        assert_eq!(two.output("cat file && echo from-two > second"), "from-one");
        assert_eq!(one.output("cat second"), "from-two");

        // The daemon dies while one writes, and comes back.
        one.type_line(
            "(for i in $(seq 300); do head -c 100000 /dev/zero | tr '\\0' a; done) > big && sync; echo writ''ten=$?",
        );
        std::thread::sleep(Duration::from_millis(500));
        room.kill_and_restart();
        one.expect("written=");
        assert_eq!(one.expect("\r\n"), "0", "no error reached the program");
        assert_eq!(one.output("wc -c < big; tr -d a < big | wc -c"), "30000000\n0");

        // After the log-out nothing is left, and root gets nothing any more.
        one.type_line("exit");
        one.log_in("root", "raspberry");
        std::thread::sleep(CLEANED_UP);
        assert_ne!(one.run("grep /home/anna /proc/mounts").1, 0, "unmounted");
        assert_ne!(one.run(STEAL).1, 0, "nothing is left of the right to mount it");
        one.type_line("exit");

        // A teacher may use sudo in this room.
        one.answer(&[("login: ", "sven"), ("assword: ", FIRST)]);
        one.expect("$ ");
        one.quiet_shell();
        assert_eq!(one.output(&format!("echo {FIRST} | sudo -S -p '' id -un")), "root");
        for guest in [one, two] {
            finish(guest);
        }
    });
}

fn finish(mut guest: Guest) {
    guest.type_line("exit");
    guest.log_in("root", "raspberry");
    guest.type_line("systemctl poweroff");
    guest.ended();
}

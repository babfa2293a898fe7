//! People at two seats of a real system: log-in through getty, ssh, a greeter's and a screen locker's conversation with
//! PAM; homes and shares that follow their people and nobody else; and a daemon that is killed while somebody writes.
//!
//! One long test, because what takes time is booting: two clients are started once, and each function is one proof.

use std::fs;
use std::path::PathBuf;

use crate::guest::{Guest, eventually};
use crate::room::{CLIENT, Room, SECOND, made, needs, release};
use crate::sha256;

/// The passwords that people choose here.
const ANNA: &str = "annas own password";
const BERTA: &str = "bertas own password";
const SVEN: &str = "svens own password";

/// What the room has besides its image. The programs that try PAM come to the clients in a share.
fn settings() -> String {
    format!(
        "\toption sudo 'teachers'\n\tlist groups 'audio'\n\tlist groups 'video'\n\tlist groups 'plugdev'\n\
         config accounts 'accounts'\n\toption twice 'allow'\n\
         config share 'materials'\n\toption access 'read'\n\
         config share 'project'\n\toption access 'write'\n\
         config share 'homework'\n\toption access 'handin'\n\
         config share 'tools'\n\toption path '{}'\n",
        made().join("tools").display()
    )
}

/// A home, as somebody with root on a client would try to mount it: with the kernel's own client, asking no helper.
const STEAL: &str = "mkdir -p /mnt/x; mount -i -t nfs -o vers=3,proto=tcp,nolock,port=2049,mountport=2049,mountproto=tcp,\
                     mountaddr=192.168.77.1,addr=192.168.77.1 192.168.77.1:/home/anna /mnt/x && ls /mnt/x";

/// Waits until anna's home is no longer mounted.
const GONE: &str = "for i in $(seq 60); do grep -q /home/anna /proc/mounts || break; sleep 1; done; \
                    ! grep /home/anna /proc/mounts";

/// Writes `big` piece by piece, each on the server's disk before the next: so the daemon is killed amid a call.
const WRITE: &str = "for i in $(seq 0 59); do seq $((i*20000+1)) $((i*20000+20000)); done | \
                     dd of=big bs=64k iflag=fullblock oflag=sync status=none && sync; echo writ''ten=$?";

pub fn initrd() -> PathBuf {
    made().join("tree/boot").join(format!("initrd.img-{}", release()))
}

#[test]
fn people_log_in_and_their_homes_follow_them() {
    needs("people_log_in_and_their_homes_follow_them", || {
        let mut room = Room::open_with(&["lab-01", "lab-02"], &settings());
        let anna = room.add_account("anna", &[]);
        let berta = room.add_account("berta", &["--quota", "32M"]);
        let sven = room.add_account("sven", &["--role", "teacher"]);
        let [mut one, mut two] = [("one", CLIENT), ("two", SECOND)]
            .map(|(name, mac)| room.boot(name, mac, &initrd(), &room.parameters(mac)));

        console(&mut one, &anna);
        home(&mut one);
        rights(&mut one);
        screen_locker(&mut one, &sven);
        one.output("echo from-one > file && sync");

        two.log_in("root", "raspberry");
        root_elsewhere(&mut two);
        two.type_line("exit");
        two.enter("anna", ANNA);
        assert_eq!(two.output("cat file && echo from-two > second"), "from-one");
        assert_eq!(one.output("cat second"), "from-two", "each sees what the other wrote");
        two.output("cp Shared/tools/bin/pamtester /tmp");
        two.type_line("exit");
        two.log_in("root", "raspberry");
        greeter(&mut two, &berta);
        other_services(&mut two);
        two.type_line("exit");
        becomes_another(&mut one);

        two.enter_first("sven", &sven, SVEN);
        shares(&room, &mut one, &mut two);
        assert_eq!(two.output(&format!("echo {SVEN} | sudo -S -p '' id -un")), "root", "a teacher may");

        crash(&mut room, &mut one);
        one.type_line("exit");
        one.log_in("root", "raspberry");
        nothing_is_left(&mut one);
        one.type_line("exit");

        second_seat(&room, &mut one, &mut two);
        full(&mut one);
        renamed(&room, &mut one);
        removed(&room, &mut one);
        switched_off(&room, &mut one);
        without_the_server(&mut room, &mut one);
        for guest in [one, two] {
            finish(guest);
        }
    });
}

/// At a console: a wrong password, then one that is to be changed, first for one that is too short.
fn console(guest: &mut Guest, first: &str) {
    guest.answer(&[("login: ", "anna"), ("assword: ", "wrong")]);
    guest.expect("Login incorrect");
    guest.answer(&[("login: ", "anna"), ("assword: ", first), ("urrent password: ", first)]);
    guest.answer(&[("ew password: ", "short"), ("etype new password: ", "short")]);
    guest.expect("the new password is too short: it has 5 characters and needs 8");
    guest.expect("Authentication token manipulation error");
    guest.enter_first("anna", first, ANNA);
}

/// What anna finds.
fn home(guest: &mut Guest) {
    assert_eq!(guest.output("pwd; stat -c %U:%a ."), "/home/anna\nanna:700");
    assert_eq!(guest.output("cmp .profile /etc/skel/.profile && findmnt -n -o FSTYPE /home/anna"), "nfs");
    let cache = guest.output("findmnt -n -o FSTYPE /home/anna/.cache");
    assert_eq!(cache, "tmpfs", "caches stay on the client");
    let source = guest.output("findmnt -n -o SOURCE /home/anna");
    assert_eq!(source, "127.0.0.1:/home/anna", "through the agent, encrypted");
    // What is mounted through it goes before it, and after the people, when the client ends.
    for (unit, order) in [("bramble-agent", "After"), ("systemd-user-sessions", "Before")] {
        guest.output(&format!("systemctl show -p {order} home-anna.mount | grep -w {unit}.service"));
    }
}

fn assert_groups(groups: &str) {
    for (group, is_in) in [("anna", true), ("audio", true), ("plugdev", true), ("dialout", false)] {
        assert_eq!(groups.split_whitespace().any(|name| name == group), is_in, "{group}: {groups}");
    }
}

/// What anna may do on the client itself.
fn rights(guest: &mut Guest) {
    assert_groups(&guest.output("id -nG"));
    assert_ne!(guest.run("cat /etc/shadow").1, 0);
    assert_ne!(guest.run(&format!("echo '{ANNA}' | sudo -S -p '' true")).1, 0, "sudo is for teachers here");
}

/// A screen locker runs as the person it locks out. It can ask about that person, and about nobody else.
fn screen_locker(guest: &mut Guest, svens: &str) {
    let lock = |who: &str| format!("Shared/tools/bin/pamtester swaylock {who} authenticate acct_mgmt");
    let (said, code) = guest.converse(&lock("anna"), &[("assword: ", ANNA)]);
    assert_eq!(code, 0, "{said}");
    assert_ne!(guest.converse(&lock("anna"), &[("assword: ", "wrong")]).1, 0);
    assert_ne!(guest.converse(&lock("sven"), &[("assword: ", svens)]).1, 0, "right, and not hers to try");
}

/// Root at another seat gets nothing of anna, neither with what the kernel can do nor by becoming her.
fn root_elsewhere(guest: &mut Guest) {
    let (said, code) = guest.run(STEAL);
    assert_ne!(code, 0, "{said}");
    let (said, code) = guest.run("su - anna -c 'ls -a /home/anna'");
    assert_ne!(code, 0, "{said}");
    let shadow = guest.output("grep ^anna: /etc/shadow");
    assert!(shadow.starts_with("anna:*:"), "no hash on a client: {shadow}");
}

/// What a graphical greeter does: PAM says that the password is to be changed, and has it changed by its own questions.
fn greeter(guest: &mut Guest, first: &str) {
    let ask = |what: &str| format!("/tmp/pamtester lightdm berta {what}");
    let (said, code) = guest.converse(&ask("authenticate acct_mgmt"), &[("assword: ", first)]);
    assert!(code != 0 && said.contains("new one required"), "{code}: {said}");
    let change =
        ask("authenticate 'chauthtok(PAM_CHANGE_EXPIRED_AUTHTOK)' acct_mgmt open_session close_session");
    let (said, code) = guest.converse(
        &change,
        &[
            ("assword: ", first),
            ("urrent password: ", first),
            ("ew password: ", BERTA),
            ("etype new password: ", BERTA),
        ],
    );
    assert_eq!(code, 0, "{said}");
}

/// However somebody comes in, they are in the same groups.
fn other_services(guest: &mut Guest) {
    // Root becomes anna while she is logged in, and cannot when she has left.
    let meanwhile = "rm -f /tmp/in /tmp/su; { (until [ -e /tmp/in ]; do sleep 1; done; su - anna -c 'id -nG' > /tmp/su 2>&1; \
                     echo done >> /tmp/su) & }";
    guest.output(meanwhile);
    let ssh = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null anna@localhost \
               'id -nG; cat file; touch /tmp/in; for i in $(seq 60); do grep -q done /tmp/su && break; sleep 1; done'";
    let (said, code) = guest.converse(ssh, &[("assword: ", ANNA)]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("from-one"), "{said}");
    assert_groups(&said);
    assert_groups(&guest.output("cat /tmp/su"));
    guest.output(GONE);
    assert_ne!(guest.run("su - anna -c 'cat file'").1, 0, "her password is used up");
}

/// Anna becomes berta with berta's password and not without, and has her home for as long as that lasts.
fn becomes_another(guest: &mut Guest) {
    let su = "su - berta -c 'id -un; pwd; touch was-here'";
    let (said, code) = guest.converse(su, &[("assword: ", BERTA)]);
    assert!(code == 0 && said.contains("berta") && said.contains("/home/berta"), "{code}: {said}");
    assert_ne!(guest.converse(su, &[("assword: ", ANNA)]).1, 0);
    guest.output(
        "for i in $(seq 60); do grep -q /home/berta /proc/mounts || break; sleep 1; done; ! grep /home/berta /proc/mounts",
    );
    assert_ne!(guest.run("cat /home/berta/was-here").1, 0, "she has left");
}

/// Shares, as a pupil (at `one`) and a teacher (at `two`) have them.
fn shares(room: &Room, one: &mut Guest, two: &mut Guest) {
    two.output("echo 'to be read' > Shared/materials/text && echo 'begun' > Shared/project/plan");
    assert_eq!(one.output("cat Shared/materials/text Shared/project/plan"), "to be read\nbegun");
    assert!(one.run("echo x > Shared/materials/mine").0.contains("Read-only file system"));
    one.output("echo 'and more' >> Shared/project/plan && sync");
    assert_eq!(two.output("cat Shared/project/plan"), "begun\nand more", "everybody may write there");

    one.output("echo 'my work' > Shared/homework/anna.txt && sync");
    assert_eq!(one.output("ls Shared/homework"), "anna.txt");
    let handed_in = two.output("find Shared/homework -name 'anna*.txt' -exec cat {} +");
    assert_eq!(handed_in, "my work");
    let folder = room.data().join("shares/homework");
    assert!(folder.is_dir(), "it is where the backup looks");
    let bookmarks = one.output("cat .config/gtk-3.0/bookmarks");
    assert_eq!(bookmarks, "file:///home/anna/Shared Shared", "file managers show it");
}

/// The daemon dies while one writes, and comes back.
fn crash(room: &mut Room, guest: &mut Guest) {
    let expected = (1..=1_200_000).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    guest.output("exec 8<file");
    guest.type_line(WRITE);
    let big = room.data().join("homes/anna/big");
    eventually("the file grows", || fs::metadata(&big).map_or(0, |about| about.len()) >= 1_000_000);
    room.stop();
    let there = fs::metadata(&big).expect("a file").len();
    assert!(there < expected.len().try_into().expect("fits"), "it was still being written");
    room.start_again();
    guest.expect("written=");
    assert_eq!(guest.expect("\r\n"), "0", "no error reached the program");
    let sum = guest.output("sha256sum < big; cat <&8; exec 8<&-");
    assert_eq!(sum, format!("{}  -\nfrom-one", sha256(&expected)));
    let kept = fs::read_to_string(&big).expect("text");
    assert!(kept == expected, "what the server has is what was written");
    guest.output("rm big");
}

/// After the log-out nothing is left at the client, and root there gets nothing any more.
fn nothing_is_left(guest: &mut Guest) {
    guest.output(GONE);
    guest.output("! pgrep -u anna");
    assert_ne!(guest.run(STEAL).1, 0, "nothing is left of the right to mount it");
    assert_ne!(guest.run("su - anna -c 'cat file'").1, 0, "nor of the right to open it as her");
}

/// Sven is logged in at `two` and comes to `one`: refused, or logged out there, as the setting says.
fn second_seat(room: &Room, one: &mut Guest, two: &mut Guest) {
    room.reconfigure("twice 'allow'", "twice 'refuse'");
    one.answer(&[("login: ", "sven"), ("assword: ", SVEN)]);
    one.expect("you are logged in at lab-02; log out there first");
    room.reconfigure("twice 'refuse'", "twice 'takeover'");
    one.enter("sven", SVEN);
    two.expect("you have logged in at lab-01 and are logged out here");
    one.type_line("exit");
}

/// A full home is an error to programs, a sentence to the person, and no reason not to log in.
fn full(guest: &mut Guest) {
    guest.enter("berta", BERTA);
    let (said, code) = guest.run("head -c 64000000 /dev/zero > fill && sync fill");
    assert!(
        code != 0 && (said.contains("quota exceeded") || said.contains("No space left")),
        "{code}: {said}"
    );
    // Said once, perhaps before the line was over.
    if !said.contains("Your home is almost full") {
        guest.expect("Your home is almost full");
    }
    guest.type_line("exit");
    guest.answer(&[("login: ", "berta"), ("assword: ", BERTA)]);
    guest.expect("Your home is almost full");
    guest.expect("$ ");
    guest.quiet_shell();
    guest.output("rm fill && echo works > small && sync small");
    guest.type_line("exit");
}

/// Whoever gets another name while they are logged in is told it and logged out; what they saved comes along.
fn renamed(room: &Room, guest: &mut Guest) {
    guest.enter("anna", ANNA);
    guest.output("echo kept > diary && sync");
    room.bramble(&["account", "set", "anna", "--name", "annabel"]);
    guest.expect("your name is `annabel` from now on; log in with that");
    guest.answer(&[("login: ", "anna"), ("assword: ", ANNA)]);
    guest.expect("incorrect");
    guest.enter("annabel", ANNA);
    assert_eq!(guest.output("pwd; cat diary; stat -c %U:%G diary"), "/home/annabel\nkept\nannabel:annabel");
    assert_eq!(guest.output("id -u"), "10000", "the same person");
    room.bramble(&["account", "set", "annabel", "--name", "anna"]);
    guest.expect("your name is `anna` from now on; log in with that");
}

/// An account that is removed while somebody uses it is logged out, and its home is in the attic with what was saved.
fn removed(room: &Room, guest: &mut Guest) {
    guest.enter("berta", BERTA);
    guest.output("echo last > words && sync");
    room.bramble(&["account", "remove", "berta"]);
    guest.expect("your account was removed");
    guest.answer(&[("login: ", "berta"), ("assword: ", BERTA)]);
    guest.expect("incorrect");
    let old = fs::read_dir(room.data().join("attic")).expect("an attic").flatten().map(|entry| entry.path());
    let old: Vec<PathBuf> = old.filter(|path| path.display().to_string().contains(".berta.")).collect();
    let [home] = &old[..] else { panic!("one home of hers: {old:?}") };
    assert_eq!(fs::read_to_string(home.join("words")).expect("text"), "last\n");
    assert!(!room.data().join("homes/berta").exists());
}

/// An account that is switched off is logged out where it is, and does not get in again.
fn switched_off(room: &Room, guest: &mut Guest) {
    guest.enter("anna", ANNA);
    room.bramble(&["account", "set", "anna", "--disable"]);
    guest.expect("your account was switched off; ask your teacher");
    guest.answer(&[("login: ", "anna"), ("assword: ", ANNA)]);
    guest.expect("incorrect");
}

/// A log-in without the server ends soon, and says why.
fn without_the_server(room: &mut Room, guest: &mut Guest) {
    room.stop();
    guest.answer(&[("login: ", "sven"), ("assword: ", SVEN)]);
    guest.expect("The server cannot be reached, so nobody can log in.");
    room.start_again();
}

fn finish(mut guest: Guest) {
    guest.log_in("root", "raspberry");
    guest.type_line("systemctl poweroff");
    guest.ended();
}

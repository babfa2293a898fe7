//! A teacher looks at a client's screen: a real agent in a tree of its own, a stand-in for wayvnc on the client, and a small
//! VNC program ([`crate::viewer`]) at another seat. With the real wayvnc: `tests/boot-desktop`. Needs root: the agent works for people other than itself.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "real programs take real time, and a test gives up at some point and says why"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bramble::sim::net::{Machine, SERVER};
use bramble::sim::pi::{Options, Up};
use serde_json::Value;

use crate::classroom::{boot, classroom};
use crate::harness::{cannot_run, isolated, program};
use crate::viewer::look;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A wayvnc that shows 640 × 480 of nothing, and says back in capitals what a viewer sends.
const WAYVNC: &str = r#"#!/usr/bin/python3
import os, socket, sys
with open("/shared/wayvnc", "a") as log:
    print(os.getuid(), os.environ["WAYLAND_DISPLAY"], " ".join(sys.argv[1:-1]), file=log)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[-1])
listener.listen()
viewer, _ = listener.accept()
def read(count):
    data = b""
    while len(data) < count:
        data += viewer.recv(count - len(data)) or sys.exit()
    return data
viewer.sendall(b"RFB 003.008\n")
assert read(12) == b"RFB 003.008\n"
viewer.sendall(b"\x01\x01")
assert read(1) == b"\x01"
viewer.sendall(b"\0\0\0\0")
read(1)
viewer.sendall(b"\x02\x80\x01\xe0" + bytes(16) + b"\0\0\0\x04fake")
while True:
    viewer.sendall((viewer.recv(65536) or sys.exit()).upper())
"#;

/// The agent's own tree: the machine's programs, and files of users that nobody else has.
const TREE: &str = r#"set -e
tree=$1/tree
mkdir -p "$tree"
mount -t tmpfs tmpfs "$tree"
cd "$tree"
mkdir -p usr etc proc dev tmp var run/bramble run/user/1000 shared
mount --bind /usr usr
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
mount -t tmpfs tmpfs usr/local
mkdir usr/local/bin
cp "$1"/wayvnc "$1"/notify-send usr/local/bin/
mount --bind "$1/shared" shared
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind "$1/cmdline" proc/cmdline
for name in null urandom; do : >"dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
: >dev/kmsg
mount --bind "$1/log" dev/kmsg
printf 'root:x:0:0::/root:/bin/sh\npupil:x:1000:1000::/tmp:/bin/sh\n' >etc/passwd
printf 'root:x:0:\npupil:x:1000:\n' >etc/group
printf 'root:*:19000:0:99999:7:::\npupil:*:19000:0:99999:7:::\n' >etc/shadow
cp "$2" run/bramble/agent
echo "$3" >run/bramble/server
chmod 1777 tmp
chown 1000:1000 run/user/1000
exec chroot . /bin/sh -c '
	(
		while ! [ -e /shared/desktop ]; do sleep 0.1; done
		exec setpriv --reuid 1000 --regid 1000 --clear-groups \
			env WAYLAND_DISPLAY=wayland-0 XDG_RUNTIME_DIR=/run/user/1000 sh -c "while [ -e /shared/desktop ]; do sleep 0.1; done"
	) &
	# A child: as the first process the agent would start a system.
	/run/bramble/agent service
	exit'
"#;

/// A client with its agent.
struct Seat {
    work: PathBuf,
    agent: Child,
}

impl Seat {
    fn start(folder: &Path, machine: &Machine, up: &Up) -> Self {
        let work = folder.join("seat");
        fs::create_dir_all(work.join("shared")).expect("a folder");
        fs::set_permissions(work.join("shared"), fs::Permissions::from_mode(0o777)).expect("a mode");
        let script = |name: &str, text: &str| {
            fs::write(work.join(name), text).expect("written");
            fs::set_permissions(work.join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
        };
        script("wayvnc", WAYVNC);
        script("notify-send", "#!/bin/sh\nfor last; do :; done\necho \"$last\" >>/shared/signs\n");
        fs::write(work.join("cmdline"), format!("quiet bramble.pin={}\n", up.pin)).expect("written");
        let log = fs::File::create(work.join("log")).expect("a log");
        let mut command = machine.command("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", TREE, "seat"]);
        command.arg(&work).arg(env!("CARGO_BIN_EXE_bramble-agent")).arg(SERVER.to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let agent = command.spawn().expect("unshare runs");
        Self { work, agent }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.work.join("shared").join(name)).unwrap_or_default()
    }

    fn desktop(&self, there: bool) {
        let path = self.work.join("shared/desktop");
        if there { fs::write(path, "").expect("begun") } else { fs::remove_file(path).expect("ended") }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", fs::read_to_string(self.work.join("log")).unwrap_or_default());
        }
    }
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "not seen in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the other side hangs up.
fn ends(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

#[test]
fn a_teacher_looks_at_a_screen_through_the_router_and_the_pupil_is_told() {
    isolated(|| {
        const NAME: &str = "a_teacher_looks_at_a_screen_through_the_router_and_the_pupil_is_told";
        let real_root = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"));
        if !real_root {
            return cannot_run(NAME, "it needs root: the agent works for people other than itself");
        }
        if program("setpriv", "util-linux").is_none() || !Path::new("/usr/bin/python3").exists() {
            return cannot_run(NAME, "it needs setpriv and python3");
        }
        let (folder, mut room) = classroom(3);
        let ups = boot(&mut room, Options { skip_walk: true });
        let json = |args: &[&str]| -> Value {
            let output = room.server.cli(&[&["--json"], args].concat()).expect("run");
            let text = String::from_utf8(output.stdout).expect("text");
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text}"))
        };
        let refused = |answer: &Value| {
            let error = &answer["error"];
            let text = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
            (text("code"), text("message"))
        };
        let seat = Seat::start(folder.path(), room.machine(0).expect("a machine"), &ups[0]);
        let teacher = room.machine(1).expect("a machine");
        let from = ups[1].given.address;
        let open = || json(&["client", "screen", "seat-01", "--from", &from.to_string()]);

        // Off until somebody allows it, and nothing to see without a desktop.
        assert_eq!(
            refused(&open()),
            (
                "screens_off".to_owned(),
                "screens of the room `classroom` are not shown; allow it with `bramble room screen classroom on`"
                    .to_owned()
            )
        );
        assert_eq!(json(&["room", "screen", "classroom", "on"])["allowed"], true);
        eventually("the agent is connected", || {
            json(&["client", "show", "seat-01"])["agent"].as_str().is_some()
        });
        let (code, why) = refused(&open());
        assert_eq!(
            (code.as_str(), why.as_str()),
            ("no_screen", "`seat-01` cannot show its screen: nobody uses a desktop")
        );
        assert_eq!(refused(&json(&["client", "screen", "seat-02"])).0, "no_screen", "it has no agent");

        seat.desktop(true);
        let mut opened = Value::Null;
        eventually("the screen can be had", || {
            opened = open();
            opened["port"].is_u64()
        });
        assert_eq!(seat.file("signs"), "A teacher can see this screen.\n", "told before anybody looks");
        assert_eq!(refused(&open()).0, "screen_taken");
        let host: Ipv4Addr = opened["host"].as_str().expect("a host").parse().expect("an address");
        let at =
            SocketAddrV4::new(host, opened["port"].as_u64().and_then(|n| n.try_into().ok()).expect("a port"));
        assert_eq!(host, SERVER);
        let password = opened["password"].as_str().expect("a password");

        // Another seat is not let in, nor is a wrong password.
        let stranger = room.machine(2).expect("a machine");
        assert!(look(stranger, at, password).is_err(), "not from where it was asked for");
        let why = look(teacher, at, "wrong").expect_err("wrong").to_string();
        assert_eq!(why, "that is not the password of this screen");
        let seen = look(teacher, at, password).expect("let in");
        assert_eq!((seen.name.as_str(), seen.width, seen.height), ("fake", 640, 480));
        let mut view = seen.stream;
        // More than fits anywhere on the way, both ways at once.
        let picture: Vec<u8> = (0..3_000_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
        let mut writer = view.try_clone().expect("a stream");
        let sent = picture.clone();
        let sending = std::thread::spawn(move || writer.write_all(&sent));
        let mut heard = vec![0; picture.len()];
        view.read_exact(&mut heard).expect("it comes back");
        sending.join().expect("no panic").expect("sent");
        assert!(heard == picture.to_ascii_uppercase(), "every byte, in order");
        let listed = json(&["room", "screen"]);
        assert_eq!(listed["screens"][0]["stage"], "seen", "{listed}");
        assert_eq!(listed["screens"][0]["viewer"], from.to_string());
        assert!(look(teacher, at, password).is_err(), "one viewer, once");
        let shown = seat.file("wayvnc");
        assert!(
            shown.starts_with("1000 /run/user/1000/wayland-0 -C ") && shown.trim_end().ends_with(" -u -d"),
            "{shown}"
        );

        drop(view);
        eventually("the view is over", || {
            json(&["room", "screen"])["screens"].as_array().is_some_and(Vec::is_empty)
        });
        eventually("the pupil is told", || {
            seat.file("signs").ends_with("Nobody looks at this screen any more.\n")
        });
        let timeline = json(&["client", "show", "seat-01"])["timeline"].to_string();
        assert!(timeline.contains(&format!("its screen is looked at from {from}")), "{timeline}");

        // Ended by an administrator, by the room, and with the desktop.
        let ends_by = |end: &dyn Fn()| {
            let mut opened = Value::Null;
            eventually("the screen can be had again", || {
                opened = open();
                opened["port"].is_u64()
            });
            let port = opened["port"].as_u64().and_then(|n| n.try_into().ok()).expect("a port");
            let at = SocketAddrV4::new(SERVER, port);
            let mut view =
                look(teacher, at, opened["password"].as_str().expect("one")).expect("let in").stream;
            end();
            assert!(ends(&mut view));
        };
        ends_by(&|| drop(json(&["client", "screen", "seat-01", "--end"])));
        ends_by(&|| drop(json(&["room", "screen", "classroom", "off"])));
        json(&["room", "screen", "classroom", "on"]);
        assert!(room.server.stop().expect("stops").success());
        drop(seat);
    });
}

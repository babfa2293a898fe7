//! Work in a draft on the router: a shell and commands in a real Debian, which this machine's processor runs as a router's
//! would. No client boots here.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::guest::{PATIENCE, eventually};
use crate::room::{Room, needs};

/// Types `lines` into a shell without a terminal.
fn shell(room: &Room, lines: &str) -> Output {
    let mut command = room.command(&["image", "shell", "debian"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("typed");
    child.wait_with_output().expect("it ends")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Somebody at a terminal.
struct Sitting {
    child: Child,
    terminal: File,
    shown: String,
}

impl Sitting {
    fn down(mut command: Command) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        bramble::sys::terminal::set_size(&pty.master, 101, 30);
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        let child = command.spawn().expect("started");
        drop(command);
        Self { child, terminal: pty.master.into(), shown: String::new() }
    }

    fn expect(&mut self, wanted: &str) {
        let begin = Instant::now();
        while !self.shown.contains(wanted) {
            assert!(begin.elapsed() < PATIENCE, "`{wanted}` did not appear in:\n{}", self.shown);
            let mut fds = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(&self.terminal),
                nix::poll::PollFlags::POLLIN,
            )];
            if nix::poll::poll(&mut fds, 1000_u16).expect("polled") > 0 {
                let mut bytes = [0; 4096];
                let length = self.terminal.read(&mut bytes).unwrap_or(0);
                self.shown.push_str(&String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()));
            }
        }
        let at = self.shown.find(wanted).expect("found") + wanted.len();
        self.shown.drain(..at);
    }

    fn type_line(&mut self, line: &str) {
        self.terminal.write_all(format!("{line}\n").as_bytes()).expect("typed");
    }
}

/// Processes of this machine whose command line has `mark` in it.
fn at_work(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("there").filter_map(Result::ok);
    processes
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(mark))
        })
        .count()
}

#[test]
fn a_shell_in_the_draft_reaches_nothing_of_the_router() {
    needs("a_shell_in_the_draft_reaches_nothing_of_the_router", || {
        let room = Room::open(&["lab-01"]);
        let refused = room.refused(&["image", "run", "debian", "--", "true"]);
        assert!(refused.contains("`debian` has no draft"), "{refused}");
        assert!(text(&shell(&room, "")).contains("there is no draft, and nobody to ask"));
        room.bramble(&["image", "draft", "debian"]);
        let draft = room.data().join("images/debian/draft");

        let said = shell(&room, "id -un\necho $debian_chroot\ncat /etc/hostname\nexit 7\n");
        assert_eq!(String::from_utf8_lossy(&said.stdout), "root\ndraft of debian\ninstalled\n");
        assert_eq!(said.status.code(), Some(7), "{}", text(&said));

        // Each line tries something that a program of the image has no business with, and says `no` if it cannot.
        let own = std::process::id();
        let root = env!("CARGO_MANIFEST_DIR");
        #[rustfmt::skip]
        let tries = [
            ("files of the router", format!("test -e {root}")),
            ("its processes", format!("kill -0 {own} || test -e /proc/{own}")),
            ("more devices than these", "ls /dev | grep -vxE 'null|zero|full|random|urandom|tty|pts|ptmx|shm|fd|std(in|out|err)'".to_owned()),
            ("a disk, by a node in the draft", "mknod /root/disk b 254 0 && head -c 1 /root/disk".to_owned()),
            ("a disk, by a node in memory", "mknod /run/disk b 254 0 && head -c 1 /run/disk".to_owned()),
            ("a disk, by a node in /dev", "mknod /dev/disk b 254 0 && head -c 1 /dev/disk".to_owned()),
            ("the kernel's memory", "head -c 1 /proc/kcore | grep -q .".to_owned()),
            ("the kernel's settings", "echo x > /proc/sys/kernel/core_pattern".to_owned()),
            ("its magic keys", "echo h > /proc/sysrq-trigger".to_owned()),
            ("mounts", "mount -t tmpfs none /mnt".to_owned()),
            ("mounts, as root of another namespace", "unshare -Urm sh -c 'umount /proc/sys && echo x > /proc/sys/kernel/core_pattern'".to_owned()),
            ("the clock", "date -s @0".to_owned()),
            ("the name of the router", "hostname other".to_owned()),
            ("packets", "perl -MSocket -e 'socket(S, PF_INET, SOCK_RAW, 1) or exit 1'".to_owned()),
            ("the first process's files", "ls -l /proc/1/fd/ | grep -v -E 'null|pipe|total|pts|socket'".to_owned()),
            ("its rights", "grep CapEff /proc/self/status | grep -vq 00000000a80405fb".to_owned()),
        ];
        for (what, line) in tries {
            let said = shell(
                &room,
                &format!("( {line} ) >/dev/null 2>&1 && echo yes || echo no\nrm -f /root/disk\n"),
            );
            assert_eq!(String::from_utf8_lossy(&said.stdout), "no\n", "{what}: {line}\n{}", text(&said));
        }
        // And what it does have business with.
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        for (what, line, expected) in [
            ("names", "cat /etc/resolv.conf", resolv.trim_end()),
            ("packages", "dpkg -s dpkg | grep Status", "Status: install ok installed"),
            ("no service is started", "/usr/sbin/policy-rc.d ssh start; echo $?", "101"),
            ("users", "su -s /bin/sh daemon -c 'id -un'", "daemon"),
            (
                "the network of the router",
                "cat /proc/net/fib_trie | grep -c 192.168.77.1 | sed 's/[1-9][0-9]*/yes/'",
                "yes",
            ),
        ] {
            let said = shell(&room, &format!("{line}\n"));
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), expected, "{what}\n{}", text(&said));
        }
        assert!(!draft.join("usr/sbin/policy-rc.d").exists(), "what was put there is gone");
        assert!(
            !std::fs::read_to_string("/proc/mounts").expect("there").contains("images/debian"),
            "no mount is left"
        );
    });
}

#[test]
fn a_terminal_one_at_a_time_and_whatever_ends_it() {
    needs("a_terminal_one_at_a_time_and_whatever_ends_it", || {
        let room = Room::open(&["lab-01"]);
        let mut sitting = Sitting::down(room.command(&["image", "shell", "debian"]));
        sitting.expect("`debian` has no draft yet. Make one, a writable copy of `debian@1`? [Y/n]");
        sitting.type_line("y");
        sitting.expect("This is the draft of `debian`, on the router.");
        sitting.expect("(draft of debian)root@");
        sitting.type_line("tty; stty size; echo $((40 + 2))");
        sitting.expect("/dev/pts/0\r\n30 101\r\n42\r\n");
        // Job control: the terminal belongs to whoever is in front.
        sitting.type_line("sh -c \"echo in'front'; exec sleep 1000\"");
        sitting.expect("infront");
        sitting.terminal.write_all(b"\x03").expect("Ctrl-C");
        sitting.type_line("echo $?");
        sitting.expect("130");

        let busy = "somebody is at work in the draft of `debian` already";
        for refused in [
            &["image", "publish", "debian"][..],
            &["image", "discard", "debian"],
            &["image", "maintain", "debian", "lab-01"],
            &["image", "shell", "debian"],
        ] {
            let said = room.refused(refused);
            assert!(said.contains(busy), "{refused:?}: {said}");
        }
        assert!(room.bramble(&["image", "show", "debian"]).contains("A shell is open in it"));

        // The person's connection to the router ends, in the worst way.
        sitting.type_line("sleep 4242 & sleep 4243");
        eventually("it sleeps", || at_work("4242") > 0 && at_work("4243") > 0);
        kill(Pid::from_raw(sitting.child.id().cast_signed()), Signal::SIGKILL).expect("killed");
        eventually("everything inside ends", || at_work("4242") + at_work("4243") == 0);
        sitting.child.wait().expect("it ended");
        eventually("the draft is free", || {
            !room.bramble(&["image", "show", "debian"]).contains("A shell is open")
        });

        let mut sitting = Sitting::down(room.command(&["image", "shell", "debian"]));
        sitting.expect("(draft of debian)root@");
        sitting.type_line("sleep 4244 & exit 5");
        assert_eq!(sitting.child.wait().expect("it ended").code(), Some(5));
        eventually("what was left behind ends", || at_work("4244") == 0);
        let published = room.bramble(&["image", "publish", "debian"]);
        assert!(published.contains("`debian@2` is published"), "{published}");
        assert!(!room.data().join("images/debian/2/usr/sbin/policy-rc.d").exists());
    });
}

#[test]
fn a_command_is_a_job_with_its_output() {
    needs("a_command_is_a_job_with_its_output", || {
        let mut room = Room::open(&["lab-01"]);
        room.bramble(&["image", "draft", "debian"]);
        let run = |room: &Room, words: &[&str]| {
            let mut args = vec!["image", "run", "debian", "--"];
            args.extend(words);
            room.command(&args).output().expect("bramble runs")
        };
        let said = run(&room, &["dpkg-query", "-W", "-f", "${Package} ${Status}\\n", "dpkg"]);
        assert_eq!((said.status.code(), text(&said).as_str()), (Some(0), "dpkg install ok installed\n"));
        let said = run(&room, &["echo out; echo problem >&2; exit 42"]);
        assert_eq!((said.status.code(), text(&said).as_str()), (Some(42), "out\nproblem\n"));
        let jobs = room.bramble(&["job", "show", "4"]);
        assert!(
            jobs.contains("ended with exit code 42 in the draft of `debian`:") && jobs.contains("problem"),
            "{jobs}"
        );
        let said = run(&room, &["/nowhere/at all"]);
        assert_eq!(said.status.code(), Some(127), "{}", text(&said));
        // More than is remembered arrives, as far as it is asked for in time; its end always does.
        let said = run(&room, &["seq", "1", "60000"]);
        assert!(text(&said).ends_with("\n59999\n60000\n"), "{}", text(&said).len());

        // Cancelled: what runs is ended, and the job says what that means.
        room.bramble(&["image", "run", "--detach", "debian", "--", "sleep 4245; echo never"]);
        eventually("it runs", || at_work("4245") > 0);
        let list: serde_json::Value =
            serde_json::from_str(&room.bramble(&["--json", "job", "list"])).expect("JSON");
        let job = list.pointer("/jobs/0/id").and_then(serde_json::Value::as_u64).expect("a job").to_string();
        room.bramble(&["job", "cancel", &job]);
        eventually("it ends", || at_work("4245") == 0);
        eventually("the job is over", || {
            room.bramble(&["job", "show", &job]).contains("what it did until then is in the draft")
        });

        // The daemon is killed: so is everything inside, and the draft is still a draft.
        room.bramble(&["image", "run", "--detach", "debian", "--", "sleep 4246"]);
        eventually("it runs", || at_work("4246") > 0);
        room.kill_and_restart();
        eventually("it ended with the daemon", || at_work("4246") == 0);
        let said = run(&room, &["id", "-u"]);
        assert_eq!(text(&said), "0\n");
    });
}

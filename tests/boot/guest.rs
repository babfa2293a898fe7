//! A machine that runs a real Linux kernel as a program (user-mode-linux), driven through its serial console.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bramble::sim::net::NetNs;
use bramble::types::MacAddr;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Longest wait for one thing; a boot takes 25 s here, ten times that on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Waits until `is` holds.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "not seen in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a boot of the guest needs.
pub struct Boot<'a> {
    pub kernel: &'a Path,
    pub initrd: Option<&'a Path>,
    /// Disk images by position: ubda, ubdb, …
    pub disks: &'a [PathBuf],
    /// The tap interface in the switch's namespace, and the hardware address behind it.
    pub network: Option<(&'a NetNs, &'a str, MacAddr)>,
    pub cmdline: &'a str,
    /// Folder for the kernel's sockets and the console's log.
    pub work: &'a Path,
}

pub struct Guest {
    child: Child,
    keyboard: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// Everything the console has shown.
    shown: String,
    /// How much of it earlier calls have taken.
    taken: usize,
    log: PathBuf,
}

impl Guest {
    pub fn start(name: &str, boot: &Boot<'_>) -> Self {
        let mut command = match boot.network {
            Some((switch, _, _)) => switch.command(boot.kernel),
            None => Command::new(boot.kernel),
        };
        command.args([
            "mem=640M",
            "con=null",
            "con0=null,fd:2",
            "ssl0=fd:0,fd:1",
            "console=ttyS0",
            "panic=1",
        ]);
        command.arg(format!("umid={name}")).arg(format!("uml_dir={}", boot.work.join("uml").display()));
        if let Some(initrd) = boot.initrd {
            command.arg(format!("initrd={}", initrd.display()));
        }
        for (disk, letter) in boot.disks.iter().zip('a'..) {
            // A copy-on-write file of its own leaves the image as it is.
            command.arg(format!(
                "ubd{letter}={},{}",
                boot.work.join(format!("{name}.{letter}")).display(),
                disk.display()
            ));
        }
        if let Some((_, tap, mac)) = boot.network {
            command.arg(format!("vec0:transport=tap,ifname={tap},mac={mac},depth=128,gro=1"));
        }
        command.args(boot.cmdline.split_whitespace());
        // Made where the processor needs it.
        let xstate =
            boot.kernel.ancestors().map(|folder| folder.join("xstate.so")).find(|file| file.exists());
        command.envs(xstate.map(|file| ("LD_PRELOAD", file)));
        // The kernel keeps its memory in an unlinked file there; a disk would be written for nothing.
        command.env("TMPDIR", "/dev/shm");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the kernel starts");
        let keyboard = child.stdin.take().expect("piped");
        let mut console = child.stdout.take().expect("piped");
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = console.read(&mut buffer) {
                if send.send(buffer.get(..length).unwrap_or_default().to_vec()).is_err() {
                    break;
                }
            }
        });
        let log = boot.work.join(format!("{name}.console"));
        Self { child, keyboard, screen, shown: String::new(), taken: 0, log }
    }

    /// Waits until the console shows `text`, and returns what it showed before.
    pub fn expect(&mut self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            let rest = self.shown.get(self.taken..).unwrap_or_default();
            if let Some(at) = rest.find(text) {
                let before = rest.get(..at).unwrap_or_default().to_owned();
                self.taken += at + text.len();
                return before;
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.keep(&bytes),
                Err(RecvTimeoutError::Timeout) => {
                    self.give_up(&format!("`{text}` did not appear in {PATIENCE:?}"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.give_up(&format!("it ended without showing `{text}`"))
                }
            }
        }
    }

    pub fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("the console takes input");
    }

    /// Logs in at the prompt of a serial console, and makes the shell easy to follow.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.expect("login: ");
        self.type_line(user);
        self.expect("assword: ");
        self.type_line(password);
        self.expect("# ");
        self.quiet_shell();
    }

    /// Answers prompts in order.
    pub fn answer(&mut self, prompts: &[(&str, &str)]) {
        for (prompt, answer) in prompts {
            self.expect(prompt);
            self.type_line(answer);
        }
    }

    /// Logs a person of the server in at the prompt of a serial console.
    pub fn enter(&mut self, user: &str, password: &str) {
        self.answer(&[("login: ", user), ("assword: ", password)]);
        self.expect("$ ");
        self.quiet_shell();
    }

    /// Logs in with a password that was made up by the server, and chooses another.
    pub fn enter_first(&mut self, user: &str, first: &str, chosen: &str) {
        self.answer(&[("login: ", user), ("assword: ", first), ("urrent password: ", first)]);
        self.answer(&[("ew password: ", chosen), ("etype new password: ", chosen)]);
        self.expect("$ ");
        self.quiet_shell();
    }

    /// Runs one line in the shell that asks questions: its output behind the last answer, and its exit code.
    pub fn converse(&mut self, line: &str, prompts: &[(&str, &str)]) -> (String, i32) {
        self.type_line(&format!("{line}; echo \"=end=$?=\""));
        self.answer(prompts);
        self.outcome()
    }

    /// Makes the shell of whoever has just logged in easy to follow.
    pub fn quiet_shell(&mut self) {
        self.type_line("bind 'set enable-bracketed-paste off'; stty -echo; PS1=; PS2=; export PAGER=cat SYSTEMD_COLORS=0; echo read''y");
        self.expect("ready\r\n");
    }

    /// Makes the shell easy to follow that a kernel was given as its init.
    pub fn bare_shell(&mut self) {
        self.expect("# ");
        self.type_line("stty -echo; PS1=; PS2=; echo read''y");
        self.expect("ready\r\n");
    }

    /// Runs one line in the shell: its output and exit code.
    pub fn run(&mut self, line: &str) -> (String, i32) {
        self.type_line(&format!("{line}; echo \"=end=$?=\""));
        self.outcome()
    }

    /// What the line typed last said, without lines that the kernel put between, and how it ended.
    fn outcome(&mut self) -> (String, i32) {
        let output = self.expect("=end=").replace('\r', "");
        let is_kernels = |line: &&str| {
            let time = line.trim_start().strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0));
            time.is_some_and(|time| time.trim().parse::<f64>().is_ok())
        };
        let output: Vec<&str> = output.split('\n').filter(|line| !is_kernels(line)).collect();
        let output = output.join("\n");
        let code = self.expect("=").parse().expect("an exit code");
        (output, code)
    }

    /// The output of a line that must succeed.
    pub fn output(&mut self, line: &str) -> String {
        let (output, code) = self.run(line);
        assert_eq!(code, 0, "`{line}` in the guest:\n{output}");
        output.trim().to_owned()
    }

    /// Waits for the end of the machine; everything its console showed.
    pub fn ended(mut self) -> String {
        let begin = Instant::now();
        loop {
            match self.screen.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
                Ok(bytes) => self.keep(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.give_up("it did not switch off"),
            }
        }
        let status = self.child.wait().expect("a child can be waited for");
        // One power-off in 150 (of 300 counted) a timer of this kernel's host goes off behind its last words, when nothing is left
        // that could take it; nothing of the system is left either.
        let its_last =
            ["reboot: System halted", "reboot: Power down"].iter().any(|last| self.shown.contains(last));
        if !status.success() && !its_last {
            self.give_up(&format!("the kernel ended with {status}"));
        }
        std::mem::take(&mut self.shown)
    }

    /// Waits until the system has ended and the machine starts again. That is as far as a user-mode kernel comes by itself:
    /// it starts with its network interface still taken, so another machine has to go on in its place.
    pub fn restarted(mut self) {
        let begin = Instant::now();
        loop {
            match self.screen.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
                Ok(bytes) => self.keep(&bytes),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.give_up("it did not start again"),
            }
            if self.shown.get(self.taken..).is_some_and(|rest| rest.contains("Linux version")) {
                return;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.shown.push_str(&String::from_utf8_lossy(bytes));
        let _ = fs::write(&self.log, &self.shown);
    }

    /// Pulls the plug. A user-mode kernel is several processes, in a group of their own.
    fn cut(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a process number fits"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn give_up(&mut self, why: &str) -> ! {
        self.cut();
        let from = self.shown.len().saturating_sub(6000);
        let last = self.shown.get(from..).unwrap_or(&self.shown);
        panic!("{why}; the console is in {}, its end:\n{last}", self.log.display());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.cut();
    }
}

//! A room for one guest: the daemon on a laboratory's server with the Debian image imported, and a tap for the guest.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use bramble::sim::net::{Lab, Machine, PREFIX, Segment};
use bramble::types::MacAddr;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::guest::{Boot, Guest, eventually};
use crate::harness;

pub const CLIENT: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);
/// The client of the second name.
pub const SECOND: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 2]);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 50);

/// Which client this is, from 1.
fn nth(mac: MacAddr) -> u8 {
    let [_, _, _, _, _, last] = mac.octets();
    last
}

/// Its interface on the switch.
fn tap(nth: u8) -> String {
    format!("tap{nth}")
}

/// Where `tests/boot/prepare` puts things.
pub fn made() -> PathBuf {
    std::env::var_os("BRAMBLE_BOOT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/boot"), PathBuf::from)
}

/// Release of the prepared kernel, such as `6.1.176`.
pub fn release() -> String {
    let mut modules = fs::read_dir(made().join("uml/usr/lib/uml/modules")).expect("prepared");
    let first = modules.next().expect("one kernel").expect("a folder entry");
    first.file_name().into_string().expect("a plain name")
}

/// Runs `test` inside namespaces of its own, if this machine can.
pub fn needs(name: &str, test: impl FnOnce()) {
    let missing = if !nix::unistd::geteuid().is_root() {
        Some("it needs root: file handles and a system with its own users")
    } else if !made().join("tree.made").exists() || !made().join("tiny.gz").exists() {
        Some("run tests/boot/prepare first")
    } else {
        None
    };
    match missing {
        Some(why) if std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_some() => {
            panic!("{name} cannot run: {why}")
        }
        Some(why) => harness::cannot_run(name, why),
        None => harness::isolated(test),
    }
}

pub struct Room {
    lab: Lab,
    lan: Segment,
    server: Machine,
    work: tempfile::TempDir,
    daemon: Child,
}

impl Room {
    /// Starts the daemon with a client of each name and imports the system as `debian`.
    pub fn open(names: &[&str]) -> Self {
        Self::open_with(names, "")
    }

    /// The same with `more` in the configuration.
    pub fn open_with(names: &[&str], more: &str) -> Self {
        Self::open_on(names.len(), names, more)
    }

    /// The same with `taps` places for clients, of which `more` may name some.
    pub fn open_on(taps: usize, names: &[&str], more: &str) -> Self {
        let room = Self::start_on(taps, names, more);
        let tree = made().join("tree");
        room.bramble(&["image", "import", tree.to_str().expect("a plain path"), "--name", "debian"]);
        room
    }

    /// The same without a system: the clients boot what is imported as `debian`.
    pub fn start(names: &[&str], more: &str) -> Self {
        Self::start_on(names.len(), names, more)
    }

    fn start_on(taps: usize, names: &[&str], more: &str) -> Self {
        let (mut lab, lan, server) = Lab::with_server("eth0").expect("a laboratory");
        for nth in 1..=u8::try_from(taps).expect("few") {
            lab.tap(&lan, &tap(nth)).expect("a tap");
        }
        // Below target/, not /tmp: the data folder must be on a disk.
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let last = nth(CLIENT);
        let mut text = format!(
            "config bramble 'main'\n\toption enabled '1'\n\toption data '{}/data'\n\tlist network 'lan'\n\
             \toption log_level 'debug'\n\
             config room 'lab'\n\toption image 'debian'\n{more}",
            work.path().display()
        );
        for (name, nth) in names.iter().zip(last..) {
            write!(
                text,
                "config client\n\toption mac 'dc:a6:32:00:00:{nth:02x}'\n\toption name '{name}'\n\
                 \toption room 'lab'\n\toption ip '{}'\n",
                Ipv4Addr::from(u32::from(CLIENT_IP) + u32::from(nth - last))
            )
            .expect("text");
        }
        let config = work.path().join("config");
        fs::create_dir_all(&config).expect("a folder");
        fs::create_dir_all(work.path().join("data")).expect("a folder");
        fs::write(config.join("bramble"), text).expect("a file");
        fs::write(config.join("dhcp"), "").expect("a file");
        fs::write(
            config.join("network"),
            "config interface 'lan'\n\toption device 'eth0'\n\toption proto 'static'\n\
             \toption ipaddr '192.168.77.1'\n\toption netmask '255.255.255.0'\n",
        )
        .expect("a file");
        let daemon = serve(&server, work.path());
        let room = Self { lab, lan, server, work, daemon };
        room.wait_until_ready();
        room
    }

    /// Starts the daemon anew with more at the end of its configuration.
    pub fn configure(&mut self, more: &str) {
        let path = self.work.path().join("config/bramble");
        let mut text = fs::read_to_string(&path).expect("a file");
        text.push_str(more);
        fs::write(path, text).expect("a file");
        self.kill_and_restart();
    }

    fn wait_until_ready(&self) {
        eventually("the daemon is ready", || {
            self.command(&["status"]).output().expect("bramble runs").status.success()
        });
    }

    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.server.command(env!("CARGO_BIN_EXE_bramble"));
        command.arg("--socket").arg(self.work.path().join("socket")).args(args).stdin(Stdio::null());
        command
    }

    pub fn bramble(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("bramble runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "bramble {args:?}: {}\n{said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a command says that may be refused: its output, and what it complains of.
    pub fn try_bramble(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("bramble runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// What Bramble says to something that it must not do.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("bramble runs");
        assert!(!output.status.success(), "bramble {args:?} was done");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Bytes that the switch has carried to a client, by the counter of its port.
    pub fn carried(&self, mac: MacAddr) -> u64 {
        let told = self.lab.switch().command("cat").arg("/proc/self/net/dev").output().expect("cat runs");
        let table = String::from_utf8(told.stdout).expect("text");
        let port = format!("{}:", tap(nth(mac)));
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&port)).expect("its port");
        // Eight numbers of what came in, then what went out.
        line.split_whitespace().nth(8).expect("a number").parse().expect("a number")
    }

    /// What Bramble says the first client is doing, as soon as it has heard of the client's last step.
    pub fn state(&self) -> String {
        let told: serde_json::Value =
            serde_json::from_str(&self.bramble(&["--json", "client", "show", &CLIENT.to_string()]))
                .expect("JSON");
        let state = told.get("state").and_then(serde_json::Value::as_str);
        state.expect("a client has a state").to_owned()
    }

    /// The kernel parameters in the boot menu that Bramble composes for `mac`: fetched over TFTP, from the address that
    /// client has, as its boot loader would.
    pub fn parameters(&self, mac: MacAddr) -> String {
        let mut guest = self.boot("menu", mac, &made().join("tiny.gz"), "rdinit=/init quiet menu");
        guest.expect("tiny: parameters ");
        let parameters = guest.expect("\r\n");
        guest.ended();
        format!("{parameters} console=ttyS0")
    }

    pub fn boot(&self, name: &str, mac: MacAddr, initrd: &Path, cmdline: &str) -> Guest {
        Guest::start(
            name,
            &Boot {
                kernel: &made().join("uml/usr/bin/linux.uml"),
                initrd: Some(initrd),
                disks: &[],
                network: Some((self.lab.switch(), &tap(nth(mac)), mac)),
                cmdline,
                work: self.work.path(),
            },
        )
    }

    /// A kernel that mounts its root itself, as a Pi's does; without an initramfs.
    pub fn boot_by_parameters(&self, name: &str, mac: MacAddr, kernel: &Path, cmdline: &str) -> Guest {
        Guest::start(
            name,
            &Boot {
                kernel,
                initrd: None,
                disks: &[],
                network: Some((self.lab.switch(), &tap(nth(mac)), mac)),
                cmdline,
                work: self.work.path(),
            },
        )
    }

    pub fn boot_from_disk(&self, name: &str) -> Guest {
        self.boot_from_own(name, None, &[made().join("disk.ext4")])
    }

    /// A machine on the network that has its system on the first of its own `disks`.
    pub fn boot_from_disks(&self, name: &str, mac: MacAddr, disks: &[PathBuf]) -> Guest {
        self.boot_from_own(name, Some(mac), disks)
    }

    fn boot_from_own(&self, name: &str, mac: Option<MacAddr>, disks: &[PathBuf]) -> Guest {
        let tap = mac.map(|mac| tap(nth(mac))).unwrap_or_default();
        Guest::start(
            name,
            &Boot {
                kernel: &made().join("uml/usr/bin/linux.uml"),
                initrd: None,
                disks,
                network: mac.map(|mac| (self.lab.switch(), tap.as_str(), mac)),
                cmdline: "root=/dev/ubda rw",
                work: self.work.path(),
            },
        )
    }

    /// One more machine on the network, with this address.
    pub fn neighbour(&mut self, ip: Ipv4Addr) -> Machine {
        let machine = self.lab.client(&self.lan, MacAddr::new([0x02, 0, 0, 0, 0, 9])).expect("a machine");
        machine.address("eth0", ip, PREFIX).expect("an address");
        machine
    }

    /// What `bramble exports` prints for a machine that has the images in `folder`.
    pub fn exports(&self, folder: &Path) -> String {
        let config = self.work.path().join("config/bramble");
        let words = [
            "exports".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
            "--folder".as_ref(),
            folder.as_os_str(),
        ];
        let output = self.command(&[]).args(words).output().expect("bramble runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Adds an account; the password that was made up for it.
    pub fn add_account(&self, name: &str, about: &[&str]) -> String {
        let told = self.bramble(&[&["--json", "account", "add", name], about].concat());
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let password = told.pointer("/accounts/0/password").and_then(serde_json::Value::as_str);
        password.expect("a password was made up").to_owned()
    }

    /// A folder that goes with the room.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// The folder with everything the daemon keeps.
    pub fn data(&self) -> PathBuf {
        self.work.path().join("data")
    }

    /// Changes the configuration, and waits until the daemon has read it.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let file = self.work.path().join("config/bramble");
        let text = fs::read_to_string(&file).expect("written at the start");
        assert!(text.contains(from), "`{from}` is in the configuration");
        fs::write(&file, text.replace(from, to)).expect("a file");
        let log = self.work.path().join("daemon.log");
        let loaded = || fs::read_to_string(&log).expect("a log").matches("configuration applied").count();
        let before = loaded();
        let daemon = Pid::from_raw(i32::try_from(self.daemon.id()).expect("a process number fits"));
        kill(daemon, Signal::SIGHUP).expect("it is running");
        eventually("the daemon has read its configuration", || loaded() != before);
    }

    /// The daemon is gone until [`Self::start_again`].
    pub fn stop(&mut self) {
        self.daemon.kill().expect("it is running");
        self.daemon.wait().expect("a child can be waited for");
    }

    pub fn start_again(&mut self) {
        self.daemon = serve(&self.server, self.work.path());
        self.wait_until_ready();
    }

    pub fn kill_and_restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// As procd does it when the package is upgraded: program and agent are other files, the daemon is told to end and
    /// the new one is started.
    pub fn upgrade(&mut self) {
        for file in [program(self.work.path()), self.work.path().join("agents/agent-amd64")] {
            let mut bytes = fs::read(&file).expect("a file");
            bytes.extend_from_slice(b"another build");
            let new = file.with_extension("new");
            fs::write(&new, bytes).expect("a file");
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("a mode");
            fs::rename(&new, &file).expect("upgraded");
        }
        let daemon = Pid::from_raw(i32::try_from(self.daemon.id()).expect("a process number fits"));
        kill(daemon, Signal::SIGTERM).expect("it is running");
        let ended = self.daemon.wait().expect("a child can be waited for");
        assert!(ended.success(), "it ends well when it is told to: {ended}");
        self.start_again();
    }

    /// The published tree holds exactly what was imported.
    pub fn assert_untouched(&self) {
        let mut check = std::process::Command::new("sha256sum");
        let tree = self.work.path().join("data/images/debian/1");
        let checked = check
            .args(["--check", "--quiet", "--strict"])
            .arg(made().join("tree.sha256"))
            .current_dir(tree)
            .output()
            .expect("sha256sum runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

/// The daemon's program, which an upgrade replaces.
fn program(work: &Path) -> PathBuf {
    work.join("bramble")
}

/// The daemon with its agents; what it logs goes to the test's own output.
fn serve(server: &Machine, work: &Path) -> Child {
    let agents = work.join("agents");
    if !agents.exists() {
        fs::create_dir(&agents).expect("a folder");
        fs::copy(made().join("agent-amd64"), agents.join("agent-amd64")).expect("prepared");
        fs::copy(env!("CARGO_BIN_EXE_bramble"), program(work)).expect("built");
    }
    let mut command = server.command(program(work));
    command.arg("--socket").arg(work.join("socket")).args(["serve", "--any-storage", "--config"]);
    command.arg(work.join("config/bramble")).arg("--agents").arg(agents);
    let log = fs::OpenOptions::new().create(true).append(true).open(work.join("daemon.log")).expect("a log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("bramble starts")
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            let mut log = String::new();
            let _ = fs::File::open(self.work.path().join("daemon.log"))
                .map(|mut file| file.read_to_string(&mut log));
            let from = log.char_indices().rev().nth(12_000).map_or(0, |(at, _)| at);
            println!("the daemon's log:\n{}", log.get(from..).unwrap_or_default());
        }
    }
}

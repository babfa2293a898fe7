//! The daemon in a laboratory: its throw-away configuration, the process, and questions to it by its own command line.
//!
//! It is started as a program of its own, as on a router, so what it uses can be measured and it can be killed.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that the rest need not")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::net::{Machine, SERVER};
use crate::types::{ByteSize, MacAddr};

/// How long the daemon may take until it answers.
const READY: Duration = Duration::from_mins(1);
/// How long it may take to stop when asked to.
const STOP: Duration = Duration::from_mins(1);

/// Why the daemon of a laboratory is not running.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("`{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be started", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the daemon ended at once ({status}); its last words:\n{log}")]
    Ended { status: ExitStatus, log: String },
    #[error("the daemon did not answer within {} s; its last words:\n{log}", READY.as_secs())]
    Silent { log: String },
    #[error("the daemon did not stop within {} s", STOP.as_secs())]
    Stuck,
    #[error("`bramble {command}` failed:\n{output}")]
    Command { command: String, output: String },
    #[error("the daemon cannot be watched")]
    Watch(#[source] io::Error),
}

/// A client in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub mac: MacAddr,
    pub name: String,
}

/// The configuration of a laboratory: one network `lan`, one room, one image.
#[derive(Clone, Debug)]
pub struct Site {
    /// Everything is below this folder.
    pub folder: PathBuf,
    /// Interface of the server.
    pub device: String,
    pub image: String,
    pub seats: Vec<Seat>,
    /// More lines for `/etc/config/bramble` and `/etc/config/dhcp`.
    pub more_bramble: String,
    pub more_dhcp: String,
}

impl Site {
    pub fn new(folder: &Path, seats: Vec<Seat>) -> Self {
        Self {
            folder: folder.to_owned(),
            device: "br-lan".to_owned(),
            image: "sample".to_owned(),
            seats,
            more_bramble: String::new(),
            more_dhcp: String::new(),
        }
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("config/bramble")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn agents(&self) -> PathBuf {
        self.folder.join("agents")
    }

    /// Writes (again) the UCI files; [`Server::reload`] makes a running daemon read them.
    pub fn write(&self) -> Result<(), ServerError> {
        let mut bramble = format!(
            "config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n\tlist network 'lan'\n\n\
             config room 'classroom'\n\toption image '{}'\n",
            self.data().display(),
            self.image
        );
        for Seat { mac, name } in &self.seats {
            write!(
                bramble,
                "\nconfig client\n\toption mac '{mac}'\n\toption name '{name}'\n\toption room 'classroom'\n"
            )
            .expect("writing to a String cannot fail");
        }
        bramble.push_str(&self.more_bramble);
        let network = format!(
            "config interface 'lan'\n\toption device '{}'\n\toption proto 'static'\n\toption ipaddr '{SERVER}'\n\
             \toption netmask '255.255.255.0'\n",
            self.device
        );
        let dhcp = format!(
            "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '20'\n\toption limit '230'\n\
             \toption leasetime '12h'\n{}",
            self.more_dhcp
        );
        for folder in [self.folder.join("config"), self.data(), self.agents()] {
            fs::create_dir_all(&folder)
                .map_err(|source| ServerError::Write { path: folder.clone(), source })?;
        }
        let texts = [("config/bramble", &bramble), ("config/network", &network), ("config/dhcp", &dhcp)];
        for (name, text) in texts {
            self.put(name, text.as_bytes())?;
        }
        // Simulated Pis read the agent and cannot run it.
        for arch in crate::types::Arch::ALL {
            self.put(&format!("agents/agent-{arch}"), format!("the agent for {arch}\n").as_bytes())?;
        }
        Ok(())
    }

    fn put(&self, name: &str, content: &[u8]) -> Result<(), ServerError> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(|source| ServerError::Write { path, source })
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident memory now, and the most there was since [`Server::forget_peak`].
    pub memory: ByteSize,
    pub peak: ByteSize,
    /// What of the memory now is no page of a file, such as the program itself.
    pub own: ByteSize,
}

/// A running daemon. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    machine: Machine,
    site: Site,
    child: Child,
}

impl Server {
    /// Starts `program serve` on `machine` and waits until it answers.
    pub fn start(program: &Path, machine: &Machine, site: Site) -> Result<Self, ServerError> {
        site.write()?;
        let child = spawn(program, machine, &site)?;
        let mut server = Self { program: program.to_owned(), machine: machine.clone(), site, child };
        server.wait_until_ready()?;
        Ok(server)
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    /// To be changed, then [`Self::reload`].
    pub fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Process number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("Linux numbers processes below 2^22"))
    }

    /// Kills it as a power cut would, and waits for its end.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.child.kill().map_err(ServerError::Watch)?;
        self.child.wait().map(drop).map_err(ServerError::Watch)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<ExitStatus, ServerError> {
        self.signal(Signal::SIGTERM)?;
        let give_up = Instant::now() + STOP;
        while Instant::now() < give_up {
            if let Some(status) = self.child.try_wait().map_err(ServerError::Watch)? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(ServerError::Stuck)
    }

    /// Starts it again, after [`Self::kill`] or [`Self::stop`].
    pub fn again(&mut self) -> Result<(), ServerError> {
        self.child = spawn(&self.program, &self.machine, &self.site)?;
        self.wait_until_ready()
    }

    /// Writes the site's configuration and makes the daemon read it.
    pub fn reload(&self) -> Result<(), ServerError> {
        self.site.write()?;
        self.signal(Signal::SIGHUP)
    }

    pub fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        kill(self.pid(), signal).map_err(|errno| ServerError::Watch(errno.into()))
    }

    /// Whether it is still running.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `bramble ARGS`, asked of this daemon.
    pub fn cli(&self, args: &[&str]) -> Result<Output, ServerError> {
        Command::new(&self.program)
            .arg("--socket")
            .arg(self.site.socket())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ServerError::Start { program: self.program.clone(), source })
    }

    /// As [`Self::cli`]; the output of a command that must succeed.
    pub fn tell(&self, args: &[&str]) -> Result<String, ServerError> {
        let output = self.cli(args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = text(&output.stdout) + &text(&output.stderr);
        Err(ServerError::Command { command: args.join(" "), output: said })
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        last_words(&self.site)
    }

    pub fn usage(&self) -> Result<Usage, ServerError> {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).map_err(ServerError::Watch)
        };
        let (stat, status) = (read("stat")?, read("status")?);
        // The second field is the name in parentheses, which may hold anything; the 14th and 15th are ticks.
        let ticks: u64 = stat
            .rsplit(") ")
            .next()
            .into_iter()
            .flat_map(|rest| rest.split(' ').skip(11).take(2))
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|n| u64::try_from(n).ok());
        let memory = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
            ByteSize(kib.unwrap_or(0) * 1024)
        };
        Ok(Usage {
            cpu: Duration::from_millis(ticks * 1000 / per_second.unwrap_or(100)),
            memory: memory("VmRSS:"),
            peak: memory("VmHWM:"),
            own: memory("RssAnon:"),
        })
    }

    /// Lets [`Usage::peak`] begin anew.
    pub fn forget_peak(&self) -> Result<(), ServerError> {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").map_err(ServerError::Watch)
    }

    /// Asks by its own command line until it answers.
    fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let give_up = Instant::now() + READY;
        loop {
            if self.site.socket().exists() && self.cli(&["status", "--json"])?.status.success() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().map_err(ServerError::Watch)? {
                return Err(ServerError::Ended { status, log: self.last_words() });
            }
            if Instant::now() > give_up {
                return Err(ServerError::Silent { log: self.last_words() });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

fn spawn(program: &Path, machine: &Machine, site: &Site) -> Result<Child, ServerError> {
    let path = site.log();
    let open = || {
        let log = File::options().create(true).append(true).open(&path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open().map_err(|source| ServerError::Write { path: path.clone(), source })?;
    // One left by a daemon that was killed would look like an answer.
    drop(fs::remove_file(site.socket()));
    machine
        .command(program)
        .arg("--socket")
        .arg(site.socket())
        .args(["serve", "--any-storage", "--config"])
        .arg(site.config())
        .arg("--agents")
        .arg(site.agents())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|source| ServerError::Start { program: program.to_owned(), source })
}

fn last_words(site: &Site) -> String {
    let log = fs::read(site.log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

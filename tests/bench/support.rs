//! What every bench stands on: a server in a namespace whose CPU time is read exactly, medians, and ratios.
//!
//! A bench is a program that is run by hand (`cargo bench --bench nfs`). It starts Bramble and its peers one after the
//! other on the same ports of the same laboratory, round after round so that noise of the machine falls on all, and
//! prints the median of each figure with its ratio to Bramble's. CPU seconds of the server process are the figure to
//! trust; megabytes a second share the cores with the load.

#![expect(clippy::print_stdout, reason = "a bench is there to print")]
#![allow(dead_code, reason = "each bench uses its part")]

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bramble::sim::net::Machine;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

/// A server process that ends with this value.
pub struct Server {
    pub name: &'static str,
    child: Child,
}

impl Server {
    /// Starts `command` and waits until `ready` says so, at most twenty seconds.
    pub fn start(name: &'static str, mut command: Command, mut ready: impl FnMut() -> bool) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started ({command:?}): {e}"));
        let begin = Instant::now();
        while !ready() {
            let gone = child.try_wait().expect("a child can be asked");
            if gone.is_some() || begin.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                let mut said = String::new();
                let _ = child.stderr.take().expect("piped").read_to_string(&mut said);
                panic!("{name} did not get ready ({gone:?}); it said:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Whatever it still says must not fill the pipe and stop it.
        let mut said = child.stderr.take().expect("piped");
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { name, child }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process number fits"))
    }

    /// CPU time of all its threads so far, those that have ended included; children that it waited for are not.
    pub fn cpu(&self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid()).expect("a running process has a clock");
        Duration::from(clock.now().expect("the clock can be read"))
    }

    /// The most memory it has had resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells VmHWM");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number of kB")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let begin = Instant::now();
        while self.child.try_wait().is_ok_and(|gone| gone.is_none()) {
            if begin.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Path of a program, or an explanation of how to get it.
pub fn program(name: &str, package: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("this bench compares with `{name}`; install Debian's {package}"))
}

/// Whether something listens on a TCP port of `machine`.
pub fn listens(machine: &Machine, address: Ipv4Addr, port: u16) -> bool {
    machine.run(|| std::net::TcpStream::connect((address, port))).is_ok()
}

/// One figure of one server, over all rounds.
#[derive(Default)]
struct Series(Vec<f64>);

impl Series {
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Figures by test, server and unit; prints a table with ratios to the first server named.
#[derive(Default)]
pub struct Figures {
    rows: Vec<(String, &'static str, &'static str, Series)>,
}

impl Figures {
    pub fn add(&mut self, test: &str, server: &'static str, unit: &'static str, value: f64) {
        let found = self.rows.iter_mut().find(|(t, s, u, _)| t == test && *s == server && *u == unit);
        if let Some((_, _, _, series)) = found {
            series.0.push(value);
        } else {
            self.rows.push((test.to_owned(), server, unit, Series(vec![value])));
        }
    }

    pub fn print(&self) {
        println!("{:<34} {:<12} {:>12}  {:<12} {:>8}  rounds", "test", "server", "median", "unit", "ratio");
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|a, b| (&a.0, a.2).cmp(&(&b.0, b.2)));
        for (test, server, unit, series) in rows {
            let ours = self.rows.iter().find(|(t, _, u, _)| t == test && u == unit);
            let ratio = ours.map_or(f64::NAN, |(_, _, _, ours)| series.median() / ours.median());
            let all: Vec<String> = series.0.iter().map(|v| format!("{v:.2}")).collect();
            println!(
                "{test:<34} {server:<12} {:>12.3}  {unit:<12} {ratio:>7.2}x  {}",
                series.median(),
                all.join(" ")
            );
        }
    }
}

//! What the agent says, and to whom: the kernel's log, the screen, the server.
//!
//! The kernel's log carries every line; it is on all consoles, in the order of everything else that happens, and
//! systemd's journal takes it over. Lines of trouble are errors there, which `quiet` on the command line does not hide.
//! The server gets the same lines as [`Report`]s, best effort: a lost datagram loses a line, nothing waits for it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::proto::agent::{Phase, Proof, REPORT_PORT, Report};

/// Ports that only root can send from, and that the kernel's NFS client does not use (it starts at 665).
const PRIVILEGED: std::ops::RangeInclusive<u16> = 512..=664;

/// Where lines go.
#[derive(Debug, Default)]
pub struct Console {
    log: Option<File>,
    server: Option<UdpSocket>,
    proof: Option<Proof>,
}

impl Console {
    /// Opens the kernel's log. Called again once `/dev` is there, if it was not.
    pub fn open(&mut self) {
        // A process may write ten lines in five seconds, then lines are lost; a boot has more to say. systemd lifts
        // the same limit when it starts.
        let _ = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
        if self.log.is_none() {
            self.log = OpenOptions::new().write(true).open("/dev/kmsg").ok();
        }
    }

    /// From now on the server hears of it too.
    pub fn report_to(&mut self, server: Ipv4Addr) {
        let bound = PRIVILEGED.rev().find_map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok());
        self.server = bound.and_then(|socket| {
            socket.set_nonblocking(true).ok()?;
            socket.connect(SocketAddr::from((server, REPORT_PORT))).ok()?;
            Some(socket)
        });
    }

    /// From now on the server knows that it is this client's agent that speaks.
    pub fn show(&mut self, proof: Option<Proof>) {
        self.proof = proof;
    }

    /// A step of the boot is done.
    pub fn milestone(&mut self, phase: Phase, message: &str) {
        self.line(6, message);
        self.report(phase, message);
    }

    /// What happened, for who looks after this client; the server knows it already.
    pub fn note(&mut self, message: &str) {
        self.line(6, message);
    }

    /// The last word of a boot; only the server can still hear it.
    pub fn last_word(&mut self, message: &str) {
        self.line(5, message);
        self.report(Phase::Off, message);
    }

    /// Something did not work, and the boot goes on.
    pub fn trouble(&mut self, message: &str) {
        self.line(3, message);
        self.report(Phase::Trouble, message);
    }

    /// The boot cannot go on: said in full on the screen, to whoever sits before it.
    pub fn failed(&mut self, what: &str, remedy: &str, seconds: u64) {
        self.line(2, &format!("this computer cannot start: {what}"));
        self.report(Phase::Failed, what);
        let text = format!(
            "\r\n\r\n  This computer cannot start.\r\n\r\n  What happened:  {what}\r\n  What to do:     {remedy}\r\n\r\n  \
             It tries again by itself in {seconds} seconds.\r\n\r\n"
        );
        if let Ok(mut screen) = OpenOptions::new().write(true).open("/dev/console") {
            let _ = screen.write_all(text.as_bytes());
        }
    }

    /// `level` as the kernel numbers them: 2 critical, 3 error, 5 notice, 6 information.
    fn line(&mut self, level: u8, message: &str) {
        let line = format!("<{level}>bramble-agent: {}\n", message.replace(['\n', '\r'], " "));
        match &mut self.log {
            Some(log) => drop(log.write_all(line.as_bytes())),
            None => {
                // Without a log there is the screen, which the kernel gave us as standard error.
                let _ = std::io::stderr().write_all(line.trim_start_matches(|c| c != 'b').as_bytes());
            }
        }
    }

    fn report(&self, phase: Phase, message: &str) {
        if let Some(server) = &self.server {
            let datagram = Report::new(phase, message).with(self.proof).encode();
            // An error is about an earlier datagram (nobody listened); this one is sent after it.
            if server.send(&datagram).is_err() {
                let _ = server.send(&datagram);
            }
        }
    }
}

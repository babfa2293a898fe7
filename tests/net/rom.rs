//! The simulated Pis themselves, held against a server that real Pis boot from: dnsmasq, set up as LTSP sets it up.

use std::ops::ControlFlow;
use std::process::{Child, Stdio};
use std::sync::mpsc::sync_channel;

use bramble::sim::net::{Lab, Machine, SERVER};
use bramble::sim::pi::{Board, Failure, News, Options, Rom, Stage, power_on};
use bramble::sim::sample::{Release, boot_folder, write_tree};

use crate::harness::{isolated, program};

/// dnsmasq as DHCP and TFTP server of a laboratory.
struct Dnsmasq(Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("dnsmasq is killed");
    }
}

/// Starts dnsmasq with `more` options and waits until it serves.
fn dnsmasq(server: &Machine, files: &std::path::Path, more: &[&str]) -> Option<Dnsmasq> {
    let mut child = server
        .command(program("dnsmasq", "dnsmasq-base")?)
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="])
        .args(["--interface=br-lan", "--bind-interfaces", "--no-ping", "--log-facility=-", "--log-dhcp"])
        .args(["--dhcp-range=192.168.77.20,192.168.77.250,12h", "--dhcp-authoritative", "--enable-tftp"])
        .arg(format!("--dhcp-leasefile={}", files.join("leases").display()))
        .arg(format!("--tftp-root={}", files.join("tftp").display()))
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dnsmasq starts");
    let log = child.stderr.take().expect("a pipe");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(log));
    let serving = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("TFTP root")));
    assert!(serving.is_some(), "dnsmasq ended before it served");
    // Somebody must read on, or it stops when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    Some(Dnsmasq(child))
}

/// Boots the boards with these numbers; their failures in the same order, for nobody serves a root here.
fn boot(boards: &[u16], more: &[&str]) -> Option<Vec<(Rom, Failure)>> {
    let folder = tempfile::tempdir().expect("a folder");
    write_tree(&folder.path().join("tree"), Release::Trixie).expect("a sample");
    let boot = boot_folder(&folder.path().join("tree"), Release::Trixie);
    let pin = "07".repeat(32);
    let cmdline = format!(
        "root=/dev/nfs nfsroot={SERVER}:/image,vers=3,tcp,nolock ip=dhcp init=/.bramble/agent bramble.pin={pin}\n"
    );
    std::fs::write(boot.join("cmdline.txt"), cmdline).expect("written");
    std::os::unix::fs::symlink(boot, folder.path().join("tftp")).expect("linked");

    let (mut lab, lan, server) = Lab::with_server("br-lan").expect("a laboratory");
    let _dnsmasq = dnsmasq(&server, folder.path(), more)?;
    let (tell, news) = sync_channel::<(usize, News)>(16);
    let pis: Vec<_> = boards
        .iter()
        .map(|n| {
            let board = Board::nth(*n);
            let machine = lab.client(&lan, board.mac).expect("a machine");
            let pi = power_on(board, machine, Options::default(), usize::from(*n), tell.clone());
            (board.rom, pi.expect("a thread"))
        })
        .collect();
    drop(tell);
    let _: ControlFlow<()> = news.iter().try_for_each(|_| ControlFlow::Continue(()));
    let ended = |(rom, pi): (Rom, std::thread::JoinHandle<_>)| {
        let outcome: Result<_, Failure> = pi.join().expect("no panic");
        (rom, outcome.map(drop).expect_err("nobody serves a root"))
    };
    Some(pis.into_iter().map(ended).collect())
}

const NO_ROOT: &str = "could not ask the portmapper for MOUNT: no answer from 192.168.77.1 on UDP port 111";

#[test]
fn every_rom_boots_from_dnsmasq_as_ltsp_sets_it_up() {
    isolated(|| {
        let padded = ["--pxe-service=0,Raspberry Pi Boot   ", "--dhcp-reply-delay=1"];
        // One after the other: dnsmasq answers nobody else while it waits before an answer.
        let mut failures = Vec::new();
        for board in [0, 3, 1, 2] {
            let Some(ended) = boot(&[board], &padded) else { return };
            failures.extend(ended);
        }
        let roms: Vec<Rom> = failures.iter().map(|(rom, _)| *rom).collect();
        assert_eq!(roms, [Rom::Pi3B, Rom::Pi3BPlus, Rom::Pi4, Rom::Pi5]);
        for (rom, failure) in failures {
            assert_eq!((failure.stage, failure.reason.as_str()), (Stage::Mount, NO_ROOT), "{rom:?}");
        }
    });
}

/// Boots a Pi 3B and a Pi 4 from a dnsmasq that only the second can boot from.
fn only_the_pi_3b_fails(options: &[&str], reason: &str) {
    let Some(failures) = boot(&[0, 1], options) else { return };
    let ended: Vec<_> =
        failures.iter().map(|(_, failure)| (failure.stage, failure.reason.as_str())).collect();
    assert_eq!(ended, [(Stage::Address, reason), (Stage::Mount, NO_ROOT)]);
}

#[test]
fn a_pi_3b_misses_an_answer_that_comes_at_once() {
    isolated(|| only_the_pi_3b_fails(&["--pxe-service=0,Raspberry Pi Boot   "], "no answer to 5 DISCOVERs"));
}

#[test]
fn a_pi_3b_cannot_read_an_unpadded_menu() {
    let reason = "answers, but none to boot from: the boot menu's entry is not padded for this ROM's bug";
    isolated(|| only_the_pi_3b_fails(&["--pxe-service=0,Raspberry Pi Boot", "--dhcp-reply-delay=1"], reason));
}

//! NFS, MOUNT and the portmapper asked by programs that others wrote: libnfs, rpcinfo and showmount.

use std::path::Path;
use std::process::Command;

use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::sim::pi::Options;

use crate::classroom::{boot, classroom};
use crate::harness::{isolated, program};

/// What a program of the client's says; it must end well.
fn said(mut command: Command) -> Vec<u8> {
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    output.stdout
}

fn run(machine: &Machine, program: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = machine.command(program);
    command.args(args);
    said(command)
}

#[test]
fn programs_of_others_find_mount_list_and_read() {
    isolated(|| {
        let found = (
            program("nfs-ls", "libnfs-utils"),
            program("nfs-cat", "libnfs-utils"),
            program("rpcinfo", "rpcbind"),
            program("showmount", "nfs-common"),
        );
        let (Some(ls), Some(cat), Some(rpcinfo), Some(showmount)) = found else { return };
        let (folder, mut room) = classroom(1);
        let up = boot(&mut room, Options { skip_walk: true }).remove(0);
        let (mac, address) = (room.boards[0].mac, up.given.address);
        drop(up);
        let (lab, lan) = room.lab();
        let client = lab.client(lan, mac).expect("a client");
        client.address("eth0", address, PREFIX).expect("an address");

        let server = SERVER.to_string();
        let table = String::from_utf8(run(&client, &rpcinfo, &["-p", &server])).expect("text");
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
        for row in [
            "100000 2 tcp 111",
            "100000 2 udp 111",
            "100003 3 tcp 2049",
            "100005 3 tcp 2049",
            "100005 3 udp 2049",
        ] {
            assert!(rows.iter().any(|found| found.join(" ") == row), "{row} is not in:\n{table}");
        }
        for (protocol, number) in [("-t", "100003"), ("-t", "100005"), ("-u", "100005")] {
            let answer = run(&client, &rpcinfo, &[protocol, &server, number, "3"]);
            assert!(String::from_utf8_lossy(&answer).contains("ready and waiting"), "{protocol} {number}");
        }
        let exports = String::from_utf8(run(&client, &showmount, &["-e", &server])).expect("text");
        assert!(exports.contains("/image/sample/1"), "{exports}");

        let url = |path: &str| format!("nfs://{server}/image/sample/1/{path}?version=3");
        let sample = folder.path().join("sample");
        let listed = String::from_utf8(run(&client, &ls, &["-R", &url("")])).expect("text");
        let mut original = std::fs::read_dir(sample.join("etc")).expect("a folder").peekable();
        assert!(original.peek().is_some());
        for entry in original {
            let name = entry.expect("an entry").file_name().into_string().expect("text");
            let ending = format!("/{name}");
            let is_there = |line: &str| line.ends_with(&ending) || line.ends_with(&format!(" {name}"));
            assert!(listed.lines().any(is_there), "{name} is not in:\n{listed}");
        }
        let release = run(&client, &cat, &[&url("usr/lib/os-release")]);
        assert_eq!(release, std::fs::read(sample.join("usr/lib/os-release")).expect("read"));

        // Somebody else's laptop on the same network sees that there is a server, and nothing of the image.
        let (lab, lan) = room.lab();
        let laptop = lab.client(lan, bramble::types::MacAddr::new([2, 0, 0, 0, 0, 9])).expect("a laptop");
        laptop.address("eth0", std::net::Ipv4Addr::new(192, 168, 77, 250), PREFIX).expect("an address");
        let refused = laptop.command(&cat).arg(url("usr/lib/os-release")).output().expect("started");
        assert!(refused.stdout.is_empty() && !refused.status.success());
        let exports = String::from_utf8(run(&laptop, &showmount, &["-e", &server])).expect("text");
        assert!(!exports.contains("/image"), "{exports}");
    });
}

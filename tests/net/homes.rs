//! A home over NFS, written and read by programs that others wrote (libnfs): with a session, without one, and by strangers.

use std::path::Path;
use std::process::Output;

use bramble::sim::net::{Machine, PREFIX, SERVER};
use bramble::sim::pi::Options;
use bramble::types::MacAddr;

use crate::agents::{open, pupils, secret, user};
use crate::classroom::{boot, classroom, in_the_clear};
use crate::harness::{isolated, program};

/// Of the first account.
const UID: u32 = 10_000;

fn url(uid: u32, path: &str) -> String {
    format!("nfs://{SERVER}/home/pupil00/{path}?version=3&uid={uid}&gid={uid}")
}

fn run(machine: &Machine, program: &Path, args: &[&str]) -> Output {
    machine.command(program).args(args).output().expect("the program starts")
}

fn must(output: &Output) -> &[u8] {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    &output.stdout
}

#[test]
fn a_home_is_written_while_its_session_lasts_and_by_nobody_else() {
    isolated(|| {
        let found = (
            program("nfs-cp", "libnfs-utils"),
            program("nfs-cat", "libnfs-utils"),
            program("nfs-ls", "libnfs-utils"),
        );
        let (Some(cp), Some(cat), Some(ls)) = found else { return };
        let (folder, mut room) = classroom(2);
        in_the_clear(&mut room);
        pupils(&room, 2);
        let ups = boot(&mut room, Options { skip_walk: true });
        let essay = folder.path().join("essay");
        let text: Vec<u8> =
            (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(&essay, &text).expect("written");
        let essay = essay.to_str().expect("a plain path");
        let seat = room.machine(0).expect("a machine").clone();
        let on_disk = room.server.site().data().join("homes/pupil00");

        assert!(!run(&seat, &cp, &[essay, &url(UID, "essay")]).status.success(), "nobody is logged in");
        let mut channel = open(&room, &ups[0], 0, &[]).expect("welcome");
        let (person, session, _) = channel.log_in(&user(0), &secret()).expect("logged in");
        assert_eq!(person.uid.0, UID);

        must(&run(&seat, &cp, &[essay, &url(UID, "essay")]));
        assert!(
            std::fs::read(on_disk.join("essay")).expect("there") == text,
            "what was written is on the disk"
        );
        assert!(must(&run(&seat, &cat, &[&url(UID, "essay")])) == text.as_slice(), "and is read");
        let listed = String::from_utf8_lossy(must(&run(&seat, &ls, &[&url(UID, "")]))).into_owned();
        assert!(listed.contains("essay"), "{listed}");
        // Root of the seat counts as the person; anybody else there is nobody.
        must(&run(&seat, &cp, &[essay, &url(0, "as root")]));
        for uid in [UID + 1, 65_534] {
            assert!(!run(&seat, &cp, &[essay, &url(uid, "other")]).status.success(), "{uid}");
            let read = run(&seat, &cat, &[&url(uid, "essay")]);
            assert!(!read.status.success() && read.stdout.is_empty(), "{uid}");
        }

        // Root on another seat, where somebody else is logged in; and a stranger's laptop. Any uid, any port: libnfs
        // takes a privileged one as root does, and a plain one without the right to.
        let mut other = open(&room, &ups[1], 1, &[]).expect("welcome");
        other.log_in(&user(1), &secret()).expect("logged in");
        let second = room.machine(1).expect("a machine").clone();
        let (lab, lan) = room.lab();
        let lan = lan.clone();
        let laptop = lab.client(&lan, MacAddr::new([2, 0, 0, 0, 0, 9])).expect("a laptop");
        laptop.address("eth0", std::net::Ipv4Addr::new(192, 168, 77, 250), PREFIX).expect("an address");
        for stranger in [&second, &laptop] {
            for uid in [0, UID, UID + 1] {
                let read = run(stranger, &cat, &[&url(uid, "essay")]);
                assert!(!read.status.success() && read.stdout.is_empty(), "{uid}");
                assert!(!run(stranger, &cp, &[essay, &url(uid, "planted")]).status.success(), "{uid}");
                let listed = run(stranger, &ls, &[&url(uid, "")]);
                assert!(!String::from_utf8_lossy(&listed.stdout).contains("essay"), "{uid}");
            }
        }
        if let Some(setpriv) = program("setpriv", "util-linux") {
            let cat = cat.to_str().expect("a plain path");
            let plain = ["--bounding-set=-all", "--inh-caps=-all", cat, &url(UID, "essay")];
            let read = run(&second, &setpriv, &plain);
            assert!(!read.status.success() && read.stdout.is_empty(), "from a plain port");
        }

        channel.log_out(session).expect("logged out");
        assert!(!run(&seat, &cat, &[&url(UID, "essay")]).status.success(), "the session is over");
        assert!(!run(&seat, &cp, &[essay, &url(UID, "late")]).status.success());
        let mut names: Vec<_> = std::fs::read_dir(&on_disk)
            .expect("a home")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["as root", "essay"]);
    });
}

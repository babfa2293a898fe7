//! A home as a file system: pjdfstest and fsx on a home that a real kernel has mounted, and the same programs on an export
//! of that kernel's own NFS server, so that what NFS version 3 itself cannot do is told from what ours cannot.

use std::collections::BTreeMap;
use std::fs;

use crate::guest::Guest;
use crate::people::initrd;
use crate::room::{CLIENT, Room, made, needs};

const SVEN: &str = "svens own password";

/// Where the programs are, seen from a home.
const TOOLS: &str = "Shared/tools/bin";

/// The kernel's server, exporting as Bramble does: every call is of the one person. The disk is a file in memory.
const KERNEL_SERVER: &str = "set -e; PATH=$PATH:/usr/sbin:/sbin; cd ~sven; bin=$PWD/Shared/tools/bin
    umask 022; modprobe loop; modprobe nfsd
    mkdir -p /srv/home /mnt/home /var/lib/nfs/v4recovery
    truncate -s 96M /run/home.ext4; mke2fs -q -t ext4 /run/home.ext4; mount -o loop /run/home.ext4 /srv/home
    mkdir /srv/home/sven; chown sven:sven /srv/home/sven; chmod 700 /srv/home/sven
    mount -t nfsd nfsd /proc/fs/nfsd; systemctl start rpcbind
    grep -q nfs /etc/services || printf 'nfs 2049/tcp\nnfs 2049/udp\nsunrpc 111/tcp\nsunrpc 111/udp\nmountd 20048/tcp\nmountd 20048/udp\n' >> /etc/services
    $bin/rpc.mountd -N 4; $bin/rpc.nfsd -p 2049 -U -N 4 -V 3 2
    $bin/exportfs -o rw,all_squash,anonuid=$(id -u sven),anongid=$(id -g sven),no_subtree_check,sync 127.0.0.1:/srv/home/sven
    mount -t nfs -o vers=3,nolock,proto=tcp 127.0.0.1:/srv/home/sven /mnt/home";

/// What pjdfstest is told: the features of Linux that are to be tried, and two users of the system to be.
const PJDFSTEST: &str = "[features]\nposix_fallocate = {}\nrename_ctime = {}\nutime_now = {}\nutimensat = {}\n\
                         [settings]\nnaptime = 0.05\n\
                         [dummy_auth]\nentries = [[\"daemon\", \"daemon\"], [\"bin\", \"bin\"]]\n";

#[test]
fn a_home_is_a_file_system() {
    needs("a_home_is_a_file_system", || {
        let share = format!(
            "\toption sudo 'teachers'\nconfig share 'tools'\n\toption path '{}'\n",
            made().join("tools").display()
        );
        let mut room = Room::open_with(&["lab-01"], &share);
        let first = room.add_account("sven", &["--role", "teacher"]);
        let mut guest = room.boot("one", CLIENT, &initrd(), &room.parameters(CLIENT));
        guest.enter_first("sven", &first, SVEN);

        random_load(&mut room, &mut guest);
        let home = room.data().join("homes/sven");
        fs::write(home.join("pjdfstest.toml"), PJDFSTEST).expect("a file");
        fs::write(home.join("kernel-server"), KERNEL_SERVER).expect("a file");
        guest.output(&format!("echo '{SVEN}' | sudo -S -p '' bash kernel-server"));
        for (who, sudo) in [("person", ""), ("root", "sudo ")] {
            let [ours, kernels] = ["$HOME", "/mnt/home"].map(|at| posix(&mut guest, sudo, at));
            compare(who, &ours, &kernels);
        }
        guest.type_line("sudo systemctl poweroff");
        guest.ended();
    });
}

/// fsx writes, reads, maps and cuts a file at random and knows what must be in it; meanwhile the daemon dies.
fn random_load(room: &mut Room, guest: &mut Guest) {
    guest.output(&format!("mkdir load && {TOOLS}/fsx -q -N 3000 -S 1 load/one"));
    guest.type_line(&format!("{TOOLS}/fsx -q -N 6000 -S 2 load/two; echo load''ed=$?"));
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_secs(2));
        room.kill_and_restart();
    }
    guest.expect("loaded=");
    assert_eq!(guest.expect("\r\n"), "0", "what was read is what was written");
    guest.output("rm -r load");
}

/// Runs pjdfstest as whoever `sudo` makes, in the folder `at`: each test and how it went.
fn posix(guest: &mut Guest, sudo: &str, at: &str) -> BTreeMap<String, String> {
    let line =
        format!("{sudo}{TOOLS}/pjdfstest -c pjdfstest.toml -p {at} 2>&1 | sed 's/\\x1b\\[[0-9;]*m//g'");
    let (said, _) = guest.run(&line);
    let result = |line: &str| {
        let (name, how) = line.rsplit_once(' ')?;
        (["ok", "FAILED", "skipped"].contains(&how) && line.contains("::"))
            .then(|| (name.trim().to_owned(), how.to_owned()))
    };
    let results: BTreeMap<_, _> = said.lines().filter_map(result).collect();
    assert!(said.contains("Summary: ") && results.len() > 300, "pjdfstest ended early:\n{said}");
    results
}

/// Holds what fails to the list of what is known to fail, with us and with the kernel's server.
fn compare(who: &str, ours: &BTreeMap<String, String>, kernels: &BTreeMap<String, String>) {
    let mut found = String::new();
    for (test, how) in ours {
        let with = |how: Option<&String>| how.map_or("none", String::as_str).to_lowercase();
        let (ours, kernels) = (with(Some(how)), with(kernels.get(test)));
        if ours == "failed" || ours != kernels {
            found += &format!("{who:<7}{test:<60} {ours:<8}{kernels}\n");
        }
    }
    println!("{found}");
    let ran = ours.values().filter(|how| *how == "ok").count();
    println!("{who}: {ran} of {} tests pass", ours.len());
    let list = include_str!("differences");
    let known: String =
        list.lines().filter(|line| line.starts_with(who)).map(|line| format!("{line}\n")).collect();
    assert!(found == known, "tests/boot/differences has for `{who}`:\n{known}\nand found was:\n{found}");
}

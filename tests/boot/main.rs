//! The proof with a real kernel and a real system: Debian's user-mode-linux boots, through Bramble, a Debian system that
//! nobody edited.
//!
//! `tests/boot/prepare` makes kernel and system. Without it, or without root, these tests say that they did not run;
//! with `BRAMBLE_REQUIRE_PEERS=1` that is a failure. The kernel is Linux 6.1 with its own NFS client; it lacks
//! `CONFIG_IP_PNP`, so what the kernel of a Pi does with `ip=` and `nfsroot=` is done by a small initramfs that hands the
//! same options to the same mount code (`tests/boot/init`), and by Debian's own initramfs, unchanged. A kernel that has
//! it can be built with `tests/boot/kernel` (`tests/run kernel`); then it is shown without any initramfs, too.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    reason = "these tests wait for real machines, and show what those said when one fails"
)]

mod actions;
mod elsewhere;
mod guest;
#[allow(dead_code, reason = "shared with tests/net, which uses more of it")]
#[path = "../net/harness.rs"]
mod harness;
mod homes;
#[expect(clippy::indexing_slicing, reason = "answers are JSON, and a test that finds another fails")]
mod labwc;
mod life;
mod modes;
mod openbox;
mod packed;
mod people;
mod quota;
mod room;
#[expect(clippy::indexing_slicing, reason = "a wrong picture fails the test")]
#[path = "../net/viewer.rs"]
mod viewer;
mod workshop;

use std::fs;

use guest::Guest;
use room::{CLIENT, Room, made, needs};

/// What the system itself does not start when it comes from its own disk.
fn failed_units(guest: &mut Guest) -> Vec<String> {
    // `degraded` is an exit code too; which units failed is what counts.
    guest.run("systemctl is-system-running --wait");
    let listed = guest.output("systemctl --failed --no-legend --plain");
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// By parameters: address, boot menu, mount and every file, with the kernel's NFS client.
#[test]
fn every_file_has_the_original_checksum() {
    needs("every_file_has_the_original_checksum", || {
        let room = Room::open(&["lab-01"]);
        let mut guest = room.boot("tiny", CLIENT, &made().join("tiny.gz"), "rdinit=/init quiet check");
        guest.expect("tiny: mounted /image/debian/1");
        guest.expect("tiny: read ");
        let files: usize = guest.expect(" files").parse().expect("a number");
        guest.expect("digest ");
        let digest = guest.expect("\r\n");
        guest.expect("a pupil reads etc/shadow: ");
        let refused = guest.expect("\r\n");
        guest.ended();

        let manifest = fs::read_to_string(made().join("tree.sha256")).expect("prepared");
        assert_eq!(files, manifest.lines().count());
        assert_eq!(digest, sha256(&manifest));
        assert!(refused.contains("Permission denied"), "{refused}");
    });
}

/// The parameters that Bramble composed, with a shell in the agent's place: it sees the mounted root and nothing over it.
fn with_a_shell(parameters: &str) -> String {
    assert!(parameters.contains("init=/.bramble/agent"), "{parameters}");
    parameters.replace("init=/.bramble/agent", "init=/bin/sh")
}

/// Reads every file of the root that a bare shell sees; they are those that were imported.
fn reads_every_file(guest: &mut Guest) {
    guest.bare_shell();
    let root = guest.output(
        "grep ' / nfs ' /proc/mounts || { mount -t proc proc /proc && grep ' / nfs ' /proc/mounts; }",
    );
    assert!(root.contains("192.168.77.1:/image/debian/1 / nfs ro,"), "{root}");
    // busybox made the list of the original, which has no escapes for names with a backslash in them.
    let digest = guest.output(
        "cd / && find . -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | tr '\\0' '\\n' | sha256sum",
    );
    let manifest = fs::read_to_string(made().join("tree.sha256")).expect("prepared");
    assert_eq!(digest, format!("{}  -", sha256(&manifest)));
    guest.type_line("poweroff -f -f");
}

/// Debian's own initramfs, as it is in the image: its `ipconfig` asks for the address, klibc's `nfsmount` mounts.
#[test]
fn debians_own_initramfs_reads_every_file() {
    needs("debians_own_initramfs_reads_every_file", || {
        let room = Room::open(&["lab-01"]);
        let parameters = with_a_shell(&room.parameters(CLIENT));
        let initrd = made().join("tree/boot").join(format!("initrd.img-{}", room::release()));
        let mut guest = room.boot("initramfs", CLIENT, &initrd, &parameters);
        reads_every_file(&mut guest);
        guest.ended();
        room.assert_untouched();
    });
}

/// A kernel with `CONFIG_ROOT_NFS`, as a Pi's, does everything by its parameters, as Bramble composed them: no initramfs
/// and no other program before the agent. Runs where `tests/boot/kernel` has built such a kernel
/// (`tests/run kernel`).
#[test]
fn a_kernel_mounts_its_root_by_parameters_alone() {
    let kernel = made().join("linux-rootnfs");
    if !kernel.exists() {
        println!(
            "a_kernel_mounts_its_root_by_parameters_alone: not run; `tests/run kernel` builds the kernel"
        );
        return;
    }
    needs("a_kernel_mounts_its_root_by_parameters_alone", || {
        let room = Room::open(&["lab-01"]);
        let parameters = room.parameters(CLIENT);
        let mut guest = room.boot_by_parameters("files", CLIENT, &kernel, &with_a_shell(&parameters));
        guest.expect("VFS: Mounted root (nfs filesystem) readonly");
        reads_every_file(&mut guest);
        guest.ended();

        let mut guest = room.boot_by_parameters("parameters", CLIENT, &kernel, &parameters);
        guest.expect("VFS: Mounted root (nfs filesystem) readonly");
        guest.expect("Run /.bramble/agent as init process");
        guest.log_in("root", "raspberry");
        assert_eq!(guest.output("hostname"), "lab-01");
        assert_eq!(guest.output("su -s /bin/sh daemon -c 'id -un'"), "daemon");
        guest.type_line("systemctl poweroff");
        assert!(guest.ended().contains("bramble-agent: the system has ended; switching off"));
        assert_eq!(room.state(), "off");
    });
}

/// Debian's own initramfs mounts the root with klibc's nfsmount; the agent is its init; the system comes up as if from
/// a disk of its own, forgets what was written, and switches off.
#[test]
fn an_unmodified_system_reaches_its_log_in_prompt() {
    needs("an_unmodified_system_reaches_its_log_in_prompt", || {
        let own_faults = {
            let room = Room::open(&["lab-01"]);
            let mut guest = room.boot_from_disk("disk");
            guest.log_in("root", "raspberry");
            let failed = failed_units(&mut guest);
            guest.type_line("systemctl poweroff");
            guest.ended();
            failed
        };

        let room = Room::open(&["lab-01"]);
        let parameters = room.parameters(CLIENT);
        let initrd = made().join("tree/boot").join(format!("initrd.img-{}", room::release()));
        let mut guest = room.boot("first", CLIENT, &initrd, &parameters);
        guest.log_in("root", "raspberry");
        assert_eq!(guest.output("hostname"), "lab-01");
        assert_eq!(guest.output("cat /etc/hostname"), "lab-01");
        let root = guest.output("findmnt -n -o FSTYPE,OPTIONS /");
        assert!(root.starts_with("overlay") && root.contains("rw"), "{root}");
        let machine_id = guest.output("cat /etc/machine-id");
        assert_eq!(machine_id.len(), 32, "{machine_id}");
        let failed: Vec<String> =
            failed_units(&mut guest).into_iter().filter(|unit| !own_faults.contains(unit)).collect();
        assert!(failed.is_empty(), "failed only here: {failed:?}\n{}", {
            guest.output(&format!("systemctl status --no-pager -l {}; true", failed.join(" ")))
        });
        // A user's program is started through the overlay too: it asks the server about access control lists.
        assert_eq!(guest.output("su -s /bin/sh daemon -c 'id -un'"), "daemon");
        assert_eq!(room.state(), "up");
        guest.output("echo changed > /root/changed && apt-mark hold dpkg && sync");
        assert_eq!(guest.output("getent hosts lab-01 | head -n 1 | wc -l"), "1");
        guest.type_line("systemctl poweroff");
        let shown = guest.ended();
        // systemd came to its end, and the agent behind it could take the root apart: the server saw it end.
        for last in ["Returning to initrd", "bramble-agent: the system has ended; switching off", "reboot: "]
        {
            assert!(shown.contains(last), "{last}: {}", &shown[shown.len().saturating_sub(2000)..]);
        }
        assert!(!shown.contains("could not be unmounted"), "{}", &shown[shown.len().saturating_sub(2000)..]);
        assert_eq!(room.state(), "off");

        let mut guest = room.boot("second", CLIENT, &initrd, &parameters);
        guest.log_in("root", "raspberry");
        assert_eq!(guest.run("test -e /root/changed").1, 1, "a volatile root forgets");
        assert_eq!(guest.output("apt-mark showhold"), "");
        assert_eq!(guest.output("cat /etc/machine-id"), machine_id, "the same machine again");
        guest.type_line("systemctl poweroff");
        guest.ended();

        // What any number of boots did, the published tree is as it was.
        room.assert_untouched();
    });
}

/// A running system reads on whatever becomes of the daemon: killed; reloaded with another image for the client's next
/// start; upgraded, with another program and another agent.
#[test]
fn a_running_system_outlives_the_daemon() {
    needs("a_running_system_outlives_the_daemon", || {
        let mut room = Room::open(&["lab-01"]);
        let parameters = room.parameters(CLIENT);
        let initrd = made().join("tree/boot").join(format!("initrd.img-{}", room::release()));
        let mut guest = room.boot("outlives", CLIENT, &initrd, &parameters);
        guest.log_in("root", "raspberry");
        // Files held open, one for each of what follows, and all that was read forgotten.
        guest.output("exec 7</usr/bin/perl 8</usr/bin/perl 9</usr/bin/perl");
        guest.output("for n in 7 8 9; do head -c 1000 <&$n; done >/dev/null");
        let manifest = fs::read_to_string(made().join("tree.sha256")).expect("prepared");
        let sum_of = |name: &str| {
            let line =
                manifest.lines().find(|line| line.ends_with(&format!("  ./{name}"))).expect("it is there");
            line.split_whitespace().next().expect("a sum").to_owned()
        };
        let perl = fs::metadata(made().join("tree/usr/bin/perl")).expect("it is there").len();
        let goes_on = |guest: &mut Guest, descriptor: u8, unread: &str| {
            guest.output("echo 3 > /proc/sys/vm/drop_caches");
            // The kernel or the agent may say something on the console meanwhile.
            let rest = guest.output(&format!("echo there are $(cat <&{descriptor} | wc -c) more"));
            assert!(rest.contains(&format!("there are {} more", perl - 1000)), "{rest}");
            let sum = guest.output(&format!("sha256sum </{unread}"));
            assert!(sum.contains(&sum_of(unread)), "{unread}: {sum}");
        };

        room.kill_and_restart();
        goes_on(&mut guest, 7, "usr/bin/perl");
        room.reconfigure("image 'debian'", "mask 'cron.service'");
        goes_on(&mut guest, 8, "usr/bin/ssh-keygen");
        room.upgrade();
        goes_on(&mut guest, 9, "usr/sbin/sshd");
        // And the daemon knows the client as before.
        assert_eq!(room.state(), "up");
        guest.type_line("systemctl poweroff");
        guest.ended();
        assert_eq!(room.state(), "off");
    });
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

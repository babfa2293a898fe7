//! An image in one packed file: booted by a real kernel, compared with the same image as a tree, and given up for the tree
//! where it cannot be used.
//!
//! What each form takes (time to the prompt, start of a large program with a cold cache, bytes to the client, calls to the
//! server) is printed, not judged: `cargo test --test boot packed -- --nocapture`.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::guest::Guest;
use crate::room::{CLIENT, Room, made, needs, release};

/// A program of many small files: the interpreter and some sixty modules of its library.
const LARGE: &str = "python3 -c 'import asyncio, ctypes, decimal, email.mime.text, http.server, json, multiprocessing, \
                     sqlite3, unittest, urllib.request, xml.dom.minidom, zipfile'";

/// What one boot and one start of the program took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    prompt: Duration,
    boot: Traffic,
    program: Duration,
    start: Traffic,
}

#[derive(Clone, Copy, Debug)]
struct Traffic {
    bytes: u64,
    calls: u64,
}

/// The kernel with everything (`tests/boot/kernel`), if it has been built; it has file capabilities in squashfs.
fn full_kernel() -> Option<std::path::PathBuf> {
    Some(made().join("linux-rootnfs")).filter(|kernel| kernel.exists())
}

fn boot(room: &Room, name: &str, parameters: &str) -> Guest {
    if let Some(kernel) = full_kernel() {
        return room.boot_by_parameters(name, CLIENT, &kernel, parameters);
    }
    let initrd = made().join("tree/boot").join(format!("initrd.img-{}", release()));
    room.boot(name, CLIENT, &initrd, parameters)
}

/// Calls to the server since the kernel started.
fn calls(guest: &mut Guest) -> u64 {
    let line = guest.output("grep '^rpc ' /proc/net/rpc/nfs");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn measured(room: &Room, name: &str, parameters: &str) -> (Guest, Taken) {
    let before = room.carried(CLIENT);
    let begin = Instant::now();
    let mut guest = boot(room, name, parameters);
    guest.expect("login: ");
    let prompt = begin.elapsed();
    let bytes = room.carried(CLIENT) - before;
    guest.type_line("root");
    guest.answer(&[("assword: ", "raspberry")]);
    guest.expect("# ");
    guest.quiet_shell();
    let boot = Traffic { bytes, calls: calls(&mut guest) };

    guest.output("sync; echo 3 > /proc/sys/vm/drop_caches");
    let (bytes, called) = (room.carried(CLIENT), calls(&mut guest));
    let begin = Instant::now();
    guest.output(LARGE);
    let program = begin.elapsed();
    let start = Traffic { bytes: room.carried(CLIENT) - bytes, calls: calls(&mut guest) - called };
    (guest, Taken { prompt, boot, program, start })
}

fn print(form: &str, taken: &Taken) {
    let megabytes = |bytes: u64| bytes / 100_000;
    let Taken { prompt, boot, program, start } = taken;
    println!(
        "{form}: log-in prompt after {:.1} s, {}.{} MB, {} calls; python3 {:.2} s, {}.{} MB, {} calls",
        prompt.as_secs_f64(),
        megabytes(boot.bytes) / 10,
        megabytes(boot.bytes) % 10,
        boot.calls,
        program.as_secs_f64(),
        megabytes(start.bytes) / 10,
        megabytes(start.bytes) % 10,
        start.calls
    );
}

#[test]
fn a_packed_image_boots_as_its_tree_does() {
    needs("a_packed_image_boots_as_its_tree_does", || {
        let mut room = Room::open(&["lab-01"]);
        let parameters = room.parameters(CLIENT);
        let (mut guest, tree) = measured(&room, "tree", &parameters);
        print("tree", &tree);
        assert_eq!(guest.output("getcap /usr/bin/ping"), "", "NFS version 3 has no capabilities");
        guest.type_line("systemctl poweroff");
        guest.ended();

        let begin = Instant::now();
        room.bramble(&["image", "pack", "debian"]);
        let file = room.data().join("images/debian/.1.squashfs");
        let size = fs::metadata(&file).expect("packed").len();
        println!("packed into {} MB in {:.1} s", size / 1_000_000, begin.elapsed().as_secs_f64());
        let listed = room.bramble(&["image", "show", "debian"]);
        assert!(listed.contains("beside the tree; clients mount it instead"), "{listed}");

        let (mut guest, packed) = measured(&room, "packed", &parameters);
        print("packed", &packed);
        assert!(packed.boot.calls < tree.boot.calls, "one file takes fewer calls than thousands");
        let root = guest.output("findmnt -n -o OPTIONS /");
        assert!(root.contains("lowerdir=/mnt/image,"), "{root}");
        assert_eq!(guest.output("hostname"), "lab-01");
        if full_kernel().is_some() {
            assert_eq!(guest.output("getcap /usr/bin/ping"), "/usr/bin/ping cap_net_raw=ep");
        }
        // Everything that was imported, read through squashfs and overlay. What the agent wrote is above it.
        let manifest = fs::read_to_string(made().join("tree.sha256")).expect("prepared");
        let usr: String = manifest.split_inclusive('\n').filter(|line| line.contains("  ./usr/")).collect();
        let digest = guest.output(
            "cd / && find ./usr -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | tr '\\0' '\\n' | sha256sum",
        );
        assert_eq!(digest, format!("{}  -", crate::sha256(&usr)));
        let told = room.bramble(&["client", "show", &CLIENT.to_string()]);
        assert!(told.contains("the image is packed"), "{told}");

        // While a client runs from it, it is not taken away; and the daemon may be killed under it.
        let refused = room.refused(&["image", "pack", "debian", "--unpack"]);
        let refused = refused.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            refused.contains("`debian@1` is what lab-01 runs from, packed; shut it down first"),
            "{refused}"
        );
        room.kill_and_restart();
        guest.output("echo 3 > /proc/sys/vm/drop_caches; sha256sum /usr/bin/perl");
        guest.type_line("systemctl poweroff");
        guest.ended();
        assert_eq!(room.state(), "off");

        // Damaged, or of a kind that the kernel does not know: the client takes the tree, and says so.
        room.stop();
        let damaged = fs::OpenOptions::new().write(true).open(&file).expect("there");
        damaged.write_all_at(&[0xff; 4096], 0).expect("written");
        drop(damaged);
        room.start_again();
        let mut guest = boot(&room, "damaged", &parameters);
        guest.log_in("root", "raspberry");
        let root = guest.output("findmnt -n -o OPTIONS /");
        assert!(root.contains("lowerdir=/,"), "{root}");
        let told = room.bramble(&["client", "show", &CLIENT.to_string()]);
        assert!(told.contains("the packed image is not used, but the tree: it cannot be mounted"), "{told}");
        guest.type_line("systemctl poweroff");
        guest.ended();

        let told = room.bramble(&["image", "rename", "debian", "library"]);
        assert!(told.contains("`debian` is `library` from now on"), "{told}");
        room.bramble(&["image", "pack", "library", "--unpack"]);
        assert!(!room.data().join("images/library/.1.squashfs").exists());
    });
}

/// A client runs, another one starts, and both notice nothing of the image's new name.
#[test]
fn a_renamed_image_goes_on_running() {
    needs("a_renamed_image_goes_on_running", || {
        let mut room = Room::open(&["lab-01"]);
        let parameters = room.parameters(CLIENT);
        let mut guest = boot(&room, "renamed", &parameters);
        guest.log_in("root", "raspberry");
        room.bramble(&["image", "rename", "debian", "library"]);
        let config = fs::read_to_string(room.data().join("../config/bramble")).expect("a file");
        assert!(config.contains("option image 'library'") && !config.contains("debian"), "{config}");
        guest.output("echo 3 > /proc/sys/vm/drop_caches; sha256sum /usr/bin/perl /usr/bin/openssl; true");
        room.kill_and_restart();
        guest.output("echo 3 > /proc/sys/vm/drop_caches; sha256sum /usr/bin/perl");
        guest.type_line("systemctl poweroff");
        guest.ended();
        let parameters = room.parameters(CLIENT);
        assert!(parameters.contains("/image/library/1"), "{parameters}");
        let mut guest = boot(&room, "again", &parameters);
        guest.log_in("root", "raspberry");
        assert_eq!(guest.output("grep -c library /proc/cmdline"), "1");
        guest.type_line("systemctl poweroff");
        guest.ended();
    });
}

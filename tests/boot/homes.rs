//! A home as a file system: pjdfstest and fsx on a home that a real kernel has mounted, and the same programs on an export
//! of that kernel's own NFS server, so that what NFS version 3 itself cannot do is told from what ours cannot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::guest::Guest;
use crate::people::initrd;
use crate::room::{CLIENT, Room, made, needs};

const SVEN: &str = "svens own password";

/// Where the programs are, seen from a home.
const TOOLS: &str = "Shared/tools/bin";

/// What pjdfstest is told: the features of Linux that are to be tried, and two users of the system to be.
const PJDFSTEST: &str = "[features]\nposix_fallocate = {}\nrename_ctime = {}\nutime_now = {}\nutimensat = {}\n\
                         [settings]\nnaptime = 0.05\n\
                         [dummy_auth]\nentries = [[\"daemon\", \"daemon\"], [\"bin\", \"bin\"]]\n";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot").join(name)
}

#[test]
fn a_home_is_a_file_system() {
    needs("a_home_is_a_file_system", || {
        let share = format!(
            "\toption sudo 'teachers'\nconfig share 'tools'\n\toption path '{}'\n",
            made().join("tools").display()
        );
        let mut room = Room::open_with(&["lab-01"], &share);
        let first = room.add_account("sven", &["--role", "teacher", "--quota", "8G"]);
        let mut guest = room.boot("one", CLIENT, &initrd(), &room.parameters(CLIENT));
        guest.enter_first("sven", &first, SVEN);

        random_load(&mut room, &mut guest);
        let home = room.data().join("homes/sven");
        fs::write(home.join("pjdfstest.toml"), PJDFSTEST).expect("a file");
        fs::copy(source("kernel-server"), home.join("kernel-server")).expect("a file");
        guest.output(&format!("echo '{SVEN}' | sudo -S -p '' bash kernel-server sven $PWD/{TOOLS}"));
        let [ours, kernels] = ["$HOME", "/mnt/homes"].map(|at| posix(&mut guest, at));
        let found = differences(&ours, &kernels);
        let list = fs::read_to_string(source("differences")).expect("a file");
        let known = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(
            found,
            known.fold(String::new(), |text, line| text + line + "\n"),
            "found, and known:\n{found}"
        );
        guest.type_line("sudo systemctl poweroff");
        guest.ended();
    });
}

/// fsx writes, reads, maps and cuts a file at random and knows what must be in it; meanwhile the daemon dies, and the agent.
fn random_load(room: &mut Room, guest: &mut Guest) {
    guest.output(&format!("mkdir load && {TOOLS}/fsx -q -N 3000 -S 1 load/one"));
    guest.type_line(&format!("{TOOLS}/fsx -q -N 6000 -S 2 load/two; echo load''ed=$?"));
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_secs(2));
        room.kill_and_restart();
    }
    guest.expect("loaded=");
    assert_eq!(guest.expect("\r\n"), "0", "what was read is what was written");
    agent_dies(guest);
    guest.output("rm -r load");
}

/// The same while what carries the home, encrypted, is killed on the client.
fn agent_dies(guest: &mut Guest) {
    let restarts = "systemctl show -p NRestarts --value bramble-agent";
    let before: u32 = guest.output(restarts).parse().expect("a number");
    let kill = format!("echo '{SVEN}' | sudo -S -p '' systemctl kill -s KILL bramble-agent");
    let said = guest.output(&format!(
        "{TOOLS}/fsx -q -N 6000 -S 3 load/three & fsx=$!; for i in 1 2; do sleep 3; \
         until systemctl -q is-active bramble-agent; do sleep 0.2; done; \
         kill -0 $fsx || echo over before its time; {kill}; done; wait $fsx"
    ));
    assert!(!said.contains("over before"), "{said}");
    assert_eq!(guest.output(restarts).parse(), Ok(before + 2));
}

/// Runs pjdfstest in the folder `at`, as the person: each test and how it went. (As root, who counts as the person there,
/// most of what it tries is refused by the kernel's server too.)
fn posix(guest: &mut Guest, at: &str) -> BTreeMap<String, String> {
    let line = format!("{TOOLS}/pjdfstest -c pjdfstest.toml -p {at} 2>&1 | sed 's/\\x1b\\[[0-9;]*m//g'");
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

/// What fails with us, and what goes otherwise with the kernel's server.
fn differences(ours: &BTreeMap<String, String>, kernels: &BTreeMap<String, String>) -> String {
    let mut found = String::new();
    for (test, how) in ours {
        let kernels = kernels.get(test).map_or("none", String::as_str);
        if how == "FAILED" || how != kernels {
            let (how, kernels) = (how.to_lowercase(), kernels.to_lowercase());
            writeln!(found, "{test:<40} {how:<6} {kernels}").expect("text");
        }
    }
    found
}

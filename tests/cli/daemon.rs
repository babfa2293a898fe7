//! The daemon over its life: a start with something wrong, a reload, ports that are held, its end, and who asks meanwhile.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PROGRAM, Site, fails_to_serve, text, words};

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_is_applied() {
    let mut site = Site::new(5);
    site.serve();
    site.configure("\nconfig client\n\toption mac 'no mac'\n\toption name 'lab-02'\n");
    site.signal(Signal::SIGHUP);
    site.until("the refusal is in the log", |site| site.log().contains("the old one stays in force"));
    assert!(site.log().contains("`no mac` is not a hardware address"), "{}", site.log());
    assert!(!site.told(&["client", "list"]).contains("lab-02"));
    let status = site.told(&["status"]);
    assert!(
        status.contains("Needs attention:\n- the configuration on the disk is not in force: "),
        "{status}"
    );
    assert!(site.told(&["client", "list"]).contains("lab-01"), "the old configuration still holds");

    site.configure("\nconfig client\n\toption mac 'b8:27:eb:01:02:03'\n\toption name 'lab-02'\n");
    site.signal(Signal::SIGHUP);
    site.until("the new client is known", |site| site.told(&["client", "list"]).contains("lab-02"));
    assert!(site.log().contains("configuration: client lab-02 is new"), "{}", site.log());
    assert!(site.told(&["status"]).ends_with("All is well.\n"));

    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
    assert!(!site.path("socket").exists(), "the control socket goes with the daemon");
}

/// One port that is held is no reason not to serve the rest.
#[test]
fn a_port_that_is_held_is_named_with_its_holder() {
    let mut site = Site::new(6);
    let held = UdpSocket::bind("127.77.0.6:8467").expect("free");
    site.serve();
    let me = std::process::id();
    let says = "UDP port 8467 of 127.77.0.6 is held by `";
    let mut status = String::new();
    site.until("it is told", |site| {
        status = words(&site.told(&["status"]));
        status.contains(says)
    });
    assert!(status.contains("service report is down and is started again: reports of agents: "), "{status}");
    assert!(
        status.contains(&format!("(process {me}); stop that program, or keep it from this port")),
        "{status}"
    );
    assert!(site.told(&["client", "list"]).contains("lab-01"), "all else is there");

    drop(held);
    site.until("it is served then", |site| site.told(&["status"]).ends_with("All is well.\n"));
}

/// A router that comes up with a bad file says so where people look, and starts when it is mended, without being told.
#[test]
fn a_bad_file_at_the_start_is_waited_for() {
    let mut site = Site::new(51);
    site.configure("\nconfig client\n\toption mac 'no mac'\n\toption name 'lab-02'\n");
    site.serve();
    let status = words(&site.told(&["status"]));
    for says in [
        "Needs attention:",
        "nothing is served, because the configuration is not right; Bramble starts by itself when it is",
        "`no mac` is not a hardware address",
    ] {
        assert!(status.contains(says), "`{says}`: {status}");
    }
    let refused = site.refused(&["client", "list"]);
    assert!(words(&refused).contains("`no mac` is not a hardware address"), "{refused}");
    // Looked at every two seconds, and told once.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(site.log().matches("`no mac`").count(), 1, "{}", site.log());
    site.signal(Signal::SIGHUP);
    site.until("whoever asks is told again", |site| site.log().matches("`no mac`").count() == 2);

    site.configure("\nconfig client\n\toption mac 'b8:27:eb:01:02:03'\n\toption name 'lab-02'\n");
    site.until("it starts", |site| site.ask(&["client", "list"]).status.success());
    assert!(site.told(&["client", "list"]).contains("lab-02"));
    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
}

/// A database that cannot be opened: as above, and it is tried again.
#[test]
fn what_keeps_it_from_starting_is_told() {
    let mut site = Site::new(52);
    fs::create_dir_all(site.path("data/bramble.db")).expect("a folder in the place of the database");
    site.serve();
    let status = words(&site.told(&["status"]));
    let says = "nothing is served, because Bramble cannot start; it is tried again: ";
    assert!(status.contains(says), "{status}");
    fs::remove_dir(site.path("data/bramble.db")).expect("removed");
    site.signal(Signal::SIGHUP);
    site.until("it starts", |site| site.ask(&["client", "list"]).status.success());
}

/// A network whose interface is not up yet keeps none of the others from being served.
#[test]
fn a_network_that_is_not_there_is_told_and_the_others_are_served() {
    let mut site = Site::new(53);
    let network = fs::read_to_string(site.path("network")).expect("there");
    let away = "config interface 'lab'\n\toption device 'bramble-none'\n\toption proto 'static'\n\
                \toption ipaddr '192.0.2.1'\n\toption netmask '255.255.255.0'\n";
    site.write("network", &format!("{network}\n{away}"));
    let text = fs::read_to_string(site.path("bramble")).expect("there");
    site.write("bramble", &text.replace("list network 'lan'", "list network 'lan'\n\tlist network 'lab'"));
    site.serve();
    let status = words(&site.told(&["status"]));
    let says = "network `lab` is not served, because there is no interface `bramble-none`";
    assert!(status.contains(says), "{status}");
    assert!(!status.contains("is down"), "{status}");
    std::net::TcpStream::connect("127.77.0.53:20490").expect("NFS of the other network");
}

/// Whoever switches Bramble off tells it to stop, and hands back at once; it may take a while to end.
#[test]
fn a_hand_back_waits_for_the_end() {
    let mut site = Site::new(54);
    site.serve();
    let mut handing = Command::new(PROGRAM)
        .arg("--socket")
        .arg(site.path("socket"))
        .args(["takeover", "--hand-back", "--config"])
        .arg(site.path("bramble"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(handing.try_wait().expect("known"), None, "it waits while somebody answers");
    site.signal(Signal::SIGTERM);
    assert!(site.ended().success());
    assert!(handing.wait().expect("it ended").success());
}

/// A new start, because the data are to be elsewhere, does not forget that it was told to stop.
#[test]
fn to_stop_counts_while_it_starts_anew() {
    for round in 0..4 {
        let mut site = Site::new(60 + round);
        site.serve();
        let text = fs::read_to_string(site.path("bramble")).expect("there");
        site.write("bramble", &text.replace("/data'", &format!("/data-{round}'")));
        site.signal(Signal::SIGHUP);
        site.signal(Signal::SIGTERM);
        assert!(site.ended().success());
    }
}

#[test]
fn two_daemons_do_not_share_a_socket() {
    let mut site = Site::new(7);
    site.serve();
    let (code, said) = fails_to_serve(&site);
    assert_eq!(code, Some(1));
    assert!(said.contains("another Bramble answers at"), "{said}");
    assert!(site.ask(&["status"]).status.success(), "the first one is not disturbed");
}

#[test]
fn switched_off_is_no_failure() {
    let site = Site::new(8);
    site.write("bramble", "config bramble 'main'\n\toption enabled '0'\n\toption data '/mnt/x'\n");
    let (code, said) = fails_to_serve(&site);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("switched off in"), "{said}");
}

#[test]
fn a_low_limit_of_descriptors_is_raised_or_told() {
    let mut site = Site::new(9);
    let daemon = Command::new("sh")
        .args(["-c", "ulimit -n 300 && exec \"$@\"", "sh", PROGRAM, "serve", "--any-storage", "--config"])
        .arg(site.path("bramble"))
        .arg("--socket")
        .arg(site.path("socket"))
        .stderr(fs::File::create(site.path("log")).expect("a log"))
        .spawn()
        .expect("started");
    let limits = format!("/proc/{}/limits", daemon.id());
    site.daemon = Some(daemon);
    site.until("it answers", |site| site.ask(&["status"]).status.success());
    let limits = fs::read_to_string(limits).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft: usize = line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number");
    if soft == 300 {
        assert!(
            site.log().contains("fewer files and sockets may be open than a full room needs"),
            "{}",
            site.log()
        );
    } else {
        assert!(soft >= bramble::types::limits::DESCRIPTORS, "{line}");
    }
}

#[test]
fn dhcp_is_taken_over_by_the_daemon_and_handed_back() {
    let dhcp = "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '50'\n";
    let mut site = Site::new(70);
    site.write("dhcp", dhcp);
    let config = site.path("bramble").display().to_string();
    let takeover = |site: &Site, what: &str| site.ask(&["takeover", what, "--config", &config]);
    let file = |site: &Site| fs::read_to_string(site.path("dhcp")).expect("the file");

    // Mode `off`: nothing to take over. In authoritative mode the dry run says what would be.
    assert!(text(&takeover(&site, "--dry-run").stdout).starts_with("Nothing would change in "));
    let off = fs::read_to_string(site.path("bramble")).expect("the file");
    site.write("bramble", &off.replace("'off'", "'authoritative'").replace("enabled '1'", "enabled '0'"));
    let told = text(&takeover(&site, "--dry-run").stdout);
    assert!(told.contains("dhcp.lan.ignore: not set -> `1`"), "{told}");
    assert_eq!(file(&site), dhcp, "a dry run changes nothing");

    // As if a daemon had taken it over and was killed: a daemon with `mode off` puts it back.
    let taken = format!("{dhcp}\toption ignore '1'\n");
    site.write("dhcp", &taken);
    let record = "config changed\n\toption network 'lan'\n\toption nth '0'\n\toption option 'ignore'\n\toption ours '1'\n";
    site.write("bramble_takeover", record);
    site.write("bramble", &off);
    site.serve();
    assert_eq!(file(&site), dhcp);
    assert!(!site.path("bramble_takeover").exists());
    assert!(site.log().contains("changed dhcp.lan.ignore"), "{}", site.log());
    let refusal = takeover(&site, "--hand-back");
    assert_eq!(refusal.status.code(), Some(1));
    assert!(text(&refusal.stderr).contains("Bramble is running"), "{}", text(&refusal.stderr));
    let known: Value =
        serde_json::from_str(&site.told(&["--json", "takeover", "--dry-run", "--config", &config]))
            .expect("an answer");
    assert_eq!(known["changes"], serde_json::json!([]));

    // Switched off: the daemon ends, and what was ours is put back on the way.
    site.write("dhcp", &taken);
    site.write("bramble_takeover", record);
    site.write("bramble", &off.replace("enabled '1'", "enabled '0'"));
    site.signal(Signal::SIGHUP);
    assert!(site.ended().success());
    assert_eq!(file(&site), dhcp);

    // And without a daemon, by the command alone.
    site.write("dhcp", &taken);
    site.write("bramble_takeover", record);
    let told = text(&takeover(&site, "--hand-back").stdout);
    assert!(told.contains("dhcp.lan.ignore: `1` -> not set"), "{told}");
    assert_eq!(file(&site), dhcp);
    assert!(text(&takeover(&site, "--hand-back").stdout).starts_with("Nothing to hand back"));
}

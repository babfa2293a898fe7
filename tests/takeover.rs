//! Taking DHCP over and handing it back on the default configurations of OpenWrt's releases, with OpenWrt's own `uci`
//! and without it. The rules themselves are tested where they are, in `service/takeover`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bramble::config::uci::Document;
use bramble::service::takeover::Wanted;
use bramble::service::takeover::apply::Place;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `uci`, if it has been built; it must have been where tests/run says so.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn uci() -> Option<PathBuf> {
    let program = Path::new(ROOT).join("target/uci/uci");
    if program.exists() {
        return Some(program);
    }
    assert!(std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_none(), "run tests/uci-program first");
    eprintln!("LEFT OUT: no real uci; tests/uci-program builds it");
    None
}

fn wanted() -> Wanted {
    Wanted { networks: vec!["lan".to_owned()], tftp: true }
}

/// A folder with a copy of a release's `dhcp`, changed by `change`.
fn router(release: &str, change: impl Fn(String) -> String) -> (tempfile::TempDir, Place) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(Path::new(ROOT).join("tests/vectors/openwrt").join(release).join("dhcp"));
    let config = folder.path().join("config");
    fs::create_dir(&config).expect("made");
    fs::write(config.join("dhcp"), change(text.expect("a vector"))).expect("written");
    let place = Place::beside(&config.join("bramble"));
    (folder, place)
}

/// What the file says, whatever its quotes and blank lines. Sorted: `uci set` puts an option behind the others.
fn says(place: &Place) -> String {
    sorted(&Document::read(&fs::read(&place.dhcp).expect("the file")).show("dhcp"))
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What `uci` itself makes of the file.
fn shown_by(uci: &Path, place: &Place) -> String {
    let folder = place.dhcp.parent().expect("a folder");
    let output = Command::new(uci).arg("-c").arg(folder).args(["show", "dhcp"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn default_configurations_are_taken_over_and_handed_back() {
    let main = |text: String| text.replace("maindhcp '0'", "maindhcp '1'");
    let plain = |text: String| text;
    for release in ["24.10", "25.12"] {
        for program in [None, uci()] {
            let changes: [(&dyn Fn(String) -> String, &str); 2] =
                [(&plain, "dhcp.lan.ignore='1'"), (&main, "dhcp.lan.dhcpv4='disabled'")];
            for (change, expected) in changes {
                let (_folder, mut place) = router(release, change);
                place.uci.clone_from(&program);
                let before = says(&place);
                let (plan, _) = place.make(&wanted()).expect("taken over");
                assert_eq!(plan.notices, Vec::<String>::new(), "{release}: all of the default is understood");
                let taken = says(&place);
                assert!(taken.lines().any(|line| line == expected), "{release}: {taken}");
                assert!(taken.contains("dhcp.bramble.leasefile='/tmp/bramble.leases'"), "{taken}");
                let untouched = ["dhcp.lan.ra='server'", "dhcp.lan.dhcpv6='server'", "dhcp.wan.ignore='1'"];
                assert!(untouched.iter().all(|line| taken.contains(line)), "{taken}");
                if let Some(uci) = &program {
                    assert_eq!(sorted(&shown_by(uci, &place)), taken);
                }
                let (again, _) = place.make(&wanted()).expect("a second time");
                assert_eq!((again.steps.len(), says(&place)), (0, taken));
                place.make(&Wanted::nothing()).expect("handed back");
                assert_eq!(says(&place), before, "{release}");
                assert!(!place.record.exists());
            }
        }
    }
}

/// Where a network has a dnsmasq of its own, that one leaves it alone; the other goes on as it was.
#[test]
fn a_network_of_a_second_dnsmasq_is_taken_over_and_handed_back() {
    let second = |text: String| {
        let instances =
            "config dnsmasq 'second'\n\toption domain 'lab'\n\toption leasefile '/tmp/dhcp.second'\n\n";
        text.replace(
            "config dhcp 'lan'",
            &format!("{instances}config dhcp 'lan'\n\toption instance 'second'"),
        )
    };
    for (release, program) in ["24.10", "25.12"].into_iter().flat_map(|r| [(r, None), (r, uci())]) {
        let (_folder, mut place) = router(release, second);
        place.uci.clone_from(&program);
        let before = says(&place);
        let (plan, _) = place.make(&wanted()).expect("taken over");
        assert_eq!(plan.notices, ["`dhcp.lan.instance` (`second`) is not followed by Bramble"], "{release}");
        let taken = says(&place);
        let new: Vec<&str> = taken.lines().filter(|line| !before.contains(line)).collect();
        assert!(
            new.contains(&"dhcp.lan.ignore='1'") && new.contains(&"dhcp.bramble.disabled='1'"),
            "{new:?}"
        );
        assert!(new.iter().all(|line| line.starts_with("dhcp.bramble") || line.contains(".lan.")), "{new:?}");
        place.make(&Wanted::nothing()).expect("handed back");
        assert_eq!(says(&place), before, "{release}");
    }
}

/// A system upgrade to an image without Bramble: the script that sysupgrade keeps gives the networks back.
#[test]
fn a_router_that_lost_bramble_gives_addresses_again() {
    let Some(uci) = uci() else { return };
    let main = |text: String| text.replace("maindhcp '0'", "maindhcp '1'");
    let had =
        |text: String| text.replace("option dhcpv4 'server'", "option dhcpv4 'relay'\n\toption ignore '0'");
    let plain = |text: String| text;
    let changes: [&dyn Fn(String) -> String; 3] = [&plain, &main, &had];
    for (release, change) in ["24.10", "25.12"].into_iter().flat_map(|r| changes.map(|change| (r, change))) {
        let (folder, mut place) = router(release, change);
        place.uci = Some(uci.clone());
        let before = says(&place);
        place.make(&wanted()).expect("taken over");
        // Somebody else's change is none of ours.
        let text = fs::read_to_string(&place.dhcp).expect("the file");
        fs::write(&place.dhcp, text.replace("'100'", "'7'")).expect("written");
        let taken = says(&place);
        let before = before.replace("dhcp.lan.start='100'", "dhcp.lan.start='7'");
        assert_ne!(taken, before);

        let program = folder.path().join("bramble");
        fs::write(&program, "").expect("written");
        comes_up(folder.path(), &uci, "ifup");
        assert_eq!(
            (says(&place), place.record.exists()),
            (taken.clone(), true),
            "{release}: Bramble is there"
        );
        fs::remove_file(&program).expect("removed");
        comes_up(folder.path(), &uci, "ifdown");
        assert_eq!((says(&place), place.record.exists()), (taken, true), "{release}: nothing came up");
        comes_up(folder.path(), &uci, "ifup");
        assert_eq!((says(&place), place.record.exists()), (before, false), "{release}");
        comes_up(folder.path(), &uci, "ifup");
        let said = fs::read_to_string(folder.path().join("said")).expect("written");
        assert_eq!(said, "odhcpd restart\ndnsmasq restart\n", "{release}: once");
    }
}

/// Runs the script as hotplug-call does, with the paths of `folder` in the place of the router's.
fn comes_up(folder: &Path, uci: &Path, action: &str) {
    let at = folder.display();
    let script = fs::read_to_string(Path::new(ROOT).join("openwrt/files/bramble.gone")).expect("the script");
    let script = script
        .replace("/etc/config", &format!("{at}/config"))
        .replace("/etc/init.d", &format!("{at}/init.d"))
        .replace("/usr/bin/bramble", &format!("{at}/bramble"))
        .replace("/etc/hotplug.d", &format!("{at}/hotplug.d"));
    let words = format!(
        "uci() {{ {} -c {at}/config -t {at}/delta \"$@\"; }}\nlogger() {{ :; }}\nACTION={action}\n(\n{script}\n)\n",
        uci.display()
    );
    fs::create_dir_all(folder.join("init.d")).expect("made");
    for service in ["odhcpd", "dnsmasq"] {
        let path = folder.join("init.d").join(service);
        fs::write(&path, format!("#!/bin/sh\necho {service} \"$@\" >>{at}/said\n")).expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    }
    let output = Command::new("busybox").args(["sh", "-c", &words]).output().expect("busybox runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_change_that_somebody_has_not_committed_is_not_committed_with_ours() {
    let Some(uci) = uci() else { return };
    let (folder, mut place) = router("25.12", |text| text);
    place.uci = Some(uci.clone());
    let theirs = folder.path().join("changes");
    let set = Command::new(&uci)
        .arg("-c")
        .arg(place.dhcp.parent().expect("a folder"))
        .arg("-t")
        .arg(&theirs)
        .args(["set", "dhcp.lan.start=7"])
        .status()
        .expect("it runs");
    assert!(set.success());
    place.make(&wanted()).expect("taken over");
    let text = says(&place);
    assert!(text.contains("dhcp.lan.start='100'") && text.contains("dhcp.lan.ignore='1'"), "{text}");
}

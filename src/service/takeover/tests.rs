use std::path::Path;

use proptest::prelude::*;

use super::apply::Place;
use super::*;
use crate::config::edit::edited;

const DNSMASQ: &str = "config dnsmasq\n\toption domain 'lan'\n\toption expandhosts '1'\n\n";
const LAN: &str = "config dhcp 'lan'\n\toption interface 'lan'\n\toption start '100'\n";
const GUEST: &str = "config dhcp\n\toption interface 'guest'\n\toption ignore '0'\n";
const ODHCPD: &str = "config odhcpd 'odhcpd'\n\toption maindhcp '1'\n";

fn wanted(networks: &[&str]) -> Wanted {
    Wanted { networks: networks.iter().map(|&name| name.to_owned()).collect(), tftp: true }
}

fn decide(text: &str, record: &Record, networks: &[&str]) -> Plan {
    plan(&Document::read(text.as_bytes()), record, &wanted(networks))
}

/// The text and the record once a plan is carried out.
fn carried_out(text: &str, plan: &Plan) -> (String, Record) {
    let text = edited(text.as_bytes(), &plan.edits()).expect("the edits can be made");
    (String::from_utf8(text).expect("text"), plan.record.clone())
}

fn shown_steps(plan: &Plan) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    plan.steps
        .iter()
        .map(|step| format!("{} {} -> {}", step.path, value(&step.from), value(&step.to)))
        .collect()
}

#[test]
fn the_least_that_does_it_is_changed() {
    let shown = "dhcp.bramble - -> dnsmasq";
    let off = LAN.replace("\toption start", "\toption ignore 'yes'\n\toption start");
    let disabled = format!("{LAN}\toption dhcpv4 'disabled'\n");
    let server = format!("{LAN}\toption dhcpv4 'server'\n");
    #[rustfmt::skip]
    let rows: [(&str, String, &[&str], &[&str]); 9] = [
        ("a fresh router",              format!("{DNSMASQ}{LAN}"),          &["lan"],          &["dhcp.lan.ignore - -> 1", shown]),
        ("found by interface",          format!("{DNSMASQ}{LAN}{GUEST}"),   &["guest"],        &["dhcp.@dhcp[1].ignore 0 -> 1", shown]),
        ("two networks",                format!("{LAN}{GUEST}"),            &["lan", "guest"], &["dhcp.lan.ignore - -> 1", "dhcp.@dhcp[1].ignore 0 -> 1", shown]),
        ("already ignored",             off.clone(),                        &["lan"],          &[shown]),
        ("odhcpd is the server",        format!("{ODHCPD}{LAN}"),           &["lan"],          &["dhcp.lan.dhcpv4 - -> disabled", shown]),
        ("odhcpd, in so many words",    format!("{ODHCPD}{server}"),        &["lan"],          &["dhcp.lan.dhcpv4 server -> disabled", shown]),
        ("odhcpd has it off",           format!("{ODHCPD}{disabled}"),      &["lan"],          &[shown]),
        ("no section of this network",  DNSMASQ.to_owned(),                 &["lan"],          &[shown]),
        ("nothing wanted",              format!("{DNSMASQ}{LAN}{off}"),     &[],               &[]),
    ];
    for (shows, text, networks, expected) in rows {
        let plan = decide(&text, &Record::default(), networks);
        assert_eq!(shown_steps(&plan), expected, "{shows}");
        assert_eq!(plan.odhcpd, shows.starts_with("odhcpd is") || shows.starts_with("odhcpd, in"), "{shows}");
        assert!(!plan.gives_back, "{shows}");
    }
}

#[test]
fn hand_back_restores_every_byte() {
    let mixed = LAN.replace("option start", "option ignore '0'\n\toption start");
    for text in [
        format!("{DNSMASQ}{LAN}{GUEST}"),
        format!("# mine\n{DNSMASQ}{mixed}{GUEST}{ODHCPD}"),
        format!("{ODHCPD}{LAN}\tlist dhcpv4 'a'\n\tlist dhcpv4 'b'\n"),
    ] {
        let (taken, record) = carried_out(&text, &decide(&text, &Record::default(), &["lan", "guest"]));
        assert_ne!(taken, text);
        // The record goes through its file.
        assert_eq!(Record::read(record.text().as_bytes()), record);
        let again = decide(&taken, &record, &["lan", "guest"]);
        assert_eq!((again.steps, &again.record), (Vec::new(), &record), "the second time nothing is to do");
        let back = decide(&taken, &record, &[]);
        assert!(back.gives_back);
        let (back, record) = carried_out(&taken, &back);
        assert_eq!(back.trim_end(), text.trim_end());
        assert_eq!(record, Record::default());
        assert_eq!(record.text(), "");
    }
}

#[test]
fn only_what_is_still_as_we_set_it_is_undone() {
    let text = format!("{DNSMASQ}{LAN}{GUEST}");
    let (taken, record) = carried_out(&text, &decide(&text, &Record::default(), &["lan", "guest"]));
    let changed = taken
        .replacen("option ignore '1'", "option ignore '0'", 1)
        .replace(&format!("option leasefile '{LEASE_FILE}'"), "option leasefile '/tmp/mine.leases'");
    let back = decide(&changed, &record, &[]);
    assert_eq!(shown_steps(&back), ["dhcp.@dhcp[1].ignore 1 -> 0"]);
    assert_eq!(
        back.notices,
        [
            "`dhcp.lan.ignore` is not as Bramble set it any more (`1`), so it is left to whoever changed it",
            "`dhcp.bramble` is not as Bramble made it any more, so it is left to whoever changed it",
        ]
    );
    // Still wanted: taken over anew, and the person's value is what comes back in the end.
    let anew = decide(&changed, &record, &["lan", "guest"]);
    assert_eq!(shown_steps(&anew), ["dhcp.lan.ignore 0 -> 1"]);
    let (taken, record) = carried_out(&changed, &anew);
    let (back, _) = carried_out(&taken, &decide(&taken, &record, &[]));
    assert!(back.contains("option ignore '0'") && !back.contains("option ignore '1'"), "{back}");
}

#[test]
fn a_network_that_is_not_served_any_more_goes_back_alone() {
    let text = format!("{DNSMASQ}{LAN}{GUEST}");
    let (taken, record) = carried_out(&text, &decide(&text, &Record::default(), &["lan", "guest"]));
    let fewer = decide(&taken, &record, &["guest"]);
    assert_eq!(shown_steps(&fewer), ["dhcp.lan.ignore 1 -> -"]);
    assert!(fewer.gives_back);
    let (text, record) = carried_out(&taken, &fewer);
    assert_eq!(record.changed.len(), 1);
    assert!(record.shown && text.contains("config dnsmasq 'bramble'"));
    // odhcpd became the main server meanwhile: the lever changes, and the old one is released.
    let main = format!("{text}{ODHCPD}");
    assert_eq!(
        shown_steps(&decide(&main, &record, &["guest"])),
        ["dhcp.@dhcp[1].ignore 1 -> 0", "dhcp.@dhcp[1].dhcpv4 - -> disabled"]
    );
}

#[test]
fn a_stranger_s_section_is_not_touched() {
    let text = format!("{LAN}config domain 'bramble'\n\toption name 'bramble'\n\toption ip '192.168.1.9'\n");
    let plan = decide(&text, &Record::default(), &["lan"]);
    assert_eq!(shown_steps(&plan), ["dhcp.lan.ignore - -> 1"]);
    assert!(plan.notices.iter().any(|n| n.contains("section `dhcp.bramble` that is not Bramble's")));
    let (taken, record) = carried_out(&text, &plan);
    assert_eq!(carried_out(&taken, &decide(&taken, &record, &[])).0, text);
}

#[test]
fn what_is_not_followed_is_named_with_its_value() {
    let text = "
config dnsmasq
	option domain 'lan'
	option sequential_ip '1'
	option enable_tftp '1'
	list confdir '/etc/dnsmasq.d'

config dnsmasq 'old'
	option disabled '1'
	option dhcpscript '/x'

config dhcp 'lan'
	option interface 'lan'
	option options 'x'
	option domain 'v6.lan'
	option ra 'server'

config dhcp 'iot'
	option interface 'iot'
	option options 'y'

config host
	option mac '00:11:22:33:44:55'
	option ip '192.168.1.5'
	option broadcast '1'

config relay
	option local_addr '192.168.1.1'

config odhcpd 'odhcpd'
	option maindhcp '0'
";
    let plan = decide(text, &Record::default(), &["lan"]);
    assert_eq!(
        plan.notices,
        [
            "`dhcp.@dnsmasq[0].sequential_ip` (`1`) is not followed by Bramble",
            "`dhcp.@dnsmasq[0].confdir` (`/etc/dnsmasq.d`) is not followed by Bramble",
            "`dhcp.lan.options` (`x`) is not followed by Bramble",
            "`dhcp.@host[0].broadcast` (`1`) is not followed by Bramble",
            "`dhcp.@relay[0]` is a section of a type that Bramble does not follow (`relay`)",
            "dnsmasq's own TFTP server is on (`dhcp.@dnsmasq[0].enable_tftp`) and has port 69, which Bramble needs; \
             switch it off with `uci set dhcp.@dnsmasq[0].enable_tftp=0; uci commit dhcp; /etc/init.d/dnsmasq restart`",
        ]
    );
    let main = text.replace("maindhcp '0'", "maindhcp '1'");
    let plan = decide(&main, &Record::default(), &["lan"]);
    assert!(plan.notices.contains(&"`dhcp.lan.domain` (`v6.lan`) is not followed by Bramble".to_owned()));
}

/// A router's folder, with an init script that keeps a diary.
fn router(dhcp: &str) -> (tempfile::TempDir, Place) {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    fs_err::create_dir(&config).expect("made");
    fs_err::write(config.join("dhcp"), dhcp).expect("written");
    for name in ["dnsmasq", "odhcpd"] {
        let diary = folder.path().join("diary");
        let script = folder.path().join(name);
        fs_err::write(&script, format!("#!/bin/sh\necho {name} \"$1\" >>'{}'\n", diary.display()))
            .expect("written");
        fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let place =
        Place { init_scripts: Some(folder.path().to_owned()), ..Place::beside(&config.join("bramble")) };
    (folder, place)
}

#[test]
fn the_services_are_told_what_concerns_them() {
    let text = format!("{DNSMASQ}{LAN}");
    let (folder, place) = router(&text);
    let diary = || fs_err::read_to_string(folder.path().join("diary")).unwrap_or_default();
    place.make(&wanted(&["lan"])).expect("taken over");
    assert_eq!(diary(), "dnsmasq reload\n");
    place.make(&wanted(&["lan"])).expect("nothing to do");
    assert_eq!(diary(), "dnsmasq reload\n", "and so nobody to tell");
    let (_, troubles) = place.make(&Wanted::nothing()).expect("handed back");
    assert_eq!((diary().as_str(), troubles), ("dnsmasq reload\ndnsmasq restart\n", Vec::new()));
    assert_eq!(fs_err::read_to_string(&place.dhcp).expect("the file").trim_end(), text.trim_end());
    assert!(!place.record.exists());
    fs_err::write(&place.dhcp, format!("{LAN}{ODHCPD}")).expect("written");
    place.make(&wanted(&["lan"])).expect("taken over");
    assert!(diary().ends_with("dnsmasq reload\nodhcpd reload\n"));
    fs_err::write(folder.path().join("dnsmasq"), "#!/bin/sh\nexit 3\n").expect("written");
    let (_, troubles) = place.make(&Wanted::nothing()).expect("handed back");
    let script = folder.path().join("dnsmasq").display().to_string();
    assert_eq!(
        troubles,
        [format!("dnsmasq was not told of the change (exit status: 3); run `{script} restart`")]
    );
}

#[test]
fn what_cannot_be_done_changes_nothing_and_says_why() {
    let (_folder, place) = router("config dhcp 'lan'\n\toption interface lan 'x'\n");
    let error = place.make(&wanted(&["lan"])).expect_err("faulty");
    assert_eq!(
        error.to_string(),
        format!(
            "{}:2:23: one word too many; put a value with blanks in quotes, such as `option name 'two words'`; until \
             that is right, no DHCP server of this router reads the file",
            place.dhcp.display()
        )
    );
    let (_folder, mut place) = router(LAN);
    place.record = Path::new("/proc/bramble_takeover").to_owned();
    let error = place.make(&wanted(&["lan"])).expect_err("no place for the record");
    assert!(error.to_string().contains("so nothing was changed"), "{error}");
    assert_eq!(fs_err::read_to_string(&place.dhcp).expect("the file"), LAN);
    fs_err::remove_file(&place.dhcp).expect("removed");
    let (plan, _) = place.make(&wanted(&["lan"])).expect("no file: nothing to take over");
    assert_eq!(plan, Plan::default());
}

#[test]
fn hosts_in_ethers_are_named() {
    let (folder, place) = router(LAN);
    fs_err::write(folder.path().join("ethers"), "# none\n\n").expect("written");
    let notices = |place: &Place| place.look(&wanted(&["lan"])).expect("a plan").notices;
    assert_eq!(notices(&place), Vec::<String>::new());
    fs_err::write(folder.path().join("ethers"), "00:11:22:33:44:55 printer\n").expect("written");
    assert!(notices(&place)[0].contains("names hosts, which Bramble does not read"));
}

proptest! {
    /// Whatever stands in the file, taking over and handing back leaves it as it was.
    #[test]
    fn hand_back_is_exact(
        sections in proptest::collection::vec((0..3usize, 0..5usize, any::<bool>()), 0..6),
        main in any::<bool>(),
        networks in proptest::sample::subsequence(vec!["lan", "guest", "iot"], 0..=3),
    ) {
        let mut text = DNSMASQ.to_owned();
        for (network, option, named) in sections.iter().copied() {
            let network = ["lan", "guest", "iot"][network];
            let name = if named && !text.contains(&format!("'{network}'\n\toption interface")) {
                format!(" '{network}'")
            } else {
                String::new()
            };
            let option = ["", "\toption ignore '1'\n", "\toption ignore '0'\n", "\toption dhcpv4 'server'\n",
                "\toption dhcpv4 'disabled'\n"][option];
            let section = format!("config dhcp{name}\n\toption interface '{network}'\n{option}\n");
            text.push_str(&section);
        }
        if main {
            text.push_str(ODHCPD);
        }
        let (taken, record) = carried_out(&text, &decide(&text, &Record::default(), &networks));
        let (back, record) = carried_out(&taken, &decide(&taken, &record, &[]));
        prop_assert_eq!(back.trim_end(), text.trim_end());
        prop_assert_eq!(record, Record::default());
    }

    /// Nothing that stands in the two files makes it fall over.
    #[test]
    fn any_text_is_survived(dhcp in "(config (dhcp|dnsmasq|odhcpd)( '?bramble'?)?\n|\toption (interface|ignore|maindhcp|x) '?[a-z1]{0,4}'?\n|.{0,9}\n){0,9}",
        record in "(config changed\n|\toption (network|nth|option|ours|before) '[a-z0-9]{0,4}'\n){0,9}") {
        let document = Document::read(dhcp.as_bytes());
        let record = Record::read(record.as_bytes());
        let _ = plan(&document, &record, &wanted(&["lan"]));
    }
}

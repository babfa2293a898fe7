use super::*;
use crate::types::{ImageVersion, SessionId, SessionKind, Version};

const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);
const NOON: i64 = 1_795_435_200;

fn at(secs: i64) -> Moment {
    Moment::from_secs(NOON + secs)
}

fn event(secs: i64, what: Happening) -> Event {
    Event { at: at(secs), last_at: at(secs), times: 1, what }
}

fn times(event: Event, times: u32) -> Event {
    Event { times, ..event }
}

fn facts() -> Facts {
    Facts {
        adopted: true,
        model: Some(Model::Pi4B),
        image: Some("trixie".parse().expect("an image")),
        image_exists: true,
        image_models: vec!["Pi 4B".to_owned(), "Pi 5".to_owned()],
        ..Facts::default()
    }
}

fn rom(secs: i64) -> Event {
    event(secs, Happening::Discover { stage: Stage::Rom })
}

fn offer(secs: i64) -> Event {
    event(secs, Happening::Offer { ip: IP })
}

fn file(secs: i64, name: &str, outcome: FileOutcome) -> Event {
    let took = Duration::from_millis(900);
    event(secs, Happening::File { name: name.to_owned(), bytes: 131_072, took, outcome })
}

/// A file that arrived whole: its bytes, and how many milliseconds they took.
fn loaded(secs: i64, name: &str, bytes: u64, millis: u64) -> Event {
    let took = Duration::from_millis(millis);
    event(secs, Happening::File { name: name.to_owned(), bytes, took, outcome: FileOutcome::Complete })
}

fn kernel(secs: i64) -> Event {
    event(secs, Happening::Lease { ip: IP, stage: Stage::Kernel })
}

fn mount(secs: i64) -> Event {
    let image = ImageVersion { name: "trixie".parse().expect("a name"), version: Version::FIRST };
    event(secs, Happening::Mount { image })
}

fn agent(secs: i64, phase: &str, message: &str) -> Event {
    event(secs, Happening::Agent { phase: phase.to_owned(), message: message.to_owned() })
}

/// A boot that gets all the way.
fn good() -> Vec<Event> {
    vec![
        rom(0),
        offer(1),
        file(2, "config.txt", FileOutcome::Complete),
        file(3, "pieeprom.sig", FileOutcome::Missing),
        file(6, "kernel8.img", FileOutcome::Complete),
        kernel(12),
        mount(13),
        agent(14, "started", "kernel 6.12"),
        agent(20, "handover", "/sbin/init"),
    ]
}

fn healthy() -> Health {
    Health {
        clock: at(100),
        temperature_mc: Some(50_000),
        throttled: Some(0),
        link_mbit: Some(1000),
        eeprom: Some(Moment::from_secs(1_750_000_000)),
        ..Health::default()
    }
}

fn codes(facts: Facts, events: &[Event], now: i64) -> Vec<String> {
    judge(facts, events, at(now)).into_iter().map(|verdict| verdict.code).collect()
}

#[test]
fn who_found_nothing_to_boot_has_asked_for_a_file() {
    let nothing = event(2, Happening::NothingToBoot { reason: "no image is assigned to it".to_owned() });
    assert_eq!(codes(facts(), &[rom(0), offer(1), nothing], 90), [""; 0], "it has an image now");
}

/// One row a way to misbehave: what was seen, when it is looked at, and what is said.
#[test]
fn each_way_to_stop_has_its_verdict() {
    use FileOutcome::{Complete, Missing, Silent};
    let to = |last: usize| good().into_iter().take(last).collect::<Vec<_>>();
    let with = |mut events: Vec<Event>, more: Vec<Event>| {
        events.extend(more);
        events
    };
    let in_vain: Vec<Event> = (0..10)
        .flat_map(|n| [rom(n * 6), offer(n * 6 + 1), file(n * 6 + 2, "start4.elf", Missing)])
        .collect();
    let system = |secs| event(secs, Happening::Lease { ip: IP, stage: Stage::System });
    let refused = event(1, Happening::Refused { reason: "every address of the pool is in use".to_owned() });
    let other = |change: fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        facts
    };
    #[rustfmt::skip]
    let rows: Vec<(Facts, Vec<Event>, i64, &str, &str)> = vec![
        (facts(), to(2), 70, "no_file_asked", "It asked for an address, was offered one, and never asked for a file."),
        (facts(), vec![times(rom(0), 5)], 70, "never_offered", "It asked for an address, was offered none, and fell silent."),
        (facts(), vec![rom(0), refused], 2, "no_address", "It asks for an address and gets none: every address of the pool is in use."),
        (facts(), in_vain, 60, "files_missing", "It asks again and again for files that its image does not have, `start4.elf` 10 times."),
        (facts(), with(to(3), vec![file(30, "kernel8.img", Silent)]), 95, "file_broken_off", "It stopped in the middle of `kernel8.img`, after 131072 bytes."),
        (facts(), vec![rom(0), offer(1), loaded(2, "config.txt", 400, 3), event(30, Happening::File { name: "start4.elf".to_owned(), bytes: 0, took: Duration::from_secs(28), outcome: Silent })], 95, "large_packets_lost", "Small files reach it, and of `start4.elf` not one packet of full size did."),
        (facts(), vec![rom(0), offer(1), loaded(20, "start4.elf", 2_256_800, 15_000), file(60, "kernel8.img", Silent)], 125, "link_too_slow", "It gave `kernel8.img` up after 131072 bytes: its files come at 150 KB a second, and it gives each 30 seconds."),
        (facts(), vec![rom(0), offer(1), kernel(20)], 30, "booted_by_another", "Its kernel runs, and not one of its files came from here."),
        (facts(), to(5), 70, "kernel_never_started", "It loaded `kernel8.img` as its last file, and no kernel asked for an address."),
        (facts(), to(6), 75, "kernel_never_mounted", "Its kernel runs and has an address, and never mounted its root."),
        (facts(), to(8), 80, "agent_silent", "It mounted its root, and then its agent fell silent."),
        (facts(), with(to(8), vec![agent(15, "failed", "the overlay cannot be made.")]), 16, "agent_failed", "Its agent gave up: the overlay cannot be made."),
        (facts(), vec![system(0)], 3600, "boots_elsewhere", "It runs a system of its own: its boot order prefers the SD card or a USB disk to the network."),
        (other(|facts| facts.image = None), to(3), 3, "no_image", "It has no image to boot."),
        (facts(), vec![rom(0), offer(1), event(2, Happening::Unreadable { reason: "`a` cannot be read".to_owned() })], 2, "file_unreadable", "A file that it asked for cannot be read: `a` cannot be read."),
        (other(|facts| facts.image_exists = false), to(2), 2, "image_missing", "Its image `trixie` does not exist."),
        (other(|facts| facts.image_models = vec!["Pi 3B".to_owned()]), to(3), 3, "image_not_for_model", "Its image `trixie` does not boot a Pi 4B; it boots Pi 3B."),
        (other(|facts| facts.adopted = false), to(2), 2, "not_adopted", "Nobody has adopted it, and it boots nothing before that."),
        (other(|facts| facts.rival = Some((IP, MacAddr::new([2, 0, 0, 0, 0, 9])))), good(), 30, "two_with_one_address", "Another machine, 02:00:00:00:00:09, uses this client's address 192.168.77.100."),
        (facts(), with(good(), vec![agent(40, "trouble", "anna cannot log in")]), 50, "agent_trouble", "It runs, but: anna cannot log in."),
        (facts(), with(to(3), vec![file(4, "x.dtb", Complete)]), 70, "kernel_never_started", "It loaded `x.dtb` as its last file, and no kernel asked for an address."),
    ];
    let mut said: Vec<&str> = Vec::new();
    for (facts, events, now, code, sentence) in rows {
        let verdicts = judge(facts, &events, at(now));
        let first = verdicts.first().unwrap_or_else(|| panic!("{code}: nothing was said"));
        assert_eq!((first.code.as_str(), first.sentence.as_str()), (code, sentence));
        assert!(!first.causes.is_empty() && first.remedy.ends_with('.'), "{code}");
        assert_eq!(
            verdicts.iter().filter(|verdict| verdict.stops).count(),
            usize::from(first.stops),
            "{code}"
        );
        said.push(code);
    }
    for rule in RULES.iter().filter(|rule| rule.stops) {
        assert!(said.contains(&rule.code), "{} has no row", rule.code);
    }
}

#[test]
fn each_weakness_that_an_agent_tells_has_its_advice() {
    let with = |change: fn(&mut Health)| {
        let mut health = healthy();
        change(&mut health);
        let link = Link { open: 1, since: Some(at(13)) };
        Facts { health: Some((at(100), health)), agent: true, link, ..facts() }
    };
    #[rustfmt::skip]
    let rows: Vec<(Facts, &[&str])> = vec![
        (with(|_| {}), &[]),
        (with(|health| health.throttled = Some(0x1)), &["undervoltage"]),
        (with(|health| health.throttled = Some(0x1_0000)), &["undervoltage"]),
        (with(|health| health.throttled = Some(0x8)), &["throttled"]),
        (with(|health| health.link_mbit = Some(100)), &["slow_link"]),
        (with(|health| health.clock = at(-3600)), &["clock_wrong"]),
        (with(|health| health.clock = at(4000)), &["clock_wrong"]),
        (with(|health| health.eeprom = Some(Moment::from_secs(1_580_000_000))), &["old_eeprom"]),
        (Facts { agent: false, ..with(|_| {}) }, &["agent_not_connected"]),
        (Facts { boot_order: Some("0xf21".to_owned()), ..with(|_| {}) }, &[]),
        (Facts { boot_order: Some("0xf241".to_owned()), ..with(|_| {}) }, &["usb_first"]),
        (Facts { boot_order: Some("0xf41".to_owned()), ..with(|_| {}) }, &["network_never"]),
        (Facts { eeprom_failed: Some("it was not written".to_owned()), ..with(|_| {}) }, &["eeprom_update_failed"]),
        (with(|health| { health.link_mbit = Some(10); health.throttled = Some(0x5) }), &["undervoltage", "throttled", "slow_link"]),
    ];
    let mut said: Vec<String> = Vec::new();
    for (facts, expected) in rows {
        let told = codes(facts, &good(), 150);
        assert_eq!(told, expected);
        said.extend(told);
    }
    let mut crawled = good();
    crawled.insert(4, loaded(5, "initramfs8", 3_000_000, 20_000));
    assert_eq!(codes(with(|_| {}), &crawled, 150), ["slow_files"]);
    said.push("slow_files".to_owned());
    for rule in RULES.iter().filter(|rule| !rule.stops && rule.code != "agent_trouble") {
        assert!(said.iter().any(|code| code == rule.code), "{} has no row", rule.code);
    }
    let slow = Health { link_mbit: Some(100), ..healthy() };
    let pi3 =
        Facts { model: Some(Model::Pi3B), health: Some((at(100), slow.clone())), agent: true, ..facts() };
    assert_eq!(
        codes(Facts { image_models: vec![], ..pi3 }, &good(), 110),
        Vec::<String>::new(),
        "it has no faster one"
    );
    let stale = Facts { health: Some((at(100), slow)), agent: true, ..facts() };
    assert_eq!(codes(stale, &good(), 100 + 301), Vec::<String>::new(), "an old word says nothing of now");
}

#[test]
fn nothing_is_said_of_a_boot_that_goes_well_or_is_over() {
    for length in 1..=good().len() {
        let events: Vec<Event> = good().into_iter().take(length).collect();
        let soon = 20;
        assert_eq!(codes(facts(), &events, soon), Vec::<String>::new(), "after {length} events");
    }
    let mut over = good();
    over.push(agent(300, "off", "switching off"));
    assert_eq!(codes(facts(), &over, 4000), Vec::<String>::new());
    let asleep: Vec<Event> = good().into_iter().take(2).collect();
    assert_eq!(codes(facts(), &asleep, 3600), Vec::<String>::new(), "switched off since");
    let user = "anna".parse().expect("a name");
    let mut used = good();
    used.push(event(100, Happening::LoggedIn { user, session: SessionId(1), on: SessionKind::Desktop }));
    let link = Link { open: 1, since: Some(at(13)) };
    assert_eq!(codes(Facts { agent: true, link, ..facts() }, &used, 7200), Vec::<String>::new());
}

#[test]
fn a_new_boot_forgets_what_went_wrong_in_the_one_before() {
    let mut events: Vec<Event> = good().into_iter().take(8).collect();
    events.push(agent(15, "failed", "the overlay cannot be made"));
    events.extend([rom(100), offer(101), file(102, "config.txt", FileOutcome::Complete)]);
    assert_eq!(codes(facts(), &events, 103), Vec::<String>::new());
}

#[test]
fn rules_are_named_once_and_say_what_to_do() {
    let mut codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), RULES.len());
    for rule in RULES {
        assert!(rule.remedy.ends_with('.') && !rule.causes.is_empty(), "{}", rule.code);
        assert!(rule.causes.iter().all(|cause| !cause.ends_with('.')), "{}", rule.code);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever happens in whatever order, at most one verdict stops, and all are sentences.
    #[test]
    fn any_timeline_is_judged(picks in proptest::collection::vec((0usize..9, 0i64..200), 0..100), silent in 0i64..2000) {
        let kinds = good();
        let mut now = 0;
        let events: Vec<Event> = picks
            .into_iter()
            .map(|(kind, pause)| {
                now += pause;
                Event { at: at(now), last_at: at(now), ..kinds[kind].clone() }
            })
            .collect();
        let verdicts = judge(facts(), &events, at(now + silent));
        proptest::prop_assert!(verdicts.iter().filter(|verdict| verdict.stops).count() <= 1);
        for verdict in verdicts {
            proptest::prop_assert!(verdict.sentence.ends_with('.'));
        }
    }
}

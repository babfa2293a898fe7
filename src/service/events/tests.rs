use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::types::{ImageVersion, SessionKind, UserName, Version};

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("bramble.db")).expect("a new database")
}

fn at(secs: i64) -> Moment {
    Moment::from_secs(secs)
}

fn file(name: &str, outcome: FileOutcome) -> Happening {
    Happening::File { name: name.to_owned(), bytes: 7, took: Duration::from_millis(1500), outcome }
}

fn agent(message: &str) -> Happening {
    Happening::Agent { phase: "trouble".to_owned(), message: message.to_owned() }
}

#[test]
fn what_repeats_itself_is_counted() {
    let events = Events::default();
    for secs in 0..5 {
        events.record(PI, at(secs), Happening::Discover { stage: Stage::Rom });
    }
    events.record(PI, at(9), Happening::Offer { ip: IP });
    let timeline = events.timeline(PI);
    let [first, second] = timeline.as_slice() else { panic!("{timeline:?}") };
    assert_eq!((first.at, first.last_at, first.times), (at(0), at(4), 5));
    assert_eq!((second.at, second.times), (at(9), 1));
    assert_eq!(events.latest(1, |_, _| true), (vec![(PI, second.clone())], true));
}

#[test]
fn who_reads_backwards_misses_nothing_and_reads_nothing_twice() {
    let events = Events::default();
    let other = MacAddr::new([0xdc, 0xa6, 0x32, 9, 9, 9]);
    for n in 0..40 {
        // Several at the same moment, and of two clients.
        let client = if n % 3 == 0 { other } else { PI };
        events.record(client, at(n / 4), agent(&n.to_string()));
        events.record(client, at(n / 4), Happening::Offer { ip: IP });
    }
    let wanted = |before: Moment| {
        move |_: MacAddr, event: &Event| event.at < before && event.what.weight() >= Weight::Trouble
    };
    let (mut pages, mut before) = (Vec::new(), at(1000));
    loop {
        let (page, more) = events.latest(5, wanted(before));
        before = page.first().expect("there are older ones").1.at;
        pages.push(page);
        if !more {
            break;
        }
    }
    let all: Vec<(MacAddr, Event)> = pages.into_iter().rev().flatten().collect();
    assert_eq!(all.len(), 40, "{all:?}");
    assert_eq!(events.latest(1000, wanted(at(1000))), (all, false));
}

#[test]
fn the_oldest_events_go_first_and_long_texts_are_cut() {
    let events = Events::default();
    for secs in 0..200 {
        events.record(PI, at(secs), agent(&format!("{secs} {}", "é".repeat(5000))));
    }
    let timeline = events.timeline(PI);
    assert_eq!(timeline.len(), limits::TIMELINE);
    assert_eq!(timeline.last().map(|event| event.at), Some(at(199)));
    assert!(
        matches!(&timeline[0].what, Happening::Agent { message, .. } if message.len() <= limits::EVENT_TEXT)
    );
}

#[test]
fn milestones_of_adopted_clients_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let before = Events::default();
    before.set_adopted(HashSet::from([PI]));
    let stranger = MacAddr::new([2, 0, 0, 0, 0, 1]);
    for client in [PI, stranger] {
        before.record(client, at(1), Happening::Discover { stage: Stage::Rom });
        before.record(client, at(2), Happening::Lease { ip: IP, stage: Stage::Rom });
        before.record(client, at(3), file("start4.elf", FileOutcome::Complete));
        before.record(client, at(4), file("kernel8.img", FileOutcome::Silent));
        before.record(client, at(5), agent("no overlay"));
    }
    before.save(&store).expect("saved");
    before.save(&store).expect("nothing to save");

    let after = Events::load(&store, HashSet::from([PI])).expect("loaded");
    let kinds: Vec<&str> = after.timeline(PI).iter().map(|event| event.what.kind()).collect();
    assert_eq!(kinds, ["lease", "file", "agent"]);
    assert_eq!(after.timeline(PI)[1], before.timeline(PI)[3]);
    assert_eq!(after.timeline(stranger), []);

    after.forget(PI, &store).expect("forgotten");
    assert_eq!(Events::load(&store, HashSet::from([PI])).expect("loaded").timeline(PI), []);
}

#[test]
fn who_floods_loses_lines_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let (quiet, noisy) = (MacAddr::new([2, 0, 0, 0, 0, 1]), PI);
    let adopted = HashSet::from([quiet, noisy]);
    let events = Events::load(&store, adopted.clone()).expect("nothing yet");
    for (secs, phase) in [(1, "started"), (2, "handover"), (3, "ready")] {
        let message = String::new();
        events.record(quiet, at(secs), Happening::Agent { phase: phase.to_owned(), message });
    }
    for round in 0..40 {
        for number in 0..400 {
            events.record(noisy, at(round * 1000 + number), agent(&format!("{round} {number}")));
        }
        assert!(events.lock().pending[&noisy].len() <= limits::EVENTS_PENDING);
        events.save(&store).expect("saved");
    }
    let rows = store.events().expect("read");
    let of = |client| rows.iter().filter(|row| row.client == client).count();
    assert_eq!((of(quiet), of(noisy)), (3, limits::EVENTS_KEPT as usize));
    let after = Events::load(&store, adopted).expect("loaded");
    assert_eq!(after.timeline(quiet), events.timeline(quiet));
    assert_eq!(after.timeline(noisy).last(), events.timeline(noisy).last(), "of the noisy one the newest");
}

#[test]
fn a_transfer_that_breaks_off_again_and_again_is_one_line() {
    let events = Events::default();
    for secs in 0..50 {
        let bytes = u64::try_from(secs).expect("positive");
        let took = Duration::from_millis(bytes);
        let name = "kernel8.img".to_owned();
        events.record(PI, at(secs), Happening::File { name, bytes, took, outcome: FileOutcome::Silent });
    }
    let [line] = events.timeline(PI).try_into().expect("one line");
    assert_eq!((line.times, line.last_at), (50, at(49)));
    assert!(matches!(line.what, Happening::File { bytes: 49, .. }), "how far it came the last time");
}

#[test]
fn a_boot_is_after_a_restart_what_it_was_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let before = Events::load(&store, HashSet::from([PI])).expect("nothing yet");
    let image = ImageVersion { name: "trixie".parse().expect("a name"), version: Version::FIRST };
    let agent = |phase: &str| Happening::Agent { phase: phase.to_owned(), message: String::new() };
    for start in [0, 10_000] {
        before.record(PI, at(start), Happening::Discover { stage: Stage::Rom });
        before.record(PI, at(start + 1), file("start4.elf", FileOutcome::Complete));
        before.record(PI, at(start + 2), file("recovery.elf", FileOutcome::Missing));
        before.record(PI, at(start + 3), Happening::Discover { stage: Stage::Kernel });
        let sent = before.connected(PI, at(start + 4));
        sent.fetch_add(100, Ordering::Relaxed);
        before.record(PI, at(start + 4), Happening::Mount { image: image.clone() });
        sent.fetch_add(5000, Ordering::Relaxed);
        before.record(PI, at(start + 5), agent("handover"));
        sent.fetch_add(2000, Ordering::Relaxed);
        before.record(PI, at(start + 6), agent("ready"));
        sent.fetch_add(900_000, Ordering::Relaxed);
        before.record(PI, at(start + 90), agent("off"));
        before.save(&store).expect("saved");
    }
    let boots = before.boots(PI);
    assert_eq!(boots.iter().map(|boot| boot.root_bytes).collect::<Vec<_>>(), [Some(7000), Some(7000)]);

    let after = Events::load(&store, HashSet::from([PI])).expect("loaded");
    assert_eq!(after.boots(PI), boots);
    assert_eq!(after.boots(PI)[1].steps[0].step, crate::service::boots::Milestone::Asked);
    // And goes on from there.
    after.record(PI, at(20_000), Happening::Discover { stage: Stage::Rom });
    assert_eq!(after.boots(PI).len(), 3);

    let others = Events::load(&store, HashSet::new()).expect("loaded");
    assert_eq!((others.timeline(PI), others.boots(PI)), (vec![], vec![]), "it is no client of ours any more");
    assert_eq!((store.events().expect("read"), store.boots().expect("read")), (vec![], vec![]));
}

#[test]
fn old_boots_go_from_the_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    let events = Events::load(&store, HashSet::from([PI])).expect("nothing yet");
    for day in 0..20 {
        events.record(PI, at(day * 86_400), Happening::Discover { stage: Stage::Rom });
        events.save(&store).expect("saved");
    }
    let kept: Vec<i64> =
        store.boots().expect("read").iter().map(|row| row.began_at.secs() / 86_400).collect();
    assert_eq!(kept, (12..20).collect::<Vec<_>>());
    assert_eq!(kept.len(), limits::BOOTS_KEPT);
}

#[test]
fn who_was_where_is_forgotten_and_who_is_there_is_not() {
    let events = Events::default();
    events.set_adopted(HashSet::from([PI]));
    let user = |name: &str| name.parse::<UserName>().expect("a name");
    let came = |name, session| Happening::LoggedIn { user: user(name), session, on: SessionKind::Desktop };
    let went =
        |name, session| Happening::LoggedOut { user: user(name), session, why: "logged out".to_owned() };
    events.record(PI, at(1), agent("kept"));
    events.record(PI, at(2), came("anna", SessionId(1)));
    events.record(PI, at(3), went("anna", SessionId(1)));
    let why = "wrong password".to_owned();
    events.record(PI, at(4), Happening::LoginRefused { user: user("bert"), why });
    events.record(PI, at(5), Happening::HomeFull { user: user("bert") });
    events.record(PI, at(6), came("carl", SessionId(2)));
    events.record(PI, at(10), came("dora", SessionId(3)));
    events.record(PI, at(11), went("dora", SessionId(3)));
    events.forget_people(at(10));
    let left: Vec<String> = events.timeline(PI).iter().map(|event| event.what.to_string()).collect();
    assert_eq!(
        left,
        [
            "agent trouble: kept",
            "carl logged in (desktop)",
            "dora logged in (desktop)",
            "dora logged out: logged out"
        ]
    );
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(&dir);
    events.save(&store).expect("saved");
    let written = store.events().expect("read").iter().map(|row| row.detail.clone()).collect::<String>();
    assert!(written.contains("dora") && !written.contains("anna"), "{written}");
}

#[test]
fn strangers_displace_strangers_only() {
    let events = Events::default();
    events.set_adopted(HashSet::from([PI]));
    events.record(PI, at(0), Happening::Discover { stage: Stage::Rom });
    let stranger = |number: u8| MacAddr::new([2, 0, 0, 0, 0, number]);
    for number in 0..200 {
        events.record(stranger(number), at(i64::from(number)), Happening::Discover { stage: Stage::Rom });
    }
    assert_eq!(events.timeline(PI).len(), 1);
    assert_eq!(events.timeline(stranger(0)).len(), 0);
    assert_eq!(events.timeline(stranger(199)).len(), 1);
    assert_eq!(events.lock().rings.len(), limits::TIMELINES_OF_STRANGERS + 1);
}

#[test]
fn a_link_is_open_until_its_last_connection_ends() {
    let events = Events::default();
    assert_eq!(events.link(PI), Link::default());
    events.connected(PI, at(1));
    events.connected(PI, at(2));
    events.disconnected(PI, at(3));
    assert_eq!(events.link(PI), Link { open: 1, since: Some(at(1)) });
    events.disconnected(PI, at(4));
    assert_eq!(events.link(PI), Link { open: 0, since: Some(at(4)) });
}

use std::net::Ipv4Addr;

use super::*;
use crate::types::{ImageVersion, Version};

const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);

fn facts() -> Facts {
    Facts {
        adopted: true,
        image: Some("trixie".parse().expect("image")),
        image_exists: true,
        link: Link::default(),
        agent: Presence::Unknown,
    }
}

/// Events a second apart, the first at second 100.
fn timeline(happenings: &[Happening]) -> Vec<Event> {
    (100..)
        .zip(happenings)
        .map(|(secs, what)| {
            let at = Moment::from_secs(secs);
            Event { at, last_at: at, times: 1, what: what.clone() }
        })
        .collect()
}

/// The reading `later` seconds after the last event.
fn at(facts: &Facts, happenings: &[Happening], later: u64) -> State {
    let events = timeline(happenings);
    let last = events.last().map_or(Moment::from_secs(100), |event| event.at);
    read(facts, &events, last.plus(Duration::from_secs(later)))
}

fn discover(stage: Stage) -> Happening {
    Happening::Discover { stage }
}

fn lease(stage: Stage) -> Happening {
    Happening::Lease { ip: IP, stage }
}

fn file(name: &str, outcome: FileOutcome) -> Happening {
    Happening::File { name: name.to_owned(), bytes: 1, took: Duration::ZERO, outcome }
}

fn mount() -> Happening {
    let version = Version(3.try_into().expect("not zero"));
    Happening::Mount { image: ImageVersion { name: "trixie".parse().expect("image"), version } }
}

fn agent(phase: &str, message: &str) -> Happening {
    Happening::Agent { phase: phase.to_owned(), message: message.to_owned() }
}

/// A whole boot of a Pi, event by event, and what the table shows after each.
fn boot() -> Vec<(Happening, Word)> {
    vec![
        (discover(Stage::Rom), Word::Address),
        (Happening::Offer { ip: IP }, Word::Address),
        (lease(Stage::Rom), Word::Firmware),
        (file("start4.elf", FileOutcome::Complete), Word::Firmware),
        (file("recovery.elf", FileOutcome::Missing), Word::Firmware),
        (file("kernel8.img", FileOutcome::Complete), Word::Firmware),
        (discover(Stage::Kernel), Word::Kernel),
        (lease(Stage::Kernel), Word::Kernel),
        (mount(), Word::Starting),
        (agent("started", "the agent runs"), Word::Starting),
        (agent("root", "the root is writable"), Word::Starting),
        (agent("handover", "hands over to /sbin/init"), Word::Up),
        (discover(Stage::System), Word::Up),
        (lease(Stage::System), Word::Up),
    ]
}

#[test]
fn every_step_of_a_boot_has_its_word() {
    let mut so_far = Vec::new();
    for (what, word) in boot() {
        so_far.push(what.clone());
        assert_eq!(at(&facts(), &so_far, 0).word, word, "{what:?}");
    }
    so_far.push(discover(Stage::Rom));
    assert_eq!(at(&facts(), &so_far, 0).word, Word::Address, "it was switched off and on");
}

#[test]
fn a_step_began_when_it_was_entered() {
    let happenings: Vec<Happening> = boot().into_iter().map(|(what, _)| what).take(6).collect();
    let state = at(&facts(), &happenings, 0);
    assert_eq!((state.word, state.since), (Word::Firmware, Some(Moment::from_secs(102))));
    assert_eq!(state.says, "loads its files, the last one `kernel8.img`");
}

#[test]
#[rustfmt::skip]
fn silence_is_judged_by_the_step_it_fell_in() {
    let rows: &[(&[Happening], u64, Word, &str)] = &[
        (&[], 9999, Word::Off, "never heard from"),
        (&[discover(Stage::Rom)], 59, Word::Address, "asks for an address"),
        (&[discover(Stage::Rom)], 60, Word::Stuck, "asked for an address and then fell silent; look at the cable, the switch and other DHCP servers"),
        (&[discover(Stage::Rom)], 900, Word::Off, "silent; last heard of: asks for an address"),
        (&[lease(Stage::Rom)], 60, Word::Stuck, "has an address and asks for no file; look for a firewall on UDP port 69, or a Pi that is not set to boot from the network"),
        (&[file("start.elf", FileOutcome::Silent)], 60, Word::Stuck, "stopped answering while loading `start.elf`; look at the cable and the power supply"),
        (&[file("kernel8.img", FileOutcome::Missing)], 60, Word::Stuck, "its last request was `kernel8.img`, which its image does not have; is the image made for this model?"),
        (&[file("kernel8.img", FileOutcome::Complete)], 60, Word::Stuck, "loaded `kernel8.img` and then fell silent; its screen shows how far it came"),
        (&[lease(Stage::Kernel)], 60, Word::Stuck, "the kernel runs and did not mount its root; its screen shows the reason, often a kernel without NFS"),
        (&[mount()], 60, Word::Stuck, "mounted its root and its agent fell silent; its screen shows the reason"),
        (&[mount(), agent("failed", "there is no /sbin/init")], 0, Word::Stuck, "the agent gave up: there is no /sbin/init"),
        (&[agent("trouble", "no time zone `Mars`")], 0, Word::Starting, "goes on, but: no time zone `Mars`"),
        (&[agent("trouble", "no time zone `Mars`"), agent("handover", "")], 0, Word::Up, "runs, but: no time zone `Mars`"),
        (&[Happening::Refused { reason: "the pool is full".to_owned() }], 0, Word::Stuck, "got no address: the pool is full"),
        (&[lease(Stage::System)], 9999, Word::Elsewhere, "runs a system of its own at 192.168.77.100"),
        (&[agent("handover", "")], 99_999, Word::Up, "runs"),
        (&[agent("handover", ""), agent("off", "the system has ended; switching off")], 99_999, Word::Off, "the system has ended; switching off"),
        (&[agent("handover", ""), agent("trouble", "the root is busy")], 0, Word::Up, "runs, but: the root is busy"),
        (&[agent("handover", ""), agent("trouble", "the root is busy"), agent("off", "the system has ended")], 0, Word::Off, "the system has ended"),
        // Datagrams may change places on their way.
        (&[agent("handover", ""), agent("off", "the system has ended"), agent("trouble", "the root is busy")], 0, Word::Off, "off, but: the root is busy"),
    ];
    for (happenings, later, word, says) in rows {
        let state = at(&facts(), happenings, *later);
        assert_eq!((state.word, state.says.as_str()), (*word, *says), "{happenings:?} {later} s later");
    }
}

#[test]
fn what_is_missing_for_a_boot_is_said_before_it_is_waited_for() {
    let events = [lease(Stage::Rom)];
    let state = at(&Facts { adopted: false, image: None, ..facts() }, &events, 0);
    assert_eq!(state.word, Word::New);
    assert_eq!(
        state.says,
        "has address 192.168.77.100 and is about to load its files; nobody has adopted it, and it boots nothing before that"
    );
    let state = at(&Facts { image: None, ..facts() }, &events, 0);
    assert_eq!(
        (state.word, state.says.as_str()),
        (Word::Stuck, "it has no image to boot; give one to it or to its room with `option image`")
    );
    let state = at(&Facts { image_exists: false, ..facts() }, &events, 0);
    assert_eq!(
        (state.word, state.says.as_str()),
        (Word::Stuck, "its image `trixie` does not exist; import it, or choose one of `bramble image list`")
    );
}

#[test]
fn who_was_adopted_just_now_is_not_in_trouble_for_what_was_missing_before() {
    let events =
        [lease(Stage::Rom), Happening::NothingToBoot { reason: "no image is assigned to it".to_owned() }];
    let stranger = at(&Facts { adopted: false, image: None, image_exists: false, ..facts() }, &events, 0);
    assert_eq!(stranger.word, Word::New);
    let without = at(&Facts { image: None, image_exists: false, ..facts() }, &events, 0);
    assert_eq!(
        (without.word, without.says.as_str()),
        (Word::Stuck, "it has no image to boot; give one to it or to its room with `option image`")
    );
    let adopted = at(&facts(), &events, 0);
    assert_eq!(
        (adopted.word, adopted.says.as_str()),
        (
            Word::Off,
            "found nothing to boot when it was switched on; switch it off and on, it has an image now"
        )
    );
}

#[test]
fn a_client_that_went_without_a_word_is_off_soon() {
    let (closed, gone) = (Some(Moment::from_secs(200)), Presence::Gone { since: Moment::from_secs(150) });
    let state = |link, agent, later| at(&Facts { link, agent, ..facts() }, &[agent_up()], later);
    let open = Link { open: 1, since: closed };
    let link = Link { open: 0, since: closed };
    assert_eq!(state(open, gone, 9999).word, Word::Up, "it reads its files");
    assert_eq!(state(link, gone, 139).word, Word::Up, "an agent may come back");
    let off = state(link, gone, 140);
    assert_eq!((off.word, off.since), (Word::Off, closed));
    assert_eq!(off.says, "went without a word; it lost its power or its network");
    let here = Presence::Here { since: Moment::from_secs(90), heard: Moment::from_secs(95) };
    assert_eq!(state(link, here, 99_999).word, Word::Up, "idle, and its agent says so");
    let before = Presence::Gone { since: Moment::from_secs(99) };
    assert_eq!(state(link, before, 300).word, Word::Up, "that was the start before");
}

fn agent_up() -> Happening {
    agent("handover", "")
}

#[test]
fn nobody_speaks_for_a_client_whose_agent_is_there() {
    let false_words = [
        agent("off", "switching off"),
        agent("failed", "no disk"),
        discover(Stage::Rom),
        lease(Stage::Kernel),
        Happening::Refused { reason: "the pool is full".to_owned() },
    ];
    // Second 100: up. 101: its agent connects. 102 on: what somebody else says.
    let all = timeline(&[[agent_up(), agent("ready", "")].as_slice(), &false_words].concat());
    let heard = |secs| Presence::Here { since: Moment::from_secs(101), heard: Moment::from_secs(secs) };
    let word = |agent| {
        let facts = Facts { agent, ..facts() };
        read(&facts, &believed(all.clone(), agent), Moment::from_secs(110)).word
    };
    assert_eq!(word(heard(120)), Word::Up);
    assert_eq!(word(heard(101)), Word::Stuck, "the agent has said nothing since: it may be true");
    assert_eq!(word(Presence::Gone { since: Moment::from_secs(103) }), Word::Stuck);
    let trouble = timeline(&[agent_up(), agent("ready", ""), agent("trouble", "no sound")]);
    assert_eq!(believed(trouble.clone(), heard(120)), trouble);
    let boot: Vec<Happening> = boot().into_iter().map(|(what, _)| what).collect();
    let late = Presence::Here { since: Moment::from_secs(400), heard: Moment::from_secs(500) };
    assert_eq!(believed(timeline(&boot), late), timeline(&boot), "what was before it came");
}

/// The last report of all may be lost: what came before it must not make a client start for ever.
#[test]
fn trouble_at_power_off_does_not_hide_the_end() {
    let facts = Facts { link: Link { open: 0, since: Some(Moment::from_secs(100)) }, ..facts() };
    let events = [agent("handover", ""), agent("trouble", "the root is busy")];
    assert_eq!(at(&facts, &events, 10).word, Word::Up);
    assert_eq!(at(&facts, &events, 900).word, Word::Off);
}

#[test]
fn a_client_that_is_up_is_off_when_its_root_stays_closed() {
    let since = Some(Moment::from_secs(100));
    let mut facts = facts();
    let word = |facts: &Facts, later| at(facts, &[agent("handover", "")], later).word;
    facts.link = Link { open: 1, since };
    assert_eq!(word(&facts, 99_999), Word::Up);
    facts.link = Link { open: 0, since };
    assert_eq!(word(&facts, 899), Word::Up, "an idle client closes its connection too");
    assert_eq!(word(&facts, 900), Word::Off);
}

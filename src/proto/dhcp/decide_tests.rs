use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::proto::dhcp::{Hardware, Message, code};
use crate::types::limits;

const ME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);
const OUTSIDE_POOL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const STRAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const HOUR: LeaseTime = LeaseTime::For(Duration::from_hours(1));
const NOW: Uptime = Uptime(Duration::from_secs(1000));

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

fn scope() -> Scope {
    Scope {
        network: "lan".into(),
        server: ME,
        subnet: Subnet::of(ME, 24).expect("a subnet"),
        pool: Some(A..=Ipv4Addr::new(10, 0, 0, 103)),
        lease_time: HOUR,
        relayed: false,
        reserved: Arc::from([]),
    }
}

fn client(last: u8) -> Client {
    Client {
        key: ClientKey::Hardware(Hardware::ethernet(mac(last))),
        mac: Some(mac(last)),
        stage: Stage::System,
        rom: None,
        standing: Standing::Stranger,
        fixed: None,
        lease_time: None,
    }
}

/// A packet of client `last`, with the fields that tell its state.
fn packet(
    last: u8,
    kind: Option<MessageType>,
    server_id: Option<Ipv4Addr>,
    requested: Option<Ipv4Addr>,
    ciaddr: Ipv4Addr,
) -> Packet {
    let mut message = Message::request(u32::from(last), Hardware::ethernet(mac(last)));
    message.ciaddr = ciaddr;
    if let Some(kind) = kind {
        message.push_kind(kind);
    }
    if let Some(ip) = server_id {
        message.push_raw(code::SERVER_ID, ip.octets());
    }
    if let Some(ip) = requested {
        message.push_raw(code::REQUESTED_IP, ip.octets());
    }
    Packet::parse(&message.encode(None).bytes).expect("our own packet")
}

fn discover_packet(last: u8) -> Packet {
    packet(last, Some(MessageType::Discover), None, None, NONE)
}

fn bound(client: &Client, ip: Ipv4Addr, until: Option<Uptime>) -> Change {
    Change::Bind(Binding {
        ip,
        key: client.key.clone(),
        mac: client.mac,
        network: "lan".into(),
        until,
        host_name: None,
    })
}

fn offered(client: &Client, ip: Ipv4Addr, probed: bool) -> Change {
    let (key, until) = (client.key.clone(), NOW.plus(OFFER_HOLD));
    Change::Offer { ip, key, mac: client.mac, network: "lan".into(), until, probed }
}

fn table(changes: &[Change]) -> Table {
    let mut table = Table::default();
    for change in changes {
        table.apply(change, NOW);
    }
    table
}

/// What was decided, in short: what the tables of cases compare.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    Offer(Ipv4Addr),
    Ack(Ipv4Addr),
    Nak(Refusal),
    Probe,
    Silent(Silence),
}

fn says(decision: &Decision) -> Says {
    match &decision.action {
        Action::Silent(why) => Says::Silent(*why),
        Action::Probe(_) => Says::Probe,
        Action::Reply(reply) => match (reply.kind, reply.why) {
            (_, Some(why)) => Says::Nak(why),
            (Some(MessageType::Offer), _) => Says::Offer(reply.yiaddr),
            _ => Says::Ack(reply.yiaddr),
        },
    }
}

fn decided(packet: &Packet, client: &Client, table: &Table, scope: &Scope) -> Decision {
    decide(packet, Facts { scope, client, table, now: NOW })
}

/// Shows, option 54, option 50, `ciaddr`, table, expected.
type RequestCase<'a> = (&'a str, Option<Ipv4Addr>, Option<Ipv4Addr>, Ipv4Addr, &'a [Change], Says);

/// Shows, packet, client, table, expected.
type NoteCase<'a> = (&'a str, Packet, &'a Client, &'a Table, Silence, Vec<Change>);

/// RFC 2131 §4.3.2, one row per sentence that says MUST or SHOULD, and our rules as the authority of the network.
#[test]
fn request_in_every_client_state() {
    let me = client(1);
    let later = Some(NOW.plus(Duration::from_mins(1)));
    let own = [bound(&me, A, later)];
    let others = [bound(&client(2), A, later)];
    let ended = [bound(&client(2), A, later), Change::Free { ip: A }];
    let declined = [bound(&me, A, later), Change::Decline { ip: A, until: NOW.plus(DECLINED_REST) }];
    let offer = [offered(&me, A, true)];
    let nothing: [Change; 0] = [];
    let held_elsewhere = [bound(&me, B, later)];
    let cases: &[RequestCase<'_>] = &[
        ("SELECTING us", Some(ME), Some(A), NONE, &offer, Says::Ack(A)),
        ("SELECTING us, address in ciaddr", Some(ME), None, A, &offer, Says::Ack(A)),
        (
            "SELECTING us, but another address",
            Some(ME),
            Some(B),
            NONE,
            &offer,
            Says::Nak(Refusal::HasAnother),
        ),
        ("SELECTING us, offer forgotten", Some(ME), Some(A), NONE, &nothing, Says::Ack(A)),
        (
            "SELECTING us, address meanwhile another's",
            Some(ME),
            Some(A),
            NONE,
            &others,
            Says::Nak(Refusal::NotYours),
        ),
        ("SELECTING us without an address", Some(ME), None, NONE, &offer, Says::Silent(Silence::NoAddress)),
        ("SELECTING another", Some(OTHER), Some(A), NONE, &offer, Says::Silent(Silence::ChoseAnother)),
        ("INIT-REBOOT, right", None, Some(A), NONE, &own, Says::Ack(A)),
        (
            "INIT-REBOOT from another network",
            None,
            Some(STRAY),
            NONE,
            &nothing,
            Says::Nak(Refusal::WrongNetwork),
        ),
        (
            "INIT-REBOOT, record says otherwise",
            None,
            Some(A),
            NONE,
            &held_elsewhere,
            Says::Nak(Refusal::HasAnother),
        ),
        ("INIT-REBOOT, no record, free", None, Some(A), NONE, &nothing, Says::Ack(A)),
        ("INIT-REBOOT, no record, another's", None, Some(A), NONE, &others, Says::Nak(Refusal::NotYours)),
        ("INIT-REBOOT, another's that has ended", None, Some(A), NONE, &ended, Says::Ack(A)),
        ("INIT-REBOOT, address rests", None, Some(A), NONE, &declined, Says::Nak(Refusal::NotYours)),
        ("INIT-REBOOT, our own address", None, Some(ME), NONE, &nothing, Says::Nak(Refusal::NotForClients)),
        (
            "INIT-REBOOT, not in the pool",
            None,
            Some(OUTSIDE_POOL),
            NONE,
            &nothing,
            Says::Nak(Refusal::NotForClients),
        ),
        (
            "INIT-REBOOT, broadcast",
            None,
            Some(Ipv4Addr::new(10, 0, 0, 255)),
            NONE,
            &nothing,
            Says::Nak(Refusal::WrongNetwork),
        ),
        ("RENEWING", None, None, A, &own, Says::Ack(A)),
        ("RENEWING after it has ended", None, None, A, &nothing, Says::Ack(A)),
        ("RENEWING what another has", None, None, A, &others, Says::Nak(Refusal::NotYours)),
        ("REBINDING from another network", None, None, STRAY, &nothing, Says::Nak(Refusal::WrongNetwork)),
        ("an empty request", None, None, NONE, &own, Says::Silent(Silence::NoAddress)),
    ];
    for (shows, server_id, requested, ciaddr, changes, expected) in cases {
        let request = packet(1, Some(MessageType::Request), *server_id, *requested, *ciaddr);
        let decision = decided(&request, &me, &table(changes), &scope());
        assert_eq!(says(&decision), *expected, "{shows}");
    }
}

/// RFC 2131 §3.1, §4.3.1.
#[test]
fn discover_by_standing_and_table() {
    let (me, later) = (client(1), Some(NOW.plus(Duration::from_mins(1))));
    let pi = Client { standing: Standing::Adopted, ..client(1) };
    let reserved = Client { fixed: Some(OUTSIDE_POOL), ..client(1) };
    let ignored = Client { standing: Standing::Ignored, ..client(1) };
    let full: Vec<Change> =
        (100..=103).map(|n| bound(&client(n), Ipv4Addr::new(10, 0, 0, n), later)).collect();
    let full_but_one = [full.as_slice(), &[Change::Free { ip: B }]].concat();
    let rest = |ip| Change::Decline { ip, until: NOW.plus(DECLINED_REST) };
    let took_reserved = [bound(&client(2), OUTSIDE_POOL, later)];
    let cases: &[(&str, &Client, &[Change], Says)] = &[
        ("a stranger waits for the probe", &me, &[], Says::Probe),
        ("a probe runs", &me, &[offered(&me, B, false)], Says::Silent(Silence::Probing)),
        ("the wire is silent", &me, &[offered(&me, B, true)], Says::Offer(B)),
        ("who has an address is offered that", &me, &[bound(&me, B, later)], Says::Offer(B)),
        ("who had one, too", &me, &[bound(&me, B, later), Change::Free { ip: B }], Says::Offer(B)),
        ("but not one that somebody else uses", &me, &[bound(&me, B, later), rest(B)], Says::Probe),
        ("a known Pi never waits", &pi, &full_but_one, Says::Offer(B)),
        ("a reservation is not probed", &reserved, &[], Says::Offer(OUTSIDE_POOL)),
        ("but not given while another has it", &reserved, &took_reserved, Says::Probe),
        ("the pool is full", &me, &full, Says::Silent(Silence::PoolExhausted)),
        ("the longest unused is next", &me, &full_but_one, Says::Probe),
        ("ignored by configuration", &ignored, &[], Says::Silent(Silence::Ignored)),
    ];
    for (shows, client, changes, expected) in cases {
        let decision = decided(&discover_packet(1), client, &table(changes), &scope());
        assert_eq!(says(&decision), *expected, "{shows}");
    }
}

#[test]
fn an_address_that_was_set_aside_meanwhile_goes_to_whom_it_is_for() {
    let mut scope = scope();
    scope.reserved = Arc::from([B]);
    let table =
        table(&[bound(&client(1), B, Some(NOW.plus(Duration::from_mins(1)))), Change::Free { ip: B }]);
    let decision = decided(&discover_packet(1), &client(1), &table, &scope);
    assert!(matches!(decision.action, Action::Probe(ip) if ip != B), "{decision:?}");
    let owner = Client { fixed: Some(B), ..client(2) };
    assert_eq!(says(&decided(&discover_packet(2), &owner, &table, &scope)), Says::Offer(B));
}

#[test]
fn a_client_that_asks_for_a_free_address_is_offered_it() {
    let pi = Client { standing: Standing::Adopted, ..client(1) };
    for (wish, shows) in [(A, "free"), (Ipv4Addr::new(10, 0, 0, 102), "free, too")] {
        let request = packet(1, Some(MessageType::Discover), None, Some(wish), NONE);
        assert_eq!(says(&decided(&request, &pi, &Table::default(), &scope())), Says::Offer(wish), "{shows}");
    }
    let taken = table(&[bound(&client(2), A, None)]);
    let request = packet(1, Some(MessageType::Discover), None, Some(A), NONE);
    let Says::Offer(ip) = says(&decided(&request, &pi, &taken, &scope())) else { panic!("an offer") };
    assert_ne!(ip, A);
}

/// pi-netboot 2.3: the ROM of a Pi 3 boots straight from the OFFER, so it is a binding; a Pi's lease never ends.
#[test]
fn an_offer_to_a_rom_is_a_binding() {
    let rom = |standing| Client { stage: Stage::Rom, rom: Some(Rom::Pi3), standing, ..client(1) };
    let until = |decision: &Decision| match decision.changes.as_slice() {
        [Change::Bind(binding)] => binding.until,
        other => panic!("a binding, not {other:?}"),
    };
    let adopted = rom(Standing::Adopted);
    let decision = decided(&discover_packet(1), &adopted, &Table::default(), &scope());
    assert_eq!(until(&decision), None);
    let Action::Reply(reply) = &decision.action else { panic!("an answer") };
    assert_eq!(reply.lease, Some(LeaseTime::Infinite));
    assert_eq!(reply.delay, super::super::pi::PI3_REPLY_DELAY);

    let new = rom(Standing::NewPi);
    let probed = table(&[offered(&new, B, true)]);
    assert_eq!(until(&decided(&discover_packet(1), &new, &probed, &scope())), Some(NOW.plus(ROM_HOLD)));
    let end = Some(NOW.plus(Duration::from_hours(2)));
    let longer = table(&[bound(&new, B, end)]);
    assert_eq!(until(&decided(&discover_packet(1), &new, &longer, &scope())), end, "never made shorter");
}

#[test]
fn lease_times() {
    let mut quick = packet(1, Some(MessageType::Request), Some(ME), Some(A), NONE);
    let lease = |packet: &Packet, client: &Client| {
        let decision = decided(packet, client, &Table::default(), &scope());
        let Action::Reply(reply) = decision.action else { panic!("an answer") };
        let until = decision.changes.iter().find_map(|change| match change {
            Change::Bind(binding) => Some(binding.until),
            _ => None,
        });
        (reply.lease.expect("a lease"), until.expect("a binding"))
    };
    let at = |time: Duration| (LeaseTime::For(time), Some(NOW.plus(time)));
    assert_eq!(lease(&quick, &client(1)), at(Duration::from_hours(1)));
    let own = Client { lease_time: Some(LeaseTime::Infinite), ..client(1) };
    assert_eq!(lease(&quick, &own), (LeaseTime::Infinite, None), "from its reservation");
    let adopted = Client { standing: Standing::Adopted, ..client(1) };
    assert_eq!(lease(&quick, &adopted), (LeaseTime::Infinite, None), "does not run out under a root on NFS");
    assert_eq!(lease(&quick, &Client { standing: Standing::NewPi, ..client(1) }), at(NEW_PI_LEASE));
    for (wish, expected) in [(600_u32, 600), (1, 120), (7200, 3600), (u32::MAX, 3600)] {
        let mut message = Message::request(1, Hardware::ethernet(mac(1)));
        message.push_kind(MessageType::Request);
        message.push_raw(code::SERVER_ID, ME.octets());
        message.push_raw(code::REQUESTED_IP, A.octets());
        message.push_raw(code::LEASE_TIME, wish.to_be_bytes());
        quick = Packet::parse(&message.encode(None).bytes).expect("our own packet");
        assert_eq!(lease(&quick, &client(1)), at(Duration::from_secs(expected)), "asked for {wish} s");
    }
}

/// RFC 2131 §4.3.3, §4.3.4.
#[test]
fn decline_and_release() {
    let (me, pi) = (client(1), Client { standing: Standing::Adopted, ..client(1) });
    let own = table(&[bound(&me, A, None)]);
    let others = table(&[bound(&client(2), A, None)]);
    let rest = vec![Change::Decline { ip: A, until: NOW.plus(DECLINED_REST) }];
    let free = vec![Change::Free { ip: A }];
    let (decline, release) = (Some(MessageType::Decline), Some(MessageType::Release));
    #[rustfmt::skip]
    let cases: [NoteCase<'_>; 9] = [
        ("declines its own",           packet(1, decline, Some(ME), Some(A), NONE),    &me, &own,    Silence::Declined,       rest.clone()),
        ("a Pi declines its own",      packet(1, decline, Some(ME), Some(A), NONE),    &pi, &own,    Silence::Declined,       rest),
        ("declines another's",         packet(1, decline, Some(ME), Some(A), NONE),    &me, &others, Silence::NotItsAddress,  vec![]),
        ("declines another server's",  packet(1, decline, Some(OTHER), Some(A), NONE), &me, &own,    Silence::ChoseAnother,   vec![]),
        ("declines nothing",           packet(1, decline, Some(ME), None, NONE),       &me, &own,    Silence::NoAddress,      vec![]),
        ("releases its own",           packet(1, release, Some(ME), None, A),          &me, &own,    Silence::Released,       free),
        ("releases another's",         packet(1, release, Some(ME), None, A),          &me, &others, Silence::NotItsAddress,  vec![]),
        ("releases another server's",  packet(1, release, Some(OTHER), None, A),       &me, &own,    Silence::ChoseAnother,   vec![]),
        ("a Pi shuts down, root on us", packet(1, release, Some(ME), None, A),         &pi, &own,    Silence::PiKeepsAddress, vec![]),
    ];
    for (shows, packet, client, table, silence, changes) in cases {
        let expected = Decision { action: Action::Silent(silence), changes };
        assert_eq!(decided(&packet, client, table, &scope()), expected, "{shows}");
    }
}

/// RFC 2131 §4.3.5 and table 3: INFORM is answered to `ciaddr`, without an address and without a lease.
#[test]
fn inform_changes_nothing() {
    let inform = packet(1, Some(MessageType::Inform), None, None, A);
    let decision = decided(&inform, &client(1), &Table::default(), &scope());
    let Action::Reply(reply) = &decision.action else { panic!("an answer") };
    assert_eq!((reply.yiaddr, reply.ciaddr, reply.lease, reply.to), (NONE, A, None, Destination::Client(A)));
    assert!(decision.changes.is_empty());
    let nowhere = packet(1, Some(MessageType::Inform), None, None, NONE);
    let decision = decided(&nowhere, &client(1), &Table::default(), &scope());
    assert_eq!(says(&decision), Says::Silent(Silence::NoAddress));
}

/// RFC 1534 §2.
#[test]
fn bootp_is_for_those_in_the_configuration() {
    let bootp = packet(1, None, None, None, NONE);
    let cases = [
        (client(1), Says::Silent(Silence::BootpStranger)),
        (Client { standing: Standing::NewPi, ..client(1) }, Says::Silent(Silence::BootpStranger)),
        (Client { fixed: Some(OUTSIDE_POOL), ..client(1) }, Says::Ack(OUTSIDE_POOL)),
    ];
    for (client, expected) in cases {
        let decision = decided(&bootp, &client, &Table::default(), &scope());
        assert_eq!(says(&decision), expected);
        if let Action::Reply(reply) = decision.action {
            assert_eq!((reply.kind, reply.lease), (None, None), "no DHCP options");
        }
    }
}

#[test]
fn messages_of_servers_are_not_answered() {
    for kind in [MessageType::Offer, MessageType::Ack, MessageType::Nak, MessageType::ForceRenew] {
        let decision =
            decided(&packet(1, Some(kind), None, None, A), &client(1), &Table::default(), &scope());
        assert_eq!(says(&decision), Says::Silent(Silence::NotForServers));
    }
}

/// RFC 2131 §4.1, the paragraph on where a server sends its answers.
#[test]
fn where_an_answer_goes() {
    let relay = Ipv4Addr::new(10, 9, 0, 1);
    let with = |giaddr: Ipv4Addr, ciaddr: Ipv4Addr, broadcast: bool, hardware: Hardware| {
        let mut message = Message::request(1, hardware);
        (message.giaddr, message.ciaddr, message.broadcast) = (giaddr, ciaddr, broadcast);
        Packet::parse(&message.encode(None).bytes).expect("our own packet")
    };
    let ethernet = Hardware::ethernet(mac(1));
    let infiniband = Hardware::new(32, 0, [0; 16]).expect("short enough");
    let cases = [
        ("giaddr", with(relay, NONE, false, ethernet), Destination::Relay(relay)),
        ("giaddr before all others", with(relay, B, true, ethernet), Destination::Relay(relay)),
        ("ciaddr", with(NONE, B, true, ethernet), Destination::Client(B)),
        ("broadcast flag", with(NONE, NONE, true, ethernet), Destination::Broadcast),
        ("else its hardware address", with(NONE, NONE, false, ethernet), Destination::Hardware(mac(1), A)),
        ("which it may not have", with(NONE, NONE, false, infiniband), Destination::Broadcast),
    ];
    for (shows, packet, expected) in cases {
        assert_eq!(destination(&packet, A), expected, "{shows}");
    }
    let refused = packet(1, Some(MessageType::Request), None, None, STRAY);
    let Action::Reply(reply) = decided(&refused, &client(1), &Table::default(), &scope()).action else {
        panic!("NAK")
    };
    assert_eq!(reply.to, Destination::Broadcast, "NAK is broadcast, ciaddr or not");
}

/// pi-netboot 2.9: ROM, firmware, kernel and operating system of one Pi show up to four identities.
#[test]
fn a_pi_that_moves_leaves_its_old_network() {
    let pi = Client { standing: Standing::Adopted, ..client(1) };
    let elsewhere = Change::Bind(Binding {
        ip: STRAY,
        key: pi.key.clone(),
        mac: pi.mac,
        network: "lab".into(),
        until: None,
        host_name: None,
    });
    let request = packet(1, Some(MessageType::Request), Some(ME), Some(A), NONE);
    let decision = decided(&request, &pi, &table(std::slice::from_ref(&elsewhere)), &scope());
    assert_eq!(decision.changes.first(), Some(&Change::Free { ip: STRAY }));
    let laptop = decided(&request, &client(1), &table(&[elsewhere]), &scope());
    assert_eq!(laptop.changes.len(), 1, "other devices may well be on two networks");
}

/// Found by `no_address_is_ever_two_clients`: the offer took the client's lease away, and the next one got it.
#[test]
fn an_offer_of_the_reserved_address_leaves_the_lease_it_has() {
    let reserved = Client { fixed: Some(A), ..client(1) };
    let mut table = table(&[bound(&reserved, B, None)]);
    let decision = decided(&discover_packet(1), &reserved, &table, &scope());
    assert_eq!(says(&decision), Says::Offer(A));
    for change in &decision.changes {
        table.apply(change, NOW);
    }
    let wish = packet(2, Some(MessageType::Discover), None, Some(B), NONE);
    assert_ne!(
        says(&decided(&wish, &Client { standing: Standing::Adopted, ..client(2) }, &table, &scope())),
        Says::Offer(B)
    );
    let request = packet(1, Some(MessageType::Request), Some(ME), Some(A), NONE);
    let decision = decided(&request, &reserved, &table, &scope());
    assert_eq!(says(&decision), Says::Ack(A));
    for change in &decision.changes {
        table.apply(change, NOW);
    }
    assert_eq!(
        says(&decided(&wish, &Client { standing: Standing::Adopted, ..client(2) }, &table, &scope())),
        Says::Offer(B)
    );
}

/// dnsmasq's rule: firmware without an identifier and the operating system with one are one machine.
#[test]
fn a_client_that_begins_to_show_an_identifier_keeps_its_address() {
    let shown = Client { key: ClientKey::Id([1, 2, 3].as_slice().into()), ..client(1) };
    let table = table(&[bound(&client(1), B, None)]);
    assert_eq!(says(&decided(&discover_packet(1), &shown, &table, &scope())), Says::Offer(B));
    let request = packet(1, Some(MessageType::Request), None, Some(B), NONE);
    assert_eq!(says(&decided(&request, &shown, &table, &scope())), Says::Ack(B));
    let stranger = Client { mac: Some(mac(9)), ..shown };
    assert_eq!(says(&decided(&request, &stranger, &table, &scope())), Says::Nak(Refusal::NotYours));
}

#[test]
fn invented_clients_hold_only_so_many_offers() {
    let mut wide = scope();
    wide.subnet = Subnet::of(Ipv4Addr::new(10, 0, 0, 0), 16).expect("a subnet");
    wide.pool = Some(A..=Ipv4Addr::new(10, 0, 255, 250));
    let mut table = Table::default();
    let mut offers = 0;
    for n in 0..2 * u32::try_from(limits::DHCP_OFFERS).expect("few") {
        let [_, _, c, d] = n.to_be_bytes();
        let mut flood = client(1);
        flood.mac = Some(MacAddr::new([2, 1, 1, 1, c, d]));
        flood.key = ClientKey::Hardware(Hardware::ethernet(MacAddr::new([2, 1, 1, 1, c, d])));
        let decision = decided(&discover_packet(1), &flood, &table, &wide);
        for change in &decision.changes {
            table.apply(change, NOW);
        }
        offers += usize::from(says(&decision) == Says::Probe);
    }
    assert_eq!((offers, table.offers()), (limits::DHCP_OFFERS, limits::DHCP_OFFERS));
    let pi = Client { standing: Standing::Adopted, ..client(2) };
    let decision = decided(&discover_packet(2), &pi, &table, &wide);
    assert!(matches!(says(&decision), Says::Offer(_)), "a known Pi is not kept out");
    table.expire(NOW.plus(OFFER_HOLD));
    assert_eq!(table.offers(), 0, "and a minute later it is over");
}

#[derive(Clone, Debug)]
enum Step {
    Discover { client: u8, wish: Option<u8> },
    Probed { in_use: bool },
    Request { client: u8, ip: u8, selecting: bool },
    Renew { client: u8, ip: u8 },
    Decline { client: u8, ip: u8 },
    Release { client: u8, ip: u8 },
    Wait { secs: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let (client, ip) = (1u8..9, 98u8..106);
    prop_oneof![
        (client.clone(), prop::option::of(ip.clone()))
            .prop_map(|(client, wish)| Step::Discover { client, wish }),
        any::<bool>().prop_map(|in_use| Step::Probed { in_use }),
        (client.clone(), ip.clone(), any::<bool>()).prop_map(|(client, ip, selecting)| Step::Request {
            client,
            ip,
            selecting
        }),
        (client.clone(), ip.clone()).prop_map(|(client, ip)| Step::Renew { client, ip }),
        (client.clone(), ip.clone()).prop_map(|(client, ip)| Step::Decline { client, ip }),
        (client, ip).prop_map(|(client, ip)| Step::Release { client, ip }),
        (0u16..5000).prop_map(|secs| Step::Wait { secs }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// Whatever eight clients do in whatever order, no address is promised to one while another may still use it, and no
    /// client hears of an address that the wire said is in use.
    #[test]
    fn no_address_is_ever_two_clients(steps in prop::collection::vec(step(), 1..120)) {
        let mut scope = scope();
        scope.reserved = Arc::from([Ipv4Addr::new(10, 0, 0, 98)]);
        let (mut table, mut now) = (Table::default(), NOW);
        // What each client was promised by ACK, or by an OFFER to a ROM, and until when.
        let mut promised: BTreeMap<Ipv4Addr, (u8, Option<Uptime>)> = BTreeMap::new();
        let mut probing = None;
        for step in steps {
            let ip = |last: u8| Ipv4Addr::new(10, 0, 0, last);
            let of = |n: u8| {
                let mut who = client(n);
                match n {
                    1 => who.standing = Standing::Adopted,
                    2 => (who.standing, who.stage) = (Standing::NewPi, Stage::Rom),
                    3 => who.fixed = Some(ip(98)),
                    _ => {}
                }
                who
            };
            let (who, packet) = match step {
                Step::Wait { secs } => {
                    now = now.plus(Duration::from_secs(secs.into()));
                    table.expire(now);
                    promised.retain(|_, (_, until)| until.is_none_or(|until| until > now));
                    continue;
                }
                Step::Probed { in_use } => {
                    if let Some((ip, who)) = probing.take() {
                        let who: u8 = who;
                        let waits = table.get(ip).is_some_and(|entry| {
                            entry.key == of(who).key && matches!(entry.state, State::Offered { probed: false, .. })
                        });
                        if waits && in_use {
                            table.apply(&Change::Decline { ip, until: now.plus(DECLINED_REST) }, now);
                        } else if waits {
                            table.apply(&offered(&of(who), ip, true), now);
                        }
                    }
                    continue;
                }
                Step::Discover { client, wish } => {
                    (client, packet(client, Some(MessageType::Discover), None, wish.map(ip), NONE))
                }
                Step::Request { client, ip: last, selecting } => {
                    let chosen = selecting.then_some(ME);
                    (client, packet(client, Some(MessageType::Request), chosen, Some(ip(last)), NONE))
                }
                Step::Renew { client, ip: last } => {
                    (client, packet(client, Some(MessageType::Request), None, None, ip(last)))
                }
                Step::Decline { client, ip: last } => {
                    (client, packet(client, Some(MessageType::Decline), Some(ME), Some(ip(last)), NONE))
                }
                Step::Release { client, ip: last } => {
                    (client, packet(client, Some(MessageType::Release), Some(ME), None, ip(last)))
                }
            };
            let client = of(who);
            let decision = decide(&packet, Facts { scope: &scope, client: &client, table: &table, now });
            for change in &decision.changes {
                table.apply(change, now);
                match change {
                    Change::Free { ip } | Change::Decline { ip, .. } => drop(promised.remove(ip)),
                    Change::Bind(binding) => {
                        promised.retain(|ip, (holder, _)| *holder != who || *ip == binding.ip);
                        let before = promised.insert(binding.ip, (who, binding.until));
                        prop_assert!(before.is_none_or(|(holder, _)| holder == who), "{} given twice", binding.ip);
                    }
                    Change::Offer { ip, .. } => {
                        let holder = promised.get(ip).map(|(holder, _)| *holder);
                        prop_assert!(holder.is_none_or(|holder| holder == who), "{ip} offered while held");
                    }
                }
            }
            match decision.action {
                Action::Probe(ip) => probing = Some((ip, who)),
                Action::Reply(reply) if reply.why.is_none() => {
                    let rests = table.get(reply.yiaddr).is_some_and(|entry| matches!(entry.state, State::Declined { .. }));
                    prop_assert!(!rests, "{} rests", reply.yiaddr);
                    prop_assert!(reply.yiaddr == ip(98) || scope.is_dynamic(reply.yiaddr), "{} is nobody's to give", reply.yiaddr);
                    prop_assert!(reply.yiaddr != ip(98) || who == 3, "{} is set aside", reply.yiaddr);
                }
                Action::Reply(_) | Action::Silent(_) => {}
            }
        }
    }
}

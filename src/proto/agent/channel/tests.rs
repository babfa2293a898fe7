use proptest::prelude::*;

use super::*;
use crate::types::{FullName, Role, Uid};

fn person() -> Person {
    Person {
        name: "anna".parse().expect("a name"),
        uid: Uid(10_000),
        gid: Gid(10_000),
        full_name: FullName::nearest("Anna Maier"),
        role: Role::Pupil,
        classes: vec![("class-7b".parse().expect("a class"), Gid(100_000))],
        must_change: false,
    }
}

fn people() -> People {
    People {
        persons: vec![person()],
        classes: vec![Class {
            name: "class-7b".parse().expect("a class"),
            gid: Gid(100_000),
            members: vec!["anna".parse().expect("a name")],
        }],
        groups: vec!["gpio".to_owned()],
        sudo: Sudo::Teachers,
        local_caches: true,
    }
}

fn secret() -> BoxedStrategy<Secret> {
    "[ -~äß😀]{0,60}".prop_map(|text| text.parse().expect("a password")).boxed()
}

fn ask() -> BoxedStrategy<Ask> {
    let name = || "[a-z][a-z0-9_-]{0,31}".prop_map(|name| name.parse().expect("a name"));
    let label = || any::<String>().prop_map(Label::from);
    prop_oneof![
        (name(), secret(), label(), label()).prop_map(|(name, password, service, terminal)| {
            Ask::Authenticate { name, password, service, terminal }
        }),
        (name(), secret(), secret()).prop_map(|(name, old, new)| Ask::ChangePassword { name, old, new }),
        (name(), label(), label(), 0..4_usize).prop_map(|(name, service, terminal, kind)| {
            Ask::OpenSession { name, service, terminal, kind: SessionKind::ALL[kind] }
        }),
        any::<u64>().prop_map(|session| Ask::CloseSession { session: SessionId(session) }),
    ]
    .boxed()
}

fn to_server() -> BoxedStrategy<ToServer> {
    let label = || any::<String>().prop_map(Label::from);
    prop_oneof![
        (any::<u32>(), label(), label(), proptest::collection::vec(any::<u64>(), 0..20)).prop_map(
            |(version, agent, boot_id, sessions)| {
                let sessions = sessions.into_iter().map(SessionId).collect();
                ToServer::Hello(Hello {
                    version,
                    agent,
                    boot_id,
                    sessions,
                    can: vec!["act".into()],
                    mode: None,
                })
            }
        ),
        (any::<u32>(), ask()).prop_map(|(id, ask)| ToServer::Ask { id, ask }),
        (any::<u32>(), proptest::option::of(label()))
            .prop_map(|(id, trouble)| ToServer::Done { id, trouble }),
        Just(()).prop_map(|()| ToServer::Pong),
    ]
    .boxed()
}

/// What a message says, passwords included: `Debug` hides those.
fn said<M: Message>(message: &M) -> String {
    serde_json::to_string(message).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the network cuts a stream into pieces, what was said is heard, in order, and nothing else.
    #[test]
    fn what_is_said_is_heard(
        messages in proptest::collection::vec(to_server(), 0..6),
        pieces in proptest::collection::vec(1_usize..200, 1..40),
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend_from_slice(&encode(message).expect("short enough"));
        }
        let mut inbox = Inbox::<ToServer>::default();
        let mut heard = Vec::new();
        let mut rest = stream.as_slice();
        for piece in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(piece.min(rest.len()));
            heard.extend(inbox.take(now).expect("our own"));
            rest = later;
        }
        prop_assert_eq!(
            heard.iter().map(said).collect::<Vec<_>>(),
            messages.iter().map(said).collect::<Vec<_>>()
        );
        prop_assert!(inbox.header.is_empty() && inbox.body.0.is_empty(), "nothing is left over");
    }

    /// Whatever a stranger announces and sends, it does not panic, and no more is kept than one message may have.
    #[test]
    fn nothing_sent_grows(
        announced in prop_oneof![0..40_u32, 16_300..16_500_u32, any::<u32>()],
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..12),
    ) {
        let mut inbox = Inbox::<ToServer>::default();
        let mut kept = 0;
        let header = announced.to_be_bytes().to_vec();
        for piece in std::iter::once(header).chain(pieces) {
            if inbox.take(&piece).is_err() {
                return Ok(());
            }
            kept += piece.len();
            prop_assert!(inbox.body.0.capacity() <= limits::CHANNEL_TO_SERVER);
            prop_assert!(inbox.body.0.is_empty() || kept <= limits::CHANNEL_TO_SERVER + 4);
        }
    }

    /// A label is one short line, whatever was sent, and cleaning it twice changes nothing.
    #[test]
    fn labels_are_lines(text in any::<String>()) {
        let label = Label::from(text);
        prop_assert!(label.as_str().len() <= limits::CHANNEL_LABEL);
        prop_assert!(!label.as_str().chars().any(char::is_control));
        prop_assert_eq!(Label::from(label.as_str()), label);
    }
}

#[test]
fn messages_look_like_this() {
    let hello = ToServer::Hello(Hello {
        version: VERSION,
        agent: "0.1.0".into(),
        boot_id: "d8f2".into(),
        sessions: vec![SessionId(7)],
        can: vec![],
        mode: None,
    });
    let close = ToServer::Ask { id: 3, ask: Ask::CloseSession { session: SessionId(7) } };
    let verified = ToAgent::Reply { id: 1, reply: Reply::Verified { person: person() } };
    let refused =
        ToAgent::Reply { id: 2, reply: Reply::Refused { code: Code::NotHere, message: "no".to_owned() } };
    let rows = [
        (said(&hello), r#"{"hello":{"version":1,"agent":"0.1.0","boot_id":"d8f2","sessions":[7]}}"#),
        (said(&close), r#"{"ask":{"id":3,"ask":{"close_session":{"session":7}}}}"#),
        (said(&ToServer::Pong), r#""pong""#),
        (
            said(&verified),
            r#"{"reply":{"id":1,"reply":{"verified":{"person":{"name":"anna","uid":10000,"gid":10000,"full_name":"Anna Maier","role":"pupil","classes":[["class-7b",100000]],"must_change":false}}}}}"#,
        ),
        (said(&refused), r#"{"reply":{"id":2,"reply":{"refused":{"code":"not_here","message":"no"}}}}"#),
    ];
    for (said, expected) in rows {
        assert_eq!(said, expected);
    }
}

#[test]
fn the_servers_words_survive_the_way() {
    let messages = [
        ToAgent::Welcome { version: VERSION, people: people() },
        ToAgent::Reply {
            id: 1,
            reply: Reply::Opened {
                session: SessionId(9),
                mounts: vec![Mount {
                    path: "/home/anna".to_owned(),
                    at: "/home/anna".to_owned(),
                    writable: true,
                    kind: MountKind::Home,
                }],
                tunnel: Some(Key(7)),
            },
        },
        ToAgent::Order {
            id: 1,
            order: Order::EndSession { session: SessionId(9), message: "Goodbye".to_owned() },
        },
        ToAgent::Ping,
    ];
    let mut inbox = Inbox::<ToAgent>::default();
    for message in &messages {
        let heard = inbox.take(&encode(message).expect("short enough")).expect("our own");
        assert_eq!(heard.iter().map(said).collect::<Vec<_>>(), [said(message)]);
    }
    let newer = br#"{"refused":{"code":"moon_phase","message":"Not today"}}"#;
    let Reply::Refused { code, message } = serde_json::from_slice(newer).expect("understood") else {
        unreachable!("a refusal")
    };
    assert_eq!(
        (code, message.as_str()),
        (Code::Other, "Not today"),
        "a newer server's reason is still shown"
    );
}

#[test]
fn no_password_is_printed_or_repeated() {
    let ask = Ask::Authenticate {
        name: "anna".parse().expect("a name"),
        password: "hunter2".parse().expect("a password"),
        service: "login".into(),
        terminal: "tty1".into(),
    };
    let message = ToServer::Ask { id: 1, ask };
    let frame = encode(&message).expect("short enough");
    assert!(frame.windows(7).any(|part| part == b"hunter2"), "it is sent");
    let mut inbox = Inbox::<ToServer>::default();
    assert!(inbox.take(&frame[..frame.len() - 1]).expect("not yet").is_empty());
    assert!(!format!("{message:?} {inbox:?}").contains("hunter2"));
    let text = r#"{"ask":{"id":1,"ask":{"authenticate":"hunter2"}}}"#;
    let mut frame = u32::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    frame.extend_from_slice(text.as_bytes());
    let error = Inbox::<ToServer>::default().take(&frame).expect_err("not an ask");
    assert_eq!(error.to_string(), "a message cannot be read (at byte 46 of 49)");
}

#[test]
fn lengths_are_bounded_both_ways() {
    for (header, length) in [([0, 0, 0, 0], 0_u32), ([0, 0, 0x40, 1], 16385), ([0xff; 4], u32::MAX)] {
        let error = Inbox::<ToServer>::default().take(&header).expect_err("refused");
        assert_eq!(
            error.to_string(),
            format!("a message is announced with {length} bytes; it may have 1 to 16384")
        );
    }
    assert!(Inbox::<ToServer>::default().take(&[0, 0, 0x40, 0]).expect("the longest").is_empty());
    let sessions = vec![SessionId(u64::MAX); 1000];
    let hello =
        Hello { version: VERSION, agent: "x".into(), boot_id: "x".into(), sessions, can: vec![], mode: None };
    let error = encode(&ToServer::Hello(hello)).expect_err("too long");
    assert_eq!(error.limit, limits::CHANNEL_TO_SERVER);
    assert!(error.to_string().ends_with("is longer than the 16384 allowed"), "{error}");
}

#[test]
fn a_pin_is_64_hex_digits() {
    let text = "00ff".repeat(16);
    let pin: Pin = text.parse().expect("a fingerprint");
    assert_eq!(pin.to_string(), text);
    assert_eq!(text.to_uppercase().parse(), Ok(pin));
    let long = format!("{text}00");
    for bad in ["", "00ff", &text[1..], &long, &text.replace('0', "g"), &"ä".repeat(32)] {
        assert_eq!(bad.parse::<Pin>(), Err(BadPin), "{bad}");
    }
}

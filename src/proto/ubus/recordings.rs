//! Everything that the real ubusd, libubus and procd said in `tests/vectors/ubus`, frame by frame.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use ubus_rs::{MsgType, UbusMessage};

use super::attr::{Attrs, Writer};
use super::blobmsg::{self, Kind};
use super::message::{self, Incoming};
use super::{Call, MethodType, Outcome, Provider, Signature, Status};
use crate::types::limits;

/// One recorded frame.
struct Frame {
    from_ubusd: bool,
    bytes: Vec<u8>,
    /// What the recorder made of it.
    attrs: Value,
}

impl Frame {
    fn kind(&self) -> MsgType {
        MsgType::from(self.bytes[1])
    }

    fn message(&self) -> UbusMessage {
        let [_, kind, seq_high, seq_low, a, b, c, d] = self.bytes[..8] else { panic!("a header") };
        UbusMessage {
            msg_type: MsgType::from(kind),
            seq: u16::from_be_bytes([seq_high, seq_low]),
            peer: u32::from_be_bytes([a, b, c, d]),
            body: self.bytes[8..].to_vec(),
        }
    }

    /// The recorder's reading of the attribute `name`.
    fn attr(&self, name: &str) -> Option<&Value> {
        let attrs = self.attrs.as_array().expect("a list");
        attrs.iter().find(|attr| attr["name"] == name).map(|attr| &attr["value"])
    }
}

/// The frames of each connection of each recording. A few of more than 10 kB were kept only in part; one of `ubus monitor`,
/// which is not made as calls are, was not read by the recorder.
fn connections() -> Vec<(String, Vec<Frame>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ubus");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let recording: Value =
            serde_json::from_slice(&std::fs::read(&file).expect("a recording")).expect("JSON");
        for (number, connection) in recording["connections"].as_array().expect("a list").iter().enumerate() {
            let frames = connection["frames"].as_array().expect("a list").iter().filter_map(|frame| {
                Some(Frame {
                    from_ubusd: frame["dir"] == "ubusd->client",
                    bytes: hex(frame["hex"].as_str()?),
                    attrs: frame.get("attrs")?.clone(),
                })
            });
            let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            found.push((format!("{stem}#{number}"), frames.collect()));
        }
    }
    found
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).expect("hex")).expect("four bits");
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn connection(name: &str) -> Vec<Frame> {
    connections().into_iter().find(|(known, _)| known == name).expect("it was recorded").1
}

/// A table as the recorder shows it, in JSON.
fn table(entries: &Value) -> Map<String, Value> {
    let entries = entries.as_array().expect("a list of entries").iter();
    entries.map(|entry| (entry["name"].as_str().expect("a name").to_owned(), value(entry))).collect()
}

fn value(entry: &Value) -> Value {
    let shown = &entry["value"];
    match entry["type"].as_str().expect("a type") {
        "table" => Value::Object(table(shown)),
        "array" => shown.as_array().expect("a list").iter().map(value).collect(),
        "int8/bool" => json!(shown != 0),
        "unspec" => Value::Null,
        _ => shown.clone(),
    }
}

/// `bytes` read down to the values and written again, in the same order.
fn rewritten(bytes: &[u8], in_table: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for attr in Attrs::new(bytes) {
        let attr = attr.expect("well-formed");
        let mut writer = Writer(&mut out);
        if in_table {
            assert!(attr.extended);
            let length = usize::from(u16::from_be_bytes([attr.data[0], attr.data[1]]));
            let name = str::from_utf8(&attr.data[2..2 + length]).expect("UTF-8");
            let data = &attr.data[(length + 3).next_multiple_of(4)..];
            let nested = attr.id == Kind::Table.id() || attr.id == Kind::List.id();
            let data = if nested { rewritten(data, true) } else { data.to_vec() };
            writer.entry(attr.id, name, |out| out.extend_from_slice(&data));
        } else {
            match attr.id {
                6 | 7 => writer.nested(attr.id, |inner| inner.0.extend(rewritten(attr.data, true))),
                1 | 3 | 5 | 8 => writer.u32(attr.id, attr.u32().expect("a number")),
                9 | 10 => writer.flag(attr.id, attr.flag()),
                2 | 4 | 12 | 13 => writer.text(attr.id, attr.text().expect("a text")),
                _ => writer.nested(attr.id, |inner| inner.0.extend_from_slice(attr.data)),
            }
        }
    }
    out
}

#[test]
fn every_frame_is_made_as_we_would_make_it() {
    let mut seen = 0;
    for (name, frames) in connections() {
        // `monitor` has attributes of its own, with other meanings.
        for frame in frames.iter().filter(|frame| frame.kind() != MsgType::Monitor) {
            let body = &frame.bytes[8..];
            let outer = Attrs::new(body).next().expect("one").expect("whole");
            let mut again = Vec::new();
            Writer(&mut again).nested(0, |inner| inner.0.extend(rewritten(outer.data, false)));
            assert_eq!(again, body, "{name}: {}", frame.attrs);
            seen += 1;
        }
    }
    assert!(seen > 300, "only {seen} frames");
}

#[test]
fn every_value_is_read_as_the_recorder_read_it() {
    let mut seen = 0;
    for (name, frames) in connections() {
        for frame in frames.iter().filter(|frame| frame.kind() != MsgType::Monitor) {
            let Some(expected) = frame.attr("DATA") else { continue };
            let outer = Attrs::new(&frame.bytes[8..]).next().expect("one").expect("whole");
            let data = Attrs::new(outer.data).flatten().find(|attr| attr.id == 7).expect("data");
            assert_eq!(blobmsg::read_table(data.data), Ok(table(expected)), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} tables");
}

/// The signature in a recorded ADD_OBJECT. Leaks the names: the real ones are constants.
fn signature(frame: &Frame) -> Signature {
    let leak = |name: &Value| -> &'static str { name.as_str().expect("a name").to_owned().leak() };
    let kinds = [
        Kind::List,
        Kind::Table,
        Kind::Text,
        Kind::Int64,
        Kind::Int32,
        Kind::Int16,
        Kind::Bool,
        Kind::Double,
    ];
    let methods = frame.attr("SIGNATURE").expect("a signature").as_array().expect("a list").iter();
    Signature(
        methods
            .map(|method| MethodType {
                name: leak(&method["name"]),
                arguments: method["value"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|argument| {
                        let kind = kinds.iter().find(|kind| argument["value"] == kind.id()).expect("a type");
                        (leak(&argument["name"]), *kind)
                    })
                    .collect(),
            })
            .collect(),
    )
}

/// An object that libubus registered and served: we register it with the same bytes, and answer each call that it
/// answered with the same bytes, but for the order of entries.
#[test]
fn an_object_is_served_as_libubus_serves_it() {
    let frames = connection("02-object-server#0");
    let (mut provider, first) = Provider::new("fixture", signature(&frames[1])).expect("small");
    assert_eq!(first, frames[1].bytes);
    let registered = frames[2..4].iter().map(|frame| provider.receive(&frame.message())).last();
    assert_eq!(registered, Some(Outcome::Registered(0xa70b_afd2)));

    let (mut answered, mut unknown) = (0, 0);
    let ours = |frame: &&Frame| !frame.from_ubusd && frame.kind() != MsgType::Notify;
    for (at, frame) in frames.iter().enumerate().filter(|(_, f)| f.from_ubusd && f.kind() == MsgType::Invoke)
    {
        let asked = frame.message();
        let to_it = |reply: &&Frame| (reply.message().seq, reply.message().peer) == (asked.seq, asked.peer);
        let replies: Vec<&Frame> = frames[at..].iter().filter(ours).filter(to_it).take(2).collect();
        match (provider.receive(&asked), replies.as_slice()) {
            (Outcome::Run(call), [data, status]) if data.kind() == MsgType::Data => {
                assert_eq!(call.arguments, table(frame.attr("DATA").expect("arguments")));
                let sent = provider.answer(call.ticket, &table(data.attr("DATA").expect("an answer")));
                let (sent_data, sent_status) = sent.split_at(data.bytes.len());
                assert_eq!(sent_status, status.bytes);
                assert_eq!(sent_data[..24], data.bytes[..24], "header and object");
                let (a, b) = (sorted(sent_data), sorted(&data.bytes));
                assert_eq!(a, b);
                provider.taken(call.ticket);
                answered += 1;
            }
            (Outcome::Run(call), _) => assert_eq!(provider.taken(call.ticket), None),
            (Outcome::Send(sent), [status, ..]) => {
                assert_eq!(sent, status.bytes, "a method that is not there");
                unknown += 1;
            }
            (other, _) => panic!("{other:?}"),
        }
    }
    assert!(answered >= 4 && unknown == 1, "{answered} answered, {unknown} unknown");
    assert!(provider.is_idle());
}

/// Bytes whose order does not matter.
fn sorted(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.sort_unstable();
    bytes
}

#[test]
fn an_event_is_sent_as_the_command_line_sends_it() {
    let frames = connection("07-events#1");
    let arguments = table(frames[1].attr("DATA").expect("arguments"));
    let mut out = Vec::new();
    let name = arguments["id"].as_str().expect("a name");
    message::event(&mut out, 1, name, arguments["data"].as_object().expect("a table")).expect("small");
    assert_eq!((out.len(), sorted(&out)), (frames[1].bytes.len(), sorted(&frames[1].bytes)));
    assert_eq!(out[..76], frames[1].bytes[..76], "up to the first entry");
}

#[test]
fn a_refused_registration_is_told() {
    for (name, frames) in connections().into_iter().filter(|(name, _)| name.starts_with("09")) {
        let Some(at) = frames
            .iter()
            .position(|frame| frame.kind() == MsgType::AddObject && frame.attr("OBJPATH").is_some())
        else {
            continue;
        };
        let (mut provider, _) = Provider::new("fixture", Signature(Vec::new())).expect("small");
        let mut answer = frames[at + 1].message();
        answer.seq = 1;
        assert_eq!(provider.receive(&answer), Outcome::Refused(Status(2)), "{name}");
        return;
    }
    panic!("no refused registration was recorded");
}

const OBJECT: u32 = 0x0000_0b7e;

/// A connection whose object is registered.
fn registered() -> Provider {
    let methods = ["echo", "slow"].map(|name| MethodType { name, arguments: Vec::new() });
    let (mut provider, _) = Provider::new("bramble", Signature(methods.into())).expect("small");
    let mut out = Vec::new();
    Writer(&mut out).nested(0, |inner| inner.u32(3, OBJECT));
    provider.receive(&UbusMessage { msg_type: MsgType::Data, seq: 1, peer: 0, body: out });
    let mut out = Vec::new();
    Writer(&mut out).nested(0, |inner| inner.u32(1, 0));
    let done = provider.receive(&UbusMessage { msg_type: MsgType::Status, seq: 1, peer: 0, body: out });
    assert_eq!(done, Outcome::Registered(OBJECT));
    provider
}

fn invoke(peer: u32, method: &str, arguments: &Value, quiet: bool) -> UbusMessage {
    let mut body = Vec::new();
    Writer(&mut body).nested(0, |inner| {
        inner.u32(3, OBJECT);
        inner.text(4, method);
        inner.nested(7, |table| blobmsg::write_table(table, arguments.as_object().expect("a table")));
        if quiet {
            inner.flag(10, true);
        }
    });
    UbusMessage { msg_type: MsgType::Invoke, seq: 2, peer, body }
}

fn run(outcome: Outcome) -> Call {
    let Outcome::Run(call) = outcome else { panic!("{outcome:?}") };
    call
}

/// The content of an answer, and its status.
fn read(answer: &[u8]) -> (Value, u32) {
    let outer = Attrs::new(&answer[8..]).next().expect("one").expect("whole");
    let data = Attrs::new(outer.data).flatten().find(|attr| attr.id == 7).expect("data");
    let content = Value::Object(blobmsg::read_table(data.data).expect("a table"));
    let end = UbusMessage {
        msg_type: MsgType::Status,
        seq: 0,
        peer: 0,
        body: answer[answer.len() - 20..].to_vec(),
    };
    let Some(Incoming::Status(status)) = Incoming::parse(&end) else { panic!("no status") };
    (content, status.0)
}

#[test]
fn the_session_of_a_person_in_luci_goes_no_further() {
    let arguments = json!({ "client": "lab-01", "ubus_rpc_session": "5c3f", "unknown": 1 });
    let call = run(registered().receive(&invoke(7, "echo", &arguments, false)));
    assert_eq!(Value::Object(call.arguments), json!({ "client": "lab-01", "unknown": 1 }));
}

#[test]
fn calls_beyond_the_places_wait_and_beyond_that_are_refused() {
    let mut provider = registered();
    let calls: Vec<Call> =
        (0..4).map(|peer| run(provider.receive(&invoke(peer, "slow", &json!({}), false)))).collect();
    for peer in 0..64 {
        let outcome = provider.receive(&invoke(100 + peer, "echo", &json!({ "n": peer }), false));
        assert_eq!(outcome, Outcome::Nothing("it waits for its turn"));
    }
    let Outcome::Send(refused) = provider.receive(&invoke(999, "echo", &json!({}), false)) else { panic!() };
    let expected = "64 calls to `bramble` wait already; ask again in a moment";
    assert_eq!(
        read(&refused),
        (json!({ "error": { "code": "busy", "message": expected, "field": null } }), 0)
    );

    let answer = json!({ "x": 1 });
    let answer = answer.as_object().expect("a table");
    let sent = provider.answer(calls[1].ticket, answer);
    assert_eq!(sent[4..8], [0, 0, 0, 1], "to the caller that asked");
    let next = provider.taken(calls[1].ticket).expect("one waits");
    assert_eq!(next.arguments["n"], 0, "the one that came first");
    assert_eq!(provider.answer(next.ticket, answer)[4..8], [0, 0, 0, 100]);
    assert_eq!(provider.answer(calls[1].ticket, answer), [0; 0], "it has its answer");

    let refused = provider.refuse_waiting();
    assert_eq!(read(&refused).0["error"]["code"], "stopping");
    assert!(!provider.is_idle());
    for ticket in [calls[0].ticket, calls[2].ticket, calls[3].ticket, next.ticket] {
        assert_eq!(provider.taken(ticket), None);
    }
    assert!(provider.is_idle());
}

#[test]
fn what_cannot_be_carried_out_is_answered_with_the_reason() {
    let mut provider = registered();
    let long = json!({ "text": "x".repeat(limits::CONTROL_REQUEST) });
    let Outcome::Send(refused) = provider.receive(&invoke(1, "echo", &long, false)) else { panic!() };
    let message = "the arguments are longer than 65536 bytes; ask for less at once";
    assert_eq!(
        read(&refused),
        (json!({ "error": { "code": "bad_request", "message": message, "field": null } }), 0)
    );

    let mut latin = invoke(1, "echo", &json!({ "text": "xx" }), false);
    let at = latin.body.windows(2).position(|pair| pair == b"xx").expect("the text");
    latin.body[at] = 0xff;
    let Outcome::Send(refused) = provider.receive(&latin) else { panic!() };
    assert_eq!(
        read(&refused).0["error"]["message"],
        "the arguments cannot be read: a text that is not UTF-8"
    );

    let call = run(provider.receive(&invoke(1, "echo", &json!({}), false)));
    let most = limits::UBUS_MESSAGE;
    let answer = |length: usize| {
        let answer = json!({ "text": "x".repeat(length) });
        provider.answer(call.ticket, answer.as_object().expect("a table"))
    };
    // Heads of the message, the object, the data and the text with its name, and the text's NUL.
    let overhead = 4 + 8 + 4 + 4 + 8 + 1;
    assert_eq!(read(&answer(most - overhead)).1, 0, "the largest answer goes out whole");
    assert_eq!(answer(most - overhead).len(), most + 8 + 28);
    let message = "the answer is larger than the 1024 KiB that ubus carries; ask for less at once";
    assert_eq!(
        read(&answer(most - overhead + 1)),
        (json!({ "error": { "code": "too_large", "message": message, "field": null } }), 0)
    );
}

#[test]
fn a_caller_that_wants_no_answer_gets_none() {
    let mut provider = registered();
    let call = run(provider.receive(&invoke(1, "echo", &json!({}), true)));
    assert_eq!(provider.answer(call.ticket, &Map::new()), [0; 0]);
    let nothing = Outcome::Nothing("the caller wants no answer");
    assert_eq!(provider.receive(&invoke(1, "no_such_method", &json!({}), true)), nothing);
}

#[test]
fn a_call_to_another_object_is_not_ours() {
    let (mut provider, _) = Provider::new("bramble", Signature(Vec::new())).expect("small");
    let Outcome::Send(sent) = provider.receive(&invoke(1, "echo", &json!({}), false)) else { panic!() };
    assert_eq!(
        sent,
        [0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 20, 1, 0, 0, 8, 0, 0, 0, 4, 3, 0, 0, 8, 0, 0, 0x0b, 0x7e]
    );
}

proptest! {
    /// Whatever arrives in whatever state, nothing breaks and no more calls run than may.
    #[test]
    fn any_message_is_taken(
        messages in prop::collection::vec(
            (0u8..13, 0u16..4, 0u32..3, prop::collection::vec(any::<u8>(), 0..80)), 0..24
        ),
    ) {
        let mut provider = registered();
        let mut running = 0;
        for (kind, seq, peer, body) in messages {
            let message = UbusMessage { msg_type: MsgType::from(kind), seq, peer, body };
            running += usize::from(matches!(provider.receive(&message), Outcome::Run(_)));
            running += usize::from(matches!(
                provider.receive(&invoke(peer, "echo", &json!({}), false)),
                Outcome::Run(_)
            ));
            prop_assert!(running <= limits::UBUS_CALLS);
        }
    }
}

//! Messages of ubusd with any content: attributes, blobmsg tables, and a provider that takes one after the other.
#![no_main]

use bramble::proto::ubus::attr::Writer;
use bramble::proto::ubus::{MethodType, Outcome, Provider, Signature, blobmsg};
use bramble::types::limits;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use ubus_rs::{MsgType, UbusMessage};

fuzz_target!(|data: &[u8]| {
    table(data);
    messages(data);
});

/// What is read can be written, and is then read as the same.
fn table(data: &[u8]) {
    let Ok(read) = blobmsg::read_table(data) else { return };
    let mut written = Vec::new();
    blobmsg::write_table(&mut Writer(&mut written), &read);
    assert_eq!(written.len() % 4, 0);
    let again = blobmsg::read_table(&written).expect("it was written by us");
    if !Value::Object(read.clone()).to_string().contains("\\u0000") {
        assert_eq!(again, read);
    }
}

/// The input as a run of messages: two bytes of length, type, sequence number, and a body.
fn messages(mut data: &[u8]) {
    let methods = ["status", "client_get"].map(|name| MethodType { name, arguments: Vec::new() });
    let (mut provider, _) = Provider::new("bramble", Signature(methods.into())).expect("small");
    let mut running = Vec::new();
    while let Some(([high, low, kind, seq], rest)) = data.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(length);
        data = rest;
        // The outer attribute is made here, so that mutation is spent on what is in it.
        let mut body = Vec::new();
        Writer(&mut body).nested(0, |inner| inner.0.extend_from_slice(content));
        let message = UbusMessage { msg_type: MsgType::from(*kind), seq: (*seq).into(), peer: 7, body };
        match provider.receive(&message) {
            Outcome::Run(call) => running.push(call),
            Outcome::Send(bytes) => assert!(bytes.len() % 4 == 0 && bytes.len() < 1024),
            Outcome::Nothing(_) | Outcome::Registered(_) | Outcome::Refused(_) => {}
        }
        assert!(running.len() <= limits::UBUS_CALLS);
        if running.len() == limits::UBUS_CALLS && kind % 2 == 0 {
            let call = running.remove(0);
            provider.answer(call.ticket, &call.arguments);
            running.extend(provider.taken(call.ticket));
        }
    }
    for call in running {
        provider.answer(call.ticket, &call.arguments);
        provider.taken(call.ticket);
    }
}

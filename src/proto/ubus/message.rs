//! What travels between a program and ubusd: a header of eight bytes, and one attribute around all others.

use serde_json::{Map, Value};
use ubus_rs::{MsgType, UbusMessage};

use super::attr::{Attr, Attrs, Writer};
use super::blobmsg::{self, Kind};
use super::{Signature, Status};
use crate::types::limits;

/// The numbers of attributes.
mod id {
    pub const STATUS: u8 = 1;
    pub const PATH: u8 = 2;
    pub const OBJECT: u8 = 3;
    pub const METHOD: u8 = 4;
    pub const SIGNATURE: u8 = 6;
    pub const DATA: u8 = 7;
    pub const ACTIVE: u8 = 9;
    pub const NO_REPLY: u8 = 10;
}

/// The object of ubusd itself that takes events.
const EVENTS: u32 = 1;

/// Bytes before the outer attribute.
const HEADER: usize = 8;

/// A message that says something to a provider of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A part of the answer to a request of ours.
    Data { object: Option<u32> },
    /// The end of the answer to a request of ours.
    Status(Status),
    /// Somebody calls a method. The caller is the peer of the message.
    Invoke { object: u32, method: &'a str, arguments: &'a [u8], quiet: bool },
    /// The object has got its first subscriber, or lost its last.
    Subscribed(bool),
    /// Something for programs that call others.
    Other,
}

impl<'a> Incoming<'a> {
    /// `None` if the message lacks what its type needs, or is not made of attributes.
    pub fn parse(message: &'a UbusMessage) -> Option<Self> {
        let outer = Attrs::new(&message.body).next()?.ok()?;
        let mut parts = Parts::default();
        for attr in Attrs::new(outer.data) {
            parts.take(attr.ok()?);
        }
        let u32_of = |attr: Option<Attr<'_>>| attr.and_then(|attr| attr.u32());
        Some(match message.msg_type {
            MsgType::Data => Self::Data { object: u32_of(parts.object) },
            MsgType::Status => Self::Status(Status(u32_of(parts.status)?)),
            MsgType::Invoke => Self::Invoke {
                object: u32_of(parts.object)?,
                method: parts.method?.text()?,
                arguments: parts.data.map(|attr| attr.data).unwrap_or_default(),
                quiet: parts.no_reply.is_some_and(|attr| attr.flag()),
            },
            MsgType::Notify => Self::Subscribed(parts.active?.flag()),
            _ => Self::Other,
        })
    }
}

/// The attributes of a message that a provider looks at.
#[derive(Default)]
struct Parts<'a> {
    status: Option<Attr<'a>>,
    object: Option<Attr<'a>>,
    method: Option<Attr<'a>>,
    data: Option<Attr<'a>>,
    active: Option<Attr<'a>>,
    no_reply: Option<Attr<'a>>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, attr: Attr<'a>) {
        let place = match attr.id {
            id::STATUS => &mut self.status,
            id::OBJECT => &mut self.object,
            id::METHOD => &mut self.method,
            id::DATA => &mut self.data,
            id::ACTIVE => &mut self.active,
            id::NO_REPLY => &mut self.no_reply,
            _ => return,
        };
        *place = Some(attr);
    }
}

/// The message is larger than ubusd carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is larger than the {} KiB that ubus carries", limits::UBUS_MESSAGE / 1024)]
pub struct TooLarge;

/// Appends "register the object `path`".
pub fn add_object(out: &mut Vec<u8>, seq: u16, path: &str, signature: &Signature) -> Result<(), TooLarge> {
    put(out, 6, seq, 0, |writer| {
        writer.text(id::PATH, path);
        writer.nested(id::SIGNATURE, |methods| {
            for method in &signature.0 {
                methods.entry(Kind::Table.id(), method.name, |out| {
                    let mut arguments = Writer(out);
                    for (name, kind) in &method.arguments {
                        blobmsg::write(&mut arguments, name, &kind.id().into());
                    }
                });
            }
        });
    })
}

/// Appends the content of an answer.
pub fn data(
    out: &mut Vec<u8>,
    seq: u16,
    peer: u32,
    object: u32,
    answer: &Map<String, Value>,
) -> Result<(), TooLarge> {
    put(out, 2, seq, peer, |writer| {
        writer.u32(id::OBJECT, object);
        writer.nested(id::DATA, |table| blobmsg::write_table(table, answer));
    })
}

/// Appends the end of an answer.
pub fn status(out: &mut Vec<u8>, seq: u16, peer: u32, object: u32, status: Status) {
    put(out, 1, seq, peer, |writer| {
        writer.u32(id::STATUS, status.0);
        writer.u32(id::OBJECT, object);
    })
    .expect("two numbers fit");
}

/// Appends "tell everybody who listens that `event` has happened".
pub fn event(out: &mut Vec<u8>, seq: u16, event: &str, data: &Map<String, Value>) -> Result<(), TooLarge> {
    put(out, 5, seq, EVENTS, |writer| {
        writer.u32(id::OBJECT, EVENTS);
        writer.text(id::METHOD, "send");
        writer.nested(id::DATA, |arguments| {
            blobmsg::write_text(arguments, "id", event);
            arguments.entry(Kind::Table.id(), "data", |out| blobmsg::write_table(&mut Writer(out), data));
        });
    })
}

/// Appends one message, or nothing if it is too large.
fn put(
    out: &mut Vec<u8>,
    kind: u8,
    seq: u16,
    peer: u32,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Result<(), TooLarge> {
    let at = out.len();
    out.extend_from_slice(&[0, kind]);
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&peer.to_be_bytes());
    Writer(out).nested(0, fill);
    if out.len().saturating_sub(at + HEADER) > limits::UBUS_MESSAGE {
        out.truncate(at);
        return Err(TooLarge);
    }
    Ok(())
}

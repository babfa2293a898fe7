//! One connection of a program that offers an object: registration, then calls in and answers out.
//!
//! A few calls are carried out at a time, some wait, and what comes on top is refused at once, so that a caller is always
//! told something and nothing grows. A call holds its place until its answer has been taken by ubusd.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};
use ubus_rs::UbusMessage;

use super::message::{self, Incoming, TooLarge};
use super::{Signature, Status, blobmsg};
use crate::types::limits;

/// What LuCI adds to every call: the session of the person who asked. It is nobody's business here.
const SESSION: &str = "ubus_rpc_session";

/// One connection, from its first message to its end.
#[derive(Debug)]
pub struct Provider {
    path: &'static str,
    signature: Signature,
    registration: Registration,
    /// The calls that are carried out, by ticket.
    running: BTreeMap<u32, Caller>,
    waiting: VecDeque<(Caller, Call)>,
    tickets: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    Asked { object: Option<u32> },
    Done { object: u32 },
}

/// Sequence number of the one request we make.
const REGISTER: u16 = 1;

/// Where an answer goes. Several callers use the same sequence number.
#[derive(Clone, Copy, Debug)]
struct Caller {
    seq: u16,
    peer: u32,
    object: u32,
    /// Wants no answer.
    quiet: bool,
}

/// A method to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Names the call when it is answered.
    pub ticket: u32,
    pub method: &'static str,
    pub arguments: Map<String, Value>,
}

/// What follows from a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing, and why.
    Nothing(&'static str),
    /// The object is registered, under this number.
    Registered(u32),
    /// ubusd does not take the object.
    Refused(Status),
    /// These bytes are to be sent.
    Send(Vec<u8>),
    /// This is to be carried out, and answered with [`Provider::answer`].
    Run(Call),
}

impl Provider {
    /// A new connection, and what is sent on it first.
    pub fn new(path: &'static str, signature: Signature) -> Result<(Self, Vec<u8>), TooLarge> {
        let mut first = Vec::new();
        message::add_object(&mut first, REGISTER, path, &signature)?;
        let provider = Self {
            path,
            signature,
            registration: Registration::Asked { object: None },
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            tickets: 0,
        };
        Ok((provider, first))
    }

    /// Takes one message of ubusd.
    pub fn receive(&mut self, message: &UbusMessage) -> Outcome {
        match (Incoming::parse(message), self.registration) {
            (None, _) => Outcome::Nothing("it is not made as ubus messages are"),
            (Some(Incoming::Data { object }), Registration::Asked { .. }) if message.seq == REGISTER => {
                self.registration = Registration::Asked { object };
                Outcome::Nothing("the rest of the answer comes")
            }
            (Some(Incoming::Status(status)), Registration::Asked { object }) if message.seq == REGISTER => {
                match object {
                    Some(object) if status == Status::OK => {
                        self.registration = Registration::Done { object };
                        Outcome::Registered(object)
                    }
                    _ => Outcome::Refused(status),
                }
            }
            (Some(Incoming::Invoke { object, method, arguments, quiet }), registration) => {
                let caller = Caller { seq: message.seq, peer: message.peer, object, quiet };
                if registration != (Registration::Done { object }) {
                    return caller.end(Status::NOT_FOUND);
                }
                self.invoke(caller, method, arguments)
            }
            (Some(Incoming::Subscribed(true)), _) => Outcome::Nothing("somebody subscribed"),
            (Some(Incoming::Subscribed(false)), _) => Outcome::Nothing("nobody is subscribed any more"),
            (Some(Incoming::Data { .. } | Incoming::Status(_)), _) => {
                Outcome::Nothing("it answers what nobody waits for")
            }
            (Some(Incoming::Other), _) => Outcome::Nothing("it is not for a provider"),
        }
    }

    fn invoke(&mut self, caller: Caller, method: &str, arguments: &[u8]) -> Outcome {
        let Some(method) = self.signature.find(method) else {
            return caller.end(Status::METHOD_NOT_FOUND);
        };
        if arguments.len() > limits::CONTROL_REQUEST {
            let most = limits::CONTROL_REQUEST;
            let message = format!("the arguments are longer than {most} bytes; ask for less at once");
            return caller.refuse("bad_request", &message);
        }
        let mut arguments = match blobmsg::read_table(arguments) {
            Ok(arguments) => arguments,
            Err(problem) => {
                return caller.refuse("bad_request", &format!("the arguments cannot be read: {problem}"));
            }
        };
        arguments.remove(SESSION);
        let room = self.running.len() < limits::UBUS_CALLS;
        if !room && self.waiting.len() >= limits::UBUS_WAITING {
            let message = format!(
                "{} calls to `{}` wait already; ask again in a moment",
                limits::UBUS_WAITING,
                self.path
            );
            return caller.refuse("busy", &message);
        }
        self.tickets = self.tickets.wrapping_add(1);
        let call = Call { ticket: self.tickets, method, arguments };
        if room {
            self.running.insert(call.ticket, caller);
            Outcome::Run(call)
        } else {
            self.waiting.push_back((caller, call));
            Outcome::Nothing("it waits for its turn")
        }
    }

    /// What is sent for the call `ticket`: `answer`, or why it cannot be carried. Empty if the caller wants nothing.
    ///
    /// The place of the call becomes free by [`Self::taken`].
    pub fn answer(&self, ticket: u32, answer: &Map<String, Value>) -> Vec<u8> {
        self.running.get(&ticket).map(|caller| caller.answer(answer)).unwrap_or_default()
    }

    /// ubusd has taken the answer of `ticket`. The next call that waited, if there is one.
    pub fn taken(&mut self, ticket: u32) -> Option<Call> {
        self.running.remove(&ticket)?;
        let (caller, call) = self.waiting.pop_front()?;
        self.running.insert(call.ticket, caller);
        Some(call)
    }

    /// Refuses every call that waits, because nothing new is begun any more.
    pub fn refuse_waiting(&mut self) -> Vec<u8> {
        let refuse = |(caller, _): (Caller, Call)| {
            caller.refusal("stopping", "Bramble is being stopped; ask again when it is back")
        };
        self.waiting.drain(..).flat_map(refuse).collect()
    }

    /// Whether every call has been answered.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }
}

impl Caller {
    /// An end without content; for what no object of ours has.
    fn end(self, status: Status) -> Outcome {
        if self.quiet {
            return Outcome::Nothing("the caller wants no answer");
        }
        let mut out = Vec::new();
        message::status(&mut out, self.seq, self.peer, self.object, status);
        Outcome::Send(out)
    }

    fn refuse(self, code: &str, message: &str) -> Outcome {
        if self.quiet {
            return Outcome::Nothing("the caller wants no answer");
        }
        Outcome::Send(self.refusal(code, message))
    }

    /// ubus has no text for an error, so a refusal is an answer.
    fn refusal(self, code: &str, message: &str) -> Vec<u8> {
        let refusal = json!({ "code": code, "message": message, "field": null });
        self.answer(&std::iter::once(("error".to_owned(), refusal)).collect())
    }

    fn answer(self, answer: &Map<String, Value>) -> Vec<u8> {
        let mut out = Vec::new();
        if self.quiet {
            return out;
        }
        if let Err(problem) = message::data(&mut out, self.seq, self.peer, self.object, answer) {
            return self.refusal("too_large", &format!("{problem}; ask for less at once"));
        }
        message::status(&mut out, self.seq, self.peer, self.object, Status::OK);
        out
    }
}

//! One connection to ubusd.
//!
//! `ubus-rs` connects, reads messages and sends notifications; what it has no words for (a typed registration, answers,
//! events) is written by us to a second handle of the same socket. Both are written by one task, one message after the
//! other. A second task only reads: ubusd drops what is meant for a program that does not.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use ubus_rs::{BlobBuf, UbusClientAsync, UbusError, UbusMessage, UbusReader, UbusWriter};

use super::notices::{Field, Notice};
use crate::proto::ubus::attr::without_nul;
use crate::proto::ubus::message::{self, TooLarge};
use crate::proto::ubus::{Call, Outcome, Provider, Signature, Status};
use crate::serve::control::Handler;
use crate::serve::supervisor::{Stop, stopped};
use crate::types::{chain, limits};

/// How long ubusd may take to greet us and to register the object: it answers at once or hangs.
const GREETING: Duration = Duration::from_secs(5);

/// How long ubusd may take over one message of ours before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long calls that run when we are told to stop may take to be answered. The supervisor waits for three seconds.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Messages for ubusd that may wait: every answer, and refusals.
const OUTGOING: usize = limits::UBUS_CALLS + limits::UBUS_REFUSALS;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("it says nothing for {} seconds", GREETING.as_secs())]
    Silent,
    #[error("the object is not taken (status {})", .0.0)]
    Refused(Status),
    #[error("the methods do not fit into a message")]
    Signature(#[source] TooLarge),
    #[error("the connection ended")]
    Read(#[source] io::Error),
    #[error("a message cannot be sent")]
    Write(#[source] io::Error),
    #[error("it takes nothing for {} seconds", PATIENCE.as_secs())]
    Stuck,
    #[error("a fault of Bramble")]
    Fault(#[source] tokio::task::JoinError),
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    Stopped,
    Lost(LinkError),
}

/// A connection with the object registered.
pub struct Link {
    provider: Provider,
    object: u32,
    reader: UbusReader,
    writer: Writer,
}

/// The task that writes.
struct Writer {
    /// For notifications.
    notifier: UbusWriter,
    /// The same socket, for everything else.
    stream: UnixStream,
    /// Sequence number of the last event.
    events: u16,
}

/// Bytes for ubusd; with a ticket, the answer to that call.
struct Outgoing {
    bytes: Vec<u8>,
    ticket: Option<u32>,
}

impl Link {
    /// Connects and registers the object `path`.
    pub async fn connect(socket: &Path, path: &'static str, signature: Signature) -> Result<Self, LinkError> {
        let (mut provider, first) = Provider::new(path, signature).map_err(LinkError::Signature)?;
        let registered = async {
            let mut client = UbusClientAsync::connect(&socket.to_string_lossy())
                .await
                .map_err(|error| LinkError::Connect(plain(error)))?;
            client.stream().write_all(&first).await.map_err(LinkError::Write)?;
            loop {
                match provider.receive(&client.recv().await.map_err(|error| LinkError::Read(plain(error)))?) {
                    Outcome::Registered(object) => return Ok((client, object)),
                    Outcome::Refused(status) => return Err(LinkError::Refused(status)),
                    Outcome::Nothing(_) | Outcome::Send(_) | Outcome::Run(_) => {}
                }
            }
        };
        let (mut client, object) = timeout(GREETING, registered).await.map_err(|_| LinkError::Silent)??;
        let stream = second_handle(client.stream()).map_err(LinkError::Connect)?;
        let (reader, notifier) = client.into_split();
        Ok(Self { provider, object, reader, writer: Writer { notifier, stream, events: 0 } })
    }

    /// Carries out calls and passes on `notices` until told to stop, or until ubusd is gone.
    pub async fn serve(
        self,
        handler: &Handler,
        notices: broadcast::Receiver<Arc<Notice>>,
        stop: &mut Stop,
    ) -> End {
        let Self { mut provider, object, reader, writer } = self;
        let (incoming, mut inbox) = mpsc::channel(1);
        let (outbox, outgoing) = mpsc::channel::<Outgoing>(OUTGOING);
        let (taken, mut takes) = mpsc::channel(limits::UBUS_CALLS);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(reader, incoming));
        tasks.spawn(writer.run(object, outgoing, notices, taken));
        let mut calls = JoinSet::new();
        let mut until: Option<Instant> = None;
        let send = |bytes: Vec<u8>, ticket: Option<u32>| {
            // There is room for it: a message is only read while one refusal and every answer fit.
            let _ = outbox.try_send(Outgoing { bytes, ticket });
        };
        loop {
            let room = outbox.capacity() > limits::UBUS_CALLS;
            tokio::select! {
                () = stopped(stop), if until.is_none() => {
                    until = Some(Instant::now() + LAST_ANSWERS);
                    let refusals = provider.refuse_waiting();
                    if !refusals.is_empty() {
                        send(refusals, None);
                    }
                }
                // Everything has been answered, and the writer has it all.
                Ok(_) = outbox.reserve_many(OUTGOING), if until.is_some() && provider.is_idle() => {
                    return End::Stopped;
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return End::Stopped,
                Some(message) = inbox.recv(), if room && until.is_none() => match provider.receive(&message) {
                    Outcome::Run(call) => { calls.spawn(carry_out(call, handler)); }
                    Outcome::Send(bytes) => send(bytes, None),
                    Outcome::Nothing(why) => tracing::trace!(kind = message.msg_type.name(), why, "ubus message"),
                    Outcome::Registered(_) | Outcome::Refused(_) => {}
                },
                Some(done) = calls.join_next() => match done {
                    Ok((ticket, answer)) => send(provider.answer(ticket, &answer), Some(ticket)),
                    Err(panic) => return End::Lost(LinkError::Fault(panic)),
                },
                Some(ticket) = takes.recv() => {
                    if let Some(call) = provider.taken(ticket) {
                        calls.spawn(carry_out(call, handler));
                    }
                }
                Some(ended) = tasks.join_next() => return End::Lost(match ended {
                    Ok(error) => error,
                    Err(panic) => LinkError::Fault(panic),
                }),
            }
        }
    }
}

/// An error of `ubus-rs`, which prints its own cause, as one that does not.
fn plain(error: UbusError) -> io::Error {
    match error {
        UbusError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// A handle of its own of the same socket.
fn second_handle(stream: &UnixStream) -> io::Result<UnixStream> {
    UnixStream::from_std(stream.as_fd().try_clone_to_owned()?.into())
}

/// Has a method carried out; the answer is what the caller gets.
fn carry_out(
    call: Call,
    handler: &Handler,
) -> impl Future<Output = (u32, Map<String, Value>)> + Send + 'static {
    let Call { ticket, method, arguments } = call;
    let answer = handler(method.to_owned(), Value::Object(arguments));
    async move { (ticket, reply(answer.await)) }
}

/// An answer as it travels over ubus: the object itself, or `{"error": …}`.
fn reply(answer: Value) -> Map<String, Value> {
    let Value::Object(mut answer) = answer else { return Map::new() };
    match answer.remove("ok") {
        Some(Value::Object(ok)) => ok,
        Some(other) => std::iter::once(("value".to_owned(), other)).collect(),
        None => answer,
    }
}

/// Reads until there is nothing more.
async fn read(mut reader: UbusReader, incoming: mpsc::Sender<UbusMessage>) -> LinkError {
    loop {
        match reader.recv().await {
            // If nobody takes it, the connection is at its end and this task with it.
            Ok(message) => drop(incoming.send(message).await),
            Err(error) => return LinkError::Read(plain(error)),
        }
    }
}

impl Writer {
    async fn run(
        mut self,
        object: u32,
        mut outgoing: mpsc::Receiver<Outgoing>,
        mut notices: broadcast::Receiver<Arc<Notice>>,
        taken: mpsc::Sender<u32>,
    ) -> LinkError {
        loop {
            let written = tokio::select! {
                biased;
                Some(Outgoing { bytes, ticket }) = outgoing.recv() => {
                    let written = self.write(&bytes).await;
                    if let Some(ticket) = ticket {
                        // If nobody takes it, the connection is at its end.
                        let _ = taken.send(ticket).await;
                    }
                    written
                }
                notice = notices.recv() => match notice {
                    Ok(notice) => self.tell(object, &notice).await,
                    Err(broadcast::error::RecvError::Lagged(lost)) => {
                        tracing::debug!(lost, "ubusd is too slow for notifications");
                        Ok(())
                    }
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
            };
            if let Err(error) = written {
                return error;
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let written = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        written.map_err(|_| LinkError::Stuck)?.map_err(LinkError::Write)
    }

    /// Tells subscribers of the object, and whoever listens to events.
    async fn tell(&mut self, object: u32, notice: &Notice) -> Result<(), LinkError> {
        let notify = self.notifier.notify(object, notice.what, |table| fill(table, notice));
        timeout(PATIENCE, notify)
            .await
            .map_err(|_| LinkError::Stuck)?
            .map_err(|error| LinkError::Write(plain(error)))?;
        self.events = self.events.wrapping_add(1);
        let mut event = Vec::new();
        match message::event(&mut event, self.events, &format!("bramble.{}", notice.what), &notice.table()) {
            Ok(()) => self.write(&event).await,
            Err(error) => {
                tracing::debug!(error = chain(&error), "an event is not sent");
                Ok(())
            }
        }
    }
}

/// Writes a notice with `ubus-rs`.
pub(super) fn fill(table: &mut BlobBuf, notice: &Notice) {
    for (name, field) in &notice.fields {
        match field {
            Field::Text(text) => table.blobmsg_add_string(name, &without_nul(text)),
            Field::Number(number) => table.blobmsg_add_u32(name, *number),
        }
    }
}

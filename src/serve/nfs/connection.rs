//! One TCP connection: bytes in, replies out.
//!
//! Every whole call that has arrived is answered into one buffer and sent by one `send`, except where a READ's data goes from
//! the page cache to the socket by itself. A call that would have to wait for the disk is answered by a thread that may, while
//! later calls of the same connection, and all other connections, go on; that thread also sends the reply, if nobody else is
//! sending and the socket takes it, because each further thread on its way costs more than the reply itself.

use std::future::Future as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portable_atomic::AtomicU64;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::call::{Answer, Caller, answer, changes};
use super::doorman::{Pass, Traffic};
use super::replies::{self, Turn};
use super::stream::Stream;
use crate::proto::rpc::{Framing, FramingError, Record};
use crate::proto::xdr::padding;
use crate::service::exports::{Patience, Payload};
use crate::sys::pages;
use crate::types::limits;

/// A peer that stops in the middle of a call for this long is cut off. One that takes nothing of its replies is cut off by the
/// kernel (`TCP_USER_TIMEOUT`), which saves a timer at each full buffer.
const STALLED: Duration = Duration::from_secs(30);

/// How long an address that is no client's may keep a connection without asking anything.
const STRANGER_IDLE: Duration = Duration::from_secs(10);

/// Read buffer and reply buffer that an idle connection keeps, in bytes.
const KEEP: usize = 4096;

/// Replies are sent when this much has gathered, in bytes, even if more calls are waiting.
const FULL: usize = 64 * 1024;

/// Why a connection ended that the client did not end.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the connection failed")]
    Socket(#[from] io::Error),
    #[error("the client stopped in the middle")]
    Stalled(#[from] tokio::time::error::Elapsed),
    #[error("the client sent what is not a call")]
    Framing(#[from] FramingError),
    #[error("a file ended while it was being sent")]
    Shrunk,
}

/// The right to send; whole replies and their parts go out under it.
type Sending = OwnedMutexGuard<()>;

/// The side of the socket that replies leave by.
struct Outlet {
    stream: Stream,
    sending: Arc<Mutex<()>>,
    traffic: Arc<Traffic>,
    /// What the client has been sent of its root, over all its connections.
    root: Option<Arc<AtomicU64>>,
    /// For the connection's own task.
    rest: mpsc::Sender<Rest>,
}

/// What a thread could not send of a reply.
struct Rest {
    reply: Vec<u8>,
    /// Bytes that are sent, and the right to send on, which whoever has begun has to keep.
    begun: Option<(usize, Sending)>,
    places: Places,
}

/// The places that a reply takes while it is in memory: among those of all connections, and among those of its own.
struct Places {
    _answer: Option<OwnedSemaphorePermit>,
    _call: OwnedSemaphorePermit,
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    outlet: Arc<Outlet>,
    caller: Caller,
    _pass: Pass,
    framing: Framing,
    out: Vec<u8>,
    /// The places of replies that are in `out`.
    held: Vec<Places>,
    /// Kept between a file's data and its padding, which is in `out`.
    sending: Option<Sending>,
    /// Room for calls that wait for the disk.
    calls: Arc<Semaphore>,
    rest: mpsc::Receiver<Rest>,
    /// Calls that wait for a thread, or for a reply that is being made.
    waiting: JoinSet<()>,
}

impl Connection {
    /// What is sent is added to `root`, if this is a client's connection to its root file system.
    pub fn new(
        shared: Arc<Shared>,
        stream: Stream,
        caller: Caller,
        pass: Pass,
        root: Option<Arc<AtomicU64>>,
    ) -> Self {
        let (send_rest, rest) = mpsc::channel(limits::NFS_CONNECTION_CALLS);
        let traffic = Arc::clone(pass.traffic());
        let outlet = Arc::new(Outlet { stream, sending: Arc::default(), traffic, root, rest: send_rest });
        Self {
            shared,
            outlet,
            caller,
            _pass: pass,
            framing: Framing::default(),
            out: Vec::new(),
            held: Vec::new(),
            sending: None,
            calls: Arc::new(Semaphore::new(limits::NFS_CONNECTION_CALLS)),
            rest,
            waiting: JoinSet::new(),
        }
    }

    /// Until the client closes the connection.
    pub async fn run(mut self) -> Result<(), Ended> {
        loop {
            let may_read = self.answer_waiting().await?;
            self.flush().await?;
            self.framing.release(KEEP);
            if self.out.capacity() > KEEP {
                self.out = Vec::new();
            }
            let patience = if !self.framing.is_empty() {
                Some(STALLED)
            } else if self.caller.visitor.seat.is_none() {
                Some(STRANGER_IDLE)
            } else {
                None
            };
            let room = self.framing.missing().max(KEEP);
            let arrived = read(&self.outlet.stream, self.framing.buffer(), room, patience);
            tokio::select! {
                read = arrived, if may_read => if read? == 0 { return Ok(()) },
                // Given back at once: calls that have arrived have a place now.
                _ = Arc::clone(&self.calls).acquire_owned(), if !may_read => {}
                Some(rest) = self.rest.recv() => self.send_rest(rest).await?,
                Some(_) = self.waiting.join_next(), if !self.waiting.is_empty() => {}
            }
        }
    }

    /// Answers the whole calls in the buffer, as far as there is room for those that have to wait; whether that was far enough.
    async fn answer_waiting(&mut self) -> Result<bool, Ended> {
        while self.calls.available_permits() > 0 {
            if !self.shared.exports.is_current(&self.caller.visitor) {
                let visitor = self.shared.exports.visitor(self.caller.visitor.ip, Some(&self.caller.visitor));
                self.caller.visitor = Arc::new(visitor);
            }
            let Some(record) = self.framing.next_record()? else { return Ok(true) };
            match answer(&self.shared, &self.caller, record, Patience::Inline, &mut self.out) {
                Answer::Ready if self.out.len() < FULL => {}
                Answer::Ready => self.flush().await?,
                Answer::Send(payload) => self.send_file(&payload).await?,
                Answer::Later => self.later(),
                Answer::Silence => {}
            }
        }
        Ok(false)
    }

    /// Has the call that came last answered by a thread that may wait.
    fn later(&mut self) {
        let Ok(place) = Arc::clone(&self.calls).try_acquire_owned() else { return };
        let (shared, outlet) = (Arc::clone(&self.shared), Arc::clone(&self.outlet));
        let record = self.framing.detach();
        let mut prepared = Box::pin(prepare(shared, outlet, self.caller.clone(), record, place));
        // Mostly there is nothing to wait for.
        match prepared.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(work)) => drop(tokio::task::spawn_blocking(|| work.carry_out())),
            Poll::Ready(None) => {}
            Poll::Pending => {
                self.waiting.spawn(async {
                    if let Some(work) = prepared.await {
                        // A panic was logged, and leaves the call without an answer.
                        let _ = tokio::task::spawn_blocking(|| work.carry_out()).await;
                    }
                });
            }
        }
    }

    /// The right to send, which a thread may have; it may also have left its task to us.
    async fn sending(&mut self) -> Result<Sending, Ended> {
        if let Some(sending) = self.sending.take() {
            return Ok(sending);
        }
        loop {
            tokio::select! {
                biased;
                sending = Arc::clone(&self.outlet.sending).lock_owned() => return Ok(sending),
                Some(rest) = self.rest.recv() => self.send_rest(rest).await?,
            }
        }
    }

    /// Sends what a thread has begun to send; what it has not begun gathers with other replies.
    async fn send_rest(&mut self, rest: Rest) -> Result<(), Ended> {
        let Rest { reply, begun, places } = rest;
        if let Some((sent, _sending)) = begun {
            send(&self.outlet.stream, reply.get(sent..).unwrap_or_default(), false).await?;
            self.outlet.count(reply.len() - sent);
        } else {
            self.out.extend(reply);
            self.held.push(places);
        }
        Ok(())
    }

    /// Sends what has gathered.
    async fn flush(&mut self) -> Result<(), Ended> {
        if !self.out.is_empty() {
            let _sending = self.sending().await?;
            self.send_out(false).await?;
        }
        Ok(())
    }

    async fn send_out(&mut self, more: bool) -> Result<(), Ended> {
        send(&self.outlet.stream, &self.out, more).await?;
        self.outlet.count(self.out.len());
        self.out.clear();
        self.held.clear();
        Ok(())
    }

    /// Sends what has gathered, and behind it the data it promises.
    async fn send_file(&mut self, payload: &Payload) -> Result<(), Ended> {
        // The promise stands at the end of `out`, and nothing may come between it and the data.
        let promise = std::mem::take(&mut self.out);
        let sending = self.sending().await?;
        let behind = std::mem::replace(&mut self.out, promise);
        self.send_out(true).await?;
        let stream = &self.outlet.stream;
        let length = usize::try_from(payload.length).expect("at most NFS_READ");
        let mut sent = 0;
        while sent < length {
            let at = payload.offset + u64::try_from(sent).expect("at most NFS_READ");
            let write = || pages::send_file(stream, &*payload.file, at, length - sent);
            match stream.try_write(write) {
                // The length was promised: there is no way to take it back but to start over.
                Ok(0) => return Err(Ended::Shrunk),
                Ok(bytes) => sent += bytes,
                Err(error) => wait_to_write(stream, error).await?,
            }
        }
        self.outlet.count(length);
        self.out.extend([0; 3].iter().take(padding(length)));
        self.out.extend(behind);
        if !self.out.is_empty() {
            self.sending = Some(sending);
        }
        Ok(())
    }
}

impl Outlet {
    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
        if let Some(root) = &self.root {
            root.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Sends a reply without waiting; what cannot be sent so is left to the connection's task.
    fn send_at_once(&self, reply: Vec<u8>, places: Places) {
        let mut begun = None;
        if let Ok(sending) = Arc::clone(&self.sending).try_lock_owned() {
            let mut sent = 0;
            while let Some(left @ [_, ..]) = reply.get(sent..) {
                match self.stream.try_write(|| pages::send(&self.stream, left, false)) {
                    Ok(bytes) => sent += bytes,
                    // It is full, or broken, which the task finds out.
                    Err(_) => break,
                }
            }
            self.count(sent);
            if sent == reply.len() {
                return;
            }
            begun = Some((sent, sending));
        }
        // There is room for as many as there are places. An error means that the connection has ended.
        let _ = self.rest.try_send(Rest { reply, begun, places });
    }
}

/// A call that has all it needs to be carried out.
struct Work {
    shared: Arc<Shared>,
    outlet: Arc<Outlet>,
    caller: Caller,
    record: Record,
    /// If it changes something.
    turn: Option<Turn>,
    disk: OwnedSemaphorePermit,
    places: Places,
}

impl Work {
    /// Waits for the disk and answers.
    fn carry_out(self) {
        let Self { shared, outlet, caller, record, turn, disk, places } = self;
        let mut out = Vec::new();
        let _ = answer(&shared, &caller, &record, Patience::Blocking, &mut out);
        if let Some(turn) = turn {
            turn.done(&out);
        }
        drop(disk);
        outlet.send_at_once(out, places);
    }
}

/// Waits until a call may be carried out; one that changes something is so only once, and has its reply sent if it was.
async fn prepare(
    shared: Arc<Shared>,
    outlet: Arc<Outlet>,
    caller: Caller,
    record: Record,
    call: OwnedSemaphorePermit,
) -> Option<Work> {
    let mut turn = None;
    while let Some(xid) = changes(&caller, &record) {
        match shared.replies.begin(caller.visitor.ip, xid, &record) {
            replies::Call::First(first) => {
                turn = Some(first);
                break;
            }
            replies::Call::Again(first) => {
                if let Some(reply) = replies::again(first).await {
                    let answer = Arc::clone(&shared.answers).acquire_owned().await.ok()?;
                    let places = Places { _answer: Some(answer), _call: call };
                    outlet.send_at_once(reply.to_vec(), places);
                    return None;
                }
            }
        }
    }
    let answer = Arc::clone(&shared.answers).acquire_owned().await.ok()?;
    let disk = Arc::clone(&shared.disk).acquire_owned().await.ok()?;
    let places = Places { _answer: Some(answer), _call: call };
    Some(Work { shared, outlet, caller, record, turn, disk, places })
}

async fn read(
    stream: &Stream,
    into: &mut Vec<u8>,
    room: usize,
    patience: Option<Duration>,
) -> Result<usize, Ended> {
    into.reserve(room);
    let arrived = async {
        loop {
            stream.readable().await?;
            match stream.try_read_buf(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    };
    Ok(match patience {
        None => arrived.await?,
        Some(patience) => timeout(patience, arrived).await??,
    })
}

async fn send(stream: &Stream, mut data: &[u8], more: bool) -> Result<(), Ended> {
    while !data.is_empty() {
        match stream.try_write(|| pages::send(stream, data, more)) {
            Ok(sent) => data = data.get(sent..).unwrap_or_default(),
            Err(error) => wait_to_write(stream, error).await?,
        }
    }
    Ok(())
}

async fn wait_to_write(stream: &Stream, error: io::Error) -> Result<(), Ended> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(stream.writable().await?),
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error.into()),
    }
}

//! One TCP connection: bytes in, replies out.
//!
//! Every whole call that has arrived is answered into one buffer and sent by one `send`, except where a READ's data goes from
//! the page cache to the socket by itself. A call that would have to wait for the disk is copied and answered from a pool, while
//! later calls of the same connection, and all other connections, go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::call::{Answer, Caller, answer, changes};
use super::doorman::Pass;
use super::replies;
use crate::proto::rpc::{Framing, FramingError};
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

/// A reply made in the pool, and its place among those that may be in memory.
type Made = (Vec<u8>, OwnedSemaphorePermit);

pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    caller: Caller,
    pass: Pass,
    framing: Framing,
    out: Vec<u8>,
    pool: JoinSet<Option<Made>>,
}

impl Connection {
    pub fn new(shared: Arc<Shared>, stream: TcpStream, caller: Caller, pass: Pass) -> Self {
        let (framing, out, pool) = (Framing::default(), Vec::new(), JoinSet::new());
        Self { shared, stream, caller, pass, framing, out, pool }
    }

    /// Until the client closes the connection.
    pub async fn run(mut self) -> Result<(), Ended> {
        loop {
            self.answer_waiting().await?;
            self.flush(false).await?;
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
            let may_read = self.pool.len() < limits::NFS_CONNECTION_CALLS;
            let room = self.framing.missing().max(KEEP);
            let arrived = read(&mut self.stream, self.framing.buffer(), room, patience);
            tokio::select! {
                read = arrived, if may_read => if read? == 0 { return Ok(()) },
                Some(made) = self.pool.join_next(), if !self.pool.is_empty() => {
                    if let Ok(Some((reply, _room))) = made {
                        send(&self.stream, &reply, false).await?;
                        self.count(reply.len());
                    }
                }
            }
        }
    }

    /// Answers the whole calls in the buffer, as far as the pool has room for those that need it.
    async fn answer_waiting(&mut self) -> Result<(), Ended> {
        while self.pool.len() < limits::NFS_CONNECTION_CALLS {
            if !self.shared.exports.is_current(&self.caller.visitor) {
                let visitor = self.shared.exports.visitor(self.caller.visitor.ip, Some(&self.caller.visitor));
                self.caller.visitor = Arc::new(visitor);
            }
            let Some(record) = self.framing.next_record()? else { break };
            match answer(&self.shared, &self.caller, record, Patience::Inline, &mut self.out) {
                Answer::Ready if self.out.len() < FULL => {}
                Answer::Ready => self.flush(false).await?,
                Answer::Send(payload) => self.send_file(&payload).await?,
                Answer::Later => {
                    let record = record.into();
                    self.pool.spawn(in_pool(Arc::clone(&self.shared), self.caller.clone(), record));
                }
                Answer::Silence => {}
            }
        }
        Ok(())
    }

    /// Sends what has gathered.
    async fn flush(&mut self, more: bool) -> Result<(), Ended> {
        if !self.out.is_empty() {
            send(&self.stream, &self.out, more).await?;
            self.count(self.out.len());
            self.out.clear();
        }
        Ok(())
    }

    /// Sends what has gathered, and behind it the data it promises.
    async fn send_file(&mut self, payload: &Payload) -> Result<(), Ended> {
        self.flush(true).await?;
        let length = usize::try_from(payload.length).expect("at most NFS_READ");
        let mut sent = 0;
        while sent < length {
            let at = payload.offset + u64::try_from(sent).expect("at most NFS_READ");
            let write = || pages::send_file(&self.stream, &*payload.file, at, length - sent);
            match self.stream.try_io(Interest::WRITABLE, write) {
                // The length was promised: there is no way to take it back but to start over.
                Ok(0) => return Err(Ended::Shrunk),
                Ok(bytes) => sent += bytes,
                Err(error) => wait_to_write(&self.stream, error).await?,
            }
        }
        self.count(length);
        self.out.extend([0; 3].iter().take(padding(length)));
        Ok(())
    }

    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.pass.traffic().sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Answers one call from a thread that may wait for the disk; one that changes something, only once.
async fn in_pool(shared: Arc<Shared>, caller: Caller, record: Box<[u8]>) -> Option<Made> {
    let mut turn = None;
    while let Some(xid) = changes(&caller, &record) {
        match shared.replies.begin(caller.visitor.ip, xid, &record) {
            replies::Call::First(first) => {
                turn = Some(first);
                break;
            }
            replies::Call::Again(first) => {
                if let Some(reply) = replies::again(first).await {
                    let room = Arc::clone(&shared.answers).acquire_owned().await.ok()?;
                    return Some((reply.to_vec(), room));
                }
            }
        }
    }
    let room = Arc::clone(&shared.answers).acquire_owned().await.ok()?;
    let disk = Arc::clone(&shared.disk).acquire_owned().await.ok()?;
    let work = move || {
        let mut out = Vec::new();
        let _ = answer(&shared, &caller, &record, Patience::Blocking, &mut out);
        if let Some(turn) = turn {
            turn.done(&out);
        }
        drop(disk);
        out
    };
    let out = tokio::task::spawn_blocking(work).await.ok()?;
    Some((out, room))
}

async fn read(
    stream: &mut TcpStream,
    into: &mut Vec<u8>,
    room: usize,
    patience: Option<Duration>,
) -> Result<usize, Ended> {
    into.reserve(room);
    Ok(match patience {
        None => stream.read_buf(into).await?,
        Some(patience) => timeout(patience, stream.read_buf(into)).await??,
    })
}

async fn send(stream: &TcpStream, mut data: &[u8], more: bool) -> Result<(), Ended> {
    while !data.is_empty() {
        match stream.try_io(Interest::WRITABLE, || pages::send(stream, data, more)) {
            Ok(sent) => data = data.get(sent..).unwrap_or_default(),
            Err(error) => wait_to_write(stream, error).await?,
        }
    }
    Ok(())
}

async fn wait_to_write(stream: &TcpStream, error: io::Error) -> Result<(), Ended> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(stream.writable().await?),
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error.into()),
    }
}

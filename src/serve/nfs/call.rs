//! One RPC record → one reply: which program and procedure, who asks, and the answer of [`Exports`](crate::service::exports::Exports).
//!
//! Knows no socket, so that the same function answers inline, in the pool, and over UDP.

use std::sync::Arc;

use super::Shared;
use crate::proto::nfs3::access::Identity;
use crate::proto::nfs3::{self, Procedure};
use crate::proto::rpc::{AuthStat, Call, reply};
use crate::proto::xdr::XdrError;
use crate::proto::{mount, nfsacl, portmap};
use crate::service::events::Happening;
use crate::service::exports::{Mounted, Patience, Payload, Visitor};

/// Which programs are behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// NFS with its access control lists, and MOUNT: TCP 2049.
    Nfs,
    /// MOUNT alone: UDP 2049.
    Mount,
    /// The portmapper: TCP and UDP 111.
    Portmap,
}

/// Who a call comes from, as far as the network knows.
#[derive(Clone, Debug)]
pub struct Caller {
    pub visitor: Arc<Visitor>,
    pub port: u16,
    pub door: Door,
}

/// What to do with `out` now.
#[derive(Debug)]
pub enum Answer {
    /// The reply is in it.
    Ready,
    /// The reply is in it but for this part of a file.
    Send(Payload),
    /// Nothing was added: ask again from a thread that may wait.
    Later,
    /// Nothing was added, and nothing ever will be.
    Silence,
}

/// Appends the reply to `record`, behind a record mark.
pub fn answer(
    shared: &Shared,
    caller: &Caller,
    record: &[u8],
    patience: Patience,
    out: &mut Vec<u8>,
) -> Answer {
    let start = reply::begin(out);
    let answer = match Call::parse(record) {
        Ok(call) => dispatch(shared, caller, call, patience, out),
        Err(problem) if reply::not_a_call(out, problem) => Answer::Ready,
        Err(_) => Answer::Silence,
    };
    let payload = match &answer {
        Answer::Ready => 0,
        Answer::Send(payload) => padded(payload.length),
        Answer::Later | Answer::Silence => {
            out.truncate(start);
            return answer;
        }
    };
    reply::finish(out, start, payload);
    answer
}

/// The number of a call that must not be carried out twice.
pub fn changes(caller: &Caller, record: &[u8]) -> Option<u32> {
    let call = Call::parse(record).ok()?;
    let is_nfs = caller.door == Door::Nfs && call.program == nfs3::PROGRAM && call.version == nfs3::VERSION;
    let changes = is_nfs
        && caller.visitor.may_write()
        && Procedure::from_number(call.procedure).is_some_and(Procedure::changes);
    changes.then_some(call.xid)
}

fn padded(length: u32) -> usize {
    usize::try_from(length.next_multiple_of(4)).expect("at most NFS_READ")
}

fn dispatch(
    shared: &Shared,
    caller: &Caller,
    call: Call<'_>,
    patience: Patience,
    out: &mut Vec<u8>,
) -> Answer {
    let version = match (call.program, caller.door) {
        (nfs3::PROGRAM, Door::Nfs) => nfs3::VERSION,
        (nfsacl::PROGRAM, Door::Nfs) => nfsacl::VERSION,
        (mount::PROGRAM, Door::Nfs | Door::Mount) => mount::VERSION,
        (portmap::PROGRAM, Door::Portmap) => portmap::VERSION,
        _ => {
            reply::no_program(out, call.xid);
            return Answer::Ready;
        }
    };
    if call.version != version {
        reply::other_version(out, call.xid, version);
        return Answer::Ready;
    }
    match call.program {
        nfs3::PROGRAM => nfs(shared, caller, call, patience, out),
        nfsacl::PROGRAM => nfsacl(shared, caller, &call, patience, out),
        mount::PROGRAM => mount(shared, caller, &call, patience, out),
        _ => portmap(&call, out),
    }
}

/// Appends the start of a reply that says "no such procedure" or "arguments not understood", if it is one of these.
fn understood<T>(args: Result<Option<T>, XdrError>, xid: u32, out: &mut Vec<u8>) -> Option<T> {
    match args {
        Ok(Some(args)) => return Some(args),
        Ok(None) => reply::no_procedure(out, xid),
        Err(_) => reply::garbage(out, xid),
    }
    None
}

fn nfs(
    shared: &Shared,
    caller: &Caller,
    mut call: Call<'_>,
    patience: Patience,
    out: &mut Vec<u8>,
) -> Answer {
    let args = Procedure::from_number(call.procedure)
        .map(|procedure| nfs3::Args::parse(procedure, &mut call.args))
        .transpose();
    let Some(args) = understood(args, call.xid, out) else { return Answer::Ready };
    if args != nfs3::Args::Null && !shared.is_privileged(caller) {
        reply::auth_error(out, call.xid, AuthStat::TooWeak);
        return Answer::Ready;
    }
    let who = Identity::of(&call.credential);
    reply::success(out, call.xid);
    match shared.exports.nfs(&caller.visitor, &who, &args, patience, out) {
        Ok(None) => Answer::Ready,
        Ok(Some(payload)) => Answer::Send(payload),
        Err(_) => Answer::Later,
    }
}

fn nfsacl(
    shared: &Shared,
    caller: &Caller,
    call: &Call<'_>,
    patience: Patience,
    out: &mut Vec<u8>,
) -> Answer {
    let args = nfsacl::Args::parse(call.procedure, call.args);
    let Some(args) = understood(args, call.xid, out) else { return Answer::Ready };
    if args != nfsacl::Args::Null && !shared.is_privileged(caller) {
        reply::auth_error(out, call.xid, AuthStat::TooWeak);
        return Answer::Ready;
    }
    match args {
        nfsacl::Args::Null => reply::success(out, call.xid),
        nfsacl::Args::SetAcl => {
            reply::success(out, call.xid);
            nfsacl::refused(out);
        }
        nfsacl::Args::GetAcl { object, wanted } => {
            let who = Identity::of(&call.credential);
            let mut getattr = Vec::new();
            let args = nfs3::Args::GetAttr(object);
            if shared.exports.nfs(&caller.visitor, &who, &args, patience, &mut getattr).is_err() {
                return Answer::Later;
            }
            reply::success(out, call.xid);
            nfsacl::no_lists(out, &getattr, wanted);
        }
    }
    Answer::Ready
}

fn mount(shared: &Shared, caller: &Caller, call: &Call<'_>, patience: Patience, out: &mut Vec<u8>) -> Answer {
    let args = mount::Args::parse(call.procedure, call.args);
    let Some(args) = understood(args, call.xid, out) else { return Answer::Ready };
    match args {
        mount::Args::Null | mount::Args::Unmount | mount::Args::UnmountAll => reply::success(out, call.xid),
        mount::Args::Dump => {
            reply::success(out, call.xid);
            mount::dumped(out);
        }
        mount::Args::Export => {
            reply::success(out, call.xid);
            mount::exported(out, &shared.exports.paths(&caller.visitor));
        }
        mount::Args::Mount { .. } if !shared.is_privileged(caller) => {
            reply::auth_error(out, call.xid, AuthStat::TooWeak);
        }
        // Opening a tree may take the disk's time.
        mount::Args::Mount { .. } if patience == Patience::Inline => return Answer::Later,
        mount::Args::Mount { path } => {
            let root = shared.exports.mount(&caller.visitor, path);
            shared.note_mount(caller, path, &root);
            reply::success(out, call.xid);
            mount::mounted(out, root.as_ref().map(|(handle, _)| &handle[..]).map_err(|refused| *refused));
        }
    }
    Answer::Ready
}

fn portmap(call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
    let args = portmap::Args::parse(call.procedure, call.args);
    if let Some(args) = understood(args, call.xid, out) {
        reply::success(out, call.xid);
        args.answer(out);
    }
    Answer::Ready
}

impl Shared {
    /// Whether the call comes from a port that takes privileges on the client; the first that does not is logged.
    fn is_privileged(&self, caller: &Caller) -> bool {
        let privileged = caller.port < self.unprivileged;
        if !privileged && !self.warned_of_port.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tracing::warn!(
                ip = %caller.visitor.ip, port = caller.port,
                "refused NFS calls from a port any user may use; mount with the option `resvport` \
                 (said once, however many follow)"
            );
        }
        privileged
    }

    fn note_mount(
        &self,
        caller: &Caller,
        path: &[u8],
        root: &Result<(nfs3::Handle, Mounted), mount::Refused>,
    ) {
        let file = String::from_utf8_lossy(path.get(..path.len().min(100)).unwrap_or_default());
        let ip = caller.visitor.ip;
        match (&caller.visitor.seat, root) {
            (Some(seat), Ok((_, Mounted::Granted(path)))) => {
                tracing::info!(client = %seat.mac, %ip, path, "mounted");
            }
            (Some(seat), Ok((_, Mounted::Image(image)))) => {
                tracing::info!(client = %seat.mac, %ip, %image, "root file system mounted");
                let what = Happening::Mount { image: image.clone() };
                self.events.record(seat.mac, (self.clock)(), what);
            }
            (Some(seat), Err(why)) => {
                tracing::info!(client = %seat.mac, %ip, %file, ?why, "mount refused");
            }
            (None, _) => tracing::debug!(%ip, %file, "mount refused: the address is no client's"),
        }
    }
}

//! A person's tunnel: NFS and MOUNT over a connection of their client's agent.
//!
//! The calls are answered by the same code that answers those of TCP, at the other end of a socket inside the daemon; here bytes
//! are carried between that and TLS. Who shows no right key has a connection like any other from that address: nothing that is
//! encrypted is behind it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;

use super::Shared;
use super::talk::{Broken, Ended};
use crate::proto::agent::tunnel::Key;
use crate::serve::nfs;
use crate::serve::supervisor::{Stop, stopped};
use crate::service::clients::Seat;
use crate::types::{MacAddr, Uid, limits};

/// Until either side is done.
pub(super) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    stream: S,
    seat: &Seat,
    whose: Option<Uid>,
    mut stop: Stop,
) -> Result<Ended, Broken> {
    tokio::select! {
        () = stopped(&mut stop) => Ok("the server stops"),
        ended = answer(&shared.nfs, stream, seat.ip, whose) => Ok(ended?),
    }
}

/// Answers the calls that come by `stream` from the client at `ip`, as far as `whose` tunnel reaches, until either side is done; why
/// it is over.
pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    nfs: &Arc<nfs::Shared>,
    mut stream: S,
    ip: Ipv4Addr,
    whose: Option<Uid>,
) -> io::Result<&'static str> {
    let (mut here, there) = UnixStream::pair()?;
    let Some(answering) = nfs.answer_tunnel(there, ip, whose) else {
        return Ok("its client has too many connections to files");
    };
    let size = limits::TUNNEL_BUFFER;
    tokio::select! {
        carried = copy_bidirectional_with_sizes(&mut stream, &mut here, size, size) => carried.map(drop)?,
        () = answering => {}
    }
    Ok("its tunnel was closed")
}

/// Whether `key` is that of `uid`, who is logged in at `client`. To be called on a blocking thread.
pub(super) fn is_right(shared: &Shared, client: MacAddr, uid: Uid, key: Key) -> bool {
    let starts = shared.sessions.encrypted(client, uid);
    starts.iter().any(|boot_id| shared.tunnels.key(client, boot_id, uid) == key)
}

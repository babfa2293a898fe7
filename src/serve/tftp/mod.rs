//! The TFTP server: sockets, clock and disk around [`crate::proto::tftp`] and [`crate::service::boot_tree`].
//!
//! All transfers are driven by one task, [`engine::Engine`]. Each served address has the socket that requests come to,
//! and a few [carriers](Door::carriers) from which files are sent, shared by all transfers: a room of Pis in lock-step
//! then costs one system call for its acknowledgements and one for its next blocks. A transfer stays on the carrier it
//! began on, so a client sees one address and port throughout (RFC 1350 §4), and always the address it asked.

mod active;
mod disk;
mod engine;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::service::boot_tree::BootTree;
use crate::service::events::Events;

/// Where TFTP requests come to (RFC 1350 §4).
pub const PORT: u16 = 69;

/// Sockets per address that files are sent from. More than one, so that a late packet of one transfer is not taken for
/// one of the next, which a boot ROM asks for from the same port: transfers that begin one after another are on
/// different ones.
const CARRIERS: usize = 4;

/// Why boot files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    #[error("cannot listen for TFTP requests on UDP {address}")]
    Bind {
        address: SocketAddrV4,
        #[source]
        source: io::Error,
    },
    #[error("cannot receive TFTP packets")]
    Receive(#[source] io::Error),
}

/// The sockets of all served addresses, bound; they survive restarts of the service.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<[Door]>);

/// The sockets of one served address.
#[derive(Debug)]
struct Door {
    address: Ipv4Addr,
    requests: UdpSocket,
    carriers: Vec<UdpSocket>,
}

impl Sockets {
    /// Binds the address of each network of `config`; none if TFTP is switched off.
    pub async fn bind(config: &Config) -> Result<Self, TftpError> {
        let mut doors = Vec::new();
        for network in config.networks.iter().filter(|_| config.tftp.enabled) {
            doors.push(Door::open(network.address).await?);
        }
        Ok(Self(doors.into()))
    }
}

impl Door {
    async fn open(address: Ipv4Addr) -> Result<Self, TftpError> {
        let bind = async |port| {
            let address = SocketAddrV4::new(address, port);
            UdpSocket::bind(address).await.map_err(|source| TftpError::Bind { address, source })
        };
        let requests = bind(PORT).await?;
        let mut carriers = Vec::with_capacity(CARRIERS);
        for _ in 0..CARRIERS {
            carriers.push(bind(0).await?);
        }
        Ok(Self { address, requests, carriers })
    }
}

/// Serves boot files until told to stop. What `config` says about the NFS server is looked at for each request.
pub async fn run(
    tree: Arc<BootTree>,
    events: Arc<Events>,
    config: watch::Receiver<Arc<Config>>,
    sockets: Sockets,
    mut stop: Stop,
) -> Result<(), TftpError> {
    let mut engine = engine::Engine::new(tree, events, config, sockets);
    let mut room = engine::Room::default();
    tokio::select! {
        biased;
        () = stopped(&mut stop) => Ok(()),
        error = std::future::poll_fn(|context| engine.poll(context, &mut room)) => Err(TftpError::Receive(error)),
    }
}

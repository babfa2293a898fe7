//! Receives what bootloaders and kernels say over the network (UDP 6666). Nothing is ever answered.
//!
//! Believed is who sends from an address that a client holds. What they say is only shown to people. A bootloader whose
//! `NETCONSOLE` names no receiver broadcasts, which is why the socket is bound to the card and not to our address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dhcp::{Clock, sockets};
use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::proto::netconsole::PORT;
use crate::service::clients::Clients;
use crate::service::room::console::Consoles;
use crate::types::{chain, limits};

/// Another program may have the port (a syslog server); it is tried again now and then.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Runs until told to stop.
pub async fn run(
    clients: Arc<Clients>,
    consoles: Arc<Consoles>,
    clock: Clock,
    mut config: watch::Receiver<Arc<Config>>,
    mut stop: Stop,
) -> Result<(), std::convert::Infallible> {
    loop {
        let now = Arc::clone(&config.borrow_and_update());
        let mut parts = JoinSet::new();
        for network in &now.networks {
            let device = network.device.clone();
            let (clients, consoles) = (Arc::clone(&clients), Arc::clone(&consoles));
            parts.spawn(async move {
                loop {
                    if let Err(error) = receive(&device, &clients, &consoles, clock).await {
                        tracing::debug!(
                            iface = device,
                            error = chain(&error),
                            "messages of bootloaders cannot be received"
                        );
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            });
        }
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            changed = config.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

async fn receive(device: &str, clients: &Clients, consoles: &Consoles, clock: Clock) -> io::Result<()> {
    let socket = sockets::listen(device, PORT)?;
    let mut buffer = [0; limits::CONSOLE_DATAGRAM];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let SocketAddr::V4(from) = from else { continue };
        let Some(seat) = clients.at(*from.ip()) else {
            tracing::debug!(ip = %IpAddr::V4(*from.ip()), "a message of a stranger dropped");
            continue;
        };
        consoles.take(seat.mac, buffer.get(..length).unwrap_or_default(), clock.now());
    }
}

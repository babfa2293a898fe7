//! Asks the wire whether an address is in use, before a stranger is offered it.
//!
//! ARP, because everything on the wire answers it, firewalls or not. The question is asked twice: on Wi-Fi, broadcasts are
//! not repeated when they are lost.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::proto::dhcp::frame;
use crate::sys::packet::PacketSocket;
use crate::types::MacAddr;

/// How long each of the questions waits for an answer. A device on the same wire takes a few milliseconds, a sleeping
/// phone up to three beacons of its access point.
const PATIENCE: Duration = Duration::from_millis(250);
const QUESTIONS: u32 = 2;

/// Whether anybody but `client` answers for `ip` on `device`.
pub async fn in_use(device: &str, ip: Ipv4Addr, client: Option<MacAddr>) -> io::Result<bool> {
    let socket = PacketSocket::open(device, frame::ARP)?.into_async()?;
    let Some(own) = socket.get_ref().mac() else { return Ok(false) };
    for _ in 0..QUESTIONS {
        socket.get_ref().send(MacAddr::BROADCAST, frame::ARP, &frame::arp_probe(own, ip))?;
        if let Ok(answered) = timeout(PATIENCE, claimed(&socket, ip, client)).await {
            return answered.map(|()| true);
        }
    }
    Ok(false)
}

/// Ends when somebody other than `client` claims `ip`.
async fn claimed(socket: &AsyncFd<PacketSocket>, ip: Ipv4Addr, client: Option<MacAddr>) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let mut ready = socket.readable().await?;
        let Ok(received) = ready.try_io(|socket| socket.get_ref().receive(&mut buffer)) else { continue };
        let claim = buffer.get(..received?).and_then(frame::arp_claim);
        if claim.is_some_and(|(mac, claimed)| claimed == ip && Some(mac) != client) {
            return Ok(());
        }
    }
}

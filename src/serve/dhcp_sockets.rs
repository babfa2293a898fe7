//! The sockets of the DHCP service: per interface one on port 67, one on port 4011 where PXE machines are told where to
//! boot from beside another server, and one for frames.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use tokio::net::UdpSocket;

use crate::config::{Config, DhcpMode};
use crate::proto::dhcp::{PXE_PORT, SERVER_PORT};
use crate::sys::packet::PacketSocket;

/// Receive buffer of a socket, in bytes: a building that comes back from a power cut, some 500 packets at once.
const RECEIVE_BUFFER: usize = 512 * 1024;

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("UDP port {port} on interface `{device}` cannot be used")]
    Port {
        port: u16,
        device: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "frames cannot be sent on interface `{device}`; it must exist, and Bramble needs the right to use packet sockets"
    )]
    Frames {
        device: String,
        #[source]
        source: io::Error,
    },
    #[error("no network is served; name one with `uci add_list bramble.main.network=lan`")]
    NoNetwork,
}

/// What listens on one interface.
#[derive(Debug)]
pub(super) struct Interface {
    pub device: String,
    /// Logical names of the networks on it.
    pub networks: Vec<String>,
    udp: UdpSocket,
    pxe: Option<UdpSocket>,
    pub packet: PacketSocket,
}

impl Interface {
    pub fn socket(&self, pxe: bool) -> Option<&UdpSocket> {
        if pxe { self.pxe.as_ref() } else { Some(&self.udp) }
    }

    /// Sends to somebody who has an address. An answer to a request on 4011 comes from 4011 as well.
    pub fn send(&self, to: Ipv4Addr, port: u16, pxe: bool, bytes: &[u8]) -> io::Result<()> {
        let socket = self.socket(pxe).unwrap_or(&self.udp);
        socket.try_send_to(bytes, SocketAddr::V4(SocketAddrV4::new(to, port))).map(drop)
    }
}

/// All sockets of one configuration.
#[derive(Debug)]
pub struct Sockets {
    pub(super) interfaces: Vec<Interface>,
}

/// Interfaces to listen on, the networks on each, and whether on port 4011 too.
pub(super) fn wanted(config: &Config) -> Vec<(String, Vec<String>, bool)> {
    let mut all: Vec<(String, Vec<String>, bool)> = Vec::new();
    if config.dhcp.mode == DhcpMode::Off {
        return all;
    }
    for network in &config.networks {
        let pxe = config.dhcp.mode == DhcpMode::Proxy;
        match all.iter_mut().find(|(device, ..)| *device == network.device) {
            Some((_, names, _)) => names.push(network.name.clone()),
            None => all.push((network.device.clone(), vec![network.name.clone()], pxe)),
        }
    }
    all
}

impl Sockets {
    /// Opens what `config` needs, on the interfaces that are there. Must be called inside the runtime.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let interfaces = wanted(config)
            .into_iter()
            .filter(|(device, ..)| if_nametoindex(device.as_str()).is_ok())
            .map(|(device, networks, pxe)| {
                let port = |port| {
                    listen(&device, port).map_err(|source| BindError::Port {
                        port,
                        device: device.clone(),
                        source,
                    })
                };
                let (udp, pxe) = (port(SERVER_PORT)?, pxe.then(|| port(PXE_PORT)).transpose()?);
                let frames = PacketSocket::open(&device, 0);
                let packet = frames.map_err(|source| BindError::Frames { device: device.clone(), source })?;
                Ok(Interface { device, networks, udp, pxe, packet })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { interfaces })
    }
}

/// A socket that hears broadcasts and our own addresses on one interface only. `SO_REUSEADDR`: dnsmasq may serve other
/// networks of this router from the wildcard address; packets of this interface come to the socket bound to it.
pub(in crate::serve) fn listen(device: &str, port: u16) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::Broadcast, &true)?;
    setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::new(0, 0, 0, 0, port))?;
    UdpSocket::from_std(fd.into())
}

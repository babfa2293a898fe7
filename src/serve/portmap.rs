//! The portmapper on TCP and UDP 111: klibc's `nfsmount`, and so every Pi with an initramfs, asks it before it mounts.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::nfs::{BindError, Door, NfsError, Port, Shared, serve};
use super::supervisor::Stop;
use crate::proto::portmap::PORT;

/// Takes TCP and UDP 111 on each address.
pub fn bind(addresses: &[Ipv4Addr]) -> Result<Vec<Port>, BindError> {
    addresses.iter().map(|ip| Port::bind(*ip, PORT)).collect()
}

/// Answers until told to stop.
pub async fn run(shared: Arc<Shared>, ports: Vec<Port>, stop: Stop) -> Result<(), NfsError> {
    serve(shared, ports, (Door::Portmap, Door::Portmap), stop).await
}

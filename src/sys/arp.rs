//! Static entries of the kernel's neighbour table: where a client is that does not answer ARP.
//!
//! Source: `arp(7)`.
#![expect(unsafe_code, reason = "no crate offers these two ioctls")]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::types::MacAddr;

/// From now on `ip` is at `mac` on `device`, whatever ARP says.
pub fn pin(device: &str, ip: Ipv4Addr, mac: MacAddr) -> io::Result<()> {
    request(libc::SIOCSARP, device, ip, mac, libc::ATF_PERM | libc::ATF_COM)
}

/// ARP decides again where `ip` is. Nothing happens if there is no entry.
pub fn unpin(device: &str, ip: Ipv4Addr) -> io::Result<()> {
    let absent = [libc::ENXIO, libc::ENOENT];
    match request(libc::SIOCDARP, device, ip, MacAddr::new([0; 6]), libc::ATF_PERM) {
        Err(error) if error.raw_os_error().is_some_and(|code| absent.contains(&code)) => Ok(()),
        other => other,
    }
}

fn request(
    what: libc::Ioctl,
    device: &str,
    ip: Ipv4Addr,
    mac: MacAddr,
    flags: libc::c_int,
) -> io::Result<()> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the name of the interface is too long");
    // Any socket of the address family will do.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut entry = libc::arpreq {
        arp_pa: address(u16::try_from(libc::AF_INET).unwrap_or_default(), &[0, 0], &ip.octets()),
        arp_ha: address(libc::ARPHRD_ETHER, &[], &mac.octets()),
        arp_flags: flags,
        arp_netmask: address(0, &[], &[]),
        arp_dev: [0; 16],
    };
    let name = entry.arp_dev.get_mut(..device.len()).filter(|name| name.len() < 16).ok_or_else(too_long)?;
    for (to, from) in name.iter_mut().zip(device.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the pointer is to one `arpreq` that outlives the call, which is what both requests take.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw const entry) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A `sockaddr` of a family whose data is `first` and then `second`.
fn address(family: u16, first: &[u8], second: &[u8]) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(first.iter().chain(second)) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    libc::sockaddr { sa_family: family, sa_data: data }
}

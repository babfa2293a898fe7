//! The kernel's neighbour table: static entries for a client that does not answer ARP, and who is at an address.
//!
//! Source: `arp(7)`.
#![expect(unsafe_code, reason = "no crate offers these three ioctls")]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::types::MacAddr;

// The requests have these numbers on every machine; libc gives them another type than its `ioctl` takes with musl.
const SIOCDARP: u16 = 0x8953;
const SIOCGARP: u16 = 0x8954;
const SIOCSARP: u16 = 0x8955;

/// From now on `ip` is at `mac` on `device`, whatever ARP says.
pub fn pin(device: &str, ip: Ipv4Addr, mac: MacAddr) -> io::Result<()> {
    request(SIOCSARP, device, ip, mac, libc::ATF_PERM | libc::ATF_COM).map(drop)
}

/// ARP decides again where `ip` is. Nothing happens if there is no entry.
pub fn unpin(device: &str, ip: Ipv4Addr) -> io::Result<()> {
    match request(SIOCDARP, device, ip, MacAddr::new([0; 6]), libc::ATF_PERM) {
        Err(error) if error.raw_os_error().is_some_and(|code| ABSENT.contains(&code)) => Ok(()),
        other => other.map(drop),
    }
}

/// Who is at `ip` on `device`, as far as the kernel knows. A machine that sends us something has asked for us by ARP before,
/// as a rule, and is known from then on.
pub fn find(device: &str, ip: Ipv4Addr) -> io::Result<Option<MacAddr>> {
    match request(SIOCGARP, device, ip, MacAddr::new([0; 6]), 0) {
        Ok(entry) if entry.arp_flags & libc::ATF_COM == 0 => Ok(None),
        Ok(entry) => {
            let [a, b, c, d, e, f, ..] =
                entry.arp_ha.sa_data.map(libc::c_char::to_ne_bytes).map(|[octet]| octet);
            Ok(Some(MacAddr::new([a, b, c, d, e, f])))
        }
        Err(error) if error.raw_os_error().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the kernel ask who is at `ip`: an empty packet to a port where nobody listens (RFC 863) cannot leave before that
/// is known.
pub fn ask(from: Ipv4Addr, ip: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_nonblocking(true)?;
    socket.send_to(&[], (ip, DISCARD)).map(drop)
}

const DISCARD: u16 = 9;

/// What the kernel says of an entry that is not there.
const ABSENT: [i32; 2] = [libc::ENXIO, libc::ENOENT];

/// Carries out `what`; the entry as the kernel left it.
fn request(
    what: u16,
    device: &str,
    ip: Ipv4Addr,
    mac: MacAddr,
    flags: libc::c_int,
) -> io::Result<libc::arpreq> {
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
    // SAFETY: the pointer is to one `arpreq` that outlives the call, which is what the three requests take and fill in.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::Ioctl::from(what), &raw mut entry) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(entry) }
}

/// A `sockaddr` of a family whose data is `first` and then `second`.
fn address(family: u16, first: &[u8], second: &[u8]) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(first.iter().chain(second)) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    libc::sockaddr { sa_family: family, sa_data: data }
}

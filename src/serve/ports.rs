//! Which program holds a port we want, and what a person can do about it.
//!
//! The kernel lists sockets with their inode (`/proc/net/udp` and its siblings), and each process its open files
//! (`/proc/<pid>/fd`); the two together name the program. A socket that no process has open is the kernel's own: its
//! NFS server. Nothing here binds anything: it explains a failure after the fact.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Who holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    Program {
        name: String,
        pid: u32,
    },
    /// A socket without a process.
    Kernel,
}

/// Which init system a remedy is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    OpenWrt,
    Systemd,
}

/// Why `address` could not be bound, with the program that holds it and the way out.
pub fn explain(transport: Transport, address: SocketAddrV4, error: &io::Error) -> String {
    let at = match *address.ip() {
        Ipv4Addr::UNSPECIFIED => format!("{transport} port {}", address.port()),
        ip => format!("{transport} port {} of {ip}", address.port()),
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let system =
                if Path::new("/etc/openwrt_release").exists() { System::OpenWrt } else { System::Systemd };
            match holder(Path::new("/proc"), transport, address) {
                Some(holder) => taken(&at, address.port(), &holder, system),
                None => {
                    format!("{at} is held by a program that could not be found; run as root to see its name")
                }
            }
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "{at} cannot be used: this machine does not have the address {}; is the network up, and is it the \
             address in `/etc/config/network`?",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{at} may only be used by root; start Bramble as root, or from its init script")
        }
        _ => format!("{at} cannot be used: {error}"),
    }
}

fn taken(at: &str, port: u16, holder: &Holder, system: System) -> String {
    let who = match holder {
        Holder::Program { name, pid } => format!("`{name}` (process {pid})"),
        Holder::Kernel => "the kernel itself, so by its NFS server".to_owned(),
    };
    format!("{at} is held by {who}; {}", way_out(port, holder, system))
}

/// What a person types, or changes, so that the port becomes free.
fn way_out(port: u16, holder: &Holder, system: System) -> String {
    let stop = |openwrt: &str, systemd: &str| match system {
        System::OpenWrt => format!("`/etc/init.d/{openwrt} stop; /etc/init.d/{openwrt} disable`"),
        System::Systemd => format!("`systemctl disable --now {systemd}`"),
    };
    let name = match holder {
        Holder::Kernel => {
            return format!(
                "stop it with {}, or give Bramble another port: `option port '20490'` in section `nfs`",
                stop("nfsd", "nfs-server")
            );
        }
        Holder::Program { name, .. } => name.as_str(),
    };
    match (port, name) {
        (_, "bramble") => "another Bramble is running already; stop it first, or use that one".to_owned(),
        (67, "dnsmasq") => match system {
            System::OpenWrt => {
                "take DHCP of this network from it with `uci set dhcp.lan.ignore=1; uci commit dhcp; \
                 /etc/init.d/dnsmasq restart`, or leave it there with `option mode 'proxy'` in section `dhcp`"
                    .to_owned()
            }
            System::Systemd => {
                "take `dhcp-range` out of its configuration and restart it, or leave it there with \
                 `option mode 'proxy'` in section `dhcp`"
                    .to_owned()
            }
        },
        (67, "odhcpd") => "take IPv4 from it with `uci set dhcp.odhcpd.maindhcp=0; uci commit dhcp; \
             /etc/init.d/odhcpd restart`"
            .to_owned(),
        (69, "dnsmasq") => match system {
            System::OpenWrt => {
                "switch its TFTP server off with `uci delete dhcp.@dnsmasq[0].enable_tftp; uci commit \
                 dhcp; /etc/init.d/dnsmasq restart`"
                    .to_owned()
            }
            System::Systemd => "take `enable-tftp` out of its configuration and restart it".to_owned(),
        },
        (69, "in.tftpd") => format!("stop it with {}", stop("tftpd-hpa", "tftpd-hpa")),
        (69, "atftpd") => format!("stop it with {}", stop("atftpd", "atftpd")),
        (111, "rpcbind" | "portmap" | "systemd") => {
            format!(
                "Bramble answers there itself; stop it with {}, or give Bramble's NFS another port, with which it needs no \
                 portmapper: `option port '20490'` in section `nfs`",
                stop("rpcbind", "rpcbind.socket rpcbind.service")
            )
        }
        (2049, "ganesha.nfsd") => format!(
            "stop it with {}, or give Bramble another port: `option port '20490'` in section `nfs`",
            stop("nfs-ganesha", "nfs-ganesha")
        ),
        _ => "stop that program, or keep it from this port".to_owned(),
    }
}

fn holder(proc: &Path, transport: Transport, address: SocketAddrV4) -> Option<Holder> {
    let (v4, v6) = match transport {
        Transport::Udp => ("net/udp", "net/udp6"),
        Transport::Tcp => ("net/tcp", "net/tcp6"),
    };
    let table = |name: &str| fs_err::read_to_string(proc.join(name)).unwrap_or_default();
    let mut inodes = sockets(&table(v4), transport, address);
    inodes.extend(sockets(&table(v6), transport, address));
    let found = inodes.iter().find_map(|inode| owner(proc, *inode));
    found.or_else(|| (!inodes.is_empty() && may_see_all(proc)).then_some(Holder::Kernel))
}

/// Inodes of the sockets in a table of `/proc/net` that stand in the way of `address`.
///
/// A line is `sl local_address rem_address st … inode …`; addresses are hexadecimal, IPv4 in host byte order, a
/// listening TCP socket has state `0A`.
fn sockets(table: &str, transport: Transport, address: SocketAddrV4) -> Vec<u64> {
    let wanted = format!("{:08X}", u32::from(*address.ip()).swap_bytes());
    let native = format!("{:08X}", u32::from_ne_bytes(address.ip().octets()));
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = fields.get(1)?.rsplit_once(':')?;
        let inode = fields.get(9)?.parse().ok()?;
        let any = ip.bytes().all(|digit| digit == b'0');
        let same = ip == wanted || ip == native || (ip.len() == 32 && ip.ends_with(&native));
        let listens = transport == Transport::Udp || *fields.get(3)? == "0A";
        let here = u16::from_str_radix(port, 16).ok()? == address.port();
        (here && listens && (any || same || address.ip().is_unspecified())).then_some(inode)
    });
    lines.collect()
}

fn owner(proc: &Path, inode: u64) -> Option<Holder> {
    let socket = format!("socket:[{inode}]");
    let pids =
        fs_err::read_dir(proc).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for pid in pids {
        let dir = proc.join(format!("{pid}"));
        let Ok(files) = fs_err::read_dir(dir.join("fd")) else { continue };
        let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        if links.any(|link| link.as_os_str() == socket.as_str()) {
            let name = fs_err::read_to_string(dir.join("comm")).unwrap_or_default();
            return Some(Holder::Program { name: name.trim_end().to_owned(), pid });
        }
    }
    None
}

/// Whether the files of every process could be listed, so that a socket not found there has no process.
fn may_see_all(proc: &Path) -> bool {
    fs_err::read_dir(proc.join("1/fd")).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);

    fn program(name: &str) -> Holder {
        Holder::Program { name: name.to_owned(), pid: 812 }
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let rows = [
            (Transport::Udp, udp.local_addr().expect("bound").port()),
            (Transport::Tcp, tcp.local_addr().expect("bound").port()),
        ];
        for (transport, port) in rows {
            for ip in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
                let found = holder(Path::new("/proc"), transport, SocketAddrV4::new(ip, port));
                assert!(
                    matches!(&found, Some(Holder::Program { pid, .. }) if *pid == std::process::id()),
                    "{transport} {ip}: {found:?}"
                );
            }
            let other = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), port);
            assert_eq!(
                holder(Path::new("/proc"), transport, other),
                None,
                "{transport}: another address is free"
            );
        }
    }

    #[test]
    fn tables_of_the_kernel_are_read() {
        let udp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             100: 00000000:006F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0\n\
             101: garbage\n";
        let tcp6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000000000000000000000000000:0801 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
             1: 00000000000000000000000000000000:0801 00000000000000000000000000000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(sockets(udp, Transport::Udp, SocketAddrV4::new(LAN, 111)), [4711]);
        assert_eq!(sockets(udp, Transport::Udp, SocketAddrV4::new(LAN, 112)), [0; 0]);
        assert_eq!(
            sockets(tcp6, Transport::Tcp, SocketAddrV4::new(LAN, 2049)),
            [4712],
            "an open connection is no server"
        );
    }

    #[test]
    fn a_socket_without_a_process_is_the_kernels() {
        let proc = tempfile::tempdir().expect("a folder");
        for dir in ["net", "1/fd"] {
            fs_err::create_dir_all(proc.path().join(dir)).expect("made");
        }
        let table = "header\n 0: 00000000:0801 00000000:0000 0A 0:0 0:0 0 0 0 4712 1\n";
        fs_err::write(proc.path().join("net/tcp"), table).expect("written");
        let address = SocketAddrV4::new(LAN, 2049);
        assert_eq!(holder(proc.path(), Transport::Tcp, address), Some(Holder::Kernel));
        assert_eq!(holder(proc.path(), Transport::Udp, address), None);
    }

    #[test]
    #[rustfmt::skip]
    fn each_program_has_its_way_out() {
        use System::{OpenWrt, Systemd};
        let rows = [
            (67, program("dnsmasq"), OpenWrt, "P is held by `dnsmasq` (process 812); take DHCP of this network from it with `uci set dhcp.lan.ignore=1; uci commit dhcp; /etc/init.d/dnsmasq restart`, or leave it there with `option mode 'proxy'` in section `dhcp`"),
            (67, program("odhcpd"), OpenWrt, "P is held by `odhcpd` (process 812); take IPv4 from it with `uci set dhcp.odhcpd.maindhcp=0; uci commit dhcp; /etc/init.d/odhcpd restart`"),
            (69, program("dnsmasq"), OpenWrt, "P is held by `dnsmasq` (process 812); switch its TFTP server off with `uci delete dhcp.@dnsmasq[0].enable_tftp; uci commit dhcp; /etc/init.d/dnsmasq restart`"),
            (69, program("in.tftpd"), Systemd, "P is held by `in.tftpd` (process 812); stop it with `systemctl disable --now tftpd-hpa`"),
            (111, program("rpcbind"), OpenWrt, "P is held by `rpcbind` (process 812); Bramble answers there itself; stop it with `/etc/init.d/rpcbind stop; /etc/init.d/rpcbind disable`, or give Bramble's NFS another port, with which it needs no portmapper: `option port '20490'` in section `nfs`"),
            (111, program("systemd"), Systemd, "P is held by `systemd` (process 812); Bramble answers there itself; stop it with `systemctl disable --now rpcbind.socket rpcbind.service`, or give Bramble's NFS another port, with which it needs no portmapper: `option port '20490'` in section `nfs`"),
            (2049, Holder::Kernel, OpenWrt, "P is held by the kernel itself, so by its NFS server; stop it with `/etc/init.d/nfsd stop; /etc/init.d/nfsd disable`, or give Bramble another port: `option port '20490'` in section `nfs`"),
            (8467, program("nc"), OpenWrt, "P is held by `nc` (process 812); stop that program, or keep it from this port"),
            (69, program("bramble"), OpenWrt, "P is held by `bramble` (process 812); another Bramble is running already; stop it first, or use that one"),
        ];
        for (port, holder, system, says) in rows {
            assert_eq!(taken("P", port, &holder, system), says);
        }
    }

    #[test]
    fn other_reasons_are_told_apart() {
        let address = SocketAddrV4::new(LAN, 69);
        let says = |kind: io::ErrorKind| explain(Transport::Udp, address, &kind.into());
        assert_eq!(
            says(io::ErrorKind::AddrNotAvailable),
            "UDP port 69 of 192.168.77.1 cannot be used: this machine does not have the address 192.168.77.1; is the \
             network up, and is it the address in `/etc/config/network`?"
        );
        assert_eq!(
            says(io::ErrorKind::PermissionDenied),
            "UDP port 69 of 192.168.77.1 may only be used by root; start Bramble as root, or from its init script"
        );
    }
}

//! Which link the root file system comes over, and from which server: read from the kernel's tables.
//!
//! Whoever brought the network up (the kernel's `ip=dhcp`, klibc's ipconfig, another initramfs) is done by now; what
//! counts is what the kernel has. Parsing is apart from reading, so that it is tested on tables of real clients.

use std::fs;
use std::net::Ipv4Addr;

use crate::proto::portmap::NFS_PORT;
use crate::types::{MacAddr, Subnet};

/// The link of the root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel name, such as `eth0`.
    pub name: String,
    pub mac: MacAddr,
    /// The server that the root is mounted from; `None` if the root is not NFS.
    pub server: Option<Ipv4Addr>,
}

/// Needs `/proc` and `/sys`. `None` if no link leads to the server.
pub fn root_link() -> Option<Link> {
    let server = nfs_server(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let name = link_to(&routes, server?)?;
    let mac = fs::read_to_string(format!("/sys/class/net/{name}/address")).ok()?.trim().parse().ok()?;
    Some(Link { name, mac, server })
}

/// The port of the server's NFS and MOUNT. It has no portmapper to be asked; the kernel was told.
pub fn nfs_port() -> u16 {
    port_in(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

fn port_in(cmdline: &str) -> u16 {
    let root = cmdline.split_whitespace().rev().find_map(|parameter| parameter.strip_prefix("nfsroot="));
    let mut options = root.unwrap_or_default().split(',').skip(1);
    options.find_map(|option| option.strip_prefix("port=")?.parse().ok()).unwrap_or(NFS_PORT)
}

/// The server of the NFS root in a table of mounts (proc_pid_mounts(5)).
fn nfs_server(mounts: &str) -> Option<Ipv4Addr> {
    mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let nfs_root = place == "/" && kind.starts_with("nfs");
        options.split(',').filter(|_| nfs_root).find_map(|option| option.strip_prefix("addr=")?.parse().ok())
    })
}

/// The link that packets to `server` leave by: the route with the longest prefix in a `/proc/net/route` table, whose
/// numbers are hexadecimal in the processor's byte order.
fn link_to(routes: &str, server: Ipv4Addr) -> Option<String> {
    let number = |text: &str| Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()));
    let mut best: Option<(u8, &str)> = None;
    for line in routes.lines().skip(1) {
        let fields = line.split_whitespace().collect::<Vec<_>>();
        let [name, first, _, _, _, _, _, mask, ..] = fields.as_slice() else { continue };
        let subnet =
            number(first).zip(number(mask)).and_then(|(first, mask)| Subnet::with_netmask(first, mask));
        if let Some(subnet) = subnet
            && subnet.contains(server)
            && best.is_none_or(|(prefix, _)| subnet.prefix() > prefix)
        {
            best = Some((subnet.prefix(), name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_that_of_the_root() {
        let mounts = "\
rootfs / rootfs rw 0 0
192.168.77.1:/image/trixie/1 / nfs ro,relatime,vers=3,proto=tcp,nolock,mountaddr=192.168.77.9,addr=192.168.77.1 0 0
10.0.0.1:/home /home nfs rw,addr=10.0.0.1 0 0
";
        assert_eq!(nfs_server(mounts), Some(Ipv4Addr::new(192, 168, 77, 1)));
        assert_eq!(nfs_server("/dev/mmcblk0p2 / ext4 rw 0 0\n"), None);
    }

    #[test]
    fn the_port_is_what_the_kernel_was_told() {
        let with = "console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/image/x/1,vers=3,tcp,port=20490,mountport=20490 ip=dhcp\n";
        assert_eq!(port_in(with), 20490);
        for without in
            ["", "root=/dev/mmcblk0p2 port=7\n", "nfsroot=10.0.0.1:/image/x/1,vers=3,mountport=7\n"]
        {
            assert_eq!(port_in(without), 2049, "{without}");
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let row =
            |name, first, mask| format!("{name}\t{}\t0\t0003\t0\t0\t0\t{}\t0\t0\t0\n", hex(first), hex(mask));
        let routes = String::from(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n",
        ) + &row("wlan0", [0, 0, 0, 0], [0, 0, 0, 0])
            + &row("eth0", [192, 168, 77, 0], [255, 255, 255, 0])
            + "broken\n";
        assert_eq!(link_to(&routes, Ipv4Addr::new(192, 168, 77, 1)).as_deref(), Some("eth0"));
        assert_eq!(link_to(&routes, Ipv4Addr::new(10, 1, 1, 1)).as_deref(), Some("wlan0"));
        assert_eq!(link_to("", Ipv4Addr::new(10, 1, 1, 1)), None);
    }
}

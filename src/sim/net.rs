//! A laboratory of network namespaces: a switch, and machines plugged into it.
//!
//! The namespaces have no names and are held by descriptors only; sockets, threads and programs are put inside with
//! [`Machine::run`], [`NetNs::enter`] and [`Machine::command`]. Nothing here touches an interface of the host, and
//! everything is gone when the [`Lab`] is dropped or the process is killed.
//!
//! Works as root, and without root after [`isolate`].

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use nix::errno::Errno;

use crate::sys::netlink::Netlink;
pub use crate::sys::netns::{Isolation, NetNs};
use crate::types::MacAddr;

/// The server's address in a laboratory, and the length of its network's prefix.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
pub const PREFIX: u8 = 24;

/// Hardware address of the server of a laboratory.
pub const SERVER_MAC: MacAddr = MacAddr::new([0x02, 0x42, 0xc0, 0xa8, 0x4d, 0x01]);

/// Why a laboratory could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("this system does not let an ordinary user make network namespaces ({why}); {remedy}")]
    Forbidden {
        why: &'static str,
        remedy: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the laboratory's network cannot be built: could not {doing}")]
    Setup {
        doing: String,
        #[source]
        source: io::Error,
    },
}

/// Moves the whole process into network and mount namespaces of its own; without root into a user namespace too.
///
/// Must be called while the process has one thread: before any runtime is started.
pub fn isolate() -> Result<(), NetError> {
    Isolation::prepare().enter().map_err(forbidden)
}

/// Says which of the usual switches forbids namespaces, and what to do.
pub fn forbidden(source: io::Error) -> NetError {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let (why, remedy) = if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        (
            "kernel.unprivileged_userns_clone is 0",
            "run this as root, or `sudo sysctl kernel.unprivileged_userns_clone=1`",
        )
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "AppArmor restricts user namespaces",
            "run this as root, or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
        )
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        ("user.max_user_namespaces is 0", "run this as root, or `sudo sysctl user.max_user_namespaces=10000`")
    } else if Errno::from_raw(source.raw_os_error().unwrap_or(0)) == Errno::EINVAL {
        ("the kernel was built without them, or the process already has threads", "run this as root")
    } else {
        ("the kernel or the container refuses", "run this as root, in a container with `--privileged`")
    };
    NetError::Forbidden { why, remedy, source }
}

fn setup(doing: impl Into<String>) -> impl FnOnce(io::Error) -> NetError {
    let doing = doing.into();
    move |source| NetError::Setup { doing, source }
}

/// A switch in a namespace of its own, with as many separate segments (broadcast domains) as asked for.
#[derive(Debug)]
pub struct Lab {
    switch: NetNs,
    segments: u32,
    ports: u32,
}

/// One broadcast domain of the switch.
#[derive(Clone, Debug)]
pub struct Segment(String);

impl Segment {
    /// The bridge's name in the switch's namespace.
    pub fn bridge(&self) -> &str {
        &self.0
    }
}

impl Lab {
    /// A laboratory with an empty switch.
    pub fn new() -> Result<Self, NetError> {
        let switch = namespace("make a namespace for the switch")?;
        Ok(Self { switch, segments: 0, ports: 0 })
    }

    /// The usual one: a segment, and a server on it with [`SERVER`] on the interface `device`.
    pub fn with_server(device: &str) -> Result<(Self, Segment, Machine), NetError> {
        let mut lab = Self::new()?;
        let lan = lab.segment()?;
        let server = lab.machine()?;
        lab.plug(&server, &lan, device, SERVER_MAC)?;
        server.address(device, SERVER, PREFIX)?;
        Ok((lab, lan, server))
    }

    /// A further broadcast domain, separate from the others. A tagged network (VLAN) is to a server no more than
    /// another interface, so plugging a card named `eth0.10` into a segment of its own stands for one; kernels of test
    /// machines often lack 802.1Q.
    pub fn segment(&mut self) -> Result<Segment, NetError> {
        self.segments += 1;
        let name = format!("br{}", self.segments);
        netlink_in(&self.switch, |netlink| {
            netlink.add_bridge(&name)?;
            netlink.up(&name)
        })
        .map_err(setup(format!("make the bridge {name}")))?;
        Ok(Segment(name))
    }

    /// A machine that is plugged into nothing yet.
    pub fn machine(&mut self) -> Result<Machine, NetError> {
        Ok(Machine { ns: namespace("make a namespace for a machine")? })
    }

    /// A machine with one network card, `eth0`, plugged into `segment`, without an address: a client.
    pub fn client(&mut self, segment: &Segment, mac: MacAddr) -> Result<Machine, NetError> {
        let machine = self.machine()?;
        self.plug(&machine, segment, "eth0", mac)?;
        Ok(machine)
    }

    /// Gives `machine` a network card `device` with the address `mac` and a cable to `segment`; both ends are up.
    pub fn plug(
        &mut self,
        machine: &Machine,
        segment: &Segment,
        device: &str,
        mac: MacAddr,
    ) -> Result<(), NetError> {
        self.ports += 1;
        let port = format!("p{}", self.ports);
        netlink_in(&self.switch, |netlink| {
            netlink.add_veth(&port, device, mac, std::os::fd::AsFd::as_fd(&machine.ns))?;
            netlink.join(&port, &segment.0)?;
            netlink.up(&port)
        })
        .map_err(setup(format!("plug in {device} of {mac}")))?;
        machine.up(device)
    }

    /// A tap interface `name` on `segment`, for a virtual machine started with [`Self::switch`]'s
    /// [`NetNs::command`]. It stays until the laboratory goes.
    pub fn tap(&mut self, segment: &Segment, name: &str) -> Result<(), NetError> {
        self.switch
            .run(|| {
                crate::sys::tap::create_persistent(name)?;
                let mut netlink = Netlink::open()?;
                netlink.join(name, &segment.0)?;
                netlink.up(name)
            })
            .map_err(setup(format!("make the tap {name}")))
    }

    /// The namespace of the switch itself: bridges, ports and taps.
    pub fn switch(&self) -> &NetNs {
        &self.switch
    }
}

/// A machine of the laboratory: a network namespace with its loopback up.
#[derive(Clone, Debug)]
pub struct Machine {
    ns: NetNs,
}

impl Machine {
    pub fn ns(&self) -> &NetNs {
        &self.ns
    }

    /// Runs `work` inside and waits for it: the place to open sockets, which may then be used anywhere.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        self.ns.run(work)
    }

    /// A program to be started on this machine; see [`NetNs::command`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.ns.command(program)
    }

    pub fn address(&self, device: &str, ip: Ipv4Addr, prefix: u8) -> Result<(), NetError> {
        self.netlink(|netlink| netlink.add_address(device, ip, prefix))
            .map_err(setup(format!("give {device} the address {ip}/{prefix}")))
    }

    pub fn default_route(&self, gateway: Ipv4Addr) -> Result<(), NetError> {
        self.netlink(|netlink| netlink.add_default_route(gateway))
            .map_err(setup(format!("set the default route to {gateway}")))
    }

    pub fn up(&self, device: &str) -> Result<(), NetError> {
        self.netlink(|netlink| netlink.up(device)).map_err(setup(format!("bring up {device}")))
    }

    /// Anything else rtnetlink can do here.
    pub fn netlink<T: Send>(&self, work: impl FnOnce(&mut Netlink) -> io::Result<T> + Send) -> io::Result<T> {
        netlink_in(&self.ns, work)
    }

    /// Writes a setting below `/proc/sys/net` of this machine, such as `ipv4/ip_forward`.
    pub fn set(&self, setting: &str, value: &str) -> io::Result<()> {
        self.run(|| std::fs::write(format!("/proc/sys/net/{setting}"), value))
    }
}

fn netlink_in<T: Send>(ns: &NetNs, work: impl FnOnce(&mut Netlink) -> io::Result<T> + Send) -> io::Result<T> {
    ns.run(|| work(&mut Netlink::open()?))
}

/// Settings of every namespace here, below `/proc/sys/net`: no IPv6, whose neighbour discovery of a hundred machines
/// would drown what is to be seen, and no firewall between the ports of a switch, as there is none in a real one (it
/// would be a fifth of the work of sending a packet).
const SETTINGS: [(&str, &str); 2] =
    [("ipv6/conf/default/disable_ipv6", "1"), ("bridge/bridge-nf-call-iptables", "0")];

/// A namespace with its loopback up.
fn namespace(doing: &'static str) -> Result<NetNs, NetError> {
    let make = || {
        let ns = NetNs::new()?;
        ns.run(|| {
            for (setting, value) in SETTINGS {
                match std::fs::write(format!("/proc/sys/net/{setting}"), value) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {} // not found: a kernel without IPv6, or without a firewall for bridges
                }
            }
            Netlink::open()?.up("lo")
        })?;
        Ok(ns)
    };
    make().map_err(setup(doing))
}

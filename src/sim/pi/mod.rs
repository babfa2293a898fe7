//! One simulated Raspberry Pi, from power-on to a running agent, over real sockets.
//!
//! | file | holds |
//! |---|---|
//! | `rom` | what each boot ROM says in DHCP and which answers it accepts |
//! | `dhcp`, `frame`, `address` | messages, the frames around them, asking and listening |
//! | `tftp`, `firmware` | loading files, and which files in which order |
//! | `kernel` | the command line; reading the agent and the personality |
//! | `channel`, `seat` | the agent's channel; somebody logs in and writes into their home |
//! | `rpc`, `root`, `census` | the NFS root: mounting, walking, comparing |
//!
//! A Pi is a sequential program, so it is a thread with blocking sockets, living in its machine's namespace.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that the rest need not")]

pub mod address;
pub mod census;
pub mod channel;
pub mod dhcp;
pub mod firmware;
pub mod frame;
pub mod kernel;
pub mod life;
pub mod rom;
pub mod root;
pub mod rpc;
pub mod seat;
pub mod tftp;

use std::io;
use std::net::Ipv4Addr;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{SockaddrIn, SockaddrStorage};

use self::address::Given;
use self::census::Census;
pub use self::rom::{Board, Rom};
use self::root::Root;
use self::tftp::{Tftp, TftpError};
use super::net::{Machine, NetNs};
use crate::proto::agent::channel::Pin;
use crate::proto::agent::{Personality, Phase};
use crate::sys::ethernet::Ethernet;
use crate::sys::netlink::Netlink;
use crate::types::{UserName, chain};

/// The network card of every Pi.
const CARD: &str = "eth0";

/// How far a boot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The ROM asks for an address.
    Address,
    /// TFTP.
    Firmware,
    /// The kernel asks for an address.
    Kernel,
    /// Portmap, MOUNT, the first calls.
    Mount,
    /// The agent is read, learns who it is and reports.
    Agent,
    /// Everything in the root is read.
    Reading,
    Up,
}

impl Stage {
    pub const ALL: [Self; 7] =
        [Self::Address, Self::Firmware, Self::Kernel, Self::Mount, Self::Agent, Self::Reading, Self::Up];

    /// What a teacher is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "asks for an address",
            Self::Firmware => "loads its firmware",
            Self::Kernel => "starts the kernel",
            Self::Mount => "mounts its root",
            Self::Agent => "learns who it is",
            Self::Reading => "reads its root",
            Self::Up => "up",
        }
    }
}

/// News of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Stage(Stage),
    Address(Ipv4Addr),
    /// The name the server gives this client.
    Name(String),
    Tftp(u64),
    Nfs(u64),
    /// Somebody has logged in.
    LoggedIn(UserName),
    Failed(String),
}

/// A boot that did not reach its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} ({}): {reason}", board.mac, stage.as_str())]
pub struct Failure {
    pub board: Board,
    pub stage: Stage,
    /// With its causes.
    pub reason: String,
}

/// A Pi that is up. Its root stays mounted for as long as this lives.
#[derive(Debug)]
pub struct Up {
    pub board: Board,
    pub given: Given,
    pub personality: Personality,
    /// What its agent knows the server by.
    pub pin: Pin,
    /// When each stage began, from power-on.
    pub stages: Vec<(Stage, Duration)>,
    pub tftp_bytes: u64,
    pub census: Census,
    pub root: Root,
}

/// How a Pi is set up besides what it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Leaves out reading the whole root.
    pub skip_walk: bool,
}

/// A way in which a boot ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Has an address and asks for no file.
    NoFile,
    /// Asks again and again for a file that no image has.
    Vain,
    /// Takes the first block of a file, and no more.
    MidFile,
    /// Loads a short file, and then not one packet of a long one arrives.
    SmallOnly,
    /// Its link is so slow that it gives the kernel up.
    Slow,
    /// Loads all of its files, and no kernel starts.
    NoKernel,
    /// Loads nothing from here, and its kernel asks for an address.
    OtherKernel,
    /// A system on its card asks for an address, and no ROM ever did.
    OwnSystem,
    /// Its kernel has an address and never mounts.
    NoMount,
    /// Mounts its root, and its agent never says anything.
    NoAgent,
    /// The agent mounts the root and cannot go on.
    AgentFails,
}

/// How often a ROM asks in vain before it gives up.
const VAIN: usize = 12;

/// What each block takes on a slow link: some 200 KB a second, and then a tenth of it.
const SLOW: Duration = Duration::from_millis(5);

/// What a Pi says that ends as it was told to.
const AS_TOLD: &str = "it stops here, as it was told to";

/// Switches `board` on: boots it on a thread of its own, on the machine whose card `eth0` has its hardware address.
/// `tell` hears every piece of news with the number `id`.
pub fn power_on(
    board: Board,
    machine: Machine,
    options: Options,
    id: usize,
    tell: SyncSender<(usize, News)>,
) -> io::Result<JoinHandle<Result<Box<Up>, Failure>>> {
    power_on_with(board, machine, options, None, id, tell)
}

/// As [`power_on`], for a board that boots no further than to its `fault`, and is silent then.
pub fn power_on_with(
    board: Board,
    machine: Machine,
    options: Options,
    fault: Option<Fault>,
    id: usize,
    tell: SyncSender<(usize, News)>,
) -> io::Result<JoinHandle<Result<Box<Up>, Failure>>> {
    std::thread::Builder::new().name(format!("pi-{id}")).stack_size(512 * 1024).spawn(move || {
        let mut pi = Pi { board, id, tell, began: Instant::now(), stages: Vec::new(), tftp_bytes: 0 };
        let up = machine
            .ns()
            .enter()
            .map_err(|error| error.to_string())
            .and_then(|()| pi.boot(machine.ns(), options, fault));
        up.map(Box::new).map_err(|reason| {
            pi.news(News::Failed(reason.clone()));
            let stage = pi.stages.last().map_or(Stage::Address, |(stage, _)| *stage);
            Failure { board, stage, reason }
        })
    })
}

struct Pi {
    board: Board,
    id: usize,
    tell: SyncSender<(usize, News)>,
    began: Instant,
    stages: Vec<(Stage, Duration)>,
    tftp_bytes: u64,
}

impl Pi {
    fn news(&self, news: News) {
        // Whoever wanted to know may have lost interest; the Pi boots on.
        drop(self.tell.send((self.id, news)));
    }

    fn stage(&mut self, stage: Stage) {
        self.stages.push((stage, self.began.elapsed()));
        self.news(News::Stage(stage));
    }

    fn boot(&mut self, home: &NetNs, options: Options, fault: Option<Fault>) -> Result<Up, String> {
        forget_addresses().map_err(|error| format!("the network card keeps its old address: {error}"))?;
        if fault == Some(Fault::OwnSystem) {
            return self.own_system();
        }
        let mut given = self.rom()?;
        if fault == Some(Fault::OtherKernel) {
            release(&given)?;
            let wire = Ethernet::open(CARD).map_err(|error| error.to_string())?;
            address::by_kernel(self.board.mac, &wire).map_err(|error| chain(&error))?;
            return Err(AS_TOLD.to_owned());
        }
        fault.map_or(Ok(()), |fault| misbehave(fault, &given))?;
        let handover = self.firmware(&mut given)?;
        if fault == Some(Fault::NoKernel) {
            return Err(AS_TOLD.to_owned());
        }
        release(&given)?;

        self.stage(Stage::Kernel);
        let wire = Ethernet::open(CARD).map_err(|error| error.to_string())?;
        let nfsroot = kernel::Nfsroot::parse(&handover.cmdline, handover.initramfs.is_some())
            .map_err(|error| error.to_string())?;
        let again = address::by_kernel(self.board.mac, &wire).map_err(|error| chain(&error))?;
        drop(wire);
        same_address(&given, &again, "the kernel")?;
        take(&again)?;
        if fault == Some(Fault::NoMount) {
            return Err(AS_TOLD.to_owned());
        }

        self.stage(Stage::Mount);
        let mut root =
            Root::mount(home, again.address, nfsroot.server, &nfsroot.path).map_err(|error| chain(&error))?;

        if fault == Some(Fault::NoAgent) {
            return Err(AS_TOLD.to_owned());
        }
        self.stage(Stage::Agent);
        kernel::report(again.address, nfsroot.server, None, &[Phase::Started])
            .map_err(|error| chain(&error))?;
        if fault == Some(Fault::AgentFails) {
            kernel::report(again.address, nfsroot.server, None, &[Phase::Failed])
                .map_err(|error| chain(&error))?;
            return Err(AS_TOLD.to_owned());
        }
        let personality =
            kernel::start_agent(&mut root, &nfsroot.init, self.board.mac).map_err(|error| chain(&error))?;
        self.news(News::Name(personality.name.to_string()));
        kernel::report(
            again.address,
            personality.server,
            personality.proof,
            &[Phase::Root, Phase::Personality],
        )
        .map_err(|error| chain(&error))?;

        let mut census = Census::default();
        if !options.skip_walk {
            self.stage(Stage::Reading);
            census = root.walk(&mut |bytes| self.news(News::Nfs(bytes))).map_err(|error| chain(&error))?;
        }
        kernel::report(again.address, personality.server, personality.proof, &[Phase::Handover])
            .map_err(|error| chain(&error))?;
        self.stage(Stage::Up);
        Ok(Up {
            board: self.board,
            given: again,
            personality,
            pin: nfsroot.pin,
            stages: std::mem::take(&mut self.stages),
            tftp_bytes: self.tftp_bytes,
            census,
            root,
        })
    }

    /// A system on a card, of which the server hears only that it wants an address.
    fn own_system(&mut self) -> Result<Up, String> {
        let wire = Ethernet::open(CARD).map_err(|error| error.to_string())?;
        address::by_system(self.board.mac, &wire).map_err(|error| chain(&error))?;
        Err(AS_TOLD.to_owned())
    }

    /// The ROM's own part: an address.
    fn rom(&mut self) -> Result<Given, String> {
        self.stage(Stage::Address);
        let wire = Ethernet::open(CARD).map_err(|error| error.to_string())?;
        let given = address::by_rom(&self.board, &wire, false).map_err(|error| chain(&error))?;
        drop(wire);
        take(&given)?;
        self.news(News::Address(given.address));
        Ok(given)
    }

    /// Everything over TFTP; on a Pi 3 with a second DHCP exchange in between.
    fn firmware(&mut self, given: &mut Given) -> Result<firmware::Handover, String> {
        self.stage(Stage::Firmware);
        let mut tftp = Tftp { from: given.address, server: given.server, block: None };
        let tell = self.tell.clone();
        let id = self.id;
        let mut loaded = 0;
        let mut count = |bytes| {
            loaded += bytes;
            drop(tell.send((id, News::Tftp(bytes))));
        };
        match self.board.rom {
            Rom::Pi3B | Rom::Pi3BPlus => {
                if self.board.rom == Rom::Pi3B {
                    // This ROM answers no ARP once it transfers.
                    std::fs::write(ARP_IGNORE, "8").map_err(|error| error.to_string())?;
                }
                firmware::bootcode(tftp, &mut count).map_err(|error| chain(&error))?;
                release(given)?;
                let wire = Ethernet::open(CARD).map_err(|error| error.to_string())?;
                let again = address::by_rom(&self.board, &wire, true).map_err(|error| chain(&error))?;
                same_address(given, &again, "bootcode.bin")?;
                take(&again)?;
                *given = again;
                tftp.block = Some(1024);
            }
            Rom::Pi4 => tftp.block = Some(1024),
            Rom::Pi5 => tftp.block = Some(1468),
        }
        let handover = firmware::load(&self.board, tftp, &mut count).map_err(|error| chain(&error))?;
        self.tftp_bytes = loaded;
        Ok(handover)
    }
}

/// What a ROM does wrong after it has its address; others do it later.
fn misbehave(fault: Fault, given: &Given) -> Result<(), String> {
    let tftp = Tftp { from: given.address, server: given.server, block: Some(1024) };
    match fault {
        Fault::NoFile => Err(AS_TOLD.to_owned()),
        Fault::Vain => {
            for _ in 0..VAIN {
                tftp.load("start5.elf").map_err(|error| chain(&error))?;
            }
            Err(AS_TOLD.to_owned())
        }
        Fault::MidFile => {
            tftp.break_off("kernel8.img").map_err(|error| chain(&error))?;
            Err(AS_TOLD.to_owned())
        }
        Fault::SmallOnly => {
            tftp.load("config.txt").map_err(|error| chain(&error))?;
            tftp.break_off("kernel8.img").map_err(|error| chain(&error))?;
            Err(AS_TOLD.to_owned())
        }
        Fault::Slow => {
            tftp.load_slowly("initramfs8", SLOW).map_err(|error| chain(&error))?;
            match tftp.load_slowly("kernel8.img", SLOW * 10) {
                Err(TftpError::Silence { .. }) => Err(AS_TOLD.to_owned()),
                Err(error) => Err(chain(&error)),
                Ok(_) => Err("the kernel came in time".to_owned()),
            }
        }
        Fault::NoKernel
        | Fault::OtherKernel
        | Fault::OwnSystem
        | Fault::NoMount
        | Fault::NoAgent
        | Fault::AgentFails => Ok(()),
    }
}

/// 8: no ARP request is answered.
const ARP_IGNORE: &str = "/proc/sys/net/ipv4/conf/eth0/arp_ignore";

fn same_address(before: &Given, now: &Given, who: &str) -> Result<(), String> {
    if before.address == now.address {
        return Ok(());
    }
    Err(format!("{who} was given {}, the stage before it {}", now.address, before.address))
}

fn take(given: &Given) -> Result<(), String> {
    let set = || Netlink::open()?.add_address(CARD, given.address, given.prefix);
    set().map_err(|error| format!("could not set the address {}: {error}", given.address))
}

/// A Pi that was up before is switched off and on.
fn forget_addresses() -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    for interface in getifaddrs()?.filter(|interface| interface.interface_name == CARD) {
        let ip =
            |address: Option<SockaddrStorage>| address.and_then(|a| a.as_sockaddr_in().map(SockaddrIn::ip));
        if let (Some(address), Some(mask)) = (ip(interface.address), ip(interface.netmask)) {
            let prefix = u8::try_from(u32::from(mask).leading_ones()).unwrap_or(32);
            netlink.remove_address(CARD, address, prefix)?;
        }
    }
    Ok(())
}

/// Forgets the address, as the next stage of a boot starts without one.
fn release(given: &Given) -> Result<(), String> {
    let unset = || {
        std::fs::write(ARP_IGNORE, "0")?;
        Netlink::open()?.remove_address(CARD, given.address, given.prefix)
    };
    unset().map_err(|error: io::Error| format!("could not drop the address {}: {error}", given.address))
}

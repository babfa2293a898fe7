//! What the kernel makes of its command line, and what the agent does first.

use std::net::Ipv4Addr;

use super::root::{Root, RootError};
use super::rpc::udp_from_privileged_port;
use crate::proto::agent::channel::{BadPin, PARAMETER, Pin};
use crate::proto::agent::{BadPersonality, Personality, Phase, Proof, REPORT_PORT, Report};
use crate::types::MacAddr;

/// Longest command line of a 64-bit ARM kernel, and longest `nfsroot=` it copies.
const CMDLINE: usize = 2048;
const NFSROOT: usize = 255;

/// Where the root is, from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nfsroot {
    pub server: Ipv4Addr,
    pub path: String,
    pub init: String,
    /// What the agent knows the server of its channel by.
    pub pin: Pin,
}

/// Why the kernel would stop with a panic.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCmdline {
    #[error("the command line has {0} bytes, more than the kernel takes ({CMDLINE})")]
    TooLong(usize),
    #[error("cmdline.txt has more than one line; the firmware takes the first alone")]
    Lines,
    #[error("the command line has `{0}` twice")]
    Twice(String),
    #[error("the command line has no `{0}`")]
    Lacks(&'static str),
    #[error("`root={0}` is not an NFS root")]
    Root(String),
    #[error("the agent would not know the server")]
    Pin(#[source] BadPin),
    #[error("`nfsroot={0}` cannot be used: {1}")]
    Nfsroot(String, &'static str),
}

impl Nfsroot {
    /// As the kernel reads it, or klibc's nfsmount where there is an initramfs, which knows fewer options.
    pub fn parse(cmdline: &str, initramfs: bool) -> Result<Self, BadCmdline> {
        if cmdline.len() > CMDLINE {
            return Err(BadCmdline::TooLong(cmdline.len()));
        }
        let line = cmdline.strip_suffix('\n').unwrap_or(cmdline);
        if line.contains('\n') {
            return Err(BadCmdline::Lines);
        }
        let value = |name: &'static str| {
            let mut found =
                line.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            let first = found.next();
            if found.next().is_some() {
                return Err(BadCmdline::Twice(name.to_owned()));
            }
            first.ok_or(BadCmdline::Lacks(name))
        };
        let root = value("root")?;
        if root != "/dev/nfs" {
            return Err(BadCmdline::Root(root.to_owned()));
        }
        if !value("ip")?.split(':').any(|part| part == "dhcp") {
            return Err(BadCmdline::Lacks("ip=dhcp"));
        }
        let init = value("init")?.to_owned();
        let nfsroot = value("nfsroot")?;
        let bad = |why| BadCmdline::Nfsroot(nfsroot.to_owned(), why);
        if nfsroot.len() > NFSROOT {
            return Err(bad("the kernel copies 255 bytes of it"));
        }
        let (place, options) = nfsroot.split_once(',').unwrap_or((nfsroot, ""));
        let (server, path) = place.split_once(':').ok_or_else(|| bad("no server before the path"))?;
        let server = server.parse().map_err(|_| bad("klibc takes numeric addresses only"))?;
        let options: Vec<&str> = options.split(',').collect();
        if !options.iter().any(|option| *option == "vers=3" || *option == "v3") {
            return Err(bad("it does not ask for version 3"));
        }
        if !options.contains(&"nolock") {
            return Err(bad("without `nolock` the root waits for a lock manager"));
        }
        // klibc treats an option it does not know as a fault and tries again for three minutes.
        if initramfs
            && options.iter().any(|option| option.starts_with("proto=") || option.starts_with("sec="))
        {
            return Err(bad("klibc's nfsmount does not know one of the options"));
        }
        let pin = value(PARAMETER)?.parse().map_err(BadCmdline::Pin)?;
        Ok(Self { server, path: path.to_owned(), init, pin })
    }
}

/// What went wrong when the agent would start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the agent cannot be read")]
    Agent(#[source] RootError),
    #[error("`{0}` is empty")]
    Empty(String),
    #[error("the personality cannot be read")]
    Read(#[source] RootError),
    #[error("the personality is none")]
    Personality(#[source] BadPersonality),
    #[error("the personality is of {0}, not of this client")]
    Another(MacAddr),
    #[error("the report cannot be sent")]
    Report(#[source] std::io::Error),
}

/// Reads the agent and the personality, as the kernel and the agent do; answers with the latter.
pub fn start_agent(root: &mut Root, init: &str, mac: MacAddr) -> Result<Personality, AgentError> {
    let program = root.file(init).map_err(AgentError::Agent)?;
    if program.is_empty() {
        return Err(AgentError::Empty(init.to_owned()));
    }
    let text = root.file("/.bramble/personality.json").map_err(AgentError::Read)?;
    let personality = Personality::decode(&text).map_err(AgentError::Personality)?;
    if personality.mac != mac {
        return Err(AgentError::Another(personality.mac));
    }
    Ok(personality)
}

/// Reports each milestone to the server, as the agent does, who has a proof when it has read its personality.
pub fn report(
    from: Ipv4Addr,
    server: Ipv4Addr,
    proof: Option<Proof>,
    phases: &[Phase],
) -> Result<(), AgentError> {
    let socket = udp_from_privileged_port(from).map_err(AgentError::Report)?;
    for phase in phases {
        let report = Report::new(*phase, "simulated").with(proof);
        socket.send_to(&report.encode(), (server, REPORT_PORT)).map_err(AgentError::Report)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_the_kernel_reads_it() {
        let good = "console=tty1 root=/dev/nfs nfsroot=192.168.77.1:/image/trixie/1,vers=3,tcp,nolock ip=dhcp ro \
                    init=/.bramble/agent bramble.pin=0707070707070707070707070707070707070707070707070707070707070707\n";
        let parsed = Nfsroot::parse(good, false).expect("a good one");
        assert_eq!(parsed.server, Ipv4Addr::new(192, 168, 77, 1));
        assert_eq!((parsed.path.as_str(), parsed.init.as_str()), ("/image/trixie/1", "/.bramble/agent"));
        let nfsroot = |why| BadCmdline::Nfsroot("192.168.77.1:/image/trixie/1,vers=3,tcp".to_owned(), why);
        #[rustfmt::skip]
        let rows = [
            ("from the card",  good.replace("/dev/nfs", "PARTUUID=1-02"),  BadCmdline::Root("PARTUUID=1-02".to_owned())),
            ("two lines",      format!("{good}init=/bin/sh\n"),            BadCmdline::Lines),
            ("two inits",      good.replace("ro ", "ro init=/bin/sh "),    BadCmdline::Twice("init".to_owned())),
            ("no pin",         good.replace("bramble.pin", "pin"),         BadCmdline::Lacks("bramble.pin")),
            ("no address",     good.replace("ip=dhcp", ""),                BadCmdline::Lacks("ip")),
            ("with locks",     good.replace(",nolock", ""),                nfsroot("without `nolock` the root waits for a lock manager")),
        ];
        for (shows, cmdline, expected) in rows {
            assert_eq!(Nfsroot::parse(&cmdline, false), Err(expected), "{shows}");
        }
        let klibc = good.replace("tcp", "proto=tcp");
        assert!(Nfsroot::parse(&klibc, false).is_ok());
        assert!(Nfsroot::parse(&klibc, true).is_err(), "klibc does not know `proto=`");
    }
}

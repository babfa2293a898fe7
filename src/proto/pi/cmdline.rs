//! `cmdline.txt`: the kernel's parameters, with the root over NFS and our agent as init.
//!
//! Kept are the image's own parameters, except those that say where its root is, who is init, and what a first boot from
//! a card would do. Behind them stand ours, then those of the room and the client, so that a person has the last word
//! (of a parameter given twice the kernel takes the later one).

use std::net::Ipv4Addr;

use crate::proto::agent::channel;
use crate::proto::portmap::NFS_PORT;

/// What an image without a `cmdline.txt` of its own gets, on a Pi: serial port and screen, as Raspberry Pi OS has it.
pub const PI_CONSOLES: &str = "console=serial0,115200 console=tty1";

/// Parameters (the part before `=`) of an image that are not kept.
const DROPPED: &[&str] = &[
    // The image's root on a card or disk, and how to wait for, check and resume from it.
    "root",
    "rootfstype",
    "rootflags",
    "rootdelay",
    "rootwait",
    "ro",
    "rw",
    "resume",
    "fsck.repair",
    "fsck.mode",
    "resize",
    "boot",
    "overlayroot",
    // A root over the network that somebody prepared the image for.
    "nfsroot",
    "nfsrootdebug",
    "nbdroot",
    "ip",
    "BOOTIF",
    // Our agent is init. Raspberry Pi OS sets one for its first boot: `quiet init=…/firstboot`, `…/init_resize.sh`.
    "init",
    // Raspberry Pi Imager's first boot: `systemd.run=/boot/firstrun.sh systemd.unit=kernel-command-line.target`.
    "systemd.run",
    "systemd.run_success_action",
    "systemd.run_failure_action",
    // How the agent would know another server.
    channel::PARAMETER,
];

/// Where the root is, how it is mounted, and how the agent in it knows the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsRoot {
    /// Numeric, because klibc's `nfsmount` in an initramfs resolves no names.
    pub server: Ipv4Addr,
    /// Of NFS and MOUNT; any other than 2049 is told to the client, which then asks no portmapper.
    pub port: u16,
    /// Such as `/image/trixie/3`.
    pub path: String,
    /// Whether the client may write it: the draft of an image.
    pub writable: bool,
    /// Of the agents' channel.
    pub pin: channel::Pin,
}

/// For trees that never change.
const KEPT_FOR_A_DAY: &str = ",nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400";

impl NfsRoot {
    /// The parameters that mount this root and start the agent. The options are those that both the kernel and klibc's
    /// `nfsmount` know: an unknown one makes the latter try for three minutes and fail.
    ///
    /// A published tree never changes, so what the client knows of it stays right for a day: it asks less, and programs
    /// that were used before start also while the server is away.
    fn parameters(&self) -> String {
        let Self { server, port, path, writable, pin } = self;
        let (access, kept) = if *writable { ("rw", "") } else { ("ro", KEPT_FOR_A_DAY) };
        let port = if *port == NFS_PORT { String::new() } else { format!(",port={port},mountport={port}") };
        format!(
            "root=/dev/nfs nfsroot={server}:{path},vers=3,tcp,nolock,rsize=131072{kept}{port} ip=dhcp {access} rootwait init=/.bramble/agent {}={pin}",
            channel::PARAMETER
        )
    }
}

/// One line, ending with a newline: `original`'s parameters that are kept, ours, and `extra`.
///
/// ```
/// use bramble::proto::pi::cmdline::{NfsRoot, compose};
/// let pin = bramble::proto::agent::channel::Pin([0xab; 32]);
/// let root = NfsRoot { server: [192, 168, 1, 1].into(), port: 2049, path: "/image/trixie/3".to_owned(), writable: false, pin };
/// let line = compose("console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait resize", &root, &["quiet".to_owned()]);
/// assert_eq!(
///     line,
///     "console=tty1 root=/dev/nfs nfsroot=192.168.1.1:/image/trixie/3,vers=3,tcp,nolock,rsize=131072,nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400 ip=dhcp ro \
///      rootwait init=/.bramble/agent \
///      bramble.pin=abababababababababababababababababababababababababababababababab quiet\n"
/// );
/// ```
pub fn compose(original: &str, root: &NfsRoot, extra: &[String]) -> String {
    let own = root.parameters();
    let mut line = String::with_capacity(original.len() + own.len() + 64);
    let first_line = original.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let originals: Vec<&str> = parameters(first_line).take_while(|parameter| *parameter != "--").collect();
    let followers = originals.iter().skip(1).map(Some).chain([None]);
    for (parameter, next) in originals.iter().zip(followers) {
        let first_boots_quiet = *parameter == "quiet" && next.is_some_and(|next| is_first_boot(next));
        if !first_boots_quiet && !is_dropped(parameter) {
            push(&mut line, parameter);
        }
    }
    push(&mut line, &own);
    for text in extra {
        parameters(text).for_each(|parameter| push(&mut line, parameter));
    }
    line.push('\n');
    line
}

/// The parameters of `text`, split at white space outside double quotes, as the kernel splits them.
pub fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && (c.is_whitespace() || c.is_control())
    })
    .filter(|parameter| !parameter.is_empty())
}

fn is_dropped(parameter: &str) -> bool {
    // The kernel takes `"root=x"` for `root=x`.
    let bare = parameter.trim_start_matches('"');
    let name = bare.split_once('=').map_or(bare, |(name, _)| name);
    DROPPED.contains(&name) || parameter == "systemd.unit=kernel-command-line.target"
}

/// Whether this is the `init=` of Raspberry Pi OS's first boot, which comes with a `quiet` of its own.
fn is_first_boot(parameter: &str) -> bool {
    let program = parameter.strip_prefix("init=").and_then(|path| path.rsplit('/').next());
    matches!(program, Some("firstboot" | "init_resize.sh"))
}

/// Appends one parameter. A line break inside quotes becomes a space: the file must stay one line. A quote that is left
/// open is closed, or it would swallow all that follows, our root with it.
fn push(line: &mut String, parameter: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.extend(parameter.chars().map(|c| if c.is_control() { ' ' } else { c }));
    if !parameter.matches('"').count().is_multiple_of(2) {
        line.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "root=/dev/nfs nfsroot=10.0.0.1:/image/lab/7,vers=3,tcp,nolock,rsize=131072,nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400 ip=dhcp ro rootwait init=/.bramble/agent bramble.pin=0707070707070707070707070707070707070707070707070707070707070707";

    fn root() -> NfsRoot {
        NfsRoot {
            server: Ipv4Addr::new(10, 0, 0, 1),
            port: NFS_PORT,
            path: "/image/lab/7".to_owned(),
            writable: false,
            pin: channel::Pin([7; 32]),
        }
    }

    /// The files as they are in the images (facts/pi-netboot.md 2.7), and what people made of them.
    #[test]
    fn files_of_real_images() {
        #[rustfmt::skip]
        let rows = [
            ("Bullseye, first boot", "console=serial0,115200 console=tty1 root=PARTUUID=8e8f-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspi-config/init_resize.sh\n",
                "console=serial0,115200 console=tty1"),
            ("Bookworm desktop, first boot", "console=serial0,115200 console=tty1 root=PARTUUID=4e63-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot splash plymouth.ignore-serial-consoles",
                "console=serial0,115200 console=tty1 splash plymouth.ignore-serial-consoles"),
            ("Bookworm desktop later keeps its own quiet", "console=tty1 root=PARTUUID=4e63-02 rootwait quiet splash plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB",
                "console=tty1 quiet splash plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB"),
            ("Trixie", "console=serial0,115200 console=tty1 root=PARTUUID=4e63-02 rootfstype=ext4 fsck.repair=yes rootwait resize",
                "console=serial0,115200 console=tty1"),
            ("Imager", "console=tty1 root=PARTUUID=4e63-02 rootwait systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target",
                "console=tty1"),
            ("an image made for NFS before", "console=tty1 root=/dev/nfs nfsroot=192.168.1.9:/srv/x,vers=4.1,proto=tcp rw ip=dhcp rootwait elevator=deadline",
                "console=tty1 elevator=deadline"),
            ("a hand that broke the line", "\r\nconsole=tty1 rootwait\r\nconsole=ttyS9\r\n", "console=tty1"),
            ("quotes", "dyndbg=\"file a.c +p; file b.c +p\" rootwait", "dyndbg=\"file a.c +p; file b.c +p\""),
            ("a quote that nobody closed", "console=tty1 dyndbg=\"file a.c +p", "console=tty1 dyndbg=\"file a.c +p\""),
            ("a quoted root", "\"root=/dev/sda 2\" console=tty1", "console=tty1"),
            ("arguments for another init", "console=tty1 -- single", "console=tty1"),
        ];
        for (shows, original, kept) in rows {
            assert_eq!(compose(original, &root(), &[]), format!("{kept} {OURS}\n"), "{shows}");
        }
        assert_eq!(compose("", &root(), &[]), format!("{OURS}\n"), "nothing to keep");
    }

    #[test]
    fn room_and_client_have_the_last_word() {
        let extra =
            ["video=HDMI-A-1:1920x1080M@60D usbhid.mousepoll=0".to_owned(), "quiet\nsplash".to_owned()];
        assert_eq!(
            compose("console=tty1", &root(), &extra),
            format!("console=tty1 {OURS} video=HDMI-A-1:1920x1080M@60D usbhid.mousepoll=0 quiet splash\n")
        );
    }

    /// Where 2049 is another server's, the client is told the port and asks no portmapper.
    #[test]
    fn another_port_is_told() {
        let line = compose("", &NfsRoot { port: 20490, ..root() }, &[]);
        let told = "nfsroot=10.0.0.1:/image/lab/7,vers=3,tcp,nolock,rsize=131072,nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400,port=20490,mountport=20490 ip=dhcp";
        assert!(line.contains(told), "{line}");
    }

    #[test]
    fn a_draft_may_be_written() {
        let line = compose("ro", &NfsRoot { path: "/draft/lab".to_owned(), writable: true, ..root() }, &[]);
        assert!(line.starts_with("root=/dev/nfs nfsroot=10.0.0.1:/draft/lab,vers=3,tcp,nolock,rsize=131072 ip=dhcp rw rootwait "), "{line}");
    }

    proptest! {
        /// Whatever an image's file and the settings say, the answer is one line, and the root is ours alone.
        #[test]
        fn one_line_one_root(original in "[ -~\n]{0,120}|.*", extra in any::<String>()) {
            let line = compose(&original, &root(), &[extra.replace("root", "").replace("init", "")]);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert_eq!(parameters(&line).filter(|p| p.starts_with("root=")).count(), 1);
            prop_assert_eq!(parameters(&line).filter(|p| p.starts_with("init=")).count(), 1);
        }
    }
}

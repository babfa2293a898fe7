//! The first program of a client: from the kernel's start of us to the start of the image's own init.
//!
//! The root is the image, read-only, over NFS. What happens, in order: the kernel's views of itself are mounted, the
//! personality is read, a writable layer is laid over the root, the recipe of the release is applied in it, and it
//! becomes the root. What fails on the way is said on the screen and to the server, and the boot goes on as far as it
//! can; where it cannot, the screen says why and what to do, and the client tries again after a while. The kernel
//! would panic if we ended, so nothing here does.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

use super::console::Console;
use super::mounts::MountError;
use super::network::{self, Link};
use super::plan::{self, Client};
use super::root::Root;
use super::{maintenance, modules, mounts, packed, service, shutdown};
use crate::proto::agent::{Personality, Phase, VERSION};
use crate::types::{HostName, ImageVersion, MacAddr, SeatUse, Version, chain};

/// Where the server puts what concerns the client; below the root of each image, in none of them.
const PERSONALITY: &str = "/.bramble/personality.json";

/// Programs that can go on from here, best first; the last at least gives whoever sits there a prompt.
pub(super) const INITS: [&str; 5] =
    ["/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/etc/init", "/bin/sh"];

/// How long the screen shows what happened before the client starts again: long enough to read it and to write it
/// down, short enough that a room comes up by itself once the server is repaired.
const SHOWN: Duration = Duration::from_mins(1);

/// Why the boot cannot go on.
#[derive(Debug)]
struct Fatal {
    what: String,
    remedy: &'static str,
}

/// Does not come back. `arguments` are those of the kernel's command line that were meant for init.
pub fn run(arguments: &[OsString]) -> ! {
    let mut console = Console::default();
    console.open();
    std::panic::set_hook(Box::new(|panic| {
        let mut console = Console::default();
        console.open();
        give_up(&mut console, &Fatal { what: format!("the agent has a fault: {panic}"), remedy: REPORT_IT });
    }));
    let fatal = boot(&mut console, arguments);
    give_up(&mut console, &fatal)
}

const REPORT_IT: &str = "tell the people who look after Bramble, with a photograph of this screen";

fn give_up(console: &mut Console, fatal: &Fatal) -> ! {
    console.failed(&fatal.what, fatal.remedy, SHOWN.as_secs());
    loop {
        sleep(SHOWN);
        let _ = reboot(RebootMode::RB_AUTOBOOT);
    }
}

/// The whole boot; comes back only if it cannot go on.
fn boot(console: &mut Console, arguments: &[OsString]) -> Fatal {
    let troubles = mounts::kernel_views();
    console.open();
    for trouble in troubles {
        console.trouble(&chain(&trouble));
    }

    let link = network::root_link();
    if let Some(server) = link.as_ref().and_then(|link| link.server) {
        console.report_to(server);
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    console.milestone(Phase::Started, &format!("the agent has started, kernel {}", kernel.trim()));
    if link.is_none() {
        console.trouble("no network link leads to the server of the root file system; it may be taken down");
    }

    let personality = personality(console, link.as_ref());
    console.show(personality.proof);
    if personality.maintenance {
        return maintain(console, arguments, &personality, link.as_ref());
    }
    if let Err(error) = modules::file_system("overlay") {
        console.trouble(&chain(&error));
    }
    let (new_root, form) = match writable(console, &personality) {
        Ok(made) => made,
        Err(error) => {
            return Fatal {
                what: chain(&error),
                remedy: "the image must bring the module `overlay` for the kernel it is started with; import it again with \
                         both from the same release",
            };
        }
    };
    console
        .milestone(Phase::Root, &format!("the root is writable and forgets everything at power-off{form}"));

    adopt(console, &new_root, &personality, link.as_ref());

    if let Err(error) = mounts::enter(&new_root) {
        return Fatal { what: chain(&error), remedy: REPORT_IT };
    }
    stay(console, link.as_ref(), &personality, false);
    hand_over(console, arguments)
}

/// Puts what outlives this program where systemd and the recipes look for it.
fn stay(console: &mut Console, link: Option<&Link>, personality: &Personality, maintenance: bool) {
    let server = link.and_then(|link| link.server);
    if let Err(error) = shutdown::install(server, personality.proof) {
        console.trouble(&format!("at power-off the server will not be told: {}", chain(&error)));
    }
    if let Some(server) = server
        && let Err(error) = service::install(server, Path::new(shutdown::PROGRAM), personality, maintenance)
    {
        console.trouble(&format!("nobody of the server can log in: {error}"));
    }
}

/// The draft of an image is the root: what is this client's own stays in memory, the rest is for whoever sits here.
fn maintain(
    console: &mut Console,
    arguments: &[OsString],
    personality: &Personality,
    link: Option<&Link>,
) -> Fatal {
    if let Err(error) = maintenance::open_root() {
        return Fatal {
            what: format!("the draft of `{}` cannot be written: {error}", personality.image.name),
            remedy: "ask the server (`bramble image show NAME`): the draft is published, discarded or another client's by now",
        };
    }
    console.milestone(Phase::Root, &maintenance::notice(&personality.image.name));
    if let Err(error) = nix::unistd::sethostname(personality.name.as_str()) {
        console.trouble(&format!("the host name cannot be set: {error}"));
    }
    let mut troubles = Vec::new();
    let mut done = 0;
    match Root::open(Path::new("/")) {
        Ok(root) => {
            let screen = screen();
            let client =
                Client { personality, link: link.map_or("", |link| link.name.as_str()), console: &screen };
            let plan = plan::plan(&root, client);
            let failed = maintenance::apply(&plan);
            done = plan.changes.len() - failed.len();
            troubles.extend(plan.troubles.into_iter().chain(failed));
        }
        Err(error) => troubles.push(format!("nothing of this client's own can be arranged: {error}")),
    }
    troubles.extend(maintenance::arrange(&personality.image.name));
    for trouble in &troubles {
        console.trouble(trouble);
    }
    let told = format!("this is {}; {done} changes for it, none of them in the draft", personality.name);
    console.milestone(Phase::Personality, &told);
    stay(console, link, personality, true);
    hand_over(console, arguments)
}

/// The image with a writable layer, and how the image is read. Where another server has the image and does not give it, or
/// the packed one cannot be used, the tree that is mounted already is.
fn writable(console: &mut Console, personality: &Personality) -> Result<(PathBuf, &'static str), MountError> {
    let workshop = mounts::workshop()?;
    let lower = match &personality.root {
        Some(image) => mounts::elsewhere(workshop, image)
            .map(Some)
            .map_err(|error| format!("{}; the image comes from Bramble", chain(&error))),
        None => packed::mounted(workshop)
            .map_err(|error| format!("the packed image is not used, but the tree: {}", chain(&error))),
    };
    let lower = lower.unwrap_or_else(|trouble| {
        console.trouble(&trouble);
        None
    });
    let form = if lower.is_some() && personality.root.is_none() { "; the image is packed" } else { "" };
    Ok((mounts::overlay(workshop, lower.as_deref().unwrap_or("/"))?, form))
}

/// Becomes the image's init; comes back if there is none that runs.
fn hand_over(console: &mut Console, arguments: &[OsString]) -> Fatal {
    let mut tried = Vec::new();
    for init in INITS.into_iter().filter(|init| mounts::is_program(Path::new(init))) {
        console.milestone(Phase::Handover, &format!("starting {init}"));
        let error = Command::new(init).args(arguments).exec();
        console.trouble(&format!("{init} does not start: {error}"));
        tried.push(init);
    }
    Fatal {
        what: if tried.is_empty() {
            "the image has no /sbin/init".to_owned()
        } else {
            format!("none of {} starts", tried.join(", "))
        },
        remedy: "the image is no operating system, or one for another processor; choose another image for this client",
    }
}

/// Writes who the client is into the new root, and what it needs to run without a disk.
fn adopt(console: &mut Console, new_root: &Path, personality: &Personality, link: Option<&Link>) {
    if let Err(error) = nix::unistd::sethostname(personality.name.as_str()) {
        console.trouble(&format!("the host name cannot be set: {error}"));
    }
    let root = match Root::open(new_root) {
        Ok(root) => root,
        Err(error) => {
            console.trouble(&format!("nothing of this client's own can be written: {error}"));
            return;
        }
    };
    let screen = screen();
    let client = Client { personality, link: link.map_or("", |link| link.name.as_str()), console: &screen };
    let plan = plan::plan(&root, client);
    let failed = plan::apply(&root, &plan);
    for trouble in plan.troubles.iter().chain(&failed) {
        console.trouble(trouble);
    }
    let done = plan.changes.len() - failed.len();
    console.milestone(
        Phase::Personality,
        &format!("this is {}; {done} changes for {}", personality.name, plan.recipe),
    );
}

/// The text console that somebody sits at: the first one of the screen, or a serial line where that is all there is.
fn screen() -> String {
    screen_in(&fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default())
}

fn screen_in(active: &str) -> String {
    let of_screen =
        |name: &str| name.strip_prefix("tty").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let serial = active.split_whitespace().last().filter(|_| !active.split_whitespace().any(of_screen));
    serial.unwrap_or("tty1").to_owned()
}

/// What the server says about this client, or else what the client can tell by itself.
fn personality(console: &mut Console, link: Option<&Link>) -> Personality {
    let told = fs::read(PERSONALITY)
        .map_err(|error| error.to_string())
        .and_then(|bytes| Personality::decode(&bytes).map_err(|error| chain(&error)));
    told.unwrap_or_else(|error| {
        console.trouble(&format!("the server does not say who this client is ({PERSONALITY}): {error}"));
        let kernel = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        on_its_own(link, kernel.trim())
    })
}

/// A personality without the server's: the name that DHCP gave the kernel, an id made of the hardware address.
fn on_its_own(link: Option<&Link>, kernel_name: &str) -> Personality {
    let mac = link.map_or(MacAddr::new([2, 0, 0, 0, 0, 1]), |link| link.mac);
    let digits = mac.to_string().replace(':', "");
    let named = kernel_name.parse::<HostName>().ok().filter(|name| name.as_str() != "localhost");
    let default =
        || format!("pi-{}", digits.get(6..).unwrap_or_default()).parse().expect("letters, digits and `-`");
    Personality {
        version: VERSION,
        name: named.unwrap_or_else(default),
        mac,
        machine_id: format!("{digits}00004000800000000000").parse().expect("32 hex digits, one of them a 4"),
        server: link.and_then(|link| link.server).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        maintenance: false,
        root: None,
        image: ImageVersion { name: "unknown".parse().expect("an image name"), version: Version::FIRST },
        domain: None,
        dns: Vec::new(),
        ntp: Vec::new(),
        timezone: None,
        mask: Vec::new(),
        used: SeatUse::Login,
        proof: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_sits_at_the_screen_unless_there_is_only_a_serial_line() {
        for (active, expected) in [
            ("ttyAMA0 tty1", "tty1"),
            ("tty0", "tty1"),
            ("ttyS0", "ttyS0"),
            ("ttyS0 ttyAMA10", "ttyAMA10"),
            ("", "tty1"),
        ] {
            assert_eq!(screen_in(active), expected, "{active}");
        }
    }

    #[test]
    fn a_client_the_server_says_nothing_about_still_has_a_name() {
        let link = Link {
            name: "eth0".to_owned(),
            mac: "dc:a6:32:01:02:03".parse().expect("MAC"),
            server: Some([192, 168, 1, 1].into()),
        };
        let own = on_its_own(Some(&link), "(none)");
        assert_eq!(
            (own.name.as_str(), own.machine_id.as_str()),
            ("pi-010203", "dca63201020300004000800000000000")
        );
        assert_eq!(on_its_own(Some(&link), "lab-01").name.as_str(), "lab-01");
        assert_eq!(on_its_own(None, "localhost").name.as_str(), "pi-000001");
    }
}

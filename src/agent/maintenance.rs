//! Maintenance: the client's root is the draft of an image itself, and whoever sits here changes it as root.
//!
//! There is no overlay, so nothing that is this client's own may be written into the root: it would go out to every client.
//! What the recipe of the release changes goes to places that are forgotten at power-off instead. systemd reads one folder of
//! `/run` before all of the image's own units, those in `/etc` among them (systemd.unit(5), *unit file load path*); a file
//! that is there already is covered by one in memory. Log-in by the server's people is left out: here root is logged in, on the first console and the serial
//! one, and works on the image.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::plan::{Change, Plan, To};
use crate::types::ImageName;

/// Where the files stand that cover others.
const COVERS: &str = "/run/bramble-maintenance";

/// Where a change goes so that the draft does not get it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A path that is forgotten at power-off, below the root.
    Volatile(String),
    /// Over the file at its own path.
    Cover,
    /// It is not made.
    Nowhere,
}

/// Which folders of settings have a volatile twin.
const TWINS: [(&str, &str); 3] = [
    ("etc/systemd/system/", CONTROL),
    ("etc/systemd/", "run/systemd/"),
    ("etc/NetworkManager/", "run/NetworkManager/"),
];

/// Where units stand that go before all others.
const CONTROL: &str = "run/systemd/system.control/";

fn place(change: &Change) -> Place {
    let path = change.path.as_str();
    if path.starts_with("etc/pam.d/") || path.starts_with("var/") {
        return Place::Nowhere;
    }
    let twin =
        TWINS.iter().find_map(|(settings, twin)| Some(format!("{twin}{}", path.strip_prefix(settings)?)));
    match (twin, &change.to) {
        (Some(twin), To::File { .. } | To::Edited(_) | To::Link(_)) => Place::Volatile(twin),
        (_, To::Link(_)) => Place::Nowhere,
        (_, To::File { .. } | To::Edited(_) | To::Nothing) => Place::Cover,
    }
}

/// Makes the changes of `plan` below `/`, none of them in the draft; the ones that failed come back as sentences.
pub fn apply(plan: &Plan) -> Vec<String> {
    let mut failed = Vec::new();
    for (number, change) in plan.changes.iter().enumerate() {
        let made = match place(change) {
            Place::Nowhere => Ok(()),
            Place::Volatile(path) => write(&Path::new("/").join(path), &change.to),
            Place::Cover => cover(number, change),
        };
        if let Err(error) = made {
            failed.push(format!("`/{}` could not be covered ({}): {error}", change.path, change.why));
        }
    }
    failed
}

fn write(path: &Path, to: &To) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match to {
        To::File { text, mode } => {
            fs::write(path, text)?;
            fs::set_permissions(path, PermissionsExt::from_mode(*mode))
        }
        To::Edited(text) => fs::write(path, text),
        To::Link(target) => symlink(target, path),
        To::Nothing => Ok(()),
    }
}

/// Covers the file of a change, if it is there, with one that has the text it should have.
fn cover(number: usize, change: &Change) -> io::Result<()> {
    let path = Path::new("/").join(&change.path);
    let real = match fs::canonicalize(&path) {
        Ok(real) => real,
        // A link into what is volatile, to a file that nobody has made yet: `/etc/resolv.conf` of many systems.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(&path) {
            Ok(target) => folded(&path, &target),
            Err(_) => return Ok(()),
        },
        Err(error) => return Err(error),
    };
    if real.starts_with("/run") {
        return write(&real, &change.to);
    }
    if !real.is_file() {
        return Ok(());
    }
    let stand_in = Path::new(COVERS).join(number.to_string());
    let empty = To::File { text: String::new(), mode: 0o644 };
    write(&stand_in, if change.to == To::Nothing { &empty } else { &change.to })?;
    Ok(mount(Some(&stand_in), &real, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// Where a link at `path` leads, without asking the disk.
fn folded(path: &Path, target: &Path) -> PathBuf {
    let mut folded = path.parent().map(Path::to_owned).unwrap_or_default();
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => {
                folded.pop();
            }
            std::path::Component::CurDir => {}
            part => folded.push(part),
        }
    }
    folded
}

/// The root can be written from now on; the server says where it cannot.
pub fn open_root() -> io::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REMOUNT, None::<&str>)?;
    let stat = nix::sys::statvfs::statvfs("/")?;
    if stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        return Err(io::ErrorKind::ReadOnlyFilesystem.into());
    }
    Ok(())
}

/// Units that would write what is this client's, or what only a first start does, into the draft.
const OFF: &[&str] = &[
    "systemd-machine-id-commit.service",
    "systemd-firstboot.service",
    "systemd-random-seed.service",
    "systemd-update-utmp.service",
    "rpi-display-backlight.service",
    "sshswitch.service",
    "regenerate_ssh_host_keys.service",
    "userconfig.service",
];

/// Root is logged in where somebody sits, and is told what this is. The ones that failed come back as sentences.
pub fn arrange(image: &ImageName) -> Vec<String> {
    let log_in = |options: &str| To::File {
        text: format!(
            "# Written at boot by bramble-agent.\n[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root {options} %I $TERM\n"
        ),
        mode: 0o644,
    };
    let says = |text: String| To::File { text, mode: 0o644 };
    let units = "/run/systemd/system.control";
    let serial = "--keep-baud 115200,57600,38400,9600";
    let mut files = vec![
        (format!("{units}/getty@tty1.service.d/bramble.conf"), log_in("--noclear")),
        (format!("{units}/serial-getty@.service.d/bramble.conf"), log_in(serial)),
        // Beside what the image says; `motd.dynamic` is made anew at each log-in (pam_motd(8)).
        ("/run/motd.d/bramble".to_owned(), says(format!("\n{}\n\n", notice(image)))),
    ];
    // A desktop would cover the console, and nobody could log in to it but people whom the image itself knows.
    files.push((
        format!("{units}/default.target"),
        To::Link("/lib/systemd/system/multi-user.target".to_owned()),
    ));
    files.extend(OFF.iter().map(|unit| (format!("{units}/{unit}"), To::Link("/dev/null".to_owned()))));
    let mut failed = Vec::new();
    for (path, to) in &files {
        match write(Path::new(path), to) {
            // The recipe has done it.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                failed.push(format!("`{path}` could not be written: {error}"));
            }
            _ => {}
        }
    }
    failed
}

/// What whoever sits here must know.
pub fn notice(image: &ImageName) -> String {
    format!(
        "This is the draft of `{image}`. Whatever is changed here is kept, and goes to every client once it is published. \
         When you are done, shut down (`poweroff`). `systemctl start display-manager` starts a desktop, if there is one."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_this_client_goes_into_the_draft() {
        let file = To::File { text: "x".to_owned(), mode: 0o644 };
        let link = To::Link("/dev/null".to_owned());
        let volatile = |path: &str| Place::Volatile(path.to_owned());
        #[rustfmt::skip]
        let rows = [
            ("etc/systemd/system/apt-daily.timer", &link, volatile("run/systemd/system.control/apt-daily.timer")),
            ("etc/systemd/journald.conf.d/bramble.conf", &file, volatile("run/systemd/journald.conf.d/bramble.conf")),
            ("etc/NetworkManager/conf.d/90-bramble.conf", &file, volatile("run/NetworkManager/conf.d/90-bramble.conf")),
            ("etc/fstab", &file, Place::Cover), ("etc/resolv.conf", &file, Place::Cover),
            ("etc/sudoers.d/010_wiz-nopasswd", &To::Nothing, Place::Cover),
            ("etc/localtime", &link, Place::Nowhere), ("var/lib/dbus/machine-id", &link, Place::Nowhere),
            ("etc/pam.d/common-auth", &file, Place::Nowhere),
        ];
        for (path, to, expected) in rows {
            let change = Change { path: path.to_owned(), to: to.clone(), why: "" };
            assert_eq!(place(&change), expected, "{path}");
        }
    }

    #[test]
    fn a_link_is_followed_without_the_file() {
        let resolv = Path::new("/etc/resolv.conf");
        for (target, leads) in [
            ("../run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
            ("/run/NetworkManager/resolv.conf", "/run/NetworkManager/resolv.conf"),
            ("./resolv.conf.own", "/etc/resolv.conf.own"),
        ] {
            assert_eq!(folded(resolv, Path::new(target)), Path::new(leads));
        }
    }
}

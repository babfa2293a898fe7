//! The desktops of people on this client: found by what their programs were started with, used as the person they belong to.
//!
//! Nothing of ours runs in a session. A program of the image (`notify-send`, `zenity`, `swaylock`) is started with the
//! person's own rights and the surroundings of one of the person's programs, so it talks to their display and their bus.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::acts::run;

/// People's numbers start here; those below are of programs such as the greeter.
const FIRST_PERSON: u32 = 1000;

/// What a program needs to find the display and the bus.
const NEEDED: [&str; 7] = [
    "WAYLAND_DISPLAY",
    "DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "HOME",
    "LANG",
];

/// How long a program may take that only hands something on.
const HANDED_ON_WITHIN: Duration = Duration::from_secs(5);

/// The screen locker of LightDM, which has a greeter on a screen of its own.
const LIGHTDM: [&str; 6] = [
    "--system",
    "call",
    "org.freedesktop.DisplayManager",
    "/org/freedesktop/DisplayManager/Seat0",
    "org.freedesktop.DisplayManager.Seat",
    "Lock",
];

/// Why nothing was shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    #[error("nobody uses a desktop")]
    NoDesktop,
    #[error("the image has neither `notify-send` nor `zenity`, so nothing can be shown on its desktop")]
    NoProgram,
}

/// One person's desktop.
#[derive(Debug, PartialEq, Eq)]
pub struct Desktop {
    pub uid: u32,
    pub gid: u32,
    surroundings: Vec<(&'static str, OsString)>,
}

impl Desktop {
    /// A program that will run as the person, on their display.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.surroundings.iter().map(|(name, value)| (name, value)));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").uid(self.uid).gid(self.gid).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub fn is_wayland(&self) -> bool {
        self.word("WAYLAND_DISPLAY").is_some()
    }

    /// The socket of the display, by its whole path.
    pub fn wayland_socket(&self) -> Option<PathBuf> {
        Some(Path::new(self.word("XDG_RUNTIME_DIR")?).join(self.word("WAYLAND_DISPLAY")?))
    }

    fn word(&self, name: &str) -> Option<&OsString> {
        self.surroundings.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What a program says that ends by itself, in time.
    pub fn output(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        let mut child = self.command(program).args(arguments).stdout(Stdio::piped()).spawn()?;
        let mut said = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = tell.send(said.read_to_end(&mut bytes).map(|_| bytes));
        });
        let Ok(bytes) = told.recv_timeout(HANDED_ON_WITHIN) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::ErrorKind::TimedOut.into());
        };
        let bytes = bytes?;
        // It has said all; what it does besides is not waited for.
        std::thread::spawn(move || child.wait());
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether the program is there and did not fail at once; one that stays (a window) is left to the person.
    pub fn start(&self, program: &str, arguments: &[&str]) -> io::Result<bool> {
        let mut child = self.command(program).args(arguments).spawn()?;
        let mut waited = Duration::ZERO;
        while waited < HANDED_ON_WITHIN {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(50));
            waited += Duration::from_millis(50);
        }
        // Waits for the window to be closed, so that no process is left over.
        std::thread::spawn(move || child.wait());
        Ok(true)
    }
}

/// The desktops in use, one for each person.
pub fn all() -> Vec<Desktop> {
    let mut found: BTreeMap<u32, Desktop> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if !entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
            || meta.uid() < FIRST_PERSON
        {
            continue;
        }
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let surroundings = surroundings(&environment);
        let better = found.get(&meta.uid()).is_none_or(|known| known.surroundings.len() < surroundings.len());
        if better && !surroundings.is_empty() {
            found.insert(meta.uid(), Desktop { uid: meta.uid(), gid: meta.gid(), surroundings });
        }
    }
    found.into_values().collect()
}

/// What of a program's environment matters; nothing if it has no display.
fn surroundings(environment: &[u8]) -> Vec<(&'static str, OsString)> {
    let found: Vec<_> = NEEDED
        .iter()
        .filter_map(|name| {
            let value = environment.split(|byte| *byte == 0).find_map(|line| {
                line.strip_prefix(name.as_bytes())?.strip_prefix(b"=").filter(|value| !value.is_empty())
            })?;
            Some((*name, OsString::from_vec(value.to_vec())))
        })
        .collect();
    let display = found.iter().any(|(name, _)| matches!(*name, "WAYLAND_DISPLAY" | "DISPLAY"));
    if display { found } else { Vec::new() }
}

/// Shows `text` on every desktop, or on that of one person.
pub fn show(whose: Option<u32>, title: &str, text: &str) -> Result<(), NotShown> {
    let mut desktops = all();
    desktops.retain(|desktop| whose.is_none_or(|uid| desktop.uid == uid));
    if desktops.is_empty() {
        return Err(NotShown::NoDesktop);
    }
    let mut shown = false;
    for desktop in desktops {
        let notice = ["--urgency=critical", "--app-name=Bramble", "--", title, text];
        let title = format!("--title={title}");
        let text = format!("--text={text}");
        let window = ["--info", "--no-markup", "--width=400", title.as_str(), text.as_str()];
        shown |= desktop.start("notify-send", &notice).unwrap_or(false)
            || desktop.start("zenity", &window).unwrap_or(false);
    }
    if shown { Ok(()) } else { Err(NotShown::NoProgram) }
}

/// Has everybody at a desktop give the password again.
pub fn lock() -> Result<(), String> {
    let desktops = all();
    if desktops.is_empty() {
        return Err("nobody uses a desktop, and a text console cannot be locked".to_owned());
    }
    let mut why = String::new();
    for desktop in desktops {
        let own = desktop.is_wayland() && desktop.start("swaylock", &["-f", "-c", "202020"]).unwrap_or(false);
        if !own && let Err(error) = run("busctl", &LIGHTDM) {
            why = format!("the desktop has no screen locker that could be told: {error}");
        }
    }
    if why.is_empty() { Ok(()) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desktop_is_known_by_its_display() {
        let rows: [(&[u8], &[&str]); 4] = [
            (b"HOME=/home/anna\0DISPLAY=:0\0PATH=/evil\0", &["DISPLAY", "HOME"]),
            (
                b"WAYLAND_DISPLAY=wayland-0\0XDG_RUNTIME_DIR=/run/user/1000\0",
                &["WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"],
            ),
            (b"HOME=/home/anna\0DISPLAY=\0", &[]),
            (b"XDISPLAY=:0\0LANG=C", &[]),
        ];
        for (environment, expected) in rows {
            let names: Vec<&str> = surroundings(environment).iter().map(|(name, _)| *name).collect();
            assert_eq!(names, expected, "{}", String::from_utf8_lossy(environment));
        }
    }

    #[test]
    fn a_program_is_started_as_the_person_with_their_surroundings_only() {
        let own = Desktop {
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            surroundings: vec![("DISPLAY", OsString::from(":7"))],
        };
        let check = r#"test "$DISPLAY" = :7 && test -z "$CARGO" && test "$(pwd)" = /"#;
        assert!(own.start("sh", &["-c", check]).expect("started"));
        assert!(!own.start("sh", &["-c", "exit 1"]).expect("started"));
        assert!(own.start("no-such-program", &[]).is_err());
    }
}

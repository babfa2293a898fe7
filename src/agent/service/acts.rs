//! What an administrator has this client do: switch off, start again, lock, show a message, show which one it is.
//!
//! All of it goes through what the image has anyway: `systemctl`, the light on the board, the text consoles in use, and
//! the [desktop] as the person whose it is. What could not be done is answered in words.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::guests::Guests;
use super::sessions::Session;
use super::{Service, blank, desktop, door, letters, locked, processes, screen};
use crate::proto::agent::act::Act;
use crate::sys::console;

/// How long people see that the client is about to end.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Half of the time from one flash to the next.
const BLINK: Duration = Duration::from_millis(250);

/// Where the kernel shows lights.
const LEDS: &str = "/sys/class/leds";

/// Names of the light beside the power light: of kernels since 6.1, and before.
const ACTIVITY: [&str; 2] = ["ACT", "led0"];

/// The console that is seen now, and its name.
const CONSOLE: &str = "/dev/tty0";
const ACTIVE: &str = "/sys/class/tty/tty0/active";

/// Does it and answers.
pub fn carry_out(service: &Arc<Service>, id: u32, act: Act) {
    let done = match act {
        Act::Shutdown { message } => end(service, message.as_str(), "poweroff"),
        Act::Reboot { message } => end(service, message.as_str(), "reboot"),
        Act::Lock if service.guests.is_some() => {
            Err("a guest has no password to come back with; make the screen dark instead (`blank`)"
                .to_owned())
        }
        Act::Lock => desktop::lock(),
        Act::Blank { seconds } => blank::blank(service, seconds),
        Act::EndGuest { message } => {
            if let Some(guests) = &service.guests {
                guests.end(message.as_str());
            }
            Ok(())
        }
        Act::Screen { ticket, control } => screen::show(service, ticket, control),
        Act::Message { text } => show(service, "Message", text.as_str()),
        Act::Identify { name, seconds } => {
            let lit =
                light(Path::new(LEDS)).map(|led| flash(service, led, Duration::from_secs(seconds.into())));
            for terminal in terminals(service) {
                door::show(&terminal, &letters::large(name.as_str()));
            }
            let shown = desktop::show(None, "This computer is", name.as_str());
            // One of them is enough to find it.
            lit.ok_or(()).or(shown.map_err(|_| ())).or_else(|()| {
                let any = !terminals(service).is_empty();
                any.then_some(()).ok_or_else(|| "there is no light and no screen to show the name".to_owned())
            })
        }
    };
    if let Err(trouble) = &done {
        locked(&service.console).note(&format!("an order of the server could not be carried out: {trouble}"));
    }
    service.link.done(id, done.err().as_deref());
}

/// Shows `text` on everything that somebody may look at.
fn show(service: &Service, title: &str, text: &str) -> Result<(), String> {
    let terminals = terminals(service);
    for terminal in &terminals {
        door::show(terminal, text);
    }
    match desktop::show(None, title, text) {
        Ok(()) => Ok(()),
        Err(desktop::NotShown::NoDesktop) if !terminals.is_empty() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Ends the system in good order.
fn end(service: &Service, message: &str, verb: &str) -> Result<(), String> {
    // Nobody may be there to see it.
    let _ = show(service, "Bramble", message);
    std::thread::sleep(LAST_LOOK);
    run("systemctl", &["--no-block", "--no-wall", "--ignore-inhibitors", verb])
}

/// Runs a program of the image; what it says of a failure is the error.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}` failed: {}", arguments.join(" "), said.trim()))
}

/// The terminals of open sessions, and the console that is on the screen if it shows text.
fn terminals(service: &Service) -> BTreeSet<String> {
    let open: Vec<String> = locked(&service.sessions).open.iter().flat_map(terminals_of).collect();
    let guests = service.guests.iter().flat_map(Guests::terminals);
    // Below a desktop or a log-in screen nobody would see it.
    let hidden = File::open(CONSOLE).and_then(|file| console::is_graphics(&file)).unwrap_or(false);
    let active = if hidden { String::new() } else { fs::read_to_string(ACTIVE).unwrap_or_default() };
    let named = open.into_iter().chain(guests).chain([active.trim().to_owned()]);
    let plain = named.map(|name| name.strip_prefix("/dev/").unwrap_or(&name).to_owned());
    plain.filter(|name| name.starts_with("tty") || name.starts_with("pts/")).collect()
}

/// Shows `message` to the person of a session that is about to be ended, and lets them read it: what carries a terminal,
/// such as sshd, ends with the session.
pub fn last_words(session: &Session, message: &str) {
    for terminal in terminals_of(session) {
        door::show(&terminal, message);
    }
    // There may be none; the session ends either way.
    let _ = desktop::show(Some(session.uid), "Bramble", message);
    std::thread::sleep(LAST_LOOK);
}

/// Where a session's person looks: its terminal, or for one that sshd calls `ssh` those that the person's programs have.
pub fn terminals_of(session: &Session) -> Vec<String> {
    let name = session.terminal.strip_prefix("/dev/").unwrap_or(&session.terminal);
    if name.starts_with("tty") || name.starts_with("pts/") {
        vec![name.to_owned()]
    } else {
        processes::terminals(session.uid)
    }
}

/// The light to blink with.
fn light(leds: &Path) -> Option<PathBuf> {
    ACTIVITY.iter().map(|name| leds.join(name)).find(|led| led.join("brightness").exists())
}

/// Has the light blink for `time` from now on; one that blinks already goes on until then.
fn flash(service: &Arc<Service>, led: PathBuf, time: Duration) {
    let end = Instant::now() + time;
    if locked(&service.blinks).replace(end).is_some() {
        return;
    }
    let service = Arc::clone(service);
    std::thread::spawn(move || blink(&led, &service.blinks));
}

/// Blinks `until` the time that stands there, which may be moved meanwhile; then gives the light back to what it showed.
fn blink(led: &Path, until: &Mutex<Option<Instant>>) {
    let trigger = led.join("trigger");
    let before = fs::read_to_string(&trigger).unwrap_or_default();
    let brightest = fs::read_to_string(led.join("max_brightness")).unwrap_or_else(|_| "1".to_owned());
    // A light that cannot be written to does not blink; the name on the screen is there as well.
    let _ = fs::write(&trigger, "none");
    let chosen = before.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    loop {
        for level in [brightest.trim(), "0"] {
            let _ = fs::write(led.join("brightness"), level);
            std::thread::sleep(BLINK);
        }
        let mut until = locked(until);
        if until.is_none_or(|end| end <= Instant::now()) {
            // Before anybody else can begin, who would take the light for one that shows nothing.
            let _ = fs::write(&trigger, chosen.unwrap_or("none"));
            *until = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_light_blinks_and_shows_again_what_it_showed() {
        let leds = tempfile::tempdir().expect("a folder");
        assert_eq!(light(leds.path()), None);
        let led = leds.path().join("ACT");
        fs::create_dir(&led).expect("made");
        fs::write(led.join("trigger"), "none timer [mmc0] default-on").expect("written");
        fs::write(led.join("brightness"), "7").expect("written");
        fs::write(led.join("max_brightness"), "255\n").expect("written");
        assert_eq!(light(leds.path()).as_deref(), Some(led.as_path()));
        let until = Mutex::new(Some(Instant::now() + BLINK));
        blink(&led, &until);
        assert!(locked(&until).is_none(), "the next one may begin");
        assert_eq!(fs::read_to_string(led.join("trigger")).expect("read"), "mmc0");
        assert_eq!(fs::read_to_string(led.join("brightness")).expect("read"), "0");
    }

    #[test]
    fn a_program_that_fails_is_told_in_its_words() {
        assert_eq!(run("true", &[]), Ok(()));
        let error = run("sh", &["-c", "echo no power >&2; exit 3"]).expect_err("failed");
        assert_eq!(error, "`sh -c echo no power >&2; exit 3` failed: no power");
        assert!(run("/nowhere", &[]).expect_err("not there").starts_with("`/nowhere` cannot be run: "));
    }
}

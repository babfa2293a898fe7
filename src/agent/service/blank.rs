//! Dark screens: a teacher wants everybody to look up.
//!
//! A key or the mouse would light a screen again, so it is made dark anew every two seconds, until somebody says that it
//! may show, or the time is over.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desktop::{self, Desktop};
use super::{Service, locked};
use crate::sys::console;

/// How often it is made dark anew.
const AGAIN: Duration = Duration::from_secs(2);

/// The console that is seen.
const CONSOLE: &str = "/dev/tty0";

/// Makes the screens dark for so long; with 0 they show what they should.
pub fn blank(service: &Arc<Service>, seconds: u16) -> Result<(), String> {
    let mut until = locked(&service.dark);
    if seconds == 0 {
        *until = None;
        drop(until);
        return set(false);
    }
    set(true)?;
    let was = until.replace(Instant::now() + Duration::from_secs(seconds.into()));
    drop(until);
    if was.is_none() {
        let service = Arc::clone(service);
        std::thread::spawn(move || keep_dark(&service));
    }
    Ok(())
}

fn keep_dark(service: &Service) {
    loop {
        std::thread::sleep(AGAIN);
        let mut until = locked(&service.dark);
        match *until {
            Some(end) if Instant::now() < end => {
                drop(until);
                let _ = set(true);
            }
            Some(_) => {
                *until = None;
                drop(until);
                let _ = set(false);
                return;
            }
            None => return,
        }
    }
}

/// Every screen that can be; the reason if there is none.
fn set(dark: bool) -> Result<(), String> {
    let mut done = false;
    let mut why = "this client has neither a desktop in use nor a text console".to_owned();
    for desktop in desktop::all() {
        match of_desktop(&desktop, dark) {
            Ok(()) => done = true,
            Err(error) => why = error,
        }
    }
    match File::open(CONSOLE).and_then(|file| console::blank(&file, dark)) {
        Ok(()) => done = true,
        Err(error) if !done => why = format!("{why}; {CONSOLE}: {error}"),
        Err(_) => {}
    }
    if done { Ok(()) } else { Err(format!("no screen can be made dark: {why}")) }
}

fn of_desktop(desktop: &Desktop, dark: bool) -> Result<(), String> {
    let switch = if dark { "--off" } else { "--on" };
    if !desktop.is_wayland() {
        let word = if dark { "off" } else { "on" };
        return match desktop.start("xset", &["dpms", "force", word]) {
            Ok(true) => Ok(()),
            _ => Err("the image has no `xset`".to_owned()),
        };
    }
    if desktop.start("wlopm", &[switch, "*"]).unwrap_or(false) {
        return Ok(());
    }
    let outputs = outputs(&desktop.output("wlr-randr", &[]).unwrap_or_default());
    let off = |name: &String| desktop.start("wlr-randr", &["--output", name, switch]).unwrap_or(false);
    if !outputs.is_empty() && outputs.iter().all(off) {
        return Ok(());
    }
    Err("the image has neither `wlopm` nor a `wlr-randr` that works here".to_owned())
}

/// Names of outputs in what `wlr-randr` lists: they begin a line, all else is indented.
fn outputs(listed: &str) -> Vec<String> {
    let heads = listed.lines().filter(|line| !line.starts_with(char::is_whitespace));
    heads.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_what_begins_a_line() {
        let listed = "HDMI-A-1 \"Dell Inc. DELL U2415 7MT0175B1234 (HDMI-A-1)\"\n  Make: Dell Inc.\n  Enabled: yes\n  Modes:\n    \
                      1920x1200 px, 59.950001 Hz (preferred, current)\nNOOP-1 \"Headless\"\n  Enabled: no\n";
        assert_eq!(outputs(listed), ["HDMI-A-1", "NOOP-1"]);
        assert_eq!(outputs(""), Vec::<String>::new());
    }
}

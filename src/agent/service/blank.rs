//! Dark screens: a teacher wants everybody to look up.
//!
//! A key or the mouse would light a screen again, so it is made dark anew every two seconds, until somebody says that it
//! may show, or the time is over.
//!
//! Where a desktop is in use, what counts is whether its own programs could do it: the kernel says yes to a dark console
//! also while a desktop draws over it, and nothing gets dark. A log-in screen of LightDM cannot be made dark.

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
    // Held until it is done: what came last is what is seen.
    let mut until = locked(&service.dark);
    if seconds == 0 {
        *until = None;
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
                let _ = set(true);
            }
            Some(_) => {
                *until = None;
                let _ = set(false);
                return;
            }
            None => return,
        }
    }
}

/// Every screen that can be; the reason if it is not seen.
fn set(dark: bool) -> Result<(), String> {
    let desktops: Vec<_> = desktop::all().iter().map(|desktop| of_desktop(desktop, dark)).collect();
    let seen = File::open(CONSOLE).and_then(|file| {
        let graphics = console::is_graphics(&file)?;
        console::blank(&file, dark)?;
        Ok(graphics)
    });
    outcome(desktops, seen.map_err(|error| format!("{CONSOLE}: {error}")), dark)
}

/// What came of it on each desktop in use, and on the console that is seen: whether that shows pictures.
fn outcome(
    desktops: Vec<Result<(), String>>,
    console: Result<bool, String>,
    dark: bool,
) -> Result<(), String> {
    let word = if dark { "made dark" } else { "lit again" };
    let refused = |why: String| Err(format!("the screen could not be {word}: {why}"));
    if desktops.iter().any(Result::is_ok) {
        return Ok(());
    }
    if let Some(Err(why)) = desktops.into_iter().next_back() {
        return refused(why);
    }
    match console {
        // What nobody made dark needs no light.
        Ok(true) if dark => {
            refused("nobody is logged in, and the log-in screen cannot be made dark".to_owned())
        }
        Ok(_) => Ok(()),
        Err(why) => refused(format!("this client has no desktop in use, and {why}")),
    }
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
    fn a_screen_that_is_not_dark_is_not_done() {
        let no = || Err("the image has no `xset`".to_owned());
        let refused = |why: &str| Err(format!("the screen could not be made dark: {why}"));
        #[rustfmt::skip]
        let rows = [
            (vec![],             Ok(false), Ok(())),
            (vec![Ok(())],       Ok(true),  Ok(())),
            (vec![Ok(())],       Err("/dev/tty0: none".to_owned()), Ok(())),
            (vec![no(), Ok(())], Ok(true),  Ok(())),
            // The kernel made the console dark, and the desktop draws over it.
            (vec![no()],         Ok(true),  refused("the image has no `xset`")),
            (vec![],             Ok(true),  refused("nobody is logged in, and the log-in screen cannot be made dark")),
            (vec![],             Err("/dev/tty0: none".to_owned()), refused("this client has no desktop in use, and /dev/tty0: none")),
        ];
        for (desktops, console, expected) in rows {
            assert_eq!(
                outcome(desktops.clone(), console.clone(), true),
                expected,
                "{desktops:?} {console:?}"
            );
        }
        assert_eq!(outcome(vec![], Ok(true), false), Ok(()), "nothing was dark");
    }

    #[test]
    fn outputs_are_what_begins_a_line() {
        let listed = "HDMI-A-1 \"Dell Inc. DELL U2415 7MT0175B1234 (HDMI-A-1)\"\n  Make: Dell Inc.\n  Enabled: yes\n  Modes:\n    \
                      1920x1200 px, 59.950001 Hz (preferred, current)\nNOOP-1 \"Headless\"\n  Enabled: no\n";
        assert_eq!(outputs(listed), ["HDMI-A-1", "NOOP-1"]);
        assert_eq!(outputs(""), Vec::<String>::new());
    }
}

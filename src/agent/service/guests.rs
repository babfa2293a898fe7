//! Guests: logged in without a name, in a home in memory that is gone when they are.
//!
//! PAM opens and closes their sessions as anybody's; no server is asked, so a guest gets in without one. When the last
//! session ends everything of theirs ends: processes, home, what they left in folders that everybody writes to. The next
//! guest waits until that is done. Where a desktop logged them in, the display manager is started anew, because it logs
//! in by itself only once.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::idle::Inputs;
use super::{acts, desktop, door, homes, processes};
use crate::agent::modes::{GUEST_HOME, GUEST_UID};
use crate::types::SeatUse;

/// Kept for a service that is started again under a guest.
const KEPT: &str = "/run/bramble/guest.json";

/// Share of the client's memory that a guest's home may take.
const HOME_SIZE: &str = "50%";

/// Folders that everybody may write to, and what a guest may have left for later.
const SHARED: [&str; 5] =
    ["/tmp", "/var/tmp", "/dev/shm", "/var/spool/cron/crontabs", "/var/spool/cron/atjobs"];

/// How much time is left when a guest is told so.
const MARKS: [Duration; 2] = [Duration::from_mins(5), Duration::from_mins(1)];

/// Where the kernel shows keyboards and mice.
const INPUTS: &str = "/dev/input";

/// What a guest is told at the beginning.
const WELCOME: &str =
    "You are a guest here: everything you save on this computer is deleted when you log out.";

/// Guests of this client, if its mode has any.
#[derive(Debug)]
pub struct Guests {
    used: SeatUse,
    state: Mutex<State>,
    inputs: Mutex<Inputs>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    open: Vec<Opened>,
    /// When the first of them was opened, by the time the client has run.
    since: Duration,
    /// When the client was last touched.
    touched: Duration,
    /// Whether it was touched at all since.
    used: bool,
    /// How much time was left when the guest was last told.
    told: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    opener: u32,
    started: Option<u64>,
    terminal: String,
    desktop: bool,
}

/// What is to be done about a guest's time.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Tell(Duration),
    End(&'static str),
}

impl Guests {
    /// As an earlier service on this client left them; `None` where there can be none.
    pub fn new(used: &SeatUse) -> Option<Self> {
        if !matches!(used, SeatUse::Guest { .. } | SeatUse::Kiosk { .. }) {
            return None;
        }
        let state = fs::read(KEPT).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Some(Self {
            used: used.clone(),
            state: Mutex::new(state.unwrap_or_default()),
            inputs: Mutex::new(Inputs::new(INPUTS)),
        })
    }

    /// A session begins. Waits for the end of the guest before; what the new one is told.
    pub fn open(&self, opener: u32, terminal: String, desktop: bool) -> io::Result<String> {
        let mut state = self.lock();
        if state.open.is_empty() {
            wipe();
            furnish()?;
            let now = running();
            *state = State { since: now, touched: now, ..State::default() };
        }
        state.open.push(Opened { opener, started: processes::started(opener), terminal, desktop });
        keep(&state);
        Ok(match self.used {
            SeatUse::Guest { minutes: 0 } => WELCOME.to_owned(),
            SeatUse::Guest { minutes } => {
                format!("{WELCOME} You have {}.", in_words(Duration::from_secs(u64::from(minutes) * 60)))
            }
            _ => String::new(),
        })
    }

    /// A session has ended; with the last one everything of the guest does.
    pub fn close(&self, opener: u32) {
        let mut state = self.lock();
        let Some(index) = state.open.iter().rposition(|opened| opened.opener == opener) else { return };
        let closed = state.open.remove(index);
        keep(&state);
        if state.open.is_empty() {
            wipe();
            if closed.desktop {
                // From elsewhere: whoever closes the session waits for this.
                std::thread::spawn(start_desktop);
            }
        }
    }

    /// Where the guest may look.
    pub fn terminals(&self) -> Vec<String> {
        self.lock().open.iter().map(|opened| opened.terminal.clone()).collect()
    }

    /// Logs the guest out, if there is one.
    pub fn end(&self, message: &str) {
        let terminals = self.terminals();
        if terminals.is_empty() {
            return;
        }
        // Of a kiosk that begins anew nobody is there to read it.
        if !message.is_empty() {
            tell(&terminals, message);
        }
        // PAM closes what this ends.
        processes::end(GUEST_UID, false, || true);
    }

    /// Looks after sessions that nobody closed, and after the guest's time. To be called every few seconds.
    pub fn look(&self) {
        let forsaken: Vec<u32> = {
            let state = self.lock();
            let gone = |opened: &&Opened| {
                opened.started.is_none() || processes::started(opened.opener) != opened.started
            };
            state.open.iter().filter(gone).map(|opened| opened.opener).collect()
        };
        for opener in forsaken {
            self.close(opener);
        }
        let touched = self.inputs.lock().unwrap_or_else(PoisonError::into_inner).touched();
        let now = running();
        let (due, terminals) = {
            let mut state = self.lock();
            if state.open.is_empty() {
                return;
            }
            if touched {
                (state.touched, state.used) = (now, true);
            }
            let due = state.due(&self.used, now);
            if let Due::Tell(left) = due {
                state.told = Some(left);
            }
            keep(&state);
            (due, state.open.iter().map(|opened| opened.terminal.clone()).collect::<Vec<_>>())
        };
        match due {
            Due::Nothing => {}
            Due::End(why) => self.end(why),
            Due::Tell(left) => {
                let text = format!(
                    "Your time at this computer ends in {}. What you have saved here is deleted then.",
                    in_words(left)
                );
                tell(&terminals, &text);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn due(&self, used: &SeatUse, now: Duration) -> Due {
        match *used {
            SeatUse::Guest { minutes } if minutes > 0 => {
                let all = Duration::from_secs(u64::from(minutes) * 60);
                let left = all.saturating_sub(now.saturating_sub(self.since));
                if left.is_zero() {
                    return Due::End("Your time at this computer is over.");
                }
                // A mark that lies before the beginning is none.
                let mark = MARKS.into_iter().rev().find(|mark| left <= *mark && *mark < all);
                match mark {
                    Some(mark) if self.told.is_none_or(|told| mark < told) => Due::Tell(mark),
                    _ => Due::Nothing,
                }
            }
            SeatUse::Kiosk { idle_minutes, .. } if idle_minutes > 0 && self.used => {
                let idle = now.saturating_sub(self.touched);
                if idle >= Duration::from_secs(u64::from(idle_minutes) * 60) {
                    Due::End("")
                } else {
                    Due::Nothing
                }
            }
            _ => Due::Nothing,
        }
    }
}

/// Shown where the guest may look; nobody may.
fn tell(terminals: &[String], text: &str) {
    for terminal in terminals {
        door::show(terminal, text);
    }
    let _ = desktop::show(None, "Bramble", text);
}

/// The home in memory, with what a new one begins with.
fn furnish() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(GUEST_HOME)?;
    homes::in_memory(GUEST_HOME, GUEST_UID, GUEST_UID, HOME_SIZE).map_err(io::Error::other)?;
    homes::furnish_as(GUEST_UID, GUEST_UID, GUEST_HOME, std::iter::empty()).map_err(io::Error::other)
}

/// Ends what a guest left running and takes away what they left lying.
fn wipe() {
    processes::end(GUEST_UID, false, || true);
    // One over the other if somebody mounted twice; what is still held goes when it is let go.
    while homes::is_mount_point(GUEST_HOME) {
        let left = homes::take_away(&[GUEST_HOME.to_owned()]);
        if left.iter().any(|held| held.contains("cannot be unmounted")) {
            break;
        }
    }
    for folder in SHARED {
        sweep(Path::new(folder), GUEST_UID);
    }
}

/// Removes what belongs to `uid` in a folder that others use too. No link is followed.
fn sweep(folder: &Path, uid: u32) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.uid() != uid {
            continue;
        }
        let path = entry.path();
        // What cannot be removed is the guest's still, and nobody else's to read.
        let _ = if about.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

fn start_desktop() {
    // Not there: then nobody is logged in by it either.
    let _ = acts::run("systemctl", &["--no-block", "try-restart", "display-manager.service"]);
}

/// A guest that is not written down is looked after all the same, as long as this service runs.
fn keep(state: &State) {
    let fresh = format!("{KEPT}.new");
    if let Ok(bytes) = serde_json::to_vec(state)
        && fs::write(&fresh, bytes).is_ok()
    {
        let _ = fs::rename(fresh, KEPT);
    }
}

/// How long the client has run: a clock that nobody sets.
fn running() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default()
}

/// `5 minutes`, `1 minute`.
fn in_words(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    format!("{minutes} minute{}", if minutes == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    #[test]
    fn a_guest_is_told_before_the_time_is_over() {
        let used = SeatUse::Guest { minutes: 30 };
        let mut state = State { since: at(100), ..State::default() };
        let mut said = Vec::new();
        for second in 0..=30 * 60 {
            let due = state.due(&used, at(100) + Duration::from_secs(second));
            if let Due::Tell(left) = due {
                state.told = Some(left);
            }
            if due != Due::Nothing {
                said.push((second / 60, due));
            }
        }
        let over = Due::End("Your time at this computer is over.");
        assert_eq!(said, [(25, Due::Tell(at(5))), (29, Due::Tell(at(1))), (30, over)]);
        let short = State { since: at(0), ..State::default() };
        assert_eq!(
            short.due(&SeatUse::Guest { minutes: 3 }, at(0)),
            Due::Nothing,
            "5 minutes were never left"
        );
        assert_eq!(short.due(&SeatUse::Guest { minutes: 0 }, at(1000)), Due::Nothing, "no limit");
    }

    #[test]
    fn a_kiosk_begins_anew_when_nobody_touches_it_any_more() {
        let used = SeatUse::Kiosk { page: "https://a.example/".parse().expect("a page"), idle_minutes: 10 };
        let untouched = State { since: at(0), ..State::default() };
        assert_eq!(untouched.due(&used, at(1000)), Due::Nothing, "nobody was there");
        let left = State { touched: at(20), used: true, ..State::default() };
        assert_eq!(left.due(&used, at(29)), Due::Nothing);
        assert_eq!(left.due(&used, at(30)), Due::End(""));
    }

    #[test]
    fn what_somebody_left_is_swept_away_and_nothing_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (shared, other) = (folder.path().join("tmp"), folder.path().join("other"));
        fs::create_dir_all(shared.join("theirs/deep")).expect("a folder");
        fs::create_dir(&other).expect("a folder");
        fs::write(other.join("kept"), "").expect("a file");
        fs::write(shared.join("file"), "").expect("a file");
        std::os::unix::fs::symlink(&other, shared.join("link")).expect("a link");
        let uid = nix::unistd::getuid().as_raw();
        sweep(&shared, uid + 1);
        assert!(shared.join("file").exists(), "somebody else's");
        sweep(&shared, uid);
        assert_eq!(fs::read_dir(&shared).expect("a folder").count(), 0);
        assert!(other.join("kept").exists());
    }
}

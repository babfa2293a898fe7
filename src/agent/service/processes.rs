//! The processes of a person on this client: found in `/proc`, asked to end, ended.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long programs get to end: by themselves after the log-out, after they were asked, after they were killed.
const STEPS: [(Option<Signal>, Duration); 3] = [
    (None, Duration::from_secs(3)),
    (Some(Signal::SIGTERM), Duration::from_secs(3)),
    (Some(Signal::SIGKILL), Duration::from_secs(1)),
];

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(100);

/// Processes of `uid`.
pub fn of(uid: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == uid).then_some(number)
    });
    numbers.collect()
}

/// Ends what is left of a person, gently first; comes back early when nothing is left or `wanted` says no.
pub fn end(uid: u32, patient: bool, wanted: impl Fn() -> bool) {
    for (signal, time) in STEPS.into_iter().skip(usize::from(!patient)) {
        if let Some(signal) = signal {
            if !wanted() {
                return;
            }
            for number in of(uid) {
                if let Ok(number) = i32::try_from(number) {
                    let _ = kill(Pid::from_raw(number), signal);
                }
            }
        }
        let mut waited = Duration::ZERO;
        while waited < time {
            if !wanted() || of(uid).is_empty() {
                return;
            }
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
    }
}

/// The terminals that programs of `uid` have, such as `pts/0`, each once.
pub fn terminals(uid: u32) -> Vec<String> {
    let mut names: Vec<String> = of(uid)
        .into_iter()
        .filter_map(|pid| terminal(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The terminal in a line of `/proc/PID/stat` (proc_pid_stat(5), field 7): only those that people look at.
fn terminal(line: &str) -> Option<String> {
    let device: u32 = line.rsplit_once(')')?.1.split_whitespace().nth(4)?.parse().ok()?;
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match (major, minor) {
        (4, 1..=63) => Some(format!("tty{minor}")),
        (4, 64..) => Some(format!("ttyS{}", minor - 64)),
        // As many of each major number as a byte counts.
        (136..=143, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        _ => None,
    }
}

/// When a process was started, in the kernel's ticks: with its number it is the same process and not a later one.
pub fn started(pid: u32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets and may hold anything; 20 fields behind it is the time.
    line.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_read_from_its_number() {
        for (number, expected) in [
            (0, None),
            (1025, Some("tty1")),
            (1088, Some("ttyS0")),
            (34_816, Some("pts/0")),
            (35_073, Some("pts/257")),
        ] {
            let line = format!("7 (a ) b) S 1 7 7 {number} 7 0");
            assert_eq!(terminal(&line).as_deref(), expected, "{number}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let own = std::process::id();
        assert!(started(own).is_some_and(|time| time > 0));
        assert_eq!(started(0), None);
        assert!(of(nix::unistd::getuid().as_raw()).contains(&own));
    }
}

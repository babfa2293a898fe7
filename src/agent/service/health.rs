//! What the agent measures of its client: files of `/proc` and `/sys`, read when the server asks.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::proto::agent::health::Health;
use crate::types::Moment;

/// Where the firmware's word on voltage and heat is, by generation; `*` is part of a name.
const THROTTLED: [&str; 3] = [
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc",
    "sys/devices/platform",
];

/// Files of which one is in every image, and longer than a page.
const PAGES: [&str; 3] = ["usr/lib/systemd/systemd", "bin/busybox", "bin/sh"];

const PAGE: usize = 4096;

/// Calls and their round trips until now: what is told is the difference to the time before.
#[derive(Debug, Default)]
pub struct Meter {
    before: BTreeMap<String, Trips>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trips {
    calls: u64,
    millis: u64,
}

impl Meter {
    /// Measures; `root` is `/`, or what a test puts in its place.
    pub fn measure(&mut self, root: &Path) -> Health {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (memory_kb, available_kb) = memory(&read("proc/meminfo"));
        let home_us = self.since_before(round_trips(&read("proc/self/mountstats")));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Health {
            uptime_s: read("proc/uptime").split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0),
            clock: Moment::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
            temperature_mc: read("sys/class/thermal/thermal_zone0/temp").trim().parse().ok(),
            throttled: throttled(root),
            memory_kb,
            available_kb,
            load_centi: load(&read("proc/loadavg")),
            link_mbit: link(root, &read("proc/net/route")),
            root_us: root_trip(root),
            home_us,
            kernel: read("proc/sys/kernel/osrelease").trim().into(),
            eeprom: eeprom(root),
        }
    }

    /// Mean round trip of homes and shares since the time before, in microseconds.
    fn since_before(&mut self, trips: BTreeMap<String, Trips>) -> Option<u32> {
        let mut sum = Trips::default();
        for (at, now) in trips.iter().filter(|(at, _)| at.starts_with("/home/")) {
            let before = self.before.get(at).copied().unwrap_or_default();
            sum.calls += now.calls.saturating_sub(before.calls);
            sum.millis += now.millis.saturating_sub(before.millis);
        }
        self.before = trips;
        u32::try_from(sum.millis.saturating_mul(1000).checked_div(sum.calls)?).ok()
    }
}

/// How long one page of the root takes from the server, in microseconds: read around the kernel's cache. The root itself
/// is behind the overlay, so the kernel's own figures do not show it.
fn root_trip(root: &Path) -> Option<u32> {
    let path = PAGES.iter().map(|path| root.join(path)).find(|path| path.is_file())?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).ok()?;
    // The kernel wants such a buffer to begin where a page does.
    let mut buffer = vec![0_u8; 2 * PAGE];
    let skip = buffer.as_ptr().align_offset(PAGE);
    let page = buffer.get_mut(skip..skip.checked_add(PAGE)?)?;
    let begin = Instant::now();
    file.read_at(page, 0).ok()?;
    u32::try_from(begin.elapsed().as_micros()).ok()
}

/// Memory, and what of it can be taken.
fn memory(text: &str) -> (u64, u64) {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    (value("MemTotal"), value("MemAvailable"))
}

/// `0.42 …` in hundredths.
fn load(text: &str) -> u32 {
    let digits: String =
        text.chars().take_while(|c| !c.is_whitespace()).filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Speed of the interface that leads to everything else, or of the only wire.
fn link(root: &Path, routes: &str) -> Option<u32> {
    let named = routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, destination) = (words.next()?, words.next()?);
        (destination == "00000000").then(|| name.to_owned())
    });
    let name = named.unwrap_or_else(|| "eth0".to_owned());
    // A link that is down says -1.
    fs::read_to_string(root.join("sys/class/net").join(name).join("speed")).ok()?.trim().parse().ok()
}

fn throttled(root: &Path) -> Option<u32> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let mut texts = THROTTLED.iter().filter_map(|place| {
        let place = root.join(place);
        if !place.is_dir() {
            return read(place);
        }
        // A Pi 5 has numbers in the names of these folders.
        let mut folders =
            fs::read_dir(&place).ok()?.flatten().map(|entry| entry.path().join("get_throttled"));
        folders.find_map(read)
    });
    u32::from_str_radix(texts.next()?.trim().trim_start_matches("0x"), 16).ok()
}

/// When the bootloader was built: a big-endian number of the device tree.
fn eeprom(root: &Path) -> Option<Moment> {
    let bytes = fs::read(root.join("proc/device-tree/chosen/bootloader/build-timestamp")).ok()?;
    let seconds = u32::from_be_bytes(bytes.try_into().ok()?);
    (seconds > 0).then(|| Moment::from_secs(seconds.into()))
}

/// Calls of each NFS mount, and milliseconds between sending and answer, over all kinds of calls (`mountstats`).
fn round_trips(text: &str) -> BTreeMap<String, Trips> {
    let mut all: BTreeMap<String, Trips> = BTreeMap::new();
    let mut at = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("device ") {
            let place =
                rest.split_once(" mounted on ").and_then(|(_, rest)| rest.split_once(" with fstype nfs"));
            at = place.map(|(place, _)| place.to_owned());
            continue;
        }
        // `READ: operations transmissions timeouts sent received queue round-trip execute …`
        let Some((name, numbers)) = line.trim_start().split_once(": ") else { continue };
        let is_call = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if let (Some(at), true, Some(calls), Some(millis)) = (&at, is_call, numbers.first(), numbers.get(6)) {
            let trips = all.entry(at.clone()).or_default();
            trips.calls = trips.calls.saturating_add(*calls);
            trips.millis = trips.millis.saturating_add(*millis);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn stats(calls: u64, millis: u64) -> String {
        format!(
            "device proc mounted on /proc with fstype proc\n\
             device 192.168.77.1:/other mounted on /other with fstype nfs statvers=1.1\n\
             \t     GETATTR: 1 12 0 1536 49564 5 9999 6 0\n\
             device 192.168.77.1:/home/anna mounted on /home/anna with fstype nfs statvers=1.1\n\
             \topts:\trw,vers=3\n\tevents:\t1 2 3\n\tper-op statistics\n\
             \t        NULL: 0 0 0 44 24 0 0 1 0\n\
             \t       WRITE: {calls} 10 0 1536 49564 5 {millis} 6 0\n"
        )
    }

    #[test]
    fn a_pi_is_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert_eq!(Meter::default().measure(root).temperature_mc, None, "a machine that tells nothing");
        put(root, "proc/uptime", b"1234.56 4000.00\n");
        put(
            root,
            "proc/meminfo",
            b"MemTotal:        3884344 kB\nMemFree: 1 kB\nMemAvailable:    3000000 kB\n",
        );
        put(root, "proc/loadavg", b"1.25 0.50 0.10 2/300 999\n");
        put(
            root,
            "proc/net/route",
            b"Iface Destination Gateway\nend0 004DA8C0 00000000\nend0 00000000 014DA8C0\n",
        );
        put(root, "sys/class/net/end0/speed", b"100\n");
        put(root, "sys/class/thermal/thermal_zone0/temp", b"61322\n");
        put(root, "sys/devices/platform/soc@107c000000/x", b"");
        put(root, "sys/devices/platform/soc@107c000000/get_throttled", b"50005\n");
        put(root, "proc/sys/kernel/osrelease", b"6.12.47+rpt-rpi-2712\n");
        put(root, "proc/device-tree/chosen/bootloader/build-timestamp", &1_700_000_000_u32.to_be_bytes());
        put(root, "proc/self/mountstats", stats(10, 30).as_bytes());
        let mut meter = Meter::default();
        let health = meter.measure(root);
        assert_eq!((health.uptime_s, health.memory_kb, health.available_kb), (1234, 3_884_344, 3_000_000));
        assert_eq!(
            (health.load_centi, health.link_mbit, health.temperature_mc),
            (125, Some(100), Some(61_322))
        );
        assert_eq!(health.throttled, Some(0x5_0005));
        assert_eq!(health.kernel.as_str(), "6.12.47+rpt-rpi-2712");
        assert_eq!(health.eeprom, Some(Moment::from_secs(1_700_000_000)));
        assert_eq!((health.root_us, health.home_us), (None, Some(3000)));
        put(root, "proc/self/mountstats", stats(20, 80).as_bytes());
        assert_eq!(meter.measure(root).home_us, Some(5000), "since the time before");
        assert_eq!(meter.measure(root).home_us, None, "no call, no time");
        put(root, "bin/sh", &[7; 2 * PAGE]);
        // A file system in memory cannot be read around the cache, and then there is no figure.
        assert!(meter.measure(root).root_us.is_none_or(|us| us < 60_000_000));
        put(root, "sys/class/net/end0/speed", b"-1\n");
        assert_eq!(meter.measure(root).link_mbit, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a kernel of another time writes there.
        #[test]
        fn no_file_of_the_kernel_panics(text in "[ -~\n\t]{0,400}", tail in "(device | mounted on | with fstype nfs|READ: [0-9 ]{0,200}|\n\t){0,20}") {
            for text in [&text, &tail] {
                let _ = (memory(text), load(text), round_trips(text));
                let _ = link(Path::new("/nowhere"), text);
            }
        }
    }
}

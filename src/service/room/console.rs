//! The last lines that bootloaders and kernels of clients said over the network. In memory only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::dhcp::Uptime;
use crate::proto::netconsole::Lines;
use crate::service::leases::Now;
use crate::types::{MacAddr, Moment, limits};

/// One line and when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleLine {
    pub at: Moment,
    pub line: String,
}

#[derive(Debug, Default)]
pub struct Consoles {
    of: Mutex<HashMap<MacAddr, Console>>,
}

#[derive(Debug, Default)]
struct Console {
    lines: Lines,
    /// Oldest first.
    kept: VecDeque<ConsoleLine>,
    /// Datagrams taken since when.
    taken: u32,
    since: Uptime,
}

impl Consoles {
    /// Takes a datagram of `mac`; whether it was taken. Who says too much in a second is not listened to for the rest of
    /// it, and loses only lines of its own.
    pub fn take(&self, mac: MacAddr, datagram: &[u8], now: Now) -> bool {
        let mut of = self.lock();
        if of.len() >= limits::CONSOLES && !of.contains_key(&mac) {
            let oldest = of.iter().min_by_key(|(mac, console)| (console.since, **mac)).map(|(mac, _)| *mac);
            let _ = oldest.and_then(|mac| of.remove(&mac));
        }
        let console = of.entry(mac).or_default();
        if now.up.since(console.since) >= Duration::from_secs(1) {
            console.since = now.up;
            console.taken = 0;
        }
        console.taken = console.taken.saturating_add(1);
        if console.taken > limits::CONSOLE_DATAGRAMS {
            return false;
        }
        for line in console.lines.take(datagram) {
            if console.kept.len() >= limits::CONSOLE_LINES {
                console.kept.pop_front();
            }
            console.kept.push_back(ConsoleLine { at: now.civil, line });
        }
        true
    }

    /// Oldest first.
    pub fn lines(&self, mac: MacAddr) -> Vec<ConsoleLine> {
        self.lock().get(&mac).map(|console| console.kept.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn forget(&self, mac: MacAddr) {
        self.lock().remove(&mac);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MacAddr, Console>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: usize) -> MacAddr {
        let [.., a, b] = n.to_be_bytes();
        MacAddr::new([0xdc, 0xa6, 0x32, 0, a, b])
    }

    fn at(secs: u64) -> Now {
        Now { up: Uptime(Duration::from_secs(100 + secs)), civil: Moment::from_secs(1_795_435_200) }
    }

    #[test]
    fn the_last_lines_are_kept_and_a_flood_drowns_itself_only() {
        let consoles = Consoles::default();
        for n in 0..limits::CONSOLE_LINES + 5 {
            let secs = u64::try_from(n).expect("small");
            assert!(consoles.take(mac(1), format!("line {n}\n").as_bytes(), at(secs)));
        }
        let lines = consoles.lines(mac(1));
        assert_eq!((lines.len(), lines[0].line.as_str()), (limits::CONSOLE_LINES, "line 5"));
        let taken = (0..10_000).filter(|_| consoles.take(mac(2), b"flood\n", at(0))).count();
        assert_eq!(u32::try_from(taken), Ok(limits::CONSOLE_DATAGRAMS));
        assert_eq!(consoles.lines(mac(1)).len(), limits::CONSOLE_LINES, "nothing of another's");
        assert!(consoles.take(mac(2), b"later\n", at(1)));
        for n in 0..limits::CONSOLES + 10 {
            consoles.take(mac(n + 10), b"hello\n", at(1000));
        }
        assert_eq!(consoles.lock().len(), limits::CONSOLES);
        consoles.forget(mac(20));
        assert!(consoles.lines(mac(20)).is_empty());
    }
}

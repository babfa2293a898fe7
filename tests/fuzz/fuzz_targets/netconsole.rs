//! Any datagrams of several machines: short printable lines, each with its own machine, and no more than are kept.
#![no_main]

use std::time::Duration;

use bramble::proto::dhcp::Uptime;
use bramble::proto::netconsole::Lines;
use bramble::service::leases::Now;
use bramble::service::room::console::Consoles;
use bramble::types::{MacAddr, Moment, limits};

libfuzzer_sys::fuzz_target!(|datagrams: Vec<(u8, u16, Vec<u8>)>| {
    let consoles = Consoles::default();
    let mut lines = Lines::default();
    let (mut millis, mut macs) = (0_u64, std::collections::BTreeSet::new());
    for (machine, pause, datagram) in &datagrams {
        millis += u64::from(*pause);
        let up = Duration::from_millis(millis);
        let now = Now { up: Uptime(up), civil: Moment::from_secs(1_795_435_200).plus(up) };
        let mac = MacAddr::new([2, 0, 0, 0, 0, *machine]);
        consoles.take(mac, datagram, now);
        macs.insert(mac);
        for line in lines.take(datagram) {
            assert!(!line.is_empty() && line.len() <= limits::CONSOLE_LINE && !line.chars().any(char::is_control));
        }
    }
    for mac in macs {
        let kept = consoles.lines(mac);
        assert!(kept.len() <= limits::CONSOLE_LINES);
        assert!(kept.iter().all(|line| line.line.len() <= limits::CONSOLE_LINE && !line.line.contains(char::is_control)));
    }
});

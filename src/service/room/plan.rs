//! How long a room takes from power-on to the log-in screens, and what holds it up. Pure: measurements in, a [`Plan`] out.
//!
//! The model is simple on purpose: one client alone takes as long as the fastest boot that was seen; when all are switched on
//! together, everything they read goes through what they share (the ports of the router that they are behind), through their
//! own links, and once from the disk, because the second client reads what the first has brought into memory. The slowest of
//! the three is the bottleneck.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::ByteSize;

/// A boot of a Pi 4 with nothing in its way, where none was seen yet.
const ALONE: Duration = Duration::from_secs(35);

/// What a system reads from its root until people can log in, where no boot was counted: an assumption, and told as one.
pub const ROOT_ASSUMED: ByteSize = ByteSize(150 << 20);

/// A port whose speed is not known, in Mbit/s: what nearly all have.
const PORT_ASSUMED: u32 = 1000;

/// Part of a wire that carries files: what headers of Ethernet, IP, UDP and TFTP leave of 1500 bytes, in percent.
const USEFUL: u64 = 94;

/// A Pi gives a file 30 seconds; a kernel of 12 MB needs at least this many bytes a second.
const LEAST_RATE: u64 = 400_000;

/// What is known of the room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub clients: u32,
    /// Loaded over TFTP in one boot.
    pub boot_files: ByteSize,
    /// Read from the root until people could log in, of the client that read most; `None` if no boot was counted.
    pub root: Option<ByteSize>,
    /// Fastest boot seen.
    pub alone: Option<Duration>,
    /// The router's ports into the room that are up.
    pub ports: Vec<Port>,
    /// Slowest link of a client, by name, in Mbit/s.
    pub client: Option<(String, u32)>,
    /// Bytes a second from the disk, if it could be measured.
    pub disk: Option<u64>,
}

/// A port of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub mbit: u32,
    /// Clients that were seen behind it.
    pub clients: u32,
}

/// The answer of `plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub clients: u32,
    /// Bytes that each client reads until its log-in screen.
    pub bytes_each: ByteSize,
    /// Milliseconds until the last log-in screen.
    pub total_ms: u64,
    /// Milliseconds of one client alone.
    pub alone_ms: u64,
    /// Whether a boot of this room was seen, so that `alone_ms` and the boot files are measured.
    pub measured: bool,
    /// In the order of the way: disk, port of the router, link of a client.
    pub parts: Vec<Part>,
    /// What holds it up: the name of a part, or `the Pis themselves`.
    pub bottleneck: String,
    /// One sentence each: what it means, and what was assumed.
    pub says: Vec<String>,
}

/// One part of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// Bytes a second.
    pub rate: u64,
    /// Milliseconds that everything takes which goes through it.
    pub ms: u64,
}

/// Works the plan out.
pub fn plan(measured: &Measured) -> Plan {
    let Measured { clients, boot_files, root, alone, ports, client, disk } = measured;
    let bytes_each = ByteSize(boot_files.0.saturating_add(root.unwrap_or(ROOT_ASSUMED).0));
    let part = |name: String, rate: u64, bytes: u64| Part { name, rate, ms: millis(bytes, rate) };
    let behind = behind(*clients, ports);
    let mut parts = Vec::new();
    parts.extend(disk.map(|rate| part("the disk".to_owned(), rate, bytes_each.0)));
    for Port { name, mbit, clients } in &behind {
        let bytes = bytes_each.0.saturating_mul(u64::from(*clients));
        parts.push(part(
            format!("port {name} of the router ({mbit} Mbit/s, {clients} clients)"),
            wire(*mbit),
            bytes,
        ));
    }
    if behind.is_empty() {
        let bytes = bytes_each.0.saturating_mul(u64::from(*clients));
        parts.push(part(
            format!("a port of the router ({PORT_ASSUMED} Mbit/s assumed)"),
            wire(PORT_ASSUMED),
            bytes,
        ));
    }
    parts.extend(
        client.as_ref().map(|(name, mbit)| {
            part(format!("the link of {name} ({mbit} Mbit/s)"), wire(*mbit), bytes_each.0)
        }),
    );
    let alone_ms = u64::try_from(alone.unwrap_or(ALONE).as_millis()).unwrap_or(u64::MAX);
    let slowest = parts.iter().max_by_key(|part| part.ms);
    // What one client alone spends on the wire is in its own time already.
    let once = parts.iter().map(|part| millis(bytes_each.0, part.rate)).max().unwrap_or(0);
    let waiting = slowest.map_or(0, |part| part.ms.saturating_sub(once));
    let bottleneck = slowest.filter(|_| waiting > alone_ms / 10).map(|part| part.name.clone());
    let mut says = Vec::new();
    for Port { name, mbit, clients } in &behind {
        let each = wire(*mbit) / u64::from((*clients).max(1));
        if each < LEAST_RATE {
            says.push(format!(
                "through port {name} each of {clients} clients gets {} a second when all load at once, and a Pi gives up a file \
                 after 30 seconds: switch them on in groups (`bramble room reboot --pace 2s`), or use a faster port",
                ByteSize(each)
            ));
        }
    }
    if behind.is_empty() {
        says.push(format!(
            "the speed of the router's ports is not known; one of {PORT_ASSUMED} Mbit/s is assumed"
        ));
    } else if ports.len() > 1 && ports.iter().all(|port| port.clients == 0) {
        says.push(
            "behind which port the clients are is not known until they are switched on; the slowest is assumed"
                .to_owned(),
        );
    }
    if alone.is_none() {
        says.push(format!(
            "no boot was seen yet; {} seconds for one client alone are assumed",
            ALONE.as_secs()
        ));
    }
    says.push(match root {
        Some(bytes) => format!("each client read up to {bytes} of its root until the log-in screen"),
        None => {
            format!("{ROOT_ASSUMED} read from the root until the log-in screen are assumed for each client")
        }
    });
    Plan {
        clients: *clients,
        bytes_each,
        total_ms: alone_ms.saturating_add(waiting),
        alone_ms,
        measured: alone.is_some(),
        bottleneck: bottleneck.unwrap_or_else(|| "the Pis themselves".to_owned()),
        parts,
        says,
    }
}

/// How many clients are behind each port that has any: in the proportion in which they were seen, or all behind the slowest.
fn behind(clients: u32, ports: &[Port]) -> Vec<Port> {
    let seen: u64 = ports.iter().map(|port| u64::from(port.clients)).sum();
    if seen == 0 {
        let slowest = ports.iter().min_by_key(|port| port.mbit);
        return slowest.map(|port| Port { clients, ..port.clone() }).into_iter().collect();
    }
    let share = |port: &Port| {
        let clients = (u64::from(clients) * u64::from(port.clients)).div_ceil(seen);
        Port { clients: u32::try_from(clients).unwrap_or(u32::MAX), ..port.clone() }
    };
    ports.iter().filter(|port| port.clients > 0).map(share).collect()
}

/// Bytes a second that a wire carries.
fn wire(mbit: u32) -> u64 {
    u64::from(mbit) * 1_000_000 / 8 * USEFUL / 100
}

fn millis(bytes: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1000 / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, mbit: u32, clients: u32) -> Port {
        Port { name: name.to_owned(), mbit, clients }
    }

    fn room(clients: u32, port: u32) -> Measured {
        Measured {
            clients,
            boot_files: ByteSize(50 << 20),
            root: None,
            alone: Some(Duration::from_secs(30)),
            ports: vec![at("lan1", port, 2), at("lan2", 1000, 0)],
            client: Some(("lab-07".to_owned(), 1000)),
            disk: Some(100_000_000),
        }
    }

    #[test]
    fn a_fast_room_is_held_up_by_the_pis_and_a_slow_one_by_its_port() {
        let fast = plan(&room(1, 1000));
        assert_eq!((fast.total_ms, fast.bottleneck.as_str()), (30_000, "the Pis themselves"));
        // 60 clients read 12 GB, which take 18 minutes through 100 Mbit/s.
        let slow = plan(&room(60, 100));
        assert_eq!(slow.bottleneck, "port lan1 of the router (100 Mbit/s, 60 clients)");
        assert_eq!(slow.bytes_each, ByteSize(200 << 20));
        assert!((1_050_000..1_150_000).contains(&slow.total_ms), "{}", slow.total_ms);
        assert!(slow.says[0].contains("gives up a file after 30 seconds"), "{:?}", slow.says);
        let wide = plan(&room(60, 1000));
        assert!((100_000..140_000).contains(&wide.total_ms), "{}", wide.total_ms);
        assert!(wide.says[0].contains("are assumed for each client"), "{:?}", wide.says);
    }

    #[test]
    fn what_was_counted_is_not_assumed() {
        let counted = plan(&Measured { root: Some(ByteSize(70 << 20)), ..room(60, 100) });
        assert_eq!(counted.bytes_each, ByteSize(120 << 20));
        let says = "each client read up to 70.0 MiB of its root until the log-in screen";
        assert_eq!(counted.says.last().map(String::as_str), Some(says));
        assert!(counted.total_ms < plan(&room(60, 100)).total_ms);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let unknown = plan(&Measured { clients: 10, ..Measured::default() });
        assert_eq!((unknown.measured, unknown.parts.len()), (false, 1));
        assert_eq!(
            unknown.says[0],
            "the speed of the router's ports is not known; one of 1000 Mbit/s is assumed"
        );
        assert_eq!(unknown.says.len(), 3, "{:?}", unknown.says);
        let [off, one] = [1, 2].map(|n| {
            plan(&Measured {
                ports: vec![at("lan1", 1000, 0), at("lan2", 100, 0)][..n].to_vec(),
                ..room(60, 100)
            })
        });
        assert!(off.says.iter().all(|says| !says.contains("behind which port")), "{:?}", off.says);
        assert_eq!(one.bottleneck, "port lan2 of the router (100 Mbit/s, 60 clients)");
        assert!(
            one.says.iter().any(|says| says.starts_with("behind which port the clients are is not known"))
        );
    }

    #[test]
    fn clients_are_counted_behind_the_ports_they_were_seen_at() {
        // A printer at a slow port holds nobody up.
        let printer = plan(&Measured { ports: vec![at("lan1", 1000, 3), at("lan4", 10, 0)], ..room(60, 0) });
        assert_eq!(printer.bottleneck, "port lan1 of the router (1000 Mbit/s, 60 clients)");
        let halves = plan(&Measured { ports: vec![at("lan1", 1000, 2), at("lan2", 1000, 1)], ..room(60, 0) });
        assert_eq!(halves.bottleneck, "port lan1 of the router (1000 Mbit/s, 40 clients)");
        assert!(halves.total_ms < printer.total_ms);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// More clients never take less time, and no number overflows.
        #[test]
        fn more_clients_take_longer(clients in 0u32..100_000, mbit in 0u32..100_000, files in proptest::prelude::any::<u64>(), disk in proptest::prelude::any::<u64>()) {
            let of = |clients| plan(&Measured {
                boot_files: ByteSize(files), disk: Some(disk), ports: vec![at("a", mbit, 1)], ..room(clients, mbit)
            }).total_ms;
            proptest::prop_assert!(of(clients) <= of(clients.saturating_add(1)));
        }
    }
}

//! What on the network, or of this router, keeps clients from booting well; told as sentences of `status`.
//!
//! Pure but for the board it writes on: [`crate::serve::guard`] listens and asks, what it hears is judged here. What was
//! not heard again for a while is no longer told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::proto::dhcp::{Packet, Uptime};
use crate::proto::stp::{Bpdu, Kind};
use crate::service::health::Health;
use crate::types::{ByteSize, MacAddr, limits};

/// Spanning tree is heard every two seconds, or not any more.
const STP_FRESH: Duration = Duration::from_mins(1);

/// Other servers are asked for every few minutes.
pub const DHCP_FRESH: Duration = Duration::from_mins(15);

/// How long a port may stay closed: the ROM of a Pi 3 asks five times within 25 seconds, and its network needs some.
const PORT_CLOSED: Duration = Duration::from_secs(12);

/// Less free storage is told, whatever the size of the disk; and what is a twentieth of a disk, up to so much.
const STORAGE_LOW: (u64, u64) = (1 << 30, 10 << 30);

/// Another server's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub server: Ipv4Addr,
    pub mac: Option<MacAddr>,
    /// Nothing for a server that leaves addresses to another one and only adds how to boot (proxy DHCP).
    pub offers: Option<Ipv4Addr>,
    pub router: Option<Ipv4Addr>,
    /// Where it sends clients for their boot files, if it does.
    pub boot: Option<Ipv4Addr>,
    /// Whether boot files are served there, and whether there is an NFS server, as far as they were asked.
    pub tftp: bool,
    pub nfs: bool,
}

impl Offer {
    /// An answer to our question `xid` by a server that is not one of `own`.
    pub fn of(packet: &Packet, xid: u32, own: &[Ipv4Addr]) -> Option<Self> {
        let server = packet.server_id.filter(|server| packet.xid == xid && !own.contains(server))?;
        let router = packet.options.get(crate::proto::dhcp::code::ROUTER);
        let router = router.and_then(|bytes| bytes.first_chunk::<4>()).map(|bytes| Ipv4Addr::from(*bytes));
        let set = |address: Ipv4Addr| Some(address).filter(|address| !address.is_unspecified());
        let boot = set(packet.siaddr).filter(|boot| !own.contains(boot));
        let offers = set(packet.yiaddr);
        Some(Self { server, mac: None, offers, router, boot, tftp: false, nfs: false })
    }
}

/// Collects what is heard, and writes it on the board.
#[derive(Debug)]
pub struct Guard {
    health: Arc<Health>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By network.
    switches: BTreeMap<String, (Uptime, Bpdu)>,
    servers: BTreeMap<(String, Ipv4Addr), (Uptime, Offer)>,
    /// Our own bridges that keep their ports closed, and for how long.
    bridges: BTreeMap<String, Duration>,
    storage: Option<String>,
}

impl Guard {
    pub fn new(health: Arc<Health>) -> Self {
        Self { health, inner: Mutex::default() }
    }

    pub fn heard_switch(&self, network: &str, bpdu: Bpdu, now: Uptime) {
        self.lock().switches.insert(network.to_owned(), (now, bpdu));
        self.tell(now);
    }

    pub fn heard_server(&self, network: &str, offer: Offer, now: Uptime) {
        let mut inner = self.lock();
        let key = (network.to_owned(), offer.server);
        // A machine that invents servers fills no list.
        if inner.servers.len() >= limits::OTHER_SERVERS && !inner.servers.contains_key(&key) {
            return;
        }
        inner.servers.insert(key, (now, offer));
        drop(inner);
        self.tell(now);
    }

    /// What this router's own bridge on `device` does: `None` if spanning tree is off there.
    pub fn own_bridge(&self, device: &str, forward_delay: Option<Duration>) {
        let mut inner = self.lock();
        match forward_delay.filter(|delay| *delay * 2 > PORT_CLOSED) {
            Some(delay) => drop(inner.bridges.insert(device.to_owned(), delay)),
            None => drop(inner.bridges.remove(device)),
        }
    }

    /// Room on the attached storage: free, and in all.
    pub fn storage(&self, place: &str, free: ByteSize, all: ByteSize) {
        let (least, most) = STORAGE_LOW;
        let low = free.0 < (all.0 / 20).clamp(least, most);
        self.lock().storage = low.then(|| {
            format!(
                "only {free} of {all} are free at `{place}`: homes and imports will fail; remove versions of images that \
                 nobody boots (`bramble image list`), or use a larger disk"
            )
        });
    }

    /// Networks that are no longer served are not spoken of.
    pub fn networks(&self, names: &[String], devices: &[String]) {
        let mut inner = self.lock();
        inner.switches.retain(|network, _| names.contains(network));
        inner.servers.retain(|(network, _), _| names.contains(network));
        inner.bridges.retain(|device, _| devices.contains(device));
    }

    /// Writes on the board what is the case now.
    pub fn tell(&self, now: Uptime) {
        let mut inner = self.lock();
        inner.switches.retain(|_, (at, _)| now.since(*at) < STP_FRESH);
        inner.servers.retain(|_, (at, _)| now.since(*at) < DHCP_FRESH);
        let switches: Vec<String> =
            inner.switches.iter().filter_map(|(network, (_, bpdu))| switch(network, bpdu)).collect();
        let servers: Vec<String> =
            inner.servers.iter().map(|((network, _), (_, offer))| server(network, offer)).collect();
        let bridges: Vec<String> =
            inner.bridges.iter().map(|(device, delay)| own_bridge(device, *delay)).collect();
        let storage = inner.storage.clone();
        drop(inner);
        let all = |sentences: Vec<String>| (!sentences.is_empty()).then(|| sentences.join("; "));
        self.health.trouble("spanning tree", all(switches));
        self.health.trouble("own bridge", all(bridges));
        self.health.trouble("other DHCP server", all(servers));
        self.health.trouble("storage", storage);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn switch(network: &str, bpdu: &Bpdu) -> Option<String> {
    let closed = bpdu.forward_delay * 2;
    if closed <= PORT_CLOSED {
        return None;
    }
    let kind = match bpdu.kind {
        Kind::Classic => "spanning tree",
        Kind::Rapid => "rapid spanning tree",
    };
    Some(format!(
        "a switch on `{network}` ({}) uses {kind} with a forward delay of {} s: unless the port of a client is an edge port, \
         it stays closed for {} s after the client is switched on, and the ROM of a Pi 3 gives up after 25; make the ports of \
         clients edge ports (`spanning-tree portfast` on Cisco)",
        bpdu.bridge,
        bpdu.forward_delay.as_secs(),
        closed.as_secs()
    ))
}

fn own_bridge(device: &str, delay: Duration) -> String {
    format!(
        "this router's own bridge `{device}` uses spanning tree with a forward delay of {} s, so each of its ports stays \
         closed for {} s after a client is switched on; take `option stp '1'` away from it in /etc/config/network",
        delay.as_secs(),
        delay.as_secs() * 2
    )
}

fn server(network: &str, offer: &Offer) -> String {
    let Offer { server, mac, offers, router, boot, tftp, nfs } = offer;
    let mac = mac.map(|mac| format!(" ({mac})")).unwrap_or_default();
    let router = router.map(|router| format!(" with the router {router}")).unwrap_or_default();
    let place = boot.filter(|boot| boot != server).map(|boot| format!(" at {boot}")).unwrap_or_default();
    let serves = match (tftp, nfs) {
        (true, true) => format!("; it has boot files (TFTP) and an NFS server{place} too"),
        (true, false) => format!("; it has boot files (TFTP){place} too"),
        (false, true) => format!("; it has an NFS server{place} too"),
        (false, false) => String::new(),
    };
    let Some(offers) = offers else {
        return format!(
            "another server for network boot, {server}{mac}, answers Pis on `{network}` (proxy DHCP){serves}: a client that \
             listens to it boots something else, or nothing; switch it off there"
        );
    };
    format!(
        "another DHCP server, {server}{mac}, answers on `{network}` and offers {offers}{router}{serves}: a client that hears it \
         first does not boot; switch it off, or set `option mode 'proxy'` if it is to stay"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(secs: u64) -> Uptime {
        Uptime(Duration::from_secs(secs))
    }

    fn bpdu(seconds: u64) -> Bpdu {
        Bpdu {
            kind: Kind::Classic,
            root: MacAddr::new([0, 0x1b, 0x54, 0, 0, 1]),
            bridge: MacAddr::new([0, 0x1b, 0x54, 0, 0, 2]),
            forward_delay: Duration::from_secs(seconds),
        }
    }

    fn guard() -> (Arc<Health>, Guard) {
        let health = Arc::<Health>::default();
        (Arc::clone(&health), Guard::new(health))
    }

    #[test]
    fn a_switch_that_keeps_ports_closed_is_named_until_it_stops() {
        let (health, guard) = guard();
        guard.heard_switch("lan", bpdu(4), up(0));
        assert!(health.problems().is_empty(), "eight seconds are no harm");
        guard.heard_switch("lan", bpdu(15), up(2));
        let told = health.problems().join("\n");
        for part in ["`lan` (00:1b:54:00:00:02)", "forward delay of 15 s", "closed for 30 s", "portfast"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        guard.tell(up(61));
        assert!(!health.problems().is_empty());
        guard.tell(up(62));
        assert!(health.problems().is_empty(), "not heard for a minute");
    }

    #[test]
    fn another_server_is_named_with_what_it_offers() {
        let (health, guard) = guard();
        let offer = Offer {
            server: Ipv4Addr::new(192, 168, 77, 9),
            mac: Some(MacAddr::new([2, 0, 0, 0, 0, 9])),
            offers: Some(Ipv4Addr::new(192, 168, 77, 50)),
            router: Some(Ipv4Addr::new(192, 168, 77, 9)),
            boot: None,
            tftp: false,
            nfs: false,
        };
        guard.heard_server("lan", offer.clone(), up(0));
        let told = health.problems().join("\n");
        let expected = "another DHCP server, 192.168.77.9 (02:00:00:00:00:09), answers on `lan` and offers 192.168.77.50 \
                        with the router 192.168.77.9";
        assert!(told.contains(expected), "{told}");
        for n in 0..200 {
            guard.heard_server("lan", Offer { server: Ipv4Addr::new(10, 0, 0, n), ..offer.clone() }, up(1));
        }
        assert_eq!(guard.lock().servers.len(), limits::OTHER_SERVERS);
        guard.networks(&["other".to_owned()], &[]);
        guard.tell(up(2));
        assert!(health.problems().is_empty(), "its network is not served any more");
    }

    #[test]
    fn what_else_another_server_has_is_told() {
        let [server, boot, offers] = [9, 8, 50].map(|n| Ipv4Addr::new(192, 168, 77, n));
        let offer = Offer {
            server,
            mac: None,
            offers: Some(offers),
            router: None,
            boot: None,
            tftp: true,
            nfs: false,
        };
        assert!(
            super::server("lan", &offer)
                .contains("offers 192.168.77.50; it has boot files (TFTP) too: a client")
        );
        let both = Offer { boot: Some(boot), nfs: true, ..offer.clone() };
        assert!(
            super::server("lan", &both)
                .contains("; it has boot files (TFTP) and an NFS server at 192.168.77.8 too:")
        );
        let proxy = Offer { offers: None, tftp: false, ..offer };
        assert_eq!(
            super::server("lan", &proxy),
            "another server for network boot, 192.168.77.9, answers Pis on `lan` (proxy DHCP): a client that listens to it boots \
             something else, or nothing; switch it off there"
        );
    }

    #[test]
    fn our_own_bridge_and_a_full_disk_are_told() {
        let (health, guard) = guard();
        guard.own_bridge("br-lan", Some(Duration::from_secs(15)));
        guard.storage("/mnt/sda1", ByteSize(4 << 30), ByteSize(100 << 30));
        guard.tell(up(0));
        let told = health.problems().join("\n");
        assert!(told.contains("own bridge `br-lan`") && told.contains("only 4.0 GiB of 100.0 GiB"), "{told}");
        guard.own_bridge("br-lan", None);
        guard.storage("/mnt/sda1", ByteSize(6 << 30), ByteSize(100 << 30));
        guard.tell(up(1));
        assert!(health.problems().is_empty());
    }
}

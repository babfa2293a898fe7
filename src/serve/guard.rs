//! Listens for what keeps clients from booting: switches that close ports, other DHCP servers; and looks at this router's
//! own bridges and disk.
//!
//! Another DHCP server is found by asking, as a machine without an address would: one DISCOVER with this router's own
//! hardware address every few minutes. It goes out as a frame, which our own server does not hear, and the offer is
//! answered by nobody, so it costs the other server an address for a minute. The question is put a second time as a Pi puts
//! it, because some servers answer only those. Who answers is asked, once each time, whether it has boot files and NFS; no
//! other machine of the network is.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dhcp::Clock;
use super::dhcp::sockets;
use super::supervisor::{Stop, stopped};
use crate::config::{Config, DhcpMode, Network};
use crate::proto::dhcp::encode::Message;
use crate::proto::dhcp::wire::{Hardware, Op};
use crate::proto::dhcp::{CLIENT_PORT, MessageType, Packet, SERVER_PORT, code, frame};
use crate::proto::portmap::NFS_PORT;
use crate::proto::stp;
use crate::service::room::guard::{Guard, Offer};
use crate::sys::packet::PacketSocket;
use crate::sys::{arp, random};
use crate::types::{ByteSize, MacAddr, chain, limits};

/// When other servers are first asked for, and then how often.
const FIRST: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_mins(5);

/// How long offers are waited for: a server that probes the address first takes a second or two.
const OFFERS_WITHIN: Duration = Duration::from_secs(4);

/// How long another server is waited for that is asked what it has.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How often bridges and the disk are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where the kernel shows its network devices.
const DEVICES: &str = "/sys/class/net";

/// Runs until told to stop.
pub async fn run(
    guard: Arc<Guard>,
    clock: Clock,
    mut config: watch::Receiver<Arc<Config>>,
    mut stop: Stop,
) -> Result<(), Infallible> {
    loop {
        let now = Arc::clone(&config.borrow_and_update());
        let names: Vec<String> = now.networks.iter().map(|network| network.name.clone()).collect();
        let devices: Vec<String> = now.networks.iter().map(|network| network.device.clone()).collect();
        guard.networks(&names, &devices);
        let own: Arc<[Ipv4Addr]> = now.networks.iter().map(|network| network.address).collect();
        let mut parts = JoinSet::new();
        for network in &now.networks {
            parts.spawn(switches(Arc::clone(&guard), clock, network.clone()));
            if now.dhcp.mode != DhcpMode::Off {
                let mode = now.dhcp.mode;
                parts.spawn(servers(Arc::clone(&guard), clock, mode, network.clone(), Arc::clone(&own)));
            }
        }
        parts.spawn(look(Arc::clone(&guard), clock, Arc::clone(&now)));
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            changed = config.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Hears spanning tree on one network, for as long as its device is there.
async fn switches(guard: Arc<Guard>, clock: Clock, network: Network) {
    loop {
        if let Err(error) = hear(&guard, clock, &network).await {
            tracing::debug!(
                iface = network.device,
                error = chain(&error),
                "spanning tree cannot be listened for"
            );
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn hear(guard: &Guard, clock: Clock, network: &Network) -> io::Result<()> {
    let socket = PacketSocket::open(&network.device, stp::LLC)?;
    socket.join(stp::GROUP)?;
    let socket = socket.into_async()?;
    let mut buffer = [0; stp::LONGEST];
    loop {
        let mut ready = socket.readable().await?;
        let Ok(received) = ready.try_io(|socket| socket.get_ref().receive(&mut buffer)) else { continue };
        if let Some(bpdu) = buffer.get(..received?).and_then(stp::parse) {
            guard.heard_switch(&network.name, bpdu, clock.now().up);
        }
        // A switch sends one in two seconds; who sends more is not listened to for longer.
        sleep(Duration::from_millis(200)).await;
    }
}

/// Asks for other servers now and then.
async fn servers(guard: Arc<Guard>, clock: Clock, mode: DhcpMode, network: Network, own: Arc<[Ipv4Addr]>) {
    let mut wait = FIRST;
    loop {
        sleep(wait).await;
        wait = EVERY;
        if let Err(error) = ask(&guard, clock, mode, &network, &own).await {
            tracing::debug!(
                iface = network.device,
                error = chain(&error),
                "other DHCP servers cannot be asked for"
            );
        }
    }
}

async fn ask(
    guard: &Guard,
    clock: Clock,
    mode: DhcpMode,
    network: &Network,
    own: &[Ipv4Addr],
) -> io::Result<()> {
    let socket = sockets::listen(&network.device, CLIENT_PORT)?;
    let frames = PacketSocket::open(&network.device, 0)?;
    let Some(mac) = frames.mac() else { return Ok(()) };
    let xid = u32::from_be_bytes(random::random()?);
    let anybody = (Ipv4Addr::BROADCAST, SERVER_PORT);
    for as_pi in [false, true] {
        let packet = frame::udp((Ipv4Addr::UNSPECIFIED, CLIENT_PORT), anybody, &discover(xid, mac, as_pi));
        frames.send(MacAddr::BROADCAST, frame::IPV4, &packet)?;
    }
    // All that answer within the time, and no more than can be listed.
    let _ = timeout(OFFERS_WITHIN, async {
        for _ in 0..limits::OTHER_SERVERS {
            let offer = offer(&socket, xid, own).await?;
            if !is_in_the_way(mode, &offer) {
                continue;
            }
            let place = offer.boot.unwrap_or(offer.server);
            let (tftp, nfs) = tokio::join!(has_boot_files(place), has_nfs(place));
            // Known if the kernel has had to do with it.
            let mac = arp::find(&network.device, offer.server).ok().flatten();
            guard.heard_server(&network.name, Offer { mac, tftp, nfs, ..offer }, clock.now().up);
        }
        Ok::<(), io::Error>(())
    })
    .await;
    Ok(())
}

/// Beside a proxy another server gives the addresses; only a second one that says how to boot is in its way.
const fn is_in_the_way(mode: DhcpMode, offer: &Offer) -> bool {
    !matches!(mode, DhcpMode::Proxy) || offer.offers.is_none()
}

/// The next offer of another server.
async fn offer(socket: &UdpSocket, xid: u32, own: &[Ipv4Addr]) -> io::Result<Offer> {
    let mut buffer = [0; limits::DHCP_PACKET];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(packet) = Packet::parse(buffer.get(..length).unwrap_or_default()) else { continue };
        if packet.op != Op::Reply || packet.kind != Some(MessageType::Offer) {
            continue;
        }
        if let Some(offer) = Offer::of(&packet, xid, own) {
            return Ok(offer);
        }
    }
}

/// Whether a TFTP server answers there, be it with a file or that it has none.
async fn has_boot_files(place: Ipv4Addr) -> bool {
    let ask = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.send_to(b"\0\x01bootcode.bin\0octet\0", (place, super::tftp::PORT)).await?;
        let mut buffer = [0; 4 + 512];
        let (length, from) = socket.recv_from(&mut buffer).await?;
        // So that it does not repeat a block for which nobody waits.
        socket.send_to(b"\0\x05\0\0only asked\0", from).await?;
        Ok::<_, io::Error>(length >= 4 && matches!(buffer, [0, 3 | 5, ..]))
    };
    timeout(ANSWER_WITHIN, ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

async fn has_nfs(place: Ipv4Addr) -> bool {
    timeout(ANSWER_WITHIN, TcpStream::connect((place, NFS_PORT)))
        .await
        .is_ok_and(|connected| connected.is_ok())
}

/// The question of a machine without an address; a Pi says more of itself.
fn discover(xid: u32, mac: MacAddr, as_pi: bool) -> Vec<u8> {
    let mut message = Message::request(xid, Hardware::ethernet(mac));
    message.broadcast = true;
    message.push_kind(MessageType::Discover);
    message.push_raw(code::WANTED, [code::ROUTER, code::TFTP_SERVER]);
    if as_pi {
        message.push_raw(code::VENDOR_CLASS, *b"PXEClient:Arch:00000:UNDI:002001");
        message.push_raw(code::ARCHITECTURE, [0, 0]);
    }
    message.encode(None).bytes
}

async fn look(guard: Arc<Guard>, clock: Clock, config: Arc<Config>) {
    loop {
        for network in &config.networks {
            guard.own_bridge(&network.device, forward_delay(Path::new(DEVICES), &network.device));
        }
        let (checked, now) = (Arc::clone(&guard), Arc::clone(&config));
        // Asking a disk may wait for it.
        let looked = tokio::task::spawn_blocking(move || {
            if let Some((free, all)) = room(&now.data) {
                checked.storage(&now.data.display().to_string(), free, all);
            }
        });
        if let Err(panic) = looked.await {
            tracing::error!(error = chain(&panic), "the disk cannot be looked at");
        }
        guard.tell(clock.now().up);
        sleep(LOOK_EVERY).await;
    }
}

/// How long our own bridge keeps a port closed in each of its two steps; `None` for what is no bridge, or has spanning
/// tree off.
fn forward_delay(devices: &Path, device: &str) -> Option<Duration> {
    let bridge = devices.join(device).join("bridge");
    let read = |name: &str| std::fs::read_to_string(bridge.join(name)).ok();
    let is_on = read("stp_state")?.trim() != "0";
    let hundredths: u64 = read("forward_delay")?.trim().parse().ok()?;
    is_on.then(|| Duration::from_millis(hundredths * 10))
}

/// Free room and all of it.
fn room(path: &Path) -> Option<(ByteSize, ByteSize)> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    #[expect(clippy::useless_conversion, reason = "both are 32 bits wide on 32-bit machines")]
    let (free, all, size) =
        (u64::from(stat.blocks_available()), u64::from(stat.blocks()), u64::from(stat.fragment_size()));
    Some((ByteSize(free.saturating_mul(size)), ByteSize(all.saturating_mul(size))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_proxy_the_server_that_gives_addresses_is_in_nobody_s_way() {
        let offer = |offers: Option<Ipv4Addr>| Offer {
            server: Ipv4Addr::new(192, 168, 1, 2),
            mac: None,
            offers,
            router: None,
            boot: None,
            tftp: false,
            nfs: false,
        };
        let (address, boot_only) = (offer(Some(Ipv4Addr::new(192, 168, 1, 50))), offer(None));
        let rows = [
            (DhcpMode::Authoritative, &address, true),
            (DhcpMode::Authoritative, &boot_only, true),
            (DhcpMode::Proxy, &address, false),
            (DhcpMode::Proxy, &boot_only, true),
        ];
        for (mode, offer, expected) in rows {
            assert_eq!(is_in_the_way(mode, offer), expected, "{mode:?} {offer:?}");
        }
    }

    #[test]
    fn our_own_bridge_is_slow_only_with_spanning_tree() {
        let devices = tempfile::tempdir().expect("a folder");
        let delay = || forward_delay(devices.path(), "br-lan");
        assert_eq!(delay(), None, "there is no such device");
        let bridge = devices.path().join("br-lan/bridge");
        std::fs::create_dir_all(&bridge).expect("made");
        for (stp_state, forward_delay, expected) in [
            ("0\n", "1500\n", None),
            ("1\n", "1500\n", Some(15)),
            ("2\n", "400\n", Some(4)),
            ("1\n", "soon\n", None),
        ] {
            std::fs::write(bridge.join("stp_state"), stp_state).expect("written");
            std::fs::write(bridge.join("forward_delay"), forward_delay).expect("written");
            assert_eq!(delay(), expected.map(Duration::from_secs), "{stp_state} {forward_delay}");
        }
    }
}

//! Who is at this address: the one place that joins configuration, leases and Pis seen.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;
use crate::types::{HostName, ImageRef, ImageVersion, MacAddr, RoomName};

/// One client as the boot services see it: its own settings, with those of its room filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub mac: MacAddr,
    pub ip: Ipv4Addr,
    /// Logical name of the network it was last seen on.
    pub network: String,
    /// From the configuration; a name made of the hardware address until the client is adopted.
    pub name: HostName,
    pub adopted: bool,
    pub room: Option<RoomName>,
    pub image: Option<ImageRef>,
    pub config_txt: Vec<String>,
    pub cmdline: Vec<String>,
    pub timezone: Option<String>,
    pub mask: Vec<String>,
}

/// The directory of clients.
#[derive(Debug)]
pub struct Clients {
    inner: RwLock<Inner>,
    generation: AtomicU32,
}

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    at: HashMap<Ipv4Addr, (MacAddr, String)>,
    booted: HashMap<MacAddr, ImageVersion>,
}

impl Clients {
    pub fn new(config: Arc<Config>) -> Self {
        let inner = Inner { config, at: HashMap::new(), booted: HashMap::new() };
        Self { inner: RwLock::new(inner), generation: AtomicU32::new(0) }
    }

    /// Changes whenever an answer of [`Self::at`] or [`Self::booted`] may have changed: what holders of a cached answer
    /// compare.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn set_config(&self, config: Arc<Config>) {
        self.change(|inner| inner.config = config);
    }

    /// `ip` is now `mac`'s (an address was acknowledged, or offered to a ROM that boots from the offer).
    pub fn bound(&self, ip: Ipv4Addr, mac: MacAddr, network: &str) {
        self.change(|inner| {
            inner.at.insert(ip, (mac, network.to_owned()));
        });
    }

    pub fn unbound(&self, ip: Ipv4Addr) {
        self.change(|inner| {
            inner.at.remove(&ip);
        });
    }

    /// The client at `ip`; `None` for an address nobody was given.
    pub fn at(&self, ip: Ipv4Addr) -> Option<Seat> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let (mac, network) = inner.at.get(&ip)?;
        Some(seat(&inner.config, *mac, ip, network))
    }

    /// Remembers which tree `mac` was told to boot.
    pub fn boots(&self, mac: MacAddr, image: ImageVersion) {
        self.change(|inner| {
            inner.booted.insert(mac, image);
        });
    }

    /// Which tree `mac` was last told to boot, and so may go on reading until it boots again.
    pub fn booted(&self, mac: MacAddr) -> Option<ImageVersion> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).booted.get(&mac).cloned()
    }

    fn change(&self, with: impl FnOnce(&mut Inner)) {
        with(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

fn seat(config: &Config, mac: MacAddr, ip: Ipv4Addr, network: &str) -> Seat {
    let client = config.clients.iter().find(|client| client.mac == mac);
    let room =
        client.and_then(|c| c.room.as_ref()).and_then(|name| config.rooms.iter().find(|r| &r.name == name));
    let join = |of_room: Option<&Vec<String>>, own: Option<&Vec<String>>| {
        of_room.into_iter().chain(own).flatten().cloned().collect::<Vec<_>>()
    };
    Seat {
        mac,
        ip,
        network: network.to_owned(),
        name: client.map_or_else(|| default_name(mac), |c| c.name.clone()),
        adopted: client.is_some(),
        room: room.map(|r| r.name.clone()),
        image: client.and_then(|c| c.image.clone()).or_else(|| room.and_then(|r| r.image.clone())),
        config_txt: join(room.map(|r| &r.config_txt), client.map(|c| &c.config_txt)),
        cmdline: join(room.map(|r| &r.cmdline), client.map(|c| &c.cmdline)),
        timezone: room.and_then(|r| r.timezone.clone()),
        mask: room.map(|r| r.mask.clone()).unwrap_or_default(),
    }
}

/// `pi-010203`: the name of a client nobody has named yet.
pub fn default_name(mac: MacAddr) -> HostName {
    let [_, _, _, a, b, c] = mac.octets();
    format!("pi-{a:02x}{b:02x}{c:02x}").parse().expect("`pi-` and six hex digits are a host name")
}

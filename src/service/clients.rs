//! Who is at this address: the one place that joins configuration, leases and Pis seen.
//!
//! A client is known by its hardware address. What a person decided about it comes from the configuration; what it
//! showed of itself (serial number, model, when) and which tree it was last told to boot are kept here and, in batches,
//! in the store. Machines that are not Pis and do not boot from the network are not this directory's business, except
//! that [`Clients::at`] knows every address that was given.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::neighbours;
use crate::config::{Config, DhcpMode};
use crate::store::clients::{ClientChanges, SeenRow};
use crate::store::{Store, StoreError};
use crate::types::{
    HostName, ImageName, ImageRef, ImageVersion, MacAddr, Moment, Revision, RoomName, Serial, limits,
};

/// How stale the stored time of a client's last sign of life may be: one row written a minute, not one a packet.
const SEEN_PRECISION: Duration = Duration::from_mins(1);

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
    /// Its own or its room's, or the version it tries out.
    pub image: Option<ImageRef>,
    pub config_txt: Vec<String>,
    pub cmdline: Vec<String>,
    pub timezone: Option<String>,
    pub mask: Vec<String>,
}

/// Everything known about one client, for people and programs that ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub mac: MacAddr,
    pub name: HostName,
    pub adopted: bool,
    pub room: Option<RoomName>,
    /// What it boots next.
    pub image: Option<ImageRef>,
    /// The version it tries out, whatever the configuration says.
    pub trial: Option<ImageVersion>,
    /// What it was last told to boot.
    pub booted: Option<ImageVersion>,
    /// The address it has, or the one reserved for it.
    pub ip: Option<Ipv4Addr>,
    pub network: Option<String>,
    pub serial: Option<Serial>,
    pub revision: Option<Revision>,
    pub first_seen: Option<Moment>,
    pub last_seen: Option<Moment>,
}

/// The directory of clients.
#[derive(Debug)]
pub struct Clients {
    inner: RwLock<Inner>,
    generation: AtomicU32,
    /// Something waits to be stored.
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    at: HashMap<Ipv4Addr, (MacAddr, String)>,
    /// The address each client was last given.
    address: HashMap<MacAddr, Ipv4Addr>,
    booted: HashMap<MacAddr, ImageVersion>,
    trials: HashMap<MacAddr, ImageVersion>,
    seen: HashMap<MacAddr, Seen>,
    unsaved: Unsaved,
}

/// Who differs from the store; what to write is looked up when it is written, so the newest wins.
#[derive(Debug, Default)]
struct Unsaved {
    seen: HashSet<MacAddr>,
    booted: HashSet<MacAddr>,
    forgotten: HashSet<MacAddr>,
}

#[derive(Clone, Debug)]
struct Seen {
    serial: Option<Serial>,
    revision: Option<Revision>,
    first_at: Moment,
    last_at: Moment,
    network: String,
    /// Has a row in the store, which must be deleted when it is forgotten.
    stored: bool,
}

impl Clients {
    /// A directory that knows only the configuration.
    pub fn new(config: Arc<Config>) -> Self {
        let inner = Inner {
            config,
            at: HashMap::new(),
            address: HashMap::new(),
            booted: HashMap::new(),
            trials: HashMap::new(),
            seen: HashMap::new(),
            unsaved: Unsaved::default(),
        };
        Self { inner: RwLock::new(inner), generation: AtomicU32::new(0), changed: Notify::new() }
    }

    /// The directory as the last run of the daemon left it.
    pub fn load(config: Arc<Config>, store: &Store) -> Result<Self, StoreError> {
        let rows = store.clients()?;
        let trials = store.trials()?;
        let clients = Self::new(config);
        clients.change(|inner| {
            inner.trials.extend(trials);
            for (ip, mac, network) in rows.bound {
                inner.bind(ip, mac, &network);
            }
            inner.booted.extend(rows.booted);
            for SeenRow { mac, serial, revision, first_at, last_at, network } in rows.seen {
                inner.seen.insert(mac, Seen { serial, revision, first_at, last_at, network, stored: true });
            }
        });
        Ok(clients)
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
        let same = |inner: &Inner| inner.at.get(&ip).is_some_and(|(m, n)| *m == mac && n == network);
        // A renewal changes nothing, and must not make every holder of a cached answer ask again.
        if !same(&self.read()) || self.read().address.get(&mac) != Some(&ip) {
            self.change(|inner| inner.bind(ip, mac, network));
        }
    }

    pub fn unbound(&self, ip: Ipv4Addr) {
        self.change(|inner| {
            if let Some((mac, _)) = inner.at.remove(&ip)
                && inner.address.get(&mac) == Some(&ip)
            {
                inner.address.remove(&mac);
            }
        });
    }

    /// The client at `ip`; `None` for an address nobody was given. Where another server gives the addresses, the kernel
    /// is asked who is there.
    pub fn at(&self, ip: Ipv4Addr) -> Option<Seat> {
        let config = Arc::clone(&self.read().config);
        if let Some((mac, network)) = neighbours::find(&config, ip) {
            self.bound(ip, mac, network);
        }
        let inner = self.read();
        let (mac, network) = inner.at.get(&ip)?;
        Some(inner.seat(*mac, ip, network))
    }

    /// Another machine than `mac` at `ip`, as far as the kernel knows: one that took its address by hand, to get at what is
    /// open to the client there, or by mistake. Anybody can cause this as often as they like, so it is not logged; people
    /// read it in the client's verdict.
    pub fn impostor(&self, ip: Ipv4Addr, mac: MacAddr) -> Option<MacAddr> {
        let config = Arc::clone(&self.read().config);
        neighbours::impostor(&config, ip, mac)
    }

    /// Another machine that answers for the address that the client `mac` was given.
    pub fn rival(&self, mac: MacAddr, ip: Ipv4Addr) -> Option<MacAddr> {
        self.read().at.get(&ip).filter(|(owner, _)| *owner == mac)?;
        self.impostor(ip, mac).filter(|other| other.is_unicast())
    }

    /// Nobody is known at `ip`: whether that may change in a moment, because the kernel is finding out who is there.
    pub fn may_be_known_soon(&self, ip: Ipv4Addr) -> bool {
        let config = Arc::clone(&self.read().config);
        neighbours::ask(&config, ip)
    }

    /// Whether it is Bramble that gives addresses.
    pub fn are_given_addresses_here(&self) -> bool {
        self.read().config.dhcp.mode == DhcpMode::Authoritative
    }

    /// A machine that boots from the network has shown itself; what it does not tell this time is kept from before.
    pub fn seen(
        &self,
        mac: MacAddr,
        serial: Option<Serial>,
        revision: Option<Revision>,
        network: &str,
        at: Moment,
    ) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.note(mac, serial, revision, network, at) {
            inner.unsaved.seen.insert(mac);
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Whether `mac` has shown itself as a machine that boots from the network.
    pub fn is_seen(&self, mac: MacAddr) -> bool {
        self.read().seen.contains_key(&mac)
    }

    /// Remembers which tree `mac` was told to boot.
    pub fn boots(&self, mac: MacAddr, image: ImageVersion) {
        if self.booted(mac).as_ref() != Some(&image) {
            self.change(|inner| {
                inner.booted.insert(mac, image);
                inner.unsaved.booted.insert(mac);
            });
            self.changed.notify_one();
        }
    }

    /// Which tree `mac` was last told to boot, and so may go on reading until it boots again.
    pub fn booted(&self, mac: MacAddr) -> Option<ImageVersion> {
        self.read().booted.get(&mac).cloned()
    }

    /// An image has another name now. Whoever calls this has stored it.
    pub fn image_renamed(&self, old: &ImageName, new: &ImageName) {
        self.change(|inner| {
            for image in inner.booted.values_mut().chain(inner.trials.values_mut()) {
                if image.name == *old {
                    image.name = new.clone();
                }
            }
        });
    }

    /// Has `mac` boot this version instead of what the configuration says; `None` ends that. Whoever calls this has stored
    /// it.
    pub fn set_trial(&self, mac: MacAddr, image: Option<ImageVersion>) {
        self.change(|inner| match image {
            Some(image) => drop(inner.trials.insert(mac, image)),
            None => drop(inner.trials.remove(&mac)),
        });
    }

    /// Every client of the configuration by name, then every other machine seen.
    pub fn all(&self) -> Vec<Known> {
        let inner = self.read();
        let configured = inner.config.clients.iter().map(|client| client.mac);
        let macs: HashSet<MacAddr> = configured.chain(inner.seen.keys().copied()).collect();
        let mut all: Vec<Known> = macs.into_iter().map(|mac| inner.known(mac)).collect();
        all.sort_by(|a, b| (!a.adopted, &a.name, a.mac).cmp(&(!b.adopted, &b.name, b.mac)));
        all
    }

    /// One client of the configuration, or a machine seen.
    pub fn get(&self, mac: MacAddr) -> Option<Known> {
        let inner = self.read();
        inner.knows(mac).then(|| inner.known(mac))
    }

    /// Whom a person means by a hardware address, a name or an IP address.
    pub fn find(&self, who: &str) -> Option<Known> {
        if let Ok(mac) = who.parse() {
            return self.get(mac);
        }
        if let Ok(ip) = who.parse::<Ipv4Addr>() {
            let at = self.read().at.get(&ip).map(|(mac, _)| *mac);
            return at
                .and_then(|mac| self.get(mac))
                .or_else(|| self.all().into_iter().find(|known| known.ip == Some(ip)));
        }
        let name: HostName = who.parse().ok()?;
        self.all().into_iter().find(|known| known.name == name)
    }

    /// Forgets what `mac` showed of itself. Its address and, if it is one, its place in the configuration stay.
    pub fn forget(&self, mac: MacAddr) {
        self.change(|inner| inner.forget(mac));
        self.changed.notify_one();
    }

    /// Returns when something waits to be stored.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Stores what changed since the last call. After an error it is stored by the next one.
    pub fn save(&self, store: &Store, now: Moment) -> Result<(), StoreError> {
        let (changes, unsaved) = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            let unsaved = std::mem::take(&mut inner.unsaved);
            for mac in &unsaved.seen {
                // True in a moment, or the write fails and a delete of no row does no harm.
                if let Some(seen) = inner.seen.get_mut(mac) {
                    seen.stored = true;
                }
            }
            (inner.changes(&unsaved), unsaved)
        };
        if changes.is_empty() {
            return Ok(());
        }
        store.write_clients(&changes, now).inspect_err(|_| {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            inner.unsaved.seen.extend(unsaved.seen);
            inner.unsaved.booted.extend(unsaved.booted);
            inner.unsaved.forgotten.extend(unsaved.forgotten);
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, with: impl FnOnce(&mut Inner)) {
        with(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Inner {
    fn bind(&mut self, ip: Ipv4Addr, mac: MacAddr, network: &str) {
        self.at.insert(ip, (mac, network.to_owned()));
        self.address.insert(mac, ip);
    }

    /// Notes a sign of life; whether it is worth storing.
    fn note(
        &mut self,
        mac: MacAddr,
        serial: Option<Serial>,
        revision: Option<Revision>,
        network: &str,
        at: Moment,
    ) -> bool {
        if let Some(seen) = self.seen.get_mut(&mac) {
            let same = (serial.is_none() || serial == seen.serial)
                && (revision.is_none() || revision == seen.revision)
                && network == seen.network;
            if same && at.since(seen.last_at) < SEEN_PRECISION {
                return false;
            }
            seen.serial = serial.or(seen.serial);
            seen.revision = revision.or(seen.revision);
            seen.last_at = at;
            network.clone_into(&mut seen.network);
            return true;
        }
        self.make_room(mac);
        let network = network.to_owned();
        self.seen.insert(mac, Seen { serial, revision, first_at: at, last_at: at, network, stored: false });
        true
    }

    /// Before a machine is remembered: forgets the stranger heard from least recently, if there are too many.
    fn make_room(&mut self, newcomer: MacAddr) {
        let adopted: HashSet<MacAddr> = self.config.clients.iter().map(|client| client.mac).collect();
        if adopted.contains(&newcomer) {
            return;
        }
        let strangers = self.seen.iter().filter(|(mac, _)| !adopted.contains(mac));
        if strangers.clone().count() < limits::CLIENTS_SEEN {
            return;
        }
        if let Some(oldest) = strangers.min_by_key(|(mac, seen)| (seen.last_at, **mac)).map(|(mac, _)| *mac) {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, mac: MacAddr) {
        let stored = self.seen.remove(&mac).is_some_and(|seen| seen.stored);
        let booted = self.booted.remove(&mac).is_some();
        self.unsaved.seen.remove(&mac);
        self.unsaved.booted.remove(&mac);
        // Without this test a flood of invented addresses would make the list of rows to delete grow.
        if stored || booted {
            self.unsaved.forgotten.insert(mac);
        }
    }

    fn knows(&self, mac: MacAddr) -> bool {
        self.seen.contains_key(&mac) || self.config.clients.iter().any(|client| client.mac == mac)
    }

    fn known(&self, mac: MacAddr) -> Known {
        let seen = self.seen.get(&mac);
        let client = self.config.clients.iter().find(|client| client.mac == mac);
        let ip = self.address.get(&mac).copied();
        let Seat { name, adopted, room, image, .. } = self.seat(mac, ip.unwrap_or(Ipv4Addr::UNSPECIFIED), "");
        Known {
            mac,
            name,
            adopted,
            room,
            image,
            trial: self.trials.get(&mac).cloned(),
            booted: self.booted.get(&mac).cloned(),
            ip: ip.or_else(|| client.and_then(|client| client.ip)),
            network: seen.map(|seen| seen.network.clone()),
            serial: seen.and_then(|seen| seen.serial),
            revision: seen.and_then(|seen| seen.revision),
            first_seen: seen.map(|seen| seen.first_at),
            last_seen: seen.map(|seen| seen.last_at),
        }
    }

    fn seat(&self, mac: MacAddr, ip: Ipv4Addr, network: &str) -> Seat {
        let seat = seat(&self.config, mac, ip, network);
        match self.trials.get(&mac) {
            Some(ImageVersion { name, version }) => {
                Seat { image: Some(ImageRef { name: name.clone(), version: Some(*version) }), ..seat }
            }
            None => seat,
        }
    }

    fn changes(&self, unsaved: &Unsaved) -> ClientChanges {
        let seen = unsaved.seen.iter().filter_map(|mac| {
            let Seen { serial, revision, first_at, last_at, network, stored: _ } =
                self.seen.get(mac)?.clone();
            Some(SeenRow { mac: *mac, serial, revision, first_at, last_at, network })
        });
        let booted = unsaved.booted.iter().filter_map(|mac| Some((*mac, self.booted.get(mac)?.clone())));
        ClientChanges {
            seen: seen.collect(),
            booted: booted.collect(),
            forgotten: unsaved.forgotten.iter().copied().collect(),
        }
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

#[cfg(test)]
mod tests;

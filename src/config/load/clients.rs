//! The clients: one section, one name and one address each, in a room that there is, and a reservation for those that have
//! an address of their own.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::Builder;
use crate::config::fields::Fields;
use crate::config::inherit::Inherited;
use crate::config::kind::Parsed;
use crate::config::modes;
use crate::config::problem::nearest;
use crate::config::{Client, Network, Reservation, Room};
use crate::types::{HostName, MacAddr, Spanned};

impl Builder<'_> {
    pub(super) fn clients<'d>(
        &mut self,
        sections: impl Iterator<Item = &'d Fields<'d>>,
        rooms: &[Room],
        networks: &mut [Network],
        inherited: &Inherited<'_>,
    ) -> Vec<Client> {
        let mut clients: Vec<Client> = Vec::new();
        let mut macs: HashMap<MacAddr, usize> = HashMap::new();
        let mut names: HashMap<HostName, usize> = HashMap::new();
        let mut ips: HashMap<Ipv4Addr, usize> = HashMap::new();
        for fields in sections {
            let (mac, name, ip) = (fields.mac("mac"), fields.host_name("name"), fields.ip("ip"));
            if let Some(mac) = &mac
                && let Some(line) = first_use(&mut macs, mac)
            {
                let message = format!(
                    "`{}` is also the client at line {line}; one Pi is one section, remove one of them",
                    mac.value
                );
                self.problems.note(self.file, mac, fields.at("mac"), message);
            }
            if let Some(name) = &name
                && let Some(line) = first_use(&mut names, name)
            {
                let message = format!(
                    "`{}` is also the name of the client at line {line}; give one of them another name",
                    name.value
                );
                self.problems.note(self.file, name, fields.at("name"), message);
            }
            if let Some(ip) = &ip {
                if let Some(line) = first_use(&mut ips, ip) {
                    let message = format!(
                        "`{}` is also the address of the client at line {line}; give one of them another address",
                        ip.value
                    );
                    self.problems.note(self.file, ip, fields.at("ip"), message);
                }
                self.address(fields, ip, mac.as_ref().map(|mac| mac.value), networks, inherited);
            }
            let room = fields.value("room").and_then(|room| match &room.value {
                Parsed::RoomName(name) => Some(room.clone().map(|_| name.clone())),
                _ => None,
            });
            if let Some(room) = &room
                && !rooms.iter().any(|known| known.name == room.value)
            {
                let known = rooms.iter().map(|known| known.name.as_str());
                let remedy = nearest(room.value.as_str(), known).map_or_else(
                    || format!("add `config room '{}'`, or leave `room` out", room.value),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let message = format!("there is no room `{}`; {remedy}", room.value);
                self.problems.note(self.file, room, fields.at("room"), message);
            }
            if let (Some(mac), Some(name)) = (mac, name) {
                let client = Client {
                    mac: mac.value,
                    name: name.value.clone(),
                    room: room.map(|room| room.value),
                    image: fields.image("image"),
                    ip: ip.map(|ip| ip.value),
                    config_txt: fields.all_text("config_txt"),
                    cmdline: fields.all_text("cmdline"),
                    mode: modes::mode(fields),
                    kiosk_page: modes::page(fields),
                };
                if let Some(message) = modes::wrong(&client, rooms) {
                    self.problems.note(self.file, &name, fields.at("name"), message);
                }
                clients.push(client);
            }
        }
        reserve(&clients, networks);
        clients
    }

    /// A client's own address: inside a served network, nobody else's.
    fn address(
        &mut self,
        fields: &Fields<'_>,
        ip: &Spanned<Ipv4Addr>,
        mac: Option<MacAddr>,
        networks: &[Network],
        inherited: &Inherited<'_>,
    ) {
        let address = ip.value;
        let home = networks.iter().find(|network| {
            network.subnet.is_host(address)
                || network.relayed.iter().any(|relayed| relayed.subnet.is_host(address))
        });
        let message = match home {
            None if networks.is_empty() => return,
            None => {
                let served: Vec<String> =
                    networks.iter().map(|network| format!("{} ({})", network.subnet, network.name)).collect();
                format!(
                    "`{address}` is in none of the served networks; write an address of {}",
                    served.join(" or ")
                )
            }
            Some(network) if network.address == address => {
                format!("`{address}` is the router's own address on `{}`; choose another", network.name)
            }
            Some(network) => {
                let clash = network.reservations.iter().find(|reservation| {
                    let same = mac.is_some_and(|mac| reservation.macs.contains(&mac));
                    let has = reservation.ip == Some(address);
                    (has && !same) || (same && !has && reservation.ip.is_some())
                });
                match clash {
                    Some(Reservation { ip: Some(other), .. }) if *other == address => format!(
                        "`{address}` is reserved for another machine in {}; choose another address, or remove that `config host`",
                        inherited.file
                    ),
                    Some(Reservation { ip: Some(other), .. }) => format!(
                        "this Pi has `{other}` in {}, and `{address}` here; remove one of the two",
                        inherited.file
                    ),
                    _ => return,
                }
            }
        };
        self.problems.note(self.file, ip, fields.at("ip"), message);
    }
}

/// Gives each client with an address its reservation, and each client that has one in `dhcp` its name.
fn reserve(clients: &[Client], networks: &mut [Network]) {
    for client in clients {
        for network in networks.iter_mut() {
            for reservation in network.reservations.iter_mut().filter(|r| r.macs == [client.mac]) {
                reservation.name = Some(client.name.clone());
            }
            let Some(ip) = client.ip else { continue };
            let here = network.subnet.is_host(ip)
                || network.relayed.iter().any(|relayed| relayed.subnet.is_host(ip));
            let known = network.reservations.iter().any(|r| r.macs.contains(&client.mac) && r.ip == Some(ip));
            if here && !known {
                network.reservations.push(Reservation {
                    macs: vec![client.mac],
                    patterns: Vec::new(),
                    by_name: false,
                    ip: Some(ip),
                    name: Some(client.name.clone()),
                    lease_time: None,
                    tags: Vec::new(),
                    ignore: false,
                });
            }
        }
    }
}

/// The line where this value stood before, if it did.
fn first_use<T: Clone + Eq + std::hash::Hash>(
    seen: &mut HashMap<T, usize>,
    value: &Spanned<T>,
) -> Option<usize> {
    if let Some(line) = seen.get(&value.value) {
        return Some(*line);
    }
    seen.insert(value.value.clone(), value.line);
    None
}

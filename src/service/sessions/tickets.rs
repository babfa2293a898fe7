//! Whose password was verified from which client a short while ago.

use std::collections::HashMap;

use super::VERIFIED_FOR;
use crate::proto::dhcp::Uptime;
use crate::types::{MacAddr, Person, UserName, limits};

#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// With when it was verified; at most [`limits::CLIENT_TICKETS`] a client.
    of: HashMap<MacAddr, Vec<(Person, Uptime)>>,
}

impl Tickets {
    /// The oldest of the client's goes if there are too many.
    pub fn put(&mut self, mac: MacAddr, person: Person, now: Uptime) {
        let tickets = self.of.entry(mac).or_default();
        tickets.retain(|(other, _)| other.name != person.name);
        if tickets.len() >= limits::CLIENT_TICKETS {
            tickets.remove(0);
        }
        tickets.push((person, now));
    }

    pub fn get(&self, mac: MacAddr, name: &UserName, now: Uptime) -> Option<&Person> {
        let (person, at) = self.of.get(&mac)?.iter().find(|(person, _)| person.name == *name)?;
        (now.since(*at) < VERIFIED_FOR).then_some(person)
    }

    pub fn drop_old(&mut self, now: Uptime) {
        self.of.retain(|_, tickets| {
            tickets.retain(|(_, at)| now.since(*at) < VERIFIED_FOR);
            !tickets.is_empty()
        });
    }
}

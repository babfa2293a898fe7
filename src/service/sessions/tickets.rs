//! Whose password was verified from which client a short while ago.

use std::collections::HashMap;

use super::{VERIFIED_FOR, Verdict};
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

    /// Who changed or may no longer log in did so also where the password was verified.
    pub fn follow(&mut self, verdict: impl Fn(MacAddr, &Person) -> Verdict) {
        for (mac, tickets) in &mut self.of {
            tickets.retain_mut(|(person, _)| match verdict(*mac, person) {
                Verdict::Stays => true,
                Verdict::Changes(other) => {
                    // Whether a new password is due is between the person and whoever verified this one.
                    *person = Person { must_change: person.must_change, ..other };
                    true
                }
                Verdict::Ends(_) => false,
            });
        }
    }

    pub fn clients(&self) -> impl Iterator<Item = MacAddr> {
        self.of.keys().copied()
    }

    pub fn drop_old(&mut self, now: Uptime) {
        self.of.retain(|_, tickets| {
            tickets.retain(|(_, at)| now.since(*at) < VERIFIED_FOR);
            !tickets.is_empty()
        });
    }
}

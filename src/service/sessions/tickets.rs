//! Whose password was verified from which client a short while ago.

use std::collections::HashMap;
use std::time::Duration;

use super::{VERIFIED_FOR, Verdict};
use crate::proto::dhcp::Uptime;
use crate::types::{MacAddr, Person, Uid, UserName, limits};

/// How long a password that was given before its person's last session ended is good for a new one: whoever logs out and in
/// again may be quicker than the agent that says so.
const AGAIN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// At most [`limits::CLIENT_TICKETS`] a client.
    of: HashMap<MacAddr, Vec<Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    person: Person,
    verified_at: Uptime,
    until: Uptime,
    /// A session was opened with it.
    used: bool,
}

impl Tickets {
    /// The oldest of the client's goes if there are too many.
    pub fn put(&mut self, mac: MacAddr, person: Person, now: Uptime) {
        let tickets = self.of.entry(mac).or_default();
        tickets.retain(|other| other.person.name != person.name);
        if tickets.len() >= limits::CLIENT_TICKETS {
            tickets.remove(0);
        }
        tickets.push(Ticket { person, verified_at: now, until: now.plus(VERIFIED_FOR), used: false });
    }

    pub fn get(&self, mac: MacAddr, name: &UserName, now: Uptime) -> Option<&Person> {
        let ticket = self.of.get(&mac)?.iter().find(|ticket| ticket.person.name == *name)?;
        (now < ticket.until).then_some(&ticket.person)
    }

    /// A session of `who` was opened at the client.
    pub fn used(&mut self, mac: MacAddr, who: Uid) {
        self.each_of(mac, who, |ticket| {
            ticket.used = true;
            true
        });
    }

    /// `who` has no session at the client any more, and root there is not to open another.
    pub fn left(&mut self, mac: MacAddr, who: Uid) {
        self.each_of(mac, who, |ticket| {
            ticket.until = ticket.until.min(ticket.verified_at.plus(AGAIN_WITHIN));
            !ticket.used
        });
    }

    /// Keeps those that `stays` says yes to.
    fn each_of(&mut self, mac: MacAddr, who: Uid, mut stays: impl FnMut(&mut Ticket) -> bool) {
        if let Some(tickets) = self.of.get_mut(&mac) {
            tickets.retain_mut(|ticket| ticket.person.uid != who || stays(ticket));
        }
    }

    /// Who changed or may no longer log in did so also where the password was verified.
    pub fn follow(&mut self, verdict: impl Fn(MacAddr, &Person) -> Verdict) {
        for (mac, tickets) in &mut self.of {
            tickets.retain_mut(|Ticket { person, .. }| match verdict(*mac, person) {
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
            tickets.retain(|ticket| now < ticket.until);
            !tickets.is_empty()
        });
    }
}

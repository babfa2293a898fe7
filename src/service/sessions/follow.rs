//! Sessions follow what becomes of their people: somebody who is removed, renamed, switched off or whose last day is over
//! is logged out, with the reason; whose classes or role change reaches other shares from then on.

use std::collections::BTreeSet;

use super::{Open, Sessions};
use crate::service::leases::Now;
use crate::types::{MacAddr, Person, SessionId, chain};

/// What becomes of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stays,
    /// The same person, who may reach other things now.
    Changes(Person),
    /// For the person, why.
    Ends(String),
}

impl Sessions {
    /// Holds every session, and every password that was verified a moment ago, against what is known of its person now.
    pub fn recheck(&self, verdict: impl Fn(MacAddr, &Person) -> Verdict, now: Now) {
        let mut inner = self.lock();
        inner.tickets.follow(&verdict);
        let judged: Vec<(SessionId, Verdict)> = inner
            .open
            .iter()
            .filter(|(_, open)| open.ending.is_none())
            .map(|(id, open)| (*id, verdict(open.session.client, &open.session.person)))
            .collect();
        for (id, verdict) in judged {
            match verdict {
                Verdict::Stays => {}
                Verdict::Changes(person) => {
                    if let Some(open) = inner.open.get_mut(&id) {
                        self.become_other(id, open, person, now);
                    }
                }
                Verdict::Ends(why) => self.dismiss(&mut inner, id, &why, now),
            }
        }
    }

    /// Opens to the sessions of those that `who` says yes to what they may reach now: quotas, or the shares of the
    /// configuration, are others.
    pub fn refresh(&self, who: impl Fn(&Person) -> bool, now: Now) {
        let verdict = |_, person: &Person| {
            if who(person) { Verdict::Changes(person.clone()) } else { Verdict::Stays }
        };
        self.recheck(verdict, now);
    }

    /// Where people are logged in, or gave their password a moment ago.
    pub fn clients(&self) -> BTreeSet<MacAddr> {
        let inner = self.lock();
        inner.open.values().map(|open| open.session.client).chain(inner.tickets.clients()).collect()
    }

    /// How many sessions of such people are open.
    pub fn count(&self, who: impl Fn(&Person) -> bool) -> usize {
        self.lock().open.values().filter(|open| who(&open.session.person)).count()
    }

    fn become_other(&self, id: SessionId, open: &mut Open, person: Person, now: Now) {
        let stored = if open.session.person == person {
            Ok(())
        } else {
            self.store.session_person(id, &person).map_err(|error| chain(&error))
        };
        open.session.person = person;
        let opened = self.doors.reopen(id, &open.session, now.civil).map_err(|error| chain(&error));
        if let Err(error) = stored.and(opened) {
            tracing::error!(session = %id, error, "a session could not follow its account");
        }
    }
}

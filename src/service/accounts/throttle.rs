//! Slows down whoever guesses passwords: per account, and per place it is tried from.
//!
//! Each has some tries in hand and gets one back from time to time. A try is taken before the password is looked at, so
//! many at once are no way round, and is given back if the password was right. Every account has a few tries at each place
//! that are taken from nobody else: whoever guesses somebody's password at one place keeps its owner from no other.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use crate::proto::dhcp::Uptime;
use crate::types::{MacAddr, limits};

/// Where a password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Somebody at a client.
    Seat(MacAddr),
    /// Another program, over LDAP: it asks on behalf of many.
    Ldap(IpAddr),
    /// The administrator on the router; never slowed down.
    Cli,
}

/// How many tries one key has, and how fast they come back.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    tries: u32,
    each: Duration,
}

/// Of an account at one place, before those that it has at all places together.
const HERE: Allowance = Allowance { tries: 2, each: Duration::from_mins(1) };
const ACCOUNT: Allowance = Allowance { tries: 8, each: Duration::from_secs(15) };
const SEAT: Allowance = Allowance { tries: 12, each: Duration::from_secs(10) };
const PROGRAM: Allowance = Allowance { tries: 200, each: Duration::from_secs(1) };

/// What kind of place it is: seats and programs take nothing from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Seat,
    Program,
}

/// Who has tried how much of late: when each will have all its tries back.
#[derive(Debug, Default)]
pub struct Throttle {
    here: HashMap<(String, Origin), Uptime>,
    accounts: HashMap<(String, Kind), Uptime>,
    origins: HashMap<Origin, Uptime>,
}

/// One try that was taken.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Try(Option<Taken>);

#[derive(Debug, PartialEq, Eq)]
struct Taken {
    who: String,
    from: Origin,
    kind: Kind,
    /// Whether it was one of those that the account has at this place.
    here: bool,
}

impl Throttle {
    /// Takes a try, or says how long to wait until there is one.
    pub fn take(&mut self, who: &str, from: Origin, now: Uptime) -> Result<Try, Duration> {
        let Some((kind, of_origin)) = allowance(from) else { return Ok(Try(None)) };
        let who = key(who);
        let (here, account) = ((who.clone(), from), (who.clone(), kind));
        let wait_here = wait(self.here.get(&here), HERE, now);
        let wait_account = wait(self.accounts.get(&account), ACCOUNT, now);
        let wait = wait_here.min(wait_account).max(wait(self.origins.get(&from), of_origin, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        let is_here = wait_here.is_zero();
        if is_here {
            spend(&mut self.here, here, HERE, now);
        } else {
            spend(&mut self.accounts, account, ACCOUNT, now);
        }
        spend(&mut self.origins, from, of_origin, now);
        Ok(Try(Some(Taken { who, from, kind, here: is_here })))
    }

    /// The password was right, or was never looked at: the try does not count.
    pub fn give_back(&mut self, Try(taken): Try) {
        let Some(Taken { who, from, kind, here }) = taken else { return };
        let back = |full_at: Option<&mut Uptime>, each| {
            if let Some(full_at) = full_at {
                full_at.0 = full_at.0.saturating_sub(each);
            }
        };
        if here {
            back(self.here.get_mut(&(who, from)), HERE.each);
        } else {
            back(self.accounts.get_mut(&(who, kind)), ACCOUNT.each);
        }
        if let Some((_, of_origin)) = allowance(from) {
            back(self.origins.get_mut(&from), of_origin.each);
        }
    }

    /// The owner of the account has shown up at `from`: earlier tries at it no longer slow them down.
    pub fn forget(&mut self, who: &str, from: Origin) {
        let Some((kind, _)) = allowance(from) else { return };
        self.here.remove(&(key(who), from));
        self.accounts.remove(&(key(who), kind));
    }
}

fn allowance(from: Origin) -> Option<(Kind, Allowance)> {
    match from {
        Origin::Seat(_) => Some((Kind::Seat, SEAT)),
        Origin::Ldap(_) => Some((Kind::Program, PROGRAM)),
        Origin::Cli => None,
    }
}

/// Names that are no account's count too, or the slowing down would tell which are.
fn key(who: &str) -> String {
    who.chars().take(limits::USER_NAME).collect()
}

/// How long until a key that will have all its tries at `full_at` has one.
fn wait(full_at: Option<&Uptime>, allowance: Allowance, now: Uptime) -> Duration {
    let spent = full_at.map_or(Duration::ZERO, |full_at| full_at.since(now));
    spent.saturating_sub(allowance.each.saturating_mul(allowance.tries - 1))
}

fn spend<K: Clone + Eq + Hash>(of: &mut HashMap<K, Uptime>, key: K, allowance: Allowance, now: Uptime) {
    if of.len() >= limits::TRIES_REMEMBERED && !of.contains_key(&key) {
        of.retain(|_, full_at| *full_at > now);
    }
    if of.len() >= limits::TRIES_REMEMBERED && !of.contains_key(&key) {
        // Whoever has tried least is forgotten.
        let least = of.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone());
        least.map(|least| of.remove(&least));
    }
    let full_at = of.entry(key).or_insert(now);
    *full_at = (*full_at).max(now).plus(allowance.each);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT_1: Origin = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 1]));
    const SEAT_2: Origin = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 2]));
    const PROGRAM_1: Origin = Origin::Ldap(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

    fn at(secs: u64) -> Uptime {
        Uptime(Duration::from_secs(secs))
    }

    /// How long a wrong password has to wait, if it has to.
    fn guess(throttle: &mut Throttle, who: &str, from: Origin, secs: u64) -> Option<u64> {
        throttle.take(who, from, at(secs)).err().map(|wait| wait.as_secs())
    }

    #[test]
    fn wrong_passwords_of_one_account_get_slow_and_slow_only() {
        let mut throttle = Throttle::default();
        for n in 0..10 {
            assert_eq!(guess(&mut throttle, "anna", SEAT_1, 0), None, "try {n}");
        }
        for (secs, wait) in [(0, Some(15)), (14, Some(1)), (15, None), (16, Some(14))] {
            assert_eq!(guess(&mut throttle, "anna", SEAT_1, secs), wait, "after {secs} s");
        }
        assert_eq!(guess(&mut throttle, "ben", SEAT_1, 16), None, "another account is not concerned");
        assert_eq!(guess(&mut throttle, "anna", Origin::Cli, 16), None, "nor is the administrator");
    }

    #[test]
    fn whoever_guesses_keeps_the_owner_from_no_other_place() {
        let mut throttle = Throttle::default();
        let guesses = (0..600).filter(|secs| {
            let at_seat = guess(&mut throttle, "anna", SEAT_1, *secs).is_none();
            let in_program = guess(&mut throttle, "anna", PROGRAM_1, *secs).is_none();
            at_seat || in_program
        });
        assert!(guesses.count() < 120);
        assert_eq!(guess(&mut throttle, "anna", SEAT_2, 600), None, "she may mistype");
        let right = throttle.take("anna", SEAT_2, at(600)).expect("at once");
        throttle.give_back(right);
        throttle.forget("anna", SEAT_2);
        assert_eq!(guess(&mut throttle, "anna", SEAT_2, 601), None);

        let mut throttle = Throttle::default();
        while guess(&mut throttle, "anna", PROGRAM_1, 0).is_none() {}
        for n in 0..10 {
            assert_eq!(
                guess(&mut throttle, "anna", SEAT_1, 0),
                None,
                "a program takes nothing from seats: {n}"
            );
        }
    }

    #[test]
    fn one_seat_that_tries_many_names_gets_slow() {
        let mut throttle = Throttle::default();
        for name in 0..12 {
            assert_eq!(guess(&mut throttle, &format!("p{name}"), SEAT_1, 0), None);
        }
        assert_eq!(guess(&mut throttle, "q", SEAT_1, 0), Some(10));
        assert_eq!(guess(&mut throttle, "q", SEAT_2, 0), None, "another seat is not concerned");
    }

    #[test]
    fn right_passwords_cost_nothing() {
        let mut throttle = Throttle::default();
        while guess(&mut throttle, "anna", SEAT_1, 0).is_none() {}
        for _ in 0..100 {
            let right = throttle.take("anna", SEAT_1, at(15)).expect("one came back");
            throttle.give_back(right);
        }
        assert_eq!(guess(&mut throttle, "anna", SEAT_1, 15), None);
        assert_eq!(guess(&mut throttle, "anna", SEAT_1, 15), Some(15), "and no more than one");
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_frees_no_guesser() {
        let mut throttle = Throttle::default();
        while guess(&mut throttle, "anna", PROGRAM_1, 0).is_none() {}
        for number in 0..u32::try_from(3 * limits::TRIES_REMEMBERED).expect("small") {
            let [_, b, c, d] = number.to_be_bytes();
            let from = Origin::Ldap([10, b, c, d].into());
            for _ in 0..3 {
                let _ = throttle.take(&number.to_string(), from, at(0));
            }
        }
        assert!(throttle.here.len() <= limits::TRIES_REMEMBERED);
        assert!(throttle.accounts.len() <= limits::TRIES_REMEMBERED);
        assert!(throttle.origins.len() <= limits::TRIES_REMEMBERED);
        let more = (0..10).filter(|_| guess(&mut throttle, "anna", PROGRAM_1, 0).is_none()).count();
        assert!(more <= 2, "the guesser has what a place has that is new, and no more: {more}");
    }
}

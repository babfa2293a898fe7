//! Slows down whoever guesses passwords: per account, and per place it is tried from.
//!
//! Each has some tries in hand and gets one back from time to time. A try is taken before the password is looked at, so
//! many at once are no way round, and is given back if the password was right. Nobody is ever shut out for longer than it
//! takes to get one try back.

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

const ACCOUNT: Allowance = Allowance { tries: 8, each: Duration::from_secs(15) };
const SEAT: Allowance = Allowance { tries: 12, each: Duration::from_secs(10) };
const PROGRAM: Allowance = Allowance { tries: 200, each: Duration::from_secs(1) };

/// Who has tried how much of late.
#[derive(Debug, Default)]
pub struct Throttle {
    accounts: HashMap<String, Uptime>,
    origins: HashMap<Origin, Uptime>,
}

impl Throttle {
    /// Takes a try of each, or says how long to wait until there is one.
    pub fn take(&mut self, who: &str, from: Origin, now: Uptime) -> Result<(), Duration> {
        let Some(of_origin) = allowance(from) else { return Ok(()) };
        let who = key(who);
        let wait =
            wait(self.accounts.get(&who), ACCOUNT, now).max(wait(self.origins.get(&from), of_origin, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        spend(&mut self.accounts, who, ACCOUNT, now);
        spend(&mut self.origins, from, of_origin, now);
        Ok(())
    }

    /// The password was right, or was never looked at: the try does not count.
    pub fn give_back(&mut self, who: &str, from: Origin) {
        let Some(of_origin) = allowance(from) else { return };
        let back = |full_at: &mut Uptime, each| full_at.0 = full_at.0.saturating_sub(each);
        if let Some(full_at) = self.accounts.get_mut(&key(who)) {
            back(full_at, ACCOUNT.each);
        }
        if let Some(full_at) = self.origins.get_mut(&from) {
            back(full_at, of_origin.each);
        }
    }

    /// The owner of the account has shown up: earlier tries at it no longer slow them down.
    pub fn forget(&mut self, who: &str) {
        self.accounts.remove(&key(who));
    }
}

fn allowance(from: Origin) -> Option<Allowance> {
    match from {
        Origin::Seat(_) => Some(SEAT),
        Origin::Ldap(_) => Some(PROGRAM),
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

    fn at(secs: u64) -> Uptime {
        Uptime(Duration::from_secs(secs))
    }

    #[test]
    fn wrong_passwords_of_one_account_get_slow_and_slow_only() {
        let mut throttle = Throttle::default();
        for seat in 0..8 {
            let from = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, seat]));
            assert_eq!(throttle.take("anna", from, at(0)), Ok(()), "seat {seat}");
        }
        assert_eq!(throttle.take("anna", SEAT_1, at(0)), Err(Duration::from_secs(15)));
        assert_eq!(throttle.take("anna", SEAT_1, at(14)), Err(Duration::from_secs(1)));
        assert_eq!(throttle.take("anna", SEAT_1, at(15)), Ok(()));
        assert_eq!(throttle.take("ben", SEAT_1, at(15)), Ok(()), "another account is not concerned");
        assert_eq!(throttle.take("anna", Origin::Cli, at(15)), Ok(()), "nor is the administrator");
    }

    #[test]
    fn one_seat_that_tries_many_names_gets_slow() {
        let mut throttle = Throttle::default();
        for name in 0..12 {
            assert_eq!(throttle.take(&format!("p{name}"), SEAT_1, at(0)), Ok(()));
        }
        assert_eq!(throttle.take("q", SEAT_1, at(0)), Err(Duration::from_secs(10)));
        let other = Origin::Seat(MacAddr::new([2, 0, 0, 0, 0, 2]));
        assert_eq!(throttle.take("q", other, at(0)), Ok(()), "another seat is not concerned");
    }

    #[test]
    fn right_passwords_cost_nothing() {
        let mut throttle = Throttle::default();
        for _ in 0..100 {
            assert_eq!(throttle.take("anna", SEAT_1, at(0)), Ok(()));
            throttle.give_back("anna", SEAT_1);
        }
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_frees_no_guesser() {
        let mut throttle = Throttle::default();
        for _ in 0..8 {
            throttle.take("anna", Origin::Ldap([10, 0, 0, 1].into()), at(0)).expect("a try");
        }
        for number in 0..u32::try_from(3 * limits::TRIES_REMEMBERED).expect("small") {
            let [_, b, c, d] = number.to_be_bytes();
            let _ = throttle.take(&number.to_string(), Origin::Ldap([10, b, c, d].into()), at(0));
        }
        assert!(throttle.accounts.len() <= limits::TRIES_REMEMBERED);
        assert!(throttle.origins.len() <= limits::TRIES_REMEMBERED);
        assert!(throttle.take("anna", SEAT_1, at(0)).is_err(), "the guesser is still known");
    }
}

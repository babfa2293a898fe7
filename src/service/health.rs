//! How the daemon itself is: which services run, which had to be started again, and what is wrong with the configuration
//! on the disk.
//!
//! Written by whoever notices, read by `status` and `health`. What is wrong with a client is [`super::state`]'s business.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::problem::Problems;
use crate::types::Moment;

/// The board that everybody writes on.
#[derive(Debug, Default)]
pub struct Health {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    services: BTreeMap<&'static str, ServiceHealth>,
    rejected: Option<Problems>,
    troubles: BTreeMap<&'static str, String>,
}

/// How one service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    pub running: bool,
    pub since: Moment,
    /// Why it ended the last time, if it had to be started again.
    pub error: Option<String>,
    /// How often it had to be started again.
    pub restarts: u32,
}

impl Health {
    pub fn started(&self, service: &'static str, at: Moment) {
        let mut inner = self.lock();
        let health = inner.services.entry(service).or_insert(ServiceHealth {
            running: true,
            since: at,
            error: None,
            restarts: 0,
        });
        if !health.running {
            health.running = true;
            health.since = at;
        }
    }

    /// The service has ended by itself, and is started again.
    pub fn failed(&self, service: &'static str, error: String, at: Moment) {
        if let Some(health) = self.lock().services.get_mut(service) {
            health.running = false;
            health.since = at;
            health.error = Some(error);
            health.restarts = health.restarts.saturating_add(1);
        }
    }

    /// The service was stopped on purpose.
    pub fn stopped(&self, service: &str) {
        self.lock().services.remove(service);
    }

    /// The configuration on the disk was not taken over, or (`None`) it is the one in force.
    pub fn rejected(&self, problems: Option<Problems>) {
        self.lock().rejected = problems;
    }

    /// Something `about` a part of Bramble that a person should know, or (`None`) no longer. Whether that is news.
    pub fn trouble(&self, about: &'static str, says: Option<String>) -> bool {
        let mut inner = self.lock();
        let news = inner.troubles.remove(about) != says;
        if let Some(says) = says {
            inner.troubles.insert(about, says);
        }
        news
    }

    pub fn services(&self) -> BTreeMap<&'static str, ServiceHealth> {
        self.lock().services.clone()
    }

    /// Everything that a person should look at, one sentence each; empty if all is well.
    pub fn problems(&self) -> Vec<String> {
        let inner = self.lock();
        let down = inner.services.iter().filter(|(_, health)| !health.running).map(|(name, health)| {
            let why = health.error.as_deref().unwrap_or("no reason known");
            format!("service {name} is down and is started again: {why}")
        });
        let rejected = inner.rejected.iter().flat_map(|problems| &problems.0);
        let rejected =
            rejected.map(|problem| format!("the configuration on the disk is not in force: {problem}"));
        down.chain(rejected).chain(inner.troubles.values().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_while_it_lasts() {
        let health = Health::default();
        health.started("tftp", Moment::from_secs(1));
        assert_eq!(health.problems(), Vec::<String>::new());

        health.failed("tftp", "the socket is gone".to_owned(), Moment::from_secs(2));
        let mut problems = Problems::default();
        problems.note_file("/etc/config/bramble", "is no file");
        health.rejected(Some(problems));
        health.trouble("store", Some("the disk is full".to_owned()));
        assert_eq!(
            health.problems(),
            [
                "service tftp is down and is started again: the socket is gone",
                "the configuration on the disk is not in force: /etc/config/bramble: is no file",
                "the disk is full",
            ]
        );

        health.started("tftp", Moment::from_secs(3));
        health.rejected(None);
        health.trouble("store", None);
        assert_eq!(health.problems(), Vec::<String>::new());
        let tftp = health.services().remove("tftp").expect("still there");
        assert_eq!((tftp.restarts, tftp.since), (1, Moment::from_secs(3)));
        health.stopped("tftp");
        assert!(health.services().is_empty());
    }
}

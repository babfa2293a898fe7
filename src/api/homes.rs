//! Methods about homes and shares.

use super::answer::{Homes, Shares, Started};
use super::error::ApiError;
use super::{Api, now};
use crate::service::jobs::{Stopped, Task};

impl Api {
    pub(super) fn home_usage(&self) -> Result<Homes, ApiError> {
        let homes = self.homes.list().map_err(|error| self.failed(&error))?;
        let attic = self.homes.attic().map_err(|error| self.failed(&error))?;
        Ok(Homes { now: now(), homes, attic })
    }

    pub(super) fn home_measure(&self) -> Result<Started, ApiError> {
        let homes = self.homes.clone();
        let work = move |task: &Task| {
            task.phase("measuring", 0).map_err(|_| Stopped::Cancelled)?;
            match homes.measure(now(), task) {
                Ok(Ok(1)) => Ok("1 home measured".to_owned()),
                Ok(Ok(count)) => Ok(format!("{count} homes measured")),
                Ok(Err(_)) => Err(Stopped::Cancelled),
                Err(error) => Err(Stopped::because(&error)),
            }
        };
        Ok(Started { job: self.jobs.start("measure", "homes".to_owned(), work)? })
    }

    pub(super) fn share_list(&self) -> Shares {
        Shares { shares: self.shares.list() }
    }
}

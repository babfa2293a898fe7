//! Methods about homes and shares.

use super::answer::{Homes, Shares, Started};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::homes::HomeError;
use crate::service::jobs::{Stopped, Task};

impl Api {
    pub(super) fn home_usage(&self) -> Result<Homes, ApiError> {
        let homes = self.homes.list().map_err(|error| self.failed(&error))?;
        let attic = self.homes.attic().map_err(|error| self.failed(&error))?;
        Ok(Homes { now: now(), homes, attic })
    }

    pub(super) fn home_measure(&self) -> Result<Started, ApiError> {
        let (homes, shares) = (self.homes.clone(), self.shares.clone());
        let work = move |task: &Task| {
            task.phase("measuring", 0).map_err(|_| Stopped::Cancelled)?;
            let measured = homes.measure(now(), task).map_err(|error| Stopped::because(&error))?;
            let homes = measured.map_err(|_| Stopped::Cancelled)?;
            let measured = shares.measure(now(), task).map_err(|error| Stopped::because(&error))?;
            let shares = measured.map_err(|_| Stopped::Cancelled)?;
            let some =
                |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            Ok(format!("{} and {} measured", some(homes, "home"), some(shares, "share")))
        };
        Ok(Started { job: self.jobs.start("measure", "homes".to_owned(), work)? })
    }

    /// Starts bringing a home back from the attic, to the account it was of or to another.
    pub(super) fn home_return(&self, args: &Args) -> Result<Started, ApiError> {
        let which: String = args.need("home")?;
        let bad = |field| move |error: HomeError| ApiError::BadValue { field, message: error.to_string() };
        let old = self.homes.in_attic(&which).map_err(bad("home"))?;
        let name = args.get("to")?.unwrap_or_else(|| old.name.clone());
        let person = self.accounts.person(name.as_str()).map_err(|error| self.failed(&error))?;
        let Some(to) = person else {
            let message = format!(
                "there is no account `{name}` to give the home to; make it with `bramble account add {name}`, or name \
                 another with `--to` (`to`)"
            );
            return Err(ApiError::BadValue { field: "to", message });
        };
        let beside = matches!(args.get::<String>("beside")?.as_deref(), Some("1" | "true"));
        self.homes.place_for(&old, &to, beside).map_err(|error| match error {
            HomeError::HasHome { .. } => bad("beside")(error),
            HomeError::NotTheirs { .. } | HomeError::NoFolder { .. } => bad("to")(error),
            error => self.failed(&error),
        })?;
        let homes = self.homes.clone();
        let subject = to.name.to_string();
        Ok(Started {
            job: self.jobs.start_beside("return", subject, |_| {
                move |task: &Task| {
                    let _ = task.phase("giving files to their owner", 0);
                    match homes.bring_back(&old, &to, beside, task) {
                        Ok(Ok(place)) => Ok(format!("the home of {} is back: {}", old.name, place.display())),
                        Ok(Err(_)) => Err(Stopped::Cancelled),
                        Err(error) => Err(Stopped::because(&error)),
                    }
                }
            })?,
        })
    }

    pub(super) fn share_list(&self) -> Result<Shares, ApiError> {
        let shares = self.shares.list().map_err(|error| self.failed(&error))?;
        Ok(Shares { now: now(), shares })
    }
}

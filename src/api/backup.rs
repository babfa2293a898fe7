//! Methods about backups.

use super::answer::Started;
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::backup::{BackupError, BackupRequest, RestoreRequest};
use crate::service::homes::day_number;
use crate::types::{Moment, UserName, chain, limits};

impl Api {
    pub(super) fn home_backup(&self, args: &Args) -> Result<Started, ApiError> {
        let since: Option<String> = args.get("since")?;
        let since = since.map(|text| day(&text)).transpose()?;
        let request = BackupRequest { to: args.need("to")?, home: args.get("home")?, since };
        let job = self.backups.back_up(request, now());
        Ok(Started { job: job.map_err(|error| self.not_started("to", error))? })
    }

    pub(super) fn home_restore(&self, args: &Args) -> Result<Started, ApiError> {
        let home: Option<UserName> = args.get("home")?;
        let job = self.backups.restore(RestoreRequest { from: args.need("from")?, home });
        Ok(Started { job: job.map_err(|error| self.not_started("from", error))? })
    }

    fn not_started(&self, field: &'static str, error: BackupError) -> ApiError {
        match error {
            BackupError::Job(error) => error.into(),
            BackupError::NoSuchHome(_) => ApiError::BadValue { field: "home", message: chain(&error) },
            BackupError::Relative(_)
            | BackupError::Exists(_)
            | BackupError::Inside(_)
            | BackupError::Place(_)
            | BackupError::File { .. } => ApiError::BadValue { field, message: chain(&error) },
            other => self.failed(&other),
        }
    }
}

/// The beginning of a day in UTC.
fn day(text: &str) -> Result<Moment, ApiError> {
    let day = day_number(text).map(|day| Moment::from_secs(day * 86_400));
    day.ok_or_else(|| {
        let shown: String = text.chars().take(limits::NAME_SHOWN).collect();
        let message = format!("`{shown}` is not a day; write year, month and day, such as `2026-11-27`");
        ApiError::BadValue { field: "since", message }
    })
}

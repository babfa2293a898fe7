//! The attic: homes of accounts that are gone, kept for a while.
//!
//! `<data>/attic/<day>.<name>.<uid>`, and `.2` and so on behind it where that is taken. The name of the folder is the
//! whole record: nothing else knows of it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HomeError, Homes, file, owner_at, sync};
use crate::config::FOREVER;
use crate::types::{Moment, Uid, UserName};

/// The home of an account that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attic {
    /// What the account was called.
    pub name: UserName,
    pub uid: Uid,
    /// The day it was put away, such as `2026-11-27`.
    pub day: String,
    pub path: PathBuf,
    /// When it is removed; `None` for never.
    pub until: Option<Moment>,
}

/// Seconds in a day.
const DAY: i64 = 86_400;

impl Homes {
    /// The account `name` is gone: its home goes to the attic. Answers with where it is now; `None` if there was none.
    pub fn retire(&self, name: &UserName, uid: Uid, now: Moment) -> Result<Option<PathBuf>, HomeError> {
        let _moving = self.lock();
        match owner_at(&self.folder_of(name))? {
            // Somebody else's: an account of the same name that came later.
            Some(owner) if owner != uid.0 => Ok(None),
            Some(_) => self.put_away(name, uid, now).map(Some),
            None => Ok(None),
        }
    }

    /// Moves the home `name`, which is `owner`'s, into the attic.
    pub(super) fn put_away(&self, name: &UserName, owner: Uid, now: Moment) -> Result<PathBuf, HomeError> {
        let from = self.folder_of(name);
        let day: String = now.to_string().chars().take(10).collect();
        let plain = format!("{day}.{name}.{owner}");
        let mut names = (2_u32..).map(|number| format!("{plain}.{number}"));
        let mut to = self.attic.join(&plain);
        while to.symlink_metadata().is_ok() {
            to = self.attic.join(names.next().unwrap_or_default());
        }
        fs::rename(&from, &to).map_err(file(&from, "put into the attic"))?;
        sync(&self.attic)?;
        sync(&self.folder)?;
        self.store.home_forget(owner)?;
        tracing::info!(account = %name, to = %to.display(), "home put into the attic");
        Ok(to)
    }

    /// Everything in the attic, oldest first.
    pub fn attic(&self) -> Result<Vec<Attic>, HomeError> {
        let keep = self.config.borrow().accounts.attic_time;
        let mut found = Vec::new();
        for entry in fs::read_dir(&*self.attic).map_err(file(&self.attic, "listed"))? {
            let entry = entry.map_err(file(&self.attic, "listed"))?;
            let named = entry.file_name();
            if let Some((day, name, uid)) = named.to_str().and_then(read_name) {
                found.push(Attic { name, uid, day: shown(day), path: entry.path(), until: until(day, keep) });
            }
        }
        found.sort_by(|a, b| (&a.day, &a.path).cmp(&(&b.day, &b.path)));
        Ok(found)
    }

    /// Deletes what has been in the attic for longer than the setting says, and what an interruption left of that.
    /// Answers with how many homes.
    pub fn sweep(&self, now: Moment) -> Result<usize, HomeError> {
        let mut gone = 0;
        for old in self.attic()?.into_iter().filter(|old| old.until.is_some_and(|until| until <= now)) {
            match fs::remove_dir_all(&old.path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(file(&old.path, "removed")(error)),
            }
            tracing::info!(account = %old.name, day = old.day, "home removed from the attic");
            gone += 1;
        }
        Ok(gone)
    }
}

/// The last moment of `day` and `keep` more.
fn until(day: i64, keep: Duration) -> Option<Moment> {
    (keep < FOREVER).then(|| Moment::from_secs((day + 1) * DAY).plus(keep))
}

/// `2026-11-27.anna.10023` or `2026-11-27.anna.10023.2`: the day as a number since 1970, name and uid.
fn read_name(text: &str) -> Option<(i64, UserName, Uid)> {
    let mut parts = text.split('.');
    let (day, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let number = parts.next();
    if parts.next().is_some() || number.is_some_and(|number| number.parse::<u32>().is_err()) {
        return None;
    }
    Some((day_number(day)?, name.parse().ok()?, Uid(uid.parse().ok()?)))
}

/// Days since 1970 of `2026-11-27`.
pub fn day_number(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u16>().ok());
    let (year, month, day) = (i64::from(parts.next()??), parts.next()??, i64::from(parts.next()??));
    // From the year on there are few days to try, and one of them prints like this.
    let first = (year - 1970) * 365 + (year - 1969) / 4 + i64::from(month.checked_sub(1)?) * 28 + day - 1;
    (first - 40..first + 60).find(|day| shown(*day) == text)
}

fn shown(day: i64) -> String {
    Moment::from_secs(day * DAY).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_folder_is_its_record() {
        let (day, name, uid) = read_name("2026-11-27.anna_2-b.10023").expect("read");
        assert_eq!((shown(day).as_str(), name.as_str(), uid), ("2026-11-27", "anna_2-b", Uid(10_023)));
        assert_eq!(read_name("2026-11-27.anna.10023.2").map(|(_, _, uid)| uid), Some(Uid(10_023)));
        for other in [
            "",
            "lost+found",
            "2026-11-27.anna",
            "2026-02-30.anna.1",
            "x.anna.1",
            "2026-11-27.Anna.1",
            "2026-11-27.anna.1.x",
            "2026-11-27.anna.1.2.3",
        ] {
            assert_eq!(read_name(other), None, "{other}");
        }
    }

    #[test]
    fn every_day_of_two_centuries_is_read_back() {
        for day in 0..73_000 {
            assert_eq!(day_number(&shown(day)), Some(day), "{}", shown(day));
        }
    }
}

//! The attic: homes of accounts that are gone, kept for a while.
//!
//! `<data>/attic/<day>.<name>.<uid>`, and `.2` and so on behind it where that is taken. The name of the folder is the
//! whole record: nothing else knows of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

use nix::fcntl::AtFlags;
use nix::unistd::fchownat;
use serde::{Deserialize, Serialize};

use super::{HomeError, Homes, file, sync};
use crate::config::FOREVER;
use crate::service::jobs::{Cancelled, Task};
use crate::service::walk::{self, Met, WalkError};
use crate::types::{Moment, Person, Uid, UserName};

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
        let root = self.folder_of(name);
        // One of somebody else is of an account of the same name that came later.
        let own = self.owner_at(&root, uid)? == Some(uid.0);
        let home = if own { Some(root) } else { self.under_another_name(uid)? };
        home.map(|home| self.put_away(&home, name, uid, now)).transpose()
    }

    /// Moves the home `from`, which is that of `owner`, called `name`, into the attic.
    pub(super) fn put_away(
        &self,
        from: &Path,
        name: &UserName,
        owner: Uid,
        now: Moment,
    ) -> Result<PathBuf, HomeError> {
        let day: String = now.to_string().chars().take(10).collect();
        let plain = format!("{day}.{name}.{owner}");
        let mut names = (2_u32..).map(|number| format!("{plain}.{number}"));
        let mut to = self.attic.join(&plain);
        while to.symlink_metadata().is_ok() {
            to = self.attic.join(names.next().unwrap_or_default());
        }
        fs::rename(from, &to).map_err(file(from, "put into the attic"))?;
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

    /// The home in the attic that `which` names: what its account was called, or the name of its folder.
    pub fn in_attic(&self, which: &str) -> Result<Attic, HomeError> {
        let is_named =
            |old: &Attic| old.name.as_str() == which || old.path.file_name() == Some(which.as_ref());
        let mut found: Vec<Attic> = self.attic()?.into_iter().filter(is_named).collect();
        match (found.pop(), found.is_empty()) {
            (Some(old), true) => Ok(old),
            (Some(old), false) => {
                found.push(old);
                let folders = found.iter().filter_map(|old| old.path.file_name());
                let folders =
                    folders.map(|name| format!("`{}`", name.display())).collect::<Vec<_>>().join(", ");
                Err(HomeError::SeveralInAttic { which: which.to_owned(), folders })
            }
            (None, _) => Err(HomeError::NotInAttic { which: which.to_owned() }),
        }
    }

    /// Gives a home of the attic to `to`: as their home, or with `beside` as a folder in the one they have.
    ///
    /// Its files become theirs first. If that is broken off, it is completed by asking again.
    pub fn bring_back(
        &self,
        old: &Attic,
        to: &Person,
        beside: bool,
        task: &Task,
    ) -> Result<Result<PathBuf, Cancelled>, HomeError> {
        let _leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        self.place_for(old, to, beside)?;
        if let Err(cancelled) = task.go_on() {
            return Ok(Err(cancelled));
        }
        let is_other = (old.uid, old.uid.own_group()) != (to.uid, to.gid);
        let given = if is_other { give(old, to, task) } else { Ok(()) };
        // A project before it is moved: a home takes in nothing of another.
        if let Err(error) = given.and_then(|()| self.make_project(&old.path, to.uid, task)) {
            return match error {
                WalkError::Cancelled(cancelled) => Ok(Err(cancelled)),
                error @ WalkError::Read { .. } => Err(HomeError::Walk(error)),
            };
        }
        let _moving = self.lock();
        let place = self.place_for(old, to, beside)?;
        fs::rename(&old.path, &place).map_err(file(&old.path, "brought back"))?;
        sync(place.parent().unwrap_or(&self.folder))?;
        sync(&self.attic)?;
        tracing::info!(account = %to.name, from = %old.path.display(), "home brought back from the attic");
        Ok(Ok(place))
    }

    /// Where it comes to lie, if that can be.
    pub fn place_for(&self, old: &Attic, to: &Person, beside: bool) -> Result<PathBuf, HomeError> {
        let root = self.folder_of(&to.name);
        let (name, uid) = (to.name.clone(), to.uid.0);
        match self.owner_at(&root, to.uid)? {
            None => Ok(root),
            Some(owner) if owner != uid => Err(HomeError::NotTheirs { folder: root, owner, name, uid }),
            Some(_) if !beside => Err(HomeError::HasHome { name }),
            Some(_) => {
                let plain = format!("returned-{}", old.day);
                let numbered = (2_u32..).map(|number| format!("{plain}-{number}"));
                let mut places = std::iter::once(plain.clone()).chain(numbered).map(|name| root.join(name));
                let free = places.find(|place| place.symlink_metadata().is_err());
                Ok(free.unwrap_or(root))
            }
        }
    }

    /// Deletes what has been in the attic for longer than the setting says, and what an interruption left of that.
    /// Answers with how many homes. While one is brought back, which may be the one whose time is up, that is not now.
    pub fn sweep(&self, now: Moment) -> Result<usize, HomeError> {
        let _leaving = match self.leaving.try_lock() {
            Ok(leaving) => leaving,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(0),
        };
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

/// Makes everything that was its former owner's in `old` that of `to`. Nobody can reach the attic meanwhile.
fn give(old: &Attic, to: &Person, task: &Task) -> Result<(), WalkError> {
    let (uid, gid) = (nix::unistd::Uid::from_raw(to.uid.0), nix::unistd::Gid::from_raw(to.gid.0));
    walk::walk(&old.path, task, &mut |met: Met<'_>| {
        if met.stat.st_uid != old.uid.0 {
            return Ok(());
        }
        fchownat(met.folder, met.name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| WalkError::Read { path: old.path.join(met.path), source: errno.into() })
    })
    .map(drop)
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

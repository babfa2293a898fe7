//! Backups: accounts, homes, shares and settings as one tar archive, and back.
//!
//! | entry | holds |
//! |---|---|
//! | `bramble-backup.json` | what this is, and when it was begun; always first |
//! | `config/bramble` | `/etc/config/bramble` |
//! | `accounts.json` | accounts, classes, members, with the hashes of passwords |
//! | `homes/NAME/…`, `shares/NAME/…` | the trees |
//! | `bramble-backup-end.json` | that nothing is missing; always last |
//!
//! With `since` only what was changed from then on is in it, and all folders: such an archive is restored after the one
//! before it. Restoring adds and replaces, and removes nothing, so that doing it again is harmless: that is also how one
//! that was interrupted is completed. `write.rs` makes an archive, `restore.rs` takes one as a stranger's.

pub(in crate::service) mod pipe;
mod restore;
mod write;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::pipe::Pipe;
use super::accounts::Accounts;
use super::homes::{HomeError, Homes};
use super::images::archive::ArchiveError;
use super::images::plant::PlantError;
use super::jobs::{Cancelled, JobError, Jobs, Stopped, Task};
use super::shares::{ShareError, Shares};
use super::walk::WalkError;
use crate::store::place::{self, BadPlace, Policy};
use crate::store::{Store, StoreError};
use crate::sys;
use crate::types::{Moment, UserName};

/// First entry.
const HEAD: &str = "bramble-backup.json";
/// Last entry.
const END: &str = "bramble-backup-end.json";
const ACCOUNTS: &str = "accounts.json";
const SETTINGS: &str = "config/bramble";

/// What [`HEAD`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The layout of the archive.
    format: u32,
    bramble: String,
    made_at: Moment,
    /// Only what changed from then on is in it.
    since: Option<Moment>,
    /// One home and nothing else.
    home: Option<UserName>,
}

/// The layout that this Bramble writes and reads.
const FORMAT: u32 = 1;

/// What [`END`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    files: u64,
    /// What could not be read.
    left_out: u64,
}

/// Makes and takes backups. Clones share everything.
#[derive(Clone, Debug)]
pub struct Backups {
    /// Told when people were restored.
    pub accounts: Accounts,
    pub data: Arc<Path>,
    /// `/etc/config/bramble`, or where else the configuration is.
    pub settings: Arc<Path>,
    /// Where an archive may lie.
    pub policy: Policy,
    pub store: Store,
    pub homes: Homes,
    pub shares: Shares,
    pub jobs: Jobs,
}

/// What to back up, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRequest {
    /// A file that is not there yet, or a FIFO that somebody reads.
    pub to: PathBuf,
    /// One home; else everything.
    pub home: Option<UserName>,
    pub since: Option<Moment>,
}

/// What to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreRequest {
    /// A file, or a FIFO that somebody writes.
    pub from: PathBuf,
    /// One home of it; else everything.
    pub home: Option<UserName>,
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(
        "`{0}` is not a path from `/` on; write where the archive is in full, such as `/mnt/usb/monday.tar`"
    )]
    Relative(PathBuf),
    #[error("`{0}` is there already; choose another name, or remove it first")]
    Exists(PathBuf),
    #[error("`{0}` is in the data of Bramble itself and would be lost with it; choose another disk")]
    Inside(PathBuf),
    #[error(transparent)]
    Place(BadPlace),
    #[error("there is no home `{0}`; `bramble home list` shows those there are")]
    NoSuchHome(UserName),
    #[error("`{path}` cannot be {doing}")]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("`{0}` is no backup of Bramble: it does not begin with `{HEAD}`")]
    NotOurs(PathBuf),
    #[error("this backup was made by a newer Bramble ({0}); install that one, or a later one, to restore it")]
    Newer(String),
    #[error("`{0}` in the backup cannot be understood; the archive is damaged")]
    Entry(&'static str, #[source] serde_json::Error),
    #[error(
        "`{0}` is in the backup and no backup has such an entry; the archive is damaged or made to do harm"
    )]
    Strange(PathBuf),
    #[error("the home `{0}` is not in this backup")]
    NotInIt(UserName),
    #[error(
        "the backup ends in the middle: everything up to there has been restored, and what comes behind is missing"
    )]
    NoEnd,
    #[error("nothing was restored, because accounts of the backup are others here:\n{0}")]
    Clash(String),
    #[error("a random number could not be drawn from `/dev/urandom`")]
    Random(#[source] io::Error),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Plant(#[from] PlantError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl BackupError {
    fn stopped(self) -> Stopped {
        match self {
            Self::Cancelled(_)
            | Self::Walk(WalkError::Cancelled(_))
            | Self::Archive(ArchiveError::Cancelled(_)) => Stopped::Cancelled,
            other => Stopped::because(&other),
        }
    }
}

impl Backups {
    /// Starts a backup that is begun at `now`, and answers with its job.
    pub fn back_up(&self, request: BackupRequest, now: Moment) -> Result<u64, BackupError> {
        self.check_target(&request.to)?;
        if let Some(name) = &request.home {
            self.homes.there(name)?.ok_or_else(|| BackupError::NoSuchHome(name.clone()))?;
        }
        let subject = request.home.as_ref().map_or("everything".to_owned(), ToString::to_string);
        let backups = self.clone();
        Ok(self.jobs.start("backup", subject, move |task| {
            backups.run_back_up(&request, now, task).map_err(BackupError::stopped)
        })?)
    }

    /// Starts restoring, and answers with the job.
    pub fn restore(&self, request: RestoreRequest) -> Result<u64, BackupError> {
        if !request.from.is_absolute() {
            return Err(BackupError::Relative(request.from));
        }
        fs::metadata(&request.from).map_err(file(&request.from, "opened"))?;
        let subject = request.home.as_ref().map_or("everything".to_owned(), ToString::to_string);
        let backups = self.clone();
        Ok(self.jobs.start("restore", subject, move |task| {
            let mut input = open(&request.from, task)?;
            backups.run_restore(&mut input, &request, task).map_err(BackupError::stopped)
        })?)
    }

    fn run_back_up(&self, request: &BackupRequest, now: Moment, task: &Task) -> Result<String, BackupError> {
        let to = &request.to;
        if is_fifo(to) {
            let mut output = Pipe::writer(to, task).map_err(file(to, "written"))?;
            return self.write(&mut output, request, now, task);
        }
        // Another job may have been before this one.
        self.check_target(to)?;
        let part = to.with_added_extension("part");
        let made = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let mut output = made.map_err(file(&part, "made"))?;
        let written = self.write(&mut output, request, now, task).and_then(|says| {
            task.phase("writing to the disk", 0)?;
            output.sync_all().map_err(file(&part, "written to the disk"))?;
            fs::rename(&part, to).map_err(file(to, "given its name"))?;
            sys::whole::settle_name(to);
            Ok(says)
        });
        if written.is_err() {
            // If it cannot be removed there is nothing that could be done about it, and the error has been told.
            let _ = fs::remove_file(&part);
        }
        written
    }

    /// A place where an archive is of use, and where nothing is overwritten.
    pub fn check_target(&self, to: &Path) -> Result<(), BackupError> {
        if !to.is_absolute() || to.file_name().is_none() {
            return Err(BackupError::Relative(to.to_owned()));
        }
        if is_fifo(to) {
            return Ok(());
        }
        if fs::symlink_metadata(to).is_ok() {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let folder = to.parent().unwrap_or(Path::new("/"));
        if folder.starts_with(&self.data) {
            return Err(BackupError::Inside(to.to_owned()));
        }
        match place::prepare(folder, self.policy) {
            // An archive needs no owners, and is as good on another machine.
            Ok(_) | Err(BadPlace::NoOwners { .. } | BadPlace::Network { .. }) => Ok(()),
            Err(bad) => Err(BackupError::Place(bad)),
        }
    }
}

/// A file, or a FIFO that somebody writes.
fn open(from: &Path, task: &Task) -> Result<Box<dyn io::Read>, Stopped> {
    let failed = |source| file(from, "opened")(source).stopped();
    if is_fifo(from) {
        return Ok(Box::new(Pipe::reader(from, task).map_err(failed)?));
    }
    let opened = File::open(from).map_err(failed)?;
    Ok(Box::new(pipe::Counted { file: opened, task: task.clone() }))
}

/// `1 file`, `3 files`.
fn count(many: u64, noun: &str) -> String {
    format!("{many} {noun}{}", if many == 1 { "" } else { "s" })
}

pub(in crate::service) fn is_fifo(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

fn file(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, doing, source }
}

#[cfg(test)]
mod tests;

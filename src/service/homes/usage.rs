//! How much is in each home.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{HomeError, Homes, file};
use crate::service::jobs::{Cancelled, Task};
use crate::service::walk::{self, WalkError};
use crate::store::homes::Measured;
use crate::sys::project::Taken;
use crate::sys::random::random;
use crate::types::{ByteSize, Moment, Uid, UserName, chain};

/// One home and what was last measured of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeUsage {
    pub name: UserName,
    /// Owner of the folder.
    pub uid: Uid,
    pub path: PathBuf,
    /// On the disk; `None` until it was measured.
    pub bytes: Option<ByteSize>,
    pub files: Option<u64>,
    pub measured_at: Option<Moment>,
    /// `None` for no bound.
    pub quota: Option<ByteSize>,
}

impl Homes {
    /// Every home, by name, with what was last measured.
    pub fn list(&self) -> Result<Vec<HomeUsage>, HomeError> {
        let mut homes = Vec::new();
        for entry in fs::read_dir(&*self.folder).map_err(file(&self.folder, "listed"))? {
            let entry = entry.map_err(file(&self.folder, "listed"))?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<UserName>().ok()) else {
                continue;
            };
            let path = entry.path();
            let meta = match entry.metadata() {
                // Renamed or put away since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta.map_err(file(&path, "looked at"))?,
            };
            if !meta.is_dir() {
                continue;
            }
            let uid = Uid(meta.uid());
            let size = self.store.home_size(uid)?;
            homes.push(HomeUsage {
                name,
                uid,
                path,
                bytes: size.map(|size| size.bytes),
                files: size.map(|size| size.files),
                measured_at: size.map(|size| size.at),
                quota: self.quota(uid)?,
            });
        }
        homes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(homes)
    }

    /// Measures every home; `now` is noted as when. A home that changes meanwhile is measured as well as can be.
    pub fn measure(&self, now: Moment, task: &Task) -> Result<Result<usize, Cancelled>, HomeError> {
        let homes = self.list()?;
        for home in &homes {
            let size = match self.counted(&home.path, home.uid) {
                Some(Taken { bytes, files }) => Ok(walk::Size { bytes, files }),
                None => self
                    .make_project(&home.path, home.uid, task)
                    .and_then(|()| walk::measure(&home.path, task)),
            };
            match size {
                Ok(size) => {
                    self.store
                        .home_nonce(home.uid, random().map(u64::from_ne_bytes).map_err(HomeError::Random)?)?;
                    let found = Measured { bytes: ByteSize(size.bytes), files: size.files, at: now };
                    self.store.home_measured(home.uid, found)?;
                }
                Err(WalkError::Cancelled(cancelled)) => return Ok(Err(cancelled)),
                Err(error) => {
                    tracing::debug!(account = %home.name, error = chain(&error), "home could not be measured");
                }
            }
        }
        Ok(Ok(homes.len()))
    }
}

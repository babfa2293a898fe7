//! Quotas that the file system holds itself, where it can: each home is a project of its own, with the number of its
//! account. The kernel then counts exactly and refuses what is too much at once, for whatever reaches the disk.
//!
//! Where it cannot, or for a home that is not a project yet, `exports` counts. A home becomes one when it is made, when it
//! comes back from the attic, and with the daily measuring.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag};

use super::Homes;
use crate::service::jobs::Task;
use crate::service::walk::{self, Met, WalkError};
use crate::sys::project::{self, Taken};
use crate::types::{ByteSize, Uid, chain};

impl Homes {
    /// Has the file system bound the home at `root` to `quota`; whether it does.
    pub(super) fn bounded(&self, root: &Path, uid: Uid, quota: Option<ByteSize>) -> bool {
        let Some(folder) = self.project(root, uid) else { return false };
        match project::bound(&folder, uid.0, quota.map(|quota| quota.0)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(home = %root.display(), %error, "the file system does not take the quota of a home");
                false
            }
        }
    }

    /// What the file system has counted in the home at `root`; `None` if it does not count.
    pub(super) fn counted(&self, root: &Path, uid: Uid) -> Option<Taken> {
        project::taken(self.project(root, uid)?, uid.0).ok()
    }

    /// The open home, if it is a project of its own.
    fn project(&self, root: &Path, uid: Uid) -> Option<File> {
        let folder = self.projects.then(|| open(root))?.ok()?;
        project::of(&folder).is_ok_and(|project| project == uid.0).then_some(folder)
    }

    /// Makes a home that has just been made, and is empty, a project.
    pub(super) fn begin_project(&self, root: &Path, uid: Uid) {
        if !self.projects {
            return;
        }
        let put = open(root).and_then(|folder| project::put(folder, uid.0, true));
        if let Err(error) = put {
            tracing::warn!(home = %root.display(), %error, "a home cannot be made a project for its quota");
        }
    }

    /// Makes the home at `root` and everything in it a project, if that is not done yet.
    ///
    /// The folder itself is the last, so that what was broken off is done again.
    pub(super) fn make_project(&self, root: &Path, uid: Uid, task: &Task) -> Result<(), WalkError> {
        if !self.projects || self.project(root, uid).is_some() {
            return Ok(());
        }
        walk::walk(root, task, &mut |met: Met<'_>| {
            let is_folder = met.kind() == SFlag::S_IFDIR;
            // Links, pipes and sockets cannot be opened for this, and take nothing.
            if met.path.as_os_str().is_empty() || !(is_folder || met.kind() == SFlag::S_IFREG) {
                return Ok(());
            }
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let put = openat(met.folder, met.name, flags, Mode::empty())
                .map_err(std::io::Error::from)
                .and_then(|file| project::put(file, uid.0, is_folder));
            if let Err(error) = put {
                tracing::debug!(path = %root.join(met.path).display(), %error, "not counted in the quota");
            }
            Ok::<(), WalkError>(())
        })?;
        self.begin_project(root, uid);
        Ok(())
    }
}

/// Whether the file system of `folder` can bound homes.
pub(super) fn can_bound(folder: &Path) -> bool {
    let can = open(folder).is_ok_and(project::are_bounded);
    if can {
        tracing::info!("quotas of homes are held by the file system");
    }
    can
}

fn open(folder: &Path) -> std::io::Result<File> {
    let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(folder);
    opened.inspect_err(|error| {
        tracing::debug!(folder = %folder.display(), error = chain(error), "a home cannot be opened for its quota");
    })
}

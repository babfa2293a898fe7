//! Shares: folders that several people see below `~/Shared`, and what each of them may do there.
//!
//! A share is a section of the configuration; its folder is `<data>/shares/<name>`, or one of the administrator's. What
//! is in a share belongs to nobody (uid and gid 65534) whoever made it, because otherwise a file that one member of a
//! class made could not be changed by another. Nobody but root may pass through `<data>/shares`, so the rights of the
//! files do not matter on the router: who gets in is decided here.
//!
//! A hand-in share has a folder for each pupil, `<data>/shares/<name>/<account>`: a pupil sees that one and a teacher all
//! of them. The pupil's is a tree of its own, so that no handle of it leads to another's. Whose a folder is was noted when it
//! was first used, because all are 65534's: a later pupil of the same name gets another.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::homes::is_never_anothers;
use crate::config::{Config, Share, ShareAccess};
use crate::service::jobs::{Cancelled, Task};
use crate::service::walk::{self, WalkError};
use crate::store::homes::Measured;
use crate::store::{Store, StoreError};
use crate::sys::acting::can_act;
use crate::sys::random::random;
use crate::types::{
    ByteSize, ClassName, Gid, MacAddr, Moment, Person, Role, ShareName, Uid, UserName, chain,
};

/// Whose everything in a share is.
pub const NOBODY: (Uid, Gid) = (Uid(65_534), Gid(65_534));

/// All shares. Clones share them.
#[derive(Clone, Debug)]
pub struct Shares {
    /// `<data>/shares`
    folder: Arc<Path>,
    store: Store,
    config: watch::Receiver<Arc<Config>>,
}

/// What one person may do in a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareRight {
    Read,
    Write,
    /// Make files and see them, and neither change nor remove what has been handed in.
    HandIn,
}

/// A share, or the part of one, that a person gets with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGrant {
    pub name: ShareName,
    /// Number in file handles: of the share, or of this person's part of it.
    pub id: u32,
    pub nonce: u64,
    pub root: PathBuf,
    /// As clients mount it, such as `/share/materials`.
    pub path: String,
    pub right: ShareRight,
    /// As whom everything in it is done.
    pub owner: (Uid, Gid),
    /// How much the tree may hold; `None` for no bound.
    pub quota: Option<ByteSize>,
}

/// One share as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareSummary {
    pub name: ShareName,
    pub access: ShareAccess,
    /// Who sees it; empty for everybody.
    pub classes: Vec<ClassName>,
    pub path: PathBuf,
    /// On the disk; `None` until it was measured.
    pub bytes: Option<ByteSize>,
    pub files: Option<u64>,
    pub measured_at: Option<Moment>,
    /// Of a hand-in share, what each pupil may hand in. `None` for no bound.
    pub quota: Option<ByteSize>,
    /// Why it cannot be used as it is.
    pub problem: Option<String>,
}

/// Why a share could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error("`{folder}` cannot be {doing}; check that the disk is mounted, writable and has space")]
    File {
        folder: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("a random number could not be drawn from `/dev/urandom`")]
    Random(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `person` may do in `share`; `None` if they do not see it.
pub fn right(share: &Share, person: &Person) -> Option<ShareRight> {
    let theirs = |class: &ClassName| person.classes.iter().any(|(name, _)| name == class);
    match (person.role, share.access) {
        (Role::Teacher, _) => Some(ShareRight::Write),
        _ if !share.classes.is_empty() && !share.classes.iter().any(theirs) => None,
        (Role::Pupil, ShareAccess::Read) => Some(ShareRight::Read),
        (Role::Pupil, ShareAccess::Write) => Some(ShareRight::Write),
        (Role::Pupil, ShareAccess::HandIn) => Some(ShareRight::HandIn),
    }
}

impl Shares {
    /// Opens `<data>/shares`.
    pub fn open(data: &Path, store: Store, config: watch::Receiver<Arc<Config>>) -> Result<Self, ShareError> {
        let folder = data.join("shares");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(file(&folder, "made"))?;
        Ok(Self { folder: folder.into(), store, config })
    }

    /// What `person` gets with a session at the client `at`, by name; folders that are missing are made. In an exam those who
    /// take part get only what it lets them.
    ///
    /// A share whose folder cannot be used is left out, and the log says why: it must not keep anybody from logging in.
    pub fn for_person(&self, person: &Person, at: MacAddr) -> Result<Vec<ShareGrant>, ShareError> {
        let config = Arc::clone(&self.config.borrow());
        let exam = config.exam_at(at).filter(|_| person.role != Role::Teacher);
        let mut grants = Vec::new();
        for share in &config.shares {
            let Some(right) = right(share, person) else { continue };
            if exam.is_some_and(|exam| !exam.shares.contains(&share.name)) {
                continue;
            }
            match self.grant(share, right, person) {
                Ok(grant) => grants.push(grant),
                Err(ShareError::File { folder, doing, source }) => tracing::error!(
                    share = %share.name, folder = %folder.display(), error = %source,
                    "share is left out: its folder cannot be {doing}"
                ),
                Err(error) => return Err(error),
            }
        }
        grants.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(grants)
    }

    /// Every share, by name.
    pub fn list(&self) -> Result<Vec<ShareSummary>, ShareError> {
        let config = Arc::clone(&self.config.borrow());
        let summary = |share: &Share| -> Result<ShareSummary, ShareError> {
            let size = self.store.share_size(&share.name)?;
            Ok(ShareSummary {
                name: share.name.clone(),
                access: share.access,
                classes: share.classes.clone(),
                path: self.folder_of(share),
                bytes: size.map(|size| size.bytes),
                files: size.map(|size| size.files),
                measured_at: size.map(|size| size.at),
                quota: share.quota,
                problem: problem(share),
            })
        };
        let mut list: Vec<ShareSummary> = config.shares.iter().map(summary).collect::<Result<_, _>>()?;
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Measures every share; `now` is noted as when. One that changes meanwhile is measured as well as can be.
    pub fn measure(&self, now: Moment, task: &Task) -> Result<Result<usize, Cancelled>, ShareError> {
        let config = Arc::clone(&self.config.borrow());
        for share in &config.shares {
            match walk::measure(&self.folder_of(share), task) {
                Ok(size) => {
                    let found = Measured { bytes: ByteSize(size.bytes), files: size.files, at: now };
                    self.store.share_measured(&share.name, found)?;
                }
                Err(WalkError::Cancelled(cancelled)) => return Ok(Err(cancelled)),
                // Its folder is made when it is first used.
                Err(error) => {
                    tracing::debug!(share = %share.name, error = chain(&error), "share could not be measured");
                }
            }
        }
        Ok(Ok(config.shares.len()))
    }

    /// The account `uid` was renamed: what it handed in goes with it.
    pub fn rename(&self, from: &UserName, to: &UserName, uid: Uid) {
        self.each_box(from, uid, |folder| folder.join(to.as_str()));
    }

    /// The account `uid` is gone: what it handed in stays for teachers, under a name that no later account can have.
    pub fn retire(&self, name: &UserName, uid: Uid) {
        self.each_box(name, uid, |folder| folder.join(format!("{name}.{uid}")));
    }

    /// Renames the folder of `uid`, called `name`, in every hand-in share, unless the new name is taken.
    fn each_box(&self, name: &UserName, uid: Uid, new: impl Fn(&Path) -> PathBuf) {
        let config = Arc::clone(&self.config.borrow());
        for share in config.shares.iter().filter(|share| share.access == ShareAccess::HandIn) {
            let folder = self.folder_of(share);
            if let Err(error) = self.rename_box(share, (name, uid), &folder, &new(&folder)) {
                let error = chain(&error);
                tracing::warn!(share = %share.name, account = %name, error, "what was handed in was not renamed");
            }
        }
    }

    fn rename_box(
        &self,
        share: &Share,
        (name, uid): (&UserName, Uid),
        folder: &Path,
        new: &Path,
    ) -> Result<(), ShareError> {
        let noted = self.store.hand_in_box(&share.name, uid)?;
        // One that is noted as another's is of a later account of that name.
        if noted.is_none() && self.store.hand_in_box_owner(&share.name, name.as_str())?.is_some() {
            return Ok(());
        }
        let old = folder.join(noted.as_deref().unwrap_or(name.as_str()));
        let is_box = fs::symlink_metadata(&old).is_ok_and(|meta| meta.is_dir());
        if !is_box || fs::symlink_metadata(new).is_ok() {
            return Ok(());
        }
        self.move_box(share, &old, new, noted.is_some().then_some(uid))
    }

    /// Gives the folder of a hand-in share another name, which is `owner`'s box from then on.
    fn move_box(&self, share: &Share, from: &Path, to: &Path, owner: Option<Uid>) -> Result<(), ShareError> {
        fs::rename(from, to).map_err(file(from, "renamed"))?;
        let Some(owner) = owner else { return Ok(()) };
        let called = to.file_name().and_then(|name| name.to_str());
        Ok(self.store.note_hand_in_box(&share.name, owner, called)?)
    }

    /// Sees to it that the folder `<whole>/<name>` is nobody's but the person's: what another handed in under that name is put
    /// aside for teachers, and what they handed in under another name comes along.
    fn settle_box(&self, share: &Share, person: &Person, whole: &Path) -> Result<(), ShareError> {
        let name = person.name.as_str();
        let own = self.store.hand_in_box(&share.name, person.uid)?;
        if own.as_deref() == Some(name) {
            return Ok(());
        }
        let is_there = |folder: &Path| fs::symlink_metadata(folder).is_ok();
        let aside = |called: &str, owner: Uid| {
            let mut names = (2_u32..).map(|number| format!("{called}.{owner}.{number}"));
            let mut to = whole.join(format!("{called}.{owner}"));
            while is_there(&to) {
                to = whole.join(names.next().unwrap_or_default());
            }
            to
        };
        let root = whole.join(name);
        if let Some(other) = self.store.hand_in_box_owner(&share.name, name)? {
            if is_there(&root) {
                self.move_box(share, &root, &aside(name, other), Some(other))?;
                tracing::info!(share = %share.name, account = name, owner = %other, "what another of this name handed in is put aside");
            } else {
                self.store.note_hand_in_box(&share.name, other, None)?;
            }
        }
        if let Some((called, old)) = own.map(|called| (whole.join(&called), called))
            && is_there(&called)
        {
            let theirs = !is_there(&root) && is_never_anothers(person.uid, &self.config.borrow());
            let to = if theirs { root } else { aside(&old, person.uid) };
            self.move_box(share, &called, &to, None)?;
        }
        Ok(self.store.note_hand_in_box(&share.name, person.uid, Some(name))?)
    }

    /// The folder of the share `name` for restoring, made if it is ours and missing. `None` if there is no such share.
    pub fn target(&self, name: &ShareName) -> Result<Option<PathBuf>, ShareError> {
        let config = Arc::clone(&self.config.borrow());
        let Some(share) = config.shares.iter().find(|share| share.name == *name) else { return Ok(None) };
        let folder = self.folder_of(share);
        if share.path.is_none() {
            own_folder(&folder)?;
        }
        Ok(Some(folder).filter(|folder| folder.is_dir()))
    }

    fn grant(&self, share: &Share, right: ShareRight, person: &Person) -> Result<ShareGrant, ShareError> {
        let whole = self.folder_of(share);
        let root = match right {
            ShareRight::HandIn => whole.join(person.name.as_str()),
            ShareRight::Read | ShareRight::Write => whole.clone(),
        };
        if share.path.is_none() {
            own_folder(&whole)?;
        }
        let part = (right == ShareRight::HandIn).then_some(person.uid);
        let tree = self.store.share_tree(
            &share.name,
            part,
            random().map(u64::from_ne_bytes).map_err(ShareError::Random)?,
        )?;
        if right == ShareRight::HandIn {
            self.settle_box(share, person, &whole)?;
            own_folder(&root)?;
        }
        // A link of the administrator's is followed; one that somebody made inside a share is not.
        let meta =
            if right == ShareRight::HandIn { fs::symlink_metadata(&root) } else { fs::metadata(&root) };
        if !meta.map_err(file(&root, "looked at"))?.is_dir() {
            return Err(file(&root, "opened")(io::ErrorKind::NotADirectory.into()));
        }
        Ok(ShareGrant {
            name: share.name.clone(),
            id: tree.id,
            nonce: tree.nonce,
            root,
            path: format!("/share/{}", share.name),
            right,
            owner: NOBODY,
            // What teachers see of a hand-in share are the boxes of all.
            quota: share.quota.filter(|_| share.access != ShareAccess::HandIn || right == ShareRight::HandIn),
        })
    }

    fn folder_of(&self, share: &Share) -> PathBuf {
        share.path.clone().unwrap_or_else(|| self.folder.join(share.name.as_str()))
    }
}

/// Makes `folder` if it is missing, and gives it to [`NOBODY`] if it is root's, as an interruption leaves it. Without
/// root's rights nothing can be given away, and nothing need be.
fn own_folder(folder: &Path) -> Result<(), ShareError> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(file(folder, "made")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let meta = fs::symlink_metadata(folder).map_err(file(folder, "looked at"))?;
    if meta.is_dir() && meta.uid() == 0 && can_act() {
        chown(folder, Some(NOBODY.0.0), Some(NOBODY.1.0)).map_err(file(folder, "given to its owner"))?;
    }
    Ok(())
}

/// What is wrong with a folder of the administrator's: it must be there, and be open to [`NOBODY`].
fn problem(share: &Share) -> Option<String> {
    let path = share.path.as_ref()?;
    let shown = path.display();
    let meta = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return Some(format!("`{shown}` is no folder")),
        Err(error) => return Some(format!("`{shown}` cannot be used ({error}); make it, or mount its disk")),
    };
    let shift = match (meta.uid() == NOBODY.0.0, meta.gid() == NOBODY.1.0) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    let rights = (meta.mode() >> shift) & 0o7;
    if rights & 0o5 != 0o5 {
        return Some(format!(
            "`{shown}` cannot be read by user 65534, as whom shares are served; give it to that user with `chown -R \
             65534:65534 {shown}`, or open it with `chmod -R o+rX {shown}`"
        ));
    }
    // Teachers may write everywhere.
    (rights & 0o2 == 0).then(|| {
        format!(
            "`{shown}` cannot be written by user 65534, as whom shares are served, so nobody can put anything in; give \
             it to that user with `chown -R 65534:65534 {shown}`"
        )
    })
}

fn file(folder: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> ShareError {
    let folder = folder.to_owned();
    move |source| ShareError::File { folder, doing, source }
}

#[cfg(test)]
mod tests;

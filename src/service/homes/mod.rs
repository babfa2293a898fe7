//! Homes: the folder of each person, made when they first log in and put away when their account goes.
//!
//! A home is `<data>/homes/<name>`, mode 0700, owned by the account's uid. Whether it is the right person's is told by
//! that owner and not by its name, because local uids are never used again: a home that an account of the same name left
//! behind goes to the attic (`attic.rs`) instead of to its successor, and whoever has another name finds theirs again.
//!
//! Who may reach a home, and when, is not decided here: `sessions` asks for the tree and grants it.

mod attic;
mod bounds;
mod settle;
mod usage;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

pub use self::attic::{Attic, day_number};
pub use self::usage::HomeUsage;
use crate::config::directory::Numbers;
use crate::config::{Config, Source};
use crate::service::walk::WalkError;
use crate::store::{Store, StoreError};
use crate::sys::acting::can_act;
use crate::sys::random::random;
use crate::types::person::{FIRST_ACCOUNT, LAST_ACCOUNT};
use crate::types::{ByteSize, Gid, Moment, Person, Uid, UserName};

/// All homes. Clones share them.
#[derive(Clone, Debug)]
pub struct Homes {
    /// `<data>/homes`
    folder: Arc<Path>,
    /// `<data>/attic`
    attic: Arc<Path>,
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    /// Held while folders are made, put away or renamed: two sessions of one person open at the same moment.
    moving: Arc<Mutex<()>>,
    /// Held while homes of the attic are given back or deleted.
    leaving: Arc<Mutex<()>>,
    /// Whether folders can be given to people. Without root's rights (a demonstration) all homes stay the daemon's own.
    gives: bool,
    /// Whether the file system can hold quotas (`bounds.rs`).
    projects: bool,
}

/// A home that is ready to be exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeTree {
    pub uid: Uid,
    /// Ties handles to this home: they survive a restart, and not the home.
    pub nonce: u64,
    pub root: PathBuf,
    /// As clients mount it, such as `/home/anna`.
    pub path: String,
    /// How much it may hold; `None` for no bound, or for one that the file system holds.
    pub quota: Option<ByteSize>,
}

/// A home that something is restored into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeTarget {
    pub root: PathBuf,
    pub uid: Uid,
    pub gid: Gid,
}

/// Why a home could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(
        "`{folder}` belongs to user {owner} and not to `{name}` (user {uid}), so it was not opened; if it is theirs, \
         give it to them with `chown -R {uid}:{uid} {folder}`, else move it away"
    )]
    NotTheirs { folder: PathBuf, owner: u32, name: UserName, uid: u32 },
    #[error("`{folder}` is in the place of a home and is no folder; move it away")]
    NoFolder { folder: PathBuf },
    #[error("`{folder}` cannot be {doing}; check that the disk is mounted, writable and has space")]
    File {
        folder: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the home of `{name}` is not in its place any more: it was removed, or has another name now")]
    Gone { name: UserName },
    #[error("there is no home `{which}` in the attic; `bramble home attic` shows those there are")]
    NotInAttic { which: String },
    #[error("there are several homes `{which}` in the attic; name one of them by its folder: {folders}")]
    SeveralInAttic { which: String, folders: String },
    #[error(
        "`{name}` has a home; with `--beside` (`beside` `1`) the one of the attic becomes a folder `returned-…` in it"
    )]
    HasHome { name: UserName },
    #[error("files in the attic could not be given to their new owner")]
    Walk(#[source] WalkError),
    #[error("there is a home `{name}` already; move `{folder}` away, or choose another name")]
    Taken { name: UserName, folder: PathBuf },
    #[error("a random number could not be drawn from `/dev/urandom`")]
    Random(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Uids of a directory elsewhere begin here; those below are the system's.
const FIRST_FOREIGN: u32 = 1000;

/// Whether `uid` is of an account of ours: none is ever used again, so another owner means another person.
fn is_local(uid: u32) -> bool {
    (FIRST_ACCOUNT..=LAST_ACCOUNT).contains(&uid)
}

/// Whether no other person will ever have the number: those of a directory that gives them out by hand may come back.
pub fn is_never_anothers(uid: Uid, config: &Config) -> bool {
    match config.accounts.source {
        Source::Local => is_local(uid.0),
        Source::Ldap => config.directory.numbers == Numbers::Sid,
    }
}

impl Homes {
    /// Opens `<data>/homes` and `<data>/attic`.
    pub fn open(data: &Path, store: Store, config: watch::Receiver<Arc<Config>>) -> Result<Self, HomeError> {
        let (folder, attic) = (data.join("homes"), data.join("attic"));
        for folder in [&folder, &attic] {
            make_folder(folder).map_err(file(folder, "made"))?;
        }
        let (moving, leaving, gives) = (Arc::default(), Arc::default(), can_act());
        let projects = gives && bounds::can_bound(&folder);
        Ok(Self {
            folder: folder.into(),
            attic: attic.into(),
            store,
            config,
            moving,
            leaving,
            gives,
            projects,
        })
    }

    /// The home of `person`, made if they have none yet. `now` is when: a home found in its place that an account of
    /// the same name left behind is put into the attic.
    pub fn prepare(&self, person: &Person, now: Moment) -> Result<HomeTree, HomeError> {
        let _moving = self.lock();
        let root = self.folder_of(&person.name);
        let mut owner = self.owner_at(&root, person.uid)?;
        if let Some(other) = owner.filter(|other| *other != person.uid.0) {
            if !(self.are_ours() && is_local(other) && is_local(person.uid.0)) {
                let (name, uid) = (person.name.clone(), person.uid.0);
                return Err(HomeError::NotTheirs { folder: root, owner: other, name, uid });
            }
            self.make_way(&person.name, Uid(other), now)?;
            owner = self.owner_at(&root, person.uid)?;
        }
        if owner.is_none() {
            match self.under_another_name(person.uid)? {
                Some(old) => self.rename_folder(&old, &root)?,
                None => self.make(&person.name, person.uid, person.gid, &root)?,
            }
        }
        self.tree(person, root)
    }

    /// As [`Self::prepare`], where numbers may come from a directory: a home in the way that `is_nobodys` any more goes to the
    /// attic too. The owner of one that is somebody's has to come, and take it along, first; an account of ours may come back.
    pub fn prepare_among(
        &self,
        person: &Person,
        is_nobodys: impl FnOnce(Uid) -> bool,
        now: Moment,
    ) -> Result<HomeTree, HomeError> {
        match self.prepare(person, now) {
            Err(HomeError::NotTheirs { owner, .. })
                if self.store.account_of(Uid(owner))?.is_none() && is_nobodys(Uid(owner)) =>
            {
                self.retire(&person.name, Uid(owner), now)?;
                self.prepare(person, now)
            }
            prepared => prepared,
        }
    }

    /// The home of `uid` that is not called as its owner is now: a directory has renamed them, or a renaming of ours was cut
    /// off. Numbers that a directory gives out by hand may be given to somebody else later, so they find nothing.
    fn under_another_name(&self, uid: Uid) -> Result<Option<PathBuf>, HomeError> {
        if !self.gives || !is_never_anothers(uid, &self.config.borrow()) {
            return Ok(None);
        }
        let listed = file(&self.folder, "listed");
        let entries: Vec<_> = fs::read_dir(&*self.folder).and_then(Iterator::collect).map_err(listed)?;
        let is_theirs = |entry: &fs::DirEntry| {
            let is_name = entry.file_name().to_str().is_some_and(|name| name.parse::<UserName>().is_ok());
            is_name && entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == uid.0)
        };
        Ok(entries.iter().find(|entry| is_theirs(entry)).map(fs::DirEntry::path))
    }

    /// The home of `person`, which is there already.
    pub fn again(&self, person: &Person) -> Result<HomeTree, HomeError> {
        let _moving = self.lock();
        let root = self.folder_of(&person.name);
        if self.owner_at(&root, person.uid)? != Some(person.uid.0) {
            return Err(HomeError::Gone { name: person.name.clone() });
        }
        self.tree(person, root)
    }

    fn tree(&self, person: &Person, root: PathBuf) -> Result<HomeTree, HomeError> {
        let nonce = self
            .store
            .home_nonce(person.uid, random().map(u64::from_ne_bytes).map_err(HomeError::Random)?)?;
        let quota = self.quota(person.uid)?;
        let held = self.bounded(&root, person.uid, quota);
        Ok(HomeTree {
            uid: person.uid,
            nonce,
            path: format!("/home/{}", person.name),
            root,
            quota: quota.filter(|_| !held),
        })
    }

    /// How much `uid` may keep: what the account says, else the most that one of its classes allows, else the setting.
    pub fn quota(&self, uid: Uid) -> Result<Option<ByteSize>, HomeError> {
        let own = self.store.home_quota(uid)?;
        Ok(own.or(self.config.borrow().homes.quota))
    }

    /// The account `uid` was renamed: its home goes with it. Nothing happens if it has none.
    pub fn rename(&self, from: &UserName, to: &UserName, uid: Uid) -> Result<(), HomeError> {
        let _moving = self.lock();
        let (old, new) = (self.folder_of(from), self.folder_of(to));
        if self.owner_at(&old, uid)? != Some(uid.0) {
            return Ok(());
        }
        if owner_at(&new)?.is_some() {
            return Err(HomeError::Taken { name: to.clone(), folder: new });
        }
        self.rename_folder(&old, &new)
    }

    fn rename_folder(&self, old: &Path, new: &Path) -> Result<(), HomeError> {
        fs::rename(old, new).map_err(file(old, "renamed"))?;
        sync(&self.folder)?;
        tracing::info!(from = %old.display(), to = %new.display(), "home renamed after its owner");
        Ok(())
    }

    /// Owner of the home `name`, if there is one.
    pub fn there(&self, name: &UserName) -> Result<Option<Uid>, HomeError> {
        Ok(owner_at(&self.folder_of(name))?.map(Uid))
    }

    /// The home `name` for restoring, made if it is missing. `account` is the number of the account of ours of that name,
    /// `archived` the one that the backup names: it counts only where no account of ours can have it. `None` if the home
    /// would be nobody's.
    pub fn target(
        &self,
        name: &UserName,
        account: Option<Uid>,
        archived: Uid,
    ) -> Result<Option<HomeTarget>, HomeError> {
        let _moving = self.lock();
        let root = self.folder_of(name);
        let there = owner_at(&root)?;
        let foreign = |uid: &u32| !is_local(*uid) && *uid >= FIRST_FOREIGN;
        let uid = account.map(|uid| uid.0).or(there.filter(foreign)).or(Some(archived.0).filter(foreign));
        let Some(uid) = uid.map(Uid) else { return Ok(None) };
        let gid = uid.own_group();
        match there {
            Some(owner) if owner == uid.0 => {}
            Some(owner) => {
                return Err(HomeError::NotTheirs { folder: root, owner, name: name.clone(), uid: uid.0 });
            }
            None => self.make(name, uid, gid, &root)?,
        }
        Ok(Some(HomeTarget { root, uid, gid }))
    }

    fn make(&self, name: &UserName, uid: Uid, gid: Gid, root: &Path) -> Result<(), HomeError> {
        // Owner and mode are right before it has its name.
        let making = self.folder.join(format!(".making-{uid}"));
        match DirBuilder::new().mode(0o700).create(&making) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(file(&making, "made")(error));
            }
            Ok(()) | Err(_) => {}
        }
        if self.gives {
            std::os::unix::fs::chown(&making, Some(uid.0), Some(gid.0))
                .map_err(file(&making, "given to its owner"))?;
        }
        self.begin_project(&making, uid);
        fs::rename(&making, root).map_err(file(root, "made"))?;
        sync(&self.folder)?;
        tracing::info!(account = %name, "home made");
        Ok(())
    }

    /// As [`owner_at`], for the home of `whose`: where homes stay the daemon's own, one of its own is theirs.
    fn owner_at(&self, root: &Path, whose: Uid) -> Result<Option<u32>, HomeError> {
        let ours = |owner: u32| !self.gives && owner == nix::unistd::geteuid().as_raw();
        Ok(owner_at(root)?.map(|owner| if ours(owner) { whose.0 } else { owner }))
    }

    /// Whether people are accounts of ours, and not those of a directory.
    fn are_ours(&self) -> bool {
        self.config.borrow().accounts.source == Source::Local
    }

    fn folder_of(&self, name: &UserName) -> PathBuf {
        self.folder.join(name.as_str())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes `folder`, which nobody may look into, unless it is there.
///
/// Names of homes are names of people: others may pass through, as the kernel needs it, and not list.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(folder)
}

/// Owner of the folder at `path`; `None` if nothing is there.
fn owner_at(path: &Path) -> Result<Option<u32>, HomeError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Some(meta.uid())),
        Ok(_) => Err(HomeError::NoFolder { folder: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file(path, "looked at")(error)),
    }
}

/// Gives the entries of `folder` to the disk.
fn sync(folder: &Path) -> Result<(), HomeError> {
    fs::File::open(folder).and_then(|file| file.sync_all()).map_err(file(folder, "written to the disk"))
}

fn file(folder: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> HomeError {
    let folder = folder.to_owned();
    move |source| HomeError::File { folder, doing, source }
}

#[cfg(test)]
mod tests;

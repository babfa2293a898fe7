//! Restores an archive, which may be anybody's work: names lead nowhere but into the trees they are of, owners are those
//! of the homes and not those that the archive says, and there are no devices, no setuid and no attributes of the system.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{
    ACCOUNTS, BackupError, Backups, END, End, FORMAT, HEAD, Head, RestoreRequest, SETTINGS, count, file,
};
use crate::service::accounts::password;
use crate::service::homes::HomeTarget;
use crate::service::images::archive::{Archive, ArchiveError, Entry, Kind};
use crate::service::images::plant::Planter;
use crate::service::jobs::Task;
use crate::service::shares::NOBODY;
use crate::store::backup::{Loaded, PeopleRows};
use crate::types::{ShareName, Uid, UserName, limits};

/// Where an entry belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tree {
    Home(UserName),
    Share(ShareName),
}

/// A tree that is being written: whose everything in it becomes.
struct Planting {
    planter: Planter,
    owner: (u32, u32),
}

/// What has been done so far.
#[derive(Default)]
struct Done {
    accounts: Option<usize>,
    settings: Option<PathBuf>,
    /// `None` for a tree that is not restored.
    trees: BTreeMap<Tree, Option<Planting>>,
    files: u64,
    /// Homes without an account, shares without a section of the configuration.
    without: Vec<String>,
    refused: u64,
    left_out: u64,
}

impl Backups {
    pub(super) fn run_restore(
        &self,
        input: &mut dyn Read,
        request: &RestoreRequest,
        task: &Task,
    ) -> Result<String, BackupError> {
        let size = std::fs::metadata(&request.from).map_or(0, |meta| meta.len());
        task.phase("restoring", size)?;
        let not_ours = || BackupError::NotOurs(request.from.clone());
        let mut archive = Archive::new(input);
        let first = archive.next_entry().map_err(|error| match error {
            ArchiveError::Read { .. } | ArchiveError::Cancelled(_) => error.into(),
            _ => not_ours(),
        })?;
        let first = first.filter(|entry| entry.path == Path::new(HEAD)).ok_or_else(not_ours)?;
        let head: Head = note(&mut archive, &first, HEAD)?;
        if head.format > FORMAT {
            return Err(BackupError::Newer(head.bramble));
        }
        let mut done = Done::default();
        let ended = self.entries(&mut archive, request, &mut done, task);
        // What was written stays, also if the rest was not: it is whole, with its owners and times.
        task.phase("writing to the disk", 0)
            .or_else(|stopped| if ended.is_err() { Ok(()) } else { Err(stopped) })?;
        let mut trees = 0;
        for planting in std::mem::take(&mut done.trees).into_values().flatten() {
            planting.planter.finish()?;
            trees += 1;
        }
        ended.map_err(|error| match error {
            BackupError::Archive(ArchiveError::Truncated(_)) => BackupError::NoEnd,
            other => other,
        })?;
        if let Some(name) = request.home.as_ref().filter(|_| trees == 0) {
            return Err(BackupError::NotInIt(name.clone()));
        }
        Ok(done.told(trees, &head, &self.settings))
    }

    fn entries(
        &self,
        archive: &mut Archive<'_>,
        request: &RestoreRequest,
        done: &mut Done,
        task: &Task,
    ) -> Result<(), BackupError> {
        while let Some(entry) = archive.next_entry()? {
            task.go_on()?;
            if entry.path == Path::new(END) {
                let end: End = note(archive, &entry, END)?;
                done.left_out = end.left_out;
                return Ok(());
            }
            if entry.path == Path::new(ACCOUNTS) || entry.path == Path::new(SETTINGS) {
                if request.home.is_none() {
                    self.facts(archive, &entry, done)?;
                }
                continue;
            }
            let (tree, below) = place(&entry.path).ok_or_else(|| BackupError::Strange(entry.path.clone()))?;
            if request.home.as_ref().is_some_and(|name| tree != Tree::Home(name.clone())) {
                continue;
            }
            if !done.trees.contains_key(&tree) {
                let planting = self.begin(&tree, entry.meta.uid, done)?;
                done.trees.insert(tree.clone(), planting);
            }
            let Some(Some(planting)) = done.trees.get_mut(&tree) else { continue };
            let Some(entry) = harmless(entry, below, &tree, planting.owner)? else {
                done.refused += 1;
                continue;
            };
            if !matches!(entry.kind, Kind::Folder) {
                done.files += 1;
            }
            archive.plant(&entry, &mut planting.planter, task)?;
        }
        Err(BackupError::NoEnd)
    }

    fn facts(&self, archive: &mut Archive<'_>, entry: &Entry, done: &mut Done) -> Result<(), BackupError> {
        if entry.path == Path::new(ACCOUNTS) {
            let people: PeopleRows = note(archive, entry, ACCOUNTS)?;
            let bearable = |hash: &str| password::accept(hash).map(drop).map_err(|bad| bad.to_string());
            match self.store.people_load(&people, bearable)? {
                Loaded::Done { accounts, .. } => {
                    self.accounts.restored()?;
                    done.accounts = Some(accounts);
                }
                Loaded::Refused(clashes) => return Err(BackupError::Clash(clashes.join("\n"))),
            }
            return Ok(());
        }
        // Another router has other networks: a person takes over what fits.
        let path = self.data.join("restored-config");
        let text = archive.small(entry, limits::BACKUP_NOTE)?;
        std::fs::write(&path, text).map_err(file(&path, "written"))?;
        done.settings = Some(path);
        Ok(())
    }

    /// Opens the folder of a tree. `None` if there is nobody here whose it could be.
    fn begin(&self, tree: &Tree, uid: u32, done: &mut Done) -> Result<Option<Planting>, BackupError> {
        let (root, owner) = match tree {
            Tree::Home(name) => {
                let known = self.store.account_uid(name)?;
                let Some(HomeTarget { root, uid, gid }) = self.homes.target(name, known, Uid(uid))? else {
                    done.without.push(format!("the home `{name}` (there is no such account)"));
                    return Ok(None);
                };
                (root, (uid.0, gid.0))
            }
            Tree::Share(name) => {
                let Some(root) = self.shares.target(name)? else {
                    done.without.push(format!("the share `{name}` (the configuration has no such section)"));
                    return Ok(None);
                };
                (root, (NOBODY.0.0, NOBODY.1.0))
            }
        };
        let planter = Planter::new(&root).map_err(file(&root, "opened"))?;
        Ok(Some(Planting { planter, owner }))
    }
}

impl Done {
    fn told(&self, trees: u64, head: &Head, settings: &Path) -> String {
        let mut says = format!(
            "{} in {}, as of {} UTC",
            count(self.files, "file"),
            if trees == 1 { "one home or share".to_owned() } else { format!("{trees} homes and shares") },
            head.made_at
        );
        if let Some(accounts) = self.accounts {
            let _ = write!(says, "; {}", count(accounts.try_into().unwrap_or(u64::MAX), "account"));
        }
        if let Some(since) = head.since {
            let _ = write!(
                says,
                "\nThis backup has only what changed since {since} UTC: restore the one before it first, then this one again."
            );
        }
        if let Some(path) = &self.settings {
            let (path, settings) = (path.display(), settings.display());
            let _ = write!(
                says,
                "\nThe settings of then are in `{path}`. Compare them with {settings}, and take over what fits."
            );
        }
        for without in &self.without {
            let _ = write!(says, "\nNot restored: {without}.");
        }
        if self.refused > 0 {
            let _ =
                write!(says, "\nLeft out, because a home has no devices: {}.", count(self.refused, "device"));
        }
        if self.left_out > 0 {
            let _ = write!(
                says,
                "\nNot in the backup, because it could not be read then: {}.",
                count(self.left_out, "file")
            );
        }
        says
    }
}

/// A small entry of ours.
fn note<T: DeserializeOwned>(
    archive: &mut Archive<'_>,
    entry: &Entry,
    name: &'static str,
) -> Result<T, BackupError> {
    let text = archive.small(entry, limits::BACKUP_NOTE)?;
    serde_json::from_slice(&text).map_err(|error| BackupError::Entry(name, error))
}

/// The tree of an entry, and its path there. The path has neither `..` nor a leading `/`: the reader refuses those.
fn place(path: &Path) -> Option<(Tree, PathBuf)> {
    let mut parts = path.components();
    let mut part = || match parts.next()? {
        Component::Normal(part) => part.to_str(),
        _ => None,
    };
    let tree = match part()? {
        "homes" => Tree::Home(part()?.parse().ok()?),
        "shares" => Tree::Share(part()?.parse().ok()?),
        _ => return None,
    };
    Some((tree, parts.as_path().to_owned()))
}

/// The entry as it may be written: at `below` in its tree, and its owner's. `None` for what nobody has in a home.
fn harmless(
    mut entry: Entry,
    below: PathBuf,
    tree: &Tree,
    owner: (u32, u32),
) -> Result<Option<Entry>, BackupError> {
    use crate::service::images::plant::Node;
    let strange = BackupError::Strange(entry.path.clone());
    match &mut entry.kind {
        Kind::Node(Node::Char(..) | Node::Block(..) | Node::Socket) => return Ok(None),
        Kind::HardLink(target) => match place(target) {
            Some((other, inside)) if other == *tree => *target = inside,
            _ => return Err(strange),
        },
        // The root of a tree is a folder and stays one.
        Kind::Folder => {}
        _ if below.as_os_str().is_empty() => return Err(strange),
        Kind::Node(_) | Kind::File { .. } | Kind::Symlink(_) => {}
    }
    entry.path = below;
    (entry.meta.uid, entry.meta.gid) = owner;
    entry.meta.mode &= 0o1777;
    if entry.path.as_os_str().is_empty() {
        // Nobody else looks into a home; a share is open to whom it is granted.
        entry.meta.mode = if matches!(tree, Tree::Home(_)) { 0o700 } else { 0o755 };
    }
    entry.meta.xattrs.retain(|(name, _)| name.as_encoded_bytes().starts_with(b"user."));
    Ok(Some(entry))
}

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
use crate::store::{Store, StoreError};
use crate::sys::acting::can_act;
use crate::sys::random::random;
use crate::types::{ClassName, Gid, MacAddr, Person, Role, ShareName, Uid, UserName, chain};

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
}

/// One share as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareSummary {
    pub name: ShareName,
    pub access: ShareAccess,
    /// Who sees it; empty for everybody.
    pub classes: Vec<ClassName>,
    pub path: PathBuf,
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
    pub fn list(&self) -> Vec<ShareSummary> {
        let config = Arc::clone(&self.config.borrow());
        let summary = |share: &Share| ShareSummary {
            name: share.name.clone(),
            access: share.access,
            classes: share.classes.clone(),
            path: self.folder_of(share),
            problem: problem(share),
        };
        let mut list: Vec<ShareSummary> = config.shares.iter().map(summary).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// An account was renamed: what it handed in goes with it.
    pub fn rename(&self, from: &UserName, to: &UserName) {
        self.each_box(from, |folder| folder.join(to.as_str()));
    }

    /// An account is gone: what it handed in stays for teachers, under a name that no later account can have.
    pub fn retire(&self, name: &UserName, uid: Uid) {
        self.each_box(name, |folder| folder.join(format!("{name}.{uid}")));
    }

    /// Renames the folder of `name` in every hand-in share, unless the new name is taken.
    fn each_box(&self, name: &UserName, new: impl Fn(&Path) -> PathBuf) {
        let config = Arc::clone(&self.config.borrow());
        for share in config.shares.iter().filter(|share| share.access == ShareAccess::HandIn) {
            let folder = self.folder_of(share);
            let (old, new) = (folder.join(name.as_str()), new(&folder));
            let is_box = fs::symlink_metadata(&old).is_ok_and(|meta| meta.is_dir());
            if !is_box || fs::symlink_metadata(&new).is_ok() {
                continue;
            }
            let noted = self.store.hand_in_box_owner(&share.name, name.as_str());
            let moved =
                noted.map_err(ShareError::from).and_then(|owner| self.move_box(share, &old, &new, owner));
            if let Err(error) = moved {
                let error = chain(&error);
                tracing::warn!(share = %share.name, account = %name, error, "what was handed in was not renamed");
            }
        }
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
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::load::{Source, Sources, from_sources};
    use crate::types::FullName;

    const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);

    fn config(shares: &str) -> Arc<Config> {
        let network = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '10.0.0.1/24'\n";
        let text = format!("config bramble 'main'\n\toption data '/mnt/x'\n{shares}\n");
        let source = |text: &str| Source { name: "x".to_owned(), text: Some(text.as_bytes().to_vec()) };
        let sources = Sources {
            bramble: source(&text),
            network: source(network),
            dhcp: source(""),
            system: source(""),
        };
        Arc::new(from_sources(&sources).expect("right"))
    }

    fn person(name: &str, role: Role, class: &str) -> Person {
        Person {
            name: name.parse().expect("a name"),
            uid: Uid(10_000 + u32::from(name.as_bytes()[0])),
            gid: Gid(10_000),
            full_name: FullName::default(),
            role,
            classes: vec![(class.parse().expect("a class"), Gid(100_000))],
            must_change: false,
        }
    }

    /// `None` where folders cannot be given away.
    fn shares(text: &str) -> Option<(tempfile::TempDir, Shares)> {
        let folder = tempfile::tempdir().expect("a folder");
        chown(folder.path(), Some(0), Some(65_534)).ok()?;
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let shares =
            Shares::open(folder.path(), store, watch::Sender::new(config(text)).subscribe()).expect("opened");
        Some((folder, shares))
    }

    #[test]
    fn who_sees_a_share_and_what_they_may_do() {
        use ShareAccess::{HandIn, Read, Write};
        let share = |access, classes: &[&str]| Share {
            name: "x".parse().expect("a name"),
            access,
            classes: classes.iter().map(|class| class.parse().expect("a class")).collect(),
            path: None,
        };
        #[rustfmt::skip]
        let rows = [
            // access, classes,         role,          right
            (Read,     &[][..],         Role::Pupil,   Some(ShareRight::Read)),
            (Write,    &[],             Role::Pupil,   Some(ShareRight::Write)),
            (HandIn,   &[],             Role::Pupil,   Some(ShareRight::HandIn)),
            (Read,     &["c7a", "c7b"], Role::Pupil,   Some(ShareRight::Read)),
            (Write,    &["c8a"],        Role::Pupil,   None),
            (Read,     &["c8a"],        Role::Teacher, Some(ShareRight::Write)),
            (HandIn,   &[],             Role::Teacher, Some(ShareRight::Write)),
        ];
        for (access, classes, role, expected) in rows {
            let found = right(&share(access, classes), &person("anna", role, "c7b"));
            assert_eq!(found, expected, "{access:?} {classes:?} {role:?}");
        }
    }

    #[test]
    fn what_was_handed_in_follows_a_name_and_is_never_inherited() {
        let text = "config share 'essays'\n\toption access 'handin'\nconfig share 'films'\n\toption access 'write'\n";
        let Some((folder, shares)) = shares(text) else { return };
        let (anna, ben) = (person("anna", Role::Pupil, "c7b"), person("ben", Role::Pupil, "c7b"));
        for person in [&anna, &ben] {
            shares.for_person(person, PI).expect("granted");
        }
        fs::create_dir(folder.path().join("shares/films/anna")).expect("a folder that a class made");
        let essays = folder.path().join("shares/essays");
        fs::write(essays.join("anna/essay"), "x").expect("handed in");
        let eva: UserName = "eva".parse().expect("a name");
        shares.rename(&anna.name, &ben.name);
        assert!(essays.join("anna/essay").exists(), "nothing is put over another's");
        shares.rename(&anna.name, &eva);
        assert!(essays.join("eva/essay").exists() && !essays.join("anna").exists());
        shares.retire(&eva, Uid(10_009));
        shares.retire(&eva, Uid(10_009));
        assert!(essays.join("eva.10009/essay").exists() && !essays.join("eva").exists());
        assert!(folder.path().join("shares/films/anna").exists());
    }

    #[test]
    fn a_later_pupil_of_the_same_name_gets_another_box() {
        let Some((folder, shares)) = shares("config share 'essays'\n\toption access 'handin'\n") else {
            return;
        };
        let pupil = |name: &str, uid: u32| Person { uid: Uid(uid), ..person(name, Role::Pupil, "c7b") };
        let essays = folder.path().join("shares/essays");
        let box_of = |person: &Person| shares.for_person(person, PI).expect("granted").remove(0).root;
        let holds = |path: &str| fs::read_to_string(essays.join(path)).ok();
        // Nobody says that people of a directory have gone or have another name.
        let first = pupil("anna", 5001);
        fs::write(box_of(&first).join("essay"), "of the first").expect("handed in");
        assert_eq!(box_of(&first), essays.join("anna"));
        assert!(holds("anna/essay").is_some(), "it stays where it is");
        let second = pupil("anna", 5002);
        fs::write(box_of(&second).join("essay"), "of the second").expect("handed in");
        assert_eq!(box_of(&second), essays.join("anna"));
        assert_eq!(holds("anna.5001/essay").as_deref(), Some("of the first"), "for teachers");
        assert_eq!(holds("anna/essay").as_deref(), Some("of the second"));

        // Whoever has another name finds what they handed in, where nobody else can have their number.
        let local = box_of(&pupil("ben", 10_002));
        fs::write(local.join("essay"), "ben's").expect("handed in");
        box_of(&pupil("bert", 10_002));
        assert_eq!(holds("bert/essay").as_deref(), Some("ben's"));
        assert!(fs::read_dir(box_of(&pupil("ben", 10_003))).expect("a box").next().is_none());
        fs::write(box_of(&pupil("carl", 5003)).join("essay"), "carl's").expect("handed in");
        assert!(fs::read_dir(box_of(&pupil("cleo", 5003))).expect("a box").next().is_none());
        assert_eq!(holds("carl.5003/essay").as_deref(), Some("carl's"));

        // What accounts of ours tell of is noted too.
        shares.retire(&"bert".parse().expect("a name"), Uid(10_002));
        let later = box_of(&pupil("bert", 10_004));
        fs::write(later.join("essay"), "of the later bert").expect("handed in");
        assert_eq!(box_of(&pupil("bert", 10_004)), later);
        assert_eq!(holds("bert.10002/essay").as_deref(), Some("ben's"));
        assert_eq!(holds("bert/essay").as_deref(), Some("of the later bert"));
    }

    #[test]
    fn each_pupil_hands_in_to_a_tree_of_their_own() {
        let text = "config share 'essays'\n\toption access 'handin'\nconfig share 'films'\n";
        let Some((folder, shares)) = shares(text) else { return };
        let for_person = |person: &Person| shares.for_person(person, PI).expect("granted");
        let anna = for_person(&person("anna", Role::Pupil, "c7b"));
        let ben = for_person(&person("ben", Role::Pupil, "c7b"));
        let teacher = for_person(&person("maier", Role::Teacher, "staff"));
        let essays = folder.path().join("shares/essays");
        assert_eq!(
            [&anna[0].root, &ben[0].root, &teacher[0].root],
            [&essays.join("anna"), &essays.join("ben"), &essays]
        );
        assert_eq!((anna[0].path.as_str(), anna[0].right), ("/share/essays", ShareRight::HandIn));
        assert!(anna[0].id != ben[0].id && anna[0].id != teacher[0].id && anna[0].nonce != ben[0].nonce);
        assert_eq!(anna[1], ben[1].clone(), "a share that is not divided is one tree");
        assert_eq!(for_person(&person("anna", Role::Pupil, "c7b")), anna, "the same after a restart");
        let meta = fs::metadata(essays.join("anna")).expect("there");
        assert_eq!((meta.uid(), meta.gid(), meta.permissions().mode() & 0o777), (65_534, 65_534, 0o755));
        let above = fs::metadata(folder.path().join("shares")).expect("there");
        assert_eq!(above.permissions().mode() & 0o777, 0o700, "nobody but root passes through");
    }

    #[test]
    fn a_link_made_inside_a_hand_in_share_leads_nowhere() {
        let text = "config share 'essays'\n\toption access 'handin'\nconfig share 'films'\n";
        let Some((folder, shares)) = shares(text) else { return };
        let anna = person("anna", Role::Pupil, "c7b");
        fs::create_dir_all(folder.path().join("shares/essays")).expect("made");
        symlink("/etc", folder.path().join("shares/essays/anna")).expect("linked");
        let grants = shares.for_person(&anna, PI).expect("the rest is granted");
        assert_eq!(grants.iter().map(|grant| grant.name.as_str()).collect::<Vec<_>>(), ["films"]);
        assert_eq!(fs::metadata("/etc").expect("there").uid(), 0, "and /etc was not given away");
    }

    #[test]
    fn a_folder_of_the_administrators_is_looked_at_and_left_alone() {
        let own = tempfile::tempdir().expect("a folder");
        let path = own.path().join("films");
        let text = format!("config share 'films'\n\toption path '{}'\n", path.display());
        let Some((_folder, shares)) = shares(&text) else { return };
        let problem = || shares.list().remove(0).problem;
        let shown = path.display();
        assert_eq!(
            problem(),
            Some(format!(
                "`{shown}` cannot be used (No such file or directory (os error 2)); make it, or mount its disk"
            ))
        );
        assert_eq!(shares.for_person(&person("anna", Role::Pupil, "c7b"), PI).expect("granted"), []);
        DirBuilder::new().mode(0o700).create(&path).expect("made");
        assert!(problem().is_some_and(|says| says.contains("cannot be read by user 65534")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("opened");
        assert!(problem().is_some_and(|says| says.contains("cannot be written by user 65534")));
        chown(&path, Some(65_534), None).expect("given away");
        assert_eq!(problem(), None);
        assert_eq!(
            shares.for_person(&person("anna", Role::Pupil, "c7b"), PI).expect("granted")[0].root,
            path
        );
    }
}

//! Files copied into a draft, and out of a draft or a version.
//!
//! Paths are followed inside the tree only: a link in it leads where it would lead on a client ([`inside`]), and a link that
//! stands where something is to be copied is replaced, not followed. What is copied is files, folders and links; whatever
//! else is in a folder (devices, sockets) is left out and counted.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, ResolveFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{getegid, geteuid};

use super::copy::{CopyError, Met, Walk, What, attributes, content, meta, read};
use super::inside::Inside;
use super::plant::{Meta, PlantError, Planter};
use crate::service::jobs::Task;
use crate::sys::inside;
use crate::types::{BadImageRef, ImageRef, limits};

/// A file or folder in an image: `trixie:/etc/hosts`, `trixie@3:/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub image: ImageRef,
    /// Relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// Whether it was written with a slash at its end: then it is a folder.
    pub is_folder: bool,
}

/// The text is no place in an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    #[error("`{0}` is no place in an image; write its name, a colon and a path, such as `trixie:/etc/hosts`")]
    NoPlace(String),
    #[error(transparent)]
    Image(#[from] BadImageRef),
    #[error("`{0}` leads upwards; write the path without `..`")]
    Upwards(String),
}

impl Place {
    /// Whether `text` is meant as one, rather than as a path of this machine.
    pub fn is_meant(text: &str) -> bool {
        text.split_once(':').is_some_and(|(image, _)| !image.contains('/'))
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let shown = || text.chars().take(limits::NAME_SHOWN).collect();
        let (image, path) = text.split_once(':').ok_or_else(|| BadPlace::NoPlace(shown()))?;
        let image = image.parse()?;
        let is_folder = path.is_empty() || path.ends_with('/');
        let mut clean = PathBuf::new();
        for part in Path::new(path).components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::RootDir | Component::CurDir => {}
                _ => return Err(BadPlace::Upwards(shown())),
            }
        }
        Ok(Self { image, path: clean, is_folder })
    }
}

/// Whose the copies are, and what may be done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// As in the image's own list of users, or numbers.
    pub owner: Option<Owner>,
    /// Of files; folders can be entered by whoever may read them.
    pub mode: Option<Bits>,
}

/// `USER`, `USER:GROUP` or `:GROUP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    user: Option<String>,
    group: Option<String>,
}

/// Permission bits, as `chmod` takes them in digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(u32);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no owner; write a user, or a user and a group, such as `www-data` or `1000:1000`")]
pub struct BadOwner(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` are no permissions; write three or four octal digits, such as `0644`")]
pub struct BadBits(String);

impl FromStr for Owner {
    type Err = BadOwner;

    fn from_str(text: &str) -> Result<Self, BadOwner> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let plain = |name: &str| !name.contains([':', '/']) && !name.chars().any(char::is_control);
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let owner = Self { user: some(user), group: group.and_then(some) };
        let fits = plain(user) && group.is_none_or(plain) && owner != Self { user: None, group: None };
        if fits { Ok(owner) } else { Err(BadOwner(text.chars().take(limits::NAME_SHOWN).collect())) }
    }
}

impl FromStr for Bits {
    type Err = BadBits;

    fn from_str(text: &str) -> Result<Self, BadBits> {
        let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| digits).map(Self);
        bits.ok_or_else(|| BadBits(text.chars().take(limits::NAME_SHOWN).collect()))
    }
}

/// Why nothing, or not all, was copied.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("`{}` cannot be read", path.display())]
    Source {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is neither a file nor a folder", .0.display())]
    Odd(PathBuf),
    #[error("there is no folder `{}`", .0.display())]
    NoFolder(PathBuf),
    #[error("the image knows no {kind} `{name}`; give the number")]
    Unknown { kind: &'static str, name: String },
    #[error(transparent)]
    Copy(#[from] CopyError),
}

impl From<PlantError> for FilesError {
    fn from(error: PlantError) -> Self {
        Self::Copy(error.into())
    }
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub bytes: u64,
    /// Devices, sockets and such.
    pub left_out: u64,
    /// Where the one file or folder that was named is now.
    pub at: PathBuf,
}

const IN_ROOT: ResolveFlag = ResolveFlag::RESOLVE_IN_ROOT.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

/// Copies `from`, a file or folder of this machine, into the tree at `draft`.
///
/// A folder that is there takes it in under its own name; a folder with the same name is filled, a file replaced. A file that
/// replaces another gets that one's owner and mode, everything else is root's with the mode it had.
pub fn put(draft: &Path, from: &Path, to: &Place, wanted: &Wanted) -> Result<Copied, FilesError> {
    let source = |source| FilesError::Source { path: from.to_owned(), source };
    let about = std::fs::metadata(from).map_err(source)?;
    if !about.is_file() && !about.is_dir() {
        return Err(FilesError::Odd(from.to_owned()));
    }
    let top = open_top(draft)?;
    let at = target(&top, &to.path, to.is_folder, from.file_name())?;
    let (uid, gid) =
        wanted.owner.as_ref().map(|owner| owner.numbers(draft)).transpose()?.unwrap_or((None, None));
    let shape = |path: &Path, stat: &FileStat, xattrs| {
        let mut shaped = meta(stat, xattrs);
        (shaped.uid, shaped.gid) = (0, 0);
        if let Some(before) = stat_at(&top, path).filter(|before| kind(before) == kind(stat)) {
            (shaped.uid, shaped.gid, shaped.mode) = (before.st_uid, before.st_gid, before.st_mode & 0o7777);
        }
        shaped.uid = uid.unwrap_or(shaped.uid);
        shaped.gid = gid.unwrap_or(shaped.gid);
        if let Some(Bits(bits)) = wanted.mode {
            shaped.mode = if kind(stat) == SFlag::S_IFDIR { bits | (bits & 0o444) >> 2 } else { bits };
        }
        shaped
    };
    let planter = Planter::new(draft).map_err(source)?;
    plant(planter, from, &at, about.is_dir(), &shape, Some(&top))
}

/// Copies `from` in the tree at `tree` to `to` on this machine. The copies belong to whoever calls, cannot make anybody
/// another user, and lose their extended attributes.
pub fn get(tree: &Path, from: &Place, to: &Path) -> Result<Copied, FilesError> {
    let there =
        |source: Errno| FilesError::Source { path: Path::new("/").join(&from.path), source: source.into() };
    let top = open_top(tree)?;
    let inner = if from.path.as_os_str().is_empty() { Path::new(".") } else { &from.path };
    let found = inside::open(&top, inner, OFlag::O_RDONLY | OFlag::O_NONBLOCK, IN_ROOT).map_err(there)?;
    let about = File::from(found.try_clone().map_err(|error| there(errno(&error)))?);
    let about = about.metadata().map_err(|error| there(errno(&error)))?;
    if !about.is_file() && !about.is_dir() {
        return Err(FilesError::Odd(Path::new("/").join(&from.path)));
    }
    let asks_folder = to.as_os_str().as_bytes().ends_with(b"/") || to.is_dir();
    let to = match (asks_folder, from.path.file_name()) {
        (true, Some(name)) => to.join(name),
        _ => to.to_owned(),
    };
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(FilesError::NoFolder(folder.to_owned()));
    }
    let source = |source| FilesError::Source { path: folder.to_owned(), source };
    let name = to.file_name().map(PathBuf::from).ok_or_else(|| FilesError::NoFolder(to.clone()))?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let shape = |_: &Path, stat: &FileStat, _| Meta {
        mode: stat.st_mode & 0o777,
        uid,
        gid,
        ..meta(stat, Vec::new())
    };
    let planter = Planter::new(folder).map_err(source)?;
    let open = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let copied = plant(planter, &open, &name, about.is_dir(), &shape, None)?;
    Ok(Copied { at: to, ..copied })
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn open_top(tree: &Path) -> Result<OwnedFd, FilesError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, tree, flags, Mode::empty())
        .map_err(|source| FilesError::Source { path: tree.to_owned(), source: source.into() })
}

/// Where in the tree a copy goes that was asked for at `to`.
fn target(top: &OwnedFd, to: &Path, asks_folder: bool, name: Option<&OsStr>) -> Result<PathBuf, FilesError> {
    let is_folder = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        inside::open(top, path, OFlag::O_PATH | OFlag::O_DIRECTORY, IN_ROOT).is_ok()
    };
    let no_folder = |path: &Path| FilesError::NoFolder(Path::new("/").join(path));
    if is_folder(to) {
        return Ok(name.map_or_else(|| to.to_owned(), |name| to.join(name)));
    }
    let parent = to.parent().unwrap_or(Path::new(""));
    if asks_folder || !is_folder(parent) {
        return Err(no_folder(if asks_folder { to } else { parent }));
    }
    Ok(to.to_owned())
}

/// What stands at `path` itself; its folder may be reached by links.
fn stat_at(top: &OwnedFd, path: &Path) -> Option<FileStat> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = inside::open(top, parent, OFlag::O_PATH | OFlag::O_DIRECTORY, IN_ROOT).ok()?;
    fstatat(&folder, path.file_name()?, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

type Shape<'a> = dyn Fn(&Path, &FileStat, Vec<(std::ffi::OsString, Vec<u8>)>) -> Meta + 'a;

/// Copies `from` to `at` below the planter's root. Folders of `filled` that are there keep what they are.
fn plant(
    mut planter: Planter,
    from: &Path,
    at: &Path,
    is_folder: bool,
    shape: &Shape<'_>,
    filled: Option<&OwnedFd>,
) -> Result<Copied, FilesError> {
    let task = Task::unwatched();
    let mut buffer = vec![0; 64 * 1024];
    let mut copied = Copied { at: at.to_owned(), ..Copied::default() };
    if is_folder {
        Walk::new(&task).all(from, &mut |met| {
            let Met { path, folder, stat, what, .. } = met;
            let to = if path.as_os_str().is_empty() { at.to_owned() } else { at.join(path) };
            match what {
                What::Folder(inside) => {
                    let there = filled
                        .and_then(|top| stat_at(top, &to))
                        .is_some_and(|there| kind(&there) == SFlag::S_IFDIR);
                    if !there {
                        planter.folder(&to, shape(&to, &stat, attributes(inside)))?;
                    }
                }
                What::Symlink(target) => planter.symlink(&to, &target, &shape(&to, &stat, Vec::new()))?,
                What::HardLink(first) => planter.hard_link(&to, &at.join(first))?,
                What::Node(_) => copied.left_out += 1,
                What::File => {
                    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    let name = path.file_name().unwrap_or_default();
                    let file = File::from(openat(folder, name, flags, Mode::empty()).map_err(read(path))?);
                    let size = u64::try_from(stat.st_size).unwrap_or(0);
                    let meta = shape(&to, &stat, attributes(&file));
                    content(&file, &to, size, &mut planter, &meta, &task, &mut buffer)?;
                }
            }
            Ok(true)
        })?;
    } else {
        let source = |source| FilesError::Source { path: from.to_owned(), source };
        let file = File::open(from).map_err(source)?;
        let stat = nix::sys::stat::fstat(&file).map_err(|error| source(error.into()))?;
        let size = file.metadata().map_err(source)?.size();
        let meta = shape(at, &stat, attributes(&file));
        content(&file, at, size, &mut planter, &meta, &task, &mut buffer)?;
    }
    let planted = planter.finish()?;
    Ok(Copied { files: planted.files, bytes: planted.bytes, ..copied })
}

impl Owner {
    /// Numbers of user and group, by the image's own lists. A user without a group brings their own.
    fn numbers(&self, tree: &Path) -> Result<(Option<u32>, Option<u32>), FilesError> {
        let inside =
            Inside::new(tree).map_err(|source| FilesError::Source { path: tree.to_owned(), source })?;
        let lines = |path: &str| inside.text(path, limits::ACCOUNT_LIST).unwrap_or_default();
        let find = |kind, path, name: &str, column: usize| {
            let text = lines(path);
            let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let found = line.into_iter().find(|fields| fields.first() == Some(&name));
            let number = found.and_then(|fields| fields.get(column)?.parse().ok());
            number.ok_or_else(|| FilesError::Unknown { kind, name: name.to_owned() })
        };
        let (mut uid, mut gid) = (None, None);
        if let Some(user) = &self.user {
            uid = Some(user.parse().or_else(|_| find("user", "etc/passwd", user, 2))?);
            gid = find("user", "etc/passwd", user, 3).ok();
        }
        if let Some(group) = &self.group {
            gid = Some(group.parse().or_else(|_| find("group", "etc/group", group, 2))?);
        }
        Ok((uid, gid))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn place(text: &str) -> Place {
        text.parse().expect("a place")
    }

    struct Trees {
        dir: tempfile::TempDir,
        draft: PathBuf,
    }

    impl Trees {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let draft = dir.path().join("draft");
            std::fs::create_dir_all(draft.join("etc")).expect("made");
            std::fs::create_dir_all(draft.join("usr/lib")).expect("made");
            symlink("usr/lib", draft.join("lib")).expect("linked");
            symlink("/etc", draft.join("settings")).expect("linked");
            symlink(dir.path(), draft.join("out")).expect("linked");
            std::fs::write(draft.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nwww-data:x:33:34::/:/bin/sh\n")
                .expect("written");
            std::fs::write(draft.join("etc/group"), "root:x:0:\nvideo:x:44:\n").expect("written");
            std::fs::write(dir.path().join("file"), "new").expect("written");
            Self { dir, draft }
        }

        fn put(&self, from: &str, to: &str) -> Result<PathBuf, String> {
            let put = put(&self.draft, &self.dir.path().join(from), &place(to), &Wanted::default());
            put.map(|copied| copied.at).map_err(|error| crate::types::chain(&error))
        }

        fn read(&self, path: &str) -> String {
            std::fs::read_to_string(self.draft.join(path)).expect("there")
        }
    }

    #[test]
    fn places_are_told_from_paths() {
        assert_eq!(place("trixie:/etc//hosts").path, Path::new("etc/hosts"));
        assert_eq!(place("trixie@3:/").path, Path::new(""));
        assert!(place("trixie:etc/").is_folder && !place("trixie:/etc").is_folder);
        for (text, meant) in [
            ("trixie:/x", true),
            ("./trixie:/x", false),
            ("/mnt/a:b", false),
            ("file", false),
            ("x@1:", true),
        ] {
            assert_eq!(Place::is_meant(text), meant, "{text}");
        }
        assert_eq!(
            "trixie:/etc/../../x".parse::<Place>().expect_err("upwards").to_string(),
            "`trixie:/etc/../../x` leads upwards; write the path without `..`"
        );
        assert_eq!(
            "hosts".parse::<Place>().expect_err("no place").to_string(),
            "`hosts` is no place in an image; write its name, a colon and a path, such as `trixie:/etc/hosts`"
        );
        for text in ["", ":", "a:b:c", "x/y"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
        for text in ["", "88", "0888", "00644", "+644"] {
            assert!(text.parse::<Bits>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_leaves_the_tree() {
        if !geteuid().is_root() {
            return;
        }
        let trees = Trees::new();
        assert_eq!(trees.put("file", "trixie:/etc/new"), Ok("etc/new".into()));
        assert_eq!(trees.put("file", "trixie:/lib"), Ok("lib/file".into()), "a link to a folder is one");
        assert_eq!(trees.read("usr/lib/file"), "new");
        assert_eq!(trees.put("file", "trixie:/settings/by-link"), Ok("settings/by-link".into()));
        assert_eq!(trees.read("etc/by-link"), "new", "a link from the root leads into the tree");
        assert_eq!(trees.put("file", "trixie:/out/x"), Err("there is no folder `/out`".to_owned()));
        assert_eq!(trees.put("file", "trixie:/nowhere/x"), Err("there is no folder `/nowhere`".to_owned()));
        assert_eq!(trees.put("file", "trixie:/nowhere/"), Err("there is no folder `/nowhere`".to_owned()));

        // A link where the file should be gives way, and what it led to stays.
        let victim = trees.dir.path().join("victim");
        std::fs::write(&victim, "untouched").expect("written");
        symlink(&victim, trees.draft.join("etc/link")).expect("linked");
        trees.put("file", "trixie:/etc/link").expect("copied");
        assert_eq!(std::fs::read_to_string(&victim).expect("there"), "untouched");
        assert!(!trees.draft.join("etc/link").is_symlink());

        symlink(&victim, trees.draft.join("etc/leak")).expect("linked");
        let got = get(&trees.draft, &place("trixie:/etc/leak"), &trees.dir.path().join("got"));
        assert!(
            crate::types::chain(&got.expect_err("leads nowhere"))
                .starts_with("`/etc/leak` cannot be read: No such file")
        );
    }

    #[test]
    fn owners_and_modes_are_kept_given_or_root_s() {
        if !geteuid().is_root() {
            return;
        }
        let trees = Trees::new();
        let hosts = trees.draft.join("etc/hosts");
        std::fs::write(&hosts, "old").expect("written");
        std::os::unix::fs::chown(&hosts, Some(7), Some(8)).expect("given");
        std::fs::set_permissions(&hosts, PermissionsExt::from_mode(0o640)).expect("set");
        let about = |path: &str| {
            let meta = trees.draft.join(path).symlink_metadata().expect("there");
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        std::os::unix::fs::chown(trees.dir.path().join("file"), Some(1000), Some(1000)).expect("given");
        trees.put("file", "trixie:/etc/hosts").expect("copied");
        assert_eq!((about("etc/hosts"), trees.read("etc/hosts")), ((7, 8, 0o640), "new".to_owned()));
        trees.put("file", "trixie:/etc/fresh").expect("copied");
        assert_eq!(about("etc/fresh"), (0, 0, 0o644));

        let folder = trees.dir.path().join("site");
        std::fs::create_dir_all(folder.join("deep")).expect("made");
        std::fs::write(folder.join("deep/page"), "hello").expect("written");
        symlink("deep/page", folder.join("link")).expect("linked");
        nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).expect("made");
        let wanted = Wanted {
            owner: Some("www-data:video".parse().expect("an owner")),
            mode: Some("0640".parse().expect("bits")),
        };
        let copied = put(&trees.draft, &folder, &place("trixie:/usr/"), &wanted).expect("copied");
        assert_eq!((copied.files, copied.left_out, copied.at), (2, 1, PathBuf::from("usr/site")));
        assert_eq!(about("usr/site/deep"), (33, 44, 0o750));
        assert_eq!(about("usr/site/deep/page"), (33, 44, 0o640));
        let group = put(
            &trees.draft,
            &folder,
            &place("trixie:/usr"),
            &Wanted { owner: Some("www-data".parse().expect("an owner")), mode: None },
        );
        assert_eq!(group.expect("filled").left_out, 1);
        assert_eq!(
            about("usr/site/deep/page"),
            (33, 34, 0o640),
            "a user brings the group; the mode was there"
        );
        assert_eq!(about("usr/site/deep"), (33, 44, 0o750), "a folder that is there stays as it is");
        let unknown = Wanted { owner: Some("nobody-here".parse().expect("an owner")), mode: None };
        let refused = put(&trees.draft, &folder, &place("trixie:/usr"), &unknown).expect_err("unknown");
        assert_eq!(refused.to_string(), "the image knows no user `nobody-here`; give the number");

        // Out again, to whoever asks.
        std::fs::set_permissions(trees.draft.join("usr/site/deep/page"), PermissionsExt::from_mode(0o4755))
            .expect("set");
        let out = trees.dir.path().join("out");
        let copied = get(&trees.draft, &place("trixie:/usr/site"), &out).expect("copied");
        assert_eq!((copied.files, copied.at.as_path()), (2, out.as_path()));
        let meta = out.join("deep/page").metadata().expect("there");
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o755), "it makes nobody another user");
        assert_eq!(std::fs::read_link(out.join("link")).expect("a link"), Path::new("deep/page"));
        let copied = get(&trees.draft, &place("trixie:/etc/hosts"), &out).expect("copied");
        assert_eq!(copied.at, out.join("hosts"));
    }
}

//! Makes the desktop of one person everybody's: their start menu, panel, desktop and what starts by itself.
//!
//! PiServer did so when it took an operating system over from a memory card, with the menu and the desktop of `pi`. Programs
//! that look for a setting in `/etc/xdg` when a person has none find it there, so that it reaches everybody and can be changed
//! for everybody later; the rest goes into `/etc/skel`, from where a new home gets it. Nothing else of the home is taken, no
//! link is followed, and everything belongs to root.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::copy::{CopyError, Met, Walk, What};
use super::devices::DeviceError;
use super::disk::{self, DiskError};
use super::import::{ImportError, Staging};
use super::inside::Inside;
use super::library::{Library, LibraryError};
use super::plant::{Meta, PlantError, Planter, write_error};
use crate::service::jobs::Task;
use crate::sys::random::random;
use crate::types::limits;

/// Why a desktop was not made everybody's.
#[derive(Debug, thiserror::Error)]
pub enum DesktopError {
    #[error("the image cannot be read")]
    Read(#[source] io::Error),
    #[error("there is no `{user}` with a home in this image; {}", known(.people))]
    Nobody { user: String, people: Vec<String> },
    #[error(
        "`{user}` has changed nothing of the desktop in this image, so there is nothing to make everybody's"
    )]
    Nothing { user: String },
    #[error("the settings of `{user}` are more than {} files or {} MB; they are no settings", limits::DESKTOP_FILES, limits::DESKTOP_BYTES >> 20)]
    TooMuch { user: String },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the disk cannot be looked at")]
    Staging(#[source] Box<ImportError>),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Plant(#[from] PlantError),
}

impl From<ImportError> for DesktopError {
    fn from(error: ImportError) -> Self {
        Self::Staging(Box::new(error))
    }
}

fn known(people: &[String]) -> String {
    if people.is_empty() { "nobody has one".to_owned() } else { format!("there are {}", people.join(", ")) }
}

/// What is taken of a home, where it goes, and how the names of its files end, if only some are taken.
const TAKEN: &[(&str, &str, &str)] = &[
    (".local/share/applications", "usr/share/applications", ".desktop"),
    (".local/share/desktop-directories", "usr/share/desktop-directories", ".directory"),
    (".config/autostart", "etc/xdg/autostart", ".desktop"),
    (".config/pcmanfm", "etc/xdg/pcmanfm", ".conf"),
    (".config/lxpanel", "etc/xdg/lxpanel", ""),
    (".config/lxpanel-pi", "etc/xdg/lxpanel-pi", ""),
    (".config/lxsession", "etc/xdg/lxsession", ""),
    (".config/libfm", "etc/xdg/libfm", ".conf"),
    (".config/mimeapps.list", "etc/xdg/mimeapps.list", ""),
    // What these look for in /etc/xdg they add to, so a whole file of somebody's does not belong there.
    (".config/labwc", "etc/skel/.config/labwc", ""),
    (".config/wf-panel-pi", "etc/skel/.config/wf-panel-pi", ""),
    (".config/wf-panel-pi.ini", "etc/skel/.config/wf-panel-pi.ini", ""),
    (".config/wayfire.ini", "etc/skel/.config/wayfire.ini", ""),
    (".config/menus", "etc/skel/.config/menus", ".menu"),
    (".config/gtk-3.0", "etc/skel/.config/gtk-3.0", ".ini"),
    (".config/gtk-4.0", "etc/skel/.config/gtk-4.0", ".ini"),
    (".config/xsettingsd", "etc/skel/.config/xsettingsd", ""),
    (".config/openbox", "etc/skel/.config/openbox", ".xml"),
    (".gtkrc-2.0", "etc/skel/.gtkrc-2.0", ""),
];

/// Where a picture goes that the desktop shows and that is in the home.
const PICTURES: &str = "usr/share/backgrounds";

/// One file that is taken, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Below the home.
    pub from: PathBuf,
    /// Below the root of the image.
    pub to: PathBuf,
}

/// A person of an image, and what of their desktop would become everybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub settings: Vec<Setting>,
}

impl Library {
    /// People of the tree at `root`, and their desktops.
    pub fn desktops_in(&self, root: &Path) -> Result<Vec<Person>, DesktopError> {
        people(root, &Task::unwatched())
    }

    /// People of the operating system on a disk of the router, and their desktops.
    pub fn desktops_on(&self, device: &Path) -> Result<Vec<Person>, DesktopError> {
        self.devices.check(device)?;
        let disk = self.devices.open(device)?;
        let layout = disk::layout(&disk)?;
        let number = random()
            .map(u64::from_ne_bytes)
            .map_err(|error| ImportError::from(LibraryError::Random(error)))?;
        let at = Staging::new(self.folder.join(format!(".incoming-look-{number:016x}")))?;
        let mount = at.folder("mount", 0o700)?;
        disk::with_root(&disk, layout.root, &mount, |root| people(root, &Task::unwatched()))
    }
}

/// People with a home in the tree at `root`, and what they have changed of the desktop.
pub fn people(root: &Path, task: &Task) -> Result<Vec<Person>, DesktopError> {
    let mut people = Vec::new();
    for (name, home) in homes(root)? {
        let mut settings = Vec::new();
        walk(root, &home, &name, task, &mut |met, to| {
            settings.push(Setting { from: met.path.to_owned(), to });
            Ok(())
        })?;
        people.push(Person { name, settings });
    }
    Ok(people)
}

/// Makes the desktop of `user` everybody's in the tree at `root`; what was taken, below the home.
pub fn make_default(root: &Path, user: &str, task: &Task) -> Result<Vec<String>, DesktopError> {
    let homes = homes(root)?;
    let Some((_, home)) = homes.iter().find(|(name, _)| name == user) else {
        let people = homes.into_iter().map(|(name, _)| name).collect();
        return Err(DesktopError::Nobody { user: shown(user), people });
    };
    let mut files = Vec::new();
    walk(root, home, user, task, &mut |met, to| {
        let bytes = content(&met).map_err(|source| CopyError::Read { path: met.path.to_owned(), source })?;
        files.push((met.path.to_owned(), to, bytes, met.stat.st_mtime));
        Ok(())
    })?;
    if files.is_empty() {
        return Err(DesktopError::Nothing { user: user.to_owned() });
    }
    let mut planter = Planter::new(root).map_err(DesktopError::Read)?;
    let mut taken = Vec::new();
    for (from, to, bytes, at) in files {
        let bytes = with_pictures(root, home, bytes, &mut planter)?;
        #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
        put(&mut planter, &to, &bytes, at.into())?;
        taken.push(from.display().to_string());
    }
    planter.finish()?;
    Ok(taken)
}

fn shown(user: &str) -> String {
    user.chars().take(limits::NAME_SHOWN).collect()
}

/// Names and homes, below the root, of people who log in.
fn homes(root: &Path) -> Result<Vec<(String, PathBuf)>, DesktopError> {
    let inside = Inside::new(root).map_err(DesktopError::Read)?;
    let passwd = inside.text("etc/passwd", limits::FSTAB).unwrap_or_default();
    let homes = passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, ..] = fields.as_slice() else { return None };
        let uid: u32 = uid.parse().ok()?;
        let home = super::plant::entry_path(home.strip_prefix('/')?.as_bytes()).ok()?;
        let is_person = (1000..60_000).contains(&uid) && !home.as_os_str().is_empty();
        (is_person && is_real_folder(root, &home)).then(|| ((*name).to_owned(), home))
    });
    Ok(homes.collect())
}

/// Whether there is a folder, and no link on the way to it: a link would be followed on the router.
fn is_real_folder(root: &Path, home: &Path) -> bool {
    let mut at = root.to_owned();
    home.components().all(|part| {
        at.push(part);
        std::fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir())
    })
}

/// Has `each` look at every file of the home that is taken, and where it goes.
fn walk(
    root: &Path,
    home: &Path,
    user: &str,
    task: &Task,
    each: &mut dyn FnMut(Met<'_>, PathBuf) -> Result<(), CopyError>,
) -> Result<(), DesktopError> {
    let (mut files, mut bytes) = (0_usize, 0_u64);
    let bounded = Walk::new(task).all(&root.join(home), &mut |met| match met.what {
        What::Folder(_) => Ok(leads_on(met.path)),
        What::File | What::HardLink(_) => {
            if let Some(to) = goes_to(met.path) {
                files += 1;
                bytes = bytes.saturating_add(u64::try_from(met.stat.st_size).unwrap_or(0));
                if files <= limits::DESKTOP_FILES && bytes <= limits::DESKTOP_BYTES {
                    each(met, to)?;
                }
            }
            Ok(true)
        }
        What::Symlink(_) | What::Node(_) => Ok(true),
    });
    bounded?;
    if files > limits::DESKTOP_FILES || bytes > limits::DESKTOP_BYTES {
        return Err(DesktopError::TooMuch { user: shown(user) });
    }
    Ok(())
}

/// Whether something that is taken is in the folder `path` of a home, or `path` is in something that is.
fn leads_on(path: &Path) -> bool {
    TAKEN.iter().any(|(from, _, _)| Path::new(from).starts_with(path) || path.starts_with(from))
}

fn goes_to(path: &Path) -> Option<PathBuf> {
    let (from, to, ending) = TAKEN.iter().find(|(from, _, _)| path.starts_with(from))?;
    let name = path.file_name()?.to_str()?;
    let rest = path.strip_prefix(from).ok()?;
    let is_taken = name.ends_with(ending) && !name.ends_with('~') && name.strip_suffix(".bak").is_none();
    is_taken.then(|| if rest.as_os_str().is_empty() { PathBuf::from(to) } else { Path::new(to).join(rest) })
}

fn content(met: &Met<'_>) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file =
        File::from(openat(met.folder, met.path.file_name().unwrap_or_default(), flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(limits::DESKTOP_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts pictures of the home that the settings of a desktop show where everybody may look at them, and has the settings show
/// them there.
fn with_pictures(
    root: &Path,
    home: &Path,
    bytes: Vec<u8>,
    planter: &mut Planter,
) -> Result<Vec<u8>, DesktopError> {
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(bytes) };
    let in_home = format!("wallpaper=/{}/", home.display());
    if !text.contains(&in_home) {
        return Ok(bytes);
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let picture = line
            .trim_end()
            .strip_prefix(&in_home)
            .and_then(|path| super::plant::entry_path(path.as_bytes()).ok());
        let found =
            picture.as_ref().and_then(|path| Some((path.file_name()?, read_plain(root, &home.join(path))?)));
        if let Some((name, picture)) = found {
            let to = Path::new(PICTURES).join(name);
            put(planter, &to, &picture, 0)?;
            let _ = writeln!(out, "wallpaper=/{}", to.display());
        } else {
            out.push_str(line);
        }
    }
    Ok(out.into_bytes())
}

/// A file that no link leads to.
fn read_plain(root: &Path, path: &Path) -> Option<Vec<u8>> {
    if !is_real_folder(root, path.parent()?) {
        return None;
    }
    let full = root.join(path);
    let meta = std::fs::symlink_metadata(&full)
        .ok()
        .filter(|meta| meta.is_file() && meta.len() <= limits::DESKTOP_BYTES)?;
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).ok()?);
    File::open(&full).ok()?.take(limits::DESKTOP_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Writes a file of root's that everybody may read.
fn put(planter: &mut Planter, to: &Path, bytes: &[u8], at: i64) -> Result<(), PlantError> {
    let mut sink = planter.file(to)?;
    sink.put(0, bytes).map_err(|source| write_error(to, "write its content", source))?;
    let meta = Meta { mode: 0o644, mtime: (at, 0), ..Meta::default() };
    planter.end_file(to, sink, bytes.len() as u64, &meta)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_taken_and_where_it_goes() {
        #[rustfmt::skip]
        let rows = [
            (".config/pcmanfm/default/desktop-items-0.conf", Some("etc/xdg/pcmanfm/default/desktop-items-0.conf")),
            (".config/pcmanfm/default/desktop-items-0.conf~", None),
            (".local/share/applications/scratch.desktop", Some("usr/share/applications/scratch.desktop")),
            (".local/share/applications/mimeinfo.cache", None),
            (".config/labwc/rc.xml", Some("etc/skel/.config/labwc/rc.xml")),
            (".config/wf-panel-pi.ini", Some("etc/skel/.config/wf-panel-pi.ini")),
            (".config/wf-panel-pi.ini.bak", None),
            (".config/chromium/Default/Cookies", None),
            (".ssh/id_ed25519", None),
            ("Documents/a.desktop", None),
        ];
        for (path, expected) in rows {
            assert_eq!(goes_to(Path::new(path)).as_deref(), expected.map(Path::new), "{path}");
        }
        assert!(
            leads_on(Path::new(""))
                && leads_on(Path::new(".config"))
                && leads_on(Path::new(".config/labwc/x"))
        );
        assert!(!leads_on(Path::new(".cache")) && !leads_on(Path::new(".config/chromium")));
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nteacher:x:1000:1000:,,,:/home/teacher:/bin/bash\nghost:x:1001:1001::/home/ghost:/bin/sh\nfar:x:1002:1002::/home/far:/bin/sh\n",
        );
        write(
            "home/teacher/.config/pcmanfm/default/desktop-items-0.conf",
            "[*]\nwallpaper=/home/teacher/Pictures/class.jpg\nshow_trash=0\n",
        );
        write("home/teacher/Pictures/class.jpg", "a picture");
        write("home/teacher/.local/share/applications/scratch.desktop", "[Desktop Entry]\n");
        write("home/teacher/.ssh/id_ed25519", "secret");
        write("etc/xdg/pcmanfm/default/desktop-items-0.conf", "old\n");
        write("home/empty/x", "");
        // A home that leads out, and a folder of settings that does.
        std::os::unix::fs::symlink("/etc", folder.path().join("home/far")).expect("a link");
        std::os::unix::fs::symlink("/etc", folder.path().join("home/teacher/.config/labwc")).expect("a link");
        folder
    }

    #[test]
    fn the_desktop_of_a_teacher_is_everybodys() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tree();
        let task = Task::unwatched();
        let people = people(folder.path(), &task).expect("people");
        let names: Vec<_> =
            people.iter().map(|person| (person.name.as_str(), person.settings.len())).collect();
        assert_eq!(names, [("teacher", 2)]);
        let mut taken = make_default(folder.path(), "teacher", &task).expect("made");
        taken.sort();
        assert_eq!(
            taken,
            [".config/pcmanfm/default/desktop-items-0.conf", ".local/share/applications/scratch.desktop"]
        );
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).expect("there");
        assert_eq!(
            read("etc/xdg/pcmanfm/default/desktop-items-0.conf"),
            "[*]\nwallpaper=/usr/share/backgrounds/class.jpg\nshow_trash=0\n"
        );
        assert_eq!(read("usr/share/backgrounds/class.jpg"), "a picture");
        assert!(!folder.path().join("etc/skel").exists(), "no link was followed");
    }

    #[test]
    fn who_is_not_there_or_has_nothing_is_told() {
        let folder = tree();
        let task = Task::unwatched();
        let say = |user: &str| make_default(folder.path(), user, &task).expect_err("refused").to_string();
        assert_eq!(say("pi"), "there is no `pi` with a home in this image; there are teacher");
        fs::remove_dir_all(folder.path().join("home/teacher/.config")).expect("removed");
        fs::remove_dir_all(folder.path().join("home/teacher/.local")).expect("removed");
        assert_eq!(
            say("teacher"),
            "`teacher` has changed nothing of the desktop in this image, so there is nothing to make everybody's"
        );
    }
}

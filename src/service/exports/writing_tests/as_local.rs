//! Programs made up at random do the same to a home over NFS and to a folder of the local disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::fcntl::OFlag;
use proptest::prelude::*;

use super::*;

/// One thing a program does; folders and names are few, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Create { at: usize, name: usize, mode: u32, exclusive: bool },
    MkDir { at: usize, name: usize, mode: u32 },
    SymLink { at: usize, name: usize },
    Remove { at: usize, name: usize },
    RmDir { at: usize, name: usize },
    Rename { from: (usize, usize), to: (usize, usize) },
    Link { from: (usize, usize), to: (usize, usize) },
    Write { at: usize, name: usize, offset: u64, length: usize },
    Truncate { at: usize, name: usize, size: u64 },
    Mode { at: usize, name: usize, mode: u32 },
}

const FOLDERS: [&str; 4] = ["", "d", "e", "d/e"];
const NAMES: [&str; 4] = ["d", "e", "x", "y"];

fn steps() -> impl Strategy<Value = Step> {
    let (at, name) = (|| 0..FOLDERS.len(), || 0..NAMES.len());
    let mode = || prop_oneof![4 => Just(0o755u32), 1 => 0u32..0o1000];
    let place = move || (at(), name());
    prop_oneof![
        (at(), name(), mode(), any::<bool>()).prop_map(|(at, name, mode, exclusive)| Step::Create {
            at,
            name,
            mode,
            exclusive
        }),
        (at(), name(), mode()).prop_map(|(at, name, mode)| Step::MkDir { at, name, mode }),
        place().prop_map(|(at, name)| Step::SymLink { at, name }),
        place().prop_map(|(at, name)| Step::Remove { at, name }),
        place().prop_map(|(at, name)| Step::RmDir { at, name }),
        (place(), place()).prop_map(|(from, to)| Step::Rename { from, to }),
        (place(), place()).prop_map(|(from, to)| Step::Link { from, to }),
        (at(), name(), 0u64..100_000, 1usize..5000).prop_map(|(at, name, offset, length)| Step::Write {
            at,
            name,
            offset,
            length
        }),
        (at(), name(), 0u64..100_000).prop_map(|(at, name, size)| Step::Truncate { at, name, size }),
        (at(), name(), mode()).prop_map(|(at, name, mode)| Step::Mode { at, name, mode }),
    ]
}

fn entry(directory: &Handle, name: usize) -> Entry<'_> {
    Entry { directory, name: NAMES[name].as_bytes() }
}

/// Does it through NFS; the status.
fn remotely(home: &Home, step: &Step) -> Outcome<()> {
    let folder = |at: usize| {
        let names = FOLDERS[at].split('/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(home.root.clone(), |at, name| home.lookup(&at, name.as_bytes()))
    };
    let file = |at: usize, name: usize| home.lookup(&folder(at)?, NAMES[name].as_bytes());
    match *step {
        Step::Create { at, name, mode: bits, exclusive } => {
            let directory = folder(at)?;
            let with = mode(bits);
            let how = if exclusive { Create::Guarded(with) } else { Create::Unchecked(with) };
            home.create(&directory, NAMES[name].as_bytes(), how).map(|_| ())
        }
        Step::MkDir { at, name, mode: bits } => {
            let directory = folder(at)?;
            let args = Args::MkDir { at: entry(&directory, name), with: mode(bits) };
            home.ask(&args, client::made).map(|_| ())
        }
        Step::SymLink { at, name } => {
            let directory = folder(at)?;
            let args = Args::SymLink {
                at: entry(&directory, name),
                with: SetAttributes::default(),
                target: b"somewhere",
            };
            home.ask(&args, client::made).map(|_| ())
        }
        Step::Remove { at, name } => home.remove(&folder(at)?, NAMES[name].as_bytes()),
        Step::RmDir { at, name } => {
            home.ask(&Args::RmDir(entry(&folder(at)?, name)), client::changed).map(|_| ())
        }
        Step::Rename { from, to } => {
            let (one, other) = (folder(from.0)?, folder(to.0)?);
            home.rename((&one, NAMES[from.1].as_bytes()), (&other, NAMES[to.1].as_bytes()))
        }
        Step::Link { from, to } => {
            let (file, directory) = (file(from.0, from.1)?, folder(to.0)?);
            home.ask(&Args::Link { file: &file, to: entry(&directory, to.1) }, client::link).map(|_| ())
        }
        Step::Write { at, name, offset, length } => {
            home.write(&file(at, name)?, offset, Stable::Unstable, &vec![b'w'; length]).map(|_| ())
        }
        Step::Truncate { at, name, size } => {
            home.set(&file(at, name)?, SetAttributes { size: Some(size), ..SetAttributes::default() }, None)
        }
        Step::Mode { at, name, mode: bits } => home.set(&file(at, name)?, mode(bits), None),
    }
}

/// A path that leads through a link is for the client to follow: NFS sees a link where a folder should be.
fn through_a_link(root: &Path, at: usize) -> bool {
    let mut path = root.to_owned();
    FOLDERS[at].split('/').filter(|name| !name.is_empty()).any(|name| {
        path.push(name);
        nix::sys::stat::lstat(&path).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFLNK)
    })
}

/// A client walks to a folder name by name before it asks for anything in it.
fn walk(root: &Path, at: usize) -> nix::Result<()> {
    let mut path = root.to_owned();
    for name in FOLDERS[at].split('/').filter(|name| !name.is_empty()) {
        if path.is_symlink() {
            return Err(nix::errno::Errno::ENOTDIR);
        }
        path.push(name);
        nix::sys::stat::lstat(&path)?;
    }
    Ok(())
}

/// Where both folders cannot be used, either may be said: a kernel that walks itself comes to them in another order.
fn is_about_two_folders(step: &Step) -> bool {
    matches!(step, Step::Rename { from, to } | Step::Link { from, to } if from.0 != to.0)
}

fn is_no_way(outcome: Outcome<()>) -> bool {
    let reasons = [Status::NoEntry, Status::Access, Status::NotDirectory];
    outcome.is_err_and(|refused| reasons.iter().any(|reason| status(*reason) == refused))
}

/// Does it with the C library; the status that error has in NFS.
fn locally(root: &Path, step: &Step) -> Outcome<()> {
    use nix::fcntl::{AT_FDCWD, AtFlags, open, renameat};
    use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, lstat, mkdirat};
    use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
    // Opening a name below what is no folder fails as below a link.
    let path = |(at, name): (usize, usize)| {
        let folder =
            if through_a_link(root, at) { root.with_file_name("outside") } else { root.join(FOLDERS[at]) };
        folder.join(NAMES[name])
    };
    let bits = Mode::from_bits_truncate;
    // A client sets the mode of what a link stands for only by following it itself.
    let done: nix::Result<()> = (|| match *step {
        Step::Create { at, name, mode, exclusive } => {
            let flags = OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_EXCL;
            let made = open(&path((at, name)), flags, bits(mode));
            if made.is_ok() {
                // A client has applied its own umask; there is none to apply here.
                fchmodat(AT_FDCWD, &path((at, name)), bits(mode), FchmodatFlags::FollowSymlink)?;
            }
            match made {
                Err(nix::errno::Errno::EEXIST) if !exclusive => {
                    let found = lstat(&path((at, name)))?;
                    let regular = found.st_mode & libc::S_IFMT == libc::S_IFREG;
                    if regular { Ok(()) } else { Err(nix::errno::Errno::EEXIST) }
                }
                other => other.map(|_| ()),
            }
        }
        Step::MkDir { at, name, mode } => {
            mkdirat(AT_FDCWD, &path((at, name)), bits(mode))?;
            fchmodat(AT_FDCWD, &path((at, name)), bits(mode), FchmodatFlags::FollowSymlink)
        }
        Step::SymLink { at, name } => symlinkat("somewhere", AT_FDCWD, &path((at, name))),
        Step::Remove { at, name } => unlinkat(AT_FDCWD, &path((at, name)), UnlinkatFlags::NoRemoveDir),
        Step::RmDir { at, name } => unlinkat(AT_FDCWD, &path((at, name)), UnlinkatFlags::RemoveDir),
        Step::Rename { from, to } => {
            walk(root, from.0)?;
            walk(root, to.0)?;
            renameat(AT_FDCWD, &path(from), AT_FDCWD, &path(to))
        }
        Step::Link { from, to } => {
            lstat(&path(from))?;
            walk(root, to.0)?;
            linkat(AT_FDCWD, &path(from), AT_FDCWD, &path(to), AtFlags::empty())
        }
        Step::Write { at, name, offset, length } => {
            let file = own_open(&path((at, name)))?;
            let written = pages::write_all(&file, &vec![b'w'; length], offset);
            written
                .map(|_| ())
                .map_err(|error| nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        }
        Step::Truncate { at, name, size } => {
            let file = own_open(&path((at, name)))?;
            pages::set_length(&file, size)
                .map_err(|error| nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        }
        Step::Mode { at, name, mode } => {
            let found = lstat(&path((at, name)))?;
            if found.st_mode & libc::S_IFMT == libc::S_IFLNK {
                return Err(nix::errno::Errno::EOPNOTSUPP);
            }
            fchmodat(AT_FDCWD, &path((at, name)), bits(mode), FchmodatFlags::FollowSymlink)
        }
    })();
    done.map_err(|errno| match errno {
        nix::errno::Errno::ENOTEMPTY => status(Status::NotEmpty),
        nix::errno::Errno::EOPNOTSUPP => status(Status::NotSupported),
        other => u32::try_from(other as i32).expect("positive"),
    })
}

/// Opens to write as the owner may through NFS: whatever the bits say.
fn own_open(path: &Path) -> nix::Result<OwnedFd> {
    use nix::fcntl::open;
    use nix::sys::stat::{Mode, lstat};
    let found = lstat(path)?;
    match found.st_mode & libc::S_IFMT {
        libc::S_IFDIR => return Err(nix::errno::Errno::EISDIR),
        libc::S_IFREG => {}
        _ => return Err(nix::errno::Errno::EINVAL),
    }
    let bits = Mode::from_bits_truncate(found.st_mode & 0o7777);
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        path,
        Mode::from_bits_truncate(0o600),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )?;
    let file = open(path, OFlag::O_RDWR | OFlag::O_NOFOLLOW, Mode::empty())?;
    nix::sys::stat::fchmod(&file, bits)?;
    Ok(file)
}

/// Everything a person sees of a tree: paths, modes, links, sizes and contents. Read as root.
fn seen(root: &Path) -> Vec<String> {
    let (mut all, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("listed") {
            let path = entry.expect("an entry").path();
            let found = path.symlink_metadata().expect("there");
            let size = if found.is_dir() { 0 } else { found.len() };
            let content = if found.is_file() { std::fs::read(&path).expect("read") } else { Vec::new() };
            let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
            let name = path.strip_prefix(root).expect("below").display().to_string();
            let line = format!("{name} {:o} {} {size} {sum} {}", found.mode(), found.nlink(), found.uid());
            all.push(line);
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a program does, it makes no difference that it does it through NFS: same errors, same tree.
    #[test]
    fn nfs_does_what_a_local_disk_does(program in proptest::collection::vec(steps(), 1..60), indexed: bool) {
        if !can_act() {
            return Ok(());
        }
        let home = home(if indexed { Handles::Indexed } else { Handles::Best }, true);
        let local = home.house.dir.path().join("local");
        std::fs::create_dir(&local).expect("made");
        std::fs::set_permissions(home.house.dir.path(), PermissionsExt::from_mode(0o755)).expect("allowed");
        std::fs::set_permissions(&local, PermissionsExt::from_mode(0o700)).expect("allowed");
        chown(&local, Some(ANNA), Some(ANNA)).expect("given");
        for step in &program {
            let remote = remotely(&home, step);
            let here = {
                let _acting = act_as(ANNA, ANNA, &[]).expect("allowed");
                locally(&local, step)
            };
            if !(is_about_two_folders(step) && is_no_way(remote) && is_no_way(here)) {
                prop_assert_eq!(remote, here, "{:?}", step);
            }
        }
        prop_assert_eq!(seen(home.disk()), seen(&local));
    }
}

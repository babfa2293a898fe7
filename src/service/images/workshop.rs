//! Work in a draft on this machine: a shell, or one command, with the draft as its root ([`chamber`]).
//!
//! Who works in a draft holds a lock on it, so that it is not published or discarded meanwhile, and the kernel takes the lock
//! away from whoever ends. One shell or command at a time; none while a client maintains the draft, whose programs would know
//! nothing of it.
//!
//! Two files are put into the draft for the time of the work, if nothing is in their place, and taken away after it: the one
//! that keeps packages from starting services on the router, and one for the router's name servers to stand in.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, ResolveFlag, openat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::sys::chamber::{self, Chamber, ChamberError};
use crate::sys::inside;
use crate::types::ImageName;

/// Why nobody works in a draft.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(
        "somebody is at work in the draft of `{0}` already: a shell is open, or a command runs (`bramble job list`); wait until that has ended"
    )]
    Busy(ImageName),
    #[error("the draft of `{0}` is being published or discarded")]
    Leaving(ImageName),
    #[error("the draft of `{0}` cannot be locked")]
    Lock(ImageName, #[source] io::Error),
    #[error(
        "`{program}` cannot be run: it is for another processor than this router's; change the draft on a client instead: `bramble image maintain {image} CLIENT`"
    )]
    OtherProcessor { image: ImageName, program: String },
    #[error("nothing was run in the draft of `{0}`")]
    Chamber(ImageName, #[source] ChamberError),
}

/// Whoever has this works in a draft, or makes sure that nobody does.
#[derive(Debug)]
pub struct Hold {
    _draft: Flock<File>,
    _turn: Option<Flock<File>>,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A file or two; others may be at work as well.
    Files,
    /// A shell or a command: one at a time.
    Work,
    /// Nobody else may be at work.
    End,
}

impl Hold {
    /// Takes the draft at `draft` of the image `name`.
    pub fn take(name: &ImageName, draft: &Path, what: For) -> Result<Self, WorkError> {
        let failed = |error: io::Error| WorkError::Lock(name.clone(), error);
        let lock = |path: &Path, how| {
            let file = fs_err::File::open(path).map_err(failed)?.into_file();
            match Flock::lock(file, how) {
                Ok(lock) => Ok(Some(lock)),
                Err((_, Errno::EWOULDBLOCK)) => Ok(None),
                Err((_, error)) => Err(failed(error.into())),
            }
        };
        let how =
            if what == For::End { FlockArg::LockExclusiveNonblock } else { FlockArg::LockSharedNonblock };
        let held = lock(draft, how)?;
        let held = held.ok_or_else(|| match what {
            For::End => WorkError::Busy(name.clone()),
            For::Files | For::Work => WorkError::Leaving(name.clone()),
        })?;
        let turn = if what == For::Work {
            let path = turn_at(draft);
            let mut turn = lock(&path, FlockArg::LockExclusiveNonblock)?;
            if turn.is_none() {
                // It may be somebody who only looks.
                std::thread::sleep(LOOK);
                turn = lock(&path, FlockArg::LockExclusiveNonblock)?;
            }
            Some(turn.ok_or_else(|| WorkError::Busy(name.clone()))?)
        } else {
            None
        };
        Ok(Self { _draft: held, _turn: turn })
    }

    /// Whether somebody is at work in the draft at `draft`, with a shell or a command. Keeps nobody from ending it meanwhile.
    pub fn is_taken(draft: &Path) -> bool {
        let turn = File::open(turn_at(draft)).map(|turn| Flock::lock(turn, FlockArg::LockSharedNonblock));
        matches!(turn, Ok(Err((_, Errno::EWOULDBLOCK))))
    }
}

/// More than [`Hold::is_taken`] takes.
const LOOK: Duration = Duration::from_millis(50);

/// The file that whoever works in a draft locks: it is there as long as the draft is.
fn turn_at(draft: &Path) -> PathBuf {
    draft.with_file_name(super::drafts::ORIGINS)
}

/// What is to be run in a draft.
#[derive(Clone, Debug)]
pub enum What {
    Shell,
    /// A program and its arguments, with nobody to answer questions.
    Command(Vec<OsString>),
}

/// Keeps packages from starting what they bring (policy-rc.d of invoke-rc.d(8)).
const POLICY: (&str, &str, u32) = (
    "usr/sbin/policy-rc.d",
    "#!/bin/sh\n# Put here by Bramble while somebody works in this draft on the router: no service is started there.\nexit 101\n",
    0o755,
);

/// Where the router's name servers are shown.
const RESOLV: (&str, &str, u32) =
    ("etc/resolv.conf", "# Put here by Bramble while somebody works in this draft.\n", 0o644);

/// Runs in the draft at `draft` and answers with the exit code. The process must have one thread and be about to end.
pub fn work(name: &ImageName, draft: &Path, what: &What) -> Result<u8, WorkError> {
    let _hold = Hold::take(name, draft, For::Work)?;
    let props = Props::put(draft);
    let (program, with_people) = match what {
        What::Shell => (vec![shell(draft), "-l".into()], true),
        What::Command(words) => (words.clone(), false),
    };
    let environment = environment(name, with_people);
    let resolv = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let chamber = Chamber {
        root: draft,
        program: &program,
        environment: &environment,
        folder: Path::new("/root"),
        covered: &[(RESOLV.0, resolv)],
        terminal: with_people && chamber::has_terminal(),
    };
    let ended = chamber.run();
    drop(props);
    ended.map_err(|error| match error {
        ChamberError::OtherProcessor(program) => {
            WorkError::OtherProcessor { image: name.clone(), program: program.to_string_lossy().into_owned() }
        }
        error => WorkError::Chamber(name.clone(), error),
    })
}

fn shell(draft: &Path) -> OsString {
    let has_bash = super::inside::Inside::new(draft).is_ok_and(|tree| tree.has("bin/bash"));
    if has_bash { "/bin/bash".into() } else { "/bin/sh".into() }
}

fn environment(name: &ImageName, with_people: bool) -> Vec<(&'static str, OsString)> {
    let mut environment: Vec<(&'static str, OsString)> = vec![
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOME", "/root".into()),
        ("USER", "root".into()),
        ("LOGNAME", "root".into()),
        ("LANG", "C.UTF-8".into()),
        // What Debian's shells show before the prompt.
        ("debian_chroot", format!("draft of {name}").into()),
        // There is no systemd to talk to, only its files.
        ("SYSTEMD_OFFLINE", "1".into()),
    ];
    let passed_on: &[&str] = &["http_proxy", "https_proxy", "no_proxy", "TERM"];
    environment.extend(passed_on.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    if with_people {
        environment.push(("SHELL", "/bin/bash".into()));
    } else {
        environment.push(("DEBIAN_FRONTEND", "noninteractive".into()));
        environment.push(("APT_LISTCHANGES_FRONTEND", "none".into()));
    }
    environment
}

/// The files that are in the draft for the time of the work.
#[derive(Debug)]
struct Props(PathBuf);

impl Props {
    fn put(draft: &Path) -> Self {
        for (path, text, mode) in [POLICY, RESOLV] {
            // A tree without such a folder has no packages that would look there.
            let Ok((folder, file)) = place(draft, path) else { continue };
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if let Ok(made) = openat(&folder, file, flags, Mode::from_bits_truncate(0o600)) {
                let mut made = File::from(made);
                let written = made.write_all(text.as_bytes());
                if written.is_err() || fchmod(&made, Mode::from_bits_truncate(mode)).is_err() {
                    let _ = unlinkat(&folder, file, UnlinkatFlags::NoRemoveDir);
                }
            }
        }
        Self(draft.to_owned())
    }
}

impl Drop for Props {
    fn drop(&mut self) {
        tidy(&self.0);
    }
}

/// Takes away what work in a draft put there, also work that was killed.
pub fn tidy(draft: &Path) {
    for (path, text, _) in [POLICY, RESOLV] {
        let Ok((folder, name)) = place(draft, path) else { continue };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(file) = openat(&folder, name, flags, Mode::empty()) else { continue };
        let mut found = String::new();
        let read = File::from(file).take(text.len() as u64 + 1).read_to_string(&mut found);
        if read.is_ok() && found == text {
            let _ = unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The folder of a path in the draft, and the last name.
fn place<'p>(draft: &Path, path: &'p str) -> Result<(std::os::fd::OwnedFd, &'p str), Errno> {
    let (folder, name) = path.rsplit_once('/').ok_or(Errno::EINVAL)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = openat(nix::fcntl::AT_FDCWD, draft, flags, Mode::empty())?;
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    Ok((inside::open(&top, folder, OFlag::O_PATH | OFlag::O_DIRECTORY, resolve)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let draft = dir.path().join("draft");
        std::fs::create_dir_all(draft.join("usr/sbin")).expect("made");
        std::fs::create_dir_all(draft.join("etc")).expect("made");
        std::fs::write(dir.path().join(super::super::drafts::ORIGINS), "").expect("written");
        (dir, draft)
    }

    #[test]
    fn one_works_at_a_time_and_nobody_while_it_ends() {
        let (_dir, draft) = draft();
        let name: ImageName = "trixie".parse().expect("a name");
        let take = |what| Hold::take(&name, &draft, what);
        let refused = |what| take(what).expect_err("refused").to_string();
        let work = take(For::Work).expect("free");
        let files = take(For::Files).expect("beside it");
        let busy = "somebody is at work in the draft of `trixie` already: a shell is open, or a command runs (`bramble job list`); wait until that has ended";
        assert_eq!(refused(For::Work), busy);
        assert_eq!(refused(For::End), busy);
        assert!(Hold::is_taken(&draft));
        drop(work);
        assert!(!Hold::is_taken(&draft), "files are no work");
        assert_eq!(refused(For::End), busy);
        drop(files);
        let _end = take(For::End).expect("nobody is there");
        assert_eq!(refused(For::Files), "the draft of `trixie` is being published or discarded");
        assert_eq!(refused(For::Work), "the draft of `trixie` is being published or discarded");
    }

    #[test]
    fn what_is_put_there_goes_and_what_was_there_stays() {
        let (dir, draft) = draft();
        let policy = draft.join("usr/sbin/policy-rc.d");
        let props = Props::put(&draft);
        assert_eq!(std::fs::read_to_string(&policy).expect("there"), POLICY.1);
        assert!(draft.join("etc/resolv.conf").exists());
        // Killed: the next one finds it, uses it and takes it away.
        std::mem::forget(props);
        drop(Props::put(&draft));
        assert!(!policy.exists() && !draft.join("etc/resolv.conf").exists());

        std::fs::write(&policy, "#!/bin/sh\nexit 0\n").expect("written");
        std::os::unix::fs::symlink(dir.path().join("outside"), draft.join("etc/resolv.conf"))
            .expect("linked");
        drop(Props::put(&draft));
        assert_eq!(std::fs::read_to_string(&policy).expect("kept"), "#!/bin/sh\nexit 0\n");
        assert!(draft.join("etc/resolv.conf").is_symlink());
        assert!(!dir.path().join("outside").exists());
    }
}

//! Network namespaces held by file descriptor, and entering namespaces of one's own without being root.
//!
//! A namespace here has no name and no mount: it lives as long as somebody holds its descriptor or runs in it, so
//! nothing is left behind however the process ends.
//!
//! Source: `namespaces(7)`, `user_namespaces(7)`, `setns(2)`.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid, write};

/// A network namespace. Clones share it.
#[derive(Clone, Debug)]
pub struct NetNs(Arc<OwnedFd>);

impl NetNs {
    /// A new, empty namespace. Needs the right to make one: root, or [`Isolation`] before.
    pub fn new() -> io::Result<Self> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })
    }

    /// The namespace the calling thread is in.
    pub fn current() -> io::Result<Self> {
        Ok(Self(Arc::new(File::open("/proc/thread-self/ns/net")?.into())))
    }

    /// Moves the calling thread here for good. Sockets it opens from now on are of this namespace and stay so,
    /// wherever they are used later.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&*self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `work` inside, on a thread of its own, and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_own_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// A program to be started inside. It is killed when the thread that starts it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = Arc::clone(&self.0);
        before_exec(&mut command, move || {
            setns(&*home, CloneFlags::CLONE_NEWNET)?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        });
        command
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The way into network and mount namespaces of one's own, and without root into a user namespace as well, in which
/// the user is root over those.
///
/// Everything that allocates is done in [`Self::prepare`], so that [`Self::enter`] may run between fork and exec.
#[derive(Debug)]
pub struct Isolation {
    /// What to write to `uid_map` and `gid_map`; `None` for root, who keeps the user namespace.
    maps: Option<(CString, CString)>,
}

impl Isolation {
    pub fn prepare() -> Self {
        let line = |id: u32| CString::new(format!("0 {id} 1\n")).expect("digits and spaces hold no NUL");
        let maps = (!geteuid().is_root()).then(|| (line(geteuid().as_raw()), line(getegid().as_raw())));
        Self { maps }
    }

    /// Enters. The process must have one thread (Linux refuses a new user namespace to any other).
    ///
    /// Async-signal-safe: system calls only.
    pub fn enter(&self) -> io::Result<()> {
        let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        if self.maps.is_some() {
            flags |= CloneFlags::CLONE_NEWUSER;
        }
        unshare(flags)?;
        if let Some((uids, gids)) = &self.maps {
            put(c"/proc/self/setgroups", c"deny")?;
            put(c"/proc/self/uid_map", uids)?;
            put(c"/proc/self/gid_map", gids)?;
        }
        // What is mounted from now on is nobody else's business.
        mount(None::<&CStr>, c"/", None::<&CStr>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&CStr>)?;
        Ok(())
    }

    /// Makes `command` start inside such namespaces; to be killed when the thread that starts it ends.
    pub fn wrap(self, command: &mut Command) {
        before_exec(command, move || {
            self.enter()?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        });
    }
}

fn put(path: &CStr, text: &CStr) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, text.to_bytes()).map(drop)
}

/// Registers `work` to run in the child between fork and exec.
#[expect(unsafe_code, reason = "std has no safe way to run system calls in a child before it executes")]
fn before_exec(command: &mut Command, mut work: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    let work = move || {
        // Signals this thread keeps for itself are not the child's affair.
        SigSet::empty().thread_set_mask()?;
        work()
    };
    // SAFETY: both callers pass closures that only make system calls on values prepared before the fork: they
    // neither allocate nor take a lock, so a lock held by another thread at the fork cannot stop them.
    unsafe { command.pre_exec(work) };
}

/// Runs `work` on a thread that ends with it, because a thread that left its namespace cannot be used for others.
fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

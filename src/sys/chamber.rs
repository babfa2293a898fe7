//! A chamber: programs of another system at work on this machine, in a root, with processes and devices of their own.
//!
//! Three processes: whoever calls [`Chamber::run`] stays outside and looks after the terminal ([`attend`]); the first one
//! inside prepares the root ([`mounts`]), gives up what it does not need ([`rights`]) and reaps; its child is the program.
//! When either of the first two ends, however it ends, the kernel ends everything inside and takes every mount with it.
//!
//! What programs inside cannot reach, even as root: files outside their root (it is the only mount they see), devices but
//! the six that hold nothing (nodes on any mount they can write to do nothing), other processes, the kernel's settings,
//! modules, the clock, mounts. What they can: the network as this machine, and as much processor, memory and disk as there
//! is. A fault of the kernel is no part of this.
//!
//! Sources: namespaces(7), pid_namespaces(7), pivot_root(2), capabilities(7), devpts of the kernel's documentation; which
//! parts of `/proc` are covered follows the default of the OCI runtime specification.

mod attend;
mod mounts;
mod rights;

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use self::attend::Word;
pub use self::attend::has_terminal;

/// What is to run, and what it sees.
#[derive(Debug)]
pub struct Chamber<'a> {
    /// The folder that is its root.
    pub root: &'a Path,
    /// The program, looked for in `PATH` inside, and its arguments.
    pub program: &'a [OsString],
    /// All of its environment.
    pub environment: &'a [(&'a str, OsString)],
    /// Where it begins; the root if there is no such folder.
    pub folder: &'a Path,
    /// Files that it sees with another content, which cannot be written: path inside and text. Those that are not there
    /// stay so, unless they are links into `/run`.
    pub covered: &'a [(&'a str, String)],
    /// Whether it gets a terminal of its own, which the caller's is connected to.
    pub terminal: bool,
}

/// Why nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum ChamberError {
    #[error("this system's kernel has no namespaces of processes or mounts (`{0}`)")]
    NoNamespaces(&'static str),
    #[error("namespaces may not be made here; it needs root outside of containers")]
    NotAllowed,
    #[error("{0}")]
    Inside(String),
    /// The kernel cannot run the program: it is for another processor.
    #[error("`{}` cannot be run on this processor", .0.display())]
    OtherProcessor(OsString),
    #[error("`{}` is not there", .0.display())]
    NoProgram(OsString),
    #[error("`{}` may not be run", .0.display())]
    NoRight(OsString),
    #[error("{doing} failed")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

fn failed(doing: &'static str) -> impl FnOnce(Errno) -> ChamberError {
    move |error| ChamberError::Io { doing, source: error.into() }
}

impl Chamber<'_> {
    /// Runs the program to its end; answers with its exit code, or as shells count 128 and the number of the signal that
    /// ended it. SIGTERM, SIGINT and SIGHUP of the calling process are passed on to it.
    ///
    /// The calling process must have one thread, and be about to end: it is in another namespace afterwards.
    pub fn run(&self) -> Result<u8, ChamberError> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|source| ChamberError::Io { doing: "making a socket", source })?;
        let ipc = CloneFlags::CLONE_NEWIPC;
        // A kernel without it has nothing that programs could share by it.
        match unshare(ipc) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(Errno::EPERM) => return Err(ChamberError::NotAllowed),
            Err(error) => return Err(failed("making a namespace")(error)),
        }
        unshare(CloneFlags::CLONE_NEWPID).map_err(|error| match error {
            Errno::EINVAL => ChamberError::NoNamespaces("CONFIG_PID_NS"),
            Errno::EPERM => ChamberError::NotAllowed,
            other => failed("making a namespace")(other),
        })?;
        let signals = attend::signals();
        signals.thread_block().map_err(failed("blocking signals"))?;
        match fork_alone().map_err(failed("starting a process"))? {
            None => {
                drop(ours);
                self.first_inside(&theirs)
            }
            Some(first) => {
                drop(theirs);
                let attended = attend::attend(first, &ours, &signals, self.terminal);
                let _ = signals.thread_unblock();
                attended.and_then(|end| match end {
                    attend::End::Exited(code) => Ok(code),
                    attend::End::Said(word) => Err(word.into_error(self.program)),
                })
            }
        }
    }

    /// The first process inside. Ends with the program's exit code, and everything inside with it.
    fn first_inside(&self, outside: &UnixStream) -> ! {
        let code = match self.begin(outside) {
            Ok(program) => reap(program),
            Err(word) => {
                word.tell(outside);
                125
            }
        };
        std::process::exit(code);
    }

    /// Prepares the inside and starts the program.
    fn begin(&self, outside: &UnixStream) -> Result<Pid, Word> {
        // Before anything else: without the process outside nobody would end this one.
        set_pdeathsig(Signal::SIGKILL).map_err(Word::because("binding it to its caller"))?;
        unshare(CloneFlags::CLONE_NEWNS).map_err(Word::because("making a namespace of mounts"))?;
        let terminal = mounts::prepare(self.root, self.covered, self.terminal)?;
        let (master, slave) = terminal.map_or((None, None), |(master, slave)| (Some(master), Some(slave)));
        Word::Ready.tell_with(outside, master.as_ref().map(std::os::fd::AsFd::as_fd))?;
        drop(master);
        if let Some(slave) = &slave {
            // The program gets these; nothing of the caller's terminal comes inside.
            dup2_stdin(slave).map_err(Word::because("using the terminal"))?;
            dup2_stdout(slave).map_err(Word::because("using the terminal"))?;
            dup2_stderr(slave).map_err(Word::because("using the terminal"))?;
        }
        let with_terminal = slave.is_some();
        drop(slave);
        rights::give_up().map_err(|error| Word::Failed(format!("giving up rights failed: {error}")))?;
        close_all_but(outside);
        let [program, arguments @ ..] = self.program else {
            return Err(Word::Failed("there is nothing to run".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        let folder = if self.folder.is_dir() { self.folder } else { Path::new("/") };
        command.current_dir(folder).stdin(Stdio::inherit());
        own_session(&mut command, with_terminal);
        match command.spawn() {
            Ok(child) => Ok(Pid::from_raw(child.id().cast_signed())),
            Err(error) => Err(match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOEXEC) => Word::OtherProcessor,
                Some(Errno::ENOENT) => Word::NoProgram,
                Some(Errno::EACCES) => Word::NoRight,
                _ => Word::Failed(format!("`{}` cannot be run: {error}", program.display())),
            }),
        }
    }
}

/// Ends every process inside that the program left behind, as it comes; the code that the program ended with.
fn reap(program: Pid) -> i32 {
    // The first process of a namespace hears only of signals that it asks for.
    let mut asked = SigSet::empty();
    asked.add(Signal::SIGCHLD);
    asked.add(Signal::SIGTERM);
    let _ = asked.thread_block();
    loop {
        match waitpid(Pid::from_raw(-1), Some(nix::sys::wait::WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return code,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => return 128 + signal as i32,
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => continue,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return 125,
        }
        if asked.wait() == Ok(Signal::SIGTERM) {
            // To all inside but this one.
            let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
        }
    }
}

/// A process that begins a session, with the terminal on its standard input as its own.
#[expect(unsafe_code, reason = "std has no safe way to run system calls in a child before it executes")]
fn own_session(command: &mut Command, with_terminal: bool) {
    let own = move || {
        // Signals that the processes above keep for themselves are not its affair.
        SigSet::empty().thread_set_mask()?;
        setsid()?;
        if with_terminal {
            // SAFETY: takes a number only.
            let got = unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) };
            if got < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: system calls on numbers; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(own) };
}

/// Closes every descriptor but the standard ones and `kept`, which goes when the program starts.
#[expect(
    unsafe_code,
    reason = "descriptors are closed by number, whoever owned them in the process this was forked from"
)]
fn close_all_but(kept: &UnixStream) {
    use std::os::fd::AsRawFd as _;
    let kept = u32::try_from(kept.as_raw_fd()).unwrap_or(u32::MAX);
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: this process uses none of them any more, and drops no owner of one before it ends.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    close(3, kept.saturating_sub(1));
    close(kept.saturating_add(1), u32::MAX);
}

/// The child's side answers `None`.
#[expect(unsafe_code, reason = "a fork is unsafe where other threads may hold locks")]
fn fork_alone() -> nix::Result<Option<Pid>> {
    // SAFETY: the process has one thread, as `Chamber::run` demands, so the child is a whole copy of it.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child)),
    }
}

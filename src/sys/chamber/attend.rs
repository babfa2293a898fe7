//! The side of a chamber that stays outside: the caller's terminal, signals, and what the inside has to say.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};

use super::{ChamberError, failed};
use crate::sys::terminal::{self, Raw};

/// How long programs inside have to end by themselves once they are asked to.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Longest sentence of the inside, in bytes.
const SENTENCE: usize = 4096;

/// What the first process inside tells the one outside, once.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// Everything is in its place; the terminal comes with it.
    Ready,
    OtherProcessor,
    NoProgram,
    NoRight,
    Failed(String),
}

impl Word {
    pub fn because(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |error| Self::Failed(format!("{doing} failed: {error}"))
    }

    fn text(&self) -> String {
        match self {
            Self::Ready => "R".to_owned(),
            Self::OtherProcessor => "P".to_owned(),
            Self::NoProgram => "N".to_owned(),
            Self::NoRight => "A".to_owned(),
            Self::Failed(why) => format!("F{why}"),
        }
    }

    fn read(text: &str) -> Self {
        match (text.get(..1), text.get(1..)) {
            (Some("R"), _) => Self::Ready,
            (Some("P"), _) => Self::OtherProcessor,
            (Some("N"), _) => Self::NoProgram,
            (Some("A"), _) => Self::NoRight,
            (Some("F"), Some(why)) => Self::Failed(why.to_owned()),
            _ => Self::Failed("the inside ended without a word".to_owned()),
        }
    }

    pub fn tell(&self, outside: &UnixStream) {
        // If nobody listens any more, nobody is left to be told.
        let _ = (&*outside).write_all(self.text().as_bytes());
    }

    /// Tells it together with a descriptor.
    pub fn tell_with(&self, outside: &UnixStream, with: Option<BorrowedFd<'_>>) -> Result<(), Self> {
        let text = self.text();
        let numbers: Vec<_> = with.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
        sendmsg::<()>(
            outside.as_raw_fd(),
            &[IoSlice::new(text.as_bytes())],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
        .map_err(Self::because("telling the outside"))
    }

    pub fn into_error(self, program: &[OsString]) -> ChamberError {
        let program = program.first().cloned().unwrap_or_default();
        match self {
            Self::OtherProcessor => ChamberError::OtherProcessor(program),
            Self::NoProgram => ChamberError::NoProgram(program),
            Self::NoRight => ChamberError::NoRight(program),
            Self::Failed(why) => ChamberError::Inside(why),
            Self::Ready => ChamberError::Inside("the inside ended without a word".to_owned()),
        }
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Exited(u8),
    /// The program never ran.
    Said(Word),
}

/// The signals that are attended to.
pub fn signals() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGWINCH] {
        set.add(signal);
    }
    set
}

/// Looks after the process `first` until it ends.
pub fn attend(
    first: Pid,
    inside: &UnixStream,
    signals: &SigSet,
    terminal: bool,
) -> Result<End, ChamberError> {
    let (word, master) = listen(inside)?;
    if word != Word::Ready {
        let _ = waitpid(first, None);
        return Ok(End::Said(word));
    }
    let heard = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("hearing signals"))?;
    let raw = if terminal { Raw::on(io::stdin()).ok() } else { None };
    let mut relay = Relay { master, keyboard: terminal, heard, first, until: None };
    relay.resize();
    let end = relay.run();
    drop(raw);
    // What it said when the program could not be started; nothing if it could.
    let mut last = String::new();
    let _ = inside.set_nonblocking(true);
    let _ = inside.take(SENTENCE as u64).read_to_string(&mut last);
    let end = end?;
    Ok(if last.is_empty() { End::Exited(end) } else { End::Said(Word::read(&last)) })
}

/// The first word of the inside, and what came with it.
#[expect(unsafe_code, reason = "a descriptor that arrives in a message is a number")]
fn listen(inside: &UnixStream) -> Result<(Word, Option<OwnedFd>), ChamberError> {
    let mut text = vec![0; SENTENCE];
    let mut room = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<()>(inside.as_raw_fd(), &mut slices, Some(&mut room), flags)
        .map_err(failed("hearing of the inside"))?;
    let length = got.bytes;
    let mut master = None;
    for message in got.cmsgs().map_err(failed("hearing of the inside"))? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just made this descriptor for this process; nobody else knows it.
            master = numbers.first().map(|number| unsafe { OwnedFd::from_raw_fd(*number) });
        }
    }
    let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
    Ok((Word::read(&text), master))
}

struct Relay {
    /// The terminal of the inside.
    master: Option<OwnedFd>,
    /// Whether anything more can be typed.
    keyboard: bool,
    heard: SignalFd,
    first: Pid,
    /// When programs that were asked to end are made to.
    until: Option<Instant>,
}

impl Relay {
    fn run(&mut self) -> Result<u8, ChamberError> {
        loop {
            if let Some(code) = self.ended()? {
                self.drain();
                return Ok(code);
            }
            let timeout = match self.until {
                Some(until) if until.saturating_duration_since(now()).is_zero() => {
                    let _ = kill(self.first, Signal::SIGKILL);
                    PollTimeout::NONE
                }
                Some(until) => {
                    PollTimeout::try_from(until.saturating_duration_since(now())).unwrap_or(PollTimeout::MAX)
                }
                None => PollTimeout::NONE,
            };
            let stdin = io::stdin();
            let mut fds = vec![PollFd::new(self.heard.as_fd(), PollFlags::POLLIN)];
            if let Some(master) = &self.master {
                fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
                if self.keyboard {
                    fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                }
            }
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(failed("waiting for the inside")(error)),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if ready.get(1) == Some(&true) && !self.show() {
                self.master = None;
            }
            if ready.get(2) == Some(&true) {
                self.keyboard = self.typed();
            }
            self.signals()?;
        }
    }

    /// Its exit code, if it has ended.
    fn ended(&self) -> Result<Option<u8>, ChamberError> {
        match waitpid(self.first, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Ok(Some(u8::try_from(code).unwrap_or(u8::MAX))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(128_u8.saturating_add(signal as u8))),
            Ok(_) | Err(Errno::EINTR) => Ok(None),
            Err(error) => Err(failed("waiting for the inside")(error)),
        }
    }

    /// Whatever the programs inside wrote last.
    fn drain(&mut self) {
        while let Some(master) = &self.master {
            let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            let more = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
            if !more || !self.show() {
                return;
            }
        }
    }

    /// Passes on what the inside wrote; whether there may be more.
    fn show(&self) -> bool {
        let Some(master) = &self.master else { return false };
        let mut bytes = [0; 4096];
        match read(master, &mut bytes) {
            // Nobody inside has the terminal open any more: EIO.
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let mut out = io::stdout().lock();
                out.write_all(bytes.get(..length).unwrap_or_default()).and_then(|()| out.flush()).is_ok()
            }
        }
    }

    /// Passes on what was typed; whether there may be more.
    fn typed(&self) -> bool {
        let Some(master) = &self.master else { return false };
        let mut bytes = [0; 1024];
        match read(io::stdin(), &mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let mut rest = bytes.get(..length).unwrap_or_default();
                while let Ok(written @ 1..) = write(master, rest) {
                    rest = rest.get(written..).unwrap_or_default();
                    if rest.is_empty() {
                        return true;
                    }
                }
                false
            }
        }
    }

    fn signals(&mut self) -> Result<(), ChamberError> {
        while let Some(got) = self.heard.read_signal().map_err(failed("hearing signals"))? {
            match Signal::try_from(got.ssi_signo.cast_signed()) {
                Ok(Signal::SIGWINCH) => self.resize(),
                Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP) => {
                    let _ = kill(self.first, Signal::SIGTERM);
                    self.until.get_or_insert(now() + LAST_WORDS);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The terminal inside is as large as the one outside.
    fn resize(&self) {
        if let (Some(master), Some((columns, rows))) = (&self.master, terminal::size(io::stdout())) {
            terminal::set_size(master, columns, rows);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this process waits for real programs")]
fn now() -> Instant {
    Instant::now()
}

/// Whether the caller sits at a terminal that can be connected.
pub fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_as_they_were_told() {
        for word in [
            Word::Ready,
            Word::OtherProcessor,
            Word::NoProgram,
            Word::NoRight,
            Word::Failed("no room".to_owned()),
        ] {
            assert_eq!(Word::read(&word.text()), word);
        }
        assert_eq!(Word::read(""), Word::Failed("the inside ended without a word".to_owned()));
    }
}

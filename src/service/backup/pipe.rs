//! A FIFO between a job and a command line that stands at its other end: nothing here waits for longer than a moment
//! without asking whether the job is still wanted.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::service::jobs::{Cancelled, Task};

/// Between two questions whether to go on.
const MOMENT: Duration = Duration::from_millis(100);
const MOMENT_MS: u8 = 100;

/// How often the other end is looked for: ten seconds.
const TRIES: u32 = 100;

/// One end of a FIFO.
#[derive(Debug)]
pub struct Pipe {
    file: File,
    task: Task,
}

impl Pipe {
    pub fn reader(path: &Path, task: &Task) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
        let pipe = Self { file, task: task.clone() };
        // Until somebody has opened the other end a read would find the end at once.
        for _ in 0..TRIES {
            if pipe.ready(PollFlags::POLLIN)? {
                return Ok(pipe);
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "nobody writes into it"))
    }

    pub fn writer(path: &Path, task: &Task) -> io::Result<Self> {
        for _ in 0..TRIES {
            let opened =
                File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
            match opened {
                Ok(file) => return Ok(Self { file, task: task.clone() }),
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => thread::sleep(MOMENT),
                Err(error) => return Err(error),
            }
            task.go_on().map_err(stop)?;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads from it"))
    }

    fn ready(&self, flags: PollFlags) -> io::Result<bool> {
        self.task.go_on().map_err(stop)?;
        match poll(&mut [PollFd::new(self.file.as_fd(), flags)], PollTimeout::from(MOMENT_MS)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(PollFlags::POLLIN)?;
                }
                Ok(got) => {
                    self.task.advance(got as u64);
                    return Ok(got);
                }
                other => return other,
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(PollFlags::POLLOUT)?;
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file whose bytes count as progress.
#[derive(Debug)]
pub struct Counted {
    pub file: File,
    pub task: Task,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.task.advance(got as u64);
        Ok(got)
    }
}

/// Carries the wish to stop through functions that know only errors of files.
fn stop(cancelled: Cancelled) -> io::Error {
    io::Error::other(cancelled)
}

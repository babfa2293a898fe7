//! Carries bytes between something on this client and a connection to the server that has become more than messages.
//!
//! What one side does not take is not read from the other, so no more than a piece each way is in memory.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::link::Connection;

/// Bytes that are passed on at a time: what Linux asks for and sends at once fits.
const PIECE: usize = 128 * 1024;

/// Which side has ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Server,
    Here,
}

/// Until either side ends. `here` must not block. `meanwhile` is called every `every`, and must not block either.
pub fn carry<L: Read + Write + AsFd>(
    server: &mut Connection,
    here: &mut L,
    every: Duration,
    mut meanwhile: impl FnMut(),
) -> io::Result<Side> {
    let (mut from_here, mut from_server) = (vec![0; PIECE], vec![0; PIECE]);
    // What the server has sent and this side has not taken.
    let mut waiting = 0..0;
    let mut last = Instant::now();
    // TLS may hold bytes that no poll tells of.
    let mut more = false;
    loop {
        server.flush()?;
        let mut of_server = PollFlags::empty();
        of_server.set(PollFlags::POLLIN, waiting.is_empty());
        of_server.set(PollFlags::POLLOUT, server.wants_write());
        let mut of_here = PollFlags::empty();
        of_here.set(PollFlags::POLLIN, !server.wants_write());
        of_here.set(PollFlags::POLLOUT, !waiting.is_empty());
        {
            let mut fds = [PollFd::new(server.socket(), of_server), PollFd::new(here.as_fd(), of_here)];
            let timeout = if more && waiting.is_empty() {
                Duration::ZERO
            } else {
                every.saturating_sub(last.elapsed())
            };
            match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if last.elapsed() >= every {
            last = Instant::now();
            meanwhile();
        }
        if waiting.is_empty() {
            match server.receive_bytes(&mut from_server) {
                Ok(length) => (waiting, more) = (0..length, length > 0),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Side::Server),
                Err(error) => return Err(error),
            }
        }
        if !waiting.is_empty() {
            match here.write(from_server.get(waiting.clone()).unwrap_or_default()) {
                Ok(written) => waiting.start += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !server.wants_write() {
            match here.read(&mut from_here) {
                Ok(0) => return Ok(Side::Here),
                Ok(length) => server.write(from_here.get(..length).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

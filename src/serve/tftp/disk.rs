//! What may wait for the disk, done off the runtime: finding the file of a request, and reading pages that are not in
//! memory.
//!
//! A few jobs run at once and the others wait in line, so one slow read holds up neither the transfers whose data is
//! there nor the rest of the daemon.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddrV4;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinSet;

use crate::service::boot_tree::{Content, Missing};
use crate::types::limits;

/// Work for a thread that may wait.
pub type Job = Box<dyn FnOnce() -> Done + Send>;

/// What a job came to.
pub enum Done {
    /// The file that `peer` asked for was looked up. `largest_block`: what fits a frame on the way to it, in bytes.
    Opened { peer: SocketAddrV4, content: Result<Content, Missing>, largest_block: u16 },
    /// A part of the file of transfer `slot` was read; `serial` tells whether that slot still is the same transfer.
    Read { slot: usize, serial: u64, buffer: Vec<u8>, result: io::Result<()> },
}

/// The jobs that run and those in line. The line is bounded by its users: each client and each transfer has at most one
/// job at a time.
#[derive(Default)]
pub struct Disk {
    running: JoinSet<Done>,
    line: VecDeque<Job>,
}

impl Disk {
    pub fn start(&mut self, job: Job) {
        self.line.push_back(job);
        self.fill();
    }

    /// The next job that is done; registers `context` for a later one.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        match self.running.poll_join_next(context) {
            Poll::Ready(Some(ended)) => {
                self.fill();
                match ended {
                    Ok(done) => Poll::Ready(done),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn fill(&mut self) {
        while self.running.len() < limits::TFTP_DISK_JOBS {
            let Some(job) = self.line.pop_front() else { return };
            self.running.spawn_blocking(job);
        }
    }
}

/// Fills `buffer` from `file` at `offset`, waiting for the disk as long as it takes.
pub fn read(file: Arc<File>, offset: u64, mut buffer: Vec<u8>, slot: usize, serial: u64) -> Job {
    Box::new(move || {
        let result = file.read_exact_at(&mut buffer, offset);
        Done::Read { slot, serial, buffer, result }
    })
}

//! A classroom: a laboratory with the daemon in it, the sample image imported, and Pis to switch on all at once.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::net::{Lab, Machine, NetError, Segment};
use super::pi::seat::Seated;
use super::pi::{Board, Failure, News, Options, Up, power_on};
use super::sample::{Release, write_tree};
use super::server::{Seat, Server, ServerError, Site};
use crate::types::{Secret, UserName};

/// News that may wait for whoever shows them; a Pi that has more to say waits.
const WAITING: usize = 1024;

/// Why there is no classroom.
#[derive(Debug, thiserror::Error)]
pub enum ClassroomError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the sample image cannot be written")]
    Sample(#[source] io::Error),
    #[error("a Pi cannot be switched on")]
    PowerOn(#[source] io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// How each Pi ended.
pub type Outcome = Result<Box<Up>, Failure>;

#[derive(Debug)]
pub struct Classroom {
    lab: Lab,
    lan: Segment,
    pub server: Server,
    pub boards: Vec<Board>,
    /// One for each board, from the first [`Self::boot`] on.
    machines: Vec<Machine>,
}

impl Classroom {
    /// Boards 0 to `clients`, configured as `seat-01` and so on; the daemon is `program serve`, everything it writes
    /// is below `folder`.
    pub fn open(program: &Path, folder: &Path, clients: u16) -> Result<Self, ClassroomError> {
        let boards: Vec<Board> = (0..clients).map(Board::nth).collect();
        let seats =
            boards.iter().zip(1..).map(|(board, n)| Seat { mac: board.mac, name: format!("seat-{n:02}") });
        Self::with_site(program, Site::new(folder, seats.collect()), boards)
    }

    pub fn with_site(program: &Path, site: Site, boards: Vec<Board>) -> Result<Self, ClassroomError> {
        raise_file_limit();
        let (lab, lan, machine) = Lab::with_server(&site.device)?;
        let server = Server::start(program, &machine, site)?;
        Ok(Self { lab, lan, server, boards, machines: Vec::new() })
    }

    /// Writes the sample tree of `release` and imports it as the site's image, the way an administrator would.
    pub fn import_sample(&self, release: Release) -> Result<(), ClassroomError> {
        let site = self.server.site();
        let tree = site.folder.join("sample");
        write_tree(&tree, release).map_err(ClassroomError::Sample)?;
        let source = tree.to_string_lossy();
        self.server.tell(&["image", "import", &source, "--name", &site.image])?;
        Ok(())
    }

    /// The machine that board `n` is, once it was switched on.
    pub fn machine(&self, n: usize) -> Option<&Machine> {
        self.machines.get(n)
    }

    /// Somebody sits down at each Pi that is up, all at once; `who` names them by the number of the board.
    pub fn log_in(
        &self,
        ups: &[(usize, &Up)],
        who: impl Fn(usize) -> (UserName, Secret),
    ) -> Vec<Result<Seated, String>> {
        self.log_in_watched(ups, who, |_| ControlFlow::Continue(())).expect("nobody breaks off")
    }

    /// As [`Self::log_in`]; `watch` hears the news as that of [`Self::boot`] does.
    pub fn log_in_watched(
        &self,
        ups: &[(usize, &Up)],
        who: impl Fn(usize) -> (UserName, Secret),
        watch: impl FnMut(Option<(usize, News)>) -> ControlFlow<()>,
    ) -> Result<Vec<Result<Seated, String>>, ClassroomError> {
        let (tell, news) = sync_channel(WAITING);
        std::thread::scope(|scope| {
            let threads: Vec<_> = ups
                .iter()
                .map(|(n, up)| {
                    let (user, password) = who(*n);
                    let (machine, tell) = (self.machine(*n), tell.clone());
                    scope.spawn(move || {
                        let seated = match machine {
                            Some(machine) => up.log_in(machine, &user, &password),
                            None => Err("it was never switched on".to_owned()),
                        };
                        let news = match &seated {
                            Ok(_) => News::LoggedIn(user),
                            Err(error) => News::Failed(format!("{user} cannot log in: {error}")),
                        };
                        // Nobody hears it who has stopped watching.
                        let _ = tell.send((*n, news));
                        seated
                    })
                })
                .collect();
            drop(tell);
            follow(&news, watch)?;
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            Ok(threads.into_iter().map(join).collect())
        })
    }

    /// A machine on the classroom's network that is no Pi.
    pub fn lab(&mut self) -> (&mut Lab, &Segment) {
        (&mut self.lab, &self.lan)
    }

    /// Switches all boards on at once and waits for all. `watch` hears the news, each with the board's number, and
    /// `None` ten times a second; it may break off.
    pub fn boot(
        &mut self,
        options: Options,
        watch: impl FnMut(Option<(usize, News)>) -> ControlFlow<()>,
    ) -> Result<Vec<Outcome>, ClassroomError> {
        for board in self.boards.iter().skip(self.machines.len()) {
            self.machines.push(self.lab.client(&self.lan, board.mac)?);
        }
        let (tell, news) = sync_channel(WAITING);
        let mut pis = Vec::new();
        for (id, (board, machine)) in self.boards.iter().zip(&self.machines).enumerate() {
            pis.push(
                power_on(*board, machine.clone(), options, id, tell.clone())
                    .map_err(ClassroomError::PowerOn)?,
            );
        }
        drop(tell);
        follow(&news, watch)?;
        Ok(pis
            .into_iter()
            .map(|pi| pi.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect())
    }
}

/// Lets `watch` hear all news until nobody has any more.
fn follow(
    news: &Receiver<(usize, News)>,
    mut watch: impl FnMut(Option<(usize, News)>) -> ControlFlow<()>,
) -> Result<(), ClassroomError> {
    loop {
        let event = match news.recv_timeout(Duration::from_millis(100)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if watch(event).is_break() {
            return Err(ClassroomError::Interrupted);
        }
    }
}

/// A hundred Pis hold some hundred descriptors; the usual soft limit is 1024, the hard limit is for those who ask.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard); // Refused: then the old limit stays.
    }
}

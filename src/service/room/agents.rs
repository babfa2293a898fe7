//! The agents that are connected: orders to them, and what they answered.
//!
//! Beside [`Sessions`](crate::service::sessions::Sessions), which has its own line to end sessions: what is said here
//! concerns the client, not a person. An order is a ticket; the connection that carries it out brings the answer back
//! under the same ticket, and a connection that ends takes its tickets with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::proto::agent::act::Act;
use crate::proto::agent::channel::{Hello, Label};
use crate::proto::agent::run::{self, End, Line};
use crate::service::jobs::Task;
use crate::types::{MacAddr, Mode, Moment};

/// One order on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a connection is given to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub ticket: Ticket,
    pub what: What,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Act(Act),
    Run(Line),
    /// To end the command that was begun under the same ticket.
    Stop,
}

/// How an order went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// In the agent's own words.
    Trouble(String),
    /// The connection ended before the agent answered.
    Lost,
}

/// Why an order is not on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("its agent is not connected")]
    NotConnected,
    #[error(
        "its agent is of an older package; start the client again, so that it fetches the agent of this one"
    )]
    TooOld,
    #[error("its agent does not take orders as fast as they come")]
    Busy,
    #[error("it has not booted the draft; start it again")]
    NoDraft,
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn not_sent(error: mpsc::error::TrySendError<Command>) -> NotSent {
    match error {
        mpsc::error::TrySendError::Full(_) => NotSent::Busy,
        mpsc::error::TrySendError::Closed(_) => NotSent::NotConnected,
    }
}

/// An agent that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Which agent this is, such as `0.1.0`.
    pub version: Label,
    pub since: Moment,
    /// Which start of the client this is.
    pub boot_id: Label,
    /// How the client has been used since its start.
    pub mode: Option<Mode>,
}

/// Whether a client's agent is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It has not been since Bramble was started.
    #[default]
    Unknown,
    Here {
        since: Moment,
        heard: Moment,
    },
    Gone {
        since: Moment,
    },
}

/// All of them.
#[derive(Debug, Default)]
pub struct Agents {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    of: HashMap<MacAddr, AgentLine>,
    /// When those parted that are not there.
    gone: HashMap<MacAddr, Moment>,
    /// Of the newest connection.
    number: u32,
    last: u64,
    tickets: HashMap<Ticket, (MacAddr, Option<Answer>)>,
    runs: HashMap<Ticket, Run>,
}

#[derive(Debug)]
struct AgentLine {
    number: u32,
    connected: Connected,
    /// When it last said anything.
    heard: Moment,
    can: Vec<Label>,
    commands: mpsc::Sender<Command>,
}

/// How a command on a client came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// As the agent says.
    Told(End),
    /// The connection ended before: nobody knows.
    Lost,
}

/// A command at work on a client.
#[derive(Debug)]
struct Run {
    mac: MacAddr,
    /// The job that it is, which has what it prints.
    task: Task,
    end: Option<RunEnd>,
}

impl Agents {
    /// An agent has greeted. A newer connection of a client takes the place of an older one. The number is for
    /// [`Self::disconnected`].
    pub fn connected(
        &self,
        mac: MacAddr,
        hello: &Hello,
        commands: mpsc::Sender<Command>,
        now: Moment,
    ) -> u32 {
        let mut inner = self.lock();
        inner.number = inner.number.wrapping_add(1);
        let number = inner.number;
        let connected = Connected {
            version: hello.agent.clone(),
            since: now,
            boot_id: hello.boot_id.clone(),
            mode: hello.mode,
        };
        inner.lose(mac);
        inner.gone.remove(&mac);
        let line = AgentLine { number, connected, heard: now, can: hello.can.clone(), commands };
        inner.of.insert(mac, line);
        number
    }

    /// The connection with this number is no more.
    pub fn disconnected(&self, mac: MacAddr, number: u32, now: Moment) {
        let mut inner = self.lock();
        if inner.of.get(&mac).is_some_and(|line| line.number == number) {
            inner.of.remove(&mac);
            inner.gone.insert(mac, now);
            inner.lose(mac);
        }
    }

    /// The connection with this number has said something.
    pub fn heard(&self, mac: MacAddr, number: u32, now: Moment) {
        if let Some(line) = self.lock().of.get_mut(&mac).filter(|line| line.number == number) {
            line.heard = now;
        }
    }

    /// Whether the agent of `mac` is there, and since when it is or is not.
    pub fn presence(&self, mac: MacAddr) -> Presence {
        let inner = self.lock();
        match (inner.of.get(&mac), inner.gone.get(&mac)) {
            (Some(line), _) => Presence::Here { since: line.connected.since, heard: line.heard },
            (None, Some(since)) => Presence::Gone { since: *since },
            (None, None) => Presence::Unknown,
        }
    }

    pub fn get(&self, mac: MacAddr) -> Option<Connected> {
        self.lock().of.get(&mac).map(|line| line.connected.clone())
    }

    /// Gives `act` to the agent of `mac`. Whoever has a ticket asks for its answer, and returns it with [`Self::forget`].
    pub fn send(&self, mac: MacAddr, act: Act) -> Result<Ticket, NotSent> {
        let mut inner = self.lock();
        let ticket = Ticket(inner.last + 1);
        let line = inner.of.get(&mac).ok_or(NotSent::NotConnected)?;
        if !line.can.iter().any(|word| word.as_str() == act.needs()) {
            return Err(NotSent::TooOld);
        }
        line.commands.try_send(Command { ticket, what: What::Act(act) }).map_err(not_sent)?;
        inner.last = ticket.0;
        inner.tickets.insert(ticket, (mac, None));
        Ok(ticket)
    }

    /// A connection of `mac` brings an answer; one to another client's order, or to none, is nothing.
    pub fn answered(&self, mac: MacAddr, ticket: Ticket, trouble: Option<Label>) {
        let answer = trouble.map_or(Answer::Done, |trouble| Answer::Trouble(trouble.into()));
        if let Some((of, place)) = self.lock().tickets.get_mut(&ticket)
            && *of == mac
        {
            place.get_or_insert(answer);
        }
    }

    /// Has the client `mac`, whose root is a draft, run `line`; what it prints goes to `task`. Whoever has the ticket asks for
    /// its end, and returns it with [`Self::forget`].
    pub fn run(&self, mac: MacAddr, line: Line, task: &Task) -> Result<Ticket, NotSent> {
        let mut inner = self.lock();
        let ticket = Ticket(inner.last + 1);
        let to = inner.of.get(&mac).ok_or(NotSent::NotConnected)?;
        if !to.can.iter().any(|word| word.as_str() == run::CAN) {
            return Err(NotSent::NoDraft);
        }
        to.commands.try_send(Command { ticket, what: What::Run(line) }).map_err(not_sent)?;
        inner.last = ticket.0;
        inner.runs.insert(ticket, Run { mac, task: task.clone(), end: None });
        Ok(ticket)
    }

    /// Asks for the end of a command.
    pub fn stop(&self, ticket: Ticket) {
        let inner = self.lock();
        if let Some(run) = inner.runs.get(&ticket)
            && let Some(to) = inner.of.get(&run.mac)
        {
            // It is asked again as long as the command goes on.
            let _ = to.commands.try_send(Command { ticket, what: What::Stop });
        }
    }

    /// A command of `mac` has printed something.
    pub fn printed(&self, mac: MacAddr, ticket: Ticket, bytes: &[u8]) {
        let task = self
            .lock()
            .runs
            .get(&ticket)
            .filter(|run| run.mac == mac && run.end.is_none())
            .map(|run| run.task.clone());
        if let Some(task) = task {
            task.printed().push(bytes);
        }
    }

    pub fn ran(&self, mac: MacAddr, ticket: Ticket, end: End) {
        if let Some(run) = self.lock().runs.get_mut(&ticket).filter(|run| run.mac == mac) {
            run.end.get_or_insert(RunEnd::Told(end));
        }
    }

    /// How a command ended; `None` while it is at work.
    pub fn end(&self, ticket: Ticket) -> Option<RunEnd> {
        self.lock().runs.get(&ticket).map_or(Some(RunEnd::Lost), |run| run.end.clone())
    }

    /// How an order went; `None` while it is under way.
    pub fn answer(&self, ticket: Ticket) -> Option<Answer> {
        match self.lock().tickets.get(&ticket) {
            Some((_, answer)) => answer.clone(),
            None => Some(Answer::Lost),
        }
    }

    pub fn forget(&self, ticket: Ticket) {
        let mut inner = self.lock();
        inner.tickets.remove(&ticket);
        inner.runs.remove(&ticket);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What is under way to `mac` gets no answer any more.
    fn lose(&mut self, mac: MacAddr) {
        for (of, answer) in self.tickets.values_mut().filter(|(of, answer)| *of == mac && answer.is_none()) {
            tracing::debug!(client = %of, "an order was under way when the connection ended");
            *answer = Some(Answer::Lost);
        }
        for run in self.runs.values_mut().filter(|run| run.mac == mac) {
            run.end.get_or_insert(RunEnd::Lost);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::proto::agent::act;
    use crate::types::limits;

    const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 2]);
    const NOON: Moment = Moment::from_secs(1_795_435_200);

    pub fn hello(can: &[&str]) -> Hello {
        Hello {
            version: 1,
            agent: "0.1.0".into(),
            boot_id: "boot-1".into(),
            sessions: vec![],
            can: can.iter().map(|word| Label::from(*word)).collect(),
            mode: None,
        }
    }

    #[test]
    fn an_order_is_answered_by_whom_it_was_given_to() {
        let agents = Agents::default();
        assert_eq!(agents.send(PI, Act::Lock), Err(NotSent::NotConnected));
        let (commands, mut taken) = mpsc::channel(limits::AGENT_ACTS);
        let number = agents.connected(PI, &hello(&[act::CAN]), commands, NOON);
        let ticket = agents.send(PI, Act::Lock).expect("sent");
        assert_eq!(taken.try_recv().expect("a command"), Command { ticket, what: What::Act(Act::Lock) });
        assert_eq!(agents.answer(ticket), None);
        agents.answered(OTHER, ticket, None);
        assert_eq!(agents.answer(ticket), None, "another client's word counts for nothing");
        agents.answered(PI, ticket, Some("no desktop".into()));
        agents.answered(PI, ticket, None);
        assert_eq!(agents.answer(ticket), Some(Answer::Trouble("no desktop".to_owned())), "the first answer");
        agents.forget(ticket);

        let lost = agents.send(PI, Act::Lock).expect("sent");
        agents.disconnected(PI, number + 1, NOON);
        assert_eq!(agents.answer(lost), None, "another connection ended");
        agents.disconnected(PI, number, NOON);
        assert_eq!((agents.answer(lost), agents.get(PI)), (Some(Answer::Lost), None));
    }

    #[test]
    fn it_is_known_since_when_an_agent_is_there_or_not() {
        let agents = Agents::default();
        assert_eq!(agents.presence(PI), Presence::Unknown);
        let at = |secs| NOON.plus(std::time::Duration::from_secs(secs));
        let connect = |secs| {
            let (commands, _) = mpsc::channel(limits::AGENT_ACTS);
            agents.connected(PI, &hello(&[]), commands, at(secs))
        };
        let (old, new) = (connect(0), connect(5));
        agents.heard(PI, old, at(7));
        assert_eq!(agents.presence(PI), Presence::Here { since: at(5), heard: at(5) }, "an older connection");
        agents.heard(PI, new, at(8));
        agents.disconnected(PI, old, at(9));
        assert_eq!(agents.presence(PI), Presence::Here { since: at(5), heard: at(8) });
        agents.disconnected(PI, new, at(10));
        assert_eq!(agents.presence(PI), Presence::Gone { since: at(10) });
        connect(20);
        assert_eq!(agents.presence(PI), Presence::Here { since: at(20), heard: at(20) });
    }

    #[test]
    fn a_command_prints_into_its_job_and_ends_once() {
        let agents = Agents::default();
        let task = Task::unwatched();
        let line: Line = "apt-get update".parse().expect("a line");
        let (commands, mut taken) = mpsc::channel(limits::AGENT_ACTS);
        agents.connected(PI, &hello(&[act::CAN]), commands.clone(), NOON);
        assert_eq!(agents.run(PI, line.clone(), &task), Err(NotSent::NoDraft), "its root is no draft");
        let number = agents.connected(PI, &hello(&[act::CAN, run::CAN]), commands, NOON);
        let ticket = agents.run(PI, line.clone(), &task).expect("sent");
        assert_eq!(taken.try_recv().expect("a command"), Command { ticket, what: What::Run(line.clone()) });
        agents.printed(OTHER, ticket, b"not mine");
        agents.printed(PI, ticket, b"Reading package lists...");
        agents.ran(OTHER, ticket, End::Exited(0));
        assert_eq!(agents.end(ticket), None, "another client's word counts for nothing");
        agents.stop(ticket);
        assert_eq!(taken.try_recv().expect("a command"), Command { ticket, what: What::Stop });
        agents.ran(PI, ticket, End::Exited(100));
        agents.printed(PI, ticket, b"too late");
        assert_eq!(agents.end(ticket), Some(RunEnd::Told(End::Exited(100))));
        assert_eq!(task.printed().piece(0, 100).text, "Reading package lists...");
        agents.forget(ticket);

        let lost = agents.run(PI, line, &task).expect("sent");
        agents.disconnected(PI, number, NOON);
        assert_eq!(agents.end(lost), Some(RunEnd::Lost));
    }

    #[test]
    fn who_cannot_or_does_not_listen_is_told_apart() {
        let agents = Agents::default();
        let (commands, _taken) = mpsc::channel(limits::AGENT_ACTS);
        agents.connected(PI, &hello(&[]), commands.clone(), NOON);
        assert_eq!(agents.send(PI, Act::Lock), Err(NotSent::TooOld));
        agents.connected(PI, &hello(&["light", act::CAN]), commands, NOON);
        for _ in 0..limits::AGENT_ACTS {
            agents.send(PI, Act::Lock).expect("sent");
        }
        assert_eq!(agents.send(PI, Act::Lock), Err(NotSent::Busy));
    }
}

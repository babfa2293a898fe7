//! Actions on clients, followed to their end: who was told, who did it, who could not be reached.
//!
//! An action is taken in at once and moved on by [`Actions::tick`]: first the countdown, if there is one, which people
//! at the clients see; then one client after the other, `pace` apart, so that a room does not start all at once; then the
//! router, when every client is off or its time is over. What is done is what was *seen* to be done: a client that is to
//! switch off has to say so, or to be gone from its root file system. A client without an agent is unreachable and stays
//! on the list as that.
//!
//! Actions are kept in memory: after a restart of the daemon nothing is under way. What the timetable has begun is kept in the
//! store ([`super::schedule`]), so its countdowns and its power-off go on.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::action::{ActionStatus, Kind, Phase, Progress, Refused, Request, TargetStatus};
use super::agents::{Agents, Answer, Ticket};
use super::schedule::{Due, Timetable};
use crate::config::{Config, Schedule, ScheduledAction};
use crate::proto::agent::act::{Act, Words};
use crate::proto::agent::channel::Label;
use crate::proto::dhcp::Uptime;
use crate::service::clients::Known;
use crate::service::events::{Events, Happening};
use crate::service::leases::Now;
use crate::service::sessions::Sessions;
use crate::store::{Store, StoreError};
use crate::types::{HostName, MacAddr, Mode, Moment, RoomName, SessionId, Stage, chain, limits};

/// What the store has the timetable's state under.
const KEPT: &str = "timetable";

/// When people are told how much time is left, besides at the beginning.
const MARKS: [Duration; 3] = [Duration::from_mins(5), Duration::from_mins(1), Duration::from_secs(10)];

/// Time between one client and the next, for what the timetable does.
const SCHEDULED_PACE: Duration = Duration::from_millis(500);

/// How long the light blinks.
const IDENTIFY_SECONDS: u8 = 30;

/// How long screens stay dark that nobody lights again.
const BLANK_SECONDS: u16 = 3600;

/// Switches this machine off, or says why it cannot.
pub type Router = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// All actions.
pub struct Actions {
    agents: Arc<Agents>,
    events: Arc<Events>,
    sessions: Arc<Sessions>,
    router: Router,
    store: Store,
    timetable: Mutex<Timetable>,
    inner: Mutex<Inner>,
    /// An action was begun.
    begun: Notify,
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actions").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    /// Oldest first.
    all: VecDeque<Action>,
}

#[derive(Debug)]
struct Action {
    id: u64,
    kind: Kind,
    message: Words,
    by: String,
    /// Of the timetable, if that began it.
    row: Option<Schedule>,
    /// Whether people may lose what they have not saved.
    force: bool,
    pace: Duration,
    started_at: Moment,
    begins: Uptime,
    begins_at: Moment,
    /// How much time was left when people were last told.
    told: Option<Duration>,
    ended_at: Option<Moment>,
    stopped: bool,
    targets: Vec<Target>,
    router: Option<Last>,
}

/// What becomes of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Last {
    Waits,
    Off,
    Stays(String),
}

#[derive(Debug)]
struct Target {
    mac: MacAddr,
    name: HostName,
    room: Option<RoomName>,
    state: Progress,
    says: String,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    up: Uptime,
    civil: Moment,
    ticket: Option<Ticket>,
    /// The start of the client that was told.
    boot_id: Option<Label>,
    /// Those that are to end.
    sessions: Vec<SessionId>,
}

impl Actions {
    pub fn open(
        agents: Arc<Agents>,
        events: Arc<Events>,
        sessions: Arc<Sessions>,
        store: Store,
        router: Router,
    ) -> Result<Self, StoreError> {
        let kept = store.kept(KEPT)?.unwrap_or_default();
        // What another version wrote is no reason not to start.
        let timetable = Mutex::new(Timetable::read(&kept).unwrap_or_default());
        Ok(Self {
            agents,
            events,
            sessions,
            router,
            store,
            timetable,
            inner: Mutex::default(),
            begun: Notify::new(),
        })
    }

    /// Takes an action in. It begins with the next [`Self::tick`].
    pub fn start(&self, request: Request, now: Now) -> Result<ActionStatus, Refused> {
        self.begin(request, None, now)
    }

    fn begin(&self, request: Request, row: Option<Schedule>, now: Now) -> Result<ActionStatus, Refused> {
        let Request { kind, targets, message, force, pace, grace, router, by } = request;
        if targets.is_empty() {
            return Err(Refused::Nobody);
        }
        if kind == Kind::Message && message.is_empty() {
            return Err(Refused::NoMessage);
        }
        if router && kind != Kind::Shutdown {
            return Err(Refused::NotTheRouter);
        }
        let people = self.people_at(&targets);
        if kind.ends_work() && !force && !people.is_empty() {
            return Err(Refused::LoggedIn { people });
        }
        let mut inner = self.lock();
        if inner.all.iter().filter(|action| action.ended_at.is_none()).count() >= limits::ACTIONS_RUNNING {
            return Err(Refused::TooMany);
        }
        inner.last += 1;
        let target = |known: Known| Target {
            mac: known.mac,
            name: known.name,
            room: known.room,
            state: Progress::Waiting,
            says: String::new(),
            sent: None,
        };
        let action = Action {
            id: inner.last,
            kind,
            message,
            by,
            row,
            force,
            pace,
            started_at: now.civil,
            begins: now.up.plus(grace),
            begins_at: now.civil.plus(grace),
            told: None,
            ended_at: None,
            stopped: false,
            targets: targets.into_iter().map(target).collect(),
            router: router.then_some(Last::Waits),
        };
        tracing::info!(
            action = action.id,
            kind = kind.as_str(),
            clients = action.targets.len(),
            by = action.by,
            router,
            "action begun"
        );
        let status = action.status(now);
        inner.all.push_back(action);
        while inner.all.len() > limits::ACTIONS {
            let over = inner.all.iter().position(|action| action.ended_at.is_some());
            let _ = over.and_then(|index| inner.all.remove(index));
        }
        drop(inner);
        self.begun.notify_one();
        Ok(status)
    }

    /// Begins what the timetable of `config` says for now, for those of `clients` that it is for, and stops what it does not say
    /// any more. Waits for the store.
    pub fn keep_time(&self, config: &Config, clients: impl Fn() -> Vec<Known>, now: Now) {
        self.keep_to(&config.schedules, now);
        let due = self
            .timetable(|timetable| timetable.due(&config.schedules, config.clock_rule.as_deref(), now.civil));
        for due in due {
            if let Err(refused) = self.scheduled(due, clients(), now) {
                tracing::warn!(why = %refused, "what the timetable says was not begun");
            }
        }
    }

    /// Changes what is known of the timetable, and has it on the disk before anything follows from it.
    fn timetable<T>(&self, change: impl FnOnce(&mut Timetable) -> T) -> T {
        let mut timetable = self.timetable.lock().unwrap_or_else(PoisonError::into_inner);
        let before = timetable.text();
        let result = change(&mut timetable);
        let after = timetable.text();
        if after != before
            && let Err(error) = self.store.keep(KEPT, &after)
        {
            tracing::error!(
                error = chain(&error),
                "what the timetable has begun cannot be stored, so a restart of the daemon could begin it again"
            );
        }
        result
    }

    /// Begins what is due, for those of `clients` that it is for.
    fn scheduled(&self, due: Due, clients: Vec<Known>, now: Now) -> Result<ActionStatus, Refused> {
        let Due { schedule, left } = due;
        let kind = match schedule.action {
            ScheduledAction::Shutdown => Kind::Shutdown,
            ScheduledAction::Reboot => Kind::Reboot,
            ScheduledAction::Logout => Kind::Logout,
        };
        let mut targets = clients;
        targets.retain(|known| known.adopted && (schedule.room.is_none() || known.room == schedule.room));
        let request = Request {
            kind,
            targets,
            message: Words::default(),
            // The countdown was the courtesy.
            force: true,
            pace: SCHEDULED_PACE,
            grace: left,
            router: schedule.router && schedule.room.is_none() && kind == Kind::Shutdown,
            by: "the timetable".to_owned(),
        };
        self.begin(request, Some(schedule), now)
    }

    /// Stops what a row of the timetable has begun that is not in it any more as it was then: somebody took it away, switched
    /// it off or changed it.
    fn keep_to(&self, rows: &[Schedule], now: Now) {
        let gone = |row: &Schedule| !rows.contains(row);
        let mut inner = self.lock();
        for action in inner.all.iter_mut().filter(|action| action.row.as_ref().is_some_and(gone)) {
            self.call_off(action, now);
        }
        drop(inner);
        self.begun.notify_one();
    }

    /// Every action that is remembered, newest first.
    pub fn list(&self, now: Now) -> Vec<ActionStatus> {
        self.lock().all.iter().rev().map(|action| action.status(now)).collect()
    }

    pub fn get(&self, id: u64, now: Now) -> Option<ActionStatus> {
        self.lock().all.iter().find(|action| action.id == id).map(|action| action.status(now))
    }

    /// Those that were not told yet are not told any more. `None`: there is no such action.
    pub fn stop(&self, id: u64, now: Now) -> Option<ActionStatus> {
        let mut inner = self.lock();
        let action = inner.all.iter_mut().find(|action| action.id == id)?;
        self.call_off(action, now);
        let status = action.status(now);
        drop(inner);
        self.begun.notify_one();
        Some(status)
    }

    fn call_off(&self, action: &mut Action, now: Now) {
        if action.ended_at.is_some() || action.stopped {
            return;
        }
        if let Some(row) = &action.row {
            self.timetable(|timetable| timetable.stop(row));
        }
        let was_told = action.told.is_some() && now.up < action.begins;
        for target in &mut action.targets {
            if target.state == Progress::Waiting {
                target.over(Progress::Stopped, "");
                if was_told {
                    self.tell(target.mac, "It has been called off: this computer stays on.");
                }
            }
        }
        action.stopped = true;
        if action.router == Some(Last::Waits) {
            action.router = Some(Last::Stays("it stays on, because the action was stopped".to_owned()));
        }
        tracing::info!(action = action.id, "action stopped");
    }

    /// Returns when an action was begun or stopped.
    pub async fn begun(&self) {
        self.begun.notified().await;
    }

    /// Moves every action on; whether any is under way. May wait for the store.
    pub fn tick(&self, now: Now) -> bool {
        let mut inner = self.lock();
        let mut off = None;
        for action in inner.all.iter_mut().filter(|action| action.ended_at.is_none()) {
            self.advance(action, now);
            if !action.targets.iter().all(|target| target.state.is_over()) {
                continue;
            }
            if action.router == Some(Last::Waits) {
                off = Some(action.id);
            }
            action.ended_at = Some(now.civil);
            if let Some(row) = &action.row {
                self.timetable(|timetable| timetable.end(row));
            }
            let done = action.targets.iter().filter(|target| target.state == Progress::Done).count();
            tracing::info!(action = action.id, done, of = action.targets.len(), "action ended");
        }
        let busy = inner.all.iter().any(|action| action.ended_at.is_none());
        drop(inner);
        if let Some(id) = off {
            tracing::info!(action = id, "switching the router off");
            let last = match (self.router)() {
                Ok(()) => Last::Off,
                Err(why) => {
                    tracing::error!(action = id, why, "the router could not be switched off");
                    Last::Stays(why)
                }
            };
            if let Some(action) = self.lock().all.iter_mut().find(|action| action.id == id) {
                action.router = Some(last);
            }
        }
        busy
    }

    fn advance(&self, action: &mut Action, now: Now) {
        if now.up < action.begins && !action.stopped {
            self.count_down(action, now);
            return;
        }
        let Action { kind, message, begins, force, pace, targets, router, .. } = action;
        let mut due = *begins;
        for target in targets {
            match target.state {
                Progress::Waiting if due <= now.up => {
                    if kind.ends_work() && !*force && self.has_person(target.mac) {
                        target.over(Progress::Failed, "somebody has logged in there since it was begun");
                        if *router == Some(Last::Waits) {
                            let why = "it stays on, because somebody has logged in since it was begun";
                            *router = Some(Last::Stays(why.to_owned()));
                        }
                    } else {
                        self.tell_to(*kind, message, target, now);
                    }
                }
                Progress::Sent => self.look(*kind, target, now),
                _ => {}
            }
            // Whom nobody could tell costs no time.
            if target.state != Progress::Unreachable {
                due = due.plus(*pace);
            }
        }
    }

    /// Tells people how much time is left, at the beginning and at each mark.
    fn count_down(&self, action: &mut Action, now: Now) {
        let left = action.begins.since(now.up);
        let mark = match action.told {
            None => Some(left),
            Some(told) => MARKS.into_iter().find(|mark| left <= *mark && *mark < told),
        };
        let Some(mark) = mark else { return };
        action.told = Some(mark);
        let text = format!(
            "This computer {} in {}. {}",
            action.kind.says(),
            in_words(mark),
            if action.message.is_empty() { "Save your work and log out." } else { action.message.as_str() }
        );
        for target in &action.targets {
            self.tell(target.mac, &text);
        }
    }

    /// Shows a line at a client, if that can be; nobody waits for it.
    fn tell(&self, mac: MacAddr, text: &str) {
        if let Ok(ticket) = self.agents.send(mac, Act::Message { text: text.into() }) {
            self.agents.forget(ticket);
        }
    }

    /// It is this client's turn.
    fn tell_to(&self, kind: Kind, message: &Words, target: &mut Target, now: Now) {
        let or = |text: &str| if message.is_empty() { text.into() } else { message.clone() };
        let act = match kind {
            Kind::Shutdown => Act::Shutdown { message: or("This computer is being switched off.") },
            Kind::Reboot => Act::Reboot { message: or("This computer is starting again.") },
            Kind::Lock => Act::Lock,
            Kind::Message => Act::Message { text: message.clone() },
            Kind::Identify => Act::Identify { name: target.name.clone(), seconds: IDENTIFY_SECONDS },
            Kind::Blank => Act::Blank { seconds: BLANK_SECONDS },
            Kind::Unblank => Act::Blank { seconds: 0 },
            Kind::Logout => {
                self.log_out(or("You are being logged out.").as_str(), target, now);
                return;
            }
        };
        match self.agents.send(target.mac, act) {
            Ok(ticket) => {
                target.state = Progress::Sent;
                let boot_id = self.agents.get(target.mac).map(|agent| agent.boot_id);
                let (ticket, sessions) = (Some(ticket), Vec::new());
                target.sent = Some(Sent { up: now.up, civil: now.civil, ticket, boot_id, sessions });
            }
            Err(error) => target.over(Progress::Unreachable, &error.to_string()),
        }
    }

    fn log_out(&self, message: &str, target: &mut Target, now: Now) {
        let Some(agent) = self.agents.get(target.mac) else {
            target.over(Progress::Unreachable, "its agent is not connected");
            return;
        };
        let sessions: Vec<SessionId> = self
            .sessions
            .list()
            .iter()
            .filter(|open| open.session.client == target.mac)
            .map(|open| open.id)
            .collect();
        for id in &sessions {
            self.sessions.end(*id, message, now);
        }
        // A guest has no session here.
        let guests = matches!(agent.mode, Some(Mode::Guest | Mode::Kiosk));
        let ticket = if guests {
            self.agents.send(target.mac, Act::EndGuest { message: message.into() }).ok()
        } else {
            None
        };
        if sessions.is_empty() && ticket.is_none() {
            target.over(Progress::Done, "nobody was logged in");
            return;
        }
        target.state = Progress::Sent;
        target.sent =
            Some(Sent { up: now.up, civil: now.civil, ticket, boot_id: Some(agent.boot_id), sessions });
    }

    /// Looks whether what a client was told has been done.
    fn look(&self, kind: Kind, target: &mut Target, now: Now) {
        let Some(sent) = &target.sent else { return };
        let answer = sent.ticket.and_then(|ticket| self.agents.answer(ticket));
        let end = match (kind, answer) {
            (_, Some(Answer::Trouble(why))) => Some((Progress::Failed, why)),
            (Kind::Shutdown | Kind::Reboot, _) => {
                self.is_down(target.mac, sent).map(|why| (Progress::Done, why.to_owned()))
            }
            (Kind::Logout, None) if sent.ticket.is_some() => None,
            (Kind::Logout, _) => {
                let open = self.sessions.list();
                let all_over = !open.iter().any(|open| sent.sessions.contains(&open.id));
                all_over.then(|| (Progress::Done, String::new()))
            }
            (_, Some(Answer::Done)) => Some((Progress::Done, String::new())),
            (_, Some(Answer::Lost)) => {
                Some((Progress::Failed, "the connection ended before the agent answered".to_owned()))
            }
            (_, None) => None,
        };
        let late = now.up.since(sent.up) >= kind.within();
        let timed_out = || (Progress::TimedOut, "it was told, and nothing was seen of it since".to_owned());
        if let Some((state, says)) = end.or_else(|| late.then(timed_out)) {
            if let Some(ticket) = sent.ticket {
                self.agents.forget(ticket);
            }
            target.over(state, &says);
        }
    }

    /// Whether the system of a client has ended since it was told to, and how that is known. As long as its agent is
    /// connected it has not, whatever comes in datagrams: those can be sent in another's name.
    fn is_down(&self, mac: MacAddr, sent: &Sent) -> Option<&'static str> {
        const AGAIN: &str = "it has started again";
        if let Some(agent) = self.agents.get(mac) {
            return (sent.boot_id != Some(agent.boot_id)).then_some(AGAIN);
        }
        let said = self.events.timeline(mac).into_iter().rev().find_map(|event| match event.what {
            _ if event.last_at < sent.civil => None,
            Happening::Agent { phase, .. } if phase == "off" => Some("its system has ended"),
            Happening::Discover { stage: Stage::Rom | Stage::Firmware } => Some(AGAIN),
            _ => None,
        });
        let link = self.events.link(mac);
        let gone = link.open == 0 && link.since.is_some_and(|since| since >= sent.civil);
        said.or_else(|| gone.then_some("it has let go of its root file system"))
    }

    /// Whether anybody is logged in at this client.
    fn has_person(&self, mac: MacAddr) -> bool {
        self.sessions.list().iter().any(|open| open.session.client == mac)
    }

    /// Who is logged in at these clients: `anna at lab-01`.
    fn people_at(&self, targets: &[Known]) -> Vec<String> {
        let at = |mac| targets.iter().find(|known| known.mac == mac).map(|known| &known.name);
        let mut people: Vec<String> = self
            .sessions
            .list()
            .into_iter()
            .filter_map(|open| Some(format!("{} at {}", open.session.person.name, at(open.session.client)?)))
            .collect();
        people.sort();
        people.dedup();
        people
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Action {
    fn status(&self, now: Now) -> ActionStatus {
        let phase = match self.ended_at {
            Some(_) => Phase::Ended,
            None if now.up < self.begins && !self.stopped => Phase::Countdown,
            None => Phase::Running,
        };
        let router = self.router.as_ref().map(|last| match last {
            Last::Waits => "it is switched off behind the last client".to_owned(),
            Last::Off => "it is being switched off".to_owned(),
            Last::Stays(why) => why.clone(),
        });
        let target = |target: &Target| TargetStatus {
            mac: target.mac,
            name: target.name.clone(),
            room: target.room.clone(),
            state: target.state,
            says: target.says.clone(),
        };
        ActionStatus {
            action: self.id,
            kind: self.kind,
            phase,
            by: self.by.clone(),
            message: self.message.to_string(),
            started_at: self.started_at,
            begins_at: self.begins_at,
            ended_at: self.ended_at,
            done: self.targets.iter().filter(|target| target.state == Progress::Done).count(),
            of: self.targets.len(),
            targets: self.targets.iter().map(target).collect(),
            router,
        }
    }
}

impl Target {
    fn over(&mut self, state: Progress, says: &str) {
        self.state = state;
        says.clone_into(&mut self.says);
        self.sent = None;
    }
}

/// `10 minutes`, `1 minute`, `10 seconds`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() >= 500_000_000);
    let (number, word) = if seconds >= 60 { (seconds.div_ceil(60), "minute") } else { (seconds, "second") };
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod tests;

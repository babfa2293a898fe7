//! One connection of an agent, from greeting to end. Knows nothing of TLS: any stream will do.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use zeroize::Zeroizing;

use super::asks::{Asker, answer, busy, refused};
use super::{GREET_WITHIN, Shared, tunnel};
use crate::proto::agent::channel::{
    BadFrame, Hello, Inbox, Label, Message as _, Order, PING_EVERY, People, Reply, SILENCE, ToAgent,
    ToServer, VERSION, encode,
};
use crate::proto::agent::{eeprom, health, tunnel as tunnel_word};
use crate::serve::supervisor::{Stop, stopped};
use crate::service::clients::Seat;
use crate::service::room::agents::{Command, Ticket, What};
use crate::service::room::screens::Brought;
use crate::service::sessions::{Place, register};
use crate::sys::random::random;
use crate::types::{Revision, chain, limits};

/// How long a client may take to take what is sent to it.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);

/// How long is waited after a change of people for further ones: an import or a removed class is many.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// How long after the list of people could not be had it is tried again.
const LISTED_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// When an agent is first asked how its client is, and then how often.
const HEALTH_FIRST: Duration = Duration::from_secs(5);
const HEALTH_EVERY: Duration = Duration::from_mins(1);

/// Why a conversation broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the agent sent what is no message")]
    Frame(#[from] BadFrame),
}

/// Why a conversation ended in good order, for the log.
pub(super) type Ended = &'static str;

/// Talks until either side is done.
pub(super) async fn talk<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    shared: &Arc<Shared>,
    stream: S,
    seat: Seat,
    mut stop: Stop,
) -> Result<Ended, Broken> {
    let (reader, writer) = tokio::io::split(stream);
    let mut ear = Ear { reader, inbox: Inbox::default(), buffer: Zeroizing::new([0; 1024]) };
    let mut mouth = Mouth { writer };
    let greeting = tokio::select! {
        () = stopped(&mut stop) => return Ok("the server stops"),
        greeting = tokio::time::timeout(GREET_WITHIN, ear.listen()) => greeting,
    };
    let Ok(greeting) = greeting else { return Ok("it did not greet in time") };
    let mut messages = greeting?.into_iter();
    let hello = match messages.next() {
        Some(ToServer::Hello(hello)) => hello,
        Some(ToServer::Screen { ticket }) if messages.next().is_none() => {
            return bring(shared, ear, mouth, &seat, &ticket, stop).await;
        }
        Some(ToServer::Tunnel { uid, key }) if messages.next().is_none() => {
            let asked = Arc::clone(shared);
            // Sessions may wait for a disk.
            let right = tokio::task::spawn_blocking(move || tunnel::is_right(&asked, seat.mac, uid, key));
            let whose = right.await.unwrap_or(false).then_some(uid);
            mouth.say(&ToAgent::Tunnel).await?;
            return tunnel::carry(shared, ear.reader.unsplit(mouth.writer), &seat, whose, stop).await;
        }
        _ => return Ok("it did not greet"),
    };
    if hello.version != VERSION {
        let message = format!(
            "this server speaks version {VERSION} and the agent {}; start the client again, so that it fetches the agent of \
             this server",
            hello.version
        );
        mouth.say(&ToAgent::Farewell { message }).await?;
        return Ok("it speaks another version");
    }
    tracing::info!(client = %seat.mac, agent = %hello.agent, sessions = hello.sessions.len(), "agent connected");
    let place = Place { mac: seat.mac, ip: seat.ip };
    let (commands, commands_here) = mpsc::channel(limits::AGENT_ACTS);
    let line = shared.agents.connected(place.mac, &hello, commands, shared.clock.now().civil);
    let mut talk = Talk {
        shared: Arc::clone(shared),
        asker: Asker {
            place,
            boot_id: hello.boot_id.clone(),
            tunnel: hello.can.iter().any(|word| word.as_str() == tunnel_word::CAN),
            desk: shared.desks.of(place.mac),
        },
        line,
        asks: JoinSet::new(),
        people: None,
        heard: Instant::now(),
        given: Given::new(),
        health_asked: false,
        eeprom_asked: false,
    };
    let can = |what| hello.can.iter().any(|word| word.as_str() == what);
    let (can_health, can_eeprom) = (can(health::CAN), can(eeprom::CAN));
    let (orders, orders_here) = mpsc::channel(limits::CHANNEL_ORDERS);
    let number = greet(shared, place, hello, orders).await;
    let wishes =
        Wishes { orders: orders_here, commands: commands_here, health: can_health, eeprom: can_eeprom };
    let ended = talk.go_on(messages.collect(), &mut ear, &mut mouth, wishes, stop).await;
    let (sessions, now) = (Arc::clone(&shared.sessions), shared.clock.now());
    shared.agents.disconnected(place.mac, line, now.civil);
    let parted = tokio::task::spawn_blocking(move || sessions.disconnected(place.mac, number, now)).await;
    if let Err(panic) = parted {
        tracing::error!(error = chain(&panic), "the end of a connection could not be noted");
    }
    ended
}

/// Hands the connection over to whoever waits for this client's screen, and holds its place as long as they have it.
async fn bring<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    shared: &Arc<Shared>,
    ear: Ear<S>,
    mut mouth: Mouth<S>,
    seat: &Seat,
    ticket: &Label,
    mut stop: Stop,
) -> Result<Ended, Broken> {
    let Some(taker) = shared.screens.taker(seat.mac, ticket.as_str()) else {
        return Ok("nobody waits for its screen");
    };
    mouth.say(&ToAgent::Screen).await?;
    let (held, over) = oneshot::channel();
    let line = Box::new(ear.reader.unsplit(mouth.writer));
    if taker.send(Brought { line, held }).is_err() {
        return Ok("nobody waits for its screen any more");
    }
    tokio::select! {
        () = stopped(&mut stop) => Ok("the server stops"),
        _ = over => Ok("it showed its screen"),
    }
}

/// Tells sessions of the agent. May wait for the store.
async fn greet(shared: &Arc<Shared>, place: Place, hello: Hello, orders: mpsc::Sender<Order>) -> u32 {
    let (sessions, now) = (Arc::clone(&shared.sessions), shared.clock.now());
    let greeted = tokio::task::spawn_blocking(move || sessions.connected(place, &hello, orders, now)).await;
    greeted.unwrap_or_else(|panic| {
        tracing::error!(error = chain(&panic), "an agent's greeting broke off");
        0
    })
}

/// What others want the agent to do.
struct Wishes {
    orders: mpsc::Receiver<Order>,
    commands: mpsc::Receiver<Command>,
    /// Whether it can be asked how its client is.
    health: bool,
    /// Whether it can be asked, once, what its bootloader is.
    eeprom: bool,
}

/// Orders that the agent has been given and has not answered.
struct Given {
    /// Number of the last one. A command goes on when its connection ends, and tells the next one of itself by its number: so
    /// each connection begins with another.
    last: u32,
    tickets: VecDeque<(u32, Ticket)>,
    /// Commands at work.
    runs: VecDeque<(u32, Ticket)>,
}

impl Given {
    fn new() -> Self {
        let last = random().map_or(0, u32::from_ne_bytes);
        Self { last, tickets: VecDeque::new(), runs: VecDeque::new() }
    }

    fn number(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// The order for a command, and its number. Remembers whose answer this will be; of an agent that never answers only
    /// the newest.
    fn order(&mut self, ticket: Ticket, what: What) -> Option<(u32, Order)> {
        let (kept, order) = match what {
            What::Act(act) => (&mut self.tickets, Order::Act(act)),
            What::Run(line) => (&mut self.runs, Order::Run(line)),
            What::Stop => {
                let (run, _) = *self.runs.iter().find(|(_, known)| *known == ticket)?;
                return Some((self.number(), Order::Stop { run }));
            }
        };
        if kept.len() >= limits::AGENT_ACTS {
            kept.pop_front();
        }
        self.last = self.last.wrapping_add(1);
        kept.push_back((self.last, ticket));
        Some((self.last, order))
    }

    /// The command with this number.
    fn run(&self, id: u32) -> Option<Ticket> {
        self.runs.iter().find(|(given, _)| *given == id).map(|(_, ticket)| *ticket)
    }

    fn answered(&mut self, id: u32) -> Option<Ticket> {
        let index = self.tickets.iter().position(|(given, _)| *given == id)?;
        self.tickets.remove(index).map(|(_, ticket)| ticket)
    }
}

/// What is remembered of a conversation.
struct Talk {
    shared: Arc<Shared>,
    asker: Asker,
    /// The number of this connection.
    line: u32,
    asks: JoinSet<(u32, Reply)>,
    /// A hash of the list of people that was sent last; `None` until the agent was welcomed with one.
    people: Option<u64>,
    /// When the agent last said anything.
    heard: Instant,
    given: Given,
    /// It was asked how its client is and has not answered.
    health_asked: bool,
    /// The same of its bootloader.
    eeprom_asked: bool,
}

impl Talk {
    async fn go_on<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        first: Vec<ToServer>,
        ear: &mut Ear<R>,
        mouth: &mut Mouth<W>,
        mut wishes: Wishes,
        mut stop: Stop,
    ) -> Result<Ended, Broken> {
        let (mut changes, mut config) = (self.shared.changes.clone(), self.shared.config.clone());
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut health = tokio::time::interval_at(Instant::now() + HEALTH_FIRST, HEALTH_EVERY);
        health.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settled = Some(Instant::now());
        for message in first {
            if let Some(ended) = self.hear(message, mouth).await? {
                return Ok(ended);
            }
        }
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return Ok("the server stops"),
                messages = ear.listen() => {
                    let messages = messages?;
                    if messages.is_empty() {
                        return Ok("it hung up");
                    }
                    self.heard = Instant::now();
                    let now = self.shared.clock.now().civil;
                    self.shared.agents.heard(self.asker.place.mac, self.line, now);
                    for message in messages {
                        if let Some(ended) = self.hear(message, mouth).await? {
                            return Ok(ended);
                        }
                    }
                }
                Some(answered) = self.asks.join_next() => match answered {
                    Ok((id, reply)) => mouth.say(&ToAgent::Reply { id, reply }).await?,
                    Err(panic) => tracing::error!(error = chain(&panic), "an ask of an agent broke off"),
                },
                Some(order) = wishes.orders.recv() => {
                    let id = self.given.number();
                    mouth.say(&ToAgent::Order { id, order }).await?;
                }
                Some(Command { ticket, what }) = wishes.commands.recv() => {
                    if let Some((id, order)) = self.given.order(ticket, what) {
                        mouth.say(&ToAgent::Order { id, order }).await?;
                    }
                }
                _ = pings.tick() => {
                    if self.heard.elapsed() >= SILENCE {
                        return Ok("it fell silent");
                    }
                    mouth.say(&ToAgent::Ping).await?;
                }
                _ = health.tick(), if wishes.health || wishes.eeprom => {
                    if std::mem::take(&mut wishes.eeprom) {
                        let id = self.given.number();
                        self.eeprom_asked = true;
                        mouth.say(&ToAgent::Order { id, order: Order::Eeprom }).await?;
                    }
                    if !wishes.health {
                        continue;
                    }
                    let id = self.given.number();
                    self.health_asked = true;
                    mouth.say(&ToAgent::Order { id, order: Order::Health }).await?;
                }
                Ok(()) = changes.changed() => settled = Some(Instant::now() + SETTLED_AFTER),
                Ok(()) = config.changed() => settled = Some(Instant::now() + SETTLED_AFTER),
                () = tokio::time::sleep_until(settled.unwrap_or_else(Instant::now)), if settled.is_some() => {
                    let told = self.tell_people(mouth).await?;
                    settled = (!told).then(|| Instant::now() + LISTED_AGAIN_AFTER);
                }
            }
        }
    }

    /// Begins to answer; why the conversation is over, if it is.
    async fn hear<W: AsyncWrite>(
        &mut self,
        message: ToServer,
        mouth: &mut Mouth<W>,
    ) -> Result<Option<Ended>, Broken> {
        match message {
            ToServer::Hello(_) | ToServer::Screen { .. } | ToServer::Tunnel { .. } => {
                return Ok(Some("it greeted twice"));
            }
            ToServer::Ask { id, ask } => {
                if self.asks.len() < limits::CHANNEL_ASKS && self.asker.desk.may_ask(Instant::now()) {
                    let answered = answer(Arc::clone(&self.shared), self.asker.clone(), ask);
                    self.asks.spawn(async move { (id, answered.await) });
                } else {
                    mouth.say(&ToAgent::Reply { id, reply: refused(busy()) }).await?;
                }
            }
            ToServer::Done { id, trouble } => {
                if let Some(trouble) = &trouble {
                    tracing::debug!(client = %self.asker.place.mac, %trouble, "an agent could not carry out an order");
                }
                if let Some(ticket) = self.given.answered(id) {
                    self.shared.agents.answered(self.asker.place.mac, ticket, trouble);
                }
            }
            // What was not asked for is not taken: an agent that floods fills nothing.
            ToServer::Health(health) if self.health_asked => {
                self.health_asked = false;
                let (client, now) = (self.asker.place.mac, self.shared.clock.now().civil);
                self.shared.vitals.record(client, health, now);
            }
            ToServer::Eeprom(report) if self.eeprom_asked => {
                self.eeprom_asked = false;
                let (client, now) = (self.asker.place.mac, self.shared.clock.now().civil);
                // What the ROM did not say in DHCP.
                if let Some(known) = self.shared.clients.get(client).filter(|known| known.revision.is_none())
                    && let Some(revision) = report.revision.and_then(Revision::new)
                {
                    let network = known.network.unwrap_or_default();
                    self.shared.clients.seen(client, None, Some(revision), &network, now);
                }
                self.shared.eeproms.reported(client, &self.asker.boot_id, report, now);
            }
            ToServer::Printed { id, bytes } => {
                if let Some(ticket) = self.given.run(id) {
                    self.shared.agents.printed(self.asker.place.mac, ticket, bytes.as_bytes());
                }
            }
            ToServer::Ran { id, end } => {
                if let Some(ticket) = self.given.run(id) {
                    self.given.runs.retain(|(given, _)| *given != id);
                    self.shared.agents.ran(self.asker.place.mac, ticket, end);
                }
            }
            ToServer::Health(_) | ToServer::Eeprom(_) | ToServer::Pong => {}
        }
        Ok(None)
    }

    /// Welcomes the agent with who may log in here, or sends it the list if that has changed. Whether the list could be had:
    /// without one the agent is not welcomed and keeps what it has.
    async fn tell_people<W: AsyncWrite>(&mut self, mouth: &mut Mouth<W>) -> Result<bool, Broken> {
        let shared = Arc::clone(&self.shared);
        let Ok(_list) = shared.lists.acquire().await else { return Ok(false) };
        let (client, made_by) = (self.asker.place.mac, Arc::clone(&shared));
        let made = tokio::task::spawn_blocking(move || {
            let room = made_by.clients.get(client).and_then(|known| known.room);
            let mut persons = made_by.register.people(room.as_ref())?;
            let config = Arc::clone(&made_by.config.borrow());
            if let Some(exam) = config.exam_at(client) {
                persons.retain(|person| exam.admits(person));
            }
            Ok(that_fit(register::people(persons, room.as_ref(), &config)))
        });
        let (people, left_out) = match made.await.unwrap_or_else(|panic| Err(chain(&panic))) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%client, error, "who may log in could not be found out");
                return Ok(false);
            }
        };
        if left_out > 0 {
            tracing::warn!(
                %client, left_out,
                "more people may log in here than a client can be told of; name classes with `list class` in its room"
            );
        }
        let mut hasher = DefaultHasher::new();
        serde_json::to_vec(&people).unwrap_or_default().hash(&mut hasher);
        let hash = Some(hasher.finish());
        if hash != self.people {
            let welcomed = self.people.is_some();
            let welcome = |people| ToAgent::Welcome { version: VERSION, people };
            mouth.say(&if welcomed { ToAgent::People(people) } else { welcome(people) }).await?;
            self.people = hash;
        }
        Ok(true)
    }
}

/// As many people as one message holds, and how many were left out.
fn that_fit(mut people: People) -> (People, usize) {
    let all = people.persons.len();
    // Room for the word around the list.
    let most = ToAgent::LIMIT - 64;
    loop {
        let length = serde_json::to_vec(&people).map_or(0, |text| text.len());
        if length <= most || people.persons.is_empty() {
            let left_out = all - people.persons.len();
            return (people, left_out);
        }
        let kept = (people.persons.len() * most / length).min(people.persons.len() - 1);
        people.persons.truncate(kept);
        let last = people.persons.last().map(|person| person.name.clone());
        for class in &mut people.classes {
            class.members.retain(|member| last.as_ref().is_some_and(|last| member <= last));
        }
    }
}

struct Ear<R> {
    reader: ReadHalf<R>,
    inbox: Inbox<ToServer>,
    buffer: Zeroizing<[u8; 1024]>,
}

impl<R: AsyncRead> Ear<R> {
    /// The next messages; none when the agent has hung up. Loses nothing when it is broken off.
    async fn listen(&mut self) -> Result<Vec<ToServer>, Broken> {
        loop {
            let length = self.reader.read(&mut *self.buffer).await?;
            if length == 0 {
                return Ok(Vec::new());
            }
            let messages = self.inbox.take(self.buffer.get(..length).unwrap_or_default())?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }
}

struct Mouth<W> {
    writer: WriteHalf<W>,
}

impl<W: AsyncWrite> Mouth<W> {
    async fn say(&mut self, message: &ToAgent) -> Result<(), Broken> {
        let frame = encode(message).map_err(io::Error::other)?;
        let sent = tokio::time::timeout(TAKEN_WITHIN, async {
            self.writer.write_all(&frame).await?;
            self.writer.flush().await
        });
        sent.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(())
    }
}

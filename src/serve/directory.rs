//! Asks the servers of a directory elsewhere, over LDAP; and from time to time who there is.
//!
//! Questions are asked as `bind_dn`, whose password is read from its file each time somebody connects and goes nowhere
//! else. Passwords of people are checked on connections of their own. A few connections are kept open between two
//! questions; one that the server has closed meanwhile is replaced without anybody noticing. Servers are tried in their
//! order, and one that did not answer is tried last for a while. Referrals to other servers are not followed: those that
//! count are in the configuration.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that service/ need not")]

mod session;
mod tls;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::session::{Session, Weak};
use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::config::directory::{Directory as Settings, Server as Address, Tls};
use crate::service::accounts::Accounts;
use crate::service::accounts::steps::Step;
use crate::service::directory::{Change, Changed, Checked, Entry, External, Query, Server, Stage, Trouble};
use crate::service::health::Health;
use crate::types::{Secret, chain, limits};

/// How long a server that did not answer is tried after all others.
const AVOIDED: Duration = Duration::from_mins(1);

/// How long a connection may lie idle and still be used: most servers close theirs after some minutes.
const IDLE: Duration = Duration::from_secs(50);

/// How soon it is asked again who there is, after nobody answered.
const AGAIN: Duration = Duration::from_secs(15);

/// Stack of a thread that asks, in bytes: four times that of others, which a build for tests was seen to overflow.
const STACK: usize = 1 << 20;

/// Connections to the servers of a directory.
pub struct Servers {
    handle: Handle,
    pool: Mutex<Pool>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

/// What is open, under which settings.
#[derive(Default)]
struct Pool {
    settings: Settings,
    /// Bound as Bramble.
    asking: Vec<(Instant, Session)>,
    /// Bound as whoever was checked last.
    checking: Vec<(Instant, Session)>,
    avoided: HashMap<String, Instant>,
    tls: tls::Kept,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Asking,
    Checking,
}

impl Pool {
    fn idle(&mut self, purpose: Use) -> &mut Vec<(Instant, Session)> {
        match purpose {
            Use::Asking => &mut self.asking,
            Use::Checking => &mut self.checking,
        }
    }
}

impl Servers {
    /// Connections are carried by the runtime of `handle`; the calls themselves are made on threads that may block.
    pub fn new(handle: Handle) -> Self {
        Self { handle, pool: Mutex::default() }
    }

    /// What is open under these settings; what was opened under others is closed.
    fn pool(&self, settings: &Settings) -> MutexGuard<'_, Pool> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.settings != *settings {
            *pool = Pool { settings: settings.clone(), ..Pool::default() };
        }
        pool
    }

    fn take(&self, settings: &Settings, purpose: Use) -> Option<Session> {
        let mut pool = self.pool(settings);
        let idle = pool.idle(purpose);
        idle.retain_mut(|(since, session)| since.elapsed() < IDLE && !session.is_closed());
        idle.pop().map(|(_, session)| session)
    }

    fn give_back(&self, settings: &Settings, purpose: Use, session: Session) {
        let mut pool = self.pool(settings);
        let idle = pool.idle(purpose);
        if idle.len() < limits::DIRECTORY_IDLE {
            idle.push((Instant::now(), session));
        }
    }

    /// The servers in the order in which they are tried now.
    fn order(&self, settings: &Settings) -> Vec<Address> {
        let mut pool = self.pool(settings);
        pool.avoided.retain(|_, since| since.elapsed() < AVOIDED);
        let is_avoided = |server: &&Address| pool.avoided.contains_key(&server.host);
        let (last, first): (Vec<&Address>, Vec<&Address>) = settings.servers.iter().partition(is_avoided);
        first.into_iter().chain(last).cloned().collect()
    }

    /// A new connection to the first server that answers.
    async fn connect(&self, settings: &Settings, purpose: Use) -> Result<Session, Trouble> {
        let mut last = None;
        for server in self.order(settings) {
            match self.connect_to(settings, &server, purpose).await {
                Ok(session) => {
                    self.pool(settings).avoided.remove(&server.host);
                    return Ok(session);
                }
                Err(trouble) => {
                    tracing::debug!(
                        server = server.host,
                        error = chain(&trouble),
                        "a directory server is no use"
                    );
                    self.pool(settings).avoided.insert(server.host, Instant::now());
                    // The first server's is the one to mend.
                    last.get_or_insert(trouble);
                }
            }
        }
        Err(last.unwrap_or_else(|| Trouble {
            stage: Stage::Connect,
            what: "no server of the directory is named".to_owned(),
            remedy: "add `list server` to `config directory 'directory'`".to_owned(),
        }))
    }

    async fn connect_to(
        &self,
        settings: &Settings,
        server: &Address,
        purpose: Use,
    ) -> Result<Session, Trouble> {
        let stream = session::reach(settings, server).await?;
        let mut session = self.secured(settings, server, stream).await?;
        if purpose == Use::Asking {
            session.bind_as_bramble(settings).await?;
        }
        Ok(session)
    }

    async fn secured(
        &self,
        settings: &Settings,
        server: &Address,
        stream: tokio::net::TcpStream,
    ) -> Result<Session, Trouble> {
        let tls = match settings.tls {
            Tls::Off => None,
            Tls::Ldaps | Tls::StartTls => Some(self.pool(settings).tls.config(&settings.ca_file)?),
        };
        Session::open(&self.handle, settings, server, stream, tls).await
    }

    /// Does `work` on a connection: on one that is open, or if that turns out to be dead, on a new one.
    fn with<T, F>(
        &self,
        settings: &Settings,
        purpose: Use,
        work: impl Fn(Session) -> F + Send + Sync,
    ) -> Result<T, Trouble>
    where
        T: Send,
        F: Future<Output = Result<(Session, T), Weak>>,
    {
        self.deep(async || {
            if let Some(open) = self.take(settings, purpose) {
                match work(open).await {
                    Ok((session, answer)) => {
                        self.give_back(settings, purpose, session);
                        return Ok(answer);
                    }
                    Err(Weak::Answered(trouble)) => return Err(trouble),
                    Err(Weak::Lost(_)) => {}
                }
            }
            let session = self.connect(settings, purpose).await?;
            let (session, answer) = work(session).await.map_err(Weak::into_trouble)?;
            self.give_back(settings, purpose, session);
            Ok(answer)
        })?
    }

    /// Runs `work` to its end on a thread with more room than others: TLS and the search of a chain of certificates go deep.
    fn deep<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> Result<T, Trouble> {
        let trouble = |what: String| {
            let remedy = "look at the memory of this router".to_owned();
            Trouble { stage: Stage::Connect, what, remedy }
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("directory".to_owned()).stack_size(STACK);
            let thread = thread.spawn_scoped(scope, || self.handle.block_on(work()));
            let thread = thread.map_err(|error| trouble(format!("no thread can be started ({error})")))?;
            thread
                .join()
                .map_err(|_| trouble("the answer of a directory server could not be read".to_owned()))
        })
    }
}

impl Server for Servers {
    fn search(&self, settings: &Settings, query: Query<'_>) -> Result<Vec<Entry>, Trouble> {
        self.with(settings, Use::Asking, |session| session.search(settings, query))
    }

    fn check(&self, settings: &Settings, dn: &str, password: &Secret) -> Result<Checked, Trouble> {
        self.with(settings, Use::Checking, |session| session.check(settings, dn, password))
    }

    fn change(&self, settings: &Settings, change: Change<'_>) -> Result<Changed, Trouble> {
        let purpose = session::changes_on(settings);
        self.with(settings, purpose, |session| session.change(settings, change))
    }

    fn try_out(&self, settings: &Settings) -> Vec<Step> {
        let mut steps = Vec::new();
        for server in &settings.servers {
            let tried = self.deep(async || {
                let mut steps = Vec::new();
                let tried = self.try_one(settings, server, &mut steps).await;
                (steps, tried)
            });
            let (tried, taken) = match tried {
                Ok((taken, tried)) => (tried, taken),
                Err(trouble) => (Err(trouble), Vec::new()),
            };
            steps.extend(taken);
            match tried {
                Ok(()) => return steps,
                Err(Trouble { stage, what, remedy }) => {
                    steps.push(Step::failed(stage.as_str(), what, remedy));
                }
            }
        }
        steps
    }
}

impl Servers {
    async fn try_one(
        &self,
        settings: &Settings,
        server: &Address,
        steps: &mut Vec<Step>,
    ) -> Result<(), Trouble> {
        let stream = session::reach(settings, server).await?;
        let peer = stream.peer_addr().map_or_else(|_| String::new(), |peer| format!(" ({})", peer.ip()));
        let port = server.port(settings.tls);
        steps.push(Step::ok("connect", format!("{}{peer}, port {port}", server.host)));
        let mut session = self.secured(settings, server, stream).await?;
        steps.push(match settings.tls {
            Tls::Off => Step::note("TLS", "off: whoever is on the way reads every password"),
            Tls::Ldaps | Tls::StartTls => {
                Step::ok("TLS", format!("an authority in `{}` vouches for it", settings.ca_file.display()))
            }
        });
        session.bind_as_bramble(settings).await?;
        steps.push(match &settings.bind_dn {
            Some(bind_dn) => Step::ok("bind", format!("as `{bind_dn}`")),
            None => Step::ok("bind", "as nobody in particular"),
        });
        Ok(())
    }
}

/// Asks who there is, as often as the configuration says and at each change of it.
pub async fn run(
    external: External,
    accounts: Accounts,
    health: Arc<Health>,
    mut config: watch::Receiver<Arc<Config>>,
    mut stop: Stop,
) -> Result<(), tokio::task::JoinError> {
    config.mark_changed();
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            Ok(()) = config.changed() => {}
            () = external.is_away() => {}
            () = tokio::time::sleep(wait) => {}
        }
        let asked = external.clone();
        let refreshed = tokio::task::spawn_blocking(move || asked.refresh()).await?;
        let every = external.refresh_every();
        wait = every.unwrap_or(Duration::from_hours(24));
        match refreshed {
            Ok(changed) => {
                health.trouble("directory", None);
                if changed {
                    accounts.directory_changed();
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "the directory does not answer");
                health.trouble("directory", Some(error));
                wait = wait.min(AGAIN);
            }
        }
    }
}

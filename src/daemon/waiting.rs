//! What the daemon does while something keeps it from serving: a configuration that is not right, a disk that is not
//! there, a database that cannot be opened.
//!
//! `status` and `health` are answered with what is wrong; everything else is refused with the same words. What is wrong is
//! looked at again every two seconds and told when it changes. Other devices of the network are not to suffer: if it
//! lasts, dnsmasq gets its networks back until Bramble serves.
#![expect(clippy::disallowed_methods, reason = "the daemon reads the clock")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Signals, Told, takeover};
use crate::api::ApiError;
use crate::api::answer::{Health, Status};
use crate::cli::Serve;
use crate::config::problem::Problems;
use crate::serve::control::{Control, Handler};
use crate::serve::supervisor::Supervisor;
use crate::service::health;
use crate::store::place::BadPlace;
use crate::types::{ByteSize, Moment, chain};
use crate::ubus::{Notices, Ubus};

/// How often it is looked whether the reason is gone: as fast as a person who plugs a disk in.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long addresses may be missing before dnsmasq gets its networks back. Longer than a disk takes to spin up and be
/// checked; each time costs two writes of flash.
const PATIENCE: Duration = Duration::from_mins(1);

/// After how long a start is tried again that failed for a reason whose end nothing tells.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Why nothing is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The folder for data, and what is wrong with it.
    Disk(PathBuf, BadPlace),
    Configuration(Problems),
    /// Something that only another attempt shows to be gone.
    Start(String),
}

impl Reason {
    /// One sentence each.
    fn problems(&self) -> Vec<String> {
        match self {
            Self::Disk(_, bad) => vec![format!("waiting for the disk: {}", chain(bad))],
            Self::Configuration(problems) => {
                let rest = problems.0.iter().map(ToString::to_string);
                let head = "nothing is served, because the configuration is not right; Bramble starts by itself \
                            when it is";
                [head.to_owned()].into_iter().chain(rest).collect()
            }
            Self::Start(why) => {
                vec![format!("nothing is served, because Bramble cannot start; it is tried again: {why}")]
            }
        }
    }

    fn refusal(&self) -> ApiError {
        let says = self.problems().join("\n");
        match self {
            Self::Disk(..) => ApiError::NoDisk(says),
            Self::Configuration(_) | Self::Start(_) => ApiError::NotStarted(says),
        }
    }

    fn data(&self) -> PathBuf {
        match self {
            Self::Disk(data, _) => data.clone(),
            Self::Configuration(_) | Self::Start(_) => PathBuf::new(),
        }
    }
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    Over(T),
    Stop,
    /// The configuration is to be read again.
    Reload,
}

/// The state in which nothing is served. It may be entered several times until something is.
#[derive(Debug)]
pub struct Waiting {
    control: Control,
    config: PathBuf,
    ubus: PathBuf,
    /// When dnsmasq gets its networks back; `None` once it has them.
    patience: Option<Instant>,
    waits: bool,
    told: Option<Reason>,
}

impl Waiting {
    pub fn new(control: Control, options: &Serve) -> Self {
        let (config, ubus) = (options.config.clone(), options.ubus.clone());
        Self { control, config, ubus, patience: None, waits: false, told: None }
    }

    /// Something is served: what comes next is another story.
    pub fn served(&mut self) {
        self.waits = false;
        self.told = None;
    }

    /// Waits until `look` finds no reason not to serve.
    pub async fn until<T>(
        &mut self,
        signals: &mut Signals,
        mut look: impl FnMut() -> Result<T, Reason>,
    ) -> Waited<T> {
        let reason = match look() {
            Ok(found) => return Waited::Over(found),
            Err(reason) => reason,
        };
        if !self.waits {
            self.waits = true;
            self.patience = Some(Instant::now() + PATIENCE);
        }
        self.tell(&reason);
        let (now, shown) = watch::channel(reason);
        let mut supervisor = Supervisor::new(Arc::new(health::Health::default()));
        self.answer(&mut supervisor, shown);
        let waited = loop {
            tokio::select! {
                told = signals.next() => break match told {
                    Told::Stop => Waited::Stop,
                    Told::Reload => {
                        // Whoever asked wants to hear it.
                        self.told = None;
                        Waited::Reload
                    }
                },
                () = sleep(LOOK_EVERY) => {}
            }
            match look() {
                Ok(found) => {
                    tracing::info!("Bramble starts");
                    break Waited::Over(found);
                }
                Err(reason) => {
                    self.tell(&reason);
                    now.send_replace(reason);
                }
            }
            if self.patience.is_some_and(|until| Instant::now() >= until) {
                self.patience = None;
                takeover::hand_back(&self.config).await;
            }
        };
        supervisor.stop_all().await;
        waited
    }

    /// Waits half a minute, for a reason whose end only another attempt shows.
    pub async fn a_while(&mut self, signals: &mut Signals, reason: Reason) -> Waited<()> {
        let until = Instant::now() + AGAIN_AFTER;
        let look = || if Instant::now() < until { Err(reason.clone()) } else { Ok(()) };
        self.until(signals, look).await
    }

    /// Once for each reason.
    fn tell(&mut self, reason: &Reason) {
        if self.told.as_ref() == Some(reason) {
            return;
        }
        for problem in reason.problems() {
            tracing::error!("{problem}");
        }
        tracing::warn!("nothing is served until then; Bramble starts by itself when it can");
        self.told = Some(reason.clone());
    }

    /// Answers callers, those of ubus too, while there is nothing to ask: a web page says what is wrong, and not that
    /// Bramble is gone.
    fn answer(&self, supervisor: &mut Supervisor, shown: watch::Receiver<Reason>) {
        let (config, since) = (self.config.clone(), now());
        let handler: Handler = Arc::new(move |method: String, _: Value| {
            let reason = shown.borrow().clone();
            let answer = match method.as_str() {
                "status" => json!({ "ok": status(&config, since, &reason) }),
                "health" => json!({ "ok": Health { healthy: false, problems: reason.problems() } }),
                _ => json!({ "error": reason.refusal().refusal() }),
            };
            Box::pin(std::future::ready(answer))
        });
        let (socket, health) = (self.ubus.clone(), Arc::new(health::Health::default()));
        let ubus = Ubus { socket, handler: Arc::clone(&handler), notices: Notices::default(), health };
        supervisor.start("ubus", move |stop| ubus.clone().run(stop));
        let control = self.control.clone();
        supervisor.start("control", move |stop| control.clone().run(Arc::clone(&handler), stop));
    }
}

fn now() -> Moment {
    Moment::from(SystemTime::now())
}

fn status(config: &Path, since: Moment, reason: &Reason) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        since,
        now: now(),
        config: config.to_owned(),
        data: reason.data(),
        memory: ByteSize(0),
        free: None,
        networks: Vec::new(),
        services: BTreeMap::new(),
        clients: BTreeMap::new(),
        images: 0,
        jobs: 0,
        problems: reason.problems(),
        news: Vec::new(),
        verdicts: Vec::new(),
    }
}

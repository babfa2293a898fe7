//! The disk that `data` is on: waits for it, and notices when it goes.
//!
//! A router starts faster than its USB disk, and a disk can be pulled. Meanwhile `status` and `health` are answered with
//! what is missing; everything else is refused with the same words. Other devices of the network are not to suffer: if
//! the disk stays away, dnsmasq gets its networks back until it comes.
#![expect(clippy::disallowed_methods, reason = "the daemon reads the clock")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Signals, Told, takeover};
use crate::api::answer::{Health, Status};
use crate::api::{ApiError, Refusal};
use crate::cli::Serve;
use crate::config::Config;
use crate::serve::control::{Control, Handler};
use crate::serve::supervisor::Supervisor;
use crate::service::health;
use crate::store::place::{self, BadPlace, Disk};
use crate::types::{ByteSize, Moment, chain};
use crate::ubus::{Notices, Ubus};

/// How often the mount table is looked at: as fast as a person who plugs a disk in.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long addresses may be missing before dnsmasq gets its networks back. Longer than a disk takes to spin up and be
/// checked; each time costs two writes of flash.
const PATIENCE: Duration = Duration::from_mins(1);

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    Here(Disk),
    Stop,
    /// The configuration is to be read again.
    Reload,
}

/// Waits until `data` can be used.
pub async fn wait(config: &Config, options: &Serve, control: &Control, signals: &mut Signals) -> Waited {
    let policy = super::parts::policy(options);
    let bad = match place::prepare(&config.data, policy) {
        Ok(disk) => return Waited::Here(disk),
        Err(bad) => bad,
    };
    tracing::error!("{bad}");
    tracing::warn!("nothing is served until then; Bramble starts by itself when the disk is there");
    let mut supervisor = Supervisor::new(Arc::new(health::Health::default()));
    answer(&mut supervisor, control, config, options, &bad);
    let waited = until_here(config, options, bad, signals).await;
    supervisor.stop_all().await;
    waited
}

async fn until_here(config: &Config, options: &Serve, mut bad: BadPlace, signals: &mut Signals) -> Waited {
    let mut patience = Some(Instant::now() + PATIENCE);
    loop {
        tokio::select! {
            told = signals.next() => return match told {
                Told::Stop => Waited::Stop,
                Told::Reload => Waited::Reload,
            },
            () = sleep(LOOK_EVERY) => {}
        }
        match place::prepare(&config.data, super::parts::policy(options)) {
            Ok(disk) => {
                tracing::info!(data = %config.data.display(), "the disk is there");
                return Waited::Here(disk);
            }
            Err(other) if other != bad => {
                tracing::error!("{other}");
                bad = other;
            }
            Err(_) => {}
        }
        if patience.is_some_and(|until| Instant::now() >= until) {
            patience = None;
            takeover::hand_back(&options.config).await;
        }
    }
}

/// Ends when the disk that `data` is on is not there any more, with why.
pub async fn gone(data: &Path, disk: &Disk) -> BadPlace {
    loop {
        sleep(LOOK_EVERY).await;
        if let Err(bad) = place::still(data, disk) {
            return bad;
        }
    }
}

/// Answers callers, those of ubus too, while there is nothing to ask: a web page says what is missing, and not that
/// Bramble is gone.
fn answer(supervisor: &mut Supervisor, control: &Control, config: &Config, options: &Serve, bad: &BadPlace) {
    let says = format!("waiting for the disk: {}", chain(bad));
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        since: Moment::from(SystemTime::now()),
        now: Moment::from(SystemTime::now()),
        config: options.config.clone(),
        data: config.data.clone(),
        memory: ByteSize(0),
        free: None,
        networks: Vec::new(),
        services: BTreeMap::new(),
        clients: BTreeMap::new(),
        images: 0,
        jobs: 0,
        problems: vec![says.clone()],
        news: Vec::new(),
        verdicts: Vec::new(),
    };
    let handler: Handler = Arc::new(move |method: String, _: Value| {
        let answer = match method.as_str() {
            "status" => json!({ "ok": Status { now: Moment::from(SystemTime::now()), ..status.clone() } }),
            "health" => json!({ "ok": Health { healthy: false, problems: vec![says.clone()] } }),
            _ => {
                let refusal: Refusal = ApiError::NoDisk(says.clone()).refusal();
                json!({ "error": refusal })
            }
        };
        Box::pin(std::future::ready(answer))
    });
    let (socket, health) = (options.ubus.clone(), Arc::new(health::Health::default()));
    let ubus = Ubus { socket, handler: Arc::clone(&handler), notices: Notices::default(), health };
    supervisor.start("ubus", move |stop| ubus.clone().run(stop));
    let control = control.clone();
    supervisor.start("control", move |stop| control.clone().run(Arc::clone(&handler), stop));
}

//! Puts the parts together: configuration, store, services, sockets; and takes them apart again in order.
//!
//! Start: what keeps everything from being served is waited for ([`waiting`]); what keeps one network or one service from
//! it is told, and the rest is served. Reload (SIGHUP, or a method that changes the configuration): check, diff, apply; a
//! bad file changes nothing. Stop: the services first, then what they collected is stored, then the control socket goes:
//! who sees it gone may give addresses.

mod descriptors;
mod log;
mod networks;
mod parts;
mod power;
mod services;
mod storage;
mod takeover;
#[cfg(test)]
mod versions_tests;
mod waiting;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use self::log::Log;
use self::parts::{Parts, StartError};
use self::services::Services;
use self::waiting::{Reason, Waited, Waiting};
use crate::api::Reload;
use crate::cli::Serve;
use crate::config::diff::Change;
use crate::config::problem::Problems;
use crate::config::schema::Touches;
use crate::config::{Config, load};
use crate::serve::control::{Control, ControlError};
use crate::store::place;
use crate::sys::heap;
use crate::types::chain;

/// Threads that carry packets. Two keep a slow answer from holding up all others; more would cost memory on routers
/// that have two or four small cores.
const WORKERS: usize = 2;

/// Threads for what blocks (the store, cold reads of the disk), each only while it is needed.
const BLOCKING: usize = 16;

/// Stack of each thread, in bytes: an eighth of the usual, and four times what the deepest call was seen to use.
const STACK: usize = 256 * 1024;

/// Why a run of the daemon ended.
enum End {
    /// As told.
    Stop,
    /// This configuration asks for something that only a new start can give, or the disk went.
    Again(Arc<Config>),
}

/// Runs the daemon until it is told to stop.
pub fn serve(socket: &Path, options: &Serve) -> ExitCode {
    let log = Log::start();
    heap::give_back_large_blocks();
    descriptors::ask();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_stack_size(STACK)
        .thread_name("bramble")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = chain(&error), "threads cannot be started");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(live(socket, options, &log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            tracing::error!("Bramble was not started; nothing is served");
            ExitCode::FAILURE
        }
    }
}

/// Why there is nobody who could answer or be told anything.
#[derive(Debug, thiserror::Error)]
enum Dead {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// One run after the other, until told to stop.
async fn live(socket: &Path, options: &Serve, log: &Log) -> Result<(), Dead> {
    // Before everything else: a signal that comes while something starts or stops counts after that.
    let mut signals = Signals::catch().map_err(Dead::Signals)?;
    let control = Control::bind(socket).await?;
    let mut waiting = Waiting::new(control.clone(), options);
    let mut next = None;
    loop {
        let config = if let Some(config) = next.take() {
            config
        } else {
            let look = || load::load(&options.config).map(Arc::new).map_err(Reason::Configuration);
            match waiting.until(&mut signals, look).await {
                Waited::Over(config) => config,
                Waited::Stop => return Ok(()),
                Waited::Reload => continue,
            }
        };
        match run(config, &control, options, log, &mut signals, &mut waiting).await {
            Ok(End::Stop) => return Ok(()),
            Ok(End::Again(config)) => {
                next = match signals.heard().await {
                    Some(Told::Stop) => return Ok(()),
                    Some(Told::Reload) => newer(&options.config).or(Some(config)),
                    None => Some(config),
                };
                tracing::info!("starting again");
            }
            Err(error) => {
                if waiting.a_while(&mut signals, Reason::Start(chain(&error))).await == Waited::Stop {
                    return Ok(());
                }
            }
        }
    }
}

/// From the configuration to the end; the error prevented a start.
async fn run(
    config: Arc<Config>,
    control: &Control,
    options: &Serve,
    log: &Log,
    signals: &mut Signals,
    waiting: &mut Waiting,
) -> Result<End, StartError> {
    log.level(config.log_level);
    if !config.enabled {
        tracing::info!(
            "switched off in {}; switch on with `uci set bramble.main.enabled=1; uci commit bramble`",
            options.config.display()
        );
        takeover::hand_back(&options.config).await;
        return Ok(End::Stop);
    }
    let prepare = || {
        place::prepare(&config.data, parts::policy(options))
            .map_err(|bad| Reason::Disk(config.data.clone(), bad))
    };
    let disk = match waiting.until(signals, prepare).await {
        Waited::Over(disk) => disk,
        Waited::Stop => return Ok(End::Stop),
        Waited::Reload => return Ok(End::Again(newer(&options.config).unwrap_or(config))),
    };
    let (reload, mut reloads) = mpsc::channel(1);
    let parts = Parts::open(Arc::clone(&config), options)?;
    if let Err(error) = parts.complete_rename(&options.config) {
        tracing::error!(error, "an image has another name, which is not everywhere in the configuration yet");
    }
    let mut services = Services::bind(&parts).await;
    let may_serve = takeover::follow(&options.config, &parts.config(), &parts.health).await;
    let on_router = options.config.parent() == Some(Path::new(takeover::ROUTER));
    services.start(&parts, may_serve, on_router);
    services.answer(control.clone(), &parts, reload, options);
    waiting.served();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");

    let mut gone = std::pin::pin!(storage::gone(&config.data, &disk));
    let end = loop {
        let asked = tokio::select! {
            bad = &mut gone => {
                tracing::error!("{bad}");
                break End::Again(parts.config());
            }
            told = signals.next() => match told {
                Told::Stop => break End::Stop,
                Told::Reload => None,
            },
            Some(asked) = reloads.recv() => Some(asked),
            () = sleep(networks::LOOK_EVERY) => {
                services.follow_networks(&parts, false).await;
                continue;
            }
        };
        let result = apply(&mut services, &parts, options, log).await;
        let (answer, again) = match result {
            Ok(again) => (Ok(()), again),
            Err(problems) => (Err(problems), None),
        };
        answer_reload(asked, answer);
        if let Some(config) = again {
            break End::Again(config);
        }
    };
    tracing::info!("stopping");
    services.stop().await;
    // Waits for an import to clean up behind itself; nothing else runs any more.
    parts.jobs.close();
    tracing::info!("stopped");
    Ok(end)
}

fn answer_reload(asked: Option<Reload>, answer: Result<(), Problems>) {
    if let Some(asked) = asked {
        // Whoever asked may have gone meanwhile.
        let _: Result<(), Result<(), Problems>> = oneshot::Sender::send(asked, answer);
    }
}

/// The configuration on the disk; what is wrong with it is only told.
fn newer(path: &Path) -> Option<Arc<Config>> {
    match load::load(path) {
        Ok(config) => Some(Arc::new(config)),
        Err(problems) => {
            for problem in &problems.0 {
                tracing::error!("{problem}");
            }
            None
        }
    }
}

/// Loads the configuration again and applies what changed. The configuration, if the daemon must start anew for it; or
/// the problems, and then nothing has changed.
async fn apply(
    services: &mut Services,
    parts: &Parts,
    options: &Serve,
    log: &Log,
) -> Result<Option<Arc<Config>>, Problems> {
    let config = match reread(&options.config, options).map(Arc::new) {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems.0 {
                tracing::error!("{problem}");
            }
            tracing::error!(
                "the configuration has problems; the old one stays in force, nothing has changed"
            );
            parts.health.rejected(Some(problems.clone()));
            return Err(problems);
        }
    };
    parts.health.rejected(None);
    let change = Change::between(&parts.config(), &config);
    if change.is_empty() {
        // Somebody may have changed what was taken over.
        let may_serve = takeover::follow(&options.config, &config, &parts.health).await;
        services.follow_networks(parts, false).await;
        services.give_addresses(parts, may_serve).await;
        tracing::info!("configuration read again; nothing in it has changed");
        return Ok(None);
    }
    for part in &change.parts {
        tracing::info!("configuration: {part}");
    }
    if change.touches.contains(&Touches::Daemon) {
        return Ok(Some(config));
    }
    log.level(config.log_level);
    parts.take(config);
    services.follow_networks(parts, change.touches.contains(&Touches::Sockets)).await;
    let may_serve = takeover::follow(&options.config, &parts.config(), &parts.health).await;
    services.give_addresses(parts, may_serve).await;
    tracing::info!("configuration applied");
    Ok(None)
}

/// The configuration on the disk, if the daemon could also be started with it.
fn reread(path: &Path, options: &Serve) -> Result<Config, Problems> {
    let config = load::load(path)?;
    if config.enabled
        && let Err(error) = place::prepare(&config.data, parts::policy(options))
    {
        let mut problems = Problems::default();
        problems.note_file(&path.display().to_string(), format!("bramble.main.data: {}", chain(&error)));
        return Err(problems);
    }
    Ok(config)
}

/// What a signal means.
enum Told {
    Stop,
    Reload,
}

/// The signals we live by.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// The next one; of several that wait, to stop counts most.
    async fn next(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }

    /// What was said meanwhile, if anything was.
    async fn heard(&mut self) -> Option<Told> {
        tokio::select! {
            biased;
            told = self.next() => Some(told),
            () = std::future::ready(()) => None,
        }
    }
}

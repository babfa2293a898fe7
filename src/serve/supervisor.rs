//! Owns every long-lived task: starts it under a name, notices its end, starts it again, stops it in order.
//!
//! A service is a function from a stop signal to a future. It ends well only after it was told to stop; any other end
//! (an error, a panic, a plain return) is an error in the log, and the service is started again after a pause that
//! grows while it keeps failing. What a service spawns itself lives in a `JoinSet` it owns and ends with it.
//!
//! Knows nothing about what the services do.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::service::health::Health;
use crate::types::{Moment, chain};

/// Turns `true` once, when the holder must finish. [`stopped`] waits for it.
pub type Stop = watch::Receiver<bool>;

/// Pause before the first restart; doubled each time up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long a service that had failed has to run before it counts as well again. Most of what fails does so at once.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A service that ran this long is healthy: its next failure starts again at [`FIRST_PAUSE`].
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How long a service may take to finish when told to; procd kills the whole daemon after 15 s.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// All running services, by name.
#[derive(Debug, Default)]
pub struct Supervisor {
    running: BTreeMap<&'static str, Running>,
    health: Arc<Health>,
}

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// What happens to the services is noted in `health`.
    pub fn new(health: Arc<Health>) -> Self {
        Self { running: BTreeMap::new(), health }
    }

    /// Starts the service `name` (no two at once have one name) and keeps it running until [`Self::stop`].
    ///
    /// `make` is called for the first start and for each restart.
    pub fn start<F, E>(&mut self, name: &'static str, make: impl FnMut(Stop) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + 'static,
    {
        debug_assert!(!self.running.contains_key(name), "service `{name}` is started twice");
        let (stop, told) = watch::channel(false);
        let task = tokio::spawn(keep(name, make, told, Arc::clone(&self.health)));
        self.running.insert(name, Running { stop, task });
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// Tells `name` to stop and waits until it has; after three seconds its task is dropped where it stands.
    pub async fn stop(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.stop.send_replace(true);
            finish(name, running).await;
            self.health.stopped(name);
        }
    }

    /// Stops all services: all are told at once, then each is waited for.
    pub async fn stop_all(&mut self) {
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
        for (name, running) in std::mem::take(&mut self.running) {
            finish(name, running).await;
            self.health.stopped(name);
        }
    }
}

/// Ends when `stop` says so, or when nobody is left who could.
pub async fn stopped(stop: &mut Stop) {
    // An error means that the sender is gone, and with it everything that could want this service.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn finish(name: &str, mut running: Running) {
    if tokio::time::timeout(STOP_WITHIN, &mut running.task).await.is_err() {
        tracing::warn!(service = name, "service did not stop in time and was cut off");
        running.task.abort();
        let _ = running.task.await;
    }
}

async fn keep<F, E>(name: &'static str, mut make: impl FnMut(Stop) -> F, mut stop: Stop, health: Arc<Health>)
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Error + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    let mut has_failed = false;
    loop {
        let started = Instant::now();
        let well = || health.started(name, Moment::from(SystemTime::now()));
        if !has_failed {
            well();
        }
        // A task of its own, so that a panic becomes a value; dropped with `keep`, it is aborted.
        let mut task = JoinSet::new();
        task.spawn(make(stop.clone()));
        let ended = tokio::select! {
            ended = task.join_next() => ended,
            () = tokio::time::sleep(SETTLED_AFTER), if has_failed => {
                well();
                task.join_next().await
            }
        };
        let error = match ended {
            Some(Ok(Ok(()))) | None if *stop.borrow() => return,
            Some(Ok(Ok(()))) | None => "it returned without having been told to".to_owned(),
            Some(Ok(Err(error))) => chain(&error),
            Some(Err(panic)) => chain(&panic),
        };
        if *stop.borrow() {
            tracing::warn!(service = name, error, "service failed while stopping");
            return;
        }
        if started.elapsed() >= HEALTHY_AFTER {
            pause = FIRST_PAUSE;
        }
        has_failed = true;
        health.failed(name, error.clone(), Moment::from(SystemTime::now()));
        tracing::error!(
            service = name,
            error,
            again_in_s = pause.as_secs(),
            "service ended and is started again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Starts a service that ends in the given way and tells how often it was started in 20 virtual seconds.
    async fn starts(end: fn() -> io::Result<()>) -> u32 {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let mut supervisor = Supervisor::default();
        supervisor.start("test", move |_stop| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { end() }
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        supervisor.stop_all().await;
        count.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn every_unexpected_end_is_followed_by_a_restart_after_a_growing_pause() {
        // Starts at 0, 1, 3, 7 and 15 s.
        assert_eq!(starts(|| Err(io::Error::other("no"))).await, 5);
        assert_eq!(starts(|| Ok(())).await, 5);
        assert_eq!(starts(|| panic!("a bug")).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_fails_is_named_while_it_is_down() {
        let health = Arc::new(Health::default());
        let mut supervisor = Supervisor::new(Arc::clone(&health));
        let mut ends = 0;
        supervisor.start("test", move |mut stop| {
            ends += 1;
            let fails = ends <= 2;
            async move {
                if fails {
                    return Err(io::Error::other("the socket is gone"));
                }
                stopped(&mut stop).await;
                Ok(())
            }
        });
        // Fails at 0 and at 1 s, and runs from 3 s on.
        for so_far in [2000, 1500] {
            tokio::time::sleep(Duration::from_millis(so_far)).await;
            assert_eq!(health.problems(), ["service test is down and is started again: the socket is gone"]);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(health.problems(), Vec::<String>::new());
        assert_eq!(health.services().get("test").map(|service| service.restarts), Some(2));
        supervisor.stop_all().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_told_to_stop_ends_once() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let mut supervisor = Supervisor::default();
        supervisor.start("test", move |mut stop| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                stopped(&mut stop).await;
                Ok::<(), io::Error>(())
            }
        });
        assert!(supervisor.is_running("test"));
        supervisor.stop("test").await;
        assert!(!supervisor.is_running("test"));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_stop_is_cut_off() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut supervisor = Supervisor::default();
        supervisor.start("deaf", move |_stop| {
            let held = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok::<(), io::Error>(())
            }
        });
        supervisor.stop_all().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&alive), 1, "the task and its closure are gone");
    }
}

//! The front door on OpenWrt: the object `bramble` on ubus, which LuCI, rpcd and `ubus call` speak to.
//!
//! The object has the methods of [`crate::api::METHODS`] ([`mod@signature`]), and sends a notification and an event when a
//! client or a job changes ([`notices`]). One connection is [`link`]; this file keeps one up: without ubusd Bramble serves
//! its clients as before, says so, and is back within two seconds after ubusd is.

mod link;
mod notices;
mod signature;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::link::LinkError;
use self::link::{End, Link};
pub use self::notices::{Field, Notice, Notices, Watch};
pub use self::signature::signature;
use crate::serve::control::Handler;
use crate::serve::supervisor::{Stop, stopped};
use crate::service::health::Health;
use crate::types::chain;

/// The name of the object.
const OBJECT: &str = "bramble";

/// Pause before the second attempt to reach ubusd; doubled each time up to [`LONGEST_PAUSE`]. procd starts ubusd again
/// within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that lasted this long was a good one: the next attempt follows after [`FIRST_PAUSE`] again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// How long ubusd may be away before a person is told: a restart of it is nobody's concern.
const GRACE: Duration = Duration::from_secs(5);

/// What is offered on ubus, and where.
#[derive(Clone)]
pub struct Ubus {
    pub socket: PathBuf,
    pub handler: Handler,
    pub notices: Notices,
    pub health: Arc<Health>,
}

impl std::fmt::Debug for Ubus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ubus").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Ubus {
    /// Offers the object until told to stop.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        let mut outage = Outage::default();
        let mut pause = FIRST_PAUSE;
        loop {
            // Before the object can be found: whoever finds it may miss nothing from then on.
            let notices = self.notices.listen();
            let connected = tokio::select! {
                () = stopped(&mut stop) => break,
                connected = Link::connect(&self.socket, OBJECT, signature()) => connected,
            };
            let error = match connected {
                Ok(link) => {
                    tracing::info!(socket = %self.socket.display(), "object `{OBJECT}` is on ubus");
                    outage.over(&self.health);
                    let since = Instant::now();
                    match link.serve(&self.handler, notices, &mut stop).await {
                        End::Stopped => break,
                        End::Lost(error) => {
                            if since.elapsed() >= GOOD_AFTER {
                                pause = FIRST_PAUSE;
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            outage.goes_on(&error, &self.socket, &self.health);
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.health.trouble("ubus", None);
        Ok(())
    }
}

/// The time since ubusd was last spoken to, and who has been told.
#[derive(Debug, Default)]
struct Outage {
    /// Whether there ever was a ubusd.
    known: bool,
    since: Option<Instant>,
    told: bool,
}

impl Outage {
    fn over(&mut self, health: &Health) {
        health.trouble("ubus", None);
        *self = Self { known: true, since: None, told: false };
    }

    fn goes_on(&mut self, error: &LinkError, socket: &Path, health: &Health) {
        let since = *self.since.get_or_insert_with(Instant::now);
        // A machine that never had a ubusd is no router, and lacks nothing.
        if !self.known && error.is_absent() {
            if !self.told {
                tracing::info!(socket = %socket.display(), "there is no ubus on this machine; the `bramble` command has all it offers");
                self.told = true;
            }
            return;
        }
        if !std::mem::replace(&mut self.known, true) {
            self.told = false;
        }
        if since.elapsed() < GRACE {
            return;
        }
        let says = error.explain(socket);
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("{says}");
        }
        health.trouble("ubus", Some(says));
    }
}

impl LinkError {
    /// There is nothing at the path of the socket.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// What is wrong, what still works and what to do.
    fn explain(&self, socket: &Path) -> String {
        let what = match self {
            Self::Refused(status) => {
                return format!(
                    "ubusd does not take the object `{OBJECT}` (status {}), so LuCI's pages and `ubus call {OBJECT}` do \
                     not reach this Bramble: another program has registered the name (see `ubus list`), or this one \
                     runs without root's rights and no file in /usr/share/acl.d lets it publish. Clients and the \
                     `bramble` command work as before",
                    status.0
                );
            }
            other => chain(other),
        };
        format!(
            "ubusd does not answer at `{}` ({what}), so LuCI's pages and `ubus call {OBJECT}` do not reach Bramble. \
             Clients and the `bramble` command work as before, and Bramble registers again by itself; if ubusd stays \
             away, `logread` says why",
            socket.display()
        )
    }
}

//! Takes DHCP over once our own sockets are open, and gives it back when the configuration says so.
//!
//! Where that fails, dnsmasq goes on giving addresses, and two servers would contradict each other: then Bramble gives
//! none until it succeeds, at the next reload at the latest, and says so; files and images are served all the same.

use std::path::Path;

use crate::config::Config;
use crate::service::health::Health;
use crate::service::takeover::Wanted;
use crate::service::takeover::apply::Place;
pub use crate::service::takeover::apply::ROUTER;
use crate::types::chain;

/// What the board of troubles calls this.
const ABOUT: &str = "takeover";

/// Makes the router's own DHCP server give addresses where `config` wants it to. Whether Bramble may give any.
pub async fn follow(path: &Path, config: &Config, health: &Health) -> bool {
    let (place, wanted) = (Place::beside(path), Wanted::of(config));
    match make(place, wanted).await {
        Ok(troubles) => {
            health.trouble(ABOUT, (!troubles.is_empty()).then(|| troubles.join("; ")));
            true
        }
        Err(error) => {
            tracing::error!(error, "DHCP was not taken over; Bramble gives no addresses, all else is served");
            health.trouble(
                ABOUT,
                Some(format!(
                    "DHCP was not taken over, so Bramble gives no addresses; all else is served: {error}"
                )),
            );
            false
        }
    }
}

/// Gives everything back.
pub async fn hand_back(path: &Path) {
    if let Err(error) = make(Place::beside(path), Wanted::nothing()).await {
        tracing::error!(error, "DHCP was not handed back; try `bramble takeover --hand-back`");
    }
}

/// What could not be told to a service, or why nothing was changed.
async fn make(place: Place, wanted: Wanted) -> Result<Vec<String>, String> {
    let made = tokio::task::spawn_blocking(move || place.make(&wanted)).await;
    let (plan, troubles) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => return Err(chain(&error)),
        Err(panic) => return Err(chain(&panic)),
    };
    for step in &plan.steps {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        tracing::info!(
            from = value(&step.from),
            to = value(&step.to),
            why = step.why,
            "changed {}",
            step.path
        );
    }
    for notice in plan.notices.iter().chain(&troubles) {
        tracing::warn!("{notice}");
    }
    Ok(troubles)
}

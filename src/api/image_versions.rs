//! Versions that are in use, those that are not kept any longer, and clients that start again to have the new one.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use super::Api;
use super::answer::Effect;
use super::args::Args;
use super::error::ApiError;
use crate::proto::agent::act::Words;
use crate::service::clients::Known;
use crate::service::images::keep::{Keep, superfluous};
use crate::service::room::action::{Kind, Request};
use crate::types::{ImageRef, ImageVersion, Moment, Version, chain};

/// What becomes of clients that still run the version before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// They start again, but those where somebody is logged in.
    Now,
    /// The people there are asked to.
    Ask,
}

impl FromStr for Restart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "now" => Ok(Self::Now),
            "ask" => Ok(Self::Ask),
            _ => Err("write `now` or `ask`"),
        }
    }
}

/// Time between one client that starts again and the next.
const PACE: Duration = Duration::from_millis(500);

impl Api {
    /// Has the clients that still run something else start again, if `args` say so; and says how that can be had, if not.
    pub(super) fn restart(&self, args: &Args, command: &str, mut effect: Effect) -> Result<Effect, ApiError> {
        let wish: Option<Restart> = args.get("reboot")?;
        let targets: Vec<Known> =
            effect.still.iter().filter_map(|on| self.clients.find(on.client.as_str())).collect();
        if targets.is_empty() {
            return Ok(effect);
        }
        let Some(wish) = wish else {
            let _ = write!(
                effect.says,
                " `{command} --reboot now` has them start again, but where somebody is logged in; `--reboot ask` asks the people there to."
            );
            return Ok(effect);
        };
        let (kind, message) = match wish {
            Restart::Now => (Kind::Reboot, "This computer starts again, with a new version of its system."),
            Restart::Ask => (
                Kind::Message,
                "A new version of this computer's system is ready. Please save your work and start this computer again when you can.",
            ),
        };
        let many = targets.len();
        let request = Request {
            kind,
            targets,
            message: Words::from(message),
            force: false,
            pace: if wish == Restart::Now { PACE } else { Duration::ZERO },
            grace: Duration::ZERO,
            router: false,
            by: "an administrator".to_owned(),
        };
        // What was chosen is chosen, whatever becomes of this.
        match self.actions.start(request, (self.clock.0)()) {
            Ok(action) => {
                let done = match (wish, many) {
                    (Restart::Now, 1) => "It starts again now, unless somebody is logged in",
                    (Restart::Now, _) => "They start again now, but those where somebody is logged in",
                    (Restart::Ask, _) => "The people there are asked to start again",
                };
                let _ = write!(
                    effect.says,
                    " {done}: `bramble action show {}` tells how that goes.",
                    action.action
                );
                effect.action = Some(action.action);
            }
            Err(refused) => {
                let _ = write!(effect.says, " They were not told to start again: {refused}.");
            }
        }
        Ok(effect)
    }

    /// Rooms that pin `version`, also those without a client.
    pub(super) fn pinned_by(&self, version: &ImageVersion) -> Vec<String> {
        let pin = ImageRef { name: version.name.clone(), version: Some(version.version) };
        let config = self.config.borrow();
        let rooms = config.rooms.iter().filter(|room| room.image.as_ref() == Some(&pin));
        rooms.map(|room| format!("the room {}", room.name)).collect()
    }

    /// Removes old versions that nobody boots, as the configuration says; logs what goes and why.
    pub fn prune_images(&self, now: Moment) {
        let set = self.config.borrow().images;
        let keep = Keep { count: set.keep, age: set.keep_for };
        if keep == (Keep { count: None, age: None }) {
            return;
        }
        let list = match self.library.list() {
            Ok(list) => list,
            Err(error) => {
                return tracing::error!(error = chain(&error), "old versions could not be looked for");
            }
        };
        for image in list {
            let of = |version: Version| ImageVersion { name: image.name.clone(), version };
            let is_used = |version: Version| {
                let version = of(version);
                image.draft.as_ref().is_some_and(|draft| draft.base == version)
                    || self.comes_back(&version)
                    || !self.users(&version).is_empty()
            };
            for (version, why) in superfluous(&image.versions, image.current, keep, now, &is_used) {
                let version = of(version);
                let meant = ImageRef { name: version.name.clone(), version: Some(version.version) };
                match self.library.remove(&meant, &|version| self.users(version)) {
                    Ok(_) => tracing::info!(image = %version, why = %why, "old version is removed"),
                    Err(error) => {
                        tracing::warn!(image = %version, error = chain(&error), "old version could not be removed");
                    }
                }
            }
        }
    }

    /// Whether a room would have `version` back by a roll-back.
    fn comes_back(&self, version: &ImageVersion) -> bool {
        let rooms = self.config.borrow().rooms.iter().map(|room| room.name.clone()).collect::<Vec<_>>();
        rooms.iter().any(|room| {
            let before = self.store.room_before(room).ok().flatten().flatten();
            before
                .is_some_and(|before| before.name == version.name && before.version == Some(version.version))
        })
    }
}

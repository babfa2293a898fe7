//! Methods that have clients do something, and look how that goes.

use std::time::Duration;

use super::accounts::switch;
use super::answer::{ActionStatus, ActionsList};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::proto::agent::act::Words;
use crate::service::clients::Known;
use crate::service::room::action::{Kind, Request};
use crate::types::RoomName;
use crate::types::time::parse_duration;

/// Time between one client that starts again and the next, unless told otherwise.
const REBOOT_PACE: Duration = Duration::from_millis(500);

/// Longest pace and longest grace that are taken: beyond that it is a mistake, and a schedule would be meant.
const PACE_MOST: Duration = Duration::from_mins(1);
const GRACE_MOST: Duration = Duration::from_hours(2);

impl Api {
    pub(super) fn client_action(&self, args: &Args) -> Result<ActionStatus, ApiError> {
        let kind: Kind = args.need("action")?;
        let grace = time(args, "grace", GRACE_MOST)?.unwrap_or_default();
        let usual = if kind == Kind::Reboot { REBOOT_PACE } else { Duration::ZERO };
        let request = Request {
            kind,
            targets: self.targets(args)?,
            message: args.get::<String>("message")?.map(Words::from).unwrap_or_default(),
            force: switch(args, "force")?.unwrap_or(false),
            pace: time(args, "pace", PACE_MOST)?.unwrap_or(usual),
            grace,
            router: switch(args, "router")?.unwrap_or(false),
            by: "an administrator".to_owned(),
        };
        if request.router && !switch(args, "all")?.unwrap_or(false) {
            let message = "the router is switched off only behind all clients; say `all` too".to_owned();
            return Err(ApiError::BadValue { field: "router", message });
        }
        self.actions.start(request, (self.clock.0)()).map_err(ApiError::Action)
    }

    pub(super) fn action_list(&self) -> ActionsList {
        ActionsList { now: now(), actions: self.actions.list((self.clock.0)()) }
    }

    pub(super) fn action_get(&self, args: &Args) -> Result<ActionStatus, ApiError> {
        let action = args.need_number("action")?;
        self.actions.get(action, (self.clock.0)()).ok_or(ApiError::NoSuchAction(action))
    }

    pub(super) fn action_stop(&self, args: &Args) -> Result<ActionStatus, ApiError> {
        let action = args.need_number("action")?;
        self.actions.stop(action, (self.clock.0)()).ok_or(ApiError::NoSuchAction(action))
    }

    /// Who is meant: the adopted ones of `client`, `room` or `all`, without those of `except`.
    pub(super) fn targets(&self, args: &Args) -> Result<Vec<Known>, ApiError> {
        let named: Option<String> = args.get("client")?;
        let room: Option<RoomName> = args.get("room")?;
        let all = switch(args, "all")?.unwrap_or(false);
        let one = |field, message: &str| ApiError::BadValue { field, message: message.to_owned() };
        let mut targets = match (named, room, all) {
            (Some(named), None, false) => self.named(&named)?,
            (None, Some(room), false) => {
                self.room_exists(&room)?;
                self.clients.all().into_iter().filter(|known| known.room.as_ref() == Some(&room)).collect()
            }
            (None, None, true) => self.clients.all(),
            (None, None, false) => {
                let help = "say who is meant: `client`, `room` or `all`";
                return Err(ApiError::Missing { field: "client", help });
            }
            _ => return Err(one("client", "only one of `client`, `room` and `all` can be meant")),
        };
        let spared =
            args.get::<String>("except")?.map(|who| self.named(&who)).transpose()?.unwrap_or_default();
        targets.retain(|known| known.adopted && !spared.iter().any(|one| one.mac == known.mac));
        Ok(targets)
    }

    /// Clients by name, hardware address or IP address, with commas between them.
    fn named(&self, who: &str) -> Result<Vec<Known>, ApiError> {
        let words = who.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|who| {
                let shown = who.chars().take(crate::types::limits::NAME_SHOWN).collect();
                self.clients.find(who).ok_or(ApiError::NoSuchClient { who: shown })
            })
            .collect()
    }
}

pub(super) fn time(args: &Args, field: &'static str, most: Duration) -> Result<Option<Duration>, ApiError> {
    let Some(text) = args.get::<String>(field)? else { return Ok(None) };
    let bad = |message| ApiError::BadValue { field, message };
    let time = parse_duration(&text).map_err(|error| bad(error.to_string()))?;
    if time > most {
        return Err(bad(format!("`{text}` is too long; {} seconds is the most", most.as_secs())));
    }
    Ok(Some(time))
}

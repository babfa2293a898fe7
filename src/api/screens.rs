//! Methods by which a teacher looks at a client's screen.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::oneshot;

use super::accounts::switch;
use super::answer::{ScreenAllowed, ScreenOpened, Screens};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::config::edit::{Edit, NewValue};
use crate::service::room::screens::{NotShown, Wanted};
use crate::types::RoomName;

/// Longest a teacher may look without asking again, and how long unless told otherwise.
const LOOK_MOST: Duration = Duration::from_hours(2);
const LOOK_USUAL: Duration = Duration::from_mins(30);

impl Api {
    pub(super) fn screen_open(&self, args: &Args) -> Result<ScreenOpened, ApiError> {
        let known = self.known(args)?;
        let viewer: Option<Ipv4Addr> = args.get("viewer")?;
        let control = switch(args, "control")?.unwrap_or(false);
        let time = super::actions::time(args, "time", LOOK_MOST)?.unwrap_or(LOOK_USUAL);
        let config = self.config.borrow().clone();
        let Some(room) = config.room_of(known.mac) else {
            return Err(ApiError::Screen(NotShown::NoRoom(known.name)));
        };
        if !room.modes.screens {
            return Err(ApiError::Screen(NotShown::NotAllowed(room.name.clone())));
        }
        // Where the teacher is, if that is a network of ours; else where the client is.
        let served = |network: &&crate::config::Network| match viewer {
            Some(viewer) if config.networks.iter().any(|one| one.subnet.contains(viewer)) => {
                network.subnet.contains(viewer)
            }
            _ => Some(&network.name) == known.network.as_ref(),
        };
        let network = config.networks.iter().find(served).or_else(|| config.networks.first());
        let address = network.ok_or(ApiError::Stopping)?.address;
        let (answer, answered) = oneshot::channel();
        let name = known.name.clone();
        self.screens.want(Wanted { mac: known.mac, name, address, viewer, control, time, answer });
        let opened = answered.blocking_recv().map_err(|_| ApiError::Stopping)?.map_err(ApiError::Screen)?;
        Ok(ScreenOpened {
            view: opened.view,
            name: known.name,
            host: opened.at.ip().to_string(),
            port: opened.at.port(),
            password: opened.password,
            connect_within_seconds: opened.connect_within.as_secs(),
        })
    }

    pub(super) fn screen_list(&self) -> Screens {
        Screens { now: now(), screens: self.screens.list() }
    }

    pub(super) fn screen_close(&self, args: &Args) -> Result<Screens, ApiError> {
        let known = self.known(args)?;
        if !self.screens.close(known.mac, "an administrator has ended it") {
            return Err(ApiError::Screen(NotShown::NobodyLooks(known.name)));
        }
        Ok(self.screen_list())
    }

    pub(super) fn screen_allow(&self, args: &Args) -> Result<ScreenAllowed, ApiError> {
        let room: RoomName = args.need("room")?;
        let help = "`1` to let teachers look at the screens of the room, `0` not to";
        let allow = switch(args, "allow")?.ok_or(ApiError::Missing { field: "allow", help })?;
        self.room_exists(&room)?;
        let value = NewValue::One(u8::from(allow).to_string());
        self.change(&[Edit::Set { section: room.to_string(), option: "screens".to_owned(), value }])?;
        tracing::info!(room = %room, allow, "looking at screens switched");
        Ok(ScreenAllowed { room, allowed: allow })
    }
}

//! Methods by which a teacher looks at a client's screen.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{self, error::TryRecvError};

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

/// Longest an answer is waited for: LuCI waits no longer than 20 seconds. An agent that brings nothing is given up before.
const ANSWER_WITHIN: Duration = Duration::from_secs(18);

/// How often it is looked whether there is an answer.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
        let opened = answer_of(answered, ANSWER_WITHIN)?.map_err(ApiError::Screen)?;
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

/// What is answered within `time`. Nobody may be there to answer: the service may have failed, and be about to start again.
#[expect(clippy::disallowed_methods, reason = "a wait for another thread is measured with a clock")]
fn answer_of<T>(mut answered: oneshot::Receiver<T>, time: Duration) -> Result<T, ApiError> {
    let begin = Instant::now();
    loop {
        match answered.try_recv() {
            Ok(answer) => return Ok(answer),
            Err(TryRecvError::Empty) if begin.elapsed() < time => std::thread::sleep(LOOK_EVERY),
            Err(_) => return Err(ApiError::Stopping),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_that_nobody_brings_is_not_waited_for() {
        let time = Duration::from_millis(200);
        let (answer, answered) = oneshot::channel();
        answer.send(7).expect("waited for");
        assert!(matches!(answer_of(answered, time), Ok(7)));
        let (answer, answered) = oneshot::channel::<u8>();
        assert!(matches!(answer_of(answered, time), Err(ApiError::Stopping)), "nobody answers");
        assert!(answer.is_closed(), "and whoever comes to it later sees that nobody waits");
        let (answer, answered) = oneshot::channel::<u8>();
        drop(answer);
        assert!(matches!(answer_of(answered, Duration::from_hours(1)), Err(ApiError::Stopping)));
    }
}

//! Methods that write `/etc/config/bramble`: adopting a client and forgetting one.
//!
//! What would clash (a name, a room that is not there) is refused before the file is touched, with the argument at
//! fault; everything else is caught by the check of the whole file. When the file is written the daemon reads it as it
//! does at SIGHUP, and only then is the caller answered.

use std::net::Ipv4Addr;

use tokio::sync::oneshot;

use super::Api;
use super::answer::{ClientDetail, Forgotten};
use super::args::{Args, OrNone};
use super::error::ApiError;
use crate::config::edit::{self, Edit, EditError, NewValue, Turn};
use crate::config::uci::Document;
use crate::types::{HostName, ImageRef, MacAddr, RoomName, chain};

impl Api {
    pub(super) fn client_adopt(&self, args: &Args) -> Result<ClientDetail, ApiError> {
        let mac = self.meant(args)?;
        let name: HostName = args.need("name")?;
        let room: Option<OrNone<RoomName>> = args.get("room")?;
        let image: Option<OrNone<ImageRef>> = args.get("image")?;
        let ip: Option<OrNone<Ipv4Addr>> = args.get("ip")?;
        let config = self.config.borrow().clone();
        if let Some(owner) = config.clients.iter().find(|client| client.name == name && client.mac != mac) {
            return Err(ApiError::NameTaken { name, owner: owner.mac });
        }
        if let Some(OrNone(Some(room))) = &room {
            self.room_exists(room)?;
        }
        if let Some(OrNone(Some(image))) = &image
            && self.images.resolve(image).is_none()
        {
            return Err(self.no_such_image(image.clone()));
        }
        // What was left out stays; what is said to be `none` goes.
        let said = [
            ("name", Some(Some(name.to_string()))),
            ("room", room.map(text_of)),
            ("image", image.map(text_of)),
            ("ip", ip.map(text_of)),
        ];
        let said = said.into_iter().filter_map(|(option, value)| Some((option.to_owned(), value?)));
        let turn = edit::turn();
        let edits: Vec<Edit> = if let Some(section) = self.section_of(mac)? {
            let edit = |(option, value): (String, Option<String>)| match value {
                Some(value) => Edit::Set { section: section.clone(), option, value: NewValue::One(value) },
                None => Edit::Unset { section: section.clone(), option },
            };
            said.map(edit).collect()
        } else {
            let mac = ("mac".to_owned(), NewValue::One(mac.to_string()));
            let given = said.filter_map(|(option, value)| Some((option, NewValue::One(value?))));
            let options = std::iter::once(mac).chain(given).collect();
            vec![Edit::Add { kind: "client".to_owned(), name: None, options }]
        };
        self.change_in(turn, &edits)?;
        tracing::info!(client = %mac, name = %name, "client adopted");
        let known = self.clients.get(mac).ok_or(ApiError::NoSuchClient { who: mac.to_string() })?;
        Ok(self.detail(known))
    }

    pub(super) fn client_forget(&self, args: &Args) -> Result<Forgotten, ApiError> {
        let known = self.known(args)?;
        let turn = edit::turn();
        if let Some(section) = self.section_of(known.mac)? {
            self.change_in(turn, &[Edit::Remove { section }])?;
        }
        self.clients.forget(known.mac);
        self.vitals.forget(known.mac);
        self.eeproms.forget(known.mac);
        self.consoles.forget(known.mac);
        self.events.forget(known.mac, &self.store).map_err(|error| self.failed(&error))?;
        tracing::info!(client = %known.mac, name = %known.name, "client forgotten");
        Ok(Forgotten { mac: known.mac, name: known.name })
    }

    /// Refuses a room that is not in the configuration, with those that are.
    pub(super) fn room_exists(&self, room: &RoomName) -> Result<(), ApiError> {
        let known = self.config.borrow().rooms.iter().any(|known| known.name == *room);
        if known { Ok(()) } else { Err(self.no_such_room(room)) }
    }

    /// Whom the argument `client` means, where a hardware address may be one that was never seen.
    fn meant(&self, args: &Args) -> Result<MacAddr, ApiError> {
        let who: String = args.need("client")?;
        match who.parse::<MacAddr>() {
            Ok(mac) if !mac.is_unicast() => Err(ApiError::BadValue {
                field: "client",
                message: format!(
                    "`{mac}` is the address of a group, not of one machine; look at `bramble client list`"
                ),
            }),
            Ok(mac) => Ok(mac),
            Err(_) => Ok(self.known(args)?.mac),
        }
    }

    pub(super) fn no_such_room(&self, room: &RoomName) -> ApiError {
        let config = self.config.borrow();
        let rooms: Vec<&str> = config.rooms.iter().map(|room| room.name.as_str()).collect();
        let known = match rooms.as_slice() {
            [] => format!("there is none yet: `uci set bramble.{room}=room; uci commit bramble`"),
            rooms => format!("there are {}", rooms.join(", ")),
        };
        ApiError::NoSuchRoom { room: room.clone(), known }
    }

    /// The section of `mac` in the file as it is now, such as `@client[0]`: good as long as it is nobody else's turn.
    pub(super) fn section_of(&self, mac: MacAddr) -> Result<Option<String>, ApiError> {
        let text =
            fs_err::read(&self.config_path).map_err(|error| ApiError::NotWritten(error.to_string()))?;
        let document = Document::read(&text);
        let is = |section: &&crate::config::uci::Section| {
            section.value("mac").is_some_and(|value| value.value.parse() == Ok(mac))
        };
        Ok(document.of_kind("client").find(is).map(crate::config::uci::Section::path))
    }

    /// Makes the edits and has the daemon take them over.
    pub(super) fn change(&self, edits: &[Edit]) -> Result<(), ApiError> {
        self.change_in(edit::turn(), edits)
    }

    /// The same with edits that were found in this turn.
    pub(super) fn change_in(&self, turn: Turn, edits: &[Edit]) -> Result<(), ApiError> {
        edit::apply(&turn, &self.config_path, edits).map_err(|error| match error {
            EditError::Problems(problems) => ApiError::WouldNotWork(problems),
            other => ApiError::NotWritten(chain(&other)),
        })?;
        // Taking it over may change another file.
        drop(turn);
        let (asked, answered) = oneshot::channel();
        self.reload.blocking_send(asked).map_err(|_| ApiError::Stopping)?;
        answered.blocking_recv().map_err(|_| ApiError::Stopping)?.map_err(ApiError::WouldNotWork)
    }
}

fn text_of<T: ToString>(value: OrNone<T>) -> Option<String> {
    value.0.map(|value| value.to_string())
}

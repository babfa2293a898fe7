//! Methods about clients.

use std::collections::HashMap;

use super::answer::{Client, ClientDetail, ClientEvent, Clients, Events, Line};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::clients::Known;
use crate::service::state::{self, Facts, State};
use crate::types::{HostName, MacAddr, Moment};

/// Events that `events` answers with unless told otherwise, and at most.
const EVENTS: u64 = 50;
const EVENTS_MOST: u64 = 1000;

impl Api {
    pub fn client_list(&self) -> Clients {
        let now = now();
        Clients {
            now,
            clients: self.clients.all().into_iter().map(|known| self.client(known, now)).collect(),
        }
    }

    pub(super) fn client_get(&self, args: &Args) -> Result<ClientDetail, ApiError> {
        Ok(self.detail(self.known(args)?))
    }

    pub(super) fn events(&self, args: &Args) -> Result<Events, ApiError> {
        let count = args.number("count")?.unwrap_or(EVENTS).min(EVENTS_MOST);
        let names: HashMap<MacAddr, HostName> =
            self.clients.all().into_iter().map(|known| (known.mac, known.name)).collect();
        let latest = self.events.latest(usize::try_from(count).unwrap_or(usize::MAX));
        let events = latest.into_iter().map(|(client, event)| ClientEvent {
            client,
            name: names
                .get(&client)
                .cloned()
                .unwrap_or_else(|| crate::service::clients::default_name(client)),
            line: Line::from(event),
        });
        Ok(Events { events: events.collect() })
    }

    /// Whom the argument `client` means.
    pub(super) fn known(&self, args: &Args) -> Result<Known, ApiError> {
        let who: String = args.need("client")?;
        self.clients.find(&who).ok_or(ApiError::NoSuchClient { who })
    }

    pub(super) fn detail(&self, known: Known) -> ClientDetail {
        let now = now();
        let timeline = self.events.timeline(known.mac).into_iter().map(Line::from).collect();
        ClientDetail { now, client: self.client(known, now), timeline }
    }

    pub(super) fn client(&self, known: Known, now: Moment) -> Client {
        let facts = Facts {
            adopted: known.adopted,
            image: known.image.clone(),
            image_exists: known.image.as_ref().is_some_and(|image| self.images.resolve(image).is_some()),
            link: self.events.link(known.mac),
        };
        let State { word, since, says } = state::read(&facts, &self.events.timeline(known.mac), now);
        Client {
            mac: known.mac,
            name: known.name,
            adopted: known.adopted,
            room: known.room,
            image: known.image,
            trial: known.trial,
            booted: known.booted,
            ip: known.ip,
            network: known.network,
            model: known.revision.map(|revision| revision.model().to_string()),
            memory: known.revision.and_then(crate::types::Revision::memory),
            serial: known.serial,
            first_seen: known.first_seen,
            last_seen: known.last_seen,
            state: word,
            since,
            says,
        }
    }
}

//! Methods about clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{
    Boot, Client, ClientDetail, ClientEvent, Clients, Events, HealthNow, Line, ModeDetails, Own, RoomState,
    Rooms,
};
use super::args::Args;
use super::eeprom::boot_order;
use super::error::ApiError;
use super::{Api, now};
use crate::config::Modes;
use crate::service::boots::of_room;
use crate::service::clients::Known;
use crate::service::eeprom::State as RolloutState;
use crate::service::events::{Event, Events as Timelines, Weight};
use crate::service::images::Images;
use crate::service::room::agents::Agents;
use crate::service::room::vitals::Vital;
use crate::service::state::{self, Facts, State, Word};
use crate::service::verdicts;
use crate::types::{HostName, MacAddr, Moment, Revision};

/// Events that `events` answers with unless told otherwise, and at most.
const EVENTS: u64 = 50;
const EVENTS_MOST: u64 = 1000;

/// How long after a client's last sign of life it matters who else has its address.
const RIVALS: Duration = Duration::from_mins(15);

/// Where it is seen what a client does; for work that outlives a call.
pub(super) struct Eyes {
    images: Arc<Images>,
    events: Arc<Timelines>,
    agents: Arc<Agents>,
}

impl Eyes {
    /// Whether a client is running what it was last told to boot, or about to.
    pub(super) fn runs(&self, known: &Known) -> bool {
        let (_, _, state) = self.read(known, now());
        matches!(state.word, Word::Firmware | Word::Kernel | Word::Starting | Word::Up)
    }

    fn read(&self, known: &Known, now: Moment) -> (Facts, Vec<Event>, State) {
        let facts = Facts {
            adopted: known.adopted,
            image: known.image.clone(),
            image_exists: known.image.as_ref().is_some_and(|image| self.images.resolve(image).is_some()),
            link: self.events.link(known.mac),
            agent: self.agents.presence(known.mac),
        };
        let timeline = state::believed(self.events.timeline(known.mac), facts.agent);
        let state = state::read(&facts, &timeline, now);
        (facts, timeline, state)
    }
}

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
        let name = |client: MacAddr| {
            names.get(&client).cloned().unwrap_or_else(|| crate::service::clients::default_name(client))
        };
        let lower = |text: Option<String>| text.map(|text| text.to_ascii_lowercase());
        let (client, account) = (lower(args.get("client")?), lower(args.get("account")?));
        let (least, before): (Option<Weight>, Option<Moment>) = (args.get("least")?, args.get("before")?);
        let wanted = |mac: MacAddr, event: &Event| {
            let has = |text: &str, part: &String| text.to_ascii_lowercase().contains(part);
            client.as_ref().is_none_or(|part| has(name(mac).as_str(), part) || has(&mac.to_string(), part))
                && account
                    .as_ref()
                    .is_none_or(|part| event.what.account().is_some_and(|of| has(of.as_str(), part)))
                && least.is_none_or(|least| event.what.weight() >= least)
                && before.is_none_or(|before| event.at < before)
        };
        let (latest, more) = self.events.latest(usize::try_from(count).unwrap_or(usize::MAX), wanted);
        let events = latest.into_iter().map(|(client, event)| ClientEvent {
            client,
            name: name(client),
            weight: event.what.weight(),
            line: Line::from(event),
        });
        Ok(Events { events: events.collect(), more })
    }

    /// Whom the argument `client` means.
    pub(super) fn known(&self, args: &Args) -> Result<Known, ApiError> {
        let who: String = args.need("client")?;
        self.clients.find(&who).ok_or(ApiError::NoSuchClient { who })
    }

    pub(super) fn detail(&self, known: Known) -> ClientDetail {
        let now = now();
        let timeline = self.events.timeline(known.mac).into_iter().map(Line::from).collect();
        let (boots, history) = (self.events.boots(known.mac), self.vitals.history(known.mac));
        let console = self.consoles.lines(known.mac);
        let agent = self.agents.get(known.mac).map(|agent| agent.version.to_string());
        let last_session = self.last_session(known.mac);
        let client = self.client(known, now);
        ClientDetail { now, client, timeline, boots, history, console, agent, last_session }
    }

    pub(super) fn eyes(&self) -> Eyes {
        let (images, events) = (Arc::clone(&self.images), Arc::clone(&self.events));
        Eyes { images, events, agents: Arc::clone(&self.agents) }
    }

    pub(super) fn client(&self, known: Known, now: Moment) -> Client {
        let (facts, timeline, State { word, since, says }) = self.eyes().read(&known, now);
        let vital = self.vitals.newest(known.mac);
        let config = Arc::clone(&self.config.borrow());
        let verdicts = verdicts::judge(self.judged(&known, &facts, vital.as_ref()), &timeline, now);
        Client {
            mac: known.mac,
            name: known.name,
            adopted: known.adopted,
            room: known.room,
            image: known.image,
            trial: known.trial,
            maintains: self.images.draft_of(known.mac).map(|draft| draft.image.name.clone()),
            booted: known.booted,
            ip: known.ip,
            network: known.network,
            model: known.revision.map(|revision| revision.model().to_string()),
            memory: known.revision.and_then(Revision::memory),
            serial: known.serial,
            first_seen: known.first_seen,
            last_seen: known.last_seen,
            state: word,
            since,
            says,
            verdicts,
            health: vital.map(|Vital { at, health }| HealthNow { at, health }),
            mode: config.use_of(known.mac).mode(),
            mode_now: self.agents.get(known.mac).and_then(|agent| agent.mode),
            screen: config.room_of(known.mac).is_some_and(|room| room.modes.screens),
            own: config.clients.iter().find(|client| client.mac == known.mac).map(|client| Own {
                image: client.image.clone(),
                ip: client.ip,
                mode: client.mode,
                page: client.kiosk_page.clone(),
            }),
        }
    }

    /// What the rules of verdicts look at besides the timeline.
    fn judged(&self, known: &Known, facts: &Facts, vital: Option<&Vital>) -> verdicts::Facts {
        let tree = known.image.as_ref().and_then(|image| self.images.resolve(image));
        let heard = known.last_seen.is_some_and(|seen| now().since(seen) < RIVALS) || facts.link.open > 0;
        let eeprom = self.eeproms.get(known.mac);
        let failed = eeprom.rollout.filter(|rollout| rollout.state == RolloutState::Failed);
        verdicts::Facts {
            adopted: facts.adopted,
            model: known.revision.map(Revision::model),
            image: facts.image.clone(),
            image_exists: facts.image_exists,
            image_models: tree.map(|tree| tree.facts.models.clone()).unwrap_or_default(),
            link: facts.link,
            rival: known.ip.filter(|_| heard).and_then(|ip| Some((ip, self.clients.rival(known.mac, ip)?))),
            health: vital.map(|vital| (vital.at, vital.health.clone())),
            agent: self.agents.get(known.mac).is_some(),
            boot_order: eeprom.said.as_ref().and_then(boot_order),
            eeprom_failed: failed.map(|rollout| rollout.why),
        }
    }

    /// The rooms of the configuration, and clients that are in none.
    pub(super) fn room_list(&self) -> Rooms {
        let now = now();
        let all = self.clients.all();
        let sessions = self.sessions.list();
        let config = self.config.borrow().clone();
        let rooms = config.rooms.iter().map(|room| (Some(&room.name), room.image.clone()));
        let summaries = rooms.chain([(None, None)]).filter_map(|(name, image)| {
            let members: Vec<&Known> =
                all.iter().filter(|known| known.adopted && known.room.as_ref() == name).collect();
            if members.is_empty() && name.is_none() {
                return None;
            }
            let clients: Vec<Client> =
                members.iter().map(|known| self.client((*known).clone(), now)).collect();
            let last: Vec<(HostName, Boot)> = members
                .iter()
                .filter_map(|known| Some((known.name.clone(), self.events.boots(known.mac).pop()?)))
                .collect();
            let room = name.and_then(|name| config.room(name));
            let (boots, slowest) = of_room(last.iter().map(|(_, boot)| boot));
            let here = |mac| members.iter().any(|known| known.mac == mac);
            Some(RoomState {
                room: name.cloned(),
                image,
                clients: clients.len(),
                up: clients.iter().filter(|client| client.state == Word::Up).count(),
                stopped: clients.iter().filter(|client| client.verdicts.iter().any(|one| one.stops)).count(),
                people: sessions.iter().filter(|open| here(open.session.client)).count(),
                boots,
                mode: room.map(|room| room.modes.mode),
                modes: room.map(|room| details(&room.modes)),
                screens: room.is_some_and(|room| room.modes.screens),
                slowest: slowest.and_then(|index| last.get(index).map(|(name, _)| name.clone())),
            })
        });
        Rooms { now, rooms: summaries.collect() }
    }
}

fn details(modes: &Modes) -> ModeDetails {
    ModeDetails {
        guest_minutes: modes.guest_minutes,
        kiosk_page: modes.kiosk_page.clone(),
        kiosk_minutes: modes.kiosk_idle_minutes,
        exam_classes: modes.exam.classes.clone(),
        exam_accounts: modes.exam.accounts.clone(),
        exam_shares: modes.exam.shares.clone(),
    }
}

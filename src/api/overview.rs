//! The room at a glance, for the page that asks every few seconds.
//!
//! One call holds what that page shows. It carries a mark; who gives the mark back hears no more than that nothing has
//! changed, so that a page that is left open all day costs the router next to nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::answer::{Overview, RoomSummary, Seat, Sitting, Whole};
use super::args::Args;
use super::error::ApiError;
use super::service::{free, size};
use super::{Api, now};
use crate::service::jobs::JobState;
use crate::types::{ByteSize, MacAddr};

/// Jobs that are over and still shown.
const ENDED_JOBS: usize = 5;

/// Free space is told in this many steps of all there is, or it would differ at every question.
const FREE_STEPS: u64 = 256;

impl Api {
    pub(super) fn overview(&self, args: &Args) -> Result<Overview, ApiError> {
        let known: Option<String> = args.get("mark")?;
        let whole = self.whole()?;
        let mut hasher = DefaultHasher::new();
        super::value(&whole).to_string().hash(&mut hasher);
        let mark = format!("{:016x}", hasher.finish());
        let whole = (known.as_deref() != Some(mark.as_str())).then_some(whole);
        Ok(Overview { now: now(), mark, whole })
    }

    fn whole(&self) -> Result<Whole, ApiError> {
        let config = self.config.borrow().clone();
        let mut people: HashMap<MacAddr, Vec<Sitting>> = HashMap::new();
        for open in self.sessions.list() {
            people.entry(open.session.client).or_default().push(Sitting {
                session: open.id,
                user: open.session.person.name,
                full_name: open.session.person.full_name,
                since: open.session.opened_at,
            });
        }
        let seats = self.client_list().clients.into_iter().map(|client| Seat {
            people: people.remove(&client.mac).unwrap_or_default(),
            mac: client.mac,
            name: client.name,
            adopted: client.adopted,
            room: client.room,
            image: client.image,
            ip: client.ip,
            model: client.model,
            state: client.state,
            since: client.since,
            says: client.says,
            verdicts: client.verdicts,
        });
        let (open, ended): (Vec<_>, Vec<_>) = self
            .job_list()?
            .jobs
            .into_iter()
            .partition(|job| matches!(job.state, JobState::Queued | JobState::Running));
        let services: BTreeMap<String, bool> = self
            .health
            .services()
            .into_iter()
            .map(|(name, health)| (name.to_owned(), health.running))
            .collect();
        let size = size(&config.data);
        let step = (size.map_or(0, |size| size.0) / FREE_STEPS).max(1);
        Ok(Whole {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.started_at,
            data: config.data.clone(),
            free: free(&config.data).map(|free| ByteSize(free.0 / step * step)),
            size,
            services,
            problems: self.health.problems(),
            news: self.news()?,
            images: self
                .images
                .all()
                .iter()
                .map(|tree| &tree.image.name)
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            rooms: config
                .rooms
                .iter()
                .map(|room| RoomSummary { name: room.name.clone(), image: room.image.clone() })
                .collect(),
            seats: seats.collect(),
            jobs: open.into_iter().chain(ended.into_iter().take(ENDED_JOBS)).collect(),
        })
    }
}

//! Methods about who is logged in.

use super::answer::{SessionEnded, SessionLine, SessionList};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::clients::default_name;
use crate::store::sessions::{NewSession, SessionRow};
use crate::types::{HostName, MacAddr, Moment, SessionId};

/// What a person reads whose session an administrator ends without a word.
const ENDED: &str = "an administrator has ended your session";

impl Api {
    /// The open sessions, oldest first; with `count` the newest, also ended ones.
    pub(super) fn session_list(&self, args: &Args) -> Result<SessionList, ApiError> {
        let sessions = match args.number("count")? {
            None => self.sessions_open(),
            Some(count) => self.sessions_lately(u32::try_from(count).unwrap_or(u32::MAX))?,
        };
        Ok(SessionList { now: now(), sessions })
    }

    /// Oldest first.
    pub(crate) fn sessions_open(&self) -> Vec<SessionLine> {
        let open = self.sessions.list().into_iter();
        open.map(|open| self.line(open.id, open.session, None, open.ending)).collect()
    }

    /// The newest `count`, also ended ones, newest first.
    pub(crate) fn sessions_lately(&self, count: u32) -> Result<Vec<SessionLine>, ApiError> {
        let rows = self.sessions.history(count).map_err(|error| self.failed(&error))?.into_iter();
        let line = |row: SessionRow| {
            let (at, why) = row.ended.unzip();
            self.line(row.id, row.session, at, why)
        };
        Ok(rows.map(line).collect())
    }

    pub(super) fn session_end(&self, args: &Args) -> Result<SessionEnded, ApiError> {
        let session = SessionId(args.need_number("session")?);
        let message: Option<String> = args.get("message")?;
        if self.sessions.end(session, message.as_deref().unwrap_or(ENDED), (self.clock.0)()) {
            Ok(SessionEnded { session })
        } else {
            Err(ApiError::NoSuchSession(session))
        }
    }

    /// Who was logged in last at a client, or is.
    pub(super) fn last_session(&self, client: MacAddr) -> Option<SessionLine> {
        let row = self.store.session_last(client).inspect_err(|error| drop(self.failed(error))).ok()??;
        let (at, why) = row.ended.unzip();
        Some(self.line(row.id, row.session, at, why))
    }

    fn line(
        &self,
        session: SessionId,
        of: NewSession,
        ended: Option<Moment>,
        why: Option<String>,
    ) -> SessionLine {
        let NewSession { client, person, kind, service, terminal, opened_at, .. } = of;
        SessionLine {
            session,
            user: person.name,
            full_name: person.full_name,
            client,
            name: self.name_of(client),
            kind,
            service,
            terminal,
            since: opened_at,
            ended,
            why,
        }
    }

    fn name_of(&self, client: MacAddr) -> HostName {
        self.clients.get(client).map_or_else(|| default_name(client), |known| known.name)
    }
}

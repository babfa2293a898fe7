//! Tells on ubus what has changed: clients, jobs and sessions.
//!
//! A client's state follows from its timeline and the time, so it is read again when something happened, and every few
//! seconds besides; what differs from the reading before is told. As a notification of the object (`ubus subscribe
//! bramble`) it is named `client`, `job` or `session`, as an event (`ubus listen 'bramble.*'`) `bramble.client` and so on.
//!
//! Notices are flat and small: whoever wants to know more asks. They wait in a queue of fixed size; a ubusd that is too
//! slow for it loses the oldest, and nobody here waits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use crate::api::answer::{Client, SessionLine};
use crate::api::{Api, ApiError};
use crate::serve::supervisor::{Stop, stopped};
use crate::service::jobs::{JobState, JobStatus};
use crate::types::{MacAddr, chain, limits};

/// How long changes are collected before the states are read.
const COLLECT: Duration = Duration::from_millis(500);

/// How often states are read when nothing happens: silence also changes them.
const SILENCE: Duration = Duration::from_secs(10);

/// How often the progress of a job is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// How many sessions that have ended are looked at: a room of a hundred is dismissed between two readings.
const LATELY: u32 = 200;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Name of the notification; with `bramble.` before it, of the event.
    pub what: &'static str,
    pub fields: Vec<(&'static str, Field)>,
}

/// A value in a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(String),
    Number(u32),
}

impl Notice {
    pub(super) fn table(&self) -> Map<String, Value> {
        let value = |field: &Field| match field {
            Field::Text(text) => Value::from(text.clone()),
            Field::Number(number) => Value::from(*number),
        };
        self.fields.iter().map(|(name, field)| ((*name).to_owned(), value(field))).collect()
    }
}

/// Where notices go.
#[derive(Clone, Debug)]
pub struct Notices(broadcast::Sender<Arc<Notice>>);

impl Default for Notices {
    fn default() -> Self {
        Self(broadcast::Sender::new(limits::UBUS_NOTICES))
    }
}

impl Notices {
    /// Never waits; without a ubusd to tell, nothing happens.
    pub fn tell(&self, notice: Notice) {
        // An error means that nobody listens.
        let _ = self.0.send(Arc::new(notice));
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.0.subscribe()
    }

    fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

/// Watches clients, jobs and sessions.
#[derive(Clone, Debug)]
pub struct Watch {
    pub api: Arc<Api>,
    pub notices: Notices,
}

impl Watch {
    /// Runs until told to stop.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        let mut events = self.api.events.stirred();
        let mut jobs = self.api.jobs.stirred();
        let mut config = self.api.config.clone();
        let mut before: Option<Seen> = None;
        loop {
            let patience = match &before {
                // Somebody may have begun to listen: what is told is told from now on.
                None => COLLECT,
                Some(seen) if seen.has_work() => PROGRESS,
                Some(_) => SILENCE,
            };
            let something = async {
                tokio::select! {
                    Ok(()) = events.changed() => {}
                    Ok(()) = jobs.changed() => {}
                    Ok(()) = config.changed() => {}
                    else => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                // Both ends of the wait mean the same.
                _ = timeout(patience, something) => {}
            }
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                () = sleep(COLLECT) => {}
            }
            if !self.notices.is_heard() {
                // Whoever listens next asks for the states first.
                before = None;
                continue;
            }
            let api = Arc::clone(&self.api);
            let after = match tokio::task::spawn_blocking(move || Seen::now(&api)).await {
                Ok(Ok(seen)) => seen,
                // It is in the log already.
                Ok(Err(_)) => continue,
                Err(panic) => {
                    tracing::error!(error = chain(&panic), "the states of clients cannot be read");
                    continue;
                }
            };
            if let Some(before) = &before {
                for notice in before.changes(&after) {
                    self.notices.tell(notice);
                }
            }
            before = Some(after);
        }
    }
}

/// What clients, jobs and sessions looked like at one time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    clients: BTreeMap<MacAddr, Notice>,
    jobs: BTreeMap<u64, Notice>,
    /// Those that are open, and the last ones that have ended.
    sessions: BTreeMap<u64, Notice>,
    work: bool,
}

impl Seen {
    fn now(api: &Api) -> Result<Self, ApiError> {
        let (clients, jobs) = (api.client_list().clients, api.job_list()?.jobs);
        let ended = api.sessions_lately(LATELY)?.into_iter().filter(|line| line.ended.is_some());
        let sessions = ended.chain(api.sessions_open());
        Ok(Self {
            sessions: sessions.map(|line| (line.session.0, session_notice(&line))).collect(),
            clients: clients.iter().map(|client| (client.mac, client_notice(client))).collect(),
            jobs: jobs.iter().map(|job| (job.id, job_notice(job))).collect(),
            work: jobs.iter().any(|job| matches!(job.state, JobState::Queued | JobState::Running)),
        })
    }

    /// Whether a job makes progress.
    const fn has_work(&self) -> bool {
        self.work
    }

    /// What is different in `after`.
    fn changes(&self, after: &Self) -> Vec<Notice> {
        let new = after.clients.iter().filter(|(mac, notice)| self.clients.get(mac) != Some(notice));
        let gone = self.clients.keys().filter(|mac| !after.clients.contains_key(mac)).map(|mac| {
            let fields = [("mac", mac.to_string()), ("state", "forgotten".to_owned())];
            Notice {
                what: "client",
                fields: fields.into_iter().map(|(name, text)| (name, Field::Text(text))).collect(),
            }
        });
        let jobs = after.jobs.iter().filter(|(id, notice)| self.jobs.get(id) != Some(notice));
        // One that has ended is told once, also if it was never seen open; those from before are no news.
        let newest = self.sessions.keys().next_back().copied().unwrap_or(0);
        let sessions = after.sessions.iter().filter(|(id, notice)| match self.sessions.get(id) {
            Some(before) => before != *notice,
            None => **id > newest,
        });
        new.map(|(_, notice)| notice.clone())
            .chain(gone)
            .chain(jobs.map(|(_, notice)| notice.clone()))
            .chain(sessions.map(|(_, notice)| notice.clone()))
            .collect()
    }
}

fn client_notice(client: &Client) -> Notice {
    let mut fields = vec![
        ("mac", Field::Text(client.mac.to_string())),
        ("name", Field::Text(client.name.to_string())),
        ("state", Field::Text(client.state.as_str().to_owned())),
        ("says", Field::Text(client.says.clone())),
    ];
    if let Some(room) = &client.room {
        fields.push(("room", Field::Text(room.to_string())));
    }
    Notice { what: "client", fields }
}

fn session_notice(line: &SessionLine) -> Notice {
    let state = match (line.ended, &line.why) {
        (Some(_), _) => "ended",
        (None, Some(_)) => "ending",
        (None, None) => "open",
    };
    let mut fields = vec![
        ("session", Field::Number(u32::try_from(line.session.0).unwrap_or(u32::MAX))),
        ("user", Field::Text(line.user.to_string())),
        ("mac", Field::Text(line.client.to_string())),
        ("name", Field::Text(line.name.to_string())),
        ("kind", Field::Text(line.kind.to_string())),
        ("state", Field::Text(state.to_owned())),
    ];
    if let Some(why) = &line.why {
        fields.push(("why", Field::Text(why.clone())));
    }
    Notice { what: "session", fields }
}

fn job_notice(job: &JobStatus) -> Notice {
    let mut fields = vec![
        ("job", Field::Number(u32::try_from(job.id).unwrap_or(u32::MAX))),
        ("kind", Field::Text(job.kind.clone())),
        ("subject", Field::Text(job.subject.clone())),
        ("state", Field::Text(job.state.as_str().to_owned())),
    ];
    if !job.phase.is_empty() {
        fields.push(("phase", Field::Text(job.phase.clone())));
    }
    if let Some(percent) = (u128::from(job.done) * 100).checked_div(job.of.into()) {
        fields.push(("percent", Field::Number(u32::try_from(percent.min(100)).unwrap_or(100))));
    }
    if !job.message.is_empty() {
        fields.push(("message", Field::Text(job.message.clone())));
    }
    Notice { what: "job", fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(clients: &[(u8, &str)], jobs: &[(u64, &str)]) -> Seen {
        let notice =
            |what, state: &str| Notice { what, fields: vec![("state", Field::Text(state.to_owned()))] };
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        Seen {
            clients: clients.iter().map(|(last, state)| (mac(*last), notice("client", state))).collect(),
            jobs: jobs.iter().map(|(id, state)| (*id, notice("job", state))).collect(),
            sessions: BTreeMap::new(),
            work: false,
        }
    }

    #[test]
    fn only_what_is_different_is_told() {
        let before = seen(&[(1, "up"), (2, "off"), (3, "new")], &[(1, "done"), (2, "running")]);
        assert_eq!(before.changes(&before), []);
        let after = seen(&[(1, "up"), (2, "address"), (4, "new")], &[(2, "done"), (3, "queued")]);
        let told: Vec<_> =
            before.changes(&after).iter().map(|notice| (notice.what, notice.table())).collect();
        let table = |text: &str| serde_json::from_str::<Map<String, Value>>(text).expect("a table");
        assert_eq!(
            told,
            [
                ("client", table(r#"{"state":"address"}"#)),
                ("client", table(r#"{"state":"new"}"#)),
                ("client", table(r#"{"mac":"02:00:00:00:00:03","state":"forgotten"}"#)),
                ("job", table(r#"{"state":"done"}"#)),
                ("job", table(r#"{"state":"queued"}"#)),
            ]
        );
    }

    #[test]
    fn a_session_is_told_when_it_opens_and_when_it_ends() {
        let line = |id, ended: Option<i64>, why: Option<&str>| SessionLine {
            session: crate::types::SessionId(id),
            user: "anna".parse().expect("a name"),
            full_name: crate::types::FullName::nearest("Anna"),
            client: MacAddr::new([2, 0, 0, 0, 0, 1]),
            name: "lab-01".parse().expect("a name"),
            kind: crate::types::SessionKind::Desktop,
            service: "lightdm".to_owned(),
            terminal: ":0".to_owned(),
            since: crate::types::Moment::from_secs(1),
            ended: ended.map(crate::types::Moment::from_secs),
            why: why.map(str::to_owned),
        };
        let seen = |lines: &[SessionLine]| Seen {
            sessions: lines.iter().map(|line| (line.session.0, session_notice(line))).collect(),
            ..Seen::default()
        };
        let before = seen(&[line(3, Some(1), Some("logged out")), line(4, None, None), line(5, None, None)]);
        let after = seen(&[
            line(2, Some(1), Some("logged out")),
            line(4, None, Some("goodbye")),
            line(5, Some(9), Some("logged out")),
            line(6, None, None),
            line(7, Some(9), Some("the client is gone")),
        ]);
        let told: Vec<_> =
            before.changes(&after).into_iter().map(|notice| Value::Object(notice.table())).collect();
        let table = |session: u32, state: &str, why: Option<&str>| {
            let mut table = serde_json::json!({
                "session": session, "user": "anna", "mac": "02:00:00:00:00:01", "name": "lab-01", "kind": "desktop",
                "state": state
            });
            if let Some(why) = why {
                table["why"] = why.into();
            }
            table
        };
        assert_eq!(
            told,
            [
                table(4, "ending", Some("goodbye")),
                table(5, "ended", Some("logged out")),
                table(6, "open", None),
                table(7, "ended", Some("the client is gone")),
            ]
        );
    }

    #[test]
    fn a_job_is_told_with_what_is_known_of_it() {
        let mut job = JobStatus {
            id: 7,
            kind: "import".to_owned(),
            subject: "trixie".to_owned(),
            state: JobState::Running,
            phase: "unpacking".to_owned(),
            done: 250,
            of: 1000,
            unit: crate::service::jobs::Unit::Bytes,
            rate: 1,
            time_left: None,
            message: String::new(),
            started_at: crate::types::Moment::from_secs(1),
            ended_at: None,
        };
        let told = |job: &JobStatus| Value::Object(job_notice(job).table());
        assert_eq!(
            told(&job),
            serde_json::json!({
                "job": 7, "kind": "import", "subject": "trixie", "state": "running", "phase": "unpacking", "percent": 25
            })
        );
        job.of = 0;
        job.phase.clear();
        job.message = "it is in".to_owned();
        job.state = JobState::Done;
        assert_eq!(
            told(&job),
            serde_json::json!({
                "job": 7, "kind": "import", "subject": "trixie", "state": "done", "message": "it is in"
            })
        );
    }

    /// `ubus-rs` writes notifications, we write events; both must say the same.
    #[test]
    fn both_encoders_write_the_same_bytes() {
        let fields = vec![
            ("a", Field::Text("h\u{e4}llo\0".to_owned())),
            ("four", Field::Text("1234".to_owned())),
            ("n", Field::Number(7)),
        ];
        let notice = Notice { what: "client", fields };
        let mut theirs = ubus_rs::BlobBuf::new();
        super::super::link::fill(&mut theirs, &notice);
        let mut ours = Vec::new();
        let mut writer = crate::proto::ubus::attr::Writer(&mut ours);
        crate::proto::ubus::blobmsg::write_table(&mut writer, &notice.table());
        assert_eq!(theirs.bytes().get(4..), Some(ours.as_slice()));
    }
}

//! What an agent asks, and who answers.

use std::sync::Arc;

use super::Shared;
use super::desk::Desk;
use crate::proto::agent::channel::{Ask, Code, Label, Reply};
use crate::service::events::Happening;
use crate::service::sessions::{Opened, Opening, Place, Refusal};
use crate::types::{MacAddr, Person, UserName, chain};

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub place: Place,
    pub boot_id: Label,
    /// Whether the agent can mount through a tunnel.
    pub tunnel: bool,
    pub desk: Arc<Desk>,
}

/// Answers one ask; what has to wait does so on a thread of its own.
pub(super) async fn answer(shared: Arc<Shared>, asker: Asker, ask: Ask) -> Reply {
    match ask {
        Ask::Authenticate { name, password, service, terminal } => {
            let (client, user) = (asker.place.mac, name.clone());
            let checked = check(&shared, &asker.desk, move |shared| {
                let before = *shared.changes.borrow();
                let person = shared.register.verify(&name, &password, client)?;
                verified(shared, client, person.clone(), before);
                Ok(Reply::Verified { person })
            })
            .await;
            let refused = checked.as_ref().err().map(|refusal| refusal.code);
            tracing::info!(%client, user = %user, %service, %terminal, ?refused, "password checked");
            said(&shared, client, user, checked)
        }
        Ask::ChangePassword { name, old, new } => {
            let (client, user) = (asker.place.mac, name.clone());
            let changed = check(&shared, &asker.desk, move |shared| {
                let before = *shared.changes.borrow();
                let person = shared.register.change_password(&name, &old, &new, client)?;
                verified(shared, client, person, before);
                Ok(Reply::Changed)
            })
            .await;
            let refused = changed.as_ref().err().map(|refusal| refusal.code);
            tracing::info!(%client, user = %user, ?refused, "password to be changed");
            said(&shared, client, user, changed)
        }
        Ask::OpenSession { name, service, terminal, kind } => {
            let opening = Opening { name, kind, service, terminal, tunnel: asker.tunnel };
            blocking(&shared, move |shared| {
                let now = shared.clock.now();
                let Opened { id: session, uid, mounts, encrypted } =
                    shared.sessions.log_in(asker.place, &asker.boot_id, opening, now)?;
                shared.tie();
                let key = || shared.tunnels.key(asker.place.mac, asker.boot_id.as_str(), uid);
                Ok(Reply::Opened { session, mounts, tunnel: encrypted.then(key) })
            })
            .await
            .unwrap_or_else(refused)
        }
        Ask::CloseSession { session } => blocking(&shared, move |shared| {
            shared.sessions.log_out(asker.place.mac, session, shared.clock.now());
            shared.tie();
            Ok(Reply::Closed)
        })
        .await
        .unwrap_or_else(refused),
    }
}

/// Lets the person log in whose password was right. Accounts were as `before` says when it was asked for: who has been removed or
/// switched off since is not let in.
fn verified(shared: &Shared, client: MacAddr, person: Person, before: u32) {
    shared.sessions.verified(client, person, shared.clock.now());
    if *shared.changes.borrow() != before {
        super::recheck(shared, false);
    }
}

pub(super) fn refused(Refusal { code, message }: Refusal) -> Reply {
    Reply::Refused { code, message }
}

pub(super) fn busy() -> Refusal {
    let message = "too many people log in at this moment; try again in a few seconds".to_owned();
    Refusal { code: Code::Busy, message }
}

/// What was said to a person who could not log in is seen by whoever looks at the client's timeline.
fn said(shared: &Shared, client: MacAddr, user: UserName, reply: Result<Reply, Refusal>) -> Reply {
    reply.unwrap_or_else(|refusal| {
        let why = refusal.message.clone();
        shared.events.record(client, shared.clock.now().civil, Happening::LoginRefused { user, why });
        refused(refusal)
    })
}

/// Checks a password when it is its turn, first among those of its client. Those that wait hold no thread; more than may wait
/// are refused at once.
async fn check(
    shared: &Arc<Shared>,
    desk: &Desk,
    work: impl FnOnce(&Shared) -> Result<Reply, Refusal> + Send + 'static,
) -> Result<Reply, Refusal> {
    let _own_turn = desk.checks.acquire().await.map_err(|_| busy())?;
    let _place = shared.waiting.try_acquire().map_err(|_| busy())?;
    let _turn = shared.checks.acquire().await.map_err(|_| busy())?;
    blocking(shared, work).await
}

async fn blocking(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<Reply, Refusal> + Send + 'static,
) -> Result<Reply, Refusal> {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or_else(|panic| {
        tracing::error!(error = chain(&panic), "an ask of an agent broke off");
        let message = "the server could not do this; tell your teacher".to_owned();
        Err(Refusal { code: Code::Trouble, message })
    })
}

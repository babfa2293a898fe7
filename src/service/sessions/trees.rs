//! The doors of sessions: a person's home and shares, over NFS, from the one client they are logged in at.

use std::sync::Arc;
use std::time::Duration;

use super::{Doors, DoorsShut};
use crate::proto::agent::channel::{Mount, MountKind};
use crate::service::accounts::Accounts;
use crate::service::exports::Exports;
use crate::service::exports::grants::{Grant, Granted, Identity, Rights, WritableTree};
use crate::service::exports::handle::Space;
use crate::service::homes::{HomeTree, Homes};
use crate::service::shares::{ShareGrant, ShareRight, Shares};
use crate::store::sessions::NewSession;
use crate::types::{Moment, Person, SessionId, chain};

/// How long what was put into a hand-in box can still be changed after it was left alone: programs save twice.
const HANDED_IN_AFTER: Duration = Duration::from_mins(10);

/// Opens what [`Exports`] serves.
#[derive(Debug)]
pub struct Trees {
    exports: Arc<Exports>,
    homes: Homes,
    shares: Shares,
    accounts: Accounts,
}

impl Trees {
    pub fn new(exports: Arc<Exports>, homes: Homes, shares: Shares, accounts: Accounts) -> Self {
        Self { exports, homes, shares, accounts }
    }
}

impl Trees {
    fn grant(&self, id: SessionId, session: &NewSession, home: HomeTree) -> Result<Vec<Mount>, DoorsShut> {
        let NewSession { client, ip, ref person, encrypted, .. } = *session;
        let shares = self.shares.for_person(person, client).map_err(|error| DoorsShut(chain(&error)))?;
        let mounts = mounts(&home, &shares);
        let share = |share: ShareGrant| of_share(person, share);
        let trees = std::iter::once(of_home(person, home)).chain(shares.into_iter().map(share)).collect();
        self.exports.grant(Grant { id: id.0, ip, mac: client, encrypted, trees });
        Ok(mounts)
    }
}

impl Doors for Trees {
    fn open(&self, id: SessionId, session: &NewSession, now: Moment) -> Result<Vec<Mount>, DoorsShut> {
        let home = self.homes.prepare_among(&session.person, |uid| self.accounts.is_nobodys(uid), now);
        let home = home.map_err(|error| DoorsShut(chain(&error)))?;
        self.grant(id, session, home)
    }

    fn reopen(&self, id: SessionId, session: &NewSession, _: Moment) -> Result<(), DoorsShut> {
        let home = self.homes.again(&session.person).map_err(|error| DoorsShut(chain(&error)))?;
        self.grant(id, session, home).map(drop)
    }

    fn close(&self, session: SessionId) {
        self.exports.revoke(session.0);
    }

    fn full(&self) -> Vec<SessionId> {
        self.exports.full().into_iter().map(SessionId).collect()
    }
}

/// The home first: what is in it can only be mounted afterwards.
fn mounts(home: &HomeTree, shares: &[ShareGrant]) -> Vec<Mount> {
    let own = Mount { path: home.path.clone(), at: home.path.clone(), writable: true, kind: MountKind::Home };
    let shared = |share: &ShareGrant| Mount {
        path: share.path.clone(),
        at: format!("{}/Shared/{}", home.path, share.name),
        writable: share.right != ShareRight::Read,
        kind: MountKind::Share,
    };
    std::iter::once(own).chain(shares.iter().map(shared)).collect()
}

fn of_home(person: &Person, home: HomeTree) -> Granted {
    let HomeTree { uid, nonce, root, path, quota } = home;
    let gids = person.classes.iter().map(|(_, gid)| gid.0).collect();
    Granted {
        tree: WritableTree { space: Space::Home, id: uid.0, nonce, root, path },
        identity: Identity { uid: person.uid.0, gid: person.gid.0, gids },
        callers: person.uid.0,
        rights: Rights::ReadWrite,
        quota,
    }
}

/// Everything in a share belongs to the same user, whoever made it.
fn of_share(person: &Person, share: ShareGrant) -> Granted {
    let ShareGrant { name: _, id, nonce, root, path, right, owner: (uid, gid), quota } = share;
    Granted {
        tree: WritableTree { space: Space::Share, id, nonce, root, path },
        identity: Identity { uid: uid.0, gid: gid.0, gids: Vec::new() },
        callers: person.uid.0,
        rights: match right {
            ShareRight::Read => Rights::ReadOnly,
            ShareRight::Write => Rights::Common,
            ShareRight::HandIn => Rights::DropBox { open: HANDED_IN_AFTER },
        },
        quota,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::shares::NOBODY;
    use crate::types::{ByteSize, FullName, Role, Uid};

    #[test]
    fn a_share_brings_its_bound_along() {
        let anna = Person {
            name: "anna".parse().expect("a name"),
            uid: Uid(10_000),
            gid: Uid(10_000).own_group(),
            full_name: FullName::default(),
            role: Role::Pupil,
            classes: Vec::new(),
            must_change: false,
        };
        let share = ShareGrant {
            name: "films".parse().expect("a name"),
            id: 3,
            nonce: 7,
            root: "/d/shares/films".into(),
            path: "/share/films".to_owned(),
            right: ShareRight::Write,
            owner: NOBODY,
            quota: Some(ByteSize(5 << 30)),
        };
        assert_eq!(of_share(&anna, share.clone()).quota, Some(ByteSize(5 << 30)));
        assert_eq!(of_share(&anna, ShareGrant { quota: None, ..share }).quota, None);
    }
}

//! What a power cut leaves between an account and its home: the row is changed first, so a folder may still be where the
//! account was. Each start puts it right, as does each day, and a log-in for whoever comes first.
//!
//! Whose a folder is does not depend on its name, so of a renamed account the folder says everything. That an account was
//! removed is noted with its removal ([`Store::leaving`](crate::store::Store::leaving)): a folder without an account may as
//! well be one that was restored, or of a directory that was used before.

use super::{HomeError, Homes, is_local, owner_at};
use crate::service::shares::Shares;
use crate::types::{Moment, Uid, UserName, chain};

impl Homes {
    /// The account `name` is removed: its home goes to the attic, and what it handed in stays for teachers. Whether there was a
    /// home. What fails is tried again at the next start.
    pub fn see_off(
        &self,
        name: &UserName,
        uid: Uid,
        shares: &Shares,
        now: Moment,
    ) -> Result<bool, HomeError> {
        shares.retire(name, uid);
        let moved = self.retire(name, uid, now)?;
        self.store.left(uid)?;
        Ok(moved.is_some())
    }

    /// Completes what was broken off when accounts were removed and renamed.
    pub fn settle(&self, shares: &Shares, now: Moment) {
        if !self.are_ours() {
            return;
        }
        let settled = self.settle_removed(shares, now).and_then(|()| {
            let _moving = self.lock();
            self.follow_accounts()
        });
        if let Err(error) = settled {
            tracing::error!(
                error = chain(&error),
                "homes cannot be held against the accounts; the next try is tomorrow"
            );
        }
    }

    fn settle_removed(&self, shares: &Shares, now: Moment) -> Result<(), HomeError> {
        for (uid, name) in self.store.leaving()? {
            tracing::warn!(account = %name, %uid, "the removal of an account was interrupted and is completed");
            if let Err(error) = self.see_off(&name, uid, shares, now) {
                tracing::error!(account = %name, error = chain(&error), "home not put into the attic; the next try is tomorrow");
            }
        }
        Ok(())
    }

    /// Gives every home the name that its account has, for as long as that frees another. The caller holds the lock.
    fn follow_accounts(&self) -> Result<(), HomeError> {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for home in self.list()?.iter().filter(|home| is_local(home.uid.0)) {
                let Some(account) = self.store.account_of(home.uid)? else { continue };
                let place = self.folder_of(&account.name);
                if account.name != home.name && owner_at(&place)?.is_none() {
                    self.rename_folder(&home.path, &place)?;
                    moved = true;
                }
            }
        }
        Ok(())
    }

    /// Takes the home `name`, which is that of the account `owner`, away: to where its owner is now, or if they are gone to the
    /// attic. Somebody else's may be there then. The caller holds the lock.
    pub(super) fn make_way(&self, name: &UserName, owner: Uid, now: Moment) -> Result<(), HomeError> {
        let root = self.folder_of(name);
        let Some(account) = self.store.account_of(owner)? else {
            return self.put_away(&root, name, owner, now).map(drop);
        };
        self.follow_accounts()?;
        if owner_at(&root)? == Some(owner.0) {
            return Err(HomeError::Taken { folder: self.folder_of(&account.name), name: account.name });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::super::tests::{House, NOW, config, house, person};
    use super::*;
    use crate::config::Source;
    use crate::store::accounts::{AccountChange, AccountStep, NewAccount};
    use crate::types::{MacAddr, ShareName};

    const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]);
    const ESSAYS: &str = "config share 'essays'\n\toption access 'handin'\n";

    /// A house with the accounts anna (10000), ben (10001) and carl (10002), who have homes and have handed something in.
    fn school() -> Option<(House, Shares)> {
        let house = house()?;
        house.config.send_replace(config(ESSAYS));
        let account = |name: &str| AccountStep::Add(NewAccount::pupil(name.parse().expect("a name")));
        let steps = ["anna", "ben", "carl"].map(account);
        house.store.change_accounts(&steps, NOW).expect("stored");
        let shares =
            Shares::open(house.folder.path(), house.store.clone(), house.config.subscribe()).expect("opened");
        for (name, uid) in [("anna", 10_000), ("ben", 10_001), ("carl", 10_002)] {
            log_in(&house, &shares, name, uid);
            fs::write(house.folder.path().join("homes").join(name).join("diary"), name).expect("written");
            fs::write(house.folder.path().join("shares/essays").join(name).join("essay"), name)
                .expect("written");
        }
        Some((house, shares))
    }

    /// What a log-in does with folders.
    fn log_in(house: &House, shares: &Shares, name: &str, uid: u32) {
        let person = person(name, uid);
        house.homes.prepare(&person, NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
        shares.for_person(&person, PI).expect("shares");
    }

    /// The power comes back: everything is opened anew.
    fn start(house: &mut House) -> Shares {
        house.homes =
            Homes::open(house.folder.path(), house.store.clone(), house.config.subscribe()).expect("opened");
        let shares =
            Shares::open(house.folder.path(), house.store.clone(), house.config.subscribe()).expect("opened");
        house.homes.settle(&shares, NOW);
        shares
    }

    fn remove(uid: u32) -> AccountStep {
        AccountStep::Remove { uid: Uid(uid) }
    }

    fn rename(uid: u32, name: &str) -> AccountStep {
        let change = AccountChange { name: Some(name.parse().expect("a name")), ..AccountChange::default() };
        AccountStep::Set { uid: Uid(uid), change }
    }

    fn diary(house: &House, name: &str) -> Option<String> {
        fs::read_to_string(house.folder.path().join("homes").join(name).join("diary")).ok()
    }

    fn essay(house: &House, called: &str) -> Option<String> {
        fs::read_to_string(house.folder.path().join("shares/essays").join(called).join("essay")).ok()
    }

    #[test]
    fn a_removal_that_is_cut_off_at_any_step_is_completed() {
        let name = |name: &str| name.parse::<UserName>().expect("a name");
        for cut_after in ["the rows", "a box", "the boxes", "a home", "the home", "everything of one"] {
            let Some((mut house, shares)) = school() else { return };
            // Two leave in one transaction, as a class does.
            house.store.change_accounts(&[remove(10_000), remove(10_001)], NOW).expect("stored");
            match cut_after {
                "a box" => {
                    let essays = house.folder.path().join("shares/essays");
                    fs::rename(essays.join("anna"), essays.join("anna.10000")).expect("renamed");
                }
                "the boxes" => shares.retire(&name("anna"), Uid(10_000)),
                "a home" => {
                    shares.retire(&name("anna"), Uid(10_000));
                    let to = house.folder.path().join("attic/2026-11-27.anna.10000");
                    fs::rename(house.folder.path().join("homes/anna"), to).expect("renamed");
                }
                "the home" => {
                    shares.retire(&name("anna"), Uid(10_000));
                    house.homes.retire(&name("anna"), Uid(10_000), NOW).expect("put away");
                }
                "everything of one" => {
                    house.homes.see_off(&name("anna"), Uid(10_000), &shares, NOW).expect("put away");
                }
                _ => {}
            }
            for _ in 0..2 {
                start(&mut house);
                let attic: Vec<_> = house
                    .homes
                    .attic()
                    .expect("listed")
                    .into_iter()
                    .map(|old| (old.name, old.uid, old.path))
                    .collect();
                let [(anna, Uid(10_000), path), (ben, Uid(10_001), _)] = attic.as_slice() else {
                    panic!("cut after {cut_after}: {attic:?}");
                };
                assert_eq!((anna, ben), (&name("anna"), &name("ben")), "cut after {cut_after}");
                assert_eq!(fs::read_to_string(path.join("diary")).expect("kept"), "anna");
                assert_eq!(
                    ["anna", "ben", "carl"].map(|name| diary(&house, name).is_some()),
                    [false, false, true]
                );
                let boxes =
                    ["anna", "anna.10000", "ben.10001", "carl"].map(|called| essay(&house, called).is_some());
                assert_eq!(boxes, [false, true, true, true], "cut after {cut_after}");
                assert_eq!(house.store.leaving().expect("read"), []);
            }
        }
    }

    #[test]
    fn a_renaming_that_is_cut_off_is_completed_at_the_start_or_by_whoever_comes_first() {
        let Some((mut house, _)) = school() else { return };
        house.store.change_accounts(&[rename(10_000, "eva")], NOW).expect("stored");
        let shares = start(&mut house);
        assert_eq!((diary(&house, "anna"), diary(&house, "eva").as_deref()), (None, Some("anna")));
        log_in(&house, &shares, "eva", 10_000);
        assert_eq!((essay(&house, "anna"), essay(&house, "eva").as_deref()), (None, Some("anna")));

        // Without that start: the names went on to others, and the folders stayed.
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let Some((house, shares)) = school() else { return };
            let rows = [rename(10_000, "eva"), rename(10_001, "anna"), rename(10_002, "ben")];
            house.store.change_accounts(&rows, NOW).expect("stored");
            for who in order {
                let (name, uid) = [("eva", 10_000), ("anna", 10_001), ("ben", 10_002)][who];
                log_in(&house, &shares, name, uid);
            }
            for (name, uid, wrote) in
                [("eva", 10_000, "anna"), ("anna", 10_001, "ben"), ("ben", 10_002, "carl")]
            {
                log_in(&house, &shares, name, uid);
                assert_eq!(diary(&house, name).as_deref(), Some(wrote), "{order:?}: the home of {name}");
                assert_eq!(essay(&house, name).as_deref(), Some(wrote), "{order:?}: what {name} handed in");
            }
            assert_eq!(house.homes.attic().expect("listed"), [], "{order:?}");
        }
    }

    #[test]
    fn a_folder_that_is_ahead_of_its_row_goes_back() {
        let Some((mut house, _)) = school() else { return };
        let homes = house.folder.path().join("homes");
        fs::rename(homes.join("anna"), homes.join("eva")).expect("renamed");
        start(&mut house);
        assert_eq!(diary(&house, "anna").as_deref(), Some("anna"));
    }

    #[test]
    fn what_is_not_of_a_removed_account_stays() {
        let Some((mut house, _)) = school() else { return };
        // An account that a backup brought back, and a home that was restored before its account.
        house.store.change_accounts(&[remove(10_000)], NOW).expect("stored");
        let run = |tx: &rusqlite::Transaction<'_>| {
            tx.execute_batch("INSERT INTO account (uid, name, created_at) VALUES (10000, 'anna', 0)")
        };
        house.store.write("test", crate::store::Durability::Process, run).expect("SQL");
        house.homes.prepare(&person("eva", 10_077), NOW).expect("made");
        start(&mut house);
        assert!(diary(&house, "anna").is_some() && house.folder.path().join("homes/eva").exists());

        // With a directory, numbers are others'.
        house.store.change_accounts(&[remove(10_001)], NOW).expect("stored");
        house.config.send_modify(|config| Arc::make_mut(config).accounts.source = Source::Ldap);
        start(&mut house);
        assert!(diary(&house, "ben").is_some());
        house.config.send_modify(|config| Arc::make_mut(config).accounts.source = Source::Local);
        start(&mut house);
        assert!(diary(&house, "ben").is_none());
        let box_of: ShareName = "essays".parse().expect("a name");
        assert_eq!(
            house.store.hand_in_box(&box_of, Uid(10_001)).expect("read").as_deref(),
            Some("ben.10001")
        );
    }
}

//! Bramble's own accounts, in the store.

use std::sync::Arc;

use super::password::{self, Slots};
use super::steps::Step;
use super::{Clock, Directory, LookupError, Refused, plain};
use crate::store::accounts::{AccountRow, AccountStep};
use crate::store::{Store, StoreError};
use crate::types::{Moment, PasswordHash, Person, Secret, Uid, chain};

pub(super) struct Local {
    store: Store,
    clock: Arc<Clock>,
    slots: Slots,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Local {
    pub(super) fn new(store: Store, clock: Arc<Clock>) -> Self {
        Self { store, clock, slots: Slots::default() }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The hash of a new password.
    pub(super) fn hash(&self, password: &Secret) -> Result<PasswordHash, Refused> {
        let _slot = self.slots.take().ok_or(Refused::Busy)?;
        password::hash(password).map_err(|error| Refused::Unreachable { why: error.to_string() })
    }

    /// Whether the account may be used now; `None` if there is none.
    pub(super) fn standing(&self, uid: Uid) -> Result<Option<Result<(), Refused>>, StoreError> {
        let account = self.store.account_of(uid)?;
        Ok(account.map(|account| usable(&account, (self.clock)().civil)))
    }

    /// Stores the hash of `password` anew if it is not one of ours: it is known only now.
    fn renew(&self, account: &AccountRow, password: &Secret) {
        let Some(old) = account.hash.as_ref().filter(|hash| password::is_foreign(hash)) else { return };
        let renewed = self.hash(password).map(|new| self.store.rehashed(account.uid, old, &new));
        match renewed {
            Ok(Ok(())) => tracing::debug!(account = %account.name, "imported password stored anew"),
            Ok(Err(error)) => {
                tracing::warn!(account = %account.name, error = chain(&error), "imported password not stored anew");
            }
            // The next log-in does it.
            Err(_) => {}
        }
    }
}

/// Whether the account may be used at `now`.
fn usable(account: &AccountRow, now: Moment) -> Result<(), Refused> {
    if !account.enabled {
        return Err(Refused::Disabled);
    }
    match account.expires_at {
        Some(at) if at <= now => Err(Refused::Expired { at }),
        _ => Ok(()),
    }
}

fn person(account: AccountRow) -> Person {
    Person {
        name: account.name,
        uid: account.uid,
        gid: account.uid.own_group(),
        full_name: account.full_name,
        role: account.role,
        classes: account.classes,
        must_change: account.must_change,
    }
}

impl Directory for Local {
    fn person(&self, name: &str) -> Result<Option<Person>, LookupError> {
        let Some(name) = plain(name) else { return Ok(None) };
        Ok(self.store.account(&name)?.map(person))
    }

    fn people(&self) -> Result<Vec<Person>, LookupError> {
        let now = (self.clock)().civil;
        let accounts = self.store.accounts()?;
        Ok(accounts.into_iter().filter(|account| usable(account, now).is_ok()).map(person).collect())
    }

    fn has(&self, uid: Uid) -> Result<bool, LookupError> {
        Ok(self.store.account_of(uid)?.is_some())
    }

    fn verify(&self, name: &str, password: &Secret) -> Result<Person, Refused> {
        let account = match plain(name) {
            Some(name) => self.store.account(&name)?,
            None => None,
        };
        let fits = {
            let _slot = self.slots.take().ok_or(Refused::Busy)?;
            password::fits(password, account.as_ref().and_then(|account| account.hash.as_ref()))
        };
        let account = account.ok_or(Refused::NoSuchAccount)?;
        if !fits {
            return Err(Refused::WrongPassword);
        }
        // Only whoever knows the password is told more than "not right".
        usable(&account, (self.clock)().civil)?;
        self.renew(&account, password);
        Ok(person(account))
    }

    fn change_password(&self, who: &Person, _old: &Secret, new: &Secret) -> Result<(), Refused> {
        let hash = self.hash(new)?;
        let step = AccountStep::Password { uid: who.uid, hash, must_change: false };
        self.store.change_accounts(&[step], (self.clock)().civil)?;
        tracing::info!(account = %who.name, "password changed");
        Ok(())
    }

    fn test(&self, name: &str, password: Option<&Secret>) -> Vec<Step> {
        let mut steps = Vec::new();
        let outcome = self.tried(name, password, &mut steps);
        steps.extend(outcome.err());
        steps
    }
}

impl Local {
    fn tried(&self, name: &str, password: Option<&Secret>, steps: &mut Vec<Step>) -> Result<(), Step> {
        let missing = || {
            let what = format!("there is no account `{name}`");
            Step::failed(
                "account",
                what,
                "`bramble account list` shows those there are, `bramble account add` makes one",
            )
        };
        let plain = plain(name).ok_or_else(missing)?;
        let found = self.store.account(&plain).map_err(|error| Step::failed("account", chain(&error), ""))?;
        let account = found.ok_or_else(missing)?;
        steps.push(Step::ok("account", format!("`{plain}`, kept on this router")));
        steps.push(Step::ok("numbers", format!("uid and group {}", account.uid)));
        let set = format!("`bramble account set {plain}");
        usable(&account, (self.clock)().civil).map_err(|refused| match refused {
            Refused::Expired { at } => Step::failed(
                "state",
                format!("the account ended on {}", at.date()),
                format!("{set} --expires none`"),
            ),
            _ => Step::failed("state", "the account is switched off", format!("{set} --enable`")),
        })?;
        let reset = format!("`bramble account password {plain}` makes one");
        if account.hash.is_none() {
            return Err(Step::failed("password", "there is none, and so nobody gets in", reset));
        }
        if let Some(password) = password {
            let _slot = self
                .slots
                .take()
                .ok_or_else(|| Step::failed("password", "too many are checked", "try again"))?;
            if !password::fits(password, account.hash.as_ref()) {
                return Err(Step::failed(
                    "password",
                    "not right",
                    format!("{reset} anew if it is forgotten"),
                ));
            }
            steps.push(Step::ok("password", "right"));
        } else {
            steps.push(Step::note("password", "not tried; `--ask` asks for it"));
        }
        if account.must_change {
            steps.push(Step::note("password", "a new one has to be chosen at the log-in"));
        }
        let classes: Vec<&str> = account.classes.iter().map(|(class, _)| class.as_str()).collect();
        let classes = if classes.is_empty() { "in no class".to_owned() } else { classes.join(", ") };
        steps.push(Step::ok("groups", classes));
        let role = account.role;
        steps.push(Step::ok(
            "result",
            format!("`{plain}` may log in, as a {role}; a room may ask for a class"),
        ));
        Ok(())
    }
}

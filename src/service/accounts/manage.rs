//! What an administrator does with accounts and classes of our own: add, change, rename, reset, remove, look up.

use std::sync::{MutexGuard, PoisonError};

use super::{Accounts, Refused, check_new, generate, is_taken_by_systems};
use crate::config::Source;
use crate::store::StoreError;
use crate::store::accounts::{AccountChange, AccountRow, AccountStep, ClassChange, ClassRow, NewAccount};
use crate::types::{ByteSize, ClassName, Gid, Person, Role, Secret, UserName};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("there is no account `{0}`; `bramble account list` shows those there are")]
    NoSuchAccount(UserName),
    #[error(
        "there is no class `{0}`; `bramble class list` shows those there are, `bramble class add {0}` makes it"
    )]
    NoSuchClass(ClassName),
    #[error("`{0}` is the name of an account or a class already; choose another")]
    NameTaken(String),
    #[error("`{0}` is a name that systems have for themselves; choose another")]
    SystemName(String),
    #[error("nobody was moved: `{0}` is the class they are in; name another")]
    SameClass(ClassName),
    #[error("{0}")]
    Weak(String),
    #[error(
        "nothing was imported: of the lines, {0} cannot be taken over; look at the preview and mend them, or leave them out"
    )]
    LinesRefused(usize),
    #[error(
        "nothing was imported: accounts were changed while the passwords were hashed, and the list means something else \
         now; look at the preview again"
    )]
    Meanwhile,
    #[error("{0}")]
    Refused(Refused),
    #[error("the accounts are kept in a directory (`option source 'ldap'`); change them there")]
    Elsewhere,
    #[error("nobody can tell who there is: {why}")]
    Away { why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a random number could not be drawn")]
    Random(#[source] std::io::Error),
}

impl EditError {
    /// A word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchAccount(_) => "no_such_account",
            Self::NoSuchClass(_) => "no_such_class",
            Self::NameTaken(_) | Self::SystemName(_) => "name_taken",
            Self::SameClass(_) => "same_class",
            Self::Weak(_) => "weak_password",
            Self::LinesRefused(_) => "lines_refused",
            Self::Meanwhile => "changed_meanwhile",
            Self::Refused(refused) => refused.code(),
            Self::Elsewhere => "accounts_elsewhere",
            Self::Away { .. } => "unreachable",
            Self::Store(_) | Self::Random(_) => "internal",
        }
    }

    /// The argument at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchAccount(_) => Some("account"),
            Self::NoSuchClass(_) => Some("class"),
            Self::NameTaken(_) | Self::SystemName(_) => Some("name"),
            Self::SameClass(_) => Some("to"),
            Self::Weak(_) => Some("password"),
            Self::LinesRefused(_) | Self::Meanwhile => Some("csv"),
            Self::Refused(_) | Self::Elsewhere | Self::Away { .. } | Self::Store(_) | Self::Random(_) => None,
        }
    }
}

/// Which accounts to list.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Part of a name, a full name or a note, in any case.
    pub text: Option<String>,
    pub class: Option<ClassName>,
    pub role: Option<Role>,
    pub offset: usize,
    pub limit: usize,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// How many there are in all.
    pub total: usize,
    pub accounts: Vec<AccountRow>,
}

/// Somebody's password that was made up, to be told to them once.
#[derive(Clone, Debug)]
pub struct Slip {
    pub account: AccountRow,
    pub password: Secret,
}

impl Search {
    fn finds(&self, account: &AccountRow) -> bool {
        self.fits(
            &[account.name.as_str(), account.full_name.as_str(), &account.note],
            &account.classes,
            account.role,
        )
    }

    pub(super) fn finds_person(&self, person: &Person) -> bool {
        self.fits(&[person.name.as_str(), person.full_name.as_str()], &person.classes, person.role)
    }

    fn fits(&self, texts: &[&str], classes: &[(ClassName, Gid)], role: Role) -> bool {
        let text = self.text.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            texts.iter().any(|field| field.to_lowercase().contains(&text))
        });
        let class = self.class.as_ref().is_none_or(|class| classes.iter().any(|(name, _)| name == class));
        text && class && self.role.is_none_or(|wanted| wanted == role)
    }
}

impl Accounts {
    pub fn list(&self, search: &Search) -> Result<Page, EditError> {
        self.ours()?;
        let mut accounts = self.0.store.accounts()?;
        accounts.retain(|account| search.finds(account));
        let total = accounts.len();
        let accounts = accounts.into_iter().skip(search.offset).take(search.limit).collect();
        Ok(Page { total, accounts })
    }

    pub fn account(&self, name: &UserName) -> Result<AccountRow, EditError> {
        self.ours()?;
        self.0.store.account(name)?.ok_or_else(|| EditError::NoSuchAccount(name.clone()))
    }

    /// Makes an account; a password that is not given is made up. Classes must be there.
    pub fn add(&self, mut new: NewAccount, password: Option<&Secret>) -> Result<Slip, EditError> {
        let _editing = self.editing()?;
        self.free(new.name.as_str())?;
        self.classes_exist(&new.classes)?;
        let password = self.new_password(&new.name, password, &mut new.must_change)?;
        new.hash = Some(self.hashed(&password)?);
        let name = new.name.clone();
        self.apply(&[AccountStep::Add(new)])?;
        tracing::info!(account = %name, "account added");
        Ok(Slip { account: self.account(&name)?, password })
    }

    /// Changes an account; a new name is one of the changes.
    pub fn set(&self, name: &UserName, change: AccountChange) -> Result<AccountRow, EditError> {
        let _editing = self.editing()?;
        let account = self.account(name)?;
        if let Some(other) = change.name.as_ref().filter(|other| *other != name) {
            self.free(other.as_str())?;
        }
        self.classes_exist(change.classes.as_deref().unwrap_or_default())?;
        let called = change.name.clone().unwrap_or_else(|| name.clone());
        self.apply(&[AccountStep::Set { uid: account.uid, change }])?;
        tracing::info!(account = %called, "account changed");
        self.account(&called)
    }

    /// Gives an account the password, or one that is made up and has to be changed at the next log-in.
    pub fn reset_password(&self, name: &UserName, password: Option<&Secret>) -> Result<Slip, EditError> {
        let _editing = self.editing()?;
        let account = self.account(name)?;
        let mut must_change = false;
        let password = self.new_password(name, password, &mut must_change)?;
        let hash = self.hashed(&password)?;
        self.apply(&[AccountStep::Password { uid: account.uid, hash, must_change }])?;
        tracing::info!(account = %name, "password reset");
        Ok(Slip { account: self.account(name)?, password })
    }

    /// Gives every member of a class a new password that is made up.
    pub fn reset_class(&self, class: &ClassName) -> Result<Vec<Slip>, EditError> {
        let _editing = self.editing()?;
        let members = self.members(class)?;
        let mut steps = Vec::new();
        let mut slips = Vec::new();
        for account in members {
            let password = generate::password().map_err(EditError::Random)?;
            let hash = generate::hash(&password).map_err(EditError::Random)?;
            steps.push(AccountStep::Password { uid: account.uid, hash, must_change: true });
            slips.push(Slip { account, password });
        }
        self.apply(&steps)?;
        tracing::info!(class = %class, accounts = slips.len(), "passwords reset");
        Ok(slips)
    }

    /// Removes accounts, and answers with what they were. Their homes are the caller's business.
    pub fn remove(&self, names: &[UserName]) -> Result<Vec<AccountRow>, EditError> {
        let _editing = self.editing()?;
        let accounts = names.iter().map(|name| self.account(name)).collect::<Result<Vec<_>, _>>()?;
        let steps: Vec<AccountStep> =
            accounts.iter().map(|account| AccountStep::Remove { uid: account.uid }).collect();
        self.apply(&steps)?;
        for account in &accounts {
            tracing::info!(account = %account.name, uid = %account.uid, "account removed");
        }
        Ok(accounts)
    }

    pub fn classes(&self) -> Result<Vec<ClassRow>, EditError> {
        self.ours()?;
        Ok(self.0.store.classes()?)
    }

    pub fn class(&self, name: &ClassName) -> Result<ClassRow, EditError> {
        let classes = self.classes()?;
        classes
            .into_iter()
            .find(|class| class.name == *name)
            .ok_or_else(|| EditError::NoSuchClass(name.clone()))
    }

    pub fn members(&self, class: &ClassName) -> Result<Vec<AccountRow>, EditError> {
        self.class(class)?;
        let search = Search { class: Some(class.clone()), limit: usize::MAX, ..Search::default() };
        Ok(self.list(&search)?.accounts)
    }

    pub fn add_class(
        &self,
        name: &ClassName,
        note: String,
        quota: Option<ByteSize>,
    ) -> Result<ClassRow, EditError> {
        let _editing = self.editing()?;
        self.free(name.as_str())?;
        self.apply(&[AccountStep::AddClass { name: name.clone(), note, quota }])?;
        self.class(name)
    }

    pub fn set_class(&self, name: &ClassName, change: ClassChange) -> Result<ClassRow, EditError> {
        let _editing = self.editing()?;
        let class = self.class(name)?;
        if let Some(other) = change.name.as_ref().filter(|other| *other != name) {
            self.free(other.as_str())?;
        }
        let called = change.name.clone().unwrap_or_else(|| name.clone());
        self.apply(&[AccountStep::SetClass { gid: class.gid, change }])?;
        self.class(&called)
    }

    /// Removes a class, and with `members` everybody in it who is in no other class and no teacher; answers with those.
    pub fn remove_class(&self, name: &ClassName, members: bool) -> Result<Vec<AccountRow>, EditError> {
        let _editing = self.editing()?;
        let class = self.class(name)?;
        let mut gone = Vec::new();
        if members {
            gone = self.members(name)?;
            gone.retain(|account| account.role == Role::Pupil && account.classes.len() == 1);
        }
        let mut steps: Vec<AccountStep> =
            gone.iter().map(|account| AccountStep::Remove { uid: account.uid }).collect();
        steps.push(AccountStep::RemoveClass { gid: class.gid });
        self.apply(&steps)?;
        tracing::info!(class = %name, accounts = gone.len(), "class removed");
        Ok(gone)
    }

    /// Moves everybody in class `from` to class `to`, which is made if need be. How many that were.
    pub fn move_class(&self, from: &ClassName, to: &ClassName) -> Result<usize, EditError> {
        let _editing = self.editing()?;
        let members = self.members(from)?;
        if from == to {
            return Err(EditError::SameClass(from.clone()));
        }
        let mut steps = Vec::new();
        if !self.classes()?.iter().any(|class| class.name == *to) {
            self.free(to.as_str())?;
            // The people are the same, and need the same room.
            let quota = self.class(from)?.quota;
            steps.push(AccountStep::AddClass { name: to.clone(), note: String::new(), quota });
        }
        for account in &members {
            let mut classes: Vec<ClassName> =
                account.classes.iter().map(|(name, _)| name).filter(|name| *name != from).cloned().collect();
            if !classes.contains(to) {
                classes.push(to.clone());
            }
            let change = AccountChange { classes: Some(classes), ..AccountChange::default() };
            steps.push(AccountStep::Set { uid: account.uid, change });
        }
        self.apply(&steps)?;
        tracing::info!(from = %from, to = %to, accounts = members.len(), "class moved");
        Ok(members.len())
    }

    pub(super) fn apply(&self, steps: &[AccountStep]) -> Result<(), EditError> {
        self.0.store.change_accounts(steps, (self.0.clock)().civil)?;
        let with_password = |step: &AccountStep| match step {
            AccountStep::Password { uid, .. } => Some(*uid),
            _ => None,
        };
        self.passwords_changed(steps.iter().filter_map(with_password));
        Ok(())
    }

    /// One change at a time: what was checked is still so when it is written.
    pub(super) fn editing(&self) -> Result<MutexGuard<'_, ()>, EditError> {
        self.ours()?;
        Ok(self.0.editing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ours(&self) -> Result<(), EditError> {
        match self.0.config.borrow().accounts.source {
            Source::Local => Ok(()),
            Source::Ldap => Err(EditError::Elsewhere),
        }
    }

    /// Whether a name is still to be had, for an account or a class: on a client both are groups.
    fn free(&self, name: &str) -> Result<(), EditError> {
        if is_taken_by_systems(name) {
            return Err(EditError::SystemName(name.to_owned()));
        }
        let account = match name.parse() {
            Ok(name) => self.0.store.account(&name)?.is_some(),
            Err(_) => false,
        };
        let class = self.0.store.classes()?.iter().any(|class| class.name.as_str() == name);
        if account || class { Err(EditError::NameTaken(name.to_owned())) } else { Ok(()) }
    }

    fn classes_exist(&self, wanted: &[ClassName]) -> Result<(), EditError> {
        let known = self.0.store.classes()?;
        let missing = wanted.iter().find(|wanted| !known.iter().any(|class| class.name == **wanted));
        missing.map_or(Ok(()), |missing| Err(EditError::NoSuchClass(missing.clone())))
    }

    fn new_password(
        &self,
        name: &UserName,
        given: Option<&Secret>,
        must_change: &mut bool,
    ) -> Result<Secret, EditError> {
        let Some(given) = given else {
            *must_change = true;
            return generate::password().map_err(EditError::Random);
        };
        let length = self.0.config.borrow().accounts.password_length;
        check_new(name.as_str(), None, given, length).map_err(EditError::Weak)?;
        Ok(given.clone())
    }

    fn hashed(&self, password: &Secret) -> Result<crate::types::PasswordHash, EditError> {
        self.0.local.hash(password).map_err(EditError::Refused)
    }
}

/// The number of a class among those of an account, for answers.
pub fn names(classes: &[(ClassName, Gid)]) -> Vec<ClassName> {
    classes.iter().map(|(name, _)| name.clone()).collect()
}

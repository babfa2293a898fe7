//! Methods about accounts and classes.

use std::str::FromStr;

use serde_json::Value;

use super::answer::{
    Account, Accounts, Class, ClassMoved, Classes, Exported, Imported as ImportedAnswer, NewPasswords,
    Outcome, Removals, Slip as SlipAnswer, Started, Tested,
};
use super::args::{Args, OrNone};
use super::error::ApiError;
use super::{Api, now, value};
use crate::service::accounts::elsewhere::Listed;
use crate::service::accounts::import::{Defaults, Fate, ImportError, Imported, Plan};
use crate::service::accounts::manage::{EditError, Search, Slip, names};
use crate::service::accounts::{sheet, slips};
use crate::service::homes::HomeError;
use crate::service::jobs::{Stopped, Task};
use crate::store::accounts::{AccountChange, AccountRow, ClassChange, ClassRow, NewAccount};
use crate::types::time::parse_date;
use crate::types::{ByteSize, ClassName, FullName, Moment, Person, Role, Secret, UserName, chain, limits};

/// Accounts that one answer has unless told otherwise.
const PAGE: u64 = 100;

/// Classes as a person writes them: `class-7b, chess`; `none` for none.
struct ClassList(Vec<ClassName>);

impl FromStr for ClassList {
    type Err = crate::types::name::BadName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        text.split([',', ' '])
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The last moment of a day.
struct Day(Moment);

impl FromStr for Day {
    type Err = crate::types::time::BadDate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_date(text).map(Self)
    }
}

/// `1` or `0`, as forms send a switch.
struct Switch(bool);

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            _ => Err("write `1` or `0`".to_owned()),
        }
    }
}

fn account(row: AccountRow) -> Account {
    Account {
        classes: names(&row.classes),
        name: row.name,
        uid: row.uid,
        full_name: row.full_name,
        note: row.note,
        role: row.role,
        enabled: row.enabled,
        has_password: row.hash.is_some(),
        must_change: row.must_change,
        expires_at: row.expires_at,
        quota: row.quota,
        created_at: Some(row.created_at),
        password_at: row.password_at,
        last_login_at: row.last_login_at,
        last_login_on: row.last_login_on,
    }
}

/// Somebody of a directory. Who may not log in is not listed.
fn elsewhere(listed: Listed) -> Account {
    let Listed { person, last_login } = listed;
    let (last_login_at, last_login_on) = last_login.unzip();
    Account {
        classes: names(&person.classes),
        name: person.name,
        uid: person.uid,
        full_name: person.full_name,
        note: String::new(),
        role: person.role,
        enabled: true,
        has_password: true,
        must_change: person.must_change,
        expires_at: None,
        quota: None,
        created_at: None,
        password_at: None,
        last_login_at,
        last_login_on,
    }
}

fn class(row: ClassRow) -> Class {
    Class { name: row.name, gid: row.gid, note: row.note, quota: row.quota, members: row.members }
}

fn slip(slip: &Slip) -> SlipAnswer {
    SlipAnswer {
        name: slip.account.name.clone(),
        full_name: slip.account.full_name.clone(),
        classes: names(&slip.account.classes),
        password: slip.password.clone(),
    }
}

/// Passwords that were made up, and the page to print if one was asked for.
fn new_passwords(made: &[Slip], args: &Args) -> Result<NewPasswords, ApiError> {
    let kind: Option<String> = args.get("slips")?;
    let page = match kind.as_deref() {
        None => None,
        Some("html") => Some(slips::html(made)),
        Some("text") => Some(slips::text(made)),
        Some(_) => {
            let message = "`slips` must be `html` or `text`".to_owned();
            return Err(ApiError::BadValue { field: "slips", message });
        }
    };
    Ok(NewPasswords { accounts: made.iter().map(slip).collect(), page })
}

fn imported(plan: &Plan, applied: bool, passwords: NewPasswords) -> ImportedAnswer {
    ImportedAnswer {
        applied,
        add: plan.count(Fate::Add),
        change: plan.count(Fate::Change),
        same: plan.count(Fate::Same),
        refused: plan.count(Fate::Refused),
        new_classes: plan.new_classes.clone(),
        ignored_columns: plan.ignored.clone(),
        lines: plan.lines.clone(),
        passwords,
    }
}

pub(super) fn switch(args: &Args, field: &'static str) -> Result<Option<bool>, ApiError> {
    Ok(args.get::<Switch>(field)?.map(|switch| switch.0))
}

impl Api {
    fn edited<T>(&self, result: Result<T, EditError>) -> Result<T, ApiError> {
        result.map_err(|error| match error {
            EditError::Store(_) | EditError::Random(_) => self.failed(&error),
            other => ApiError::Account(other),
        })
    }

    /// The homes of accounts that are gone go to the attic. One that cannot is put there when an account of its name next
    /// needs a home.
    fn retire(&self, gone: Vec<AccountRow>) -> Removals {
        let mut homes = 0;
        let sessions = self.sessions.count(|person| gone.iter().any(|account| account.uid == person.uid));
        for account in &gone {
            match self.homes.see_off(&account.name, account.uid, &self.shares, now()) {
                Ok(had_a_home) => homes += usize::from(had_a_home),
                Err(error) => {
                    tracing::warn!(account = %account.name, error = chain(&error), "home not put into the attic");
                }
            }
        }
        Removals { accounts: gone.into_iter().map(|account| account.name).collect(), homes, sessions }
    }

    pub(super) fn account_list(&self, args: &Args) -> Result<Accounts, ApiError> {
        let limit = args.number("limit")?.unwrap_or(PAGE).min(limits::ACCOUNTS_LISTED);
        let search = Search {
            text: args.get("search")?,
            class: args.get("class")?,
            role: args.get("role")?,
            offset: usize::try_from(args.number("offset")?.unwrap_or(0)).unwrap_or(usize::MAX),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        if self.accounts.are_elsewhere() {
            let (total, page) = self.edited(self.accounts.list_elsewhere(&search))?;
            let accounts = page.into_iter().map(elsewhere).collect();
            return Ok(Accounts { now: now(), total, offset: search.offset, elsewhere: true, accounts });
        }
        let page = self.edited(self.accounts.list(&search))?;
        Ok(Accounts {
            now: now(),
            total: page.total,
            offset: search.offset,
            elsewhere: false,
            accounts: page.accounts.into_iter().map(account).collect(),
        })
    }

    pub(super) fn account_get(&self, args: &Args) -> Result<Account, ApiError> {
        let name: UserName = args.need("account")?;
        if self.accounts.are_elsewhere() {
            return self.edited(self.accounts.person_elsewhere(&name)).map(elsewhere);
        }
        self.edited(self.accounts.account(&name)).map(account)
    }

    /// Names here may be those of a directory, which allows more than we do.
    pub(super) fn account_test(&self, args: &Args) -> Result<Tested, ApiError> {
        let (name, password): (String, Option<Secret>) = (args.need("account")?, args.get("password")?);
        let steps = self.accounts.test(&name, password.as_ref()).map_err(|error| self.failed(&error))?;
        let works = steps.last().is_some_and(|step| step.outcome != Outcome::Failed);
        Ok(Tested { account: name, works, steps })
    }

    pub(super) fn account_add(&self, args: &Args) -> Result<NewPasswords, ApiError> {
        let new = NewAccount {
            name: args.need("account")?,
            full_name: args.get("full_name")?.unwrap_or_default(),
            note: note(args)?.unwrap_or_default(),
            role: args.get("role")?.unwrap_or_default(),
            hash: None,
            must_change: switch(args, "must_change")?.unwrap_or(false),
            enabled: true,
            expires_at: args.get::<Day>("expires")?.map(|day| day.0),
            quota: args.get("quota")?,
            classes: args.get::<ClassList>("classes")?.map(|list| list.0).unwrap_or_default(),
        };
        let password: Option<Secret> = args.get("password")?;
        let made = self.edited(self.accounts.add(new, password.as_ref()))?;
        new_passwords(&[made], args)
    }

    pub(super) fn account_set(&self, args: &Args) -> Result<Account, ApiError> {
        let name: UserName = args.need("account")?;
        let change = AccountChange {
            name: args.get("name")?,
            full_name: args.get::<OrNone<FullName>>("full_name")?.map(|name| name.0.unwrap_or_default()),
            note: note(args)?,
            role: args.get("role")?,
            must_change: switch(args, "must_change")?,
            enabled: switch(args, "enabled")?,
            expires_at: args.get::<OrNone<Day>>("expires")?.map(|day| day.0.map(|day| day.0)),
            quota: args.get::<OrNone<ByteSize>>("quota")?.map(|quota| quota.0),
            classes: args.get::<ClassList>("classes")?.map(|list| list.0),
        };
        let renamed = change.name.clone().filter(|other| *other != name);
        let quota = change.quota.is_some();
        let row = self.edited(self.accounts.set(&name, change))?;
        if let Some(called) = renamed {
            if let Err(error) = self.homes.rename(&name, &called, row.uid) {
                // An account without its home is worse than one with its old name.
                let back = AccountChange { name: Some(name), ..AccountChange::default() };
                self.edited(self.accounts.set(&called, back))?;
                return Err(match error {
                    HomeError::Taken { .. } => {
                        ApiError::BadValue { field: "name", message: error.to_string() }
                    }
                    error => self.failed(&error),
                });
            }
            self.shares.rename(&name, &called, row.uid);
        }
        if quota {
            self.sessions.refresh(|person| person.uid == row.uid, (self.clock.0)());
        }
        Ok(account(row))
    }

    pub(super) fn account_password(&self, args: &Args) -> Result<NewPasswords, ApiError> {
        let (name, class): (Option<UserName>, Option<ClassName>) = (args.get("account")?, args.get("class")?);
        let made = match (name, class) {
            (Some(name), None) => {
                let password: Option<Secret> = args.get("password")?;
                vec![self.edited(self.accounts.reset_password(&name, password.as_ref()))?]
            }
            (None, Some(class)) => self.edited(self.accounts.reset_class(&class))?,
            _ => {
                let message = "name an account or a class, one of the two".to_owned();
                return Err(ApiError::BadValue { field: "account", message });
            }
        };
        new_passwords(&made, args)
    }

    pub(super) fn account_remove(&self, args: &Args) -> Result<Removals, ApiError> {
        let name: UserName = args.need("account")?;
        let gone = self.edited(self.accounts.remove(&[name]))?;
        Ok(self.retire(gone))
    }

    /// Shows what a list would do, or with `apply` starts a job that does it: a list of a thousand passwords takes longer
    /// than a browser waits.
    pub(super) fn account_import(&self, args: &Args) -> Result<Value, ApiError> {
        let text: String = args.need("csv")?;
        let sheet = sheet::read(&text)
            .map_err(|bad| ApiError::BadValue { field: "csv", message: bad.to_string() })?;
        let defaults =
            Defaults { class: args.get("class")?, role: args.get::<Role>("role")?.unwrap_or_default() };
        let plan = self.edited(self.accounts.plan(&sheet, &defaults))?;
        if !switch(args, "apply")?.unwrap_or(false) {
            return Ok(value(imported(&plan, false, NewPasswords::default())));
        }
        let skip = switch(args, "skip")?.unwrap_or(false);
        let refused = plan.count(Fate::Refused);
        if refused > 0 && !skip {
            return Err(ApiError::Account(EditError::LinesRefused(refused)));
        }
        let accounts = self.accounts.clone();
        let subject = match sheet.lines.len() {
            1 => "1 line".to_owned(),
            lines => format!("{lines} lines"),
        };
        let job = self.jobs.start_beside("people", subject, |job| {
            move |task: &Task| match accounts.import(&sheet, &defaults, skip, task) {
                Ok(done) => {
                    let plan = &done.plan;
                    let says =
                        format!("{} added, {} changed", plan.count(Fate::Add), plan.count(Fate::Change));
                    accounts.keep_import(job, done);
                    Ok(says)
                }
                Err(ImportError::Cancelled(_)) => Err(Stopped::Cancelled),
                Err(error) => Err(Stopped::because(&error)),
            }
        })?;
        Ok(value(Started { job }))
    }

    /// What came of an import, with the passwords that were made up.
    pub(super) fn account_imported(&self, args: &Args) -> Result<ImportedAnswer, ApiError> {
        let job = args.need_number("job")?;
        let read = |done: &Imported| Ok(imported(&done.plan, true, new_passwords(&done.slips, args)?));
        self.accounts.imported(job, read).unwrap_or(Err(ApiError::NoSuchImport(job)))
    }

    pub(super) fn account_export(&self, args: &Args) -> Result<Exported, ApiError> {
        let class: Option<ClassName> = args.get("class")?;
        Ok(Exported { csv: self.edited(self.accounts.export(class.as_ref()))? })
    }

    pub(super) fn class_list(&self) -> Result<Classes, ApiError> {
        if self.accounts.are_elsewhere() {
            let class = |(name, gid, members)| Class { name, gid, note: String::new(), quota: None, members };
            let classes = self.edited(self.accounts.classes_elsewhere())?;
            return Ok(Classes { classes: classes.into_iter().map(class).collect() });
        }
        let rows = self.edited(self.accounts.classes())?;
        Ok(Classes { classes: rows.into_iter().map(class).collect() })
    }

    pub(super) fn class_add(&self, args: &Args) -> Result<Class, ApiError> {
        let (name, note): (ClassName, String) = (args.need("class")?, note(args)?.unwrap_or_default());
        self.edited(self.accounts.add_class(&name, note, args.get("quota")?)).map(class)
    }

    pub(super) fn class_set(&self, args: &Args) -> Result<Class, ApiError> {
        let name: ClassName = args.need("class")?;
        let quota = args.get::<OrNone<ByteSize>>("quota")?.map(|quota| quota.0);
        let change = ClassChange { name: args.get("name")?, note: note(args)?, quota };
        let row = self.edited(self.accounts.set_class(&name, change))?;
        if quota.is_some() {
            let member = |person: &Person| person.classes.iter().any(|(_, gid)| *gid == row.gid);
            self.sessions.refresh(member, (self.clock.0)());
        }
        Ok(class(row))
    }

    pub(super) fn class_remove(&self, args: &Args) -> Result<Removals, ApiError> {
        let name: ClassName = args.need("class")?;
        let members = switch(args, "members")?.unwrap_or(false);
        let gone = self.edited(self.accounts.remove_class(&name, members))?;
        Ok(self.retire(gone))
    }

    pub(super) fn class_move(&self, args: &Args) -> Result<ClassMoved, ApiError> {
        let (from, to): (ClassName, ClassName) = (args.need("class")?, args.need("to")?);
        let accounts = self.edited(self.accounts.move_class(&from, &to))?;
        Ok(ClassMoved { from, to, accounts })
    }
}

/// One line that a person wrote for themselves; `none` takes it away.
fn note(args: &Args) -> Result<Option<String>, ApiError> {
    let note: Option<String> = args.get("note")?;
    if note.as_ref().is_some_and(|note| note.len() > limits::NOTE || note.contains(char::is_control)) {
        let message = format!("a note is one line of at most {} bytes", limits::NOTE);
        return Err(ApiError::BadValue { field: "note", message });
    }
    Ok(note.map(|note| if note == "none" { String::new() } else { note }))
}

//! SQL of accounts, classes and who is in which.
//!
//! Everything that changes is a list of [`AccountStep`]s carried out in one transaction: an import of a whole school, or
//! one new password.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{Durability, Store, StoreError};
use crate::types::{ByteSize, ClassName, FullName, Gid, MacAddr, Moment, PasswordHash, Role, Uid, UserName};

/// One account, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub uid: Uid,
    pub name: UserName,
    pub full_name: FullName,
    pub note: String,
    pub role: Role,
    /// `None` lets nobody in.
    pub hash: Option<PasswordHash>,
    pub must_change: bool,
    pub enabled: bool,
    pub expires_at: Option<Moment>,
    /// Of the home; `None` as the classes or the setting say.
    pub quota: Option<ByteSize>,
    pub created_at: Moment,
    pub password_at: Option<Moment>,
    /// When a session of theirs was opened last, and at which client.
    pub last_login_at: Option<Moment>,
    pub last_login_on: Option<MacAddr>,
    /// Sorted by name.
    pub classes: Vec<(ClassName, Gid)>,
}

/// One class, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRow {
    pub gid: Gid,
    pub name: ClassName,
    pub note: String,
    /// Of the home of each member.
    pub quota: Option<ByteSize>,
    pub created_at: Moment,
    pub members: u32,
}

/// An account that is about to get its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    pub name: UserName,
    pub full_name: FullName,
    pub note: String,
    pub role: Role,
    pub hash: Option<PasswordHash>,
    pub must_change: bool,
    pub enabled: bool,
    pub expires_at: Option<Moment>,
    pub quota: Option<ByteSize>,
    pub classes: Vec<ClassName>,
}

impl NewAccount {
    /// A pupil of whom nothing but the name is known, and who has no password yet.
    pub fn pupil(name: UserName) -> Self {
        Self {
            name,
            full_name: FullName::default(),
            note: String::new(),
            role: Role::Pupil,
            hash: None,
            must_change: false,
            enabled: true,
            expires_at: None,
            quota: None,
            classes: Vec::new(),
        }
    }
}

/// What changes of an account; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    pub name: Option<UserName>,
    pub full_name: Option<FullName>,
    pub note: Option<String>,
    pub role: Option<Role>,
    pub must_change: Option<bool>,
    pub enabled: Option<bool>,
    pub expires_at: Option<Option<Moment>>,
    pub quota: Option<Option<ByteSize>>,
    pub classes: Option<Vec<ClassName>>,
}

/// What changes of a class; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassChange {
    pub name: Option<ClassName>,
    pub note: Option<String>,
    pub quota: Option<Option<ByteSize>>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountStep {
    AddClass {
        name: ClassName,
        note: String,
        quota: Option<ByteSize>,
    },
    SetClass {
        gid: Gid,
        change: ClassChange,
    },
    /// Its members stay.
    RemoveClass {
        gid: Gid,
    },
    Add(NewAccount),
    Set {
        uid: Uid,
        change: AccountChange,
    },
    Password {
        uid: Uid,
        hash: PasswordHash,
        must_change: bool,
    },
    Remove {
        uid: Uid,
    },
}

/// How every question about accounts begins.
const SELECT: &str = "
    SELECT uid, name, full_name, note, role, hash, must_change, enabled, expires_at, quota, created_at, password_at,
           last_login_at, last_login_on,
           (SELECT group_concat(class.name || '=' || class.gid, ' ') FROM member JOIN class ON class.gid = member.gid
            WHERE member.uid = account.uid)
    FROM account";

impl AccountRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let moment = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(Moment::from_millis));
        let role: String = row.get(4)?;
        let on: Option<String> = row.get(13)?;
        Ok(Self {
            uid: Uid(row.get(0)?),
            name: parsed(row, 1)?,
            full_name: parsed(row, 2)?,
            note: row.get(3)?,
            role: role.parse().map_err(|bad| unreadable(4, bad))?,
            hash: row.get::<_, Option<String>>(5)?.map(PasswordHash::new),
            must_change: row.get(6)?,
            enabled: row.get(7)?,
            expires_at: moment(8)?,
            quota: row.get::<_, Option<u64>>(9)?.map(ByteSize),
            created_at: moment(10)?.unwrap_or_default(),
            password_at: moment(11)?,
            last_login_at: moment(12)?,
            last_login_on: on.and_then(|mac| mac.parse().ok()),
            classes: classes(&row.get::<_, Option<String>>(14)?.unwrap_or_default()),
        })
    }
}

/// `b=100001 a=100000`, as [`SELECT`] joins them.
fn classes(joined: &str) -> Vec<(ClassName, Gid)> {
    let class = |text: &str| {
        let (name, gid) = text.split_once('=')?;
        Some((name.parse().ok()?, Gid(gid.parse().ok()?)))
    };
    let mut classes: Vec<(ClassName, Gid)> = joined.split(' ').filter_map(class).collect();
    classes.sort();
    classes
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|bad| unreadable(column, bad))
}

fn unreadable(column: usize, bad: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(bad))
}

impl Store {
    /// Every account, by name.
    pub fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        self.read("list the accounts", |db| {
            let mut query = db.prepare(&format!("{SELECT} ORDER BY name"))?;
            query.query_map([], AccountRow::read)?.collect()
        })
    }

    pub fn account(&self, name: &UserName) -> Result<Option<AccountRow>, StoreError> {
        self.read("look for an account", |db| {
            let mut query = db.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            query.query_row([name.as_str()], AccountRow::read).optional()
        })
    }

    pub fn account_of(&self, uid: Uid) -> Result<Option<AccountRow>, StoreError> {
        self.read("look for an account", |db| {
            let mut query = db.prepare_cached(&format!("{SELECT} WHERE uid = ?1"))?;
            query.query_row([uid.0], AccountRow::read).optional()
        })
    }

    /// How many accounts expired after `since` and not after `now`.
    pub fn accounts_expired(&self, since: Moment, now: Moment) -> Result<u32, StoreError> {
        self.read("look for expired accounts", |db| {
            db.query_row(
                "SELECT count(*) FROM account WHERE expires_at > ?1 AND expires_at <= ?2",
                params![since.millis(), now.millis()],
                |row| row.get(0),
            )
        })
    }

    /// Every class, by name.
    pub fn classes(&self) -> Result<Vec<ClassRow>, StoreError> {
        self.read("list the classes", |db| {
            db.prepare(
                "SELECT gid, name, note, quota, created_at, (SELECT count(*) FROM member WHERE member.gid = class.gid)
                 FROM class ORDER BY name",
            )?
            .query_map([], |row| {
                Ok(ClassRow {
                    gid: Gid(row.get(0)?),
                    name: parsed(row, 1)?,
                    note: row.get(2)?,
                    quota: row.get::<_, Option<u64>>(3)?.map(ByteSize),
                    created_at: Moment::from_millis(row.get(4)?),
                    members: row.get(5)?,
                })
            })?
            .collect()
        })
    }

    /// Carries out all of `steps` or none.
    pub fn change_accounts(&self, steps: &[AccountStep], now: Moment) -> Result<(), StoreError> {
        self.write("change the accounts", Durability::Power, |tx| {
            steps.iter().try_for_each(|step| carry_out(tx, step, now))
        })
    }

    /// Accounts that are removed, whose folders may still be where they were.
    pub fn leaving(&self) -> Result<Vec<(Uid, UserName)>, StoreError> {
        self.read("list the accounts that leave", |db| {
            // One that a backup brought back stays.
            db.prepare("SELECT uid, name FROM leaving WHERE uid NOT IN (SELECT uid FROM account)")?
                .query_map([], |row| Ok((Uid(row.get(0)?), parsed(row, 1)?)))?
                .collect()
        })
    }

    /// Nothing is left of the account `uid` but what is kept.
    pub fn left(&self, uid: Uid) -> Result<(), StoreError> {
        self.write("let an account leave", Durability::Power, |tx| {
            tx.execute("DELETE FROM leaving WHERE uid = ?1", [uid.0]).map(drop)
        })
    }

    /// Another hash of the same password, unless the password was changed meanwhile.
    pub fn rehashed(&self, uid: Uid, old: &PasswordHash, new: &PasswordHash) -> Result<(), StoreError> {
        self.write("store a password anew", Durability::Process, |tx| {
            tx.execute(
                "UPDATE account SET hash = ?3 WHERE uid = ?1 AND hash = ?2",
                params![uid.0, old.expose(), new.expose()],
            )?;
            Ok(())
        })
    }
}

fn carry_out(tx: &Transaction<'_>, step: &AccountStep, now: Moment) -> rusqlite::Result<()> {
    match step {
        AccountStep::AddClass { name, note, quota } => {
            tx.execute(
                "INSERT INTO class (name, note, quota, created_at) VALUES (?1, ?2, ?3, ?4)",
                params![name.as_str(), note, quota.map(|quota| quota.0), now.millis()],
            )?;
        }
        AccountStep::SetClass { gid, change } => set_class(tx, *gid, change)?,
        AccountStep::RemoveClass { gid } => {
            tx.execute("DELETE FROM class WHERE gid = ?1", [gid.0])?;
        }
        AccountStep::Add(new) => add(tx, new, now)?,
        AccountStep::Set { uid, change } => set(tx, *uid, change)?,
        AccountStep::Password { uid, hash, must_change } => {
            tx.execute(
                "UPDATE account SET hash = ?2, must_change = ?3, password_at = ?4 WHERE uid = ?1",
                params![uid.0, hash.expose(), must_change, now.millis()],
            )?;
        }
        AccountStep::Remove { uid } => {
            tx.execute(
                "INSERT OR REPLACE INTO leaving (uid, name) SELECT uid, name FROM account WHERE uid = ?1",
                [uid.0],
            )?;
            tx.execute("DELETE FROM account WHERE uid = ?1", [uid.0])?;
        }
    }
    Ok(())
}

/// The number after the highest there ever was, but none by which a directory's person has a home here.
const FRESH_UID: &str = "
    WITH RECURSIVE fresh (uid) AS (
        SELECT seq + 1 FROM sqlite_sequence WHERE name = 'account'
        UNION ALL SELECT uid + 1 FROM fresh WHERE uid IN (SELECT uid FROM home))
    SELECT max(uid) FROM fresh";

fn add(tx: &Transaction<'_>, new: &NewAccount, now: Moment) -> rusqlite::Result<()> {
    let uid: i64 = tx.query_row(FRESH_UID, [], |row| row.get(0))?;
    tx.execute(
        "INSERT INTO account (uid, name, full_name, note, role, hash, must_change, enabled, expires_at, quota, created_at,
                              password_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            uid,
            new.name.as_str(),
            new.full_name.as_str(),
            new.note,
            new.role.as_str(),
            new.hash.as_ref().map(PasswordHash::expose),
            new.must_change,
            new.enabled,
            new.expires_at.map(Moment::millis),
            new.quota.map(|quota| quota.0),
            now.millis(),
            new.hash.as_ref().map(|_| now.millis()),
        ],
    )?;
    join(tx, uid, &new.classes)
}

fn set(tx: &Transaction<'_>, uid: Uid, change: &AccountChange) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE account SET name = coalesce(?2, name), full_name = coalesce(?3, full_name), note = coalesce(?4, note),
                role = coalesce(?5, role), must_change = coalesce(?6, must_change), enabled = coalesce(?7, enabled)
         WHERE uid = ?1",
        params![
            uid.0,
            change.name.as_ref().map(UserName::as_str),
            change.full_name.as_ref().map(FullName::as_str),
            change.note,
            change.role.map(Role::as_str),
            change.must_change,
            change.enabled,
        ],
    )?;
    if let Some(expires_at) = change.expires_at {
        tx.execute(
            "UPDATE account SET expires_at = ?2 WHERE uid = ?1",
            params![uid.0, expires_at.map(Moment::millis)],
        )?;
    }
    if let Some(quota) = change.quota {
        tx.execute(
            "UPDATE account SET quota = ?2 WHERE uid = ?1",
            params![uid.0, quota.map(|quota| quota.0)],
        )?;
    }
    if let Some(classes) = &change.classes {
        tx.execute("DELETE FROM member WHERE uid = ?1", [uid.0])?;
        join(tx, i64::from(uid.0), classes)?;
    }
    Ok(())
}

fn set_class(tx: &Transaction<'_>, gid: Gid, change: &ClassChange) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE class SET name = coalesce(?2, name), note = coalesce(?3, note) WHERE gid = ?1",
        params![gid.0, change.name.as_ref().map(ClassName::as_str), change.note],
    )?;
    if let Some(quota) = change.quota {
        tx.execute("UPDATE class SET quota = ?2 WHERE gid = ?1", params![gid.0, quota.map(|quota| quota.0)])?;
    }
    Ok(())
}

fn join(db: &Connection, uid: i64, classes: &[ClassName]) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(
        "INSERT INTO member (uid, gid) VALUES (?1, (SELECT gid FROM class WHERE name = ?2))",
    )?;
    for class in classes {
        put.execute(params![uid, class.as_str()])?;
    }
    Ok(())
}

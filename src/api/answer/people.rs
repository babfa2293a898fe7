//! What methods answer about accounts, classes, homes and shares.

use serde::{Deserialize, Serialize};

use crate::service::accounts::import::LineFate;
use crate::service::accounts::steps::Step;
use crate::service::homes::{Attic, HomeUsage};
use crate::service::shares::ShareSummary;
use crate::types::{ByteSize, ClassName, FullName, Gid, MacAddr, Moment, Role, Secret, Uid, UserName};

/// Answer of `home_usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Homes {
    pub now: Moment,
    pub homes: Vec<HomeUsage>,
    /// Homes of accounts that are gone, oldest first.
    pub attic: Vec<Attic>,
}

/// Answer of `share_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    pub now: Moment,
    pub shares: Vec<ShareSummary>,
}

/// Answer of `account_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    pub now: Moment,
    /// How many there are in all.
    pub total: usize,
    pub offset: usize,
    /// They are kept in a directory, which alone knows and changes the rest of them.
    #[serde(default)]
    pub elsewhere: bool,
    pub accounts: Vec<Account>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: UserName,
    pub uid: Uid,
    pub full_name: FullName,
    pub note: String,
    pub role: Role,
    pub classes: Vec<ClassName>,
    pub enabled: bool,
    pub has_password: bool,
    pub must_change: bool,
    pub expires_at: Option<Moment>,
    /// Of the account itself; its classes or the setting count if there is none.
    pub quota: Option<ByteSize>,
    /// `None` for somebody who is kept in a directory.
    pub created_at: Option<Moment>,
    pub password_at: Option<Moment>,
    pub last_login_at: Option<Moment>,
    pub last_login_on: Option<MacAddr>,
}

/// Answer of `account_add` and `account_password`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewPasswords {
    pub accounts: Vec<Slip>,
    /// The page to print, if one was asked for.
    pub page: Option<String>,
}

/// An account and its new password, which nobody can look up later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slip {
    pub name: UserName,
    pub full_name: FullName,
    pub classes: Vec<ClassName>,
    pub password: Secret,
}

/// Answer of `account_remove` and `class_remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    pub accounts: Vec<UserName>,
    /// How many of them had a home, which is in the attic now.
    pub homes: usize,
    /// How many sessions of theirs are being ended.
    #[serde(default)]
    pub sessions: usize,
}

/// Answer of `account_import` without `apply`, and of `account_imported`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// Whether it was done, or would be.
    pub applied: bool,
    pub add: usize,
    pub change: usize,
    pub same: usize,
    pub refused: usize,
    pub new_classes: Vec<ClassName>,
    /// Headings that mean nothing here.
    pub ignored_columns: Vec<String>,
    pub lines: Vec<LineFate>,
    /// Those that were made up.
    pub passwords: NewPasswords,
}

/// Answer of `account_test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// The name that was tried.
    pub account: String,
    /// Whether every step went well.
    pub works: bool,
    pub steps: Vec<Step>,
}

/// Answer of `account_export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    pub csv: String,
}

/// Answer of `class_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    pub classes: Vec<Class>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    pub name: ClassName,
    pub gid: Gid,
    pub note: String,
    /// Of the home of each member.
    pub quota: Option<ByteSize>,
    pub members: u32,
}

/// Answer of `class_move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassMoved {
    pub from: ClassName,
    pub to: ClassName,
    pub accounts: usize,
}

//! What a person decided about people: the section `accounts`, and what a room says about who may log in there.

use std::time::Duration;

use super::fields::Fields;
use super::kind::Parsed;
use super::schema::{DEVICE_GROUPS, READS_KEYS};
use crate::proto::ldap::Dn;

/// The section `accounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub source: Source,
    pub twice: Twice,
    /// Characters of a new password, at least.
    pub password_length: u32,
    /// For how many days it is remembered who was logged in where.
    pub history_days: u32,
    /// How long the home of a removed account is kept; [`super::FOREVER`] for always.
    pub attic_time: Duration,
}

/// The section `ldap`: accounts for other programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ldap {
    pub enabled: bool,
    pub base: Dn,
    pub anonymous: bool,
    pub clear: bool,
}

/// Who keeps the accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Local,
    Ldap,
}

/// What happens when somebody logs in at a second client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Twice {
    #[default]
    Allow,
    Refuse,
    /// The session at the first client is ended.
    Takeover,
}

/// Who becomes root with their own password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sudo {
    #[default]
    Nobody,
    Teachers,
    Everybody,
}

pub(super) fn accounts(fields: &Fields<'_>) -> Accounts {
    Accounts {
        source: match fields.text("source").as_deref() {
            Some("ldap") => Source::Ldap,
            _ => Source::Local,
        },
        twice: match fields.text("twice").as_deref() {
            Some("refuse") => Twice::Refuse,
            Some("takeover") => Twice::Takeover,
            _ => Twice::Allow,
        },
        password_length: fields.number("password_length"),
        history_days: fields.number("history_days"),
        attic_time: fields.duration("attic_time"),
    }
}

pub(super) fn ldap(fields: &Fields<'_>) -> Ldap {
    let base = match fields.all("base").into_iter().next().map(|found| found.value) {
        Some(Parsed::Dn(dn)) => dn,
        _ => Dn::default(),
    };
    let (enabled, anonymous, clear) =
        (fields.bool("enabled"), fields.bool("anonymous"), fields.bool("clear"));
    Ldap { enabled, base, anonymous, clear }
}

pub(super) fn sudo(fields: &Fields<'_>) -> Sudo {
    match fields.text("sudo").as_deref() {
        Some("teachers") => Sudo::Teachers,
        Some("everybody") => Sudo::Everybody,
        _ => Sudo::Nobody,
    }
}

pub(super) fn groups(fields: &Fields<'_>) -> Vec<String> {
    let mut groups = fields.all_text("groups");
    if groups.is_empty() {
        return usual_groups();
    }
    groups.retain(|group| group != "none");
    groups
}

/// The groups of people without a word about them: those that a new Raspberry Pi OS gives its first user, except the one
/// that reads the keys of everybody. Somebody who logs in by ssh where a teacher sits would read the teacher's password.
pub fn usual_groups() -> Vec<String> {
    let usual = DEVICE_GROUPS.iter().filter(|group| !matches!(**group, READS_KEYS | "none"));
    usual.map(|group| (*group).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reads_the_keys_of_others_unless_told_so() {
        let usual = usual_groups();
        assert!(usual.iter().any(|group| group == "audio"));
        assert!(!usual.iter().any(|group| group == "input" || group == "none"), "{usual:?}");
    }
}

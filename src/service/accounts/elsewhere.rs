//! Lists of people where a directory elsewhere keeps them: who may log in here, as the directory or what is kept of it says,
//! and when they last did. What else is to be known of them, the directory knows.

use std::collections::BTreeMap;

use super::manage::{EditError, Search};
use super::{Accounts, LookupError};
use crate::config::Source;
use crate::types::{ClassName, Gid, MacAddr, Moment, Person, UserName};

/// Somebody of a directory, and when and where they last logged in, if that is still on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub person: Person,
    pub last_login: Option<(Moment, MacAddr)>,
}

impl Accounts {
    /// Whether the accounts are kept in a directory.
    pub fn are_elsewhere(&self) -> bool {
        self.0.config.borrow().accounts.source == Source::Ldap
    }

    /// Those of everybody who may log in here whom `search` finds: how many they are, and a page of them.
    pub fn list_elsewhere(&self, search: &Search) -> Result<(usize, Vec<Listed>), EditError> {
        let mut people = self.everybody()?;
        people.retain(|person| search.finds_person(person));
        let total = people.len();
        let page = people.into_iter().skip(search.offset).take(search.limit);
        let logins = self.0.store.last_logins()?;
        let listed = |person: Person| Listed { last_login: logins.get(&person.uid).copied(), person };
        Ok((total, page.map(listed).collect()))
    }

    pub fn person_elsewhere(&self, name: &UserName) -> Result<Listed, EditError> {
        let person = self.everybody()?.into_iter().find(|person| person.name == *name);
        let person = person.ok_or_else(|| EditError::NoSuchAccount(name.clone()))?;
        let last_login = self.0.store.last_logins()?.get(&person.uid).copied();
        Ok(Listed { person, last_login })
    }

    /// The groups of everybody who may log in here that are classes, each with how many are in it.
    pub fn classes_elsewhere(&self) -> Result<Vec<(ClassName, Gid, u32)>, EditError> {
        let mut classes: BTreeMap<(ClassName, Gid), u32> = BTreeMap::new();
        for class in self.everybody()?.into_iter().flat_map(|person| person.classes) {
            *classes.entry(class).or_default() += 1;
        }
        Ok(classes.into_iter().map(|((name, gid), members)| (name, gid, members)).collect())
    }

    fn everybody(&self) -> Result<Vec<Person>, EditError> {
        self.directory().and_then(super::Directory::people).map_err(|error| match error {
            LookupError::Store(error) => error.into(),
            LookupError::Unreachable { why } => EditError::Away { why },
        })
    }
}

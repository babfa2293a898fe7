//! Everybody of a directory at one moment, and who is left out and why.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::{self, Entry, Found};
use super::groups::{Group, Groups};
use crate::config::directory::Directory;
use crate::types::{ClassName, Gid, Person, Role, Uid, UserName};

/// Everybody who may log in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    people: BTreeMap<UserName, Person>,
    /// What the directory calls everybody, also those who may not log in.
    logins: HashMap<UserName, String>,
    /// Whose each number is, of people in the directory and of accounts of our own.
    numbers: HashMap<u32, UserName>,
    /// Names of entries that are left out, with the reason.
    pub left_out: Vec<(String, String)>,
}

impl Listing {
    /// `own` has the numbers of accounts that are kept here, which nobody else may have.
    pub fn read(settings: &Directory, groups: &Groups, entries: &[Entry], own: &[(u32, UserName)]) -> Self {
        let mut listing = Self::default();
        let mut people: Vec<Found> = Vec::new();
        for entry in entries {
            match entry::read(settings, entry) {
                Ok(found) => people.push(found),
                Err(why) => listing.left_out.push((entry.dn.clone(), why)),
            }
        }
        let twice = twice(&people);
        let own: HashMap<u32, &UserName> = own.iter().map(|(number, name)| (*number, name)).collect();
        people.retain(|found| {
            let why = twice.get(&found.dn).cloned().or_else(|| {
                let other = own.get(&found.uid.0).filter(|name| ***name != found.name)?;
                Some(number_of_another(found, other))
            });
            let stays = why.is_none();
            listing.left_out.extend(why.map(|why| (found.dn.clone(), why)));
            stays
        });
        listing.numbers = people.iter().map(|found| (found.uid.0, found.name.clone())).collect();
        for found in people {
            let memberships = groups.of(&found);
            if allowed(settings, &memberships) && !found.disabled {
                let person = listing.person(settings, &found, &memberships);
                listing.people.insert(found.name.clone(), person);
            }
            listing.logins.insert(found.name, found.login);
        }
        listing.numbers.extend(own.into_iter().map(|(number, name)| (number, name.clone())));
        listing
    }

    /// The person that `found` is here.
    pub fn person(&self, settings: &Directory, found: &Found, memberships: &[&Group]) -> Person {
        let mut classes: Vec<(ClassName, Gid)> =
            memberships.iter().filter_map(|group| self.class(group).ok()).collect();
        classes.sort();
        classes.dedup_by(|a, b| a.0 == b.0 || a.1 == b.1);
        let is_teacher = memberships.iter().any(|group| settings.teachers.iter().any(|name| group.is(name)));
        Person {
            name: found.name.clone(),
            uid: found.uid,
            gid: found.uid.own_group(),
            full_name: found.full_name.clone(),
            role: if is_teacher { Role::Teacher } else { Role::Pupil },
            classes,
            must_change: found.must_change,
        }
    }

    /// The class that a group is, or why it is none. Everybody has a group with their own name and number, so no class has
    /// either.
    pub fn class(&self, group: &Group) -> Result<(ClassName, Gid), String> {
        let (class, gid) = group.class.clone()?;
        if let Some(person) = self.numbers.get(&gid.0) {
            return Err(format!("its number {gid} is that of `{person}`, whose own group has it"));
        }
        let name: Option<UserName> = class.as_str().parse().ok();
        if name.is_some_and(|name| self.numbers.values().any(|other| *other == name)) {
            return Err(format!("somebody is called `{class}`, and their own group too"));
        }
        Ok((class, gid))
    }

    pub fn people(&self) -> Vec<Person> {
        self.people.values().cloned().collect()
    }

    pub fn get(&self, name: &UserName) -> Option<&Person> {
        self.people.get(name)
    }

    /// Whether the number is somebody's, who may or may not log in.
    pub fn has(&self, uid: Uid) -> bool {
        self.numbers.contains_key(&uid.0)
    }

    /// What the directory calls `name`.
    pub fn login(&self, name: &UserName) -> Option<&str> {
        self.logins.get(name).map(String::as_str)
    }

    /// Why `found` cannot have its number, if it cannot.
    pub fn conflict(&self, found: &Found) -> Option<String> {
        let other = self.numbers.get(&found.uid.0).filter(|other| **other != found.name)?;
        Some(number_of_another(found, other))
    }
}

fn number_of_another(found: &Found, other: &UserName) -> String {
    format!("its number {} is that of `{other}` already; numbers tell whose a file is", found.uid)
}

/// Whether the groups that may log in are among these.
pub fn allowed(settings: &Directory, memberships: &[&Group]) -> bool {
    settings.groups.is_empty()
        || memberships.iter().any(|group| settings.groups.iter().any(|wanted| group.is(wanted)))
}

/// Entries whose name or number another has too: nobody can tell who is meant, so none of them is taken.
fn twice(people: &[Found]) -> HashMap<String, String> {
    let mut names: HashMap<&UserName, Vec<&Found>> = HashMap::new();
    let mut numbers: HashMap<u32, Vec<&Found>> = HashMap::new();
    for found in people {
        names.entry(&found.name).or_default().push(found);
        numbers.entry(found.uid.0).or_default().push(found);
    }
    let mut why = HashMap::new();
    for same in names.values().filter(|same| same.len() > 1) {
        for found in same {
            let text = format!(
                "{} entries would be called `{}` here; give one another name",
                same.len(),
                found.name
            );
            why.insert(found.dn.clone(), text);
        }
    }
    for same in numbers.values().filter(|same| same.len() > 1) {
        let logins: HashSet<&str> = same.iter().map(|found| found.login.as_str()).collect();
        for found in same.iter().filter(|_| logins.len() > 1) {
            let text = format!("{} entries have the number {}; give each its own", same.len(), found.uid);
            why.entry(found.dn.clone()).or_insert(text);
        }
    }
    why
}

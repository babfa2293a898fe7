//! People and classes as entries: what is in the directory, and what each entry says.
//!
//! The shape is that of RFC 2307 below `ou=people` and `ou=groups`, which name service and log-in modules of Linux ask
//! for, with the attributes of `inetOrgPerson` for address books and library catalogues. Passwords are in no entry.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::dn::Dn;
use crate::types::{ClassName, Gid, Person, Uid, UserName};

/// Everything that can be found, at one moment.
#[derive(Debug)]
pub struct Directory {
    base: Dn,
    people: Vec<Person>,
    /// Members by their place in `people`.
    classes: BTreeMap<ClassName, (Gid, Vec<usize>)>,
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Base,
    People,
    Groups,
    Person(&'a Person),
    /// The group that has the account's own number.
    OwnGroup(&'a Person),
    Class(&'a ClassName, Gid, &'a [usize]),
}

/// What an attribute holds.
pub type Values<'a> = Vec<Cow<'a, str>>;

/// Attributes an entry can have, spelled as they are answered.
pub const ATTRIBUTES: [&str; 19] = [
    "objectClass",
    "dc",
    "o",
    "ou",
    "cn",
    "sn",
    "uid",
    "displayName",
    "gecos",
    "employeeType",
    "uidNumber",
    "gidNumber",
    "homeDirectory",
    "loginShell",
    "shadowLastChange",
    "memberUid",
    "memberOf",
    "entryDN",
    "hasSubordinates",
];

/// Those of [`ATTRIBUTES`] that are only answered when asked for by name or with `+` (RFC 4512 §3.4).
pub const OPERATIONAL: [&str; 2] = ["entryDN", "hasSubordinates"];

impl Directory {
    pub fn new(base: Dn, people: Vec<Person>) -> Self {
        let mut classes: BTreeMap<ClassName, (Gid, Vec<usize>)> = BTreeMap::new();
        for (at, person) in people.iter().enumerate() {
            for (class, gid) in &person.classes {
                classes.entry(class.clone()).or_insert_with(|| (*gid, Vec::new())).1.push(at);
            }
        }
        Self { base, people, classes }
    }

    pub fn base(&self) -> &Dn {
        &self.base
    }

    /// Whether there is somebody of that name and number.
    pub fn has(&self, name: &UserName, uid: Uid) -> bool {
        self.people.iter().any(|person| person.uid == uid && person.name == *name)
    }

    /// Every entry, parents before children.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let classes =
            self.classes.iter().map(|(name, (gid, members))| Entry::Class(name, *gid, members.as_slice()));
        [Entry::Base, Entry::People, Entry::Groups]
            .into_iter()
            .chain(self.people.iter().map(Entry::Person))
            .chain(classes)
            .chain(self.people.iter().map(Entry::OwnGroup))
    }

    pub fn dn(&self, entry: Entry<'_>) -> Dn {
        let below = |unit, attribute, name| self.base.child("ou", unit).child(attribute, name);
        match entry {
            Entry::Base => self.base.clone(),
            Entry::People => self.base.child("ou", "people"),
            Entry::Groups => self.base.child("ou", "groups"),
            Entry::Person(person) => below("people", "uid", person.name.as_str()),
            Entry::OwnGroup(person) => below("groups", "cn", person.name.as_str()),
            Entry::Class(name, ..) => below("groups", "cn", name.as_str()),
        }
    }

    /// The entry of that name.
    pub fn find(&self, dn: &Dn) -> Option<Entry<'_>> {
        if *dn == self.base {
            return Some(Entry::Base);
        }
        let (attribute, value, above) = dn.split()?;
        let (people, groups) = (self.dn(Entry::People), self.dn(Entry::Groups));
        let person = || self.people.iter().find(|person| person.name.as_str() == value);
        let class = || self.classes.iter().find(|(name, _)| name.as_str() == value);
        match attribute {
            "ou" if *dn == people => Some(Entry::People),
            "ou" if *dn == groups => Some(Entry::Groups),
            "uid" if above == people => person().map(Entry::Person),
            "cn" if above == groups => {
                let class = class().map(|(name, (gid, members))| Entry::Class(name, *gid, members));
                class.or_else(|| person().map(Entry::OwnGroup))
            }
            _ => None,
        }
    }

    /// The values of an attribute, by its name in small letters; empty if the entry has none.
    pub fn values<'a>(&'a self, entry: Entry<'a>, attribute: &str) -> Values<'a> {
        let dn = |entry| Cow::Owned(self.dn(entry).to_string());
        match attribute {
            "entrydn" => vec![dn(entry)],
            "hassubordinates" => {
                let has = matches!(entry, Entry::Base | Entry::People | Entry::Groups);
                vec![Cow::Borrowed(if has { "TRUE" } else { "FALSE" })]
            }
            _ => match entry {
                Entry::Base => self.of_base(attribute),
                Entry::People => of_unit("people", attribute),
                Entry::Groups => of_unit("groups", attribute),
                Entry::Person(person) if attribute == "memberof" => {
                    let classes = person.classes.iter();
                    classes.map(|(name, gid)| dn(Entry::Class(name, *gid, &[]))).collect()
                }
                Entry::Person(person) => of_person(person, attribute),
                Entry::OwnGroup(person) => of_group(person.name.as_str(), Gid(person.gid.0), attribute),
                Entry::Class(_, _, members) if attribute == "memberuid" => {
                    let people = members.iter().filter_map(|at| self.people.get(*at));
                    people.map(|person| Cow::Borrowed(person.name.as_str())).collect()
                }
                Entry::Class(name, gid, _) => of_group(name.as_str(), gid, attribute),
            },
        }
    }

    fn of_base(&self, attribute: &str) -> Values<'_> {
        let first = self.base.split().filter(|(kind, ..)| *kind == attribute);
        match (attribute, first) {
            ("objectclass", _) => texts(&["top", "organization", "dcObject"]),
            ("o", None) => texts(&["Bramble"]),
            (_, Some((_, value, _))) => vec![Cow::Owned(value.to_owned())],
            _ => Vec::new(),
        }
    }
}

fn of_unit(name: &'static str, attribute: &str) -> Values<'static> {
    match attribute {
        "objectclass" => texts(&["top", "organizationalUnit"]),
        "ou" => texts(&[name]),
        _ => Vec::new(),
    }
}

fn of_person<'a>(person: &'a Person, attribute: &str) -> Values<'a> {
    let name = person.name.as_str();
    let full = if person.full_name.is_empty() { name } else { person.full_name.as_str() };
    let one = |text: &'a str| vec![Cow::Borrowed(text)];
    match attribute {
        "objectclass" => texts(&[
            "top",
            "person",
            "organizationalPerson",
            "inetOrgPerson",
            "posixAccount",
            "shadowAccount",
        ]),
        "uid" => one(name),
        "cn" | "displayname" => one(full),
        "sn" => one(full.rsplit(' ').next().unwrap_or(full)),
        // An IA5String: letters beyond ASCII may not stand in it.
        "gecos" if full.is_ascii() => one(full),
        "employeetype" => one(person.role.as_str()),
        "uidnumber" => vec![Cow::Owned(person.uid.to_string())],
        "gidnumber" => vec![Cow::Owned(person.gid.to_string())],
        "homedirectory" => vec![Cow::Owned(format!("/home/{name}"))],
        "loginshell" => texts(&["/bin/bash"]),
        // Day 0 is how shadow(5) says that a new password is due.
        "shadowlastchange" if person.must_change => texts(&["0"]),
        _ => Vec::new(),
    }
}

fn of_group<'a>(name: &'a str, gid: Gid, attribute: &str) -> Values<'a> {
    match attribute {
        "objectclass" => texts(&["top", "posixGroup"]),
        "cn" => vec![Cow::Borrowed(name)],
        "gidnumber" => vec![Cow::Owned(gid.to_string())],
        _ => Vec::new(),
    }
}

fn texts(values: &[&'static str]) -> Values<'static> {
    values.iter().map(|value| Cow::Borrowed(*value)).collect()
}

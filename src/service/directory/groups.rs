//! Groups of a directory: who is in which, also by way of another group, and which become classes.

use std::collections::{BTreeSet, HashMap};

use super::entry::{Entry, Found};
use crate::config::directory::{Directory, Kind};
use crate::service::accounts::is_taken_by_systems;
use crate::types::{ClassName, Gid};

/// All groups, found by what people and groups say of each other.
#[derive(Debug, Default)]
pub struct Groups {
    all: Vec<Group>,
    by_dn: HashMap<String, usize>,
    /// Groups that name a member: by the member's own name, by that of their entry, and by number.
    by_uid: HashMap<String, Vec<usize>>,
    by_member: HashMap<String, Vec<usize>>,
    by_number: HashMap<u32, Vec<usize>>,
}

/// One group.
#[derive(Debug)]
pub struct Group {
    pub dn: String,
    /// What the directory calls it.
    pub name: String,
    /// What it is here, or why it cannot be a class.
    pub class: Result<(ClassName, Gid), String>,
    member_of: Vec<String>,
}

/// What is asked of groups. Members of Active Directory's say themselves what they are in: a list of members is cut off
/// there at 1500.
pub fn attributes(settings: &Directory) -> &'static [&'static str] {
    match settings.kind {
        Kind::Posix => &["cn", "gidNumber", "objectSid", "memberUid", "member", "uniqueMember", "memberOf"],
        Kind::ActiveDirectory => &["cn", "sAMAccountName", "gidNumber", "objectSid", "memberOf"],
    }
}

/// One spelling of the name of an entry, to compare with.
pub fn key(dn: &str) -> String {
    dn.split(',').map(str::trim).collect::<Vec<_>>().join(",").to_lowercase()
}

impl Groups {
    pub fn read(settings: &Directory, entries: &[Entry]) -> Self {
        let mut groups = Self::default();
        for entry in entries {
            let Some(name) = entry.text("sAMAccountName").or(entry.text("cn")) else { continue };
            let at = groups.all.len();
            groups.by_dn.insert(key(&entry.dn), at);
            for uid in entry.texts("memberUid") {
                groups.by_uid.entry(uid.to_lowercase()).or_default().push(at);
            }
            for dn in entry.texts("member").chain(entry.texts("uniqueMember")) {
                groups.by_member.entry(key(dn)).or_default().push(at);
            }
            let number = entry.kernel_number(settings, "gidNumber");
            if let Ok(number) = number {
                groups.by_number.entry(number).or_default().push(at);
            }
            groups.all.push(Group {
                dn: entry.dn.clone(),
                name: name.to_owned(),
                class: class_name(name).and_then(|name| Ok((name, Gid(number?)))),
                member_of: entry.texts("memberOf").map(ToOwned::to_owned).collect(),
            });
        }
        groups
    }

    /// Everything that `found` is in.
    pub fn of(&self, found: &Found) -> Vec<&Group> {
        let list = |list: Option<&Vec<usize>>| list.cloned().unwrap_or_default();
        let named = |dns: &[String]| -> Vec<usize> {
            dns.iter().filter_map(|dn| self.by_dn.get(&key(dn)).copied()).collect()
        };
        let mut next = [
            named(&found.member_of),
            list(self.by_uid.get(&found.login.to_lowercase())),
            list(self.by_member.get(&key(&found.dn))),
            list(found.primary_group.and_then(|number| self.by_number.get(&number))),
        ]
        .concat();
        let mut seen = BTreeSet::new();
        // Groups in each other, and even in a circle, are each looked at once.
        while let Some(at) = next.pop() {
            let Some(group) = self.all.get(at).filter(|_| seen.insert(at)) else { continue };
            next.extend(named(&group.member_of));
            next.extend(list(self.by_member.get(&key(&group.dn))));
        }
        seen.into_iter().filter_map(|at| self.all.get(at)).collect()
    }

    /// Whether there is a group of that name, or with an entry of that name.
    pub fn has(&self, wanted: &str) -> bool {
        self.all.iter().any(|group| group.is(wanted))
    }
}

impl Group {
    /// Whether the administrator means this group.
    pub fn is(&self, wanted: &str) -> bool {
        self.name.to_lowercase() == wanted.to_lowercase() || key(&self.dn) == key(wanted)
    }
}

/// `Chess Club` → `chess-club`, and as in an imported list `7b` → `class-7b`.
fn class_name(name: &str) -> Result<ClassName, String> {
    let mut class = name.to_lowercase().replace([' ', '.'], "-");
    if class.starts_with(|c: char| c.is_ascii_digit()) {
        class.insert_str(0, "class-");
    }
    let class: ClassName = class.parse().map_err(|bad: crate::types::name::BadName| bad.to_string())?;
    if is_taken_by_systems(class.as_str()) {
        return Err(format!("`{class}` is a name that systems have for themselves"));
    }
    Ok(class)
}

#[cfg(test)]
mod tests {
    use super::super::entry::read;
    use super::super::entry::tests::{active_directory, entry, posix, sid};
    use super::*;

    fn names(groups: Vec<&Group>) -> Vec<&str> {
        groups.into_iter().map(|group| group.name.as_str()).collect()
    }

    #[test]
    fn a_posix_group_names_its_members_in_three_ways() {
        let group = |name: &str, gid: &str, more: (&str, &[&str])| {
            entry(&format!("cn={name},ou=Groups,dc=x"), &[("cn", &[name]), ("gidNumber", &[gid]), more])
        };
        let entries = [
            group("7b", "6001", ("memberUid", &["ben", "Anna"])),
            group("Chess club", "6002", ("member", &["UID=anna, OU=people,dc=x"])),
            group("choir", "6003", ("uniqueMember", &["uid=ben,ou=people,dc=x"])),
            group("pupils", "6004", ("description", &["by number"])),
            group("all", "6005", ("member", &["cn=pupils,ou=groups,dc=x", "cn=all,ou=groups,dc=x"])),
            group("sudo", "27", ("memberUid", &["anna"])),
        ];
        let groups = Groups::read(&posix(), &entries);
        let anna = [("uid", &["anna"][..]), ("uidNumber", &["5001"]), ("gidNumber", &["6004"])];
        let anna = read(&posix(), &entry("uid=anna,ou=people,dc=x", &anna)).expect("taken over");
        assert_eq!(names(groups.of(&anna)), ["7b", "Chess club", "pupils", "all", "sudo"]);
        let classes: Vec<_> = groups.of(&anna).into_iter().map(|group| group.class.clone()).collect();
        assert_eq!(classes[0], Ok(("class-7b".parse().expect("a class"), Gid(6001))));
        assert_eq!(classes[1], Ok(("chess-club".parse().expect("a class"), Gid(6002))));
        assert_eq!(classes[4], Err("`sudo` is a name that systems have for themselves".to_owned()));
        assert!(groups.has("CHESS club") && groups.has("CN=7b, ou=groups,dc=x") && !groups.has("7c"));
    }

    #[test]
    fn active_directory_says_it_the_other_way_round_and_in_steps() {
        let group = |name: &str, rid: u32, member_of: &[&str]| {
            let mut group = entry(
                &format!("CN={name},DC=school"),
                &[("cn", &["x"]), ("sAMAccountName", &[name]), ("memberOf", member_of)],
            );
            group.attributes.insert("objectsid".to_owned(), vec![sid(rid)]);
            group
        };
        let entries = [
            group("Domain Users", 513, &[]),
            group("class-7b", 1201, &["CN=Pupils,DC=school"]),
            group("Pupils", 1202, &["CN=class-7b,DC=school", "CN=elsewhere,DC=other"]),
            group("Staff", 1203, &[]),
        ];
        let groups = Groups::read(&active_directory(), &entries);
        let mut anna = entry(
            "CN=Anna,DC=school",
            &[
                ("sAMAccountName", &["anna"]),
                ("memberOf", &["cn=CLASS-7B,dc=school"]),
                ("primaryGroupID", &["513"]),
            ],
        );
        anna.attributes.insert("objectsid".to_owned(), vec![sid(1104)]);
        let anna = read(&active_directory(), &anna).expect("taken over");
        assert_eq!(names(groups.of(&anna)), ["Domain Users", "class-7b", "Pupils"]);
        let class = groups.of(&anna)[0].class.clone();
        assert_eq!(class, Ok(("domain-users".parse().expect("a class"), Gid(200_513))));
    }
}

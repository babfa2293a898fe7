//! The people of a client in its `passwd`, `group` and `shadow`: text in, text out.
//!
//! Who may log in is told by the server, and may change while the client runs. What was merged before is taken out
//! first, so that lines which the image or somebody on the client wrote stay as they are. No hash is ever written: the
//! entries of `shadow` are locked, and a password that has to be changed is marked there by the date of its last change,
//! which `pam_unix` understands on every release.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::modes::GUEST_UID;
use crate::proto::agent::channel::{People, Sudo};
use crate::types::{Person, Role};

/// Group that everybody who comes from the server is in; the PAM stacks and `sudo` ask for it.
pub const GROUP: &str = "bramble";

/// Group of those whose role is teacher.
pub const TEACHERS: &str = "bramble-teachers";

/// Uids below belong to the system (Debian's `UID_MIN`); so does that of `nobody`.
const FIRST_USER: u32 = 1000;
const NOBODY: u32 = 65534;

/// Day of the last change of a password that need not be changed: any day but the first will do, and the clock of a Pi
/// may not be right yet.
const LONG_AGO: u32 = 19_000;

/// The three files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub passwd: String,
    pub group: String,
    pub shadow: String,
}

/// What was merged: names of users and of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    pub users: BTreeSet<String>,
    pub groups: BTreeSet<String>,
}

/// The files with `people` in them instead of `before`, what is in them now, and who was left out, in sentences.
pub fn merge(files: &Files, before: &Merged, people: &People, shell: &str) -> (Files, Merged, Vec<String>) {
    let mut merger = Merger::without(files, before);
    let mut merged = Merged::default();
    let mut troubles = Vec::new();
    let mut here: Vec<&Person> = Vec::new();
    for person in &people.persons {
        match merger.person(person, shell) {
            Ok(()) => here.push(person),
            Err(why) => troubles.push(why),
        }
    }
    merged.users = here.iter().map(|person| person.name.to_string()).collect();
    merged.groups.clone_from(&merged.users);
    let everybody: Vec<&str> = here.iter().map(|person| person.name.as_str()).collect();
    let teachers: Vec<&str> = here
        .iter()
        .filter(|person| person.role == Role::Teacher)
        .map(|person| person.name.as_str())
        .collect();
    for (name, members) in [(GROUP, &everybody), (TEACHERS, &teachers)] {
        match merger.system_group(name, members) {
            Ok(()) => drop(merged.groups.insert(name.to_owned())),
            Err(why) => troubles.push(why),
        }
    }
    for class in &people.classes {
        let members = class.members.iter().map(crate::types::UserName::as_str);
        let members: Vec<&str> = members.filter(|name| merged.users.contains(*name)).collect();
        match merger.group(class.name.as_str(), class.gid.0, &members) {
            Ok(()) => drop(merged.groups.insert(class.name.to_string())),
            Err(why) => troubles.push(format!("the class `{}` is no group here: {why}", class.name)),
        }
    }
    for name in &people.groups {
        merger.join(name, &everybody);
    }
    (merger.files(), merged, troubles)
}

/// The text for `/etc/sudoers.d`.
pub fn sudoers(sudo: Sudo) -> String {
    let rule = match sudo {
        Sudo::Nobody => String::new(),
        Sudo::Teachers => format!("%{TEACHERS} ALL=(ALL:ALL) ALL\n"),
        Sudo::Everybody => format!("%{GROUP} ALL=(ALL:ALL) ALL\n"),
    };
    format!("# Written by bramble-agent: who may use sudo is a setting of the room.\n{rule}")
}

/// Lines of the three files, one of each per entry.
struct Merger {
    passwd: Vec<String>,
    group: Vec<String>,
    shadow: Vec<String>,
}

fn field(line: &str, nth: usize) -> &str {
    line.split(':').nth(nth).unwrap_or_default()
}

impl Merger {
    /// The files without what was merged before.
    fn without(files: &Files, before: &Merged) -> Self {
        let keep = |text: &str, gone: &BTreeSet<String>| -> Vec<String> {
            text.lines().filter(|line| !gone.contains(field(line, 0))).map(str::to_owned).collect()
        };
        let mut merger = Self {
            passwd: keep(&files.passwd, &before.users),
            group: keep(&files.group, &before.groups),
            shadow: keep(&files.shadow, &before.users),
        };
        for name in &before.users {
            merger.leave(name);
        }
        merger
    }

    fn person(&mut self, person: &Person, shell: &str) -> Result<(), String> {
        let (name, uid, gid) = (person.name.as_str(), person.uid.0, person.gid.0);
        let uid_text = uid.to_string();
        let left_out = |why: &str| {
            Err(format!("`{name}` cannot log in here: {why}; rename the account, or use an image without it"))
        };
        let of_image = self.passwd.iter().find(|line| field(line, 0) == name);
        if let Some(theirs) = of_image {
            let theirs: u32 = field(theirs, 2).parse().unwrap_or(0);
            if theirs == GUEST_UID {
                return left_out("guests of this client have that name");
            }
            if theirs < FIRST_USER || theirs == NOBODY {
                return left_out("the image has a system user of that name");
            }
        }
        let same_number =
            self.passwd.iter().find(|line| field(line, 0) != name && field(line, 2) == uid_text);
        if let Some(other) = same_number {
            let other = field(other, 0);
            return left_out(&format!("the image has a user `{other}` with the same uid {uid}"));
        }
        // A user that the image brings (`pi`) has a group of that name, and gives way with it.
        let own_group = of_image.map(|line| field(line, 3).to_owned());
        let same_group = self.group.iter().find(|line| field(line, 0) == name);
        if same_group.is_some_and(|line| Some(field(line, 2)) != own_group.as_deref()) {
            return left_out("the image has a group of that name");
        }
        if of_image.is_some() {
            // Not with what the image let its own user do.
            self.leave(name);
        }
        self.passwd.retain(|line| field(line, 0) != name);
        self.group.retain(|line| field(line, 0) != name);
        self.shadow.retain(|line| field(line, 0) != name);
        if self.group.iter().any(|line| field(line, 2) == gid.to_string()) {
            return left_out(&format!("the image has a group with the same gid {gid}"));
        }
        let full_name = person.full_name.as_str().replace(',', " ");
        self.passwd.push(format!("{name}:x:{uid}:{gid}:{full_name},,,:/home/{name}:{shell}"));
        self.group.push(format!("{name}:x:{gid}:"));
        let changed = if person.must_change { 0 } else { LONG_AGO };
        self.shadow.push(format!("{name}:*:{changed}:0:99999:7:::"));
        Ok(())
    }

    fn group(&mut self, name: &str, gid: u32, members: &[&str]) -> Result<(), String> {
        if self.group.iter().any(|line| field(line, 0) == name) {
            return Err("the image has a group of that name; rename the class".to_owned());
        }
        if self.group.iter().any(|line| field(line, 2) == gid.to_string()) {
            return Err(format!("the image has a group with the same gid {gid}"));
        }
        self.group.push(format!("{name}:x:{gid}:{}", members.join(",")));
        Ok(())
    }

    /// A group with the highest number that the system has free.
    fn system_group(&mut self, name: &str, members: &[&str]) -> Result<(), String> {
        let taken: BTreeSet<u32> = self.group.iter().filter_map(|line| field(line, 2).parse().ok()).collect();
        let gid = (100..FIRST_USER).rev().find(|gid| !taken.contains(gid));
        let made = gid.ok_or_else(|| "no gid below 1000 is free".to_owned());
        made.and_then(|gid| self.group(name, gid, members)).map_err(|why| {
            format!("nobody of the server can log in: the group `{name}` cannot be made: {why}")
        })
    }

    /// Adds members to a group, if it is there.
    fn join(&mut self, name: &str, more: &[&str]) {
        for line in self.group.iter_mut().filter(|line| field(line, 0) == name) {
            let mut members: Vec<&str> = field(line, 3).split(',').filter(|name| !name.is_empty()).collect();
            let new: Vec<&str> = more.iter().filter(|name| !members.contains(name)).copied().collect();
            members.extend(new);
            *line = [field(line, 0), field(line, 1), field(line, 2), &members.join(",")].join(":");
        }
    }

    /// Takes somebody out of every group.
    fn leave(&mut self, name: &str) {
        for line in
            self.group.iter_mut().filter(|line| field(line, 3).split(',').any(|member| member == name))
        {
            let left: Vec<&str> = field(line, 3).split(',').filter(|member| *member != name).collect();
            *line = [field(line, 0), field(line, 1), field(line, 2), &left.join(",")].join(":");
        }
    }

    fn files(self) -> Files {
        let text =
            |lines: Vec<String>| lines.into_iter().fold(String::new(), |text, line| text + &line + "\n");
        Files { passwd: text(self.passwd), group: text(self.group), shadow: text(self.shadow) }
    }
}

/// The server says who has to choose a new password only to whoever has typed the old one: a list that comes before they have
/// done so does not take it back.
pub fn still_due(before: &People, now: &mut People) {
    for person in &mut now.persons {
        let is_due = |old: &&Person| old.must_change && old.uid == person.uid;
        person.must_change |= before.persons.iter().any(|old| is_due(&old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::agent::channel::Class;
    use crate::types::{Gid, Uid};

    fn person(name: &str, uid: u32, role: Role) -> Person {
        Person {
            name: name.parse().expect("a name"),
            uid: Uid(uid),
            gid: Gid(uid),
            full_name: "Anna Maier, 3b".parse().expect("a name"),
            role,
            classes: Vec::new(),
            must_change: uid % 2 == 1,
        }
    }

    fn people(persons: Vec<Person>) -> People {
        People {
            classes: vec![Class {
                name: "kurs3b".parse().expect("a name"),
                gid: Gid(100_000),
                members: persons.iter().map(|person| person.name.clone()).collect(),
            }],
            persons,
            groups: vec!["gpio".to_owned(), "not-there".to_owned()],
            sudo: Sudo::Teachers,
            local_caches: true,
        }
    }

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0:root:/root:/bin/bash\nman:x:6:12:man:/var/cache/man:/usr/sbin/nologin\npi:x:1000:1000:,,,:/home/pi:/bin/bash\nguest:x:59999:59999:Guest,,,:/home/guest:/bin/bash\n".to_owned(),
            group: "root:x:0:\nman:x:12:\ngpio:x:999:pi\naudio:x:29:pi\npi:x:1000:\n".to_owned(),
            shadow: "root:$y$hash:19500:0:99999:7:::\nman:*:19500:0:99999:7:::\npi:$y$x:19500:0:99999:7:::\n".to_owned(),
        }
    }

    #[test]
    fn a_list_that_comes_meanwhile_leaves_a_due_password_due() {
        let before = people(vec![person("anna", 10_000, Role::Pupil), person("berta", 10_001, Role::Pupil)]);
        let mut now = people(vec![person("berta", 10_001, Role::Pupil), person("carl", 10_002, Role::Pupil)]);
        for person in &mut now.persons {
            person.must_change = false;
        }
        still_due(&before, &mut now);
        assert_eq!(now.persons.iter().map(|person| person.must_change).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn people_are_users_with_locked_passwords() {
        let told = people(vec![person("anna", 10_000, Role::Pupil), person("berta", 10_001, Role::Teacher)]);
        let (merged, names, troubles) = merge(&files(), &Merged::default(), &told, "/bin/bash");
        assert_eq!(troubles, Vec::<String>::new());
        assert_eq!(
            merged.passwd,
            files().passwd
                + "anna:x:10000:10000:Anna Maier  3b,,,:/home/anna:/bin/bash\n\
                   berta:x:10001:10001:Anna Maier  3b,,,:/home/berta:/bin/bash\n"
        );
        assert_eq!(
            merged.group,
            "root:x:0:\nman:x:12:\ngpio:x:999:pi,anna,berta\naudio:x:29:pi\npi:x:1000:\nanna:x:10000:\nberta:x:10001:\n\
             bramble:x:998:anna,berta\nbramble-teachers:x:997:berta\nkurs3b:x:100000:anna,berta\n"
        );
        assert_eq!(
            merged.shadow,
            files().shadow + "anna:*:19000:0:99999:7:::\nberta:*:0:0:99999:7:::\n",
            "locked, and with the first day where the password must be changed"
        );

        // The same again changes nothing; without people everything is as the image had it.
        let (again, _, _) = merge(&merged, &names, &told, "/bin/bash");
        assert_eq!(again, merged);
        let (none, left, _) =
            merge(&merged, &names, &People { classes: vec![], ..people(vec![]) }, "/bin/bash");
        assert_eq!((none.passwd, none.shadow), (files().passwd, files().shadow));
        assert_eq!(left.users, BTreeSet::new());
        assert!(none.group.starts_with(&files().group), "{}", none.group);
    }

    #[test]
    fn what_the_image_has_is_not_taken_over() {
        let rows = [
            (person("man", 10_000, Role::Pupil), Some("the image has a system user of that name")),
            (person("audio", 10_000, Role::Pupil), Some("the image has a group of that name")),
            (person("eve", 1000, Role::Pupil), Some("the image has a user `pi` with the same uid 1000")),
            (person("eve", 999, Role::Pupil), Some("the image has a group with the same gid 999")),
            (person("guest", 10_000, Role::Pupil), Some("guests of this client have that name")),
            (person("pi", 10_000, Role::Pupil), None),
        ];
        for (person, expected) in rows {
            let name = person.name.clone();
            let (merged, names, troubles) =
                merge(&files(), &Merged::default(), &people(vec![person]), "/bin/bash");
            let Some(why) = expected else {
                assert_eq!(troubles, Vec::<String>::new());
                assert_eq!(merged.passwd.matches("\npi:").count(), 1, "{}", merged.passwd);
                assert!(merged.shadow.contains("\npi:*:"), "{}", merged.shadow);
                assert!(
                    merged.group.contains("\naudio:x:29:\n"),
                    "not with the groups of the image's own user"
                );
                continue;
            };
            assert_eq!(
                troubles,
                [format!(
                    "`{name}` cannot log in here: {why}; rename the account, or use an image without it"
                )]
            );
            assert_eq!((merged.passwd, merged.shadow), (files().passwd, files().shadow));
            assert_eq!(names.users, BTreeSet::new());
        }
    }

    #[test]
    fn sudo_is_a_rule_for_a_group() {
        assert!(sudoers(Sudo::Teachers).ends_with("\n%bramble-teachers ALL=(ALL:ALL) ALL\n"));
        assert!(sudoers(Sudo::Everybody).ends_with("\n%bramble ALL=(ALL:ALL) ALL\n"));
        assert!(!sudoers(Sudo::Nobody).contains("ALL"));
    }
}

//! Who may log in at a client, as its agent needs to know them.

use std::collections::BTreeMap;
use std::fmt;

use super::Refusal;
use crate::config::{self, Config};
use crate::proto::agent::channel::{Class, Code, People, Sudo};
use crate::service::accounts::{Accounts, Origin, Refused};
use crate::types::{ClassName, Gid, MacAddr, Person, RoomName, Secret, UserName, chain};

/// Knows people and their passwords. The daemon's is [`Accounts`], that of tests a
/// table. Calls may take long and wait for a directory: they are made on a blocking thread.
pub trait Register: fmt::Debug + Send + Sync {
    fn verify(&self, who: &UserName, password: &Secret, from: MacAddr) -> Result<Person, Refusal>;

    /// The person as they are afterwards.
    fn change_password(
        &self,
        who: &UserName,
        old: &Secret,
        new: &Secret,
        from: MacAddr,
    ) -> Result<Person, Refusal>;

    /// Who may log in at clients of `room`, by name; or why that cannot be told at the moment.
    fn people(&self, room: Option<&RoomName>) -> Result<Vec<Person>, String>;

    /// For `who`, why they are not among [`Self::people`] any more.
    fn farewell(&self, who: &Person) -> String;

    /// To be called every few seconds: time alone ends accounts.
    fn time_passes(&self);
}

impl Register for Accounts {
    fn verify(&self, who: &UserName, password: &Secret, from: MacAddr) -> Result<Person, Refusal> {
        Self::verify(self, who.as_str(), password, Origin::Seat(from)).map_err(|refused| said(&refused))
    }

    fn change_password(
        &self,
        who: &UserName,
        old: &Secret,
        new: &Secret,
        from: MacAddr,
    ) -> Result<Person, Refusal> {
        Self::change_password(self, who.as_str(), old, new, Origin::Seat(from))
            .map_err(|refused| said(&refused))
    }

    fn people(&self, room: Option<&RoomName>) -> Result<Vec<Person>, String> {
        self.people_for(room).map_err(|error| chain(&error))
    }

    fn farewell(&self, who: &Person) -> String {
        Self::farewell(self, who.uid)
    }

    fn time_passes(&self) {
        Self::time_passes(self);
    }
}

/// A refusal for the client; what is not the person's business goes to the log.
fn said(refused: &Refused) -> Refusal {
    let code = match refused {
        Refused::NoSuchAccount | Refused::WrongPassword => Code::WrongPassword,
        Refused::Disabled => Code::Disabled,
        Refused::Expired { .. } => Code::Expired,
        Refused::NotHere | Refused::Exam => Code::NotHere,
        Refused::TooManyTries { .. } => Code::TooManyTries,
        Refused::Unreachable { why } => {
            tracing::error!(why, "passwords cannot be checked");
            Code::Unreachable
        }
        Refused::Weak { .. } => Code::Weak,
        Refused::Busy => Code::Busy,
    };
    Refusal { code, message: refused.to_string() }
}

/// What the agent of a client in `room` is told: `persons`, and what the room lets them do.
///
/// Whether somebody has to choose a new password is told to whoever has just typed the old one, and to nobody else: on the
/// first day of a crowd the list stays as it is.
pub fn people(mut persons: Vec<Person>, room: Option<&RoomName>, config: &Config) -> People {
    let room = room.and_then(|name| config.rooms.iter().find(|room| room.name == *name));
    for person in &mut persons {
        person.must_change = false;
    }
    let mut classes: BTreeMap<&ClassName, (Gid, Vec<UserName>)> = BTreeMap::new();
    for person in &persons {
        for (class, gid) in &person.classes {
            classes.entry(class).or_insert((*gid, Vec::new())).1.push(person.name.clone());
        }
    }
    let class = |(name, (gid, members)): (&ClassName, (Gid, Vec<UserName>))| Class {
        name: name.clone(),
        gid,
        members,
    };
    let classes = classes.into_iter().map(class).collect();
    let sudo = match room.map(|room| room.sudo).unwrap_or_default() {
        config::Sudo::Nobody => Sudo::Nobody,
        config::Sudo::Teachers => Sudo::Teachers,
        config::Sudo::Everybody => Sudo::Everybody,
    };
    let groups = room.map_or_else(config::usual_groups, |room| room.groups.clone());
    People { persons, classes, groups, sudo, local_caches: config.homes.local_caches }
}

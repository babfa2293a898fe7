//! Somebody sits down at a Pi that is up: logs in over the channel, gets their home and writes into it.

use std::io;

use super::Up;
use super::channel::Channel;
use super::root::Root;
use super::rpc::Tunnel;
use crate::proto::agent::channel::MountKind;
use crate::sim::net::Machine;
use crate::types::{Secret, SessionId, UserName, chain};

/// What everybody writes who logs in here.
pub const FILE: &str = "greeting.txt";

/// And something longer, as large as one WRITE.
pub const LETTER: &str = "letter.odt";
const LETTER_BYTES: usize = 64 * 1024;

/// Somebody who is logged in, for as long as the channel is there.
#[derive(Debug)]
pub struct Seated {
    pub user: UserName,
    pub session: SessionId,
    pub channel: Channel,
    pub home: Root,
    /// What they have written, in bytes.
    pub written: u64,
}

impl Up {
    /// Logs `user` in at this Pi, which is `machine`: password, session, home; and writes a file there and reads it.
    pub fn log_in(&self, machine: &Machine, user: &UserName, password: &Secret) -> Result<Seated, String> {
        let (from, server) = (self.given.address, self.personality.server);
        let sit_down = || {
            let told = |error: &dyn std::error::Error| io::Error::other(chain(error));
            let mut channel =
                Channel::open(from, server, self.pin, "simulated", &[]).map_err(|error| told(&error))?;
            let (person, session, mounts) = channel.log_in(user, password).map_err(|error| told(&error))?;
            let own = mounts.iter().find(|mount| mount.kind == MountKind::Home);
            let own = own.ok_or_else(|| io::Error::other("the session has no home"))?;
            let tunnel = channel.tunnel.map(|key| Tunnel { pin: self.pin, uid: person.uid, key });
            let mut home = Root::mount_through(machine.ns(), from, server, &own.path, tunnel)
                .map_err(|error| told(&error))?;
            let greeting = format!("{user} was at {}\n", self.personality.name);
            home.put(FILE, greeting.as_bytes()).map_err(|error| told(&error))?;
            let read = home.file(FILE).map_err(|error| told(&error))?;
            if read != greeting.as_bytes() {
                return Err(io::Error::other("the home has not kept what was written"));
            }
            home.put(LETTER, &vec![b'a'; LETTER_BYTES]).map_err(|error| told(&error))?;
            let written = u64::try_from(greeting.len() + LETTER_BYTES).map_err(io::Error::other)?;
            Ok(Seated { user: user.clone(), session, channel, home, written })
        };
        machine.run(sit_down).map_err(|error| error.to_string())
    }
}

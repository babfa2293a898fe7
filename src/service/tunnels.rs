//! Keys to the tunnels that homes and shares are mounted through.
//!
//! An address and a hardware address can be borrowed by any machine of the network, and NFS is in the clear. So where
//! `homes.encrypt` is on, what a session opens is reached over a connection of the agent's, in TLS with the pinned server, that
//! shows this key: nobody else has it. It follows from the client, its start and the person, by a key in the store, so nothing is
//! kept for it and it outlives a restart of the daemon; it is given away for a password alone, and is of no use without an open
//! session.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::proto::agent::tunnel::Key;
use crate::types::{MacAddr, Uid};

/// Makes keys.
#[derive(Clone, Debug)]
pub struct Tunnels(SipHasher24);

impl Tunnels {
    /// `key` is to stay the same over restarts.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// Of `uid` at `client`, as long as that does not start again.
    pub fn key(&self, client: MacAddr, boot_id: &str, uid: Uid) -> Key {
        let mut hasher = self.0;
        hasher.write(&client.octets());
        hasher.write(&uid.0.to_be_bytes());
        hasher.write(boot_id.as_bytes());
        Key(hasher.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_one_person_at_one_start_of_one_client() {
        const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
        let tunnels = Tunnels::new(&[7; 16]);
        let key = tunnels.key(PI, "one", Uid(10_000));
        assert_eq!(Tunnels::new(&[7; 16]).key(PI, "one", Uid(10_000)), key, "after a restart of the daemon");
        assert_ne!(tunnels.key(PI, "one", Uid(10_001)), key);
        assert_ne!(tunnels.key(PI, "two", Uid(10_000)), key);
        assert_ne!(tunnels.key(MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 4]), "one", Uid(10_000)), key);
        assert_ne!(Tunnels::new(&[8; 16]).key(PI, "one", Uid(10_000)), key);
    }
}

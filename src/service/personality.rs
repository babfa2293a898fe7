//! What a client is told about itself: the join of its seat, its network and what it booted.
//!
//! Asked for at the moment a client reads `/.bramble/personality.json`; nothing is kept.

use sha2::{Digest, Sha256};

use super::clients::Seat;
use super::images::Tree;
use crate::config::{Config, NfsBackend};
use crate::proto::agent::{Elsewhere, Personality, Proof, VERSION};
use crate::types::{MacAddr, MachineId, SeatUse};

/// `None` if the seat's network is no longer served.
///
/// `proof` is what its reports are to show.
pub fn personality(config: &Config, seat: &Seat, tree: &Tree, proof: Option<Proof>) -> Option<Personality> {
    let image = &tree.image;
    let network = config.networks.iter().find(|network| network.name == seat.network)?;
    Some(Personality {
        version: VERSION,
        name: seat.name.clone(),
        mac: seat.mac,
        machine_id: machine_id(seat.mac),
        server: network.address,
        image: image.clone(),
        maintenance: tree.draft,
        root: match &config.nfs.backend {
            // A draft is only here.
            NfsBackend::External(url) if !tree.draft => {
                Some(Elsewhere { server: url.server, path: url.path(image) })
            }
            NfsBackend::External(_) | NfsBackend::Embedded => None,
        },
        domain: network.options.domain.as_ref().and_then(|domain| domain.parse().ok()),
        dns: network.options.dns.clone(),
        ntp: network.options.ntp.clone(),
        timezone: seat.timezone.as_ref().or(config.timezone.as_ref()).and_then(|zone| zone.parse().ok()),
        mask: seat.mask.iter().filter_map(|unit| unit.parse().ok()).collect(),
        // Whoever changes an image needs it as it is.
        used: if tree.draft { SeatUse::Login } else { config.use_of(seat.mac) },
        proof,
    })
}

/// A machine id that follows from the hardware address and does not show it (machine-id(5) asks for both), marked as
/// a random UUID as systemd's own are.
fn machine_id(mac: MacAddr) -> MachineId {
    let hash = Sha256::new().chain_update(b"bramble machine-id ").chain_update(mac.octets()).finalize();
    let mut id = u128::from_be_bytes(hash.first_chunk::<16>().copied().expect("SHA-256 has 32 bytes"));
    id = id & !(0xf << 76) | (0x4 << 76);
    id = id & !(0x3 << 62) | (0x2 << 62);
    format!("{id:032x}").parse().expect("32 hex digits, one of them a 4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_ids_are_stable_different_and_random_uuids() {
        let [one, other] =
            ["dc:a6:32:01:02:03", "dc:a6:32:01:02:04"].map(|mac| machine_id(mac.parse().expect("MAC")));
        assert_eq!(one.as_str(), "d29cfae469264929aa9460cee7a1af19");
        assert_ne!(one, other);
        for id in [one, other] {
            assert_eq!(id.as_str().get(12..13), Some("4"), "version of the UUID");
            assert!(id.as_str().get(16..17).is_some_and(|variant| "89ab".contains(variant)), "its variant");
        }
    }
}

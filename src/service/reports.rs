//! Whether a report comes from the client that it says it comes from.
//!
//! A report is a datagram, and root on any machine of the network can send one from another's address. So the server gives
//! each start of each client a [`Proof`], in its personality, which root of that client reads over the connection of its root
//! file system; its reports show it. Nothing is kept for it: it follows from the hardware address and the moment at which the
//! client mounted its root, by a key in the store, so it outlives a restart of the daemon and ends with the start.
//!
//! What an agent says before it has read its personality has none. It is believed only as long as nothing of the same start
//! has come with one. A client that started under a Bramble that gave no proofs is not believed until its next start; what is
//! seen of it otherwise (its connections, its sessions) counts as before.

use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::events::{Events, Start};
use crate::proto::agent::{Phase, Proof, Report};
use crate::types::{MacAddr, Moment};

/// Gives proofs and knows them again.
#[derive(Debug)]
pub struct Reports {
    keyed: SipHasher24,
    events: Arc<Events>,
}

impl Reports {
    /// `key` is to stay the same over restarts.
    pub fn new(key: &[u8; 16], events: Arc<Events>) -> Self {
        Self { keyed: SipHasher24::new_with_key(key), events }
    }

    /// What reports of the present start of `client` are to show; `None` if it has not mounted its root.
    pub fn proof(&self, client: MacAddr) -> Option<Proof> {
        self.events.start(client).map(|start| self.of(client, start.mounted_at))
    }

    fn of(&self, client: MacAddr, mounted_at: Moment) -> Proof {
        let mut hasher = self.keyed;
        hasher.write(&client.octets());
        hasher.write(&mounted_at.millis().to_be_bytes());
        Proof(hasher.finish128().as_u128())
    }

    /// Whether `report` is `client`'s own, or why it is not believed.
    pub fn check(&self, client: MacAddr, report: &Report) -> Result<(), &'static str> {
        let Some(Start { mounted_at, introduced }) = self.events.start(client) else {
            return Err("from a client that has not mounted its root file system");
        };
        match report.proof {
            Some(proof) if proof == self.of(client, mounted_at) => {
                self.events.introduced(client);
                Ok(())
            }
            Some(_) => Err("with the proof of another start"),
            None if introduced || report.phase == Phase::Off => Err("without the proof of this start"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::events::Happening;
    use crate::types::{ImageVersion, Version};

    const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
    const OTHER: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 9, 9, 9]);

    fn mount(events: &Events, client: MacAddr, secs: i64) {
        let image = ImageVersion { name: "trixie".parse().expect("a name"), version: Version::FIRST };
        events.record(client, Moment::from_secs(secs), Happening::Mount { image });
    }

    fn say(reports: &Reports, phase: Phase, proof: Option<Proof>) -> Result<(), &'static str> {
        reports.check(PI, &Report::new(phase, "").with(proof))
    }

    #[test]
    fn only_who_shows_the_proof_of_this_start_is_believed() {
        const WITHOUT: Result<(), &str> = Err("without the proof of this start");
        const ANOTHER: Result<(), &str> = Err("with the proof of another start");
        let events = Arc::<Events>::default();
        let reports = Reports::new(&[7; 16], Arc::clone(&events));
        assert_eq!(reports.proof(PI), None);
        let nowhere = Err("from a client that has not mounted its root file system");
        assert_eq!(say(&reports, Phase::Started, None), nowhere);
        mount(&events, PI, 10);
        mount(&events, OTHER, 10);
        let first = reports.proof(PI);
        assert_eq!(say(&reports, Phase::Started, None), Ok(()), "before it has read its personality");
        assert_eq!(say(&reports, Phase::Failed, None), Ok(()), "it may never come to it");
        assert_eq!(say(&reports, Phase::Off, None), WITHOUT, "who switches off has read it");
        assert_eq!(say(&reports, Phase::Root, first), Ok(()));
        for phase in [Phase::Started, Phase::Handover, Phase::Trouble, Phase::Failed, Phase::Off] {
            assert_eq!(say(&reports, phase, None), WITHOUT);
            assert_eq!(say(&reports, phase, reports.proof(OTHER)), ANOTHER);
            assert_eq!(say(&reports, phase, Some(Proof(0))), ANOTHER);
        }
        // The kernel asks for its root again: the same start.
        mount(&events, PI, 11);
        assert_eq!(reports.proof(PI), first);
        // The next one.
        events.record(PI, Moment::from_secs(60), Happening::Offer { ip: [10, 0, 0, 1].into() });
        mount(&events, PI, 70);
        assert_ne!(reports.proof(PI), first);
        assert_eq!(say(&reports, Phase::Failed, first), ANOTHER);
        assert_eq!(say(&reports, Phase::Failed, None), Ok(()));
        assert_eq!(say(&reports, Phase::Off, reports.proof(PI)), Ok(()));
        let other_key = Reports::new(&[8; 16], events);
        assert_ne!(other_key.proof(PI), reports.proof(PI));
    }
}

//! Any packets as answers to our question for other DHCP servers: none of them is taken for one of our own, and what is told
//! of them is bounded.
#![no_main]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bramble::proto::dhcp::{Packet, Uptime};
use bramble::service::health::Health;
use bramble::service::room::guard::{Guard, Offer};
use bramble::types::limits;

const OWN: [Ipv4Addr; 1] = [Ipv4Addr::new(192, 168, 77, 1)];

libfuzzer_sys::fuzz_target!(|answers: Vec<(bool, Vec<u8>)>| {
    let health = Arc::<Health>::default();
    let guard = Guard::new(Arc::clone(&health));
    for (second, (more, bytes)) in answers.iter().enumerate() {
        let Ok(packet) = Packet::parse(bytes) else { continue };
        let Some(offer) = Offer::of(&packet, packet.xid, &OWN) else { continue };
        assert!(!OWN.contains(&offer.server) && !offer.boot.is_some_and(|boot| OWN.contains(&boot)));
        assert!(Offer::of(&packet, packet.xid.wrapping_add(1), &OWN).is_none(), "not an answer to our question");
        let offer = Offer { tftp: *more, nfs: *more, ..offer };
        guard.heard_server("lan", offer, Uptime(Duration::from_secs(second as u64)));
    }
    let told: usize = health.problems().iter().map(String::len).sum();
    assert!(told < limits::OTHER_SERVERS * 500);
});

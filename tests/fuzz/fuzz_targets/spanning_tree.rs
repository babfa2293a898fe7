//! Any frame behind an LLC header: nothing, or a message whose times a frame can hold; what a guard says of it is bounded.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use bramble::proto::dhcp::Uptime;
use bramble::proto::stp;
use bramble::service::health::Health;
use bramble::service::room::guard::Guard;

libfuzzer_sys::fuzz_target!(|frames: Vec<Vec<u8>>| {
    let health = Arc::<Health>::default();
    let guard = Guard::new(Arc::clone(&health));
    for (second, frame) in frames.iter().enumerate() {
        let raw = stp::parse(frame);
        let framed = stp::parse(&[&[0x42, 0x42, 0x03], frame.as_slice()].concat());
        for bpdu in raw.into_iter().chain(framed) {
            assert!(bpdu.forward_delay <= Duration::from_secs(256));
            guard.heard_switch("lan", bpdu, Uptime(Duration::from_secs(second as u64)));
        }
    }
    assert!(health.problems().len() <= 1, "one switch of a network is told of");
    assert!(health.problems().iter().all(|problem| problem.len() < 1000));
});

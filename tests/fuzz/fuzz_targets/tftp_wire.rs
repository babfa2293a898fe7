//! Any bytes as a TFTP packet: read, its options walked and agreed to, its name taken apart.
#![no_main]

use bramble::proto::pi::path::Asked;
use bramble::proto::pi::pxelinux;
use bramble::proto::tftp::options::agree;
use bramble::proto::tftp::wire::{self, Packet};
use bramble::types::{MacAddr, limits};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match wire::parse(bytes) {
        Ok(Packet::Read(request) | Packet::Write(request)) => {
            assert!(!request.name.is_empty() && !request.name.contains(&0));
            let terms = agree(request.options, 5_000_000, 1468);
            assert!((8..=1468).contains(&terms.block_size));
            assert!((1..=limits::TFTP_WINDOW).contains(&terms.window));
            assert!(terms.patience <= limits::TFTP_PATIENCE_ASKED);
            if let Some(packet) = &terms.option_ack {
                let Ok(Packet::OptionAck(agreed)) = wire::parse(packet) else {
                    panic!("an OACK is read back")
                };
                assert!((1..=4).contains(&agreed.iter().count()));
                assert!(agreed.number("blksize").is_none_or(|size| size == u64::from(terms.block_size)));
                assert!(agreed.number("windowsize").is_none_or(|size| size == u64::from(terms.window)));
            }
            if let Ok(asked) = Asked::parse(request.name) {
                assert!(asked.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
                let _ = pxelinux::is_config(&asked.path, MacAddr::new([2, 0, 0, 0, 0, 1]));
            }
        }
        Ok(Packet::Data { block, bytes: data }) => {
            assert_eq!([&wire::data_header(block)[..], data].concat(), bytes);
        }
        Ok(Packet::OptionAck(options)) => assert!(options.iter().count() <= bytes.len()),
        Ok(Packet::Ack(_) | Packet::Error { .. }) | Err(_) => {}
    }
});

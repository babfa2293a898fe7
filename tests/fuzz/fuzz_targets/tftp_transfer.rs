//! Anything a client may do to a transfer, in any order: it stays within the file and its window, and it ends.
#![no_main]

use std::time::{Duration, Instant};

use bramble::proto::tftp::options::Terms;
use bramble::proto::tftp::transfer::{Input, Output, Transfer, low_bits};
use bramble::types::limits;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(([shape, high, low, fill], script)) = bytes.split_first_chunk::<4>() else { return };
    let window = u16::from(shape & 15) + 1;
    let block_size = if shape & 16 == 0 { 8 } else { 512 };
    let len = (u64::from(*high) << 16 | u64::from(*low) << 8 | u64::from(*fill)) * u64::from(block_size) / 3;
    let option_ack = (shape & 32 != 0).then(|| vec![0, 6]);
    let terms = Terms { block_size, window, patience: limits::TFTP_PATIENCE, option_ack };
    let blocks = len / u64::from(block_size) + 1;

    let mut now = Instant::now();
    let (mut transfer, mut output) = Transfer::begin(len, &terms);
    let mut last = 0;
    for &[what, number] in script.as_chunks::<2>().0 {
        match output {
            Output::Send { first, count } => {
                assert!(count >= 1 && count <= window);
                last = first + u64::from(count) - 1;
                assert!(first >= 1 && last <= blocks);
            }
            Output::Done(_) => return,
            Output::SendOptionAck | Output::Wait => {}
        }
        let before = transfer.bytes_acked();
        let input = match what % 8 {
            // Around what was sent last, where an ACK means something.
            0..=3 => Input::Ack(low_bits(last).wrapping_add(u16::from(number)).wrapping_sub(20)),
            4 => Input::Ack(u16::from_be_bytes([what, number])),
            5 => Input::Sent,
            6 => Input::Tick,
            _ if number == 0 => Input::ClientError,
            _ => {
                now += Duration::from_millis(u64::from(number) * 50);
                Input::Tick
            }
        };
        output = transfer.step(now, input);
        assert!(transfer.bytes_acked() >= before && transfer.bytes_acked() <= len);
    }
    // From here on the client is silent: the end comes in bounded time.
    let mut silence = Duration::ZERO;
    while !matches!(output, Output::Done(_)) {
        output = match output {
            Output::Send { .. } | Output::SendOptionAck => transfer.step(now, Input::Sent),
            _ if transfer.deadline().is_none() => transfer.step(now, Input::Sent),
            _ => {
                let wait =
                    transfer.deadline().map_or(Duration::ZERO, |deadline| deadline - now.min(deadline));
                silence += wait;
                now += wait;
                transfer.step(now, Input::Tick)
            }
        };
        assert!(silence <= Duration::from_secs(60));
    }
});

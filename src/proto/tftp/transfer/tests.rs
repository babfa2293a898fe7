//! What a client may do to a transfer, step by step and at random.

use std::collections::VecDeque;

use super::*;
use proptest::prelude::*;

const BLOCK: u16 = 8;

fn terms(window: u16) -> Terms {
    Terms { block_size: BLOCK, window, patience: Duration::from_millis(500), option_ack: None }
}

/// A transfer of `blocks` blocks whose first window has been sent at `now`.
fn started(blocks: u64, window: u16, now: Instant) -> Transfer {
    let (mut transfer, first) = Transfer::begin((blocks - 1) * u64::from(BLOCK), &terms(window));
    assert_eq!(
        first,
        Output::Send { first: 1, count: window.min(u16::try_from(blocks).unwrap_or(u16::MAX)) }
    );
    assert_eq!(transfer.step(now, Input::Sent), Output::Wait);
    transfer
}

fn epoch() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can be had in no other way; only distances from it count"
    )]
    let start = *START.get_or_init(Instant::now);
    start
}

/// One row is one conversation: inputs and what each must lead to.
#[test]
fn conversations_in_lock_step() {
    let send = |first| Output::Send { first, count: 1 };
    #[rustfmt::skip]
    let rows: [(&str, &[(Input, Output)]); 5] = [
        ("three blocks", &[(Input::Ack(1), send(2)), (Input::Sent, Output::Wait), (Input::Ack(2), send(3)), (Input::Sent, Output::Wait),
                           (Input::Ack(3), Output::Done(Outcome::Complete))]),
        ("a repeated ACK is not answered", &[(Input::Ack(1), send(2)), (Input::Sent, Output::Wait), (Input::Ack(1), Output::Wait), (Input::Ack(0), Output::Wait)]),
        ("an ACK of what was never sent", &[(Input::Ack(2), Output::Wait), (Input::Ack(40_000), Output::Wait)]),
        ("early terminate", &[(Input::ClientError, Output::Done(Outcome::Probe))]),
        ("given up later", &[(Input::Ack(1), send(2)), (Input::Sent, Output::Wait), (Input::Ack(2), send(3)), (Input::ClientError, Output::Done(Outcome::Refused))]),
    ];
    for (shows, steps) in rows {
        let mut transfer = started(3, 1, epoch());
        for (input, expected) in steps {
            assert_eq!(transfer.step(epoch(), *input), *expected, "{shows}: {input:?}");
        }
    }
}

/// RFC 7440 §4, one row per thing a receiver may say about a window of four.
#[test]
fn conversations_in_windows() {
    let four = |first| Output::Send { first, count: 4 };
    #[rustfmt::skip]
    let rows: [(&str, &[(Input, Output)]); 5] = [
        ("the whole window arrived", &[(Input::Ack(4), four(5))]),
        ("the third block was lost", &[(Input::Ack(2), four(3))]),
        ("the first block was lost", &[(Input::Ack(0), four(1)), (Input::Sent, Output::Wait)]),
        ("… which is believed once, and not again while echoes may arrive", &[(Input::Ack(0), four(1)), (Input::Sent, Output::Wait), (Input::Ack(0), Output::Wait), (Input::Ack(4), four(5))]),
        ("the end is a smaller window", &[(Input::Ack(4), four(5)), (Input::Sent, Output::Wait), (Input::Ack(8), Output::Send { first: 9, count: 1 }),
                                          (Input::Sent, Output::Wait), (Input::Ack(9), Output::Done(Outcome::Complete))]),
    ];
    for (shows, steps) in rows {
        let mut transfer = started(9, 4, epoch());
        for (input, expected) in steps {
            assert_eq!(transfer.step(epoch(), *input), *expected, "{shows}: {input:?}");
        }
    }
}

#[test]
fn options_are_acknowledged_before_the_first_block() {
    let with_options = Terms { option_ack: Some(vec![0, 6]), ..terms(1) };
    let (mut transfer, first) = Transfer::begin(10, &with_options);
    assert_eq!(first, Output::SendOptionAck);
    assert_eq!(transfer.step(epoch(), Input::Sent), Output::Wait);
    assert_eq!(transfer.step(epoch(), Input::Ack(1)), Output::Wait, "block 1 has not been sent");
    let later = epoch() + Duration::from_millis(500);
    assert_eq!(transfer.step(later, Input::Tick), Output::SendOptionAck, "the OACK was lost");
    assert_eq!(transfer.step(later, Input::Sent), Output::Wait);
    assert_eq!(transfer.step(later, Input::Ack(0)), Output::Send { first: 1, count: 1 });
}

/// After block 65 535 the wire counts from 0, and an ACK of the past does not pass for one of the future.
#[test]
fn the_block_number_rolls_over_to_zero() {
    for window in [1, 16] {
        let blocks = 70_001;
        let mut transfer = started(blocks, window, epoch());
        let mut acked = 0;
        while acked < blocks {
            let count = (blocks - acked).min(u64::from(window));
            assert_eq!(transfer.step(epoch(), Input::Ack(low_bits(acked + 30_000))), Output::Wait);
            acked += count;
            let output = transfer.step(epoch(), Input::Ack(low_bits(acked)));
            if acked == blocks {
                assert_eq!(output, Output::Done(Outcome::Complete));
            } else {
                let count = u16::try_from((blocks - acked).min(u64::from(window))).unwrap();
                assert_eq!(output, Output::Send { first: acked + 1, count });
                assert_eq!(transfer.step(epoch(), Input::Sent), Output::Wait);
            }
        }
        assert_eq!(transfer.bytes_acked(), (blocks - 1) * u64::from(BLOCK));
    }
}

/// Waits double up to the bound; the client is given up in bounded time, and not before a Pi's own 30 seconds with the
/// time-out it asks for.
#[test]
fn silence_is_met_with_patience_and_an_end() {
    #[rustfmt::skip]
    let rows = [
        (Duration::from_millis(500), vec![500, 1000, 2000, 4000, 8000, 8000]),
        (Duration::from_secs(5), vec![5000, 8000, 8000, 8000, 8000, 8000]),
        (Duration::from_secs(10), vec![10_000, 10_000, 10_000, 10_000, 10_000, 10_000]),
    ];
    for (patience, expected) in rows {
        let (mut transfer, _) = Transfer::begin(5, &Terms { patience, ..terms(1) });
        let mut now = epoch();
        let mut waits = Vec::new();
        loop {
            assert_eq!(transfer.step(now, Input::Sent), Output::Wait);
            let deadline = transfer.deadline().expect("sent, so waiting");
            let wait = deadline - now;
            waits.push(wait.as_millis());
            assert_eq!(transfer.step(now + wait / 2, Input::Tick), Output::Wait);
            now = deadline;
            match transfer.step(now, Input::Tick) {
                Output::Send { first: 1, count: 1 } => {}
                Output::Done(Outcome::Silent) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, expected, "{patience:?}");
    }
}

#[test]
fn time_spent_on_our_own_disk_is_not_held_against_the_client() {
    let (mut transfer, _) = Transfer::begin(5, &terms(1));
    assert_eq!(transfer.step(epoch() + Duration::from_hours(1), Input::Tick), Output::Wait);
}

/// What the network does to one packet.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Arrives,
    Twice,
    /// Arrives after the packets behind it.
    Late,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![1 => Just(Fate::Lost), 6 => Just(Fate::Arrives), 1 => Just(Fate::Twice), 1 => Just(Fate::Late)]
}

/// A receiver as RFC 7440 describes it and U-Boot builds it: it says once for each position that it expected another
/// block. With a window of 1 it is the one of RFC 1350, which answers every block.
struct Receiver {
    window: u64,
    got: Vec<u8>,
    blocks: u64,
    since_ack: u64,
    complained_at: Option<u64>,
    complete: bool,
}

impl Receiver {
    /// Takes one DATA packet; the ACK it answers with, if it does.
    fn data(&mut self, number: u16, bytes: &[u8]) -> Option<u16> {
        if self.complete || number != low_bits(self.blocks + 1) {
            if self.window > 1 && self.complained_at == Some(self.blocks) {
                return None;
            }
            self.complained_at = Some(self.blocks);
            self.since_ack = 0;
            return Some(low_bits(self.blocks));
        }
        self.got.extend(bytes);
        self.blocks += 1;
        self.since_ack += 1;
        self.complete = bytes.len() < usize::from(BLOCK);
        if self.complete || self.since_ack == self.window {
            self.since_ack = 0;
            return Some(low_bits(self.blocks));
        }
        None
    }
}

/// A file on its way over a network that does `fates` to the packets of both directions, one after another.
fn download(file: &[u8], window: u16, fates: &mut impl Iterator<Item = Fate>) -> (Receiver, Outcome, u64) {
    let mut receiver = Receiver {
        window: u64::from(window),
        got: vec![],
        blocks: 0,
        since_ack: 0,
        complained_at: None,
        complete: false,
    };
    let mut now = epoch();
    let (mut transfer, mut output) = Transfer::begin(file.len() as u64, &terms(window));
    let mut acks: VecDeque<u16> = VecDeque::new();
    let mut packets_sent = 0;
    loop {
        match output {
            Output::Send { first, count } => {
                let mut arriving = Vec::new();
                for block in first..first + u64::from(count) {
                    packets_sent += 1;
                    match fates.next().expect("fates never end") {
                        Fate::Lost => {}
                        Fate::Arrives => arriving.push(block),
                        Fate::Twice => arriving.extend([block, block]),
                        Fate::Late => arriving.insert(0, block),
                    }
                }
                for block in arriving {
                    let start = usize::try_from((block - 1) * u64::from(BLOCK)).unwrap();
                    let end = file.len().min(start + usize::from(BLOCK));
                    let Some(ack) = receiver.data(low_bits(block), &file[start..end]) else { continue };
                    match fates.next().expect("fates never end") {
                        Fate::Lost => {}
                        Fate::Arrives => acks.push_back(ack),
                        Fate::Twice => acks.extend([ack, ack]),
                        Fate::Late => acks.push_front(ack),
                    }
                }
                output = transfer.step(now, Input::Sent);
            }
            Output::SendOptionAck => unreachable!("no options were asked for"),
            Output::Wait => {
                output = if let Some(ack) = acks.pop_front() {
                    transfer.step(now, Input::Ack(ack))
                } else {
                    now = transfer.deadline().expect("everything was sent");
                    transfer.step(now, Input::Tick)
                };
            }
            Output::Done(outcome) => return (receiver, outcome, packets_sent),
        }
    }
}

proptest! {
    /// Whatever the network loses, repeats or reorders, a client that is told `Complete` has the file.
    #[test]
    fn complete_means_every_byte(
        file in proptest::collection::vec(any::<u8>(), 0..600),
        window in prop_oneof![Just(1u16), 2u16..17],
        fates in proptest::collection::vec(fate(), 1..200),
    ) {
        let (receiver, outcome, _) = download(&file, window, &mut fates.into_iter().cycle());
        prop_assert!(outcome == Outcome::Silent || outcome == Outcome::Complete);
        prop_assert!(outcome != Outcome::Complete || receiver.got == file);
        prop_assert!(receiver.got.len() <= file.len());
    }

    /// On a network that mends, the file arrives, and no ACK has bred more packets than it asked for: each repetition is
    /// paid for by a loss, a time-out or one complaint.
    #[test]
    fn a_network_that_mends_gets_the_file(
        file in proptest::collection::vec(any::<u8>(), 0..600),
        window in prop_oneof![Just(1u16), 2u16..17],
        fates in proptest::collection::vec(fate(), 0..4),
    ) {
        let bad = fates.len() as u64;
        let (receiver, outcome, packets) =
            download(&file, window, &mut fates.into_iter().chain(std::iter::repeat(Fate::Arrives)));
        prop_assert_eq!(outcome, Outcome::Complete);
        prop_assert_eq!(&receiver.got, &file);
        let blocks = file.len() as u64 / u64::from(BLOCK) + 1;
        prop_assert!(packets <= blocks + 4 * bad * u64::from(window), "{} packets for {} blocks", packets, blocks);
    }

    /// In lock-step the doubling of every single packet doubles nothing that is sent.
    #[test]
    fn no_sorcerers_apprentice(file in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (receiver, outcome, packets) = download(&file, 1, &mut std::iter::repeat(Fate::Twice));
        prop_assert_eq!(outcome, Outcome::Complete);
        prop_assert_eq!(packets, file.len() as u64 / u64::from(BLOCK) + 1);
        prop_assert_eq!(receiver.got, file);
    }

    /// A hostile client can neither make the machine panic nor send blocks the file does not have, nor keep it for ever.
    #[test]
    fn any_inputs(
        len in 0u64..2_000_000,
        window in 1u16..17,
        inputs in proptest::collection::vec(prop_oneof![
            any::<u16>().prop_map(Input::Ack), (0u16..40).prop_map(Input::Ack), Just(Input::Sent), Just(Input::Tick), Just(Input::ClientError),
        ], 0..200),
    ) {
        let (mut transfer, mut output) = Transfer::begin(len, &terms(window));
        let mut now = epoch();
        for input in inputs {
            if let Output::Send { first, count } = output {
                prop_assert!(count >= 1 && count <= window && first + u64::from(count) - 1 <= len / u64::from(BLOCK) + 1);
            }
            if matches!(output, Output::Done(_)) {
                break;
            }
            now += Duration::from_millis(400);
            output = transfer.step(now, input);
            prop_assert!(transfer.deadline().is_none_or(|d| d <= now + limits::TFTP_PATIENCE_MOST));
        }
    }
}

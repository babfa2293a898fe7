//! One TFTP download as a state machine: acknowledgements in, orders to send out.
//!
//! Nothing here opens a socket, holds file data or looks at a clock. The driver in [`crate::serve`] owns those and calls
//! [`Transfer::step`]; a test calls the same function with invented times and gets the same answers.
//!
//! Blocks are counted from 1 without wrapping; only on the wire is the number taken modulo 65 536, so a file may have
//! any length (the number after 65 535 is 0, as the Pi's bootloader counts since 2025-09-23).
//!
//! | RFC | What is taken from it |
//! |---|---|
//! | 1350 | the block that is shorter than the others is the last |
//! | 1123 §4.2.3.1 | in lock-step a repeated ACK is never answered (Sorcerer's Apprentice) |
//! | 7440 §4 | an ACK that is not the window's last means a block was lost: go on behind it |

use std::time::{Duration, Instant};

use super::options::Terms;
use crate::types::limits;

/// What happened since the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An ACK with this number on the wire.
    Ack(u16),
    /// An ERROR packet: the client does not want the rest.
    ClientError,
    /// What [`Output`] asked to send has been handed to the network; the client's time to answer starts now.
    Sent,
    /// Time has passed.
    Tick,
}

/// What the driver does next. Every step returns exactly one; it replaces what an earlier one asked to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the OACK, then step with [`Input::Sent`].
    SendOptionAck,
    /// Send `count` blocks beginning with block `first`, then step with [`Input::Sent`].
    Send { first: u64, count: u16 },
    /// Nothing new: go on with what was asked before, or keep waiting until [`Transfer::deadline`].
    Wait,
    /// The transfer is over.
    Done(Outcome),
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client acknowledged the last block.
    Complete,
    /// The client ended it at its very beginning: it only wanted to know whether the file is there and how large.
    /// The Pi's ROM does so with every file (`Early terminate`).
    Probe,
    /// The client ended it later.
    Refused,
    /// The client stopped answering.
    Silent,
}

/// One file on its way to one client.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Bytes in the file.
    len: u64,
    block_size: u16,
    window: u16,
    patience: Duration,
    /// Whether the OACK is still unanswered.
    opening: bool,
    /// Every block up to this one has been acknowledged.
    acked: u64,
    /// The last block that has been asked to be sent.
    sent: u64,
    /// Repetitions since the last progress.
    repeats: u8,
    /// Windows to come in which a repeated ACK may be an echo of blocks that were sent twice.
    echoes: u8,
    /// When the client's time to answer is over; `None` while the driver still has to send.
    deadline: Option<Instant>,
}

impl Transfer {
    /// A transfer of a file of `len` bytes, and what to send first.
    pub fn begin(len: u64, terms: &Terms) -> (Self, Output) {
        let mut transfer = Self {
            len,
            block_size: terms.block_size.max(1),
            window: terms.window.max(1),
            patience: terms.patience,
            opening: terms.option_ack.is_some(),
            acked: 0,
            sent: 0,
            repeats: 0,
            echoes: 0,
            deadline: None,
        };
        let first = transfer.send();
        (transfer, first)
    }

    /// Moves the transfer on by one input. Pure: same state, `now` and input, same output.
    pub fn step(&mut self, now: Instant, input: Input) -> Output {
        match input {
            Input::ClientError if self.acked <= 1 => Output::Done(Outcome::Probe),
            Input::ClientError => Output::Done(Outcome::Refused),
            Input::Sent => {
                self.deadline = Some(now + self.wait());
                Output::Wait
            }
            Input::Ack(0) if self.opening => {
                self.opening = false;
                self.progress(now, 0)
            }
            Input::Ack(_) if self.opening => Output::Wait,
            Input::Ack(number) => self.acknowledged(now, number),
            Input::Tick => self.tick(now),
        }
    }

    /// When to step with [`Input::Tick`]; `None` while something is to be sent.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Bytes that the client has acknowledged.
    pub fn bytes_acked(&self) -> u64 {
        self.acked.saturating_mul(u64::from(self.block_size)).min(self.len)
    }

    fn acknowledged(&mut self, now: Instant, number: u16) -> Output {
        // The wire's 16 bits count from the last acknowledged block; whatever is not between it and the last one sent is
        // an echo of the past.
        let ahead = u64::from(number.wrapping_sub(low_bits(self.acked)));
        if ahead == 0 && self.window > 1 && self.echoes == 0 && self.deadline.is_some() {
            return self.repeat(); // The first block of the window was lost.
        }
        if ahead == 0 || ahead > self.sent - self.acked {
            return Output::Wait;
        }
        self.progress(now, ahead)
    }

    /// The client has `blocks` more than before.
    fn progress(&mut self, now: Instant, blocks: u64) -> Output {
        self.acked += blocks;
        self.repeats = 0;
        if self.acked == self.blocks() {
            return Output::Done(Outcome::Complete);
        }
        if self.acked == self.sent || self.deadline.is_none() {
            self.echoes = self.echoes.saturating_sub(1);
            return self.send();
        }
        if self.echoes == 0 {
            return self.repeat(); // A later block of the window was lost.
        }
        // The client may have all of the window and speak only of the blocks it got twice: what it has not been sent yet
        // brings both sides to the same place. If it did miss one, the deadline will tell.
        let sent = self.sent;
        self.sent = self.blocks().min(self.acked + u64::from(self.window));
        if self.sent == sent {
            self.deadline = Some(now + self.wait());
            return Output::Wait;
        }
        self.deadline = None;
        Output::Send { first: sent + 1, count: low_bits(self.sent - sent) }
    }

    fn tick(&mut self, now: Instant) -> Output {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Output::Wait;
        }
        if self.repeats >= limits::TFTP_REPEATS {
            return Output::Done(Outcome::Silent);
        }
        self.repeats += 1;
        self.repeat()
    }

    /// Orders again what may have arrived already. A client answers blocks that it gets twice by saying where it is, in
    /// this window and at the start of the next; were one of these echoes taken for a loss, every later packet would be
    /// sent twice.
    fn repeat(&mut self) -> Output {
        self.echoes = 2;
        self.send()
    }

    /// Orders the OACK, or the window behind the last acknowledged block.
    fn send(&mut self) -> Output {
        self.deadline = None;
        if self.opening {
            return Output::SendOptionAck;
        }
        let count =
            u16::try_from(self.blocks() - self.acked).map_or(self.window, |left| left.min(self.window));
        self.sent = self.acked + u64::from(count);
        Output::Send { first: self.acked + 1, count }
    }

    /// How long the client may take now: doubled with each repetition, up to a bound.
    fn wait(&self) -> Duration {
        let most = self.patience.max(limits::TFTP_PATIENCE_MOST);
        self.patience.saturating_mul(1 << self.repeats.min(16)).min(most)
    }

    /// Blocks in all. A file that fills its last block is followed by an empty one (RFC 1350 §6).
    fn blocks(&self) -> u64 {
        self.len / u64::from(self.block_size) + 1
    }
}

/// The number of block `block` on the wire.
pub fn low_bits(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;

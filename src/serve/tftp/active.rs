//! One transfer as the engine holds it: the state machine, the client it is for, and the piece of the file in memory.

use std::fs::File;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{self, Job};
use crate::proto::tftp::options::Terms;
use crate::proto::tftp::transfer::{Input, Outcome, Output, Transfer, low_bits};
use crate::service::boot_tree::Content;
use crate::sys::pages;
use crate::types::{MacAddr, limits};

/// A transfer and what belongs to it.
#[derive(Debug)]
pub struct Active {
    /// Never used for another transfer.
    pub serial: u64,
    pub peer: SocketAddrV4,
    /// Index of the carrier it is sent from.
    pub carrier: usize,
    pub client: MacAddr,
    /// As it is shown to people.
    pub name: String,
    /// The request, to recognise its repetition.
    request: Vec<u8>,
    pub started: Instant,
    /// Whether it stands in its carrier's line of those that have something to send.
    pub queued: bool,
    transfer: Transfer,
    option_ack: Vec<u8>,
    block_size: usize,
    body: Body,
    pending: Pending,
    /// Bytes of the file from block `piece_first` on.
    piece: Vec<u8>,
    piece_first: u64,
    /// The block that a reading job begins with, while there is one.
    reading: Option<u64>,
}

#[derive(Debug)]
enum Body {
    Text(Vec<u8>),
    File { file: Arc<File>, len: u64 },
}

/// What has been ordered and not yet sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    OptionAck,
    Blocks { first: u64, count: u16 },
}

/// What [`Active::prepare`] found.
pub enum Prepared {
    /// So many packets can be sent now.
    Packets(usize),
    /// The data has to be read first.
    Disk(Job),
    /// Nothing to send, or the data is being read already.
    Nothing,
}

impl Active {
    pub fn new(
        serial: u64,
        (client, peer): (MacAddr, SocketAddrV4),
        carrier: usize,
        (name, request): (String, Vec<u8>),
        content: Content,
        terms: Terms,
        now: Instant,
    ) -> Self {
        let (body, len) = match content {
            Content::Text(text) => {
                let len = text.len() as u64;
                (Body::Text(text), len)
            }
            Content::File { file, len } => (Body::File { file: Arc::new(file), len }, len),
        };
        let (transfer, first) = Transfer::begin(len, &terms);
        let mut active = Self {
            serial,
            peer,
            carrier,
            client,
            name,
            request,
            started: now,
            queued: false,
            transfer,
            block_size: terms.block_size.into(),
            option_ack: terms.option_ack.unwrap_or_default(),
            body,
            pending: Pending::Nothing,
            piece: Vec::new(),
            piece_first: 0,
            reading: None,
        };
        active.order(first);
        active
    }

    /// Steps the state machine; the outcome if that was the end.
    pub fn step(&mut self, now: Instant, input: Input) -> Option<Outcome> {
        let output = self.transfer.step(now, input);
        self.order(output)
    }

    /// What the client's silence is, by now: due for a step.
    pub fn is_due(&self, now: Instant) -> bool {
        self.transfer.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether it stands in need of its carrier's line.
    pub fn wants_to_send(&self) -> bool {
        self.pending != Pending::Nothing && self.reading.is_none()
    }

    /// Whether `request` is that which began this transfer, said again, and not one to begin the file anew.
    pub fn is_begun_by(&self, request: &[u8], now: Instant) -> bool {
        let is_early = self.bytes_acked() == 0 || self.took(now) < limits::TFTP_COPY;
        is_early && self.request == request
    }

    pub fn bytes_acked(&self) -> u64 {
        self.transfer.bytes_acked()
    }

    pub fn took(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    fn order(&mut self, output: Output) -> Option<Outcome> {
        match output {
            Output::SendOptionAck => self.pending = Pending::OptionAck,
            Output::Send { first, count } => self.pending = Pending::Blocks { first, count },
            Output::Wait => {}
            Output::Done(outcome) => return Some(outcome),
        }
        None
    }

    /// Makes sure that the data of what is pending is in memory. Takes it from the page cache if it is there; `slot` is
    /// where the engine keeps this transfer, for the answer of a job.
    pub fn prepare(&mut self, slot: usize) -> Prepared {
        let (first, count) = match self.pending {
            _ if self.reading.is_some() => return Prepared::Nothing,
            Pending::Nothing => return Prepared::Nothing,
            Pending::OptionAck => return Prepared::Packets(1),
            Pending::Blocks { first, count } => (first, count),
        };
        let Body::File { file, len } = &self.body else { return Prepared::Packets(count.into()) };
        let offset = (first - 1).saturating_mul(self.block_size as u64);
        let ready = Prepared::Packets(count.into());
        let wanted = self.block_size * usize::from(count);
        let wanted = usize::try_from(len.saturating_sub(offset)).map_or(wanted, |rest| rest.min(wanted));
        let skipped = first.checked_sub(self.piece_first).and_then(|blocks| usize::try_from(blocks).ok());
        let skipped = skipped.map(|blocks| blocks.saturating_mul(self.block_size));
        if self.piece_first != 0
            && skipped.is_some_and(|skipped| skipped.saturating_add(wanted) <= self.piece.len())
        {
            return ready;
        }
        let piece = (limits::TFTP_PIECE / self.block_size).max(count.into()) * self.block_size;
        let piece = usize::try_from(len.saturating_sub(offset)).map_or(piece, |rest| rest.min(piece));
        self.piece.resize(piece, 0);
        self.piece_first = first;
        if piece == 0
            || matches!(pages::read_now(file.as_ref(), &mut self.piece, offset), Ok(read) if read == piece)
        {
            return ready;
        }
        self.reading = Some(first);
        let buffer = std::mem::take(&mut self.piece);
        Prepared::Disk(disk::read(Arc::clone(file), offset, buffer, slot, self.serial))
    }

    /// Takes the bytes that a job of [`Self::prepare`] read.
    pub fn piece_read(&mut self, piece: Vec<u8>) {
        if let Some(first) = self.reading.take() {
            self.piece = piece;
            self.piece_first = first;
        }
    }

    /// The `index`th of the pending packets: number of the block and its data; no number for an OACK. Only after
    /// [`Prepared::Packets`].
    pub fn packet(&self, index: usize) -> (Option<u16>, &[u8]) {
        let Pending::Blocks { first, .. } = self.pending else { return (None, &self.option_ack) };
        let block = first + index as u64;
        let (data, start) = match &self.body {
            Body::Text(text) => (text, block - 1),
            Body::File { .. } => (&self.piece, block - self.piece_first),
        };
        let start =
            usize::try_from(start).map_or(data.len(), |blocks| data.len().min(blocks * self.block_size));
        let end = data.len().min(start + self.block_size);
        (Some(low_bits(block)), data.get(start..end).unwrap_or_default())
    }

    /// The first `count` of the pending packets were handed to the network.
    pub fn sent(&mut self, count: usize, now: Instant) {
        let left = match self.pending {
            Pending::Blocks { first, count: all } => {
                let done = u16::try_from(count).map_or(all, |count| count.min(all));
                Pending::Blocks { first: first + u64::from(done), count: all - done }
            }
            _ => Pending::Nothing,
        };
        self.pending = match left {
            Pending::Blocks { count: 1.., .. } => left,
            _ => Pending::Nothing,
        };
        if self.pending == Pending::Nothing {
            self.transfer.step(now, Input::Sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_copy_of_the_request_is_no_new_one() {
        #[expect(clippy::disallowed_methods, reason = "any point of the clock does")]
        let began = Instant::now();
        let terms = Terms { block_size: 512, window: 1, patience: limits::TFTP_PATIENCE, option_ack: None };
        let peer =
            (MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]), "192.168.77.50:1000".parse().expect("an address"));
        let words = ("config.txt".to_owned(), b"the request".to_vec());
        let mut active = Active::new(1, peer, 0, words, Content::Text(vec![b'#'; 2000]), terms, began);
        let after = |millis| began + Duration::from_millis(millis);
        assert!(active.is_begun_by(b"the request", after(5000)), "nothing has arrived");
        assert!(!active.is_begun_by(b"another", after(0)));
        active.sent(1, after(1));
        assert_eq!(active.step(after(2), Input::Ack(1)), None);
        assert!(active.is_begun_by(b"the request", after(3)), "it was overtaken by the ACK");
        assert!(!active.is_begun_by(b"another", after(3)));
        assert!(!active.is_begun_by(b"the request", after(501)), "the file is begun anew");
    }
}

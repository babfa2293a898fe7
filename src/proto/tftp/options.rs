//! Which of the options a client asks for the server agrees to (RFC 2347, 2348, 2349, 7440).
//!
//! An option that is unknown, or has a value its RFC forbids, is left out of the answer, which the client reads as a
//! refusal of that option alone.

use std::time::Duration;

use super::wire::{self, Options};
use crate::types::limits;

/// Size of blocks when the client asks for none, in bytes (RFC 1350 §2).
pub const PLAIN_BLOCK: u16 = 512;

/// How one transfer is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes in each DATA packet but the last.
    pub block_size: u16,
    /// Blocks sent before an ACK is waited for; 1 is lock-step.
    pub window: u16,
    /// How long to wait for an ACK before the first repetition; doubled with each.
    pub patience: Duration,
    /// The OACK that opens the transfer; `None`: it opens with the first block.
    pub option_ack: Option<Vec<u8>>,
}

/// Agrees on terms for a file of `len` bytes. `largest_block` is what fits a frame on the way to the client.
///
/// ```
/// use bramble::proto::tftp::{options, wire};
/// let rrq = wire::read_request(b"kernel8.img", &[("tsize", 0), ("blksize", 8192)]);
/// let Ok(wire::Packet::Read(request)) = wire::parse(&rrq) else { unreachable!() };
/// let terms = options::agree(request.options, 5000, 1468);
/// assert_eq!(terms.block_size, 1468);
/// assert_eq!(terms.option_ack.as_deref(), Some(&b"\0\x06tsize\x005000\0blksize\x001468\0"[..]));
/// ```
pub fn agree(asked: Options<'_>, len: u64, largest_block: u16) -> Terms {
    let mut terms =
        Terms { block_size: PLAIN_BLOCK, window: 1, patience: limits::TFTP_PATIENCE, option_ack: None };
    let mut agreed: heapless::Vec<(&str, u64), 4> = heapless::Vec::new();
    for (name, value) in asked.iter() {
        let Some(value) = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok()) else {
            continue;
        };
        if agreed.iter().any(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())) {
            continue; // The same option again: the first one holds.
        }
        if let Some(answer) = terms.take(name, value, len, largest_block) {
            agreed.push(answer).expect("there are four options, each taken once");
        }
    }
    if !agreed.is_empty() {
        terms.option_ack = Some(wire::option_ack(&agreed));
    }
    terms
}

impl Terms {
    /// Takes one option over; the name and value to acknowledge, or `None` to refuse it.
    fn take(&mut self, name: &[u8], value: u64, len: u64, largest_block: u16) -> Option<(&'static str, u64)> {
        let is = |option: &str| name.eq_ignore_ascii_case(option.as_bytes());
        if is("tsize") {
            return Some(("tsize", len));
        }
        if is("blksize") && (8..=65464).contains(&value) {
            let largest = u64::from(largest_block.clamp(PLAIN_BLOCK, limits::TFTP_BLOCK));
            self.block_size = u16::try_from(value.min(largest)).ok()?;
            return Some(("blksize", u64::from(self.block_size)));
        }
        if is("windowsize") && (1..=65535).contains(&value) {
            self.window = u16::try_from(value.min(u64::from(limits::TFTP_WINDOW))).ok()?;
            return Some(("windowsize", u64::from(self.window)));
        }
        if is("timeout") && (1..=limits::TFTP_PATIENCE_ASKED.as_secs()).contains(&value) {
            self.patience = Duration::from_secs(value);
            return Some(("timeout", value));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tftp::wire::Packet;

    /// The largest block of a plain Ethernet.
    const ETHERNET: u16 = 1468;

    /// RFC 2347 to 2349 and 7440, one row per sentence that says what a server does with a value.
    #[test]
    fn options_agreed_and_refused() {
        type Row<'a> = (&'a str, &'a [u8], (u16, u16, u64), Option<&'a [u8]>);
        #[rustfmt::skip]
        let rows: [Row<'_>; 15] = [
            ("none asked, none answered", b"", (512, 1, 500), None),
            ("unknown options are left out", b"multicast\0\0utimeout\x005\0", (512, 1, 500), None),
            ("size of the file", b"tsize\x000\0", (512, 1, 500), Some(b"\0\x06tsize\x00700\0")),
            ("Pi 4 of 2019", b"tsize\x000\0blksize\x001024\0", (1024, 1, 500), Some(b"\0\x06tsize\x00700\0blksize\x001024\0")),
            ("more than a frame holds", b"blksize\x0065464\0", (1468, 1, 500), Some(b"\0\x06blksize\x001468\0")),
            ("less than 512 is allowed", b"blksize\x008\0", (8, 1, 500), Some(b"\0\x06blksize\x008\0")),
            ("block size below RFC 2348's least", b"blksize\x007\0", (512, 1, 500), None),
            ("block size above RFC 2348's most", b"blksize\x0065465\0", (512, 1, 500), None),
            ("not a number", b"blksize\0big\0", (512, 1, 500), None),
            ("a number with a sign", b"blksize\0-1\0", (512, 1, 500), None),
            ("U-Boot", b"timeout\x005\0blksize\x001468\0", (1468, 1, 5000), Some(b"\0\x06timeout\x005\0blksize\x001468\0")),
            ("longer than we keep state for", b"timeout\x00255\0", (512, 1, 500), None),
            ("window", b"windowsize\x004\0", (512, 4, 500), Some(b"\0\x06windowsize\x004\0")),
            ("window above ours", b"windowsize\x0065535\0", (512, 16, 500), Some(b"\0\x06windowsize\x0016\0")),
            ("no window at all", b"windowsize\x000\0", (512, 1, 500), None),
        ];
        for (shows, asked, (block, window, patience_ms), oack) in rows {
            let packet = [b"\0\x01f\0octet\0", asked].concat();
            let Ok(Packet::Read(request)) = wire::parse(&packet) else { panic!("{shows}: a read request") };
            let terms = agree(request.options, 700, ETHERNET);
            let got = (terms.block_size, terms.window, terms.patience, terms.option_ack.as_deref());
            assert_eq!(got, (block, window, Duration::from_millis(patience_ms), oack), "{shows}");
        }
    }

    #[test]
    fn an_option_sent_twice_is_answered_once_and_small_links_get_small_blocks() {
        let packet = b"\0\x01f\0octet\0blksize\x001468\0BLKSIZE\x001000\0";
        let Ok(Packet::Read(request)) = wire::parse(packet) else { panic!("a read request") };
        let terms = agree(request.options, 700, 1460);
        assert_eq!(terms.option_ack.as_deref(), Some(&b"\0\x06blksize\x001460\0"[..]), "PPPoE");
        assert_eq!(terms.block_size, 1460, "what was answered is what is used");
    }
}

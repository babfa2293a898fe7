//! DHCP messages as a Pi writes and reads them: the boot ROM's, the kernel's `ip=dhcp`.
//!
//! Written from the captures and the kernel's `net/ipv4/ipconfig.c`, not with the server's own codec, so that a
//! mistake there is not made here too.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::types::MacAddr;

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the options start: after the fixed fields and the cookie.
const OPTIONS: usize = 240;

/// A message of a client.
#[derive(Clone, Debug)]
pub struct Ask {
    pub mac: MacAddr,
    pub xid: u32,
    /// Seconds since the client began, as it says.
    pub secs: u16,
    /// In the order they are sent; option 53 first.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Ask {
    /// Padded to 300 bytes, the smallest message that BOOTP relays pass (RFC 1542 §2.1).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.resize(28, 0);
        bytes.extend(self.mac.octets());
        bytes.resize(OPTIONS - COOKIE.len(), 0);
        bytes.extend(COOKIE);
        for (code, value) in &self.options {
            bytes.push(*code);
            bytes.push(u8::try_from(value.len()).expect("our options are short"));
            bytes.extend(value);
        }
        bytes.push(255);
        let length = bytes.len().max(300);
        bytes.resize(length, 0);
        bytes
    }
}

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub xid: u32,
    pub hops: u8,
    pub chaddr: MacAddr,
    /// `yiaddr`: the client's address.
    pub address: Ipv4Addr,
    /// `siaddr`: where the boot files are.
    pub next_server: Ipv4Addr,
    pub options: BTreeMap<u8, Vec<u8>>,
}

impl Answer {
    /// `None` for what is no answer to an Ethernet client. Options are read from the options field only: no boot
    /// ROM looks into `file` and `sname` for more.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let four = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
        if bytes.get(..3)? != [2, 1, 6] || bytes.get(OPTIONS - 4..OPTIONS)? != COOKIE {
            return None;
        }
        let mut options = BTreeMap::new();
        let mut rest = bytes.get(OPTIONS..)?;
        loop {
            match rest {
                [255, ..] => break,
                [0, after @ ..] => rest = after,
                [code, length, after @ ..] => {
                    let (value, after) = after.split_at_checked(usize::from(*length))?;
                    options.entry(*code).or_insert_with(Vec::new).extend(value);
                    rest = after;
                }
                _ => return None,
            }
        }
        Some(Self {
            xid: u32::from_be_bytes(four(4)?),
            hops: *bytes.get(3)?,
            chaddr: MacAddr::new(bytes.get(28..34)?.try_into().ok()?),
            address: Ipv4Addr::from_octets(four(16)?),
            next_server: Ipv4Addr::from_octets(four(20)?),
            options,
        })
    }

    /// Option 53.
    pub fn kind(&self) -> Option<u8> {
        self.options.get(&53)?.first().copied()
    }

    /// An option that holds one address, such as 54, the server's.
    pub fn ip(&self, code: u8) -> Option<Ipv4Addr> {
        self.options.get(&code)?.get(..4)?.try_into().ok().map(Ipv4Addr::from_octets)
    }

    /// Length of the network's prefix, from option 1; 24 where the server does not say.
    pub fn prefix(&self) -> u8 {
        self.ip(1).map_or(24, |mask| u8::try_from(u32::from(mask).leading_ones()).unwrap_or(24))
    }
}

/// What the kernel's `ip=dhcp` sends: no client-id, a short list of wishes.
pub fn kernel(mac: MacAddr, xid: u32, secs: u16, chosen: Option<&Answer>) -> Ask {
    let mut options = vec![(53, vec![if chosen.is_some() { REQUEST } else { DISCOVER }])];
    if let Some(offer) = chosen {
        options.push((54, offer.options.get(&54).cloned().unwrap_or_default()));
        options.push((50, offer.address.octets().to_vec()));
    }
    options.push((55, vec![1, 3, 6, 12, 15, 17, 26, 40, 42]));
    Ask { mac, xid, secs, options }
}

/// What a running system's DHCP client sends: it names itself.
pub fn system(mac: MacAddr, xid: u32, secs: u16, chosen: Option<&Answer>) -> Ask {
    let mut ask = kernel(mac, xid, secs, chosen);
    ask.options.push((12, b"raspberrypi".to_vec()));
    ask.options.push((61, [&[1], mac.octets().as_slice()].concat()));
    ask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_relays_want() {
        let mac = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
        let bytes = kernel(mac, 0x0102_0304, 7, None).encode();
        assert_eq!(bytes.len(), 300);
        assert_eq!(&bytes[..12], &[1, 1, 6, 0, 1, 2, 3, 4, 0, 7, 0, 0], "unicast flag");
        assert_eq!(&bytes[28..34], &mac.octets());
        assert_eq!(&bytes[236..244], &[99, 130, 83, 99, 53, 1, 1, 55]);
    }

    #[test]
    fn an_answer_with_a_broken_option_is_none() {
        let mut bytes = kernel(MacAddr::BROADCAST, 1, 0, None).encode();
        assert_eq!(Answer::parse(&bytes), None, "a request is no answer");
        bytes[0] = 2;
        let answer = Answer::parse(&bytes).expect("an answer");
        assert_eq!((answer.kind(), answer.prefix()), (Some(DISCOVER), 24));
        bytes[241] = 200;
        assert_eq!(Answer::parse(&bytes), None, "option 53 would end behind the message");
    }
}

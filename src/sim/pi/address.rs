//! Gets an address the way each stage of a boot does, with raw frames: the machine has no address yet.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that the rest need not")]

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::dhcp::{ACK, Answer, Ask, NAK, OFFER, kernel, system};
use super::frame::{self, Datagram};
use super::rom::{Board, Rom};
use crate::sys::ethernet::Ethernet;
use crate::types::MacAddr;

/// What a stage was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// Where this stage looks for files.
    pub server: Ipv4Addr,
}

/// Why a stage has no address.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    #[error("no answer to {tries} DISCOVERs")]
    Silence { tries: u32 },
    #[error("answers, but none to boot from: {0}")]
    Unusable(&'static str),
    #[error("the server refused with NAK after offering {0}")]
    Refused(Ipv4Addr),
    #[error("no ACK for {0}")]
    NoAck(Ipv4Addr),
    #[error("the network card failed")]
    Io(#[from] io::Error),
}

/// DISCOVERs of the kernel before it gives up, and how long it waits for each answer (`net/ipv4/ipconfig.c`).
const KERNEL_TRIES: u32 = 6;
const KERNEL_WAIT: Duration = Duration::from_secs(3);

/// What the ROM of `board`, or `bootcode.bin` for it, is given.
pub fn by_rom(board: &Board, wire: &Ethernet, bootcode: bool) -> Result<Given, DhcpError> {
    let rom = if bootcode { Rom::Pi3BPlus } else { board.rom };
    let (tries, wait) = rom.tries();
    let mut listener = Listener::new(wire, board.mac);
    let (mut unusable, mut offered) = (None, None);
    for nth in 0..tries {
        let ask = board.discover(nth, bootcode);
        listener.ask(&ask)?;
        let asked = Instant::now();
        let until = asked + Duration::from_millis(wait);
        while let Some((sender, answer)) = listener.hear(until)? {
            // The ROM of the Pi 3B looks at the transaction number only, which it shares with all its sisters.
            let for_me = answer.xid == ask.xid && (rom == Rom::Pi3B || answer.chaddr == board.mac);
            if !for_me || answer.kind() != Some(OFFER) || asked.elapsed().as_millis() < u128::from(rom.deaf())
            {
                continue;
            }
            if let Err(reason) = board.accepts(&answer, bootcode) {
                unusable = Some(reason);
                continue;
            }
            if rom.confirms() {
                let bound = confirm(&mut listener, &board.request(&answer), answer.address, until)?;
                if let Some(ack) = bound {
                    return Ok(given(&ack, ack.next_server));
                }
                offered = Some(answer.address);
                break;
            }
            return Ok(given(&answer, sender));
        }
    }
    Err(match (offered, unusable) {
        (Some(ip), _) => DhcpError::NoAck(ip),
        (None, Some(reason)) => DhcpError::Unusable(reason),
        (None, None) => DhcpError::Silence { tries },
    })
}

/// What the kernel's `ip=dhcp` is given.
pub fn by_kernel(mac: MacAddr, wire: &Ethernet) -> Result<Given, DhcpError> {
    four_way(mac, wire, kernel)
}

/// What a system is given that runs from a card.
pub fn by_system(mac: MacAddr, wire: &Ethernet) -> Result<Given, DhcpError> {
    four_way(mac, wire, system)
}

fn four_way(
    mac: MacAddr,
    wire: &Ethernet,
    says: fn(MacAddr, u32, u16, Option<&Answer>) -> Ask,
) -> Result<Given, DhcpError> {
    let mut listener = Listener::new(wire, mac);
    let [_, _, a, b, c, d] = mac.octets();
    let xid = u32::from_be_bytes([d, c, b, a]);
    let mut offered = None;
    for nth in 0..KERNEL_TRIES {
        let secs = u16::try_from(u64::from(nth) * KERNEL_WAIT.as_secs()).unwrap_or(u16::MAX);
        listener.ask(&says(mac, xid, secs, None))?;
        let until = Instant::now() + KERNEL_WAIT;
        while let Some((_, answer)) = listener.hear(until)? {
            if answer.xid != xid || answer.chaddr != mac || answer.kind() != Some(OFFER) {
                continue;
            }
            let request = says(mac, xid, secs, Some(&answer));
            if let Some(ack) = confirm(&mut listener, &request, answer.address, until)? {
                return Ok(given(&ack, ack.next_server));
            }
            offered = Some(answer.address);
            break;
        }
    }
    Err(offered.map_or(DhcpError::Silence { tries: KERNEL_TRIES }, DhcpError::NoAck))
}

/// Sends a REQUEST, again each second, until the ACK comes; `None` if none comes in time.
fn confirm(
    listener: &mut Listener<'_>,
    request: &Ask,
    wanted: Ipv4Addr,
    until: Instant,
) -> Result<Option<Answer>, DhcpError> {
    while Instant::now() < until {
        listener.ask(request)?;
        let again = until.min(Instant::now() + Duration::from_secs(1));
        while let Some((_, answer)) = listener.hear(again)? {
            if answer.xid != request.xid || answer.chaddr != request.mac {
                continue;
            }
            match answer.kind() {
                Some(ACK) if answer.address == wanted => return Ok(Some(answer)),
                Some(NAK) => return Err(DhcpError::Refused(wanted)),
                _ => {}
            }
        }
    }
    Ok(None)
}

fn given(answer: &Answer, server: Ipv4Addr) -> Given {
    Given { address: answer.address, prefix: answer.prefix(), server }
}

/// The network card: sends questions, hears the DHCP answers that are addressed to it or to all.
struct Listener<'a> {
    wire: &'a Ethernet,
    mac: MacAddr,
    buffer: Vec<u8>,
}

impl<'a> Listener<'a> {
    fn new(wire: &'a Ethernet, mac: MacAddr) -> Self {
        Self { wire, mac, buffer: vec![0; 2048] }
    }

    fn ask(&self, ask: &Ask) -> io::Result<()> {
        self.wire.send(&frame::broadcast(self.mac, 68, 67, &ask.encode()))
    }

    /// The next answer before `until`, and who sent it.
    fn hear(&mut self, until: Instant) -> io::Result<Option<(Ipv4Addr, Answer)>> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let Some(length) = self.wire.receive(&mut self.buffer, left)? else { continue };
            let Some(Datagram { to_mac, from, to, payload }) =
                self.buffer.get(..length).and_then(frame::parse)
            else {
                continue;
            };
            let mine = to_mac == self.mac || to_mac == MacAddr::BROADCAST;
            if mine
                && from.1 == 67
                && to.1 == 68
                && let Some(answer) = Answer::parse(payload)
            {
                return Ok(Some((from.0, answer)));
            }
        }
    }
}

//! The one task that drives all transfers: who asked, what is due, what can be sent.
//!
//! Nothing is registered or allocated per packet: packets are received and sent in batches, time-outs are looked for ten
//! times a second, and a transfer keeps its buffers. Decisions are [`crate::proto::tftp`]'s and
//! [`crate::service::boot_tree`]'s.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::active::{Active, Prepared};
use super::disk::{Disk, Done};
use super::{CARRIERS, Sockets};
use crate::config::Config;
use crate::proto::tftp::options;
use crate::proto::tftp::transfer::{Input, Outcome};
use crate::proto::tftp::wire::{self, ErrorCode, Mode, Packet};
use crate::service::boot_tree::{Ask, BootTree, Content, Missing, shown_name};
use crate::service::events::{Events, FileOutcome, Happening};
use crate::sys::datagrams::{self, BATCH, Datagram, Inbox};
use crate::types::{MacAddr, Moment, chain, limits};

/// How often time-outs are looked for. They are half a second and more, and only after a loss.
const TICK: Duration = Duration::from_millis(100);

/// Headers of IP, UDP and TFTP in front of a block, in bytes.
const HEADERS: u16 = 20 + 8 + 4;

/// All transfers and the sockets they go over.
pub struct Engine {
    tree: Arc<BootTree>,
    events: Arc<Events>,
    config: watch::Receiver<Arc<Config>>,
    sockets: Sockets,
    disk: Disk,
    tick: Interval,
    slots: Vec<Option<Active>>,
    free: Vec<usize>,
    by_peer: HashMap<SocketAddrV4, usize>,
    /// Requests whose file is being looked up.
    opening: HashMap<SocketAddrV4, Request>,
    /// Requests for which there is no room yet, oldest first.
    waiting: VecDeque<Request>,
    carriers: Vec<Carrier>,
    /// What the current batch consists of: transfers, and how many packets of each.
    batch: Vec<(usize, usize)>,
    next_carrier: usize,
    next_serial: u64,
}

/// Room for packets that arrive.
#[derive(Default)]
pub struct Room {
    requests: Inbox,
    answers: Inbox,
}

/// The line in front of one of the sockets that files are sent from.
#[derive(Default)]
struct Carrier {
    /// Transfers that have something to send.
    line: VecDeque<usize>,
    /// The socket's buffer is full.
    full: bool,
}

struct Request {
    peer: SocketAddrV4,
    door: usize,
    client: MacAddr,
    packet: Vec<u8>,
    arrived: Instant,
}

impl Engine {
    pub fn new(
        tree: Arc<BootTree>,
        events: Arc<Events>,
        config: watch::Receiver<Arc<Config>>,
        sockets: Sockets,
    ) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let carriers = sockets.0.iter().flat_map(|door| &door.carriers).map(|_| Carrier::default()).collect();
        Self {
            tree,
            events,
            config,
            sockets,
            disk: Disk::default(),
            tick,
            slots: Vec::new(),
            free: Vec::new(),
            by_peer: HashMap::new(),
            opening: HashMap::new(),
            waiting: VecDeque::new(),
            carriers,
            batch: Vec::new(),
            next_carrier: 0,
            next_serial: 0,
        }
    }

    /// Does all that can be done now. Ends only with an error of a socket that asking again would not mend. `room` is for
    /// packets that arrive.
    pub fn poll(&mut self, context: &mut Context<'_>, room: &mut Room) -> Poll<io::Error> {
        let sockets = self.sockets.clone();
        loop {
            let now = Instant::now();
            let mut busy = false;
            while let Poll::Ready(done) = self.disk.poll(context) {
                self.done(done, now);
                busy = true;
            }
            match self.poll_sockets(context, &sockets, room, now) {
                Ok(active) => busy |= active,
                Err(error) => return Poll::Ready(error),
            }
            if !(self.by_peer.is_empty() && self.waiting.is_empty())
                && self.tick.poll_tick(context).is_ready()
            {
                self.look_for_timeouts(now);
                busy = true;
            }
            if !busy {
                return Poll::Pending;
            }
        }
    }

    /// A client that wants no more of a file, and the next from the same port, says so to two sockets of ours. The
    /// requests are taken first and looked at last: then all that their senders said before is known.
    fn poll_sockets(
        &mut self,
        context: &mut Context<'_>,
        sockets: &Sockets,
        room: &mut Room,
        now: Instant,
    ) -> io::Result<bool> {
        let mut busy = false;
        for (door, socket) in sockets.0.iter().map(|door| &door.requests).enumerate() {
            let asked = poll_receive(context, socket, &mut room.requests, BATCH)?;
            let carriers = sockets.0.iter().flat_map(|door| &door.carriers).enumerate();
            for (carrier, socket) in carriers.filter(|(carrier, _)| asked || carrier / CARRIERS == door) {
                while self.poll_carrier(context, (carrier, socket), &mut room.answers, now)? {
                    busy = true;
                    if !asked {
                        break;
                    }
                }
            }
            if asked {
                busy = true;
                for (peer, packet) in room.requests.packets() {
                    self.request(door, peer, packet, now);
                }
            }
        }
        Ok(busy)
    }

    /// Takes one batch of answers and sends what they, or others in the line, lead to; whether there was anything to do.
    fn poll_carrier(
        &mut self,
        context: &mut Context<'_>,
        (carrier, socket): (usize, &UdpSocket),
        inbox: &mut Inbox,
        now: Instant,
    ) -> io::Result<bool> {
        // No more can be on their way than there are transfers, and preparing for many costs time.
        let arrived = poll_receive(context, socket, inbox, self.by_peer.len() + 1)?;
        if arrived {
            for (peer, packet) in inbox.packets() {
                self.answer(carrier, peer, packet, now);
            }
        }
        let Some(Carrier { line, full }) = self.carriers.get_mut(carrier) else { return Ok(arrived) };
        if *full {
            *full = socket.poll_send_ready(context)?.is_pending();
        }
        let can_send = !*full && !line.is_empty();
        if can_send {
            self.flush(socket, carrier, now);
        }
        Ok(arrived || can_send)
    }

    /// A packet that came to port 69.
    fn request(&mut self, door: usize, peer: SocketAddrV4, packet: &[u8], now: Instant) {
        let request = match wire::parse(packet) {
            Ok(Packet::Read(request)) => request,
            Ok(Packet::Write(_)) => {
                return self.refuse(door, peer, ErrorCode::ACCESS, "this server gives files and takes none");
            }
            Ok(_) => return,
            Err(error) => {
                return tracing::debug!(ip = %peer.ip(), error = chain(&error), "not a TFTP request");
            }
        };
        if request.mode == Mode::Other {
            return self.refuse(door, peer, ErrorCode::ILLEGAL, "only mode octet is spoken here");
        }
        let Some(seat) = self.tree.seat(*peer.ip()) else {
            if self.tree.may_have_seat_soon(*peer.ip()) {
                return tracing::debug!(ip = %peer.ip(), "who is at this address is being found out");
            }
            let file = shown_name(request.name);
            tracing::debug!(ip = %peer.ip(), file, "no file for an address that was given to nobody");
            return self.refuse(door, peer, ErrorCode::NOT_FOUND, "this address was given to no client");
        };
        self.tree.noticed(&seat, request.name, Moment::from(SystemTime::now()));
        if self.opening.contains_key(&peer) {
            return; // The same request again; the answer is on its way.
        }
        if let Some(slot) = self.by_peer.get(&peer).copied() {
            let Some(Some(old)) = self.slots.get_mut(slot) else { return };
            if old.is_begun_by(packet, now) {
                return; // The first packet is repeated in its time.
            }
            let outcome = old.step(now, Input::ClientError).unwrap_or(Outcome::Refused);
            self.end(slot, outcome, now);
        }
        let request = Request { peer, door, client: seat.mac, packet: packet.to_vec(), arrived: now };
        self.make_room(*peer.ip(), now);
        if self.by_peer.len() + self.opening.len() < limits::TFTP_TRANSFERS {
            self.open(request);
        } else if let Some(same) = self.waiting.iter_mut().find(|waiting| waiting.peer == peer) {
            *same = request;
        } else if self.waiting.len() < limits::TFTP_WAITING {
            // An ERROR would make the firmware go on without this file; one that waits a moment is a boot that succeeds.
            self.waiting.push_back(request);
        } else {
            self.refuse(door, peer, ErrorCode::UNDEFINED, "too many transfers at once; try again");
        }
    }

    /// A packet that came to one of the sockets that files are sent from.
    fn answer(&mut self, carrier: usize, peer: SocketAddrV4, packet: &[u8], now: Instant) {
        let input = match wire::parse(packet) {
            Ok(Packet::Ack(number)) => Input::Ack(number),
            Ok(Packet::Error { .. }) => Input::ClientError,
            _ => return,
        };
        let Some(slot) = self.by_peer.get(&peer).copied() else { return };
        let Some(Some(active)) = self.slots.get_mut(slot) else { return };
        if active.carrier != carrier {
            return; // A late packet of an earlier transfer from the same port.
        }
        match active.step(now, input) {
            Some(outcome) => self.end(slot, outcome, now),
            None => self.queue(slot),
        }
    }

    /// Puts a transfer into its carrier's line if it has something to send.
    fn queue(&mut self, slot: usize) {
        let Some(Some(active)) = self.slots.get_mut(slot) else { return };
        if active.wants_to_send() && !active.queued {
            active.queued = true;
            if let Some(carrier) = self.carriers.get_mut(active.carrier) {
                carrier.line.push_back(slot);
            }
        }
    }

    /// Sends what the transfers in the line of `carrier` have to send, as far as the socket takes it.
    fn flush(&mut self, socket: &UdpSocket, carrier: usize, now: Instant) {
        loop {
            let packets = self.gather(carrier);
            if packets == 0 {
                return;
            }
            let taken = match self.send_batch(socket) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    // The first packet cannot be sent (a firewall, a route that is gone). As if it were lost.
                    tracing::debug!(error = chain(&error), "packet not sent");
                    1
                }
            };
            self.account(carrier, taken, now);
            if taken < packets {
                if let Some(carrier) = self.carriers.get_mut(carrier) {
                    carrier.full = taken == 0;
                }
                if taken == 0 {
                    return;
                }
            }
        }
    }

    /// Takes transfers out of the line of `carrier` into the batch; how many packets that is.
    fn gather(&mut self, carrier: usize) -> usize {
        self.batch.clear();
        let mut packets = 0;
        let Some(Carrier { line, .. }) = self.carriers.get_mut(carrier) else { return 0 };
        while packets < BATCH {
            let Some(slot) = line.pop_front() else { break };
            let Some(Some(active)) = self.slots.get_mut(slot) else { continue };
            if active.carrier != carrier || !active.queued {
                continue; // The slot has changed hands.
            }
            match active.prepare(slot) {
                Prepared::Packets(count) => {
                    let count = count.min(BATCH - packets);
                    self.batch.push((slot, count));
                    packets += count;
                }
                Prepared::Disk(job) => {
                    active.queued = false;
                    self.disk.start(job);
                }
                Prepared::Nothing => active.queued = false,
            }
        }
        packets
    }

    fn send_batch(&self, socket: &UdpSocket) -> io::Result<usize> {
        let packets = || {
            self.batch.iter().flat_map(|(slot, count)| {
                let active = self.slots.get(*slot).and_then(Option::as_ref);
                active
                    .into_iter()
                    .flat_map(|active| (0..*count).map(|index| (active.peer, active.packet(index))))
            })
        };
        let heads: heapless::Vec<[u8; wire::DATA_HEADER], BATCH> =
            packets().map(|(_, (number, _))| wire::data_header(number.unwrap_or_default())).collect();
        let datagrams: heapless::Vec<Datagram<'_>, BATCH> = packets()
            .zip(&heads)
            .map(|((to, (number, body)), head)| {
                let head = if number.is_some() { head.as_slice() } else { &[] };
                Datagram { to, head, body }
            })
            .collect();
        socket.try_io(Interest::WRITABLE, || datagrams::send(socket, &datagrams))
    }

    /// Tells the transfers of the batch that the first `taken` packets are on their way; those that have more stay in
    /// the line, first.
    fn account(&mut self, carrier: usize, taken: usize, now: Instant) {
        let mut left = taken;
        let Some(Carrier { line, .. }) = self.carriers.get_mut(carrier) else { return };
        let mut unsent = 0;
        for (slot, count) in &self.batch {
            let Some(Some(active)) = self.slots.get_mut(*slot) else { continue };
            let sent = left.min(*count);
            left -= sent;
            if sent > 0 {
                active.sent(sent, now);
            }
            if active.wants_to_send() {
                line.push_back(*slot);
                unsent += 1;
            } else {
                active.queued = false;
            }
        }
        line.rotate_right(unsent);
    }

    /// Looks the file of `request` up, off the runtime.
    fn open(&mut self, request: Request) {
        let Some(server) = self.sockets.0.get(request.door).map(|door| door.address) else { return };
        let (tree, config) = (Arc::clone(&self.tree), Arc::clone(&self.config.borrow()));
        let (peer, packet) = (request.peer, request.packet.clone());
        self.opening.insert(peer, request);
        self.disk.start(Box::new(move || {
            let largest_block = route_mtu(server, peer).unwrap_or(1500).saturating_sub(HEADERS);
            let name = match wire::parse(&packet) {
                Ok(Packet::Read(request)) => request.name,
                _ => &[],
            };
            let ask = Ask { name, server, nfs_port: config.nfs.port };
            let content = match tree.seat(*peer.ip()) {
                Some(seat) => tree.answer(&seat, ask),
                None => Err(Missing::NoImage { client: peer.ip().to_string() }),
            };
            Done::Opened { peer, content, largest_block }
        }));
    }

    fn done(&mut self, done: Done, now: Instant) {
        match done {
            Done::Opened { peer, content, largest_block } => {
                let Some(request) = self.opening.remove(&peer) else { return };
                match content {
                    Ok(content) => self.begin(request, content, largest_block, now),
                    Err(missing) => {
                        self.missing(&request, &missing);
                        self.admit(now);
                    }
                }
            }
            Done::Read { slot, serial, buffer, result } => {
                let Some(Some(active)) = self.slots.get_mut(slot) else { return };
                if active.serial != serial {
                    return;
                }
                if let Err(error) = result {
                    let (client, file) = (active.client, active.name.clone());
                    tracing::warn!(%client, file, error = chain(&error), "file cannot be read on");
                    let door = active.carrier / CARRIERS;
                    let peer = active.peer;
                    self.end(slot, Outcome::Refused, now);
                    return self.refuse(door, peer, ErrorCode::UNDEFINED, "the file cannot be read on");
                }
                active.piece_read(buffer);
                self.queue(slot);
            }
        }
    }

    fn begin(&mut self, request: Request, content: Content, largest_block: u16, now: Instant) {
        let Request { peer, door, client, packet, .. } = request;
        let Ok(Packet::Read(asked)) = wire::parse(&packet) else { return };
        let len = match &content {
            Content::Text(text) => text.len() as u64,
            Content::File { len, .. } => *len,
        };
        let terms = options::agree(asked.options, len, largest_block);
        let name = shown_name(asked.name);
        tracing::trace!(%client, ip = %peer.ip(), file = name, bytes = len, "file asked for");
        let carrier = door * CARRIERS + self.next_carrier % CARRIERS;
        self.next_carrier = self.next_carrier.wrapping_add(1);
        self.next_serial += 1;
        let active =
            Active::new(self.next_serial, (client, peer), carrier, (name, packet), content, terms, now);
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(active);
        }
        self.by_peer.insert(peer, slot);
        self.queue(slot);
    }

    /// Tells the client that there is nothing for it, and the timeline why.
    fn missing(&mut self, request: &Request, missing: &Missing) {
        let reason = chain(missing);
        let (client, ip) = (request.client, request.peer.ip());
        let happening = match missing {
            Missing::NoFile { name, .. } | Missing::Name { name, .. } => {
                tracing::debug!(%client, %ip, file = name, reason, "no such file");
                Happening::File {
                    name: name.clone(),
                    bytes: 0,
                    took: request.arrived.elapsed(),
                    outcome: FileOutcome::Missing,
                }
            }
            Missing::NoImage { .. } | Missing::NoSuchImage { .. } => {
                tracing::debug!(%client, %ip, reason, "nothing to boot");
                Happening::NothingToBoot { reason: reason.clone() }
            }
            Missing::Disk { name, .. } => {
                tracing::debug!(%client, %ip, file = name, reason, "file cannot be opened");
                Happening::Unreadable { reason: reason.clone() }
            }
        };
        self.events.record(client, Moment::from(SystemTime::now()), happening);
        self.refuse(request.door, request.peer, ErrorCode::NOT_FOUND, &reason);
    }

    /// Ends a transfer and lets the next request in.
    fn end(&mut self, slot: usize, outcome: Outcome, now: Instant) {
        let Some(active) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        if let Entry::Occupied(entry) = self.by_peer.entry(active.peer)
            && *entry.get() == slot
        {
            entry.remove();
        }
        let (client, file, bytes, took) =
            (active.client, active.name.as_str(), active.bytes_acked(), active.took(now));
        let ms = took.as_millis();
        let outcome = match outcome {
            Outcome::Complete => {
                tracing::debug!(%client, file, bytes, ms, "file sent");
                self.tree.sent(client, file, Moment::from(SystemTime::now()));
                FileOutcome::Complete
            }
            Outcome::Probe => {
                tracing::debug!(%client, file, ms, "client only asked whether the file is there");
                FileOutcome::Probe
            }
            Outcome::Refused => {
                tracing::debug!(%client, file, bytes, ms, "transfer ended before the end of the file");
                FileOutcome::Refused
            }
            Outcome::Silent => {
                tracing::info!(%client, file, bytes, ms, "client stopped answering");
                FileOutcome::Silent
            }
        };
        let happening = Happening::File { name: active.name.clone(), bytes, took, outcome };
        self.events.record(client, Moment::from(SystemTime::now()), happening);
        self.admit(now);
    }

    /// Opens requests that wait, while there is room.
    fn admit(&mut self, now: Instant) {
        while self.by_peer.len() + self.opening.len() < limits::TFTP_TRANSFERS {
            let Some(request) = self.waiting.pop_front() else { return };
            if now.duration_since(request.arrived) < limits::TFTP_WAIT {
                self.open(request);
            }
        }
    }

    /// Ends the oldest transfer of the client at `ip` if it has as many as one may have.
    fn make_room(&mut self, ip: Ipv4Addr, now: Instant) {
        let of_client = |active: &&Active| *active.peer.ip() == ip;
        let opening = self.opening.keys().filter(|peer| *peer.ip() == ip).count();
        let all = || self.slots.iter().flatten().filter(of_client);
        if opening + all().count() >= limits::TFTP_TRANSFERS_EACH
            && let Some(oldest) = all().min_by_key(|active| active.serial).map(|active| active.peer)
            && let Some(slot) = self.by_peer.get(&oldest).copied()
        {
            self.end(slot, Outcome::Silent, now);
        }
    }

    fn look_for_timeouts(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let Some(Some(active)) = self.slots.get_mut(slot) else { continue };
            if active.is_due(now) {
                match active.step(now, Input::Tick) {
                    Some(outcome) => self.end(slot, outcome, now),
                    None => self.queue(slot),
                }
            }
        }
        self.waiting.retain(|request| now.duration_since(request.arrived) < limits::TFTP_WAIT);
    }

    /// Sends an ERROR. Not repeated: a client that misses it asks again.
    fn refuse(&mut self, door: usize, peer: SocketAddrV4, code: ErrorCode, message: &str) {
        let Some(socket) = socket_of(&self.sockets, door * CARRIERS) else { return };
        if let Err(error) = socket.try_send_to(&wire::error(code, message), peer.into()) {
            tracing::debug!(ip = %peer.ip(), error = chain(&error), "refusal not sent");
        }
    }
}

fn socket_of(sockets: &Sockets, carrier: usize) -> Option<&UdpSocket> {
    sockets.0.get(carrier / CARRIERS)?.carriers.get(carrier % CARRIERS)
}

/// Fills `inbox` with what is there, at most `at_most` packets; `false` and a registration if nothing is.
fn poll_receive(
    context: &mut Context<'_>,
    socket: &UdpSocket,
    inbox: &mut Inbox,
    at_most: usize,
) -> io::Result<bool> {
    loop {
        if socket.poll_recv_ready(context)?.is_pending() {
            return Ok(false);
        }
        let at_most = at_most.min(BATCH);
        let mut received = 0;
        let result = socket.try_io(Interest::READABLE, || {
            received = inbox.receive(socket, at_most)?;
            // Fewer than there was room for: nothing is left, so there is no need to ask the kernel once more.
            if received < at_most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match result {
            _ if received > 0 => return Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
}

/// Largest packet that goes to `peer` in one piece, in bytes, as the kernel knows the way there.
fn route_mtu(from: Ipv4Addr, peer: SocketAddrV4) -> Option<u16> {
    let socket = std::net::UdpSocket::bind((from, 0)).ok()?;
    socket.connect(peer).ok()?;
    let mtu = getsockopt(&socket, sockopt::IpMtu).ok()?;
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

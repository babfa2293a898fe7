//! Replies to calls that must not be carried out twice.
//!
//! A client that lost its connection sends again, under the same number, what it has had no answer to; REMOVE would then
//! find nothing to remove, and a WRITE could overwrite what was written after it. So the reply to each call that changes
//! something is kept for a while: by the client's address, the call's number and a checksum of its beginning (numbers begin
//! anew when a client starts). The port is left out, since Linux may or may not come back from the same one. A call that
//! comes again while the first is still being carried out waits for that one's reply.
//!
//! Nothing is kept over a restart of the daemon, as with every server that has no log of replies: what was carried out
//! just before may be carried out again just after.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use siphasher::sip::SipHasher13;
use tokio::sync::watch;

use crate::types::limits;

/// How much of a call the checksum covers, in bytes: header, credential, handle and names, and the beginning of data.
const SUMMED: usize = 512;

/// A reply as it was sent, record mark included.
pub type Made = Arc<[u8]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ip: Ipv4Addr,
    xid: u32,
    sum: u64,
}

/// The replies kept.
#[derive(Debug, Default)]
pub struct Replies {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_call: HashMap<Key, watch::Receiver<Option<Made>>>,
    /// In the order they came.
    order: VecDeque<Key>,
    of_address: HashMap<Ipv4Addr, usize>,
}

/// What a call turned out to be.
#[derive(Debug)]
pub enum Call {
    /// To be carried out, by whoever holds this.
    First(Turn),
    /// Carried out before, or being carried out: [`again`] has the reply.
    Again(watch::Receiver<Option<Made>>),
}

/// The duty to carry out a call. Dropped without a reply, it falls to whoever asks again.
#[derive(Debug)]
pub struct Turn {
    replies: Arc<Replies>,
    key: Key,
    reply: watch::Sender<Option<Made>>,
}

/// The reply to a call that was begun by another; `None` if that one never was carried out.
pub async fn again(mut first: watch::Receiver<Option<Made>>) -> Option<Made> {
    first.wait_for(Option::is_some).await.ok()?.clone()
}

impl Replies {
    pub fn begin(self: &Arc<Self>, ip: Ipv4Addr, xid: u32, record: &[u8]) -> Call {
        let mut hasher = SipHasher13::new();
        hasher.write(record.get(..SUMMED).unwrap_or(record));
        hasher.write_usize(record.len());
        let key = Key { ip, xid, sum: hasher.finish() };
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = inner.by_call.get(&key) {
            return Call::Again(first.clone());
        }
        let (reply, first) = watch::channel(None);
        inner.add(key, first);
        Call::First(Turn { replies: Arc::clone(self), key, reply })
    }

    fn forget(&self, key: Key) {
        let inner = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remove(key);
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.inner.lock().expect("no panic in a test's thread").by_call.len()
    }
}

impl Inner {
    /// Keeps one more, for which the oldest makes room: of the same address if that has its share, else of all.
    fn add(&mut self, key: Key, first: watch::Receiver<Option<Made>>) {
        let own = self.of_address.get(&key.ip).copied().unwrap_or(0);
        let oldest = if own >= limits::NFS_REPLIES_EACH {
            self.order.iter().find(|old| old.ip == key.ip).copied()
        } else if self.by_call.len() >= limits::NFS_REPLIES {
            self.order.front().copied()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.remove(oldest);
        }
        self.by_call.insert(key, first);
        self.order.push_back(key);
        *self.of_address.entry(key.ip).or_default() += 1;
    }

    fn remove(&mut self, key: Key) {
        if self.by_call.remove(&key).is_none() {
            return;
        }
        if let Some(at) = self.order.iter().position(|old| *old == key) {
            self.order.remove(at);
        }
        if let Some(count) = self.of_address.get_mut(&key.ip) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&key.ip);
            }
        }
    }
}

impl Turn {
    /// Keeps the reply, and gives it to whoever waits for it.
    pub fn done(self, reply: &[u8]) {
        self.reply.send_replace(Some(reply.into()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.reply.borrow().is_none() {
            self.replies.forget(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);

    fn first(replies: &Arc<Replies>, ip: Ipv4Addr, xid: u32, record: &[u8]) -> Turn {
        match replies.begin(ip, xid, record) {
            Call::First(turn) => turn,
            Call::Again(_) => panic!("carried out before"),
        }
    }

    #[tokio::test]
    async fn a_call_that_comes_again_gets_the_first_ones_reply() {
        let replies = Arc::new(Replies::default());
        let turn = first(&replies, PI, 7, b"remove x");
        let Call::Again(waiting) = replies.begin(PI, 7, b"remove x") else { panic!("begun already") };
        turn.done(b"done");
        assert_eq!(again(waiting).await.as_deref(), Some(&b"done"[..]));
        let Call::Again(later) = replies.begin(PI, 7, b"remove x") else { panic!("done already") };
        assert_eq!(again(later).await.as_deref(), Some(&b"done"[..]));
        // Another call, another number, another client: none of them is this one.
        drop(first(&replies, PI, 7, b"remove y"));
        drop(first(&replies, PI, 8, b"remove x"));
        drop(first(&replies, Ipv4Addr::LOCALHOST, 7, b"remove x"));
        // One that was given up before it was carried out is for the next to carry out.
        let Call::First(turn) = replies.begin(PI, 9, b"mkdir") else { panic!("new") };
        let Call::Again(waiting) = replies.begin(PI, 9, b"mkdir") else { panic!("begun already") };
        drop(turn);
        assert_eq!(again(waiting).await, None);
        first(&replies, PI, 9, b"mkdir").done(b"made");
        assert_eq!(replies.count(), 2);
    }

    #[test]
    fn no_client_takes_the_room_of_all() {
        let replies = Arc::new(Replies::default());
        first(&replies, PI, 0, b"the other's").done(b"kept");
        for xid in 0..100_000 {
            first(&replies, Ipv4Addr::LOCALHOST, xid, b"call").done(b"reply");
        }
        assert_eq!(replies.count(), limits::NFS_REPLIES_EACH + 1);
        assert!(matches!(replies.begin(PI, 0, b"the other's"), Call::Again(_)));
        for n in 0..1000_u32 {
            for xid in 0..10 {
                first(&replies, Ipv4Addr::from(n + 50), xid, b"call").done(b"reply");
            }
        }
        assert_eq!(replies.count(), limits::NFS_REPLIES);
        let inner = replies.inner.lock().expect("no panic");
        assert_eq!(inner.order.len(), limits::NFS_REPLIES);
        assert_eq!(inner.of_address.values().sum::<usize>(), limits::NFS_REPLIES);
    }
}

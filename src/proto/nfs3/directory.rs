//! The list of entries of READDIR and READDIRPLUS, never longer than the client has room for.
//!
//! The client names two bounds (RFC 1813 §3.3.17): `count` for the whole results, and with READDIRPLUS `names` for the part
//! that READDIR would carry. An entry that does not fit is not written; the client asks again from the last cookie.

use super::super::xdr::{Writer, padding};
use super::reply::post_op;
use super::types::{Attributes, Handle};
use crate::types::limits;

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub id: u64,
    pub name: &'a [u8],
    /// Where the list goes on behind this entry.
    pub cookie: u64,
    /// With READDIRPLUS: what the client need not ask for.
    pub plus: Option<(Attributes, &'a Handle)>,
}

/// The results under construction.
#[derive(Debug)]
pub struct Listing<'a> {
    out: &'a mut Vec<u8>,
    plus: bool,
    /// Bytes left of `count`, the two closing booleans already taken off.
    room: usize,
    /// Bytes left of `names`.
    names: usize,
    entries: usize,
}

/// Boolean before an entry, id, length of the name, cookie.
const ENTRY: usize = 4 + 8 + 4 + 8;

impl<'a> Listing<'a> {
    /// Starts the results. `count` is what the client has room for; `names` is its second bound with READDIRPLUS and
    /// `None` with READDIR. `None` if not even an empty list would fit.
    pub fn begin(
        out: &'a mut Vec<u8>,
        directory: Attributes,
        verifier: [u8; 8],
        count: u32,
        names: Option<u32>,
    ) -> Option<Self> {
        let count = usize::try_from(count.min(limits::NFS_DIRECTORY)).ok()?;
        let frame = 4 + 4 + Attributes::WIRE + 8 + 4 + 4;
        let room = count.checked_sub(frame)?;
        let mut w = Writer(out);
        w.u32(0);
        post_op(&mut w, Some(directory));
        w.fixed(&verifier);
        let plus = names.is_some();
        let names = names.map_or(usize::MAX, |names| usize::try_from(names).unwrap_or(usize::MAX));
        Some(Self { out, plus, room, names, entries: 0 })
    }

    /// Appends an entry; `false` if it does not fit, and then nothing was written.
    pub fn push(&mut self, entry: Entry<'_>) -> bool {
        let name = ENTRY + entry.name.len() + padding(entry.name.len());
        let more = match (self.plus, entry.plus) {
            (false, _) => 0,
            (true, None) => 8,
            (true, Some((_, handle))) => 8 + Attributes::WIRE + 4 + handle.len() + padding(handle.len()),
        };
        // A client that gives room for no name at all still wants to get on: the first entry ignores `names`.
        if name + more > self.room || (name > self.names && self.entries > 0) {
            return false;
        }
        self.room -= name + more;
        self.names = self.names.saturating_sub(name);
        self.entries += 1;
        let mut w = Writer(self.out);
        w.bool(true);
        w.u64(entry.id);
        w.opaque(entry.name);
        w.u64(entry.cookie);
        if self.plus {
            post_op(&mut w, entry.plus.map(|(attributes, _)| attributes));
            w.option(entry.plus, |w, (_, handle)| w.opaque(handle));
        }
        true
    }

    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Ends the results; `end`: the folder has nothing more.
    pub fn finish(self, end: bool) {
        let mut w = Writer(self.out);
        w.bool(false);
        w.bool(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reply::client;
    use super::super::types::{FileType, Time};
    use super::*;
    use crate::proto::xdr::Reader;

    const FOLDER: Attributes = Attributes {
        kind: FileType::Directory,
        mode: 0o755,
        links: 2,
        uid: 0,
        gid: 0,
        size: 4096,
        used: 4096,
        device: (0, 0),
        filesystem: 1,
        id: 2,
        accessed: Time { secs: 0, nanos: 0 },
        modified: Time { secs: 0, nanos: 0 },
        changed: Time { secs: 0, nanos: 0 },
    };

    proptest! {
        /// Results never exceed the client's room, and asking on from the last cookie gives every entry once.
        #[test]
        fn every_entry_arrives_once_and_in_bounds(
            names in proptest::collection::vec(proptest::collection::vec(1u8..255, 1..60), 0..60),
            count in 340u32..3000, dircount in 0u32..2000, plus: bool,
        ) {
            let handle = Handle::from_slice(&[7; 44]).unwrap();
            let (mut got, mut at, mut rounds) = (Vec::new(), 0, 0);
            loop {
                rounds += 1;
                prop_assert!(rounds < 100, "no progress");
                let mut out = Vec::new();
                let mut list =
                    Listing::begin(&mut out, FOLDER, [9; 8], count, plus.then_some(dircount)).unwrap();
                let mut end = true;
                for (i, name) in names.iter().enumerate().skip(at) {
                    let cookie = u64::try_from(i + 1).unwrap();
                    let entry = Entry { id: cookie, name, cookie, plus: plus.then_some((FOLDER, &handle)) };
                    if !list.push(entry) { end = false; break; }
                }
                list.finish(end);
                prop_assert!(out.len() <= usize::try_from(count).unwrap());
                let read = client::readdir(&mut Reader::new(&out), plus).unwrap().unwrap();
                prop_assert_eq!(read.verifier, [9; 8]);
                for entry in &read.entries {
                    got.push(entry.name.to_vec());
                    at = usize::try_from(entry.cookie).unwrap();
                    prop_assert_eq!(entry.handle.is_some(), plus);
                }
                if read.end { break; }
            }
            prop_assert_eq!(got, names);
        }
    }

    #[test]
    fn too_little_room_for_anything() {
        assert!(Listing::begin(&mut Vec::new(), FOLDER, [0; 8], 107, None).is_none());
        let mut out = Vec::new();
        let mut list =
            Listing::begin(&mut out, FOLDER, [0; 8], 108 + 27, None).expect("room for an empty list");
        assert!(!list.push(Entry { id: 1, name: b"a", cookie: 1, plus: None }), "28 bytes are needed");
        assert!(list.is_empty());
    }
}

//! Attributes: a length, a number and bytes, padded to four; some are made of attributes themselves.
//!
//! The head is one big-endian word: a bit that marks blobmsg entries, seven bits of number, 24 bits of length with the
//! head itself. Padding is not counted, except between the attributes inside another one.

use std::borrow::Cow;

/// Bytes of a head.
const HEAD: usize = 4;
const EXTENDED: u32 = 0x8000_0000;
const LENGTH: u32 = 0x00ff_ffff;

/// The bytes are not attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an attribute of {length} bytes where {rest} are left")]
pub struct Malformed {
    length: usize,
    rest: usize,
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Whether it is a blobmsg entry: a name and a value; `id` is then the value's type.
    pub extended: bool,
    pub id: u8,
    pub data: &'a [u8],
}

impl<'a> Attr<'a> {
    /// A number of four bytes.
    pub fn u32(&self) -> Option<u32> {
        self.data.try_into().ok().map(u32::from_be_bytes)
    }

    /// A flag; ubus writes one byte.
    pub fn flag(&self) -> bool {
        self.data.first().is_some_and(|byte| *byte != 0)
    }

    /// Text without its final NUL.
    pub fn text(&self) -> Option<&'a str> {
        str::from_utf8(self.data.strip_suffix(&[0])?).ok()
    }
}

/// The attributes in some bytes; ends after the first that is not one.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let Some((head, _)) = rest.split_first_chunk::<HEAD>() else {
            return Some(Err(Malformed { length: HEAD, rest: rest.len() }));
        };
        let head = u32::from_be_bytes(*head);
        let length = usize::try_from(head & LENGTH).unwrap_or(usize::MAX);
        let Some(data) = rest.get(HEAD..length) else {
            return Some(Err(Malformed { length, rest: rest.len() }));
        };
        self.rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let id = head.to_be_bytes()[0] & 0x7f;
        Some(Ok(Attr { extended: head & EXTENDED != 0, id, data }))
    }
}

/// Appends attributes to a buffer.
///
/// A length that does not fit its 24 bits is not an error here: such a message is larger than any that may be sent, and
/// [`super::message`] looks at the size of the whole. A name that does not fit its 16 bits is cut.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn u32(&mut self, id: u8, value: u32) {
        self.attr(u32::from(id) << 24, |out| out.extend_from_slice(&value.to_be_bytes()));
    }

    pub fn flag(&mut self, id: u8, value: bool) {
        self.attr(u32::from(id) << 24, |out| out.push(value.into()));
    }

    pub fn text(&mut self, id: u8, text: &str) {
        self.attr(u32::from(id) << 24, |out| put_text(out, text));
    }

    /// An attribute made of attributes.
    pub fn nested(&mut self, id: u8, fill: impl FnOnce(&mut Writer<'_>)) {
        self.attr(u32::from(id) << 24, |out| fill(&mut Writer(out)));
    }

    /// A blobmsg entry of type `id`: `name`, then what `fill` appends.
    pub fn entry(&mut self, id: u8, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let name = without_nul(name);
        let name = name.get(..name.floor_char_boundary(u16::MAX.into())).unwrap_or_default();
        self.attr(EXTENDED | u32::from(id) << 24, |out| {
            let at = out.len();
            out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
            put_text(out, name);
            pad(out, at);
            fill(out);
        });
    }

    fn attr(&mut self, head: u32, fill: impl FnOnce(&mut Vec<u8>)) {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; HEAD]);
        fill(self.0);
        let length = u32::try_from(self.0.len().saturating_sub(at)).unwrap_or(LENGTH) & LENGTH;
        if let Some(place) = self.0.get_mut(at..).and_then(|written| written.first_chunk_mut()) {
            *place = (head | length).to_be_bytes();
        }
        pad(self.0, at);
    }
}

/// Text and a NUL.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(without_nul(text).as_bytes());
    out.push(0);
}

/// A NUL inside would end the text for whoever reads it, so it is replaced.
pub fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Zeros until what was written since `at` is a multiple of four.
fn pad(out: &mut Vec<u8>, at: usize) {
    let length = out.len().saturating_sub(at);
    out.resize(at + length.next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        writer.u32(3, 0x1234_5678);
        writer.text(4, "echo");
        writer.nested(7, |inner| inner.flag(9, true));
        #[rustfmt::skip]
        assert_eq!(out, [
            3, 0, 0, 8, 0x12, 0x34, 0x56, 0x78,
            4, 0, 0, 9, b'e', b'c', b'h', b'o', 0, 0, 0, 0,
            7, 0, 0, 12, 9, 0, 0, 5, 1, 0, 0, 0,
        ]);
        let read: Vec<Attr<'_>> = Attrs::new(&out).map(|attr| attr.expect("written above")).collect();
        assert_eq!(read.iter().map(|attr| attr.id).collect::<Vec<_>>(), [3, 4, 7]);
        assert_eq!((read[0].u32(), read[1].text()), (Some(0x1234_5678), Some("echo")));
        let inner = Attrs::new(read[2].data).next().expect("one").expect("whole");
        assert!(inner.flag() && inner.id == 9 && !inner.extended);
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let rows: [(&[u8], Malformed); 4] = [
            (&[1, 0, 0], Malformed { length: 4, rest: 3 }),
            (&[1, 0, 0, 3], Malformed { length: 3, rest: 4 }),
            (&[1, 0, 0, 9, 0, 0, 0, 0], Malformed { length: 9, rest: 8 }),
            (&[1, 0xff, 0xff, 0xff], Malformed { length: 0xff_ffff, rest: 4 }),
        ];
        for (bytes, problem) in rows {
            assert_eq!(Attrs::new(bytes).collect::<Vec<_>>(), [Err(problem)], "{bytes:?}");
        }
        assert_eq!(Malformed { length: 9, rest: 8 }.to_string(), "an attribute of 9 bytes where 8 are left");
    }

    #[test]
    fn a_nul_inside_a_text_does_not_end_it() {
        let mut out = Vec::new();
        put_text(&mut out, "a\0b");
        assert_eq!(out, "a\u{fffd}b\0".as_bytes());
    }
}

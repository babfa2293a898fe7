//! The stream of messages that a server of a directory sends, cut into messages that are safe to read (X.690 §8, RFC 4511 §4.1).
//!
//! What reads them afterwards (`ldap3`) waits for a message of any length, follows elements within elements on the stack, and
//! takes for granted that a message has a number and a content. So each is looked through here first, in one pass and without
//! recursion; whether it has the parts that it must have, [`shape`] says.

use heapless::Vec as Bounded;

use super::shape;
use crate::types::limits;

/// `SEQUENCE`, which every message is.
const SEQUENCE: u8 = 0x30;
/// `INTEGER`, which every message begins with.
const INTEGER: u8 = 0x02;
/// The bit of an element that has others in it.
const CONSTRUCTED: u8 = 0x20;
/// Octets of a length that are read: more say nothing that could be allowed.
const LENGTH_OCTETS: usize = 4;

/// What came is no message, or one that is too large to be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("it sends a message of {0} bytes, more than the {max} that are read", max = limits::DIRECTORY_MESSAGE)]
    TooLong(usize),
    #[error("it sends a message of more than {max} parts", max = limits::DIRECTORY_ELEMENTS)]
    TooMany,
    #[error("it sends a message with more than {max} levels", max = limits::DIRECTORY_DEPTH)]
    TooDeep,
    #[error("it sends what is not LDAP")]
    Malformed,
}

/// Bytes that have come and are no whole message yet: at most one message's worth, and what came with its end.
#[derive(Debug, Default)]
pub struct Messages {
    waiting: Vec<u8>,
}

impl Messages {
    /// Adds what has come. To be called with little at a time, and [`Self::take`] in between.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more has come.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, BadMessage> {
        match self.waiting.first() {
            None => return Ok(None),
            Some(&SEQUENCE) => {}
            Some(_) => return Err(BadMessage::Malformed),
        }
        let Some(header) = header(&self.waiting)? else { return Ok(None) };
        let length = header.content;
        if length > limits::DIRECTORY_MESSAGE {
            return Err(BadMessage::TooLong(length));
        }
        let whole = header.length + length;
        let Some(content) = self.waiting.get(header.length..whole) else { return Ok(None) };
        check(content)?;
        let rest = self.waiting.split_off(whole);
        Ok(Some(std::mem::replace(&mut self.waiting, rest)))
    }

    /// Bytes of the message that has begun.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The beginning of an element: its own length, and that of its content.
struct Header {
    length: usize,
    content: usize,
}

/// `None` if it is not whole.
fn header(bytes: &[u8]) -> Result<Option<Header>, BadMessage> {
    let Some(&first) = bytes.get(1) else { return Ok(None) };
    if first < 0x80 {
        return Ok(Some(Header { length: 2, content: first.into() }));
    }
    let octets = usize::from(first & 0x7f);
    // None at all would be a length that is not known before the end, which LDAP does not have.
    if octets == 0 || octets > LENGTH_OCTETS {
        return Err(BadMessage::Malformed);
    }
    let Some(length) = bytes.get(2..2 + octets) else { return Ok(None) };
    let content = length.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    let content = usize::try_from(content).map_err(|_| BadMessage::TooLong(usize::MAX))?;
    Ok(Some(Header { length: 2 + octets, content }))
}

/// Looks through the content of a message.
fn check(content: &[u8]) -> Result<(), BadMessage> {
    // Where the elements end that are open.
    let mut ends: Bounded<usize, { limits::DIRECTORY_DEPTH }> = Bounded::new();
    let (mut at, mut elements, mut behind_number) = (0, 0, 0);
    while at < content.len() {
        while ends.last() == Some(&at) {
            ends.pop();
        }
        let rest = content.get(at..).ok_or(BadMessage::Malformed)?;
        let tag = *rest.first().ok_or(BadMessage::Malformed)?;
        let header = header(rest)?.ok_or(BadMessage::Malformed)?;
        let begin = at + header.length;
        let end = begin.checked_add(header.content).ok_or(BadMessage::Malformed)?;
        if end > ends.last().copied().unwrap_or(content.len()) {
            return Err(BadMessage::Malformed);
        }
        elements += 1;
        if elements > limits::DIRECTORY_ELEMENTS {
            return Err(BadMessage::TooMany);
        }
        if elements == 1 {
            // The number of the question comes first: four octets at most, and not none.
            if tag != INTEGER || !(1..=4).contains(&header.content) {
                return Err(BadMessage::Malformed);
            }
            behind_number = end;
        }
        if tag & CONSTRUCTED != 0 && header.content > 0 {
            ends.push(end).map_err(|_| BadMessage::TooDeep)?;
            at = begin;
        } else {
            at = end;
        }
    }
    if shape::is_answer(content.get(behind_number..).unwrap_or_default()) {
        Ok(())
    } else {
        Err(BadMessage::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short").to_be_bytes();
        [&[tag, 0x84][..], &length, content].concat()
    }

    fn message(said: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[&[2, 1, 7][..], said].concat())
    }

    fn only(bytes: &[u8]) -> Result<Option<Vec<u8>>, BadMessage> {
        let mut messages = Messages::default();
        messages.push(bytes);
        messages.take()
    }

    #[test]
    fn messages_come_out_whole_however_they_come_in() {
        // The answer to a bind, as OpenLDAP sends it, and one with a control.
        let bound = [0x30, 0x0c, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        let more = message(&[&[0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0][..], &[0xa0, 4, 0x30, 2, 4, 0]].concat());
        let both = [&bound[..], &more].concat();
        let mut messages = Messages::default();
        let mut came = Vec::new();
        for byte in &both {
            messages.push(&[*byte]);
            came.extend(messages.take().expect("LDAP"));
        }
        assert_eq!(came, [bound.to_vec(), more]);
        assert_eq!(messages.waiting(), 0);
    }

    #[test]
    fn what_would_hurt_the_reader_is_refused() {
        let nested = |levels| element(0x79, &(1..levels).fold(vec![4, 0], |inner, _| element(0x30, &inner)));
        let (deep, shallow) = (nested(limits::DIRECTORY_DEPTH + 1), nested(limits::DIRECTORY_DEPTH));
        let many = element(0x73, &[4, 0].repeat(limits::DIRECTORY_ELEMENTS));
        let large = element(0x73, &element(4, &vec![0; limits::DIRECTORY_MESSAGE - 15]));
        assert_eq!(only(&message(&shallow)).map(|found| found.is_some()), Ok(true));
        assert_eq!(only(&message(&large)).map(|found| found.is_some()), Ok(true), "as long as may be");
        let one_more = element(0x73, &element(4, &vec![0; limits::DIRECTORY_MESSAGE - 14]));
        let rows: [(&str, Vec<u8>, BadMessage); 9] = [
            ("many levels", message(&deep), BadMessage::TooDeep),
            ("many elements", message(&many), BadMessage::TooMany),
            (
                "a long one, before it has come",
                message(&one_more)[..6].to_vec(),
                BadMessage::TooLong(1_048_577),
            ),
            ("a length of eight octets", vec![0x30, 0x88], BadMessage::Malformed),
            ("no length", vec![0x30, 0x80, 2, 1, 1, 0, 0], BadMessage::Malformed),
            ("another protocol", b"HTTP/1.1 400".to_vec(), BadMessage::Malformed),
            ("nothing in it", vec![0x30, 0], BadMessage::Malformed),
            ("no number", message(&[])[..].to_vec(), BadMessage::Malformed),
            ("a part longer than the whole", vec![0x30, 5, 2, 1, 1, 0x61, 9], BadMessage::Malformed),
        ];
        for (shows, bytes, expected) in rows {
            assert_eq!(only(&bytes), Err(expected), "{shows}");
        }
        assert_eq!(
            BadMessage::TooLong(5).to_string(),
            "it sends a message of 5 bytes, more than the 1048576 that are read"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes, in whatever pieces: the same messages, and never more kept than one has.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(0x30_u8), Just(2), Just(1), any::<u8>()], 0..400),
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let whole = {
                let mut messages = Messages::default();
                messages.push(&bytes);
                std::iter::from_fn(|| messages.take().ok().flatten()).collect::<Vec<_>>()
            };
            let (mut messages, mut came, mut rest) = (Messages::default(), Vec::new(), &bytes[..]);
            'all: for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                messages.push(piece);
                rest = left;
                loop {
                    match messages.take() {
                        Ok(Some(message)) => came.push(message),
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
            }
            prop_assert_eq!(came, whole);
        }
    }
}

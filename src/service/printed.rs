//! What the program of a job prints: the last of it, for whoever watches.
//!
//! It comes from programs of an image and goes to people's terminals and browsers, so it is text without control characters
//! but the ends of lines, tabs and returns to the beginning of the line, whatever was printed.

use std::collections::VecDeque;

use crate::types::limits;

/// Text with a limit: what is too old is forgotten, and positions count from the very beginning.
#[derive(Debug, Default)]
pub struct Printed {
    text: VecDeque<char>,
    /// How many characters were forgotten.
    forgotten: u64,
    /// The beginning of a character whose rest has not come yet.
    partial: Vec<u8>,
    /// Where a sequence of the terminal's is that is left out.
    escape: Escape,
    /// How the program ended.
    code: Option<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// Behind the escape character.
    Begun,
    /// In a control sequence, up to its letter.
    Sequence,
    /// In a title or such, up to its end.
    Text,
}

/// A piece of what was printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of its first character.
    pub from: u64,
    pub text: String,
    /// Where to go on.
    pub next: u64,
    /// The exit code, once the program has ended.
    pub code: Option<u8>,
}

impl Printed {
    /// Takes what the program wrote.
    pub fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.partial);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    text.chars().for_each(|c| self.one(c));
                    rest = &[];
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    let text = std::str::from_utf8(good).unwrap_or_default();
                    text.chars().for_each(|c| self.one(c));
                    let Some(length) = error.error_len() else {
                        // Its end comes with the next piece.
                        self.partial = bad.to_vec();
                        break;
                    };
                    self.one(char::REPLACEMENT_CHARACTER);
                    rest = bad.get(length..).unwrap_or_default();
                }
            }
        }
    }

    fn one(&mut self, c: char) {
        self.escape = match (self.escape, c) {
            // Some begin with a character between these.
            (_, '\x1b') | (Escape::Begun, ' '..='/') => Escape::Begun,
            (Escape::None, _) => {
                if !c.is_control() || matches!(c, '\n' | '\r' | '\t') {
                    self.text.push_back(c);
                }
                Escape::None
            }
            (Escape::Begun, '[') => Escape::Sequence,
            (Escape::Begun, ']' | 'P' | '_' | '^' | 'X') => Escape::Text,
            (Escape::Begun, _) | (Escape::Sequence, '@'..='~') | (Escape::Text, '\x07' | '\n') => {
                Escape::None
            }
            (inside, _) => inside,
        };
        while self.text.len() > limits::JOB_PRINTED {
            self.text.pop_front();
            self.forgotten += 1;
        }
    }

    pub fn ended(&mut self, code: u8) {
        self.code = Some(code);
    }

    /// What was printed from position `from` on, as far as it is remembered, at most `most` characters.
    pub fn piece(&self, from: u64, most: usize) -> Piece {
        let end = self.forgotten.saturating_add(self.text.len() as u64);
        let from = from.clamp(self.forgotten, end);
        let skip = usize::try_from(from - self.forgotten).unwrap_or(usize::MAX);
        let text: String = self.text.iter().skip(skip).take(most).collect();
        let next = from + text.chars().count() as u64;
        Piece { from, text, next, code: self.code.filter(|_| next == end) }
    }

    /// The last lines, for a sentence about how it ended.
    pub fn last_lines(&self, most: usize) -> String {
        let text: String = self.text.iter().rev().take(2000).collect::<Vec<_>>().into_iter().rev().collect();
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines.get(lines.len().saturating_sub(most)..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(pieces: &[&[u8]]) -> Printed {
        let mut printed = Printed::default();
        for piece in pieces {
            printed.push(piece);
        }
        printed
    }

    #[test]
    fn what_people_see_is_text() {
        #[rustfmt::skip]
        let rows: [(&[&[u8]], &str); 6] = [
            (&[b"Setting up scratch (3) ...\r\n", b"\tdone\n"], "Setting up scratch (3) ...\r\n\tdone\n"),
            (&["na\u{ef}".as_bytes().get(..3).expect("cut"), "na\u{ef}ve".as_bytes().get(3..).expect("cut")], "na\u{ef}ve"),
            (&[b"caf\xe9 au lait"], "caf\u{fffd} au lait"),
            (&[b"\x1b[1;31mred\x1b[0m \x1b[2J\x1b[H\x1b(Bplain\x07\x08"], "red plain"),
            (&[b"\x1b]0;a title\x07text \x1b]2;another\x1b\\end"], "text end"),
            (&[b"\x1b", b"[", b"31", b"mcut"], "cut"),
        ];
        for (pieces, expected) in rows {
            assert_eq!(printed(pieces).piece(0, usize::MAX).text, expected);
        }
        assert_eq!(printed(&[b"one\ntwo\n\nthree\n"]).last_lines(2), "two\nthree");
    }

    #[test]
    fn the_end_comes_with_the_last_piece() {
        let mut printed = printed(&[b"0123456789"]);
        printed.ended(100);
        let first = printed.piece(0, 4);
        assert_eq!(first, Piece { from: 0, text: "0123".to_owned(), next: 4, code: None });
        let last = printed.piece(first.next, 40);
        assert_eq!(last, Piece { from: 4, text: "456789".to_owned(), next: 10, code: Some(100) });
        assert_eq!(printed.piece(99, 4), Piece { from: 10, text: String::new(), next: 10, code: Some(100) });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However it is cut into pieces, the text is the same, within its limit, and has nothing a terminal obeys.
        #[test]
        fn cuts_change_nothing(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..400),
                proptest::collection::vec(prop_oneof![Just(0x1b), Just(b'['), Just(b'm'), Just(b']'), Just(0xc3), Just(0xa4), any::<u8>()], 0..400),
            ],
            cuts in proptest::collection::vec(0_usize..400, 0..8),
        ) {
            let whole = printed(&[&bytes]).piece(0, usize::MAX);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&printed(&pieces).piece(0, usize::MAX), &whole);
            prop_assert!(!whole.text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')));
        }

        /// It never grows beyond its limit, and positions go on.
        #[test]
        fn what_is_old_is_forgotten(pieces in proptest::collection::vec(1_usize..30_000, 1..20)) {
            let mut printed = Printed::default();
            let mut all = 0_u64;
            for length in pieces {
                printed.push(&vec![b'x'; length]);
                all += length as u64;
            }
            let piece = printed.piece(0, usize::MAX);
            prop_assert!(piece.text.len() <= limits::JOB_PRINTED);
            prop_assert_eq!((piece.next, piece.from), (all, all - piece.text.len() as u64));
        }
    }
}

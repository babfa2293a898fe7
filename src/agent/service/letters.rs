//! A host name in letters that are read across a room, for a text console.

/// Rows of one letter, the highest bit of five on the left.
type Letter = [u8; 5];

/// Letters on one line of a console of 80 columns.
const PER_LINE: usize = 13;

#[rustfmt::skip]
const FONT: &[(char, Letter)] = &[
    ('a', [0b01110, 0b10001, 0b11111, 0b10001, 0b10001]),
    ('b', [0b11110, 0b10001, 0b11110, 0b10001, 0b11110]),
    ('c', [0b01111, 0b10000, 0b10000, 0b10000, 0b01111]),
    ('d', [0b11110, 0b10001, 0b10001, 0b10001, 0b11110]),
    ('e', [0b11111, 0b10000, 0b11110, 0b10000, 0b11111]),
    ('f', [0b11111, 0b10000, 0b11110, 0b10000, 0b10000]),
    ('g', [0b01111, 0b10000, 0b10011, 0b10001, 0b01111]),
    ('h', [0b10001, 0b10001, 0b11111, 0b10001, 0b10001]),
    ('i', [0b01110, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('j', [0b00111, 0b00010, 0b00010, 0b10010, 0b01100]),
    ('k', [0b10010, 0b10100, 0b11000, 0b10100, 0b10010]),
    ('l', [0b10000, 0b10000, 0b10000, 0b10000, 0b11111]),
    ('m', [0b10001, 0b11011, 0b10101, 0b10001, 0b10001]),
    ('n', [0b10001, 0b11001, 0b10101, 0b10011, 0b10001]),
    ('o', [0b01110, 0b10001, 0b10001, 0b10001, 0b01110]),
    ('p', [0b11110, 0b10001, 0b11110, 0b10000, 0b10000]),
    ('q', [0b01110, 0b10001, 0b10101, 0b10010, 0b01101]),
    ('r', [0b11110, 0b10001, 0b11110, 0b10010, 0b10001]),
    ('s', [0b01111, 0b10000, 0b01110, 0b00001, 0b11110]),
    ('t', [0b11111, 0b00100, 0b00100, 0b00100, 0b00100]),
    ('u', [0b10001, 0b10001, 0b10001, 0b10001, 0b01110]),
    ('v', [0b10001, 0b10001, 0b10001, 0b01010, 0b00100]),
    ('w', [0b10001, 0b10001, 0b10101, 0b11011, 0b10001]),
    ('x', [0b10001, 0b01010, 0b00100, 0b01010, 0b10001]),
    ('y', [0b10001, 0b01010, 0b00100, 0b00100, 0b00100]),
    ('z', [0b11111, 0b00010, 0b00100, 0b01000, 0b11111]),
    ('0', [0b01110, 0b10011, 0b10101, 0b11001, 0b01110]),
    ('1', [0b00100, 0b01100, 0b00100, 0b00100, 0b01110]),
    ('2', [0b11110, 0b00001, 0b01110, 0b10000, 0b11111]),
    ('3', [0b11110, 0b00001, 0b01110, 0b00001, 0b11110]),
    ('4', [0b10010, 0b10010, 0b11111, 0b00010, 0b00010]),
    ('5', [0b11111, 0b10000, 0b11110, 0b00001, 0b11110]),
    ('6', [0b01110, 0b10000, 0b11110, 0b10001, 0b01110]),
    ('7', [0b11111, 0b00001, 0b00010, 0b00100, 0b00100]),
    ('8', [0b01110, 0b10001, 0b01110, 0b10001, 0b01110]),
    ('9', [0b01110, 0b10001, 0b01111, 0b00001, 0b01110]),
    ('-', [0b00000, 0b00000, 0b11111, 0b00000, 0b00000]),
];

/// `name` in large letters; one that has no picture is a gap.
pub fn large(name: &str) -> String {
    let letters: Vec<Letter> = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| FONT.iter().find(|(of, _)| *of == c).map(|(_, letter)| *letter).unwrap_or_default())
        .collect();
    let mut text = String::new();
    for line in letters.chunks(PER_LINE) {
        for row in 0..5 {
            for letter in line {
                let bits = letter.get(row).copied().unwrap_or_default();
                for bit in (0..5).rev() {
                    text.push(if bits >> bit & 1 == 1 { '#' } else { ' ' });
                }
                text.push(' ');
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_of_a_host_name_has_a_picture() {
        for c in ('a'..='z').chain('0'..='9').chain(['-']) {
            assert!(large(&c.to_string()).contains('#'), "{c}");
        }
        let expected = "#      ###  ####\r\n#     #   # #   #\r\n#     ##### ####\r\n#     #   # #   #\r\n##### #   # ####\r\n\r\n";
        assert_eq!(large("Lab"), expected);
        assert_eq!(large("a-rather-long-name").lines().count(), 12, "two lines of letters");
    }
}

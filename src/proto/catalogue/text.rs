//! Text of a stranger that people are shown: bounded, on one line, nothing in it that a terminal or a browser obeys.

/// `text` with what cannot be printed taken out, blanks drawn together, and at most `most` characters of it.
pub fn clean(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut left = most;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let word: String = word.chars().filter(|c| !is_unseen(*c)).collect();
        if word.is_empty() {
            continue;
        }
        let blank = usize::from(!out.is_empty());
        let len = word.chars().count();
        if left <= blank {
            break;
        }
        if blank == 1 {
            out.push(' ');
        }
        left -= blank;
        if len > left {
            out.extend(word.chars().take(left.saturating_sub(1)));
            out.push('…');
            break;
        }
        left -= len;
        out.push_str(&word);
    }
    out
}

/// Characters that show nothing and change what stands around them: marks of direction, joiners, tags.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_there() {
        #[rustfmt::skip]
        let rows = [
            ("Raspberry Pi OS (64-bit)", "Raspberry Pi OS (64-bit)"),
            ("\u{1b}[2Jred\u{7} \u{9b}31m", "[2Jred 31m"),
            ("  two\n lines\t\r\n ", "two lines"),
            ("abc\u{202e}txt.exe", "abctxt.exe"),
            ("\u{200b}\u{feff}", ""),
            ("Grüße, 日本", "Grüße, 日本"),
            ("0123456789 0123456789 0123456789", "0123456789 0123456789 01234567…"),
        ];
        for (text, expected) in rows {
            assert_eq!(clean(text, 31), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_bounded_and_printable(text in "\\PC*|.*", most in 0_usize..50) {
            let out = clean(&text, most);
            proptest::prop_assert!(out.chars().count() <= most, "{out:?}");
            proptest::prop_assert!(!out.chars().any(|c| c.is_control() || is_unseen(c)), "{out:?}");
            proptest::prop_assert_eq!(clean(&out, most.max(1)), out);
        }
    }
}

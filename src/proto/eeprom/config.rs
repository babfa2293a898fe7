//! The settings of a bootloader as text: `KEY=value` lines below `[sections]`, as in `config.txt`.
//!
//! A change touches the lines of the keys it is about and no other: comments, conditions (`[gpio7=0]`) and what a person
//! wrote stay. Behind `[config.txt]` begins text that is not the bootloader's; nothing is looked for or written there.

use super::settings::Settings;

/// What stands behind this is handed on to `config.txt`.
const HANDED_ON: &str = "[config.txt]";

/// The value that `key` has on every board, whatever its conditions; the last line counts.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let own = Lines::of(text).filter(|line| line.everywhere && line.key == key);
    own.last().map(|line| line.value)
}

/// `text` with `settings` in it, and without the lines that they replace.
pub fn apply(text: &str, settings: &Settings) -> String {
    let (own, handed_on) = split(text);
    let mut changed = String::with_capacity(text.len() + 128);
    for line in Lines::of(own) {
        let replaced = line.everywhere && settings.iter().any(|(key, _)| key == line.key);
        if !replaced {
            changed.push_str(line.raw.trim_end_matches(['\r', '\n']));
            changed.push('\n');
        }
    }
    let set: Vec<(&str, &str)> = settings.iter().filter_map(|(key, value)| Some((key, value?))).collect();
    if !set.is_empty() && !ends_everywhere(&changed) {
        changed.push_str("[all]\n");
    }
    for (key, value) in set {
        changed.push_str(key);
        changed.push('=');
        changed.push_str(value);
        changed.push('\n');
    }
    changed.push_str(handed_on);
    changed
}

/// What is the bootloader's, and the rest.
fn split(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().eq_ignore_ascii_case(HANDED_ON) {
            return text.split_at(at);
        }
        at += line.len();
    }
    (text, "")
}

/// Whether a line added at the end would count on every board.
fn ends_everywhere(text: &str) -> bool {
    let last = text.lines().map(str::trim).rfind(|line| line.starts_with('['));
    last.is_none_or(|section| section.eq_ignore_ascii_case("[all]"))
}

/// One line, with what it means.
struct Line<'a> {
    raw: &'a str,
    /// Whether no condition stands above it.
    everywhere: bool,
    /// Both empty for comments, sections and empty lines.
    key: &'a str,
    value: &'a str,
}

struct Lines;

impl Lines {
    fn of(text: &str) -> impl Iterator<Item = Line<'_>> {
        let mut everywhere = true;
        split(text).0.split_inclusive('\n').map(move |raw| {
            let line = raw.trim();
            if line.starts_with('[') {
                everywhere = line.eq_ignore_ascii_case("[all]");
            }
            let pair = line.split_once('=').filter(|_| !line.starts_with(['#', '[']));
            let (key, value) = pair.map_or(("", ""), |(key, value)| (key.trim(), value.trim()));
            Line { raw, everywhere, key, value }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(text: &str) -> Settings {
        text.parse().expect("settings")
    }

    #[test]
    fn only_the_lines_of_a_setting_change() {
        let order = "BOOT_ORDER=0xf21";
        #[rustfmt::skip]
        let rows = [
            ("as it is shipped", "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n", order, "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf21\n"),
            ("no such line yet", "[all]\nBOOT_UART=0", order, "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf21\n"),
            ("nothing at all", "", order, "BOOT_ORDER=0xf21\n"),
            ("twice", "BOOT_ORDER=1\n# BOOT_ORDER=2\nBOOT_ORDER=3\r\n", order, "# BOOT_ORDER=2\nBOOT_ORDER=0xf21\n"),
            ("a condition stays, and counts less", "[all]\nBOOT_ORDER=0xf41\n[gpio7=0]\nBOOT_ORDER=0xf2\n", order, "[all]\n[gpio7=0]\nBOOT_ORDER=0xf2\n[all]\nBOOT_ORDER=0xf21\n"),
            ("a part that is handed on stays behind", "[all]\nA=1\n[config.txt]\nBOOT_ORDER=9\n", order, "[all]\nA=1\nBOOT_ORDER=0xf21\n[config.txt]\nBOOT_ORDER=9\n"),
            ("back to the default", "[all]\nBOOT_UART=1\nBOOT_ORDER=0xf41\n", "BOOT_ORDER=default", "[all]\nBOOT_UART=1\n"),
        ];
        for (shows, text, change, expected) in rows {
            assert_eq!(apply(text, &settings(change)), expected, "{shows}");
        }
    }

    #[test]
    fn the_last_line_without_a_condition_counts() {
        let text = "[all]\nBOOT_ORDER=0xf41\nBOOT_ORDER = 0xf21 \n[pi4]\nBOOT_ORDER=0xf2\n[config.txt]\nBOOT_ORDER=1\n";
        assert_eq!(value(text, "BOOT_ORDER"), Some("0xf21"));
        assert_eq!(value(text, "BOOT"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever was there: a setting has its value afterwards, other keys keep theirs, and twice is once.
        #[test]
        fn a_setting_is_what_was_asked(text in "(\\[all\\]\n|\\[pi4\\]\n|\\[config.txt\\]\n|[A-C]=[0-9]\n|BOOT_ORDER=0x[1-4]{1,3}\n|# [a-z]{0,9}\n|\n){0,12}") {
            let change = settings("BOOT_ORDER=0xf21,NET_INSTALL_ENABLED=0");
            let changed = apply(&text, &change);
            prop_assert_eq!(value(&changed, "BOOT_ORDER"), Some("0xf21"));
            prop_assert_eq!(value(&changed, "NET_INSTALL_ENABLED"), Some("0"));
            for key in ["A", "B", "C"] {
                prop_assert_eq!(value(&changed, key), value(&text, key));
            }
            prop_assert_eq!(apply(&changed, &change), changed);
        }
    }
}

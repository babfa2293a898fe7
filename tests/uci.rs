//! Our reader against what the real `uci` (libuci) made of the same files.
//!
//! `tests/vectors/uci/NAME.conf` is a file; `NAME.show` is what `uci -c DIR show t` printed for it when it was called
//! `t`, or `NAME.refused` holds the message with which it was refused. `generated.txt` holds random files in the same
//! two halves, each in a block that `=== ` opens and `--- ` divides.

use std::fs;
use std::path::{Path, PathBuf};

use bramble::config::uci::{Document, quote};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/uci")
}

#[test]
fn every_hard_file_is_read_as_uci_reads_it() {
    let (mut read, mut refused) = (0, 0);
    for entry in fs::read_dir(vectors()).expect("the vectors can be listed") {
        let conf = entry.expect("an entry can be read").path();
        if conf.extension().is_none_or(|ending| ending != "conf") {
            continue;
        }
        let name = conf.display();
        let document = Document::read(&fs::read(&conf).expect("a vector can be read"));
        if let Ok(show) = fs::read_to_string(conf.with_extension("show")) {
            assert_eq!(document.faults, [], "{name}");
            assert_eq!(document.show("t"), show, "{name}");
            read += 1;
        } else {
            assert!(conf.with_extension("refused").exists(), "{name} has neither .show nor .refused");
            assert!(
                !document.faults.is_empty(),
                "{name} is refused by uci, and was read as\n{}",
                document.show("t")
            );
            refused += 1;
        }
    }
    assert!(read >= 25 && refused >= 20, "vectors are missing: {read} read, {refused} refused");
}

#[test]
fn random_files_are_read_as_uci_reads_them() {
    let text = fs::read_to_string(vectors().join("generated.txt")).expect("the vectors can be read");
    let mut compared = 0;
    for block in text.split("\u{1}=== ").skip(1) {
        let (number, rest) = block.split_once('\n').expect("a block has a number");
        let (conf, result) = rest.split_once("\u{1}--- ").expect("a block has two halves");
        let (verdict, show) = result.split_once('\n').expect("the verdict has a line");
        let document = Document::read(conf.as_bytes());
        match verdict {
            "shown" => {
                assert_eq!(document.faults, [], "block {number}:\n{conf}");
                assert_eq!(document.show("t"), show, "block {number}:\n{conf}");
            }
            _ => assert!(!document.faults.is_empty(), "block {number} is refused by uci:\n{conf}"),
        }
        compared += 1;
    }
    assert!(compared >= 200, "only {compared} blocks");
}

#[test]
fn faults_point_at_the_place_and_say_what_to_do() {
    #[rustfmt::skip]
    let rows = [
        ("not_a_command", (2, 1), "not a UCI command; a line begins with `config`, `option`, `list` or `#`"),
        ("too_many", (2, 13), "one word too many; put a value with blanks in quotes, such as `option name 'two words'`"),
        ("unterminated_single", (2, 11), "this quote is never closed; close it at the end of the value"),
        ("bad_name", (1, 12), "a name has only letters, digits and `_`"),
        ("bad_option_name", (2, 9), "a name has only letters, digits and `_`"),
        ("before_section", (1, 1), "stands before the first section; write a `config` line above it"),
        ("no_newline_command", (2, 1), "`option` needs a name and a value; write `option name 'value'`"),
    ];
    for (name, place, message) in rows {
        let text = fs::read(vectors().join(name).with_extension("conf")).expect("a vector can be read");
        let faults = Document::read(&text).faults;
        let found = faults.first().map(|fault| ((fault.line, fault.column), fault.message));
        assert_eq!(found, Some((place, message)), "{name}");
    }
}

#[test]
fn after_a_fault_the_next_line_is_read() {
    let document = Document::read(b"config foo a\n\tset x 1\n\toption y 2\n\tbad\n\toption z 'open");
    assert_eq!(document.show("t"), "t.a=foo\nt.a.y='2'\n");
    let lines: Vec<usize> = document.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 4, 5]);
}

#[test]
fn places_count_characters_and_joined_lines() {
    let document =
        Document::read("config foo a\n\toption x 'ü' ; option y 'two\nlines'\n\tlist l é\n".as_bytes());
    let at = |name: &str| document.section("a").and_then(|s| s.value(name)).map(|v| (v.line, v.column));
    assert_eq!(at("x"), Some((2, 11)));
    assert_eq!(at("y"), Some((2, 26)));
    assert_eq!(at("l"), Some((4, 9)));
}

#[test]
fn a_nul_byte_is_a_fault_with_its_place() {
    let faults = Document::read(b"config foo a\n\toption x 'a\0b'\n").faults;
    let found = faults.first().map(|fault| (fault.line, fault.column, fault.message));
    assert_eq!(found, Some((2, 13, "a NUL byte; configuration is text, remove it")));
}

#[test]
fn sections_are_found_as_uci_finds_them() {
    let document = Document::read(b"config foo\nconfig foo b\nconfig bar\nconfig foo\n\toption x 1\n");
    let index = |path: &str| document.sections.iter().position(|s| Some(s) == document.section(path));
    assert_eq!(index("@foo[0]"), Some(0));
    assert_eq!(index("b"), Some(1));
    assert_eq!(index("@foo[1]"), Some(1), "named sections count too");
    assert_eq!(index("@foo[2]"), Some(3));
    assert_eq!(index("@bar[0]"), Some(2));
    assert_eq!(index("@foo[3]"), None);
}

proptest::proptest! {
    /// Whatever stands in a value, written by `quote` it comes back.
    #[test]
    fn quoted_values_come_back(value in "[^\u{0}]{1,40}") {
        let text = format!("config foo 'a'\n\toption x {}\n\toption y '1'\n", quote(&value));
        let document = Document::read(text.as_bytes());
        let section = document.section("a").expect("the section is there");
        proptest::prop_assert_eq!(&document.faults, &[]);
        proptest::prop_assert_eq!(&section.value("x").expect("x is set").value, &value);
        proptest::prop_assert_eq!(&section.value("y").expect("y is set").value, "1");
    }

    /// Any bytes at all are read without a panic, each fault lies inside the file, and statements do not overlap.
    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let document = Document::read(&text);
        let lines = text.split(|&b| b == b'\n').count();
        for fault in &document.faults {
            proptest::prop_assert!(fault.line >= 1 && fault.line <= lines && fault.column >= 1);
        }
        let mut end = 0;
        for statement in &document.statements {
            proptest::prop_assert!(statement.bytes.start >= end && statement.bytes.end <= text.len());
            end = statement.bytes.end;
        }
    }
}

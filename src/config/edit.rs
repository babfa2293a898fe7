//! Changes that the command line and the API make to `/etc/config/bramble`.
//!
//! On a router they go through the `uci` program, which takes libuci's lock. Elsewhere the file is replaced in one step
//! by a copy in which every byte that the change does not mean stays as it is: comments, quotes, order. Either way the
//! outcome is checked as a whole first, and a change that would leave a problem changes nothing.

mod files;
mod names;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Config;
use super::load::{Source, Sources, from_sources};
use super::problem::Problems;
use super::uci::{Command, Document, Statement, Value, is_name, quote};
pub use files::{put, uci_for};
pub use names::rename_image;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds a section behind all others.
    Add { kind: String, name: Option<String>, options: Vec<(String, NewValue)> },
    /// Gives an option or list of a section (`main`, `@client[0]`) a value.
    Set { section: String, option: String, value: NewValue },
    /// Takes an option or list away, if it is there.
    Unset { section: String, option: String },
    /// Takes a section away.
    Remove { section: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewValue {
    /// Written with `option`.
    One(String),
    /// Written with `list`, once each.
    Many(Vec<String>),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("the change would leave the configuration with problems, so nothing was changed:\n{0}")]
    Problems(Problems),
    #[error("there is no section `{0}`; `uci show` lists them")]
    NoSection(String),
    #[error("`{0}` cannot be the name of a section or option; use letters, digits and `_`")]
    BadName(String),
    #[error("`{0}` cannot be a value: it is empty or has a control character in it; write one line of text")]
    BadValue(String),
    #[error(
        "line {0} has more than one command and cannot be changed without changing the others; put each command on a \
         line of its own"
    )]
    SharedLine(usize),
    #[error("`{path}` cannot be {doing}, so nothing was changed; {}", remedy(source))]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("`uci` refused the change ({0}); look at `uci changes` and `uci show`")]
    Uci(String),
}

/// What to do about a file that cannot be changed.
fn remedy(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the router's flash is full: `df -h /overlay` shows it; remove a package or files, then try again"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: a router that started in failsafe mode, or flash with errors (`dmesg` tells)"
        }
        _ => "check its owner, its mode and the space on its disk",
    }
}

/// Two changes at once would each lose the other's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to change UCI files, held from when one is read to see what there is to change: a section without a name is known
/// by its place among the others, which another change may move.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not used")] MutexGuard<'static, ()>);

/// Waits until nobody else changes a UCI file.
pub fn turn() -> Turn {
    Turn(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Makes all of `edits`, or none, and gives the configuration that results.
pub fn apply(turn: &Turn, path: &Path, edits: &[Edit]) -> Result<Config, EditError> {
    apply_with(turn, path, edits, uci_for(path).as_deref())
}

/// [`apply`], with the `uci` program to use.
fn apply_with(_: &Turn, path: &Path, edits: &[Edit], uci: Option<&Path>) -> Result<Config, EditError> {
    let mut sources = Sources::read(path).map_err(EditError::Problems)?;
    let before = sources.bramble.text.take().unwrap_or_default();
    let after = edited(&before, edits)?;
    sources.bramble = Source { text: Some(after.clone()), ..sources.bramble };
    let config = from_sources(&sources).map_err(EditError::Problems)?;
    files::write(path, &before, &after, edits, uci)?;
    Ok(config)
}

/// Makes all of `edits`, or none, in another UCI file of the router, whose options are not ours to check. `uci` is the
/// program to use; [`uci_for`] finds it.
pub fn apply_elsewhere(path: &Path, edits: &[Edit], uci: Option<&Path>) -> Result<(), EditError> {
    let _turn = turn();
    let before = fs_err::read(path).map_err(|source| EditError::File {
        path: path.to_owned(),
        doing: "read",
        source,
    })?;
    let after = edited(&before, edits)?;
    files::write(path, &before, &after, edits, uci)
}

/// The text with `edits` made in it.
pub fn edited(text: &[u8], edits: &[Edit]) -> Result<Vec<u8>, EditError> {
    edits.iter().try_fold(text.to_vec(), |text, edit| one(&text, edit))
}

fn one(text: &[u8], edit: &Edit) -> Result<Vec<u8>, EditError> {
    check(edit)?;
    let document = Document::read(text);
    let after = match edit {
        Edit::Add { kind, name, options } => add(text, kind, name.as_deref(), options),
        Edit::Set { section, option, value } => set(text, &document, section, option, value)?,
        Edit::Unset { section, option } => {
            let at = index(&document, section)?;
            without(text, &of_option(&document, at, option))
        }
        Edit::Remove { section } => {
            let at = index(&document, section)?;
            let all: Vec<&Statement> = document.statements.iter().filter(|s| s.section == Some(at)).collect();
            without(text, &all)
        }
    };
    // Whatever stands in the file, the outcome is exactly what was asked for, or nothing happens.
    let found = Document::read(&after);
    if found.faults.len() <= document.faults.len() && model(&found) == expected(&document, edit)? {
        return Ok(after);
    }
    let section = match edit {
        Edit::Add { .. } => None,
        Edit::Set { section, .. } | Edit::Unset { section, .. } | Edit::Remove { section } => {
            document.section(section)
        }
    };
    Err(EditError::SharedLine(section.map_or(1, |section| section.kind.line)))
}

fn check(edit: &Edit) -> Result<(), EditError> {
    let value = |value: &NewValue| match value {
        NewValue::One(text) => line(text),
        NewValue::Many(all) if all.is_empty() => Err(EditError::BadValue(String::new())),
        NewValue::Many(all) => all.iter().try_for_each(|text| line(text)),
    };
    match edit {
        Edit::Add { kind, name: section, options } => {
            name(kind)?;
            section.as_deref().map_or(Ok(()), name)?;
            options.iter().try_for_each(|(option, new)| name(option).and_then(|()| value(new)))
        }
        Edit::Set { option, value: new, .. } => name(option).and_then(|()| value(new)),
        Edit::Unset { option, .. } => name(option),
        Edit::Remove { .. } => Ok(()),
    }
}

fn name(text: &str) -> Result<(), EditError> {
    if is_name(text) { Ok(()) } else { Err(EditError::BadName(text.to_owned())) }
}

fn line(text: &str) -> Result<(), EditError> {
    let good = !text.is_empty() && !text.contains(char::is_control);
    if good { Ok(()) } else { Err(EditError::BadValue(text.to_owned())) }
}

fn index(document: &Document, path: &str) -> Result<usize, EditError> {
    let found = document.section(path);
    let at =
        found.and_then(|found| document.sections.iter().position(|section| std::ptr::eq(section, found)));
    at.ok_or_else(|| EditError::NoSection(path.to_owned()))
}

/// The commands of section `at` that say something about `option`.
fn of_option<'d>(document: &'d Document, at: usize, option: &str) -> Vec<&'d Statement> {
    let about = |statement: &&Statement| {
        let names =
            matches!(&statement.command, Command::Option(name) | Command::List(name) if name == option);
        names && statement.section == Some(at)
    };
    document.statements.iter().filter(about).collect()
}

/// `option name 'value'`, or a `list` line each.
fn lines(option: &str, value: &NewValue) -> Vec<String> {
    match value {
        NewValue::One(text) => vec![format!("option {option} {}", quote(text))],
        NewValue::Many(all) => all.iter().map(|text| format!("list {option} {}", quote(text))).collect(),
    }
}

fn add(text: &[u8], kind: &str, name: Option<&str>, options: &[(String, NewValue)]) -> Vec<u8> {
    let mut after = text.to_vec();
    if !after.is_empty() && !after.ends_with(b"\n") {
        after.push(b'\n');
    }
    if !after.is_empty() {
        after.push(b'\n');
    }
    let head =
        name.map_or_else(|| format!("config {kind}\n"), |name| format!("config {kind} {}\n", quote(name)));
    after.extend(head.bytes());
    for line in options.iter().flat_map(|(option, value)| lines(option, value)) {
        after.extend(format!("\t{line}\n").bytes());
    }
    after
}

fn set(
    text: &[u8],
    document: &Document,
    section: &str,
    option: &str,
    value: &NewValue,
) -> Result<Vec<u8>, EditError> {
    let at = index(document, section)?;
    let old = of_option(document, at, option);
    let new = lines(option, value);
    if let [first, rest @ ..] = old.as_slice() {
        // The others first: they stand behind, so the place of the first stays.
        let mut after = without(text, rest);
        let joined = new.join(&format!("\n{}", indent(text, first.bytes.start)));
        after.splice(first.bytes.clone(), joined.bytes());
        return Ok(after);
    }
    let last = document.statements.iter().rfind(|statement| statement.section == Some(at));
    let last = last.ok_or_else(|| EditError::NoSection(section.to_owned()))?;
    let indent = match last.command {
        Command::Option(_) | Command::List(_) => indent(text, last.bytes.start),
        Command::Config | Command::Package => "\t".to_owned(),
    };
    let end = end_of_line(text, last.bytes.end);
    let mut insert: String = new.iter().flat_map(|line| [indent.as_str(), line, "\n"]).collect();
    if text.get(..end).is_some_and(|before| !before.ends_with(b"\n")) {
        insert.insert(0, '\n');
    }
    let mut after = text.to_vec();
    after.splice(end..end, insert.bytes());
    Ok(after)
}

/// The blanks in front of what begins at `at`; a tab if something else stands there.
fn indent(text: &[u8], at: usize) -> String {
    let line = text.get(begin_of_line(text, at)..at).unwrap_or_default();
    let blank = line.iter().all(|b| matches!(b, b' ' | b'\t'));
    if blank { String::from_utf8_lossy(line).into_owned() } else { "\t".to_owned() }
}

fn begin_of_line(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1)
}

/// Just behind the newline that ends the line of `at`.
fn end_of_line(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|&b| b == b'\n').map_or(text.len(), |newline| at + newline + 1)
}

/// The text without these commands; a line that held nothing else goes with its command.
fn without(text: &[u8], statements: &[&Statement]) -> Vec<u8> {
    let mut after = text.to_vec();
    for statement in statements.iter().rev() {
        let Range { start, end } = statement.bytes;
        let (begin, behind) = (begin_of_line(text, start), end_of_line(text, end));
        let blank = |range: Range<usize>| {
            text.get(range).is_some_and(|bytes| bytes.iter().all(u8::is_ascii_whitespace))
        };
        let alone = blank(begin..start) && blank(end..behind);
        after.drain(if alone { begin..behind } else { start..end });
    }
    after
}

/// What a document says, whatever the order of the options in a section.
type Model = Vec<(String, Option<String>, Vec<(String, NewValue)>)>;

fn model(document: &Document) -> Model {
    let section = |section: &super::uci::Section| {
        let mut options: Vec<(String, NewValue)> = section
            .options
            .iter()
            .map(|entry| {
                let value = match &entry.value {
                    Value::One(value) => NewValue::One(value.value.clone()),
                    Value::Many(values) => NewValue::Many(values.iter().map(|v| v.value.clone()).collect()),
                };
                (entry.name.value.clone(), value)
            })
            .collect();
        options.sort_by(|a, b| a.0.cmp(&b.0));
        let name = section.name.as_ref().map(|name| name.value.clone());
        (section.kind.value.clone(), name, options)
    };
    document.sections.iter().map(section).collect()
}

fn expected(document: &Document, edit: &Edit) -> Result<Model, EditError> {
    let mut model = model(document);
    match edit {
        Edit::Add { kind, name, options } => {
            let known = name.as_ref().is_some_and(|name| model.iter().any(|s| s.1.as_ref() == Some(name)));
            if let (true, Some(name)) = (known, name) {
                return Err(EditError::BadName(name.clone()));
            }
            let mut options = options.clone();
            options.sort_by(|a, b| a.0.cmp(&b.0));
            model.push((kind.clone(), name.clone(), options));
        }
        Edit::Remove { section } => {
            model.remove(index(document, section)?);
        }
        Edit::Set { section, option, .. } | Edit::Unset { section, option } => {
            let at = index(document, section)?;
            if let Some((_, _, options)) = model.get_mut(at) {
                options.retain(|(name, _)| name != option);
                if let Edit::Set { value, .. } = edit {
                    options.push((option.clone(), value.clone()));
                    options.sort_by(|a, b| a.0.cmp(&b.0));
                }
            }
        }
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "\
# mine
config bramble 'main'
	option enabled   \"1\"   # on
    option data /mnt/sda1/bramble
	list network 'lan'

config room 'lab' ; option image 'trixie'
config client   # the first
	option mac 'dc:a6:32:01:02:03'
	option name lab-01
	list cmdline a
	# between
	list cmdline 'b c'";

    fn one_value(text: &str) -> NewValue {
        NewValue::One(text.to_owned())
    }

    fn set_to(section: &str, option: &str, value: &str) -> Edit {
        Edit::Set { section: section.to_owned(), option: option.to_owned(), value: one_value(value) }
    }

    fn after(edit: Edit) -> String {
        String::from_utf8(edited(FILE.as_bytes(), &[edit]).expect("an edit")).expect("text")
    }

    #[test]
    fn an_edit_changes_what_it_means_and_nothing_else() {
        let replaced = |old: &str, new: &str| FILE.replace(old, new);
        let many = NewValue::Many(vec!["x".to_owned(), "it's".to_owned()]);
        let unset = |section: &str, option: &str| Edit::Unset {
            section: section.to_owned(),
            option: option.to_owned(),
        };
        let rows = [
            (set_to("main", "enabled", "0"), replaced("option enabled   \"1\"", "option enabled '0'")),
            (
                set_to("main", "log_level", "debug"),
                replaced("'lan'\n", "'lan'\n\toption log_level 'debug'\n"),
            ),
            (set_to("@client[0]", "room", "lab"), format!("{FILE}\n\toption room 'lab'\n")),
            (
                set_to("@client[0]", "cmdline", "d"),
                replaced("list cmdline a", "option cmdline 'd'").replace("\tlist cmdline 'b c'", ""),
            ),
            (
                Edit::Set { section: "main".to_owned(), option: "data".to_owned(), value: many },
                replaced("option data /mnt/sda1/bramble", "list data 'x'\n    list data 'it'\\''s'"),
            ),
            (unset("main", "enabled"), replaced("option enabled   \"1\"", "")),
            (unset("main", "data"), replaced("    option data /mnt/sda1/bramble\n", "")),
            (unset("@client[0]", "ip"), FILE.to_owned()),
            (
                Edit::Remove { section: "main".to_owned() },
                replaced("config bramble 'main'\n", "")
                    .replace("option enabled   \"1\"", "")
                    .replace("    option data /mnt/sda1/bramble\n\tlist network 'lan'\n", ""),
            ),
            (
                Edit::Add {
                    kind: "client".to_owned(),
                    name: None,
                    options: vec![
                        ("mac".to_owned(), one_value("dc:a6:32:01:02:04")),
                        ("name".to_owned(), one_value("x")),
                    ],
                },
                format!("{FILE}\n\nconfig client\n\toption mac 'dc:a6:32:01:02:04'\n\toption name 'x'\n"),
            ),
        ];
        for (edit, expected) in rows {
            assert_eq!(after(edit.clone()), expected, "{edit:?}");
        }
    }

    #[test]
    fn what_cannot_be_changed_alone_is_not_changed_and_the_remedy_is_said() {
        #[rustfmt::skip]
        let rows = [
            (set_to("none", "x", "y"), "there is no section `none`; `uci show` lists them"),
            (set_to("main", "x-y", "y"), "`x-y` cannot be the name of a section or option; use letters, digits and `_`"),
            (set_to("main", "x", ""), "`` cannot be a value: it is empty or has a control character in it; write one line of text"),
            (set_to("main", "x", "a\nb"), "`a\nb` cannot be a value: it is empty or has a control character in it; write one line of text"),
            (Edit::Unset { section: "lab".to_owned(), option: "image".to_owned() },
                "line 7 has more than one command and cannot be changed without changing the others; put each command on a line of its own"),
            (Edit::Add { kind: "room".to_owned(), name: Some("lab".to_owned()), options: Vec::new() },
                "`lab` cannot be the name of a section or option; use letters, digits and `_`"),
        ];
        for (edit, message) in rows {
            assert_eq!(edited(FILE.as_bytes(), &[edit]).expect_err("refused").to_string(), message);
        }
    }

    /// A file in a folder with the siblings that `load` wants.
    fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let network = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '192.168.1.1/24'\n";
        fs_err::write(folder.path().join("network"), network).expect("written");
        let path = folder.path().join("bramble");
        fs_err::write(&path, text).expect("written");
        (folder, path)
    }

    const GOOD: &str = "config bramble 'main'\n\toption data '/mnt/x' # here\n";

    fn adopt() -> Edit {
        let options = vec![
            ("mac".to_owned(), one_value("dc:a6:32:01:02:03")),
            ("name".to_owned(), one_value("lab-01")),
            ("cmdline".to_owned(), NewValue::Many(vec!["quiet".to_owned(), "it's".to_owned()])),
        ];
        Edit::Add { kind: "client".to_owned(), name: None, options }
    }

    #[test]
    fn the_file_is_replaced_with_its_mode_and_gives_the_new_configuration() {
        let (folder, path) = folder(GOOD);
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        let config = apply_with(&turn(), &path, &[adopt()], None).expect("adopted");
        assert_eq!(config.clients.len(), 1);
        let text = fs_err::read_to_string(&path).expect("the file");
        assert!(text.starts_with(GOOD) && text.contains("list cmdline 'it'\\''s'"), "{text}");
        assert_eq!(fs_err::metadata(&path).expect("the file").permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs_err::read_dir(folder.path()).expect("a folder").count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_change_that_would_leave_a_problem_changes_nothing() {
        let (_folder, path) = folder(GOOD);
        let error = apply_with(&turn(), &path, &[adopt(), adopt()], None).expect_err("the same Pi twice");
        assert!(error.to_string().starts_with(
            "the change would leave the configuration with problems, so nothing was changed:\n"
        ));
        assert!(
            error.to_string().contains("@client[1].mac: `dc:a6:32:01:02:03` is also the client at line 5"),
            "{error}"
        );
        assert_eq!(fs_err::read_to_string(&path).expect("the file"), GOOD);
    }

    #[test]
    fn where_there_is_a_uci_program_it_makes_the_change() {
        let (folder, path) = folder(&format!("{GOOD}config room 'lab'\n\tlist mask 'a.service'\n"));
        let program = folder.path().join("uci");
        let log = folder.path().join("log");
        let script =
            |end: &str| format!("#!/bin/sh\n{{ echo \"$@\"; cat; }} >> '{}'\n{end}\n", log.display());
        let install = |end: &str| {
            fs_err::write(&program, script(end)).expect("written");
            fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        };
        let before = fs_err::read_to_string(&path).expect("the file");
        let mask = NewValue::Many(vec!["b.service".to_owned()]);
        let edits = [
            adopt(),
            Edit::Set { section: "lab".to_owned(), option: "mask".to_owned(), value: mask },
            set_to("@client[0]", "room", "lab"),
            Edit::Unset { section: "lab".to_owned(), option: "image".to_owned() },
        ];
        install("");
        apply_with(&turn(), &path, &edits, Some(&program)).expect("changed");
        assert_eq!(
            fs_err::read_to_string(&log)
                .expect("what uci was told")
                .replace(&folder.path().display().to_string(), "FOLDER"),
            "-t /tmp/.uci-bramble -c FOLDER batch\n\
             add bramble client\n\
             set bramble.@client[-1].mac='dc:a6:32:01:02:03'\n\
             set bramble.@client[-1].name='lab-01'\n\
             add_list bramble.@client[-1].cmdline='quiet'\n\
             add_list bramble.@client[-1].cmdline='it'\\''s'\n\
             delete bramble.lab.mask\n\
             add_list bramble.lab.mask='b.service'\n\
             set bramble.@client[0].room='lab'\n\
             -t /tmp/.uci-bramble -c FOLDER commit bramble\n"
        );
        assert_eq!(fs_err::read_to_string(&path).expect("the file"), before, "the file is uci's to write");
        install("echo 'uci: I/O error' >&2");
        let error = apply_with(&turn(), &path, &edits, Some(&program)).expect_err("uci complains");
        assert_eq!(
            error.to_string(),
            "`uci` refused the change (uci: I/O error); look at `uci changes` and `uci show`"
        );
        let told = fs_err::read_to_string(&log).expect("what uci was told");
        assert_eq!(told.matches("commit").count(), 1, "what went wrong is not committed");
    }

    prop_compose! {
        fn a_file()(parts in proptest::collection::vec(prop_oneof![
            Just("config foo 'a'\n"), Just("config foo\n"), Just("config bar 'b' # c\n"), Just("config foo 'a'\n"),
            Just("\toption x 1\n"), Just("\toption x '2' # c\n"), Just("  option y \"a\\\"b\"\n"), Just("\tlist l a\n"),
            Just("\tlist l 'b\nc'\n"), Just("\tlist l it\\'s\n"), Just("# comment\n"), Just("\n"), Just("\toption z 1 ; list l q\n"),
            Just("\toption w one\\\ntwo\r\n"), Just("option v 'last'"),
        ], 0..12)) -> String {
            format!("config first 'f'\n{}", parts.concat())
        }
    }

    fn an_edit() -> impl Strategy<Value = Edit> {
        let section = prop_oneof![Just("f"), Just("a"), Just("b"), Just("@foo[0]"), Just("@foo[1]")];
        let option = prop_oneof![Just("x"), Just("y"), Just("l"), Just("z"), Just("v"), Just("new")];
        let value = prop_oneof![
            "[ -~]{1,12}".prop_map(NewValue::One),
            proptest::collection::vec("[ -~]{1,6}", 1..3).prop_map(NewValue::Many)
        ];
        (section, option, value, 0..4u8).prop_map(|(section, option, value, which)| {
            let (section, option) = (section.to_owned(), option.to_owned());
            match which {
                0 => Edit::Add { kind: "foo".to_owned(), name: None, options: vec![(option, value)] },
                1 => Edit::Unset { section, option },
                2 => Edit::Remove { section },
                _ => Edit::Set { section, option, value },
            }
        })
    }

    proptest! {
        /// An edit that is made says exactly what was asked for, and every line that it does not mean is still there, in
        /// its order and byte for byte.
        #[test]
        fn all_other_lines_stay(text in a_file(), edit in an_edit()) {
            let before = Document::read(text.as_bytes());
            prop_assume!(before.faults.is_empty());
            let Ok(after) = edited(text.as_bytes(), std::slice::from_ref(&edit)) else { return Ok(()) };
            prop_assert_eq!(model(&Document::read(&after)), expected(&before, &edit).expect("a model"));
            let at = match &edit {
                Edit::Add { .. } => None,
                Edit::Set { section, .. } | Edit::Unset { section, .. } | Edit::Remove { section } => {
                    Some(index(&before, section).expect("it was found"))
                }
            };
            let meant = |statement: &Statement| {
                let own = statement.section == at && at.is_some();
                own && match (&edit, &statement.command) {
                    (Edit::Remove { .. }, _) => true,
                    (
                        Edit::Set { option, .. } | Edit::Unset { option, .. },
                        Command::Option(name) | Command::List(name),
                    ) => name == option,
                    _ => false,
                }
            };
            // What stays: the text with the commands that are meant cut out, word for word.
            let mut rest = Vec::new();
            let mut from = 0;
            for statement in before.statements.iter().filter(|statement| meant(statement)) {
                rest.push(&text[from..statement.bytes.start]);
                from = statement.bytes.end;
            }
            rest.push(&text[from..]);
            let after = String::from_utf8(after).expect("text");
            let mut seen = 0;
            for piece in rest.iter().flat_map(|piece| piece.split('\n')).map(str::trim) {
                let found = after[seen..].find(piece);
                prop_assert!(found.is_some(), "lost: {piece:?}\nin: {after:?}");
                seen += found.unwrap_or(0) + piece.len();
            }
        }
    }
}

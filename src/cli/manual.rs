//! The page of the manual, `bramble(1)`, made from the definition of the command line, so that both say the same.
//!
//! The program itself does not print it: no router has `man`. `cross/words.rs` writes it when packages are made.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::completion::visible;

/// The page in the language of `man`; `version` and `day` stand at its foot.
pub fn page(program: &Command, version: &str, day: &str) -> String {
    let mut out = format!(
        ".TH BRAMBLE 1 \"{day}\" \"Bramble {version}\" \"User commands\"\n.SH NAME\nbramble \\- {}\n.SH SYNOPSIS\n\
         .B bramble\n[\\fIoptions\\fR] \\fIcommand\\fR …\n.SH DESCRIPTION\n",
        lower(&text(program.get_about()))
    );
    out.push_str(
        "Bramble is the one box that a room of diskless Raspberry Pis needs: it gives addresses, boot files and root file\n\
         systems, keeps accounts and homes, and controls every seat. The daemon runs on the router; this command talks to\n\
         it.\n.SH OPTIONS\n",
    );
    options(program, &mut out, |_| true);
    out.push_str(".SH COMMANDS\n");
    for command in visible(program) {
        entry(command, "bramble", &mut out);
    }
    let files = [
        (
            "/etc/config/bramble",
            "What a person decides: rooms, clients, shares, settings; with a comment on each line.",
        ),
        ("<data>/bramble.db", "What Bramble keeps track of, on the attached disk."),
        ("/var/run/bramble/bramble.sock", "Where the daemon listens to this command."),
    ];
    out.push_str(".SH FILES\n");
    for (file, says) in files {
        let _ = writeln!(out, ".TP\n.I {}\n{}", escaped(file), escaped(says));
    }
    let _ = writeln!(out, ".SH EXIT STATUS\n{}", escaped(&text(program.get_after_help())));
    out
}

/// One command, and those below it.
fn entry(command: &Command, above: &str, out: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let below: Vec<&Command> = visible(command).collect();
    if below.is_empty() {
        let mut synopsis = format!(".B {}\n", escaped(&name));
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set()) {
            let word = written(arg);
            let word = if arg.is_required_set() { word } else { format!("[{word}]") };
            let _ = writeln!(synopsis, "{word}");
        }
        let _ = write!(
            out,
            ".SS \"{}\"\n{synopsis}.PP\n{}.\n",
            escaped(&name),
            escaped(&text(command.get_about()))
        );
        options(command, out, |arg| !arg.is_global_set());
    } else {
        for command in below {
            entry(command, &name, out);
        }
    }
}

fn options(command: &Command, out: &mut String, wanted: fn(&Arg) -> bool) {
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && wanted(arg)) {
        let mut help = text(arg.get_help());
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            let _ = write!(help, " (default: {})", defaults.join(" "));
        }
        let _ = writeln!(out, ".TP\n{}\n{}", written(arg), escaped(&help));
    }
}

/// An argument as one writes it.
fn written(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .and_then(|names| names.first().map(ToString::to_string))
        .unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
    match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => {
            format!("\\fB\\-\\-{}\\fR \\fI{}\\fR", escaped(long), escaped(&value))
        }
        Some(long) => format!("\\fB\\-\\-{}\\fR", escaped(long)),
        None => format!("\\fI{}\\fR", escaped(&value)),
    }
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

/// With a small letter at the beginning, as names of pages are written.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Nothing in it means anything to `man`.
fn escaped(text: &str) -> String {
    let plain = text.replace('\\', "\\e").replace('-', "\\-").replace('\n', " ");
    if plain.starts_with(['.', '\'']) { format!("\\&{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_word_for_man() {
        assert_eq!(escaped(".so x"), "\\&.so x");
        assert_eq!(escaped("a\\b --c\nd"), "a\\eb \\-\\-c d");
    }

    #[test]
    fn every_command_and_option_is_on_the_page() {
        let mut program = super::super::definition();
        program.build();
        let page = page(&program, "1.2.3", "2026-11-27");
        for words in
            ["bramble client adopt", "bramble image import", "bramble room shutdown", "bramble status"]
        {
            assert!(page.contains(&format!(".SS \"{words}\"")), "{words}");
        }
        assert!(page.contains("\\fB\\-\\-json\\fR") && page.contains("130 ended by Ctrl\\-C"));
        assert!(!page.lines().any(|line| line.starts_with('.') && line.len() < 2));
    }
}

//! Completion of the command line, made from its own definition: what clap knows is what the shell offers.
//!
//! Only for bash: BusyBox's ash, which OpenWrt has, completes names of commands and files and cannot be taught more.

use std::fmt::Write as _;

use clap::Command;

/// A bash script; `eval "$(bramble completion bash)"`, or a file in `/usr/share/bash-completion/completions`.
pub fn bash(program: &Command) -> String {
    let mut cases = String::new();
    collect(program, "", &[], &mut cases);
    format!(
        "_bramble() {{\n    local word at=\n    COMPREPLY=()\n    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        \
         case \"$at $word\" in\n{}        esac\n    done\n    local words=\n    case \"$at\" in\n{cases}    esac\n    \
         mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n}}\n\
         complete -o default -F _bramble bramble\n",
        steps(program, "")
    )
}

/// A line for each word that leads from one command to one below it.
fn steps(command: &Command, at: &str) -> String {
    let mut lines = String::new();
    for below in visible(command) {
        let path = format!("{at} {}", below.get_name());
        let _ = writeln!(lines, "        '{path}') at='{path}' ;;");
        lines.push_str(&steps(below, &path));
    }
    lines
}

/// What may follow each command: those below it, its options, and the options that all have.
fn collect(command: &Command, at: &str, global: &[String], cases: &mut String) {
    let option = |arg: &clap::Arg| arg.get_long().map(|long| format!("--{long}"));
    let own: Vec<String> =
        command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(option).collect();
    let for_all: Vec<String> =
        command.get_arguments().filter(|arg| arg.is_global_set()).filter_map(option).collect();
    let for_all = [global, &for_all].concat();
    let values = command.get_positionals().flat_map(|arg| {
        arg.get_possible_values().into_iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>()
    });
    let mut words: Vec<String> = visible(command).map(|below| below.get_name().to_owned()).collect();
    words.extend(values.chain(own).chain(for_all.iter().cloned()).chain(["--help".to_owned()]));
    words.dedup();
    let _ = writeln!(cases, "    '{at}') words='{}' ;;", words.join(" "));
    for below in visible(command) {
        collect(below, &format!("{at} {}", below.get_name()), &for_all, cases);
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

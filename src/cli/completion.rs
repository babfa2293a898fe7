//! Completion of the command line, made from its own definition: what clap knows is what the shell offers.
//!
//! For bash, zsh and fish. BusyBox's ash, which OpenWrt has, completes names of commands and files and cannot be taught more.
//! Each script first walks the words that were typed to the command they lead to, and then offers what may follow there.

use std::fmt::Write as _;

use clap::Command;

/// A bash script; `eval "$(bramble completion bash)"`, or a file in `/usr/share/bash-completion/completions`.
pub fn bash(program: &Command) -> String {
    let mut cases = String::new();
    for place in places(program) {
        let words: Vec<&str> = place.offers.iter().map(|offer| offer.word.as_str()).collect();
        let _ = writeln!(cases, "    '{}') words='{}' ;;", place.at, words.join(" "));
    }
    format!(
        "_bramble() {{\n    local word at=\n    COMPREPLY=()\n    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        \
         case \"$at $word\" in\n{}        esac\n    done\n    local words=\n    case \"$at\" in\n{cases}    esac\n    \
         mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n}}\n\
         complete -o default -F _bramble bramble\n",
        steps(program)
    )
}

/// A zsh script; `eval "$(bramble completion zsh)"` behind `compinit`, or the file `_bramble` in a folder of `$fpath`.
pub fn zsh(program: &Command) -> String {
    let mut cases = String::new();
    for place in places(program) {
        let _ = writeln!(cases, "    '{}')", place.at);
        for (array, with_help) in [("offered", false), ("shown", true)] {
            let words: Vec<String> = place
                .offers
                .iter()
                .map(|offer| match offer.help.as_str() {
                    help if with_help && !help.is_empty() => quoted(&format!("{}  {help}", offer.word)),
                    _ => quoted(&offer.word),
                })
                .collect();
            let _ = writeln!(cases, "        {array}=({})", words.join(" "));
        }
        cases.push_str("        ;;\n");
    }
    format!(
        "#compdef bramble\n_bramble() {{\n    local word at=\n    local -a offered shown\n    \
         for word in \"${{(@)words[2,CURRENT-1]}}\"; do\n        case \"$at $word\" in\n{}        esac\n    done\n    \
         case \"$at\" in\n{cases}    esac\n    compadd -l -d shown -- $offered || _files\n}}\n\
         compdef _bramble bramble\n",
        steps(program)
    )
}

/// A fish script; `bramble completion fish | source`, or a file in `/usr/share/fish/vendor_completions.d`.
pub fn fish(program: &Command) -> String {
    let mut out =
        "function __bramble_at\n    set -l at ''\n    for word in (commandline -opc)[2..]\n        \
                   switch \"$at $word\"\n"
            .to_owned();
    for place in places(program).iter().filter(|place| !place.at.is_empty()) {
        let _ = writeln!(out, "            case '{0}'\n                set at '{0}'", place.at);
    }
    out.push_str("        end\n    end\n    test \"$at\" = \"$argv[1]\"\nend\n");
    for place in places(program) {
        for offer in &place.offers {
            let word = match offer.word.strip_prefix("--") {
                Some(long) if offer.takes_value => format!("-l {long} -r"),
                Some(long) => format!("-l {long}"),
                None => format!("-f -a {}", offer.word),
            };
            let _ = writeln!(
                out,
                "complete -c bramble -n \"__bramble_at '{}'\" {word} -d {}",
                place.at,
                quoted(&offer.help)
            );
        }
    }
    out
}

/// One command with what may follow it.
struct Place {
    /// The words that lead to it, each with a space before it; empty for the program itself.
    at: String,
    offers: Vec<Offer>,
}

/// A command, a value or an option that may be written next.
struct Offer {
    word: String,
    help: String,
    takes_value: bool,
}

/// Every command, the program first.
fn places(program: &Command) -> Vec<Place> {
    let mut found = Vec::new();
    collect(program, "", &[], &mut found);
    found
}

fn collect<'a>(command: &'a Command, at: &str, global: &[&'a clap::Arg], found: &mut Vec<Place>) {
    let own = command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set());
    let for_all: Vec<&clap::Arg> =
        global.iter().copied().chain(command.get_arguments().filter(|arg| arg.is_global_set())).collect();
    let values = command.get_positionals().flat_map(|arg| {
        arg.get_possible_values().into_iter().map(|value| Offer {
            word: value.get_name().to_owned(),
            help: value.get_help().map(ToString::to_string).unwrap_or_default(),
            takes_value: false,
        })
    });
    let options = own.chain(for_all.iter().copied()).filter_map(|arg| {
        Some(Offer {
            word: format!("--{}", arg.get_long()?),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            takes_value: arg.get_action().takes_values(),
        })
    });
    let help = Offer {
        word: "--help".to_owned(),
        help: "Say what can be written here".to_owned(),
        takes_value: false,
    };
    let below = visible(command).map(|below| Offer {
        word: below.get_name().to_owned(),
        help: below.get_about().map(ToString::to_string).unwrap_or_default(),
        takes_value: false,
    });
    let offers = below.chain(values).chain(options).chain([help]).collect();
    found.push(Place { at: at.to_owned(), offers });
    for below in visible(command) {
        collect(below, &format!("{at} {}", below.get_name()), &for_all, found);
    }
}

/// A line for each word that leads from one command to one below it, as bash and zsh write it.
fn steps(program: &Command) -> String {
    let mut lines = String::new();
    for place in places(program).iter().filter(|place| !place.at.is_empty()) {
        let _ = writeln!(lines, "        '{0}') at='{0}' ;;", place.at);
    }
    lines
}

/// As one word of any of the three shells.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "’"))
}

/// Commands that are no secret.
pub(super) fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

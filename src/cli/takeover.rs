//! `bramble takeover`: what DHCP would change on this router, and putting it back. Needs no daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::link::Link;
use super::text::wrap;
use super::{CONFIG, Cli, CliError, print, width};
use crate::api::answer::{Takeover, TakeoverChange};
use crate::config::load;
use crate::service::takeover::apply::Place;
use crate::service::takeover::{Plan, Wanted};
use crate::types::chain;

/// How often it is looked whether a daemon has ended that was told to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many times: for 20 seconds. procd kills it after 15.
const LOOKS: u32 = 100;

/// What to do with the router's own DHCP server.
#[derive(Debug, Args)]
pub struct Options {
    /// Print what `bramble serve` changes in /etc/config/dhcp, and change nothing
    #[arg(long, required_unless_present = "hand_back", conflicts_with = "hand_back")]
    pub dry_run: bool,
    /// Put everything back that Bramble changed there; waits up to 20 seconds for a daemon that was told to stop
    #[arg(long)]
    pub hand_back: bool,
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

impl Options {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let place = Place::beside(&self.config);
        let failed = |error: &dyn std::error::Error| CliError::Takeover(chain(error));
        if self.hand_back {
            if !ended(&cli.socket) {
                return Err(CliError::Takeover(
                    "Bramble is running and would give addresses beside dnsmasq; stop it first with \
                     `/etc/init.d/bramble stop`, or switch it off with `/etc/init.d/bramble disable`, which does both"
                        .to_owned(),
                ));
            }
            let (plan, troubles) = place.make(&Wanted::nothing()).map_err(|error| failed(&error))?;
            self.answer(cli, plan, "Handed back", "Nothing to hand back: no change of Bramble's is in");
            return match troubles.as_slice() {
                [] => Ok(ExitCode::SUCCESS),
                troubles => Err(CliError::Takeover(troubles.join("; "))),
            };
        }
        let config = load::load(&self.config).map_err(|problems| CliError::Takeover(problems.to_string()))?;
        // What it would be, though the service may still be switched off.
        let wanted = Wanted::of(&crate::config::Config { enabled: true, ..config });
        let plan = place.look(&wanted).map_err(|error| failed(&error))?;
        self.answer(cli, plan, "Would change", "Nothing would change in");
        Ok(ExitCode::SUCCESS)
    }

    fn answer(&self, cli: &Cli, plan: Plan, title: &str, nothing: &str) {
        let answer = Takeover::from(plan);
        if cli.json {
            print(&format!("{}\n", serde_json::json!(answer)));
        } else {
            print(&show(&answer, &self.config.with_file_name("dhcp"), (title, nothing), width()));
        }
    }
}

/// Waits for a daemon that was told to stop: its socket is the last that goes. Whether it went.
fn ended(socket: &Path) -> bool {
    for _ in 0..LOOKS {
        if Link::open(socket).is_err() {
            return true;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    false
}

fn show(answer: &Takeover, dhcp: &Path, (title, nothing): (&str, &str), width: usize) -> String {
    let mut text = if answer.changes.is_empty() {
        format!("{nothing} {}.\n", dhcp.display())
    } else {
        format!("{title} in {}:\n", dhcp.display())
    };
    for TakeoverChange { path, from, to, why } in &answer.changes {
        let value =
            |value: &Option<String>| value.as_ref().map_or("not set".to_owned(), |v| format!("`{v}`"));
        text.push_str(&wrap("  ", &format!("{path}: {} -> {} ({why})", value(from), value(to)), width));
    }
    if !answer.notices.is_empty() {
        text.push_str("To know:\n");
        for notice in &answer.notices {
            text.push_str(&wrap("- ", notice, width));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_changes_and_why() {
        let answer = Takeover {
            changes: vec![TakeoverChange {
                path: "dhcp.lan.ignore".to_owned(),
                from: None,
                to: Some("1".to_owned()),
                why: "because".to_owned(),
            }],
            networks: vec!["lan".to_owned()],
            notices: vec!["`dhcp.lan.options` (`x`) is not followed by Bramble".to_owned()],
        };
        let words = ("Would change", "Nothing would change in");
        assert_eq!(
            show(&answer, Path::new("/etc/config/dhcp"), words, 100),
            "Would change in /etc/config/dhcp:\n  dhcp.lan.ignore: not set -> `1` (because)\nTo know:\n\
             - `dhcp.lan.options` (`x`) is not followed by Bramble\n"
        );
        let nothing = Takeover { changes: Vec::new(), networks: Vec::new(), notices: Vec::new() };
        assert_eq!(
            show(&nothing, Path::new("/etc/config/dhcp"), words, 100),
            "Nothing would change in /etc/config/dhcp.\n"
        );
    }
}

//! How clients are used, and looking at their screens, on the command line: `bramble room mode lab guest`,
//! `bramble client screen lab-01`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::text::{table, wrap};
use super::{Cli, CliError, actions, ask};
use crate::api::answer::{ModeSet, ScreenAllowed, ScreenOpened, Screens};
use crate::service::room::screens::Stage;
use crate::types::{Mode, RoomName};

#[derive(Debug, Args)]
pub struct RoomMode {
    room: RoomName,
    /// login, guest, kiosk, exam or image
    mode: Mode,
    /// How long a guest may stay, or after how long without a key a kiosk begins anew; 0 for no limit
    #[arg(long)]
    minutes: Option<u32>,
    /// What a kiosk shows; `none` takes it away
    #[arg(long, value_name = "URL")]
    page: Option<String>,
    /// A class that takes part in an exam; may be given several times
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// An account that takes part in an exam; may be given several times
    #[arg(long = "account", value_name = "ACCOUNT")]
    accounts: Vec<String>,
    /// A share that those in an exam see; may be given several times
    #[arg(long = "share", value_name = "SHARE")]
    shares: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ClientMode {
    /// Hardware address, name or IP address
    client: String,
    /// login, guest, kiosk, exam or image; or room, to be used as its room is
    mode: String,
    /// What it shows as a kiosk; `none` for the page of its room
    #[arg(long, value_name = "URL")]
    page: Option<String>,
}

#[derive(Debug, Args)]
pub struct RoomScreen {
    /// The room; without one, the screens that are looked at are listed
    #[arg(requires = "allow")]
    room: Option<RoomName>,
    /// Whether teachers may look at its screens
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["on", "off"]))]
    allow: Option<String>,
}

#[derive(Debug, Args)]
pub struct ClientScreen {
    /// Hardware address, name or IP address
    client: String,
    /// Use keyboard and mouse there too
    #[arg(long)]
    control: bool,
    /// How long it may last, such as 10m; half an hour unless told
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Where you look from, if not where your ssh connection comes from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// End it
    #[arg(long, conflicts_with_all = ["control", "time", "from"])]
    end: bool,
}

/// A list as the API takes it; left out if there is nothing in it.
fn joined(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(","))
}

impl RoomMode {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let params = json!({
            "room": self.room,
            "mode": self.mode,
            "minutes": self.minutes,
            "page": self.page,
            "classes": joined(&self.classes),
            "accounts": joined(&self.accounts),
            "shares": joined(&self.shares),
        });
        ask(cli, "mode_set", &params, set)
    }
}

impl ClientMode {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let params = json!({ "client": self.client, "mode": self.mode, "page": self.page });
        ask(cli, "mode_set", &params, set)
    }
}

impl RoomScreen {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let Some(room) = &self.room else { return ask(cli, "screen_list", &json!({}), list) };
        let allow = if self.allow.as_deref() == Some("on") { "1" } else { "0" };
        ask(cli, "screen_allow", &json!({ "room": room, "allow": allow }), allowed)
    }
}

impl ClientScreen {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        if self.end {
            return ask(cli, "screen_close", &json!({ "client": self.client }), |_: &Screens, _| {
                "Nobody looks at it any more.\n".to_owned()
            });
        }
        let here = || actions::seat(std::env::var("SSH_CONNECTION").ok().as_deref());
        let params = json!({
            "client": self.client,
            "control": self.control.then_some("1"),
            "time": self.time,
            "viewer": self.from.clone().or_else(here),
        });
        ask(cli, "screen_open", &params, opened)
    }
}

fn set(set: &ModeSet, width: usize) -> String {
    let mut text = wrap("", &format!("The mode is `{}`. {}", set.mode, set.says), width);
    if !set.restart.is_empty() {
        let names: Vec<String> = set.restart.iter().map(ToString::to_string).collect();
        text.push_str(&wrap("Not started again yet: ", &names.join(", "), width));
    }
    text
}

fn allowed(allowed: &ScreenAllowed, width: usize) -> String {
    let may = if allowed.allowed { "may" } else { "may not" };
    wrap("", &format!("Teachers {may} look at the screens of {}.", allowed.room), width)
}

fn opened(opened: &ScreenOpened, width: usize) -> String {
    let within = opened.connect_within_seconds;
    let text = format!(
        "Connect a VNC program to {}:{} within {within} seconds; the password is {} and counts once. Whoever sits at {} is shown \
         that somebody looks.",
        opened.host, opened.port, opened.password, opened.name
    );
    wrap("", &text, width)
}

fn list(screens: &Screens, width: usize) -> String {
    if screens.screens.is_empty() {
        return "Nobody looks at a screen.\n".to_owned();
    }
    let row = |view: &crate::service::room::screens::View| {
        let from = view.viewer.map_or_else(|| super::show::NOTHING.to_owned(), |from| from.to_string());
        let state = match view.stage {
            Stage::Asked => "asked",
            Stage::Open => "open",
            Stage::Seen if view.control => "used",
            Stage::Seen => "seen",
        };
        vec![view.name.to_string(), state.to_owned(), format!("{}:{}", view.host, view.port), from]
    };
    let rows: Vec<Vec<String>> = screens.screens.iter().map(row).collect();
    table(&["CLIENT", "STATE", "AT", "FROM"], &rows, &[0], width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_to_look_stands_in_one_sentence() {
        let answer = ScreenOpened {
            view: 1,
            name: "lab-01".parse().expect("a name"),
            host: "192.168.1.1".to_owned(),
            port: 5901,
            password: "abcdefgh".to_owned(),
            connect_within_seconds: 120,
        };
        assert_eq!(
            opened(&answer, 200),
            "Connect a VNC program to 192.168.1.1:5901 within 120 seconds; the password is abcdefgh and counts once. Whoever \
             sits at lab-01 is shown that somebody looks.\n"
        );
        assert!(!format!("{answer:?}").contains("abcdefgh"), "not for logs");
    }

    #[test]
    fn who_has_to_start_again_is_named() {
        let answer = ModeSet {
            mode: Mode::Guest,
            says: "Clients that run now take it over at their next start.".to_owned(),
            restart: vec!["lab-01".parse().expect("a name")],
        };
        assert_eq!(
            set(&answer, 200),
            "The mode is `guest`. Clients that run now take it over at their next start.\nNot started again yet: lab-01\n"
        );
    }
}

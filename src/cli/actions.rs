//! What clients are told to do, on the command line: `bramble client shutdown lab-01`, `bramble room reboot lab`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::link::{Link, read};
use super::show::NOTHING;
use super::text::{cut, span, table, wrap};
use super::{Cli, CliError, ask, print, width};
use crate::api::answer::{ActionStatus, ActionsList};
use crate::service::room::action::{Phase, Progress};
use crate::types::RoomName;

/// How often the daemon is asked how far it is.
const PACE: Duration = Duration::from_millis(300);

/// Of the clients of a room, or all.
#[derive(Debug, Subcommand)]
pub enum RoomCommand {
    /// Every room: how many are up, how long they took to boot, who was slowest
    List,
    /// Switch clients off; with --router the router behind them
    Shutdown {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
        /// Switch the router off behind the last client
        #[arg(long, requires = "all")]
        router: bool,
    },
    /// Start clients again, one after the other
    Reboot {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
    },
    /// Log everybody out
    Logout {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
    },
    /// Lock the desktops: people give their password again
    Lock {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
    },
    /// Show a message on every screen
    Message {
        #[command(flatten)]
        who: Who,
        /// What people read
        #[arg(long)]
        text: String,
        #[command(flatten)]
        how: How,
    },
    /// Blink the lights and show the names large
    Identify {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
    },
    /// Make the screens dark, for an hour at most
    Blank {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
    },
    /// Let the screens show again what they should
    Unblank {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        how: How,
    },
    /// How the clients of a room are used: by people who log in, by guests, as kiosks, in an exam, as the image has it
    Mode(super::modes::RoomMode),
    /// Which screens are looked at; or allow and forbid that in a room
    Screen(super::modes::RoomScreen),
}

/// The same for clients by name; these are added to the other commands about clients.
#[derive(Debug, Subcommand)]
pub enum ClientAction {
    /// Switch clients off
    Shutdown {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// Start clients again
    Reboot {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// Log out who is logged in there
    Logout {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// Lock the desktop: the person gives the password again
    Lock {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// Show a message on the screen
    Message {
        #[command(flatten)]
        who: Named,
        /// What people read
        #[arg(long)]
        text: String,
        #[command(flatten)]
        how: How,
    },
    /// Blink the light and show the name large
    Identify {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// Make the screen dark, for an hour at most
    Blank {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// Let the screen show again what it should
    Unblank {
        #[command(flatten)]
        who: Named,
        #[command(flatten)]
        how: How,
    },
    /// How a client is used, whatever its room says
    Mode(super::modes::ClientMode),
    /// Look at the screen with a VNC program: prints where, and a password for once
    Screen(super::modes::ClientScreen),
}

#[derive(Debug, Args)]
pub struct Named {
    /// Hardware addresses, names or IP addresses
    #[arg(required = true)]
    clients: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Who {
    /// The room
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    room: Option<RoomName>,
    /// Every client of every room
    #[arg(long)]
    all: bool,
    /// Not this one; may be given several times
    #[arg(long, value_name = "CLIENT")]
    except: Vec<String>,
    /// Not the one that I sit at, found by the address that my ssh connection comes from
    #[arg(long)]
    except_mine: bool,
}

#[derive(Debug, Args)]
pub struct How {
    /// What people at the clients read
    #[arg(long)]
    message: Option<String>,
    /// Also where people are logged in
    #[arg(long)]
    force: bool,
    /// A countdown that people see before it begins, such as 10m
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    /// Time between one client and the next, such as 2s
    #[arg(long, value_name = "TIME")]
    pace: Option<String>,
    /// Begin and do not wait
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum ActionCommand {
    /// What clients were told to do, newest first
    List,
    /// How far an action is, client by client
    Show { action: u64 },
    /// Call an action off for the clients that were not told yet
    Stop { action: u64 },
}

pub(super) fn room(cli: &Cli, command: &RoomCommand) -> Result<ExitCode, CliError> {
    let (action, who, text, how, router) = match command {
        RoomCommand::List => return ask(cli, "room_list", &json!({}), super::room::rooms),
        RoomCommand::Shutdown { who, how, router } => ("shutdown", who, None, how, *router),
        RoomCommand::Reboot { who, how } => ("reboot", who, None, how, false),
        RoomCommand::Logout { who, how } => ("logout", who, None, how, false),
        RoomCommand::Lock { who, how } => ("lock", who, None, how, false),
        RoomCommand::Message { who, text, how } => ("message", who, Some(text), how, false),
        RoomCommand::Identify { who, how } => ("identify", who, None, how, false),
        RoomCommand::Blank { who, how } => ("blank", who, None, how, false),
        RoomCommand::Unblank { who, how } => ("unblank", who, None, how, false),
        RoomCommand::Mode(mode) => return mode.run(cli),
        RoomCommand::Screen(screen) => return screen.run(cli),
    };
    let mut except = who.except.clone();
    if who.except_mine {
        except.push(mine(std::env::var("SSH_CONNECTION").ok().as_deref())?);
    }
    let all = who.all.then_some("1");
    let (except, router) = (except.join(","), router.then_some("1"));
    let who = json!({ "room": who.room, "all": all, "except": except, "router": router });
    begin(cli, who, how, action, text)
}

pub(super) fn client(cli: &Cli, command: &ClientAction) -> Result<ExitCode, CliError> {
    let (action, who, text, how) = match command {
        ClientAction::Shutdown { who, how } => ("shutdown", who, None, how),
        ClientAction::Reboot { who, how } => ("reboot", who, None, how),
        ClientAction::Logout { who, how } => ("logout", who, None, how),
        ClientAction::Lock { who, how } => ("lock", who, None, how),
        ClientAction::Message { who, text, how } => ("message", who, Some(text), how),
        ClientAction::Identify { who, how } => ("identify", who, None, how),
        ClientAction::Blank { who, how } => ("blank", who, None, how),
        ClientAction::Unblank { who, how } => ("unblank", who, None, how),
        ClientAction::Mode(mode) => return mode.run(cli),
        ClientAction::Screen(screen) => return screen.run(cli),
    };
    begin(cli, json!({ "client": who.clients.join(",") }), how, action, text)
}

pub(super) fn action(cli: &Cli, command: &ActionCommand) -> Result<ExitCode, CliError> {
    match command {
        ActionCommand::List => ask(cli, "action_list", &json!({}), list),
        ActionCommand::Show { action } => ask(cli, "action_get", &json!({ "action": action }), one),
        ActionCommand::Stop { action } => ask(cli, "action_stop", &json!({ "action": action }), one),
    }
}

/// The arguments of `client_action`: `who` and the rest.
fn params(who: Value, how: &How, action: &str, text: Option<&String>) -> Value {
    let rest = json!({
        "action": action,
        "message": text.or(how.message.as_ref()),
        "force": how.force.then_some("1"),
        "grace": how.grace,
        "pace": how.pace,
    });
    let both = [who, rest].into_iter().filter_map(|part| match part {
        Value::Object(part) => Some(part),
        _ => None,
    });
    both.flatten().collect()
}

/// The address somebody comes from who uses ssh: the first word of what sshd leaves.
fn mine(connection: Option<&str>) -> Result<String, CliError> {
    seat(connection).ok_or_else(|| {
        CliError::Action(
            "`--except-mine` needs an ssh connection to this router, whose other end is your seat; \
             name your seat with `--except CLIENT`"
                .to_owned(),
        )
    })
}

/// The address somebody comes from who uses ssh.
pub(super) fn seat(connection: Option<&str>) -> Option<String> {
    connection.and_then(|text| text.split_whitespace().next()).map(str::to_owned)
}

/// Begins an action and follows it to its end. Success only if every client did it.
fn begin(
    cli: &Cli,
    who: Value,
    how: &How,
    action: &str,
    text: Option<&String>,
) -> Result<ExitCode, CliError> {
    let mut link = Link::open(&cli.socket)?;
    let mut status: ActionStatus = read(&link.ask("client_action", &params(who, how, action, text))?)?;
    if !how.detach {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Signals)?;
        status = runtime.block_on(follow(cli, &mut link, status))?;
    }
    if cli.json {
        print(&format!("{}\n", json!(status)));
    } else {
        print(&one(&status, width()));
    }
    let all_done = how.detach || status.done == status.of;
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ctrl-C calls the action off for those that were not told yet.
async fn follow(cli: &Cli, link: &mut Link, mut status: ActionStatus) -> Result<ActionStatus, CliError> {
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(CliError::Signals)?;
    let live = io::stdout().is_terminal() && !cli.json;
    while status.phase != Phase::Ended {
        if live {
            let columns = width().saturating_sub(1);
            print(&format!("\r{:columns$}\r{}", "", cut(&line(&status), columns)));
        }
        let params = json!({ "action": status.action });
        let method = tokio::select! {
            () = tokio::time::sleep(PACE) => "action_get",
            Some(()) = interrupts.recv() => "action_stop",
        };
        status = read(&link.ask(method, &params)?)?;
    }
    if live {
        print(&format!("\r{:columns$}\r", "", columns = width().saturating_sub(1)));
    }
    Ok(status)
}

/// How far an action is, in one line.
fn line(status: &ActionStatus) -> String {
    let waiting = status.targets.iter().filter(|target| !target.state.is_over()).count();
    match status.phase {
        Phase::Countdown => format!("{} {}: begins at {} UTC", status.kind, status.action, status.begins_at),
        _ => format!(
            "{} {}: {} of {} done, {waiting} to go",
            status.kind, status.action, status.done, status.of
        ),
    }
}

fn one(status: &ActionStatus, width: usize) -> String {
    let row = |target: &crate::api::answer::TargetStatus| {
        let says = if target.says.is_empty() { NOTHING.to_owned() } else { target.says.clone() };
        vec![target.name.to_string(), target.state.as_str().to_owned(), says]
    };
    let rows: Vec<Vec<String>> = status.targets.iter().map(row).collect();
    let mut text = table(&["CLIENT", "STATE", "SAYS"], &rows, &[2], width);
    if let Some(router) = &status.router {
        text.push_str(&wrap("Router: ", router, width));
    }
    let end = match status.phase {
        Phase::Countdown => format!(
            "Begins at {} UTC; `bramble action stop {}` calls it off.",
            status.begins_at, status.action
        ),
        Phase::Running => format!("{} of {} done.", status.done, status.of),
        Phase::Ended if status.done == status.of => format!("All {} done.", status.of),
        Phase::Ended => {
            let unreachable =
                status.targets.iter().filter(|target| target.state == Progress::Unreachable).count();
            format!("{} of {} done, {unreachable} could not be reached.", status.done, status.of)
        }
    };
    text.push_str(&wrap("", &end, width));
    text
}

fn list(list: &ActionsList, width: usize) -> String {
    if list.actions.is_empty() {
        return wrap("", "Nothing was done since Bramble was started.", width);
    }
    let row = |status: &ActionStatus| {
        let phase = match status.phase {
            Phase::Countdown => "countdown",
            Phase::Running => "running",
            Phase::Ended => "ended",
        };
        vec![
            status.action.to_string(),
            status.kind.to_string(),
            status.by.clone(),
            format!("{} ago", span(list.now.since(status.started_at))),
            phase.to_owned(),
            format!("{} of {}", status.done, status.of),
        ]
    };
    let rows: Vec<Vec<String>> = list.actions.iter().map(row).collect();
    table(&["ACTION", "WHAT", "BY", "BEGUN", "STATE", "DONE"], &rows, &[2], width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::answer::TargetStatus;
    use crate::service::room::action::Kind;
    use crate::types::{MacAddr, Moment};

    #[test]
    fn an_action_is_shown_client_by_client() {
        let target = |n: u8, state, says: &str| TargetStatus {
            mac: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, n]),
            name: format!("lab-0{n}").parse().expect("a name"),
            room: None,
            state,
            says: says.to_owned(),
        };
        let status = ActionStatus {
            action: 7,
            kind: Kind::Shutdown,
            phase: Phase::Ended,
            by: "an administrator".to_owned(),
            message: String::new(),
            started_at: Moment::from_secs(1_795_435_200),
            begins_at: Moment::from_secs(1_795_435_200),
            ended_at: Some(Moment::from_secs(1_795_435_300)),
            done: 1,
            of: 2,
            targets: vec![
                target(1, Progress::Done, "its system has ended"),
                target(2, Progress::Unreachable, "its agent is not connected"),
            ],
            router: None,
        };
        assert_eq!(
            one(&status, 200),
            "CLIENT  STATE        SAYS\n\
             lab-01  done         its system has ended\n\
             lab-02  unreachable  its agent is not connected\n\
             1 of 2 done, 1 could not be reached.\n"
        );
        let text = list(&ActionsList { now: Moment::from_secs(1_795_435_260), actions: vec![status] }, 200);
        assert!(text.ends_with("7       shutdown  an administrator  1 min ago  ended  1 of 2\n"), "{text}");
    }

    #[test]
    fn my_seat_is_where_my_connection_comes_from() {
        assert_eq!(mine(Some("192.168.1.107 50412 192.168.1.1 22")).expect("an address"), "192.168.1.107");
        let error = mine(None).expect_err("no connection").to_string();
        assert!(error.contains("--except CLIENT"), "{error}");
    }
}

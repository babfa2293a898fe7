//! The command line: reads what a person asks for, asks the daemon, prints the answer.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | refused, failed, or a problem was found; the message says what to do |
//! | 2 | the command itself is wrong |
//! | 3 | the daemon does not answer |
//! | 130 | Ctrl-C ended it |
//!
//! With `--json` a program gets the answer of the method unchanged, or `{"error":{…}}`, as one line. Only this module
//! and [`crate::daemon`]'s log write to the terminal; what an answer looks like is decided in [`show`].

mod accounts;
mod actions;
mod backup;
pub mod completion;
pub mod demo;
mod drafts;
mod eeprom;
mod exports;
mod homes;
mod images;
pub mod link;
pub mod manual;
mod modes;
mod room;
mod sessions;
pub mod show;
mod show_accounts;
mod sources;
pub mod takeover;
pub mod text;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::link::{Link, LinkError, read};
use self::sessions::SessionCommand;
use crate::api::Refusal;
use crate::api::answer;
use crate::config;
use crate::sys::terminal;
use crate::types::{HostName, ImageRef, Moment, RoomName, UserName, chain};

/// Where the configuration is unless told otherwise.
pub const CONFIG: &str = "/etc/config/bramble";

/// Where the package puts the agents.
pub const AGENTS: &str = "/usr/lib/bramble";

/// Exit code after Ctrl-C, as shells count.
const INTERRUPTED: u8 = 130;

/// Where ubusd listens.
pub const UBUS: &str = "/var/run/ubus/ubus.sock";

/// Boots a room of Raspberry Pis from this machine over the network
#[derive(Debug, Parser)]
#[command(
    name = "bramble",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 refused or a problem found, 2 wrong usage, 3 the daemon does not answer, \
                  130 ended by Ctrl-C."
)]
pub struct Cli {
    /// Print answers as JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = link::SOCKET)]
    pub socket: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

/// The command line as clap knows it, whole: options that all commands have are with each of them.
pub fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (the init script does this)
    Serve(Serve),
    /// Look for problems in the configuration; needs no daemon
    Check {
        /// The configuration to check
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Show what taking DHCP over changes on this router, or put it back
    Takeover(takeover::Options),
    /// Print what another NFS server has to export if it is to serve the images
    Exports(exports::Options),
    /// Show what runs, what it serves and what needs attention
    Status,
    /// Show what the clients did last
    Events(Filter),
    /// Clients: the Pis of this network
    #[command(subcommand)]
    Client(ClientCommand),
    /// Rooms: what all clients of a room, or of the house, are to do
    #[command(subcommand)]
    Room(actions::RoomCommand),
    /// How long a room takes from power-on to the log-in screens, and what holds it up
    Plan {
        /// Only the clients of this room
        #[arg(long)]
        room: Option<RoomName>,
        /// As if there were so many
        #[arg(long, value_name = "N")]
        clients: Option<u32>,
    },
    /// Actions: what clients were told to do
    #[command(subcommand)]
    Action(actions::ActionCommand),
    /// EEPROMs: the settings of the bootloaders of Pi 4 and 5
    #[command(subcommand)]
    Eeprom(eeprom::EepromCommand),
    /// Write a card that makes Pis boot from the network which cannot yet
    EnrolMedium(eeprom::EnrolMedium),
    /// Images: the operating systems that clients boot
    #[command(subcommand)]
    Image(images::ImageCommand),
    /// Accounts: the people who log in
    #[command(subcommand)]
    Account(accounts::AccountCommand),
    /// Classes: groups of accounts
    #[command(subcommand)]
    Class(accounts::ClassCommand),
    /// Homes: the folders of people
    #[command(subcommand)]
    Home(HomeCommand),
    /// Shares: folders that several people see
    #[command(subcommand)]
    Share(ShareCommand),
    /// Sessions: who is logged in where
    #[command(subcommand)]
    Session(SessionCommand),
    /// Back up accounts, homes, shares and settings
    Backup(backup::Backup),
    /// Restore a backup; what came later stays
    Restore(backup::Restore),
    /// Jobs: long tasks such as imports
    #[command(subcommand)]
    Job(JobCommand),
    /// Boot a classroom of simulated Pis on this machine, without root, router or Pi
    Demo(demo::Demo),
    /// Print a script that completes this command line in a shell
    Completion {
        /// BusyBox's ash cannot be taught to complete
        shell: Shell,
    },
}

/// Which of the events are shown.
#[derive(Debug, Args, Serialize)]
pub struct Filter {
    /// How many lines
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub count: u64,
    /// Only of clients with this in their name or hardware address
    #[arg(long, value_name = "PART")]
    pub client: Option<String>,
    /// Only what is about accounts with this in their name
    #[arg(long, value_name = "PART")]
    pub account: Option<String>,
    /// Only what weighs as much: every step, what matters, or trouble
    #[arg(long, value_parser = ["detail", "matter", "trouble"])]
    pub least: Option<String>,
    /// Only what is older, such as "2026-11-23 17:04:05", in UTC as the lines have it, or the number that `--json` shows
    #[arg(long, value_name = "TIME")]
    pub before: Option<Moment>,
}

/// Shells that can be taught to complete a command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Shell {
    /// `eval "$(bramble completion bash)"`
    Bash,
    /// `eval "$(bramble completion zsh)"`, behind `compinit`
    Zsh,
    /// `bramble completion fish | source`
    Fish,
}

/// How to run the daemon.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Folder of the agents that clients run
    #[arg(long, value_name = "DIR", default_value = AGENTS)]
    pub agents: PathBuf,
    /// Socket of ubusd
    #[arg(long, value_name = "PATH", default_value = UBUS)]
    pub ubus: PathBuf,
    /// Keep the data on any storage, even flash or memory (for tests)
    #[arg(long)]
    pub any_storage: bool,
}

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Every known Pi and what it is doing
    List,
    /// One Pi, with the timeline of its boot
    Show {
        client: String,
        /// Its last boots, step by step
        #[arg(long, conflicts_with = "follow")]
        boot: bool,
        /// Go on, and print what it does as it does it
        #[arg(long)]
        follow: bool,
    },
    /// Make a Pi one of ours, or change what it is
    Adopt {
        /// Hardware address, present name or IP address
        client: String,
        /// Host name, such as lab-01
        #[arg(long)]
        name: HostName,
        /// The room it belongs to; `none` for no room, as it is if left out
        #[arg(long)]
        room: Option<RoomName>,
        /// What it boots instead of its room's image, such as trixie or trixie@3; `none` for the room's
        #[arg(long)]
        image: Option<ImageRef>,
        /// A fixed address; `none` for one from the pool
        #[arg(long)]
        ip: Option<String>,
    },
    /// Take a Pi out of the configuration and forget what was seen of it
    Forget { client: String },
    #[command(flatten)]
    Action(actions::ClientAction),
}

#[derive(Debug, Subcommand)]
pub enum HomeCommand {
    /// Every home, how much is in it, and what is in the attic
    List,
    /// Measure every home
    Measure,
    /// The homes of accounts that are gone, and until when they are kept
    Attic,
    /// Bring a home back from the attic
    Return {
        /// What its account was called, or the name of its folder where there are several
        home: String,
        /// The account that gets it, if it is another
        #[arg(long, value_name = "ACCOUNT")]
        to: Option<UserName>,
        /// As a folder in the home that the account has
        #[arg(long)]
        beside: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ShareCommand {
    /// Every share, who sees it and what may be done in it
    List,
}

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Long tasks, newest first
    List,
    /// How far a task is
    Show { job: u64 },
    /// Stop a task
    Cancel { job: u64 },
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A job that was waited for did not end well; its own words.
    #[error("{0}")]
    Job(String),
    /// Ctrl-C, and what became of the job.
    #[error("{0}")]
    Interrupted(String),
    #[error("the demonstration failed: {0:#}")]
    Demo(anyhow::Error),
    #[error("{0}")]
    Takeover(String),
    /// Every problem of the configuration.
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0}")]
    Action(String),
    #[error(transparent)]
    Files(crate::service::images::files::FilesError),
    #[error(transparent)]
    Shelf(crate::service::images::shelf::ShelfError),
    #[error(transparent)]
    Place(crate::service::images::files::BadPlace),
    #[error(transparent)]
    Work(crate::service::images::workshop::WorkError),
    #[error("`{path}` cannot be made, which the archive was to go through")]
    Pipe {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    #[error("a file cannot be used")]
    File(#[source] io::Error),
    #[error("a password is asked for on a terminal, and there is none; leave `--ask` out and one is made up")]
    Terminal(#[source] io::Error),
    #[error("{0}")]
    Password(String),
}

impl CliError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Link(LinkError::NotRunning(_) | LinkError::NotAllowed(_) | LinkError::Lost(_)) => {
                ExitCode::from(3)
            }
            Self::Interrupted(_) => ExitCode::from(INTERRUPTED),
            Self::Usage(_) | Self::Place(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Link(LinkError::Refused(refusal)) => return refusal.clone(),
            Self::Link(LinkError::NotRunning(_)) => "not_running",
            Self::Link(LinkError::NotAllowed(_)) => "not_allowed",
            Self::Link(LinkError::Lost(_)) => "lost",
            Self::Link(LinkError::Answer(_)) => "bad_answer",
            Self::Job(_) => "job_failed",
            Self::Interrupted(_) => "interrupted",
            Self::Demo(_) => "demo_failed",
            Self::Takeover(_) => "takeover",
            Self::Config(_) => "config",
            Self::Usage(_) | Self::Place(_) => "usage",
            Self::Action(_) => "action",
            Self::Work(_) | Self::Files(_) => "draft",
            Self::Signals(_) | Self::Pipe { .. } => "internal",
            Self::File(_) | Self::Shelf(_) => "file",
            Self::Terminal(_) => "no_terminal",
            Self::Password(_) => "password",
        };
        Refusal { code: code.to_owned(), message: chain(self), field: None }
    }
}

/// Carries out a command; `serve` runs the daemon, which this layer does not know.
pub fn run(cli: &Cli, serve: impl FnOnce(&Serve) -> ExitCode) -> ExitCode {
    let result = match &cli.command {
        Command::Serve(options) => return serve(options),
        Command::Check { config } => Ok(check(config, cli.json)),
        Command::Demo(demo) => demo.run().map_err(CliError::Demo),
        Command::Takeover(options) => options.run(cli),
        Command::Exports(options) => options.run(cli),
        Command::Completion { shell } => {
            let script = match shell {
                Shell::Bash => completion::bash,
                Shell::Zsh => completion::zsh,
                Shell::Fish => completion::fish,
            };
            print(&script(&definition()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Status => ask(cli, "status", &json!({}), show::status),
        Command::Events(filter) => {
            ask(cli, "events", &json!(filter), |events, width| show::events(events, filter, width))
        }
        Command::Client(command) => client(cli, command),
        Command::Room(command) => actions::room(cli, command),
        Command::Plan { room, clients } => {
            ask(cli, "plan", &json!({ "room": room, "clients": clients }), room::plan)
        }
        Command::Action(command) => actions::action(cli, command),
        Command::Eeprom(command) => command.run(cli),
        Command::EnrolMedium(options) => options.run(cli),
        Command::Image(command) => images::run(cli, command),
        Command::Account(command) => accounts::account(cli, command),
        Command::Class(command) => accounts::class(cli, command),
        Command::Home(HomeCommand::List) => ask(cli, "home_usage", &json!({}), homes::homes),
        Command::Home(HomeCommand::Measure) => start(cli, "home_measure", &json!({})),
        Command::Home(HomeCommand::Attic) => ask(cli, "home_usage", &json!({}), homes::attic),
        Command::Home(HomeCommand::Return { home, to, beside }) => {
            let params = json!({ "home": home, "to": to, "beside": beside.then_some("1") });
            start(cli, "home_return", &params)
        }
        Command::Backup(options) => options.run(cli),
        Command::Restore(options) => options.run(cli),
        Command::Share(ShareCommand::List) => ask(cli, "share_list", &json!({}), homes::shares),
        Command::Session(command) => sessions::run(cli, command),
        Command::Job(JobCommand::List) => ask(cli, "job_list", &json!({}), show::jobs),
        Command::Job(JobCommand::Show { job }) => ask(cli, "job_status", &json!({ "job": job }), show::job),
        Command::Job(JobCommand::Cancel { job }) => ask(cli, "job_cancel", &json!({ "job": job }), show::job),
    };
    result.unwrap_or_else(|error| {
        if cli.json {
            print(&format!("{}\n", json!({ "error": error.refusal() })));
        } else {
            complain(&chain(&error));
        }
        error.exit_code()
    })
}

fn client(cli: &Cli, command: &ClientCommand) -> Result<ExitCode, CliError> {
    match command {
        ClientCommand::List => ask(cli, "client_list", &json!({}), show::clients),
        ClientCommand::Show { client, follow: true, .. } => room::follow(cli, client),
        ClientCommand::Show { client, boot: true, .. } => {
            ask(cli, "client_get", &json!({ "client": client }), room::boots)
        }
        ClientCommand::Show { client, .. } => {
            ask(cli, "client_get", &json!({ "client": client }), show::client)
        }
        ClientCommand::Adopt { client, name, room, image, ip } => {
            let params = json!({ "client": client, "name": name, "room": room, "image": image, "ip": ip });
            ask(cli, "client_adopt", &params, show::adopted)
        }
        ClientCommand::Forget { client } => {
            ask(cli, "client_forget", &json!({ "client": client }), show::forgotten)
        }
        ClientCommand::Action(action) => actions::client(cli, action),
    }
}

/// Starts a job with `method` and watches it to its end.
fn start(cli: &Cli, method: &str, params: &Value) -> Result<ExitCode, CliError> {
    let mut link = Link::open(&cli.socket)?;
    let started: answer::Started = read(&link.ask(method, params)?)?;
    watch::watch(cli, &mut link, started.job)
}

/// Asks for `method` and prints the answer: as it came, or as `show` puts it for people.
fn ask<T: DeserializeOwned>(
    cli: &Cli,
    method: &str,
    params: &Value,
    show: impl FnOnce(&T, usize) -> String,
) -> Result<ExitCode, CliError> {
    let answer = Link::open(&cli.socket)?.ask(method, params)?;
    if cli.json {
        print(&format!("{answer}\n"));
    } else {
        print(&show(&read(&answer)?, width()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks a configuration without a daemon.
fn check(path: &Path, json: bool) -> ExitCode {
    let problems = match config::check::check(path) {
        Ok(_) if json => {
            print(&format!("{}\n", json!({ "ok": true, "problems": [] })));
            return ExitCode::SUCCESS;
        }
        Ok(summary) => {
            print(&format!("{summary}\n"));
            return ExitCode::SUCCESS;
        }
        Err(problems) => problems,
    };
    if json {
        let problems: Vec<answer::ProblemAt> = problems.0.iter().map(answer::ProblemAt::from).collect();
        print(&format!("{}\n", json!({ "ok": false, "problems": problems })));
    } else {
        print(&format!("{problems}\n{}\n", text::count(problems.0.len(), "problem")));
    }
    ExitCode::FAILURE
}

/// Columns to fill: those of the terminal, or all that are needed where a program or a file takes the output.
fn width() -> usize {
    if !io::stdout().is_terminal() {
        return usize::MAX;
    }
    terminal::size(io::stdout()).map_or(text::WIDTH, |(columns, _)| usize::from(columns))
}

/// Writes to standard output. Nobody reading any more (`bramble … | head`) is no error.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "bramble: {message}");
}

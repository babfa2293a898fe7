//! `bramble account …` and `bramble class …`.
//!
//! A password is asked for on the terminal or made up; it is never an argument, which other programs and the shell's
//! history would see.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::link::{Link, read};
use super::{Cli, CliError, ask, print, show_accounts as show, watch, width};
use crate::api::answer;
use crate::service::accounts::sheet;
use crate::sys::terminal;
use crate::types::{ByteSize, ClassName, FullName, Role, Secret, UserName};

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Accounts by name
    List {
        /// Part of a name, a full name or a note
        search: Option<String>,
        /// Only members of this class
        #[arg(long)]
        class: Option<ClassName>,
        /// Only pupils, or only teachers
        #[arg(long)]
        role: Option<Role>,
        /// How many to leave out at the beginning
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u64,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
    },
    /// One account
    Show { account: UserName },
    /// Try a log-in step by step, up to the step that fails, and say what to do there
    Test {
        /// The name somebody logs in with, or what a directory calls them
        account: String,
        /// Ask for the password and try it too
        #[arg(long)]
        ask: bool,
    },
    /// Make an account; its password is made up and shown once
    Add {
        /// The name to log in with
        account: UserName,
        #[command(flatten)]
        about: About,
        /// Ask for the password instead of making one up
        #[arg(long)]
        ask: bool,
    },
    /// Change an account; what is not named stays
    Set {
        account: UserName,
        /// Another name to log in with; the home comes along
        #[arg(long)]
        name: Option<UserName>,
        #[command(flatten)]
        about: About,
        /// Switch the account off
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Switch the account on again
        #[arg(long)]
        enable: bool,
    },
    /// Reset a password, or those of a whole class
    Password {
        #[arg(required_unless_present = "class", conflicts_with = "class")]
        account: Option<UserName>,
        /// Everybody in this class gets a new one
        #[arg(long)]
        class: Option<ClassName>,
        /// Ask for the password instead of making one up
        #[arg(long, conflicts_with = "class")]
        ask: bool,
        /// Write log-in slips into this new file (.html, or .txt)
        #[arg(long, value_name = "FILE")]
        slips: Option<PathBuf>,
    },
    /// Remove an account; its home is kept for a while
    Remove { account: UserName },
    /// Show what a list of people (CSV) would do, line by line; or do it
    Import {
        /// The list; its first line names the columns, such as `first name;last name;class`
        file: PathBuf,
        /// Take the list over, all at once
        #[arg(long)]
        apply: bool,
        /// Leave out lines that are refused
        #[arg(long, requires = "apply")]
        skip_refused: bool,
        /// The class of those whose line names none
        #[arg(long)]
        class: Option<ClassName>,
        /// The role of those whose line names none
        #[arg(long)]
        role: Option<Role>,
        /// Write log-in slips into this new file (.html, or .txt)
        #[arg(long, value_name = "FILE", requires = "apply")]
        slips: Option<PathBuf>,
    },
    /// Print accounts as a list that can be imported, without passwords
    Export {
        /// Only members of this class
        #[arg(long)]
        class: Option<ClassName>,
    },
}

/// What can be said about an account.
#[derive(Debug, Args)]
pub struct About {
    /// What the person is called
    #[arg(long, value_name = "NAME")]
    full_name: Option<FullName>,
    /// A student number, a library card or a few words
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// pupil or teacher
    #[arg(long)]
    role: Option<Role>,
    /// Names of classes with commas between them, or none
    #[arg(long, value_name = "CLASSES")]
    classes: Option<String>,
    /// The last day of the account, such as 2027-07-31, or none
    #[arg(long, value_name = "DAY")]
    expires: Option<String>,
    /// How much the home may hold, such as 2G, or none
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
    /// The password has to be changed at the next log-in; `=no` takes that back
    #[arg(long, value_name = "yes|no", value_parser = ["yes", "no"], hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    must_change: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ClassCommand {
    /// Every class and its size
    List,
    /// Make a class
    Add {
        class: ClassName,
        /// A few words
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// How much the home of each member may hold
        #[arg(long, value_name = "SIZE")]
        quota: Option<ByteSize>,
    },
    /// Change a class; what is not named stays
    Set {
        class: ClassName,
        /// Another name
        #[arg(long)]
        name: Option<ClassName>,
        /// A few words
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// How much the home of each member may hold, or none
        #[arg(long, value_name = "SIZE")]
        quota: Option<String>,
    },
    /// Remove a class
    Remove {
        class: ClassName,
        /// Remove the pupils too who are in no other class; their homes are kept for a while
        #[arg(long)]
        members: bool,
    },
    /// Move everybody of a class to another, as at the end of a school year
    Move {
        class: ClassName,
        /// The class they go to; it is made if need be
        to: ClassName,
    },
}

impl About {
    fn params(&self) -> Value {
        let must_change = self.must_change.as_deref().map(|word| if word == "yes" { "1" } else { "0" });
        json!({
            "full_name": self.full_name, "note": self.note, "role": self.role, "classes": self.classes,
            "expires": self.expires, "quota": self.quota, "must_change": must_change,
        })
    }
}

/// Adds `more` to the arguments `params`.
fn with(mut params: Value, more: &Value) -> Value {
    if let (Some(params), Some(more)) = (params.as_object_mut(), more.as_object()) {
        params.extend(more.clone());
    }
    params
}

pub(super) fn account(cli: &Cli, command: &AccountCommand) -> Result<ExitCode, CliError> {
    match command {
        AccountCommand::List { search, class, role, offset, limit } => {
            let params =
                json!({ "search": search, "class": class, "role": role, "offset": offset, "limit": limit });
            ask(cli, "account_list", &params, show::accounts)
        }
        AccountCommand::Show { account } => {
            ask(cli, "account_get", &json!({ "account": account }), show::account)
        }
        AccountCommand::Test { account, ask: asked } => {
            let password = if *asked { Some(ask_once(account)?) } else { None };
            let params = json!({ "account": account, "password": password });
            let answer = Link::open(&cli.socket)?.ask("account_test", &params)?;
            let tested: answer::Tested = read(&answer)?;
            tell(cli, &answer, &show::tested(&tested, width()));
            Ok(if tested.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        AccountCommand::Add { account, about, ask: asked } => {
            let password = if *asked { Some(ask_password(account)?) } else { None };
            let given = password.is_some();
            let params = with(about.params(), &json!({ "account": account, "password": password }));
            ask(cli, "account_add", &params, |made, width| show::added(made, given, width))
        }
        AccountCommand::Set { account, name, about, disable, enable } => {
            let enabled = if *disable { Some("0") } else { enable.then_some("1") };
            let params =
                with(about.params(), &json!({ "account": account, "name": name, "enabled": enabled }));
            ask(cli, "account_set", &params, show::account)
        }
        AccountCommand::Password { account, class, ask: asked, slips } => {
            let password = match account {
                Some(account) if *asked => Some(ask_password(account)?),
                _ => None,
            };
            let given = password.is_some();
            let mut page = Page::open(slips.as_deref())?;
            let params =
                json!({ "account": account, "class": class, "password": password, "slips": page.kind() });
            let answer = Link::open(&cli.socket)?.ask("account_password", &params)?;
            let made: answer::NewPasswords = read(&answer)?;
            page.write(made.page.as_deref())?;
            tell(cli, &answer, &show::reset(&made, given, slips.as_deref(), width()));
            Ok(ExitCode::SUCCESS)
        }
        AccountCommand::Remove { account } => {
            ask(cli, "account_remove", &json!({ "account": account }), show::removed)
        }
        AccountCommand::Import { file, apply, skip_refused, class, role, slips } => {
            let text = sheet::decode(&fs_err::read(file).map_err(CliError::File)?);
            let mut page = Page::open(slips.as_deref())?;
            let switch = |on: bool| on.then_some("1");
            let params = json!({ "csv": text, "class": class, "role": role, "apply": switch(*apply),
                "skip": switch(*skip_refused) });
            let mut link = Link::open(&cli.socket)?;
            let mut answer = link.ask("account_import", &params)?;
            if *apply {
                let started: answer::Started = read(&answer)?;
                watch::end_of(cli, &mut link, started.job)?;
                let params = json!({ "job": started.job, "slips": page.kind() });
                answer = link.ask("account_imported", &params)?;
            }
            let imported: answer::Imported = read(&answer)?;
            page.write(imported.passwords.page.as_deref())?;
            tell(cli, &answer, &show::imported(&imported, slips.as_deref(), width()));
            Ok(if imported.applied || imported.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        AccountCommand::Export { class } => {
            ask(cli, "account_export", &json!({ "class": class }), |list: &answer::Exported, _| {
                list.csv.clone()
            })
        }
    }
}

pub(super) fn class(cli: &Cli, command: &ClassCommand) -> Result<ExitCode, CliError> {
    match command {
        ClassCommand::List => ask(cli, "class_list", &json!({}), show::classes),
        ClassCommand::Add { class, note, quota } => {
            ask(cli, "class_add", &json!({ "class": class, "note": note, "quota": quota }), show::class)
        }
        ClassCommand::Set { class, name, note, quota } => {
            let params = json!({ "class": class, "name": name, "note": note, "quota": quota });
            ask(cli, "class_set", &params, show::class)
        }
        ClassCommand::Remove { class, members } => {
            let params = json!({ "class": class, "members": members.then_some("1") });
            ask(cli, "class_remove", &params, |gone, width| show::class_removed(class, gone, width))
        }
        ClassCommand::Move { class, to } => {
            ask(cli, "class_move", &json!({ "class": class, "to": to }), show::moved)
        }
    }
}

fn tell(cli: &Cli, answer: &Value, text: &str) {
    if cli.json { print(&format!("{answer}\n")) } else { print(text) }
}

/// Asks for a password that is there already.
fn ask_once(account: &str) -> Result<Secret, CliError> {
    let asked = terminal::ask_secret(&format!("Password of {account}: ")).map_err(CliError::Terminal)?;
    asked.parse().map_err(|bad: crate::types::person::BadSecret| CliError::Password(bad.to_string()))
}

/// Asks twice on the terminal, without showing what is typed.
fn ask_password(account: &UserName) -> Result<Secret, CliError> {
    let first = terminal::ask_secret(&format!("New password for {account}: ")).map_err(CliError::Terminal)?;
    let second = terminal::ask_secret("The same again: ").map_err(CliError::Terminal)?;
    if first != second {
        return Err(CliError::Password("the two passwords are not the same; nothing was changed".to_owned()));
    }
    first.parse().map_err(|bad: crate::types::person::BadSecret| CliError::Password(bad.to_string()))
}

/// The file for log-in slips. It is made before anything is changed: afterwards nobody could read the passwords again. One
/// that nothing was written into is removed again.
struct Page(Option<Slips>);

struct Slips {
    file: File,
    path: PathBuf,
    kind: &'static str,
    written: bool,
}

impl Page {
    fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let kind =
            if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("txt")) { "text" } else { "html" };
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| {
            CliError::File(io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))
        })?;
        Ok(Self(Some(Slips { file, path: path.to_owned(), kind, written: false })))
    }

    fn kind(&self) -> Option<&'static str> {
        self.0.as_ref().map(|slips| slips.kind)
    }

    fn write(&mut self, page: Option<&str>) -> Result<(), CliError> {
        let (Some(slips), Some(page)) = (&mut self.0, page) else { return Ok(()) };
        slips.written = true;
        slips.file.write_all(page.as_bytes()).and_then(|()| slips.file.sync_all()).map_err(CliError::File)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(slips) = self.0.as_ref().filter(|slips| !slips.written) {
            // An empty file that cannot be removed does no harm.
            let _ = std::fs::remove_file(&slips.path);
        }
    }
}

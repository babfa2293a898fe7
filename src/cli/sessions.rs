//! Sessions on the command line.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::link::{Link, read};
use super::text::{span, table, wrap};
use super::{Cli, CliError, ask};
use crate::api::answer::{SessionEnded, SessionLine, SessionList};

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Who is logged in where
    List {
        /// Also those that have ended: the newest N
        #[arg(long, value_name = "N")]
        last: Option<u32>,
    },
    /// Log somebody out
    End {
        /// A number that `session list` shows, or a name: then everywhere
        #[arg(value_name = "SESSION|ACCOUNT")]
        session: String,
        /// What they are shown
        #[arg(long)]
        message: Option<String>,
    },
}

pub(super) fn run(cli: &Cli, command: &SessionCommand) -> Result<ExitCode, CliError> {
    match command {
        SessionCommand::List { last } => ask(cli, "session_list", &json!({ "count": last }), list),
        SessionCommand::End { session, message } => {
            for session in meant(cli, session)? {
                ask(cli, "session_end", &json!({ "session": session, "message": message }), ended)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The session of that number, or all of the person of that name.
fn meant(cli: &Cli, who: &str) -> Result<Vec<u64>, CliError> {
    if let Ok(number) = who.parse() {
        return Ok(vec![number]);
    }
    let list: SessionList = read(&Link::open(&cli.socket)?.ask("session_list", &json!({}))?)?;
    let theirs = list.sessions.iter().filter(|line| line.user.as_str() == who);
    let sessions: Vec<u64> = theirs.map(|line| line.session.0).collect();
    if sessions.is_empty() {
        let says = format!("`{who}` is not logged in; `bramble session list` shows who is");
        return Err(CliError::Action(says));
    }
    Ok(sessions)
}

fn list(list: &SessionList, width: usize) -> String {
    if list.sessions.is_empty() {
        return wrap("", "Nobody is logged in.", width);
    }
    let row = |line: &SessionLine| {
        let (until, why) = match (line.ended, &line.why) {
            (Some(ended), why) => {
                let why = why.as_deref().unwrap_or("-");
                (format!("{} ago", span(list.now.since(ended))), why.to_owned())
            }
            (None, Some(why)) => ("ending".to_owned(), why.clone()),
            (None, None) => ("-".to_owned(), "-".to_owned()),
        };
        vec![
            line.session.to_string(),
            line.user.to_string(),
            line.full_name.to_string(),
            line.name.to_string(),
            line.kind.to_string(),
            format!("{} ago", span(list.now.since(line.since))),
            until,
            why,
        ]
    };
    let rows: Vec<Vec<String>> = list.sessions.iter().map(row).collect();
    let header = ["SESSION", "USER", "FULL NAME", "CLIENT", "AT", "SINCE", "ENDED", "WHY"];
    table(&header, &rows, &[2, 7], width)
}

fn ended(ended: &SessionEnded, width: usize) -> String {
    let SessionEnded { session } = ended;
    wrap("", &format!("Session {session} is being ended."), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FullName, MacAddr, Moment, SessionId, SessionKind};

    #[test]
    fn a_table_of_who_is_where() {
        let at = |secs: i64| Moment::from_secs(1_795_435_200 + secs);
        let line = |session, ended, why: Option<&str>| SessionLine {
            session: SessionId(session),
            user: "anna".parse().expect("a name"),
            full_name: FullName::nearest("Anna Maier"),
            client: MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 1]),
            name: "lab-01".parse().expect("a name"),
            kind: SessionKind::Desktop,
            service: "lightdm".to_owned(),
            terminal: ":0".to_owned(),
            since: at(0),
            ended,
            why: why.map(str::to_owned),
        };
        let sessions = vec![line(9, None, None), line(8, Some(at(60)), Some("logged out"))];
        let text = list(&SessionList { now: at(120), sessions }, 200);
        assert_eq!(
            text,
            "SESSION  USER  FULL NAME   CLIENT  AT       SINCE      ENDED      WHY\n\
             9        anna  Anna Maier  lab-01  desktop  2 min ago  -          -\n\
             8        anna  Anna Maier  lab-01  desktop  2 min ago  1 min ago  logged out\n"
        );
        assert_eq!(list(&SessionList { now: at(0), sessions: vec![] }, 80), "Nobody is logged in.\n");
    }
}

//! What answers about accounts and classes look like for people. Pure, as [`super::show`].

use std::path::Path;

use super::text::{are, count, table, wrap};
use crate::api::answer::{
    Account, Accounts, Class, ClassMoved, Classes, Fate, Imported, NewPasswords, Outcome, Removals, Slip,
    Tested,
};
use crate::types::{ClassName, Moment};

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// Lines of a list that are shown one by one: those that need a look come first.
const LINES: usize = 200;

fn joined(classes: &[ClassName]) -> String {
    let names: Vec<&str> = classes.iter().map(ClassName::as_str).collect();
    if names.is_empty() { NOTHING.to_owned() } else { names.join(", ") }
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

fn filled(text: &str) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { text.to_owned() }
}

/// The account in a word: why somebody could not log in, if so.
fn state(account: &Account, now: Moment) -> &'static str {
    match account {
        Account { enabled: false, .. } => "off",
        Account { expires_at: Some(at), .. } if *at <= now => "ended",
        Account { has_password: false, .. } => "no password",
        Account { must_change: true, .. } => "new password due",
        _ => "ok",
    }
}

pub fn accounts(page: &Accounts, width: usize) -> String {
    if page.total == 0 {
        let says = if page.elsewhere {
            "Nobody in the directory is found who may log in here. `bramble account test NAME` shows what is in somebody's way."
        } else {
            "No account is found. Make one: bramble account add NAME --full-name 'FIRST LAST' --classes CLASS"
        };
        return wrap("", says, width);
    }
    let row = |account: &Account| {
        vec![
            account.name.to_string(),
            filled(account.full_name.as_str()),
            joined(&account.classes),
            account.role.to_string(),
            state(account, page.now).to_owned(),
            account.last_login_at.map_or_else(|| NOTHING.to_owned(), Moment::date),
        ]
    };
    let rows: Vec<Vec<String>> = page.accounts.iter().map(row).collect();
    let mut text =
        table(&["NAME", "FULL NAME", "CLASSES", "ROLE", "STATE", "LAST LOG-IN"], &rows, &[0, 1, 2], width);
    let shown = page.offset + page.accounts.len();
    if page.accounts.len() < page.total {
        let more = if shown < page.total { format!("; more: --offset {shown}") } else { String::new() };
        let line = format!("{} to {shown} of {} accounts{more}", page.offset + 1, page.total);
        text.push_str(&wrap("", &line, width));
    }
    if page.elsewhere {
        text.push_str(&wrap("", "They are kept in the directory; change them there.", width));
    }
    text
}

/// A log-in step by step; what to do stands below the step that failed.
pub fn tested(tested: &Tested, width: usize) -> String {
    let mut text = format!("Log-in of {}\n", tested.account);
    for step in &tested.steps {
        let mark = match step.outcome {
            Outcome::Ok => "ok",
            Outcome::Note => "note",
            Outcome::Failed => "FAILED",
        };
        text.push_str(&wrap(&format!("  {mark:<8}{:<10}", step.step), &step.what, width));
        if let Some(remedy) = &step.remedy {
            text.push_str(&wrap(&format!("{:20}To do: ", ""), remedy, width));
        }
    }
    text
}

pub fn account(account: &Account, width: usize) -> String {
    let full_name =
        if account.full_name.is_empty() { String::new() } else { format!(": {}", account.full_name) };
    let mut text = format!("{}{full_name} ({})\n", account.name, account.role);
    let mut line = |title: &str, says: &str| text.push_str(&wrap(&format!("  {title:<13}"), says, width));
    line("Classes", &joined(&account.classes));
    let on = account.last_login_on.map(|mac| format!(" at {mac}")).unwrap_or_default();
    let last = account.last_login_at.map_or_else(|| "never".to_owned(), |at| format!("{at} UTC{on}"));
    let Some(created_at) = account.created_at else {
        line("Number", &account.uid.to_string());
        line("Last log-in", &last);
        line("Kept", "in the directory, which knows the rest; change it there");
        return text;
    };
    line("Note", &filled(&account.note));
    line("Number", &account.uid.to_string());
    line("Enabled", if account.enabled { "yes" } else { "no" });
    let password = match (account.has_password, account.must_change) {
        (false, _) => "none, so nobody can log in".to_owned(),
        (true, due) => format!(
            "set {}{}",
            or_nothing(account.password_at.map(Moment::date)),
            if due { ", to be changed at the next log-in" } else { "" }
        ),
    };
    line("Password", &password);
    line("Expires", &account.expires_at.map_or_else(|| "never".to_owned(), Moment::date));
    line(
        "Quota",
        &account
            .quota
            .map_or_else(|| "as its classes or the setting say".to_owned(), |quota| quota.to_string()),
    );
    line("Made", &created_at.date());
    line("Last log-in", &last);
    text
}

pub fn added(made: &NewPasswords, given: bool, width: usize) -> String {
    let line = |slip: &Slip| {
        let name = &slip.name;
        if given {
            return wrap("", &format!("{name} can log in."), width);
        }
        let says = format!(
            "{name} can log in, with the password {} the first time, and chooses another then.",
            slip.password.expose()
        );
        wrap("", &says, width)
    };
    made.accounts.iter().map(line).collect()
}

pub fn reset(made: &NewPasswords, given: bool, slips: Option<&Path>, width: usize) -> String {
    if given && slips.is_none() {
        return "The password is changed.\n".to_owned();
    }
    match (made.accounts.as_slice(), slips) {
        ([], _) => wrap("", "Nobody is in that class, so no password was changed.", width),
        (all, Some(path)) => {
            let changed = match all.len() {
                1 => "1 password is changed".to_owned(),
                many => format!("{many} passwords are changed"),
            };
            wrap("", &format!("{changed}. {}", printed(path)), width)
        }
        (all, None) => {
            let once = if all.len() == 1 {
                "It is shown this once, and has to be changed at the next log-in."
            } else {
                "They are shown this once, and have to be changed at the next log-in."
            };
            let mut text = passwords(made, width);
            text.push_str(&wrap("", once, width));
            text
        }
    }
}

/// What is on paper need not be on a screen that others see.
fn printed(path: &Path) -> String {
    format!("Slips to print are in {}; delete the file when they are.", path.display())
}

fn passwords(made: &NewPasswords, width: usize) -> String {
    let row = |slip: &Slip| {
        vec![
            slip.name.to_string(),
            slip.password.expose().to_owned(),
            filled(slip.full_name.as_str()),
            joined(&slip.classes),
        ]
    };
    let rows: Vec<Vec<String>> = made.accounts.iter().map(row).collect();
    table(&["NAME", "PASSWORD", "FULL NAME", "CLASSES"], &rows, &[2, 3], width)
}

pub fn removed(gone: &Removals, width: usize) -> String {
    let names: Vec<&str> = gone.accounts.iter().map(crate::types::UserName::as_str).collect();
    let says = if gone.homes > 0 { "; the home is in the attic" } else { "" };
    wrap("", &format!("{} removed{says}{}.", names.join(", "), logged_out(gone)), width)
}

/// What becomes of people who are logged in at this moment.
fn logged_out(gone: &Removals) -> String {
    match gone.sessions {
        0 => String::new(),
        sessions => format!("; {} being ended", are(sessions, "session")),
    }
}

pub fn class_removed(class: &ClassName, gone: &Removals, width: usize) -> String {
    let accounts = match (gone.accounts.len(), gone.homes) {
        (0, _) => "its members stay".to_owned(),
        (accounts, homes) => {
            let attic =
                if homes > 0 { format!("; {} in the attic", are(homes, "home")) } else { String::new() };
            format!("and {}{attic}{}", count(accounts, "account"), logged_out(gone))
        }
    };
    wrap("", &format!("Class {class} is removed, {accounts}."), width)
}

pub fn classes(classes: &Classes, width: usize) -> String {
    if classes.classes.is_empty() {
        return wrap("", "There is no class yet. Make one: bramble class add NAME", width);
    }
    let row = |class: &Class| {
        let quota = or_nothing(class.quota);
        vec![
            class.name.to_string(),
            class.members.to_string(),
            quota,
            class.gid.to_string(),
            filled(&class.note),
        ]
    };
    let rows: Vec<Vec<String>> = classes.classes.iter().map(row).collect();
    table(&["CLASS", "MEMBERS", "QUOTA", "NUMBER", "NOTE"], &rows, &[0, 4], width)
}

pub fn class(class: &Class, width: usize) -> String {
    let members = usize::try_from(class.members).unwrap_or(usize::MAX);
    wrap("", &format!("Class {} (group {}) has {}.", class.name, class.gid, count(members, "member")), width)
}

pub fn moved(moved: &ClassMoved, width: usize) -> String {
    let says = format!(
        "{} went from {from} to {}; {from} is empty now and can go: bramble class remove {from}",
        count(moved.accounts, "account"),
        moved.to,
        from = moved.from
    );
    wrap("", &says, width)
}

pub fn imported(list: &Imported, slips: Option<&Path>, width: usize) -> String {
    let mut lines: Vec<_> = list.lines.iter().collect();
    lines.sort_by_key(|line| (line.fate != Fate::Refused, line.line));
    let mut text = String::new();
    if !list.applied {
        let rows: Vec<Vec<String>> = lines
            .iter()
            .take(LINES)
            .map(|line| {
                vec![
                    line.line.to_string(),
                    line.fate.as_str().to_owned(),
                    filled(&line.name),
                    filled(&line.full_name),
                    joined(&line.classes),
                    if line.fate == Fate::Refused { "see below".to_owned() } else { line.says.clone() },
                ]
            })
            .collect();
        text = table(&["LINE", "FATE", "NAME", "FULL NAME", "CLASSES", ""], &rows, &[2, 3, 4, 5], width);
        if lines.len() > LINES {
            let more = lines.len() - LINES;
            text.push_str(&wrap("", &format!("… and {more} more; all of them with --json"), width));
        }
        for line in lines.iter().filter(|line| line.fate == Fate::Refused).take(LINES) {
            text.push_str(&wrap(&format!("Line {}: ", line.line), &line.says, width));
        }
    }
    if !list.ignored_columns.is_empty() {
        text.push_str(&wrap("Columns that mean nothing here: ", &list.ignored_columns.join(", "), width));
    }
    if !list.new_classes.is_empty() {
        text.push_str(&wrap("New classes: ", &joined(&list.new_classes), width));
    }
    let sum = format!(
        "{} to add, {} to change, {} as they are, {} refused",
        list.add, list.change, list.same, list.refused
    );
    if !list.applied {
        let next = if list.refused > 0 {
            "Nothing is written yet. Mend the list, or go on without those lines: --apply --skip-refused"
        } else {
            "Nothing is written yet; do it with --apply, and --slips FILE.html for slips to print."
        };
        text.push_str(&wrap("", &format!("{sum}. {next}"), width));
        return text;
    }
    match slips {
        Some(path) => text.push_str(&wrap("", &printed(path), width)),
        None if !list.passwords.accounts.is_empty() => text.push_str(&passwords(&list.passwords, width)),
        None => {}
    }
    text.push_str(&wrap("", &format!("Done: {} added, {} changed.", list.add, list.change), width));
    text
}

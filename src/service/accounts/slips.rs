//! Log-in slips to print and cut: a name and a password each, as HTML for A4 or as plain text.

use std::fmt::Write as _;

use super::manage::Slip;
use crate::types::ClassName;

/// A page of slips, two beside each other, with lines to cut along.
pub fn html(slips: &[Slip]) -> String {
    let mut text = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Log-in slips</title>\n<style>\n\
         @page { size: A4; margin: 12mm }\n\
         body { font: 11pt sans-serif; margin: 0; display: grid; grid-template-columns: 1fr 1fr }\n\
         div { border: 1px dashed #888; padding: 6mm; break-inside: avoid }\n\
         b { font: bold 14pt monospace }\nsmall { color: #555 }\n</style></head><body>\n",
    );
    for slip in slips {
        let _ = writeln!(
            text,
            "<div>{} <small>{}</small><br>Name: <b>{}</b><br>Password: <b>{}</b></div>",
            escape(called(slip)),
            escape(&classes(slip)),
            escape(slip.account.name.as_str()),
            escape(slip.password.expose())
        );
    }
    text.push_str("</body></html>\n");
    text
}

/// The same for a printer that knows only text.
pub fn text(slips: &[Slip]) -> String {
    let slip = |slip: &Slip| {
        format!(
            "{}  {}\n  Name:     {}\n  Password: {}\n{}\n",
            called(slip),
            classes(slip),
            slip.account.name,
            slip.password.expose(),
            "- ".repeat(36)
        )
    };
    slips.iter().map(slip).collect()
}

fn called(slip: &Slip) -> &str {
    let account = &slip.account;
    if account.full_name.is_empty() { account.name.as_str() } else { account.full_name.as_str() }
}

fn classes(slip: &Slip) -> String {
    let names: Vec<&str> = slip.account.classes.iter().map(|(name, _)| ClassName::as_str(name)).collect();
    names.join(", ")
}

fn escape(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

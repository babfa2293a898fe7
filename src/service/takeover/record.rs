//! What Bramble changed in `/etc/config/dhcp`, kept beside it in a UCI file of its own: hand-back needs no daemon, no
//! disk and no memory of an earlier run.

use crate::config::edit::NewValue;
use crate::config::uci::{Document, Value, quote};

/// Everything of ours in `/etc/config/dhcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub changed: Vec<Changed>,
    /// The section that shows leases in LuCI is ours.
    pub shown: bool,
}

/// One option of a `config dhcp` that has our value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// `option interface` of the section.
    pub network: String,
    /// Which of the sections of this network it is, from 0.
    pub nth: usize,
    pub option: String,
    pub ours: String,
    /// What stood there; `None` if nothing did.
    pub before: Option<NewValue>,
}

impl Record {
    /// Reads what [`Record::text`] wrote. What cannot be read is left out: then the value in question is not ours, and
    /// is not touched.
    pub fn read(text: &[u8]) -> Self {
        let document = Document::read(text);
        let changed = document.of_kind("changed").filter_map(|section| {
            let one = |name: &str| section.value(name).map(|value| value.value.clone());
            let before = section.entry("before").map(|entry| match &entry.value {
                Value::One(value) => NewValue::One(value.value.clone()),
                Value::Many(all) => NewValue::Many(all.iter().map(|value| value.value.clone()).collect()),
            });
            Some(Changed {
                network: one("network")?,
                nth: one("nth")?.parse().ok()?,
                option: one("option")?,
                ours: one("ours")?,
                before,
            })
        });
        Self { changed: changed.collect(), shown: document.of_kind("shown").next().is_some() }
    }

    /// The file; empty if nothing is ours.
    pub fn text(&self) -> String {
        use std::fmt::Write;

        if *self == Self::default() {
            return String::new();
        }
        let mut out =
            "# What Bramble changed in /etc/config/dhcp, and what stood there before. `bramble takeover --hand-back` \
             puts it back.\n"
                .to_owned();
        for Changed { network, nth, option, ours, before } in &self.changed {
            let (network, option, ours) = (quote(network), quote(option), quote(ours));
            let _ = write!(
                out,
                "\nconfig changed\n\toption network {network}\n\toption nth '{nth}'\n\toption option {option}\n\
                 \toption ours {ours}\n"
            );
            let (word, values) = match before {
                None => continue,
                Some(NewValue::One(value)) => ("option", std::slice::from_ref(value)),
                Some(NewValue::Many(values)) => ("list", values.as_slice()),
            };
            for value in values {
                let _ = writeln!(out, "\t{word} before {}", quote(value));
            }
        }
        if self.shown {
            out.push_str("\nconfig shown\n");
        }
        out
    }

    pub(super) fn has(&self, network: &str, nth: usize) -> bool {
        self.changed.iter().any(|changed| changed.network == network && changed.nth == nth)
    }
}

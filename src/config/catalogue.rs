//! What a person decided about where operating systems come from: the section `catalogue`.

use std::path::PathBuf;
use std::time::Duration;

use super::fields::Fields;
use super::problem::Problems;
use crate::types::{Spanned, limits};

/// The section `catalogue`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Lists: addresses of the web and absolute paths.
    pub sources: Vec<String>,
    /// How often they are looked at; [`super::FOREVER`] for never.
    pub refresh: Duration,
    pub proxy: Option<Proxy>,
    pub ca_file: PathBuf,
}

/// The address of a proxy; a password may be in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(pub String);

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy(•••)")
    }
}

pub(super) fn read(fields: &Fields<'_>, file: &str, problems: &mut Problems) -> Catalogue {
    let mut sources: Vec<String> = Vec::new();
    for Spanned { value, line, column } in fields.texts("source") {
        let bad = if sources.contains(&value) {
            "stands here twice; remove one of them".to_owned()
        } else if sources.len() >= limits::CATALOGUES {
            format!("is one too many; at most {} lists are read", limits::CATALOGUES)
        } else {
            sources.push(value);
            continue;
        };
        let shown: String = value.chars().take(limits::NAME_SHOWN).collect();
        problems.note(
            file,
            &Spanned { value: (), line, column },
            "catalogue.source",
            format!("`{shown}` {bad}"),
        );
    }
    Catalogue {
        sources,
        refresh: fields.duration("refresh"),
        proxy: fields.text("proxy").map(Proxy),
        ca_file: fields.path("ca_file").unwrap_or_default(),
    }
}

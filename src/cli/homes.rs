//! What answers about homes and shares look like for people.

use super::show::{NOTHING, ago};
use super::text::{are, table, wrap};
use crate::api::answer::{Attic, Homes, Shares};
use crate::config::ShareAccess;
use crate::types::Moment;

pub fn homes(answer: &Homes, width: usize) -> String {
    let mut text = String::new();
    if answer.homes.is_empty() {
        text.push_str(&wrap("", "There is no home yet; each is made when its owner first logs in.", width));
    } else {
        let rows: Vec<Vec<String>> = answer
            .homes
            .iter()
            .map(|home| {
                vec![
                    home.name.to_string(),
                    home.bytes.map_or(NOTHING.to_owned(), |bytes| bytes.to_string()),
                    home.quota.map_or("no bound".to_owned(), |quota| quota.to_string()),
                    home.files.map_or(NOTHING.to_owned(), |files| files.to_string()),
                    ago(answer.now, home.measured_at),
                ]
            })
            .collect();
        text.push_str(&table(&["NAME", "USED", "OF", "FILES", "MEASURED"], &rows, &[0], width));
    }
    if !answer.attic.is_empty() {
        let says = format!("{} in the attic: bramble home attic", are(answer.attic.len(), "home"));
        text.push_str(&wrap("", &says, width));
    }
    text
}

/// The homes of accounts that are gone.
pub fn attic(answer: &Homes, width: usize) -> String {
    if answer.attic.is_empty() {
        return wrap("", "Nothing is in the attic; the homes of removed accounts come there.", width);
    }
    let row = |old: &Attic| {
        let until = old.until.map_or("for ever".to_owned(), Moment::date);
        let folder = old.path.file_name().unwrap_or_default().display().to_string();
        vec![old.name.to_string(), old.day.clone(), until, folder]
    };
    let rows: Vec<Vec<String>> = answer.attic.iter().map(row).collect();
    let mut text = table(&["NAME", "SINCE", "KEPT UNTIL", "FOLDER"], &rows, &[0, 3], width);
    text.push_str(&wrap(
        "",
        "Bring one back: bramble home return NAME, with --to ACCOUNT for another person",
        width,
    ));
    text
}

pub fn shares(answer: &Shares, width: usize) -> String {
    if answer.shares.is_empty() {
        return wrap(
            "",
            "There is no share. Write `config share 'NAME'` into /etc/config/bramble, with `option access` `read`, \
             `write` or `handin`.",
            width,
        );
    }
    let rows: Vec<Vec<String>> = answer
        .shares
        .iter()
        .map(|share| {
            let classes: Vec<&str> = share.classes.iter().map(crate::types::ClassName::as_str).collect();
            vec![
                share.name.to_string(),
                match share.access {
                    ShareAccess::Read => "read",
                    ShareAccess::Write => "write",
                    ShareAccess::HandIn => "hand in",
                }
                .to_owned(),
                if classes.is_empty() { "everybody".to_owned() } else { classes.join(", ") },
                share.bytes.map_or(NOTHING.to_owned(), |bytes| bytes.to_string()),
                match (share.quota, share.access) {
                    (None, _) => "no bound".to_owned(),
                    (Some(quota), ShareAccess::HandIn) => format!("{quota} each"),
                    (Some(quota), _) => quota.to_string(),
                },
                share.path.display().to_string(),
            ]
        })
        .collect();
    let mut text =
        table(&["NAME", "PUPILS MAY", "SEEN BY", "USED", "OF", "FOLDER"], &rows, &[0, 2, 5], width);
    for share in &answer.shares {
        if let Some(problem) = &share.problem {
            text.push_str(&wrap(&format!("{}: ", share.name), problem, width));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::answer::{HomeUsage, ShareSummary};
    use crate::types::{ByteSize, Uid};

    #[test]
    fn homes_and_the_attic_are_tables() {
        let usage = |name: &str, measured: bool| HomeUsage {
            name: name.parse().expect("a name"),
            uid: Uid(10_000),
            path: "/d/homes/x".into(),
            bytes: measured.then_some(ByteSize(3 << 20)),
            files: measured.then_some(12),
            measured_at: measured.then_some(Moment::from_secs(940)),
            quota: (!measured).then_some(ByteSize(2 << 30)),
        };
        let old = Attic {
            name: "eva".parse().expect("a name"),
            uid: Uid(10_002),
            day: "2026-11-27".to_owned(),
            path: "/d/attic/2026-11-27.eva.10002".into(),
            until: Some(Moment::from_secs(1_803_600_000)),
        };
        let answer = Homes {
            now: Moment::from_secs(1000),
            homes: vec![usage("anna", true), usage("ben", false)],
            attic: vec![old],
        };
        assert_eq!(
            homes(&answer, 80),
            "NAME  USED     OF        FILES  MEASURED\n\
             anna  3.0 MiB  no bound  12     1 min\n\
             ben   -        2.0 GiB   -      -\n\
             1 home is in the attic: bramble home attic\n"
        );
        assert_eq!(
            attic(&answer, 80),
            "NAME  SINCE       KEPT UNTIL  FOLDER\n\
             eva   2026-11-27  2027-02-26  2026-11-27.eva.10002\n\
             Bring one back: bramble home return NAME, with --to ACCOUNT for another person\n"
        );
        let none = Homes { now: Moment::from_secs(0), homes: vec![], attic: vec![] };
        assert_eq!(attic(&none, 80), "Nothing is in the attic; the homes of removed accounts come there.\n");
        assert_eq!(homes(&none, 80), "There is no home yet; each is made when its owner first logs in.\n");
    }

    #[test]
    fn shares_are_a_table_with_what_is_wrong_below() {
        let films = ShareSummary {
            name: "films".parse().expect("a name"),
            access: ShareAccess::Read,
            classes: vec![],
            path: "/mnt/films".into(),
            bytes: None,
            files: None,
            measured_at: None,
            quota: None,
            problem: Some("`/mnt/films` is no folder".to_owned()),
        };
        let essays = ShareSummary {
            name: "essays".parse().expect("a name"),
            access: ShareAccess::HandIn,
            path: "/d/essays".into(),
            bytes: Some(ByteSize(3 << 20)),
            quota: Some(ByteSize(1 << 30)),
            problem: None,
            ..films.clone()
        };
        assert_eq!(
            shares(&Shares { now: Moment::from_secs(0), shares: vec![essays, films] }, 80),
            "NAME    PUPILS MAY  SEEN BY    USED     OF            FOLDER\n\
             essays  hand in     everybody  3.0 MiB  1.0 GiB each  /d/essays\n\
             films   read        everybody  -        no bound      /mnt/films\n\
             films: `/mnt/films` is no folder\n"
        );
    }
}

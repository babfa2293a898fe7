//! EEPROMs on the command line: what is in them, what is written into them, and cards for Pis that do not boot from the
//! network yet.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::link::{Link, read};
use super::show::NOTHING;
use super::text::{table, wrap};
use super::{Cli, CliError, ask, print, watch, width};
use crate::api::answer::{Eeprom, EepromPlan, Eeproms, Medium};
use crate::proto::eeprom::settings::KNOWN;
use crate::types::{ImageRef, Moment, RoomName};

#[derive(Debug, Subcommand)]
pub enum EepromCommand {
    /// Every Pi 4 and 5: its bootloader, its boot order, and what becomes of updates
    List,
    /// All settings of one, and its last update
    Show { client: String },
    /// The settings that can be written, and what each may be; needs no daemon
    Settings,
    /// Offer settings at the next start; without --yes it only says what would be done
    Set {
        /// Such as BOOT_ORDER=0xf21 NET_INSTALL_ENABLED=0; `default` takes the bootloader's own
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// One client, by name, hardware address or IP address; several with commas
        #[arg(long, required_unless_present_any = ["room", "all"], conflicts_with_all = ["room", "all"])]
        client: Option<String>,
        /// Or the clients of a room, once one of them has these settings
        #[arg(long, conflicts_with = "all")]
        room: Option<RoomName>,
        /// Or every client
        #[arg(long)]
        all: bool,
        /// Whom not, as in --client
        #[arg(long, value_name = "CLIENT")]
        except: Option<String>,
        /// Which bootloaders of the image: default or latest
        #[arg(long)]
        release: Option<String>,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Take the last update back; without --yes it only says what would be done
    Undo {
        client: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// A card for Pis that do not boot from the network yet.
#[derive(Debug, Args)]
pub struct EnrolMedium {
    /// The card or stick, such as /dev/sdb, or a file that is to be made
    #[arg(value_name = "FILE|DEVICE")]
    to: PathBuf,
    /// For which Pis: pi3, pi4 or pi5, or pi3,pi4 or pi3,pi5
    #[arg(long = "for", value_name = "PIS")]
    models: String,
    /// The image whose files it takes
    #[arg(long)]
    image: ImageRef,
    /// Settings of the EEPROM beside BOOT_ORDER=0xf21 and NET_INSTALL_AT_POWER_ON=0
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Which bootloaders of the image: default or latest
    #[arg(long)]
    release: Option<String>,
    /// What is there may go
    #[arg(long)]
    erase: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
}

impl EepromCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        match self {
            Self::List => ask(cli, "eeprom_list", &json!({}), eeproms),
            Self::Settings => {
                print(&settings(width()));
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { client } => {
                // Whom a word means, the daemon knows.
                let mut link = Link::open(&cli.socket)?;
                let known: crate::api::answer::ClientDetail =
                    read(&link.ask("client_get", &json!({ "client": client }))?)?;
                let answer = link.ask("eeprom_list", &json!({}))?;
                let all: Eeproms = read(&answer)?;
                let Some(one) = all.clients.into_iter().find(|one| one.mac == known.client.mac) else {
                    let name = known.client.name;
                    return Err(CliError::Action(format!(
                        "`{name}` has no EEPROM, or its model is not known yet"
                    )));
                };
                print(&if cli.json { format!("{}\n", json!(one)) } else { eeprom(&one, width()) });
                Ok(ExitCode::SUCCESS)
            }
            Self::Set { settings, client, room, all, except, release, yes } => {
                let params = json!({
                    "settings": settings.join(","), "client": client, "room": room, "all": all.then_some("1"),
                    "except": except, "release": release, "confirm": yes.then_some("1"),
                });
                plan(cli, "eeprom_set", &params)
            }
            Self::Undo { client, yes } => {
                plan(cli, "eeprom_undo", &json!({ "client": client, "confirm": yes.then_some("1") }))
            }
        }
    }
}

impl EnrolMedium {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let mut link = Link::open(&cli.socket)?;
        // The daemon has another working folder than the person.
        let to = std::path::absolute(&self.to).unwrap_or_else(|_| self.to.clone());
        let settings = (!self.set.is_empty()).then(|| self.set.join(","));
        let params = json!({
            "to": to, "models": self.models, "image": self.image, "settings": settings, "release": self.release,
            "erase": self.erase.then_some("1"), "confirm": self.yes.then_some("1"),
        });
        let answer = link.ask("enrol_medium", &params)?;
        let medium: Medium = read(&answer)?;
        if cli.json && medium.job.is_none() {
            print(&format!("{answer}\n"));
            return Ok(ExitCode::SUCCESS);
        }
        if !cli.json {
            print(&card(&medium, width()));
        }
        match medium.job {
            Some(job) => watch::watch(cli, &mut link, job),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Asks, prints, and fails if nobody is offered anything.
fn plan(cli: &Cli, method: &str, params: &serde_json::Value) -> Result<ExitCode, CliError> {
    let answer = Link::open(&cli.socket)?.ask(method, params)?;
    let plan: EepromPlan = read(&answer)?;
    print(&if cli.json { format!("{answer}\n") } else { planned(&plan, width()) });
    let any = plan.clients.iter().any(|fate| fate.offered);
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn eeproms(all: &Eeproms, width: usize) -> String {
    if all.clients.is_empty() {
        return wrap("", "No client has an EEPROM, as far as is known: only a Pi 4 or 5 has one.", width);
    }
    let or = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let rows: Vec<Vec<String>> = all
        .clients
        .iter()
        .map(|one| {
            vec![
                one.name.to_string(),
                one.model.clone(),
                or(one.built.map(Moment::date)),
                or(one.boot_order.clone()),
                or(one.rollout.as_ref().map(|rollout| rollout.state.as_str().to_owned())),
                or(one.rollout.as_ref().map(|rollout| match &rollout.settings {
                    Some(settings) => settings.to_string(),
                    None => "as before".to_owned(),
                })),
            ]
        })
        .collect();
    table(&["CLIENT", "MODEL", "BOOTLOADER", "BOOT_ORDER", "UPDATE", "SETTINGS"], &rows, &[0, 5], width)
}

fn eeprom(one: &Eeprom, width: usize) -> String {
    let mut text = wrap("", &format!("{}: {}", one.name, one.model), width);
    let mut line = |title: &str, says: &str| text.push_str(&wrap(&format!("  {title:<11}"), says, width));
    match (one.at, one.built) {
        (Some(at), Some(built)) => line("Bootloader", &format!("of {} (said at {at} UTC)", built.date())),
        (Some(at), None) => line("Bootloader", &format!("its agent does not know (asked at {at} UTC)")),
        (None, _) => line("Bootloader", "it has not said yet; start it once from an image of Bramble"),
    }
    if let Some(updated) = one.updated {
        line("Written", &format!("with an update of {updated} UTC"));
    }
    if let Some(rollout) = &one.rollout {
        let what = rollout.settings.as_ref().map_or_else(|| "as before".to_owned(), ToString::to_string);
        line(
            "Update",
            &format!(
                "{} since {} UTC: {what} (`{}` of {})",
                rollout.state.as_str(),
                rollout.since,
                rollout.file,
                rollout.image
            ),
        );
        if !rollout.why.is_empty() {
            line("", &format!("{}.", rollout.why));
        }
    }
    if let Some(config) = &one.config {
        text.push_str("  Settings\n");
        for line in config.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn settings(width: usize) -> String {
    let mut text = String::new();
    for known in KNOWN {
        let only = known.only.map(|chip| format!(" ({chip} only)")).unwrap_or_default();
        let _ = writeln!(text, "{}{only}", known.name);
        text.push_str(&wrap("    ", &format!("{}: {}.", known.says, known.write), width));
    }
    text
}

fn planned(plan: &EepromPlan, width: usize) -> String {
    let mut text = String::new();
    for fate in &plan.clients {
        text.push_str(&wrap(
            &format!("{} {}: ", if fate.offered { "+" } else { "-" }, fate.name),
            &fate.says,
            width,
        ));
    }
    let offered = plan.clients.iter().filter(|fate| fate.offered).count();
    if offered == 0 {
        text.push_str(&wrap("", "Nothing is written.", width));
        return text;
    }
    if !plan.danger.is_empty() {
        text.push_str(&wrap("Danger: ", &plan.danger, width));
    }
    let end = match (plan.done, plan.danger.is_empty()) {
        (true, true) => "Done.",
        (true, false) => {
            "Asked. Start them again (`bramble client reboot NAME`), and `bramble eeprom list` shows how it went."
        }
        (false, _) => "Nothing was done yet; say it again with --yes.",
    };
    text.push_str(&wrap("", end, width));
    text
}

fn card(medium: &Medium, width: usize) -> String {
    let mut text: String = medium.says.iter().map(|says| wrap("- ", says, width)).collect();
    if medium.job.is_none() {
        let end = format!("Nothing was written to {} yet; say it again with --yes.", medium.to.display());
        text.push_str(&wrap("", &end, width));
    }
    text
}

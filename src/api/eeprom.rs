//! Methods about EEPROMs: what is in them, what is written into them, and cards for Pis that do not boot from the network yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::accounts::switch;
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::proto::eeprom::settings::Settings;
use crate::proto::eeprom::{Chip, config};
use crate::service::clients::Known;
use crate::service::eeprom::check::{DANGER, Refused, check, family};
use crate::service::eeprom::{Entry, Rollout, Said, State, Wanted};
use crate::service::images::Tree;
use crate::service::images::bootloader::{Bootloader, NoBootloader, Release, find};
use crate::service::medium::{self, Card, Models, Source, USUAL};
use crate::types::{HostName, ImageRef, ImageVersion, MacAddr, Moment, Revision, RoomName, chain};

/// Answer of `eeprom_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eeproms {
    pub now: Moment,
    /// Clients that have an EEPROM, by name.
    pub clients: Vec<Eeprom>,
}

/// What is in one EEPROM, as far as the client's agent has told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eeprom {
    pub mac: MacAddr,
    pub name: HostName,
    pub room: Option<RoomName>,
    pub model: String,
    pub chip: Chip,
    /// When its agent told.
    pub at: Option<Moment>,
    /// When its bootloader was built, and when it was last written.
    pub built: Option<Moment>,
    pub updated: Option<Moment>,
    /// Nothing if it has the bootloader's own.
    pub boot_order: Option<String>,
    /// All settings.
    pub config: Option<String>,
    /// The last update that was asked for.
    pub rollout: Option<Rollout>,
}

/// Answer of `eeprom_set` and `eeprom_undo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EepromPlan {
    /// Whether it was done, or only looked at.
    pub done: bool,
    pub danger: String,
    pub clients: Vec<EepromFate>,
}

/// What one client is offered, or why nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EepromFate {
    pub mac: MacAddr,
    pub name: HostName,
    pub offered: bool,
    pub says: String,
}

/// Answer of `enrol_medium`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    /// The job that writes it; nothing if it was only looked at.
    pub job: Option<u64>,
    pub to: PathBuf,
    /// What such a card does, and what cannot be undone.
    pub says: Vec<String>,
}

/// Bootloaders that were looked for already: reading one takes its time, and a room shares them.
type Found = BTreeMap<(ImageVersion, Chip), Result<Bootloader, NoBootloader>>;

/// What could be written into a client.
struct Ready {
    known: Known,
    image: ImageVersion,
    chip: Chip,
    config: String,
}

impl Api {
    pub(super) fn eeprom_list(&self) -> Eeproms {
        let clients = self.clients.all().into_iter().filter(|known| known.adopted).filter_map(|known| {
            let model = known.revision.map(Revision::model)?;
            let chip = Chip::of(model)?;
            let Entry { said, rollout } = self.eeproms.get(known.mac);
            let report = said.as_ref().map(|said| &said.report);
            let text = report.and_then(|report| report.config.as_ref()).map(ToString::to_string);
            Some(Eeprom {
                mac: known.mac,
                name: known.name,
                room: known.room,
                model: model.to_string(),
                chip,
                at: said.as_ref().map(|said| said.at),
                built: report.and_then(|report| report.built),
                updated: report.and_then(|report| report.updated),
                boot_order: text
                    .as_deref()
                    .and_then(|text| config::value(text, "BOOT_ORDER"))
                    .map(str::to_owned),
                config: text,
                rollout,
            })
        });
        Eeproms { now: now(), clients: clients.collect() }
    }

    pub(super) fn eeprom_set(&self, args: &Args) -> Result<EepromPlan, ApiError> {
        let settings: Settings = args.need("settings")?;
        let release = args.get::<Release>("release")?.unwrap_or_default();
        let targets = self.targets(args)?;
        let many = targets.len() > 1;
        let mut found = Found::new();
        let mut ready = Vec::new();
        let mut fates = Vec::new();
        for known in targets {
            let fate = self.ready(&known, Some(&settings), release, &mut found).and_then(|one| {
                let file = found.get(&(one.image.clone(), one.chip)).and_then(|found| found.as_ref().ok());
                let tried = file.is_some_and(|found| self.eeproms.is_tried(&settings, &found.file));
                if many && !tried {
                    return Err(Refused::Image(format!(
                        "these settings are tried with one {} first (`--client {}`), and with the others when it says that it has \
                         them",
                        one.chip, one.known.name
                    )));
                }
                Ok(one)
            });
            match fate {
                Ok(one) => ready.push(one),
                Err(why) => fates.push(fate_of(&known, false, why.to_string())),
            }
        }
        self.roll(args, Some(&settings), ready, fates, &found)
    }

    pub(super) fn eeprom_undo(&self, args: &Args) -> Result<EepromPlan, ApiError> {
        let known = self.known(args)?;
        let Some(last) = self.eeproms.get(known.mac).rollout else {
            return Err(ApiError::Eeprom(format!(
                "nothing was written into the EEPROM of `{}` from here",
                known.name
            )));
        };
        let unwritten =
            last.state == State::Asked || last.state == State::Failed && self.is_as_before(&known, &last);
        let lost = last.is_lost(now());
        if unwritten || lost {
            let confirm = switch(args, "confirm")?.unwrap_or(false);
            if confirm {
                self.eeproms.cancel(known.mac, &self.store, now()).map_err(|error| self.failed(&error))?;
            }
            let says = if lost {
                "the update is forgotten; the client took it and has not said since whether it was written"
            } else {
                "the update is forgotten; its EEPROM is as it was"
            };
            let says = says.to_owned();
            let clients = vec![fate_of(&known, true, says)];
            return Ok(EepromPlan { done: confirm, danger: String::new(), clients });
        }
        let mut found = Found::new();
        let (mut ready, mut fates) = (Vec::new(), Vec::new());
        match self.ready(&known, None, Release::Default, &mut found) {
            Ok(one) => ready.push(one),
            Err(why) => fates.push(fate_of(&known, false, why.to_string())),
        }
        self.roll(args, None, ready, fates, &found)
    }

    /// Whether the client says that its EEPROM has the settings that it had before an update.
    fn is_as_before(&self, known: &Known, update: &Rollout) -> bool {
        let said = self.eeproms.get(known.mac).said;
        said.and_then(|said| said.report.config).is_some_and(|config| config == update.before)
    }

    /// Prepares what was asked for if that was confirmed, else tells what it would be.
    fn roll(
        &self,
        args: &Args,
        settings: Option<&Settings>,
        ready: Vec<Ready>,
        mut fates: Vec<EepromFate>,
        found: &Found,
    ) -> Result<EepromPlan, ApiError> {
        let done = switch(args, "confirm")?.unwrap_or(false);
        for Ready { known, image, chip, config } in ready {
            let Some(Ok(bootloader)) = found.get(&(image.clone(), chip)) else { continue };
            let says = format!(
                "it is offered `{}` of {image} at its next start, with: {}",
                bootloader.file,
                listed(&config)
            );
            let wanted = Wanted { mac: known.mac, settings: settings.cloned(), config, image, bootloader };
            if done {
                self.eeproms.roll_out(wanted, &self.store, now()).map_err(|error| self.failed(&error))?;
            }
            fates.push(fate_of(&known, true, says));
        }
        fates.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(EepromPlan { done, danger: DANGER.to_owned(), clients: fates })
    }

    /// What would be written into one client, or why nothing.
    fn ready(
        &self,
        known: &Known,
        settings: Option<&Settings>,
        release: Release,
        found: &mut Found,
    ) -> Result<Ready, Refused> {
        let chip = family(known.adopted, known.revision.map(Revision::model))?;
        let tree = known.image.as_ref().and_then(|image| self.images.resolve(image));
        let tree = tree
            .ok_or_else(|| Refused::Image("it has no image whose bootloader it could be given".to_owned()))?;
        let Tree { image, root, .. } = &*tree;
        let place = (image.clone(), chip);
        let bootloader = found.entry(place).or_insert_with(|| find(root, chip, release));
        let bootloader = bootloader
            .as_ref()
            .map_err(|error| Refused::Image(format!("image {image}: {}", chain(error))))?;
        let Entry { said, rollout } = self.eeproms.get(known.mac);
        let own = settings.map(|settings| match known.ip {
            Some(ip) => Ok(settings.for_client(ip)),
            None if settings.iter().any(|(name, value)| (name, value) == ("NETCONSOLE", Some("on"))) => {
                Err(Refused::Image("it has no address yet, which NETCONSOLE needs".to_owned()))
            }
            None => Ok(settings.clone()),
        });
        let config =
            check(chip, said.as_ref(), rollout.as_ref(), &bootloader.image, own.transpose()?.as_ref())?;
        Ok(Ready { known: known.clone(), image: image.clone(), chip, config })
    }

    pub(super) fn enrol_medium(&self, args: &Args) -> Result<Medium, ApiError> {
        let to: PathBuf = args.need("to")?;
        let models: Models = args.need("models")?;
        let image: ImageRef = args.need("image")?;
        let usual: Settings = USUAL.parse().expect("it is in the table");
        let settings = args.get::<Settings>("settings")?.map_or(usual.clone(), |own| usual.with(own));
        let release = args.get::<Release>("release")?.unwrap_or_default();
        let erase = switch(args, "erase")?.unwrap_or(false);
        let tree = self.images.resolve(&image).ok_or_else(|| self.no_such_image(image))?;
        let source = Source { root: &tree.root, boot: tree.facts.boot_dir.as_deref(), release };
        let card = Card::collect(source, models, &settings, now()).map_err(|error| ApiError::BadValue {
            field: "image",
            message: format!("image {} cannot be used for a card: {}", tree.image, chain(&error)),
        })?;
        let data = self.config.borrow().data.clone();
        let target =
            medium::look(to.clone(), &data, erase).map_err(|error| ApiError::Medium(chain(&error)))?;
        let says = card.says.clone();
        if !switch(args, "confirm")?.unwrap_or(false) {
            return Ok(Medium { job: None, to, says });
        }
        let job = self
            .jobs
            .start("card", to.display().to_string(), move |task| card.write(&target, erase, task))?;
        Ok(Medium { job: Some(job), to, says })
    }
}

fn fate_of(known: &Known, offered: bool, says: String) -> EepromFate {
    EepromFate { mac: known.mac, name: known.name.clone(), offered, says }
}

/// The settings of a text, without sections and comments.
fn listed(config: &str) -> String {
    let lines = config.lines().map(str::trim).filter(|line| line.contains('=') && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(", ")
}

/// What an agent says of an EEPROM, for `verdicts`.
pub(super) fn boot_order(said: &Said) -> Option<String> {
    let text = said.report.config.as_ref()?;
    config::value(text.as_str(), "BOOT_ORDER").map(str::to_owned)
}

//! Whether settings can be written into a client's EEPROM, and why not. Pure.

use super::Said;
use super::rollout::{Rollout, State};
use crate::proto::eeprom::Chip;
use crate::proto::eeprom::config;
use crate::proto::eeprom::image::Image;
use crate::proto::eeprom::settings::{Settings, tries_network};
use crate::types::Moment;
use crate::types::revision::Model;

/// Bootloaders of before do not update themselves over the network, or not only once.
pub const UPDATES_ITSELF: Moment = Moment::from_secs(1_609_459_200);

/// What a person reads before anything is written.
pub const DANGER: &str = "If the power goes while a Pi writes its EEPROM (some seconds after its next start, with a black screen), \
     it does not start any more until a card has written it anew; `bramble enrol-medium` makes one. Have such a card at \
     hand, see that nobody switches off, and begin with one client.";

/// Why a client is given nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is not adopted")]
    NotAdopted,
    #[error("its model is not known yet; start it once from the network")]
    NoModel,
    #[error("a {0} has no EEPROM; how it boots is set by a card (`bramble enrol-medium`)")]
    NoEeprom(Model),
    #[error("a CM4 does not update itself; write its EEPROM over USB with Raspberry Pi's `rpiboot`")]
    Cm4,
    #[error(
        "it has not said what is in its EEPROM; start it once from an image of Bramble, and leave it on for a minute"
    )]
    NotSaid,
    #[error(
        "its agent cannot read the settings of its EEPROM, and what they are must be known; the kernel of its image is too old"
    )]
    NoConfig,
    #[error(
        "it starts signed systems only (secure boot): changed settings would not be valid; sign and write them with Raspberry Pi's own tools"
    )]
    Signed,
    #[error("its bootloader is of {}, and one from before 2021 does not update itself over the network; write it with a card (`bramble enrol-medium`)", .0.date())]
    TooOld(Moment),
    #[error(
        "its EEPROM has `{0}`, so it takes no update over the network; write it with a card (`bramble enrol-medium`)"
    )]
    Locked(&'static str),
    #[error("its bootloader is of {}, newer than that of the image ({}); take an image with a newer `rpi-eeprom`, or `--release latest`", .client.date(), .image.date())]
    Newer { client: Moment, image: Moment },
    #[error("the board wants a newer bootloader than the image has; take an image with a newer `rpi-eeprom`")]
    Board,
    #[error("a {chip} has no {name}")]
    OtherFamily { chip: Chip, name: &'static str },
    #[error(
        "the bootloader of the image does not know {0} yet; take an image with a newer `rpi-eeprom`, or `--release latest`"
    )]
    Unknown(&'static str),
    #[error(
        "with BOOT_ORDER as it is now ({order}) it would never try the network again; ask for BOOT_ORDER=0xf21 too"
    )]
    NoNetwork { order: String },
    #[error("it has this bootloader and these settings")]
    Nothing,
    #[error("an update is under way there since {0} UTC; wait until its agent has said how that went")]
    UnderWay(Moment),
    #[error("{0}")]
    Image(String),
}

/// The family of a client whose EEPROM can be written at all.
pub fn family(adopted: bool, model: Option<Model>) -> Result<Chip, Refused> {
    if !adopted {
        return Err(Refused::NotAdopted);
    }
    match model {
        None | Some(Model::Unknown) => Err(Refused::NoModel),
        Some(Model::Cm4) => Err(Refused::Cm4),
        Some(model) => Chip::of(model).ok_or(Refused::NoEeprom(model)),
    }
}

/// All settings that the client has afterwards; `settings` is `None` to give it back what it had.
pub fn check(
    chip: Chip,
    said: Option<&Said>,
    last: Option<&Rollout>,
    image: &Image,
    settings: Option<&Settings>,
) -> Result<String, Refused> {
    let report = &said.ok_or(Refused::NotSaid)?.report;
    if let Some(rollout) = last.filter(|rollout| rollout.state == State::Fetched) {
        return Err(Refused::UnderWay(rollout.since));
    }
    if report.signed != 0 {
        return Err(Refused::Signed);
    }
    let built = report.built.ok_or(Refused::NotSaid)?;
    if built < UPDATES_ITSELF {
        return Err(Refused::TooOld(built));
    }
    let before = report.config.as_ref().ok_or(Refused::NoConfig)?.as_str();
    for (name, value, shown) in
        [("ENABLE_SELF_UPDATE", "0", "ENABLE_SELF_UPDATE=0"), ("FREEZE_VERSION", "1", "FREEZE_VERSION=1")]
    {
        if config::value(before, name) == Some(value) {
            return Err(Refused::Locked(shown));
        }
    }
    let own = image.built().unwrap_or_default();
    if own < built {
        return Err(Refused::Newer { client: built, image: own });
    }
    if image.board_version() < report.board_version {
        return Err(Refused::Board);
    }
    if let Some(name) = settings.and_then(|settings| settings.unknown_to(chip)) {
        return Err(Refused::OtherFamily { chip, name });
    }
    let set = settings.into_iter().flat_map(Settings::iter).filter(|(_, value)| value.is_some());
    if let Some((name, _)) = set.into_iter().find(|(name, _)| !image.knows(name)) {
        return Err(Refused::Unknown(name));
    }
    let after = match (settings, last) {
        (Some(settings), _) => config::apply(before, settings),
        (None, Some(last)) => last.before.as_str().to_owned(),
        (None, None) => return Err(Refused::Nothing),
    };
    let order = config::value(&after, "BOOT_ORDER");
    if !order.is_some_and(tries_network) {
        return Err(Refused::NoNetwork { order: order.unwrap_or("not set").to_owned() });
    }
    if after == before && own == built {
        return Err(Refused::Nothing);
    }
    Ok(after)
}

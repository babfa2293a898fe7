//! What methods answer. The command line reads the same types back.

mod clients;
mod images;
mod people;
mod room;
mod service;

pub use clients::*;
pub use images::*;
pub use people::*;
pub use room::*;
pub use service::*;

pub use super::eeprom::{Eeprom, EepromFate, EepromPlan, Eeproms, Medium};
pub use crate::config::problem::Problem;
pub use crate::service::accounts::import::{Fate, LineFate};
pub use crate::service::accounts::steps::{Outcome, Step};
pub use crate::service::boots::{Boot, RoomBoots};
pub use crate::service::homes::{Attic, HomeUsage};
pub use crate::service::images::catalogue::{News, Offer, Source as CatalogueSource};
pub use crate::service::images::devices::{Device, DevicePartition};
pub use crate::service::images::drafts::DraftSummary;
pub use crate::service::images::exported::Export;
pub use crate::service::images::library::VersionSummary;
pub use crate::service::images::uploads::Upload;
pub use crate::service::jobs::JobStatus;
pub use crate::service::room::action::{ActionStatus, TargetStatus};
pub use crate::service::room::console::ConsoleLine;
pub use crate::service::room::vitals::Sample;
pub use crate::service::shares::ShareSummary;
pub use crate::service::verdicts::Verdict;

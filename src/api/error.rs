//! Refusals that a caller can act on.
//!
//! Neither ubus nor a unix socket has a text for an error, so a refusal travels in the answer:
//! `{"error": {"code", "message", "field"}}`. Programs look at `code`, forms put `message` beside `field`, people read
//! `message`. The text may change, the code may not.

use serde::{Deserialize, Serialize};

use crate::config::problem::Problems;
use crate::service::accounts::manage::EditError;
use crate::service::jobs::JobError;
use crate::service::room::action::Refused;
use crate::service::room::screens::NotShown;
use crate::types::{HostName, ImageName, ImageRef, MacAddr, RoomName, SessionId};

/// Why a method was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("there is no method `{method}`; this Bramble has {known}")]
    NoSuchMethod { method: String, known: String },
    #[error("`{field}` is missing; {help}")]
    Missing { field: &'static str, help: &'static str },
    #[error("{message}")]
    BadValue { field: &'static str, message: String },
    #[error(
        "no client `{who}` is known; name it by its hardware address, its name or its IP address as `bramble client list` shows them, or switch it on once so that it is seen"
    )]
    NoSuchClient { who: String },
    #[error("the name `{name}` belongs to {owner} already; choose another one")]
    NameTaken { name: HostName, owner: MacAddr },
    #[error("there is no room `{room}`; {known}")]
    NoSuchRoom { room: RoomName, known: String },
    #[error("there is no image `{image}`; {known}")]
    NoSuchImage { image: ImageRef, known: String },
    #[error("{0}")]
    ImageInUse(String),
    /// The image is not in the state that this needs: it has a draft already or has none, there is nothing to go back to.
    #[error("{0}")]
    ImageState(String),
    #[error("there is an image `{0}` already; choose another name")]
    ImageTaken(ImageName),
    #[error("{0}")]
    Account(EditError),
    /// The change itself would make a configuration with problems.
    #[error("nothing was changed, because the configuration would not be right:\n{0}")]
    WouldNotWork(Problems),
    #[error("the change could not be written: {0}")]
    NotWritten(String),
    #[error("there is no open session {0}; `bramble session list` shows those there are")]
    NoSuchSession(SessionId),
    #[error("there is no action {0}; `bramble action list` shows those there are")]
    NoSuchAction(u64),
    #[error("{0}")]
    Action(Refused),
    #[error("{0}")]
    Screen(NotShown),
    #[error("there is no job {0}; `bramble job list` shows those there are")]
    NoSuchJob(u64),
    #[error(
        "job {0} is no import of people, has not ended well, or ended too long ago; new passwords can be had with `bramble \
         account password`"
    )]
    NoSuchImport(u64),
    #[error("{0}")]
    Job(JobError),
    #[error("{0}")]
    Eeprom(String),
    #[error("{0}")]
    Medium(String),
    #[error("{0}")]
    Takeover(String),
    #[error("{0}")]
    NoDisk(String),
    /// The configuration is not right, or something else keeps the daemon from starting.
    #[error("{0}")]
    NotStarted(String),
    #[error("Bramble is being stopped; ask again when it is back")]
    Stopping,
    /// A fault of ours: the log has the chain, the caller gets where to look.
    #[error(
        "Bramble could not do this; its log has the reason under request {request} (`logread -e bramble`)"
    )]
    Internal { request: u64 },
}

impl ApiError {
    /// Stable word for programs; the text of the message may change, this may not.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchMethod { .. } => "no_such_method",
            Self::Missing { .. } => "missing",
            Self::BadValue { .. } => "bad_value",
            Self::NoSuchClient { .. } => "no_such_client",
            Self::NameTaken { .. } => "name_taken",
            Self::NoSuchRoom { .. } => "no_such_room",
            Self::NoSuchImage { .. } => "no_such_image",
            Self::ImageInUse(_) => "image_in_use",
            Self::ImageState(_) => "image_state",
            Self::ImageTaken(_) => "image_taken",
            Self::Account(error) => error.code(),
            Self::WouldNotWork(_) => "would_not_work",
            Self::NotWritten(_) => "not_written",
            Self::NoSuchSession(_) => "no_such_session",
            Self::NoSuchAction(_) => "no_such_action",
            Self::Action(refused) => refused.code(),
            Self::Screen(why) => why.code(),
            Self::NoSuchJob(_) => "no_such_job",
            Self::NoSuchImport(_) => "no_such_import",
            Self::Job(_) => "job",
            Self::Eeprom(_) => "eeprom",
            Self::Medium(_) => "medium",
            Self::Takeover(_) => "takeover",
            Self::NoDisk(_) => "no_disk",
            Self::NotStarted(_) => "not_started",
            Self::Stopping => "stopping",
            Self::Internal { .. } => "internal",
        }
    }

    /// The parameter at fault, so that a form can put the message beside the field.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Missing { field, .. } | Self::BadValue { field, .. } => Some(field),
            Self::NoSuchClient { .. } | Self::Eeprom(_) | Self::Screen(_) => Some("client"),
            Self::NameTaken { .. } | Self::ImageTaken(_) => Some("name"),
            Self::NoSuchRoom { .. } => Some("room"),
            Self::NoSuchImage { .. } | Self::ImageInUse(_) | Self::ImageState(_) => Some("image"),
            Self::NoSuchSession(_) => Some("session"),
            Self::NoSuchJob(_) | Self::NoSuchImport(_) => Some("job"),
            Self::NoSuchAction(_) => Some("action"),
            Self::Medium(_) => Some("to"),
            Self::Action(refused) => refused.field(),
            Self::Account(error) => error.field(),
            Self::NoSuchMethod { .. }
            | Self::WouldNotWork(_)
            | Self::NotWritten(_)
            | Self::Job(_)
            | Self::Takeover(_)
            | Self::NoDisk(_)
            | Self::NotStarted(_)
            | Self::Stopping
            | Self::Internal { .. } => None,
        }
    }

    pub fn refusal(&self) -> Refusal {
        Refusal {
            code: self.code().to_owned(),
            message: self.to_string(),
            field: self.field().map(ToOwned::to_owned),
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::NoSuchJob(job) => Self::NoSuchJob(job),
            JobError::Closed => Self::Stopping,
            other => Self::Job(other),
        }
    }
}

/// An [`ApiError`] as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    pub field: Option<String>,
}

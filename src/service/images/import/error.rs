//! Why an image was not imported.

use std::io;
use std::path::PathBuf;

use crate::service::images::archive::ArchiveError;
use crate::service::images::copy::CopyError;
use crate::service::images::desktop::DesktopError;
use crate::service::images::devices::DeviceError;
use crate::service::images::disk::DiskError;
use crate::service::images::drafts::DraftError;
use crate::service::images::fat::FatError;
use crate::service::images::inspect::InspectError;
use crate::service::images::library::LibraryError;
use crate::service::images::plant::PlantError;
use crate::service::images::publish::PublishError;
use crate::service::images::source::SourceError;
use crate::service::images::squash::SquashError;
use crate::service::images::web::FetchError;
use crate::service::jobs::{Cancelled, JobError};
use crate::types::ByteSize;

/// Why an image was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "there is not enough room: {doing} `{source_name}` takes about {needed}{}, and `{}` has {free} free; remove images that nobody boots (`bramble image list`), or use a larger disk",
        if *.unpacked_too { " (the unpacked image for the time of the import, and its files)" } else { "" }, folder.display()
    )]
    Space {
        doing: &'static str,
        source_name: String,
        needed: ByteSize,
        unpacked_too: bool,
        free: ByteSize,
        folder: PathBuf,
    },
    #[error("the disk is full: `{}` has no room left for `{source_name}`; nothing was kept. Remove images that nobody boots (`bramble image list`), or use a larger disk", folder.display())]
    Full { source_name: String, folder: PathBuf },
    #[error(
        "`{source_name}` has the SHA-256 {found}, and {wanted} was expected{}; the download is damaged or is another file, download it again",
        if *.of_content { " (of its unpacked content)" } else { "" }
    )]
    Sum { source_name: String, found: String, wanted: String, of_content: bool },
    #[error("a folder or a disk has no SHA-256; import it without one")]
    SumOfFolder,
    #[error(transparent)]
    Fetch(FetchError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Desktop(#[from] DesktopError),
    #[error("`{source_name}` is neither an archive (.tar) nor a disk image (.img){hint}")]
    Unknown { source_name: String, hint: &'static str },
    #[error(
        "`{source_name}` cannot be unpacked; it is damaged or was not downloaded completely, download it again"
    )]
    Unpack {
        source_name: String,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be used for the import", folder.display())]
    Staging {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Archive(ArchiveError),
    #[error(transparent)]
    Copy(CopyError),
    #[error(transparent)]
    Disk(DiskError),
    #[error(transparent)]
    Plant(PlantError),
    #[error(transparent)]
    Squash(SquashError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<ArchiveError> for ImportError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            ArchiveError::Plant(error) => Self::Plant(error),
            other => Self::Archive(other),
        }
    }
}

impl From<DiskError> for ImportError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Cancelled(cancelled) | DiskError::Fat(FatError::Cancelled(cancelled)) => {
                Self::Cancelled(cancelled)
            }
            DiskError::Plant(error) | DiskError::Fat(FatError::Plant(error)) => Self::Plant(error),
            DiskError::Copy(error) => error.into(),
            other => Self::Disk(other),
        }
    }
}

impl From<CopyError> for ImportError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            CopyError::Plant(error) => Self::Plant(error),
            other => Self::Copy(other),
        }
    }
}

impl ImportError {
    /// Whether there is nothing, maybe for the moment, at the place somebody named.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Source(SourceError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk, or a quota on it, is the reason.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Plant(error) => error.is_full(),
            Self::Staging { source, .. } | Self::Squash(SquashError::Write(source)) => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

//! What methods answer about images: versions, drafts, where they come from and where they go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::service::images::catalogue::{News, Offer, Source as CatalogueSource};
use crate::service::images::devices::Device;
use crate::service::images::drafts::DraftSummary;
use crate::service::images::exported::Export;
use crate::service::images::library::VersionSummary;
use crate::service::images::uploads::Upload;
use crate::types::{Arch, HostName, ImageName, ImageVersion, RoomName, Version};

/// Answer of `image_shell`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    pub image: ImageName,
    /// The draft that the shell works in.
    pub draft: PathBuf,
    /// What to type in a terminal on the router.
    pub command: String,
    /// Page of LuCI with such a terminal, if `luci-app-ttyd` is installed; below `/cgi-bin/luci/`.
    pub page: Option<String>,
    pub says: String,
}

/// Answer of `image_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    pub images: Vec<Image>,
}

/// One image, as its current version describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: ImageName,
    pub current: Option<Version>,
    /// All versions, oldest first.
    pub versions: Vec<Version>,
    pub release: String,
    pub arch: Option<Arch>,
    /// Of all versions, on the disk.
    pub bytes: u64,
    /// Of their packed files, beside that.
    #[serde(default)]
    pub packed: u64,
    /// Clients that boot it next.
    pub clients: Vec<HostName>,
    /// The version that a roll-back makes current.
    pub before: Option<Version>,
    pub draft: Option<DraftSummary>,
}

/// Answer of `image_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDetail {
    pub name: ImageName,
    pub current: Option<Version>,
    pub clients: Vec<HostName>,
    /// Oldest first.
    pub versions: Vec<VersionSummary>,
    pub draft: Option<DraftSummary>,
}

/// Answer of `image_rename`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    pub image: ImageName,
    /// Sections of the configuration that name it and were changed.
    pub sections: Vec<String>,
    pub says: String,
}

/// Answer of `image_test`, `image_promote` and `image_rollback`: what clients boot from their next start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The version it is about; none if a room is left without an image.
    pub image: Option<ImageVersion>,
    /// Only this room, if it is about one.
    pub room: Option<RoomName>,
    /// Clients that boot it when they next start.
    pub clients: Vec<HostName>,
    /// Those of them that run something else until then.
    pub still: Vec<ClientOn>,
    /// Clients of the image that stay with another version, because one is pinned for them or tried out.
    pub keep: Vec<ClientOn>,
    /// The action that has those in `still` start again, or asks the people there to.
    #[serde(default)]
    pub action: Option<u64>,
    /// All of this in plain words.
    pub says: String,
}

/// Answer of `image_maintain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    pub image: ImageName,
    /// The client that boots its draft.
    pub client: Option<HostName>,
    /// What happens now, in plain words.
    pub says: String,
}

/// A client and what it boots or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientOn {
    pub client: HostName,
    pub image: ImageVersion,
}

/// Answer of `image_remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// What is no longer on record.
    pub versions: Vec<ImageVersion>,
    /// What clients of the image boot from now on, if it still has a version.
    pub current: Option<Version>,
    /// Deletes the files.
    pub job: u64,
}

/// Answer of `image_catalogue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The configured lists, and how reading them went last.
    pub lists: Vec<CatalogueSource>,
    /// How many there are, with those that are left out here.
    pub total: usize,
    pub offers: Vec<Offer>,
    /// Newer releases of images that came from a list.
    pub news: Vec<News>,
}

/// Answer of `device_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    pub devices: Vec<Device>,
}

/// Answer of `image_desktop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desktop {
    pub people: Vec<DesktopOf>,
}

/// A person of an image, and what of their desktop would become everybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesktopOf {
    pub name: String,
    pub settings: Vec<SettingOf>,
}

/// One file: where it is below the home, and where it would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingOf {
    pub from: String,
    pub to: String,
}

/// Answer of `image_exports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exports {
    /// Newest first.
    pub exports: Vec<Export>,
}

/// Answer of `upload_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploads {
    pub uploads: Vec<Upload>,
}

//! Methods about images.

use super::answer::{Image, ImageDetail, Images, Removed, Started};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::clients::Known;
use crate::service::images::import::{ImportError, Request, parse_sum};
use crate::service::images::library::{ImageSummary, LibraryError, Removal, RemoveError};
use crate::service::images::source::{Sum, Sums};
use crate::service::state::Word;
use crate::types::{HostName, ImageName, ImageRef, ImageVersion, chain};

impl Api {
    pub(super) fn image_list(&self) -> Result<Images, ApiError> {
        let list = self.library.list().map_err(|error| self.failed(&error))?;
        let images = list.into_iter().map(|summary| {
            let clients = self.booting(&summary.name);
            let newest = summary.versions.iter().find(|version| Some(version.version) == summary.current);
            Image {
                current: summary.current,
                versions: summary.versions.iter().map(|version| version.version).collect(),
                release: newest.map(|version| version.facts.pretty_name.clone()).unwrap_or_default(),
                arch: newest.map(|version| version.facts.arch),
                bytes: summary.versions.iter().map(|version| version.bytes).sum(),
                packed: summary.versions.iter().filter_map(|version| version.packed).sum(),
                clients,
                before: summary.versions.iter().find(|version| version.before).map(|version| version.version),
                draft: summary.draft,
                name: summary.name,
            }
        });
        Ok(Images { images: images.collect() })
    }

    pub(super) fn image_show(&self, args: &Args) -> Result<ImageDetail, ApiError> {
        let image: ImageRef = args.need("image")?;
        let summary = self.library.show(&image.name).map_err(|error| self.failed(&error))?;
        let Some(ImageSummary { name, current, mut versions, draft }) = summary else {
            return Err(self.no_such_image(image));
        };
        if let Some(wanted) = image.version {
            versions.retain(|version| version.version == wanted);
            if versions.is_empty() {
                return Err(self.no_such_image(image));
            }
        }
        Ok(ImageDetail { clients: self.booting(&name), name, current, versions, draft })
    }

    pub(super) fn image_import(&self, args: &Args) -> Result<Started, ApiError> {
        let sum = |field: &'static str| -> Result<Option<Sum>, ApiError> {
            let text: Option<String> = args.get(field)?;
            let bad = |error| ApiError::BadValue { field, message: chain(&error) };
            text.map(|text| parse_sum(&text)).transpose().map_err(bad)
        };
        let request = Request {
            source: args.need("source")?,
            name: args.need("name")?,
            expect: Sums { file: sum("sha256")?, content: sum("content_sha256")? },
        };
        match self.library.import(request) {
            Ok(job) => Ok(Started { job }),
            Err(ImportError::Job(error)) => Err(error.into()),
            Err(ImportError::Library(error)) => Err(self.failed(&error)),
            Err(error) => Err(ApiError::BadValue { field: "source", message: chain(&error) }),
        }
    }

    pub(super) fn image_remove(&self, args: &Args) -> Result<Removed, ApiError> {
        let image: ImageRef = args.need("image")?;
        match self.library.remove(&image, &|version| self.users(version)) {
            Ok(Removal { versions, current, job }) => Ok(Removed { versions, current, job }),
            Err(RemoveError::NoSuchImage(image)) => Err(self.no_such_image(image)),
            Err(error @ (RemoveError::InUse { .. } | RemoveError::HasDraft(_))) => {
                Err(ApiError::ImageInUse(chain(&error)))
            }
            Err(RemoveError::Library(LibraryError::Job(error))) => Err(error.into()),
            Err(RemoveError::Library(error)) => Err(self.failed(&error)),
        }
    }

    /// Clients that boot a version of `image` next.
    fn booting(&self, image: &ImageName) -> Vec<HostName> {
        let boots = |known: &Known| known.image.as_ref().is_some_and(|next| next.name == *image);
        self.clients.all().into_iter().filter(boots).map(|known| known.name).collect()
    }

    /// Clients that `version` cannot be taken from: it is what they boot next, or what they run.
    fn users(&self, version: &ImageVersion) -> Vec<String> {
        let uses = |known: &Known| {
            let boots = self.boots_next(known).as_ref() == Some(version);
            boots || known.booted.as_ref() == Some(version) && self.runs(known)
        };
        self.clients.all().into_iter().filter(uses).map(|known| known.name.to_string()).collect()
    }

    /// What a client boots when it next starts.
    pub(super) fn boots_next(&self, known: &Known) -> Option<ImageVersion> {
        let tree = known.image.as_ref().and_then(|image| self.images.resolve(image))?;
        Some(tree.image.clone())
    }

    /// Whether a client is running what it was last told to boot, or about to.
    pub(super) fn runs(&self, known: &Known) -> bool {
        matches!(
            self.client(known.clone(), now()).state,
            Word::Firmware | Word::Kernel | Word::Starting | Word::Up
        )
    }

    pub(super) fn no_such_image(&self, image: ImageRef) -> ApiError {
        let known: Vec<String> = self.images.all().iter().map(|tree| tree.image.to_string()).collect();
        let known = match known.as_slice() {
            [] => "none has been imported yet: `bramble image import FILE --name NAME`".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        ApiError::NoSuchImage { image, known }
    }
}

//! Methods about images.

use super::Api;
use super::answer::{Image, ImageDetail, Images, Removed, Started};
use super::args::Args;
use super::error::ApiError;
use crate::service::clients::Known;
use crate::service::images::catalogue::suggest;
use crate::service::images::import::{ImportError, Request, parse_sum};
use crate::service::images::library::{ImageSummary, LibraryError, Removal, RemoveError};
use crate::service::images::source::Sum;
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
        let (source, name): (String, Option<ImageName>) = (args.need("source")?, args.get("name")?);
        let is_place = source.starts_with('/') || source.contains("://") || source.starts_with("upload:");
        let mut request = if is_place {
            let uploaded = self.library.uploads().name_of(&source);
            self.library
                .uploads()
                .check_complete(&source)
                .map_err(|error| self.upload_failed("source", &error))?;
            let name = name.or_else(|| suggested(uploaded.as_deref().unwrap_or(&source)));
            let help = "give the name the image shall have, such as `trixie`";
            Request::new(source, name.ok_or(ApiError::Missing { field: "name", help })?)
        } else {
            self.catalogues.request(&source, name).map_err(|error| self.catalogue_failed(error))?
        };
        request.desktop = args.get("desktop")?;
        // What a person gives counts more than what a list says.
        request.expect.file = sum("sha256")?.or(request.expect.file);
        request.expect.content = sum("content_sha256")?.or(request.expect.content);
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
    pub(super) fn users(&self, version: &ImageVersion) -> Vec<String> {
        let uses = |known: &Known| {
            let boots = self.boots_next(known).as_ref() == Some(version);
            boots || known.booted.as_ref() == Some(version) && self.runs(known)
        };
        let clients = self.clients.all().into_iter().filter(uses).map(|known| known.name.to_string());
        clients.chain(self.pinned_by(version)).collect()
    }

    /// What a client boots when it next starts.
    pub(super) fn boots_next(&self, known: &Known) -> Option<ImageVersion> {
        let tree = known.image.as_ref().and_then(|image| self.images.resolve(image))?;
        Some(tree.image.clone())
    }

    /// Whether a client is running what it was last told to boot, or about to.
    pub(super) fn runs(&self, known: &Known) -> bool {
        self.eyes().runs(known)
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

/// A name for an image from the last part of where it comes from, without what says how it is packed.
fn suggested(source: &str) -> Option<ImageName> {
    let name =
        source.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').rsplit('/').next()?;
    let mut name = name.to_ascii_lowercase();
    while let Some(shorter) = [".xz", ".gz", ".zst", ".zip", ".img", ".tar", ".tgz"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
    {
        name = shorter.to_owned();
    }
    suggest(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_name_of_its_file() {
        #[rustfmt::skip]
        let rows = [
            ("https://h.example/a/2026-06-18-raspios-trixie-arm64.img.xz?x=1", Some("2026-06-18-raspios-trixie-arm64")),
            ("/mnt/stick/School OS.tar.zst", Some("school-os")), ("/mnt/tree/", Some("tree")), ("/dev/sdb", Some("sdb")),
            ("https://h.example/", Some("h.example")), ("/", None), ("https://h.example/%%%.img", None),
        ];
        for (source, expected) in rows {
            assert_eq!(suggested(source).map(|name| name.to_string()).as_deref(), expected, "{source}");
        }
    }
}

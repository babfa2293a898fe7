//! Methods about catalogues, disks in the router, and whose desktop becomes everybody's.

use std::path::PathBuf;

use super::Api;
use super::answer::{Catalogue, Desktop, DesktopOf, Devices, Offer, SettingOf, Started};
use super::args::Args;
use super::error::ApiError;
use crate::service::images::catalogue::{CatalogueError, Wanted};
use crate::service::images::desktop::Person;
use crate::types::{ImageName, ImageRef, chain, limits};

impl Api {
    pub(super) fn image_catalogue(&self, args: &Args) -> Result<Catalogue, ApiError> {
        let all: Option<String> = args.get("all")?;
        let wanted = Wanted { search: args.get("search")?, all: all.as_deref() == Some("1") };
        let count = |number: Option<u64>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let offset = count(args.number("offset")?).unwrap_or(0);
        let limit = count(args.number("limit")?).unwrap_or(usize::MAX).min(limits::CATALOGUE_LISTED);
        let offers = self.catalogues.offers(&wanted).map_err(|error| self.catalogue_failed(error))?;
        Ok(Catalogue {
            lists: self.catalogues.sources(),
            total: offers.len(),
            offers: page(offers, offset, limit),
            news: self.catalogues.news().map_err(|error| self.catalogue_failed(error))?,
        })
    }

    pub(super) fn image_catalogue_refresh(&self) -> Result<Started, ApiError> {
        Ok(Started { job: self.catalogues.refresh()? })
    }

    pub(super) fn device_list(&self) -> Result<Devices, ApiError> {
        let devices = self.library.devices().list().map_err(|error| self.failed(&error))?;
        Ok(Devices { devices })
    }

    pub(super) fn image_desktop(&self, args: &Args) -> Result<Desktop, ApiError> {
        let image: Option<ImageRef> = args.get("image")?;
        let draft: Option<ImageName> = args.get("draft")?;
        let device: Option<PathBuf> = args.get("device")?;
        let (field, people) = match (image, draft, device) {
            (Some(image), None, None) => {
                let tree = self.images.resolve(&image).ok_or_else(|| self.no_such_image(image))?;
                ("image", self.library.desktops_in(&tree.root))
            }
            (None, Some(name), None) => {
                let none = || ApiError::ImageState(format!("`{name}` has no draft"));
                let tree =
                    self.images.drafts().into_iter().find(|tree| tree.image.name == name).ok_or_else(none)?;
                ("draft", self.library.desktops_in(&tree.root))
            }
            (None, None, Some(device)) => ("device", self.library.desktops_on(&device)),
            _ => {
                let help = "give one of `image`, `draft` and `device`";
                return Err(ApiError::Missing { field: "image", help });
            }
        };
        let people = people.map_err(|error| ApiError::BadValue { field, message: chain(&error) })?;
        Ok(Desktop { people: people.into_iter().map(desktop_of).collect() })
    }

    /// What needs attention less than a problem does, one sentence each.
    pub(super) fn news(&self) -> Result<Vec<String>, ApiError> {
        let news = self.catalogues.news().map_err(|error| self.catalogue_failed(error))?;
        Ok(news.into_iter().map(|news| news.says).collect())
    }

    pub(super) fn catalogue_failed(&self, error: CatalogueError) -> ApiError {
        match error {
            CatalogueError::Store(error) => self.failed(&error),
            error => ApiError::BadValue { field: "source", message: chain(&error) },
        }
    }
}

/// Those from `offset` on, as many as are wanted and fit a message.
fn page(offers: Vec<Offer>, offset: usize, limit: usize) -> Vec<Offer> {
    let mut bytes = 0;
    let size = |offer: &Offer| {
        let texts = [&offer.name, &offer.description, &offer.list, &offer.place];
        512 + texts.into_iter().chain(&offer.headings).map(String::len).sum::<usize>()
    };
    let fits = move |offer: &Offer| {
        bytes += size(offer);
        bytes <= limits::CATALOGUE_ANSWER
    };
    offers.into_iter().skip(offset).take(limit).take_while(fits).collect()
}

fn desktop_of(person: Person) -> DesktopOf {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let settings = person.settings.into_iter();
    DesktopOf {
        name: person.name,
        settings: settings
            .map(|setting| SettingOf { from: text(setting.from), to: text(setting.to) })
            .collect(),
    }
}

//! Which version clients boot: promoted, rolled back, tried out by one.
//!
//! Nothing here touches a running client: what it boots is asked for when it next starts, and the version it runs stays
//! where it is until nobody runs it.

use super::library::{Library, LibraryError};
use crate::types::{ImageName, ImageRef, ImageVersion, MacAddr, Moment, Version};

/// Why clients do not boot another version.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    #[error("there is no version before `{0}` to go back to")]
    NothingBefore(ImageVersion),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl Library {
    /// The version that `image` names.
    pub fn version_of(&self, image: &ImageRef) -> Result<ImageVersion, LifeError> {
        let tree = self.images.resolve(image).ok_or_else(|| LifeError::NoSuchImage(image.clone()))?;
        Ok(tree.image.clone())
    }

    /// Clients that pin no version boot this one from their next start on. Answers with the version before.
    pub fn promote(&self, image: &ImageVersion) -> Result<Option<Version>, LifeError> {
        let before = self.images.current(&image.name);
        if !self.store.image_promote(image).map_err(LibraryError::from)? {
            let image = ImageRef { name: image.name.clone(), version: Some(image.version) };
            return Err(LifeError::NoSuchImage(image));
        }
        self.images.promote(image);
        tracing::info!(image = %image, "version promoted");
        Ok(before)
    }

    /// Makes the version that was current before the current one; the next roll-back undoes it. Answers with it.
    pub fn roll_back(&self, name: &ImageName) -> Result<ImageVersion, LifeError> {
        let current = self.version_of(&ImageRef { name: name.clone(), version: None })?;
        let before = self.store.image_before(name).map_err(LibraryError::from)?;
        let Some(version) = before else { return Err(LifeError::NothingBefore(current)) };
        let image = ImageVersion { name: name.clone(), version };
        self.promote(&image)?;
        Ok(image)
    }

    /// Notes that `mac` tries a version out, or with `None` that it no longer does.
    pub fn set_trial(
        &self,
        mac: MacAddr,
        image: Option<&ImageVersion>,
        now: Moment,
    ) -> Result<(), LifeError> {
        Ok(self.store.trial_set(mac, image, now).map_err(LibraryError::from)?)
    }
}

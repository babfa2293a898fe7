//! Methods about the forms an image can have: an archive that leaves the router, a packed file, another name.

use std::path::{Path, PathBuf};

use super::answer::Started;
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::images::export::{ExportError, ExportRequest, Form};
use crate::types::chain;

impl Api {
    pub(super) fn image_export(&self, args: &Args) -> Result<Started, ApiError> {
        let to: PathBuf = args.need("to")?;
        let form = args.get::<Form>("form")?.unwrap_or_else(|| form_of(&to));
        self.backups
            .check_target(&to)
            .map_err(|error| ApiError::BadValue { field: "to", message: chain(&error) })?;
        let request = ExportRequest { image: args.need("image")?, to, form };
        match self.library.export(request, now()) {
            Ok(job) => Ok(Started { job }),
            Err(ExportError::NoSuchImage(image)) => Err(self.no_such_image(image)),
            Err(ExportError::Library(error)) => Err(self.library_failed(error)),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

/// How an archive of this name is packed.
fn form_of(to: &Path) -> Form {
    if to.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("xz")) { Form::Xz } else { Form::Zst }
}

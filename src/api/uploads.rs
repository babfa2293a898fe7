//! Methods about files that come from a browser.

use super::answer::{Upload, Uploads};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::service::images::uploads::UploadError;
use crate::types::chain;

impl Api {
    pub(super) fn upload_begin(&self, args: &Args) -> Result<Upload, ApiError> {
        let (name, mark): (String, Option<String>) = (args.need("name")?, args.get("mark")?);
        let bytes = args.need_number("bytes")?;
        let begun = self.library.uploads().begin(&name, bytes, mark.as_deref().unwrap_or_default(), now());
        begun.map_err(|error| self.upload_failed("bytes", &error))
    }

    pub(super) fn upload_slice(&self, args: &Args) -> Result<Upload, ApiError> {
        let data: String = args.need("data")?;
        let taken =
            self.library.uploads().slice(args.need_number("upload")?, args.need_number("offset")?, &data);
        taken.map_err(|error| self.upload_failed("data", &error))
    }

    pub(super) fn upload_list(&self) -> Result<Uploads, ApiError> {
        let uploads = self.library.uploads().list().map_err(|error| self.upload_failed("upload", &error))?;
        Ok(Uploads { uploads })
    }

    pub(super) fn upload_cancel(&self, args: &Args) -> Result<Upload, ApiError> {
        let gone = self.library.uploads().cancel(args.need_number("upload")?);
        gone.map_err(|error| self.upload_failed("upload", &error))
    }

    pub(super) fn upload_failed(&self, field: &'static str, error: &UploadError) -> ApiError {
        let field = match error {
            UploadError::File { .. } | UploadError::Store(_) => return self.failed(error),
            UploadError::Elsewhere { .. } | UploadError::TooLong { .. } => "offset",
            UploadError::NoSuchUpload(_) if field != "source" => "upload",
            _ => field,
        };
        ApiError::BadValue { field, message: chain(error) }
    }
}

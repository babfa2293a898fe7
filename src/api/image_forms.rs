//! Methods about the forms an image can have: an archive that leaves the router, a packed file, another name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::accounts::switch;
use super::answer::{Export, Exports, Renamed, Started};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::config::NfsBackend;
use crate::config::edit::{self, Edit, rename_image};
use crate::service::clients::Known;
use crate::service::images::export::{ExportError, ExportRequest, Form};
use crate::service::images::exported::ExportedError;
use crate::service::images::pack::PackError;
use crate::service::images::rename::RenameError;
use crate::types::{ImageName, ImageRef, ImageVersion, chain};

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

    pub(super) fn image_exports(&self) -> Result<Exports, ApiError> {
        Ok(Exports { exports: self.library.exports().map_err(|error| self.failed(&error))? })
    }

    pub(super) fn image_export_remove(&self, args: &Args) -> Result<Export, ApiError> {
        let path: PathBuf = args.need("path")?;
        self.library.delete_export(&path).map_err(|error| match error {
            ExportedError::Unknown(_) | ExportedError::Another { .. } => {
                ApiError::BadValue { field: "path", message: chain(&error) }
            }
            ExportedError::Delete { .. } | ExportedError::Store(_) => self.failed(&error),
        })
    }

    pub(super) fn image_pack(&self, args: &Args) -> Result<Started, ApiError> {
        let image: ImageRef = args.need("image")?;
        let started = if switch(args, "unpack")?.unwrap_or(false) {
            self.library.unpack(&image, &|version| self.running(version))
        } else {
            self.library.pack(&image)
        };
        match started {
            Ok(job) => Ok(Started { job }),
            Err(PackError::NoSuchImage(image)) => Err(self.no_such_image(image)),
            Err(PackError::Library(error)) => Err(self.library_failed(error)),
            Err(error @ PackError::InUse { .. }) => Err(ApiError::ImageInUse(chain(&error))),
            Err(error @ (PackError::Already(_) | PackError::NotPacked(_))) => {
                Err(ApiError::ImageState(chain(&error)))
            }
        }
    }

    pub(super) fn image_rename(&self, args: &Args) -> Result<Renamed, ApiError> {
        let (old, new): (ImageName, ImageName) = (args.need("image")?, args.need("name")?);
        if let NfsBackend::External(url) = &self.config.borrow().nfs.backend {
            return Err(ApiError::ImageState(format!(
                "another server has the images under their names (`nfs.url` is `{url}`), and Bramble cannot rename them there; export the image under the new name instead, or set `nfs.backend` to `embedded` first"
            )));
        }
        let turn = edit::turn();
        let edits = self.edits_of_rename(&old, &new)?;
        self.library.rename(&old, &new).map_err(|error| self.not_renamed(error))?;
        self.clients.image_renamed(&old, &new);
        if !edits.is_empty()
            && let Err(error) = self.change_in(turn, &edits)
        {
            // All of it or nothing.
            if let Err(back) = self.library.rename(&new, &old) {
                return Err(self.failed(&back));
            }
            self.clients.image_renamed(&new, &old);
            self.library.renamed().map_err(|error| self.library_failed(error))?;
            return Err(error);
        }
        self.library.renamed().map_err(|error| self.library_failed(error))?;
        let sections: Vec<String> = edits.iter().filter_map(section_name).collect();
        let mut says = format!("`{old}` is `{new}` from now on; whoever runs it goes on running it.");
        if !sections.is_empty() {
            let _ = write!(says, " Changed in the configuration: {}.", sections.join(", "));
        }
        Ok(Renamed { image: new, sections, says })
    }

    /// What has to be changed in the configuration as it is on the disk.
    fn edits_of_rename(&self, old: &ImageName, new: &ImageName) -> Result<Vec<Edit>, ApiError> {
        let text = fs_err::read(&self.config_path).map_err(|error| self.failed(&error))?;
        Ok(rename_image(&text, old, new))
    }

    fn not_renamed(&self, error: RenameError) -> ApiError {
        match error {
            RenameError::NoSuchImage(image) => self.no_such_image(image),
            RenameError::NameTaken(name) | RenameError::Same(name) => ApiError::ImageTaken(name),
            RenameError::Library(error) => self.library_failed(error),
            error @ (RenameError::AtWork { .. } | RenameError::Unfinished(..)) => {
                ApiError::ImageState(chain(&error))
            }
        }
    }

    /// Clients that run `version` now, or are about to.
    fn running(&self, version: &ImageVersion) -> Vec<String> {
        let runs = |known: &Known| known.booted.as_ref() == Some(version) && self.runs(known);
        self.clients.all().into_iter().filter(runs).map(|known| known.name.to_string()).collect()
    }
}

fn section_name(edit: &Edit) -> Option<String> {
    match edit {
        Edit::Set { section, .. } => Some(section.clone()),
        _ => None,
    }
}

/// How an archive of this name is packed.
fn form_of(to: &Path) -> Form {
    if to.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("xz")) { Form::Xz } else { Form::Zst }
}

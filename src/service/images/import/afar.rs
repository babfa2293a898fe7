//! What does not lie on the router's own disk: files of the web, memory cards and disks that were plugged in.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::{ImportError, Staging, Taken, Work, available_memory, broke, finish};
use crate::service::images::archive;
use crate::service::images::copy::Taking;
use crate::service::images::disk;
use crate::service::images::library::Library;
use crate::service::images::source::{self, Opened, Source, Sums};
use crate::service::images::web::FetchError;
use crate::service::jobs::Task;
use crate::types::limits;

impl Library {
    /// From the web: as from a file, while it comes.
    pub(super) fn take_web(&self, work: Work<'_>, url: &str) -> Result<Taken, ImportError> {
        let Work { request, staging, task, .. } = work;
        task.phase("connecting", 0)?;
        let download = self.web.download(url, task).map_err(ImportError::Fetch)?;
        let wanted = request.origin.as_ref().and_then(|origin| origin.file_bytes);
        if let (Some(found), Some(wanted)) = (download.length(), wanted)
            && found != wanted
        {
            return Err(ImportError::Fetch(FetchError::Another {
                host: download.host().to_owned(),
                found,
                wanted,
            }));
        }
        let mut file = Source::of_web(url, download)?;
        file.check_memory(available_memory())?;
        self.check_space(request, file.unpacked.unwrap_or(file.bytes), false)?;
        if file.must_be_kept() {
            file = self.keep(file, staging, task)?;
        }
        self.take_file(work, file)
    }

    /// Has a file of the web on the disk that cannot be unpacked while it comes. It goes when it has been unpacked.
    fn keep(&self, file: Source, staging: &Staging, task: &Task) -> Result<Source, ImportError> {
        let failed = |source| ImportError::Staging { folder: self.folder.to_path_buf(), source };
        task.phase("downloading", file.bytes)?;
        let path = staging.0.join("download");
        let mut to = File::create_new(&path).map_err(failed)?;
        let (mut piece, name) = (vec![0; limits::UNPACKED_PIECE], file.path.clone());
        let mut from = file.into_reader().map_err(failed)?;
        loop {
            task.go_on()?;
            let got = archive::fill(&mut from, &mut piece).map_err(|error| broke(&name, error))?;
            to.write_all(piece.get(..got).unwrap_or_default()).map_err(failed)?;
            task.advance(got as u64);
            if got < piece.len() {
                break;
            }
        }
        let Opened::File(kept) = source::open(&path.to_string_lossy())? else {
            return Err(failed(io::Error::from(io::ErrorKind::NotFound)));
        };
        // From here on only the open file holds it.
        std::fs::remove_file(&path).map_err(failed)?;
        Ok(kept)
    }

    /// From a memory card or a disk in the router, without what makes it the one machine that it was.
    pub(super) fn take_device(&self, work: Work<'_>, path: &Path) -> Result<Taken, ImportError> {
        let Work { request, staging, tree, task } = work;
        self.devices.check(path)?;
        let disk = self.devices.open(path)?;
        let layout = disk::layout(&disk)?;
        disk::check_clean(&disk, layout.root, path)?;
        let mount = staging.folder("mount", 0o700)?;
        let mut planter = self.planter(tree)?;
        let check = |used| self.check_space(request, used, false);
        disk::copy(&disk, layout, &mount, Taking { clean: true, spend: None }, &mut planter, task, check)?;
        Ok(Taken::of(finish(planter, task)?, Sums::default()))
    }
}

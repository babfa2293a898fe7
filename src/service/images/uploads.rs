//! Files that come from a browser, in slices, straight onto the attached storage.
//!
//! LuCI's own upload goes through the router's memory and stops at 2 GiB, so slices travel as calls, coded as text. A slice
//! is taken only where the file ends, so whoever lost the connection asks how much is there and goes on. The row in the store
//! says what the file will be, the length of the file what has come: a power cut loses the last slices and nothing else.
//!
//! | path below `<data>` | is |
//! |---|---|
//! | `uploads/<number>` | what has come |

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::proto::catalogue::clean;
use crate::store::imports::UploadRow;
use crate::store::{Store, StoreError, place};
use crate::types::{ByteSize, Moment, limits};

/// All uploads. Clones share them.
#[derive(Clone, Debug)]
pub struct Uploads {
    store: Store,
    folder: Arc<Path>,
    /// One slice at a time: two pages that send the same file must not mix it.
    writing: Arc<Mutex<()>>,
}

/// Why a slice, or a file, was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("an upload needs the length of the file; an empty file is no operating system")]
    Empty,
    #[error(
        "{} uploads are kept already; cancel one of them first (`bramble image uploads`)",
        limits::UPLOADS
    )]
    TooMany,
    #[error("there is not enough room for `{name}`: it has {bytes}, and `{}` has {free} free; remove images that nobody boots, or use a larger disk", folder.display())]
    Space { name: String, bytes: ByteSize, free: ByteSize, folder: PathBuf },
    #[error("there is no upload {0}; it was cancelled, imported, or nobody went on with it for two days")]
    NoSuchUpload(u64),
    #[error(
        "a slice at {offset} does not go on where the file ends; {got} bytes are there, send those from {got} on"
    )]
    Elsewhere { offset: u64, got: u64 },
    #[error("a slice has 1 to {most} bytes, and this one has {0}", most = limits::UPLOAD_SLICE)]
    Slice(usize),
    #[error("`data` is not base64")]
    Coded,
    #[error("the file was to have {bytes} bytes, and this slice ends at {end}; begin again")]
    TooLong { bytes: u64, end: u64 },
    #[error("the upload of `{name}` is not complete: {got} of {bytes} have come; go on with it first")]
    Incomplete { name: String, got: ByteSize, bytes: ByteSize },
    #[error("`{}` cannot be used for uploads", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One upload as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub upload: u64,
    pub name: String,
    /// How long the whole is.
    pub bytes: u64,
    /// How much has come: the next slice begins there.
    pub got: u64,
    pub started_at: Moment,
    /// Bytes of the longest slice that is taken.
    pub slice: usize,
}

/// How `image_import` names upload 7.
const SOURCE: &str = "upload:";

impl Uploads {
    /// Opens `<data>/uploads`.
    pub fn open(data: &Path, store: Store) -> Result<Self, UploadError> {
        let folder = data.join("uploads");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| UploadError::File { path: folder.clone(), source })?;
        Ok(Self { store, folder: folder.into(), writing: Arc::default() })
    }

    /// Begins an upload, or answers with the one of the same name, length and mark that was begun before. `mark` tells a
    /// file from another one of that name, such as the time of its last change.
    pub fn begin(&self, name: &str, bytes: u64, mark: &str, now: Moment) -> Result<Upload, UploadError> {
        let _alone = self.alone();
        let name = clean(name.rsplit(['/', '\\']).next().unwrap_or_default(), limits::UPLOAD_NAME / 4);
        let mark = clean(mark, limits::NAME_SHOWN);
        if bytes == 0 {
            return Err(UploadError::Empty);
        }
        let rows = self.store.uploads()?;
        if let Some(row) = rows.iter().find(|row| row.name == name && row.bytes == bytes && row.mark == mark)
        {
            return self.seen(row);
        }
        if rows.len() >= limits::UPLOADS {
            return Err(UploadError::TooMany);
        }
        let free = place::space(&self.folder).map_err(|source| self.failed(&self.folder, source))?.free;
        if free.0 < bytes {
            return Err(UploadError::Space {
                name,
                bytes: ByteSize(bytes),
                free,
                folder: self.folder.to_path_buf(),
            });
        }
        let id = self.store.upload_add(&name, bytes, &mark, now)?;
        let path = self.path(id);
        File::create(&path).map_err(|source| self.failed(&path, source))?;
        tracing::info!(upload = id, file = name, bytes, "upload begun");
        self.seen(&UploadRow { id, name, bytes, mark, started_at: now })
    }

    /// Takes a slice in base64.
    pub fn slice(&self, id: u64, offset: u64, data: &str) -> Result<Upload, UploadError> {
        use base64::Engine as _;
        if data.len() > limits::UPLOAD_SLICE.div_ceil(3) * 4 {
            return Err(UploadError::Slice(data.len() / 4 * 3));
        }
        let slice = base64::engine::general_purpose::STANDARD.decode(data).map_err(|_| UploadError::Coded)?;
        self.append(id, offset, &slice)
    }

    fn append(&self, id: u64, offset: u64, slice: &[u8]) -> Result<Upload, UploadError> {
        let _alone = self.alone();
        if slice.is_empty() || slice.len() > limits::UPLOAD_SLICE {
            return Err(UploadError::Slice(slice.len()));
        }
        let row = self.row(id)?;
        let path = self.path(id);
        let failed = |source| self.failed(&path, source);
        let file = File::options().write(true).open(&path).map_err(failed)?;
        let got = file.metadata().map_err(failed)?.len();
        let end = offset.saturating_add(slice.len() as u64);
        if end > row.bytes {
            return Err(UploadError::TooLong { bytes: row.bytes, end });
        }
        // The answer to a slice may have been lost: the same one again is no mistake.
        if end <= got {
            return self.seen(&row);
        }
        if offset != got {
            return Err(UploadError::Elsewhere { offset, got });
        }
        if let Err(source) = file.write_all_at(slice, offset) {
            // What was written of it must not count.
            let _ = file.set_len(got);
            return Err(failed(source));
        }
        if end == row.bytes {
            file.sync_all().map_err(failed)?;
            tracing::info!(upload = id, bytes = end, "upload complete");
        }
        self.seen(&row)
    }

    /// All uploads, oldest first.
    pub fn list(&self) -> Result<Vec<Upload>, UploadError> {
        self.store.uploads()?.iter().map(|row| self.seen(row)).collect()
    }

    /// Forgets an upload and deletes what has come of it.
    pub fn cancel(&self, id: u64) -> Result<Upload, UploadError> {
        let _alone = self.alone();
        let row = self.row(id)?;
        let seen = self.seen(&row)?;
        self.remove(id)?;
        Ok(seen)
    }

    /// Refuses to import what is not complete.
    pub fn check_complete(&self, source: &str) -> Result<(), UploadError> {
        let Some(id) = number(source) else { return Ok(()) };
        let row = self.row(id)?;
        let seen = self.seen(&row)?;
        if seen.got < seen.bytes {
            let (got, bytes) = (ByteSize(seen.got), ByteSize(seen.bytes));
            return Err(UploadError::Incomplete { name: row.name, got, bytes });
        }
        Ok(())
    }

    /// The file of an import's source, if that is an upload.
    pub fn path_of(&self, source: &str) -> Option<String> {
        Some(self.path(number(source)?).to_string_lossy().into_owned())
    }

    /// What a person calls an import's source.
    pub fn name_of(&self, source: &str) -> Option<String> {
        Some(self.store.upload(number(source)?).ok()??.name)
    }

    /// An import from `source` is done: an upload has served its purpose.
    pub fn used(&self, source: &str) {
        let Some(id) = number(source) else { return };
        let _alone = self.alone();
        if let Err(error) = self.remove(id) {
            tracing::warn!(
                upload = id,
                error = crate::types::chain(&error),
                "an upload that was imported cannot be deleted"
            );
        }
    }

    /// Deletes uploads that nobody goes on with, and files that are no upload's.
    pub fn sweep(&self, now: Moment) -> Result<(), UploadError> {
        let _alone = self.alone();
        let rows = self.store.uploads()?;
        for row in &rows {
            let written =
                std::fs::metadata(self.path(row.id)).and_then(|meta| meta.modified()).map(Moment::from);
            let last = written.unwrap_or(row.started_at).max(row.started_at);
            if now.since(last) > limits::UPLOAD_KEPT {
                tracing::info!(
                    upload = row.id,
                    file = row.name,
                    "nobody went on with an upload; it is deleted"
                );
                self.remove(row.id)?;
            }
        }
        let entries = std::fs::read_dir(&*self.folder).map_err(|source| self.failed(&self.folder, source))?;
        for entry in entries.filter_map(Result::ok) {
            let known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| rows.iter().any(|row| row.id.to_string() == name));
            if !known {
                std::fs::remove_file(entry.path()).map_err(|source| self.failed(&entry.path(), source))?;
            }
        }
        Ok(())
    }

    fn remove(&self, id: u64) -> Result<(), UploadError> {
        self.store.upload_remove(id)?;
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(&path, error)),
            _ => Ok(()),
        }
    }

    fn row(&self, id: u64) -> Result<UploadRow, UploadError> {
        self.store.upload(id)?.ok_or(UploadError::NoSuchUpload(id))
    }

    fn seen(&self, row: &UploadRow) -> Result<Upload, UploadError> {
        let path = self.path(row.id);
        let got = match std::fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(source) => return Err(self.failed(&path, source)),
        };
        Ok(Upload {
            upload: row.id,
            name: row.name.clone(),
            bytes: row.bytes,
            got,
            started_at: row.started_at,
            slice: limits::UPLOAD_SLICE,
        })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(id.to_string())
    }

    #[expect(clippy::unused_self, reason = "reads like the other questions")]
    fn failed(&self, path: &Path, source: io::Error) -> UploadError {
        UploadError::File { path: path.to_owned(), source }
    }

    fn alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of an upload in an import's source.
fn number(source: &str) -> Option<u64> {
    source.strip_prefix(SOURCE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn uploads(folder: &tempfile::TempDir) -> Uploads {
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        Uploads::open(folder.path(), store).expect("opened")
    }

    fn coded(bytes: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    const NOW: Moment = Moment::from_secs(1_800_000_000);

    #[test]
    fn a_file_comes_in_slices_and_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let file: Vec<u8> = (0..130_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let begun = uploads(&folder).begin("C:\\images\\x.img.xz", 130_000, "m", NOW).expect("begun");
        assert_eq!((begun.name.as_str(), begun.got, begun.slice), ("x.img.xz", 0, limits::UPLOAD_SLICE));
        let mut at = 0;
        while at < file.len() {
            // Opened anew for each slice.
            let uploads = uploads(&folder);
            let again = uploads.begin("x.img.xz", 130_000, "m", NOW).expect("the same one");
            assert_eq!((again.upload, again.got), (begun.upload, at as u64));
            let end = (at + limits::UPLOAD_SLICE).min(file.len());
            let seen = uploads.slice(begun.upload, at as u64, &coded(&file[at..end])).expect("taken");
            assert_eq!(seen.got, end as u64);
            // Its answer was lost, and it comes again.
            assert_eq!(
                uploads.slice(begun.upload, at as u64, &coded(&file[at..end])).expect("known").got,
                end as u64
            );
            at = end;
        }
        let uploads = uploads(&folder);
        let source = format!("upload:{}", begun.upload);
        uploads.check_complete(&source).expect("complete");
        let path = uploads.path_of(&source).expect("a path");
        assert_eq!(std::fs::read(&path).expect("there"), file);
        assert_eq!(uploads.name_of(&source).as_deref(), Some("x.img.xz"));
        uploads.used(&source);
        assert!(!Path::new(&path).exists());
        assert_eq!(uploads.list().expect("a list"), []);
        assert_eq!(uploads.path_of("/mnt/upload:7"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = uploads(&folder);
        let id = uploads.begin("a", 100, "", NOW).expect("begun").upload;
        uploads.slice(id, 0, &coded(&[1; 40])).expect("taken");
        #[rustfmt::skip]
        let rows = [
            (id, 50, coded(&[1; 10]), "a slice at 50 does not go on where the file ends; 40 bytes are there, send those from 40 on".to_owned()),
            (id, 90, coded(&[1; 20]), "the file was to have 100 bytes, and this slice ends at 110; begin again".to_owned()),
            (id, u64::MAX, coded(&[1; 20]), format!("the file was to have 100 bytes, and this slice ends at {}; begin again", u64::MAX)),
            (id, 40, String::new(), "a slice has 1 to 48000 bytes, and this one has 0".to_owned()),
            (id, 40, coded(&vec![0; 48_003]), "a slice has 1 to 48000 bytes, and this one has 48003".to_owned()),
            (id, 40, "not base64!".to_owned(), "`data` is not base64".to_owned()),
            (99, 0, coded(&[1]), "there is no upload 99; it was cancelled, imported, or nobody went on with it for two days".to_owned()),
        ];
        for (id, offset, data, expected) in rows {
            assert_eq!(uploads.slice(id, offset, &data).expect_err("refused").to_string(), expected);
        }
        assert_eq!(uploads.list().expect("a list")[0].got, 40);
        let incomplete = uploads.check_complete(&format!("upload:{id}")).expect_err("incomplete").to_string();
        assert_eq!(
            incomplete,
            "the upload of `a` is not complete: 40 B of 100 B have come; go on with it first"
        );
        for n in 1..limits::UPLOADS as u64 {
            uploads.begin("b", n, "", NOW).expect("begun");
        }
        assert!(matches!(uploads.begin("c", 1, "", NOW), Err(UploadError::TooMany)));
        uploads.cancel(id).expect("cancelled");
        assert!(matches!(uploads.begin("c", 1 << 60, "", NOW), Err(UploadError::Space { .. })));
        assert!(matches!(uploads.begin("c", 0, "", NOW), Err(UploadError::Empty)));
    }

    #[test]
    fn what_nobody_goes_on_with_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = uploads(&folder);
        uploads.begin("a", 100, "", Moment::from_secs(5)).expect("begun");
        std::fs::write(folder.path().join("uploads/77"), "nobody's").expect("written");
        let written = Moment::from(
            std::fs::metadata(folder.path().join("uploads/1")).expect("there").modified().expect("a time"),
        );
        uploads.sweep(written.plus(std::time::Duration::from_hours(47))).expect("swept");
        assert_eq!(uploads.list().expect("a list").len(), 1);
        assert!(!folder.path().join("uploads/77").exists());
        uploads.sweep(written.plus(std::time::Duration::from_hours(49))).expect("swept");
        assert_eq!(uploads.list().expect("a list"), []);
        assert!(!folder.path().join("uploads/1").exists());
    }
}

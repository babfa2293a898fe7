//! The EEPROMs of Pi 4 and Pi 5: what each says of itself, and settings that are rolled out over TFTP.
//!
//! A Pi whose `config.txt` allows it asks at each start for `pieeprom.sig`, and if that is of a later time than its EEPROM, for
//! `pieeprom.upd`; it writes that and starts again. Nothing is offered unless a person asked for it, and then only to that
//! client and until it took the file once: a bootloader that cannot write must not try for ever. What became of it is read
//! from what the client's agent says after the next start.
//!
//! | file | holds |
//! |---|---|
//! | `check` | whether a client can be given settings, and why not |
//! | `rollout` | one update of one client, from asked to applied |

pub mod check;
pub mod rollout;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::rollout::{Rollout, State};
use super::images::bootloader::Bootloader;
use crate::proto::agent::channel::Label;
use crate::proto::agent::eeprom::Report;
use crate::proto::eeprom::image;
use crate::proto::eeprom::settings::Settings;
use crate::service::boot_tree::Content;
use crate::store::eeproms::EepromRow;
use crate::store::{Store, StoreError};
use crate::sys;
use crate::types::{ImageVersion, MacAddr, Moment, chain, hex, limits};

/// What a bootloader asks for.
const SIGNATURE: &str = "pieeprom.sig";
const UPDATE: &str = "pieeprom.upd";

/// Files that would be written into an EEPROM, or started instead of it: never served from an image, where the image's own
/// update service may have left them.
const NEVER: [&str; 6] = [SIGNATURE, UPDATE, "pieeprom.bin", "vl805.bin", "vl805.sig", "recovery.bin"];

/// What is known of the EEPROMs of all clients.
#[derive(Debug, Default)]
pub struct Eeproms {
    /// `<data>/eeprom`, where images wait to be fetched; `None` in a test.
    folder: Option<PathBuf>,
    inner: Mutex<Inner>,
    /// Held while files are made or deleted, so that none is taken for one that nobody waits for before its entry is there.
    files: Mutex<()>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    of: BTreeMap<MacAddr, Entry>,
    unsaved: HashSet<MacAddr>,
    /// An update is over: its file may go.
    untidy: bool,
}

/// What is known of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub said: Option<Said>,
    pub rollout: Option<Rollout>,
}

/// What a client's agent said, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub at: Moment,
    /// In which start of the client.
    pub boot_id: Label,
    #[serde(flatten)]
    pub report: Report,
}

/// Why an update was not prepared.
#[derive(Debug, thiserror::Error)]
pub enum EepromError {
    #[error("the file for the client cannot be written; is there room on the disk?")]
    File(#[source] io::Error),
    #[error(transparent)]
    Image(#[from] image::BadImage),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be written into one client.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub mac: MacAddr,
    /// `None`: back to what it had.
    pub settings: Option<Settings>,
    /// The whole text.
    pub config: String,
    pub image: ImageVersion,
    pub bootloader: &'a Bootloader,
}

impl Eeproms {
    /// As the last run left them. Images that nobody waits for are deleted.
    pub fn open(data: &Path, store: &Store) -> Result<Self, EepromError> {
        let folder = data.join("eeprom");
        fs::create_dir_all(&folder).map_err(EepromError::File)?;
        let mut of = BTreeMap::new();
        for EepromRow { mac, report, rollout } in store.eeproms()? {
            // What an older or newer package wrote differently is forgotten; the next start of the client tells it anew.
            let said = report.and_then(|text| serde_json::from_str(&text).ok());
            let rollout = rollout.and_then(|text| serde_json::from_str(&text).ok());
            of.insert(mac, Entry { said, rollout });
        }
        let eeproms = Self {
            folder: Some(folder),
            inner: Mutex::new(Inner { of, ..Inner::default() }),
            files: Mutex::default(),
            changed: Notify::new(),
        };
        eeproms.tidy();
        Ok(eeproms)
    }

    pub fn get(&self, mac: MacAddr) -> Entry {
        self.lock().of.get(&mac).cloned().unwrap_or_default()
    }

    /// Whether some client was written with these settings, from this file, and said so afterwards.
    pub fn is_tried(&self, settings: &Settings, file: &str) -> bool {
        let tried = |rollout: &Rollout| {
            rollout.state == State::Applied
                && rollout.settings.as_ref() == Some(settings)
                && rollout.file == file
        };
        self.lock().of.values().any(|entry| entry.rollout.as_ref().is_some_and(tried))
    }

    /// An agent has told what its client's bootloader is. What that leaves to be written and deleted, [`Self::save`] does.
    pub fn reported(&self, mac: MacAddr, boot_id: &Label, report: Report, at: Moment) {
        let mut inner = self.lock();
        if inner.of.len() >= limits::EEPROMS && !inner.of.contains_key(&mac) {
            let oldest = inner.of.iter().min_by_key(|(_, entry)| entry.said.as_ref().map(|said| said.at));
            let _ = oldest.map(|(mac, _)| *mac).and_then(|mac| inner.of.remove(&mac));
        }
        let entry = inner.of.entry(mac).or_default();
        let said = Said { at, boot_id: boot_id.clone(), report };
        let mut over = false;
        if let Some(rollout) = &mut entry.rollout {
            let was_open = rollout.is_open();
            rollout.heard(&said);
            over = was_open && !rollout.is_open();
            if over {
                tracing::info!(client = %mac, state = ?rollout.state, why = rollout.why, "EEPROM update is over");
            }
        }
        entry.said = Some(said);
        inner.untidy |= over;
        inner.unsaved.insert(mac);
        drop(inner);
        self.changed.notify_one();
    }

    /// Prepares the update of one client, in place of what was prepared before. Returns when it is on the disk.
    pub fn roll_out(&self, wanted: Wanted<'_>, store: &Store, now: Moment) -> Result<Rollout, EepromError> {
        let Wanted { mac, settings, config, image, bootloader } = wanted;
        let before = self.get(mac);
        let said = before.said.unwrap_or_else(|| Said {
            at: now,
            boot_id: Label::default(),
            report: Report::default(),
        });
        // An update of an earlier time would not be taken; one of the same second is the same update.
        let last = said.report.updated.unwrap_or_default();
        let at = Moment::from_secs(now.secs().max(last.secs() + 1));
        let bytes = bootloader.image.with(&config, at)?;
        let sha256 = sum(&bytes);
        let rollout = Rollout {
            settings,
            image,
            file: bootloader.file.clone(),
            chip: bootloader.image.chip(),
            built: bootloader.image.built(),
            at,
            asked_at: now,
            boot_id: said.boot_id,
            sha256: hex(&sha256),
            before: said.report.config.unwrap_or_default(),
            after: config.as_str().into(),
            state: State::Asked,
            since: now,
            why: String::new(),
        };
        {
            let _held = self.hold_files();
            if let Some(path) = self.path(&rollout.sha256) {
                sys::whole::put(&path, 0o644, |file| file.write_all(&bytes)).map_err(EepromError::File)?;
            }
            let mut inner = self.lock();
            inner.of.entry(mac).or_default().rollout = Some(rollout.clone());
            inner.unsaved.insert(mac);
            // What was prepared before.
            inner.untidy = true;
        }
        self.save(store)?;
        tracing::info!(client = %mac, file = rollout.file, "EEPROM update is offered at its next start");
        Ok(rollout)
    }

    /// Forgets an update that the client has not fetched, that did not work, or that it never told the end of. Whether there
    /// was one.
    pub fn cancel(&self, mac: MacAddr, store: &Store, now: Moment) -> Result<bool, EepromError> {
        let mut inner = self.lock();
        let over =
            |rollout: &Rollout| matches!(rollout.state, State::Asked | State::Failed) || rollout.is_lost(now);
        let entry = inner.of.get_mut(&mac).filter(|entry| entry.rollout.as_ref().is_some_and(over));
        let Some(entry) = entry else { return Ok(false) };
        entry.rollout = None;
        inner.unsaved.insert(mac);
        inner.untidy = true;
        drop(inner);
        self.save(store)?;
        Ok(true)
    }

    /// Forgets a client that is no more of ours.
    pub fn forget(&self, mac: MacAddr) {
        let mut inner = self.lock();
        inner.of.remove(&mac);
        inner.unsaved.insert(mac);
        inner.untidy = true;
        drop(inner);
        self.changed.notify_one();
    }

    /// Whether the client's `config.txt` lets its bootloader look for an update.
    pub fn is_offered(&self, mac: MacAddr) -> bool {
        self.lock()
            .of
            .get(&mac)
            .is_some_and(|entry| entry.rollout.as_ref().is_some_and(|r| r.state == State::Asked))
    }

    /// What `mac` gets for a file that concerns its EEPROM: `None` for other files, `Some(None)` for one it does not get.
    pub fn answer(&self, mac: MacAddr, path: &str) -> Option<Option<Content>> {
        let name = NEVER.into_iter().find(|name| name.eq_ignore_ascii_case(path))?;
        let rollout = self.get(mac).rollout.filter(|rollout| rollout.state == State::Asked);
        Some(rollout.and_then(|rollout| match name {
            SIGNATURE => Some(Content::Text(rollout.signature().into_bytes())),
            UPDATE => {
                let file = std::fs::File::open(self.path(&rollout.sha256)?).inspect_err(|error| {
                    tracing::warn!(client = %mac, error = chain(error), "the image for its EEPROM cannot be read");
                });
                let file = file.ok()?;
                let len = file.metadata().ok()?.len();
                Some(Content::File { file, len })
            }
            _ => None,
        }))
    }

    /// A file was sent to `mac`, to its last byte.
    pub fn sent(&self, mac: MacAddr, name: &str, now: Moment) {
        if !name.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(UPDATE)) {
            return;
        }
        let mut inner = self.lock();
        let rollout = inner.of.get_mut(&mac).and_then(|entry| entry.rollout.as_mut());
        let Some(rollout) = rollout.filter(|rollout| rollout.state == State::Asked) else { return };
        rollout.enter(State::Fetched, "", now);
        inner.unsaved.insert(mac);
        drop(inner);
        self.changed.notify_one();
    }

    /// Returns when something waits to be stored.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Stores what changed since the last call, and deletes images that nobody waits for any more. After an error it is
    /// stored by the next one.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        if std::mem::take(&mut self.lock().untidy) {
            self.tidy();
        }
        let (rows, unsaved) = {
            let mut inner = self.lock();
            let unsaved = std::mem::take(&mut inner.unsaved);
            let rows: Vec<EepromRow> = unsaved
                .iter()
                .map(|mac| {
                    let entry = inner.of.get(mac);
                    EepromRow {
                        mac: *mac,
                        report: entry.and_then(|entry| entry.said.as_ref()).map(json),
                        rollout: entry.and_then(|entry| entry.rollout.as_ref()).map(json),
                    }
                })
                .collect();
            (rows, unsaved)
        };
        if rows.is_empty() {
            return Ok(());
        }
        store.write_eeproms(&rows).inspect_err(|_| self.lock().unsaved.extend(unsaved))
    }

    /// Deletes images that no client waits for.
    fn tidy(&self) {
        let Some(folder) = &self.folder else { return };
        let _held = self.hold_files();
        let wanted: HashSet<String> = {
            let inner = self.lock();
            let open = inner
                .of
                .values()
                .filter_map(|entry| entry.rollout.as_ref())
                .filter(|rollout| rollout.is_open());
            open.map(|rollout| format!("{}.upd", rollout.sha256)).collect()
        };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, sha256: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{sha256}.upd")))
    }

    fn hold_files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are always JSON")
}

pub fn sum(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;

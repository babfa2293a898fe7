//! Catalogues: lists of operating systems that people choose from, and whether one of theirs has a newer release.
//!
//! What the configured lists said last is kept in `<data>/catalogue.json`, so that a page opens at once and a router without
//! the web still has a list. It is a copy of what others say: it can be deleted at any time. Reading the lists anew is a job.
#![expect(clippy::disallowed_methods, reason = "a list says when it was read")]

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::import::{Origin, Request};
use super::library::Library;
use super::source::Sums;
use super::web::{FetchError, Web};
use crate::config::Config;
use crate::proto::catalogue::{self, BadList, Entry, Family, Link, List};
use crate::service::clients::Clients;
use crate::service::jobs::{JobError, Jobs, Outcome, Stopped, Task};
use crate::store::{Store, StoreError};
use crate::sys;
use crate::types::{ImageName, Moment, Revision, chain, hex, limits};

/// All catalogues. Clones share them.
#[derive(Clone, Debug)]
pub struct Catalogues {
    file: Arc<Path>,
    web: Web,
    store: Store,
    jobs: Jobs,
    clients: Arc<Clients>,
    config: watch::Receiver<Arc<Config>>,
    shelf: Arc<Mutex<Option<Arc<Shelf>>>>,
}

/// One configured list, as it was read last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    source: String,
    /// When it was read last; zero if it never was.
    read_at: Moment,
    /// Why it could not be read when that was last tried.
    error: Option<String>,
    /// Entries and lists of it that were of no use.
    left_out: usize,
    entries: Vec<Entry>,
}

/// What all lists said last.
#[derive(Debug, Default)]
struct Shelf {
    lists: Vec<Kept>,
    /// The number of each entry of each list.
    ids: Vec<Vec<String>>,
}

impl Shelf {
    fn new(lists: Vec<Kept>) -> Self {
        let mut seen = HashSet::new();
        let mut number = |list: &Kept, entry: &Entry| {
            // Of several with one name each has a number of its own, as long as their order stays.
            let id =
                (0..=u32::MAX).map(|nth| number(&list.source, entry, nth)).find(|id| seen.insert(id.clone()));
            id.unwrap_or_default()
        };
        let ids =
            lists.iter().map(|list| list.entries.iter().map(|entry| number(list, entry)).collect()).collect();
        Self { lists, ids }
    }

    /// Every entry of the lists in `configured`, with its number and its list.
    fn entries<'a>(
        &'a self,
        configured: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a Kept, &'a Entry)> {
        let lists = self.lists.iter().zip(&self.ids).filter(|(list, _)| configured.contains(&list.source));
        lists.flat_map(|(list, ids)| {
            ids.iter().zip(&list.entries).map(move |(id, entry)| (id.as_str(), list, entry))
        })
    }
}

/// Why a list was not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("`{}` cannot be read; is the disk that it is on attached?", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{place}` is not a list of operating systems")]
    Bad {
        place: String,
        #[source]
        source: BadList,
    },
    #[error("cancelled; nothing was kept")]
    Cancelled,
}

/// Why nothing can be had from a catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error(
        "there is no `{wanted}` in the catalogue, and a file would be named with its whole path; `bramble image catalogue` shows what there is, `--refresh` reads it anew"
    )]
    NoSuchEntry { wanted: String },
    #[error("there are several `{wanted}` in the catalogue; name one by its number: {}", .numbers.join(", "))]
    Several { wanted: String, numbers: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a catalogue offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What an import names it by; the same for every release of it.
    pub id: String,
    pub name: String,
    pub description: String,
    /// What it stands below, outermost first.
    pub headings: Vec<String>,
    /// The list, as the configuration names it.
    pub list: String,
    /// Address or path of the file.
    pub place: String,
    /// `2026-06-18`; empty if the list does not say.
    pub released: String,
    /// Bytes to fetch, and bytes of what is in it.
    pub file_bytes: Option<u64>,
    pub content_bytes: Option<u64>,
    /// Whether the list has a checksum, so that damage is noticed.
    pub checked: bool,
    /// A name for the image.
    pub suggested: Option<ImageName>,
    /// Images here that came from it.
    pub images: Vec<From>,
    /// Why it is of no use here, if it is not.
    pub misfit: Option<String>,
}

/// An image that came from an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    pub image: ImageName,
    pub released: String,
    /// Whether the catalogue has a newer release than that.
    pub outdated: bool,
}

/// One configured list, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub source: String,
    /// When it was read last, if it ever was.
    pub read_at: Option<Moment>,
    /// Why it could not be read when that was last tried.
    pub error: Option<String>,
    pub entries: usize,
    pub left_out: usize,
}

/// A newer release of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    pub image: ImageName,
    /// The entry, for `image_import`.
    pub id: String,
    pub name: String,
    pub released: String,
    /// The release that is here.
    pub have: String,
    pub says: String,
}

/// What somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Part of a name, a description or a heading.
    pub search: Option<String>,
    /// Also what is of no use here.
    pub all: bool,
}

impl Catalogues {
    /// The catalogues whose copy is in `data`. What they offer is held against the Pis of `clients`.
    pub fn new(
        library: &Library,
        data: &Path,
        clients: Arc<Clients>,
        config: watch::Receiver<Arc<Config>>,
    ) -> Self {
        Self {
            file: data.join("catalogue.json").into(),
            web: library.web.clone(),
            store: library.store.clone(),
            jobs: library.jobs.clone(),
            clients,
            config,
            shelf: Arc::default(),
        }
    }

    /// Every configured list, and how reading it went last.
    pub fn sources(&self) -> Vec<Source> {
        let shelf = self.shelf();
        let sources = self.configured().into_iter().map(|source| {
            let of = shelf.lists.iter().find(|kept| kept.source == source);
            Source {
                read_at: of.map(|kept| kept.read_at).filter(|at| *at > Moment::default()),
                error: of.and_then(|kept| kept.error.clone()),
                entries: of.map_or(0, |kept| kept.entries.len()),
                left_out: of.map_or(0, |kept| kept.left_out),
                source,
            }
        });
        sources.collect()
    }

    /// What is offered, in the order of the lists.
    pub fn offers(&self, wanted: &Wanted) -> Result<Vec<Offer>, CatalogueError> {
        let pis = self.pis();
        let origins = self.origins()?;
        let search = wanted.search.as_deref().map(str::to_lowercase);
        let mut offers = Vec::new();
        let (shelf, configured) = (self.shelf(), self.configured());
        for (id, kept, entry) in shelf.entries(&configured) {
            let misfit = catalogue::fits(entry, &pis).err();
            let has =
                |text: &String| search.as_ref().is_none_or(|search| text.to_lowercase().contains(search));
            if misfit.is_some() && !wanted.all
                || !(has(&entry.name) || has(&entry.description) || entry.headings.iter().any(has))
            {
                continue;
            }
            let of = |origin: &&(ImageName, Origin)| is_same(&origin.1, &kept.source, entry);
            offers.push(Offer {
                id: id.to_owned(),
                name: entry.name.clone(),
                description: entry.description.clone(),
                headings: entry.headings.clone(),
                list: kept.source.clone(),
                place: entry.place.to_string(),
                released: entry.released.clone(),
                file_bytes: entry.file_bytes,
                content_bytes: entry.content_bytes,
                checked: entry.file_sum.is_some() || entry.content_sum.is_some(),
                suggested: suggest(&entry.name),
                images: origins
                    .iter()
                    .filter(of)
                    .map(|(image, origin)| From {
                        image: image.clone(),
                        released: origin.released.clone(),
                        outdated: origin.released < entry.released,
                    })
                    .collect(),
                misfit: misfit.map(|misfit| misfit.to_string()),
            });
        }
        Ok(offers)
    }

    /// The import of the entry that `text` names, by its number or its name; as `name` if that is given.
    pub fn request(&self, text: &str, name: Option<ImageName>) -> Result<Request, CatalogueError> {
        let (shelf, configured) = (self.shelf(), self.configured());
        let shown = || text.chars().take(limits::NAME_SHOWN).collect::<String>();
        let no = || CatalogueError::NoSuchEntry { wanted: shown() };
        let by_id = shelf.entries(&configured).find(|(id, _, _)| *id == text);
        let (_, kept, entry) = if let Some(found) = by_id {
            found
        } else {
            let named =
                shelf.entries(&configured).filter(|(_, _, entry)| entry.name.eq_ignore_ascii_case(text));
            match named.collect::<Vec<_>>().as_slice() {
                [] => return Err(no()),
                [found] => *found,
                several => {
                    let numbers = several.iter().map(|(id, _, _)| (*id).to_owned()).collect();
                    return Err(CatalogueError::Several { wanted: shown(), numbers });
                }
            }
        };
        let name = name.or_else(|| suggest(&entry.name)).ok_or_else(no)?;
        Ok(Request {
            expect: Sums { file: entry.file_sum, content: entry.content_sum },
            origin: Some(Origin {
                list: kept.source.clone(),
                headings: entry.headings.clone(),
                name: entry.name.clone(),
                released: entry.released.clone(),
                file_bytes: entry.file_bytes,
                content_bytes: entry.content_bytes,
            }),
            ..Request::new(entry.place.to_string(), name)
        })
    }

    /// Newer releases of images that came from a catalogue.
    pub fn news(&self) -> Result<Vec<News>, CatalogueError> {
        let origins = self.origins()?;
        if origins.is_empty() {
            return Ok(Vec::new());
        }
        let (shelf, configured) = (self.shelf(), self.configured());
        let news = origins.into_iter().filter_map(|(image, origin)| {
            let (id, _, entry) =
                shelf.entries(&configured).find(|(_, kept, entry)| is_same(&origin, &kept.source, entry))?;
            if entry.released <= origin.released {
                return None;
            }
            let have = if origin.released.is_empty() { "an older one".to_owned() } else { format!("that of {}", origin.released) };
            let says = format!(
                "{} of {} is out, and `{image}` is {have}; import it as a new version: bramble image import {id} --name {image}",
                entry.name, entry.released
            );
            Some(News {
                id: id.to_owned(),
                name: entry.name.clone(),
                released: entry.released.clone(),
                have: origin.released,
                image,
                says,
            })
        });
        Ok(news.collect())
    }

    /// Whether an image came from a catalogue, so that it is worth looking for a newer release.
    pub fn is_of_use(&self) -> Result<bool, CatalogueError> {
        Ok(!self.origins()?.is_empty())
    }

    /// When the lists were read last: the one that was read longest ago counts. `None` if one never was.
    pub fn read_at(&self) -> Option<Moment> {
        self.sources().iter().map(|source| source.read_at).min().flatten()
    }

    /// Starts reading all lists; answers with the job.
    pub fn refresh(&self) -> Result<u64, JobError> {
        let catalogues = self.clone();
        self.jobs.start_beside("catalogue", "all lists".to_owned(), |_| {
            move |task: &Task| catalogues.read_all(task)
        })
    }

    /// Reads all lists, one after the other. A list that cannot be read stays as it was.
    pub fn read_all(&self, task: &Task) -> Outcome {
        let sources = self.configured();
        if sources.is_empty() {
            return Err(Stopped::Failed(
                "no list is configured; add `list source` to `config catalogue 'catalogue'`".to_owned(),
            ));
        }
        let (before, mut kept, mut says, mut failed) = (self.shelf(), Vec::new(), Vec::new(), 0);
        for source in sources {
            task.phase("reading", 0).map_err(|_| Stopped::Cancelled)?;
            let mut one = before.lists.iter().find(|kept| kept.source == source).cloned().unwrap_or_default();
            match self.read(&source, task) {
                Ok(list) => {
                    let offered = list.entries.len();
                    let systems = if offered == 1 { "operating system" } else { "operating systems" };
                    says.push(format!("`{source}` has {offered} {systems}"));
                    one.read_at = Moment::from(SystemTime::now());
                    (one.error, one.left_out, one.entries) = (None, list.left_out, list.entries);
                }
                Err(ReadError::Cancelled) => return Err(Stopped::Cancelled),
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(list = source, error, "a catalogue cannot be read");
                    says.push(error.clone());
                    one.error = Some(error);
                    failed += 1;
                }
            }
            one.source = source;
            kept.push(one);
        }
        let all_failed = failed == kept.len();
        self.keep(kept).map_err(|error| {
            Stopped::Failed(format!("`{}` cannot be written: {error}", self.file.display()))
        })?;
        for news in self.news().map_err(|error| Stopped::because(&error))? {
            tracing::info!(image = %news.image, released = news.released, "a newer release is out");
            says.push(news.says);
        }
        let says = says.join("\n");
        if all_failed { Err(Stopped::Failed(says)) } else { Ok(says) }
    }

    /// Reads one list and the lists that it leads to.
    fn read(&self, source: &str, task: &Task) -> Result<List, ReadError> {
        let top =
            if catalogue::is_web(source) { Link::Web(source.to_owned()) } else { Link::File(source.into()) };
        let (mut whole, mut seen) = (List::default(), HashSet::new());
        let mut next = VecDeque::from([(top.clone(), Vec::new())]);
        while let Some((place, headings)) = next.pop_front() {
            task.go_on().map_err(|_| ReadError::Cancelled)?;
            if seen.len() >= limits::CATALOGUE_LISTS || !seen.insert(place.clone()) {
                whole.left_out += usize::from(seen.len() >= limits::CATALOGUE_LISTS);
                continue;
            }
            let bytes = self.bytes(&place, task).and_then(|bytes| {
                let bad = |source| ReadError::Bad { place: place.to_string(), source };
                catalogue::read(&bytes, &place, &headings).map_err(bad)
            });
            let list = match bytes {
                Ok(list) => list,
                Err(error @ ReadError::Cancelled) => return Err(error),
                Err(error) if place == top => return Err(error),
                Err(error) => {
                    tracing::warn!(list = %place, error = chain(&error), "a part of a catalogue cannot be read");
                    whole.left_out += 1;
                    continue;
                }
            };
            task.advance(bytes_of(&list));
            whole.left_out += list.left_out;
            for entry in list.entries {
                if whole.entries.len() < limits::CATALOGUE_ENTRIES {
                    whole.entries.push(entry);
                } else {
                    whole.left_out += 1;
                }
            }
            for more in list.more {
                // Nothing that comes in the clear may speak for what came in TLS.
                if place.is_safe() && !more.place.is_safe() {
                    whole.left_out += 1;
                } else {
                    next.push_back((more.place, more.headings));
                }
            }
        }
        Ok(whole)
    }

    fn bytes(&self, place: &Link, task: &Task) -> Result<Vec<u8>, ReadError> {
        match place {
            Link::Web(url) => self.web.text(url, limits::CATALOGUE, task).map_err(|error| match error {
                FetchError::Cancelled => ReadError::Cancelled,
                error => error.into(),
            }),
            Link::File(path) => {
                let failed = |source| ReadError::File { path: path.clone(), source };
                let mut bytes = Vec::new();
                let file = File::open(path).map_err(failed)?;
                if !file.metadata().map_err(failed)?.is_file() {
                    return Err(failed(io::Error::other("it is not a file")));
                }
                file.take(limits::CATALOGUE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
                Ok(bytes)
            }
        }
    }

    fn configured(&self) -> Vec<String> {
        self.config.borrow().catalogue.sources.clone()
    }

    /// Which Pis are here, as far as they have said so.
    fn pis(&self) -> Vec<Family> {
        let models = self.clients.all().into_iter().filter_map(|known| known.revision).map(Revision::model);
        let mut pis: Vec<Family> = models.filter_map(|model| Family::of(model.as_str())).collect();
        pis.sort_unstable();
        pis.dedup();
        pis
    }

    fn origins(&self) -> Result<Vec<(ImageName, Origin)>, CatalogueError> {
        let rows = self.store.image_origins()?;
        Ok(rows
            .into_iter()
            .filter_map(|(name, origin)| Some((name.parse().ok()?, serde_json::from_str(&origin).ok()?)))
            .collect())
    }

    fn shelf(&self) -> Arc<Shelf> {
        let mut slot = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = slot.get_or_insert_with(|| {
            let text = std::fs::read(&*self.file).unwrap_or_default();
            Arc::new(Shelf::new(serde_json::from_slice(&text).unwrap_or_default()))
        });
        Arc::clone(shelf)
    }

    fn keep(&self, kept: Vec<Kept>) -> io::Result<()> {
        let text = serde_json::to_vec(&kept)?;
        sys::whole::put(&self.file, 0o644, |file| file.write_all(&text))?;
        *self.shelf.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(Shelf::new(kept)));
        Ok(())
    }
}

/// Roughly what a list had, for a progress that moves.
fn bytes_of(list: &List) -> u64 {
    list.entries.len() as u64 * 500
}

/// Whether an image that came from `origin` came from this entry, whatever its release.
fn is_same(origin: &Origin, list: &str, entry: &Entry) -> bool {
    origin.list == list && origin.name == entry.name && origin.headings == entry.headings
}

/// Eight letters that stand for an entry in every release of it.
fn number(list: &str, entry: &Entry, nth: u32) -> String {
    let mut sum = Sha256::new();
    for part in
        [list].into_iter().chain(entry.headings.iter().map(String::as_str)).chain([entry.name.as_str()])
    {
        sum.update(part.as_bytes());
        sum.update([0]);
    }
    sum.update(nth.to_le_bytes());
    let mut letters = hex(&sum.finalize());
    letters.truncate(8);
    letters
}

/// A name for an image, from that of an operating system or a file: `Raspberry Pi OS (64-bit)` is `raspberry-pi-os-64-bit`.
pub fn suggest(text: &str) -> Option<ImageName> {
    let mut name = String::new();
    for letter in text.chars().map(|letter| letter.to_ascii_lowercase()) {
        if name.len() >= limits::IMAGE_NAME {
            break;
        }
        if letter.is_ascii_alphanumeric() || letter == '.' && !name.is_empty() {
            name.push(letter);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_end_matches(['-', '.']).parse().ok()
}

#[cfg(test)]
mod tests;

//! From a draft to a version, and from a version to another image: trees that share the files of those they come from.
//!
//! A publication changes neither the draft nor the version before. A new tree is built beside them: its folders are made
//! anew, and each file is one more name of a file that is there, the version's own where the draft's is untouched
//! ([`origins`](super::origins)), else the draft's. What [`clean`] speaks of is left out. Only when that tree is in its place
//! and on record does the draft go; whatever ends the work earlier leaves the draft as it was.
#![expect(clippy::disallowed_methods, reason = "a version notes when it was published, on its job's thread")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use nix::sys::stat::FileStat;

use super::Facts;
use super::clean::{self, Fate};
use super::copy::{CopyError, Met, Walk, What, attributes, meta, on_disk};
use super::desktop;
use super::drafts::DraftError;
use super::fit::{self, CHECKS, Finding};
use super::import::{ImportError, Staging, finish, stopped};
use super::inside::Inside;
use super::inspect::{InspectError, inspect};
use super::library::{Library, LibraryError, Ready};
use super::origins::{Beside, Origins};
use super::plant::{Planted, Planter};
use super::workshop::{self, For, Hold};
use crate::proto::catalogue::clean as clean_text;
use crate::service::jobs::Task;
use crate::store::Store;
use crate::store::drafts::DraftRow;
use crate::types::{ByteSize, ImageName, ImageRef, ImageVersion, Moment, limits};

/// What somebody asked for.
#[derive(Clone, Debug)]
pub struct Publication {
    pub name: ImageName,
    pub note: Note,
    pub skip: Skip,
    /// Whose desktop becomes everybody's: the name of a person in the draft.
    pub desktop: Option<String>,
}

/// A remark about a version: one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note(String);

/// Names of checks and cleanings that are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skip(Vec<String>);

/// Why a draft did not become a version, or a version another image.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(
        "the draft of `{name}` is not fit to be published, and stays as it is:{}\nPut this right in the draft, or pass over what you know better with `--skip {}`",
        listed(.findings), .findings.iter().map(|finding| finding.check).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
    )]
    Unfit { name: ImageName, findings: Vec<Finding> },
    #[error("there is an image `{0}` already; choose another name")]
    NameTaken(ImageName),
    #[error("there is no image `{0}`; `bramble image list` shows those there are")]
    NoSuchImage(ImageRef),
    /// Somebody may be changing the draft; a sentence says who.
    #[error("{0}")]
    InChange(String),
}

fn listed(findings: &[Finding]) -> String {
    findings.iter().fold(String::new(), |mut text, Finding { check, says }| {
        let _ = write!(text, "\n{check}: {says}");
        text
    })
}

/// The text cannot be a remark.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a remark is one line of at most {} bytes", limits::IMAGE_NOTE)]
pub struct BadNote;

impl std::str::FromStr for Note {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let text = text.trim();
        let fits = text.len() <= limits::IMAGE_NOTE && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned())).ok_or(BadNote)
    }
}

impl Note {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One of the names is that of no check and no cleaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is neither a check nor a cleaning; there are {}", all_names())]
pub struct BadSkip {
    name: String,
}

fn all_names() -> String {
    names().collect::<Vec<_>>().join(", ")
}

/// Names of all checks and cleanings.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name).chain(clean::RULES.iter().map(|rule| rule.name))
}

impl std::str::FromStr for Skip {
    type Err = BadSkip;

    fn from_str(text: &str) -> Result<Self, BadSkip> {
        let given = text.split([',', ' ']).filter(|name| !name.is_empty());
        let known = |name: &str| names().find(|known| *known == name).map(str::to_owned);
        let bad = |name: &str| BadSkip { name: name.chars().take(limits::NAME_SHOWN).collect() };
        given.map(|name| known(name).ok_or_else(|| bad(name))).collect::<Result<_, _>>().map(Self)
    }
}

impl Library {
    /// Starts publishing the draft of an image and answers with the job.
    pub fn publish_draft(&self, request: Publication) -> Result<u64, DraftError> {
        self.publish_draft_unless(request, || None)
    }

    /// As [`Self::publish_draft`]. The job may wait for hours: when its turn has come, `in_change` says whether a client may be
    /// changing the draft, and in a sentence which.
    pub fn publish_draft_unless(
        &self,
        request: Publication,
        in_change: impl Fn() -> Option<String> + Send + 'static,
    ) -> Result<u64, DraftError> {
        if self.draft(&request.name)?.is_none() {
            return Err(self.none_of(&request.name));
        }
        let (library, subject) = (self.clone(), request.name.to_string());
        let id = self.jobs.start_with_id("publish", subject, |job| {
            move |task: &Task| library.run_publication(&request, &in_change, job, task).map_err(stopped)
        });
        Ok(id.map_err(LibraryError::from)?)
    }

    /// Starts making another image, `name`, whose first version is `image`; answers with the job.
    pub fn clone_image(&self, image: &ImageRef, name: ImageName) -> Result<u64, PublishOrLibrary> {
        let tree = self.images.resolve(image).ok_or_else(|| PublishError::NoSuchImage(image.clone()))?;
        self.is_free(&name)?;
        let (library, from) = (self.clone(), tree.image.clone());
        let id = self.jobs.start_with_id("clone", format!("{from} as {name}"), |job| {
            move |task: &Task| library.run_clone(&from, &name, job, task).map_err(stopped)
        });
        Ok(id.map_err(LibraryError::from)?)
    }

    fn is_free(&self, name: &ImageName) -> Result<(), PublishError> {
        if self.images.has(name) { Err(PublishError::NameTaken(name.clone())) } else { Ok(()) }
    }

    fn run_publication(
        &self,
        request: &Publication,
        in_change: &dyn Fn() -> Option<String>,
        job: u64,
        task: &Task,
    ) -> Result<String, ImportError> {
        let name = &request.name;
        let Some(row) = self.draft(name)? else { return Err(self.none_of(name).into()) };
        task.phase("checking", 0)?;
        let draft = self.draft_path(name);
        let _hold = Hold::take(name, &draft, For::End).map_err(DraftError::Work)?;
        workshop::tidy(&draft);
        let facts = inspect(&draft)?;
        let before = self.images.version(&row.base);
        let inside = Inside::new(&draft).map_err(InspectError::Read)?;
        let mut findings = fit::check(&inside, &facts, before.as_deref().map(|tree| &tree.facts));
        findings.retain(|finding| !request.skip.0.iter().any(|name| name == finding.check));
        if !findings.is_empty() {
            return Err(PublishError::Unfit { name: name.clone(), findings }.into());
        }
        self.room_for("publishing", name.as_str(), 0, false)?;
        if let Some(says) = in_change() {
            return Err(PublishError::InChange(says).into());
        }
        // What is shared must not be written any more.
        self.images.withdraw_draft(name);
        let published = self.share_and_publish(request, &row, &draft, facts, job, task);
        if published.is_err() && self.draft(name)?.is_some() {
            self.show_draft(&row);
        }
        published
    }

    fn share_and_publish(
        &self,
        request: &Publication,
        row: &DraftRow,
        draft: &Path,
        facts: Facts,
        job: u64,
        task: &Task,
    ) -> Result<String, ImportError> {
        let name = &request.name;
        task.phase("sharing files", 0)?;
        let staging = Staging::new(self.folder.join(format!(".incoming-{job}")))?;
        let tree = staging.folder("tree", 0o755)?;
        let (planted, shared) = self.share_draft(row, draft, &tree, &request.skip, task)?;
        let desktop = request.desktop.as_deref();
        let everybodys = desktop.map(|user| desktop::make_default(&tree, user, task)).transpose()?;
        task.go_on()?;

        let image = self.next_version(name)?;
        let ready = Ready {
            tree: &tree,
            name,
            source: &format!("draft of {}", row.base),
            note: request.note.as_str(),
            current: false,
            sha256: None,
            bytes: planted.bytes,
            files: planted.files,
            facts,
            at: Moment::from(SystemTime::now()),
            job: Some(job),
            origin: None,
        };
        self.store.draft_becomes(name, Some(image.version)).map_err(LibraryError::from)?;
        let done = self
            .put_in_place(&ready, &image)
            .and_then(|()| self.record(&image, &ready, Store::draft_publish));
        if let Err(error) = done {
            // It shares files with the draft, which is still there: it goes with the folder of the job.
            let _ = fs::rename(self.path(&image), &tree);
            self.store.draft_becomes(name, None).map_err(LibraryError::from)?;
            return Err(error.into());
        }
        // From here on it is published, whatever happens.
        self.set_aside(name, row.tree)?;
        // Too late to be cancelled.
        let _ = task.phase("deleting the draft", 0);
        self.delete_aside(row.tree);
        self.measure(&Task::unwatched());
        let is_current = self.images.current(name) == Some(image.version);
        let mut says = published(&image, &row.base, &shared, planted, row.made_at, is_current);
        if let (Some(files), Some(user)) = (everybodys, desktop) {
            let _ = write!(says, "\nThe desktop of `{user}` is everybody's: {}", files.join(", "));
        }
        Ok(says)
    }

    /// Builds what is published of a draft in `tree`.
    fn share_draft(
        &self,
        row: &DraftRow,
        draft: &Path,
        tree: &Path,
        skip: &Skip,
        task: &Task,
    ) -> Result<(Planted, Shared), ImportError> {
        let mut before = Origins::load(&self.origins_path(&row.base.name), row.nonce)
            .and_then(|origins| Some((origins, Beside::new(&self.path(&row.base)).ok()?)));
        let mut planter = self.planter(tree)?;
        let mut shared = Shared::default();
        Walk::new(task).all(draft, &mut |met| shared.step(&mut planter, met, Some(skip), before.as_mut()))?;
        Ok((finish(planter, task)?, shared))
    }

    fn run_clone(
        &self,
        from: &ImageVersion,
        name: &ImageName,
        job: u64,
        task: &Task,
    ) -> Result<String, ImportError> {
        self.is_free(name)?;
        let gone =
            || PublishError::NoSuchImage(ImageRef { name: from.name.clone(), version: Some(from.version) });
        let original = self.images.version(from).ok_or_else(gone)?;
        self.room_for("cloning", &from.to_string(), 0, false)?;
        task.phase("sharing files", 0)?;
        let staging = Staging::new(self.folder.join(format!(".incoming-{job}")))?;
        let tree = staging.folder("tree", 0o755)?;
        let mut planter = self.planter(&tree)?;
        let mut shared = Shared::default();
        Walk::new(task).all(&original.root, &mut |met| shared.step(&mut planter, met, None, None))?;
        let planted = finish(planter, task)?;
        task.go_on()?;
        let image = self.publish(&Ready {
            tree: &tree,
            name,
            source: &format!("clone of {from}"),
            note: "",
            current: true,
            sha256: None,
            bytes: planted.bytes,
            files: planted.files,
            facts: original.facts.clone(),
            at: Moment::from(SystemTime::now()),
            job: Some(job),
            origin: None,
        })?;
        self.measure(&Task::unwatched());
        Ok(format!(
            "`{image}` is ready: the same as `{from}`, whose files it shares until one of them is removed"
        ))
    }

    /// Deletes the files of a draft that became a version. What is left of them, the next start deletes.
    fn delete_aside(&self, tree: u32) {
        let aside = self.folder.join(format!(".removing-draft-{tree}"));
        if let Err(error) = std::fs::remove_dir_all(&aside) {
            tracing::warn!(path = %aside.display(), %error, "a draft that was published could not be deleted whole");
        }
    }
}

/// Why a job about a version was not started.
#[derive(Debug, thiserror::Error)]
pub enum PublishOrLibrary {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// What was shared and what was not.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes of files that the version before does not have.
    new_bytes: u64,
    /// Files and bytes left out, by the rule that says so.
    left_out: BTreeMap<&'static str, (u64, u64)>,
    /// When anything but a folder was changed last, as only the kernel can say, and which.
    changed: Option<(Moment, PathBuf)>,
}

impl Shared {
    /// Takes over one thing met in the tree that is shared. Without `skip` everything is taken along.
    fn step(
        &mut self,
        planter: &mut Planter,
        met: Met<'_>,
        skip: Option<&Skip>,
        before: Option<&mut (Origins, Beside)>,
    ) -> Result<bool, CopyError> {
        let Met { path, folder, stat, what, .. } = met;
        let fate_of = |path: &Path, is_link| skip.and_then(|skip| clean::fate(path, is_link, &skip.0));
        let is_link = matches!(what, What::Symlink(_));
        let fate = fate_of(path, is_link);
        if let Some((rule, Fate::LeaveOut)) = fate {
            let (files, bytes) = self.left_out.entry(rule.name).or_default();
            *files += 1;
            *bytes += on_disk(&stat);
            return Ok(false);
        }
        let changed = changed_at(&stat);
        if !matches!(what, What::Folder(_)) && self.changed.as_ref().is_none_or(|(last, _)| changed > *last) {
            self.changed = Some((changed, path.to_owned()));
        }
        let name = path.file_name().unwrap_or_default();
        match what {
            What::Folder(inside) => planter.folder(path, meta(&stat, attributes(inside)))?,
            What::Symlink(target) => planter.symlink(path, &target, &meta(&stat, Vec::new()))?,
            What::Node(node) => planter.node(path, node, &meta(&stat, Vec::new()))?,
            What::HardLink(first) if fate_of(&first, false).is_none() => planter.hard_link(path, &first)?,
            What::HardLink(_) | What::File => {
                if let Some((rule, Fate::Empty)) = fate {
                    let entry = self.left_out.entry(rule.name).or_default();
                    entry.1 += on_disk(&stat);
                    let sink = planter.file(path)?;
                    planter.end_file(path, sink, 0, &meta(&stat, Vec::new()))?;
                } else if !before.is_some_and(|before| shared_with(before, planter, path, &stat)) {
                    planter.share(path, folder, name, on_disk(&stat))?;
                    self.new_bytes += on_disk(&stat);
                }
            }
        }
        Ok(true)
    }
}

/// When anything about a file was changed last: a time that nobody can set back.
fn changed_at(stat: &FileStat) -> Moment {
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets these are narrower")]
    let (secs, nanos) = (i64::from(stat.st_ctime), i64::from(stat.st_ctime_nsec));
    Moment::from_millis(secs.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

/// Makes `path` one more name of the file it was copied from, if it is still the same; whether it did.
fn shared_with(
    (origins, beside): &mut (Origins, Beside),
    planter: &mut Planter,
    path: &Path,
    stat: &FileStat,
) -> bool {
    let Some(origin) = origins.of(stat) else { return false };
    let same = beside.stat(path).is_some_and(|twin| {
        let of = |stat: &FileStat| {
            (stat.st_size, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec)
        };
        twin.st_ino == origin && of(&twin) == of(stat)
    });
    let name = path.file_name().unwrap_or_default();
    // It fails when a file has as many names as it can have: then the draft's own is taken.
    same && beside.folder(path).is_some_and(|folder| planter.share(path, folder, name, on_disk(stat)).is_ok())
}

/// What the job says at its end.
fn published(
    image: &ImageVersion,
    base: &ImageVersion,
    shared: &Shared,
    planted: Planted,
    made_at: Moment,
    is_current: bool,
) -> String {
    let mut text = format!(
        "`{image}` is published: {} in {} files, {} of them not in `{base}`",
        ByteSize(planted.bytes),
        planted.files,
        ByteSize(shared.new_bytes)
    );
    for (name, (files, bytes)) in &shared.left_out {
        let what = clean::RULES.iter().find(|rule| rule.name == *name).map_or("", |rule| rule.what);
        let many = match files {
            0 => String::new(),
            1 => " (1 file or folder)".to_owned(),
            files => format!(" ({files} files and folders)"),
        };
        let _ = write!(text, "\nLeft out ({name}): {} of {what}{many}", ByteSize(*bytes));
    }
    if let Some((at, path)) = shared.changed.as_ref().filter(|(at, _)| *at > made_at) {
        let path = clean_text(&path.to_string_lossy(), limits::EVENT_TEXT);
        let _ = write!(text, "\nChanged last, on {at} UTC: `{path}`");
    }
    if !is_current {
        let _ = write!(
            text,
            "\nNobody boots it yet. Try it: bramble image test {image} CLIENT; give it to everybody: bramble image promote {image}"
        );
    }
    text
}

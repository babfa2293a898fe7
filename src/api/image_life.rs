//! Methods that change an image or what is booted of it: draft, publication, trial, promotion, roll-back, clone.

use std::fmt::Write as _;
use std::sync::Arc;

use super::answer::{ClientOn, Effect, Maintained, Shell, Started};
use super::args::Args;
use super::clients::Eyes;
use super::error::ApiError;
use super::{Api, now};
use crate::config::edit::{self, Edit, NewValue};
use crate::config::uci::{Document, Section};
use crate::proto::agent::run::Line;
use crate::service::clients::{Clients, Known};
use crate::service::images::Images;
use crate::service::images::drafts::DraftError;
use crate::service::images::library::LibraryError;
use crate::service::images::life::LifeError;
use crate::service::images::publish::{Note, Publication, PublishError, PublishOrLibrary, Skip};
use crate::service::images::run::RunError;
use crate::sys::acting::can_act;
use crate::types::{ImageName, ImageRef, ImageVersion, RoomName, chain};

/// What `ttyd` and its page in LuCI bring, and where that page is.
const TTYD: [&str; 2] = ["/usr/bin/ttyd", "/usr/share/luci/menu.d/luci-app-ttyd.json"];
const TTYD_PAGE: &str = "admin/services/ttyd";

impl Api {
    pub(super) fn image_draft(&self, args: &Args) -> Result<Started, ApiError> {
        let image: ImageRef = args.need("image")?;
        let job = self.library.make_draft(&image).map_err(|error| self.draft_failed(error))?;
        Ok(Started { job })
    }

    pub(super) fn image_discard(&self, args: &Args) -> Result<Started, ApiError> {
        let name: ImageName = args.need("image")?;
        self.nobody_changes(&name)?;
        let job = self.library.discard_draft(&name).map_err(|error| self.draft_failed(error))?;
        Ok(Started { job })
    }

    pub(super) fn image_publish(&self, args: &Args) -> Result<Started, ApiError> {
        let name: ImageName = args.need("image")?;
        let note: Note = args.get("note")?.unwrap_or_default();
        let skip: Skip = args.get("skip")?.unwrap_or_default();
        self.nobody_changes(&name)?;
        let (of, eyes, images, clients) =
            (name.clone(), self.eyes(), Arc::clone(&self.images), Arc::clone(&self.clients));
        let in_change = move || changing(&of, &images, &clients, &eyes);
        let publication = Publication { name, note, skip, desktop: args.get("desktop")? };
        let started = self.library.publish_draft_unless(publication, in_change);
        let job = started.map_err(|error| self.draft_failed(error))?;
        Ok(Started { job })
    }

    pub(super) fn image_clone(&self, args: &Args) -> Result<Started, ApiError> {
        let image: ImageRef = args.need("image")?;
        let name: ImageName = args.need("name")?;
        match self.library.clone_image(&image, name) {
            Ok(job) => Ok(Started { job }),
            Err(PublishOrLibrary::Publish(PublishError::NameTaken(name))) => Err(ApiError::ImageTaken(name)),
            Err(PublishOrLibrary::Publish(_)) => Err(self.no_such_image(image)),
            Err(PublishOrLibrary::Library(error)) => Err(self.library_failed(error)),
        }
    }

    pub(super) fn image_maintain(&self, args: &Args) -> Result<Maintained, ApiError> {
        let image: ImageName = args.need("image")?;
        let client: Option<String> = args.get("client")?;
        let client = client.map(|_| self.known(args)).transpose()?;
        if client.is_some() && !can_act() {
            return Err(ApiError::ImageState(
                "a draft is changed on a client only where Bramble runs as root: its files belong to many users"
                    .to_owned(),
            ));
        }
        if let Some(client) = client.as_ref().filter(|client| !client.adopted) {
            return Err(ApiError::ImageState(format!(
                "`{0}` is not adopted yet; adopt it first: `bramble client adopt {0} --name NAME`",
                client.mac
            )));
        }
        let before = self.images.maintainer(&image);
        let mac = client.as_ref().map(|client| client.mac);
        self.library.maintain(&image, mac).map_err(|error| self.draft_failed(error))?;
        let mut says = match &client {
            Some(client) => format!(
                "{0} boots the draft of `{image}` when it next starts, with root logged in; everything that is changed there is kept. Then shut it down and `bramble image publish {image}`, or `discard`.",
                client.name
            ),
            None => format!("no client boots the draft of `{image}`."),
        };
        if let Some(before) =
            before.filter(|before| Some(*before) != mac).and_then(|mac| self.clients.get(mac))
        {
            let _ = write!(
                says,
                " {} boots what is chosen for it again; if it runs the draft, start it again.",
                before.name
            );
        }
        Ok(Maintained { image, client: client.map(|client| client.name), says })
    }

    pub(super) fn image_shell(&self, args: &Args) -> Result<Shell, ApiError> {
        let image: ImageName = args.need("image")?;
        self.nobody_maintains(&image)?;
        let draft = self.library.draft_that_runs(&image).map_err(|error| self.run_failed(error))?;
        let page = TTYD.iter().all(|file| std::path::Path::new(file).exists()).then(|| TTYD_PAGE.to_owned());
        let command = format!("bramble image shell {image}");
        let says = match &page {
            Some(_) => format!("log in as root on the terminal page, and type `{command}`."),
            None => format!(
                "log in to the router as root (ssh), and type `{command}`; the package `luci-app-ttyd` brings a terminal for the browser."
            ),
        };
        Ok(Shell { image, draft, command, page, says })
    }

    pub(super) fn image_run(&self, args: &Args) -> Result<Started, ApiError> {
        let image: ImageName = args.need("image")?;
        let line: Line = args.need("command")?;
        let started = if args.get::<String>("client")?.is_some() {
            let client = self.known(args)?;
            if self.images.maintainer(&image) != Some(client.mac) {
                return Err(ApiError::ImageState(format!(
                    "{0} does not maintain the draft of `{image}`; `bramble image maintain {image} {0}` has it boot it",
                    client.name
                )));
            }
            self.library.run_there(&image, (client.mac, client.name), line, Arc::clone(&self.agents))
        } else {
            self.nobody_maintains(&image)?;
            self.library.run_here(&image, line)
        };
        Ok(Started { job: started.map_err(|error| self.run_failed(error))? })
    }

    /// Refuses while a client maintains the draft of `image`: its programs and those of the router would know nothing of
    /// each other.
    fn nobody_maintains(&self, image: &ImageName) -> Result<(), ApiError> {
        match self.images.maintainer(image).and_then(|mac| self.clients.get(mac)) {
            Some(client) => Err(ApiError::ImageState(format!(
                "{0} maintains the draft of `{image}`; have it run commands (`bramble image run {image} --on {0} -- COMMAND`), or shut it down and take the draft from it: `bramble image maintain {image} --end`",
                client.name
            ))),
            None => Ok(()),
        }
    }

    /// Refuses while the client that maintains the draft of `image` runs.
    fn nobody_changes(&self, image: &ImageName) -> Result<(), ApiError> {
        match changing(image, &self.images, &self.clients, &self.eyes()) {
            Some(says) => Err(ApiError::ImageState(says)),
            None => Ok(()),
        }
    }

    pub(super) fn image_test(&self, args: &Args) -> Result<Effect, ApiError> {
        let known = self.known(args)?;
        let image: Option<ImageRef> = args.get("image")?;
        let tried = image.map(|image| self.version_of(image)).transpose()?;
        self.try_out(&known, tried.as_ref())?;
        let known = self.clients.get(known.mac).unwrap_or(known);
        let Some(next) = tried.clone().or_else(|| self.boots_next(&known)) else {
            let has = "it tries nothing out any more, and no image is assigned to it";
            return Err(ApiError::ImageState(format!("`{}`: {has}", known.name)));
        };
        let mut effect = self.effect(next, None, |other| other.mac == known.mac);
        if let Some(tried) = tried {
            let name = &known.name;
            let _ = write!(
                effect.says,
                " When the trial is over: `bramble image promote {tried}`, or `bramble image test {name} --end`."
            );
        }
        Ok(effect)
    }

    pub(super) fn image_promote(&self, args: &Args) -> Result<Effect, ApiError> {
        let image = self.version_of(args.need("image")?)?;
        if let Some(room) = args.get::<RoomName>("room")? {
            let pinned = ImageRef { name: image.name.clone(), version: Some(image.version) };
            let effect = self.assign_room(&room, Some(&pinned))?;
            return self.restart(args, &format!("bramble image promote {image} --room {room}"), effect);
        }
        self.library.promote(&image).map_err(|error| self.life_failed(error))?;
        // Rooms that pin another version of it boot the current one again.
        let turn = edit::turn();
        let mut pinning = self.rooms_in_file()?;
        pinning.retain(|(_, boots)| boots.name == image.name && boots.version.is_some());
        let edits: Vec<Edit> = pinning.iter().map(|(room, _)| set_image(room, image.name.as_str())).collect();
        if !edits.is_empty() {
            self.change_in(turn, &edits)?;
        }
        self.end_trials(&image, |_| true)?;
        let command = format!("bramble image promote {image}");
        self.restart(args, &command, self.effect(image, None, |_| true))
    }

    pub(super) fn image_rollback(&self, args: &Args) -> Result<Effect, ApiError> {
        let name: ImageName = args.need("image")?;
        let Some(room) = args.get::<RoomName>("room")? else {
            let image = self.library.roll_back(&name).map_err(|error| self.life_failed(error))?;
            // The next roll-back would undo this one.
            let command = format!("bramble image promote {image}");
            return self.restart(args, &command, self.effect(image, None, |_| true));
        };
        let before = self.store.room_before(&room).map_err(|error| self.failed(&error))?;
        match before {
            Some(before) if before.as_ref().is_none_or(|before| before.name == name) => {
                let effect = self.assign_room(&room, before.as_ref())?;
                let image = effect.image.as_ref().map_or_else(|| name.to_string(), ToString::to_string);
                self.restart(args, &format!("bramble image promote {image} --room {room}"), effect)
            }
            _ => Err(ApiError::ImageState(format!(
                "no version of `{name}` was promoted to `{room}`, so there is none to go back to; `bramble image promote {name}@N --room {room}` chooses one"
            ))),
        }
    }

    /// What rooms boot by the file as it is now, which may be newer than the configuration in force.
    fn rooms_in_file(&self) -> Result<Vec<(RoomName, ImageRef)>, ApiError> {
        let text =
            fs_err::read(&self.config_path).map_err(|error| ApiError::NotWritten(error.to_string()))?;
        let document = Document::read(&text);
        let room = |section: &Section| {
            let name = section.name.as_ref()?.value.parse().ok()?;
            Some((name, section.value("image")?.value.parse().ok()?))
        };
        Ok(document.of_kind("room").filter_map(room).collect())
    }

    /// Writes what a room boots from now on, and remembers what it booted.
    fn assign_room(&self, room: &RoomName, image: Option<&ImageRef>) -> Result<Effect, ApiError> {
        self.room_exists(room)?;
        let version = image.map(|image| self.version_of(image.clone())).transpose()?;
        let edit = match image {
            Some(image) => set_image(room, &image.to_string()),
            None => Edit::Unset { section: room.to_string(), option: "image".to_owned() },
        };
        let turn = edit::turn();
        let before =
            self.rooms_in_file()?.into_iter().find_map(|(name, boots)| (name == *room).then_some(boots));
        self.change_in(turn, &[edit])?;
        // Twice the same is once: there is still what was before it to go back to.
        if before.as_ref() != image {
            self.store.room_before_set(room, before.as_ref()).map_err(|error| self.failed(&error))?;
        }
        let Some(version) = version else {
            let says = format!("{room} has no image any more, as before: its clients start nothing.");
            let (room, none) = (Some(room.clone()), Vec::new);
            return Ok(Effect {
                image: None,
                room,
                clients: vec![],
                still: none(),
                keep: none(),
                action: None,
                says,
            });
        };
        let here = |known: &Known| known.room.as_ref() == Some(room);
        self.end_trials(&version, here)?;
        Ok(self.effect(version, Some(room.clone()), here))
    }

    fn try_out(&self, known: &Known, image: Option<&ImageVersion>) -> Result<(), ApiError> {
        self.library.set_trial(known.mac, image, now()).map_err(|error| self.life_failed(error))?;
        self.clients.set_trial(known.mac, image.cloned());
        Ok(())
    }

    /// A version that is promoted is tried out no more by those who get it.
    fn end_trials(&self, image: &ImageVersion, of: impl Fn(&Known) -> bool) -> Result<(), ApiError> {
        for known in self.clients.all() {
            if known.trial.as_ref() == Some(image) && of(&known) {
                self.try_out(&known, None)?;
            }
        }
        Ok(())
    }

    /// Who boots `image` from now on, and who does not.
    fn effect(&self, image: ImageVersion, room: Option<RoomName>, of: impl Fn(&Known) -> bool) -> Effect {
        let (mut clients, mut still, mut keep) = (Vec::new(), Vec::new(), Vec::new());
        for known in self.clients.all().into_iter().filter(of) {
            let Some(next) = self.boots_next(&known) else { continue };
            if next == image {
                if let Some(booted) = known.booted.clone().filter(|booted| *booted != image)
                    && self.runs(&known)
                {
                    still.push(ClientOn { client: known.name.clone(), image: booted });
                }
                clients.push(known.name);
            } else if next.name == image.name {
                keep.push(ClientOn { client: known.name, image: next });
            }
        }
        let mut says = match clients.as_slice() {
            [] => format!("`{image}` is chosen, but no client boots it: none has this image."),
            [one] => format!("{one} boots `{image}` when it next starts."),
            many => format!("{} clients boot `{image}` when they next start.", many.len()),
        };
        if !still.is_empty() {
            let _ = write!(says, " Until then they run what they have: {}.", told(&still));
        }
        if !keep.is_empty() {
            let _ = write!(says, " Another version is pinned for, or tried out by: {}.", told(&keep));
        }
        Effect { image: Some(image), room, clients, still, keep, action: None, says }
    }

    fn version_of(&self, image: ImageRef) -> Result<ImageVersion, ApiError> {
        self.library.version_of(&image).map_err(|_| self.no_such_image(image))
    }

    fn draft_failed(&self, error: DraftError) -> ApiError {
        match error {
            DraftError::NoSuchImage(image) => self.no_such_image(image),
            DraftError::Library(error) => self.library_failed(error),
            error @ (DraftError::Exists { .. } | DraftError::None(_) | DraftError::Work(_)) => {
                ApiError::ImageState(chain(&error))
            }
        }
    }

    fn run_failed(&self, error: RunError) -> ApiError {
        match error {
            RunError::Draft(error) => self.draft_failed(error),
            error @ (RunError::Processor(_) | RunError::NotRoot) => ApiError::ImageState(chain(&error)),
        }
    }

    fn life_failed(&self, error: LifeError) -> ApiError {
        match error {
            LifeError::NoSuchImage(image) => self.no_such_image(image),
            LifeError::Library(error) => self.library_failed(error),
            error @ LifeError::NothingBefore(_) => ApiError::ImageState(chain(&error)),
        }
    }

    pub(super) fn library_failed(&self, error: LibraryError) -> ApiError {
        match error {
            LibraryError::Job(error) => error.into(),
            error => self.failed(&error),
        }
    }
}

/// Which client maintains the draft of `image` and runs, in a sentence.
fn changing(image: &ImageName, images: &Images, clients: &Clients, eyes: &Eyes) -> Option<String> {
    let client = images.maintainer(image).and_then(|mac| clients.get(mac))?;
    eyes.runs(&client).then(|| {
        format!(
            "{0} runs, and may be changing the draft of `{image}`; shut it down first, so that all it wrote is here, or take the draft from it: `bramble image maintain {image} --end`",
            client.name
        )
    })
}

fn set_image(room: &RoomName, image: &str) -> Edit {
    let value = NewValue::One(image.to_owned());
    Edit::Set { section: room.to_string(), option: "image".to_owned(), value }
}

/// `lab-01 (trixie@3), lab-02 (trixie@3) and 7 more`.
fn told(clients: &[ClientOn]) -> String {
    const SHOWN: usize = 8;
    let one = |on: &ClientOn| format!("{} ({})", on.client, on.image);
    let first = clients.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(", ");
    match clients.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

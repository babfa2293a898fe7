//! `bramble image`: what people ask about operating systems, and what the answers look like.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::backup::{absolute, through, to_output};
use super::show::{list, or_nothing};
use super::text::{table, wrap};
use super::{Cli, CliError, ask, drafts, sources, start};
use crate::api::answer::{
    DraftSummary, Effect, Export, Exports, ImageDetail, Images, Maintained, Removed, Renamed, VersionSummary,
};
use crate::service::images::files::{Bits, Owner, Wanted};
use crate::types::{ByteSize, HostName, ImageName, ImageRef, RoomName};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Every image and who boots it
    List,
    /// One image: its versions, its draft, and what inspection found in them
    Show { image: ImageRef },
    /// Import an operating system as a new version of an image
    Import(sources::Import),
    /// Operating systems that can be imported by their name or number
    Catalogue(sources::ShowCatalogue),
    /// Memory cards and disks in the router, and whether an image can be taken from them
    Devices,
    /// Whose desktop could be made everybody's (--desktop of import and publish), and which settings that would be
    Desktop(sources::ShowDesktop),
    /// Files that a browser has sent, or is sending
    Uploads {
        /// Delete one of them
        #[arg(long, value_name = "NUMBER")]
        cancel: Option<u64>,
    },
    /// Make a writable copy of an image, or of one version of it
    Draft { image: ImageRef },
    /// Make a version of the draft of an image, which nobody boots until it is promoted
    Publish {
        image: ImageName,
        /// What is new in it, in one line
        #[arg(long)]
        note: Option<String>,
        /// Checks and cleanings to pass over: kernel, boot, packages; apt, logs, machine-id, host-keys, histories,
        /// temporary, seeds
        #[arg(long, value_name = "NAMES")]
        skip: Option<String>,
        /// Make the menu, panel and desktop of this person of the draft everybody's
        #[arg(long, value_name = "PERSON")]
        desktop: Option<String>,
    },
    /// Have one client boot the draft of an image from its next start on, to change it there as root
    Maintain {
        image: ImageName,
        /// The client; its root is the draft itself, and everything changed there is kept
        #[arg(required_unless_present = "end", conflicts_with = "end")]
        client: Option<String>,
        /// No client boots the draft any more
        #[arg(long)]
        end: bool,
    },
    /// Open a root shell in the draft of an image, on the router
    Shell {
        image: ImageName,
        /// Make a draft without asking if there is none
        #[arg(long)]
        yes: bool,
    },
    /// Run a command in the draft of an image (bramble image run trixie -- apt-get -y full-upgrade); its exit code is ours,
    /// 125 if nothing ran
    Run {
        image: ImageName,
        /// On the client that maintains the draft, instead of the router
        #[arg(long = "on", value_name = "CLIENT")]
        client: Option<String>,
        /// Start the job and do not wait for it
        #[arg(long)]
        detach: bool,
        /// One word is a line for `sh`; several are a program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Copy files into a draft, or out of a draft or a version (bramble image copy hosts trixie:/etc/)
    Copy {
        /// A file or folder of this machine, or in an image: trixie:/etc/hosts (the draft if there is one), trixie@3:/etc/hosts
        from: String,
        /// Where to; a folder that is there takes it in, a link is replaced
        to: String,
        /// Who owns what is copied into the draft: USER, USER:GROUP or numbers; else root, or who owned what is replaced
        #[arg(long)]
        owner: Option<Owner>,
        /// What may be done with it, such as 0644
        #[arg(long)]
        mode: Option<Bits>,
    },
    /// What the daemon starts for `run`
    #[command(hide = true)]
    Inside {
        #[arg(long)]
        parent: u32,
        image: ImageName,
        draft: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Throw the draft of an image away
    Discard { image: ImageName },
    /// Have one client boot a version from its next start on (bramble image test trixie@4 lab-01)
    Test {
        /// The version, and the client; with --end only the client
        #[arg(num_args = 1..=2, required = true, value_names = ["IMAGE", "CLIENT"])]
        who: Vec<String>,
        /// The client boots what the configuration says again
        #[arg(long)]
        end: bool,
    },
    /// Have a room, or every client of an image, boot a version from its next start on
    Promote {
        image: ImageRef,
        /// Only this room
        #[arg(long)]
        room: Option<RoomName>,
        #[command(flatten)]
        reboot: Reboot,
    },
    /// Have a room, or every client of an image, boot the version that it had before
    Rollback {
        image: ImageName,
        /// Only this room
        #[arg(long)]
        room: Option<RoomName>,
        #[command(flatten)]
        reboot: Reboot,
    },
    /// Make another image of a version, which shares its files
    Clone {
        image: ImageRef,
        /// Name of the other image
        name: ImageName,
    },
    /// Write an image, or one version of it, to an archive that another Bramble imports
    Export {
        image: ImageRef,
        /// The archive to make, on another disk, such as trixie.tar.zst; `-` for standard output
        to: PathBuf,
        /// Pack it as .tar.xz: a tenth smaller, and takes twenty times as long (also chosen by the name of the archive)
        #[arg(long)]
        xz: bool,
    },
    /// List the archives that were exported here and are there, or delete one
    Exports {
        /// Delete this one
        #[arg(long, value_name = "ARCHIVE")]
        delete: Option<PathBuf>,
    },
    /// Give an image another name, also in the rooms and clients of the configuration
    Rename {
        image: ImageName,
        /// The name it has from now on
        name: ImageName,
    },
    /// Pack an image, or one version of it, into one file that clients mount from their next start on
    Pack {
        image: ImageRef,
        /// Delete the packed file again: of this version, or of all versions of the image
        #[arg(long)]
        unpack: bool,
        /// Start the job and do not wait for it
        #[arg(long)]
        detach: bool,
    },
    /// Delete an image, or one version of it (trixie@3)
    Remove { image: ImageRef },
}

/// What becomes of clients that still run another version.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Reboot {
    /// Have clients that still run another version start again (now, but where somebody is logged in), or ask the people
    /// there to (ask)
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_missing_value = "now")]
    reboot: Option<When>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum When {
    Now,
    Ask,
}

impl Reboot {
    const fn word(self) -> Option<&'static str> {
        match self.reboot {
            Some(When::Now) => Some("now"),
            Some(When::Ask) => Some("ask"),
            None => None,
        }
    }
}

pub(super) fn run(cli: &Cli, command: &ImageCommand) -> Result<ExitCode, CliError> {
    match command {
        ImageCommand::List => ask(cli, "image_list", &json!({}), images),
        ImageCommand::Show { image } => ask(cli, "image_show", &json!({ "image": image }), image_detail),
        ImageCommand::Remove { image } => ask(cli, "image_remove", &json!({ "image": image }), removed),
        ImageCommand::Draft { image } => start(cli, "image_draft", &json!({ "image": image })),
        ImageCommand::Discard { image } => start(cli, "image_discard", &json!({ "image": image })),
        ImageCommand::Maintain { image, client, end: _ } => {
            let params = json!({ "image": image, "client": client });
            ask(cli, "image_maintain", &params, |maintained: &Maintained, width| {
                wrap("", &maintained.says, width)
            })
        }
        ImageCommand::Shell { image, yes } => drafts::shell(cli, image, *yes),
        ImageCommand::Run { image, client, detach, command } => {
            drafts::run(cli, image, client.as_deref(), *detach, command)
        }
        ImageCommand::Copy { from, to, owner, mode } => {
            drafts::copy(cli, from, to, &Wanted { owner: owner.clone(), mode: *mode })
        }
        ImageCommand::Inside { parent, image, draft, command } => {
            Ok(drafts::inside(*parent, image, draft, command))
        }
        ImageCommand::Publish { image, note, skip, desktop } => {
            let params = json!({ "image": image, "note": note, "skip": skip, "desktop": desktop });
            start(cli, "image_publish", &params)
        }
        ImageCommand::Test { who, end } => {
            let (image, client) = match (who.as_slice(), end) {
                ([client], true) => (None, client),
                ([image, client], false) => (Some(image), client),
                ([_, ..], true) => return Err(CliError::Usage("with `--end`, name only the client")),
                _ => return Err(CliError::Usage("name a version and a client, such as `trixie@4 lab-01`")),
            };
            ask(cli, "image_test", &json!({ "client": client, "image": image }), effect)
        }
        ImageCommand::Promote { image, room, reboot } => {
            let params = json!({ "image": image, "room": room, "reboot": reboot.word() });
            ask(cli, "image_promote", &params, effect)
        }
        ImageCommand::Rollback { image, room, reboot } => {
            let params = json!({ "image": image, "room": room, "reboot": reboot.word() });
            ask(cli, "image_rollback", &params, effect)
        }
        ImageCommand::Clone { image, name } => {
            start(cli, "image_clone", &json!({ "image": image, "name": name }))
        }
        ImageCommand::Export { image, to, xz } => {
            let form = xz.then_some("xz");
            let params = |to: &Path| json!({ "image": image, "to": to, "form": form });
            if to == Path::new("-") {
                return through(cli, "image_export", params, to_output);
            }
            start(cli, "image_export", &params(&absolute(to)))
        }
        ImageCommand::Exports { delete: None } => ask(cli, "image_exports", &json!({}), exports),
        ImageCommand::Exports { delete: Some(path) } => {
            ask(cli, "image_export_remove", &json!({ "path": absolute(path) }), |gone: &Export, width| {
                let Export { path, image, bytes, .. } = gone;
                wrap("", &format!("`{}` ({image}, {}) is deleted.", path.display(), ByteSize(*bytes)), width)
            })
        }
        ImageCommand::Rename { image, name } => {
            let params = json!({ "image": image, "name": name });
            ask(cli, "image_rename", &params, |renamed: &Renamed, width| wrap("", &renamed.says, width))
        }
        ImageCommand::Pack { image, unpack, detach } => {
            let params = json!({ "image": image, "unpack": unpack.then_some("1") });
            if *detach {
                ask(cli, "image_pack", &params, super::show::started)
            } else {
                start(cli, "image_pack", &params)
            }
        }
        ImageCommand::Import(import) => import.run(cli),
        ImageCommand::Catalogue(show) => show.run(cli),
        ImageCommand::Devices => ask(cli, "device_list", &json!({}), sources::devices),
        ImageCommand::Desktop(show) => show.run(cli),
        ImageCommand::Uploads { cancel: None } => ask(cli, "upload_list", &json!({}), sources::uploads),
        ImageCommand::Uploads { cancel: Some(upload) } => {
            ask(cli, "upload_cancel", &json!({ "upload": upload }), sources::upload_cancelled)
        }
    }
}

fn images(images: &Images, width: usize) -> String {
    if images.images.is_empty() {
        return wrap(
            "",
            "There is no image yet. `bramble image catalogue` shows those that can be imported.",
            width,
        );
    }
    let rows: Vec<Vec<String>> = images
        .images
        .iter()
        .map(|image| {
            vec![
                image.name.to_string(),
                or_nothing(image.current),
                image.versions.len().to_string(),
                or_nothing(image.draft.as_ref().map(|draft| format!("of {}", draft.base.version))),
                or_nothing(image.arch),
                size(image.bytes, image.packed),
                image.clients.len().to_string(),
                image.release.clone(),
            ]
        })
        .collect();
    let titles = ["IMAGE", "CURRENT", "VERSIONS", "DRAFT", "ARCH", "SIZE", "CLIENTS", "RELEASE"];
    table(&titles, &rows, &[0, 7], width)
}

fn exports(exports: &Exports, width: usize) -> String {
    if exports.exports.is_empty() {
        return wrap(
            "",
            "There is no export, or it is on a disk that is not plugged in; `bramble image export IMAGE FILE` makes one.",
            width,
        );
    }
    let row = |export: &Export| {
        let Export { path, image, bytes, made_at } = export;
        vec![image.to_string(), ByteSize(*bytes).to_string(), made_at.to_string(), path.display().to_string()]
    };
    let rows: Vec<_> = exports.exports.iter().map(row).collect();
    table(&["IMAGE", "SIZE", "MADE (UTC)", "ARCHIVE"], &rows, &[0], width)
}

/// Of the trees, and of what is packed beside them.
fn size(bytes: u64, packed: u64) -> String {
    match packed {
        0 => ByteSize(bytes).to_string(),
        packed => format!("{} + {} packed", ByteSize(bytes), ByteSize(packed)),
    }
}

fn image_detail(image: &ImageDetail, width: usize) -> String {
    let current = image.current.map_or("none".to_owned(), |version| version.to_string());
    let clients = list(image.clients.iter().map(HostName::as_str));
    let mut text =
        wrap("", &format!("{}: current version {current}, booted by {clients}", image.name), width);
    for version in &image.versions {
        one_version(&mut text, &image.name, version, width);
    }
    if let Some(DraftSummary { base, made_at, client, busy, path }) = &image.draft {
        let _ = writeln!(text, "\n{} (draft)", image.name);
        let mut line = |title: &str, says: &str| text.push_str(&wrap(&format!("  {title:<9}"), says, width));
        line("Source", &format!("copy of {base}, made {made_at} UTC"));
        line("Folder", &path.display().to_string());
        if let Some(client) = client {
            line("Note", &format!("{client} boots it, to change it."));
        }
        if *busy {
            line("Note", "A shell is open in it, or a command runs.");
        }
    }
    text
}

fn one_version(text: &mut String, name: &ImageName, version: &VersionSummary, width: usize) {
    let _ = writeln!(text, "\n{name}@{}", version.version);
    let mut line = |title: &str, says: &str| text.push_str(&wrap(&format!("  {title:<9}"), says, width));
    let facts = &version.facts;
    if !version.note.is_empty() {
        line("News", &version.note);
    }
    line("Release", &facts.pretty_name);
    line("Arch", facts.arch.as_str());
    line("Models", &list(facts.models.iter()));
    let kernels = facts.kernels.iter();
    line(
        "Kernels",
        &list(kernels.map(|kernel| format!("{} {}", kernel.file, kernel.version).trim().to_owned())),
    );
    let own = version.own.map(|own| format!(", {} of its own", ByteSize(own))).unwrap_or_default();
    line("Size", &format!("{} in {} files{own}", ByteSize(version.bytes), version.files));
    if let Some(packed) = version.packed {
        line("Packed", &format!("{} beside the tree; clients mount it instead", ByteSize(packed)));
    }
    line("Boot", &format!("{} over TFTP", ByteSize(facts.tftp_bytes)));
    line("Source", &format!("{}, imported {} UTC", version.source, version.imported_at));
    let missing = if version.missing { " (missing)" } else { "" };
    line("Folder", &format!("{}{missing}", version.path.display()));
    if version.before {
        line("Note", "A roll-back gives this version back.");
    }
    for warning in &facts.warnings {
        line("Note", warning);
    }
}

fn removed(removed: &Removed, width: usize) -> String {
    let current = match removed.current {
        Some(current) => format!("; its clients boot version {current} from now on"),
        None => String::new(),
    };
    let versions = list(removed.versions.iter().map(ToString::to_string));
    wrap("", &format!("{versions} removed{current}. Job {} deletes the files.", removed.job), width)
}

fn effect(effect: &Effect, width: usize) -> String {
    wrap("", &effect.says, width)
}

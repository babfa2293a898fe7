//! `bramble image`: what people ask about operating systems, and what the answers look like.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::backup::{absolute, through, to_output};
use super::show::{self, list, or_nothing};
use super::text::{table, wrap};
use super::{Cli, CliError, ask, start};
use crate::api::answer::{
    DraftSummary, Effect, ImageDetail, Images, Maintained, Removed, Renamed, VersionSummary,
};
use crate::types::{ByteSize, HostName, ImageName, ImageRef, RoomName};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Every image and who boots it
    List,
    /// One image: its versions, its draft, and what inspection found in them
    Show { image: ImageRef },
    /// Import an operating system as a new version of an image
    Import {
        /// Image file, archive or folder on this machine (.img, .tar, also .xz, .gz, .zst or .zip)
        source: PathBuf,
        /// Name of the image, such as trixie
        #[arg(long)]
        name: ImageName,
        /// SHA-256 that the file must have
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        /// SHA-256 of what is in a compressed file (`extract_sha256` of Raspberry Pi's catalogue)
        #[arg(long, value_name = "HEX")]
        content_sha256: Option<String>,
        /// Start the job and do not wait for it
        #[arg(long)]
        detach: bool,
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
    },
    /// Have a room, or every client of an image, boot the version that it had before
    Rollback {
        image: ImageName,
        /// Only this room
        #[arg(long)]
        room: Option<RoomName>,
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
        /// Pack it as .tar.xz: a fifth smaller, and takes much longer (also chosen by the name of the archive)
        #[arg(long)]
        xz: bool,
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
        ImageCommand::Publish { image, note, skip } => {
            start(cli, "image_publish", &json!({ "image": image, "note": note, "skip": skip }))
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
        ImageCommand::Promote { image, room } => {
            ask(cli, "image_promote", &json!({ "image": image, "room": room }), effect)
        }
        ImageCommand::Rollback { image, room } => {
            ask(cli, "image_rollback", &json!({ "image": image, "room": room }), effect)
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
        ImageCommand::Rename { image, name } => {
            let params = json!({ "image": image, "name": name });
            ask(cli, "image_rename", &params, |renamed: &Renamed, width| wrap("", &renamed.says, width))
        }
        ImageCommand::Pack { image, unpack, detach } => {
            let params = json!({ "image": image, "unpack": unpack.then_some("1") });
            if *detach {
                ask(cli, "image_pack", &params, show::started)
            } else {
                start(cli, "image_pack", &params)
            }
        }
        ImageCommand::Import { source, name, sha256, content_sha256, detach } => {
            // The daemon has another working folder than the person. An address of the web is no path: it is refused
            // by the daemon, with what to do.
            let is_url = source.to_str().is_some_and(|text| text.contains("://"));
            let source = if is_url {
                source.clone()
            } else {
                std::path::absolute(source).unwrap_or_else(|_| source.clone())
            };
            let params = json!({ "source": source, "name": name, "sha256": sha256,
                "content_sha256": content_sha256 });
            if *detach {
                return ask(cli, "image_import", &params, show::started);
            }
            start(cli, "image_import", &params)
        }
    }
}

fn images(images: &Images, width: usize) -> String {
    if images.images.is_empty() {
        return wrap("", "There is no image yet. Import one: bramble image import FILE --name NAME", width);
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
    if let Some(DraftSummary { base, made_at, client, path }) = &image.draft {
        let _ = writeln!(text, "\n{} (draft)", image.name);
        let mut line = |title: &str, says: &str| text.push_str(&wrap(&format!("  {title:<9}"), says, width));
        line("Source", &format!("copy of {base}, made {made_at} UTC"));
        line("Folder", &path.display().to_string());
        if let Some(client) = client {
            line("Note", &format!("{client} boots it, to change it."));
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

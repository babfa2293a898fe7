//! `bramble image import`, `catalogue`, `devices`, `desktop` and `uploads`: where operating systems come from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::link::{Link, read};
use super::show;
use super::text::{count, table, wrap};
use super::{Cli, CliError, ask, print, start, watch};
use crate::api::answer::{Catalogue, Desktop, Device, Devices, Offer, Started, Upload, Uploads};
use crate::service::images::shelf::{LeftOut, Offered, Written, write_list};
use crate::service::jobs::Task;
use crate::types::{ByteSize, ImageName, ImageRef};

/// What to import.
#[derive(Debug, Args)]
pub struct Import {
    /// Address of the web, file or folder on this machine (.img, .tar, also .xz, .gz, .zst or .zip), disk (/dev/sdb), or a name
    /// or number of the catalogue
    source: String,
    /// Name of the image, such as trixie; made from that of the source unless given
    #[arg(long)]
    name: Option<ImageName>,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// SHA-256 of what is in a compressed file (`extract_sha256` of Raspberry Pi's catalogue)
    #[arg(long, value_name = "HEX")]
    content_sha256: Option<String>,
    /// Make the menu, panel and desktop of this person of the image everybody's
    #[arg(long, value_name = "PERSON")]
    desktop: Option<String>,
    /// Start the job and do not wait for it
    #[arg(long)]
    detach: bool,
}

impl Import {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let Self { source, name, sha256, content_sha256, desktop, detach } = self;
        let params = json!({ "source": place(source), "name": name, "sha256": sha256,
            "content_sha256": content_sha256, "desktop": desktop });
        if *detach {
            return ask(cli, "image_import", &params, show::started);
        }
        start(cli, "image_import", &params)
    }
}

/// What the daemon is told: it has another working folder than the person, so that what is a file here gets its whole path.
fn place(source: &str) -> String {
    let path = Path::new(source);
    let is_path = source.contains('/') && !source.contains("://") || path.exists();
    if !is_path || source.starts_with("upload:") {
        return source.to_owned();
    }
    std::path::absolute(path).map_or_else(|_| source.to_owned(), |path| path.display().to_string())
}

/// What of the catalogue to show.
#[derive(Debug, Args)]
pub struct ShowCatalogue {
    /// Part of a name, a description or a heading
    search: Option<String>,
    /// Also what no Pi of this house can boot
    #[arg(long)]
    all: bool,
    /// Read the lists anew first
    #[arg(long)]
    refresh: bool,
    /// List the exported images (.tar.zst, .tar.xz) of this folder in a file beside them, as a catalogue for another Bramble
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["search", "all", "refresh"])]
    write: Option<PathBuf>,
}

impl ShowCatalogue {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        if let Some(folder) = &self.write {
            let written = write_list(folder, &Task::unwatched()).map_err(CliError::Shelf)?;
            print(&if cli.json { format!("{}\n", json!(written)) } else { listed(&written) });
            return Ok(ExitCode::SUCCESS);
        }
        let params = json!({ "search": self.search, "all": self.all.then_some("1") });
        let mut link = Link::open(&cli.socket)?;
        let there: Catalogue = read(&link.ask("image_catalogue", &params)?)?;
        if self.refresh || there.lists.iter().all(|list| list.read_at.is_none() && list.error.is_none()) {
            let started: Started = read(&link.ask("image_catalogue_refresh", &json!({}))?)?;
            // What cannot be read is shown with the list.
            match watch::end_of(cli, &mut link, started.job) {
                Err(CliError::Job(_)) => {}
                other => other?,
            }
        }
        ask(cli, "image_catalogue", &params, catalogue)
    }
}

fn listed(written: &Written) -> String {
    let list = written.list.display();
    let mut text = String::new();
    for Offered { image, file, bytes } in &written.images {
        let _ = writeln!(text, "{image}  {file}, {}", ByteSize(*bytes));
    }
    for LeftOut { file, why } in &written.left_out {
        let _ = writeln!(text, "Left out: `{file}`: {why}");
    }
    let _ = writeln!(
        text,
        "Listed in `{list}`. Another Bramble reads it on a disk, `list source '{list}'`, or where a web server has the folder."
    );
    text
}

fn catalogue(catalogue: &Catalogue, width: usize) -> String {
    let mut text = String::new();
    if catalogue.offers.is_empty() {
        text.push_str(&wrap(
            "",
            "Nothing here fits; `--all` shows also what no Pi of this house can boot.",
            width,
        ));
    } else {
        let row = |offer: &Offer| {
            let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| ByteSize(bytes).to_string());
            let have = offer.images.iter().map(|from| {
                if from.outdated { format!("{} (older)", from.image) } else { from.image.to_string() }
            });
            let released = if offer.released.is_empty() { "-" } else { &offer.released };
            vec![
                offer.id.clone(),
                released.to_owned(),
                size(offer.file_bytes),
                size(offer.content_bytes),
                show::list(have),
                offer.name.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = catalogue.offers.iter().map(row).collect();
        text.push_str(&table(
            &["NUMBER", "RELEASED", "FETCH", "UNPACKED", "HERE AS", "NAME"],
            &rows,
            &[4, 5],
            width,
        ));
        if catalogue.offers.len() < catalogue.total {
            let more = catalogue.total - catalogue.offers.len();
            text.push_str(&wrap(
                "",
                &format!("There are {more} more; search for a part of the name."),
                width,
            ));
        }
    }
    for list in &catalogue.lists {
        let read = list.read_at.map_or("never read".to_owned(), |at| format!("read {at} UTC"));
        text.push_str(&wrap("List   ", &format!("{}, {read}", list.source), width));
        if let Some(error) = &list.error {
            text.push_str(&wrap("Note   ", error, width));
        }
    }
    for news in &catalogue.news {
        text.push_str(&wrap("News   ", &news.says, width));
    }
    text
}

pub(super) fn devices(devices: &Devices, width: usize) -> String {
    if devices.devices.is_empty() {
        return wrap("", "There is no memory card or disk in this router, or its driver is missing.", width);
    }
    let mut rows = Vec::new();
    for device in &devices.devices {
        let Device { path, model, bytes, bus, partitions, .. } = device;
        rows.push(vec![
            path.display().to_string(),
            ByteSize(*bytes).to_string(),
            if bus.is_empty() { "-" } else { bus }.to_owned(),
            String::new(),
            if model.is_empty() { "-" } else { model }.to_owned(),
        ]);
        for part in partitions {
            let at =
                part.mounted.as_ref().map(|at| format!(", mounted at {}", at.display())).unwrap_or_default();
            rows.push(vec![
                format!("  {}", part.path.display()),
                ByteSize(part.bytes).to_string(),
                String::new(),
                if part.kind.is_empty() { "-" } else { &part.kind }.to_owned(),
                format!("{}{at}", part.label),
            ]);
        }
    }
    let mut text = table(&["DISK", "SIZE", "BUS", "HOLDS", "CALLED"], &rows, &[4], width);
    for device in &devices.devices {
        let says = match &device.refusal {
            None => format!(
                "An image can be taken from it: bramble image import {} --name NAME",
                device.path.display()
            ),
            Some(refusal) => format!("Nothing can be taken from it: {refusal}"),
        };
        text.push_str(&wrap("", &format!("{}: {says}", device.path.display()), width));
    }
    text
}

/// Whose desktop to show.
#[derive(Debug, Args)]
pub struct ShowDesktop {
    /// A version of an image (trixie@3), or a disk (/dev/sdb)
    #[arg(required_unless_present = "draft", conflicts_with = "draft")]
    of: Option<String>,
    /// Or the draft of this image
    #[arg(long, value_name = "IMAGE")]
    draft: Option<ImageName>,
}

impl ShowDesktop {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let of = self.of.as_deref().unwrap_or_default();
        let device = of.starts_with('/').then(|| PathBuf::from(of));
        let image = if device.is_none() && self.draft.is_none() {
            Some(of.parse::<ImageRef>().map_err(|_| {
                CliError::Usage("name an image, such as `trixie@3`, or a disk, such as `/dev/sdb`")
            })?)
        } else {
            None
        };
        ask(cli, "image_desktop", &json!({ "image": image, "draft": self.draft, "device": device }), desktop)
    }
}

fn desktop(desktop: &Desktop, width: usize) -> String {
    if desktop.people.is_empty() {
        return wrap("", "Nobody has a home in it.", width);
    }
    let mut text = String::new();
    for person in &desktop.people {
        if person.settings.is_empty() {
            text.push_str(&wrap("", &format!("{} has changed nothing of the desktop.", person.name), width));
            continue;
        }
        text.push_str(&wrap(
            "",
            &format!("{} has {}:", person.name, count(person.settings.len(), "setting")),
            width,
        ));
        let rows: Vec<Vec<String>> = person
            .settings
            .iter()
            .map(|setting| vec![format!("  {}", setting.from), format!("/{}", setting.to)])
            .collect();
        text.push_str(&table(&["  IN THE HOME", "BECOMES"], &rows, &[0, 1], width));
    }
    text
}

pub(super) fn uploads(uploads: &Uploads, width: usize) -> String {
    if uploads.uploads.is_empty() {
        return wrap("", "There is no upload; the page Images of LuCI sends files.", width);
    }
    let rows: Vec<Vec<String>> = uploads
        .uploads
        .iter()
        .map(|upload| {
            vec![
                upload.upload.to_string(),
                ByteSize(upload.got).to_string(),
                ByteSize(upload.bytes).to_string(),
                upload.started_at.to_string(),
                upload.name.clone(),
            ]
        })
        .collect();
    let mut text = table(&["UPLOAD", "HERE", "OF", "BEGUN (UTC)", "FILE"], &rows, &[4], width);
    text.push_str(&wrap("", "A complete one is imported with: bramble image import upload:NUMBER", width));
    text
}

pub(super) fn upload_cancelled(upload: &Upload, width: usize) -> String {
    wrap("", &format!("Upload {} ({}) is deleted.", upload.upload, upload.name), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_file_here_gets_its_whole_path() {
        let here = std::env::current_dir().expect("a folder");
        let shown = |name: &str| here.join(name).display().to_string();
        #[rustfmt::skip]
        let rows = [
            ("Cargo.toml", shown("Cargo.toml")), ("src/main.rs", shown("src/main.rs")), ("/dev/sdb", "/dev/sdb".to_owned()),
            ("https://h.example/a.img", "https://h.example/a.img".to_owned()), ("Raspberry Pi OS (64-bit)", "Raspberry Pi OS (64-bit)".to_owned()),
            ("upload:7", "upload:7".to_owned()), ("3fa9c1d2", "3fa9c1d2".to_owned()), ("ftp://h/x", "ftp://h/x".to_owned()),
        ];
        for (source, expected) in rows {
            assert_eq!(place(source), expected, "{source}");
        }
    }
}

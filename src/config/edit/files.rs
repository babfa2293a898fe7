//! How a changed UCI file gets to the disk: through the `uci` program where it is the router's own, else in one step.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use super::{Edit, EditError, NewValue, one};
use crate::config::uci::{Document, quote};
use crate::sys;

/// Where the `uci` program keeps its files.
const ROUTER: &str = "/etc/config";

/// Where changes wait for `uci commit`: a folder of our own, so that nobody else's changes are committed with ours.
const UCI_CHANGES: &str = "/tmp/.uci-bramble";

/// The `uci` program, if the file is one of the router's own and there is such a program.
pub fn uci_for(path: &Path) -> Option<PathBuf> {
    if path.parent() != Some(Path::new(ROUTER)) {
        return None;
    }
    ["/sbin/uci", "/usr/sbin/uci", "/bin/uci", "/usr/bin/uci"]
        .into_iter()
        .map(PathBuf::from)
        .find(|program| program.exists())
}

/// Makes `after`, which is `before` with `edits` made in it, what is on the disk.
pub(super) fn write(
    path: &Path,
    before: &[u8],
    after: &[u8],
    edits: &[Edit],
    uci: Option<&Path>,
) -> Result<(), EditError> {
    match uci {
        Some(program) => {
            let batch = batch(&package(path), before, edits)?;
            takes(path, after)?;
            run_uci(program, path, &batch)
        }
        None => replace(path, after),
    }
}

/// Whether there is room for `text` beside the file. `uci commit` does not notice when there is none, and leaves an empty
/// file where the old one was.
fn takes(path: &Path, text: &[u8]) -> Result<(), EditError> {
    let probe = sys::whole::beside(path);
    let written = fs_err::File::create(&probe).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    let _ = fs_err::remove_file(&probe);
    written.map_err(failed(path, "written"))
}

/// What `uci` calls a file.
fn package(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The commands for `uci batch`.
fn batch(package: &str, text: &[u8], edits: &[Edit]) -> Result<String, EditError> {
    let mut commands = Vec::new();
    let assign = |at: &str, option: &str, value: &NewValue, known: bool, commands: &mut Vec<String>| {
        let place = format!("{package}.{at}.{option}");
        match value {
            NewValue::One(text) => commands.push(format!("set {place}={}", quote(text))),
            NewValue::Many(all) => {
                if known {
                    commands.push(format!("delete {place}"));
                }
                commands.extend(all.iter().map(|text| format!("add_list {place}={}", quote(text))));
            }
        }
    };
    let mut text = text.to_vec();
    for edit in edits {
        let document = Document::read(&text);
        match edit {
            Edit::Add { kind, name, options } => {
                let at = name.clone().unwrap_or_else(|| format!("@{kind}[-1]"));
                commands.push(match name {
                    Some(name) => format!("set {package}.{name}={}", quote(kind)),
                    None => format!("add {package} {kind}"),
                });
                for (option, value) in options {
                    assign(&at, option, value, false, &mut commands);
                }
            }
            Edit::Set { section, option, value } => {
                let known = document.section(section).is_some_and(|found| found.entry(option).is_some());
                assign(section, option, value, known, &mut commands);
            }
            Edit::Unset { section, option } => {
                if document.section(section).is_some_and(|found| found.entry(option).is_some()) {
                    commands.push(format!("delete {package}.{section}.{option}"));
                }
            }
            Edit::Remove { section } => commands.push(format!("delete {package}.{section}")),
        }
        text = one(&text, edit)?;
    }
    commands.push(String::new());
    Ok(commands.join("\n"))
}

/// `uci batch` says only on its error output that a command failed, and goes on; so what it did is looked at before it
/// is committed.
fn run_uci(program: &Path, path: &Path, batch: &str) -> Result<(), EditError> {
    let (folder, package) = (path.parent().unwrap_or(Path::new("/")), package(path));
    let folder = folder.as_os_str();
    // What an earlier change left behind when it failed must not be committed with this one.
    let _ = fs_err::remove_dir_all(UCI_CHANGES);
    let done = uci(program, folder, &["batch"], batch)
        .and_then(|()| uci(program, folder, &["commit", &package], ""));
    let _ = fs_err::remove_dir_all(UCI_CHANGES);
    done
}

fn uci(program: &Path, folder: &OsStr, words: &[&str], input: &str) -> Result<(), EditError> {
    let failed = |source: std::io::Error| EditError::File { path: program.to_owned(), doing: "run", source };
    let mut child = Process::new(program)
        .args(["-t", UCI_CHANGES, "-c"])
        .arg(folder)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take();
    let written = stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() && complaint.is_empty() {
        return written.map_err(failed);
    }
    let why = if complaint.is_empty() { output.status.to_string() } else { complaint };
    Err(EditError::Uci(why))
}

/// Puts `text` in the place of the file in one step: after a power cut it is the old file or the new one.
fn replace(path: &Path, text: &[u8]) -> Result<(), EditError> {
    // The file a link leads to is replaced, not the link.
    let real = fs_err::canonicalize(path).map_err(failed(path, "found"))?;
    put(&real, text)
}

/// Writes a whole file in one step, with owner and mode of the one it replaces, if there is one.
pub fn put(path: &Path, text: &[u8]) -> Result<(), EditError> {
    let old = fs_err::metadata(path).ok();
    let mode = old.as_ref().map_or(0o644, |old| old.mode() & 0o7777);
    let written = sys::whole::put(path, mode, |file| {
        if let Some(old) = &old {
            fchown(&*file, Some(old.uid()), Some(old.gid()))?;
        }
        file.write_all(text)
    });
    written.map_err(failed(path, "written"))
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(std::io::Error) -> EditError {
    move |source| EditError::File { path: path.to_owned(), doing, source }
}

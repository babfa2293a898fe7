//! `bramble image shell`, `run` and `copy`: work in the draft of an image, from a terminal of the router.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde_json::json;

use super::link::{Link, read};
use super::{Cli, CliError, complain, print, watch};
use crate::api::answer::{ClientDetail, ImageDetail, JobOutput, JobStatus, Shell, Started};
use crate::service::images::files::{self, Copied, Place, Wanted};
use crate::service::images::run::NOTHING_RAN;
use crate::service::images::workshop::{For, Hold, What, work};
use crate::types::{ByteSize, ImageName, chain};

/// How often the daemon is asked what a command has printed.
const PACE: Duration = Duration::from_millis(300);

/// Opens a root shell in the draft of an image; makes one first if somebody wants that.
pub(super) fn shell(cli: &Cli, image: &ImageName, yes: bool) -> Result<ExitCode, CliError> {
    let mut link = Link::open(&cli.socket)?;
    let known: ImageDetail = read(&link.ask("image_show", &json!({ "image": image }))?)?;
    if known.draft.is_none() {
        let of = known.current.map_or_else(|| image.to_string(), |version| format!("{image}@{version}"));
        if !yes
            && !agreed(&format!("`{image}` has no draft yet. Make one, a writable copy of `{of}`? [Y/n] "))?
        {
            return Ok(ExitCode::FAILURE);
        }
        let started: Started = read(&link.ask("image_draft", &json!({ "image": of }))?)?;
        watch::end_of(cli, &mut link, started.job)?;
    }
    let shell: Shell = read(&link.ask("image_shell", &json!({ "image": image }))?)?;
    drop(link);
    if io::stdout().is_terminal() {
        print(&format!(
            "This is the draft of `{image}`, on the router. Whatever is changed here is kept, and goes to every client once it is published.\nWhen you are done: `exit`, then `bramble image publish {image}`.\n\n"
        ));
    }
    let code = work(image, &shell.draft, &What::Shell).map_err(CliError::Work)?;
    Ok(ExitCode::from(code))
}

/// Whether somebody says yes.
fn agreed(question: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage("there is no draft, and nobody to ask whether to make one; say `--yes`"));
    }
    print(question);
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(CliError::File)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

/// Runs a command in the draft and shows what it prints; its exit code is ours.
pub(super) fn run(
    cli: &Cli,
    image: &ImageName,
    client: Option<&str>,
    detach: bool,
    words: &[String],
) -> Result<ExitCode, CliError> {
    let params = json!({ "image": image, "command": line(words), "client": client });
    if detach {
        return super::ask(cli, "image_run", &params, super::show::started);
    }
    let mut link = Link::open(&cli.socket)?;
    let started: Started = read(&link.ask("image_run", &params)?)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Signals)?;
    let (code, text) = runtime.block_on(follow(cli, &mut link, started.job))?;
    let status: JobStatus = read(&link.ask("job_status", &json!({ "job": started.job }))?)?;
    if cli.json {
        print(&format!("{}\n", json!({ "job": status, "code": code, "text": text })));
    }
    if code.is_none() && !cli.json {
        complain(&status.message);
    }
    Ok(ExitCode::from(code.unwrap_or(NOTHING_RAN)))
}

/// Prints what the command of a job prints until its end; its exit code, if it ran to an end, and what was not printed.
async fn follow(cli: &Cli, link: &mut Link, job: u64) -> Result<(Option<u8>, String), CliError> {
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(CliError::Signals)?;
    let (mut from, mut text, mut code) = (0, String::new(), None);
    // Once more, and nobody waits for what does not want to end.
    let mut asked_to_end = false;
    loop {
        let piece: JobOutput = read(&link.ask("job_output", &json!({ "job": job, "from": from }))?)?;
        if cli.json {
            text.push_str(&piece.text);
        } else {
            if piece.from > from {
                print("\n[…]\n");
            }
            print(&piece.text);
        }
        let more = piece.next > piece.from;
        from = piece.next;
        code = piece.code.or(code);
        if piece.over && !more {
            return Ok((code, text));
        }
        let pause = if more { Duration::from_millis(1) } else { PACE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Some(()) = interrupts.recv() => {
                if asked_to_end {
                    return Err(watch::goes_on(job));
                }
                asked_to_end = true;
                // If it ended in this moment, the next question tells how.
                drop(link.ask("job_cancel", &json!({ "job": job })));
            }
        }
    }
}

/// Copies files into a draft, or out of a tree.
pub(super) fn copy(cli: &Cli, from: &str, to: &str, wanted: &Wanted) -> Result<ExitCode, CliError> {
    let place = |text: &str| text.parse::<Place>().map_err(CliError::Place);
    let (copied, shown) = match (Place::is_meant(from), Place::is_meant(to)) {
        (false, true) => {
            let to = place(to)?;
            if to.image.version.is_some() {
                return Err(CliError::Usage(
                    "a published version is never changed; name the image without a version, and its draft is meant",
                ));
            }
            let image = &to.image.name;
            let detail: ImageDetail =
                read(&Link::open(&cli.socket)?.ask("image_show", &json!({ "image": image }))?)?;
            let Some(draft) = detail.draft else {
                let message = format!("`{image}` has no draft; `bramble image draft {image}` makes one");
                return Err(CliError::Action(message));
            };
            if let Some(client) = draft.client {
                let known: ClientDetail =
                    read(&Link::open(&cli.socket)?.ask("client_get", &json!({ "client": client }))?)?;
                return Err(CliError::Action(format!(
                    "{0} maintains the draft of `{image}`; copy the file there, or shut it down and take the draft from it: `bramble image maintain {image} --end`",
                    known.client.name
                )));
            }
            let _hold = Hold::take(image, &draft.path, For::Files).map_err(CliError::Work)?;
            let copied = files::put(&draft.path, Path::new(from), &to, wanted).map_err(CliError::Files)?;
            let shown = format!("`/{}` in the draft of `{image}`", copied.at.display());
            (copied, shown)
        }
        (true, false) => {
            if *wanted != Wanted::default() {
                return Err(CliError::Usage("`--owner` and `--mode` are for what is copied into a draft"));
            }
            let from = place(from)?;
            let detail: ImageDetail =
                read(&Link::open(&cli.socket)?.ask("image_show", &json!({ "image": from.image }))?)?;
            let draft = detail.draft.filter(|_| from.image.version.is_none()).map(|draft| draft.path);
            let wanted = from.image.version.or(detail.current);
            let version = || detail.versions.into_iter().find(|version| Some(version.version) == wanted);
            let tree = draft.or_else(|| version().map(|version| version.path));
            let tree = tree.ok_or(CliError::Usage("name a version of the image that is there"))?;
            let copied = files::get(&tree, &from, Path::new(to)).map_err(CliError::Files)?;
            let shown = format!("`{}`", copied.at.display());
            (copied, shown)
        }
        (true, true) => return Err(CliError::Usage("one of the two is a file or folder of this machine")),
        (false, false) => {
            return Err(CliError::Usage("one of the two is in an image, such as `trixie:/etc/hosts`"));
        }
    };
    if cli.json {
        let Copied { files, bytes, left_out, at } = copied;
        print(&format!("{}\n", json!({ "files": files, "bytes": bytes, "left_out": left_out, "at": at })));
        return Ok(ExitCode::SUCCESS);
    }
    let files = if copied.files == 1 { "1 file".to_owned() } else { format!("{} files", copied.files) };
    print(&format!("{files}, {}, copied to {shown}.\n", ByteSize(copied.bytes)));
    if copied.left_out > 0 {
        print(&format!("{} devices, sockets or pipes were left out.\n", copied.left_out));
    }
    Ok(ExitCode::SUCCESS)
}

/// One word is a line for the shell as it is; several are the words of one command, whatever is in them.
fn line(words: &[String]) -> String {
    let [one] = words else {
        return words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    };
    one.clone()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What the daemon starts to run a command in a draft: this program again. Ends with the daemon.
pub(super) fn inside(parent: u32, image: &ImageName, draft: &Path, words: &[OsString]) -> ExitCode {
    let bound = set_pdeathsig(Signal::SIGKILL);
    if bound.is_err() || u32::try_from(nix::unistd::getppid().as_raw()) != Ok(parent) {
        return ExitCode::from(NOTHING_RAN);
    }
    match work(image, draft, &What::Command(words.to_vec())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "{}", chain(&error));
            ExitCode::from(NOTHING_RAN)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_stay_words_and_a_line_stays_a_line() {
        let line = |words: &[&str]| super::line(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(line(&["apt-get", "-y", "full-upgrade"]), "apt-get -y full-upgrade");
        assert_eq!(line(&["cd /tmp && ls | wc -l"]), "cd /tmp && ls | wc -l");
        assert_eq!(line(&["echo", "it's", "", "$HOME", "a b"]), r"echo 'it'\''s' '' '$HOME' 'a b'");
    }
}

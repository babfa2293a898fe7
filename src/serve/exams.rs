//! Runs the administrator's program when an exam begins and when it ends ([`Exams`]).
//!
//! The program is root's: nobody else may be able to write to it, because the daemon runs it with its own rights. It is
//! given nothing but its arguments. One that fails is run again after a while, and shown as a problem until it succeeds:
//! an exam without what it does is not the exam that was asked for.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::service::clients::Clients;
use crate::service::health::Health;
use crate::service::room::exams::{Call, Exams};
use crate::store::{Store, StoreError};
use crate::types::{chain, limits};

/// What the store has under it that programs were told.
const KEPT: &str = "exams";

/// How often it is looked whether a client has another address; a change of the configuration is seen at once.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long the program may take.
const RUNS_WITHIN: Duration = Duration::from_secs(30);

/// How long after its end what it said may take.
const SAYS_WITHIN: Duration = Duration::from_secs(1);

/// How long after a failure it is run again.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Why a program did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("it cannot be looked at ({0}); is it there?")]
    NotThere(io::Error),
    #[error("it is not a file that can be run; `chmod 755` it")]
    NoProgram,
    #[error(
        "others than root may change it, and it would be run with root's rights; `chown root` and `chmod 755` it"
    )]
    NotRoots,
    #[error("it cannot be run: {0}")]
    Start(io::Error),
    #[error("it did not end within {} seconds", RUNS_WITHIN.as_secs())]
    Late,
    #[error("it ended with {status}: {said}")]
    Failed { status: String, said: String },
}

/// Runs until told to stop.
pub async fn run(
    clients: Arc<Clients>,
    health: Arc<Health>,
    store: Store,
    mut config: watch::Receiver<Arc<Config>>,
    mut stop: Stop,
) -> Result<(), StoreError> {
    let kept = in_background(&store, |store| store.kept(KEPT)).await?.unwrap_or_default();
    // What another version wrote is no reason not to start.
    let mut exams = Exams::read(&kept).unwrap_or_default();
    let mut turns = tokio::time::interval(LOOK_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed_until = None;
    loop {
        let changed = tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            Ok(()) = config.changed() => true,
            _ = turns.tick() => false,
        };
        let now = tokio::time::Instant::now();
        if !changed && failed_until.is_some_and(|until| now < until) {
            continue;
        }
        failed_until = None;
        let current = Arc::clone(&config.borrow());
        let mut troubles = Vec::new();
        for call in exams.due(&current, &clients.all()) {
            match tell(&call).await {
                Ok(()) => {
                    tracing::info!(room = %call.room, on = call.on, clients = call.addresses.len(), "exam");
                    exams.told(call);
                    let text = exams.text();
                    if let Err(error) = in_background(&store, move |store| store.keep(KEPT, &text)).await {
                        let error = chain(&error);
                        tracing::error!(error, "that the program for exams was told cannot be stored");
                    }
                }
                Err(error) => {
                    let hook = call.hook.display();
                    tracing::error!(room = %call.room, on = call.on, %hook, %error, "the program for exams failed");
                    let what = if call.on { "taken away from" } else { "given back to" };
                    troubles.push(format!(
                        "the internet was not {what} the room {}, because `{hook}` failed: {error}",
                        call.room
                    ));
                    failed_until = Some(now + AGAIN_AFTER);
                }
            }
        }
        health.trouble("exams", (!troubles.is_empty()).then(|| troubles.join("; ")));
    }
}

/// Asks the store on a thread that may wait for the disk.
async fn in_background<T: Send + 'static>(
    store: &Store,
    ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || ask(&store)).await.expect("the store does not panic")
}

/// Runs the program once.
async fn tell(call: &Call) -> Result<(), HookError> {
    trusted(&call.hook)?;
    let mut command = tokio::process::Command::new(&call.hook);
    command.arg(if call.on { "on" } else { "off" }).arg(call.room.as_str());
    command.args(call.addresses.iter().map(ToString::to_string));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(HookError::Start)?;
    let mut stderr = child.stderr.take().expect("it has a pipe");
    let mut said = Vec::new();
    let ended = async {
        tokio::select! {
            status = child.wait() => return status,
            _ = stderr.read_to_end(&mut said) => {}
        }
        child.wait().await
    };
    let status = tokio::time::timeout(RUNS_WITHIN, ended).await;
    let status = status.map_err(|_| HookError::Late)?.map_err(HookError::Start)?;
    if status.success() {
        return Ok(());
    }
    // What it has left in the background may have the pipe for ever.
    let _ = tokio::time::timeout(SAYS_WITHIN, stderr.read_to_end(&mut said)).await;
    let said = String::from_utf8_lossy(&said);
    let said: String =
        said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limits::EVENT_TEXT).collect();
    Err(HookError::Failed { status: status.to_string(), said: said.trim().to_owned() })
}

/// Whether nobody but root, or whoever runs the daemon, can have written the program.
fn trusted(hook: &Path) -> Result<(), HookError> {
    let about = fs_err::metadata(hook).map_err(HookError::NotThere)?;
    if !about.is_file() || about.mode() & 0o111 == 0 {
        return Err(HookError::NoProgram);
    }
    let own = nix::unistd::geteuid().as_raw();
    if (about.uid() != 0 && about.uid() != own) || about.mode() & 0o022 != 0 {
        return Err(HookError::NotRoots);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(folder: &Path, text: &str, mode: u32) -> Call {
        let hook = folder.join("hook");
        // Written under another name: a file that is being written cannot be run.
        let fresh = folder.join("fresh");
        fs_err::write(&fresh, text).expect("written");
        fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(mode)).expect("a mode");
        fs_err::rename(&fresh, &hook).expect("moved");
        let addresses =
            vec!["10.0.0.5".parse().expect("an address"), "10.0.0.6".parse().expect("an address")];
        Call { hook, room: "lab".parse().expect("a room"), on: true, addresses }
    }

    #[tokio::test]
    async fn the_program_is_told_the_room_and_its_addresses_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let text = format!("#!/bin/sh\necho \"$@\" >>{}\nenv | grep -c CARGO >>{0}\ntrue\n", told.display());
        let call = script(folder.path(), &text, 0o755);
        tell(&call).await.expect("told");
        tell(&Call { on: false, ..call }).await.expect("told");
        let told = fs_err::read_to_string(told).expect("told");
        assert_eq!(told, "on lab 10.0.0.5 10.0.0.6\n0\noff lab 10.0.0.5 10.0.0.6\n0\n");
    }

    #[tokio::test]
    async fn what_a_program_leaves_in_the_background_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        tell(&script(folder.path(), "#!/bin/sh\nsleep 45 &\n", 0o755)).await.expect("it has ended");
        let fails = script(folder.path(), "#!/bin/sh\necho no firewall >&2\nsleep 45 &\nexit 3\n", 0o755);
        let error = tell(&fails).await.expect_err("it failed");
        assert_eq!(error.to_string(), "it ended with exit status: 3: no firewall");
    }

    #[tokio::test]
    async fn a_program_that_fails_or_cannot_be_trusted_is_named_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = [
            (
                "#!/bin/sh\necho 'no firewall' >&2\nexit 3\n",
                0o755,
                "it ended with exit status: 3: no firewall",
            ),
            ("#!/bin/sh\n", 0o644, "it is not a file that can be run; `chmod 755` it"),
            (
                "#!/bin/sh\n",
                0o775,
                "others than root may change it, and it would be run with root's rights; `chown root` and `chmod 755` it",
            ),
        ];
        for (text, mode, expected) in rows {
            let call = script(folder.path(), text, mode);
            assert_eq!(tell(&call).await.expect_err("refused").to_string(), expected);
        }
        let call = Call { hook: folder.path().join("none"), ..script(folder.path(), "", 0o755) };
        assert!(matches!(tell(&call).await, Err(HookError::NotThere(_))));
    }
}

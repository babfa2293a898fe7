//! Commands that the server has this client run, while its root is the draft of an image.
//!
//! What a command prints goes to the server as it comes. The server takes as much as the connection carries: a command that
//! prints faster waits.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Service, locked};
use crate::proto::agent::run::{End, Line};

/// How long a command may take that was asked to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How long after a command's end something more of what it printed may come.
const LINGERS: Duration = Duration::from_secs(5);

/// Commands at work at once.
const AT_ONCE: usize = 2;

/// Those that are at work, by the number of the order.
#[derive(Debug, Default)]
pub struct Runs(BTreeMap<u32, Run>);

#[derive(Debug)]
struct Run {
    group: Pid,
    /// Whether somebody has asked for its end.
    asked: bool,
    /// Nothing of it is waited for any more.
    over: Arc<AtomicBool>,
}

/// Runs it to its end, and tells the server what it prints and how it ends.
pub fn run(service: &Arc<Service>, id: u32, line: &Line) {
    locked(&service.console).note(&format!("the server has this client run: {}", line.short()));
    let end = start(service, id, line).unwrap_or_else(|why| End::Not(why.as_str().into()));
    locked(&service.runs).0.remove(&id);
    service.link.ran(id, end);
}

fn start(service: &Arc<Service>, id: u32, line: &Line) -> Result<End, String> {
    if !service.maintenance {
        return Err("this client's root is no draft".to_owned());
    }
    let (mut read, write) = std::io::pipe().map_err(|error| error.to_string())?;
    let also = write.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line.as_str()).current_dir("/root").stdin(Stdio::null()).stdout(write).stderr(also);
    command.envs([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("LANG", "C.UTF-8"),
        // Nobody is there to answer.
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("APT_LISTCHANGES_FRONTEND", "none"),
    ]);
    command.process_group(0);
    let over = Arc::new(AtomicBool::new(false));
    let mut child = {
        let mut runs = locked(&service.runs);
        if runs.0.len() >= AT_ONCE {
            return Err("enough commands are at work here already".to_owned());
        }
        let child = command.spawn().map_err(|error| format!("`/bin/sh` cannot be run: {error}"))?;
        let group = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        runs.0.insert(id, Run { group: Pid::from_raw(group), asked: false, over: Arc::clone(&over) });
        child
    };
    // The ends of the pipe that the command has are its own.
    drop(command);
    let (tell, told) = sync_channel(0);
    let printing = Arc::new(AtomicBool::new(false));
    let (printer, is_printing, is_over) = (Arc::clone(service), Arc::clone(&printing), Arc::clone(&over));
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok(length @ 1..) = read.read(&mut bytes) {
            is_printing.store(true, Ordering::Relaxed);
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            printer.link.printed(id, bytes.get(..length).unwrap_or_default());
            is_printing.store(false, Ordering::Relaxed);
            let _ = tell.try_send(());
        }
    });
    let status = child.wait().map_err(|error| error.to_string())?;
    // What it leaves in the background may have the pipe for ever: it is over when nothing more comes, or when it was killed.
    while !over.load(Ordering::Relaxed) {
        match told.recv_timeout(LINGERS) {
            Err(RecvTimeoutError::Timeout) if printing.load(Ordering::Relaxed) => {}
            Err(_) => break,
            Ok(()) => {}
        }
    }
    over.store(true, Ordering::Relaxed);
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(125);
    Ok(End::Exited(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Somebody asked for its end, as they do again and again until it has come. It may bring what it does to one, and has a moment
/// for that.
pub fn stop(service: &Arc<Service>, id: u32) {
    let group = {
        let mut runs = locked(&service.runs);
        let Some(run) = runs.0.get_mut(&id).filter(|run| !run.asked) else { return };
        run.asked = true;
        run.group
    };
    let _ = killpg(group, Signal::SIGTERM);
    let service = Arc::clone(service);
    std::thread::spawn(move || {
        std::thread::sleep(ENDS_WITHIN);
        if let Some(run) = locked(&service.runs).0.get(&id) {
            let _ = killpg(run.group, Signal::SIGKILL);
            run.over.store(true, Ordering::Relaxed);
        }
    });
}

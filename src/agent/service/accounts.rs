//! The people of the server in this client's `/etc`: written when they come and whenever they change.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::agent::people::{Files, Merged, merge, sudoers};
use crate::agent::root::Root;
use crate::proto::agent::channel::People;

/// What was merged, so that a service that was started again knows what to take out.
const MERGED: &str = "/run/bramble/merged.json";

/// Taken by everybody who writes `passwd` and its like (lckpwdf(3)).
const LOCK: &str = "/etc/.pwd.lock";

/// Tries to take it, a tenth of a second apart.
const TRIES: u32 = 50;

/// Merges `people`; the troubles, in sentences.
pub fn apply(people: &People) -> Vec<String> {
    written(people).unwrap_or_else(|error| {
        vec![format!("the people of the server cannot be written into /etc: {error}")]
    })
}

fn written(people: &People) -> io::Result<Vec<String>> {
    let root = Root::open(Path::new("/"))?;
    let _lock = lock()?;
    let read = |path: &str| Ok::<_, io::Error>(root.text(path)?.map(|(text, _)| text).unwrap_or_default());
    let now = Files { passwd: read("etc/passwd")?, group: read("etc/group")?, shadow: read("etc/shadow")? };
    let before: Merged =
        fs::read(MERGED).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let shell = if root.exists("bin/bash") { "/bin/bash" } else { "/bin/sh" };
    let (files, merged, troubles) = merge(&now, &before, people, shell);
    fs::write(MERGED, serde_json::to_vec(&merged).map_err(io::Error::other)?)?;
    // Whoever is in `passwd` is in the others already.
    for (path, old, new) in [
        ("etc/group", &now.group, &files.group),
        ("etc/shadow", &now.shadow, &files.shadow),
        ("etc/passwd", &now.passwd, &files.passwd),
    ] {
        if old != new {
            root.replace(path, new)?;
        }
    }
    if root.exists("etc/sudoers.d") {
        // `pi` of the image may do everything without a password; `pi` of the server may do what the room says.
        for name in &merged.users {
            root.remove(&format!("etc/sudoers.d/010_{name}-nopasswd"))?;
        }
        root.write("etc/sudoers.d/bramble", &sudoers(people.sudo), 0o440)?;
    }
    Ok(troubles)
}

/// Held as long as the file is open.
fn lock() -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(LOCK)?;
    let all = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or(1),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or(0),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    for _ in 0..TRIES {
        match fcntl(&file, FcntlArg::F_SETLK(&all)) {
            Ok(_) => return Ok(file),
            Err(Errno::EACCES | Errno::EAGAIN) => std::thread::sleep(std::time::Duration::from_millis(100)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!("another program holds {LOCK}")))
}

//! Writes what [`crate::service::published`] makes of the leases to where the router's other programs look.
//!
//! Leases are looked at every two seconds: a burst of clients is one write and one signal, and nobody can make this
//! service do more. Everything it writes is in memory (`/tmp`).

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::dhcp::Clock;
use super::supervisor::{Stop, stopped};
use crate::config::{Config, DhcpMode};
use crate::service::leases::Leases;
use crate::service::published::{self, Given, Holders};
use crate::sys;
use crate::types::{chain, limits};

/// How often the leases are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// After how many looks dnsmasq is told once more, where that did not work: it, or ubusd, may just be starting.
const TELL_AGAIN: u32 = 5;

/// How long `ubus` may take.
const UBUS: Duration = Duration::from_secs(5);

/// Where the router's programs look.
#[derive(Clone, Debug)]
pub struct Places {
    /// Read by LuCI.
    pub leases: PathBuf,
    /// Read by dnsmasq when it gets a signal. The other files of its folder are hosts files too, of the router's owner and
    /// of other programs.
    pub hosts: PathBuf,
    /// The router's own hosts file.
    pub own_hosts: PathBuf,
    /// Scripts that want to hear of leases; none of them, no event.
    pub scripts: PathBuf,
    /// The `ubus` program.
    pub ubus: PathBuf,
}

impl Places {
    /// Those of OpenWrt.
    pub fn router() -> Self {
        Self {
            leases: crate::service::takeover::LEASE_FILE.into(),
            hosts: crate::service::takeover::HOSTS_FILE.into(),
            own_hosts: "/etc/hosts".into(),
            scripts: "/etc/hotplug.d/dhcp".into(),
            ubus: "/bin/ubus".into(),
        }
    }
}

/// What was written last.
#[derive(Debug, Default)]
struct Written {
    leases: Option<String>,
    hosts: Option<String>,
    holders: Option<Holders>,
    /// After how many looks dnsmasq is told to read the file.
    tell_in: Option<u32>,
}

/// Runs until told to stop. The files stay then: the leases go on.
pub async fn run(
    places: Places,
    leases: Arc<Leases>,
    clock: Clock,
    config: watch::Receiver<Arc<Config>>,
    mut stop: Stop,
) -> Result<(), Infallible> {
    let mut written = Written::default();
    loop {
        let served = Arc::clone(&config.borrow());
        if served.dhcp.mode == DhcpMode::Authoritative {
            publish(&places, &leases, clock, &served, &mut written).await;
        }
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

async fn publish(places: &Places, leases: &Leases, clock: Clock, config: &Config, written: &mut Written) {
    let leases = leases.list(clock.now());
    let hosts = published::hosts_file(&leases, config, &given(places));
    let file = published::lease_file(&leases);
    if written.leases.as_ref() != Some(&file) && write(&places.leases, &file).await {
        written.leases = Some(file);
    }
    if written.hosts.as_ref() != Some(&hosts) && write(&places.hosts, &hosts).await {
        written.hosts = Some(hosts);
        written.tell_in = Some(0);
    }
    written.tell_in = match written.tell_in {
        Some(0) => {
            let signal = json!({ "name": "dnsmasq", "signal": 1 }).to_string();
            let told = ubus(places, &["call", "service", "signal", &signal]).await;
            (!told).then_some(TELL_AGAIN)
        }
        other => other.map(|looks| looks - 1),
    };
    let holders = published::holders(&leases);
    // At the first look nothing has happened: these leases are of the last run.
    let before = written.holders.replace(holders.clone());
    let events = before.map(|before| published::events(&before, &holders)).unwrap_or_default();
    if !events.is_empty() && wanted(&places.scripts) {
        for event in events {
            let env = json!({ "env": event.env() }).to_string();
            ubus(places, &["call", "hotplug.dhcp", "call", &env]).await;
        }
    }
}

/// What the hosts files say that are not ours.
fn given(places: &Places) -> Given {
    let folder = places.hosts.parent().unwrap_or(Path::new("/"));
    let others = fs_err::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_other = |path: &PathBuf| {
        // dnsmasq does not read hidden files either.
        *path != places.hosts && path.file_name().is_some_and(|name| !name.as_bytes().starts_with(b"."))
    };
    let others = others.filter(is_other).take(limits::HOSTS_FILES);
    let mut given = Given::default();
    for path in [places.own_hosts.clone()].into_iter().chain(others) {
        let mut text = Vec::new();
        let read =
            fs_err::File::open(&path).and_then(|file| file.take(limits::HOSTS_FILE).read_to_end(&mut text));
        if let Err(error) = read {
            tracing::debug!(error = chain(&error), "names of the router cannot be read");
        }
        given.read(&String::from_utf8_lossy(&text));
    }
    given
}

/// Whether any script wants to hear of leases.
fn wanted(scripts: &Path) -> bool {
    fs_err::read_dir(scripts).is_ok_and(|mut entries| entries.next().is_some())
}

/// In one step, so that nobody reads half a file.
async fn write(path: &Path, text: &str) -> bool {
    let (path, text) = (path.to_owned(), text.to_owned());
    let write = tokio::task::spawn_blocking(move || {
        fs_err::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        sys::whole::put(&path, 0o644, |file| file.write_all(text.as_bytes()))
    });
    let done = write.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    if let Err(error) = &done {
        tracing::debug!(error = chain(error), "leases could not be published");
    }
    done.is_ok()
}

/// Whether it was done.
async fn ubus(places: &Places, words: &[&str]) -> bool {
    let mut command = Command::new(&places.ubus);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(UBUS, command.status()).await {
        Ok(Ok(status)) if status.success() => return true,
        Ok(Ok(status)) => tracing::debug!(%status, "ubus did not take what leases had to say"),
        Ok(Err(error)) => tracing::debug!(error = chain(&error), "ubus cannot be run"),
        Err(_) => tracing::debug!("ubus did not answer"),
    }
    false
}

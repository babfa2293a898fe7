//! Carries a [`Plan`] out: the record, the file, then the services that have to notice.
//!
//! The record is written before what it speaks of is changed. After a power cut in between it names a change that was
//! not made, which the next run sees and forgets; the other way round nobody would know what to put back.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{Plan, Record, Wanted, plan};
use crate::config::edit::{self, EditError};
use crate::config::uci::Document;

/// How long an init script may take: dnsmasq looks for other DHCP servers on each network, some seconds each.
const INIT_SCRIPT: Duration = Duration::from_mins(1);

/// How often it is looked whether a script has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the router keeps its configuration, and so where its services are told.
pub const ROUTER: &str = "/etc/config";

/// The files of one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `/etc/config/dhcp`.
    pub dhcp: PathBuf,
    /// What of it is ours.
    pub record: PathBuf,
    /// Hosts with fixed addresses for dnsmasq, in a file that is not UCI.
    pub ethers: PathBuf,
    /// The program that changes UCI files.
    pub uci: Option<PathBuf>,
    /// Folder of the init scripts; `None` where there is no service to tell.
    pub init_scripts: Option<PathBuf>,
}

/// Why DHCP could not be taken over or handed back.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    #[error("`{path}` cannot be read; check its owner and mode")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{path}:{line}:{column}: {message}; until that is right, no DHCP server of this router reads the file"
    )]
    Faulty { path: PathBuf, line: usize, column: usize, message: &'static str },
    #[error("what is changed in `{dhcp}` cannot be written down, so nothing was changed")]
    Record {
        dhcp: PathBuf,
        #[source]
        source: EditError,
    },
    #[error("`{dhcp}` cannot be changed")]
    Change {
        dhcp: PathBuf,
        #[source]
        source: EditError,
    },
}

impl Place {
    /// The files beside the configuration of Bramble.
    pub fn beside(config: &Path) -> Self {
        let dhcp = config.with_file_name("dhcp");
        let on_router = config.parent() == Some(Path::new(ROUTER));
        let etc = config.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        Self {
            record: config.with_file_name("bramble_takeover"),
            ethers: etc.join("ethers"),
            uci: edit::uci_for(&dhcp),
            init_scripts: on_router.then(|| PathBuf::from("/etc/init.d")),
            dhcp,
        }
    }

    /// What would have to change for `wanted` to hold. Changes nothing.
    pub fn look(&self, wanted: &Wanted) -> Result<Plan, TakeoverError> {
        let Some(text) = read(&self.dhcp)? else { return Ok(Plan::default()) };
        let document = Document::read(&text);
        if let Some(fault) = document.faults.first() {
            return Err(TakeoverError::Faulty {
                path: self.dhcp.clone(),
                line: fault.line,
                column: fault.column,
                message: fault.message,
            });
        }
        let mut plan = plan(&document, &self.recorded()?, wanted);
        let ethers = read(&self.ethers)?.unwrap_or_default();
        let used = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if !wanted.networks.is_empty() && String::from_utf8_lossy(&ethers).lines().any(used) {
            plan.notices.push(format!(
                "`{}` names hosts, which Bramble does not read; write each as a `config host` of `dhcp`",
                self.ethers.display()
            ));
        }
        Ok(plan)
    }

    /// Makes `wanted` hold, and gives what was done for it. `troubles` of the outcome are services that could not be
    /// told.
    pub fn make(&self, wanted: &Wanted) -> Result<(Plan, Vec<String>), TakeoverError> {
        let plan = self.look(wanted)?;
        let before = self.recorded()?;
        if plan.steps.is_empty() {
            if plan.record != before {
                self.write_record(&plan.record)?;
            }
            return Ok((plan, Vec::new()));
        }
        let mut both = before.clone();
        both.changed.extend(plan.record.changed.iter().filter(|c| !before.changed.contains(c)).cloned());
        both.shown |= plan.record.shown;
        if both != before {
            self.write_record(&both)?;
        }
        edit::apply_elsewhere(&self.dhcp, &plan.edits(), self.uci.as_deref())
            .map_err(|source| TakeoverError::Change { dhcp: self.dhcp.clone(), source })?;
        if both != plan.record {
            self.write_record(&plan.record)?;
        }
        if plan.gives_back && plan.record == Record::default() && self.init_scripts.is_some() {
            // Leases that are not ours to give any more. A file that is not there is as good.
            let _ = fs_err::remove_file(super::LEASE_FILE);
            let _ = fs_err::remove_file(super::HOSTS_FILE);
        }
        let troubles = self.tell(&plan);
        Ok((plan, troubles))
    }

    fn recorded(&self) -> Result<Record, TakeoverError> {
        Ok(Record::read(&read(&self.record)?.unwrap_or_default()))
    }

    fn write_record(&self, record: &Record) -> Result<(), TakeoverError> {
        let failed = |source| TakeoverError::Record { dhcp: self.dhcp.clone(), source };
        let text = record.text();
        if !text.is_empty() {
            return edit::put(&self.record, text.as_bytes()).map_err(failed);
        }
        match fs_err::remove_file(&self.record) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(EditError::File { path: self.record.clone(), doing: "removed", source }))
            }
            _ => Ok(()),
        }
    }

    /// Has the services read the file again. A restart, where something is given back: dnsmasq keeps in mind that it
    /// found another DHCP server until then.
    fn tell(&self, plan: &Plan) -> Vec<String> {
        let Some(folder) = &self.init_scripts else { return Vec::new() };
        let dnsmasq = if plan.gives_back { "restart" } else { "reload" };
        let odhcpd = plan.odhcpd.then_some(("odhcpd", "reload"));
        let all = std::iter::once(("dnsmasq", dnsmasq)).chain(odhcpd);
        all.filter(|(name, _)| folder.join(name).exists())
            .filter_map(|(name, action)| {
                let script = folder.join(name);
                let error = run(&script, action).err()?;
                let script = script.display();
                Some(format!("{name} was not told of the change ({error}); run `{script} {action}`"))
            })
            .collect()
    }
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, TakeoverError> {
    match fs_err::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TakeoverError::Read { path: path.to_owned(), source }),
    }
}

/// Runs an init script to its end, at most for [`INIT_SCRIPT`].
#[expect(
    clippy::disallowed_methods,
    reason = "the time limit of a program that this function itself has started"
)]
fn run(script: &Path, action: &str) -> Result<(), String> {
    let quiet = Stdio::null;
    let mut child = Command::new(script)
        .arg(action)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn()
        .map_err(|error| error.to_string())?;
    let end = Instant::now() + INIT_SCRIPT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return ended(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                // Its outcome is of no interest any more.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("it did not end within {} s", INIT_SCRIPT.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn ended(status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

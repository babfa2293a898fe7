//! What methods answer about the daemon itself: how it is, what it serves, its configuration and its jobs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ClientVerdict;
use crate::config::problem::Problem;
use crate::service::health::ServiceHealth;
use crate::service::jobs::JobStatus;
use crate::types::{ByteSize, Moment};

/// Answer of `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub since: Moment,
    pub now: Moment,
    pub config: PathBuf,
    pub data: PathBuf,
    /// Resident memory of the daemon, in bytes.
    pub memory: ByteSize,
    /// Free space where `data` is, in bytes.
    pub free: Option<ByteSize>,
    pub networks: Vec<NetworkStatus>,
    pub services: BTreeMap<String, ServiceHealth>,
    /// How many clients are in which state; states without a client are left out.
    pub clients: BTreeMap<String, usize>,
    pub images: usize,
    /// Jobs queued and running.
    pub jobs: usize,
    /// One sentence each; empty if all is well.
    pub problems: Vec<String>,
    /// What is new and no problem, one sentence each: a newer release of an image.
    #[serde(default)]
    pub news: Vec<String>,
    /// Clients that do not work, and why.
    pub verdicts: Vec<ClientVerdict>,
}

/// One served network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    pub name: String,
    pub device: String,
    pub address: Ipv4Addr,
    /// First and last address for those without a reservation.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// Answer of `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub healthy: bool,
    pub problems: Vec<String>,
}

/// Answer of `job_output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOutput {
    pub job: u64,
    /// Position of the first character; larger than was asked for if what was before is forgotten.
    pub from: u64,
    pub text: String,
    /// What to ask for next.
    pub next: u64,
    /// The exit code, once the program has ended and all of its output was given.
    pub code: Option<u8>,
    /// Whether the job is over.
    pub over: bool,
}

/// Answer of `takeover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// What differs between `/etc/config/dhcp` and what the configuration wants of it.
    pub changes: Vec<TakeoverChange>,
    /// Networks whose section there has a value of ours.
    pub networks: Vec<String>,
    /// One sentence each: what Bramble does not follow, what is in its way.
    pub notices: Vec<String>,
}

/// One option of `/etc/config/dhcp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeoverChange {
    /// As `uci` names it.
    pub path: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub why: String,
}

/// Answer of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub ok: bool,
    pub problems: Vec<ProblemAt>,
}

/// One problem of a configuration; see [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemAt {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub path: String,
    pub message: String,
    /// All of it in one line, as the command line prints it.
    pub text: String,
}

impl From<&Problem> for ProblemAt {
    fn from(problem: &Problem) -> Self {
        let Problem { file, line, column, path, message } = problem.clone();
        Self { file, line, column, path, message, text: problem.to_string() }
    }
}

/// Answer of methods that start a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub job: u64,
}

/// Answer of `job_list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    pub now: Moment,
    pub jobs: Vec<JobStatus>,
}
